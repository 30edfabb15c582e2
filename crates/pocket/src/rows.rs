//! Rows of the pretraining text: prompts as the harness writes them, and what the model is to answer.
//!
//! | kind | prompt | answer |
//! |---|---|---|
//! | solve | a question | an attempt with errors (in the first part of the training without) |
//! | merge | 1 to 8 attempts, in a fourth of the rows after the question | of one, the attempt as it is; of more, the true solution; of a message, the true sentence on every topic that is known from the question or an attempt |
//! | choose | the question and 2 to 8 attempts | the true solution, and on a line of its own the number of the best attempt: with the right result, or else most right steps; with most true sentences less the wrong ones; any of several |
//! | find | 2 to 8 results, of which many end alike as those of wrong attempts do, without a question | 24 draws from them, each with the number that stands after it and its own |
//! | find in chains | 2 to 8 chains of their own questions | the same of their results |
//! | again | the question and 1 to 7 attempts | one more attempt with errors |
//! | rubric | a response with some errors | a criterion for each of its sentences |
//! | rubric from a question | a message | a criterion for each sentence of an attempt with errors |
//!
//! Attempts in prompts have errors too. Half of the groups have them as often as the error model says,
//! the others between never and a fifth more often, so that what merges does not rely on one rate.

use preceptor_benchmarks::pocket_health::{Case, Sentence, Topic};
use preceptor_benchmarks::pocket_math::Chain;
use preceptor_core::{Message, Prompt, PromptBody, PromptId, Role};
use preceptor_text::{Template, fence, question_block};

use crate::errors::{Draws, ErrorRates};

// Copies of the prompts of `experiments/pocket`, which the model was trained on; a test compares them
// with what the harness asks.
const MERGE: &str = include_str!("../prompts/synthesis.md");
const CHOOSE: &str = include_str!("../prompts/self-bon.md");
const AGAIN: &str = include_str!("../prompts/mutual-predictability.md");
const RUBRIC: &str = include_str!("../prompts/rubric.md");
const RUBRIC_FROM_QUESTION: &str = include_str!("../prompts/rubric-from-question.md");

/// The most attempts in a prompt.
const MOST: usize = 8;
/// Results that are found in a row. They are drawn with replacement: if each were found once, leaving out
/// those that were found would be learnt, and finding would not.
const NUM_FOUND: usize = 24;
/// How often attempts are drawn anew if more than half of them are the best.
const REDRAWS: usize = 8;
/// Criteria that the harness asks for.
const NUM_CRITERIA: &str = "5";
/// Errors of the responses that rubrics are written from, as a share of the model's.
const RUBRIC_ERRORS: f64 = 0.7;

/// The world of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    /// Chains.
    Math,
    /// Messages.
    Health,
}

/// What a row teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// To answer a question, with errors.
    Solve(World),
    /// The same without errors.
    SolveCleanly(World),
    /// To merge attempts.
    Merge(World),
    /// To name the best attempt.
    Choose(World),
    /// To find results among results.
    Find,
    /// To find results among chains.
    FindInChains,
    /// To add an attempt.
    Again(World),
    /// To write criteria from a response.
    Rubric,
    /// To write criteria from a message.
    RubricFromQuestion,
}

impl Kind {
    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solve(World::Math) => "math-solve",
            Self::Solve(World::Health) => "health-solve",
            Self::SolveCleanly(World::Math) => "math-solve-cleanly",
            Self::SolveCleanly(World::Health) => "health-solve-cleanly",
            Self::Merge(World::Math) => "math-merge",
            Self::Merge(World::Health) => "health-merge",
            Self::Choose(World::Math) => "math-choose",
            Self::Choose(World::Health) => "health-choose",
            Self::Find => "find",
            Self::FindInChains => "find-in-chains",
            Self::Again(World::Math) => "math-again",
            Self::Again(World::Health) => "health-again",
            Self::Rubric => "rubric",
            Self::RubricFromQuestion => "rubric-from-question",
        }
    }
}

/// A prompt and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the model reads.
    pub prompt: Prompt,
    /// What it is to write.
    pub answer: String,
}

/// A question of either world, with what is needed to answer it.
enum Subject {
    Math(Chain),
    Health(Case),
}

/// An attempt, and how good it is: more is better.
struct Attempt {
    text: String,
    quality: i64,
    topics: Vec<Topic>,
}

