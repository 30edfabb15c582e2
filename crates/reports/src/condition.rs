//! Conditions, the points of the matrix, and their names in tables and figures.
//!
//! Conditions may share the subject of a table: cells that differ only in their reward have the
//! same scores, and a constant reward is the same for every aggregator. Such conditions are one
//! row; on an axis where they differ it says `any`.

use preceptor_core::Digest;
use preceptor_core::record::{CellRecord, CellStages, PlanRecord};
use preceptor_stats::by_prompt;

use crate::evidence::{Evidence, RolloutSet};
use crate::label::{AGGREGATOR, GROUP_SIZE, rewarded_label, value_label};
use crate::table::Table;

/// The value of a column in which the conditions of a row differ.
pub(crate) const ANY: &str = "any";
/// The column that says what a policy was trained on.
pub(crate) const TRAINED_ON: &str = "trained_on";

/// A point of the matrix: cells that differ only in their seed.
#[derive(Clone)]
pub(crate) struct Condition<'a> {
    /// Any of the cells; they agree on everything but seed and stages.
    pub(crate) cell: &'a CellRecord,
    /// The cells, in the order of the plan's seeds.
    pub(crate) cells: Vec<&'a CellRecord>,
    /// A cell of each condition in the same row.
    alike: Vec<&'a CellRecord>,
}

impl<'a> Condition<'a> {
    /// Returns the condition of cells that differ in nothing that matters to the caller.
    pub(crate) fn of(cells: &[&'a CellRecord]) -> Self {
        Self { cell: cells[0], cells: vec![cells[0]], alike: cells.to_vec() }
    }
}

impl Condition<'_> {
    /// Returns its value on an axis; `any` on the axis of a judge or anchor that it does not use.
    pub(crate) fn axis(&self, key: &str) -> String {
        self.agreed(|cell| {
            let is_idle = is_of(key, "judge") && cell.judge.is_none()
                || is_of(key, "anchor") && cell.anchor.is_none();
            let value = cell.axes.get(key).filter(|_| !is_idle);
            value.map_or_else(|| ANY.to_owned(), String::clone)
        })
    }

    /// Returns the value on which all conditions of the row agree, or `any`.
    pub(crate) fn agreed(&self, of: impl Fn(&CellRecord) -> String) -> String {
        let value = of(self.cell);
        let agree = self.alike.iter().all(|cell| of(cell) == value);
        if agree { value } else { ANY.to_owned() }
    }

    /// Returns whether it is the baseline: one rollout, sampled, in place of an estimate.
    pub(crate) fn is_baseline(&self) -> bool {
        self.cell.aggregator == SINGLE
    }

    /// Returns the name of its reward; empty if it has none.
    pub(crate) fn reward(&self) -> String {
        self.agreed(|cell| cell.reward.clone().unwrap_or_default())
    }

    /// Names the parts through which labels reach its rewards: `aggregator`, `reward`, `policy`
    /// (trained on labels), several of them, or none.
    pub(crate) fn sees_labels(&self) -> String {
        let parts = [
            (self.alike.iter().all(|cell| cell.sees_labels), "aggregator"),
            (self.cell.reward_sees_labels, "reward"),
            (trained_on_labels(self.cell).is_some(), "policy"),
        ];
        let parts: Vec<_> = parts.iter().filter(|(sees, _)| *sees).map(|(_, part)| *part).collect();
        parts.join(" and ")
    }

    /// Returns whether its scores are an upper bound rather than the result of a method: its
    /// aggregator sees labels, or its policy was trained on labels.
    pub(crate) fn is_upper_bound(&self) -> bool {
        self.alike.iter().any(|cell| cell.sees_labels || trained_on_labels(cell).is_some())
    }

