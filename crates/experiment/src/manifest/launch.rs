//! The `[launch]` table: resources of a cluster's tasks. It reaches no record.

use serde::Deserialize;
use toml::{Table, Value};

use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::{optional_table, read};

/// Largest number of GPUs, processors and GiB of a task.
const MAX_RESOURCE: u32 = 65_536;
/// Options that the script sets itself.
const OWN_OPTIONS: [&str; 9] =
    ["--array", "-a", "--requeue", "--no-requeue", "--signal", "--output", "-o", "--error", "-e"];

/// The `[launch]` table: what `preceptor launch` asks a cluster for. Every unit of work gets the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LaunchSettings {
    /// GPUs of a task. Default: 0.
    pub gpus: u32,
    /// Processors of a task, 1 to 65536. Default: the cluster's.
    pub cpus: Option<u32>,
    /// Memory of a task in GiB, 1 to 65536. Default: the cluster's.
    pub memory_gib: Option<u32>,
    /// Longest time of a task as `HH:MM:SS` or `D-HH:MM:SS`. A task that reaches it is resumed by
    /// another. Default: the cluster's.
    pub time_limit: Option<String>,
    /// Tasks that run at the same time, 1 to 65536. Default: all.
    pub max_parallel: Option<u32>,
    /// Lines of shell that run before the program, for example `module load cuda`.
    pub setup: Vec<String>,
    /// Slurm: the partition.
    pub partition: Option<String>,
    /// Slurm: the account.
    pub account: Option<String>,
    /// Slurm: further options of `sbatch`, for example `--constraint=h100`.
    pub sbatch: Vec<String>,
    /// Slurm: the command that serves the rollouts of training, if the task should start it. It gets a job
    /// step of its own on the task's node.
    pub server: Option<String>,
    /// Slurm: GPUs of `server`; the trainer has the others. Default: 0.
    pub server_gpus: u32,
    /// Slurm: processors of `server`; the trainer has the others. Default: half of them.
    pub server_cpus: Option<u32>,
    /// Kubernetes: the container image with this program. Required there.
    pub image: Option<String>,
    /// Kubernetes: the persistent volume claim that all tasks share. Required there.
    pub volume_claim: Option<String>,
    /// Kubernetes: the path at which the volume is mounted. Manifest and store are named as seen from
    /// there. Default: `/work`.
    pub mount: Option<String>,
}

impl LaunchSettings {
    /// Returns the time limit in seconds.
    pub fn time_limit_secs(&self) -> Option<u64> {
        parse_time(self.time_limit.as_deref()?)
    }
}

/// Reads the `[launch]` table of a document; a missing one asks for nothing.
///
/// # Errors
///
/// [`ManifestError`] naming the key and what is allowed.
pub fn launch_settings(document: &Document) -> Result<LaunchSettings, ManifestError> {
    take_launch(document, &mut document.table().clone())
}

/// Returns the addresses of the rollout servers that a document names.
pub fn rollout_urls(document: &Document) -> Vec<String> {
    let rollouts = document.table().get("rollouts");
    let urls = rollouts.and_then(|rollouts| rollouts.get("base-urls")?.as_array());
    let urls = urls.into_iter().flatten().filter_map(|url| url.as_str());
    urls.map(str::to_owned).collect()
}

