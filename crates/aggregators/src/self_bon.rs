//! `self-bon`: the policy is shown its own rollouts and names the best one.
//!
//! The policy generates once per group. The rollouts are in a seeded order that does not depend on their
//! positions, so that a liking for the first one is spread evenly. A reply that names no single index,
//! or is cut off before it does, is recorded; what then counts is a setting.
//!
//! Measures: `readable` (1 if the reply names an index), `place` (position of the chosen one, from 1).
//!
//! Differs from the paper: it states neither the prompt nor whether the question is shown; here it
//! is, unless `question = false`.

use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Calls, Digest,
    Generator, GroupShape, Needs, OutOfRange, PortError, PromptError, PromptId, Rollout, Sampling,
    Settings,
};
use preceptor_text::{
    IndexReading, Template, TemplateError, question_block, read_index, without_thoughts,
};
use serde::{Deserialize, Serialize};

use crate::asking::{Question, ask, kept, unusable, usage};
use crate::lineup::{Lineup, choose_best};
use crate::order;
use crate::outcome::{abstained, chosen, flag, free};
use crate::shown;

const PROMPT: &str = include_str!("../prompts/self-bon-v1.md");
const PLACEHOLDERS: &[&str] = &["question", "count", "rollouts"];

/// Treatment of a group whose reply names no rollout.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnreadable {
    /// There is no pseudo-reference.
    #[default]
    Abstain,
    /// A rollout is drawn uniformly.
    Draw,
}

/// Settings of [`SelfBon`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Show the question to the policy. Default: true (our choice).
    pub question: bool,
    /// Treatment of a reply that names no rollout: `abstain`, or `draw` one at random. Default: `abstain`.
    pub on_unreadable: OnUnreadable,
    /// Divides the logits of the reply, 0 to 100; 0 takes the most likely token. Default: 0 (our
    /// choice).
    pub temperature: f64,
    /// Tokens after which the reply is cut off, 1 to 1000000. Default: 32 (our choice).
    pub max_new_tokens: u32,
    /// A prompt of your own with the placeholders `{{question}}`, `{{count}}` and `{{rollouts}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            question: true,
            on_unreadable: OnUnreadable::Abstain,
            temperature: 0.0,
            max_new_tokens: 32,
            prompt_text: None,
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "self-bon";
    const SUMMARY: &'static str = "the rollout that the policy itself names as the best";
    const NEEDS: Needs = Needs::POLICY;

    fn check(&self) -> Result<(), OutOfRange> {
        let Self { temperature, max_new_tokens, .. } = self;
        let is_allowed = (0.0..=100.0).contains(temperature);
        OutOfRange::check("temperature", temperature, is_allowed, "between 0 and 100")?;
        let is_allowed = (1..=1_000_000).contains(max_new_tokens);
        OutOfRange::check("max-new-tokens", max_new_tokens, is_allowed, "between 1 and 1000000")
    }

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(order::digest_with(template(self)?.digest().as_str())))
    }

    fn calls(&self, group: GroupShape) -> Calls {
        if group.num_rollouts < 2 {
            return Calls::NONE;
        }
        Calls { replies: 1, rollouts_read: group.num_rollouts, ..Calls::NONE }
    }

    fn max_new_tokens(&self) -> Option<u32> {
        Some(self.max_new_tokens)
    }
}

/// Selection by the policy.
pub struct SelfBon<'a> {
    config: Config,
    template: Template,
    policy: &'a dyn Generator,
}

/// Returns the prompt of `config`: the built-in one or the user's own.
///
/// # Errors
///
/// [`TemplateError`] if a placeholder is missing or unknown.
fn template(config: &Config) -> Result<Template, TemplateError> {
    match &config.prompt_text {
        None => Template::new("self-bon-v1.md", PROMPT, PLACEHOLDERS),
        Some(text) => Template::new("aggregator.prompt-text", text, PLACEHOLDERS),
    }
}

impl<'a> SelfBon<'a> {
    /// Creates the aggregator of `config` that asks `policy`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a placeholder.
    pub fn new(config: &Config, policy: &'a dyn Generator) -> Result<Self, TemplateError> {
        Ok(Self { template: template(config)?, config: config.clone(), policy })
    }

    fn question(&self, lineup: &Lineup<'_>) -> Question {
        let AggregateRequest { group, seed } = lineup.request;
        let prompt = &group.prompt;
        let question = if self.config.question {
            question_block(&prompt.question_text())
        } else {
            String::new()
        };
        let shown = lineup.texts();
        let count = shown.len().to_string();
        Question {
            id: PromptId::new(format!("{}/self-bon", prompt.id)),
            text: self.template.fill(&[&question, &count, &shown::numbered(&shown)]),
            seed: seed.derive("reply"),
        }
    }

