//! Asking a model and reading its reply, with bounded retries.
//!
//! All questions go out in one call. What could not be read is asked again, again all in one call, with
//! the seed of the next attempt, until the allowed attempts are used up. What ends a question:
//!
//! | reply | outcome |
//! |---|---|
//! | readable | its value |
//! | unreadable or contradictory | asked again; after the last attempt `Contradictory` if the last reply was, `CutOff` if every reply was cut off, else `Unreadable` |
//! | absent, because the call failed | `CallFailed`, not asked again here: whoever made the call has retried it |
//! | the model declined | `Refused` |
//! | the prompt does not fit | `PromptTooLong` |
//!
//! The seed of an attempt is derived from what is asked (role and prompt) and the number of the attempt
//! alone. The same question to the same model is thus the same call in every cell and every run, and a
//! layer that keeps calls answers it from there. A model on this machine with temperature 0 repeats
//! itself whatever the seed; retries help where there is a temperature or a remote model.

use preceptor_core::{
    Digest, Evidence, FinishReason, GenerationRequest, Generator, JudgeFailure, Judged, NoObserver,
    PortError, Prompt, PromptBody, Rollout, RolloutSeed, Sampling, Seed, Usage,
};
use preceptor_text::without_thoughts;

/// Reading of a reply, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// This.
    Value(T),
    /// The reply says two things.
    Contradictory,
    /// The reply does not say it.
    Unreadable,
}

/// A value, or why it could not be had.
pub type Answer<T> = Result<T, JudgeFailure>;

/// Reads a reply without its thoughts, which is hostile input.
pub type Reader<'r, R> = Box<dyn Fn(&str) -> R + 'r>;

/// Model that is asked, with its sampling.
#[derive(Clone)]
pub struct Asker<'a> {
    /// The model.
    pub model: &'a dyn Generator,
    /// Purpose of the questions, for example `judge`. It is part of the seed.
    pub role: &'static str,
    /// Sampling of the replies.
    pub sampling: Sampling,
    /// Replies that are asked for at most, 1 or more.
    pub attempts: u32,
}

/// A question with one answer.
pub struct Question<'r, T> {
    /// Prompt of the question. Its id names the purpose.
    pub prompt: Prompt,
    /// Reads the answer.
    pub read: Reader<'r, Reading<T>>,
}

/// A question with several answers in one reply.
pub struct PartedQuestion<'r, T> {
    /// Prompt of the question. Its id names the purpose.
    pub prompt: Prompt,
    /// Number of answers that are expected.
    pub num_parts: usize,
    /// Reads the answers; those that it does not give are unreadable.
    pub read: Reader<'r, Vec<Reading<T>>>,
}

/// Asks each question.
///
/// # Errors
///
/// [`PortError`] if the model fails. A missing answer is an `Err` at its index.
pub fn ask<T>(
    asker: &Asker<'_>,
    questions: Vec<Question<'_, T>>,
) -> Result<Vec<Judged<Answer<T>>>, PortError> {
    let parted = questions.into_iter().map(|Question { prompt, read }| PartedQuestion {
        prompt,
        num_parts: 1,
        read: Box::new(move |reply| vec![read(reply)]),
    });
    let answers = ask_in_parts(asker, parted.collect())?;
    Ok(answers.into_iter().flatten().collect())
}

