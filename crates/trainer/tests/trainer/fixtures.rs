//! Whole updates of the small random checkpoint against torch, transformers and peft.

use std::path::Path;

use preceptor_models::Device;
use preceptor_trainer::parity::{self, ParityError};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/llama")
}

#[test]
fn every_objective_agrees_with_torch_and_adapters_with_peft() {
    let comparisons = parity::check(&folder(), &Device::cpu()).unwrap();
    for comparison in &comparisons {
        println!("{comparison:?}");
    }
    let wrong: Vec<_> = comparisons.iter().filter(|comparison| !comparison.holds()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Text: five; adapters: two; log-probabilities; seven objectives by five; fine-tuning by four.
    assert_eq!(comparisons.len(), 5 + 2 + 1 + 7 * 5 + 4);
    assert!(comparisons.iter().all(|comparison| comparison.compared > 0));
}

#[test]
fn a_folder_without_fixtures_is_refused() {
    let error = parity::check(Path::new("src"), &Device::cpu()).unwrap_err();
    assert!(matches!(error, ParityError::Nothing { .. }));
}
