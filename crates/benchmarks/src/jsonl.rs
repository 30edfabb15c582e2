//! Problems of the user: a file of JSON rows with a problem and a final answer.
//!
//! ```json
//! {"id": "1", "problem": "What is 2 + 3?", "answer": "5"}
//! {"id": "2", "problem": [{"role": "system", "content": "Be brief."},
//!                         {"role": "user", "content": "What is 3 + 3?"}], "answer": "6"}
//! ```
//!
//! A problem may be a chat; its last turn, the user's, is asked as a problem alone would be.

use std::path::PathBuf;

use preceptor_core::{Digest, Message, Needs, OutOfRange, Prompt, PromptBody, PromptId, Settings};
use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples, check_shots};
use crate::rows::{Problem, load_problems};
use crate::{Benchmark, Data, Error, TaskSet};

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The file, relative to the working directory.
    pub path: PathBuf,
    /// The benchmark's name in tables.
    pub name: String,
    /// Field with a unique id; without it rows are numbered.
    pub id_field: Option<String>,
    /// Field with the problem: text, or a chat as a list of `{"role": "..", "content": ".."}`.
    pub problem_field: String,
    /// Field with the final answer.
    pub answer_field: String,
    /// Worked examples of competition problems before the problem, 0 to 4; with any, the prompt is
    /// plain text instead of a chat.
    pub shots: u32,
    /// True if the texts may be shown on a page that is published.
    pub shareable: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            name: "jsonl".to_owned(),
            id_field: None,
            problem_field: "problem".to_owned(),
            answer_field: "answer".to_owned(),
            shots: 0,
            shareable: false,
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "jsonl";
    const SUMMARY: &'static str = "your own problems with final answers, from a JSONL file";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = !self.path.as_os_str().is_empty();
        OutOfRange::check("path", "\"\"", is_allowed, "the path of a JSONL file")?;
        check_shots(self.shots)
    }
}

impl Benchmark for Config {
    fn load(&self, _: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let data = Data { path: self.path.clone(), is_published: false };
        let asking = Asking::new(self.shots, Examples::Competition);
        let tasks = load_problems(&self.name, &data, None, &asking, limit, |row| {
            let field = &self.problem_field;
            let chat = if row.is_list(field) { Some(row.chat(field)?) } else { None };
            if chat.is_some() && self.shots > 0 {
                let detail = format!("field `{field}` is a chat, which takes no `shots`");
                return Err(row.bad(detail));
            }
            let problem = match &chat {
                None => row.filled_text(field)?,
                Some(messages) => question_text(messages),
            };
            let id = match &self.id_field {
                Some(field) => row.text(field)?,
                None => Digest::of(problem.as_bytes()).short().to_owned(),
            };
            Ok(Problem {
                id,
                problem,
                chat,
                answer: row.filled_text(&self.answer_field)?,
                tags: Vec::new(),
            })
        })?;
        Ok(TaskSet { shareable: self.shareable, ..tasks })
    }
}

/// Returns a chat as one text, for people.
fn question_text(messages: &[Message]) -> String {
    Prompt::new(PromptId::new(""), PromptBody::Chat(messages.to_vec())).question_text()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Task;

    fn load(rows: &str, shots: u32) -> Result<Vec<Task>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, rows).unwrap();
        Ok(Config { path, shots, ..Config::default() }.load(None, None)?.tasks)
    }

    fn row(problem: &str) -> String {
        format!(r#"{{"id": "1", "problem": {problem}, "answer": "6"}}"#)
    }

    #[test]
    fn the_last_turn_of_a_chat_is_asked_like_a_problem() {
        let turns = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3 + 3?"}]"#;
        let task = load(&row(turns), 0).unwrap().remove(0);
        let alone = load(&row("\"3 + 3?\""), 0).unwrap().remove(0);
        let asked = |task: &Task| match &task.prompt.body {
            PromptBody::Chat(messages) => messages.clone(),
            PromptBody::Text(_) => panic!("a chat"),
        };
        assert_eq!(asked(&task).len(), 2);
        assert_eq!(asked(&task)[1], asked(&alone)[0]);
        assert_eq!(task.question, "system: Be brief.\n\nuser: 3 + 3?");
        assert_eq!(alone.question, "3 + 3?");
    }

    #[test]
    fn malformed_chats_are_named_by_row_and_field() {
        let message = |problem: &str, shots| {
            let error = load(&row(problem), shots).unwrap_err().to_string();
            error.split_once("rows.jsonl`: ").unwrap().1.to_owned()
        };
        let turn = |role: &str| format!(r#"{{"role": "{role}", "content": "3 + 3?"}}"#);
        let messages = [
            message("[]", 0),
            message("[\"3 + 3?\"]", 0),
            message(&format!("[{}, {}]", turn("user"), turn("robot")), 0),
            message(&format!("[{}]", turn("assistant")), 0),
            message(r#"[{"role": "user"}]"#, 0),
            message(&format!("[{}]", turn("user")), 2),
        ];
        insta::assert_snapshot!(messages.join("\n"), @r#"
        field `problem` is empty; expected at least one message
        field `problem`: invalid type: string "3 + 3?", expected a table with `role` and `content`
        field `problem`, turn 2: expected the role `system`, `user` or `assistant`, found `robot`
        field `problem` ends with the role `assistant`; expected `user`
        field `problem`: missing field `content`
        field `problem` is a chat, which takes no `shots`
        "#);
    }
}
