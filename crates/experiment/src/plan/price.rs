//! The price of a plan: calls, tokens and cost in USD, before any call is made.
//!
//! Calls are counted. Tokens are bounded from above: every rollout
//! and every reply is taken to be as long as it may be, a token to be four characters, and our own part
//! of a question to have the length of our longest prompt file. Repeated calls after failures
//! or unreadable replies are not included, nor is the saving from equal questions subtracted.

use std::collections::BTreeMap;

use preceptor_benchmarks::Grader;
use preceptor_core::record::{rollout_key, step_key};
use preceptor_core::{Calls, GroupShape, Usage};
use preceptor_store::{StageSpec, Store};

use crate::Error;
use crate::models::directory::ModelDirectory;
use crate::plan::cell::Training;
use crate::plan::cell::{Cell, RolloutDemand};
use crate::plan::counting::{Counting, Part};
use crate::plan::resolved::{Plan, StageState};

/// Characters of a token: about what English text has.
const CHARACTERS_A_TOKEN: u64 = 4;
/// Tokens of our longest prompt file, without what is filled in.
const TOKENS_AN_INSTRUCTION: u64 = 250;

/// Model that is asked, with the longest reply.
#[derive(Clone, Copy, Debug)]
struct AskedModel<'a> {
    model: &'a str,
    max_new_tokens: u32,
}

impl Cell {
    fn group_shape(&self) -> GroupShape {
        let num_label_criteria = mean_items(self);
        GroupShape { num_rollouts: u64::from(self.group_size), num_label_criteria }
    }

    /// Returns the calls for the rewards of one group.
    fn reward_calls(&self) -> Calls {
        self.reward.iter().map(|term| term.settings.calls(self.group_shape())).sum()
    }

    /// Returns the model that writes or scores for the aggregator.
    fn aggregator_asks(&self) -> AskedModel<'_> {
        let max_new_tokens = self.aggregator.max_new_tokens();
        let max_new_tokens = max_new_tokens.unwrap_or(self.anchor.sampling.max_new_tokens);
        let is_policy = self.aggregator.entry().needs.policy;
        let model = if is_policy { &self.model_name } else { &self.anchor.name };
        AskedModel { model, max_new_tokens }
    }

    /// Returns the model that writes rubrics.
    fn reward_asks(&self) -> AskedModel<'_> {
        let max_new_tokens = self.anchor.sampling.max_new_tokens;
        AskedModel { model: &self.anchor.name, max_new_tokens }
    }

    fn judge_asks(&self) -> Option<AskedModel<'_>> {
        let judge = self.judge.as_ref()?;
        let max_new_tokens = judge.settings.max_new_tokens()?;
        Some(AskedModel { model: &judge.name, max_new_tokens })
    }

    fn eval_judge_asks(&self) -> Option<AskedModel<'_>> {
        let judge = self.eval_judge.as_ref().filter(|judge| judge.settings.rules.is_none())?;
        let max_new_tokens = judge.sampling.max_new_tokens;
        Some(AskedModel { model: &judge.settings.model, max_new_tokens })
    }

    /// Returns the mean number of tokens of a prompt.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        let texts = self.tasks.tasks.iter().map(|task| task.prompt.display_text());
        let num_characters: usize = texts.map(|text| text.chars().count()).sum();
        let num_prompts = self.tasks.tasks.len().max(1) as u64;
        (num_characters as u64).div_ceil(num_prompts * CHARACTERS_A_TOKEN)
    }

    /// Returns the tokens of `calls`, by model.
    fn usage(
        &self,
        calls: Calls,
        writer: AskedModel<'_>,
        judge: Option<AskedModel<'_>>,
        counting: &Counting<'_>,
    ) -> BTreeMap<String, Usage> {
        let mut usage = BTreeMap::new();
        let mut add =
            |asked: AskedModel<'_>, num_questions: u64, num_texts: u64, num_replies: u64| {
                if num_questions == 0 {
                    return;
                }
                let a_question = TOKENS_AN_INSTRUCTION + self.prompt_tokens();
                let a_text = counting.length(self.sampling.max_new_tokens);
                let tokens: &mut Usage = usage.entry(asked.model.to_owned()).or_default();
                tokens.num_prompt_tokens += num_questions * a_question + num_texts * a_text;
                tokens.num_generated_tokens += num_replies * counting.length(asked.max_new_tokens);
            };
        // A judge, if there is one, reads the rollouts; the writer of rubrics reads a
        // pseudo-reference.
        let is_judged = calls.judged > 0;
        let num_texts = if is_judged { calls.replies } else { calls.rollouts_read };
        add(writer, calls.replies + calls.scored, num_texts, calls.replies);
        if let Some(judge) = judge {
            add(judge, calls.judged, calls.rollouts_read, calls.judged);
        }
        usage
    }
}

