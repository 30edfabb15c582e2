//! Rollouts as models are shown them.

use preceptor_text::fence;

/// Numbers texts from 1 and fences each, so that none can pass for the prompt around it.
pub(crate) fn numbered(texts: &[&str]) -> String {
    let one = |(index, text): (usize, &&str)| {
        format!("Response {}:\n{}", index + 1, fence("response", text))
    };
    texts.iter().enumerate().map(one).collect::<Vec<_>>().join("\n\n")
}
