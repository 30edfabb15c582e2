//! Compares losses and gradients with the definition in double precision.

use preceptor_trainer::objective::grpo::Grpo;
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::{Batch, Sequence};
use proptest::prelude::*;

use crate::support::{MAX_NEW_TOKENS, cases, evaluate, forms, has_bend, loss_by_definition};

/// Tolerance of single precision over a few dozen terms of size 1.
const LOSS_TOLERANCE: f64 = 1e-5;

/// Tolerance of gradients; central differences add about 1e-9.
const GRADIENT_TOLERANCE: f64 = 1e-5;

/// Step of the central differences.
const STEP: f64 = 1e-5;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_form_of_grpo_has_the_loss_and_gradient_of_its_definition(case in cases(1..5)) {
        for config in forms() {
            if has_bend(&config, &case) {
                continue;
            }
            let grpo = Grpo::new(&config, MAX_NEW_TOKENS);
            let found = evaluate(&grpo, &case.logprobs, Batch::whole(&case.sequences)).unwrap();
            let mut logprobs: Vec<f64> = case.logprobs.iter().copied().map(f64::from).collect();
            let expected = loss_by_definition(&config, &case, &logprobs);
            prop_assert!((found.loss - expected).abs() < LOSS_TOLERANCE, "{} {expected} {config:?}", found.loss);
            for token in 0..logprobs.len() {
                let at = logprobs[token];
                logprobs[token] = at + STEP;
                let above = loss_by_definition(&config, &case, &logprobs);
                logprobs[token] = at - STEP;
                let below = loss_by_definition(&config, &case, &logprobs);
                logprobs[token] = at;
                let expected = (above - below) / (2.0 * STEP);
                let found = f64::from(found.gradient[token]);
                prop_assert!((found - expected).abs() < GRADIENT_TOLERANCE, "{found} {expected} {config:?}");
            }
        }
    }

    #[test]
    fn the_gradient_of_cross_entropy_is_minus_the_weight_of_a_token(
        lengths in prop::collection::vec(1..9_usize, 1..6),
    ) {
        let sequences: Vec<_> =
            lengths.iter().map(|&num_tokens| Sequence { num_tokens, sampled: None }).collect();
        let num_tokens: usize = lengths.iter().sum();
        let logprobs: Vec<_> = (0..num_tokens).map(|token| -0.1 - token as f32).collect();
        for aggregation in [sft::Aggregation::SequenceMeanTokenMean, sft::Aggregation::TokenMean] {
            let sft = Sft::new(&sft::Config { aggregation });
            let found = evaluate(&sft, &logprobs, Batch::whole(&sequences)).unwrap();
            let mut gradient = found.gradient.into_iter();
            for &length in &lengths {
                let weight = match aggregation {
                    sft::Aggregation::SequenceMeanTokenMean => 1.0 / (lengths.len() * length) as f64,
                    sft::Aggregation::TokenMean => 1.0 / num_tokens as f64,
                };
                for _ in 0..length {
                    prop_assert!((f64::from(gradient.next().unwrap()) + weight).abs() < 1e-7);
                }
            }
        }
    }
}
