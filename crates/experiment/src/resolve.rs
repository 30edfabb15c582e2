//! From a document to a plan.

use std::collections::BTreeMap;
use std::rc::Rc;

use preceptor_benchmarks::{Data, TaskSet};
use preceptor_core::Digest;
use preceptor_core::record::LeftOut;
use preceptor_files::Files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::Error;
use crate::catalog::{AggregatorSettings, BenchmarkSettings};
use crate::document::Document;
use crate::error::ManifestError;
use crate::grid::{Grid, Point};
use crate::model_host::ModelHost;
use crate::plan::{Cell, Plan};
use crate::settings::{GraderSettings, PolicySettings, SamplingSettings};
use crate::stages::{StageInputs, Stages};

/// Least similarity (Jaro-Winkler) at which a known key is suggested for an unknown one.
const MIN_SIMILARITY: f64 = 0.75;
/// The tables that describe a cell; everything else on top describes the experiment.
const CELL_TABLES: [&str; 5] = ["benchmark", "policy", "sampling", "aggregator", "grader"];

/// What the command line adds to a manifest.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResolveOptions {
    /// Caps every benchmark's number of tasks.
    pub limit: Option<usize>,
}

/// The top of a manifest, without the tables that describe cells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Header {
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default = "default_seeds")]
    seeds: Vec<u64>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}

/// Keys that every `[benchmark]` table may have, beside those of its kind.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct BenchmarkScope {
    /// At most this many tasks.
    limit: Option<usize>,
    /// Leave the cells out, instead of stopping, where the data can't be had.
    if_available: bool,
}

/// What a cell's identity is the digest of.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedCell<'a> {
    seed: u64,
    benchmark: &'a BenchmarkSettings,
    limit: usize,
    policy: &'a PolicySettings,
    sampling: ResolvedSampling<'a>,
    aggregator: &'a AggregatorSettings,
    grader: GraderSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedSampling<'a> {
    group_size: u32,
    temperature: f64,
    top_k: u32,
    top_p: f64,
    min_p: f64,
    max_new_tokens: u32,
    stop: &'a [String],
}

/// Makes a plan of a document.
///
/// # Errors
///
/// [`Error::Manifest`] pointing at what can't be used; errors of files and models that are needed
/// and missing.
pub fn resolve(
    document: &Document,
    files: &Files,
    models: &mut dyn ModelHost,
    options: ResolveOptions,
) -> Result<Plan, Error> {
    let mut table = document.table().clone();
    let grid = Grid::take(&mut table, document)?;
    let mut cell_table = Table::new();
    for key in CELL_TABLES {
        if let Some(value) = table.remove(key) {
            cell_table.insert(key.to_owned(), value);
        }
    }
    let header: Header = read(document, "", Value::Table(table), &top_level_keys())?;
    if header.seeds.is_empty() {
        return Err(document.error_at("seeds", "`seeds` is empty; name at least one").into());
    }
    for (i, seed) in header.seeds.iter().enumerate() {
        if header.seeds[..i].contains(seed) {
            let detail = format!("seed {seed} stands twice: it would only repeat its own rollouts");
            return Err(document.error_at("seeds", detail).into());
        }
    }

    let axes = grid.axes();
    let mut resolver = Resolver {
        document,
        files,
        models,
        options,
        seeds: &header.seeds,
        task_sets: BTreeMap::new(),
        left_out: Vec::new(),
    };
    let mut cells = Vec::new();
    for point in grid.points(document)? {
        let mut table = cell_table.clone();
        point.apply(&mut table, document)?;
        let keys = axes.iter().map(|axis| axis.key.clone());
        let names: BTreeMap<_, _> = keys.zip(point.names.iter().cloned()).collect();
        cells.extend(resolver.resolve_point(&point, table, &names)?);
    }
    let left_out = resolver.left_out;
    if cells.is_empty() {
        let reasons = left_out.iter().map(|l| format!("{}: {}", l.part, l.reason)).collect();
        return Err(Error::NoCells { experiment: document.name().to_owned(), reasons });
    }
    Ok(Plan {
        experiment: document.name().to_owned(),
        title: header.title,
        description: header.description,
        axes,
        seeds: header.seeds,
        cells,
        left_out,
        settings: toml::to_string_pretty(document.table()).expect("it was TOML"),
    })
}

struct Resolver<'a> {
    document: &'a Document,
    files: &'a Files,
    models: &'a mut dyn ModelHost,
    options: ResolveOptions,
    seeds: &'a [u64],
    /// By settings and limit; none where the data can't be had.
    task_sets: BTreeMap<String, Option<Rc<TaskSet>>>,
    left_out: Vec<LeftOut>,
}

