//! Advantages of rollouts from the rewards of their group.
//!
//! ```text
//! R_i' = R_i - beta * sum_t (log pi_old(o_t) - log pi_ref(o_t))      KL in the reward (k1)
//! A_i  = (R_i' - b_i) / (std(R') + 1e-6)                            or R_i' - b_i without `std`
//! b_i  = mean(R')                                                   `group-mean`
//!      = mean of R_j' over j != i                                   `leave-one-out`
//! ```
//!
//! `std` has n - 1 in its denominator. Sources: GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1),
//! Dr. GRPO without the division (Liu et al. 2025, arXiv 2503.20783), leave-one-out from RLOO
//! (Ahmadian et al. 2024, arXiv 2402.14740); degrees of freedom and 1e-6 as in verl 0.5.
//!
//! If rewards differ only in their KL terms, `std` cancels beta: such a group pulls towards the reference
//! with advantages of size 1, however small beta is.
//!
//! A group whose rewards are all equal *after* the KL term has advantages of exactly 0. A rollout
//! without a reward is excluded: the statistics are those of the others, it gets no advantage and
//! belongs in no batch, so it adds no term to the loss and is in none of its denominators. A group with
//! fewer than two rewards has no advantages. [`Signal`] distinguishes both kinds of groups, so that they
//! can be counted.
//!
//! Differs from the paper: the papers don't say what happens to rollouts without a reward.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The epsilon added to the standard deviation.
const EPSILON: f64 = 1e-6;

/// The baseline that is subtracted from a reward.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The mean of the group's rewards.
    #[default]
    GroupMean,
    /// The mean of the other rewards of the group: n / (n - 1) times the difference to the group's mean.
    LeaveOneOut,
}

/// The normalisation of the rewards of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalization {
    /// True to divide differences by the standard deviation of the group.
    pub std: bool,
    /// The baseline.
    pub baseline: Baseline,
}

/// The training signal in a group's rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// They differ.
    Varied,
    /// They are all equal: every advantage is 0.
    ZeroVariance,
    /// Fewer than two rollouts have a reward: there are no advantages.
    TooFewRewards,
}

/// The advantages of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupAdvantages {
    /// An advantage per rollout; `None` for a rollout without a reward, and for all if `signal` is
    /// [`Signal::TooFewRewards`].
    pub advantages: Vec<Option<f64>>,
    /// The training signal.
    pub signal: Signal,
}

/// Subtracts from a reward `coefficient` times the sampled KL divergence of the sampling policy from the
/// KL reference, in nats, summed over the tokens of a rollout.
///
/// # Panics
///
/// If the numbers of log-probabilities differ.
///
/// ```
/// let reward = preceptor_trainer::reward_with_kl(1.0, 0.1, &[-1.0, -2.0], &[-1.5, -2.5]);
/// assert_eq!(reward, 0.9);
/// ```
pub fn reward_with_kl(
    reward: f64,
    coefficient: f64,
    old_logprobs: &[f32],
    reference_logprobs: &[f32],
) -> f64 {
    assert_eq!(
        old_logprobs.len(),
        reference_logprobs.len(),
        "log-probabilities of the same tokens"
    );
    let pairs = old_logprobs.iter().zip(reference_logprobs);
    let kl: f64 = pairs.map(|(&old, &reference)| f64::from(old) - f64::from(reference)).sum();
    reward - coefficient * kl
}

/// Computes the advantages of `groups`. A group has the reward of each rollout, `None` if it has none.
///
/// # Errors
///
/// [`Error::GroupTooSmall`] for a group of fewer than two rollouts, [`Error::NonFiniteReward`] for a
/// reward that is infinite or not a number.
///
/// ```
/// use preceptor_trainer::{Baseline, Normalization, Signal, advantages};
/// let normalization = Normalization { std: false, baseline: Baseline::GroupMean };
/// let groups = [vec![Some(1.0), None, Some(0.0)], vec![Some(0.3), Some(0.3), None]];
/// let groups = advantages(&groups, normalization)?;
/// assert_eq!(groups[0].advantages, [Some(0.5), None, Some(-0.5)]);
/// assert_eq!(groups[1].advantages, [Some(0.0), Some(0.0), None]);
/// assert_eq!(groups[1].signal, Signal::ZeroVariance);
/// # Ok::<(), preceptor_trainer::Error>(())
/// ```
pub fn advantages(
    groups: &[Vec<Option<f64>>],
    normalization: Normalization,
) -> Result<Vec<GroupAdvantages>, Error> {
    let normalised = groups.iter().enumerate().map(|(group, rewards)| {
        check(group, rewards)?;
        Ok(normalise(rewards, normalization))
    });
    normalised.collect()
}

