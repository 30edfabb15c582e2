//! A plain yes or no.
//!
//! The rules, in this order:
//!
//! 1. The first and the last line of the reply that are not blank count if they are an answer alone:
//!    `Yes.`, `**no**`, `Answer: yes`. If both are and differ, the reply is contradictory.
//! 2. Else, if the reply begins with yes or no ("Yes, it names the dose"), that counts, unless the
//!    other word occurs anywhere in the reply; then it is contradictory.
//! 3. Else it is unreadable: prose is never searched for an answer.

/// The verdict that a reply gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YesNo {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Both yes and no.
    Contradictory,
    /// Neither.
    Unreadable,
}

/// Labels that may come before a colon and the answer.
const LABELS: [&str; 8] = [
    "answer",
    "final answer",
    "my answer",
    "the answer",
    "verdict",
    "final verdict",
    "judgement",
    "judgment",
];

/// Reads a yes or no from `text`.
///
/// ```
/// use preceptor_text::{YesNo, read_yes_no};
/// assert_eq!(read_yes_no("**Yes**"), YesNo::Yes);
/// assert_eq!(read_yes_no("It gives no dose.\n\nAnswer: no"), YesNo::No);
/// assert_eq!(read_yes_no("Yes, but there is no dose."), YesNo::Contradictory);
/// assert_eq!(read_yes_no("I would say yes."), YesNo::Unreadable);
/// ```
pub fn read_yes_no(text: &str) -> YesNo {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let Some(first) = lines.next() else { return YesNo::Unreadable };
    let last = lines.next_back().unwrap_or(first);
    match (alone(first), alone(last)) {
        (Some(first), Some(last)) if first != last => YesNo::Contradictory,
        (Some(answer), _) | (None, Some(answer)) => of(answer),
        (None, None) => {
            let mut words = words(text);
            let Some(answer) = words.next().and_then(word) else { return YesNo::Unreadable };
            let opposed = words.filter_map(word).any(|other| other != answer);
            if opposed { YesNo::Contradictory } else { of(answer) }
        }
    }
}

fn of(is_yes: bool) -> YesNo {
    if is_yes { YesNo::Yes } else { YesNo::No }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn word(word: &str) -> Option<bool> {
    match word {
        _ if word.eq_ignore_ascii_case("yes") => Some(true),
        _ if word.eq_ignore_ascii_case("no") => Some(false),
        _ => None,
    }
}

/// Returns the answer of a line with no other words.
fn alone(line: &str) -> Option<bool> {
    let is_mark = |c: char| !c.is_alphanumeric();
    let mut rest = line.trim_matches(is_mark);
    if let Some((label, answer)) = rest.split_once(':')
        && LABELS.iter().any(|known| label.trim_matches(is_mark).eq_ignore_ascii_case(known))
    {
        rest = answer.trim_matches(is_mark);
    }
    word(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_answers_are_read_whatever_marks_surround_them() {
        for text in
            ["yes", "Yes.", "**Yes**", " \"YES\"\n", "Answer: yes", "**Final answer:** Yes!"]
        {
            assert_eq!(read_yes_no(text), YesNo::Yes, "{text}");
        }
        for text in ["no", "No, it does not.", "- No", "It mentions yes once.\nVerdict: No", "NO"] {
            assert_eq!(read_yes_no(text), YesNo::No, "{text}");
        }
    }

    #[test]
    fn an_answer_on_a_line_of_its_own_counts_against_any_prose() {
        assert_eq!(read_yes_no("Yes\n\nThere is no doubt about it."), YesNo::Yes);
        assert_eq!(read_yes_no("The dose is there, no doubt.\nYes."), YesNo::Yes);
    }

    #[test]
    fn both_words_are_neither_answer() {
        for text in ["Yes and no.", "Yes\nNo", "No, or yes?", "Yes/No", "Answer: no\nAnswer: yes"] {
            assert_eq!(read_yes_no(text), YesNo::Contradictory, "{text}");
        }
        for text in
            ["", "maybe", "It is not clear.", "Nothing.", "It says yes or no.", "none", "..."]
        {
            assert_eq!(read_yes_no(text), YesNo::Unreadable, "{text}");
        }
    }

    #[test]
    fn long_texts_are_read() {
        for unit in ["\n", "*", "yes ", "a: ", "Answer: "] {
            let _ = read_yes_no(&unit.repeat(2_000_000 / unit.len()));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in r"(?s)(.|yes|no|Yes\.|\n|\*|:| ){0,60}") {
            let _ = read_yes_no(&text);
        }

        #[test]
        fn prose_before_an_answer_alone_does_not_change_it(prose in "[a-z ]{3,60}", yes: bool) {
            prop_assume!(alone(&prose).is_none());
            let answer = if yes { "Yes" } else { "No" };
            prop_assert_eq!(read_yes_no(&format!("{prose}\n{answer}.")), of(yes));
        }
    }
}
