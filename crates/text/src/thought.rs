//! Thoughts: the parts of a text that a reasoning model writes before its answer.
//!
//! ```text
//! <think>a draft</think>the answer
//! ```
//!
//! A thought is a draft, so nothing in it counts as said. One that the text's end cuts off is left out too.
//! Known spellings of the marks are those of `<think>`, `<thinking>`, `<thought>` and
//! `<reasoning>` in any case and with spaces, `[THINK]`, `<|begin_of_thought|>` and `◁think▷`.
//! A closing mark without an opening one ends a thought that began with the text: chat templates
//! often put the opening mark into the prompt.

use std::borrow::Cow;
use std::ops::Range;

/// Spans of a text that are thought, and those that are said.
#[derive(Debug, PartialEq, Eq)]
pub struct Thoughts {
    /// The parts outside of thoughts, in order.
    pub said: Vec<Range<usize>>,
    /// The thoughts that ended, in order.
    pub ended: Vec<Range<usize>>,
}

enum Mark {
    Open,
    Close,
}

/// Splits a text into what is thought and what is said; `None` where there is no mark.
pub fn thoughts(text: &str) -> Option<Thoughts> {
    let marks = marks(text);
    if marks.is_empty() {
        return None;
    }
    let last_close = marks.iter().rposition(|(_, mark)| matches!(mark, Mark::Close));
    let (mut said, mut ended) = (Vec::new(), Vec::new());
    let (mut depth, mut start) = (0_usize, 0);
    for (index, (range, mark)) in marks.iter().enumerate() {
        match mark {
            Mark::Open => {
                if depth == 0 {
                    said.push(start..range.start);
                    start = range.end;
                }
                depth += 1;
            }
            Mark::Close => {
                // The last closing mark ends every thought that is open, since a thought may
                // mention the opening mark; one without an opening mark ends all before it.
                if depth == 0 {
                    said.clear();
                    ended.clear();
                    start = 0;
                }
                depth = if Some(index) == last_close { 0 } else { depth.saturating_sub(1) };
                if depth == 0 {
                    ended.push(start..range.start);
                    start = range.end;
                }
            }
        }
    }
    if depth == 0 {
        said.push(start..text.len());
    }
    Some(Thoughts { said, ended })
}

/// Returns `text` without its thoughts.
///
/// ```
/// use preceptor_text::without_thoughts;
/// assert_eq!(without_thoughts("<think>no?</think>yes"), "yes");
/// assert_eq!(without_thoughts("no?</think>\nyes"), "\nyes");
/// assert_eq!(without_thoughts("<think>yes, I would say"), "");
/// assert_eq!(without_thoughts("I think so"), "I think so");
/// ```
pub fn without_thoughts(text: &str) -> Cow<'_, str> {
    match thoughts(text) {
        None => Cow::Borrowed(text),
        Some(thoughts) => thoughts.said.into_iter().map(|part| &text[part]).collect(),
    }
}

/// Returns the marks of thoughts, in order.
fn marks(text: &str) -> Vec<(Range<usize>, Mark)> {
    const PLAIN: [(&str, bool); 6] = [
        ("<|begin_of_thought|>", true),
        ("<|end_of_thought|>", false),
        ("[think]", true),
        ("[/think]", false),
        ("◁think▷", true),
        ("◁/think▷", false),
    ];
    let mut marks = Vec::new();
    let bytes = text.as_bytes();
    for at in 0..bytes.len() {
        if !matches!(bytes[at], b'<' | b'[' | 0xe2) {
            continue;
        }
        let plain = PLAIN.iter().find(|(mark, _)| {
            bytes[at..].get(..mark.len()).is_some_and(|b| b.eq_ignore_ascii_case(mark.as_bytes()))
        });
        if let Some((mark, opens)) = plain {
            let mark_kind = if *opens { Mark::Open } else { Mark::Close };
            marks.push((at..at + mark.len(), mark_kind));
        } else if let Some((length, mark)) = tag(&text[at..]).filter(|_| bytes[at] == b'<') {
            marks.push((at..at + length, mark));
        }
    }
    marks
}

/// Returns a tag such as `< /Think >` at the start of the text.
fn tag(text: &str) -> Option<(usize, Mark)> {
    const NAMES: [&str; 6] =
        ["think", "thinking", "thought", "thoughts", "reasoning", "seed:think"];
    let inside = text.strip_prefix('<')?;
    let end = inside.bytes().take(24).position(|byte| byte == b'>')?;
    let inner = inside[..end].trim();
    let (name, mark) = match inner.strip_prefix('/') {
        Some(name) => (name.trim(), Mark::Close),
        None => (inner, Mark::Open),
    };
    let known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    known.then_some((end + 2, mark))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_are_left_out_finished_or_not() {
        for (text, said) in [
            ("no marks, 3 < 4 > 2", "no marks, 3 < 4 > 2"),
            ("<Think>a</THINK >b", "b"),
            ("< think >a</ think>b", "b"),
            ("<thinking>a</thinking>b<thinking>c</thinking>d", "bd"),
            ("b<think>a", "b"),
            ("a<think>b</think>c", "ac"),
            ("a</think>b</think>c", "c"),
            ("[THINK]b[/THINK]c", "c"),
            ("◁think▷b◁/think▷c", "c"),
            ("<think>a<think>b</think>c</think>d", "d"),
            ("<think>I write <think> first</think>c", "c"),
            ("a<thinker>b</thinker>", "a<thinker>b</thinker>"),
            ("a < b <", "a < b <"),
        ] {
            assert_eq!(without_thoughts(text), said, "{text}");
        }
    }

    #[test]
    fn an_unfinished_thought_is_not_said_and_has_not_ended() {
        let thoughts = thoughts("a<think>b").unwrap();
        assert_eq!(thoughts.said.first(), Some(&(0..1)));
        assert_eq!((thoughts.said.len(), thoughts.ended.len()), (1, 0));
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_none_is_made_up(text in "(?s)(.|<think>|</think>|<|/){0,40}") {
            let said = without_thoughts(&text);
            prop_assert!(said.len() <= text.len());
            if thoughts(&text).is_none() {
                prop_assert_eq!(said, text.as_str());
            }
        }
    }
}
