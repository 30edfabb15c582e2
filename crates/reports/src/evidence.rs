//! Records of a plan.
//!
//! A record may be missing because a call failed; its stage then notes the key with the reason.
//! Accessors return none for it, scores return the reason, and tables count it. Records derived
//! from it may be missing too. A record that is missing without a note was never tried, and makes
//! the report an error.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::record::{
    CHOICE_KEY, CellRecord, CostRecord, EvaluationRecord, PlanRecord, PromptRecord, Score,
    TrainChoiceRecord, TrainCostRecord, TrainStepRecord, TrainingRecord, rollout_key, step_key,
};
use preceptor_core::{Digest, ModelRole, PromptId};
use preceptor_store::Store;

use crate::Error;
use crate::facts::{AggregateFacts, GradeFacts, Groups, RewardFacts, RolloutFacts};
use crate::loading::load_stages;

/// Records of one type by stage and key.
pub(crate) type Records<T> = BTreeMap<Digest, BTreeMap<String, T>>;
/// Facts about rollouts by stage.
pub(crate) type RolloutRecords<T> = BTreeMap<Digest, Groups<T>>;

/// A set of graded rollouts, with the cells that read it.
pub(crate) struct RolloutSet<'a> {
    /// The cell with the largest group.
    pub(crate) cell: &'a CellRecord,
    /// The cells that read the set.
    pub(crate) readers: Vec<&'a CellRecord>,
}

/// Records of a plan, as far as tables need them. Stages that several cells share are read once.
#[derive(Default)]
pub(crate) struct LoadedStages {
    pub(crate) prompts: Records<PromptRecord>,
    pub(crate) rollouts: RolloutRecords<RolloutFacts>,
    pub(crate) rollout_grades: RolloutRecords<GradeFacts>,
    pub(crate) grades: Records<GradeFacts>,
    /// Numbers of the answer classes of a group's rollouts.
    pub(crate) classes: Records<Vec<Option<u32>>>,
    pub(crate) aggregates: Records<AggregateFacts>,
    pub(crate) rewards: Records<RewardFacts>,
    pub(crate) steps: Records<TrainStepRecord>,
    pub(crate) step_costs: Records<TrainCostRecord>,
    pub(crate) choices: Records<TrainChoiceRecord>,
    /// Bytes of the records of each stage.
    pub(crate) num_bytes: BTreeMap<Digest, u64>,
}

/// A plan with its records.
pub(crate) struct Evidence {
    pub(crate) plan: PlanRecord,
    stages: LoadedStages,
    /// Stages of grades that rest on verdicts.
    judged: BTreeSet<Digest>,
    failures: Records<String>,
    costs: BTreeMap<Digest, CostRecord>,
}

fn incomplete(cell: &CellRecord, what: String) -> Error {
    let axes = cell.axes.iter().map(|(key, value)| format!("{key}={value}"));
    let cell = axes.chain([format!("seed={}", cell.seed)]).collect::<Vec<_>>().join(" ");
    Error::Incomplete { cell, what }
}

impl Evidence {
    /// Reads the records of a plan, all of which must be present or noted as failed.
    pub(crate) fn load(store: &Store, plan: &Digest) -> Result<Self, Error> {
        let evidence = Self::load_some(store, plan)?;
        evidence.check()?;
        Ok(evidence)
    }

    /// Reads the records of a plan that there are.
    pub(crate) fn load_some(store: &Store, plan: &Digest) -> Result<Self, Error> {
        let plan: PlanRecord = store.plan(plan)?;
        let stages = load_stages(store, &plan)?;
        let of_rollouts = stages.rollout_grades.iter();
        let of_rollouts = of_rollouts.filter(|(_, of)| of.iter().any(|(.., of)| of.is_judged()));
        let of_estimates = stages.grades.iter();
        let of_estimates = of_estimates.filter(|(_, of)| of.values().any(GradeFacts::is_judged));
        let judged = of_rollouts.map(|(stage, _)| stage.clone());
        let judged = judged.chain(of_estimates.map(|(stage, _)| stage.clone())).collect();
        let (mut failures, mut costs) = (BTreeMap::new(), BTreeMap::new());
        for stage in plan.cells.iter().flat_map(every_stage) {
            if !failures.contains_key(stage) {
                let opened = store.stage_by_digest(stage);
                failures.insert(stage.clone(), opened.failures()?);
                costs.insert(stage.clone(), opened.cost()?);
            }
        }
        for stage in plan.spending.values() {
            let cost = store.stage_by_digest(stage).cost()?;
            costs.insert(stage.clone(), cost);
        }
        Ok(Self { plan, stages, judged, failures, costs })
    }

