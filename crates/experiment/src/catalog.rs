//! Every component by name.
//!
//! Adding an aggregator, a reward, a judge, an objective or a benchmark takes its file and one line
//! here. The settings type in that file says everything about the component
//! ([`preceptor_core::Settings`]); the lists below make of it the serde enums of the manifest, `build`,
//! and the `ALL` tables that help texts, documents and tests walk.

use preceptor_aggregators as aggregators;
use preceptor_answers::GraderProfile;
use preceptor_benchmarks::{
    self as benchmarks, Benchmark, Data, Error as BenchmarkError, Grader, TaskSet, oracle,
};
use preceptor_core::{
    Aggregator, Calls, CellFacts, Digest, GroupShape, Judge, LanguageModel, ModelIdentity, Needs,
    OutOfRange, PromptError, RewardDeriver, Sampling, Settings,
};
use preceptor_judges::{self as judges, JudgeConfig};
use preceptor_rewards::{self as rewards, Form, RubricConfig, RubricReward};
use preceptor_text::TemplateError;
use preceptor_trainer::{Objective, objective};
use serde::{Deserialize, Serialize};

/// Component of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in manifests, tables and documents.
    pub name: &'static str,
    /// Summary of one line.
    pub summary: &'static str,
    /// Inputs besides the rollouts.
    pub needs: Needs,
}

impl Entry {
    const fn of<T: Settings>() -> Self {
        Self { name: T::NAME, summary: T::SUMMARY, needs: T::NEEDS }
    }
}

/// A model with the sampling of its role.
#[derive(Clone, Copy)]
pub(crate) struct Anchor<'a> {
    pub(crate) model: &'a dyn LanguageModel,
    pub(crate) sampling: &'a Sampling,
}

/// Everything that aggregators and rewards can be built from, beside their settings.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tasks: Option<&'a TaskSet>,
    pub(crate) grader: Grader,
    pub(crate) policy: Option<&'a dyn LanguageModel>,
    pub(crate) anchor: Option<Anchor<'a>>,
    pub(crate) judge: Option<&'a dyn Judge>,
}

impl<'a> Context<'a> {
    /// Returns the part of it that a component with these needs may see.
    pub(crate) fn restricted_to(&self, needs: Needs) -> Self {
        Self {
            tasks: self.tasks.filter(|_| needs.labels),
            grader: self.grader,
            policy: self.policy.filter(|_| needs.policy),
            anchor: self.anchor.filter(|_| needs.anchor),
            judge: self.judge.filter(|_| needs.judge),
        }
    }

    fn tasks(&self) -> &'a TaskSet {
        self.tasks.expect("a component that sees labels declares it in its needs")
    }

    fn policy(&self) -> &'a dyn LanguageModel {
        self.policy.expect("a component that asks the policy declares it in its needs")
    }

    fn anchor(&self) -> Anchor<'a> {
        self.anchor.expect("a component that asks the anchor declares it in its needs")
    }

    fn judge(&self) -> &'a dyn Judge {
        self.judge.expect("a component that asks a judge declares it in its needs")
    }

    /// Returns how final answers are compared.
    fn profile(&self) -> GraderProfile {
        self.grader.profile().expect("a plan refuses the component where there are no answers")
    }
}

