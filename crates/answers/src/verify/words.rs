//! Answers in words, and the one spelling of answers that the grammar does not know.

use super::scan::balanced_group;
use super::value::{Function, Value};

/// Runs of letters that do not make an answer a text.
const MATHEMATICAL: &[&str] = &[
    "and", "or", "pi", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "inf",
    "theta", "alpha", "beta", "gamma", "frac", "infty", "infinity", "arcsin", "arccos", "arctan",
];

/// Reads an answer that consists of words only: `not enough information`, `east`, `no`.
///
/// A run of three letters or more that names no function makes it words; shorter runs are
/// products of symbols, except `no`.
pub(crate) fn bare_words(answer: &str) -> Option<Value> {
    let is_word_byte =
        |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b' ' | b'-' | b'\'' | b'.');
    if !answer.bytes().all(is_word_byte) {
        return None;
    }
    let is_word = |run: &&str| {
        (run.len() >= 3 && !MATHEMATICAL.contains(&run.to_ascii_lowercase().as_str()))
            || run.eq_ignore_ascii_case("no")
    };
    answer
        .split(|c: char| !c.is_ascii_alphabetic())
        .find(is_word)
        .map(|_| Value::Text(fold(answer)))
}

/// Returns the value of the contents of `\text{}` that stand alone.
pub(crate) fn of_text(contents: &str) -> Option<Value> {
    let trimmed = contents.trim();
    let bare = trimmed.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(trimmed);
    let mut characters = bare.chars();
    match (characters.next(), characters.next()) {
        (None, _) => None,
        (Some(letter), None) if letter.is_ascii_alphabetic() => {
            Some(Value::Symbol(u64::from(u32::from(letter))))
        }
        _ => Some(Value::Text(fold(trimmed))),
    }
}

/// Returns an answer that the grammar does not know: words if it is only that, else its writing.
///
/// Text commands say nothing here, so `n \text{ is odd}` is the text `n is odd`.
pub(crate) fn unread(text: &str) -> Value {
    let plain = without_text_commands(text);
    bare_words(&plain).unwrap_or_else(|| Value::Opaque(trimmed(squeeze(&plain))))
}

fn trimmed(mut writing: String) -> String {
    if !writing.ends_with("..") && writing.len() > 1 && writing.ends_with('.') {
        writing.pop();
    }
    writing
}

