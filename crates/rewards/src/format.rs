//! `format`: whether a rollout ends as it should, whatever its answer.
//!
//! ```text
//! r(o) = 1 if o was not cut off and holds a boxed final answer that can be read, else 0
//! ```
//!
//! A control and a term: what a model gains on it is form, not knowledge. An answer that is announced
//! without a box does not count.
//!
//! Not in the paper: a control.

use preceptor_answers::{ExtractionRule, extract_boxed};
use preceptor_core::{
    GroupReward, Needs, PortError, Reward, RewardDeriver, RewardRequest, Rollout, Settings,
};
use serde::{Deserialize, Serialize};

use crate::outcome::{free, rewarded};

/// Settings of [`Format`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "format";
    const SUMMARY: &'static str = "1 if there is a boxed final answer and nothing was cut off";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Looks at the form.
#[derive(Clone, Debug)]
pub struct Format;

impl Format {
    /// Creates the deriver of `config`.
    pub fn new(_config: &Config) -> Self {
        Self
    }
}

fn reward(rollout: &Rollout) -> Reward {
    if rollout.finish.is_truncated() {
        return rewarded(0.0, format!("cut off: {}", rollout.finish.name()));
    }
    match extract_boxed(&rollout.text).rule {
        ExtractionRule::Box => rewarded(1.0, "a boxed final answer"),
        rule => rewarded(0.0, format!("no boxed final answer: {}", rule.name())),
    }
}

impl RewardDeriver for Format {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let one = |request: &RewardRequest<'_>| {
            free(request.group.rollouts.iter().map(reward).collect(), [])
        };
        Ok(requests.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{FinishReason, Seed};
    use preceptor_testkit::group;

    use super::*;
    use crate::permuting;

    #[test]
    fn only_a_whole_rollout_with_a_box_is_rewarded() {
        let mut group = group(&[
            r"\boxed{4}",
            "the final answer is 4",
            r"\boxed{ }",
            r"\boxed{4",
            r"\boxed{4}",
        ]);
        group.rollouts[4].finish = FinishReason::MaxNewTokens;
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
        let derived = Format::new(&Config {}).derive(&[request]).unwrap().remove(0);
        let values: Vec<_> = derived.rewards.iter().map(|reward| reward.value.value()).collect();
        assert_eq!(values, [Some(1.0), Some(0.0), Some(0.0), Some(0.0), Some(0.0)]);
        let reasons: Vec<_> = derived.rewards.iter().map(|reward| reward.reason.as_str()).collect();
        assert_eq!(reasons[1], "no boxed final answer: final-answer-phrase");
        assert_eq!(reasons[4], "cut off: max-new-tokens");
        permuting::check(&Format, &group, None, 1);
    }
}
