//! `verify`: our grader. A total, bounded LaTeX grammar and comparison by value.
//!
//! An answer is parsed into a value ([`ValueKind`] names the kinds) or, where the grammar does not
//! know it, kept as written. Comparison is exact for rationals, radicals of rationals, π, e, i and
//! rational functions of symbols; only where none of that applies (trigonometric functions,
//! nested radicals, symbolic exponents) do doubles decide, within 1e-9 at four points.
//! There is no timer, no thread and no evaluation of code; bounds are in `limits.rs`.
//!
//! Decisions, each with its tests:
//!
//! - **Statements.** What states a value has it, as label and as answer: `f(x) = 2x+3`,
//!   `\text{Area} = 12`, `(x,y) = (1,2)`, `m+n = 17`, `x \in [-2,7]`, `x \ge 2` for `[2,\infty)`. An
//!   equation that leaves something to solve states nothing: `2x = 10`, and a line, `x+y = 5`.
//! - **Chains.** `3 \cdot 4 = 12` has the value of its sides if they agree. After `\approx` the exact
//!   side counts, and the rounding must fit. A false chain has no value.
//! - **Lists** apart by commas are unordered with repetitions; sets in braces are unordered
//!   without; tuples are ordered. A list equals a tuple in the same order. A set of one element
//!   equals the element. `a \pm b` is the list of both values.
//! - **Open intervals and pairs** are written alike and are one kind; `]0,1[` and `0 < x < 1` are
//!   intervals only.
//! - **Units**: a bare number equals the number with any unit; two stated units must agree.
//!   Degrees are a unit here, never converted to radians outside functions. Words count as a unit
//!   where they name something measured or counted (`5 apples`); `5 million` is scaled, and
//!   `5 or less`, `n is even` and `5 mod 7` are other answers than 5 and n.
//! - **Upright letters** are what they are in italics, but for letters of units after a number
//!   (m, s, g, h, L; others after a space).
//! - **Root signs** in plain text take the whole numeral or group behind them.
//! - **Program notation** is a number where a mathematician would not write e so: `1e3`, `2.5e-7`,
//!   `1e-05`. `2e-1` is 2e - 1, and `3e-12`, which both write, equals its own writing only.
//! - **Repeating decimals** in all spellings: `0.1\overline{6}`, `0.1\bar6`, `0.\dot{1}2\dot{3}`,
//!   `0.1(6)`. An ellipsis repeats nothing: `0.333...` is no number.
//! - **Signs of symbols**: identities hold wherever both sides are real, so x is neither |x| nor the
//!   root of its square.
//! - **Percent** is ambiguous three ways: `50\%` equals `50\%`, 50 and 0.5.
//! - **Bases**: `52_8` is that numeral in that base; it equals neither 52 nor 42.
//! - **Decimals** are exact: 0.333 is not one third.
//! - **Text** ignores case and spacing; `\text{(C)}` is the letter C.
//! - **Blank** answers equal nothing, not even a blank label.
//!
//! The published graders share the parser, but read less of it (`Cursor::ours`).

mod atoms;
mod canonical;
mod compare;
mod field;
mod limits;
mod names;
mod numerals;
mod numeric;
mod parser;
mod quantity;
mod rational;
mod relations;
mod residue;
mod scan;
mod shapes;
mod statements;
mod unicode;
mod unit;
mod value;
mod verdict;
mod vocabulary;
mod words;

pub use value::ValueKind;
pub use verdict::{MAX_STEPS, kind_of, parsing_steps};
pub(crate) use verdict::{canonical_key, prefix_scalars_equal, scalars_equal, verify};
