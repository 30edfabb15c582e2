//! Control arms of training: policies that show how much of a gain comes from the reward.

use crate::record::{CellRecord, PlanRecord};

/// Names the control arms that the trained policies of some plans lack, in a sentence. None where nothing is
/// lacking, and where fewer than two kinds of training are compared.
///
/// - A constant reward gives no advantage: whatever changes comes from the course of training.
/// - A random reward shows how much a reward without information gains (Shao et al. 2025, *Spurious Rewards*).
/// - A reward from labels, or an aggregator that sees them, is the ceiling.
pub fn lacking_controls<'p>(plans: impl IntoIterator<Item = &'p PlanRecord>) -> Option<String> {
    let cells: Vec<&CellRecord> = plans
        .into_iter()
        .flat_map(|plan| &plan.cells)
        .filter(|cell| cell.training.is_some())
        .collect();
    let kind = |cell: &CellRecord| (cell.aggregator.clone(), cell.reward.clone());
    let first = kind(cells.first()?);
    if cells.iter().all(|cell| kind(cell) == first) {
        return None;
    }
    let has = |name: &str| cells.iter().any(|cell| cell.reward.as_deref() == Some(name));
    let sees_labels = cells.iter().any(|cell| cell.sees_labels || cell.reward_sees_labels);
    let lacking: Vec<&str> = [
        (has("constant"), "a constant reward (`constant`)"),
        (has("random"), "a random reward (`random`)"),
        (sees_labels, "labels (`ground-truth`)"),
    ]
    .into_iter()
    .filter(|(is_there, _)| !is_there)
    .map(|(_, words)| words)
    .collect();
    let (last, before) = lacking.split_last()?;
    let list = if before.is_empty() {
        (*last).to_owned()
    } else {
        format!("{} or {last}", before.join(", "))
    };
    Some(format!(
        "No policy is trained on {list}: without these arms it is open how much of a gain comes from the reward."
    ))
}
