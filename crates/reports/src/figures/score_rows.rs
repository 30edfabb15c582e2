//! Rows of tables, as figures need them.

use crate::Error;
use crate::condition::{ANY, estimate_name, setting_name};
use crate::label::{GROUP_SIZE, rewarded_label};
use crate::table::ReadTable;

/// A row of the `scores` table.
#[derive(Clone, Debug)]
pub(super) struct ScoreRow {
    pub(super) setting: String,
    pub(super) aggregator: String,
    pub(super) group_size: u32,
    pub(super) score: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) is_bound: bool,
    /// Its rank, or the reason why it has none.
    pub(super) standing: String,
    /// True if its policies are trained.
    pub(super) is_trained: bool,
    pub(super) prompts: u32,
    pub(super) seeds: u32,
    /// The share of expected scores that are present.
    pub(super) coverage: f64,
    pub(super) grader: String,
}

/// The condition of a table's row, read from the columns before the first of `ends`.
pub(super) struct Subject {
    /// Benchmark and other axes.
    pub(super) setting: String,
    /// The aggregator with the settings in which it differs.
    pub(super) aggregator: String,
    /// The reward, where rows differ in it.
    reward: Option<String>,
    pub(super) group_size: Option<u32>,
}

pub(super) fn subjects(table: &ReadTable, ends: &[&str]) -> Result<Vec<Subject>, Error> {
    let header = table.header();
    let is_key = |name: &&String| !ends.contains(&name.as_str());
    let keys: Vec<&String> = header.iter().take_while(is_key).collect();
    let columns = keys.iter().map(|key| table.texts(key)).collect::<Result<Vec<_>, _>>()?;
    let height = columns.first().map_or(0, Vec::len);
    let subject = |row: usize| {
        let identity: Vec<(String, String)> = keys
            .iter()
            .zip(&columns)
            .map(|(key, column)| ((*key).clone(), column[row].clone()))
            .collect();
        let group_size = identity.iter().find(|(key, _)| key == GROUP_SIZE);
        let reward = identity.iter().find(|(key, value)| key == "reward" && value != ANY);
        Subject {
            setting: setting_name(&identity),
            aggregator: estimate_name(&identity),
            reward: reward.map(|(_, reward)| reward.clone()),
            group_size: group_size.and_then(|(_, value)| value.parse().ok()),
        }
    };
    Ok((0..height).map(subject).collect())
}

pub(super) fn read_scores(table: &ReadTable) -> Result<Vec<ScoreRow>, Error> {
    let texts = |name| table.texts(name);
    let (standing, grader) = (texts("standing")?, texts("grader")?);
    let (mean, low, high) =
        (table.numbers("score")?, table.numbers("low")?, table.numbers("high")?);
    let (prompts, seeds) = (table.numbers("prompts")?, table.numbers("seeds")?);
    let coverage = table.numbers("coverage")?;
    let is_trained = table.has("training_se");
    let mut subjects = subjects(table, &["score"])?;
    let key = |subject: &Subject| {
        (subject.setting.clone(), subject.aggregator.clone(), subject.group_size)
    };
    let keys: Vec<_> = subjects.iter().map(key).collect();
    for (subject, key) in subjects.iter_mut().zip(&keys) {
        // Rows that differ only in their reward belong to policies trained on it.
        let is_alone = keys.iter().filter(|other| *other == key).count() == 1;
        if let (false, Some(reward)) = (is_alone, &subject.reward) {
            subject.aggregator = rewarded_label(&subject.aggregator, reward);
        }
    }
    let row = |(i, subject): (usize, Subject)| {
        let score = mean[i]?;
        Some(ScoreRow {
            setting: subject.setting,
            aggregator: subject.aggregator,
            group_size: subject.group_size?,
            score,
            low: low[i].unwrap_or(score),
            high: high[i].unwrap_or(score),
            is_bound: standing[i] == "upper bound",
            standing: standing[i].clone(),
            is_trained,
            prompts: prompts[i]? as u32,
            seeds: seeds[i]? as u32,
            coverage: coverage[i]?,
            grader: grader[i].clone(),
        })
    };
    Ok(subjects.into_iter().enumerate().filter_map(row).collect())
}

