//! Labels: axes and conditions in words that a reader knows.
//!
//! Manifests and CSV columns name an axis by its dotted key. Headers, legends and pages show a label:
//!
//! | key and value | label |
//! |---|---|
//! | `aggregator.kind` = `synthesis` | synthesis |
//! | `reward` = `rubric` | rubric reward |
//! | `sampling.group-size` = `8` | group of 8 |
//! | `judge.model` = `pocket` | judge pocket |
//! | `judge.error-rate` = `0.1` | judge error rate 0.1 |
//! | `train.schedule.learning-rate` = `0.0002` | learning rate 0.0002 |

/// The axis of an aggregator's kind.
pub(crate) const AGGREGATOR: &str = "aggregator.kind";
/// The axis of the group size.
pub(crate) const GROUP_SIZE: &str = "sampling.group-size";

/// Returns an axis in words, as a column header: the last segment of its key, after the name of the
/// model role or aggregator that it belongs to.
pub(crate) fn axis_label(key: &str) -> String {
    if key == AGGREGATOR {
        return "aggregator kind".to_owned();
    }
    let mut segments: Vec<&str> = key.split('.').collect();
    // The segment before `kind` or `model` names the axis.
    if segments.len() > 1 && matches!(segments.last(), Some(&("kind" | "model"))) {
        segments.pop();
    }
    if segments == ["policy"] {
        return "model".to_owned();
    }
    let last = words(segments.last().copied().unwrap_or_default());
    match segments[..] {
        [owner @ ("aggregator" | "anchor" | "judge" | "eval-judge"), _, ..] => {
            format!("{} {last}", words(owner))
        }
        _ => last,
    }
}

/// Returns one value of an axis in words, such as `rubric reward` or `group of 8`.
pub(crate) fn value_label(key: &str, value: &str) -> String {
    match key {
        "aggregator" | AGGREGATOR | "benchmark" | "model" | "policy.model" => value.to_owned(),
        "reward" => format!("{value} reward"),
        "train" if ["grpo", "sft"].contains(&value) => {
            format!("{} training", value.to_uppercase())
        }
        "train" => format!("{value} training"),
        GROUP_SIZE => format!("group of {value}"),
        _ => format!("{} {value}", axis_label(key)),
    }
}

/// Returns a selection `AXIS=VALUE`, several with commas between, in words: the aggregator first.
pub(crate) fn selection_label(selection: &str) -> String {
    let parts = selection.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut parts: Vec<(&str, &str)> =
        parts.map(|part| part.split_once('=').unwrap_or(("aggregator", part))).collect();
    parts.sort_by_key(|(key, _)| !["aggregator", AGGREGATOR].contains(key));
    let labels = parts.into_iter().map(|(key, value)| value_label(key, value));
    labels.collect::<Vec<_>>().join(", ")
}

/// Returns the label of a reward together with its aggregator; either may be empty.
pub(crate) fn rewarded_label(aggregator: &str, reward: &str) -> String {
    let reward = if reward.is_empty() { String::new() } else { value_label("reward", reward) };
    let parts = [aggregator, reward.as_str()].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

fn words(segment: &str) -> String {
    let word = |word| match word {
        "kl" => "KL",
        "eval" => "evaluation",
        "lora" => "LoRA",
        word => word,
    };
    segment.split(['-', '_']).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_axes_have_words_of_their_own() {
        let labels = [
            (AGGREGATOR, "synthesis", "synthesis"),
            ("reward", "rubric", "rubric reward"),
            (GROUP_SIZE, "8", "group of 8"),
            ("policy.model", "qwen3-4b", "qwen3-4b"),
            ("judge.model", "pocket", "judge pocket"),
            ("eval-judge.model", "pocket", "evaluation judge pocket"),
            ("judge.error-rate", "0.1", "judge error rate 0.1"),
            ("train", "grpo", "GRPO training"),
            ("train.objective.kind", "grpo", "objective grpo"),
        ];
        for (key, value, label) in labels {
            assert_eq!(value_label(key, value), label, "{key}");
        }
    }

    #[test]
    fn an_unknown_axis_is_its_last_segment_in_words() {
        assert_eq!(axis_label("train.schedule.learning-rate"), "learning rate");
        assert_eq!(value_label("train.objective.reward-kl", "0.001"), "reward KL 0.001");
        assert_eq!(value_label("my_axis", "x"), "my axis x");
        assert_eq!(value_label("aggregator.include-question", "true"), {
            "aggregator include question true"
        });
    }

    #[test]
    fn a_selection_begins_with_its_aggregator() {
        assert_eq!(
            selection_label("sampling.group-size=4, aggregator=synthesis"),
            "synthesis, group of 4"
        );
        assert_eq!(
            selection_label("aggregator=synthesis,reward=rubric"),
            "synthesis, rubric reward"
        );
        assert_eq!(selection_label(""), "");
    }

    #[test]
    fn a_reward_follows_its_aggregator() {
        assert_eq!(rewarded_label("synthesis", "rubric"), "synthesis, rubric reward");
        assert_eq!(rewarded_label("", "rubric"), "rubric reward");
        assert_eq!(rewarded_label("synthesis", ""), "synthesis");
    }
}
