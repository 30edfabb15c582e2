//! The injected errors of the model: the error patterns of attempts in the pretraining text.
//!
//! *Chains.* At each step, modulo 100; later steps use the wrong result:
//!
//! 1. a step that carries or borrows with an 8 or a 9 omits it, so that its result is off by 10, with
//!    probability `hard`;
//! 2. any other step that carries or borrows omits it with probability `carry`;
//! 3. a step without such an error is off by 1 or 10, in either direction, with probability `slip`.
//!
//! The first rule is systematic: on such steps most attempts agree on the same wrong result, which makes
//! majorities weak and synthesis useful.
//!
//! *Messages.* Each sentence of a response is omitted with probability `left_out`, or else has a wrong
//! value with probability `wrong`.

use preceptor_benchmarks::pocket_health::{Case, Sentence, Topic};
use preceptor_benchmarks::pocket_math::Chain;
use preceptor_core::Seed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use serde::{Deserialize, Serialize};

/// The frequency of errors in attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorModel {
    /// Synthesis is clearly better than majority voting.
    #[default]
    Standard,
    /// Fewer systematic errors: majority voting is almost as good as synthesis.
    Mild,
}

impl ErrorModel {
    /// Returns the probabilities.
    pub fn rates(self) -> ErrorRates {
        match self {
            Self::Standard => {
                ErrorRates { hard: 0.55, carry: 0.15, slip: 0.06, left_out: 0.22, wrong: 0.22 }
            }
            Self::Mild => {
                ErrorRates { hard: 0.38, carry: 0.15, slip: 0.06, left_out: 0.18, wrong: 0.15 }
            }
        }
    }
}

/// Probabilities of errors; see the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// The probability of rule 1.
    pub hard: f64,
    /// The probability of rule 2.
    pub carry: f64,
    /// The probability of rule 3.
    pub slip: f64,
    /// The probability that a sentence is missing.
    pub left_out: f64,
    /// The probability that a present sentence has a wrong value.
    pub wrong: f64,
}

impl ErrorRates {
    /// Multiplies every probability by `factor`, up to 1.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let Self { hard, carry, slip, left_out, wrong } = self;
        let [hard, carry, slip, left_out, wrong] =
            [hard, carry, slip, left_out, wrong].map(|p| (p * factor).min(1.0));
        Self { hard, carry, slip, left_out, wrong }
    }

    /// Draws the results of an attempt at `chain`.
    pub fn results(self, chain: &Chain, draws: &mut Draws) -> Vec<u32> {
        let mut now = chain.first;
        let result = |step: &preceptor_benchmarks::pocket_math::Step| {
            let [plus, minus] = if step.minus { [0, step.number] } else { [step.number, 0] };
            let chance = if step.number >= 8 { self.hard } else { self.carry };
            let off = if step.carries(now) && draws.chance(chance) {
                // An omitted carry lacks ten, an omitted borrow leaves ten too many.
                if step.minus { 10 } else { 90 }
            } else if draws.chance(self.slip) {
                [1, 99, 10, 90][draws.below(4)]
            } else {
                0
            };
            now = (now + plus + 100 - minus + off) % 100;
            now
        };
        chain.steps.iter().map(result).collect()
    }

    /// Draws the sentences of an attempt at `case`, at least one.
    pub fn sentences(self, case: &Case, draws: &mut Draws) -> Vec<Sentence> {
        loop {
            let mut sentences = Vec::new();
            for topic in Topic::ALL {
                if draws.chance(self.left_out) {
                    continue;
                }
                let (truth, num) = (case.value(topic), Case::num_values(topic));
                let off = if draws.chance(self.wrong) { 1 + draws.below(num - 1) } else { 0 };
                sentences.push(case.sentence_with(topic, (truth + off) % num));
            }
            if !sentences.is_empty() {
                return sentences;
            }
        }
    }
}

