//! What stops a training step.

/// Why an update can't be computed.
///
/// Groups, sequences, tokens and rollouts are numbered from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A group whose rewards can't be compared with each other.
    #[error(
        "normalise the rewards of group {group}: it has {num_rollouts} rollouts, at least 2 are needed\nhint: raise the number of rollouts a prompt"
    )]
    GroupTooSmall {
        /// The group.
        group: usize,
        /// How many rollouts it has.
        num_rollouts: usize,
    },
    /// A reward that is not a number.
    #[error(
        "normalise the rewards of group {group}: rollout {rollout} has reward {value}\nhint: look at the reward itself; if its KL term is what is wrong, the weights may have diverged: go back to the last checkpoint with a lower learning rate"
    )]
    NonFiniteReward {
        /// The group.
        group: usize,
        /// The rollout in the group.
        rollout: usize,
        /// Its reward.
        value: f64,
    },
    /// Log-probabilities that don't belong to the tokens.
    #[error(
        "compute a loss: {what} of sequence {sequence} has {found} tokens, the sequence has {expected}"
    )]
    TokenCount {
        /// Which log-probabilities.
        what: &'static str,
        /// The sequence in the batch.
        sequence: usize,
        /// How many there are.
        found: usize,
        /// How many tokens the sequence has.
        expected: usize,
    },
    /// Current log-probabilities that don't belong to the batch.
    #[error(
        "compute a loss: the log-probabilities have shape [{found}], the batch has {expected} tokens"
    )]
    BatchTokenCount {
        /// How many there are.
        found: usize,
        /// How many tokens the batch has.
        expected: usize,
    },
    /// A sequence that has no mean.
    #[error(
        "compute a loss: sequence {sequence} has no tokens\nhint: leave it out of the batch, and count it"
    )]
    EmptySequence {
        /// The sequence in the batch.
        sequence: usize,
    },
    /// A batch that has no mean.
    #[error("compute a loss: the batch has no sequences\nhint: skip the update, and count it")]
    EmptyBatch,
    /// A sequence that lacks what the objective reads.
    #[error("compute a loss: sequence {sequence} has no {what}\nhint: {hint}")]
    Missing {
        /// What it lacks.
        what: &'static str,
        /// The sequence in the batch.
        sequence: usize,
        /// What to do.
        hint: &'static str,
    },
    /// A term of the loss that is not a number.
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
    /// A gradient that is not a number.
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
    /// A training that needs more memory than there is.
    #[error(
        "begin to train: it needs about {needed} on {place}, and {available} are free there ({components})\nhint: lower `tokens-per-pass`, set `gradient-checkpointing`, train adapters with `[train.lora]`, or take a smaller model; `--no-memory-check` begins in any case"
    )]
    Memory {
        /// Whose memory it is.
        place: &'static str,
        /// What it needs.
        needed: String,
        /// What is free.
        available: String,
        /// What needs how much, the largest first.
        components: String,
    },
    /// The state of an optimiser that belongs to other parameters.
    #[error(
        "restore the optimiser: found {found}, expected {expected}\nhint: the checkpoint may belong to another model"
    )]
    OptimizerState {
        /// What the state has.
        found: String,
        /// What the parameters ask for.
        expected: String,
    },
}
