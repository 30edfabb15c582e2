//! Laws of `verify` and of canonical forms, over generated answers.

use preceptor_answers::{
    GraderProfile, MAX_STEPS, canonical, classify, extract_boxed, parsing_steps,
};
use proptest::prelude::*;

fn equal(label: &str, answer: &str) -> bool {
    GraderProfile::Verify.grade(label, Some(answer)).equal
}

/// Scalars in several notations, small enough that equal values meet often.
fn scalar() -> impl Strategy<Value = String> {
    let number = -6_i64..7;
    let leaf = prop_oneof![
        number.clone().prop_map(|n| n.to_string()),
        (number.clone(), 1_i64..5).prop_map(|(n, d)| format!(r"\frac{{{n}}}{{{d}}}")),
        (number.clone(), 1_i64..5).prop_map(|(n, d)| format!("{n}/{d}")),
        (-12_i64..13).prop_map(|n| format!("{:.2}", n as f64 / 4.0)),
        (1_i64..13).prop_map(|n| format!(r"\sqrt{{{n}}}")),
        Just(r"\pi".to_owned()),
        Just("x".to_owned()),
        Just("y".to_owned()),
        Just("i".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) + ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) - ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r"\frac{{{a}}}{{{b}}}")),
            (inner.clone(), 0_u32..3).prop_map(|(a, n)| format!("({a})^{{{n}}}")),
            inner.prop_map(|a| format!(r"\sqrt{{{a}}}")),
        ]
    })
}

/// Answers of all shapes without units and relations: the region where `verify` is symmetric.
fn answer() -> impl Strategy<Value = String> {
    let items = || prop::collection::vec(scalar(), 2..4);
    prop_oneof![
        4 => scalar(),
        1 => items().prop_map(|items| items.join(", ")),
        1 => items().prop_map(|items| format!("({})", items.join(", "))),
        1 => items().prop_map(|items| format!(r"\{{{}\}}", items.join(", "))),
        1 => (scalar(), scalar()).prop_map(|(a, b)| format!("[{a}, {b})")),
        1 => (scalar(), scalar()).prop_map(|(a, b)| format!(r"({a}, {b}) \cup [{b}, \infty)")),
        1 => (scalar(), scalar())
            .prop_map(|(a, b)| format!(r"\begin{{pmatrix}} {a} \\ {b} \end{{pmatrix}}")),
        1 => "[a-c]{3,4}".prop_map(|word| format!(r"\text{{{word}}}")),
    ]
}