    /// Names the part of the policy's training that saw labels; empty if none did.
    pub(crate) fn policy_sees_labels(&self) -> &'static str {
        trained_on_labels(self.cell).unwrap_or_default()
    }

    /// Names what its policy was trained on: its reward, or where that follows the pseudo-reference,
    /// its aggregator. None where it was not trained.
    pub(crate) fn trained_on(&self) -> Option<String> {
        let training = self.cell.training.as_ref()?;
        let reward = self.reward();
        let aggregator = self.agreed(|cell| cell.aggregator.clone());
        Some(match (training.uses_references, reward.as_str()) {
            (false, _) => rewarded_label("", &reward),
            (true, "" | ANSWER_MATCH) => aggregator,
            (true, _) => rewarded_label(&aggregator, &reward),
        })
    }

    /// Returns the columns that [`identify`] adds, with their values.
    fn identity(&self, evidence: &Evidence) -> Vec<(String, String)> {
        let axes = evidence.plan.axes.iter().map(|axis| axis.key.as_str());
        let mut values: Vec<_> = axes.map(|key| (key.to_owned(), self.axis(key))).collect();
        let mut add = |key: &str, value: String| {
            if values.iter().all(|(known, _)| known != key) {
                values.push((key.to_owned(), value));
            }
        };
        add("benchmark", self.cell.benchmark.clone());
        add(AGGREGATOR, self.agreed(|cell| cell.aggregator.clone()));
        add(GROUP_SIZE, self.agreed(|cell| cell.group_size.to_string()));
        values
    }

    /// Names its aggregator, with the settings in which aggregators of the plan differ.
    pub(crate) fn estimate_name(&self, evidence: &Evidence) -> String {
        estimate_name(&self.identity(evidence))
    }

    /// Returns whether two conditions have the same groups with the same grades.
    pub(crate) fn shares_groups(&self, other: &Condition<'_>) -> bool {
        let groups = |condition: &Condition<'_>| {
            let stages = condition.cells.iter().map(|cell| &cell.stages);
            stages.map(|s| (s.rollouts.clone(), s.rollout_grades.clone())).collect::<Vec<_>>()
        };
        let (a, b) = (self.cell, other.cell);
        a.benchmark == b.benchmark
            && a.group_size == b.group_size
            && a.prompts == b.prompts
            && groups(self) == groups(other)
    }
}

/// The aggregator that takes one rollout.
const SINGLE: &str = "single";
/// The aggregator that takes the most frequent answer.
pub(crate) const MAJORITY: &str = "majority";
/// The reward that compares answers with the pseudo-reference. It is left out of names.
const ANSWER_MATCH: &str = "answer-match";
/// The objective that trains on pseudo-references and uses no reward.
const IMITATION: &str = "sft";

/// Names the part that saw labels, `reward` or `aggregator`, if a cell's policy was trained on
/// them. A mixed reward sees labels if any of its terms does.
fn trained_on_labels(cell: &CellRecord) -> Option<&'static str> {
    let training = cell.training.as_ref()?;
    if cell.reward_sees_labels && training.objective != IMITATION {
        Some("reward")
    } else if cell.sees_labels && training.uses_references {
        Some("aggregator")
    } else {
        None
    }
}

/// Returns whether an axis affects how a pseudo-reference is made.
fn is_of_estimate(key: &str) -> bool {
    ["aggregator", "anchor", "judge"].iter().any(|part| is_of(key, part))
}

fn is_of(key: &str, part: &str) -> bool {
    key == part || key.strip_prefix(part).is_some_and(|rest| rest.starts_with('.'))
}

/// Names the aggregator of a row: by its value on the axis `aggregator`, else its kind, followed by
/// the settings in which it differs.
pub(crate) fn estimate_name(identity: &[(String, String)]) -> String {
    let value =
        |key: &str| identity.iter().find(|(known, _)| known == key).map(|(_, v)| v.as_str());
    let name = value("aggregator").or_else(|| value(AGGREGATOR)).unwrap_or(ANY);
    let settings = identity.iter().filter(|(key, value)| {
        is_of_estimate(key) && key != "aggregator" && key != AGGREGATOR && value != ANY
    });
    let settings = settings.map(|(key, value)| value_label(key, value));
    std::iter::once(name.to_owned()).chain(settings).collect::<Vec<_>>().join(", ")
}

