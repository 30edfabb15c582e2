//! An Indexed Job for Kubernetes 1.33 or later.

use super::script::Job;
use crate::failure::Failure;

/// Times that a unit is tried again.
const RETRIES: u32 = 6;
/// Seconds that a pod has for its checkpoint after `TERM`.
const GRACE_SECS: u32 = 120;

pub(crate) fn manifest(job: &Job<'_>) -> Result<String, Failure> {
    let settings = job.settings;
    let required = |key: &str, value: &Option<String>, example: &str| {
        value.clone().ok_or_else(|| {
            Failure::input(
                format!("write a job for Kubernetes: `launch.{key}` is missing"),
                format!("set it in the manifest, for example `{key} = \"{example}\"`"),
            )
        })
    };
    let image = required("image", &settings.image, "registry/preceptor:1")?;
    let claim = required("volume-claim", &settings.volume_claim, "shared")?;
    let mount = settings.mount.as_deref().unwrap_or("/work");
    let mut script = settings.setup.clone();
    script.push(format!("exec {}", job.command("preceptor", "JOB_COMPLETION_INDEX")));
    let script: String = script.iter().map(|line| format!("              {line}\n")).collect();
    let parallelism = settings.max_parallel.map_or(job.num_units, |most| most as usize);
    let deadline = settings
        .time_limit_secs()
        .map_or_else(String::new, |secs| format!("      activeDeadlineSeconds: {secs}\n"));
    Ok(format!(
        r#"{}
apiVersion: batch/v1
kind: Job
metadata:
  # With `kubectl create`, each submission has a name of its own.
  generateName: {}-
spec:
  completionMode: Indexed
  completions: {}
  parallelism: {parallelism}
  backoffLimitPerIndex: {RETRIES}
  podFailurePolicy:
    rules:
      # A pod that is evicted or preempted has not failed.
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
            status: "True"
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: {GRACE_SECS}
{deadline}      containers:
        - name: preceptor
          image: {}
          workingDir: {}
          command: ["/bin/sh", "-c"]
          args:
            - |
{script}{}          volumeMounts:
            - name: work
              mountPath: {}
      volumes:
        - name: work
          persistentVolumeClaim:
            claimName: {}
"#,
        job.comment(),
        job.plain_name(),
        job.num_units,
        text(&image),
        text(mount),
        resources(job),
        text(mount),
        text(&claim),
    ))
}

/// Returns the resources of the container. Requests are equal to limits by default.
fn resources(job: &Job<'_>) -> String {
    let settings = job.settings;
    let rows = [
        settings.cpus.map(|cpus| format!("cpu: \"{cpus}\"")),
        settings.memory_gib.map(|gib| format!("memory: {gib}Gi")),
        (settings.gpus > 0).then(|| format!("nvidia.com/gpu: \"{}\"", settings.gpus)),
    ];
    let rows: String =
        rows.into_iter().flatten().map(|row| format!("              {row}\n")).collect();
    if rows.is_empty() {
        String::new()
    } else {
        format!("          resources:\n            limits:\n{rows}")
    }
}

/// Writes a string, which JSON and YAML write in the same way.
fn text(value: &str) -> String {
    serde_json::to_string(value).expect("a string")
}
