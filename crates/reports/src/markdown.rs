//! `page.md`: the report as plain Markdown, for repositories and diffs.

use std::fmt::Write as _;

use crate::evidence::Evidence;
use crate::figures::Figure;
use crate::table::Table;

/// Rows that a page for reading shows.
const MOST_ROWS: usize = 300;

pub(crate) fn page(
    evidence: &Evidence,
    tables: &[Table],
    figures: &[Figure],
    notes: Option<&str>,
) -> String {
    let plan = &evidence.plan;
    let mut out = format!("# {}\n\n", plan.title);
    if !plan.description.is_empty() {
        let _ = writeln!(out, "{}\n", plan.description.trim());
    }
    for left_out in &plan.left_out {
        let _ = writeln!(
            out,
            "Left out: {} ({} cells): {}\n",
            left_out.part, left_out.num_cells, left_out.reason
        );
    }
    if let Some(notes) = notes {
        let _ = writeln!(out, "{}\n", notes.trim());
    }
    for figure in figures {
        let _ = writeln!(out, "![{}](figures/{}.svg)\n", figure.caption, figure.name);
        let _ = writeln!(out, "*{}*\n", figure.caption);
    }
    for table in tables {
        let _ = writeln!(out, "## {}\n", table.name);
        let _ = writeln!(
            out,
            "{} ([CSV](tables/{name}.csv), [Parquet](tables/{name}.parquet), [LaTeX](tables/{name}.tex))\n",
            table.caption,
            name = table.name
        );
        if table.height() > MOST_ROWS {
            let _ = writeln!(out, "{} rows, too many for this page.\n", table.height());
            continue;
        }
        let header: Vec<_> = table.header().map(escape).collect();
        let _ = writeln!(out, "| {} |", header.join(" | "));
        let rule = |is_text: &bool| if *is_text { "---" } else { "---:" };
        let rules: Vec<_> = table.is_text().iter().map(rule).collect();
        let _ = writeln!(out, "| {} |", rules.join(" | "));
        for row in 0..table.height() {
            let cells: Vec<_> = table.row(row).iter().map(|cell| escape(cell)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "Code revision {}. Inputs:\n", plan.code_revision);
    for (name, digest) in &plan.inputs {
        let _ = writeln!(out, "- {}: `{}`", escape(name), digest);
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '[' | '`' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_neither_markup_nor_two_cells() {
        assert_eq!(escape("a|b\n<img> ![x](http://x) `c`"), r"a\|b &lt;img> !\[x](http://x) \`c\`");
    }
}
