//! Claims, the checks that test them, and the results.
//!
//! A check is a value with its 95% interval and an expectation. Values of estimates are over
//! prompts, seeds averaged first. Values of trained policies are over training runs and prompts,
//! crossed, each at the step that early stopping chose or else at the last step. Intervals are not
//! adjusted for the number of checks.

use preceptor_core::Split;
use preceptor_core::contrast::ROLLOUTS;
use preceptor_core::record::{CellRecord, PlanRecord};
use preceptor_stats::{Caution, Design, Estimate, Interval, clustered_proportion};
use serde::Deserialize;

use crate::Error;
use crate::answers::answer_of;
use crate::condition::{Condition, conditions_of, select_condition};
use crate::condition_scores::{ConditionScores, Moment};
use crate::evidence::Evidence;
use crate::label::selection_label;
use crate::number::{format_difference, format_number, format_percent};

/// A claim and how it is tested.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Claim {
    /// A short name.
    pub id: String,
    /// The claim, in a sentence.
    pub says: String,
    /// The paper's finding.
    pub paper: String,
    /// The reason why it can't be tested, if it can't.
    #[serde(default)]
    pub not_testable: Option<String>,
    /// Explains which checks were not made and what makes them.
    #[serde(skip)]
    pub left_open: Option<String>,
    /// The checks that test it: all of them must hold.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// A measured value and the value that a claim expects.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// The experiment that has it.
    pub experiment: String,
    /// True if only the whole suite makes the check, not the part of it for the CPU.
    #[serde(default)]
    pub whole: bool,
    /// The measure.
    pub measure: Measure,
    /// The condition, as `AXIS=VALUE`, several separated by commas; empty where there is only one.
    #[serde(default)]
    pub a: String,
    /// The condition that it is compared with. Default for trained policies: the initial policy.
    /// For [`Measure::Score`], `rollouts` are those of `a`.
    #[serde(default)]
    pub b: Option<String>,
    /// The expected relation to `than`.
    pub expect: Expect,
    /// The value that it is compared with.
    #[serde(default)]
    pub than: f64,
    /// The largest distance from `than` that still counts as equal.
    #[serde(default)]
    pub margin: f64,
}

/// The measure of a check, taken from its conditions `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The score of pseudo-references, `a` less `b`.
    Score,
    /// The score of the trained policy on the prompts it is trained on, `a` less `b`.
    PolicyTestTime,
    /// The score of the trained policy on held-out prompts, `a` less `b`.
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
            Self::RightWhereDifferent => "right where answers differ",
            Self::RightWhereAllWrong => "right where all rollouts are wrong",
        }
    }
}

/// The expected relation of a value to `than`.
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

/// The verdict on a check or a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClaimVerdict {
    /// Every interval lies on the expected side.
    Supported,
    /// Some interval contains the threshold.
    Undecided,
    /// Some interval lies on the other side.
    NotSupported,
    /// These experiments can't test it.
    NotTestable,
}

impl ClaimVerdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Undecided => "undecided",
            Self::NotSupported => "not supported",
            Self::NotTestable => "not testable",
        }
    }

    /// Compares an interval with the expectation of a check.
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

/// The measured value of a check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckValue {
    /// The estimate; none where no case occurs.
    pub(crate) estimate: Option<Estimate>,
    /// The scores of both sides, where the value is their difference.
    pub(crate) means: [Option<f64>; 2],
    /// The number of training runs, where policies are trained.
    num_runs: Option<usize>,
    /// The reason for a missing interval.
    caution: Option<Caution>,
    /// For cases among groups without a right rollout: those that are right, as a share of all questions.
    pub(crate) of_questions: Option<f64>,
    /// True if both sides have the same scores throughout.
    is_identical: bool,
}

/// A check with its result.
#[derive(Clone, Debug)]
pub(crate) struct CheckResult<'c> {
    pub(crate) check: &'c Check,
    pub(crate) value: CheckValue,
    pub(crate) verdict: ClaimVerdict,
}

