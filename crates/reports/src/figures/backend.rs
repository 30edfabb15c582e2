//! A scene as a backend of plotters, with pixels of a hundredth of a point.
//!
//! Colours carry the theme: that of [`Ink::Text`] is written as `currentColor`, which follows the page, and the
//! style of a page gives every other colour its variant for dark pages. Text is placed by its base
//! line (`VPos::Bottom`), by the middle of its digits (`VPos::Center`) or by their upper edge (`VPos::Top`).
//!
//! [`Ink::Text`]: super::scene::Ink::Text

use plotters::drawing::{DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters_backend::text_anchor::VPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};

use super::axes::Area;
use super::outline::width;
use super::scene::Scene;
use crate::Error;

/// Pixels per point.
const PIXELS: f64 = 100.0;
/// Width and height of a scene in pixels: more than any figure has.
const EXTENT: u32 = 1_000_000;

/// Returns a length in pixels.
pub(super) fn pixels(points: f64) -> i32 {
    (points * PIXELS).round() as i32
}

/// Returns a place in pixels.
pub(super) fn pixel((x, y): (f64, f64)) -> BackendCoord {
    (pixels(x), pixels(y))
}

/// Returns a place in points.
pub(super) fn point((x, y): BackendCoord) -> (f64, f64) {
    (f64::from(x) / PIXELS, f64::from(y) / PIXELS)
}

/// A request that a scene can't fulfil.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error("expected lines, areas and text, found a pixel\nhint: draw elements without bitmaps")]
    Pixel,
    #[error(
        "expected level or upward text, found `{0}` downward or upside down\nhint: use `Rotate270`"
    )]
    Turned(String),
}

/// A failure to draw on an area.
pub(super) type Failure = DrawingAreaErrorKind<BackendError>;
type Drawn = Result<(), DrawingErrorKind<BackendError>>;

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let detail = match failure {
            Failure::BackendError(DrawingErrorKind::DrawingError(error)) => error.to_string(),
            other => other.to_string(),
        };
        Self::Drawing { detail }
    }
}

impl Scene {
    /// Returns the area of the whole scene, on which plotters draws.
    pub(super) fn area(&mut self) -> Area<'_> {
        self.into_drawing_area()
    }
}

impl DrawingBackend for &mut Scene {
    type ErrorType = BackendError;

    fn get_size(&self) -> (u32, u32) {
        (EXTENT, EXTENT)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, _: BackendCoord, _: BackendColor) -> Drawn {
        Err(DrawingErrorKind::DrawingError(BackendError::Pixel))
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        if fill {
            self.fill_polygon(corners, style)
        } else {
            self.draw_path(corners.into_iter().chain([(left, top)]), style)
        }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let path: Vec<_> = path.into_iter().map(point).collect();
        self.path(&path, style.color(), line_width(style), "");
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let line = (!fill).then(|| line_width(style));
        self.circle(point(center), f64::from(radius) / PIXELS, style.color(), line);
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let path: Vec<_> = path.into_iter().map(point).collect();
        self.polygon(&path, style.color());
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let size = style.size() / PIXELS;
        let below = match style.anchor().v_pos {
            VPos::Top => 0.7 * size,
            VPos::Center => 0.35 * size,
            VPos::Bottom => 0.0,
        };
        let (x, y) = point(at);
        let (place, is_upward) = match style.transform() {
            FontTransform::None => ((x, y + below), false),
            FontTransform::Rotate270 => ((x + below, y), true),
            FontTransform::Rotate90 | FontTransform::Rotate180 => {
                let error = BackendError::Turned(text.to_owned());
                return Err(DrawingErrorKind::DrawingError(error));
            }
        };
        self.place(place, text, size, style.anchor().h_pos, style.color(), is_upward);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<BackendError>> {
        Ok((width(text, style.size()).round() as u32, style.size().round() as u32))
    }
}

fn line_width<S: BackendStyle>(style: &S) -> f64 {
    f64::from(style.stroke_width()) / PIXELS
}

#[cfg(test)]
mod tests {
    use plotters::element::{Circle, PathElement, Polygon, Rectangle, Text};
    use plotters::style::{Color as _, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle};

    use plotters_backend::text_anchor::HPos;

    use super::super::axes::text_style;
    use super::super::scene::{Ink, Stroke};
    use super::*;

    fn text(transform: FontTransform) -> Text<'static, BackendCoord, &'static str> {
        let font = FontDesc::new(FontFamily::SansSerif, 700.0, FontStyle::Normal);
        Text::new("ab", (1000, 2000), TextStyle::from(font.transform(transform)))
    }

    #[test]
    fn elements_of_plotters_are_written_in_points() {
        let mut scene = Scene::default();
        let area = scene.area();
        let line = Stroke::new(Ink::Faint, 0.5).shape();
        area.draw(&PathElement::new([(0, 0), (1050, 200)], line)).unwrap();
        let blue = RGBColor(0x00, 0x72, 0xb2);
        area.draw(&Rectangle::new([(0, 0), (200, 100)], blue.filled())).unwrap();
        area.draw(&Polygon::new([(0, 0), (100, 0), (0, 100)], blue.mix(0.13))).unwrap();
        area.draw(&Circle::new((500, 500), 210, blue.filled())).unwrap();
        let style = text_style(7.0, (HPos::Right, VPos::Center), Ink::Text);
        area.draw(&Text::new("ab", (1000, 2000), style.clone())).unwrap();
        area.draw(&text(FontTransform::Rotate270)).unwrap();
        let (length, height) = area.estimate_text_size("ab", &style).unwrap();
        drop(area);
        let svg = scene.svg((20.0, 20.0), "demo", true);
        for part in [
            "stroke=\"currentColor\" stroke-width=\"0.5\" stroke-opacity=\"0.16\" points=\"0,0 10.5,2\"",
            "<polygon fill=\"#0072b2\" points=\"0,0 2,0 2,1 0,1\"/>",
            "<polygon fill=\"#0072b2\" fill-opacity=\"0.13\" points=\"0,0 1,0 0,1\"/>",
            "<circle cx=\"5\" cy=\"5\" r=\"2.1\" fill=\"#0072b2\"/>",
            "data-text=\"ab\" fill=\"currentColor\"",
            "data-text=\"ab\" fill=\"#000000\" stroke=\"#000000\" stroke-width=\"26\" transform=\"matrix(0 -0.00700",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert_eq!((length, height), (pixels(width("ab", 7.0)).unsigned_abs(), 700));
    }

    #[test]
    fn what_a_scene_cannot_hold_is_an_error() {
        let mut scene = Scene::default();
        let area = scene.area();
        let turned = area.draw(&text(FontTransform::Rotate90)).unwrap_err();
        let dotted = area.draw_pixel((0, 0), &RGBColor(0, 0, 0)).unwrap_err();
        assert_eq!(
            [turned, dotted].map(|failure| Error::from(failure).to_string()),
            [
                "draw a figure: expected level or upward text, found `ab` downward or upside down\nhint: use `Rotate270`",
                "draw a figure: expected lines, areas and text, found a pixel\nhint: draw elements without bitmaps",
            ]
        );
    }
}
