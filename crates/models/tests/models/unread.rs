//! Contents of a file that the model would not use are rejected by name, never ignored.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::formats::fixture_as_gguf;
use crate::gguf_builder::{GgufBuilder, Meta};
use crate::support::{Session, change_json, copied, fixtures, load, refusal};

fn with_gguf<T>(
    name: &str,
    change: impl FnOnce(&mut GgufBuilder),
    then: impl FnOnce(&Path) -> T,
) -> T {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    let mut gguf = fixture_as_gguf();
    change(&mut gguf);
    fs::write(&path, gguf.bytes()).expect("writes");
    then(&path)
}

fn refused(change: impl FnOnce(&mut GgufBuilder)) -> String {
    with_gguf("m.gguf", change, refusal)
}

fn logits(path: &Path) -> Vec<f32> {
    Session::new(load(path).decoder()).read(&[5, 9, 40, 77, 3]).concat()
}

fn without_divisors(gguf: &mut GgufBuilder) {
    gguf.tensors.retain(|tensor| tensor.name != "rope_freqs.weight");
}

#[test]
fn unused_tensors_of_a_gguf_file_are_rejected() {
    insta::assert_snapshot!(refused(|g| g.tensor("blk.1.attn_q.bias", &[128], &[0.5; 128])), @r"
    use `models/m.gguf`: the tensor `blk.1.attn_q.bias` is not supported, only those of the layers that this family implements
    hint: it may be a bias, an additional layer, or belong to another model
    ");
    for name in [
        "blk.0.ffn_down.bias",
        "blk.3.attn_q_norm.weight",
        "blk.4.attn_norm.weight",
        "output.bias",
        "cls.weight",
    ] {
        let message = refused(|gguf| gguf.tensor(name, &[64], &[1.0; 64]));
        assert!(message.contains(&format!("the tensor `{name}` is not supported")), "{message}");
    }
    assert!(refused(|g| g.meta("llama.block_count", Meta::U32(3))).contains("the tensor `blk.3."));
}

#[test]
fn metadata_that_changes_the_output_is_rejected() {
    insta::assert_snapshot!(refused(|g| g.meta("llama.rope.dimension_count", Meta::U32(16))), @r"
    use `models/m.gguf`: `llama.rope.dimension_count` `16` is not supported, only 32, the size of a head
    hint: this family implements the layers of Llama 2, Llama 3, SmolLM2 and Mistral
    ");
    insta::assert_snapshot!(refused(|g| g.meta("llama.residual_scale", Meta::F32(0.2))), @r"
    use `models/m.gguf`: the metadata key `llama.residual_scale` is not supported, only keys that this family reads
    hint: this family implements the layers of Llama 2, Llama 3, SmolLM2 and Mistral
    ");
    for (key, value) in [
        ("llama.attention.value_length", Meta::U32(16)),
        ("llama.expert_count", Meta::U32(8)),
        ("llama.logit_scale", Meta::F32(16.0)),
        ("llama.attention.causal", Meta::Bool(false)),
        ("llama.attention.sliding_window", Meta::U32(4096)),
        ("llama.final_logit_softcapping", Meta::F32(30.0)),
        ("llama.rope.scaling.attn_factor", Meta::F32(1.5)),
    ] {
        let message = refused(|gguf| gguf.meta(key, value));
        assert!(message.contains(key), "{message}");
    }
    with_gguf(
        "m.gguf",
        |gguf| {
            gguf.meta("llama.rope.dimension_count", Meta::U32(32));
            gguf.meta("llama.attention.value_length", Meta::U32(32));
            gguf.meta("llama.expert_count", Meta::U32(0));
            gguf.meta("llama.attention.causal", Meta::Bool(true));
            gguf.meta("llama.vocab_size", Meta::U32(320));
            gguf.meta("general.name", Meta::Text("anything".to_owned()));
        },
        load,
    );
}

#[test]
fn both_keys_of_the_rope_factor_scale_positions_as_in_llama_cpp() {
    let with = |keys: &[(&str, Meta)]| {
        with_gguf(
            "m.gguf",
            |gguf| {
                without_divisors(gguf);
                keys.iter().for_each(|(key, value)| gguf.meta(key, value.clone()));
            },
            logits,
        )
    };
    let (kind, factor, old) =
        ("llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.rope.scale_linear");
    let text = |text: &str| Meta::Text(text.to_owned());
    let plain = with(&[]);
    let linear = with(&[(kind, text("linear")), (factor, Meta::F32(4.0))]);
    assert_ne!(plain, linear);
    assert_eq!(with(&[(old, Meta::F32(4.0))]), linear, "the older key");
    assert_eq!(with(&[(factor, Meta::F32(4.0))]), linear, "linear is the default");
    assert_eq!(
        with(&[(factor, Meta::F32(4.0)), (old, Meta::F32(2.0))]),
        linear,
        "the newer key counts"
    );
    assert_eq!(with(&[(kind, text("none")), (factor, Meta::F32(4.0))]), plain);
    assert_eq!(with(&[(old, Meta::F32(1.0))]), plain);
    // A folder with this factor gives equal logits.
    let folder = copied("llama");
    change_json(&folder.path().join("config.json"), |file| {
        file["rope_parameters"] =
            json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 500_000.0});
    });
    let difference = logits(folder.path()).into_iter().zip(&linear).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-4);
    let both = refused(|gguf| gguf.meta(old, Meta::F32(4.0)));
    assert!(both.contains("together with `rope_freqs.weight`"), "{both}");
    let negative = refused(|gguf| gguf.meta(factor, Meta::F32(-2.0)));
    assert!(negative.contains("expected a number from 0 up"), "{negative}");
    let yarn = refused(|gguf| gguf.meta(kind, text("yarn")));
    assert!(yarn.contains("the rope scaling `yarn` is not supported"), "{yarn}");
}

