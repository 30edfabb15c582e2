//! Estimates of a plan's time, GPU hours, cost and disk.
//!
//! ```text
//! GPU seconds of this program   sampled / s + read / r + trained / t      for each model
//! seconds of the servers        served / (v x servers)
//! time                          their sum: servers wait while the trainer updates, and it waits for them
//! GPU hours                     time x (1 + servers x GPUs per server)
//! ```
//!
//! Tokens are those of `price`, with texts of a stated share of their limit. Waiting for endpoints is not
//! included. An update reads its
//! tokens once more for each of the KL reference and the recomputed log-probabilities. Speeds are of a
//! model with a stated number of weights, and of others in inverse proportion to theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use preceptor_core::Usage;
use preceptor_endpoints::rollout_servers::RolloutServers;

use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::manifest::train_settings::OldLogprobs;
use crate::models::directory::ModelDirectory;
use crate::models::host::variable;
use crate::plan::cell::{Cell, Training};
use crate::plan::counting::{Counting, Part};
use crate::plan::held_weights::needs_reference;
use crate::plan::price_training::{Speed, TrainDemand};
use crate::plan::resolved::Plan;

/// Bytes of the record of a token, with its share of the text, in a compacted store. Measured: 7.0 in
/// rollouts and 7.4 in training groups (`docs/log/2026-11-28-one-gpu.md`).
const BYTES_PER_TOKEN: u64 = 8;
/// The most tokens of each rollout by which servers are measured.
const MEASURED_TOKENS: u32 = 128;
/// Forward passes that take as long as a pass forward and backward.
const READ_PER_TRAINED: f64 = 3.0;

/// Tokens that a model of this program handles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    num_read: u64,
    num_sampled: u64,
    num_trained: u64,
}

/// Estimate of the time and cost of a plan; several add up to that of a suite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// GPU seconds of the models that this program runs.
    pub local_secs: f64,
    /// Seconds in which all rollout servers sample.
    pub served_secs: f64,
    /// GPUs of all rollout servers; the most of any plan.
    pub num_server_gpus: u64,
    /// Cost of endpoints in USD.
    pub endpoints_usd: f64,
    /// Bytes of records and of the checkpoints that are kept.
    pub disk_bytes: u64,
    /// Models whose time is not included, because their size or speed is unknown.
    pub unknown: BTreeSet<String>,
    /// Endpoints whose cost is not included, because they have no price.
    pub unpriced: BTreeSet<String>,
}

impl Estimate {
    /// Returns the hours with `num_gpus` that share the work of this program evenly.
    pub fn hours(&self, num_gpus: u64) -> f64 {
        (self.local_secs + self.served_secs) / num_gpus as f64 / 3600.0
    }

    /// Returns the GPU hours: those of `num_gpus` and of the servers, also while they wait.
    pub fn gpu_hours(&self, num_gpus: u64) -> f64 {
        self.hours(num_gpus) * (num_gpus + self.num_server_gpus) as f64
    }
}

impl AddAssign for Estimate {
    fn add_assign(&mut self, other: Self) {
        self.local_secs += other.local_secs;
        self.served_secs += other.served_secs;
        self.num_server_gpus = self.num_server_gpus.max(other.num_server_gpus);
        self.endpoints_usd += other.endpoints_usd;
        self.disk_bytes += other.disk_bytes;
        self.unknown.extend(other.unknown);
        self.unpriced.extend(other.unpriced);
    }
}

impl Estimate {
    /// Adds what an endpoint costs.
    fn charge(&mut self, endpoint: String, usage: Usage, models: &dyn ModelDirectory) {
        match models.price(&endpoint, usage) {
            Some(usd) => self.endpoints_usd += usd,
            None => _ = self.unpriced.insert(endpoint),
        }
    }
}

/// Gathers what a plan demands.
struct Tally<'t, 's> {
    counting: &'t mut Counting<'s>,
    work: BTreeMap<String, Work>,
    /// Tokens by number of servers and model.
    served: BTreeMap<(u64, String), u64>,
    num_stored: u64,
    checkpoint_bytes: u64,
}

