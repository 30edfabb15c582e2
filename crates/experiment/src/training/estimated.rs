//! The groups of a step with their pseudo-references, rewards and log-probabilities.

use std::sync::Arc;

use preceptor_benchmarks::Task;
use preceptor_core::record::{TokenTraceRecord, TrainGroupRecord};
use preceptor_core::{Aggregate, AggregateOutcome, Group, GroupReward, PseudoReference, Rollout};
use preceptor_models::{LocalModel, RolloutTrace, TracedRollout};
use preceptor_trainer::{Group as TrainedGroup, GroupAdvantages, Learner, SampledData, Sequence};

use crate::Error;

/// Group with its pseudo-reference and rewards.
pub(super) struct EstimatedGroup<'t> {
    pub(super) task: &'t Task,
    pub(super) group: Group,
    pub(super) aggregate: Option<Aggregate>,
    pub(super) reward: GroupReward,
    /// Records of each rollout's tokens; empty if the rollout's own log-probabilities suffice.
    pub(super) traces: Vec<RolloutTrace>,
    /// Log-probabilities of each rollout under the KL reference, if there is one.
    pub(super) reference_logprobs: Option<Vec<Vec<f32>>>,
}

impl EstimatedGroup<'_> {
    /// Returns the sampler's log-probabilities of a rollout's tokens under the distribution of the policy gradient.
    pub(super) fn sampler_logprobs(&self, index: usize) -> &[f32] {
        match self.traces[index].logprobs.as_slice() {
            [] => &self.group.rollouts[index].logprobs,
            traced => traced,
        }
    }

    /// Returns true if a call failed that the next run may repeat with success.
    pub(super) fn is_transient(&self) -> bool {
        let abstained = self.aggregate.as_ref().is_some_and(is_transient);
        abstained || self.reward.is_transient()
    }
}

/// Returns the group for the learner; none if no rollout takes part. `old` has the log-probabilities
/// of each rollout under the policy that sampled it. With `is_corrected`, the objective corrects for the
/// difference to the sampler's.
pub(super) fn trained_group(
    policy: &LocalModel,
    group: &EstimatedGroup<'_>,
    normalised: &GroupAdvantages,
    old: &[Vec<f32>],
    is_corrected: bool,
) -> Result<Option<TrainedGroup>, Error> {
    let (mut rollouts, mut sequences) = (Vec::new(), Vec::new());
    for (index, (rollout, advantage)) in
        group.group.rollouts.iter().zip(&normalised.advantages).enumerate()
    {
        let Some(advantage) = *advantage else { continue };
        let reference = group.reference_logprobs.as_ref();
        rollouts.push(rollout.token_ids.clone());
        sequences.push(Sequence {
            num_tokens: rollout.token_ids.len(),
            sampled: Some(SampledData {
                advantage,
                old_logprobs: old[index].clone(),
                sampler_logprobs: is_corrected.then(|| group.sampler_logprobs(index).to_vec()),
                reference_logprobs: reference.map(|logprobs| logprobs[index].clone()),
                kept: kept(&group.traces[index]),
            }),
        });
    }
    if rollouts.is_empty() {
        return Ok(None);
    }
    let prompt = policy.model().prompt_tokens(&group.group.prompt)?;
    Ok(Some(TrainedGroup { prompt, rollouts, sequences }))
}

/// Returns the records of a group's traces; none if sampling recorded nothing.
pub(super) fn token_traces(traces: Vec<RolloutTrace>) -> Vec<TokenTraceRecord> {
    let is_traced = |trace: &RolloutTrace| !trace.logprobs.is_empty();
    if !traces.iter().any(is_traced) {
        return Vec::new();
    }
    let record =
        |RolloutTrace { logprobs, kept_mass, .. }| TokenTraceRecord { logprobs, kept_mass };
    traces.into_iter().map(record).collect()
}

/// Returns the rollouts of a recorded group with their traces. Sets of kept ids are not recorded.
pub(super) fn traced_rollouts(record: TrainGroupRecord) -> Vec<TracedRollout> {
    let mut traces = record.token_traces.into_iter();
    let trace = |TokenTraceRecord { logprobs, kept_mass }| RolloutTrace {
        logprobs,
        kept_mass,
        kept: Vec::new(),
    };
    let traced = |rollout| (rollout, traces.next().map(trace).unwrap_or_default());
    record.rollouts.into_iter().map(traced).collect()
}

/// Returns the ids that the sampler kept, if tokens are scored over them.
fn kept(trace: &RolloutTrace) -> Option<Arc<Vec<Vec<u32>>>> {
    (!trace.kept.is_empty()).then(|| Arc::new(trace.kept.clone()))
}

/// Computes the log-probabilities of every rollout under the weights of `learner`, by the operations of an update.
pub(super) fn recomputed(
    estimated: &[EstimatedGroup<'_>],
    policy: &LocalModel,
    learner: &Learner,
) -> Result<Vec<Vec<Vec<f32>>>, Error> {
    let mut groups = Vec::new();
    for EstimatedGroup { group, traces, .. } in estimated {
        let sampled = group.rollouts.iter().zip(traces);
        let sampled: Vec<_> =
            sampled.filter(|(rollout, _)| !rollout.token_ids.is_empty()).collect();
        if sampled.is_empty() {
            continue;
        }
        let sequence = |(rollout, trace): &(&Rollout, &RolloutTrace)| Sequence {
            num_tokens: rollout.token_ids.len(),
            sampled: Some(SampledData { kept: kept(trace), ..SampledData::new(0.0, Vec::new()) }),
        };
        groups.push(TrainedGroup {
            prompt: policy.model().prompt_tokens(&group.prompt)?,
            rollouts: sampled.iter().map(|(rollout, _)| rollout.token_ids.clone()).collect(),
            sequences: sampled.iter().map(sequence).collect(),
        });
    }
    let mut found = learner.logprobs(&groups).into_iter();
    let mut of_rollout = |rollout: &Rollout| {
        if rollout.token_ids.is_empty() {
            Vec::new()
        } else {
            found.next().expect("one for each rollout with tokens")
        }
    };
    let of_group = |group: &EstimatedGroup<'_>| -> Vec<Vec<f32>> {
        group.group.rollouts.iter().map(&mut of_rollout).collect()
    };
    Ok(estimated.iter().map(of_group).collect())
}

/// Returns true if a call for the pseudo-reference failed that the next run may repeat with success.
pub(super) fn is_transient(aggregate: &Aggregate) -> bool {
    match &aggregate.outcome {
        AggregateOutcome::Abstained(reason) => reason.is_transient(),
        AggregateOutcome::Estimated(_) => false,
    }
}

/// Returns the pseudo-reference of an aggregate, if it has one.
pub(super) fn reference_of(aggregate: &Aggregate) -> Option<&PseudoReference> {
    match &aggregate.outcome {
        AggregateOutcome::Estimated(reference) => Some(reference),
        AggregateOutcome::Abstained(_) => None,
    }
}
