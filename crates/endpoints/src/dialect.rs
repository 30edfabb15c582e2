//! Dialects: differences between servers of the same interface.
//!
//! | | `openai` | `vllm` | `llama-cpp` | `ollama` |
//! |---|---|---|---|---|
//! | limit of a chat | `max_completion_tokens` | `max_tokens` | `max_tokens` | `max_tokens` |
//! | temperature, top-p | unless 1 | always | always | always |
//! | top-k, min-p | - | always | always | - |
//! | repetition penalty 1 | - | `repetition_penalty` | `repeat_penalty` | - |
//! | order of filters | - | its own | `samplers` | - |
//! | stop strings | at most 4 | any | any | any |
//! | scoring | - | `echo` | `echo` | - |
//!
//! *Always* is there because these servers otherwise use defaults of their own or of the model's
//! files, which would silently change the distribution. vLLM filters by top-k and top-p, then
//! min-p, all after the temperature. llama-cpp-python ignores `samplers`: it applies the
//! temperature last. Ollama keeps the 40 most likely tokens unless the model's own file says
//! otherwise, and has no way to request more.

use std::fmt;

use preceptor_core::{PortError, Sampling};
use serde::{Deserialize, Serialize};

use crate::error::COMPONENT;

/// OpenAI's own limit.
const OPENAI_STOP_STRINGS: usize = 4;

/// The variant of the OpenAI interface that a server implements.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// OpenAI itself and services that follow it to the letter.
    #[default]
    #[serde(rename = "openai")]
    OpenAi,
    /// vLLM, and servers with its extra fields such as SGLang.
    Vllm,
    /// The server of llama.cpp, and llama-cpp-python's.
    LlamaCpp,
    /// Ollama.
    Ollama,
}

impl Dialect {
    /// Returns the name in TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama-cpp",
            Self::Ollama => "ollama",
        }
    }

    /// Returns whether it takes top-k and min-p.
    pub(crate) fn has_token_filters(self) -> bool {
        matches!(self, Self::Vllm | Self::LlamaCpp)
    }

    /// Returns whether completions can echo the prompt with its log-probabilities.
    pub(crate) fn can_score(self) -> bool {
        matches!(self, Self::Vllm | Self::LlamaCpp)
    }

    /// Returns the most stop strings of one call.
    fn max_stop_strings(self) -> usize {
        match self {
            Self::OpenAi => OPENAI_STOP_STRINGS,
            Self::Vllm | Self::LlamaCpp | Self::Ollama => usize::MAX,
        }
    }

    /// Refuses settings that the dialect can't express, instead of dropping them.
    pub(crate) fn check(self, sampling: &Sampling) -> Result<(), PortError> {
        let unsupported = |detail| Err(PortError::Unsupported { component: COMPONENT, detail });
        if !self.has_token_filters() {
            for (key, value, neutral) in
                [("top-k", f64::from(sampling.top_k), 0.0), ("min-p", sampling.min_p, 0.0)]
            {
                if value != neutral {
                    return unsupported(format!(
                        "dialect `{self}` has no `{key}`, found {value}; use {neutral}, or a server with dialect `vllm` or `llama-cpp`"
                    ));
                }
            }
        }
        let (given, most) = (sampling.stop.len(), self.max_stop_strings());
        if given > most {
            return unsupported(format!(
                "dialect `{self}` takes at most {most} stop strings, found {given}"
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_settings_are_refused_not_dropped() {
        let filtered = [
            Sampling { top_k: 40, ..Sampling::default() },
            Sampling { min_p: 0.05, ..Sampling::default() },
        ];
        for sampling in &filtered {
            for dialect in [Dialect::OpenAi, Dialect::Ollama] {
                assert!(matches!(dialect.check(sampling), Err(PortError::Unsupported { .. })));
            }
            assert!(Dialect::Vllm.check(sampling).is_ok());
            assert!(Dialect::LlamaCpp.check(sampling).is_ok());
        }
        let stop = vec!["x".to_owned(); 5];
        let sampling = Sampling { stop, ..Sampling::default() };
        insta::assert_snapshot!(
            Dialect::OpenAi.check(&sampling).unwrap_err(),
            @"use the endpoint: dialect `openai` takes at most 4 stop strings, found 5"
        );
        insta::assert_snapshot!(
            Dialect::Ollama.check(&filtered[1]).unwrap_err(),
            @"use the endpoint: dialect `ollama` has no `min-p`, found 0.05; use 0, or a server with dialect `vllm` or `llama-cpp`"
        );
    }

    #[test]
    fn names_are_those_of_toml() {
        for dialect in [Dialect::OpenAi, Dialect::Vllm, Dialect::LlamaCpp, Dialect::Ollama] {
            assert_eq!(serde_json::to_value(dialect).unwrap(), dialect.name());
        }
    }
}