/// Demand of a plan on one endpoint; the head of this module tells how rough it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Expense {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Tokens to be read and written.
    pub usage: Usage,
    /// Their cost in USD; none where the endpoint has no price.
    pub cost_usd: Option<f64>,
}

/// The purpose of calls beyond the rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Pseudo-references.
    PseudoReferences,
    /// Rewards: rubrics and verdicts on them.
    Rewards,
    /// Grades by the benchmark's judge.
    Grades,
    /// Grades of the policies that a training run evaluates.
    Evaluations,
}

impl Purpose {
    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::PseudoReferences => "pseudo-references",
            Self::Rewards => "rewards",
            Self::Grades => "grades",
            Self::Evaluations => "evaluations",
        }
    }

    fn part(self) -> Part {
        match self {
            Self::PseudoReferences => Part::PseudoReferences,
            Self::Rewards | Self::Grades | Self::Evaluations => Part::Other,
        }
    }
}

/// Stage, beyond the rollouts, for which models are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallDemand {
    /// The purpose of the calls.
    pub purpose: Purpose,
    /// Label for people.
    pub label: String,
    /// Present and wanted records, in groups (for grades of rollouts, in rollouts).
    pub state: StageState,
    /// Missing replies of the policy or the anchor, at least.
    pub num_replies: u64,
    /// Answers of a judge, at least.
    pub num_judged: u64,
    /// Texts to be scored by log-probability.
    pub num_scored: u64,
    /// Rollouts that are read for it, each as often as it is read.
    pub num_rollouts_read: u64,
    /// Tokens of these calls by model, bounded from above.
    pub usage: BTreeMap<String, Usage>,
}

impl CallDemand {
    /// Adds a demand of the same kind.
    fn add(&mut self, other: Self) {
        self.state.num_present += other.state.num_present;
        self.state.num_wanted += other.state.num_wanted;
        self.num_replies += other.num_replies;
        self.num_judged += other.num_judged;
        self.num_scored += other.num_scored;
        self.num_rollouts_read += other.num_rollouts_read;
        for (model, tokens) in other.usage {
            *self.usage.entry(model).or_default() += tokens;
        }
    }
}

impl Plan {
    /// Returns the tokens of missing calls by model, bounded from above; its keys are the models
    /// that will be asked.
    pub(crate) fn usage(
        &self,
        store: &Store,
        only_stored_rollouts: bool,
    ) -> Result<BTreeMap<String, Usage>, Error> {
        let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
        for (demand, summary) in self.rollout_demands().iter().zip(self.summarize(store)?) {
            let num_missing = summary.state.num_wanted - summary.state.num_present;
            if num_missing > 0 && !only_stored_rollouts {
                *usage.entry(demand.cell.model_name.clone()).or_default() += Usage {
                    num_prompt_tokens: num_missing * demand.cell.prompt_tokens(),
                    num_generated_tokens: summary.max_new_tokens,
                };
            }
        }
        for (model, tokens) in self.call_demands(store)?.into_iter().flat_map(|d| d.usage) {
            *usage.entry(model).or_default() += tokens;
        }
        Ok(usage)
    }

