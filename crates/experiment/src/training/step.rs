//! Training steps: rollouts or targets, their rewards, the updates.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use preceptor_benchmarks::{Task, grade};
use preceptor_core::record::{TrainCostRecord, TrainGroupRecord, step_group_key};
use preceptor_core::{
    Aggregate, AggregateOutcome, Continuation, GenerationObserver, GenerationRequest, Group,
    GroupReward, PromptId, PseudoReference, Rollout, RolloutSeed, ScoreRequest, StepMeasure,
    TokenDistribution, Usage,
};
use preceptor_models::{LocalModel, RolloutTrace, TracedRollout};
use preceptor_trainer::objective::grpo;
use preceptor_trainer::{
    Group as TrainedGroup, GroupAdvantages, Learner, Report, Sequence, advantages, reward_with_kl,
};

use crate::Error;
use crate::manifest::train_settings::{OldLogprobs, Truncated};
use crate::plan::cell::Cell;
use crate::plan::cell::Training;
use crate::run::estimation::Estimation;
use crate::run::seeds::prompt_seed;
use crate::run::session::Session;
use crate::training::estimated::{
    EstimatedGroup, is_transient, recomputed, reference_of, token_traces, traced_rollouts,
    trained_group,
};
use crate::training::measures::{
    StepMeasures, measure_groups, measure_lengths, measure_logprobs, measure_rewards, measures_of,
    share,
};
use crate::training::order::prompts_of_step;
use crate::training::phases::Phases;
use crate::training::served::{PolicySampling, ServedSampler};

/// Step to be made.
#[derive(Clone, Copy)]
pub(crate) struct Step<'s, 'a> {
    pub(crate) cell: &'s Cell,
    pub(crate) training: &'s Training,
    pub(crate) session: &'s Session<'a>,
    /// Number of the step, from 1.
    pub(crate) number: u64,
}

/// Records of a step.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) measures: StepMeasures,
    pub(crate) groups: Vec<TrainGroupRecord>,
    pub(crate) cost: TrainCostRecord,
}

/// End of an attempt at a step.
#[derive(Debug)]
pub(crate) enum StepEnd {
    /// The step is made, and the weights are those after it.
    Step(Outcome),
    /// Calls failed, for this reason: the weights are those before it.
    Halted(String),
}

/// Observer that counts tokens.
#[derive(Default)]
struct Count(Usage);

impl GenerationObserver for Count {
    fn on_rollout(
        &mut self,
        _request: usize,
        _rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(())
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.0 += usage;
    }
}

