//! Number formats of tables, figures, pages and the terminal.
//!
//! - An exact integer has no decimals: `234`, `0`, `1`.
//! - Below 0.001 two significant digits in scientific notation: `2e-4`, `2.1e-5`.
//! - Below 100 three decimals, below 1000 one, above none.
//! - A p-value has three decimals, or is `<0.001`.
//!
//! A number is first rounded to twelve significant digits, which removes binary rounding errors
//! (0.6874999999999999 is 0.6875), and then half away from zero: `0.688`.

/// Significant digits that binary arithmetic leaves intact.
const DIGITS: i32 = 12;
/// Below this, numbers use scientific notation and p-values are not spelled out.
const SMALL: f64 = 0.001;
/// From this on, integers use scientific notation.
const LARGE: f64 = 1e15;

/// Formats a number.
///
/// ```
/// use preceptor_reports::format_number;
/// let shown = [0.687_499_999_999_999_9, 234.0, 2e-4, 234.56, -0.5].map(format_number);
/// assert_eq!(shown, ["0.688", "234", "2e-4", "234.6", "-0.500"]);
/// ```
pub fn format_number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    let text = if size >= LARGE || (size > 0.0 && size < SMALL) {
        scientific(size)
    } else if size.fract() == 0.0 {
        format!("{size:.0}")
    } else if size < 100.0 {
        fixed(size, 3)
    } else if size < 1000.0 {
        fixed(size, 1)
    } else {
        fixed(size, 0)
    };
    if value < 0.0 { format!("-{text}") } else { text }
}

/// Formats a difference, with its sign.
///
/// ```
/// use preceptor_reports::format_difference;
/// assert_eq!([0.45, -0.1, 0.0].map(format_difference), ["+0.450", "-0.100", "0"]);
/// ```
pub fn format_difference(value: f64) -> String {
    let text = format_number(value);
    if value > 0.0 { format!("+{text}") } else { text }
}

/// Formats a p-value.
///
/// ```
/// use preceptor_reports::format_p_value;
/// assert_eq!([2.1e-31, 0.0313, 1.0].map(format_p_value), ["<0.001", "0.031", "1"]);
/// ```
pub fn format_p_value(p_value: f64) -> String {
    if p_value < SMALL { "<0.001".to_owned() } else { format_number(p_value) }
}

/// Formats a cost in USD: cents from a dollar on, two significant digits below.
///
/// ```
/// use preceptor_reports::format_usd;
/// assert_eq!([12.345, 0.0486, 0.00012, 0.0].map(format_usd), ["12.35", "0.049", "1.2e-4", "0"]);
/// ```
pub fn format_usd(value: f64) -> String {
    match value.abs() {
        size if size >= 1.0 => fixed(size, 2),
        _ => format_number(value),
    }
}

/// Formats a share as a change in percent.
///
/// ```
/// use preceptor_reports::format_percent;
/// assert_eq!([0.27, -0.053, 0.0].map(format_percent), ["+27.0 %", "-5.3 %", "0 %"]);
/// ```
pub fn format_percent(share: f64) -> String {
    if share == 0.0 || !share.is_finite() {
        return format!("{} %", format_number(share));
    }
    let sign = if share < 0.0 { "-" } else { "+" };
    format!("{sign}{} %", fixed(100.0 * share.abs(), 1))
}

/// Returns digits and exponent: `size` is about `digits * 10^(exponent + 1 - DIGITS)`.
fn decimal(size: f64) -> (u128, i32) {
    let text = format!("{size:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.parse().expect("a mantissa has digits");
    (digits, exponent.parse().expect("an exponent is an integer"))
}

/// Returns `digits / 10^shift`, rounded half away from zero.
fn rounded(digits: u128, shift: i32) -> u128 {
    match u32::try_from(shift) {
        Ok(shift) if shift > 30 => 0,
        Ok(shift) => {
            let divisor = 10_u128.pow(shift);
            (digits + divisor / 2) / divisor
        }
        Err(_) => digits * 10_u128.pow(shift.unsigned_abs()),
    }
}

fn fixed(size: f64, decimals: i32) -> String {
    let (digits, exponent) = decimal(size);
    let units = rounded(digits, DIGITS - 1 - exponent - decimals);
    if decimals == 0 {
        return units.to_string();
    }
    let base = 10_u128.pow(decimals.unsigned_abs());
    format!("{}.{:0width$}", units / base, units % base, width = decimals as usize)
}

fn scientific(size: f64) -> String {
    let (digits, mut exponent) = decimal(size);
    let mut two = rounded(digits, DIGITS - 2);
    if two == 100 {
        (two, exponent) = (10, exponent + 1);
    }
    match two % 10 {
        0 => format!("{}e{exponent}", two / 10),
        tenth => format!("{}.{tenth}e{exponent}", two / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero_however_they_were_computed() {
        let computed = (0..128).map(|i| if i < 88 { 1.0 } else { 0.0 }).sum::<f64>() / 128.0;
        for value in [computed, 0.6875, 0.687_499_999_999_999_9, 0.687_500_000_000_000_1] {
            assert_eq!(format_number(value), "0.688");
            assert_eq!(format_number(-value), "-0.688");
        }
        // In binary 1.0005 is below the half, 0.0625 is exact.
        assert_eq!([1.0005, 0.0625, 0.9995].map(format_number), ["1.001", "0.063", "1.000"]);
    }

    #[test]
    fn small_and_large_numbers_keep_their_digits() {
        let numbers = [0.000_2, 0.000_999_96, 5e-7, 1.25e-5, 99.9996, 1023.4, 999.95, 1e16];
        let shown = numbers.map(format_number);
        assert_eq!(shown, ["2e-4", "1e-3", "5e-7", "1.3e-5", "100.000", "1023", "1000.0", "1e16"]);
        assert_eq!([0.0, -0.0, 1.0, 234.0].map(format_number), ["0", "0", "1", "234"]);
        assert_eq!(format_number(f64::NAN), "-");
    }

    #[test]
    fn a_p_value_is_never_shown_as_zero() {
        let shown = [0.0, 9.99e-4, 0.001, 0.049_96].map(format_p_value);
        assert_eq!(shown, ["<0.001", "<0.001", "0.001", "0.050"]);
    }
}
