//! One step of training: rollouts or targets, what they are worth, the updates.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Instant;

use preceptor_answers::{classify, extract_boxed};
use preceptor_benchmarks::{Task, grade};
use preceptor_core::record::{Score, TrainCostRecord, TrainGroupRecord};
use preceptor_core::{
    Aggregate, AggregateOutcome, Continuation, GenerationObserver, GenerationRequest, Generator,
    Group, GroupReward, Origin, PromptId, PseudoReference, Rollout, RolloutSeed, ScoreRequest,
    Usage,
};
use preceptor_models::LocalModel;
use preceptor_trainer::objective::grpo;
use preceptor_trainer::{
    Group as TrainedGroup, GroupAdvantages, Learner, Report, Sampled, Sequence, Signal, advantages,
    reward_with_kl,
};

use super::order::prompts_of_step;
use super::settings::{Training, Truncated};
use crate::Error;
use crate::drawing::prompt_seed;
use crate::estimation::Estimation;
use crate::plan::Cell;
use crate::recorded_model::Switchboard;

/// A step that is about to be done.
#[derive(Clone, Copy)]
pub(crate) struct Step<'s, 'a> {
    pub(crate) cell: &'s Cell,
    pub(crate) training: &'s Training,
    pub(crate) board: &'s Switchboard<'a>,
    /// From 1.
    pub(crate) number: u64,
}

/// What a step was.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) measures: BTreeMap<String, f64>,
    pub(crate) groups: Vec<TrainGroupRecord>,
    pub(crate) cost: TrainCostRecord,
}

/// The wall-clock time of the phases of a step.
#[derive(Debug, Default)]
pub(crate) struct Phases(BTreeMap<String, f64>);

impl Phases {
    pub(crate) fn time<T>(&mut self, phase: &str, work: impl FnOnce() -> T) -> T {
        #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost only")]
        let started = Instant::now();
        let done = work();
        *self.0.entry(phase.to_owned()).or_default() += started.elapsed().as_secs_f64();
        done
    }

    pub(crate) fn into_seconds(self) -> BTreeMap<String, f64> {
        self.0
    }
}

/// Counts tokens.
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

/// A group with what was made of it.
struct Estimated<'t> {
    task: &'t Task,
    group: Group,
    aggregate: Option<Aggregate>,
    reward: GroupReward,
    /// Log-probabilities of each rollout under the KL reference, where there is one.
    reference_logprobs: Option<Vec<Vec<f32>>>,
}