impl<'s> Step<'s, '_> {
    /// Returns the tasks of the step.
    fn tasks(&self) -> Vec<&'s Task> {
        let tasks = &self.cell.tasks.tasks;
        let prompts_per_step = self.training.settings.prompts_per_step as usize;
        prompts_of_step(self.cell.seed, tasks.len(), prompts_per_step, self.number)
            .into_iter()
            .map(|index| &tasks[index])
            .collect()
    }

    /// Returns the name of the step's random streams.
    fn stage_prefix(&self) -> String {
        format!("train/{}/", self.number)
    }

    /// Makes a step of GRPO with `policy`, whose weights are those of `learner`.
    pub(crate) fn grpo(
        &self,
        config: &grpo::Config,
        policy: &LocalModel,
        learner: &mut Learner,
        servers: Option<&mut ServedSampler>,
    ) -> Result<StepEnd, Error> {
        let Self { cell, training, .. } = self;
        let mut phases = Phases::start();
        let mut count = Count::default();
        let tasks = self.tasks();
        let mut served = BTreeMap::new();
        let stored = servers.is_some().then(|| self.stored_rollouts(&tasks)).transpose()?.flatten();
        let estimated = match (stored, servers) {
            (Some(stored), _) => self.estimate(config, &tasks, stored, policy, &mut phases)?,
            (None, None) => {
                let sampled =
                    phases.time("rollouts", || self.sample(&tasks, policy, &mut count))?;
                self.estimate(config, &tasks, sampled, policy, &mut phases)?
            }
            (None, Some(servers)) => {
                phases.time("publish", || self.publish(&tasks, policy, learner, servers))?;
                let estimated =
                    self.served(config, &tasks, policy, servers, &mut count, &mut phases)?;
                served.clone_from(servers.records());
                estimated
            }
        };
        if let Some(reason) = self.failed_calls(&estimated) {
            return Ok(StepEnd::Halted(reason));
        }

        let source = training.settings.old_logprobs.unwrap_or_else(|| {
            let is_corrected = config.sampler_correction.is_active();
            let is_own = training.rollouts.is_none() && !is_corrected;
            if learner.trainable().device().has_kernels() && is_own {
                OldLogprobs::Sampler
            } else {
                OldLogprobs::Recompute
            }
        });
        let old = match source {
            OldLogprobs::Sampler => estimated
                .iter()
                .map(|group| {
                    let indices = 0..group.group.rollouts.len();
                    indices.map(|index| group.sampler_logprobs(index).to_vec()).collect()
                })
                .collect(),
            OldLogprobs::Recompute => {
                phases.time("old-logprobs", || recomputed(&estimated, policy, learner))?
            }
        };
        let mut with_kl = Vec::new();
        for (group, old) in estimated.iter().zip(&old) {
            let rewards = group.group.rollouts.iter().zip(&group.reward.rewards).enumerate();
            let reward =
                |(index, (rollout, reward)): (usize, (&Rollout, &preceptor_core::Reward))| {
                    let value = reward.value.value().filter(|_| !rollout.token_ids.is_empty())?;
                    let Some(reference) = &group.reference_logprobs else { return Some(value) };
                    Some(reward_with_kl(value, config.reward_kl, &old[index], &reference[index]))
                };
            with_kl.push(rewards.map(reward).collect::<Vec<_>>());
        }
        let mut normalised =
            advantages(&with_kl, config.normalization()).map_err(|source| self.failed(source))?;
        if training.settings.truncated == Truncated::Mask {
            for (group, normalised) in estimated.iter().zip(&mut normalised) {
                for (rollout, advantage) in
                    group.group.rollouts.iter().zip(&mut normalised.advantages)
                {
                    *advantage = advantage.filter(|_| !rollout.finish.is_truncated());
                }
            }
        }

        let mut groups = Vec::new();
        for ((group, normalised), old) in estimated.iter().zip(&normalised).zip(&old) {
            groups.extend(trained_group(
                policy,
                group,
                normalised,
                old,
                config.sampler_correction.is_active(),
            )?);
        }
        let reports = self.update(&groups, cell.sampling.max_new_tokens, learner, &mut phases)?;

        let mut measures = measures_of(&reports);
        measure_rewards(&estimated, &with_kl, &normalised, &mut measures);
        measure_logprobs(&estimated, &old, source, &config.sampler_correction, &mut measures);
        let records: Vec<_> = phases.time("record", || {
            let pairs = estimated.into_iter().zip(normalised);
            pairs.map(|(group, normalised)| self.record(group, normalised)).collect()
        });
        measure_groups(&records, self.cell.grader.profile().is_some(), &mut measures);
        let mut outcome = self.outcome(measures, records, &reports, phases, count);
        outcome.cost.servers = served;
        Ok(StepEnd::Step(outcome))
    }

    /// Describes the groups whose calls failed for now; none if every answer is final. Training
    /// without them would give another policy.
    fn failed_calls(&self, estimated: &[EstimatedGroup<'_>]) -> Option<String> {
        let num_failed = estimated.iter().filter(|group| group.is_transient()).count();
        (num_failed > 0).then(|| {
            let (step, num) = (self.number, estimated.len());
            format!("step {step} waits: calls for {num_failed} of {num} groups failed")
        })
    }

    /// Makes a step of supervised fine-tuning on pseudo-references, by prompt.
    pub(crate) fn sft(
        &self,
        targets: &BTreeMap<PromptId, Vec<u32>>,
        policy: &LocalModel,
        learner: &mut Learner,
    ) -> Result<Outcome, Error> {
        let mut phases = Phases::start();
        let tasks = self.tasks();
        let mut groups = Vec::new();
        for task in &tasks {
            let Some(target) = targets.get(&task.prompt.id) else { continue };
            groups.push(TrainedGroup {
                prompt: policy.model().prompt_tokens(&task.prompt)?,
                rollouts: vec![target.clone()],
                sequences: vec![Sequence { num_tokens: target.len(), sampled: None }],
            });
        }
        let max_new_tokens = self.cell.sampling.max_new_tokens;
        let reports = self.update(&groups, max_new_tokens, learner, &mut phases)?;
        let mut measures = measures_of(&reports);
        let lengths = groups.iter().flat_map(|group| &group.rollouts).map(|tokens| tokens.len());
        measure_lengths(&lengths.collect::<Vec<_>>(), &mut measures);
        let missing = tasks.len() - groups.len();
        measures.put(StepMeasure::ReferenceMissing, Some(share(missing, tasks.len())));
        Ok(self.outcome(measures, Vec::new(), &reports, phases, Count::default()))
    }

    fn failed(&self, source: preceptor_trainer::Error) -> Error {
        Error::Step { label: self.cell.label(), step: self.number, source }
    }

    fn requests(&self, tasks: &[&Task]) -> Vec<GenerationRequest> {
        let stage = format!("{}rollouts", self.stage_prefix());
        tasks
            .iter()
            .map(|task| {
                let seed = prompt_seed(self.cell.seed, &stage, &task.prompt.id);
                let rollout =
                    |index| RolloutSeed { index, seed: seed.derive_index(u64::from(index)) };
                let rollouts = (0..self.cell.group_size).map(rollout).collect();
                GenerationRequest { prompt: task.prompt.clone(), rollouts }
            })
            .collect()
    }

    fn sample(
        &self,
        tasks: &[&Task],
        policy: &LocalModel,
        count: &mut Count,
    ) -> Result<Vec<Vec<TracedRollout>>, Error> {
        let Training { trace, .. } = *self.training;
        let requests = self.requests(tasks);
        Ok(policy.generate_traced(&requests, &self.cell.sampling, trace, count)?)
    }

    /// Returns the rollouts of the step from its records; none if a group has no record.
    ///
    /// A run that resumes repeats the steps since its last checkpoint. A server may sample other rollouts
    /// from the same seeds, and the weights would no longer be those that the records describe.
    fn stored_rollouts(&self, tasks: &[&Task]) -> Result<Option<Vec<Vec<TracedRollout>>>, Error> {
        let key = |task: &&Task| step_group_key(self.number, &task.prompt.id);
        let stage = self.session.store.stage(&self.training.groups);
        let mut found = stage.find::<TrainGroupRecord>(&tasks.iter().map(key).collect())?.records;
        let records: Option<Vec<_>> = tasks.iter().map(|task| found.remove(&key(task))).collect();
        Ok(records.map(|records| records.into_iter().map(traced_rollouts).collect()))
    }

    /// Gives the servers the current weights, with a probe after the first prompt of the step.
    fn publish(
        &self,
        tasks: &[&Task],
        policy: &LocalModel,
        learner: &Learner,
        servers: &mut ServedSampler,
    ) -> Result<(), Error> {
        let Some(first) = tasks.first() else { return Ok(()) };
        servers.publish(learner.trainable(), policy, &first.prompt, &self.cell.sampling)
    }

    /// Has the servers sample the rollouts of the step. Groups that are whole get their pseudo-references,
    /// rewards and reference log-probabilities while the others are sampled.
    fn served<'t>(
        &self,
        config: &grpo::Config,
        tasks: &[&'t Task],
        policy: &LocalModel,
        servers: &mut ServedSampler,
        count: &mut Count,
        phases: &mut Phases,
    ) -> Result<Vec<EstimatedGroup<'t>>, Error> {
        let Training { trace, .. } = *self.training;
        let requests = self.requests(tasks);
        let mut estimated: BTreeMap<usize, EstimatedGroup<'t>> = BTreeMap::new();
        let of_policy = PolicySampling { policy, sampling: &self.cell.sampling, trace };
        servers.sample(&requests, of_policy, count, phases, |whole, phases| {
            let (indices, sampled): (Vec<usize>, Vec<_>) = whole.into_iter().unzip();
            let tasks: Vec<&Task> = indices.iter().map(|index| tasks[*index]).collect();
            let groups = self.estimate(config, &tasks, sampled, policy, phases)?;
            estimated.extend(indices.into_iter().zip(groups));
            Ok(())
        })?;
        Ok(estimated.into_values().collect())
    }

    /// Computes pseudo-references, rewards and log-probabilities of the KL reference.
    fn estimate<'t>(
        &self,
        config: &grpo::Config,
        tasks: &[&'t Task],
        sampled: Vec<Vec<TracedRollout>>,
        policy: &LocalModel,
        phases: &mut Phases,
    ) -> Result<Vec<EstimatedGroup<'t>>, Error> {
        let Self { cell, session, .. } = *self;
        let (mut groups, mut traces) = (Vec::new(), Vec::new());
        for (task, sampled) in tasks.iter().zip(sampled) {
            let (rollouts, of_rollouts): (Vec<Rollout>, Vec<RolloutTrace>) =
                sampled.into_iter().unzip();
            groups.push(Group { prompt: task.prompt.clone(), rollouts });
            traces.push(of_rollouts);
        }
        let groups_of: Vec<&Group> = groups.iter().collect();
        let stage_prefix = self.stage_prefix();
        let estimation = Estimation { cell, session, policy, stage_prefix: &stage_prefix };
        let needs_reference = crate::plan::stages::needs_of(&cell.reward).reference;
        let aggregates: Vec<Option<Aggregate>> = if needs_reference {
            let mut made = phases.time("aggregate", || estimation.aggregates(&groups_of))?;
            if made.iter().any(is_transient) {
                // What was answered is stored; what failed is asked once more.
                made = phases.time("aggregate", || estimation.aggregates(&groups_of))?;
            }
            made.into_iter().map(Some).collect()
        } else {
            vec![None; groups.len()]
        };
        let references: BTreeMap<&PromptId, &PseudoReference> = groups
            .iter()
            .zip(&aggregates)
            .filter_map(|(group, aggregate)| match &aggregate.as_ref()?.outcome {
                AggregateOutcome::Estimated(reference) => Some((&group.prompt.id, reference)),
                AggregateOutcome::Abstained(_) => None,
            })
            .collect();
        let reference = |prompt: &PromptId| references.get(prompt).copied();
        let mut rewards = phases.time("reward", || estimation.rewards(&groups_of, &reference))?;
        if rewards.iter().any(GroupReward::is_transient) {
            rewards = phases.time("reward", || estimation.rewards(&groups_of, &reference))?;
        }
        let mut logprobs = if config.needs_reference() {
            phases.time("kl-reference", || self.kl_reference(&groups, &traces))?
        } else {
            Vec::new()
        }
        .into_iter();
        let estimated = tasks.iter().zip(aggregates).zip(rewards);
        Ok(estimated
            .zip(groups.into_iter().zip(traces))
            .map(|(((task, aggregate), reward), (group, traces))| EstimatedGroup {
                task,
                group,
                aggregate,
                reward,
                traces,
                reference_logprobs: logprobs.next(),
            })
            .collect())
    }

    /// Computes the log-probabilities of every rollout under the initial policy, for the distributions of the
    /// policy gradient.
    fn kl_reference(
        &self,
        groups: &[Group],
        traces: &[Vec<RolloutTrace>],
    ) -> Result<Vec<Vec<Vec<f32>>>, Error> {
        let Training { temperature, trace, .. } = *self.training;
        let cut = trace.is_some_and(|trace| trace.cut);
        let distribution = |trace: &RolloutTrace| TokenDistribution {
            temperature,
            kept: cut.then(|| std::sync::Arc::new(trace.kept.clone())),
        };
        let distributions: Vec<_> = traces.iter().flatten().map(distribution).collect();
        let requests: Vec<ScoreRequest> = groups
            .iter()
            .flat_map(|group| {
                group.rollouts.iter().map(|rollout| ScoreRequest {
                    prompt: group.prompt.clone(),
                    continuation: Continuation::Tokens(rollout.token_ids.clone()),
                })
            })
            .collect();
        let reference = self.session.open(&self.cell.model_name)?;
        let scores = reference.score_under(&requests, &distributions)?;
        let mut logprobs = scores.into_iter().map(|scores| scores.logprobs);
        Ok(groups
            .iter()
            .map(|group| logprobs.by_ref().take(group.rollouts.len()).collect())
            .collect())
    }

    /// Makes the updates of the step, pass after pass, mini-batch after mini-batch.
    fn update(
        &self,
        groups: &[TrainedGroup],
        max_new_tokens: u32,
        learner: &mut Learner,
        phases: &mut Phases,
    ) -> Result<Vec<Report>, Error> {
        let settings = &self.training.settings;
        let objective = self.training.objective.build(max_new_tokens)?;
        let mut reports = Vec::new();
        if groups.is_empty() {
            return Ok(reports);
        }
        let part = groups.len().div_ceil(settings.mini_batches as usize);
        for _ in 0..settings.passes {
            for part in groups.chunks(part) {
                let updated = phases.time("update", || learner.update(part, &*objective));
                reports.push(updated.map_err(|source| self.failed(source))?);
            }
        }
        Ok(reports)
    }

    fn record(&self, group: EstimatedGroup<'_>, normalised: GroupAdvantages) -> TrainGroupRecord {
        let EstimatedGroup { task, group, aggregate, reward, traces, .. } = group;
        let score = |text: &str| Some(grade(self.cell.grader.profile()?, &task.label, text).score);
        let scores = group.rollouts.iter().filter_map(|rollout| score(&rollout.text)).collect();
        let reference_score = aggregate.as_ref().and_then(|aggregate| {
            let text = reference_of(aggregate).map_or("", |reference| reference.text.as_str());
            score(text)
        });
        TrainGroupRecord {
            step: self.number,
            prompt: group.prompt.id,
            rollouts: group.rollouts,
            aggregate,
            reward,
            advantages: normalised.advantages,
            scores,
            reference_score,
            token_traces: token_traces(traces),
        }
    }

    fn outcome(
        &self,
        measures: StepMeasures,
        groups: Vec<TrainGroupRecord>,
        reports: &[Report],
        phases: Phases,
        count: Count,
    ) -> Outcome {
        let (seconds, timeline) = phases.into_records();
        let cost = TrainCostRecord {
            ended_at: None,
            step: self.number,
            seconds,
            timeline,
            usage: count.0,
            num_rows: reports.iter().map(|report| report.num_rows as u64).sum(),
            servers: BTreeMap::new(),
        };
        Outcome { measures, groups, cost }
    }
}
