//! Records as lines of text.

use std::borrow::Cow;

use preceptor_core::Digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A line that was read and checked.
pub(crate) struct Line {
    pub(crate) key: String,
    /// Digest of key and value: lines of one key with the same check hold the same value.
    pub(crate) check: String,
    pub(crate) value: Box<RawValue>,
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
    let parsed: Parsed<'_> = serde_json::from_str(line).ok()?;
    (check(&parsed.key, parsed.value.get()) == parsed.check).then(|| Line {
        key: parsed.key.into_owned(),
        check: parsed.check.into_owned(),
        value: parsed.value.to_owned(),
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