/// Takes the table out of a manifest and checks it.
pub(crate) fn take_launch(
    document: &Document,
    table: &mut Table,
) -> Result<LaunchSettings, ManifestError> {
    let launch = optional_table(document, table, "launch")?;
    let settings: LaunchSettings = read(document, "launch", Value::Table(launch), &[])?;
    let refuse = |key: &str, value: &str, allowed: &str| {
        let detail = format!("`launch.{key} = {value}`: must be {allowed}");
        document.error_at(&format!("launch.{key}"), detail)
    };
    let numbers = [
        ("gpus", Some(settings.gpus), 0),
        ("cpus", settings.cpus, 1),
        ("memory-gib", settings.memory_gib, 1),
        ("max-parallel", settings.max_parallel, 1),
        ("server-gpus", Some(settings.server_gpus), 0),
        ("server-cpus", settings.server_cpus, 1),
    ];
    for (key, value, least) in numbers {
        if let Some(value) = value
            && !(least..=MAX_RESOURCE).contains(&value)
        {
            let allowed = format!("between {least} and {MAX_RESOURCE}");
            return Err(refuse(key, &value.to_string(), &allowed));
        }
    }
    if let Some(time) = &settings.time_limit
        && parse_time(time).is_none_or(|secs| secs == 0)
    {
        let allowed = "a time above 0 such as `04:00:00` or `1-12:00:00`";
        return Err(refuse("time-limit", &format!("{time:?}"), allowed));
    }
    let words = [
        ("partition", &settings.partition),
        ("account", &settings.account),
        ("image", &settings.image),
        ("volume-claim", &settings.volume_claim),
    ];
    for (key, value) in words {
        if let Some(value) = value
            && (value.is_empty() || value.chars().any(|c| c.is_whitespace() || "\"'`$".contains(c)))
        {
            return Err(refuse(key, &format!("{value:?}"), "one word without quotes"));
        }
    }
    if let Some(mount) = &settings.mount
        && (!mount.starts_with('/') || mount.chars().any(char::is_whitespace))
    {
        return Err(refuse("mount", &format!("{mount:?}"), "an absolute path without spaces"));
    }
    let lines = [("setup", &settings.setup), ("sbatch", &settings.sbatch)];
    for (key, values) in lines {
        if let Some(value) =
            values.iter().find(|value| value.trim().is_empty() || value.contains('\n'))
        {
            return Err(refuse(key, &format!("[{value:?}]"), "single lines that are not empty"));
        }
    }
    if let Some(server) = &settings.server
        && (server.trim().is_empty() || server.contains('\n'))
    {
        return Err(refuse("server", &format!("{server:?}"), "one line that is not empty"));
    }
    for option in &settings.sbatch {
        let name = option.split(['=', ' ']).next().unwrap_or_default();
        if !option.starts_with('-') {
            let allowed = "options of `sbatch`, which begin with `-`";
            return Err(refuse("sbatch", &format!("[{option:?}]"), allowed));
        }
        if OWN_OPTIONS.contains(&name) {
            let allowed = format!("another option: the script sets `{name}` itself");
            return Err(refuse("sbatch", &format!("[{option:?}]"), &allowed));
        }
    }
    check_server(document, &settings)?;
    Ok(settings)
}

/// Checks what the server takes from the trainer.
fn check_server(document: &Document, settings: &LaunchSettings) -> Result<(), ManifestError> {
    if settings.server.is_some() && !document.table().contains_key("rollouts") {
        let mut error =
            document.error_at("launch.server", "`launch.server`: there is no `[rollouts]`");
        error.hint =
            Some("name the server in `[rollouts]`, or leave `launch.server` out".to_owned());
        return Err(error);
    }
    if settings.server_gpus > settings.gpus {
        let detail = format!(
            "`launch.server-gpus = {}`: must be at most `launch.gpus = {}`",
            settings.server_gpus, settings.gpus
        );
        return Err(document.error_at("launch.server-gpus", detail));
    }
    if let (Some(server), Some(cpus)) = (settings.server_cpus, settings.cpus)
        && server >= cpus
    {
        let detail = format!(
            "`launch.server-cpus = {server}`: must be below `launch.cpus = {cpus}`, which the trainer shares"
        );
        return Err(document.error_at("launch.server-cpus", detail));
    }
    Ok(())
}

