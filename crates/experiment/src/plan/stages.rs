//! Specifications of stages: everything that their records depend on.
//!
//! The specifications here are the store's keys: a field that is missing lets two different runs
//! share records, and a superfluous field samples them again. Limits, paths, devices and worker counts are
//! no fields. Labels enter only grading and the stages of components that see them.

use preceptor_answers::GraderProfile;
use preceptor_benchmarks::{Grader, TaskSet, healthbench_strict};
use preceptor_core::record::RECORD_FORMAT;
use preceptor_core::{CellFacts, Digest, ModelIdentity, Needs, Sampling};
use preceptor_store::{Error, StageSpec};
use serde::Serialize;

use crate::catalog::{AggregatorSettings, JudgeSettings, RewardSettings};
use crate::manifest::settings::EvalJudgeSettings;

/// The stages of one cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stages {
    pub(crate) prompts: StageSpec,
    pub(crate) rollouts: StageSpec,
    pub(crate) rollout_grades: StageSpec,
    pub(crate) answer_classes: StageSpec,
    pub(crate) aggregates: StageSpec,
    pub(crate) grades: StageSpec,
    /// The stage of rewards, if the cell derives any.
    pub(crate) rewards: Option<StageSpec>,
}

/// Model that writes, with the sampling of its role.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) identity: ModelIdentity,
    pub(crate) sampling: Sampling,
}

/// Model that judges, with its settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellJudge {
    pub(crate) name: String,
    pub(crate) identity: ModelIdentity,
    pub(crate) settings: JudgeSettings,
    /// Digest of the prompts that its model is shown.
    pub(crate) prompt: Digest,
}

/// The benchmark's judge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EvalJudge {
    pub(crate) identity: ModelIdentity,
    pub(crate) settings: EvalJudgeSettings,
    pub(crate) sampling: Sampling,
}

/// Term of a reward.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RewardTerm {
    pub(crate) weight: f64,
    #[serde(flatten)]
    pub(crate) settings: RewardSettings,
    /// Digest of the prompt that a model is shown.
    #[serde(skip)]
    pub(crate) prompt: Option<Digest>,
}

impl RewardTerm {
    /// Fills in what follows from the cell.
    pub(crate) fn complete(&mut self, facts: &CellFacts) {
        self.settings.complete(facts);
        let digest = self.settings.prompt_digest();
        self.prompt = digest.expect("prompts are checked where terms are read");
    }
}

/// Returns the inputs that any of the terms needs.
pub(crate) fn needs_of(terms: &[RewardTerm]) -> Needs {
    terms.iter().fold(Needs::default(), |needs, term| needs.union(term.settings.entry().needs))
}

