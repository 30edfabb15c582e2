//! Reading a self-proposed rubric from what the anchor wrote.
//!
//! The rules:
//!
//! - Criteria are the contents of `<criterion>` elements. Of several `<rubric>` tags the last one that has
//!   criteria counts: the text before it is a draft.
//! - White space is one space. A bullet and a list's number before the text are dropped; other numbers, as
//!   of a year, belong to it.
//! - Dropped are criteria without a letter, longer than 1000 characters, cut off by the reply's
//!   end, and those that were there before, up to case, space and the full stop. A sign makes another
//!   criterion: `x > 5` and `x < 5` are two.
//! - Of more criteria than allowed the first count. Fewer than the least number make the reply
//!   malformed: it is no rubric.

use std::collections::BTreeSet;

use preceptor_core::{Criterion, Rubric};
use preceptor_judges::Reading;
use preceptor_text::{ElementEnd, tag_starts, xml_elements};

/// `<rubric>` tags that are tried, from the last one.
const MAX_RUBRIC_TAGS: usize = 16;
/// A larger number before a text is no list's number.
const MAX_LIST_NUMBER: usize = 199;
/// A longer criterion is no criterion, in characters.
const MAX_CRITERION_CHARS: usize = 1000;

/// Bounds on the number of criteria.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Fewer are none.
    pub(crate) min: usize,
    /// More are cut.
    pub(crate) max: usize,
}

/// Reads a rubric.
pub(crate) fn read_rubric(reply: &str, limits: Limits) -> Reading<Rubric> {
    let starts = tag_starts(reply, "rubric");
    let starts = starts.into_iter().rev().take(MAX_RUBRIC_TAGS).chain([0]);
    let mut rubrics = starts.map(|start| criteria_of(&reply[start..]));
    let mut criteria = rubrics.find(|criteria| !criteria.is_empty()).unwrap_or_default();
    criteria.truncate(limits.max);
    match criteria.len() {
        0 => Reading::Unreadable,
        count if count < limits.min => Reading::Unreadable,
        _ => Reading::Value(Rubric { criteria }),
    }
}

/// Returns the criteria of a text, those of before left out.
fn criteria_of(text: &str) -> Vec<Criterion> {
    let mut seen = BTreeSet::new();
    let mut criteria = Vec::new();
    for (i, element) in xml_elements(text, "criterion").elements.into_iter().enumerate() {
        if element.end == ElementEnd::TextEnd {
            continue;
        }
        let text = cleaned(&element.content, i + 1);
        let has_letter = text.contains(char::is_alphabetic);
        let is_short = text.chars().count() <= MAX_CRITERION_CHARS;
        if has_letter && is_short && seen.insert(same_text(&text)) {
            criteria.push(Criterion::new(text));
        }
    }
    criteria
}

/// Returns a text that repeats of a criterion share: without case and the full stop.
fn same_text(text: &str) -> String {
    text.trim_end_matches('.').trim_end().to_lowercase()
}

