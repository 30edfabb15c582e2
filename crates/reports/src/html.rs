//! `page.html`: a single file that opens from disk and needs no network.
//!
//! All text from outside this program's templates is escaped.

use std::fmt::Write as _;

use crate::evidence::Evidence;
use crate::explorer::Explorer;
use crate::figures::Figure;
use crate::file::file_name;
use crate::suite_view::{ClaimResult, PartView, Suite};
use crate::table::Table;
use crate::visible::push_visible;

const STYLE: &str = include_str!("../assets/page.css");

/// Returns the page of a report, with links to its explorers.
pub(crate) fn page(
    evidence: &Evidence,
    tables: &[Table],
    figures: &[Figure],
    explorers: &[Explorer],
    notes: Option<&str>,
) -> String {
    let plan = &evidence.plan;
    let mut out = head(&plan.title);
    let _ = writeln!(out, "<h1>{}</h1>", escape(&plan.title));
    if !plan.description.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", prose(plan.description.trim()));
    }
    for left_out in &plan.left_out {
        let _ = writeln!(
            out,
            "<p class=\"left-out\">Left out: {} ({} cells): {}</p>",
            escape(&left_out.part),
            left_out.num_cells,
            prose(&left_out.reason)
        );
    }
    write_notes(&mut out, notes);
    out.push_str("<div class=\"figures\">\n");
    for figure in figures {
        let _ = writeln!(
            out,
            "<figure id=\"{}\">{}<figcaption>{}</figcaption></figure>",
            escape(&figure.name),
            figure.svg,
            prose(&figure.caption)
        );
    }
    out.push_str("</div>\n");
    for (i, table) in tables.iter().enumerate() {
        write_table(&mut out, table, "", i == 0);
    }
    write_explorers(&mut out, explorers);
    let _ = writeln!(
        out,
        "<h2>Provenance</h2><p>Code revision {}.</p><ul>",
        escape(&plan.code_revision)
    );
    for (name, digest) in &plan.inputs {
        let _ = writeln!(out, "<li>{}: <code>{}</code></li>", escape(name), escape(digest));
    }
    let _ = writeln!(
        out,
        "</ul><details><summary>Settings</summary><pre>{}</pre></details>",
        escape(&plan.settings)
    );
    tail(out)
}

/// Returns the summary page of several experiments.
pub(crate) fn suite_page(
    suite: &Suite<'_>,
    judged: &[ClaimResult<'_>],
    contrasts: &Table,
    parts: &[PartView],
    notes: Option<&str>,
) -> String {
    let mut out = head(suite.title);
    let _ = writeln!(out, "<h1>{}</h1>", escape(suite.title));
    for paragraph in suite.description.trim().split("\n\n") {
        let _ = writeln!(out, "<p>{}</p>", prose(paragraph));
    }
    write_notes(&mut out, notes);
    out.push_str(
        "<h2>Claims</h2>\n<p class=\"soft\">Values have 95% intervals over prompts or, for \
         trained policies, over training runs and prompts (<a href=\"tables/claims.csv\">CSV</a>, \
         <a href=\"tables/claims.parquet\">Parquet</a>, <a href=\"tables/claims.tex\">LaTeX</a>)</p>\n\
         <div class=\"wide\"><table class=\"claims\"><thead><tr><th class=\"text\">claim</th>\
         <th class=\"text\">paper</th><th class=\"text\">result</th>\
         <th class=\"text\">verdict</th></tr></thead>\n<tbody>\n",
    );
    for ClaimResult { claim, results, verdict } in judged {
        let mut lines: Vec<String> = results.iter().map(|result| escape(&result.line())).collect();
        let reasons = [&claim.not_testable, &claim.left_open].into_iter().flatten();
        lines.extend(reasons.map(|reason| prose(reason)));
        let _ = writeln!(
            out,
            "<tr><td class=\"text\"><b>{}</b><br>{}</td><td class=\"text\">{}</td>\
             <td class=\"text\">{}</td><td class=\"text verdict {}\">{}</td></tr>",
            escape(&claim.id),
            prose(&claim.says),
            prose(&claim.paper),
            lines.join("<br>"),
            file_name(verdict.name()),
            verdict.name(),
        );
    }
    out.push_str("</tbody></table></div>\n");
    if contrasts.height() > 0 {
        out.push_str("<h2>Contrasts</h2>\n");
        write_rows(&mut out, contrasts, "", true);
    }
    for part in parts {
        let name = escape(&part.experiment);
        let _ = writeln!(
            out,
            "<h2 id=\"{name}\">{}</h2>\n<p class=\"soft\"><a href=\"{name}/page.html\">Full report \
             of {name}</a></p>\n<div class=\"figures\">",
            escape(&part.title)
        );
        for (_, svg) in &part.figures {
            let _ = writeln!(out, "<figure>{svg}</figure>");
        }
        out.push_str("</div>\n");
        for table in &part.tables {
            write_table(&mut out, table, &format!("{name}/"), false);
        }
    }
    tail(out)
}

fn write_notes(out: &mut String, notes: Option<&str>) {
    let notes = notes.unwrap_or_default().trim();
    for paragraph in notes.split("\n\n").filter(|text| !text.is_empty() && !text.starts_with('#')) {
        let _ = writeln!(out, "<p>{}</p>", prose(paragraph));
    }
}

fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(title)
    )
}