/// Asks each question for several answers. A part that was read is kept; a reply in which another part
/// can't be read costs it nothing. The question is asked again as a whole.
///
/// A question's tokens count with its first part.
///
/// # Errors
///
/// [`PortError`] if the model fails. A missing answer is an `Err` at its index.
pub fn ask_in_parts<T>(
    asker: &Asker<'_>,
    questions: Vec<PartedQuestion<'_, T>>,
) -> Result<Vec<Vec<Judged<Answer<T>>>>, PortError> {
    let mut states: Vec<State<T>> =
        questions.iter().map(|question| State::new(question.num_parts)).collect();
    for attempt in 0..asker.attempts.max(1) {
        let open: Vec<usize> = (0..states.len()).filter(|&i| states[i].is_open()).collect();
        if open.is_empty() {
            break;
        }
        let request = |&i: &usize| {
            let prompt = questions[i].prompt.clone();
            let seed = seed(asker.role, &prompt.body, attempt);
            GenerationRequest { prompt, rollouts: vec![RolloutSeed { index: 0, seed }] }
        };
        let requests: Vec<_> = open.iter().map(request).collect();
        let replies = asker.model.generate(&requests, &asker.sampling, &mut NoObserver)?;
        let mut replies = replies.into_iter().map(|rollouts| rollouts.into_iter().next());
        for i in open {
            states[i].take(replies.next().flatten(), &questions[i].read);
        }
    }
    Ok(states.into_iter().map(State::finish).collect())
}

/// Returns the stream of the reply to a question's attempt.
fn seed(role: &str, body: &PromptBody, attempt: u32) -> Seed {
    let body = serde_json::to_vec(body).expect("a prompt is plain data");
    let asked = Digest::of_parts([role.as_bytes(), &body]);
    Seed::root(0).derive("ask").derive(asked.as_str()).derive_index(u64::from(attempt))
}

/// A question on its way to its answers.
struct State<T> {
    parts: Vec<Part<T>>,
    num_attempts: u32,
    usage: Usage,
    is_over: bool,
}

struct Part<T> {
    answer: Answer<T>,
    evidence: Evidence,
    /// True if every reply so far was cut off before the answer.
    only_cut_off: bool,
}

impl<T> State<T> {
    fn new(num_parts: usize) -> Self {
        let part = || Part {
            answer: Err(JudgeFailure::Unreadable),
            evidence: Evidence::default(),
            only_cut_off: true,
        };
        let parts: Vec<_> = (0..num_parts).map(|_| part()).collect();
        Self { parts, num_attempts: 0, usage: Usage::default(), is_over: false }
    }

    fn is_open(&self) -> bool {
        !self.is_over && self.parts.iter().any(|part| part.answer.is_err())
    }

    fn take(&mut self, reply: Option<Rollout>, read: &dyn Fn(&str) -> Vec<Reading<T>>) {
        self.num_attempts += 1;
        let Some(reply) = reply else { return self.end(None, JudgeFailure::CallFailed) };
        self.usage += Usage {
            num_prompt_tokens: u64::from(reply.num_prompt_tokens),
            num_generated_tokens: reply.num_tokens(),
        };
        match reply.finish {
            FinishReason::Refused => return self.end(Some(&reply.text), JudgeFailure::Refused),
            FinishReason::PromptTooLong => {
                return self.end(Some(&reply.text), JudgeFailure::PromptTooLong);
            }
            FinishReason::EndToken
            | FinishReason::StopString
            | FinishReason::MaxNewTokens
            | FinishReason::ContextFull => {}
        }
        // Drafts in thoughts never count.
        let mut readings = read(&without_thoughts(&reply.text)).into_iter();
        for part in &mut self.parts {
            let reading = readings.next().unwrap_or(Reading::Unreadable);
            if part.answer.is_ok() {
                continue;
            }
            part.evidence.reply.clone_from(&reply.text);
            part.evidence.num_attempts = self.num_attempts;
            part.only_cut_off &= reply.finish.is_truncated();
            part.answer = match reading {
                Reading::Value(value) => Ok(value),
                Reading::Contradictory => Err(JudgeFailure::Contradictory),
                Reading::Unreadable if part.only_cut_off => Err(JudgeFailure::CutOff),
                Reading::Unreadable => Err(JudgeFailure::Unreadable),
            };
        }
    }

