//! The price of a plan's training runs: tokens, FLOPs, time.

use std::collections::BTreeSet;
use std::time::Instant;

use preceptor_core::record::{TrainCostRecord, step_key};
use preceptor_core::{
    GenerationObserver, GenerationRequest, Generator, Prompt, PromptBody, PromptId, Rollout,
    RolloutSeed, Sampling, Seed,
};
use preceptor_models::{GenerationOptions, LocalModel, Trainable, available_memory};
use preceptor_store::Store;
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::{
    AdamWConfig, Group, Learner, OptimizerConfig, Schedule, ScheduleConfig, Sequence,
};

use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::models::loader::ModelLoader;
use crate::plan::cell::Cell;
use crate::plan::resolved::Plan;

/// Rollouts, and tokens of each, that a calibration samples.
const SAMPLED: (u32, u32) = (8, 24);
/// Bytes per weight of a calibration: weights, gradients, moments, and the weights of a pass.
const BYTES_A_WEIGHT: u64 = 20;
/// Tokens that a calibration trains on.
const TRAINED: usize = 256;

/// Speed of a model on this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Tokens sampled per second.
    pub sampled_per_sec: f64,
    /// Tokens trained on per second: forward, backward and the optimizer step.
    pub trained_per_sec: f64,
}

/// Training run of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainDemand {
    /// The cell, for people.
    pub label: String,
    /// The model that is trained.
    pub model: String,
    /// Stored steps.
    pub num_present: u64,
    /// Steps of the whole training run.
    pub num_steps: u64,
    /// Missing rollouts, including evaluations.
    pub num_rollouts: u64,
    /// The most tokens that they can have.
    pub max_new_tokens: u64,
    /// The most tokens that are still to be trained on, including prompts.
    pub max_trained_tokens: u64,
    /// Bytes of checkpoints per weight, after the run and while the next one is written;
    /// none if only adapters are trained, which are small.
    pub checkpoint_bytes: Option<[u64; 2]>,
    /// Number of servers that sample the rollouts of its steps; none if this program does.
    pub num_servers: Option<u64>,
    /// Seconds per step, from earlier steps on this machine.
    pub secs_per_step: Option<f64>,
}

impl TrainDemand {
    /// Returns the most FLOPs of the missing steps for a model of `num_parameters`: 2 per
    /// parameter and token sampled, 6 trained, and 2 for the KL reference.
    pub fn max_flops(&self, num_parameters: u64) -> f64 {
        let per_parameter = 2 * self.max_new_tokens + 8 * self.max_trained_tokens;
        per_parameter as f64 * num_parameters as f64
    }

    /// Returns the seconds of the missing steps, from earlier steps, otherwise an upper bound by a calibration.
    pub fn estimated_secs(&self, speed: Option<Speed>) -> Option<f64> {
        let missing = (self.num_steps - self.num_present) as f64;
        if let Some(secs) = self.secs_per_step {
            return Some(secs * missing);
        }
        let speed = speed?;
        // Scoring with the KL reference takes about a third of a pass forward and backward.
        let trained = 4.0 / 3.0 * self.max_trained_tokens as f64 / speed.trained_per_sec;
        Some(self.max_new_tokens as f64 / speed.sampled_per_sec + trained)
    }
}

impl Plan {
    /// Returns the training runs of the plan, each once.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn train_demands(&self, store: &Store) -> Result<Vec<TrainDemand>, Error> {
        let mut seen = BTreeSet::new();
        let mut demands = Vec::new();
        for cell in self.cells() {
            let Some(training) = &cell.training else { continue };
            if seen.insert(training.steps.digest().clone()) {
                demands.push(demand(cell, store)?);
            }
        }
        Ok(demands)
    }
}

