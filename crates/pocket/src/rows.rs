//! Rows of the pretraining text: prompts as the harness writes them, and the model's answers.
//!
//! | kind | prompt | answer |
//! |---|---|---|
//! | solve | a question | an attempt with errors (without errors in the phase of questions) |
//! | merge | 1 to 8 attempts, in a fourth of the rows after the question | of one, the attempt as it is; of more, the true solution; of a message, the true sentence on every topic that is known from the question or an attempt |
//! | choose | the question and 2 to 8 attempts | the true solution, and on a separate line the number of the best attempt: with the right result, or else most right steps; with most true sentences minus the wrong ones; any of several |
//! | find | 2 to 8 results, many with the same last digit as in wrong attempts, without a question | 24 draws from them, each with the number after it and its own number |
//! | find in chains | 2 to 8 chains of different questions | likewise for their results |
//! | again | the question and 1 to 7 attempts | another attempt with errors |
//! | rubric | a response with some errors | a criterion for each of its sentences |
//! | rubric from a question | a message | a criterion for each sentence of an attempt with errors |
//!
//! Attempts in prompts have errors too. Half of the groups have the rates of the error model, the others
//! between zero and a fifth more, so that merging does not rely on a single rate.

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

/// The maximum number of attempts in a prompt.
const MOST: usize = 8;
/// Number of results to find in a row. They are drawn with replacement: if each occurred once, the model
/// would learn to skip those already found instead of finding.
const NUM_FOUND: usize = 24;
/// The number of times that attempts are drawn again if more than half of them are the best.
const REDRAWS: usize = 8;
/// The number of criteria that the harness asks for.
const NUM_CRITERIA: &str = "5";
/// Error rates of the responses that rubrics are written from, as a share of the model's.
const RUBRIC_ERRORS: f64 = 0.7;

/// The synthetic benchmark of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    /// Chains.
    Math,
    /// Messages.
    Health,
}

/// The task of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Answering a question, with errors.
    Solve(Domain),
    /// Answering a question without errors.
    SolveCleanly(Domain),
    /// Merging attempts.
    Merge(Domain),
    /// Naming the best attempt.
    Choose(Domain),
    /// Finding results among results.
    Find,
    /// Finding results among chains.
    FindInChains,
    /// Adding an attempt.
    Again(Domain),
    /// Writing criteria from a response.
    Rubric,
    /// Writing criteria from a message.
    RubricFromQuestion,
}

impl Kind {
    /// Returns the name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solve(Domain::Math) => "math-solve",
            Self::Solve(Domain::Health) => "health-solve",
            Self::SolveCleanly(Domain::Math) => "math-solve-cleanly",
            Self::SolveCleanly(Domain::Health) => "health-solve-cleanly",
            Self::Merge(Domain::Math) => "math-merge",
            Self::Merge(Domain::Health) => "health-merge",
            Self::Choose(Domain::Math) => "math-choose",
            Self::Choose(Domain::Health) => "health-choose",
            Self::Find => "find",
            Self::FindInChains => "find-in-chains",
            Self::Again(Domain::Math) => "math-again",
            Self::Again(Domain::Health) => "health-again",
            Self::Rubric => "rubric",
            Self::RubricFromQuestion => "rubric-from-question",
        }
    }
}

/// A prompt and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The text that the model reads.
    pub prompt: Prompt,
    /// The text that it learns to write.
    pub answer: String,
}

/// A question of either synthetic benchmark, with the data to answer it.
enum Subject {
    Math(Chain),
    Health(Case),
}

/// An attempt with its score: higher is better.
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
    fn draw(domain: Domain, draws: &mut Draws) -> Self {
        match domain {
            Domain::Math => {
                let operations = 2 + draws.below(4) as u32;
                Self::Math(draws.chain(operations))
            }
            Domain::Health => Self::Health(draws.case()),
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

    /// Merges attempts: the true solution, of a message only about the topics of the attempts.
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
    /// Creates a writer of attempts with errors of `rates`.
    pub fn new(rates: ErrorRates) -> Self {
        let template = |file: &str, text: &str, placeholders: &'static [&'static str]| {
            Template::new(file, text, placeholders).expect("the prompt files are tested")
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

    /// Draws a row.
    pub fn row(&self, kind: Kind, draws: &mut Draws) -> Row {
        let (text, answer) = match kind {
            Kind::Solve(domain) => self.solve(domain, self.rates, draws),
            Kind::SolveCleanly(domain) => self.solve(domain, self.rates.times(0.0), draws),
            Kind::Merge(domain) => {
                let subject = Subject::draw(domain, draws);
                // The harness asks mostly about one or eight attempts.
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
            Kind::Choose(domain) => self.choice(domain, draws),
            Kind::Find => self.finding(false, draws),
            Kind::FindInChains => self.finding(true, draws),
            Kind::Again(domain) => {
                let subject = Subject::draw(domain, draws);
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
        Row { prompt: Prompt::new(id, PromptBody::Chat(vec![message])), answer }
    }

    fn solve(&self, domain: Domain, rates: ErrorRates, draws: &mut Draws) -> (String, String) {
        let subject = Subject::draw(domain, draws);
        let answer = subject.attempt(rates, draws).text;
        (subject.question(), answer)
    }

    fn choice(&self, domain: Domain, draws: &mut Draws) -> (String, String) {
        let subject = Subject::draw(domain, draws);
        let count = if draws.chance(0.4) { MOST } else { 2 + draws.below(MOST - 1) };
        // If most attempts are best, there is little to choose.
        let mut redraws = 0..REDRAWS;
        let (attempts, placeholders) = loop {
            let attempts = self.attempts(&subject, count, draws);
            let best = attempts.iter().map(|attempt| attempt.quality).max();
            let is_best = |index: &usize| Some(attempts[*index].quality) == best;
            let placeholders: Vec<usize> = (0..count).filter(is_best).collect();
            if 2 * placeholders.len() <= count || redraws.next().is_none() {
                break (attempts, placeholders);
            }
        };
        let index = placeholders[draws.below(placeholders.len())];
        let question = self.shown_question(&subject);
        let text = self.choose.fill(&[&question, &count.to_string(), &numbered(&attempts)]);
        let truth = subject.merged(&attempts, true);
        let answer = match domain {
            Domain::Math => named(&truth, index, count),
            Domain::Health => format!("{truth}\n{}", index + 1),
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
            let index = draws.below(count);
            let at = attempts[index].find("\\boxed").expect("every chain has a result");
            named(&attempts[index][at..], index, count)
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

/// Formats attempts as aggregators do.
fn numbered<T: AsRef<str>>(attempts: &[T]) -> String {
    let one = |(index, attempt): (usize, &T)| {
        format!("Response {}:\n{}", index + 1, fence("response", attempt.as_ref()))
    };
    attempts.iter().enumerate().map(one).collect::<Vec<_>>().join("\n\n")
}

/// Formats a result, the number after the attempt, and on a separate line the number of the attempt.
fn named(result: &str, index: usize, count: usize) -> String {
    let (number, next) = (index + 1, if index + 1 < count { index + 2 } else { 0 });
    format!("{result}{next}\n{number}")
}

/// Formats a criterion for each sentence.
fn rubric(sentences: &[Sentence]) -> String {
    let one = |s: &Sentence| format!("<criterion>says: {}</criterion>\n", s.text);
    format!("<rubric>\n{}</rubric>", sentences.iter().map(one).collect::<String>())
}
