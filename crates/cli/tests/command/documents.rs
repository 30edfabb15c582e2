//! Manifests in the documents resolve.

use std::fs;
use std::path::Path;

use crate::process::Folder;

/// The blocks of a Markdown text in `language`.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let open = format!("```{language}\n");
    let parts = text.split(open.as_str()).skip(1);
    parts.map(|part| part.split("```").next().expect("a block ends")).collect()
}

#[test]
fn every_manifest_of_the_guides_can_be_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a document");
    let folder = Folder::new();
    let first = read("docs/guides/first-experiment.md");
    folder.write("problems.jsonl", blocks(&first, "json")[0]);
    let prompts = folder.path("experiments/pocket/prompts");
    fs::create_dir_all(prompts).expect("writable");
    let prompt = read("experiments/pocket/prompts/synthesis.md");
    folder.write("experiments/pocket/prompts/synthesis.md", &prompt);
    let mut num_manifests = 0;
    for page in ["README.md", "docs/guides/first-experiment.md", "docs/guides/train-a-policy.md"] {
        let text = read(page);
        for manifest in blocks(&text, "toml").into_iter().filter(|m| m.starts_with("title")) {
            folder.write("mine.toml", manifest);
            folder.run(&["plan", "mine.toml"]).expect_done();
            num_manifests += 1;
        }
    }
    assert!(num_manifests >= 3, "{num_manifests} manifests");
    // The addition that trains the policy.
    let readme = read("README.md");
    let [whole, addition] = blocks(&readme, "toml")[..] else { panic!("two blocks") };
    let whole = whole.split("[matrix]").next().expect("a split has a part");
    let trained = whole.replace("[benchmark]", "[benchmark]\nlimit = 1") + addition;
    let trained = trained.replace("skip = 200", "skip = 1");
    let trained = trained.replace("prompts-per-step = 4", "prompts-per-step = 1");
    folder.write("mine.toml", &trained);
    folder.run(&["plan", "mine.toml"]).expect_done();
}
