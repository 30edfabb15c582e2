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
//! - **Asymmetry.** A label that is a relation accepts the bare value: `x \in [-2,7]` accepts
//!   `[-2,7]`, `x \ge 2` accepts `[2,\infty)`. A bare label refuses a membership or an inequality,
//!   which might repeat the question. `x = 5` for the label 5 is accepted: nothing is left to
//!   solve.
//! - **Lists** apart by commas are unordered with repetitions; sets in braces are unordered
//!   without; tuples are ordered. A list equals a tuple in the same order. A set of one element
//!   equals the element. `a \pm b` is the list of both values.
//! - **Open intervals and pairs** are written alike and are one kind.
//! - **Units**: a bare number equals the number with any unit; two stated units must agree.
//!   Degrees are a unit here, never converted to radians outside functions.
//! - **Percent** is ambiguous three ways: `50\%` equals `50\%`, 50 and 0.5.
//! - **Bases**: `52_8` is that numeral in that base; it equals neither 52 nor 42.
//! - **Decimals** are exact: 0.333 is not one third.
//! - **Text** ignores case and spacing; `\text{(C)}` is the letter C.
//! - **Blank** answers equal nothing, not even a blank label.

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