impl CheckResult<'_> {
    /// Describes the comparison: the measure, `a` and its baseline.
    pub(crate) fn subject(&self) -> String {
        let Check { measure, a, b, .. } = self.check;
        let is_policy = matches!(measure, Measure::PolicyTestTime | Measure::PolicyHeldOut);
        let against = match (b.as_deref(), is_policy) {
            (Some(ROLLOUTS), false) => " compared with the mean of its own rollouts".to_owned(),
            (Some(b), _) => format!(" compared with {}", selection_label(b)),
            (None, true) => " compared with the initial policy".to_owned(),
            (None, false) => String::new(),
        };
        let a = if a.is_empty() { "the policy".to_owned() } else { selection_label(a) };
        format!("{}: {a}{against}", measure.name())
    }

    /// Describes the result of the check in a sentence.
    pub(crate) fn line(&self) -> String {
        let CheckValue { estimate, means, caution, .. } = self.value;
        let found = estimate.map_or_else(
            || "none".to_owned(),
            |Estimate { mean, interval, .. }| {
                let interval = interval.map_or_else(String::new, |Interval { low, high }| {
                    format!(" [{}, {}]", format_difference(low), format_difference(high))
                });
                let sides = match means {
                    [Some(a), Some(b)] => {
                        format!(" = {} - {}", format_number(a), format_number(b))
                    }
                    _ => String::new(),
                };
                let relative = self.value.relative().map(format_percent);
                let relative = relative.map_or_else(String::new, |text| format!(" ({text})"));
                let questions =
                    self.value.of_questions.map(|share| 100.0 * share).map(format_number);
                let questions = questions
                    .map_or_else(String::new, |share| format!(", {share} % of all questions"));
                let over = self.value.over();
                let mean = format_difference(mean);
                format!("{mean}{interval}{sides}{relative} over {over}{questions}")
            },
        );
        let caution = caution.map_or_else(String::new, |caution| format!(", {}", caution.name()));
        let (subject, expected) = (self.subject(), self.expected());
        format!("{subject}: {found} (expected {expected}): {}{caution}", self.verdict.name())
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

/// Returns the verdict on a claim: the worst of its checks. A check that was not made is undecided.
pub(crate) fn verdict(claim: &Claim, results: &[CheckResult<'_>]) -> ClaimVerdict {
    let not_made = claim.left_open.as_ref().map(|_| ClaimVerdict::Undecided);
    let of_checks = results.iter().map(|result| result.verdict).chain(not_made).max();
    of_checks.filter(|_| claim.not_testable.is_none()).unwrap_or(ClaimVerdict::NotTestable)
}

/// Refuses checks that the plans of a suite, by experiment, can't answer.
///
/// # Errors
///
/// [`Error::Claim`] for an unknown experiment, for selections of no or several conditions, and for
/// policies that are not trained or not evaluated on the split.
pub fn check_claims(claims: &[Claim], plans: &[(String, PlanRecord)]) -> Result<(), Error> {
    for check in claims.iter().flat_map(|claim| &claim.checks) {
        let plan = plans.iter().find(|(experiment, _)| *experiment == check.experiment);
        let Some((_, plan)) = plan else {
            return Err(bad(check, "it is not part of the suite".to_owned()));
        };
        let conditions = conditions_of(plan);
        let a = select(check, &check.a, &conditions)?;
        let b = other(check, &conditions)?;
        let split = match check.measure {
            Measure::PolicyTestTime => Split::TestTime,
            Measure::PolicyHeldOut => Split::HeldOut,
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

/// Returns the condition `b`, which some measures need.
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

/// Evaluates a check.
pub(crate) fn evaluate_check<'c>(
    check: &'c Check,
    evidence: &Evidence,
) -> Result<CheckResult<'c>, Error> {
    let conditions = evidence.conditions();
    let a = select(check, &check.a, &conditions)?;
    let b = other(check, &conditions)?;
    let differing = |counts_right: bool| {
        let b = b.as_ref().expect("asked for by `other`");
        differing(evidence, &a, b, counts_right)
    };
    let against = |[a, b]: [ConditionScores; 2]| CheckValue::of_sides(&a, &b);
    let shares = |clusters: Vec<Vec<f64>>| CheckValue::of_shares(&clusters);
    let value = match check.measure {
        Measure::Score => against([
            evidence.estimate_scores(&a),
            b.as_ref().map_or_else(|| evidence.rollout_scores(&a), |b| evidence.estimate_scores(b)),
        ]),
        Measure::PolicyTestTime => {
            against(policies(check, evidence, &a, b.as_ref(), Split::TestTime)?)
        }
        Measure::PolicyHeldOut => {
            against(policies(check, evidence, &a, b.as_ref(), Split::HeldOut)?)
        }
        Measure::Disagreement => shares(differing(false)),
        Measure::RightWhereDifferent => shares(differing(true)),
        Measure::RightWhereAllWrong => {
            let rescued = rescued(evidence, &a);
            let num_right: f64 = rescued.iter().flatten().sum();
            let num_questions: usize = a.cells.iter().map(|cell| cell.prompts.len()).sum();
            let of_questions = (num_questions > 0).then(|| num_right / num_questions as f64);
            CheckValue { of_questions, ..shares(rescued) }
        }
    };
    let interval = match (check.expect, value.is_identical) {
        // Scores that agree one by one are equal, whatever the interval for other prompts.
        (Expect::Equal, true) => Some(Interval { low: 0.0, high: 0.0 }),
        _ => value.estimate.and_then(|estimate| estimate.interval),
    };
    let verdict =
        interval.map_or(ClaimVerdict::Undecided, |interval| ClaimVerdict::of(interval, check));
    Ok(CheckResult { check, value, verdict })
}

impl CheckValue {
    fn of_sides(a: &ConditionScores, b: &ConditionScores) -> Self {
        let contrast = a.against(b);
        let estimate = contrast.map(|contrast| contrast.estimate);
        let is_trained = [a.design, b.design].contains(&Design::TrainingRuns);
        let runs = contrast.filter(|_| is_trained).map(|contrast| contrast.num_runs);
        let caution = contrast.and_then(|contrast| contrast.caution);
        let is_identical = estimate.is_some_and(|e| e.mean == 0.0 && e.std_error == Some(0.0));
        Self {
            estimate,
            means: [a.mean(), b.mean()],
            num_runs: runs,
            caution,
            of_questions: None,
            is_identical,
        }
    }

    fn of_shares(clusters: &[Vec<f64>]) -> Self {
        let estimate = clustered_proportion(clusters).map(Estimate::over_prompts);
        let num_prompts = estimate.map_or(0, |estimate| estimate.num_clusters);
        let caution = estimate.and_then(|_| Caution::of(Design::Samples, 1, num_prompts));
        Self {
            estimate,
            means: [None, None],
            num_runs: None,
            caution,
            of_questions: None,
            is_identical: false,
        }
    }

    /// Returns a difference as a share of its second side.
    pub(crate) fn relative(&self) -> Option<f64> {
        let base = self.means[1].filter(|base| *base > 0.0)?;
        Some(self.estimate?.mean / base)
    }

    /// Describes the sample: prompts, and training runs where policies are trained.
    pub(crate) fn over(&self) -> String {
        let count = |n: usize, unit: &str| match n {
            1 => format!("1 {unit}"),
            n => format!("{n} {unit}s"),
        };
        let prompts = self.estimate.map_or(0, |estimate| estimate.num_clusters);
        let prompts = count(prompts, "prompt");
        match self.num_runs {
            Some(runs) => format!("{} x {prompts}", count(runs, "training run")),
            None => prompts,
        }
    }
}

fn bad(check: &Check, detail: String) -> Error {
    Error::Claim { experiment: check.experiment.clone(), detail }
}

/// Returns the only condition that a selection names.
fn select<'e>(
    check: &Check,
    selection: &str,
    conditions: &[Condition<'e>],
) -> Result<Condition<'e>, Error> {
    let several = |count| bad(check, format!("`{selection}` names {count} conditions, not one"));
    select_condition(conditions, selection).map_err(several)
}

/// Returns the scores of two trained policies on a split, or of one and its initial policy.
fn policies(
    check: &Check,
    evidence: &Evidence,
    a: &Condition<'_>,
    b: Option<&Condition<'_>>,
    split: Split,
) -> Result<[ConditionScores; 2], Error> {
    let seeds = |condition: &Condition<'_>| {
        condition.cells.iter().map(|cell| cell.seed).collect::<Vec<_>>()
    };
    if b.is_some_and(|b| seeds(a) != seeds(b)) {
        return Err(bad(check, "both sides need the same seeds".to_owned()));
    }
    let of = |condition: &Condition<'_>, moment| {
        let scored = evidence.policy_scores(condition, split, moment);
        let is_whole = |scored: &ConditionScores| scored.seeds == seeds(condition);
        let detail = || bad(check, format!("no policy was evaluated on `{split}`"));
        scored.filter(is_whole).ok_or_else(detail)
    };
    let other = match b {
        None => of(a, Moment::Step(0))?,
        Some(b) => of(b, Moment::Final)?,
    };
    Ok([of(a, Moment::Final)?, other])
}

