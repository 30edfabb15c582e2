//! JSON numbers as text, digit for digit.
//!
//! A label or an id beyond 64 bits, or one written with an exponent, keeps the value of the file:
//! it never becomes a float.

/// The most digits of a number that is written out.
const MAX_DIGITS: usize = 1000;

/// Writes the JSON number `literal` without an exponent and without trailing zeros of a fraction;
/// none if that takes more than 1000 digits.
pub(crate) fn plain_number(literal: &str) -> Option<String> {
    let (sign, unsigned) = match literal.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", literal),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // Digits before the point.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let len = i64::try_from(digits.len()).ok()?;
    if point.max(len) - point.min(0) > MAX_DIGITS as i64 {
        return None;
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let written = format!("{}{digits}{}", zeros(-point), zeros(point - len));
    let point = usize::try_from(point.max(0)).ok()?;
    let (whole, fraction) = written.split_at(point);
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Some(match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (literal, plain) in [
            ("5", "5"),
            ("5.0", "5"),
            ("-2.50", "-2.5"),
            ("36893488147419103233", "36893488147419103233"),
            ("0.12345678901234567890123", "0.12345678901234567890123"),
            ("1e16", "10000000000000000"),
            ("1.25E+3", "1250"),
            ("1e-7", "0.0000001"),
            ("-12.5e-3", "-0.0125"),
            ("-0.0", "0"),
            ("0e9", "0"),
        ] {
            assert_eq!(plain_number(literal).as_deref(), Some(plain), "{literal}");
        }
        for endless in ["1e5000", "1e-5000", "1e99999999999999999999"] {
            assert_eq!(plain_number(endless), None, "{endless}");
        }
    }

    proptest! {
        #[test]
        fn the_value_stays(number in -1e12_f64..1e12) {
            let plain = plain_number(&format!("{number:e}")).expect("a few digits");
            prop_assert_eq!(plain.parse::<f64>().expect("a number"), number);
        }

        #[test]
        fn any_literal_has_an_outcome(text in "-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,25})?") {
            let _ = plain_number(&text);
        }
    }
}
