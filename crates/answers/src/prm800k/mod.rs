//! The `prm800k` profile: PRM800K's grader, as in TTRL `math_grade.py` and OpenRLHF.
//!
//! Source: Lightman et al., *Let's Verify Step by Step*, arXiv 2305.20050; behaviour re-derived
//! from openai/prm800k. Equal means: the Hendrycks strings agree; or the strings of a second
//! normalisation agree (16 unit words, percent and dollar signs, thousands commas and case go,
//! LaTeX turns to text); or tuples match element by element, each element by algebra.
//!
//! Defects kept: two fractions must be the same string, so `\frac{2}{4}` is not `\frac{1}{2}`; an
//! integer needs an integer; more than two letters, `^(` and exponents of two digits skip
//! algebra; brackets must match and lists are not sorted; LaTeX to text loses the grouping of
//! numerators (`\frac{1+x}{2}` is read as 1+x/2) and drops functions it does not know (`\cot x` is
//! x); units go anywhere in the string; Python reads the base numeral `52_8` as 528; empty equals
//! empty.
//!
//! Differs from the original: sympy's `simplify` is replaced by the scalars of `verify`, and
//! pylatexenc by the subset in `prm800k/plain.rs`; the agreement is measured in
//! `docs/log/2026-11-23-answer-graders.md`. Extraction is TTRL's, without the Qwen clean-up that
//! follows it there: last box, else what follows "he answer is", else the last number.

mod plain;

use crate::extract::{Extraction, ExtractionRule, NoAnswerReason};
use crate::grade::Grade;
use crate::hendrycks;
use crate::rewrite::python_float;
use crate::verify;

/// Removed wherever they stand, with a plural ending and a power.
const UNITS: [&str; 16] = [
    "degree",
    "cm",
    "centimeter",
    "meter",
    "mile",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "foot",
    "feet",
    "inch",
    "yard",
];

pub(crate) fn grade(label: &str, answer: &str) -> Grade {
    if hendrycks_form(label) == hendrycks_form(answer) {
        return Grade::of_strings(true, "equal after the Hendrycks normalisation");
    }
    let (label, answer) = (normalise(label), normalise(answer));
    if label == answer {
        return Grade::of_strings(true, "equal after the PRM800K normalisation");
    }
    let equal = !answer.is_empty() && elements_equal(&label, &answer);
    let reason = if equal { "equal by algebra" } else { "neither the strings nor algebra agree" };
    Grade::of_strings(equal, reason)
}

pub(crate) fn extract(text: &str) -> Extraction {
    if let Some(start) = text.rfind("boxed") {
        let rest = &text[start + "boxed".len()..];
        let answer = if rest.starts_with('{') {
            // An unclosed box runs to the end of the text.
            &rest[1..hendrycks::closing_brace(rest).unwrap_or(rest.len())]
        } else {
            rest.split('$').next().unwrap_or_default()
        };
        return Extraction::found(answer, ExtractionRule::Box);
    }
    if let Some(start) = text.rfind("he answer is") {
        let rest = text[start + "he answer is".len()..].trim();
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        return Extraction::found(rest, ExtractionRule::FinalAnswerPhrase);
    }
    match last_number(&text.replace(',', "")) {
        Some(number) => Extraction::found(number, ExtractionRule::LastNumber),
        None => Extraction::missing(NoAnswerReason::NoMarker),
    }
}

