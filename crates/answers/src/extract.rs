//! Finding the final answer in a rollout's text.
//!
//! The default reads, in this order:
//!
//! 1. the last balanced `\boxed{..}` or `\fbox{..}` that holds something, or `\boxed 5` up to the
//!    end of its formula; a box that the text's end cuts off is passed over, and so is an empty
//!    one; `\\boxed{5}`, escaped once too often, is a box;
//! 2. without any box, the last "final answer is ..." or "Final answer: ...", to the end of its
//!    sentence or line; the answer may be on the next line.
//!
//! Both are looked for outside of thoughts (`<think>..</think>`) first. Where nothing is found
//! there, the thoughts that ended are read; a thought that the text's end cuts off holds no answer.
//!
//! No other text counts: neither the last number nor the whole text is taken for an answer, so a
//! bare label is never "extracted" from itself.
//!
//! Differs from the Hendrycks extraction: escaped braces do not count towards the balance, `\fbox`
//! works, and a box without braces does not shadow a later one with them. In
//! `\boxed{a}, \boxed{b}` the last box is the answer.

use std::borrow::Cow;

use preceptor_text::thoughts;
use serde::{Deserialize, Serialize};

/// Result of extracting the answer from a rollout's text.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Extraction {
    /// The answer as written, trimmed; never blank.
    pub answer: Option<String>,
    /// The rule by which it was found, or the reason why it was not.
    pub rule: ExtractionRule,
}

/// The rule by which an answer was found.
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

/// The reason why no answer was found.
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
    /// Returns the rule's name for tables; for a missing answer the reason's.
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
    let Some(thoughts) = thoughts(text) else { return extract_said(text) };
    let found = last_found(thoughts.said.iter().map(|part| &text[part.clone()]));
    if found.answer.is_some() {
        return found;
    }
    let thought = last_found(thoughts.ended.iter().map(|part| &text[part.clone()]));
    if thought.answer.is_some() { thought } else { found }
}

/// Returns the answer of the last part that has one, boxes before phrases.
fn last_found<'a>(parts: impl DoubleEndedIterator<Item = &'a str>) -> Extraction {
    let mut best = Extraction::missing(NoAnswerReason::NoMarker);
    for part in parts.rev() {
        let found = extract_said(part);
        if found.rule == ExtractionRule::Box {
            return found;
        }
        let unmarked = best.rule == ExtractionRule::None(NoAnswerReason::NoMarker);
        if best.answer.is_none() && (found.answer.is_some() || unmarked) {
            best = found;
        }
    }
    best
}

fn extract_said(text: &str) -> Extraction {
    let missing = match last_box(text) {
        LastBox::Found(answer) => return Extraction::found(&answer, ExtractionRule::Box),
        LastBox::Unbalanced => return Extraction::missing(NoAnswerReason::UnbalancedBox),
        LastBox::Empty => NoAnswerReason::EmptyAnswer,
        LastBox::Absent => NoAnswerReason::NoMarker,
    };
    match announced(text) {
        Some(answer) => Extraction::found(answer, ExtractionRule::FinalAnswerPhrase),
        None => Extraction::missing(missing),
    }
}

enum LastBox<'a> {
    Found(Cow<'a, str>),
    Unbalanced,
    Empty,
    Absent,
}

/// A box as it was opened.
#[derive(Clone, Copy)]
struct Opened {
    /// The byte of its brace.
    at: usize,
    /// True if its command was escaped once too often.
    escaped: bool,
}

