//! Settings that describe the component they configure.
//!
//! An aggregator, a reward, a judge, an objective or a benchmark has one settings type, which is its
//! table in the manifest. [`Settings`] states beside that type everything that the rest of the
//! program has to know about the component: its name, its inputs, the ranges of its keys, the prompt
//! that it shows to a model, and how often it asks one.

use std::error::Error;

use crate::Digest;

/// Inputs of a component besides the rollouts. They decide which settings its records depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Labels: the component is an upper bound, not a method.
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
    /// Only the rollouts.
    pub const NOTHING: Self = Self {
        labels: false,
        policy: false,
        anchor: false,
        judge: false,
        grades: false,
        reference: false,
    };
    /// Labels.
    pub const LABELS: Self = Self { labels: true, ..Self::NOTHING };
    /// The policy.
    pub const POLICY: Self = Self { policy: true, ..Self::NOTHING };
    /// The anchor.
    pub const ANCHOR: Self = Self { anchor: true, ..Self::NOTHING };
    /// Verdicts of a judge.
    pub const JUDGE: Self = Self { judge: true, ..Self::NOTHING };
    /// Grades or choices of a judge.
    pub const GRADES: Self = Self { judge: true, grades: true, ..Self::NOTHING };
    /// The pseudo-reference.
    pub const REFERENCE: Self = Self { reference: true, ..Self::NOTHING };

    /// Returns the inputs that either of the two needs.
    pub const fn union(self, other: Self) -> Self {
        Self {
            labels: self.labels || other.labels,
            policy: self.policy || other.policy,
            anchor: self.anchor || other.anchor,
            judge: self.judge || other.judge,
            grades: self.grades || other.grades,
            reference: self.reference || other.reference,
        }
    }

    /// Returns true if the component asks a model.
    pub const fn asks_a_model(self) -> bool {
        self.policy || self.anchor || self.judge
    }
}

/// Size of the group that a component's calls are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// Rollouts in the group.
    pub num_rollouts: u64,
    /// Mean number of criteria in the labels' rubrics; 0 where labels are final answers.
    pub num_label_criteria: u64,
}

/// Calls to models for one group. First attempts only: a reply that can't be read is asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Replies written by the policy or the anchor.
    pub replies: u64,
    /// Answers of the judge.
    pub judged: u64,
    /// Texts scored by log-probability.
    pub scored: u64,
    /// Rollouts that these calls read, each counted as often as it is read.
    pub rollouts_read: u64,
}

impl Calls {
    /// No calls.
    pub const NONE: Self = Self { replies: 0, judged: 0, scored: 0, rollouts_read: 0 };

    /// Returns the calls of a judge that answers `num_criteria` questions about each rollout.
    pub const fn of_judge(num_criteria: u64, group: GroupShape) -> Self {
        let judged = num_criteria * group.num_rollouts;
        Self { judged, rollouts_read: judged, ..Self::NONE }
    }

    /// Returns the calls for `count` groups.
    pub const fn times(self, count: u64) -> Self {
        Self {
            replies: self.replies * count,
            judged: self.judged * count,
            scored: self.scored * count,
            rollouts_read: self.rollouts_read * count,
        }
    }
}

impl std::iter::Sum for Calls {
    fn sum<I: Iterator<Item = Self>>(calls: I) -> Self {
        calls.fold(Self::NONE, |sum, calls| Self {
            replies: sum.replies + calls.replies,
            judged: sum.judged + calls.judged,
            scored: sum.scored + calls.scored,
            rollouts_read: sum.rollouts_read + calls.rollouts_read,
        })
    }
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The key, relative to its table.
    pub key: String,
    /// The value that was given.
    pub value: String,
    /// The values that are allowed; completes "must be ..".
    pub allowed: &'static str,
}

impl OutOfRange {
    /// Returns an error about `key` unless `is_allowed`.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] with these operands.
    pub fn check(
        key: &str,
        value: impl ToString,
        is_allowed: bool,
        allowed: &'static str,
    ) -> Result<(), Self> {
        if is_allowed {
            return Ok(());
        }
        Err(Self { key: key.to_owned(), value: value.to_string(), allowed })
    }

    /// Returns the same error as seen from the table that holds `table`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        Self { key: format!("{table}.{}", self.key), ..self }
    }
}

/// Facts about a cell from which settings follow that its manifest leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellFacts {
    /// True if the benchmark compares final answers; otherwise a rubric grades its responses.
    pub has_final_answers: bool,
    /// True if the benchmark scores the form of responses beside their content.
    pub scores_form: bool,
    /// Token limit of rollouts, where the anchor has none of its own.
    pub rollout_tokens: Option<u32>,
}

/// Error of a prompt that can't be used.
pub type PromptError = Box<dyn Error + Send + Sync>;

/// Settings of one component.
pub trait Settings {
    /// The `kind` in manifests, tables and documents.
    const NAME: &'static str;
    /// Summary of one line, for lists.
    const SUMMARY: &'static str;
    /// Inputs besides the rollouts.
    const NEEDS: Needs;

    /// Checks the range of every key. The default has nothing to check.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key outside its range.
    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }

    /// Fills in what follows from the cell. The default leaves everything as it is.
    fn complete(&mut self, facts: &CellFacts) {
        let _ = facts;
    }

    /// Returns the digest of the text that a model is shown around the rollouts, if the component
    /// shows one. Stored records depend on it.
    ///
    /// # Errors
    ///
    /// An error if a prompt of the user's own lacks a placeholder or has an unknown one.
    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(None)
    }

    /// Returns the calls to models for one group. A component whose [`Self::NEEDS`] name a model
    /// must implement it; the default is for components that ask none.
    fn calls(&self, group: GroupShape) -> Calls {
        let _ = group;
        Calls::NONE
    }

    /// Returns the token limit of a reply, where the component has a limit of its own.
    fn max_new_tokens(&self) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outside_its_range_is_named_with_its_table() {
        let error = OutOfRange::check("rank", 0, false, "at least 1").unwrap_err().within("lora");
        assert_eq!((error.key.as_str(), error.value.as_str()), ("lora.rank", "0"));
        assert_eq!(OutOfRange::check("rank", 1, true, "at least 1"), Ok(()));
    }

    #[test]
    fn needs_of_two_components_are_those_of_either() {
        let needs = Needs::ANCHOR.union(Needs::JUDGE);
        assert!(needs.anchor && needs.judge && !needs.grades && needs.asks_a_model());
        assert!(!Needs::LABELS.union(Needs::REFERENCE).asks_a_model());
    }
}
