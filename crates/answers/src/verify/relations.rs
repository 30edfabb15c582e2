//! Equations, inequalities and memberships: what they state, and when two of them agree.

use super::compare::{self, same_scalar};
use super::field::Element;
use super::numeric;
use super::rational::Rational;
use super::residue;
use super::value::{Function, RelationOp, Value, hash_name, is_root_name};

/// Symbols that are coordinates: `x + y = 5` is a line, where `m + n = 5` names a sum.
const COORDINATES: [Value; 3] =
    [Value::Symbol(b'x' as u64), Value::Symbol(b'y' as u64), Value::Symbol(b'z' as u64)];

/// Returns the value that a relation states: of a definition, or of a chain that is true.
pub(crate) fn stated(value: &Value) -> Option<&Value> {
    definition(value).map(|(_, defined)| defined).or_else(|| chain(value))
}

/// Returns the name and the value of a definition `name = ... = value`.
///
/// The left side is a symbol, or a name made of symbols (`AB`, `|AB|`, `m+n`) when the value has
/// no free symbol. Nothing is solved: the value stands alone on the right. Sides between must
/// agree with the value.
pub(crate) fn definition(value: &Value) -> Option<(u64, &Value)> {
    let Value::Relation(first, rest) = value else { return None };
    let defined = value_of_sides(None, rest)?;
    let name = match &**first {
        Value::Symbol(name) => {
            let recursive = defined.any(&|part| *part == Value::Symbol(*name));
            return (!recursive).then_some((*name, defined));
        }
        Value::Tuple { open: b'(', close: b')', items } => {
            let symbols = items.iter().all(|item| matches!(item, Value::Symbol(_)));
            let matching = matches!(defined, Value::Tuple { items: values, .. }
                if values.len() == items.len());
            let same = *defined == **first;
            return (symbols && matching && !same)
                .then(|| (hash_name(&format!("{items:?}")), defined));
        }
        name => name,
    };
    let is_name = is_product_of_names(name) || is_named_quantity(name);
    // `|AB|` is the length that AB names as well.
    let name = match name {
        Value::Call(Function::Abs, parts) => parts.first()?,
        name => name,
    };
    (is_name && is_closed(defined)).then(|| (hash_name(&format!("{name:?}")), defined))
}

/// The name that words such as `Area` give: it tells no value from another.
pub(crate) fn description(words: &str) -> u64 {
    DESCRIPTION | (hash_name(words) >> 16)
}

/// Returns whether a name is a [`description`].
pub(crate) fn is_description(name: u64) -> bool {
    name >> 48 == DESCRIPTION >> 48
}

const DESCRIPTION: u64 = 0x4445 << 48;

/// `AB`, `f(2)`: a product that starts with a symbol.
fn is_product_of_names(value: &Value) -> bool {
    match value {
        Value::Mul(factors) => {
            matches!(factors.first(), Some(Value::Symbol(_)))
                && factors.iter().all(|part| matches!(part, Value::Symbol(_) | Value::Rational(_)))
        }
        _ => false,
    }
}

/// `m+n`, `p/q`, `|AB|`, `\sin A`: made of symbols that are no coordinates, without a numeral.
fn is_named_quantity(value: &Value) -> bool {
    let minus_one = Value::integer(-1);
    match value {
        Value::Symbol(_) => !COORDINATES.contains(value),
        Value::Add(parts) => parts.iter().all(|part| match part {
            Value::Pow(base, power) => is_named_quantity(base) && is_closed(power),
            part => is_named_quantity(part),
        }),
        Value::Mul(parts) => {
            parts.len() > 1
                && parts.iter().all(|part| *part == minus_one || is_named_quantity(part))
        }
        Value::Div(above, below) => is_named_quantity(above) && is_named_quantity(below),
        Value::Call(Function::Abs, parts) => parts.iter().all(|part| {
            matches!(part, Value::Symbol(_) | Value::Mul(_)) && is_named_quantity(part)
        }),
        Value::Call(Function::Sin | Function::Cos | Function::Tan, parts) => {
            parts.iter().all(|part| matches!(part, Value::Symbol(_)) && is_named_quantity(part))
        }
        _ => false,
    }
}

/// Returns the value of a chain without a name: `3 \cdot 4 = 12`, when all its sides agree.
fn chain(value: &Value) -> Option<&Value> {
    let Value::Relation(first, rest) = value else { return None };
    if matches!(**first, Value::Symbol(_)) {
        return None;
    }
    value_of_sides(Some(first), rest)
}

