//! Another grader, judge or reward over stored rollouts.

use std::collections::BTreeMap;

use preceptor_core::record::{GradeRecord, RewardRecord};
use preceptor_store::{StageSpec, Store};
use serde::de::DeserializeOwned;

use crate::Error;
use crate::plan::resolved::Plan;

/// Change of one kind of value between two plans over the same rollouts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueChange {
    /// Numbers that both plans have.
    pub num_compared: u64,
    /// Values that differ.
    pub num_changed: u64,
    /// Their mean before.
    pub mean_before: f64,
    /// Their mean after.
    pub mean_after: f64,
}

impl ValueChange {
    fn of(pairs: &[(f64, f64)]) -> Self {
        let mean = |of: fn(&(f64, f64)) -> f64| {
            pairs.iter().map(of).sum::<f64>() / pairs.len().max(1) as f64
        };
        Self {
            num_compared: pairs.len() as u64,
            num_changed: pairs.iter().filter(|(before, after)| before != after).count() as u64,
            mean_before: mean(|pair| pair.0),
            mean_after: mean(|pair| pair.1),
        }
    }
}

/// Changes by regrading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RegradeReport {
    /// Scores of single rollouts.
    pub rollout_scores: ValueChange,
    /// Scores of pseudo-references.
    pub scores: ValueChange,
    /// Rewards.
    pub rewards: ValueChange,
    /// Group-normalised advantages that change their sign (or become or stop being 0).
    pub num_flipped_advantages: u64,
}

/// Compares the records of two plans, cell by cell where axes and seeds agree.
///
/// # Errors
///
/// [`Error::Store`] if the store can't be read.
pub fn regraded(before: &Plan, after: &Plan, store: &Store) -> Result<RegradeReport, Error> {
    let (mut rollouts, mut references, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
    let mut num_flipped_advantages = 0;
    let mut seen = std::collections::BTreeSet::new();
    for cell in after.cells() {
        let same = |other: &&crate::Cell| {
            other.seed == cell.seed
                && other.axes == cell.axes
                && other.stages.rollouts == cell.stages.rollouts
        };
        let Some(old) = before.cells().iter().find(same) else { continue };
        let score = |record: &GradeRecord| record.score.value();
        let pair = (&old.stages.rollout_grades, &cell.stages.rollout_grades);
        if seen.insert((pair.0.digest().clone(), pair.1.digest().clone())) {
            rollouts.extend(pairs(store, pair.0, pair.1, score)?);
        }
        references.extend(pairs(store, &old.stages.grades, &cell.stages.grades, score)?);
        let (Some(old), Some(new)) = (&old.stages.rewards, &cell.stages.rewards) else { continue };
        let old = store.stage(old).load::<RewardRecord>()?.records;
        let new = store.stage(new).load::<RewardRecord>()?.records;
        for (key, old) in old {
            let Some(new) = new.get(&key) else { continue };
            let values = |record: &RewardRecord| {
                record.group.rewards.iter().map(|r| r.value.value()).collect::<Vec<_>>()
            };
            let both: Vec<(f64, f64)> = values(&old)
                .into_iter()
                .zip(values(new))
                .filter_map(|(old, new)| Some((old?, new?)))
                .collect();
            num_flipped_advantages += flipped(&both);
            rewards.extend(both);
        }
    }
    Ok(RegradeReport {
        rollout_scores: ValueChange::of(&rollouts),
        scores: ValueChange::of(&references),
        rewards: ValueChange::of(&rewards),
        num_flipped_advantages,
    })
}

/// Returns the number of rewards on the other side of their group's mean than before.
fn flipped(pairs: &[(f64, f64)]) -> u64 {
    let mean =
        |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len().max(1) as f64;
    let (before, after) = (mean(|pair| pair.0), mean(|pair| pair.1));
    // Rounding of the mean is no side.
    let side = |value: f64, mean: f64| match value - mean {
        distance if distance.abs() < 1e-9 => 0,
        distance if distance > 0.0 => 1,
        _ => -1,
    };
    let changed = |pair: &&(f64, f64)| side(pair.0, before) != side(pair.1, after);
    pairs.iter().filter(changed).count() as u64
}

/// Returns the numbers of two stages under the same keys.
fn pairs<T: DeserializeOwned>(
    store: &Store,
    before: &StageSpec,
    after: &StageSpec,
    number: impl Fn(&T) -> Option<f64>,
) -> Result<Vec<(f64, f64)>, Error> {
    let before: BTreeMap<String, T> = store.stage(before).load()?.records;
    let after: BTreeMap<String, T> = store.stage(after).load()?.records;
    let pair = |(key, before): (&String, &T)| Some((number(before)?, number(after.get(key)?)?));
    Ok(before.iter().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_flip_when_a_reward_changes_sides() {
        // Means 0.5 before and 0.25 after: the first falls below, the second rises above.
        assert_eq!(flipped(&[(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]), 3);
        assert_eq!(flipped(&[(1.0, 2.0), (0.0, 1.0)]), 0, "a shift changes no advantage");
    }

    #[test]
    fn what_moved_is_counted() {
        let moved = ValueChange::of(&[(1.0, 1.0), (0.0, 1.0)]);
        assert_eq!((moved.num_compared, moved.num_changed), (2, 1));
        assert_eq!((moved.mean_before, moved.mean_after), (0.5, 1.0));
    }
}
