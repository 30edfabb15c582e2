//! The loaders on the published files, where they are at hand, and on rows that are wrong.

use std::fs;
use std::path::PathBuf;

use preceptor_answers::GraderProfile;
use preceptor_benchmarks::{
    Benchmark, Data, Error, TaskSet, aime, amc, grade, gsm8k, healthbench, jsonl, math500,
};
use preceptor_core::PromptBody;

/// The published file at `path`, or none with a note about it.
fn published(path: &str) -> Option<Data> {
    let found = std::env::var_os("PRECEPTOR_DATA_DIR")
        .map(|folder| PathBuf::from(folder).join(path))
        .filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: PRECEPTOR_DATA_DIR does not hold {path}");
    }
    found.map(|path| Data { path, is_published: true })
}

fn load_all() -> Vec<(usize, TaskSet)> {
    let mut sets = Vec::new();
    if let Some(data) = published("math500/test.jsonl") {
        sets.push((500, math500::Config::default().load(Some(&data), None).expect("published")));
    }
    if let Some(data) = published("gsm8k/test.jsonl") {
        sets.push((1319, gsm8k::Config::default().load(Some(&data), None).expect("published")));
    }
    for (path, year) in
        [("aime24/test.jsonl", aime::Year::Y2024), ("aime25/test.jsonl", aime::Year::Y2025)]
    {
        if let Some(data) = published(path) {
            sets.push((
                30,
                aime::Config { year, shots: 0 }.load(Some(&data), None).expect("published"),
            ));
        }
    }
    for (path, set, count) in
        [("amc23/test.jsonl", amc::Set::Amc23, 40), ("ttrl/AMC-TTT/test.json", amc::Set::Amc, 83)]
    {
        if let Some(data) = published(path) {
            sets.push((
                count,
                amc::Config { set, shots: 0 }.load(Some(&data), None).expect("published"),
            ));
        }
    }
    sets
}

#[test]
fn every_published_file_has_its_rows_and_labels_that_grade_as_right() {
    for (count, set) in load_all() {
        assert_eq!(set.tasks.len(), count, "{}", set.name);
        assert!(!set.shareable, "{}", set.name);
        for task in &set.tasks {
            let text = format!(r"\boxed{{{}}}", task.label.display_text());
            let graded = grade(GraderProfile::Verify, &task.label, &text);
            assert_eq!(graded.score.value(), Some(1.0), "{}: {}", task.prompt.id, graded.reason);
        }
    }
}

#[test]
fn a_limit_takes_a_prefix_and_leaves_the_digests() {
    let Some(data) = published("math500/test.jsonl") else { return };
    let all = math500::Config::default().load(Some(&data), None).unwrap();
    let some = math500::Config::default().load(Some(&data), Some(20)).unwrap();
    assert_eq!(some.tasks, all.tasks[..20]);
    assert_eq!(some.prompts_digest, all.prompts_digest);
    assert_eq!(some.labels_digest, all.labels_digest);
}