    /// Checks that the step chosen by early stopping is recorded and was evaluated on every split.
    fn check_choice(&self, cell: &CellRecord) -> Result<(), Error> {
        let Some(training) = cell.training.as_ref().filter(|of| of.choice.is_some()) else {
            return Ok(());
        };
        // A training run that waits for failed calls has no choice yet; the notes of its rollouts
        // say why.
        let waits = !self.failures[&cell.stages.rollouts].is_empty();
        let Some(step) = self.chosen_step(training) else {
            if waits {
                return Ok(());
            }
            return Err(incomplete(cell, "the step that early stopping chose".to_owned()));
        };
        for &EvaluationRecord { split, .. } in &training.evaluations {
            if !self.is_evaluated(cell, split, step) {
                let what = format!("the evaluation on `{split}` after the chosen step {step}");
                return Err(incomplete(cell, what));
            }
        }
        Ok(())
    }

    /// Checks that every record is present or its failure is noted.
    fn check(&self) -> Result<(), Error> {
        for cell in &self.plan.cells {
            self.check_choice(cell)?;
            cell.prompts.iter().try_for_each(|prompt| self.check_group(cell, prompt))?;
        }
        Ok(())
    }

    /// Checks that every record of a group is present or its failure is noted.
    pub(crate) fn check_group(&self, cell: &CellRecord, prompt: &PromptId) -> Result<(), Error> {
        let (stages, key) = (&cell.stages, prompt.as_str());
        // `excused` is true if a record that this one is made from is missing.
        let has = |stage: &Digest, key: &str, there: bool, excused: bool, what: &str| {
            if there || excused || self.failure(stage, key).is_some() {
                Ok(())
            } else {
                Err(incomplete(cell, format!("{what} of `{prompt}`")))
            }
        };
        let there = self.stages.prompts[&stages.prompts].contains_key(key);
        has(&stages.prompts, key, there, false, "the prompt")?;
        let mut is_whole = true;
        for index in 0..cell.group_size {
            let rollout = self.rollout(cell, prompt, index).is_some();
            let grade = self.rollout_grade(cell, prompt, index).is_some();
            is_whole &= rollout;
            if rollout && grade {
                continue;
            }
            let key = &rollout_key(prompt, index);
            has(&stages.rollouts, key, rollout, false, "a rollout")?;
            has(&stages.rollout_grades, key, grade, !rollout, "a rollout's grade")?;
        }
        let classes = self.classes(cell, key).is_some();
        has(&stages.answer_classes, key, classes, !is_whole, "the answer classes")?;
        let aggregate = self.aggregate(cell, key).is_some();
        has(&stages.aggregates, key, aggregate, !is_whole, "the aggregate")?;
        let grade = self.grade(cell, key).is_some();
        has(&stages.grades, key, grade, !aggregate, "the grade")?;
        if let Some(rewards) = &stages.rewards {
            let reward = self.reward(cell, key).is_some();
            has(rewards, key, reward, !aggregate || !is_whole, "the reward")?;
        }
        Ok(())
    }