/// Returns for each prompt and seed whether answers differ; or, where they do, whether `a` is
/// right.
fn differing(
    evidence: &Evidence,
    a: &Condition<'_>,
    b: &Condition<'_>,
    is_right: bool,
) -> Vec<Vec<f64>> {
    let of_prompt = |prompt| {
        let pairs = a.cells.iter().zip(&b.cells);
        let of_cells = |(a, b): (&&CellRecord, &&CellRecord)| {
            let (a, b) = (answer_of(evidence, a, prompt)?, answer_of(evidence, b, prompt)?);
            let differ = !a.same_as(&b);
            if is_right { differ.then_some(a.is_right == Some(true)) } else { Some(differ) }
        };
        pairs.filter_map(of_cells).map(|is| f64::from(u8::from(is))).collect()
    };
    a.cell.prompts.iter().map(of_prompt).collect()
}

/// Returns for each prompt and seed without a right rollout the score of the pseudo-reference.
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
    fn an_interval_decides_only_on_one_side() {
        let verdicts = |expect: &str| {
            let check = check(expect);
            [(0.1, 0.3), (-0.1, 0.1), (-0.3, -0.1), (0.0, 0.0)]
                .map(|(low, high)| ClaimVerdict::of(Interval { low, high }, &check).name())
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
