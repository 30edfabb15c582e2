//! The field with p² elements in which expressions are compared exactly.
//!
//! p = 2^61 - 465 is prime and 3 modulo 4, so -1 has no square root modulo p and adjoining one
//! gives the field; that root serves as the imaginary unit. p - 1 is coprime to 3, 5, 7, 9, 11 and
//! 13, so each residue has exactly one root of those orders and taking it respects products.

use super::rational::Rational;

/// The characteristic, 2^61 - 465.
pub(crate) const P: u64 = 2_305_843_009_213_693_487;

/// `re + im * i` modulo [`P`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Element {
    pub(crate) re: u64,
    pub(crate) im: u64,
}

impl Element {
    pub(crate) const ZERO: Self = Self { re: 0, im: 0 };
    pub(crate) const ONE: Self = Self { re: 1, im: 0 };
    pub(crate) const IMAGINARY: Self = Self { re: 0, im: 1 };

    /// Returns a pseudo-random element; two different seeds practically never share one.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let first = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
        Self { re: first % P, im: mix(first) % P }
    }

    pub(crate) fn from_rational(value: &Rational) -> Option<Self> {
        if let Rational::Small { numerator, denominator } = value {
            let top = residue(*numerator);
            let re = match denominator {
                1 => top,
                _ => mul_mod(top, invert_mod(residue(*denominator))?),
            };
            return Some(Self { re, im: 0 });
        }
        let value = value.to_big();
        let modulus = num_bigint::BigInt::from(P);
        let reduce = |integer: &num_bigint::BigInt| {
            let rest = ((integer % &modulus) + &modulus) % &modulus;
            u64::try_from(rest).ok()
        };
        let bottom = invert_mod(reduce(value.denom())?)?;
        Some(Self { re: mul_mod(reduce(value.numer())?, bottom), im: 0 })
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    pub(crate) fn add(self, other: Self) -> Self {
        Self { re: add_mod(self.re, other.re), im: add_mod(self.im, other.im) }
    }

    pub(crate) fn neg(self) -> Self {
        Self { re: sub_mod(0, self.re), im: sub_mod(0, self.im) }
    }

    pub(crate) fn mul(self, other: Self) -> Self {
        if self.im == 0 && other.im == 0 {
            return Self { re: mul_mod(self.re, other.re), im: 0 };
        }
        let re = sub_mod(mul_mod(self.re, other.re), mul_mod(self.im, other.im));
        let im = add_mod(mul_mod(self.re, other.im), mul_mod(self.im, other.re));
        Self { re, im }
    }

    /// `None` for zero.
    pub(crate) fn invert(self) -> Option<Self> {
        let norm = add_mod(mul_mod(self.re, self.re), mul_mod(self.im, self.im));
        let scale = invert_mod(norm)?;
        Some(Self { re: mul_mod(self.re, scale), im: mul_mod(sub_mod(0, self.im), scale) })
    }

    pub(crate) fn pow(self, exponent: u64) -> Self {
        let (mut base, mut rest, mut result) = (self, exponent, Self::ONE);
        while rest > 0 {
            if rest & 1 == 1 {
                result = result.mul(base);
            }
            rest >>= 1;
            if rest > 0 {
                base = base.mul(base);
            }
        }
        result
    }
}

/// Returns the chosen square root of a residue: in the base field if there is one, else imaginary.
pub(crate) fn square_root(value: u64) -> Element {
    let root = pow_mod(value, P.div_ceil(4));
    if mul_mod(root, root) == value {
        return Element { re: root.min(P - root), im: 0 };
    }
    let root = pow_mod(sub_mod(0, value), P.div_ceil(4));
    Element { re: 0, im: root.min(P - root) }
}

/// Returns the only root of odd order `index` of a residue; `None` if the order shares a factor
/// with p - 1.
pub(crate) fn odd_root(value: u64, index: u32) -> Option<u64> {
    let order = i128::from(P - 1);
    let inverse = invert(i128::from(index), order)?;
    Some(pow_mod(value, u64::try_from(inverse).ok()?))
}

