//! A job array for Slurm.
//!
//! Two minutes before its time limit, Slurm sends `USR1` to the script of a task. The script passes it
//! on, waits for the checkpoint and puts the task, and no other, back into the queue.

use preceptor_experiment::LaunchSettings;

use super::script::{Job, quote};
use super::trainer_share;

/// Seconds before the time limit at which a task is asked to stop.
const WARNING_SECS: u32 = 120;
/// Seconds that the script waits for the checkpoint.
const GRACE_SECS: u32 = 90;

/// Returns the limit of an array on the tasks that run at the same time.
pub(crate) fn limit(settings: &LaunchSettings) -> String {
    settings.max_parallel.map_or_else(String::new, |most| format!("%{most}"))
}

pub(crate) fn script(job: &Job<'_>) -> String {
    let mut text = format!("#!/bin/bash\n{}\n", job.comment());
    for option in options(job) {
        text += &format!("#SBATCH {option}\n");
    }
    text += &format!("\ncd {} || exit 1\n", quote(&job.current.display().to_string()));
    for line in &job.settings.setup {
        text += &format!("{line}\n");
    }
    text += &format!(
        r#"
# Slurm sends USR1 {WARNING_SECS} seconds before the time limit. The program stops at a checkpoint, and
# this task of the array goes back into the queue.
run=
requeue() {{
    if [ -n "$run" ]; then
        kill -USR1 "$run" 2> /dev/null
        for _ in $(seq {GRACE_SECS}); do
            kill -0 "$run" 2> /dev/null || break
            sleep 1
        done
    fi
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    exit 0
}}
trap requeue USR1
trap 'kill -TERM "$run" 2> /dev/null' TERM
"#
    );
    text += &start(job);
    text += r#"
wait "$run"
code=$?
# A signal ends `wait` early.
while kill -0 "$run" 2> /dev/null; do
    wait "$run"
    code=$?
done
exit "$code"
"#;
    text
}

fn options(job: &Job<'_>) -> Vec<String> {
    let settings = job.settings;
    let last = job.num_units.saturating_sub(1);
    let mut options = vec![
        format!("--job-name={}", job.plain_name()),
        format!("--array=0-{last}{}", limit(settings)),
        format!("--output={}", quote(&job.path("logs/%A_%a.log"))),
        "--open-mode=append".to_owned(),
        "--requeue".to_owned(),
        format!("--signal=B:USR1@{WARNING_SECS}"),
        "--nodes=1".to_owned(),
    ];
    let mut add = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("--{name}={value}")));
    };
    add("partition", settings.partition.clone());
    add("account", settings.account.clone());
    add("time", settings.time_limit.clone());
    add("cpus-per-task", settings.cpus.map(|cpus| cpus.to_string()));
    add("mem", settings.memory_gib.map(|gib| format!("{gib}G")));
    add("gres", (settings.gpus > 0).then(|| format!("gpu:{}", settings.gpus)));
    if settings.server.is_some() {
        // Two tasks on one node would serve at the same port.
        options.push("--exclusive".to_owned());
    }
    options.extend(settings.sbatch.iter().cloned());
    options
}

/// Returns the lines that start the program, after its server if it has one.
fn start(job: &Job<'_>) -> String {
    let settings = job.settings;
    let command = job.command(&job.program.display().to_string(), "SLURM_ARRAY_TASK_ID");
    let Some(server) = &settings.server else {
        return format!("\n{command} &\nrun=$!\n");
    };
    let (trainer_gpus, server_cpus, trainer_cpus) = trainer_share(settings);
    let server_step = step(settings.server_gpus, server_cpus);
    let trainer_step = step(trainer_gpus, trainer_cpus);
    let urls = job.urls.iter().map(|url| quote(&format!("{}/health", url.trim_end_matches('/'))));
    let urls = urls.collect::<Vec<_>>().join(" ");
    format!(
        r#"
# The server of the rollouts has a job step of its own.
{server_step} bash -c {} &
server=$!
trap 'kill "$server" 2> /dev/null' EXIT
for url in {urls}; do
    until curl --silent --fail --output /dev/null --max-time 5 "$url"; do
        if ! kill -0 "$server" 2> /dev/null; then
            echo "the server of the rollouts ended before $url answered" >&2
            exit 1
        fi
        sleep 5
    done
done

{trainer_step} {command} &
run=$!
"#,
        quote(server)
    )
}

/// Returns a job step with a part of the task's resources. Steps share the memory: `--mem=0` takes none
/// away from the other.
fn step(gpus: u32, cpus: Option<u32>) -> String {
    let mut step = "srun --exact --ntasks=1 --mem=0".to_owned();
    if let Some(cpus) = cpus {
        step += &format!(" --cpus-per-task={cpus}");
    }
    step += &if gpus > 0 { format!(" --gres=gpu:{gpus}") } else { " --gres=none".to_owned() };
    step
}
