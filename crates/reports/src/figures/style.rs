//! Colours, markers and line styles of figures, by name.
//!
//! An aggregator or a reward looks the same in every figure. What has both takes the colour of the
//! aggregator, and the marker and line style of the reward. Names that differ in further settings alone
//! take the next free colour. Upper bounds are grey. Colours are those of Okabe and Ito and of Tol;
//! markers and line styles tell lines apart in grey and for colour-blind readers.

/// A colour, with its variant on a dark page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hue {
    pub(super) light: &'static str,
    pub(super) dark: &'static str,
}

impl Hue {
    /// Returns red, green and blue on a white page.
    pub(super) fn rgb(self) -> (u8, u8, u8) {
        let value = u32::from_str_radix(&self.light[1..], 16).expect("a colour is hexadecimal");
        let [_, red, green, blue] = value.to_be_bytes();
        (red, green, blue)
    }
}

const fn hue(light: &'static str, dark: &'static str) -> Hue {
    Hue { light, dark }
}

const BLUE: Hue = hue("#0072b2", "#56b4e9");
const VERMILLION: Hue = hue("#d55e00", "#ff8c42");
const GREEN: Hue = hue("#009e73", "#3ddbab");
const WINE: Hue = hue("#882255", "#e07bb0");
const ORANGE: Hue = hue("#e69f00", "#ffc14d");
const INDIGO: Hue = hue("#332288", "#a79cf5");
const PINK: Hue = hue("#cc79a7", "#f2a9cf");
const BROWN: Hue = hue("#7a4a1e", "#d3a074");
const OLIVE: Hue = hue("#8a7a00", "#d6c545");
const SLATE: Hue = hue("#4d5b6a", "#b3c0cc");
/// The colour of upper bounds.
pub(super) const GREY: Hue = hue("#8c8c8c", "#9c9c9c");
/// Every colour; all but the last stand for methods.
pub(super) const HUES: [Hue; 11] =
    [BLUE, VERMILLION, GREEN, WINE, ORANGE, INDIGO, PINK, BROWN, OLIVE, SLATE, GREY];

/// The shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Marker {
    Circle,
    Square,
    TriangleUp,
    Diamond,
    TriangleDown,
    Ring,
    Cross,
    Plus,
}
use Marker::{Circle, Cross, Diamond, Plus, Ring, Square, TriangleDown, TriangleUp};

const MARKERS: [Marker; 8] = [Circle, Square, TriangleUp, Diamond, TriangleDown, Ring, Cross, Plus];

/// The style of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
    Mixed,
    Long,
}
use Dash::{Dashed, Dotted, Long, Mixed, Solid};

const DASHES: [Dash; 5] = [Solid, Dashed, Dotted, Mixed, Long];

impl Dash {
    /// Returns SVG's dash pattern in points; empty for a solid line.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Solid => "",
            Dashed => "4 2",
            Dotted => "1.2 1.8",
            Mixed => "5 1.8 1.2 1.8",
            Long => "8 2.5",
        }
    }
}

/// The look of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) hue: Hue,
    pub(super) marker: Marker,
    pub(super) dash: Dash,
}

const fn style(hue: Hue, marker: Marker, dash: Dash) -> Style {
    Style { hue, marker, dash }
}

const AGGREGATORS: [(&str, Style); 11] = [
    ("synthesis", style(BLUE, Circle, Solid)),
    ("majority", style(VERMILLION, Square, Dashed)),
    ("self-bon", style(GREEN, TriangleUp, Dotted)),
    ("mutual-predictability", style(WINE, Diamond, Mixed)),
    ("min-ppl", style(PINK, TriangleDown, Long)),
    ("weighted-majority", style(ORANGE, Plus, Dashed)),
    ("judge-bon", style(INDIGO, Cross, Dotted)),
    ("medoid", style(BROWN, Ring, Mixed)),
    ("single", style(SLATE, Ring, Long)),
    ("initial policy", style(SLATE, Plus, Solid)),
    ("oracle", style(GREY, Circle, Dashed)),
];

const REWARDS: [(&str, Style); 13] = [
    ("answer-match", style(BLUE, Circle, Dashed)),
    ("rubric", style(GREEN, Square, Solid)),
    ("judge", style(INDIGO, Diamond, Dashed)),
    ("rubric-from-question", style(OLIVE, TriangleUp, Mixed)),
    ("rubric-likert", style(PINK, Ring, Dotted)),
    ("judge-scalar", style(WINE, TriangleDown, Long)),
    ("margin", style(ORANGE, Square, Dotted)),
    ("constant", style(SLATE, Square, Long)),
    ("random", style(BROWN, Cross, Dotted)),
    ("format", style(VERMILLION, Plus, Mixed)),
    ("length-penalty", style(ORANGE, TriangleDown, Solid)),
    ("ground-truth", style(GREY, Circle, Mixed)),
    ("physician-rubric", style(GREY, Diamond, Dotted)),
];

fn known(names: &[(&str, Style)], name: &str) -> Option<Style> {
    names.iter().find(|(known, _)| *known == name).map(|(_, style)| *style)
}

fn known_reward(label: &str) -> Option<Style> {
    known(&REWARDS, label.strip_suffix(" reward").unwrap_or(label))
}

