//! Weights that GPUs hold at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::ObjectiveSettings;
use crate::models::directory::ModelDirectory;
use crate::plan::cell::Training;
use crate::plan::resolved::Plan;

/// Bytes of a weight on GPUs, in half precision.
const BYTES_PER_WEIGHT: u64 = 2;

/// Weights that a GPU holds at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldWeights {
    /// The GPU's part: `the trainer` or `each server`.
    pub holder: &'static str,
    /// Models, each as often as it is held.
    pub models: Vec<String>,
    /// Bytes per GPU, in half precision.
    pub num_bytes: u64,
}

impl Plan {
    /// Returns the weights that the GPUs of the trainer and of each server hold at the same time, for the plan's
    /// largest cell. Models without a known size are left out.
    pub fn held_weights(&self, models: &dyn ModelDirectory) -> Vec<HeldWeights> {
        let bytes = |names: &[String], num_gpus: u64| {
            let weights = names.iter().filter_map(|name| models.num_parameters(name));
            weights.sum::<u64>() * BYTES_PER_WEIGHT / num_gpus
        };
        let local = |name: &str| !models.is_remote(name);
        let mut largest: BTreeMap<&'static str, HeldWeights> = BTreeMap::new();
        let mut add = |holder, held: Vec<String>, num_gpus: u64| {
            let num_bytes = bytes(&held, num_gpus);
            let most = largest.get(holder).map_or(0, |known| known.num_bytes);
            if num_bytes > most {
                largest.insert(holder, HeldWeights { holder, models: held, num_bytes });
            }
        };
        for cell in self.cells() {
            let mut names = vec![cell.model_name.clone()];
            let mut holds_initial = cell.needs().anchor && cell.anchor.name == cell.model_name;
            if let Some(training) = &cell.training {
                holds_initial |= needs_reference(training);
                // The initial policy is the KL reference and the anchor.
                names.extend(holds_initial.then(|| cell.model_name.clone()));
                if training.rollouts.is_some() {
                    let gpus = u64::from(self.estimate.gpus_per_server);
                    add("each server", vec![cell.model_name.clone()], gpus);
                }
            }
            if cell.needs().anchor && cell.anchor.name != cell.model_name {
                names.push(cell.anchor.name.clone());
            }
            let judges = cell.judge.iter().map(|judge| &judge.name);
            let graders = cell.eval_judge.iter().filter(|judge| judge.settings.rules.is_none());
            let others: BTreeSet<&String> =
                judges.chain(graders.map(|judge| &judge.settings.model)).collect();
            let known = names.clone();
            names.extend(others.into_iter().filter(|name| !known.contains(name)).cloned());
            names.retain(|name| local(name));
            add("the trainer", names, 1);
        }
        largest.into_values().rev().collect()
    }
}

/// Returns true if the training run compares the policy with the initial one.
pub(crate) fn needs_reference(training: &Training) -> bool {
    match &training.objective {
        ObjectiveSettings::Grpo(config) => config.needs_reference(),
        ObjectiveSettings::Sft(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::{ScriptedModels, plan};

    #[test]
    fn a_trainer_holds_the_policy_and_the_initial_policy() {
        let held = |settings: &[&str]| {
            let plan = plan(settings, None).unwrap();
            let models = ScriptedModels { num_parameters: Some(1000), ..ScriptedModels::default() };
            let held = plan.held_weights(&models);
            held.into_iter().map(|held| (held.holder, held.num_bytes)).collect::<Vec<_>>()
        };
        assert_eq!(held(&[]), [("the trainer", 2000)]);
        let kl = [
            "train.kind=grpo",
            "train.steps=3",
            "train.prompts-per-step=2",
            "sampling.temperature=1.0",
            "sampling.stop=[]",
            "train.objective.reward-kl=0.1",
        ];
        assert_eq!(held(&kl), [("the trainer", 4000)]);
        let served = [
            &kl[..],
            &[
                "rollouts.server=vllm",
                "rollouts.base-urls=[\"http://a:1\"]",
                "rollouts.weights-dir=w",
                "estimate.gpus-per-server=2",
            ],
        ];
        assert_eq!(held(&served.concat()), [("the trainer", 4000), ("each server", 1000)]);
    }
}
