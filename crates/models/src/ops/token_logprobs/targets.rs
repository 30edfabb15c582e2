//! Tokens whose log-probabilities are wanted, and the distribution that they are scored under.
//!
//! For a row's logits `z`, a temperature `T` and a set `S` of kept tokens, the log-probability of
//! token `t` in `S` is `z_t / T - ln Σ_{s in S} exp(z_s / T)`. The sampler's record of a token, a
//! scorer's and an update's apply the same operations in the same order, so on the CPU the three agree
//! bit for bit. `S` is a constant of the gradient: the one that the sampler kept ("keep sampling mask",
//! DeepSeek-AI 2025, *DeepSeek-V3.2*, section 3.1).

use std::ops::Range;

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// Logits that are held at once: 256 MiB in single precision.
const LOGITS_AT_ONCE: usize = 1 << 26;

/// A logit of a token that was cut: its probability is 0, and so is its share of the entropy.
const CUT: f32 = -1e30;

/// The target tokens, one per row of logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    tokens: Vec<u32>,
    temperature: f64,
    /// Ids that remain in each row; empty where every row keeps all.
    kept: Vec<Vec<u32>>,
}

impl Targets {
    /// Creates targets under the unmodified distribution.
    pub fn new(tokens: Vec<u32>) -> Self {
        Self { tokens, temperature: 1.0, kept: Vec::new() }
    }

    /// Puts the tokens under another distribution. `kept` has the ids that remain in each row, the
    /// row's token among them, or is empty to keep all.
    ///
    /// # Panics
    ///
    /// If `temperature` is not above 0, or `kept` has another number of rows or lacks a row's token.
    #[must_use]
    pub fn with_distribution(self, temperature: f64, kept: Vec<Vec<u32>>) -> Self {
        assert!(temperature > 0.0, "logits are divided by it");
        if !kept.is_empty() {
            assert_eq!(kept.len(), self.tokens.len(), "one set for each row");
            let mut rows = kept.iter().zip(&self.tokens);
            assert!(rows.all(|(kept, token)| kept.contains(token)), "a kept set has its token");
        }
        Self { temperature, kept, ..self }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Returns the token of each row.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Cuts the rows into ranges whose logits over `vocab` tokens fit into memory at once.
    pub(crate) fn parts(&self, vocab: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let len = self.len();
        let rows = (LOGITS_AT_ONCE / vocab).clamp(1, len.max(1));
        (0..len).step_by(rows).map(move |first| first..(first + rows).min(len))
    }

    /// Returns the rows in `range`.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let kept =
            if self.kept.is_empty() { Vec::new() } else { self.kept[range.clone()].to_vec() };
        Self { tokens: self.tokens[range].to_vec(), temperature: self.temperature, kept }
    }

    /// Returns the factor of every logit, and so of every gradient of a logit.
    pub(crate) fn scale(&self) -> f32 {
        scale(self.temperature)
    }

    /// Turns the logits of the rows from `first` on into those of their distributions.
    pub(crate) fn shape_rows(&self, first: usize, logits: &mut [f32], vocab: usize) {
        if self.temperature == 1.0 && self.kept.is_empty() {
            return;
        }
        logits.par_chunks_exact_mut(vocab).enumerate().for_each(|(row, logits)| {
            let kept = self.kept.get(first + row).map(Vec::as_slice);
            shape_row(logits, self.temperature, kept);
        });
    }

    /// Applies temperature and cut to all rows of logits `[n, v]`, in burn operations.
    pub(crate) fn shaped(&self, logits_nv: Tensor<2>) -> Tensor<2> {
        let mut logits_nv = logits_nv;
        if self.temperature != 1.0 {
            logits_nv = logits_nv * self.scale();
        }
        match self.cut_nv(logits_nv.dims(), &logits_nv.device().inner()) {
            Some(cut_nv) => logits_nv.mask_fill(cut_nv, CUT),
            None => logits_nv,
        }
    }

    /// Returns the mask of tokens that were cut in each row.
    fn cut_nv(
        &self,
        [rows, vocab]: [usize; 2],
        device: &Device,
    ) -> Option<Tensor<2, burn::tensor::Bool>> {
        let most = self.kept.iter().map(Vec::len).max().filter(|_| rows > 0)?;
        // Shorter rows repeat their first id.
        let padded = self.kept.iter().flat_map(|kept| {
            kept.iter().copied().chain(std::iter::repeat(kept[0])).take(most).map(i64::from)
        });
        let ids = TensorData::new(padded.collect::<Vec<i64>>(), [rows, most]);
        let ids = Tensor::<2, Int>::from_data(ids, device);
        let counts = Tensor::<2>::zeros([rows, vocab], (device, DType::F32));
        let ones = Tensor::<2>::ones([rows, most], (device, DType::F32));
        Some(counts.scatter(1, ids, ones, IndexingUpdateOp::Add).lower_elem(0.5))
    }

    /// Returns the tokens as indices `[n, 1]`.
    pub(crate) fn index_n1(&self, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i64> = self.tokens.iter().map(|id| i64::from(*id)).collect();
        Tensor::from_data(TensorData::new(ids, [self.tokens.len(), 1]), device)
    }
}

fn scale(temperature: f64) -> f32 {
    (1.0 / temperature) as f32
}

/// Turns a row of logits into that of a distribution.
pub(crate) fn shape_row(logits: &mut [f32], temperature: f64, kept: Option<&[u32]>) {
    if temperature != 1.0 {
        let scale = scale(temperature);
        logits.iter_mut().for_each(|logit| *logit *= scale);
    }
    if let Some(kept) = kept {
        let values: Vec<(usize, f32)> =
            kept.iter().map(|id| (*id as usize, logits[*id as usize])).collect();
        logits.fill(CUT);
        for (id, value) in values {
            logits[id] = value;
        }
    }
}