impl AsRef<str> for Attempt {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Subject {
    fn draw(world: World, draws: &mut Draws) -> Self {
        match world {
            World::Math => {
                let operations = 2 + draws.below(4) as u32;
                Self::Math(draws.chain(operations))
            }
            World::Health => Self::Health(draws.case()),
        }
    }

    fn question(&self) -> String {
        match self {
            Self::Math(chain) => chain.question(),
            Self::Health(case) => case.message(),
        }
    }

    fn attempt(&self, rates: ErrorRates, draws: &mut Draws) -> Attempt {
        match self {
            Self::Math(chain) => {
                let (found, truth) = (rates.results(chain, draws), chain.results());
                let right = found.iter().zip(&truth).filter(|(a, b)| a == b).count() as i64;
                let solved = i64::from(found.last() == truth.last());
                let text = chain.worked(&found);
                Attempt { text, quality: 100 * solved + right, topics: Vec::new() }
            }
            Self::Health(case) => {
                let sentences = rates.sentences(case, draws);
                let value = |s: &Sentence| if *s == case.sentence(s.topic) { 1 } else { -1 };
                Attempt {
                    text: Case::response(&sentences),
                    quality: sentences.iter().map(value).sum(),
                    topics: sentences.iter().map(|sentence| sentence.topic).collect(),
                }
            }
        }
    }

    /// The truth, of a message about what an attempt speaks of.
    fn merged(&self, attempts: &[Attempt], question: bool) -> String {
        match self {
            Self::Math(chain) => chain.worked(&chain.results()),
            Self::Health(case) => {
                let is_known = |topic: &Topic| {
                    question || attempts.iter().any(|attempt| attempt.topics.contains(topic))
                };
                let known = Topic::ALL.into_iter().filter(is_known);
                Case::response(&known.map(|topic| case.sentence(topic)).collect::<Vec<_>>())
            }
        }
    }
}

/// Writes rows of a kind, with prompts as the harness writes them.
#[derive(Clone, Debug)]
pub struct Writer {
    rates: ErrorRates,
    merge: Template,
    choose: Template,
    again: Template,
    rubric: Template,
    rubric_from_question: Template,
}

impl Writer {
    /// A writer of attempts with errors of `rates`.
    pub fn new(rates: ErrorRates) -> Self {
        let template = |file: &str, text: &str, places: &'static [&'static str]| {
            Template::new(file, text, places).expect("the prompt files are tested")
        };
        Self {
            rates,
            merge: template("synthesis.md", MERGE, &["question", "rollouts"]),
            choose: template("self-bon.md", CHOOSE, &["question", "count", "rollouts"]),
            again: template("mutual-predictability.md", AGAIN, &["question", "rollouts"]),
            rubric: template("rubric.md", RUBRIC, &["count", "reference"]),
            rubric_from_question: template(
                "rubric-from-question.md",
                RUBRIC_FROM_QUESTION,
                &["count", "question"],
            ),
        }
    }

    /// One row.
    pub fn row(&self, kind: Kind, draws: &mut Draws) -> Row {
        let (text, answer) = match kind {
            Kind::Solve(world) => self.solve(world, self.rates, draws),
            Kind::SolveCleanly(world) => self.solve(world, self.rates.times(0.0), draws),
            Kind::Merge(world) => {
                let subject = Subject::draw(world, draws);
                // One and eight attempts are what the harness asks about most.
                let count = match draws.below(10) {
                    0 | 1 => 1,
                    8 | 9 => MOST,
                    other => other,
                };
                let attempts = self.attempts(&subject, count, draws);
                let shows_question = draws.chance(0.25);
                let question =
                    if shows_question { self.shown_question(&subject) } else { String::new() };
                let text = self.merge.fill(&[&question, &numbered(&attempts)]);
                let merged = match &attempts[..] {
                    [only] => only.text.clone(),
                    _ => subject.merged(&attempts, shows_question),
                };
                (text, merged)
            }
            Kind::Choose(world) => self.choice(world, draws),
            Kind::Find => self.finding(false, draws),
            Kind::FindInChains => self.finding(true, draws),
            Kind::Again(world) => {
                let subject = Subject::draw(world, draws);
                let count = if draws.chance(0.4) { MOST - 1 } else { 1 + draws.below(MOST - 1) };
                let attempts = self.attempts(&subject, count, draws);
                let text = self.again.fill(&[&subject.question(), &numbered(&attempts)]);
                (text, subject.attempt(self.rates, draws).text)
            }
            Kind::Rubric => {
                let case = draws.case();
                let sentences = self.rates.times(RUBRIC_ERRORS).sentences(&case, draws);
                let response = fence("response", &Case::response(&sentences));
                (self.rubric.fill(&[NUM_CRITERIA, &response]), rubric(&sentences))
            }
            Kind::RubricFromQuestion => {
                let case = draws.case();
                let question = fence("question", &case.message());
                let text = self.rubric_from_question.fill(&[NUM_CRITERIA, &question]);
                (text, rubric(&self.rates.sentences(&case, draws)))
            }
        };
        let message = Message { role: Role::User, content: text };
        let id = PromptId::new(kind.name());
        Row { prompt: Prompt { id, body: PromptBody::Chat(vec![message]) }, answer }
    }

