//! `show`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_experiment::{Relation, ShownRecord};
use preceptor_reports::{format_number, visible};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::session::open_store;

/// Characters of a text in a line.
const LINE: usize = 70;
/// Lines of records of one kind.
const NUM_LINES: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The record's key: `PROMPT` for prompts, aggregates, grades and rewards; `PROMPT#INDEX` for rollouts
    /// and their grades; `STEP/PROMPT` for groups of a training step; `STEP` for steps.
    pub(crate) key: String,
    /// Look only in stages of this kind, such as `rewards`, or in the stage whose digest starts so.
    #[arg(long, value_name = "KIND|DIGEST")]
    pub(crate) stage: Option<String>,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
}

pub(crate) fn show(arguments: &ShowArguments, output: &Output) -> Result<ExitCode, Failure> {
    let store = open_store(&arguments.store)?;
    let shown = preceptor_experiment::show(&store, &arguments.key, arguments.stage.as_deref())?;
    output.json(&as_json(&shown));
    print_record(&shown, output);
    Ok(ExitCode::SUCCESS)
}

fn as_json(shown: &ShownRecord) -> Value {
    let related = shown.related.iter().map(|record| {
        json!({
            "relation": record.relation.name(), "kind": record.kind, "stage": record.stage,
            "key": record.key, "value": record.value,
        })
    });
    json!({
        "kind": shown.kind, "stage": shown.stage, "key": shown.key, "value": shown.value,
        "depends-on": shown.spec["fields"], "read-by": shown.readers,
        "related": related.collect::<Vec<_>>(),
    })
}

fn print_record(shown: &ShownRecord, output: &Output) {
    // Texts of models may hold characters that move the cursor or reorder a line.
    let pretty = |value: &Value| {
        visible(&serde_json::to_string_pretty(value).expect("records are plain data"))
    };
    let line = |text: String| output.text(visible(&text));
    line(format!("{} {}, stage {}", shown.kind, shown.key, shown.stage.short()));
    output.text(pretty(&shown.value));
    for relation in [Relation::Prompt, Relation::MadeFrom, Relation::MadeInto] {
        let records: Vec<_> =
            shown.related.iter().filter(|record| record.relation == relation).collect();
        if records.is_empty() {
            continue;
        }
        output.text(format!("\n{}:", relation.name()));
        for record in records.iter().take(NUM_LINES) {
            let says = summary(&record.kind, &record.value);
            line(format!("  {} {} {}  {says}", record.kind, record.stage.short(), record.key));
        }
        if records.len() > NUM_LINES {
            output.text(format!("  and {} more, which `--json` has", records.len() - NUM_LINES));
        }
    }
    if !shown.readers.is_empty() {
        output.text("\nread by:");
    }
    for reader in shown.readers.iter().take(NUM_LINES) {
        line(format!("  {reader}"));
    }
    if shown.readers.len() > NUM_LINES {
        output.text(format!("  and {} more", shown.readers.len() - NUM_LINES));
    }
    output.text("\ndepends on:");
    output.text(pretty(&shown.spec["fields"]));
}

/// Says in a few words what a record holds.
fn summary(kind: &str, value: &Value) -> String {
    let text = |value: &Value| {
        let text = value.as_str().unwrap_or_default().replace('\n', " ");
        match text.char_indices().nth(LINE) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    };
    let number = |value: &Value| value.as_f64().map_or_else(|| "none".to_owned(), format_number);
    let score = |score: &Value| match score.get("scored") {
        Some(value) => format!("score {}", number(value)),
        None => format!("unscored: {}", text(&score["unscored"])),
    };
    match kind {
        "prompts" => text(&value["question"]),
        "rollouts" => text(&value["rollout"]["text"]),
        "rollout-grades" | "grades" => {
            format!("{}, {}", score(&value["score"]), text(&value["reason"]))
        }
        "aggregates" => {
            let outcome = &value["aggregate"]["outcome"];
            match outcome.get("estimated") {
                Some(reference) => {
                    let origin = match reference["origin"].get("rollout") {
                        Some(index) => format!("rollout {index}"),
                        None => "written".to_owned(),
                    };
                    format!("{origin}: {}", text(&reference["text"]))
                }
                None => format!("none: {}", text(&outcome["abstained"])),
            }
        }
        "rewards" => rewards(&value["group"]),
        "train-groups" => rewards(&value["reward"]),
        "answer-classes" => format!("classes {}", value["classes"]),
        "train-steps" => {
            format!("{} measures", value["measures"].as_object().map_or(0, |of| of.len()))
        }
        _ => String::new(),
    }
}

fn rewards(group: &Value) -> String {
    let value = |reward: &Value| match reward["value"].get("rewarded") {
        Some(value) => value.as_f64().map_or_else(|| "none".to_owned(), format_number),
        None => "none".to_owned(),
    };
    let values = group["rewards"].as_array().map(Vec::as_slice).unwrap_or_default();
    format!("rewards {}", values.iter().map(value).collect::<Vec<_>>().join(", "))
}
