//! `llm`: a model is asked, and what it writes is read.
//!
//! Each criterion of each response is one question (or a few are), all in one batched call;
//! ratings are asked one by one, choices once. Replies are read by strict rules, never guessed at:
//! what can't be read, says two things, is cut off or declined is asked again, and in the end a
//! failure with its reason (see [`ask`](crate::ask())).
//!
//! The judge never sees points or whose response it is. The texts it judges are in fences that they
//! can't close.
//!
//! Differs from the paper: it gives neither the judge's prompt nor its settings; all of these are
//! ours.

use preceptor_core::{
    ChoiceRequest, Digest, Generator, Judge, Judged, Needs, OutOfRange, PortError, Prompt,
    PromptBody, PromptError, PromptId, Rating, Sampling, Scale, Settings, Verdict, VerdictRequest,
};
use preceptor_text::TemplateError;
use serde::{Deserialize, Serialize};

use crate::JudgeConfig;
use crate::ask::{Answer, Asker, PartedQuestion, Question, ask, ask_in_parts};
use crate::prompts::Prompts;
use crate::reply::{self, Style};

/// Settings of [`LlmJudge`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The form of the reply: `json` (a reason, then the answer), `xml` (the same in tags) or `yes-no`
    /// (the answer alone). Default: `json` (as in HealthBench).
    pub style: Style,
    /// Number of criteria per call, 1 to 100. More is cheaper and less exact. Default: 1
    /// (paper).
    pub criteria_per_call: u32,
    /// Replies that are asked for at most until one can be read, 1 to 100. Default: 3 (our choice).
    pub attempts: u32,
    /// Divides the logits, 0 to 100; 0 takes the most likely token. Default: 0 (our choice).
    pub temperature: f64,
    /// Tokens after which a reply is cut off, 1 to 1000000. Default: 512 (our choice).
    pub max_new_tokens: u32,
    /// Show the prompt of the response to the judge, if there is one. Default:
    /// true (our choice).
    pub show_prompt: bool,
    /// A prompt of your own for verdicts, with the placeholders `{{conversation}}`, `{{reference}}`,
    /// `{{response}}`, `{{criteria}}` and `{{reply}}` (how to reply, which depends on the style).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            style: Style::Json,
            criteria_per_call: 1,
            attempts: 3,
            temperature: 0.0,
            max_new_tokens: 512,
            show_prompt: true,
            prompt_text: None,
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "llm";
    const SUMMARY: &'static str = "a model that is asked and whose reply is read";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let Self { criteria_per_call, attempts, temperature, max_new_tokens, .. } = self;
        let is_allowed = (1..=100).contains(criteria_per_call);
        OutOfRange::check("criteria-per-call", criteria_per_call, is_allowed, "between 1 and 100")?;
        let is_allowed = (1..=100).contains(attempts);
        OutOfRange::check("attempts", attempts, is_allowed, "between 1 and 100")?;
        let is_allowed = (0.0..=100.0).contains(temperature);
        OutOfRange::check("temperature", temperature, is_allowed, "between 0 and 100")?;
        let is_allowed = (1..=1_000_000).contains(max_new_tokens);
        OutOfRange::check("max-new-tokens", max_new_tokens, is_allowed, "between 1 and 1000000")
    }

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(Prompts::new(self.style, self.prompt_text.as_deref())?.digest()))
    }

    fn max_new_tokens(&self) -> Option<u32> {
        Some(self.max_new_tokens)
    }
}

impl JudgeConfig for Config {
    const GRADES: bool = true;
}

/// Judge that asks a model.
pub struct LlmJudge<'a> {
    config: Config,
    prompts: Prompts,
    asker: Asker<'a>,
}

impl<'a> LlmJudge<'a> {
    /// Creates the judge of `config` that asks `model`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a placeholder.
    pub fn new(config: &Config, model: &'a dyn Generator) -> Result<Self, TemplateError> {
        let sampling = Sampling {
            temperature: config.temperature,
            max_new_tokens: config.max_new_tokens,
            ..Sampling::default()
        };
        Ok(Self {
            prompts: Prompts::new(config.style, config.prompt_text.as_deref())?,
            asker: Asker { model, role: "judge", sampling, attempts: config.attempts },
            config: config.clone(),
        })
    }

    fn shown<'p>(&self, prompt: Option<&'p Prompt>) -> Option<&'p Prompt> {
        prompt.filter(|_| self.config.show_prompt)
    }

    /// Returns a question about `about`; the id says what for.
    fn prompt(&self, about: Option<&Prompt>, purpose: &str, text: String) -> Prompt {
        let id = about.map_or_else(String::new, |prompt| format!("{}/", prompt.id));
        let body = PromptBody::instruction(text, self.asker.model.identity());
        Prompt::new(PromptId::new(format!("{id}{purpose}")), body)
    }
}

