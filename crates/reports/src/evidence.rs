//! Records of a plan.
//!
//! A record may be missing because a call failed; its stage then notes the key with the reason.
//! Accessors return none for it, scores return the reason, and tables count it. Records derived
//! from it may be missing too. A record that is missing without a note was never tried, and makes
//! the report an error.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, CHOICE_KEY, CellRecord, CostRecord, EvaluationRecord,
    GradeRecord, PlanRecord, PromptRecord, RewardRecord, RolloutRecord, Score, TrainChoiceRecord,
    TrainCostRecord, TrainStepRecord, TrainingRecord, rollout_key, step_key,
};
use preceptor_core::{Digest, ModelRole, PromptId};
use preceptor_store::Store;

use crate::Error;

/// Records of one type by stage and key.
type Records<T> = BTreeMap<Digest, BTreeMap<String, T>>;

/// A set of graded rollouts, with the cells that read it.
pub(crate) struct RolloutSet<'a> {
    /// The cell with the largest group.
    pub(crate) cell: &'a CellRecord,
    /// The cells that read the set.
    pub(crate) readers: Vec<&'a CellRecord>,
}

/// A plan with its records. Stages that several cells share are read once.
pub(crate) struct Evidence {
    pub(crate) plan: PlanRecord,
    prompts: Records<PromptRecord>,
    rollouts: Records<RolloutRecord>,
    grades: Records<GradeRecord>,
    classes: Records<AnswerClassRecord>,
    aggregates: Records<AggregateRecord>,
    rewards: Records<RewardRecord>,
    steps: Records<TrainStepRecord>,
    step_costs: Records<TrainCostRecord>,
    choices: Records<TrainChoiceRecord>,
    failures: Records<String>,
    costs: BTreeMap<Digest, CostRecord>,
}

fn incomplete(cell: &CellRecord, what: String) -> Error {
    let axes = cell.axes.iter().map(|(key, value)| format!("{key}={value}"));
    let cell = axes.chain([format!("seed={}", cell.seed)]).collect::<Vec<_>>().join(" ");
    Error::Incomplete { cell, what }
}

impl Evidence {
    pub(crate) fn load(store: &Store, plan: &Digest) -> Result<Self, Error> {
        let plan: PlanRecord = store.plan(plan)?;
        let mut evidence = Self {
            prompts: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            grades: BTreeMap::new(),
            classes: BTreeMap::new(),
            aggregates: BTreeMap::new(),
            rewards: BTreeMap::new(),
            steps: BTreeMap::new(),
            step_costs: BTreeMap::new(),
            choices: BTreeMap::new(),
            failures: BTreeMap::new(),
            costs: BTreeMap::new(),
            plan,
        };
        for cell in &evidence.plan.cells {
            let stages = &cell.stages;
            load(store, &stages.prompts, &mut evidence.prompts)?;
            load(store, &stages.rollouts, &mut evidence.rollouts)?;
            load(store, &stages.rollout_grades, &mut evidence.grades)?;
            load(store, &stages.answer_classes, &mut evidence.classes)?;
            load(store, &stages.aggregates, &mut evidence.aggregates)?;
            load(store, &stages.grades, &mut evidence.grades)?;
            if let Some(rewards) = &stages.rewards {
                load(store, rewards, &mut evidence.rewards)?;
            }
            if let Some(training) = &cell.training {
                load(store, &training.steps, &mut evidence.steps)?;
                load(store, &training.costs, &mut evidence.step_costs)?;
                if let Some(choice) = &training.choice {
                    load(store, choice, &mut evidence.choices)?;
                }
                for evaluation in &training.evaluations {
                    load(store, &evaluation.rollout_grades, &mut evidence.grades)?;
                }
            }
            for stage in every_stage(cell) {
                if !evidence.failures.contains_key(stage) {
                    let opened = store.stage_by_digest(stage);
                    evidence.failures.insert(stage.clone(), opened.failures()?);
                    evidence.costs.insert(stage.clone(), opened.cost()?);
                }
            }
        }
        for stage in evidence.plan.spending.values() {
            let cost = store.stage_by_digest(stage).cost()?;
            evidence.costs.insert(stage.clone(), cost);
        }
        evidence.check()?;
        Ok(evidence)
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
            let stages = &cell.stages;
            for prompt in &cell.prompts {
                let key = prompt.as_str();
                // `excused` is true if a record that this one is made from is missing.
                let has = |stage: &Digest, key: &str, there: bool, excused: bool, what: &str| {
                    if there || excused || self.failure(stage, key).is_some() {
                        Ok(())
                    } else {
                        Err(incomplete(cell, format!("{what} of `{prompt}`")))
                    }
                };
                let there = self.prompts[&stages.prompts].contains_key(key);
                has(&stages.prompts, key, there, false, "the prompt")?;
                let mut is_whole = true;
                for index in 0..cell.group_size {
                    let key = &rollout_key(prompt, index);
                    let rollout = self.rollout(cell, key).is_some();
                    is_whole &= rollout;
                    has(&stages.rollouts, key, rollout, false, "a rollout")?;
                    let grade = self.rollout_grade(cell, key).is_some();
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
            }
        }
        Ok(())
    }

