//! `compare` and `regrade` on the two scripted policies, whose numbers can be worked out on paper.

use std::fs;

use serde_json::json;

use crate::process::Folder;
use crate::scripted::{close, json, model, start, write_two_policies};

const COMPARE: [&str; 4] = ["compare", "two.toml", "policy.model=first", "policy.model=second"];

#[test]
fn two_policies_are_compared_by_prompt() {
    let (folder, server) = (Folder::new(), start());
    write_two_policies(&folder, &server);
    folder.run(&["run", "two.toml"]).expect_done();
    let arguments = [&["--json"][..], &COMPARE].concat();
    let found = json(&folder.run(&arguments).expect_done().stdout);
    close(&found["a"]["score"]["mean"], 0.75);
    close(&found["b"]["score"]["mean"], 0.5);
    assert_eq!((&found["a"]["scored"], &found["a"]["wanted"]), (&json!(4), &json!(4)));
    // Differences 0, 1, 1, -1: four prompts are too few for an interval.
    close(&found["difference"]["mean"], 0.25);
    assert_eq!((&found["difference"]["interval"], &found["p-value"]), (&json!(null), &json!(null)));
    assert_eq!((&found["note"], &found["seeds"]), (&json!("too few prompts"), &json!(1)));
    let outcomes = ["a-better", "b-better", "ties", "prompts"].map(|key| &found[key]);
    assert_eq!(outcomes, [&json!(2), &json!(1), &json!(1), &json!(4)]);
    insta::assert_snapshot!(folder.run(&COMPARE).expect_done().stdout);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let (folder, server) = (Folder::new(), start());
    write_two_policies(&folder, &server);
    insta::assert_snapshot!("compare-before-any-run", folder.run(&COMPARE).said());
    assert!(!folder.path("runs").exists(), "nothing was written");
    folder.run(&["run", "two.toml", "--only", "policy.model=first"]).expect_done();
    insta::assert_snapshot!("compare-unfinished-condition", folder.run(&COMPARE).said());
    let compare = |a, b| folder.run(&["compare", "two.toml", a, b]).said();
    insta::assert_snapshot!(
        "compare-unknown-value",
        compare("policy.model=third", "policy.model=first")
    );
    insta::assert_snapshot!("compare-several-conditions", compare("seed=0", "policy.model=first"));
    insta::assert_snapshot!(
        "compare-same-condition",
        compare("policy.model=first", "policy.model=first,seed=0")
    );
    insta::assert_snapshot!("compare-without-axis", compare("first", "second"));
    let benchmarks = fs::read_to_string(folder.path("two.toml")).unwrap().replace(
        "\"policy.model\" = [\"first\", \"second\"]\n",
        "[[matrix.benchmark]]\nname = \"rows\"\nkind = \"jsonl\"\npath = \"rows.jsonl\"\n\
         [[matrix.benchmark]]\nname = \"sums\"\nkind = \"arithmetic\"\n",
    );
    let benchmarks = benchmarks.replace(
        "[benchmark]\nkind = \"jsonl\"\npath = \"rows.jsonl\"\n",
        "[policy]\nmodel = \"first\"\n",
    );
    folder.write("benchmarks.toml", &benchmarks);
    let compare = ["compare", "benchmarks.toml", "benchmark=rows", "benchmark=sums"];
    insta::assert_snapshot!("compare-different-benchmarks", folder.run(&compare).said());
    insta::assert_snapshot!(
        "compare-manifest-path",
        folder.run(&["compare", "none.toml", "a=b", "a=c"]).said()
    );
}

#[test]
fn another_grader_moves_what_it_reads_differently() {
    let (folder, server) = (Folder::new(), start());
    write_two_policies(&folder, &server);
    folder.run(&["run", "two.toml"]).expect_done();
    let num_calls = server.received().len();
    assert_eq!(num_calls, 16);
    // Compared as strings, `11.0` is not 11: two rollouts of 16 and one pseudo-reference of 8.
    let string = ["--json", "regrade", "two.toml", "--set", "grader.profile=string"];
    let found = json(&folder.run(&string).expect_done().stdout);
    assert_eq!(
        found["rollout-scores"],
        json!({"compared": 16, "changed": 2, "mean-before": 0.625, "mean-after": 0.5})
    );
    assert_eq!(
        found["scores"],
        json!({"compared": 8, "changed": 1, "mean-before": 0.625, "mean-after": 0.5})
    );
    // Rewards don't ask the grader: the same stage on both sides.
    assert_eq!(
        (&found["rewards"]["compared"], &found["rewards"]["changed"]),
        (&json!(16), &json!(0))
    );
    assert_eq!(found["flipped-advantages"], 0);
    assert_eq!(server.received().len(), num_calls, "nothing is asked");
}

#[test]
fn another_reward_moves_rewards_and_flips_advantages() {
    let (folder, server) = (Folder::new(), start());
    write_two_policies(&folder, &server);
    folder.run(&["run", "two.toml"]).expect_done();
    // One rollout of the group that disagrees with itself had reward 0, fifteen had 1.
    let reward = "reward.terms=[{ kind = \"constant\", value = 1.0 }]";
    let constant = ["--json", "regrade", "two.toml", "--set", reward];
    let found = json(&folder.run(&constant).expect_done().stdout);
    assert_eq!(
        found["rewards"],
        json!({"compared": 16, "changed": 1, "mean-before": 0.9375, "mean-after": 1.0})
    );
    assert_eq!((&found["flipped-advantages"], &found["scores"]["changed"]), (&json!(2), &json!(0)));

    // A judge that finds nothing GOOD is asked about each text of a prompt once, and no policy is.
    let num_calls = server.received().len();
    let judge = "reward.terms=[{ kind = \"judge\" }]";
    let said = folder.run(&["regrade", "two.toml", "--set", judge, "--reports", "other"]);
    assert!(
        said.stderr.contains("judge · strict: 0 of 5 replies are in the store"),
        "{}",
        said.stderr
    );
    insta::assert_snapshot!(said.expect_done().stdout);
    assert!(server.received()[num_calls..].iter().all(|call| model(call) == "strict"));
    assert!(folder.path("other/two/page.html").exists());
}

#[test]
fn regrading_draws_nothing() {
    let (folder, server) = (Folder::new(), start());
    write_two_policies(&folder, &server);
    let regrade = |settings: &[&str]| folder.run(&[&["regrade", "two.toml"], settings].concat());
    insta::assert_snapshot!(
        "regrade-before-any-run",
        regrade(&["--set", "grader.profile=string"]).said()
    );
    folder.run(&["run", "two.toml"]).expect_done();
    insta::assert_snapshot!(
        "regrade-unknown-profile",
        regrade(&["--set", "grader.profile=strnig"]).said()
    );
    insta::assert_snapshot!(
        "regrade-missing-rollouts",
        regrade(&["--set", "sampling.group-size=3"]).said()
    );
    assert_eq!(server.received().len(), 16);
}
