//! `pocket-rules`: a judge of the synthetic benchmarks that reads their sentences by rule.
//!
//! It knows the forms of sentences and no label. It answers these criteria:
//!
//! | criterion | met if the response |
//! |---|---|
//! | `says: S` | has the sentence S |
//! | `contradicts: S` | has another sentence about what S is about |
//! | any other, beside a reference | has the reference's final answer in its last `\boxed{}`, or without one the same sentences |
//!
//! Any other criterion can't be judged: the verdict is `Failed(Unreadable)`, never a "no".
//!
//! **A weaker judge.** With `error-rate = e`, a share e of the verdicts is flipped. The digest of
//! seed, response, reference and criterion decides which, so the same question has the same verdict
//! in every run. The evidence names the basis of a verdict, and says if it was flipped.
//!
//! Differs from the paper: its judge is a language model.

use std::collections::BTreeSet;

use preceptor_core::{
    ChoiceRequest, Criterion, Digest, Evidence, Judge, JudgeFailure, Judged, ModelIdentity, Needs,
    OutOfRange, PortError, PromptError, Rating, Scale, Seed, Settings, Usage, Verdict,
    VerdictRequest,
};
use preceptor_judges::JudgeConfig;
use serde::{Deserialize, Serialize};

use crate::pocket_health::Sentence;

const NAME: &str = "pocket-rules";
/// The version of the rules above; stored verdicts depend on it.
const VERSION: u32 = 1;
/// Resolution of an error rate.
const RESOLUTION: u64 = 1_000_000;

/// Settings of [`PocketRules`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Share of verdicts that are flipped, 0 to 0.5. Default: 0.
    pub error_rate: f64,
    /// The seed that picks those verdicts. Default: 0.
    pub error_seed: u64,
}

impl Settings for Config {
    const NAME: &'static str = NAME;
    const SUMMARY: &'static str =
        "reads the sentences of the pocket worlds by rule, with a stated error rate";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = (0.0..=0.5).contains(&self.error_rate);
        OutOfRange::check("error-rate", self.error_rate, is_allowed, "between 0 and 0.5")
    }

    /// Covers the rules, which replace a prompt.
    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(rules_digest()))
    }
}

impl JudgeConfig for Config {
    const GRADES: bool = false;

    fn identity(&self) -> Option<ModelIdentity> {
        let rules = rules_digest();
        let (rate, seed) = (self.error_rate.to_le_bytes(), self.error_seed.to_le_bytes());
        let weights = Digest::of_parts([rules.as_str().as_bytes(), &rate, &seed]);
        Some(ModelIdentity { weights, tokenizer: rules, template: None, attested: true })
    }
}

/// Returns the digest of the rules, which replaces that of a prompt.
fn rules_digest() -> Digest {
    Digest::of_parts([NAME.as_bytes(), &VERSION.to_le_bytes()])
}

/// A judge that decides by rule.
#[derive(Clone, Debug)]
pub struct PocketRules {
    config: Config,
}

impl PocketRules {
    /// Returns the judge of `config`.
    pub fn new(config: &Config) -> Self {
        Self { config: config.clone() }
    }

    fn judged(&self, request: &VerdictRequest<'_>, criterion: &Criterion) -> Judged<Verdict> {
        let (answer, reply) = match met(request, &criterion.text) {
            None => (Verdict::Failed(JudgeFailure::Unreadable), "no rule for this criterion"),
            Some(met) if self.turns(request, criterion) => {
                (Verdict::of(!met), if met { "no (turned)" } else { "yes (turned)" })
            }
            Some(met) => (Verdict::of(met), if met { "yes" } else { "no" }),
        };
        let evidence = Evidence { reply: reply.to_owned(), num_attempts: 1, margin: None };
        Judged { answer, evidence, usage: Usage::default() }
    }

    fn turns(&self, request: &VerdictRequest<'_>, criterion: &Criterion) -> bool {
        let reference = request.reference.unwrap_or_default();
        let asked = [request.response, reference, &criterion.text].map(str::as_bytes);
        let seed = Seed::root(self.config.error_seed).derive(NAME);
        let drawn = seed.derive(Digest::of_parts(asked).as_str()).draw_below(RESOLUTION);
        (drawn as f64) < self.config.error_rate * RESOLUTION as f64
    }
}

/// Returns whether the response meets a criterion; none where there is no rule for it.
fn met(request: &VerdictRequest<'_>, criterion: &str) -> Option<bool> {
    let (form, about) = criterion.split_once(':').unwrap_or(("", ""));
    let sentences = || Sentence::read_all(request.response);
    match (form.trim(), Sentence::read(about.trim().trim_end_matches('.')), request.reference) {
        ("says", Some(wanted), _) => Some(sentences().contains(&wanted)),
        ("contradicts", Some(wanted), _) => {
            Some(sentences().iter().any(|s| s.topic == wanted.topic && s.text != wanted.text))
        }
        (_, _, Some(reference)) => Some(says_the_same(request.response, reference)),
        (_, _, None) => None,
    }
}

fn says_the_same(response: &str, reference: &str) -> bool {
    match (boxed(response), boxed(reference)) {
        (None, None) => {
            let all = |text| Sentence::read_all(text).into_iter().collect::<BTreeSet<_>>();
            let wanted = all(reference);
            !wanted.is_empty() && all(response) == wanted
        }
        (response, reference) => response == reference,
    }
}

