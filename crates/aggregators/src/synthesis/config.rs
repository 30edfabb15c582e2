//! Settings of `synthesis` and its prompts.

use preceptor_core::{
    Calls, CellFacts, Digest, GroupShape, Needs, OutOfRange, PromptError, Settings,
};
use preceptor_text::{Template, TemplateError};
use serde::{Deserialize, Serialize};

use crate::order;

const REASONING: &str = include_str!("../../prompts/synthesis-reasoning-v2.md");
const FREEFORM: &str = include_str!("../../prompts/synthesis-freeform-v2.md");
const PLACEHOLDERS: &[&str] = &["question", "rollouts"];

/// Built-in prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// For problems with a final answer.
    Reasoning,
    /// For everything else.
    Freeform,
}

impl Style {
    /// Returns the heading above the part that counts.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Reasoning => "Unified response",
            Self::Freeform => "Merged response",
        }
    }
}

/// Treatment of a reply that reached its token limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnCutOff {
    /// The text under the heading counts, if there is some.
    Keep,
    /// The group has no pseudo-reference.
    Abstain,
}

/// Settings of [`crate::Synthesis`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// `reasoning` or `freeform`. Default: `reasoning` where the benchmark has final answers, else
    /// `freeform` (paper).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Show the question to the anchor. Default: false (paper).
    pub question: bool,
    /// Number of rollouts that the anchor reads, at least 1: the first of the group. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollouts_in_context: Option<u32>,
    /// The most rollouts in one prompt, 2 or more; larger groups are synthesised as a tree. Default:
    /// no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fan_in: Option<u32>,
    /// The most tokens of a synthesis, 1 or more. Default: `anchor.max-new-tokens` where that is set, else
    /// twice `sampling.max-new-tokens` (our choice: a synthesis that is cut off is lost, a rollout is not).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// Treatment of a reply that reached its token limit: `keep` the text under the heading, or
    /// `abstain`. Default: `keep` with the style `freeform`, where a rubric scores whatever is there;
    /// `abstain` with `reasoning`, where the final answer comes last (our choice).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_cut_off: Option<OnCutOff>,
    /// A prompt of your own with the placeholders `{{question}}` and `{{rollouts}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
    /// The heading above the part that counts, in a prompt of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading: Option<String>,
}

impl Settings for Config {
    const NAME: &'static str = "synthesis";
    const SUMMARY: &'static str = "a new answer that the anchor writes from all rollouts";
    const NEEDS: Needs = Needs::ANCHOR;

    fn check(&self) -> Result<(), OutOfRange> {
        let at_least = |key, value: Option<u32>, least: u32, allowed| match value {
            None => Ok(()),
            Some(value) => OutOfRange::check(key, value, value >= least, allowed),
        };
        at_least("max-new-tokens", self.max_new_tokens, 1, "at least 1")?;
        at_least("rollouts-in-context", self.rollouts_in_context, 1, "at least 1")?;
        at_least("fan-in", self.fan_in, 2, "at least 2")
    }

    fn complete(&mut self, facts: &CellFacts) {
        let style = *self.style.get_or_insert(if facts.has_final_answers {
            Style::Reasoning
        } else {
            Style::Freeform
        });
        if self.max_new_tokens.is_none() {
            self.max_new_tokens = facts.rollout_tokens.map(|tokens| tokens.saturating_mul(2));
        }
        // Unset, `reasoning` abstains.
        if style == Style::Freeform {
            self.on_cut_off.get_or_insert(OnCutOff::Keep);
        }
    }

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(order::digest_with(template(self)?.digest().as_str())))
    }

    fn calls(&self, group: GroupShape) -> Calls {
        let group_size = group.num_rollouts;
        let shown = self.rollouts_in_context.map_or(group_size, |n| group_size.min(u64::from(n)));
        let fan_in = self.fan_in.map_or(u64::MAX, u64::from);
        let (mut replies, mut left) = (0, shown);
        loop {
            let chunks = left.div_ceil(fan_in);
            // A last chunk of one text goes up as it is.
            replies += chunks - u64::from(chunks > 1 && left % fan_in == 1);
            left = chunks;
            if left <= 1 {
                break;
            }
        }
        Calls { replies, rollouts_read: shown, ..Calls::NONE }
    }

    fn max_new_tokens(&self) -> Option<u32> {
        self.max_new_tokens
    }
}

/// Returns the prompt of `config`: the built-in one or the user's own.
///
/// # Errors
///
/// [`TemplateError`] if a placeholder is missing or unknown.
pub(super) fn template(config: &Config) -> Result<Template, TemplateError> {
    match (&config.prompt_text, config.style.unwrap_or(Style::Reasoning)) {
        (Some(text), _) => Template::new("aggregator.prompt-text", text, PLACEHOLDERS),
        (None, Style::Reasoning) => {
            Template::new("synthesis-reasoning-v2.md", REASONING, PLACEHOLDERS)
        }
        (None, Style::Freeform) => {
            Template::new("synthesis-freeform-v2.md", FREEFORM, PLACEHOLDERS)
        }
    }
}
