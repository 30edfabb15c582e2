//! Scores of a condition by seed and prompt, and the pairing of two conditions.

use std::collections::BTreeMap;

use preceptor_core::record::{CellRecord, EvaluationRecord};
use preceptor_core::{PromptId, Split};
use preceptor_stats::{
    Caution, Contrast, CrossedEstimate, Design, Estimate, Runs, Scale, by_prompt, contrast,
    crossed_score, mean, score_estimate,
};

use crate::condition::Condition;
use crate::evidence::Evidence;

/// The moment of a trained policy's evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// After this many steps; 0 is the initial policy.
    Step(u64),
    /// After the step that early stopping chose, else after the last step that was evaluated.
    Final,
}

/// Scores `runs[seed][prompt]` of one condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConditionScores {
    pub(crate) design: Design,
    pub(crate) scale: Scale,
    pub(crate) seeds: Vec<u64>,
    pub(crate) prompts: Vec<PromptId>,
    pub(crate) runs: Runs,
}

impl ConditionScores {
    /// Returns the score with the interval of its design.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        match self.design {
            Design::Samples => score_estimate(self.scale, &by_prompt(&self.runs)),
            Design::TrainingRuns => self.crossed().map(|crossed| crossed.estimate()),
        }
    }

    /// Returns the score over training runs and prompts.
    pub(crate) fn crossed(&self) -> Option<CrossedEstimate> {
        crossed_score(self.scale, &self.runs)
    }

    /// Returns the reason for a missing interval.
    pub(crate) fn caution(&self) -> Option<Caution> {
        let num_prompts = by_prompt(&self.runs).iter().filter(|scores| !scores.is_empty()).count();
        let num_runs = self.runs.iter().filter(|run| run.iter().any(Option::is_some)).count();
        Caution::of(self.design, num_runs, num_prompts)
    }

    /// Returns the mean over prompts, seeds averaged first, not clipped.
    pub(crate) fn mean(&self) -> Option<f64> {
        preceptor_stats::clustered_mean(&by_prompt(&self.runs)).map(|estimate| estimate.mean)
    }

    /// Returns the mean of each seed.
    pub(crate) fn means(&self) -> Vec<f64> {
        let mean_of_run = |run: &Vec<Option<f64>>| {
            let known: Vec<f64> = run.iter().copied().flatten().collect();
            mean(&known)
        };
        self.runs.iter().filter_map(mean_of_run).collect()
    }

    /// Returns the share of expected scores that are present.
    pub(crate) fn coverage(&self) -> Option<f64> {
        let wanted: usize = self.runs.iter().map(Vec::len).sum();
        let scored = self.runs.iter().flatten().flatten().count();
        (wanted > 0).then(|| scored as f64 / wanted as f64)
    }

    /// Returns the prompts that have a score for every seed.
    pub(crate) fn whole_prompts(&self) -> Vec<&PromptId> {
        let is_whole = |place: usize| self.runs.iter().all(|run| run[place].is_some());
        (0..self.prompts.len()).filter(|&place| is_whole(place)).map(|p| &self.prompts[p]).collect()
    }

    /// Keeps only these prompts.
    pub(crate) fn over(&self, prompts: &[&PromptId]) -> Self {
        let positions = self.positions();
        let places: Vec<usize> =
            prompts.iter().filter_map(|prompt| positions.get(prompt).copied()).collect();
        self.select(&(0..self.seeds.len()).collect::<Vec<_>>(), &places)
    }

    /// Returns the position of each prompt.
    fn positions(&self) -> BTreeMap<&PromptId, usize> {
        self.prompts.iter().enumerate().map(|(position, prompt)| (prompt, position)).collect()
    }

    fn select(&self, seeds: &[usize], prompts: &[usize]) -> Self {
        Self {
            design: self.design,
            scale: self.scale,
            seeds: seeds.iter().map(|&seed| self.seeds[seed]).collect(),
            prompts: prompts.iter().map(|&prompt| self.prompts[prompt].clone()).collect(),
            runs: seeds
                .iter()
                .map(|&seed| prompts.iter().map(|&prompt| self.runs[seed][prompt]).collect())
                .collect(),
        }
    }

    /// Compares with `other` over the seeds and prompts that both have. Returns none if they have
    /// no score in common.
    pub(crate) fn against(&self, other: &Self) -> Option<Contrast> {
        let shared = |ours: usize, theirs: Option<usize>| Some((ours, theirs?));
        let seeds: Vec<_> = (0..self.seeds.len())
            .filter_map(|i| shared(i, other.seeds.iter().position(|s| *s == self.seeds[i])))
            .collect();
        let theirs = other.positions();
        let prompts: Vec<_> = (0..self.prompts.len())
            .filter_map(|i| shared(i, theirs.get(&self.prompts[i]).copied()))
            .collect();
        let ours = |pairs: &[(usize, usize)]| pairs.iter().map(|pair| pair.0).collect::<Vec<_>>();
        let theirs = |pairs: &[(usize, usize)]| pairs.iter().map(|pair| pair.1).collect::<Vec<_>>();
        let a = self.select(&ours(&seeds), &ours(&prompts));
        let b = other.select(&theirs(&seeds), &theirs(&prompts));
        let is_trained = [self.design, other.design].contains(&Design::TrainingRuns);
        let design = if is_trained { Design::TrainingRuns } else { Design::Samples };
        contrast(design, self.scale, &a.runs, &b.runs)
    }
}

