//! Writing the explorers of a report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_store::Store;
use serde_json::Value;

use crate::Error;
use crate::evidence::Evidence;
use crate::explorer::index::{Index, Prompts, SetIndex};
use crate::explorer::named::SetHead;
use crate::explorer::page::{self, Place};
use crate::explorer::slices::Slices;
use crate::explorer::texts::Texts;
use crate::explorer::thinning::Thinning;
use crate::explorer::walk::{Met, Visitor, benchmarks, num_sets, walk};
use crate::file::{file_name, write_file};
use crate::visible::HIDDEN;
use crate::write::ReportOptions;

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

/// Writes an explorer for each benchmark of a plan. With a limit, groups of all benchmarks have about so
/// many bytes of texts, and no tokens.
pub(crate) fn write_explorers(
    store: &Store,
    evidence: &Evidence,
    folder: &Path,
    options: ReportOptions,
    files: &mut Vec<PathBuf>,
) -> Result<Vec<Explorer>, Error> {
    let mut explorers = Vec::new();
    let benchmarks = benchmarks(evidence);
    let limit = options.explorer_bytes.map(|limit| limit / benchmarks.len().max(1));
    for (benchmark, shareable) in benchmarks {
        let root = if shareable { "explorer" } else { "explorer-private" };
        let name = file_name(benchmark);
        let place = match folder.parent().filter(|_| options.is_part) {
            Some(suite) => Place::of_part(suite, root, &evidence.plan.experiment),
            None => Place::of_report(folder, root),
        };
        page::write_viewer(&place.viewer_folder, files)?;
        let folder = folder.join(root).join(&name);
        let num_groups = write_explorer(store, evidence, benchmark, &folder, limit, files)?;
        let title = &evidence.plan.title;
        let text = page::page(benchmark, title, &place);
        write_file(&folder.join("index.html"), &text, files)?;
        remove_stale(&folder, files)?;
        explorers.push(Explorer {
            benchmark: benchmark.to_owned(),
            shareable,
            link: format!("{root}/{name}/index.html"),
            num_groups,
        });
    }
    Ok(explorers)
}

/// Slices and index of a benchmark, as they are gathered.
struct Gathered<'f> {
    slices: Slices<'f>,
    prompts: Prompts,
    flag_names: Vec<String>,
    sets: Vec<SetIndex>,
    /// Number of groups in the slice that is being filled.
    num_in_slice: usize,
    /// Bytes that a set may have.
    quota: Option<usize>,
    thinning: Thinning,
    keeps_next: bool,
    /// Texts of a group that is left out.
    left_out: Texts,
}

impl Gathered<'_> {
    fn flag(&mut self, flag: &str) -> usize {
        let known = self.flag_names.iter().position(|known| known == flag);
        known.unwrap_or_else(|| {
            self.flag_names.push(flag.to_owned());
            self.flag_names.len() - 1
        })
    }
}

impl Visitor for Gathered<'_> {
    fn start(&mut self, head: &SetHead, num_groups: usize) -> Result<(), Error> {
        self.sets.push(SetIndex::new(head.clone(), self.num_in_slice));
        self.thinning = Thinning::new(self.quota, num_groups);
        Ok(())
    }

    fn texts(&mut self, step: Option<u64>) -> &mut Texts {
        self.left_out.clear();
        self.keeps_next = self.thinning.keeps(step);
        if self.keeps_next { &mut self.slices.texts } else { &mut self.left_out }
    }

    fn add(&mut self, met: &Met<'_>) -> Result<(), Error> {
        let number = self.prompts.number(met.prompt, met.record);
        self.prompts.set_label(number, met.label.unwrap_or_default());
        let flags = met.view.flags.iter().map(|flag| self.flag(flag)).collect();
        let mut slice = None;
        if self.keeps_next {
            let (number, num_bytes) = self.slices.add(met.view)?;
            self.thinning.note(num_bytes);
            self.num_in_slice = if self.slices.is_empty() { 0 } else { self.num_in_slice + 1 };
            slice = Some(number);
        }
        let set = self.sets.last_mut().expect("a set was started");
        set.add(number, met.step, met.view, flags, slice);
        Ok(())
    }
}

/// Writes the explorer of a benchmark and returns the number of its groups.
fn write_explorer(
    store: &Store,
    evidence: &Evidence,
    benchmark: &str,
    folder: &Path,
    limit: Option<usize>,
    files: &mut Vec<PathBuf>,
) -> Result<usize, Error> {
    let mut gathered = Gathered {
        slices: Slices::new(folder.to_owned(), files, limit.is_none()),
        prompts: Prompts::default(),
        flag_names: Vec::new(),
        sets: Vec::new(),
        num_in_slice: 0,
        quota: limit.map(|limit| limit / num_sets(evidence, benchmark).max(1)),
        thinning: Thinning::new(None, 0),
        keeps_next: true,
        left_out: Texts::default(),
    };
    walk(store, evidence, benchmark, &mut gathered)?;
    gathered.slices.flush()?;
    let Gathered { mut slices, prompts, flag_names, sets, .. } = gathered;
    let (heads, prompt_files) = prompts.into_parts();
    for (i, json) in prompt_files.iter().enumerate() {
        slices
            .write(&format!("prompts-{i:04}.js"), &format!("explorer.prompts({i}, {json});\n"))?;
    }
    let num_groups = sets.iter().map(SetIndex::num_groups).sum();
    let plan = &evidence.plan;
    let index = Index {
        format: Index::FORMAT,
        experiment: plan.experiment.clone(),
        title: plan.title.clone(),
        benchmark: benchmark.to_owned(),
        code_revision: plan.code_revision.clone(),
        has_rubric: sets.iter().any(|set| set.head.has_rubric),
        has_tokens: limit.is_none(),
        prompts_per_file: Index::PROMPTS_PER_FILE,
        hidden: HIDDEN
            .iter()
            .map(|range| (u32::from(*range.start()), u32::from(*range.end())))
            .collect(),
        flag_names,
        specs: specs(store, sets.iter().map(|set| &set.head)),
        prompts: heads,
        sets,
    };
    let json = serde_json::to_string(&index).expect("an index is plain data");
    slices.write("index.js", &format!("explorer.index({json});\n"))?;
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
