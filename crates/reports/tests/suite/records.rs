//! Records as flat files, and the page that documents them.

use std::fs;

use preceptor_reports::{record_files, write_inspect_logs, write_lm_eval_results, write_records};
use serde_json::{Value, json};

use crate::explorer;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/records.md");
const HEAD: &str = "# Records as files

`preceptor records MANIFEST --out DIR` writes what a finished experiment holds as flat files, each as JSONL and as Parquet:
every evaluated policy, every seed and every training step.
`stage` and `key` name the record behind a row: `preceptor show KEY --stage STAGE` prints it.
A value that is missing is `null`, never 0.
Texts of benchmarks that must not be published are in these files too.

The paired difference of two estimates in polars:

```python
import polars as pl

groups = pl.read_parquet(\"DIR/groups.parquet\").filter(pl.col(\"set\") == \"evaluation\")
scores = groups.pivot(on=\"estimate\", index=[\"seed\", \"prompt\"], values=\"score\")
wins = scores.select((pl.col(\"synthesis\") - pl.col(\"majority\")).mean().alias(\"difference\"))
rewards = pl.read_parquet(\"DIR/rewards.parquet\")
rollouts = pl.read_parquet(\"DIR/rollouts.parquet\")
keys = [\"set\", \"policy\", \"seed\", \"step\", \"prompt\", \"rollout\"]
both = rewards.join(rollouts.select(*keys, \"score\"), on=keys, nulls_equal=True)
print(wins, both.group_by(\"reward\").agg(pl.corr(\"value\", \"score\")))
```

And in pandas:

```python
import pandas as pd

groups = pd.read_parquet(\"DIR/groups.parquet\").query(\"set == 'evaluation'\")
scores = groups.pivot_table(index=[\"seed\", \"prompt\"], columns=\"estimate\", values=\"score\")
print((scores[\"synthesis\"] - scores[\"majority\"]).mean())
rewards = pd.read_parquet(\"DIR/rewards.parquet\")
rollouts = pd.read_parquet(\"DIR/rollouts.parquet\")
keys = [\"set\", \"policy\", \"seed\", \"step\", \"prompt\", \"rollout\"]
both = rewards.merge(rollouts[keys + [\"score\"]], on=keys)
print(both.groupby(\"reward\")[[\"value\", \"score\"]].corr())
```

`--inspect` also writes a log of each evaluation for [Inspect](https://inspect.aisi.org.uk) (`inspect view --log-dir DIR/inspect`): rollouts as epochs of their prompts, and a log for each estimate.
`--lm-eval` writes results in the form of lm-evaluation-harness to `DIR/lm-eval`, with standard errors over prompts.
Groups of training steps are in neither.

A test writes the tables below: `PRECEPTOR_WRITE_DOCS=1 cargo test --workspace records`.
";

#[test]
fn the_page_of_records_names_every_column() {
    let mut page = HEAD.to_owned();
    for (name, columns) in record_files() {
        page.push_str(&format!("\n## `{name}`\n\n| column | type | meaning |\n|---|---|---|\n"));
        for (column, of, meaning) in columns {
            page.push_str(&format!("| `{column}` | {} | {meaning} |\n", of.name()));
        }
    }
    if std::env::var_os("PRECEPTOR_WRITE_DOCS").is_some() {
        fs::write(PATH, &page).unwrap();
    }
    let committed = fs::read_to_string(PATH).expect("a committed page");
    assert!(page == committed, "write it again with PRECEPTOR_WRITE_DOCS=1");
}

#[test]
fn evaluations_become_logs_and_results_of_other_programs() {
    let bench = explorer::bench();
    let plan = bench.store().plans().unwrap().remove(0);
    let logs = write_inspect_logs(&bench.store(), &plan, &bench.path("inspect")).unwrap();
    let read = |path: &std::path::Path| -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).expect("JSON")
    };
    // Inspect reads heads of files up to the samples.
    let text = fs::read_to_string(&logs[0]).unwrap();
    assert!(text.starts_with("{\"version\":2,\"status\":\"success\",\"eval\":"));
    let logs: Vec<Value> = logs.iter().map(|path| read(path)).collect();
    let tasks: Vec<&str> =
        logs.iter().map(|log| log["eval"]["task"].as_str().expect("text")).collect();
    assert_eq!(tasks, ["sums: rollouts", "sums: majority", "sums: synthesis"]);
    assert_eq!(logs[0]["eval"]["config"]["epochs"], 2);
    assert_eq!(logs[2]["results"]["scores"][0]["metrics"]["mean"]["value"], 1.0);
    let sample = &logs[2]["samples"][1];
    assert_eq!((&sample["id"], &sample["target"]), (&json!("p1"), &json!("7")));
    assert_eq!(sample["scores"]["score"]["answer"], "7");

    let results = write_lm_eval_results(&bench.store(), &plan, &bench.path("lm-eval")).unwrap();
    let results = read(&results[0]);
    assert_eq!(results["results"]["sums, synthesis"]["score,none"], 1.0);
    assert_eq!(results["results"]["sums"]["score_stderr,none"], 0.0);
    assert_eq!(results["n-samples"]["sums"], json!({ "original": 2, "effective": 2 }));
}

#[test]
fn every_row_names_its_record() {
    let bench = explorer::bench();
    let plan = bench.store().plans().unwrap().remove(0);
    let folder = bench.path("records");
    let written = write_records(&bench.store(), &plan, &folder).unwrap();
    assert_eq!(written.num_rows, [("rollouts", 4), ("groups", 4), ("rewards", 0), ("verdicts", 0)]);
    let rows = |name: &str| -> Vec<Value> {
        let text = bench.read(&format!("records/{name}.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let rollouts = rows("rollouts");
    let first = &rollouts[0];
    for (column, value) in [
        ("experiment", json!("by-hand")),
        ("benchmark", json!("sums")),
        ("set", json!("evaluation")),
        ("step", json!(null)),
        ("prompt", json!("p0")),
        ("key", json!("p0#0")),
        ("answer", json!("5")),
        ("logprob", json!(-2.0)),
        ("advantage", json!(null)),
    ] {
        assert_eq!(first[column], value, "{column}");
    }
    // Long texts are whole.
    assert_eq!(rollouts[1]["text"].as_str().map(str::len), Some(1 << 20));
    let groups = rows("groups");
    assert_eq!(
        (&groups[1]["estimate"], &groups[1]["text"]),
        (&json!("synthesis"), &json!("therefore \\boxed{7}"))
    );
    assert_eq!(
        (&groups[0]["estimate"], &groups[0]["origin"]),
        (&json!("majority"), &json!("rollout 0"))
    );
    for name in ["rollouts", "groups", "rewards", "verdicts"] {
        let bytes = fs::read(bench.path(&format!("records/{name}.parquet"))).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{name}");
    }
}
