//! Every setting changes the gradient if it applies, and has no effect if a warning says so.

use std::collections::BTreeSet;

use preceptor_core::Settings;
use preceptor_trainer::objective::grpo::{self, Aggregation, Grpo, KlEstimator, LossKl, Ratio};
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::{
    AdamW, AdamWConfig, Baseline, Batch, Decay, Error, Parameter, SampledData, Schedule,
    ScheduleConfig, Sequence, advantages, clip_factor, reward_with_kl, warnings,
};

use crate::support::{Evaluation, evaluate};

/// Creates two groups of four rollouts of one to four tokens, off-policy.
const REWARDS: [[f64; 4]; 2] = [[1.0, 0.0, 0.0, 1.0], [0.2, 0.9, 0.4, 0.6]];

fn number(i: usize, seed: usize, scale: f32) -> f32 {
    ((i * 7919 + seed * 104_729) as f32).sin() * scale
}

/// Computes the gradient of the log-probabilities from rewards, with policies that differ by `distance`
/// nats.
fn gradient_at(config: &grpo::Config, distance: f32) -> Evaluation {
    let (mut sequences, mut logprobs, mut tokens) = (Vec::new(), Vec::new(), 0);
    let mut groups = Vec::new();
    for rewards in REWARDS {
        let mut group = Vec::new();
        for (rollout, reward) in rewards.into_iter().enumerate() {
            let num_tokens = 1 + rollout;
            let ids = tokens..tokens + num_tokens;
            tokens += num_tokens;
            let current: Vec<_> = ids.clone().map(|i| -1.5 + number(i, 1, 1.0)).collect();
            let around = |seed: usize, distance: f32| {
                let pairs = ids.clone().zip(&current);
                pairs.map(|(i, current)| current + number(i, seed, distance)).collect::<Vec<_>>()
            };
            let (old, reference) = (around(2, distance), around(3, 0.7));
            group.push(Some(reward_with_kl(reward, config.reward_kl, &old, &reference)));
            logprobs.extend(&current);
            let sampled =
                SampledData { reference_logprobs: Some(reference), ..SampledData::new(0.0, old) };
            sequences.push(Sequence { num_tokens, sampled: Some(sampled) });
        }
        groups.push(group);
    }
    let groups = advantages(&groups, config.normalization()).expect("they are sound groups");
    let advantages = groups.into_iter().flat_map(|group| group.advantages);
    for (sequence, advantage) in sequences.iter_mut().zip(advantages) {
        let advantage = advantage.expect("all have a reward");
        sequence.sampled.as_mut().expect("all are sampled").advantage = advantage;
    }
    let grpo = Grpo::new(config, 8);
    evaluate(&grpo, &logprobs, Batch::whole(&sequences)).expect("it is a sound batch")
}

fn gradient(config: &grpo::Config) -> Vec<f32> {
    gradient_at(config, 0.6).gradient
}

fn on_policy_gradient(config: &grpo::Config) -> Vec<f32> {
    gradient_at(config, 0.0).gradient
}

fn with_loss_kl(estimator: KlEstimator, coefficient: f64) -> grpo::Config {
    grpo::Config { loss_kl: LossKl { estimator, coefficient }, ..Default::default() }
}

/// Lists every key of a table, as in a file.
fn keys(config: &impl serde::Serialize) -> BTreeSet<String> {
    let value = serde_json::to_value(config).expect("settings are plain data");
    value.as_object().expect("a table").keys().cloned().collect()
}

#[test]
fn every_setting_of_grpo_changes_the_gradient() {
    let default = grpo::Config::default;
    let (k1, k2, k3) = (KlEstimator::K1, KlEstimator::K2, KlEstimator::K3);
    let pairs = [
        (
            "aggregation",
            default(),
            grpo::Config { aggregation: Aggregation::TokenMean, ..default() },
        ),
        (
            "aggregation",
            default(),
            grpo::Config { aggregation: Aggregation::Constant, ..default() },
        ),
        (
            "aggregation",
            grpo::Config { aggregation: Aggregation::TokenMean, ..default() },
            grpo::Config { aggregation: Aggregation::Constant, ..default() },
        ),
        ("clip-low", default(), grpo::Config { clip_low: 0.05, ..default() }),
        ("clip-high", default(), grpo::Config { clip_high: 0.5, ..default() }),
        ("ratio", default(), grpo::Config { ratio: Ratio::Sequence, ..default() }),
        ("std", default(), grpo::Config { std: false, ..default() }),
        ("baseline", default(), grpo::Config { baseline: Baseline::LeaveOneOut, ..default() }),
        ("reward-kl", default(), grpo::Config { reward_kl: 0.01, ..default() }),
        ("loss-kl", with_loss_kl(k3, 0.0), with_loss_kl(k3, 0.1)),
        ("loss-kl", with_loss_kl(k3, 0.1), with_loss_kl(k3, 0.2)),
        ("loss-kl", with_loss_kl(k3, 0.1), with_loss_kl(k1, 0.1)),
        ("loss-kl", with_loss_kl(k3, 0.1), with_loss_kl(k2, 0.1)),
        ("loss-kl", with_loss_kl(k1, 0.1), with_loss_kl(k2, 0.1)),
    ];
    let named: BTreeSet<_> = pairs.iter().map(|(key, _, _)| (*key).to_owned()).collect();
    assert_eq!(named, keys(&default()), "every key is here");
    for (key, one, other) in &pairs {
        let [one, other] = [one, other].map(gradient);
        let change = one.iter().zip(&other).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(change > 1e-4, "{key} changes the gradient by {change}");
    }
}

