//! Writing the explorers of a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::record::{CellRecord, TrainGroupRecord};
use preceptor_core::{Digest, PromptId};
use preceptor_store::Store;
use serde_json::Value;

use crate::Error;
use crate::evidence::Evidence;
use crate::explorer::evaluated::EvaluatedSet;
use crate::explorer::index::{Index, Prompts, SetIndex};
use crate::explorer::named::SetHead;
use crate::explorer::page;
use crate::explorer::slices::Slices;
use crate::explorer::trained::{TrainedSet, trained_sets};
use crate::explorer::view::GroupView;
use crate::file::{file_name, write_file};
use crate::visible::HIDDEN;

/// The explorer of one benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Explorer {
    pub(crate) benchmark: String,
    /// True if it may be published.
    pub(crate) shareable: bool,
    /// The page, as a link from the report.
    pub(crate) link: String,
    pub(crate) num_groups: usize,
}

/// Writes an explorer for each benchmark of a plan.
pub(crate) fn write_explorers(
    store: &Store,
    evidence: &Evidence,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<Vec<Explorer>, Error> {
    let mut benchmarks: Vec<(&str, bool)> = Vec::new();
    for cell in &evidence.plan.cells {
        match benchmarks.iter_mut().find(|(name, _)| *name == cell.benchmark) {
            Some((_, shareable)) => *shareable &= cell.shareable,
            None => benchmarks.push((&cell.benchmark, cell.shareable)),
        }
    }
    let mut explorers = Vec::new();
    for (benchmark, shareable) in benchmarks {
        let root = if shareable { "explorer" } else { "explorer-private" };
        let name = file_name(benchmark);
        page::write_viewer(&folder.join(root).join("viewer"), files)?;
        let folder = folder.join(root).join(&name);
        let num_groups = write_explorer(store, evidence, benchmark, &folder, files)?;
        explorers.push(Explorer {
            benchmark: benchmark.to_owned(),
            shareable,
            link: format!("{root}/{name}/index.html"),
            num_groups,
        });
    }
    Ok(explorers)
}

/// What is gathered while the slices of a benchmark are written.
struct Gathered<'f> {
    slices: Slices<'f>,
    prompts: Prompts,
    flag_names: Vec<String>,
    sets: Vec<SetIndex>,
    /// Number of groups in the slice that is being filled.
    num_in_slice: usize,
}

impl Gathered<'_> {
    fn start_set(&mut self, head: &SetHead) {
        self.sets.push(SetIndex::new(head.clone(), self.num_in_slice));
    }

    fn add(&mut self, prompt: usize, step: Option<u64>, group: &GroupView) -> Result<(), Error> {
        let flags = group.flags.iter().map(|flag| self.flag(flag)).collect();
        let slice = self.slices.add(group)?;
        self.num_in_slice = if self.slices.is_empty() { 0 } else { self.num_in_slice + 1 };
        let set = self.sets.last_mut().expect("a set was started");
        set.add(prompt, step, group, flags, slice);
        Ok(())
    }

    fn flag(&mut self, flag: &str) -> usize {
        let known = self.flag_names.iter().position(|known| known == flag);
        known.unwrap_or_else(|| {
            self.flag_names.push(flag.to_owned());
            self.flag_names.len() - 1
        })
    }
}

