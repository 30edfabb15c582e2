//! Units, number words and upright letters that follow a number without an operator.

use super::rational::Rational;
use super::scan::{Cursor, Parse, Stop};
use super::unit::{self, Measure, Unit};
use super::value::Value;
use super::words::{is_function_word, is_text_command};

/// The role of upright contents after a product.
enum After {
    /// A unit or words that scale.
    Measured(Measure),
    /// A factor of the product, to be read again as an operand.
    Factor,
    /// No content: `\text{ }` or the ending of an ordinal.
    Nothing,
}

impl<'a> Cursor<'a> {
    /// Parses the contents of `\text{..}`, `\mathrm{..}` or `{\rm ..}` at the cursor, which it
    /// passes.
    pub(crate) fn upright(&mut self) -> Parse<Option<&'a str>> {
        if is_text_command(self.command()) || (self.ours && is_upright_command(self.command())) {
            self.at += 1 + self.command().len();
            if self.ours && self.eat("{}") {
                return Ok(Some(""));
            }
            return self.raw_group().map(Some);
        }
        if !(self.ours && self.byte() == b'{') {
            return Ok(None);
        }
        let inside = self.rest()[1..].trim_start();
        let old = ["\\rm", "\\bf", "\\it", "\\sf"].into_iter().find(|mark| {
            inside.strip_prefix(mark).is_some_and(|rest| rest.starts_with([' ', '\\']))
        });
        let Some(mark) = old else { return Ok(None) };
        let contents = self.raw_group()?;
        Ok(contents.trim_start().get(mark.len()..))
    }

    /// Reads a unit, or an upright factor, after `product`, which it takes when there is one.
    pub(crate) fn unit_after(&mut self, product: &mut Value) -> Parse<Option<Value>> {
        let start = self.at;
        let spaced = self.text.as_bytes()[..start].ends_with_any(b" ~,;:$\n\t");
        let one = matches!(product, Value::Rational(number) if *number == Rational::ONE);
        let measure = if let Some(contents) = self.upright()? {
            if matches!(contents.trim(), "and" | "or" | ", and" | ", or" | ",") {
                self.at = start;
                return Ok(None);
            }
            match self.read_upright(contents, product, spaced, one)? {
                After::Measured(measure) => measure,
                After::Nothing => return Ok(Some(take(product))),
                After::Factor => {
                    self.at = start;
                    let factor = self.factor()?;
                    if !factor.is_scalar() {
                        return Err(Stop::Syntax);
                    }
                    return Ok(Some(match factor {
                        Value::Quantity(amount, unit) => {
                            Value::Quantity(Box::new(take(product).times(*amount)), unit)
                        }
                        factor => take(product).times(factor),
                    }));
                }
            }
        } else if let Some(measure) = self.fraction_of_units()? {
            measure
        } else {
            match self.bare_words(product, spaced, one)? {
                Some(measure) => measure,
                None => return Ok(None),
            }
        };
        let number = apply(&measure, take(product))?;
        let factors = self.more_factors(measure.factors)?;
        Ok(Some(with_unit(number, &factors)))
    }

    /// Returns the unit of a currency sign after a number, which it passes.
    pub(crate) fn currency_after(&mut self, value: &Value) -> Option<Unit> {
        if !self.ours || !matches!(value, Value::Rational(_)) {
            return None;
        }
        let start = self.at;
        if self.eat("\\$") {
            return Some(Unit("dollar".to_owned()));
        }
        let name = self.command();
        let unit = currency(name).filter(|_| !name.is_empty())?;
        self.at = start + name.len() + 1;
        Some(Unit(unit.to_owned()))
    }

    /// Names the scale after a number of degrees: `72^\circ F`.
    pub(crate) fn temperature(&mut self, value: Value) -> Value {
        let Value::Degree(number) = value else { return value };
        let start = self.at;
        self.skip_space();
        let name = match self.ours.then(|| self.upright()) {
            Some(Ok(Some(contents))) => contents.trim(),
            _ => {
                let word = self.word();
                self.at += word.len();
                word
            }
        };
        let scale = match name {
            "C" | "Celsius" | "celsius" => "celsius",
            "F" | "Fahrenheit" | "fahrenheit" => "fahrenheit",
            _ => "",
        };
        let joined =
            matches!(self.byte(), b'^' | b'_' | b'(') || self.byte().is_ascii_alphanumeric();
        if !self.ours || scale.is_empty() || joined {
            self.at = start;
            return Value::Degree(number);
        }
        Value::Quantity(number, Unit(scale.to_owned()))
    }

    fn read_upright(
        &self,
        contents: &str,
        product: &Value,
        spaced: bool,
        one: bool,
    ) -> Parse<After> {
        let words = contents.trim();
        if !self.ours && !words.is_empty() {
            if words.starts_with('^') {
                return Ok(After::Nothing);
            }
            let measure = unit::measure(words, one).filter(is_unit_only);
            let unread = || plain(vec![(words.to_lowercase(), 1)]);
            return Ok(After::Measured(measure.unwrap_or_else(unread)));
        }
        let mut characters = words.chars();
        match (characters.next(), characters.next()) {
            (None, _) => return Ok(After::Nothing),
            (Some(only), None) => {
                let spaced = spaced || contents.starts_with([' ', '~', '\\']);
                return match unit::letter(only, spaced) {
                    Some(name) => Ok(After::Measured(plain(vec![(name.to_owned(), 1)]))),
                    None => Ok(After::Factor),
                };
            }
            _ => {}
        }
        if matches!(words, "\\%" | "%") {
            return Ok(After::Measured(plain(vec![("percent".to_owned(), 1)])));
        }
        if matches!(words, "th" | "st" | "nd" | "rd") {
            return Ok(After::Nothing);
        }
        if is_function_word(words) {
            return Ok(After::Factor);
        }
        let symbolic = product.any(&|part| matches!(part, Value::Symbol(_)));
        match unit::measure(words, one) {
            Some(measure) if !symbolic || is_unit_only(&measure) => Ok(After::Measured(measure)),
            _ if words.contains('\\') || words.bytes().any(|b| b.is_ascii_digit()) => {
                Ok(After::Factor)
            }
            _ => Err(Stop::Syntax),
        }
    }

    /// Reads bare words after a number: `5 cm`, `12 thousand`, `60 km/h`, `5 apples`.
    fn bare_words(&mut self, product: &Value, spaced: bool, one: bool) -> Parse<Option<Measure>> {
        let word = self.word();
        if word.is_empty() {
            return Ok(None);
        }
        let is_known = unit::is_known(word) && !is_function_word(word);
        let number = !product.any(&|part| matches!(part, Value::Symbol(_)));
        let numeral = spaced && matches!(product, Value::Rational(_) | Value::Quantity(..));
        let lower = word.to_ascii_lowercase();
        let after = &self.rest().as_bytes()[word.len()..];
        let second = word == "sec" && self.rest().trim_end() == "sec";
        let phrase = is_known
            || second
            || (self.ours && number && unit::scales(word))
            || (numeral && word.len() >= 4 && !is_function_word(word))
            || (self.ours && numeral && word.len() > 1 && unit::known(&lower).is_some())
            || (self.ours && numeral && matches!(word, "men" | "cu" | "kmh" | "kph" | "kwh"))
            || (self.ours
                && numeral
                && unit::letter(word.chars().next().unwrap_or(' '), true).is_some()
                && word.len() == 1
                && after.first() == Some(&b'/')
                && after.get(1).is_some_and(u8::is_ascii_alphabetic));
        let half = self.ours && numeral && word == "and" && self.rest().contains(" half");
        if !(phrase || half) || (second && !numeral) {
            return Ok(None);
        }
        let words = phrase_at(self.rest());
        if let Some(measure) = unit::measure(words, one).filter(|_| self.ours || !half) {
            self.at += words.len();
            return Ok(Some(measure));
        }
        if half {
            return Ok(None);
        }
        if is_known {
            self.at += word.len();
            return unit::measure(word, one).map(Some).ok_or(Stop::Syntax);
        }
        if self.ours {
            return Err(Stop::Syntax);
        }
        self.at += word.len();
        Ok(Some(plain(vec![(lower, 1)])))
    }

    /// Reads `\frac{\text{km}}{\text{h}}` after a number.
    fn fraction_of_units(&mut self) -> Parse<Option<Measure>> {
        if !self.ours || !matches!(self.command(), "frac" | "tfrac" | "dfrac") {
            return Ok(None);
        }
        let start = self.at;
        self.at += 1 + self.command().len();
        let factors = self.unit_group().and_then(|above| {
            let below = self.unit_group()?;
            let below = below.into_iter().map(|(name, power)| (name, -power));
            Some(above.into_iter().chain(below).collect())
        });
        if factors.is_none() {
            self.at = start;
        }
        Ok(factors.map(plain))
    }

    /// Returns a braced group that holds an upright unit only.
    fn unit_group(&mut self) -> Option<Vec<(String, i64)>> {
        let group = self.raw_group().ok()?;
        let mut inner = Cursor::new(group.trim());
        let contents = inner.upright().ok()??;
        let measure = unit::measure(contents, false).or_else(|| single(contents))?;
        let complete = inner.at == inner.text.len() && is_unit_only(&measure);
        complete.then_some(measure.factors)
    }

    /// Reads powers of the unit and further units: `\text{ m}/\text{s}^2`.
    fn more_factors(&mut self, mut factors: Vec<(String, i64)>) -> Parse<Vec<(String, i64)>> {
        loop {
            self.skip_space();
            self.step()?;
            let start = self.at;
            if !factors.is_empty() && self.byte() == b'^' && !self.rest().starts_with("^\\circ") {
                self.at += 1;
                let Value::Rational(power) = self.script()? else { return Err(Stop::Syntax) };
                let power = power.to_i64().filter(|power| (-9..=9).contains(power));
                if let (Some((_, last)), Some(power)) = (factors.last_mut(), power) {
                    *last = last.saturating_mul(power);
                    continue;
                }
                return Err(Stop::Syntax);
            }
            if !self.ours || factors.is_empty() {
                return Ok(factors);
            }
            let sign = if self.eat("/") { -1 } else { 1 };
            let _ = sign == 1 && (self.eat_command("cdot") || self.eat_command("times"));
            self.skip_space();
            let next = match self.upright() {
                Ok(Some(contents)) => unit::measure(contents, false)
                    .filter(is_unit_only)
                    .or_else(|| single(contents))
                    .map(|measure| measure.factors),
                _ if sign < 0 => {
                    let word = self.word();
                    let letter = word.chars().next().filter(|_| word.len() == 1);
                    let name = match letter {
                        Some(letter) => unit::letter(letter, true),
                        None => unit::known(&word.to_ascii_lowercase()),
                    };
                    self.at += word.len();
                    name.map(|name| vec![(name.to_owned(), 1)])
                }
                _ => None,
            };
            match next {
                Some(next) => {
                    factors.extend(next.into_iter().map(|(name, power)| (name, sign * power)));
                }
                None => {
                    self.at = start;
                    return Ok(factors);
                }
            }
        }
    }
}

