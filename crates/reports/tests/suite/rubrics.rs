//! Two prompts with rubrics, two rollouts each:
//!
//! ```text
//! p0: accuracy +5, completeness +5, safety -4      p1: accuracy +10
//!
//!                rollouts           single  synthesis  min-ppl
//! p0             -0.4   1.0         -0.4    1.0        1.0
//! p1              0.0   unscored     0.0    unscored   its call failed
//! ```

use preceptor_core::record::{AnswerClassRecord, CellStages, GradeRecord, Score, rollout_key};
use preceptor_core::{
    Criterion, JudgeFailure, JudgedCriterion, RewardValue, Rubric, UnrewardedReason, Verdict,
};

use crate::bench::{
    Bench, aggregate, axes, cell, chosen, grade, id, key, prompt, reward, rewards, rollout,
    verdict, written,
};

const MET: Verdict = Verdict::Met;
const NOT: Verdict = Verdict::NotMet;
const FAILED: Verdict = Verdict::Failed(JudgeFailure::Refused);

fn graded(prompt: usize, verdicts: &[Verdict]) -> GradeRecord {
    let items: &[(&str, f64)] = match prompt {
        0 => &[("axis:accuracy", 5.0), ("axis:completeness", 5.0), ("axis:safety", -4.0)],
        _ => &[("axis:accuracy", 10.0)],
    };
    let judged: Vec<JudgedCriterion> = items
        .iter()
        .zip(verdicts)
        .map(|((tag, points), answer)| verdict(&format!("about {tag}"), *points, tag, *answer))
        .collect();
    let achieved = items.iter().zip(verdicts).filter(|(_, verdict)| **verdict == MET);
    let score = if verdicts.contains(&FAILED) {
        Score::Unscored("1 of 1 verdicts failed: refused".to_owned())
    } else {
        Score::Scored(achieved.map(|((_, points), _)| points).sum::<f64>() / 10.0)
    };
    GradeRecord { label: String::new(), judged, ..grade(prompt, score, None) }
}

fn bench() -> Bench {
    let bench = Bench::new();
    let prompts: Vec<_> =
        (0..2).map(|p| prompt(p, "Secret question <b>?", ("theme", "hedging"))).collect();
    let rollouts: Vec<_> =
        (0..2).flat_map(|p| (0..2).map(move |i| rollout(p, i, "Secret advice."))).collect();
    let classes: Vec<_> = (0..2)
        .map(|p| (key(p), AnswerClassRecord { prompt: id(p), classes: vec![None; 2] }))
        .collect();
    let rollout_grades = [
        (rollout_key(&id(0), 0), graded(0, &[NOT, NOT, MET])),
        (rollout_key(&id(0), 1), graded(0, &[MET, MET, NOT])),
        (rollout_key(&id(1), 0), graded(1, &[NOT])),
        (rollout_key(&id(1), 1), graded(1, &[FAILED])),
    ];
    let stages = CellStages {
        prompts: bench.stage("prompts", "", &prompts),
        rollouts: bench.stage("rollouts", "", &rollouts),
        rollout_grades: bench.stage("rollout-grades", "", &rollout_grades),
        answer_classes: bench.stage("answer-classes", "", &classes),
        aggregates: bench.stage("aggregates", "none", &[] as &[(String, GradeRecord)]),
        grades: bench.stage("grades", "none", &[] as &[(String, GradeRecord)]),
        rewards: None,
    };
    bench.fail("grades", "min-ppl", &["p1"], "1 of 1 verdicts: call-failed");
    for aggregator in ["single", "synthesis", "min-ppl"] {
        let outcome = |index| match aggregator {
            "synthesis" => written("Better advice."),
            _ => chosen(index, "Secret advice."),
        };
        let aggregates: Vec<_> = (0..2).map(|p| aggregate(p, outcome(0))).collect();
        let mut grades = match aggregator {
            "single" => vec![graded(0, &[NOT, NOT, MET]), graded(1, &[NOT])],
            _ => vec![graded(0, &[MET, MET, NOT]), graded(1, &[FAILED])],
        };
        grades.truncate(if aggregator == "min-ppl" { 1 } else { 2 });
        let grades: Vec<_> =
            grades.into_iter().enumerate().map(|(p, grade)| (key(p), grade)).collect();
        let reward_stage = rubric_rewards(&bench);
        let stages = CellStages {
            aggregates: bench.stage("aggregates", aggregator, &aggregates),
            grades: bench.stage("grades", aggregator, &grades),
            rewards: (aggregator == "single").then_some(reward_stage),
            ..stages.clone()
        };
        let mut cell = cell("healthbench", aggregator, stages);
        cell.axes = axes(&[("aggregator.kind", aggregator)]);
        cell.reward = (aggregator == "single").then(|| "rubric".to_owned());
        cell.grader = "healthbench-strict-1".to_owned();
        cell.group_size = 2;
        cell.prompts = (0..2).map(id).collect();
        cell.shareable = false;
        bench.add(cell);
    }
    bench.report(&["aggregator.kind"]).expect("a test's own data");
    bench
}

/// Rewards 0.25 and 0.75; 0.5 and none.
fn rubric_rewards(bench: &Bench) -> preceptor_core::Digest {
    let checked = |value, answer| {
        let judged = vec![verdict("Is it kind?", 1.0, "", answer)];
        preceptor_core::Reward { judged, ..reward(value) }
    };
    let rewarded = |value| checked(RewardValue::Rewarded(value), MET);
    let refused = UnrewardedReason::Judge(JudgeFailure::Refused);
    let (name, mut first) = rewards(0, vec![rewarded(0.25), rewarded(0.75)]);
    first.group.rubric = Some(Rubric { criteria: vec![Criterion::new("Is it kind?")] });
    first.group.measures.insert("always-met".to_owned(), 1.0);
    let refused = checked(RewardValue::Unrewarded(refused), FAILED);
    let second = rewards(1, vec![rewarded(0.5), refused]);
    bench.stage("rewards", "", &[(name, first), second])
}

