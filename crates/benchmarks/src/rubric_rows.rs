//! Rows in HealthBench's schema: a chat, and criteria with points.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::{Criterion, Prompt, PromptBody, PromptId, Rubric};
use serde::Deserialize;

use crate::rows::Row;
use crate::{Error, Label, PhysicianRubric, Task};

#[derive(Deserialize)]
#[serde(expecting = "a table with `criterion` and `points`")]
struct RowCriterion {
    criterion: String,
    points: f64,
    #[serde(default)]
    tags: BTreeSet<String>,
}

/// Reads the task with id `id` of `benchmark`. Only `prompt` and `rubrics` need to be there; example tags
/// such as `theme:hedging` become the task's tags.
pub(crate) fn rubric_task(benchmark: &str, id: &str, row: &Row) -> Result<Task, Error> {
    let messages = row.chat("prompt")?;
    row.required("rubrics")?;
    let items: Vec<RowCriterion> = row.parsed("rubrics")?;
    if let Some(blank) = items.iter().position(|item| item.criterion.trim().is_empty()) {
        return Err(row.bad(format!("field `rubrics`, item {}: `criterion` is blank", blank + 1)));
    }
    if !items.iter().any(|item| item.points > 0.0) {
        let detail = "field `rubrics` has no item with positive points; such a row has no score";
        return Err(row.bad(detail.to_owned()));
    }
    let example_tags: Option<BTreeSet<String>> = row.parsed("example_tags")?;
    let example_tags = example_tags.unwrap_or_default();
    let criteria = items.into_iter().map(|item| Criterion {
        text: item.criterion,
        points: item.points,
        tags: item.tags,
    });
    let rubric = Rubric { criteria: criteria.collect() };
    let tags = example_tags.iter().filter_map(|tag| tag.split_once(':'));
    let tags: BTreeMap<_, _> = tags.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let id = PromptId::new(format!("{benchmark}/{id}"));
    let prompt = Prompt::new(id, PromptBody::Chat(messages));
    Ok(Task {
        question: prompt.question_text(),
        prompt,
        label: Label::Rubric(PhysicianRubric { rubric, example_tags }),
        tags,
    })
}
