//! Units and number words: what may stand after a number, in one spelling, never converted.
//!
//! A bare number equals the same number with any unit, since a problem that asks "in degrees" is
//! answered either way. Two stated units must agree in name and power. Words that scale a number
//! scale it (`5 million`); other words count as a unit where they name things that are counted
//! (`5 apples`), and leave the answer unread where they do not (`3 or less`).

use super::rational::Rational;
use super::vocabulary::{counted_noun, is_aside};

/// A unit by its one spelling, powers included: `cm^2`, `km*hour^-1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unit(pub(crate) String);

/// The words after a number: `(number^power * scale + addend) unit`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Measure {
    pub(crate) power: i64,
    pub(crate) scale: Rational,
    pub(crate) addend: Rational,
    pub(crate) factors: Vec<(String, i64)>,
}

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
    ("gallon", &["gal"]),
    ("mph", &[]),
    ("dollar", &["usd"]),
    ("cent", &[]),
    ("degree", &["deg"]),
    ("percent", &["percentage", "pct"]),
    ("unit", &[]),
    ("point", &[]),
    ("radian", &["rad"]),
    ("way", &[]),
    ("people", &["person"]),
    ("euro", &["eur"]),
    ("sterling", &["gbp"]),
    ("yen", &["jpy"]),
    ("yuan", &["cny", "rmb"]),
    ("rupee", &["inr"]),
    ("won", &["krw"]),
    ("ruble", &["rub", "rouble"]),
    ("kmh", &["kph"]),
    ("milligram", &["mg"]),
    ("milliliter", &["ml", "millilitre"]),
    ("millisecond", &["ms"]),
    ("nanometer", &["nm", "nanometre"]),
    ("decimeter", &["dm", "decimetre"]),
    ("tonne", &["ton"]),
    ("newton", &[]),
    ("joule", &[]),
    ("kilojoule", &["kj"]),
    ("watt", &[]),
    ("kilowatt", &["kw"]),
    ("kilowatthour", &["kwh"]),
    ("volt", &[]),
    ("ampere", &["amp"]),
    ("ohm", &[]),
    ("kelvin", &[]),
    ("celsius", &["centigrade"]),
    ("fahrenheit", &[]),
    ("pascal", &["pa"]),
    ("kilopascal", &["kpa"]),
    ("mole", &["mol"]),
    ("hertz", &["hz"]),
    ("kilohertz", &["khz"]),
    ("calorie", &["cal"]),
    ("kilocalorie", &["kcal"]),
    ("rpm", &[]),
    ("acre", &[]),
    ("hectare", &["ha"]),
    ("byte", &[]),
    ("bit", &[]),
    ("decade", &[]),
    ("century", &["centurie"]),
];

/// Number of entries of [`SPELLINGS`] that count as units even where a product of symbols could be
/// meant.
const NUM_PLAIN: usize = 31;

/// Symbols of units of one letter, with their spelling here.
const LETTERS: &[(char, &str)] = &[
    ('m', "m"),
    ('s', "second"),
    ('g', "gram"),
    ('h', "hour"),
    ('L', "liter"),
    ('l', "liter"),
    ('N', "newton"),
    ('J', "joule"),
    ('W', "watt"),
    ('V', "volt"),
    ('K', "kelvin"),
    ('A', "ampere"),
    ('C', "celsius"),
    ('F', "fahrenheit"),
];

/// Words that multiply the number before them.
const SCALES: &[(&str, i64)] = &[
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("dozen", 12),
];

/// Words that divide the number before them.
const PARTS: &[(&str, i64)] = &[
    ("half", 2),
    ("halve", 2),
    ("third", 3),
    ("quarter", 4),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("hundredth", 100),
    ("thousandth", 1_000),
    ("millionth", 1_000_000),
];

/// Returns a letter that is a unit when set upright after a number; most only after a space.
pub(crate) fn letter(character: char, spaced: bool) -> Option<&'static str> {
    let found = LETTERS.iter().find(|(letter, _)| *letter == character)?;
    (spaced || matches!(character, 'm' | 's' | 'g' | 'h' | 'L')).then_some(found.1)
}

/// Returns whether a word scales or divides the number before it.
pub(crate) fn scales(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let singular = singular(&lower);
    SCALES.iter().any(|(name, _)| *name == singular)
        || PARTS.iter().any(|(name, _)| *name == singular)
}

