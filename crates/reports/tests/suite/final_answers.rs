//! Four prompts, three rollouts each, label 7:
//!
//! ```text
//!      level  rollouts    single  majority  synthesis                      oracle
//! p0   1      7  7  5     7       7         7, the first rollout's text     7
//! p1   1      5  5  7     5       5         7, as the third rollout         7
//! p2   2      3  4  4     3       4         7, which no rollout has         none
//! p3   2      7  -  7     7       7         8, which no rollout has         7
//! ```

use std::fs;

use preceptor_core::record::{
    AnswerClassRecord, CellStages, CostRecord, GradeRecord, RolloutRecord, Score, rollout_key,
};
use preceptor_core::{
    AbstainReason, AggregateOutcome, JudgeFailure, RewardValue, UnrewardedReason,
};
use preceptor_reports::FigureWidth;

use crate::bench::{
    Bench, aggregate, axes, cell, chosen, grade, id, key, prompt, reward, rewards, rollout, written,
};

const LEVELS: [&str; 4] = ["1", "1", "2", "2"];
const ANSWERS: [[Option<&str>; 3]; 4] = [
    [Some("7"), Some("7"), Some("5")],
    [Some("5"), Some("5"), Some("7")],
    [Some("3"), Some("4"), Some("4")],
    [Some("7"), None, Some("7")],
];
const CLASSES: [[Option<u32>; 3]; 4] = [
    [Some(0), Some(0), Some(1)],
    [Some(0), Some(0), Some(1)],
    [Some(0), Some(1), Some(1)],
    [Some(0), None, Some(0)],
];
/// Rollouts that are chosen.
const CHOICES: [(&str, [Option<u32>; 4]); 3] = [
    ("single", [Some(0), Some(0), Some(0), Some(0)]),
    ("majority", [Some(0), Some(0), Some(1), Some(0)]),
    ("oracle", [Some(0), Some(2), None, Some(0)]),
];
const SYNTHESES: [&str; 4] = ["7", "7", "7", "8"];

fn text(prompt: usize, index: u32) -> String {
    match ANSWERS[prompt][index as usize] {
        Some(answer) => format!("Rollout {index}:\nso x = \\boxed{{{answer}}}"),
        None => "I don't know. <script>alert(1)</script>".to_owned(),
    }
}

fn of_answer(prompt: usize, answer: Option<&str>) -> GradeRecord {
    let score = Score::Scored(f64::from(u8::from(answer == Some("7"))));
    grade(prompt, score, answer)
}

/// The pseudo-reference with its answer.
fn outcome(aggregator: &str, prompt: usize) -> (AggregateOutcome, Option<&'static str>) {
    let Some((_, choices)) = CHOICES.iter().find(|(name, _)| *name == aggregator) else {
        let answer = SYNTHESES[prompt];
        let text = match prompt {
            // White space does not count.
            0 => text(0, 0).replace('\n', "  "),
            _ => format!("First I check. Therefore\n\nx = y = \\boxed{{{answer}}}"),
        };
        return (written(&text), Some(answer));
    };
    match choices[prompt] {
        Some(index) => (chosen(index, &text(prompt, index)), ANSWERS[prompt][index as usize]),
        None => (AggregateOutcome::Abstained(AbstainReason::NoneCorrect), None),
    }
}

/// Rewards for a match with the pseudo-reference; a judge fails on one of synthesis.
fn matches(aggregator: &str, prompt: usize) -> Vec<RewardValue> {
    let reference = outcome(aggregator, prompt).1;
    let value = |index: usize| match (reference, aggregator, prompt, index) {
        (None, ..) => RewardValue::Unrewarded(UnrewardedReason::NoReference),
        (_, "synthesis", 3, 1) => {
            RewardValue::Unrewarded(UnrewardedReason::Judge(JudgeFailure::Unreadable))
        }
        _ => RewardValue::Rewarded(f64::from(u8::from(ANSWERS[prompt][index] == reference))),
    };
    (0..3).map(value).collect()
}

fn bench() -> Bench {
    bench_of(|_| ())
}

