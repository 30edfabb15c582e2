//! Comparisons that are declared before a run, and what a plan must have for them.

use std::collections::BTreeMap;

use crate::Split;
use crate::record::{CellRecord, PlanRecord};
pub use crate::record::{ContrastMetric, ContrastRecord};

/// Stands for the policy of `a` before it was trained, as `b`.
pub const INITIAL: &str = "initial";
/// Stands for the mean of the rollouts of `a`, as `b`.
pub const ROLLOUTS: &str = "rollouts";

/// The key that keeps a contrast from being shown, with its fault and the allowed values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContrastFault {
    /// The key.
    pub key: &'static str,
    /// The fault.
    pub detail: String,
    /// The allowed values.
    pub hint: String,
}

impl ContrastFault {
    fn new(key: &'static str, detail: String, hint: impl Into<String>) -> Self {
        Self { key, detail, hint: hint.into() }
    }
}

impl ContrastRecord {
    /// Returns the split that trained policies are compared on: unless it is given, the first.
    pub fn split(&self) -> Split {
        self.split.unwrap_or_default()
    }

    /// Refuses what `plan` can't show. A condition that was left out of the plan is no fault.
    ///
    /// # Errors
    ///
    /// [`ContrastFault`] for an unknown axis or value, a selection of several conditions or of none, a split
    /// or step that no policy is evaluated on, and keys that don't go together.
    pub fn check(&self, plan: &PlanRecord) -> Result<(), ContrastFault> {
        if self.name.trim().is_empty() {
            let hint = "say in words what is compared";
            return Err(ContrastFault::new("name", "it is empty".to_owned(), hint));
        }
        let is_policy = self.metric == ContrastMetric::Policy;
        let a = select(plan, "a", &self.a)?;
        let b = match self.b.as_str() {
            ROLLOUTS if is_policy => {
                let detail = format!("`{ROLLOUTS}` needs `metric = \"score\"`");
                let hint = format!("name a condition, or `{INITIAL}`");
                return Err(ContrastFault::new("b", detail, hint));
            }
            INITIAL if !is_policy => {
                let detail = format!("`{INITIAL}` needs `metric = \"policy\"`");
                let hint = format!("name a condition, or `{ROLLOUTS}`");
                return Err(ContrastFault::new("b", detail, hint));
            }
            ROLLOUTS | INITIAL => None,
            selection => select(plan, "b", selection)?,
        };
        if let (Some(a), Some(b)) = (a, b) {
            check_sides(a, b)?;
        }
        if is_policy {
            let sides = [a, b].into_iter().flatten();
            return sides.into_iter().try_for_each(|cell| self.check_evaluations(cell));
        }
        let given = [("split", self.split.is_some()), ("step", self.step.is_some())];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) => {
                let hint = format!("leave `{key}` out, or write `metric = \"policy\"`");
                let detail = "it is of `metric = \"policy\"` alone".to_owned();
                Err(ContrastFault::new(key, detail, hint))
            }
            None => Ok(()),
        }
    }

    /// The evaluations that a contrast of policies needs of one side.
    fn check_evaluations(&self, cell: &CellRecord) -> Result<(), ContrastFault> {
        let Some(training) = &cell.training else {
            let hint = "`metric = \"score\"` compares pseudo-references";
            return Err(ContrastFault::new("metric", "`policy` needs `[train]`".to_owned(), hint));
        };
        let split = self.split();
        let mut steps: BTreeMap<Split, Vec<String>> = BTreeMap::new();
        for known in &training.evaluations {
            steps.entry(known.split).or_default().push(known.step.to_string());
        }
        let Some(steps) = steps.get(&split) else {
            let allowed: Vec<_> = steps.keys().map(|split| format!("`{split}`")).collect();
            let detail = format!("no policy is evaluated on `{split}`");
            return Err(ContrastFault::new("split", detail, list("splits are", &allowed)));
        };
        match self.step {
            Some(step) if !steps.contains(&step.to_string()) => {
                let detail = format!("no policy is evaluated after step {step}");
                Err(ContrastFault::new("step", detail, list("steps are", steps)))
            }
            _ => Ok(()),
        }
    }
}

fn list(what: &str, values: &[String]) -> String {
    format!("{what} {}", values.join(", "))
}

fn check_sides(a: &CellRecord, b: &CellRecord) -> Result<(), ContrastFault> {
    if a.axes == b.axes {
        let detail = "it is the same condition as `a`".to_owned();
        return Err(ContrastFault::new("b", detail, "name another value of an axis"));
    }
    if !a.prompts.iter().any(|prompt| b.prompts.contains(prompt)) {
        let detail = format!("`{}` and `{}` share no prompt", a.benchmark, b.benchmark);
        return Err(ContrastFault::new("b", detail, "compare conditions of one benchmark"));
    }
    Ok(())
}

/// A cell of the condition that a side names; none where it was left out of the plan.
fn select<'p>(
    plan: &'p PlanRecord,
    key: &'static str,
    selection: &str,
) -> Result<Option<&'p CellRecord>, ContrastFault> {
    let axes: Vec<_> = plan.axes.iter().map(|axis| format!("`{}`", axis.key)).collect();
    let axes =
        if axes.is_empty() { "`[matrix]` has no axis".to_owned() } else { list("axes are", &axes) };
    let mut wanted = Vec::new();
    for part in selection.split(',').map(str::trim) {
        let Some((name, value)) = part.split_once('=') else {
            let detail = format!("`{part}` is not of the form `AXIS=VALUE`");
            return Err(ContrastFault::new(key, detail, axes));
        };
        let Some(axis) = plan.axes.iter().find(|axis| axis.key == name) else {
            return Err(ContrastFault::new(key, format!("`{name}` is not an axis"), axes));
        };
        let mut of_cells = plan.cells.iter().filter_map(|cell| cell.axes.get(name));
        if !axis.values.iter().any(|known| known == value) && !of_cells.any(|known| known == value)
        {
            let allowed: Vec<_> = axis.values.iter().map(|value| format!("`{value}`")).collect();
            let hint = list(&format!("values of `{name}` are"), &allowed);
            let detail = format!("`{value}` is not a value of `{name}`");
            return Err(ContrastFault::new(key, detail, hint));
        }
        wanted.push((name, value));
    }
    let is_meant = |cell: &&CellRecord| {
        wanted.iter().all(|(axis, value)| cell.axes.get(*axis).is_some_and(|known| known == value))
    };
    let meant: Vec<&CellRecord> = plan.cells.iter().filter(is_meant).collect();
    let Some(first) = meant.first() else {
        return if plan.left_out.is_empty() {
            Err(ContrastFault::new(key, format!("`{selection}` is excluded"), axes))
        } else {
            Ok(None)
        };
    };
    match meant.iter().find(|cell| cell.axes != first.axes) {
        Some(other) => {
            let differs =
                first.axes.iter().find(|(axis, value)| other.axes.get(*axis) != Some(value));
            let axis = differs.map_or("", |(axis, _)| axis.as_str());
            let detail = format!("`{selection}` names several conditions");
            Err(ContrastFault::new(key, detail, format!("say which `{axis}`")))
        }
        None => Ok(Some(first)),
    }
}
