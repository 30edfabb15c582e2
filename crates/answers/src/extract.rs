//! Finding the final answer in a rollout's text.
//!
//! The default reads, in this order:
//!
//! 1. the last balanced `\boxed{..}` or `\fbox{..}`, or `\boxed 5` up to the end of its formula;
//!    a box that the text's end cuts off is passed over;
//! 2. without any box, the last "final answer is ..." or "Final answer: ...", to the end of its
//!    sentence or line.
//!
//! Nothing else counts: neither the last number nor the whole text is taken for an answer, so a
//! bare label is never "extracted" from itself.
//!
//! Differs from the Hendrycks extraction: escaped braces do not count towards the balance, `\fbox`
//! works, and a box without braces does not shadow a later one with them. In
//! `\boxed{a}, \boxed{b}` the last box is the answer.

use serde::{Deserialize, Serialize};

/// What extraction found in a rollout's text.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Extraction {
    /// The answer as written, trimmed; never blank.
    pub answer: Option<String>,
    /// How it was found, or why it was not.
    pub rule: ExtractionRule,
}

/// How an answer was found.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ExtractionRule {
    /// The last box.
    Box,
    /// A phrase that announces the final answer.
    FinalAnswerPhrase,
    /// A line that starts with `Answer:`.
    AnswerLine,
    /// The last number of the text.
    LastNumber,
    /// No answer was found.
    None(NoAnswerReason),
}

/// Why no answer was found.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum NoAnswerReason {
    /// The text has no box and no phrase that announces an answer.
    NoMarker,
    /// The text's only boxes are cut off.
    UnbalancedBox,
    /// The box or the phrase holds nothing.
    EmptyAnswer,
}

impl ExtractionRule {
    /// The rule's name for tables; for a missing answer the reason's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::FinalAnswerPhrase => "final-answer-phrase",
            Self::AnswerLine => "answer-line",
            Self::LastNumber => "last-number",
            Self::None(NoAnswerReason::NoMarker) => "no-marker",
            Self::None(NoAnswerReason::UnbalancedBox) => "unbalanced-box",
            Self::None(NoAnswerReason::EmptyAnswer) => "empty-answer",
        }
    }
}

impl Extraction {
    pub(crate) fn found(answer: &str, rule: ExtractionRule) -> Self {
        let answer = answer.trim();
        if answer.is_empty() {
            return Self::missing(NoAnswerReason::EmptyAnswer);
        }
        Self { answer: Some(answer.to_owned()), rule }
    }

    pub(crate) fn missing(reason: NoAnswerReason) -> Self {
        Self { answer: None, rule: ExtractionRule::None(reason) }
    }
}

/// Finds the last boxed answer, with the fallback for an announced final answer.
///
/// ```
/// use preceptor_answers::{ExtractionRule, extract_boxed};
/// let found = extract_boxed(r"So $x = \boxed{\frac{1}{2}}$.");
/// assert_eq!(found.answer.as_deref(), Some(r"\frac{1}{2}"));
/// assert_eq!(found.rule, ExtractionRule::Box);
/// assert_eq!(extract_boxed("the final answer is 7.").answer.as_deref(), Some("7"));
/// assert_eq!(extract_boxed(r"\frac{1}{2}").answer, None);
/// ```
pub fn extract_boxed(text: &str) -> Extraction {
    match last_box(text) {
        LastBox::Found(answer) => Extraction::found(answer, ExtractionRule::Box),
        LastBox::Unbalanced => Extraction::missing(NoAnswerReason::UnbalancedBox),
        LastBox::Absent => match announced(text) {
            Some(answer) => Extraction::found(answer, ExtractionRule::FinalAnswerPhrase),
            None => Extraction::missing(NoAnswerReason::NoMarker),
        },
    }
}

enum LastBox<'a> {
    Found(&'a str),
    Unbalanced,
    Absent,
}

