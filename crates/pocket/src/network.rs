//! The initial model as a Hugging Face folder.
//!
//! Llama layers: embeddings of the vocabulary, tied to the output; matrices from a normal distribution
//! of variance 1 over their inputs, those that add to the residual stream further divided by the square
//! root of twice the number of layers; embeddings of standard deviation 0.1; norms of 1.
//!
//! Some heads are initialised to look back. A transformer learns such heads after millions of lookups, and
//! can't look anything up before (Olsson et al., *In-context Learning and Induction Heads*, 2022). This
//! model reads too little text for that, so it starts with them.
//!
//! Embeddings have the same length, and the first value of each is the same constant. Queries and keys of
//! the first layer's heads 0, 1 and 2 consist of it, apart from noise, at phases of the fast rotations that
//! agree 1, 2 and 3 positions back. So they attend to these positions, whatever the tokens are.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;
use std::slice::ChunksMut;

use preceptor_core::Seed;
use preceptor_models::write_safetensors;
use serde_json::{Value, json};

use crate::errors::Draws;
use crate::{Error, vocabulary};

/// Values per hidden state.
const HIDDEN: usize = 128;
/// Values between the feed-forward products.
const INTERMEDIATE: usize = 320;
const LAYERS: usize = 4;
const HEADS: usize = 4;
const HEAD: usize = HIDDEN / HEADS;
const ROPE_THETA: f64 = 10_000.0;
/// Standard deviation of embeddings, and their first value in units of it.
const EMBEDDING: f64 = 0.1;
const CONSTANT: f64 = 4.0;
/// Heads of the first layer that look back: head `i` by `i + 1` positions.
const LOOKING_BACK: usize = 3;
/// Number of rotations used, the fastest. Slow ones hardly distinguish positions.
const FAST: usize = 4;
/// The value of the constant in their queries and keys: it gives attention of about 0.99.
const SHARPNESS: f64 = 2.18;
/// The factor of the noise in their queries and keys.
const NOISE: f32 = 0.1;
/// The factor of their outputs.
const LOUDNESS: f32 = 1.4;
/// Number of tokens that fit into the context window: eight attempts take about 330.
const CONTEXT: usize = 1024;

/// The chat template: one message of the user, then the model's turn.
const TEMPLATE: &str = "{% if messages | length != 1 or messages[0].role != 'user' %}\
    {{ raise_exception('pocket takes one message, the user\\'s') }}{% endif %}\
    {{ messages[0].content }}{% if add_generation_prompt %}<answer>{% endif %}";

struct Tensors(Vec<(String, Vec<usize>, Vec<f32>)>);

impl Tensors {
    fn matrix(&mut self, seed: &Seed, name: &str, shape: [usize; 2], deviation: f64) {
        let mut draws = Draws::new(seed.derive(name));
        // The Box-Muller transform.
        let normal = |_| {
            let (radius, angle) = (1.0 - draws.unit(), draws.unit());
            (deviation * (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()) as f32
        };
        let values = (0..shape[0] * shape[1]).map(normal).collect();
        self.0.push((name.to_owned(), shape.to_vec(), values));
    }

    /// Returns the rows of an attention matrix of `layer`.
    fn rows(&mut self, layer: usize, part: &str) -> ChunksMut<'_, f32> {
        let name = format!("model.layers.{layer}.self_attn.{part}.weight");
        let tensor = self.0.iter_mut().find(|(other, _, _)| *other == name);
        tensor.expect("every layer was drawn").2.chunks_mut(HIDDEN)
    }

    fn norm(&mut self, name: &str) {
        self.0.push((name.to_owned(), vec![HIDDEN], vec![1.0; HIDDEN]));
    }
}

fn weights(vocab: usize, seed: Seed) -> Tensors {
    let mut tensors = Tensors(Vec::new());
    tensors.matrix(&seed, "model.embed_tokens.weight", [vocab, HIDDEN], EMBEDDING);
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
    look_back(&mut tensors);
    tensors
}

/// Initialises the heads of the first layer that look back.
fn look_back(tensors: &mut Tensors) {
    for embedding in tensors.0[0].2.chunks_mut(HIDDEN) {
        let (constant, others) = embedding.split_at_mut(1);
        let norm = others.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let factor = EMBEDDING * (others.len() as f64).sqrt() / norm;
        others.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        constant[0] = (CONSTANT * EMBEDDING) as f32;
    }
    for head in 0..LOOKING_BACK {
        for (part, distance) in [("q_proj", head + 1), ("k_proj", 0)] {
            let rows = tensors.rows(0, part).skip(head * HEAD).take(HEAD);
            for (row, weights) in rows.enumerate() {
                weights.iter_mut().for_each(|weight| *weight *= NOISE);
                let rotation = row % (HEAD / 2);
                let frequency = ROPE_THETA.powf(-2.0 * rotation as f64 / HEAD as f64);
                let angle = -(distance as f64) * frequency;
                let phase = if row < HEAD / 2 { angle.cos() } else { angle.sin() };
                weights[0] = if rotation < FAST { (SHARPNESS * phase) as f32 } else { 0.0 };
            }
        }
        for weights in tensors.rows(0, "o_proj") {
            weights[head * HEAD..][..HEAD].iter_mut().for_each(|weight| *weight *= LOUDNESS);
        }
    }
}

/// Writes the initial model of `seed` to `folder`, which must not exist.
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
            "head_dim": HEAD,
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_parameters": { "rope_type": "default", "rope_theta": ROPE_THETA },
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes the head's query or key of a token at a position.
    fn rotated(weights: &[f32], head: usize, token: &[f32], position: usize) -> [f64; HEAD] {
        let square = token.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / HIDDEN as f64;
        let mut found = [0.0; HEAD];
        for (row, weights) in weights.chunks(HIDDEN).skip(head * HEAD).take(HEAD).enumerate() {
            let products = weights.iter().zip(token).map(|(w, x)| f64::from(*w) * f64::from(*x));
            found[row] = products.sum::<f64>() / square.sqrt();
        }
        for pair in 0..HEAD / 2 {
            let angle = position as f64 * ROPE_THETA.powf(-2.0 * pair as f64 / HEAD as f64);
            let (a, b) = (found[pair], found[pair + HEAD / 2]);
            found[pair] = a * angle.cos() - b * angle.sin();
            found[pair + HEAD / 2] = b * angle.cos() + a * angle.sin();
        }
        found
    }

    #[test]
    fn heads_look_back_for_any_tokens() {
        let mut tensors = weights(vocabulary::tokens().len(), Seed::root(7));
        let embeddings = tensors.0[0].2.clone();
        let mut draws = Draws::new(Seed::root(1));
        let tokens: Vec<usize> =
            (0..300).map(|_| draws.below(vocabulary::tokens().len())).collect();
        let mut matrix = |part| tensors.rows(0, part).flatten().map(|w| *w).collect::<Vec<f32>>();
        let (queries, keys) = (matrix("q_proj"), matrix("k_proj"));
        for head in 0..LOOKING_BACK {
            let at = |weights, position: usize| {
                let token = &embeddings[tokens[position] * HIDDEN..][..HIDDEN];
                rotated(weights, head, token, position)
            };
            for last in [5, 40, 299] {
                let query = at(&queries, last);
                let score = |position| {
                    let key = at(&keys, position);
                    let product: f64 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
                    (product / (HEAD as f64).sqrt()).exp()
                };
                let all: f64 = (0..=last).map(score).sum();
                let share = score(last - head - 1) / all;
                assert!(share > 0.9, "head {head} at {last}: {share}");
            }
        }
    }
}
