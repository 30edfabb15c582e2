//! `reproduce`: a suite from its first record to its summary.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::process::{Folder, TINY_MODEL, num_lines};

/// The scores of `reproduce pocket --quick` as they were once, a file per experiment.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/pocket_quick");
/// Largest distance of a score from the committed one. Equal code gives equal bits on one machine; another
/// instruction set rounds otherwise, and another sampled token changes a whole rollout. With
/// 24 prompts, three of them may change sides.
const BAND: f64 = 0.125;

/// Creates a folder with the repository's experiments.
fn with_experiments() -> Folder {
    let folder = Folder::new();
    let experiments = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments");
    copy(Path::new(experiments), &folder.path("experiments"));
    folder
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("named"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

/// Returns the texts of all tables except those with costs and times.
fn tables(folder: &Folder, reports: &str) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    let mut pending = vec![folder.path(reports)];
    while let Some(path) = pending.pop() {
        for entry in fs::read_dir(&path).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("named").to_string_lossy().into_owned();
            let is_timed = [
                "cost_and_quality.csv",
                "costs.csv",
                "metrics.csv",
                "rollouts.csv",
                "spending.csv",
                "training_costs.csv",
            ]
            .contains(&&*name);
            if path.is_dir() {
                pending.push(path);
            } else if name.ends_with(".csv") && !is_timed {
                let text = fs::read_to_string(&path).expect("text");
                tables.push((path.display().to_string(), text));
            }
        }
    }
    let root = folder.path(reports).display().to_string();
    for (path, _) in &mut tables {
        *path = path.replace(&root, "");
    }
    tables.sort();
    tables
}

#[test]
fn the_pocket_suite_runs_whole_and_after_a_kill_ends_in_the_same_tables() {
    let folder = with_experiments();
    let quick = |store: &'static str, reports: &'static str| {
        ["reproduce", "pocket", "--quick", "--store", store, "--reports", reports]
    };
    let store = folder.path("killed");
    let mut child = folder.start(&quick("killed", "second"));
    while num_lines(&store) < 300 && child.try_wait().expect("a child").is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    folder.run(&quick("killed", "second")).expect_done();
    folder.run(&quick("whole", "first")).expect_done();
    let whole = tables(&folder, "first/pocket-quick");
    assert_eq!(tables(&folder, "second/pocket-quick"), whole);
    assert!(whole.iter().any(|(name, _)| name == "/tables/claims.csv"), "a summary");

    let page = folder.path("first/pocket-quick/page.html");
    let before = fs::read(&page).expect("a page");
    let again = folder.run(&quick("whole", "first")).expect_done();
    assert_eq!(fs::read(&page).expect("a page"), before);
    assert!(again.stdout.contains("Report: "), "{}", again.stdout);

    let mut num_compared = 0;
    for (name, text) in &whole {
        let Some(experiment) = name.strip_suffix("/tables/scores.csv") else { continue };
        let path = format!("{COMMITTED}{experiment}.csv");
        if std::env::var_os("PRECEPTOR_WRITE_QUICK").is_some() {
            fs::write(&path, text).expect("written");
        }
        let committed = fs::read_to_string(&path).expect("a committed table");
        let (found, known) = (scores(text), scores(&committed));
        assert_eq!(found.len(), known.len(), "{name}");
        for ((found_row, found), (known_row, known)) in found.iter().zip(&known) {
            assert_eq!(found_row, known_row, "{name}");
            let distance = (found - known).abs();
            assert!(distance <= BAND, "{name}: {found_row} is {found}, was {known}");
            num_compared += 1;
        }
    }
    assert!(num_compared >= 15, "{num_compared} scores were compared");
}

/// The aggregator and the score of each row.
fn scores(table: &str) -> Vec<(String, f64)> {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let column = |name: &str| header.iter().position(|column| *column == name);
    let score = column("score").expect("a score");
    let of = |line: Vec<&str>| (line[..score].join(" "), line[score].parse().expect("a number"));
    lines.map(of).collect()
}

#[test]
fn a_plan_counts_what_the_evaluations_of_a_training_run_ask_of_the_judge() {
    let folder = with_experiments();
    let plan = folder.run(&["plan", "experiments/pocket/rewards.toml", "--json"]).expect_done();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let calls = plan["calls"].as_array().expect("a list");
    let label = |call: &serde_json::Value| call["label"].as_str().expect("a label").to_owned();
    let judged = |reward: &str| {
        let wanted = format!("evaluations of reward={reward} seed=0");
        let call = calls.iter().find(|call| label(call) == wanted).expect("there");
        call["judged"].as_u64().expect("a number")
    };
    // 96 prompts, 2 rollouts, 8 criteria; 4 evaluations of 2 splits. One of them is what the cell's own
    // rollouts begin with, and the first of both are shared.
    let one = 96 * 2 * 8;
    assert_eq!((judged("rubric"), judged("judge")), (7 * one, 5 * one));
}

#[test]
fn what_the_papers_suite_lacks_is_said_at_once() {
    let folder = with_experiments();
    insta::assert_snapshot!(folder.run(&["reproduce", "paper"]).said());
    assert!(!folder.path("reports").exists(), "nothing was begun");
}

/// A suite of one experiment on a tiny model, two prompts, four tokens per rollout.
const SUITE: &str =
    "title = 't'\ndescription = 'd'\nquick-limit = 2\n[[manifest]]\nfile = 'm.toml'\n";