    fn solve(&self, world: World, rates: ErrorRates, draws: &mut Draws) -> (String, String) {
        let subject = Subject::draw(world, draws);
        let answer = subject.attempt(rates, draws).text;
        (subject.question(), answer)
    }

    fn choice(&self, world: World, draws: &mut Draws) -> (String, String) {
        let subject = Subject::draw(world, draws);
        let count = if draws.chance(0.4) { MOST } else { 2 + draws.below(MOST - 1) };
        // Where most attempts are best, there is little to choose.
        let mut redraws = 0..REDRAWS;
        let (attempts, places) = loop {
            let attempts = self.attempts(&subject, count, draws);
            let best = attempts.iter().map(|attempt| attempt.quality).max();
            let is_best = |place: &usize| Some(attempts[*place].quality) == best;
            let places: Vec<usize> = (0..count).filter(is_best).collect();
            if 2 * places.len() <= count || redraws.next().is_none() {
                break (attempts, places);
            }
        };
        let place = places[draws.below(places.len())];
        let question = self.shown_question(&subject);
        let text = self.choose.fill(&[&question, &count.to_string(), &numbered(&attempts)]);
        let truth = subject.merged(&attempts, true);
        let answer = match world {
            World::Math => named(&truth, place, count),
            World::Health => format!("{truth}\n{}", place + 1),
        };
        (text, answer)
    }

    fn finding(&self, in_chains: bool, draws: &mut Draws) -> (String, String) {
        let count = 2 + draws.below(MOST - 1);
        let last_digits = [draws.below(10), draws.below(10)];
        let end_alike = draws.chance(0.5);
        let attempt = |_| {
            let wanted = if end_alike { last_digits[draws.below(2)] } else { draws.below(10) };
            if !in_chains {
                return format!("\\boxed{{{}{wanted}}}", draws.below(10));
            }
            loop {
                let operations = 1 + draws.below(5) as u32;
                let chain = draws.chain(operations);
                let results = chain.results();
                if results.last().is_some_and(|last| *last as usize % 10 == wanted) {
                    return chain.worked(&results);
                }
            }
        };
        let attempts: Vec<String> = (0..count).map(attempt).collect();
        let text = self.choose.fill(&["", &count.to_string(), &numbered(&attempts)]);
        let found = (0..NUM_FOUND).map(|_| {
            let place = draws.below(count);
            let at = attempts[place].find("\\boxed").expect("every chain has a result");
            named(&attempts[place][at..], place, count)
        });
        (text, found.collect::<Vec<_>>().join("\n"))
    }

    fn attempts(&self, subject: &Subject, count: usize, draws: &mut Draws) -> Vec<Attempt> {
        let factor = if draws.chance(0.5) { 1.0 } else { 1.2 * draws.unit() };
        let rates = self.rates.times(factor);
        (0..count).map(|_| subject.attempt(rates, draws)).collect()
    }

    fn shown_question(&self, subject: &Subject) -> String {
        question_block(&subject.question())
    }
}

/// Attempts as aggregators show them.
fn numbered<T: AsRef<str>>(attempts: &[T]) -> String {
    let one = |(place, attempt): (usize, &T)| {
        format!("Response {}:\n{}", place + 1, fence("response", attempt.as_ref()))
    };
    attempts.iter().enumerate().map(one).collect::<Vec<_>>().join("\n\n")
}

/// A result, the number that stands after the attempt, and on a line of its own the attempt's.
fn named(result: &str, place: usize, count: usize) -> String {
    let (number, next) = (place + 1, if place + 1 < count { place + 2 } else { 0 });
    format!("{result}{next}\n{number}")
}

/// A criterion for each sentence.
fn rubric(sentences: &[Sentence]) -> String {
    let one = |s: &Sentence| format!("<criterion>says: {}</criterion>\n", s.text);
    format!("<rubric>\n{}</rubric>", sentences.iter().map(one).collect::<String>())
}
