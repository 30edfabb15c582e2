//! The training loop: rows, updates, a log, checkpoints, a folder.
//!
//! The first updates read rows of finding alone, while the rate warms up; those after them questions and
//! chains without errors, until sums are known; the rest reads every kind of row in fixed shares of
//! tokens. Which rows an update reads follows from the seed and its number, so that a run goes on from its
//! last checkpoint as if it had not stopped. The loss is the mean over tokens of answers: over rows, a
//! lookup in a long row would weigh next to nothing.
//!
//! The log `training.csv` has a line for each update: tokens read so far, loss, norm of the gradient, rate
//! and seconds. Every hundredth update the loss of each kind on rows of its own goes to `kinds.csv`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use preceptor_core::{Digest, Seed};
use preceptor_models::{Device, GroupBatch, Model, TokenGroup, Trainable, to_vec};
use preceptor_trainer::objective::sft::{self, Aggregation, Sft};
use preceptor_trainer::{
    Checkpoints, Decay, Group, Learner, MuonConfig, Schedule, ScheduleConfig, Sequence,
};
use serde_json::json;

use crate::errors::{Draws, ErrorModel};
use crate::rows::{Kind, Row, World, Writer};
use crate::{Error, network, vocabulary};

/// Tokens of each kind in an update of the part that reads rows of finding.
const FINDING: [(Kind, usize); 1] = [(Kind::Find, 2400)];
/// Tokens of each kind in an update of the part that reads questions.
const SOLVING: [(Kind, usize); 3] = [
    (Kind::SolveCleanly(World::Math), 1600),
    (Kind::SolveCleanly(World::Health), 500),
    (Kind::FindInChains, 1200),
];
/// Tokens of each kind in the updates after it.
const REST: [(Kind, usize); 11] = [
    (Kind::Solve(World::Math), 900),
    (Kind::Solve(World::Health), 450),
    (Kind::Merge(World::Math), 2400),
    (Kind::Merge(World::Health), 700),
    (Kind::Choose(World::Math), 1000),
    (Kind::Choose(World::Health), 300),
    (Kind::FindInChains, 900),
    (Kind::Again(World::Math), 200),
    (Kind::Again(World::Health), 150),
    (Kind::Rubric, 250),
    (Kind::RubricFromQuestion, 200),
];
/// Rows of a kind that its loss is measured on.
const MEASURED_ROWS: usize = 16;
/// Updates between measurements and between checkpoints.
const INTERVAL: u64 = 100;
/// Checkpoints that are kept.
const KEPT_CHECKPOINTS: usize = 2;

/// Settings of a pretraining.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Of weights and rows.
    pub seed: u64,
    /// How attempts go wrong.
    pub errors: ErrorModel,
    /// Updates, 1 to 1000000.
    pub num_updates: u64,
    /// Share of them that reads rows of finding alone, 0 to 1: the first ones.
    pub finding_part: f64,
    /// Share of them that reads questions, 0 to 1: those after.
    pub solving_part: f64,
    /// The highest learning rate of matrices, above 0, up to 1.
    pub learning_rate: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            errors: ErrorModel::Standard,
            num_updates: 1800,
            finding_part: 0.2,
            solving_part: 0.17,
            learning_rate: 0.02,
        }
    }
}

impl Settings {
    /// The first setting outside its range: key, value, what is allowed.
    pub fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        if !(1..=1_000_000).contains(&self.num_updates) {
            return Some(("updates", self.num_updates.to_string(), "1 to 1000000"));
        }
        if !(0.0..=1.0).contains(&self.finding_part) {
            return Some(("finding-part", self.finding_part.to_string(), "0 to 1"));
        }
        if !(0.0..=1.0).contains(&self.solving_part) {
            return Some(("solving-part", self.solving_part.to_string(), "0 to 1"));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return Some(("learning-rate", self.learning_rate.to_string(), "above 0, up to 1"));
        }
        None
    }

    fn num_finding(&self) -> u32 {
        (self.num_updates as f64 * self.finding_part) as u32
    }

    /// What update number `update`, from 0, reads.
    fn mix(&self, update: u64) -> &'static [(Kind, usize)] {
        let num_finding = u64::from(self.num_finding());
        let num_solving = (self.num_updates as f64 * self.solving_part) as u64;
        if update < num_finding {
            &FINDING
        } else if update < num_finding + num_solving {
            &SOLVING
        } else {
            &REST
        }
    }

    /// What a checkpoint must agree with.
    fn state(&self) -> serde_json::Value {
        let Self { seed, errors, num_updates, finding_part, solving_part, learning_rate } = self;
        json!({
            "seed": seed, "errors": errors, "updates": num_updates,
            "finding-part": finding_part, "solving-part": solving_part,
            "learning-rate": learning_rate,
        })
    }
}