#[test]
fn a_part_of_a_split_file_is_rejected() {
    insta::assert_snapshot!(refused(|g| g.meta("split.count", Meta::U32(2))), @r"
    use `models/m.gguf`: a part of a split file `m.gguf` is not supported, only whole files
    hint: join the parts with `llama-gguf-split --merge`
    ");
    let named = with_gguf("m-00001-of-00003.gguf", |_| {}, refusal);
    assert!(named.contains("a part of a split file `m-00001-of-00003.gguf`"), "{named}");
    let lost = refused(|gguf| gguf.meta("split.tensors.count", Meta::U32(41)));
    assert!(lost.contains("found 41 for a file of 40 tensors"), "{lost}");
    with_gguf(
        "m.gguf",
        |gguf| {
            gguf.meta("split.count", Meta::U32(1));
            gguf.meta("split.tensors.count", Meta::U32(40));
        },
        load,
    );
}

/// Writes the checkpoint's weights with an additional one.
fn add_tensor(folder: &Path, name: &str, values: &[f32]) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).expect("reads");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a fixture");
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut views = tensors.tensors();
    let width = values.len() / 320;
    let shape = if width > 0 { vec![320, width] } else { vec![values.len()] };
    views.push((name.to_owned(), TensorView::new(Dtype::F32, shape, &data).expect("fits")));
    safetensors::serialize_to_file(views, None, &path).expect("writes");
}

#[test]
fn unused_tensors_of_a_folder_are_rejected() {
    for (family, name) in [
        ("llama", "model.layers.0.self_attn.q_proj.bias"),
        ("llama", "model.layers.4.input_layernorm.weight"),
        ("llama", "lm_head.bias"),
        ("gemma3", "model.layers.0.self_attn.k_proj.bias"),
        ("qwen3", "score.weight"),
    ] {
        let folder = copied(family);
        add_tensor(folder.path(), name, &[0.5; 64]);
        let message = refusal(folder.path());
        assert!(message.contains(&format!("the tensor `{name}` is not supported")), "{message}");
    }
    for (family, name) in [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gemma3", "vision_tower.vision_model.post_layernorm.weight"),
        ("gemma3", "model.multi_modal_projector.mm_soft_emb_norm.weight"),
    ] {
        let folder = copied(family);
        add_tensor(folder.path(), name, &[0.5; 64]);
        assert_eq!(
            logits(folder.path()),
            logits(&fixtures().join(family)),
            "{name} changes nothing"
        );
    }
}

#[test]
fn a_head_beside_tied_embeddings_must_equal_them() {
    let folder = copied("qwen3");
    let weights = preceptor_models::read_safetensors(&folder.path().join("model.safetensors"));
    let mut embedding = weights.expect("a fixture")["model.embed_tokens.weight"].1.clone();
    add_tensor(folder.path(), "lm_head.weight", &embedding);
    assert_eq!(logits(folder.path()), logits(&fixtures().join("qwen3")));
    embedding[77] += 1.0;
    let folder = copied("qwen3");
    add_tensor(folder.path(), "lm_head.weight", &embedding);
    insta::assert_snapshot!(refusal(folder.path()), @r"
    use `models`: the tensor `lm_head.weight` beside `tie_word_embeddings` is not supported, only one that equals `model.embed_tokens.weight`
    hint: the configuration may belong to other weights
    ");
}

#[test]
fn configurations_that_change_the_output_are_rejected() {
    for (family, key, value) in [
        ("llama", "partial_rotary_factor", json!(0.5)),
        ("qwen3", "partial_rotary_factor", json!(0.25)),
        ("llama", "quantization_config", json!({"quant_method": "gptq", "bits": 4})),
        (
            "qwen3",
            "layer_types",
            json!(["full_attention", "sliding_attention", "full_attention", "full_attention"]),
        ),
        (
            "gemma3",
            "layer_types",
            json!(["full_attention", "chunked_attention", "full_attention", "full_attention"]),
        ),
        ("llama", "attention_bias", json!(true)),
    ] {
        let folder = copied(family);
        change_json(&folder.path().join("config.json"), |file| file[key] = value);
        let message = refusal(folder.path());
        let named = if key == "layer_types" { "a layer of type" } else { key };
        assert!(message.contains(named), "{message}");
    }
    let folder = copied("llama");
    change_json(&folder.path().join("config.json"), |file| {
        file["rope_parameters"]["partial_rotary_factor"] = json!(0.5);
    });
    assert!(refusal(folder.path()).contains("rope_parameters.partial_rotary_factor"));
}
