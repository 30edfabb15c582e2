//! When an answer equals a label. Asymmetric on purpose; see [`super`] for the rules.

use super::canonical;
use super::limits::MAX_MATCHED;
use super::numeric;
use super::relations;
use super::residue;
use super::value::{Value, is_infinite};

/// Whether the answer stands for the label's value.
pub(crate) fn equal(label: &Value, answer: &Value) -> bool {
    if let (Value::Rational(a), Value::Rational(b)) = (label, answer) {
        return a == b;
    }
    if has_unit(label) || has_unit(answer) {
        return with_units(label, answer);
    }
    match (label, answer) {
        (Value::Blank, _) | (_, Value::Blank) => false,
        (Value::Relation(..), Value::Relation(..)) => same_relation(label, answer),
        (Value::Relation(..), _) => {
            if let Some((_, value)) = relations::definition(label) {
                return equal(value, answer);
            }
            if let Some(set) = relations::membership(label) {
                return equal(set, answer);
            }
            relations::interval(label).is_some_and(|(_, value)| equal(&value, answer))
        }
        (_, Value::Relation(..)) => {
            relations::definition(answer).is_some_and(|(_, value)| equal(label, value))
        }
        (Value::BaseN { digits: a, base: b }, Value::BaseN { digits: c, base: d }) => {
            b == d && a.eq_ignore_ascii_case(c)
        }
        (Value::Text(a), Value::Text(b)) | (Value::Opaque(a), Value::Opaque(b)) => a == b,
        (Value::Matrix { columns: a, cells: b }, Value::Matrix { columns: c, cells: d }) => {
            a == c && in_order(b, d)
        }
        (
            Value::Tuple { open: a, close: b, items: left },
            Value::Tuple { open: c, close: d, items: right },
        ) => (left.len() != 2 || (a, b) == (c, d)) && in_order(left, right),
        (Value::Tuple { open: b'(', close: b')', items: left }, Value::List(right))
        | (Value::List(left), Value::Tuple { open: b'(', close: b')', items: right }) => {
            !left.iter().chain(right).any(is_infinite) && in_order(left, right)
        }
        (Value::List(left), Value::List(right)) => {
            let ordered = defines_several(left) && !right.iter().any(is_relation);
            if ordered { in_order(left, right) } else { in_any_order(left, right) }
        }
        (Value::List(left), Value::Union(_)) => {
            relations::union_of_inequalities(left).is_some_and(|union| equal(&union, answer))
        }
        (Value::Union(left), Value::Union(right)) => in_any_order(left, right),
        (Value::Set(left), Value::Set(right)) => in_any_order(&distinct(left), &distinct(right)),
        (Value::Set(left), Value::List(right)) => in_any_order(&distinct(left), right),
        (Value::List(left), Value::Set(right)) => in_any_order(left, &distinct(right)),
        (Value::Set(items), _) => match distinct(items).as_slice() {
            [only] => equal(only, answer),
            _ => false,
        },
        (_, Value::Set(items)) => match distinct(items).as_slice() {
            [only] => equal(label, only),
            _ => false,
        },
        _ => label.is_scalar() && answer.is_scalar() && same_scalar(label, answer),
    }
}

fn has_unit(value: &Value) -> bool {
    matches!(value, Value::Percent(_) | Value::Degree(_) | Value::Quantity(..))
}

/// The number under a unit, and the unit's name.
fn split_unit(value: &Value) -> (&Value, Option<&str>) {
    match value {
        Value::Percent(of) => (of, Some("percent")),
        Value::Degree(of) => (of, Some("degree")),
        Value::Quantity(of, unit) => (of, Some(&unit.0)),
        bare => (bare, None),
    }
}

fn with_units(label: &Value, answer: &Value) -> bool {
    let ((a, left), (b, right)) = (split_unit(label), split_unit(answer));
    match (left, right) {
        (Some(left), Some(right)) => left == right && equal(a, b),
        (Some("percent"), None) => equal(a, b) || equal(&hundredth(a), b),
        (None, Some("percent")) => equal(a, b) || equal(a, &hundredth(b)),
        _ => equal(a, b),
    }
}

fn hundredth(value: &Value) -> Value {
    value.clone().over(Value::integer(100))
}

/// Whether two scalars have one value, without leave for units: `50\%` is one half.
pub(crate) fn same_scalar(label: &Value, answer: &Value) -> bool {
    if let (Value::Rational(a), Value::Rational(b)) = (label, answer) {
        return a == b;
    }
    match (residue::evaluate(label, 0), residue::evaluate(answer, 0)) {
        (Some(a), Some(b)) => {
            a.element == b.element
                || (!(a.exact && b.exact) && numeric::agree(label, answer) == Some(true))
        }
        _ => label == answer,
    }
}

fn is_relation(value: &Value) -> bool {
    matches!(value, Value::Relation(..))
}

/// Whether the items define at least two different names.
pub(crate) fn defines_several(items: &[Value]) -> bool {
    let mut names = items.iter().filter_map(relations::definition).map(|(name, _)| name);
    names.next().is_some_and(|first| names.any(|name| name != first))
}

fn same_relation(label: &Value, answer: &Value) -> bool {
    if let (Some((a, left)), Some((b, right))) =
        (relations::definition(label), relations::definition(answer))
        && a == b
    {
        return equal(left, right);
    }
    if let (Some((a, left)), Some((b, right))) =
        (relations::interval(label), relations::interval(answer))
    {
        return a == b && equal(&left, &right);
    }
    if let (Some(left), Some(right)) =
        (relations::equation_signature(label), relations::equation_signature(answer))
    {
        return left == right;
    }
    let (Value::Relation(a, left), Value::Relation(b, right)) = (label, answer) else {
        return false;
    };
    left.len() == right.len()
        && equal(a, b)
        && left.iter().zip(right).all(|((x, l), (y, r))| x == y && equal(l, r))
}

fn in_order(left: &[Value], right: &[Value]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| equal(a, b))
}

/// Whether the items pair off. Greedy pairing decides it, since equality of elements is an
/// equivalence; long lists compare by canonical form to stay linear.
fn in_any_order(left: &[Value], right: &[Value]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    if left.len() > MAX_MATCHED {
        return canonical::sorted_keys(left) == canonical::sorted_keys(right);
    }
    let mut taken = [false; MAX_MATCHED];
    left.iter().all(|a| {
        let free = (0..right.len()).find(|&at| !taken[at] && equal(a, &right[at]));
        if let Some(at) = free {
            taken[at] = true;
        }
        free.is_some()
    })
}

/// The elements of a set, once each by canonical form.
fn distinct(items: &[Value]) -> Vec<Value> {
    let mut seen = std::collections::BTreeSet::new();
    items.iter().filter(|item| seen.insert(canonical::key(item))).cloned().collect()
}
