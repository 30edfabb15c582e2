//! Views of a group and of everything that was made from it, as slices hold them.

use std::collections::BTreeMap;

use preceptor_core::record::{GradeRecord, Score, TokenTraceRecord};
use preceptor_core::{
    Aggregate, AggregateOutcome, GroupReward, Origin, Reward, RewardValue, Rollout,
};
use serde::{Serialize, Serializer};

use crate::explorer::judged::{JudgedView, judged_views};
use crate::explorer::texts::{TextId, Texts};

/// A group with everything that was made from it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GroupView {
    /// The key of the group in its stage.
    pub(crate) key: String,
    pub(crate) rollouts: Vec<RolloutView>,
    /// By estimate of the set; none where a condition does not cover the prompt.
    pub(crate) estimates: Vec<Option<EstimateView>>,
    /// By reward of the set, likewise.
    pub(crate) rewards: Vec<Option<RewardView>>,
    /// Names of the filters that the group passes.
    #[serde(skip)]
    pub(crate) flags: Vec<String>,
    #[serde(skip)]
    pub(crate) tokens: Vec<TokensView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RolloutView {
    /// The key of the rollout in its stage; none where it is part of its group's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    pub(crate) text: TextId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) extraction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<u32>,
    pub(crate) finish: &'static str,
    pub(crate) num_tokens: u64,
    #[serde(serialize_with = "short")]
    pub(crate) logprob: f64,
    #[serde(serialize_with = "short_if_any", skip_serializing_if = "Option::is_none")]
    pub(crate) advantage: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) judged: Vec<JudgedView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EstimateView {
    /// The rollout that it is, or `written`, or the reason why there is none.
    pub(crate) origin: String,
    /// The rollout that it is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rollout: Option<u32>,
    /// The whole text, if a model wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<TextId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) measures: BTreeMap<String, f64>,
    /// The replies of the model that wrote it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) replies: Vec<TextId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) judged: Vec<JudgedView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RewardView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rubric: Vec<TextId>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) measures: BTreeMap<String, f64>,
    /// The reason why there are no rewards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    pub(crate) rollouts: Vec<RolloutRewardView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RolloutRewardView {
    pub(crate) value: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) judged: Vec<JudgedView>,
}

/// The tokens of a rollout.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TokensView {
    ids: Vec<u32>,
    /// Log-probabilities under the unmodified distribution.
    logprobs: Vec<f64>,
    /// Those under the distribution of the policy gradient, where they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policy: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept_mass: Vec<f64>,
}

impl TokensView {
    pub(crate) fn new(rollout: &Rollout, trace: Option<&TokenTraceRecord>) -> Self {
        let numbers = |values: &[f32]| values.iter().map(|&value| rounded(value.into())).collect();
        Self {
            ids: rollout.token_ids.clone(),
            logprobs: numbers(&rollout.logprobs),
            policy: trace.map(|trace| numbers(&trace.logprobs)).unwrap_or_default(),
            kept_mass: trace.map(|trace| numbers(&trace.kept_mass)).unwrap_or_default(),
        }
    }
}

fn numbers(measures: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    measures.iter().map(|(name, value)| (name.clone(), rounded(*value))).collect()
}

fn short<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*value))
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn short_if_any<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(rounded).serialize(serializer)
}

/// Rounds to four decimals, which is what a reader can use.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl RolloutView {
    /// Shows a rollout without its grade.
    pub(crate) fn new(key: Option<String>, rollout: Option<&Rollout>, texts: &mut Texts) -> Self {
        let logprobs = rollout.map(|rollout| rollout.logprobs.as_slice()).unwrap_or_default();
        Self {
            key,
            text: texts.add(rollout.map_or("", |rollout| &rollout.text)),
            answer: None,
            extraction: String::new(),
            score: None,
            reason: String::new(),
            class: None,
            finish: rollout.map_or("failed", |rollout| rollout.finish.name()),
            num_tokens: rollout.map_or(0, Rollout::num_tokens),
            logprob: logprobs.iter().map(|&logprob| f64::from(logprob)).sum(),
            advantage: None,
            judged: Vec::new(),
        }
    }

    pub(crate) fn add_grade(&mut self, grade: &GradeRecord, texts: &mut Texts) {
        self.answer.clone_from(&grade.answer);
        self.extraction.clone_from(&grade.extraction);
        self.score = grade.score.value();
        self.reason = reason(&grade.reason, &grade.score);
        self.judged = judged_views(&grade.judged, texts);
    }
}

impl EstimateView {
    /// Shows a pseudo-reference without its grade.
    pub(crate) fn new(aggregate: Option<&Aggregate>, texts: &mut Texts) -> Self {
        let (origin, rollout, text) = match aggregate.map(|aggregate| &aggregate.outcome) {
            Some(AggregateOutcome::Estimated(reference)) => match reference.origin {
                Origin::Rollout(index) => (format!("rollout {index}"), Some(index), None),
                Origin::Written => ("written".to_owned(), None, Some(texts.add(&reference.text))),
            },
            Some(AggregateOutcome::Abstained(reason)) => {
                (format!("none: {}", reason.name()), None, None)
            }
            None => ("failed".to_owned(), None, None),
        };
        let replies = aggregate.map(|aggregate| aggregate.replies.as_slice()).unwrap_or_default();
        Self {
            origin,
            rollout,
            text,
            answer: None,
            score: None,
            reason: String::new(),
            measures: aggregate.map(|aggregate| numbers(&aggregate.measures)).unwrap_or_default(),
            replies: replies.iter().map(|reply| texts.add(&reply.text)).collect(),
            judged: Vec::new(),
        }
    }

    pub(crate) fn add_grade(&mut self, grade: &GradeRecord, texts: &mut Texts) {
        self.answer.clone_from(&grade.answer);
        self.score = grade.score.value();
        self.reason = reason(&grade.reason, &grade.score);
        self.judged = judged_views(&grade.judged, texts);
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.origin == "failed"
    }
}

impl RewardView {
    pub(crate) fn new(
        group: Option<&GroupReward>,
        failure: Option<String>,
        texts: &mut Texts,
    ) -> Self {
        let rubric = group.and_then(|group| group.rubric.as_ref());
        let criteria = rubric.map(|rubric| rubric.criteria.as_slice()).unwrap_or_default();
        let mut rollout = |reward: &Reward| RolloutRewardView {
            value: reward.value.value(),
            reason: match reward.value {
                RewardValue::Rewarded(_) => reward.reason.clone(),
                RewardValue::Unrewarded(reason) => format!("none: {}", reason.name()),
            },
            judged: judged_views(&reward.judged, texts),
        };
        let rollouts: Vec<_> =
            group.map(|group| group.rewards.iter().map(&mut rollout).collect()).unwrap_or_default();
        Self {
            rubric: criteria.iter().map(|one| texts.add(&one.text)).collect(),
            measures: group.map(|group| numbers(&group.measures)).unwrap_or_default(),
            failure,
            rollouts,
        }
    }

    /// Returns the mean of the rewards that there are.
    pub(crate) fn mean(&self) -> Option<f64> {
        mean(self.rollouts.iter().map(|rollout| rollout.value))
    }
}

/// Returns the mean of the values that are there.
pub(crate) fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the reason for a score, or why there is none.
pub(crate) fn reason(reason: &str, score: &Score) -> String {
    match score {
        Score::Scored(_) => reason.to_owned(),
        Score::Unscored(why) => format!("unscored: {why}"),
    }
}
