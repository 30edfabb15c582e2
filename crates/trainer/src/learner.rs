//! A model in training: its weights, optimiser and learning rate, and their update.

use std::ops::Range;

use preceptor_models::{
    GradientSums, GroupBatch, LayerStates, Pass, Precision, TokenGroup, Trainable, side_by_side,
    to_vec,
};

use crate::adamw::OptimizerState;
use crate::objective::{Batch, Metrics, Objective, Sequence, Totals};
use crate::optimizer::{Optimizer, OptimizerConfig};
use crate::schedule::Schedule;
use crate::{Error, GradientNorm, clip_factor};

/// The initial loss scale in `f16`, whose smallest value is 6e-8, so that small gradients don't vanish.
/// When gradients overflow, the scale is divided by sixteen and the pass is repeated.
const LARGEST_LOSS_SCALE: f32 = 65_536.0;

/// A prompt with its rollouts or targets, and the objective's data for each.
#[derive(Clone, Debug)]
pub struct Group {
    /// Tokens of the prompt, 1 or more.
    pub prompt: Vec<u32>,
    /// Tokens of each rollout, 1 or more.
    pub rollouts: Vec<Vec<u32>>,
    /// The objective's data for each rollout.
    pub sequences: Vec<Sequence>,
}

/// The report of an update.
#[derive(Clone, Debug)]
pub struct Report {
    /// The loss before the update.
    pub loss: f64,
    /// Measures over the tokens.
    pub metrics: Metrics,
    /// Mean entropy of the distributions of the tokens, in nats.
    pub entropy: f64,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f64,
    /// Norm of the gradient of each parameter, before clipping, in their order.
    pub gradient_norms: Vec<f64>,
    /// The learning rate of this update.
    pub learning_rate: f64,
    /// Rows read: prompts once per micro-batch, and rollouts.
    pub num_rows: usize,
    /// Number of passes whose gradients were added up.
    pub num_micro_batches: usize,
}

impl Report {
    /// Adds the share of a pass.
    fn add(&mut self, share: PassReport) {
        self.loss += share.loss;
        self.metrics = std::mem::take(&mut self.metrics).merged(share.metrics);
        self.entropy += share.entropy;
        self.num_rows += share.num_rows;
        self.num_micro_batches += 1;
    }
}

/// Trained weights with their optimiser.
#[derive(Debug)]
pub struct Learner {
    trainable: Trainable,
    optimizer: Optimizer,
    schedule: Schedule,
    max_gradient_norm: f64,
    rows_per_micro_batch: usize,
    layer_states: LayerStates,
    temperature: f64,
}

impl Learner {
    /// Creates a learner whose optimiser has no history. `rows_per_micro_batch` bounds the memory of a
    /// pass: it reads as many rollouts as fit, and a longer one alone.
    pub fn new(
        trainable: Trainable,
        optimizer: &OptimizerConfig,
        schedule: Schedule,
        rows_per_micro_batch: usize,
    ) -> Self {
        Self {
            optimizer: Optimizer::new(optimizer, &trainable),
            max_gradient_norm: optimizer.max_gradient_norm(),
            trainable,
            schedule,
            rows_per_micro_batch,
            layer_states: LayerStates::default(),
            temperature: 1.0,
        }
    }

    /// Creates a learner that resumes from the state of an optimiser; `trainable` has the weights of the
    /// same update.
    ///
    /// # Errors
    ///
    /// [`Error::OptimizerState`] if the state belongs to other parameters.
    pub fn restore(
        trainable: Trainable,
        optimizer: &OptimizerConfig,
        state: OptimizerState,
        schedule: Schedule,
        rows_per_micro_batch: usize,
    ) -> Result<Self, Error> {
        let restored = Optimizer::restore(optimizer, &trainable, state)?;
        let new = Self::new(trainable, optimizer, schedule, rows_per_micro_batch);
        Ok(Self { optimizer: restored, ..new })
    }

    /// Sets the treatment of layer states between the forward and the backward pass.
    #[must_use]
    pub fn with_layer_states(self, layer_states: LayerStates) -> Self {
        Self { layer_states, ..self }
    }

    /// Sets the temperature, above 0, that divides logits before log-probabilities are computed.
    #[must_use]
    pub fn with_temperature(self, temperature: f64) -> Self {
        Self { temperature, ..self }
    }

    /// Returns the weights.
    pub fn trainable(&self) -> &Trainable {
        &self.trainable
    }

    /// Returns the state of the optimiser.
    pub fn optimizer_state(&self) -> &OptimizerState {
        self.optimizer.state()
    }

