//! The tables that name tasks: `[benchmark]`, and of trained cells `[held-out]` and `[validation]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use preceptor_benchmarks::{Data, Task, TaskSet, Wording};
use preceptor_core::OutOfRange;
use preceptor_core::record::LeftOut;
use preceptor_files::Files;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::Error;
use crate::catalog::BenchmarkSettings;
use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::{names_of, read, read_kind};

/// See [`BenchmarkScope`].
const SCOPE_KEYS: [&str; 5] =
    ["limit", "skip", "if-available", "system-prompt", "question-prompt-file"];

/// Keys that every `[benchmark]` table may have, beside those of its kind.
#[derive(Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct BenchmarkScope {
    /// Use at most this many prompts, at least 1. A smaller limit is a subset of a larger one. Default:
    /// all (`arithmetic`: 200, `pocket-math`: 256, `pocket-health`: 100).
    pub limit: Option<usize>,
    /// Skip this many prompts before the first.
    pub skip: usize,
    /// Skip the cells with a notice, instead of stopping, if the data is missing or the policy lacks a
    /// chat template that the prompts need.
    pub if_available: bool,
    /// Instructions before each chat; they come first where it has instructions of its own. Prompts that
    /// are plain text take none.
    pub system_prompt: Option<String>,
    /// File with a text around each question, instead of the benchmark's own; the placeholder
    /// `{{question}}` is required. In chats of several turns it is put around the last one.
    pub question_prompt_file: Option<PathBuf>,
}

/// A split of a cell, for its identity.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedSplit<'a> {
    benchmark: &'a BenchmarkSettings,
    skip: usize,
    limit: usize,
    #[serde(flatten)]
    wording: &'a Wording,
}

/// Tasks with the settings they come from.
pub(crate) struct Tasks {
    pub(crate) settings: BenchmarkSettings,
    pub(crate) skip: usize,
    pub(crate) wording: Wording,
    /// True if the cells are skipped when the data is missing.
    pub(crate) if_available: bool,
    /// The tasks; none if the data is missing and the cells are skipped.
    pub(crate) tasks: Option<Rc<TaskSet>>,
}

impl Tasks {
    pub(crate) fn resolved(&self) -> Option<ResolvedSplit<'_>> {
        let limit = self.tasks.as_ref()?.tasks.len();
        Some(ResolvedSplit {
            benchmark: &self.settings,
            skip: self.skip,
            limit,
            wording: &self.wording,
        })
    }
}

/// Reads the tables of a document; sets of tasks are loaded once.
pub(crate) struct TaskTables<'a> {
    document: &'a Document,
    files: &'a Files,
    /// Caps every benchmark's number of tasks.
    limit: Option<usize>,
    /// By settings and limit.
    task_sets: BTreeMap<String, Rc<TaskSet>>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) notices: BTreeSet<String>,
}

impl<'a> TaskTables<'a> {
    pub(crate) fn new(document: &'a Document, files: &'a Files, limit: Option<usize>) -> Self {
        let (task_sets, left_out, notices) = Default::default();
        Self { document, files, limit, task_sets, left_out, notices }
    }

    /// Loads the tasks of `table`, which is at `path`, once.
    pub(crate) fn tasks(
        &mut self,
        path: &str,
        mut table: Table,
        num_cells: u64,
    ) -> Result<Tasks, Error> {
        let mut scope = Table::new();
        for key in SCOPE_KEYS {
            if let Some(value) = table.remove(key) {
                scope.insert(key.to_owned(), value);
            }
        }
        let scope: BenchmarkScope = read(self.document, path, Value::Table(scope), &[])?;
        let is_allowed = scope.limit != Some(0);
        self.document.check(path, OutOfRange::check("limit", 0, is_allowed, "at least 1"))?;
        let kinds = names_of(BenchmarkSettings::ALL);
        let settings: BenchmarkSettings =
            read_kind(self.document, path, table, &SCOPE_KEYS, &kinds)?;
        self.document.check(path, settings.check())?;
        let limit = [scope.limit, self.limit].into_iter().flatten().min();
        let wording = self.wording(path, &scope)?;
        let tasks = self.load(path, &settings, &scope, &wording, limit, num_cells)?;
        Ok(Tasks { settings, skip: scope.skip, wording, if_available: scope.if_available, tasks })
    }

    /// Returns the wording of a table: the text of its file, not the path.
    fn wording(&self, path: &str, scope: &BenchmarkScope) -> Result<Wording, ManifestError> {
        let mut wording =
            Wording { system_prompt: scope.system_prompt.clone(), question_prompt_text: None };
        if let Some(file) = &scope.question_prompt_file {
            let key = format!("{path}.question-prompt-file");
            let shown = file.display();
            let text = fs::read_to_string(file).map_err(|error| {
                let detail = format!("`{key} = \"{shown}\"`: can't read it: {error}");
                self.document.error_at(&key, detail)
            })?;
            wording.question_prompt_text = Some(text);
            wording
                .check(&shown.to_string())
                .map_err(|error| self.document.error_at(&key, error.to_string()))?;
        }
        Ok(wording)
    }

