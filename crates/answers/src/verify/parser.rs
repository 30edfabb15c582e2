//! From an answer's text to its [`Value`]: lists, relations, unions, sums and products.
//!
//! ```text
//! list     := relation ((',' | ';' | 'and' | 'or') relation)*
//! relation := union (('=' | '<' | '\le' | '\in' | ...) union)*
//! union    := sum ('\cup' sum)*
//! sum      := sign? term (('+' | '-' | '\pm' | '\mp') term)*
//! term     := factor (('*' | '\cdot' | '/' | nothing) factor)* unit?
//! factor   := atom ('^' script | '!' | '%' | degree)*
//! ```
//!
//! Conventions where notation is ambiguous: a whole number before a proper fraction is a mixed
//! number; `1/2x` is (1/2)x; `x^10` has the exponent 10 although TeX would raise the 1 only; a
//! comma before exactly three digits outside brackets groups thousands.

use super::limits::MAX_BYTES;
use super::rational::Rational;
use super::scan::{Cursor, Parse, Stop, to_ascii};
use super::unit;
use super::value::{RelationOp, Value};
use super::words;

/// Parses an answer and says how many steps that took.
pub(crate) fn parse(answer: &str) -> (Value, u32) {
    let answer = answer.trim();
    if answer.is_empty() {
        return (Value::Blank, 0);
    }
    if answer.len() > MAX_BYTES {
        return (Value::Opaque(answer.to_owned()), 0);
    }
    let ascii = to_ascii(answer);
    let text = unwrap(&ascii);
    if text.is_empty() {
        return (Value::Opaque(words::squeeze(answer)), 0);
    }
    if let Some(value) = words::bare_words(text) {
        return (value, 0);
    }
    let mut cursor = Cursor::new(text);
    let parsed = cursor.list().and_then(|value| {
        cursor.skip_space();
        let complete = cursor.at == text.len() && value.is_well_formed();
        if complete { Ok(value) } else { Err(Stop::Syntax) }
    });
    match parsed {
        Ok(value) => (value.spread(), cursor.steps),
        Err(_) => (Value::Opaque(words::squeeze(text)), cursor.steps),
    }
}

/// Takes off mathematics delimiters and the punctuation that ends a sentence.
fn unwrap(answer: &str) -> &str {
    let mut text = answer.trim();
    loop {
        let before = text;
        for (open, close) in [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")] {
            let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
            if let Some(inner) = inner {
                text = inner.trim();
            }
        }
        text = text.trim_end_matches(['.', ',', ';', ' ']);
        if text.ends_with('\\') {
            text = &text[..text.len() - 1];
        }
        text = text.trim();
        if text == before {
            return text;
        }
    }
}

