//! Specification of a stage, and its digest.

use preceptor_core::Digest;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Error;

/// Keys that were renamed, each with the name that stages are still described by: a stage's digest
/// must not move with a word.
const FORMER_KEYS: [(&str, &str); 1] = [("criteria-per-call", "criteria-a-call")];

/// The canonical description of a stage: its kind and everything its records depend on.
///
/// Machine paths, worker counts and limits don't belong here: they change when a record is
/// computed, not its contents.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSpec {
    kind: String,
    json: String,
    digest: Digest,
}

impl StageSpec {
    /// Returns the specification of a stage of `kind` with `fields`, any serializable record.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if `fields` can't be written as JSON.
    pub fn new(kind: &str, fields: &impl Serialize) -> Result<Self, Error> {
        let fields = serde_json::to_value(fields)
            .map_err(|source| Error::Encode { key: kind.to_owned(), source })?;
        let mut top = Map::new();
        top.insert("kind".to_owned(), Value::String(kind.to_owned()));
        top.insert("fields".to_owned(), fields);
        let mut json = String::new();
        write_canonical(&Value::Object(top), &mut json);
        let digest = Digest::of(json.as_bytes());
        Ok(Self { kind: kind.to_owned(), json, digest })
    }

    /// Returns the kind of stage, for example `rollouts`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the canonical JSON: keys sorted, no spaces.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns the digest of the canonical JSON: the stage's name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Writes `value` with sorted keys and no spaces, whatever order the map type keeps.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let former = |key: &str| FORMER_KEYS.iter().find(|(now, _)| *now == key);
            let described = |key| former(key).map_or(key, |(_, former)| *former);
            let entries = map.iter().map(|(key, value)| (described(key.as_str()), value));
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_fields_does_not_matter() {
        let ab = StageSpec::new("x", &json!({"a": 1, "b": {"d": [1, 2], "c": null}})).unwrap();
        let ba = StageSpec::new("x", &json!({"b": {"c": null, "d": [1, 2]}, "a": 1})).unwrap();
        assert_eq!(ab, ba);
        assert_eq!(ab.json(), r#"{"fields":{"a":1,"b":{"c":null,"d":[1,2]}},"kind":"x"}"#);
    }

    #[test]
    fn kind_and_fields_both_count() {
        let base = StageSpec::new("x", &json!({"a": 1})).unwrap();
        assert_ne!(base.digest(), StageSpec::new("y", &json!({"a": 1})).unwrap().digest());
        assert_ne!(base.digest(), StageSpec::new("x", &json!({"a": 2})).unwrap().digest());
    }
}
