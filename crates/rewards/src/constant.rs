//! `constant`: the same reward for every rollout.
//!
//! A control: after group normalisation every advantage is 0, so training on it must change nothing.
//!
//! Not in the paper: a control.

use preceptor_core::{
    GroupReward, Needs, OutOfRange, PortError, RewardDeriver, RewardRequest, Settings,
};
use serde::{Deserialize, Serialize};

use crate::outcome::{free, rewarded};

/// Settings of [`Constant`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The reward, -1000 to 1000. Default: 0 (our choice).
    pub value: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { value: 0.0 }
    }
}

impl Settings for Config {
    const NAME: &'static str = "constant";
    const SUMMARY: &'static str = "the same number for every rollout, a control";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = (-1000.0..=1000.0).contains(&self.value);
        OutOfRange::check("value", self.value, is_allowed, "between -1000 and 1000")
    }
}

/// Rewards everything alike.
#[derive(Clone, Debug)]
pub struct Constant {
    value: f64,
}

impl Constant {
    /// Creates the deriver of `config`.
    pub fn new(config: &Config) -> Self {
        Self { value: config.value }
    }
}

impl RewardDeriver for Constant {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let one = |request: &RewardRequest<'_>| {
            let rewards = request.group.rollouts.iter().map(|_| rewarded(self.value, "a constant"));
            free(rewards.collect(), [])
        };
        Ok(requests.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::Seed;
    use preceptor_testkit::group;

    use super::*;
    use crate::permuting;

    #[test]
    fn every_rollout_has_the_same_reward() {
        let group = group(&["a", "", "c"]);
        let deriver = Constant::new(&Config { value: 0.25 });
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
        let derived = deriver.derive(&[request]).unwrap().remove(0);
        assert!(derived.rewards.iter().all(|reward| reward.value.value() == Some(0.25)));
        permuting::check(&deriver, &group, None, 3);
        assert_eq!(Config { value: f64::INFINITY }.check().unwrap_err().key, "value");
    }
}