/// Finds the last box in one forward pass. Every box is opened on a stack, and the last one to
/// start that also closes around something wins, so the cost is linear in the text.
fn last_box(text: &str) -> LastBox<'_> {
    let bytes = text.as_bytes();
    // Start of the best box, and its end where it has braces.
    let (mut cut, mut empty, mut best) = (0_usize, false, None::<(Opened, Option<usize>)>);
    let mut open: Vec<Option<Opened>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => match box_command(&text[at..]) {
                Some((length, escaped)) => {
                    at += length;
                    let inner = at + spaces(&bytes[at..]);
                    if bytes.get(inner) == Some(&b'{') {
                        open.push(Some(Opened { at: inner, escaped }));
                        cut += 1;
                        at = inner + 1;
                    } else if inner > at && !matches!(bytes.get(inner), None | Some(b'$' | b'\\')) {
                        best = Some((Opened { at, escaped }, None));
                        at = inner;
                    } else {
                        cut += 1;
                    }
                }
                None => at += 2,
            },
            b'{' => {
                open.push(None);
                at += 1;
            }
            b'}' => {
                if let Some(Some(opened)) = open.pop() {
                    cut -= 1;
                    if is_blank(&text[opened.at + 1..at]) {
                        empty = true;
                    } else if best.is_none_or(|(earlier, _)| opened.at > earlier.at) {
                        best = Some((opened, Some(at)));
                    }
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    match best {
        Some((opened, Some(end))) => {
            let inside = &text[opened.at + 1..end];
            LastBox::Found(if opened.escaped { unescaped(inside) } else { Cow::Borrowed(inside) })
        }
        Some((opened, None)) => LastBox::Found(Cow::Borrowed(unbraced(&text[opened.at..]))),
        None if cut > 0 => LastBox::Unbalanced,
        None if empty => LastBox::Empty,
        None => LastBox::Absent,
    }
}

/// Returns whether a box holds nothing: space, or dots that stand for an answer.
fn is_blank(inside: &str) -> bool {
    let inside =
        inside.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '…' | '$' | '~'));
    matches!(inside, "" | "\\ldots" | "\\dots" | "\\cdots" | "\\ " | "\\," | "\\quad")
}

/// Returns the length of `\boxed` or `\fbox` at the start of the text, and whether its backslash is
/// doubled.
fn box_command(text: &str) -> Option<(usize, bool)> {
    const COMMANDS: [(&str, bool); 4] =
        [("\\boxed", false), ("\\fbox", false), ("\\\\boxed", true), ("\\\\fbox", true)];
    let (command, escaped) = COMMANDS.into_iter().find(|(name, _)| text.starts_with(name))?;
    let rest = &text[command.len()..];
    let longer = rest.starts_with(|c: char| c.is_ascii_alphabetic());
    let unbraced = escaped && !rest.trim_start().starts_with('{');
    (!longer && !unbraced).then_some((command.len(), escaped))
}

/// Returns the inside of a box with one backslash too many, and its other commands likewise.
fn unescaped(inside: &str) -> Cow<'_, str> {
    let doubled = inside.match_indices("\\\\").any(|(at, _)| {
        inside[at + 2..].starts_with(|c: char| c.is_ascii_alphabetic() || "{}%$,;! ".contains(c))
    });
    if doubled { Cow::Owned(inside.replace("\\\\", "\\")) } else { Cow::Borrowed(inside) }
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Returns the argument of `\boxed 5$`: the rest of the formula, or of the line.
fn unbraced(rest: &str) -> &str {
    let rest = rest.trim_start();
    let end = rest.find(['$', '\n']).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ' '])
}

/// Returns the text after the last phrase that announces the final answer.
fn announced(text: &str) -> Option<&str> {
    const PHRASE: &str = "final answer";
    let lower = text.to_ascii_lowercase();
    let mut end = lower.len();
    while let Some(at) = lower[..end].rfind(PHRASE) {
        if let Some(answer) = announcement(&text[at + PHRASE.len()..], at, text) {
            return Some(answer);
        }
        end = at;
    }
    None
}

