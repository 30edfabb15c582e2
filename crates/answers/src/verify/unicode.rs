//! Unicode mathematics in LaTeX spelling.
//!
//! Characters with one LaTeX spelling are replaced; runs of superscripts and subscripts become
//! one script; marks that cannot be seen are dropped. Everything else stays and fails the parse.

use std::borrow::Cow;

/// Spells Unicode mathematics in LaTeX and drops marks that cannot be seen.
pub(crate) fn to_ascii(answer: &str) -> Cow<'_, str> {
    if answer.is_ascii() {
        return Cow::Borrowed(answer);
    }
    let mut spelled = String::with_capacity(answer.len() * 2);
    let characters = answer.chars().collect::<Vec<_>>();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        at += match scripts(&characters[at..], &mut spelled) {
            0 => {
                let next = characters.get(at + 1).copied();
                spell(character, next, &mut spelled);
                1
            }
            read => read,
        };
    }
    Cow::Owned(spelled)
}

/// Spells the run of superscripts or subscripts at the start; returns how many characters it read.
fn scripts(characters: &[char], spelled: &mut String) -> usize {
    let run = |of: fn(char) -> Option<char>, from: usize| {
        characters[from..].iter().map_while(|c| of(*c)).collect::<String>()
    };
    let raised = run(superscript, 0);
    let length = raised.chars().count();
    if length > 0 {
        let digits = raised.bytes().all(|byte| byte.is_ascii_digit());
        let next = characters.get(length).copied();
        // `³⁄₄` is a fraction and `³√` a cube root.
        if digits && matches!(next, Some('⁄' | '/' | '∕')) {
            let below = run(subscript, length + 1);
            if !below.is_empty() {
                spelled.push_str(&format!("\\frac{{{raised}}}{{{below}}}"));
                return length + 1 + below.chars().count();
            }
        }
        let fresh = spelled.trim_end().is_empty()
            || spelled
                .trim_end()
                .ends_with(['+', '-', '=', '(', '[', '{', ',', '*', '/', '<', '>']);
        if digits && next == Some('√') {
            // `2³√7` may be a product with a power or with a cube root: left unread.
            let spelling = if fresh { format!("\\surd[{raised}]") } else { "√".to_owned() };
            spelled.push_str(&spelling);
            return length + 1;
        }
        spelled.push_str(&format!("^{{{raised}}}"));
        return length;
    }
    let lowered = run(subscript, 0);
    if !lowered.is_empty() {
        spelled.push_str(&format!("_{{{lowered}}}"));
    }
    lowered.chars().count()
}

fn superscript(character: char) -> Option<char> {
    const MARKS: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸᵃᵇᶜᵈᵉᵏᵐᵖᵗᵘᵛᶻ";
    const PLAIN: &str = "0123456789+-=()nixyabcdekmptuvz";
    MARKS.chars().zip(PLAIN.chars()).find(|(mark, _)| *mark == character).map(|(_, plain)| plain)
}

fn subscript(character: char) -> Option<char> {
    const MARKS: &str = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ";
    const PLAIN: &str = "0123456789+-=()aehijklmnoprstuvx";
    MARKS.chars().zip(PLAIN.chars()).find(|(mark, _)| *mark == character).map(|(_, plain)| plain)
}

