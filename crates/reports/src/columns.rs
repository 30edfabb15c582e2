//! Headings, units, number formats and explanations of columns, by name.

use crate::label::axis_label;

/// The format of a column's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberKind {
    Plain,
    /// A difference, with its sign.
    Signed,
    PValue,
    Usd,
    /// A relative change, in percent.
    Percent,
}
use NumberKind::{PValue, Percent, Plain, Signed, Usd};

/// A column: its heading, unit, format and explanation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnInfo {
    name: &'static str,
    /// The heading; empty for the name in words.
    heading: &'static str,
    /// The unit; empty where values have none.
    pub(crate) unit: &'static str,
    pub(crate) kind: NumberKind,
    /// The explanation.
    pub(crate) help: &'static str,
}

const fn info(
    name: &'static str,
    heading: &'static str,
    unit: &'static str,
    kind: NumberKind,
    help: &'static str,
) -> ColumnInfo {
    ColumnInfo { name, heading, unit, kind, help }
}

const COLUMNS: &[ColumnInfo] = &[
    info("a", "", "", Plain, "the first side of the comparison"),
    info(
        "a_right",
        "a right",
        "share",
        Plain,
        "share of the groups with different answers that `a` gets right",
    ),
    info("a_score", "a", "", Plain, "mean score of the first side"),
    info("abstained", "", "share", Plain, "share of groups without a pseudo-reference"),
    info("actor", "", "", Plain, "the trainer, or the address of a rollout server"),
    info("aggregator", "", "", Plain, "the aggregator, as the manifest names it"),
    info("all_wrong", "", "groups", Plain, "groups in which every rollout is wrong"),
    info(
        "all_wrong_of_questions",
        "all wrong, of questions",
        "share",
        Plain,
        "share of all groups in which every rollout is wrong and the pseudo-reference is right: the paper's unit",
    ),
    info(
        "auc",
        "AUC",
        "",
        Plain,
        "chance that a right rollout has a higher reward than a wrong one, ties counting half, over all rollouts",
    ),
    info("b", "", "", Plain, "the second side of the comparison"),
    info(
        "b_right",
        "b right",
        "share",
        Plain,
        "share of the groups with different answers that `b` gets right",
    ),
    info("b_score", "b", "", Plain, "mean score of the second side"),
    info("benchmark", "", "", Plain, "the benchmark"),
    info(
        "bootstrap_std",
        "bootstrap std",
        "",
        Plain,
        "standard deviation of the score over 1000 resamples",
    ),
    info("boxed", "", "share", Plain, "share of texts with a final answer"),
    info("calls", "", "calls", Plain, "calls to models, each counted once"),
    info("characters", "", "characters", Plain, "mean number of characters of a text"),
    info("check", "", "", Plain, "verdict on the check alone"),
    info(
        "chosen",
        "chosen steps",
        "",
        Plain,
        "steps that early stopping chose, in the order of the seeds",
    ),
    info("claim", "", "", Plain, "the claim that is tested"),
    info(
        "common_prompts",
        "",
        "prompts",
        Plain,
        "prompts that every condition of the benchmark has a score of",
    ),
    info("common_score", "", "", Plain, "score over the common prompts"),
    info("compared", "", "groups", Plain, "groups that are compared"),
    info("condition", "", "", Plain, "columns of text of the table, as `name=value`"),
    info("contrast", "", "", Plain, "the declared comparison"),
    info(
        "copied",
        "",
        "share",
        Plain,
        "share of written pseudo-references whose text is that of a rollout",
    ),
    info(
        "correlation",
        "",
        "",
        Plain,
        "Pearson's correlation of reward and score over all rollouts",
    ),
    info("cost_usd", "USD", "USD", Usd, "cost by the prices of the endpoints"),
    info("count", "", "", Plain, "number of cases"),
    info("coverage", "", "share", Plain, "share of expected scores that are present"),
    info("differ", "", "share", Plain, "share of groups to which the two give different answers"),
    info("difference", "a - b", "", Signed, "difference of the two sides, paired by prompt"),
    info("distinct_answers", "", "answers", Plain, "mean number of answer classes in a group"),
    info("equations", "", "", Plain, "mean number of equations in a text"),
    info(
        "evaluation_se",
        "evaluation SE",
        "",
        Plain,
        "part of the standard error that comes from the prompts",
    ),
    info("examples", "", "examples", Plain, "examples with a score"),
    info("expected", "", "", Plain, "the value that the claim expects"),
    info("experiment", "", "", Plain, "the experiment"),
    info("failed", "", "share", Plain, "share of records that are missing because a call failed"),
    info(
        "false_negative_rate",
        "FNR",
        "share",
        Plain,
        "share of right rollouts that the reward calls wrong",
    ),
    info(
        "false_positive_rate",
        "FPR",
        "share",
        Plain,
        "share of wrong rollouts that the reward calls right",
    ),
    info(
        "flat_groups",
        "",
        "share",
        Plain,
        "share of groups whose rewards are all equal: they teach nothing",
    ),
    info("from_secs", "from", "s", Plain, "start of the work, since the start of the step"),
    info("gain", "", "", Signed, "difference from the initial policy, paired by seed and prompt"),
    info("generated_tokens", "", "tokens", Plain, "tokens that models generated"),
    info("grader", "", "", Plain, "name and version of the grader"),
    info(
        "group_auc",
        "AUC in groups",
        "",
        Plain,
        "chance that a right rollout of a group has a higher reward than a wrong one of the same group, averaged over prompts; only this reaches GRPO",
    ),
    info(
        "group_correlation",
        "correlation in groups",
        "",
        Plain,
        "correlation of reward and score within groups, averaged over prompts",
    ),
    info("group_size", "", "rollouts", Plain, "rollouts per group"),
    info("groups", "", "groups", Plain, "groups that have the value"),
    info("high", "", "", Plain, "upper end of the 95% interval"),
    info("highest", "", "", Plain, "the highest value of a single seed"),
    info(
        "iqm",
        "IQM",
        "",
        Plain,
        "interquartile mean of the scores of all tasks and seeds: the mean of the middle half",
    ),
    info("judge_generated_tokens", "", "tokens", Plain, "tokens that the judge generated"),
    info("judge_prompt_tokens", "", "tokens", Plain, "tokens that the judge read"),
    info("k", "", "rollouts", Plain, "rollouts of which the worst counts"),
    info("key", "", "", Plain, "dotted key of the setting"),
    info("label_accuracy", "", "share", Plain, "share of pseudo-references that are right"),
    info("level", "", "", Plain, "the benchmark's tag `level`"),
    info("lines", "", "lines", Plain, "mean number of lines of a text that are not blank"),
    info("losses", "", "prompts", Plain, "prompts on which `b` is better"),
    info("low", "", "", Plain, "lower end of the 95% interval"),
    info("lowest", "", "", Plain, "the lowest value of a single seed"),
    info("mean", "", "", Plain, "mean of the measure"),
    info("mean_score", "", "", Plain, "mean of all scores, not clipped"),
    info(
        "mean_token_logprob",
        "mean log-probability",
        "nats",
        Plain,
        "mean log-probability of a token, averaged over each rollout first",
    ),
    info("mean_tokens", "", "tokens", Plain, "mean length of a rollout"),
    info("measure", "", "", Plain, "the measure"),
    info("metric", "", "", Plain, "the metric"),
    info("mixed_groups", "", "groups", Plain, "groups with both kinds of rollouts"),
    info("model", "", "", Plain, "the policy's model"),
    info(
        "new_answer",
        "",
        "share",
        Plain,
        "share of written pseudo-references whose answer occurs in no rollout",
    ),
    info("new_right", "", "share", Plain, "share of the new answers that are right"),
    info("no_answer", "", "share", Plain, "share of rollouts without a final answer"),
    info("note", "", "", Plain, "the reason for a missing value"),
    info("num_differ", "", "groups", Plain, "groups to which the two give different answers"),
    info("of", "", "", Plain, "cases in all"),
    info(
        "of_questions",
        "of all questions",
        "share",
        Plain,
        "the cases in which the pseudo-reference is right, as a share of all questions: the paper's unit",
    ),
    info("over", "", "", Plain, "sample size"),
    info("p", "", "", PValue, "p-value of the paired test"),
    info(
        "p_holm",
        "p (Holm)",
        "",
        PValue,
        "p-value, adjusted by Holm for all comparisons of the table",
    ),
    info("pass_at_1", "pass@1", "share", Plain, "share of rollouts that are right"),
    info("pass_at_group", "pass@G", "share", Plain, "share of groups with a right rollout"),
    info("phase", "", "", Plain, "part of a training step"),
    info(
        "probability_of_improvement",
        "P(better)",
        "",
        Plain,
        "chance that a run on a task scores higher than one of the reference, ties counting half, averaged over tasks",
    ),
    info("prompt_tokens", "", "tokens", Plain, "tokens that models read"),
    info("prompts", "", "prompts", Plain, "number of prompts"),
    info("reason", "", "", Plain, "the reason"),
    info("reference", "", "", Plain, "the condition that it is compared with"),
    info("refused", "", "share", Plain, "share of rollouts that were refused"),
    info(
        "relative",
        "relative",
        "%",
        Percent,
        "difference in percent of the second side, as the paper states gains",
    ),
    info(
        "relative_gain",
        "relative gain",
        "%",
        Percent,
        "gain in percent of the initial policy's score, as the paper states it",
    ),
    info("reward", "", "", Plain, "the reward"),
    info(
        "reward_accuracy",
        "",
        "share",
        Plain,
        "share of rollouts that the reward classifies correctly",
    ),
    info(
        "right_when_all_wrong",
        "",
        "groups",
        Plain,
        "groups with a right pseudo-reference although every rollout is wrong",
    ),
    info("role", "", "", Plain, "the role of the model that was called"),
    info("rollouts", "", "rollouts", Plain, "rollouts with a reward and a score"),
    info("run", "", "", Plain, "number of the training run in this table"),
    info(
        "score",
        "",
        "",
        Plain,
        "for final answers the share of prompts that are right; for rubrics the clipped mean share of points",
    ),
    info("seconds", "", "s", Plain, "wall-clock time"),
    info(
        "seconds_per_prompt",
        "seconds per prompt",
        "s",
        Plain,
        "wall-clock time per prompt, as recorded by the runs",
    ),
    info("seconds_per_step", "", "s", Plain, "wall-clock time per training step"),
    info("seed", "", "", Plain, "the seed"),
    info("seeds", "", "seeds", Plain, "number of seeds; for trained policies, of training runs"),
    info("sees_labels", "", "", Plain, "the part that labels reach; empty if none"),
    info(
        "share",
        "",
        "share",
        Plain,
        "share of the groups without a right rollout that have a right pseudo-reference",
    ),
    info(
        "significant",
        "",
        "",
        Plain,
        "`yes` where the difference is told apart from 0: by its adjusted p-value below 0.05, or else by its interval",
    ),
    info("source", "", "", Plain, "the texts that are described"),
    info(
        "split",
        "",
        "",
        Plain,
        "`test-time` prompts are trained on; `held-out` and `validation` prompts are not",
    ),
    info("stage", "", "", Plain, "the stage that used the tokens"),
    info(
        "standing",
        "",
        "",
        Plain,
        "rank among the conditions of the benchmark, or the reason why there is none",
    ),
    info("std", "", "", Plain, "standard deviation over rollouts"),
    info("step", "", "steps", Plain, "training steps before it"),
    info("step_words", "", "", Plain, "mean number of words such as \"first\" and \"therefore\""),
    info("table", "", "", Plain, "the table that holds the value"),
    info("tag", "", "", Plain, "name of the benchmark's tag"),
    info("tasks", "", "", Plain, "number of benchmarks"),
    info("texts", "", "texts", Plain, "number of texts"),
    info("ties", "", "prompts", Plain, "prompts on which both sides are equal"),
    info("to_secs", "to", "s", Plain, "end of the work, since the start of the step"),
    info("tokens_per_prompt", "", "tokens", Plain, "prompt and generated tokens per prompt"),
    info("tokens_per_step", "", "tokens", Plain, "tokens sampled per training step"),
    info("trained_on", "", "", Plain, "what the policy was trained on"),
    info(
        "training_se",
        "training SE",
        "",
        Plain,
        "part of the standard error that comes from training",
    ),
    info(
        "true_positive_rate",
        "TPR",
        "share",
        Plain,
        "share of right rollouts that the reward calls right",
    ),
    info("truncated", "", "share", Plain, "share of rollouts that were cut off"),
    info("unclipped", "", "", Plain, "mean of rubric scores before clipping"),
    info("unit", "", "", Plain, "the unit of the value"),
    info("unrewarded", "", "share", Plain, "share of rollouts without a reward"),
    info("unrewarded_reasons", "", "", Plain, "reasons why rollouts have no reward"),
    info("unscored", "", "examples", Plain, "examples without a score"),
    info(
        "usd_per_prompt",
        "USD per prompt",
        "USD",
        Usd,
        "cost per prompt by the prices of the endpoints",
    ),
    info("value", "", "", Plain, "the value"),
    info("verdict", "", "", Plain, "verdict on the claim: the worst of its checks"),
    info(
        "verification_cues",
        "",
        "",
        Plain,
        "mean number of words such as \"check\" and \"verify\"",
    ),
    info(
        "vs_rollouts",
        "vs rollouts",
        "",
        Signed,
        "paired difference from the mean of the group's own rollouts",
    ),
    info(
        "vs_rollouts_relative",
        "vs rollouts, relative",
        "%",
        Percent,
        "the same in percent of the rollouts' score, as the paper states gains",
    ),
    info("vs_single", "vs single", "", Signed, "paired difference from one sampled rollout"),
    info(
        "vs_single_p_holm",
        "p (Holm)",
        "",
        PValue,
        "p-value of the difference from one rollout, adjusted over all conditions of the benchmark",
    ),
    info("wall_secs", "seconds", "s", Plain, "wall-clock time of sampling"),
    info("what", "", "", Plain, "the kind of record"),
    info("wins", "", "prompts", Plain, "prompts on which `a` is better"),
    info(
        "within_group_std",
        "std in groups",
        "",
        Plain,
        "standard deviation of a group's rewards, averaged over groups",
    ),
    info("words", "", "words", Plain, "mean number of words of a text"),
    info(
        "worst",
        "",
        "",
        Plain,
        "expected lowest score of k rollouts of a prompt, averaged over prompts and clipped",
    ),
    info("written", "", "", Plain, "number of written pseudo-references"),
    info(
        "youden",
        "Youden's J",
        "",
        Plain,
        "true positive rate less false positive rate: 0 for a reward that says nothing, 1 for labels; it ranks rewards before any training",
    ),
];

