//! Groups of a prompt and its rollouts, laid out for one pass: each prompt is read once, and only the
//! rows that predict a rollout's tokens get logits.

use burn::tensor::{Tensor, TensorData};

use crate::attention::{Segment, SegmentAttention};
use crate::decoder::Decoder;
use crate::ops;
use crate::ops::Targets;

/// Computes the logits after every token of a sequence, outside of autodiff.
///
/// # Shapes
///
/// A row of `vocab_size` values for each token.
pub fn sequence_logits(decoder: &dyn Decoder, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut attention = SegmentAttention::sequences([tokens.len()]);
    let hidden = decoder.forward(tokens, &attention.positions(), &mut attention);
    let logits = ops::to_vec(decoder.logits(&hidden.without_autodiff()));
    logits.chunks(decoder.spec().vocab_size).map(<[f32]>::to_vec).collect()
}

/// The tokens of a prompt and its rollouts.
#[derive(Clone, Copy, Debug)]
pub struct TokenGroup<'a> {
    /// The prompt, at least one token.
    pub prompt: &'a [u32],
    /// The rollouts.
    pub rollouts: &'a [Vec<u32>],
}

/// The rows of one pass.
#[derive(Clone, Debug)]
pub struct GroupBatch {
    ids: Vec<u32>,
    attention: SegmentAttention,
    /// The row that predicts each token of each rollout.
    rows: Vec<i64>,
    targets: Targets,
}

impl GroupBatch {
    /// Lays out groups. A rollout's last token is predicted but not read.
    ///
    /// # Panics
    ///
    /// If a prompt is empty.
    pub fn new(groups: &[TokenGroup<'_>]) -> Self {
        let (mut ids, mut segments) = (Vec::new(), Vec::new());
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        let row = |row: usize| i64::try_from(row).expect("a pass has fewer rows");
        for group in groups {
            assert!(!group.prompt.is_empty(), "a prompt has tokens");
            let parent = segments.len();
            segments.push(Segment { len: group.prompt.len(), parent: None });
            ids.extend_from_slice(group.prompt);
            let last_of_prompt = ids.len() - 1;
            for rollout in group.rollouts {
                let Some(read) = rollout.len().checked_sub(1) else { continue };
                rows.push(row(last_of_prompt));
                rows.extend((ids.len()..ids.len() + read).map(row));
                targets.extend_from_slice(rollout);
                if read > 0 {
                    segments.push(Segment { len: read, parent: Some(parent) });
                    ids.extend_from_slice(&rollout[..read]);
                }
            }
        }
        let targets = Targets::new(targets);
        Self { ids, attention: SegmentAttention::new(segments), rows, targets }
    }

    /// Scores the tokens under another distribution; see [`Targets::with_distribution`].
    #[must_use]
    pub fn with_distribution(self, temperature: f64, kept: Vec<Vec<u32>>) -> Self {
        Self { targets: self.targets.with_distribution(temperature, kept), ..self }
    }

    /// Returns the number of rows that the pass reads.
    pub fn num_rows(&self) -> usize {
        self.ids.len()
    }

    /// Returns the tokens that the pass reads.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the attention of the pass.
    pub(crate) fn attention(&self) -> SegmentAttention {
        self.attention.clone()
    }

    /// Computes the log-probabilities of all rollout tokens, rollout after rollout, and the entropy (in
    /// nats) of the distribution of each.
    pub fn token_logprobs(&self, decoder: &dyn Decoder) -> (Tensor<1>, Vec<f32>) {
        let mut attention = self.attention();
        let hidden = decoder.forward(&self.ids, &attention.positions(), &mut attention);
        self.logprobs_after(decoder, hidden)
    }

    /// Computes log-probabilities and entropies from the hidden states after the final norm.
    pub(crate) fn logprobs_after(
        &self,
        decoder: &dyn Decoder,
        hidden: Tensor<2>,
    ) -> (Tensor<1>, Vec<f32>) {
        let rows = TensorData::new(self.rows.clone(), [self.rows.len()]);
        let rows = Tensor::from_data(rows, &hidden.device().inner());
        decoder.token_logprobs(&hidden.select(0, rows), &self.targets)
    }
}