/// Returns the words of a text without case and punctuation.
pub(crate) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Turns `  2)  Names\n the dose ` into `Names the dose`. A number before a colon is a list's only where it is the
/// criterion's own.
fn cleaned(text: &str, own_number: usize) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>();
    if words.first().is_some_and(|word| matches!(*word, "-" | "*" | "•")) {
        words.remove(0);
    }
    let is_mark = |word: &str| {
        let bare = word.trim_end_matches(['.', ')', ':']);
        match bare.parse::<usize>() {
            Ok(number) if bare.len() < word.len() => {
                number == own_number || (number <= MAX_LIST_NUMBER && !word.contains(':'))
            }
            _ => false,
        }
    };
    if words.first().is_some_and(|word| is_mark(word)) {
        words.remove(0);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { min: 2, max: 4 };

    fn texts(reply: &str) -> Vec<String> {
        match read_rubric(reply, LIMITS) {
            Reading::Value(rubric) => rubric.criteria.into_iter().map(|c| c.text).collect(),
            Reading::Contradictory | Reading::Unreadable => Vec::new(),
        }
    }

    #[test]
    fn criteria_are_read_cleaned_and_without_repeats() {
        let reply = "Here is the rubric:\n```xml\n<rubric>\n<criterion>1. Names  the\n dose.</criterion>\n\
                     <criterion>...</criterion><criterion> </criterion>\n\
                     <criterion id=\"2\">names the dose</criterion>\n\
                     <criterion>Says &lt; 5 mg</criterion>\n</rubric>\n```";
        assert_eq!(texts(reply), ["Names the dose.", "Says < 5 mg"]);
        assert_eq!(
            texts("<criterion>5 mg is named</criterion><criterion>- b</criterion>"),
            ["5 mg is named", "b"]
        );
    }

    #[test]
    fn drafts_before_the_rubric_are_not_read() {
        let reply = "<think><rubric><criterion>draft</criterion></rubric></think>\n<Rubric>\
                     <criterion>a</criterion><criterion>b</criterion></Rubric>";
        assert_eq!(texts(reply), ["a", "b"]);
    }

    #[test]
    fn criteria_that_differ_in_a_sign_are_two() {
        let rubric = |a: &str, b: &str| {
            texts(&format!("<criterion>{a}</criterion><criterion>{b}</criterion>"))
        };
        for (a, b) in [
            ("The sum is 7.", "The sum is -7."),
            ("Says that y &gt; 2", "Says that y &lt; 2"),
            ("It costs 1.5 euros", "It costs 15 euros"),
            ("Names C", "Names C++"),
        ] {
            assert_eq!(rubric(a, b).len(), 2, "{a} {b}");
        }
        assert_eq!(rubric("Names the dose", "names  the dose.").len(), 0, "one is too few");
    }

    #[test]
    fn numbers_that_belong_to_the_text_stay() {
        let reply = "<criterion>1: Names the year</criterion><criterion>1969: the year is named</criterion>\
                     <criterion>- 3) Warns</criterion><criterion>1969. That is the year</criterion>";
        let expected =
            ["Names the year", "1969: the year is named", "Warns", "1969. That is the year"];
        assert_eq!(texts(reply), expected);
    }

    #[test]
    fn the_last_rubric_that_has_criteria_counts() {
        let reply = "<rubric><criterion>draft</criterion><criterion>draft 2</criterion></rubric>\
                     < rubric>< criterion>a</criterion><criterion>b</criterion></rubric> This <rubric> has two.";
        assert_eq!(texts(reply), ["a", "b"]);
    }

    #[test]
    fn too_few_are_malformed_and_too_many_are_cut() {
        assert_eq!(texts("<criterion>a</criterion>"), [""; 0]);
        assert_eq!(texts("no list at all"), [""; 0]);
        let many: String = (0..30).map(|i| format!("<criterion>c{i}</criterion>")).collect();
        assert_eq!(texts(&many), ["c0", "c1", "c2", "c3"]);
        let long = format!("<criterion>{}</criterion>", "a".repeat(MAX_CRITERION_CHARS + 1));
        assert_eq!(texts(&long.repeat(3)), [""; 0]);
    }

    #[test]
    fn forgotten_end_tags_are_forgiven_but_a_cut_criterion_is_dropped() {
        assert_eq!(texts("<rubric><criterion>a<criterion>b</rubric>"), ["a", "b"]);
        assert_eq!(
            texts("<criterion>a</criterion><criterion>b</criterion><criterion>the resp"),
            ["a", "b"]
        );
    }

    proptest! {
        #[test]
        fn any_reply_is_read_within_the_limits(
            reply in r"(?s)(.|<criterion>|</criterion>|<rubric>|a|1\.|&lt;| |\n){0,80}",
        ) {
            if let Reading::Value(rubric) = read_rubric(&reply, LIMITS) {
                prop_assert!((LIMITS.min..=LIMITS.max).contains(&rubric.criteria.len()));
                let distinct: BTreeSet<_> =
                    rubric.criteria.iter().map(|c| same_text(&c.text)).collect();
                prop_assert_eq!(distinct.len(), rubric.criteria.len());
                for criterion in &rubric.criteria {
                    prop_assert!(criterion.text.contains(char::is_alphabetic));
                }
            }
        }
    }
}