/// Names the benchmark of a row and its values on other axes, apart from aggregator, reward and
/// group size.
pub(crate) fn setting_name(identity: &[(String, String)]) -> String {
    let is_setting = |key: &str| !is_of_estimate(key) && !is_of(key, "reward") && key != GROUP_SIZE;
    let parts = identity.iter().filter(|(key, value)| is_setting(key) && value != ANY);
    let mut parts: Vec<_> = parts.collect();
    parts.sort_by_key(|(key, _)| key != "benchmark");
    let part = |(key, value): &(String, String)| value_label(key, value);
    parts.into_iter().map(part).collect::<Vec<_>>().join(", ")
}

/// Adds the columns that say which condition each row is about: the axes, then benchmark, kind of
/// aggregator and group size where no axis shows them. Axes on which no row has a value are left out.
pub(crate) fn identify(table: &mut Table, evidence: &Evidence, rows: &[&Condition<'_>]) {
    let identities: Vec<_> = rows.iter().map(|row| row.identity(evidence)).collect();
    let Some(first) = identities.first() else { return };
    for (i, (key, _)) in first.iter().enumerate() {
        let values: Vec<_> = identities.iter().map(|identity| identity[i].1.clone()).collect();
        if values.iter().any(|value| value != ANY) {
            table.text(key, values);
        }
    }
}

/// Adds columns for what several aggregators share: benchmark, model, other axes, group size.
pub(crate) fn identify_groups(table: &mut Table, evidence: &Evidence, rows: &[&Condition<'_>]) {
    let texts = |of: &dyn Fn(&CellRecord) -> String| rows.iter().map(|row| of(row.cell)).collect();
    table.text("benchmark", texts(&|cell| cell.benchmark.clone()));
    table.text("model", texts(&|cell| cell.model.clone()));
    for axis in &evidence.plan.axes {
        let key = axis.key.as_str();
        let is_shown = ["benchmark", "policy.model", GROUP_SIZE].contains(&key);
        if !is_shown && !is_of_estimate(key) && !is_of(key, "reward") {
            table.text(key, texts(&|cell| cell.axes.get(key).cloned().unwrap_or_default()));
        }
    }
    table.count("group_size", rows.iter().map(|row| u64::from(row.cell.group_size)).collect());
}

/// Adds columns that tell sets of rollouts apart: benchmark, model, other axes, and what the policy was
/// trained on. An axis on which the readers of a set differ says `any`; so does one about aggregators,
/// anchors, judges and rewards where no policy was trained, since rollouts don't depend on them.
pub(crate) fn identify_rollouts(table: &mut Table, evidence: &Evidence, sets: &[RolloutSet<'_>]) {
    let texts = |of: &dyn Fn(&CellRecord) -> String| sets.iter().map(|set| of(set.cell)).collect();
    table.text("benchmark", texts(&|cell| cell.benchmark.clone()));
    table.text("model", texts(&|cell| cell.model.clone()));
    for axis in &evidence.plan.axes {
        let key = axis.key.as_str();
        if ["benchmark", "policy.model"].contains(&key) {
            continue;
        }
        let value = |set: &RolloutSet<'_>| {
            let is_idle =
                set.cell.training.is_none() && (is_of_estimate(key) || is_of(key, "reward"));
            let value = set.cell.axes.get(key).filter(|_| !is_idle);
            let value = value.filter(|_| set.readers.iter().all(|c| c.axes.get(key) == value));
            value.map_or_else(|| ANY.to_owned(), String::clone)
        };
        let values: Vec<String> = sets.iter().map(value).collect();
        if values.iter().any(|value| value != ANY) {
            table.text(key, values);
        }
    }
    if sets.iter().any(|set| set.cell.training.is_some()) {
        let name = |set: &RolloutSet<'_>| {
            Condition::of(&set.readers).trained_on().unwrap_or_else(|| "not trained".to_owned())
        };
        table.text(TRAINED_ON, sets.iter().map(name).collect());
    }
}

/// Returns the conditions of a plan, in its order.
pub(crate) fn conditions_of(plan: &PlanRecord) -> Vec<Condition<'_>> {
    let mut conditions: Vec<Condition<'_>> = Vec::new();
    for cell in &plan.cells {
        let known = conditions.iter_mut().find(|condition| condition.cell.axes == cell.axes);
        match known {
            Some(condition) => condition.cells.push(cell),
            None => conditions.push(Condition { cell, cells: vec![cell], alike: vec![cell] }),
        }
    }
    conditions
}

