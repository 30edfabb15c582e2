//! Micro-batches add up to the batch.

use preceptor_trainer::objective::grpo::Grpo;
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::{Batch, Metrics, Objective};
use proptest::prelude::*;

use crate::support::{Case, MAX_NEW_TOKENS, cases, evaluate, forms};

/// Tolerance of sums in single precision, for losses of size 1; gradients have no sums over sequences.
const LOSS_TOLERANCE: f64 = 1e-6;

fn check(objective: &dyn Objective, case: &Case, micro_batch: usize) {
    let batch = Batch::whole(&case.sequences);
    let whole = evaluate(objective, &case.logprobs, batch).expect("it is a sound batch");
    let (mut loss, mut gradient, mut metrics) = (0.0, Vec::new(), Metrics::default());
    for start in (0..case.sequences.len()).step_by(micro_batch) {
        let part = batch.part(start..(start + micro_batch).min(case.sequences.len()));
        let logprobs = &case.logprobs[gradient.len()..][..part.num_tokens()];
        let share = evaluate(objective, logprobs, part).expect("it is a sound batch");
        loss += share.loss;
        gradient.extend(share.gradient);
        metrics = metrics.merged(share.metrics);
    }
    assert!((loss - whole.loss).abs() < LOSS_TOLERANCE, "{loss} {}", whole.loss);
    assert_eq!(gradient, whole.gradient, "bit-identical");
    assert_eq!(metrics.num_tokens, whole.metrics.num_tokens);
    assert_eq!(metrics.clip_fraction(), whole.metrics.clip_fraction());
    let [found, expected] = [metrics, whole.metrics].map(|m| m.from_reference.k3().unwrap_or(0.0));
    assert!((found - expected).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn four_times_four_equals_sixteen(case in cases(16)) {
        for config in forms() {
            check(&Grpo::new(&config, MAX_NEW_TOKENS), &case, 4);
        }
        for aggregation in [sft::Aggregation::SequenceMeanTokenMean, sft::Aggregation::TokenMean] {
            check(&Sft::new(&sft::Config { aggregation }), &case, 4);
        }
    }

    #[test]
    fn any_split_equals_the_whole(case in cases(1..10), micro_batch in 1..10_usize) {
        for config in forms() {
            check(&Grpo::new(&config, MAX_NEW_TOKENS), &case, micro_batch);
        }
    }
}
