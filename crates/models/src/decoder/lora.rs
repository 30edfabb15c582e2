//! Low-rank adapters: `y = x · Wᵀ + scale · (x · Aᵀ) · Bᵀ` with a frozen `W`.
//!
//! In training the product is never added to `W`, so there is no gradient of the size of `W`.
//! Source: Hu et al., LoRA (arXiv 2106.09685); names and files as peft writes them.

use std::collections::BTreeSet;

use preceptor_core::OutOfRange;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Settings of low-rank adapters.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoraConfig {
    /// The number of rows of `A` and of columns of `B`.
    pub rank: usize,
    /// The numerator of the product's factor `alpha / rank`; none: twice the rank.
    #[serde(default)]
    pub alpha: Option<f64>,
    /// The adapted projections by the end of their name, for example `q_proj`, or
    /// `layers.1.self_attn.q_proj` for a single layer; by default all projections of every layer.
    #[serde(default = "LoraConfig::all_projections")]
    pub targets: BTreeSet<String>,
}

impl LoraConfig {
    /// Returns the seven projections of a layer.
    pub fn all_projections() -> BTreeSet<String> {
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
            .map(str::to_owned)
            .into()
    }

    /// Returns the factor of the product.
    pub fn scale(&self) -> f32 {
        (self.alpha() / self.rank as f64) as f32
    }

    /// Returns `alpha`, or its default.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }

    /// Returns true if a weight of this name is adapted.
    pub(crate) fn adapts(&self, name: &str) -> bool {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        module.ends_with("_proj")
            && self.targets.iter().any(|target| ends_with_name(module, target))
    }

    /// Checks the range of every key.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("rank", self.rank, self.rank > 0, "at least 1")?;
        let is_allowed = self.alpha().is_finite() && self.alpha() > 0.0;
        OutOfRange::check("alpha", self.alpha(), is_allowed, "above 0")?;
        let is_allowed = !self.targets.is_empty();
        OutOfRange::check("targets", "[]", is_allowed, "the names of one or more projections")
    }

    /// Checks the settings against the projections of a model.
    ///
    /// # Errors
    ///
    /// [`Error::Lora`] for a key outside its range or a target that the model lacks.
    pub(crate) fn check_targets(&self, names: &[String]) -> Result<(), Error> {
        let error =
            |key: &str, found, expected| Err(Error::Lora { key: key.to_owned(), found, expected });
        if let Err(OutOfRange { key, value, allowed }) = self.check() {
            return error(&key, value, allowed.to_owned());
        }
        let there: BTreeSet<&str> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".weight")?.rsplit('.').next())
            .filter(|name| name.ends_with("_proj"))
            .collect();
        let allowed = || there.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ");
        let is_there = |target: &&String| {
            let mut modules = names.iter().filter_map(|name| name.strip_suffix(".weight"));
            let is_last = there.contains(target.rsplit('.').next().unwrap_or(target));
            is_last && modules.any(|module| ends_with_name(module, target))
        };
        match self.targets.iter().find(|target| !is_there(target)) {
            Some(target) => error("targets", format!("`{target}`"), allowed()),
            None => Ok(()),
        }
    }
}

/// Returns true if a dotted name is `name` or ends with it after a dot.
pub(crate) fn ends_with_name(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