/// Returns the last exact side, when those before agree with it and roundings come close.
///
/// With `first`, all sides are one expression. Without, sides with free symbols are formulas on
/// the way to a closed value.
fn value_of_sides<'a>(
    first: Option<&'a Value>,
    rest: &'a [(RelationOp, Value)],
) -> Option<&'a Value> {
    let mut exact = first;
    let mut rounded = false;
    for (at, (op, side)) in rest.iter().enumerate() {
        match op {
            RelationOp::Equal | RelationOp::Approximate => {}
            _ => return None,
        }
        let Some(before) = exact else {
            exact = Some(side);
            continue;
        };
        rounded |= *op == RelationOp::Approximate && (at > 0 || first.is_some());
        let agree = if rounded { is_rounding(before, side) } else { agree(before, side) };
        let formula = first.is_none() && !is_closed(before) && is_closed(side);
        if !(agree || (formula && !rounded)) {
            return None;
        }
        if !rounded {
            exact = Some(side);
        }
    }
    exact
}

/// Returns whether two sides of a chain have one value; units may be stated on one side only.
fn agree(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Quantity(a, x), Value::Quantity(b, y)) => x == y && agree(a, b),
        (Value::Quantity(amount, _), bare) | (bare, Value::Quantity(amount, _)) => {
            agree(amount, bare)
        }
        _ if left.is_scalar() && right.is_scalar() => same_scalar(left, right),
        _ => compare::equal(left, right) && compare::equal(right, left),
    }
}

/// Returns whether a numeral is the rounded value of a closed form: within its last place, or 0.5 %.
fn is_rounding(exact: &Value, rounded: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::Quantity(amount, _) | Value::Degree(amount) => numeric::evaluate(amount, 0),
        other if is_closed(other) => numeric::evaluate(other, 0),
        _ => None,
    };
    let (Some(a), Some(b)) = (amount(exact), amount(rounded)) else { return false };
    let last_place = match rounded {
        Value::Rational(Rational::Small { denominator, .. }) => {
            let mut place = 1.0;
            while place * (*denominator as f64) % 10.0 != 0.0 && place < 1e6 && *denominator != 1 {
                place += 1.0;
            }
            1.0 / (place * *denominator as f64)
        }
        _ => 0.0,
    };
    let gap = (a.re - b.re).hypot(a.im - b.im);
    gap <= last_place.max(0.005 * a.norm())
}

/// Returns whether a value has no free symbol.
pub(crate) fn is_closed(value: &Value) -> bool {
    !value.any(&|part| matches!(part, Value::Symbol(_)))
}

/// Returns whether the name on the left is a coordinate, so that the equation may describe a curve.
pub(crate) fn defines_coordinate(value: &Value) -> bool {
    matches!(value, Value::Relation(first, _) if COORDINATES.contains(first))
}

/// Returns the name of what a membership or an inequality restricts, and the region that it states.
pub(crate) fn region(value: &Value) -> Option<(u64, Value)> {
    if let Some(set) = membership(value) {
        let Value::Relation(first, _) = value else { return None };
        let name = match **first {
            Value::Symbol(name) => name,
            ref other => hash_name(&format!("{other:?}")),
        };
        return Some((name, as_interval(set.clone())));
    }
    interval(value).map(|(name, region)| (name, as_interval(region)))
}

/// Returns an open interval in the writing that is no pair, so that it equals no list of its ends.
fn as_interval(region: Value) -> Value {
    match region {
        Value::Tuple { open: b'(', close: b')', items } if items.len() == 2 => {
            Value::Tuple { open: b']', close: b'[', items }
        }
        region => region,
    }
}

