//! Text as outlines of one font, so that a figure looks the same in every viewer.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ab_glyph::{Font as _, FontRef, OutlineCurve, Point};

use crate::visible::visible;

/// Returns the font of all text.
fn font() -> &'static FontRef<'static> {
    static FONT: OnceLock<FontRef<'static>> = OnceLock::new();
    FONT.get_or_init(|| {
        FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).expect("the font is sound")
    })
}

/// Returns the units of the font's outlines per em.
pub(super) fn units_per_em() -> f64 {
    f64::from(font().units_per_em().expect("the font has a size"))
}

/// Returns the characters of a text that the font can show. Others are shown as their code points.
fn drawable(text: &str) -> Vec<char> {
    let mut out = Vec::new();
    for c in visible(text).chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        if font().glyph_id(c).0 == 0 {
            out.extend(format!("[U+{:04X}]", u32::from(c)).chars());
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns each character with its distance from the start of the text, and the length of the
/// text, in units of the font.
pub(super) fn lay_out(text: &str) -> (Vec<(char, f64)>, f64) {
    let mut at = 0.0;
    let mut before = None;
    let mut placed = Vec::new();
    for c in drawable(text) {
        let id = font().glyph_id(c);
        at += before.map_or(0.0, |before| f64::from(font().kern_unscaled(before, id)));
        placed.push((c, at));
        at += f64::from(font().h_advance_unscaled(id));
        before = Some(id);
    }
    (placed, at)
}

/// Returns the length of a text in points at a size.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    lay_out(text).1 * size / units_per_em()
}

/// Breaks a text into lines of at most `most` points, between words where possible.
pub(super) fn wrap(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Returns the outline of a character as SVG path data in units of the font, its y axis downward;
/// empty for a blank.
pub(super) fn path(c: char) -> String {
    let Some(outline) = font().outline(font().glyph_id(c)) else { return String::new() };
    let mut out = String::new();
    let mut last: Option<Point> = None;
    let at = |point: Point| format!("{} {}", point.x.round(), -point.y.round());
    for curve in outline.curves {
        let (start, data, end) = match curve {
            OutlineCurve::Line(a, b) => (a, format!("L{}", at(b)), b),
            OutlineCurve::Quad(a, b, c) => (a, format!("Q{} {}", at(b), at(c)), c),
            OutlineCurve::Cubic(a, b, c, d) => (a, format!("C{} {} {}", at(b), at(c), at(d)), d),
        };
        if last != Some(start) {
            out.push_str(&format!("M{}", at(start)));
        }
        out.push_str(&data);
        last = Some(end);
    }
    out
}

/// Outlines of the characters that a figure uses, each once.
#[derive(Default)]
pub(super) struct Glyphs(BTreeMap<char, String>);

impl Glyphs {
    /// Returns the id of a character's outline; none if it is blank.
    pub(super) fn id(&mut self, c: char) -> Option<String> {
        let path = self.0.entry(c).or_insert_with(|| path(c));
        (!path.is_empty()).then(|| format!("g{:x}", u32::from(c)))
    }

    /// Returns the definitions of all outlines.
    pub(super) fn defs(&self) -> String {
        let used = self.0.iter().filter(|(_, path)| !path.is_empty());
        used.map(|(c, path)| format!("<path id=\"g{:x}\" d=\"{path}\"/>", u32::from(*c))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_longer_than_asked_for() {
        let text = "Does a larger group help on pocket-math, and where does it stop?";
        let lines = wrap(text, 9.0, 120.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line, 9.0) <= 120.0));
        assert_eq!(lines.join(" "), text);
    }

    #[test]
    fn characters_without_a_glyph_are_shown_as_code_points() {
        let shown = |text| lay_out(text).0.into_iter().map(|(c, _)| c).collect::<String>();
        assert_eq!(shown("ab\u{202e}你"), "ab[U+202E][U+4F60]");
        assert!(path('o').matches('M').count() == 2 && path(' ').is_empty());
    }
}
