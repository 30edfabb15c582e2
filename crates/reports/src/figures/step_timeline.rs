//! Who works when in a typical training step with rollout servers: a row for each phase of each.

use std::path::Path;

use plotters::element::{Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use super::axes::{Axis, BODY, Frame, SMALL, Scale, X_ROOM, text_style};
use super::backend::{Failure, pixel};
use super::canvas::{Figure, MARGIN, Sheet, Words};
use super::outline::width;
use super::scene::{Ink, Scene};
use super::style::HUES;
use crate::Error;
use crate::table::ReadTable;

/// Height of a row in points.
const ROW: f64 = 13.0;
/// Phases that take a smaller share of the step are left out.
const LEAST: f64 = 0.005;

/// Returns seconds with about two digits.
fn text(secs: f64) -> String {
    match secs {
        ..1.0 => format!("{secs:.2}"),
        1.0..10.0 => format!("{secs:.1}"),
        _ => format!("{secs:.0}"),
    }
}

/// A phase of the trainer or of a server, with the spans in which it works.
struct Lane {
    actor: String,
    phase: String,
    spans: Vec<(f64, f64)>,
}

impl Lane {
    fn name(&self) -> String {
        let actor = self.actor.split_once("://").map_or(self.actor.as_str(), |(_, host)| host);
        format!("{actor}: {}", self.phase.replace('-', " "))
    }

    fn total(&self) -> f64 {
        self.spans.iter().map(|(from, to)| to - from).sum()
    }
}

/// Draws the first training run of the table.
pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Option<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "step_timeline")? else {
        return Ok(None);
    };
    let (actors, phases) = (table.texts("actor")?, table.texts("phase")?);
    let (from, to) = (table.numbers("from_secs")?, table.numbers("to_secs")?);
    let (seeds, steps) = (table.numbers("seed")?, table.numbers("step")?);
    let trained_on = table.texts("trained_on")?;
    let mut lanes: Vec<Lane> = Vec::new();
    let runs = table.numbers("run")?;
    for row in (0..actors.len()).take_while(|row| runs[*row] == runs[0]) {
        let (Some(from), Some(to)) = (from[row], to[row]) else { continue };
        let (actor, phase) = (&actors[row], &phases[row]);
        match lanes.iter_mut().find(|lane| lane.actor == *actor && lane.phase == *phase) {
            Some(lane) => lane.spans.push((from, to)),
            None => lanes.push(Lane {
                actor: actor.clone(),
                phase: phase.clone(),
                spans: vec![(from, to)],
            }),
        }
    }
    lanes.sort_by(|a, b| a.spans[0].0.total_cmp(&b.spans[0].0));
    let ends = lanes.iter().flat_map(|lane| &lane.spans).map(|span| span.1);
    let Some(end) = ends.reduce(f64::max) else { return Ok(None) };
    lanes.retain(|lane| lane.total() >= LEAST * end);
    let (seed, step) = (seeds[0].unwrap_or(0.0), steps[0].unwrap_or(0.0));
    let words = Words {
        name: "step-timeline".to_owned(),
        title: format!("Who waits for whom in the {} s of a training step?", text(end)),
        caption: format!("Training on {}; the texts are seconds of work.", trained_on[0]),
        footer: format!("step {step}, of median duration, of seed {seed}"),
    };
    let mut scene = Scene::default();
    let top = sheet.title(&mut scene, &words.title) + 3.0;
    let bottom = draw_lanes(&lanes, end, &mut scene, sheet, top)?;
    sheet.save(scene, bottom, words).map(Some)
}

/// Draws the lanes from `top` on, and returns where they end.
fn draw_lanes(
    lanes: &[Lane],
    end: f64,
    scene: &mut Scene,
    sheet: &Sheet<'_>,
    top: f64,
) -> Result<f64, Failure> {
    let mut actors: Vec<&str> = Vec::new();
    for lane in lanes {
        if !actors.contains(&lane.actor.as_str()) {
            actors.push(&lane.actor);
        }
    }
    let names: Vec<_> = lanes.iter().map(Lane::name).collect();
    let totals: Vec<_> = lanes.iter().map(|lane| text(lane.total())).collect();
    let longest =
        |texts: &[String], size| texts.iter().map(|text| width(text, size)).fold(0.0, f64::max);
    let left = MARGIN + longest(&names, BODY) + 5.0;
    let right = sheet.points() - MARGIN;
    let height = ROW * lanes.len() as f64;
    let frame = Frame {
        left,
        top,
        width: right - longest(&totals, SMALL) - 6.0 - left,
        height,
        x: Axis::new("seconds since the start of the step", Scale::Linear, (0.0, end)),
        // Points below the top.
        y: Axis::new("", Scale::Linear, (height, 0.0)),
    };
    let area = scene.area();
    let chart = frame.chart(&area)?;
    let name_style = text_style(BODY, (HPos::Right, VPos::Center), Ink::Text);
    let total_style = text_style(SMALL, (HPos::Right, VPos::Center), Ink::Text);
    for (row, lane) in lanes.iter().enumerate() {
        let middle = ROW * (row as f64 + 0.5);
        let actor = actors.iter().position(|known| *known == lane.actor).unwrap_or(0);
        let ink = Ink::Hue(HUES[actor % HUES.len()]);
        for (from, to) in &lane.spans {
            let corners = [(*from, middle - ROW * 0.31), (*to, middle + ROW * 0.31)];
            chart.plotting_area().draw(&Rectangle::new(corners, ink.rgba().filled()))?;
        }
        let place = pixel((left - 4.0, top + middle));
        area.draw(&Text::new(names[row].as_str(), place, name_style.clone()))?;
        let place = pixel((right, top + middle));
        area.draw(&Text::new(totals[row].as_str(), place, total_style.clone()))?;
    }
    frame.draw_x(&area, &chart)?;
    Ok(frame.bottom() + X_ROOM)
}
