//! Claims, what is looked at to test them, and what was seen.
//!
//! A check is a number with its 95 % interval and what it is expected to be. Numbers of estimates are
//! over prompts, seeds averaged first; numbers of trained policies are over seeds, since each is a
//! training of its own. Intervals are of each check alone, not adjusted for their number.

use preceptor_core::record::{CellRecord, PlanRecord};
use preceptor_stats::{
    Estimate, Interval, clustered_mean, clustered_proportion, paired_difference,
};
use serde::Deserialize;

use crate::Error;
use crate::answers::given;
use crate::condition::{Condition, conditions_of};
use crate::evidence::Evidence;
use crate::tables::final_scores;

/// Stands for the rollouts of `a` in the place of `b`.
const ROLLOUTS: &str = "rollouts";
/// Names of splits.
const TEST_TIME: &str = "test-time";
const HELD_OUT: &str = "held-out";

/// A claim and how it is tested.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Claim {
    /// A short name.
    pub id: String,
    /// The claim, in a sentence.
    pub says: String,
    /// What the paper saw.
    pub paper: String,
    /// Why it can't be tested, if it can't.
    #[serde(default)]
    pub not_testable: Option<String>,
    /// What is looked at: all of it must be as expected.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// One number and what it should be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// The experiment that has it.
    pub experiment: String,
    /// What is measured.
    pub measure: Measure,
    /// The condition, as `AXIS=VALUE`, several with commas between; empty where there is one only.
    #[serde(default)]
    pub a: String,
    /// The condition it is held against; of a trained policy, if left out, the policy before. For
    /// [`Measure::Score`] `rollouts` are those of `a`.
    #[serde(default)]
    pub b: Option<String>,
    /// What the number should be.
    pub expect: Expect,
    /// The number it is held against.
    #[serde(default)]
    pub than: f64,
    /// How far from it is still equal.
    #[serde(default)]
    pub margin: f64,
}

/// What a check measures of its conditions `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The score of pseudo-references, `a` less `b`.
    Score,
    /// The score of the trained policy on the prompts it is trained on, `a` less `b`.
    PolicyTestTime,
    /// The same on prompts that are held out.
    PolicyHeldOut,
    /// The share of groups to which `a` and `b` give different answers.
    Disagreement,
    /// Among those, the share that `a` gets right.
    RightWhereDifferent,
    /// Among groups without a right rollout, the share that `a` gets right.
    RightWhereAllWrong,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::PolicyTestTime => "policy, test-time",
            Self::PolicyHeldOut => "policy, held-out",
            Self::Disagreement => "disagreement",
            Self::RightWhereDifferent => "right where different",
            Self::RightWhereAllWrong => "right where all are wrong",
        }
    }
}

/// What a number should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Above `than`.
    Higher,
    /// Below `than`.
    Lower,
    /// Within `margin` of `than`.
    Equal,
}

/// How a claim fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Every interval lies where it should.
    Supported,
    /// Some interval reaches over the border.
    Undecided,
    /// Some interval lies on the other side.
    NotSupported,
    /// Nothing here can tell.
    NotTestable,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Undecided => "undecided",
            Self::NotSupported => "not supported",
            Self::NotTestable => "not testable",
        }
    }

    /// Where an interval lies.
    fn of(interval: Interval, check: &Check) -> Self {
        let Interval { low, high } = interval;
        let (is_there, is_elsewhere) = match check.expect {
            Expect::Higher => (low > check.than, high <= check.than),
            Expect::Lower => (high < check.than, low >= check.than),
            Expect::Equal => {
                let (from, to) = (check.than - check.margin, check.than + check.margin);
                (low >= from && high <= to, low > to || high < from)
            }
        };
        match (is_there, is_elsewhere) {
            (true, _) => Self::Supported,
            (_, true) => Self::NotSupported,
            _ => Self::Undecided,
        }
    }
}

/// A check with what was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'c> {
    pub(crate) check: &'c Check,
    /// None where nothing of the kind occurs.
    pub(crate) estimate: Option<Estimate>,
    /// What the interval is over.
    pub(crate) unit: &'static str,
    pub(crate) verdict: Verdict,
}