/// Groups rows by `of`, in the order of their first row.
pub(super) fn by_setting<R>(rows: Vec<R>, of: impl Fn(&R) -> &String) -> Vec<(String, Vec<R>)> {
    let mut parts: Vec<(String, Vec<R>)> = Vec::new();
    for row in rows {
        match parts.iter_mut().find(|(setting, _)| setting == of(&row)) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((of(&row).clone(), vec![row])),
        }
    }
    parts
}

/// Groups rows of scores that a figure compares: by setting or, where a setting of a benchmark has a single
/// row at the largest group, by benchmark, with the rest of the setting in their names.
pub(super) fn compared(rows: Vec<ScoreRow>) -> Vec<(String, Vec<ScoreRow>)> {
    let settings = by_setting(rows, |row| &row.setting);
    let benchmark = |setting: &str| setting.split(", ").next().unwrap_or_default().to_owned();
    let is_alone = |rows: &[ScoreRow]| at_largest(rows).len() == 1;
    let of_one: Vec<String> = settings
        .iter()
        .filter(|(setting, rows)| setting.contains(", ") && is_alone(rows))
        .map(|(setting, _)| benchmark(setting))
        .collect();
    let rows = settings.into_iter().flat_map(|(_, rows)| rows).map(|mut row| {
        if let Some((first, rest)) = row.setting.clone().split_once(", ")
            && of_one.iter().any(|known| known == first)
        {
            row.aggregator = format!("{}, {rest}", row.aggregator);
            row.setting = first.to_owned();
        }
        row
    });
    by_setting(rows.collect(), |row| &row.setting)
}

/// Returns the rows of the largest group.
pub(super) fn at_largest(rows: &[ScoreRow]) -> Vec<ScoreRow> {
    let largest = rows.iter().map(|row| row.group_size).max().unwrap_or(1);
    rows.iter().filter(|row| row.group_size == largest).cloned().collect()
}

/// Returns a sentence's first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

/// Returns the line under a figure of scores: sample sizes and graders of all its rows.
pub(super) fn footer(rows: &[ScoreRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let counts = |of: fn(&ScoreRow) -> u32| {
        rows.iter().map(|row| Some(f64::from(of(row)))).collect::<Vec<_>>()
    };
    let mut graders: Vec<&str> = rows.iter().map(|row| row.grader.as_str()).collect();
    graders.sort_unstable();
    graders.dedup();
    let is_trained = rows.iter().any(|row| row.is_trained);
    let over = if is_trained { "training runs and prompts" } else { "prompts" };
    let missing = match rows.iter().filter(|row| row.low == row.high).count() {
        0 => "",
        _ => " (none for too few prompts or a single training run)",
    };
    format!(
        "{}, {}, grader {}, 95% intervals over {over}{missing}",
        count_range(&counts(|row| row.prompts), "prompt"),
        count_range(&counts(|row| row.seeds), "seed"),
        graders.join(" and "),
    )
}

/// Returns the range of some counts with their unit, for example `1 to 3 seeds`.
pub(super) fn count_range(counts: &[Option<f64>], unit: &str) -> String {
    let fold = |pick: fn(f64, f64) -> f64| counts.iter().copied().flatten().reduce(pick);
    let (least, most) = (fold(f64::min).unwrap_or(0.0), fold(f64::max).unwrap_or(0.0));
    let range = if least == most { format!("{most}") } else { format!("{least} to {most}") };
    if most == 1.0 { format!("{range} {unit}") } else { format!("{range} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompts: u32, seeds: u32, grader: &str) -> ScoreRow {
        ScoreRow {
            setting: String::new(),
            aggregator: String::new(),
            group_size: 8,
            score: 0.5,
            low: 0.4,
            high: 0.6,
            is_bound: false,
            standing: String::new(),
            is_trained: false,
            prompts,
            seeds,
            coverage: 1.0,
            grader: grader.to_owned(),
        }
    }

    #[test]
    fn the_footer_is_of_every_bar() {
        let rows = [row(128, 3, "verify-1"), row(128, 1, "verify-1"), row(64, 2, "string-1")];
        assert_eq!(
            footer(&rows),
            "64 to 128 prompts, 1 to 3 seeds, grader string-1 and verify-1, 95% intervals over prompts"
        );
        assert_eq!(
            footer(&rows[1..2]),
            "128 prompts, 1 seed, grader verify-1, 95% intervals over prompts"
        );
    }
}
