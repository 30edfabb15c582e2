//! Targets of supervised fine-tuning: the pseudo-references of the initial policy's groups, as tokens.
//!
//! They are made of stored rollouts and aggregates. A call that failed leaves a prompt without a
//! pseudo-reference for now; training on the others would be another training run, so it waits until
//! every prompt has its pseudo-reference or an abstention that is final.

use std::collections::BTreeMap;
use std::rc::Rc;

use preceptor_core::record::{AggregateRecord, ValidationLossRecord, step_key};
use preceptor_core::{
    AggregateOutcome, Continuation, Origin, PromptId, PseudoReference, Rollout, ScoreRequest,
    Scorer,
};
use preceptor_models::LocalModel;
use preceptor_trainer::objective::sft;

use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::plan::cell::{Cell, RolloutDemand};
use crate::run::cell_run::CellRun;
use crate::run::rollouts::{fill_prompts, fill_rollouts, load_rollouts};
use crate::training::run::TrainRun;

/// Targets by prompt, or the reason that they are missing.
pub(crate) type Targets = Result<BTreeMap<PromptId, Vec<u32>>, String>;

impl TrainRun<'_, '_> {
    /// Returns the targets of the prompts that are trained on; none if rewards are used.
    pub(crate) fn targets(&self, policy: &Rc<LocalModel>) -> Result<Targets, Error> {
        match self.training.objective {
            ObjectiveSettings::Sft(_) => self.targets_of(self.training.untrained(), policy),
            ObjectiveSettings::Grpo(_) => Ok(Ok(BTreeMap::new())),
        }
    }

    /// Returns the targets of `cell`, whose policy is the initial one.
    fn targets_of(&self, cell: &Cell, policy: &Rc<LocalModel>) -> Result<Targets, Error> {
        let session = self.session;
        let demand = RolloutDemand { cell: cell.clone(), group_size: cell.group_size };
        let stage = session.store.stage(&cell.stages.rollouts);
        let label = format!("{}: pseudo-references", self.cell.label());
        // Training runs share them.
        let rollouts = session.claimed(&stage, &label, || {
            fill_prompts(cell, session)?;
            fill_rollouts(&demand, session)?;
            let rollouts = load_rollouts(&stage)?;
            CellRun { cell, session }.fill_aggregates(&rollouts)?;
            Ok(rollouts)
        })?;
        let aggregates =
            session.store.stage(&cell.stages.aggregates).load::<AggregateRecord>()?.records;
        let context = policy.model().context_length();
        let mut targets = BTreeMap::new();
        let mut num_missing = 0;
        for task in &cell.tasks.tasks {
            let id = &task.prompt.id;
            let Some(record) = aggregates.get(id.as_str()) else {
                num_missing += 1;
                continue;
            };
            let AggregateOutcome::Estimated(reference) = &record.aggregate.outcome else {
                continue;
            };
            let group = rollouts.get(id).map_or(&[][..], Vec::as_slice);
            let tokens = target(policy, group, reference, &cell.sampling.stop)?;
            let prompt = policy.model().prompt_tokens(&task.prompt)?.len();
            if !tokens.is_empty() && prompt + tokens.len() <= context {
                targets.insert(id.clone(), tokens);
            }
        }
        Ok(match num_missing {
            0 => Ok(targets),
            _ => {
                let num_prompts = cell.tasks.tasks.len();
                Err(format!("{num_missing} of {num_prompts} pseudo-references are missing"))
            }
        })
    }

    /// Returns the targets of the validation prompts, if their loss decides when to stop.
    pub(crate) fn validation_targets(&self, policy: &Rc<LocalModel>) -> Result<Targets, Error> {
        match self.training.losses() {
            None => Ok(Ok(BTreeMap::new())),
            Some(losses) => {
                let targets = self.targets_of(&losses.cell, policy)?;
                Ok(targets.and_then(|targets| {
                    if targets.is_empty() {
                        Err("no validation prompt has a pseudo-reference".to_owned())
                    } else {
                        Ok(targets)
                    }
                }))
            }
        }
    }

    /// Measures the loss of the policy after `step` on the validation targets, if it is not stored.
    pub(crate) fn measure_loss(
        &self,
        step: u64,
        policy: &LocalModel,
        targets: &BTreeMap<PromptId, Vec<u32>>,
    ) -> Result<(), Error> {
        let Some(losses) = self.training.losses() else { return Ok(()) };
        let stage = self.session.store.stage(&losses.stage);
        if stage.keys()?.contains(&step_key(step)) {
            return Ok(());
        }
        let prompts = losses.cell.tasks.tasks.iter().map(|task| &task.prompt);
        let request = |prompt: &preceptor_core::Prompt| {
            let continuation = Continuation::Tokens(targets.get(&prompt.id)?.clone());
            Some(ScoreRequest { prompt: prompt.clone(), continuation })
        };
        let requests: Vec<ScoreRequest> = prompts.filter_map(request).collect();
        let scores = policy.score(&requests)?;
        let logprobs: Vec<&[f32]> = scores.iter().map(|score| score.logprobs.as_slice()).collect();
        let record = ValidationLossRecord {
            step,
            loss: cross_entropy(&logprobs, losses.aggregation),
            num_targets: logprobs.len() as u64,
            num_tokens: logprobs.iter().map(|logprobs| logprobs.len() as u64).sum(),
        };
        let mut writer = stage.writer();
        writer.append(&step_key(step), &record)?;
        writer.sync()?;
        drop(writer);
        stage.compact()?;
        let label = self.cell.label();
        let text = format!("{label}: after {step} steps the validation loss is {:.4}", record.loss);
        self.session.notice(&text);
        Ok(())
    }
}

/// Returns the loss of [`sft`] for the log-probabilities of each target's tokens, in nats.
fn cross_entropy(logprobs: &[&[f32]], aggregation: sft::Aggregation) -> f64 {
    let sum = |logprobs: &[f32]| logprobs.iter().copied().map(f64::from).sum::<f64>();
    let num_tokens: usize = logprobs.iter().map(|logprobs| logprobs.len()).sum();
    -match aggregation {
        sft::Aggregation::SequenceMeanTokenMean => {
            let means = logprobs.iter().map(|logprobs| sum(logprobs) / logprobs.len() as f64);
            means.sum::<f64>() / logprobs.len() as f64
        }
        sft::Aggregation::TokenMean => {
            logprobs.iter().map(|logprobs| sum(logprobs)).sum::<f64>() / num_tokens as f64
        }
    }
}

/// Returns the tokens of the pseudo-reference `reference` of `group` as a target: as they were sampled if it
/// is a rollout, otherwise those of the text with its end.
fn target(
    policy: &LocalModel,
    group: &[Rollout],
    reference: &PseudoReference,
    stop: &[String],
) -> Result<Vec<u32>, Error> {
    if let Origin::Rollout(index) = reference.origin
        && let Some(rollout) = group.iter().find(|rollout| rollout.index == index)
    {
        return Ok(rollout.token_ids.clone());
    }
    Ok(policy.model().reply_tokens(&reference.text, stop.first().map(String::as_str))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_weighs_sequences_or_tokens_as_the_objective_does() {
        let logprobs: [&[f32]; 2] = [&[-1.0], &[-2.0, -3.0, -4.0]];
        assert_eq!(cross_entropy(&logprobs, sft::Aggregation::SequenceMeanTokenMean), 2.0);
        assert_eq!(cross_entropy(&logprobs, sft::Aggregation::TokenMean), 2.5);
    }
}