fn tail(mut out: String) -> String {
    out.push_str("</body>\n</html>\n");
    out
}

/// Writes a table with its heading. `path` leads from the page to the table's report.
fn write_table(out: &mut String, table: &Table, path: &str, open: bool) {
    let heading = if path.is_empty() { "h2" } else { "h3" };
    let _ = writeln!(out, "<{heading}>{}</{heading}>", escape(table.name));
    write_rows(out, table, path, open);
}

/// Writes the caption and the rows of a table.
fn write_rows(out: &mut String, table: &Table, path: &str, open: bool) {
    let is_text = table.is_text();
    let class = |column: usize| if is_text[column] { " class=\"text\"" } else { "" };
    let _ = writeln!(
        out,
        "<p class=\"soft\">{} (<a href=\"{path}tables/{name}.csv\">CSV</a>, \
         <a href=\"{path}tables/{name}.parquet\">Parquet</a>, \
         <a href=\"{path}tables/{name}.tex\">LaTeX</a>)</p>",
        prose(&table.caption),
        name = table.name
    );
    let open = if open { " open" } else { "" };
    let _ = writeln!(
        out,
        "<details{open}><summary>{} row{}</summary><div class=\"wide\"><table><thead><tr>",
        table.height(),
        if table.height() == 1 { "" } else { "s" }
    );
    for (i, name) in table.headings().enumerate() {
        let _ = write!(out, "<th{}>{}</th>", class(i), escape(&name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in 0..table.height() {
        let cells = table.row(row);
        let bound =
            if cells.iter().any(|cell| cell == "upper bound") { " class=\"bound\"" } else { "" };
        let _ = write!(out, "<tr{bound}>");
        for (i, cell) in cells.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(i), escape(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></details>\n");
}

fn write_explorers(out: &mut String, explorers: &[Explorer]) {
    if explorers.is_empty() {
        return;
    }
    out.push_str("<h2 id=\"prompts\">Prompts</h2>\n<ul>\n");
    for Explorer { benchmark, shareable, link, num_groups } in explorers {
        let benchmark = escape(benchmark);
        let _ = if *shareable {
            writeln!(
                out,
                "<li><a href=\"{}\">Explorer of {benchmark}</a>: {num_groups} groups with rollouts, \
                 pseudo-references, rewards and verdicts</li>",
                escape(link)
            )
        } else {
            writeln!(
                out,
                "<li>The texts of {benchmark} must not be published. The command that made this page wrote \
                 its explorer of {num_groups} groups to <code>{}</code> beside it.</li>",
                escape(link)
            )
        };
    }
    out.push_str("</ul>\n");
}

/// Escapes text that people wrote; text between backticks becomes code.
fn prose(text: &str) -> String {
    let parts: Vec<String> = text.split('`').map(escape).collect();
    let Some((last, parts)) = parts.split_last() else { return String::new() };
    let pairs = parts.chunks(2).map(|pair| match pair {
        [before, code] => format!("{before}<code>{code}</code>"),
        // A backtick without a second one.
        unpaired => unpaired.concat() + "`",
    });
    pairs.collect::<String>() + last
}

/// Escapes text for HTML, in elements and attributes. Characters that hide or reorder text are
/// shown as their code points.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => push_visible(&mut out, c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_text() {
        let hostile = "</script><img src=x onerror='alert(1)'>\u{202e}\"&\0";
        let safe = escape(hostile);
        assert_eq!(
            safe,
            "&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;[U+202E]&quot;&amp;[U+0000]"
        );
        assert_eq!(
            prose("a `b<c` d `e` f ` <g>"),
            "a <code>b&lt;c</code> d <code>e</code> f ` &lt;g&gt;"
        );
        assert_eq!((prose(""), prose("`")), (String::new(), "`".to_owned()));
        assert_eq!(file_name("../a b/ä"), "..-a-b--");
    }
}
