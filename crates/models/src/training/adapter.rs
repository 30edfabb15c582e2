//! Adapters as peft writes them: the supported settings, and the modules that they name.
//!
//! Settings that change the base, add other weights or change the formula are rejected by name, and so is
//! every unknown key whose value may matter. The names in the weights file must be exactly those of the
//! modules that the settings name. Source: `check_target_module_exists` and `LoraConfig` of peft 0.21.

use std::collections::BTreeSet;
use std::path::Path;

use fancy_regex::Regex;
use serde_json::{Value, json};

use super::trainable::Trainable;
use crate::decoder::{LoraConfig, WeightMut, ends_with_name};
use crate::format::{JsonFile, NamedTensors, check_finite, read_safetensors};
use crate::{Error, Model};

pub(crate) const ADAPTER: &str = "adapter_model.safetensors";
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Keys that are read below.
const READ: [&str; 8] = [
    "r",
    "lora_alpha",
    "use_rslora",
    "init_lora_weights",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
];
/// Keys that do not affect the output of a trained adapter.
const NOTES: [&str; 10] = [
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];
/// Keys with the values of plain LoRA.
const PLAIN: [(&str, &[&str]); 3] =
    [("peft_type", &["LORA"]), ("task_type", &["CAUSAL_LM"]), ("bias", &["none"])];
/// Initialisations that do not change the base. PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA and MiCA do, or
/// store a part of the adapter elsewhere.
const INITIALISATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

fn unsupported(config: &JsonFile, key: &str, found: &Value, allowed: &str) -> Error {
    Error::Unsupported {
        path: config.path().to_owned(),
        what: format!("`{key}`"),
        found: found.to_string(),
        allowed: allowed.to_owned(),
        hint: "plain LoRA adapters can be read; merge others into their base with peft",
    }
}

/// Rejects settings other than those of plain LoRA.
fn check_settings(config: &JsonFile) -> Result<(), Error> {
    for (key, value) in config.entries() {
        if READ.contains(&key) || NOTES.contains(&key) {
            continue;
        }
        let says_nothing =
            value.is_null() || [json!(false), json!([]), json!({}), json!("")].contains(value);
        match PLAIN.iter().find(|(known, _)| *known == key) {
            Some((_, allowed)) if value.as_str().is_some_and(|text| allowed.contains(&text)) => {}
            Some((_, allowed)) if !value.is_null() => {
                return Err(unsupported(config, key, value, &allowed.join(", ")));
            }
            None if !says_nothing => {
                let allowed = if value.is_boolean() { "false" } else { "null" };
                return Err(unsupported(config, key, value, allowed));
            }
            _ => {}
        }
    }
    let key = "init_lora_weights";
    let is_plain = |value: &Value| match value {
        Value::Bool(_) => true,
        Value::String(name) => INITIALISATIONS.contains(&name.to_lowercase().as_str()),
        _ => false,
    };
    match config.get(key) {
        Some(found) if !is_plain(found) => {
            let allowed = "true, false, \"gaussian\", \"eva\" and \"orthogonal\", which leave the base as it is";
            Err(unsupported(config, key, found, allowed))
        }
        _ if config.text("peft_type")?.is_none() => {
            Err(config.config_error("peft_type", "nothing", "`LORA`"))
        }
        _ => Ok(()),
    }
}

/// Names of modules: a list of their ends, or a regular expression of whole names.
enum ModuleNames {
    Listed(Vec<String>),
    Pattern(Regex),
}

impl ModuleNames {
    /// Reads a key; none if it is missing or empty.
    fn read(config: &JsonFile, key: &str) -> Result<Option<Self>, Error> {
        let expected = "a list of names or a regular expression";
        let wrong = |value: &Value| config.config_error(key, &value.to_string(), expected);
        match config.get(key) {
            None => Ok(None),
            Some(Value::String(pattern)) if pattern.is_empty() => Ok(None),
            Some(Value::String(pattern)) => {
                Ok(Some(Self::Pattern(compile(config, key, &format!(r"\A(?:{pattern})\z"))?)))
            }
            Some(Value::Array(names)) if names.is_empty() => Ok(None),
            Some(value @ Value::Array(names)) => {
                let names = names.iter().map(|name| name.as_str().map(str::to_owned));
                Ok(Some(Self::Listed(names.collect::<Option<_>>().ok_or_else(|| wrong(value))?)))
            }
            Some(value) => Err(wrong(value)),
        }
    }

