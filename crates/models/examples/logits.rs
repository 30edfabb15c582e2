//! Prints the tokens of a text and the logits after each of them.
//!
//! `cargo run -p preceptor-models --example logits -- MODEL TEXT` prints `{"ids": [..], "logits": [[..]]}`.

use std::path::Path;

use preceptor_core::{Prompt, PromptBody, PromptId};
use preceptor_models::{Device, Error, Model, sequence_logits};

fn logits(model: &Path, text: &str) -> Result<(), Error> {
    let model = Model::load(model, &Device::cpu())?;
    let body = PromptBody::Text(text.to_owned());
    let ids = model.prompt_tokens(&Prompt::new(PromptId::new("text"), body))?;
    let logits = sequence_logits(model.decoder(), &ids);
    println!("{}", serde_json::json!({ "ids": ids, "logits": logits }));
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, text] = &arguments[..] else {
        eprintln!("usage: logits MODEL TEXT");
        std::process::exit(2);
    };
    if let Err(error) = logits(Path::new(model), text) {
        eprintln!("failed to {error}");
        std::process::exit(1);
    }
}