    /// Runs an update that lowers the loss of `groups`.
    ///
    /// Gradients of micro-batches add up to those of the whole, up to the rounding of the sum. Several
    /// devices each run a micro-batch at a time. On the CPU their gradients are added in the order of the
    /// micro-batches, so that the sum is bit-identical to that of one device. A GPU adds up its own first.
    ///
    /// # Errors
    ///
    /// The errors of the objective; [`Error::NonFiniteGradient`]. Weights and optimiser are not changed
    /// then.
    pub fn update(&mut self, groups: &[Group], objective: &dyn Objective) -> Result<Report, Error> {
        let mut scale = match self.trainable.device().precision() {
            Precision::F16 => LARGEST_LOSS_SCALE,
            _ => 1.0,
        };
        let (report, gradients) = loop {
            match self.gradients(groups, objective, scale) {
                Err(Error::NonFiniteGradient { .. }) if scale > 1.0 => scale /= 16.0,
                found => break found?,
            }
        };
        let factor = clip_factor(report.gradient_norm, self.max_gradient_norm);
        self.optimizer.step(report.learning_rate, factor, &mut self.trainable, &gradients);
        Ok(report)
    }

    /// Computes the log-probabilities of every rollout's tokens under the current weights with the operations
    /// of an update, group after group.
    pub fn logprobs(&self, groups: &[Group]) -> Vec<Vec<f32>> {
        let sequences: Vec<Sequence> =
            groups.iter().flat_map(|group| group.sequences.iter().cloned()).collect();
        let micro_batches = micro_batches(groups, &sequences, self.rows_per_micro_batch);
        let replicas = self.trainable.num_replicas();
        let mut logprobs = Vec::with_capacity(sequences.len());
        for round in micro_batches.chunks(replicas) {
            let tasks: Vec<_> = round.iter().enumerate().collect();
            let found = side_by_side(tasks, |(replica, micro_batch)| {
                let batch = self.batch(micro_batch);
                // There is no backward pass, so layer states are not stored.
                let pass = Pass::new(&self.trainable, replica, &batch, LayerStates::Recomputed);
                to_vec(pass.token_logprobs().0.without_autodiff())
            });
            for (micro_batch, found) in round.iter().zip(found) {
                let mut rest = found.into_iter();
                for sequence in micro_batch.sequences {
                    logprobs.push(rest.by_ref().take(sequence.num_tokens).collect());
                }
            }
        }
        logprobs
    }

    /// Lays out the rows of a pass.
    fn batch(&self, micro_batch: &MicroBatch<'_>) -> GroupBatch {
        let sampled = micro_batch.sequences.iter().filter_map(|s| s.sampled.as_ref());
        let kept = sampled.filter_map(|sampled| sampled.kept.as_deref()).flatten().cloned();
        GroupBatch::new(&micro_batch.groups).with_distribution(self.temperature, kept.collect())
    }

    /// Computes the gradient of every parameter. The backward pass runs on `loss_scale` times the loss.
    fn gradients(
        &self,
        groups: &[Group],
        objective: &dyn Objective,
        loss_scale: f32,
    ) -> Result<(Report, Vec<Vec<f32>>), Error> {
        let sequences: Vec<Sequence> =
            groups.iter().flat_map(|group| group.sequences.iter().cloned()).collect();
        let totals = Totals::count(&sequences);
        let mut report = Report {
            loss: 0.0,
            metrics: Metrics::default(),
            entropy: 0.0,
            gradient_norm: 0.0,
            gradient_norms: Vec::new(),
            learning_rate: self.schedule.rate(self.optimizer.state().num_updates),
            num_rows: 0,
            num_micro_batches: 0,
        };
        let micro_batches = micro_batches(groups, &sequences, self.rows_per_micro_batch);
        let replicas = 0..self.trainable.num_replicas();
        let mut sums: Vec<_> = replicas.map(|r| self.trainable.gradient_sums(r)).collect();
        for round in micro_batches.chunks(sums.len()) {
            let tasks = round.iter().zip(sums.iter_mut().enumerate()).collect();
            let done = side_by_side(tasks, |(micro_batch, (replica, sum))| {
                self.pass(replica, micro_batch, totals, objective, loss_scale, sum)
            });
            for share in done {
                report.add(share?);
            }
            GradientSums::gather(&mut sums);
        }
        sums.iter_mut().for_each(GradientSums::bring_to_host);
        GradientSums::gather(&mut sums);
        let mut gradients = sums.swap_remove(0).into_values();
        report.entropy /= totals.num_tokens.max(1) as f64;

        let mut norm = GradientNorm::default();
        for (parameter, gradient) in self.trainable.parameters().iter().zip(&mut gradients) {
            gradient.resize(parameter.values.len(), 0.0);
            if loss_scale != 1.0 {
                // The scale is a power of two, so nothing is rounded.
                gradient.iter_mut().for_each(|value| *value /= loss_scale);
            }
            report.gradient_norms.push(norm.add(&parameter.name, gradient)?);
        }
        report.gradient_norm = norm.value();
        Ok((report, gradients))
    }

