//! Numerals: grouped thousands, decimals, repeating decimals, program notation, bases.

use super::rational::Rational;
use super::scan::{Cursor, Parse, Stop};
use super::value::Value;

/// Marks over the digits that repeat.
const REPEATING: [&str; 3] = ["overline", "bar", "dot"];

impl<'a> Cursor<'a> {
    pub(crate) fn at_digit(&self) -> bool {
        let byte = self.byte();
        byte.is_ascii_digit()
            || (byte == b'.' && (self.byte_after(1).is_ascii_digit() || self.repeats_after(1)))
    }

    /// Parses a numeral: grouped thousands, decimals, repeating decimals, program notation, a base.
    pub(crate) fn number(&mut self) -> Parse<Value> {
        let mut whole = self.digits().to_owned();
        let ungrouped = whole.len();
        if (1..=3).contains(&whole.len()) && !whole.starts_with('0') {
            while let Some(length) = self.thousands_separator() {
                self.step()?;
                self.at += length;
                whole.push_str(self.digits());
            }
        }
        let (mut fraction, mut period) = ("", String::new());
        if self.byte() == b'.' && (self.byte_after(1).is_ascii_digit() || self.repeats_after(1)) {
            self.at += 1;
            fraction = self.digits();
            period = self.period()?;
        }
        if self.byte() == b'_' {
            self.at += 1;
            let point = if fraction.is_empty() { "" } else { "." };
            let digits = format!("{whole}{point}{fraction}");
            return Ok(Value::BaseN { digits: significant(&digits), base: self.base()? });
        }
        let value = Rational::from_digits(&whole, fraction).ok_or(Stop::Bound)?;
        if period.is_empty() {
            if self.ours && whole.len() == ungrouped {
                return self.scaled_by_exponent(value, &whole, fraction);
            }
            return Ok(Value::Rational(value));
        }
        let length = i64::try_from(period.len()).map_err(|_| Stop::Bound)?;
        let places = i64::try_from(fraction.len()).map_err(|_| Stop::Bound)?;
        let ten = Rational::integer(10);
        let tail = Rational::from_digits(&period, "").and_then(|tail| {
            let nines = ten.pow(length)?.add(&Rational::integer(-1))?;
            value.add(&tail.div(&nines)?.div(&ten.pow(places)?)?)
        });
        tail.map(Value::Rational).ok_or(Stop::Bound)
    }

    /// Returns whether digits that repeat begin at the offset: `\overline{6}`, `\bar 6`, `\dot{6}`, `(6)`.
    fn repeats_after(&self, offset: usize) -> bool {
        let Some(rest) = self.text.get(self.at + offset..) else { return false };
        if !self.ours {
            return rest.starts_with("\\overline{");
        }
        match rest.as_bytes().first() {
            Some(b'(') => {
                let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                digits > 0 && rest.as_bytes().get(digits + 1) == Some(&b')')
            }
            Some(b'\\') => REPEATING.iter().any(|name| {
                let after =
                    rest[1..].strip_prefix(name).unwrap_or_default().trim_start_matches(' ');
                after.starts_with(|c: char| c == '{' || c.is_ascii_digit())
            }),
            _ => false,
        }
    }

    /// Parses the digits that repeat, empty if none do. Between two dots all digits repeat.
    fn period(&mut self) -> Parse<String> {
        let mut period = String::new();
        if self.ours && self.repeats_after(0) && self.byte() == b'(' {
            self.at += 1;
            period.push_str(self.digits());
            self.at += 1;
            return Ok(period);
        }
        let mut between = "";
        while self.byte() == b'\\' && self.repeats_after(0) {
            self.step()?;
            let dotted = self.command() == "dot";
            if !between.is_empty() && !dotted {
                return Err(Stop::Syntax);
            }
            period.push_str(between);
            self.at += 1 + self.command().len();
            while self.eat(" ") {}
            let marked = if self.byte() == b'{' {
                self.raw_group()?.trim()
            } else {
                self.at += 1;
                &self.text[self.at - 1..self.at]
            };
            let digits = marked.bytes().all(|byte| byte.is_ascii_digit());
            if marked.is_empty() || !digits || (dotted && marked.len() > 1) {
                return Err(Stop::Syntax);
            }
            period.push_str(marked);
            between = self.digits();
        }
        if between.is_empty() { Ok(period) } else { Err(Stop::Syntax) }
    }

