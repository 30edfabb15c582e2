//! Records as flat files for other programs: one row for each rollout, estimate, reward and verdict.
//!
//! ```text
//! <folder>/rollouts.{jsonl,parquet}
//!         /groups.{jsonl,parquet}     a row for each estimate of a group
//!         /rewards.{jsonl,parquet}    a row for each reward of a rollout
//!         /verdicts.{jsonl,parquet}   a row for each answer of a judge
//! ```
//!
//! `docs/reference/records.md` has the columns. A value that is missing is `null`.

use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_store::Store;

use crate::Error;
use crate::evidence::Evidence;
use crate::explorer::{JudgedView, Met, Part, SetHead, Texts, Visitor, benchmarks, walk};
use crate::record_file::{Cell, RecordFile};

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// 64-bit float.
    Number,
    /// Unsigned 64-bit integer.
    Count,
    /// True or false.
    Flag,
}

impl ColumnType {
    /// Returns its name in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "float",
            Self::Count => "integer",
            Self::Flag => "boolean",
        }
    }
}

/// A column: its name, its type and its meaning.
pub type RecordColumn = (&'static str, ColumnType, &'static str);

use ColumnType::{Count, Flag, Number, Text};

/// Columns that every file begins with.
const SHARED: [RecordColumn; 10] = [
    ("experiment", Text, "name of the experiment"),
    ("benchmark", Text, "name of the benchmark"),
    ("set", Text, "`evaluation`, or `training` for groups of training steps"),
    ("model", Text, "name of the policy's model"),
    ("policy", Text, "the policy in words, with what it was trained on"),
    ("seed", Count, "run seed"),
    ("step", Count, "step that the group was sampled in, or after which the policy was taken"),
    ("prompt", Text, "id of the prompt"),
    ("stage", Text, "digest of the stage that holds the record"),
    ("key", Text, "key of the record in its stage, for `preceptor show`"),
];

/// A file of records.
struct FileSchema {
    name: &'static str,
    columns: &'static [RecordColumn],
}

const FILES: [FileSchema; 4] = [
    FileSchema {
        name: "rollouts",
        columns: &[
            ("rollout", Count, "index in the group"),
            ("text", Text, "the rollout"),
            ("answer", Text, "final answer that was found in it"),
            ("score", Number, "score against the label"),
            ("reason", Text, "reason for the score"),
            ("finish", Text, "reason that it ended"),
            ("tokens", Count, "number of sampled tokens"),
            ("logprob", Number, "sum of the log-probabilities of its tokens"),
            ("advantage", Number, "advantage in the update; none outside of training"),
        ],
    },
    FileSchema {
        name: "groups",
        columns: &[
            ("question", Text, "the question"),
            ("label", Text, "label of the prompt, where a grade holds it"),
            ("group_size", Count, "number of rollouts in the set's groups"),
            ("estimate", Text, "name of the estimate"),
            ("sees_labels", Flag, "true for upper bounds"),
            ("origin", Text, "`rollout N`, `written`, or why there is none"),
            ("text", Text, "the pseudo-reference"),
            ("answer", Text, "final answer that was found in it"),
            ("score", Number, "score against the label"),
            ("reason", Text, "reason for the score"),
        ],
    },
    FileSchema {
        name: "rewards",
        columns: &[
            ("rollout", Count, "index in the group"),
            ("reward", Text, "name of the reward"),
            ("sees_labels", Flag, "true if a term of the reward sees labels"),
            ("judge", Text, "name of the judge"),
            ("value", Number, "the reward"),
            ("reason", Text, "explanation, or why there is none"),
        ],
    },
    FileSchema {
        name: "verdicts",
        columns: &[
            ("about", Text, "`rollout` or `estimate` for grades, `reward` for rewards"),
            ("name", Text, "name of the estimate or reward"),
            ("rollout", Count, "index in the group; none for estimates"),
            ("judge", Text, "name of the reward's judge"),
            ("criterion", Text, "the criterion"),
            ("points", Number, "points of the criterion"),
            ("answer", Text, "`met`, `not met`, a grade, or `failed: ` with the reason"),
            ("met", Flag, "true if met; none for grades and failures"),
            ("attempts", Count, "replies that were asked for"),
            (
                "margin",
                Number,
                "log-probability of yes less that of no, for judges that compare them",
            ),
            ("reply", Text, "the judge's last reply"),
        ],
    },
];

