//! Errors of a training step.

/// Error for an update that can't be computed.
///
/// Groups, sequences, tokens and rollouts are numbered from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A group is too small to compare rewards.
    #[error(
        "normalise the rewards of group {group}: found {num_rollouts} rollouts, expected at least 2\nhint: raise the number of rollouts per prompt"
    )]
    GroupTooSmall {
        /// The group.
        group: usize,
        /// The number of its rollouts.
        num_rollouts: usize,
    },
    /// A reward is not finite.
    #[error(
        "normalise the rewards of group {group}: rollout {rollout} has reward {value}, expected a finite number\nhint: check the reward itself; if its KL term is not finite, the weights may have diverged: go back to the last checkpoint with a lower learning rate"
    )]
    NonFiniteReward {
        /// The group.
        group: usize,
        /// The rollout in the group.
        rollout: usize,
        /// Its reward.
        value: f64,
    },
    /// Log-probabilities don't match the tokens.
    #[error(
        "compute a loss: {what} of sequence {sequence} has {found} values, expected {expected}"
    )]
    TokenCount {
        /// The kind of log-probabilities.
        what: &'static str,
        /// The sequence in the batch.
        sequence: usize,
        /// The number of log-probabilities.
        found: usize,
        /// The number of tokens of the sequence.
        expected: usize,
    },
    /// Current log-probabilities don't match the batch.
    #[error("compute a loss: found log-probabilities of shape [{found}], expected [{expected}]")]
    BatchTokenCount {
        /// The number of log-probabilities.
        found: usize,
        /// The number of tokens of the batch.
        expected: usize,
    },
    /// A sequence is empty, so it has no mean.
    #[error(
        "compute a loss: sequence {sequence} has no tokens\nhint: leave it out of the batch, and count it"
    )]
    EmptySequence {
        /// The sequence in the batch.
        sequence: usize,
    },
    /// A batch is empty, so it has no mean.
    #[error("compute a loss: the batch has no sequences\nhint: skip the update, and count it")]
    EmptyBatch,
    /// A sequence lacks a value that the objective reads.
    #[error("compute a loss: sequence {sequence} has no {what}\nhint: {hint}")]
    Missing {
        /// The missing value.
        what: &'static str,
        /// The sequence in the batch.
        sequence: usize,
        /// The suggested fix.
        hint: &'static str,
    },
    /// A term of the loss is not finite.
    #[error(
        "compute a loss: {term} is {value} at token {token} of sequence {sequence}\nhint: the weights may have diverged; go back to the last checkpoint with a lower learning rate"
    )]
    NonFiniteTerm {
        /// The term.
        term: &'static str,
        /// The sequence in the batch.
        sequence: usize,
        /// The token in the sequence.
        token: usize,
        /// Its value.
        value: f64,
    },
    /// A gradient is not finite.
    #[error(
        "update the weights: the gradient of `{parameter}` is {value} at element {index}\nhint: the weights may have diverged; go back to the last checkpoint with a lower learning rate"
    )]
    NonFiniteGradient {
        /// The parameter.
        parameter: String,
        /// The element, in row-major order.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A training run needs more memory than is free.
    #[error(
        "start the training run: it needs about {needed} on {location}, where {available} are free ({components})\nhint: lower `tokens-per-pass`, set `gradient-checkpointing`, train adapters with `[train.lora]`, or use a smaller model; `--no-memory-check` skips this check"
    )]
    Memory {
        /// The host or device whose memory it is.
        location: &'static str,
        /// The memory needed.
        needed: String,
        /// The memory that is free.
        available: String,
        /// The components with their needs, the largest first.
        components: String,
    },
    /// The state of an optimiser belongs to other parameters.
    #[error(
        "restore the optimiser: found {found}, expected {expected}\nhint: the checkpoint may belong to another model"
    )]
    OptimizerState {
        /// The parameters of the state.
        found: String,
        /// The parameters expected.
        expected: String,
    },
}
