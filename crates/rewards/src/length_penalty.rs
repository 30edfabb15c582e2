//! `length-penalty`: minus one for what is too long.
//!
//! ```text
//! r(o) = -1 if |o| > max-tokens, else 0
//! ```
//!
//! A term to be added to another reward: judges like long responses. Length is the number of sampled
//! tokens. Where the model tells none, words (separated by white space) are counted in their place; a
//! word is more than a token, so this is lenient, and `word-counted` says how often it was done.
//!
//! Measures: `too-long` (share of rollouts; absent for an empty group), `word-counted` (likewise).

use preceptor_core::{
    GroupReward, Needs, OutOfRange, PortError, RewardDeriver, RewardRequest, Rollout, Settings,
};
use serde::{Deserialize, Serialize};

use crate::outcome::{free, mean, measure, rewarded};

/// Settings of [`LengthPenalty`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The longest rollout without a penalty, in tokens, from 1. Default: 750 (paper, on HealthBench).
    pub max_tokens: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_tokens: 750 }
    }
}

impl Settings for Config {
    const NAME: &'static str = "length-penalty";
    const SUMMARY: &'static str = "-1 for rollouts longer than a number of tokens, else 0";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("max-tokens", self.max_tokens, self.max_tokens > 0, "at least 1")
    }
}

/// Punishes length.
#[derive(Clone, Debug)]
pub struct LengthPenalty {
    max_tokens: u64,
}

impl LengthPenalty {
    /// Creates the deriver of `config`.
    pub fn new(config: &Config) -> Self {
        Self { max_tokens: u64::from(config.max_tokens) }
    }

    fn derive_one(&self, rollouts: &[Rollout]) -> GroupReward {
        let (mut too_long, mut word_counted) = (Vec::new(), Vec::new());
        let rewards = rollouts.iter().map(|rollout| {
            let (length, unit) = match rollout.num_tokens() {
                0 => (rollout.text.split_whitespace().count() as u64, "words"),
                tokens => (tokens, "tokens"),
            };
            let is_long = length > self.max_tokens;
            too_long.push(f64::from(u8::from(is_long)));
            word_counted.push(f64::from(u8::from(unit == "words")));
            let relation = if is_long { "more than" } else { "within" };
            let value = if is_long { -1.0 } else { 0.0 };
            rewarded(value, format!("{length} {unit}, {relation} {}", self.max_tokens))
        });
        let mut derived = free(rewards.collect(), []);
        measure(&mut derived.measures, "too-long", mean(&too_long));
        measure(&mut derived.measures, "word-counted", mean(&word_counted));
        derived
    }
}

impl RewardDeriver for LengthPenalty {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        Ok(requests.iter().map(|request| self.derive_one(&request.group.rollouts)).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_testkit::group;
    use proptest::prelude::*;

    use super::*;
    use crate::permuting;

    #[test]
    fn what_is_longer_than_the_limit_loses_one() {
        // One token a byte and one for the end.
        let mut group = group(&["abc", "abcd", "a b c d", "a b c d e"]);
        for rollout in &mut group.rollouts[2..] {
            rollout.token_ids.clear();
        }
        let deriver = LengthPenalty::new(&Config { max_tokens: 4 });
        let derived = deriver.derive_one(&group.rollouts);
        let values: Vec<_> = derived.rewards.iter().map(|reward| reward.value.value()).collect();
        assert_eq!(values, [Some(0.0), Some(-1.0), Some(0.0), Some(-1.0)]);
        assert_eq!(derived.rewards[1].reason, "5 tokens, more than 4");
        assert_eq!(derived.rewards[2].reason, "4 words, within 4");
        assert_eq!((derived.measures["too-long"], derived.measures["word-counted"]), (0.5, 0.5));
    }

    #[test]
    fn tokens_that_a_remote_model_reports_count() {
        let mut group = group(&["short"]);
        group.rollouts[0].token_ids.clear();
        group.rollouts[0].reported_tokens = Some(751);
        let derived = LengthPenalty::new(&Config::default()).derive_one(&group.rollouts);
        assert_eq!(derived.rewards[0].value.value(), Some(-1.0));
    }

    proptest! {
        #[test]
        fn rewards_are_minus_1_or_0_and_follow_their_rollouts(
            texts in prop::collection::vec("[a-z ]{0,9}", 0..6),
            shuffle: u64,
        ) {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let group = group(&texts);
            let deriver = LengthPenalty::new(&Config { max_tokens: 5 });
            permuting::check(&deriver, &group, None, shuffle);
            for reward in deriver.derive_one(&group.rollouts).rewards {
                prop_assert!([Some(-1.0), Some(0.0)].contains(&reward.value.value()));
            }
        }
    }
}
