//! Compares optimiser, clipping and schedules with torch and transformers (`tests/torch/generate.py`).

use preceptor_trainer::{
    AdamW, AdamWConfig, GradientNorm, Parameter, Schedule, ScheduleConfig, clip_factor,
};
use serde_json::Value;

/// Tolerance for weights up to 0.3 after up to 20 updates in single precision; torch computes in double
/// precision.
const WEIGHT_TOLERANCE: f32 = 1e-7;

/// Relative tolerance; both are in double precision.
const NORM_TOLERANCE: f64 = 1e-12;

fn fixture() -> Value {
    let text = include_str!("../torch/expected.json");
    serde_json::from_str(text).expect("fixtures are valid JSON")
}

fn floats(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().expect("it is a list").iter();
    numbers.map(|number| number.as_f64().expect("it lists numbers") as f32).collect()
}

fn assert_close(what: &str, found: &[f32], expected: &Value, tolerance: f32) {
    let expected = floats(expected);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{what}: {found} {expected}");
    }
}

fn config(settings: &Value) -> AdamWConfig {
    let number = |value: &Value, default: f64| value.as_f64().unwrap_or(default);
    let default = AdamWConfig::default();
    AdamWConfig {
        beta1: number(&settings["betas"][0], default.beta1),
        beta2: number(&settings["betas"][1], default.beta2),
        epsilon: number(&settings["epsilon"], default.epsilon),
        weight_decay: number(&settings["weight_decay"], f64::NAN),
        decay_vectors: settings["decay_vectors"] == true,
        max_gradient_norm: number(&settings["max_gradient_norm"], f64::NAN),
    }
}

fn parameters(fixture: &Value) -> Vec<Parameter> {
    let shapes = fixture["shapes"].as_object().expect("shapes by name").iter();
    let parameters = shapes.map(|(name, shape)| Parameter {
        name: name.clone(),
        shape: floats(shape).into_iter().map(|size| size as usize).collect(),
    });
    parameters.collect()
}

#[test]
fn twenty_updates_agree_with_torch() {
    let fixture = fixture();
    let parameters = parameters(&fixture);
    for (name, run) in fixture["runs"].as_object().unwrap() {
        let config = config(&run["settings"]);
        let learning_rate = run["settings"]["learning_rate"].as_f64().unwrap();
        let mut optimizer = AdamW::new(&config, &parameters);
        let mut weights: Vec<_> = parameters
            .iter()
            .map(|parameter| floats(&fixture["weights"][&parameter.name]))
            .collect();
        let mut compared = 0;
        for (step, gradients) in fixture["gradients"].as_array().unwrap().iter().enumerate() {
            let gradient = |parameter: &Parameter| floats(&gradients[&parameter.name]);
            let mut norm = GradientNorm::default();
            for parameter in &parameters {
                norm.add(&parameter.name, &gradient(parameter)).unwrap();
            }
            let expected = run["norms"][step].as_f64().unwrap();
            assert!((norm.value() / expected - 1.0).abs() < NORM_TOLERANCE, "{name} {step}");
            let factor = clip_factor(norm.value(), config.max_gradient_norm);
            let mut update = optimizer.begin(learning_rate, factor);
            for (index, parameter) in parameters.iter().enumerate() {
                update.apply(index, &mut weights[index], &gradient(parameter));
            }
            if let Some(after) = run["weights_after"].get((step + 1).to_string()) {
                for (parameter, weights) in parameters.iter().zip(&weights) {
                    let what = format!("{name}, `{}` after {}", parameter.name, step + 1);
                    assert_close(&what, weights, &after[&parameter.name], WEIGHT_TOLERANCE);
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 9);
        assert_eq!(optimizer.state().num_updates, 20);
        for moments in &optimizer.state().moments {
            let expected = &run["state"][&moments.name];
            assert_close("first moment", &moments.first, &expected["first"], WEIGHT_TOLERANCE);
            assert_close("second moment", &moments.second, &expected["second"], WEIGHT_TOLERANCE);
        }
    }
}

#[test]
fn rates_agree_with_transformers() {
    let fixture = fixture();
    let schedules = fixture["schedules"].as_array().unwrap();
    assert_eq!(schedules.len(), 6);
    for case in schedules {
        let config = ScheduleConfig {
            kind: serde_json::from_value(case["kind"].clone()).unwrap(),
            learning_rate: 1.0,
            warm_up_updates: case["warm_up_updates"].as_u64().unwrap().try_into().unwrap(),
        };
        let schedule = Schedule::new(&config, case["num_updates"].as_u64().unwrap());
        for (update, expected) in case["rates"].as_array().unwrap().iter().enumerate() {
            let found = schedule.rate(update as u64);
            assert!(
                (found - expected.as_f64().unwrap()).abs() < 1e-12,
                "{config:?} {update}: {found}"
            );
        }
    }
}
