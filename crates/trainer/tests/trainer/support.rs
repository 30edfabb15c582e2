//! Gradients of objectives, random batches, and the loss in double precision.

use burn::tensor::{Device, Tensor};
use preceptor_trainer::objective::grpo::{self, Aggregation, KlEstimator, Ratio};
use preceptor_trainer::objective::{CorrectionKind, CorrectionLevel, SamplerCorrection};
use preceptor_trainer::{Batch, Error, Metrics, Objective, SampledData, Sequence};
use proptest::prelude::*;

/// Computes a loss, its gradient with respect to the log-probabilities, and its measures.
pub(crate) struct Evaluation {
    pub(crate) loss: f64,
    pub(crate) gradient: Vec<f32>,
    pub(crate) metrics: Metrics,
}

pub(crate) fn evaluate(
    objective: &dyn Objective,
    logprobs: &[f32],
    batch: Batch<'_>,
) -> Result<Evaluation, Error> {
    let logprobs = Tensor::<1>::from_data(logprobs, &Device::flex()).autodiff().require_grad();
    let loss = objective.loss(logprobs.clone(), batch)?;
    let gradients = loss.loss.backward();
    let gradient = logprobs.grad(&gradients).expect("the loss depends on them");
    Ok(Evaluation {
        loss: f64::from(loss.loss.into_scalar::<f32>()),
        gradient: gradient.try_into_vec_as().expect("floats are read as floats"),
        metrics: loss.metrics,
    })
}

/// Rollouts and the current log-probabilities of their tokens.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) logprobs: Vec<f32>,
}

