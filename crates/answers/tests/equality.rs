//! Equality by `verify`: notation by notation, and the asymmetries.

use preceptor_answers::{GraderProfile, ValueKind, canonical, kind_of};

fn equal(label: &str, answer: &str) -> bool {
    GraderProfile::Verify.grade(label, Some(answer)).equal
}

#[track_caller]
fn both(pairs: &[(&str, &str)]) {
    for (a, b) in pairs {
        assert!(equal(a, b), "{a} = {b}");
        assert!(equal(b, a), "{b} = {a}");
    }
}

#[track_caller]
fn neither(pairs: &[(&str, &str)]) {
    for (a, b) in pairs {
        assert!(!equal(a, b), "{a} = {b}");
        assert!(!equal(b, a), "{b} = {a}");
    }
}

#[test]
fn rationals_are_equal_in_any_notation() {
    both(&[
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", ".50"),
        (r"\dfrac{2}{4}", r"\tfrac 12"),
        ("3/4", r"\frac{3}{4}"),
        (r"-\frac{1}{2}", r"\frac{-1}{2}"),
        (r"-\frac{1}{2}", r"\frac{1}{-2}"),
        (r"1\frac{4}{5}", "9/5"),
        ("1 4/5", "1.8"),
        (r"137 \frac{1}{2}", "137.5"),
        (r"0.\overline{3}", r"\frac13"),
        (r"0.1\overline{6}", r"\frac16"),
        ("½", "0.5"),
        (r"\left(\frac{1}{2}\right)^2", "0.25"),
        (r"2^{10}", "1024"),
        ("2^10", "1024"),
        (r"\frac{270}7", r"270 \div 7"),
        (r"3.5 \times 10^{-3}", "0.0035"),
        (r"\binom{5}{2}", "10"),
        ("4!", "24"),
        (r"\boxed{7}", "7"),
        ("$7$.", "+7"),
    ]);
    neither(&[(r"\frac13", "0.333333"), ("1", "-1"), (r"2\frac{3}{2}", "3.5"), ("0.1", "0.10001")]);
}

#[test]
fn thousands_are_grouped_outside_brackets_only() {
    both(&[
        ("1000", "1,000"),
        ("10080", r"10,\!080"),
        ("10080", "10{,}080"),
        ("10080", r"10\,080"),
        ("10080", "10 080"),
        ("1234567.5", "1,234,567.5"),
        (r"\$32,\!348", "32348"),
    ]);
    neither(&[("(1,000)", "1000"), ("1000", "1,00"), ("0,125", "125")]);
    assert_eq!(kind_of("(1,234)"), ValueKind::Tuple);
    assert_eq!(kind_of("1, 234"), ValueKind::List);
}

