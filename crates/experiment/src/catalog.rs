//! Every plug-in by name.
//!
//! Adding an aggregator or a benchmark is its file and one line here: from the lists below come the
//! serde enums, `build` and `load`, and the `ALL` tables that help texts and tests walk. Entries
//! that see labels read `oracle` and say `sees labels`.

use preceptor_aggregators::{Majority, Single, majority, single};
use preceptor_answers::GraderProfile;
use preceptor_benchmarks::oracle::{BestOfGroup, best_of_group};
use preceptor_benchmarks::{
    Data, Error as BenchmarkError, TaskSet, aime, amc, arithmetic, gsm8k, jsonl, math500,
};
use preceptor_core::Aggregator;
use serde::{Deserialize, Serialize};

/// One plug-in of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in manifests, tables and docs.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Whether it sees labels: an upper bound, not a method.
    pub sees_labels: bool,
}

/// What an aggregator is built from, beside its settings.
pub(crate) struct AggregatorContext<'a> {
    pub(crate) tasks: &'a TaskSet,
    pub(crate) grader: GraderProfile,
}

macro_rules! aggregators {
    ($($variant:ident($config:ty) = $name:literal, $summary:expr, $sees_labels:literal, $build:expr;)*) => {
        /// The `[aggregator]` table: `kind` and the settings of that kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum AggregatorSettings {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant($config),)*
        }

        impl AggregatorSettings {
            /// Every aggregator there is.
            pub const ALL: &[Entry] =
                &[$(Entry { name: $name, summary: $summary, sees_labels: $sees_labels }),*];

            /// The entry of this one.
            pub fn entry(&self) -> Entry {
                match self {
                    $(Self::$variant(_) =>
                        Entry { name: $name, summary: $summary, sees_labels: $sees_labels },)*
                }
            }

            pub(crate) fn build(&self, context: &AggregatorContext<'_>) -> Box<dyn Aggregator> {
                match self {
                    $(Self::$variant(config) => {
                        let build: fn(&$config, &AggregatorContext<'_>) -> Box<dyn Aggregator> = $build;
                        build(config, context)
                    })*
                }
            }
        }
    };
}

aggregators! {
    Single(single::Config) = "single", single::SUMMARY, false,
        |config, _| Box::new(Single::new(config));
    Majority(majority::Config) = "majority", majority::SUMMARY, false,
        |config, _| Box::new(Majority::new(config));
    Oracle(best_of_group::Config) = "oracle", best_of_group::SUMMARY, true,
        |config, context| Box::new(BestOfGroup::new(config, context.tasks, context.grader));
}

/// Where a benchmark's tasks come from.
enum Source<'a> {
    /// They are generated, or the settings name a file.
    Own,
    /// They are rows of this data set of the registry.
    DataSet(&'a str),
}

macro_rules! benchmarks {
    ($($variant:ident($config:ty) = $name:literal, $summary:expr, $source:expr, $load:expr;)*) => {
        /// The `[benchmark]` table: `kind` and the settings of that kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum BenchmarkSettings {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant($config),)*
        }

        impl BenchmarkSettings {
            /// Every benchmark there is.
            pub const ALL: &[Entry] =
                &[$(Entry { name: $name, summary: $summary, sees_labels: true }),*];

            /// The entry of this one.
            pub fn entry(&self) -> Entry {
                match self {
                    $(Self::$variant(_) =>
                        Entry { name: $name, summary: $summary, sees_labels: true },)*
                }
            }

            /// The data set of the registry that its rows come from, if they do.
            pub fn data_set(&self) -> Option<&str> {
                let source = match self {
                    $(Self::$variant(config) => {
                        let source: fn(&$config) -> Source<'_> = $source;
                        source(config)
                    })*
                };
                match source {
                    Source::Own => None,
                    Source::DataSet(name) => Some(name),
                }
            }

            /// Loads at most `limit` tasks; `data` is there where [`Self::data_set`] asks for it.
            pub(crate) fn load(
                &self,
                data: Option<&Data>,
                limit: Option<usize>,
            ) -> Result<TaskSet, BenchmarkError> {
                match self {
                    $(Self::$variant(config) => {
                        type Load = fn(&$config, Option<&Data>, Option<usize>) -> Result<TaskSet, BenchmarkError>;
                        let load: Load = $load;
                        load(config, data, limit)
                    })*
                }
            }
        }
    };
}

/// The data of a benchmark that has said it needs some.
fn needed(data: Option<&Data>) -> &Data {
    data.expect("benchmarks with a data set are loaded with it")
}

benchmarks! {
    Math500(math500::Config) = "math500", math500::SUMMARY,
        |_| Source::DataSet(math500::DATA_SET),
        |config, data, limit| math500::load(config, needed(data), limit);
    Gsm8k(gsm8k::Config) = "gsm8k", gsm8k::SUMMARY,
        |_| Source::DataSet(gsm8k::DATA_SET),
        |config, data, limit| gsm8k::load(config, needed(data), limit);
    Aime(aime::Config) = "aime", aime::SUMMARY,
        |config| Source::DataSet(aime::data_set(config)),
        |config, data, limit| aime::load(config, needed(data), limit);
    Amc(amc::Config) = "amc", amc::SUMMARY,
        |config| Source::DataSet(amc::data_set(config)),
        |config, data, limit| amc::load(config, needed(data), limit);
    Jsonl(jsonl::Config) = "jsonl", jsonl::SUMMARY,
        |_| Source::Own,
        |config, _, limit| jsonl::load(config, limit);
    Arithmetic(arithmetic::Config) = "arithmetic", arithmetic::SUMMARY,
        |_| Source::Own,
        |config, _, limit| arithmetic::load(config, limit);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check<T>(all: &[Entry])
    where
        T: Serialize + for<'de> Deserialize<'de> + std::fmt::Debug,
    {
        let names: BTreeSet<_> = all.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), all.len(), "names are unique");
        for entry in all {
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(entry.name.chars().all(kebab), "{}", entry.name);
            assert!(entry.summary.len() > 10 && !entry.summary.ends_with('.'), "{}", entry.name);

            let text = format!("kind = \"{}\"\n", entry.name);
            let default: T = toml::from_str(&text).expect("every setting has a default");
            let written = toml::to_string(&default).expect("settings are plain data");
            let again: T = toml::from_str(&written).expect("what is written reads back");
            assert_eq!(format!("{default:?}"), format!("{again:?}"));

            let misspelled = toml::from_str::<T>(&format!("{text}no-such-key = 1\n")).unwrap_err();
            assert!(misspelled.message().contains("no-such-key"), "{misspelled}");
        }
    }

    #[test]
    fn every_aggregator_is_named_described_and_strict() {
        check::<AggregatorSettings>(AggregatorSettings::ALL);
    }

    #[test]
    fn every_benchmark_is_named_described_and_strict() {
        check::<BenchmarkSettings>(BenchmarkSettings::ALL);
    }
}
