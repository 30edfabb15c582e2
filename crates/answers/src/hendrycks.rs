//! The `hendrycks` profile: string normalisation of the MATH release, as in verl's
//! `math_reward.py`.
//!
//! Source: Hendrycks et al., *Measuring Mathematical Problem Solving With the MATH Dataset*,
//! arXiv 2103.03874; behaviour re-derived from verl. Spacing, `\left`, `\right`, degrees, dollars,
//! percent signs and a trailing `\text{ unit}` go; short forms of `\frac` and `\sqrt` get braces;
//! `a/b` becomes `\frac{a}{b}`; then strings are compared.
//!
//! Defects kept: empty equals empty; 50 equals `50\%`; 0.5 is the only decimal that equals its
//! fraction; no list is sorted and no thousands separator removed; `\fbox` is looked for but never
//! opened; `\boxed ` with a space shadows every box with braces; where the original raises (a
//! trailing `\frac` or `\sqrt`, two `\text{ `), the raw strings are compared.
//!
//! Differs from the original: a missing answer is never equal; the original calls two missing
//! answers equal, which cannot occur with a label.

use crate::extract::{Extraction, ExtractionRule, NoAnswerReason};
use crate::grade::Grade;

pub(crate) fn grade(label: &str, answer: &str) -> Grade {
    let equal = match (strip(label), strip(answer)) {
        (Some(left), Some(right)) => left == right,
        _ => label == answer,
    };
    let reason = if equal { "equal after normalisation" } else { "different after normalisation" };
    Grade::of_strings(equal, reason)
}

pub(crate) fn extract(text: &str) -> Extraction {
    if let Some(start) = text.rfind("\\boxed ") {
        let rest = &text[start + "\\boxed ".len()..];
        let end = rest.find('$').unwrap_or(rest.len());
        return Extraction::found(&rest[..end], ExtractionRule::Box);
    }
    let Some(start) = text.rfind("\\boxed") else {
        return Extraction::missing(NoAnswerReason::NoMarker);
    };
    let rest = &text[start + "\\boxed".len()..];
    match closing_brace(rest) {
        Some(end) if rest.starts_with('{') => Extraction::found(&rest[1..end], ExtractionRule::Box),
        _ => Extraction::missing(NoAnswerReason::UnbalancedBox),
    }
}

/// Returns the position where all opened braces are closed, escaped ones counted too.
pub(crate) fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_i64;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the normalised string; `None` where the original raises.
pub(crate) fn strip(string: &str) -> Option<String> {
    let mut text = string
        .replace('\n', "")
        .replace("\\!", "")
        .replace("\\\\", "\\")
        .replace("tfrac", "frac")
        .replace("dfrac", "frac")
        .replace("\\left", "")
        .replace("\\right", "")
        .replace("^{\\circ}", "")
        .replace("^\\circ", "")
        .replace("\\$", "");
    let mut parts = text.split("\\text{ ");
    let before_unit = parts.next().unwrap_or_default().to_owned();
    match parts.count() {
        0 => {}
        1 => text = before_unit,
        _ => return None,
    }
    text = text.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if let Some((name, value)) = text.split_once('=')
        && !value.contains('=')
        && name.chars().count() <= 2
    {
        text = value.to_owned();
    }
    text = fix_roots(&text)?.replace(' ', "");
    text = fix_fractions(&text)?;
    if text == "0.5" {
        text = "\\frac{1}{2}".to_owned();
    }
    Some(fix_slash(text))
}

/// `\sqrt3` to `\sqrt{3}`.
fn fix_roots(text: &str) -> Option<String> {
    let mut pieces = text.split("\\sqrt");
    let mut fixed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let first = piece.chars().next()?;
        if first == '{' {
            fixed.push_str("\\sqrt");
            fixed.push_str(piece);
        } else {
            fixed.push_str("\\sqrt{");
            fixed.push(first);
            fixed.push('}');
            fixed.push_str(&piece[first.len_utf8()..]);
        }
    }
    Some(fixed)
}

/// `\frac12` and `\frac1{2}` to `\frac{1}{2}`; a lone token after `\frac` leaves all as it was.
fn fix_fractions(text: &str) -> Option<String> {
    let mut pieces = text.split("\\frac");
    let mut fixed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        fixed.push_str("\\frac");
        let mut characters = piece.chars();
        let first = characters.next()?;
        if first == '{' {
            fixed.push_str(piece);
            continue;
        }
        let Some(second) = characters.next() else { return Some(text.to_owned()) };
        fixed.extend(['{', first, '}']);
        if second == '{' {
            fixed.push('{');
        } else {
            fixed.extend(['{', second, '}']);
        }
        fixed.push_str(characters.as_str());
    }
    Some(fixed)
}

/// `a/b` of two plain integers to `\frac{a}{b}`.
fn fix_slash(text: String) -> String {
    match text.split_once('/') {
        Some((top, bottom)) if is_plain_integer(top) && is_plain_integer(bottom) => {
            format!("\\frac{{{top}}}{{{bottom}}}")
        }
        _ => text,
    }
}

/// Returns whether Python would print the integer exactly so.
fn is_plain_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" && digits == text || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(label: &str, answer: &str) -> bool {
        grade(label, answer).equal
    }

    #[test]
    fn short_forms_and_decorations_are_normalised() {
        assert!(equal(r"\frac{1}{2}", r"\dfrac12"));
        assert!(equal(r"\frac{1}{2}", "0.5"));
        assert!(equal(r"\frac{3}{4}", "3/4"));
        assert!(equal(r"\sqrt{3}", r"\sqrt3"));
        assert!(equal("5", r"x = 5\text{ cm}"));
        assert!(equal(r"\left( 1, 2 \right)", "(1,2)"));
        assert!(equal("90", r"90^\circ"));
    }

    #[test]
    fn documented_defects_are_kept() {
        assert!(equal("", ""));
        assert!(equal("50", r"50\%"));
        assert!(!equal(r"\frac{3}{4}", "0.75"));
        assert!(!equal("1000", "1,000"));
        assert!(!equal("3,5,7", "7,5,3"));
        assert!(!equal(r"\frac{1}{2}", r"\frac{2}{4}"));
        assert!(equal(r"1\sqrt", r"1\sqrt"));
        assert!(!equal(r"1\sqrt", r"1 \sqrt"));
    }

    #[test]
    fn extraction_never_opens_an_fbox_and_prefers_the_box_with_a_space() {
        assert_eq!(extract(r"\fbox{5}").answer, None);
        assert_eq!(extract(r"$\boxed 4$ and \boxed{5}").answer.as_deref(), Some("4"));
        assert_eq!(extract(r"\boxed{1} \boxed{2}").answer.as_deref(), Some("2"));
        assert_eq!(extract(r"\boxed{1} \boxed{2").answer, None);
    }
}
