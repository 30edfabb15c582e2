//! Servers that sample the rollouts of a training run, with weights that the trainer gives them.
//!
//! The trainer writes the weights of each step as a folder that the servers can read, and each server
//! loads it under a new name ([`RolloutServers::load`]). Prompts and rollouts are token ids in both
//! directions, so no text is tokenized twice. The rollouts of a prompt go to one server, which reads
//! the prompt once. A server that fails is left out, and its rollouts are sampled by the others.
//!
//! ```text
//! trainer --folder--> weights-dir --load--> server 1 .. n
//!    ^                                         |
//!    +--- ids and log-probabilities <--- rollouts of every n-th prompt
//! ```

mod config;
mod protocol;
mod server;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

pub use config::{RolloutServersConfig, ServerKind};
pub use protocol::{ServedRequest, ServedRollout};

use self::protocol::Model;
use self::server::{Refusal, Server};
use crate::halt::Halt;
use crate::spread::spread;
use crate::{Error, Secret};

/// Weights that servers load.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsVersion {
    /// A name that was never used before; a version of an adapter is called by it.
    pub name: String,
    /// The folder: an adapter as peft writes it, or a model as Hugging Face has it.
    pub folder: PathBuf,
    /// True for an adapter of the base model.
    pub is_adapter: bool,
}

/// A rollout to sample.
#[derive(Clone, Debug)]
pub struct ServedJob<'r> {
    /// The index of the prompt, by which jobs are spread over servers.
    pub prompt: usize,
    /// The call.
    pub request: ServedRequest<'r>,
}

/// Servers with the same base model.
#[derive(Debug)]
pub struct RolloutServers {
    config: RolloutServersConfig,
    servers: Vec<Server>,
    /// Name of the base model on each server.
    base_models: Vec<String>,
}

impl RolloutServers {
    /// Finds the servers and their base models. Servers that do not answer are left out.
    ///
    /// # Errors
    ///
    /// [`Error::BadSetting`] as described at [`RolloutServersConfig::validate`];
    /// [`Error::RolloutServer`] if a server refuses the call or does not have the model, or if none
    /// answers.
    pub fn connect(config: &RolloutServersConfig, key: Option<Secret>) -> Result<Self, Error> {
        config.validate()?;
        let servers = config.base_urls.iter().map(|url| Server::new(config, url, key.clone()));
        let servers = servers.collect::<Result<Vec<_>, Error>>()?;
        let mut base_models = Vec::new();
        let mut last = None;
        for server in &servers {
            let models = match server.models() {
                Ok(models) => models,
                Err(refusal) if refusal.is_final() => {
                    return Err(server.error("list models", &refusal, None));
                }
                Err(refusal) => {
                    server.set_down(true);
                    last = Some(server.error("list models", &refusal, None));
                    base_models.push(String::new());
                    continue;
                }
            };
            let base = match &config.model {
                Some(wanted) => models.iter().find(|model| *model == wanted),
                None => models.first(),
            };
            let Some(base) = base else {
                let wanted = config.model.as_deref().unwrap_or("a model");
                return Err(Error::RolloutServer {
                    action: "find the base model".to_owned(),
                    url: server.url.clone(),
                    detail: format!("expected `{wanted}`, found {models:?}"),
                    hint: "name one of them in `rollouts.model`, or leave it out".to_owned(),
                });
            };
            base_models.push(base.clone());
        }
        match last {
            Some(error) if servers.iter().all(|server| !server.is_up()) => Err(error),
            _ => Ok(Self { config: config.clone(), servers, base_models }),
        }
    }

    /// Returns the settings.
    pub fn config(&self) -> &RolloutServersConfig {
        &self.config
    }

    /// Returns the address of a server.
    ///
    /// # Panics
    ///
    /// If there is no server of this index.
    pub fn url(&self, server: usize) -> &str {
        &self.servers[server].url
    }

    /// Returns the addresses of the servers that are left out.
    pub fn down(&self) -> Vec<&str> {
        let down = self.servers.iter().filter(|server| !server.is_up());
        down.map(|server| server.url.as_str()).collect()
    }

    /// Makes every server load `weights`. A server that was left out is tried again.
    ///
    /// # Errors
    ///
    /// [`Error::RolloutServer`] if a server refuses the weights, or if none is left.
    pub fn load(&self, weights: &WeightsVersion) -> Result<(), Error> {
        let mut last = None;
        for server in &self.servers {
            if !server.is_up() && server.models().is_err() {
                continue;
            }
            match load(server, weights) {
                Ok(()) => server.set_down(false),
                Err(refusal) if refusal.is_final() => {
                    return Err(server.error("load weights", &refusal, Some(&weights.folder)));
                }
                Err(refusal) => {
                    server.set_down(true);
                    last = Some(server.error("load weights", &refusal, Some(&weights.folder)));
                }
            }
        }
        if self.servers.iter().any(Server::is_up) {
            return Ok(());
        }
        Err(last.unwrap_or_else(|| self.none_left()))
    }

    /// Makes every server drop an adapter; servers that do not answer are passed over.
    pub fn unload(&self, weights: &WeightsVersion) {
        if weights.is_adapter {
            for server in self.servers.iter().filter(|server| server.is_up()) {
                // One that stays costs the server a slot, and its name is never used again.
                let _ = server.unload_adapter(&weights.name);
            }
        }
    }

    /// Makes every server drop the adapters whose names begin with `prefix`: those that an earlier
    /// process left behind.
    pub fn unload_all(&self, prefix: &str) {
        for server in self.servers.iter().filter(|server| server.is_up()) {
            let models = server.models().unwrap_or_default();
            for name in models.iter().filter(|name| name.starts_with(prefix)) {
                let _ = server.unload_adapter(name);
            }
        }
    }

