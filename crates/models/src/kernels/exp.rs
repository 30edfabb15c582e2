//! The exponential, with the same polynomial for every instruction set.
//!
//! `exp(x) = 2^n · exp(r)` with `n = round(x / ln 2)` and `|r| ≤ ln 2 / 2`; `exp(r)` is a Taylor
//! polynomial of degree 7 (`f32`) or 13 (`f64`), both below one unit in the last place of error
//! before rounding. Inputs below the smallest normal result give 0, NaN stays NaN.

/// Rounds to the nearest integer by adding and subtracting 1.5 · 2^23.
const ROUND_F32: f32 = 12_582_912.0;
/// Rounds `f64` values likewise: 1.5 · 2^52.
const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// Computes `exp(x)` in single precision.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    let clamped = if x > 88.0 { 88.0 } else { x };
    let n = clamped.mul_add(std::f32::consts::LOG2_E, ROUND_F32) - ROUND_F32;
    // ln 2 in two parts, so that the first product is exact.
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.0 / 5040.0;
    p = r.mul_add(p, 1.0 / 720.0);
    p = r.mul_add(p, 1.0 / 120.0);
    p = r.mul_add(p, 1.0 / 24.0);
    p = r.mul_add(p, 1.0 / 6.0);
    p = r.mul_add(p, 0.5);
    p = r.mul_add(p, 1.0);
    p = r.mul_add(p, 1.0);
    // Adding the integer to the rounding constant leaves it in the low bits.
    let bits = (n + ROUND_F32).to_bits().wrapping_sub(ROUND_F32.to_bits());
    let scale = f32::from_bits(bits.wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// Computes `exp(x)` in double precision, for `x ≤ 0` as in softmax; results below 1e-300 are 0.
#[inline(always)]
pub(crate) fn exp_f64(x: f64) -> f64 {
    let n = x.mul_add(std::f64::consts::LOG2_E, ROUND_F64) - ROUND_F64;
    let r = n.mul_add(-6.931_471_803_691_238e-1, x);
    let r = n.mul_add(-1.908_214_929_270_587_7e-10, r);
    let mut p = 1.0 / 6_227_020_800.0;
    p = r.mul_add(p, 1.0 / 479_001_600.0);
    p = r.mul_add(p, 1.0 / 39_916_800.0);
    p = r.mul_add(p, 1.0 / 3_628_800.0);
    p = r.mul_add(p, 1.0 / 362_880.0);
    p = r.mul_add(p, 1.0 / 40_320.0);
    p = r.mul_add(p, 1.0 / 5_040.0);
    p = r.mul_add(p, 1.0 / 720.0);
    p = r.mul_add(p, 1.0 / 120.0);
    p = r.mul_add(p, 1.0 / 24.0);
    p = r.mul_add(p, 1.0 / 6.0);
    p = r.mul_add(p, 0.5);
    p = r.mul_add(p, 1.0);
    p = r.mul_add(p, 1.0);
    let bits = (n + ROUND_F64).to_bits().wrapping_sub(ROUND_F64.to_bits());
    let scale = f64::from_bits(bits.wrapping_add(1023) << 52);
    if x < -690.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_is_within_two_units_in_the_last_place() {
        for i in -8_700..8_800 {
            let x = i as f32 / 100.0 + 0.003;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp_f32(x)) - exact).abs() / exact;
            assert!(relative < 1.5e-7, "exp({x}): {relative:e}");
        }
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn double_precision_is_within_two_units_in_the_last_place() {
        for i in 0..60_000 {
            let x = -f64::from(i) / 100.0 - 0.003;
            let exact = x.exp();
            let relative = (exp_f64(x) - exact).abs() / exact;
            assert!(relative < 4e-16, "exp({x}): {relative:e}");
        }
        assert_eq!(exp_f64(0.0), 1.0);
        assert_eq!(exp_f64(f64::NEG_INFINITY), 0.0);
    }
}