/// Returns the files and their columns.
pub fn record_files() -> Vec<(&'static str, Vec<RecordColumn>)> {
    let columns = |file: &FileSchema| SHARED.iter().chain(file.columns).copied().collect();
    FILES.iter().map(|file| (file.name, columns(file))).collect()
}

/// Values that every row of a group begins with.
#[derive(Clone, Copy)]
struct RowHead<'t> {
    experiment: &'t str,
    benchmark: &'t str,
    set: &'t SetHead,
    prompt: &'t str,
    step: Option<u64>,
}

impl<'t> RowHead<'t> {
    fn row(self, stage: &'t Digest, key: &'t str, own: Vec<Cell<'t>>) -> Vec<Cell<'t>> {
        let mut cells = vec![
            Cell::Text(self.experiment),
            Cell::Text(self.benchmark),
            Cell::Text(self.set.kind.name()),
            Cell::Text(&self.set.model),
            Cell::Text(&self.set.label),
            Cell::Count(self.set.seed),
            self.step.map_or(Cell::None, Cell::Count),
            Cell::Text(self.prompt),
            Cell::Text(stage.as_str()),
            Cell::Text(key),
        ];
        cells.extend(own);
        cells
    }
}

/// Returns the cells of a judge's answer. `about` has its first four.
fn verdict<'t>(about: [Cell<'t>; 4], judged: &'t JudgedView, texts: &'t Texts) -> Vec<Cell<'t>> {
    let mut cells = Vec::from(about);
    cells.extend([
        Cell::Text(texts.get(judged.criterion)),
        Cell::Number(judged.points.unwrap_or(1.0)),
        Cell::Text(&judged.answer),
        judged.met().map_or(Cell::None, Cell::Flag),
        Cell::Count(judged.attempts.unwrap_or(1).into()),
        Cell::number(judged.margin),
        Cell::Text(texts.get(judged.reply)),
    ]);
    cells
}

/// Writes the rows of every group.
struct Exporter<'e> {
    experiment: &'e str,
    benchmark: String,
    head: Option<SetHead>,
    texts: Texts,
    files: [RecordFile; 4],
}

