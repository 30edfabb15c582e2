//! A key that is never shown.

use std::fmt;

use crate::Error;

/// The replacement for a key.
const REDACTED: &str = "[redacted]";

/// Shorter keys are placeholders such as `EMPTY` for servers that need none; they may occur as
/// words in texts and are not secret.
const MIN_REDACTED_LEN: usize = 8;

/// The key of an endpoint. It is used only in the header of a call.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key without the space around it.
    ///
    /// # Errors
    ///
    /// [`Error::BadKey`] if it is empty or holds anything but printable ASCII.
    pub fn new(key: impl Into<String>) -> Result<Self, Error> {
        let key = key.into().trim().to_owned();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::BadKey);
        }
        Ok(Self(key))
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Returns `text` without the key.
    pub(crate) fn redact(&self, text: String) -> String {
        if self.0.len() < MIN_REDACTED_LEN || !text.contains(&self.0) {
            return text;
        }
        text.replace(&self.0, REDACTED)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown() {
        let secret = Secret::new(" sk-0123456789\n").unwrap();
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)).matches("sk-").count(), 0);
        assert_eq!(secret.redact("got `sk-0123456789`".to_owned()), "got `[redacted]`");
        assert_eq!(secret.bearer(), "Bearer sk-0123456789");
    }

    #[test]
    fn a_placeholder_does_not_spoil_texts() {
        let secret = Secret::new("EMPTY").unwrap();
        assert_eq!(secret.redact("EMPTY set".to_owned()), "EMPTY set");
    }

    #[test]
    fn keys_that_cannot_be_sent_are_refused_without_being_shown() {
        for key in ["", "  ", "sk-with space", "sk-\u{fc}mlaut", "sk-two\nlines"] {
            let error = Secret::new(key).unwrap_err();
            assert!(!error.to_string().contains("sk-"), "{error}");
        }
    }
}