#[test]
fn a_mean_below_zero_is_clipped_and_shown_as_it_was() {
    let bench = bench();
    let single = [("aggregator.kind", "single")];
    bench.check("scores", &single, &[("score", 0.0), ("unclipped", -0.2), ("coverage", 1.0)]);
    let synthesis = [("aggregator.kind", "synthesis")];
    let expected = [("score", 1.0), ("coverage", 0.5), ("failed", 0.0), ("vs_single", 1.4)];
    bench.check("scores", &synthesis, &expected);
    let failed = [("aggregator.kind", "min-ppl")];
    bench.check("scores", &failed, &[("score", 1.0), ("coverage", 0.5), ("failed", 0.5)]);
}

#[test]
fn a_bar_says_how_much_was_scored_where_some_was_not() {
    let figure = bench().read("figures/score-by-aggregator-healthbench.svg");
    let has = |text: &str| figure.contains(&format!("data-text=\"{text}\""));
    assert!(has("0") && has("1 (50 % scored)"));
}

#[test]
fn every_metric_counts_its_own_examples() {
    let bench = bench();
    let metric = |aggregator, name| [("aggregator.kind", aggregator), ("metric", name)];
    for aggregator in ["synthesis", "min-ppl"] {
        for name in ["overall_score", "theme:hedging", "axis:accuracy"] {
            let expected = [("score", 1.0), ("examples", 1.0), ("unscored", 1.0)];
            bench.check("healthbench", &metric(aggregator, name), &expected);
        }
        let expected = [("examples", 1.0), ("unscored", 0.0), ("bootstrap_std", 0.0)];
        bench.check("healthbench", &metric(aggregator, "axis:completeness"), &expected);
    }
    let expected = [("score", 0.0), ("examples", 2.0), ("unscored", 0.0)];
    bench.check("healthbench", &metric("single", "overall_score"), &expected);
    // Points below 0 alone give no score.
    assert!(!bench.read("tables/healthbench.csv").contains("axis:safety"));
}

#[test]
fn rewards_are_correlated_with_scores() {
    let bench = bench();
    // (0.25, -0.4), (0.75, 1.0), (0.5, 0.0); within the first group 1.
    let expected = [
        ("correlation", 0.35 / (0.125_f64 * 1.04).sqrt()),
        ("group_correlation", 1.0),
        ("mixed_groups", 1.0),
        ("unrewarded", 0.25),
        ("rollouts", 3.0),
    ];
    bench.check("reward_correlation", &[("reward", "rubric")], &expected);
    assert!(!bench.path("tables/audit.csv").exists());
    let expected = [("judge_prompt_tokens", 16.0), ("prompt_tokens", 40.0), ("mean", 0.5)];
    bench.check("rewards", &[("reward", "rubric")], &expected);
    bench.check("reward_measures", &[("measure", "always-met")], &[("mean", 1.0), ("groups", 1.0)]);
}

#[test]
fn failures_are_counted_with_their_reasons() {
    let bench = bench();
    let row = |what, aggregator| [("what", what), ("aggregator.kind", aggregator)];
    bench.check("failures", &row("grade", "min-ppl"), &[("count", 1.0), ("of", 2.0)]);
    bench.check("failures", &row("unscored", "synthesis"), &[("count", 1.0), ("of", 2.0)]);
    bench.check("failures", &row("unscored rollout", "any"), &[("count", 1.0), ("of", 4.0)]);
    bench.check("failures", &row("unrewarded rollout", "single"), &[("count", 1.0), ("of", 4.0)]);
    bench.check("failures", &row("reward verdict", "single"), &[("count", 1.0), ("of", 4.0)]);
    bench.check("failures", &row("verdict", "synthesis"), &[("count", 1.0), ("of", 4.0)]);
    let reason = bench.cell("failures", &row("grade", "min-ppl"), "reason");
    assert_eq!(reason, "1 of 1 verdicts: call-failed");
}

#[test]
fn every_table_of_rubrics_reads_as_expected() {
    insta::assert_snapshot!(bench().tables());
}

#[test]
fn texts_that_may_not_be_published_stay_beside_the_page() {
    let bench = bench();
    for page in ["page.html", "page.md", "plan.toml", "provenance.json"] {
        let page = bench.read(page);
        for secret in ["Secret", "Better", "rather not", "kind?", "about axis"] {
            assert!(!page.contains(secret), "{secret}");
        }
    }
    assert!(!bench.path("explorer").exists());
    let explorer = bench.read("explorer-private/healthbench/0000.js");
    for text in ["Secret advice.", "Better advice.", "Is it kind?", "about axis:accuracy"] {
        assert_eq!(explorer.matches(&format!("\"{text}")).count(), 1, "{text} is held once");
    }
    assert!(explorer.contains("I'd rather not <say>."), "the judge's reply");
    assert!(explorer.contains("failed: refused"));
    let index = bench.script("explorer-private/healthbench/index.js");
    assert_eq!(index["has-rubric"], true);
    let flags = index["flag-names"].as_array().expect("a list");
    assert!(flags.contains(&"judge failed".into()), "{flags:?}");
}