#[test]
fn every_setting_of_sft_changes_the_gradient() {
    let sequences = [1, 3].map(|num_tokens| Sequence { num_tokens, sampled: None });
    let gradient = |aggregation| {
        let sft = Sft::new(&sft::Config { aggregation });
        evaluate(&sft, &[-1.0; 4], Batch::whole(&sequences)).unwrap().gradient
    };
    assert_eq!(keys(&sft::Config::default()), BTreeSet::from(["aggregation".to_owned()]));
    let by_sequence = gradient(sft::Aggregation::SequenceMeanTokenMean);
    assert_ne!(by_sequence, gradient(sft::Aggregation::TokenMean));
}

/// Returns the weights of a matrix and a vector after three updates.
fn weights_after(config: &AdamWConfig, schedule: &ScheduleConfig) -> Vec<f32> {
    let shapes = [("matrix", vec![2, 3]), ("vector", vec![3])];
    let parameters = shapes.map(|(name, shape)| Parameter { name: name.to_owned(), shape });
    let mut optimizer = AdamW::new(config, &parameters);
    let mut weights = [6, 3].map(|len| (0..len).map(|i| number(i, 1, 1.0)).collect::<Vec<_>>());
    let schedule = Schedule::new(schedule, 3);
    for step in 0..3 {
        let factor = clip_factor([4.0, 0.5, 2.0][step], config.max_gradient_norm);
        let mut update = optimizer.begin(schedule.rate(step as u64), factor);
        for (index, weights) in weights.iter_mut().enumerate() {
            let gradient: Vec<_> = (0..weights.len()).map(|i| number(i, 5 + step, 1.0)).collect();
            update.apply(index, weights, &gradient);
        }
    }
    weights.concat()
}

#[test]
fn every_setting_of_the_optimiser_changes_the_weights() {
    let default = AdamWConfig::default;
    let changed = [
        ("beta1", AdamWConfig { beta1: 0.8, ..default() }),
        ("beta2", AdamWConfig { beta2: 0.9, ..default() }),
        ("epsilon", AdamWConfig { epsilon: 1e-2, ..default() }),
        ("weight-decay", AdamWConfig { weight_decay: 0.1, ..default() }),
        ("decay-vectors", AdamWConfig { decay_vectors: false, ..default() }),
        ("max-gradient-norm", AdamWConfig { max_gradient_norm: 0.0, ..default() }),
    ];
    let named: BTreeSet<_> = changed.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(named, keys(&default()), "every key is here");
    let schedule = ScheduleConfig { learning_rate: 0.1, ..Default::default() };
    let before = weights_after(&default(), &schedule);
    for (key, config) in &changed {
        assert_ne!(before, weights_after(config, &schedule), "{key}");
    }
}

#[test]
fn every_setting_of_the_schedule_changes_the_weights() {
    let default = || ScheduleConfig { learning_rate: 0.1, ..Default::default() };
    let changed = [
        ("kind", ScheduleConfig { kind: Decay::Linear, ..default() }),
        ("kind", ScheduleConfig { kind: Decay::Cosine, ..default() }),
        ("learning-rate", ScheduleConfig { learning_rate: 0.2, ..default() }),
        ("warm-up-updates", ScheduleConfig { warm_up_updates: 2, ..default() }),
    ];
    let named: BTreeSet<_> = changed.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(named, keys(&default()), "every key is here");
    let before = weights_after(&AdamWConfig::default(), &default());
    for (key, schedule) in &changed {
        assert_ne!(before, weights_after(&AdamWConfig::default(), schedule), "{key}");
    }
    let rates = |kind| {
        (0..3)
            .map(|n| Schedule::new(&ScheduleConfig { kind, ..default() }, 3).rate(n))
            .collect::<Vec<_>>()
    };
    assert_ne!(rates(Decay::Linear), rates(Decay::Cosine));
}

const OFF_POLICY: warnings::GrpoRun =
    warnings::GrpoRun { num_updates_per_batch: 4, group_size: 8, has_reference: true };

