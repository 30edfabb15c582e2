//! Parts of configurations that families share: refusals, rotary embeddings and projections.

use std::path::Path;

use burn::tensor::Tensor;
use serde_json::{Value, json};

use crate::Error;
use crate::attention::AttentionShape;
use crate::decoder::products::Products;
use crate::decoder::rope_config::{RopeConfig, RopeScaling};
use crate::decoder::sizes::Sizes;
use crate::decoder::stack::Layers;
use crate::format::JsonFile;
use crate::ops::Linear;

/// Creates the error for a feature that a family does not support.
pub(super) fn unsupported(
    path: &Path,
    what: &str,
    found: &str,
    allowed: &str,
    hint: &'static str,
) -> Error {
    Error::Unsupported {
        path: path.to_owned(),
        what: what.to_owned(),
        found: found.to_owned(),
        allowed: allowed.to_owned(),
        hint,
    }
}

/// Rejects a configuration in which one of `keys` is true.
pub(super) fn refuse_biases(
    config: &JsonFile,
    keys: &[&str],
    hint: &'static str,
) -> Result<(), Error> {
    for key in keys {
        if config.boolean(key)?.unwrap_or(false) {
            return Err(unsupported(config.path(), "bias", key, "weights without bias", hint));
        }
    }
    Ok(())
}

/// Rejects `use_sliding_window`.
pub(super) fn refuse_sliding_window(config: &JsonFile, hint: &'static str) -> Result<(), Error> {
    if config.boolean("use_sliding_window")?.unwrap_or(false) {
        let (found, allowed) = ("use_sliding_window", "attention to all previous tokens");
        return Err(unsupported(config.path(), "the attention", found, allowed, hint));
    }
    Ok(())
}

/// Rejects activations other than `allowed`.
pub(super) fn check_activation(
    config: &JsonFile,
    key: &str,
    allowed: &str,
    hint: &'static str,
) -> Result<(), Error> {
    match config.text(key)?.unwrap_or(allowed) {
        found if found == allowed => Ok(()),
        found => {
            let allowed = format!("`{allowed}`");
            Err(unsupported(config.path(), "the activation", found, &allowed, hint))
        }
    }
}

/// Rejects kinds of layers other than `kinds`, a rotary embedding of only a part of each head, and
/// quantised weights.
pub(super) fn check_layers(
    config: &JsonFile,
    kinds: &[&str],
    hint: &'static str,
) -> Result<(), Error> {
    if let Some(found) = config.get("quantization_config") {
        let method = found.get("quant_method").unwrap_or(found).to_string();
        let (what, allowed) = ("`quantization_config`", "weights in F32, F16 or BF16");
        return Err(unsupported(config.path(), what, &method, allowed, hint));
    }
    for table in ["", "rope_parameters.", "rope_scaling.", "rope_parameters.full_attention."] {
        let key = format!("{table}partial_rotary_factor");
        if let Some(factor) = config.float(&key)?.filter(|factor| *factor != 1.0) {
            let (what, allowed) = (format!("`{key}`"), "1: the whole head is rotated");
            return Err(unsupported(config.path(), &what, &factor.to_string(), allowed, hint));
        }
    }
    let listed = config.get("layer_types").and_then(Value::as_array).into_iter().flatten();
    for kind in listed {
        if !kind.as_str().is_some_and(|kind| kinds.contains(&kind)) {
            let allowed = kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>();
            let (what, allowed) = ("a layer of type", allowed.join(" and "));
            return Err(unsupported(config.path(), what, &kind.to_string(), &allowed, hint));
        }
    }
    Ok(())
}

/// Reads the rope scaling in `table`, whose kind is `rope_type`, or `type` in older files.
pub(super) fn hf_rope(
    config: &JsonFile,
    table: &str,
    hint: &'static str,
) -> Result<RopeScaling, Error> {
    let key = |name: &str| format!("{table}.{name}");
    let need = |name: &str| {
        config
            .float(&key(name))?
            .filter(|x| *x > 0.0)
            .ok_or_else(|| config.config_error(&key(name), "nothing", "a number above 0"))
    };
    let kind = match config.text(&key("rope_type"))? {
        Some(kind) => kind,
        None => config.text(&key("type"))?.unwrap_or("default"),
    };
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: need("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_context: need("original_max_position_embeddings")?,
        },
        other => {
            let allowed = "`default`, `linear` and `llama3`";
            return Err(unsupported(config.path(), "the rope type", other, allowed, hint));
        }
    })
}

/// Reads the rotary embedding. Version 5 of transformers stores everything under `rope_parameters`,
/// version 4 has `rope_theta` beside `rope_scaling`.
pub(super) fn rope_from_json(
    config: &JsonFile,
    default_theta: f64,
    hint: &'static str,
) -> Result<RopeConfig, Error> {
    let table =
        if config.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let key = |name: &str| format!("{table}.{name}");
    let theta = match config.float(&key("rope_theta"))? {
        Some(theta) => theta,
        None => config.float("rope_theta")?.unwrap_or(default_theta),
    };
    Ok(RopeConfig { theta, scaling: hf_rope(config, table, hint)? })
}

/// Writes `rope_parameters` as transformers 5 does; none for scalings without a name.
pub(super) fn rope_to_json(rope: &RopeConfig) -> Option<Value> {
    let mut rope_parameters = match &rope.scaling {
        RopeScaling::None => json!({ "rope_type": "default" }),
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": *original_context as u64,
            })
        }
        RopeScaling::Divisors(_) => return None,
    };
    rope_parameters["rope_theta"] = json!(rope.theta);
    Some(rope_parameters)
}

/// Returns the shape of attention whose scores are divided by the square root of the head dimension.
pub(super) fn plain_attention(sizes: &Sizes) -> AttentionShape {
    AttentionShape {
        num_heads: sizes.num_heads,
        num_kv_heads: sizes.num_kv_heads,
        head_dim: sizes.head_dim,
        scale: (1.0 / (sizes.head_dim as f64).sqrt()) as f32,
        window: None,
    }
}

/// Computes queries, keys and values of normed hidden states, before the rotary embedding.
pub(super) fn split_qkv(
    config: &impl Layers,
    products: &Products<Linear>,
    normed: &Tensor<2>,
) -> [Tensor<2>; 3] {
    let (q_width, kv_width) = (config.sizes().q_width(), config.sizes().kv_width());
    let qkv = products.qkv.forward(normed);
    let q = qkv.clone().narrow(1, 0, q_width);
    let k = qkv.clone().narrow(1, q_width, kv_width);
    [q, k, qkv.narrow(1, q_width + kv_width, kv_width)]
}

/// Applies the family's norm to every head of every row, `[r, heads · h]` to the same.
pub(super) fn head_norm(config: &impl Layers, x_rd: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
    let ([rows, cols], head_dim) = (x_rd.dims(), config.sizes().head_dim);
    let heads = x_rd.reshape([rows * cols / head_dim, head_dim]);
    config.norm(&heads, weight).reshape([rows, cols])
}
