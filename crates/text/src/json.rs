//! JSON objects in a model's reply.
//!
//! Models put prose and code fences around JSON, and quote what they judge. The rules:
//!
//! - Every well-formed object that has the wanted key counts, wherever it stands; an object without
//!   the key is looked into, one with it is taken whole.
//! - The last one is the answer, if all agree on the key's value. If they don't, the reply is
//!   contradictory.
//! - An object that JSON refuses is mended where its meaning is beyond doubt: a line feed, tab or other
//!   control character in a string, a backslash that escapes nothing (`\(x\)`, `\sqrt`), a comma before
//!   a closing bracket. Braces that begin no object, as of a set, are prose.
//! - The key as a key (`"key":`) anywhere outside these objects, or twice in one, is a stray, and so is
//!   the beginning of a malformed object before one of them: signs of an object that is cut off or was
//!   quoted without escapes. A reply with an object *and* a stray is contradictory too, so that what a
//!   judge quotes can't pass for what it says.
//! - At most [`MAX_STARTS`] beginnings of objects are tried; a reply with more is unreadable.

use std::ops::Range;

use serde_json::{Map, Value};

/// A reply with more beginnings of objects than this is not read.
const MAX_STARTS: usize = 512;

/// A longer object is not mended, in bytes.
const MAX_MENDED_BYTES: usize = 16 * 1024;

/// The value that a reply holds under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonReading {
    /// The last object with the key.
    Object(Map<String, Value>),
    /// Several say different things.
    Contradictory,
    /// There is none.
    Unreadable,
}

/// An object with the key, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonObject {
    /// The object.
    pub fields: Map<String, Value>,
    /// True if it has the key twice.
    pub is_contradictory: bool,
}

/// The objects with a key, each on its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonScan<'t> {
    /// The objects, in order.
    pub objects: Vec<JsonObject>,
    /// Objects that can't be read, each up to its end as far as that can be told. Nothing in them counts.
    pub malformed: Vec<&'t str>,
    /// Occurrences of the key outside all objects.
    pub num_loose: usize,
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
    let mut objects: Vec<Map<String, Value>> = Vec::new();
    // Malformed objects since the last object that counts, and before it.
    let (mut num_malformed, mut num_strays) = (0, 0);
    let mut at = 0;
    for _ in 0..MAX_STARTS {
        let Some(start) = next_start(text, at) else {
            num_strays += num_keys(text, key).saturating_sub(objects.len());
            let Some(last) = objects.pop() else { return JsonReading::Unreadable };
            let agree = objects.iter().all(|object| object.get(key) == last.get(key));
            return if agree && num_strays == 0 {
                JsonReading::Object(last)
            } else {
                JsonReading::Contradictory
            };
        };
        at = start + 1;
        match object_at(&text[start..]) {
            Some((object, length)) if object.contains_key(key) => {
                at = start + length;
                objects.push(object);
                num_strays += std::mem::take(&mut num_malformed);
            }
            Some(_) => {}
            None => num_malformed += 1,
        }
    }
    match next_start(text, at) {
        None => JsonReading::Contradictory,
        Some(_) => JsonReading::Unreadable,
    }
}

/// Reads every object with `key` from `text`. One that can't be read takes no other with it.
pub fn scan_json<'t>(text: &'t str, key: &str) -> JsonScan<'t> {
    let mut found = JsonScan::default();
    let mut num_held = 0;
    let mut at = 0;
    for _ in 0..MAX_STARTS {
        let Some(start) = next_start(text, at) else {
            found.num_loose = num_keys(text, key).saturating_sub(num_held);
            return found;
        };
        at = start + 1;
        match object_at(&text[start..]) {
            Some((fields, length)) if fields.contains_key(key) => {
                at = start + length;
                let num_keys = num_keys(&text[start..at], key);
                num_held += num_keys;
                found.objects.push(JsonObject { fields, is_contradictory: num_keys > 1 });
            }
            Some(_) => {}
            None => {
                let extent = malformed_extent(text, start);
                at = extent.end;
                num_held += num_keys(&text[extent.clone()], key);
                found.malformed.push(&text[extent]);
            }
        }
    }
    JsonScan::default()
}

/// Returns the start of the next object: a brace, a quoted key and a colon, or what the end of the
/// text leaves of them.
fn next_start(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(offset) = text.get(at..)?.find('{') {
        let start = at + offset;
        at = start + 1;
        let Some(inner) = text[at..].trim_start().strip_prefix('"') else { continue };
        match string_end(inner) {
            None => return Some(start),
            Some(end) => {
                let after = inner[end..].trim_start();
                if after.is_empty() || after.starts_with(':') {
                    return Some(start);
                }
            }
        }
    }
    None
}

/// Returns the end of a string, behind its closing quote; `text` begins in it. A key is short.
fn string_end(text: &str) -> Option<usize> {
    const MAX_KEY_BYTES: usize = 256;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().take(MAX_KEY_BYTES) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    (text.len() > MAX_KEY_BYTES).then_some(text.len())
}

/// Returns the object at the start of `text` with its length, mended where that is needed and safe.
fn object_at(text: &str) -> Option<(Map<String, Value>, usize)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    if let Some(Ok(Value::Object(object))) = values.next() {
        return Some((object, values.byte_offset()));
    }
    let (mended, length) = mended(text)?;
    match serde_json::from_str(&mended) {
        Ok(Value::Object(object)) => Some((object, length)),
        _ => None,
    }
}