trait EndsWithAny {
    fn ends_with_any(&self, bytes: &[u8]) -> bool;
}

impl EndsWithAny for [u8] {
    fn ends_with_any(&self, bytes: &[u8]) -> bool {
        self.last().is_some_and(|last| bytes.contains(last))
    }
}

/// Commands that set their argument upright or in another face, besides the text commands.
pub(crate) fn is_upright_command(name: &str) -> bool {
    matches!(name, "textsf" | "texttt" | "textup" | "textsc" | "mathsf" | "mathtt" | "mathup")
}

/// Returns the words at the start of the text, up to anything that is no part of a phrase.
fn phrase_at(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut end = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_alphabetic() {
            let length = bytes[at..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
            let word = &text[at..at + length];
            if at > 0 && matches!(word, "and" | "or" | "U") {
                break;
            }
            at += length;
            end = at;
        } else if *byte == b' '
            || (matches!(byte, b'/' | b'-' | b'.')
                && bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphabetic() || *b == b' '))
        {
            at += 1;
        } else {
            break;
        }
    }
    &text[..end]
}

fn single(contents: &str) -> Option<Measure> {
    let mut characters = contents.trim().chars();
    let only = characters.next().filter(|_| characters.next().is_none())?;
    unit::letter(only, true).map(|name| plain(vec![(name.to_owned(), 1)]))
}

