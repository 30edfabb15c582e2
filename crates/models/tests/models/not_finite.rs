//! NaN and infinite values are errors before any result is returned.

use std::error::Error as _;
use std::fs;

use preceptor_core::{
    Continuation, Generator as _, PortError, Sampling, ScoreRequest, Scorer as _,
};
use preceptor_models::{
    GenerationOptions, LocalModel, Model, Trace, read_safetensors, write_safetensors,
};

use crate::formats::fixture_as_gguf;
use crate::support::{EventRecorder, copied, load, refusal, request, text_prompt};

/// Copies a checkpoint and changes values of one tensor.
fn changed(family: &str, tensor: &str, change: impl Fn(&mut [f32])) -> tempfile::TempDir {
    let folder = copied(family);
    let path = folder.path().join("model.safetensors");
    let mut weights = read_safetensors(&path).expect("a fixture");
    change(&mut weights.get_mut(tensor).expect("a tensor of the fixture").1);
    let tensors = weights.iter().map(|(name, (shape, values))| (&**name, &**shape, &**values));
    write_safetensors(&path, tensors).expect("writes");
    folder
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let folder = changed("llama", "model.layers.2.mlp.up_proj.weight", |x| x[70] = f32::NAN);
    insta::assert_snapshot!(refusal(folder.path()), @r"
    load tensor `model.layers.2.mlp.up_proj.weight` of `models/model.safetensors`: found NaN at index 70, expected finite values
    hint: the file is damaged, or was written by a training run that diverged
    ");
    for (family, tensor) in [
        ("llama", "lm_head.weight"),
        ("qwen3", "model.embed_tokens.weight"),
        ("gemma3", "model.layers.3.post_feedforward_layernorm.weight"),
    ] {
        let folder = changed(family, tensor, |values| values[1] = f32::NEG_INFINITY);
        assert!(refusal(folder.path()).contains(&format!("`{tensor}`")), "{tensor}");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("m.gguf");
    let mut gguf = fixture_as_gguf();
    let tensor = gguf.tensors.iter_mut().find(|tensor| tensor.name == "blk.1.ffn_norm.weight");
    tensor.expect("it is there").data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, gguf.bytes()).expect("writes");
    insta::assert_snapshot!(refusal(&path), @r"
    load tensor `blk.1.ffn_norm.weight` of `models/m.gguf`: found inf at index 0, expected finite values
    hint: the file is damaged, or was written by a training run that diverged
    ");
}

/// Loads finite weights whose logits overflow.
fn overflowing() -> Model {
    let folder = changed("llama", "lm_head.weight", |values| {
        values.iter_mut().enumerate().for_each(|(i, value)| {
            if i / 64 % 2 == 1 {
                *value = 3e38;
            }
        });
    });
    load(folder.path())
}

fn cause(error: &PortError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[test]
fn sampling_stops_at_a_log_probability_that_is_not_finite() {
    let model = LocalModel::new(overflowing(), GenerationOptions::with_max_batch(2));
    let requests = [request(text_prompt("one"), 2)];
    for (temperature, top_k) in [(1.0, 0), (0.0, 0), (0.7, 5)] {
        let sampling = Sampling { temperature, top_k, ..Sampling::default() };
        let mut heard = EventRecorder::default();
        let error = model.generate(&requests, &sampling, &mut heard).expect_err("stopped");
        let message = cause(&error);
        assert!(message.starts_with("sample token ") && message.contains("NaN"), "{message}");
        assert!(heard.ended.is_empty(), "nothing is handed out");
        let trace = Some(Trace { temperature: 1.0, cut: true });
        model.generate_traced(&requests, &sampling, trace, &mut heard).expect_err("stopped");
        assert!(heard.ended.is_empty());
    }
}

#[test]
fn scoring_stops_at_a_log_probability_that_is_not_finite() {
    let model = LocalModel::new(overflowing(), GenerationOptions::default());
    let continuation = Continuation::Tokens(vec![7, 8, 9]);
    let request = ScoreRequest { prompt: text_prompt("one"), continuation };
    let error = model.score(&[request]).expect_err("stopped");
    assert!(cause(&error).starts_with("score token "), "{error}");
}
