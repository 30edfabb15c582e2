//! `mutual-predictability`: the rollout that the others make likeliest.
//!
//! ```text
//! s = argmin_j  exp( -1/|o_j| sum_t log p(o_j,t | q, {o_i : i != j}, o_j,<t) )
//! ```
//!
//! For each rollout the policy reads the question, then the other G-1 rollouts, then gives the
//! log-probabilities of the rollout's own text; the end token is not part of it. So every rollout is
//! read G times: G forward passes over G rollouts per prompt. Rollouts are used whole. The others come
//! in a seeded order that does not depend on their positions. A rollout without text can't win, nor one
//! that does not fit into the context window behind the others.
//!
//! Measures: `perplexity` (of the chosen), `mean-perplexity`, `num-scored`, `tied`.
//!
//! Differs from the paper: it states neither the prompt nor the position of the question.

use preceptor_core::{
    AbstainReason, Aggregate, AggregateRequest, Aggregator, Calls, Continuation, Digest,
    GroupShape, ModelIdentity, Needs, PortError, Prompt, PromptBody, PromptError, PromptId,
    ScoreRequest, Scorer, Settings, Usage,
};
use preceptor_text::{Template, TemplateError, without_thoughts};
use serde::{Deserialize, Serialize};

use crate::confidence::{lowest_perplexity, mean};
use crate::order::{self, seeded_order};
use crate::outcome::{chosen, free};
use crate::shown;

const PROMPT: &str = include_str!("../prompts/mutual-predictability-v1.md");
const PLACEHOLDERS: &[&str] = &["question", "rollouts"];

/// Settings of [`MutualPredictability`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// A prompt of your own with the placeholders `{{question}}` and `{{rollouts}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Settings for Config {
    const NAME: &'static str = "mutual-predictability";
    const SUMMARY: &'static str = "the rollout that the other rollouts make likeliest";
    const NEEDS: Needs = Needs::POLICY;

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(order::digest_with(template(self)?.digest().as_str())))
    }

    /// Counts a score per rollout; each reads all others again.
    fn calls(&self, group: GroupShape) -> Calls {
        if group.num_rollouts < 2 {
            return Calls::NONE;
        }
        let scored = group.num_rollouts;
        Calls { scored, rollouts_read: scored * scored, ..Calls::NONE }
    }
}

/// Chooses by the perplexity of each rollout given the others.
pub struct MutualPredictability<'a> {
    template: Template,
    policy: &'a dyn Scorer,
    identity: ModelIdentity,
}

/// Returns the prompt of `config`: the built-in one or the user's own.
///
/// # Errors
///
/// [`TemplateError`] if a placeholder is missing or unknown.
fn template(config: &Config) -> Result<Template, TemplateError> {
    match &config.prompt_text {
        None => Template::new("mutual-predictability-v1.md", PROMPT, PLACEHOLDERS),
        Some(text) => Template::new("aggregator.prompt-text", text, PLACEHOLDERS),
    }
}

impl<'a> MutualPredictability<'a> {
    /// Creates the aggregator of `config` that lets `policy`, which is `identity`, score.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a placeholder.
    pub fn new(
        config: &Config,
        policy: &'a dyn Scorer,
        identity: &ModelIdentity,
    ) -> Result<Self, TemplateError> {
        Ok(Self { template: template(config)?, policy, identity: identity.clone() })
    }

    /// Returns the text to score and its context for each rollout of the group.
    fn questions(&self, request: &AggregateRequest<'_>) -> Vec<ScoreRequest> {
        let prompt = &request.group.prompt;
        let texts: Vec<_> = request.group.rollouts.iter().map(|o| o.text.as_str()).collect();
        let order = seeded_order(&request.group.rollouts, request.seed.derive("order"));
        let question = prompt.question_text();
        let of_rollout = |scored: usize| {
            let others: Vec<&str> =
                order.iter().filter(|&&i| i != scored).map(|&i| texts[i]).collect();
            let text = self.template.fill(&[&question, &shown::numbered(&others)]);
            ScoreRequest {
                prompt: Prompt::new(
                    PromptId::new(format!("{}/mutual-predictability", prompt.id)),
                    PromptBody::instruction(text, &self.identity),
                ),
                continuation: Continuation::Text(without_thoughts(texts[scored]).into_owned()),
            }
        };
        (0..texts.len()).map(of_rollout).collect()
    }
}