/// What is told after an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Updates so far.
    pub num_updates: u64,
    /// Updates in all.
    pub num_wanted: u64,
    /// Tokens that were read.
    pub num_tokens: u64,
    /// The loss before the update.
    pub loss: f64,
}

/// What a pretraining did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The model.
    pub folder: PathBuf,
    /// Tokens that were read.
    pub num_tokens: u64,
}

/// Trains a model and writes it to `out/model`, beside the logs and, while it runs, checkpoints. A run
/// that was stopped goes on; one that is done is read from where it lies.
///
/// # Errors
///
/// [`Error`]: files, settings out of range, or a loss that is no number.
pub fn pretrain(
    settings: &Settings,
    out: &Path,
    on_update: &mut dyn FnMut(Progress),
) -> Result<Summary, Error> {
    if let Some((key, value, allowed)) = settings.out_of_range() {
        return Err(Error::OutOfRange { key, value, allowed });
    }
    let write_error = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    fs::create_dir_all(out).map_err(write_error(out))?;
    let seed = Seed::root(settings.seed).derive("pocket");
    let start = out.join("start");
    if !start.is_dir() {
        network::write_initial(&start, seed.derive("weights"))?;
    }
    let model = Model::load(&start, &Device::cpu())?;
    let base = Digest::of_parts([
        model.identity().weights.as_str().as_bytes(),
        settings.state().to_string().as_bytes(),
    ]);

    let schedule = ScheduleConfig {
        kind: Decay::Cosine,
        learning_rate: settings.learning_rate,
        warm_up_updates: settings.num_finding(),
    };
    let schedule = Schedule::new(&schedule, settings.num_updates);
    let muon = MuonConfig::default();
    let mut trainable = Trainable::full(&model);
    let checkpoints = Checkpoints::new(out.join("checkpoints"), KEPT_CHECKPOINTS);
    let (mut learner, mut num_tokens) = match checkpoints.resumable_steps()?.last() {
        Some(step) => {
            let read = checkpoints.read(*step, &base, &mut trainable)?;
            let num_tokens = read.description.state["tokens"].as_u64().unwrap_or(0);
            let optimizer = read.optimizer.expect("training can go on from it");
            let learner =
                Learner::restore_with_muon(trainable, &muon, optimizer, schedule, usize::MAX)?;
            (learner, num_tokens)
        }
        None => (Learner::with_muon(trainable, &muon, schedule, usize::MAX), 0),
    };

    let mut log =
        Log::open(out.join("training.csv"), "update,tokens,loss,gradient_norm,rate,seconds")?;
    let mut kinds_log = Log::open(out.join("kinds.csv"), "update,tokens,kind,loss")?;
    let text = Text { writer: Writer::new(settings.errors.rates()), model: &model };
    let measured = text.measured(seed.derive("measured"))?;
    let objective = Sft::new(&sft::Config { aggregation: Aggregation::TokenMean });
    for update in learner.optimizer_state().num_updates..settings.num_updates {
        #[expect(clippy::disallowed_methods, reason = "seconds are logged only")]
        let started = Instant::now();
        let groups = text.groups(settings.mix(update), seed.derive("rows").derive_index(update))?;
        let report = learner.update(&groups, &objective)?;
        num_tokens += report.num_rows as u64;
        let (done, loss) = (update + 1, report.loss);
        let seconds = started.elapsed().as_secs_f64();
        let (norm, rate) = (report.gradient_norm, report.learning_rate);
        log.line(&format!("{done},{num_tokens},{loss:.5},{norm:.4},{rate:.6},{seconds:.3}"))?;
        let num_wanted = settings.num_updates;
        on_update(Progress { num_updates: done, num_wanted, num_tokens, loss });
        if done % INTERVAL == 0 || done == num_wanted {
            for (kind, groups) in &measured {
                let loss = mean_loss(learner.trainable(), groups);
                kinds_log.line(&format!("{done},{num_tokens},{},{loss:.5}", kind.name()))?;
            }
            let state = json!({ "tokens": num_tokens });
            let (trainable, optimizer) = (learner.trainable(), learner.optimizer_state());
            checkpoints.write(done, &base, trainable, optimizer, state)?;
        }
    }

    let folder = out.join("model");
    let mut trained = Model::load(&start, &Device::cpu())?;
    trained.set_replicas(learner.trainable().merged(), base);
    if !folder.is_dir() {
        trained.save(&folder)?;
    }
    Ok(Summary { folder, num_tokens })
}

