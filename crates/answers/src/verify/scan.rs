//! A cursor over the answer: spaces, commands, groups and the step count.

use super::limits::{MAX_DEPTH, MAX_NESTING, MAX_STEPS};

/// The reason why parsing ended early. The answer then stays as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Not in the grammar.
    Syntax,
    /// Past a bound of [`super::limits`].
    Bound,
}

pub(crate) type Parse<T> = Result<T, Stop>;

/// Commands that only set type or spacing.
const INVISIBLE: &[&str] = &[
    "left",
    "right",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "bigg",
    "biggl",
    "biggr",
    "Bigg",
    "middle",
    "quad",
    "qquad",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "thinspace",
    "enspace",
    "hfill",
    "nobreak",
    "strut",
    "mathstrut",
    "boldmath",
];

/// Sizes, faces and other commands that the published graders read as symbols.
const TYPESETTING: &[&str] = &[
    "tiny",
    "scriptsize",
    "footnotesize",
    "small",
    "normalsize",
    "large",
    "Large",
    "LARGE",
    "huge",
    "Huge",
    "bf",
    "it",
    "sf",
    "tt",
    "cal",
    "normalfont",
    "bfseries",
    "itshape",
    "upshape",
    "scriptscriptstyle",
    "nolimits",
    "Biggl",
    "Biggr",
    "biggm",
    "bigm",
    "Bigm",
    "Biggm",
    "mathop",
    "mathrel",
    "mathbin",
    "mathord",
    "mathnormal",
    "medspace",
    "thickspace",
    "negthinspace",
    "nonumber",
    "notag",
    "hfil",
    "centering",
    "noindent",
    "par",
    "therefore",
    "unboldmath",
    "space",
];

/// Commands that are skipped with their argument.
const SKIPPED: &[&str] = &[
    "color",
    "textcolor",
    "colorbox",
    "hspace",
    "vspace",
    "phantom",
    "hphantom",
    "vphantom",
    "label",
    "tag",
    "mspace",
    "rule",
];

/// Position in the answer with the budgets spent so far.
pub(crate) struct Cursor<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
    pub(crate) steps: u32,
    pub(crate) depth: u32,
    /// Operators so far that nest the value without a bracket.
    pub(crate) nesting: u32,
    /// Open brackets around the cursor; inside them a comma always separates.
    pub(crate) brackets: u32,
    /// True if `1\frac{4}{5}` is a mixed number rather than a product.
    pub(crate) mixed: bool,
    /// True if the grammar is that of `verify`; the published graders read less.
    pub(crate) ours: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, steps: 0, depth: 0, nesting: 0, brackets: 0, mixed: true, ours: true }
    }

    pub(crate) fn step(&mut self) -> Parse<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(Stop::Bound) } else { Ok(()) }
    }

    /// Counts an operator that nests the value.
    pub(crate) fn nest(&mut self) -> Parse<()> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING { Err(Stop::Bound) } else { Ok(()) }
    }

    /// Runs `parse` one level deeper.
    pub(crate) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        self.step()?;
        if self.depth == MAX_DEPTH {
            return Err(Stop::Bound);
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn byte(&self) -> u8 {
        self.byte_after(0)
    }

    /// Returns the byte `offset` ahead, NUL past the end.
    pub(crate) fn byte_after(&self, offset: usize) -> u8 {
        self.text.as_bytes().get(self.at + offset).copied().unwrap_or(0)
    }

    pub(crate) fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    pub(crate) fn expect(&mut self, prefix: &str) -> Parse<()> {
        self.skip_space();
        if self.eat(prefix) { Ok(()) } else { Err(Stop::Syntax) }
    }

    /// Returns the name of the command at the cursor (`frac` at `\frac`), empty if there is none.
    pub(crate) fn command(&self) -> &'a str {
        if self.byte() != b'\\' {
            return "";
        }
        letters(self.text.get(self.at + 1..).unwrap_or_default())
    }

    pub(crate) fn eat_command(&mut self, name: &str) -> bool {
        let found = self.command() == name;
        if found {
            self.at += name.len() + 1;
        }
        found
    }

    /// Returns the run of letters at the cursor.
    pub(crate) fn word(&self) -> &'a str {
        letters(self.rest())
    }

    /// Skips white space, spacing commands and mathematics delimiters; reports whether any.
    pub(crate) fn skip_space(&mut self) -> bool {
        let start = self.at;
        loop {
            match self.byte() {
                b' ' | b'\t' | b'\n' | b'\r' | b'~' | b'$' => self.at += 1,
                b'{' if self.byte_after(1) == b'}' => self.at += 2,
                b'\\' => match self.byte_after(1) {
                    b',' | b'!' | b';' | b':' | b'>' | b' ' | b'\n' | b'(' | b')' | b'/' => {
                        self.at += 2;
                    }
                    next if next.is_ascii_alphabetic() => {
                        let command = self.command();
                        if INVISIBLE.contains(&command)
                            || (self.ours && self.is_typesetting(command))
                        {
                            self.at += 1 + command.len();
                            self.skip_missing_delimiter(command);
                        } else if !(self.ours && self.skip_with_argument(command)) {
                            break;
                        }
                    }
                    _ => break,
                },
                _ => break,
            }
        }
        self.at > start
    }

    fn is_typesetting(&self, command: &str) -> bool {
        let declared = command == "rm" && self.byte_after(3) == b' ';
        declared || TYPESETTING.contains(&command)
    }

    /// Skips the point of `\left.` and `\right.`, which sets no delimiter.
    fn skip_missing_delimiter(&mut self, command: &str) {
        if self.ours && matches!(command, "left" | "right") {
            let number = self.byte_after(1).is_ascii_digit();
            if self.byte() == b'.' && !(command == "left" && number) {
                self.at += 1;
            }
        }
    }

    /// Skips `\color{red}`, `\hspace{1em}` and their like; reports whether it did.
    fn skip_with_argument(&mut self, command: &str) -> bool {
        if !SKIPPED.contains(&command) {
            return false;
        }
        let start = self.at;
        self.at += 1 + command.len();
        self.eat("*");
        while self.eat(" ") {}
        if self.byte() == b'['
            && let Some(length) = self.rest().find(']')
        {
            self.at += length + 1;
        }
        match balanced_group(self.rest()) {
            Some(group) => {
                self.at += group.len() + 2;
                true
            }
            None => {
                self.at = start;
                false
            }
        }
    }

    /// Parses the raw text of the braced group at the cursor, braces balanced.
    pub(crate) fn raw_group(&mut self) -> Parse<&'a str> {
        self.skip_space();
        let inner = balanced_group(self.rest()).ok_or(Stop::Syntax)?;
        self.at += inner.len() + 2;
        Ok(inner)
    }
}

/// Returns the text between the brace that opens `text` and the one that closes it.
pub(crate) fn balanced_group(text: &str) -> Option<&str> {
    let mut open = 0_u32;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => open += 1,
            b'}' => {
                open = open.checked_sub(1)?;
                if open == 0 {
                    return text.get(1..at);
                }
            }
            _ => {}
        }
        if open == 0 {
            return None;
        }
    }
    None
}

fn letters(text: &str) -> &str {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    &text[..end]
}
