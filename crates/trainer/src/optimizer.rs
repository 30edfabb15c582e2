//! The optimiser of a learner: its settings, its state and its updates.

use preceptor_models::Trainable;

use crate::Error;
use crate::adamw::{AdamW, AdamWConfig, OptimizerState, Parameter};
use crate::muon::{Muon, MuonConfig};

/// Settings of an optimiser.
#[derive(Clone, Debug, PartialEq)]
pub enum OptimizerConfig {
    /// [`AdamW`] for all parameters.
    AdamW(AdamWConfig),
    /// [`Muon`], whose matrices learn at the rate of the schedule.
    Muon(MuonConfig),
}

impl OptimizerConfig {
    /// Returns the bound of the norm of all gradients together.
    pub fn max_gradient_norm(&self) -> f64 {
        match self {
            Self::AdamW(config) => config.max_gradient_norm,
            Self::Muon(config) => config.adamw.max_gradient_norm,
        }
    }
}

/// An optimiser with its state.
#[derive(Debug)]
pub(crate) enum Optimizer {
    AdamW(AdamW),
    Muon(Muon),
}

impl Optimizer {
    /// Creates an optimiser without history.
    pub(crate) fn new(config: &OptimizerConfig, trainable: &Trainable) -> Self {
        let parameters = parameters(trainable);
        match config {
            OptimizerConfig::AdamW(config) => Self::AdamW(AdamW::new(config, &parameters)),
            OptimizerConfig::Muon(config) => Self::Muon(Muon::new(config, &parameters)),
        }
    }

    /// Creates an optimiser that resumes from `state`.
    ///
    /// # Errors
    ///
    /// [`Error::OptimizerState`] if the state belongs to other parameters.
    pub(crate) fn restore(
        config: &OptimizerConfig,
        trainable: &Trainable,
        state: OptimizerState,
    ) -> Result<Self, Error> {
        let parameters = parameters(trainable);
        Ok(match config {
            OptimizerConfig::AdamW(config) => {
                Self::AdamW(AdamW::restore(config, &parameters, state)?)
            }
            OptimizerConfig::Muon(config) => Self::Muon(Muon::restore(config, &parameters, state)?),
        })
    }

    /// Returns the state to resume from.
    pub(crate) fn state(&self) -> &OptimizerState {
        match self {
            Self::AdamW(adamw) => adamw.state(),
            Self::Muon(muon) => muon.state(),
        }
    }

    /// Updates every parameter.
    pub(crate) fn step(
        &mut self,
        rate: f64,
        factor: f64,
        trainable: &mut Trainable,
        gradients: &[Vec<f32>],
    ) {
        let parameters = trainable.parameters_mut().iter_mut().enumerate();
        match self {
            Self::AdamW(adamw) => {
                let mut update = adamw.begin(rate, factor);
                parameters.for_each(|(i, p)| update.apply(i, &mut p.values, &gradients[i]));
            }
            Self::Muon(muon) => {
                let mut update = muon.begin(rate, factor);
                parameters.for_each(|(i, p)| update.apply(i, &mut p.values, &gradients[i]));
            }
        }
    }
}

fn parameters(trainable: &Trainable) -> Vec<Parameter> {
    let parameter = |p: &preceptor_models::Parameter| Parameter {
        name: p.name.clone(),
        shape: p.shape.clone(),
    };
    trainable.parameters().iter().map(parameter).collect()
}
