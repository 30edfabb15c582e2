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
use super::quantity::lone_dollar;
use super::rational::Rational;
use super::scan::{Cursor, Parse, Stop};
use super::unicode::to_ascii;
use super::value::{Value, factorial};
use super::words::{self, is_operator, is_text_command, is_unread_sign};

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
    let dollar = lone_dollar(text);
    let text = dollar.as_deref().unwrap_or(text);
    let mut cursor = Cursor::new(text);
    let parsed = cursor.whole_answer().and_then(|value| {
        cursor.skip_space();
        let complete = cursor.at == text.len() && value.is_well_formed();
        if complete { Ok(value) } else { Err(Stop::Syntax) }
    });
    match parsed {
        Ok(value) => (value.spread(), cursor.steps),
        Err(_) => (words::unread(text), cursor.steps),
    }
}

/// Takes off mathematics delimiters, emphasis and the punctuation that ends a sentence.
fn unwrap(answer: &str) -> &str {
    const DELIMITERS: [(&str, &str); 6] =
        [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`")];
    let mut text = answer.trim();
    loop {
        let before = text;
        for (open, close) in DELIMITERS {
            let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
            if let Some(inner) = inner {
                text = inner.trim();
            }
        }
        // An ellipsis continues; `0.3...` is not 0.3.
        if text.ends_with("..") {
            return text;
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
    /// Parses a list, or a fraction written `1 \over 2` without braces.
    fn whole_answer(&mut self) -> Parse<Value> {
        let value = self.list()?;
        self.over(value)
    }

    /// Finishes `a \over b` or `n \choose k` where `above` is read.
    pub(crate) fn over(&mut self, above: Value) -> Parse<Value> {
        self.skip_space();
        if !self.ours {
            return Ok(above);
        }
        if self.eat_command("over") {
            let below = self.list()?;
            return Ok(above.over(below));
        }
        if self.eat_command("choose") {
            let below = self.list()?;
            return Ok(super::atoms::binomial(above, below));
        }
        Ok(above)
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

    /// Returns the signs before a term, folded into one.
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
            if self.eat("*") || self.eat_command("cdot") || self.eat_command("times") {
                product = product.times(self.signed_factor()?);
            } else if self.eat("/") || self.eat_command("div") {
                self.nest()?;
                let divisor = self.signed_factor()?;
                product = if self.ours { product.slash(divisor) } else { product.over(divisor) };
            } else if self.ours && literal && self.eat_letter_times() {
                product = product.times(self.signed_factor()?);
            } else if let Some(with_unit) = self.unit_after(&mut product)? {
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
                let (part, sign) = match next {
                    Value::Percent(of) if self.ours => (*of, Some(true)),
                    Value::Degree(of) if self.ours => (*of, Some(false)),
                    next => (next, None),
                };
                let signed = |value| match sign {
                    None => value,
                    Some(true) => Value::Percent(Box::new(value)),
                    Some(false) => Value::Degree(Box::new(value)),
                };
                product = match (whole.take(), &part) {
                    (Some(whole), Value::Rational(part)) if fraction && is_proper(part) => {
                        signed(Value::Rational(whole.add(part).ok_or(Stop::Bound)?))
                    }
                    _ => product.followed_by(signed(part)),
                };
            } else if self.ours && literal && (self.eat("\\%") || self.eat("%")) {
                product = Value::Percent(Box::new(product));
                self.nest()?;
            } else {
                return Ok(product);
            }
            literal = false;
            whole = None;
        }
    }

    /// Eats the x of `2.5 x 10^3`, which is a sign there.
    fn eat_letter_times(&mut self) -> bool {
        let power = self.word() == "x"
            && self.rest()[1..]
                .trim_start()
                .strip_prefix("10")
                .is_some_and(|rest| rest.trim_start().starts_with('^') || rest.starts_with("**"));
        power && self.eat("x")
    }

    fn signed_factor(&mut self) -> Parse<Value> {
        self.skip_space();
        if self.eat("-") { Ok(self.factor()?.negate()) } else { self.factor() }
    }

    /// Parses the rest of `1 4/5` after its whole number.
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

    /// Returns whether a factor can follow here without an operator.
    fn starts_factor(&self) -> bool {
        match self.byte() {
            b'(' if self.ours && self.rest()[1..].trim_start().starts_with("mod") => false,
            b'(' if self.ours && self.rest()[1..].trim_start().starts_with("\\text{mod") => false,
            b'(' if self.ours && self.rest()[1..].trim_start().starts_with("\\bmod") => false,
            b'(' | b'{' => true,
            byte if byte.is_ascii_alphabetic() => {
                let word = self.word();
                let member = word == "in"
                    && matches!(self.rest().trim_start().as_bytes().get(2), Some(b' ' | b'['));
                !(matches!(word, "and" | "or" | "U") || (self.ours && (word == "mod" || member)))
            }
            b'\\' if self.byte_after(1) == b'{' || self.byte_after(1) == b'$' => false,
            b'\\' => {
                let name = self.command();
                let sign = self.ours && is_unread_sign(name);
                !name.is_empty() && !is_operator(name) && !is_text_command(name) && !sign
            }
            _ => false,
        }
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
                if self.ours && self.byte() == b'!' {
                    return Err(Stop::Syntax);
                }
                value = factorial(value);
            } else if self.eat("\\%") || self.eat("%") {
                value = Value::Percent(Box::new(value));
            } else if self.command() == "circ" && self.ours && matches!(value, Value::Symbol(_)) {
                // The composition of functions.
                return Err(Stop::Syntax);
            } else if self.eat_command("circ") || self.eat_command("degree") {
                value = Value::Degree(Box::new(value));
            } else if let Some(unit) = self.currency_after(&value) {
                value = Value::Quantity(Box::new(value), unit);
            } else {
                return Ok(value);
            }
            value = self.temperature(value);
            self.nest()?;
        }
    }

    /// Returns whether the superscript at the cursor is the ending of an ordinal: `5^{\text{th}}`.
    fn ordinal_ending(&mut self, braced: bool) -> bool {
        let ending = |word: &str| matches!(word, "th" | "st" | "nd" | "rd");
        if !is_text_command(self.command()) {
            return braced && ending(self.word());
        }
        !self.ours || matches!(self.upright(), Ok(Some(words)) if ending(words.trim()))
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
        let ordinal = self.ordinal_ending(braced);
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

fn whole_number(value: &Value) -> Option<Rational> {
    match value {
        Value::Rational(number) if number.is_integer() => Some(number.clone()),
        _ => None,
    }
}

/// Returns whether a fraction lies strictly between 0 and 1.
fn is_proper(part: &Rational) -> bool {
    let value = part.to_f64();
    value > 0.0 && value < 1.0
}
