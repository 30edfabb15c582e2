//! `page.html`: a single file that opens from disk and needs no network.
//!
//! All text from outside this program's templates is escaped.

use std::fmt::Write as _;

use preceptor_core::lacking_controls;

use crate::evidence::Evidence;
use crate::explorer::Explorer;
use crate::figures::{Figure, dark_style};
use crate::html_table::{Links, inline, section_id, write_rows, write_table};
use crate::overview;
use crate::table::Table;
use crate::unfinished::Partial;
use crate::visible::push_visible;

const STYLE: &str = include_str!("../assets/page.css");
const PAGE_SCRIPT: &str = include_str!("../assets/page.js");

/// Returns the page of a report, with links to its explorers.
pub(crate) fn page(
    evidence: &Evidence,
    tables: &[Table],
    figures: &[Figure],
    explorers: &[Explorer],
    notes: Option<&str>,
    partial: Option<&Partial>,
) -> String {
    let plan = &evidence.plan;
    let mut contents = Contents::default();
    let mut body = String::new();
    contents.add("answer", "Answer");
    let headline = write_answer(&mut body, evidence, tables, figures);
    let text = paragraphs(plan.description.trim()) + &paragraphs(notes.unwrap_or_default());
    if !text.is_empty() {
        contents.add("notes", "Notes");
        let _ = writeln!(body, "<section id=\"notes\"><h2>Notes</h2>\n{text}</section>");
    }
    let rest = || figures.iter().enumerate().filter(|(i, _)| headline != Some(*i));
    if rest().next().is_some() {
        contents.add("figures", "Figures");
        body.push_str("<section id=\"figures\"><h2>Figures</h2>\n<div class=\"figures\">\n");
        for (i, figure) in rest() {
            write_figure(&mut body, figure, i);
        }
        body.push_str("</div></section>\n");
    }
    contents.add("tables", "Tables");
    body.push_str("<section id=\"tables\"><h2>Tables</h2>\n");
    body.push_str(
        "<p class=\"soft\">Every number in one table: <a href=\"tables/metrics.csv\">CSV</a>, \
         <a href=\"tables/metrics.parquet\">Parquet</a>. A heading sorts, and explains its column.</p>\n",
    );
    for table in tables {
        contents.add_below(&section_id(table.name, ""), &table.name.replace('_', " "));
        write_table(&mut body, table, "", Links::All);
    }
    body.push_str("</section>\n");
    if !explorers.is_empty() {
        contents.add("prompts", "Prompts");
        write_explorers(&mut body, explorers);
    }
    contents.add("provenance", "Provenance");
    let _ = writeln!(
        body,
        "<section id=\"provenance\"><h2>Provenance</h2><p>Code revision {}.</p><ul>",
        escape(&plan.code_revision)
    );
    for (name, digest) in &plan.inputs {
        let _ = writeln!(body, "<li>{}: <code>{}</code></li>", escape(name), escape(digest));
    }
    let _ = writeln!(
        body,
        "</ul><details><summary>Settings</summary><pre>{}</pre></details></section>",
        escape(&plan.settings)
    );
    let reload = partial.map(|partial| partial.unfinished.reload_element());
    let mut out = head(&plan.title, &contents, &reload.unwrap_or_default());
    if let Some(partial) = partial {
        let _ = writeln!(out, "<p class=\"left-out\">{}</p>", escape(&partial.text));
    }
    tail(out + &body)
}

/// Writes the finding, one table, one figure and the cost. Returns the index of the figure.
fn write_answer(
    out: &mut String,
    evidence: &Evidence,
    tables: &[Table],
    figures: &[Figure],
) -> Option<usize> {
    out.push_str("<section id=\"answer\"><h2>Answer</h2>\n");
    let findings: Vec<String> = figures
        .iter()
        .filter(|figure| figure.is_finding())
        .map(|figure| format!("<li>{}.</li>", prose(&figure.title)))
        .collect();
    if !findings.is_empty() {
        let _ = writeln!(out, "<ul>{}</ul>", findings.concat());
    }
    for left_out in &evidence.plan.left_out {
        let _ = writeln!(
            out,
            "<p class=\"left-out\">Left out: {} ({} cells): {}</p>",
            escape(&left_out.part),
            left_out.num_cells,
            prose(&left_out.reason)
        );
    }
    let named = |name: &str| tables.iter().find(|table| table.name == name);
    if let Some(scores) = named("scores") {
        let answer = overview::answer(scores);
        let _ = writeln!(out, "<p class=\"soft\">{}.</p>", prose(&answer.caption));
        write_rows(out, &answer, "answer", |_| None);
        if let Some(warning) = overview::few_prompts(scores) {
            let _ = writeln!(out, "<p class=\"left-out\">{}</p>", escape(&warning));
        }
    }
    let headline = (!figures.is_empty()).then_some(0);
    if let Some(figure) = figures.first() {
        write_figure(out, figure, 0);
    }
    if let Some(cost) = overview::total_cost(named("spending")) {
        let _ = writeln!(out, "<p>{}</p>", overview::cost_sentence(&cost));
    }
    if let Some(lack) = lacking_controls([&evidence.plan]) {
        let _ = writeln!(out, "<p class=\"left-out\">{}</p>", prose(&lack));
    }
    out.push_str("</section>\n");
    headline
}