    /// Returns the demand on each endpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn expenses(
        &self,
        store: &Store,
        models: &dyn ModelDirectory,
    ) -> Result<Vec<Expense>, Error> {
        let remote =
            self.usage(store, false)?.into_iter().filter(|(name, _)| models.is_remote(name));
        let expense = |(name, usage): (String, Usage)| {
            let cost_usd = models.price(&name, usage);
            Expense { endpoint: name, usage, cost_usd }
        };
        Ok(remote.map(expense).collect())
    }

    /// Returns the stages, beyond the rollouts, for which models are asked, each once.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn call_demands(&self, store: &Store) -> Result<Vec<CallDemand>, Error> {
        self.count_calls(&mut Counting::missing(store))
    }

    /// Returns the stages of [`Self::call_demands`] that were not counted before.
    pub(crate) fn count_calls(
        &self,
        counting: &mut Counting<'_>,
    ) -> Result<Vec<CallDemand>, Error> {
        let mut demands = Vec::new();
        for cell in self.cells() {
            let size = u64::from(cell.group_size);
            let stages = &cell.stages;
            let name = cell.aggregator.entry().name;
            let scope = format!("{} · G {size} · seed {}", cell.benchmark, cell.seed);
            let mut add =
                |purpose: Purpose,
                 label: String,
                 spec: &StageSpec,
                 keys: Vec<String>,
                 calls: Calls,
                 (writer, judge): (AskedModel<'_>, Option<AskedModel<'_>>)| {
                    if calls != Calls::NONE && counting.is_new(spec, purpose.part()) {
                        let usage = cell.usage(calls, writer, judge, counting);
                        demands.push(demand(
                            (purpose, label),
                            counting,
                            spec,
                            &keys,
                            calls,
                            usage,
                        )?);
                    }
                    Ok::<(), Error>(())
                };
            let prompts = || -> Vec<String> {
                let tasks = cell.tasks.tasks.iter();
                tasks.map(|task| task.prompt.id.as_str().to_owned()).collect()
            };
            let (writer, judge) = (cell.aggregator_asks(), cell.judge_asks());
            let calls = cell.aggregator.calls(cell.group_shape());
            let asked = (writer, judge);
            let label = format!("{name} · {scope}");
            add(Purpose::PseudoReferences, label, &stages.aggregates, prompts(), calls, asked)?;
            let num_items = mean_items(cell);
            if cell.grader == Grader::HealthBenchStrict {
                let calls = Calls { judged: num_items, rollouts_read: num_items, ..Calls::NONE };
                let asked = (writer, cell.eval_judge_asks());
                let rollouts = cell.tasks.tasks.iter().flat_map(|task| {
                    (0..cell.group_size).map(|index| rollout_key(&task.prompt.id, index))
                });
                let label = format!("grades of rollouts · {scope}");
                let (grades, of) = (Purpose::Grades, rollouts.collect());
                add(grades, label, &stages.rollout_grades, of, calls, asked)?;
                let label = format!("grades of {name} · {scope}");
                add(grades, label, &stages.grades, prompts(), calls, asked)?;
            }
            let of_groups = (cell.reward_asks(), judge);
            if let Some(training) = &cell.training {
                let settings = &training.settings;
                // The stage has a record per step.
                let prompts = u64::from(settings.prompts_per_step);
                let steps = || (1..=u64::from(settings.steps)).map(step_key).collect();
                if training.record(&cell.reward).uses_references {
                    let calls = cell.aggregator.calls(cell.group_shape()).times(prompts);
                    let label = format!("pseudo-references in steps of {}", cell.label());
                    let purpose = Purpose::PseudoReferences;
                    add(purpose, label, &training.steps, steps(), calls, asked)?;
                }
                let calls = cell.reward_calls().times(prompts);
                let label = format!("rewards in steps of {}", cell.label());
                add(Purpose::Rewards, label, &training.steps, steps(), calls, of_groups)?;
                demands.extend(evaluations(cell, training, counting)?);
                continue;
            }
            let Some(spec) = &stages.rewards else { continue };
            let calls = cell.reward_calls();
            let reward = cell.reward_name().unwrap_or_default();
            let judge_name = cell.axes.get("judge").filter(|_| calls.judged > 0);
            let by = judge_name.map_or_else(String::new, |judge| format!(" by {judge}"));
            let label = format!("reward {reward}{by} of {name} · {scope}");
            add(Purpose::Rewards, label, spec, prompts(), calls, of_groups)?;
        }
        Ok(demands)
    }
}

/// Returns the calls of the benchmark's judge for the evaluations of a training run, except those
/// that other training runs share.
fn evaluations(
    cell: &Cell,
    training: &Training,
    counting: &mut Counting<'_>,
) -> Result<Option<CallDemand>, Error> {
    let mut all: Option<CallDemand> = None;
    for evaluation in &training.evaluations {
        let RolloutDemand { cell: evaluated, .. } = &evaluation.demand;
        let spec = &evaluated.stages.rollout_grades;
        let is_judged = evaluated.grader == Grader::HealthBenchStrict;
        let purpose = Purpose::Evaluations;
        if !is_judged || !counting.is_new(spec, purpose.part()) {
            continue;
        }
        let num_items = mean_items(evaluated);
        let calls = Calls { judged: num_items, rollouts_read: num_items, ..Calls::NONE };
        let judge = evaluated.eval_judge_asks();
        let usage = evaluated.usage(calls, evaluated.reward_asks(), judge, counting);
        let keys: Vec<String> = evaluation.demand.keys().into_iter().collect();
        let label = format!("evaluations of {}", cell.label());
        let one = demand((purpose, label), counting, spec, &keys, calls, usage)?;
        match &mut all {
            None => all = Some(one),
            Some(all) => all.add(one),
        }
    }
    Ok(all)
}

/// Returns the mean number of items of the labels' rubrics, rounded up.
fn mean_items(cell: &Cell) -> u64 {
    let rubrics = cell.tasks.tasks.iter().filter_map(|task| task.label.rubric());
    let sizes: Vec<u64> = rubrics.map(|label| label.rubric.criteria.len() as u64).collect();
    sizes.iter().sum::<u64>().div_ceil(sizes.len().max(1) as u64)
}