    /// Samples one rollout on each server that is not left out. Returns each with the server's index.
    ///
    /// # Errors
    ///
    /// [`Error::RolloutServer`] if a server refuses the call, or if none is left.
    pub fn probe(
        &self,
        weights: &WeightsVersion,
        request: &ServedRequest<'_>,
    ) -> Result<Vec<(usize, ServedRollout)>, Error> {
        let (mut found, mut last) = (Vec::new(), None);
        for (index, server) in self.servers.iter().enumerate() {
            if !server.is_up() {
                continue;
            }
            match server.generate(self.model(index, weights), request, &Halt::default()) {
                Ok(rollout) => found.push((index, rollout)),
                Err(refusal) => {
                    let error = server.error("sample a probe", &refusal, None);
                    if refusal.is_final() {
                        return Err(error);
                    }
                    server.set_down(true);
                    last = Some(error);
                }
            }
        }
        if found.is_empty() {
            return Err(last.unwrap_or_else(|| self.none_left()));
        }
        Ok(found)
    }

    /// Samples every job and passes each rollout to `hear`, with the job's index and the server's, as
    /// it ends. If `hear` breaks, no more calls begin.
    ///
    /// # Errors
    ///
    /// [`Error::RolloutServer`] if a server refuses a call for good, or if no server is left. Rollouts
    /// that were heard before stay heard.
    pub fn generate(
        &self,
        weights: &WeightsVersion,
        jobs: &[ServedJob<'_>],
        mut hear: impl FnMut(usize, usize, ServedRollout) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let halt = Halt::default();
        let threads = self.config.concurrency as usize * self.servers.len();
        let mut failure = None;
        let work = |job: &ServedJob<'_>| self.generate_one(weights, job, &halt);
        spread(jobs, threads, &halt, work, |index, sampled| match sampled {
            Ok((server, rollout)) => {
                if hear(index, server, rollout).is_break() {
                    halt.set();
                }
            }
            Err(error) => {
                halt.set();
                failure.get_or_insert(error);
            }
        });
        failure.map_or(Ok(()), Err)
    }

    /// Measures the tokens per second that a server samples with its base model, with `concurrency` rollouts on
    /// each server at once, of at most `num_tokens` each.
    ///
    /// # Errors
    ///
    /// Those of [`Self::generate`].
    pub fn measure(&self, num_tokens: u32) -> Result<f64, Error> {
        let base =
            WeightsVersion { name: String::new(), folder: PathBuf::new(), is_adapter: false };
        // Prompts that differ, so that no cached prefix helps.
        let num_up = self.servers.iter().filter(|server| server.is_up()).count();
        let num_jobs = self.config.concurrency * num_up as u32;
        let prompts: Vec<[u32; 8]> = (0..num_jobs).map(|job| [1 + job % 200; 8]).collect();
        let jobs: Vec<_> = prompts
            .iter()
            .enumerate()
            .map(|(prompt, ids)| ServedJob {
                prompt,
                request: ServedRequest {
                    prompt: ids,
                    seed: prompt as u32,
                    max_new_tokens: num_tokens,
                    temperature: 1.0,
                    end_tokens: &[],
                },
            })
            .collect();
        let mut num_sampled = 0;
        #[expect(clippy::disallowed_methods, reason = "a speed is what is asked")]
        let started = Instant::now();
        self.generate(&base, &jobs, |_, _, rollout| {
            num_sampled += rollout.token_ids.len();
            ControlFlow::Continue(())
        })?;
        let secs = started.elapsed().as_secs_f64();
        // Those that were left out have sampled nothing.
        let num_up = self.servers.iter().filter(|server| server.is_up()).count();
        Ok(num_sampled as f64 / secs / num_up as f64)
    }

    fn generate_one(
        &self,
        weights: &WeightsVersion,
        job: &ServedJob<'_>,
        halt: &Halt,
    ) -> Result<(usize, ServedRollout), Error> {
        let num = self.servers.len();
        let mut last = None;
        for index in (0..num).map(|offset| (job.prompt + offset) % num) {
            let server = &self.servers[index];
            if !server.is_up() {
                continue;
            }
            let model = self.model(index, weights);
            let mut sampled = server.generate(model, &job.request, halt);
            if weights.is_adapter
                && matches!(sampled, Err(Refusal { status: Some(404), .. }))
                && load(server, weights).is_ok()
            {
                // The server was restarted and has lost the adapter.
                sampled = server.generate(model, &job.request, halt);
            }
            match sampled {
                Ok(rollout) => return Ok((index, rollout)),
                Err(refusal) if refusal.is_final() => {
                    return Err(server.error("sample a rollout", &refusal, None));
                }
                Err(refusal) => {
                    server.set_down(true);
                    last = Some(server.error("sample a rollout", &refusal, None));
                }
            }
        }
        Err(last.unwrap_or_else(|| self.none_left()))
    }

    fn model<'w>(&'w self, server: usize, weights: &'w WeightsVersion) -> Model<'w> {
        if weights.is_adapter {
            Model::Adapter(&weights.name)
        } else {
            Model::Base(&self.base_models[server])
        }
    }

    fn none_left(&self) -> Error {
        Error::RolloutServer {
            action: "sample".to_owned(),
            url: self.config.base_urls.join(", "),
            detail: "no server answers".to_owned(),
            hint: "start the servers again, then run the same command: it resumes".to_owned(),
        }
    }
}

fn load(server: &Server, weights: &WeightsVersion) -> Result<(), Refusal> {
    if weights.is_adapter {
        server.load_adapter(&weights.name, &weights.folder)
    } else {
        server.load_weights(&weights.name, &weights.folder)
    }
}
