//! Text to tokens and back, through the `tokenizers` library.

use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use tokenizers::AddedToken;

use crate::Error;

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    digest: Digest,
    /// Tokens that it adds before and after a text.
    around: [Vec<u32>; 2],
}

impl Tokenizer {
    /// Parses a `tokenizer.json` that was read from `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if it is invalid.
    pub fn from_json(json: &[u8], path: &Path) -> Result<Self, Error> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| {
            Error::Tokenizer { path: path.to_owned(), detail: error.to_string() }
        })?;
        // Some published files truncate or pad texts; prompts are never truncated here.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| Error::Tokenizer {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
        let around = [Vec::new(), Vec::new()];
        let mut this = Self { inner, path: path.to_owned(), digest: Digest::of(json), around };
        this.around = this.tokens_around()?;
        Ok(this)
    }

    /// Finds the tokens around a text by encoding one with and without them.
    fn tokens_around(&self) -> Result<[Vec<u32>; 2], Error> {
        let (bare, whole) = (self.encode("a", false)?, self.encode("a", true)?);
        let len = bare.len().max(1);
        let at = whole.windows(len).position(|window| window == bare).unwrap_or(whole.len());
        let (before, rest) = whole.split_at(at);
        Ok([before.to_vec(), rest.get(bare.len()..).unwrap_or(&[]).to_vec()])
    }

    /// Returns the tokens that it adds before a text.
    pub(crate) fn before(&self) -> &[u32] {
        &self.around[0]
    }

    /// Returns the tokens that it adds after a text.
    pub(crate) fn after(&self) -> &[u32] {
        &self.around[1]
    }

    /// Marks tokens of the vocabulary as special, so that they are matched whole in texts.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`].
    pub(crate) fn match_whole<'a>(
        &mut self,
        tokens: impl Iterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let added = self.inner.get_added_tokens_decoder();
        let is_new = |token: &&str| self.id_of(token).is_some_and(|id| !added.contains_key(&id));
        let new: Vec<_> =
            tokens.filter(is_new).map(|token| AddedToken::from(token, true)).collect();
        if !new.is_empty() {
            self.inner.add_special_tokens(&new);
            self.digest = Digest::of(self.to_json()?.as_bytes());
        }
        Ok(())
    }

    /// Adds settings from beside its `tokenizer.json` to the digest.
    pub(crate) fn set_digest(&mut self, digest: Digest) {
        self.digest = digest;
    }

    /// Returns the spelling of a token.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] for an unknown one.
    pub(crate) fn token_of(&self, id: u32) -> Result<String, Error> {
        let unknown = || format!("token {id} is not in the vocabulary").into();
        self.inner.id_to_token(id).ok_or_else(|| self.error(&unknown()))
    }

    /// Writes the tokenizer as a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the library can't write it.
    pub fn to_json(&self) -> Result<String, Error> {
        self.inner.to_string(true).map_err(|e| self.error(&e))
    }

    /// Returns the digest of the `tokenizer.json`.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Encodes `text`. Special tokens that are spelt out in it are recognised;
    /// `add_special` adds those that the tokenizer adds around a text (a start token).
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the library rejects the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(|e| self.error(&e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Decodes tokens, with special tokens omitted or spelt out.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the library rejects a token.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        self.inner.decode(ids, skip_special).map_err(|e| self.error(&e))
    }

    /// Returns the id of the token with this exact spelling.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns a decoder of tokens one by one.
    pub(crate) fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), settled: 0, shown: 0, text: String::new() }
    }

    fn error(&self, error: &tokenizers::Error) -> Error {
        Error::Tokenizer { path: self.path.clone(), detail: error.to_string() }
    }
}

/// The growing text of a rollout. Bytes of an unfinished character wait until it is complete.
///
/// The tokens from `settled` on are decoded with and without the newest ones; the difference is the new
/// text. So a step costs as much as the last few tokens, not the whole rollout.
#[derive(Debug)]
pub(crate) struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    settled: usize,
    shown: usize,
    text: String,
}

impl TextStream<'_> {
    /// Appends a token.
    pub(crate) fn push(&mut self, id: u32) -> Result<(), Error> {
        self.ids.push(id);
        let before = self.tokenizer.decode(&self.ids[self.settled..self.shown], true)?;
        let now = self.tokenizer.decode(&self.ids[self.settled..], true)?;
        if now.ends_with('\u{fffd}') {
            return Ok(());
        }
        if let Some(new) = now.strip_prefix(before.as_str()).filter(|new| !new.is_empty()) {
            self.text.push_str(new);
            self.settled = self.shown;
            self.shown = self.ids.len();
        }
        Ok(())
    }

    /// Returns all complete text so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
