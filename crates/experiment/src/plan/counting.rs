//! How the demands of plans are counted.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::Digest;
use preceptor_store::{StageSpec, Store};

use crate::Error;
use crate::plan::cell::RolloutDemand;

/// Part of a stage that is counted. A training run's steps hold the calls for pseudo-references, those for
/// rewards, and the updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    PseudoReferences,
    Updates,
    Other,
}

/// Counting of demands: each stage once, also if several plans share it.
#[derive(Debug)]
pub struct Counting<'s> {
    /// The records that exist; without it, none.
    store: Option<&'s Store>,
    length_share: f64,
    seen: BTreeSet<(Digest, Part)>,
    rollouts: BTreeMap<Digest, BTreeSet<String>>,
}

impl<'s> Counting<'s> {
    /// Counts what is missing in `store`, with texts as long as they may be.
    pub fn missing(store: &'s Store) -> Self {
        Self::of(Some(store))
    }

    /// Counts everything, stored or not, with texts as long as they may be.
    pub fn all() -> Self {
        Self::of(None)
    }

    fn of(store: Option<&'s Store>) -> Self {
        Self { store, length_share: 1.0, seen: BTreeSet::new(), rollouts: BTreeMap::new() }
    }

    /// Takes texts to have `share` of their limit from now on.
    pub(crate) fn set_length_share(&mut self, share: f64) {
        self.length_share = share;
    }

    /// Returns the tokens of a text with a limit of `max_new_tokens`.
    pub(crate) fn length(&self, max_new_tokens: u32) -> u64 {
        (f64::from(max_new_tokens) * self.length_share).ceil() as u64
    }

    /// Returns true at the first call for a part of a stage.
    pub(crate) fn is_new(&mut self, spec: &StageSpec, part: Part) -> bool {
        self.seen.insert((spec.digest().clone(), part))
    }

    /// Returns the number of missing rollouts of `demand` that were not counted before.
    pub(crate) fn new_rollouts(&mut self, demand: &RolloutDemand) -> Result<u64, Error> {
        let spec = &demand.cell.stages.rollouts;
        let present = self.present(spec)?;
        let counted = self.rollouts.entry(spec.digest().clone()).or_default();
        let keys = demand.keys().into_iter().filter(|key| !present.contains(key));
        Ok(keys.filter(|key| counted.insert(key.clone())).count() as u64)
    }

    /// Returns the keys of the stored records of a stage.
    pub(crate) fn present(&self, spec: &StageSpec) -> Result<BTreeSet<String>, Error> {
        match self.store {
            Some(store) => Ok(store.stage(spec).keys()?),
            None => Ok(BTreeSet::new()),
        }
    }
}
