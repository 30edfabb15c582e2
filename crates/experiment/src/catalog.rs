//! Every plug-in by name.
//!
//! Adding an aggregator, a reward, a judge or a benchmark is its file and one line here: from the
//! lists below come the serde enums, `build` and `load`, and the `ALL` tables that help texts and
//! tests walk. Entries that see labels read `oracle` and say so in their needs.

use preceptor_aggregators::{
    JudgeBon, Majority, Medoid, MinPpl, MutualPredictability, SelfBon, Single, Synthesis,
    WeightedMajority, judge_bon, majority, medoid, min_ppl, mutual_predictability, order, self_bon,
    single, synthesis, weighted_majority,
};
use preceptor_answers::GraderProfile;
use preceptor_benchmarks::oracle::{
    BestOfGroup, GroundTruth, PhysicianRubric, best_of_group, ground_truth, physician_rubric,
};
use preceptor_benchmarks::pocket_rules::PocketRules;
use preceptor_benchmarks::{
    Data, Error as BenchmarkError, Grader, TaskSet, aime, amc, arithmetic, gsm8k, healthbench,
    jsonl, math500, pocket_health, pocket_math, pocket_rules,
};
use preceptor_core::{
    Aggregator, Digest, Judge, LanguageModel, ModelIdentity, RewardDeriver, Sampling,
};
use preceptor_judges::{LlmJudge, MarginJudge, llm_judge, margin_judge};
use preceptor_rewards::{
    AnswerMatch, Constant, Format, JudgeEquivalence, JudgeScalar, LengthPenalty, Random,
    RubricReward, answer_match, constant, format, judge_equivalence, judge_scalar, length_penalty,
    random, rubric, rubric_from_question, rubric_likert,
};
use preceptor_text::TemplateError;
use preceptor_trainer::Objective;
use preceptor_trainer::objective::grpo::{self, Grpo};
use preceptor_trainer::objective::sft::{self, Sft};
use serde::{Deserialize, Serialize};

/// What a plug-in is given besides the rollouts. It decides what its stage's records depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Labels: it is an upper bound, not a method.
    pub labels: bool,
    /// The policy, beyond its rollouts.
    pub policy: bool,
    /// The anchor.
    pub anchor: bool,
    /// The judge.
    pub judge: bool,
    /// Grades or choices of the judge, beyond yes and no.
    pub grades: bool,
    /// The pseudo-reference.
    pub reference: bool,
}

impl Needs {
    const NOTHING: Self = Self {
        labels: false,
        policy: false,
        anchor: false,
        judge: false,
        grades: false,
        reference: false,
    };
    const LABELS: Self = Self { labels: true, ..Self::NOTHING };
    const POLICY: Self = Self { policy: true, ..Self::NOTHING };
    const ANCHOR: Self = Self { anchor: true, ..Self::NOTHING };
    const JUDGE: Self = Self { judge: true, ..Self::NOTHING };
    const GRADES: Self = Self { judge: true, grades: true, ..Self::NOTHING };
    const REFERENCE: Self = Self { reference: true, ..Self::NOTHING };

    /// What either needs.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            labels: self.labels || other.labels,
            policy: self.policy || other.policy,
            anchor: self.anchor || other.anchor,
            judge: self.judge || other.judge,
            grades: self.grades || other.grades,
            reference: self.reference || other.reference,
        }
    }
}

/// One plug-in of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in manifests, tables and docs.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it is given.
    pub needs: Needs,
}

/// A model with the sampling of its role.
#[derive(Clone, Copy)]
pub(crate) struct Anchor<'a> {
    pub(crate) model: &'a dyn LanguageModel,
    pub(crate) sampling: &'a Sampling,
}

/// What aggregators and rewards are built from, beside their settings. What an entry does not say it
/// needs may be absent.
pub(crate) struct Context<'a> {
    pub(crate) tasks: &'a TaskSet,
    pub(crate) grader: Grader,
    pub(crate) policy: &'a dyn LanguageModel,
    pub(crate) anchor: Anchor<'a>,
    pub(crate) judge: Option<&'a dyn Judge>,
}

