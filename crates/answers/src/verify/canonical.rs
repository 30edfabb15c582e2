//! Canonical forms: the equivalence that votes group by.
//!
//! Two answers vote together when their keys are the same string, so this is an equivalence
//! whatever the grammar does. It is finer than `verify` (numeric agreement and an ordered list
//! against a tuple do not merge classes) and coarser in two named places: units are dropped, and
//! `x = 5` is filed under 5. Outside of these, equal keys imply that `verify` accepts the pair in
//! at least one order, and in both unless one of the two is a membership or an inequality.

use super::compare::defines_several;
use super::field::reconstruct;
use super::numeric;
use super::rational::Rational;
use super::relations;
use super::residue;
use super::value::Value;

/// The canonical form of a value.
pub(crate) fn key(value: &Value) -> String {
    match value {
        Value::Rational(number) => number.to_string(),
        Value::Percent(of) | Value::Degree(of) | Value::Quantity(of, _) => key(of),
        Value::BaseN { digits, base } => format!("{}_{base}", digits.to_ascii_uppercase()),
        Value::Tuple { open, close, items } if items.len() == 2 => {
            let keys = items.iter().map(key).collect::<Vec<_>>().join(", ");
            format!("{}{keys}{}", char::from(*open), char::from(*close))
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
        Value::Text(words) => format!("\"{words}\""),
        Value::Opaque(writing) => format!("`{writing}`"),
        Value::Blank => String::new(),
        scalar => scalar_key(scalar),
    }
}

/// The keys of the items in order of the keys.
pub(crate) fn sorted_keys(items: &[Value]) -> Vec<String> {
    let mut keys = items.iter().map(key).collect::<Vec<_>>();
    keys.sort_unstable();
    keys
}

fn enclosed(open: &str, keys: Vec<String>, close: &str) -> String {
    format!("{open}{}{close}", keys.join(", "))
}

/// The rational itself where the residue has one and doubles confirm it, else the residue; the
/// tree where there is no residue.
fn scalar_key(scalar: &Value) -> String {
    let Some(residue) = residue::evaluate(scalar, 0) else {
        return format!("undefined {scalar:?}");
    };
    let element = residue.element;
    if residue.exact
        && element.im == 0
        && let Some((numerator, denominator)) = reconstruct(element.re)
        && let Some(rational) = Rational::integer(numerator).div(&Rational::integer(denominator))
        && let Some(value) = numeric::evaluate(scalar, 0)
    {
        let gap = (value.re - rational.to_f64()).hypot(value.im);
        if gap <= numeric::TOLERANCE * value.norm().max(1e-3) {
            return rational.to_string();
        }
    }
    format!("#{:016x}{:016x}", element.re, element.im)
}

fn relation_key(
    value: &Value,
    first: &Value,
    rest: &[(super::value::RelationOp, Value)],
) -> String {
    if let Some((_, defined)) =
        relations::definition(value).filter(|(_, d)| relations::is_closed(d))
    {
        return key(defined);
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
