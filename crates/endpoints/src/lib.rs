//! The generation port over an OpenAI-compatible HTTP API.