/// Returns the text in the last box.
fn boxed(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once(r"\boxed{")?;
    Some(rest.split_once('}')?.0.trim())
}

fn unsupported(what: &str) -> PortError {
    let detail = format!("{what}: this judge only says yes or no");
    PortError::Unsupported { component: "the judge `pocket-rules`", detail }
}

impl Judge for PocketRules {
    fn verdicts(
        &self,
        requests: &[VerdictRequest<'_>],
    ) -> Result<Vec<Vec<Judged<Verdict>>>, PortError> {
        let of = |request: &VerdictRequest<'_>| {
            request.criteria.iter().map(|criterion| self.judged(request, criterion)).collect()
        };
        Ok(requests.iter().map(of).collect())
    }

    fn ratings(
        &self,
        _: &[VerdictRequest<'_>],
        _: Scale,
    ) -> Result<Vec<Vec<Judged<Rating>>>, PortError> {
        Err(unsupported("grades"))
    }

    fn choices(&self, _: &[ChoiceRequest<'_>]) -> Result<Vec<Judged<Rating>>, PortError> {
        Err(unsupported("choices"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESPONSE: &str = "avoid gloves. see a doctor after 7 days.";

    fn verdict(config: &Config, response: &str, reference: Option<&str>, text: &str) -> Verdict {
        let criteria = [Criterion::new(text)];
        let request = VerdictRequest { prompt: None, response, reference, criteria: &criteria };
        PocketRules::new(config).verdicts(&[request]).unwrap()[0][0].answer
    }

    fn plain(response: &str, reference: Option<&str>, text: &str) -> Verdict {
        verdict(&Config::default(), response, reference, text)
    }

    #[test]
    fn facts_are_looked_for_word_by_word() {
        for (criterion, met) in [
            ("says: avoid gloves", true),
            ("says: avoid  gloves.", true),
            ("says: avoid cheese", false),
            ("says: never mix lithium with ibuprofen", false),
            ("contradicts: avoid gloves", false),
            ("contradicts: avoid cheese", true),
            ("contradicts: see a doctor after 6 days", true),
            ("contradicts: on fainting call hospital", false),
        ] {
            assert_eq!(plain(RESPONSE, None, criterion), Verdict::of(met), "{criterion}");
        }
    }

    #[test]
    fn a_criterion_without_a_rule_is_not_a_no() {
        let unreadable = Verdict::Failed(JudgeFailure::Unreadable);
        for criterion in ["is polite", "says: be well", "names: avoid gloves", ""] {
            assert_eq!(plain(RESPONSE, None, criterion), unreadable, "{criterion}");
        }
    }

    #[test]
    fn beside_a_reference_the_sentences_are_compared() {
        let statement = "The response is equivalent to the reference.";
        let same = |response, reference| plain(response, Some(reference), statement);
        assert_eq!(same(r"1+1=2;\boxed{02}", r"2=2;\boxed{02}"), Verdict::Met);
        assert_eq!(same(r"\boxed{02}", r"\boxed{03}"), Verdict::NotMet);
        assert_eq!(same("two", r"\boxed{02}"), Verdict::NotMet);
        let turned = "see a doctor after 7 days. avoid gloves.";
        assert_eq!(same(RESPONSE, turned), Verdict::Met);
        assert_eq!(same("avoid gloves.", turned), Verdict::NotMet);
        assert_eq!(same("", ""), Verdict::NotMet);
    }

    #[test]
    fn a_stated_share_of_verdicts_is_turned_and_always_the_same_ones() {
        let config = Config { error_rate: 0.2, error_seed: 3 };
        let verdicts = |config: &Config| -> Vec<Verdict> {
            let responses = (0..2000).map(|i| format!("avoid gloves. on {i} call nobody."));
            responses.map(|text| verdict(config, &text, None, "says: avoid gloves")).collect()
        };
        let found = verdicts(&config);
        let turned = found.iter().filter(|verdict| **verdict == Verdict::NotMet).count();
        assert!((340..460).contains(&turned), "{turned} of 2000");
        assert_eq!(verdicts(&config), found);
        assert_ne!(verdicts(&Config { error_seed: 4, ..config }), found);
    }

    #[test]
    fn judges_that_err_otherwise_are_others() {
        let config = Config { error_rate: 0.1, error_seed: 0 };
        let other = Config { error_seed: 1, ..config.clone() };
        assert_eq!(config.identity(), config.clone().identity());
        assert_ne!(config.identity(), other.identity());
        assert_ne!(config.identity(), Config::default().identity());
    }

    #[test]
    fn a_judge_that_errs_more_often_than_not_is_refused() {
        let config = Config { error_rate: 0.6, ..Config::default() };
        assert_eq!(config.check().unwrap_err().key, "error-rate");
        assert_eq!(Config::default().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn any_text_is_judged(
            response in r"(?s)(.|avoid |gloves|\.|\\boxed\{|\}|says:| ){0,30}",
            criterion in r"(?s)(.|says: |contradicts: |avoid |gloves|\.| ){0,12}",
        ) {
            let _ = plain(&response, None, &criterion);
            let _ = plain(&response, Some(&criterion), &criterion);
        }
    }
}
