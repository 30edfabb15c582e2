//! Summary of several experiments: each claim with the results of its checks.

use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::contrast::ContrastRecord;
use preceptor_core::{Digest, lacking_controls};
use preceptor_store::Store;

use crate::claims::{CheckResult, ClaimVerdict, check_claims, evaluate_check, verdict};
use crate::evidence::Evidence;
use crate::figures::{FigureWidth, Sheet, draw_all};
use crate::file::{read_notes, write_file};
use crate::html_suite::suite_page;
use crate::suite_contrasts::check_contrasts;
use crate::suite_view::{ClaimResult, PartView, Suite, SuiteView};
use crate::table::Table;
use crate::write::{figure_files, short_revision};
use crate::{Error, markdown, overview, tables};

/// Tables of an experiment that the summary shows too.
const SHOWN: [&str; 6] =
    ["scores", "contrasts", "training_scores", "disagreement", "rollouts", "spending"];

/// The beginnings of the names of figures that the summary shows.
const FIGURES: [&str; 7] = [
    "before-and-after",
    "cost-and-quality-tokens",
    "disagreement-",
    "learning-curves",
    "reward-auc-",
    "reward-correlation-",
    "score-by-",
];

/// An experiment whose report is in a folder of its name beside the summary.
#[derive(Clone, Debug)]
pub struct SuitePart {
    /// The name of the experiment.
    pub experiment: String,
    /// The digest of its plan.
    pub plan: Digest,
}

/// Written summary of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteFiles {
    /// The page to open.
    pub page: PathBuf,
    /// Every file.
    pub files: Vec<PathBuf>,
    /// Id and verdict of each claim.
    pub verdicts: Vec<(String, &'static str)>,
}

/// Writes `page.html`, `page.md`, `tables/claims.*` and `tables/contrasts.*` of a suite into `folder`,
/// which contains the reports of its parts.
///
/// # Errors
///
/// [`Error::Claim`] if a check names what no experiment has; errors of reading and writing.
pub fn write_suite(
    store: &Store,
    suite: &Suite<'_>,
    parts: &[SuitePart],
    folder: &Path,
) -> Result<SuiteFiles, Error> {
    let plan = |part: &SuitePart| Ok((part.experiment.clone(), store.plan(&part.plan)?));
    let plans = parts.iter().map(plan).collect::<Result<Vec<_>, Error>>()?;
    check_claims(suite.claims, &plans)?;
    check_contrasts(suite.contrasts, &plans)?;
    let mut judged: Vec<ClaimResult<'_>> = suite
        .claims
        .iter()
        .map(|claim| ClaimResult { claim, results: Vec::new(), verdict: ClaimVerdict::NotTestable })
        .collect();
    let (mut views, mut contrasts) = (Vec::new(), Vec::new());
    let (mut answers, mut costs) = (Vec::new(), Vec::new());
    let mut revision = String::new();
    for part in parts {
        let evidence = Evidence::load(store, &part.plan)?;
        let of_part = suite.contrasts.iter().filter(|of| of.experiment == part.experiment);
        let of_part: Vec<ContrastRecord> = of_part.map(|of| of.contrast.clone()).collect();
        contrasts.extend(tables::contrast_rows(&evidence, &of_part));
        for one in &mut judged {
            let of_part = one.claim.checks.iter();
            for check in of_part.filter(|check| check.experiment == part.experiment) {
                one.results.push(evaluate_check(check, &evidence)?);
            }
        }
        revision.clone_from(&evidence.plan.code_revision);
        let mut tables = tables::all(&evidence);
        let named = |name: &str| tables.iter().find(|table| table.name == name);
        if let Some(scores) = named("scores").filter(|table| table.height() > 0) {
            answers.push((part.experiment.clone(), overview::answer(scores)));
        }
        costs.extend(overview::total_cost(named("spending")));
        tables.retain(|table| table.height() > 0 && SHOWN.contains(&table.name));
        let figures = read_figures(&folder.join(&part.experiment).join("figures"))?;
        let (experiment, title) = (part.experiment.clone(), evidence.plan.title.clone());
        views.push(PartView { experiment, title, tables, figures });
    }
    for one in &mut judged {
        one.verdict = verdict(one.claim, &one.results);
    }

    let table = claims_table(&judged);
    let tables_folder = folder.join("tables");
    let contrasts = tables::contrasts_table(&contrasts);
    let mut names = table.write(&tables_folder, &revision)?;
    names.extend(contrasts.write(&tables_folder, &revision)?);
    let mut files: Vec<PathBuf> = names.into_iter().map(|name| tables_folder.join(name)).collect();
    let sheet = Sheet {
        folder: &folder.join("figures"),
        width: FigureWidth::PAGE,
        revision: short_revision(&revision),
    };
    let figures = draw_all(&tables_folder, &sheet)?;
    files.extend(figure_files(folder, &figures));
    // The experiment that compares most is the one to begin with.
    let answer = answers.iter().rev().max_by_key(|(_, table)| table.height());
    let of_answer = answer.and_then(|(experiment, _)| {
        let view = views.iter().find(|view| view.experiment == *experiment)?;
        let is_of_scores = |(name, _): &&(String, String)| name.starts_with("score-by-aggregator");
        view.figures.iter().find(is_of_scores).map(|(_, svg)| ("", svg.as_str()))
    });
    let own = figures.first().map(|figure| (figure.caption.as_str(), figure.svg.as_str()));
    let view = SuiteView {
        suite,
        judged: &judged,
        claims: &table,
        contrasts: &contrasts,
        parts: &views,
        answer: answer.map(|(experiment, table)| (experiment.as_str(), table)),
        figure: own.or(of_answer),
        has_own_figure: !figures.is_empty(),
        cost: overview::sum(costs),
        lack: lacking_controls(plans.iter().map(|(_, plan)| plan)),
    };
    let notes = read_notes(folder)?;
    let page = folder.join("page.html");
    write_file(&page, &suite_page(&view, notes.as_deref()), &mut files)?;
    let text = markdown::suite_page(&view, notes.as_deref());
    write_file(&folder.join("page.md"), &text, &mut files)?;
    let verdicts = judged.iter().map(|one| (one.claim.id.clone(), one.verdict.name())).collect();
    Ok(SuiteFiles { page, files, verdicts })
}