/// Draws of a random stream.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Creates the draws of `seed`.
    pub fn new(seed: Seed) -> Self {
        Self(seed.rng())
    }

    /// Draws a uniform number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns true with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Draws a uniform number in `0..n`, up to the resolution of 2^-32.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// Draws a chain of `operations` that is in no benchmark.
    pub fn chain(&mut self, operations: u32) -> Chain {
        loop {
            let chain = Chain::draw(operations, &mut |n| self.below(n as usize) as u64);
            if chain.split().is_none() {
                return chain;
            }
        }
    }

    /// Draws a message that is in no benchmark.
    pub fn case(&mut self) -> Case {
        loop {
            let case = Case::draw(&mut |n| self.below(n as usize) as u64);
            if case.split().is_none() {
                return case;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn share(num: usize, mut holds: impl FnMut(&mut Draws) -> bool) -> f64 {
        let mut draws = Draws::new(Seed::root(5));
        (0..num).filter(|_| holds(&mut draws)).count() as f64 / num as f64
    }

    #[test]
    fn without_errors_attempts_are_true() {
        let none = ErrorModel::Standard.rates().times(0.0);
        let mut draws = Draws::new(Seed::root(0));
        for _ in 0..200 {
            let chain = draws.chain(4);
            assert_eq!(none.results(&chain, &mut draws), chain.results());
            let case = draws.case();
            let sentences = none.sentences(&case, &mut draws);
            assert_eq!(sentences, Topic::ALL.map(|topic| case.sentence(topic)));
        }
    }

    #[test]
    fn a_hard_step_omits_its_carry_at_the_stated_rate() {
        let mut chain = Draws::new(Seed::root(0)).chain(2);
        chain.first = 25;
        chain.steps.truncate(1);
        (chain.steps[0].minus, chain.steps[0].number) = (false, 8);
        let rates = ErrorRates { slip: 0.0, ..ErrorModel::Standard.rates() };
        let forgotten = share(4000, |draws| rates.results(&chain, draws) == [23]);
        assert!((forgotten - 0.55).abs() < 0.03, "{forgotten}");
        chain.steps[0].minus = true;
        chain.first = 23;
        let forgotten = share(4000, |draws| rates.results(&chain, draws) == [25]);
        assert!((forgotten - 0.55).abs() < 0.03, "{forgotten}");
        chain.steps[0].number = 5;
        let forgotten = share(4000, |draws| rates.results(&chain, draws) == [28]);
        assert!((forgotten - 0.15).abs() < 0.03, "{forgotten}");
    }

    #[test]
    fn sentences_are_missing_and_wrong_at_the_stated_rates() {
        let rates = ErrorModel::Standard.rates();
        let of_topic = |wanted: fn(Option<bool>) -> bool| {
            share(4000, |draws| {
                let case = draws.case();
                let sentences = rates.sentences(&case, draws);
                let found = sentences.iter().find(|s| s.topic == Topic::Allergy);
                wanted(found.map(|s| *s == case.sentence(Topic::Allergy)))
            })
        };
        let missing = of_topic(|found| found.is_none());
        assert!((missing - 0.22).abs() < 0.03, "{missing}");
        let wrong = of_topic(|found| found == Some(false));
        assert!((wrong - 0.78 * 0.22).abs() < 0.03, "{wrong}");
    }

    /// Measures how often an attempt is right, and how often the most common result of eight is (a tie is a
    /// random choice among its results).
    fn accuracies(model: ErrorModel) -> (f64, f64) {
        let mut draws = Draws::new(Seed::root(3));
        let (mut right, mut majority) = (0.0, 0.0);
        let num_chains = 2000;
        for i in 0..num_chains {
            let chain = draws.chain(2 + i % 4);
            let truth = *chain.results().last().unwrap();
            let mut votes = BTreeMap::new();
            for _ in 0..8 {
                let results = model.rates().results(&chain, &mut draws);
                *votes.entry(*results.last().unwrap()).or_insert(0) += 1;
            }
            let most = *votes.values().max().unwrap();
            let num_first = votes.values().filter(|num| **num == most).count();
            let of_truth = votes.get(&truth).copied().unwrap_or(0);
            right += f64::from(of_truth) / 8.0;
            majority += if of_truth == most { 1.0 / num_first as f64 } else { 0.0 };
        }
        (right / f64::from(num_chains), majority / f64::from(num_chains))
    }

    #[test]
    fn half_of_the_attempts_are_right_and_majorities_are_limited() {
        let ((one, eight), (mild_one, mild_eight)) =
            (accuracies(ErrorModel::Standard), accuracies(ErrorModel::Mild));
        assert!((0.50..0.58).contains(&one), "{one}");
        assert!((0.64..0.73).contains(&eight), "{eight}");
        assert!((0.55..0.63).contains(&mild_one), "{mild_one}");
        assert!((0.75..0.84).contains(&mild_eight), "{mild_eight}");
    }
}
