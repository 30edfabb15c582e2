//! The roles of a cell beside its policy: reward, anchor, judge, the benchmark's judge.

use std::collections::BTreeMap;

use preceptor_benchmarks::pocket_rules;
use preceptor_core::{Digest, Needs, Sampling, Settings};
use preceptor_judges::JudgeConfig;
use toml::{Table, Value};

use crate::Error;
use crate::catalog::{AggregatorSettings, JudgeSettings, RewardSettings};
use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::{names_of, optional_table, read, read_kind, with_prompt_text};
use crate::manifest::settings::{AnchorSettings, EvalJudgeSettings};
use crate::models::directory::ModelDirectory;
use crate::plan::stages::{CellJudge, EvalJudge, RewardTerm, Writer};

/// Checks the ranges and the prompt of an aggregator, and that the benchmark has what it needs.
pub(crate) fn check_aggregator(
    document: &Document,
    aggregator: &AggregatorSettings,
    has_final_answers: bool,
    benchmark: &str,
) -> Result<Option<Digest>, ManifestError> {
    let at = |key: &str, detail: String| document.error_at(key, detail);
    document.check("aggregator", aggregator.check())?;
    let entry = aggregator.entry();
    if entry.needs.labels && !has_final_answers {
        let detail = format!("`{}` needs final answers, which `{benchmark}` lacks", entry.name);
        return Err(at("aggregator.kind", detail));
    }
    let digest = aggregator.prompt_digest();
    digest.map_err(|error| at("aggregator.prompt-file", error.to_string()))
}

/// Returns the terms of `[reward]`; none where there is no such table.
pub(crate) fn reward(
    document: &Document,
    table: &mut Table,
) -> Result<Vec<RewardTerm>, ManifestError> {
    let mut reward = optional_table(document, table, "reward")?;
    let terms = match reward.remove("terms") {
        None if reward.is_empty() => return Ok(Vec::new()),
        None => Vec::new(),
        Some(Value::Array(terms)) => terms,
        Some(_) => return Err(document.error_at("reward.terms", "`reward.terms` is a list")),
    };
    if let Some(key) = reward.keys().next() {
        let key = format!("reward.{key}");
        let mut error = document.error_at(&key, format!("`{key}` is not a known key"));
        error.hint = Some("write `terms = [{ kind = \"..\", weight = 1.0 }]`".to_owned());
        return Err(error);
    }
    if terms.is_empty() {
        return Err(document.error_at("reward.terms", "`reward.terms` is empty"));
    }
    let term = |(i, term): (usize, Value)| {
        let path = format!("reward.terms.{i}");
        let Value::Table(mut term) = term else {
            let detail = "a term is a table with a `kind`";
            return Err(document.error_at(&path, detail));
        };
        let weight = match term.remove("weight") {
            None => 1.0,
            Some(Value::Float(weight)) if weight.is_finite() => weight,
            Some(Value::Integer(weight)) => weight as f64,
            Some(other) => {
                let key = format!("{path}.weight");
                let detail = format!("`{key} = {other}`: must be a number");
                return Err(document.error_at(&key, detail));
            }
        };
        let term = with_prompt_text(document, &path, term)?;
        let known = ["weight", "prompt-file"];
        let kinds = names_of(RewardSettings::ALL);
        let settings: RewardSettings = read_kind(document, &path, term, &known, &kinds)?;
        document.check(&path, settings.check())?;
        let prompt = settings.prompt_digest().map_err(|error| {
            document.error_at(&format!("{path}.prompt-file"), error.to_string())
        })?;
        Ok(RewardTerm { weight, settings, prompt })
    };
    terms.into_iter().enumerate().map(term).collect()
}

/// Returns the anchor: the policy's model unless another is named.
pub(crate) fn anchor(
    document: &Document,
    models: &mut dyn ModelDirectory,
    settings: &AnchorSettings,
    policy: &str,
    sampling: &Sampling,
    needs: Needs,
) -> Result<Writer, Error> {
    let sampling = document.check("anchor", settings.resolve(sampling))?;
    let name = match &settings.model {
        // A model that is not asked need not be downloaded.
        Some(name) if needs.anchor => name.clone(),
        _ => policy.to_owned(),
    };
    Ok(Writer { identity: models.identify(&name)?, name, sampling })
}