/// Declares the serde enum of a list of settings. `$each!(settings, config => body)` then evaluates
/// `body` with the settings of the variant that is there.
macro_rules! components {
    (
        $(#[$doc:meta])* $list:ident, $d:tt $each:ident;
        $($variant:ident: $config:ty;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum $list {
            $(#[doc = concat!("Settings of ", stringify!($config), ".")] $variant($config),)*
        }

        macro_rules! $each {
            ($d settings:expr, $d name:ident => $d body:expr) => {
                match $d settings { $($list::$variant($d name) => $d body,)* }
            };
        }

        impl $list {
            /// Every entry of the list.
            pub const ALL: &[Entry] = &[$(Entry::of::<$config>()),*];

            /// Returns the entry of these settings.
            pub fn entry(&self) -> Entry {
                match self { $(Self::$variant(_) => Entry::of::<$config>(),)* }
            }

            /// Checks the range of every key.
            pub(crate) fn check(&self) -> Result<(), OutOfRange> {
                $each!(self, config => config.check())
            }
        }
    };
    (
        $(#[$doc:meta])* $list:ident, $d:tt $each:ident;
        build<$life:lifetime>($settings:ident, $input:ident: $input_type:ty) -> $built:ty;
        $($variant:ident: $config:ty => $build:expr;)*
    ) => {
        components! { $(#[$doc])* $list, $d $each; $($variant: $config;)* }

        impl $list {
            /// Builds the component.
            pub(crate) fn build<$life>(
                &$life self,
                $input: $input_type,
            ) -> Result<Box<$built>, TemplateError> {
                Ok(match self { $(Self::$variant($settings) => Box::new($build),)* })
            }
        }
    };
}

components! {
    /// The `[aggregator]` table: `kind` and the settings of that kind.
    AggregatorSettings, $ each_aggregator;
    build<'a>(config, context: &Context<'a>) -> dyn Aggregator + 'a;
    Single: aggregators::single::Config => aggregators::Single::new(config);
    Majority: aggregators::majority::Config => aggregators::Majority::new(config);
    WeightedMajority: aggregators::weighted_majority::Config => aggregators::WeightedMajority::new(config);
    MinPpl: aggregators::min_ppl::Config => aggregators::MinPpl::new(config);
    MutualPredictability: aggregators::mutual_predictability::Config => aggregators::MutualPredictability::new(config, context.policy(), context.policy().identity())?;
    SelfBon: aggregators::self_bon::Config => aggregators::SelfBon::new(config, context.policy())?;
    JudgeBon: aggregators::judge_bon::Config => aggregators::JudgeBon::new(config, context.judge());
    Medoid: aggregators::medoid::Config => aggregators::Medoid::new(config);
    Synthesis: aggregators::synthesis::Config => aggregators::Synthesis::new(config, context.anchor().model, context.anchor().sampling)?;
    Oracle: oracle::best_of_group::Config => oracle::BestOfGroup::new(config, context.tasks(), context.profile());
}

components! {
    /// Term of the `[reward]` table: `kind` and the settings of that kind.
    RewardSettings, $ each_reward;
    build<'a>(config, context: &Context<'a>) -> dyn RewardDeriver + 'a;
    AnswerMatch: rewards::answer_match::Config => rewards::AnswerMatch::new(config);
    Rubric: rewards::rubric::Config => rubric_reward(rewards::rubric::FORM, &config.0, context)?;
    RubricFromQuestion: rewards::rubric_from_question::Config => rubric_reward(rewards::rubric_from_question::FORM, &config.0, context)?;
    RubricLikert: rewards::rubric_likert::Config => rubric_reward(rewards::rubric_likert::FORM, &config.0, context)?;
    Judge: rewards::judge_equivalence::Config => rewards::JudgeEquivalence::new(config, context.judge());
    JudgeScalar: rewards::judge_scalar::Config => rewards::JudgeScalar::new(config, context.judge());
    LengthPenalty: rewards::length_penalty::Config => rewards::LengthPenalty::new(config);
    Format: rewards::format::Config => rewards::Format::new(config);
    Constant: rewards::constant::Config => rewards::Constant::new(config);
    Random: rewards::random::Config => rewards::Random::new(config);
    GroundTruth: oracle::ground_truth::Config => oracle::GroundTruth::new(config, context.tasks(), context.profile());
    PhysicianRubric: oracle::physician_rubric::Config => oracle::PhysicianRubric::new(config, context.tasks(), context.judge());
}

components! {
    /// The loss that training minimises: the `[train.objective]` table with the `kind` of `[train]`.
    ObjectiveSettings, $ each_objective;
    build<'a>(config, max_new_tokens: u32) -> dyn Objective;
    Grpo: objective::grpo::Config => objective::grpo::Grpo::new(config, max_new_tokens);
    Sft: objective::sft::Config => objective::sft::Sft::new(config);
}

components! {
    /// The judge, or how its model is asked: the `[judge]` table less its `model`.
    JudgeSettings, $ each_judge;
    build<'a>(config, model: &'a dyn LanguageModel) -> dyn Judge + 'a;
    Llm: judges::llm_judge::Config => judges::LlmJudge::new(config, model)?;
    Margin: judges::margin_judge::Config => judges::MarginJudge::new(config, model)?;
    PocketRules: benchmarks::pocket_rules::Config => benchmarks::pocket_rules::PocketRules::new(config);
}

components! {
    /// The `[benchmark]` table: `kind` and the settings of that kind.
    BenchmarkSettings, $ each_benchmark;
    Math500: benchmarks::math500::Config;
    Gsm8k: benchmarks::gsm8k::Config;
    Aime: benchmarks::aime::Config;
    Amc: benchmarks::amc::Config;
    Healthbench: benchmarks::healthbench::Config;
    Jsonl: benchmarks::jsonl::Config;
    JsonlRubric: benchmarks::jsonl_rubric::Config;
    Arithmetic: benchmarks::arithmetic::Config;
    PocketMath: benchmarks::pocket_math::Config;
    PocketHealth: benchmarks::pocket_health::Config;
}

fn rubric_reward<'a>(
    form: Form,
    config: &RubricConfig,
    context: &Context<'a>,
) -> Result<RubricReward<'a>, TemplateError> {
    let anchor = context.anchor();
    RubricReward::new(form, config, anchor.model, anchor.sampling, context.judge())
}

impl AggregatorSettings {
    pub(crate) fn complete(&mut self, facts: &CellFacts) {
        each_aggregator!(self, config => config.complete(facts));
    }

    pub(crate) fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        each_aggregator!(self, config => config.prompt_digest())
    }

    pub(crate) fn calls(&self, group: GroupShape) -> Calls {
        each_aggregator!(self, config => config.calls(group))
    }

    pub(crate) fn max_new_tokens(&self) -> Option<u32> {
        each_aggregator!(self, config => config.max_new_tokens())
    }
}

