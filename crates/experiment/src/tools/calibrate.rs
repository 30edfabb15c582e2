//! Quality of a judge on cases that people have labelled.
//!
//! - **balanced F1** and accuracy against the labels; where several people have labelled a case, each
//!   label makes a pair (HealthBench's meta-evaluation);
//! - **AUC** of judges that compare log-probabilities: the chance that a case that is met has the larger margin
//!   than one that is not, each label a case;
//! - **coverage**: the share of cases with a verdict;
//! - **test-retest**: the share of cases on which all repeats, sampled from other streams, agree, of those
//!   on which every repeat has a verdict;
//! - **agreement between judges**: Krippendorff's alpha over their first verdicts;
//! - **length slope**: how much likelier a wrong "met" gets with a hundred more words in the response,
//!   **position slope**: with one position further down the list of criteria. Both are least-squares slopes of
//!   verdict minus label, so that what labels explain is no bias;
//! - **probes**: orders hidden in responses, see [`preceptor_judges::run_probes`].
//!
//! An anchor is probed too, if a manifest names its model in `[anchor]`: orders hidden in the rollouts
//! that it merges, see [`preceptor_aggregators::probes`].

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use preceptor_aggregators::probes::{OrderReport, run_order_probes};
use preceptor_core::{
    Criterion, GenerationObserver, GenerationRequest, Generator, JudgeFailure, ModelIdentity,
    ModelRole, PortError, Prompt, PromptBody, PromptId, Rollout, RolloutSeed, Sampling,
    ScoreRequest, Scorer, TokenScores, Verdict, VerdictRequest,
};
use preceptor_judges::{ProbeReport, run_probes};
use preceptor_stats::{Confusion, area_under_curve, krippendorff_alpha, slope};
use preceptor_store::Store;
use preceptor_text::without_byte_order_mark;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::{Table, Value};

use crate::Error;
use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::{optional_table, read};
use crate::manifest::roles;
use crate::manifest::settings::AnchorSettings;
use crate::models::loader::ModelLoader;
use crate::plan::stages::{CellJudge, Writer};
use crate::progress::Progress;
use crate::run::cached_model::CachedModel;
use crate::run::session::Session;
use crate::run::summary::{RoleCost, RunOptions};
use preceptor_core::Needs;

/// Tokens of a probe's synthesis, where the manifest sets no limit.
const PROBE_TOKENS: u32 = 512;

/// Quality of one judge.
#[derive(Clone, Debug)]
pub struct JudgeQuality {
    /// The manifest's name and the model's.
    pub name: String,
    /// Verdicts against labels.
    pub confusion: Confusion,
    /// Area under the ROC curve of the margins; none for judges without them, and without both labels.
    pub auc: Option<f64>,
    /// Number of cases.
    pub num_cases: usize,
    /// Cases with a verdict.
    pub num_judged: usize,
    /// Failures of the others, by kind.
    pub failures: BTreeMap<JudgeFailure, u64>,
    /// The share of cases with a verdict in every repeat on which all agree; none with one repeat.
    pub retest: Option<f64>,
    /// A wrong "met" per hundred words.
    pub length_slope: Option<f64>,
    /// Slope of a wrong "met" per position.
    pub position_slope: Option<f64>,
    /// Results of the probes with hidden orders.
    pub probes: ProbeReport,
    /// Cost of the calls.
    pub cost: RoleCost,
}

/// Results of an anchor on orders hidden in rollouts.
#[derive(Clone, Debug)]
pub struct AnchorQuality {
    /// The manifest's name and the model's.
    pub name: String,
    /// The outcome of the probes.
    pub probes: OrderReport,
}

/// Result of a calibration.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Quality of each judge.
    pub judges: Vec<JudgeQuality>,
    /// The anchors, in the order of the manifests that name one.
    pub anchors: Vec<AnchorQuality>,
    /// Krippendorff's alpha across judges; none for one judge.
    pub alpha: Option<f64>,
}

/// Line of the file of cases.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    prompt: Option<String>,
    response: String,
    criterion: String,
    label: Labels,
    /// The verdict that was labelled, its record and a note: what the explorer of a report adds.
    #[serde(default, rename = "verdict")]
    _verdict: IgnoredAny,
    #[serde(default, rename = "record")]
    _record: IgnoredAny,
    #[serde(default, rename = "note")]
    _note: IgnoredAny,
}

