//! Canonical forms: the equivalence that votes group by.
//!
//! Two answers vote together when their keys are the same string, so this is an equivalence
//! whatever the grammar does. It reads an answer as grading does: equal keys mean that `verify`
//! accepts the pair in both orders, and different keys that it refuses it in both, but for the
//! kinds on which grading is no equivalence, so that no partition could agree with it:
//!
//! - Units: 5 cm and 5 kg both equal 5. The class drops the unit; 50 % is filed under 50.
//! - Names: x = 5 and y = 5 both equal 5. The class drops the name, but `x = 5, y = 3` is filed
//!   under (5, 3).
//! - Lists: `2, 4` equals the tuple (2, 4) and the set {4, 2}. It is filed under the set.
//! - Curves: y = 2x equals 2x and 2y = 4x. The class is that of the equation.
//!
//! Where doubles decide, an expression with symbols may split: the root of x and x to the power
//! of one half are two classes.

use super::field::reconstruct;
use super::numeric;
use super::rational::Rational;
use super::relations;
use super::relations::{coordinates, defines_several};
use super::residue;
use super::value::Value;

/// Returns the canonical form of a value.
pub(crate) fn key(value: &Value) -> String {
    match value {
        Value::Rational(number) => number.to_string(),
        Value::Percent(of) | Value::Degree(of) | Value::Quantity(of, _) => key(of),
        Value::BaseN { digits, base } => format!("{}_{base}", digits.to_ascii_uppercase()),
        Value::Tuple { open, close, items } if items.len() == 2 => {
            let keys = items.iter().map(key).collect::<Vec<_>>().join(", ");
            match (*open, *close) {
                (b']', b'[') => format!("({keys})"),
                (open, close) => format!("{}{keys}{}", char::from(open), char::from(close)),
            }
        }
        Value::Tuple { items, .. } => enclosed("(", items.iter().map(key).collect(), ")"),
        Value::Set(items) => {
            let mut keys = sorted_keys(items);
            keys.dedup();
            match keys.len() {
                1 => keys.swap_remove(0),
                _ => enclosed("{", keys, "}"),
            }
        }
        Value::List(items) if coordinates(items).is_some() => {
            let values = coordinates(items).unwrap_or_default();
            enclosed("(", values.iter().map(key).collect(), ")")
        }
        Value::List(items) if defines_several(items) => {
            let mut keys = items
                .iter()
                .map(|item| match relations::definition(item) {
                    Some((name, value)) => format!("{name:x}={}", key(value)),
                    None => key(item),
                })
                .collect::<Vec<_>>();
            keys.sort_unstable();
            enclosed("where ", keys, "")
        }
        Value::List(items) => match relations::union_of_inequalities(items) {
            Some(union) => key(&union),
            None => enclosed("{", sorted_keys(items), "}"),
        },
        Value::Union(parts) => enclosed("union ", sorted_keys(parts), ""),
        Value::Matrix { columns, cells } => {
            enclosed(&format!("matrix/{columns} "), cells.iter().map(key).collect(), "")
        }
        Value::Relation(first, rest) => relation_key(value, first, rest),
        Value::Modulo(of, modulus) => format!("{} mod {}", key(of), key(modulus)),
        Value::Text(words) => format!("\"{words}\""),
        Value::Opaque(writing) => format!("`{writing}`"),
        Value::Blank => String::new(),
        scalar => scalar_key(scalar),
    }
}

/// Returns the keys of the items in order of the keys.
pub(crate) fn sorted_keys(items: &[Value]) -> Vec<String> {
    let mut keys = items.iter().map(key).collect::<Vec<_>>();
    keys.sort_unstable();
    keys
}

fn enclosed(open: &str, keys: Vec<String>, close: &str) -> String {
    format!("{open}{}{close}", keys.join(", "))
}

/// Returns the rational itself where there is one; for other numbers ten digits of their value, so
/// that nested radicals and sines meet what they equal; for expressions the residue; the tree where
/// there is none.
fn scalar_key(scalar: &Value) -> String {
    let Some(residue) = residue::evaluate(scalar, 0) else {
        return format!("undefined {scalar:?}");
    };
    let element = residue.element;
    let value = numeric::evaluate(scalar, 0);
    if residue.exact
        && element.im == 0
        && let Some((numerator, denominator)) = reconstruct(element.re)
        && let Some(rational) = Rational::integer(numerator).div(&Rational::integer(denominator))
        && let Some(value) = value
    {
        let gap = (value.re - rational.to_f64()).hypot(value.im);
        if gap <= numeric::TOLERANCE * value.norm().max(1e-3) {
            return rational.to_string();
        }
    }
    match value.filter(|_| relations::is_closed(scalar)) {
        Some(value) => numeric_key(value, residue.exact),
        None => format!("#{:016x}{:016x}", element.re, element.im),
    }
}

/// Ten digits of a number; the small rational that it is within rounding, where that is unproven.
fn numeric_key(value: numeric::Complex, exact: bool) -> String {
    let size = value.norm();
    if size < 1e-12 {
        return "0".to_owned();
    }
    if !exact && value.im.abs() < 1e-12 * size {
        for denominator in 1..=60_i64 {
            let numerator = (value.re * denominator as f64).round();
            let gap = (value.re - numerator / denominator as f64).abs();
            if numerator.abs() < 1e9 && gap <= 1e-12 * size {
                let denominator = Rational::integer(denominator);
                let rational = Rational::integer(numerator as i64).div(&denominator);
                return rational.unwrap_or(Rational::ZERO).to_string();
            }
        }
    }
    let scale = 10_f64.powi(9 - size.log10().floor() as i32);
    let digits = |part: f64| (part * scale).round() + 0.0;
    format!("~{:.0},{:.0}/{scale:e}", digits(value.re), digits(value.im))
}

fn relation_key(
    value: &Value,
    first: &Value,
    rest: &[(super::value::RelationOp, Value)],
) -> String {
    if let Some(stated) = relations::stated(value)
        && (relations::is_closed(stated) || !relations::defines_coordinate(value))
    {
        return key(stated);
    }
    if let Some(set) = relations::membership(value) {
        return key(set);
    }
    if let Some((_, interval)) = relations::interval(value) {
        return key(&interval);
    }
    if let Some([a, b]) = relations::equation_signature(value) {
        return format!("equation {:x}.{:x}.{:x}.{:x}", a.re, a.im, b.re, b.im);
    }
    let mut text = key(first);
    for (op, side) in rest {
        text.push_str(&format!(" {op:?} {}", key(side)));
    }
    text
}