/// Returns a table with a row for each check, and for each claim without one.
fn claims_table(judged: &[ClaimResult<'_>]) -> Table {
    let rows: Vec<(&ClaimResult<'_>, Option<&CheckResult<'_>>)> = judged
        .iter()
        .flat_map(|one| {
            let results = one.results.iter().map(move |result| (one, Some(result)));
            let none = one.results.is_empty().then_some((one, None));
            results.chain(none)
        })
        .collect();
    let caption = "Checks of each claim: the measured value with its 95% interval, the expectation \
                   and the verdict";
    let mut table = Table::new("claims", caption);
    let text = |of: &dyn Fn(&CheckResult<'_>) -> String| {
        rows.iter().map(|(_, result)| result.map_or_else(String::new, of)).collect::<Vec<_>>()
    };
    table.text("claim", rows.iter().map(|(one, _)| one.claim.id.clone()).collect());
    table.text("experiment", text(&|result| result.check.experiment.clone()));
    table.text("measure", text(&|result| result.subject()));
    table.text("expected", text(&|result| result.expected()));
    let mean = |side: usize| {
        rows.iter()
            .map(|(_, result)| result.and_then(|result| result.value.means[side]))
            .collect::<Vec<_>>()
    };
    table.number("a_score", mean(0));
    table.number("b_score", mean(1));
    let estimates: Vec<_> =
        rows.iter().map(|(_, result)| result.and_then(|result| result.value.estimate)).collect();
    table.estimates(["value", "low", "high"], &estimates);
    let relative = rows.iter().map(|(_, result)| result.and_then(|of| of.value.relative()));
    table.number("relative", relative.collect());
    let of_questions = rows.iter().map(|(_, result)| result.and_then(|of| of.value.of_questions));
    table.number("of_questions", of_questions.collect());
    table.drop_empty(&["relative", "of_questions"]);
    table.text("over", text(&|result| result.value.over()));
    table.text("check", text(&|result| result.verdict.name().to_owned()));
    table.text("verdict", rows.iter().map(|(one, _)| one.verdict.name().to_owned()).collect());
    table
}

fn read_figures(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let error = |path: &Path, error: std::io::Error| Error::Read {
        path: path.to_owned(),
        detail: error.to_string(),
    };
    let mut figures = Vec::new();
    if folder.is_dir() {
        let entries = fs::read_dir(folder).map_err(|e| error(folder, e))?;
        let mut paths: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "svg"));
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !FIGURES.iter().any(|kind| name.starts_with(kind)) {
                continue;
            }
            figures.push((name, fs::read_to_string(&path).map_err(|e| error(&path, e))?));
        }
    }
    Ok(figures)
}
