//! Writing a report's folder.

use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_store::Store;

use crate::evidence::Evidence;
use crate::explorer::write_explorers;
use crate::figures::{Figure, FigureWidth, Sheet, draw_all};
use crate::file::{read_notes, write_file};
use crate::provenance::provenance;
use crate::unfinished::{Partial, Unfinished};
use crate::{Error, html, markdown, tables};

/// Files of a report.
#[derive(Clone, Debug)]
pub struct ReportFiles {
    /// The page to open.
    pub page: PathBuf,
    /// Every file.
    pub files: Vec<PathBuf>,
}

/// Options of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportOptions {
    /// Bytes of texts that explorers keep, about; their lists stay whole. None keeps every text.
    pub explorer_bytes: Option<usize>,
    /// True if it is a part of a suite whose page is in the folder above: explorers lead there, and
    /// share the scripts there.
    pub is_part: bool,
    /// The state of a run that is not finished. Its report has the groups whose records are all stored, says
    /// that it is partial, and has no explorers.
    pub unfinished: Option<Unfinished>,
}

/// Writes the report of the plan with digest `plan` into `folder`. A `notes.md` there, written by
/// hand, is shown on the pages and left as it is.
///
/// # Errors
///
/// [`Error::Incomplete`] if records are missing; errors of reading and writing.
pub fn write(
    store: &Store,
    plan: &Digest,
    folder: &Path,
    options: ReportOptions,
) -> Result<ReportFiles, Error> {
    let (evidence, partial) = match options.unfinished {
        None => (Evidence::load(store, plan)?, None),
        Some(unfinished) => {
            let mut evidence = Evidence::load_some(store, plan)?;
            let groups = evidence.keep_finished(store)?;
            (evidence, Some(Partial { text: unfinished.text(groups), unfinished }))
        }
    };
    let mut tables = tables::all(&evidence);
    if partial.is_some() {
        tables.iter_mut().for_each(|table| table.caption.push_str(" (partial)"));
    }
    let tables_folder = folder.join("tables");
    let mut files = Vec::new();
    let revision = &evidence.plan.code_revision;
    for table in &tables {
        files.extend(
            table.write(&tables_folder, revision)?.into_iter().map(|name| tables_folder.join(name)),
        );
    }
    let metrics = tables::metrics(&tables);
    let names = metrics.write(&tables_folder, revision)?;
    files.extend(names.into_iter().map(|name| tables_folder.join(name)));
    tables.retain(|table| table.height() > 0);
    let sheet = Sheet {
        folder: &folder.join("figures"),
        width: FigureWidth::PAGE,
        revision: short_revision(revision),
    };
    let figures = draw_all(&tables_folder, &sheet)?;
    files.extend(figure_files(folder, &figures));

    let notes = read_notes(folder)?;
    let explorers = match &partial {
        None => write_explorers(store, &evidence, folder, options, &mut files)?,
        Some(_) => Vec::new(),
    };
    let page = folder.join("page.html");
    let partial = partial.as_ref();
    let text = html::page(&evidence, &tables, &figures, &explorers, notes.as_deref(), partial);
    write_file(&page, &text, &mut files)?;
    let text = markdown::page(&evidence, &tables, &figures, notes.as_deref(), partial);
    write_file(&folder.join("page.md"), &text, &mut files)?;
    write_file(&folder.join("plan.toml"), &plan_toml(&evidence), &mut files)?;
    let provenance = provenance(&evidence, plan, folder, &files, partial.is_some())?;
    let json = serde_json::to_string_pretty(&provenance).expect("provenance is plain data");
    write_file(&folder.join("provenance.json"), &(json + "\n"), &mut files)?;
    Ok(ReportFiles { page, files })
}

/// Draws the figures of the report in `folder` again, from its tables alone, for a printed width.
///
/// # Errors
///
/// Errors of reading the tables and writing the figures.
pub fn redraw(folder: &Path, width: FigureWidth) -> Result<Vec<PathBuf>, Error> {
    let sheet = Sheet { folder: &folder.join("figures"), width, revision: revision_of(folder) };
    let figures = draw_all(&folder.join("tables"), &sheet)?;
    Ok(figure_files(folder, &figures))
}

/// Returns the code revision of a written report; empty if it is unknown.
fn revision_of(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("provenance.json")).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    short_revision(json["code-revision"].as_str().unwrap_or_default())
}

/// Returns the first digits of a revision; a word such as `unknown` is empty.
pub(crate) fn short_revision(revision: &str) -> String {
    let digits = revision.chars().take_while(char::is_ascii_hexdigit).count();
    if digits < 7 { String::new() } else { revision.chars().take(10.min(digits)).collect() }
}

pub(crate) fn figure_files(folder: &Path, figures: &[Figure]) -> Vec<PathBuf> {
    let of = |figure: &Figure| {
        ["svg", "png", "pdf"]
            .map(|kind| folder.join("figures").join(format!("{}.{kind}", figure.name)))
    };
    figures.iter().flat_map(of).collect()
}

/// Returns the resolved settings of every condition, one after another.
fn plan_toml(evidence: &Evidence) -> String {
    let mut out = format!("# {}\n", evidence.plan.title);
    for condition in evidence.conditions() {
        let axes = condition.cell.axes.iter().map(|(key, value)| format!("{key} = {value}"));
        let axes = axes.collect::<Vec<_>>().join(", ");
        let seeds = condition.cells.iter().map(|cell| cell.seed.to_string()).collect::<Vec<_>>();
        let id = condition.cell.id.short();
        // The prefix keeps the name from starting like a number.
        out.push_str(&format!("\n# {axes}; seeds {}\n[cell-{id}]\n", seeds.join(", ")));
        for line in condition.cell.settings.lines() {
            if line.starts_with("seed = ") {
                continue;
            }
            // Every condition is a table.
            out.push_str(&match line.strip_prefix('[') {
                Some(name) => format!("[cell-{id}.{name}"),
                None => line.to_owned(),
            });
            out.push('\n');
        }
    }
    out
}
