//! Compares advantages and losses with `tests/fixtures/parity/*/train_expected.json` of the workspace, from
//! the log-probabilities in the file.

use std::path::Path;
use std::{fs, slice};

use preceptor_trainer::objective::grpo::{self, Aggregation, Grpo, KlEstimator, LossKl, Ratio};
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::{Batch, SampledData, Sequence, advantages, reward_with_kl};
use serde_json::Value;

use crate::support::evaluate;

/// Tolerance for sums of up to twelve log-probabilities, which have seven digits in the file.
const ADVANTAGE_TOLERANCE: f64 = 2e-6;

/// Tolerance for seven digits in the log-probabilities and single precision in both losses.
const LOSS_TOLERANCE: f64 = 1e-5;

fn fixture() -> Value {
    let path = "../../tests/fixtures/parity/llama/train_expected.json";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let text = text.expect("the fixture is in the repository");
    serde_json::from_str(&text).expect("fixtures are valid JSON")
}

fn list(value: &Value) -> slice::Iter<'_, Value> {
    value.as_array().expect("it is a list").iter()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).map(|number| number.as_f64().expect("it lists numbers")).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|number| number as f32).collect()
}

fn close(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs()
}

/// Returns the rewards of a group, minus `coefficient` times the KL divergence.
fn rewards(group: &Value, coefficient: f64) -> Vec<Option<f64>> {
    let scores = numbers(&group["scores"]).into_iter().zip(list(&group["rollouts"]));
    let rewards = scores.map(|(score, rollout)| {
        let [old, reference] = ["old_logprobs", "ref_logprobs"].map(|key| floats(&rollout[key]));
        Some(reward_with_kl(score, coefficient, &old, &reference))
    });
    rewards.collect()
}

/// Returns the configuration of a variant's settings.
fn config(settings: &Value, reward_kl: f64) -> grpo::Config {
    let number = |key: &str, default: f64| settings[key].as_f64().unwrap_or(default);
    grpo::Config {
        aggregation: match settings["aggregation"].as_str().expect("every variant has one") {
            "sequence-mean-token-mean" => Aggregation::SequenceMeanTokenMean,
            "token-mean" => Aggregation::TokenMean,
            "constant" => Aggregation::Constant,
            other => panic!("aggregation {other}"),
        },
        clip_low: number("clip_low", 0.2),
        clip_high: number("clip_high", 0.2),
        ratio: if settings["ratio"] == "sequence" { Ratio::Sequence } else { Ratio::Token },
        reward_kl: if settings["reward_kl"] == true { reward_kl } else { 0.0 },
        loss_kl: LossKl { estimator: KlEstimator::K3, coefficient: number("loss_kl", 0.0) },
        ..grpo::Config::default()
    }
}

#[test]
fn advantages_agree_with_the_reference() {
    let fixture = fixture();
    let coefficient = fixture["reward_kl_coefficient"].as_f64().unwrap();
    let normalization = grpo::Config::default().normalization();
    let mut compared = 0;
    for group in list(&fixture["groups"]) {
        let with_kl = rewards(group, coefficient);
        let with_kl_known: Vec<_> = with_kl.iter().copied().flatten().collect();
        let groups = [rewards(group, 0.0), with_kl];
        let [plain, penalised] = advantages(&groups, normalization).unwrap().try_into().unwrap();
        let known = |group: preceptor_trainer::GroupAdvantages| {
            group.advantages.into_iter().map(Option::unwrap).collect::<Vec<_>>()
        };
        for (found, key) in [
            (with_kl_known, "rewards_with_kl"),
            (known(plain), "advantages"),
            (known(penalised), "advantages_with_kl"),
        ] {
            let expected = numbers(&group[key]);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.into_iter().zip(expected) {
                let difference = (found - expected).abs();
                assert!(difference < ADVANTAGE_TOLERANCE, "{key}: {found} {expected}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 3 * 3 * 4);
}

#[test]
fn losses_and_clip_fractions_agree_with_the_reference() {
    let fixture = fixture();
    let coefficient = fixture["reward_kl_coefficient"].as_f64().unwrap();
    let max_new_tokens = fixture["max_new_tokens"].as_u64().unwrap().try_into().unwrap();
    let variants = fixture["variants"].as_object().unwrap();
    assert_eq!(variants.len(), 7);
    for (name, variant) in variants {
        let config = config(&variant["settings"], coefficient);
        let (mut sequences, mut logprobs) = (Vec::new(), Vec::new());
        for group in list(&fixture["groups"]) {
            let rewards = rewards(group, config.reward_kl);
            let group_advantages =
                advantages(&[rewards], config.normalization()).unwrap().remove(0);
            for (rollout, advantage) in list(&group["rollouts"]).zip(group_advantages.advantages) {
                logprobs.extend(floats(&rollout["logprobs"]));
                let sampled = SampledData {
                    reference_logprobs: Some(floats(&rollout["ref_logprobs"])),
                    ..SampledData::new(advantage.unwrap(), floats(&rollout["old_logprobs"]))
                };
                let num_tokens = sampled.old_logprobs.len();
                sequences.push(Sequence { num_tokens, sampled: Some(sampled) });
            }
        }
        let grpo = Grpo::new(&config, max_new_tokens);
        let found = evaluate(&grpo, &logprobs, Batch::whole(&sequences)).unwrap();
        let expected = variant["loss"].as_f64().unwrap();
        assert!(close(found.loss, expected, LOSS_TOLERANCE), "{name}: {} {expected}", found.loss);
        assert_eq!(found.metrics.clip_fraction(), variant["clip_fraction"].as_f64(), "{name}");
    }
}

#[test]
fn cross_entropy_agrees_with_the_reference() {
    let fixture = fixture();
    let first = |group: &Value| floats(&group["rollouts"][0]["logprobs"]);
    let targets: Vec<_> = list(&fixture["groups"]).map(first).collect();
    let sequence = |target: &Vec<f32>| Sequence { num_tokens: target.len(), sampled: None };
    let sequences: Vec<_> = targets.iter().map(sequence).collect();
    let sft = Sft::new(&sft::Config::default());
    let found = evaluate(&sft, &targets.concat(), Batch::whole(&sequences)).unwrap();
    let expected = fixture["sft"]["loss"].as_f64().unwrap();
    assert!(close(found.loss, expected, LOSS_TOLERANCE), "{} {expected}", found.loss);
}
