//! The training loop: rows, updates, logs, checkpoints and the final model.
//!
//! The first updates read only rows of finding, while the rate warms up. The next ones read questions and
//! chains without errors, until sums are known. The rest reads every kind of row in fixed shares of
//! tokens. The rows of an update follow from the seed and its index, so that a stopped run resumes from its
//! last checkpoint bit-for-bit. The loss is the mean over tokens of answers: in a mean over rows, a lookup
//! in a long row would have almost no weight.
//!
//! The log `training.csv` has a line for each update: tokens read so far, loss, norm of the gradient, rate
//! and seconds. Every hundredth update, the loss of each kind on separate rows is written to `kinds.csv`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use preceptor_core::{Digest, OutOfRange, Seed};
use preceptor_models::{Device, GroupBatch, Model, TokenGroup, Trainable, to_vec};
use preceptor_trainer::objective::sft::{self, Aggregation, Sft};
use preceptor_trainer::{
    Checkpoints, Decay, Group, Learner, MuonConfig, OptimizerConfig, Schedule, ScheduleConfig,
    Sequence,
};
use serde_json::json;

use crate::errors::{Draws, ErrorModel};
use crate::rows::{Domain, Kind, Row, Writer};
use crate::{Error, network, vocabulary};

/// Tokens of each kind per update in the phase of finding.
const FINDING: [(Kind, usize); 1] = [(Kind::Find, 2400)];
/// Tokens of each kind per update in the phase of questions.
const SOLVING: [(Kind, usize); 3] = [
    (Kind::SolveCleanly(Domain::Math), 1600),
    (Kind::SolveCleanly(Domain::Health), 500),
    (Kind::FindInChains, 1200),
];
/// Tokens of each kind per update after these phases.
const REST: [(Kind, usize); 11] = [
    (Kind::Solve(Domain::Math), 900),
    (Kind::Solve(Domain::Health), 450),
    (Kind::Merge(Domain::Math), 2400),
    (Kind::Merge(Domain::Health), 700),
    (Kind::Choose(Domain::Math), 1000),
    (Kind::Choose(Domain::Health), 300),
    (Kind::FindInChains, 900),
    (Kind::Again(Domain::Math), 200),
    (Kind::Again(Domain::Health), 150),
    (Kind::Rubric, 250),
    (Kind::RubricFromQuestion, 200),
];
/// Number of rows on which the loss of a kind is measured.
const MEASURED_ROWS: usize = 16;
/// Number of updates between measurements and between checkpoints.
const INTERVAL: u64 = 100;
/// Number of checkpoints that are kept.
const KEPT_CHECKPOINTS: usize = 2;

/// Settings of a pretraining run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The seed of weights and rows.
    pub seed: u64,
    /// The error patterns of attempts.
    pub errors: ErrorModel,
    /// Number of updates, 1 to 1000000.
    pub num_updates: u64,
    /// Share of updates in the phase of finding, 0 to 1.
    pub finding_part: f64,
    /// Share of updates in the phase of questions, 0 to 1.
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
    /// Checks the range of every key.
    fn check(&self) -> Result<(), OutOfRange> {
        let Self { num_updates, finding_part, solving_part, learning_rate, .. } = *self;
        let is_allowed = (1..=1_000_000).contains(&num_updates);
        OutOfRange::check("updates", num_updates, is_allowed, "between 1 and 1000000")?;
        let is_allowed = (0.0..=1.0).contains(&finding_part);
        OutOfRange::check("finding-part", finding_part, is_allowed, "between 0 and 1")?;
        let is_allowed = (0.0..=1.0).contains(&solving_part);
        OutOfRange::check("solving-part", solving_part, is_allowed, "between 0 and 1")?;
        let is_allowed = learning_rate > 0.0 && learning_rate <= 1.0;
        OutOfRange::check("learning-rate", learning_rate, is_allowed, "above 0 and at most 1")
    }

    fn num_finding(&self) -> u32 {
        (self.num_updates as f64 * self.finding_part) as u32
    }

    /// Returns the tokens of each kind in update `update`, counted from 0.
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

    /// Returns the settings that a checkpoint must agree with.
    fn state(&self) -> serde_json::Value {
        let Self { seed, errors, num_updates, finding_part, solving_part, learning_rate } = self;
        json!({
            "seed": seed, "errors": errors, "updates": num_updates,
            "finding-part": finding_part, "solving-part": solving_part,
            "learning-rate": learning_rate,
        })
    }
}

/// Progress after an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Number of updates so far.
    pub num_updates: u64,
    /// Total number of updates.
    pub num_wanted: u64,
    /// Number of tokens read.
    pub num_tokens: u64,
    /// The loss before the update.
    pub loss: f64,
}

/// The result of a pretraining run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The folder of the model.
    pub folder: PathBuf,
    /// Number of tokens read.
    pub num_tokens: u64,
}

/// Trains a model and writes it to `out/model`, beside the logs and, while it runs, checkpoints. A stopped
/// run is resumed; a finished one is read from disk.
///
/// # Errors
///
/// See [`Error`]: files, settings out of range, or a loss that is not finite.
pub fn pretrain(
    settings: &Settings,
    out: &Path,
    on_update: &mut dyn FnMut(Progress),
) -> Result<Summary, Error> {
    settings.check().map_err(Error::OutOfRange)?;
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

    let checkpoints = Checkpoints::new(out.join("checkpoints"), KEPT_CHECKPOINTS);
    let (mut learner, mut num_tokens) = start_learner(settings, &model, &checkpoints, &base)?;

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

/// Creates the learner of a run, or resumes it from the last checkpoint. Returns it with the number of tokens
/// read so far.
fn start_learner(
    settings: &Settings,
    model: &Model,
    checkpoints: &Checkpoints,
    base: &Digest,
) -> Result<(Learner, u64), Error> {
    let schedule = ScheduleConfig {
        kind: Decay::Cosine,
        learning_rate: settings.learning_rate,
        warm_up_updates: settings.num_finding(),
    };
    let schedule = Schedule::new(&schedule, settings.num_updates);
    let muon = OptimizerConfig::Muon(MuonConfig::default());
    let mut trainable = Trainable::full(model);
    Ok(match checkpoints.resumable_steps()?.last() {
        Some(step) => {
            let read = checkpoints.read(*step, base, &mut trainable)?;
            let num_tokens = read.description.state["tokens"].as_u64().unwrap_or(0);
            let optimizer = read.optimizer.expect("the checkpoint is resumable");
            let learner = Learner::restore(trainable, &muon, optimizer, schedule, usize::MAX)?;
            (learner, num_tokens)
        }
        None => (Learner::new(trainable, &muon, schedule, usize::MAX), 0),
    })
}

/// Encoder of rows.
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

    /// Draws rows of each kind until its number of tokens is reached.
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

    /// Draws the rows of every kind on which losses are measured.
    fn measured(&self, seed: Seed) -> Result<Vec<(Kind, Vec<Group>)>, Error> {
        let of = |(kind, _): &(Kind, usize)| {
            let mut draws = Draws::new(seed.derive(kind.name()));
            let rows = (0..MEASURED_ROWS).map(|_| self.writer.row(*kind, &mut draws));
            Ok((*kind, rows.map(|row| self.group(&row)).collect::<Result<_, _>>()?))
        };
        REST.iter().map(of).collect()
    }
}

/// Computes the mean over rows of the mean loss over tokens.
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

/// A CSV file to which lines are appended.
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
