//! Estimates of time and cost, as `plan` and `reproduce --dry-run` print them.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::HumanBytes;
use preceptor_experiment::{Estimate, EstimateSettings, HeldWeights};
use serde_json::{Value, json};

use crate::terminal::time;

const BYTES_PER_GIB: f64 = (1_u64 << 30) as f64;

/// An estimate with the figures it rests on.
pub(crate) struct ShownEstimate<'e> {
    pub(crate) estimate: &'e Estimate,
    pub(crate) settings: &'e EstimateSettings,
    /// GPUs that share this program's work.
    pub(crate) num_gpus: u64,
    pub(crate) held: &'e [HeldWeights],
}

/// Returns names in backticks.
pub(crate) fn quoted(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl ShownEstimate<'_> {
    fn cost_usd(&self) -> Option<f64> {
        Some(self.settings.gpu_price? * self.estimate.gpu_hours(self.num_gpus))
    }

    /// Returns the lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("Estimate: {}.", self.total()), self.assumptions()];
        if !self.estimate.unknown.is_empty() {
            lines.push(format!(
                "The time of {} is not included: its number of weights or its speed is unknown.",
                quoted(&self.estimate.unknown)
            ));
        }
        if !self.estimate.unpriced.is_empty() {
            let endpoints = quoted(&self.estimate.unpriced);
            lines.push(format!("The cost of {endpoints} is not included: no price is given."));
        }
        lines.extend(self.memory());
        lines
    }

    fn total(&self) -> String {
        let Self { estimate, settings, num_gpus, .. } = self;
        let counted = |num: u64| if num == 1 { "1 GPU".to_owned() } else { format!("{num} GPUs") };
        let name = settings.gpu.as_ref().map_or_else(String::new, |gpu| format!(" ({gpu})"));
        let hours = estimate.hours(*num_gpus);
        let duration = match hours {
            ..48.0 => time(Duration::from_secs_f64(hours * 3600.0)),
            _ => format!("{:.1} days", hours / 24.0),
        };
        let mut total = format!("{duration} on {}{name}", counted(*num_gpus));
        if estimate.num_server_gpus > 0 {
            total += &format!(" and {} of rollout servers", counted(estimate.num_server_gpus));
        }
        total += &format!(", {:.1} GPU hours", estimate.gpu_hours(*num_gpus));
        if let Some(usd) = self.cost_usd() {
            total += &format!(" for {usd:.2} USD");
        }
        if estimate.endpoints_usd > 0.0 {
            total += &format!(", endpoints {:.2} USD", estimate.endpoints_usd);
        }
        total + &format!(", {} of disk", HumanBytes(estimate.disk_bytes))
    }

    fn assumptions(&self) -> String {
        let EstimateSettings {
            gpu_price,
            weights,
            sampled_per_sec,
            read_per_sec,
            trained_per_sec,
            served_per_sec,
            length_share,
            source,
            ..
        } = self.settings;
        let mut assumed = vec![format!("texts of {length_share} of their limit")];
        match weights {
            None => assumed.push("speeds measured here for some seconds".to_owned()),
            Some(weights) => {
                let speeds = [
                    ("sampled", sampled_per_sec),
                    ("read", read_per_sec),
                    ("trained on", trained_per_sec),
                    ("sampled by a server", served_per_sec),
                ];
                let stated = speeds.iter().filter_map(|(what, speed)| Some((what, (**speed)?)));
                let stated: Vec<_> =
                    stated.map(|(what, speed)| format!("{speed:.0} {what}")).collect();
                assumed.push(format!(
                    "tokens per second with {weights:.3e} weights: {}, for other models in inverse proportion",
                    stated.join(", ")
                ));
            }
        }
        if let Some(price) = gpu_price {
            assumed.push(format!("{price} USD per GPU hour"));
        }
        let source = source.as_ref().map_or_else(String::new, |source| format!(" ({source})"));
        format!("Assumed: {}{source}.", assumed.join("; "))
    }

    /// Compares weights with the memory of a GPU, where it is stated.
    fn memory(&self) -> Vec<String> {
        let Some(memory) = self.settings.gpu_memory else { return Vec::new() };
        let line = |held: &HeldWeights| {
            let gib = held.num_bytes as f64 / BYTES_PER_GIB;
            let (holder, models) = (held.holder, held.models.join(", "));
            if gib > memory {
                format!(
                    "Does not fit: {models} take {gib:.1} GiB in half precision, and a GPU of {holder} has {memory} GiB."
                )
            } else {
                format!(
                    "Weights on a GPU of {holder}: {gib:.1} of {memory} GiB in half precision ({models}); activations and caches need more."
                )
            }
        };
        self.held.iter().map(line).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let Self { estimate, num_gpus, .. } = self;
        json!({
            "gpus": num_gpus,
            "hours": estimate.hours(*num_gpus),
            "gpu-hours": estimate.gpu_hours(*num_gpus),
            "server-gpus": estimate.num_server_gpus,
            "gpus-usd": self.cost_usd(),
            "endpoints-usd": estimate.endpoints_usd,
            "disk-bytes": estimate.disk_bytes,
            "not-included": estimate.unknown,
            "unpriced": estimate.unpriced,
            "assumed": self.settings,
        })
    }
}