/// Returns the last match of `-?\d*\.?\d+`.
fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut at, mut found) = (0, None);
    while at < bytes.len() {
        let whole = at + usize::from(bytes[at] == b'-');
        let mut end = whole + run_of_digits(&bytes[whole.min(bytes.len())..]);
        if bytes.get(end) == Some(&b'.') && is_digit(end + 1) {
            end += 1 + run_of_digits(&bytes[end + 1..]);
        }
        if end > whole {
            found = Some(&text[at..end]);
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

fn run_of_digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn hendrycks_form(text: &str) -> String {
    let trimmed = text.trim();
    let inner = enclosed_text(trimmed).map_or(trimmed, str::trim);
    hendrycks::strip(inner).unwrap_or_else(|| inner.to_owned())
}

/// Returns the inside of a string that starts with `\text{` and ends with a brace.
fn enclosed_text(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("\\text{")?.strip_suffix('}')?;
    (!inner.is_empty() && !inner.contains('\n')).then_some(inner)
}

/// Applies the second normalisation.
fn normalise(text: &str) -> String {
    let mut text = enclosed_text(text)
        .unwrap_or(text)
        .replace("\\%", "%")
        .replace("\\$", "$")
        .replace(['$', '%'], "")
        .replace(" or ", " , ")
        .replace(" and ", " , ")
        .replace("million", "*10^6")
        .replace("billion", "*10^9")
        .replace("trillion", "*10^12");
    for unit in UNITS {
        text = without_unit(&text, unit);
    }
    text = without_degrees(&text);
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        text = inner.to_owned();
    }
    text = without_spaced_commas(&text);
    if let Some(value) = python_float(&text).filter(|value| is_near_integer(*value)) {
        text = format!("{:.0}", value.round_ties_even());
    }
    if text.contains('\\') {
        let spelled = text.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac");
        text = plain::to_text(&spelled.replace("\\frac", " \\frac"))
            .replace('√', "sqrt")
            .replace('π', "pi")
            .replace('∞', "inf")
            .replace('∪', "U")
            .replace(['·', '×'], "*")
            .trim()
            .to_owned();
    }
    text = without_spaces_after_minus(&text);
    text = join_mixed_numbers(&text).replace([' ', '{', '}'], "").to_lowercase();
    if is_integer_text(&text)
        && let Ok(value) = text.replace([',', '_'], "").parse::<f64>()
    {
        text = format!("{:.0}", value.trunc());
    }
    text
}

/// Removes `unit(es)?(s)? *(\^[0-9]+)?`.
fn without_unit(text: &str, unit: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(unit) {
        result.push_str(&rest[..start]);
        rest = &rest[start + unit.len()..];
        rest = rest.strip_prefix("es").unwrap_or(rest);
        rest = rest.strip_prefix('s').unwrap_or(rest).trim_start_matches(' ');
        if let Some(power) = rest.strip_prefix('^') {
            let digits = run_of_digits(power.as_bytes());
            rest = if digits > 0 { &power[digits..] } else { rest };
        }
    }
    result.push_str(rest);
    result
}

/// Removes `\^ *\\circ`.
fn without_degrees(text: &str) -> String {
    let mut pieces = text.split('^');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.trim_start_matches(' ').strip_prefix("\\circ") {
            Some(rest) => result.push_str(rest),
            None => {
                result.push('^');
                result.push_str(piece);
            }
        }
    }
    result
}

/// Removes `,\\! *`.
fn without_spaced_commas(text: &str) -> String {
    let mut pieces = text.split(",\\!");
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        result.push_str(piece.trim_start_matches(' '));
    }
    result
}

/// Replaces `- *` by `-`.
fn without_spaces_after_minus(text: &str) -> String {
    let mut pieces = text.split('-');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        result.push('-');
        result.push_str(piece.trim_start_matches(' '));
    }
    result
}

/// `1 4/5` to `1+4/5`: a plus for the spaces between two digits.
fn join_mixed_numbers(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let bytes = text.as_bytes();
    // A digit that ended one match cannot begin the next.
    let mut consumed = usize::MAX;
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        let before = at > 0 && bytes[at - 1].is_ascii_digit() && at - 1 != consumed;
        let run = bytes[at..].iter().take_while(|byte| **byte == b' ');
        let spaces = if before { run.count() } else { 0 };
        if spaces > 0 && bytes.get(at + spaces).is_some_and(u8::is_ascii_digit) {
            result.push('+');
            at += spaces;
            consumed = at;
        } else {
            result.push(character);
            at += character.len_utf8();
        }
    }
    result
}

fn is_near_integer(value: f64) -> bool {
    value.is_finite() && (value - value.round_ties_even()).abs() <= 1e-7
}

fn is_integer_text(text: &str) -> bool {
    python_float(&without_thousands(text)).is_some_and(is_near_integer)
}

/// Removes the commas of `(\d)(,)(\d\d\d)($|\D)`.
fn without_thousands(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut result = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let groups = character == ',' && at > 0 && digit(at - 1) && grouped_after(bytes, at + 1);
        if !groups {
            result.push(character);
        }
    }
    result
}

/// Returns whether exactly three digits follow, or three and another such comma.
fn grouped_after(bytes: &[u8], at: usize) -> bool {
    run_of_digits(bytes.get(at..).unwrap_or_default()) == 3
}

fn elements_equal(label: &str, answer: &str) -> bool {
    let (left, right) = (elements(label), elements(answer));
    if left.len() != right.len() {
        return false;
    }
    let same_ends = label.chars().next() == answer.chars().next()
        && label.chars().next_back() == answer.chars().next_back();
    if left.len() > 1 && !same_ends {
        return false;
    }
    !left.is_empty() && left.iter().zip(&right).all(|(a, b)| element_equal(a, b))
}