    /// Ends the question for parts without an answer.
    fn end(&mut self, reply: Option<&str>, failure: JudgeFailure) {
        self.is_over = true;
        for part in self.parts.iter_mut().filter(|part| part.answer.is_err()) {
            part.answer = Err(failure);
            part.evidence.num_attempts = self.num_attempts;
            if let Some(reply) = reply {
                reply.clone_into(&mut part.evidence.reply);
            }
        }
    }

    fn finish(self) -> Vec<Judged<Answer<T>>> {
        let mut usage = self.usage;
        let judged = |part: Part<T>| Judged {
            answer: part.answer,
            evidence: part.evidence,
            usage: std::mem::take(&mut usage),
        };
        self.parts.into_iter().map(judged).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use preceptor_core::PromptId;
    use preceptor_testkit::{ScriptedRollouts, prompt, rollout};
    use preceptor_text::{IndexReading, read_index};
    use proptest::prelude::*;

    use super::*;

    fn index(reply: &str) -> Reading<usize> {
        match read_index(reply, 9) {
            IndexReading::Index(index) => Reading::Value(index),
            IndexReading::Contradictory => Reading::Contradictory,
            IndexReading::Unreadable => Reading::Unreadable,
        }
    }

    fn asker(model: &dyn Generator) -> Asker<'_> {
        Asker { model, role: "test", sampling: Sampling::default(), attempts: 3 }
    }

    fn question<'r>(id: &str) -> Question<'r, usize> {
        Question { prompt: prompt(id), read: Box::new(index) }
    }

    fn first_seed(id: &str, attempt: u32) -> Seed {
        seed("test", &prompt(id).body, attempt)
    }

