//! Conversion of GGUF's tensor types to `f32`.
//!
//! Quantised types come in blocks of 32 values that share a scale `d` (and a minimum `m`), both
//! `f16`. Four-bit blocks store values 0 to 15 in the low halves of their 16 bytes, 16 to 31 in the
//! high ones; five-bit blocks store the fifth bits apart, in order. `Q8_0`: `d · q`; `Q4_0`: `d · (q - 8)`;
//! `Q4_1`: `d · q + m`; `Q5_0`: `d · (q - 16)`; `Q5_1`: `d · q + m`.
//!
//! The K types come in blocks of 256 with scales of parts. `Q4_K` and `Q5_K`: eight parts of 32, `d · s · q -
//! m · t` with `s` and `t` of six bits; parts 2 i and 2 i + 1 are the low and high halves of the same 32
//! bytes. `Q6_K`: sixteen parts of 16, `d · s · (q - 32)` with `s` a signed byte.

use half::{bf16, f16};

/// Values per block of the quantised types.
const BLOCK: usize = 32;
/// Values per block of the K types.
const K_BLOCK: usize = 256;

/// A tensor's number type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TensorType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
}

/// The types that can be read, for messages.
pub(crate) const READABLE: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";

impl TensorType {
    /// Converts GGUF's type number; the error is the name of an unknown type.
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
            6 => Ok(Self::Q5_0),
            7 => Ok(Self::Q5_1),
            8 => Ok(Self::Q8_0),
            12 => Ok(Self::Q4K),
            13 => Ok(Self::Q5K),
            14 => Ok(Self::Q6K),
            30 => Ok(Self::Bf16),
            other => Err(NAMES
                .get(other as usize)
                .map_or_else(|| format!("type {other}"), |name| (*name).to_owned())),
        }
    }

    /// Returns the values and the bytes per block.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q4K => (K_BLOCK, 144),
            Self::Q5K => (K_BLOCK, 176),
            Self::Q6K => (K_BLOCK, 210),
        }
    }

    /// Converts `bytes`, which are whole blocks.
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
                Self::Q5_0 => {
                    let d = half_at(block, 0);
                    let q = five_bits(&block[2..6], &block[6..]);
                    out.extend(q.map(|q| d * (f32::from(q) - 16.0)));
                }
                Self::Q5_1 => {
                    let (d, m) = (half_at(block, 0), half_at(block, 2));
                    out.extend(five_bits(&block[4..8], &block[8..]).map(|q| d * f32::from(q) + m));
                }
                Self::Q4K => scaled_parts(block, &[], &block[16..], &mut out),
                Self::Q5K => scaled_parts(block, &block[16..48], &block[48..], &mut out),
                Self::Q6K => sixteen_parts(block, &mut out),
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

/// Unpacks values of five bits: the low four in `halves`, the fifth in the 32 bits of `fifths`.
fn five_bits<'a>(fifths: &[u8], halves: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
    let fifths = u32::from_le_bytes([fifths[0], fifths[1], fifths[2], fifths[3]]);
    let with_fifth = move |(i, q): (usize, u8)| q | (u8::from(fifths >> i & 1 == 1) << 4);
    nibbles(halves).enumerate().map(with_fifth)
}

/// Unpacks the scale and the minimum of part `part` of eight, six bits each in twelve bytes.
fn six_bits(packed: &[u8], part: usize) -> (f32, f32) {
    let (scale, minimum) = match part {
        0..4 => (packed[part] & 63, packed[part + 4] & 63),
        _ => (
            packed[part + 4] & 15 | packed[part - 4] >> 6 << 4,
            packed[part + 4] >> 4 | packed[part] >> 6 << 4,
        ),
    };
    (f32::from(scale), f32::from(minimum))
}

/// Converts a block of `Q4_K`, or of `Q5_K` if `fifths` has the fifth bits: bit p of byte i belongs to
/// value i of part p.
fn scaled_parts(block: &[u8], fifths: &[u8], halves: &[u8], out: &mut Vec<f32>) {
    let (d, minimum) = (half_at(block, 0), half_at(block, 2));
    for part in 0..8 {
        let (scale, low) = six_bits(&block[4..16], part);
        let (scale, low) = (d * scale, minimum * low);
        let bytes = &halves[part / 2 * 32..][..32];
        out.extend(bytes.iter().enumerate().map(|(i, byte)| {
            let q = if part % 2 == 0 { byte & 15 } else { byte >> 4 };
            let fifth = fifths.get(i).map_or(0, |bits| bits >> part & 1);
            scale * f32::from(q | fifth << 4) - low
        }));
    }
}

/// Converts a block of `Q6_K`: low four bits, high two bits, scales, `d`. Each half of the block has 32
/// bytes of high bits, of which part p of four has bits 2 p and 2 p + 1.
fn sixteen_parts(block: &[u8], out: &mut Vec<f32>) {
    let (lows, highs, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for half in 0..2 {
        for part in 0..4 {
            for i in 0..32 {
                let low = lows[64 * half + 32 * (part % 2) + i];
                let low = if part < 2 { low & 15 } else { low >> 4 };
                let high = highs[32 * half + i] >> (2 * part) & 3;
                let scale = scales[8 * half + 2 * part + i / 16].cast_signed();
                let q = f32::from(low | high << 4) - 32.0;
                out.push(d * f32::from(scale) * q);
            }
        }
    }
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
    fn every_quantised_type_agrees_with_the_gguf_package() {
        let fixture = include_str!("../../../../../tests/fixtures/parity/quants.json");
        let fixture: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        let types = fixture["types"].as_object().expect("a table");
        assert_eq!(types.len(), 8);
        for (name, blocks) in types {
            let numbers = |key: &str| {
                let list = blocks[key].as_array().expect("a list").iter();
                list.map(|x| x.as_f64().expect("a number")).collect::<Vec<_>>()
            };
            let number = blocks["number"].as_u64().expect("a number");
            let kind = TensorType::from_number(u32::try_from(number).unwrap()).unwrap();
            let bytes: Vec<u8> = numbers("bytes").into_iter().map(|x| x as u8).collect();
            let expected: Vec<f32> = numbers("numbers").into_iter().map(|x| x as f32).collect();
            assert_eq!(kind.dequantize(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn unknown_types_are_named() {
        assert_eq!(TensorType::from_number(10), Err("Q2_K".to_owned()));
        assert_eq!(TensorType::from_number(99), Err("type 99".to_owned()));
    }
}