    fn has(&self, module: &str) -> Result<bool, Box<fancy_regex::Error>> {
        match self {
            Self::Listed(names) => Ok(names.iter().any(|name| ends_with_name(module, name))),
            Self::Pattern(pattern) => Ok(pattern.is_match(module)?),
        }
    }
}

fn compile(config: &JsonFile, key: &str, pattern: &str) -> Result<Regex, Error> {
    Regex::new(pattern).map_err(|error| {
        config.config_error(key, &format!("`{pattern}` ({error})"), "a regular expression")
    })
}

/// The layers that an adapter is restricted to.
struct LayerChoice {
    layers: Vec<usize>,
    /// Expressions that find the index of a layer; none: the first number after two names.
    patterns: Vec<Regex>,
}

impl LayerChoice {
    /// Reads the restriction; none for all layers.
    fn read(config: &JsonFile) -> Result<Option<Self>, Error> {
        let (key, pattern_key) = ("layers_to_transform", "layers_pattern");
        let expected = "a number or a list of numbers";
        let number = |value: &Value| {
            let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| config.config_error(key, &value.to_string(), expected))
        };
        let layers: Vec<usize> = match config.get(key) {
            None => Vec::new(),
            Some(Value::Array(numbers)) => numbers.iter().map(number).collect::<Result<_, _>>()?,
            Some(value) => vec![number(value)?],
        };
        let names: Vec<&Value> = match config.get(pattern_key) {
            None => Vec::new(),
            Some(Value::Array(names)) => names.iter().collect(),
            Some(name) => vec![name],
        };
        let mut patterns = Vec::new();
        for name in names.into_iter().filter(|name| **name != json!("")) {
            let text = name.as_str().ok_or_else(|| {
                config.config_error(pattern_key, &name.to_string(), "a name or a list of names")
            })?;
            let pattern = format!(r"\A(?:|.*?\.){text}\.(?P<layer>\d+)\.");
            patterns.push(compile(config, pattern_key, &pattern)?);
        }
        if layers.is_empty() && !patterns.is_empty() {
            let expected = "the key beside `layers_to_transform` only";
            return Err(config.config_error(pattern_key, "a name", expected));
        }
        Ok((!layers.is_empty()).then_some(Self { layers, patterns }))
    }

    fn has(&self, module: &str) -> Result<bool, Box<fancy_regex::Error>> {
        let mut number = None;
        if self.patterns.is_empty() {
            let parts: Vec<&str> = module.split('.').collect();
            let within = parts.get(2..parts.len().saturating_sub(1)).unwrap_or(&[]);
            number = within.iter().find_map(|part| part.parse().ok());
        }
        for pattern in &self.patterns {
            if number.is_none()
                && let Some(found) = pattern.captures(module)?
            {
                number = found.name("layer").and_then(|layer| layer.as_str().parse().ok());
            }
        }
        Ok(number.is_some_and(|number| self.layers.contains(&number)))
    }
}

