//! Settings of a cell with every value explicit, as plans show them.

use preceptor_benchmarks::Wording;
use preceptor_endpoints::rollout_servers::ServerKind;
use serde::Serialize;

use crate::catalog::{AggregatorSettings, BenchmarkSettings, JudgeSettings, ObjectiveSettings};
use crate::manifest::settings::{EvalJudgeSettings, GraderSettings, PolicySettings};
use crate::manifest::tasks::ResolvedSplit;
use crate::manifest::train_settings::TrainSettings;
use crate::plan::stages::RewardTerm;

/// Settings of a cell with every value explicit.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedSettings<'a> {
    pub(crate) seed: u64,
    pub(crate) benchmark: &'a BenchmarkSettings,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) skip: usize,
    pub(crate) limit: usize,
    #[serde(flatten)]
    pub(crate) wording: &'a Wording,
    pub(crate) policy: &'a PolicySettings,
    pub(crate) sampling: ResolvedSampling<'a>,
    pub(crate) aggregator: &'a AggregatorSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<ResolvedAnchor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) judge: Option<ResolvedJudge<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reward: Option<ResolvedReward<'a>>,
    pub(crate) grader: GraderSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eval_judge: Option<&'a EvalJudgeSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<ResolvedTrain<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_out: Option<ResolvedSplit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<ResolvedSplit<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedTrain<'a> {
    #[serde(flatten)]
    pub(crate) settings: &'a TrainSettings,
    pub(crate) objective: &'a ObjectiveSettings,
    /// The program that samples the rollouts, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout_server: Option<ServerKind>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedAnchor<'a> {
    pub(crate) model: &'a str,
    pub(crate) temperature: f64,
    pub(crate) top_k: u32,
    pub(crate) top_p: f64,
    pub(crate) min_p: f64,
    pub(crate) max_new_tokens: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedJudge<'a> {
    pub(crate) model: &'a str,
    #[serde(flatten)]
    pub(crate) settings: &'a JudgeSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedReward<'a> {
    pub(crate) terms: &'a [RewardTerm],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ResolvedSampling<'a> {
    pub(crate) group_size: u32,
    pub(crate) temperature: f64,
    pub(crate) top_k: u32,
    pub(crate) top_p: f64,
    pub(crate) min_p: f64,
    pub(crate) max_new_tokens: u32,
    pub(crate) stop: &'a [String],
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
