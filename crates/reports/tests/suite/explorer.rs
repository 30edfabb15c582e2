//! Files of the explorer, from a store that is written by hand.

use preceptor_core::RewardValue;
use preceptor_core::record::{
    AnswerClassRecord, CellStages, Score, TrainGroupRecord, TrainingRecord, rollout_key,
    step_group_key,
};
use preceptor_reports::ReportOptions;
use serde_json::json;

use crate::bench::{
    Bench, aggregate, axes, cell, chosen, grade, id, key, prompt, reward, rewards, rollout, written,
};

const LONG: usize = 1 << 20;

/// Two prompts with two rollouts each, the second of them a megabyte long; `majority` takes the first
/// rollout, and `synthesis` writes an answer that is right.
pub(crate) fn bench() -> Bench {
    let bench = Bench::new();
    let each = || (0..2).flat_map(|p| (0..2).map(move |i| (p, i)));
    let text = |p: usize, i: u32| match i {
        0 => format!("\\boxed{{5}} </script><script>alert({p})</script>"),
        _ => "é".repeat(LONG / 2),
    };
    let prompts: Vec<_> = (0..2).map(|p| prompt(p, "What is x?", ("level", "1"))).collect();
    let rollouts: Vec<_> = each().map(|(p, i)| rollout(p, i, &text(p, i))).collect();
    let graded = each().map(|(p, i)| {
        let answer = (i == 0).then_some("5");
        (rollout_key(&id(p), i), grade(p, Score::Scored(0.0), answer))
    });
    let classes: Vec<_> = (0..2)
        .map(|p| (key(p), AnswerClassRecord { prompt: id(p), classes: vec![Some(0), None] }))
        .collect();
    let shared = CellStages {
        prompts: bench.stage("prompts", "", &prompts),
        rollouts: bench.stage("rollouts", "", &rollouts),
        rollout_grades: bench.stage("rollout-grades", "", &graded.collect::<Vec<_>>()),
        answer_classes: bench.stage("answer-classes", "", &classes),
        aggregates: bench.stage::<()>("aggregates", "", &[]),
        grades: bench.stage::<()>("grades", "", &[]),
        rewards: None,
    };
    for aggregator in ["majority", "synthesis"] {
        let is_written = aggregator == "synthesis";
        let outcome = |p: usize| {
            if is_written { written("therefore \\boxed{7}") } else { chosen(0, &text(p, 0)) }
        };
        let made: Vec<_> = (0..2).map(|p| aggregate(p, outcome(p))).collect();
        let score = Score::Scored(if is_written { 1.0 } else { 0.0 });
        let answer = Some(if is_written { "7" } else { "5" });
        let grades: Vec<_> = (0..2).map(|p| (key(p), grade(p, score.clone(), answer))).collect();
        let stages = CellStages {
            aggregates: bench.stage("aggregates", aggregator, &made),
            grades: bench.stage("grades", aggregator, &grades),
            ..shared.clone()
        };
        let mut cell = cell("sums", aggregator, stages);
        cell.axes = axes(&[("aggregator.kind", aggregator)]);
        cell.prompts = (0..2).map(id).collect();
        cell.group_size = 2;
        bench.add(cell);
    }
    bench.report(&["aggregator.kind"]).expect("a test's own data");
    bench
}

#[test]
fn conditions_that_read_the_same_rollouts_share_a_set() {
    let bench = bench();
    let index = bench.script("explorer/sums/index.js");
    assert_eq!(index["sets"].as_array().expect("a list").len(), 1);
    let set = &index["sets"][0];
    assert_eq!(
        (&set["label"], &set["seed"], &set["group-size"]),
        (&json!("small"), &json!(0), &json!(2))
    );
    assert_eq!(set["estimates"][1]["name"], "synthesis");
    assert_eq!(set["estimate-scores"], json!([[0.0, 0.0], [1.0, 1.0]]));
    assert_eq!(
        index["specs"][set["stages"]["rollouts"].as_str().expect("a digest")]["kind"],
        "rollouts"
    );
    let flags = set["flags"][0].as_array().expect("a list").iter();
    let flags: Vec<_> = flags
        .map(|flag| index["flag-names"][flag.as_u64().expect("a place") as usize].clone())
        .collect();
    assert_eq!(
        flags,
        [
            "all wrong",
            "right where all rollouts are wrong",
            "rollout without an answer",
            "synthesis differs from majority"
        ]
    );
    assert_eq!(bench.script("explorer/sums/prompts-0000.js")[1]["asked"], "What is x?");
}

