//! Rollouts from tokens that another engine sampled.

use preceptor_core::{FinishReason, Rollout, Sampling};

use crate::{Error, Model};

impl Model {
    /// Returns the rollout of `tokens`, which another engine sampled after a prompt of
    /// `num_prompt_tokens`. `logprobs` has the log-probability of each.
    ///
    /// # Errors
    ///
    /// [`Error::Replay`] for tokens that sampling with these weights and settings can't give: without an
    /// end, with tokens after the end, or unknown to the vocabulary; [`Error::NotFiniteLogprob`].
    pub fn replay(
        &self,
        index: u32,
        tokens: Vec<u32>,
        logprobs: Vec<f32>,
        num_prompt_tokens: usize,
        sampling: &Sampling,
    ) -> Result<Rollout, Error> {
        self.check_tokens(&tokens)?;
        let refuse = |detail: String| Err(Error::Replay { detail });
        if tokens.len() != logprobs.len() {
            return refuse(format!(
                "{} tokens and {} log-probabilities",
                tokens.len(),
                logprobs.len()
            ));
        }
        if let Some((&token, &logprob)) =
            tokens.iter().zip(&logprobs).find(|(_, logprob)| !logprob.is_finite())
        {
            return Err(Error::NotFiniteLogprob { action: "sample", token, logprob });
        }
        let end = tokens.iter().position(|token| self.end_tokens().contains(token));
        let finish = match end {
            Some(end) if end + 1 == tokens.len() => FinishReason::EndToken,
            Some(end) => {
                let (len, token) = (tokens.len(), tokens[end]);
                return refuse(format!("{len} tokens, with end token {token} at position {end}"));
            }
            None if tokens.len() == sampling.max_new_tokens as usize => FinishReason::MaxNewTokens,
            None if num_prompt_tokens + tokens.len() >= self.context_length() => {
                FinishReason::ContextFull
            }
            None => {
                let (len, most) = (tokens.len(), sampling.max_new_tokens);
                return refuse(format!(
                    "{len} tokens without an end token, expected one or {most} tokens"
                ));
            }
        };
        let text = &tokens[..end.unwrap_or(tokens.len())];
        Ok(Rollout {
            index,
            text: self.tokenizer().decode(text, true)?,
            token_ids: tokens,
            logprobs,
            finish,
            num_prompt_tokens: u32::try_from(num_prompt_tokens).unwrap_or(u32::MAX),
            reported_tokens: None,
        })
    }
}
