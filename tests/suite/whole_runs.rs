//! Whole runs with a scripted model: reuse, growth, reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use preceptor_core::ModelRole;
use preceptor_core::record::RolloutRecord;

use crate::workspace::{Workspace, without_digests};

const MANIFEST: &str = r#"
title = "A whole run"
description = "What a test says about itself."
seeds = [0, 1]

[policy]
model = "scripted"

[benchmark]
kind = "arithmetic"
terms = 2
digits = 1
limit = 12

[matrix]
"aggregator.kind" = ["single", "majority", "oracle"]
"sampling.group-size" = [1, 4]
"#;

#[test]
fn a_second_run_draws_nothing_and_loads_no_model() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("whole.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    let first = workspace.run(&plan).unwrap();
    assert_eq!((first.num_rollouts, first.num_reused), (2 * 12 * 4, 0));
    assert_eq!(workspace.host.num_opened, 1);
    let second = workspace.run(&plan).unwrap();
    assert_eq!((second.num_rollouts, second.num_reused), (0, 2 * 12 * 4));
    assert_eq!(workspace.host.num_opened, 1);
}

#[test]
fn local_models_that_take_turns_stay_loaded_while_memory_allows() {
    let num_opened = |num_free: Option<u64>| {
        let mut workspace = Workspace::new();
        workspace.host.num_free = num_free;
        let manifest = MANIFEST.replace(
            "[matrix]\n\"aggregator.kind\" = [\"single\", \"majority\", \"oracle\"]",
            "[aggregator]\nkind = \"synthesis\"\n[anchor]\nmodel = \"anchor\"\n[judge]\nmodel = \"judge\"\n\
             [reward]\nterms = [{ kind = \"rubric\" }]\n[matrix]",
        );
        let manifest = workspace.write("turns.toml", &manifest);
        let plan = workspace.plan(&manifest, &[]).unwrap();
        workspace.run(&plan).unwrap();
        workspace.host.num_opened
    };
    assert_eq!(num_opened(Some(100)), 3, "policy, anchor and judge are read once");
    assert!(num_opened(None) > 3, "one at a time where sizes are unknown");
    assert!(num_opened(Some(1)) > 3, "one at a time where nothing else fits");
}

#[test]
fn more_seeds_a_larger_group_and_a_higher_limit_draw_only_what_is_new() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("whole.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &["sampling.group-size=4"]).unwrap();
    workspace.run(&plan).unwrap();
    let records = |workspace: &Workspace, plan: &preceptor_experiment::Plan| {
        let stage = plan.record().cells[0].stages.rollouts.clone();
        workspace.store().stage_by_digest(&stage).load::<RolloutRecord>().unwrap().records
    };
    let before = records(&workspace, &plan);

    let larger = workspace.plan(&manifest, &["sampling.group-size=[4, 16]"]).unwrap();
    let summary = workspace.run(&larger).unwrap();
    assert_eq!(summary.num_rollouts, 2 * 12 * 12);
    let after = records(&workspace, &larger);
    assert!(before.iter().all(|(key, record)| after[key] == *record));

    let longer =
        workspace.plan(&manifest, &["sampling.group-size=4", "benchmark.limit=20"]).unwrap();
    assert_eq!(workspace.run(&longer).unwrap().num_rollouts, 2 * 8 * 4);
    let seeds = workspace.plan(&manifest, &["sampling.group-size=4", "seeds=[0, 1, 2]"]).unwrap();
    assert_eq!(workspace.run(&seeds).unwrap().num_rollouts, 12 * 4);
}

/// Every table of a report but those of seconds; what was lost was paid for twice.
fn tables(report: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(report.join("tables")).expect("a report");
    let entries = entries.map(|entry| entry.expect("readable").path());
    let is_timed = |name: &str| {
        ["cost_and_quality", "costs", "metrics", "rollouts", "spending"].contains(&name)
    };
    let named = entries.filter(|path| path.extension().is_some_and(|ending| ending == "csv"));
    let named = named.map(|path| {
        let name = path.file_stem().expect("named").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("readable"))
    });
    named.filter(|(name, _)| !is_timed(name)).collect()
}

#[test]
fn lost_records_are_made_again_and_equal_what_was_lost() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("whole.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    workspace.run(&plan).unwrap();
    let before = tables(&workspace.report(&plan));
    for cell in plan.record().cells {
        let stages = workspace.path("runs/stages");
        for stage in [cell.stages.rollouts, cell.stages.grades, cell.stages.aggregates] {
            // Several cells share a stage; a folder can only be removed once.
            let _ = fs::remove_dir_all(stages.join(stage.as_str()));
        }
    }
    workspace.run(&plan).unwrap();
    let after = tables(&workspace.report(&plan));
    assert!(before.len() > 4);
    assert_eq!(after, before);
}

