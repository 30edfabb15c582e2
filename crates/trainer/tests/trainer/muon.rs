//! Compares Muon with torch (`tests/torch/generate_muon.py`).

use preceptor_trainer::{Muon, MuonConfig, Parameter};
use serde_json::Value;

/// Tolerance for weights up to 0.5 after ten updates in single precision; torch computes in double
/// precision.
const TOLERANCE: f32 = 2e-6;

fn floats(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().expect("it is a list").iter();
    numbers.map(|number| number.as_f64().expect("it lists numbers") as f32).collect()
}

#[test]
fn ten_updates_agree_with_torch() {
    let text = include_str!("../torch/muon_expected.json");
    let fixture: Value = serde_json::from_str(text).unwrap();
    let shapes = fixture["shapes"].as_object().unwrap().iter();
    let parameters: Vec<Parameter> = shapes
        .map(|(name, shape)| Parameter {
            name: name.clone(),
            shape: floats(shape).into_iter().map(|size| size as usize).collect(),
        })
        .collect();
    let mut compared = 0;
    for (name, run) in fixture["runs"].as_object().unwrap() {
        let setting = |key: &str| run["settings"][key].as_f64().unwrap();
        let (momentum, weight_decay) = (setting("momentum"), setting("weight_decay"));
        let config = MuonConfig { momentum, weight_decay, ..MuonConfig::default() };
        let mut optimizer = Muon::new(&config, &parameters);
        let start = |parameter: &Parameter| floats(&fixture["weights"][&parameter.name]);
        let mut weights: Vec<_> = parameters.iter().map(start).collect();
        for gradients in fixture["gradients"].as_array().unwrap() {
            let mut update = optimizer.begin(setting("learning_rate"), 1.0);
            for (index, parameter) in parameters.iter().enumerate() {
                update.apply(index, &mut weights[index], &floats(&gradients[&parameter.name]));
            }
        }
        for (parameter, found) in parameters.iter().zip(&weights) {
            let expected = floats(&run["weights_after"][&parameter.name]);
            for (found, expected) in found.iter().zip(expected) {
                let difference = (found - expected).abs();
                assert!(difference <= TOLERANCE, "{name} {}: {found} {expected}", parameter.name);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * (66 + 60 + 64));
}
