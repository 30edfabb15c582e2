//! Sheets of a given width with title and footer, saved as SVG, PNG and PDF.

use std::path::Path;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use super::axes::{SMALL, TITLE};
use super::outline::wrap;
use super::scene::{Ink, Scene};
use crate::Error;
use crate::file::write_bytes;

/// Points per inch.
const INCH: f64 = 72.0;
/// Dots per inch of PNG.
const DPI: f64 = 300.0;
/// Points around the contents of a sheet.
pub(super) const MARGIN: f64 = 5.0;

/// A figure that was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Name of its files.
    pub(crate) name: String,
    /// The finding or the question.
    pub(crate) title: String,
    /// Title and explanation.
    pub(crate) caption: String,
    /// The SVG text, for the page.
    pub(crate) svg: String,
}

impl Figure {
    /// Returns whether its title says what was found.
    pub(crate) fn is_finding(&self) -> bool {
        !self.title.ends_with('?')
    }
}

/// The width of figures in print, in inches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FigureWidth(f64);

impl FigureWidth {
    /// A column of a page with two.
    pub const COLUMN: Self = Self(3.3);
    /// Both columns.
    pub const PAGE: Self = Self(6.75);

    /// Returns a width in inches; none below 2.5, where text of 7 points does not fit, and above 12.
    ///
    /// ```
    /// use preceptor_reports::FigureWidth;
    /// assert_eq!(FigureWidth::inches(3.3), Some(FigureWidth::COLUMN));
    /// assert_eq!(FigureWidth::inches(1.0), None);
    /// ```
    pub fn inches(inches: f64) -> Option<Self> {
        (2.5..=12.0).contains(&inches).then_some(Self(inches))
    }
}

/// Where figures go and what all of them have in common.
pub(crate) struct Sheet<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) width: FigureWidth,
    /// The revision of the code that made the records; empty if it is unknown.
    pub(crate) revision: String,
}

/// The words of a figure.
pub(super) struct Words {
    /// The name of its files.
    pub(super) name: String,
    /// The finding or the question.
    pub(super) title: String,
    /// Explains what is drawn.
    pub(super) caption: String,
    /// Sample sizes and the meaning of bands.
    pub(super) footer: String,
}

impl Sheet<'_> {
    /// Returns the width in points.
    pub(super) fn points(&self) -> f64 {
        self.width.0 * INCH
    }

    /// Writes the title and returns the height at which contents begin.
    pub(super) fn title(&self, scene: &mut Scene, title: &str) -> f64 {
        let mut y = MARGIN;
        for line in wrap(title, TITLE, self.points() - 2.0 * MARGIN) {
            y += TITLE * 1.2;
            scene.text((MARGIN, y - 2.0), &line, TITLE, Ink::Text);
        }
        y + 5.0
    }

    /// Writes the footer below contents that end at `y`, and the files of the figure.
    pub(super) fn save(&self, mut scene: Scene, y: f64, words: Words) -> Result<Figure, Error> {
        let Words { name, title, caption, mut footer } = words;
        if !self.revision.is_empty() {
            footer.push_str(&format!("; revision {}", self.revision));
        }
        let mut y = y + 2.0;
        for line in wrap(&footer, SMALL, self.points() - 2.0 * MARGIN) {
            y += SMALL * 1.25;
            scene.text((MARGIN, y), &line, SMALL, Ink::Soft);
        }
        let size = (self.points(), y + MARGIN);
        let svg = scene.svg(size, &title, true);
        write_bytes(&self.folder.join(format!("{name}.svg")), &svg)?;
        let on_white = scene.svg(size, &title, false);
        for (ending, convert) in [("png", png as fn(&str) -> _), ("pdf", pdf)] {
            let path = self.folder.join(format!("{name}.{ending}"));
            let bytes: Result<Vec<u8>, String> = convert(&on_white);
            let bytes = bytes.map_err(|detail| Error::Figure { path: path.clone(), detail })?;
            write_bytes(&path, bytes)?;
        }
        let stop = if title.ends_with('?') { "" } else { "." };
        let caption = format!("{title}{stop} {caption}").trim_end().to_owned();
        Ok(Figure { name, title, caption, svg })
    }
}