/// Label of one person, or labels of several.
#[derive(Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Labels(Vec<bool>);

impl TryFrom<serde_json::Value> for Labels {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let values = match value {
            serde_json::Value::Array(values) => values,
            one => vec![one],
        };
        let labels: Option<Vec<bool>> = values.iter().map(serde_json::Value::as_bool).collect();
        let labels = labels.filter(|labels| !labels.is_empty());
        labels.map(Self).ok_or_else(|| "`label` is true, false, or a list of these".to_owned())
    }
}

/// Calibrates the judges of the `[judge]` tables of `documents` on the cases of the JSONL file at
/// `path`: `{"prompt": "..", "response": "..", "criterion": "..", "label": true}` a line, `prompt`
/// optional, `label` also a list. The explorer of a report saves such a file; its `verdict`, `record` and
/// `note` are for people.
///
/// # Errors
///
/// [`Error::Responses`] naming the line that can't be used; whatever stops a run.
pub fn calibrate(
    documents: &[Document],
    path: &Path,
    num_repeats: u32,
    store: &Store,
    models: &mut dyn ModelLoader,
    progress: &mut dyn Progress,
) -> Result<Calibration, Error> {
    let cases = read_cases(path)?;
    let (mut judges, mut anchors) = (Vec::new(), Vec::new());
    let mut first_verdicts: Vec<Vec<Verdict>> = Vec::new();
    for document in documents {
        let judge = roles::judge(document, models, judge_table(document)?)?;
        let anchor = named_anchor(document, models)?;
        let session = Session::new(models, store, RunOptions::default(), progress);
        let repeats = (0..num_repeats.max(1))
            .map(|repeat| answers(&session, &judge, &cases, repeat))
            .collect::<Result<Vec<_>, _>>()?;
        let margins = repeats[0].margins.clone();
        let repeats: Vec<_> = repeats.into_iter().map(|answers| answers.verdicts).collect();
        let probes = with_judge(&session, &judge, 0, |judge| Ok(run_probes(judge)?))?;
        let cost = session.take_summary().roles.remove(&ModelRole::Judge).unwrap_or_default();
        let name = format!("{} · {}", document.name(), judge.name);
        judges.push(quality(name, &cases, &repeats, &margins, probes, cost));
        first_verdicts.extend(repeats.into_iter().take(1));
        if let Some(anchor) = anchor {
            anchors.push(probe_anchor(document, &session, anchor)?);
        }
    }
    let alpha = (documents.len() > 1).then(|| {
        let of_case = |case: usize| {
            first_verdicts.iter().map(|v| v[case].met().map(u32::from)).collect::<Vec<_>>()
        };
        krippendorff_alpha(&(0..cases.len()).map(of_case).collect::<Vec<_>>())
    });
    Ok(Calibration { judges, anchors, alpha: alpha.flatten() })
}

/// Returns the anchor of a manifest that names a model for it.
fn named_anchor(
    document: &Document,
    models: &mut dyn ModelLoader,
) -> Result<Option<Writer>, Error> {
    let mut table = document.table().clone();
    let table = optional_table(document, &mut table, "anchor")?;
    let settings: AnchorSettings = read(document, "anchor", Value::Table(table), &[])?;
    let Some(name) = &settings.model else { return Ok(None) };
    let plain = Sampling { max_new_tokens: PROBE_TOKENS, ..Sampling::default() };
    let needs = Needs { anchor: true, ..Needs::default() };
    Ok(Some(roles::anchor(document, models, &settings, name, &plain, needs)?))
}

fn probe_anchor(
    document: &Document,
    session: &Session<'_>,
    anchor: Writer,
) -> Result<AnchorQuality, Error> {
    let Writer { name, identity, sampling } = anchor;
    let model = CachedModel { session, role: ModelRole::Anchor, name: name.clone(), identity };
    let probes = run_order_probes(&model, &sampling)?;
    Ok(AnchorQuality { name: format!("{} · {name}", document.name()), probes })
}

