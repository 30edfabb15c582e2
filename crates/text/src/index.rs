//! A number that a model names: which of several responses is best, or a grade.
//!
//! A reply may weigh every response before it names one, so numbers in prose count for nothing. These
//! are *marked*:
//!
//! 1. the content of a `<best>` element;
//! 2. the last sentence of the last line, if it says nothing but the number: it consists of one number
//!    and words such as `response`, `the best is`, `my final answer` (`3`, `Response 3`,
//!    `The best is #3.`, `\boxed{3}`, `4 out of 5`);
//! 3. the first line, if it says nothing but the number and is no heading: it has no word for a
//!    response, or has one such as `best`;
//! 4. without any of these, every sentence that names exactly one response by a word (`Response 3`,
//!    `#3`), says that it is the best or chosen, and negates nothing.
//!
//! If all marked numbers agree, that is the reading; if not, the reply is contradictory. No number, or
//! one out of range, is unreadable. Decimals, fractions, percentages and ordinals are no such numbers;
//! the `5` of `4/5` and `4 out of 5` is the scale's end if it is the largest there is.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::xml::xml_elements;

/// The index that a reply names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexReading {
    /// This number.
    Index(usize),
    /// Several.
    Contradictory,
    /// No index could be read.
    Unreadable,
}

/// Words for what is chosen.
const RESPONSES: [&str; 9] = [
    "response",
    "candidate",
    "option",
    "choice",
    "rollout",
    "attempt",
    "index",
    "number",
    "solution",
];

/// Words for what is said of it. "The answer: 5" is a problem's answer as often as a choice, so that
/// these name no response.
const ANSWERS: [&str; 4] = ["rating", "score", "grade", "answer"];

/// Words that say that something is chosen.
const CHOOSING: [&str; 11] = [
    "best",
    "better",
    "choose",
    "chose",
    "chosen",
    "pick",
    "select",
    "selected",
    "prefer",
    "strongest",
    "winner",
];

/// Words that may stand around a number that is the whole answer.
const FILLERS: [&str; 32] = [
    "the",
    "is",
    "one",
    "a",
    "an",
    "i",
    "my",
    "final",
    "verdict",
    "would",
    "say",
    "it",
    "this",
    "that",
    "so",
    "therefore",
    "thus",
    "hence",
    "overall",
    "rate",
    "give",
    "out",
    "of",
    "boxed",
    "text",
    "most",
    "no",
    "s",
    "be",
    "as",
    "rated",
    "which",
];

const NEGATIONS: [&str; 6] = ["not", "neither", "nor", "never", "isn", "cannot"];

/// Reads which of `n` responses `text` names, counted from 1.
///
/// ```
/// use preceptor_text::{IndexReading, read_index};
/// assert_eq!(read_index("The best is #3.", 4), IndexReading::Index(3));
/// assert_eq!(read_index("Response 1 errs, Response 2 does not.\n\n**2**", 4), IndexReading::Index(2));
/// assert_eq!(read_index("1\n\nThe best is Response 2.", 4), IndexReading::Contradictory);
/// assert_eq!(read_index("Response 1 has 2 errors.", 4), IndexReading::Unreadable);
/// ```
pub fn read_index(text: &str, n: usize) -> IndexReading {
    read_number(text, 1..=n)
}