fn plain(factors: Vec<(String, i64)>) -> Measure {
    Measure { power: 1, scale: Rational::ONE, addend: Rational::ZERO, factors }
}

/// Returns whether the words name known units and nothing else.
fn is_unit_only(measure: &Measure) -> bool {
    let known = |(name, _): &(String, i64)| name == "m" || unit::known(name).is_some();
    *measure == plain(measure.factors.clone()) && measure.factors.iter().all(known)
}

/// Parses the number that the words make of the number before them.
fn apply(measure: &Measure, product: Value) -> Parse<Value> {
    if let Value::Quantity(amount, unit) = product {
        return Ok(Value::Quantity(Box::new(apply(measure, *amount)?), unit));
    }
    if measure.power == 1 && measure.scale == Rational::ONE && measure.addend.is_zero() {
        return Ok(product);
    }
    let Value::Rational(number) = product else {
        let plain = measure.power == 1 && measure.addend.is_zero() && product.is_scalar();
        let scaled = plain.then(|| product.times(Value::Rational(measure.scale.clone())));
        return scaled.ok_or(Stop::Syntax);
    };
    let value = number
        .pow(measure.power)
        .and_then(|value| value.mul(&measure.scale))
        .and_then(|value| value.add(&measure.addend));
    value.map(Value::Rational).ok_or(Stop::Bound)
}

