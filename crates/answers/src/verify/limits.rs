//! The bounds that make `verify` total: nothing in it waits on a clock.
//!
//! Every bound ends in the same place: the answer stays as written and can only equal the same
//! writing. The longest MATH-500 label has 159 bytes, so the bounds are far from honest answers.

/// Longer answers are kept as written. Fifty times the longest label of MATH-500.
pub(crate) const MAX_BYTES: usize = 8 * 1024;

/// Digits of one number. Exact arithmetic on more than this buys nothing in an answer.
pub(crate) const MAX_DIGITS: usize = 1024;

/// Bits of a numerator or denominator while folding constants, about 2,400 digits.
pub(crate) const MAX_BITS: u64 = 8 * 1024;

/// Nested groups. A group costs about seven stack frames, so this keeps the parser within a
/// 2 MiB thread stack in unoptimised builds.
pub(crate) const MAX_DEPTH: u32 = 48;

/// Parser steps; a step is one operand, one group or one separator.
pub(crate) const MAX_STEPS: u32 = 8 * 1024;

/// Elements matched one by one in an unordered list; longer lists compare by canonical form.
pub(crate) const MAX_MATCHED: usize = 32;

/// Exponents outside this range are not folded into a rational.
pub(crate) const MAX_FOLDED_EXPONENT: u32 = 4096;

/// Divisions, powers and postfix signs of one answer. Each can nest the value one level deeper
/// without any bracket, and values are walked recursively.
pub(crate) const MAX_NESTING: u32 = 256;
