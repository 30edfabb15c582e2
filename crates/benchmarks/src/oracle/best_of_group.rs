//! `oracle`: a right rollout if the group has one. Its accuracy is pass@G, the ceiling of any
//! aggregator that selects.
//!
//! Measures: `num-correct`.

use std::collections::BTreeMap;

use preceptor_answers::GraderProfile;
use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Needs, Origin,
    PortError, PromptId, PseudoReference, Settings, Usage,
};
use serde::{Deserialize, Serialize};

use crate::{Label, TaskSet, grade};

/// Settings of [`BestOfGroup`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "oracle";
    const SUMMARY: &'static str = "a right rollout if there is one (sees labels): pass@G";
    const NEEDS: Needs = Needs::LABELS;
}

/// Takes the first right rollout.
#[derive(Clone, Debug)]
pub struct BestOfGroup {
    labels: BTreeMap<PromptId, Label>,
    grader: GraderProfile,
}

impl BestOfGroup {
    /// Returns the upper bound for `tasks` under `grader`.
    pub fn new(_config: &Config, tasks: &TaskSet, grader: GraderProfile) -> Self {
        let label = |task: &crate::Task| (task.prompt.id.clone(), task.label.clone());
        Self { labels: tasks.tasks.iter().map(label).collect(), grader }
    }

    fn aggregate_one(&self, request: &AggregateRequest<'_>) -> Result<Aggregate, PortError> {
        let group = request.group;
        let label = self.labels.get(&group.prompt.id).ok_or_else(|| PortError::Unsupported {
            component: "oracle",
            detail: format!("prompt `{}` has no label here", group.prompt.id),
        })?;
        let is_correct = |text: &str| grade(self.grader, label, text).score.value() == Some(1.0);
        let mut correct = group.rollouts.iter().filter(|rollout| is_correct(&rollout.text));
        let first = correct.next();
        let num_correct = usize::from(first.is_some()) + correct.count();
        let outcome = match first {
            Some(rollout) => AggregateOutcome::Estimated(PseudoReference {
                text: rollout.text.clone(),
                origin: Origin::Rollout(rollout.index),
            }),
            None => AggregateOutcome::Abstained(AbstainReason::NoneCorrect),
        };
        let measures = BTreeMap::from([("num-correct".to_owned(), num_correct as f64)]);
        Ok(Aggregate { outcome, measures, replies: Vec::new(), usage: Usage::default() })
    }
}

impl Aggregator for BestOfGroup {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        requests.iter().map(|request| self.aggregate_one(request)).collect()
    }
}
