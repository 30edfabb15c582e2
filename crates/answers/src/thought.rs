//! Thoughts in a rollout: the parts that a reasoning model writes before its answer.
//!
//! Known spellings of the marks are those of `<think>`, `<thinking>`, `<thought>` and
//! `<reasoning>` in any case and with spaces, `[THINK]`, `<|begin_of_thought|>` and `◁think▷`.
//! A closing mark without an opening one ends a thought that began with the text: chat templates
//! often put the opening mark into the prompt.

use std::ops::Range;

/// Spans of a rollout's text that are thought, and those that are said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Thoughts {
    /// The parts outside of thoughts, in order.
    pub(crate) said: Vec<Range<usize>>,
    /// The thoughts that ended, in order.
    pub(crate) ended: Vec<Range<usize>>,
}

enum Mark {
    Open,
    Close,
}

/// Splits a text into what is thought and what is said; `None` where there is no mark.
pub(crate) fn thoughts(text: &str) -> Option<Thoughts> {
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
    use super::*;

    fn said(text: &str) -> Option<String> {
        thoughts(text).map(|thoughts| thoughts.said.into_iter().map(|part| &text[part]).collect())
    }

    #[test]
    fn answers_are_outside_of_thoughts() {
        assert_eq!(said("no marks, 3 < 4 > 2"), None);
        assert_eq!(said("a<think>b</think>c").as_deref(), Some("ac"));
        assert_eq!(said("b</think>c").as_deref(), Some("c"));
        assert_eq!(said("a<THINKING>b< / thinking >c").as_deref(), Some("ac"));
        assert_eq!(said("[THINK]b[/THINK]c").as_deref(), Some("c"));
        assert_eq!(said("◁think▷b◁/think▷c").as_deref(), Some("c"));
        assert_eq!(said("<think>b<think>d</think>e</think>c").as_deref(), Some("c"));
    }

    #[test]
    fn an_unfinished_thought_is_not_said_and_has_not_ended() {
        let thoughts = thoughts("a<think>b").unwrap();
        assert_eq!(thoughts.said.first(), Some(&(0..1)));
        assert_eq!((thoughts.said.len(), thoughts.ended.len()), (1, 0));
    }

    #[test]
    fn the_last_closing_mark_ends_a_thought_that_mentions_an_opening_one() {
        assert_eq!(said("<think>I write <think> first</think>c").as_deref(), Some("c"));
    }
}