/// Parses `HH:MM:SS` or `D-HH:MM:SS` as seconds.
fn parse_time(text: &str) -> Option<u64> {
    let (days, time) = match text.split_once('-') {
        Some((days, time)) => (days.parse::<u64>().ok().filter(|days| *days <= 10_000)?, time),
        None => (0, text),
    };
    let parts: Vec<&str> = time.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else { return None };
    let number = |part: &str, most: u64| {
        let is_digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|number| is_digits && *number <= most)
    };
    let hours = number(hours, if days > 0 { 23 } else { 99 })?;
    Some(((days * 24 + hours) * 60 + number(minutes, 59)?) * 60 + number(seconds, 59)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::document;

    fn refused(launch: &str) -> String {
        let manifest = format!("title = \"t\"\n[launch]\n{launch}\n");
        let read = document(&[("m.toml", &manifest)], &[]).expect("TOML");
        let error = launch_settings(&read).expect_err("it is refused");
        let hint = error.hint.map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
        format!("{}{hint}", error.detail)
    }

    #[test]
    fn times_are_read_as_slurm_writes_them() {
        let times = ["00:00:01", "04:30:00", "1-12:00:00", "99:59:59"].map(parse_time);
        assert_eq!(times, [Some(1), Some(16_200), Some(129_600), Some(359_999)]);
        for wrong in
            ["", "4h", "90", "4:00:00", "00:60:00", "1-24:00:00", "-1-00:00:00", "+1:00:00"]
        {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wrong_settings_are_named_with_what_is_allowed() {
        let wrong = [
            "gpu = 1",
            "gpus = -1",
            "gpus = 100000",
            "cpus = 0",
            "memory-gib = 0",
            "max-parallel = 0",
            "time-limit = \"4h\"",
            "time-limit = \"00:00:00\"",
            "partition = \"a b\"",
            "account = \"\"",
            "image = \"$(date)\"",
            "mount = \"work\"",
            "setup = [\"a\\nb\"]",
            "sbatch = [\"qos=high\"]",
            "sbatch = [\"--array=0-3\"]",
            "server = \"vllm serve m\"",
            "server-gpus = 1",
            "cpus = 2\nserver-cpus = 2",
        ];
        insta::assert_snapshot!(wrong.map(refused).join("\n"), @r#"
        `launch.gpu` is not a known key
          hint: did you mean `gpus`? known are `gpus`, `cpus`, `memory-gib`, `time-limit`, `max-parallel`, `setup`, `partition`, `account`, `sbatch`, `server`, `server-gpus`, `server-cpus`, `image`, `volume-claim`, `mount`
        `launch.gpus = -1`: invalid value: integer `-1`, expected u32
        `launch.gpus = 100000`: must be between 0 and 65536
        `launch.cpus = 0`: must be between 1 and 65536
        `launch.memory-gib = 0`: must be between 1 and 65536
        `launch.max-parallel = 0`: must be between 1 and 65536
        `launch.time-limit = "4h"`: must be a time above 0 such as `04:00:00` or `1-12:00:00`
        `launch.time-limit = "00:00:00"`: must be a time above 0 such as `04:00:00` or `1-12:00:00`
        `launch.partition = "a b"`: must be one word without quotes
        `launch.account = ""`: must be one word without quotes
        `launch.image = "$(date)"`: must be one word without quotes
        `launch.mount = "work"`: must be an absolute path without spaces
        `launch.setup = ["a\nb"]`: must be single lines that are not empty
        `launch.sbatch = ["qos=high"]`: must be options of `sbatch`, which begin with `-`
        `launch.sbatch = ["--array=0-3"]`: must be another option: the script sets `--array` itself
        `launch.server`: there is no `[rollouts]`
          hint: name the server in `[rollouts]`, or leave `launch.server` out
        `launch.server-gpus = 1`: must be at most `launch.gpus = 0`
        `launch.server-cpus = 2`: must be below `launch.cpus = 2`, which the trainer shares
        "#);
    }

    #[test]
    fn a_missing_table_asks_for_nothing() {
        let read = document(&[("m.toml", "title = \"t\"\n")], &[]).expect("TOML");
        assert_eq!(launch_settings(&read), Ok(LaunchSettings::default()));
    }
}
