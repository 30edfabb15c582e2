//! `page.html` of a suite: the answer first, then each claim, then the experiments.

use std::fmt::Write as _;

use crate::claims::ClaimVerdict;
use crate::file::file_name;
use crate::html::{Contents, escape, head, paragraphs, prose, tail};
use crate::html_table::{Links, inline, section_id, write_rows, write_table};
use crate::overview::cost_sentence;
use crate::suite_view::{ClaimResult, SuiteView, verdict_counts};

/// Returns the summary page of several experiments.
pub(crate) fn suite_page(view: &SuiteView<'_>, notes: Option<&str>) -> String {
    let suite = view.suite;
    let mut contents = Contents::default();
    let mut body = String::new();
    let mut number = 0;
    write_answer(&mut body, view, &mut contents, &mut number);
    contents.add("claims", "Claims");
    body.push_str("<section id=\"claims\"><h2>Claims</h2>\n");
    for judged in view.judged {
        write_claim(&mut body, judged, view);
    }
    body.push_str("</section>\n");
    if view.contrasts.height() > 0 {
        contents.add("contrasts", "Contrasts");
        body.push_str("<section id=\"contrasts\"><h2>Contrasts</h2>\n");
        write_table(&mut body, view.contrasts, "", Links::All);
        body.push_str("</section>\n");
    }
    let text = paragraphs(suite.description.trim()) + &paragraphs(notes.unwrap_or_default());
    if !text.is_empty() {
        contents.add("notes", "Notes");
        let _ = writeln!(body, "<section id=\"notes\"><h2>Notes</h2>\n{text}</section>");
    }
    for part in view.parts {
        let name = escape(&part.experiment);
        contents.add(&part.experiment, &part.title);
        let _ = writeln!(
            body,
            "<section id=\"{name}\"><h2>{}</h2>\n<p class=\"soft\"><a href=\"{name}/page.md\">All tables of {name}</a>; \
             a run writes <code>{name}/page.html</code> beside it.</p>\n<div class=\"figures\">",
            escape(&part.title)
        );
        for (figure, svg) in &part.figures {
            number += 1;
            let _ = writeln!(
                body,
                "<figure id=\"{}\">{}</figure>",
                figure_id(&part.experiment, figure),
                inline(svg, number)
            );
        }
        body.push_str("</div>\n");
        for table in &part.tables {
            write_table(&mut body, table, &format!("{}/", part.experiment), Links::Csv);
        }
        body.push_str("</section>\n");
    }
    contents.add("checks", "All checks");
    body.push_str("<section id=\"checks\"><h2>All checks</h2>\n<p class=\"soft\">");
    body.push_str(
        "Values have 95% intervals over prompts or, for trained policies, over training runs and prompts; they are not \
         adjusted for the number of checks (<a href=\"tables/claims.csv\">CSV</a>, \
         <a href=\"tables/claims.parquet\">Parquet</a>).</p>\n",
    );
    write_rows(&mut body, view.claims, "checks", |row| Some(format!("check-{row}")));
    body.push_str("</section>\n");
    tail(head(suite.title, &contents, "") + &body)
}

fn figure_id(experiment: &str, figure: &str) -> String {
    escape(&format!("figure-{experiment}-{figure}"))
}

/// Writes verdicts counted, one table, one figure and the cost.
fn write_answer(
    out: &mut String,
    view: &SuiteView<'_>,
    contents: &mut Contents,
    number: &mut usize,
) {
    contents.add("answer", "Answer");
    out.push_str("<section id=\"answer\"><h2>Answer</h2>\n<p class=\"verdicts\">");
    for (verdict, count) in verdict_counts(view.judged) {
        let _ = write!(
            out,
            "<span class=\"verdict {}\"><b>{count}</b> {}</span> ",
            file_name(verdict.name()),
            verdict.name()
        );
    }
    let _ = writeln!(out, "<span class=\"soft\">of {} claims</span></p>", view.judged.len());
    if let Some((experiment, table)) = view.answer {
        let _ = writeln!(
            out,
            "<p class=\"soft\">{}: {}.</p>",
            format_args!("<a href=\"#{0}\">{0}</a>", escape(experiment)),
            prose(&table.caption)
        );
        write_rows(out, table, "answer", |_| None);
    }
    if let Some((caption, svg)) = view.figure {
        *number += 1;
        let _ = writeln!(
            out,
            "<figure id=\"figure-answer\">{}<figcaption>{}</figcaption></figure>",
            inline(svg, *number),
            prose(caption)
        );
    }
    if let Some(cost) = &view.cost {
        let _ = writeln!(out, "<p>{}</p>", cost_sentence(cost));
    }
    if let Some(lack) = &view.lack {
        let _ = writeln!(out, "<p class=\"left-out\">{}</p>", prose(lack));
    }
    out.push_str("</section>\n");
}

/// Writes a claim: a sentence, the paper's finding, the verdict, and each check with its links.
fn write_claim(out: &mut String, judged: &ClaimResult<'_>, view: &SuiteView<'_>) {
    let ClaimResult { claim, results, verdict } = judged;
    let class = file_name(verdict.name());
    let _ = writeln!(
        out,
        "<article class=\"claim\" id=\"claim-{}\"><h3>{} <span class=\"verdict {class}\">{}</span></h3>\n\
         <p>{}</p>\n<dl><dt>Paper</dt><dd>{}</dd>",
        file_name(&claim.id),
        escape(&claim.id),
        verdict.name(),
        prose(&claim.says),
        prose(&claim.paper)
    );
    let first = view.first_row(&claim.id);
    if !results.is_empty() {
        out.push_str("<dt>Here</dt><dd><ul>\n");
        for (i, result) in results.iter().enumerate() {
            let experiment = &result.check.experiment;
            let part = view.parts.iter().find(|part| part.experiment == *experiment);
            let mut links = vec![
                format!("<a href=\"#check-{}\">row</a>", first + i),
                format!("<a href=\"#{0}\">{0}</a>", escape(experiment)),
            ];
            let table = part.and_then(|part| part.tables.first());
            links.extend(table.map(|table| {
                let id = section_id(table.name, &format!("{experiment}/"));
                format!("<a href=\"#{id}\">{}</a>", escape(table.name))
            }));
            let figure = part.and_then(|part| part.figures.first());
            links.extend(figure.map(|(name, _)| {
                format!("<a href=\"#{}\">figure</a>", figure_id(experiment, name))
            }));
            let _ = writeln!(
                out,
                "<li class=\"check-{}\">{} <span class=\"soft\">({})</span></li>",
                file_name(result.verdict.name()),
                escape(&result.line()),
                links.join(", ")
            );
        }
        out.push_str("</ul></dd>");
    }
    for reason in [&claim.not_testable, &claim.left_open].into_iter().flatten() {
        let word = if *verdict == ClaimVerdict::NotTestable { "Not testable" } else { "Open" };
        let _ = writeln!(out, "<dt>{word}</dt><dd>{}</dd>", prose(reason));
    }
    out.push_str("</dl></article>\n");
}
