//! What a plan will ask of models beyond its rollouts, before anything is asked.

use std::collections::BTreeSet;

use preceptor_benchmarks::Grader;
use preceptor_core::record::rollout_key;
use preceptor_store::{StageSpec, Store};

use crate::Error;
use crate::catalog::{AggregatorSettings, RewardSettings};
use crate::plan::{Cell, Plan, StageState};

/// What one group costs: the first attempt of each call, so a floor where replies can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Replies to be written by the policy or the anchor.
    pub(crate) replies: u64,
    /// Answers of the judge.
    pub(crate) judged: u64,
    /// Texts to be scored by log-probability.
    pub(crate) scored: u64,
    /// Rollouts that are read for it, each as often as it is read.
    pub(crate) rollouts_read: u64,
}

impl AggregatorSettings {
    /// What a group of `size` rollouts costs.
    fn calls(&self, size: u64) -> Calls {
        match self {
            Self::SelfBon(_) if size > 1 => {
                Calls { replies: 1, rollouts_read: size, ..Calls::default() }
            }
            Self::JudgeBon(_) if size > 1 => {
                Calls { judged: 1, rollouts_read: size, ..Calls::default() }
            }
            // Each rollout is scored behind the others: all are read every time.
            Self::MutualPredictability(_) if size > 1 => {
                Calls { scored: size, rollouts_read: size * size, ..Calls::default() }
            }
            Self::Synthesis(config) => {
                let shown = config.rollouts_in_context.map_or(size, |n| size.min(u64::from(n)));
                let fan_in = config.fan_in.map_or(u64::MAX, u64::from);
                let (mut replies, mut left) = (0, shown);
                loop {
                    let chunks = left.div_ceil(fan_in);
                    // A rest of one goes up as it is.
                    replies += chunks - u64::from(chunks > 1 && left % fan_in == 1);
                    left = chunks;
                    if left <= 1 {
                        break;
                    }
                }
                Calls { replies, rollouts_read: shown, ..Calls::default() }
            }
            _ => Calls::default(),
        }
    }
}

impl RewardSettings {
    /// What a group of `size` rollouts costs; `num_items` is the mean length of the labels' rubrics.
    fn calls(&self, size: u64, num_items: u64) -> Calls {
        let judged = |criteria: u64| Calls {
            judged: criteria * size,
            rollouts_read: criteria * size,
            ..Calls::default()
        };
        match self {
            Self::Rubric(c) => Calls { replies: 1, ..judged(u64::from(c.num_criteria)) },
            Self::RubricFromQuestion(c) => {
                Calls { replies: 1, ..judged(u64::from(c.num_criteria)) }
            }
            Self::RubricLikert(c) => Calls { replies: 1, ..judged(u64::from(c.num_criteria)) },
            Self::JudgeEquivalence(_) | Self::JudgeScalar(_) => judged(1),
            Self::PhysicianRubric(_) => judged(num_items),
            _ => Calls::default(),
        }
    }
}

/// A stage beyond the rollouts for which models are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallDemand {
    /// What it is, for people.
    pub label: String,
    /// How full it is, in groups (for grades of rollouts, in rollouts).
    pub state: StageState,
    /// Replies of the policy or the anchor that are still to be asked for, at least.
    pub num_replies: u64,
    /// Answers of a judge, at least.
    pub num_judged: u64,
    /// Texts to be scored by log-probability.
    pub num_scored: u64,
    /// Rollouts that are read for it, each as often as it is read.
    pub num_rollouts_read: u64,
}