fn write_manifest(folder: &Folder) {
    let manifest = format!(
        "title = 'm'\n[policy]\nmodel = '{TINY_MODEL}'\n[benchmark]\nkind = 'arithmetic'\nterms = 2\n\
         shots = 1\nlimit = 2\n[sampling]\nmax-new-tokens = 4\ngroup-size = 2\n[matrix]\n\
         'aggregator.kind' = ['single', 'majority']\n"
    );
    folder.write("experiments/pocket/m.toml", &manifest);
}

#[test]
fn a_setting_holds_for_every_experiment_and_is_said() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("experiments/pocket")).expect("writable");
    folder.write("experiments/pocket/suite.toml", SUITE);
    write_manifest(&folder);
    let with = |setting: &str| folder.run(&["reproduce", "pocket", "--set", setting]);
    with("sampling.group-size=3").expect_done();
    let read = |name: &str| fs::read_to_string(folder.path(name)).expect("text");
    let page = read("reports/pocket/page.md");
    assert!(page.contains("was run with `sampling.group-size=3`."), "{page}");
    assert!(read("reports/pocket/m/plan.toml").contains("group-size = 3"));
    insta::assert_snapshot!(with("sampling.group=3").said());
}

#[test]
fn the_part_for_the_cpu_says_what_it_leaves_open() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("experiments/pocket")).expect("writable");
    let claim = "[[claim]]\nid = 'votes'\nsays = 's'\npaper = 'p'\n";
    let check = "[[claim.checks]]\nmeasure = 'score'\na = 'aggregator.kind=majority'\n\
                 b = 'rollouts'\nexpect = 'equal'\nmargin = 2\n";
    let suite = SUITE.replace("quick-limit = 2", "quick-limit = 2\ncpu-limit = 1");
    let suite = format!(
        "{suite}cpu = {{ set = ['sampling.group-size=3'], only = ['aggregator.kind=majority'] }}\n\
         [[manifest]]\nfile = 'large.toml'\n{claim}{check}experiment = 'm'\n\
         {check}experiment = 'm'\nwhole = true\n{check}experiment = 'large'\n"
    );
    folder.write("experiments/pocket/suite.toml", &suite);
    write_manifest(&folder);
    let manifest = fs::read_to_string(folder.path("experiments/pocket/m.toml")).expect("text");
    folder.write("experiments/pocket/large.toml", &manifest);

    folder.run(&["reproduce", "pocket"]).expect_done();
    let read = |name: &str| fs::read_to_string(folder.path(name)).expect("text");
    let page = read("reports/pocket/page.md");
    assert!(page.contains("with at most 1 prompts per benchmark"), "{page}");
    assert!(page.contains("2 of 3 checks were not made"), "{page}");
    assert!(page.contains("preceptor reproduce pocket --device cuda:0"), "{page}");
    assert!(page.contains("| undecided |"), "{page}");
    let plan = read("reports/pocket/m/plan.toml");
    assert!(plan.contains("group-size = 3"), "{plan}");
    assert!(!folder.path("reports/pocket/large").exists());

    folder.write("experiments/pocket/suite.toml", &suite.replace("cpu =", "quick = []\ncpu ="));
    folder.run(&["reproduce", "pocket", "--quick", "--device", "cpu,cpu"]).expect_done();
    let page = read("reports/pocket-quick/page.md");
    assert!(page.contains("with at most 2 prompts per benchmark"), "{page}");

    folder.run(&["reproduce", "pocket", "--whole"]).expect_done();
    let page = read("reports/pocket/page.md");
    assert!(!page.contains("were not made"), "{page}");
    assert!(folder.path("reports/pocket/large/page.md").exists());
}

#[test]
fn a_suite_that_can_not_be_is_named() {
    let folder = Folder::new();
    let said = |arguments: &[&str]| folder.run(arguments).said();
    insta::assert_snapshot!("suite-missing", said(&["reproduce", "pocket"]));
    fs::create_dir_all(folder.path("experiments/pocket")).expect("writable");
    folder.write("experiments/pocket/suite.toml", &SUITE.replace("file", "fil"));
    insta::assert_snapshot!("suite-unknown-key", said(&["reproduce", "pocket"]));
    write_manifest(&folder);
    let with_claim = |check: &str| {
        let claim =
            format!("[[claim]]\nid = 'c'\nsays = 's'\npaper = 'p'\n[[claim.checks]]\n{check}");
        folder.write("experiments/pocket/suite.toml", &format!("{SUITE}{claim}"));
        let refused = folder.run(&["reproduce", "pocket"]);
        assert!(!refused.stderr.contains("rollouts"), "before anything is sampled");
        let errors = refused.stderr.lines().filter(|line| line.starts_with("error"));
        format!("exit {:?}\n{}", refused.code, errors.collect::<Vec<_>>().join("\n"))
    };
    let check = "experiment = 'm'\nmeasure = 'score'\nexpect = 'higher'\n";
    insta::assert_snapshot!(
        "suite-claim-unknown-condition",
        with_claim(&format!("{check}a = 'aggregator.kind=synthesis'"))
    );
    insta::assert_snapshot!(
        "suite-claim-without-b",
        with_claim(&format!("{check}a = 'aggregator.kind=single'"))
    );
    let policy = check.replace("score", "policy-held-out");
    insta::assert_snapshot!(
        "suite-claim-not-evaluated",
        with_claim(&format!("{policy}a = 'aggregator.kind=single'"))
    );
    insta::assert_snapshot!(
        "suite-claim-unknown-experiment",
        with_claim(&check.replace("'m'", "'n'"))
    );
}