impl Evidence {
    /// Returns the role of a condition's seeds.
    pub(crate) fn design(condition: &Condition<'_>) -> Design {
        if condition.cells.iter().all(|cell| cell.training.is_some()) {
            Design::TrainingRuns
        } else {
            Design::Samples
        }
    }

    /// Collects the scores of a condition's prompts, as `of` returns them for each cell.
    fn scored_by(
        &self,
        condition: &Condition<'_>,
        of: impl Fn(&CellRecord, &PromptId) -> Option<f64>,
    ) -> ConditionScores {
        let prompts = condition.cell.prompts.clone();
        let run = |cell: &&CellRecord| prompts.iter().map(|prompt| of(cell, prompt)).collect();
        ConditionScores {
            design: Self::design(condition),
            scale: Scale::new(self.has_rubric(condition.cell)),
            seeds: condition.cells.iter().map(|cell| cell.seed).collect(),
            runs: condition.cells.iter().map(run).collect(),
            prompts,
        }
    }

    /// Returns the scores of a condition's pseudo-references.
    pub(crate) fn estimate_scores(&self, condition: &Condition<'_>) -> ConditionScores {
        self.scored_by(condition, |cell, prompt| self.score(cell, prompt).value())
    }

    /// Returns the mean score of each group's rollouts.
    pub(crate) fn rollout_scores(&self, condition: &Condition<'_>) -> ConditionScores {
        self.scored_by(condition, |cell, prompt| {
            let scores = (0..cell.group_size).filter_map(|i| self.rollout_score(cell, prompt, i));
            mean(&scores.collect::<Vec<_>>())
        })
    }

    /// Returns the scores of trained policies on a split. Seeds without that evaluation are left
    /// out; none if no seed has it.
    pub(crate) fn policy_scores(
        &self,
        condition: &Condition<'_>,
        split: Split,
        moment: Moment,
    ) -> Option<ConditionScores> {
        let of_cell = |cell: &&CellRecord| {
            let evaluation = self.evaluation(cell, split, moment)?;
            Some((cell.seed, evaluation.prompts.clone(), self.evaluated(evaluation)?))
        };
        let found: Vec<_> = condition.cells.iter().filter_map(of_cell).collect();
        let prompts = found.first()?.1.clone();
        Some(ConditionScores {
            design: Design::TrainingRuns,
            scale: Scale::new(self.has_rubric(condition.cell)),
            seeds: found.iter().map(|(seed, ..)| *seed).collect(),
            runs: found.into_iter().map(|(_, _, scores)| scores).collect(),
            prompts,
        })
    }

    /// Returns the evaluation of a cell's policy on a split, if it was made.
    fn evaluation<'a>(
        &self,
        cell: &'a CellRecord,
        split: Split,
        moment: Moment,
    ) -> Option<&'a EvaluationRecord> {
        let training = cell.training.as_ref()?;
        let of_split = || training.evaluations.iter().filter(|known| known.split == split);
        let step = match (moment, self.chosen_step(training)) {
            (Moment::Step(step), _) | (Moment::Final, Some(step)) => step,
            (Moment::Final, None) => {
                let made = of_split().filter(|known| known.step > 0);
                made.filter(|known| self.evaluated(known).is_some())
                    .map(|known| known.step)
                    .max()?
            }
        };
        of_split().find(|known| known.step == step && self.evaluated(known).is_some())
    }

    /// Returns the scores of an evaluation by prompt, averaged over rollouts; none if it was not
    /// made. Prompts whose grading failed have no score.
    fn evaluated(&self, evaluation: &EvaluationRecord) -> Option<Vec<Option<f64>>> {
        let grades = self.grades_of(&evaluation.rollout_grades);
        let grade = |prompt: &PromptId, index| grades.get(prompt.as_str(), index);
        let indices = 0..evaluation.num_rollouts;
        let is_made = |prompt| indices.clone().any(|index| grade(prompt, index).is_some());
        if !evaluation.prompts.iter().any(is_made) {
            return None;
        }
        let of_prompt = |prompt: &PromptId| {
            let scores = indices.clone().filter_map(|index| grade(prompt, index)?.score.value());
            mean(&scores.collect::<Vec<_>>())
        };
        Some(evaluation.prompts.iter().map(of_prompt).collect())
    }

    /// Returns whether a cell's policy was evaluated on a split after a step.
    pub(crate) fn is_evaluated(&self, cell: &CellRecord, split: Split, step: u64) -> bool {
        self.evaluation(cell, split, Moment::Step(step)).is_some()
    }
}