/// Chooses the modules of the model that peft would adapt.
fn choose_modules(config: &JsonFile, modules: &[String]) -> Result<BTreeSet<String>, Error> {
    let key = "target_modules";
    let layers = LayerChoice::read(config)?;
    let is_all = config
        .get(key)
        .and_then(Value::as_str)
        .is_some_and(|text| text.eq_ignore_ascii_case("all-linear"));
    let named = ModuleNames::read(config, key)?
        .ok_or_else(|| config.config_error(key, "nothing", "names of modules"))?;
    if layers.is_some() && matches!(named, ModuleNames::Pattern(_)) {
        let expected = "a list of names beside `layers_to_transform`";
        return Err(config.config_error(key, "a regular expression", expected));
    }
    let excluded = ModuleNames::read(config, "exclude_modules")?;
    let is_chosen = |module: &str| -> Result<bool, Box<fancy_regex::Error>> {
        if excluded.as_ref().map_or(Ok(false), |names| names.has(module))? {
            return Ok(false);
        }
        // A whole name is chosen whatever its layer.
        let is_whole =
            matches!(&named, ModuleNames::Listed(names) if names.iter().any(|n| n == module));
        if is_all || is_whole {
            return Ok(true);
        }
        Ok(named.has(module)? && layers.as_ref().map_or(Ok(true), |layers| layers.has(module))?)
    };
    let mut found = BTreeSet::new();
    for module in modules {
        let expected = "an expression that can be matched";
        let error =
            |error: Box<fancy_regex::Error>| config.config_error(key, &error.to_string(), expected);
        if is_chosen(module).map_err(error)? {
            found.insert(module.clone());
        }
    }
    if found.is_empty() {
        let value = config.get(key).map_or_else(String::new, ToString::to_string);
        let expected = format!("modules of the model, such as `{}`", modules[0]);
        return Err(config.config_error(key, &value, &expected));
    }
    Ok(found)
}

/// Shortens the names of which all modules are chosen.
fn shorten_targets(modules: &[String], chosen: &BTreeSet<String>) -> BTreeSet<String> {
    let last = |module: &str| module.rsplit('.').next().unwrap_or(module).to_owned();
    let is_partly = |name: &str| modules.iter().any(|m| last(m) == name && !chosen.contains(m));
    let short = |module: &String| Some(last(module)).filter(|name| !is_partly(name));
    chosen.iter().map(|module| short(module).unwrap_or_else(|| module.clone())).collect()
}

/// Reads the settings of an adapter of a model.
fn read_lora_config(config: &JsonFile, model: &Model) -> Result<LoraConfig, Error> {
    check_settings(config)?;
    let rank = config.integer("r")?.filter(|rank| *rank > 0).ok_or_else(|| {
        let found = config.get("r").map_or_else(|| "nothing".to_owned(), Value::to_string);
        config.config_error("r", &found, "a whole number above 0")
    })?;
    let alpha = config
        .float("lora_alpha")?
        .ok_or_else(|| config.config_error("lora_alpha", "nothing", "a number above 0"))?;
    // rsLoRA divides by the square root of the rank (Kalajdzievski, arXiv 2312.03732).
    let is_rank_stabilised = config.boolean("use_rslora")?.unwrap_or(false);
    let alpha = if is_rank_stabilised { alpha * (rank as f64).sqrt() } else { alpha };
    let mut decoder = model.decoder().clone_box();
    let mut modules = Vec::new();
    for weight in decoder.weights_mut() {
        if let WeightMut::Matrix { parts, .. } = weight {
            let names = parts.into_iter().filter_map(|(name, _)| {
                Some(name.strip_suffix(".weight")?.to_owned())
                    .filter(|name| name.ends_with("_proj"))
            });
            modules.extend(names);
        }
    }
    let targets = shorten_targets(&modules, &choose_modules(config, &modules)?);
    Ok(LoraConfig { rank, alpha: Some(alpha), targets })
}

/// Reads the weights of an adapter and checks that they are finite.
fn read_weights(path: &Path) -> Result<NamedTensors, Error> {
    let check = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
        let values = check_finite(path, &name, values)?;
        Ok((name, (shape, values)))
    };
    read_safetensors(path)?.into_iter().map(check).collect()
}

