//! Evaluation in complex doubles: the second opinion where residues prove nothing.
//!
//! Symbols stand for fixed pseudo-random reals: positive ones first, so that identities hold on the
//! principal branch, then ones of either sign where both sides stay real, so that √(x²) is |x| and
//! not x. Agreement within [`TOLERANCE`] at every point counts as identity; two different
//! functions that agree so closely at all of them would be taken for one.

use super::field::mix;
use super::value::{Function, Value};

/// Relative difference allowed; six digits above the rounding of a short expression.
pub(crate) const TOLERANCE: f64 = 1e-9;

/// Points at which expressions with symbols are compared.
pub(crate) const NUM_POINTS: u64 = 4;

/// The first of the points at which symbols have either sign.
const SIGNED_POINTS: u64 = 1 << 32;

/// A complex number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Complex {
    pub(crate) re: f64,
    pub(crate) im: f64,
}

impl Complex {
    const ONE: Self = Self { re: 1.0, im: 0.0 };

    fn real(re: f64) -> Self {
        Self { re, im: 0.0 }
    }

    pub(crate) fn norm(self) -> f64 {
        self.re.hypot(self.im)
    }

    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    fn scale(self, factor: f64) -> Self {
        Self { re: self.re * factor, im: self.im * factor }
    }

    fn mul(self, other: Self) -> Self {
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }

    fn div(self, other: Self) -> Self {
        let norm = other.re * other.re + other.im * other.im;
        self.mul(Self { re: other.re, im: -other.im }).scale(1.0 / norm)
    }

    fn exp(self) -> Self {
        let size = self.re.exp();
        if self.im == 0.0 {
            return Self::real(size);
        }
        Self { re: size * self.im.cos(), im: size * self.im.sin() }
    }

    fn ln(self) -> Self {
        Self { re: self.norm().ln(), im: self.im.atan2(self.re) }
    }

    fn pow(self, exponent: Self) -> Self {
        if exponent.im == 0.0 && exponent.re.fract() == 0.0 && exponent.re.abs() <= 1024.0 {
            let mut result = Self::ONE;
            for _ in 0..exponent.re.abs() as u32 {
                result = result.mul(self);
            }
            return if exponent.re < 0.0 { Self::ONE.div(result) } else { result };
        }
        if self.norm() == 0.0 {
            return Self::real(if exponent.re > 0.0 { 0.0 } else { f64::NAN });
        }
        exponent.mul(self.ln()).exp()
    }

    fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite()
    }
}

/// Returns whether two scalars agree at every point; `None` when one of them is undefined at one.
pub(crate) fn agree(left: &Value, right: &Value) -> Option<bool> {
    Some(agree_where_positive(left, right)? && agree_with_signs(left, right))
}

/// Returns whether two scalars agree where all symbols are positive, as the published graders take them.
pub(crate) fn agree_where_positive(left: &Value, right: &Value) -> Option<bool> {
    for point in 0..NUM_POINTS {
        let (a, b) = (evaluate(left, point)?, evaluate(right, point)?);
        let gap = Complex { re: a.re - b.re, im: a.im - b.im }.norm();
        if gap > TOLERANCE * a.norm().max(b.norm()).max(1e-3) {
            return Some(false);
        }
    }
    Some(true)
}

/// Returns whether two scalars that agree for positive symbols do so for symbols of either sign, as far
/// as both are real throughout: x is neither |x| nor √(x²).
///
/// Where one of them leaves the reals, only magnitudes are held to agree in being defined.
fn agree_with_signs(left: &Value, right: &Value) -> bool {
    let has = |value: &Value, test: fn(&Value) -> bool| value.any(&test);
    let symbolic = |part: &Value| matches!(part, Value::Symbol(_));
    if !has(left, symbolic) && !has(right, symbolic) {
        return true;
    }
    let magnitude = |part: &Value| matches!(part, Value::Call(Function::Abs, _));
    let strict = has(left, magnitude) || has(right, magnitude);
    (SIGNED_POINTS..SIGNED_POINTS + 2 * NUM_POINTS).all(|point| {
        match (real_value(left, point), real_value(right, point)) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-3),
            (None, None) => true,
            _ => !strict,
        }
    })
}

/// Returns the value at a point, if no part of it leaves the reals.
fn real_value(value: &Value, point: u64) -> Option<f64> {
    fn is_real(value: &Value, point: u64) -> bool {
        let positive =
            |of: &Value| evaluate(of, point).is_some_and(|of| of.im == 0.0 && of.re > 0.0);
        let here = match value {
            Value::Imaginary => false,
            Value::Root(index, of) if index % 2 == 0 => positive(of),
            Value::Call(Function::Ln, arguments) => arguments.iter().all(positive),
            Value::Pow(base, exponent) => match &**exponent {
                Value::Rational(number) if number.is_integer() => true,
                _ => positive(base),
            },
            _ => true,
        };
        here && value.all_children(&|child| is_real(child, point))
    }
    let result = evaluate(value, point)?;
    (result.im == 0.0 && is_real(value, point)).then_some(result.re)
}

