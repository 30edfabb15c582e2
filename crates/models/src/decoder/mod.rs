//! Decoders: their interface, the layers that families share, and the families.

mod families;
mod interface;
mod layer_vectors;
mod loader;
mod lora;
mod products;
mod rope_config;
mod sizes;
mod stack;

pub(crate) use families::find as find_family;
pub use families::gemma3::Gemma3Config;
pub use families::llama::LlamaConfig;
pub use families::qwen2::Qwen2Config;
pub use families::qwen3::Qwen3Config;
pub use families::{FAMILIES, Family};
pub use interface::{Decoder, DecoderSpec, WeightMut};
pub use layer_vectors::{LayerVector, LayerVectors, Slot, Width};
pub use lora::LoraConfig;
pub(crate) use lora::ends_with_name;
pub use products::{ProductParts, Products};
pub use rope_config::{RopeConfig, RopeScaling};
pub use sizes::{SizeDefaults, Sizes};
pub use stack::{Layer, Layers, Stack};