/// Returns the `[judge]` table, which names a model.
fn judge_table(document: &Document) -> Result<Table, ManifestError> {
    let mut table = document.table().clone();
    let has_table = table.contains_key("judge");
    let judge = optional_table(document, &mut table, "judge")?;
    if judge.contains_key("model") {
        return Ok(judge);
    }
    let (path, detail) = if has_table {
        ("judge", "`[judge]` has no `model`")
    } else {
        ("", "there is no table `[judge]`")
    };
    let mut error = document.error_at(path, detail);
    let hint =
        "write `[judge]` with `model = \"..\"`, the model or endpoint that is to be measured";
    error.hint = Some(hint.to_owned());
    Err(error)
}

fn read_cases(path: &Path) -> Result<Vec<Case>, Error> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|source| Error::ReadResponses { path: shown.clone(), source })?;
    let mut cases = Vec::new();
    for (i, line) in without_byte_order_mark(&text)
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let case = serde_json::from_str(line).map_err(|error| {
            let form = r#"{"prompt": "..", "response": "..", "criterion": "..", "label": true}"#;
            let detail = format!("{error}\nhint: a line is {form}");
            Error::Responses { path: shown.clone(), line: i + 1, detail }
        })?;
        cases.push(case);
    }
    if cases.is_empty() {
        let detail = "there is no case in it".to_owned();
        return Err(Error::Responses { path: shown, line: 1, detail });
    }
    Ok(cases)
}

/// Returns the indices of cases with the same prompt and response, which are asked together.
fn grouped(cases: &[Case]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(Option<&str>, &str), Vec<usize>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        groups.entry((case.prompt.as_deref(), &case.response)).or_default().push(index);
    }
    groups.into_values().collect()
}

fn with_judge<T>(
    session: &Session<'_>,
    judge: &CellJudge,
    repeat: u32,
    use_it: impl FnOnce(&dyn preceptor_core::Judge) -> Result<T, Error>,
) -> Result<T, Error> {
    let (name, identity) = (judge.name.clone(), judge.identity.clone());
    let model = RepeatedModel {
        inner: CachedModel { session, role: ModelRole::Judge, name, identity },
        repeat,
    };
    let built = judge.settings.build(&model)?;
    use_it(built.as_ref())
}

/// Answers of a judge to the cases, in their order.
struct Answers {
    verdicts: Vec<Verdict>,
    /// The margins of judges that compare log-probabilities.
    margins: Vec<Option<f64>>,
}

fn answers(
    session: &Session<'_>,
    judge: &CellJudge,
    cases: &[Case],
    repeat: u32,
) -> Result<Answers, Error> {
    let groups = grouped(cases);
    let prompts: Vec<Option<Prompt>> = groups
        .iter()
        .map(|indices| {
            let text = cases[indices[0]].prompt.clone()?;
            Some(Prompt::new(PromptId::new("case"), PromptBody::Text(text)))
        })
        .collect();
    let criteria: Vec<Vec<Criterion>> = groups
        .iter()
        .map(|indices| {
            indices.iter().map(|&index| Criterion::new(&cases[index].criterion)).collect()
        })
        .collect();
    let requests: Vec<VerdictRequest<'_>> = groups
        .iter()
        .zip(&prompts)
        .zip(&criteria)
        .map(|((indices, prompt), criteria)| VerdictRequest {
            prompt: prompt.as_ref(),
            response: &cases[indices[0]].response,
            reference: None,
            criteria,
        })
        .collect();
    let judged = with_judge(session, judge, repeat, |judge| Ok(judge.verdicts(&requests)?))?;
    let mut answers = Answers {
        verdicts: vec![Verdict::Failed(JudgeFailure::Unreadable); cases.len()],
        margins: vec![None; cases.len()],
    };
    for (indices, judged) in groups.iter().zip(judged) {
        for (&index, judged) in indices.iter().zip(judged) {
            answers.verdicts[index] = judged.answer;
            answers.margins[index] = judged.evidence.margin;
        }
    }
    Ok(answers)
}