#[test]
fn settings_with_an_effect_get_no_warning() {
    let dr_grpo =
        grpo::Config { std: false, aggregation: Aggregation::Constant, ..Default::default() };
    for config in [grpo::Config::default(), dr_grpo, with_loss_kl(KlEstimator::K2, 0.1)] {
        assert_eq!(warnings::grpo(&config, OFF_POLICY), [""; 0]);
    }
    assert_eq!(warnings::adamw(&AdamWConfig::default()), [""; 0]);
    assert_eq!(warnings::schedule(&ScheduleConfig::default(), 1), [""; 0]);
}

#[test]
fn on_policy_clipping_and_ratio_have_no_effect_and_get_a_warning() {
    let sequence = grpo::Config { ratio: Ratio::Sequence, ..Default::default() };
    let on_policy = warnings::GrpoRun { num_updates_per_batch: 1, ..OFF_POLICY };
    let found = warnings::grpo(&sequence, on_policy);
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("`clip-low` and `clip-high` have no effect"));
    assert!(found[1].starts_with("`ratio` = `sequence` has no effect"));
    let token = on_policy_gradient(&grpo::Config::default());
    assert_eq!(token, on_policy_gradient(&sequence));
    let tight = grpo::Config { clip_low: 0.01, clip_high: 0.01, ..Default::default() };
    assert_eq!(token, on_policy_gradient(&tight));
}

#[test]
fn an_estimator_without_a_coefficient_has_no_effect_and_gets_a_warning() {
    let config = with_loss_kl(KlEstimator::K2, 0.0);
    assert_eq!(
        warnings::grpo(&config, OFF_POLICY),
        ["`loss-kl.estimator` has no effect: `loss-kl.coefficient` is 0"]
    );
    assert_eq!(gradient(&config), gradient(&grpo::Config::default()));
}

#[test]
fn k1_in_the_loss_ignores_the_reference_and_gets_a_warning() {
    let config = with_loss_kl(KlEstimator::K1, 0.1);
    let found = warnings::grpo(&config, OFF_POLICY);
    assert!(found[0].starts_with("`loss-kl.estimator` = `k1` does not pull"), "{found:?}");
    assert!(!found[0].contains("expectation"));
    let on_policy = warnings::GrpoRun { num_updates_per_batch: 1, ..OFF_POLICY };
    assert!(
        warnings::grpo(&config, on_policy)[1]
            .ends_with("0 in expectation with one update per batch")
    );
    let gradient = |reference: f32| {
        let sampled = SampledData {
            reference_logprobs: Some(vec![reference, -3.0]),
            ..SampledData::new(1.0, vec![-1.0, -2.0])
        };
        let sequences = [Sequence { num_tokens: 2, sampled: Some(sampled) }];
        evaluate(&Grpo::new(&config, 2), &[-1.0, -2.0], Batch::whole(&sequences)).unwrap().gradient
    };
    assert_eq!(gradient(-1.0), gradient(-5.0));
}

#[test]
fn a_reference_that_is_only_measured_gets_a_warning() {
    let config = grpo::Config { reward_kl: 0.0, ..Default::default() };
    let found = warnings::grpo(&config, OFF_POLICY);
    assert!(found[0].starts_with("the KL reference is measured and has no effect"), "{found:?}");
    let without = warnings::GrpoRun { has_reference: false, ..OFF_POLICY };
    assert_eq!(warnings::grpo(&config, without), [""; 0]);
}

#[test]
fn leave_one_out_only_scales_the_gradient_and_gets_a_warning() {
    for std in [true, false] {
        let mean = grpo::Config { std, ..Default::default() };
        let others = grpo::Config { baseline: Baseline::LeaveOneOut, ..mean.clone() };
        let found = warnings::grpo(&others, OFF_POLICY);
        assert!(
            found[0].contains("only multiplies the advantages of a full group by 8/7"),
            "{found:?}"
        );
        for (mean, others) in gradient(&mean).iter().zip(gradient(&others)) {
            assert!((mean * 4.0 / 3.0 - others).abs() < 1e-6, "groups of 4: {mean} {others}");
        }
    }
}

#[test]
fn the_size_of_rewards_in_pairs_has_no_effect_and_gets_a_warning() {
    let config = grpo::Config::default();
    let pairs = warnings::GrpoRun { group_size: 2, ..OFF_POLICY };
    assert!(warnings::grpo(&config, pairs)[0].starts_with("the size of a reward has no effect"));
    let groups = [vec![Some(0.0), Some(1.0)], vec![Some(0.0), Some(0.3)]];
    let found = advantages(&groups, config.normalization()).unwrap();
    for (one, other) in found[0].advantages.iter().zip(&found[1].advantages) {
        assert!((one.unwrap() - other.unwrap()).abs() < 1e-5);
    }
}

