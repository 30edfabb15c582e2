//! Shapes and text of a figure in points (1/72 inch), written as SVG.

use std::fmt::Write as _;

use plotters::style::{RGBAColor, ShapeStyle};
use plotters_backend::BackendColor;
use plotters_backend::text_anchor::HPos;

use super::backend::pixels;
use super::outline::{Glyphs, lay_out, units_per_em};
use super::style::{GREY, HUES, Hue, Style};

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

impl From<Ink> for BackendColor {
    fn from(ink: Ink) -> Self {
        let (hue, alpha) = match ink {
            Ink::Text => (INK, 1.0),
            Ink::Soft => (INK, 0.7),
            Ink::Faint => (INK, 0.16),
            Ink::Hue(hue) => (hue, 1.0),
        };
        Self { alpha, rgb: hue.rgb() }
    }
}

impl Ink {
    /// Returns the colour as plotters knows it.
    pub(super) fn rgba(self) -> RGBAColor {
        let BackendColor { alpha, rgb: (red, green, blue) } = self.into();
        RGBAColor(red, green, blue, alpha)
    }
}

/// Returns a colour as SVG names it: that of text follows the page.
fn name(color: BackendColor) -> String {
    if color.rgb == INK.rgb() {
        return "currentColor".to_owned();
    }
    let (red, green, blue) = color.rgb;
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Returns the attribute of an opacity; none of what is opaque.
fn opacity(attribute: &str, alpha: f64) -> String {
    if alpha < 1.0 { format!(" {attribute}=\"{}\"", number(alpha)) } else { String::new() }
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

    /// Returns the look of a solid line as plotters knows it.
    pub(super) fn shape(self) -> ShapeStyle {
        let stroke_width = pixels(self.width).unsigned_abs();
        ShapeStyle { color: self.ink.rgba(), filled: false, stroke_width }
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
    /// Draws a line through points, with SVG's dash pattern if there is one.
    pub(super) fn path(
        &mut self,
        path: &[(f64, f64)],
        color: BackendColor,
        width: f64,
        dash: &str,
    ) {
        let opacity = opacity("stroke-opacity", color.alpha);
        let dash =
            if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        let (color, width, points) = (name(color), number(width), points(path));
        let _ = writeln!(
            self.body,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{opacity}{dash} points=\"{points}\"/>"
        );
    }

    /// Fills the inside of a path.
    pub(super) fn polygon(&mut self, path: &[(f64, f64)], color: BackendColor) {
        let opacity = opacity("fill-opacity", color.alpha);
        let (color, points) = (name(color), points(path));
        let _ = writeln!(self.body, "<polygon fill=\"{color}\"{opacity} points=\"{points}\"/>");
    }

    /// Draws a disc, or a circle of a line of some width.
    pub(super) fn circle(
        &mut self,
        (x, y): (f64, f64),
        radius: f64,
        color: BackendColor,
        line: Option<f64>,
    ) {
        let (x, y, radius, color) = (number(x), number(y), number(radius), name(color));
        let look = match line {
            None => format!("fill=\"{color}\""),
            Some(width) => {
                format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"{}\"", number(width))
            }
        };
        let class = if line.is_some() { "class=\"ring\" " } else { "" };
        let _ = writeln!(self.body, "<circle {class}cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" {look}/>");
    }

    /// Writes one line of text from a place on its base line.
    pub(super) fn text(&mut self, at: (f64, f64), text: &str, size: f64, ink: Ink) {
        self.place(at, text, size, HPos::Left, ink.into(), false);
    }

    /// Writes one line of text on its base line, which is read from below if it is upward.
    pub(super) fn place(
        &mut self,
        (x, y): (f64, f64),
        text: &str,
        size: f64,
        anchor: HPos,
        color: BackendColor,
        is_upward: bool,
    ) {
        let (placed, length) = lay_out(text);
        let scale = size / units_per_em();
        let shift = match anchor {
            HPos::Left => 0.0,
            HPos::Center => -length * scale / 2.0,
            HPos::Right => -length * scale,
        };
        let s = format!("{scale:.5}");
        let matrix = if is_upward {
            format!("0 -{s} {s} 0 {} {}", number(x), number(y - shift))
        } else {
            format!("{s} 0 0 {s} {} {}", number(x + shift), number(y))
        };
        // The font is light: a thin stroke makes it as dark as a regular one.
        let weight = units_per_em() * 0.026;
        let opacity = opacity("opacity", color.alpha);
        let color = name(color);
        let _ = write!(
            self.body,
            "<g data-text=\"{}\" fill=\"{color}\" stroke=\"{color}\" stroke-width=\"{weight:.0}\" \
             transform=\"matrix({matrix})\"{opacity}>",
            escape(text)
        );
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