/// Returns what is known about a column; none for an axis of the matrix.
pub(crate) fn column_info(name: &str) -> Option<&'static ColumnInfo> {
    let found = COLUMNS.binary_search_by(|info| info.name.cmp(name));
    found.ok().map(|place| &COLUMNS[place])
}

/// Returns the format of a column's numbers.
pub(crate) fn kind_of(name: &str) -> NumberKind {
    let base = name.strip_suffix("_low").or_else(|| name.strip_suffix("_high")).unwrap_or(name);
    column_info(name).or_else(|| column_info(base)).map_or(Plain, |info| info.kind)
}

/// Returns the unit of a column's values; empty where they have none.
pub(crate) fn unit_of(name: &str) -> &'static str {
    let base = name.strip_suffix("_low").or_else(|| name.strip_suffix("_high")).unwrap_or(name);
    column_info(base).map_or("", |info| info.unit)
}

/// Returns the heading of a column.
pub(crate) fn heading(name: &str) -> String {
    match column_info(name) {
        Some(info) if !info.heading.is_empty() => info.heading.to_owned(),
        _ => axis_label(name),
    }
}

/// Returns the explanation of a column: an axis of the matrix is named by its key.
pub(crate) fn help(name: &str) -> String {
    match column_info(name) {
        Some(info) if info.unit.is_empty() => info.help.to_owned(),
        Some(info) => format!("{} ({})", info.help, info.unit),
        None => format!("value of `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_sorted_and_each_is_explained() {
        assert!(COLUMNS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(COLUMNS.iter().all(|info| !info.help.is_empty()));
    }

    #[test]
    fn ends_of_an_interval_have_the_format_of_their_mean() {
        assert_eq!((kind_of("gain_low"), unit_of("differ_high")), (Signed, "share"));
        assert_eq!(heading("vs_single_p_holm"), "p (Holm)");
        assert_eq!(heading("train.schedule.learning-rate"), "learning rate");
        assert_eq!(help("judge.model"), "value of `judge.model`");
    }
}
