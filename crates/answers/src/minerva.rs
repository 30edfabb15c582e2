//! The `minerva` profile: the Minerva normalisation with a computer algebra step, as in
//! lm-evaluation-harness `minerva_math`.
//!
//! Source: Lewkowycz et al., *Solving Quantitative Reasoning Problems with Language Models*,
//! arXiv 2206.14858, appendix D; behaviour re-derived from the harness. Both strings are
//! normalised and, unless they are the same by then, read by sympy's LaTeX parser and subtracted;
//! equal means that the difference simplifies to zero. The rules are those of release 0.4.13, which
//! compares strings first, leaves commands whole and keeps the commas of lists; the appendix, like
//! `dapo`, does none of this.
//!
//! Defects kept: tuples, sets and matrices equal the same string only; the parser stops at what it
//! cannot read, so `52_8` equals 52 and `3,5,7` equals 3; a mixed number is a product; a decimal
//! point needs a digit before it; everything before the last `=` goes; `\%` stays, so 50 does not
//! equal `50\%`.
//!
//! Differs from the original: sympy is replaced by the scalars of `verify`, without a time limit;
//! the agreement is measured in `docs/log/2026-11-23-answer-graders.md`. A text without the
//! closing phrase gives no answer where the original grades the string `[invalidanswer]`.

use crate::extract::{Extraction, ExtractionRule, NoAnswerReason};
use crate::grade::Grade;
use crate::rewrite::replace_delimited;
use crate::verify;

/// Rewritten first, in this order.
const SUBSTITUTIONS: [(&str, &str); 10] = [
    ("an ", ""),
    ("a ", ""),
    (".$", "$"),
    ("\\$", ""),
    ("\\ ", ""),
    (" ", ""),
    ("mbox", "text"),
    (",\\text{and}", ","),
    ("\\text{and}", ","),
    ("\\text{m}", "\\text{}"),
];

/// Removed next, in this order.
const REMOVED: [&str; 40] = [
    "square",
    "ways",
    "integers",
    "dollars",
    "mph",
    "inches",
    "ft",
    "hours",
    "km",
    "units",
    "\\ldots",
    "sue",
    "points",
    "feet",
    "minutes",
    "digits",
    "cents",
    "degrees",
    "cm",
    "gm",
    "pounds",
    "meters",
    "meals",
    "edges",
    "students",
    "childrentickets",
    "multiples",
    "\\text{s}",
    "\\text{.}",
    "\\text{\ns}",
    "\\text{}^2",
    "\\text{}^3",
    "\\text{\n}",
    "\\text{}",
    "\\mathrm{th}",
    "^\\circ",
    "^{\\circ}",
    "\\;",
    ",\\!",
    "{,}",
];

pub(crate) fn grade(label: &str, answer: &str) -> Grade {
    let (label, answer) = (normalise(label, Dialect::Harness), normalise(answer, Dialect::Harness));
    if label == answer && !label.is_empty() {
        return Grade::of_strings(true, "equal after normalisation");
    }
    let equal = verify::prefix_scalars_equal(&label, &answer);
    let reason = if equal { "the difference is zero" } else { "the difference is not zero" };
    Grade::of_strings(equal, reason)
}

/// Returns the first "Final Answer: The final answer is ... . I hope it is correct."
pub(crate) fn extract(text: &str) -> Extraction {
    const OPEN: &str = "Final Answer: The final answer is";
    const CLOSE: &str = " I hope it is correct.";
    let text = format!("{text}{}", CLOSE.trim_start());
    for line in text.split('\n') {
        // Where the first opening on a line has no closing phrase, a later one has none either.
        let Some((_, rest)) = line.split_once(OPEN) else { continue };
        // The pattern has any one character before the closing phrase.
        let end = rest
            .match_indices(CLOSE)
            .find_map(|(at, _)| rest[..at].char_indices().next_back().map(|(last, _)| last));
        if let Some(end) = end {
            return Extraction::found(&rest[..end], ExtractionRule::FinalAnswerPhrase);
        }
    }
    Extraction::missing(NoAnswerReason::NoMarker)
}

/// Whose Minerva normalisation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// lm-evaluation-harness 0.4.13: words go as words, commands stay whole.
    Harness,
    /// verl: as in the paper's appendix, without `ft`.
    Verl,
}

