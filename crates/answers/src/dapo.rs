//! The `dapo` profile: verl's `math_dapo.py`, the default there for `math` and `aime` data.
//!
//! Source: Yu et al., *DAPO: An Open-Source LLM Reinforcement Learning System at Scale*, arXiv
//! 2503.14476; behaviour re-derived from verl. Only the last 300 characters are read: the last
//! line with `Answer:`, else the last `\boxed{..}` within the last 100. Both strings get the
//! Minerva normalisation and are compared as strings.
//!
//! Defects kept: empty equals empty; no arithmetic at all, so 0.75 is not `\frac{3}{4}`; `3,5,7`
//! is 357; a box that starts before the last 100 characters does not exist; "Answer:" in mid-text
//! outranks a box. Differs from the original: rewards are 1 and 0 here, not 1 and -1; the word
//! `ft` stays, as in verl; digits are ASCII digits.

use crate::extract::{Extraction, ExtractionRule, NoAnswerReason};
use crate::grade::Grade;
use crate::hendrycks::closing_brace;
use crate::minerva::{Dialect, normalise};
use crate::rewrite::tail;

pub(crate) fn grade(label: &str, answer: &str) -> Grade {
    let normal = |text: &str| normalise(text, Dialect::Verl).trim().to_owned();
    let equal = normal(label) == normal(answer);
    let reason = if equal { "equal after normalisation" } else { "different after normalisation" };
    Grade::of_strings(equal, reason)
}

pub(crate) fn extract(text: &str) -> Extraction {
    let text = tail(text, 300);
    if let Some(answer) = last_answer_line(text) {
        return Extraction::found(answer, ExtractionRule::AnswerLine);
    }
    let end = tail(text, 100);
    let Some(start) = end.rfind("\\boxed{") else {
        return Extraction::missing(NoAnswerReason::NoMarker);
    };
    let rest = &end[start + "\\boxed".len()..];
    match closing_brace(rest) {
        Some(close) => Extraction::found(&rest[1..close], ExtractionRule::Box),
        None => Extraction::missing(NoAnswerReason::UnbalancedBox),
    }
}

/// Returns the last match of `(?i)Answer\s*:\s*([^
/// ]+)`, scanning from the left as `findall` does.
fn last_answer_line(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let (mut at, mut found) = (0, None);
    while let Some(start) = lower[at..].find("answer") {
        at += start + "answer".len();
        let Some(rest) = text[at..].trim_start().strip_prefix(':') else { continue };
        let rest = rest.trim_start();
        if rest.is_empty() {
            continue;
        }
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        found = Some(line);
        at = text.len() - rest.len() + line.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(label: &str, answer: &str) -> bool {
        grade(label, answer).equal
    }

    #[test]
    fn strings_are_compared_after_the_minerva_normalisation() {
        assert!(equal("1000", "1,000"));
        assert!(equal("5", r"5\text{ cm}"));
        assert!(equal(r"\frac{1}{2}", r"\frac12"));
        assert!(equal("12", "$12$"));
    }

    #[test]
    fn documented_defects_are_kept() {
        assert!(equal("", ""));
        assert!(!equal(r"\frac{3}{4}", "0.75") && !equal("50", r"50\%"));
        assert!(equal("3,5,7", "357") && !equal("3,5,7", "7,5,3"));
    }

    #[test]
    fn the_answer_line_outranks_a_box_and_only_the_end_is_read() {
        let answer = |text: &str| extract(text).answer;
        assert_eq!(answer("Answer: 3\n\\boxed{4}").as_deref(), Some("3"));
        assert_eq!(answer("ANSWER :\n 3").as_deref(), Some("3"));
        assert_eq!(answer("Answer: 1\nanswer: 2").as_deref(), Some("2"));
        assert_eq!(answer(r"so \boxed{4}").as_deref(), Some("4"));
        let far = format!("\\boxed{{4}}{}", " ".repeat(95));
        assert_eq!(answer(&far), None);
        assert_eq!(answer(&format!("Answer: 3\n{}", "x".repeat(300))), None);
    }
}
