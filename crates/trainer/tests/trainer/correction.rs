//! Compares losses with a correction for the sampler, and their gradients, with torch.

use preceptor_trainer::objective::SamplerCorrection;
use preceptor_trainer::objective::grpo::{Config, Grpo, LossKl};
use preceptor_trainer::{Batch, Error, SampledData, Sequence};
use serde::Deserialize;

use crate::support::evaluate;

/// Tolerance of single precision over a few dozen terms of size 1.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Fixture {
    lengths: Vec<usize>,
    advantages: Vec<f64>,
    current: Vec<f32>,
    old: Vec<f32>,
    sampler: Vec<f32>,
    reference: Vec<f32>,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    correction: SamplerCorrection,
    loss: f64,
    gradient: Vec<f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../torch/correction_expected.json")).expect("valid")
}

fn sequences(fixture: &Fixture) -> Vec<Sequence> {
    let mut start = 0;
    let sequence = |(&num_tokens, &advantage)| {
        let range = start..start + num_tokens;
        start += num_tokens;
        let sampled = SampledData {
            sampler_logprobs: Some(fixture.sampler[range.clone()].to_vec()),
            reference_logprobs: Some(fixture.reference[range.clone()].to_vec()),
            ..SampledData::new(advantage, fixture.old[range].to_vec())
        };
        Sequence { num_tokens, sampled: Some(sampled) }
    };
    fixture.lengths.iter().zip(&fixture.advantages).map(sequence).collect()
}

fn objective(sampler_correction: SamplerCorrection) -> Grpo {
    let loss_kl = LossKl { coefficient: 0.05, ..LossKl::default() };
    Grpo::new(&Config { loss_kl, sampler_correction, ..Config::default() }, 8)
}

#[test]
fn losses_and_gradients_with_a_correction_are_those_of_torch() {
    let fixture = fixture();
    let sequences = sequences(&fixture);
    assert_eq!(fixture.runs.len(), 12);
    for run in &fixture.runs {
        let grpo = objective(run.correction.clone());
        let found = evaluate(&grpo, &fixture.current, Batch::whole(&sequences)).unwrap();
        let correction = &run.correction;
        assert!((found.loss - run.loss).abs() < TOLERANCE, "{} {correction:?}", found.loss);
        for (found, expected) in found.gradient.iter().zip(&run.gradient) {
            assert!((f64::from(*found) - expected).abs() < TOLERANCE, "{found} {correction:?}");
        }
    }
}

#[test]
fn a_correction_without_the_sampler_s_log_probabilities_is_refused() {
    let fixture = fixture();
    let mut sequences = sequences(&fixture);
    let without = sequences[1].sampled.as_mut().unwrap();
    without.sampler_logprobs = None;
    let grpo = objective(fixture.runs[0].correction.clone());
    let error = evaluate(&grpo, &fixture.current, Batch::whole(&sequences)).err().unwrap();
    assert!(matches!(&error, Error::Missing { sequence: 1, .. }), "{error}");
    let text = error.to_string();
    assert!(text.ends_with("set `sampler-correction.kind` to `none`"), "{text}");
    let short = sequences[1].sampled.as_mut().unwrap();
    short.sampler_logprobs = Some(vec![-1.0, -2.0]);
    let error = evaluate(&grpo, &fixture.current, Batch::whole(&sequences)).err().unwrap();
    assert!(matches!(error, Error::TokenCount { sequence: 1, .. }), "{error}");
}
