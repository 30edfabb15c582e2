//! Rollouts that servers sample with the weights of a training run.
//!
//! Before each step the weights go to a new folder under `rollouts.weights-dir`, the servers load them
//! under a new name, and a probe compares the servers' log-probabilities with the trainer's. So rollouts
//! of other weights are an error, never data.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::{fs, iter, thread};

use preceptor_core::record::RolloutServerRecord;
use preceptor_core::{
    Continuation, FinishReason, GenerationObserver, GenerationRequest, Prompt, Rollout, Sampling,
    ScoreRequest, Scorer, Seed, TokenDistribution, Usage,
};
use preceptor_endpoints::rollout_servers::{
    RolloutServers, RolloutServersConfig, ServedJob, ServedRequest, WeightsVersion,
};
use preceptor_models::{LocalModel, RolloutTrace, Trace, TracedRollout, Trainable};
use preceptor_store::replace_file;

use crate::Error;
use crate::models::host::variable;
use crate::training::phases::Phases;

/// Tokens of a probe.
const PROBE_TOKENS: u32 = 16;
/// Hexadecimal digits of the training run's digest in names.
const NAME_DIGITS: usize = 12;

/// The policy with the sampling of its rollouts.
#[derive(Clone, Copy)]
pub(crate) struct PolicySampling<'p> {
    /// The policy, with the weights that the servers have.
    pub(crate) policy: &'p LocalModel,
    pub(crate) sampling: &'p Sampling,
    /// The record that sampling keeps of each token, if any.
    pub(crate) trace: Option<Trace>,
}

/// The servers of a training run, and the weights that they have.
pub(crate) struct ServedSampler {
    servers: RolloutServers,
    /// Begins every name of this training run's weights.
    prefix: String,
    /// Folder of this training run's weights.
    folder: PathBuf,
    current: Option<WeightsVersion>,
    records: BTreeMap<String, RolloutServerRecord>,
}

impl ServedSampler {
    /// Finds the servers, and has them drop what an earlier process of this training run left there.
    pub(crate) fn connect(config: &RolloutServersConfig, digest: &str) -> Result<Self, Error> {
        let key = config.key(variable)?;
        let servers = RolloutServers::connect(config, key)?;
        let prefix = format!("preceptor-{}", &digest[..NAME_DIGITS]);
        servers.unload_all(&prefix);
        let folder = std::path::absolute(&config.weights_dir);
        let folder = folder.map_err(|source| write_error(&config.weights_dir, source))?;
        let folder = folder.join(&prefix);
        // Only one process at a time works on a training run, so these weights are a killed one's.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { servers, prefix, folder, current: None, records: BTreeMap::new() })
    }

