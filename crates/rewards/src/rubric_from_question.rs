//! `rubric-from-question`: the fraction met of criteria that were written without a pseudo-reference.
//!
//! ```text
//! c_1 .. c_n ~ pi_0( . | rubric prompt, q ),      r(o) = 1/n sum_k [ judge says that o meets c_k ]
//! ```
//!
//! The ablation of `rubric`: all else equal, the anchor sees the question in place of the pseudo-reference,
//! so that it rewards groups that have none too.
//!
//! Measures: `num-criteria`, `rubric-attempts` (replies asked for), `malformed-rubrics` (replies without
//! a rubric), `failed-verdicts` (missing verdicts), `satisfaction-variance` (over rollouts, of the
//! reward), `always-met` and `never-met` (shares of the criteria that every rollout, or none, meets),
//! `redundancy` (mean pairwise Jaccard similarity of the criteria's words).
//!
//! Differs from the paper: the prompt is ours; the paper states neither what becomes of malformed rubrics
//! nor of failed verdicts.

use preceptor_core::{
    Generator, GroupReward, Judge, PortError, RewardDeriver, RewardRequest, Sampling,
};
use preceptor_text::{Template, TemplateError};

use crate::rubric_cells::Grading;
pub use crate::rubric_config::Config;
use crate::self_proposed::{SelfProposed, Source};

/// One line for lists.
pub const SUMMARY: &str = "the fraction met of criteria written from the question alone";

const PROMPT: &str = include_str!("../prompts/rubric-from-question-v1.md");
const PLACES: &[&str] = &["count", "question"];

/// The prompt of `config`: the built-in one or the user's own.
///
/// # Errors
///
/// [`TemplateError`] if a place is missing or unknown.
pub fn template(config: &Config) -> Result<Template, TemplateError> {
    match &config.prompt_text {
        None => Template::new("rubric-from-question-v1.md", PROMPT, PLACES),
        Some(text) => Template::new("reward.prompt-text", text, PLACES),
    }
}

/// Rewards the fraction met of criteria that come from the question.
pub struct RubricFromQuestion<'a>(SelfProposed<'a>);

impl<'a> RubricFromQuestion<'a> {
    /// The deriver of `config` that lets `anchor` write, drawing with `sampling`, and `judge` check.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a place.
    pub fn new(
        config: &Config,
        anchor: &'a dyn Generator,
        sampling: &Sampling,
        judge: &'a dyn Judge,
    ) -> Result<Self, TemplateError> {
        Ok(Self(SelfProposed {
            config: config.clone(),
            source: Source::Question,
            grading: Grading::YesNo,
            template: template(config)?,
            anchor,
            // Stop strings belong to the policy's own prompts.
            sampling: Sampling { stop: Vec::new(), ..sampling.clone() },
            judge,
        }))
    }
}

impl RewardDeriver for RubricFromQuestion<'_> {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        self.0.derive(requests)
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Seed, Verdict};
    use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};

    use super::*;

    #[test]
    fn the_anchor_sees_the_question_and_needs_no_pseudo_reference() {
        let anchor = ScriptedGenerator::new("anchor", |prompt, _| {
            let text = prompt.question_text();
            assert!(text.contains("what dose?") && text.contains("Write 5 criteria"));
            assert!(!text.contains("{{"));
            "<criterion>a</criterion><criterion>b</criterion><criterion>c</criterion>".to_owned()
        });
        let judge = ScriptedJudge::new(|criterion, _| Verdict::of(criterion.text == "a"));
        let mut group = group(&["x"]);
        group.prompt = preceptor_testkit::prompt("what dose?");
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
        let config = Config::default();
        let deriver =
            RubricFromQuestion::new(&config, &anchor, &Sampling::default(), &judge).unwrap();
        let derived = deriver.derive(&[request]).unwrap().remove(0);
        assert_eq!(derived.rewards[0].value.value(), Some(1.0 / 3.0));
    }

    #[test]
    fn a_prompt_of_ones_own_needs_its_places() {
        let config = Config { prompt_text: Some("{{count}}".to_owned()), ..Config::default() };
        assert!(template(&config).unwrap_err().to_string().contains("{{question}}"));
    }
}
