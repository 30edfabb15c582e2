//! Form of written pseudo-references beside that of the rollouts they were made from: the ratio of
//! their means.

use std::path::Path;

use super::bars::{Bar, Bars};
use super::canvas::{Figure, Sheet, Words};
use super::score_rows::by_setting;
use crate::Error;
use crate::columns::heading;
use crate::file::file_name;
use crate::number::format_number;
use crate::table::ReadTable;

const MEASURES: [&str; 6] =
    ["characters", "words", "lines", "equations", "step_words", "verification_cues"];
/// The source of the row that others are compared with.
const ROLLOUTS: &str = "rollouts";

struct Row {
    setting: String,
    source: String,
    texts: Option<f64>,
    means: [Option<f64>; 6],
}

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "structure")? else {
        return Ok(Vec::new());
    };
    let mut drawn = Vec::new();
    for (setting, rows) in by_setting(read(&table)?, |row| &row.setting) {
        let Some(rollouts) = rows.iter().find(|row| row.source == ROLLOUTS) else { continue };
        let written = || rows.iter().filter(|row| row.source != ROLLOUTS);
        let several = written().count() > 1;
        let bars: Vec<Bar> = written()
            .flat_map(|row| (0..MEASURES.len()).filter_map(move |i| bar(row, rollouts, i, several)))
            .collect();
        let texts = |row: &Row| row.texts.map_or_else(|| "-".to_owned(), format_number);
        let footer = written().map(|row| format!("{} texts of {}", texts(row), row.source));
        let footer = footer.chain([format!("{} rollouts", texts(rollouts))]);
        let words = Words {
            name: format!("structure-{}", file_name(&setting)),
            title: format!("How do written pseudo-references differ in form on {setting}?"),
            caption:
                "Means of written pseudo-references over those of the rollouts of the same groups."
                    .to_owned(),
            footer: footer.collect::<Vec<_>>().join(", "),
        };
        let (axis, text) = ("ratio to the rollouts (1: the same)", "written : rollouts");
        drawn.extend(Bars { words, axis, text, origin: 1.0, shown: (0.8, 1.2), bars }.save(sheet)?);
    }
    Ok(drawn)
}

fn bar(row: &Row, rollouts: &Row, i: usize, several: bool) -> Option<Bar> {
    let (mean, base) = (row.means[i]?, rollouts.means[i].filter(|base| *base > 0.0)?);
    let measure = heading(MEASURES[i]);
    Some(Bar {
        name: if several { format!("{}, {measure}", row.source) } else { measure },
        value: mean / base,
        low: mean / base,
        high: mean / base,
        text: format!("{} : {}", format_number(mean), format_number(base)),
        label: row.source.clone(),
        is_bound: false,
    })
}

fn read(table: &ReadTable) -> Result<Vec<Row>, Error> {
    let (benchmarks, models) = (table.texts("benchmark")?, table.texts("model")?);
    let sources = table.texts("source")?;
    let sizes = table.texts("group_size")?;
    let texts = table.numbers("texts")?;
    let columns = MEASURES.map(|name| table.numbers_if_there(name));
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    // Axes between the model and the group size tell settings apart.
    let header = table.header();
    let axes = header.iter().skip_while(|name| *name != "model").skip(1);
    let axes: Vec<&String> = axes.take_while(|name| *name != "group_size").collect();
    let axes = axes.into_iter().map(|name| table.texts(name)).collect::<Result<Vec<_>, _>>()?;
    let has_sizes = sizes.iter().any(|size| *size != sizes[0]);
    let row = |i: usize| {
        let mut parts = vec![benchmarks[i].clone(), models[i].clone()];
        parts.extend(axes.iter().map(|values| values[i].clone()).filter(|value| !value.is_empty()));
        parts.extend(has_sizes.then(|| format!("groups of {}", sizes[i])));
        Row {
            setting: parts.join(", "),
            source: sources[i].clone(),
            texts: texts[i],
            means: std::array::from_fn(|column| columns[column][i]),
        }
    };
    Ok((0..sources.len()).map(row).collect())
}
