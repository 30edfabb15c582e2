//! Comparison of this build with fixtures, the results of another implementation.
//!
//! A folder contains a checkpoint in Hugging Face layout and any of:
//!
//! | file | contents |
//! |---|---|
//! | `expected.json` | logits and log-probabilities of a text, its greedy continuation, the losses of a few updates on it |
//! | `train_expected.json` | groups of rollouts; losses, clip fractions, gradient norms and log-probabilities after one update for several objectives |
//! | `lora/` | an adapter as peft writes it, and the logits with it, in its own `expected.json` |
//!
//! The schema is that of `tests/fixtures/parity`, whose scripts create such folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_models::{
    Device, GroupBatch, Model, Precision, TokenGroup, Trainable, sequence_logits, to_vec,
    token_logprob,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::learner::{Group, Learner, Report};
use crate::objective::grpo::{self, Aggregation, Grpo, KlEstimator, LossKl, Ratio};
use crate::objective::sft::{self, Sft};
use crate::objective::{Objective, SampledData, Sequence};
use crate::{
    AdamWConfig, Decay, OptimizerConfig, Schedule, ScheduleConfig, advantages, reward_with_kl,
};

/// The tolerances. References are in single precision, and logits may differ by a thousand roundings;
/// with 10 or 7 bits of fraction, by 200.
struct Tolerances {
    /// Absolute tolerance of logits and log-probabilities.
    logits: f64,
    /// Tolerance of losses: relative in single precision; else absolute, because some are near 0.
    loss: f64,
    /// Relative tolerance of gradient norms. In narrow formats a token near its bound may be clipped in one
    /// and not in the other, which alone moves the norm of a weight by up to 0.15.
    gradient_norm: f64,
    /// Absolute tolerance of a rollout's log-probability after an update. Adam's first step follows the
    /// gradient's sign, so the rounding of gradients near zero shows; too much in narrow formats, which
    /// skip this comparison.
    after_update: Option<f64>,
    /// Share of different greedy tokens, where two are almost equally likely.
    greedy: f64,
    /// Absolute tolerance of shares of clipped tokens, where a ratio is near its bound.
    clipped: f64,
    precision: Precision,
}

impl Tolerances {
    fn for_model(model: &Model) -> Self {
        let precision = model.device().precision();
        let [logits, loss, gradient_norm, greedy, clipped] = match precision {
            Precision::Single => [1e-4, 1e-4, 1e-3, 0.0, 1e-9],
            Precision::Tf32 | Precision::F16 => [0.1, 0.02, 0.2, 0.1, 0.15],
            Precision::Bf16 => [0.8, 0.15, 0.4, 0.3, 0.3],
        };
        let after_update = (precision == Precision::Single).then_some(2e-2);
        Self { logits, loss, gradient_norm, after_update, greedy, clipped, precision }
    }

    fn loss(&self, what: impl Into<String>) -> Comparison {
        Comparison::new(what, self.loss, self.precision == Precision::Single)
    }

    fn gradient_norm(&self, what: impl Into<String>) -> Comparison {
        Comparison::new(what, self.gradient_norm, true)
    }
}

/// The difference between this build and a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The name of the values.
    pub what: String,
    /// Number of values compared.
    pub compared: usize,
    /// The largest difference.
    pub largest: f64,
    /// The tolerance.
    pub tolerance: f64,
    /// True if differences are relative to the reference's value.
    pub relative: bool,
}

impl Comparison {
    /// Returns true if every difference is within the tolerance. NaN is not.
    pub fn holds(&self) -> bool {
        self.largest <= self.tolerance
    }

    fn new(what: impl Into<String>, tolerance: f64, relative: bool) -> Self {
        Self { what: what.into(), compared: 0, largest: 0.0, tolerance, relative }
    }

    fn add(&mut self, found: f64, expected: f64) {
        let scale = if self.relative { expected.abs().max(f64::MIN_POSITIVE) } else { 1.0 };
        let difference = (found - expected).abs() / scale;
        self.compared += 1;
        // NaN counts as the largest difference.
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        self.largest = self.largest.max(difference);
    }

    /// Adds a pair of which either may be missing. A missing value never agrees.
    fn add_pair(&mut self, found: Option<f64>, expected: Option<f64>) {
        match found.zip(expected) {
            Some((found, expected)) => self.add(found, expected),
            None => self.largest = f64::INFINITY,
        }
    }

    fn add_all(&mut self, found: &[f32], expected: &[f64]) {
        if found.len() != expected.len() {
            self.largest = f64::INFINITY;
        }
        for (found, expected) in found.iter().zip(expected) {
            self.add(f64::from(*found), *expected);
        }
    }
}

