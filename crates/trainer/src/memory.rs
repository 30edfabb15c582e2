//! An estimate of the memory that a training run needs, before it starts.
//!
//! ```text
//! host     trained weights    4 P    gradients           4 P    both moments   8 P
//! device   a pass's weights   f P    weights             f N    gradients      4 P
//!          a pass's states    f r L (6 h + N_L / h)             logits         8 min(r V, 2^26)
//! ```
//!
//! P trained values, N weights of the model, N_L of a layer, f bytes per value in the device's format,
//! r rows per pass, L layers, h the size of a hidden state, V tokens in the vocabulary. Every projection's
//! input is stored for the backward pass, and the projections of a layer have N_L / h inputs and outputs
//! beside its hidden states. If layers are computed again, a pass holds the weights before and after them
//! and of one layer (on a GPU all of them), and f r (L h + 6 h + N_L / h) bytes of states. Each device
//! needs the memory in its row. Devices that compute on the host use host memory, without the gradients,
//! which the host has anyway. Measurements: `docs/log/2026-11-26-training.md`.

use preceptor_models::{DecoderSpec, Device, LayerStates, Trainable};

/// Number of logits, and of their gradients, in memory at once.
const LOGITS_HELD: u64 = 1 << 26;

/// Bytes by component.
type Components = Vec<(&'static str, u64)>;

/// The memory that a training run needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Bytes on the host.
    pub host: Components,
    /// Bytes on each device with its own memory; empty if there is none.
    pub device: Components,
    /// Number of devices that compute on the host.
    host_devices: u64,
    bytes_per_number: u64,
    num_parameters: u64,
}

/// Sizes that determine the memory needed.
#[derive(Clone, Copy, Debug)]
pub struct MemoryInputs<'a> {
    /// The model.
    pub spec: &'a DecoderSpec,
    /// Number of trained values.
    pub num_trained: u64,
    /// A device; all have the same format.
    pub device: &'a Device,
    /// Number of devices.
    pub num_devices: u64,
    /// Tokens per pass.
    pub rows: u64,
    /// Treatment of the states inside of layers.
    pub layer_states: LayerStates,
}

impl MemoryEstimate {
    /// Estimates the memory of `trainable`, whose model has `spec`, with passes of `rows` tokens.
    pub fn for_trainable(
        trainable: &Trainable,
        spec: &DecoderSpec,
        rows: usize,
        layer_states: LayerStates,
    ) -> Self {
        let num_trained = trainable.parameters().iter().map(|p| p.values.len() as u64).sum();
        Self::new(&MemoryInputs {
            spec,
            num_trained,
            device: trainable.device(),
            num_devices: trainable.num_replicas() as u64,
            rows: rows as u64,
            layer_states,
        })
    }

    /// Estimates the memory of sizes.
    pub fn new(inputs: &MemoryInputs<'_>) -> Self {
        let MemoryInputs { spec, num_trained, device, num_devices, rows, layer_states } = *inputs;
        let hidden = spec.hidden_size as u64;
        let on_host = device.uses_host_memory();
        let bytes = device.format().size() as u64;
        let [layers, vocab] = [spec.num_layers as u64, spec.vocab_size as u64];
        let of_layers = spec.num_parameters.saturating_sub(vocab * hidden);
        let of_per_layer = of_layers / layers.max(1);
        let of_a_layer_states = 6 * hidden + of_per_layer / hidden.max(1);
        let (states, of_per_pass) = match layer_states {
            LayerStates::Kept => (rows * layers * of_a_layer_states, num_trained),
            LayerStates::Recomputed => {
                let ends = spec.num_parameters - of_layers;
                let one_layer = num_trained.min(ends + of_per_layer);
                let in_form = if on_host { one_layer } else { num_trained };
                (rows * (layers * hidden + of_a_layer_states), in_form)
            }
        };
        let host = vec![
            ("trained weights", 4 * num_trained),
            ("gradients", 4 * num_trained),
            ("moments of the optimiser", 8 * num_trained),
        ];
        let mut device = vec![
            ("weights of a pass", bytes * of_per_pass),
            ("weights of the model", bytes * spec.num_parameters),
            ("states of a pass", bytes * states),
            ("logits of a pass", 8 * (rows * vocab).min(LOGITS_HELD)),
        ];
        if !on_host {
            device.push(("gradients", 4 * num_trained));
        }
        let mut estimate = Self {
            host,
            device: Vec::new(),
            host_devices: if on_host { num_devices } else { 0 },
            bytes_per_number: bytes,
            num_parameters: spec.num_parameters,
        };
        for (name, bytes) in device {
            estimate.add(name, bytes);
        }
        estimate
    }

