//! The operands: numerals, symbols, fractions, roots, functions, text.

use super::quantity::{currency, is_upright_command};
use super::rational::Rational;
use super::scan::{Cursor, Parse, Stop};
use super::unit::Unit;
use super::value::{Function, Value, hash_name, subscripted};
use super::vocabulary::is_prose;
use super::words;
use super::words::{function_named, is_operator, is_text_command, is_unread_sign};

impl Cursor<'_> {
    pub(crate) fn atom(&mut self) -> Parse<Value> {
        self.skip_space();
        self.step()?;
        if self.at_digit() {
            return self.number();
        }
        match self.byte() {
            b'{' if self.ours => {
                let start = self.at;
                match self.upright() {
                    Ok(Some(contents)) => self.nested(|cursor| cursor.upright_atom(contents)),
                    _ => {
                        self.at = start;
                        self.nested(Self::bracketed)
                    }
                }
            }
            b']' if self.ours => self.nested(Self::bracketed),
            b'(' | b'[' | b'{' => self.nested(Self::bracketed),
            b'|' => self.nested(|cursor| cursor.magnitude("|", "|")),
            b'\\' => self.nested(Self::command_atom),
            byte if byte.is_ascii_alphabetic() => self.letters_atom(),
            _ => Err(Stop::Syntax),
        }
    }

    fn letters_atom(&mut self) -> Parse<Value> {
        let word = self.word();
        if self.ours && is_prose(word) {
            return Err(Stop::Syntax);
        }
        let known = if word.len() > 1 { word } else { "" };
        if let Some(function) = function_named(known) {
            self.at += word.len();
            return self.nested(|cursor| cursor.call(function));
        }
        if let Some(unit) = currency(known).filter(|_| self.ours && known != "won") {
            self.at += word.len();
            self.eat(".");
            self.skip_space();
            if !self.at_digit() {
                return Err(Stop::Syntax);
            }
            let amount = self.factor()?;
            return Ok(Value::Quantity(Box::new(amount), Unit(unit.to_owned())));
        }
        match known {
            "sqrt" if self.ours => {
                self.at += word.len();
                self.nested(Self::plain_radical)
            }
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
            "oo" | "Inf" | "Infinity" if self.ours => {
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
    pub(crate) fn symbol(&mut self, name: u64) -> Parse<Value> {
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
            let letter = u8::try_from(name).ok().filter(|_| plain && hash == name);
            hash = letter
                .and_then(|letter| subscripted(letter, subscript))
                .unwrap_or_else(|| hash.rotate_left(17) ^ hash_name(&words::squeeze(subscript)));
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
            return Ok(Value::Quantity(Box::new(amount), Unit("dollar".to_owned())));
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
        if is_text_command(name) || (self.ours && is_upright_command(name)) {
            let contents = self.raw_group()?;
            return self.upright_atom(contents);
        }
        if let Some(function) = function_named(name) {
            return self.call(function);
        }
        self.named(name)
    }

    /// Parses the commands that are no functions of [`Function`].
    fn named(&mut self, name: &str) -> Parse<Value> {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" | "nicefrac" | "sfrac" => {
                let numerator = self.argument()?;
                Ok(numerator.over(self.argument()?))
            }
            "sqrt" => self.radical(),
            "surd" if self.ours => self.plain_radical(),
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
            "bar" | "overline" | "hat" | "dot" | "tilde" | "widehat" | "ddot" if self.ours => {
                self.decorated(name)
            }
            "operatorname" if self.ours => {
                self.eat("*");
                let contents = self.raw_group()?;
                let inner = contents.trim();
                match function_named(inner) {
                    Some(function) => self.call(function),
                    None if matches!(inner, "log" | "exp" | "sqrt" | "lg") => self.named(inner),
                    None if inner.len() == 1 => self.upright_atom(contents),
                    None => self.symbol(hash_name(inner)),
                }
            }
            _ if self.ours && currency(name).is_some() => {
                let unit = currency(name).unwrap_or_default().to_owned();
                let amount = self.factor()?;
                Ok(Value::Quantity(Box::new(amount), Unit(unit)))
            }
            "bm" | "pmb" | "mathnormal" if self.ours => self.argument(),
            "varphi" if self.ours => self.symbol(hash_name("phi")),
            "varepsilon" if self.ours => self.symbol(hash_name("epsilon")),
            "vartheta" if self.ours => self.symbol(hash_name("theta")),
            "boxed" | "fbox" | "overline" | "underline" | "vec" | "hat" | "bar" | "mathbf"
            | "boldsymbol" | "bold" | "mathcal" | "mathit" | "mathsf" | "overrightarrow"
            | "operatorname" | "ensuremath" => self.argument(),
            "dots" => Err(Stop::Syntax),
            _ if self.ours && is_unread_sign(name) => Err(Stop::Syntax),
            "vert" => self.enclosed(Function::Abs, "\\vert"),
            _ if is_operator(name) => Err(Stop::Syntax),
            _ => self.symbol(hash_name(name)),
        }
    }

    fn upright_atom(&mut self, contents: &str) -> Parse<Value> {
        let inner = contents.trim();
        if inner.is_empty() {
            return self.atom();
        }
        if self.ours {
            let mut letters = inner.bytes();
            if let (Some(letter), None) = (letters.next(), letters.next())
                && letter.is_ascii_alphabetic()
            {
                return self.symbol(u64::from(letter));
            }
            if let Some(function) = function_named(inner) {
                return self.call(function);
            }
            if matches!(inner, "sqrt" | "log" | "exp" | "pi" | "lg" | "infinity") {
                return self.named(inner);
            }
            if let Some(unit) = currency(inner.trim_start_matches('\\').trim()) {
                let amount = self.factor()?;
                return Ok(Value::Quantity(Box::new(amount), Unit(unit.to_owned())));
            }
        }
        if inner.contains(|c: char| c.is_ascii_digit() || c == '\\' || c == '$') {
            let mut cursor = Cursor::new(inner);
            (cursor.steps, cursor.depth) = (self.steps, self.depth);
            cursor.ours = self.ours;
            let value = cursor.nested(Cursor::list)?;
            cursor.skip_space();
            self.steps = cursor.steps;
            return if cursor.at == inner.len() { Ok(value) } else { Err(Stop::Syntax) };
        }
        let value = words::of_text(inner).ok_or(Stop::Syntax)?;
        Ok(match value {
            Value::Symbol(name) if self.ours && name == u64::from(b'e') => Value::Euler,
            Value::Symbol(name) if self.ours && name == u64::from(b'i') => Value::Imaginary,
            value => value,
        })
    }

    /// Parses a root sign in plain text: it takes the whole numeral, group or symbol that follows.
    fn plain_radical(&mut self) -> Parse<Value> {
        let index = self.root_index()?;
        self.skip_space();
        let radicand = match self.byte() {
            _ if self.at_digit() => self.number()?,
            b'(' | b'{' | b'[' => self.nested(Self::bracketed)?,
            b'\\' | b'|' => self.atom()?,
            byte if byte.is_ascii_alphabetic() => self.atom()?,
            _ => return Err(Stop::Syntax),
        };
        if radicand.is_scalar() { Ok(radicand.root(index)) } else { Err(Stop::Syntax) }
    }

    /// Parses the index before a radicand: 2 unless one is written.
    fn root_index(&mut self) -> Parse<u32> {
        self.skip_space();
        let mut index = 2;
        if self.eat("[") {
            self.skip_space();
            let digits = self.digits();
            index = digits.parse::<u32>().map_err(|_| Stop::Syntax)?;
            self.expect("]")?;
        }
        if (1..=64).contains(&index) { Ok(index) } else { Err(Stop::Syntax) }
    }

    fn radical(&mut self) -> Parse<Value> {
        let index = self.root_index()?;
        self.skip_space();
        // TeX takes the first digit of `\sqrt16`, and whoever wrote that meant both.
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if self.ours && digits > 1 {
            return Err(Stop::Syntax);
        }
        Ok(self.argument()?.root(index))
    }

    /// `\bar{z}` is another symbol than z; over several letters the mark says nothing.
    fn decorated(&mut self, mark: &str) -> Parse<Value> {
        let argument = self.argument()?;
        Ok(match argument {
            Value::Symbol(name) => Value::Symbol(name.rotate_left(29) ^ hash_name(mark)),
            Value::Mul(factors) if factors.iter().all(|part| matches!(part, Value::Symbol(_))) => {
                Value::Mul(factors)
            }
            Value::Rational(_) => return Err(Stop::Syntax),
            other if mark == "overline" || mark == "bar" => {
                Value::Call(Function::Conjugate, vec![other])
            }
            _ => return Err(Stop::Syntax),
        })
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

    /// Parses an argument of a command as TeX takes it: a group or one token.
    pub(crate) fn argument(&mut self) -> Parse<Value> {
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

    /// Parses an exponent or a subscript; unbraced digits stay together.
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

fn real_line() -> Value {
    let items = vec![Value::Infinity.negate(), Value::Infinity];
    Value::Tuple { open: b'(', close: b')', items }
}

pub(crate) fn binomial(from: Value, chosen: Value) -> Value {
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