    /// Returns every distinct set of graded rollouts.
    pub(crate) fn rollout_sets(&self) -> Vec<RolloutSet<'_>> {
        let mut sets: Vec<RolloutSet<'_>> = Vec::new();
        for cell in self.plan.cells.iter().filter(|cell| !cell.prompts.is_empty()) {
            let known = sets.iter_mut().find(|known| {
                known.cell.stages.rollouts == cell.stages.rollouts
                    && known.cell.stages.rollout_grades == cell.stages.rollout_grades
            });
            let size = |cell: &CellRecord| (cell.group_size, cell.prompts.len());
            match known {
                Some(known) => {
                    known.readers.push(cell);
                    if size(cell) > size(known.cell) {
                        known.cell = cell;
                    }
                }
                None => sets.push(RolloutSet { cell, readers: vec![cell] }),
            }
        }
        sets
    }

    /// Returns one cell for each distinct set of graded rollouts: the one with the largest group.
    pub(crate) fn rollout_cells(&self) -> Vec<&CellRecord> {
        self.rollout_sets().into_iter().map(|set| set.cell).collect()
    }

    pub(crate) fn prompt(&self, cell: &CellRecord, key: &str) -> &PromptRecord {
        &self.stages.prompts[&cell.stages.prompts][key]
    }

    pub(crate) fn rollout(
        &self,
        cell: &CellRecord,
        prompt: &PromptId,
        index: u32,
    ) -> Option<&RolloutFacts> {
        self.stages.rollouts[&cell.stages.rollouts].get(prompt.as_str(), index)
    }

    pub(crate) fn rollout_grade(
        &self,
        cell: &CellRecord,
        prompt: &PromptId,
        index: u32,
    ) -> Option<&GradeFacts> {
        self.stages.rollout_grades[&cell.stages.rollout_grades].get(prompt.as_str(), index)
    }

    pub(crate) fn classes(&self, cell: &CellRecord, key: &str) -> Option<&[Option<u32>]> {
        self.stages.classes[&cell.stages.answer_classes].get(key).map(Vec::as_slice)
    }

    pub(crate) fn aggregate(&self, cell: &CellRecord, key: &str) -> Option<&AggregateFacts> {
        self.stages.aggregates[&cell.stages.aggregates].get(key)
    }

    pub(crate) fn grade(&self, cell: &CellRecord, key: &str) -> Option<&GradeFacts> {
        self.stages.grades[&cell.stages.grades].get(key)
    }

    /// Returns the rewards of a group; none where the cell derives none or the call failed.
    pub(crate) fn reward(&self, cell: &CellRecord, key: &str) -> Option<&RewardFacts> {
        self.stages.rewards[cell.stages.rewards.as_ref()?].get(key)
    }

    /// Returns the grades of the rollouts of a stage.
    pub(crate) fn grades_of(&self, stage: &Digest) -> &Groups<GradeFacts> {
        &self.stages.rollout_grades[stage]
    }

    /// Returns the bytes of a stage's records.
    pub(crate) fn num_bytes(&self, stage: &Digest) -> u64 {
        self.stages.num_bytes.get(stage).copied().unwrap_or(0)
    }

    /// Returns the step that early stopping chose, if it was used.
    pub(crate) fn chosen_step(&self, training: &TrainingRecord) -> Option<u64> {
        let choices = &self.stages.choices[training.choice.as_ref()?];
        choices.get(CHOICE_KEY).map(|choice| choice.step)
    }

    /// Returns a step of a training run, if it was done.
    pub(crate) fn step(&self, training: &TrainingRecord, step: u64) -> Option<&TrainStepRecord> {
        self.stages.steps[&training.steps].get(&step_key(step))
    }

    /// Returns the costs of a training run's steps.
    pub(crate) fn step_costs(
        &self,
        training: &TrainingRecord,
    ) -> impl Iterator<Item = &TrainCostRecord> {
        self.stages.step_costs[&training.costs].values()
    }

    /// Returns the noted reason why a record is missing.
    pub(crate) fn failure(&self, stage: &Digest, key: &str) -> Option<&str> {
        self.failures[stage].get(key).map(String::as_str)
    }

    /// Returns the recorded cost of sampling a set of rollouts. For a set that holds more than the
    /// plan reads, it is the share of the rollouts that are read: by their prompt tokens and
    /// generated tokens, or by their number where the model reports no tokens.
    pub(crate) fn rollout_cost(&self, stage: &Digest) -> CostRecord {
        let readers = self.plan.cells.iter().filter(|cell| cell.stages.rollouts == *stage);
        self.cost_of(stage, &readers.collect::<Vec<_>>())
    }

    /// Returns the recorded cost of sampling the rollouts of one cell.
    pub(crate) fn cell_cost(&self, cell: &CellRecord) -> CostRecord {
        self.cost_of(&cell.stages.rollouts, &[cell])
    }

    /// Returns the cost of a stage's records as its runs noted it.
    pub(crate) fn stage_cost(&self, stage: &Digest) -> &CostRecord {
        &self.costs[stage]
    }

    /// Returns the cost of the rollouts of a stage that `readers` read.
    fn cost_of(&self, stage: &Digest, readers: &[&CellRecord]) -> CostRecord {
        let mut sizes: BTreeMap<&str, u32> = BTreeMap::new();
        for (prompt, size) in readers
            .iter()
            .flat_map(|cell| cell.prompts.iter().map(|prompt| (prompt.as_str(), cell.group_size)))
        {
            let known = sizes.entry(prompt).or_default();
            *known = size.max(*known);
        }
        let cost = &self.costs[stage];
        let all = &self.stages.rollouts[stage];
        let is_read =
            |prompt: &str, index: u32| sizes.get(prompt).is_some_and(|size| index < *size);
        let read = all.iter().filter(|(prompt, index, _)| is_read(prompt, *index));
        let read: Vec<&RolloutFacts> = read.map(|(.., facts)| facts).collect();
        let num_all = all.iter().count();
        if read.len() == num_all {
            return cost.clone();
        }
        let whole = |tokens: fn(&RolloutFacts) -> u64| all.iter().map(|(.., of)| tokens(of)).sum();
        let share = |tokens: fn(&RolloutFacts) -> u64| match whole(tokens) {
            0_u64 => read.len() as f64 / num_all as f64,
            whole => read.iter().copied().map(tokens).sum::<u64>() as f64 / whole as f64,
        };
        let of_prompts = share(|facts| facts.num_prompt_tokens);
        let of_samples = share(|facts| facts.num_tokens);
        let part = |whole: u64, share: f64| (whole as f64 * share).round() as u64;
        CostRecord {
            num_records: read.len() as u64,
            num_prompt_tokens: part(cost.num_prompt_tokens, of_prompts),
            num_generated_tokens: part(cost.num_generated_tokens, of_samples),
            wall_secs: cost.wall_secs * of_samples,
            cost_usd: cost.cost_usd * of_samples,
        }
    }

    /// Returns the seconds of all training steps, counting each training run once.
    pub(crate) fn training_seconds(&self) -> f64 {
        let costs = self.stages.step_costs.values().flat_map(BTreeMap::values);
        costs.flat_map(|cost| cost.seconds.values()).sum()
    }

    /// Returns the costs of runs of this experiment, by role.
    pub(crate) fn spending(&self) -> impl Iterator<Item = (ModelRole, &CostRecord)> {
        self.plan.spending.iter().map(|(role, stage)| (*role, &self.costs[stage]))
    }

    /// Returns the score of a prompt's pseudo-reference.
    pub(crate) fn score(&self, cell: &CellRecord, prompt: &PromptId) -> Score {
        let key = prompt.as_str();
        if let Some(grade) = self.grade(cell, key) {
            return grade.score.clone();
        }
        let stages = &cell.stages;
        let noted = [&stages.grades, &stages.aggregates].map(|stage| self.failure(stage, key));
        let reason = noted.into_iter().flatten().next().unwrap_or("the group is incomplete");
        Score::Unscored(reason.to_owned())
    }

    /// Returns the score of a rollout, if there is one.
    pub(crate) fn rollout_score(
        &self,
        cell: &CellRecord,
        prompt: &PromptId,
        i: u32,
    ) -> Option<f64> {
        self.rollout_grade(cell, prompt, i)?.score.value()
    }

    /// Returns whether the cell's benchmark is scored by rubrics with points.
    pub(crate) fn has_rubric(&self, cell: &CellRecord) -> bool {
        let stages = [&cell.stages.rollout_grades, &cell.stages.grades];
        stages.iter().any(|stage| self.judged.contains(*stage))
    }
}

fn every_stage(cell: &CellRecord) -> impl Iterator<Item = &Digest> {
    let stages = &cell.stages;
    [
        &stages.prompts,
        &stages.rollouts,
        &stages.rollout_grades,
        &stages.answer_classes,
        &stages.aggregates,
        &stages.grades,
    ]
    .into_iter()
    .chain(&stages.rewards)
}
