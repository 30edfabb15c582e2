//! Tasks, prompts with their labels, and sets of tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use preceptor_answers::GraderProfile;
use preceptor_core::{Digest, Prompt, Thinking};

use crate::{Grader, Label};

/// A data file that the `files` crate located.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The path.
    pub path: PathBuf,
    /// True if it is a published form, which must have the benchmark's canonical rows.
    pub is_published: bool,
}

/// A prompt with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The prompt that the policy reads.
    pub prompt: Prompt,
    /// The bare question, for people.
    pub question: String,
    /// The label.
    pub label: Label,
    /// Named facts to split results by, for example `level`.
    pub tags: BTreeMap<String, String>,
}

/// The tasks of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSet {
    /// The benchmark's name in tables.
    pub name: String,
    /// The tasks, at most as many as requested. A smaller limit gives a prefix of a larger one.
    pub tasks: Vec<Task>,
    /// The digest of everything that a prompt of the benchmark depends on, whatever the limit.
    pub prompts_digest: Digest,
    /// The digest of everything that a label depends on.
    pub labels_digest: Digest,
    /// The grader its scores are quoted with.
    pub grader: Grader,
    /// Stop strings that belong to the way it prompts.
    pub stop: Vec<String>,
    /// True if its texts may be shown on a page that is published.
    pub shareable: bool,
}

impl TaskSet {
    /// Returns the set with prompts that have thinking on.
    #[must_use]
    pub fn with_thinking(mut self) -> Self {
        for task in &mut self.tasks {
            task.prompt.thinking = Thinking::On;
        }
        let parts = [self.prompts_digest.as_str().as_bytes(), b"thinking"];
        self.prompts_digest = Digest::of_parts(parts);
        self
    }

    /// Returns a set of all `tasks` of a benchmark, cut to `limit`.
    ///
    /// The order is that of the ids' digests, so that a prefix is a fair sample of a file that is
    /// sorted by subject or difficulty, the same one for every seed.
    pub(crate) fn of_all(name: &str, mut tasks: Vec<Task>, limit: Option<usize>) -> Self {
        tasks.sort_by_key(|task| Digest::of(task.prompt.id.as_str().as_bytes()));
        let prompts: Vec<_> = tasks.iter().map(|task| task.prompt.display_text()).collect();
        let ids = tasks.iter().map(|task| task.prompt.id.as_str());
        let pairs = ids.clone().zip(prompts.iter().map(String::as_str));
        let prompts_digest = digest_of_pairs(pairs);
        let labels: Vec<_> = tasks.iter().map(|task| task.label.display_text()).collect();
        let labels_digest = digest_of_pairs(ids.zip(labels.iter().map(String::as_str)));
        tasks.truncate(limit.unwrap_or(usize::MAX));
        Self {
            name: name.to_owned(),
            tasks,
            prompts_digest,
            labels_digest,
            grader: Grader::Answer(GraderProfile::Verify),
            stop: Vec::new(),
            shareable: false,
        }
    }
}

pub(crate) fn digest_of_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Digest {
    let parts: Vec<&[u8]> = pairs.flat_map(|(a, b)| [a.as_bytes(), b.as_bytes()]).collect();
    Digest::of_parts(parts)
}