fn demand(cell: &Cell, store: &Store) -> Result<TrainDemand, Error> {
    let training = cell.training.as_ref().expect("the caller looked");
    let settings = &training.settings;
    let present = store.stage(&training.steps).keys()?;
    let num_steps = u64::from(settings.steps);
    let num_present = (1..=num_steps).filter(|step| present.contains(&step_key(*step))).count();
    let missing = num_steps - num_present as u64;
    let is_sampled = matches!(training.objective, ObjectiveSettings::Grpo(_));
    let group_size = if is_sampled { u64::from(cell.group_size) } else { 1 };
    let prompts = missing * u64::from(settings.prompts_per_step);
    let most = u64::from(cell.sampling.max_new_tokens);
    let mut num_rollouts = if is_sampled { prompts * group_size } else { 0 };
    for evaluation in &training.evaluations {
        let keys = evaluation.demand.keys();
        let present = store.stage(&evaluation.demand.cell.stages.rollouts).keys()?;
        num_rollouts += keys.difference(&present).count() as u64;
    }
    let trained = prompts * (cell.prompt_tokens() + group_size * most);
    let costs = store.stage(&training.costs).load::<TrainCostRecord>()?.records;
    let secs: f64 = costs.values().flat_map(|cost| cost.seconds.values()).sum();
    Ok(TrainDemand {
        label: cell.label(),
        model: cell.model_name.clone(),
        num_present: num_present as u64,
        num_steps,
        num_rollouts,
        max_new_tokens: num_rollouts * most,
        max_trained_tokens: trained * u64::from(settings.passes),
        checkpoint_bytes: settings.lora.is_none().then(|| settings.checkpoint_bytes()),
        num_servers: training.rollouts.as_ref().map(|servers| servers.base_urls.len() as u64),
        secs_per_step: (!costs.is_empty()).then(|| secs / costs.len() as f64),
    })
}

/// Measures a model for a few seconds: some rollouts, and an update of all its weights. Returns none if the
/// host lacks the memory for such an update.
///
/// # Errors
///
/// [`Error`] if it can't be loaded or does not run here.
pub fn calibrate_speed(models: &mut dyn ModelLoader, name: &str) -> Result<Option<Speed>, Error> {
    struct NoObserver;
    impl GenerationObserver for NoObserver {
        fn on_rollout(
            &mut self,
            _request: usize,
            _rollout: &Rollout,
        ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Ok(())
        }
    }
    let model = models.load(name)?;
    let needed = BYTES_A_WEIGHT * model.num_parameters();
    if available_memory().is_some_and(|available| needed > available) {
        return Ok(None);
    }
    let vocab_size = model.spec().vocab_size as u64;
    let tokens: Vec<u32> = (0..TRAINED as u64).map(|i| (i * 31 % vocab_size) as u32).collect();
    let mut trainable = Learner::new(
        Trainable::full(&model),
        &OptimizerConfig::AdamW(AdamWConfig::default()),
        Schedule::new(&ScheduleConfig::default(), 1),
        TRAINED,
    );
    let policy = LocalModel::new(model, GenerationOptions::default());
    let seeds = (0..SAMPLED.0)
        .map(|index| RolloutSeed { index, seed: Seed::root(0).derive_index(u64::from(index)) });
    let id = PromptId::new("calibration".to_owned());
    let prompt = Prompt::new(id, PromptBody::Text("1".to_owned()));
    let request = GenerationRequest { prompt, rollouts: seeds.collect() };
    let sampling = Sampling { max_new_tokens: SAMPLED.1, ..Sampling::default() };
    let (rollouts, secs) = timed(|| policy.generate(&[request], &sampling, &mut NoObserver));
    let num_sampled: u64 = rollouts?.iter().flatten().map(Rollout::num_tokens).sum();
    let sequence = Sequence { num_tokens: tokens.len() - 1, sampled: None };
    let group = Group {
        prompt: tokens[..1].to_vec(),
        rollouts: vec![tokens[1..].to_vec()],
        sequences: vec![sequence],
    };
    let (report, update_secs) =
        timed(|| trainable.update(&[group], &Sft::new(&sft::Config::default())));
    report?;
    Ok(Some(Speed {
        sampled_per_sec: num_sampled as f64 / secs,
        trained_per_sec: TRAINED as f64 / update_secs,
    }))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    #[expect(clippy::disallowed_methods, reason = "an estimate of time is what is asked")]
    let started = Instant::now();
    let done = work();
    (done, started.elapsed().as_secs_f64())
}
