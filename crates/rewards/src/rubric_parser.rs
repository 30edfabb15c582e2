//! Reading a self-proposed rubric from what the anchor wrote.
//!
//! The rules:
//!
//! - Criteria are the contents of `<criterion>` elements. What stands before the last `<rubric>` tag is
//!   thought or draft, and not read.
//! - White space is one space; numbers and bullets before the text are dropped.
//! - Dropped are criteria without a letter, longer than 1000 characters, cut off by the reply's
//!   end, and those whose words (without case and punctuation) were there before.
//! - Of more criteria than allowed the first count. Fewer than the least number make the reply
//!   malformed: it is no rubric.

use std::collections::BTreeSet;

use preceptor_core::{Criterion, Rubric};
use preceptor_judges::Reading;
use preceptor_text::{ElementEnd, xml_elements};

/// A longer criterion is no criterion, in characters.
const MAX_CRITERION_CHARS: usize = 1000;

/// How many criteria make a rubric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Fewer are none.
    pub(crate) min: usize,
    /// More are cut.
    pub(crate) max: usize,
}

/// Reads a rubric.
pub(crate) fn read_rubric(reply: &str, limits: Limits) -> Reading<Rubric> {
    // Lower case in ASCII moves no byte.
    let start = reply.to_ascii_lowercase().rfind("<rubric").unwrap_or(0);
    let mut seen = BTreeSet::new();
    let mut criteria = Vec::new();
    for element in xml_elements(&reply[start..], "criterion").elements {
        if element.end == ElementEnd::TextEnd {
            continue;
        }
        let text = cleaned(&element.content);
        let has_letter = text.contains(char::is_alphabetic);
        if has_letter && text.chars().count() <= MAX_CRITERION_CHARS && seen.insert(words(&text)) {
            criteria.push(Criterion::new(text));
        }
    }
    criteria.truncate(limits.max);
    match criteria.len() {
        0 => Reading::Unreadable,
        count if count < limits.min => Reading::Unreadable,
        _ => Reading::Value(Rubric { criteria }),
    }
}

/// The words of a text without case and punctuation.
pub(crate) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// `  2)  Names\n the dose ` is `Names the dose`.
fn cleaned(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>();
    let is_mark = |word: &&&str| {
        let bare = word.trim_end_matches(['.', ')', ':']);
        let is_number = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && bare.len() < word.len()) || matches!(**word, "-" | "*" | "•")
    };
    let num_marks = words.iter().take_while(is_mark).count();
    words[num_marks..].join(" ")
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
                let distinct: BTreeSet<_> = rubric.criteria.iter().map(|c| words(&c.text)).collect();
                prop_assert_eq!(distinct.len(), rubric.criteria.len());
                for criterion in &rubric.criteria {
                    prop_assert!(criterion.text.contains(char::is_alphabetic));
                }
            }
        }
    }
}
