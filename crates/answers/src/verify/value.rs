//! Values of answers: one tree for scalars and for the shapes around them.
//!
//! Constructors fold rational constants, so `1/2`, `0.5` and `\frac{2}{4}` are one value before
//! anything is compared.

use serde::{Deserialize, Serialize};

use super::rational::Rational;
use super::unit::Unit;

/// Largest matrix that a factor is multiplied into; others stay as written.
const MAX_SCALED_CELLS: usize = 64;

/// The kind of value that an answer parsed to; printed beside verdicts.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    /// An empty answer.
    Blank,
    /// A whole number.
    Integer,
    /// A rational that is not whole, written in any notation.
    Rational,
    /// A number with radicals, constants, the imaginary unit or functions.
    ClosedForm,
    /// An expression with free symbols.
    Symbolic,
    /// A number of degrees.
    Degree,
    /// A number of percent.
    Percent,
    /// A number with another unit.
    Quantity,
    /// A numeral in a stated base.
    BaseN,
    /// Ordered values in brackets; an open interval is written alike.
    Tuple,
    /// An interval that is closed on a side or unbounded.
    Interval,
    /// A union of intervals or sets.
    Union,
    /// Values in braces.
    Set,
    /// Values apart by commas, without brackets.
    List,
    /// A matrix or a column vector.
    Matrix,
    /// An equation, an inequality or a membership.
    Relation,
    /// Words.
    Text,
    /// A text that the grammar does not know; equal to the same text only.
    Opaque,
}

impl ValueKind {
    /// Returns the kind in words, for explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Integer => "integer",
            Self::Rational => "rational",
            Self::ClosedForm => "closed form",
            Self::Symbolic => "expression",
            Self::Degree => "number of degrees",
            Self::Percent => "percentage",
            Self::Quantity => "quantity",
            Self::BaseN => "numeral in a base",
            Self::Tuple => "tuple",
            Self::Interval => "interval",
            Self::Union => "union",
            Self::Set => "set",
            Self::List => "list",
            Self::Matrix => "matrix",
            Self::Relation => "relation",
            Self::Text => "text",
            Self::Opaque => "unparsed writing",
        }
    }
}

/// The operator between two sides of a relation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RelationOp {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Member,
    /// Equal after rounding.
    Approximate,
}

/// Functions the grammar knows; their values come from [`super::numeric`] and
/// [`super::residue`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    ArcSin,
    ArcCos,
    ArcTan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    Abs,
    Floor,
    Ceiling,
    Factorial,
    Binomial,
    Conjugate,
}

/// A parsed answer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Rational(Rational),
    Pi,
    Euler,
    Imaginary,
    Infinity,
    /// A free symbol, by the hash of its name.
    Symbol(u64),
    Add(Vec<Value>),
    Mul(Vec<Value>),
    Div(Box<Value>, Box<Value>),
    Pow(Box<Value>, Box<Value>),
    Root(u32, Box<Value>),
    /// `\pm` (or `\mp` when `flipped`) of the operand; gone after [`Value::spread`].
    PlusMinus {
        flipped: bool,
        operand: Box<Value>,
    },
    Call(Function, Vec<Value>),
    Percent(Box<Value>),
    Degree(Box<Value>),
    Quantity(Box<Value>, Unit),
    BaseN {
        digits: String,
        base: u32,
    },
    Tuple {
        open: u8,
        close: u8,
        items: Vec<Value>,
    },
    Set(Vec<Value>),
    List(Vec<Value>),
    Union(Vec<Value>),
    Matrix {
        columns: usize,
        cells: Vec<Value>,
    },
    Relation(Box<Value>, Vec<(RelationOp, Value)>),
    /// A residue class: `3 \pmod 7`.
    Modulo(Box<Value>, Box<Value>),
    Text(String),
    Opaque(String),
    Blank,
}

impl Value {
    pub(crate) fn integer(value: i64) -> Self {
        Self::Rational(Rational::integer(value))
    }

