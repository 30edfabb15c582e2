//! `margin`: a yes or no forced out of a model, by how likely it finds either.
//!
//! ```text
//! margin = log p(yes | question) - log p(no | question),      met iff margin > threshold
//! ```
//!
//! The model writes nothing: both words are scored as continuations of one question, so there is
//! always a verdict, and its margin says how sure it is. A word of several tokens counts with the sum
//! of their log-probabilities. A question that outgrows the context window is `PromptTooLong`; a
//! margin that is no number (both words impossible) is `Unreadable`.
//!
//! Ratings and choices are not supported. Usage is zero: what scoring reads is counted where it is
//! done.
//!
//! Not in the paper: an extension, for judges too small to be read reliably.

use preceptor_core::{
    ChoiceRequest, Continuation, Digest, Evidence, Judge, JudgeFailure, Judged, LanguageModel,
    Needs, OutOfRange, PortError, Prompt, PromptBody, PromptError, PromptId, Rating, Scale,
    ScoreRequest, Settings, TokenScores, Usage, Verdict, VerdictRequest,
};
use preceptor_text::{Template, TemplateError, fence, without_thoughts};
use serde::{Deserialize, Serialize};

use crate::JudgeConfig;
use crate::prompts::Blocks;

const PROMPT: &str = include_str!("../prompts/margin-v1.md");
const PLACEHOLDERS: &[&str] = &["conversation", "reference", "response", "criterion", "yes", "no"];

/// Settings of [`MarginJudge`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// A criterion is met if the margin is above this, in natural log-probability, -1000 to 1000.
    /// Default: 0 (our choice).
    pub threshold: f64,
    /// The word for yes; a space is put before it for models without a chat template. Default: `Yes`.
    pub yes: String,
    /// The word for no, likewise. Default: `No`.
    pub no: String,
    /// Show the prompt of the response to the judge, if there is one. Default:
    /// true (our choice).
    pub show_prompt: bool,
    /// A prompt of your own with the placeholders `{{conversation}}`, `{{reference}}`, `{{response}}`,
    /// `{{criterion}}`, `{{yes}}` and `{{no}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threshold: 0.0,
            yes: "Yes".to_owned(),
            no: "No".to_owned(),
            show_prompt: true,
            prompt_text: None,
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "margin";
    const SUMMARY: &'static str = "how much likelier a model finds yes than no";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = (-1000.0..=1000.0).contains(&self.threshold);
        OutOfRange::check("threshold", self.threshold, is_allowed, "between -1000 and 1000")?;
        for (key, word) in [("yes", &self.yes), ("no", &self.no)] {
            OutOfRange::check(key, format!("\"{word}\""), !word.trim().is_empty(), "a word")?;
        }
        Ok(())
    }

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        let (template, blocks) = prompts(self)?;
        let digests = [template.digest()].into_iter().chain(blocks.digests());
        Ok(Some(Digest::of_parts(digests.map(|digest| digest.as_str().as_bytes()))))
    }

    /// Scores words and writes none.
    fn max_new_tokens(&self) -> Option<u32> {
        Some(0)
    }
}

impl JudgeConfig for Config {
    const GRADES: bool = false;
}

/// Judge that compares log-probabilities.
pub struct MarginJudge<'a> {
    config: Config,
    template: Template,
    blocks: Blocks,
    model: &'a dyn LanguageModel,
}

fn prompts(config: &Config) -> Result<(Template, Blocks), TemplateError> {
    let template = match &config.prompt_text {
        None => Template::new("margin-v1.md", PROMPT, PLACEHOLDERS)?,
        Some(text) => Template::new("judge.prompt-text", text, PLACEHOLDERS)?,
    };
    Ok((template, Blocks::new()?))
}

impl<'a> MarginJudge<'a> {
    /// Creates the judge of `config` that lets `model` score.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a placeholder.
    pub fn new(config: &Config, model: &'a dyn LanguageModel) -> Result<Self, TemplateError> {
        let (template, blocks) = prompts(config)?;
        Ok(Self { config: config.clone(), template, blocks, model })
    }