/// Error for a folder that can't be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParityError {
    /// A fixture can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A fixture has another schema.
    #[error("read the fixture `{}`: {detail}\nhint: fixtures are made by the scripts in tests/fixtures/parity", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The problem and its location.
        detail: String,
    },
    /// The folder has no fixtures.
    #[error("compare `{}`: it has neither `expected.json` nor `train_expected.json`\nhint: fixtures are made by the scripts in tests/fixtures/parity", folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// The checkpoint or its adapter can't be loaded.
    #[error(transparent)]
    Model(#[from] preceptor_models::Error),
    /// An update can't be computed.
    #[error(transparent)]
    Update(#[from] crate::Error),
}

/// Compares this build on `device` with the fixtures of `folder`.
///
/// # Errors
///
/// If the comparison can't be made. A difference beyond its tolerance is not an error.
pub fn check(folder: &Path, device: &Device) -> Result<Vec<Comparison>, ParityError> {
    let expected: Option<Expected> = read(&folder.join("expected.json"))?;
    let training: Option<Training> = read(&folder.join("train_expected.json"))?;
    if expected.is_none() && training.is_none() {
        return Err(ParityError::Nothing { folder: folder.to_owned() });
    }
    let model = Model::load(folder, device)?;
    let mut found = Vec::new();
    if let Some(expected) = &expected {
        found.extend(forward(&model, expected));
        found.extend(updates_on_a_text(&model, expected)?);
        found.extend(adapter(&model, folder, expected)?);
    }
    if let Some(training) = &training {
        found.extend(objectives(&model, training)?);
    }
    Ok(found)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ParityError> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes =
        fs::read(path).map_err(|source| ParityError::Read { path: path.to_owned(), source })?;
    let parsed = serde_json::from_slice(&bytes).map_err(|error| ParityError::Schema {
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    Ok(Some(parsed))
}

#[derive(Deserialize)]
struct Expected {
    input_ids: Vec<u32>,
    /// Log-probabilities by position.
    logits: BTreeMap<usize, Vec<f64>>,
    next_token_logprobs: Vec<f64>,
    greedy_ids: Vec<u32>,
    train: TextTraining,
}

#[derive(Deserialize)]
struct TextTraining {
    loss_before_step: Vec<f64>,
    total_grad_norm: f64,
}

#[derive(Deserialize)]
struct Adapted {
    logits: BTreeMap<usize, Vec<f64>>,
}

#[derive(Deserialize)]
struct Training {
    max_new_tokens: u32,
    reward_kl_coefficient: f64,
    groups: Vec<GroupFixture>,
    variants: BTreeMap<String, Variant>,
    sft: Outcome,
}

#[derive(Deserialize)]
struct GroupFixture {
    prompt_ids: Vec<u32>,
    scores: Vec<f64>,
    rollouts: Vec<RolloutFixture>,
}

#[derive(Deserialize)]
struct RolloutFixture {
    ids: Vec<u32>,
    logprobs: Vec<f64>,
    old_logprobs: Vec<f32>,
    ref_logprobs: Vec<f32>,
}

#[derive(Deserialize)]
struct Variant {
    settings: Settings,
    clip_fraction: f64,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    aggregation: Aggregation,
    #[serde(default)]
    reward_kl: bool,
    #[serde(default)]
    loss_kl: f64,
    #[serde(default)]
    ratio: Ratio,
    clip_low: Option<f64>,
    clip_high: Option<f64>,
}

#[derive(Deserialize)]
struct Outcome {
    loss: f64,
    grad_norm: f64,
    grad_norms: BTreeMap<String, f64>,
    after_step_sequence_logprobs: Vec<Vec<f64>>,
}

fn compare_logits(
    what: &str,
    rows: &[Vec<f32>],
    expected: &BTreeMap<usize, Vec<f64>>,
    tolerances: &Tolerances,
) -> Comparison {
    let mut comparison = Comparison::new(what, tolerances.logits, false);
    for (position, expected) in expected {
        comparison.add_all(rows.get(*position).map_or(&[][..], |row| row), expected);
    }
    comparison
}

fn forward(model: &Model, expected: &Expected) -> Vec<Comparison> {
    let allowed = Tolerances::for_model(model);
    let tokens = &expected.input_ids;
    let rows = sequence_logits(model.decoder(), tokens);
    let found: Vec<f32> =
        rows.iter().zip(&tokens[1..]).map(|(row, next)| token_logprob(row, *next)).collect();
    let mut logprobs = Comparison::new("log-probabilities", allowed.logits, false);
    logprobs.add_all(&found, &expected.next_token_logprobs);

    let most = allowed.greedy * expected.greedy_ids.len() as f64;
    let mut greedy = Comparison::new("greedy tokens (wrong ones)", most.floor(), false);
    let mut continued = tokens.clone();
    for expected in &expected.greedy_ids {
        let last = sequence_logits(model.decoder(), &continued).pop().unwrap_or_default();
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap_or(0);
        greedy.compared += 1;
        greedy.largest += f64::from(u8::from(best != *expected as usize));
        continued.push(*expected);
    }
    vec![compare_logits("logits", &rows, &expected.logits, &allowed), logprobs, greedy]
}

/// Creates a learner with the optimiser of the fixtures, without clipping if `max_gradient_norm` is 0.
fn learner(model: &Model, max_gradient_norm: f64) -> Learner {
    let schedule =
        ScheduleConfig { kind: Decay::Constant, learning_rate: 1e-3, warm_up_updates: 0 };
    let optimizer = AdamWConfig { max_gradient_norm, ..AdamWConfig::default() };
    let optimizer = OptimizerConfig::AdamW(optimizer);
    Learner::new(Trainable::full(model), &optimizer, Schedule::new(&schedule, 1), usize::MAX)
}

fn updates_on_a_text(model: &Model, expected: &Expected) -> Result<Vec<Comparison>, ParityError> {
    let TextTraining { loss_before_step, total_grad_norm } = &expected.train;
    let allowed = Tolerances::for_model(model);
    let mut losses = allowed.loss("losses before each update on a text");
    let mut norms = allowed.gradient_norm("gradient norm on a text");
    let mut learner = learner(model, 0.0);
    let target = expected.input_ids[1..].to_vec();
    let sequences = vec![Sequence { num_tokens: target.len(), sampled: None }];
    let group =
        Group { prompt: expected.input_ids[..1].to_vec(), rollouts: vec![target], sequences };
    for (step, expected) in loss_before_step.iter().enumerate() {
        let report =
            learner.update(std::slice::from_ref(&group), &Sft::new(&sft::Config::default()))?;
        losses.add(report.loss, *expected);
        // The first updates follow the signs of gradients, so rounding affects later losses more.
        losses.tolerance = allowed.loss * (step + 1) as f64;
        if step == 0 {
            norms.add(report.gradient_norm, *total_grad_norm);
        }
    }
    Ok(vec![losses, norms])
}

fn adapter(
    model: &Model,
    folder: &Path,
    expected: &Expected,
) -> Result<Vec<Comparison>, ParityError> {
    let folder = folder.join("lora");
    let Some(adapted) = read::<Adapted>(&folder.join("expected.json"))? else {
        return Ok(Vec::new());
    };
    let trainable = Trainable::load_adapter(model, &folder)?;
    let allowed = Tolerances::for_model(model);
    let apart = sequence_logits(trainable.graph(0).decoder(), &expected.input_ids);
    let merged = sequence_logits(trainable.merged()[0].decoder(), &expected.input_ids);
    Ok(vec![
        compare_logits("logits with the adapter", &apart, &adapted.logits, &allowed),
        compare_logits("logits with the adapter merged", &merged, &adapted.logits, &allowed),
    ])
}

fn objectives(model: &Model, training: &Training) -> Result<Vec<Comparison>, ParityError> {
    let allowed = Tolerances::for_model(model);
    let mut comparisons = Vec::new();
    let mut logprobs = Comparison::new("log-probabilities of rollouts", allowed.logits, false);
    for (found, expected) in sequence_logprobs(&Trainable::full(model), training)
        .into_iter()
        .zip(training.groups.iter().flat_map(|group| &group.rollouts))
    {
        logprobs.add_all(&found, &expected.logprobs);
    }
    comparisons.push(logprobs);
    for (name, Variant { settings, clip_fraction, outcome }) in &training.variants {
        let default = grpo::Config::default();
        let config = grpo::Config {
            aggregation: settings.aggregation,
            ratio: settings.ratio,
            clip_low: settings.clip_low.unwrap_or(default.clip_low),
            clip_high: settings.clip_high.unwrap_or(default.clip_high),
            reward_kl: if settings.reward_kl { training.reward_kl_coefficient } else { 0.0 },
            loss_kl: LossKl { estimator: KlEstimator::K3, coefficient: settings.loss_kl },
            ..default
        };
        let groups = rollout_groups(training, &config)?;
        let objective = Grpo::new(&config, training.max_new_tokens);
        let report = compare_update(
            model,
            training,
            &groups,
            &objective,
            (name, outcome),
            &mut comparisons,
        )?;
        let mut clipped = Comparison::new(format!("{name}: clip fraction"), allowed.clipped, false);
        clipped.add_pair(report.metrics.clip_fraction(), Some(*clip_fraction));
        comparisons.push(clipped);
    }
    let targets = training.groups.iter().map(|group| {
        let target = group.rollouts[0].ids.clone();
        let sequences = vec![Sequence { num_tokens: target.len(), sampled: None }];
        Group { prompt: group.prompt_ids.clone(), rollouts: vec![target], sequences }
    });
    let targets: Vec<Group> = targets.collect();
    let objective = Sft::new(&sft::Config::default());
    compare_update(
        model,
        training,
        &targets,
        &objective,
        ("sft", &training.sft),
        &mut comparisons,
    )?;
    Ok(comparisons)
}

fn rollout_groups(training: &Training, config: &grpo::Config) -> Result<Vec<Group>, ParityError> {
    let reward = |score: &f64, rollout: &RolloutFixture| {
        let RolloutFixture { old_logprobs, ref_logprobs, .. } = rollout;
        Some(reward_with_kl(*score, config.reward_kl, old_logprobs, ref_logprobs))
    };
    let rewards: Vec<Vec<_>> = training
        .groups
        .iter()
        .map(|group| group.scores.iter().zip(&group.rollouts).map(|(s, r)| reward(s, r)).collect())
        .collect();
    let advantages = advantages(&rewards, config.normalization())?;
    let groups = training.groups.iter().zip(advantages).map(|(group, advantages)| {
        let sequence = |(rollout, advantage): (&RolloutFixture, Option<f64>)| Sequence {
            num_tokens: rollout.ids.len(),
            sampled: Some(SampledData {
                reference_logprobs: Some(rollout.ref_logprobs.clone()),
                ..SampledData::new(advantage.unwrap_or(0.0), rollout.old_logprobs.clone())
            }),
        };
        Group {
            prompt: group.prompt_ids.clone(),
            rollouts: group.rollouts.iter().map(|rollout| rollout.ids.clone()).collect(),
            sequences: group.rollouts.iter().zip(advantages.advantages).map(sequence).collect(),
        }
    });
    Ok(groups.collect())
}

fn compare_update(
    model: &Model,
    training: &Training,
    groups: &[Group],
    objective: &dyn Objective,
    (name, outcome): (&str, &Outcome),
    comparisons: &mut Vec<Comparison>,
) -> Result<Report, ParityError> {
    let allowed = Tolerances::for_model(model);
    let mut learner = learner(model, 1.0);
    let report = learner.update(groups, objective)?;
    let mut loss = allowed.loss(format!("{name}: loss"));
    loss.add(report.loss, outcome.loss);
    let mut norm = allowed.gradient_norm(format!("{name}: gradient norm"));
    norm.add(report.gradient_norm, outcome.grad_norm);
    let mut norms = allowed.gradient_norm(format!("{name}: gradient norm by weight"));
    let parameters = learner.trainable().parameters();
    for (parameter, found) in parameters.iter().zip(&report.gradient_norms) {
        norms.add_pair(Some(*found), outcome.grad_norms.get(&parameter.name).copied());
    }
    comparisons.extend([loss, norm, norms]);
    if let Some(tolerance) = allowed.after_update {
        let what = format!("{name}: log-probability after an update");
        let mut after = Comparison::new(what, tolerance, false);
        let found = sequence_logprobs(learner.trainable(), training);
        let sums = found.iter().map(|logprobs| logprobs.iter().copied().map(f64::from).sum());
        for (found, expected) in sums.zip(outcome.after_step_sequence_logprobs.iter().flatten()) {
            after.add(found, *expected);
        }
        comparisons.push(after);
    }
    Ok(report)
}

/// Computes the log-probabilities of every rollout's tokens, group after group.
fn sequence_logprobs(trainable: &Trainable, training: &Training) -> Vec<Vec<f32>> {
    let graph = trainable.graph(0);
    let rollouts: Vec<Vec<Vec<u32>>> = training
        .groups
        .iter()
        .map(|group| group.rollouts.iter().map(|rollout| rollout.ids.clone()).collect())
        .collect();
    let groups: Vec<_> = training
        .groups
        .iter()
        .zip(&rollouts)
        .map(|(group, rollouts)| TokenGroup { prompt: &group.prompt_ids, rollouts })
        .collect();
    let (logprobs, _) = GroupBatch::new(&groups).token_logprobs(graph.decoder());
    let mut rest = to_vec(logprobs.without_autodiff());
    rollouts
        .iter()
        .flatten()
        .map(|rollout| {
            let tail = rest.split_off(rollout.len());
            std::mem::replace(&mut rest, tail)
        })
        .collect()
}
