//! The `string` profile: equality of the trimmed strings, as in the Compute as Teacher paper.
//!
//! Blank equals nothing. Differs from the paper in nothing known; the paper names no details.

use crate::grade::Grade;

pub(crate) fn grade(label: &str, answer: &str) -> Grade {
    let answer = answer.trim();
    if answer.is_empty() {
        return Grade::abstention();
    }
    let equal = label.trim() == answer;
    Grade::of_strings(equal, if equal { "the same string" } else { "different strings" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_writing_is_equal() {
        assert!(grade("1/2", " 1/2 ").equal);
        assert!(!grade("1/2", r"\frac{1}{2}").equal);
        assert!(!grade("", "").equal);
    }
}