/// Reads a number in `range` from `text`.
///
/// ```
/// use preceptor_text::{IndexReading, read_number};
/// assert_eq!(read_number("I would rate it 4 out of 5.", 1..=5), IndexReading::Index(4));
/// assert_eq!(read_number("11", 1..=10), IndexReading::Unreadable);
/// ```
pub fn read_number(text: &str, range: RangeInclusive<usize>) -> IndexReading {
    let largest = *range.end();
    let mut marked = BTreeSet::new();
    for element in xml_elements(text, "best").elements {
        marked.extend(numbers(&element.content, largest).iter().map(|number| number.value));
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let last = lines.next_back().unwrap_or(first);
    let conclusion = sentences(last).last().unwrap_or_default();
    marked.extend(alone(first, largest).filter(|_| !is_heading(first, true)));
    marked.extend(alone(conclusion, largest).filter(|_| !is_heading(last, false)));
    if marked.is_empty() {
        let sentences = text.lines().flat_map(sentences);
        marked.extend(sentences.filter_map(|sentence| chosen(sentence, largest)));
    }
    let mut marked = marked.into_iter();
    match (marked.next(), marked.next()) {
        (Some(value), None) if range.contains(&value) => IndexReading::Index(value),
        (Some(_), Some(_)) => IndexReading::Contradictory,
        _ => IndexReading::Unreadable,
    }
}

struct Number {
    value: usize,
    is_named: bool,
}

/// Returns the numbers of a text that could be an index or a grade.
fn numbers(text: &str, largest: usize) -> Vec<Number> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        // A decimal or a fraction is passed over as a whole.
        let mut is_whole = true;
        let mut end = start;
        while is_digit(end) || (matches!(bytes.get(end), Some(b'.' | b',')) && is_digit(end + 1)) {
            is_whole &= is_digit(end);
            end += 1;
        }
        at = end;
        let (before, after) = (&text[..start], &text[end..]);
        let value = text[start..end].parse::<usize>().ok().filter(|_| end - start <= 6);
        let attached = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '.');
        let is_negative = before
            .strip_suffix(['-', '\u{2212}'])
            .is_some_and(|before| !before.ends_with(char::is_alphanumeric));
        let continued = after.starts_with(|c: char| c.is_alphanumeric() || c == '%');
        let Some(value) = value else { continue };
        if !is_whole || attached || is_negative || continued {
            continue;
        }
        if let Some(length) = scale_end(after, largest) {
            at = end + length;
        } else if after.starts_with('/') && is_digit(end + 1) {
            at = end + 1;
            while is_digit(at) {
                at += 1;
            }
            continue;
        }
        found.push(Number { value, is_named: is_named(before) });
    }
    found
}

/// Returns the length of `/5`, ` of 5` or ` out of 5` at the start of `text`, where 5 is the
/// largest grade.
fn scale_end(text: &str, largest: usize) -> Option<usize> {
    let rest = [" out of ", " of ", " / ", "/"].iter().find_map(|mark| text.strip_prefix(mark))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let is_largest = rest[..digits].parse() == Ok(largest);
    is_largest.then_some(text.len() - rest.len() + digits)
}

