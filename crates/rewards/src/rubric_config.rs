//! The settings that the three self-proposed rubric rewards share.

use serde::{Deserialize, Serialize};

/// Settings of a self-proposed rubric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// How many criteria the anchor is asked for, 1 to 100. Default: 5 (paper: at least 5).
    pub num_criteria: u32,
    /// Fewer make the reply malformed, 1 to `num-criteria`. Default: 3 (our choice: a shorter rubric
    /// gives too few different rewards to rank a group).
    pub min_criteria: u32,
    /// Of more the first count, `num-criteria` to 100. Default: 20 (our choice).
    pub max_criteria: u32,
    /// Replies that the anchor is asked for at most until one holds a rubric, 1 to 100. Default: 3 (our
    /// choice).
    pub attempts: u32,
    /// A prompt of your own with the places `{{count}}` and what the criteria are written from,
    /// `{{reference}}` or `{{question}}`. It must ask for `<criterion>` elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { num_criteria: 5, min_criteria: 3, max_criteria: 20, attempts: 3, prompt_text: None }
    }
}

impl Config {
    /// The first setting outside its range: key, value, what is allowed.
    pub fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        let Self { num_criteria, min_criteria, max_criteria, attempts, .. } = *self;
        let wrong = |key, value: u32, allowed| Some((key, value.to_string(), allowed));
        if !(1..=100).contains(&num_criteria) {
            return wrong("num-criteria", num_criteria, "1 to 100");
        }
        if !(1..=num_criteria).contains(&min_criteria) {
            return wrong("min-criteria", min_criteria, "1 to `num-criteria`");
        }
        if !(num_criteria..=100).contains(&max_criteria) {
            return wrong("max-criteria", max_criteria, "`num-criteria` to 100");
        }
        if !(1..=100).contains(&attempts) {
            return wrong("attempts", attempts, "1 to 100");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let good = Config::default();
        assert_eq!(good.out_of_range(), None);
        for (config, key) in [
            (Config { num_criteria: 0, ..good.clone() }, "num-criteria"),
            (Config { min_criteria: 6, ..good.clone() }, "min-criteria"),
            (Config { max_criteria: 4, ..good.clone() }, "max-criteria"),
            (Config { attempts: 0, ..good.clone() }, "attempts"),
        ] {
            assert_eq!(config.out_of_range().unwrap().0, key);
        }
    }
}