/// Returns the answer after "final answer", if what follows announces one.
fn announcement<'a>(after: &'a str, at: usize, text: &str) -> Option<&'a str> {
    const EMPHASIS: [char; 5] = ['*', '_', '#', ' ', '\t'];
    let rest = after.trim_start_matches(EMPHASIS);
    let lower = rest.get(..3).unwrap_or_default().to_ascii_lowercase();
    let marked = rest.strip_prefix([':', '=']).or_else(|| {
        let is = lower.starts_with("is") && !lower.ends_with(|c: char| c.is_ascii_alphabetic());
        is.then(|| &rest[2..])
    });
    // A heading of its own line announces what stands below it.
    let marks = text[..at].trim_end_matches(EMPHASIS);
    let article = ["The", "the", "My", "my"].iter().find_map(|word| marks.strip_suffix(word));
    let before = article.unwrap_or(marks).trim_end_matches(EMPHASIS);
    let alone = before.is_empty() || before.ends_with('\n');
    let heading = alone && rest.starts_with(['\n', '\r']);
    let rest = match marked {
        Some(rest) => rest,
        None if heading => rest,
        None => return None,
    };
    let rest = rest.trim_start_matches([':', '*', '_', ' ', '\t', '\n', '\r']);
    let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
    // A formula on lines of its own.
    for (open, close) in [("$$", "$$"), (r"\[", r"\]")] {
        if line.trim() == open
            && let Some((inside, _)) = rest[open.len()..].split_once(close)
        {
            return Some(inside.trim());
        }
    }
    let sentence = &line[..line.find(". ").unwrap_or(line.len())];
    let mut answer = sentence.trim_end_matches(['.', '*', '_', ' ', '\r']);
    let delimiters = [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("`", "`")];
    for (open, close) in delimiters {
        let inner = answer.strip_prefix(open).and_then(|inner| inner.strip_suffix(close));
        answer = inner.unwrap_or(answer);
    }
    let answer = answer.trim();
    (!answer.is_empty() || marked.is_some()).then_some(answer)
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
    fn an_empty_box_is_passed_over() {
        for empty in [r"\boxed{}", r"\boxed{ }", r"\boxed{...}", r"$\boxed{\ldots}$"] {
            assert_eq!(
                answer(&format!(r"\boxed{{8}}, in {empty}")).as_deref(),
                Some("8"),
                "{empty}"
            );
            assert_eq!(answer(&format!("as {empty}. Final answer: 8")).as_deref(), Some("8"));
        }
    }

    #[test]
    fn a_box_that_is_escaped_twice_is_read() {
        assert_eq!(answer(r"so \\boxed{8}").as_deref(), Some("8"));
        assert_eq!(answer(r"so \\boxed{\\frac{3}{8}}").as_deref(), Some(r"\frac{3}{8}"));
        assert_eq!(answer(r"x \\ \boxed{8}").as_deref(), Some("8"));
        assert_eq!(answer(r"\\\boxed{8}").as_deref(), Some("8"));
        let matrix = r"\begin{pmatrix}1\\2\end{pmatrix}";
        assert_eq!(answer(&format!(r"\boxed{{{matrix}}}")).as_deref(), Some(matrix));
    }

    #[test]
    fn an_announcement_may_be_emphasised_and_the_answer_on_the_next_line() {
        for text in [
            "**Final Answer**: 8",
            "**Final Answer:** 8",
            "__Final answer__: **8**",
            "Final answer:\n8",
            "Final answer:\n\n$8$\n",
            "### Final Answer\n\n8",
            "**Final Answer**\n\n\\[8\\]",
            "Final answer:\n$$\n8\n$$",
            "My final answer is **8**.",
            "The final answer is: $8$.",
            "FINAL ANSWER = 8",
            "The final answer is 7. No: the final answer is 8.",
        ] {
            assert_eq!(answer(text).as_deref(), Some("8"), "{text}");
        }
        for text in ["I have no final answer yet", "the final answer isn't 8", "Final answers: 8"] {
            assert_eq!(answer(text), None, "{text}");
        }
    }

    #[test]
    fn answers_outside_of_thoughts_come_first() {
        for text in [
            r"<think>\boxed{7}</think> The final answer is 8.",
            r"<think>\boxed{7}</think> \boxed{8}",
            r"\boxed{7} no </think> \boxed{8}",
            r"<thinking>\boxed{7}</thinking>**Final Answer**: 8",
            r"<Think>\boxed{6}<think>\boxed{7}</think></Think>\boxed{8}",
            r"\boxed{8} <think> or is it \boxed{7}",
            r"<think>a</think>\boxed{8}<think>\boxed{7}</think> Done.",
            r"<think>the answer is \boxed{8}</think>",
            r"<think>\boxed{8}</think> As shown above. <think>",
        ] {
            assert_eq!(answer(text).as_deref(), Some("8"), "{text}");
        }
        assert_eq!(answer(r"<think> maybe \boxed{7}, let me check"), None);
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
