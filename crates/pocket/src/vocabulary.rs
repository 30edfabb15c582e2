//! The model's vocabulary and its `tokenizer.json`.
//!
//! A token is a literal piece of text: a digit, a sign, a word of the benchmarks with the space before it.
//! The longest piece wins; other text is `<unk>`. Before that, fences and the words that number responses
//! are reduced to the parts that the model needs:
//!
//! ```text
//! Response 1:
//! <response-5d41402abc4b>
//! 12+9=21;\boxed{21}             to   1:12+9=21;\boxed{21}2:12+9=11;\boxed{11}
//! </response-5d41402abc4b>
//!
//! Response 2:
//! ..
//! ```

use preceptor_benchmarks::pocket_health::{ALLERGIES, FLAGS, MEDICINES, SYMPTOMS};
use serde_json::{Value, json};

/// The token that ends a response.
pub const END: &str = "<eos>";
/// The token between a message and its response.
pub const ANSWER: &str = "<answer>";
const UNKNOWN: &str = "<unk>";
const SPECIAL: [&str; 3] = [END, ANSWER, UNKNOWN];

/// Pieces of prompts, rubrics and solutions.
const FORMS: [&str; 39] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "+",
    "-",
    "=",
    ";",
    ":",
    "\n",
    "\\boxed{",
    "}",
    "merge\n",
    "best of ",
    "again\n",
    "rubric of ",
    " from a response",
    " from a question",
    "This is what was asked:\n",
    "<rubric>\n",
    "<criterion>says: ",
    "</criterion>\n",
    "</rubric>",
    ". ",
    ".",
    "i have",
    " for ",
    " days",
    "allergic to",
    "i take",
    "also",
    "see a doctor after ",
    "avoid",
];
const SENTENCE_FORMS: [&str; 6] = ["against", " take", "never mix", " with", "on", " call"];

/// Returns every token, in the order of ids.
pub fn tokens() -> Vec<String> {
    let words = [&SYMPTOMS[..], &ALLERGIES, &MEDICINES, &FLAGS];
    let words = words.into_iter().flatten().flat_map(|(a, b)| [*a, *b]);
    let pieces = SPECIAL.into_iter().chain(FORMS).chain(SENTENCE_FORMS).map(str::to_owned);
    pieces.chain(words.map(|word| format!(" {word}"))).collect()
}

/// Builds the `tokenizer.json`.
pub(crate) fn tokenizer() -> Value {
    let tokens = tokens();
    let ids = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id)));
    let vocabulary: serde_json::Map<String, Value> = ids.collect();
    // The longest first: alternatives are tried in order.
    let mut pieces: Vec<&String> = tokens.iter().skip(SPECIAL.len()).collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    let pattern: Vec<String> = pieces.into_iter().map(|piece| escaped(piece)).collect();
    let special = SPECIAL.iter().enumerate().map(|(id, token)| {
        json!({
            "id": id, "content": token, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    });
    let replace = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special.collect::<Vec<_>>(),
        "normalizer": { "type": "Sequence", "normalizers": [
            replace(r"\n?</response-[0-9a-f]{12}>\n*", ""),
            replace(r"\n?</?[a-z]+-[0-9a-f]{12}>\n?", ""),
            replace("Response (?=[0-9]+:)", ""),
            replace(r"\n+", "\n"),
        ] },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": { "Regex": pattern.join("|") },
            "behavior": "Isolated",
            "invert": false,
        },
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN },
    })
}

/// Escapes a piece in a regular expression.
fn escaped(piece: &str) -> String {
    let escaped = piece.chars().flat_map(|c| {
        let is_plain =
            c.is_ascii_alphanumeric() || matches!(c, ' ' | '<' | '>' | '/' | ':' | ';' | '=');
        (!is_plain).then_some('\\').into_iter().chain([if c == '\n' { 'n' } else { c }])
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use preceptor_models::Tokenizer;
    use preceptor_text::fence;

    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(super::tokenizer().to_string().as_bytes(), Path::new("here")).unwrap()
    }

    fn pieces(text: &str) -> Vec<String> {
        let tokens = tokens();
        let ids = tokenizer().encode(text, true).unwrap();
        ids.into_iter().map(|id| tokens[id as usize].clone()).collect()
    }

    #[test]
    fn every_token_occurs_once_and_is_its_own_piece() {
        let tokens = tokens();
        assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), tokens.len());
        for token in &tokens {
            assert_eq!(pieces(token), std::slice::from_ref(token));
        }
    }

    #[test]
    fn fences_and_numbers_of_responses_take_few_tokens() {
        let shown = format!(
            "merge\nResponse 1:\n{}\n\nResponse 12:\n{}",
            fence("response", "4"),
            fence("response", "avoid gloves.")
        );
        assert_eq!(
            pieces(&shown),
            ["merge\n", "1", ":", "4", "1", "2", ":", "avoid", " gloves", "."]
        );
    }

    #[test]
    fn foreign_text_is_unknown_and_not_an_error() {
        assert_eq!(pieces("What is 3?"), ["<unk>", "3", "<unk>"]);
        assert_eq!(pieces(""), [""; 0]);
    }
}