impl Aggregator for MutualPredictability<'_> {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        // Of one rollout there is nothing to choose.
        let asked: Vec<Vec<ScoreRequest>> = requests
            .iter()
            .map(|request| match request.group.rollouts.len() {
                0 | 1 => Vec::new(),
                _ => self.questions(request),
            })
            .collect();
        let flat: Vec<ScoreRequest> = asked.iter().flatten().cloned().collect();
        let mut scores = self.policy.score(&flat)?.into_iter();
        let mut aggregates = Vec::with_capacity(requests.len());
        for (request, asked) in requests.iter().zip(&asked) {
            let rollouts = &request.group.rollouts;
            let scored: Vec<_> = scores.by_ref().take(asked.len()).collect();
            if let [only] = rollouts.as_slice() {
                aggregates.push(free(chosen(only), []));
                continue;
            }
            let logprobs: Vec<Option<f64>> = scored.iter().map(|s| mean(&s.logprobs)).collect();
            let aggregate =
                lowest_perplexity(rollouts, &logprobs, request.seed, AbstainReason::PromptTooLong);
            let num_read: usize = scored.iter().map(|s| s.token_ids.len()).sum();
            let usage = Usage { num_prompt_tokens: num_read as u64, num_generated_tokens: 0 };
            aggregates.push(Aggregate { usage, ..aggregate });
        }
        Ok(aggregates)
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{AggregateOutcome, Digest, Group, Origin, Seed};
    use preceptor_testkit::{ScriptedScorer, group};
    use proptest::prelude::*;

    use super::*;

    fn identity() -> ModelIdentity {
        let digest = Digest::of(b"scorer");
        ModelIdentity {
            weights: digest.clone(),
            tokenizer: digest.clone(),
            template: Some(digest),
            attested: true,
        }
    }

    fn text_of(prompt: &Prompt) -> &str {
        match &prompt.body {
            PromptBody::Text(text) => text,
            PromptBody::Chat(messages) => &messages[0].content,
        }
    }

    /// Returns a log-probability that is higher the more of the continuation's words were read before.
    fn overlap(prompt: &Prompt, continuation: &Continuation) -> Vec<f32> {
        let Continuation::Text(text) = continuation else { panic!("texts are scored") };
        let before = text_of(prompt);
        text.split(' ').map(|word| if before.contains(word) { -0.1 } else { -4.0 }).collect()
    }

    fn aggregate(group: &Group) -> Aggregate {
        aggregate_by(group, overlap)
    }

    fn aggregate_by(
        group: &Group,
        logprobs: impl Fn(&Prompt, &Continuation) -> Vec<f32>,
    ) -> Aggregate {
        let scorer = ScriptedScorer::new(logprobs);
        let aggregator =
            MutualPredictability::new(&Config::default(), &scorer, &identity()).unwrap();
        let request = AggregateRequest { group, seed: Seed::root(0) };
        aggregator.aggregate(&[request]).unwrap().remove(0)
    }

    #[test]
    fn what_the_others_say_too_is_predictable() {
        let group = group(&["red blue", "green zebra", "blue green", "lonely words"]);
        let aggregate = aggregate(&group);
        let AggregateOutcome::Estimated(reference) = aggregate.outcome else { panic!() };
        assert_eq!(reference.origin, Origin::Rollout(2));
        assert!((aggregate.measures["perplexity"] - f64::from(0.1_f32).exp()).abs() < 1e-6);
    }

    #[test]
    fn each_rollout_is_scored_behind_all_others_and_never_behind_itself() {
        let scorer = ScriptedScorer::new(overlap);
        let aggregator =
            MutualPredictability::new(&Config::default(), &scorer, &identity()).unwrap();
        let group = group(&["alpha", "beta", "gamma"]);
        let questions =
            aggregator.questions(&AggregateRequest { group: &group, seed: Seed::root(0) });
        for (question, own) in questions.iter().zip(["alpha", "beta", "gamma"]) {
            for text in ["alpha", "beta", "gamma"] {
                assert_eq!(text_of(&question.prompt).contains(text), text != own, "{own} {text}");
            }
        }
    }

    #[test]
    fn one_rollout_needs_no_scoring() {
        let scorer = ScriptedScorer::new(|_, _| panic!("there is nothing to score"));
        let aggregator =
            MutualPredictability::new(&Config::default(), &scorer, &identity()).unwrap();
        let group = group(&["only"]);
        let request = AggregateRequest { group: &group, seed: Seed::root(0) };
        let aggregate = aggregator.aggregate(&[request]).unwrap().remove(0);
        assert!(matches!(aggregate.outcome, AggregateOutcome::Estimated(_)));
    }

    proptest! {
        #[test]
        fn permuting_the_group_changes_no_aggregate_without_a_tie(
            texts in prop::collection::vec("[a-f]( [a-f]){0,3}", 2..6),
            shuffle in any::<u64>(),
        ) {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let group = group(&texts);
            let mut permuted = group.clone();
            permuted.rollouts.sort_by_key(|o| Seed::root(shuffle).derive_index(o.index.into()));
            // A number that depends on everything that was read and scored, to the letter.
            let arbitrary = |prompt: &Prompt, continuation: &Continuation| {
                let read = format!("{continuation:?} after {}", text_of(prompt));
                vec![-((Seed::root(0).derive(&read).draw_below(1 << 20) + 1) as f32) / 1e5]
            };
            let first = aggregate_by(&group, arbitrary);
            let second = aggregate_by(&permuted, arbitrary);
            prop_assume!(first.measures["tied"] == 0.0);
            prop_assert_eq!(first, second);
        }
    }
}