fn quality(
    name: String,
    cases: &[Case],
    repeats: &[Vec<Verdict>],
    margins: &[Option<f64>],
    probes: ProbeReport,
    cost: RoleCost,
) -> JudgeQuality {
    let verdicts = &repeats[0];
    let mut failures = BTreeMap::new();
    let mut pairs = Vec::new();
    let (mut by_length, mut by_position) = (Vec::new(), Vec::new());
    let mut positions = vec![0; cases.len()];
    for indices in grouped(cases) {
        for (position, index) in indices.into_iter().enumerate() {
            positions[index] = position;
        }
    }
    for (index, (case, verdict)) in cases.iter().zip(verdicts).enumerate() {
        let met = match verdict {
            Verdict::Failed(failure) => {
                *failures.entry(*failure).or_insert(0) += 1;
                continue;
            }
            verdict => verdict.met() == Some(true),
        };
        let labels = &case.label.0;
        pairs.extend(labels.iter().map(|&label| (met, label)));
        let share = labels.iter().filter(|&&label| label).count() as f64 / labels.len() as f64;
        let excess = f64::from(u8::from(met)) - share;
        by_length.push((case.response.split_whitespace().count() as f64 / 100.0, excess));
        by_position.push((positions[index] as f64, excess));
    }
    JudgeQuality {
        name,
        confusion: Confusion::of(pairs),
        auc: auc(cases, margins),
        num_cases: cases.len(),
        num_judged: by_length.len(),
        failures,
        retest: retest(repeats),
        length_slope: slope(&by_length),
        position_slope: slope(&by_position),
        probes,
        cost,
    }
}

fn auc(cases: &[Case], margins: &[Option<f64>]) -> Option<f64> {
    let of_case = |(case, margin): (&Case, &Option<f64>)| {
        let margin = *margin;
        case.label.0.iter().filter_map(move |label| Some((margin?, *label))).collect::<Vec<_>>()
    };
    area_under_curve(&cases.iter().zip(margins).flat_map(of_case).collect::<Vec<_>>())
}

/// Returns the share of cases on which all repeats agree, of those with a verdict in each; none with one repeat.
fn retest(repeats: &[Vec<Verdict>]) -> Option<f64> {
    let of_case = |case: usize| -> Option<Vec<bool>> {
        repeats.iter().map(|verdicts| verdicts[case].met()).collect()
    };
    let judged: Vec<Vec<bool>> = (0..repeats[0].len()).filter_map(of_case).collect();
    let agreeing = judged.iter().filter(|verdicts| verdicts.iter().all(|met| *met == verdicts[0]));
    let share = agreeing.count() as f64 / judged.len() as f64;
    (repeats.len() > 1 && !judged.is_empty()).then_some(share)
}

/// A model whose streams are those of another repeat of the same questions.
struct RepeatedModel<'b, 'a> {
    inner: CachedModel<'b, 'a>,
    repeat: u32,
}

impl Generator for RepeatedModel<'_, '_> {
    fn identity(&self) -> &ModelIdentity {
        self.inner.identity()
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        if self.repeat == 0 {
            return self.inner.generate(requests, sampling, observer);
        }
        let mut repeated = requests.to_vec();
        for RolloutSeed { seed, .. } in repeated.iter_mut().flat_map(|r| &mut r.rollouts) {
            *seed = seed.derive("repeat").derive_index(u64::from(self.repeat));
        }
        self.inner.generate(&repeated, sampling, observer)
    }
}

impl Scorer for RepeatedModel<'_, '_> {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        self.inner.score(requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_auc_of_margins_counts_every_label() {
        let case = |labels: &[bool]| Case {
            prompt: None,
            response: String::new(),
            criterion: String::new(),
            label: Labels(labels.to_vec()),
            _verdict: IgnoredAny,
            _record: IgnoredAny,
            _note: IgnoredAny,
        };
        let cases = [case(&[true]), case(&[false, true]), case(&[false]), case(&[true])];
        // Pairs of a met and an unmet label: 2 > 0.5, 2 > -1, 0.5 = 0.5, 0.5 > -1; the last case has none.
        assert_eq!(auc(&cases, &[Some(2.0), Some(0.5), Some(-1.0), None]), Some(0.875));
        assert_eq!(auc(&cases, &[None; 4]), None);
    }

    #[test]
    fn a_missing_verdict_is_no_disagreement() {
        let failed = Verdict::Failed(JudgeFailure::Unreadable);
        let first = vec![Verdict::Met, Verdict::NotMet, Verdict::Met, failed];
        let second = vec![Verdict::Met, Verdict::Met, failed, failed];
        assert_eq!(retest(&[first.clone(), second]), Some(0.5));
        assert_eq!(retest(std::slice::from_ref(&first)), None);
        assert_eq!(retest(&[vec![failed], vec![failed]]), None);
    }
}