impl Plan {
    /// The stages for which models are asked beyond the rollouts, each once.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn call_demands(&self, store: &Store) -> Result<Vec<CallDemand>, Error> {
        let mut seen = BTreeSet::new();
        let mut demands = Vec::new();
        for cell in self.cells() {
            let size = u64::from(cell.group_size);
            let stages = &cell.stages;
            let name = cell.aggregator.entry().name;
            let place = format!("{} · G {size} · seed {}", cell.benchmark, cell.seed);
            let mut add = |label: String, spec: &StageSpec, keys: Vec<String>, calls: Calls| {
                if calls != Calls::default() && seen.insert(spec.digest().clone()) {
                    demands.push(demand(label, store, spec, &keys, calls)?);
                }
                Ok::<(), Error>(())
            };
            let prompts = || -> Vec<String> {
                let tasks = cell.tasks.tasks.iter();
                tasks.map(|task| task.prompt.id.as_str().to_owned()).collect()
            };
            let aggregator = cell.aggregator.calls(size);
            add(format!("{name} · {place}"), &stages.aggregates, prompts(), aggregator)?;
            let num_items = mean_items(cell);
            if cell.grader == Grader::HealthBenchStrict {
                let items =
                    Calls { judged: num_items, rollouts_read: num_items, ..Calls::default() };
                let rollouts = cell.tasks.tasks.iter().flat_map(|task| {
                    (0..cell.group_size).map(|index| rollout_key(&task.prompt.id, index))
                });
                let label = format!("grades of rollouts · {place}");
                add(label, &stages.rollout_grades, rollouts.collect(), items)?;
                add(format!("grades of {name} · {place}"), &stages.grades, prompts(), items)?;
            }
            let Some(spec) = &stages.rewards else { continue };
            let mut calls = Calls::default();
            for term in &cell.reward {
                let term = term.settings.calls(size, num_items);
                calls.replies += term.replies;
                calls.judged += term.judged;
                calls.rollouts_read += term.rollouts_read;
            }
            let reward = cell.reward_name().unwrap_or_default();
            add(format!("reward {reward} of {name} · {place}"), spec, prompts(), calls)?;
        }
        Ok(demands)
    }
}

/// The mean number of items of the labels' rubrics, rounded up.
fn mean_items(cell: &Cell) -> u64 {
    let rubrics = cell.tasks.tasks.iter().filter_map(|task| task.label.rubric());
    let sizes: Vec<u64> = rubrics.map(|label| label.rubric.criteria.len() as u64).collect();
    sizes.iter().sum::<u64>().div_ceil(sizes.len().max(1) as u64)
}

fn demand(
    label: String,
    store: &Store,
    spec: &StageSpec,
    keys: &[String],
    calls: Calls,
) -> Result<CallDemand, Error> {
    let present = store.stage(spec).keys()?;
    let num_present = keys.iter().filter(|key| present.contains(*key)).count() as u64;
    let missing = keys.len() as u64 - num_present;
    Ok(CallDemand {
        label,
        state: StageState { num_present, num_wanted: keys.len() as u64 },
        num_replies: missing * calls.replies,
        num_judged: missing * calls.judged,
        num_scored: missing * calls.scored,
        num_rollouts_read: missing * calls.rollouts_read,
    })
}

#[cfg(test)]
mod tests {
    use preceptor_aggregators::synthesis;

    use super::*;

    #[test]
    fn a_tree_asks_once_for_each_chunk_of_each_level() {
        let replies = |size: u64, fan_in: Option<u32>| {
            let config = synthesis::Config { fan_in, ..synthesis::Config::default() };
            AggregatorSettings::Synthesis(config).calls(size).replies
        };
        assert_eq!(replies(8, None), 1);
        assert_eq!(replies(1, Some(3)), 1);
        // Chunks of 3, 3 and a rest of one that goes up as it is; then three make one.
        assert_eq!(replies(7, Some(3)), 3);
        assert_eq!(replies(16, Some(4)), 5);
    }

    #[test]
    fn mutual_predictability_reads_every_rollout_as_often_as_there_are_rollouts() {
        let settings: AggregatorSettings =
            toml::from_str("kind = \"mutual-predictability\"").unwrap();
        let calls = settings.calls(8);
        assert_eq!((calls.scored, calls.rollouts_read), (8, 64));
    }
}
