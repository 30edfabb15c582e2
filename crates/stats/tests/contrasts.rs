//! Intervals and tests of contrasts against scipy and statsmodels (`fixtures/generate_contrasts.py`).

use std::path::Path;

use preceptor_stats::{
    Design, Runs, Scale, contrast, crossed_difference, crossed_score, holm, paired_difference,
};
use serde_json::Value;

/// Both compute in `f64`; quantiles of Student's t are found by iteration.
const TOLERANCE: f64 = 1e-7;

fn fixture() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/contrasts.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the fixture is whole"))
        .expect("the fixture is whole")
}

fn runs(rows: &Value) -> Runs {
    let run = |row: &Value| {
        row.as_array().expect("the fixture is whole").iter().map(Value::as_f64).collect()
    };
    rows.as_array().expect("the fixture is whole").iter().map(run).collect()
}

/// A case: its scale and both sides.
fn case(value: &Value) -> (Scale, Runs, Runs) {
    (
        Scale::new(value["rubric"].as_bool().expect("the fixture is whole")),
        runs(&value["a"]),
        runs(&value["b"]),
    )
}

#[track_caller]
fn close(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().expect("the fixture is whole");
    assert!((found - expected).abs() < TOLERANCE, "{what}: {found}, expected {expected}");
}

#[test]
fn paired_differences_agree_with_scipy() {
    let fixture = fixture();
    let mut p_values = Vec::new();
    for (number, value) in fixture["cases"].as_array().unwrap().iter().enumerate() {
        let (scale, a, b) = case(value);
        let found = paired_difference(scale, &a, &b).unwrap();
        let expected = &value["paired"];
        let interval = found.estimate.interval.unwrap();
        close(found.estimate.mean, &expected["mean"], &format!("case {number}: mean"));
        close(found.p_value.unwrap(), &expected["p"], &format!("case {number}: p"));
        close(interval.low, &expected["low"], &format!("case {number}: low"));
        close(interval.high, &expected["high"], &format!("case {number}: high"));
        assert_eq!(found.estimate.num_clusters as u64, expected["prompts"].as_u64().unwrap());
        p_values.push(found.p_value.unwrap());
    }
    assert_eq!(p_values.len(), 8);
    for (found, expected) in holm(&p_values).iter().zip(fixture["holm"].as_array().unwrap()) {
        close(*found, expected, "Holm");
    }
}

#[test]
fn crossed_differences_agree_with_the_mean_squares_of_statsmodels() {
    let fixture = fixture();
    let mut num_cases = 0;
    for (number, value) in fixture["cases"].as_array().unwrap().iter().enumerate() {
        let (scale, a, b) = case(value);
        let Some(expected) = value.get("crossed") else { continue };
        num_cases += 1;
        let found = crossed_difference(scale, &a, &b).unwrap();
        let interval = found.interval.unwrap();
        for (found, key) in [
            (found.mean, "mean"),
            (found.std_error.unwrap(), "std-error"),
            (found.evaluation_std_error.unwrap(), "evaluation-std-error"),
            (found.training_std_error.unwrap(), "training-std-error"),
            (found.degrees_of_freedom.unwrap(), "df"),
            (found.p_value.unwrap(), "p"),
            (interval.low, "low"),
            (interval.high, "high"),
        ] {
            close(found, &expected[key], &format!("case {number}: {key}"));
        }
        let score = crossed_score(scale, &a).unwrap();
        let interval = score.interval.unwrap();
        close(score.mean, &value["score"]["mean"], &format!("case {number}: score"));
        close(interval.low, &value["score"]["low"], &format!("case {number}: low of the score"));
        close(interval.high, &value["score"]["high"], &format!("case {number}: high of the score"));
    }
    assert_eq!(num_cases, 6);
}

#[test]
fn training_noise_widens_the_interval() {
    let fixture = fixture();
    let (scale, a, b) = case(&fixture["cases"][2]);
    let samples = contrast(Design::Samples, scale, &a, &b).unwrap();
    let runs = contrast(Design::TrainingRuns, scale, &a, &b).unwrap();
    let width = |found: preceptor_stats::Contrast| {
        let interval = found.estimate.interval.unwrap();
        interval.high - interval.low
    };
    assert_eq!(samples.estimate.mean, runs.estimate.mean);
    assert!(width(runs) > 1.2 * width(samples), "{} {}", width(runs), width(samples));
}
