//! Exact rational numbers: machine words while they fit, big integers past that, refused past
//! [`MAX_BITS`].

use std::fmt;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::limits::{MAX_BITS, MAX_DIGITS, MAX_FOLDED_EXPONENT};

/// A reduced fraction. `Big` holds only what `Small` cannot, so equality is structural.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rational {
    Small { numerator: i64, denominator: i64 },
    Big(Box<BigRational>),
}

impl Rational {
    pub(crate) const ZERO: Self = Self::Small { numerator: 0, denominator: 1 };
    pub(crate) const ONE: Self = Self::integer(1);

    pub(crate) const fn integer(value: i64) -> Self {
        Self::Small { numerator: value, denominator: 1 }
    }

    /// Reads `whole.fraction`; `None` past the digit bound, or where something is no digit.
    pub(crate) fn from_digits(whole: &str, fraction: &str) -> Option<Self> {
        if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count = whole.len() + fraction.len();
        if count <= 18 {
            let digits = whole.bytes().chain(fraction.bytes());
            let numerator = digits.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            return Self::small(numerator.into(), 10_i128.pow(fraction.len() as u32));
        }
        if count > MAX_DIGITS {
            return None;
        }
        let numerator = BigInt::parse_bytes(format!("{whole}{fraction}").as_bytes(), 10)?;
        let denominator = BigInt::from(10).pow(u32::try_from(fraction.len()).ok()?);
        Self::big(BigRational::new(numerator, denominator))
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    pub(crate) fn is_integer(&self) -> bool {
        match self {
            Self::Small { denominator, .. } => *denominator == 1,
            Self::Big(value) => value.is_integer(),
        }
    }

    pub(crate) fn is_negative(&self) -> bool {
        match self {
            Self::Small { numerator, .. } => *numerator < 0,
            Self::Big(value) => value.is_negative(),
        }
    }

    /// Returns the value as a machine integer, if it is one.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        match self {
            Self::Small { numerator, denominator: 1 } => Some(*numerator),
            _ => None,
        }
    }

    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Self::Small { numerator, denominator } => *numerator as f64 / *denominator as f64,
            Self::Big(value) => value.to_f64().unwrap_or(f64::NAN),
        }
    }

    pub(crate) fn to_big(&self) -> BigRational {
        match self {
            Self::Small { numerator, denominator } => {
                BigRational::new_raw((*numerator).into(), (*denominator).into())
            }
            Self::Big(value) => (**value).clone(),
        }
    }

    pub(crate) fn neg(&self) -> Option<Self> {
        match self {
            Self::Small { numerator, denominator } => {
                Self::small(-i128::from(*numerator), i128::from(*denominator))
            }
            Self::Big(value) => Self::big(-(**value).clone()),
        }
    }

    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        match (self.words(), other.words()) {
            (Some((a, b)), Some((c, d))) => Self::small(a * d + c * b, b * d),
            _ => Self::big(self.to_big() + other.to_big()),
        }
    }

    pub(crate) fn mul(&self, other: &Self) -> Option<Self> {
        match (self.words(), other.words()) {
            (Some((a, b)), Some((c, d))) => Self::small(a * c, b * d),
            _ => Self::big(self.to_big() * other.to_big()),
        }
    }

    /// `None` for a zero divisor.
    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        match (self.words(), other.words()) {
            (Some((a, b)), Some((c, d))) => Self::small(a * d, b * c),
            _ => Self::big(self.to_big() / other.to_big()),
        }
    }

    /// Returns an integer power; `None` for a zero base with a negative exponent, and past the
    /// bounds.
    pub(crate) fn pow(&self, exponent: i64) -> Option<Self> {
        let magnitude = u32::try_from(exponent.unsigned_abs()).ok()?;
        if *self == Self::ONE || magnitude == 0 {
            return Some(Self::ONE);
        }
        if magnitude > MAX_FOLDED_EXPONENT {
            return None;
        }
        let base = if exponent < 0 { Self::ONE.div(self)? } else { self.clone() };
        let value = base.to_big();
        let bits = value.numer().bits().max(value.denom().bits());
        if bits * u64::from(magnitude) > MAX_BITS {
            return None;
        }
        Self::big(value.pow(i32::try_from(magnitude).ok()?))
    }

    /// Returns the exact `index`-th root, when it is rational. Odd roots of negatives are negative.
    pub(crate) fn root(&self, index: u32) -> Option<Self> {
        if index == 0 || (self.is_negative() && index.is_multiple_of(2)) {
            return None;
        }
        let value = self.to_big();
        let numerator = exact_root(value.numer(), index)?;
        let denominator = exact_root(value.denom(), index)?;
        Self::big(BigRational::new(numerator, denominator))
    }

    fn words(&self) -> Option<(i128, i128)> {
        match self {
            Self::Small { numerator, denominator } => {
                Some((i128::from(*numerator), i128::from(*denominator)))
            }
            Self::Big(_) => None,
        }
    }

    fn small(numerator: i128, denominator: i128) -> Option<Self> {
        let (mut top, mut bottom) = (numerator, denominator);
        if bottom != 1 {
            let divisor = match (u64::try_from(top.unsigned_abs()), u64::try_from(bottom.abs())) {
                (Ok(a), Ok(b)) => i128::from(a.gcd(&b)),
                _ => top.gcd(&bottom),
            };
            top /= divisor;
            bottom /= divisor;
            if bottom < 0 {
                (top, bottom) = (-top, -bottom);
            }
        }
        match (i64::try_from(top), i64::try_from(bottom)) {
            (Ok(numerator), Ok(denominator)) => Some(Self::Small { numerator, denominator }),
            _ => Self::big(BigRational::new(top.into(), bottom.into())),
        }
    }

    fn big(value: BigRational) -> Option<Self> {
        if value.numer().bits().max(value.denom().bits()) > MAX_BITS {
            return None;
        }
        Some(match (value.numer().to_i64(), value.denom().to_i64()) {
            (Some(numerator), Some(denominator)) => Self::Small { numerator, denominator },
            _ => Self::Big(Box::new(value)),
        })
    }
}