/// Creates the bench with rollouts that `change` changes.
fn bench_of(change: fn(&mut RolloutRecord)) -> Bench {
    let bench = Bench::new();
    let each = |record: &dyn Fn(usize, u32) -> GradeRecord| {
        let keys = (0..4).flat_map(|p| (0..3).map(move |i| (p, i)));
        keys.map(|(p, i)| (rollout_key(&id(p), i), record(p, i))).collect::<Vec<_>>()
    };
    let prompts: Vec<_> = (0..4).map(|p| prompt(p, "What is x?", ("level", LEVELS[p]))).collect();
    let mut rollouts: Vec<_> =
        (0..4).flat_map(|p| (0..3).map(move |i| rollout(p, i, &text(p, i)))).collect();
    rollouts.iter_mut().for_each(|(_, record)| change(record));
    let classes: Vec<_> = (0..4)
        .map(|p| (key(p), AnswerClassRecord { prompt: id(p), classes: CLASSES[p].to_vec() }))
        .collect();
    let prompts = bench.stage("prompts", "", &prompts);
    let rollouts = bench.stage("rollouts", "", &rollouts);
    let rollout_grades = each(&|p, i| of_answer(p, ANSWERS[p][i as usize]));
    let rollout_grades = bench.stage("rollout-grades", "", &rollout_grades);
    let answer_classes = bench.stage("answer-classes", "", &classes);
    for aggregator in ["single", "majority", "synthesis", "oracle"] {
        let aggregates: Vec<_> = (0..4).map(|p| aggregate(p, outcome(aggregator, p).0)).collect();
        let grades: Vec<_> =
            (0..4).map(|p| (key(p), of_answer(p, outcome(aggregator, p).1))).collect();
        let aggregates = bench.stage("aggregates", aggregator, &aggregates);
        let grades = bench.stage("grades", aggregator, &grades);
        for name in ["answer-match", "constant"] {
            // A constant reward is the same for every aggregator.
            let stage = if name == "constant" { name } else { aggregator };
            let values = |p: usize| match name {
                "constant" => vec![RewardValue::Rewarded(1.0); 3],
                _ => matches(aggregator, p),
            };
            let records: Vec<_> =
                (0..4).map(|p| rewards(p, values(p).into_iter().map(reward).collect())).collect();
            let stages = CellStages {
                prompts: prompts.clone(),
                rollouts: rollouts.clone(),
                rollout_grades: rollout_grades.clone(),
                answer_classes: answer_classes.clone(),
                aggregates: aggregates.clone(),
                grades: grades.clone(),
                rewards: Some(bench.stage("rewards", stage, &records)),
            };
            let mut cell = cell("sums", aggregator, stages);
            cell.axes = axes(&[("aggregator.kind", aggregator), ("reward", name)]);
            cell.reward = Some(name.to_owned());
            cell.prompts = (0..4).map(id).collect();
            bench.add(cell);
        }
    }
    bench.report(&["aggregator.kind", "reward"]).expect("a test's own data");
    bench
}

