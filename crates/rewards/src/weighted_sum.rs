//! Several rewards added up.
//!
//! ```text
//! r(o) = sum_t w_t r_t(o)
//! ```
//!
//! A rollout that one term does not reward has no reward: a sum over fewer terms is another quantity.
//! The reason names the term; if several terms give none, one that asking again later won't mend counts
//! first, then the first.
//!
//! Measures keep their names; one that several terms have is called `term.measure` for each of them.
//! The judge's answers of all terms are in the order of the terms; the rubric is that of the first
//! term with one. Two terms of one name are told apart by their number: `rubric`, `rubric-2`.
//!
//! Terms are derived one after the other, each for all groups at once.

use std::collections::BTreeMap;

use preceptor_core::{
    GroupReward, PortError, Reward, RewardDeriver, RewardRequest, RewardValue, UnrewardedReason,
    Usage,
};

/// Term of a sum.
pub struct Term<'a> {
    /// Name in reasons and measures.
    pub name: String,
    /// Finite factor; a negative one inverts the reward.
    pub weight: f64,
    /// The reward.
    pub deriver: Box<dyn RewardDeriver + 'a>,
}

/// Adds up its terms.
pub struct WeightedSum<'a> {
    terms: Vec<Term<'a>>,
}

impl<'a> WeightedSum<'a> {
    /// Creates the sum of `terms`; without any, every reward is 0.
    pub fn new(mut terms: Vec<Term<'a>>) -> Self {
        let mut num_called: BTreeMap<String, u32> = BTreeMap::new();
        for term in &mut terms {
            let count = num_called.entry(term.name.clone()).or_insert(0);
            *count += 1;
            if *count > 1 {
                term.name = format!("{}-{count}", term.name);
            }
        }
        Self { terms }
    }

    /// Returns the sum for one group, `derived` holding what each term made of it.
    fn sum(&self, num_rollouts: usize, derived: Vec<GroupReward>) -> GroupReward {
        let mut usage = Usage::default();
        let mut rubric = None;
        let mut rewards: Vec<Vec<Reward>> = (0..num_rollouts).map(|_| Vec::new()).collect();
        let mut measures: Vec<BTreeMap<String, f64>> = Vec::new();
        for group in derived {
            usage += group.usage;
            rubric = rubric.or(group.rubric);
            measures.push(group.measures);
            for (index, reward) in group.rewards.into_iter().enumerate() {
                if let Some(terms) = rewards.get_mut(index) {
                    terms.push(reward);
                }
            }
        }
        GroupReward {
            rewards: rewards.into_iter().map(|terms| self.add(terms)).collect(),
            rubric,
            measures: self.merge(&measures),
            usage,
        }
    }

    /// Returns the sum for one rollout.
    fn add(&self, rewards: Vec<Reward>) -> Reward {
        let mut sum = 0.0;
        let mut missing: Option<UnrewardedReason> = None;
        let mut reasons = Vec::new();
        let mut judged = Vec::new();
        for (Term { name, weight, .. }, reward) in self.terms.iter().zip(rewards) {
            match reward.value {
                RewardValue::Rewarded(value) => {
                    sum += weight * value;
                    reasons.push(format!("{name} {weight} * {value} ({})", reward.reason));
                }
                RewardValue::Unrewarded(reason) => {
                    if missing.is_none_or(|m| m.is_transient() && !reason.is_transient()) {
                        missing = Some(reason);
                    }
                    reasons.push(format!("{name} missing ({})", reward.reason));
                }
            }
            judged.extend(reward.judged);
        }
        let value = missing.map_or(RewardValue::Rewarded(sum), RewardValue::Unrewarded);
        Reward { value, reason: reasons.join("; "), judged }
    }

    fn merge(&self, measures: &[BTreeMap<String, f64>]) -> BTreeMap<String, f64> {
        let mut merged = BTreeMap::new();
        for (term, of_term) in self.terms.iter().zip(measures) {
            for (name, value) in of_term {
                let clashes = measures.iter().filter(|other| other.contains_key(name)).count() > 1;
                let name = if clashes { format!("{}.{name}", term.name) } else { name.clone() };
                merged.insert(name, *value);
            }
        }
        merged
    }
}