/// Returns whether a word for a response, or `#`, comes right before.
fn is_named(before: &str) -> bool {
    const LONGEST: usize = 9;
    let marks = |c: char| matches!(c, ' ' | '*' | '_' | '(' | '[' | '"' | '-');
    let before = before.trim_end_matches(marks);
    if before.ends_with('#') {
        return true;
    }
    let letters =
        before.bytes().rev().take(LONGEST + 1).take_while(u8::is_ascii_alphabetic).count();
    let word = &before[before.len() - letters..];
    is_one_of(word, &RESPONSES)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns the number of a sentence with no other words.
fn alone(sentence: &str, largest: usize) -> Option<usize> {
    let is_allowed = |word: &str| {
        word.bytes().all(|byte| byte.is_ascii_digit())
            || [&RESPONSES[..], &ANSWERS, &CHOOSING, &FILLERS]
                .iter()
                .any(|list| is_one_of(word, list))
    };
    if !words(sentence).all(is_allowed) {
        return None;
    }
    match numbers(sentence, largest)[..] {
        [Number { value, .. }] => Some(value),
        _ => None,
    }
}

/// Returns whether a line is a heading rather than an answer.
fn is_heading(line: &str, is_first: bool) -> bool {
    let line = line.trim();
    let bare = line.trim_end_matches(['*', '_', ' ']);
    let is_bare_noun = words(line).any(|word| is_one_of(word, &RESPONSES))
        && !words(line).any(|word| is_one_of(word, &CHOOSING))
        && is_first;
    line.starts_with("##") || line.starts_with("# ") || bare.ends_with(':') || is_bare_noun
}

/// Returns the response that a sentence calls the best, if it names only one.
fn chosen(sentence: &str, largest: usize) -> Option<usize> {
    let has = |list: &[&str]| words(sentence).any(|word| is_one_of(word, list));
    if !has(&CHOOSING) || has(&NEGATIONS) {
        return None;
    }
    let numbers = numbers(sentence, largest);
    let mut named = numbers.iter().filter(|number| number.is_named).map(|number| number.value);
    let first = named.next()?;
    named.all(|other| other == first).then_some(first)
}

fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = rest.char_indices().skip(1).find(|&(at, c)| {
            matches!(c, '.' | '!' | '?') && rest[at + 1..].starts_with(char::is_whitespace)
        });
        let (sentence, after) = rest.split_at(ends.map_or(rest.len(), |(at, _)| at + 1));
        rest = after.trim_start();
        Some(sentence)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reply_that_is_a_number_is_read() {
        for text in [
            "3",
            "**3**",
            "3.",
            "#3",
            "Response 3",
            "Response #3.",
            "\"Response 3\"",
            "Answer: 3",
            "The best is #3.",
            "The best response is Response 3.",
            r"\boxed{3}",
            r"$\boxed{\text{Response 3}}$",
            "<best>3</best>",
            "I choose 3.",
            "Response 3 is the best one.",
            "3 is the best.",
            "Response_3",
        ] {
            assert_eq!(read_index(text, 4), IndexReading::Index(3), "{text}");
        }
    }

    #[test]
    fn a_marked_number_counts_against_prose() {
        for text in [
            "Response 1 has 2 errors, Response 2 gets 1/2.\nThe best is Response 3.",
            "Response 1 is wrong. Response 2 is vague. So the best is Response 3.",
            "3\n\nResponse 1 has an error. It is not as clear.",
            "Response 1 gets \\boxed{2} and fails. <best>3</best>",
            "Response 3 is better than the others because it is clear.",
            "### Response 1\nWrong.\n### Response 2\nWrong.\n\n3",
            "Response 1:\nWrong, 2 errors.\n\n**Final answer: 3**",
        ] {
            assert_eq!(read_index(text, 4), IndexReading::Index(3), "{text}");
        }
    }

    #[test]
    fn several_numbers_are_contradictory_and_prose_is_unreadable() {
        for text in [
            "1\n2",
            "<best>1</best> <best>2</best>",
            "2\nThe best is Response 1.",
            "I prefer Response 1 for form. But I prefer Response 2 in the end, it is right.",
        ] {
            assert_eq!(read_index(text, 4), IndexReading::Contradictory, "{text}");
        }
        for text in [
            "",
            "They are all fine.",
            "Response 1 contains an error in",
            "It has 2 errors.",
            "Response 1 is not the best of them.",
            "5",
            "0",
            "-3",
            "3.5",
            "3%",
            "3rd",
            "99999999999999999999999",
            "Response 1 and Response 2",
            "### Response 2",
        ] {
            assert_eq!(read_index(text, 4), IndexReading::Unreadable, "{text}");
        }
    }

    #[test]
    fn grades_are_read_with_the_end_of_their_scale() {
        for text in
            ["4", "4/5", "Rating: 4", "Rating: 4 / 5.", "I give it 4 out of 5.", "Score: **4**"]
        {
            assert_eq!(read_number(text, 1..=5), IndexReading::Index(4), "{text}");
        }
        assert_eq!(read_number("0", 0..=5), IndexReading::Index(0));
        assert_eq!(read_number("5/5", 1..=5), IndexReading::Index(5));
        assert_eq!(read_number("4/10", 1..=5), IndexReading::Unreadable);
    }

    #[test]
    fn long_texts_are_read() {
        for unit in
            ["1", "1 ", "1.", "<best>1</best>", "Response 1 is best. ", "1/", "\n1", "*1*", "-"]
        {
            let _ = read_index(&unit.repeat(1_000_000 / unit.len()), 4);
        }
        let _ = read_index(&format!("{}1", " ".repeat(1_000_000)).repeat(2), 4);
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            text in r"(?s)(.|[0-9]|\.|/|-|\n|Response |best|<best>|</best>|\\boxed\{){0,50}",
            n in 0_usize..12,
        ) {
            if let IndexReading::Index(index) = read_index(&text, n) {
                prop_assert!((1..=n).contains(&index));
            }
        }

        #[test]
        fn a_number_on_the_last_line_is_found(prose in "[a-z ]{3,60}", index in 1_usize..=9) {
            prop_assert_eq!(read_index(&format!("{prose}\n{index}"), 9), IndexReading::Index(index));
        }
    }
}