/// Returns the only condition that a selection names, `AXIS=VALUE`, several separated by commas;
/// else the number of conditions that match.
pub(crate) fn select_condition<'a>(
    conditions: &[Condition<'a>],
    selection: &str,
) -> Result<Condition<'a>, usize> {
    let is_meant = |condition: &Condition<'_>| {
        let mut parts = selection.split(',').filter(|part| !part.is_empty());
        parts.all(|part| match part.trim().split_once('=') {
            Some((axis, value)) => condition.cell.axes.get(axis).is_some_and(|v| v == value),
            None => false,
        })
    };
    let meant: Vec<_> = conditions.iter().filter(|condition| is_meant(condition)).collect();
    match meant[..] {
        [one] => Ok(one.clone()),
        _ => Err(meant.len()),
    }
}

impl Evidence {
    /// Returns the conditions, in the plan's order.
    pub(crate) fn conditions(&self) -> Vec<Condition<'_>> {
        conditions_of(&self.plan)
    }

    /// Returns the conditions that have the stages picked by `of`. Those that share them are one,
    /// with the largest group.
    pub(crate) fn distinct<'a>(
        &'a self,
        of: impl Fn(&'a CellStages) -> Option<Vec<&'a Digest>>,
    ) -> Vec<Condition<'a>> {
        let stages = |condition: &Condition<'a>| {
            condition.cells.iter().map(|cell| of(&cell.stages)).collect::<Option<Vec<_>>>()
        };
        let mut distinct: Vec<(Condition<'a>, Vec<Vec<&'a Digest>>)> = Vec::new();
        for condition in self.conditions() {
            // A policy whose training is not finished has no groups.
            if condition.cells.iter().all(|cell| cell.prompts.is_empty()) {
                continue;
            }
            let Some(stages) = stages(&condition) else { continue };
            let known = distinct.iter_mut().find(|(known, of_known)| {
                *of_known == stages
                    && known.cell.benchmark == condition.cell.benchmark
                    && known.cell.prompts == condition.cell.prompts
            });
            match known {
                Some((known, _)) => {
                    known.alike.push(condition.cell);
                    if condition.cell.group_size > known.cell.group_size {
                        (known.cell, known.cells) = (condition.cell, condition.cells);
                    }
                }
                None => distinct.push((condition, stages)),
            }
        }
        distinct.into_iter().map(|(condition, _)| condition).collect()
    }

    /// Returns a condition for each distinct set of scores.
    pub(crate) fn scored(&self) -> Vec<Condition<'_>> {
        self.distinct(|stages| Some(vec![&stages.grades]))
    }

    /// Returns whether a model wrote some of a condition's pseudo-references.
    pub(crate) fn writes(&self, condition: &Condition<'_>) -> bool {
        let mut cells = condition.cells.iter();
        cells.any(|cell| {
            cell.prompts.iter().any(|prompt| {
                let facts = self.aggregate(cell, prompt.as_str());
                facts.is_some_and(|facts| facts.written().is_some())
            })
        })
    }

    /// Returns the scores of a condition: one cluster per prompt, one value per seed. Prompts
    /// without a score have an empty cluster.
    pub(crate) fn scores(&self, condition: &Condition<'_>) -> Vec<Vec<f64>> {
        by_prompt(&self.estimate_scores(condition).runs)
    }

    /// Returns the size of the largest group among the conditions of a benchmark.
    pub(crate) fn largest_group(&self, benchmark: &str) -> u32 {
        let cells = self.plan.cells.iter().filter(|cell| cell.benchmark == benchmark);
        cells.map(|cell| cell.group_size).max().unwrap_or(0)
    }
}
