//! AdamW: Adam with decoupled weight decay.
//!
//! ```text
//! m <- m + (1 - beta1) (g - m)
//! v <- beta2 v + (1 - beta2) g^2
//! w <- w - (lr / (1 - beta1^n) * m / (sqrt(v) / sqrt(1 - beta2^n) + epsilon) + lr * decay * w)
//! ```
//!
//! n counts updates from 1; g is the gradient times the factor of its clipping. Source: Loshchilov and
//! Hutter 2019, arXiv 1711.05101, algorithm 2, in the form of `torch.optim.AdamW`, except that torch
//! subtracts the decay from the weight first. In single precision that loses it where
//! `lr * decay < 3e-8`, as with a rate of 5e-7; added to the step it survives in the mean over weights.
//!
//! Each weight is updated independently, in single precision, so threads don't change a bit.

use preceptor_core::OutOfRange;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Weights per task.
const CHUNK: usize = 1 << 14;

/// Settings of [`AdamW`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AdamWConfig {
    /// Decay of the mean gradient, from 0, below 1. Default: 0.9 (verl 0.5).
    pub beta1: f64,
    /// Decay of the mean squared gradient, from 0, below 1. Default: 0.999 (verl 0.5).
    pub beta2: f64,
    /// Added to the root of the mean squared gradient, above 0, up to 1. Default: 1e-8 (torch).
    pub epsilon: f64,
    /// Share of a weight that is subtracted from it, times the learning rate; 0 to 10. Default: 0.01
    /// (verl 0.5).
    pub weight_decay: f64,
    /// True if vectors (norms and biases) decay as matrices do. Default: true (torch).
    pub decay_vectors: bool,
    /// Largest global norm of the gradient, 0 to 1e6; larger gradients are scaled down to it, 0 is no
    /// bound. Default: 1 (verl 0.5).
    pub max_gradient_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            decay_vectors: true,
            max_gradient_norm: 1.0,
        }
    }
}

impl AdamWConfig {
    /// Checks the range of every key.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let Self { beta1, beta2, epsilon, weight_decay, max_gradient_norm, .. } = *self;
        let is_rate = |beta: f64| (0.0..1.0).contains(&beta);
        OutOfRange::check("beta1", beta1, is_rate(beta1), "at least 0 and below 1")?;
        OutOfRange::check("beta2", beta2, is_rate(beta2), "at least 0 and below 1")?;
        let is_allowed = epsilon > 0.0 && epsilon <= 1.0;
        OutOfRange::check("epsilon", epsilon, is_allowed, "above 0 and at most 1")?;
        let is_allowed = (0.0..=10.0).contains(&weight_decay);
        OutOfRange::check("weight-decay", weight_decay, is_allowed, "between 0 and 10")?;
        let is_allowed = (0.0..=1e6).contains(&max_gradient_norm);
        OutOfRange::check("max-gradient-norm", max_gradient_norm, is_allowed, "between 0 and 1e6")
    }
}

/// The name and shape of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Parameter {
    fn num_weights(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The state of an optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    /// Number of updates so far.
    pub num_updates: u64,
    /// The moments of each parameter.
    pub moments: Vec<Moments>,
}

/// The moments of a parameter, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The parameter's name.
    pub name: String,
    /// Decaying mean of its gradient.
    pub first: Vec<f32>,
    /// Decaying mean of the square of its gradient.
    pub second: Vec<f32>,
}

/// AdamW over a list of parameters.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    decays: Vec<bool>,
    state: OptimizerState,
}

impl AdamW {
    /// Creates an optimiser of `parameters` without history.
    pub fn new(config: &AdamWConfig, parameters: &[Parameter]) -> Self {
        let moments = parameters.iter().map(|parameter| Moments {
            name: parameter.name.clone(),
            first: vec![0.0; parameter.num_weights()],
            second: vec![0.0; parameter.num_weights()],
        });
        let state = OptimizerState { num_updates: 0, moments: moments.collect() };
        Self::with_state(config, parameters, state)
    }