/// Reads the words after a number; `None` where they name nothing counted or measured.
pub(crate) fn measure(words: &str, one: bool) -> Option<Measure> {
    let tokens = tokens(words)?;
    let (mut power, mut scale, mut addend) = (1, Rational::ONE, Rational::ZERO);
    let mut rest = tokens.as_slice();
    while let Some((word, after)) = rest.split_first() {
        let singular = singular(word);
        let named = |list: &[(&str, i64)]| {
            list.iter().find(|(name, _)| *name == singular).map(|(_, value)| *value)
        };
        if let Some(factor) = named(SCALES) {
            scale = scale.mul(&Rational::integer(factor))?;
        } else if let Some(parts) = named(PARTS).filter(|_| one != (word.as_str() != singular)) {
            scale = scale.div(&Rational::integer(parts))?;
        } else if matches!(word.as_str(), "squared" | "cubed") && after.is_empty() {
            power = if word == "squared" { 2 } else { 3 };
        } else if word == "and"
            && let [article, part, ..] = after
            && matches!(article.as_str(), "a" | "an" | "one")
            && let Some((_, parts)) = PARTS.iter().find(|(name, _)| name == part)
            && scale == Rational::ONE
        {
            addend = Rational::ONE.div(&Rational::integer(*parts))?;
            rest = &after[2..];
            break;
        } else {
            break;
        }
        rest = after;
    }
    let total = matches!(rest, [word] if matches!(word.as_str(), "total" | "altogether" | "overall"))
        || matches!(rest, [first, second] if first == "in" && matches!(second.as_str(), "total" | "all"));
    let factors = if rest.is_empty() || total { Vec::new() } else { named_unit(rest, one)? };
    Some(Measure { power, scale, addend, factors })
}

/// Returns the factors of the unit or of the counted noun that the tokens name.
fn named_unit(tokens: &[String], one: bool) -> Option<Vec<(String, i64)>> {
    if let Some((factors, read)) = compound(tokens)
        && is_aside(&tokens[read..])
    {
        return Some(factors);
    }
    let words_only = tokens.iter().all(|token| token.bytes().all(|b| b.is_ascii_alphabetic()));
    let noun = if words_only && tokens.len() <= 12 { counted_noun(tokens, one) } else { None };
    noun.map(|name| vec![(name, 1)])
}

/// Reads the longest product of known units: `km/h`, `miles per hour`, `square inches`, `m s^-2`.
fn compound(tokens: &[String]) -> Option<(Vec<(String, i64)>, usize)> {
    let mut factors: Vec<(String, i64)> = Vec::new();
    let (mut at, mut sign) = (0, 1);
    while let Some((name, mut power, mut next)) = factor(tokens, at) {
        match (tokens.get(next).map(String::as_str), tokens.get(next + 1)) {
            (Some("^"), Some(digits)) => {
                power = digits.parse::<i64>().ok().filter(|power| (-9..=9).contains(power))?;
                next += 2;
            }
            (Some("squared"), _) => (power, next) = (2, next + 1),
            (Some("cubed"), _) => (power, next) = (3, next + 1),
            _ => {}
        }
        factors.push((name, sign * power));
        at = next;
        sign = match tokens.get(at).map(String::as_str) {
            Some("/" | "per") => {
                factor(tokens, at + 1)?;
                at += 1;
                -1
            }
            Some("*") => {
                at += 1;
                sign
            }
            _ => sign,
        };
    }
    (!factors.is_empty()).then_some((factors, at))
}

/// Reads the unit at a token, with the power that words before it give.
fn factor(tokens: &[String], at: usize) -> Option<(String, i64, usize)> {
    let power = match tokens.get(at)?.as_str() {
        "square" | "sq" => 2,
        "cubic" | "cu" => 3,
        _ => 1,
    };
    let at = if power == 1 { at } else { at + 1 };
    let word = tokens.get(at)?;
    let mut characters = word.chars();
    let single = match (characters.next(), characters.next()) {
        (Some(only), None) => letter(only, true),
        _ => None,
    };
    let name = single.or_else(|| known(word))?;
    Some((name.to_owned(), power, at + 1))
}

