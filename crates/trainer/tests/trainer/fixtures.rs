//! Compares whole updates of the small random checkpoints with torch, transformers and peft.

use std::path::Path;

use preceptor_models::Device;
use preceptor_trainer::parity::{self, Comparison, ParityError};

const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

fn folder(family: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity").join(family)
}

/// Runs every comparison of every family on a device.
fn check(device: &Device) -> Vec<Comparison> {
    let mut all = Vec::new();
    for family in FAMILIES {
        let comparisons = parity::check(&folder(family), device).expect("fixtures");
        for comparison in &comparisons {
            println!("{device}, {family}: {comparison:?}");
        }
        let wrong: Vec<_> = comparisons.iter().filter(|comparison| !comparison.holds()).collect();
        assert!(wrong.is_empty(), "{device}, {family}: {wrong:#?}");
        assert!(comparisons.iter().all(|comparison| comparison.compared > 0));
        all.extend(comparisons);
    }
    all
}

#[test]
fn every_objective_agrees_with_torch_and_adapters_with_peft() {
    // Text: five; adapters: two; log-probabilities; seven objectives by five; fine-tuning by four.
    assert_eq!(check(&Device::cpu()).len(), FAMILIES.len() * (5 + 2 + 1 + 7 * 5 + 4));
}

#[test]
fn narrow_formats_differ_by_their_rounding() {
    for name in ["cpu:f16", "cpu:bf16"] {
        let comparisons = check(&Device::parse(name).unwrap());
        // Log-probabilities after an update are not compared.
        assert_eq!(comparisons.len(), FAMILIES.len() * (5 + 2 + 1 + 7 * 4 + 3));
        let logits = comparisons.iter().find(|comparison| comparison.what == "logits").unwrap();
        assert!(logits.largest > 1e-3, "it is no single precision: {}", logits.largest);
    }
}

/// Runs forward passes and whole updates on the first device of every backend that is compiled in, in every
/// format that it has. The test prints the devices that the machine lacks.
#[test]
fn the_fixtures_hold_on_the_devices_of_this_machine() {
    let backends = [("wgpu:0", cfg!(feature = "wgpu")), ("cuda:0", cfg!(feature = "cuda"))];
    for (address, _) in backends.into_iter().filter(|(_, compiled_in)| *compiled_in) {
        for format in ["", ":f16", ":bf16"] {
            match Device::parse(&format!("{address}{format}")) {
                Ok(device) => drop(check(&device)),
                Err(error) => println!("skipped: {error}"),
            }
        }
    }
}

#[test]
fn a_folder_without_fixtures_is_rejected() {
    let error = parity::check(Path::new("src"), &Device::cpu()).unwrap_err();
    assert!(matches!(error, ParityError::Nothing { .. }));
}
