//! A pass of an update: log-probabilities forward, gradients back.
//!
//! Between the two, autodiff keeps the states of every layer. [`LayerStates::Recomputed`] keeps the
//! input of each layer alone (gradient checkpointing, Chen et al. 2016, with a checkpoint a layer): on
//! the way back, a layer is computed again from its input `x`, with its own graph, and the gradient `g`
//! of its output `y` goes in as that of `Σ g · y`. A layer's weights are in the graph's form only while
//! it is at work. On the CPU the gradients are the same to the bit; it costs one more forward pass.

use burn::tensor::{Gradients, Tensor};

use super::gradient_sums::GradientSums;
use super::group_batch::GroupBatch;
use super::trainable::{Graph, Trainable};

/// What becomes of the states inside of layers between the way forward and the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerStates {
    /// They are kept.
    #[default]
    Kept,
    /// They are computed again from the layer's input.
    Recomputed,
}

/// A pass over a batch with the weights of now.
#[derive(Debug)]
pub struct Pass<'a> {
    trainable: &'a Trainable,
    /// The number of the device.
    replica: usize,
    batch: &'a GroupBatch,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    All(Graph),
    Inputs {
        /// What goes into each layer and, as a leaf, what comes out of the last one, `[r, d]`.
        states: Vec<Tensor<2>>,
        /// The weights before and after the layers.
        ends: Graph,
    },
}

impl<'a> Pass<'a> {
    /// A pass on the device numbered `replica`, whose forward half is done as far as `states` needs it.
    pub fn new(
        trainable: &'a Trainable,
        replica: usize,
        batch: &'a GroupBatch,
        states: LayerStates,
    ) -> Self {
        let kept = match states {
            LayerStates::Kept => Kept::All(trainable.graph(replica)),
            LayerStates::Recomputed => {
                let mut attention = batch.attention();
                let positions = attention.positions();
                let before = trainable.section(replica, None, false);
                let mut hidden = before.decoder().embed(batch.ids());
                let mut states = Vec::new();
                for number in 0..before.decoder().spec().num_layers {
                    states.push(hidden.clone());
                    let layer = trainable.section(replica, Some(number), false);
                    let numbers = number..number + 1;
                    hidden = layer.decoder().layers(numbers, hidden, &positions, &mut attention);
                }
                states.push(hidden.autodiff().require_grad());
                Kept::Inputs { states, ends: trainable.section(replica, None, true) }
            }
        };
        Self { trainable, replica, batch, kept }
    }

    /// As [`GroupBatch::token_logprobs`], under autodiff.
    pub fn token_logprobs(&self) -> (Tensor<1>, Vec<f32>) {
        match &self.kept {
            Kept::All(graph) => self.batch.token_logprobs(graph.decoder()),
            Kept::Inputs { states, ends } => {
                let decoder = ends.decoder();
                let last = states.last().expect("one more than layers");
                self.batch.logprobs_after(decoder, decoder.norm(last))
            }
        }
    }

    /// Adds the gradients of every parameter to `sums`. `gradients` are those of a loss of the
    /// log-probabilities.
    pub fn add_gradients(self, mut gradients: Gradients, sums: &mut GradientSums) {
        let Self { trainable, replica, batch, kept } = self;
        let (mut states, ends) = match kept {
            Kept::All(graph) => return graph.add_gradients(&mut gradients, sums),
            Kept::Inputs { states, ends } => (states, ends),
        };
        // Tied embeddings get gradients from both ends: their sum is added, as autodiff does it.
        let mut of_ends = trainable.gradient_sums(replica);
        ends.add_gradients(&mut gradients, &mut of_ends);
        let last = states.pop().expect("one more than layers");
        let Some(mut grad) = last.grad_remove(&mut gradients) else { return };
        drop((gradients, last));
        let mut attention = batch.attention();
        let positions = attention.positions();
        for (number, input) in states.into_iter().enumerate().rev() {
            let layer = trainable.section(replica, Some(number), true);
            let input = input.autodiff().require_grad();
            let numbers = number..number + 1;
            let output = layer.decoder().layers(numbers, input.clone(), &positions, &mut attention);
            let mut gradients = (output * grad.autodiff()).sum().backward();
            layer.add_gradients(&mut gradients, sums);
            grad =
                input.grad_remove(&mut gradients).expect("a layer's output depends on its input");
        }
        let embedded = ends.decoder().embed(batch.ids());
        if embedded.is_autodiff() {
            let mut gradients = (embedded * grad.autodiff()).sum().backward();
            ends.add_gradients(&mut gradients, &mut of_ends);
        }
        sums.merge(of_ends);
    }
}