/// Returns the words in lower case with marks as tokens of their own; single letters keep their
/// case.
fn tokens(words: &str) -> Option<Vec<String>> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = words.trim_matches([' ', ',', '.', '~']);
    while let Some(first) = rest.chars().next() {
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let length = match first {
            _ if letters > 0 => {
                let word = &rest[..letters];
                let single = word.len() == 1;
                tokens.push(if single { word.to_owned() } else { word.to_ascii_lowercase() });
                letters
            }
            '^' => {
                let digits = rest[1..].trim_start_matches(['{', ' ']);
                let sign = usize::from(digits.starts_with('-'));
                let length = sign + digits[sign..].bytes().take_while(u8::is_ascii_digit).count();
                tokens.extend(["^".to_owned(), digits[..length].to_owned()]);
                let closed = digits[length..].starts_with('}');
                rest.len() - digits.len() + length + usize::from(closed)
            }
            '/' => {
                tokens.push("/".to_owned());
                1
            }
            '\\' if rest.starts_with("\\cdot") => {
                tokens.push("*".to_owned());
                5
            }
            '\\' if matches!(rest.as_bytes().get(1), Some(b',' | b' ' | b';' | b':' | b'!')) => 2,
            ' ' | '~' | '.' | '-' | '$' | '\'' => 1,
            _ => return None,
        };
        rest = &rest[length..];
    }
    // The speeds that have a word of their own.
    let spelled = tokens.into_iter().flat_map(|token| match token.as_str() {
        "mph" => vec!["mile".to_owned(), "/".to_owned(), "hour".to_owned()],
        "kmh" | "kph" => vec!["km".to_owned(), "/".to_owned(), "hour".to_owned()],
        "kwh" => vec!["kilowatt".to_owned(), "hour".to_owned()],
        _ => vec![token],
    });
    Some(spelled.collect())
}

/// Returns whether a bare word after a number is read as a unit rather than as a product of
/// symbols.
pub(crate) fn is_known(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let singular = singular(&lower);
    word.len() > 1
        && (matches!(singular, "square" | "sq" | "cubic")
            || SPELLINGS[..NUM_PLAIN].iter().any(|(name, others)| {
                *name == singular || others.contains(&singular) || *name == lower
            }))
}

/// Returns the one spelling of a known unit.
pub(crate) fn known(word: &str) -> Option<&'static str> {
    let singular = singular(word);
    let found = SPELLINGS.iter().find(|(name, others)| {
        *name == singular || *name == word || others.contains(&singular) || others.contains(&word)
    });
    found.filter(|_| word.len() > 1).map(|(name, _)| *name)
}

/// Returns the unit with these factors, in one order.
pub(crate) fn from_factors(factors: &[(String, i64)]) -> Option<Unit> {
    let mut powers = std::collections::BTreeMap::<&str, i64>::new();
    for (name, power) in factors {
        *powers.entry(name).or_default() += power;
    }
    let written = powers
        .into_iter()
        .filter(|(_, power)| *power != 0)
        .map(|(name, power)| if power == 1 { name.to_owned() } else { format!("{name}^{power}") });
    let name = written.collect::<Vec<_>>().join("*");
    (!name.is_empty()).then_some(Unit(name))
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

    fn named(words: &str) -> Option<Unit> {
        measure(words, false).and_then(|measure| from_factors(&measure.factors))
    }

    #[test]
    fn spellings_of_one_unit_fold_together() {
        assert_eq!(named("square inches"), Some(Unit("inch^2".to_owned())));
        assert_eq!(named("centimeters"), named(" cm"));
        assert_eq!(named("feet"), named("ft"));
        assert_eq!(named("miles per hour"), named("mph"));
        assert_eq!(named("m/s^2"), named("meters per second squared"));
        assert_eq!(measure("  ", false).map(|measure| measure.factors), Some(Vec::new()));
        assert!(is_known("degrees") && !is_known("abc") && !is_known("m"));
    }

    #[test]
    fn words_that_name_nothing_counted_are_no_unit() {
        assert_eq!(named("red pencils in a box"), Some(Unit("redpencil".to_owned())));
        for remark in ["or fewer", "is odd", "mod 9", "at most", "squared plus x", "exactly"] {
            assert_eq!(measure(remark, false), None, "{remark}");
        }
    }

    #[test]
    fn number_words_scale() {
        let scale = |words| measure(words, false).map(|measure| measure.scale);
        assert_eq!(scale("hundred thousand"), Some(Rational::integer(100_000)));
        assert_eq!(scale("fifths"), Rational::ONE.div(&Rational::integer(5)));
        assert_eq!(scale("dozen eggs"), Some(Rational::integer(12)));
    }
}