/// Spells one character after what is spelled already.
fn spell(character: char, next: Option<char>, spelled: &mut String) {
    let after_digit = spelled.ends_with(|c: char| c.is_ascii_digit());
    let before_digit = next.is_some_and(|c| c.is_ascii_digit());
    match character {
        // `2–5` is a range, not a difference.
        '–' | '—' if after_digit && before_digit => spelled.push(character),
        // `0.6̅` and `0.6̇` repeat their last digit.
        '\u{305}' | '\u{304}' | '\u{307}' if after_digit => {
            let digit = spelled.pop().unwrap_or('0');
            let command = if character == '\u{307}' { "dot" } else { "overline" };
            spelled.push_str(&format!("\\{command}{{{digit}}}"));
        }
        '½' | '⅓' | '⅔' | '¼' | '¾' | '⅕' | '⅖' | '⅗' | '⅘' | '⅙' | '⅚' | '⅐' | '⅛' | '⅜' | '⅝'
        | '⅞' | '⅑' | '⅒' => spelled.push_str(vulgar_fraction(character)),
        '\u{ff01}'..='\u{ff5e}' => {
            let code = u32::from(character) - 0xfee0;
            let plain = char::from_u32(code).unwrap_or(character);
            if plain == '$' { spelled.push_str("\\$") } else { spelled.push(plain) }
        }
        'α'..='ω' | 'Α'..='Ω' => spell_greek(character, spelled),
        '\u{1d400}'..='\u{1d6a3}' => {
            let letter = (u32::from(character) - 0x1d400) % 52;
            let (first, offset) = if letter < 26 { (b'A', letter) } else { (b'a', letter - 26) };
            spelled.push(char::from(first + u8::try_from(offset).unwrap_or(0)));
        }
        '\u{1d6a8}'..='\u{1d7c9}' => {
            let letter = (u32::from(character) - 0x1d6a8) % 58;
            // Small letters stand behind the capitals and a sign.
            let small = letter.checked_sub(26).filter(|small| *small <= 24);
            match small.and_then(|small| char::from_u32(0x3b1 + small)) {
                Some(greek) => spell_greek(greek, spelled),
                None => spelled.push(character),
            }
        }
        '\u{1d7ce}'..='\u{1d7ff}' => {
            let digit = (u32::from(character) - 0x1d7ce) % 10;
            spelled.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        }
        _ => match spelling(character) {
            Some(spelling) => spelled.push_str(spelling),
            None => spelled.push(character),
        },
    }
}

fn vulgar_fraction(character: char) -> &'static str {
    match character {
        '½' => "\\frac{1}{2}",
        '⅓' => "\\frac{1}{3}",
        '⅔' => "\\frac{2}{3}",
        '¼' => "\\frac{1}{4}",
        '¾' => "\\frac{3}{4}",
        '⅕' => "\\frac{1}{5}",
        '⅖' => "\\frac{2}{5}",
        '⅗' => "\\frac{3}{5}",
        '⅘' => "\\frac{4}{5}",
        '⅙' => "\\frac{1}{6}",
        '⅚' => "\\frac{5}{6}",
        '⅐' => "\\frac{1}{7}",
        '⅛' => "\\frac{1}{8}",
        '⅜' => "\\frac{3}{8}",
        '⅝' => "\\frac{5}{8}",
        '⅞' => "\\frac{7}{8}",
        '⅑' => "\\frac{1}{9}",
        _ => "\\frac{1}{10}",
    }
}

/// A Greek letter as its command, or as the Latin letter it looks like.
fn spell_greek(character: char, spelled: &mut String) {
    const LOWER: [&str; 25] = [
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
        "lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon",
        "phi", "chi", "psi", "omega",
    ];
    let upper = match character {
        'Γ' => "Gamma",
        'Δ' => "Delta",
        'Θ' => "Theta",
        'Λ' => "Lambda",
        'Ξ' => "Xi",
        'Π' => "Pi",
        'Σ' => "Sigma",
        'Υ' => "Upsilon",
        'Φ' => "Phi",
        'Ψ' => "Psi",
        'Ω' => "Omega",
        _ => "",
    };
    let index = u32::from(character).checked_sub(0x3b1).and_then(|at| usize::try_from(at).ok());
    match index.and_then(|at| LOWER.get(at)) {
        Some(name) => spelled.push_str(&format!("\\{name} ")),
        None if upper.is_empty() => spelled.push(character),
        None => spelled.push_str(&format!("\\{upper} ")),
    }
}

