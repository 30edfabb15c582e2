//! `launch`: an experiment as an array of tasks on a cluster.
//!
//! The scheduler only starts tasks. What is done, and what is missing, is in the store.

mod frozen;
mod hyperqueue;
mod kubernetes;
mod script;
mod slurm;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use preceptor_experiment::{Document, LaunchSettings, WorkUnit, launch_settings, rollout_urls};
use preceptor_models::GenerationOptions;
use serde_json::json;

pub(crate) use self::frozen::FrozenPlan;
use self::script::{Job, ranges};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::open;
use crate::shared_arguments::{ExperimentArguments, ResourceArguments};

#[derive(Debug, Args)]
pub(crate) struct LaunchArguments {
    #[command(flatten)]
    experiment: ExperimentArguments,
    #[command(flatten)]
    scheduler: SchedulerArguments,
    /// Submit the tasks of units that are not finished.
    #[arg(long)]
    submit: bool,
    /// The folder for script, plan and logs. Default: `launch/EXPERIMENT`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace files that differ.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    resources: ResourceArguments,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SchedulerArguments {
    /// Write a job array for Slurm.
    #[arg(long)]
    slurm: bool,
    /// Write an Indexed Job for Kubernetes. It was never run on a cluster.
    #[arg(long)]
    kubernetes: bool,
    /// Write a job definition file for HyperQueue. It was never run on a cluster.
    #[arg(long)]
    hyperqueue: bool,
}

/// File of a job with the command that submits it.
struct Emitted {
    name: &'static str,
    text: String,
    submit: Vec<String>,
}

pub(crate) fn launch(arguments: &LaunchArguments, output: &Output) -> Result<ExitCode, Failure> {
    let experiment = &arguments.experiment;
    let document = Document::read(&experiment.file, &experiment.settings)?;
    let settings = launch_settings(&document)?;
    let session = open(experiment, GenerationOptions::default())?;
    let units = session.plan.work_units();
    let folder = arguments
        .out
        .clone()
        .unwrap_or_else(|| Path::new("launch").join(session.plan.experiment()));
    let unfinished = if arguments.submit {
        session.plan.unfinished_units(&session.store)?
    } else {
        (0..units.len()).collect()
    };
    let job = Job {
        name: session.plan.experiment(),
        file: &experiment.file,
        num_units: units.len(),
        settings: &settings,
        urls: rollout_urls(&document),
        folder: &folder,
        current: working_folder()?,
        program: program()?,
        arguments: run_arguments(arguments, &folder.join("plan.json")),
    };
    let emitted = arguments.scheduler.emit(&job, &unfinished)?;
    let frozen = FrozenPlan::new(&session.plan, &session.digest, &experiment.file, &units);
    let files = [("plan.json", frozen.to_json()), (emitted.name, emitted.text.clone())];
    write_files(&folder, &files, arguments.force)?;
    let path = folder.join(emitted.name);
    let mut value = json!({
        "script": path, "plan": folder.join("plan.json"), "units": units.len(),
        "submit": emitted.submit, "job": null,
    });
    if !arguments.submit {
        print_units(&units, output);
        output.text(format!("Submit with `{}`.", emitted.submit.join(" ")));
    } else if unfinished.is_empty() {
        output.text("Nothing to submit: every unit is finished.");
    } else {
        let reply = submit(&emitted.submit)?;
        output.text(format!("{} of {} units submitted: {reply}", unfinished.len(), units.len()));
        value["job"] = json!(reply);
    }
    output.text(format!("`preceptor status {}` shows the progress.", experiment.file.display()));
    output.json(&value);
    Ok(ExitCode::SUCCESS)
}

