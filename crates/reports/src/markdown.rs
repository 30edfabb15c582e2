//! `page.md`: the report as plain Markdown, for repositories and diffs.

use std::fmt::Write as _;

use crate::evidence::Evidence;
use crate::figures::Figure;
use crate::suite::{Judged, PartView, Suite};
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
        write_table(&mut out, table, "");
    }
    let _ = writeln!(out, "Code revision {}. Inputs:\n", plan.code_revision);
    for (name, digest) in &plan.inputs {
        let _ = writeln!(out, "- {}: `{}`", escape(name), digest);
    }
    out
}

/// The summary of several experiments.
pub(crate) fn suite_page(
    suite: &Suite<'_>,
    judged: &[Judged<'_>],
    parts: &[PartView],
    notes: Option<&str>,
) -> String {
    let mut out = format!("# {}\n\n{}\n\n", suite.title, suite.description.trim());
    if let Some(notes) = notes {
        let _ = writeln!(out, "{}\n", notes.trim());
    }
    out.push_str("| claim | the paper | seen here | verdict |\n| --- | --- | --- | --- |\n");
    for Judged { claim, seen, verdict } in judged {
        let mut found: Vec<String> = seen.iter().map(|seen| escape(&seen.line())).collect();
        found.extend(claim.not_testable.as_deref().map(escape));
        let _ = writeln!(
            out,
            "| **{}** {} | {} | {} | {} |",
            escape(&claim.id),
            escape(&claim.says),
            escape(&claim.paper),
            found.join("<br>"),
            verdict.name()
        );
    }
    for part in parts {
        let name = &part.experiment;
        let _ = writeln!(out, "\n## {}\n\n[{name}]({name}/page.md)\n", escape(&part.title));
        for (figure, _) in &part.figures {
            let _ = writeln!(out, "![{figure}]({name}/figures/{figure}.svg)\n");
        }
        for table in &part.tables {
            write_table(&mut out, table, &format!("{name}/"));
        }
    }
    out
}

/// `place` leads from the page to the report that the table belongs to.
fn write_table(out: &mut String, table: &Table, place: &str) {
    let heading = if place.is_empty() { "##" } else { "###" };
    let _ = writeln!(out, "{heading} {}\n", table.name);
    let _ = writeln!(
        out,
        "{} ([CSV]({place}tables/{name}.csv), [Parquet]({place}tables/{name}.parquet), \
         [LaTeX]({place}tables/{name}.tex))\n",
        table.caption,
        name = table.name
    );
    if table.height() > MOST_ROWS {
        let _ = writeln!(out, "{} rows, too many for this page.\n", table.height());
        return;
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