/// Rollouts whose policies differ by up to half a nat per token.
pub(crate) fn cases(
    num_sequences: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Case> {
    let token = (-6.0..-0.1_f32, -0.5..0.5_f32, -0.5..0.5_f32, -0.5..0.5_f32);
    let rollout = (-2.0..2.0_f64, prop::collection::vec(token, 1..8));
    prop::collection::vec(rollout, num_sequences).prop_map(|rollouts| {
        let mut logprobs = Vec::new();
        let sequences = rollouts.into_iter().map(|(advantage, tokens)| {
            logprobs.extend(tokens.iter().map(|token| token.0));
            let old_logprobs = tokens.iter().map(|token| token.0 - token.1).collect();
            let reference = tokens.iter().map(|token| token.0 - token.2).collect();
            let reference_logprobs = Some(reference);
            let sampler = tokens.iter().map(|token| token.0 - token.1 - token.3).collect();
            let sampled = SampledData {
                sampler_logprobs: Some(sampler),
                reference_logprobs,
                ..SampledData::new(advantage, old_logprobs)
            };
            Sequence { num_tokens: tokens.len(), sampled: Some(sampled) }
        });
        let sequences = sequences.collect();
        Case { sequences, logprobs }
    })
}

/// The maximum number of tokens of a rollout of [`cases`].
pub(crate) const MAX_NEW_TOKENS: u32 = 8;

/// Lists every combination of the settings that determine the form of the loss.
pub(crate) fn forms() -> Vec<grpo::Config> {
    let mut forms = Vec::new();
    let mut corrections = Vec::new();
    for kind in [CorrectionKind::Truncate, CorrectionKind::Mask] {
        for level in [CorrectionLevel::Token, CorrectionLevel::Sequence] {
            for (low, high) in [(0.0, 1.2), (0.8, 1.3)] {
                corrections.push(SamplerCorrection { kind, level, low, high });
            }
        }
    }
    for aggregation in
        [Aggregation::SequenceMeanTokenMean, Aggregation::TokenMean, Aggregation::Constant]
    {
        for ratio in [Ratio::Token, Ratio::Sequence] {
            for (estimator, coefficient) in [
                (KlEstimator::K3, 0.0),
                (KlEstimator::K1, 0.3),
                (KlEstimator::K2, 0.3),
                (KlEstimator::K3, 0.3),
            ] {
                let loss_kl = grpo::LossKl { estimator, coefficient };
                let (clip_low, clip_high) = (0.1, 0.15);
                let config = grpo::Config {
                    aggregation,
                    ratio,
                    loss_kl,
                    clip_low,
                    clip_high,
                    ..Default::default()
                };
                // The correction is an independent factor, so each form has one of its kinds. The ratio
                // of a sequence has the gradient of its definition if all of its weights are equal.
                let fits = |c: &&SamplerCorrection| {
                    ratio == Ratio::Token || c.level == CorrectionLevel::Sequence
                };
                let corrections: Vec<_> = corrections.iter().filter(fits).collect();
                let sampler_correction = corrections[forms.len() / 2 % corrections.len()].clone();
                forms.push(grpo::Config { sampler_correction, ..config.clone() });
                forms.push(config);
            }
        }
    }
    forms
}

/// Computes the loss by its definition in double precision, with the ratio of a sequence in its own form.
pub(crate) fn loss_by_definition(config: &grpo::Config, case: &Case, logprobs: &[f64]) -> f64 {
    let num_sequences = case.sequences.len() as f64;
    let num_tokens = logprobs.len() as f64;
    let (mut loss, mut rest) = (0.0, logprobs);
    for sequence in &case.sequences {
        let (current, after) = rest.split_at(sequence.num_tokens);
        rest = after;
        let sampled = sequence.sampled.as_ref().expect("all are sampled");
        let reference = sampled.reference_logprobs.as_ref().expect("all have one");
        let length = current.len() as f64;
        let difference = |a: f64, b: f32| a - f64::from(b);
        let log_ratios: Vec<_> = current
            .iter()
            .zip(&sampled.old_logprobs)
            .map(|(&new, &old)| difference(new, old))
            .collect();
        let mean = log_ratios.iter().sum::<f64>() / length;
        let sampler = sampled.sampler_logprobs.as_ref().expect("all have one");
        let weights = config.sampler_correction.weights(&sampled.old_logprobs, sampler);
        let mut sum = 0.0;
        for (token, log_ratio) in log_ratios.iter().enumerate() {
            let ratio = if config.ratio == Ratio::Sequence { mean.exp() } else { log_ratio.exp() };
            let bounded = ratio.max(1.0 - config.clip_low).min(1.0 + config.clip_high);
            let gain = (ratio * sampled.advantage).min(bounded * sampled.advantage);
            let l = difference(current[token], reference[token]);
            let kl = match config.loss_kl.estimator {
                KlEstimator::K1 => l,
                KlEstimator::K2 => 0.5 * l * l,
                KlEstimator::K3 => (-l).exp() + l - 1.0,
            };
            sum += -gain * f64::from(weights[token]) + config.loss_kl.coefficient * kl;
        }
        loss += match config.aggregation {
            Aggregation::SequenceMeanTokenMean => sum / length / num_sequences,
            Aggregation::TokenMean => sum / num_tokens,
            Aggregation::Constant => sum / num_sequences / f64::from(MAX_NEW_TOKENS),
        };
    }
    loss
}

/// Returns true if a ratio is at a kink of the clipped term, where there is no gradient to compare.
pub(crate) fn has_bend(config: &grpo::Config, case: &Case) -> bool {
    let mut rest = case.logprobs.as_slice();
    let bounds = [1.0 - config.clip_low, 1.0 + config.clip_high];
    let mut bends = false;
    for sequence in &case.sequences {
        let (current, after) = rest.split_at(sequence.num_tokens);
        rest = after;
        let old = &sequence.sampled.as_ref().expect("all are sampled").old_logprobs;
        let log_ratios: Vec<_> =
            current.iter().zip(old).map(|(new, old)| f64::from(new - old)).collect();
        let mean = log_ratios.iter().sum::<f64>() / log_ratios.len() as f64;
        for log_ratio in log_ratios.into_iter().chain([mean]) {
            bends |= bounds.iter().any(|bound| (log_ratio.exp() - bound).abs() < 1e-3);
        }
    }
    bends
}
