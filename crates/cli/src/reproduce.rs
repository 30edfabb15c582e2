//! `reproduce`: the experiments of a suite, one after another, and its summary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use preceptor_reports::{
    Claim, Suite, SuiteContrast, SuitePart, check_claims, check_contrasts, write_suite,
};
use preceptor_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::{ExperimentArguments, ReproduceArguments};
use crate::failure::Failure;
use crate::lab::{CHECKS_FAILED, open, open_to_plan, run_plan, write_report};
use crate::output::Output;
use crate::plan::print_plan;

/// What `suite.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SuiteFile {
    title: String,
    description: String,
    /// Prompts of each benchmark with `--quick`.
    quick_limit: usize,
    #[serde(rename = "manifest")]
    manifests: Vec<Member>,
    #[serde(rename = "claim", default)]
    claims: Vec<Claim>,
    #[serde(rename = "contrast", default)]
    contrasts: Vec<SuiteContrast>,
}

/// One experiment of a suite.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Member {
    /// The manifest, beside `suite.toml`.
    file: PathBuf,
    /// Settings with `--quick`; none where it is left out then.
    quick: Option<Vec<String>>,
}

impl SuiteFile {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("suite.toml");
        let read = |detail: String, hint: &str| {
            Failure::input(format!("read suite `{}`: {detail}", path.display()), hint)
        };
        let text = fs::read_to_string(&path).map_err(|error| {
            read(
                error.to_string(),
                "run it where the `experiments` folder lies, or name that with `--experiments DIR`",
            )
        })?;
        toml::from_str(&text).map_err(|error| {
            read(error.to_string(), "`suite.toml` has a title, a description, manifests and claims")
        })
    }

    /// What remains of it with `--quick`.
    fn shortened(mut self) -> Self {
        self.manifests.retain(|member| member.quick.is_some());
        let stays =
            |experiment: &str| self.manifests.iter().any(|member| member.name() == experiment);
        self.claims.retain(|claim| {
            !claim.checks.is_empty() && claim.checks.iter().all(|check| stays(&check.experiment))
        });
        self.contrasts.retain(|contrast| stays(&contrast.experiment));
        self
    }
}

impl Member {
    fn name(&self) -> String {
        self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

pub(crate) fn reproduce(
    arguments: &ReproduceArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let name = arguments.suite.name();
    let folder = arguments.experiments.join(name);
    let mut suite = SuiteFile::read(&folder)?;
    if arguments.quick {
        suite = suite.shortened();
    }
    let reports = arguments.reports.join(if arguments.quick {
        format!("{name}-quick")
    } else {
        name.to_owned()
    });
    let experiment = |member: &Member| ExperimentArguments {
        file: folder.join(&member.file),
        settings: {
            let quick = member.quick.iter().filter(|_| arguments.quick).flatten();
            quick.chain(&arguments.settings).cloned().collect()
        },
        only: Vec::new(),
        limit: arguments.quick.then_some(suite.quick_limit),
        device: arguments.device.clone(),
        store: arguments.store.clone(),
    };
    let options = arguments.resources.generation();
    // Whatever any of them lacks is said, all at once, before the first is run.
    let mut lacking: Vec<Failure> = Vec::new();
    let mut plans = Vec::new();
    for member in &suite.manifests {
        let experiment = experiment(member);
        let opened = match arguments.dry_run {
            true => open_to_plan(&experiment),
            false => open(&experiment, options),
        };
        plans.extend(opened.iter().map(|lab| (member.name(), lab.plan.record())));
        match opened {
            Ok(mut lab) if arguments.dry_run => {
                print_plan(&mut lab, output)?;
                output.text("");
            }
            Ok(_) => {}
            Err(failure) if lacking.iter().any(|known| known.is_like(&failure)) => {}
            Err(failure) => lacking.push(failure),
        }
    }
    if let Some(failure) = Failure::together(lacking) {
        return Err(failure);
    }
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    check_claims(&suite.claims, &plans)?;
    check_contrasts(&suite.contrasts, &plans)?;
    let (mut parts, mut counts, mut num_failed) = (Vec::new(), Vec::new(), 0);
    for (index, member) in suite.manifests.iter().enumerate() {
        let place = format!("{} of {}", index + 1, suite.manifests.len());
        let mut lab = open(&experiment(member), options)?;
        eprintln!("{place}: {} ({})", lab.plan.title(), member.name());
        let summary = run_plan(&mut lab, arguments.resources.run_options())?;
        write_report(&lab, &reports)?;
        num_failed += summary.num_failed;
        counts.push(json!({
            "experiment": member.name(), "rollouts-drawn": summary.num_rollouts,
            "rollouts-reused": summary.num_reused, "training-steps": summary.num_steps,
            "failed-records": summary.num_failed,
        }));
        let plan = lab.store.put_plan(&lab.plan.record())?;
        parts.push(SuitePart { experiment: member.name(), plan });
    }
    let store = Store::open(&arguments.store)?;
    let mut description = suite.description;
    if !arguments.settings.is_empty() {
        let settings = arguments.settings.join("`, `");
        description += &format!("\n\nEvery experiment was run with `{settings}`.");
    }
    let about = Suite {
        title: &suite.title,
        description: &description,
        claims: &suite.claims,
        contrasts: &suite.contrasts,
    };
    let written = write_suite(&store, &about, &parts, &reports)?;
    output.json(&json!({
        "experiments": Value::Array(counts), "page": written.page, "failed-records": num_failed,
    }));
    output.text(format!("Report: {}", written.page.display()));
    if num_failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output.text(format!(
        "{num_failed} records could not be made; run again to ask for what failed, and nothing else"
    ));
    Ok(ExitCode::from(CHECKS_FAILED))
}
