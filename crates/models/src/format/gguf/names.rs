//! Tensors of a GGUF file under their Hugging Face names.

use std::collections::BTreeSet;
use std::path::Path;

use super::GgufFile;
use crate::Error;
use crate::format::weight_source::WeightSource;

/// Tensors outside of layers.
const TOP: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];
/// Parts of layers with the same names in every family.
const PARTS: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Weights of a GGUF file.
pub(crate) struct GgufNames<'a> {
    file: &'a GgufFile,
    /// Names of a family's other parts of layers.
    parts: &'static [(&'static str, &'static str)],
}

impl<'a> GgufNames<'a> {
    pub(crate) fn new(file: &'a GgufFile, parts: &'static [(&'static str, &'static str)]) -> Self {
        Self { file, parts }
    }

    fn rename(&self, name: &str) -> String {
        if let Some((_, gguf)) = TOP.iter().find(|(hf, _)| *hf == name) {
            return (*gguf).to_owned();
        }
        let parts = PARTS.iter().chain(self.parts);
        let renamed = parts.fold(name.to_owned(), |name, (hf, gguf)| {
            name.replacen(&format!(".{hf}."), &format!(".{gguf}."), 1)
        });
        renamed.replacen("model.layers.", "blk.", 1)
    }
}

impl WeightSource for GgufNames<'_> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn contains(&self, name: &str) -> bool {
        self.file.contains(&self.rename(name))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.file.read(&self.rename(name), shape)
    }

    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String> {
        self.file.first_unread(&read.iter().map(|name| self.rename(name)).collect())
    }
}