#[test]
fn closed_forms_are_compared_exactly() {
    both(&[
        (r"2\sqrt{3}", r"\sqrt{12}"),
        (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"),
        (r"\sqrt{2}\sqrt{3}", r"\sqrt 6"),
        (r"\sqrt{-4}", "2i"),
        ("i^2", "-1"),
        (r"(1+2i)(1-2i)", "5"),
        (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
        (r"\sqrt[3]{-8}", "-2"),
        (r"2^{1/3} \cdot 2^{2/3}", "2"),
        (r"\frac{\pi}{2}", r"0.5\pi"),
        (r"\log_2 8", "3"),
        (r"\ln e", "1"),
        (r"e^{2}", "e*e"),
        (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
        (r"\sin 30^\circ", r"\frac12"),
        (r"\cos \frac{\pi}{3}", "0.5"),
        (r"|{-3}|", "3"),
        (r"\lfloor 2.5 \rfloor", "2"),
        ("√5", r"\sqrt{5}"),
        ("6 - 5i", "-5i+6"),
    ]);
    neither(&[
        (r"\sqrt{2}", "1.41421356"),
        (r"\pi", "3.14159265358979"),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}"),
        ("6-5i", "6+5i"),
        (r"10^{40}", r"10^{40}+1"),
        (r"7^{5000}", r"7^{5000}+1"),
    ]);
}

#[test]
fn expressions_are_equal_when_they_are_identical_functions() {
    both(&[
        ("(x+1)^2", "x^2+2x+1"),
        ("x^{100}-1", r"(x^{50}-1)(x^{50}+1)"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        ("2k+2", "2(k+1)"),
        ("p - q", "-q+p"),
        (r"\frac{11+9a}{20}", "0.55+0.45a"),
        (r"\tan x", r"\frac{\sin x}{\cos x}"),
        (r"\sin^2 x + \cos^2 x", "1"),
        (r"2^{n+1}", r"2 \cdot 2^n"),
        (r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}"),
        ("x_1+x_2", "x_{2}+x_{1}"),
        (r"\alpha\beta", r"\beta\alpha"),
        ("ab", "ba"),
    ]);
    neither(&[
        ("x", "y"),
        ("x", "X"),
        ("x_1", "x_2"),
        ("x+1", "x-1"),
        (r"\cot x", "x"),
        (r"\frac{1+x}{2}", "1+x/2"),
        ("x^{10}", "x^{11}"),
    ]);
}

#[test]
fn units_may_be_left_out_but_not_changed() {
    both(&[
        (r"15\mbox{ cm}^2", "15"),
        (r"15\mbox{ cm}^2", "15 square centimeters"),
        (r"864 \mbox{ inches}^2", r"864 \text{ in}^2"),
        (r"5.4 \text{ cents}", "5.4"),
        (r"\$18.90", "18.9 dollars"),
        ("90^\\circ", "90"),
        ("90^{\\circ}", "90°"),
        (r"\frac{270}7\text{ degrees}", r"\frac{270}{7}^\circ"),
        ("5 apples", "5"),
        (r"-50 \text{ cm}", "-50"),
        (r"-30^\circ", "-30"),
    ]);
    neither(&[
        (r"15 \text{ cm}^2", r"15 \text{ cm}"),
        ("5 km", "5 miles"),
        (r"90^\circ", r"\frac{\pi}{2}"),
        (r"\$5", r"5\%"),
    ]);
}

#[test]
fn a_percentage_equals_the_number_or_its_hundredth() {
    both(&[(r"50\%", "50"), (r"50\%", "0.5"), (r"50\%", "50 percent"), (r"12.5\%", r"\frac18")]);
    neither(&[(r"50\%", "5"), (r"50\%", r"0.5\%")]);
}

#[test]
fn a_numeral_in_a_base_is_equal_to_no_other_numeral() {
    both(&[("52_8", "52_{8}"), ("52_8", r"52_{\text{eight}}"), ("052_8", "52_8")]);
    neither(&[("52_8", "52"), ("52_8", "42"), ("52_8", "52_9")]);
}

#[test]
fn tuples_are_ordered_and_lists_and_sets_are_not() {
    both(&[
        ("3, 5, 7", "7,5,3"),
        ("1,-2", r"-2 \text{ and } 1"),
        (r"\{1,2,3\}", "3,2,1"),
        (r"\{1,1,2\}", r"\{2,1\}"),
        (r"\{3\}", "3"),
        ("(2,4)", "2,4"),
        (r"\left( \frac12 , 2 \right)", "(0.5, 2)"),
        (r"\langle 1,2,3 \rangle", "(1,2,3)"),
        (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
        (r"\{1\pm\sqrt5,-2\}", r"-2, 1+\sqrt5, 1-\sqrt5"),
        (r"\emptyset", r"\{\}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
        (
            r"\begin{pmatrix} 1/2 & 0 \\ 0 & 1 \end{pmatrix}",
            r"\begin{pmatrix}0.5&0\\0&1\\\end{pmatrix}",
        ),
    ]);
    neither(&[
        ("(2,4)", "(4,2)"),
        ("(2,4)", "4,2"),
        ("3,3,5", "3,5"),
        ("1,2", "1,2,3"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    ]);
}

#[test]
fn intervals_keep_their_ends_and_unions_their_parts() {
    both(&[
        (r"(2,\infty)", r"\left(2, +\infty\right)"),
        (r"(0,9) \cup (9,36)", r"(9,36)\cup(0,9)"),
        (r"(-\infty,2) U (3,\infty)", r"(3,\infty) \cup (-\infty,2)"),
        (r"(-\infty, \infty)", r"\mathbb{R}"),
        (r"\left[ \frac{\pi^2}{8}, \frac{5 \pi^2}{4} \right]", r"[0.125\pi^2, 1.25\pi^2]"),
    ]);
    neither(&[("(3,4]", "[3,4)"), ("(3,4)", "[3,4]"), (r"(2,\infty)", r"(-\infty,2)")]);
}

#[test]
fn a_membership_or_an_inequality_states_its_region_on_either_side() {
    both(&[
        (r"x \in [-2,7]", "[-2,7]"),
        (r"x \ge 2", r"[2,\infty)"),
        (r"2 \le x", r"[2,\infty)"),
        ("-2 < x <= 7", "(-2,7]"),
        ("7 > x > -2", "(-2,7)"),
        (r"x < -1 \text{ or } x > 2", r"(-\infty,-1) \cup (2,\infty)"),
    ]);
    neither(&[("5", "x > 5"), ("5", r"x \le 5"), ("5", "2x = 10"), (r"[2,\infty)", "x > 2")]);
}

#[test]
fn a_relation_votes_with_its_value() {
    for (relation, value) in [
        (r"x \in [-2,7]", "[-2,7]"),
        (r"x \ge 2", r"[2,\infty)"),
        ("x = 5", "5"),
        (r"x < -1 \text{ or } x > 2", r"(2,\infty) \cup (-\infty,-1)"),
    ] {
        assert_eq!(canonical(relation), canonical(value), "{relation} and {value}");
        assert!(equal(relation, value), "{relation} = {value}");
    }
    assert_ne!(canonical("y = 2x"), canonical("x = 2y"));
}

#[test]
fn an_assignment_is_its_value_on_either_side() {
    both(&[
        ("x=5", "5"),
        ("y = 2x+3", "2x+3"),
        ("f(2) = 7", "7"),
        ("x = 1, x = -2", "-2, 1"),
        (r"x = 2 \pm \sqrt{3}", r"2+\sqrt3, 2-\sqrt3"),
        ("x=5, y=3", "y=3, x=5"),
    ]);
    neither(&[("x=5", "y=5"), ("x=5, y=3", "x=3, y=5")]);
    assert!(equal("x=5, y=3", "5, 3") && !equal("x=5, y=3", "3, 5"));
}

#[test]
fn equations_are_equal_up_to_a_factor() {
    both(&[
        ("5x - 7y + 11z + 4 = 0", "7y - 5x = 11z + 4"),
        ("y = 2x+3", "2y - 4x = 6"),
        ("y = -2x", "2x + y = 0"),
    ]);
    neither(&[("y = 2x", "x = 2y"), ("y = 2x + 3", "y = 2x - 3")]);
}

#[test]
fn texts_ignore_case_spacing_and_the_text_command() {
    both(&[
        (r"\text{Evelyn}", "evelyn"),
        (r"\text{east}", r"\mathrm{East}"),
        (r"\text{(C)}", "C"),
        (r"\text{(C)}", "(C)"),
        (r"\textbf{(C)}", r"\text{C}"),
        (r"\text{not enough information}", "Not enough information."),
        (r"\text{no}", "No"),
    ]);
    neither(&[
        (r"\text{even}", r"\text{odd}"),
        (r"\text{(C)}", r"\text{(D)}"),
        (r"\text{no}", "on"),
    ]);
}

#[test]
fn blank_answers_equal_nothing() {
    for (label, answer) in [("", ""), ("5", ""), ("5", "  "), ("", "5"), ("", "$$")] {
        assert!(!equal(label, answer), "{label:?} = {answer:?}");
    }
}

#[test]
fn unparsed_answers_equal_only_the_same_text() {
    let odd = r"\oint_C \mathbf{F} \cdot d\mathbf{r} \Rightarrow ]";
    assert_eq!(kind_of(odd), ValueKind::Opaque);
    assert!(equal(odd, &odd.replace(' ', "  ")));
    assert!(!equal(odd, "5") && !equal("5", odd));
    assert_eq!(canonical(odd), canonical(&odd.replace("\\cdot", " \\cdot")));
}

#[test]
fn reasons_name_both_sides() {
    let reason = |a, b| GraderProfile::Verify.grade(a, Some(b)).reason;
    assert_eq!(reason("0.5", r"\frac12"), "both are the rational 1/2");
    assert_eq!(reason("4", "3"), "3 is not 4");
    assert_eq!(reason(r"90^\circ", "90"), "the integer has the value of the number of degrees");
    assert_eq!(reason("5", ""), "the answer is blank");
    assert_eq!(reason("(1,2)", "5"), "a label of kind tuple and an answer of kind integer");
}