fn write_figure(out: &mut String, figure: &Figure, number: usize) {
    let name = escape(&figure.name);
    let _ = writeln!(
        out,
        "<figure id=\"{name}\">{}<figcaption>{} <a href=\"figures/{name}.svg\">SVG</a></figcaption></figure>",
        inline(&figure.svg, number),
        prose(&figure.caption)
    );
}

/// Returns paragraphs that people wrote; headings are left out.
pub(crate) fn paragraphs(text: &str) -> String {
    let texts = text.trim().split("\n\n").filter(|text| !text.is_empty() && !text.starts_with('#'));
    texts.map(|text| format!("<p>{}</p>\n", prose(text))).collect()
}

/// The contents of a page: ids and titles of its sections.
#[derive(Default)]
pub(crate) struct Contents(Vec<(String, String, bool)>);

impl Contents {
    pub(crate) fn add(&mut self, id: &str, title: &str) {
        self.0.push((id.to_owned(), title.to_owned(), false));
    }

    /// Adds a part of the section before.
    fn add_below(&mut self, id: &str, title: &str) {
        self.0.push((id.to_owned(), title.to_owned(), true));
    }

    fn html(&self) -> String {
        let mut out = String::new();
        for (id, title, is_below) in &self.0 {
            let indent = if *is_below { "&emsp;" } else { "" };
            let (id, title) = (escape(id), escape(title));
            let _ = write!(out, "<li>{indent}<a href=\"#{id}\">{title}</a></li>");
        }
        out
    }
}

/// Returns the beginning of a page, with its contents and the search. `meta` has more elements of its head.
pub(crate) fn head(title: &str, contents: &Contents, meta: &str) -> String {
    let bar = if contents.0.is_empty() {
        String::new()
    } else {
        format!(
            "<div class=\"bar\"><nav aria-label=\"Contents\"><details><summary>Contents</summary><ul>{}</ul></details></nav>\
             <label>Search <input id=\"search\" type=\"search\"></label><output id=\"found\" class=\"soft\"></output></div>\n",
            contents.html()
        )
    };
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         {meta}<title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#content\">Skip to the content</a>\n\
         <header><h1>{title}</h1></header>\n{bar}<main id=\"content\">\n",
        dark_style()
    )
}

pub(crate) fn tail(mut out: String) -> String {
    let _ = write!(out, "</main>\n<script>\n{PAGE_SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn write_explorers(out: &mut String, explorers: &[Explorer]) {
    out.push_str("<section id=\"prompts\"><h2>Prompts</h2>\n<ul>\n");
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
    out.push_str("</ul></section>\n");
}

/// Escapes text that people wrote; text between backticks becomes code.
pub(crate) fn prose(text: &str) -> String {
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
    use std::collections::BTreeSet;

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
        assert_eq!(crate::file::file_name("../a b/ä"), "..-a-b--");
    }

    /// Splits a script into words and single characters, without comments, strings and templates.
    /// It knows no regular expressions and no templates inside templates.
    fn tokens(script: &str) -> Vec<&str> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let mut tokens = Vec::new();
        let mut rest = script;
        while let Some(first) = rest.chars().next() {
            let len = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if matches!(first, '"' | '\'' | '`') {
                let is_end = |(i, c): &(usize, char)| *c == first && !rest[1..=*i].ends_with('\\');
                let end = rest[1..].char_indices().find(is_end).expect("strings end");
                end.0 + 2
            } else {
                let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len()).max(first.len_utf8());
                tokens.extend((!first.is_whitespace()).then(|| &rest[..len]));
                len
            };
            rest = &rest[len..];
        }
        tokens
    }

    /// Returns the names that `const`, `let` or `function` declare twice in a block. Those in the head
    /// of a loop belong to the loop.
    fn declared_twice(script: &str) -> Vec<&str> {
        let tokens = tokens(script);
        let mut twice = Vec::new();
        // Names and open parentheses of the blocks around a token.
        let mut blocks = vec![(BTreeSet::new(), 0)];
        for (i, token) in tokens.iter().enumerate() {
            let (names, num_open) = blocks.last_mut().expect("braces are balanced");
            match *token {
                "{" => blocks.push((BTreeSet::new(), 0)),
                "}" => drop(blocks.pop()),
                "(" => *num_open += 1,
                ")" => *num_open -= 1,
                "const" | "let" | "function" if *num_open == 0 => {
                    twice.extend((!names.insert(tokens[i + 1])).then_some(tokens[i + 1]));
                }
                _ => {}
            }
        }
        assert_eq!(blocks.len(), 1, "braces are balanced");
        twice
    }

    #[test]
    fn the_script_of_the_page_declares_no_name_twice() {
        let wrong = "const a = `{`; { const a = '{'; let b; let b; } // const a\n\
                     for (const a of x) f((y) => { const a = y; }); function a() {}";
        assert_eq!(declared_twice(wrong), ["b", "a"]);
        assert_eq!(declared_twice(PAGE_SCRIPT), [""; 0]);
    }
}
