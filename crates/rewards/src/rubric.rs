//! `rubric`: the fraction of self-proposed criteria that a rollout meets.
//!
//! ```text
//! c_1 .. c_n ~ pi_0( . | rubric prompt, s ),      r(o) = 1/n sum_k [ judge says that o meets c_k ]
//! ```
//!
//! The anchor sees the pseudo-reference and not the question; the judge sees criterion and rollout and not
//! the pseudo-reference. A rollout of which a verdict is missing has no reward; a group whose rubric can't
//! be read has none at all.
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
    source: Source::Reference,
    grading: Grading::YesNo,
    prompt: ("rubric-from-reference-v2.md", include_str!("../prompts/rubric-from-reference-v2.md")),
    placeholders: &["count", "reference"],
};

/// Settings of this reward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Config(pub RubricConfig);

impl Settings for Config {
    const NAME: &'static str = "rubric";
    const SUMMARY: &'static str = "the fraction met of criteria written from the pseudo-reference";
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
    use preceptor_core::{
        Origin, PseudoReference, RewardDeriver, RewardRequest, Sampling, Seed, Verdict,
    };
    use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};

    use super::*;
    use crate::RubricReward;

    #[test]
    fn the_anchor_sees_the_pseudo_reference_and_not_the_question() {
        let anchor = ScriptedGenerator::new("anchor", |prompt, _| {
            let text = prompt.question_text();
            assert!(text.contains("take 5 mg") && text.contains("Write 5 criteria"));
            assert!(!text.contains("{{") && !text.contains("what dose"));
            "<criterion>a</criterion><criterion>b</criterion><criterion>c</criterion>".to_owned()
        });
        let judge = ScriptedJudge::new(|criterion, _| Verdict::of(criterion.text == "a"));
        let mut group = group(&["x"]);
        group.prompt = preceptor_testkit::prompt("what dose?");
        let text = "take 5 mg".to_owned();
        let reference = PseudoReference { text, origin: Origin::Written };
        let request =
            RewardRequest { group: &group, reference: Some(&reference), seed: Seed::root(0) };
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
        assert!(FORM.template(&config).unwrap_err().to_string().contains("{{reference}}"));
    }
}