impl Plan {
    /// Measures the speed of the first training run's rollout servers with their base model, and takes it
    /// for the estimate. Returns the tokens per second of one server; none without servers.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] if the servers can't be used.
    pub fn probe_servers(&mut self, models: &dyn ModelDirectory) -> Result<Option<f64>, Error> {
        let mut served = self.cells().iter().filter_map(|cell| {
            let training = cell.training.as_ref()?;
            Some((cell.model_name.clone(), training.rollouts.clone()?))
        });
        let Some((model, config)) = served.next() else { return Ok(None) };
        let servers = RolloutServers::connect(&config, config.key(variable)?)?;
        let speed = servers.measure(MEASURED_TOKENS)?;
        if let Some(weights) = models.num_parameters(&model) {
            let weights = weights as f64;
            let stated = *self.estimate.weights.get_or_insert(weights);
            self.estimate.served_per_sec = Some(speed * weights / stated);
        }
        Ok(Some(speed))
    }

    /// Estimates what `counting` counts. `measured` are speeds that were measured here, by model; those of the
    /// manifest win.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn estimate(
        &self,
        counting: &mut Counting<'_>,
        models: &dyn ModelDirectory,
        measured: &BTreeMap<String, Speed>,
    ) -> Result<Estimate, Error> {
        counting.set_length_share(self.estimate.length_share);
        let mut tally = Tally {
            counting,
            work: BTreeMap::new(),
            served: BTreeMap::new(),
            num_stored: 0,
            checkpoint_bytes: 0,
        };
        for demand in self.rollout_demands() {
            let missing = tally.counting.new_rollouts(&demand)?;
            tally.sample(&demand.cell, missing);
        }
        for cell in self.cells() {
            let Some(training) = &cell.training else { continue };
            tally.train(cell, training, models)?;
        }
        let mut estimate = Estimate::default();
        for demand in self.count_calls(tally.counting)? {
            for (model, usage) in demand.usage {
                tally.num_stored += usage.num_generated_tokens;
                if models.is_remote(&model) {
                    estimate.charge(model, usage, models);
                } else {
                    let work = tally.work.entry(model).or_default();
                    work.num_read += usage.num_prompt_tokens;
                    work.num_sampled += usage.num_generated_tokens;
                }
            }
        }
        estimate.disk_bytes = BYTES_PER_TOKEN * tally.num_stored + tally.checkpoint_bytes;
        for (model, work) in tally.work {
            if models.is_remote(&model) {
                let usage = Usage {
                    num_prompt_tokens: work.num_read,
                    num_generated_tokens: work.num_sampled,
                };
                estimate.charge(model, usage, models);
                continue;
            }
            match self.secs(&model, work, models, measured) {
                Some(secs) => estimate.local_secs += secs,
                None => _ = estimate.unknown.insert(model),
            }
        }
        for ((num_servers, model), num_tokens) in tally.served {
            // A server that `[launch]` starts has the GPUs named there.
            let num_gpus = match &self.launch.server {
                Some(_) => u64::from(self.launch.server_gpus),
                None => num_servers * u64::from(self.estimate.gpus_per_server),
            };
            estimate.num_server_gpus = estimate.num_server_gpus.max(num_gpus);
            let settings = &self.estimate;
            let speed = settings.served_per_sec.or(settings.sampled_per_sec);
            match speed.zip(self.relative_size(&model, models)) {
                Some((speed, size)) => {
                    estimate.served_secs += num_tokens as f64 * size / (speed * num_servers as f64);
                }
                None => _ = estimate.unknown.insert(model),
            }
        }
        Ok(estimate)
    }

    /// Returns the size of a model relative to the one whose speeds are stated.
    fn relative_size(&self, model: &str, models: &dyn ModelDirectory) -> Option<f64> {
        let weights = models.num_parameters(model)?;
        Some(weights as f64 / self.estimate.weights?)
    }

    /// Returns the speed of a model in this program: that of the manifest, otherwise the one of `measured`.
    pub fn speed_of(
        &self,
        model: &str,
        models: &dyn ModelDirectory,
        measured: &BTreeMap<String, Speed>,
    ) -> Option<Speed> {
        let settings = &self.estimate;
        let size = self.relative_size(model, models);
        let stated = |speed: Option<f64>| Some(speed? / size?);
        let measured = measured.get(model);
        let sampled = stated(settings.sampled_per_sec);
        let trained = stated(settings.trained_per_sec);
        Some(Speed {
            sampled_per_sec: sampled.or(measured.map(|speed| speed.sampled_per_sec))?,
            trained_per_sec: trained.or(measured.map(|speed| speed.trained_per_sec))?,
        })
    }

    /// Returns the speed of the steps of a training run, whose rollouts may be sampled by servers.
    pub fn training_speed(
        &self,
        demand: &TrainDemand,
        models: &dyn ModelDirectory,
        measured: &BTreeMap<String, Speed>,
    ) -> Option<Speed> {
        let mut speed = self.speed_of(&demand.model, models, measured)?;
        if let Some(num_servers) = demand.num_servers
            && let Some(served) = self.estimate.served_per_sec
            && let Some(size) = self.relative_size(&demand.model, models)
        {
            speed.sampled_per_sec = served * num_servers as f64 / size;
        }
        Some(speed)
    }

    /// Returns the GPU seconds of `work`.
    fn secs(
        &self,
        model: &str,
        work: Work,
        models: &dyn ModelDirectory,
        measured: &BTreeMap<String, Speed>,
    ) -> Option<f64> {
        let Speed { sampled_per_sec, trained_per_sec } = self.speed_of(model, models, measured)?;
        let size = self.relative_size(model, models);
        let read = self.estimate.read_per_sec.zip(size).map(|(speed, size)| speed / size);
        let read = read.unwrap_or(READ_PER_TRAINED * trained_per_sec);
        Some(
            work.num_sampled as f64 / sampled_per_sec
                + work.num_read as f64 / read
                + work.num_trained as f64 / trained_per_sec,
        )
    }
}

