//! Reports of many rollouts and verdicts. The short versions always run; longer ones print their time and
//! their peak memory:
//!
//! ```text
//! PRECEPTOR_ROLLOUTS=1000000 PRECEPTOR_ROLLOUTS_STORE=DIR cargo test --release \
//!     --package preceptor-reports --test suite -- scale --nocapture --test-threads=1
//! ```
//!
//! Rollouts have about 500 bytes of text and 125 tokens; each has ten verdicts with replies of about 100
//! bytes. Stores are kept in `DIR`, if one is named, and used again.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Instant, SystemTime};

use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, AxisRecord, CellRecord, CellStages, GradeRecord,
    PlanRecord, PromptRecord, RECORD_FORMAT, RolloutRecord, Score, TrainGroupRecord,
    TrainingRecord, rollout_key, step_group_key,
};
use preceptor_core::{
    Aggregate, AggregateOutcome, Criterion, Digest, Evidence, FinishReason, GroupReward, Judged,
    JudgedCriterion, Origin, Prompt, PromptBody, PseudoReference, Reward, RewardValue, Rollout,
    Usage, Verdict,
};
use preceptor_reports::{ReportOptions, Unfinished};
use preceptor_store::{StageSpec, Store};
use serde::Serialize;

use crate::bench::{axes, cell, id, key};

const GROUP_SIZE: u32 = 8;
const NUM_SEEDS: u64 = 5;
const NUM_CRITERIA: u64 = 10;
const GROUPS_PER_STEP: u64 = 8;
const FEW_ROLLOUTS: u64 = 480;

/// Words of a vocabulary of 20,000, the frequent ones more often.
struct Words(u64);

