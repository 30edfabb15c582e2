//! `healthbench-strict`: HealthBench's grading as OpenAI published it (simple-evals,
//! `healthbench_eval.py`).
//!
//! - One call for each item. The judge sees the whole conversation as `role: content` paragraphs with
//!   the response as the last `assistant` turn, and the item as `[points] criterion`: it sees the points.
//! - Placeholders are replaced one after the other, the conversation first, in the whole text. A
//!   conversation that contains `<<rubric_item>>` is thereby rewritten: a defect of the original, kept.
//! - One user message under the system message "You are a helpful assistant."
//! - The reply is JSON, after a leading ` ```json ` and a trailing ` ``` ` are cut off; only a literal
//!   `true` or `false` under `criteria_met` counts.
//! - An example's score is the points of met items over the positive points, not clipped; see
//!   [`preceptor_stats::rubric_scores`] for what happens to many.
//!
//! Named differences from upstream:
//!
//! | name | upstream | here |
//! |---|---|---|
//! | bounded-retry | asks until a reply can be read | `attempts` replies, then the verdict is failed and the example has no score |
//! | own-template | its grader template | ours, with the same placeholders; `eval-judge.prompt-file` takes theirs as it is |
//! | seeds | none | the judge's sampling has seeds |
//! | failed-answers | a fixed text replaces an answer the API refused, and is graded | it is no response: the example has no score |
//!
//! The judge, its temperature (0.5 upstream) and its limit of 2048 tokens are settings of `[eval-judge]`.

use std::borrow::Cow;

use preceptor_core::{
    Criterion, Digest, Generator, Judge, JudgeFailure, Judged, Message, PortError, Prompt,
    PromptBody, PromptId, Role, Sampling, Verdict, VerdictRequest,
};
use preceptor_judges::{Asker, Question, Reading, ask};
use preceptor_stats::rubric_score;
use preceptor_text::without_thoughts;
use serde_json::Value;

use crate::PhysicianRubric;

const TEMPLATE: &str = include_str!("../prompts/healthbench-strict-v1.md");
const SYSTEM: &str = "You are a helpful assistant.";

/// The placeholders that a template must have.
pub const PLACEHOLDERS: [&str; 2] = ["<<conversation>>", "<<rubric_item>>"];

/// A response to grade.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    prompt: &'a Prompt,
    rubric: &'a PhysicianRubric,
    response: Cow<'a, str>,
}

impl<'a> Item<'a> {
    /// Creates an item of what `response` says to `prompt`; its thoughts are not graded.
    pub fn new(prompt: &'a Prompt, rubric: &'a PhysicianRubric, response: &'a str) -> Self {
        Self { prompt, rubric, response: without_thoughts(response) }
    }

    /// Returns the request to a judge that sees no points.
    fn as_request(&self) -> VerdictRequest<'_> {
        VerdictRequest {
            prompt: Some(self.prompt),
            response: &self.response,
            reference: None,
            criteria: &self.rubric.rubric.criteria,
        }
    }
}

/// A graded response.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// The example's score, at most 1; none where a verdict failed.
    pub score: Option<f64>,
    /// Every item with its verdict.
    pub judged: Vec<(Criterion, Judged<Verdict>)>,
    /// The reasons for which verdicts failed.
    pub failures: Vec<JudgeFailure>,
}

/// Returns the digest of the grader prompt: ours, or the text of another.
pub fn prompt_digest(template: Option<&str>) -> Digest {
    Digest::of(template.unwrap_or(TEMPLATE).as_bytes())
}

/// Grades each item's response. `template` is the text of another grader prompt, with [`PLACEHOLDERS`].
///
/// # Errors
///
/// [`PortError`] for faults that stop a run; a failed verdict is data.
pub fn grade(
    judge: &dyn Generator,
    sampling: &Sampling,
    attempts: u32,
    template: Option<&str>,
    items: &[Item<'_>],
) -> Result<Vec<Graded>, PortError> {
    let template = template.unwrap_or(TEMPLATE);
    let asker = Asker { model: judge, role: "healthbench", sampling: sampling.clone(), attempts };
    let mut questions = Vec::new();
    for item in items {
        let conversation = conversation(item);
        for (number, criterion) in item.rubric.rubric.criteria.iter().enumerate() {
            let rubric_item = format!("[{}] {}", criterion.points, criterion.text);
            let text = template
                .replace(PLACEHOLDERS[0], &conversation)
                .replace(PLACEHOLDERS[1], &rubric_item);
            let message = |role, content: &str| Message { role, content: content.to_owned() };
            let body = vec![message(Role::System, SYSTEM), message(Role::User, &text)];
            questions.push(Question {
                prompt: Prompt::new(
                    PromptId::new(format!("{}/item/{number}", item.prompt.id)),
                    PromptBody::Chat(body),
                ),
                read: Box::new(read_reply),
            });
        }
    }
    let mut answers = ask(&asker, questions)?.into_iter();
    let graded = |item: &Item<'_>| {
        let criteria = item.rubric.rubric.criteria.iter();
        let judged = criteria
            .map(|criterion| {
                let answer = answers.next().expect("one answer for each question");
                let verdict = match answer.answer {
                    Ok(met) => Verdict::of(met),
                    Err(failure) => Verdict::Failed(failure),
                };
                let Judged { evidence, usage, .. } = answer;
                (criterion.clone(), Judged { answer: verdict, evidence, usage })
            })
            .collect();
        of_verdicts(judged)
    };
    Ok(items.iter().map(graded).collect())
}

