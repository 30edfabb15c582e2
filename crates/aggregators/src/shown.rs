//! How questions and rollouts are shown to a model.

use preceptor_core::Prompt;
use preceptor_text::{Template, fence};

const QUESTION: &str = include_str!("../prompts/question-v1.md");

/// The question with a line above it, to stand before what is asked about it.
pub(crate) fn question(prompt: &Prompt) -> String {
    let template = Template::new("question-v1.md", QUESTION, &["question"])
        .expect("the built-in prompt is tested");
    template.fill(&[&fence("question", &prompt.question_text())])
}

/// Texts with their numbers from 1, each fenced: it can't speak as the prompt around it.
pub(crate) fn numbered(texts: &[&str]) -> String {
    let one = |(place, text): (usize, &&str)| {
        format!("Response {}:\n{}", place + 1, fence("response", text))
    };
    texts.iter().enumerate().map(one).collect::<Vec<_>>().join("\n\n")
}
