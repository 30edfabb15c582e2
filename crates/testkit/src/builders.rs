//! Short ways to make data.

use preceptor_core::{FinishReason, Group, Prompt, PromptBody, PromptId, Rollout};

/// Creates a plain-text prompt whose text is its id.
pub fn prompt(id: &str) -> Prompt {
    Prompt::new(PromptId::new(id), PromptBody::Text(id.to_owned()))
}

/// Creates a finished rollout with one token per byte.
pub fn rollout(index: u32, text: &str) -> Rollout {
    let token_ids: Vec<u32> = text.bytes().map(u32::from).chain([0]).collect();
    let logprobs = vec![-0.5; token_ids.len()];
    let finish = FinishReason::EndToken;
    Rollout {
        index,
        text: text.to_owned(),
        token_ids,
        logprobs,
        finish,
        num_prompt_tokens: 1,
        reported_tokens: None,
    }
}

/// Creates a group of finished rollouts.
pub fn group(texts: &[&str]) -> Group {
    let rollouts = texts.iter().enumerate().map(|(i, text)| rollout(i as u32, text)).collect();
    Group { prompt: prompt("prompt"), rollouts }
}

/// Creates a group whose rollouts end in these boxed answers.
pub fn boxed_group(answers: &[&str]) -> Group {
    let texts: Vec<_> =
        answers.iter().map(|answer| format!(r"So the answer is \boxed{{{answer}}}.")).collect();
    group(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}
