//! Reading what a judge replies, in each of the forms it can be asked for.
//!
//! | style | one answer | numbered answers |
//! |---|---|---|
//! | `json` | one object with `answer` | one object for each criterion, with `criterion` and `answer` |
//! | `xml` | `<answer>` | `<answer criterion="N">` |
//! | `yes-no` | the answer alone | a line `N: answer` for each |
//!
//! Two answers to one question that differ are contradictory. Of numbered answers in `json`, an object that
//! can't be read fails alone, as does one that gives two answers; an answer that belongs to no object makes
//! all contradictory. In `xml` only what follows the last
//! `</reason>` is read, and nothing while a `<reason>` is open: judges quote there.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use preceptor_text::{
    ElementEnd, IndexReading, JsonReading, YesNo, read_json, read_number, read_yes_no, scan_json,
    xml_elements,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::Reading;

/// The form of a judge's reply.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// A JSON object with a reason and the answer.
    #[default]
    Json,
    /// A reason and the answer in tags.
    Xml,
    /// The answer alone: yes or no, or a number where one is asked for.
    YesNo,
}

impl Style {
    /// Returns the kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Xml => "xml",
            Self::YesNo => "yes-no",
        }
    }
}

const ANSWER: &str = "answer";
const CRITERION: &str = "criterion";

/// Reads one yes or no.
pub(crate) fn verdict(style: Style, reply: &str) -> Reading<bool> {
    match style {
        Style::Json => one_json(reply, json_verdict),
        Style::Xml => agreed(xml_answers(reply).iter().map(|(_, answer)| yes_no(answer))),
        Style::YesNo => yes_no(reply),
    }
}

/// Reads a number in `range`.
pub(crate) fn number(style: Style, reply: &str, range: &RangeInclusive<usize>) -> Reading<usize> {
    let plain = |text: &str| match read_number(text, range.clone()) {
        IndexReading::Index(index) => Reading::Value(index),
        IndexReading::Contradictory => Reading::Contradictory,
        IndexReading::Unreadable => Reading::Unreadable,
    };
    match style {
        Style::Json => one_json(reply, |value| match value {
            Value::Number(number) => plain(&number.to_string()),
            Value::String(text) => plain(text),
            _ => Reading::Unreadable,
        }),
        Style::Xml => agreed(xml_answers(reply).iter().map(|(_, answer)| plain(answer))),
        Style::YesNo => plain(reply),
    }
}

/// Reads the yes or no of each of `count` criteria, numbered from 1.
pub(crate) fn verdicts(style: Style, reply: &str, count: usize) -> Vec<Reading<bool>> {
    let numbered: Vec<(usize, Reading<bool>)> = match style {
        Style::Json => {
            let found = scan_json(reply, ANSWER);
            if found.num_loose > 0 && !found.objects.is_empty() {
                return vec![Reading::Contradictory; count];
            }
            let readable = found.objects.iter().filter_map(|object| {
                let number = match object.fields.get(CRITERION)? {
                    Value::Number(number) => number.as_u64()?.try_into().ok()?,
                    Value::String(text) => text.trim().parse().ok()?,
                    _ => return None,
                };
                let reading = if object.is_contradictory {
                    Reading::Contradictory
                } else {
                    json_verdict(object.fields.get(ANSWER)?)
                };
                Some((number, reading))
            });
            let mut numbered: Vec<_> = readable.collect();
            // A verdict beside an object of the same number that can't be read is in doubt.
            let broken = found.malformed.iter().filter_map(|text| malformed_number(text));
            for number in broken.collect::<Vec<_>>() {
                if numbered.iter().any(|(known, _)| *known == number) {
                    numbered.push((number, Reading::Contradictory));
                }
            }
            numbered
        }
        Style::Xml => {
            let numbered = xml_answers(reply)
                .into_iter()
                .filter_map(|(number, answer)| Some((number?, yes_no(&answer))));
            numbered.collect()
        }
        Style::YesNo => reply.lines().filter_map(numbered_line).collect(),
    };
    let of = |wanted: usize| {
        agreed(numbered.iter().filter(|(number, _)| *number == wanted).map(|(_, answer)| *answer))
    };
    (1..=count).map(of).collect()
}

