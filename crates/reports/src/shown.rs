//! Columns of a table as readers see them.

use crate::columns::{NumberKind, heading, help, kind_of};
use crate::number::{format_difference, format_number, format_p_value, format_percent, format_usd};
use crate::table::Values;

/// A column of pages and papers.
#[derive(Clone, Debug)]
pub(crate) struct ShownColumn {
    /// The name in CSV.
    pub(crate) name: String,
    pub(crate) heading: String,
    /// Explains the column.
    pub(crate) help: String,
    /// True if it is aligned left.
    pub(crate) is_text: bool,
    pub(crate) cells: Vec<String>,
    /// The values that the column is sorted by, where they are not the cells.
    pub(crate) sort: Vec<Option<f64>>,
}

impl ShownColumn {
    pub(crate) fn new(name: &str, values: &Values) -> Self {
        let (cells, sort) = match values {
            Values::Text(values) => (values.clone(), Vec::new()),
            Values::Count(values) => {
                let cell =
                    |value: &Option<u64>| value.map_or_else(missing, |count| count.to_string());
                (
                    values.iter().map(cell).collect(),
                    values.iter().map(|v| v.map(|n| n as f64)).collect(),
                )
            }
            Values::Number(values) => {
                let format = format_of(name);
                let cell = |value: &Option<f64>| value.map_or_else(missing, format);
                (values.iter().map(cell).collect(), values.clone())
            }
        };
        let is_text = matches!(values, Values::Text(_));
        Self {
            name: name.to_owned(),
            heading: heading(name),
            help: help(name),
            is_text,
            cells,
            sort,
        }
    }

    /// Returns a column of means with their 95% intervals.
    pub(crate) fn with_interval(
        name: &str,
        means: &[Option<f64>],
        (lows, highs): (&[Option<f64>], &[Option<f64>]),
    ) -> Self {
        let format = format_of(name);
        let cell = |i: usize| match (means[i], lows[i], highs[i]) {
            (Some(mean), Some(low), Some(high)) => {
                format!("{} [{}, {}]", format(mean), format(low), format(high))
            }
            (Some(mean), ..) => format(mean),
            _ => missing(),
        };
        let has_any = lows.iter().any(Option::is_some);
        let note = if has_any { "; in brackets the 95% interval" } else { "" };
        Self {
            name: name.to_owned(),
            heading: heading(name),
            help: format!("{}{note}", help(name)),
            is_text: false,
            cells: (0..means.len()).map(cell).collect(),
            sort: means.to_vec(),
        }
    }

    /// Returns whether all rows have the same text.
    pub(crate) fn is_constant(&self) -> bool {
        self.cells.iter().all(|cell| *cell == self.cells[0])
    }
}

fn missing() -> String {
    "-".to_owned()
}

fn format_of(name: &str) -> fn(f64) -> String {
    match kind_of(name) {
        NumberKind::Plain => format_number,
        NumberKind::Signed => format_difference,
        NumberKind::PValue => format_p_value,
        NumberKind::Usd => format_usd,
        NumberKind::Percent => format_percent,
    }
}

type Numbers<'v> = &'v [Option<f64>];

/// Returns the ends of the interval of a column, if these are the next two columns.
pub(crate) fn interval<'v>(
    name: &str,
    after: &'v [(String, Values)],
) -> Option<(Numbers<'v>, Numbers<'v>)> {
    let [(low, Values::Number(lows)), (high, Values::Number(highs)), ..] = after else {
        return None;
    };
    let own = [format!("{name}_low"), format!("{name}_high")];
    let is_own = (low, high) == (&own[0], &own[1]);
    (is_own || (low == "low" && high == "high")).then_some((lows, highs))
}

#[cfg(test)]
mod tests {
    use crate::table::Table;

    #[test]
    fn a_mean_and_its_interval_are_one_cell() {
        let mut table = Table::new("demo", "");
        table.text("aggregator", vec!["synthesis".to_owned(), "majority".to_owned()]);
        for (name, values) in [
            ("score", [Some(0.995), Some(0.5)]),
            ("low", [Some(0.981), None]),
            ("high", [Some(0.999), None]),
            ("gain", [Some(0.2), Some(-0.1)]),
            ("relative_gain", [Some(0.27), None]),
            ("p_holm", [Some(1e-9), Some(0.5)]),
            ("cost_usd", [Some(12.345), Some(0.0)]),
        ] {
            table.number(name, values.to_vec());
        }
        let shown = table.shown();
        let columns: Vec<_> = shown
            .iter()
            .map(|c| (c.heading.as_str(), c.cells[0].as_str(), c.cells[1].as_str()))
            .collect();
        assert_eq!(
            columns,
            [
                ("aggregator", "synthesis", "majority"),
                ("score", "0.995 [0.981, 0.999]", "0.500"),
                ("gain", "+0.200", "-0.100"),
                ("relative gain", "+27.0 %", "-"),
                ("p (Holm)", "<0.001", "0.500"),
                ("USD", "12.35", "0"),
            ]
        );
        assert_eq!(shown[1].sort, [Some(0.995), Some(0.5)]);
    }
}
