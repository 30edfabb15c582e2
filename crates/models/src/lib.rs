//! Decoder models on this machine: loading, sampling and scoring.
//!
//! [`Model::load`] reads a Hugging Face folder or a GGUF file; [`LocalModel`] draws rollouts
//! ([`preceptor_core::Generator`]) and gives log-probabilities ([`preceptor_core::Scorer`]) with it.
//! Weights and activations are burn tensors. On the CPU the operations of a layer run as kernels of
//! our own on the tensors' storage; elsewhere, and under autodiff, as burn operations.
//!
//! On the CPU a rollout is a function of model, prompt, sampling and its random stream, to the bit:
//! neither batch size nor the other sequences of a batch, neither thread count nor the order of
//! requests can reach it. The private module `kernels` says how.
//!
//! Everything in a model's files that changes its numbers is computed or refused by its name: tensors
//! that no layer uses, unknown metadata, settings of adapters. Weights and log-probabilities that are
//! NaN or infinite are errors.
//!
//! A model family is one file and one line in [`FAMILIES`].

mod adapter;
mod attention;
mod chat_template;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube_kernels;
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
#[path = "no_cube_kernels.rs"]
mod cube_kernels;
mod decoder;
mod device;
mod engine;
mod error;
mod export;
pub mod families;
mod generate;
mod gguf;
mod gradient_sums;
mod gradients;
mod group_batch;
mod hf_folder;
mod kernels;
mod kv_cache;
mod loader;
mod local_model;
mod logits_in_parts;
mod lora;
mod masked_softmax;
mod memory;
mod model;
pub mod ops;
mod padded_attention;
mod pass;
mod recorded;
mod replica;
mod rope_frequencies;
mod sampler;
mod score;
mod slot_kv_cache;
mod special_tokens;
mod stack;
mod targets;
mod template;
mod tokenizer;
mod trainable;
mod weights;

pub use attention::{Attend, AttentionShape, KvCache, Segment, SegmentAttention, SequenceId, Span};
pub use chat_template::ChatTemplate;
pub use decoder::{Decoder, DecoderSpec, WeightMut};
pub use device::{Device, Precision};
pub use engine::{CounterValues, new_cache, rows_a_pass};
pub use error::Error;
pub use export::write_safetensors;
pub use families::{FAMILIES, Family};
pub use gguf::{GgufFile, GgufValue};
pub use gradient_sums::GradientSums;
pub use group_batch::{GroupBatch, TokenGroup, sequence_logits};
pub use hf_folder::{HfWeights, JsonFile, NamedTensors, read_all as read_safetensors};
pub use kv_cache::{CpuKvCache, TensorKvCache};
pub use local_model::{GenerationOptions, LocalModel, Traced};
pub use lora::{Adapter, LoraConfig};
pub use memory::available_memory;
pub use model::Model;
pub use pass::{LayerStates, Pass};
pub use replica::{Replica, side_by_side};
pub use rope_frequencies::{RopeConfig, RopeScaling};
pub use sampler::{Draw, RolloutTrace, Trace, draw_token, token_logprob};
pub use slot_kv_cache::SlotKvCache;
pub use stack::{Layer, Layers, Norm, Products, Sizes, Stack};
pub use targets::Targets;
pub use tokenizer::Tokenizer;
pub use trainable::{Graph, Parameter, Trainable};
pub use weights::WeightSource;