    /// Returns a name that no process used before: a number that is stored before it is used.
    fn new_name(&self) -> Result<String, Error> {
        let path = self.folder.join("next-version");
        let failed = |source| write_error(&path, source);
        let number: u64 = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(source) => return Err(failed(source)),
        };
        let write =
            |temporary: &Path| fs::write(temporary, format!("{}\n", number + 1)).map_err(failed);
        replace_file(&path, write, failed)?;
        Ok(format!("{}-v{number:06}", self.prefix))
    }

    /// Gives the servers the weights of `trainable`, which `policy` has too, and checks that they have
    /// them with a probe after `prompt`.
    pub(crate) fn publish(
        &mut self,
        trainable: &Trainable,
        policy: &LocalModel,
        prompt: &Prompt,
        sampling: &Sampling,
    ) -> Result<(), Error> {
        let name = self.new_name()?;
        let folder = self.folder.join(&name);
        let is_adapter = trainable.lora_config().is_some();
        if is_adapter {
            trainable.save_adapter(&folder, "the base model of the servers")?;
        } else {
            policy.model().save(&folder)?;
        }
        let weights = WeightsVersion { name, folder, is_adapter };
        // Kept also if a server refuses it, so that its folder is removed at the end.
        let before = self.current.replace(weights.clone());
        self.servers.load(&weights)?;
        self.records = self.check(&weights, policy, prompt, sampling)?;
        if let Some(before) = before {
            self.servers.unload(&before);
            let _ = fs::remove_dir_all(&before.folder);
        }
        Ok(())
    }

    /// Compares the log-probabilities of a probe on every server with the trainer's.
    fn check(
        &self,
        weights: &WeightsVersion,
        policy: &LocalModel,
        prompt: &Prompt,
        sampling: &Sampling,
    ) -> Result<BTreeMap<String, RolloutServerRecord>, Error> {
        let ids = policy.model().prompt_tokens(prompt)?;
        let request = ServedRequest {
            prompt: &ids,
            seed: Seed::root(0).derive("probe").to_u31(),
            max_new_tokens: PROBE_TOKENS,
            temperature: sampling.temperature,
            end_tokens: &end_tokens(policy),
        };
        let first = self.servers.probe(weights, &request)?;
        let second = self.servers.probe(weights, &request)?;
        let mut records = BTreeMap::new();
        for (server, rollout) in first {
            let gap = |temperature| -> Result<f64, Error> {
                let ours = score(policy, prompt, &rollout.token_ids, temperature)?;
                let pairs = rollout.logprobs.iter().zip(&ours);
                let sum: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum();
                Ok(sum / ours.len() as f64)
            };
            let url = self.servers.url(server).to_owned();
            let (found, plain) = (gap(sampling.temperature)?, gap(1.0)?);
            let most = self.servers.config().max_logprob_gap;
            if plain < found && plain <= most {
                return Err(Error::RawLogprobs { url, temperature: sampling.temperature });
            }
            if found > most {
                let version = weights.name.clone();
                return Err(Error::OtherWeights { url, version, gap: found, most });
            }
            let repeats = second.contains(&(server, rollout));
            let record = RolloutServerRecord {
                weights: weights.name.clone(),
                logprob_gap: found,
                repeats,
                ..RolloutServerRecord::default()
            };
            records.insert(url, record);
        }
        Ok(records)
    }

    /// Samples the rollouts of a step. Passes the groups that are whole to `ready`, with their indices, while
    /// the others are sampled.
    pub(crate) fn sample(
        &mut self,
        requests: &[GenerationRequest],
        PolicySampling { policy, sampling, trace }: PolicySampling<'_>,
        observer: &mut dyn GenerationObserver,
        phases: &mut Phases,
        mut ready: impl FnMut(Vec<(usize, Vec<TracedRollout>)>, &mut Phases) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let model = policy.model();
        let weights = self.current.as_ref().expect("weights are published before a step");
        let prompts = requests.iter().map(|request| model.prompt_tokens(&request.prompt));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let end_tokens = end_tokens(policy);
        let mut groups: Vec<Vec<TracedRollout>> = requests.iter().map(|_| Vec::new()).collect();
        let (mut jobs, mut indices) = (Vec::new(), Vec::new());
        for (prompt, (request, ids)) in requests.iter().zip(&prompts).enumerate() {
            let room = model.context_length().saturating_sub(ids.len());
            let max_new_tokens =
                sampling.max_new_tokens.min(u32::try_from(room).unwrap_or(u32::MAX));
            for rollout in &request.rollouts {
                if max_new_tokens == 0 {
                    groups[prompt]
                        .push((too_long(rollout.index, ids.len()), RolloutTrace::default()));
                    continue;
                }
                indices.push((prompt, rollout.index));
                let seed = rollout.seed.to_u31();
                let temperature = sampling.temperature;
                let request = ServedRequest {
                    prompt: ids,
                    seed,
                    max_new_tokens,
                    temperature,
                    end_tokens: &end_tokens,
                };
                jobs.push(ServedJob { prompt, request });
            }
        }
        let is_whole = |prompt: usize, group: &[_]| group.len() == requests[prompt].rollouts.len();
        let take = |prompt: usize, groups: &mut Vec<Vec<TracedRollout>>| {
            let mut group = std::mem::take(&mut groups[prompt]);
            group.sort_by_key(|(rollout, _)| rollout.index);
            (prompt, group)
        };
        // Prompts that fill the context have no job.
        let full = (0..requests.len()).filter(|prompt| is_whole(*prompt, &groups[*prompt]));
        let full: Vec<_> = full.collect();
        let full: Vec<_> = full.into_iter().map(|prompt| take(prompt, &mut groups)).collect();
        if !full.is_empty() {
            ready(full, phases)?;
        }

        let (servers, records) = (&self.servers, &mut self.records);
        let started = phases.now();
        let mut ends: BTreeMap<usize, f64> = BTreeMap::new();
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let jobs = &jobs;
            let sampling_thread = scope.spawn(move || {
                servers.generate(weights, jobs, |job, server, rollout| {
                    match sender.send((job, server, rollout)) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    }
                })
            });
            // Dropped at an error, so that no more calls begin.
            let receiver = receiver;
            while let Ok(first) = phases.wait("rollouts", || receiver.recv()) {
                let mut whole = Vec::new();
                for (job, server, rollout) in iter::once(first).chain(receiver.try_iter()) {
                    let (prompt, index) = indices[job];
                    // Each call reads its prompt again.
                    observer.on_tokens(Usage {
                        num_prompt_tokens: prompts[prompt].len() as u64,
                        num_generated_tokens: rollout.token_ids.len() as u64,
                    });
                    let record = records.entry(servers.url(server).to_owned()).or_default();
                    record.num_rollouts += 1;
                    record.num_tokens += rollout.token_ids.len() as u64;
                    ends.insert(server, phases.now());
                    let num_prompt_tokens = prompts[prompt].len();
                    let most = jobs[job].request.max_new_tokens;
                    let bounded = Sampling { max_new_tokens: most, ..sampling.clone() };
                    let (ids, logprobs) = (rollout.token_ids, rollout.logprobs);
                    let replayed = phases.time("replay", || {
                        let replayed =
                            model.replay(index, ids, logprobs, num_prompt_tokens, &bounded)?;
                        traced(policy, &requests[prompt].prompt, replayed, trace)
                    });
                    groups[prompt].push(replayed?);
                    if is_whole(prompt, &groups[prompt]) {
                        whole.push(take(prompt, &mut groups));
                    }
                }
                if !whole.is_empty() {
                    ready(whole, phases)?;
                }
            }
            let sampled = sampling_thread.join();
            sampled.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(Error::from)
        })?;
        for (server, end) in ends {
            phases.add(self.servers.url(server), "rollouts", started, end);
        }
        // A server that was restarted has the base model again, under the same name.
        if let (false, Some(first)) = (weights.is_adapter, requests.first()) {
            self.check(weights, policy, &first.prompt, sampling)?;
        }
        Ok(())
    }

    /// Returns what the servers did since the weights were published.
    pub(crate) fn records(&self) -> &BTreeMap<String, RolloutServerRecord> {
        &self.records
    }

    /// Returns the addresses of the servers that are left out.
    pub(crate) fn down(&self) -> Vec<&str> {
        self.servers.down()
    }
}

