//! Softmax over the vocabulary, in double precision.

use super::exp::exp_f64;
use super::isa::{Isa, per_isa};

/// The terms that turn a logit into a log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogSumExp {
    largest: f64,
    log_sum: f64,
}

impl LogSumExp {
    /// Returns the natural log-probability of a token with this logit.
    pub(crate) fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.largest - self.log_sum) as f32
    }

    /// Returns the value to subtract from a logit before exponentiation.
    pub(crate) fn shift(&self) -> f32 {
        (self.largest + self.log_sum) as f32
    }

    /// Returns the largest logit.
    pub(crate) fn largest(&self) -> f64 {
        self.largest
    }
}

/// Computes the log of the sum of exponentials of `logits` in double precision. With a logit that is NaN or
/// infinite, every log-probability is NaN.
pub(crate) fn log_sum_exp(isa: Isa, logits: &[f32]) -> LogSumExp {
    // Finding the smallest costs nothing beside the largest: the chains are independent.
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
    use super::*;

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
            for index in [0, 5, 16, 102] {
                let mut logits: Vec<f32> = (0..103).map(|i| (i % 7) as f32).collect();
                logits[index] = value;
                for isa in Isa::available() {
                    let lse = log_sum_exp(isa, &logits);
                    assert!(logits.iter().all(|logit| lse.logprob(*logit).is_nan()), "{value}");
                }
            }
        }
    }
}
