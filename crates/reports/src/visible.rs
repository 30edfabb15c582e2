//! Characters that hide or reorder text, shown as their code points.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Returns text in which control characters (other than line feed and tab), marks that reorder text
/// and zero-width characters are shown as their code points, for example `[U+202E]`.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut out, c);
    }
    out
}

/// Appends a character, or its code point if it would hide.
pub(crate) fn push_visible(out: &mut String, c: char) {
    if is_hidden(c) {
        let _ = write!(out, "[U+{:04X}]", u32::from(c));
    } else {
        out.push(c);
    }
}

/// Characters that have no shape of their own, or change how others are set: Unicode's control and format
/// characters, its line and paragraph separators, and letters that are blank. The two variation selectors
/// that choose between text and emoji are left out, and so are line feed and tab.
pub(crate) const HIDDEN: [RangeInclusive<char>; 29] = [
    '\0'..='\u{8}',
    '\u{b}'..='\u{1f}',
    '\u{7f}'..='\u{9f}',
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0d}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

fn is_hidden(c: char) -> bool {
    HIDDEN.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reads_other_than_it_is() {
        let text = "a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{1b}[31m\u{e0041}\r\n\tf";
        assert_eq!(
            visible(text),
            "a[U+202E]b[U+2066]c[U+200B]d[U+FEFF]e[U+001B][31m[U+E0041][U+000D]\n\tf"
        );
        let plain = "Grüße, 你好, \u{2764}\u{fe0f}, x² ≤ 3";
        assert_eq!(visible(plain), plain);
    }
}