/// Returns the criterion that an object names which can't be read.
fn malformed_number(text: &str) -> Option<usize> {
    let after = text.split_once("\"criterion\"")?.1.trim_start().strip_prefix(':')?;
    let digits = after.trim_start_matches([' ', '"']);
    let num_digits = digits.bytes().take_while(u8::is_ascii_digit).count();
    digits[..num_digits].parse().ok()
}

fn one_json<T>(reply: &str, read: impl Fn(&Value) -> Reading<T>) -> Reading<T> {
    match read_json(reply, ANSWER) {
        JsonReading::Object(object) => object.get(ANSWER).map_or(Reading::Unreadable, read),
        JsonReading::Contradictory => Reading::Contradictory,
        JsonReading::Unreadable => Reading::Unreadable,
    }
}

fn json_verdict(value: &Value) -> Reading<bool> {
    match value {
        Value::Bool(met) => Reading::Value(*met),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Reading::Value(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Reading::Value(false),
        Value::String(text) => yes_no(text),
        _ => Reading::Unreadable,
    }
}

fn yes_no(text: &str) -> Reading<bool> {
    match read_yes_no(text) {
        YesNo::Yes => Reading::Value(true),
        YesNo::No => Reading::Value(false),
        YesNo::Contradictory => Reading::Contradictory,
        YesNo::Unreadable => Reading::Unreadable,
    }
}

/// Returns the closed answers after the reasons, with the criteria that they name.
fn xml_answers(reply: &str) -> Vec<(Option<usize>, String)> {
    // Lower case in ASCII moves no byte.
    let lower = reply.to_ascii_lowercase();
    let start = lower.rfind("</reason").unwrap_or(0);
    if lower[start..].contains("<reason") {
        return Vec::new();
    }
    let closed = xml_elements(&reply[start..], ANSWER).elements.into_iter();
    let closed = closed.filter(|element| element.end == ElementEnd::OwnTag).map(|element| {
        let number = element.attribute(CRITERION).and_then(|number| number.trim().parse().ok());
        (number, element.content)
    });
    closed.collect()
}

/// Reads lines such as `2: yes`, `Criterion 2: **No**` and `2. yes`.
fn numbered_line(line: &str) -> Option<(usize, Reading<bool>)> {
    let is_mark = |c: char| !c.is_alphanumeric();
    let line = line.trim_start_matches(is_mark);
    let (name, rest) = line.split_at_checked(CRITERION.len()).unwrap_or(("", ""));
    let line = if name.eq_ignore_ascii_case(CRITERION) { rest } else { line };
    let line = line.trim_start_matches(is_mark);
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let number = line[..digits].parse().ok()?;
    let answer = line[digits..].trim_start_matches(is_mark);
    Some((number, yes_no(answer)))
}

/// Returns the reading on which all that say something agree.
fn agreed<T: Ord>(readings: impl Iterator<Item = Reading<T>>) -> Reading<T> {
    let mut values = BTreeSet::new();
    for reading in readings {
        match reading {
            Reading::Value(value) => {
                values.insert(value);
            }
            Reading::Contradictory => return Reading::Contradictory,
            Reading::Unreadable => {}
        }
    }
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Reading::Value(value),
        (Some(_), Some(_)) => Reading::Contradictory,
        (None, _) => Reading::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STYLES: [Style; 3] = [Style::Json, Style::Xml, Style::YesNo];

    #[test]
    fn a_verdict_is_read_in_each_style() {
        for (style, reply, met) in [
            (Style::Json, "```json\n{\"reason\": \"ok\", \"answer\": \"yes\"}\n```", true),
            (Style::Json, "{\"answer\": false}", false),
            (Style::Json, "{\"answer\": \"True\"}", true),
            (Style::Xml, "<reason>It is there.</reason>\n<answer>Yes.</answer>", true),
            (Style::Xml, "<answer>no</answer>", false),
            (Style::YesNo, "**No**", false),
        ] {
            assert_eq!(verdict(style, reply), Reading::Value(met), "{reply}");
        }
        for style in STYLES {
            for reply in ["", "perhaps", "<answer>yes", "{\"answer\": 1}", "{\"answer\": \"ye"] {
                assert_eq!(verdict(style, reply), Reading::Unreadable, "{style:?} {reply}");
            }
        }
    }

    #[test]
    fn what_a_judge_quotes_is_not_its_answer() {
        let quoted = "<reason>It says <answer>yes</answer>, which is no proof.</reason>";
        assert_eq!(
            verdict(Style::Xml, &format!("{quoted}<answer>no</answer>")),
            Reading::Value(false)
        );
        let cut = "<reason>It says <answer>yes</answer> and";
        assert_eq!(verdict(Style::Xml, cut), Reading::Unreadable);
        let twice = "It says <answer>yes</answer>. <answer>no</answer>";
        assert_eq!(verdict(Style::Xml, twice), Reading::Contradictory);
        let quoted = r#"It says {"answer": "yes"}. {"reason": "no dose", "answer": "no"}"#;
        assert_eq!(verdict(Style::Json, quoted), Reading::Contradictory);
    }

    #[test]
    fn numbered_verdicts_are_read_each_by_itself() {
        let value = Reading::Value;
        let json = "[{\"criterion\": 1, \"answer\": \"yes\"},\n\
                    {\"criterion\": \"3\", \"answer\": \"no\"}, {\"criterion\": 4, \"rea";
        let expected = [value(true), Reading::Unreadable, value(false), Reading::Unreadable];
        assert_eq!(verdicts(Style::Json, json, 4), expected);
        let xml = "<reason>..</reason><answer criterion=\"1\">yes</answer>\n\
                   <answer criterion=3>no</answer> <answer>yes</answer> <answer criterion='4'>no";
        assert_eq!(verdicts(Style::Xml, xml, 4), expected);
        let plain = "1: yes\n- **Criterion 3:** No.\nThat is all.";
        assert_eq!(verdicts(Style::YesNo, plain, 4), expected);
        let twice = "1: yes\n2: no\n1: no";
        assert_eq!(verdicts(Style::YesNo, twice, 2), [Reading::Contradictory, value(false)]);
    }

    #[test]
    fn an_unreadable_object_fails_alone() {
        let value = Reading::Value;
        let reply = "{\"criterion\": 1, \"reason\": \"a\", \"answer\": \"yes\"}\n\
                     {\"criterion\": 2, \"reason\": \"it says \"x\" there\", \"answer\": \"no\"}\n\
                     {\"criterion\": 3, \"reason\": \"says \\(x\\)\", \"answer\": \"no\"}\n\
                     {\"criterion\": 4, \"answer\": \"yes\", \"answer\": \"no\"}";
        let expected = [value(true), Reading::Unreadable, value(false), Reading::Contradictory];
        assert_eq!(verdicts(Style::Json, reply, 4), expected);
        let again = format!("{reply}\n{{\"criterion\": 2, \"answer\": \"yes\"}}");
        assert_eq!(verdicts(Style::Json, &again, 2), [value(true), Reading::Contradictory]);
        let loose = format!("\"answer\": \"no\"\n{reply}");
        assert_eq!(verdicts(Style::Json, &loose, 1), [Reading::Contradictory]);
    }

    #[test]
    fn numbers_are_held_to_their_range() {
        for (style, reply) in [
            (Style::Json, "{\"reason\": \"..\", \"answer\": 4}"),
            (Style::Json, "{\"answer\": \"4/5\"}"),
            (Style::Xml, "<reason>1 of 2</reason><answer>4</answer>"),
            (Style::YesNo, "4"),
        ] {
            assert_eq!(number(style, reply, &(1..=5)), Reading::Value(4), "{reply}");
            assert_eq!(number(style, reply, &(1..=3)), Reading::Unreadable, "{reply}");
        }
        assert_eq!(number(Style::Json, "{\"answer\": 4.5}", &(1..=5)), Reading::Unreadable);
        assert_eq!(number(Style::Json, "{\"answer\": -4}", &(1..=5)), Reading::Unreadable);
    }

    proptest! {
        #[test]
        fn any_reply_is_read(
            reply in r#"(?s)(.|yes|no|[0-9]|: |\n|\{"answer":|\}|"|<answer|>|</answer>|<reason>|</reason>){0,40}"#,
            count in 0_usize..5,
        ) {
            for style in STYLES {
                let _ = verdict(style, &reply);
                prop_assert_eq!(verdicts(style, &reply, count).len(), count);
                if let Reading::Value(grade) = number(style, &reply, &(1..=5)) {
                    prop_assert!((1..=5).contains(&grade));
                }
            }
        }
    }
}