/// Returns the answers in the shape of the requests, `sizes` giving how many belong to each.
fn regroup<T>(answers: Vec<T>, sizes: impl Iterator<Item = usize>) -> Vec<Vec<T>> {
    let mut answers = answers.into_iter();
    sizes.map(|size| answers.by_ref().take(size).collect()).collect()
}

fn rating_of(judged: Judged<Answer<usize>>, of: impl Fn(usize) -> usize) -> Judged<Rating> {
    let Judged { answer, evidence, usage } = judged;
    // Numbers that were read fit into 32 bits.
    let rated = |value| u32::try_from(of(value)).unwrap_or(u32::MAX);
    let answer = answer.map_or_else(Rating::Failed, |value| Rating::Rated(rated(value)));
    Judged { answer, evidence, usage }
}

impl Judge for LlmJudge<'_> {
    fn verdicts(
        &self,
        requests: &[VerdictRequest<'_>],
    ) -> Result<Vec<Vec<Judged<Verdict>>>, PortError> {
        let style = self.config.style;
        let mut questions = Vec::new();
        for request in requests {
            let shown = self.shown(request.prompt);
            for chunk in request.criteria.chunks(self.config.criteria_per_call.max(1) as usize) {
                let texts: Vec<&str> = chunk.iter().map(|c| c.text.as_str()).collect();
                let (reference, response) = (request.reference, request.response);
                let text = self.prompts.verdicts(shown, reference, response, &texts);
                let num_parts = chunk.len();
                questions.push(PartedQuestion {
                    prompt: self.prompt(request.prompt, "verdict", text),
                    num_parts,
                    read: Box::new(move |text| match num_parts {
                        1 => vec![reply::verdict(style, text)],
                        _ => reply::verdicts(style, text, num_parts),
                    }),
                });
            }
        }
        let answers = ask_in_parts(&self.asker, questions)?.into_iter().flatten();
        let verdict = |Judged { answer, evidence, usage }: Judged<Answer<bool>>| {
            let answer = answer.map_or_else(Verdict::Failed, Verdict::of);
            Judged { answer, evidence, usage }
        };
        let sizes = requests.iter().map(|request| request.criteria.len());
        Ok(regroup(answers.map(verdict).collect(), sizes))
    }

    fn ratings(
        &self,
        requests: &[VerdictRequest<'_>],
        scale: Scale,
    ) -> Result<Vec<Vec<Judged<Rating>>>, PortError> {
        let style = self.config.style;
        let range = scale.low as usize..=scale.high as usize;
        let mut questions = Vec::new();
        for request in requests {
            let shown = self.shown(request.prompt);
            for criterion in request.criteria {
                let text = self.prompts.rating(
                    shown,
                    request.reference,
                    request.response,
                    &criterion.text,
                    (scale.low, scale.high),
                );
                let range = range.clone();
                questions.push(Question {
                    prompt: self.prompt(request.prompt, "rating", text),
                    read: Box::new(move |text| reply::number(style, text, &range)),
                });
            }
        }
        let answers = ask(&self.asker, questions)?.into_iter();
        let ratings = answers.map(|judged| rating_of(judged, |grade| grade)).collect();
        Ok(regroup(ratings, requests.iter().map(|request| request.criteria.len())))
    }

    fn choices(&self, requests: &[ChoiceRequest<'_>]) -> Result<Vec<Judged<Rating>>, PortError> {
        let style = self.config.style;
        let question = |request: &ChoiceRequest<'_>| {
            let text = self.prompts.choice(self.shown(request.prompt), request.responses);
            let range = 1..=request.responses.len();
            Question {
                prompt: self.prompt(request.prompt, "choice", text),
                read: Box::new(move |text: &str| reply::number(style, text, &range)),
            }
        };
        let answers = ask(&self.asker, requests.iter().map(question).collect())?.into_iter();
        Ok(answers.map(|judged| rating_of(judged, |number| number - 1)).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Criterion, FinishReason, JudgeFailure, Rollout};
    use preceptor_testkit::{ScriptedGenerator, ScriptedRollouts, prompt, rollout};
    use proptest::prelude::*;

    use super::*;

    const SCALE: Scale = Scale { low: 1, high: 5 };

    fn criteria(texts: &[&str]) -> Vec<Criterion> {
        texts.iter().map(|text| Criterion::new(*text)).collect()
    }

    fn request<'a>(response: &'a str, criteria: &'a [Criterion]) -> VerdictRequest<'a> {
        VerdictRequest { prompt: None, response, reference: None, criteria }
    }

    fn config(style: Style) -> Config {
        Config { style, ..Config::default() }
    }

    /// Finds a criterion met if the response contains its text, and says so in the wanted style.
    fn reads(text: &str) -> String {
        let inside = |text: &str, tag: &str| -> Vec<String> {
            let open = format!("<{tag}-");
            let parts = text.split(&open).skip(1);
            let of = |part: &str| part.split('\n').nth(1).unwrap_or_default().to_owned();
            parts.filter(|part| part.as_bytes().get(12) == Some(&b'>')).map(of).collect()
        };
        let text = text.split("to judge:").nth(1).expect("the response has its line");
        let response = inside(text, "response").remove(0);
        let answers: Vec<_> = inside(text, "criterion")
            .iter()
            .map(|criterion| if response.contains(criterion.as_str()) { "yes" } else { "no" })
            .collect();
        let is_numbered = answers.len() > 1;
        let one = |(i, answer): (usize, &&str)| {
            let n = i + 1;
            match (text.contains("JSON"), text.contains("<answer"), is_numbered) {
                (true, _, _) => format!("{{\"criterion\": {n}, \"answer\": \"{answer}\"}}"),
                (_, true, _) => format!("<answer criterion=\"{n}\">{answer}</answer>"),
                (_, _, true) => format!("{n}: {answer}"),
                (_, _, false) => (*answer).to_owned(),
            }
        };
        answers.iter().enumerate().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn verdicts_come_back_in_the_shape_of_the_requests() {
        for style in [Style::Json, Style::Xml, Style::YesNo] {
            for criteria_per_call in [1, 2, 3, 9] {
                let model = ScriptedRollouts::new(|prompt, _| {
                    Some(rollout(0, &reads(&prompt.question_text())))
                });
                let config = Config { criteria_per_call, ..config(style) };
                let judge = LlmJudge::new(&config, &model).unwrap();
                let (all, one) = (criteria(&["a", "b", "c", "d"]), criteria(&["d"]));
                let requests = [request("a c", &all), request("d", &one), request("d", &[])];
                let verdicts = judge.verdicts(&requests).unwrap();
                let met: Vec<Vec<_>> = verdicts
                    .iter()
                    .map(|judged| judged.iter().map(|one| one.answer.met()).collect())
                    .collect();
                let yes = Some(true);
                let no = Some(false);
                assert_eq!(met, [vec![yes, no, yes, no], vec![yes], vec![]], "{style:?}");
                assert_eq!(model.calls().len(), 1, "one batched call");
            }
        }
    }

    #[test]
    fn a_missing_verdict_fails_alone() {
        let model = ScriptedGenerator::new("judge", |_, _| "1: yes\n3: no".to_owned());
        let config = Config { criteria_per_call: 3, ..config(Style::YesNo) };
        let judge = LlmJudge::new(&config, &model).unwrap();
        let criteria = criteria(&["a", "b", "c"]);
        let verdicts = judge.verdicts(&[request("x", &criteria)]).unwrap().remove(0);
        let answers: Vec<_> = verdicts.iter().map(|judged| judged.answer).collect();
        let missing = Verdict::Failed(JudgeFailure::Unreadable);
        assert_eq!(answers, [Verdict::Met, missing, Verdict::NotMet]);
        assert_eq!(verdicts[1].evidence.num_attempts, 3);
    }

    #[test]
    fn a_failure_is_never_a_no() {
        for (finish, failure) in [
            (None, JudgeFailure::CallFailed),
            (Some(FinishReason::Refused), JudgeFailure::Refused),
            (Some(FinishReason::MaxNewTokens), JudgeFailure::CutOff),
            (Some(FinishReason::PromptTooLong), JudgeFailure::PromptTooLong),
        ] {
            let model =
                ScriptedRollouts::new(|_, _| Some(Rollout { finish: finish?, ..rollout(0, "I") }));
            let judge = LlmJudge::new(&Config::default(), &model).unwrap();
            let criteria = criteria(&["a"]);
            let requests = [request("x", &criteria)];
            let verdict = judge.verdicts(&requests).unwrap()[0][0].answer;
            assert_eq!(verdict, Verdict::Failed(failure));
            let rating = judge.ratings(&requests, SCALE).unwrap()[0][0].answer;
            assert_eq!(rating, Rating::Failed(failure));
            let choice = ChoiceRequest { prompt: None, responses: &["x", "y"] };
            assert_eq!(judge.choices(&[choice]).unwrap()[0].answer, Rating::Failed(failure));
        }
    }

    #[test]
    fn grades_and_choices_are_read_in_each_style() {
        for (style, reply) in [
            (Style::Json, "{\"reason\": \"fine\", \"answer\": 4}"),
            (Style::Xml, "<reason>1 flaw</reason><answer>4</answer>"),
            (Style::YesNo, "4"),
        ] {
            let model = ScriptedGenerator::new("judge", |_, _| reply.to_owned());
            let judge = LlmJudge::new(&config(style), &model).unwrap();
            let criteria = criteria(&["a", "b"]);
            let ratings = judge.ratings(&[request("x", &criteria)], SCALE).unwrap().remove(0);
            let grades: Vec<_> = ratings.iter().map(|judged| judged.answer).collect();
            assert_eq!(grades, [Rating::Rated(4), Rating::Rated(4)]);
            let choose = |responses: &[&str]| {
                let choice = ChoiceRequest { prompt: None, responses };
                judge.choices(&[choice]).unwrap().remove(0).answer
            };
            assert_eq!(choose(&["p", "q", "r", "s"]), Rating::Rated(3), "positions count from 0");
            assert_eq!(choose(&["p", "q"]), Rating::Failed(JudgeFailure::Unreadable));
        }
    }

    #[test]
    fn the_judge_sees_what_it_may_see_and_no_place_is_left_open() {
        let seen = |config: &Config| {
            let model = ScriptedRollouts::new(|_, _| Some(rollout(0, "yes")));
            let judge = LlmJudge::new(config, &model).unwrap();
            let criteria = criteria(&["names the dose", "is short"]);
            let prompt = prompt("what dose?");
            let mut request = request("5 mg", &criteria);
            request.prompt = Some(&prompt);
            request.reference = Some("five milligrams");
            judge.verdicts(&[request]).unwrap();
            judge.ratings(&[request_of(&prompt, &criteria)], SCALE).unwrap();
            let choice = ChoiceRequest { prompt: Some(&prompt), responses: &["p", "q"] };
            judge.choices(&[choice]).unwrap();
            let texts = model.calls().into_iter().flatten().map(|(asked, _)| asked.question_text());
            texts.collect::<Vec<_>>()
        };
        fn request_of<'a>(prompt: &'a Prompt, criteria: &'a [Criterion]) -> VerdictRequest<'a> {
            VerdictRequest { prompt: Some(prompt), ..request("5 mg", criteria) }
        }
        for style in [Style::Json, Style::Xml, Style::YesNo] {
            for criteria_per_call in [1, 2] {
                let shown = Config { criteria_per_call, ..config(style) };
                let texts = seen(&shown);
                assert!(texts.iter().all(|text| text.contains("what dose?")));
                assert!(
                    texts.iter().all(|text| !text.contains("{{") && !text.contains("\n\n\n\n"))
                );
                assert!(texts[0].contains("five milligrams") && texts[0].contains("5 mg"));
                let hidden = seen(&Config { show_prompt: false, ..shown });
                assert!(hidden.iter().all(|text| !text.contains("what dose?")));
            }
        }
    }

    #[test]
    fn a_prompt_of_ones_own_is_used_and_needs_its_placeholders() {
        let own = "Q{{conversation}}{{reference}}{{response}}{{criteria}}{{reply}}";
        let model = ScriptedGenerator::new("judge", |prompt, _| {
            assert!(prompt.question_text().starts_with("Q<response-"));
            "{\"answer\": true}".to_owned()
        });
        let config = Config { prompt_text: Some(own.to_owned()), ..Config::default() };
        let judge = LlmJudge::new(&config, &model).unwrap();
        assert_ne!(config.prompt_digest().unwrap(), Config::default().prompt_digest().unwrap());
        let criteria = criteria(&["a"]);
        assert_eq!(judge.verdicts(&[request("x", &criteria)]).unwrap()[0][0].answer, Verdict::Met);
        let config = Config { prompt_text: Some("{{response}}".to_owned()), ..Config::default() };
        let error = LlmJudge::new(&config, &model).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("judge.prompt-text"), "{error}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        for (config, key) in [
            (Config { criteria_per_call: 0, ..Config::default() }, "criteria-per-call"),
            (Config { attempts: 0, ..Config::default() }, "attempts"),
            (Config { temperature: f64::NAN, ..Config::default() }, "temperature"),
            (Config { max_new_tokens: 0, ..Config::default() }, "max-new-tokens"),
        ] {
            assert_eq!(config.check().unwrap_err().key, key);
        }
    }

    proptest! {
        #[test]
        fn any_reply_gives_every_criterion_one_outcome(
            reply in r#"(?s)(.|yes|no|1: |\n|\{"answer": "yes"\}|<answer>no</answer>){0,20}"#,
            response in "(?s).{0,40}",
            criteria_per_call in 1_u32..4,
        ) {
            for style in [Style::Json, Style::Xml, Style::YesNo] {
                let model = ScriptedGenerator::new("judge", |_, _| reply.clone());
                let config = Config { criteria_per_call, ..config(style) };
                let judge = LlmJudge::new(&config, &model).unwrap();
                let criteria = criteria(&["a", "b", "c"]);
                let requests = [request(&response, &criteria), request(&response, &criteria[..1])];
                let sizes: Vec<_> = judge.verdicts(&requests).unwrap().iter().map(Vec::len).collect();
                prop_assert_eq!(sizes, [3, 1]);
            }
        }
    }
}