impl RewardDeriver for WeightedSum<'_> {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let mut of_groups: Vec<Vec<GroupReward>> = requests.iter().map(|_| Vec::new()).collect();
        for term in &self.terms {
            for (of_group, derived) in of_groups.iter_mut().zip(term.deriver.derive(requests)?) {
                of_group.push(derived);
            }
        }
        let sizes = requests.iter().map(|request| request.group.rollouts.len());
        Ok(sizes.zip(of_groups).map(|(size, derived)| self.sum(size, derived)).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{JudgeFailure, Origin, PseudoReference, Seed, Verdict};
    use preceptor_testkit::{ScriptedJudge, boxed_group, group};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        AnswerMatch, Constant, JudgeEquivalence, JudgeScalar, LengthPenalty, answer_match,
        constant, judge_equivalence, judge_scalar, length_penalty, permuting,
    };

    fn term<'a>(name: &str, weight: f64, deriver: impl RewardDeriver + 'a) -> Term<'a> {
        Term { name: name.to_owned(), weight, deriver: Box::new(deriver) }
    }

    fn reference() -> PseudoReference {
        PseudoReference { text: r"\boxed{1}".to_owned(), origin: Origin::Written }
    }

    #[test]
    fn terms_are_weighted_and_added() {
        let group = boxed_group(&["1", "2"]);
        let reference = reference();
        let sum = WeightedSum::new(vec![
            term("answer-match", 2.0, AnswerMatch::new(&answer_match::Config::default())),
            term(
                "length-penalty",
                0.5,
                LengthPenalty::new(&length_penalty::Config { max_tokens: 3 }),
            ),
            term("constant", -1.0, Constant::new(&constant::Config { value: 0.25 })),
        ]);
        let request =
            RewardRequest { group: &group, reference: Some(&reference), seed: Seed::root(0) };
        let derived = sum.derive(&[request]).unwrap().remove(0);
        let values: Vec<_> = derived.rewards.iter().map(|reward| reward.value.value()).collect();
        assert_eq!(values, [Some(2.0 - 0.5 - 0.25), Some(-0.75)]);
        assert!(derived.rewards[0].reason.contains("length-penalty 0.5 * -1 ("));
        assert!(derived.measures.contains_key("answered"));
        assert!(derived.measures.contains_key("too-long"));
    }

    #[test]
    fn a_missing_term_leaves_no_reward_and_is_named() {
        let judge = ScriptedJudge::new(|_, response| match response {
            "odd" => Verdict::Failed(JudgeFailure::CallFailed),
            _ => Verdict::Met,
        });
        let group = group(&["fine", "odd"]);
        let scalar = || JudgeScalar::new(&judge_scalar::Config::default(), &judge);
        let sum = WeightedSum::new(vec![
            term("constant", 1.0, Constant::new(&constant::Config { value: 1.0 })),
            term("judge-scalar", 1.0, scalar()),
        ]);
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
        let derived = sum.derive(&[request]).unwrap().remove(0);
        assert_eq!(derived.rewards[0].value, RewardValue::Rewarded(2.0));
        let failed = UnrewardedReason::Judge(JudgeFailure::CallFailed);
        assert_eq!(derived.rewards[1].value, RewardValue::Unrewarded(failed));
        assert!(derived.rewards[1].reason.contains("judge-scalar missing (no grade: call-failed)"));
        assert_eq!(derived.rewards[1].judged.len(), 1);

        // Without a pseudo-reference asking again won't help, whatever the other term says.
        let equivalence = JudgeEquivalence::new(&judge_equivalence::Config::default(), &judge);
        let sum = WeightedSum::new(vec![
            term("judge-scalar", 1.0, scalar()),
            term("judge", 1.0, equivalence),
        ]);
        let derived = sum.derive(&[request]).unwrap().remove(0);
        let missing = RewardValue::Unrewarded(UnrewardedReason::NoReference);
        assert_eq!(derived.rewards[1].value, missing);
        assert!(!derived.is_transient());
    }

    #[test]
    fn measures_that_clash_carry_the_name_of_their_term() {
        let judge = ScriptedJudge::new(|_, _| Verdict::Met);
        let (group, reference) = (group(&["a"]), reference());
        let scalar = || JudgeScalar::new(&judge_scalar::Config::default(), &judge);
        let equivalence = JudgeEquivalence::new(&judge_equivalence::Config::default(), &judge);
        let sum = WeightedSum::new(vec![
            term("judge-scalar", 1.0, scalar()),
            term("judge", 1.0, equivalence),
            term("judge-scalar", 1.0, scalar()),
            term("length", 1.0, LengthPenalty::new(&length_penalty::Config::default())),
        ]);
        let request =
            RewardRequest { group: &group, reference: Some(&reference), seed: Seed::root(0) };
        let derived = sum.derive(&[request]).unwrap().remove(0);
        let names: Vec<_> = derived.measures.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "judge-scalar-2.failed-verdicts",
                "judge-scalar.failed-verdicts",
                "judge.failed-verdicts",
                "too-long",
                "word-counted",
            ]
        );
        assert_eq!(derived.rewards[0].judged.len(), 3);
        assert_eq!(derived.usage.num_prompt_tokens, 3);
    }

    proptest! {
        #[test]
        fn a_sum_is_the_sum_and_follows_its_rollouts(
            texts in prop::collection::vec("good|bad|odd", 0..6),
            weight in -2.0..2.0_f64,
            shuffle: u64,
        ) {
            let judge = ScriptedJudge::new(|_, response| match response {
                "odd" => Verdict::Failed(JudgeFailure::Refused),
                _ => Verdict::of(response == "good"),
            });
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let group = group(&texts);
            let sum = WeightedSum::new(vec![
                term("a", weight, JudgeScalar::new(&judge_scalar::Config::default(), &judge)),
                term("b", 1.0, LengthPenalty::new(&length_penalty::Config { max_tokens: 4 })),
            ]);
            permuting::check(&sum, &group, None, shuffle);
            let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
            let derived = sum.derive(&[request]).unwrap().remove(0);
            for (text, reward) in texts.iter().zip(derived.rewards) {
                let expected = match *text {
                    "good" => Some(weight - 1.0),
                    "bad" => Some(0.0),
                    _ => None,
                };
                prop_assert_eq!(reward.value.value(), expected);
            }
        }
    }
}