impl Seen<'_> {
    /// What is measured, for people: the measure, `a`, and what it is held against.
    pub(crate) fn subject(&self) -> String {
        let Check { measure, a, b, .. } = self.check;
        let is_policy = matches!(measure, Measure::PolicyTestTime | Measure::PolicyHeldOut);
        let against = match (b, is_policy) {
            (Some(b), _) => format!(" against {b}"),
            (None, true) => " against before".to_owned(),
            (None, false) => String::new(),
        };
        let a = if a.is_empty() { "the policy" } else { a };
        format!("{}: {a}{against}", measure.name())
    }

    /// What was seen, for people.
    pub(crate) fn line(&self) -> String {
        let number = |number: f64| format!("{number:+.3}");
        let found = self.estimate.map_or_else(
            || "none".to_owned(),
            |Estimate { mean, interval, num_clusters, .. }| {
                let interval = interval.map_or_else(String::new, |Interval { low, high }| {
                    format!(" [{}, {}]", number(low), number(high))
                });
                let unit =
                    if num_clusters == 1 { self.unit.trim_end_matches('s') } else { self.unit };
                format!("{}{interval} over {num_clusters} {unit}", number(mean))
            },
        );
        let (subject, expected) = (self.subject(), self.expected());
        format!("{subject}: {found} (expected {expected}): {}", self.verdict.name())
    }

    pub(crate) fn expected(&self) -> String {
        let Check { than, margin, .. } = self.check;
        match self.check.expect {
            Expect::Higher => format!("> {than}"),
            Expect::Lower => format!("< {than}"),
            Expect::Equal => format!("{than} ± {margin}"),
        }
    }
}

/// How a claim fares: the worst of its checks.
pub(crate) fn verdict(claim: &Claim, seen: &[Seen<'_>]) -> Verdict {
    let of_checks = seen.iter().map(|seen| seen.verdict).max();
    of_checks.filter(|_| claim.not_testable.is_none()).unwrap_or(Verdict::NotTestable)
}

/// Refuses checks of claims on what the plans of a suite, by experiment, can't show.
///
/// # Errors
///
/// [`Error::Claim`] for an experiment that is not there, for what names no condition or several, and
/// for policies that nobody trains or evaluates on the split.
pub fn check_claims(claims: &[Claim], plans: &[(String, PlanRecord)]) -> Result<(), Error> {
    for check in claims.iter().flat_map(|claim| &claim.checks) {
        let plan = plans.iter().find(|(experiment, _)| *experiment == check.experiment);
        let Some((_, plan)) = plan else {
            return Err(bad(check, "no such experiment is part of the suite".to_owned()));
        };
        let conditions = conditions_of(plan);
        let a = select(check, &check.a, &conditions)?;
        let b = other(check, &conditions)?;
        let split = match check.measure {
            Measure::PolicyTestTime => TEST_TIME,
            Measure::PolicyHeldOut => HELD_OUT,
            _ => continue,
        };
        for cell in [Some(&a), b.as_ref()].into_iter().flatten().flat_map(|side| &side.cells) {
            let mut evaluations = cell.training.iter().flat_map(|t| &t.evaluations);
            if !evaluations.any(|known| known.split == split && known.step > 0) {
                return Err(bad(check, format!("no policy was evaluated on `{split}`")));
            }
        }
    }
    Ok(())
}

/// The condition of `b`, which some measures need.
fn other<'e>(check: &Check, conditions: &[Condition<'e>]) -> Result<Option<Condition<'e>>, Error> {
    match (check.b.as_deref(), check.measure) {
        (Some(ROLLOUTS), Measure::Score) => Ok(None),
        (Some(b), _) => select(check, b, conditions).map(Some),
        (None, Measure::Score | Measure::Disagreement | Measure::RightWhereDifferent) => {
            Err(bad(check, "`b` is missing".to_owned()))
        }
        (None, _) => Ok(None),
    }
}

/// Looks at what a check names.
pub(crate) fn see<'c>(check: &'c Check, evidence: &Evidence) -> Result<Seen<'c>, Error> {
    let conditions = evidence.conditions();
    let a = select(check, &check.a, &conditions)?;
    let b = other(check, &conditions)?;
    let differing = |counts_right: bool| {
        let b = b.as_ref().expect("asked for by `other`");
        clustered_proportion(&differing(evidence, &a, b, counts_right))
    };
    let (estimate, unit) = match check.measure {
        Measure::Score => {
            let scores = evidence.scores(&a);
            let others = match &b {
                None => rollout_scores(evidence, &a),
                Some(b) => evidence.scores(b),
            };
            (paired_difference(&scores, &others).map(|found| found.estimate), "prompts")
        }
        Measure::PolicyTestTime => (policies(check, evidence, &a, b.as_ref(), TEST_TIME)?, "seeds"),
        Measure::PolicyHeldOut => (policies(check, evidence, &a, b.as_ref(), HELD_OUT)?, "seeds"),
        Measure::Disagreement => (differing(false), "prompts"),
        Measure::RightWhereDifferent => (differing(true), "prompts"),
        Measure::RightWhereAllWrong => (clustered_proportion(&rescued(evidence, &a)), "prompts"),
    };
    let interval = estimate.and_then(|estimate| estimate.interval);
    let verdict = interval.map_or(Verdict::Undecided, |interval| Verdict::of(interval, check));
    Ok(Seen { check, estimate, unit, verdict })
}

fn bad(check: &Check, detail: String) -> Error {
    Error::Claim { experiment: check.experiment.clone(), detail }
}