fn exact_root(value: &BigInt, index: u32) -> Option<BigInt> {
    if value.is_zero() || index == 1 {
        return Some(value.clone());
    }
    if u64::from(index) > value.bits() {
        return (value.magnitude().bits() == 1).then(|| value.clone());
    }
    let root = value.nth_root(index);
    (root.pow(index) == *value).then_some(root)
}

impl fmt::Display for Rational {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small { numerator, denominator: 1 } => write!(out, "{numerator}"),
            Self::Small { numerator, denominator } => write!(out, "{numerator}/{denominator}"),
            Self::Big(value) => write!(out, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_big_fractions_reduce_to_one_form() {
        let half = Rational::integer(1).div(&Rational::integer(2)).unwrap();
        assert_eq!(Rational::from_digits("0", "50"), Some(half.clone()));
        assert_eq!(half.add(&half), Some(Rational::ONE));
        let big = Rational::integer(10).pow(40).unwrap();
        assert!(matches!(big, Rational::Big(_)));
        assert_eq!(big.div(&big), Some(Rational::ONE));
    }

    #[test]
    fn powers_and_digits_past_the_bounds_are_refused() {
        assert_eq!(Rational::integer(9).pow(1_000_000), None);
        assert_eq!(Rational::from_digits(&"9".repeat(MAX_DIGITS + 1), ""), None);
        assert_eq!(Rational::ZERO.pow(-1), None);
    }

    #[test]
    fn only_exact_roots_are_rational() {
        assert_eq!(Rational::integer(49).root(2), Some(Rational::integer(7)));
        assert_eq!(Rational::integer(-8).root(3), Some(Rational::integer(-2)));
        assert_eq!(Rational::integer(2).root(2), None);
        assert_eq!(Rational::integer(i64::MIN).neg().unwrap().to_string(), "9223372036854775808");
    }
}
