//! The user's own wording of a benchmark's prompts: a system prompt, and a text around each question.

use preceptor_core::{Digest, Message, PromptBody, Role};
use preceptor_text::{Template, TemplateError};
use serde::Serialize;

use crate::{Error, Task, TaskSet};

/// The placeholder that a question prompt must have.
const PLACEHOLDERS: &[&str] = &["question"];

/// Changes that a manifest makes to a benchmark's prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Wording {
    /// Instructions before each chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// A text with the placeholder `{{question}}`, instead of the benchmark's own. In chats of several
    /// turns it is put around the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question_prompt_text: Option<String>,
}

impl Wording {
    /// Checks the question prompt, which was read from `file`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if its placeholder is missing or another one is there.
    pub fn check(&self, file: &str) -> Result<(), TemplateError> {
        match &self.question_prompt_text {
            Some(text) => Template::new(file, text, PLACEHOLDERS).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Returns `tasks` in this wording.
    ///
    /// # Errors
    ///
    /// [`Error::PlainPrompts`] if it changes anything and the prompts are not chats.
    ///
    /// # Panics
    ///
    /// If the question prompt was not [checked](Self::check).
    pub fn apply(&self, mut tasks: TaskSet) -> Result<TaskSet, Error> {
        let texts = [&self.system_prompt, &self.question_prompt_text];
        if texts.iter().all(|text| text.is_none()) {
            return Ok(tasks);
        }
        let template = self.question_prompt_text.as_ref().map(|text| {
            Template::new("", text, PLACEHOLDERS).expect("the question prompt was checked")
        });
        for task in &mut tasks.tasks {
            let Task { prompt, question, .. } = task;
            let PromptBody::Chat(messages) = &mut prompt.body else {
                return Err(Error::PlainPrompts { benchmark: tasks.name });
            };
            if let Some(template) = &template {
                reword(messages, question, template);
            }
            if let Some(text) = &self.system_prompt {
                instruct(messages, text);
            }
        }
        let parts = texts.map(|text| text.as_deref().unwrap_or_default().as_bytes());
        tasks.prompts_digest =
            Digest::of_parts([tasks.prompts_digest.as_str().as_bytes(), parts[0], parts[1]]);
        Ok(tasks)
    }
}

/// Puts the question prompt around the question, which is the last turn of a longer chat.
fn reword(messages: &mut [Message], question: &str, template: &Template) {
    let is_only = messages.len() == 1;
    let last = messages.last_mut().expect("a chat has a turn");
    let asked = if is_only { question } else { &last.content };
    last.content = template.fill(&[asked]);
}

/// Puts instructions before a chat. They come first where it has instructions of its own.
fn instruct(messages: &mut Vec<Message>, text: &str) {
    match messages.first_mut().filter(|first| first.role == Role::System) {
        Some(own) => own.content = format!("{text}\n\n{}", own.content),
        None => messages.insert(0, Message { role: Role::System, content: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Prompt, PromptId};

    use super::*;
    use crate::Label;

    fn tasks(body: PromptBody) -> TaskSet {
        let task = Task {
            prompt: Prompt::new(PromptId::new("p"), body),
            question: "2 + 2?".to_owned(),
            label: Label::new("4".to_owned()),
            tags: Default::default(),
        };
        TaskSet::of_all("own", vec![task], None)
    }

    fn chat(turns: &[(Role, &str)]) -> PromptBody {
        let message = |(role, content): &(Role, &str)| Message {
            role: *role,
            content: (*content).to_owned(),
        };
        PromptBody::Chat(turns.iter().map(message).collect())
    }

    fn wording(system: Option<&str>, question: Option<&str>) -> Wording {
        Wording {
            system_prompt: system.map(str::to_owned),
            question_prompt_text: question.map(str::to_owned),
        }
    }

    fn shown(tasks: &TaskSet) -> String {
        tasks.tasks[0].prompt.display_text()
    }

    #[test]
    fn the_own_text_replaces_the_benchmarks_around_the_bare_question() {
        let built_in = tasks(chat(&[(Role::User, "Solve 2 + 2? in a box.")]));
        let own = wording(Some("Be brief."), Some("Q: {{question}}\nA:"));
        let reworded = own.apply(built_in.clone()).expect("a chat");
        assert_eq!(shown(&reworded), "system: Be brief.\n\nuser: Q: 2 + 2?\nA:");
        assert_eq!(reworded.tasks[0].question, "2 + 2?");
        assert_ne!(reworded.prompts_digest, built_in.prompts_digest);
        let same = Wording::default().apply(built_in.clone()).expect("nothing changes");
        assert_eq!(same, built_in);
        let swapped = wording(Some("Q: {{question}}\nA:"), None).apply(built_in).expect("a chat");
        assert_ne!(swapped.prompts_digest, reworded.prompts_digest);
    }

    #[test]
    fn in_a_longer_chat_the_last_turn_is_the_question() {
        let turns = [(Role::System, "Own."), (Role::User, "Hi"), (Role::User, "Why?")];
        let own = wording(Some("First."), Some("<{{question}}>"));
        let reworded = own.apply(tasks(chat(&turns))).expect("a chat");
        assert_eq!(shown(&reworded), "system: First.\n\nOwn.\n\nuser: Hi\n\nuser: <Why?>");
    }

    #[test]
    fn plain_prompts_and_texts_without_the_placeholder_are_refused() {
        let plain = tasks(PromptBody::Text("2 + 2 =".to_owned()));
        let error = wording(Some("x"), None).apply(plain).expect_err("plain text");
        insta::assert_snapshot!(error, @"word the prompts of `own`: they are plain text, and only chats take `system-prompt` or `question-prompt-file`");
        let error = wording(None, Some("no place")).check("q.md").expect_err("no placeholder");
        insta::assert_snapshot!(error, @"use prompt file `q.md`: it has no placeholder `{{question}}`");
    }
}