#[test]
fn optimiser_and_schedule_settings_without_effect_get_a_warning() {
    let config = AdamWConfig { weight_decay: 0.0, decay_vectors: false, ..Default::default() };
    assert_eq!(warnings::adamw(&config).len(), 1);
    let schedule = ScheduleConfig { learning_rate: 0.1, ..Default::default() };
    let both = AdamWConfig { decay_vectors: true, ..config.clone() };
    assert_eq!(weights_after(&config, &schedule), weights_after(&both, &schedule));
    let cosine = ScheduleConfig { kind: Decay::Cosine, warm_up_updates: 3, ..schedule };
    let constant = ScheduleConfig { kind: Decay::Constant, ..cosine.clone() };
    assert_eq!(warnings::schedule(&cosine, 3).len(), 1);
    assert_eq!(weights_after(&both, &cosine), weights_after(&both, &constant));
}

#[test]
fn rollouts_without_required_values_are_rejected() {
    let grpo = Grpo::new(&with_loss_kl(KlEstimator::K3, 0.1), 4);
    let refuse = |logprobs: &[f32], sampled: Option<SampledData>| {
        let sequences = [Sequence { num_tokens: logprobs.len(), sampled }];
        evaluate(&grpo, logprobs, Batch::whole(&sequences)).err().expect("it is refused")
    };
    let sampled = |old: &[f32], reference: Option<&[f32]>| SampledData {
        reference_logprobs: reference.map(<[f32]>::to_vec),
        ..SampledData::new(1.0, old.to_vec())
    };
    let missing = |error: Error| match error {
        Error::Missing { what, sequence: 0, .. } => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(refuse(&[-1.0], None)), "advantage");
    let error = refuse(&[-1.0], Some(sampled(&[-1.0], None)));
    assert_eq!(missing(error), "log-probabilities of the KL reference");
    let error = refuse(&[-1.0, -1.0], Some(sampled(&[-1.0], None))).to_string();
    assert_eq!(
        error,
        "compute a loss: the log-probability at sampling of sequence 0 has 1 values, expected 2"
    );
}

#[test]
fn a_term_that_is_not_finite_is_named() {
    let grpo = Grpo::new(&with_loss_kl(KlEstimator::K3, 0.1), 4);
    let refuse = |new: f32, old: f32, reference: f32, advantage: f64| {
        let sampled = SampledData {
            reference_logprobs: Some(vec![-1.0, reference]),
            ..SampledData::new(advantage, vec![-1.0, old])
        };
        let sequences = [Sequence { num_tokens: 2, sampled: Some(sampled) }];
        match evaluate(&grpo, &[-1.0, new], Batch::whole(&sequences)).err() {
            Some(Error::NonFiniteTerm { term, sequence: 0, token, .. }) => (term, token),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refuse(f32::NAN, -1.0, -1.0, 1.0), ("the log-probability", 1));
    assert_eq!(refuse(-1.0, f32::NEG_INFINITY, -1.0, 1.0), ("the log-probability at sampling", 1));
    assert_eq!(refuse(-1.0, -1.0, f32::NAN, 1.0), ("the log-probability of the KL reference", 1));
    assert_eq!(refuse(-1.0, -1.0, -1.0, f64::NAN), ("the advantage", 0));
    assert_eq!(refuse(-1.0, -100.0, -1.0, 1.0), ("the probability ratio", 1));
    assert_eq!(refuse(-100.0, -100.0, -1.0, 1.0), ("the probability ratio in `loss-kl`", 1));
}

#[test]
fn settings_out_of_range_and_unknown_keys_are_rejected() {
    let default = grpo::Config::default;
    assert_eq!(default().check(), Ok(()));
    let wrong = [
        (grpo::Config { clip_low: 1.1, ..default() }, "clip-low"),
        (grpo::Config { clip_high: f64::NAN, ..default() }, "clip-high"),
        (grpo::Config { reward_kl: -1e-3, ..default() }, "reward-kl"),
        (with_loss_kl(KlEstimator::K3, f64::INFINITY), "loss-kl.coefficient"),
    ];
    for (config, key) in wrong {
        assert_eq!(config.check().unwrap_err().key, key);
    }
    for text in [r#"{ "clip-lo": 0.1 }"#, r#"{ "loss-kl": { "coef": 0.1 } }"#] {
        let error = serde_json::from_str::<grpo::Config>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
    let text = r#"{ "aggregation": "token-mean", "ratio": "sequence", "baseline": "leave-one-out",
        "std": false, "loss-kl": { "estimator": "k2", "coefficient": 0.5 } }"#;
    let config: grpo::Config = serde_json::from_str(text).unwrap();
    let again = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
    assert_eq!(config, again);
    assert_eq!(config.loss_kl, LossKl { estimator: KlEstimator::K2, coefficient: 0.5 });
}
