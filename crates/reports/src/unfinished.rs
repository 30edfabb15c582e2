//! Reports of runs that are not finished.

use std::time::SystemTime;

use preceptor_core::PromptId;
use preceptor_core::record::{CellRecord, EvaluationRecord, PlanRecord, rollout_key};
use preceptor_store::Store;

use crate::Error;
use crate::evidence::Evidence;

/// State of the run when its report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Time of writing.
    pub written: SystemTime,
    /// Seconds after which the page loads itself again; none if it is not written again.
    pub reload_secs: Option<u64>,
    /// Cells that are finished.
    pub num_finished: usize,
    /// Cells of the plan.
    pub num_cells: usize,
}

/// A report of an unfinished run, with the sentences that its pages begin with.
pub(crate) struct Partial {
    pub(crate) text: String,
    pub(crate) unfinished: Unfinished,
}

/// Number of groups that a report shows, of those that are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownGroups {
    shown: usize,
    planned: usize,
}

impl Unfinished {
    /// Returns the sentences that the pages begin with.
    pub(crate) fn text(&self, groups: ShownGroups) -> String {
        let Self { num_finished, num_cells, .. } = self;
        let ShownGroups { shown, planned } = groups;
        let written = httpdate::fmt_http_date(self.written);
        let again = match self.reload_secs {
            Some(1) => "; this page reloads every second".to_owned(),
            Some(secs) => format!("; this page reloads every {secs} seconds"),
            None => String::new(),
        };
        let state = if again.is_empty() { "was not" } else { "is not" };
        format!(
            "Partial: the run {state} finished. {num_finished} of {num_cells} cells are. The tables have \
             the {shown} of {planned} groups whose records are all stored, and the steps and evaluations of \
             training so far. Written {written}{again}."
        )
    }

    /// Returns the element that reloads the page.
    pub(crate) fn reload_element(&self) -> String {
        let element = |secs| format!("<meta http-equiv=\"refresh\" content=\"{secs}\">\n");
        self.reload_secs.map(element).unwrap_or_default()
    }
}

fn num_groups(plan: &PlanRecord) -> usize {
    plan.cells.iter().map(|cell| cell.prompts.len()).sum()
}

impl Evidence {
    /// Keeps the prompts, evaluations and cells whose records are all stored or have failed. A trained cell
    /// stays with its first step.
    pub(crate) fn keep_finished(&mut self, store: &Store) -> Result<ShownGroups, Error> {
        let planned = num_groups(&self.plan);
        let mut cells = std::mem::take(&mut self.plan.cells);
        for cell in &mut cells {
            let is_whole = |prompt: &PromptId| self.check_group(cell, prompt).is_ok();
            let prompts = cell.prompts.iter().filter(|prompt| is_whole(prompt)).cloned().collect();
            cell.prompts = prompts;
            if let Some(training) = &mut cell.training {
                let mut whole = Vec::new();
                for evaluation in std::mem::take(&mut training.evaluations) {
                    if self.is_whole_evaluation(&evaluation, store)? {
                        whole.push(evaluation);
                    }
                }
                training.evaluations = whole;
            }
        }
        cells.retain(|cell| !cell.prompts.is_empty() || self.has_steps(cell));
        self.plan.cells = cells;
        Ok(ShownGroups { shown: num_groups(&self.plan), planned })
    }

    fn is_whole_evaluation(
        &self,
        evaluation: &EvaluationRecord,
        store: &Store,
    ) -> Result<bool, Error> {
        let stage = &evaluation.rollout_grades;
        let failed = store.stage_by_digest(stage).failures()?;
        let grades = self.grades_of(stage);
        let is_whole = |prompt: &PromptId| {
            (0..evaluation.num_rollouts).all(|index| {
                let is_noted = || failed.contains_key(&rollout_key(prompt, index));
                grades.get(prompt.as_str(), index).is_some() || is_noted()
            })
        };
        Ok(evaluation.prompts.iter().all(is_whole))
    }

    fn has_steps(&self, cell: &CellRecord) -> bool {
        let training = cell.training.as_ref();
        training.is_some_and(|training| self.step_costs(training).next().is_some())
    }
}
