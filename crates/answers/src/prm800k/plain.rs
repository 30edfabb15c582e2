//! LaTeX to text: the part of pylatexenc's `latex2text` that mathematical answers meet.
//!
//! Kept as it behaves: numerators are not bracketed, `\sqrt[n]{x}` loses its index, commands
//! without a text (`\cot`, `\mbox` with its argument) vanish.

/// Groups deeper than this are dropped.
const MAX_DEPTH: usize = 48;

/// Commands with a text of their own.
const TEXTS: [(&str, &str); 48] = [
    ("pi", "π"),
    ("infty", "∞"),
    ("cup", "∪"),
    ("cap", "∩"),
    ("cdot", "·"),
    ("times", "×"),
    ("div", "÷"),
    ("pm", "±"),
    ("mp", "∓"),
    ("le", "≤"),
    ("leq", "≤"),
    ("ge", "≥"),
    ("geq", "≥"),
    ("ne", "≠"),
    ("neq", "≠"),
    ("in", "∈"),
    ("to", "→"),
    ("circ", "∘"),
    ("angle", "∠"),
    ("ldots", "…"),
    ("cdots", "⋯"),
    ("quad", "  "),
    ("qquad", "    "),
    ("alpha", "α"),
    ("beta", "β"),
    ("gamma", "γ"),
    ("delta", "δ"),
    ("theta", "θ"),
    ("lambda", "λ"),
    ("mu", "μ"),
    ("phi", "ϕ"),
    ("sigma", "σ"),
    ("omega", "ω"),
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("log", "log"),
    ("ln", "ln"),
    ("exp", "exp"),
    ("arcsin", "arcsin"),
    ("arccos", "arccos"),
    ("arctan", "arctan"),
    ("min", "min"),
    ("max", "max"),
    ("lfloor", "⌊"),
    ("rfloor", "⌋"),
    ("langle", "⟨"),
    ("rangle", "⟩"),
];

/// Returns the text of a piece of LaTeX.
pub(super) fn to_text(latex: &str) -> String {
    let mut reader = Reader { rest: latex, depth: 0 };
    let mut text = String::with_capacity(latex.len());
    while !reader.rest.is_empty() {
        text.push_str(&reader.run());
        // An unmatched closing brace stops the run; it has no text.
        reader.bump();
    }
    text
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn bump(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    /// Returns the text up to the end or an unmatched closing brace.
    fn run(&mut self) -> String {
        let mut text = String::new();
        while let Some(next) = self.rest.chars().next() {
            match next {
                '}' => break,
                '{' => text.push_str(&self.group()),
                '\\' => text.push_str(&self.command()),
                '~' => {
                    self.bump();
                    text.push('\u{a0}');
                }
                '$' => {
                    self.bump();
                }
                other => {
                    self.bump();
                    text.push(other);
                }
            }
        }
        text
    }

    fn group(&mut self) -> String {
        self.bump();
        if self.depth == MAX_DEPTH {
            self.rest = "";
            return String::new();
        }
        self.depth += 1;
        let text = self.run();
        self.depth -= 1;
        self.bump();
        text
    }

    /// Reads an argument: a group, a command or a character.
    fn argument(&mut self) -> String {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some('{') => self.group(),
            Some('\\') if self.depth < MAX_DEPTH => {
                self.depth += 1;
                let text = self.command();
                self.depth -= 1;
                text
            }
            Some('}') | None => String::new(),
            Some(_) => self.bump().map(String::from).unwrap_or_default(),
        }
    }

    fn command(&mut self) -> String {
        self.bump();
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let name: &'a str = &self.rest[..end];
        if name.is_empty() {
            return match self.bump() {
                Some('!') | None => String::new(),
                Some('\\') => "\n".to_owned(),
                Some(',' | ';' | ':' | ' ') => " ".to_owned(),
                Some(other) => other.to_string(),
            };
        }
        self.rest = self.rest[end..].trim_start_matches(' ');
        match name {
            "frac" => {
                let top = self.argument();
                format!("{top}/{}", self.argument())
            }
            "sqrt" => {
                if self.rest.starts_with('[') {
                    let close = self.rest.find(']').map_or(self.rest.len(), |at| at + 1);
                    self.rest = &self.rest[close..];
                }
                format!("√({})", self.argument())
            }
            "mbox" | "hbox" => {
                self.argument();
                String::new()
            }
            "begin" => self.environment(),
            "end" => {
                self.argument();
                String::new()
            }
            _ => TEXTS
                .iter()
                .find(|(command, _)| *command == name)
                .map_or(String::new(), |(_, text)| (*text).to_owned()),
        }
    }

    /// Returns a matrix as `[ a b; c d ]`; other environments as their contents.
    fn environment(&mut self) -> String {
        let name = self.argument();
        if !name.ends_with("matrix") {
            return String::new();
        }
        let end = format!("\\end{{{name}}}");
        let close = self.rest.find(&end).unwrap_or(self.rest.len());
        let body = &self.rest[..close];
        self.rest = &self.rest[(close + end.len()).min(self.rest.len())..];
        if self.depth == MAX_DEPTH {
            return String::new();
        }
        let mut inner = Reader { rest: body, depth: self.depth + 1 };
        let text = inner.run().replace('\n', ";").replace('&', "");
        format!("[{}]", text.trim_end_matches(';'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_and_roots_lose_the_same_parts_as_in_the_original() {
        assert_eq!(to_text(r" \frac43"), " 4/3");
        assert_eq!(to_text(r"\frac{11+9a}{20}"), "11+9a/20");
        assert_eq!(to_text(r"11\sqrt 2"), "11√(2)");
        assert_eq!(to_text(r"\sqrt[3]{2}"), "√(2)");
        assert_eq!(to_text(r"\cot x"), "x");
        assert_eq!(to_text(r"\left( 3, \frac{\pi}{2} \right)"), "( 3, π/2 )");
        assert_eq!(to_text(r"15\mbox{ cm}^2"), "15^2");
        assert_eq!(to_text(r"a\,b\!c~d"), "a bc\u{a0}d");
    }

    #[test]
    fn broken_latex_still_ends() {
        assert_eq!(to_text(r"\frac{1}{"), "1/");
        assert_eq!(to_text("}}a"), "a");
        assert!(to_text(&"{".repeat(10_000)).is_empty());
    }
}