/// Inputs of a cell's stages.
#[derive(Clone, Copy)]
pub(crate) struct StageInputs<'a> {
    pub(crate) tasks: &'a TaskSet,
    pub(crate) model: &'a ModelIdentity,
    pub(crate) sampling: &'a Sampling,
    pub(crate) group_size: u32,
    pub(crate) seed: u64,
    pub(crate) aggregator: &'a AggregatorSettings,
    /// Digest of the prompt that the aggregator's model is shown.
    pub(crate) aggregator_prompt: Option<&'a Digest>,
    pub(crate) anchor: &'a Writer,
    pub(crate) judge: Option<&'a CellJudge>,
    pub(crate) eval_judge: Option<&'a EvalJudge>,
    pub(crate) reward: &'a [RewardTerm],
    pub(crate) grader: Grader,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PromptsSpec<'a> {
    format: u32,
    prompts: &'a Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolloutsSpec<'a> {
    format: u32,
    prompts: &'a Digest,
    model: &'a ModelIdentity,
    sampling: &'a Sampling,
    seed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AnswerClassesSpec<'a> {
    format: u32,
    rollouts: &'a Digest,
    group_size: u32,
    answers: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AggregatesSpec<'a> {
    format: u32,
    rollouts: &'a Digest,
    group_size: u32,
    aggregator: &'a AggregatorSettings,
    answers: String,
    labels: Option<(&'a Digest, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<AnchorSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<JudgeSpec<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AnchorSpec<'a> {
    model: &'a ModelIdentity,
    sampling: &'a Sampling,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct JudgeSpec<'a> {
    model: &'a ModelIdentity,
    settings: &'a JudgeSettings,
    prompt: &'a Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RewardsSpec<'a> {
    format: u32,
    rollouts: &'a Digest,
    group_size: u32,
    terms: &'a [RewardTerm],
    /// The version by which final answers are found and compared.
    answers: String,
    prompts: Vec<Option<&'a Digest>>,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregates: Option<&'a Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<AnchorSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<JudgeSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<(&'a Digest, String)>,
}

/// Inputs of the rewards of a training run, apart from the policy.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TrainingData<'a> {
    prompts: &'a Digest,
    model: &'a ModelIdentity,
    sampling: &'a Sampling,
    group_size: u32,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregator: Option<(&'a AggregatorSettings, String, Option<&'a Digest>)>,
    terms: &'a [RewardTerm],
    /// The version by which final answers are found and compared.
    answers: String,
    term_prompts: Vec<Option<&'a Digest>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<AnchorSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<JudgeSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<(&'a Digest, String)>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct EvalJudgeSpec<'a> {
    model: &'a ModelIdentity,
    sampling: &'a Sampling,
    attempts: u32,
    prompt: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct GradesSpec<'a> {
    format: u32,
    graded: &'a Digest,
    grader: String,
    labels: &'a Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<EvalJudgeSpec<'a>>,
}

impl<'a> StageInputs<'a> {
    fn anchor_of(&self, needs: Needs) -> Option<AnchorSpec<'a>> {
        let Writer { identity, sampling, .. } = self.anchor;
        needs.anchor.then_some(AnchorSpec { model: identity, sampling })
    }

    fn judge_of(&self, needs: Needs) -> Option<JudgeSpec<'a>> {
        let judge = self.judge.filter(|_| needs.judge);
        judge.map(|judge| JudgeSpec {
            model: &judge.identity,
            settings: &judge.settings,
            prompt: &judge.prompt,
        })
    }

    /// Returns the inputs of a training run that derives its rewards so; `uses_reference` if it needs
    /// pseudo-references in any case.
    pub(crate) fn training_data(&self, uses_reference: bool) -> TrainingData<'a> {
        let reward = needs_of(self.reward);
        let aggregates = uses_reference || reward.reference;
        let aggregator = self.aggregator.entry().needs;
        let needs = if aggregates { reward.union(aggregator) } else { reward };
        let answers = || grader_id(Grader::Answer(GraderProfile::Verify));
        TrainingData {
            prompts: &self.tasks.prompts_digest,
            model: self.model,
            sampling: self.sampling,
            group_size: self.group_size,
            seed: self.seed,
            aggregator: aggregates.then(|| (self.aggregator, answers(), self.aggregator_prompt)),
            terms: self.reward,
            answers: answers(),
            term_prompts: self.reward.iter().map(|term| term.prompt.as_ref()).collect(),
            anchor: self.anchor_of(needs),
            judge: self.judge_of(needs),
            labels: needs.labels.then(|| (&self.tasks.labels_digest, grader_id(self.grader))),
        }
    }
}

impl Stages {
    pub(crate) fn new(inputs: &StageInputs<'_>) -> Result<Self, Error> {
        let format = RECORD_FORMAT;
        let StageInputs { tasks, model, sampling, group_size, seed, aggregator, .. } = *inputs;
        let StageInputs { aggregator_prompt, eval_judge, .. } = *inputs;
        let StageInputs { reward, grader, .. } = *inputs;
        let prompts = &tasks.prompts_digest;
        let labels = &tasks.labels_digest;
        let answers = grader_id(Grader::Answer(GraderProfile::Verify));

        let rollouts_spec = RolloutsSpec { format, prompts, model, sampling, seed };
        let rollouts = StageSpec::new("rollouts", &rollouts_spec)?;
        let sampled = rollouts.digest();
        let classes_spec =
            AnswerClassesSpec { format, rollouts: sampled, group_size, answers: answers.clone() };
        let needs = aggregator.entry().needs;
        let aggregates_spec = AggregatesSpec {
            format,
            rollouts: sampled,
            group_size,
            aggregator,
            answers: answers.clone(),
            labels: needs.labels.then(|| (labels, grader_id(grader))),
            prompt: aggregator_prompt,
            anchor: inputs.anchor_of(needs),
            judge: inputs.judge_of(needs),
        };
        let aggregates = StageSpec::new("aggregates", &aggregates_spec)?;
        let grades_of = |kind, graded| {
            let judge = eval_judge.map(|judge| EvalJudgeSpec {
                model: &judge.identity,
                sampling: &judge.sampling,
                attempts: judge.settings.attempts,
                prompt: healthbench_strict::prompt_digest(judge.settings.prompt_text.as_deref()),
            });
            let spec = GradesSpec { format, graded, grader: grader_id(grader), labels, judge };
            StageSpec::new(kind, &spec)
        };
        let needs = needs_of(reward);
        let rewards_spec = RewardsSpec {
            format,
            rollouts: sampled,
            group_size,
            terms: reward,
            answers,
            prompts: reward.iter().map(|term| term.prompt.as_ref()).collect(),
            seed,
            aggregates: needs.reference.then_some(aggregates.digest()),
            anchor: inputs.anchor_of(needs),
            judge: inputs.judge_of(needs),
            labels: needs.labels.then(|| (labels, grader_id(grader))),
        };
        let rewards =
            if reward.is_empty() { None } else { Some(StageSpec::new("rewards", &rewards_spec)?) };
        Ok(Self {
            prompts: StageSpec::new("prompts", &PromptsSpec { format, prompts })?,
            rollout_grades: grades_of("rollout-grades", sampled)?,
            answer_classes: StageSpec::new("answer-classes", &classes_spec)?,
            grades: grades_of("grades", aggregates.digest())?,
            rewards,
            rollouts,
            aggregates,
        })
    }
}