/// Returns the balanced object at the start of `text` as JSON wants it, and its length in `text`.
fn mended(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut depth = 0_usize;
    let mut is_string = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if at > MAX_MENDED_BYTES {
            return None;
        }
        match character {
            '"' => {
                is_string = !is_string;
                out.push('"');
            }
            '\\' if is_string => {
                let escaped = characters.peek().map(|(_, next)| *next);
                let is_escape = match escaped {
                    Some('u') => {
                        let digits = text.as_bytes().get(at + 2..at + 6);
                        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                    }
                    Some(next) => "\"\\/bfnrt".contains(next),
                    None => return None,
                };
                out.push('\\');
                match (is_escape, escaped) {
                    (true, Some(next)) => {
                        out.push(next);
                        characters.next();
                    }
                    _ => out.push('\\'),
                }
            }
            control if is_string && control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            ',' if !is_string => {
                let rest = text[at + 1..].trim_start();
                if !rest.starts_with(['}', ']']) {
                    out.push(',');
                }
            }
            '{' | '[' if !is_string => {
                depth += 1;
                out.push(character);
            }
            '}' | ']' if !is_string => {
                out.push(character);
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((out, at + 1));
                }
            }
            other => out.push(other),
        }
    }
    None
}

/// Returns the extent of a malformed object: to its closing brace, or else to the next line that
/// begins an object.
fn malformed_extent(text: &str, start: usize) -> Range<usize> {
    if let Some((_, length)) = mended(&text[start..]) {
        return start..start + length;
    }
    let mut at = start;
    while let Some(offset) = text[at..].find('\n') {
        at += offset + 1;
        if text[at..].trim_start_matches(['[', ',', ' ', '\t']).starts_with('{') {
            return start..at;
        }
    }
    start..text.len()
}

/// Counts occurrences of `"key"` before a colon. Strings of well-formed JSON escape their quotes,
/// so it does not occur in them.
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
    fn invalid_json_is_repaired_where_its_meaning_is_clear() {
        for text in [
            "{\"why\": \"It names the dose.\nIt does.\", \"met\": true}",
            "{\"why\": \"a\ttab\", \"met\": true}",
            r#"{"why": "says \(x = 2\), \sqrt{2}, \unit and \% of", "met": true}"#,
            r#"{"why": "a path C:\dir", "met": true,}"#,
            r#"{"why": ["a", "b",], "met": true, }"#,
        ] {
            assert_eq!(met(text), Some(Value::Bool(true)), "{text}");
        }
        for text in
            [r#"{"why": "a", "met": true"#, r#"{"why": "a" "met": true}"#, r#"{"met": yes}"#]
        {
            assert_eq!(met(text), None, "{text}");
        }
    }

    #[test]
    fn sets_in_braces_are_prose() {
        let text = r#"It lists {"a", "b"} and {"c"}. {"met": true}"#;
        assert_eq!(met(text), Some(Value::Bool(true)));
    }

    #[test]
    fn a_malformed_object_takes_no_other_with_it() {
        let text = "{\"n\": 1, \"met\": true}\n{\"n\": 2, \"why\": \"a \"quote\", \"met\": false}\n\
                    {\"n\": 3, \"met\": true, \"met\": false}\n[{\"n\": 4, \"met\": false}, {\"n\": 5, \"me";
        let found = scan_json(text, "met");
        let numbers: Vec<_> =
            found.objects.iter().map(|object| object.fields["n"].clone()).collect();
        assert_eq!(numbers, [1, 3, 4]);
        let contradictory: Vec<_> =
            found.objects.iter().map(|object| object.is_contradictory).collect();
        assert_eq!(contradictory, [false, true, false]);
        assert_eq!(found.malformed.len(), 2);
        assert!(found.malformed[0].contains("\"n\": 2"));
        assert_eq!(found.num_loose, 0);
        // What a malformed object quotes is not read.
        let quoting = r#"{"n": 1, "why": "it says {"n": 2, "met": true}", "met": false}"#;
        let found = scan_json(quoting, "met");
        assert_eq!((found.objects.len(), found.malformed.len(), found.num_loose), (0, 1, 0));
    }

    #[test]
    fn truncated_or_malformed_text_is_unreadable() {
        for text in ["", "{\"met\": tr", "{'met': true}", "{\"other\": 1}", "\"met\": true"] {
            assert_eq!(read_json(text, "met"), JsonReading::Unreadable, "{text}");
        }
    }

    #[test]
    fn hostile_texts_are_read_in_bounded_work() {
        for unit in ["{", "{\"a\":", "{\"a\":{\"met\":1},", "{\"", "[", "{\"a\":[1,", "\"met\""] {
            let text = unit.repeat(1_000_000 / unit.len());
            let _ = read_json(&text, "met");
            let _ = scan_json(&text, "met");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(read_json(&deep, "met"), JsonReading::Unreadable);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in r#"(?s)(.|\{|\}|"|:|,|\\|"met"|\{"met": ?true\}){0,60}"#) {
            let _ = read_json(&text, "met");
            let _ = scan_json(&text, "met");
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
