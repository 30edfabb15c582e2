//! A store to fill by hand, and the tables of its report.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;

use preceptor_core::record::{
    AggregateRecord, AxisRecord, CellRecord, CellStages, CostRecord, GradeRecord, PlanRecord,
    PromptRecord, RECORD_FORMAT, RewardRecord, RolloutRecord, Score, rollout_key,
};
use preceptor_core::{
    Aggregate, AggregateOutcome, Criterion, Digest, Evidence, FinishReason, GroupReward,
    JudgeFailure, Judged, JudgedCriterion, Origin, Prompt, PromptBody, PromptId, PseudoReference,
    Reward, RewardValue, Rollout, Usage, Verdict,
};
use preceptor_reports::{Error, ReportOptions};
use preceptor_store::{StageSpec, Store};
use serde::Serialize;
use serde_json::Value;

/// A folder with a store, and the cells that were planned.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    cells: RefCell<Vec<CellRecord>>,
    pub(crate) options: Cell<ReportOptions>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a test's own data");
        Self { folder, cells: RefCell::default(), options: Cell::default() }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.folder.path().join("runs")).expect("a test's own data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("report").join(name)
    }

    /// Writes a stage, named by its kind and `name`.
    pub(crate) fn stage<T: Serialize>(
        &self,
        kind: &str,
        name: &str,
        records: &[(String, T)],
    ) -> Digest {
        let spec = StageSpec::new(kind, &name).expect("a test's own data");
        let stage = self.store().stage(&spec);
        let mut writer = stage.writer();
        for (key, record) in records {
            writer.append(key, record).expect("a test's own data");
        }
        spec.digest().clone()
    }

    /// Notes that keys of a stage could not be made.
    pub(crate) fn fail(&self, kind: &str, name: &str, keys: &[&str], reason: &str) {
        let stage = self.store().stage(&StageSpec::new(kind, &name).expect("a test's own data"));
        let failed = keys.iter().map(|key| ((*key).to_owned(), reason.to_owned())).collect();
        stage.note_failures(keys.iter().copied(), &failed).expect("a test's own data");
    }

    /// Notes what filling a stage cost.
    pub(crate) fn cost(&self, kind: &str, name: &str, cost: &CostRecord) {
        let stage = self.store().stage(&StageSpec::new(kind, &name).expect("a test's own data"));
        stage.add_cost(cost).expect("a test's own data");
    }

    pub(crate) fn add(&self, cell: CellRecord) {
        self.cells.borrow_mut().push(cell);
    }

    /// Changes every cell that was planned.
    pub(crate) fn change(&self, change: impl FnMut(&mut CellRecord)) {
        self.cells.borrow_mut().iter_mut().for_each(change);
    }

    /// Writes the report over `axes`.
    pub(crate) fn report(&self, axes: &[&str]) -> Result<(), Error> {
        self.report_from(axes, 1)
    }

    /// Writes the report from several threads at once.
    pub(crate) fn report_from(&self, axes: &[&str], num_writers: usize) -> Result<(), Error> {
        self.report_plan(axes, num_writers, |_| ())
    }

    /// Writes the report of a plan that `change` changes.
    pub(crate) fn report_plan(
        &self,
        axes: &[&str],
        num_writers: usize,
        change: impl FnOnce(&mut PlanRecord),
    ) -> Result<(), Error> {
        let axis = |key: &&str| {
            let cells = self.cells.borrow();
            let mut values = Vec::new();
            for value in cells.iter().filter_map(|cell| cell.axes.get(*key)) {
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
            AxisRecord { key: (*key).to_owned(), values }
        };
        let mut plan = PlanRecord {
            format: RECORD_FORMAT,
            experiment: "by-hand".to_owned(),
            title: "By hand".to_owned(),
            description: String::new(),
            axes: axes.iter().map(axis).collect(),
            seeds: vec![0],
            cells: self.cells.borrow().clone(),
            left_out: Vec::new(),
            contrasts: Vec::new(),
            spending: BTreeMap::new(),
            inputs: BTreeMap::new(),
            settings: String::new(),
            code_revision: "0".to_owned(),
        };
        change(&mut plan);
        let digest = self.store().put_plan(&plan).expect("a test's own data");
        let (store, folder) = (self.store(), self.path(""));
        let options = self.options.get();
        thread::scope(|scope| {
            let write = || preceptor_reports::write(&store, &digest, &folder, options).map(|_| ());
            let writers: Vec<_> = (0..num_writers).map(|_| scope.spawn(write)).collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("no panic"))
        })
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a test's own data")
    }

    /// Returns the argument of the call in a script of an explorer.
    pub(crate) fn script(&self, name: &str) -> Value {
        let text = self.read(name);
        let (_, call) = text.split_once('(').expect("a call");
        let call = call.strip_suffix(");\n").expect("a call");
        // A slice has its number first.
        let start = call.find(['{', '[', '"']).expect("a value");
        serde_json::from_str(&call[start..]).expect("JSON")
    }

    /// The columns of a table.
    pub(crate) fn header(&self, table: &str) -> Vec<String> {
        let text = self.read(&format!("tables/{table}.csv"));
        fields(text.lines().next().expect("a test's own data"))
    }

    /// Every table of the report, one after another.
    pub(crate) fn tables(&self) -> String {
        let mut names: Vec<_> = fs::read_dir(self.path("tables"))
            .expect("a test's own data")
            .map(|entry| entry.expect("a test's own data").file_name().into_string().expect("text"))
            .filter(|name| name.ends_with(".csv") && name != "metrics.csv")
            .collect();
        names.sort();
        let table = |name: &String| format!("== {name}\n{}", self.read(&format!("tables/{name}")));
        names.iter().map(table).collect::<Vec<_>>().join("\n")
    }

    /// The cell of `table` in `column` of the one row with the given values.
    pub(crate) fn cell(&self, table: &str, row: &[(&str, &str)], column: &str) -> String {
        let text = self.read(&format!("tables/{table}.csv"));
        let mut lines = text.lines().map(fields);
        let header = lines.next().expect("a test's own data");
        let place = |name: &str| {
            let place = header.iter().position(|column| column == name);
            place.unwrap_or_else(|| panic!("`{table}` has no column `{name}`: {header:?}"))
        };
        let is_it =
            |line: &Vec<String>| row.iter().all(|(name, value)| line[place(name)] == *value);
        let found: Vec<_> = lines.filter(is_it).collect();
        assert_eq!(found.len(), 1, "rows of `{table}` with {row:?}");
        found[0][place(column)].clone()
    }

    pub(crate) fn number(&self, table: &str, row: &[(&str, &str)], column: &str) -> f64 {
        let text = self.cell(table, row, column);
        text.parse().unwrap_or_else(|_| panic!("`{column}` of {row:?} is `{text}`"))
    }

    /// That a number is what was worked out.
    pub(crate) fn check(&self, table: &str, row: &[(&str, &str)], expected: &[(&str, f64)]) {
        for (column, expected) in expected {
            let found = self.number(table, row, column);
            assert!((found - expected).abs() < 1e-9, "`{table}` {row:?} `{column}`: {found}");
        }
    }
}