impl Trainable {
    /// Loads the adapters that peft or [`Self::save_adapter`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for settings other than those of plain LoRA, [`Error::Config`] for targets
    /// that the model lacks, [`Error::Parameters`] if the weights don't belong to the targets,
    /// [`Error::NotFinite`].
    pub fn load_adapter(model: &Model, folder: &Path) -> Result<Self, Error> {
        let file = |name: &str| {
            let path = folder.join(name);
            if path.is_file() {
                return Ok(path);
            }
            let hint = "an adapter is a folder as peft writes it";
            Err(Error::MissingFile { folder: folder.to_owned(), file: name.to_owned(), hint })
        };
        let config = JsonFile::read(&file(ADAPTER_CONFIG)?)?;
        let lora = read_lora_config(&config, model)?;
        let mut this = Self::lora(model, &lora, preceptor_core::Seed::root(0))?;
        this.set_values(read_weights(&file(ADAPTER)?)?)?;
        Ok(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Vec<String> {
        let layer = |number| {
            ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"]
                .map(|part| format!("model.layers.{number}.{part}"))
        };
        [1, 2, 11].into_iter().flat_map(layer).collect()
    }

    /// Returns the modules that a configuration with these keys names, without their common prefix.
    fn names(keys: &Value) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(ADAPTER_CONFIG);
        std::fs::write(&path, keys.to_string()).expect("writes");
        let config = JsonFile::read(&path).expect("JSON");
        let found = choose_modules(&config, &modules()).map_err(|error| error.to_string())?;
        Ok(found.iter().map(|name| name.replace("model.layers.", "")).collect())
    }

    /// Expects the modules that peft 0.21 adapts.
    #[test]
    fn modules_are_named_as_peft_names_them() {
        let q = ["1.self_attn.q_proj", "11.self_attn.q_proj", "2.self_attn.q_proj"];
        for (keys, expected) in [
            (json!({"target_modules": ["q_proj"]}), &q[..]),
            (json!({"target_modules": ["self_attn.q_proj", "lm_head"]}), &q[..]),
            (json!({"target_modules": r".*\.q_proj"}), &q[..]),
            (json!({"target_modules": r"(?!.*mlp).*\.(q|up)_proj"}), &q[..]),
            (json!({"target_modules": ["layers.1.self_attn.q_proj"]}), &q[..1]),
            (json!({"target_modules": ["q_proj"], "layers_to_transform": 2}), &q[2..]),
            (json!({"target_modules": ["q_proj"], "layers_to_transform": [1, 11]}), &q[..2]),
            (
                json!({"target_modules": ["q_proj"], "layers_to_transform": [11], "layers_pattern": "layers"}),
                &q[1..2],
            ),
            (
                json!({"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]}),
                &q[..1],
            ),
            (
                json!({"target_modules": ["model.layers.1.self_attn.q_proj"], "layers_to_transform": [2]}),
                &q[..1],
            ),
            (
                json!({"target_modules": "all-linear", "exclude_modules": ["v_proj", "mlp.up_proj"]}),
                &q[..],
            ),
            (
                json!({"target_modules": "All-Linear", "exclude_modules": r".*\.(v|up)_proj"}),
                &q[..],
            ),
        ] {
            assert_eq!(names(&keys).expect("valid"), expected, "{keys}");
        }
        assert_eq!(names(&json!({"target_modules": "all-linear"})).expect("valid").len(), 9);
    }

    #[test]
    fn names_that_peft_rejects_or_that_match_nothing_are_rejected() {
        for keys in [
            json!({"target_modules": null}),
            json!({"target_modules": "q_proj"}),
            json!({"target_modules": "(q_proj"}),
            json!({"target_modules": [1]}),
            json!({"target_modules": ["proj"]}),
            json!({"target_modules": ["q_proj"], "layers_to_transform": [7]}),
            json!({"target_modules": ["q_proj"], "layers_to_transform": "1"}),
            json!({"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "h"}),
            json!({"target_modules": ["q_proj"], "layers_pattern": "layers"}),
            json!({"target_modules": r".*\.q_proj", "layers_to_transform": [1]}),
            json!({"target_modules": "all-linear", "layers_to_transform": [1]}),
        ] {
            let error = names(&keys).expect_err("rejected");
            assert!(error.contains("target_modules") || error.contains("layers_"), "{error}");
        }
    }

    #[test]
    fn targets_are_short_where_they_can_be() {
        let modules = modules();
        let all: BTreeSet<_> = modules
            .iter()
            .filter(|m| m.ends_with("q_proj") || m.contains(".1.mlp"))
            .cloned()
            .collect();
        let expected = ["model.layers.1.mlp.up_proj", "q_proj"].map(str::to_owned);
        assert_eq!(shorten_targets(&modules, &all), expected.into());
    }
}