#[test]
fn a_long_text_has_its_own_file_and_is_held_once() {
    let bench = bench();
    let slice = bench.read("explorer/sums/0000.js");
    assert!(slice.len() < 20_000, "{}", slice.len());
    let slice = bench.script("explorer/sums/0000.js");
    let long = slice["texts"].as_array().expect("a list").iter().filter(|text| text.is_object());
    let long: Vec<_> = long.collect();
    assert_eq!(long.len(), 1);
    assert_eq!((&long[0]["long"], &long[0]["length"]), (&json!(0), &json!(LONG / 2)));
    assert_eq!(bench.script("explorer/sums/long-0000.js").as_str().map(str::len), Some(LONG));
    assert!(!bench.path("explorer/sums/long-0001.js").exists());
}

#[test]
fn pages_hold_no_text_of_a_model() {
    let bench = bench();
    for page in ["page.html", "explorer/sums/index.html"] {
        assert!(!bench.read(page).contains("alert("), "{page}");
    }
    assert!(bench.read("page.html").contains("href=\"explorer/sums/index.html\""));
    let page = bench.read("explorer/sums/index.html");
    for script in page.split("src=\"").skip(1).map(|rest| &rest[..rest.find('"').expect("an end")])
    {
        assert!(bench.path("explorer/sums").join(script).exists(), "{script}");
    }
}

#[test]
fn the_same_store_gives_the_same_bytes() {
    let bench = bench();
    let names = ["index.js", "index.html", "0000.js", "0000-tokens.js", "prompts-0000.js"];
    let read = || names.map(|name| bench.read(&format!("explorer/sums/{name}")));
    let before = read();
    let stale = bench.path("explorer/sums/0007-tokens.js");
    std::fs::write(&stale, "of a larger report").expect("a test's own data");
    bench.report(&["aggregator.kind"]).expect("a test's own data");
    assert_eq!(read(), before);
    assert!(!stale.exists());
}

#[test]
fn a_reduced_explorer_lists_every_group_and_keeps_the_texts_of_some() {
    let bench = bench();
    bench.options.set(ReportOptions { explorer_bytes: Some(1000), ..ReportOptions::default() });
    bench.report(&["aggregator.kind"]).expect("a test's own data");
    let index = bench.script("explorer/sums/index.js");
    let set = &index["sets"][0];
    assert_eq!((&set["prompts"], &set["kept"]), (&json!([0, 1]), &json!([0])));
    assert_eq!((&set["scores"], &index["has-tokens"]), (&json!([0.0, 0.0]), &json!(false)));
    let slice = bench.script("explorer/sums/0000.js");
    assert_eq!(slice["groups"].as_array().map(Vec::len), Some(1));
    assert!(
        !bench.path("explorer/sums/0000-tokens.js").exists(),
        "tokens of the whole one are gone"
    );
}

#[test]
fn explorers_of_a_suite_lead_to_its_page_and_share_its_scripts() {
    let bench = bench();
    bench.options.set(ReportOptions { is_part: true, ..ReportOptions::default() });
    bench.report(&["aggregator.kind"]).expect("a test's own data");
    let page = bench.read("explorer/sums/index.html");
    assert!(page.contains("<a href=\"../../../page.html#by-hand\">Report</a>"), "{page}");
    assert!(page.contains("<script src=\"../../../viewer/view.js\"></script>"), "{page}");
    assert!(bench.path("../viewer/view.js").exists());
}