/// Returns the fraction with a numerator under 2^40 and a denominator under 2^18 that has this
/// residue. One residue in sixteen has one by chance: confirm it otherwise.
pub(crate) fn reconstruct(value: u64) -> Option<(i64, i64)> {
    let (mut r0, mut r1) = (i128::from(P), i128::from(value));
    let (mut t0, mut t1) = (0_i128, 1_i128);
    while r1 >= 1 << 40 {
        let quotient = r0 / r1;
        (r0, r1) = (r1, r0 - quotient * r1);
        (t0, t1) = (t1, t0 - quotient * t1);
    }
    if t1 == 0 || t1.abs() >= 1 << 18 {
        return None;
    }
    let sign = t1.signum();
    Some((i64::try_from(r1 * sign).ok()?, i64::try_from(t1 * sign).ok()?))
}

/// Applies the splitmix64 finaliser.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn residue(value: i64) -> u64 {
    let magnitude = value.unsigned_abs() % P;
    if value < 0 { sub_mod(0, magnitude) } else { magnitude }
}

fn add_mod(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= P { sum - P } else { sum }
}

fn sub_mod(a: u64, b: u64) -> u64 {
    if a >= b { a - b } else { a + P - b }
}

/// Folds the high bits down: 2^61 is 465 modulo p.
fn mul_mod(a: u64, b: u64) -> u64 {
    const MASK: u128 = (1 << 61) - 1;
    let product = u128::from(a) * u128::from(b);
    let once = (product & MASK) + (product >> 61) * 465;
    let twice = (once & MASK) + (once >> 61) * 465;
    let rest = twice as u64;
    if rest >= P { rest - P } else { rest }
}

fn pow_mod(base: u64, exponent: u64) -> u64 {
    Element { re: base, im: 0 }.pow(exponent).re
}

fn invert_mod(value: u64) -> Option<u64> {
    u64::try_from(invert(i128::from(value), i128::from(P))?).ok()
}

fn invert(value: i128, modulus: i128) -> Option<i128> {
    let (mut r0, mut r1) = (modulus, value % modulus);
    let (mut t0, mut t1) = (0_i128, 1_i128);
    while r1 != 0 {
        let quotient = r0 / r1;
        (r0, r1) = (r1, r0 - quotient * r1);
        (t0, t1) = (t1, t0 - quotient * t1);
    }
    (r0 == 1).then(|| t0.rem_euclid(modulus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nonzero_element_has_an_inverse() {
        for seed in 0..200 {
            let element = Element::from_seed(seed);
            assert_eq!(element.mul(element.invert().unwrap()), Element::ONE);
        }
        assert_eq!(Element::ZERO.invert(), None);
    }

    #[test]
    fn roots_raise_back_to_their_radicand() {
        for value in 2..200 {
            let root = square_root(value);
            assert_eq!(root.mul(root), Element { re: value, im: 0 });
            for index in [3, 5, 7, 9, 11, 13] {
                assert_eq!(pow_mod(odd_root(value, index).unwrap(), index.into()), value);
            }
        }
        assert_eq!(odd_root(2, 2), None);
    }

    #[test]
    fn small_fractions_are_recovered_from_their_residue() {
        for (top, bottom) in [(1, 2), (-22, 7), (123_456_789, 1000), (0, 1)] {
            let fraction = Rational::integer(top).div(&Rational::integer(bottom)).unwrap();
            let residue = Element::from_rational(&fraction).unwrap();
            assert_eq!(reconstruct(residue.re), Some((top, bottom)));
        }
    }

    #[test]
    fn products_agree_with_wide_division() {
        for seed in 0..500 {
            let (a, b) = (mix(seed) % P, mix(seed + 1000) % P);
            let expected = u128::from(a) * u128::from(b) % u128::from(P);
            assert_eq!(u128::from(mul_mod(a, b)), expected);
        }
        assert_eq!(mul_mod(P - 1, P - 1), 1);
    }
}