    fn outcome(&self, lineup: &Lineup<'_>, reply: Option<&Rollout>) -> Aggregate {
        let Lineup { request, rollouts } = lineup;
        let Some(reply) = reply else { return abstained(AbstainReason::CallFailed) };
        let named = match read_index(&without_thoughts(&reply.text), rollouts.len()) {
            IndexReading::Index(index) => Some(index - 1),
            IndexReading::Contradictory | IndexReading::Unreadable => None,
        };
        let (outcome, index) = match (named, self.config.on_unreadable) {
            (Some(index), _) => (chosen(rollouts[index]), index),
            (None, OnUnreadable::Draw) => {
                let index = request.seed.derive("draw").draw_below(rollouts.len() as u64) as usize;
                (chosen(rollouts[index]), index)
            }
            (None, OnUnreadable::Abstain) => {
                let reason = unusable(Some(reply)).unwrap_or(AbstainReason::Unreadable);
                let outcome = AggregateOutcome::Abstained(reason);
                let aggregate = free(outcome, [("readable", 0.0)]);
                return Aggregate { replies: vec![kept(reply)], usage: usage(reply), ..aggregate };
            }
        };
        let readable = flag(named.is_some());
        let aggregate = free(outcome, [("readable", readable), ("place", (index + 1) as f64)]);
        Aggregate { replies: vec![kept(reply)], usage: usage(reply), ..aggregate }
    }
}

impl Aggregator for SelfBon<'_> {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        let sampling = Sampling {
            temperature: self.config.temperature,
            max_new_tokens: self.config.max_new_tokens,
            ..Sampling::default()
        };
        choose_best(requests, |lineups| {
            let questions = lineups.iter().map(|lineup| self.question(lineup)).collect();
            let replies = ask(self.policy, &sampling, questions)?;
            let answered = lineups.iter().zip(&replies);
            Ok(answered.map(|(lineup, reply)| self.outcome(lineup, reply.as_ref())).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Origin, Prompt, PromptBody, RolloutSeed, Seed};
    use preceptor_testkit::{ScriptedGenerator, group};

    use super::*;

    fn text_of(prompt: &Prompt) -> String {
        match &prompt.body {
            PromptBody::Text(text) => text.clone(),
            PromptBody::Chat(messages) => messages[0].content.clone(),
        }
    }

    /// Names the index of the response that holds `wanted`.
    fn finds(wanted: &'static str) -> impl Fn(&Prompt, RolloutSeed) -> String {
        move |prompt, _| {
            let text = text_of(prompt);
            let before = text.split(wanted).next().unwrap_or_default();
            format!("Response {}", before.matches("\nResponse ").count())
        }
    }

    fn aggregate(
        config: &Config,
        texts: &[&str],
        run: u64,
        answer: impl Fn(&Prompt, RolloutSeed) -> String,
    ) -> Aggregate {
        let policy = ScriptedGenerator::new("policy", answer);
        let group = group(texts);
        let request = AggregateRequest { group: &group, seed: Seed::root(run) };
        let aggregator = SelfBon::new(config, &policy).unwrap();
        aggregator.aggregate(&[request]).unwrap().remove(0)
    }

    #[test]
    fn the_named_rollout_is_found_wherever_it_stands() {
        let mut positions = std::collections::BTreeSet::new();
        for run in 0..30 {
            let aggregate =
                aggregate(&Config::default(), &["one", "zebra", "three"], run, finds("zebra"));
            let AggregateOutcome::Estimated(reference) = aggregate.outcome else { panic!() };
            assert_eq!(reference.origin, Origin::Rollout(1));
            positions.insert(aggregate.measures["place"] as u32);
        }
        assert_eq!(positions.len(), 3, "the order differs from run to run");
    }

    #[test]
    fn a_reply_without_an_index_is_recorded_and_the_setting_decides() {
        let vague = |_: &Prompt, _: RolloutSeed| "They are all fine.".to_owned();
        let refused = aggregate(&Config::default(), &["a", "b"], 0, vague);
        assert_eq!(refused.outcome, AggregateOutcome::Abstained(AbstainReason::Unreadable));
        assert_eq!(refused.measures["readable"], 0.0);
        assert_eq!(refused.replies[0].text, "They are all fine.");
        let config = Config { on_unreadable: OnUnreadable::Draw, ..Config::default() };
        let drawn = aggregate(&config, &["a", "b"], 0, vague);
        assert!(matches!(drawn.outcome, AggregateOutcome::Estimated(_)));
        assert_eq!(drawn.measures["readable"], 0.0);
    }

    #[test]
    fn one_rollout_is_taken_without_asking() {
        let never = |_: &Prompt, _: RolloutSeed| -> String { panic!("there is nothing to ask") };
        let alone = aggregate(&Config::default(), &["only"], 0, never);
        assert!(matches!(alone.outcome, AggregateOutcome::Estimated(_)));
    }

    #[test]
    fn a_prompt_of_ones_own_needs_its_placeholders() {
        let config = Config { prompt_text: Some("{{rollouts}}".to_owned()), ..Config::default() };
        assert!(template(&config).unwrap_err().to_string().contains("{{question}}"));
    }
}