impl Resolver<'_> {
    fn resolve_point(
        &mut self,
        point: &Point,
        mut table: Table,
        names: &BTreeMap<String, String>,
    ) -> Result<Vec<Cell>, Error> {
        let mut benchmark = take_table(self.document, &mut table, "benchmark")?;
        let mut scope = Table::new();
        for key in ["limit", "if-available"] {
            if let Some(value) = benchmark.remove(key) {
                scope.insert(key.to_owned(), value);
            }
        }
        let scope: BenchmarkScope = read(self.document, "benchmark", Value::Table(scope), &[])?;
        if scope.limit == Some(0) {
            let detail = "`benchmark.limit = 0`: allowed is 1 or more";
            return Err(self.document.error_at("benchmark.limit", detail).into());
        }
        let limit = [scope.limit, self.options.limit].into_iter().flatten().min();
        let known = ["limit", "if-available"];
        let benchmark: BenchmarkSettings = read_kind(
            self.document,
            "benchmark",
            benchmark,
            &known,
            &names_of(BenchmarkSettings::ALL),
        )?;
        let policy = take_table(self.document, &mut table, "policy")?;
        let policy: PolicySettings = read(self.document, "policy", Value::Table(policy), &[])?;
        let aggregator = take_table(self.document, &mut table, "aggregator")?;
        let aggregator: AggregatorSettings = read_kind(
            self.document,
            "aggregator",
            aggregator,
            &[],
            &names_of(AggregatorSettings::ALL),
        )?;
        let sampling = table.remove("sampling").unwrap_or_else(|| Value::Table(Table::new()));
        let sampling: SamplingSettings = read(self.document, "sampling", sampling, &[])?;
        let grader = table.remove("grader").unwrap_or_else(|| Value::Table(Table::new()));
        let grader: GraderSettings = read(self.document, "grader", grader, &[])?;

        let num_cells = self.seeds.len() as u64;
        let Some(tasks) = self.tasks(&benchmark, &scope, limit, num_cells)? else {
            return Ok(Vec::new());
        };
        let defaults = self.models.sampling_defaults(&policy.model);
        let (group_size, sampling) = sampling.resolve(defaults, &tasks.stop).map_err(|wrong| {
            let key = format!("sampling.{}", wrong.key);
            let detail = format!("`{key} = {}`: allowed is {}", wrong.value, wrong.allowed);
            let on_axis = format!("matrix.{key}");
            self.document.error_at(if names.contains_key(&key) { &on_axis } else { &key }, detail)
        })?;
        let profile = grader.profile.unwrap_or(tasks.grader);
        let model = self.models.identify(&policy.model)?;
        let axis_name = point_name(names, "benchmark");
        let benchmark_name = axis_name.unwrap_or_else(|| tasks.name.clone());

        let mut cells = Vec::new();
        for &seed in self.seeds {
            let resolved = ResolvedCell {
                seed,
                benchmark: &benchmark,
                limit: tasks.tasks.len(),
                policy: &policy,
                sampling: ResolvedSampling {
                    group_size,
                    temperature: sampling.temperature,
                    top_k: sampling.top_k,
                    top_p: sampling.top_p,
                    min_p: sampling.min_p,
                    max_new_tokens: sampling.max_new_tokens,
                    stop: &sampling.stop,
                },
                aggregator: &aggregator,
                grader: GraderSettings { profile: Some(profile) },
            };
            let settings = toml::to_string(&resolved).expect("settings are plain data");
            let stages = Stages::new(&StageInputs {
                tasks: &tasks,
                model: &model,
                sampling: &sampling,
                group_size,
                seed,
                aggregator: &aggregator,
                grader: profile,
            })?;
            cells.push(Cell {
                id: Digest::of_parts([
                    settings.as_bytes(),
                    stages.grades.digest().as_str().as_bytes(),
                ]),
                axes: names.clone(),
                seed,
                benchmark: benchmark_name.clone(),
                tasks: Rc::clone(&tasks),
                model_name: policy.model.clone(),
                model: model.clone(),
                sampling: sampling.clone(),
                group_size,
                aggregator: aggregator.clone(),
                grader: profile,
                stages,
                settings,
            });
        }
        debug_assert!(!point.names.iter().any(String::is_empty), "axis values have names");
        Ok(cells)
    }

    /// The tasks of a benchmark, loaded once; none if they can't be had and need not be.
    fn tasks(
        &mut self,
        settings: &BenchmarkSettings,
        scope: &BenchmarkScope,
        limit: Option<usize>,
        num_cells: u64,
    ) -> Result<Option<Rc<TaskSet>>, Error> {
        let key = format!("{settings:?} {limit:?}");
        if let Some(known) = self.task_sets.get(&key) {
            if let (None, Some(left_out)) = (known, self.left_out.last_mut()) {
                left_out.num_cells += num_cells;
            }
            return Ok(known.clone());
        }
        let located = match settings.data_set() {
            None => None,
            Some(name) => match self.files.data_set(name) {
                Ok(located) => {
                    let is_published = located.is_published;
                    Some(Data { path: located.path, is_published })
                }
                Err(error) if scope.if_available => {
                    self.left_out.push(LeftOut {
                        part: format!("benchmark {name}"),
                        num_cells,
                        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
                    });
                    self.task_sets.insert(key, None);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
        };
        let tasks =
            Rc::new(settings.load(located.as_ref(), limit).map_err(|error| match error {
                preceptor_benchmarks::Error::OutOfRange { key, .. } => {
                    Error::Manifest(self.document.error_at(key, error.to_string()))
                }
                other => Error::Benchmark(other),
            })?);
        self.task_sets.insert(key, Some(Rc::clone(&tasks)));
        Ok(Some(tasks))
    }
}

fn point_name(names: &BTreeMap<String, String>, key: &str) -> Option<String> {
    names.get(key).cloned()
}

fn names_of(entries: &[crate::Entry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.name).collect()
}

fn top_level_keys() -> Vec<&'static str> {
    CELL_TABLES.into_iter().chain(["extends", "matrix", "exclude", "include"]).collect()
}

