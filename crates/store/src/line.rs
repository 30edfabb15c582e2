//! Records as lines of text.

use std::borrow::Cow;

use preceptor_core::Digest;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// A line that was read and checked.
pub(crate) struct Line {
    pub(crate) key: String,
    /// Digest of key and value: lines of one key with the same check hold the same value.
    pub(crate) check: String,
    pub(crate) value: Json,
}

/// JSON as it was written.
pub(crate) struct Json(Box<str>);

impl Json {
    pub(crate) fn get(&self) -> &str {
        &self.0
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

#[derive(Deserialize)]
struct Parsed<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    check: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Serialize)]
struct Written<'a> {
    key: &'a str,
    check: &'a str,
    value: &'a RawValue,
}

/// Returns the line of a record, with its line feed.
pub(crate) fn write(key: &str, value: &impl Serialize) -> serde_json::Result<String> {
    let value = serde_json::value::to_raw_value(value)?;
    let check = check(key, value.get());
    let mut line = serde_json::to_string(&Written { key, check: &check, value: &value })?;
    line.push('\n');
    Ok(line)
}

/// Reads a line without its line feed; none if it is not a whole, unchanged record.
pub(crate) fn read(line: &str) -> Option<Line> {
    split(line).or_else(|| {
        let parsed: Parsed<'_> = serde_json::from_str(line).ok()?;
        checked(&parsed.key, &parsed.check, parsed.value.get())
    })
}

/// Reads a line as [`write()`] writes it, without parsing: its value is what was written, because it checks.
/// None for another spelling, and for a key with escapes.
fn split(line: &str) -> Option<Line> {
    let (key, rest) = line.strip_prefix("{\"key\":\"")?.split_once("\",\"check\":\"")?;
    let (check, value) = rest.split_once("\",\"value\":")?;
    if key.contains(['"', '\\']) {
        return None;
    }
    checked(key, check, value.strip_suffix('}')?)
}

fn checked(key: &str, known: &str, value: &str) -> Option<Line> {
    (check(key, value) == known).then(|| Line {
        key: key.to_owned(),
        check: known.to_owned(),
        value: Json(value.into()),
    })
}

fn check(key: &str, value: &str) -> String {
    let digest = Digest::of_parts([key.as_bytes(), value.as_bytes()]);
    digest.as_str()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_reads_back_and_any_changed_byte_is_noticed(
            key in ".*", value in ".*", place in any::<prop::sample::Index>(), flip in 1u8..128,
        ) {
            let line = write(&key, &value).unwrap();
            let line = line.trim_end_matches('\n');
            let read_back = read(line).unwrap();
            prop_assert_eq!(&read_back.key, &key);
            prop_assert_eq!(serde_json::from_str::<String>(read_back.value.get()).unwrap(), value);

            let mut bytes = line.as_bytes().to_vec();
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            if let Ok(changed) = std::str::from_utf8(&bytes)
                && let Some(record) = read(changed)
            {
                // The same record in another spelling is the only thing that may still check.
                prop_assert_eq!(record.key, key);
                prop_assert_eq!(record.value.get(), read_back.value.get());
            }
        }

        #[test]
        fn a_torn_line_is_not_a_record(value in ".{0,20}", cut in any::<prop::sample::Index>()) {
            let line = write("k", &value).unwrap();
            let line = line.trim_end_matches('\n');
            let mut end = cut.index(line.len());
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            prop_assert!(read(&line[..end]).is_none());
        }
    }
}