impl Drop for ServedSampler {
    fn drop(&mut self) {
        if let Some(weights) = self.current.take() {
            self.servers.unload(&weights);
            let _ = fs::remove_dir_all(&weights.folder);
        }
    }
}

/// Adds the record of its tokens to a rollout, whose log-probabilities are those of the server.
fn traced(
    policy: &LocalModel,
    prompt: &Prompt,
    rollout: Rollout,
    trace: Option<Trace>,
) -> Result<TracedRollout, Error> {
    if trace.is_none() {
        return Ok((rollout, RolloutTrace::default()));
    }
    // The server's are at the sampling temperature; a rollout's own are at 1.
    let plain = score(policy, prompt, &rollout.token_ids, 1.0)?;
    let trace = RolloutTrace {
        kept_mass: vec![1.0; plain.len()],
        kept: Vec::new(),
        logprobs: rollout.logprobs,
    };
    Ok((Rollout { logprobs: plain, ..rollout }, trace))
}

fn end_tokens(policy: &LocalModel) -> Vec<u32> {
    policy.model().end_tokens().iter().copied().collect()
}

/// Returns the trainer's log-probabilities of `tokens` after `prompt`.
fn score(
    policy: &LocalModel,
    prompt: &Prompt,
    tokens: &[u32],
    temperature: f64,
) -> Result<Vec<f32>, Error> {
    let continuation = Continuation::Tokens(tokens.to_vec());
    let request = ScoreRequest { prompt: prompt.clone(), continuation };
    let distribution = TokenDistribution { temperature, kept: None };
    let mut scores = policy.score_under(&[request], &[distribution])?;
    Ok(scores.remove(0).logprobs)
}

/// Returns the rollout of a prompt that fills the context.
fn too_long(index: u32, num_prompt_tokens: usize) -> Rollout {
    Rollout {
        index,
        text: String::new(),
        token_ids: Vec::new(),
        logprobs: Vec::new(),
        finish: FinishReason::PromptTooLong,
        num_prompt_tokens: u32::try_from(num_prompt_tokens).unwrap_or(u32::MAX),
        reported_tokens: None,
    }
}

fn write_error(path: &Path, source: std::io::Error) -> Error {
    Error::Store(preceptor_store::Error::Write { path: path.to_owned(), source })
}
