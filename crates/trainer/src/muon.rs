//! Muon: momentum steps whose singular values are all about 1.
//!
//! ```text
//! b <- b + (1 - mu) (g - b)                      a decaying mean, as AdamW's first moment
//! u  = g + mu (b - g)                            Nesterov's look ahead
//! u <- X_5,  X_0 = u / max(|u|, epsilon),  X_k+1 = a X + (b A + c A^2) X  with  A = X X^T
//! w <- w - lr decay w - lr sqrt(max(1, rows / columns)) u
//! ```
//!
//! with a, b, c = 3.4445, -4.7750, 2.0315 (Newton-Schulz). This rule updates the matrices of the layers;
//! [`AdamW`] updates embeddings, heads and vectors, at its own rate. Source: Jordan et al. 2024,
//! *Muon: An optimizer for hidden layers in neural networks*, in the form of `torch.optim.Muon` with its
//! default `adjust_lr_fn`; torch iterates in bfloat16, this in single precision.
//!
//! Products are those of the decoder, one chain of fused multiply-adds per element, so threads don't
//! change a bit.

use burn::tensor::{Device, Tensor, TensorData};
use preceptor_core::OutOfRange;
use preceptor_models::{Linear, to_vec};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::adamw::{AdamW, AdamWConfig, OptimizerState, Parameter, Update};

/// Coefficients of the Newton-Schulz iteration.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
/// The norm below which a gradient has no direction.
const EPSILON: f32 = 1e-7;

/// Settings of [`Muon`]. The schedule's rate is that of the matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct MuonConfig {
    /// Decay of the mean gradient, from 0, below 1. Default: 0.95 (torch).
    pub momentum: f64,
    /// Share of a weight that is subtracted from it, times the learning rate; 0 to 10. Default: 0 (our
    /// choice; torch 0.1).
    pub weight_decay: f64,
    /// The rate of embeddings, heads and vectors as a share of that of the matrices, above 0, up to 100.
    /// Default: 0.13 (our choice).
    pub adamw_rate: f64,
    /// The optimiser of embeddings, heads and vectors, and the bound of all gradients together.
    pub adamw: AdamWConfig,
}

impl Default for MuonConfig {
    fn default() -> Self {
        let adamw = AdamWConfig { beta2: 0.95, ..AdamWConfig::default() };
        Self { momentum: 0.95, weight_decay: 0.0, adamw_rate: 0.13, adamw }
    }
}

impl MuonConfig {
    /// Checks the range of every key.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let Self { momentum, weight_decay, adamw_rate, .. } = *self;
        let is_allowed = (0.0..1.0).contains(&momentum);
        OutOfRange::check("momentum", momentum, is_allowed, "at least 0 and below 1")?;
        let is_allowed = (0.0..=10.0).contains(&weight_decay);
        OutOfRange::check("weight-decay", weight_decay, is_allowed, "between 0 and 10")?;
        let is_allowed = adamw_rate > 0.0 && adamw_rate <= 100.0;
        OutOfRange::check("adamw-rate", adamw_rate, is_allowed, "above 0 and at most 100")?;
        self.adamw.check()
    }
}

/// Muon over a list of parameters.
///
/// Its state has the layout of AdamW's. For a matrix that Muon updates, the first moment is the momentum
/// and the second stays zero.
#[derive(Clone, Debug)]
pub struct Muon {
    config: MuonConfig,
    adamw: AdamW,
    /// Rows and columns of the parameters that are updated as matrices.
    matrices: Vec<Option<[usize; 2]>>,
}

impl Muon {
    /// Creates an optimiser of `parameters` without history.
    pub fn new(config: &MuonConfig, parameters: &[Parameter]) -> Self {
        Self::with_adamw(config, AdamW::new(&config.adamw, parameters), parameters)
    }

    /// Creates an optimiser of `parameters` that resumes from `state`.
    ///
    /// # Errors
    ///
    /// [`Error::OptimizerState`] if the state belongs to other parameters.
    pub fn restore(
        config: &MuonConfig,
        parameters: &[Parameter],
        state: OptimizerState,
    ) -> Result<Self, Error> {
        let adamw = AdamW::restore(&config.adamw, parameters, state)?;
        Ok(Self::with_adamw(config, adamw, parameters))
    }

