//! Adapters of peft: the settings that are supported and those that are rejected.

use std::collections::BTreeMap;
use std::path::Path;

use preceptor_models::{Trainable, read_safetensors, sequence_logits, write_safetensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{change_json, fixtures, llama_folder, load};

const TOKENS: [u32; 6] = [5, 9, 40, 77, 3, 250];

/// Copies the adapter that peft wrote, with these keys.
fn adapter(keys: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let source = fixtures().join("llama/lora").join(file);
        std::fs::copy(source, folder.path().join(file)).expect("copies");
    }
    change_json(&folder.path().join("adapter_config.json"), |config| {
        keys.iter().for_each(|(key, value)| config[key] = value.clone());
    });
    folder
}

/// Keeps the weights whose name has one of `parts`, after `change`.
fn change_weights(folder: &Path, parts: &[&str], change: impl Fn(&mut Vec<f32>)) {
    let path = folder.join("adapter_model.safetensors");
    let mut weights = read_safetensors(&path).expect("a fixture");
    weights.retain(|name, _| parts.iter().any(|part| name.contains(part)));
    weights.values_mut().for_each(|(_, values)| change(values));
    let weights: BTreeMap<_, _> = weights.into_iter().collect();
    let tensors = weights.iter().map(|(name, (shape, values))| (&**name, &**shape, &**values));
    write_safetensors(&path, tensors).expect("writes");
}

fn logits(folder: &Path) -> Vec<Vec<f32>> {
    let model = load(&llama_folder());
    let trainable = Trainable::load_adapter(&model, folder).unwrap_or_else(|e| panic!("{e}"));
    sequence_logits(trainable.merged()[0].decoder(), &TOKENS)
}

fn refused(folder: &Path) -> String {
    let error = Trainable::load_adapter(&load(&llama_folder()), folder).expect_err("rejected");
    error.to_string().replace(&folder.display().to_string(), "[adapter]")
}

#[test]
fn settings_beyond_plain_lora_are_rejected_by_name() {
    for (key, value) in [
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("OLoRA")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("something new")),
        ("use_dora", json!(true)),
        ("use_qalora", json!(true)),
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("ensure_weight_tying", json!(true)),
        ("bias", json!("all")),
        ("peft_type", json!("IA3")),
        ("task_type", json!("SEQ_CLS")),
        ("alora_invocation_tokens", json!([5, 6])),
        ("layer_replication", json!([[0, 4], [2, 4]])),
        ("modules_to_save", json!(["lm_head"])),
        ("trainable_token_indices", json!([1])),
        ("target_parameters", json!(["mlp.weight"])),
        ("rank_pattern", json!({"q_proj": 8})),
        ("alpha_pattern", json!({"q_proj": 8})),
        ("loftq_config", json!({"loftq_bits": 4})),
        ("corda_config", json!({"corda_method": "kpm"})),
        ("megatron_config", json!({"tensor_model_parallel_size": 2})),
        ("a_key_of_tomorrow", json!(0.5)),
    ] {
        let message = refused(adapter(&[(key, value)]).path());
        let start = format!("use `[adapter]/adapter_config.json`: `{key}` `");
        assert!(message.starts_with(&start) && message.contains("hint: "), "{message}");
    }
    insta::assert_snapshot!(refused(adapter(&[("init_lora_weights", json!("pissa_niter_4"))]).path()), @r#"
    use `[adapter]/adapter_config.json`: `init_lora_weights` `"pissa_niter_4"` is not supported, only true, false, "gaussian", "eva" and "orthogonal", which leave the base as it is
    hint: plain LoRA adapters can be read; merge others into their base with peft
    "#);
}