/// The fields of a line of CSV.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            c => fields.last_mut().expect("a test's own data").push(c),
        }
    }
    fields
}

pub(crate) fn id(prompt: usize) -> PromptId {
    PromptId::new(format!("p{prompt}"))
}

pub(crate) fn key(prompt: usize) -> String {
    id(prompt).to_string()
}

pub(crate) fn prompt(number: usize, question: &str, tag: (&str, &str)) -> (String, PromptRecord) {
    let body = PromptBody::Text(question.to_owned());
    let record = PromptRecord {
        prompt: Prompt::new(id(number), body),
        question: question.to_owned(),
        tags: BTreeMap::from([(tag.0.to_owned(), tag.1.to_owned())]),
    };
    (key(number), record)
}

pub(crate) fn rollout(prompt: usize, index: u32, text: &str) -> (String, RolloutRecord) {
    let rollout = Rollout {
        index,
        text: text.to_owned(),
        token_ids: vec![1, 2],
        logprobs: vec![-0.5, -1.5],
        finish: FinishReason::EndToken,
        num_prompt_tokens: 3,
        reported_tokens: None,
    };
    (rollout_key(&id(prompt), index), RolloutRecord { prompt: id(prompt), rollout })
}

pub(crate) fn aggregate(prompt: usize, outcome: AggregateOutcome) -> (String, AggregateRecord) {
    let measures = BTreeMap::from([("margin".to_owned(), 0.5)]);
    let usage = Usage { num_prompt_tokens: 10, num_generated_tokens: 5 };
    let aggregate = Aggregate { outcome, measures, replies: Vec::new(), usage };
    (key(prompt), AggregateRecord { prompt: id(prompt), aggregate })
}

