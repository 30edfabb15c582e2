//! Elements of plotters for what a chart has of its own: lines with dashes, and the markers of methods.

use std::iter::{Once, once};

use plotters::element::{Drawable, PointCollection};
use plotters_backend::{BackendColor, BackendCoord, DrawingErrorKind};

use super::backend::{BackendError, point};
use super::scene::{Ink, Scene, Stroke};
use super::style::{Marker, Style};

/// A line through points, moved to the right by pixels.
pub(super) struct Polyline<C> {
    pub(super) points: Vec<C>,
    pub(super) stroke: Stroke,
    pub(super) shift: i32,
}

impl<'a, C: 'a> PointCollection<'a, C> for &'a Polyline<C> {
    type Point = &'a C;
    type IntoIter = &'a [C];

    fn point_iter(self) -> Self::IntoIter {
        &self.points
    }
}

impl<'s, C> Drawable<&'s mut Scene> for Polyline<C> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        places: I,
        scene: &mut &'s mut Scene,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<BackendError>> {
        let path: Vec<_> = places.map(|(x, y)| point((x + self.shift, y))).collect();
        let Stroke { ink, width, dash } = self.stroke;
        scene.path(&path, ink.into(), width, dash);
        Ok(())
    }
}

/// A marker of a method, about `size` points across, moved to the right by pixels.
pub(super) struct Mark<C> {
    pub(super) at: C,
    pub(super) style: Style,
    pub(super) size: f64,
    pub(super) shift: i32,
}

impl<'a, C: 'a> PointCollection<'a, C> for &'a Mark<C> {
    type Point = &'a C;
    type IntoIter = Once<&'a C>;

    fn point_iter(self) -> Self::IntoIter {
        once(&self.at)
    }
}

impl<'s, C> Drawable<&'s mut Scene> for Mark<C> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        places: I,
        scene: &mut &'s mut Scene,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<BackendError>> {
        for (x, y) in places {
            draw_marker(scene, point((x + self.shift, y)), self.style, self.size / 2.0);
        }
        Ok(())
    }
}

fn draw_marker(scene: &mut Scene, (x, y): (f64, f64), style: Style, r: f64) {
    /// Width of the lines of markers that have no fill.
    const LINE: f64 = 1.2;
    let color: BackendColor = Ink::Hue(style.hue).into();
    match style.marker {
        Marker::Circle => scene.circle((x, y), r, color, None),
        Marker::Ring => scene.circle((x, y), r * 0.85, color, Some(LINE)),
        Marker::Square => {
            let r = r * 0.9;
            let corners = [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)];
            scene.polygon(&corners, color);
        }
        Marker::Diamond => {
            let r = r * 1.2;
            scene.polygon(&[(x, y - r), (x + r, y), (x, y + r), (x - r, y)], color);
        }
        Marker::TriangleUp | Marker::TriangleDown => {
            let up = if style.marker == Marker::TriangleUp { -1.0 } else { 1.0 };
            let (tip, base) = (y + up * 1.15 * r, y - up * 0.85 * r);
            scene.polygon(&[(x, tip), (x + 1.1 * r, base), (x - 1.1 * r, base)], color);
        }
        Marker::Cross => {
            let r = r * 0.85;
            scene.path(&[(x - r, y - r), (x + r, y + r)], color, LINE, "");
            scene.path(&[(x - r, y + r), (x + r, y - r)], color, LINE, "");
        }
        Marker::Plus => {
            scene.path(&[(x - r, y), (x + r, y)], color, LINE, "");
            scene.path(&[(x, y - r), (x, y + r)], color, LINE, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::pixels;
    use super::super::style::styles;
    use super::*;

    #[test]
    fn lines_and_markers_are_moved_and_keep_their_look() {
        let style = styles([("majority", false)])[0];
        let mut scene = Scene::default();
        let area = scene.area();
        let points = vec![(0, 0), (1000, 500)];
        area.draw(&Polyline { points, stroke: Stroke::of(style), shift: pixels(2.2) }).unwrap();
        area.draw(&Mark { at: (1000, 500), style, size: 4.0, shift: pixels(2.2) }).unwrap();
        drop(area);
        let svg = scene.svg((20.0, 20.0), "demo", true);
        for part in [
            "stroke=\"#d55e00\" stroke-width=\"1.2\" stroke-dasharray=\"4 2\" points=\"2.2,0 12.2,5\"",
            "<polygon fill=\"#d55e00\" points=\"10.4,3.2 14,3.2 14,6.8 10.4,6.8\"/>",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