impl<'a> Context<'a> {
    /// How final answers are compared; a plan has no entry that needs it where there are none.
    fn profile(&self) -> GraderProfile {
        self.grader.profile().unwrap_or(GraderProfile::Verify)
    }

    fn judge(&self) -> &'a dyn Judge {
        self.judge.expect("entries that need a judge are built with one")
    }
}

macro_rules! plug_ins {
    (
        $(#[$doc:meta])* $list:ident builds $port:ident;
        $($variant:ident($config:ty) = $name:literal, $summary:expr, $needs:expr, $build:expr;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum $list {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant($config),)*
        }

        impl $list {
            /// Every one there is.
            pub const ALL: &[Entry] =
                &[$(Entry { name: $name, summary: $summary, needs: $needs }),*];

            /// The entry of this one.
            pub fn entry(&self) -> Entry {
                match self {
                    $(Self::$variant(_) =>
                        Entry { name: $name, summary: $summary, needs: $needs },)*
                }
            }

            pub(crate) fn build<'a>(
                &'a self,
                context: &Context<'a>,
            ) -> Result<Box<dyn $port + 'a>, TemplateError> {
                match self {
                    $(Self::$variant(config) => {
                        type Build =
                            for<'b> fn(&'b $config, &Context<'b>) -> Result<Box<dyn $port + 'b>, TemplateError>;
                        let build: Build = $build;
                        build(config, context)
                    })*
                }
            }
        }
    };
}

plug_ins! {
    /// The `[aggregator]` table: `kind` and the settings of that kind.
    AggregatorSettings builds Aggregator;
    Single(single::Config) = "single", single::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(Single::new(config)));
    Majority(majority::Config) = "majority", majority::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(Majority::new(config)));
    WeightedMajority(weighted_majority::Config) = "weighted-majority", weighted_majority::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(WeightedMajority::new(config)));
    MinPpl(min_ppl::Config) = "min-ppl", min_ppl::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(MinPpl::new(config)));
    MutualPredictability(mutual_predictability::Config) = "mutual-predictability", mutual_predictability::SUMMARY, Needs::POLICY,
        |config, context| Ok(Box::new(MutualPredictability::new(config, context.policy, context.policy.identity())?));
    SelfBon(self_bon::Config) = "self-bon", self_bon::SUMMARY, Needs::POLICY,
        |config, context| Ok(Box::new(SelfBon::new(config, context.policy)?));
    JudgeBon(judge_bon::Config) = "judge-bon", judge_bon::SUMMARY, Needs::GRADES,
        |config, context| Ok(Box::new(JudgeBon::new(config, context.judge())));
    Medoid(medoid::Config) = "medoid", medoid::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(Medoid::new(config)));
    Synthesis(synthesis::Config) = "synthesis", synthesis::SUMMARY, Needs::ANCHOR,
        |config, context| Ok(Box::new(Synthesis::new(config, context.anchor.model, context.anchor.sampling)?));
    Oracle(best_of_group::Config) = "oracle", best_of_group::SUMMARY, Needs::LABELS,
        |config, context| Ok(Box::new(BestOfGroup::new(config, context.tasks, context.profile())));
}

