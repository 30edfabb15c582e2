//! Rewrites parts of a template that Jinja supports and minijinja does not.
//!
//! - CR LF and CR become line feeds, as in Jinja's lexer.
//! - `{% generation %}` .. `{% endgeneration %}`, with which TRL marks the tokens to train on, becomes
//!   a block with its own scope that renders its contents: `{% with %}`.
//! - `text % values` formats a text. The operands are passed to [`PERCENT`] if the left one is a
//!   text; numbers keep the operator.
//!
//! Raw blocks, comments and strings stay as they are.

use std::ops::Range;

/// The name of the function that formats a text with `%`.
pub(crate) const PERCENT: &str = "_percent_format";

/// Rewrites the source for minijinja.
pub(crate) fn translate(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(open) = source[at..].find('{').map(|found| at + found) {
        out.push_str(&source[at..open]);
        let rest = &source[open..];
        let end = if rest.starts_with("{#") {
            rest.find("#}").map(|end| open + end + 2)
        } else if rest.starts_with("{%") {
            raw_end(rest).or_else(|| tag_end(rest, "%}")).map(|end| open + end)
        } else if rest.starts_with("{{") {
            tag_end(rest, "}}").map(|end| open + end)
        } else {
            Some(open + 1)
        };
        let Some(end) = end else {
            // The compiler reports the error.
            at = open;
            break;
        };
        let tag = &source[open..end];
        if tag.len() > 1 && !tag.starts_with("{#") && raw_end(tag).is_none() {
            out.push_str(&translate_tag(tag));
        } else {
            out.push_str(tag);
        }
        at = end;
    }
    out.push_str(&source[at..]);
    out
}

/// Returns the word after the mark that begins a statement.
fn first_word(tag: &str) -> &str {
    let rest = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    &rest[..end]
}

/// Returns the end of a raw block at the start of `text`.
fn raw_end(text: &str) -> Option<usize> {
    if !text.starts_with("{%") || first_word(text) != "raw" {
        return None;
    }
    let mut at = 2;
    while let Some(open) = text[at..].find("{%").map(|found| at + found) {
        if first_word(&text[open..]) == "endraw" {
            return text[open..].find("%}").map(|end| open + end + 2);
        }
        at = open + 2;
    }
    None
}

/// A token of an expression, as far as it matters for `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    /// A name, number or string.
    Operand,
    /// A word or sign that ends an operand of `*`, `/`, `//` and `%`.
    Separator,
    /// `*`, `/`, `//`, `%`.
    Product,
    /// `.`, `|`, `**`: the next token belongs to the same operand.
    Postfix,
}

#[derive(Clone, Debug)]
struct Part {
    kind: Kind,
    at: Range<usize>,
}

/// Words that end an operand of a product.
const WORDS: [&str; 14] = [
    "if",
    "else",
    "elif",
    "and",
    "or",
    "not",
    "in",
    "is",
    "set",
    "for",
    "print",
    "do",
    "recursive",
    "call",
];

/// Returns the next token of an expression at or after `from`; none at the end of the text.
fn next_part(text: &str, from: usize) -> Option<Part> {
    let start = from + text[from..].find(|c: char| !c.is_whitespace())?;
    let rest = &text[start..];
    let first = rest.chars().next()?;
    let (kind, len) = match first {
        '\'' | '"' => (Kind::Operand, string_len(rest)?),
        '(' | '[' | '{' => (Kind::Open, 1),
        ')' | ']' | '}' => (Kind::Close, 1),
        '*' if rest.starts_with("**") => (Kind::Postfix, 2),
        '/' if rest.starts_with("//") => (Kind::Product, 2),
        '*' | '/' | '%' => (Kind::Product, 1),
        '.' | '|' => (Kind::Postfix, 1),
        c if c.is_alphanumeric() || c == '_' => {
            let is_number = c.is_ascii_digit();
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || (is_number && c == '.')));
            let word = &rest[..end.unwrap_or(rest.len())];
            let kind = if WORDS.contains(&word) { Kind::Separator } else { Kind::Operand };
            (kind, word.len())
        }
        c => (Kind::Separator, c.len_utf8()),
    };
    Some(Part { kind, at: start..start + len })
}

