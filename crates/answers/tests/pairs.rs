//! Pairs of the kinds that rollouts write: what `verify` says of each, and that votes agree.

#[path = "pairs/mod.rs"]
mod list;

use list::{NUMBERS, Pairs, SHAPES};
use preceptor_answers::{GraderProfile, ValueKind, canonical, kind_of};

fn equal(label: &str, answer: &str) -> bool {
    GraderProfile::Verify.grade(label, Some(answer)).equal
}

fn all() -> impl Iterator<Item = &'static Pairs> {
    NUMBERS.iter().chain(SHAPES)
}

#[test]
fn equal_pairs_are_equal_in_both_orders() {
    for pairs in all() {
        for (a, b) in pairs.equal {
            assert!(equal(a, b), "{}: {a} = {b}", pairs.kind);
            assert!(equal(b, a), "{}: {b} = {a}", pairs.kind);
        }
    }
}

#[test]
fn different_pairs_are_different_in_both_orders() {
    for pairs in all() {
        for (a, b) in pairs.different {
            assert!(!equal(a, b), "{}: {a} = {b}", pairs.kind);
            assert!(!equal(b, a), "{}: {b} = {a}", pairs.kind);
        }
    }
}

/// Pairs on which grading is no equivalence, so that no partition into classes can agree with it.
///
/// - Stated units: 5, 5 cm and 5 kg; the class drops the unit. 50 %, 50 and 0.5 likewise.
/// - Names: x = 5, 5 and y = 5; the class drops the name.
/// - A list without brackets, which equals the tuple and the set of its values.
/// - A curve, y = 2x, which equals 2x and 2y = 4x; the class is that of the equation.
fn is_no_equivalence(a: &str, b: &str) -> bool {
    let (left, right) = (kind_of(a), kind_of(b));
    let either = |test: &dyn Fn(ValueKind) -> bool| test(left) || test(right);
    let both = |test: &dyn Fn(ValueKind) -> bool| test(left) && test(right);
    let unit = |kind| matches!(kind, ValueKind::Quantity | ValueKind::Degree | ValueKind::Percent);
    let scalar = |kind| matches!(kind, ValueKind::Symbolic | ValueKind::Relation);
    both(&unit)
        || either(&|kind| kind == ValueKind::Percent)
        || both(&|kind| kind == ValueKind::Relation)
        || either(&|kind| kind == ValueKind::List)
        || (either(&|kind| kind == ValueKind::Relation) && both(&scalar))
        || [a, b].iter().any(|text| text.contains('%'))
}

#[test]
fn answers_share_a_class_exactly_if_they_are_graded_equal() {
    let mut checked = 0;
    for pairs in all() {
        for (a, b) in pairs.equal.iter().chain(pairs.different) {
            if is_no_equivalence(a, b) {
                continue;
            }
            assert_eq!(canonical(a) == canonical(b), equal(a, b), "{}: {a} and {b}", pairs.kind);
            checked += 1;
        }
    }
    assert!(checked > 500, "only {checked} pairs were compared");
}

#[test]
fn answers_of_different_pairs_share_a_class_exactly_if_they_are_graded_equal() {
    let texts = all()
        .flat_map(|pairs| pairs.equal.iter().chain(pairs.different))
        .flat_map(|(a, b)| [*a, *b])
        .collect::<Vec<_>>();
    let keys = texts.iter().map(|text| canonical(text)).collect::<Vec<_>>();
    // Every text against every 17th other: some 100,000 pairs of unrelated answers.
    for (i, a) in texts.iter().enumerate() {
        for j in (i % 17..texts.len()).step_by(17) {
            let b = texts[j];
            if !is_no_equivalence(a, b) {
                assert_eq!(keys[i] == keys[j], equal(a, b), "{a} and {b}");
            }
        }
    }
}

#[test]
fn a_relation_that_states_a_region_votes_with_it_and_equals_it() {
    for (relation, region) in
        [(r"t \in (0,9]", "(0,9]"), ("t > 9", r"(9,\infty)"), ("1 < t < 4", "(1,4)")]
    {
        assert_eq!(canonical(relation), canonical(region));
        assert!(equal(relation, region) && equal(region, relation), "{relation}");
    }
}
