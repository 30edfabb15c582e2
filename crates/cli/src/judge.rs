//! `judge calibrate`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use preceptor_experiment::{Document, JudgeQuality, Models, calibrate};
use preceptor_files::{Files, Places};
use preceptor_models::{Device, GenerationOptions};
use preceptor_store::Store;
use serde_json::{Value, json};

use crate::arguments::{CalibrateArguments, JudgeCommand};
use crate::failure::Failure;
use crate::output::{Output, or_dash};
use crate::terminal::Terminal;

pub(crate) fn judge(command: &JudgeCommand, output: &Output) -> Result<ExitCode, Failure> {
    let JudgeCommand::Calibrate(arguments) = command;
    let CalibrateArguments { files: manifests, cases, repeats, settings, device, store } =
        arguments;
    let documents = manifests
        .iter()
        .map(|file| Document::read(file, settings))
        .collect::<Result<Vec<_>, _>>()?;
    let files = Files::open(Places::from_env())?;
    let mut endpoints = BTreeMap::new();
    for (manifest, document) in manifests.iter().zip(&documents) {
        for (name, config) in preceptor_experiment::endpoints(document, &files)? {
            let earlier = endpoints.insert(name.clone(), config.clone());
            if earlier.is_some_and(|earlier| earlier != config) {
                let file = manifest.display();
                let detail = "another of the manifests describes it differently";
                return Err(Failure::input(
                    format!("use `[endpoints.{name}]` of `{file}`: {detail}"),
                    "give one of them another name",
                ));
            }
        }
    }
    let devices = Device::parse_all(device)?;
    let mut models = Models::new(files, devices, GenerationOptions::default(), endpoints);
    let store = Store::open(store)?;
    let mut terminal = Terminal::new();
    let calibration = calibrate(&documents, cases, *repeats, &store, &mut models, &mut terminal)?;
    output.json(&json!({
        "judges": calibration.judges.iter().map(as_json).collect::<Vec<_>>(),
        "anchors": calibration.anchors.iter().map(|anchor| json!({
            "name": anchor.name, "probes-passed": anchor.probes.pass_rate(), "probes": anchor.probes,
        })).collect::<Vec<_>>(),
        "krippendorff-alpha": calibration.alpha,
    }));
    let rows: Vec<_> = calibration
        .judges
        .iter()
        .map(|judge| {
            vec![
                judge.name.clone(),
                format!("{}/{}", judge.num_judged, judge.num_cases),
                or_dash(judge.confusion.balanced_f1()),
                or_dash(judge.confusion.accuracy()),
                or_dash(judge.retest),
                or_dash(judge.length_slope),
                or_dash(judge.position_slope),
                or_dash(judge.probes.pass_rate()),
            ]
        })
        .collect();
    let header = [
        "judge",
        "judged",
        "balanced F1",
        "accuracy",
        "retest",
        "per 100 words",
        "per place",
        "probes passed",
    ];
    output.table(&header, &rows);
    for judge in &calibration.judges {
        for (failure, count) in &judge.failures {
            output.text(format!("{}: {count} verdicts failed: {}", judge.name, failure.name()));
        }
    }
    for anchor in &calibration.anchors {
        output.text(format!(
            "{}: share of orders hidden in rollouts that were not followed {}, of {} probes; {} without an answer",
            anchor.name,
            or_dash(anchor.probes.pass_rate()),
            anchor.probes.outcomes.len(),
            anchor.probes.num_missing()
        ));
    }
    if let Some(alpha) = calibration.alpha {
        output.text(format!("Krippendorff's alpha between judges: {alpha:.3}"));
    }
    Ok(ExitCode::SUCCESS)
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
