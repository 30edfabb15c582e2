//! `rubric-likert`: the mean grade of a rollout on self-proposed criteria.
//!
//! ```text
//! c_1 .. c_n ~ pi_0( . | rubric prompt, s ),      r(o) = 1/n sum_k (g_k - 1) / 4,   g_k in 1 .. 5
//! ```
//!
//! As `rubric`, with a grade from 1 to 5 for each criterion in place of yes or no. A rollout of which a
//! grade is missing has no reward. It needs a judge that grades.
//!
//! Measures: `num-criteria`, `rubric-attempts` (replies asked for), `malformed-rubrics` (replies without
//! a rubric), `failed-verdicts` (missing grades), `satisfaction-variance` (over rollouts, of the
//! reward), `always-met` and `never-met` (shares of the criteria that every rollout gets 5 on, or 1),
//! `redundancy` (mean pairwise Jaccard similarity of the criteria's words).
//!
//! Not in the paper: an extension.

use preceptor_core::{
    Calls, CellFacts, Digest, GroupShape, Needs, OutOfRange, PromptError, Settings,
};
use serde::{Deserialize, Serialize};

use crate::rubric_cells::Grading;
use crate::rubric_config::RubricConfig;
use crate::{Form, rubric};

/// Form of this reward.
pub const FORM: Form = Form { grading: Grading::Likert, ..rubric::FORM };

/// Settings of this reward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Config(pub RubricConfig);

impl Settings for Config {
    const NAME: &'static str = "rubric-likert";
    const SUMMARY: &'static str =
        "the mean grade from 1 to 5 on criteria written from the pseudo-reference";
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
        JudgedCriterion, Origin, PseudoReference, RewardDeriver, RewardRequest, Sampling, Seed,
        Verdict,
    };
    use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};

    use super::*;
    use crate::RubricReward;

    #[test]
    fn every_criterion_is_graded_on_the_scale() {
        let anchor = ScriptedGenerator::new("anchor", |_, _| {
            "<criterion>a</criterion><criterion>b</criterion><criterion>c</criterion>".to_owned()
        });
        let judge = ScriptedJudge::new(|criterion, _| Verdict::of(criterion.text == "a"));
        let group = group(&["x"]);
        let reference = PseudoReference { text: "take 5 mg".to_owned(), origin: Origin::Written };
        let request =
            RewardRequest { group: &group, reference: Some(&reference), seed: Seed::root(0) };
        let config = RubricConfig::default();
        let deriver =
            RubricReward::new(FORM, &config, &anchor, &Sampling::default(), &judge).unwrap();
        let derived = deriver.derive(&[request]).unwrap().remove(0);
        let judged = &derived.rewards[0].judged;
        let is_rating = |one: &JudgedCriterion| matches!(one, JudgedCriterion::Rating { .. });
        assert!(judged.len() == 3 && judged.iter().all(is_rating));
        const { assert!(Config::NEEDS.grades && Config::NEEDS.reference) };
    }
}
