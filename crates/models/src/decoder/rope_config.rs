//! Frequencies of the rotary embedding, with the scalings of checkpoints.

use serde::Serialize;

/// Base and scaling of a rotary embedding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RopeConfig {
    /// The base, `rope_theta`.
    pub theta: f64,
    /// The scaling of frequencies to longer contexts.
    pub scaling: RopeScaling,
}

/// A scaling of frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RopeScaling {
    /// No scaling.
    None,
    /// All frequencies are divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: long waves are divided by `factor`, short ones stay, those between are blended.
    Llama3 {
        /// The divisor of long waves.
        factor: f64,
        /// Waves longer than `original_context / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Waves shorter than `original_context / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context length of pretraining.
        original_context: f64,
    },
    /// A divisor for each frequency, as GGUF files store them.
    Divisors(Vec<f32>),
}

impl RopeConfig {
    /// Computes the `head_dim / 2` frequencies, in radians per position.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let frequency = |i: usize| {
            let base = (1.0 / self.theta.powf(2.0 * i as f64 / head_dim as f64)) as f32;
            let wave = 2.0 * std::f64::consts::PI / f64::from(base);
            let base = f64::from(base);
            (match &self.scaling {
                RopeScaling::None => base,
                RopeScaling::Linear { factor } => base / factor,
                RopeScaling::Divisors(divisors) => base / f64::from(divisors[i]),
                RopeScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_context,
                } => {
                    if wave > original_context / low_freq_factor {
                        base / factor
                    } else if wave < original_context / high_freq_factor {
                        base
                    } else {
                        let blend = (original_context / wave - low_freq_factor)
                            / (high_freq_factor - low_freq_factor);
                        (1.0 - blend) * base / factor + blend * base
                    }
                }
            }) as f32
        };
        (0..head_dim / 2).map(frequency).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_waves_and_divides_long_ones() {
        let plain = RopeConfig { theta: 500_000.0, scaling: RopeScaling::None };
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 64.0,
        };
        let scaled = RopeConfig { scaling, ..plain.clone() }.frequencies(32);
        let plain = plain.frequencies(32);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[15], plain[15] / 8.0);
        // Wave 2π / 0.194 = 32.4 lies between 16 and 64: blend (64 / 32.4 - 1) / 3 = 0.325.
        assert!(
            (scaled[2] / plain[2] - (0.675 / 8.0 + 0.325)).abs() < 2e-3,
            "{}",
            scaled[2] / plain[2]
        );
    }
}