impl AggregatorSettings {
    /// The first setting outside its range: key, value, what is allowed.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        match self {
            Self::Synthesis(config) => config.out_of_range(),
            Self::SelfBon(config) => config.out_of_range(),
            Self::Single(_)
            | Self::Majority(_)
            | Self::WeightedMajority(_)
            | Self::MinPpl(_)
            | Self::MutualPredictability(_)
            | Self::JudgeBon(_)
            | Self::Medoid(_)
            | Self::Oracle(_) => None,
        }
    }

    /// The digest of how rollouts are shown to a model, if they are: the prompt, but for a judge's, and
    /// the version of the order.
    pub(crate) fn prompt_digest(&self) -> Result<Option<Digest>, TemplateError> {
        let template = match self {
            Self::Synthesis(config) => Some(synthesis::template(config)?),
            Self::SelfBon(config) => Some(self_bon::template(config)?),
            Self::MutualPredictability(config) => Some(mutual_predictability::template(config)?),
            Self::JudgeBon(_) => None,
            Self::Single(_)
            | Self::Majority(_)
            | Self::WeightedMajority(_)
            | Self::MinPpl(_)
            | Self::Medoid(_)
            | Self::Oracle(_) => return Ok(None),
        };
        let prompt = template.as_ref().map_or("", |template| template.digest().as_str());
        Ok(Some(Digest::of_parts([prompt.as_bytes(), &order::VERSION.to_le_bytes()])))
    }

    /// Makes explicit what follows from the benchmark, and from the token limit of rollouts where the
    /// anchor has none of its own.
    pub(crate) fn complete(&mut self, has_final_answers: bool, rollout_tokens: Option<u32>) {
        if let Self::Synthesis(config) = self
            && config.style.is_none()
        {
            config.style = Some(match has_final_answers {
                true => synthesis::Style::Reasoning,
                false => synthesis::Style::Freeform,
            });
        }
        if let Self::Synthesis(config) = self
            && config.max_new_tokens.is_none()
        {
            config.max_new_tokens = rollout_tokens.map(|tokens| tokens.saturating_mul(2));
        }
        // Without a word, `reasoning` abstains.
        if let Self::Synthesis(config) = self
            && config.on_cut_off.is_none()
            && config.style == Some(synthesis::Style::Freeform)
        {
            config.on_cut_off = Some(synthesis::OnCutOff::Keep);
        }
    }
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
                &[$(Entry { name: $name, summary: $summary, needs: Needs::LABELS }),*];

            /// The entry of this one.
            pub fn entry(&self) -> Entry {
                match self {
                    $(Self::$variant(_) =>
                        Entry { name: $name, summary: $summary, needs: Needs::LABELS },)*
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

impl BenchmarkSettings {
    /// Returns whether its labels score the form of responses, beside their content.
    pub(crate) fn scores_form(&self) -> bool {
        matches!(self, Self::HealthBench(_))
    }
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
    HealthBench(healthbench::Config) = "healthbench", healthbench::SUMMARY,
        |config| Source::DataSet(healthbench::data_set(config)),
        |config, data, limit| healthbench::load(config, needed(data), limit);
    Jsonl(jsonl::Config) = "jsonl", jsonl::SUMMARY,
        |_| Source::Own,
        |config, _, limit| jsonl::load(config, limit);
    Arithmetic(arithmetic::Config) = "arithmetic", arithmetic::SUMMARY,
        |_| Source::Own,
        |config, _, limit| arithmetic::load(config, limit);
    PocketMath(pocket_math::Config) = "pocket-math", pocket_math::SUMMARY,
        |_| Source::Own,
        |config, _, limit| pocket_math::load(config, limit);
    PocketHealth(pocket_health::Config) = "pocket-health", pocket_health::SUMMARY,
        |_| Source::Own,
        |config, _, limit| pocket_health::load(config, limit);
}

plug_ins! {
    /// One term of the `[reward]` table: `kind` and the settings of that kind.
    RewardSettings builds RewardDeriver;
    AnswerMatch(answer_match::Config) = "answer-match", answer_match::SUMMARY, Needs::REFERENCE,
        |config, _| Ok(Box::new(AnswerMatch::new(config)));
    Rubric(rubric::Config) = "rubric", rubric::SUMMARY, Needs::REFERENCE.and(Needs::ANCHOR).and(Needs::JUDGE),
        |config, context| Ok(Box::new(RubricReward::new(rubric::FORM, config, context.anchor.model, context.anchor.sampling, context.judge())?));
    RubricFromQuestion(rubric_from_question::Config) = "rubric-from-question", rubric_from_question::SUMMARY, Needs::ANCHOR.and(Needs::JUDGE),
        |config, context| Ok(Box::new(RubricReward::new(rubric_from_question::FORM, config, context.anchor.model, context.anchor.sampling, context.judge())?));
    RubricLikert(rubric_likert::Config) = "rubric-likert", rubric_likert::SUMMARY, Needs::REFERENCE.and(Needs::ANCHOR).and(Needs::GRADES),
        |config, context| Ok(Box::new(RubricReward::new(rubric_likert::FORM, config, context.anchor.model, context.anchor.sampling, context.judge())?));
    JudgeEquivalence(judge_equivalence::Config) = "judge", judge_equivalence::SUMMARY, Needs::REFERENCE.and(Needs::JUDGE),
        |config, context| Ok(Box::new(JudgeEquivalence::new(config, context.judge())));
    JudgeScalar(judge_scalar::Config) = "judge-scalar", judge_scalar::SUMMARY, Needs::GRADES,
        |config, context| Ok(Box::new(JudgeScalar::new(config, context.judge())));
    LengthPenalty(length_penalty::Config) = "length-penalty", length_penalty::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(LengthPenalty::new(config)));
    Format(format::Config) = "format", format::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(Format::new(config)));
    Constant(constant::Config) = "constant", constant::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(Constant::new(config)));
    Random(random::Config) = "random", random::SUMMARY, Needs::NOTHING,
        |config, _| Ok(Box::new(Random::new(config)));
    GroundTruth(ground_truth::Config) = "ground-truth", ground_truth::SUMMARY, Needs::LABELS,
        |config, context| Ok(Box::new(GroundTruth::new(config, context.tasks, context.profile())));
    PhysicianRubric(physician_rubric::Config) = "physician-rubric", physician_rubric::SUMMARY, Needs::LABELS.and(Needs::JUDGE),
        |config, context| Ok(Box::new(PhysicianRubric::new(config, context.tasks, context.judge())));
}

