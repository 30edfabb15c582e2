//! Reads MATH-500 where `PRECEPTOR_DATA_DIR` says it is.

use serde::Deserialize;

/// A row, as far as graders need it.
#[derive(Deserialize)]
pub(crate) struct Row {
    /// The label.
    pub(crate) answer: String,
    /// The worked solution, which ends in a box.
    pub(crate) solution: String,
    /// The row's name.
    pub(crate) unique_id: String,
}

/// The rows, or a printed line and `None` when there is no data.
pub(crate) fn rows() -> Option<Vec<Row>> {
    let Some(root) = std::env::var_os("PRECEPTOR_DATA_DIR") else {
        println!("skipped: PRECEPTOR_DATA_DIR is not set");
        return None;
    };
    let path = std::path::Path::new(&root).join("math500/test.jsonl");
    let text = std::fs::read_to_string(&path).expect("the data directory holds MATH-500");
    let lines = text.split('\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| serde_json::from_str(line).expect("rows are JSON")).collect())
}
