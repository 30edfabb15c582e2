//! Thoughts of a model before its answer.
//!
//! ```text
//! <think>a draft</think>the answer
//! ```
//!
//! Text between the tags, or before an end tag without a start, is a draft and no answer. A
//! thought that is not finished holds no answer either: what follows its start tag is left out. Thoughts
//! do not nest: an end tag ends what is open.

/// Names of the tags.
const NAMES: [&str; 4] = ["think", "thinking", "thought", "reasoning"];

/// `text` without its thoughts.
///
/// ```
/// use preceptor_text::without_thoughts;
/// assert_eq!(without_thoughts("<think>no?</think>yes"), "yes");
/// assert_eq!(without_thoughts("no?</think>\nyes"), "\nyes");
/// assert_eq!(without_thoughts("<think>yes, I would say"), "");
/// assert_eq!(without_thoughts("I think so"), "I think so");
/// ```
pub fn without_thoughts(text: &str) -> String {
    let mut spoken = String::new();
    let mut is_thinking = false;
    let mut from = 0;
    let mut at = 0;
    while let Some(offset) = text[at..].find('<') {
        let start = at + offset;
        let Some(tag) = Tag::read(&text[start..]) else {
            at = start + 1;
            continue;
        };
        at = start + tag.length;
        if tag.is_end {
            // Without a start tag, all that was said so far was thought.
            if !is_thinking {
                spoken.clear();
            }
            (is_thinking, from) = (false, at);
        } else if !is_thinking {
            spoken.push_str(&text[from..start]);
            is_thinking = true;
        }
    }
    if !is_thinking {
        spoken.push_str(&text[from..]);
    }
    spoken
}

/// A start or end tag of a thought.
struct Tag {
    is_end: bool,
    length: usize,
}

impl Tag {
    /// Returns the tag at the start of `text`, which starts with `<`.
    fn read(text: &str) -> Option<Self> {
        let inner = text[1..].trim_start();
        let (is_end, inner) = match inner.strip_prefix('/') {
            Some(inner) => (true, inner.trim_start()),
            None => (false, inner),
        };
        let name = |name: &&&str| {
            inner.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
                && inner[name.len()..].trim_start().starts_with('>')
        };
        let name = NAMES.iter().find(name)?;
        let rest = inner[name.len()..].trim_start();
        Some(Self { is_end, length: text.len() - rest.len() + 1 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_are_left_out_finished_or_not() {
        for (text, spoken) in [
            ("<Think>a</THINK >b", "b"),
            ("< think >a</ think>b", "b"),
            ("<thinking>a</thinking>b<thinking>c</thinking>d", "bd"),
            ("b<think>a", "b"),
            ("<think>a<think>b</think>c</think>d", "d"),
            ("a</think>b</think>c", "c"),
            ("a<thinker>b</thinker>", "a<thinker>b</thinker>"),
            ("a < b <", "a < b <"),
        ] {
            assert_eq!(without_thoughts(text), spoken, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_none_is_made_up(text in "(?s)(.|<think>|</think>|<|/){0,40}") {
            let spoken = without_thoughts(&text);
            prop_assert!(spoken.len() <= text.len());
            if !text.to_lowercase().contains("think") {
                prop_assert_eq!(spoken, text);
            }
        }
    }
}
