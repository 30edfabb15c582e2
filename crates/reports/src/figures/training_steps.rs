//! Measures of training steps: one panel per measure. Lines are means over seeds; bands reach from
//! the lowest seed to the highest.
//!
//! - `training-steps`: rewards, scores, KL divergence, lengths and gradients.
//! - `diversity`: different answers, entropy, disagreement of pseudo-references with the majority.
//! - `reward-and-truth`: for each policy the reward that it is trained on beside the score against labels or,
//!   where judges grade, the training judge beside the evaluation judge.

use std::collections::BTreeSet;
use std::path::Path;

use preceptor_core::{Better, StepMeasure};

use super::axes::{Axis, Scale};
use super::canvas::{Figure, Sheet, Words};
use super::lines::{Line, Panel, Panels, Range};
use super::scene::Scene;
use super::score_rows::count_range;
use super::style::{Style, styles};
use super::training_table::{PanelRows, read_panels, step_range};
use crate::Error;
use crate::condition::TRAINED_ON;
use crate::table::ReadTable;

const STEPS: [StepMeasure; 6] = [
    StepMeasure::RewardMean,
    StepMeasure::ScoreMean,
    StepMeasure::ReferenceScore,
    StepMeasure::Kl,
    StepMeasure::TokensMean,
    StepMeasure::GradientNorm,
];
const DIVERSITY: [StepMeasure; 4] = [
    StepMeasure::UniqueAnswers,
    StepMeasure::Entropy,
    StepMeasure::ReferenceDiffers,
    StepMeasure::GroupsVaried,
];
/// The most policies that `reward-and-truth` has panels for.
const MOST_PANELS: usize = 8;

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let Some(steps) = ReadTable::read_if_there(tables, "training_steps")? else {
        return Ok(Vec::new());
    };
    let mut bounds = BTreeSet::new();
    if let Some(scores) = ReadTable::read_if_there(tables, "training_scores")? {
        let named = scores.texts(TRAINED_ON)?.into_iter();
        let named = named.zip(scores.texts_if_there("sees_labels")?);
        bounds.extend(named.filter(|(_, sees)| !sees.is_empty()).map(|(name, _)| name));
    }
    let rows = read_panels(&steps, "measure", "mean", &bounds)?;
    let lines = || rows.iter().flat_map(|panel| &panel.lines);
    if lines().all(|line| line.points.len() < 2) {
        return Ok(Vec::new());
    }
    let x = Axis::new("training step", Scale::Whole, step_range(lines()));
    let seeds = count_range(&steps.numbers("seeds")?, "seed");
    let footer = format!("{seeds}; bands from the lowest to the highest seed");
    let draw_one = |name: &str, title: &str, caption: &str, panels: Vec<Panel>, is_shared: bool| {
        if panels.is_empty() {
            return Ok(None);
        }
        let least = is_shared.then_some((0.0, 1.0));
        let panels = Panels { x: x.clone(), range: Range::Band, is_shared, least, panels };
        let mut scene = Scene::default();
        let top = sheet.title(&mut scene, title);
        let bottom = panels.draw(&mut scene, sheet, top)?;
        let (name, title) = (name.to_owned(), title.to_owned());
        let words = Words { name, title, caption: caption.to_owned(), footer: footer.clone() };
        sheet.save(scene, bottom, words).map(Some)
    };
    let grey = "Means over seeds. Grey: trained on labels.";
    let (truth, is_judged) = reward_and_truth(&rows);
    let caption = if is_judged {
        "The reward is the training judge's, the score the evaluation judge's."
    } else {
        "The score is against labels, which training does not see."
    };
    let question = "Does the reward rise together with the true score?";
    let figures = [
        draw_one("reward-and-truth", question, caption, truth, true)?,
        draw_one(
            "training-steps",
            "How do the training steps go?",
            grey,
            measures(&rows, &STEPS),
            false,
        )?,
        draw_one(
            "diversity",
            "Does training narrow the answers?",
            grey,
            measures(&rows, &DIVERSITY),
            false,
        )?,
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// Returns a panel for each measure that has values other than 0.
fn measures(rows: &[PanelRows], measures: &[StepMeasure]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for measure in measures {
        for PanelRows { benchmark, lines, .. } in
            rows.iter().filter(|rows| rows.value == measure.name())
        {
            if lines.iter().flat_map(|line| &line.points).all(|point| point.mean == 0.0) {
                continue;
            }
            let better = match measure.better() {
                Better::Neither => String::new(),
                better => format!(" ({} is better)", better.name()),
            };
            let parts = [benchmark.as_str(), measure.label()];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let unit = if measure.unit().is_empty() { measure.label() } else { measure.unit() };
            let title = format!("{}{better}", parts.join(", "));
            panels.push(Panel { title, y: unit.to_owned(), lines: lines.clone() });
        }
    }
    panels
}

/// Returns a panel for each policy with its reward and its score, and whether judges give them.
fn reward_and_truth(rows: &[PanelRows]) -> (Vec<Panel>, bool) {
    let of = |measure: StepMeasure| rows.iter().filter(move |rows| rows.value == measure.name());
    let rewards = || of(StepMeasure::RewardMean).flat_map(|rows| &rows.lines);
    let is_judged =
        rewards().any(|line| line.name.contains("rubric") || line.name.contains("judge"));
    let names = if is_judged {
        ["reward (training judge)", "score (evaluation judge)"]
    } else {
        ["reward", "score"]
    };
    let looks = styles([("majority", false), ("synthesis", false)]);
    let mut panels = Vec::new();
    for rows in of(StepMeasure::RewardMean) {
        let scores = of(StepMeasure::ScoreMean).find(|other| other.benchmark == rows.benchmark);
        for reward in &rows.lines {
            let score = scores.and_then(|of| of.lines.iter().find(|line| line.name == reward.name));
            let Some(score) = score else { continue };
            let line = |name: &str, style: Style, line: &Line| Line {
                name: name.to_owned(),
                style,
                points: line.points.clone(),
                chosen: Vec::new(),
            };
            let lines = vec![line(names[0], looks[0], reward), line(names[1], looks[1], score)];
            let parts = [rows.benchmark.as_str(), reward.name.as_str()];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            panels.push(Panel {
                title: parts.join(", "),
                y: "mean over rollouts".to_owned(),
                lines,
            });
        }
    }
    panels.truncate(MOST_PANELS);
    (panels, is_judged)
}