    /// Creates an optimiser of `parameters` that resumes from `state`.
    ///
    /// # Errors
    ///
    /// [`Error::OptimizerState`] if the state has other parameters, other numbers of weights, or values
    /// that are not possible.
    pub fn restore(
        config: &AdamWConfig,
        parameters: &[Parameter],
        state: OptimizerState,
    ) -> Result<Self, Error> {
        let (found, expected) = (state.moments.len(), parameters.len());
        if found != expected {
            let [found, expected] = [found, expected].map(|num| format!("{num} parameters"));
            return Err(Error::OptimizerState { found, expected });
        }
        for (moments, parameter) in state.moments.iter().zip(parameters) {
            let name = &moments.name;
            let expected = format!("`{}` with {} weights", parameter.name, parameter.num_weights());
            for numbers in [&moments.first, &moments.second] {
                if *name != parameter.name || numbers.len() != parameter.num_weights() {
                    let found = format!("`{name}` with {} weights", numbers.len());
                    return Err(Error::OptimizerState { found, expected });
                }
                if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
                    let found = format!("{number} in the moments of `{name}`");
                    return Err(Error::OptimizerState { found, expected: "numbers".to_owned() });
                }
            }
        }
        Ok(Self::with_state(config, parameters, state))
    }

    fn with_state(config: &AdamWConfig, parameters: &[Parameter], state: OptimizerState) -> Self {
        let decays = |parameter: &Parameter| config.decay_vectors || parameter.shape.len() > 1;
        let decays = parameters.iter().map(decays).collect();
        Self { config: config.clone(), decays, state }
    }

    /// Returns the state to resume from.
    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// Begins the next update, with rate `learning_rate` and gradients multiplied by `gradient_factor`
    /// (see [`crate::clip_factor`]). Every parameter must be updated once.
    pub fn begin(&mut self, learning_rate: f64, gradient_factor: f64) -> Update<'_> {
        self.state.num_updates += 1;
        let num_updates = self.state.num_updates as f64;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, .. } = self.config;
        let constants = Constants {
            gradient_factor: gradient_factor as f32,
            first_share: (1.0 - beta1) as f32,
            second_decay: beta2 as f32,
            second_share: (1.0 - beta2) as f32,
            step_size: (learning_rate / (1.0 - beta1.powf(num_updates))) as f32,
            root_correction: (1.0 - beta2.powf(num_updates)).sqrt() as f32,
            epsilon: epsilon as f32,
            decay: (learning_rate * weight_decay) as f32,
        };
        Update { optimizer: self, constants }
    }
}

/// An update, parameter by parameter.
#[derive(Debug)]
pub struct Update<'a> {
    optimizer: &'a mut AdamW,
    constants: Constants,
}

impl Update<'_> {
    /// Updates the weights of parameter `index`.
    ///
    /// # Panics
    ///
    /// If `index` is out of range, or the parameter has another number of weights.
    pub fn apply(&mut self, index: usize, weights: &mut [f32], gradient: &[f32]) {
        let moments = &mut self.optimizer.state.moments[index];
        let len = moments.first.len();
        assert_eq!((weights.len(), gradient.len()), (len, len), "weights of `{}`", moments.name);
        let decay = if self.optimizer.decays[index] { self.constants.decay } else { 0.0 };
        let constants = Constants { decay, ..self.constants };
        let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let first = moments.first.par_chunks_mut(CHUNK);
        let second = moments.second.par_chunks_mut(CHUNK);
        chunks.zip(first.zip(second)).for_each(|((weights, gradient), (first, second))| {
            constants.update(weights, gradient, first, second);
        });
    }
}

impl Update<'_> {
    /// Returns the first moment of parameter `index`, for an optimiser with another update rule.
    pub(crate) fn first_moment(&mut self, index: usize) -> &mut [f32] {
        &mut self.optimizer.state.moments[index].first
    }
}

/// The factors that all weights of an update share.
#[derive(Clone, Copy, Debug)]
struct Constants {
    gradient_factor: f32,
    first_share: f32,
    second_decay: f32,
    second_share: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
    decay: f32,
}

