//! Folders on this machine.

use std::path::PathBuf;
use std::{env, fmt};

/// The hub where none is named.
const HUB: &str = "https://huggingface.co";

/// A hub with the token to ask it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The address: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: String,
    /// The token for gated repositories: `HF_TOKEN`.
    pub token: Option<Token>,
}

/// A secret that is never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Wraps the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The folders that files are looked for in and fetched to.
#[derive(Clone, Debug)]
pub struct Places {
    /// Fetched files and recorded digests. `PRECEPTOR_CACHE_DIR`, else `preceptor` in the user's
    /// cache folder.
    pub cache: PathBuf,
    /// Models, one folder each. `PRECEPTOR_MODELS_DIR`, else `models` in the cache.
    pub models: PathBuf,
    /// A local copy of the benchmark data, looked at first. `PRECEPTOR_DATA_DIR`.
    pub data: Option<PathBuf>,
    /// A registry of the user's own: `models.toml` and `data.toml` in it add to the built-in ones.
    /// `PRECEPTOR_CONFIG_DIR`, else `preceptor` in the user's configuration folder.
    pub config: PathBuf,
    /// The hub that registered repositories are fetched from.
    pub hub: Hub,
}

impl Places {
    /// Returns the folders that the environment names.
    pub fn from_env() -> Self {
        let folder =
            |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let home = folder("HOME").unwrap_or_default();
        let user = |name: &str, default: &str| {
            folder(name).unwrap_or_else(|| home.join(default)).join("preceptor")
        };
        let cache =
            folder("PRECEPTOR_CACHE_DIR").unwrap_or_else(|| user("XDG_CACHE_HOME", ".cache"));
        Self {
            models: folder("PRECEPTOR_MODELS_DIR").unwrap_or_else(|| cache.join("models")),
            data: folder("PRECEPTOR_DATA_DIR"),
            config: folder("PRECEPTOR_CONFIG_DIR")
                .unwrap_or_else(|| user("XDG_CONFIG_HOME", ".config")),
            cache,
            hub: Hub {
                endpoint: text("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()),
                token: text("HF_TOKEN").map(Token::new),
            },
        }
    }
}
