//! Asking a model one question for each group, all in one call.

use preceptor_core::{
    AbstainReason, FinishReason, GenerationRequest, Generator, NoObserver, PortError, Prompt,
    PromptBody, PromptId, Reply, Rollout, RolloutSeed, Sampling, Seed, Usage,
};

/// Question to a model.
pub(crate) struct Question {
    /// The prompt that it is about, and what it is for, for example `synthesis`.
    pub(crate) id: PromptId,
    /// The whole text.
    pub(crate) text: String,
    /// Random stream of its answer.
    pub(crate) seed: Seed,
}

/// Asks every question once; none where the call failed.
pub(crate) fn ask(
    model: &dyn Generator,
    sampling: &Sampling,
    questions: Vec<Question>,
) -> Result<Vec<Option<Rollout>>, PortError> {
    let request = |question: Question| GenerationRequest {
        prompt: Prompt::new(question.id, PromptBody::instruction(question.text, model.identity())),
        rollouts: vec![RolloutSeed { index: 0, seed: question.seed }],
    };
    let requests: Vec<_> = questions.into_iter().map(request).collect();
    let replies = model.generate(&requests, sampling, &mut NoObserver)?;
    Ok(replies.into_iter().map(|rollouts| rollouts.into_iter().next()).collect())
}

/// Returns the reason that a reply can't be used, if there is one.
pub(crate) fn unusable(reply: Option<&Rollout>) -> Option<AbstainReason> {
    match reply.map(|reply| reply.finish) {
        None => Some(AbstainReason::CallFailed),
        Some(FinishReason::PromptTooLong) => Some(AbstainReason::PromptTooLong),
        Some(FinishReason::Refused) => Some(AbstainReason::Refused),
        Some(FinishReason::MaxNewTokens | FinishReason::ContextFull) => Some(AbstainReason::CutOff),
        Some(FinishReason::EndToken | FinishReason::StopString) => None,
    }
}

/// Returns a reply as it is kept.
pub(crate) fn kept(reply: &Rollout) -> Reply {
    Reply { text: reply.text.clone(), finish: Some(reply.finish) }
}

/// Returns the tokens of a reply.
pub(crate) fn usage(reply: &Rollout) -> Usage {
    Usage {
        num_prompt_tokens: u64::from(reply.num_prompt_tokens),
        num_generated_tokens: reply.num_tokens(),
    }
}
