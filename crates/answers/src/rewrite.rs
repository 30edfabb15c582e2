//! String rewriting that the published graders do with regular expressions.

/// Replaces `open..close` by what `keep` makes of the inside, leftmost first, shortest inside,
/// never over a line's end: `re.sub("(open)(.*?)(close)", ..)`.
pub(crate) fn replace_delimited(
    text: &str,
    open: &str,
    close: &str,
    greedy: bool,
    keep: impl Fn(&str) -> String,
) -> String {
    let mut result = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some(start) = rest.find(open) {
            let inside = &rest[start + open.len()..];
            let end = if greedy { inside.rfind(close) } else { inside.find(close) };
            // Without a closing mark after this opening there is none after a later one.
            let Some(end) = end else { break };
            result.push_str(&rest[..start]);
            result.push_str(&keep(&inside[..end]));
            rest = &inside[end + close.len()..];
        }
        result.push_str(rest);
    }
    result
}

/// The argument of Python's `float()`, read as it would.
pub(crate) fn python_float(text: &str) -> Option<f64> {
    let trimmed = text.trim();
    let bytes = trimmed.as_bytes();
    let between_digits = |at: usize| {
        at > 0
            && bytes[at - 1].is_ascii_digit()
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    };
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'_' && !between_digits(at)) {
        return None;
    }
    trimmed.replace('_', "").parse().ok()
}

/// Returns the last `count` characters.
pub(crate) fn tail(text: &str, count: usize) -> &str {
    match text.char_indices().rev().nth(count.saturating_sub(1)) {
        Some((at, _)) if count > 0 => &text[at..],
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimited_parts_are_replaced_line_by_line() {
        let inner = |inside: &str| inside.to_owned();
        assert_eq!(replace_delimited(r"\text{a}b\text{c}", r"\text{", "}", false, inner), "abc");
        assert_eq!(replace_delimited("[a]]\n[b", "[", "]", true, inner), "a]\n[b");
    }

    #[test]
    fn floats_are_read_as_python_reads_them() {
        assert_eq!(python_float("52_8"), Some(528.0));
        assert_eq!(python_float(" 1e3 "), Some(1000.0));
        assert_eq!(python_float("_1"), None);
        assert_eq!(python_float(""), None);
    }

    #[test]
    fn tails_count_characters() {
        assert_eq!(tail("abπd", 2), "πd");
        assert_eq!(tail("ab", 5), "ab");
    }
}
