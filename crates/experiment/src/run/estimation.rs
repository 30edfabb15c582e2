//! Aggregates and rewards of groups, for any policy.

use preceptor_core::{
    Aggregate, AggregateRequest, Group, GroupReward, Judge, LanguageModel, ModelRole, PromptId,
    PseudoReference, RewardDeriver, RewardRequest,
};
use preceptor_rewards::{Term, WeightedSum};

use crate::Error;
use crate::catalog::{Anchor, Context, Entry};
use crate::plan::cell::Cell;
use crate::run::cached_model::CachedModel;
use crate::run::seeds::prompt_seed;
use crate::run::session::Session;

/// Aggregator and reward of a cell, with the models that they ask.
pub(crate) struct Estimation<'c, 'a> {
    pub(crate) cell: &'c Cell,
    pub(crate) session: &'c Session<'a>,
    /// The policy, for components that ask it.
    pub(crate) policy: &'c dyn LanguageModel,
    /// Keeps the random streams for rollouts of different policies apart.
    pub(crate) stage_prefix: &'c str,
}

impl Estimation<'_, '_> {
    /// Builds the context of the components and passes it on.
    fn with_context<T>(
        &self,
        build: impl FnOnce(&Context<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { cell, session, policy, .. } = *self;
        let anchor = CachedModel {
            session,
            role: ModelRole::Anchor,
            name: cell.anchor.name.clone(),
            identity: cell.anchor.identity.clone(),
        };
        let judge_model = cell.judge.as_ref().map(|judge| CachedModel {
            session,
            role: ModelRole::Judge,
            name: judge.name.clone(),
            identity: judge.identity.clone(),
        });
        let judge = match (&cell.judge, &judge_model) {
            (Some(judge), Some(model)) => Some(judge.settings.build(model)?),
            _ => None,
        };
        build(&Context {
            tasks: Some(&cell.tasks),
            grader: cell.grader,
            policy: Some(policy),
            anchor: Some(Anchor { model: &anchor, sampling: &cell.anchor.sampling }),
            judge: judge.as_deref().map(|judge| judge as &dyn Judge),
        })
    }

    /// Returns an aggregate for each group.
    pub(crate) fn aggregates(&self, groups: &[&Group]) -> Result<Vec<Aggregate>, Error> {
        let Self { cell, stage_prefix, .. } = self;
        // The aggregator's name keeps the random streams of two aggregators apart.
        let stage = format!("{stage_prefix}aggregate/{}", cell.aggregator.entry().name);
        let requests: Vec<_> = groups
            .iter()
            .map(|&group| AggregateRequest {
                group,
                seed: prompt_seed(cell.seed, &stage, &group.prompt.id),
            })
            .collect();
        self.with_context(|context| {
            let context = context.restricted_to(cell.aggregator.entry().needs);
            Ok(cell.aggregator.build(&context)?.aggregate(&requests)?)
        })
    }

    /// Returns the rewards of each group.
    pub(crate) fn rewards<'r>(
        &self,
        groups: &[&Group],
        reference: &dyn Fn(&PromptId) -> Option<&'r PseudoReference>,
    ) -> Result<Vec<GroupReward>, Error> {
        let Self { cell, stage_prefix, .. } = self;
        let stage = format!("{stage_prefix}reward");
        let requests: Vec<_> = groups
            .iter()
            .map(|&group| RewardRequest {
                group,
                reference: reference(&group.prompt.id),
                seed: prompt_seed(cell.seed, &stage, &group.prompt.id),
            })
            .collect();
        self.with_context(|context| {
            let mut terms = Vec::new();
            for term in &cell.reward {
                let Entry { name, needs, .. } = term.settings.entry();
                let deriver = term.settings.build(&context.restricted_to(needs))?;
                terms.push(Term { name: name.to_owned(), weight: term.weight, deriver });
            }
            Ok(WeightedSum::new(terms).derive(&requests)?)
        })
    }
}