    pub(crate) fn negate(self) -> Self {
        match self {
            Self::Rational(value) => match value.neg() {
                Some(negated) => Self::Rational(negated),
                None => Self::Mul(vec![Self::integer(-1), Self::Rational(value)]),
            },
            Self::Percent(of) => Self::Percent(Box::new(of.negate())),
            Self::Degree(of) => Self::Degree(Box::new(of.negate())),
            Self::Quantity(of, unit) => Self::Quantity(Box::new(of.negate()), unit),
            other => Self::integer(-1).times(other),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Rational(a), Self::Rational(b)) => match a.add(&b) {
                Some(sum) => Self::Rational(sum),
                None => Self::Add(vec![Self::Rational(a), Self::Rational(b)]),
            },
            (Self::Add(mut terms), other) => {
                terms.push(other);
                Self::Add(terms)
            }
            (a, b) => Self::Add(vec![a, b]),
        }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Rational(a), Self::Rational(b)) => match a.mul(&b) {
                Some(product) => Self::Rational(product),
                None => Self::Mul(vec![Self::Rational(a), Self::Rational(b)]),
            },
            (Self::Mul(mut factors), other) if !matches!(other, Self::Matrix { .. }) => {
                factors.push(other);
                Self::Mul(factors)
            }
            (Self::Matrix { columns, cells }, factor)
            | (factor, Self::Matrix { columns, cells })
                if cells.len() <= MAX_SCALED_CELLS && factor.is_scalar() =>
            {
                let cells = cells.into_iter().map(|cell| factor.clone().times(cell)).collect();
                Self::Matrix { columns, cells }
            }
            (a, b) => Self::Mul(vec![a, b]),
        }
    }

    /// Returns the product with a factor written right behind: a percent or degree sign after it is
    /// that of the whole product.
    pub(crate) fn followed_by(self, factor: Self) -> Self {
        match factor {
            Self::Percent(of) if self.is_bare() => Self::Percent(Box::new(self.times(*of))),
            Self::Degree(of) if self.is_bare() => Self::Degree(Box::new(self.times(*of))),
            factor => self.times(factor),
        }
    }

    /// Returns the quotient `a/b`, whose percent or degree sign stands behind the divisor.
    pub(crate) fn slash(self, divisor: Self) -> Self {
        match divisor {
            Self::Percent(of) if self.is_bare() => Self::Percent(Box::new(self.over(*of))),
            Self::Degree(of) if self.is_bare() => Self::Degree(Box::new(self.over(*of))),
            divisor => self.over(divisor),
        }
    }

    fn is_bare(&self) -> bool {
        !self.any(&|part| matches!(part, Self::Percent(_) | Self::Degree(_) | Self::Quantity(..)))
    }

    pub(crate) fn over(self, other: Self) -> Self {
        if let (Self::Rational(a), Self::Rational(b)) = (&self, &other)
            && let Some(quotient) = a.div(b)
        {
            return Self::Rational(quotient);
        }
        if matches!(self, Self::Matrix { .. }) && other.is_scalar() {
            return self.times(Self::Div(Box::new(Self::integer(1)), Box::new(other)));
        }
        Self::Div(Box::new(self), Box::new(other))
    }

    pub(crate) fn power(self, exponent: Self) -> Self {
        if let (Self::Rational(base), Self::Rational(power)) = (&self, &exponent)
            && let Some(power) = power.to_i64()
            && let Some(value) = base.pow(power)
        {
            return Self::Rational(value);
        }
        Self::Pow(Box::new(self), Box::new(exponent))
    }

    pub(crate) fn root(self, index: u32) -> Self {
        if let Self::Rational(value) = &self
            && let Some(root) = value.root(index)
        {
            return Self::Rational(root);
        }
        Self::Root(index, Box::new(self))
    }

    /// Returns the kind of this value.
    pub(crate) fn kind(&self) -> ValueKind {
        match self {
            Self::Rational(value) if value.is_integer() => ValueKind::Integer,
            Self::Rational(_) => ValueKind::Rational,
            Self::Percent(_) => ValueKind::Percent,
            Self::Degree(_) => ValueKind::Degree,
            Self::Quantity(..) => ValueKind::Quantity,
            Self::BaseN { .. } => ValueKind::BaseN,
            Self::Tuple { open: b'(', close: b')', items } if !items.iter().any(is_infinite) => {
                ValueKind::Tuple
            }
            Self::Tuple { items, .. } if items.len() == 2 => ValueKind::Interval,
            Self::Tuple { .. } => ValueKind::Tuple,
            Self::Set(_) => ValueKind::Set,
            Self::List(_) => ValueKind::List,
            Self::Union(_) => ValueKind::Union,
            Self::Matrix { .. } => ValueKind::Matrix,
            Self::Relation(..) | Self::Modulo(..) => ValueKind::Relation,
            Self::Text(_) => ValueKind::Text,
            Self::Opaque(_) => ValueKind::Opaque,
            Self::Blank => ValueKind::Blank,
            scalar if scalar.any(&|part| matches!(part, Self::Symbol(_))) => ValueKind::Symbolic,
            _ => ValueKind::ClosedForm,
        }
    }

    /// Returns whether this is a number or expression rather than a shape around some.
    pub(crate) fn is_scalar(&self) -> bool {
        !self.any(&|part| {
            matches!(
                part,
                Self::Tuple { .. }
                    | Self::Set(_)
                    | Self::List(_)
                    | Self::Union(_)
                    | Self::Matrix { .. }
                    | Self::Relation(..)
                    | Self::Modulo(..)
                    | Self::Text(_)
                    | Self::Opaque(_)
                    | Self::Blank
                    | Self::BaseN { .. }
            )
        })
    }

    /// Returns whether arithmetic is done on scalars only: `2(3,4)` and `x \cdot \text{even}` are
    /// not.
    pub(crate) fn is_well_formed(&self) -> bool {
        let arithmetic = matches!(
            self,
            Self::Add(_)
                | Self::Mul(_)
                | Self::Div(..)
                | Self::Pow(..)
                | Self::Root(..)
                | Self::PlusMinus { .. }
                | Self::Call(..)
                | Self::Percent(_)
                | Self::Degree(_)
                | Self::Quantity(..)
        );
        let measured = |part: &Self| matches!(part, Self::Quantity(..));
        if arithmetic {
            let amount = match self {
                Self::Quantity(amount, _) => amount,
                other => other,
            };
            let signs = matches!(self, Self::PlusMinus { .. });
            self.is_scalar() && (signs || !amount.any(&measured))
        } else {
            self.children().all(Self::is_well_formed)
        }
    }

    /// Returns whether the test holds anywhere in the tree.
    pub(crate) fn any(&self, test: &impl Fn(&Self) -> bool) -> bool {
        test(self) || self.children().any(|child| child.any(test))
    }

    /// Returns whether the test holds for every part right below this one.
    pub(crate) fn all_children(&self, test: &impl Fn(&Self) -> bool) -> bool {
        self.children().all(test)
    }

    fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::Add(items)
            | Self::Mul(items)
            | Self::Call(_, items)
            | Self::Tuple { items, .. }
            | Self::Set(items)
            | Self::List(items)
            | Self::Union(items)
            | Self::Matrix { cells: items, .. } => Box::new(items.iter()),
            Self::Div(a, b) | Self::Pow(a, b) | Self::Modulo(a, b) => {
                Box::new([&**a, &**b].into_iter())
            }
            Self::Root(_, a)
            | Self::Percent(a)
            | Self::Degree(a)
            | Self::Quantity(a, _)
            | Self::PlusMinus { operand: a, .. } => Box::new(std::iter::once(&**a)),
            Self::Relation(first, rest) => {
                Box::new(std::iter::once(&**first).chain(rest.iter().map(|(_, value)| value)))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Add(items)
            | Self::Mul(items)
            | Self::Call(_, items)
            | Self::Tuple { items, .. }
            | Self::Set(items)
            | Self::List(items)
            | Self::Union(items)
            | Self::Matrix { cells: items, .. } => items.iter_mut().collect(),
            Self::Div(a, b) | Self::Pow(a, b) | Self::Modulo(a, b) => vec![&mut **a, &mut **b],
            Self::Root(_, a)
            | Self::Percent(a)
            | Self::Degree(a)
            | Self::Quantity(a, _)
            | Self::PlusMinus { operand: a, .. } => vec![&mut **a],
            Self::Relation(first, rest) => std::iter::once(&mut **first)
                .chain(rest.iter_mut().map(|(_, value)| value))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Replaces `a \pm b` by the list of both values. Signs in one value move together, `\mp`
    /// against them; elements of lists and sets spread in place.
    pub(crate) fn spread(self) -> Self {
        if !self.any(&|part| matches!(part, Self::PlusMinus { .. })) {
            return self;
        }
        match self {
            Self::List(items) => Self::List(spread_items(items)),
            Self::Set(items) => Self::Set(spread_items(items)),
            other => Self::List(other.both_signs().into()),
        }
    }

    fn both_signs(self) -> [Self; 2] {
        let (mut upper, mut lower) = (self.clone(), self);
        upper.choose_sign(false);
        lower.choose_sign(true);
        [upper, lower]
    }

    fn choose_sign(&mut self, minus: bool) {
        for child in self.children_mut() {
            child.choose_sign(minus);
        }
        if let Self::PlusMinus { flipped, operand } = self {
            let negative = *flipped != minus;
            let operand = std::mem::replace(&mut **operand, Self::Blank);
            *self = if negative { operand.negate() } else { operand };
        }
    }
}

