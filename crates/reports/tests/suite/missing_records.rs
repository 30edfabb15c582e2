//! Two prompts, two rollouts each; the second rollout of the second prompt could not be drawn.

use preceptor_core::record::{AnswerClassRecord, CellStages, GradeRecord, Score, rollout_key};
use preceptor_core::{Digest, RewardValue};

use crate::bench::{
    Bench, aggregate, cell, chosen, grade, id, key, prompt, reward, rewards, rollout,
};

const NAME: &str = "missing";

/// Records of the second prompt that are there.
#[derive(Clone, Copy, PartialEq)]
enum Second {
    Rollouts,
    NoRollout,
}

fn right(prompt: usize) -> GradeRecord {
    grade(prompt, Score::Scored(1.0), Some("7"))
}

fn bench(second: Second) -> Bench {
    let bench = Bench::new();
    let keys = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let drawn = &keys[..if second == Second::NoRollout { 3 } else { 4 }];
    let rollouts: Vec<_> = drawn.iter().map(|&(p, i)| rollout(p, i, "\\boxed{7}")).collect();
    let grades: Vec<_> = drawn.iter().map(|&(p, i)| (rollout_key(&id(p), i), right(p))).collect();
    // Nothing is made of the second prompt.
    let classes = AnswerClassRecord { prompt: id(0), classes: vec![Some(0), Some(0)] };
    let values = vec![reward(RewardValue::Rewarded(1.0)), reward(RewardValue::Rewarded(1.0))];
    let stage = |kind: &str| -> Digest {
        match kind {
            "prompts" => {
                let prompts: Vec<_> = (0..2).map(|p| prompt(p, "x?", ("level", "1"))).collect();
                bench.stage(kind, NAME, &prompts)
            }
            "rollouts" => bench.stage(kind, NAME, &rollouts),
            "rollout-grades" => bench.stage(kind, NAME, &grades),
            "answer-classes" => bench.stage(kind, NAME, &[(key(0), classes.clone())]),
            "aggregates" => bench.stage(kind, NAME, &[aggregate(0, chosen(0, "\\boxed{7}"))]),
            "grades" => bench.stage(kind, NAME, &[(key(0), right(0))]),
            _ => bench.stage(kind, NAME, &[rewards(0, values.clone())]),
        }
    };
    let stages = CellStages {
        prompts: stage("prompts"),
        rollouts: stage("rollouts"),
        rollout_grades: stage("rollout-grades"),
        answer_classes: stage("answer-classes"),
        aggregates: stage("aggregates"),
        grades: stage("grades"),
        rewards: Some(stage("rewards")),
    };
    let mut cell = cell("sums", "majority", stages);
    cell.reward = Some("answer-match".to_owned());
    cell.group_size = 2;
    cell.prompts = (0..2).map(id).collect();
    bench.add(cell);
    bench
}

#[test]
fn a_noted_failure_and_its_consequences_are_data() {
    let bench = bench(Second::NoRollout);
    bench.fail("rollouts", NAME, &["p1#1"], "timeout: 30 s");
    bench.report(&[]).expect("a test's own data");
    let row = [("benchmark", "sums")];
    let expected = [("score", 1.0), ("coverage", 0.5), ("failed", 0.5), ("abstained", 0.0)];
    bench.check("scores", &row, &expected);
    bench.check("rollouts", &row, &[("failed", 0.25), ("pass_at_1", 1.0), ("pass_at_group", 1.0)]);
    bench.check("audit", &row, &[("unrewarded", 0.5), ("rollouts", 2.0)]);
    assert_eq!(bench.cell("audit", &row, "unrewarded_reasons"), "failed 2");
    let failed = [("what", "rollout")];
    bench.check("failures", &failed, &[("count", 1.0), ("of", 4.0)]);
    assert_eq!(bench.cell("failures", &failed, "reason"), "timeout: 30 s");
    insta::assert_snapshot!(bench.read("tables/failures.csv"));
    let index = bench.script("explorer/sums/index.js");
    let flags = index["flag-names"].as_array().expect("a list");
    assert!(flags.contains(&"failed call".into()), "{flags:?}");
    assert!(bench.read("explorer/sums/0000.js").contains("timeout: 30 s"));
}

#[test]
fn a_record_that_was_never_tried_stops_the_report() {
    let error = bench(Second::NoRollout).report(&[]).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r"
    report on cell `seed=0`: a rollout of `p1` is not in the store
    hint: run the experiment first
    ");
    let error = bench(Second::Rollouts).report(&[]).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r"
    report on cell `seed=0`: the answer classes of `p1` is not in the store
    hint: run the experiment first
    ");
}

#[test]
fn a_noted_failure_late_in_the_chain_is_enough() {
    let bench = bench(Second::Rollouts);
    bench.fail("answer-classes", NAME, &["p1"], "not tried");
    bench.fail("aggregates", NAME, &["p1"], "call-failed");
    bench.report(&[]).expect("a test's own data");
    let failed = [("what", "pseudo-reference")];
    assert_eq!(bench.cell("failures", &failed, "reason"), "call-failed");
    bench.check("scores", &[("benchmark", "sums")], &[("coverage", 0.5), ("failed", 0.5)]);
}
