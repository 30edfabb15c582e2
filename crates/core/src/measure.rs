//! Measures of a training step.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// The direction in which a measure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Larger values are better.
    Higher,
    /// Smaller values are better.
    Lower,
    /// The measure describes the step and ranks nothing.
    Neither,
}

impl Better {
    /// Returns the direction as a word; empty for [`Better::Neither`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neither => "",
        }
    }
}

macro_rules! step_measures {
    ($($variant:ident = $name:literal, $label:literal, $unit:literal, $better:ident, $summary:literal;)*) => {
        /// A measure of a training step.
        ///
        /// Records name measures by [`StepMeasure::name`]; they sort by it, so that records list them
        /// alphabetically.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum StepMeasure {
            $(#[doc = concat!("The ", $summary, ".")] #[serde(rename = $name)] $variant,)*
        }

        impl StepMeasure {
            /// Every measure, in the order of tables.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name in records and tables.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns a few words for figures.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// Returns the definition, as the rest of a sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => $summary,)* }
            }

            /// Returns the unit; empty where the value has none.
            pub fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// Returns the direction in which it is better.
            pub fn better(self) -> Better {
                match self { $(Self::$variant => Better::$better,)* }
            }
        }
    };
}

step_measures! {
    LearningRate = "learning-rate", "learning rate", "", Neither, "learning rate of the step's last update";
    Loss = "loss", "loss", "", Neither, "mean loss of the step's updates, each before it is applied";
    RewardMean = "reward-mean", "mean reward", "", Higher, "mean reward of the rollouts, before the KL term";
    RewardStd = "reward-std", "standard deviation of rewards", "", Neither, "standard deviation of the rewards, all groups together";
    RewardWithKlMean = "reward-with-kl-mean", "mean reward with KL term", "", Higher, "mean reward less its KL term";
    Kl = "kl", "KL divergence from the reference", "nats per token", Neither, "KL divergence of the policy from the KL reference (k1, on samples)";
    Entropy = "entropy", "entropy", "nats per token", Neither, "mean entropy of the policy's distributions";
    ClipFraction = "clip-fraction", "clipped tokens", "share", Neither, "share of tokens whose clipped term counts";
    GradientNorm = "gradient-norm", "gradient norm", "", Neither, "mean norm of the gradient over the step's updates, before clipping";
    TokensMean = "tokens-mean", "mean length", "tokens", Neither, "mean length of a rollout or target";
    TokensMax = "tokens-max", "maximum length", "tokens", Neither, "length of the longest rollout or target";
    Truncated = "truncated", "truncated rollouts", "share", Lower, "share of rollouts that were cut off";
    LeftOut = "left-out", "rollouts left out", "share", Lower, "share of rollouts that take no part in the loss";
    GroupsVaried = "groups-varied", "groups with varied rewards", "share", Higher, "share of groups whose rewards differ";
    GroupsZeroVariance = "groups-zero-variance", "groups with equal rewards", "share", Lower, "share of groups whose rewards are all equal";
    GroupsTooFewRewards = "groups-too-few-rewards", "groups with too few rewards", "share", Lower, "share of groups with fewer than two rewards";
    UniqueAnswers = "unique-answers", "different answers per group", "", Neither, "mean number of different final answers in a group";
    NoAnswer = "no-answer", "rollouts without an answer", "share", Lower, "share of rollouts without a final answer";
    ScoreMean = "score-mean", "score of rollouts", "", Higher, "mean score of the rollouts against labels, for the record only";
    RewardAccuracy = "reward-accuracy", "accuracy of rewards", "share", Higher, "share of rollouts whose reward is above 0.5 exactly if they are right, for the record only";
    RewardTruePositives = "reward-true-positive-rate", "true positive rate of rewards", "share", Higher, "share of right rollouts whose reward is above 0.5, for the record only";
    RewardFalsePositives = "reward-false-positive-rate", "false positive rate of rewards", "share", Lower, "share of wrong rollouts whose reward is above 0.5, for the record only";
    RewardYouden = "reward-youden", "Youden's J of rewards", "", Higher, "true positive rate less false positive rate of the rewards, for the record only";
    ReferenceScore = "reference-score", "score of pseudo-references", "", Higher, "mean score of the pseudo-references against labels, for the record only";
    ReferenceMissing = "reference-missing", "groups without a pseudo-reference", "share", Lower, "share of groups without a pseudo-reference";
    ReferenceDiffers = "reference-differs", "pseudo-references that differ from the majority", "share", Neither, "share of pseudo-references whose answer is not the majority's";
    KeptMass = "kept-mass", "probability mass kept", "", Neither, "mean probability of the tokens that top-k, top-p and min-p kept";
    SamplerGap = "sampler-gap", "gap between sampler and trainer", "nats", Lower, "largest difference of a token's log-probability between sampler and trainer";
    SamplerLogRatioMean = "sampler-log-ratio-mean", "mean gap between sampler and trainer", "nats", Lower, "mean over tokens of the absolute difference of log-probabilities between sampler and trainer";
    SamplerLogRatioP99 = "sampler-log-ratio-p99", "99th percentile of the gap between sampler and trainer", "nats", Lower, "99th percentile over tokens of the absolute difference of log-probabilities between sampler and trainer";
    SamplerOutside = "sampler-outside", "ratios outside the correction's bounds", "share", Lower, "share of probability ratios of trainer to sampler outside of `low` to `high` of `sampler-correction`, by token or rollout";
    SamplerEffectiveSize = "sampler-effective-size", "effective sample size", "share", Higher, "effective sample size of the rollouts for the trainer's policy, as a share of the ratios that it is computed from";
}

impl Ord for StepMeasure {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for StepMeasure {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/reports.md");
    const BEGIN: &str = "<!-- step measures -->\n";
    const END: &str = "<!-- /step measures -->\n";

    #[test]
    fn records_list_measures_by_name() {
        let measures: BTreeMap<_, _> = StepMeasure::ALL.iter().map(|m| (*m, 0.5)).collect();
        let text = serde_json::to_string(&measures).unwrap();
        assert!(text.starts_with(r#"{"clip-fraction":0.5,"entropy":0.5"#), "{text}");
        assert_eq!(serde_json::from_str::<BTreeMap<StepMeasure, f64>>(&text).unwrap(), measures);
        let by_name: BTreeMap<String, f64> = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&by_name).unwrap(), text);
        assert!(serde_json::from_str::<StepMeasure>("\"score-men\"").is_err());
    }

    #[test]
    fn the_page_about_reports_lists_every_measure() {
        let mut table = "| measure | unit | better | definition |\n|---|---|---|---|\n".to_owned();
        for measure in StepMeasure::ALL {
            let (name, unit) = (measure.name(), measure.unit());
            let (better, summary) = (measure.better().name(), measure.summary());
            table.push_str(&format!("| `{name}` | {unit} | {better} | {summary} |\n"));
        }
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (listed, after) = rest.split_once(END).unwrap();
        if std::env::var_os("PRECEPTOR_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert!(listed == table, "run again with PRECEPTOR_WRITE_DOCS=1 to update the page");
        }
    }
}
