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

mod attention;
mod decoder;
mod device;
mod error;
mod format;
mod kernels;
mod memory;
mod model;
mod ops;
mod replica;
mod sampling;
mod training;

pub use attention::{
    Attend, AttentionShape, CpuKvCache, KvCache, Segment, SegmentAttention, SequenceId,
    SlotKvCache, Span, TensorKvCache,
};
pub use decoder::{
    Decoder, DecoderSpec, FAMILIES, Family, Gemma3Config, Layer, Layers, LlamaConfig, LoraConfig,
    Norm, Products, Qwen3Config, RopeConfig, RopeScaling, SizeDefaults, Sizes, Stack, WeightMut,
};
pub use device::{Device, Precision};
pub use error::Error;
pub use format::{
    ChatTemplate, GgufFile, GgufValue, HfWeights, JsonFile, NamedTensors, Tokenizer, WeightSource,
    read_safetensors,
};
pub use memory::available_memory;
pub use model::Model;
pub use ops::{Activation, Adapter, Linear, RopeAngles, Targets, to_vec};
pub use replica::{Replica, side_by_side};
pub use sampling::{
    CounterValues, Draw, GenerationOptions, LocalModel, RolloutTrace, Trace, Traced, draw_token,
    new_cache, rows_per_pass, token_logprob,
};
pub use training::{
    GradientSums, Graph, GroupBatch, LayerStates, Parameter, Pass, TokenGroup, Trainable,
    sequence_logits, write_safetensors,
};
