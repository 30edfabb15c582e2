//! The model before it has learnt anything, as a Hugging Face folder.
//!
//! Llama layers: embeddings of the vocabulary, tied to the output; matrices from a normal distribution
//! of variance 1 over their inputs, what adds to the residual stream further divided by the root of
//! twice the layers; embeddings of standard deviation 0.02; norms of 1.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use preceptor_core::Seed;
use preceptor_models::write_safetensors;
use serde_json::{Value, json};

use crate::errors::Draws;
use crate::{Error, vocabulary};

/// Numbers of a hidden state.
const HIDDEN: usize = 128;
/// Numbers between the feed-forward products.
const INTERMEDIATE: usize = 320;
const LAYERS: usize = 4;
const HEADS: usize = 4;
/// Tokens that fit into the context window: eight attempts take about 330.
const CONTEXT: usize = 1024;

/// The chat template: one message of the user, then the model's turn.
const TEMPLATE: &str = "{% if messages | length != 1 or messages[0].role != 'user' %}\
    {{ raise_exception('pocket takes one message, the user\\'s') }}{% endif %}\
    {{ messages[0].content }}{% if add_generation_prompt %}<answer>{% endif %}";

struct Tensors(Vec<(String, Vec<usize>, Vec<f32>)>);

impl Tensors {
    fn matrix(&mut self, seed: &Seed, name: &str, shape: [usize; 2], deviation: f64) {
        let mut draws = Draws::new(seed.derive(name));
        // Box and Muller.
        let normal = |_| {
            let (radius, angle) = (1.0 - draws.unit(), draws.unit());
            (deviation * (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()) as f32
        };
        let values = (0..shape[0] * shape[1]).map(normal).collect();
        self.0.push((name.to_owned(), shape.to_vec(), values));
    }

    fn norm(&mut self, name: &str) {
        self.0.push((name.to_owned(), vec![HIDDEN], vec![1.0; HIDDEN]));
    }
}

fn weights(vocab: usize, seed: Seed) -> Tensors {
    let mut tensors = Tensors(Vec::new());
    tensors.matrix(&seed, "model.embed_tokens.weight", [vocab, HIDDEN], 0.02);
    let inverse_root = |n: usize| 1.0 / (n as f64).sqrt();
    let (into, out) = (inverse_root(HIDDEN), inverse_root(2 * LAYERS));
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj"] {
            tensors.matrix(&seed, &name(&format!("self_attn.{part}")), [HIDDEN, HIDDEN], into);
        }
        tensors.matrix(&seed, &name("self_attn.o_proj"), [HIDDEN, HIDDEN], into * out);
        for part in ["gate_proj", "up_proj"] {
            tensors.matrix(&seed, &name(&format!("mlp.{part}")), [INTERMEDIATE, HIDDEN], into);
        }
        let down = inverse_root(INTERMEDIATE) * out;
        tensors.matrix(&seed, &name("mlp.down_proj"), [HIDDEN, INTERMEDIATE], down);
        tensors.norm(&name("input_layernorm"));
        tensors.norm(&name("post_attention_layernorm"));
    }
    tensors.norm("model.norm.weight");
    tensors
}

/// Writes the model that `seed` draws into `folder`, which must not be there.
///
/// # Errors
///
/// [`Error::Write`] or [`Error::Model`].
pub fn write_initial(folder: &Path, seed: Seed) -> Result<(), Error> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir(folder).map_err(error(folder))?;
    let tokens = vocabulary::tokens();
    let end = tokens.iter().position(|token| token == vocabulary::END);
    let write = |file: &str, text: String| {
        let path = folder.join(file);
        fs::write(&path, text).map_err(error(&path))
    };
    let write_json = |file: &str, value: Value| write(file, format!("{value:#}\n"));
    write_json(
        "config.json",
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": tokens.len(),
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "head_dim": HIDDEN / HEADS,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_type": "default", "rope_theta": 10_000.0 },
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "tie_word_embeddings": true,
            "eos_token_id": end,
        }),
    )?;
    write_json("tokenizer_config.json", json!({ "eos_token": vocabulary::END }))?;
    write_json("tokenizer.json", vocabulary::tokenizer())?;
    write("chat_template.jinja", TEMPLATE.to_owned())?;
    let weights = weights(tokens.len(), seed);
    let tensors = weights.0.iter().map(|(name, shape, values)| (&**name, &**shape, &**values));
    Ok(write_safetensors(&folder.join("model.safetensors"), tensors)?)
}
