//! The course of a training run according to the store: the evaluations, and the step that is the result.
//!
//! With early stopping, the step that is reported is decided by the evaluations on the validation
//! prompts, in their order. While one of them is missing the decision is open, and nothing is sampled,
//! graded or reported for a final policy. The decision is a function of stored records alone, so a
//! rerun decides as an undisturbed run does.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::Split;
use preceptor_core::record::{
    CHOICE_KEY, GradeRecord, TrainChoiceRecord, ValidationLossRecord, rollout_key, step_key,
};
use preceptor_stats::mean;
use preceptor_store::Store;

use crate::Error;
use crate::manifest::train_settings::Metric;
use crate::plan::cell::Evaluation;
use crate::plan::cell::RolloutDemand;
use crate::plan::cell::Training;

/// The step that is the result, or where its choice waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A metric is missing.
    Open {
        /// The first evaluated step without one.
        at: u64,
        /// The best step before it.
        best: Option<u64>,
    },
    /// The step is chosen; no later metric can change it.
    Made {
        /// The step after which nothing is trained.
        last: u64,
        /// The step whose weights are the result.
        best: u64,
    },
}

impl Decision {
    /// Returns the best step as far as metrics are known.
    pub(crate) fn best(self) -> Option<u64> {
        match self {
            Self::Open { best, .. } => best,
            Self::Made { best, .. } => Some(best),
        }
    }
}

/// Training run with the store of its records.
#[derive(Clone, Copy)]
pub(crate) struct Course<'c> {
    pub(crate) training: &'c Training,
    pub(crate) store: &'c Store,
}

impl Course<'_> {
    /// Decides which step is the result.
    pub(crate) fn decide(&self) -> Result<Decision, Error> {
        let settings = &self.training.settings;
        let steps = u64::from(settings.steps);
        let Some(stopping) = &settings.early_stopping else {
            return Ok(Decision::Made { last: steps, best: steps });
        };
        let losses = self.losses()?;
        decide(&self.training.evaluated_steps(), stopping.patience, |step| {
            Ok(match stopping.metric {
                Metric::Score => self.validation_score(step)?,
                // The lower, the better.
                Metric::Loss => losses.get(&step_key(step)).map(|record| -record.loss),
            })
        })
    }

    /// Returns the losses on the validation targets by the key of their step.
    pub(crate) fn losses(&self) -> Result<BTreeMap<String, ValidationLossRecord>, Error> {
        match self.training.losses() {
            None => Ok(BTreeMap::new()),
            Some(losses) => Ok(self.store.stage(&losses.stage).load()?.records),
        }
    }

    fn validation_score(&self, step: u64) -> Result<Option<f64>, Error> {
        let mut of_step = self.training.evaluations_of(step);
        match of_step.find(|known| known.split == Split::Validation) {
            None => Ok(None),
            // If no rollout could be scored, any other step is better.
            Some(evaluation) => Ok(self
                .scores(evaluation)?
                .map(|scores| mean(&scores).unwrap_or(f64::NEG_INFINITY))),
        }
    }

    /// Returns the scores of an evaluation's rollouts that could be scored; none while a grade is missing.
    pub(crate) fn scores(&self, evaluation: &Evaluation) -> Result<Option<Vec<f64>>, Error> {
        let RolloutDemand { cell, group_size } = &evaluation.demand;
        let grades = self.store.stage(&cell.stages.rollout_grades).load::<GradeRecord>()?.records;
        let mut scores = Vec::new();
        for task in &cell.tasks.tasks {
            for index in 0..*group_size {
                let Some(grade) = grades.get(&rollout_key(&task.prompt.id, index)) else {
                    return Ok(None);
                };
                scores.extend(grade.score.value());
            }
        }
        Ok(Some(scores))
    }

    /// Returns whether every rollout of an evaluation is stored.
    pub(crate) fn is_drawn(&self, evaluation: &Evaluation) -> Result<bool, Error> {
        let present = self.store.stage(&evaluation.demand.cell.stages.rollouts).keys()?;
        Ok(evaluation.demand.keys().is_subset(&present))
    }

    /// Returns whether every grade of an evaluation is stored.
    pub(crate) fn is_graded(&self, evaluation: &Evaluation) -> Result<bool, Error> {
        let present = self.store.stage(&evaluation.demand.cell.stages.rollout_grades).keys()?;
        Ok(evaluation.demand.keys().is_subset(&present))
    }

    /// Returns the evaluated steps up to `last` for which the policy of that step is still needed.
    pub(crate) fn steps_to_evaluate(&self, last: u64) -> Result<Vec<u64>, Error> {
        let losses = self.losses()?;
        let mut missing = Vec::new();
        for step in self.training.evaluated_steps() {
            let needs_loss = self.training.losses().is_some();
            let mut is_missing = needs_loss && !losses.contains_key(&step_key(step));
            for evaluation in self.training.evaluations_of(step) {
                is_missing |= !self.is_drawn(evaluation)?;
            }
            if is_missing && step <= last {
                missing.push(step);
            }
        }
        Ok(missing)
    }

    /// Returns the keys of the steps that are recorded.
    pub(crate) fn recorded_steps(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.store.stage(&self.training.steps).keys()?)
    }

    /// Returns the step that is the result, if it is decided and every step before the last is recorded and
    /// has been evaluated.
    pub(crate) fn result(&self) -> Result<Option<u64>, Error> {
        let Decision::Made { last, best } = self.decide()? else { return Ok(None) };
        let recorded = self.recorded_steps()?;
        let is_whole = (1..=last).all(|step| recorded.contains(&step_key(step)));
        Ok((is_whole && self.steps_to_evaluate(last)?.is_empty()).then_some(best))
    }

    /// Records the step that early stopping chose, once it is decided.
    pub(crate) fn keep_choice(&self) -> Result<(), Error> {
        let (Some(stage), Decision::Made { last, best }) = (&self.training.choice, self.decide()?)
        else {
            return Ok(());
        };
        let stopping = self.training.settings.early_stopping.as_ref();
        let metric = stopping.map_or(Metric::Score, |stopping| stopping.metric);
        let value = match metric {
            Metric::Score => self.validation_score(best)?,
            Metric::Loss => self.losses()?.get(&step_key(best)).map(|record| record.loss),
        };
        let stage = self.store.stage(stage);
        if let Some(value) = value.filter(|value| value.is_finite())
            && !stage.keys()?.contains(CHOICE_KEY)
        {
            let metric = metric.name().to_owned();
            let record = TrainChoiceRecord { step: best, last_step: last, metric, value };
            let mut writer = stage.writer();
            writer.append(CHOICE_KEY, &record)?;
            writer.sync()?;
            drop(writer);
            stage.compact()?;
        }
        Ok(())
    }
}

