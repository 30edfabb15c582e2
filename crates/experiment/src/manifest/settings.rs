//! Tables of a manifest that configure no component.

use preceptor_benchmarks::{Grader, pocket_rules};
use preceptor_core::{OutOfRange, Sampling, Thinking};
use preceptor_files::SamplingDefaults;
use serde::{Deserialize, Serialize};

/// The `[policy]` table: the model that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicySettings {
    /// Name of a registered model, or the path of a Hugging Face folder or GGUF file.
    pub model: String,
    /// `on` has the model think before it answers; its chat template needs a switch for it. Thoughts are
    /// stored and counted in tokens; no other model is shown them. Default: `off` (paper).
    #[serde(default, skip_serializing_if = "Thinking::is_off")]
    pub thinking: Thinking,
}

/// The `[sampling]` table. Missing keys come from the model's registry entry (temperature,
/// top-k, top-p, min-p), the benchmark (stop) or the defaults of [`Sampling`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SamplingSettings {
    /// Rollouts in a group, 1 to 4096. Default: 8 (paper).
    pub group_size: Option<u32>,
    /// Divisor of the logits, 0 to 100; 0 takes the most likely token.
    pub temperature: Option<f64>,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keeps the most likely tokens up to this probability, above 0 to 1.
    pub top_p: Option<f64>,
    /// Keeps tokens at least this fraction as likely as the most likely one, 0 to 1.
    pub min_p: Option<f64>,
    /// Tokens after which a rollout is cut off, 1 to 1000000.
    pub max_new_tokens: Option<u32>,
    /// Strings that end a rollout.
    pub stop: Option<Vec<String>>,
}

/// Rollouts in a group by default (paper, section 4).
const DEFAULT_GROUP_SIZE: u32 = 8;

impl SamplingSettings {
    /// Returns the group size and sampling with every value explicit; an error names key and allowed range.
    pub(crate) fn resolve(
        &self,
        model: SamplingDefaults,
        stop: &[String],
    ) -> Result<(u32, Sampling), OutOfRange> {
        let default = Sampling::default();
        let sampling = Sampling {
            temperature: self.temperature.or(model.temperature).unwrap_or(default.temperature),
            top_k: self.top_k.or(model.top_k).unwrap_or(default.top_k),
            top_p: self.top_p.or(model.top_p).unwrap_or(default.top_p),
            min_p: self.min_p.or(model.min_p).unwrap_or(default.min_p),
            max_new_tokens: self.max_new_tokens.unwrap_or(default.max_new_tokens),
            stop: self.stop.clone().unwrap_or_else(|| stop.to_vec()),
        };
        let group_size = self.group_size.unwrap_or(DEFAULT_GROUP_SIZE);
        let is_allowed = (1..=4096).contains(&group_size);
        OutOfRange::check("group-size", group_size, is_allowed, "between 1 and 4096")?;
        check_sampling(&sampling)?;
        let is_allowed = !sampling.stop.iter().any(String::is_empty);
        OutOfRange::check("stop", "\"\"", is_allowed, "strings that are not empty")?;
        Ok((group_size, sampling))
    }
}

/// The `[grader]` table: how final answers are compared with labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct GraderSettings {
    /// The profile. Default: the benchmark's own.
    pub profile: Option<Grader>,
}

/// The `[anchor]` table: the frozen initial policy, which writes syntheses and rubrics. A key that is
/// missing is as in the policy's sampling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AnchorSettings {
    /// Name of a registered model or endpoint, or a path. Default: the policy (paper).
    pub model: Option<String>,
    /// Divisor of the logits, 0 to 100; 0 takes the most likely token.
    pub temperature: Option<f64>,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keeps the most likely tokens up to this probability, above 0 to 1.
    pub top_p: Option<f64>,
    /// Keeps tokens at least this fraction as likely as the most likely one, 0 to 1.
    pub min_p: Option<f64>,
    /// Tokens after which a reply is cut off, 1 to 1000000.
    pub max_new_tokens: Option<u32>,
}

impl AnchorSettings {
    /// Returns the anchor's sampling, given the policy's. Stop strings belong to the policy's prompts.
    pub(crate) fn resolve(&self, policy: &Sampling) -> Result<Sampling, OutOfRange> {
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(policy.temperature),
            top_k: self.top_k.unwrap_or(policy.top_k),
            top_p: self.top_p.unwrap_or(policy.top_p),
            min_p: self.min_p.unwrap_or(policy.min_p),
            max_new_tokens: self.max_new_tokens.unwrap_or(policy.max_new_tokens),
            stop: Vec::new(),
        };
        check_sampling(&sampling)?;
        Ok(sampling)
    }
}

