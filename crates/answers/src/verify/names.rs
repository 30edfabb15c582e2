//! Names on the left of an equals sign that are no single symbol: `f(x)`, `P(A \cap B)`, `Area`.
//!
//! They are read as one symbol, whatever stands inside, so that `f(x) = 2x+3` states 2x+3.
//! A left side that could be an expression to be solved is left to the grammar.

use super::relations::description;
use super::scan::{Cursor, balanced_group};
use super::value::{Value, hash_name};
use super::words::is_function_word;
use super::{vocabulary, words};

/// Longer left sides are no names.
const MAX_NAME: usize = 80;

/// Marks that make a left side an expression or a relation of its own.
const OPERATORS: [char; 8] = ['+', '*', '/', '<', '>', '|', '!', ':'];

impl Cursor<'_> {
    /// Reads a name before an equals sign; the cursor stays where there is none.
    pub(crate) fn assigned_name(&mut self) -> Option<Value> {
        if !self.ours {
            return None;
        }
        let text = self.rest();
        let end = left_side(text)?;
        let left = text[..end].trim();
        let written = words::squeeze(left);
        let name = if is_application(left) {
            hash_name(&written).rotate_left(21)
        } else if is_words(left) || is_prose_name(left) || is_operator_name(left) {
            description(&written)
        } else {
            return None;
        };
        self.at += end;
        Some(Value::Symbol(name))
    }
}

/// Returns the length of the text before the first equals sign outside of brackets, if it may be a
/// name.
fn left_side(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut escaped) = (0_i32, false);
    for (at, byte) in bytes.iter().enumerate().take(MAX_NAME) {
        if std::mem::take(&mut escaped) && !byte.is_ascii_alphabetic() {
            continue;
        }
        escaped = *byte == b'\\';
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b'=' if depth == 0 => {
                let doubled = at > 0 && matches!(bytes[at - 1], b'<' | b'>' | b'!' | b':' | b'=');
                return (!doubled && bytes.get(at + 1) != Some(&b'>')).then_some(at);
            }
            b'\\' if depth == 0 && text[at..].starts_with("\\approx") => return Some(at),
            b',' | b';' | b'&' | b'\n' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// `Area`, `Total cost`: words of which one is no product of symbols.
fn is_words(left: &str) -> bool {
    let plain = left.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b' ');
    let mut words = left.split(' ').filter(|word| !word.is_empty());
    plain
        && left.split(' ').any(|word| word.len() >= 4)
        && words.all(|word| {
            !is_function_word(word) && !vocabulary::is_remark(&word.to_ascii_lowercase())
        })
}

/// `\text{Area of } ABC`: prose that negates and compares nothing.
fn is_prose_name(left: &str) -> bool {
    let upright = ["\\text{", "\\mathrm{", "\\textbf{", "\\mbox{", "\\textit{"];
    let Some(open) = upright.into_iter().find(|command| left.starts_with(command)) else {
        return false;
    };
    let Some(contents) = balanced_group(&left[open.len() - 1..]) else { return false };
    let rest = &left[open.len() + contents.len() + 1..];
    let allowed = |word: &str| {
        let lower = word.to_ascii_lowercase();
        !vocabulary::is_remark(&lower)
            || matches!(lower.as_str(), "maximum" | "minimum" | "max" | "the" | "min")
    };
    let prose = contents.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    contents.bytes().filter(u8::is_ascii_alphabetic).count() > 1
        && prose.into_iter().all(allowed)
        && !rest.contains("\\text")
        && !rest.contains(OPERATORS)
        && !rest.contains('-')
}

/// `f(x)`, `f'(2)`, `f^{-1}(x)`, `P(X > 2)`, `a_n(t)`.
fn is_application(left: &str) -> bool {
    let Some(function) = left.bytes().next().filter(u8::is_ascii_alphabetic) else { return false };
    let mut rest = &left[1..];
    loop {
        rest = rest.trim_start();
        let next = rest
            .strip_prefix('\'')
            .or_else(|| rest.strip_prefix("^{-1}"))
            .or_else(|| rest.strip_prefix("\\left"));
        match next {
            Some(next) => rest = next,
            None if rest.starts_with('_') => match subscript(&rest[1..]) {
                Some(length) => rest = &rest[1 + length..],
                None => return false,
            },
            None => break,
        }
    }
    let Some(inside) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
        return false;
    };
    let arguments = inside.strip_suffix("\\right").unwrap_or(inside);
    let plain = |argument: &str| {
        let argument = argument.trim().trim_start_matches('-');
        let number = argument.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let symbol = argument.len() == 1 && argument.bytes().all(|b| b.is_ascii_alphabetic());
        let itself = argument.bytes().next() == Some(function);
        !argument.is_empty() && (((number || symbol) && !itself) || is_application(argument))
    };
    let closed_once = balanced(inside);
    (arguments.split(',').all(plain) || function == b'P') && closed_once
}

/// `\angle ABC`, `\operatorname{Var}(X)`, `\mathbb{E}[X]`.
fn is_operator_name(left: &str) -> bool {
    const COMPUTED: [&str; 10] = [
        "\\int", "\\iint", "\\sum", "\\prod", "\\lim", "\\det", "\\gcd", "\\max", "\\min", "\\dim",
    ];
    let relations = ["<", ">", "\\le", "\\ge", "\\ne", "\\in ", "\\text", "|"];
    if COMPUTED.iter().any(|command| left.starts_with(command)) {
        return !relations
            .iter()
            .any(|sign| left.match_indices(sign).any(|(at, _)| !left[at..].starts_with("\\left")));
    }
    let composed = left.starts_with('(') && left.contains("\\circ ") && left.ends_with(')');
    let derivative = left.starts_with("\\frac{d") && left.contains("}{d") && left.len() <= 16;
    if composed || derivative {
        return !left.contains(OPERATORS) && !left.contains(['-', '^']);
    }
    let commands = ["\\operatorname{", "\\mathbb{E}", "\\mathbb{P}", "\\angle ", "\\triangle "];
    let measure = left.strip_prefix("m").map_or(left, str::trim_start);
    let named = commands.iter().any(|command| measure.starts_with(command));
    named && !left.contains(OPERATORS) && !left.contains('-') && !left.contains('^')
}

fn subscript(text: &str) -> Option<usize> {
    match text.bytes().next()? {
        b'{' => balanced_group(text).map(|inside| inside.len() + 2),
        byte if byte.is_ascii_alphanumeric() => Some(1),
        _ => None,
    }
}

/// Returns whether the brackets inside close before the text ends, never below their start.
fn balanced(inside: &str) -> bool {
    let mut depth = 0_i32;
    let never_below = inside.bytes().all(|byte| {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        depth >= 0
    });
    never_below && depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_name(left: &str) -> bool {
        is_words(left) || is_prose_name(left) || is_application(left) || is_operator_name(left)
    }

    #[test]
    fn applied_names_and_words_are_names_and_expressions_are_not() {
        for name in ["g(t)", "h'(3)", "g^{-1}(y)", r"P(A \cap B)", "Total area", r"\text{Sum of }S"]
        {
            assert!(is_name(name), "{name}");
        }
        for other in ["x(x)", "x(y+1)", "2x", "f(x)g(x)", "sin x", r"\text{if } x", "f(x)+1", "xy"]
        {
            assert!(!is_name(other), "{other}");
        }
    }
}
