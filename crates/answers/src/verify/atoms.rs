//! The operands: numerals, symbols, fractions, roots, functions, text.

use super::parser::{is_operator, is_text_command};
use super::rational::Rational;
use super::scan::{Cursor, Parse, Stop};
use super::value::{Function, Value, hash_name};
use super::words;

impl<'a> Cursor<'a> {
    pub(crate) fn at_digit(&self) -> bool {
        let byte = self.byte();
        byte.is_ascii_digit() || (byte == b'.' && self.byte_after(1).is_ascii_digit())
    }

    pub(crate) fn atom(&mut self) -> Parse<Value> {
        self.skip_space();
        self.step()?;
        if self.at_digit() {
            return self.number();
        }
        match self.byte() {
            b'(' | b'[' | b'{' => self.nested(Self::bracketed),
            b'|' => self.nested(|cursor| cursor.magnitude("|", "|")),
            b'\\' => self.nested(Self::command_atom),
            byte if byte.is_ascii_alphabetic() => self.letters_atom(),
            _ => Err(Stop::Syntax),
        }
    }

    /// A numeral: grouped thousands, decimals, repeating decimals, a base.
    pub(crate) fn number(&mut self) -> Parse<Value> {
        let mut whole = self.digits().to_owned();
        if (1..=3).contains(&whole.len()) && !whole.starts_with('0') {
            while let Some(length) = self.thousands_separator() {
                self.step()?;
                self.at += length;
                whole.push_str(self.digits());
            }
        }
        let (mut fraction, mut repeating) = ("", "");
        if self.byte() == b'.' && (self.byte_after(1).is_ascii_digit() || self.repeats_after(1)) {
            self.at += 1;
            fraction = self.digits();
            if self.repeats_after(0) {
                self.at += "\\overline".len();
                repeating = self.raw_group()?;
            }
        }
        if self.byte() == b'_' {
            self.at += 1;
            let point = if fraction.is_empty() { "" } else { "." };
            let digits = format!("{whole}{point}{fraction}");
            return Ok(Value::BaseN { digits: significant(&digits), base: self.base()? });
        }
        let value = Rational::from_digits(&whole, fraction).ok_or(Stop::Bound)?;
        if repeating.is_empty() {
            return Ok(Value::Rational(value));
        }
        if !repeating.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Stop::Syntax);
        }
        let period = i64::try_from(repeating.len()).map_err(|_| Stop::Bound)?;
        let places = i64::try_from(fraction.len()).map_err(|_| Stop::Bound)?;
        let ten = Rational::integer(10);
        let tail = Rational::from_digits(repeating, "").and_then(|tail| {
            let nines = ten.pow(period)?.add(&Rational::integer(-1))?;
            value.add(&tail.div(&nines)?.div(&ten.pow(places)?)?)
        });
        tail.map(Value::Rational).ok_or(Stop::Bound)
    }

    fn repeats_after(&self, offset: usize) -> bool {
        self.text.get(self.at + offset..).is_some_and(|rest| rest.starts_with("\\overline{"))
    }

    fn digits(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The length of a thousands separator at the cursor, if one stands before exactly three
    /// digits.
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

    /// The subscript of a numeral: its base.
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

    fn letters_atom(&mut self) -> Parse<Value> {
        let word = self.word();
        let known = if word.len() > 1 { word } else { "" };
        if let Some(function) = function_named(known) {
            self.at += word.len();
            return self.nested(|cursor| cursor.call(function));
        }
        match known {
            "sqrt" | "log" | "exp" => {
                self.at += word.len();
                self.nested(|cursor| cursor.named(known))
            }
            "pi" => {
                self.at += 2;
                Ok(Value::Pi)
            }
            "inf" | "infinity" | "infty" => {
                self.at += word.len();
                Ok(Value::Infinity)
            }
            _ => {
                let letter = self.byte();
                self.at += 1;
                self.symbol(u64::from(letter))
            }
        }
    }

    /// Finishes a symbol whose name is read: primes and a subscript belong to it.
    fn symbol(&mut self, name: u64) -> Parse<Value> {
        let mut hash = name;
        let mut plain = true;
        while self.eat("'") || self.eat("^\\prime") || self.eat("^{\\prime}") {
            hash = hash.wrapping_mul(31).wrapping_add(7);
            plain = false;
        }
        if self.byte() == b'_' {
            self.at += 1;
            let subscript = match self.byte() {
                b'{' => self.raw_group()?,
                b'\\' => {
                    let name = self.command();
                    self.at += 1 + name.len();
                    name
                }
                byte if byte.is_ascii_digit() => self.digits(),
                byte if byte.is_ascii_alphabetic() => {
                    let letter = &self.rest()[..1];
                    self.at += 1;
                    letter
                }
                _ => return Err(Stop::Syntax),
            };
            hash = hash.rotate_left(17) ^ hash_name(&words::squeeze(subscript));
            plain = false;
        }
        Ok(match (plain, u8::try_from(name)) {
            (true, Ok(b'i')) => Value::Imaginary,
            (true, Ok(b'e')) => Value::Euler,
            _ => Value::Symbol(hash),
        })
    }

    fn command_atom(&mut self) -> Parse<Value> {
        if self.eat("\\{") {
            return self.braced_set("\\}");
        }
        if self.eat("\\$") {
            let amount = self.factor()?;
            return Ok(Value::Quantity(Box::new(amount), super::unit::Unit("dollar".to_owned())));
        }
        if self.eat("\\|") {
            let inner = self.sum()?;
            self.expect("\\|")?;
            return Ok(Value::Call(Function::Abs, vec![inner]));
        }
        let name = self.command();
        if name.is_empty() {
            return Err(Stop::Syntax);
        }
        self.at += 1 + name.len();
        if is_text_command(name) {
            return self.text_atom();
        }
        if let Some(function) = function_named(name) {
            return self.call(function);
        }
        self.named(name)
    }

    /// The commands that are no functions of [`Function`].
    fn named(&mut self, name: &str) -> Parse<Value> {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let numerator = self.argument()?;
                Ok(numerator.over(self.argument()?))
            }
            "sqrt" => self.radical(),
            "pi" => Ok(Value::Pi),
            "infty" | "infinity" => Ok(Value::Infinity),
            "log" | "lg" => {
                self.skip_space();
                let base = if self.eat("_") { self.script()? } else { Value::integer(10) };
                let argument = self.function_argument()?;
                let natural = |value| Value::Call(Function::Ln, vec![value]);
                Ok(natural(argument).over(natural(base)))
            }
            "exp" => {
                let exponent = self.function_argument()?;
                Ok(Value::Euler.power(exponent))
            }
            "binom" | "dbinom" | "tbinom" | "choose" => {
                let from = self.argument()?;
                let chosen = self.argument()?;
                Ok(binomial(from, chosen))
            }
            "lfloor" => self.enclosed(Function::Floor, "\\rfloor"),
            "lceil" => self.enclosed(Function::Ceiling, "\\rceil"),
            "lvert" => self.enclosed(Function::Abs, "\\rvert"),
            "langle" => self.vector(),
            "lbrace" => self.braced_set("\\rbrace"),
            "begin" => self.matrix(),
            "emptyset" | "varnothing" => Ok(Value::Set(Vec::new())),
            "mathbb" | "Bbb" => Ok(match self.raw_group()? {
                "R" => real_line(),
                other => Value::Symbol(hash_name(other).rotate_left(9)),
            }),
            "boxed" | "fbox" | "overline" | "underline" | "vec" | "hat" | "bar" | "mathbf"
            | "boldsymbol" | "bold" | "mathcal" | "mathit" | "mathsf" | "overrightarrow"
            | "operatorname" | "ensuremath" => self.argument(),
            "dots" => Err(Stop::Syntax),
            "vert" => self.enclosed(Function::Abs, "\\vert"),
            _ if is_operator(name) => Err(Stop::Syntax),
            _ => self.symbol(hash_name(name)),
        }
    }

    fn text_atom(&mut self) -> Parse<Value> {
        let contents = self.raw_group()?;
        let inner = contents.trim();
        if inner.is_empty() {
            return self.atom();
        }
        if inner.contains(|c: char| c.is_ascii_digit() || c == '\\' || c == '$') {
            let mut cursor = Cursor::new(inner);
            (cursor.steps, cursor.depth) = (self.steps, self.depth);
            let value = cursor.nested(Cursor::list)?;
            cursor.skip_space();
            self.steps = cursor.steps;
            return if cursor.at == inner.len() { Ok(value) } else { Err(Stop::Syntax) };
        }
        words::of_text(inner).ok_or(Stop::Syntax)
    }

    fn radical(&mut self) -> Parse<Value> {
        self.skip_space();
        let mut index = 2;
        if self.eat("[") {
            let digits = self.digits();
            index = digits.parse::<u32>().map_err(|_| Stop::Syntax)?;
            self.expect("]")?;
        }
        if !(1..=64).contains(&index) {
            return Err(Stop::Syntax);
        }
        Ok(self.argument()?.root(index))
    }

    fn call(&mut self, function: Function) -> Parse<Value> {
        self.skip_space();
        let power = if self.eat("^") { Some(self.script()?) } else { None };
        let argument = self.function_argument()?;
        let inverse = match (&power, function) {
            (Some(power), Function::Sin) if *power == Value::integer(-1) => Function::ArcSin,
            (Some(power), Function::Cos) if *power == Value::integer(-1) => Function::ArcCos,
            (Some(power), Function::Tan) if *power == Value::integer(-1) => Function::ArcTan,
            (Some(power), _) => {
                return Ok(Value::Call(function, vec![argument]).power(power.clone()));
            }
            (None, _) => function,
        };
        Ok(Value::Call(inverse, vec![argument]))
    }

    /// `(x)` alone, or the factors up to the next operator or function: `\sin 2x`.
    fn function_argument(&mut self) -> Parse<Value> {
        self.skip_space();
        if matches!(self.byte(), b'(' | b'{') {
            return self.factor();
        }
        let mut argument = if self.eat("-") { self.factor()?.negate() } else { self.factor()? };
        loop {
            self.skip_space();
            self.step()?;
            let symbolic = self.byte().is_ascii_alphabetic() && self.word().len() == 1
                || matches!(self.command(), "pi" | "theta" | "alpha" | "beta" | "sqrt");
            if !symbolic {
                return Ok(argument);
            }
            argument = argument.times(self.factor()?);
        }
    }

    /// An argument of a command as TeX takes it: a group or one token.
    fn argument(&mut self) -> Parse<Value> {
        self.skip_space();
        self.step()?;
        match self.byte() {
            b'{' => self.nested(Self::group),
            digit if digit.is_ascii_digit() => {
                self.at += 1;
                Ok(Value::integer(i64::from(digit - b'0')))
            }
            _ => self.atom(),
        }
    }

    /// An exponent or a subscript; unbraced digits stay together.
    pub(crate) fn script(&mut self) -> Parse<Value> {
        self.skip_space();
        self.step()?;
        match self.byte() {
            b'-' => {
                self.at += 1;
                Ok(self.nested(Self::script)?.negate())
            }
            digit if digit.is_ascii_digit() => {
                let digits = self.digits();
                Rational::from_digits(digits, "").map(Value::Rational).ok_or(Stop::Bound)
            }
            _ => self.argument(),
        }
    }
}

