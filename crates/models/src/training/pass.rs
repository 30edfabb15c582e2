//! A pass of an update: log-probabilities, then gradients.
//!
//! Between the two, autodiff stores the states of every layer. [`LayerStates::Recomputed`] stores only the
//! input of each layer (gradient checkpointing, Chen et al. 2016, with a checkpoint per layer). In the
//! backward pass, a layer is computed again from its input `x`, with its own graph, and the gradient `g`
//! of its output `y` enters as that of `Σ g · y`. The graph holds the weights of one layer at a time. On
//! the CPU the gradients are bit-identical; the cost is another forward pass.

use burn::tensor::{Gradients, Tensor};

use super::gradient_sums::GradientSums;
use super::group_batch::GroupBatch;
use super::trainable::{Graph, Trainable};

/// The treatment of the states inside of layers between the forward and the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerStates {
    /// They are stored.
    #[default]
    Kept,
    /// They are computed again from the layer's input.
    Recomputed,
}

/// A pass over a batch with the current weights.
#[derive(Debug)]
pub struct Pass<'a> {
    trainable: &'a Trainable,
    /// The index of the device.
    replica: usize,
    batch: &'a GroupBatch,
    state: ForwardState,
}

#[derive(Debug)]
enum ForwardState {
    All(Graph),
    Inputs {
        /// The input of each layer and, as a leaf, the output of the last one, `[r, d]`.
        states: Vec<Tensor<2>>,
        /// The weights before and after the layers.
        ends: Graph,
    },
}

impl<'a> Pass<'a> {
    /// Starts a pass on the device with index `replica`. For recomputed states, it runs the layers forward.
    pub fn new(
        trainable: &'a Trainable,
        replica: usize,
        batch: &'a GroupBatch,
        states: LayerStates,
    ) -> Self {
        let state = match states {
            LayerStates::Kept => ForwardState::All(trainable.graph(replica)),
            LayerStates::Recomputed => {
                let mut attention = batch.attention();
                let positions = attention.positions();
                let before = trainable.section(replica, None, false);
                let mut hidden = before.decoder().embed(batch.ids());
                let mut states = Vec::new();
                for layer_index in 0..before.decoder().spec().num_layers {
                    states.push(hidden.clone());
                    let layer = trainable.section(replica, Some(layer_index), false);
                    let range = layer_index..layer_index + 1;
                    hidden = layer.decoder().layers(range, hidden, &positions, &mut attention);
                }
                states.push(hidden.autodiff().require_grad());
                ForwardState::Inputs { states, ends: trainable.section(replica, None, true) }
            }
        };
        Self { trainable, replica, batch, state }
    }

    /// Computes log-probabilities and entropies under autodiff; see [`GroupBatch::token_logprobs`].
    pub fn token_logprobs(&self) -> (Tensor<1>, Vec<f32>) {
        match &self.state {
            ForwardState::All(graph) => self.batch.token_logprobs(graph.decoder()),
            ForwardState::Inputs { states, ends } => {
                let decoder = ends.decoder();
                let last = states.last().expect("one more than layers");
                self.batch.logprobs_after(decoder, decoder.norm(last))
            }
        }
    }

    /// Adds the gradients of every parameter to `sums`. `gradients` are those of a loss on the
    /// log-probabilities.
    pub fn add_gradients(self, mut gradients: Gradients, sums: &mut GradientSums) {
        let Self { trainable, replica, batch, state } = self;
        let (mut states, ends) = match state {
            ForwardState::All(graph) => return graph.add_gradients(&mut gradients, sums),
            ForwardState::Inputs { states, ends } => (states, ends),
        };
        // Tied embeddings get gradients from both ends: their sum is added, as in autodiff.
        let mut end_sums = trainable.gradient_sums(replica);
        ends.add_gradients(&mut gradients, &mut end_sums);
        let last = states.pop().expect("one more than layers");
        let Some(mut grad) = last.grad_remove(&mut gradients) else { return };
        drop((gradients, last));
        let mut attention = batch.attention();
        let positions = attention.positions();
        for (layer_index, input) in states.into_iter().enumerate().rev() {
            let layer = trainable.section(replica, Some(layer_index), true);
            let input = input.autodiff().require_grad();
            let range = layer_index..layer_index + 1;
            let output = layer.decoder().layers(range, input.clone(), &positions, &mut attention);
            let mut gradients = (output * grad.autodiff()).sum().backward();
            layer.add_gradients(&mut gradients, sums);
            grad =
                input.grad_remove(&mut gradients).expect("a layer's output depends on its input");
        }
        let embedded = ends.decoder().embed(batch.ids());
        if embedded.is_autodiff() {
            let mut gradients = (embedded * grad.autodiff()).sum().backward();
            ends.add_gradients(&mut gradients, &mut end_sums);
        }
        sums.merge(end_sums);
    }
}