    /// Runs a forward and a backward pass and adds the gradients to `sum`.
    fn pass(
        &self,
        replica: usize,
        micro_batch: &MicroBatch<'_>,
        totals: Totals,
        objective: &dyn Objective,
        loss_scale: f32,
        sum: &mut GradientSums,
    ) -> Result<PassReport, Error> {
        let MicroBatch { sequences, .. } = micro_batch;
        let batch = self.batch(micro_batch);
        let pass = Pass::new(&self.trainable, replica, &batch, self.layer_states);
        let (logprobs, entropies) = pass.token_logprobs();
        let loss = objective.loss(logprobs, Batch { sequences, totals })?;
        let share = PassReport {
            loss: f64::from(loss.loss.clone().into_scalar::<f32>()),
            metrics: loss.metrics,
            entropy: entropies.iter().copied().map(f64::from).sum(),
            num_rows: batch.num_rows(),
        };
        pass.add_gradients((loss.loss * loss_scale).backward(), sum);
        Ok(share)
    }
}

/// The share of a pass in a report.
struct PassReport {
    loss: f64,
    metrics: Metrics,
    entropy: f64,
    num_rows: usize,
}

/// The groups of a pass, and the objective's data for each rollout.
struct MicroBatch<'a> {
    groups: Vec<TokenGroup<'a>>,
    sequences: &'a [Sequence],
}

/// Cuts the rollouts of groups, with their `sequences`, into passes of at most `rows` rows. A rollout that
/// does not fit together with its prompt is a pass of its own.
fn micro_batches<'a>(
    groups: &'a [Group],
    mut sequences: &'a [Sequence],
    rows: usize,
) -> Vec<MicroBatch<'a>> {
    let mut parts: Vec<Vec<(usize, Range<usize>)>> = Vec::new();
    let mut held: Option<usize> = None;
    for (group_index, group) in groups.iter().enumerate() {
        for (index, rollout) in group.rollouts.iter().enumerate() {
            let last = parts.last().and_then(|part| part.last());
            let continues = last.is_some_and(|(last, _)| *last == group_index);
            let prompt = if continues { 0 } else { group.prompt.len() };
            let more = held.map(|held| held + prompt + rollout.len());
            let Some(more) = more.filter(|more| *more <= rows) else {
                parts.push(vec![(group_index, index..index + 1)]);
                held = Some(group.prompt.len() + rollout.len());
                continue;
            };
            held = Some(more);
            let part = parts.last_mut().expect("the first rollout begins one");
            match part.last_mut() {
                Some((_, rollouts)) if continues => rollouts.end = index + 1,
                _ => part.push((group_index, index..index + 1)),
            }
        }
    }
    let micro_batch = |part: Vec<(usize, Range<usize>)>| {
        let num = part.iter().map(|(_, rollouts)| rollouts.len()).sum();
        let (of_part, rest) = sequences.split_at(num);
        sequences = rest;
        let of = |(group, rollouts): (usize, Range<usize>)| TokenGroup {
            prompt: &groups[group].prompt,
            rollouts: &groups[group].rollouts[rollouts],
        };
        MicroBatch { groups: part.into_iter().map(of).collect(), sequences: of_part }
    };
    parts.into_iter().map(micro_batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(prompt: usize, lengths: &[usize]) -> Group {
        let rollouts: Vec<Vec<u32>> = lengths.iter().map(|len| vec![1; *len]).collect();
        let sequence = |len: &usize| Sequence { num_tokens: *len, sampled: None };
        let sequences = lengths.iter().map(sequence).collect();
        Group { prompt: vec![1; prompt], rollouts, sequences }
    }

    /// Returns the lengths of each pass's prompts with those of their rollouts.
    fn lengths(groups: &[Group], rows: usize) -> Vec<Vec<(usize, Vec<usize>)>> {
        let sequences: Vec<_> = groups.iter().flat_map(|group| group.sequences.clone()).collect();
        let of = |group: &TokenGroup<'_>| {
            (group.prompt.len(), group.rollouts.iter().map(Vec::len).collect())
        };
        let batches = micro_batches(groups, &sequences, rows);
        for batch in &batches {
            let rollouts = batch.groups.iter().flat_map(|group| group.rollouts);
            let lengths: Vec<_> = batch.sequences.iter().map(|s| s.num_tokens).collect();
            assert_eq!(rollouts.map(Vec::len).collect::<Vec<_>>(), lengths);
        }
        batches.iter().map(|batch| batch.groups.iter().map(of).collect()).collect()
    }

    #[test]
    fn passes_have_as_many_rollouts_as_fit_or_a_single_longer_one() {
        let groups = [group(10, &[5, 5, 5]), group(3, &[2, 90]), group(4, &[1])];
        let expected = [
            vec![(10, vec![5, 5, 5])],
            vec![(3, vec![2])],
            vec![(3, vec![90])],
            vec![(4, vec![1])],
        ];
        assert_eq!(lengths(&groups, 25), expected);
        let all = [vec![(10, vec![5, 5, 5]), (3, vec![2, 90]), (4, vec![1])]];
        assert_eq!(lengths(&groups, 1000), all);
        assert_eq!(lengths(&groups, 1).len(), 6);
    }
}
