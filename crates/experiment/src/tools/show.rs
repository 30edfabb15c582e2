//! A record by its key, with its prompt, the records it was made from and those made from it.
//!
//! Stages are linked by the plans of the store: a cell names the stages of its prompts, rollouts, grades,
//! aggregates, rewards and steps. Keys of these follow from each other.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::Digest;
use preceptor_core::record::{CellRecord, PlanRecord};
use preceptor_store::{Stage, Store};
use serde_json::Value;

use crate::Error;

/// Keys that a message lists.
const NUM_NEAR: usize = 5;
/// Stages that a message lists.
const NUM_STAGES: usize = 20;

/// A record with everything around it.
#[derive(Clone, Debug)]
pub struct ShownRecord {
    /// The stage.
    pub stage: Digest,
    /// The stage's kind.
    pub kind: String,
    /// The key.
    pub key: String,
    /// The record.
    pub value: Value,
    /// The stage's specification: everything that the record depends on.
    pub spec: Value,
    /// Conditions that read it: experiment, axes and seed.
    pub readers: Vec<String>,
    /// Records around it.
    pub related: Vec<RelatedRecord>,
}

/// Link between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The prompt that it is about.
    Prompt,
    /// A record that it was made from.
    MadeFrom,
    /// A record that was made from it.
    MadeInto,
}

impl Relation {
    /// Returns the relation in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::MadeFrom => "made from",
            Self::MadeInto => "made into",
        }
    }
}

/// A record beside another.
#[derive(Clone, Debug)]
pub struct RelatedRecord {
    /// The link.
    pub relation: Relation,
    /// The stage.
    pub stage: Digest,
    /// The stage's kind.
    pub kind: String,
    /// The key.
    pub key: String,
    /// The record.
    pub value: Value,
}

/// Returns the record of `key`. `within` is a kind of stage, or the start of a stage's digest.
///
/// # Errors
///
/// [`Error::Show`] if no record or more than one has the key, with keys or stages to choose from;
/// [`Error::Store`] if the store can't be read.
pub fn show(store: &Store, key: &str, within: Option<&str>) -> Result<ShownRecord, Error> {
    let keys = spellings(key);
    let stages = candidates(store, key, within)?;
    let mut found: Vec<(Stage, String, String, Value)> = Vec::new();
    let mut near: Vec<(f64, String, String)> = Vec::new();
    let mut rest: Vec<_> = stages;
    while !rest.is_empty() && found.is_empty() {
        let kinds = likely_kinds(key);
        let (likely, other): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(_, kind)| kinds.contains(&kind.as_str()));
        let (now, later) = if likely.is_empty() { (other, Vec::new()) } else { (likely, other) };
        for (stage, kind) in now {
            let mut record = None;
            stage.scan(&mut |known, value| {
                if keys.iter().any(|key| key == known) {
                    record = Some((known.to_owned(), value.to_owned()));
                } else {
                    let likeness = strsim::jaro_winkler(known, key);
                    let is_near =
                        near.len() < NUM_NEAR || near.iter().any(|(of, ..)| *of < likeness);
                    if is_near && near.iter().all(|(_, of, _)| of != known) {
                        near.push((likeness, known.to_owned(), kind.clone()));
                        near.sort_by(|a, b| b.0.total_cmp(&a.0));
                        near.truncate(NUM_NEAR);
                    }
                }
            })?;
            if let Some((key, value)) = record {
                let value = serde_json::from_str(&value).unwrap_or_default();
                found.push((stage, kind, key, value));
            }
        }
        rest = if found.is_empty() { later } else { Vec::new() };
    }
    let plans = plans(store)?;
    if found.len() > 1 {
        return Err(ambiguous(key, &found, &plans));
    }
    let Some((stage, kind, key, value)) = found.pop() else {
        return Err(unknown(key, within, &near));
    };
    let cells: Vec<(&str, &CellRecord)> = plans
        .iter()
        .flat_map(|plan| plan.cells.iter().map(|cell| (plan.experiment.as_str(), cell)))
        .filter(|(_, cell)| reads(cell, stage.digest()))
        .collect();
    let related = related(store, &kind, &key, stage.digest(), &cells)?;
    let spec = stage.spec_json().ok().and_then(|json| serde_json::from_str(&json).ok());
    let readers: BTreeSet<String> =
        cells.iter().map(|(experiment, cell)| reader(experiment, cell)).collect();
    Ok(ShownRecord {
        stage: stage.digest().clone(),
        kind,
        key,
        value,
        spec: spec.unwrap_or_default(),
        readers: readers.into_iter().collect(),
        related,
    })
}

/// Returns the key as it was written, and with its step as stages write it: `40/p` is `000040/p`.
fn spellings(key: &str) -> Vec<String> {
    let mut keys = vec![key.to_owned()];
    let (step, rest) = key.split_at(key.find('/').unwrap_or(key.len()));
    if !step.is_empty() && step.len() < 6 && step.bytes().all(|byte| byte.is_ascii_digit()) {
        keys.push(format!("{step:0>6}{rest}"));
    }
    keys
}