/// Applies the Minerva normalisation.
pub(crate) fn normalise(answer: &str, dialect: Dialect) -> String {
    let harness = dialect == Dialect::Harness;
    let is_word = |removed: &str| removed.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut text = answer.rsplit('=').next().unwrap_or_default().to_owned();
    if harness {
        for word in REMOVED.into_iter().filter(|removed| is_word(removed)) {
            text = without_word(&text, word);
        }
    }
    for (from, to) in SUBSTITUTIONS {
        text = text.replace(from, to);
    }
    for removed in REMOVED {
        text = match removed {
            "ft" if !harness => text,
            _ if harness && is_word(removed) => without_outside_commands(&text, removed),
            _ => text.replace(removed, ""),
        };
    }
    text = text.replace('"', "").replace("\\dots", "");
    text = last_formula(&text);
    for (open, greedy) in
        [("\\text{", false), ("\\textbf{", false), ("\\overline{", false), ("\\boxed{", true)]
    {
        text = replace_delimited(&text, open, "}", greedy, str::to_owned);
    }
    text = brace_after(&text, "frac", 2, &['{']);
    if harness {
        text = brace_after_index(&text);
        text = brace_after(&text, "sqrt", 1, &['{', '[']);
    } else {
        text = brace_after(&text, "sqrt", 1, &['{']);
    }
    text = text.replace('$', "");
    let digits = text.replace(',', "");
    let is_number = if harness {
        groups_thousands(&text)
    } else {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if is_number { digits } else { text }
}

/// Matches `-?\d{1,3}(,\d{3})+`.
fn groups_thousands(text: &str) -> bool {
    let mut groups = text.strip_prefix('-').unwrap_or(text).split(',');
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    (1..=3).contains(&first.len())
        && digits(first)
        && rest.peek().is_some()
        && rest.all(|group| group.len() == 3 && digits(group))
}

/// Removes the word where it stands alone and is no command.
fn without_word(text: &str, word: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(word) {
        let after = &rest[start + word.len()..];
        let consumed = text.len() - rest.len() + start;
        let before = text[..consumed].chars().next_back();
        let alone = before.is_none_or(|c| !is_part(c) && c != '\\') && !after.starts_with(is_part);
        result.push_str(&rest[..start]);
        if !alone {
            result.push_str(word);
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Removes the word everywhere but within command names.
fn without_outside_commands(text: &str, word: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let is_command = |at: usize| rest[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic());
        let start = rest.match_indices('\\').map(|(at, _)| at).find(|&at| is_command(at));
        let Some(start) = start else {
            result.push_str(&rest.replace(word, ""));
            return result;
        };
        let name = &rest[start + 1..];
        let length = name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len());
        result.push_str(&rest[..start].replace(word, ""));
        result.push_str(&rest[start..start + 1 + length]);
        rest = &name[length..];
    }
}

/// Braces the single character after an indexed root: `sqrt[3]a` to `sqrt[3]{a}`.
fn brace_after_index(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 2);
    let mut rest = text;
    while let Some(start) = rest.find("sqrt[") {
        let open = start + "sqrt[".len();
        let Some(close) = rest[open..].find(']') else { break };
        let end = open + close + 1;
        result.push_str(&rest[..end]);
        rest = &rest[end..];
        if let Some(next) = rest.chars().next().filter(|c| c.is_alphanumeric() || *c == '_') {
            result.extend(['{', next, '}']);
            rest = &rest[next.len_utf8()..];
        }
    }
    result.push_str(rest);
    result
}

/// On each line, only the first formula between dollars if there is one.
fn last_formula(text: &str) -> String {
    let line_of = |line: &str| {
        let (_, rest) = line.split_once('$')?;
        let (formula, _) = rest.split_once('$')?;
        Some(format!("${formula}$"))
    };
    text.split('\n')
        .map(|line| line_of(line).unwrap_or_else(|| line.to_owned()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Braces the single characters that follow `name`: `frac12` to `frac{1}{2}`.
fn brace_after(text: &str, name: &str, count: usize, unless: &[char]) -> String {
    let mut result = String::with_capacity(text.len() + 4);
    let mut rest = text;
    while let Some(start) = rest.find(name) {
        let after = &rest[start + name.len()..];
        let taken = after.chars().take(count).collect::<Vec<_>>();
        let matches =
            taken.len() == count && !unless.contains(&taken[0]) && (count == 1 || taken[1] != '\n');
        result.push_str(&rest[..start + name.len()]);
        rest = after;
        if matches {
            for character in taken {
                result.extend(['{', character, '}']);
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(label: &str, answer: &str) -> bool {
        grade(label, answer).equal
    }

    #[test]
    fn values_that_simplify_to_the_same_are_equal() {
        assert!(equal(r"\frac{3}{4}", "0.75"));
        assert!(equal(r"\frac{1}{2}", r"\frac24"));
        assert!(equal("1000", "1,000"));
        assert!(equal("x^2+2x+1", "(x+1)^2"));
        assert!(equal("5", r"5 \text{ cm}"));
    }

    #[test]
    fn documented_defects_are_kept() {
        assert!(!equal("50", r"50\%") && !equal("", ""));
        assert!(equal("52_8", "52"));
        assert!(equal("3,5,7", "3") && !equal("3,5,7", "7,5,3"));
        assert!(equal("(2,4)", "(2, 4)") && !equal("(2,4)", "2,4"));
        assert!(!equal(r"1\frac{1}{2}", "1.5") && !equal("0.5", ".5"));
        assert!(equal("4", "x = y = 4"));
    }

    #[test]
    fn the_answer_is_in_the_closing_phrase() {
        let text = "Final Answer: The final answer is $12$. I hope it is correct.";
        assert_eq!(extract(text).answer.as_deref(), Some("$12$"));
        assert_eq!(extract(r"\boxed{12}").answer, None);
        assert_eq!(extract("Final Answer: The final answer is 12").answer, None);
    }
}
