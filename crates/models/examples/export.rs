//! Exports a checkpoint with an adapter for other programs, and prints our logits.
//!
//! `cargo run -p preceptor-models --example export -- MODEL ADAPTER OUT ID ID ..` writes `OUT/merged` (a
//! Hugging Face folder), `OUT/adapter` (peft's) and prints the logits of the tokens as JSON, a row per token.

use std::path::Path;

use preceptor_models::{Device, Error, Model, Trainable, sequence_logits};

fn export(model: &Path, adapter: &Path, out: &Path, tokens: &[u32]) -> Result<(), Error> {
    let mut model = Model::load(model, &Device::cpu())?;
    let trainable = Trainable::load_adapter(&model, adapter)?;
    trainable.save_adapter(&out.join("adapter"), "base")?;
    let weights = model.identity().weights.clone();
    model.set_replicas(trainable.merged(), weights);
    model.save(&out.join("merged"))?;
    println!("{}", serde_json::json!(sequence_logits(model.decoder(), tokens)));
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, adapter, out, tokens @ ..] = &arguments[..] else {
        eprintln!("usage: export MODEL ADAPTER OUT ID ID ..");
        std::process::exit(2);
    };
    let tokens: Vec<u32> = tokens.iter().filter_map(|id| id.parse().ok()).collect();
    if let Err(error) = export(Path::new(model), Path::new(adapter), Path::new(out), &tokens) {
        eprintln!("failed to {error}");
        std::process::exit(1);
    }
}