/// Returns the elements of a tuple or interval without inner brackets, else the whole string.
fn elements(text: &str) -> Vec<String> {
    let text = without_thousands(text);
    let is_bracket = |character: char| "()[]".contains(character);
    let bracketed = text.len() > 2 && text.starts_with(is_bracket) && text.ends_with(is_bracket);
    if bracketed && !text[1..text.len() - 1].contains(is_bracket) {
        return text[1..text.len() - 1].split(',').map(|part| part.trim().to_owned()).collect();
    }
    if text.is_empty() { Vec::new() } else { vec![text] }
}

fn element_equal(label: &str, answer: &str) -> bool {
    if is_fraction(label) && is_fraction(answer) {
        return label == answer;
    }
    if is_integer_text(label) != is_integer_text(answer) {
        return false;
    }
    let joint = format!("({label})-({answer})");
    may_evaluate(&joint) && verify::scalars_equal(label, answer)
}

/// Matches `^-?[0-9]+.?/0*[1-9][0-9]*.?$`.
fn is_fraction(text: &str) -> bool {
    let Some((top, bottom)) = text.split_once('/') else { return false };
    let top = top.strip_prefix('-').unwrap_or(top);
    let digits = |part: &str| run_of_digits(part.as_bytes());
    let one_more = |part: &str| part.chars().count() - digits(part) <= 1;
    let positive = bottom[..digits(bottom)].bytes().any(|byte| byte != b'0');
    digits(top) > 0 && one_more(top) && positive && one_more(bottom)
}

/// The original's guard against expressions on which sympy hangs.
fn may_evaluate(text: &str) -> bool {
    let words = text.replace("sqrt", "").replace("frac", "");
    let letters = words.chars().filter(|c| c.is_alphabetic());
    if letters.collect::<std::collections::BTreeSet<_>>().len() > 2 {
        return false;
    }
    !text.split('^').skip(1).any(|after| {
        let digits = run_of_digits(after.as_bytes());
        after.starts_with(['{', '(']) || digits >= 2
    }) && !has_stacked_power(text)
}

/// Matches `\^[0-9]+\^`.
fn has_stacked_power(text: &str) -> bool {
    let pieces = text.split('^').collect::<Vec<_>>();
    let middle = pieces.get(1..pieces.len().saturating_sub(1)).unwrap_or_default();
    middle.iter().any(|piece| !piece.is_empty() && run_of_digits(piece.as_bytes()) == piece.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(label: &str, answer: &str) -> bool {
        grade(label, answer).equal
    }

    #[test]
    fn strings_and_algebra_agree_on_values() {
        assert!(equal(r"\frac{3}{4}", "0.75"));
        assert!(equal("1000", "1,000"));
        assert!(equal("50", r"50\%"));
        assert!(equal(r"1\frac{4}{5}", "9/5"));
        assert!(equal(r"(1, \frac{1}{2})", "(1,0.5)"));
        assert!(equal(r"2\sqrt{3}", r"\sqrt{12}"));
        assert!(equal("5", "5 cm^2"));
    }

    #[test]
    fn documented_defects_are_kept() {
        assert!(!equal(r"\frac{1}{2}", r"\frac{2}{4}"));
        assert!(equal("", ""));
        assert!(!equal("3,5,7", "7,5,3") && !equal("(2,4)", "2,4"));
        assert!(!equal("(2,4)", "[2,4]") && !equal(r"x \in [-2,7]", "[-2,7]"));
        assert!(!equal("52_8", "52") && equal("52_8", "528"));
        assert!(equal(r"\frac{1+x}{2}", "1+x/2"));
        assert!(equal(r"\cot x", "x"));
        assert!(!equal("abc+abc", "2abc") && !equal("x^10+x^10", "2x^10"));
        assert!(!equal("4", "8/2"));
    }

    #[test]
    fn extraction_falls_back_to_the_last_number() {
        let found = |text: &str| extract(text);
        assert_eq!(found(r"\boxed{\frac{1}{2}}").answer.as_deref(), Some(r"\frac{1}{2}"));
        assert_eq!(found("The answer is 12.").answer.as_deref(), Some("12"));
        assert_eq!(found("between 3 and 1,200 apples").answer.as_deref(), Some("1200"));
        assert_eq!(found(r"\frac{1}{2}").rule, ExtractionRule::LastNumber);
        assert_eq!(found("Evelyn").answer, None);
        assert_eq!(found("it is -.5").answer.as_deref(), Some("-.5"));
    }
}
