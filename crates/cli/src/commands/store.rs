//! `store`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use preceptor_store::{Finding, Store};
use serde_json::json;

use crate::failure::{CHECKS_FAILED, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Check every digest and checksum.
    Verify {
        /// The store's folder.
        #[arg(long, value_name = "DIR", default_value = "runs")]
        store: PathBuf,
    },
}

pub(crate) fn store(command: &StoreCommand, output: &Output) -> Result<ExitCode, Failure> {
    let StoreCommand::Verify { store } = command;
    let verification = Store::open(store)?.verify()?;
    let describe = |finding: &Finding| match finding {
        Finding::WrongSpec { folder } => {
            format!(
                "`{}`: its specification does not match the digest in its name",
                folder.display()
            )
        }
        Finding::BadLine { path, line } => {
            format!(
                "`{}`, line {line}: incomplete record; the next run makes it again",
                path.display()
            )
        }
        Finding::Unreadable { path, line, key, detail } => {
            format!(
                "`{}`, line {line}: record `{key}` can't be read ({detail}); the next run makes it again",
                path.display()
            )
        }
        Finding::Conflict { folder, key } => {
            format!("`{}`: record `{key}` has two different values", folder.display())
        }
        Finding::WrongPlan { path } => {
            format!("`{}`: its contents do not match the digest in its name", path.display())
        }
    };
    let findings: Vec<_> = verification.findings.iter().map(describe).collect();
    output.json(&json!({
        "stages": verification.num_stages, "records": verification.num_records, "findings": findings,
    }));
    for finding in &findings {
        output.text(finding);
    }
    output.text(format!(
        "{} stages, {} records, {} findings",
        verification.num_stages,
        verification.num_records,
        findings.len()
    ));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHECKS_FAILED) })
}
