//! The settings that the three self-proposed rubric rewards share.

use preceptor_core::{Calls, GroupShape, OutOfRange};
use serde::{Deserialize, Serialize};

/// Settings of a self-proposed rubric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RubricConfig {
    /// Number of criteria that the anchor is asked for, 1 to 100. Default: 5 (paper: at least 5).
    pub num_criteria: u32,
    /// Fewer make the reply malformed, 1 to `num-criteria`. Default: 3 (our choice: a shorter rubric
    /// gives too few different rewards to rank a group).
    pub min_criteria: u32,
    /// Criteria that count at most, from the first on, `num-criteria` to 100. Default: 20 (our choice).
    pub max_criteria: u32,
    /// Replies that the anchor is asked for at most until one holds a rubric, 1 to 100. Default: 3 (our
    /// choice).
    pub attempts: u32,
    /// True if criteria may also be about form, such as plain words, a clear order or a fitting length;
    /// it acts on the built-in prompts. Default: true where the benchmark scores form (`healthbench`),
    /// else false (our choice).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<bool>,
    /// A prompt of your own with the placeholders `{{count}}` and what the criteria are written from,
    /// `{{reference}}` or `{{question}}`. It must ask for `<criterion>` elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Default for RubricConfig {
    fn default() -> Self {
        Self {
            num_criteria: 5,
            min_criteria: 3,
            max_criteria: 20,
            attempts: 3,
            form: None,
            prompt_text: None,
        }
    }
}

impl RubricConfig {
    /// Fills in what follows from the benchmark.
    pub(crate) fn complete(&mut self, scores_form: bool) {
        if self.form.is_none() && self.prompt_text.is_none() {
            self.form = Some(scores_form);
        }
    }

    /// Returns the line of the built-in prompts about form.
    pub(crate) fn form_line(&self) -> &'static str {
        match self.form {
            Some(true) => {
                "is about content; at most one in five may be about form where that helps the reader, such as plain words, a clear order or a fitting length."
            }
            Some(false) | None => "does not reward length, tone or form.",
        }
    }

    /// Checks the range of every key.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let Self { num_criteria, min_criteria, max_criteria, attempts, .. } = *self;
        let is_allowed = (1..=100).contains(&num_criteria);
        OutOfRange::check("num-criteria", num_criteria, is_allowed, "between 1 and 100")?;
        let is_allowed = (1..=num_criteria).contains(&min_criteria);
        let allowed = "between 1 and `num-criteria`";
        OutOfRange::check("min-criteria", min_criteria, is_allowed, allowed)?;
        let is_allowed = (num_criteria..=100).contains(&max_criteria);
        let allowed = "between `num-criteria` and 100";
        OutOfRange::check("max-criteria", max_criteria, is_allowed, allowed)?;
        let is_allowed = (1..=100).contains(&attempts);
        OutOfRange::check("attempts", attempts, is_allowed, "between 1 and 100")
    }

    /// Returns the calls for one group: one rubric, then each criterion on each rollout.
    pub(crate) fn calls(&self, group: GroupShape) -> Calls {
        Calls { replies: 1, ..Calls::of_judge(u64::from(self.num_criteria), group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let good = RubricConfig::default();
        assert_eq!(good.check(), Ok(()));
        for (config, key) in [
            (RubricConfig { num_criteria: 0, ..good.clone() }, "num-criteria"),
            (RubricConfig { min_criteria: 6, ..good.clone() }, "min-criteria"),
            (RubricConfig { max_criteria: 4, ..good.clone() }, "max-criteria"),
            (RubricConfig { attempts: 0, ..good.clone() }, "attempts"),
        ] {
            assert_eq!(config.check().unwrap_err().key, key);
        }
    }
}
