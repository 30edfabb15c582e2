//! Measures of a loss, stored as sums, so that micro-batches add up.

/// Sums over the tokens of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Number of tokens.
    pub num_tokens: usize,
    /// Number of tokens whose clipped term is the smaller one.
    pub num_clipped: usize,
    /// Sum of the current policy's log-probabilities, in nats.
    pub sum_logprob: f64,
    /// The divergence of the sampling policy from the current one: `KL(old || current)`.
    pub from_sampling: Divergence,
    /// The divergence of the current policy from the KL reference: `KL(current || reference)`, exact in
    /// expectation for tokens of the current policy.
    pub from_reference: Divergence,
}

impl Metrics {
    /// Adds the measures of another micro-batch.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self {
            num_tokens: self.num_tokens + other.num_tokens,
            num_clipped: self.num_clipped + other.num_clipped,
            sum_logprob: self.sum_logprob + other.sum_logprob,
            from_sampling: self.from_sampling.merged(other.from_sampling),
            from_reference: self.from_reference.merged(other.from_reference),
        }
    }

    /// Returns the share of tokens whose clipped term is the smaller one, in [0, 1]; `None` without tokens.
    pub fn clip_fraction(&self) -> Option<f64> {
        mean(self.num_clipped as f64, self.num_tokens)
    }

    /// Returns the mean negative log-probability per token, in nats; `None` without tokens.
    pub fn cross_entropy(&self) -> Option<f64> {
        mean(-self.sum_logprob, self.num_tokens)
    }
}

/// Estimates of the divergence of two policies from sampled tokens, in nats per token.
///
/// For tokens of policy `q` and `log r = log p - log q`: `k1 = -log r`, `k3 = r - 1 - log r`, both with
/// the mean `KL(q || p)`. Source: Schulman 2020, *Approximating KL divergence*.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Divergence {
    /// Number of tokens whose log-probability is known under both.
    pub num_tokens: usize,
    sum_k1: f64,
    sum_k3: f64,
    sum_ratio: f64,
    max_abs_log_ratio: f64,
}

impl Divergence {
    /// Adds a token with `log r`.
    pub(super) fn add(&mut self, log_ratio: f64) {
        let ratio = log_ratio.exp();
        self.num_tokens += 1;
        self.sum_k1 -= log_ratio;
        self.sum_k3 += log_ratio.exp_m1() - log_ratio;
        self.sum_ratio += ratio;
        self.max_abs_log_ratio = self.max_abs_log_ratio.max(log_ratio.abs());
    }

    /// Adds other tokens.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self {
            num_tokens: self.num_tokens + other.num_tokens,
            sum_k1: self.sum_k1 + other.sum_k1,
            sum_k3: self.sum_k3 + other.sum_k3,
            sum_ratio: self.sum_ratio + other.sum_ratio,
            max_abs_log_ratio: self.max_abs_log_ratio.max(other.max_abs_log_ratio),
        }
    }

    /// Returns the mean of k1, of either sign; `None` without tokens.
    pub fn k1(&self) -> Option<f64> {
        mean(self.sum_k1, self.num_tokens)
    }

    /// Returns the mean of k3, never negative; `None` without tokens.
    pub fn k3(&self) -> Option<f64> {
        mean(self.sum_k3, self.num_tokens)
    }

    /// Returns the mean of `r`; `None` without tokens.
    pub fn mean_ratio(&self) -> Option<f64> {
        mean(self.sum_ratio, self.num_tokens)
    }

    /// Returns the largest distance of `log r` from 0; `None` without tokens.
    pub fn max_abs_log_ratio(&self) -> Option<f64> {
        (self.num_tokens > 0).then_some(self.max_abs_log_ratio)
    }
}

fn mean(sum: f64, num: usize) -> Option<f64> {
    (num > 0).then(|| sum / num as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divergence(log_ratios: &[f64]) -> Divergence {
        let mut divergence = Divergence::default();
        log_ratios.iter().for_each(|&log_ratio| divergence.add(log_ratio));
        divergence
    }

    #[test]
    fn estimators_have_their_closed_forms() {
        let two = divergence(&[2.0_f64.ln(), 0.5_f64.ln()]);
        assert!(two.k1().unwrap().abs() < 1e-15);
        assert!((two.k3().unwrap() - 0.25).abs() < 1e-15);
        assert!((two.mean_ratio().unwrap() - 1.25).abs() < 1e-15);
        assert_eq!(two.max_abs_log_ratio(), Some(2.0_f64.ln()));
    }

    #[test]
    fn without_tokens_there_is_no_mean() {
        let none = Metrics::default();
        assert_eq!((none.clip_fraction(), none.cross_entropy()), (None, None));
        let none = none.from_sampling;
        assert_eq!(
            (none.k1(), none.k3(), none.mean_ratio(), none.max_abs_log_ratio()),
            Default::default()
        );
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let whole = divergence(&[0.5, -0.25, 1.0]);
        let parts = divergence(&[0.5, -0.25]).merged(divergence(&[1.0]));
        assert_eq!(parts.num_tokens, 3);
        assert_eq!(parts.max_abs_log_ratio(), Some(1.0));
        for (whole, parts) in [(whole.k1(), parts.k1()), (whole.k3(), parts.k3())] {
            assert!((whole.unwrap() - parts.unwrap()).abs() < 1e-15);
        }
    }
}
