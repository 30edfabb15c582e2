//! Metadata of a GGUF file that changes the output: read, or rejected by its name.
//!
//! Keys that begin with the architecture's name are read here, in [`Sizes::from_gguf`] or by the
//! family. A key that none of them knows may change the output of the model, so the file is rejected.

use crate::Error;
use crate::decoder::rope_config::RopeScaling;
use crate::decoder::sizes::Sizes;
use crate::format::{GgufFile, GgufValue};

/// Keys that every family reads, or that do not matter.
const READ: [&str; 22] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.type",
    "vocab_size",
    // Keys of YaRN, which is rejected by its name.
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
    // The layout of the file's own conversion.
    "tensor_data_layout",
];

/// Keys with their neutral value.
const NEUTRAL: [(&str, f64); 8] = [
    ("attention.causal", 1.0),
    ("attn_logit_softcapping", 0.0),
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("rope.scaling.attn_factor", 1.0),
    ("use_parallel_residual", 0.0),
];

fn unsupported(
    file: &GgufFile,
    what: &str,
    found: &str,
    allowed: &str,
    hint: &'static str,
) -> Error {
    Error::Unsupported {
        path: file.path().to_owned(),
        what: what.to_owned(),
        found: found.to_owned(),
        allowed: allowed.to_owned(),
        hint,
    }
}

/// Rejects a part of a split file.
pub(crate) fn check_whole(file: &GgufFile) -> Result<(), Error> {
    let hint = "join the parts with `llama-gguf-split --merge`";
    let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    if file.integer("split.count")?.is_some_and(|count| count > 1) || is_part(&name) {
        return Err(unsupported(file, "a part of a split file", &name, "whole files", hint));
    }
    let key = "split.tensors.count";
    let (wanted, found) = (file.integer(key)?, file.tensor_names().count());
    if wanted.is_some_and(|wanted| wanted != found) {
        let found = format!("{} for a file of {found} tensors", wanted.unwrap_or(0));
        return Err(file.config_error(key, &found, "the number of tensors"));
    }
    Ok(())
}

/// Returns true if a name ends in `-00001-of-00002.gguf`, with any numbers but 1 of 1.
fn is_part(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let Some((rest, count)) = stem.rsplit_once("-of-") else { return false };
    let number = rest.rsplit_once('-').map_or(rest, |(_, number)| number);
    let is_number = |text: &str| text.len() >= 2 && text.bytes().all(|b| b.is_ascii_digit());
    is_number(number) && is_number(count) && count.trim_start_matches('0') != "1"
}

/// Rejects metadata of the architecture that is not read. The family reads the keys `more`.
pub(crate) fn check_metadata(
    file: &GgufFile,
    architecture: &str,
    sizes: &Sizes,
    more: &[&str],
    hint: &'static str,
) -> Result<(), Error> {
    check_whole(file)?;
    let prefix = format!("{architecture}.");
    for key in file.keys() {
        let Some(name) = key.strip_prefix(&prefix) else { continue };
        if READ.contains(&name) || more.contains(&name) {
            continue;
        }
        let neutral = NEUTRAL.iter().find(|(known, _)| *known == name);
        let value = match file.value(key) {
            Some(GgufValue::Float(value)) => Some(*value),
            Some(GgufValue::Unsigned(value)) => Some(*value as f64),
            Some(GgufValue::Signed(value)) => Some(*value as f64),
            Some(GgufValue::Bool(value)) => Some(f64::from(u8::from(*value))),
            _ => None,
        };
        match neutral {
            Some((_, neutral)) if value == Some(*neutral) => {}
            Some((_, neutral)) => {
                let found = file.value(key).map_or_else(String::new, |v| format!("{v:?}"));
                return Err(unsupported(
                    file,
                    &format!("`{key}`"),
                    &found,
                    &neutral.to_string(),
                    hint,
                ));
            }
            None => {
                let allowed = "keys that this family reads";
                return Err(unsupported(file, "the metadata key", key, allowed, hint));
            }
        }
    }
    for name in ["rope.dimension_count", "attention.key_length", "attention.value_length"] {
        let key = format!("{prefix}{name}");
        if let Some(found) = file.integer(&key)?.filter(|found| *found != sizes.head_dim) {
            let allowed = format!("{}, the size of a head", sizes.head_dim);
            return Err(unsupported(file, &format!("`{key}`"), &found.to_string(), &allowed, hint));
        }
    }
    Ok(())
}

/// Reads the scaling of positions as llama.cpp does: a factor without a type is linear,
/// `rope.scale_linear` is an older key of the factor, and type `none` has no factor.
pub(crate) fn rope_scaling_from_gguf(
    file: &GgufFile,
    architecture: &str,
    hint: &'static str,
) -> Result<RopeScaling, Error> {
    let kind = file.text(&format!("{architecture}.rope.scaling.type"))?.unwrap_or("linear");
    match kind {
        "none" => return Ok(RopeScaling::None),
        "linear" => {}
        other => {
            let allowed = "`none`, `linear` or the tensor `rope_freqs.weight`";
            return Err(unsupported(file, "the rope scaling", other, allowed, hint));
        }
    }
    let (key, old) = (
        format!("{architecture}.rope.scaling.factor"),
        format!("{architecture}.rope.scale_linear"),
    );
    let factor = match file.float(&key)? {
        Some(factor) => Some(factor),
        None => file.float(&old)?,
    };
    match factor {
        // llama.cpp reads 0 as a missing factor.
        None | Some(0.0 | 1.0) => Ok(RopeScaling::None),
        Some(factor) if factor.is_finite() && factor > 0.0 => Ok(RopeScaling::Linear { factor }),
        Some(factor) => Err(file.config_error(&key, &factor.to_string(), "a number from 0 up")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_part;

    #[test]
    fn names_of_parts_are_known() {
        for name in ["m-00001-of-00002.gguf", "m-q8-00002-of-00010.GGUF", "00001-of-00003.gguf"] {
            assert!(is_part(name), "{name}");
        }
        for name in ["m.gguf", "best-of-10.gguf", "m-00001-of-00001.gguf", "n-of-m.gguf"] {
            assert!(!is_part(name), "{name}");
        }
    }
}
