//! Export of models as Hugging Face folders and of adapters as peft folders, in single precision.
//!
//! A folder is written under a temporary name beside its path and renamed when it is complete. Existing
//! folders are never overwritten.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, View};
use serde_json::{Value, json};

use preceptor_core::Digest;

use super::adapter::{ADAPTER, ADAPTER_CONFIG};
use super::trainable::{Parameter, Trainable};
use crate::format::JsonFile;
use crate::{Error, Model};

struct Numbers {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Numbers {
    fn new(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { shape, bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect() }
    }
}

impl View for Numbers {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes named tensors as a safetensors file.
///
/// # Errors
///
/// [`Error::Write`].
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<(), Error> {
    let views: BTreeMap<&str, Numbers> = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, Numbers::new(shape.to_vec(), values)))
        .collect();
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| Error::Write {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })
}

/// A folder that appears under its name when it is complete.
struct NewFolder {
    partial: PathBuf,
    path: PathBuf,
}

impl NewFolder {
    fn begin(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Write { path: path.to_owned(), source };
        if path.exists() {
            return Err(error(std::io::Error::other("it already exists; choose another path")));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = path.with_file_name(name);
        fs::create_dir_all(&partial).map_err(error)?;
        Ok(Self { partial, path: path.to_owned() })
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        let path = self.partial.join(file);
        fs::write(&path, text).map_err(|source| Error::Write { path, source })
    }

    fn write_json(&self, file: &str, value: &Value) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).expect("values are valid JSON");
        self.write(file, &format!("{text}\n"))
    }

    fn write_parameters(&self, file: &str, parameters: &[Parameter]) -> Result<(), Error> {
        let tensors = parameters.iter().map(|p| (&*p.name, &*p.shape, &*p.values));
        write_safetensors(&self.partial.join(file), tensors)
    }

    /// Renames the folder once its files are on the disk, so that a reader on another machine finds
    /// them whole or not at all.
    fn finish(self) -> Result<(), Error> {
        let sync_and_rename = || {
            for entry in fs::read_dir(&self.partial)? {
                File::open(entry?.path())?.sync_all()?;
            }
            fs::rename(&self.partial, &self.path)
        };
        sync_and_rename().map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Removes a partial folder; after a success there is nothing to remove.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

impl Model {
    /// Returns the base model of the adapter in `folder`, as peft names it; none if there is no adapter.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a configuration that names no base model.
    pub fn base_of_adapter(folder: &Path) -> Result<Option<String>, Error> {
        let path = folder.join(ADAPTER_CONFIG);
        if !path.is_file() {
            return Ok(None);
        }
        let config = JsonFile::read(&path)?;
        let key = "base_model_name_or_path";
        let base = config.text(key)?.filter(|base| !base.is_empty());
        let base = base.ok_or_else(|| config.config_error(key, "nothing", "a name or a path"))?;
        Ok(Some(base.to_owned()))
    }

    /// Adds the adapter in `folder` to the weights.
    ///
    /// # Errors
    ///
    /// See [`Trainable::load_adapter`].
    pub fn merge_adapter(&mut self, folder: &Path) -> Result<(), Error> {
        let replicas = Trainable::load_adapter(self, folder)?.merged();
        let mut parts = vec![self.identity().weights.as_str().as_bytes().to_vec()];
        for file in [ADAPTER_CONFIG, ADAPTER] {
            let path = folder.join(file);
            parts.push(fs::read(&path).map_err(|source| Error::Read { path, source })?);
        }
        self.set_replicas(replicas, Digest::of_parts(parts.iter().map(Vec::as_slice)));
        Ok(())
    }

    /// Writes the model as a Hugging Face folder, which transformers and [`Model::load`] read.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], also for a folder that exists; [`Error::Unsupported`] for a configuration that
    /// `config.json` can't express.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        let config = self.decoder().hf_config().ok_or_else(|| Error::Unsupported {
            path: self.path().to_owned(),
            what: "exporting a rope scaling of".to_owned(),
            found: "one divisor per frequency".to_owned(),
            allowed: "scalings with a name".to_owned(),
            hint: "load the model from a Hugging Face folder instead of a GGUF file",
        })?;
        let new = NewFolder::begin(folder)?;
        let end_tokens: Vec<u32> = self.end_tokens().iter().copied().collect();
        new.write_json("config.json", &with_key(config, "eos_token_id", json!(end_tokens)))?;
        new.write_json("generation_config.json", &json!({ "eos_token_id": end_tokens }))?;
        new.write("tokenizer.json", &self.tokenizer().to_json()?)?;
        let mut settings = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        if let Some(template) = self.template() {
            new.write("chat_template.jinja", template.source())?;
            for (key, token) in ["bos_token", "eos_token"].into_iter().zip(template.bos_and_eos()) {
                if let Some(token) = token {
                    settings[key] = json!(token);
                }
            }
        }
        new.write_json("tokenizer_config.json", &settings)?;

        new.write_parameters("model.safetensors", Trainable::full(self).parameters())?;
        new.finish()
    }
}

fn with_key(mut table: Value, key: &str, value: Value) -> Value {
    table[key] = value;
    table
}

impl Trainable {
    /// Writes the adapters as peft does. `base` is the name of their base model.
    ///
    /// # Errors
    ///
    /// [`Error::Lora`] if there are no adapters, [`Error::Write`].
    pub fn save_adapter(&self, folder: &Path, base: &str) -> Result<(), Error> {
        let lora = self.lora_config().ok_or_else(|| Error::Lora {
            key: "rank".to_owned(),
            found: "missing: all weights are trained".to_owned(),
            expected: "adapters".to_owned(),
        })?;
        let new = NewFolder::begin(folder)?;
        new.write_json(
            ADAPTER_CONFIG,
            &json!({
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": base,
                "r": lora.rank,
                "lora_alpha": lora.alpha(),
                "lora_dropout": 0.0,
                "target_modules": lora.targets,
                "bias": "none",
                "fan_in_fan_out": false,
                "inference_mode": true,
                "use_rslora": false,
                "use_dora": false,
            }),
        )?;
        new.write_parameters(ADAPTER, self.parameters())?;
        new.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_when_it_is_complete() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let path = parent.path().join("model");
        let new = NewFolder::begin(&path).expect("begins");
        new.write("a.txt", "a").expect("writes");
        assert!(!path.exists());
        new.finish().expect("renames");
        assert_eq!(fs::read_to_string(path.join("a.txt")).expect("reads"), "a");
        assert!(NewFolder::begin(&path).is_err(), "existing folders are not overwritten");
    }

    #[test]
    fn an_incomplete_folder_is_removed() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let new = NewFolder::begin(&parent.path().join("model")).expect("begins");
        new.write("a.txt", "a").expect("writes");
        drop(new);
        assert_eq!(fs::read_dir(parent.path()).expect("lists").count(), 0);
    }
}
