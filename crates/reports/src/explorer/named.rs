//! Sets, estimates and rewards, named so that a reader knows what is shown.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::record::CellRecord;
use serde::Serialize;

use crate::condition::{ANY, Condition, TRAINED_ON};
use crate::evidence::Evidence;
use crate::label::{GROUP_SIZE, rewarded_label, value_label};

/// Kind of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SetKind {
    /// Groups of one policy, from which estimates are made.
    Evaluation,
    /// Groups of the steps of a training run.
    Training,
}

impl SetKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluation",
            Self::Training => "training",
        }
    }
}

/// Groups that were sampled together, in words.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetHead {
    /// The start of the digest of its rollouts and grades, for links.
    pub(crate) key: String,
    pub(crate) kind: SetKind,
    pub(crate) label: String,
    pub(crate) seed: u64,
    pub(crate) model: String,
    pub(crate) group_size: u32,
    pub(crate) grader: String,
    /// Stages by the name of their kind.
    pub(crate) stages: BTreeMap<&'static str, Digest>,
    /// The step whose weights sampled it, if the policy was trained; a training run has its steps with
    /// the groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<u64>,
    /// True if scores are shares of points rather than right or wrong.
    #[serde(skip)]
    pub(crate) has_rubric: bool,
    pub(crate) estimates: Vec<Part>,
    pub(crate) rewards: Vec<Part>,
}

impl SetHead {
    pub(crate) fn is_evaluation(&self) -> bool {
        self.kind == SetKind::Evaluation
    }
}

/// An estimate or a reward of a set.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Part {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sees_labels: bool,
    /// The stage of its records.
    pub(crate) stage: Digest,
    /// The stage of the grades, for estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grades: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) judge: Option<String>,
}

/// Returns the estimate of a cell as a part of a set with groups of `group_size`.
pub(crate) fn estimate(
    evidence: &Evidence,
    of: &Condition<'_>,
    cell: &CellRecord,
    group_size: u32,
) -> Part {
    Part {
        name: of.estimate_name(evidence) + &smaller_group(cell, group_size),
        sees_labels: of.is_upper_bound(),
        stage: cell.stages.aggregates.clone(),
        grades: Some(cell.stages.grades.clone()),
        anchor: cell.anchor.clone(),
        judge: None,
    }
}

/// Returns the reward of a cell, likewise; `stage` has its records.
pub(crate) fn reward(
    evidence: &Evidence,
    of: &Condition<'_>,
    cell: &CellRecord,
    stage: &Digest,
    group_size: u32,
) -> Part {
    let estimate = of.estimate_name(evidence);
    let estimate = if estimate == ANY { "" } else { &estimate };
    Part {
        name: rewarded_label(estimate, &of.reward()) + &smaller_group(cell, group_size),
        sees_labels: cell.reward_sees_labels,
        stage: stage.clone(),
        grades: None,
        anchor: cell.anchor.clone(),
        judge: cell.judge.clone(),
    }
}

fn smaller_group(cell: &CellRecord, group_size: u32) -> String {
    if cell.group_size < group_size {
        format!(", {}", value_label(GROUP_SIZE, &cell.group_size.to_string()))
    } else {
        String::new()
    }
}

/// Names a policy, with its settings that differ within the plan. `readers` are the conditions that read
/// its rollouts.
pub(crate) fn policy_label(evidence: &Evidence, readers: &[&CellRecord]) -> String {
    let cell = readers[0];
    let is_trained = cell.training.is_some();
    let varies = evidence.plan.axes.iter().filter(|axis| axis.values.len() > 1);
    let keys = varies.map(|axis| axis.key.as_str()).filter(|key| {
        let first = key.split('.').next().unwrap_or_default();
        let is_later = ["aggregator", "anchor", "judge", "reward", "eval-judge"].contains(&first);
        *key != "benchmark" && *key != GROUP_SIZE && (is_trained || !is_later)
    });
    let shared = keys.filter_map(|key| {
        let value = cell.axes.get(key)?;
        let is_shared = readers.iter().all(|reader| reader.axes.get(key) == Some(value));
        is_shared.then(|| value_label(key, value))
    });
    let mut parts: Vec<String> = shared.collect();
    if parts.is_empty() && is_trained {
        let alike = Condition::of(readers);
        parts.extend(alike.trained_on());
    }
    match (parts.is_empty(), is_trained) {
        (true, true) => "trained policy".to_owned(),
        (false, true) => format!("{} {}", TRAINED_ON.replace('_', " "), parts.join(", ")),
        (true, false) => cell.model.clone(),
        (false, false) if parts.contains(&cell.model) => parts.join(", "),
        (false, false) => format!("{}, {}", cell.model, parts.join(", ")),
    }
}

/// Numbers names that occur more than once.
pub(crate) fn distinguish(parts: &mut [Part]) {
    let names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
    for (i, part) in parts.iter_mut().enumerate() {
        let earlier = names[..i].iter().filter(|name| **name == part.name).count();
        if earlier > 0 {
            part.name = format!("{} ({})", part.name, earlier + 1);
        }
    }
}
