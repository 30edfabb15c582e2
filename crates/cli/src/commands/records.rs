//! `records`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_models::GenerationOptions;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::session::open;
use crate::shared_arguments::ExperimentArguments;

#[derive(Debug, Args)]
pub(crate) struct RecordsArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Also write logs of the evaluations for Inspect, into `inspect` below it.
    #[arg(long)]
    pub(crate) inspect: bool,
    /// Also write results in the form of lm-evaluation-harness, into `lm-eval` below it.
    #[arg(long)]
    pub(crate) lm_eval: bool,
}

pub(crate) fn records(arguments: &RecordsArguments, output: &Output) -> Result<ExitCode, Failure> {
    let session = open(&arguments.experiment, GenerationOptions::default())?;
    let digest = session.store.put_plan(&session.plan.record())?;
    let RecordsArguments { out, inspect, lm_eval, .. } = arguments;
    let store = &session.store;
    let written = preceptor_reports::write_records(store, &digest, out)?;
    let mut files = written.files;
    if *inspect {
        files.extend(preceptor_reports::write_inspect_logs(store, &digest, &out.join("inspect"))?);
    }
    if *lm_eval {
        let folder = out.join("lm-eval");
        files.extend(preceptor_reports::write_lm_eval_results(store, &digest, &folder)?);
    }
    let rows: Map<String, Value> =
        written.num_rows.iter().map(|(name, rows)| ((*name).to_owned(), json!(rows))).collect();
    output.json(&json!({ "rows": rows, "files": files }));
    for (name, rows) in &written.num_rows {
        let path = out.join(name);
        output.text(format!("{rows} rows in {0}.jsonl and {0}.parquet", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
