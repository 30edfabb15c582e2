//! Settings of training as a process: temperature and cuts, sources of log-probabilities, evaluations.

use std::fs;

use serde_json::Value;

use crate::process::Folder;
use crate::training::{of_kind, weights, write_manifest};

/// Runs the tiny training with `settings`; its folder.
fn trained(settings: &[&str]) -> Folder {
    let folder = Folder::new();
    write_manifest(&folder);
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["run", "train.toml"].into_iter().chain(set).collect();
    folder.run(&arguments).expect_done();
    folder
}

fn measure(step: &Value, name: &str) -> Option<f64> {
    step["measures"][name].as_f64()
}

#[test]
fn trainer_and_sampler_agree_at_another_temperature_and_under_a_cut_distribution() {
    let cut = ["sampling.temperature=0.7", "sampling.top-k=20", "sampling.top-p=0.8"];
    let renormalise = [&cut[..], &["train.objective.renormalise=true"]].concat();
    let whole = trained(&cut);
    let scored = trained(&renormalise);
    for folder in [&whole, &scored] {
        let steps = of_kind(folder, "runs", "train-steps");
        assert_eq!(steps.len(), 6);
        for step in &steps {
            assert_eq!(measure(step, "sampler-gap"), Some(0.0), "{step}");
            let mass = measure(step, "kept-mass").expect("recorded");
            assert!(mass > 0.0 && mass < 1.0, "{step}");
        }
        assert_eq!(measure(&steps[0], "kl"), Some(0.0), "the policy begins as the KL reference");
    }
    assert!(weights(&whole, "runs") != weights(&scored, "runs"), "the gradient is another one");
    // Each token has its record; under the cut distribution it is likelier.
    let token = |folder: &Folder, field: &str| {
        let group = &of_kind(folder, "runs", "train-groups")[0];
        let trace = &group["token-traces"][0];
        assert_eq!(
            trace["logprobs"].as_array().map(Vec::len),
            group["rollouts"][0]["token_ids"]
                .as_array()
                .or(group["rollouts"][0]["token-ids"].as_array())
                .map(Vec::len)
        );
        trace[field][0].as_f64().expect("a number")
    };
    let (plain, kept) = (token(&whole, "logprobs"), token(&scored, "logprobs"));
    let mass = token(&whole, "kept-mass").ln();
    assert!((plain - mass - kept).abs() < 1e-4, "{plain} {mass} {kept}");
    let other = trained(&[&cut[..], &["train.objective.temperature=1.0"]].concat());
    assert!(weights(&whole, "runs") != weights(&other, "runs"), "temperature is in the gradient");
}

#[test]
fn at_temperature_1_without_cuts_nothing_is_traced_and_both_temperatures_are_one() {
    let sampling = trained(&[]);
    let one = trained(&["train.objective.temperature=1.0"]);
    assert!(weights(&sampling, "runs") == weights(&one, "runs"));
    assert!(of_kind(&sampling, "runs", "train-groups")[0].get("token-traces").is_none());
}

#[test]
fn recomputed_log_probabilities_are_the_samplers_on_the_cpu() {
    let sampler = trained(&["train.old-logprobs=sampler", "sampling.temperature=0.8"]);
    let recomputed = trained(&["train.old-logprobs=recompute", "sampling.temperature=0.8"]);
    assert!(weights(&sampler, "runs") == weights(&recomputed, "runs"));
    for step in of_kind(&recomputed, "runs", "train-steps") {
        assert_eq!(measure(&step, "sampler-gap"), Some(0.0), "{step}");
        assert_eq!(measure(&step, "sampler-log-ratio-p99"), Some(0.0), "{step}");
        assert_eq!(measure(&step, "sampler-effective-size"), Some(1.0), "{step}");
        assert_eq!(measure(&step, "sampler-outside"), None, "no bounds are set: {step}");
    }
    // Every ratio is 1, so a correction changes nothing.
    let corrected = trained(&[
        "train.objective.sampler-correction={ kind = \"mask\", low = 0.9, high = 1.1 }",
        "sampling.temperature=0.8",
    ]);
    assert!(weights(&sampler, "runs") == weights(&corrected, "runs"));
    for step in of_kind(&corrected, "runs", "train-steps") {
        assert_eq!(measure(&step, "sampler-outside"), Some(0.0), "{step}");
    }
}