    fn with_adamw(config: &MuonConfig, adamw: AdamW, parameters: &[Parameter]) -> Self {
        let matrices = parameters.iter().map(|parameter| match parameter.shape[..] {
            [rows, columns] if is_hidden(&parameter.name) => Some([rows, columns]),
            _ => None,
        });
        Self { config: config.clone(), adamw, matrices: matrices.collect() }
    }

    /// Returns the state to resume from.
    pub fn state(&self) -> &OptimizerState {
        self.adamw.state()
    }

    /// Begins the next update, with rate `learning_rate` of the matrices and gradients multiplied by
    /// `gradient_factor` (see [`crate::clip_factor`]). Every parameter must be updated once.
    pub fn begin(&mut self, learning_rate: f64, gradient_factor: f64) -> MuonUpdate<'_> {
        let Self { config, adamw, matrices } = self;
        let rest = adamw.begin(learning_rate * config.adamw_rate, gradient_factor);
        MuonUpdate { config, matrices, rest, learning_rate, gradient_factor }
    }
}

/// Returns true if a matrix is neither the embedding nor the head.
fn is_hidden(name: &str) -> bool {
    !name.contains("embed_tokens") && !name.contains("lm_head")
}

/// An update, parameter by parameter.
#[derive(Debug)]
pub struct MuonUpdate<'a> {
    config: &'a MuonConfig,
    matrices: &'a [Option<[usize; 2]>],
    rest: Update<'a>,
    learning_rate: f64,
    gradient_factor: f64,
}

impl MuonUpdate<'_> {
    /// Updates the weights of parameter `index`.
    ///
    /// # Panics
    ///
    /// If `index` is out of range, or the parameter has another number of weights.
    pub fn apply(&mut self, index: usize, weights: &mut [f32], gradient: &[f32]) {
        let Some([rows, columns]) = self.matrices[index] else {
            return self.rest.apply(index, weights, gradient);
        };
        let momentum = self.rest.first_moment(index);
        assert_eq!((weights.len(), gradient.len()), (momentum.len(), momentum.len()));
        let (factor, share) = (self.gradient_factor as f32, (1.0 - self.config.momentum) as f32);
        let ahead = momentum.iter_mut().zip(gradient).map(|(momentum, gradient)| {
            let gradient = gradient * factor;
            *momentum += share * (gradient - *momentum);
            gradient + self.config.momentum as f32 * (*momentum - gradient)
        });
        let step = orthogonal(ahead.collect(), rows, columns);
        let scale = self.learning_rate * (rows as f64 / columns as f64).max(1.0).sqrt();
        let (scale, keep) =
            (scale as f32, (1.0 - self.learning_rate * self.config.weight_decay) as f32);
        for (weight, step) in weights.iter_mut().zip(step) {
            *weight = *weight * keep - scale * step;
        }
    }
}

/// Computes the matrix nearest to `x` whose singular values are about 1.
fn orthogonal(mut x: Vec<f32>, rows: usize, columns: usize) -> Vec<f32> {
    let is_tall = rows > columns;
    if is_tall {
        x = transposed(&x, rows, columns);
    }
    let [rows, columns] = if is_tall { [columns, rows] } else { [rows, columns] };
    let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let norm = (square.sqrt() as f32).max(EPSILON);
    x.iter_mut().for_each(|x| *x /= norm);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = product(&x, &x, [rows, columns, rows]);
        let mut mixed = product(&gram, &gram, [rows, rows, rows]);
        for (mixed, gram) in mixed.iter_mut().zip(&gram) {
            *mixed = b * gram + c * *mixed;
        }
        let added = product(&mixed, &transposed(&x, rows, columns), [rows, rows, columns]);
        for (x, added) in x.iter_mut().zip(&added) {
            *x = a * *x + added;
        }
    }
    if is_tall { transposed(&x, rows, columns) } else { x }
}

/// Multiplies `left` with the transpose of `right`: `[m, k]` and `[n, k]` to `[m, n]`.
fn product(left: &[f32], right: &[f32], [m, k, n]: [usize; 3]) -> Vec<f32> {
    let left = TensorData::new(left.to_vec(), [m, k]);
    let left = Tensor::<2>::from_data(left, &Device::flex());
    to_vec(Linear::packed(right, n, k).forward(&left))
}

fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    for row in 0..rows {
        for column in 0..columns {
            out[column * rows + row] = x[row * columns + column];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rayon::ThreadPoolBuilder;

    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) as f32).sin() * 0.1).collect()
    }

    fn parameters() -> Vec<Parameter> {
        let of = |name: &str, shape: &[usize]| Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
        };
        vec![
            of("model.embed_tokens.weight", &[7, 20]),
            of("model.layers.0.mlp.up_proj.weight", &[40, 20]),
            of("model.norm.weight", &[20]),
        ]
    }

    fn run(optimizer: &mut Muon, weights: &mut [Vec<f32>], seeds: &[usize]) {
        for seed in seeds {
            let mut update = optimizer.begin(0.02, 0.5);
            for (index, weights) in weights.iter_mut().enumerate() {
                let gradient = numbers(weights.len(), seed + index);
                update.apply(index, weights, &gradient);
            }
        }
    }

    fn weights() -> Vec<Vec<f32>> {
        let shapes = parameters().into_iter().map(|parameter| parameter.shape);
        shapes.map(|shape| numbers(shape.iter().product(), 9)).collect()
    }

    #[test]
    fn steps_have_singular_values_near_one() {
        for (rows, columns) in [(24, 16), (16, 24), (16, 16)] {
            // Far from singular: a value near 0 would stay there.
            let mut gradient = numbers(rows * columns, 1);
            for index in 0..rows.min(columns) {
                gradient[index * columns + index] += 3.0;
            }
            let step = orthogonal(gradient, rows, columns);
            let step = if rows > columns { transposed(&step, rows, columns) } else { step };
            let (short, long) = (rows.min(columns), rows.max(columns));
            let gram = product(&step, &step, [short, long, short]);
            for row in 0..short {
                let diagonal = gram[row * short + row];
                assert!((0.4..1.4).contains(&diagonal), "{diagonal} at {row}");
            }
        }
    }

    #[test]
    fn embeddings_and_vectors_are_updated_by_adamw() {
        let config = MuonConfig::default();
        let (mut ours, mut theirs) = (weights(), weights());
        run(&mut Muon::new(&config, &parameters()), &mut ours, &[1]);
        let mut adamw = AdamW::new(&config.adamw, &parameters());
        let mut update = adamw.begin(0.02 * config.adamw_rate, 0.5);
        for (index, weights) in theirs.iter_mut().enumerate() {
            let gradient = numbers(weights.len(), 1 + index);
            update.apply(index, weights, &gradient);
        }
        assert_eq!((&ours[0], &ours[2]), (&theirs[0], &theirs[2]));
        assert_ne!(ours[1], theirs[1]);
    }

    #[test]
    fn a_restored_optimiser_resumes_and_threads_change_no_bit() {
        let config = MuonConfig::default();
        let whole = |threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut weights = weights();
                run(&mut Muon::new(&config, &parameters()), &mut weights, &[1, 2, 3]);
                weights
            })
        };
        let mut parted = weights();
        let mut optimizer = Muon::new(&config, &parameters());
        run(&mut optimizer, &mut parted, &[1, 2]);
        let state = optimizer.state().clone();
        let mut restored = Muon::restore(&config, &parameters(), state).unwrap();
        run(&mut restored, &mut parted, &[3]);
        assert_eq!(parted, whole(1));
        assert_eq!(parted, whole(3));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let default = MuonConfig::default;
        assert_eq!(default().check(), Ok(()));
        let adamw = AdamWConfig { beta1: 2.0, ..AdamWConfig::default() };
        for (config, key) in [
            (MuonConfig { momentum: 1.0, ..default() }, "momentum"),
            (MuonConfig { weight_decay: -1.0, ..default() }, "weight-decay"),
            (MuonConfig { adamw_rate: 0.0, ..default() }, "adamw-rate"),
            (MuonConfig { adamw, ..default() }, "beta1"),
        ] {
            assert_eq!(config.check().unwrap_err().key, key);
        }
    }
}