#[test]
fn settings_without_effect_are_accepted() {
    let plain = logits(adapter(&[]).path());
    for (key, value) in [
        ("init_lora_weights", json!(false)),
        ("init_lora_weights", json!("gaussian")),
        ("init_lora_weights", json!("eva")),
        ("lora_dropout", json!(0.1)),
        ("peft_version", json!("0.9.0")),
        ("task_type", Value::Null),
        ("rank_pattern", Value::Null),
        ("a_key_of_tomorrow", Value::Null),
        ("another", json!(false)),
        ("target_modules", json!(r".*\.(q|k|v|o|gate|up|down)_proj")),
        ("target_modules", json!("all-linear")),
        (
            "target_modules",
            json!([
                "self_attn.q_proj",
                "k_proj",
                "self_attn.v_proj",
                "o_proj",
                "mlp.gate_proj",
                "mlp.up_proj",
                "mlp.down_proj"
            ]),
        ),
        ("layers_to_transform", json!([0, 1, 2, 3])),
    ] {
        assert!(logits(adapter(&[(key, value.clone())]).path()) == plain, "{key} = {value}");
    }
}

#[test]
fn only_chosen_layers_are_adapted() {
    let chosen = adapter(&[("layers_to_transform", json!([2]))]);
    change_weights(chosen.path(), &[".layers.2."], |_| {});
    // This adapter has zeros in the other layers.
    let zeroed = adapter(&[]);
    let path = zeroed.path().join("adapter_model.safetensors");
    let mut weights = read_safetensors(&path).expect("a fixture");
    for (name, (_, values)) in &mut weights {
        if name.contains("lora_B") && !name.contains(".layers.2.") {
            values.fill(0.0);
        }
    }
    let tensors = weights.iter().map(|(name, (shape, values))| (&**name, &**shape, &**values));
    write_safetensors(&path, tensors).expect("writes");
    let found = logits(chosen.path());
    assert!(found == logits(zeroed.path()), "bit-identical");
    assert!(found != sequence_logits(load(&llama_folder()).decoder(), &TOKENS));

    let named = adapter(&[("layers_to_transform", json!(2)), ("layers_pattern", json!("layers"))]);
    change_weights(named.path(), &[".layers.2."], |_| {});
    assert!(logits(named.path()) == found);
}

#[test]
fn weights_that_do_not_match_the_settings_are_rejected() {
    let fewer = adapter(&[]);
    change_weights(fewer.path(), &[".layers.0.", ".layers.1.", ".layers.2."], |_| {});
    assert!(
        refused(fewer.path())
            .contains("model.layers.3.self_attn.q_proj.lora_A.weight`: it is missing")
    );
    let more = refused(adapter(&[("layers_to_transform", json!([1]))]).path());
    assert!(
        more.contains("model.layers.0.") && more.contains("no parameter of that name"),
        "{more}"
    );
    let pattern = refused(adapter(&[("target_modules", json!(r".*\.q_proj"))]).path());
    assert!(pattern.contains("no parameter of that name"), "{pattern}");
    let nothing = refused(adapter(&[("target_modules", json!("q_proj"))]).path());
    assert!(nothing.contains("found \"q_proj\", expected modules of the model"), "{nothing}");
}

#[test]
fn rank_stabilised_adapters_are_scaled_by_the_square_root_of_the_rank() {
    // At rank 4, alpha / 2 of one adapter is 2 · alpha / 4 of the other.
    let config = crate::support::json(&fixtures().join("llama/lora/adapter_config.json"));
    let alpha = config["lora_alpha"].as_f64().expect("a number");
    assert_eq!(config["r"], 4);
    let stabilised = logits(adapter(&[("use_rslora", json!(true))]).path());
    assert!(stabilised == logits(adapter(&[("lora_alpha", json!(2.0 * alpha))]).path()));
    assert!(stabilised != logits(adapter(&[]).path()));
}

#[test]
fn weights_that_are_not_finite_are_rejected() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let folder = adapter(&[]);
        change_weights(folder.path(), &["lora"], |values| values[3] = value);
        let message = refused(folder.path());
        let found = format!(
            "lora_A.weight` of `[adapter]/adapter_model.safetensors`: found {value} at index 3, expected finite values"
        );
        assert!(message.contains(&found), "{message}");
    }
}
