//! Pairs on which published graders are known to differ, with each profile's verdict.

use preceptor_answers::{GraderProfile, extract_boxed};

const YES: bool = true;
const NO: bool = false;

/// Label, answer, then `hendrycks`, `prm800k`, `minerva`, `dapo`, `verify`.
const CASES: &[(&str, &str, [bool; 5])] = &[
    (r"\frac{3}{4}", "0.75", [NO, YES, YES, NO, YES]),
    (r"\frac{1}{2}", r"\frac{2}{4}", [NO, NO, YES, NO, YES]),
    ("1000", "1,000", [NO, YES, YES, YES, YES]),
    ("50", r"50\%", [YES, YES, NO, NO, YES]),
    ("3,5,7", "7,5,3", [NO, NO, NO, NO, YES]),
    ("(2,4)", "2,4", [NO, NO, NO, NO, YES]),
    (r"x \in [-2,7]", "[-2,7]", [NO, NO, NO, NO, YES]),
    (r"(0,1) \cup (2,3)", r"(2,3) \cup (0,1)", [NO, NO, NO, NO, YES]),
    (
        r"\begin{pmatrix} \frac{1}{2} \\ 1 \end{pmatrix}",
        r"\begin{pmatrix} 0.5 \\ 1 \end{pmatrix}",
        [NO, NO, NO, NO, YES],
    ),
    ("52_8", "52", [NO, NO, YES, NO, NO]),
    (r"\frac{1}{3}", "0.333333", [NO, NO, NO, NO, NO]),
    ("", "", [YES, YES, NO, YES, NO]),
];

#[test]
fn every_profile_has_its_known_verdict_on_the_contested_pairs() {
    let profiles = [
        GraderProfile::Hendrycks,
        GraderProfile::Prm800k,
        GraderProfile::Minerva,
        GraderProfile::Dapo,
        GraderProfile::Verify,
    ];
    for (label, answer, verdicts) in CASES {
        for (profile, expected) in profiles.iter().zip(verdicts) {
            let grade = profile.grade(label, Some(answer));
            assert_eq!(grade.equal, *expected, "{profile}: {label:?} = {answer:?}");
        }
    }
}

#[test]
fn the_paper_profile_is_plain_string_equality() {
    for (label, answer, _) in CASES {
        let expected = label == answer && !label.is_empty();
        assert_eq!(GraderProfile::String.grade(label, Some(answer)).equal, expected);
    }
}

#[test]
fn a_bare_label_is_not_an_extraction_by_default() {
    for label in [r"\frac{1}{2}", "(2,4)", "Evelyn", "7"] {
        assert_eq!(extract_boxed(label).answer, None);
    }
    let last_number = GraderProfile::Prm800k.extract(r"\frac{1}{2}");
    assert_eq!(last_number.answer.as_deref(), Some("2"));
}
