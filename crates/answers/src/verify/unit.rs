//! Units: read after a number, named in one spelling, never converted.
//!
//! A bare number equals the same number with any unit, since a problem that asks "in degrees" is
//! answered either way. Two stated units must agree in name and power. Unknown words in `\text{}`
//! after a number count as units too (`5 \text{ apples}`).

/// A unit by its one spelling, power included: `cm^2`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unit(pub(crate) String);

/// Spelling used here, then other spellings. Plurals in `s` are folded before the look-up.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("cm", &["centimeter", "centimetre", "cms"]),
    ("mm", &["millimeter", "millimetre"]),
    ("m", &["meter", "metre"]),
    ("km", &["kilometer", "kilometre"]),
    ("inch", &["in", "inche"]),
    ("foot", &["ft", "feet"]),
    ("yard", &["yd"]),
    ("mile", &["mi"]),
    ("second", &["sec"]),
    ("minute", &["min"]),
    ("hour", &["hr"]),
    ("day", &[]),
    ("week", &[]),
    ("month", &[]),
    ("year", &["yr"]),
    ("kg", &["kilogram"]),
    ("gram", &["gm"]),
    ("pound", &["lb"]),
    ("ounce", &["oz"]),
    ("liter", &["litre"]),
    ("gallon", &[]),
    ("mph", &["mileperhour", "miles/hour"]),
    ("dollar", &["usd"]),
    ("cent", &[]),
    ("degree", &["deg"]),
    ("percent", &["percentage", "pct"]),
    ("unit", &[]),
    ("point", &[]),
    ("radian", &["rad"]),
    ("way", &[]),
    ("people", &["person"]),
];

/// The unit that the words name, or `None` for no word at all.
pub(crate) fn from_words(words: &str) -> Option<Unit> {
    let mut name = String::new();
    let mut power = 1_u32;
    for word in words.split(|c: char| !(c.is_ascii_alphanumeric() || c == '/' || c == '^')) {
        match word.to_ascii_lowercase().as_str() {
            "" | "of" | "the" => {}
            "square" | "sq" | "squared" => power = 2,
            "cubic" | "cu" | "cubed" => power = 3,
            other => name.push_str(fold(other)),
        }
    }
    if let Some((stem, digits)) = name.split_once('^') {
        power = digits.parse().ok()?;
        name = fold(stem).to_owned();
    }
    (!name.is_empty()).then(|| with_power(&Unit(fold(&name).to_owned()), power))
}

/// Whether a bare word after a number is read as a unit rather than as a product of symbols.
pub(crate) fn is_known(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let singular = singular(&lower);
    word.len() > 1
        && (matches!(singular, "square" | "sq" | "cubic")
            || SPELLINGS.iter().any(|(name, others)| {
                *name == singular || others.contains(&singular) || *name == lower
            }))
}

/// The unit raised to a power.
pub(crate) fn with_power(unit: &Unit, power: u32) -> Unit {
    if power == 1 { unit.clone() } else { Unit(format!("{}^{power}", unit.0)) }
}

fn fold(word: &str) -> &str {
    let singular = singular(word);
    SPELLINGS
        .iter()
        .find(|(name, others)| *name == singular || others.contains(&singular))
        .map_or(singular, |(name, _)| name)
}

fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 1 && !stem.ends_with('s') => stem,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_unit_fold_together() {
        assert_eq!(from_words("square inches"), Some(Unit("inch^2".to_owned())));
        assert_eq!(from_words("centimeters"), from_words(" cm"));
        assert_eq!(from_words("feet"), from_words("ft"));
        assert_eq!(from_words("  "), None);
        assert!(is_known("degrees") && !is_known("abc") && !is_known("m"));
    }
}
