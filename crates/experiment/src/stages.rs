//! What each stage's records depend on.
//!
//! The specifications here are the store's keys: a field that is missing lets two different runs
//! share records, a field too many draws them again. Limits, paths, devices and worker counts are
//! no fields. Labels enter grading and the stages of aggregators that see them, nothing else.

use preceptor_answers::GraderProfile;
use preceptor_benchmarks::TaskSet;
use preceptor_core::record::RECORD_FORMAT;
use preceptor_core::{Digest, ModelIdentity, Sampling};
use preceptor_store::{Error, StageSpec};
use serde::Serialize;

use crate::catalog::AggregatorSettings;

/// The stages of one cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stages {
    pub(crate) prompts: StageSpec,
    pub(crate) rollouts: StageSpec,
    pub(crate) rollout_grades: StageSpec,
    pub(crate) answer_classes: StageSpec,
    pub(crate) aggregates: StageSpec,
    pub(crate) grades: StageSpec,
}

/// What decides a cell's stages.
pub(crate) struct StageInputs<'a> {
    pub(crate) tasks: &'a TaskSet,
    pub(crate) model: &'a ModelIdentity,
    pub(crate) sampling: &'a Sampling,
    pub(crate) group_size: u32,
    pub(crate) seed: u64,
    pub(crate) aggregator: &'a AggregatorSettings,
    pub(crate) grader: GraderProfile,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PromptsSpec<'a> {
    format: u32,
    prompts: &'a Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolloutsSpec<'a> {
    format: u32,
    prompts: &'a Digest,
    model: &'a ModelIdentity,
    sampling: &'a Sampling,
    seed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AnswerClassesSpec<'a> {
    format: u32,
    rollouts: &'a Digest,
    group_size: u32,
    answers: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AggregatesSpec<'a> {
    format: u32,
    rollouts: &'a Digest,
    group_size: u32,
    aggregator: &'a AggregatorSettings,
    answers: String,
    labels: Option<(&'a Digest, String)>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct GradesSpec<'a> {
    format: u32,
    graded: &'a Digest,
    grader: String,
    labels: &'a Digest,
}

impl Stages {
    pub(crate) fn new(inputs: &StageInputs<'_>) -> Result<Self, Error> {
        let format = RECORD_FORMAT;
        let StageInputs { tasks, model, sampling, group_size, seed, aggregator, grader } = *inputs;
        let prompts = &tasks.prompts_digest;
        let labels = &tasks.labels_digest;
        let answers = grader_id(GraderProfile::Verify);

        let rollouts_spec = RolloutsSpec { format, prompts, model, sampling, seed };
        let rollouts = StageSpec::new("rollouts", &rollouts_spec)?;
        let drawn = rollouts.digest();
        let classes_spec =
            AnswerClassesSpec { format, rollouts: drawn, group_size, answers: answers.clone() };
        let sees_labels = aggregator.entry().sees_labels;
        let aggregates_spec = AggregatesSpec {
            format,
            rollouts: drawn,
            group_size,
            aggregator,
            answers,
            labels: sees_labels.then(|| (labels, grader_id(grader))),
        };
        let aggregates = StageSpec::new("aggregates", &aggregates_spec)?;
        let grades_of = |kind, graded| {
            StageSpec::new(kind, &GradesSpec { format, graded, grader: grader_id(grader), labels })
        };
        Ok(Self {
            prompts: StageSpec::new("prompts", &PromptsSpec { format, prompts })?,
            rollout_grades: grades_of("rollout-grades", drawn)?,
            answer_classes: StageSpec::new("answer-classes", &classes_spec)?,
            grades: grades_of("grades", aggregates.digest())?,
            rollouts,
            aggregates,
        })
    }
}

/// A grader's name with its version, for example `verify-1`.
pub(crate) fn grader_id(profile: GraderProfile) -> String {
    format!("{}-{}", profile.name(), profile.version())
}