/// Returns the value at one point; `None` where it is not finite.
pub(crate) fn evaluate(value: &Value, point: u64) -> Option<Complex> {
    let result = match value {
        Value::Rational(number) => Complex::real(number.to_f64()),
        Value::Pi => Complex::real(std::f64::consts::PI),
        Value::Euler => Complex::real(std::f64::consts::E),
        Value::Imaginary => Complex { re: 0.0, im: 1.0 },
        Value::Symbol(name) => Complex::real(sample(*name, point)),
        Value::Add(terms) => {
            let mut sum = Complex::real(0.0);
            for term in terms {
                sum = sum.add(evaluate(term, point)?);
            }
            sum
        }
        Value::Mul(factors) => {
            let mut product = Complex::ONE;
            for factor in factors {
                product = product.mul(evaluate(factor, point)?);
            }
            product
        }
        Value::Div(top, bottom) => evaluate(top, point)?.div(evaluate(bottom, point)?),
        Value::Pow(base, exponent) => evaluate(base, point)?.pow(evaluate(exponent, point)?),
        Value::Root(index, of) => radical(evaluate(of, point)?, *index),
        Value::Percent(of) => evaluate(of, point)?.scale(0.01),
        Value::Degree(of) => evaluate(of, point)?.scale(std::f64::consts::PI / 180.0),
        Value::Call(function, arguments) => call(*function, arguments, point)?,
        _ => return None,
    };
    result.is_finite().then_some(result)
}

/// Returns a real that depends on the symbol and the point: of magnitude 0.25 to 2.25, positive
/// before [`SIGNED_POINTS`].
fn sample(name: u64, point: u64) -> f64 {
    let mixed = mix(name ^ mix(point));
    let magnitude = 0.25 + 2.0 * ((mixed >> 11) as f64 / (1_u64 << 53) as f64);
    if point >= SIGNED_POINTS && mixed & 1 == 1 { -magnitude } else { magnitude }
}

/// Odd roots of negative reals are real, as written in school; the rest are principal.
fn radical(of: Complex, index: u32) -> Complex {
    if of.im == 0.0 && of.re < 0.0 && index % 2 == 1 {
        return Complex::real(-(-of.re).powf(1.0 / f64::from(index)));
    }
    if of.im == 0.0 && of.re >= 0.0 {
        let root = if index == 2 { of.re.sqrt() } else { of.re.powf(1.0 / f64::from(index)) };
        return Complex::real(root);
    }
    of.pow(Complex::real(1.0 / f64::from(index)))
}

fn call(function: Function, arguments: &[Value], point: u64) -> Option<Complex> {
    let first = evaluate(arguments.first()?, point)?;
    if function == Function::Ln {
        return Some(first.ln());
    }
    if function == Function::Abs {
        return Some(Complex::real(first.norm()));
    }
    if function == Function::Conjugate {
        return Some(Complex { re: first.re, im: -first.im });
    }
    // The rest are functions of a real argument here.
    if first.im.abs() > 1e-12 {
        return None;
    }
    let x = first.re;
    Some(Complex::real(match function {
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Tan => x.tan(),
        Function::Cot => x.cos() / x.sin(),
        Function::Sec => 1.0 / x.cos(),
        Function::Csc => 1.0 / x.sin(),
        Function::ArcSin => x.asin(),
        Function::ArcCos => x.acos(),
        Function::ArcTan => x.atan(),
        Function::Sinh => x.sinh(),
        Function::Cosh => x.cosh(),
        Function::Tanh => x.tanh(),
        // A rounding error below a whole number must not change its floor.
        Function::Floor => (x + 1e-9).floor(),
        Function::Ceiling => (x - 1e-9).ceil(),
        Function::Factorial => product_up_to(x)?,
        Function::Binomial => {
            let chosen = evaluate(arguments.get(1)?, point)?.re;
            product_up_to(x)? / (product_up_to(chosen)? * product_up_to(x - chosen)?)
        }
        Function::Ln | Function::Abs | Function::Conjugate => return None,
    }))
}

fn product_up_to(x: f64) -> Option<f64> {
    if x.fract() != 0.0 || !(0.0..=170.0).contains(&x) {
        return None;
    }
    Some((1..=x as u32).map(f64::from).product())
}