/// Replaces `\text{..}` and its like by what they hold.
fn without_text_commands(text: &str) -> String {
    const COMMANDS: [&str; 6] =
        ["\\text{", "\\mathrm{", "\\mbox{", "\\textrm{", "\\textbf{", "\\textit{"];
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let command = COMMANDS.into_iter().find(|command| rest.starts_with(command));
        match command
            .and_then(|command| Some((command, balanced_group(&rest[command.len() - 1..])?)))
        {
            Some((command, inside)) => {
                plain.push_str(inside);
                rest = &rest[command.len() + inside.len() + 1..];
            }
            None => {
                let length = rest.chars().take(2).map(char::len_utf8).sum::<usize>();
                plain.push_str(&rest[..length]);
                rest = &rest[length..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// Lower case, single spaces, no full stop at the end.
pub(crate) fn fold(words: &str) -> String {
    let mut folded = String::with_capacity(words.len());
    for word in words.split([' ', '~', '\t', '\n', '\\']).filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.extend(word.chars().flat_map(char::to_lowercase));
    }
    while folded.ends_with(['.', '!']) {
        folded.pop();
    }
    folded
}

/// Returns the writing without spaces and sizing commands: how unparsed answers are compared.
pub(crate) fn squeeze(answer: &str) -> String {
    let mut squeezed = String::with_capacity(answer.len());
    let mut rest = answer;
    while let Some(character) = rest.chars().next() {
        let skip = ["\\left", "\\right", "\\,", "\\!", "\\;", "\\:", "\\ ", "~", "$"]
            .into_iter()
            .find(|mark| rest.starts_with(mark) && !continues_command(rest, mark));
        match skip {
            Some(mark) => rest = &rest[mark.len()..],
            None => {
                if !character.is_whitespace() {
                    squeezed.push(character);
                }
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    squeezed
}

/// Returns whether `mark` is only the beginning of a longer command, as `\left` is in `\leftarrow`.
fn continues_command(text: &str, mark: &str) -> bool {
    mark.len() > 2 && text[mark.len()..].starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Commands that stand between operands or close a group.
pub(crate) fn is_operator(name: &str) -> bool {
    const OPERATORS: [&str; 44] = [
        "cup",
        "cap",
        "setminus",
        "backslash",
        "le",
        "leq",
        "leqslant",
        "leqq",
        "ge",
        "geq",
        "geqslant",
        "geqq",
        "lt",
        "gt",
        "ne",
        "neq",
        "in",
        "approx",
        "equiv",
        "simeq",
        "pm",
        "mp",
        "lor",
        "land",
        "vee",
        "end",
        "rangle",
        "rfloor",
        "rceil",
        "rvert",
        "rbrace",
        "vert",
        "mid",
        "to",
        "rightarrow",
        "Rightarrow",
        "implies",
        "qedhere",
        "cdot",
        "times",
        "div",
        "over",
        "cdots",
        "ldots",
    ];
    OPERATORS.contains(&name)
}

/// Commands whose argument is prose.
pub(crate) fn is_text_command(name: &str) -> bool {
    matches!(
        name,
        "text" | "mbox" | "textrm" | "textbf" | "textit" | "textnormal" | "hbox" | "rm" | "mathrm"
    )
}

/// Functions that may be written without a backslash.
pub(crate) fn is_function_word(word: &str) -> bool {
    function_named(word).is_some()
        || matches!(word, "sqrt" | "log" | "exp" | "pi" | "inf" | "infinity" | "and" | "or")
}

/// Signs of relations and operations that `verify` does not read: no symbols.
pub(crate) fn is_unread_sign(name: &str) -> bool {
    matches!(
        name,
        "not"
            | "notin"
            | "ni"
            | "subset"
            | "subseteq"
            | "supset"
            | "supseteq"
            | "subsetneq"
            | "sim"
            | "nsim"
            | "parallel"
            | "nparallel"
            | "perp"
            | "propto"
            | "mapsto"
            | "longrightarrow"
            | "leftarrow"
            | "gets"
            | "iff"
            | "Leftrightarrow"
            | "leftrightarrow"
            | "Longrightarrow"
            | "pmod"
            | "bmod"
            | "mod"
            | "nmid"
            | "prec"
            | "succ"
            | "ll"
            | "gg"
            | "oplus"
            | "otimes"
            | "wedge"
            | "vdots"
            | "ddots"
            | "colon"
            | "exists"
            | "forall"
            | "neg"
            | "lnot"
            | "because"
            | "atop"
            | "choose"
            | "dots"
            | "dotsc"
            | "dotsb"
            | "circ"
            | "bullet"
            | "cr"
            | "star"
            | "ast"
            | "mathrel"
            | "approx"
            | "approxeq"
            | "thickapprox"
            | "doteq"
            | "cong"
            | "coloneqq"
    )
}

/// Returns the function of this name, with or without a backslash.
pub(crate) fn function_named(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" => Function::Tan,
        "cot" => Function::Cot,
        "sec" => Function::Sec,
        "csc" => Function::Csc,
        "arcsin" | "asin" => Function::ArcSin,
        "arccos" | "acos" => Function::ArcCos,
        "arctan" | "atan" => Function::ArcTan,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "ln" => Function::Ln,
        "abs" => Function::Abs,
        "floor" => Function::Floor,
        "ceil" => Function::Ceiling,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_texts_and_short_runs_are_not() {
        assert_eq!(
            bare_words("Not Enough  Information."),
            Some(Value::Text("not enough information".to_owned()))
        );
        assert_eq!(bare_words("ab"), None);
        assert_eq!(bare_words("sin x"), None);
        assert_eq!(bare_words("x and y"), None);
        assert_eq!(bare_words("No"), Some(Value::Text("no".to_owned())));
    }

    #[test]
    fn a_choice_letter_is_a_symbol_with_or_without_parentheses() {
        assert_eq!(of_text("(C)"), of_text(" C "));
        assert_eq!(of_text("(C)"), Some(Value::Symbol(67)));
    }

    #[test]
    fn squeezing_keeps_arrows_apart_from_sizing() {
        assert_eq!(squeeze(r"\left( a \right)"), "(a)");
        assert_eq!(squeeze(r"\leftarrow a"), r"\leftarrowa");
    }
}