#[test]
fn the_report_has_every_file_and_its_tables_read_as_expected() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("whole.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    workspace.run(&plan).unwrap();
    let folder = workspace.report(&plan);
    for name in [
        "page.html",
        "page.md",
        "plan.toml",
        "provenance.json",
        "tables/scores.csv",
        "tables/scores.parquet",
        "tables/scores.tex",
        "figures/score-by-aggregator-arithmetic.svg",
        "figures/score-by-aggregator-arithmetic.png",
        "figures/score-by-group-size-arithmetic.svg",
        "figures/score-by-group-size-arithmetic.png",
    ] {
        assert!(fs::metadata(folder.join(name)).unwrap().len() > 0, "{name}");
    }
    insta::assert_snapshot!(
        "whole-report-scores",
        fs::read_to_string(folder.join("tables/scores.csv")).unwrap()
    );
    let page = fs::read_to_string(folder.join("page.md")).unwrap();
    // Wall time is the one number that differs from run to run.
    let has_time = |line: &str| {
        ["| arithmetic | scripted |", "| rollouts |", "| total |", "Total cost: "]
            .iter()
            .any(|of| line.starts_with(of))
            // Rows of `cost_and_quality`: 26 tokens of a rollout, 104 of a group.
            || ["| 26 | ", "| 104 | "].iter().any(|of| line.contains(of))
    };
    let page = page.lines().filter(|line| !has_time(line));
    insta::assert_snapshot!(
        "whole-report-page",
        without_digests(&page.collect::<Vec<_>>().join("\n"))
    );
    let plan: toml::Table =
        toml::from_str(&fs::read_to_string(folder.join("plan.toml")).unwrap()).unwrap();
    assert_eq!(plan.len(), 6, "one table a condition");

    let figure = folder.join("figures/score-by-group-size-arithmetic.svg");
    let before = fs::read(&figure).unwrap();
    fs::remove_file(&figure).unwrap();
    preceptor_reports::redraw(&folder, preceptor_reports::FigureWidth::PAGE).unwrap();
    assert_eq!(fs::read(&figure).unwrap(), before);
}

#[test]
fn hand_written_notes_are_shown_and_kept() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("whole.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    workspace.run(&plan).unwrap();
    let notes = workspace.write("report/notes.md", "Read this <first>.");
    let folder = workspace.report(&plan);
    assert!(
        fs::read_to_string(folder.join("page.html")).unwrap().contains("Read this &lt;first&gt;.")
    );
    assert_eq!(fs::read_to_string(notes).unwrap(), "Read this <first>.");
}

#[test]
fn a_cell_that_was_not_run_cannot_be_reported() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("whole.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    let store = workspace.store();
    let digest = store.put_plan(&plan.record()).unwrap();
    let error = preceptor_reports::write(
        &store,
        &digest,
        &workspace.path("report"),
        preceptor_reports::ReportOptions::default(),
    )
    .unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r###"
    report on cell `aggregator.kind=single sampling.group-size=1 seed=0`: the prompt of `arithmetic/2x1/0` is not in the store
    hint: run the experiment first
    "###);
    assert!(!workspace.path("report").exists());
}

/// The cells of a row of a CSV table, by column.
fn row(table: &str, first: &str) -> Vec<(String, String)> {
    let mut lines = table.lines().map(|line| line.split(',').map(str::to_owned));
    let header: Vec<String> = lines.next().expect("a header").collect();
    let found = lines.map(Iterator::collect::<Vec<_>>).find(|cells| cells[0] == first);
    header.into_iter().zip(found.unwrap_or_else(|| panic!("no row `{first}` in {table}"))).collect()
}

#[test]
fn what_was_spent_is_what_the_runs_said() {
    let mut workspace = Workspace::new();
    let manifest =
        MANIFEST.replace("\"single\", \"majority\", \"oracle\"", "\"synthesis\", \"self-bon\"");
    // Two rewards on the same syntheses ask the same anchor and judge.
    let manifest = format!(
        "{manifest}\n[judge]\nmodel = \"judge\"\n[[matrix.reward]]\nname = \"rubric\"\nterms = [{{ kind = \"rubric\" }}]\n\
         [[matrix.reward]]\nname = \"half\"\nterms = [{{ kind = \"rubric\", weight = 0.5 }}]\n"
    );
    let path = workspace.write("spent.toml", &manifest);
    let plan = workspace.plan(&path, &["sampling.group-size=4", "seeds=[0]"]).unwrap();
    let first = workspace.run(&plan).unwrap();
    let second = workspace.run(&plan).unwrap();
    assert!(second.roles.values().all(|cost| cost.num_calls == 0));
    workspace.report(&plan);
    let table = fs::read_to_string(workspace.path("report/tables/spending.csv")).unwrap();
    let number = |role: &str, column: &str| {
        let cells = row(&table, role);
        let (_, value) = cells.iter().find(|(name, _)| name == column).expect("a column");
        value.parse::<f64>().expect("a number") as u64
    };
    assert_eq!(number("rollouts", "calls"), first.num_rollouts);
    let mut total = first.usage;
    for (role, cost) in &first.roles {
        assert_eq!(number(role.name(), "calls"), cost.num_calls, "{role}");
        assert_eq!(
            number(role.name(), "generated_tokens"),
            cost.usage.num_generated_tokens,
            "{role}"
        );
        total += cost.usage;
    }
    assert!(first.roles[&ModelRole::Judge].num_reused > 0, "the second reward asks nothing new");
    assert_eq!(number("total", "prompt_tokens"), total.num_prompt_tokens);
    assert_eq!(number("total", "generated_tokens"), total.num_generated_tokens);
}
