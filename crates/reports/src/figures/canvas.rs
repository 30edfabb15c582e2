//! Drawing into SVG and PNG files.

use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::prelude::{
    BLACK, BitMapBackend, Color as _, DrawingBackend, IntoFont as _, PathElement, RGBColor,
    SVGBackend, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use preceptor_store::replace_file;

use crate::Error;
use crate::file::write_bytes;

/// The font of all text, by its role in SVG.
pub(super) const FONT: &str = "sans-serif";
/// Pixels of most SVGs; PNG has [`PNG_SCALE`] times as many each way.
pub(super) const SIZE: (u32, u32) = (720, 440);
const PNG_SCALE: u32 = 2;
/// Okabe and Ito's colours without yellow, which is too light for lines.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];
/// The colour of upper bounds.
pub(super) const BOUND_COLOR: RGBColor = RGBColor(140, 140, 140);

/// Returns the colour of an index; colours repeat.
pub(super) fn color(number: usize) -> RGBColor {
    COLORS[number % COLORS.len()]
}

/// Returns whether an earlier index has the same colour.
pub(super) fn is_repeated(number: usize) -> bool {
    number >= COLORS.len()
}

/// A figure that was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Name of its files.
    pub(crate) name: String,
    /// The caption.
    pub(crate) caption: String,
    /// The SVG text, for the page.
    pub(crate) svg: String,
}

/// A drawing for any backend. `scale` multiplies every length.
pub(super) trait Drawing {
    /// Returns the size of the SVG in pixels.
    fn size(&self) -> (u32, u32) {
        SIZE
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String>;
}

/// Draws a stroke of a line's colour at `(left, y)` and its name beside it; what is dashed has two strokes.
pub(super) fn name_line<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    (left, y): (i32, i32),
    (name, color, is_dashed): (&str, RGBColor, bool),
    scale: u32,
) -> Result<(), String> {
    let text = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    let px = |length: u32| (length * scale) as i32;
    let strokes: &[(u32, u32)] = if is_dashed { &[(0, 8), (12, 20)] } else { &[(0, 20)] };
    for &(from, to) in strokes {
        let ends = [(left + px(from), y), (left + px(to), y)];
        area.draw(&PathElement::new(ends, color.stroke_width(2 * scale))).map_err(text)?;
    }
    let style = (FONT, 13 * scale).into_font().color(&BLACK);
    let style = style.pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(name.to_owned(), (left + px(26), y), style)).map_err(text)
}

/// Draws into `<folder>/<name>.svg` and `.png`.
pub(super) fn save(
    folder: &Path,
    name: &str,
    caption: &str,
    drawing: &impl Drawing,
) -> Result<Figure, Error> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        // Bitmaps need a font of their own; the first registration of a name is never refused.
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
    let svg_path = folder.join(format!("{name}.svg"));
    let png_path = folder.join(format!("{name}.png"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |detail| Error::Figure { path, detail }
    };

    let size = drawing.size();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(drawing, &area, 1).map_err(failed(&svg_path))?;
    }
    write_bytes(&svg_path, &svg)?;
    let png_size = (size.0 * PNG_SCALE, size.1 * PNG_SCALE);
    let write = |path: &Path| {
        let area = BitMapBackend::new(path, png_size).into_drawing_area();
        paint(drawing, &area, PNG_SCALE).map_err(failed(&png_path))
    };
    replace_file(&png_path, write, |source| Error::write(&png_path)(source))?;
    Ok(Figure { name: name.to_owned(), caption: caption.to_owned(), svg })
}

fn paint<B: DrawingBackend>(
    drawing: &impl Drawing,
    area: &DrawingArea<B, Shift>,
    scale: u32,
) -> Result<(), String> {
    area.fill(&WHITE).map_err(|error| error.to_string())?;
    drawing.draw(area, scale)?;
    area.present().map_err(|error| error.to_string())
}