pub(crate) fn chosen(index: u32, text: &str) -> AggregateOutcome {
    let origin = Origin::Rollout(index);
    AggregateOutcome::Estimated(PseudoReference { text: text.to_owned(), origin })
}

pub(crate) fn written(text: &str) -> AggregateOutcome {
    let origin = Origin::Written;
    AggregateOutcome::Estimated(PseudoReference { text: text.to_owned(), origin })
}

pub(crate) fn grade(prompt: usize, score: Score, answer: Option<&str>) -> GradeRecord {
    GradeRecord {
        prompt: id(prompt),
        score,
        answer: answer.map(str::to_owned),
        extraction: "last-boxed".to_owned(),
        reason: "compared".to_owned(),
        label: "7".to_owned(),
        judged: Vec::new(),
    }
}

pub(crate) fn reward(value: RewardValue) -> Reward {
    Reward { value, reason: "as it is".to_owned(), judged: Vec::new() }
}

pub(crate) fn rewards(prompt: usize, rewards: Vec<Reward>) -> (String, RewardRecord) {
    let group = GroupReward {
        rewards,
        rubric: None,
        measures: BTreeMap::new(),
        usage: Usage { num_prompt_tokens: 20, num_generated_tokens: 8 },
    };
    (key(prompt), RewardRecord { prompt: id(prompt), group })
}

pub(crate) fn verdict(text: &str, points: f64, tag: &str, answer: Verdict) -> JudgedCriterion {
    let tags = [tag.to_owned()].into();
    let reply = match answer {
        Verdict::Failed(JudgeFailure::Refused) => "I'd rather not <say>.",
        _ => "{\"criteria_met\": true}",
    };
    let evidence = Evidence { reply: reply.to_owned(), num_attempts: 1, margin: None };
    let usage = Usage { num_prompt_tokens: 4, num_generated_tokens: 1 };
    JudgedCriterion::Verdict {
        criterion: Criterion { text: text.to_owned(), points, tags },
        judged: Judged { answer, evidence, usage },
    }
}

/// A cell of seed 0 without axes.
pub(crate) fn cell(benchmark: &str, aggregator: &str, stages: CellStages) -> CellRecord {
    CellRecord {
        id: Digest::of(format!("{benchmark} {aggregator} {stages:?}").as_bytes()),
        axes: BTreeMap::new(),
        seed: 0,
        benchmark: benchmark.to_owned(),
        model: "small".to_owned(),
        aggregator: aggregator.to_owned(),
        sees_labels: aggregator == "oracle",
        reward: None,
        reward_sees_labels: false,
        anchor: None,
        judge: None,
        group_size: 3,
        grader: "verify-1".to_owned(),
        prompts: Vec::new(),
        shareable: true,
        stages,
        training: None,
        settings: String::new(),
    }
}

pub(crate) fn axes(axes: &[(&str, &str)]) -> BTreeMap<String, String> {
    axes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
