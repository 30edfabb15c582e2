//! Two conditions of an experiment on the same prompts.

use std::collections::BTreeMap;

use preceptor_core::PromptId;
use preceptor_core::record::GradeRecord;
use preceptor_stats::{Estimate, PairedDifference, paired_difference, score_estimate};
use preceptor_store::Store;

use crate::Error;
use crate::error::ManifestError;
use crate::plan::{Cell, Plan};

/// One condition of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The condition, for people.
    pub label: String,
    /// Its score over prompts, as reports have it; none without a score.
    pub mean: Option<Estimate>,
    /// Scores that are there.
    pub num_scored: usize,
    /// Scores that there should be.
    pub num_wanted: usize,
}

/// What pairing two conditions by prompt shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The first condition.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// The mean of `a - b` over prompts that both have scores of; none without one.
    pub difference: Option<PairedDifference>,
    /// Prompts on which the first is better, the second is, neither is.
    pub wins_losses_ties: [usize; 3],
}

/// Compares the conditions that `a` and `b` select: `AXIS=VALUE`, several with commas between, or the
/// start of a cell's id. Seeds of one condition are averaged within each prompt.
///
/// # Errors
///
/// [`Error::Manifest`] if a selection is of no condition or of several; [`Error::NotComparable`] if
/// there is nothing to compare; [`Error::Store`].
pub fn compare(plan: &Plan, store: &Store, a: &str, b: &str) -> Result<Comparison, Error> {
    let (cells_a, cells_b) = (select(plan, a)?, select(plan, b)?);
    let refuse = |detail: String| Error::NotComparable { a: a.to_owned(), b: b.to_owned(), detail };
    if cells_a.iter().map(|cell| cell.id()).eq(cells_b.iter().map(|cell| cell.id())) {
        return Err(refuse("both are the same condition".to_owned()));
    }
    let (scores_a, scores_b) = (scores(&cells_a, store)?, scores(&cells_b, store)?);
    let mut prompts: Vec<&PromptId> = scores_a.keys().collect();
    prompts.retain(|prompt| scores_b.contains_key(*prompt));
    if prompts.is_empty() {
        let (a, b) = (&cells_a[0].benchmark, &cells_b[0].benchmark);
        return Err(refuse(format!("no prompt of `{a}` is one of `{b}`")));
    }
    for (selection, scores) in [(a, &scores_a), (b, &scores_b)] {
        if scores.values().all(Vec::is_empty) {
            let hint = "hint: `preceptor run` makes them";
            return Err(refuse(format!("no score of `{selection}` is in the store\n{hint}")));
        }
    }
    let of = |scores: &BTreeMap<PromptId, Vec<f64>>| {
        prompts.iter().map(|prompt| scores[*prompt].clone()).collect::<Vec<_>>()
    };
    let (paired_a, paired_b) = (of(&scores_a), of(&scores_b));
    let mut wins_losses_ties = [0; 3];
    for (a, b) in paired_a.iter().zip(&paired_b) {
        if a.is_empty() || b.is_empty() {
            continue;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let outcome = match mean(a).total_cmp(&mean(b)) {
            std::cmp::Ordering::Greater => 0,
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Equal => 2,
        };
        wins_losses_ties[outcome] += 1;
    }
    Ok(Comparison {
        difference: paired_difference(&paired_a, &paired_b),
        a: side(&cells_a, &scores_a),
        b: side(&cells_b, &scores_b),
        wins_losses_ties,
    })
}

fn side(cells: &[&Cell], scores: &BTreeMap<PromptId, Vec<f64>>) -> Side {
    let clusters: Vec<Vec<f64>> = scores.values().cloned().collect();
    let axes = cells[0].axes.iter().map(|(key, value)| format!("{key}={value}"));
    let seeds = cells.iter().map(|cell| cell.seed.to_string()).collect::<Vec<_>>().join(",");
    Side {
        label: axes.chain([format!("seeds={seeds}")]).collect::<Vec<_>>().join(" "),
        mean: score_estimate(cells[0].grader.profile().is_none(), &clusters),
        num_scored: clusters.iter().map(Vec::len).sum(),
        num_wanted: cells.iter().map(|cell| cell.tasks.tasks.len()).sum(),
    }
}

/// The cells of the one condition that `selection` names.
fn select<'p>(plan: &'p Plan, selection: &str) -> Result<Vec<&'p Cell>, Error> {
    let error = |detail: String| -> Error {
        let mut axes =
            plan.axes.iter().map(|axis| format!("`{}` ({})", axis.key, axis.values.join(", ")));
        let axes = axes.by_ref().collect::<Vec<_>>().join(", ");
        ManifestError {
            place: format!("`{selection}`"),
            excerpt: None,
            detail,
            hint: Some(format!("name values of axes, `AXIS=VALUE,AXIS=VALUE`; axes are {axes}")),
        }
        .into()
    };
    let matches = |cell: &&Cell| {
        let by_axes = selection.split(',').all(|part| match part.trim().split_once('=') {
            Some(("seed", seed)) => cell.seed.to_string() == seed,
            Some((axis, value)) => cell.axes.get(axis).is_some_and(|name| name == value),
            None => false,
        });
        by_axes || (selection.len() >= 6 && cell.id().as_str().starts_with(selection))
    };
    let cells: Vec<&Cell> = plan.cells().iter().filter(matches).collect();
    let Some(first) = cells.first() else {
        return Err(error("no cell is selected".to_owned()));
    };
    if let Some(other) = cells.iter().find(|cell| cell.axes != first.axes) {
        let differs = first.axes.iter().find(|(key, value)| other.axes.get(*key) != Some(value));
        let axis = differs.map_or("", |(key, _)| key);
        return Err(error(format!("several conditions are selected; say which `{axis}`")));
    }
    Ok(cells)
}

/// Scores by prompt, one for each cell that has one.
fn scores(cells: &[&Cell], store: &Store) -> Result<BTreeMap<PromptId, Vec<f64>>, Error> {
    let mut scores: BTreeMap<PromptId, Vec<f64>> = BTreeMap::new();
    for cell in cells {
        let grades = store.stage(&cell.stages.grades).load::<GradeRecord>()?.records;
        for task in &cell.tasks.tasks {
            let grade = grades.get(task.prompt.id.as_str());
            let of_prompt = scores.entry(task.prompt.id.clone()).or_default();
            of_prompt.extend(grade.and_then(|grade| grade.score.value()));
        }
    }
    Ok(scores)
}