/// Returns the kinds of stages whose keys look like this one. Other stages are read only if these have
/// no such record.
fn likely_kinds(key: &str) -> &'static [&'static str] {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_rollout = key.rsplit_once('#').is_some_and(|(_, index)| is_number(index));
    let step = key.split_once('/').map(|(step, _)| step);
    if is_rollout {
        &["rollouts", "rollout-grades"]
    } else if step.is_some_and(|step| is_number(step) && step.len() <= 6) {
        &["train-groups"]
    } else if is_number(key) && key.len() <= 6 {
        &["train-steps", "train-costs", "validation-losses"]
    } else if key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        &["calls", "scores"]
    } else {
        &["prompts", "answer-classes", "aggregates", "grades", "rewards"]
    }
}

/// Returns the stages that may hold the key, with their kinds.
fn candidates(
    store: &Store,
    key: &str,
    within: Option<&str>,
) -> Result<Vec<(Stage, String)>, Error> {
    let all = store.stages()?.into_iter().filter_map(|stage| {
        let kind = stage.kind()?;
        Some((stage, kind))
    });
    let all: Vec<_> = all.collect();
    let Some(within) = within else { return Ok(all) };
    let kinds: BTreeSet<String> = all.iter().map(|(_, kind)| kind.clone()).collect();
    let is_kind = kinds.contains(within);
    let is_meant = |(stage, kind): &(Stage, String)| {
        if is_kind { kind == within } else { stage.digest().as_str().starts_with(within) }
    };
    let meant: Vec<_> = all.into_iter().filter(is_meant).collect();
    if meant.is_empty() {
        let kinds = kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>();
        return Err(Error::Show {
            key: key.to_owned(),
            detail: format!("there is no stage `{within}`"),
            hint: if kinds.is_empty() {
                "the store is empty; name another with `--store DIR`".to_owned()
            } else {
                format!("name a kind ({}) or the start of a digest", kinds.join(", "))
            },
        });
    }
    Ok(meant)
}

fn plans(store: &Store) -> Result<Vec<PlanRecord>, Error> {
    // A plan of another version of this program links nothing.
    Ok(store.plans()?.iter().filter_map(|digest| store.plan(digest).ok()).collect())
}

fn reader(experiment: &str, cell: &CellRecord) -> String {
    let axes = cell.axes.iter().map(|(key, value)| format!("{key}={value}"));
    let axes = axes.chain([format!("seed={}", cell.seed)]).collect::<Vec<_>>();
    format!("{experiment}: {}", axes.join(" "))
}

fn ambiguous(key: &str, found: &[(Stage, String, String, Value)], plans: &[PlanRecord]) -> Error {
    let line = |(stage, kind, ..): &(Stage, String, String, Value)| {
        let cells = plans.iter().flat_map(|plan| plan.cells.iter().map(move |cell| (plan, cell)));
        let mut readers = cells
            .filter(|(_, cell)| reads(cell, stage.digest()))
            .map(|(plan, cell)| reader(&plan.experiment, cell));
        let first = readers.next().unwrap_or_else(|| "no plan reads it".to_owned());
        let more = if readers.next().is_some() { ", and others" } else { "" };
        format!("\n  {} {kind} ({first}{more})", stage.digest().short())
    };
    let mut hint = "name one of these stages with `--stage`:".to_owned();
    hint.extend(found.iter().take(NUM_STAGES).map(line));
    if found.len() > NUM_STAGES {
        hint.push_str(&format!("\n  and {} more", found.len() - NUM_STAGES));
    }
    let detail = format!("{} stages have a record with this key", found.len());
    Error::Show { key: key.to_owned(), detail, hint }
}

fn unknown(key: &str, within: Option<&str>, near: &[(f64, String, String)]) -> Error {
    let place = within.map(|within| format!(" in `{within}`")).unwrap_or_default();
    let near = near.iter().map(|(_, key, kind)| format!("\n  {key} ({kind})"));
    let near: String = near.collect();
    let hint = if near.is_empty() {
        "the store has no records; name another with `--store DIR`".to_owned()
    } else {
        format!("keys that look like it:{near}")
    };
    Error::Show { key: key.to_owned(), detail: format!("no record has this key{place}"), hint }
}

/// Stages by their kinds.
type Stages<'c> = Vec<(&'static str, &'c Digest)>;

/// Returns the stages of a cell that belong together: those of its groups and training steps, then those of
/// each evaluation during training.
fn stages_of(cell: &CellRecord) -> Vec<Stages<'_>> {
    let stages = &cell.stages;
    let mut own = vec![
        ("prompts", &stages.prompts),
        ("rollouts", &stages.rollouts),
        ("rollout-grades", &stages.rollout_grades),
        ("answer-classes", &stages.answer_classes),
        ("aggregates", &stages.aggregates),
        ("grades", &stages.grades),
    ];
    own.extend(stages.rewards.iter().map(|stage| ("rewards", stage)));
    let mut all = Vec::new();
    if let Some(training) = &cell.training {
        own.push(("train-groups", &training.groups));
        own.push(("train-steps", &training.steps));
        own.push(("train-costs", &training.costs));
        all.extend(training.evaluations.iter().map(|evaluation| {
            vec![
                ("prompts", &stages.prompts),
                ("rollouts", &evaluation.rollouts),
                ("rollout-grades", &evaluation.rollout_grades),
            ]
        }));
    }
    all.insert(0, own);
    all
}

