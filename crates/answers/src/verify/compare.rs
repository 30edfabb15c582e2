//! When an answer equals a label. Asymmetric on purpose; see [`super`] for the rules.

use super::canonical;
use super::limits::MAX_MATCHED;
use super::numeric;
use super::relations::{self, coordinates, defines_several};
use super::residue;
use super::value::{Value, is_infinite, is_root_name};

/// Returns whether the answer has the label's value.
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
            if let Some(value) = relations::stated(label) {
                return equal(value, answer);
            }
            relations::region(label).is_some_and(|(_, region)| equal(&region, answer))
        }
        (_, Value::Relation(..)) => {
            if let Some(value) = relations::stated(answer) {
                return equal(label, value);
            }
            relations::region(answer).is_some_and(|(_, region)| equal(label, &region))
        }
        (Value::Modulo(a, m), Value::Modulo(b, n)) => equal(a, b) && equal(m, n),
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
        ) => (left.len() != 2 || same_brackets((*a, *b), (*c, *d))) && in_order(left, right),
        (Value::Tuple { open: b'(', close: b')', items: left }, Value::List(right)) => {
            !left.iter().chain(right).any(is_infinite) && in_order(left, &as_coordinates(right))
        }
        (Value::List(left), Value::Tuple { open: b'(', close: b')', items: right }) => {
            !left.iter().chain(right).any(is_infinite) && in_order(&as_coordinates(left), right)
        }
        (Value::List(left), Value::List(right)) => {
            if let (Some(left), Some(right)) = (unnamed_roots(left), unnamed_roots(right)) {
                return in_any_order(&left, &right);
            }
            let named = |items: &[Value]| items.iter().any(is_relation);
            let ordered = (defines_several(left) && !named(right))
                || (defines_several(right) && !named(left));
            if ordered { in_order(left, right) } else { in_any_order(left, right) }
        }
        (Value::List(left), Value::Union(_)) => {
            relations::union_of_inequalities(left).is_some_and(|union| equal(&union, answer))
        }
        (Value::Union(_), Value::List(right)) => {
            relations::union_of_inequalities(right).is_some_and(|union| equal(label, &union))
        }
        (Value::Union(left), Value::Union(right)) => in_any_order(left, right),
        (Value::Set(left), Value::Set(right)) => in_any_order(&distinct(left), &distinct(right)),
        (Value::Set(left), Value::List(right)) => {
            !defines_several(right) && in_any_order(&distinct(left), right)
        }
        (Value::List(left), Value::Set(right)) => {
            !defines_several(left) && in_any_order(left, &distinct(right))
        }
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

fn same_brackets(left: (u8, u8), right: (u8, u8)) -> bool {
    let plain = |brackets| if brackets == (b']', b'[') { (b'(', b')') } else { brackets };
    plain(left) == plain(right)
}

/// Returns the items of a list that can be coordinates: without names, or each with its own. `x = 1
/// or x = 2` states none.
fn as_coordinates(items: &[Value]) -> Vec<Value> {
    if items.iter().any(is_relation) {
        coordinates(items).unwrap_or_default()
    } else {
        items.to_vec()
    }
}

/// Returns the values of `x_1 = 2, x_2 = 3`, or of a list without names: roots, whose order says
/// nothing.
fn unnamed_roots(items: &[Value]) -> Option<Vec<Value>> {
    let mut roots = Vec::with_capacity(items.len());
    for item in items {
        if !is_relation(item) {
            roots.push(item.clone());
            continue;
        }
        let (name, value) = relations::definition(item)?;
        if !(is_root_name(name) && relations::is_closed(value)) {
            return None;
        }
        roots.push(value.clone());
    }
    Some(roots)
}

fn has_unit(value: &Value) -> bool {
    matches!(value, Value::Percent(_) | Value::Degree(_) | Value::Quantity(..))
}

/// Returns the number under a unit, and the unit's name.
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
        (Some(left), Some(right)) => units_agree(left, right) && equal(a, b),
        (Some("percent"), None) => equal(a, b) || equal(&hundredth(a), b),
        (None, Some("percent")) => equal(a, b) || equal(a, &hundredth(b)),
        _ => equal(a, b),
    }
}

/// Returns whether two stated units may be one; degrees without a scale are those of any.
fn units_agree(left: &str, right: &str) -> bool {
    let scale = |name: &str| matches!(name, "celsius" | "fahrenheit");
    left == right || (left == "degree" && scale(right)) || (right == "degree" && scale(left))
}

fn hundredth(value: &Value) -> Value {
    value.clone().over(Value::integer(100))
}

/// Returns whether two scalars have the same value, units included: `50\%` is one half.
pub(crate) fn same_scalar(label: &Value, answer: &Value) -> bool {
    agree_by(numeric::agree, label, answer)
}

/// [`same_scalar`] for symbols that are positive, as the published graders take them.
pub(crate) fn same_where_positive(label: &Value, answer: &Value) -> bool {
    agree_by(numeric::agree_where_positive, label, answer)
}

fn agree_by(agree: fn(&Value, &Value) -> Option<bool>, label: &Value, answer: &Value) -> bool {
    if let (Value::Rational(a), Value::Rational(b)) = (label, answer) {
        return a == b;
    }
    match (residue::evaluate(label, 0), residue::evaluate(answer, 0)) {
        (Some(a), Some(b)) => {
            a.element == b.element || (!(a.exact && b.exact) && agree(label, answer) == Some(true))
        }
        _ => label == answer,
    }
}

fn is_relation(value: &Value) -> bool {
    matches!(value, Value::Relation(..))
}

fn same_relation(label: &Value, answer: &Value) -> bool {
    let solved = (relations::definition(label), relations::definition(answer));
    if let (Some((a, left)), Some((b, right))) = solved {
        if a == b || relations::is_description(a) || relations::is_description(b) {
            return equal(left, right);
        }
        if relations::is_closed(left) || relations::is_closed(right) {
            return false;
        }
    }
    // A chain is its value whatever the other side calls it; a solved equation is no unsolved one.
    if let (Some(left), Some(right)) = (relations::stated(label), relations::stated(answer))
        && (solved.0.is_none() || solved.1.is_none())
    {
        return equal(left, right);
    }
    let closed = |side: Option<(u64, &Value)>| side.is_some_and(|(_, v)| relations::is_closed(v));
    if closed(solved.0) != closed(solved.1) {
        return false;
    }
    if let (Some((a, left)), Some((b, right))) =
        (relations::region(label), relations::region(answer))
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

/// Returns whether the items pair off. Greedy pairing decides it, since equality of elements is an
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

/// Returns the elements of a set, once each by canonical form.
fn distinct(items: &[Value]) -> Vec<Value> {
    let mut seen = std::collections::BTreeSet::new();
    items.iter().filter(|item| seen.insert(canonical::key(item))).cloned().collect()
}
