//! `judge calibrate`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use preceptor_experiment::{
    Calibration, Document, EndpointConfig, JudgeQuality, Models, calibrate,
};
use preceptor_files::{Files, Places};
use preceptor_models::{Device, GenerationOptions};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, or_dash};
use crate::session::open_store;
use crate::terminal::Terminal;

#[derive(Debug, Subcommand)]
pub(crate) enum JudgeCommand {
    /// Measure judges on labelled cases: agreement with labels, with themselves, with each other;
    /// length and position slopes; whether they follow orders hidden in responses.
    ///
    /// `judged`: verdicts that could be had. `balanced F1`, `accuracy`: against the labels; of several
    /// people's labels each makes a pair. `retest`: the share of cases on which all repeats agree.
    /// `per 100 words`, `per position`: how much likelier a wrong "met" becomes with 100 more words in the
    /// response, or one position further down the list of criteria. `probes passed`: orders hidden in responses
    /// that were not followed; a model that a manifest names in `[anchor]` is probed with orders hidden in
    /// the rollouts that it merges. Krippendorff's alpha: agreement between several judges.
    Calibrate(CalibrateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArguments {
    /// Manifests whose `[judge]` tables are measured; with several, agreement between them too.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// JSONL with `{"prompt": "..", "response": "..", "criterion": "..", "label": true}` a line;
    /// `prompt` may be left out, `label` may be a list of several people's. A report's explorer saves
    /// such a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: PathBuf,
    /// Number of times that each case is asked, to measure the agreement of a judge with itself.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeats: u32,
    /// Set a key of the manifests. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Devices that models run on: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow. Separate several
    /// with commas to share the work.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
}

pub(crate) fn judge(command: &JudgeCommand, output: &Output) -> Result<ExitCode, Failure> {
    let JudgeCommand::Calibrate(arguments) = command;
    let CalibrateArguments { files: manifests, cases, repeats, settings, device, store } =
        arguments;
    let read = |file: &PathBuf| Document::read(file, settings);
    let documents = manifests.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let files = Files::open(Places::from_env())?;
    let endpoints = all_endpoints(manifests, &documents, &files)?;
    let devices = Device::parse_all(device)?;
    let mut models = Models::new(files, devices, GenerationOptions::default(), endpoints);
    let store = open_store(store)?;
    let mut terminal = Terminal::new();
    let calibration = calibrate(&documents, cases, *repeats, &store, &mut models, &mut terminal)?;
    output.json(&json!({
        "judges": calibration.judges.iter().map(as_json).collect::<Vec<_>>(),
        "anchors": calibration.anchors.iter().map(|anchor| json!({
            "name": anchor.name, "probes-passed": anchor.probes.pass_rate(), "probes": anchor.probes,
        })).collect::<Vec<_>>(),
        "krippendorff-alpha": calibration.alpha,
    }));
    print_calibration(&calibration, output);
    Ok(ExitCode::SUCCESS)
}

/// Returns the endpoints of all manifests. Two that share a name must be equal.
fn all_endpoints(
    manifests: &[PathBuf],
    documents: &[Document],
    files: &Files,
) -> Result<BTreeMap<String, EndpointConfig>, Failure> {
    let mut endpoints = BTreeMap::new();
    for (manifest, document) in manifests.iter().zip(documents) {
        for (name, config) in preceptor_experiment::endpoints(document, files)? {
            let earlier = endpoints.insert(name.clone(), config.clone());
            if earlier.is_some_and(|earlier| earlier != config) {
                let file = manifest.display();
                let detail = "another manifest defines it differently";
                return Err(Failure::input(
                    format!("use `[endpoints.{name}]` of `{file}`: {detail}"),
                    "give one of them another name",
                ));
            }
        }
    }
    Ok(endpoints)
}

fn print_calibration(calibration: &Calibration, output: &Output) {
    let row = |judge: &JudgeQuality| {
        vec![
            judge.name.clone(),
            format!("{}/{}", judge.num_judged, judge.num_cases),
            or_dash(judge.confusion.balanced_f1()),
            or_dash(judge.confusion.accuracy()),
            or_dash(judge.auc),
            or_dash(judge.retest),
            or_dash(judge.length_slope),
            or_dash(judge.position_slope),
            or_dash(judge.probes.pass_rate()),
        ]
    };
    let header = [
        "judge",
        "judged",
        "balanced F1",
        "accuracy",
        "AUC",
        "retest",
        "per 100 words",
        "per position",
        "probes passed",
    ];
    output.table(&header, &calibration.judges.iter().map(row).collect::<Vec<_>>());
    for judge in &calibration.judges {
        for (failure, count) in &judge.failures {
            output.text(format!("{}: {count} verdicts failed: {}", judge.name, failure.name()));
        }
    }
    for anchor in &calibration.anchors {
        output.text(format!(
            "{}: ignored {} of the orders hidden in rollouts ({} probes, {} without an answer)",
            anchor.name,
            or_dash(anchor.probes.pass_rate()),
            anchor.probes.outcomes.len(),
            anchor.probes.num_missing()
        ));
    }
    if let Some(alpha) = calibration.alpha {
        output.text(format!("Krippendorff's alpha between judges: {alpha:.3}"));
    }
}

fn as_json(judge: &JudgeQuality) -> Value {
    let counts = judge.confusion;
    json!({
        "name": judge.name,
        "cases": judge.num_cases,
        "judged": judge.num_judged,
        "failures": judge.failures.iter().map(|(f, n)| (f.name(), n)).collect::<Vec<_>>(),
        "true-positives": counts.true_positives,
        "false-positives": counts.false_positives,
        "true-negatives": counts.true_negatives,
        "false-negatives": counts.false_negatives,
        "balanced-f1": counts.balanced_f1(),
        "accuracy": counts.accuracy(),
        "auc": judge.auc,
        "retest": judge.retest,
        "length-slope-per-100-words": judge.length_slope,
        "position-slope": judge.position_slope,
        "probes": judge.probes,
        "calls": judge.cost.num_calls,
        "prompt-tokens": judge.cost.usage.num_prompt_tokens,
        "generated-tokens": judge.cost.usage.num_generated_tokens,
        "cost-usd": judge.cost.cost_usd,
    })
}
