//! The `[estimate]` table.

use preceptor_core::OutOfRange;
use serde::{Deserialize, Serialize};

/// The `[estimate]` table: figures from which `plan` estimates time and cost. They change no record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EstimateSettings {
    /// Name of the GPU, as it is printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Memory of a GPU in GiB, above 0. Weights that do not fit are noticed. Default: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<f64>,
    /// Price of a GPU in USD per hour, 0 or more. Default: no price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_price: Option<f64>,
    /// Number of weights of the model with the following speeds, above 0; other models are slower or faster
    /// in proportion to their weights. Required with a speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<f64>,
    /// Tokens per second that a GPU samples with this program, above 0. Default: measured on the first
    /// device, if the model is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_per_sec: Option<f64>,
    /// Tokens per second that a GPU reads: prompts, and texts whose log-probabilities are computed. Default: 3
    /// times `trained-per-sec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_per_sec: Option<f64>,
    /// Tokens per second in updates, forward and backward. Default: as for `sampled-per-sec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_per_sec: Option<f64>,
    /// Tokens per second that a server of `[rollouts]` samples, above 0. `plan --probe` measures it. Default:
    /// `sampled-per-sec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_per_sec: Option<f64>,
    /// GPUs of each server of `[rollouts]`, 1 to 1024. Default: 1.
    pub gpus_per_server: u32,
    /// Mean length of rollouts and replies as a share of their limit, above 0 and up to 1. Default: 1.
    pub length_share: f64,
    /// Source of the figures, as it is printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Default for EstimateSettings {
    fn default() -> Self {
        Self {
            gpu: None,
            gpu_memory: None,
            gpu_price: None,
            weights: None,
            sampled_per_sec: None,
            read_per_sec: None,
            trained_per_sec: None,
            served_per_sec: None,
            gpus_per_server: 1,
            length_share: 1.0,
            source: None,
        }
    }
}

impl EstimateSettings {
    /// Checks every range.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let speeds = [
            ("sampled-per-sec", self.sampled_per_sec),
            ("read-per-sec", self.read_per_sec),
            ("trained-per-sec", self.trained_per_sec),
            ("served-per-sec", self.served_per_sec),
        ];
        let sizes = [("gpu-memory", self.gpu_memory), ("weights", self.weights)];
        for (key, value) in speeds.into_iter().chain(sizes) {
            let Some(value) = value else { continue };
            let is_allowed = value > 0.0 && value.is_finite();
            OutOfRange::check(key, value, is_allowed, "above 0")?;
        }
        for (key, speed) in speeds {
            if let Some(speed) = speed {
                let is_allowed = self.weights.is_some();
                let allowed =
                    "beside `weights`, the number of weights of the model that is so fast";
                OutOfRange::check(key, speed, is_allowed, allowed)?;
            }
        }
        if let Some(price) = self.gpu_price {
            let is_allowed = price >= 0.0 && price.is_finite();
            OutOfRange::check("gpu-price", price, is_allowed, "0 or more")?;
        }
        let share = self.length_share;
        let is_allowed = share > 0.0 && share <= 1.0;
        OutOfRange::check("length-share", share, is_allowed, "above 0 and at most 1")?;
        let gpus = self.gpus_per_server;
        let is_allowed = (1..=1024).contains(&gpus);
        OutOfRange::check("gpus-per-server", gpus, is_allowed, "between 1 and 1024")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named_with_their_key() {
        let refused = |text: &str| {
            let settings: EstimateSettings = toml::from_str(text).unwrap();
            let error = settings.check().unwrap_err();
            format!("{} = {}: must be {}", error.key, error.value, error.allowed)
        };
        let messages = [
            "weights = 0.0",
            "gpu-memory = -1",
            "gpu-price = -0.5",
            "sampled-per-sec = 100",
            "weights = 1e9\ntrained-per-sec = 0",
            "length-share = 1.5",
            "gpus-per-server = 0",
        ];
        insta::assert_snapshot!(messages.map(refused).join("\n"), @r"
        weights = 0: must be above 0
        gpu-memory = -1: must be above 0
        gpu-price = -0.5: must be 0 or more
        sampled-per-sec = 100: must be beside `weights`, the number of weights of the model that is so fast
        trained-per-sec = 0: must be above 0
        length-share = 1.5: must be above 0 and at most 1
        gpus-per-server = 0: must be between 1 and 1024
        ");
        let whole = "weights = 1e9\nsampled-per-sec = 10\nlength-share = 0.5";
        let settings: EstimateSettings = toml::from_str(whole).unwrap();
        assert!(settings.check().is_ok());
    }
}