/// Returns the judge of `[judge]`.
pub(crate) fn judge(
    document: &Document,
    models: &mut dyn ModelDirectory,
    mut table: Table,
) -> Result<CellJudge, Error> {
    let model = match table.remove("model") {
        Some(Value::String(name)) => Some(name),
        Some(other) => {
            let detail = format!("`judge.model = {other}`: a model is a name in quotes");
            return Err(document.error_at("judge.model", detail).into());
        }
        None => None,
    };
    table.entry("kind").or_insert_with(|| Value::String("llm".to_owned()));
    let table = with_prompt_text(document, "judge", table)?;
    let known = ["model", "prompt-file"];
    let kinds = names_of(JudgeSettings::ALL);
    let settings: JudgeSettings = read_kind(document, "judge", table, &known, &kinds)?;
    document.check("judge", settings.check())?;
    let prompt = settings
        .prompt_digest()
        .map_err(|error| document.error_at("judge.prompt-file", error.to_string()))?
        .expect("a judge has prompts or rules");
    let kind = settings.entry().name;
    let (name, identity) = match (settings.identity(), model) {
        (None, Some(name)) => {
            let identity = models.identify(&name)?;
            (name, identity)
        }
        (Some(identity), None) => (kind.to_owned(), identity),
        (Some(_), Some(name)) => {
            let detail =
                format!("`judge.model = \"{name}\"`: a judge of kind `{kind}` asks no model");
            return Err(document.error_at("judge.model", detail).into());
        }
        (None, None) => {
            let mut error = document.error_at("judge", "`[judge]` has no `model`");
            error.hint = Some(
                "a reward or aggregator of this cell asks a judge; name a model or endpoint"
                    .to_owned(),
            );
            return Err(error.into());
        }
    };
    Ok(CellJudge { identity, name, settings, prompt })
}

/// Creates the error about a judge that only says yes or no where a cell needs more.
pub(crate) fn no_grades(document: &Document, names: &BTreeMap<String, String>) -> ManifestError {
    let cell = names.iter().map(|(key, value)| format!("{key}={value}"));
    let cell = cell.collect::<Vec<_>>().join(" ");
    let of = if cell.is_empty() { String::new() } else { format!(" (cell {cell})") };
    let entries = AggregatorSettings::ALL.iter().chain(RewardSettings::ALL);
    let askers =
        entries.filter(|entry| entry.needs.grades).map(|entry| format!("`{}`", entry.name));
    let askers = askers.collect::<Vec<_>>().join(", ");
    let detail = format!("this judge only says yes or no; {askers} need grades or a choice{of}");
    let mut error = document.error_at("judge.kind", detail);
    error.hint = Some("use a judge of kind `llm`".to_owned());
    error
}

/// Returns the benchmark's judge.
pub(crate) fn eval_judge(
    document: &Document,
    models: &mut dyn ModelDirectory,
    table: Table,
    benchmark: &str,
) -> Result<EvalJudge, Error> {
    let table = with_prompt_text(document, "eval-judge", table)?;
    let known = ["prompt-file"];
    let mut settings: EvalJudgeSettings =
        read(document, "eval-judge", Value::Table(table), &known)?;
    if let Some(rules) = settings.rules.clone() {
        if !settings.model.is_empty() {
            let detail = "`eval-judge.model`: with `rules` no model is asked";
            return Err(document.error_at("eval-judge.model", detail).into());
        }
        document.check("eval-judge.rules", rules.check())?;
        settings.model = pocket_rules::Config::NAME.to_owned();
        let identity = rules.identity().expect("rules need no model");
        return Ok(EvalJudge { identity, settings, sampling: Sampling::default() });
    }
    if settings.model.is_empty() {
        let detail = format!("`{benchmark}` is graded by a judge: `[eval-judge]` has no `model`");
        let mut error = document.error_at("eval-judge", detail);
        error.hint = Some("name a model or endpoint that grades".to_owned());
        return Err(error.into());
    }
    let sampling = document.check("eval-judge", settings.sampling())?;
    let identity = models.identify(&settings.model)?;
    Ok(EvalJudge { identity, settings, sampling })
}
