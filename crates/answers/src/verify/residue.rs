//! Evaluation in the field of [`super::field`]: identity of expressions at a random point.
//!
//! Each free symbol, π and e stand for fixed pseudo-random elements. Two rational expressions of
//! degree d that differ agree at such a point with probability at most d / p², about d * 2^-122
//! (Schwartz and Zippel); the exponents in an answer are bounded by its length, so no two honest
//! answers meet by chance. Square roots and odd roots of rationals are taken prime by prime, and
//! logarithms of rationals likewise, so that √2·√3 = √6 and log_2 8 = 3 hold exactly.
//!
//! Anything without a field meaning (sine, roots of sums, symbolic exponents) becomes a pseudo-random
//! function of its argument's residue: equal arguments give equal residues, and a difference
//! between two such residues is *inexact*, proving nothing.

use super::field::{Element, mix, odd_root, square_root};
use super::rational::Rational;
use super::value::{Function, Value};

/// A residue, and whether different residues mean different values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Residue {
    pub(crate) element: Element,
    pub(crate) exact: bool,
}

/// Seeds of the constants, far from the ASCII symbols.
const PI: u64 = 0x7069;
const EULER: u64 = 0x6575_6c65_7221;
const INFINITY: u64 = 0x696e_6669_6e69;

/// Trial divisors; a cofactor past them counts as prime.
const LARGEST_DIVISOR: u64 = 1000;

/// Returns the residue of a scalar at a numbered point; `None` where it is undefined (a zero
/// divisor).
pub(crate) fn evaluate(value: &Value, point: u64) -> Option<Residue> {
    match value {
        Value::Rational(number) => exact(Element::from_rational(number)?),
        Value::Pi => exact(Element::from_seed(PI)),
        Value::Euler => exact(Element::from_seed(EULER)),
        Value::Infinity => exact(Element::from_seed(INFINITY)),
        Value::Imaginary => exact(Element::IMAGINARY),
        Value::Symbol(name) => exact(Element::from_seed(mix(*name ^ mix(point)))),
        Value::Add(terms) => combine(terms, point, Element::ZERO, Element::add),
        Value::Mul(factors) => combine(factors, point, Element::ONE, Element::mul),
        Value::Div(top, bottom) => {
            let (top, bottom) = (evaluate(top, point)?, evaluate(bottom, point)?);
            Some(Residue {
                element: top.element.mul(bottom.element.invert()?),
                exact: top.exact && bottom.exact,
            })
        }
        Value::Pow(base, exponent) => power(base, exponent, point),
        Value::Root(index, of) => root(of, *index, point),
        Value::Call(function, arguments) => call(*function, arguments, point),
        Value::Percent(of) => scaled(
            evaluate(of, point)?,
            evaluate(&Value::integer(1).over(Value::integer(100)), point)?,
        ),
        Value::Degree(of) => {
            let half_turn = Value::Pi.over(Value::integer(180));
            scaled(evaluate(of, point)?, evaluate(&half_turn, point)?)
        }
        _ => None,
    }
}

fn exact(element: Element) -> Option<Residue> {
    Some(Residue { element, exact: true })
}

fn scaled(of: Residue, by: Residue) -> Option<Residue> {
    Some(Residue { element: of.element.mul(by.element), exact: of.exact })
}

fn combine(
    parts: &[Value],
    point: u64,
    start: Element,
    join: impl Fn(Element, Element) -> Element,
) -> Option<Residue> {
    let mut total = Residue { element: start, exact: true };
    for part in parts {
        let part = evaluate(part, point)?;
        total.element = join(total.element, part.element);
        total.exact &= part.exact;
    }
    Some(total)
}

fn power(base: &Value, exponent: &Value, point: u64) -> Option<Residue> {
    if let Value::Rational(rational) = exponent {
        if let Some(whole) = rational.to_i64() {
            let base = evaluate(base, point)?;
            let raised = base.element.pow(whole.unsigned_abs());
            let element = if whole < 0 { raised.invert()? } else { raised };
            return Some(Residue { element, exact: base.exact });
        }
        if let Rational::Small { numerator, denominator } = rational
            && let Ok(index) = u32::try_from(*denominator)
        {
            let root = root(base, index, point)?;
            let raised = root.element.pow(numerator.unsigned_abs());
            let element = if *numerator < 0 { raised.invert()? } else { raised };
            return Some(Residue { element, exact: root.exact });
        }
    }
    opaque(0x706f77, &[evaluate(base, point)?, evaluate(exponent, point)?])
}