/// Returns whether a cell reads a stage.
fn reads(cell: &CellRecord, stage: &Digest) -> bool {
    stages_of(cell).iter().flatten().any(|(_, of)| *of == stage)
}

/// Keys of a stage that are linked to a record.
#[derive(Clone)]
enum Keys {
    One(String),
    /// Those of the rollouts of a prompt, up to the group size.
    Rollouts(String, u32),
    /// Those of all steps with a prompt.
    StepsOf(String),
    /// Those of all prompts of a step.
    GroupsOf(String),
}

impl Keys {
    fn has(&self, key: &str) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Rollouts(prompt, size) => key.rsplit_once('#').is_some_and(|(of, index)| {
                of == prompt && index.parse::<u32>().is_ok_and(|index| index < *size)
            }),
            Self::StepsOf(prompt) => key.split_once('/').is_some_and(|(_, of)| of == prompt),
            Self::GroupsOf(step) => key.split_once('/').is_some_and(|(of, _)| of == step),
        }
    }
}

/// Returns the kinds and keys around a record of a cell.
fn links(kind: &str, key: &str, cell: &CellRecord) -> Vec<(Relation, &'static str, Keys)> {
    use Relation::{MadeFrom, MadeInto, Prompt};
    let prompt = match kind {
        "rollouts" | "rollout-grades" => key.rsplit_once('#').map_or(key, |(prompt, _)| prompt),
        "train-groups" => key.split_once('/').map_or(key, |(_, prompt)| prompt),
        _ => key,
    };
    let one = |key: &str| Keys::One(key.to_owned());
    let group = || Keys::Rollouts(prompt.to_owned(), cell.group_size);
    let about = (Prompt, "prompts", one(prompt));
    match kind {
        "prompts" => vec![
            (MadeInto, "rollouts", group()),
            (MadeInto, "train-groups", Keys::StepsOf(prompt.to_owned())),
        ],
        "rollouts" => vec![
            about,
            (MadeInto, "rollout-grades", one(key)),
            (MadeInto, "answer-classes", one(prompt)),
            (MadeInto, "aggregates", one(prompt)),
            (MadeInto, "rewards", one(prompt)),
        ],
        "rollout-grades" => vec![about, (MadeFrom, "rollouts", one(key))],
        "answer-classes" => vec![about, (MadeFrom, "rollouts", group())],
        "aggregates" => vec![
            about,
            (MadeFrom, "rollouts", group()),
            (MadeInto, "grades", one(prompt)),
            (MadeInto, "rewards", one(prompt)),
        ],
        "grades" => vec![about, (MadeFrom, "aggregates", one(prompt))],
        "rewards" => {
            vec![about, (MadeFrom, "rollouts", group()), (MadeFrom, "aggregates", one(prompt))]
        }
        "train-groups" => {
            let step = key.split_once('/').map_or(key, |(step, _)| step);
            vec![about, (MadeInto, "train-steps", one(step))]
        }
        "train-steps" | "train-costs" => {
            vec![(MadeFrom, "train-groups", Keys::GroupsOf(key.to_owned()))]
        }
        _ => Vec::new(),
    }
}

fn related(
    store: &Store,
    kind: &str,
    key: &str,
    stage: &Digest,
    cells: &[(&str, &CellRecord)],
) -> Result<Vec<RelatedRecord>, Error> {
    let mut wanted: BTreeMap<(&Digest, &str), Vec<(Relation, Keys)>> = BTreeMap::new();
    let together = cells.iter().flat_map(|(_, cell)| {
        let stages = stages_of(cell).into_iter().map(move |stages| (*cell, stages));
        stages.filter(|(_, stages)| stages.iter().any(|(_, of)| *of == stage))
    });
    for (cell, stages) in together {
        for (relation, of_kind, keys) in links(kind, key, cell) {
            let linked = stages.iter().filter(|(kind, of)| *kind == of_kind && *of != stage);
            for (kind, of) in linked {
                wanted.entry((of, kind)).or_default().push((relation, keys.clone()));
            }
        }
    }
    let mut related = Vec::new();
    for ((of, kind), links) in wanted {
        store.stage_by_digest(of).scan(&mut |key, value| {
            let link = links.iter().find(|(_, keys)| keys.has(key));
            related.extend(link.map(|(relation, _)| RelatedRecord {
                relation: *relation,
                stage: of.clone(),
                kind: kind.to_owned(),
                key: key.to_owned(),
                value: serde_json::from_str(value).unwrap_or_default(),
            }));
        })?;
    }
    let rank = |record: &RelatedRecord| (record.relation, record.kind.clone(), record.key.clone());
    related.sort_by_key(|record| (rank(record), record.stage.clone()));
    Ok(related)
}