fn check(group: usize, rewards: &[Option<f64>]) -> Result<(), Error> {
    if rewards.len() < 2 {
        return Err(Error::GroupTooSmall { group, num_rollouts: rewards.len() });
    }
    for (rollout, reward) in rewards.iter().enumerate() {
        if let Some(value) = reward.filter(|value| !value.is_finite()) {
            return Err(Error::NonFiniteReward { group, rollout, value });
        }
    }
    Ok(())
}

fn normalise(rewards: &[Option<f64>], normalization: Normalization) -> GroupAdvantages {
    let known: Vec<f64> = rewards.iter().copied().flatten().collect();
    if known.len() < 2 {
        let advantages = vec![None; rewards.len()];
        return GroupAdvantages { advantages, signal: Signal::TooFewRewards };
    }
    if known.iter().all(|&reward| reward == known[0]) {
        let advantages = rewards.iter().map(|reward| reward.map(|_| 0.0)).collect();
        return GroupAdvantages { advantages, signal: Signal::ZeroVariance };
    }
    let num = known.len() as f64;
    let mean = known.iter().sum::<f64>() / num;
    let squares: f64 = known.iter().map(|reward| (reward - mean).powi(2)).sum();
    let divisor = if normalization.std { (squares / (num - 1.0)).sqrt() + EPSILON } else { 1.0 };
    let factor = match normalization.baseline {
        Baseline::GroupMean => 1.0,
        Baseline::LeaveOneOut => num / (num - 1.0),
    };
    let advantage = |reward: f64| (reward - mean) * factor / divisor;
    let advantages = rewards.iter().map(|reward| reward.map(advantage)).collect();
    GroupAdvantages { advantages, signal: Signal::Varied }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STD: Normalization = Normalization { std: true, baseline: Baseline::GroupMean };

    fn one(rewards: &[Option<f64>], normalization: Normalization) -> GroupAdvantages {
        advantages(&[rewards.to_vec()], normalization).unwrap().remove(0)
    }

    fn known(rewards: &[f64], normalization: Normalization) -> Vec<f64> {
        let rewards: Vec<_> = rewards.iter().copied().map(Some).collect();
        let group = one(&rewards, normalization);
        group.advantages.into_iter().map(|advantage| advantage.unwrap()).collect()
    }

    #[test]
    fn rewards_are_divided_by_the_sample_standard_deviation() {
        let half = 0.5 / ((1.0_f64 / 3.0).sqrt() + 1e-6);
        assert_eq!(known(&[1.0, 0.0, 0.0, 1.0], STD), [half, -half, -half, half]);
    }

    #[test]
    fn leave_one_out_subtracts_the_mean_of_the_others() {
        let normalization = Normalization { std: false, baseline: Baseline::LeaveOneOut };
        let rewards = [1.0, 4.0, 7.0, 0.0];
        let expected = [1.0 - 11.0 / 3.0, 4.0 - 8.0 / 3.0, 7.0 - 5.0 / 3.0, -4.0];
        for (found, expected) in known(&rewards, normalization).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn equal_rewards_give_exactly_zero_and_their_own_signal() {
        // 0.1 is not its own mean in floating point when summed three times.
        let group = one(&[Some(0.1), Some(0.1), Some(0.1)], STD);
        assert_eq!(group.advantages, [Some(0.0); 3]);
        assert_eq!(group.signal, Signal::ZeroVariance);
    }

    #[test]
    fn equal_rewards_with_different_kl_terms_have_advantages() {
        let with_kl = |old: f32| Some(reward_with_kl(1.0, 0.01, &[old], &[-1.0]));
        let group = one(&[with_kl(-1.0), with_kl(-0.5)], STD);
        assert_eq!(group.signal, Signal::Varied);
        assert!(group.advantages[0] > Some(0.5), "further from the reference is worse");
    }

    #[test]
    fn std_cancels_the_coefficient_if_rewards_are_equal() {
        let group = |coefficient| {
            let with_kl = |old: f32| Some(reward_with_kl(1.0, coefficient, &[old], &[-1.0]));
            one(&[with_kl(-1.0), with_kl(-0.5), with_kl(-0.7)], STD)
        };
        let (small, large) = (group(0.01), group(1.0));
        for (small, large) in small.advantages.iter().zip(&large.advantages) {
            assert!((small.unwrap() - large.unwrap()).abs() < 1e-3);
        }
    }

    #[test]
    fn rollouts_without_a_reward_are_excluded() {
        let group = one(&[None, Some(3.0), None, Some(1.0), Some(2.0)], STD);
        let others = known(&[3.0, 1.0, 2.0], STD);
        let expected = [None, Some(others[0]), None, Some(others[1]), Some(others[2])];
        assert_eq!(group.advantages, expected);
        let group = one(&[None, Some(3.0)], STD);
        assert_eq!(group.advantages, [None, None]);
        assert_eq!(group.signal, Signal::TooFewRewards);
    }

    #[test]
    fn groups_of_one_and_rewards_that_are_not_finite_are_rejected() {
        let two = vec![Some(1.0), Some(0.0)];
        let error = advantages(&[two.clone(), vec![Some(1.0)]], STD).unwrap_err();
        assert_eq!(error, Error::GroupTooSmall { group: 1, num_rollouts: 1 });
        assert!(
            error.to_string().starts_with("normalise the rewards of group 1: found 1 rollouts")
        );
        let error = advantages(&[two, vec![Some(1.0), Some(f64::INFINITY)]], STD).unwrap_err();
        assert_eq!(error, Error::NonFiniteReward { group: 1, rollout: 1, value: f64::INFINITY });
    }

    fn normalizations() -> impl Strategy<Value = Normalization> {
        let baselines = prop::sample::select(vec![Baseline::GroupMean, Baseline::LeaveOneOut]);
        (any::<bool>(), baselines).prop_map(|(std, baseline)| Normalization { std, baseline })
    }

    proptest! {
        #[test]
        fn advantages_sum_to_zero_and_ignore_a_shift(
            rewards in prop::collection::vec(-5.0..5.0_f64, 2..12),
            shift in -100.0..100.0_f64,
            normalization in normalizations(),
        ) {
            let spread = rewards.iter().fold(0.0_f64, |most, r| most.max((r - rewards[0]).abs()));
            prop_assume!(spread > 1e-3);
            let plain = known(&rewards, normalization);
            prop_assert!(plain.iter().sum::<f64>().abs() < 1e-9);
            let shifted: Vec<_> = rewards.iter().map(|reward| reward + shift).collect();
            for (a, b) in plain.iter().zip(known(&shifted, normalization)) {
                prop_assert!((a - b).abs() < 1e-9, "{a} {b}");
            }
        }

        #[test]
        fn a_larger_reward_is_a_larger_advantage(
            rewards in prop::collection::vec(prop::option::of(-5.0..5.0_f64), 2..12),
            normalization in normalizations(),
        ) {
            let group = one(&rewards, normalization);
            prop_assume!(group.signal == Signal::Varied);
            for (i, a) in rewards.iter().enumerate() {
                prop_assert_eq!(a.is_some(), group.advantages[i].is_some());
                for (j, b) in rewards.iter().enumerate() {
                    if let (Some(a), Some(b)) = (a, b) && a < b {
                        prop_assert!(group.advantages[i] < group.advantages[j]);
                    }
                }
            }
        }
    }
}
