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
    Calls, CellFacts, Digest, GroupShape, Needs, OutOfRange, PromptError, Settings,
};
use serde::{Deserialize, Serialize};

use crate::rubric_cells::Grading;
use crate::rubric_config::RubricConfig;
use crate::rubric_reward::{Form, Source};

/// Form of this reward.
pub const FORM: Form = Form {
    source: Source::Question,
    grading: Grading::YesNo,
    prompt: ("rubric-from-question-v2.md", include_str!("../prompts/rubric-from-question-v2.md")),
    placeholders: &["count", "question"],
};

/// Settings of this reward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Config(pub RubricConfig);

impl Settings for Config {
    const NAME: &'static str = "rubric-from-question";
    const SUMMARY: &'static str = "the fraction met of criteria written from the question alone";
    const NEEDS: Needs = FORM.needs();

    fn check(&self) -> Result<(), OutOfRange> {
        self.0.check()
    }

    fn complete(&mut self, facts: &CellFacts) {
        self.0.complete(facts.scores_form);
    }

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(FORM.template(&self.0)?.digest().clone()))
    }

    fn calls(&self, group: GroupShape) -> Calls {
        self.0.calls(group)
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{RewardDeriver, RewardRequest, Sampling, Seed, Verdict};
    use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};

    use super::*;
    use crate::RubricReward;

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
        let config = RubricConfig::default();
        let deriver =
            RubricReward::new(FORM, &config, &anchor, &Sampling::default(), &judge).unwrap();
        let derived = deriver.derive(&[request]).unwrap().remove(0);
        assert_eq!(derived.rewards[0].value.value(), Some(1.0 / 3.0));
    }

    #[test]
    fn a_prompt_of_ones_own_needs_its_placeholders() {
        let prompt_text = Some("{{count}}".to_owned());
        let config = RubricConfig { prompt_text, ..RubricConfig::default() };
        assert!(FORM.template(&config).unwrap_err().to_string().contains("{{question}}"));
    }
}