/// Grades each item's response by the verdicts of a judge that is not a model with a grader prompt.
/// It sees no points.
///
/// # Errors
///
/// [`PortError`] for faults that stop a run; a failed verdict is data.
pub fn grade_by(judge: &dyn Judge, items: &[Item<'_>]) -> Result<Vec<Graded>, PortError> {
    let requests: Vec<_> = items.iter().map(Item::as_request).collect();
    let verdicts = judge.verdicts(&requests)?;
    let graded = |(item, judged): (&Item<'_>, Vec<Judged<Verdict>>)| {
        of_verdicts(item.rubric.rubric.criteria.iter().cloned().zip(judged).collect())
    };
    Ok(items.iter().zip(verdicts).map(graded).collect())
}

/// Returns the score of an example from its verdicts.
pub fn of_verdicts(judged: Vec<(Criterion, Judged<Verdict>)>) -> Graded {
    let items: Vec<_> = judged.iter().map(|(c, judged)| (c.points, judged.answer.met())).collect();
    let failure = |(_, judged): &(Criterion, Judged<Verdict>)| match judged.answer {
        Verdict::Failed(failure) => Some(failure),
        Verdict::Met | Verdict::NotMet => None,
    };
    let failures = judged.iter().filter_map(failure).collect();
    Graded { score: rubric_score(&items), judged, failures }
}

/// Returns the conversation as `role: content` paragraphs, the response last.
fn conversation(item: &Item<'_>) -> String {
    let mut paragraphs: Vec<String> = match &item.prompt.body {
        PromptBody::Text(text) => vec![format!("user: {text}")],
        PromptBody::Chat(messages) => {
            messages.iter().map(|m| format!("{}: {}", m.role.as_str(), m.content)).collect()
        }
    };
    paragraphs.push(format!("assistant: {}", item.response));
    paragraphs.join("\n\n")
}

/// Reads a reply as upstream does.
fn read_reply(reply: &str) -> Reading<bool> {
    let text = reply.trim();
    let text = text.strip_prefix("```json").map_or(text, str::trim_start);
    let text = text.strip_suffix("```").map_or(text, str::trim_end);
    match serde_json::from_str::<Value>(text).ok().and_then(|v| v.get("criteria_met").cloned()) {
        Some(Value::Bool(met)) => Reading::Value(met),
        _ => Reading::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use preceptor_core::{RolloutSeed, Rubric};
    use preceptor_testkit::{ScriptedGenerator, prompt};

    use super::*;

    fn rubric(items: &[(&str, f64)]) -> PhysicianRubric {
        let criterion =
            |(text, points): &(&str, f64)| Criterion { points: *points, ..Criterion::new(*text) };
        let rubric = Rubric { criteria: items.iter().map(criterion).collect() };
        PhysicianRubric { rubric, example_tags: BTreeSet::new() }
    }

    fn grade_one(
        rubric: &PhysicianRubric,
        response: &str,
        answer: impl Fn(&Prompt, RolloutSeed) -> String,
    ) -> Graded {
        let judge = ScriptedGenerator::new("judge", answer);
        let prompt = prompt("How are you?");
        let items = [Item::new(&prompt, rubric, response)];
        grade(&judge, &Sampling::default(), 2, None, &items).unwrap().remove(0)
    }

    fn user_text(prompt: &Prompt) -> &str {
        match &prompt.body {
            PromptBody::Chat(messages) => &messages[1].content,
            PromptBody::Text(_) => panic!("the grader is asked in a chat"),
        }
    }

    #[test]
    fn the_judge_sees_points_and_the_whole_conversation() {
        let rubric = rubric(&[("says hello", 5.0), ("is rude", -2.5)]);
        let graded = grade_one(&rubric, "Hello.", |prompt, _| {
            let text = user_text(prompt);
            assert!(text.contains("user: How are you?\n\nassistant: Hello."), "{text}");
            let met = text.contains("[5] says hello");
            assert!(met || text.contains("[-2.5] is rude"), "{text}");
            format!("```json\n{{\"explanation\": \"\", \"criteria_met\": {met}}}\n```")
        });
        assert_eq!(graded.score, Some(1.0));
    }

    #[test]
    fn negative_items_take_away_and_nothing_is_clipped() {
        let rubric = rubric(&[("a", 2.0), ("b", 2.0), ("harm", -10.0)]);
        let graded = grade_one(&rubric, "x", |prompt, _| {
            let met = !user_text(prompt).contains("[2] b");
            format!("{{\"criteria_met\": {met}}}")
        });
        assert_eq!(graded.score, Some(-2.0));
    }

    #[test]
    fn unreadable_replies_fail_after_the_attempts() {
        let rubric = rubric(&[("a", 1.0), ("b", 1.0)]);
        for reply in [
            "true",
            "{\"criteria_met\": \"true\"}",
            "It is met: {\"criteria_met\": true}",
            "```\n{\"criteria_met\": true}\n```",
            "{\"met\": true}",
            "[true]",
            "",
        ] {
            let graded = grade_one(&rubric, "x", |_, _| reply.to_owned());
            assert_eq!(graded.score, None, "{reply}");
            assert_eq!(graded.failures, [JudgeFailure::Unreadable; 2], "{reply}");
            assert_eq!(graded.judged[0].1.evidence.num_attempts, 2);
        }
    }

    #[test]
    fn a_conversation_with_the_second_place_is_rewritten_as_upstream() {
        let rubric = rubric(&[("calm", 1.0)]);
        grade_one(&rubric, "I say <<rubric_item>>!", |prompt, _| {
            assert!(user_text(prompt).contains("assistant: I say [1] calm!"));
            "{\"criteria_met\": true}".to_owned()
        });
    }
}
