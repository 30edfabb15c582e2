//! `random`: a reward that knows nothing.
//!
//! ```text
//! r(o_i) ~ uniform on {0, 1}, or on [0, 1], from the stream (group's seed, "random", i)
//! ```
//!
//! A control: training on it must not help; where it does, something else is at work, such as a prior
//! that any update favours. The draw depends on the group's seed and the rollout's index, and on no
//! text.
//!
//! Not in the paper: a control.

use preceptor_core::{GroupReward, Needs, PortError, RewardDeriver, RewardRequest, Seed, Settings};
use serde::{Deserialize, Serialize};

use crate::outcome::{free, rewarded};

/// Settings of [`Random`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Distribution: `binary` (0 or 1) or `uniform` (any number from 0 to 1). Default: `binary` (our
    /// choice).
    pub values: Values,
}

impl Settings for Config {
    const NAME: &'static str = "random";
    const SUMMARY: &'static str = "a seeded random number, a control";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Distribution of the rewards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// 0 or 1, each with probability 1/2.
    #[default]
    Binary,
    /// A number in [0, 1].
    Uniform,
}

/// Random rewards.
#[derive(Clone, Debug)]
pub struct Random {
    values: Values,
}

impl Random {
    /// Creates the deriver of `config`.
    pub fn new(config: &Config) -> Self {
        Self { values: config.values }
    }

    fn draw(&self, seed: &Seed) -> f64 {
        // Every multiple of 2^-53 in [0, 1] is a float of its own.
        const STEPS: u64 = 1 << 53;
        match self.values {
            Values::Binary => seed.draw_below(2) as f64,
            Values::Uniform => seed.draw_below(STEPS + 1) as f64 / STEPS as f64,
        }
    }
}

impl RewardDeriver for Random {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let one = |request: &RewardRequest<'_>| {
            let stream = request.seed.derive("random");
            let rewards = request.group.rollouts.iter().map(|rollout| {
                let drawn = self.draw(&stream.derive_index(u64::from(rollout.index)));
                rewarded(drawn, "drawn at random")
            });
            free(rewards.collect(), [])
        };
        Ok(requests.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_testkit::group;
    use proptest::prelude::*;

    use super::*;
    use crate::permuting;

    fn draws(values: Values, texts: &[&str], run: u64) -> Vec<f64> {
        let group = group(texts);
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(run) };
        let derived = Random::new(&Config { values }).derive(&[request]).unwrap().remove(0);
        derived.rewards.iter().map(|reward| reward.value.value().unwrap()).collect()
    }

    #[test]
    fn draws_are_even_and_differ_between_rollouts_and_runs() {
        for values in [Values::Binary, Values::Uniform] {
            let all: Vec<f64> = (0..1000).flat_map(|run| draws(values, &["a", "b"], run)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            assert!((0.46..0.54).contains(&mean), "{mean}");
            let equal = all.chunks(2).filter(|pair| pair[0] == pair[1]).count();
            assert!(equal < 560, "{equal}");
        }
    }

    proptest! {
        #[test]
        fn draws_depend_on_seed_and_index_alone(
            texts in prop::collection::vec("[a-z]{0,3}", 1..6),
            run: u64,
            shuffle: u64,
        ) {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let blank = vec![""; texts.len()];
            for values in [Values::Binary, Values::Uniform] {
                let drawn = draws(values, &texts, run);
                prop_assert_eq!(&drawn, &draws(values, &blank, run));
                prop_assert!(drawn.iter().all(|draw| (0.0..=1.0).contains(draw)));
                permuting::check(&Random::new(&Config { values }), &group(&texts), None, shuffle);
            }
        }
    }
}
