//! Scores from recorded verdicts of another judge, or of people, about each criterion.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use preceptor_benchmarks::Task;
use preceptor_files::Files;
use preceptor_stats::{
    CheckedItem, CheckedResponse, ClippedMean, mean_worst_at_k, rubric_score, rubric_scores,
};
use preceptor_text::without_byte_order_mark;
use serde::Deserialize;

use crate::Error;
use crate::catalog::BenchmarkSettings;
use crate::error::ManifestError;
use crate::tools::grade_responses::load;

/// Scores of recorded verdicts.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictGrade {
    /// Every metric: `overall_score` and each tag.
    pub metrics: BTreeMap<String, ClippedMean>,
    /// For k = 1, 2, ..: the clipped mean of the lowest of k responses, as far as prompts have k.
    pub worst_at_k: Vec<f64>,
    /// Responses that were graded.
    pub num_responses: usize,
    /// Responses without a score, because a verdict is missing.
    pub num_unscored: usize,
}

/// Line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt_id: String,
    #[serde(default)]
    repeat: u32,
    criterion: usize,
    met: Option<bool>,
}

/// Grades the verdicts in the JSONL file at `path` (`{"prompt_id": .., "repeat": 0, "criterion": 3,
/// "met": true}` a line; `criterion` is the item's index in the rubric, from 0; `met` is true, false or
/// null) on `benchmark`. Every repeat of a prompt is a response; an item without a line has no verdict.
/// `seeds` are those of the bootstrap.
///
/// # Errors
///
/// [`Error::Responses`] naming the line that can't be used; errors of the benchmark's data.
pub fn grade_verdicts(
    benchmark: &BenchmarkSettings,
    path: &Path,
    seeds: &[u64],
    files: &Files,
) -> Result<VerdictGrade, Error> {
    let tasks = load(benchmark, files)?;
    if tasks.grader.profile().is_some() {
        return Err(ManifestError {
            location: "the command line".to_owned(),
            excerpt: None,
            detail: format!("`{}` is graded by comparing answers, not by verdicts", tasks.name),
            hint: Some("grade responses with `--responses FILE`".to_owned()),
        }
        .into());
    }
    // Upstream's ids have no prefix.
    let by_id: BTreeMap<&str, &Task> = tasks
        .tasks
        .iter()
        .flat_map(|task| {
            let id = task.prompt.id.as_str();
            [(id, task), (id.rsplit('/').next().unwrap_or(id), task)]
        })
        .collect();
    let verdicts = read_verdicts(path, &tasks.name, &by_id)?;
    let mut by_prompt: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut responses = Vec::new();
    for ((id, _), met) in &verdicts {
        let label = by_id[id].label.rubric();
        let (criteria, tags) = match label {
            Some(label) => (label.rubric.criteria.as_slice(), label.example_tags.clone()),
            None => (&[][..], BTreeSet::new()),
        };
        let item = |(index, criterion): (usize, &preceptor_core::Criterion)| CheckedItem {
            points: criterion.points,
            met: met.get(&index).copied().flatten(),
            tags: criterion.tags.clone(),
        };
        let items: Vec<CheckedItem> = criteria.iter().enumerate().map(item).collect();
        let pairs: Vec<_> = items.iter().map(|item| (item.points, item.met)).collect();
        by_prompt.entry(id).or_default().extend(rubric_score(&pairs));
        responses.push(CheckedResponse { items, tags });
    }
    let metrics = rubric_scores(&responses, seeds);
    let num_scored: usize = by_prompt.values().map(Vec::len).sum();
    let prompts: Vec<Vec<f64>> = by_prompt.into_values().collect();
    let most = prompts.iter().map(Vec::len).max().unwrap_or(0);
    Ok(VerdictGrade {
        worst_at_k: (1..=most).map_while(|k| mean_worst_at_k(&prompts, k)).collect(),
        num_responses: responses.len(),
        num_unscored: responses.len() - num_scored,
        metrics,
    })
}

/// Verdicts by item, for each prompt and repeat.
type Verdicts<'t> = BTreeMap<(&'t str, u32), BTreeMap<usize, Option<bool>>>;

fn read_verdicts<'t>(
    path: &Path,
    benchmark: &str,
    by_id: &BTreeMap<&'t str, &'t Task>,
) -> Result<Verdicts<'t>, Error> {
    let error = |line, detail| Error::Responses { path: path.display().to_string(), line, detail };
    let text = fs::read_to_string(path)
        .map_err(|source| Error::ReadResponses { path: path.display().to_string(), source })?;
    let mut verdicts = Verdicts::new();
    for (i, line) in without_byte_order_mark(&text)
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let number = i + 1;
        let line: Line = serde_json::from_str(line).map_err(|e| {
            let form = r#"{"prompt_id": "..", "repeat": 0, "criterion": 0, "met": true}"#;
            error(number, format!("{e}\nhint: expected {form}"))
        })?;
        let Some(task) = by_id.get(line.prompt_id.as_str()) else {
            let detail = format!("`{benchmark}` has no prompt `{}`", line.prompt_id);
            return Err(error(number, detail));
        };
        let num_items = task.label.rubric().map_or(0, |label| label.rubric.criteria.len());
        if line.criterion >= num_items {
            let detail = format!(
                "`criterion` = {}: prompt `{}` has {num_items} items, counted from 0",
                line.criterion, line.prompt_id
            );
            return Err(error(number, detail));
        }
        let response = verdicts.entry((task.prompt.id.as_str(), line.repeat)).or_default();
        if response.insert(line.criterion, line.met).is_some() {
            let detail = format!(
                "item {} of repeat {} of prompt `{}` is given twice",
                line.criterion, line.repeat, line.prompt_id
            );
            return Err(error(number, detail));
        }
    }
    if verdicts.is_empty() {
        return Err(error(1, "the file has no verdict".to_owned()));
    }
    Ok(verdicts)
}