fn demand(
    (purpose, label): (Purpose, String),
    counting: &Counting<'_>,
    spec: &StageSpec,
    keys: &[String],
    calls: Calls,
    mut usage: BTreeMap<String, Usage>,
) -> Result<CallDemand, Error> {
    let present = counting.present(spec)?;
    let num_present = keys.iter().filter(|key| present.contains(*key)).count() as u64;
    let missing = keys.len() as u64 - num_present;
    for tokens in usage.values_mut() {
        tokens.num_prompt_tokens *= missing;
        tokens.num_generated_tokens *= missing;
    }
    usage.retain(|_, _| missing > 0);
    Ok(CallDemand {
        purpose,
        label,
        state: StageState { num_present, num_wanted: keys.len() as u64 },
        num_replies: missing * calls.replies,
        num_judged: missing * calls.judged,
        num_scored: missing * calls.scored,
        num_rollouts_read: missing * calls.rollouts_read,
        usage,
    })
}

#[cfg(test)]
mod tests {
    use preceptor_core::record::AggregateRecord;
    use preceptor_core::{AbstainReason, Aggregate, AggregateOutcome};

    use super::*;
    use crate::test_support::{ScriptedModels, plan, store};

    #[test]
    fn a_plan_of_components_that_ask_no_model_demands_no_calls() {
        let (_folder, store) = store();
        let plan = plan(&[], None).unwrap();
        assert_eq!(plan.call_demands(&store).unwrap(), []);
        // Two prompts, four rollouts of at most ten tokens each.
        let usage = plan.usage(&store, false).unwrap();
        assert_eq!(usage["policy"].num_generated_tokens, 2 * 4 * 10);
        assert!(plan.usage(&store, true).unwrap().is_empty(), "stored rollouts cost nothing");
    }

    /// Two rewards on the same syntheses of another model.
    const SYNTHESES: [&str; 3] = [
        "aggregator.kind=synthesis",
        "anchor.model=anchor",
        "matrix={ reward = [{ name = \"a\", terms = [{ kind = \"format\" }] }, { name = \"b\", terms = [{ kind = \"answer-match\" }] }] }",
    ];

    #[test]
    fn a_stage_that_cells_share_is_counted_once_and_its_stored_records_are_not() {
        let (_folder, store) = store();
        let plan = plan(&SYNTHESES, None).unwrap();
        assert_eq!(plan.cells().len(), 2);
        let demand = |store: &Store| {
            let mut demands = plan.call_demands(store).unwrap();
            assert_eq!(demands.len(), 1);
            demands.remove(0)
        };
        // The anchor reads four rollouts for each of two prompts, of at most ten tokens each.
        let before = demand(&store);
        assert_eq!((before.purpose, before.num_replies), (Purpose::PseudoReferences, 2));
        assert_eq!(before.num_rollouts_read, 2 * 4);
        let a_question = TOKENS_AN_INSTRUCTION + plan.cells()[0].prompt_tokens();
        assert_eq!(before.usage["anchor"].num_prompt_tokens, 2 * a_question + 2 * 4 * 10);

        let cell = &plan.cells()[0];
        let mut writer = store.stage(&cell.stages.aggregates).writer();
        let prompt = cell.tasks.tasks[0].prompt.id.clone();
        let aggregate = Aggregate {
            outcome: AggregateOutcome::Abstained(AbstainReason::NoAnswer),
            measures: BTreeMap::new(),
            replies: Vec::new(),
            usage: Usage::default(),
        };
        let record = AggregateRecord { prompt: prompt.clone(), aggregate };
        writer.append(prompt.as_str(), &record).unwrap();
        let after = demand(&store);
        assert_eq!(after.state, StageState { num_present: 1, num_wanted: 2 });
        assert_eq!(after.usage["anchor"].num_prompt_tokens, a_question + 4 * 10);
    }

    #[test]
    fn only_endpoints_cost_anything() {
        let (_folder, store) = store();
        let plan = plan(&SYNTHESES, None).unwrap();
        let local = plan.expenses(&store, &ScriptedModels::default()).unwrap();
        assert_eq!(local, []);
        let models = ScriptedModels { endpoint: Some("anchor"), ..ScriptedModels::default() };
        let expenses = plan.expenses(&store, &models).unwrap();
        let [Expense { endpoint, usage, cost_usd }] = &expenses[..] else { panic!("one endpoint") };
        assert_eq!(endpoint, "anchor");
        let num_tokens = usage.num_prompt_tokens + usage.num_generated_tokens;
        assert_eq!(*cost_usd, Some(num_tokens as f64));
    }
}