impl Visitor for Exporter<'_> {
    fn start(&mut self, head: &SetHead, _: usize) -> Result<(), Error> {
        self.head = Some(head.clone());
        Ok(())
    }

    fn texts(&mut self, _: Option<u64>) -> &mut Texts {
        &mut self.texts
    }

    fn add(&mut self, met: &Met<'_>) -> Result<(), Error> {
        let Self { experiment, benchmark, head, texts, files } = self;
        let [rollouts, groups, rewards, verdicts] = files;
        let set = head.as_ref().expect("a set was started");
        let head = RowHead {
            experiment,
            benchmark,
            set,
            prompt: met.prompt.as_str(),
            step: met.step.or(set.step),
        };
        let view = met.view;
        let sampled = set.stages.get("rollouts").or(set.stages.get("train-groups"));
        let sampled = sampled.expect("a set has rollouts");
        let index = |i: usize| Cell::Count(i as u64);
        for (i, rollout) in view.rollouts.iter().enumerate() {
            let key = rollout.key.as_deref().unwrap_or(&view.key);
            let own = vec![
                index(i),
                Cell::Text(texts.get(rollout.text)),
                Cell::text(rollout.answer.as_deref()),
                Cell::number(rollout.score),
                Cell::Text(&rollout.reason),
                Cell::Text(rollout.finish),
                Cell::Count(rollout.num_tokens),
                Cell::Number(rollout.logprob),
                Cell::number(rollout.advantage),
            ];
            rollouts.push(&head.row(sampled, key, own))?;
            let stage = set.stages.get("rollout-grades").unwrap_or(sampled);
            for judged in &rollout.judged {
                let about = [Cell::Text("rollout"), Cell::None, index(i), Cell::None];
                verdicts.push(&head.row(stage, key, verdict(about, judged, texts)))?;
            }
        }
        for (part, estimate) in set.estimates.iter().zip(&view.estimates) {
            let Some(estimate) = estimate else { continue };
            let chosen = estimate.rollout.and_then(|i| view.rollouts.get(i as usize));
            let text = estimate.text.or(chosen.map(|rollout| rollout.text));
            let question = met.record.map(|record| record.question.as_str());
            let own = vec![
                Cell::text(question),
                Cell::text(met.label),
                Cell::Count(set.group_size.into()),
                Cell::Text(&part.name),
                Cell::Flag(part.sees_labels),
                Cell::Text(&estimate.origin),
                Cell::text(text.map(|text| texts.get(text))),
                Cell::text(estimate.answer.as_deref()),
                Cell::number(estimate.score),
                Cell::Text(&estimate.reason),
            ];
            groups.push(&head.row(&part.stage, &view.key, own))?;
            for judged in &estimate.judged {
                let about =
                    [Cell::Text("estimate"), Cell::Text(&part.name), Cell::None, Cell::None];
                let stage = part.grades.as_ref().unwrap_or(&part.stage);
                verdicts.push(&head.row(stage, &view.key, verdict(about, judged, texts)))?;
            }
        }
        for (part, reward) in set.rewards.iter().zip(&view.rewards) {
            let Part { name, stage, sees_labels, judge, .. } = part;
            let Some(reward) = reward else { continue };
            for (i, one) in reward.rollouts.iter().enumerate() {
                let judge = || Cell::text(judge.as_deref());
                let own = vec![
                    index(i),
                    Cell::Text(name),
                    Cell::Flag(*sees_labels),
                    judge(),
                    Cell::number(one.value),
                    Cell::Text(&one.reason),
                ];
                rewards.push(&head.row(stage, &view.key, own))?;
                for judged in &one.judged {
                    let about = [Cell::Text("reward"), Cell::Text(name), index(i), judge()];
                    verdicts.push(&head.row(stage, &view.key, verdict(about, judged, texts)))?;
                }
            }
        }
        self.texts.clear();
        Ok(())
    }
}

/// Files of records, with their numbers of rows.
#[derive(Clone, Debug)]
pub struct RecordFiles {
    /// Every file.
    pub files: Vec<PathBuf>,
    /// Rows by name of the file.
    pub num_rows: Vec<(&'static str, u64)>,
}

/// Writes the records of the plan with digest `plan` as JSONL and Parquet into `folder`.
///
/// # Errors
///
/// [`Error::Incomplete`] if records are missing; errors of reading and writing.
pub fn write_records(store: &Store, plan: &Digest, folder: &Path) -> Result<RecordFiles, Error> {
    let evidence = Evidence::load(store, plan)?;
    fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let mut files = Vec::new();
    for (name, columns) in record_files() {
        files.push(RecordFile::create(folder, name, columns)?);
    }
    let files: [RecordFile; 4] =
        files.try_into().unwrap_or_else(|_| unreachable!("there are four files"));
    let mut exporter = Exporter {
        experiment: &evidence.plan.experiment,
        benchmark: String::new(),
        head: None,
        texts: Texts::default(),
        files,
    };
    for (benchmark, _) in benchmarks(&evidence) {
        benchmark.clone_into(&mut exporter.benchmark);
        walk(store, &evidence, benchmark, &mut exporter)?;
    }
    let mut written = RecordFiles { files: Vec::new(), num_rows: Vec::new() };
    for (file, schema) in exporter.files.into_iter().zip(&FILES) {
        let (paths, num_rows) = file.finish()?;
        written.files.extend(paths);
        written.num_rows.push((schema.name, num_rows));
    }
    Ok(written)
}