/// Returns the number of bytes of a string at the start of `text`.
fn string_len(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Returns the end of a tag at the start of `text`: `close` outside of strings and brackets.
fn tag_end(text: &str, close: &str) -> Option<usize> {
    let (mut at, mut depth) = (2, 0_usize);
    loop {
        let start = at + text[at..].find(|c: char| !c.is_whitespace())?;
        let ends = text[start..].starts_with(close);
        if ends && depth == 0 {
            return Some(start + close.len());
        }
        let part = next_part(text, start)?;
        match part.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        at = part.at.end;
    }
}

/// A statement or expression with its marks.
fn translate_tag(tag: &str) -> String {
    if tag.starts_with("{%") {
        let known = [("generation", "with"), ("endgeneration", "endwith")];
        if let Some((name, block)) = known.iter().find(|(name, _)| *name == first_word(tag)) {
            let after = tag.split_once(name).map_or("", |(_, after)| after);
            if after.trim_start_matches(|c: char| c.is_whitespace() || "-+".contains(c)) == "%}" {
                return tag.replacen(name, block, 1);
            }
        }
    }
    let (open, rest) = tag.split_at(2);
    let (inner, close) = rest.split_at(rest.len() - 2);
    // Whitespace control is no operator.
    let control = |c: char| c == '-' || c == '+';
    let begin = inner.len() - inner.strip_prefix(control).unwrap_or(inner).len();
    let end = inner.strip_suffix(control).map_or(inner.len(), str::len).max(begin);
    let body = translate_expression(&inner[begin..end]);
    format!("{open}{}{body}{}{close}", &inner[..begin], &inner[end..])
}

/// Rewrites an expression so that `%` also formats texts.
fn translate_expression(text: &str) -> String {
    let mut text = text.to_owned();
    let mut from = 0;
    while let Some((operator, left, right)) = find_percent(&text, from) {
        let (before, after) = (text[..left.start].to_owned(), text[right.end..].to_owned());
        // The right side is still to be rewritten; the left side is done.
        let right = translate_expression(text[right].trim());
        let left = text[left].trim();
        let new = format!(
            "({PERCENT}(({left}), ({right})) if ({left}) is string else (({left}) % ({right})))"
        );
        from = before.len();
        let next = from + new.len();
        text = format!("{before}{new}{after}");
        debug_assert!(operator < text.len(), "the operator was in the text");
        // In a chain, the result is the next left side.
        from = match next_part(&text, next) {
            Some(Part { kind: Kind::Product, at }) => at.start,
            _ => next,
        };
    }
    text
}

/// Returns the next `%` at or after `from` with the ranges of its operands.
fn find_percent(text: &str, from: usize) -> Option<(usize, Range<usize>, Range<usize>)> {
    // The start of the current product at each depth.
    let mut starts = vec![None];
    let mut at = 0;
    let mut is_sign = true;
    while let Some(part) = next_part(text, at) {
        let start = starts.last_mut()?;
        at = part.at.end;
        match part.kind {
            Kind::Product if &text[part.at.clone()] == "%" && part.at.start >= from => {
                let left = (*start)?..part.at.start;
                return Some((part.at.start, left, right_operand(text, at)?));
            }
            Kind::Open => {
                start.get_or_insert(part.at.start);
                starts.push(None);
            }
            Kind::Close => {
                starts.pop();
                if starts.is_empty() {
                    return None;
                }
            }
            Kind::Operand => {
                start.get_or_insert(part.at.start);
            }
            // A sign before an operand belongs to it.
            Kind::Separator if is_sign && "-+".contains(&text[part.at.clone()]) => {
                start.get_or_insert(part.at.start);
            }
            Kind::Separator => *start = None,
            Kind::Product | Kind::Postfix => {}
        }
        is_sign = matches!(part.kind, Kind::Open | Kind::Separator | Kind::Product);
    }
    None
}

/// Returns the operand that begins at or after `from`.
fn right_operand(text: &str, from: usize) -> Option<Range<usize>> {
    let first = next_part(text, from)?;
    let start = first.at.start;
    let (mut at, mut end, mut depth) = (from, start, 0_usize);
    let mut is_wanted = true;
    while let Some(part) = next_part(text, at) {
        let is_sign = part.kind == Kind::Separator && "-+".contains(&text[part.at.clone()]);
        match part.kind {
            Kind::Open => {
                depth += 1;
                is_wanted = true;
            }
            Kind::Close if depth == 0 => break,
            Kind::Close => {
                depth -= 1;
                is_wanted = false;
            }
            _ if depth > 0 => {}
            Kind::Operand => is_wanted = false,
            Kind::Postfix => is_wanted = true,
            Kind::Separator if is_sign && is_wanted => {}
            Kind::Product | Kind::Separator => break,
        }
        at = part.at.end;
        end = part.at.end;
    }
    (depth == 0 && !is_wanted).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_line_feeds() {
        assert_eq!(translate("a\r\nb\rc\n"), "a\nb\nc\n");
    }

    #[test]
    fn generation_is_a_block_with_its_whitespace_control() {
        for (source, expected) in [
            ("{% generation %}x{% endgeneration %}", "{% with %}x{% endwith %}"),
            ("{%- generation -%} x {%+ endgeneration +%}", "{%- with -%} x {%+ endwith +%}"),
            ("{%generation%}{%-endgeneration-%}", "{%with%}{%-endwith-%}"),
        ] {
            assert_eq!(translate(source), expected);
        }
    }

    #[test]
    fn text_outside_of_tags_is_not_changed() {
        for source in [
            "{% raw %}{% generation %} {{ a % b }}{% endraw %}",
            "{%- raw -%}{% generation %}{%- endraw -%}",
            "{# {% generation %} #}",
            "{{ '{% generation %}' }}",
            "{{ \"a % b }}\" }}",
            "{% set generation = 1 %}",
            "{% if generation %}x{% endif %}",
            "{ % generation % }",
            "{{ {'a': {'b': 1}} }}",
            "{% generation",
        ] {
            assert_eq!(translate(source), source);
        }
    }

    #[test]
    fn percent_finds_its_operands() {
        let found = |text: &str| {
            find_percent(text, 0).map(|(_, left, right)| {
                (text[left].trim().to_owned(), text[right].trim().to_owned())
            })
        };
        let pair = |left: &str, right: &str| Some((left.to_owned(), right.to_owned()));
        assert_eq!(found("'%s' % x"), pair("'%s'", "x"));
        assert_eq!(found("'%s %d' % (x, y % 2) + z"), pair("'%s %d'", "(x, y % 2)"));
        assert_eq!(found("a + b.c[0] % d.e('x')|upper == 1"), pair("b.c[0]", "d.e('x')|upper"));
        assert_eq!(found("if i * 2 % 3 and b"), pair("i * 2", "3"));
        assert_eq!(found("x = f(a, -b % 2)"), pair("-b", "2"));
        assert_eq!(found("a % -2 * 3"), pair("a", "-2"));
        assert_eq!(found("'100 %'"), None);
    }
}
