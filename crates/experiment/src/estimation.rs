//! What a cell's aggregator and reward make of groups, whatever policy answered.

use preceptor_core::{
    Aggregate, AggregateRequest, Group, GroupReward, Judge, LanguageModel, ModelRole, PromptId,
    PseudoReference, RewardDeriver, RewardRequest,
};
use preceptor_rewards::{Term, WeightedSum};

use crate::Error;
use crate::catalog::{Anchor, Context};
use crate::drawing::prompt_seed;
use crate::plan::Cell;
use crate::recorded_model::{RecordedModel, Switchboard};

/// The aggregator and the reward of a cell, with everybody they ask.
pub(crate) struct Estimation<'c, 'a> {
    pub(crate) cell: &'c Cell,
    pub(crate) board: &'c Switchboard<'a>,
    /// Who answered, for what asks the policy itself.
    pub(crate) policy: &'c dyn LanguageModel,
    /// Keeps the draws for rollouts of different policies apart.
    pub(crate) stage_prefix: &'c str,
}

impl Estimation<'_, '_> {
    /// Builds what is asked and hands it on.
    fn with_context<T>(
        &self,
        use_it: impl FnOnce(&Context<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { cell, board, policy, .. } = *self;
        let anchor = RecordedModel {
            board,
            role: ModelRole::Anchor,
            name: cell.anchor.name.clone(),
            identity: cell.anchor.identity.clone(),
        };
        let judge_model = cell.judge.as_ref().map(|judge| RecordedModel {
            board,
            role: ModelRole::Judge,
            name: judge.name.clone(),
            identity: judge.identity.clone(),
        });
        let judge = match (&cell.judge, &judge_model) {
            (Some(judge), Some(model)) => Some(judge.settings.build(model)?),
            _ => None,
        };
        use_it(&Context {
            tasks: &cell.tasks,
            grader: cell.grader,
            policy,
            anchor: Anchor { model: &anchor, sampling: &cell.anchor.sampling },
            judge: judge.as_deref().map(|judge| judge as &dyn Judge),
        })
    }

    /// One aggregate for each group.
    pub(crate) fn aggregates(&self, groups: &[&Group]) -> Result<Vec<Aggregate>, Error> {
        let Self { cell, stage_prefix, .. } = self;
        // The aggregator's name keeps the draws of two aggregators apart.
        let stage = format!("{stage_prefix}aggregate/{}", cell.aggregator.entry().name);
        let requests: Vec<_> = groups
            .iter()
            .map(|&group| AggregateRequest {
                group,
                seed: prompt_seed(cell.seed, &stage, &group.prompt.id),
            })
            .collect();
        self.with_context(|context| Ok(cell.aggregator.build(context)?.aggregate(&requests)?))
    }

    /// The rewards of each group.
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
                let name = term.settings.entry().name;
                let deriver = term.settings.build(context)?;
                terms.push(Term { name: name.to_owned(), weight: term.weight, deriver });
            }
            Ok(WeightedSum::new(terms).derive(&requests)?)
        })
    }
}
