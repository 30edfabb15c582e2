//! Tables for papers, in LaTeX that compiles with the font encodings OT1 and T1.
//!
//! A table has what a reader compares: columns that are the same in every row are in the caption, a mean
//! and its interval are one cell, and the best are bold. It is a `table` if it fits a column of a
//! two-column page, else a `table*`, scaled to the width of the text if need be.

use crate::figures::text_width;
use crate::shown::ShownColumn;
use crate::table::Table;
use crate::visible::visible;

/// The most rows of a table for a paper.
const MOST_ROWS: usize = 60;
/// Widths in points of a column and of the text of a two-column page.
const COLUMN: f64 = 237.0;
const TEXT: f64 = 486.0;
/// Size in points at which our font is as wide as LaTeX's `\small`, and the room between columns.
const SIZE: f64 = 9.2;
const SEPARATION: f64 = 6.0;
/// Columns that a paper leaves out.
const LEFT_OUT: [&str; 5] = ["training_se", "evaluation_se", "lowest", "highest", "standing"];

/// The most that a table is scaled down, as a part of the width of the text.
const MOST_SCALED: f64 = 1.5;

/// Returns whether a table is short and narrow enough for a paper.
pub(crate) fn is_for_papers(table: &Table) -> bool {
    if !(1..=MOST_ROWS).contains(&table.height()) {
        return false;
    }
    let shown = table.shown();
    let [_, columns] = same_and_different(&shown, table.height());
    width(&columns) <= MOST_SCALED * TEXT
}

/// Splits the columns of a paper's table into those with the same text in every row, and the others.
fn same_and_different(shown: &[ShownColumn], height: usize) -> [Vec<&ShownColumn>; 2] {
    let has = |name: &str| shown.iter().any(|column| column.name == name);
    let is_said_twice =
        |column: &ShownColumn| column.name == "aggregator.kind" && has("aggregator");
    let is_empty =
        |column: &ShownColumn| column.cells.iter().all(|cell| cell.is_empty() || cell == "-");
    let (same, different) = shown
        .iter()
        .filter(|column| !LEFT_OUT.contains(&column.name.as_str()))
        .filter(|column| !is_said_twice(column) && !is_empty(column))
        .partition(|column| height > 1 && column.is_constant());
    [same, different]
}

/// Returns the width of some columns in points.
fn width(columns: &[&ShownColumn]) -> f64 {
    let of_column = |column: &&ShownColumn| {
        let cells = column.cells.iter().chain([&column.heading]);
        cells.map(|cell| text_width(cell, SIZE)).fold(0.0, f64::max) + SEPARATION
    };
    columns.iter().map(of_column).sum()
}

/// Returns a float with caption and label; it needs `booktabs` and, if it is scaled, `graphicx`.
pub(crate) fn latex(table: &Table) -> String {
    let shown = table.shown();
    let standing = shown.iter().find(|column| column.name == "standing");
    let [same, columns] = same_and_different(&shown, table.height());
    let is_first_number =
        |place: usize| columns.iter().position(|column| !column.is_text) == Some(place);
    let cell = |row: usize, place: usize| {
        let text = escape_latex(&columns[place].cells[row]);
        match standing.map(|standing| standing.cells[row].as_str()) {
            Some("best" | "tied for best") if is_first_number(place) => {
                format!("\\textbf{{{text}}}")
            }
            Some("upper bound") => format!("\\textit{{{text}}}"),
            _ => text,
        }
    };
    let (environment, is_scaled) = match width(&columns) {
        wide if wide <= COLUMN => ("table", false),
        wide => ("table*", wide > TEXT),
    };
    let alignment: String =
        columns.iter().map(|column| if column.is_text { 'l' } else { 'r' }).collect();
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let places = 0..columns.len();
    let mut rows = line(columns.iter().map(|column| escape_latex(&column.heading)).collect());
    rows.push_str("\\midrule\n");
    for row in 0..table.height() {
        rows.push_str(&line(places.clone().map(|place| cell(row, place)).collect()));
    }
    let mut out = format!("\\begin{{{environment}}}\n\\centering\\small\n");
    out.push_str(&format!("\\caption{{{}}}\n", caption(table, &same, standing)));
    out.push_str(&format!("\\label{{tab:{}}}\n", table.name.replace('_', "-")));
    out.push_str("\\setlength{\\tabcolsep}{3pt}\n");
    if is_scaled {
        out.push_str("\\resizebox{\\textwidth}{!}{%\n");
    }
    out.push_str(&format!("\\begin{{tabular}}{{{alignment}}}\n\\toprule\n{rows}"));
    out.push_str("\\bottomrule\n\\end{tabular}");
    out.push_str(if is_scaled { "}\n" } else { "\n" });
    out.push_str(&format!("\\end{{{environment}}}\n"));
    out
}

