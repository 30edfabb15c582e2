//! Reading the stages of a plan, as many at once as there are cores.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::Digest;
use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, CellRecord, GradeRecord, PlanRecord, PromptRecord,
    RewardRecord, RolloutRecord, TrainChoiceRecord, TrainCostRecord, TrainStepRecord,
};
use preceptor_store::{Stage, Store};
use rayon::prelude::*;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::evidence::LoadedStages;
use crate::facts::{AggregateFacts, GradeFacts, Groups, RewardFacts, RolloutFacts, Shared};

/// Kind of a stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rollouts,
    RolloutGrades,
    Grades,
    Rewards,
    Prompts,
    AnswerClasses,
    Aggregates,
    Steps,
    StepCosts,
    Choices,
}

/// Records of one stage.
enum Records {
    Rollouts(Groups<RolloutFacts>),
    RolloutGrades(Groups<GradeFacts>),
    Grades(BTreeMap<String, GradeFacts>),
    Rewards(BTreeMap<String, RewardFacts>),
    Prompts(BTreeMap<String, PromptRecord>),
    AnswerClasses(BTreeMap<String, Vec<Option<u32>>>),
    Aggregates(BTreeMap<String, AggregateFacts>),
    Steps(BTreeMap<String, TrainStepRecord>),
    StepCosts(BTreeMap<String, TrainCostRecord>),
    Choices(BTreeMap<String, TrainChoiceRecord>),
}

/// Reads every stage of a plan.
pub(crate) fn load_stages(store: &Store, plan: &PlanRecord) -> Result<LoadedStages, Error> {
    let all: BTreeSet<(Kind, &Digest)> = plan.cells.iter().flat_map(stages).collect();
    let mut loaded = LoadedStages::default();
    // Aggregates come first: they tell whose texts are compared.
    let (first, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(kind, _)| *kind == Kind::Aggregates);
    for part in [first, rest] {
        let written_from = written_from(plan, &loaded);
        let read = part.into_par_iter().with_max_len(1).map(|(kind, digest)| {
            let stage = store.stage_by_digest(digest);
            Ok((digest, read_stage(&stage, kind, written_from.contains(digest))?))
        });
        for (digest, (num_bytes, records)) in read.collect::<Result<Vec<_>, Error>>()? {
            loaded.num_bytes.insert(digest.clone(), num_bytes);
            add(&mut loaded, digest.clone(), records);
        }
    }
    Ok(loaded)
}

/// Returns the stages of a cell that reports read.
fn stages(cell: &CellRecord) -> Vec<(Kind, &Digest)> {
    let of = &cell.stages;
    let mut stages = vec![
        (Kind::Prompts, &of.prompts),
        (Kind::Rollouts, &of.rollouts),
        (Kind::RolloutGrades, &of.rollout_grades),
        (Kind::AnswerClasses, &of.answer_classes),
        (Kind::Aggregates, &of.aggregates),
        (Kind::Grades, &of.grades),
    ];
    stages.extend(of.rewards.as_ref().map(|rewards| (Kind::Rewards, rewards)));
    if let Some(training) = &cell.training {
        stages.push((Kind::Steps, &training.steps));
        stages.push((Kind::StepCosts, &training.costs));
        stages.extend(training.choice.as_ref().map(|choice| (Kind::Choices, choice)));
        let evaluations = training.evaluations.iter();
        stages.extend(evaluations.map(|of| (Kind::RolloutGrades, &of.rollout_grades)));
    }
    stages
}

/// Returns the stages of rollouts from which pseudo-references were written.
fn written_from<'p>(plan: &'p PlanRecord, loaded: &LoadedStages) -> BTreeSet<&'p Digest> {
    let writes = |cell: &&CellRecord| {
        let aggregates = loaded.aggregates.get(&cell.stages.aggregates);
        aggregates.is_some_and(|of| of.values().any(|facts| facts.written().is_some()))
    };
    plan.cells.iter().filter(writes).map(|cell| &cell.stages.rollouts).collect()
}

/// Reads a stage and returns the number of bytes of its records.
fn read_stage(stage: &Stage, kind: Kind, has_forms: bool) -> Result<(u64, Records), Error> {
    let mut shared = Shared::default();
    Ok(match kind {
        Kind::Rollouts => {
            let mut groups = Groups::default();
            let num_bytes = stage.read_each(&mut |key, record: RolloutRecord| {
                groups.add(&key, RolloutFacts::new(&record, has_forms));
            })?;
            (num_bytes, Records::Rollouts(groups))
        }
        Kind::RolloutGrades => {
            let mut groups = Groups::default();
            let num_bytes = stage.read_each(&mut |key, record: GradeRecord| {
                groups.add(&key, GradeFacts::new(record, &mut shared));
            })?;
            (num_bytes, Records::RolloutGrades(groups))
        }
        Kind::Grades => {
            let facts = |record: GradeRecord| GradeFacts::new(record, &mut shared);
            wrapped(read(stage, facts)?, Records::Grades)
        }
        Kind::Rewards => {
            let facts = |record: RewardRecord| RewardFacts::new(record, &mut shared);
            wrapped(read(stage, facts)?, Records::Rewards)
        }
        Kind::Aggregates => {
            let facts = |record: AggregateRecord| AggregateFacts::new(record, &mut shared);
            wrapped(read(stage, facts)?, Records::Aggregates)
        }
        Kind::AnswerClasses => wrapped(
            read(stage, |record: AnswerClassRecord| record.classes)?,
            Records::AnswerClasses,
        ),
        Kind::Prompts => wrapped(read(stage, |record| record)?, Records::Prompts),
        Kind::Steps => wrapped(read(stage, |record| record)?, Records::Steps),
        Kind::StepCosts => wrapped(read(stage, |record| record)?, Records::StepCosts),
        Kind::Choices => wrapped(read(stage, |record| record)?, Records::Choices),
    })
}

/// Reads the facts of every record of a stage, and the number of their bytes.
fn read<T: DeserializeOwned, F>(
    stage: &Stage,
    mut facts: impl FnMut(T) -> F,
) -> Result<(u64, BTreeMap<String, F>), Error> {
    let mut records = BTreeMap::new();
    let num_bytes = stage.read_each(&mut |key, record| {
        records.entry(key).or_insert_with(|| facts(record));
    })?;
    Ok((num_bytes, records))
}

fn wrapped<F>(
    (num_bytes, records): (u64, BTreeMap<String, F>),
    wrap: fn(BTreeMap<String, F>) -> Records,
) -> (u64, Records) {
    (num_bytes, wrap(records))
}

fn add(loaded: &mut LoadedStages, stage: Digest, records: Records) {
    match records {
        Records::Rollouts(of) => drop(loaded.rollouts.insert(stage, of)),
        Records::RolloutGrades(of) => drop(loaded.rollout_grades.insert(stage, of)),
        Records::Grades(of) => drop(loaded.grades.insert(stage, of)),
        Records::Rewards(of) => drop(loaded.rewards.insert(stage, of)),
        Records::Prompts(of) => drop(loaded.prompts.insert(stage, of)),
        Records::AnswerClasses(of) => drop(loaded.classes.insert(stage, of)),
        Records::Aggregates(of) => drop(loaded.aggregates.insert(stage, of)),
        Records::Steps(of) => drop(loaded.steps.insert(stage, of)),
        Records::StepCosts(of) => drop(loaded.step_costs.insert(stage, of)),
        Records::Choices(of) => drop(loaded.choices.insert(stage, of)),
    }
}
