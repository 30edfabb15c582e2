//! Shapes and text of a figure in points (1/72 inch), written as SVG.

use std::fmt::Write as _;

use super::outline::{Glyphs, lay_out, units_per_em};
use super::style::{GREY, HUES, Hue, Marker, Style};

/// The colour of text and axes on white and on dark pages.
const INK: Hue = Hue { light: "#1b1b1b", dark: "#e8e8e6" };

/// A colour of a shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ink {
    /// The colour of text.
    Text,
    /// Less than [`Ink::Text`], for what can be overlooked.
    Soft,
    /// Lines of a grid.
    Faint,
    Hue(Hue),
}

impl Ink {
    fn color(self) -> &'static str {
        match self {
            Self::Text | Self::Soft | Self::Faint => "currentColor",
            Self::Hue(hue) => hue.light,
        }
    }

    fn opacity(self) -> f64 {
        match self {
            Self::Text | Self::Hue(_) => 1.0,
            Self::Soft => 0.7,
            Self::Faint => 0.16,
        }
    }
}

/// The end of a text that its position is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line's look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke {
    pub(super) ink: Ink,
    pub(super) width: f64,
    pub(super) dash: &'static str,
}

impl Stroke {
    pub(super) fn new(ink: Ink, width: f64) -> Self {
        Self { ink, width, dash: "" }
    }

    /// Returns the line of a method.
    pub(super) fn of(style: Style) -> Self {
        Self { ink: Ink::Hue(style.hue), width: 1.2, dash: style.dash.pattern() }
    }
}

/// A drawing that grows downward from its upper left corner.
#[derive(Default)]
pub(super) struct Scene {
    body: String,
    glyphs: Glyphs,
}

/// Returns a length with two decimals at most.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn points(path: &[(f64, f64)]) -> String {
    // A tenth of a point is less than a pixel of a PNG.
    let short = |value: f64| number((value * 10.0).round() / 10.0);
    path.iter().map(|(x, y)| format!("{},{}", short(*x), short(*y))).collect::<Vec<_>>().join(" ")
}

impl Scene {
    pub(super) fn line(&mut self, path: &[(f64, f64)], stroke: Stroke) {
        let Stroke { ink, width, dash } = stroke;
        let _ = write!(
            self.body,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"",
            ink.color(),
            number(width)
        );
        if ink.opacity() < 1.0 {
            let _ = write!(self.body, " stroke-opacity=\"{}\"", number(ink.opacity()));
        }
        if !dash.is_empty() {
            let _ = write!(self.body, " stroke-dasharray=\"{dash}\"");
        }
        let _ = writeln!(self.body, " points=\"{}\"/>", points(path));
    }

    pub(super) fn polygon(&mut self, path: &[(f64, f64)], ink: Ink, opacity: f64) {
        let opacity = match opacity * ink.opacity() {
            1.0 => String::new(),
            opacity => format!(" fill-opacity=\"{}\"", number(opacity)),
        };
        let (color, points) = (ink.color(), points(path));
        let _ = writeln!(self.body, "<polygon fill=\"{color}\"{opacity} points=\"{points}\"/>");
    }