impl Constants {
    fn update(self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        for ((weight, &gradient), (first, second)) in weights.iter_mut().zip(gradient).zip(moments)
        {
            let gradient = gradient * self.gradient_factor;
            *first += self.first_share * (gradient - *first);
            *second = self.second_decay * *second + self.second_share * gradient * gradient;
            let scale = second.sqrt() / self.root_correction + self.epsilon;
            *weight -= self.step_size * (*first / scale) + self.decay * *weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use rayon::ThreadPoolBuilder;

    use super::*;
    use crate::GradientNorm;

    fn parameters() -> [Parameter; 2] {
        let parameter = |name: &str, shape: &[usize]| Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
        };
        [parameter("q_proj.weight", &[150, 333]), parameter("norm.weight", &[333])]
    }

    /// Creates values of both signs and several magnitudes.
    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) as f32).sin() * 0.1).collect()
    }

    fn weights() -> [Vec<f32>; 2] {
        parameters().map(|parameter| numbers(parameter.num_weights(), 1))
    }

    fn update(optimizer: &mut AdamW, weights: &mut [Vec<f32>; 2], seed: usize) -> f64 {
        let gradients = weights.each_ref().map(|weights| numbers(weights.len(), seed));
        let mut norm = GradientNorm::default();
        for (parameter, gradient) in parameters().iter().zip(&gradients) {
            norm.add(&parameter.name, gradient).unwrap();
        }
        let mut update = optimizer.begin(1e-3, crate::clip_factor(norm.value(), 1.0));
        for (index, weights) in weights.iter_mut().enumerate() {
            update.apply(index, weights, &gradients[index]);
        }
        norm.value()
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let run = |num_threads| {
            let pool = ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
            pool.install(|| {
                let mut optimizer = AdamW::new(&AdamWConfig::default(), &parameters());
                let mut weights = weights();
                let norms = [2, 3, 4].map(|seed| update(&mut optimizer, &mut weights, seed));
                (norms, weights, optimizer.state)
            })
        };
        let one = run(1);
        assert_eq!(one, run(3));
        assert_eq!(one, run(8));
        assert_ne!(one.1, weights(), "the weights moved");
    }

    #[test]
    fn a_restored_optimiser_resumes_bit_for_bit() {
        let config = AdamWConfig::default();
        let mut optimizer = AdamW::new(&config, &parameters());
        let mut weights = weights();
        update(&mut optimizer, &mut weights, 2);
        let mut restored =
            AdamW::restore(&config, &parameters(), optimizer.state().clone()).unwrap();
        let mut restored_weights = weights.clone();
        for seed in [3, 4] {
            update(&mut optimizer, &mut weights, seed);
            update(&mut restored, &mut restored_weights, seed);
        }
        assert_eq!(weights, restored_weights);
        assert_eq!(optimizer.state(), restored.state());
    }

    #[test]
    fn a_state_of_other_parameters_is_rejected() {
        let config = AdamWConfig::default();
        let state = AdamW::new(&config, &parameters()).state().clone();
        let refuse = |change: &dyn Fn(&mut OptimizerState)| {
            let mut state = state.clone();
            change(&mut state);
            AdamW::restore(&config, &parameters(), state).unwrap_err().to_string()
        };
        let error = refuse(&|state| state.moments[1].name = "bias".to_owned());
        assert!(error.contains("found `bias` with 333 weights"), "{error}");
        let error = refuse(&|state| state.moments[1].second.truncate(5));
        assert!(error.contains("`norm.weight` with 5 weights"), "{error}");
        let error = refuse(&|state| state.moments.truncate(1));
        assert!(error.contains("found 1 parameters, expected 2"), "{error}");
        let error = refuse(&|state| state.moments[0].first[7] = f32::NAN);
        assert!(error.contains("NaN in the moments of `q_proj.weight`"), "{error}");
    }

    #[test]
    fn vectors_decay_only_if_asked() {
        let moved = |decay_vectors, weight_decay| {
            let config = AdamWConfig { decay_vectors, weight_decay, ..AdamWConfig::default() };
            let mut optimizer = AdamW::new(&config, &parameters());
            let mut weights = weights();
            update(&mut optimizer, &mut weights, 2);
            weights
        };
        let [matrix, vector] = moved(false, 0.5);
        assert_eq!(vector, moved(true, 0.0)[1]);
        assert_ne!(vector, moved(true, 0.5)[1]);
        assert_eq!(matrix, moved(true, 0.5)[0]);
        assert_ne!(matrix, moved(true, 0.0)[0]);
    }

    #[test]
    fn weight_decay_acts_at_small_rates() {
        let weights_after = |weight_decay| {
            let config = AdamWConfig { weight_decay, ..AdamWConfig::default() };
            let parameter = Parameter { name: "w".to_owned(), shape: vec![100, 100] };
            let mut optimizer = AdamW::new(&config, &[parameter]);
            let mut weights = numbers(10_000, 1);
            for seed in 2..12 {
                optimizer.begin(5e-7, 1.0).apply(0, &mut weights, &numbers(10_000, seed));
            }
            weights
        };
        let (with, without) = (weights_after(0.01), weights_after(0.0));
        let shrunk: f64 =
            without.iter().zip(&with).map(|(a, b)| f64::from(a.abs() - b.abs())).sum();
        let expected: f64 = without.iter().map(|w| 10.0 * 5e-9 * f64::from(w.abs())).sum();
        // The first update moves all weights by the same amount, so rounding hides its decay.
        assert!((shrunk / expected - 1.0).abs() < 0.2, "{shrunk} {expected}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let default = AdamWConfig::default;
        assert_eq!(default().check(), Ok(()));
        let wrong = [
            (AdamWConfig { beta1: 1.0, ..default() }, "beta1"),
            (AdamWConfig { beta2: -0.1, ..default() }, "beta2"),
            (AdamWConfig { epsilon: 0.0, ..default() }, "epsilon"),
            (AdamWConfig { weight_decay: f64::NAN, ..default() }, "weight-decay"),
            (AdamWConfig { max_gradient_norm: f64::INFINITY, ..default() }, "max-gradient-norm"),
        ];
        for (config, key) in wrong {
            assert_eq!(config.check().unwrap_err().key, key);
        }
    }
}