fn parse(svg: &str) -> Result<Tree, String> {
    Tree::from_str(svg, &Options::default()).map_err(|error| error.to_string())
}

/// Draws an SVG in pixels, with their number per metre.
fn png(svg: &str) -> Result<Vec<u8>, String> {
    let tree = parse(svg)?;
    // SVG has 96 pixels per inch.
    let scale = DPI / 96.0;
    let pixels = |length: f32| (f64::from(length) * scale).round() as u32;
    let (width, height) = (pixels(tree.size().width()), pixels(tree.size().height()));
    let mut pixmap = Pixmap::new(width, height).ok_or("it has no size")?;
    let scale = scale as f32;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let per_metre = (DPI / 0.0254).round() as u32;
    let unit = png::Unit::Meter;
    encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit }));
    let failed = |error: png::EncodingError| error.to_string();
    let mut writer = encoder.write_header().map_err(failed)?;
    // The ground is opaque, so that colours are not premultiplied.
    writer.write_image_data(pixmap.data()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn pdf(svg: &str) -> Result<Vec<u8>, String> {
    let tree = parse(svg)?;
    // SVG has 96 pixels per inch, PDF 72 points.
    let page = svg2pdf::PageOptions { dpi: 96.0 };
    let bytes = svg2pdf::to_pdf(&tree, svg2pdf::ConversionOptions::default(), page)
        .map_err(|error| error.to_string())?;
    Ok(with_sorted_resources(&bytes))
}

/// Sorts neighbouring lines that name resources, such as `/gs1 8 0 R`: svg2pdf 0.13 writes them in random
/// order. Objects keep their places.
fn with_sorted_resources(pdf: &[u8]) -> Vec<u8> {
    let names_resource = |line: &[u8]| {
        let is_known = |c: &u8| c.is_ascii_alphanumeric() || b" /".contains(c);
        line.starts_with(b"      /") && line.ends_with(b" 0 R") && line.iter().all(is_known)
    };
    let mut lines: Vec<&[u8]> = pdf.split(|byte| *byte == b'\n').collect();
    for run in lines.chunk_by_mut(|a, b| names_resource(a) && names_resource(b)) {
        run.sort_unstable();
    }
    lines.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pdf_has_the_same_bytes_each_time() {
        let shape = |i: u32| format!("<rect width='{i}' height='9' fill-opacity='0.{i}'/>");
        let shapes: String = (1..9).map(shape).collect();
        let svg =
            format!("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>{shapes}</svg>");
        let first = pdf(&svg).unwrap();
        assert!((0..8).all(|_| pdf(&svg).unwrap() == first));
    }

    #[test]
    fn a_sheet_is_saved_at_its_printed_width() {
        let folder = tempfile::tempdir().unwrap();
        for (width, pixels) in [(FigureWidth::COLUMN, 990), (FigureWidth::PAGE, 2025)] {
            let sheet = Sheet { folder: folder.path(), width, revision: "abc".to_owned() };
            let mut scene = Scene::default();
            let y = sheet.title(&mut scene, "Is <this> a figure?");
            scene.path(&[(10.0, y), (60.0, y + 40.0)], Ink::Text.into(), 1.0, "");
            let words = Words {
                name: "demo".to_owned(),
                title: "Is <this> a figure?".to_owned(),
                caption: "It is.".to_owned(),
                footer: "n = 3".to_owned(),
            };
            let figure = sheet.save(scene, y + 40.0, words).unwrap();
            assert_eq!(figure.caption, "Is <this> a figure? It is.");
            assert!(figure.svg.contains("data-text=\"n = 3; revision abc\""));
            assert!(figure.svg.contains("<title>Is &lt;this> a figure?</title>"));
            assert!(!figure.svg.contains("<text") && !figure.svg.contains("#ffffff"));
            let bytes = std::fs::read(folder.path().join("demo.png")).unwrap();
            let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
            assert_eq!(reader.info().width, pixels);
            assert_eq!(reader.info().pixel_dims.unwrap().xppu, 11_811);
            let pdf = std::fs::read(folder.path().join("demo.pdf")).unwrap();
            assert!(pdf.starts_with(b"%PDF-"));
        }
    }
}