fn take_table(document: &Document, table: &mut Table, key: &str) -> Result<Table, ManifestError> {
    match table.remove(key) {
        Some(Value::Table(table)) => Ok(table),
        Some(_) => Err(document.error_at(key, format!("`{key}` is a table: write `[{key}]`"))),
        None => Err(document.error_at("", format!("there is no table `[{key}]`"))),
    }
}

/// Reads a table that has a `kind`, whose value is checked first for a clear message.
fn read_kind<T: DeserializeOwned>(
    document: &Document,
    path: &str,
    table: Table,
    also_known: &[&str],
    kinds: &[&str],
) -> Result<T, ManifestError> {
    let allowed = kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
    let key = format!("{path}.kind");
    match table.get("kind") {
        Some(Value::String(kind)) if kinds.contains(&kind.as_str()) => {}
        Some(Value::String(kind)) => {
            let mut error =
                document.error_at(&key, format!("`{key} = \"{kind}\"`: there is no such kind"));
            error.hint = Some(hint(nearest(kind, kinds), &allowed));
            return Err(error);
        }
        Some(other) => {
            let detail = format!("`{key} = {other}`: a kind is a name in quotes");
            return Err(document.error_at(&key, detail));
        }
        None => {
            let mut error = document.error_at(path, format!("`[{path}]` has no `kind`"));
            error.hint = Some(format!("kinds are {allowed}"));
            return Err(error);
        }
    }
    read(document, path, Value::Table(table), also_known)
}

/// Reads the table at `path`, pointing errors at the key that causes them.
fn read<T: DeserializeOwned>(
    document: &Document,
    path: &str,
    value: Value,
    also_known: &[&str],
) -> Result<T, ManifestError> {
    let given = value.clone();
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let message = error.inner().message().to_owned();
        let join =
            |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if let Some((unknown, known)) = unknown_field(&message) {
            let key = join(&unknown);
            let mut allowed: Vec<&str> = known.iter().map(String::as_str).collect();
            allowed.extend(also_known);
            let written =
                allowed.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let mut error = document.error_at(&key, format!("`{key}` is not a known key"));
            error.hint = Some(hint(nearest(&unknown, &allowed), &written));
            return error;
        }
        let key = match inner.as_str() {
            "." | "?" => {
                blamed_key(&given, &message).map_or_else(|| path.to_owned(), |key| join(&key))
            }
            inner => join(inner),
        };
        let value = key
            .strip_prefix(path)
            .and_then(|key| given.get(key.trim_start_matches('.')))
            .filter(|value| !value.is_table())
            .map_or_else(String::new, |value| format!(" = {value}"));
        document.error_at(&key, format!("`{key}{value}`: {message}"))
    })
}

/// The key whose value an error message quotes; tagged tables lose the path to it.
fn blamed_key(given: &Value, message: &str) -> Option<String> {
    let table = given.as_table()?;
    let blamed = |value: &Value| match value {
        Value::String(text) => {
            message.contains(&format!("string \"{text}\""))
                || message.contains(&format!("`{text}`"))
        }
        Value::Integer(number) => message.contains(&format!("integer `{number}`")),
        Value::Float(number) => message.contains(&format!("floating point `{number}`")),
        Value::Boolean(truth) => message.contains(&format!("boolean `{truth}`")),
        _ => false,
    };
    table.iter().find(|(key, value)| *key != "kind" && blamed(value)).map(|(key, _)| key.clone())
}

/// Takes serde's message about an unknown field apart.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((unknown.to_owned(), known))
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(known, name), *known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= MIN_SIMILARITY).then_some(best.1)
}

fn hint(nearest: Option<&str>, allowed: &str) -> String {
    let suggestion = nearest.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
    if allowed.is_empty() {
        return format!("{suggestion}it has no settings");
    }
    format!("{suggestion}known are {allowed}")
}
