//! The part of records that tables read. Texts stay in the store: what tables need to know about a text is
//! measured when its record is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use preceptor_core::record::{AggregateRecord, GradeRecord, RewardRecord, RolloutRecord, Score};
use preceptor_core::{
    AbstainReason, AggregateOutcome, Criterion, FinishReason, JudgeFailure, JudgedCriterion,
    Origin, Rating, RewardValue, Usage, Verdict,
};
use preceptor_stats::CheckedItem;

use crate::text_form::TextForm;

/// A rollout.
pub(crate) struct RolloutFacts {
    pub(crate) finish: FinishReason,
    pub(crate) num_prompt_tokens: u64,
    pub(crate) num_tokens: u64,
    /// Mean log-probability of its tokens, if they are known.
    pub(crate) mean_logprob: Option<f64>,
    /// The form of the text, where it is compared with that of pseudo-references.
    pub(crate) form: Option<Box<TextForm>>,
}

/// A grade with its verdicts.
pub(crate) struct GradeFacts {
    pub(crate) score: Score,
    pub(crate) answer: Option<Box<str>>,
    pub(crate) verdicts: Box<[VerdictFacts]>,
    /// Tokens of the judge.
    pub(crate) usage: Usage,
}

/// A judge's answer on a criterion.
pub(crate) struct VerdictFacts {
    criterion: Arc<CriterionFacts>,
    met: Option<bool>,
    pub(crate) failure: Option<JudgeFailure>,
    is_rating: bool,
}

/// Points and tags of a criterion.
struct CriterionFacts {
    points: f64,
    tags: BTreeSet<String>,
}

/// Outcome of an aggregator.
pub(crate) enum OutcomeFacts {
    Chosen(u32),
    Written(Box<TextForm>),
    Abstained(AbstainReason),
}

/// Named numbers.
pub(crate) type Measures = Box<[(Arc<str>, f64)]>;

/// The aggregate of a group.
pub(crate) struct AggregateFacts {
    pub(crate) outcome: OutcomeFacts,
    pub(crate) measures: Measures,
    pub(crate) usage: Usage,
}

/// The rewards of a group.
pub(crate) struct RewardFacts {
    pub(crate) rewards: Vec<RewardValue>,
    /// The failure of each verdict; none where it succeeded.
    pub(crate) verdicts: Vec<Option<JudgeFailure>>,
    pub(crate) measures: Measures,
    pub(crate) usage: Usage,
    /// The judge's part of it.
    pub(crate) judge_usage: Usage,
}

/// Names and criteria that many records share.
#[derive(Default)]
pub(crate) struct Shared {
    names: BTreeMap<String, Arc<str>>,
    /// By tags and the bits of the points.
    criteria: BTreeMap<(u64, BTreeSet<String>), Arc<CriterionFacts>>,
}

impl Shared {
    fn measures(&mut self, measures: BTreeMap<String, f64>) -> Measures {
        let mut name = |name: String| {
            if let Some(known) = self.names.get(&name) {
                return known.clone();
            }
            self.names.entry(name.clone()).or_insert_with(|| name.into()).clone()
        };
        measures.into_iter().map(|(key, value)| (name(key), value)).collect()
    }

    fn criterion(&mut self, criterion: Criterion) -> Arc<CriterionFacts> {
        let Criterion { points, tags, .. } = criterion;
        let key = (points.to_bits(), tags);
        if let Some(known) = self.criteria.get(&key) {
            return known.clone();
        }
        let facts = Arc::new(CriterionFacts { points, tags: key.1.clone() });
        self.criteria.insert(key, facts.clone());
        facts
    }

    fn verdict(&mut self, judged: JudgedCriterion) -> (VerdictFacts, Usage) {
        let (criterion, usage, met, failure, is_rating) = match judged {
            JudgedCriterion::Verdict { criterion, judged } => {
                let failure = match judged.answer {
                    Verdict::Failed(failure) => Some(failure),
                    Verdict::Met | Verdict::NotMet => None,
                };
                (criterion, judged.usage, judged.answer.met(), failure, false)
            }
            JudgedCriterion::Rating { criterion, judged } => {
                let failure = match judged.answer {
                    Rating::Failed(failure) => Some(failure),
                    Rating::Rated(_) => None,
                };
                (criterion, judged.usage, None, failure, true)
            }
        };
        let criterion = self.criterion(criterion);
        (VerdictFacts { criterion, met, failure, is_rating }, usage)
    }
}