/// The `[eval-judge]` table: the judge of the benchmark's own criteria.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EvalJudgeSettings {
    /// Name of a registered model or endpoint, or a path. Required where a benchmark is graded by a
    /// judge, unless `rules` are.
    pub model: String,
    /// The rule-based judge of the synthetic benchmarks, which replaces a model: `{ error-rate = 0.0 }` or `{}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<pocket_rules::Config>,
    /// Divides the logits, 0 to 100. Default: 0.5 (upstream's grader).
    pub temperature: f64,
    /// Tokens after which a reply is cut off, 1 to 1000000. Default: 2048 (upstream).
    pub max_new_tokens: u32,
    /// Replies requested before a verdict counts as failed, 1 to 100. Default: 3 (our choice;
    /// upstream retries forever).
    pub attempts: u32,
    /// Your own grader prompt with the placeholders `<<conversation>>` and `<<rubric_item>>`, as
    /// upstream writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Default for EvalJudgeSettings {
    fn default() -> Self {
        Self {
            model: String::new(),
            rules: None,
            temperature: 0.5,
            max_new_tokens: 2048,
            attempts: 3,
            prompt_text: None,
        }
    }
}

impl EvalJudgeSettings {
    /// Returns the sampling of its replies.
    pub(crate) fn sampling(&self) -> Result<Sampling, OutOfRange> {
        let (temperature, max_new_tokens) = (self.temperature, self.max_new_tokens);
        let sampling = Sampling { temperature, max_new_tokens, ..Sampling::default() };
        check_sampling(&sampling)?;
        let is_allowed = (1..=100).contains(&self.attempts);
        OutOfRange::check("attempts", self.attempts, is_allowed, "between 1 and 100")?;
        Ok(sampling)
    }
}

fn check_sampling(sampling: &Sampling) -> Result<(), OutOfRange> {
    let Sampling { temperature, top_p, min_p, max_new_tokens, .. } = *sampling;
    let is_allowed = (0.0..=100.0).contains(&temperature);
    OutOfRange::check("temperature", temperature, is_allowed, "between 0 and 100")?;
    OutOfRange::check("top-p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
    OutOfRange::check("min-p", min_p, (0.0..=1.0).contains(&min_p), "between 0 and 1")?;
    let is_allowed = (1..=1_000_000).contains(&max_new_tokens);
    OutOfRange::check("max-new-tokens", max_new_tokens, is_allowed, "between 1 and 1000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_that_of_the_model_or_the_benchmark_and_then_the_default() {
        let stop = ["\n".to_owned()];
        let settings = SamplingSettings { top_k: Some(7), ..SamplingSettings::default() };
        let model = SamplingDefaults {
            temperature: Some(0.6),
            top_k: Some(20),
            ..SamplingDefaults::default()
        };
        let (group_size, sampling) = settings.resolve(model, &stop).unwrap();
        let expected =
            Sampling { temperature: 0.6, top_k: 7, stop: stop.to_vec(), ..Sampling::default() };
        assert_eq!((group_size, sampling), (8, expected));
    }

    #[test]
    fn the_anchor_samples_as_the_policy_does_but_without_its_stop_strings() {
        let policy =
            Sampling { temperature: 0.6, stop: vec!["\n".to_owned()], ..Sampling::default() };
        let own = AnchorSettings { max_new_tokens: Some(9), ..AnchorSettings::default() };
        let expected = Sampling { temperature: 0.6, max_new_tokens: 9, ..Sampling::default() };
        assert_eq!(own.resolve(&policy).unwrap(), expected);
    }

    #[test]
    fn values_out_of_range_are_named_with_their_key() {
        let refused = |text: &str| {
            let settings: SamplingSettings = toml::from_str(text).unwrap();
            let error = settings.resolve(SamplingDefaults::default(), &[]).unwrap_err();
            format!("{} = {}: must be {}", error.key, error.value, error.allowed)
        };
        let messages = [
            "group-size = 0",
            "group-size = 4097",
            "temperature = -0.1",
            "top-p = 0.0",
            "min-p = 1.5",
            "max-new-tokens = 0",
            "stop = [\"a\", \"\"]",
        ];
        insta::assert_snapshot!(messages.map(refused).join("\n"), @r#"
        group-size = 0: must be between 1 and 4096
        group-size = 4097: must be between 1 and 4096
        temperature = -0.1: must be between 0 and 100
        top-p = 0: must be above 0 and at most 1
        min-p = 1.5: must be between 0 and 1
        max-new-tokens = 0: must be between 1 and 1000000
        stop = "": must be strings that are not empty
        "#);
        for (attempts, is_allowed) in [(0, false), (1, true), (100, true), (101, false)] {
            let settings = EvalJudgeSettings { attempts, ..EvalJudgeSettings::default() };
            assert_eq!(settings.sampling().is_ok(), is_allowed, "{attempts}");
        }
    }
}
