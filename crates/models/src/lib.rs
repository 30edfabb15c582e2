//! Decoder models on this machine: loading, sampling and scoring.
//!
//! [`Model::load`] reads a Hugging Face folder or a GGUF file; [`LocalModel`] samples rollouts
//! ([`preceptor_core::Generator`]) and computes log-probabilities ([`preceptor_core::Scorer`]) with it.
//! Weights and activations are burn tensors. The operations of a layer run as our own kernels on the CPU
//! and on GPUs, and as burn operations in other formats.
//!
//! On the CPU, sampling is batch invariant: a rollout is a function of model, prompt, sampling settings
//! and its random stream. Batch size, the other sequences of a batch, thread count and the order of
//! requests do not change a bit of it. The private module `kernels` explains how.
//!
//! Everything in a model's files that changes its output is computed or rejected by its name: tensors
//! that no layer uses, unknown metadata, settings of adapters. Weights and log-probabilities that are
//! NaN or infinite are errors.
//!
//! A model family is a file and a line in [`FAMILIES`].

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
    Decoder, DecoderSpec, FAMILIES, Family, Gemma3Config, Layer, LayerVector, LayerVectors, Layers,
    LlamaConfig, LoraConfig, ProductParts, Products, Qwen2Config, Qwen3Config, RopeConfig,
    RopeScaling, SizeDefaults, Sizes, Slot, Stack, WeightMut, Width,
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
    CounterValues, GenerationOptions, LocalModel, RolloutTrace, SampledToken, Trace, TracedRollout,
    new_cache, rows_per_pass, sample_token, token_logprob,
};
pub use training::{
    GradientSums, Graph, GroupBatch, LayerStates, Parameter, Pass, TokenGroup, Trainable,
    sequence_logits, write_safetensors,
};