#[test]
fn several_writers_of_one_report_leave_it_whole() {
    let bench = bench();
    let alone = (bench.tables(), bench.read("page.html"));
    for _ in 0..3 {
        bench.report_from(&["aggregator.kind", "reward"], 4).unwrap();
        assert!((bench.tables(), bench.read("page.html")) == alone);
        for folder in ["", "tables", "figures"] {
            let entries = fs::read_dir(bench.path(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let hidden: Vec<_> = names.filter(|name| name.starts_with('.')).collect();
            assert!(hidden.is_empty(), "{hidden:?}");
        }
    }
}

#[test]
fn conditions_that_share_scores_are_one_row() {
    let bench = bench();
    let scores = bench.read("tables/scores.csv");
    assert_eq!(scores.lines().count(), 1 + 4, "{scores}");
    assert!(!scores.contains("reward"), "{scores}");
    bench.check(
        "scores",
        &[("aggregator.kind", "synthesis")],
        &[("score", 0.75), ("vs_single", 0.25)],
    );
    bench.check(
        "scores",
        &[("aggregator.kind", "majority")],
        &[("score", 0.5), ("vs_single", 0.0)],
    );
    let standing =
        |aggregator| bench.cell("scores", &[("aggregator.kind", aggregator)], "standing");
    assert_eq!(standing("oracle"), "upper bound");
    assert_eq!(standing("synthesis"), "too few prompts");
}

#[test]
fn an_unused_judge_is_not_part_of_a_condition() {
    let bench = bench();
    bench.change(|cell| {
        cell.axes.insert("judge".to_owned(), "strict".to_owned());
        cell.judge = (cell.aggregator == "synthesis").then(|| "small".to_owned());
    });
    bench.report(&["aggregator.kind", "judge", "reward"]).expect("a test's own data");
    for (aggregator, judge) in [("majority", "any"), ("synthesis", "strict")] {
        assert_eq!(bench.cell("scores", &[("aggregator.kind", aggregator)], "judge"), judge);
    }
    let pair = [("a", "synthesis, judge strict"), ("b", "majority")];
    assert_eq!(bench.number("disagreement", &pair, "compared"), 4.0);
}

#[test]
fn rewards_are_audited_against_the_label() {
    let bench = bench();
    let row = |aggregator| [("aggregator.kind", aggregator), ("reward", "answer-match")];
    bench.check(
        "audit",
        &row("synthesis"),
        &[
            ("label_accuracy", 0.75),
            // By prompt: 3 of 3, 3 of 3, 3 of 3, 0 of 2.
            ("reward_accuracy", 0.75),
            // Right: 1 1 1 0 0; wrong: six times 0.
            ("auc", (3.0 * 6.0 + 2.0 * 3.0) / 30.0),
            ("group_auc", 1.0),
            ("mixed_groups", 2.0),
            ("false_positive_rate", 0.0),
            ("false_negative_rate", 2.0 / 5.0),
            ("flat_groups", 0.5),
            ("unrewarded", 1.0 / 12.0),
            ("rollouts", 11.0),
        ],
    );
    assert_eq!(bench.cell("audit", &row("synthesis"), "unrewarded_reasons"), "unreadable 1");
    bench.check(
        "audit",
        &row("majority"),
        &[
            ("label_accuracy", 0.5),
            // By prompt: 3, 0, 1 and 3 of 3.
            ("reward_accuracy", (1.0 + 0.0 + 1.0 / 3.0 + 1.0) / 4.0),
            // Right: 1 1 0 1 1; wrong: 1 1 1 1 0 0 0.
            ("auc", (4.0 * (3.0 + 2.0) + 1.5) / 35.0),
            // 1 for the first and the last prompt, 0 for the second.
            ("group_auc", 2.0 / 3.0),
            ("mixed_groups", 3.0),
            ("false_positive_rate", 4.0 / 7.0),
            ("false_negative_rate", 1.0 / 5.0),
            ("flat_groups", 0.0),
        ],
    );
    let constant = [("aggregator.kind", "majority"), ("reward", "constant")];
    bench.check("audit", &constant, &[("auc", 0.5), ("group_auc", 0.5), ("flat_groups", 1.0)]);
    assert_eq!(bench.cell("audit", &row("oracle"), "sees_labels"), "aggregator");
    let level = [("aggregator.kind", "majority"), ("reward", "answer-match"), ("level", "2")];
    bench.check(
        "audit_by_level",
        &level,
        &[
            ("label_accuracy", 0.5),
            ("reward_accuracy", (1.0 / 3.0 + 1.0) / 2.0),
            ("false_positive_rate", 2.0 / 4.0),
            ("false_negative_rate", 0.0),
        ],
    );
}

#[test]
fn aggregators_disagree_where_their_answers_differ() {
    let bench = bench();
    let pair = [("a", "synthesis"), ("b", "majority")];
    let expected = [
        ("differ", 0.75),
        ("num_differ", 3.0),
        ("compared", 4.0),
        ("a_right", 2.0 / 3.0),
        ("b_right", 1.0 / 3.0),
    ];
    bench.check("disagreement", &pair, &expected);
    // Neither `single` nor what sees labels is compared.
    assert_eq!(bench.read("tables/disagreement.csv").lines().count(), 2);
    let expected = [
        ("written", 4.0),
        ("copied", 0.25),
        ("new_answer", 0.5),
        ("new_right", 0.5),
        ("all_wrong", 1.0),
        ("right_when_all_wrong", 1.0),
        ("share", 1.0),
    ];
    bench.check("written", &[("aggregator.kind", "synthesis")], &expected);
}

#[test]
fn syntheses_and_rollouts_are_compared_in_form() {
    let bench = bench();
    // Of four, one is a rollout's text.
    let expected = [
        ("texts", 4.0),
        ("lines", (1.0 + 3.0 * 2.0) / 4.0),
        ("equations", (1.0 + 3.0 * 2.0) / 4.0),
        ("step_words", (1.0 + 3.0 * 2.0) / 4.0),
        ("verification_cues", 3.0 / 4.0),
        ("boxed", 1.0),
    ];
    bench.check("structure", &[("source", "synthesis")], &expected);
    let expected = [
        ("texts", 12.0),
        ("lines", (11.0 * 2.0 + 1.0) / 12.0),
        ("words", (11.0 * 6.0 + 4.0) / 12.0),
        ("boxed", 11.0 / 12.0),
    ];
    bench.check("structure", &[("source", "rollouts")], &expected);
}

#[test]
fn rewards_that_conditions_share_are_one_row() {
    let bench = bench();
    let constant = [("aggregator.kind", "any"), ("reward", "constant")];
    let expected =
        [("mean", 1.0), ("std", 0.0), ("within_group_std", 0.0), ("prompt_tokens", 80.0)];
    bench.check("rewards", &constant, &expected);
    let majority = [("aggregator.kind", "majority"), ("reward", "answer-match")];
    let third = (2.0_f64 / 9.0).sqrt();
    let expected = [
        ("mean", 8.0 / 12.0),
        ("std", (8.0_f64 / 12.0 * 4.0 / 12.0).sqrt()),
        ("within_group_std", third),
        ("unrewarded", 0.0),
    ];
    bench.check("rewards", &majority, &expected);
    let spent = [("stage", "rewards"), ("reward", "constant")];
    bench.check("costs", &spent, &[("prompt_tokens", 80.0), ("tokens_per_prompt", 28.0)]);
}

#[test]
fn a_larger_set_of_rollouts_costs_the_share_that_is_read() {
    let bench = bench();
    let spent = CostRecord {
        num_records: 12,
        num_prompt_tokens: 24,
        num_generated_tokens: 48,
        wall_secs: 6.0,
        cost_usd: 3.0,
    };
    bench.cost("rollouts", "", &spent);
    let check = |expected: [(&str, f64); 5]| {
        bench.report(&["aggregator.kind", "reward"]).unwrap();
        let [prompts, generated, a_prompt, seconds, cost] = expected;
        bench.check("costs", &[("stage", "rollouts")], &[prompts, generated, a_prompt]);
        bench.check("rollouts", &[], &[prompts, generated, seconds, cost]);
    };
    check([
        ("prompt_tokens", 24.0),
        ("generated_tokens", 48.0),
        ("tokens_per_prompt", 18.0),
        ("wall_secs", 6.0),
        ("cost_usd", 3.0),
    ]);
    bench.change(|cell| cell.prompts.truncate(1));
    check([
        ("prompt_tokens", 6.0),
        ("generated_tokens", 12.0),
        ("tokens_per_prompt", 18.0),
        ("wall_secs", 1.5),
        ("cost_usd", 0.75),
    ]);
}

#[test]
fn of_a_larger_set_without_tokens_the_share_is_by_rollouts() {
    let bench = bench_of(|record| {
        let rollout = &mut record.rollout;
        (rollout.token_ids, rollout.logprobs) = (Vec::new(), Vec::new());
        rollout.num_prompt_tokens = 0;
    });
    let spent =
        CostRecord { num_records: 12, wall_secs: 6.0, cost_usd: 3.0, ..CostRecord::default() };
    bench.cost("rollouts", "", &spent);
    bench.change(|cell| cell.prompts.truncate(1));
    bench.report(&["aggregator.kind", "reward"]).unwrap();
    bench.check("rollouts", &[], &[("wall_secs", 1.5), ("cost_usd", 0.75)]);
}

#[test]
fn every_table_reads_as_expected() {
    insta::assert_snapshot!(bench().tables());
}

#[test]
fn a_reward_that_all_aggregators_share_is_one_bar() {
    let figure = bench().read("figures/reward-auc-sums.svg");
    let has = |text: &str| figure.contains(&format!("data-text=\"{text}\""));
    assert!(has("constant reward") && has("majority, answer-match reward"));
    assert!(!figure.contains(", constant reward"));
    // A constant has its AUC in every group that has both kinds.
    assert!(figure.contains("(n) groups with right and wrong rollouts"));
}

#[test]
fn every_column_is_explained() {
    let page = bench().read("page.html");
    for title in page.split("title=\"value of `").skip(1) {
        let axis = title.split('`').next().unwrap_or_default();
        assert!(axis.contains('.') || axis == "judge", "`{axis}` has no explanation");
    }
}

#[test]
fn every_figure_is_drawn_and_drawn_again_from_the_tables() {
    let bench = bench();
    let folder = fs::read_dir(bench.path("figures")).expect("a test's own data");
    let mut names: Vec<String> = folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".svg")?.to_owned()))
        .collect();
    names.sort();
    let several_bars = ["reward-auc-sums", "score-by-aggregator-sums", "structure-sums--small"];
    assert_eq!(names, several_bars);
    for name in names {
        let path = bench.path(&format!("figures/{name}.svg"));
        let before = fs::read(&path).expect("a test's own data");
        fs::remove_file(&path).expect("a test's own data");
        preceptor_reports::redraw(&bench.path(""), FigureWidth::PAGE).expect("a test's own data");
        assert_eq!(fs::read(&path).expect("a test's own data"), before, "{name}");
    }
}