/// Returns the caption: the table's own, what is the same in every row, and the marks.
fn caption(table: &Table, same: &[&ShownColumn], standing: Option<&ShownColumn>) -> String {
    let own = table.caption.replace(['\n', '`'], " ");
    let mut sentences = vec![escape_latex(own.trim().trim_end_matches('.'))];
    let same: Vec<String> = same
        .iter()
        .map(|column| {
            format!("{} {}", escape_latex(&column.heading), escape_latex(&column.cells[0]))
        })
        .collect();
    if !same.is_empty() {
        sentences.push(format!("In every row: {}", same.join(", ")));
    }
    let stands = |what: &[&str]| {
        standing.is_some_and(|s| s.cells.iter().any(|cell| what.contains(&cell.as_str())))
    };
    if stands(&["best", "tied for best"]) {
        sentences.push("Bold: best or tied for best".to_owned());
    }
    if stands(&["upper bound"]) {
        sentences.push("Italics: upper bounds that see labels".to_owned());
    }
    if table.shown().iter().any(|column| column.cells.iter().any(|cell| cell.contains(" ["))) {
        sentences.push("Brackets: 95\\% intervals".to_owned());
    }
    sentences.join(". ") + "."
}

/// Escapes text so that pdfTeX prints it as written, in OT1 and in T1, without a package. Characters that need
/// another encoding or font are shown as their code points.
pub(crate) fn escape_latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in visible(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            // The straight quote of the typewriter font.
            '"' => out.push_str("\\texttt{\\symbol{34}}"),
            '`' => out.push_str("\\textasciigrave{}"),
            // After `\\` and `\midrule` these would be an argument.
            '[' | ']' | '*' => {
                out.push('{');
                out.push(c);
                out.push('}');
            }
            // Two of these are one sign: a dash or a quote.
            '-' | '\'' | ',' if before == c => {
                out.push_str("{}");
                out.push(c);
            }
            '\n' | '\t' => out.push(' '),
            '±' => out.push_str("$\\pm$"),
            '×' => out.push_str("$\\times$"),
            '·' => out.push_str("$\\cdot$"),
            '−' => out.push_str("$-$"),
            '≤' => out.push_str("$\\leq$"),
            '≥' => out.push_str("$\\geq$"),
            '≠' => out.push_str("$\\neq$"),
            '→' => out.push_str("$\\rightarrow$"),
            '…' => out.push_str("\\ldots{}"),
            '–' => out.push_str("--"),
            '—' => out.push_str("---"),
            '‘' => out.push('`'),
            '’' => out.push('\''),
            '“' => out.push_str("``"),
            '”' => out.push_str("''"),
            '\u{a0}' => out.push('~'),
            c if c.is_ascii() || has_accent(c) => out.push(c),
            c => out.push_str(&format!("{{[}}U+{:04X}{{]}}", u32::from(c))),
        }
        before = c;
    }
    out
}

/// Returns whether OT1 composes the Latin letter from a letter and an accent.
fn has_accent(c: char) -> bool {
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽžŸ".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn a_table_has_what_a_reader_compares() {
        let mut table = Table::new("scores", "Score of \"x\" < y");
        table.text("aggregator", texts(&["synthesis", "self-bon", "oracle"]));
        table.text("aggregator.kind", texts(&["synthesis", "self-bon", "oracle"]));
        table.text("benchmark", texts(&["sums"; 3]));
        for (name, values) in [
            ("score", [Some(0.9), Some(0.9), Some(1.0)]),
            ("low", [Some(0.8), Some(0.8), Some(0.95)]),
            ("high", [Some(0.95), Some(0.95), Some(1.0)]),
            ("training_se", [Some(0.1), None, None]),
        ] {
            table.number(name, values.to_vec());
        }
        table.text("standing", texts(&["best", "", "upper bound"]));
        table.count("prompts", vec![128; 3]);
        insta::assert_snapshot!(latex(&table));
        assert!(latex(&table).starts_with("\\begin{table}"));
    }

    #[test]
    fn a_wide_table_goes_over_both_columns_and_is_scaled_where_it_must() {
        let begin = |num_columns: usize| {
            let mut table = Table::new("demo", "a demo");
            for i in 0..num_columns {
                table.text(&format!("column-{i}"), texts(&["some words", "other words"]));
            }
            let text = latex(&table);
            (text.lines().next().map(str::to_owned), text.contains("\\resizebox"))
        };
        assert_eq!(begin(3), (Some("\\begin{table}".to_owned()), false));
        assert_eq!(begin(8), (Some("\\begin{table*}".to_owned()), false));
        assert_eq!(begin(20), (Some("\\begin{table*}".to_owned()), true));
    }

    #[test]
    fn every_special_is_set_as_it_reads() {
        assert_eq!(
            escape_latex(r#"p <0.001 > 0 | "x" a_b 50% $ # & {} \ ~ ^ `c`"#),
            r"p \textless{}0.001 \textgreater{} 0 \textbar{} \texttt{\symbol{34}}x\texttt{\symbol{34}} a\_b 50\% \$ \# \& \{\} \textbackslash{} \textasciitilde{} \textasciicircum{} \textasciigrave{}c\textasciigrave{}"
        );
        assert_eq!(
            escape_latex("[-0.1, 0.2] * a--b don''t"),
            "{[}-0.1, 0.2{]} {*} a-{}-b don'{}'t"
        );
        assert_eq!(
            escape_latex("Müller ± 3 · 你\u{202e}"),
            "Müller $\\pm$ 3 $\\cdot$ {[}U+4F60{]}{[}U+202E{]}"
        );
    }
}