/// The one condition that a selection names.
fn select<'e>(
    check: &Check,
    selection: &str,
    conditions: &[Condition<'e>],
) -> Result<Condition<'e>, Error> {
    let is_meant = |condition: &Condition<'_>| {
        let mut parts = selection.split(',').filter(|part| !part.is_empty());
        parts.all(|part| match part.trim().split_once('=') {
            Some((axis, value)) => condition.cell.axes.get(axis).is_some_and(|v| v == value),
            None => false,
        })
    };
    let meant: Vec<_> = conditions.iter().filter(|condition| is_meant(condition)).collect();
    match meant[..] {
        [one] => Ok(one.clone()),
        _ => Err(bad(check, format!("`{selection}` names {} conditions, not one", meant.len()))),
    }
}

/// The mean score of each group's rollouts: one cluster a prompt, one value a seed.
fn rollout_scores(evidence: &Evidence, condition: &Condition<'_>) -> Vec<Vec<f64>> {
    let of = |cell: &CellRecord, prompt| {
        let scores = (0..cell.group_size).filter_map(|i| evidence.rollout_score(cell, prompt, i));
        clustered_mean(&[scores.collect()]).map(|estimate| estimate.mean)
    };
    let of_prompt = |prompt| condition.cells.iter().filter_map(|cell| of(cell, prompt)).collect();
    condition.cell.prompts.iter().map(of_prompt).collect()
}

/// The difference between two trained policies, or to the policy before, one value a seed.
fn policies(
    check: &Check,
    evidence: &Evidence,
    a: &Condition<'_>,
    b: Option<&Condition<'_>>,
    split: &str,
) -> Result<Option<Estimate>, Error> {
    let mut differences = Vec::new();
    for (index, cell) in a.cells.iter().enumerate() {
        let of = |cell: &CellRecord, is_trained: bool| {
            let scores = final_scores(evidence, cell, split, is_trained);
            scores.ok_or_else(|| bad(check, format!("no policy was evaluated on `{split}`")))
        };
        let other = match b.map(|b| b.cells.get(index)) {
            None => of(cell, false)?,
            Some(Some(other)) if other.seed == cell.seed => of(other, true)?,
            Some(_) => return Err(bad(check, "both sides need the same seeds".to_owned())),
        };
        differences.push(vec![of(cell, true)? - other]);
    }
    Ok(clustered_mean(&differences))
}

/// For each prompt and seed whether answers differ; or, where they do, whether `a` is right.
fn differing(
    evidence: &Evidence,
    a: &Condition<'_>,
    b: &Condition<'_>,
    is_right: bool,
) -> Vec<Vec<f64>> {
    let of_prompt = |prompt| {
        let pairs = a.cells.iter().zip(&b.cells);
        let of_cells = |(a, b): (&&CellRecord, &&CellRecord)| {
            let (a, b) = (given(evidence, a, prompt)?, given(evidence, b, prompt)?);
            let differ = !a.same_as(&b);
            match is_right {
                false => Some(differ),
                true => differ.then_some(a.is_right == Some(true)),
            }
        };
        pairs.filter_map(of_cells).map(|is| f64::from(u8::from(is))).collect()
    };
    a.cell.prompts.iter().map(of_prompt).collect()
}

/// For each prompt and seed without a right rollout, the score of the pseudo-reference.
fn rescued(evidence: &Evidence, condition: &Condition<'_>) -> Vec<Vec<f64>> {
    let of_prompt = |prompt| {
        let cells = condition.cells.iter().filter(|cell| {
            let mut scores = (0..cell.group_size).map(|i| evidence.rollout_score(cell, prompt, i));
            scores.all(|score| score == Some(0.0))
        });
        cells.filter_map(|cell| evidence.score(cell, prompt).value()).collect()
    };
    condition.cell.prompts.iter().map(of_prompt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expect: &str) -> Check {
        let text = format!("experiment = 'e'\nmeasure = 'score'\na = 'x=1'\nb = 'x=2'\n{expect}");
        toml::from_str(&text).expect("a check")
    }

    #[test]
    fn an_interval_decides_only_where_it_lies_on_one_side() {
        let verdicts = |expect: &str| {
            let check = check(expect);
            [(0.1, 0.3), (-0.1, 0.1), (-0.3, -0.1), (0.0, 0.0)]
                .map(|(low, high)| Verdict::of(Interval { low, high }, &check).name())
        };
        assert_eq!(
            verdicts("expect = 'higher'"),
            ["supported", "undecided", "not supported", "not supported"]
        );
        assert_eq!(
            verdicts("expect = 'lower'"),
            ["not supported", "undecided", "supported", "not supported"]
        );
        assert_eq!(
            verdicts("expect = 'equal'\nmargin = 0.05"),
            ["not supported", "undecided", "not supported", "supported"]
        );
        assert_eq!(verdicts("expect = 'higher'\nthan = 0.05")[0], "supported");
    }
}