    /// Adds `copies` of the model's weights on each device.
    #[must_use]
    pub fn and_weights(mut self, name: &'static str, copies: u64) -> Self {
        self.add(name, copies * self.bytes_per_number * self.num_parameters);
        self
    }

    /// Adds bytes on each device.
    fn add(&mut self, name: &'static str, bytes: u64) {
        match self.host_devices {
            0 => self.device.push((name, bytes)),
            num => self.host.push((name, num * bytes)),
        }
    }

    /// Checks that the memory fits into the free bytes of the host and of each device, if they are known.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`](crate::Error::Memory) with the largest components.
    pub fn check(&self, host: Option<u64>, device: Option<u64>) -> Result<(), crate::Error> {
        fits("the host", &self.host, host)?;
        fits("each device", &self.device, device)
    }
}

fn total(components: &Components) -> u64 {
    components.iter().map(|(_, bytes)| bytes).sum()
}

fn fits(
    location: &'static str,
    components: &Components,
    free: Option<u64>,
) -> Result<(), crate::Error> {
    let Some(free) = free.filter(|free| total(components) > *free) else { return Ok(()) };
    let mut components = components.clone();
    components.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let written = components.iter().map(|(name, bytes)| format!("{name} {}", mib(*bytes)));
    Err(crate::Error::Memory {
        location,
        needed: mib(total(&components)),
        available: mib(free),
        components: written.collect::<Vec<_>>().join(", "),
    })
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Qwen 3 8B.
    fn spec() -> DecoderSpec {
        DecoderSpec {
            vocab_size: 151_936,
            context_length: 40_960,
            hidden_size: 4096,
            num_layers: 36,
            head_dim: 128,
            key_value_width: 2 * 36 * 8 * 128,
            num_parameters: 8_190_735_360,
        }
    }

    fn estimate(num_trained: u64, num_devices: u64) -> MemoryEstimate {
        MemoryEstimate::new(&MemoryInputs {
            spec: &spec(),
            num_trained,
            device: &Device::cpu(),
            num_devices,
            rows: 2048,
            layer_states: LayerStates::Recomputed,
        })
    }

    #[test]
    fn devices_on_the_host_use_host_memory() {
        let one = estimate(1 << 20, 1);
        assert!(one.device.is_empty());
        let of = |estimate: &MemoryEstimate, name: &str| {
            estimate.host.iter().find(|(known, _)| *known == name).expect("a component").1
        };
        assert_eq!(of(&one, "moments of the optimiser"), 8 << 20);
        assert_eq!(of(&one, "weights of the model"), 4 * 8_190_735_360);
        let two = estimate(1 << 20, 2);
        assert_eq!(of(&two, "weights of the model"), 8 * 8_190_735_360);
        assert_eq!(of(&two, "moments of the optimiser"), 8 << 20, "the host's own stays");
    }

    #[test]
    fn devices_with_their_own_memory_use_no_host_memory() {
        let mut estimate = estimate(8_190_735_360, 1);
        // The estimate for eight GPUs, none of which can be opened here.
        let of_device = ["weights of a pass", "weights of the model", "states of a pass"];
        let (device, host): (Vec<_>, Vec<_>) =
            estimate.host.drain(..).partition(|(name, _)| of_device.contains(name));
        (estimate.host, estimate.device, estimate.host_devices) = (host, device, 0);
        let host: u64 = total(&estimate.host);
        assert!(host < 140_000_000_000, "16 bytes for each trained weight: {host}");
        let estimate = estimate.and_weights("policies that are asked", 2);
        assert_eq!(total(&estimate.host), host);
        assert!(
            estimate.check(Some(140_000_000_000), None).is_ok(),
            "unknown memory is not rejected"
        );
        let refused = estimate.check(Some(1 << 40), Some(80 << 30)).unwrap_err().to_string();
        assert!(refused.contains("on each device"), "{refused}");
    }

    #[test]
    fn estimates_that_do_not_fit_are_rejected_with_their_largest_components() {
        let estimate = MemoryEstimate {
            host: vec![("few", 1 << 20), ("many", 3 << 20)],
            device: Vec::new(),
            host_devices: 1,
            bytes_per_number: 4,
            num_parameters: 1,
        };
        assert_eq!(estimate.check(Some(4 << 20), None), Ok(()));
        let error = estimate.and_weights("more", 1).check(Some(4 << 20), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "start the training run: it needs about 5 MiB on the host, where 4 MiB are free (many 3 MiB, few 1 MiB, more 1 MiB)\n\
             hint: lower `tokens-per-pass`, set `gradient-checkpointing`, train adapters with `[train.lora]`, or use a smaller model; `--no-memory-check` skips this check"
        );
    }
}