/// Goes through the evaluated steps in their order; of equal ones the first is the best.
fn decide(
    steps: &[u64],
    patience: u32,
    metric: impl Fn(u64) -> Result<Option<f64>, Error>,
) -> Result<Decision, Error> {
    let mut best: Option<(f64, u64)> = None;
    let mut num_worse = 0;
    for &step in steps {
        let Some(value) = metric(step)? else {
            return Ok(Decision::Open { at: step, best: best.map(|(_, step)| step) });
        };
        if best.is_none_or(|(known, _)| value > known) {
            (best, num_worse) = (Some((value, step)), 0);
        } else {
            num_worse += 1;
        }
        if num_worse >= patience {
            return Ok(Decision::Made { last: step, best: best.map_or(step, |(_, step)| step) });
        }
    }
    let last = steps.last().copied().unwrap_or(0);
    Ok(Decision::Made { last, best: best.map_or(last, |(_, step)| step) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(patience: u32, metrics: &[Option<f64>]) -> Decision {
        let steps: Vec<u64> = (0..metrics.len() as u64).map(|i| 10 * i).collect();
        decide(&steps, patience, |step| Ok(metrics[step as usize / 10])).expect("nothing fails")
    }

    #[test]
    fn the_best_step_wins_and_of_equals_the_first() {
        let found = decision(3, &[Some(0.1), Some(0.4), Some(0.4), Some(0.2)]);
        assert_eq!(found, Decision::Made { last: 30, best: 10 });
    }

    #[test]
    fn patience_ends_the_training_run() {
        let found = decision(2, &[Some(0.3), Some(0.2), Some(0.1), Some(0.9)]);
        assert_eq!(found, Decision::Made { last: 20, best: 0 });
    }

    #[test]
    fn a_missing_metric_leaves_the_decision_open() {
        let found = decision(2, &[Some(0.3), None, Some(0.9), Some(0.1)]);
        assert_eq!(found, Decision::Open { at: 10, best: Some(0) });
        assert_eq!(decision(2, &[None]), Decision::Open { at: 0, best: None });
        // Metrics after the end are not needed.
        let found = decision(1, &[Some(0.3), Some(0.2), None]);
        assert_eq!(found, Decision::Made { last: 10, best: 0 });
    }
}
