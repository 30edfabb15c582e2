//! Equations, inequalities and memberships: what they define, and when two of them agree.

use super::field::Element;
use super::residue;
use super::value::{RelationOp, Value, hash_name};

/// What `name = ... = value` defines: the name's hash and the value.
///
/// The left side is a symbol, or a name applied to something (`f(2)`, `AB`) when the value has no
/// free symbol. Nothing is solved: the value stands alone on the right.
pub(crate) fn definition(value: &Value) -> Option<(u64, &Value)> {
    let Value::Relation(first, rest) = value else { return None };
    if rest.iter().any(|(op, _)| *op != RelationOp::Equal) {
        return None;
    }
    let (_, defined) = rest.last()?;
    match &**first {
        Value::Symbol(name) => {
            let recursive = defined.any(&|part| *part == Value::Symbol(*name));
            (!recursive).then_some((*name, defined))
        }
        Value::Mul(factors) if matches!(factors.first(), Some(Value::Symbol(_))) => {
            let is_name = |part: &Value| matches!(part, Value::Symbol(_) | Value::Rational(_));
            let named = factors.iter().all(is_name) && is_closed(defined);
            named.then(|| (hash_name(&format!("{factors:?}")), defined))
        }
        _ => None,
    }
}

/// Whether a value has no free symbol.
pub(crate) fn is_closed(value: &Value) -> bool {
    !value.any(&|part| matches!(part, Value::Symbol(_)))
}

/// The set after `\in`.
pub(crate) fn membership(value: &Value) -> Option<&Value> {
    match value {
        Value::Relation(_, rest) => match rest.as_slice() {
            [(RelationOp::Member, set)] => Some(set),
            _ => None,
        },
        _ => None,
    }
}

/// The symbol of an inequality with closed bounds, and the interval it describes.
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

/// The inequalities of one symbol, joined by "or", as one union of intervals.
pub(crate) fn union_of_inequalities(items: &[Value]) -> Option<Value> {
    let parts = items.iter().map(interval).collect::<Option<Vec<_>>>()?;
    let (name, _) = parts.first()?;
    let one_symbol = parts.iter().all(|(other, _)| other == name);
    one_symbol.then(|| Value::Union(parts.into_iter().map(|(_, part)| part).collect()))
}

/// An equation up to a factor: left minus right at two points, over that at a third.
///
/// Equal signatures mean that the sides' differences are proportional, up to chance; `None` where
/// the sides have no exact residue.
pub(crate) fn equation_signature(value: &Value) -> Option<[Element; 2]> {
    let Value::Relation(left, rest) = value else { return None };
    let [(RelationOp::Equal, right)] = rest.as_slice() else { return None };
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