/// Rows as tokens.
struct Text<'m> {
    writer: Writer,
    model: &'m Model,
}

impl Text<'_> {
    fn group(&self, row: &Row) -> Result<Group, Error> {
        let prompt = self.model.prompt_tokens(&row.prompt)?;
        let tokenizer = self.model.tokenizer();
        let mut answer = tokenizer.encode(&row.answer, false)?;
        answer.extend(tokenizer.id_of(vocabulary::END));
        let sequences = vec![Sequence { num_tokens: answer.len(), sampled: None }];
        Ok(Group { prompt, rollouts: vec![answer], sequences })
    }

    /// Rows of each kind until its share of tokens is reached.
    fn groups(&self, mix: &[(Kind, usize)], seed: Seed) -> Result<Vec<Group>, Error> {
        let mut groups = Vec::new();
        for (kind, wanted) in mix {
            let mut draws = Draws::new(seed.derive(kind.name()));
            let mut num_tokens = 0;
            while num_tokens < *wanted {
                let group = self.group(&self.writer.row(*kind, &mut draws))?;
                num_tokens += group.prompt.len() + group.rollouts[0].len();
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// The same rows of every kind, whatever is trained on.
    fn measured(&self, seed: Seed) -> Result<Vec<(Kind, Vec<Group>)>, Error> {
        let of = |(kind, _): &(Kind, usize)| {
            let mut draws = Draws::new(seed.derive(kind.name()));
            let rows = (0..MEASURED_ROWS).map(|_| self.writer.row(*kind, &mut draws));
            Ok((*kind, rows.map(|row| self.group(&row)).collect::<Result<_, _>>()?))
        };
        REST.iter().map(of).collect()
    }
}

/// The mean over rows of the mean over tokens of what the objective minimises.
fn mean_loss(trainable: &Trainable, groups: &[Group]) -> f64 {
    let merged = trainable.merged();
    let decoder = merged[0].decoder();
    let of = |group: &Group| {
        let tokens = TokenGroup { prompt: &group.prompt, rollouts: &group.rollouts };
        let (logprobs, _) = GroupBatch::new(&[tokens]).token_logprobs(decoder);
        let logprobs = to_vec(logprobs);
        -logprobs.iter().copied().map(f64::from).sum::<f64>() / logprobs.len() as f64
    };
    groups.iter().map(of).sum::<f64>() / groups.len() as f64
}

/// A CSV file that grows.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn open(path: PathBuf, header: &str) -> Result<Self, Error> {
        let is_new = !path.exists();
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|source| Error::Write { path: path.clone(), source })?;
        let mut this = Self { path, file };
        if is_new {
            this.line(header)?;
        }
        Ok(this)
    }

    fn line(&mut self, line: &str) -> Result<(), Error> {
        let written = writeln!(self.file, "{line}");
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}
