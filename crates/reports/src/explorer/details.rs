//! Whole records of a few prompts of a set, which are read when they are shown.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::record::{
    AggregateRecord, CellRecord, GradeRecord, RewardRecord, RolloutRecord, rollout_key,
};
use preceptor_core::{Digest, PromptId};
use preceptor_store::Store;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::evidence::Evidence;

/// Bytes of records that are read at once.
pub(crate) const CHUNK_BYTES: u64 = 64 << 20;

/// Records of one type by key.
type Records<T> = BTreeMap<String, T>;

/// Records of a set's groups.
pub(crate) struct Details {
    pub(crate) rollouts: Records<RolloutRecord>,
    pub(crate) rollout_grades: Records<GradeRecord>,
    pub(crate) aggregates: BTreeMap<Digest, Records<AggregateRecord>>,
    pub(crate) grades: BTreeMap<Digest, Records<GradeRecord>>,
    pub(crate) rewards: BTreeMap<Digest, Records<RewardRecord>>,
}

impl Details {
    /// Reads the records of `prompts`: the rollouts of `cell`, and all that `readers` made from them.
    pub(crate) fn read(
        store: &Store,
        cell: &CellRecord,
        readers: &[&CellRecord],
        prompts: &[PromptId],
    ) -> Result<Self, Error> {
        let of_prompts: BTreeSet<String> = prompts.iter().map(PromptId::to_string).collect();
        let of_rollouts: BTreeSet<String> = prompts
            .iter()
            .flat_map(|prompt| (0..cell.group_size).map(|index| rollout_key(prompt, index)))
            .collect();
        let mut details = Self {
            rollouts: find(store, &cell.stages.rollouts, &of_rollouts)?,
            rollout_grades: find(store, &cell.stages.rollout_grades, &of_rollouts)?,
            aggregates: BTreeMap::new(),
            grades: BTreeMap::new(),
            rewards: BTreeMap::new(),
        };
        for stages in readers.iter().map(|cell| &cell.stages) {
            add(store, &stages.aggregates, &of_prompts, &mut details.aggregates)?;
            add(store, &stages.grades, &of_prompts, &mut details.grades)?;
            if let Some(rewards) = &stages.rewards {
                add(store, rewards, &of_prompts, &mut details.rewards)?;
            }
        }
        Ok(details)
    }

    /// Returns the number of prompts whose records are about [`CHUNK_BYTES`].
    pub(crate) fn num_prompts(
        evidence: &Evidence,
        cell: &CellRecord,
        readers: &[&CellRecord],
    ) -> usize {
        let mut stages = BTreeSet::from([&cell.stages.rollouts, &cell.stages.rollout_grades]);
        for reader in readers {
            stages.extend([&reader.stages.aggregates, &reader.stages.grades]);
            stages.extend(&reader.stages.rewards);
        }
        let num_bytes: u64 = stages.into_iter().map(|stage| evidence.num_bytes(stage)).sum();
        num_in_chunk(num_bytes, cell.prompts.len())
    }
}

/// Returns the number of records of about [`CHUNK_BYTES`] where `num` have `num_bytes`.
pub(crate) fn num_in_chunk(num_bytes: u64, num: usize) -> usize {
    let share = CHUNK_BYTES as f64 / num_bytes.max(1) as f64;
    ((num as f64 * share) as usize).max(1)
}

fn add<T: DeserializeOwned>(
    store: &Store,
    stage: &Digest,
    keys: &BTreeSet<String>,
    into: &mut BTreeMap<Digest, Records<T>>,
) -> Result<(), Error> {
    if !into.contains_key(stage) {
        into.insert(stage.clone(), find(store, stage, keys)?);
    }
    Ok(())
}

fn find<T: DeserializeOwned>(
    store: &Store,
    stage: &Digest,
    keys: &BTreeSet<String>,
) -> Result<Records<T>, Error> {
    Ok(store.stage_by_digest(stage).find(keys)?.records)
}
