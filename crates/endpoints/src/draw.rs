//! Rollouts from an endpoint: one call each, passed to the observer as they end.

use preceptor_core::{
    FinishReason, GenerationObserver, GenerationRequest, PortError, Prompt, Rollout, RolloutSeed,
    Sampling, Usage,
};

use crate::Config;
use crate::call::{Caller, End};
use crate::error::failed;
use crate::halt::Halt;
use crate::reply::Answer;
use crate::request::Call;
use crate::spread::spread;

/// A rollout to sample.
struct Job<'a> {
    request: usize,
    prompt: &'a Prompt,
    rollout: RolloutSeed,
}

pub(crate) fn draw(
    config: &Config,
    caller: &Caller,
    requests: &[GenerationRequest],
    sampling: &Sampling,
    observer: &mut dyn GenerationObserver,
) -> Result<Vec<Vec<Rollout>>, PortError> {
    config.dialect.check(sampling)?;
    let mut jobs = Vec::new();
    for (request, GenerationRequest { prompt, rollouts }) in requests.iter().enumerate() {
        jobs.extend(rollouts.iter().map(|rollout| Job { request, prompt, rollout: *rollout }));
    }
    let mut drawn: Vec<Vec<Rollout>> = requests.iter().map(|_| Vec::new()).collect();
    let halt = Halt::default();
    let mut stopped = None;
    let work = |job: &Job<'_>| {
        let call = Call::generation(config, &job.prompt.body, sampling, job.rollout.seed);
        caller.call(&call, &halt, |reply| reply.answer(config, sampling))
    };
    spread(&jobs, config.concurrency as usize, &halt, work, |number, end| {
        if matches!(stopped, Some(PortError::Stopped(_))) {
            return;
        }
        let Job { request, rollout: RolloutSeed { index, .. }, .. } = jobs[number];
        let answer = match end {
            End::Answered(answer) => Answer { text: caller.redact(answer.text), ..answer },
            End::PromptTooLong => empty(FinishReason::PromptTooLong),
            End::Filtered => empty(FinishReason::Refused),
            End::Failed(failure) => return observer.on_failure(request, index, &failure),
            End::Halted => return,
            End::Stop(error) => {
                stopped.get_or_insert_with(|| failed(error));
                return;
            }
        };
        let known = answer.usage.unwrap_or(Usage {
            num_prompt_tokens: 0,
            num_generated_tokens: answer.logprobs.len() as u64,
        });
        if known != Usage::default() {
            observer.on_tokens(known);
        }
        let rollout = rollout(index, answer);
        if let Err(error) = observer.on_rollout(request, &rollout) {
            halt.set();
            stopped = Some(PortError::Stopped(error));
            return;
        }
        drawn[request].push(rollout);
    });
    if let Some(error) = stopped {
        return Err(error);
    }
    for group in &mut drawn {
        group.sort_by_key(|rollout| rollout.index);
    }
    Ok(drawn)
}

/// Returns an answer without text.
fn empty(finish: FinishReason) -> Answer {
    Answer { text: String::new(), finish, logprobs: Vec::new(), usage: Some(Usage::default()) }
}

fn rollout(index: u32, answer: Answer) -> Rollout {
    let narrow = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Rollout {
        index,
        text: answer.text,
        token_ids: Vec::new(),
        logprobs: answer.logprobs,
        finish: answer.finish,
        num_prompt_tokens: answer.usage.map_or(0, |usage| narrow(usage.num_prompt_tokens)),
        reported_tokens: answer.usage.map(|usage| narrow(usage.num_generated_tokens)),
    }
}
