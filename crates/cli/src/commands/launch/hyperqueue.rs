//! A job definition file for HyperQueue.
//!
//! Tasks have no time limit: when an allocation ends, HyperQueue gives its tasks to another worker, where
//! they resume.

use toml::{Table, Value};

use super::script::{Job, ranges};

pub(crate) fn definition(job: &Job<'_>, unfinished: &[usize]) -> String {
    let settings = job.settings;
    let mut script =
        vec![format!("cd {} || exit 1", super::script::quote(&job.current.display().to_string()))];
    script.extend(settings.setup.iter().cloned());
    script.push(format!("exec {}", job.command(&job.program.display().to_string(), "HQ_TASK_ID")));
    script.push(String::new());
    let command = ["/bin/bash", "-c", &script.join("\n")].map(|word| Value::from(word.to_owned()));
    let log = |ending| Value::from(job.path(&format!("logs/%{{JOB_ID}}_%{{TASK_ID}}.{ending}")));
    let mut array = Table::new();
    array.insert("ids".to_owned(), Value::from(ranges(unfinished)));
    array.insert("command".to_owned(), Value::Array(command.to_vec()));
    array.insert("stdout".to_owned(), log("out"));
    array.insert("stderr".to_owned(), log("err"));
    let mut resources = Table::new();
    let numbers = [
        ("cpus", settings.cpus),
        ("gpus/nvidia", Some(settings.gpus).filter(|gpus| *gpus > 0)),
        // In MiB, as workers report it.
        ("mem", settings.memory_gib.map(|gib| gib.saturating_mul(1024))),
    ];
    for (name, number) in numbers {
        resources.extend(number.map(|number| (name.to_owned(), Value::from(i64::from(number)))));
    }
    if !resources.is_empty() {
        let request = Table::from_iter([("resources".to_owned(), Value::Table(resources))]);
        array.insert("request".to_owned(), Value::Array(vec![Value::Table(request)]));
    }
    let mut table = Table::new();
    table.insert("name".to_owned(), Value::from(job.plain_name()));
    table.insert("array".to_owned(), Value::Array(vec![Value::Table(array)]));
    let text = toml::to_string_pretty(&table).expect("plain data");
    format!("{}\n{text}", job.comment())
}
