//! Two conditions of an experiment on the same prompts.

use preceptor_core::PromptId;
use preceptor_core::record::GradeRecord;
use preceptor_stats::{
    Contrast, Design, Estimate, Runs, Scale, by_prompt, contrast, crossed_score, score_estimate,
};
use preceptor_store::Store;

use crate::Error;
use crate::error::ManifestError;
use crate::plan::cell::Cell;
use crate::plan::resolved::Plan;

/// Condition of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The condition, for people.
    pub label: String,
    /// Score over prompts, as in reports; none without a score.
    pub mean: Option<Estimate>,
    /// Number of scores.
    pub num_scored: usize,
    /// Scores that there should be.
    pub num_wanted: usize,
}

/// Comparison of two conditions, paired by prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The first condition.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// The mean of `a - b` over seeds and prompts that both have scores of; none without one.
    pub difference: Option<Contrast>,
    /// The role of the seeds.
    pub design: Design,
}

/// Compares the conditions that `a` and `b` select: `AXIS=VALUE`, several with commas between, or the
/// start of a cell's id, as the table `contrasts` of a report does: paired by prompt, seeds averaged first;
/// where policies are trained, over training runs and prompts.
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
    let is_shared = |(number, prompt): (usize, &PromptId)| {
        scores_b.prompts.iter().position(|other| other == prompt).map(|other| (number, other))
    };
    let prompts: Vec<_> = scores_a.prompts.iter().enumerate().filter_map(is_shared).collect();
    if prompts.is_empty() {
        let (a, b) = (&cells_a[0].benchmark, &cells_b[0].benchmark);
        return Err(refuse(format!("no prompt of `{a}` is one of `{b}`")));
    }
    for (selection, scores) in [(a, &scores_a), (b, &scores_b)] {
        if scores.runs.iter().flatten().all(Option::is_none) {
            let hint = "hint: `preceptor run` makes them";
            return Err(refuse(format!("no score of `{selection}` is in the store\n{hint}")));
        }
    }
    // Seeds are paired: of one seed both sides read the same rollouts, or were trained alike.
    let position = |number: usize| {
        let other = cells_b.iter().position(|cell| cell.seed == cells_a[number].seed);
        other.map(|other| (number, other))
    };
    let seeds: Vec<(usize, usize)> = (0..cells_a.len()).filter_map(position).collect();
    if seeds.is_empty() {
        return Err(refuse("they have no seed in common".to_owned()));
    }
    let paired_a = seeds.iter().map(|&(run, _)| {
        prompts.iter().map(|&(prompt, _)| scores_a.runs[run][prompt]).collect::<Vec<_>>()
    });
    let paired_b = seeds.iter().map(|&(_, run)| {
        prompts.iter().map(|&(_, prompt)| scores_b.runs[run][prompt]).collect::<Vec<_>>()
    });
    let (paired_a, paired_b): (Runs, Runs) = (paired_a.collect(), paired_b.collect());
    let is_trained = |cells: &[&Cell]| cells.iter().all(|cell| cell.training.is_some());
    let design = if is_trained(&cells_a) || is_trained(&cells_b) {
        Design::TrainingRuns
    } else {
        Design::Samples
    };
    Ok(Comparison {
        difference: contrast(design, scale(cells_a[0]), &paired_a, &paired_b),
        design,
        a: side(&cells_a, &scores_a),
        b: side(&cells_b, &scores_b),
    })
}

/// Returns the scale of a cell's scores.
fn scale(cell: &Cell) -> Scale {
    Scale::new(cell.grader.profile().is_none())
}

fn side(cells: &[&Cell], scores: &Scores) -> Side {
    let axes = cells[0].axes.iter().map(|(key, value)| format!("{key}={value}"));
    let seeds = cells.iter().map(|cell| cell.seed.to_string()).collect::<Vec<_>>().join(",");
    let scale = scale(cells[0]);
    let mean = if cells.iter().all(|cell| cell.training.is_some()) {
        crossed_score(scale, &scores.runs).map(|crossed| crossed.estimate())
    } else {
        score_estimate(scale, &by_prompt(&scores.runs))
    };
    Side {
        label: axes.chain([format!("seeds={seeds}")]).collect::<Vec<_>>().join(" "),
        mean,
        num_scored: scores.runs.iter().flatten().flatten().count(),
        num_wanted: cells.iter().map(|cell| cell.tasks.tasks.len()).sum(),
    }
}

/// Returns the cells of the one condition that `selection` names.
fn select<'p>(plan: &'p Plan, selection: &str) -> Result<Vec<&'p Cell>, Error> {
    let error = |detail: String| -> Error {
        let mut axes =
            plan.axes.iter().map(|axis| format!("`{}` ({})", axis.key, axis.values.join(", ")));
        let axes = axes.by_ref().collect::<Vec<_>>().join(", ");
        ManifestError {
            location: format!("`{selection}`"),
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

/// Scores by seed and prompt.
struct Scores {
    prompts: Vec<PromptId>,
    runs: Runs,
}

/// Returns the scores of the pseudo-references of `cells`, which differ in their seed only.
fn scores(cells: &[&Cell], store: &Store) -> Result<Scores, Error> {
    let tasks = cells[0].tasks.tasks.iter();
    let prompts: Vec<PromptId> = tasks.map(|task| task.prompt.id.clone()).collect();
    let mut runs = Runs::new();
    for cell in cells {
        let grades = store.stage(&cell.stages.grades).load::<GradeRecord>()?.records;
        let score = |prompt: &PromptId| grades.get(prompt.as_str())?.score.value();
        runs.push(prompts.iter().map(score).collect());
    }
    Ok(Scores { prompts, runs })
}
