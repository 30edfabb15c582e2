//! `show`: records by their keys.

use serde_json::Value;

use crate::process::Folder;
use crate::scripted::json;
use crate::training::{of_kind, write_manifest};

/// A folder with a trained policy, and the id of a prompt.
fn trained() -> (Folder, String) {
    let folder = Folder::new();
    write_manifest(&folder);
    folder.run(&["run", "train.toml"]).expect_done();
    let group = &of_kind(&folder, "runs", "train-groups")[0];
    let prompt = group["prompt"].as_str().expect("an id").to_owned();
    (folder, prompt)
}

fn kinds(shown: &Value, relation: &str) -> Vec<String> {
    let related = shown["related"].as_array().expect("a list").iter();
    let mut kinds: Vec<String> = related
        .filter(|record| record["relation"] == relation)
        .map(|record| record["kind"].as_str().expect("text").to_owned())
        .collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_record_is_shown_with_its_prompt_and_what_was_made_from_it() {
    let (folder, prompt) = trained();
    let shown = |arguments: &[&str]| {
        json(&folder.run(&[&["--json", "show"], arguments].concat()).expect_done().stdout)
    };
    let step = of_kind(&folder, "runs", "train-groups")[0]["step"].as_u64().expect("a step");
    // Leading zeros of the step may be left out.
    let group = shown(&[&format!("{step}/{prompt}")]);
    assert_eq!(group["kind"], "train-groups");
    assert_eq!(group["key"], format!("{step:06}/{prompt}"));
    assert_eq!(group["value"]["rollouts"].as_array().map(Vec::len), Some(4));
    assert_eq!(kinds(&group, "prompt"), ["prompts"]);
    assert_eq!(kinds(&group, "made into"), ["train-steps"]);
    assert_eq!(group["read-by"].as_array().map(Vec::len), Some(1));

    let grade = shown(&[&format!("{prompt}#2"), "--stage", "rollout-grades"]);
    assert_eq!(kinds(&grade, "made from"), ["rollouts"]);
    let rollout = &grade["related"][1];
    assert_eq!(
        (&rollout["key"], &rollout["value"]["rollout"]["index"]),
        (&grade["key"], &2.into())
    );
    assert!(grade["depends-on"]["labels"].is_string());

    let stage = grade["stage"].as_str().expect("a digest");
    let by_digest = shown(&[&format!("{prompt}#2"), "--stage", &stage[..12]]);
    assert_eq!(by_digest, grade);
    let aggregate = shown(&[&prompt, "--stage", "aggregates"]);
    assert_eq!(kinds(&aggregate, "made from"), ["rollouts"]);
    assert_eq!(kinds(&aggregate, "made into"), ["grades"]);

    let said = folder.run(&["show", &prompt, "--stage", "prompts"]).expect_done().stdout;
    for part in ["prompts ", "\"question\"", "\nmade into:\n", "\nread by:\n", "\ndepends on:\n"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_key_that_is_unknown_or_ambiguous_names_what_there_is() {
    let (folder, prompt) = trained();
    let fails = |arguments: &[&str]| {
        let finished = folder.run(&[&["show"], arguments].concat());
        assert_eq!(finished.code, Some(2), "{}", finished.said());
        finished.stderr
    };
    let unknown = fails(&[&format!("{prompt}#77"), "--stage", "rollout-grades"]);
    assert!(
        unknown.starts_with(&format!(
            "error: failed to show `{prompt}#77`: no record has this key in `rollout-grades`\nhint: keys that look like it:\n"
        )),
        "{unknown}"
    );
    assert!(unknown.contains(&format!("  {prompt}#0 (rollout-grades)\n")), "{unknown}");

    let ambiguous = fails(&[&prompt]);
    assert!(
        ambiguous.contains(
            "stages have a record with this key\nhint: name one of these stages with `--stage`:\n"
        ),
        "{ambiguous}"
    );
    for kind in ["prompts", "aggregates", "grades", "answer-classes"] {
        assert!(ambiguous.contains(&format!(" {kind} (train: ")), "{kind}: {ambiguous}");
    }

    // Evaluations during training are read by the plan too.
    let held_out = of_kind(&folder, "runs", "rollouts").into_iter().find_map(|record| {
        let of = record["prompt"].as_str().expect("an id").to_owned();
        let trained = of_kind(&folder, "runs", "train-groups");
        trained.iter().all(|group| group["prompt"] != of.as_str()).then_some(of)
    });
    let evaluated = fails(&[&format!("{}#0", held_out.expect("an evaluation"))]);
    assert!(evaluated.contains(" rollouts (train: seed=0)"), "{evaluated}");
    assert!(!evaluated.contains("no plan reads it"), "{evaluated}");

    let no_stage = fails(&[&prompt, "--stage", "rolouts"]);
    assert!(no_stage.contains("there is no stage `rolouts`\nhint: name a kind (`"), "{no_stage}");
    let empty = fails(&[&prompt, "--store", "nothing"]);
    assert!(
        empty.contains("hint: the store has no records; name another with `--store DIR`"),
        "{empty}"
    );
}
