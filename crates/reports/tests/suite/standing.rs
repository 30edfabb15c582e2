//! Aggregators on shared groups of two rollouts, the first right on even prompts and the second on every
//! fourth; which pseudo-references are right is said by each test.

use preceptor_core::record::{AnswerClassRecord, CellRecord, CellStages, Score, rollout_key};
use preceptor_core::{Digest, RewardValue};

use crate::bench::{
    Bench, aggregate, axes, cell, chosen, grade, id, key, prompt, reward, rewards, rollout,
};

/// True if a pseudo-reference is right; none where a verdict is missing.
pub(crate) type Right = fn(usize) -> Option<bool>;

fn score(right: Option<bool>) -> Score {
    right.map_or_else(
        || Score::Unscored("call-failed".to_owned()),
        |right| Score::Scored(f64::from(u8::from(right))),
    )
}

fn rollout_right(prompt: usize, index: u32) -> bool {
    if index == 0 { prompt.is_multiple_of(2) } else { prompt.is_multiple_of(4) }
}

/// A cell of `aggregator` over the first `num_prompts` prompts.
pub(crate) fn estimated(
    bench: &Bench,
    aggregator: &str,
    num_prompts: usize,
    right: Right,
) -> CellRecord {
    let each = || 0..num_prompts;
    let pairs = || each().flat_map(|p| (0..2).map(move |i| (p, i)));
    let shared = num_prompts.to_string();
    let asked: Vec<_> = each().map(|p| prompt(p, "x?", ("level", "1"))).collect();
    let drawn: Vec<_> = pairs().map(|(p, i)| rollout(p, i, "\\boxed{7}")).collect();
    let graded: Vec<_> = pairs()
        .map(|(p, i)| {
            let record = grade(p, score(Some(rollout_right(p, i))), Some("7"));
            (rollout_key(&id(p), i), record)
        })
        .collect();
    let classes: Vec<_> = each()
        .map(|p| (key(p), AnswerClassRecord { prompt: id(p), classes: vec![Some(0), Some(0)] }))
        .collect();
    let references: Vec<_> = each().map(|p| aggregate(p, chosen(0, "\\boxed{7}"))).collect();
    let grades: Vec<_> = each().map(|p| (key(p), grade(p, score(right(p)), Some("7")))).collect();
    let constant = || vec![reward(RewardValue::Rewarded(0.5)), reward(RewardValue::Rewarded(0.5))];
    let rewarded: Vec<_> = each().map(|p| rewards(p, constant())).collect();
    let stages = CellStages {
        prompts: bench.stage("prompts", &shared, &asked),
        rollouts: bench.stage("rollouts", &shared, &drawn),
        rollout_grades: bench.stage("rollout-grades", &shared, &graded),
        answer_classes: bench.stage("answer-classes", &shared, &classes),
        aggregates: bench.stage("aggregates", aggregator, &references),
        grades: bench.stage("grades", aggregator, &grades),
        rewards: Some(bench.stage("rewards", aggregator, &rewarded)),
    };
    let mut cell = cell("sums", aggregator, stages);
    cell.id = Digest::of(aggregator.as_bytes());
    cell.axes = axes(&[("aggregator.kind", aggregator)]);
    cell.reward = Some("constant".to_owned());
    cell.group_size = 2;
    cell.prompts = (0..num_prompts).map(id).collect();
    cell
}

pub(crate) const AXES: [&str; 1] = ["aggregator.kind"];

fn report(num_prompts: usize, aggregators: &[(&str, Right)]) -> Bench {
    let bench = Bench::new();
    for (aggregator, right) in aggregators {
        bench.add(estimated(&bench, aggregator, num_prompts, *right));
    }
    bench.report(&AXES).expect("a test's own data");
    bench
}

fn row(aggregator: &str) -> [(&str, &str); 1] {
    [("aggregator.kind", aggregator)]
}

#[test]
fn few_prompts_have_no_interval_and_no_rank() {
    let bench = report(4, &[("single", |p| Some(p % 2 == 0)), ("majority", |_| Some(true))]);
    for aggregator in ["single", "majority"] {
        let cell = |column| bench.cell("scores", &row(aggregator), column);
        assert_eq!((cell("standing").as_str(), cell("low").as_str()), ("too few prompts", ""));
    }
    assert!(!bench.header("scores").contains(&"vs_rollouts_low".to_owned()));
    bench.check("scores", &row("majority"), &[("score", 1.0), ("vs_single", 0.5)]);
    assert_eq!(bench.cell("breakdown", &row("majority"), "note"), "too few prompts");
    let page = bench.read("page.md");
    assert!(page.contains("too few prompts"));
}