/// Writes the explorer of a benchmark and returns the number of its groups.
fn write_explorer(
    store: &Store,
    evidence: &Evidence,
    benchmark: &str,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<usize, Error> {
    let is_of = |cell: &CellRecord| cell.benchmark == benchmark;
    let estimated = evidence.distinct(|stages| Some(vec![&stages.aggregates, &stages.grades]));
    let rewarded = evidence.distinct(|stages| Some(vec![stages.rewards.as_ref()?]));
    let sets = evidence.rollout_sets();
    let evaluated: Vec<_> = sets
        .iter()
        .filter(|set| is_of(set.cell))
        .map(|set| EvaluatedSet::new(evidence, set, &estimated, &rewarded))
        .collect();
    let trained: Vec<_> =
        trained_sets(evidence).into_iter().filter(|set| is_of(set.cell)).collect();
    let mut gathered = Gathered {
        slices: Slices::new(folder.to_owned(), files),
        prompts: Prompts::default(),
        flag_names: Vec::new(),
        sets: Vec::new(),
        num_in_slice: 0,
    };
    let mut has_rubric = false;
    for set in &evaluated {
        has_rubric |= evidence.has_rubric(set.cell);
        gathered.start_set(&set.head);
        for id in &set.cell.prompts {
            let record = evidence.prompt(set.cell, id.as_str());
            let number = gathered.prompts.number(id, Some(record));
            gathered.prompts.set_label(number, set.label(id).unwrap_or_default());
            let group = set.group(id, &mut gathered.slices.texts);
            gathered.add(number, None, &group)?;
        }
    }
    for set in &trained {
        gathered.start_set(&set.head);
        write_training(store, evidence, set, &mut gathered)?;
    }
    gathered.slices.flush()?;
    let Gathered { mut slices, prompts, flag_names, sets, .. } = gathered;
    let (heads, prompt_files) = prompts.into_parts();
    for (i, json) in prompt_files.iter().enumerate() {
        slices
            .write(&format!("prompts-{i:04}.js"), &format!("explorer.prompts({i}, {json});\n"))?;
    }
    let heads_of_sets = evaluated.iter().map(|set| &set.head);
    let specs = specs(store, heads_of_sets.chain(trained.iter().map(|set| &set.head)));
    let num_groups = sets.iter().map(SetIndex::num_groups).sum();
    let plan = &evidence.plan;
    let index = Index {
        format: Index::FORMAT,
        experiment: plan.experiment.clone(),
        title: plan.title.clone(),
        benchmark: benchmark.to_owned(),
        code_revision: plan.code_revision.clone(),
        has_rubric,
        prompts_per_file: Index::PROMPTS_PER_FILE,
        hidden: HIDDEN
            .iter()
            .map(|range| (u32::from(*range.start()), u32::from(*range.end())))
            .collect(),
        flag_names,
        specs,
        prompts: heads,
        sets,
    };
    let json = serde_json::to_string(&index).expect("an index is plain data");
    slices.write("index.js", &format!("explorer.index({json});\n"))?;
    write_file(&folder.join("index.html"), &page::page(benchmark, &plan.title), files)?;
    remove_stale(folder, files)?;
    Ok(num_groups)
}

/// Removes the slices of an earlier report with more of them.
fn remove_stale(folder: &Path, files: &[PathBuf]) -> Result<(), Error> {
    let failed =
        |error: std::io::Error| Error::Read { path: folder.to_owned(), detail: error.to_string() };
    let known: BTreeSet<&PathBuf> = files.iter().collect();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.trim_start_matches("long-").trim_start_matches("prompts-");
        let number = number.trim_end_matches("-tokens");
        let is_ours = path.extension().is_some_and(|ending| ending == "js")
            && number.len() >= 4
            && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_ours && !known.contains(&path) {
            // Another writer of this report may have been faster.
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// Adds the groups of all steps of a training run.
fn write_training(
    store: &Store,
    evidence: &Evidence,
    set: &TrainedSet<'_>,
    gathered: &mut Gathered<'_>,
) -> Result<(), Error> {
    let records = store.stage_by_digest(&set.training.groups).load::<TrainGroupRecord>()?.records;
    let known: BTreeSet<&PromptId> = set.cell.prompts.iter().collect();
    for record in records.values() {
        let id = &record.prompt;
        let of_prompt = known.contains(id).then(|| evidence.prompt(set.cell, id.as_str()));
        let number = gathered.prompts.number(id, of_prompt);
        let group = set.group(record, &mut gathered.slices.texts);
        gathered.add(number, Some(record.step), &group)?;
    }
    Ok(())
}

/// Returns the specifications of the stages behind sets. A store that was made by hand may lack some.
fn specs<'h>(store: &Store, heads: impl Iterator<Item = &'h SetHead>) -> BTreeMap<Digest, Value> {
    let mut specs = BTreeMap::new();
    for head in heads {
        let parts = head.estimates.iter().chain(&head.rewards);
        let stages = parts.flat_map(|part| [Some(&part.stage), part.grades.as_ref()]).flatten();
        for stage in head.stages.values().chain(stages) {
            if specs.contains_key(stage) {
                continue;
            }
            let spec = store.stage_by_digest(stage).spec_json();
            let spec = spec.ok().and_then(|json| serde_json::from_str(&json).ok());
            specs.extend(spec.map(|spec| (stage.clone(), spec)));
        }
    }
    specs
}
