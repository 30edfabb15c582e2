//! `page.md`: the report as plain Markdown, for repositories and diffs.

use std::fmt::Write as _;

use crate::evidence::Evidence;
use crate::figures::Figure;
use crate::suite_view::{ClaimResult, PartView, Suite};
use crate::table::Table;
use crate::visible::{push_visible, visible};

/// The largest number of rows that the page shows of a table.
const MOST_ROWS: usize = 300;

pub(crate) fn page(
    evidence: &Evidence,
    tables: &[Table],
    figures: &[Figure],
    notes: Option<&str>,
) -> String {
    let plan = &evidence.plan;
    let mut out = format!("# {}\n\n", escape(&plan.title));
    if !plan.description.is_empty() {
        let _ = writeln!(out, "{}\n", prose(plan.description.trim()));
    }
    for left_out in &plan.left_out {
        let _ = writeln!(
            out,
            "Left out: {} ({} cells): {}\n",
            escape(&left_out.part),
            left_out.num_cells,
            escape(&left_out.reason)
        );
    }
    if let Some(notes) = notes {
        let _ = writeln!(out, "{}\n", notes.trim());
    }
    for figure in figures {
        let caption = escape(&figure.caption);
        let _ = writeln!(out, "![{caption}](figures/{}.svg)\n\n*{caption}*\n", figure.name);
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

/// Returns the summary page of several experiments.
pub(crate) fn suite_page(
    suite: &Suite<'_>,
    judged: &[ClaimResult<'_>],
    contrasts: &Table,
    parts: &[PartView],
    notes: Option<&str>,
) -> String {
    let description = prose(suite.description.trim());
    let mut out = format!("# {}\n\n{description}\n\n", escape(suite.title));
    if let Some(notes) = notes {
        let _ = writeln!(out, "{}\n", notes.trim());
    }
    out.push_str("| claim | paper | result | verdict |\n| --- | --- | --- | --- |\n");
    for ClaimResult { claim, results, verdict } in judged {
        let mut lines: Vec<String> = results.iter().map(|result| escape(&result.line())).collect();
        let reasons = [&claim.not_testable, &claim.left_open].into_iter().flatten();
        lines.extend(reasons.map(|reason| escape(reason)));
        let _ = writeln!(
            out,
            "| **{}** {} | {} | {} | {} |",
            escape(&claim.id),
            escape(&claim.says),
            escape(&claim.paper),
            lines.join("<br>"),
            verdict.name()
        );
    }
    if contrasts.height() > 0 {
        out.push('\n');
        write_table(&mut out, contrasts, "");
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

/// Writes a table with its heading. `path` leads from the page to the table's report.
fn write_table(out: &mut String, table: &Table, path: &str) {
    let heading = if path.is_empty() { "##" } else { "###" };
    let _ = writeln!(out, "{heading} {}\n", table.name);
    let _ = writeln!(
        out,
        "{} ([CSV]({path}tables/{name}.csv), [Parquet]({path}tables/{name}.parquet), \
         [LaTeX]({path}tables/{name}.tex))\n",
        table.caption,
        name = table.name
    );
    if table.height() > MOST_ROWS {
        let _ = writeln!(out, "{} rows; see the files.\n", table.height());
        return;
    }
    let header: Vec<_> = table.headings().map(|name| escape(&name)).collect();
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

/// Escapes paragraphs that people wrote: Markdown is kept, HTML becomes text.
fn prose(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('<', "&lt;")
}

/// Escapes text for a single line, such as a table cell.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '[' | ']' | '`' | '*' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            c => push_visible(&mut out, c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_neither_markup_nor_two_cells() {
        assert_eq!(
            escape("a|b\n<img> ![x](http://x) `c` \u{202e}&lt;"),
            r"a\|b &lt;img> !\[x\](http://x) \`c\` [U+202E]&amp;lt;"
        );
    }

    #[test]
    fn html_of_a_description_is_text() {
        assert_eq!(prose("a *b* `c`\n\n<script>\u{200b}"), "a *b* `c`\n\n&lt;script>[U+200B]");
    }
}