    /// Returns every distinct set of graded rollouts.
    pub(crate) fn rollout_sets(&self) -> Vec<RolloutSet<'_>> {
        let mut sets: Vec<RolloutSet<'_>> = Vec::new();
        for cell in &self.plan.cells {
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
        &self.prompts[&cell.stages.prompts][key]
    }

    pub(crate) fn rollout(&self, cell: &CellRecord, key: &str) -> Option<&RolloutRecord> {
        self.rollouts[&cell.stages.rollouts].get(key)
    }

    pub(crate) fn rollout_grade(&self, cell: &CellRecord, key: &str) -> Option<&GradeRecord> {
        self.grades[&cell.stages.rollout_grades].get(key)
    }

    pub(crate) fn classes(&self, cell: &CellRecord, key: &str) -> Option<&AnswerClassRecord> {
        self.classes[&cell.stages.answer_classes].get(key)
    }

    pub(crate) fn aggregate(&self, cell: &CellRecord, key: &str) -> Option<&AggregateRecord> {
        self.aggregates[&cell.stages.aggregates].get(key)
    }

    pub(crate) fn grade(&self, cell: &CellRecord, key: &str) -> Option<&GradeRecord> {
        self.grades[&cell.stages.grades].get(key)
    }

    /// Returns the rewards of a group; none where the cell derives none or the call failed.
    pub(crate) fn reward(&self, cell: &CellRecord, key: &str) -> Option<&RewardRecord> {
        self.rewards[cell.stages.rewards.as_ref()?].get(key)
    }

    /// Returns the grades of a stage, by key.
    pub(crate) fn grades_of(&self, stage: &Digest) -> &BTreeMap<String, GradeRecord> {
        &self.grades[stage]
    }

    /// Returns the step that early stopping chose, if it was used.
    pub(crate) fn chosen_step(&self, training: &TrainingRecord) -> Option<u64> {
        let choices = &self.choices[training.choice.as_ref()?];
        choices.get(CHOICE_KEY).map(|choice| choice.step)
    }

    /// Returns a step of a training run, if it was done.
    pub(crate) fn step(&self, training: &TrainingRecord, step: u64) -> Option<&TrainStepRecord> {
        self.steps[&training.steps].get(&step_key(step))
    }

    /// Returns the costs of a training run's steps.
    pub(crate) fn step_costs(
        &self,
        training: &TrainingRecord,
    ) -> impl Iterator<Item = &TrainCostRecord> {
        self.step_costs[&training.costs].values()
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
        self.cost_of(stage, &readers.flat_map(rollout_keys).collect())
    }

    /// Returns the recorded cost of sampling the rollouts of one cell.
    pub(crate) fn cell_cost(&self, cell: &CellRecord) -> CostRecord {
        self.cost_of(&cell.stages.rollouts, &rollout_keys(cell).collect())
    }

    /// Returns the cost of a stage's records as its runs noted it.
    pub(crate) fn stage_cost(&self, stage: &Digest) -> &CostRecord {
        &self.costs[stage]
    }

    fn cost_of(&self, stage: &Digest, keys: &BTreeSet<String>) -> CostRecord {
        let cost = &self.costs[stage];
        let all = &self.rollouts[stage];
        let read = all.iter().filter(|(key, _)| keys.contains(*key));
        let read: Vec<&RolloutRecord> = read.map(|(_, record)| record).collect();
        if read.len() == all.len() {
            return cost.clone();
        }
        let share = |tokens: fn(&RolloutRecord) -> u64| match all.values().map(tokens).sum::<u64>()
        {
            0 => read.len() as f64 / all.len() as f64,
            whole => read.iter().copied().map(tokens).sum::<u64>() as f64 / whole as f64,
        };
        let of_prompts = share(|record| u64::from(record.rollout.num_prompt_tokens));
        let of_samples = share(|record| record.rollout.num_tokens());
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
        let costs = self.step_costs.values().flat_map(BTreeMap::values);
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
        self.rollout_grade(cell, &rollout_key(prompt, i))?.score.value()
    }

    /// Returns whether the cell's benchmark is scored by rubrics with points.
    pub(crate) fn has_rubric(&self, cell: &CellRecord) -> bool {
        let stages = [&cell.stages.rollout_grades, &cell.stages.grades];
        stages.iter().any(|stage| self.grades[*stage].values().any(|g| !g.judged.is_empty()))
    }
}

/// Returns the keys of the rollouts that a cell reads.
fn rollout_keys(cell: &CellRecord) -> impl Iterator<Item = String> {
    let size = cell.group_size;
    let prompts = cell.prompts.iter();
    prompts.flat_map(move |prompt| (0..size).map(move |index| rollout_key(prompt, index)))
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

fn load<T: serde::de::DeserializeOwned>(
    store: &Store,
    stage: &Digest,
    into: &mut Records<T>,
) -> Result<(), Error> {
    if !into.contains_key(stage) {
        let records = store.stage_by_digest(stage).load::<T>()?.records;
        into.insert(stage.clone(), records);
    }
    Ok(())
}