    /// Returns the question with either word.
    fn requests(&self, request: &VerdictRequest<'_>, criterion: &str) -> [ScoreRequest; 2] {
        let Config { yes, no, .. } = &self.config;
        let text = self.template.fill(&[
            &self.blocks.conversation(request.prompt.filter(|_| self.config.show_prompt)),
            &self.blocks.reference(request.reference),
            &fence("response", &without_thoughts(request.response)),
            &fence("criterion", criterion),
            yes,
            no,
        ]);
        let id = request.prompt.map_or_else(String::new, |prompt| format!("{}/", prompt.id));
        let id = PromptId::new(format!("{id}margin"));
        let body = PromptBody::instruction(text, self.model.identity());
        // A chat's answer begins with the word; plain text continues after a space.
        let space = if matches!(body, PromptBody::Text(_)) { " " } else { "" };
        [yes, no].map(|word| ScoreRequest {
            prompt: Prompt::new(id.clone(), body.clone()),
            continuation: Continuation::Text(format!("{space}{word}")),
        })
    }

    fn judged(&self, scores: &[TokenScores]) -> Judged<Verdict> {
        let total = |scores: &TokenScores| {
            let sum: f64 = scores.logprobs.iter().map(|logprob| f64::from(*logprob)).sum();
            (!scores.logprobs.is_empty()).then_some(sum)
        };
        let margin = match scores {
            [yes, no] => total(yes).zip(total(no)).map(|(yes, no)| yes - no),
            _ => None,
        };
        let answer = match margin {
            None => Verdict::Failed(JudgeFailure::PromptTooLong),
            Some(margin) if margin.is_nan() => Verdict::Failed(JudgeFailure::Unreadable),
            Some(margin) => Verdict::of(margin > self.config.threshold),
        };
        let margin = margin.filter(|margin| margin.is_finite());
        let evidence = Evidence { reply: String::new(), num_attempts: 1, margin };
        Judged { answer, evidence, usage: Usage::default() }
    }
}

fn unsupported(detail: &str) -> PortError {
    PortError::Unsupported { component: "the margin judge", detail: detail.to_owned() }
}