/// Returns a grader's name with its version, for example `verify-1`.
pub(crate) fn grader_id(grader: Grader) -> String {
    format!("{}-{}", grader.name(), grader.version())
}

#[cfg(test)]
mod tests {
    use crate::test_support::plan;

    /// Names of the stages of the first cell that `settings` and a limit give other digests.
    fn moved(base: &[&str], settings: &[&str], limit: Option<usize>) -> Vec<&'static str> {
        let stages = |settings: &[&str], limit| {
            let plan = plan(settings, limit).expect("a plan");
            let stages = plan.record().cells[0].stages.clone();
            [
                ("prompts", Some(stages.prompts)),
                ("rollouts", Some(stages.rollouts)),
                ("rollout-grades", Some(stages.rollout_grades)),
                ("answer-classes", Some(stages.answer_classes)),
                ("aggregates", Some(stages.aggregates)),
                ("grades", Some(stages.grades)),
                ("rewards", stages.rewards),
            ]
        };
        let (before, after) = (stages(base, None), stages(&[base, settings].concat(), limit));
        let pairs = before.iter().zip(&after).filter(|(before, after)| before.1 != after.1);
        pairs.map(|(before, _)| before.0).collect()
    }

    const ALL_BUT_PROMPTS: [&str; 6] =
        ["rollouts", "rollout-grades", "answer-classes", "aggregates", "grades", "rewards"];

    #[test]
    fn a_limit_moves_no_stage() {
        assert!(moved(&[], &[], Some(1)).is_empty());
        assert!(moved(&[], &["benchmark.limit=5"], None).is_empty());
        // Prose of the manifest does not either.
        assert!(moved(&[], &["title=other"], None).is_empty());
    }

    #[test]
    fn the_policy_its_sampling_and_the_seed_move_everything_but_the_prompts() {
        for setting in ["policy.model=other", "sampling.temperature=0.5", "seeds=[1]"] {
            assert_eq!(moved(&[], &[setting], None), ALL_BUT_PROMPTS, "{setting}");
        }
    }

    #[test]
    fn a_larger_group_shares_the_rollouts_and_their_grades() {
        let groups = ["answer-classes", "aggregates", "grades", "rewards"];
        assert_eq!(moved(&[], &["sampling.group-size=8"], None), groups);
    }

    #[test]
    fn the_aggregator_moves_the_aggregates_and_what_is_made_of_them() {
        let of_aggregates = ["aggregates", "grades", "rewards"];
        assert_eq!(moved(&[], &["aggregator.kind=single"], None), of_aggregates);
        // A reward that asks for no pseudo-reference keeps its stage.
        let base = ["reward.terms=[{ kind = \"format\" }]"];
        assert_eq!(moved(&base, &["aggregator.kind=single"], None), of_aggregates[..2]);
    }

    #[test]
    fn the_anchor_moves_only_the_stages_of_components_that_ask_it() {
        let anchor = ["anchor.temperature=0.25"];
        assert!(moved(&[], &anchor, None).is_empty());
        let base = ["aggregator.kind=synthesis"];
        assert_eq!(moved(&base, &anchor, None), ["aggregates", "grades", "rewards"]);
    }
}