impl RolloutFacts {
    /// Reads a rollout; `has_form` asks for the form of its text.
    pub(crate) fn new(record: &RolloutRecord, has_form: bool) -> Self {
        let rollout = &record.rollout;
        let sum: f64 = rollout.logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
        let num = rollout.logprobs.len();
        Self {
            finish: rollout.finish,
            num_prompt_tokens: rollout.num_prompt_tokens.into(),
            num_tokens: rollout.num_tokens(),
            mean_logprob: (num > 0).then(|| sum / num as f64),
            form: has_form.then(|| Box::new(TextForm::new(&rollout.text))),
        }
    }
}

impl GradeFacts {
    pub(crate) fn new(record: GradeRecord, shared: &mut Shared) -> Self {
        let mut usage = Usage::default();
        let verdicts = record.judged.into_iter().map(|judged| {
            let (verdict, of_verdict) = shared.verdict(judged);
            usage += of_verdict;
            verdict
        });
        let verdicts = verdicts.collect();
        Self { score: record.score, answer: record.answer.map(Into::into), verdicts, usage }
    }

    /// Returns whether it rests on verdicts.
    pub(crate) fn is_judged(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// Returns the items of the rubric with their verdicts.
    pub(crate) fn items(&self) -> impl Iterator<Item = CheckedItem> {
        self.verdicts.iter().filter(|verdict| !verdict.is_rating).map(|verdict| CheckedItem {
            points: verdict.criterion.points,
            met: verdict.met,
            tags: verdict.criterion.tags.clone(),
        })
    }
}

impl AggregateFacts {
    pub(crate) fn new(record: AggregateRecord, shared: &mut Shared) -> Self {
        let aggregate = record.aggregate;
        let outcome = match aggregate.outcome {
            AggregateOutcome::Estimated(reference) => match reference.origin {
                Origin::Rollout(index) => OutcomeFacts::Chosen(index),
                Origin::Written => OutcomeFacts::Written(Box::new(TextForm::new(&reference.text))),
            },
            AggregateOutcome::Abstained(reason) => OutcomeFacts::Abstained(reason),
        };
        Self { outcome, measures: shared.measures(aggregate.measures), usage: aggregate.usage }
    }

    /// Returns the form of a pseudo-reference that a model wrote.
    pub(crate) fn written(&self) -> Option<&TextForm> {
        match &self.outcome {
            OutcomeFacts::Written(form) => Some(form),
            OutcomeFacts::Chosen(_) | OutcomeFacts::Abstained(_) => None,
        }
    }
}

impl RewardFacts {
    pub(crate) fn new(record: RewardRecord, shared: &mut Shared) -> Self {
        let group = record.group;
        let (mut verdicts, mut judge_usage) = (Vec::new(), Usage::default());
        let rewards = group.rewards.into_iter().map(|reward| {
            for judged in reward.judged {
                let (verdict, usage) = shared.verdict(judged);
                verdicts.push(verdict.failure);
                judge_usage += usage;
            }
            reward.value
        });
        let rewards = rewards.collect();
        let measures = shared.measures(group.measures);
        Self { rewards, verdicts, measures, usage: group.usage, judge_usage }
    }
}

/// Facts about rollouts by prompt and index.
pub(crate) struct Groups<T>(BTreeMap<String, Vec<(u32, T)>>);

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Groups<T> {
    /// Adds the facts of a rollout's key, unless it has some. A key of no rollout is left out.
    pub(crate) fn add(&mut self, key: &str, facts: T) {
        let Some((prompt, index)) = key.rsplit_once('#') else { return };
        let Ok(index) = index.parse() else { return };
        let group = match self.0.get_mut(prompt) {
            Some(group) => group,
            None => self.0.entry(prompt.to_owned()).or_default(),
        };
        if let Err(place) = group.binary_search_by_key(&index, |(index, _)| *index) {
            group.insert(place, (index, facts));
        }
    }

    /// Returns the facts of a rollout.
    pub(crate) fn get(&self, prompt: &str, index: u32) -> Option<&T> {
        let group = self.0.get(prompt)?;
        let place = group.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&group[place].1)
    }

    /// Returns the prompt and the index of every rollout, with its facts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u32, &T)> {
        self.0.iter().flat_map(|(prompt, group)| {
            group.iter().map(move |(index, facts)| (prompt.as_str(), *index, facts))
        })
    }
}
