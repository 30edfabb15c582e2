//! Every group of a benchmark, set by set.

use std::collections::BTreeSet;

use preceptor_core::PromptId;
use preceptor_core::record::{CellRecord, PromptRecord, TrainGroupRecord};
use preceptor_store::Store;

use crate::Error;
use crate::evidence::Evidence;
use crate::explorer::details::{Details, num_in_chunk};
use crate::explorer::evaluated::EvaluatedSet;
use crate::explorer::named::SetHead;
use crate::explorer::texts::Texts;
use crate::explorer::trained::trained_sets;
use crate::explorer::view::GroupView;

/// A group with its prompt.
pub(crate) struct Met<'g> {
    pub(crate) prompt: &'g PromptId,
    pub(crate) record: Option<&'g PromptRecord>,
    pub(crate) label: Option<&'g str>,
    /// The step of training, if the group is of one.
    pub(crate) step: Option<u64>,
    pub(crate) view: &'g GroupView,
}

/// Receiver of groups.
pub(crate) trait Visitor {
    /// Starts a set of `num_groups` groups, which follow.
    fn start(&mut self, head: &SetHead, num_groups: usize) -> Result<(), Error>;

    /// Returns the texts that the next group is added to; `step` is its step of training.
    fn texts(&mut self, step: Option<u64>) -> &mut Texts;

    /// Takes a group.
    fn add(&mut self, met: &Met<'_>) -> Result<(), Error>;
}

/// Returns the benchmarks of a plan, each with whether its texts may be published.
pub(crate) fn benchmarks(evidence: &Evidence) -> Vec<(&str, bool)> {
    let mut benchmarks: Vec<(&str, bool)> = Vec::new();
    for cell in &evidence.plan.cells {
        match benchmarks.iter_mut().find(|(name, _)| *name == cell.benchmark) {
            Some((_, shareable)) => *shareable &= cell.shareable,
            None => benchmarks.push((&cell.benchmark, cell.shareable)),
        }
    }
    benchmarks
}

/// Returns the number of sets of a benchmark.
pub(crate) fn num_sets(evidence: &Evidence, benchmark: &str) -> usize {
    let is_of = |cell: &CellRecord| cell.benchmark == benchmark;
    let evaluated = evidence.rollout_sets().iter().filter(|set| is_of(set.cell)).count();
    evaluated + trained_sets(evidence).iter().filter(|set| is_of(set.cell)).count()
}

/// Shows every group of a benchmark to `visitor`: those of evaluated policies, then those of each training
/// run in the order of its steps. A few groups are in memory at a time.
pub(crate) fn walk(
    store: &Store,
    evidence: &Evidence,
    benchmark: &str,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    let is_of = |cell: &CellRecord| cell.benchmark == benchmark;
    let estimated = evidence.distinct(|stages| Some(vec![&stages.aggregates, &stages.grades]));
    let rewarded = evidence.distinct(|stages| Some(vec![stages.rewards.as_ref()?]));
    for set in evidence.rollout_sets().iter().filter(|set| is_of(set.cell)) {
        let set = EvaluatedSet::new(evidence, set, &estimated, &rewarded);
        visitor.start(&set.head, set.cell.prompts.len())?;
        let readers = set.readers();
        let chunk = Details::num_prompts(evidence, set.cell, &readers);
        for prompts in set.cell.prompts.chunks(chunk) {
            let details = Details::read(store, set.cell, &readers, prompts)?;
            for prompt in prompts {
                let view = set.group(prompt, &details, visitor.texts(None));
                let record = Some(evidence.prompt(set.cell, prompt.as_str()));
                let label = set.label(prompt, &details);
                visitor.add(&Met { prompt, record, label, step: None, view: &view })?;
            }
        }
    }
    for set in trained_sets(evidence).iter().filter(|set| is_of(set.cell)) {
        let groups = store.stage_by_digest(&set.training.groups);
        // Keys begin with the step, so that chunks of sorted keys have rising steps.
        let (mut keys, mut num_bytes) = (BTreeSet::new(), 0);
        groups.scan(&mut |key, json| {
            keys.insert(key.to_owned());
            num_bytes += json.len() as u64;
        })?;
        visitor.start(&set.head, keys.len())?;
        let known: BTreeSet<&PromptId> = set.cell.prompts.iter().collect();
        let chunk = num_in_chunk(num_bytes, keys.len());
        while !keys.is_empty() {
            let rest = keys.iter().nth(chunk).cloned().map(|first| keys.split_off(&first));
            let found = groups.find::<TrainGroupRecord>(&keys)?.records;
            for group in found.values() {
                let prompt = &group.prompt;
                let view = set.group(group, visitor.texts(Some(group.step)));
                let is_known = known.contains(prompt);
                let record = is_known.then(|| evidence.prompt(set.cell, prompt.as_str()));
                let (label, step) = (None, Some(group.step));
                visitor.add(&Met { prompt, record, label, step, view: &view })?;
            }
            keys = rest.unwrap_or_default();
        }
    }
    Ok(())
}