/// Returns the LaTeX spelling of a character that always has the same one.
fn spelling(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => "",
        '\u{feff}' | '\u{ad}' | '\u{fe00}'..='\u{fe0f}' => "",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '−' | '–' | '—' | '‐' | '‑' | '﹣' | '➖' => "-",
        '➕' | '﹢' => "+",
        '×' | '·' | '⋅' | '∙' | '✕' | '✖' => "\\cdot ",
        '÷' | '⁄' | '∕' => "/",
        '∗' => "*",
        '±' => "\\pm ",
        '∓' => "\\mp ",
        '√' => "\\surd ",
        '∛' => "\\surd[3]",
        '∜' => "\\surd[4]",
        'ϕ' => "\\phi ",
        'ϵ' => "\\epsilon ",
        'ϑ' => "\\theta ",
        'ℯ' | 'ⅇ' => "e",
        'ⅈ' => "i",
        'ℎ' => "h",
        'ℓ' => "\\ell ",
        '∞' => "\\infty ",
        '°' | 'º' | '˚' => "^\\circ ",
        '℃' => "^\\circ C",
        '℉' => "^\\circ F",
        '∪' => "\\cup ",
        '∩' => "\\cap ",
        '∖' => "\\setminus ",
        '∈' => "\\in ",
        '≤' | '≦' | '⩽' => "\\le ",
        '≥' | '≧' | '⩾' => "\\ge ",
        '≠' => "\\ne ",
        '≈' | '≃' | '≅' | '≒' => "\\approx ",
        '≡' => "\\equiv ",
        '∅' | '⌀' => "\\emptyset ",
        'ℝ' => "\\mathbb{R} ",
        'ℤ' => "\\mathbb{Z} ",
        'ℕ' => "\\mathbb{N} ",
        'ℚ' => "\\mathbb{Q} ",
        'ℂ' => "\\mathbb{C} ",
        '∠' => "\\angle ",
        '△' => "\\triangle ",
        '⟨' | '〈' => "\\langle ",
        '⟩' | '〉' => "\\rangle ",
        '⌊' => "\\lfloor ",
        '⌋' => "\\rfloor ",
        '⌈' => "\\lceil ",
        '⌉' => "\\rceil ",
        '∨' => "\\lor ",
        '∧' => "\\land ",
        '…' | '⋯' => "\\ldots ",
        '“' | '”' => "\"",
        '‘' | '’' | '′' => "'",
        '″' => "''",
        '，' | '、' => ",",
        '。' => ".",
        '￥' | '¥' => "\\yen ",
        '£' | '￡' => "\\pounds ",
        '€' => "\\euro ",
        '₹' | '₨' => "\\rupee ",
        '₩' | '￦' => "\\won ",
        '₽' => "\\ruble ",
        '¢' => "\\text{ cents}",
        '元' => "\\text{ yuan}",
        '円' => "\\text{ yen}",
        '원' => "\\text{ won}",
        '㎝' => "\\text{ cm}",
        '㎜' => "\\text{ mm}",
        '㎞' => "\\text{ km}",
        '㎏' => "\\text{ kg}",
        '㎡' => "\\text{ m}^{2}",
        '㎥' => "\\text{ m}^{3}",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_a_spelling() {
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            let _ = to_ascii(&format!("2{character}3"));
        }
        assert_eq!(to_ascii("\u{1d6fc}"), to_ascii("α"));
    }

    #[test]
    fn runs_of_scripts_become_one_script() {
        assert_eq!(to_ascii("x²³"), "x^{23}");
        assert_eq!(to_ascii("a₁₀⁻¹"), "a_{10}^{-1}");
        assert_eq!(to_ascii("¹⁷⁄₂₀"), r"\frac{17}{20}");
        assert_eq!(to_ascii("³√7"), r"\surd[3]7");
        assert_eq!(to_ascii("2³√7"), r"2√7");
    }

    #[test]
    fn letters_of_other_alphabets_and_widths_are_spelled() {
        assert_eq!(to_ascii("βΔ𝜋"), r"\beta \Delta \pi ");
        assert_eq!(to_ascii("（７＋𝑥）"), "(7+x)");
        assert_eq!(to_ascii("0.27̅"), r"0.2\overline{7}");
        assert_eq!(to_ascii("7–9"), "7–9");
        assert_eq!(to_ascii("–9"), "-9");
    }
}
