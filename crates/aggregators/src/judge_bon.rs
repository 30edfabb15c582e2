//! `judge-bon`: an independent judge is shown the rollouts and names the best one.
//!
//! `self-bon` with another reader: the judge of `[judge]`, with its own prompt and retries. The
//! rollouts come in a seeded order that does not depend on their positions.
//!
//! Measures: `readable` (1 if the judge named one), `attempts`, `place` (position of the chosen one,
//! from 1).
//!
//! Not in the paper: an extension.

use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Calls, ChoiceRequest,
    Digest, GroupShape, Judge, JudgeFailure, Judged, Needs, PortError, PromptError, Rating, Reply,
    Settings,
};
use serde::{Deserialize, Serialize};

use crate::lineup::{Lineup, choose_best};
use crate::order;
use crate::outcome::{chosen, free};

/// Settings of [`JudgeBon`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Show the question to the judge. Default: true (our choice).
    pub question: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { question: true }
    }
}

impl Settings for Config {
    const NAME: &'static str = "judge-bon";
    const SUMMARY: &'static str = "the rollout that the judge names as the best";
    const NEEDS: Needs = Needs::GRADES;

    /// Covers the order of the rollouts; the prompt is the judge's.
    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(order::digest_with("")))
    }

    fn calls(&self, group: GroupShape) -> Calls {
        if group.num_rollouts < 2 {
            return Calls::NONE;
        }
        Calls { judged: 1, rollouts_read: group.num_rollouts, ..Calls::NONE }
    }
}

/// Selection by a judge.
pub struct JudgeBon<'a> {
    config: Config,
    judge: &'a dyn Judge,
}

impl<'a> JudgeBon<'a> {
    /// Creates the aggregator of `config` that asks `judge`.
    pub fn new(config: &Config, judge: &'a dyn Judge) -> Self {
        Self { config: config.clone(), judge }
    }
}

impl Aggregator for JudgeBon<'_> {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        choose_best(requests, |lineups| {
            let texts: Vec<Vec<&str>> = lineups.iter().map(Lineup::texts).collect();
            let choices: Vec<ChoiceRequest<'_>> = lineups
                .iter()
                .zip(&texts)
                .map(|(lineup, responses)| ChoiceRequest {
                    prompt: self.config.question.then_some(&lineup.request.group.prompt),
                    responses,
                })
                .collect();
            let judged = self.judge.choices(&choices)?;
            Ok(lineups.iter().zip(&judged).map(|(lineup, one)| outcome(lineup, one)).collect())
        })
    }
}

fn outcome(lineup: &Lineup<'_>, judged: &Judged<Rating>) -> Aggregate {
    let attempts = f64::from(judged.evidence.num_attempts);
    let aggregate = match judged.answer {
        Rating::Rated(index) => match lineup.rollouts.get(index as usize) {
            Some(rollout) => {
                let position = f64::from(index) + 1.0;
                let measures = [("readable", 1.0), ("attempts", attempts), ("place", position)];
                free(chosen(rollout), measures)
            }
            None => {
                let outcome = AggregateOutcome::Abstained(AbstainReason::Unreadable);
                free(outcome, [("readable", 0.0), ("attempts", attempts)])
            }
        },
        Rating::Failed(failure) => {
            let outcome = AggregateOutcome::Abstained(match failure {
                JudgeFailure::CallFailed => AbstainReason::CallFailed,
                JudgeFailure::Refused => AbstainReason::Refused,
                JudgeFailure::CutOff => AbstainReason::CutOff,
                JudgeFailure::PromptTooLong => AbstainReason::PromptTooLong,
                JudgeFailure::Unreadable | JudgeFailure::Contradictory => AbstainReason::Unreadable,
            });
            free(outcome, [("readable", 0.0), ("attempts", attempts)])
        }
    };
    let replies = if judged.evidence.reply.is_empty() {
        Vec::new()
    } else {
        let text = judged.evidence.reply.clone();
        vec![Reply { text, finish: None }]
    };
    Aggregate { replies, usage: judged.usage, ..aggregate }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Criterion, Origin, Seed, Verdict};
    use preceptor_testkit::{ScriptedJudge, group};

    use super::*;

    fn aggregate(texts: &[&str], verdict: impl Fn(&Criterion, &str) -> Verdict) -> Aggregate {
        let judge = ScriptedJudge::new(verdict);
        let group = group(texts);
        let request = AggregateRequest { group: &group, seed: Seed::root(3) };
        JudgeBon::new(&Config::default(), &judge).aggregate(&[request]).unwrap().remove(0)
    }

    #[test]
    fn the_judges_choice_is_mapped_back_to_its_rollout() {
        let aggregate =
            aggregate(&["a", "b", "zebra", "d"], |_, text| Verdict::of(text == "zebra"));
        let AggregateOutcome::Estimated(reference) = aggregate.outcome else { panic!() };
        assert_eq!(reference.origin, Origin::Rollout(2));
    }

    #[test]
    fn a_judge_that_fails_leaves_no_pseudo_reference() {
        let aggregate = aggregate(&["a", "b"], |_, _| Verdict::Failed(JudgeFailure::CallFailed));
        assert_eq!(aggregate.outcome, AggregateOutcome::Abstained(AbstainReason::CallFailed));
    }
}