impl RewardSettings {
    pub(crate) fn complete(&mut self, facts: &CellFacts) {
        each_reward!(self, config => config.complete(facts));
    }

    pub(crate) fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        each_reward!(self, config => config.prompt_digest())
    }

    pub(crate) fn calls(&self, group: GroupShape) -> Calls {
        each_reward!(self, config => config.calls(group))
    }
}

impl JudgeSettings {
    pub(crate) fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        each_judge!(self, config => config.prompt_digest())
    }

    /// Returns the token limit of a reply, if the judge asks a model.
    pub(crate) fn max_new_tokens(&self) -> Option<u32> {
        each_judge!(self, config => config.max_new_tokens())
    }

    /// Returns the identity of a judge that asks no model.
    pub(crate) fn identity(&self) -> Option<ModelIdentity> {
        each_judge!(self, config => config.identity())
    }

    /// Returns true if the judge grades and chooses, beyond yes and no.
    pub(crate) fn grades(&self) -> bool {
        fn grades<T: JudgeConfig>(_: &T) -> bool {
            T::GRADES
        }
        each_judge!(self, config => grades(config))
    }
}

impl BenchmarkSettings {
    /// Returns the data set of the registry that holds the rows, if there is one.
    pub fn data_set(&self) -> Option<&str> {
        each_benchmark!(self, config => config.data_set())
    }

    pub(crate) fn scores_form(&self) -> bool {
        each_benchmark!(self, config => config.scores_form())
    }