    #[test]
    fn only_what_could_not_be_read_is_asked_again() {
        let model = ScriptedRollouts::new(|asked, seed| {
            let attempt = (0..3).find(|&i| first_seed(asked.id.as_str(), i) == seed.seed);
            let text = match (asked.id.as_str(), attempt.unwrap()) {
                ("easy", _) => "4",
                ("hard", 2) => "5",
                _ => "hm",
            };
            Some(rollout(0, text))
        });
        let questions = vec![question("hard"), question("easy"), question("never")];
        let answers = ask(&asker(&model), questions).unwrap();
        let values: Vec<_> = answers.iter().map(|judged| judged.answer).collect();
        assert_eq!(values, [Ok(5), Ok(4), Err(JudgeFailure::Unreadable)]);
        let attempts: Vec<_> = answers.iter().map(|a| a.evidence.num_attempts).collect();
        assert_eq!(attempts, [3, 1, 3]);
        assert_eq!(answers[0].evidence.reply, "5");
        assert_eq!(answers[2].evidence.reply, "hm");
        let sizes: Vec<_> = model.calls().iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 2, 2], "each attempt is one call");
        // Three bytes and an end token a reply; the prompt counts one.
        assert_eq!(answers[2].usage, Usage { num_prompt_tokens: 3, num_generated_tokens: 9 });
    }

    #[test]
    fn the_seed_depends_on_what_is_asked_and_on_nothing_else() {
        let seeds = |ids: &[&str]| {
            let model = ScriptedRollouts::new(|_, _| Some(rollout(0, "1")));
            ask(&asker(&model), ids.iter().map(|id| question(id)).collect()).unwrap();
            model.calls()[0].iter().map(|(_, seed)| seed.seed).collect::<Vec<_>>()
        };
        assert_eq!(seeds(&["a", "b"])[1], seeds(&["b"])[0]);
        let mut renamed = prompt("a");
        renamed.id = PromptId::new("another id");
        assert_eq!(seed("test", &renamed.body, 0), first_seed("a", 0));
        let all = BTreeSet::from([
            first_seed("a", 0),
            first_seed("a", 1),
            first_seed("b", 0),
            seed("other", &prompt("a").body, 0),
        ]);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn every_bad_ending_is_an_outcome_of_its_own() {
        use FinishReason::{EndToken, MaxNewTokens, PromptTooLong, Refused};
        for (finishes, text, failure, num_asked) in [
            (vec![None], "", JudgeFailure::CallFailed, 1),
            (vec![Some(Refused)], "3", JudgeFailure::Refused, 1),
            (vec![Some(PromptTooLong)], "", JudgeFailure::PromptTooLong, 1),
            (vec![Some(MaxNewTokens)], "because", JudgeFailure::CutOff, 3),
            (vec![Some(EndToken)], "1\n2", JudgeFailure::Contradictory, 3),
            (vec![Some(EndToken), Some(MaxNewTokens)], "hm", JudgeFailure::Unreadable, 3),
            (vec![Some(EndToken), None], "hm", JudgeFailure::CallFailed, 2),
        ] {
            let model = ScriptedRollouts::new(|_, seed| {
                let attempt = (0..3).position(|i| first_seed("q", i) == seed.seed).unwrap();
                let finish = *finishes.get(attempt).or(finishes.last()).unwrap();
                Some(Rollout { finish: finish?, ..rollout(0, text) })
            });
            let judged = ask(&asker(&model), vec![question("q")]).unwrap().remove(0);
            assert_eq!(judged.answer, Err(failure), "{finishes:?}");
            assert_eq!(judged.evidence.num_attempts, num_asked, "{finishes:?}");
        }
    }

    #[test]
    fn a_reply_that_is_cut_off_after_the_answer_counts() {
        let model = ScriptedRollouts::new(|_, _| {
            Some(Rollout { finish: FinishReason::MaxNewTokens, ..rollout(0, "<best>3</best> bec") })
        });
        let judged = ask(&asker(&model), vec![question("q")]).unwrap().remove(0);
        assert_eq!(judged.answer, Ok(3));
    }

    #[test]
    fn a_part_that_was_read_is_kept_while_others_are_asked_again() {
        let model = ScriptedRollouts::new(|_, seed| {
            let is_first = first_seed("q", 0) == seed.seed;
            Some(rollout(0, if is_first { "1 ?" } else { "7 2" }))
        });
        let read = |reply: &str| {
            let part = |part: &str| part.parse().map_or(Reading::Unreadable, Reading::Value);
            reply.split(' ').map(part).collect::<Vec<Reading<u32>>>()
        };
        let question = PartedQuestion { prompt: prompt("q"), num_parts: 3, read: Box::new(read) };
        let parts = ask_in_parts(&asker(&model), vec![question]).unwrap().remove(0);
        let values: Vec<_> = parts.iter().map(|part| part.answer).collect();
        assert_eq!(values, [Ok(1), Ok(2), Err(JudgeFailure::Unreadable)]);
        assert_eq!((&*parts[0].evidence.reply, parts[0].evidence.num_attempts), ("1 ?", 1));
        assert_eq!((&*parts[1].evidence.reply, parts[1].evidence.num_attempts), ("7 2", 2));
        assert_eq!(parts[0].usage.num_prompt_tokens, 3);
        assert_eq!(parts[1].usage, Usage::default());
    }

    proptest! {
        #[test]
        fn attempts_are_bounded_and_each_question_has_an_answer(
            replies in prop::collection::vec("[0-9a-c]{0,2}", 1..6),
            attempts in 0_u32..5,
        ) {
            let model = ScriptedRollouts::new(|asked, _| {
                Some(rollout(0, asked.id.as_str().split('/').nth(1).unwrap_or_default()))
            });
            let ids: Vec<_> =
                replies.iter().enumerate().map(|(i, reply)| format!("{i}/{reply}")).collect();
            let asker = Asker { attempts, ..asker(&model) };
            let answers = ask(&asker, ids.iter().map(|id| question(id)).collect()).unwrap();
            prop_assert_eq!(answers.len(), replies.len());
            prop_assert!(model.calls().len() <= attempts.max(1) as usize);
            for judged in answers {
                prop_assert!(judged.evidence.num_attempts <= attempts.max(1));
            }
        }
    }
}
