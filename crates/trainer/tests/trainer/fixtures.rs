//! Whole updates of the small random checkpoints against torch, transformers and peft.

use std::path::Path;

use preceptor_models::Device;
use preceptor_trainer::parity::{self, Comparison, ParityError};

const FAMILIES: [&str; 3] = ["llama", "qwen3", "gemma3"];

fn folder(family: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity").join(family)
}

#[test]
fn every_objective_agrees_with_torch_and_adapters_with_peft() {
    for family in FAMILIES {
        let comparisons = parity::check(&folder(family), &Device::cpu()).unwrap();
        for comparison in &comparisons {
            println!("{family}: {comparison:?}");
        }
        let wrong: Vec<_> = comparisons.iter().filter(|comparison| !comparison.holds()).collect();
        assert!(wrong.is_empty(), "{family}: {wrong:#?}");
        // Text: five; adapters: two; log-probabilities; seven objectives by five; fine-tuning by
        // four.
        assert_eq!(comparisons.len(), 5 + 2 + 1 + 7 * 5 + 4, "{family}");
        assert!(comparisons.iter().all(|comparison| comparison.compared > 0));
    }
}

/// How much further a device may be whose products round their factors to TF32, 13 bits fewer than
/// single precision: torch's TF32 is as far from double precision on these fixtures, 1.2e-2 in the
/// logits where 1e-4 is allowed.
const TF32: f64 = 300.0;

/// Forward passes and whole updates on the first device of every backend that is compiled in. On a
/// machine without one the test says so.
#[test]
fn the_fixtures_hold_on_the_devices_of_this_machine() {
    let compiled_in =
        [("wgpu:0", 1.0, cfg!(feature = "wgpu")), ("cuda:0", TF32, cfg!(feature = "cuda"))];
    for (name, slack, _) in compiled_in.iter().filter(|(_, _, compiled_in)| *compiled_in) {
        let device = match Device::parse(name) {
            Ok(device) => device,
            Err(error) => {
                println!("skipped: {error}");
                continue;
            }
        };
        for family in FAMILIES {
            let comparisons = parity::check(&folder(family), &device).unwrap();
            for comparison in &comparisons {
                println!("{name}, {family}: {comparison:?}");
            }
            let holds =
                |comparison: &&Comparison| comparison.largest <= slack * comparison.tolerance;
            let wrong: Vec<_> = comparisons.iter().filter(|c| !holds(c)).collect();
            assert!(wrong.is_empty(), "{name}, {family}: {wrong:#?}");
        }
    }
}

#[test]
fn a_folder_without_fixtures_is_refused() {
    let error = parity::check(Path::new("src"), &Device::cpu()).unwrap_err();
    assert!(matches!(error, ParityError::Nothing { .. }));
}