    pub(crate) fn load(
        &self,
        data: Option<&Data>,
        limit: Option<usize>,
    ) -> Result<TaskSet, BenchmarkError> {
        each_benchmark!(self, config => config.load(data, limit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use preceptor_core::Verdict;
    use preceptor_testkit::{ScriptedJudge, ScriptedModel};

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
    fn every_reward_and_judge_is_named_described_and_strict() {
        check::<RewardSettings>(RewardSettings::ALL);
        check::<JudgeSettings>(JudgeSettings::ALL);
    }

    #[test]
    fn every_objective_is_named_described_and_strict() {
        check::<ObjectiveSettings>(ObjectiveSettings::ALL);
    }

    #[test]
    fn every_benchmark_is_named_described_and_strict() {
        check::<BenchmarkSettings>(BenchmarkSettings::ALL);
    }

    const SHAPE: GroupShape = GroupShape { num_rollouts: 7, num_label_criteria: 4 };

    fn of_kind<T: for<'de> Deserialize<'de>>(entry: &Entry) -> T {
        toml::from_str(&format!("kind = \"{}\"", entry.name)).expect("every setting has a default")
    }

    #[test]
    fn a_component_that_asks_a_model_counts_its_calls() {
        for entry in AggregatorSettings::ALL {
            let settings: AggregatorSettings = of_kind(entry);
            let asks = settings.calls(SHAPE) != Calls::NONE;
            assert_eq!(asks, entry.needs.asks_a_model(), "aggregator `{}`", entry.name);
        }
        for entry in RewardSettings::ALL {
            let settings: RewardSettings = of_kind(entry);
            let asks = settings.calls(SHAPE) != Calls::NONE;
            assert_eq!(asks, entry.needs.asks_a_model(), "reward `{}`", entry.name);
        }
        for entry in JudgeSettings::ALL {
            let settings: JudgeSettings = of_kind(entry);
            let asks = settings.max_new_tokens().is_some();
            assert_eq!(asks, settings.identity().is_none(), "judge `{}`", entry.name);
        }
    }

    #[test]
    fn every_component_is_built_from_what_it_declares() {
        let model = ScriptedModel::new("model", |_, _| "1".to_owned(), |_, _| vec![0.0]);
        let judge = ScriptedJudge::new(|_, _| Verdict::Met);
        let tasks = benchmarks::arithmetic::Config::default().load(None, Some(1)).unwrap();
        let sampling = Sampling::default();
        let context = Context {
            tasks: Some(&tasks),
            grader: Grader::Answer(GraderProfile::Verify),
            policy: Some(&model),
            anchor: Some(Anchor { model: &model, sampling: &sampling }),
            judge: Some(&judge),
        };
        for entry in AggregatorSettings::ALL {
            let settings: AggregatorSettings = of_kind(entry);
            assert!(settings.build(&context.restricted_to(entry.needs)).is_ok());
        }
        for entry in RewardSettings::ALL {
            let settings: RewardSettings = of_kind(entry);
            assert!(settings.build(&context.restricted_to(entry.needs)).is_ok());
        }
    }

    #[test]
    fn a_tree_asks_once_for_each_chunk_of_each_level() {
        let replies = |num_rollouts: u64, fan_in: Option<u32>| {
            let config = aggregators::synthesis::Config { fan_in, ..Default::default() };
            config.calls(GroupShape { num_rollouts, num_label_criteria: 0 }).replies
        };
        assert_eq!(replies(8, None), 1);
        assert_eq!(replies(1, Some(3)), 1);
        // Chunks of 3, 3 and a rest of one that goes up as it is; then three make one.
        assert_eq!(replies(7, Some(3)), 3);
        assert_eq!(replies(16, Some(4)), 5);
    }

    #[test]
    fn mutual_predictability_reads_every_rollout_as_often_as_there_are_rollouts() {
        let calls = aggregators::mutual_predictability::Config::default().calls(SHAPE);
        assert_eq!((calls.scored, calls.rollouts_read), (7, 49));
    }
}
