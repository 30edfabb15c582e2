//! The records behind a plan, gathered by condition.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, CellRecord, CostRecord, GradeRecord, PlanRecord,
    PromptRecord, RolloutRecord, rollout_key,
};
use preceptor_store::Store;

use crate::Error;

/// A point of the matrix: the cells that differ in their seed only.
pub(crate) struct Condition<'a> {
    /// Any of the cells; they agree on everything but seed and stages.
    pub(crate) cell: &'a CellRecord,
    /// The cells, in the order of the plan's seeds.
    pub(crate) cells: Vec<&'a CellRecord>,
}

/// A plan with its records. Stages that several cells share are read once.
pub(crate) struct Evidence {
    pub(crate) plan: PlanRecord,
    prompts: BTreeMap<Digest, BTreeMap<String, PromptRecord>>,
    rollouts: BTreeMap<Digest, BTreeMap<String, RolloutRecord>>,
    grades: BTreeMap<Digest, BTreeMap<String, GradeRecord>>,
    classes: BTreeMap<Digest, BTreeMap<String, AnswerClassRecord>>,
    aggregates: BTreeMap<Digest, BTreeMap<String, AggregateRecord>>,
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
            if !evidence.costs.contains_key(&stages.rollouts) {
                let cost = store.stage_by_digest(&stages.rollouts).cost()?;
                evidence.costs.insert(stages.rollouts.clone(), cost);
            }
        }
        evidence.check()?;
        Ok(evidence)
    }

    /// Every record that the tables and pages read is there.
    fn check(&self) -> Result<(), Error> {
        for cell in &self.plan.cells {
            for prompt in &cell.prompts {
                let key = prompt.as_str();
                let has = |there: bool, what: &str| {
                    if there { Ok(()) } else { Err(incomplete(cell, format!("{what} of `{key}`"))) }
                };
                let stages = &cell.stages;
                has(self.prompts[&stages.prompts].contains_key(key), "the prompt")?;
                has(self.aggregates[&stages.aggregates].contains_key(key), "the aggregate")?;
                has(self.grades[&stages.grades].contains_key(key), "the grade")?;
                has(self.classes[&stages.answer_classes].contains_key(key), "the answer classes")?;
                for index in 0..cell.group_size {
                    let key = rollout_key(prompt, index);
                    has(self.rollouts[&stages.rollouts].contains_key(&key), "a rollout")?;
                    has(
                        self.grades[&stages.rollout_grades].contains_key(&key),
                        "a rollout's grade",
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The conditions, in the plan's order.
    pub(crate) fn conditions(&self) -> Vec<Condition<'_>> {
        let mut conditions: Vec<Condition<'_>> = Vec::new();
        for cell in &self.plan.cells {
            let known = conditions.iter_mut().find(|condition| condition.cell.axes == cell.axes);
            match known {
                Some(condition) => condition.cells.push(cell),
                None => conditions.push(Condition { cell, cells: vec![cell] }),
            }
        }
        conditions
    }

    /// One cell for each distinct set of rollouts that has the largest group among its sharers.
    pub(crate) fn rollout_cells(&self) -> Vec<&CellRecord> {
        let mut largest: Vec<&CellRecord> = Vec::new();
        for cell in &self.plan.cells {
            let known = largest.iter_mut().find(|c| c.stages.rollouts == cell.stages.rollouts);
            match known {
                Some(known) if cell.group_size > known.group_size => *known = cell,
                Some(_) => {}
                None => largest.push(cell),
            }
        }
        largest
    }

    pub(crate) fn prompt(&self, cell: &CellRecord, key: &str) -> &PromptRecord {
        &self.prompts[&cell.stages.prompts][key]
    }

    pub(crate) fn rollout(&self, cell: &CellRecord, key: &str) -> &RolloutRecord {
        &self.rollouts[&cell.stages.rollouts][key]
    }

    pub(crate) fn rollout_grade(&self, cell: &CellRecord, key: &str) -> &GradeRecord {
        &self.grades[&cell.stages.rollout_grades][key]
    }

    pub(crate) fn classes(&self, cell: &CellRecord, key: &str) -> &AnswerClassRecord {
        &self.classes[&cell.stages.answer_classes][key]
    }

    pub(crate) fn aggregate(&self, cell: &CellRecord, key: &str) -> &AggregateRecord {
        &self.aggregates[&cell.stages.aggregates][key]
    }

    pub(crate) fn grade(&self, cell: &CellRecord, key: &str) -> &GradeRecord {
        &self.grades[&cell.stages.grades][key]
    }

    pub(crate) fn cost(&self, cell: &CellRecord) -> &CostRecord {
        &self.costs[&cell.stages.rollouts]
    }

    /// The scores of a condition: one cluster a prompt, one value a seed. Prompts without a score
    /// have an empty cluster.
    pub(crate) fn scores(&self, condition: &Condition<'_>) -> Vec<Vec<f64>> {
        let score = |prompt: &str| {
            let cells = condition.cells.iter();
            cells.filter_map(|cell| self.grade(cell, prompt).score.value()).collect()
        };
        condition.cell.prompts.iter().map(|prompt| score(prompt.as_str())).collect()
    }
}

fn load<T: serde::de::DeserializeOwned>(
    store: &Store,
    stage: &Digest,
    into: &mut BTreeMap<Digest, BTreeMap<String, T>>,
) -> Result<(), Error> {
    if !into.contains_key(stage) {
        let records = store.stage_by_digest(stage).load::<T>()?.records;
        into.insert(stage.clone(), records);
    }
    Ok(())
}
