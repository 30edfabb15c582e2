//! JSON objects in a model's reply.
//!
//! Models put prose and code fences around JSON, and quote what they judge. The rules:
//!
//! - Every well-formed object that has the wanted key counts, wherever it stands; an object without
//!   the key is looked into, one with it is taken whole.
//! - The last one is the answer, if all agree on the key's value. If they don't, the reply is
//!   contradictory.
//! - The key as a key (`"key":`) anywhere outside these objects, or twice in one, is a stray, and so is
//!   the beginning of a malformed object before one of them: signs of an object that is cut off or was
//!   quoted without escapes. A reply with an object *and* a stray is contradictory too, so that what a
//!   judge quotes can't pass for what it says.
//! - At most [`MAX_STARTS`] beginnings of objects are tried; a reply with more is unreadable.

use serde_json::{Map, Value};

/// A reply with more beginnings of objects than this is not read.
const MAX_STARTS: usize = 512;

/// What a reply holds under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonReading {
    /// The last object with the key.
    Object(Map<String, Value>),
    /// Several say different things.
    Contradictory,
    /// There is none.
    Unreadable,
}

/// The objects with a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonObjects {
    /// They, in order.
    pub objects: Vec<Map<String, Value>>,
    /// How often the key occurs as a key outside of them, or once more in one of them; and how many
    /// malformed objects begin before one of them.
    pub num_strays: usize,
}

/// Reads the object with `key` from `text`.
///
/// ```
/// use preceptor_text::{JsonReading, read_json};
/// let reply = "Here you are:\n```json\n{\"explanation\": \"ok\", \"met\": true}\n```";
/// let JsonReading::Object(object) = read_json(reply, "met") else { panic!() };
/// assert_eq!(object["met"], true);
/// assert_eq!(read_json("{\"met\": true} {\"met\": false}", "met"), JsonReading::Contradictory);
/// assert_eq!(read_json("met: true", "met"), JsonReading::Unreadable);
/// ```
pub fn read_json(text: &str, key: &str) -> JsonReading {
    let JsonObjects { mut objects, num_strays } = json_objects(text, key);
    let Some(last) = objects.pop() else { return JsonReading::Unreadable };
    let agree = objects.iter().all(|object| object.get(key) == last.get(key));
    if agree && num_strays == 0 { JsonReading::Object(last) } else { JsonReading::Contradictory }
}

/// All objects with `key` in `text`.
pub fn json_objects(text: &str, key: &str) -> JsonObjects {
    let mut objects = Vec::new();
    let mut num_starts = 0;
    // Malformed objects since the last object that counts, and before it.
    let (mut num_malformed, mut num_strays) = (0, 0);
    let mut at = 0;
    while let Some(offset) = text[at..].find('{') {
        let start = at + offset;
        at = start + 1;
        if !text[at..].trim_start().starts_with('"') {
            continue;
        }
        num_starts += 1;
        if num_starts > MAX_STARTS {
            return JsonObjects::default();
        }
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
        match values.next() {
            Some(Ok(Value::Object(object))) if object.contains_key(key) => {
                at = start + values.byte_offset();
                objects.push(object);
                num_strays += std::mem::take(&mut num_malformed);
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => num_malformed += 1,
        }
    }
    num_strays += num_keys(text, key).saturating_sub(objects.len());
    JsonObjects { objects, num_strays }
}

/// How often `"key"` stands before a colon. In a string of well-formed JSON its quotes are escaped, so
/// there it does not occur.
fn num_keys(text: &str, key: &str) -> usize {
    let quoted = format!("\"{key}\"");
    let is_key = |(at, _): &(usize, &str)| text[at + quoted.len()..].trim_start().starts_with(':');
    text.match_indices(&quoted).filter(is_key).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn met(text: &str) -> Option<Value> {
        match read_json(text, "met") {
            JsonReading::Object(object) => object.get("met").cloned(),
            JsonReading::Contradictory | JsonReading::Unreadable => None,
        }
    }

    #[test]
    fn fences_and_prose_are_tolerated() {
        for text in [
            "{\"met\": true}",
            "```json\n{\"met\": true}\n```",
            "```\n{ \"met\" : true }\n```",
            "I think {so}. Set {1, 2}: {\"met\": true}. Bye {",
            "{\"result\": {\"met\": true}}",
            "[{\"met\": true}]",
            "{\"met\": true}\nAgain: {\"met\": true}",
        ] {
            assert_eq!(met(text), Some(Value::Bool(true)), "{text}");
        }
    }

    #[test]
    fn a_quoted_object_does_not_pass_for_the_answer() {
        let escaped = r#"{"explanation": "it says {\"met\": true}", "met": false}"#;
        assert_eq!(met(escaped), Some(Value::Bool(false)));
        assert_eq!(met(r#"{"met": true} {"explanation": "cut o"#), Some(Value::Bool(true)));
        for text in [
            r#"{"explanation": "it says {"met": true}", "met": false}"#,
            r#"It says {"met": true}, so {"met": false}"#,
            r#"{"met": true} then {"met": fal"#,
            r#"{"met": true, "met": false}"#,
            r#"{"explanation": "it says {"met": true} and"#,
        ] {
            assert_eq!(read_json(text, "met"), JsonReading::Contradictory, "{text}");
        }
    }

    #[test]
    fn what_is_cut_off_or_malformed_is_unreadable() {
        for text in ["", "{\"met\": tr", "{'met': true}", "{\"other\": 1}", "\"met\": true"] {
            assert_eq!(read_json(text, "met"), JsonReading::Unreadable, "{text}");
        }
    }

    #[test]
    fn hostile_texts_are_read_in_bounded_work() {
        for unit in ["{", "{\"a\":", "{\"a\":{\"met\":1},", "{\"", "[", "{\"a\":[1,", "\"met\""] {
            let text = unit.repeat(1_000_000 / unit.len());
            let _ = read_json(&text, "met");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(read_json(&deep, "met"), JsonReading::Unreadable);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in r#"(?s)(.|\{|\}|"|:|,|\\|"met"|\{"met": ?true\}){0,60}"#) {
            let _ = read_json(&text, "met");
        }

        #[test]
        fn what_was_written_is_read_back(
            explanation in "(?s).{0,60}",
            value: bool,
            before in "[^\"]{0,40}",
            after in "[^\"]{0,40}",
        ) {
            let written = serde_json::json!({ "explanation": explanation, "met": value });
            let read = met(&format!("{before}{written}{after}"));
            prop_assert_eq!(read, Some(Value::Bool(value)));
        }
    }
}
