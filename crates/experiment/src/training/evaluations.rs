//! Evaluations of the policies along a training run.

use std::rc::Rc;

use preceptor_models::LocalModel;

use crate::Error;
use crate::plan::cell::Evaluation;
use crate::run::grading::grade_rollouts;
use crate::run::rollouts::{fill_prompts, fill_rollouts, load_rollouts};
use crate::training::run::TrainRun;

impl TrainRun<'_, '_> {
    /// Grades evaluations with stored rollouts that lack grades. No policy is loaded.
    pub(crate) fn regrade(&self) -> Result<(), Error> {
        let course = self.course();
        for evaluation in &self.training.evaluations {
            if !course.is_graded(evaluation)? && course.is_drawn(evaluation)? {
                self.once(evaluation, || self.grade(evaluation))?;
            }
        }
        Ok(())
    }

    /// Samples and grades what is missing of the evaluations after `step`.
    pub(crate) fn evaluate(&self, step: u64, policy: &Rc<LocalModel>) -> Result<(), Error> {
        let session = self.session;
        let course = self.course();
        for evaluation in self.training.evaluations_of(step) {
            if course.is_graded(evaluation)? {
                continue;
            }
            let cell = &evaluation.demand.cell;
            self.once(evaluation, || {
                session.with_policy(&cell.policy_name, Rc::clone(policy) as _, || {
                    fill_prompts(cell, session)?;
                    fill_rollouts(&evaluation.demand, session)
                })?;
                self.grade(evaluation)
            })?;
            let scores = course.scores(evaluation)?.unwrap_or_default();
            let (label, split) = (self.cell.label(), evaluation.split.name());
            session.notice(&match scores.len() {
                0 => format!("{label}: after {step} steps nothing on {split} could be scored"),
                n => {
                    let score = scores.iter().sum::<f64>() / n as f64;
                    format!("{label}: after {step} steps the score on {split} is {score:.3}")
                }
            });
        }
        Ok(())
    }

    /// Runs `work` on an evaluation that is not graded. All training runs of a seed share that of the
    /// initial policy: the first process makes it, and the others wait for it.
    fn once(
        &self,
        evaluation: &Evaluation,
        work: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let session = self.session;
        if evaluation.step > 0 {
            return session.without_progress(work);
        }
        let stage = session.store.stage(&evaluation.demand.cell.stages.rollouts);
        let label = format!("{}: evaluation before training", self.cell.label());
        session.claimed(&stage, &label, || {
            if self.course().is_graded(evaluation)? {
                return Ok(());
            }
            session.without_progress(work)
        })
    }

    /// Grades the rollouts of an evaluation; calls that fail are made once more.
    fn grade(&self, evaluation: &Evaluation) -> Result<(), Error> {
        let cell = &evaluation.demand.cell;
        let stage = self.session.store.stage(&cell.stages.rollouts);
        let mut rollouts = load_rollouts(&stage)?;
        for sampled in rollouts.values_mut() {
            sampled.retain(|rollout| rollout.index < evaluation.demand.group_size);
        }
        let grade = || grade_rollouts(cell, &cell.tasks.tasks, self.session, &rollouts);
        if grade()? > 0 {
            let num_failed = grade()?;
            self.session.count(|summary| summary.num_failed += num_failed);
        }
        // A killed run may have left parts.
        Ok(stage.compact()?)
    }
}
