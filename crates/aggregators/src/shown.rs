//! Rollouts as models are shown them.

use preceptor_text::{fence, without_thoughts};

/// Numbers texts from 1, without their thoughts, and fences each, so that none can pass for the prompt around it.
pub(crate) fn numbered(texts: &[&str]) -> String {
    let one = |(index, text): (usize, &&str)| {
        format!("Response {}:\n{}", index + 1, fence("response", &without_thoughts(text)))
    };
    texts.iter().enumerate().map(one).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_not_shown() {
        assert_eq!(numbered(&["<think>draft</think>said"]), numbered(&["said"]));
    }
}