#[test]
fn a_score_at_partial_coverage_is_not_ranked_against_a_whole_one() {
    let whole: Right = |p| Some(p % 3 != 0);
    let partial: Right = |p| (p % 2 == 0).then_some(true);
    let bench =
        report(24, &[("majority", whole), ("synthesis", partial), ("medoid", |_| Some(false))]);
    let standing = |aggregator| bench.cell("scores", &row(aggregator), "standing");
    assert_eq!(standing("synthesis"), "partial coverage");
    assert_eq!((standing("majority").as_str(), standing("medoid").as_str()), ("best", ""));
    // Over the twelve even prompts that all have.
    for (aggregator, score, common) in
        [("majority", 16.0 / 24.0, 8.0 / 12.0), ("synthesis", 1.0, 1.0), ("medoid", 0.0, 0.0)]
    {
        let expected = [("score", score), ("common_score", common), ("common_prompts", 12.0)];
        bench.check("scores", &row(aggregator), &expected);
    }
}

#[test]
fn where_all_lack_scores_the_prompts_in_common_are_ranked() {
    let bench = report(
        40,
        &[
            ("majority", |p| (p != 1).then_some(p % 3 == 0)),
            ("synthesis", |p| (p != 2).then_some(p != 5)),
        ],
    );
    assert_eq!(bench.cell("scores", &row("synthesis"), "standing"), "best");
    bench.check(
        "scores",
        &row("synthesis"),
        &[("common_prompts", 38.0), ("common_score", 37.0 / 38.0)],
    );
    let few = report(
        12,
        &[("majority", |p| (p > 1).then_some(true)), ("synthesis", |p| (p < 11).then_some(false))],
    );
    for aggregator in ["majority", "synthesis"] {
        assert_eq!(few.cell("scores", &row(aggregator), "standing"), "partial coverage");
    }
}

#[test]
fn both_baselines_are_named_and_stay_in_range() {
    let bench = report(12, &[("single", |p| Some(p % 2 == 0)), ("majority", |_| Some(true))]);
    // Rollouts are right with 1, 0, 1/2, 0 of each four.
    let expected = [("vs_single", 0.5), ("vs_rollouts", 1.0 - 0.375)];
    bench.check("scores", &row("majority"), &expected);
    for column in ["vs_single_high", "vs_rollouts_high"] {
        assert!(bench.number("scores", &row("majority"), column) <= 1.0);
    }
    assert!(bench.header("scores").contains(&"vs_single_p_holm".to_owned()));
    // Without `single` there is nothing to say about it.
    let alone = report(12, &[("majority", |_| Some(true))]);
    let header = alone.header("scores");
    assert!(header.iter().all(|name| !name.starts_with("vs_single")), "{header:?}");
}

#[test]
fn a_constant_reward_has_its_auc_without_an_interval() {
    let bench = report(40, &[("majority", |p| Some(p % 2 == 0))]);
    bench.check("audit", &row("majority"), &[("group_auc", 0.5), ("mixed_groups", 10.0)]);
    let header = bench.header("audit");
    assert!(!header.contains(&"group_auc_low".to_owned()), "{header:?}");
    assert!(!header.contains(&"unrewarded_reasons".to_owned()), "{header:?}");
    bench.check("audit", &row("majority"), &[("flat_groups", 1.0)]);
}

#[test]
fn an_audit_without_rewards_has_no_empty_columns() {
    let bench = report(12, &[("majority", |p| Some(p % 2 == 0))]);
    bench.change(|cell| {
        cell.reward = None;
        cell.stages.rewards = None;
    });
    bench.report(&AXES).unwrap();
    assert_eq!(
        bench.header("audit"),
        [
            "aggregator.kind",
            "benchmark",
            "sampling.group-size",
            "label_accuracy",
            "label_accuracy_low",
            "label_accuracy_high"
        ]
    );
}

#[test]
fn the_same_number_reads_the_same_everywhere() {
    // 11 of 16 is 0.6875, a half in the third place.
    let bench = report(16, &[("majority", |p| Some(p < 11)), ("medoid", |p| Some(p < 4))]);
    for name in
        ["page.md", "page.html", "tables/scores.tex", "figures/score-by-aggregator-sums.svg"]
    {
        // Columns are sorted by exact values.
        let text = bench.read(name).replace("data-sort=\"0.6875\"", "");
        assert!(text.contains("0.688") && !text.contains("0.687"), "{name}");
    }
}