impl RewardSettings {
    /// The first setting outside its range: key, value, what is allowed.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        match self {
            Self::Rubric(config) => config.out_of_range(),
            Self::RubricFromQuestion(config) => config.out_of_range(),
            Self::RubricLikert(config) => config.out_of_range(),
            Self::LengthPenalty(config) => config.out_of_range(),
            Self::Constant(config) => config.out_of_range(),
            Self::AnswerMatch(config) => config.out_of_range(),
            Self::JudgeEquivalence(_)
            | Self::JudgeScalar(_)
            | Self::Format(_)
            | Self::Random(_)
            | Self::GroundTruth(_)
            | Self::PhysicianRubric(_) => None,
        }
    }

    /// Makes explicit what follows from the benchmark.
    pub(crate) fn complete(&mut self, scores_form: bool) {
        match self {
            Self::Rubric(config)
            | Self::RubricFromQuestion(config)
            | Self::RubricLikert(config) => {
                config.complete(scores_form);
            }
            _ => {}
        }
    }

    /// The digest of the prompt or statement that a model is shown, if one is.
    pub(crate) fn prompt_digest(&self) -> Result<Option<Digest>, TemplateError> {
        let of_text = |text: &str| Ok(Some(Digest::of(text.as_bytes())));
        let template = match self {
            Self::Rubric(config) => rubric::FORM.template(config)?,
            Self::RubricFromQuestion(config) => rubric_from_question::FORM.template(config)?,
            Self::RubricLikert(config) => rubric_likert::FORM.template(config)?,
            Self::JudgeEquivalence(config) => {
                return of_text(judge_equivalence::statement(config));
            }
            Self::JudgeScalar(config) => return of_text(judge_scalar::statement(config)),
            Self::AnswerMatch(_)
            | Self::LengthPenalty(_)
            | Self::Format(_)
            | Self::Constant(_)
            | Self::Random(_)
            | Self::GroundTruth(_)
            | Self::PhysicianRubric(_) => return Ok(None),
        };
        Ok(Some(template.digest().clone()))
    }
}