/// One forward pass: every box is opened on a stack and the last one to start that also closes
/// wins, so the cost is linear however many boxes there are.
fn last_box(text: &str) -> LastBox<'_> {
    let bytes = text.as_bytes();
    // Start of the best box, and its end where it has braces.
    let (mut any, mut best) = (false, None::<(usize, Option<usize>)>);
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => match box_command(&text[at..]) {
                Some(length) => {
                    any = true;
                    at += length;
                    let inner = at + spaces(&bytes[at..]);
                    if bytes.get(inner) == Some(&b'{') {
                        open.push(Some(inner));
                        at = inner + 1;
                    } else if inner > at && !matches!(bytes.get(inner), None | Some(b'$' | b'\\')) {
                        best = Some((at, None));
                        at = inner;
                    }
                }
                None => at += 2,
            },
            b'{' => {
                open.push(None);
                at += 1;
            }
            b'}' => {
                if let Some(Some(start)) = open.pop()
                    && best.is_none_or(|(earlier, _)| start > earlier)
                {
                    best = Some((start, Some(at)));
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    match best {
        Some((start, Some(end))) => LastBox::Found(&text[start + 1..end]),
        Some((start, None)) => LastBox::Found(unbraced(&text[start..])),
        None if any => LastBox::Unbalanced,
        None => LastBox::Absent,
    }
}

/// The length of `\boxed` or `\fbox` at the start of the text.
fn box_command(text: &str) -> Option<usize> {
    let command = ["\\boxed", "\\fbox"].into_iter().find(|name| text.starts_with(name))?;
    let longer = text[command.len()..].starts_with(|c: char| c.is_ascii_alphabetic());
    (!longer).then_some(command.len())
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// What `\boxed 5$` boxes: the rest of the formula, or of the line.
fn unbraced(rest: &str) -> &str {
    let rest = rest.trim_start();
    let end = rest.find(['$', '\n']).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ' '])
}

/// What follows the last phrase that announces the final answer.
fn announced(text: &str) -> Option<&str> {
    const PHRASES: [&str; 3] = ["final answer is", "final answer:", "final answer :"];
    let lower = text.to_ascii_lowercase();
    let start = PHRASES
        .iter()
        .filter_map(|phrase| lower.rfind(phrase).map(|at| at + phrase.len()))
        .max()?;
    let rest = text[start..].trim_start_matches([':', ' ', '*']);
    let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let sentence = &line[..line.find(". ").unwrap_or(line.len())];
    let mut answer = sentence.trim_end_matches(['.', '*', ' ']);
    let delimiters = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")];
    for (open, close) in delimiters {
        let inner = answer.strip_prefix(open).and_then(|inner| inner.strip_suffix(close));
        answer = inner.unwrap_or(answer);
    }
    Some(answer.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<String> {
        extract_boxed(text).answer
    }

    #[test]
    fn the_last_balanced_box_wins() {
        assert_eq!(answer(r"\boxed{1} then \boxed{\frac{1}{2}}").as_deref(), Some(r"\frac{1}{2}"));
        assert_eq!(answer(r"\boxed{1} and \fbox{2}").as_deref(), Some("2"));
        assert_eq!(answer(r"\boxed{a \boxed{b}}").as_deref(), Some("b"));
        assert_eq!(answer(r"\boxed{\{1, 2\}}").as_deref(), Some(r"\{1, 2\}"));
        assert_eq!(answer(r"\boxed {3}").as_deref(), Some("3"));
        assert_eq!(answer(r"so $\boxed 5$ is it").as_deref(), Some("5"));
    }

    #[test]
    fn a_box_that_is_cut_off_is_passed_over() {
        assert_eq!(answer(r"\boxed{1} then \boxed{\frac{1}{2").as_deref(), Some("1"));
        let cut = extract_boxed(r"so \boxed{\frac{1}{2");
        assert_eq!(cut.rule, ExtractionRule::None(NoAnswerReason::UnbalancedBox));
    }

    #[test]
    fn an_announced_answer_is_read_only_without_a_box() {
        let found = extract_boxed("Thus the final answer is $3.5$. I hope it is correct.");
        assert_eq!(found.answer.as_deref(), Some("3.5"));
        assert_eq!(found.rule, ExtractionRule::FinalAnswerPhrase);
        assert_eq!(answer("**Final answer:** 12").as_deref(), Some("12"));
        assert_eq!(answer(r"final answer: 3. \boxed{4}").as_deref(), Some("4"));
    }

    #[test]
    fn nothing_is_taken_from_a_bare_label_or_a_bare_number() {
        for text in ["", "7", r"\frac{1}{2}", "Evelyn", "I counted 12 of them", r"\boxedx{5}"] {
            let found = extract_boxed(text);
            assert_eq!(found.rule, ExtractionRule::None(NoAnswerReason::NoMarker), "{text}");
        }
        let empty = extract_boxed(r"\boxed{ }");
        assert_eq!(empty.rule, ExtractionRule::None(NoAnswerReason::EmptyAnswer));
    }

    #[test]
    fn rules_serialise_in_kebab_case() {
        let json = |rule: ExtractionRule| serde_json::to_string(&rule).unwrap();
        assert_eq!(json(ExtractionRule::FinalAnswerPhrase), "\"final-answer-phrase\"");
        assert_eq!(
            json(ExtractionRule::None(NoAnswerReason::NoMarker)),
            "{\"none\":\"no-marker\"}"
        );
    }
}