/// Returns the set after `\in`.
pub(crate) fn membership(value: &Value) -> Option<&Value> {
    match value {
        Value::Relation(first, rest) if !is_closed(first) => match rest.as_slice() {
            [(RelationOp::Member, set)] => Some(set),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the symbol of an inequality with closed bounds, and the interval it describes.
pub(crate) fn interval(value: &Value) -> Option<(u64, Value)> {
    let Value::Relation(first, rest) = value else { return None };
    match (&**first, rest.as_slice()) {
        (Value::Symbol(name), [(op, bound)]) if is_closed(bound) => {
            Some((*name, half_line(*op, bound)?))
        }
        (bound, [(op, Value::Symbol(name))]) if is_closed(bound) => {
            Some((*name, half_line(reversed(*op)?, bound)?))
        }
        (low, [(left, Value::Symbol(name)), (right, high)])
            if is_closed(low) && is_closed(high) =>
        {
            let (low, left, right, high) = match (left, right) {
                (RelationOp::Greater | RelationOp::GreaterEqual, _) => {
                    (high, reversed(*right)?, reversed(*left)?, low)
                }
                _ => (low, *left, *right, high),
            };
            let open = match left {
                RelationOp::Less => b'(',
                RelationOp::LessEqual => b'[',
                _ => return None,
            };
            let close = match right {
                RelationOp::Less => b')',
                RelationOp::LessEqual => b']',
                _ => return None,
            };
            Some((*name, Value::Tuple { open, close, items: vec![low.clone(), high.clone()] }))
        }
        _ => None,
    }
}

fn half_line(op: RelationOp, bound: &Value) -> Option<Value> {
    let below = Value::Infinity.negate();
    let (open, close, items) = match op {
        RelationOp::Less => (b'(', b')', vec![below, bound.clone()]),
        RelationOp::LessEqual => (b'(', b']', vec![below, bound.clone()]),
        RelationOp::Greater => (b'(', b')', vec![bound.clone(), Value::Infinity]),
        RelationOp::GreaterEqual => (b'[', b')', vec![bound.clone(), Value::Infinity]),
        _ => return None,
    };
    Some(Value::Tuple { open, close, items })
}

fn reversed(op: RelationOp) -> Option<RelationOp> {
    Some(match op {
        RelationOp::Less => RelationOp::Greater,
        RelationOp::LessEqual => RelationOp::GreaterEqual,
        RelationOp::Greater => RelationOp::Less,
        RelationOp::GreaterEqual => RelationOp::LessEqual,
        _ => return None,
    })
}

/// Returns the inequalities of one symbol, joined by "or", as one union of intervals.
pub(crate) fn union_of_inequalities(items: &[Value]) -> Option<Value> {
    let parts = items.iter().map(interval).collect::<Option<Vec<_>>>()?;
    let (name, _) = parts.first()?;
    let one_symbol = parts.iter().all(|(other, _)| other == name);
    one_symbol.then(|| Value::Union(parts.into_iter().map(|(_, part)| part).collect()))
}

/// Returns an equation up to a factor: left minus right at two points, over that at a third.
///
/// Equal signatures mean that the sides' differences are proportional, up to chance; `None` where
/// the sides have no exact residue.
pub(crate) fn equation_signature(value: &Value) -> Option<[Element; 2]> {
    let Value::Relation(left, rest) = value else { return None };
    let [(RelationOp::Equal, right)] = rest.as_slice() else { return None };
    if is_closed(left) && is_closed(right) {
        return None;
    }
    let mut differences = [Element::ZERO; 3];
    for (difference, point) in differences.iter_mut().zip(0..) {
        let (a, b) = (residue::evaluate(left, point)?, residue::evaluate(right, point)?);
        if !(a.exact && b.exact) {
            return None;
        }
        *difference = a.element.add(b.element.neg());
    }
    if differences[0].is_zero() {
        return Some([Element::ZERO; 2]);
    }
    let scale = differences[0].invert()?;
    Some([differences[1].mul(scale), differences[2].mul(scale)])
}

/// Returns whether the items define at least two different names.
pub(crate) fn defines_several(items: &[Value]) -> bool {
    let mut names = items
        .iter()
        .filter_map(definition)
        .map(|(name, _)| name)
        .filter(|name| !is_root_name(*name));
    names.next().is_some_and(|first| names.any(|name| name != first))
}

/// Returns the values of `y = 3, x = 2` in the order of the names, each of one letter.
pub(crate) fn coordinates(items: &[Value]) -> Option<Vec<Value>> {
    let mut named = items.iter().map(definition).collect::<Option<Vec<_>>>()?;
    named.sort_by_key(|(name, _)| *name);
    let different = named.windows(2).all(|pair| pair[0].0 != pair[1].0);
    let letters = named.iter().all(|(name, _)| u8::try_from(*name).is_ok());
    let stated = different && letters;
    stated.then(|| named.into_iter().map(|(_, value)| value.clone()).collect())
}
