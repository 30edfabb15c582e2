//! Strings made to hang or to exhaust a grader. Work is counted in steps, not seconds.

use preceptor_answers::{
    GraderProfile, MAX_STEPS, canonical, extract_boxed, kind_of, parsing_steps,
};

fn hostile() -> Vec<String> {
    let repeated = |unit: &str, count| unit.repeat(count);
    let mut strings = vec![
        repeated("(", 4_000),
        repeated("{", 4_000),
        repeated("}", 4_000),
        repeated(r"\frac{", 1_000),
        repeated(r"\sqrt{", 1_000),
        format!("{}1{}", repeated("(", 3_000), repeated(")", 3_000)),
        format!("{}1{}", repeated(r"\frac{1}{", 40), repeated("}", 40)),
        repeated("9", 1_000_000),
        repeated("9", 7_000),
        format!("0.{}", repeated("3", 1_000_000)),
        repeated("9^", 2_000) + "9",
        repeated("9^{", 40) + "9" + &repeated("}", 40),
        "9^{9^{9^9}}".to_owned(),
        "2^{-9999999999999999999}".to_owned(),
        "(1+x)^{999999999999999999}".to_owned(),
        "10000000!".to_owned(),
        r"\binom{1000000000}{500000000}".to_owned(),
        format!("1{}", repeated("!", 3_000)),
        repeated("1,", 3_000),
        repeated("1+", 3_000) + "1",
        repeated(r"1 \pm ", 1_000) + "2",
        repeated("-", 5_000) + "1",
        repeated("x=", 3_000) + "1",
        format!("x{}", repeated("/x", 3_000)),
        format!("x{}", repeated("/x*x", 2_000)),
        format!("x{}", repeated("!", 3_000)),
        format!("x{}", repeated("%", 3_000)),
        format!("x{}", repeated(r"^\circ", 1_000)),
        format!("x{}", repeated("^2", 3_000)),
        format!("5{}", repeated(" cm", 2_000)),
        format!("2{}", repeated(r"\sin ", 1_000)),
        format!("1{}x- {}", repeated(" ", 100_000), repeated(" ", 100_000)),
        repeated("- ", 100_000),
        repeated("an a ", 100_000),
        repeated(r"\text{x", 100_000),
        repeated("Answer: ", 100_000),
        repeated(r"\boxed 1", 100_000),
        repeated("Final Answer: The final answer is", 30_000),
        repeated(r"\pm", 2_000),
        repeated(r"\text{", 1_000),
        repeated(r"\text{1", 500) + &repeated("}", 500),
        repeated(r"\left(", 1_000),
        repeated(r"\begin{pmatrix}", 300),
        format!(r"\begin{{pmatrix}}{}\end{{pmatrix}}", repeated(r"1&2\\", 1_000)),
        repeated(r"\boxed{", 1_000),
        repeated(r"\boxed{1}", 1_000),
        repeated(r"\boxed{}", 10_000),
        repeated(r"\\boxed{", 10_000),
        repeated("<think>", 20_000),
        repeated("</think>", 20_000),
        repeated("<think>x</think>", 20_000),
        repeated("Final answer ", 20_000),
        repeated("Final answer:\n", 20_000),
        repeated("√", 2_000) + "2",
        repeated(r"\color{red}", 700),
        repeated(r"\color{", 1_100),
        repeated("f(x)=", 1_500) + "1",
        repeated(r"x \approx ", 800) + "1",
        repeated(r"5 \text{ million}", 450),
        repeated(r"1 \over ", 900),
        repeated("(mod ", 1_600),
        format!("P({}=1", repeated("(", 4_000)),
        format!("5 {}", repeated("km/", 2_000)),
        format!("0.{}", repeated(r"\dot{1}", 800)),
        format!(r"{}\begin{{pmatrix}}1\\2\end{{pmatrix}}", repeated("2x ", 1_000)),
        format!("{}_{{36}}", repeated("9", 2_000)),
        "5\0".to_owned(),
        "\0".to_owned(),
        "\u{202e}5\u{202c}".to_owned(),
        "\u{200b}".to_owned(),
        "1/0".to_owned(),
        r"\frac{0}{0}".to_owned(),
        "0^{-1}".to_owned(),
        r"\frac{1}{x-x}".to_owned(),
        "0^0".to_owned(),
        r"\log_1 5".to_owned(),
        r"\ln 0".to_owned(),
        r"\infty - \infty".to_owned(),
        "𝟙∑∫∂".to_owned(),
        "\\".to_owned(),
        "_".to_owned(),
        "^".to_owned(),
        r"\frac".to_owned(),
        r"\sqrt".to_owned(),
        "$".to_owned(),
        "5_".to_owned(),
        "5_{99}".to_owned(),
    ];
    strings.push(strings.concat().chars().take(100_000).collect());
    strings
}

#[test]
fn parsing_stays_within_the_step_bound() {
    for string in hostile() {
        let steps = parsing_steps(&string);
        assert!(steps <= MAX_STEPS, "{steps} steps for {:.40}", string);
    }
}

#[test]
fn every_profile_gives_a_verdict_on_hostile_strings() {
    for string in hostile() {
        for profile in GraderProfile::ALL {
            profile.grade(&string, Some(&string));
            profile.grade("5", Some(&string));
            profile.grade(&string, Some("5"));
            profile.extract(&string);
        }
        assert_eq!(canonical(&string), canonical(&string));
        extract_boxed(&string);
    }
}

#[test]
fn a_thread_with_a_small_stack_parses_the_deepest_answer() {
    let parse = || {
        for string in hostile() {
            kind_of(&string);
            GraderProfile::Verify.grade(&string, Some(&string));
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(parse).unwrap().join().unwrap();
}

#[test]
fn invisible_marks_do_not_change_an_answer() {
    let equal = |label, answer| GraderProfile::Verify.grade(label, Some(answer)).equal;
    assert!(equal("5", "\u{202e}5\u{202c}") && equal("5", "\u{feff}5\u{200b}"));
    assert!(!equal("5", "5\0"));
}

#[test]
fn huge_powers_are_told_apart_without_being_written_out() {
    let equal = |label, answer| GraderProfile::Verify.grade(label, Some(answer)).equal;
    assert!(equal("2^{100000}", r"2^{99999} \cdot 2"));
    assert!(!equal("2^{100000}", "2^{100001}"));
    assert!(equal("(1+x)^{1000000}", "(x+1)^{1000000}"));
}

#[test]
fn a_decimal_with_a_base_is_no_integer_and_no_panic() {
    // Found by the property test of arbitrary LaTeX.
    for profile in GraderProfile::ALL {
        assert!(!profile.grade("", Some("0.5_8}")).equal, "{profile}");
        let _ = profile.grade("0.5_8", Some("0.5_{8}"));
    }
}