impl Judge for MarginJudge<'_> {
    fn verdicts(
        &self,
        requests: &[VerdictRequest<'_>],
    ) -> Result<Vec<Vec<Judged<Verdict>>>, PortError> {
        let asked = requests.iter().flat_map(|request| {
            request.criteria.iter().flat_map(|criterion| self.requests(request, &criterion.text))
        });
        let scores = self.model.score(&asked.collect::<Vec<_>>())?;
        let mut pairs = scores.chunks(2);
        let mut verdicts = |request: &VerdictRequest<'_>| {
            let next = |_| self.judged(pairs.next().unwrap_or_default());
            request.criteria.iter().map(next).collect()
        };
        Ok(requests.iter().map(&mut verdicts).collect())
    }

    fn ratings(
        &self,
        _: &[VerdictRequest<'_>],
        _: Scale,
    ) -> Result<Vec<Vec<Judged<Rating>>>, PortError> {
        Err(unsupported("it gives no grades, only yes or no; a judge of kind `llm` does"))
    }

    fn choices(&self, _: &[ChoiceRequest<'_>]) -> Result<Vec<Judged<Rating>>, PortError> {
        Err(unsupported("it chooses among no responses; a judge of kind `llm` does"))
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{
        Criterion, GenerationObserver, GenerationRequest, Generator, ModelIdentity, Rollout,
        Sampling, Scorer,
    };
    use preceptor_testkit::prompt;
    use proptest::prelude::*;

    use super::*;

    /// Finds each word as likely as `logprobs(question, word)` says.
    struct Finds<F> {
        identity: ModelIdentity,
        logprobs: F,
    }

    fn finds<F: Fn(&str, &str) -> Vec<f32>>(is_chat: bool, logprobs: F) -> Finds<F> {
        let digest = Digest::of(b"model");
        let template = is_chat.then(|| digest.clone());
        let weights = digest.clone();
        let identity = ModelIdentity { weights, tokenizer: digest, template, attested: true };
        Finds { identity, logprobs }
    }

    impl<F> Generator for Finds<F> {
        fn identity(&self) -> &ModelIdentity {
            &self.identity
        }

        fn generate(
            &self,
            _: &[GenerationRequest],
            _: &Sampling,
            _: &mut dyn GenerationObserver,
        ) -> Result<Vec<Vec<Rollout>>, PortError> {
            panic!("the margin judge lets nothing be written")
        }
    }

    impl<F: Fn(&str, &str) -> Vec<f32>> Scorer for Finds<F> {
        fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
            let scores = |request: &ScoreRequest| {
                let Continuation::Text(word) = &request.continuation else { panic!("it is text") };
                let logprobs = (self.logprobs)(&request.prompt.question_text(), word);
                TokenScores { token_ids: vec![0; logprobs.len()], logprobs }
            };
            Ok(requests.iter().map(scores).collect())
        }
    }

    fn verdicts<F: Fn(&str, &str) -> Vec<f32>>(
        config: &Config,
        model: &Finds<F>,
    ) -> Judged<Verdict> {
        let criteria = [Criterion::new("names the dose")];
        let prompt = prompt("what dose?");
        let request = VerdictRequest {
            prompt: Some(&prompt),
            response: "5 mg",
            reference: None,
            criteria: &criteria,
        };
        let judge = MarginJudge::new(config, model).unwrap();
        judge.verdicts(&[request]).unwrap().remove(0).remove(0)
    }

    #[test]
    fn the_likelier_word_wins_and_the_margin_is_kept() {
        let model = finds(false, |question, word| {
            assert!(question.contains("names the dose") && question.contains("5 mg"));
            assert!(question.contains("what dose?") && question.ends_with("Answer:"));
            if word == " Yes" { vec![-0.5] } else { vec![-1.0, -0.25] }
        });
        let judged = verdicts(&Config::default(), &model);
        assert_eq!(judged.answer, Verdict::Met);
        assert_eq!(judged.evidence.margin, Some(0.75));
        let strict = Config { threshold: 0.75, ..Config::default() };
        assert_eq!(verdicts(&strict, &model).answer, Verdict::NotMet);
    }

    #[test]
    fn a_chat_begins_with_the_word_and_the_prompt_can_be_hidden() {
        let model = finds(true, |question, word| {
            assert!(!question.contains("what dose?"));
            if word == "Yes" { vec![-2.0] } else { vec![-1.0] }
        });
        let config = Config { show_prompt: false, ..Config::default() };
        assert_eq!(verdicts(&config, &model).answer, Verdict::NotMet);
    }

    #[test]
    fn what_has_no_margin_fails_with_the_reason() {
        let too_long = finds(false, |_, _| Vec::new());
        let judged = verdicts(&Config::default(), &too_long);
        assert_eq!(judged.answer, Verdict::Failed(JudgeFailure::PromptTooLong));
        let impossible = finds(false, |_, _| vec![f32::NEG_INFINITY]);
        let judged = verdicts(&Config::default(), &impossible);
        assert_eq!(judged.answer, Verdict::Failed(JudgeFailure::Unreadable));
        assert_eq!(judged.evidence.margin, None);
    }

    #[test]
    fn grades_and_choices_are_refused_with_a_way_out() {
        let model = finds(false, |_, _| vec![-1.0]);
        let judge = MarginJudge::new(&Config::default(), &model).unwrap();
        let error = judge.ratings(&[], Scale { low: 1, high: 5 }).unwrap_err().to_string();
        assert!(error.contains("kind `llm`"), "{error}");
        assert!(judge.choices(&[]).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = Config { threshold: f64::NAN, ..Config::default() };
        assert_eq!(config.check().unwrap_err().key, "threshold");
        let config = Config { no: " ".to_owned(), ..Config::default() };
        assert_eq!(config.check().unwrap_err().key, "no");
        assert_eq!(Config::default().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn swapping_the_words_likelihoods_flips_the_sign(yes in -9.0_f32..0.0, no in -9.0_f32..0.0) {
            let margin = |yes: f32, no: f32| {
                let model = finds(true, move |_, word| vec![if word == "Yes" { yes } else { no }]);
                verdicts(&Config::default(), &model).evidence.margin.unwrap()
            };
            prop_assert_eq!(margin(yes, no), -margin(no, yes));
        }
    }
}