fn root(of: &Value, index: u32, point: u64) -> Option<Residue> {
    let inside = evaluate(of, point)?;
    let rational = match of {
        Value::Rational(number) => Some(number),
        _ => None,
    };
    if let Some(Rational::Small { numerator, denominator }) = rational {
        let top = root_of_integer(numerator.unsigned_abs(), index);
        let bottom = root_of_integer(denominator.unsigned_abs(), index);
        if let (Some(top), Some(bottom)) = (top, bottom) {
            let positive = top.mul(bottom.invert()?);
            return exact(match (*numerator < 0, index.is_multiple_of(2)) {
                (false, _) => positive,
                (true, false) => positive.neg(),
                (true, true) => positive.mul(Element::IMAGINARY),
            });
        }
    }
    opaque(0x726f_6f74 ^ (u64::from(index) << 32), &[inside])
}

/// Returns the root of a natural number, one prime at a time.
fn root_of_integer(value: u64, index: u32) -> Option<Element> {
    let prime_root = |prime: u64| match index {
        2 => Some(square_root(prime % super::field::P)),
        _ if index % 2 == 1 => {
            Some(Element { re: odd_root(prime % super::field::P, index)?, im: 0 })
        }
        _ => None,
    };
    let mut product = Element::ONE;
    each_prime(value, |prime, count| {
        let whole = Element { re: prime % super::field::P, im: 0 }.pow(count / u64::from(index));
        let part = count % u64::from(index);
        let rooted = if part == 0 { Element::ONE } else { prime_root(prime)?.pow(part) };
        product = product.mul(whole).mul(rooted);
        Some(())
    })?;
    Some(product)
}

/// Calls `visit` with every prime of a natural number and its multiplicity.
fn each_prime(value: u64, mut visit: impl FnMut(u64, u64) -> Option<()>) -> Option<()> {
    let mut rest = value;
    if rest == 0 {
        return None;
    }
    let mut divisor = 2;
    while divisor <= LARGEST_DIVISOR && divisor * divisor <= rest {
        let mut count = 0;
        while rest.is_multiple_of(divisor) {
            rest /= divisor;
            count += 1;
        }
        if count > 0 {
            visit(divisor, count)?;
        }
        divisor += if divisor == 2 { 1 } else { 2 };
    }
    let root = rest.isqrt();
    if rest > 1 && root * root == rest {
        return visit(root, 2);
    }
    if rest > 1 { visit(rest, 1) } else { Some(()) }
}

fn call(function: Function, arguments: &[Value], point: u64) -> Option<Residue> {
    let argument = arguments.first()?;
    match function {
        Function::Tan => ratio(sine(argument, point)?, cosine(argument, point)?),
        Function::Cot => ratio(cosine(argument, point)?, sine(argument, point)?),
        Function::Sec => {
            ratio(Residue { element: Element::ONE, exact: true }, cosine(argument, point)?)
        }
        Function::Csc => {
            ratio(Residue { element: Element::ONE, exact: true }, sine(argument, point)?)
        }
        Function::Sin => sine(argument, point),
        Function::Cos => cosine(argument, point),
        Function::Ln => logarithm(argument, point),
        _ => {
            let residues =
                arguments.iter().map(|part| evaluate(part, point)).collect::<Option<Vec<_>>>()?;
            opaque(0x6675_6e63 ^ ((function as u64) << 40), &residues)
        }
    }
}

fn sine(argument: &Value, point: u64) -> Option<Residue> {
    opaque(0x73_696e, &[evaluate(argument, point)?])
}

fn cosine(argument: &Value, point: u64) -> Option<Residue> {
    opaque(0x63_6f73, &[evaluate(argument, point)?])
}

fn ratio(top: Residue, bottom: Residue) -> Option<Residue> {
    let element = top.element.mul(bottom.element.invert()?);
    Some(Residue { element, exact: top.exact && bottom.exact })
}

/// Logarithms of positive rationals are sums over primes; ln e is 1.
fn logarithm(argument: &Value, point: u64) -> Option<Residue> {
    if *argument == Value::Euler {
        return exact(Element::ONE);
    }
    if let Value::Rational(Rational::Small { numerator, denominator }) = argument
        && *numerator > 0
    {
        let mut total = Element::ZERO;
        for (integer, negative) in [(*numerator, false), (*denominator, true)] {
            each_prime(integer.unsigned_abs(), |prime, count| {
                let term =
                    Element::from_seed(mix(prime) ^ 0x6c6e).mul(Element { re: count, im: 0 });
                total = total.add(if negative { term.neg() } else { term });
                Some(())
            })?;
        }
        return exact(total);
    }
    opaque(0x6c_6f67, &[evaluate(argument, point)?])
}

/// Returns a pseudo-random function of residues.
fn opaque(tag: u64, arguments: &[Residue]) -> Option<Residue> {
    let seed = arguments.iter().fold(mix(tag), |seed, argument| {
        mix(mix(seed ^ argument.element.re).wrapping_add(argument.element.im))
    });
    Some(Residue { element: Element::from_seed(seed), exact: false })
}