impl Cursor<'_> {
    pub(crate) fn list(&mut self) -> Parse<Value> {
        let first = self.relation()?;
        let mut items = vec![first];
        while self.separator()? {
            if self.at_closer() {
                break;
            }
            items.push(self.relation()?);
        }
        Ok(match items.len() {
            1 => items.swap_remove(0),
            _ => Value::List(items),
        })
    }

    fn at_closer(&mut self) -> bool {
        self.skip_space();
        matches!(self.byte(), 0 | b')' | b']' | b'}') || self.rest().starts_with("\\}")
    }

    /// Eats `,`, `;`, `and` and `or`, alone or after one another.
    pub(crate) fn separator(&mut self) -> Parse<bool> {
        self.skip_space();
        let mut found = false;
        while self.eat(",") || self.eat(";") {
            self.step()?;
            self.skip_space();
            found = true;
        }
        Ok(self.conjunction() || found)
    }

    fn conjunction(&mut self) -> bool {
        let start = self.at;
        let length = if matches!(self.word(), "and" | "or") {
            self.word().len()
        } else if is_text_command(self.command()) {
            self.at += 1 + self.command().len();
            let contents = self.raw_group().map(str::trim);
            let end = self.at;
            self.at = start;
            match contents {
                Ok("and" | "or" | ", and" | ", or" | ",") => end - start,
                _ => 0,
            }
        } else if matches!(self.command(), "lor" | "land" | "vee") {
            self.command().len() + 1
        } else {
            0
        };
        self.at = start + length;
        length > 0
    }

    pub(crate) fn relation(&mut self) -> Parse<Value> {
        self.step()?;
        let first = self.union()?;
        let mut rest = Vec::new();
        while let Some(op) = self.relation_op() {
            self.step()?;
            rest.push((op, self.union()?));
        }
        Ok(if rest.is_empty() { first } else { Value::Relation(Box::new(first), rest) })
    }

    fn relation_op(&mut self) -> Option<RelationOp> {
        self.skip_space();
        let marks = [
            ("<=", RelationOp::LessEqual),
            (">=", RelationOp::GreaterEqual),
            ("!=", RelationOp::NotEqual),
            ("=", RelationOp::Equal),
            ("<", RelationOp::Less),
            (">", RelationOp::Greater),
        ];
        if let Some((_, op)) = marks.into_iter().find(|(mark, _)| self.eat(mark)) {
            return Some(op);
        }
        let op = match self.command() {
            "le" | "leq" | "leqslant" | "leqq" => RelationOp::LessEqual,
            "ge" | "geq" | "geqslant" | "geqq" => RelationOp::GreaterEqual,
            "lt" => RelationOp::Less,
            "gt" => RelationOp::Greater,
            "ne" | "neq" => RelationOp::NotEqual,
            "in" => RelationOp::Member,
            "approx" | "equiv" | "simeq" => RelationOp::Equal,
            _ => return None,
        };
        self.at += 1 + self.command().len();
        Some(op)
    }

    fn union(&mut self) -> Parse<Value> {
        let first = self.sum()?;
        let mut parts = vec![first];
        loop {
            self.skip_space();
            let shaped = matches!(parts.last(), Some(Value::Tuple { .. } | Value::Set(_)));
            if !(self.eat_command("cup") || (shaped && self.word() == "U" && self.eat("U"))) {
                break;
            }
            self.step()?;
            parts.push(self.sum()?);
        }
        Ok(match parts.len() {
            1 => parts.swap_remove(0),
            _ => Value::Union(parts),
        })
    }

    pub(crate) fn sum(&mut self) -> Parse<Value> {
        let mut total: Option<Value> = None;
        loop {
            let sign = self.sign();
            if sign == Sign::None && total.is_some() {
                break;
            }
            let term = self.term()?;
            let signed = match sign {
                Sign::None | Sign::Plus => term,
                Sign::Minus => term.negate(),
                Sign::PlusMinus { flipped } => {
                    Value::PlusMinus { flipped, operand: Box::new(term) }
                }
            };
            total = Some(match total {
                None => signed,
                Some(sum) => sum.plus(signed),
            });
        }
        total.ok_or(Stop::Syntax)
    }

    /// The signs before a term, folded into one.
    fn sign(&mut self) -> Sign {
        let mut sign = Sign::None;
        loop {
            self.skip_space();
            sign = if self.eat("+/-") || self.eat_command("pm") {
                return Sign::PlusMinus { flipped: sign == Sign::Minus };
            } else if self.eat_command("mp") {
                return Sign::PlusMinus { flipped: sign != Sign::Minus };
            } else if self.eat("+") {
                if sign == Sign::None { Sign::Plus } else { sign }
            } else if self.eat("-") {
                if sign == Sign::Minus { Sign::Plus } else { Sign::Minus }
            } else {
                return sign;
            };
        }
    }

    fn term(&mut self) -> Parse<Value> {
        self.step()?;
        let mut literal = self.at_digit();
        let mut product = self.factor()?;
        let mut whole = literal.then(|| whole_number(&product)).flatten();
        loop {
            self.skip_space();
            self.step()?;
            let spaced = self.text.as_bytes()[..self.at].ends_with(b" ");
            if self.eat("*") || self.eat_command("cdot") || self.eat_command("times") {
                product = product.times(self.signed_factor()?);
            } else if self.eat("/") || self.eat_command("div") {
                self.nest()?;
                product = product.over(self.signed_factor()?);
            } else if let Some(with_unit) = self.unit_after(&mut product, spaced)? {
                self.nest()?;
                product = with_unit;
            } else if self.at_digit() {
                if !literal {
                    product = product.times(self.factor()?);
                } else {
                    let whole = whole.take().ok_or(Stop::Syntax)?;
                    product = Value::Rational(self.plain_mixed(&whole)?);
                }
                literal = true;
                continue;
            } else if self.starts_factor() {
                let fraction = self.mixed && matches!(self.command(), "frac" | "tfrac" | "dfrac");
                let next = self.factor()?;
                product = match (whole.take(), &next) {
                    (Some(whole), Value::Rational(part)) if fraction && is_proper(part) => {
                        Value::Rational(whole.add(part).ok_or(Stop::Bound)?)
                    }
                    _ => product.times(next),
                };
            } else {
                return Ok(product);
            }
            literal = false;
            whole = None;
        }
    }

    fn signed_factor(&mut self) -> Parse<Value> {
        self.skip_space();
        if self.eat("-") { Ok(self.factor()?.negate()) } else { self.factor() }
    }

    /// The rest of `1 4/5` after its whole number.
    fn plain_mixed(&mut self, whole: &Rational) -> Parse<Rational> {
        let numerator = self.number()?;
        self.expect("/")?;
        self.skip_space();
        let denominator = self.number()?;
        match (numerator, denominator) {
            (Value::Rational(top), Value::Rational(bottom)) => {
                let part = top.div(&bottom).ok_or(Stop::Syntax)?;
                if is_proper(&part) {
                    whole.add(&part).ok_or(Stop::Bound)
                } else {
                    Err(Stop::Syntax)
                }
            }
            _ => Err(Stop::Syntax),
        }
    }

    /// Whether a factor can follow here without an operator.
    fn starts_factor(&self) -> bool {
        match self.byte() {
            b'(' | b'{' => true,
            byte if byte.is_ascii_alphabetic() => !matches!(self.word(), "and" | "or" | "U"),
            b'\\' if self.byte_after(1) == b'{' || self.byte_after(1) == b'$' => false,
            b'\\' => {
                let name = self.command();
                !name.is_empty() && !is_operator(name) && !is_text_command(name)
            }
            _ => false,
        }
    }

    /// Reads a unit after `product`, which it takes when there is one.
    fn unit_after(&mut self, product: &mut Value, spaced: bool) -> Parse<Option<Value>> {
        let start = self.at;
        let found = if is_text_command(self.command()) {
            self.at += 1 + self.command().len();
            let contents = self.raw_group()?.trim();
            if matches!(contents, "and" | "or" | ", and" | ", or" | ",") {
                self.at = start;
                return Ok(None);
            }
            match unit::from_words(contents) {
                Some(unit) => unit,
                None => return Ok(Some(std::mem::replace(product, Value::Blank))),
            }
        } else {
            let word = self.word();
            let is_number = matches!(product, Value::Rational(_));
            let unknown = spaced && word.len() >= 4 && is_number && !is_function_word(word);
            if !(unit::is_known(word) && !is_function_word(word) || unknown) {
                return Ok(None);
            }
            let mut words = word.to_owned();
            self.at += word.len();
            while matches!(words.as_str(), "square" | "sq" | "cubic") {
                self.eat(".");
                self.skip_space();
                let next = self.word();
                if next.is_empty() {
                    break;
                }
                words = format!("{words} {next}");
                self.at += next.len();
            }
            unit::from_words(&words).ok_or(Stop::Syntax)?
        };
        self.skip_space();
        let unit = if self.eat("^") {
            match self.script()? {
                Value::Rational(power) => {
                    let power = power.to_i64().and_then(|power| u32::try_from(power).ok());
                    unit::with_power(&found, power.ok_or(Stop::Syntax)?)
                }
                _ => return Err(Stop::Syntax),
            }
        } else {
            found
        };
        let number = std::mem::replace(product, Value::Blank);
        Ok(Some(match unit.0.as_str() {
            "degree" => Value::Degree(Box::new(number)),
            "percent" => Value::Percent(Box::new(number)),
            "th" => number,
            _ => Value::Quantity(Box::new(number), unit),
        }))
    }

    pub(crate) fn factor(&mut self) -> Parse<Value> {
        self.skip_space();
        let mut value = self.atom()?;
        loop {
            self.skip_space();
            self.step()?;
            if self.eat("**") || self.eat("^") {
                value = self.raised(value)?;
            } else if self.byte() == b'!' && self.byte_after(1) != b'=' {
                self.at += 1;
                value = super::atoms::factorial(value);
            } else if self.eat("\\%") || self.eat("%") {
                value = Value::Percent(Box::new(value));
            } else if self.eat_command("circ") || self.eat_command("degree") {
                value = Value::Degree(Box::new(value));
            } else {
                return Ok(value);
            }
            self.nest()?;
        }
    }

    /// Applies the superscript at the cursor.
    fn raised(&mut self, base: Value) -> Parse<Value> {
        self.skip_space();
        let start = self.at;
        let braced = self.eat("{");
        self.skip_space();
        if self.eat_command("circ") || self.eat_command("degree") {
            if braced {
                self.expect("}")?;
            }
            return Ok(Value::Degree(Box::new(base)));
        }
        let ordinal = is_text_command(self.command())
            || (braced && matches!(self.word(), "th" | "st" | "nd" | "rd"));
        self.at = start;
        if ordinal {
            if braced {
                self.raw_group()?;
            } else {
                self.at += 1 + self.command().len();
                self.raw_group()?;
            }
            return Ok(base);
        }
        let exponent = self.nested(|cursor| {
            let exponent = cursor.script()?;
            cursor.skip_space();
            if cursor.eat("^") || cursor.eat("**") { cursor.raised(exponent) } else { Ok(exponent) }
        })?;
        Ok(base.power(exponent))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    Plus,
    Minus,
    PlusMinus { flipped: bool },
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
    super::atoms::function_named(word).is_some()
        || matches!(word, "sqrt" | "log" | "exp" | "pi" | "inf" | "infinity" | "and" | "or")
}

fn whole_number(value: &Value) -> Option<Rational> {
    match value {
        Value::Rational(number) if number.is_integer() => Some(number.clone()),
        _ => None,
    }
}

/// Whether a fraction lies strictly between 0 and 1.
fn is_proper(part: &Rational) -> bool {
    let value = part.to_f64();
    value > 0.0 && value < 1.0
}
