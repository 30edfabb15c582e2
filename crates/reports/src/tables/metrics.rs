//! `metrics`: every number of the other tables, one row each.
//!
//! `table` and `condition` (the columns of text, as `name=value` with semicolons between) say what the value is
//! about, with `split`, `step` and `seed` where the table has them. `metric` is the column, after the measure
//! where the table has one (`kl.mean`). `value` has its `low` and `high`, and its `unit`.

use crate::columns::unit_of;
use crate::shown::interval;
use crate::table::{Table, Values};

/// Columns of text that name the metric.
const NAMES: [&str; 4] = ["measure", "metric", "phase", "what"];
/// Columns that have a column of their own.
const OWN: [&str; 3] = ["split", "step", "seed"];

#[derive(Default)]
struct Rows {
    texts: [Vec<String>; 5],
    steps: Vec<Option<u64>>,
    seeds: Vec<Option<u64>>,
    values: [Vec<Option<f64>>; 3],
}

pub(crate) fn metrics(tables: &[Table]) -> Table {
    let mut rows = Rows::default();
    for table in tables {
        for row in 0..table.height() {
            add_row(table, row, &mut rows);
        }
    }
    let caption = "Every number of the report, one row each";
    let mut table = Table::new("metrics", caption);
    let [names, conditions, splits, metrics, units] = rows.texts;
    let [values, lows, highs] = rows.values;
    table.text("table", names);
    table.text("condition", conditions);
    table.text("split", splits);
    table.optional_count("step", rows.steps);
    table.optional_count("seed", rows.seeds);
    table.text("metric", metrics);
    table.number("value", values);
    table.number("low", lows);
    table.number("high", highs);
    table.text("unit", units);
    table
}

fn add_row(table: &Table, row: usize, rows: &mut Rows) {
    let text = |name: &str| {
        let column = table.columns().iter().find(|(known, _)| known == name);
        match column {
            Some((_, Values::Text(values))) => values[row].clone(),
            _ => String::new(),
        }
    };
    let count = |name: &str| {
        let column = table.columns().iter().find(|(known, _)| known == name);
        match column {
            Some((_, Values::Count(values))) => values[row],
            _ => None,
        }
    };
    let is_identity = |name: &str| !NAMES.contains(&name) && !OWN.contains(&name);
    let identity = table.columns().iter().filter_map(|(name, values)| match values {
        Values::Text(values) if is_identity(name) && !values[row].is_empty() => {
            Some(format!("{name}={}", values[row]))
        }
        _ => None,
    });
    let condition = identity.collect::<Vec<_>>().join("; ");
    let measure = NAMES.iter().map(|name| text(name)).find(|name| !name.is_empty());
    let mut rest = table.columns();
    while let Some(((name, values), mut after)) = rest.split_first() {
        let (value, ends) = match values {
            Values::Number(means) => match interval(name, after) {
                Some((lows, highs)) => {
                    after = &after[2..];
                    (means[row], (lows[row], highs[row]))
                }
                None => (means[row], (None, None)),
            },
            Values::Count(counts) if is_identity(name) => {
                (counts[row].map(|count| count as f64), (None, None))
            }
            _ => (None, (None, None)),
        };
        rest = after;
        let Some(value) = value else { continue };
        let metric = match &measure {
            Some(measure) => format!("{measure}.{name}"),
            None => name.clone(),
        };
        let unit = unit_of(name).to_owned();
        let texts = [table.name.to_owned(), condition.clone(), text("split"), metric, unit];
        for (column, text) in rows.texts.iter_mut().zip(texts) {
            column.push(text);
        }
        rows.steps.push(count("step"));
        rows.seeds.push(count("seed"));
        for (column, number) in rows.values.iter_mut().zip([Some(value), ends.0, ends.1]) {
            column.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_row() {
        let mut scores = Table::new("scores", "");
        scores.text("aggregator", vec!["synthesis".to_owned()]);
        scores.number("score", vec![Some(0.5)]);
        scores.number("low", vec![Some(0.4)]);
        scores.number("high", vec![Some(0.6)]);
        scores.number("missing", vec![None]);
        scores.count("prompts", vec![12]);
        let mut steps = Table::new("training_steps", "");
        steps.text("measure", vec!["kl".to_owned()]);
        steps.count("step", vec![3]);
        steps.number("mean", vec![Some(0.1)]);
        let table = metrics(&[scores, steps]);
        let rows: Vec<Vec<String>> = (0..table.height())
            .map(|row| table.shown().iter().map(|column| column.cells[row].clone()).collect())
            .collect();
        let as_text: Vec<String> = rows.iter().map(|row| row.join(" | ")).collect();
        assert_eq!(
            as_text,
            [
                "scores | aggregator=synthesis |  | - | - | score | 0.500 [0.400, 0.600] | ",
                "scores | aggregator=synthesis |  | - | - | prompts | 12 | prompts",
                "training_steps |  |  | 3 | - | kl.mean | 0.100 | ",
            ]
        );
    }
}