/// What training minimises: the `[train.objective]` table with the `kind` of `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum ObjectiveSettings {
    /// `grpo`
    #[serde(rename = "grpo")]
    Grpo(grpo::Config),
    /// `sft`
    #[serde(rename = "sft")]
    Sft(sft::Config),
}

impl ObjectiveSettings {
    /// Every one there is.
    pub const ALL: &[Entry] = &[
        Entry { name: "grpo", summary: grpo::SUMMARY, needs: Needs::NOTHING },
        Entry { name: "sft", summary: sft::SUMMARY, needs: Needs::REFERENCE },
    ];

    /// The entry of this one.
    pub fn entry(&self) -> Entry {
        match self {
            Self::Grpo(_) => Self::ALL[0],
            Self::Sft(_) => Self::ALL[1],
        }
    }

    /// The first setting outside its range: key, value, what is allowed.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        match self {
            Self::Grpo(config) => config.out_of_range(),
            Self::Sft(_) => None,
        }
    }

    /// The objective for rollouts of at most `max_new_tokens`.
    pub(crate) fn build(&self, max_new_tokens: u32) -> Box<dyn Objective> {
        match self {
            Self::Grpo(config) => Box::new(Grpo::new(config, max_new_tokens)),
            Self::Sft(config) => Box::new(Sft::new(config)),
        }
    }
}

/// Who judges, or how a model is asked to: the `[judge]` table less its `model`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum JudgeSettings {
    /// `llm`
    #[serde(rename = "llm")]
    Llm(llm_judge::Config),
    /// `margin`
    #[serde(rename = "margin")]
    Margin(margin_judge::Config),
    /// `pocket-rules`
    #[serde(rename = "pocket-rules")]
    PocketRules(pocket_rules::Config),
}

impl JudgeSettings {
    /// Every way there is.
    pub const ALL: &[Entry] = &[
        Entry { name: "llm", summary: llm_judge::SUMMARY, needs: Needs::NOTHING },
        Entry { name: "margin", summary: margin_judge::SUMMARY, needs: Needs::NOTHING },
        Entry { name: "pocket-rules", summary: pocket_rules::SUMMARY, needs: Needs::NOTHING },
    ];

    /// The first setting outside its range: key, value, what is allowed.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        match self {
            Self::Llm(config) => config.out_of_range(),
            Self::Margin(config) => config.out_of_range(),
            Self::PocketRules(config) => config.out_of_range(),
        }
    }

    /// Who judges without a model, by name, if this one does.
    pub(crate) fn without_model(&self) -> Option<(&'static str, ModelIdentity)> {
        match self {
            Self::Llm(_) | Self::Margin(_) => None,
            Self::PocketRules(config) => Some((pocket_rules::NAME, pocket_rules::identity(config))),
        }
    }

    /// Whether it grades and chooses, beyond yes and no.
    pub(crate) fn grades(&self) -> bool {
        matches!(self, Self::Llm(_))
    }

    /// The digest of the prompts that its model is shown.
    pub(crate) fn prompt_digest(&self) -> Result<Digest, TemplateError> {
        match self {
            Self::Llm(config) => llm_judge::prompt_digest(config),
            Self::Margin(config) => margin_judge::prompt_digest(config),
            Self::PocketRules(_) => Ok(pocket_rules::rules_digest()),
        }
    }

    /// The judge that asks `model`, if it asks one.
    pub(crate) fn build<'a>(
        &'a self,
        model: &'a dyn LanguageModel,
    ) -> Result<Box<dyn Judge + 'a>, TemplateError> {
        Ok(match self {
            Self::Llm(config) => Box::new(LlmJudge::new(config, model)?),
            Self::Margin(config) => Box::new(MarginJudge::new(config, model)?),
            Self::PocketRules(config) => Box::new(PocketRules::new(config)),
        })
    }
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
}
