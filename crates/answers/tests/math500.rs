//! The MATH-500 labels under `verify`; needs the data set.

mod math500_data;

use std::collections::BTreeMap;

use preceptor_answers::{ExtractionRule, GraderProfile, ValueKind, canonical, extract_boxed};

#[test]
fn every_label_equals_itself_by_parsed_value() {
    let Some(rows) = math500_data::rows() else { return };
    assert_eq!(rows.len(), 500);
    let mut kinds = BTreeMap::new();
    for row in &rows {
        let grade = GraderProfile::Verify.grade(&row.answer, Some(&row.answer));
        assert!(grade.equal, "{}: {}", row.unique_id, grade.reason);
        let kind = grade.label_kind.unwrap();
        assert_ne!(kind, ValueKind::Opaque, "{}: compared as written", row.unique_id);
        assert_eq!(canonical(&row.answer), canonical(&row.answer));
        *kinds.entry(kind).or_insert(0) += 1;
    }
    println!("500 of 500 labels equal themselves by parsed value:");
    for (kind, count) in &kinds {
        println!("{count:>5}  {}", kind.name());
    }
}

#[test]
fn every_label_equals_the_box_of_its_solution() {
    let Some(rows) = math500_data::rows() else { return };
    for row in &rows {
        let found = extract_boxed(&row.solution);
        assert_eq!(found.rule, ExtractionRule::Box, "{}", row.unique_id);
        let grade = GraderProfile::Verify.grade(&row.answer, found.answer.as_deref());
        assert!(grade.equal, "{}: {}", row.unique_id, grade.reason);
    }
    println!("500 of 500 labels equal the box in their solution");
}

#[test]
fn every_profile_equals_every_label_to_itself() {
    let Some(rows) = math500_data::rows() else { return };
    for profile in GraderProfile::ALL {
        for row in &rows {
            let grade = profile.grade(&row.answer, Some(&row.answer));
            assert!(grade.equal, "{profile}: {}", row.unique_id);
        }
    }
}
