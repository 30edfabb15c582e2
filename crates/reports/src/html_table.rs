//! Tables and figures on pages.

use std::fmt::Write as _;

use crate::html::{escape, prose};
use crate::latex::is_for_papers;
use crate::table::Table;

/// Rows from which on a table is folded.
const MANY_ROWS: usize = 40;

/// Files of a table that a page links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Every file: they are beside the page.
    All,
    /// CSV alone: a repository may hold no other.
    Csv,
}

/// Writes a table in a section with its heading. `path` leads from the page to the table's report, and is a
/// part of its id.
pub(crate) fn write_table(out: &mut String, table: &Table, path: &str, links: Links) {
    let level = if path.is_empty() { 3 } else { 4 };
    let id = section_id(table.name, path);
    let _ = writeln!(
        out,
        "<section id=\"{id}\" class=\"table\"><h{level}>{}</h{level}>",
        escape(&table.name.replace('_', " "))
    );
    let _ = writeln!(
        out,
        "<p class=\"soft\">{}.{}</p>",
        prose(table.caption.trim_end_matches('.')),
        files(table, path, links)
    );
    let is_open = table.height() <= MANY_ROWS;
    let _ = writeln!(
        out,
        "<details{}><summary>{} row{}</summary>",
        if is_open { " open" } else { "" },
        table.height(),
        if table.height() == 1 { "" } else { "s" }
    );
    write_rows(out, table, &id, |_| None);
    out.push_str("</details></section>\n");
}

/// Returns the id of a table's section.
pub(crate) fn section_id(table: &str, path: &str) -> String {
    escape(&format!("table-{}{table}", path.replace('/', "-")))
}

fn files(table: &Table, path: &str, links: Links) -> String {
    let name = table.name;
    let link = |ending: &str, words: &str| {
        format!("<a href=\"{}tables/{name}.{ending}\">{words}</a>", escape(path))
    };
    let shown: Vec<String> = match links {
        Links::Csv => vec![link("csv", "CSV")],
        Links::All => {
            let mut shown = vec![link("csv", "CSV"), link("parquet", "Parquet")];
            shown.extend(is_for_papers(table).then(|| link("tex", "LaTeX")));
            shown
        }
    };
    format!(" ({})", shown.join(", "))
}

/// Writes the rows of a table. `id` gives a row an id.
pub(crate) fn write_rows(
    out: &mut String,
    table: &Table,
    name: &str,
    id: impl Fn(usize) -> Option<String>,
) {
    let columns = table.shown();
    let class = |is_text: bool| if is_text { " class=\"text\"" } else { "" };
    let label = escape(&format!("table {}", name.trim_start_matches("table-")));
    let _ = writeln!(
        out,
        "<div class=\"wide\" role=\"region\" tabindex=\"0\" aria-label=\"{label}\"><table class=\"sortable\">\
         <thead><tr>"
    );
    for column in &columns {
        let _ = write!(
            out,
            "<th scope=\"col\"{} title=\"{}\"><button type=\"button\">{}</button></th>",
            class(column.is_text),
            escape(&column.help),
            escape(&column.heading)
        );
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in 0..table.height() {
        let is_bound = columns.iter().any(|column| column.cells[row] == "upper bound");
        let bound = if is_bound { " class=\"bound\"" } else { "" };
        let id = id(row).map_or_else(String::new, |id| format!(" id=\"{}\"", escape(&id)));
        let _ = write!(out, "<tr{id}{bound}>");
        for column in &columns {
            let cell = escape(&column.cells[row]);
            let sort = match column.sort.get(row).copied().flatten() {
                // A plain number sorts by its text.
                Some(value) if column.cells[row] != value.to_string() => {
                    format!(" data-sort=\"{value}\"")
                }
                _ => String::new(),
            };
            let _ = write!(out, "<td{}{sort}>{cell}</td>", class(column.is_text));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// Returns a figure's SVG for a page that holds several: its ids get the number of the figure, and the colours of
/// dark pages come from the page's style.
pub(crate) fn inline(svg: &str, number: usize) -> String {
    let svg = match (svg.find("<style>"), svg.find("</style>")) {
        (Some(from), Some(to)) => svg[..from].to_owned() + &svg[to + "</style>".len()..],
        _ => svg.to_owned(),
    };
    let svg = svg.replace("id=\"g", &format!("id=\"f{number}g"));
    svg.replace("href=\"#g", &format!("href=\"#f{number}g"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_can_be_sorted_and_explains_its_columns() {
        let mut table = Table::new("scores", "Scores <b>");
        table.text("aggregator", vec!["<x>".to_owned()]);
        table.number("score", vec![Some(0.123_456)]);
        table.count("prompts", vec![12]);
        let mut out = String::new();
        write_table(&mut out, &table, "part/", Links::Csv);
        assert!(out.contains("<section id=\"table-part-scores\" class=\"table\"><h4>scores</h4>"));
        assert!(out.contains("Scores &lt;b&gt;. (<a href=\"part/tables/scores.csv\">CSV</a>)"));
        assert!(
            out.contains("title=\"number of prompts (prompts)\"><button type=\"button\">prompts")
        );
        assert!(out.contains(
            "<td class=\"text\">&lt;x&gt;</td><td data-sort=\"0.123456\">0.123</td><td>12</td>"
        ));
        assert!(!out.contains("parquet"));
    }

    #[test]
    fn figures_of_one_page_share_no_id() {
        let svg = "<path id=\"g41\"/><use href=\"#g41\"/>";
        assert_eq!(inline(svg, 3), "<path id=\"f3g41\"/><use href=\"#f3g41\"/>");
    }
}