impl SchedulerArguments {
    fn emit(&self, job: &Job<'_>, unfinished: &[usize]) -> Result<Emitted, Failure> {
        if job.settings.server.is_some() && !self.slurm {
            return Err(Failure::input(
                "use `launch.server`: expected `--slurm`",
                "elsewhere, start the servers yourself and name them in `rollouts.base-urls`",
            ));
        }
        let path = |name: &str| job.folder.join(name).display().to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(if self.slurm {
            let mut submit: Vec<String> = words(&["sbatch", "--parsable"]);
            if unfinished.len() < job.num_units {
                submit.push(format!(
                    "--array={}{}",
                    ranges(unfinished),
                    slurm::limit(job.settings)
                ));
            }
            submit.push(path("slurm.sh"));
            Emitted { name: "slurm.sh", text: slurm::script(job), submit }
        } else if self.kubernetes {
            let submit = words(&["kubectl", "create", "--filename", &path("kubernetes.yaml")]);
            Emitted { name: "kubernetes.yaml", text: kubernetes::manifest(job)?, submit }
        } else {
            let submit = words(&["hq", "job", "submit-file", &path("hyperqueue.toml")]);
            Emitted {
                name: "hyperqueue.toml",
                text: hyperqueue::definition(job, unfinished),
                submit,
            }
        })
    }
}

/// Returns the arguments of `preceptor` for a task, without its index.
fn run_arguments(arguments: &LaunchArguments, plan: &Path) -> Vec<String> {
    let LaunchArguments { experiment, resources, .. } = arguments;
    let mut words = vec!["run".to_owned(), experiment.file.display().to_string()];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("--frozen", plan.display().to_string());
    add("--store", experiment.store.display().to_string());
    add("--device", experiment.device.clone());
    for setting in &experiment.settings {
        add("--set", setting.clone());
    }
    for only in &experiment.only {
        add("--only", only.clone());
    }
    if let Some(limit) = experiment.limit {
        add("--limit", limit.to_string());
    }
    if let Some(batch) = resources.batch {
        add("--batch", batch.to_string());
    }
    if let Some(bytes) = resources.device_memory {
        add("--device-memory", (bytes as f64 / f64::from(1 << 30)).to_string());
    }
    if resources.no_memory_check {
        words.push("--no-memory-check".to_owned());
    }
    words
}

fn working_folder() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| {
        Failure::environment(
            format!("find the current folder: {error}"),
            "change to another folder",
        )
    })
}

fn program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(|error| {
        Failure::environment(format!("find this program: {error}"), "run it by its whole path")
    })
}

/// Writes the files, unless one of them exists with other contents.
fn write_files(folder: &Path, files: &[(&str, String)], force: bool) -> Result<(), Failure> {
    let differs = |(name, text): &&(&str, String)| {
        fs::read(folder.join(name)).is_ok_and(|found| found != text.as_bytes())
    };
    if let Some((name, _)) = files.iter().find(differs).filter(|_| !force) {
        return Err(Failure::input(
            format!("write `{}`: it exists with other contents", folder.join(name).display()),
            "`--force` replaces it, `--out DIR` writes elsewhere; tasks that were submitted with it will refuse to run if the plan changed",
        ));
    }
    let failed = |path: &Path, error: std::io::Error| {
        Failure::environment(
            format!("write `{}`: {error}", path.display()),
            "name another folder with `--out DIR`",
        )
    };
    fs::create_dir_all(folder.join("logs")).map_err(|error| failed(folder, error))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn submit(command: &[String]) -> Result<String, Failure> {
    let text = command.join(" ");
    let hint = format!("run `{text}` on a machine that can reach the scheduler");
    let failed =
        |detail: String| Failure::environment(format!("submit with `{text}`: {detail}"), &hint);
    let output = Command::new(&command[0]).args(&command[1..]).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn print_units(units: &[WorkUnit], output: &Output) {
    let row = |(index, unit): (usize, &WorkUnit)| {
        vec![index.to_string(), unit.cells.len().to_string(), unit.label.clone()]
    };
    let rows: Vec<_> = units.iter().enumerate().map(row).collect();
    output.table(&["unit", "cells", "work"], &rows);
}

/// Returns the GPUs and processors that are left for the trainer beside its server.
fn trainer_share(settings: &LaunchSettings) -> (u32, Option<u32>, Option<u32>) {
    let server_cpus = settings.server_cpus.or(settings.cpus.map(|cpus| (cpus / 2).max(1)));
    let trainer = settings.cpus.zip(server_cpus).map(|(all, server)| (all - server).max(1));
    (settings.gpus - settings.server_gpus, server_cpus, trainer)
}