fn with_unit(number: Value, factors: &[(String, i64)]) -> Value {
    let mut factors = factors.to_vec();
    if factors.iter().any(|(name, _)| matches!(name.as_str(), "celsius" | "fahrenheit")) {
        factors.retain(|(name, _)| name != "degree");
    }
    match unit::from_factors(&factors) {
        None => number,
        Some(Unit(name)) if name == "degree" => Value::Degree(Box::new(number)),
        Some(Unit(name)) if name == "percent" => Value::Percent(Box::new(number)),
        Some(unit) => match number {
            // `\$5 \text{ dollars}` states the same unit twice.
            Value::Quantity(amount, stated) => Value::Quantity(amount, stated),
            number => Value::Quantity(Box::new(number), unit),
        },
    }
}

fn take(product: &mut Value) -> Value {
    std::mem::replace(product, Value::Blank)
}

/// Returns the unit of a currency sign or code that stands before or after its amount.
pub(crate) fn currency(name: &str) -> Option<&'static str> {
    Some(match name.trim_end_matches('.') {
        "pounds" | "textsterling" => "pound",
        "euro" | "texteuro" => "euro",
        "yen" | "textyen" => "yen",
        "rupee" | "Rs" => "rupee",
        "won" => "won",
        "ruble" => "ruble",
        "textdollar" => "dollar",
        code if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) => {
            match unit::known(&code.to_ascii_lowercase())? {
                name @ ("dollar" | "euro" | "yen" | "yuan" | "rupee" | "won" | "ruble") => name,
                "sterling" => "pound",
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The answer with its only dollar sign escaped, where that stands beside a number: an amount.
pub(crate) fn lone_dollar(text: &str) -> Option<String> {
    if !text.contains('$') {
        return None;
    }
    let mut signs = text.match_indices('$').map(|(at, _)| at);
    let (at, None) = (signs.next()?, signs.next()) else { return None };
    let signed = text[..at].trim_start_matches(['-', '+', '(', ' ']);
    let before = signed.strip_suffix("US").unwrap_or(signed);
    let amount = text[at + 1..].trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let after = text[at + 1..].is_empty() && before.ends_with(|c: char| c.is_ascii_digit());
    if !signed.ends_with('\\') && ((before.is_empty() && amount) || after) {
        let front = &text[..at - (signed.len() - before.len())];
        return Some(format!("{front}\\${}", &text[at + 1..]));
    }
    None
}