/// Fragments that LaTeX is made of, in any order.
fn latex_soup() -> impl Strategy<Value = String> {
    let fragments = prop::sample::select(vec![
        r"\frac",
        r"\sqrt",
        r"\left(",
        r"\right)",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "^",
        "_",
        "1",
        "23",
        "0.5",
        ",",
        r"\pi",
        "x",
        "i",
        "e",
        "+",
        "-",
        r"\pm",
        "=",
        "<",
        r"\le",
        r"\in",
        r"\cup",
        r"\text{cm}",
        r"\text{and}",
        r"\%",
        "%",
        r"^\circ",
        r"\{",
        r"\}",
        "|",
        "!",
        " ",
        r"\\",
        "&",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\infty",
        r"\boxed{",
        "$",
        r"\sin",
        r"\log",
        "'",
        "/",
        r"\cdot",
        r"\binom",
        r"\overline{3}",
        "_8",
        r"\$",
        "or",
        "cm",
        ";",
        r"\,",
        "π",
        "²",
        "\0",
        "√",
        "³√",
        "₁",
        "⅔",
        "£",
        "０",
        "\u{305}",
        "–",
        r"\mathrm{i}",
        r"{\rm ",
        r"\text{ million}",
        r"\text{ or more}",
        " thousand",
        " km/h",
        r"\bar{3}",
        r"\dot 3",
        "(6)",
        "e-05",
        "e3",
        r"\approx",
        r"\pmod 7",
        "f(x)=",
        r"\text{Area}=",
        r"\color{red}",
        r"\over",
        r"\surd",
        r"\\[4pt]",
        "]0,1[",
        "oo",
        "sqrt",
        "^\\circ F",
    ]);
    prop::collection::vec(fragments, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_string_makes_any_profile_panic_or_pass_its_bound(text in any::<String>(), other in any::<String>()) {
        prop_assert!(parsing_steps(&text) <= MAX_STEPS);
        extract_boxed(&text);
        for profile in GraderProfile::ALL {
            profile.extract(&text);
            profile.grade(&text, Some(&other));
        }
    }

    #[test]
    fn no_latex_makes_any_profile_panic_or_pass_its_bound(text in latex_soup(), other in latex_soup()) {
        prop_assert!(parsing_steps(&text) <= MAX_STEPS);
        for profile in GraderProfile::ALL {
            profile.extract(&text);
            profile.grade(&text, Some(&other));
        }
        canonical(&text);
    }

    #[test]
    fn every_answer_equals_itself_unless_blank(text in prop_oneof![answer(), latex_soup()]) {
        let blank = classify(&[Some(&text)]).num_abstentions() == 1;
        prop_assert_eq!(equal(&text, &text), !blank);
    }

    #[test]
    fn equal_canonical_forms_imply_equality_in_both_orders(a in answer(), b in answer()) {
        if canonical(&a) == canonical(&b) {
            prop_assert!(equal(&a, &b), "{} = {}", a, b);
            prop_assert!(equal(&b, &a), "{} = {}", b, a);
        }
    }

    #[test]
    fn canonical_forms_do_not_depend_on_the_order_of_terms_and_factors(a in scalar(), b in scalar(), c in -3_i64..4) {
        let (left, right) = (format!("{c} + ({a})({b})"), format!("({b})({a}) + {c}"));
        prop_assume!(!canonical(&left).to_string().starts_with("undefined"));
        prop_assert_eq!(canonical(&left), canonical(&right));
        prop_assert!(equal(&left, &right));
    }

    #[test]
    fn verify_is_symmetric_without_relations(a in answer(), b in answer()) {
        prop_assert_eq!(equal(&a, &b), equal(&b, &a));
    }

    #[test]
    fn notation_does_not_change_the_class(text in answer()) {
        let spaced = text.replace('+', " + ").replace('(', r"\left( ").replace(')', r" \right)");
        for other in [format!("${text}$"), format!("  {text}. "), text.replace(r"\frac", r"\dfrac"), spaced] {
            prop_assert_eq!(canonical(&text), canonical(&other), "{} and {}", text, other);
            prop_assert!(equal(&text, &other), "{} = {}", text, other);
        }
    }

    #[test]
    fn votes_do_not_depend_on_order_beyond_ties(mut answers in prop::collection::vec(answer(), 1..8)) {
        let count = |answers: &[String]| {
            let given = answers.iter().map(|text| Some(text.as_str())).collect::<Vec<_>>();
            let mut counts = classify(&given).counts();
            counts.sort_unstable();
            counts
        };
        let forward = count(&answers);
        answers.reverse();
        prop_assert_eq!(forward, count(&answers));
    }

    #[test]
    fn no_text_with_boxes_and_thoughts_makes_extraction_panic(parts in prop::collection::vec(
        prop::sample::select(vec![
            r"\boxed{", r"\\boxed{", "{", "}", "5", " ", "\n", "<think>", "</think>", "[THINK]",
            "<Thinking", "> ", "◁think▷", "Final Answer", "**", ":", " is ", "$$", r"\[", "…", "é",
        ]), 0..24)) {
        let text = parts.concat();
        for profile in GraderProfile::ALL {
            let found = profile.extract(&text).answer;
            prop_assert!(found.is_none_or(|answer| !answer.trim().is_empty()));
        }
    }

    #[test]
    fn a_boxed_answer_is_found_again(text in answer()) {
        let found = extract_boxed(&format!(r"Thus \boxed{{1}}, or rather $\boxed{{{text}}}$."));
        prop_assert_eq!(found.answer.as_deref(), Some(text.trim()));
    }
}
