//! What a training needs of memory, told before it begins.
//!
//! ```text
//! trained weights     4 P      gradients            4 P      both moments   8 P
//! a pass's weights    4 P      frozen weights       4 N
//! a pass's states     4 r L (6 h + N_L / h)         logits         8 min(r V, 2^26)
//! ```
//!
//! P trained numbers, N numbers of the model, N_L of a layer, r rows a pass, L layers, h the size of a
//! hidden state, V tokens of the vocabulary: every projection's input is kept for the way back, and a
//! layer's projections together have N_L / h inputs and outputs beside its hidden states. Where layers
//! are computed again, a pass holds the weights before and after them and of one layer (on a device
//! with memory of its own all of them), and 4 r (L h + 6 h + N_L / h) bytes of states. Every device has
//! a pass of its own, and gradients, which the host has once more where a device has memory of its own.
//! Measured against it: `docs/log/2026-11-26-training.md`.

use preceptor_models::{DecoderSpec, LayerStates, Trainable};

/// Logits, and their gradients, that are held at once.
const LOGITS_HELD: u64 = 1 << 26;

/// Bytes by component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// What needs them, and how many.
    pub components: Vec<(&'static str, u64)>,
}

impl MemoryEstimate {
    /// Of `trainable`, whose model has `spec`, with passes of `rows` tokens.
    pub fn new(
        trainable: &Trainable,
        spec: &DecoderSpec,
        rows: usize,
        layer_states: LayerStates,
    ) -> Self {
        let trained: u64 = trainable.parameters().iter().map(|p| p.values.len() as u64).sum();
        let [rows, hidden] = [rows as u64, spec.hidden_size as u64];
        let devices = trainable.num_replicas() as u64;
        let is_card = !trainable.device().has_kernels();
        let [layers, vocab] = [spec.num_layers as u64, spec.vocab_size as u64];
        let of_layers = spec.num_parameters.saturating_sub(vocab * hidden);
        let of_a_layer = of_layers / layers.max(1);
        let of_a_layer_states = 6 * hidden + of_a_layer / hidden.max(1);
        let (states, of_a_pass) = match layer_states {
            LayerStates::Kept => (rows * layers * of_a_layer_states, trained),
            LayerStates::Recomputed => {
                let ends = spec.num_parameters - of_layers;
                let in_form = if is_card { trained } else { trained.min(ends + of_a_layer) };
                (rows * (layers * hidden + of_a_layer_states), in_form)
            }
        };
        Self {
            components: vec![
                ("trained weights", 4 * trained),
                ("gradients", 4 * trained * (devices + u64::from(is_card))),
                ("moments of the optimiser", 8 * trained),
                ("weights of a pass", 4 * of_a_pass * devices),
                ("weights of the model", 4 * spec.num_parameters * devices),
                ("states of a pass", 4 * states * devices),
                ("logits of a pass", 8 * (rows * vocab).min(LOGITS_HELD) * devices),
            ],
        }
    }

    /// Another component.
    #[must_use]
    pub fn and(mut self, name: &'static str, bytes: u64) -> Self {
        self.components.push((name, bytes));
        self
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        self.components.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Refuses what does not fit into `available` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`](crate::Error::Memory) with the largest components.
    pub fn check(&self, available: u64) -> Result<(), crate::Error> {
        if self.total() <= available {
            return Ok(());
        }
        let mut components = self.components.clone();
        components.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let written = components.iter().map(|(name, bytes)| format!("{name} {}", mib(*bytes)));
        Err(crate::Error::Memory {
            needed: mib(self.total()),
            available: mib(available),
            components: written.collect::<Vec<_>>().join(", "),
        })
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Bytes that this machine can still give, where it tells.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_its_largest_parts_first() {
        let estimate = MemoryEstimate { components: vec![("few", 1 << 20), ("many", 3 << 20)] };
        assert_eq!(estimate.check(4 << 20), Ok(()));
        let error = estimate.and("more", 1).check(4 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "begin to train: it needs about 5 MiB and 4 MiB are free (many 3 MiB, few 1 MiB, more 1 MiB)\n\
             hint: lower `tokens-a-pass`, set `gradient-checkpointing`, train adapters with `[train.lora]`, or take a smaller model"
        );
    }
}