/// A numeral without the zeros that say nothing.
fn significant(digits: &str) -> String {
    let trimmed = digits.trim_start_matches('0');
    let trimmed = if trimmed.contains('.') { trimmed.trim_end_matches('0') } else { trimmed };
    if trimmed.is_empty() || trimmed == "." { "0".to_owned() } else { trimmed.to_owned() }
}

fn real_line() -> Value {
    let items = vec![Value::Infinity.negate(), Value::Infinity];
    Value::Tuple { open: b'(', close: b')', items }
}

/// The function of this name, with or without a backslash.
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

/// n! folded while n <= 170, where a double can still hold it.
pub(crate) fn factorial(value: Value) -> Value {
    if let Value::Rational(number) = &value
        && let Some(number) = number.to_i64().filter(|number| (0..=170).contains(number))
    {
        return (2..=number)
            .fold(Value::integer(1), |product, factor| product.times(Value::integer(factor)));
    }
    Value::Call(Function::Factorial, vec![value])
}

fn binomial(from: Value, chosen: Value) -> Value {
    if let (Value::Rational(n), Value::Rational(k)) = (&from, &chosen)
        && let (Some(n), Some(k)) = (n.to_i64(), k.to_i64())
        && (0..=200).contains(&n)
        && (0..=n).contains(&k)
    {
        return (1..=k).fold(Value::integer(1), |product, index| {
            product.times(Value::integer(n - k + index)).over(Value::integer(index))
        });
    }
    Value::Call(Function::Binomial, vec![from, chosen])
}