    pub(super) fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), ink: Ink) {
        let (left, right) = (x.min(x + width), x.max(x + width));
        self.polygon(&[(left, y), (right, y), (right, y + height), (left, y + height)], ink, 1.0);
    }

    /// Draws a circle without a fill.
    pub(super) fn ring(&mut self, (x, y): (f64, f64), radius: f64, stroke: Stroke) {
        let _ = writeln!(
            self.body,
            "<circle class=\"ring\" cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"/>",
            number(x),
            number(y),
            number(radius),
            stroke.ink.color(),
            number(stroke.width)
        );
    }

    /// Draws a marker of about `size` points across.
    pub(super) fn marker(&mut self, (x, y): (f64, f64), style: Style, size: f64) {
        let r = size / 2.0;
        let ink = Ink::Hue(style.hue);
        let stroke = Stroke::new(ink, 1.2);
        match style.marker {
            Marker::Circle => {
                let (x, y, r) = (number(x), number(y), number(r));
                let fill = ink.color();
                let _ = writeln!(
                    self.body,
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"{fill}\"/>"
                );
            }
            Marker::Ring => self.ring((x, y), r * 0.85, stroke),
            Marker::Square => {
                let r = r * 0.9;
                self.rectangle((x - r, y - r), (2.0 * r, 2.0 * r), ink);
            }
            Marker::Diamond => {
                let r = r * 1.2;
                self.polygon(&[(x, y - r), (x + r, y), (x, y + r), (x - r, y)], ink, 1.0);
            }
            Marker::TriangleUp | Marker::TriangleDown => {
                let up = if style.marker == Marker::TriangleUp { -1.0 } else { 1.0 };
                let (tip, base) = (y + up * 1.15 * r, y - up * 0.85 * r);
                self.polygon(&[(x, tip), (x + 1.1 * r, base), (x - 1.1 * r, base)], ink, 1.0);
            }
            Marker::Cross => {
                let r = r * 0.85;
                self.line(&[(x - r, y - r), (x + r, y + r)], stroke);
                self.line(&[(x - r, y + r), (x + r, y - r)], stroke);
            }
            Marker::Plus => {
                self.line(&[(x - r, y), (x + r, y)], stroke);
                self.line(&[(x, y - r), (x, y + r)], stroke);
            }
        }
    }

    /// Writes one line of text with its base line at `y`.
    pub(super) fn text(&mut self, at: (f64, f64), text: &str, size: f64, anchor: Anchor, ink: Ink) {
        self.place(at, text, size, anchor, ink, false);
    }

    /// Writes text that is read from below.
    pub(super) fn upward(&mut self, at: (f64, f64), text: &str, size: f64, anchor: Anchor) {
        self.place(at, text, size, anchor, Ink::Text, true);
    }

    fn place(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        size: f64,
        anchor: Anchor,
        ink: Ink,
        is_upward: bool,
    ) {
        let (placed, length) = lay_out(text);
        let scale = size / units_per_em();
        let shift = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -length * scale / 2.0,
            Anchor::End => -length * scale,
        };
        let s = format!("{scale:.5}");
        let matrix = if is_upward {
            format!("0 -{s} {s} 0 {} {}", number(x), number(y - shift))
        } else {
            format!("{s} 0 0 {s} {} {}", number(x + shift), number(y))
        };
        // The font is light: a thin stroke makes it as dark as a regular one.
        let weight = units_per_em() * 0.026;
        let color = ink.color();
        let _ = write!(
            self.body,
            "<g data-text=\"{}\" fill=\"{color}\" stroke=\"{color}\" stroke-width=\"{weight:.0}\" \
             transform=\"matrix({matrix})\"",
            escape(text)
        );
        if ink.opacity() < 1.0 {
            let _ = write!(self.body, " opacity=\"{}\"", number(ink.opacity()));
        }
        self.body.push('>');
        for (c, at) in placed {
            if let Some(id) = self.glyphs.id(c) {
                let _ = write!(self.body, "<use href=\"#{id}\" x=\"{at:.0}\"/>");
            }
        }
        self.body.push_str("</g>\n");
    }

    /// Returns the SVG: on a transparent ground with colours for light and dark pages, or on white.
    pub(super) fn svg(&self, (width, height): (f64, f64), title: &str, is_themed: bool) -> String {
        let (w, h) = (number(width), number(height));
        let title = escape(title);
        let ground = if is_themed {
            format!("<style>{}</style>", dark_style())
        } else {
            format!("<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>")
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}pt\" height=\"{h}pt\" \
             viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{title}\" color=\"{}\">\n\
             <title>{title}</title>\n{ground}\n<defs>{}</defs>\n{}</svg>\n",
            INK.light,
            self.glyphs.defs(),
            self.body
        )
    }
}

/// Returns the style that gives figures the colours of a dark page.
pub(crate) fn dark_style() -> String {
    let dark = |hue: &Hue| {
        let Hue { light, dark } = hue;
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
    };
    let colors: String = HUES.iter().map(dark).collect();
    format!("@media screen and (prefers-color-scheme:dark){{svg{{color:{}}}{colors}}}", INK.dark)
}

fn escape(text: &str) -> String {
    let text = crate::visible::visible(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Returns the colour of upper bounds.
pub(super) const BOUND: Ink = Ink::Hue(GREY);
