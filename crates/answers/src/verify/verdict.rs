//! The entry points: one pair to a verdict, one answer to its kind or canonical form.

use super::canonical;
use super::compare;
use super::limits;
use super::parser::parse;
use super::scan::Cursor;
use super::value::{Value, ValueKind};
use crate::grade::Grade;

/// The most parsing steps any answer can take.
pub const MAX_STEPS: u32 = limits::MAX_STEPS + 1;

/// Grades by parsed value.
pub(crate) fn verify(label: &str, answer: &str) -> Grade {
    let (label, answer) = (parse(label).0, parse(answer).0);
    let equal = compare::equal(&label, &answer);
    Grade {
        equal,
        reason: explain(&label, &answer, equal),
        label_kind: Some(label.kind()),
        answer_kind: Some(answer.kind()),
    }
}

/// Returns the kind of value an answer parses to.
///
/// ```
/// use preceptor_answers::{ValueKind, kind_of};
/// assert_eq!(kind_of(r"\frac{1}{2}"), ValueKind::Rational);
/// assert_eq!(kind_of(r"[0, \infty)"), ValueKind::Interval);
/// assert_eq!(kind_of(r"\frac{1}{"), ValueKind::Opaque);
/// ```
pub fn kind_of(answer: &str) -> ValueKind {
    parse(answer).0.kind()
}

/// Returns the number of steps that parsing an answer takes; at most [`MAX_STEPS`].
///
/// ```
/// use preceptor_answers::{MAX_STEPS, parsing_steps};
/// assert!(parsing_steps(&"(".repeat(5_000)) <= MAX_STEPS);
/// ```
pub fn parsing_steps(answer: &str) -> u32 {
    parse(answer).1
}

/// Returns the canonical form of an answer; `None` for a blank one.
pub(crate) fn canonical_key(answer: &str) -> Option<String> {
    match parse(answer).0 {
        Value::Blank => None,
        value => Some(canonical::key(&value)),
    }
}

/// Returns whether two strings are scalars of the same value; relations, shapes and words are not
/// scalars.
pub(crate) fn scalars_equal(left: &str, right: &str) -> bool {
    let (left, right) = (scalar(left), scalar(right));
    matches!((left, right), (Some(a), Some(b)) if compare::same_where_positive(&a, &b))
}

/// Reads a scalar as Python does, where `6.` is a number.
fn scalar(text: &str) -> Option<Value> {
    let text = match text.strip_suffix('.') {
        Some(number) => {
            let digits = number.bytes().rev().take_while(u8::is_ascii_digit).count();
            let decimal = number[..number.len() - digits].ends_with('.');
            if digits > 0 && !decimal { number } else { text }
        }
        None => text,
    };
    if text.len() > limits::MAX_BYTES {
        return None;
    }
    let mut cursor = Cursor::new(text);
    cursor.ours = false;
    let value = cursor.sum().ok()?;
    cursor.skip_space();
    (cursor.at == text.len() && value.is_scalar()).then_some(value)
}

/// Returns whether the longest scalars that the strings begin with have the same value.
pub(crate) fn prefix_scalars_equal(left: &str, right: &str) -> bool {
    let (left, right) = (prefix_scalar(left), prefix_scalar(right));
    matches!((left, right), (Some(a), Some(b)) if compare::same_where_positive(&a, &b))
}

/// Reads a scalar as sympy's LaTeX grammar does: no mixed numbers, no percent signs, a digit on
/// both sides of a decimal point.
fn prefix_scalar(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let bare_point = (0..bytes.len())
        .any(|at| bytes[at] == b'.' && !(digit(at.checked_sub(1)) && digit(Some(at + 1))));
    if bare_point || text.contains('%') || text.len() > limits::MAX_BYTES {
        return None;
    }
    let mut cursor = Cursor::new(text);
    (cursor.mixed, cursor.ours) = (false, false);
    match cursor.sum().ok()? {
        Value::BaseN { digits, .. } => {
            super::rational::Rational::from_digits(&digits, "").map(Value::Rational)
        }
        value => value.is_scalar().then_some(value),
    }
}

fn explain(label: &Value, answer: &Value, equal: bool) -> String {
    let (expected, found) = (label.kind(), answer.kind());
    match (label, answer) {
        (_, Value::Blank) => "the answer is blank".to_owned(),
        (Value::Rational(a), Value::Rational(_)) if equal => {
            format!("both are the {} {a}", expected.name())
        }
        (Value::Rational(a), Value::Rational(b)) => format!("{b} is not {a}"),
        _ if equal && expected == found => format!("both are the same {}", expected.name()),
        _ if equal => format!("the {} has the value of the {}", found.name(), expected.name()),
        _ if expected == found => format!("the values differ: two of kind {}", expected.name()),
        _ => format!("a label of kind {} and an answer of kind {}", expected.name(), found.name()),
    }
}
