//! Softmax: over attention scores in single precision, over the vocabulary in double precision.

use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;

use super::exp::{exp_f32, exp_f64};
use super::isa::per_isa;

const LANES: usize = super::LANES;

/// The sum of 16 lanes, always in the same order.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: &[f32; LANES]) -> f32 {
    let mut eight = [0.0; 8];
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    let four = [eight[0] + eight[4], eight[1] + eight[5], eight[2] + eight[6], eight[3] + eight[7]];
    (four[0] + four[2]) + (four[1] + four[3])
}

per_isa! {
    /// Turns `scores[from..to]` into `exp(scale · (score - largest))` and everything else in
    /// `scores` into 0; returns the sum. A score's lane in the sum is its position modulo 16, so
    /// neither what follows nor how keys are stored changes it.
    pub(crate) fn exp_scores(scores: &mut [f32], from: usize, to: usize, scale: f32) -> f32 {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = scores[from..to].as_chunks::<LANES>();
        for chunk in chunks {
            for (most, score) in largest.iter_mut().zip(chunk) {
                *most = if *score > *most { *score } else { *most };
            }
        }
        let largest = rest.iter().chain(&largest).fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
        scores[..from].fill(f32::NEG_INFINITY);
        scores[to..].fill(f32::NEG_INFINITY);
        let shift = -(largest * scale);
        let mut sums = [0.0_f32; LANES];
        let (chunks, rest) = scores.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for (sum, score) in sums.iter_mut().zip(chunk) {
                *score = exp_f32(score.mul_add(scale, shift));
                *sum += *score;
            }
        }
        for (sum, score) in sums.iter_mut().zip(rest) {
            *score = exp_f32(score.mul_add(scale, shift));
            *sum += *score;
        }
        sum_lanes(&sums)
    }
}

/// What turns a logit into a log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogSumExp {
    largest: f64,
    log_sum: f64,
}

impl LogSumExp {
    /// The natural log-probability of a token with this logit.
    pub(crate) fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.largest - self.log_sum) as f32
    }

    /// What is taken from a logit before the exponential that makes it a probability.
    pub(crate) fn shift(&self) -> f32 {
        (self.largest + self.log_sum) as f32
    }

    /// The largest logit.
    pub(crate) fn largest(&self) -> f64 {
        self.largest
    }
}

/// The log of the sum of exponentials of `logits`, in double precision. With a logit that is NaN or
/// infinite, every log-probability is NaN.
pub(crate) fn log_sum_exp(isa: super::Isa, logits: &[f32]) -> LogSumExp {
    // The smallest is found in the shadow of the largest: the chains don't wait for each other.
    let first = (f32::NEG_INFINITY, f32::INFINITY);
    let (largest, smallest) =
        logits.iter().fold(first, |(most, least), x| (most.max(*x), least.min(*x)));
    let largest = f64::from(largest);
    let log_sum = match smallest {
        f32::NEG_INFINITY => f64::NAN,
        _ => sum_exp(isa, logits, largest).ln(),
    };
    LogSumExp { largest, log_sum }
}

/// The log-sum-exp and the entropy (in nats) of every row of `logits`.
pub(crate) fn log_sum_exps(isa: super::Isa, logits: &[f32], vocab: usize) -> Vec<(LogSumExp, f32)> {
    logits
        .par_chunks_exact(vocab)
        .map(|logits| {
            let sum = log_sum_exp(isa, logits);
            (sum, entropy(isa, logits, sum.shift()))
        })
        .collect()
}

per_isa! {
    fn entropy(logits: &[f32], shift: f32) -> f32 {
        let mut sums = [0.0_f32; LANES];
        for logits in logits.chunks(LANES) {
            for (sum, logit) in sums.iter_mut().zip(logits) {
                let logprob = logit - shift;
                *sum = (-logprob).mul_add(exp_f32(logprob), *sum);
            }
        }
        sum_lanes(&sums)
    }
}

const WIDE: usize = 8;

per_isa! {
    fn sum_exp(logits: &[f32], largest: f64) -> f64 {
        let mut sums = [0.0_f64; WIDE];
        let (chunks, rest) = logits.as_chunks::<WIDE>();
        for chunk in chunks {
            for (sum, logit) in sums.iter_mut().zip(chunk) {
                *sum += exp_f64(f64::from(*logit) - largest);
            }
        }
        let rest: f64 = rest.iter().map(|logit| exp_f64(f64::from(*logit) - largest)).sum();
        ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7])) + rest
    }
}

per_isa! {
    /// Writes `exp((logit - largest) / temperature)` for every logit.
    pub(crate) fn weights_at_temperature(logits: &[f32], largest: f64, temperature: f64, out: &mut [f64]) {
        for (weight, logit) in out.iter_mut().zip(logits) {
            *weight = exp_f64((f64::from(*logit) - largest) / temperature);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    #[test]
    fn attention_weights_are_the_same_on_every_instruction_set_and_behind_any_padding() {
        let scores: Vec<f32> = (0..77).map(|i| ((i * 37) % 23) as f32 - 9.0).collect();
        let mut reference = scores.clone();
        let sum = exp_scores(Isa::Portable, &mut reference, 0, 70, 0.125);
        let exact: f64 = scores[..70].iter().map(|s| (0.125 * (f64::from(*s) - 13.0)).exp()).sum();
        assert!((f64::from(sum) - exact).abs() < 1e-5 * exact);
        assert!(reference[70..].iter().all(|p| *p == 0.0));
        for isa in Isa::available() {
            let mut longer = scores.clone();
            longer.resize(123, 1000.0);
            assert_eq!(exp_scores(isa, &mut longer, 0, 70, 0.125).to_bits(), sum.to_bits());
            assert_eq!(longer[..77], reference[..]);
        }
    }

    #[test]
    fn log_sum_exp_agrees_with_the_plain_formula() {
        let logits: Vec<f32> = (0..1003).map(|i| ((i * 7919) % 997) as f32 / 100.0).collect();
        let exact = logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        for isa in Isa::available() {
            let lse = log_sum_exp(isa, &logits);
            assert!((f64::from(lse.logprob(0.0)) + exact).abs() < 1e-6);
            assert_eq!(lse, log_sum_exp(Isa::Portable, &logits));
        }
    }

    #[test]
    fn one_logit_that_is_not_finite_makes_every_log_probability_nan() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 5, 16, 102] {
                let mut logits: Vec<f32> = (0..103).map(|i| (i % 7) as f32).collect();
                logits[place] = value;
                for isa in Isa::available() {
                    let lse = log_sum_exp(isa, &logits);
                    assert!(logits.iter().all(|logit| lse.logprob(*logit).is_nan()), "{value}");
                }
            }
        }
    }
}