fn spread_items(items: Vec<Value>) -> Vec<Value> {
    let mut spread = Vec::with_capacity(items.len() * 2);
    for item in items {
        match item.spread() {
            Value::List(parts) => spread.extend(parts),
            other => spread.push(other),
        }
    }
    spread
}

/// Returns whether the value is plus or minus infinity.
pub(crate) fn is_infinite(value: &Value) -> bool {
    match value {
        Value::Infinity => true,
        Value::Mul(factors) => factors.contains(&Value::Infinity),
        _ => false,
    }
}

/// Returns the name of a letter with a number below it, such as `x_1`.
pub(crate) fn subscripted(letter: u8, number: &str) -> Option<u64> {
    let number = number.parse::<u16>().ok()?;
    Some(SUBSCRIPTED | (u64::from(letter) << 16) | u64::from(number))
}

/// Returns whether a name is that of a numbered root: `x_1`, `z_2`, `r_1`, `t_2`.
pub(crate) fn is_root_name(name: u64) -> bool {
    let letter = u8::try_from((name ^ SUBSCRIPTED) >> 16);
    matches!(letter, Ok(b'x' | b'z' | b'r' | b't'))
}

/// Marks the names that [`subscripted`] makes.
const SUBSCRIPTED: u64 = 0x5355_4253 << 32;

/// Returns the 64-bit FNV-1a hash that names symbols and seeds evaluation points.
pub(crate) fn hash_name(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
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