impl Words {
    fn new(parts: [u64; 3]) -> Self {
        Self(parts.iter().fold(7, |seed, part| (seed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn number(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn text(&mut self, num_bytes: usize) -> String {
        let mut text = String::with_capacity(num_bytes + 8);
        while text.len() < num_bytes {
            let bound = [20, 200, 2000, 20_000][(self.number() % 4) as usize];
            let mut word = self.number() % bound + 20;
            while word > 0 {
                text.push(char::from(b'a' + (word % 26) as u8));
                word /= 26;
            }
            text.push(' ');
        }
        text
    }
}

fn rollout(parts: [u64; 3], index: u32) -> Rollout {
    let mut words = Words::new(parts);
    Rollout {
        index,
        text: words.text(500),
        token_ids: (0..125).map(|_| (words.number() % 150_000) as u32).collect(),
        logprobs: (0..125).map(|_| -(words.number() as f32) / 2e9).collect(),
        finish: FinishReason::EndToken,
        num_prompt_tokens: 200,
        reported_tokens: None,
    }
}

/// Verdicts on the criteria of a prompt, and the score by them.
fn judged(prompt: u64, parts: [u64; 3]) -> (Score, Vec<JudgedCriterion>) {
    let mut words = Words::new(parts);
    let mut points = 0.0;
    let verdict = |number| {
        let met = words.number().is_multiple_of(2);
        points += if met { 1.0 } else { 0.0 };
        let text = Words::new([prompt, number, 9]).text(60);
        let tags = [format!("axis:{}", number % 5)].into();
        let evidence = Evidence { reply: words.text(100), num_attempts: 1, margin: None };
        let usage = Usage { num_prompt_tokens: 400, num_generated_tokens: 30 };
        JudgedCriterion::Verdict {
            criterion: Criterion { text, points: 1.0, tags },
            judged: Judged { answer: Verdict::of(met), evidence, usage },
        }
    };
    let judged = (0..NUM_CRITERIA).map(verdict).collect();
    (Score::Scored(points / NUM_CRITERIA as f64), judged)
}

fn grade(prompt: u64, parts: [u64; 3]) -> GradeRecord {
    let (score, judged) = judged(prompt, parts);
    GradeRecord {
        prompt: id(prompt as usize),
        score,
        answer: None,
        extraction: "rubric".to_owned(),
        reason: "points of met criteria".to_owned(),
        label: format!("{NUM_CRITERIA} criteria"),
        judged,
    }
}

fn aggregate(outcome: AggregateOutcome) -> Aggregate {
    let measures = BTreeMap::from([("margin".to_owned(), 0.5)]);
    let usage = Usage { num_prompt_tokens: 1000, num_generated_tokens: 120 };
    Aggregate { outcome, measures, replies: Vec::new(), usage }
}

fn estimated(text: String, origin: Origin) -> AggregateOutcome {
    AggregateOutcome::Estimated(PseudoReference { text, origin })
}

/// Fills a stage, unless an earlier run has.
fn fill<T: Serialize>(
    store: &Store,
    kind: &str,
    name: &str,
    records: impl Iterator<Item = (String, T)>,
) -> Digest {
    let spec = StageSpec::new(kind, &name).expect("plain data");
    let stage = store.stage(&spec);
    if !stage.folder().exists() {
        let mut writer = stage.writer();
        for (key, record) in records {
            writer.append(&key, &record).expect("writable");
        }
        drop(writer);
        stage.compact().expect("writable");
    }
    spec.digest().clone()
}

fn prompts(store: &Store, num_prompts: u64) -> Digest {
    let record = |prompt: u64| {
        let question = Words::new([prompt, 0, 1]).text(200);
        let prompt_of = Prompt::new(id(prompt as usize), PromptBody::Text(question.clone()));
        let tags = BTreeMap::from([("theme".to_owned(), format!("{}", prompt % 7))]);
        (key(prompt as usize), PromptRecord { prompt: prompt_of, question, tags })
    };
    fill(store, "prompts", "", (0..num_prompts).map(record))
}

/// The stages of a seed, of which `estimate` names those that depend on the aggregator.
fn stages(
    store: &Store,
    num_prompts: u64,
    seed: u64,
    aggregator: &str,
    outcome: impl Fn(u64) -> AggregateOutcome,
) -> CellStages {
    let each = || 0..num_prompts;
    let keyed = |prompt: u64, index: u32| rollout_key(&id(prompt as usize), index);
    let indices = |prompt| (0..GROUP_SIZE).map(move |index| (prompt, index));
    let rollouts = each().flat_map(indices).map(|(prompt, index)| {
        let rollout = rollout([seed, prompt, index.into()], index);
        (keyed(prompt, index), RolloutRecord { prompt: id(prompt as usize), rollout })
    });
    let rollout_grades = each().flat_map(indices).map(|(prompt, index)| {
        (keyed(prompt, index), grade(prompt, [seed, prompt, (index + 20).into()]))
    });
    let classes = each().map(|prompt| {
        let record = AnswerClassRecord { prompt: id(prompt as usize), classes: vec![None; 8] };
        (key(prompt as usize), record)
    });
    let aggregates = each().map(|prompt| {
        let aggregate = aggregate(outcome(prompt));
        (key(prompt as usize), AggregateRecord { prompt: id(prompt as usize), aggregate })
    });
    let of_estimates = each().map(|prompt| {
        let parts = [seed, prompt, 100 + aggregator.len() as u64];
        (key(prompt as usize), grade(prompt, parts))
    });
    let name = format!("{seed}");
    let estimate = format!("{seed} {aggregator}");
    CellStages {
        prompts: prompts(store, num_prompts),
        rollouts: fill(store, "rollouts", &name, rollouts),
        rollout_grades: fill(store, "rollout-grades", &name, rollout_grades),
        answer_classes: fill(store, "answer-classes", &name, classes),
        aggregates: fill(store, "aggregates", &estimate, aggregates),
        grades: fill(store, "grades", &estimate, of_estimates),
        rewards: None,
    }
}

fn cells(store: &Store, num_rollouts: u64) -> Vec<CellRecord> {
    let num_prompts = num_rollouts / u64::from(GROUP_SIZE) / NUM_SEEDS;
    let of_seed = |seed: u64| {
        let chosen = |_| estimated(String::new(), Origin::Rollout(0));
        let written = |prompt| estimated(Words::new([seed, prompt, 50]).text(500), Origin::Written);
        let filled = [
            ("single", stages(store, num_prompts, seed, "single", chosen)),
            ("synthesis", stages(store, num_prompts, seed, "synthesis", written)),
        ];
        filled.map(|(aggregator, stages)| CellRecord {
            axes: axes(&[("aggregator.kind", aggregator)]),
            seed,
            group_size: GROUP_SIZE,
            prompts: (0..num_prompts as usize).map(id).collect(),
            grader: "rubric-1".to_owned(),
            ..cell("rubrics", aggregator, stages)
        })
    };
    // Two at a time, as there are cores.
    let seeds: Vec<u64> = (0..NUM_SEEDS).collect();
    let of_seed = &of_seed;
    let some = |seeds: &[u64]| {
        thread::scope(|scope| {
            let threads: Vec<_> =
                seeds.iter().map(|&seed| scope.spawn(move || of_seed(seed))).collect();
            threads.into_iter().flat_map(|of| of.join().expect("no panic")).collect::<Vec<_>>()
        })
    };
    prompts(store, num_prompts);
    seeds.chunks(2).flat_map(some).collect()
}

/// A cell of a few prompts whose policy was trained on `num_rollouts`.
fn trained_cell(store: &Store, num_rollouts: u64) -> CellRecord {
    let num_groups = num_rollouts / u64::from(GROUP_SIZE);
    let group = |number: u64| {
        let (step, prompt) = (number / GROUPS_PER_STEP + 1, id((number % 16) as usize));
        let rewarded = |_| Reward {
            value: RewardValue::Rewarded(1.0),
            reason: "equal".to_owned(),
            judged: Vec::new(),
        };
        let record = TrainGroupRecord {
            step,
            prompt: prompt.clone(),
            rollouts: (0..GROUP_SIZE).map(|i| rollout([step, number, i.into()], i)).collect(),
            aggregate: Some(aggregate(estimated(String::new(), Origin::Rollout(0)))),
            reward: GroupReward {
                rewards: (0..GROUP_SIZE).map(rewarded).collect(),
                rubric: None,
                measures: BTreeMap::new(),
                usage: Usage::default(),
            },
            advantages: vec![Some(0.0); GROUP_SIZE as usize],
            scores: vec![Score::Scored(1.0); GROUP_SIZE as usize],
            reference_score: Some(Score::Scored(1.0)),
            token_traces: Vec::new(),
        };
        (step_group_key(step, &prompt), record)
    };
    let first = cells(store, 16 * u64::from(GROUP_SIZE) * NUM_SEEDS).remove(0);
    let nothing = || std::iter::empty::<(String, RolloutRecord)>();
    CellRecord {
        training: Some(TrainingRecord {
            objective: "grpo".to_owned(),
            num_steps: num_groups / GROUPS_PER_STEP,
            uses_references: true,
            steps: fill(store, "train-steps", "", nothing()),
            groups: fill(store, "train-groups", "", (0..num_groups).map(group)),
            costs: fill(store, "train-costs", "", nothing()),
            evaluations: Vec::new(),
            choice: None,
        }),
        ..first
    }
}

fn plan(store: &Store, cells: Vec<CellRecord>) -> Digest {
    let axis = AxisRecord {
        key: "aggregator.kind".to_owned(),
        values: vec!["single".to_owned(), "synthesis".to_owned()],
    };
    let plan = PlanRecord {
        format: RECORD_FORMAT,
        experiment: "scale".to_owned(),
        title: "Many rollouts".to_owned(),
        description: String::new(),
        axes: vec![axis],
        seeds: (0..NUM_SEEDS).collect(),
        cells,
        left_out: Vec::new(),
        contrasts: Vec::new(),
        spending: BTreeMap::new(),
        inputs: BTreeMap::new(),
        settings: String::new(),
        code_revision: "0".to_owned(),
    };
    store.put_plan(&plan).expect("writable")
}

/// The size of the test, and its folder.
struct Scale {
    num_rollouts: u64,
    folder: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Scale {
    fn new(name: &str) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let number = env::var("PRECEPTOR_ROLLOUTS").ok().and_then(|text| text.parse().ok());
        let kept = env::var("PRECEPTOR_ROLLOUTS_STORE").map(PathBuf::from);
        let num_rollouts = number.unwrap_or(FEW_ROLLOUTS);
        let folder = kept.unwrap_or_else(|_| temporary.path().to_owned());
        let folder = folder.join(format!("{name}-{num_rollouts}"));
        Self { num_rollouts, folder, _temporary: temporary }
    }

    fn store(&self) -> Store {
        Store::open(self.folder.join("runs")).expect("a store")
    }
}

/// Forgets the peak of the memory so far, where the system can.
fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Returns the peak of the process's memory in MiB, where the system tells.
fn peak_mebibytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) / 1024
}

/// Returns the time that the process has had on all cores, in seconds, where the system tells.
fn cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the name, of which user and system time are the 12th and 13th.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn measure(what: &str, work: impl FnOnce()) {
    reset_peak();
    let (started, before) = (Instant::now(), cpu_secs());
    work();
    let (secs, cpu) = (started.elapsed().as_secs_f64(), cpu_secs() - before);
    println!("{what}: {secs:.1} s, {cpu:.1} s of CPU time, peak {} MiB", peak_mebibytes());
}

fn write_report(store: &Store, plan: &Digest, folder: &Path) {
    let options = ReportOptions { explorer_bytes: Some(32 << 20), ..ReportOptions::default() };
    preceptor_reports::write(store, plan, folder, options).expect("a report");
}

/// Writes the tables and figures of a report, without explorers.
fn write_tables(store: &Store, plan: &Digest, folder: &Path) {
    let unfinished = Unfinished {
        written: SystemTime::UNIX_EPOCH,
        reload_secs: None,
        num_finished: 0,
        num_cells: 0,
    };
    let options = ReportOptions { unfinished: Some(unfinished), ..ReportOptions::default() };
    preceptor_reports::write(store, plan, folder, options).expect("a report");
}

fn num_rows(text: &str) -> usize {
    text.lines().count() - 1
}

#[test]
fn scale_of_rollouts_and_verdicts() {
    let scale = Scale::new("verdicts");
    let store = scale.store();
    let plan = plan(&store, cells(&store, scale.num_rollouts));
    measure("tables", || write_tables(&store, &plan, &scale.folder.join("tables")));
    let report = scale.folder.join("report");
    measure("report", || write_report(&store, &plan, &report));
    let failures = fs::read_to_string(report.join("tables/rollouts.csv")).expect("a table");
    assert_eq!(num_rows(&failures), NUM_SEEDS as usize);
    let records = scale.folder.join("records");
    measure("records", || {
        let written = preceptor_reports::write_records(&store, &plan, &records);
        let rows = BTreeMap::from_iter(written.expect("files").num_rows);
        assert_eq!(rows["rollouts"], scale.num_rollouts);
        let num_estimates = 2 * scale.num_rollouts / u64::from(GROUP_SIZE);
        assert_eq!(rows["verdicts"], NUM_CRITERIA * (scale.num_rollouts + num_estimates));
    });
}

#[test]
fn scale_of_training_groups() {
    let scale = Scale::new("training");
    let store = scale.store();
    let plan = plan(&store, vec![trained_cell(&store, scale.num_rollouts)]);
    let report = scale.folder.join("report");
    measure("report of training", || write_report(&store, &plan, &report));
    let records = scale.folder.join("records");
    measure("records of training", || {
        let written = preceptor_reports::write_records(&store, &plan, &records);
        let rows = BTreeMap::from_iter(written.expect("files").num_rows);
        assert_eq!(rows["rollouts"], scale.num_rollouts + 16 * u64::from(GROUP_SIZE));
    });
}