    pub(crate) fn digits(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Applies the exponent of program notation, `1e3` or `2.5E-05`.
    ///
    /// A number where a mathematician would not write Euler's constant so: `2e-1` is 2e - 1.
    /// `3e-12`, which both write, is refused.
    fn scaled_by_exponent(&mut self, value: Rational, whole: &str, fraction: &str) -> Parse<Value> {
        let unscaled = Ok(Value::Rational(value.clone()));
        let mark = self.byte();
        if !matches!(mark, b'e' | b'E') {
            return unscaled;
        }
        let sign = self.byte_after(1);
        let start = if matches!(sign, b'+' | b'-') { 2 } else { 1 };
        let rest = self.text.get(self.at + start..).unwrap_or_default();
        let digits = &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()];
        let ends = match rest.as_bytes().get(digits.len()) {
            None => true,
            Some(byte) => b" \t\n,;)]}+-*/=<>%$&|~:\\".contains(byte),
        };
        if digits.is_empty() || !ends {
            return unscaled;
        }
        let exponent = digits.parse::<i64>().map_err(|_| Stop::Bound)?;
        let program = mark == b'E'
            || start == 1
            || !fraction.is_empty()
            || whole == "1"
            || (digits.len() > 1 && digits.starts_with('0'))
            || exponent >= 15;
        if !program {
            return if digits.len() > 1 { Err(Stop::Syntax) } else { unscaled };
        }
        self.at += start + digits.len();
        let exponent = if sign == b'-' { -exponent } else { exponent };
        let scale = Rational::integer(10).pow(exponent).ok_or(Stop::Bound)?;
        value.mul(&scale).map(Value::Rational).ok_or(Stop::Bound)
    }

    /// Returns the length of a thousands separator at the cursor, if one stands before exactly
    /// three digits.
    fn thousands_separator(&self) -> Option<usize> {
        if !matches!(self.byte(), b',' | b'{' | b'\\' | b' ' | b'~') {
            return None;
        }
        let rest = self.rest();
        let marked = [",\\!", "{,}", "\\,", "\\ ", "\\!", " ", "~"];
        let mut length = match marked.into_iter().find(|mark| rest.starts_with(mark)) {
            Some(mark) => mark.len(),
            None if self.byte() == b',' && self.brackets == 0 => 1,
            None => return None,
        };
        if rest.starts_with(",\\!") {
            length += rest[length..].bytes().take_while(|byte| *byte == b' ').count();
        }
        let digits = rest[length..].bytes().take_while(u8::is_ascii_digit).count();
        let grouped = digits == 3 && rest.as_bytes().get(length + 3) != Some(&b'/');
        grouped.then_some(length)
    }

    /// Parses the subscript of a numeral: its base.
    fn base(&mut self) -> Parse<u32> {
        let text = if self.byte() == b'{' { self.raw_group()? } else { self.digits() };
        let inner = text
            .trim()
            .strip_prefix("\\text{")
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(text)
            .trim();
        const NAMES: [&str; 15] = [
            "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
            "twelve", "thirteen", "fourteen", "fifteen", "sixteen",
        ];
        let named =
            NAMES.iter().position(|name| *name == inner).and_then(|at| (at + 2).try_into().ok());
        let base = named.or_else(|| inner.parse::<u32>().ok()).ok_or(Stop::Syntax)?;
        if (2..=36).contains(&base) { Ok(base) } else { Err(Stop::Syntax) }
    }
}

/// Returns a numeral without the zeros that say nothing.
fn significant(digits: &str) -> String {
    let trimmed = digits.trim_start_matches('0');
    let trimmed = if trimmed.contains('.') { trimmed.trim_end_matches('0') } else { trimmed };
    if trimmed.is_empty() || trimmed == "." { "0".to_owned() } else { trimmed.to_owned() }
}