impl<'s> Step<'s, '_> {
    /// The tasks of the step.
    fn tasks(&self) -> Vec<&'s Task> {
        let tasks = &self.cell.tasks.tasks;
        let prompts_a_step = self.training.settings.prompts_a_step as usize;
        prompts_of_step(self.cell.seed, tasks.len(), prompts_a_step, self.number)
            .into_iter()
            .map(|place| &tasks[place])
            .collect()
    }

    /// The name of the step's random streams.
    fn stage_prefix(&self) -> String {
        format!("train/{}/", self.number)
    }

    /// A step of GRPO with `policy`, whose weights are those of `learner`.
    pub(crate) fn grpo(
        &self,
        config: &grpo::Config,
        policy: &LocalModel,
        learner: &mut Learner,
    ) -> Result<Outcome, Error> {
        let Self { cell, training, .. } = self;
        let mut phases = Phases::default();
        let mut count = Count::default();
        let tasks = self.tasks();
        let rollouts = phases.time("rollouts", || self.draw(&tasks, policy, &mut count))?;
        let estimated = self.estimate(config, &tasks, rollouts, policy, &mut phases)?;

        let mut with_kl = Vec::new();
        for group in &estimated {
            let rewards = group.group.rollouts.iter().zip(&group.reward.rewards).enumerate();
            let reward =
                |(index, (rollout, reward)): (usize, (&Rollout, &preceptor_core::Reward))| {
                    let value = reward.value.value().filter(|_| !rollout.token_ids.is_empty())?;
                    let Some(reference) = &group.reference_logprobs else { return Some(value) };
                    Some(reward_with_kl(
                        value,
                        config.reward_kl,
                        &rollout.logprobs,
                        &reference[index],
                    ))
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
        for (group, normalised) in estimated.iter().zip(&normalised) {
            groups.extend(self.trained_group(policy, group, normalised)?);
        }
        let reports = self.update(&groups, cell.sampling.max_new_tokens, learner, &mut phases)?;

        let mut measures = measures_of(&reports);
        self.measure_rewards(&estimated, &with_kl, &normalised, &mut measures);
        let records: Vec<_> = phases.time("record", || {
            let pairs = estimated.into_iter().zip(normalised);
            pairs.map(|(group, normalised)| self.record(group, normalised)).collect()
        });
        self.measure_groups(&records, &mut measures);
        Ok(self.outcome(measures, records, &reports, phases, count))
    }

    /// A step of supervised fine-tuning on pseudo-references, by prompt.
    pub(crate) fn sft(
        &self,
        targets: &BTreeMap<PromptId, Vec<u32>>,
        policy: &LocalModel,
        learner: &mut Learner,
    ) -> Result<Outcome, Error> {
        let mut phases = Phases::default();
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
        measures.insert("reference-missing".to_owned(), share(missing, tasks.len()));
        Ok(self.outcome(measures, Vec::new(), &reports, phases, Count::default()))
    }

    fn failed(&self, source: preceptor_trainer::Error) -> Error {
        Error::Step { label: self.cell.label(), step: self.number, source }
    }

    fn draw(
        &self,
        tasks: &[&Task],
        policy: &LocalModel,
        count: &mut Count,
    ) -> Result<Vec<Vec<Rollout>>, Error> {
        let stage = format!("{}rollouts", self.stage_prefix());
        let requests: Vec<_> = tasks
            .iter()
            .map(|task| {
                let seed = prompt_seed(self.cell.seed, &stage, &task.prompt.id);
                let rollout =
                    |index| RolloutSeed { index, seed: seed.derive_index(u64::from(index)) };
                let rollouts = (0..self.cell.group_size).map(rollout).collect();
                GenerationRequest { prompt: task.prompt.clone(), rollouts }
            })
            .collect();
        Ok(policy.generate(&requests, &self.cell.sampling, count)?)
    }

    /// Pseudo-references, rewards and log-probabilities of the KL reference.
    fn estimate<'t>(
        &self,
        config: &grpo::Config,
        tasks: &[&'t Task],
        rollouts: Vec<Vec<Rollout>>,
        policy: &LocalModel,
        phases: &mut Phases,
    ) -> Result<Vec<Estimated<'t>>, Error> {
        let Self { cell, board, .. } = *self;
        let groups: Vec<Group> = tasks
            .iter()
            .zip(rollouts)
            .map(|(task, rollouts)| Group { prompt: task.prompt.clone(), rollouts })
            .collect();
        let groups_of: Vec<&Group> = groups.iter().collect();
        let stage_prefix = self.stage_prefix();
        let estimation = Estimation { cell, board, policy, stage_prefix: &stage_prefix };
        let needs_reference = crate::stages::needs_of(&cell.reward).reference;
        let aggregates: Vec<Option<Aggregate>> = match needs_reference {
            false => vec![None; groups.len()],
            true => {
                let made = phases.time("aggregate", || estimation.aggregates(&groups_of))?;
                made.into_iter().map(Some).collect()
            }
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
        let rewards = phases.time("reward", || estimation.rewards(&groups_of, &reference))?;
        let mut logprobs = match config.needs_reference() {
            false => Vec::new(),
            true => phases.time("kl-reference", || self.kl_reference(&groups))?,
        }
        .into_iter();
        let estimated = tasks.iter().zip(aggregates).zip(rewards);
        Ok(estimated
            .zip(groups)
            .map(|(((task, aggregate), reward), group)| Estimated {
                task,
                group,
                aggregate,
                reward,
                reference_logprobs: logprobs.next(),
            })
            .collect())
    }

    /// Log-probabilities of every rollout under the initial policy.
    fn kl_reference(&self, groups: &[Group]) -> Result<Vec<Vec<Vec<f32>>>, Error> {
        let requests: Vec<ScoreRequest> = groups
            .iter()
            .flat_map(|group| {
                group.rollouts.iter().map(|rollout| ScoreRequest {
                    prompt: group.prompt.clone(),
                    continuation: Continuation::Tokens(rollout.token_ids.clone()),
                })
            })
            .collect();
        let scores = self.board.open(&self.cell.model_name)?.score(&requests)?;
        let mut logprobs = scores.into_iter().map(|scores| scores.logprobs);
        Ok(groups
            .iter()
            .map(|group| logprobs.by_ref().take(group.rollouts.len()).collect())
            .collect())
    }

    /// What the learner is given of a group; nothing where no rollout takes part.
    fn trained_group(
        &self,
        policy: &LocalModel,
        group: &Estimated<'_>,
        normalised: &GroupAdvantages,
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
                sampled: Some(Sampled {
                    advantage,
                    old_logprobs: rollout.logprobs.clone(),
                    reference_logprobs: reference.map(|logprobs| logprobs[index].clone()),
                }),
            });
        }
        if rollouts.is_empty() {
            return Ok(None);
        }
        let prompt = policy.model().prompt_tokens(&group.group.prompt)?;
        Ok(Some(TrainedGroup { prompt, rollouts, sequences }))
    }

    /// The updates of the step, pass after pass, mini-batch after mini-batch.
    fn update(
        &self,
        groups: &[TrainedGroup],
        max_new_tokens: u32,
        learner: &mut Learner,
        phases: &mut Phases,
    ) -> Result<Vec<Report>, Error> {
        let settings = &self.training.settings;
        let objective = self.training.objective.build(max_new_tokens);
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

    fn measure_rewards(
        &self,
        estimated: &[Estimated<'_>],
        with_kl: &[Vec<Option<f64>>],
        normalised: &[GroupAdvantages],
        measures: &mut BTreeMap<String, f64>,
    ) {
        let mut put = |name: &str, value: Option<f64>| {
            measures.extend(value.map(|value| (name.to_owned(), value)));
        };
        let rewards: Vec<f64> = estimated
            .iter()
            .flat_map(|group| group.reward.rewards.iter().filter_map(|reward| reward.value.value()))
            .collect();
        put("reward-mean", mean(&rewards));
        put("reward-std", standard_deviation(&rewards));
        let with_kl: Vec<f64> = with_kl.iter().flatten().copied().flatten().collect();
        put("reward-with-kl-mean", mean(&with_kl));
        let log_ratios: Vec<f64> = estimated
            .iter()
            .flat_map(|group| {
                group.group.rollouts.iter().zip(group.reference_logprobs.iter().flatten())
            })
            .flat_map(|(rollout, reference)| rollout.logprobs.iter().zip(reference))
            .map(|(&old, &reference)| f64::from(old) - f64::from(reference))
            .collect();
        put("kl", mean(&log_ratios));
        let num_groups = normalised.len();
        for (name, signal) in [
            ("groups-varied", Signal::Varied),
            ("groups-zero-variance", Signal::ZeroVariance),
            ("groups-too-few-rewards", Signal::TooFewRewards),
        ] {
            let count = normalised.iter().filter(|group| group.signal == signal).count();
            put(name, Some(share(count, num_groups)));
        }
        let advantages: Vec<_> = normalised.iter().flat_map(|group| &group.advantages).collect();
        let left_out = advantages.iter().filter(|advantage| advantage.is_none()).count();
        put("left-out", Some(share(left_out, advantages.len())));
    }

    fn measure_groups(&self, records: &[TrainGroupRecord], measures: &mut BTreeMap<String, f64>) {
        let rollouts = || records.iter().flat_map(|record| &record.rollouts);
        let lengths: Vec<usize> = rollouts().map(|rollout| rollout.token_ids.len()).collect();
        measure_lengths(&lengths, measures);
        let truncated = rollouts().filter(|rollout| rollout.finish.is_truncated()).count();
        let mut put = |name: &str, value: Option<f64>| {
            measures.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("truncated", Some(share(truncated, lengths.len())));
        let estimated: Vec<_> = records
            .iter()
            .filter_map(|record| Some((record, record.aggregate.as_ref()?)))
            .collect();
        let missing = estimated.iter().filter(|(_, aggregate)| reference_of(aggregate).is_none());
        let missing = missing.count();
        if !estimated.is_empty() {
            put("reference-missing", Some(share(missing, estimated.len())));
        }
        if self.cell.grader.profile().is_none() {
            return;
        }
        let (mut unique, mut without, mut differs) = (Vec::new(), 0, Vec::new());
        for record in records {
            let texts = record.rollouts.iter().map(|rollout| rollout.text.as_str());
            let reference = record.aggregate.as_ref().and_then(reference_of);
            let found = texts.chain(reference.map(|reference| reference.text.as_str()));
            let answers: Vec<_> = found.map(|text| extract_boxed(text).answer).collect();
            let answers: Vec<_> = answers.iter().map(Option::as_deref).collect();
            let own = classify(&answers[..record.rollouts.len()]);
            unique.push(own.classes.iter().filter(|class| !class.is_abstention()).count() as f64);
            without += own.num_abstentions();
            if let (Some(_), false) = (reference, own.largest().is_empty()) {
                // Classes come in the order of their first answers, so those of the group keep theirs.
                let class = classify(&answers).class_of[record.rollouts.len()];
                differs.push(f64::from(u8::from(!own.largest().contains(&class))));
            }
        }
        put("unique-answers", mean(&unique));
        put("no-answer", Some(share(without, lengths.len())));
        put("reference-differs", mean(&differs));
        let scores = records.iter().flat_map(|record| &record.scores);
        put("score-mean", mean(&scores.filter_map(Score::value).collect::<Vec<_>>()));
        let references =
            records.iter().filter_map(|record| record.reference_score.as_ref()?.value());
        put("reference-score", mean(&references.collect::<Vec<_>>()));
    }

    fn record(&self, group: Estimated<'_>, normalised: GroupAdvantages) -> TrainGroupRecord {
        let Estimated { task, group, aggregate, reward, .. } = group;
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
        }
    }

    fn outcome(
        &self,
        mut measures: BTreeMap<String, f64>,
        groups: Vec<TrainGroupRecord>,
        reports: &[Report],
        phases: Phases,
        count: Count,
    ) -> Outcome {
        measures.retain(|_, value| value.is_finite());
        let cost = TrainCostRecord {
            step: self.number,
            seconds: phases.into_seconds(),
            usage: count.0,
            num_rows: reports.iter().map(|report| report.num_rows as u64).sum(),
        };
        Outcome { measures, groups, cost }
    }
}

/// The tokens of the pseudo-reference `reference` of `group` as a target: as they were sampled where it
/// is a rollout, else the text's, with what ends it.
pub(crate) fn target(
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

fn reference_of(aggregate: &Aggregate) -> Option<&PseudoReference> {
    match &aggregate.outcome {
        AggregateOutcome::Estimated(reference) => Some(reference),
        AggregateOutcome::Abstained(_) => None,
    }
}

fn measures_of(reports: &[Report]) -> BTreeMap<String, f64> {
    let mut measures = BTreeMap::new();
    let (Some(first), Some(last)) = (reports.first(), reports.last()) else { return measures };
    let mut put = |name: &str, value: Option<f64>| {
        measures.extend(value.map(|value| (name.to_owned(), value)));
    };
    let mean_of =
        |number: fn(&Report) -> f64| mean(&reports.iter().map(number).collect::<Vec<_>>());
    put("learning-rate", Some(last.learning_rate));
    put("loss", mean_of(|report| report.loss));
    put("entropy", mean_of(|report| report.entropy));
    put("gradient-norm", mean_of(|report| report.gradient_norm));
    let clipped: Vec<f64> = reports.iter().filter_map(|r| r.metrics.clip_fraction()).collect();
    put("clip-fraction", mean(&clipped));
    put("sampler-gap", first.metrics.from_sampling.max_abs_log_ratio());
    measures
}

fn measure_lengths(lengths: &[usize], measures: &mut BTreeMap<String, f64>) {
    let numbers: Vec<f64> = lengths.iter().map(|length| *length as f64).collect();
    measures.extend(mean(&numbers).map(|mean| ("tokens-mean".to_owned(), mean)));
    let most = lengths.iter().max().map(|most| ("tokens-max".to_owned(), *most as f64));
    measures.extend(most);
}

fn share(count: usize, of: usize) -> f64 {
    count as f64 / of.max(1) as f64
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// With n - 1 in its denominator.
fn standard_deviation(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (numbers.len() > 1).then(|| (squares / (numbers.len() - 1) as f64).sqrt())
}