    /// Leaves cells out, and counts them with others that are left out for the same reason.
    pub(crate) fn leave_out(&mut self, part: String, num_cells: u64, reason: String) {
        let is_same = |known: &&mut LeftOut| known.part == part && known.reason == reason;
        match self.left_out.iter_mut().find(is_same) {
            Some(known) => known.num_cells += num_cells,
            None => self.left_out.push(LeftOut { part, num_cells, reason }),
        }
    }

    /// Returns the tasks of `[held-out]` or `[validation]`: the keys of `[benchmark]` with those of the table
    /// instead, or another benchmark where the table has a `kind`. What is trained on is left out.
    pub(crate) fn split(
        &mut self,
        path: &str,
        table: Option<Table>,
        benchmark: &Table,
        trained_on: &TaskSet,
        is_trained: bool,
    ) -> Result<Option<Tasks>, Error> {
        let Some(own) = table else { return Ok(None) };
        if !is_trained {
            let detail = format!("`[{path}]` has no use without `[train]`");
            return Err(self.document.error_at(path, detail).into());
        }
        let mut table = if own.contains_key("kind") { Table::new() } else { benchmark.clone() };
        table.extend(own);
        let mut split = self.tasks(path, table, 0)?;
        let Some(tasks) = &split.tasks else { return Ok(Some(split)) };
        let questions: BTreeSet<&str> =
            trained_on.tasks.iter().map(|task| task.question.as_str()).collect();
        let is_new = |task: &&Task| !questions.contains(task.question.as_str());
        let kept: Vec<Task> = tasks.tasks.iter().filter(is_new).cloned().collect();
        let num_dropped = tasks.tasks.len() - kept.len();
        if kept.is_empty() {
            let detail = format!("`[{path}]` has no prompt that is not trained on");
            let mut error = self.document.error_at(path, detail);
            error.hint = Some(
                "pass over the prompts of `[benchmark]` with `skip`, or name another benchmark"
                    .to_owned(),
            );
            return Err(error.into());
        }
        if num_dropped > 0 {
            self.notices.insert(format!(
                "`[{path}]`: {num_dropped} of its prompts are trained on and left out"
            ));
            split.tasks = Some(Rc::new(TaskSet { tasks: kept, ..(**tasks).clone() }));
        }
        Ok(Some(split))
    }

    /// Loads the tasks of a benchmark once; none if the data is missing and the cells are skipped.
    fn load(
        &mut self,
        path: &str,
        settings: &BenchmarkSettings,
        scope: &BenchmarkScope,
        wording: &Wording,
        limit: Option<usize>,
        num_cells: u64,
    ) -> Result<Option<Rc<TaskSet>>, Error> {
        let skip = scope.skip;
        let key = format!("{settings:?} {skip} {limit:?} {wording:?}");
        if let Some(known) = self.task_sets.get(&key) {
            return Ok(Some(Rc::clone(known)));
        }
        let located = match settings.data_set() {
            None => None,
            Some(name) => match self.files.data_set(name) {
                Ok(located) => {
                    let is_published = located.is_published;
                    Some(Data { path: located.path, is_published })
                }
                Err(error) if scope.if_available => {
                    let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
                    self.leave_out(format!("benchmark {name}"), num_cells, reason);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
        };
        let all = limit.map(|limit| skip.saturating_add(limit));
        let mut tasks = match settings.load(located.as_ref(), all) {
            Err(preceptor_benchmarks::Error::OutOfRange(error)) => {
                self.document.check("benchmark", Err(error))?
            }
            loaded => loaded?,
        };
        tasks = wording.apply(tasks).map_err(|error| {
            let is_system = wording.system_prompt.is_some();
            let key = if is_system { "system-prompt" } else { "question-prompt-file" };
            self.document.error_at(&format!("{path}.{key}"), error.to_string())
        })?;
        if skip > 0 && skip >= tasks.tasks.len() {
            let detail =
                format!("`skip = {skip}`: `{}` has {} tasks", tasks.name, tasks.tasks.len());
            return Err(self.document.error_at("benchmark", detail).into());
        }
        if tasks.tasks.is_empty() {
            let detail = format!("`{}` has no prompts with these settings", tasks.name);
            return Err(self.document.error_at("benchmark", detail).into());
        }
        tasks.tasks.drain(..skip);
        let tasks = Rc::new(tasks);
        self.task_sets.insert(key, Rc::clone(&tasks));
        Ok(Some(tasks))
    }
}
