//! From GGUF's tensor types to `f32`.
//!
//! Quantised types come in blocks of 32 numbers that share a scale `d` (and a minimum `m`), both
//! `f16`. Four-bit blocks hold numbers 0 to 15 in the low halves of their 16 bytes, 16 to 31 in the
//! high ones. `Q8_0`: `d · q`; `Q4_0`: `d · (q - 8)`; `Q4_1`: `d · q + m`.

use half::{bf16, f16};

/// Numbers in a block of the quantised types.
const BLOCK: usize = 32;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TensorType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
}

/// The types that can be read, for messages.
pub(crate) const READABLE: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1";

impl TensorType {
    /// From GGUF's number; the error is the type's name.
    pub(crate) fn from_number(number: u32) -> Result<Self, String> {
        const NAMES: [&str; 31] = [
            "F32", "F16", "Q4_0", "Q4_1", "4", "5", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K",
            "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL",
            "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16",
        ];
        match number {
            0 => Ok(Self::F32),
            1 => Ok(Self::F16),
            2 => Ok(Self::Q4_0),
            3 => Ok(Self::Q4_1),
            8 => Ok(Self::Q8_0),
            30 => Ok(Self::Bf16),
            other => Err(NAMES
                .get(other as usize)
                .map_or_else(|| format!("type {other}"), |name| (*name).to_owned())),
        }
    }

    /// Numbers in a block and bytes of a block.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
        }
    }

    /// The numbers in `bytes`, which holds whole blocks.
    pub(crate) fn dequantize(self, bytes: &[u8]) -> Vec<f32> {
        let (numbers, size) = self.block();
        let mut out = Vec::with_capacity(bytes.len() / size * numbers);
        for block in bytes.chunks_exact(size) {
            match self {
                Self::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                Self::F16 => out.push(half_at(block, 0)),
                Self::Bf16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q8_0 => {
                    let d = half_at(block, 0);
                    out.extend(block[2..].iter().map(|q| d * f32::from(q.cast_signed())));
                }
                Self::Q4_0 => {
                    let d = half_at(block, 0);
                    out.extend(nibbles(&block[2..]).map(|q| d * (f32::from(q) - 8.0)));
                }
                Self::Q4_1 => {
                    let (d, m) = (half_at(block, 0), half_at(block, 2));
                    out.extend(nibbles(&block[4..]).map(|q| d * f32::from(q) + m));
                }
            }
        }
        out
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// d = 0.5, m = -2; bytes `0x10, 0x32, .., ` as a pattern.
    fn block(head: &[f32], body: impl Iterator<Item = u8>) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            head.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        bytes.extend(body);
        bytes
    }

    #[test]
    fn plain_types_are_converted() {
        assert_eq!(TensorType::F32.dequantize(&1.25_f32.to_le_bytes()), [1.25]);
        assert_eq!(TensorType::F16.dequantize(&f16::from_f32(-0.5).to_le_bytes()), [-0.5]);
        assert_eq!(TensorType::Bf16.dequantize(&bf16::from_f32(3.0).to_le_bytes()), [3.0]);
    }

    #[test]
    fn q8_0_is_scale_times_signed_byte() {
        let bytes = block(&[0.5], (0..32).map(|i: i32| (i - 16).to_le_bytes()[0]));
        let expected: Vec<f32> = (0..32).map(|i| 0.5 * (i - 16) as f32).collect();
        assert_eq!(TensorType::Q8_0.dequantize(&bytes), expected);
    }

    #[test]
    fn q4_0_is_centred_at_eight() {
        // Byte i holds i in its low and 15 - i in its high half.
        let bytes = block(&[2.0], (0..16).map(|i| i | (15 - i) << 4));
        let low = (0..16).map(|i| 2.0 * (i as f32 - 8.0));
        let high = (0..16).map(|i| 2.0 * (7.0 - i as f32));
        assert_eq!(TensorType::Q4_0.dequantize(&bytes), low.chain(high).collect::<Vec<_>>());
    }

    #[test]
    fn q4_1_adds_the_minimum() {
        let bytes = block(&[0.25, -2.0], (0..16).map(|i| i | (15 - i) << 4));
        let low = (0..16).map(|i| 0.25 * i as f32 - 2.0);
        let high = (0..16).map(|i| 0.25 * (15.0 - i as f32) - 2.0);
        assert_eq!(TensorType::Q4_1.dequantize(&bytes), low.chain(high).collect::<Vec<_>>());
    }

    #[test]
    fn unknown_types_are_named() {
        assert_eq!(TensorType::from_number(14), Err("Q6_K".to_owned()));
        assert_eq!(TensorType::from_number(99), Err("type 99".to_owned()));
    }
}