/// Writes the groups of many steps. For a measurement, `PRECEPTOR_EXPLORER_STEPS=100` makes 100,000 groups,
/// half a gigabyte, and `PRECEPTOR_EXPLORER_DIR` keeps them for a look in a browser.
#[test]
fn a_thousand_groups_per_step_are_written() {
    const NUM_PROMPTS: usize = 1000;
    let num_steps: u64 = std::env::var("PRECEPTOR_EXPLORER_STEPS")
        .map_or(2, |steps| steps.parse().expect("a number of steps"));
    let bench = Bench::new();
    let body = "A step of the argument follows from the one before: $x_{1} + y^2 = 5$. ".repeat(7);
    let prompts: Vec<_> =
        (0..NUM_PROMPTS).map(|p| prompt(p, &format!("What is {p}?"), ("level", "1"))).collect();
    let text = |step: u64, p: usize, i: u32| format!("{step} {p} {i} {body}\\boxed{{{p}}}");
    let drawn: Vec<_> = (0..NUM_PROMPTS).map(|p| rollout(p, 0, &text(0, p, 0))).collect();
    let graded: Vec<_> = (0..NUM_PROMPTS)
        .map(|p| (rollout_key(&id(p), 0), grade(p, Score::Scored(1.0), Some("7"))))
        .collect();
    let classes: Vec<_> = (0..NUM_PROMPTS)
        .map(|p| (key(p), AnswerClassRecord { prompt: id(p), classes: vec![Some(0)] }))
        .collect();
    let made: Vec<_> = (0..NUM_PROMPTS).map(|p| aggregate(p, chosen(0, "7"))).collect();
    let grades: Vec<_> =
        (0..NUM_PROMPTS).map(|p| (key(p), grade(p, Score::Scored(1.0), Some("7")))).collect();
    let groups = (1..=num_steps).flat_map(|step| (0..NUM_PROMPTS).map(move |p| (step, p)));
    let groups = groups.map(|(step, p)| {
        let rollouts: Vec<_> = (0..4).map(|i| rollout(p, i, &text(step, p, i)).1.rollout).collect();
        let given = (0..4).map(|i| reward(RewardValue::Rewarded(f64::from(i) / 4.0)));
        let record = TrainGroupRecord {
            step,
            prompt: id(p),
            rollouts,
            aggregate: Some(aggregate(p, chosen(0, "7")).1.aggregate),
            reward: rewards(p, given.collect()).1.group,
            advantages: vec![Some(0.5); 4],
            scores: vec![Score::Scored(if p % 3 == 0 { 1.0 } else { 0.0 }); 4],
            reference_score: Some(Score::Scored(1.0)),
            token_traces: Vec::new(),
        };
        (step_group_key(step, &id(p)), record)
    });
    let stages = CellStages {
        prompts: bench.stage("prompts", "", &prompts),
        rollouts: bench.stage("rollouts", "", &drawn),
        rollout_grades: bench.stage("rollout-grades", "", &graded),
        answer_classes: bench.stage("answer-classes", "", &classes),
        aggregates: bench.stage("aggregates", "", &made),
        grades: bench.stage("grades", "", &grades),
        rewards: None,
    };
    let mut cell = cell("sums", "synthesis", stages);
    cell.prompts = (0..NUM_PROMPTS).map(id).collect();
    cell.group_size = 1;
    cell.reward = Some("answer-match".to_owned());
    cell.training = Some(TrainingRecord {
        objective: "grpo".to_owned(),
        num_steps,
        uses_references: true,
        steps: bench.stage::<()>("train-steps", "", &[]),
        groups: bench.stage("train-groups", "", &groups.collect::<Vec<_>>()),
        costs: bench.stage::<()>("train-costs", "", &[]),
        evaluations: Vec::new(),
        choice: None,
    });
    bench.add(cell);
    bench.report(&[]).expect("a test's own data");
    let index = bench.script("explorer/sums/index.js");
    assert_eq!(
        index["sets"][1]["prompts"].as_array().map(Vec::len),
        Some(NUM_PROMPTS * num_steps as usize)
    );
    if let Ok(folder) = std::env::var("PRECEPTOR_EXPLORER_DIR") {
        std::fs::rename(bench.path(""), folder).expect("a folder on the same disk");
    }
}
