//! `page.md`: the report as plain Markdown, for repositories and diffs.

use std::fmt::Write as _;

use preceptor_core::lacking_controls;

use crate::evidence::Evidence;
use crate::figures::Figure;
use crate::overview::{self, cost_sentence};
use crate::suite_view::{ClaimResult, SuiteView, verdict_counts};
use crate::table::Table;
use crate::unfinished::Partial;
use crate::visible::{push_visible, visible};

/// The largest number of rows that the page shows of a table.
const MOST_ROWS: usize = 300;

pub(crate) fn page(
    evidence: &Evidence,
    tables: &[Table],
    figures: &[Figure],
    notes: Option<&str>,
    partial: Option<&Partial>,
) -> String {
    let plan = &evidence.plan;
    let mut out = format!("# {}\n\n", escape(&plan.title));
    if let Some(partial) = partial {
        let _ = writeln!(out, "**{}**\n", partial.text);
    }
    for figure in figures.iter().filter(|figure| figure.is_finding()) {
        let _ = writeln!(out, "- {}.", escape(&figure.title));
    }
    out.push('\n');
    let named = |name: &str| tables.iter().find(|table| table.name == name);
    if let Some(scores) = named("scores") {
        let answer = overview::answer(scores);
        let _ = writeln!(out, "{}:\n", escape(&answer.caption));
        write_rows(&mut out, &answer);
        if let Some(warning) = overview::few_prompts(scores) {
            let _ = writeln!(out, "{warning}\n");
        }
    }
    if let Some(cost) = overview::total_cost(named("spending")) {
        let _ = writeln!(out, "{}\n", cost_sentence(&cost));
    }
    if let Some(lack) = lacking_controls([plan]) {
        let _ = writeln!(out, "{}\n", prose(&lack));
    }
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
        let (title, caption) = (escape(&figure.title), escape(&figure.caption));
        let _ = writeln!(out, "![{title}](figures/{}.svg)\n\n*{caption}*\n", figure.name);
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
pub(crate) fn suite_page(view: &SuiteView<'_>, notes: Option<&str>) -> String {
    let mut out = format!("# {}\n\n", escape(view.suite.title));
    let counts = verdict_counts(view.judged);
    let counts = counts.into_iter().map(|(verdict, count)| format!("{count} {}", verdict.name()));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, "Of {} claims: {counts}.\n", view.judged.len());
    if let Some((experiment, table)) = view.answer {
        let _ = writeln!(out, "[{experiment}](#{experiment}): {}.\n", escape(&table.caption));
        write_rows(&mut out, table);
    }
    if view.has_own_figure {
        out.push_str("![Declared contrasts](figures/contrasts.svg)\n\n");
    }
    if let Some(cost) = &view.cost {
        let _ = writeln!(out, "{}\n", cost_sentence(cost));
    }
    if let Some(lack) = &view.lack {
        let _ = writeln!(out, "{}\n", prose(lack));
    }
    out.push_str("## Claims\n\n| claim | paper | result | verdict |\n| --- | --- | --- | --- |\n");
    for ClaimResult { claim, results, verdict } in view.judged {
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
    out.push('\n');
    if view.contrasts.height() > 0 {
        write_table(&mut out, view.contrasts, "");
    }
    let _ = writeln!(out, "## Notes\n\n{}\n", prose(view.suite.description.trim()));
    if let Some(notes) = notes {
        let _ = writeln!(out, "{}\n", notes.trim());
    }
    for part in view.parts {
        let name = &part.experiment;
        let _ = writeln!(
            out,
            "<a id=\"{name}\"></a>\n\n## {}\n\n[{name}]({name}/page.md)\n",
            escape(&part.title)
        );
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
    let name = table.name;
    let _ = writeln!(out, "{heading} {name}\n");
    let _ = writeln!(out, "{} ([CSV]({path}tables/{name}.csv))\n", table.caption);
    if table.height() > MOST_ROWS {
        let _ = writeln!(out, "{} rows; see the file.\n", table.height());
        return;
    }
    write_rows(out, table);
}

fn write_rows(out: &mut String, table: &Table) {
    let columns = table.shown();
    let header: Vec<_> = columns.iter().map(|column| escape(&column.heading)).collect();
    let _ = writeln!(out, "| {} |", header.join(" | "));
    let rules: Vec<_> =
        columns.iter().map(|column| if column.is_text { "---" } else { "---:" }).collect();
    let _ = writeln!(out, "| {} |", rules.join(" | "));
    for row in 0..table.height() {
        let cells: Vec<_> = columns.iter().map(|column| escape(&column.cells[row])).collect();
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
