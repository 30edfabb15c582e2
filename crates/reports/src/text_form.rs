//! Counts of words, lines and signs in a text.
//!
//! - `words` are separated by white space; `lines` are not blank.
//! - `equations`: equals signs that are no part of `==`, `<=`, `>=`, `!=`, `:=` or `=>`, and display
//!   formulas (`$$..$$`, `\[..\]`) without an equals sign.
//! - `step_words`: first, firstly, second, secondly, third, thirdly, next, then, step, so, thus, hence,
//!   therefore, finally, because, since.
//! - `verification_cues`: check, checks, checked, checking, recheck, verify, verifies, verified,
//!   verifying, verification, confirm, confirms, wait, and the phrases "substitute back", "plug back",
//!   "substituting back", "plugging back", "make sure".
//!
//! Words are compared in lower case, without marks around them.

use std::borrow::Cow;

use preceptor_core::Digest;

fn is_step_word(word: &str) -> bool {
    matches!(
        word,
        "first"
            | "firstly"
            | "second"
            | "secondly"
            | "third"
            | "thirdly"
            | "next"
            | "then"
            | "step"
            | "so"
            | "thus"
            | "hence"
            | "therefore"
            | "finally"
            | "because"
            | "since"
    )
}

fn is_verification_word(word: &str) -> bool {
    matches!(
        word,
        "check"
            | "checks"
            | "checked"
            | "checking"
            | "recheck"
            | "verify"
            | "verifies"
            | "verified"
            | "verifying"
            | "verification"
            | "confirm"
            | "confirms"
            | "wait"
    )
}

fn is_verification_phrase(before: &str, word: &str) -> bool {
    match word {
        "back" => matches!(before, "substitute" | "plug" | "substituting" | "plugging"),
        "sure" => before == "make",
        _ => false,
    }
}

/// The form of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextForm {
    pub(crate) num_characters: u64,
    pub(crate) num_words: u64,
    pub(crate) num_lines: u64,
    pub(crate) num_equations: u64,
    pub(crate) num_step_words: u64,
    pub(crate) num_cues: u64,
    /// Names the text, white space aside.
    words: u128,
}

impl TextForm {
    pub(crate) fn new(text: &str) -> Self {
        let (mut num_words, mut num_step_words, mut num_cues) = (0, 0, 0);
        let mut before = Cow::Borrowed("");
        for word in text.split_whitespace() {
            num_words += 1;
            for part in word.split('-') {
                let part = lower_case(part.trim_matches(|c: char| !c.is_alphanumeric()));
                num_step_words += u64::from(is_step_word(&part));
                num_cues += u64::from(is_verification_word(&part));
                num_cues += u64::from(is_verification_phrase(&before, &part));
                before = part;
            }
        }
        Self {
            num_characters: text.chars().count() as u64,
            num_words,
            num_lines: text.lines().filter(|line| !line.trim().is_empty()).count() as u64,
            num_equations: equations(text),
            num_step_words,
            num_cues,
            words: words_digest(text),
        }
    }

    /// Returns whether the texts are the same, white space aside.
    pub(crate) fn has_words_of(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

fn lower_case(word: &str) -> Cow<'_, str> {
    if word.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(word.to_lowercase())
    }
}

fn words_digest(text: &str) -> u128 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let digest = Digest::of(words.join(" ").as_bytes());
    u128::from_str_radix(&digest.as_str()[..32], 16).expect("a digest is hexadecimal")
}

fn equations(text: &str) -> u64 {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| b"=<>!:".contains(byte));
    let bytes = text.as_bytes();
    let is_equation = |i: &usize| {
        let before = i.checked_sub(1).and_then(|before| bytes.get(before));
        !is_part(before) && !is_part(bytes.get(i + 1))
    };
    let signs = (0..bytes.len()).filter(|&i| bytes[i] == b'=');
    let count = signs.filter(is_equation).count() as u64;
    let dollars = text.split("$$").skip(1).step_by(2);
    let brackets = text.split("\\[").skip(1).filter_map(|rest| rest.split_once("\\]"));
    let formulas = dollars.chain(brackets.map(|(formula, _)| formula));
    count + formulas.filter(|formula| !formula.contains('=')).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_counted_by_the_written_rules() {
        let text = "First, x = 2.\n\nThen y == x, z <= 3 := 4; so:\n$$a + b$$ \\[c = d\\] $$e$$\n\
                    Let me double-check: Wait! Substitute back, make sure.";
        let form = TextForm::new(text);
        assert_eq!(
            form,
            TextForm {
                // 13 + 0 + 29 + 25 + 54, and four line feeds.
                num_characters: 125,
                num_words: 29,
                num_lines: 4,
                // x = 2, a + b, c = d, e.
                num_equations: 4,
                // First, Then, so.
                num_step_words: 3,
                // check, Wait, Substitute back, make sure.
                num_cues: 4,
                words: form.words,
            }
        );
    }

    #[test]
    fn white_space_does_not_tell_texts_apart() {
        let form = TextForm::new("a  b\nc");
        assert!(form.has_words_of(&TextForm::new(" a b c ")));
        assert!(!form.has_words_of(&TextForm::new("ab c")));
    }
}