impl Tally<'_, '_> {
    /// Adds rollouts of the policy of `cell`.
    fn sample(&mut self, cell: &Cell, num_rollouts: u64) {
        let num_tokens = num_rollouts * self.counting.length(cell.sampling.max_new_tokens);
        let work = self.work.entry(cell.model_name.clone()).or_default();
        work.num_sampled += num_tokens;
        work.num_read += num_rollouts * cell.prompt_tokens();
        self.num_stored += num_tokens;
    }

    /// Adds the missing steps of a training run, and its evaluations.
    fn train(
        &mut self,
        cell: &Cell,
        training: &Training,
        models: &dyn ModelDirectory,
    ) -> Result<(), Error> {
        for evaluation in &training.evaluations {
            let missing = self.counting.new_rollouts(&evaluation.demand)?;
            self.sample(&evaluation.demand.cell, missing);
        }
        if !self.counting.is_new(&training.steps, Part::Updates) {
            return Ok(());
        }
        let settings = &training.settings;
        let is_sampled = matches!(training.objective, ObjectiveSettings::Grpo(_));
        let num_texts = if is_sampled { u64::from(cell.group_size) } else { 1 };
        let steps = u64::from(settings.steps);
        let present = self.counting.present(&training.steps)?.len() as u64;
        let prompts = steps.saturating_sub(present) * u64::from(settings.prompts_per_step);
        // Imitated texts are as long as the aggregator may write them.
        let longest = match cell.aggregator.max_new_tokens() {
            Some(longest) if !is_sampled => longest,
            _ => cell.sampling.max_new_tokens,
        };
        let num_tokens = prompts * num_texts * self.counting.length(longest);
        let num_trained = prompts * num_texts * cell.prompt_tokens() + num_tokens;
        let recomputes = is_sampled && settings.old_logprobs != Some(OldLogprobs::Sampler);
        let num_passes = u64::from(recomputes) + u64::from(needs_reference(training));
        let work = self.work.entry(cell.model_name.clone()).or_default();
        work.num_trained += num_trained * u64::from(settings.passes);
        work.num_read += num_trained * num_passes;
        self.num_stored += num_tokens;
        match &training.rollouts {
            _ if !is_sampled => {}
            Some(servers) => {
                let key = (servers.base_urls.len() as u64, cell.model_name.clone());
                *self.served.entry(key).or_default() += num_tokens;
            }
            None => work.num_sampled += num_tokens,
        }
        if settings.lora.is_none()
            && let Some(weights) = models.num_parameters(&cell.model_name)
        {
            self.checkpoint_bytes += weights * settings.checkpoint_bytes()[0];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::record::{RolloutRecord, rollout_key};
    use preceptor_testkit::rollout;

    use super::*;
    use crate::test_support::{ScriptedModels, plan, store};

    const SPEEDS: [&str; 5] = [
        "estimate.weights=500.0",
        "estimate.sampled-per-sec=10",
        "estimate.read-per-sec=100",
        "estimate.trained-per-sec=20",
        "estimate.length-share=0.5",
    ];

    /// Models with 1000 weights: half as fast as the stated speeds.
    fn models() -> ScriptedModels {
        ScriptedModels { num_parameters: Some(1000), ..ScriptedModels::default() }
    }

    fn estimated(settings: &[&str]) -> Estimate {
        let plan = plan(settings, None).unwrap();
        plan.estimate(&mut Counting::all(), &models(), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn rollouts_take_the_time_of_their_tokens_at_the_speed_of_the_models_size() {
        let plan = plan(&SPEEDS, None).unwrap();
        // Two prompts, four rollouts of 10 tokens at most, taken to be 5 long.
        let (num_sampled, num_read) = (2 * 4 * 5, 2 * 4 * plan.cells()[0].prompt_tokens());
        let found = plan.estimate(&mut Counting::all(), &models(), &BTreeMap::new()).unwrap();
        assert_eq!(found.local_secs, num_sampled as f64 / 5.0 + num_read as f64 / 50.0);
        assert_eq!((found.served_secs, found.num_server_gpus), (0.0, 0));
        assert_eq!(found.disk_bytes, BYTES_PER_TOKEN * num_sampled);
        assert_eq!(found.gpu_hours(1), found.hours(1));
        assert_eq!(found.hours(2), found.hours(1) / 2.0);
    }

    #[test]
    fn a_stage_that_plans_share_is_counted_once() {
        let plan = plan(&SPEEDS, None).unwrap();
        let mut counting = Counting::all();
        let mut total = Estimate::default();
        for _ in 0..2 {
            total += plan.estimate(&mut counting, &models(), &BTreeMap::new()).unwrap();
        }
        assert_eq!(total, estimated(&SPEEDS));
        let more = estimated(&[&SPEEDS[..], &["sampling.group-size=8"]].concat());
        assert_eq!(more.local_secs, 2.0 * total.local_secs, "of a larger group, its rollouts");
    }

    #[test]
    fn stored_rollouts_take_no_time() {
        let (_folder, store) = store();
        let plan = plan(&SPEEDS, None).unwrap();
        let demand = plan.rollout_demands().remove(0);
        let mut writer = store.stage(&demand.cell.stages.rollouts).writer();
        for task in &demand.cell.tasks.tasks {
            for index in 0..4 {
                let prompt = task.prompt.id.clone();
                let key = rollout_key(&prompt, index);
                let record = RolloutRecord { prompt, rollout: rollout(index, "a text") };
                writer.append(&key, &record).unwrap();
            }
        }
        let found = plan.estimate(&mut Counting::missing(&store), &models(), &BTreeMap::new());
        assert_eq!(found.unwrap(), Estimate::default());
    }

    const TRAINED: [&str; 8] = [
        "train.kind=grpo",
        "train.steps=3",
        "train.prompts-per-step=2",
        "train.evaluate-every=0",
        "train.lora.rank=1",
        "train.objective.reward-kl=0.0",
        "sampling.temperature=1.0",
        "sampling.stop=[]",
    ];

    #[test]
    fn servers_sample_while_the_trainer_waits() {
        let with = |more: &[&str]| estimated(&[&SPEEDS[..], &TRAINED, more].concat());
        let local = with(&[]);
        let served = with(&[
            "rollouts.server=vllm",
            "rollouts.base-urls=[\"http://a:1\", \"http://b:1\"]",
            "rollouts.weights-dir=w",
            "estimate.served-per-sec=20",
            "estimate.gpus-per-server=2",
        ]);
        // Three steps of two prompts, four rollouts of 5 tokens: of 1000 weights, servers sample 10 per second.
        let num_tokens = f64::from(3 * 2 * 4 * 5);
        assert_eq!(served.served_secs, num_tokens / (10.0 * 2.0));
        assert!((local.local_secs - served.local_secs - num_tokens / 5.0).abs() < 1e-9);
        assert_eq!(served.num_server_gpus, 4);
        assert_eq!(served.gpu_hours(1), 5.0 * served.hours(1));
    }

    #[test]
    fn a_task_has_the_gpus_of_the_launch_table() {
        let settings = [
            "rollouts.server=vllm",
            "rollouts.base-urls=[\"http://a:1\"]",
            "rollouts.weights-dir=w",
            "launch.gpus=8",
            "launch.server=vllm serve m",
            "launch.server-gpus=6",
        ];
        let settings = [&SPEEDS[..], &TRAINED, &settings].concat();
        assert_eq!(estimated(&settings).num_server_gpus, 6);
        assert_eq!(plan(&settings, None).unwrap().num_gpus(), 2);
        assert_eq!(plan(&SPEEDS, None).unwrap().num_gpus(), 1);
    }

    #[test]
    fn a_kl_reference_reads_every_token_once_more() {
        let with = |more: &[&str]| estimated(&[&SPEEDS[..], &TRAINED, more].concat());
        let (without, with_kl) = (with(&[]), with(&["train.objective.reward-kl=0.1"]));
        let plan = plan(&[&SPEEDS[..], &TRAINED].concat(), None).unwrap();
        let num_tokens = 3 * 2 * 4 * (5 + plan.cells()[0].prompt_tokens());
        let more = with_kl.local_secs - without.local_secs;
        assert!((more - num_tokens as f64 / 50.0).abs() < 1e-9, "{more}");
    }

    #[test]
    fn models_of_unknown_size_are_named_and_endpoints_cost_money() {
        let plan = plan(&SPEEDS, None).unwrap();
        let unknown = ScriptedModels::default();
        let found = plan.estimate(&mut Counting::all(), &unknown, &BTreeMap::new()).unwrap();
        assert_eq!((found.local_secs, found.unknown), (0.0, ["policy".to_owned()].into()));
        let speeds = Speed { sampled_per_sec: 4.0, trained_per_sec: 2.0 };
        let measured = [("policy".to_owned(), speeds)].into();
        let found = plan.estimate(&mut Counting::all(), &unknown, &measured).unwrap();
        assert!(found.local_secs > 10.0 && found.unknown.is_empty());
        let remote = ScriptedModels { endpoint: Some("policy"), ..models() };
        let found = plan.estimate(&mut Counting::all(), &remote, &BTreeMap::new()).unwrap();
        assert_eq!((found.local_secs, found.unknown.len()), (0.0, 0));
        // One USD per token, also of rollouts.
        let num_read = 2 * 4 * plan.cells()[0].prompt_tokens();
        assert_eq!(found.endpoints_usd, (2 * 4 * 5 + num_read) as f64);
        assert!(found.unpriced.is_empty());
        let free = ScriptedModels { has_no_price: true, ..remote };
        let found = plan.estimate(&mut Counting::all(), &free, &BTreeMap::new()).unwrap();
        assert_eq!((found.endpoints_usd, found.unpriced), (0.0, ["policy".to_owned()].into()));
    }
}