/// Returns the style of a label such as `synthesis, rubric reward`, before names of one figure are
/// told apart.
fn base_style(label: &str, is_bound: bool) -> Style {
    let parts = || label.split(", ");
    let aggregator = parts().find_map(|part| known(&AGGREGATORS, part));
    let reward = parts().find_map(known_reward);
    let style = match (aggregator, reward) {
        (Some(Style { hue, .. }), Some(Style { marker, dash, .. })) => Style { hue, marker, dash },
        (Some(style), None) | (None, Some(style)) => style,
        (None, None) => {
            // FNV-1a, so that an unknown name keeps its look too.
            let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
            let hash = label.bytes().fold(0x811c_9dc5, mix) as usize;
            let hue = HUES[hash % (HUES.len() - 1)];
            let (marker, dash) =
                (MARKERS[hash / 16 % MARKERS.len()], DASHES[hash / 256 % DASHES.len()]);
            Style { hue, marker, dash }
        }
    };
    if is_bound { Style { hue: GREY, ..style } } else { style }
}

/// Returns the style of each label of a figure, with whether it is an upper bound. No two agree in
/// marker and line style, and methods differ in colour as long as there are enough.
pub(super) fn styles<'n>(labels: impl IntoIterator<Item = (&'n str, bool)>) -> Vec<Style> {
    let labels: Vec<(&str, bool)> = labels.into_iter().collect();
    // Names with a look of their own keep it, whatever comes before them.
    let own = |label: &str| known(&AGGREGATORS, label).or_else(|| known_reward(label));
    let mut taken: Vec<Style> = labels
        .iter()
        .filter(|(_, is_bound)| !is_bound)
        .filter_map(|(label, _)| own(label))
        .collect();
    let mut found = Vec::new();
    for (label, is_bound) in labels {
        let mut style = base_style(label, is_bound);
        if !is_bound && own(label).is_some() {
            found.push(style);
            continue;
        }
        let is_new_hue = |hue: Hue| taken.iter().all(|known| known.hue != hue);
        if !is_bound && !is_new_hue(style.hue) {
            let free = HUES[..HUES.len() - 1].iter().find(|hue| is_new_hue(**hue));
            style.hue = free.copied().unwrap_or(style.hue);
        }
        let is_free = |marker, dash| taken.iter().all(|t| (t.marker, t.dash) != (marker, dash));
        if !is_free(style.marker, style.dash) {
            let pairs = (0..MARKERS.len() * DASHES.len()).map(|i| {
                (MARKERS[i % MARKERS.len()], DASHES[(i + i / MARKERS.len()) % DASHES.len()])
            });
            let free = pairs.into_iter().find(|(marker, dash)| is_free(*marker, *dash));
            (style.marker, style.dash) = free.unwrap_or((style.marker, style.dash));
        }
        taken.push(style);
        found.push(style);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the relative luminance of WCAG 2.
    fn luminance(color: &str) -> f64 {
        let channel = |at: usize| {
            let value =
                u8::from_str_radix(&color[at..at + 2], 16).expect("a colour is hexadecimal");
            let share = f64::from(value) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: f64, b: f64) -> f64 {
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_stands_out_from_the_page_it_is_on() {
        for Hue { light, dark } in HUES {
            let on_white = contrast(luminance(light), 1.0);
            assert!(on_white >= 2.1, "{light} on white: {on_white:.2}");
            let on_dark = contrast(luminance(dark), luminance("#16181c"));
            assert!(on_dark >= 5.0, "{dark} on dark: {on_dark:.2}");
        }
    }

    #[test]
    fn known_names_differ_without_their_colours() {
        for names in [&AGGREGATORS[..], &REWARDS[..]] {
            for (i, (name, a)) in names.iter().enumerate() {
                for (other, b) in &names[..i] {
                    let pair = |style: &Style| (style.marker, style.dash);
                    let in_grey = contrast(luminance(a.hue.light), luminance(b.hue.light));
                    assert!(pair(a) != pair(b) || in_grey > 1.5, "{name} and {other}");
                }
            }
        }
    }

    #[test]
    fn a_name_looks_the_same_in_every_company() {
        let alone = styles([("synthesis", false)])[0];
        let among = styles([("majority", false), ("self-bon", false), ("synthesis", false)]);
        assert_eq!((alone, alone.hue, alone.marker), (among[2], BLUE, Circle));
        let unknown = styles([("majority", false), ("of-our-own", false)])[1];
        assert_eq!(unknown, styles([("of-our-own", false)])[0]);
        let after = styles([("synthesis-of-one", false), ("another", false), ("majority", false)]);
        assert_eq!(after[2].hue, VERMILLION);
        assert!(after[0].hue != VERMILLION && after[1].hue != VERMILLION);
    }

    #[test]
    fn settings_of_one_method_are_told_apart() {
        let names =
            ["0.1", "0.2", "0.3", "0.4"].map(|x| format!("rubric reward, judge error rate {x}"));
        let found = styles(names.iter().map(|name| (name.as_str(), false)));
        assert_eq!(found[0], known(&REWARDS, "rubric").unwrap());
        for (i, a) in found.iter().enumerate() {
            for b in &found[..i] {
                assert!(a.hue != b.hue && (a.marker, a.dash) != (b.marker, b.dash));
            }
        }
        let both = styles([("synthesis, rubric reward", false), ("synthesis, judge reward", true)]);
        assert_eq!(both[0], style(BLUE, Square, Solid));
        assert_eq!(both[1], style(GREY, Diamond, Dashed));
    }
}