#[test]
fn a_cut_distribution_is_warned_about_and_impossible_settings_are_refused() {
    let folder = Folder::new();
    write_manifest(&folder);
    let said = |settings: &[&str]| {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["run", "train.toml"].into_iter().chain(set).collect();
        folder.run(&arguments).said()
    };
    let plan = folder.run(&["plan", "train.toml", "--set", "sampling.top-k=5"]).expect_done();
    assert!(plan.stdout.contains("cut the distribution"), "{}", plan.stdout);
    for (name, settings) in [
        ("greedy", &["sampling.temperature=0"][..]),
        (
            "renormalise",
            &[
                "train.objective.renormalise=true",
                "train.objective.temperature=1.0",
                "sampling.temperature=0.5",
            ],
        ),
        ("temperature", &["train.objective.temperature=0.5"]),
        (
            "correction-of-sampler",
            &["train.old-logprobs=sampler", "train.objective.sampler-correction.kind=truncate"],
        ),
        ("correction-bounds", &["train.objective.sampler-correction.high=0.5"]),
        ("split", &["train.evaluate=[\"validation\"]"]),
        ("final-split", &["train.final-split=validation", "validation={ skip = 30, limit = 2 }"]),
        (
            "loss-of-grpo",
            &["train.early-stopping.metric=loss", "validation={ skip = 30, limit = 2 }"],
        ),
        (
            "score-not-evaluated",
            &[
                "train.early-stopping.patience=2",
                "validation={ skip = 30, limit = 2 }",
                "train.evaluate=[\"held-out\"]",
            ],
        ),
    ] {
        insta::assert_snapshot!(format!("training-refused-{name}"), said(settings));
    }
}

#[test]
fn only_the_named_splits_are_evaluated_and_the_final_policy_answers_the_named_one() {
    let settings = [
        "train.evaluate=[\"held-out\"]",
        "train.evaluation-prompts=2",
        "held-out={ skip = 20, limit = 9 }",
        "train.final-split=held-out",
    ];
    let folder = trained(&settings);
    let scores = fs::read_to_string(folder.path("reports/train/tables/training_scores.csv"));
    let scores = scores.expect("written");
    assert!(scores.contains("held-out") && !scores.contains("test-time"), "{scores}");
    // Two prompts in each of four evaluations, and groups of four on all that are held out in the end.
    let mut sizes = std::collections::BTreeMap::<String, usize>::new();
    for record in of_kind(&folder, "runs", "rollouts") {
        *sizes.entry(record["prompt"].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    let of_size = |size: usize| sizes.values().filter(|of| **of == size).count();
    assert_eq!(of_size(3 + 4), 2, "{sizes:?}");
    assert_eq!(of_size(4), sizes.len() - 2, "{sizes:?}");
    assert!(sizes.len() > 4, "{sizes:?}");
}

#[test]
fn fine_tuning_stops_by_the_loss_on_the_validation_targets() {
    let settings = [
        "train.kind=sft",
        "train.steps=12",
        "train.early-stopping={ patience = 2, metric = \"loss\" }",
        "validation={ skip = 30, limit = 4 }",
        "train.schedule.learning-rate=3e-2",
    ];
    let folder = trained(&settings);
    let losses = of_kind(&folder, "runs", "validation-losses");
    let choice = of_kind(&folder, "runs", "train-choice").remove(0);
    let loss = |record: &Value| record["loss"].as_f64().expect("measured");
    let best = losses.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).expect("some");
    assert_eq!(choice["step"], best["step"]);
    assert_eq!(choice["metric"], "loss");
    assert_eq!(choice["value"], best["loss"]);
    let last = choice["last-step"].as_u64().expect("a step");
    assert_eq!(losses.len() as u64, 1 + last / 2, "{losses:?}");
    let steps = of_kind(&folder, "runs", "train-steps").len() as u64;
    assert_eq!(steps, last);
}