#[test]
fn changed_rows_are_not_the_benchmark() {
    let Some(data) = published("amc23/test.jsonl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.jsonl");
    let text = fs::read_to_string(&data.path).unwrap();
    fs::write(&path, text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    let changed = Data { path, is_published: true };
    let config = amc::Config { set: amc::Set::Amc23, shots: 0 };
    let error = config.load(Some(&changed), None).unwrap_err();
    assert!(matches!(error, Error::WrongRows { num_rows: 39, .. }), "{error}");
}

#[test]
fn a_users_rows_are_read_and_wrong_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.jsonl");
    let config =
        jsonl::Config { path: path.clone(), name: "mine".to_owned(), ..jsonl::Config::default() };
    let redacted =
        |error: Error| error.to_string().replace(&folder.path().display().to_string(), "[dir]");

    fs::write(&path, "{\"problem\": \"1 + 1?\", \"answer\": 2}\n\n{\"problem\": \"2 + 2?\", \"answer\": \"4\"}\n").unwrap();
    let set = config.load(None, None).unwrap();
    let mut labels: Vec<_> = set.tasks.iter().map(|task| task.label.answer()).collect();
    labels.sort_unstable();
    assert_eq!(labels, [Some("2"), Some("4")]);

    fs::write(&path, "{\"problem\": \"1 + 1?\", \"answer\": 2}\n{\"question\": \"?\"}\n").unwrap();
    insta::assert_snapshot!(redacted(config.load(None, None).unwrap_err()), @"read row 2 of `[dir]/mine.jsonl`: no field `problem` (there are `question`)");
    fs::write(&path, "{\"problem\": \"1 + 1?\", \"answer\": [2]}\n").unwrap();
    insta::assert_snapshot!(redacted(config.load(None, None).unwrap_err()), @"read row 1 of `[dir]/mine.jsonl`: field `answer` is [2], expected text or a number");
    fs::write(&path, "{\"problem\": \"a\", \"answer\": 2}\n{\"problem\": \"a\", \"answer\": 3}\n")
        .unwrap();
    insta::assert_snapshot!(redacted(config.load(None, None).unwrap_err()), @"read row 2 of `[dir]/mine.jsonl`: its id `17762fddd969` occurs before");
    fs::write(&path, "nonsense\n").unwrap();
    insta::assert_snapshot!(redacted(config.load(None, None).unwrap_err()), @"read row 1 of `[dir]/mine.jsonl`: not JSON: expected ident at line 1 column 2");
    let unset = jsonl::Config::default().load(None, None).unwrap_err();
    insta::assert_snapshot!(unset.to_string(), @r#"use `benchmark.path = ""`: must be the path of a JSONL file"#);
}

#[test]
fn worked_examples_change_prompts_and_no_label() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.jsonl");
    fs::write(&path, "{\"problem\": \"What is $1 + 1$?\", \"answer\": 2}\n").unwrap();
    let load = |shots| {
        let config = jsonl::Config { path: path.clone(), shots, ..jsonl::Config::default() };
        config.load(None, None).unwrap()
    };
    let (chat, worked) = (load(0), load(2));
    assert_eq!(chat.labels_digest, worked.labels_digest);
    assert_ne!(chat.prompts_digest, worked.prompts_digest);
    assert_eq!((chat.stop.len(), worked.stop), (0, vec!["\nProblem:".to_owned()]));
    assert!(matches!(chat.tasks[0].prompt.body, PromptBody::Chat(_)));
    let PromptBody::Text(text) = &worked.tasks[0].prompt.body else { panic!("plain text") };
    assert!(text.ends_with("\n\nProblem: What is $1 + 1$?\nSolution:"), "{text}");
}

#[test]
fn the_healthbench_subsets_have_their_rows_and_no_prompt_is_in_two_splits() {
    use healthbench::{Config, Set, Split};
    let load = |path: &str, set, split| {
        let data = published(path)?;
        Some(Config { set, split }.load(Some(&data), None).expect("published"))
    };
    let random = "healthbench/oss_eval_random500.jsonl";
    if let Some(tasks) = load(random, Set::Random500, Split::Test) {
        assert_eq!(tasks.tasks.len(), 500, "the subset is the test split");
        let items: usize = tasks
            .tasks
            .iter()
            .map(|task| task.label.rubric().expect("every row has one").rubric.criteria.len())
            .sum();
        assert_eq!(items, 5965);
    }
    let selected = "healthbench/oss_eval_posttrainbench245.jsonl";
    let of = |split| load(selected, Set::Posttrainbench245, split);
    if let (Some(test), Some(train), Some(validation), Some(all)) =
        (of(Split::Test), of(Split::Train), of(Split::Validation), of(Split::All))
    {
        let sizes = [&test, &train, &validation].map(|set| set.tasks.len());
        println!("posttrainbench245: test, train, validation {sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), all.tasks.len());
        assert_eq!((sizes[0], all.tasks.len()), (27, 245));
    }
}
