//! Named facts about a group, which filters find.

use crate::answers::PromptAnswer;
use crate::explorer::judged::JudgedView;
use crate::explorer::view::GroupView;

/// Facts about an estimate that its view does not hold.
pub(crate) struct EstimateFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_majority: bool,
    pub(crate) given: Option<PromptAnswer>,
}

/// Returns the flags of a group whose answers are right or wrong.
pub(crate) fn answer_flags(group: &GroupView, facts: &[EstimateFacts<'_>]) -> Vec<String> {
    let GroupView { rollouts, estimates, .. } = group;
    let right = rollouts.iter().filter(|rollout| rollout.score == Some(1.0)).count();
    let all_wrong = rollouts.iter().all(|rollout| rollout.score.is_some_and(|score| score < 1.0));
    let there = estimates.iter().zip(facts);
    let there: Vec<_> = there.filter_map(|(view, facts)| Some((view.as_ref()?, facts))).collect();
    let majority = there.iter().find(|(_, facts)| facts.is_majority);
    let mut flags = Vec::new();
    let mut add = |flag: &str| flags.push(flag.to_owned());
    if right == rollouts.len() {
        add("all right");
    }
    if all_wrong {
        add("all wrong");
    }
    if right > 0 && right < rollouts.len() {
        add("mixed group");
    }
    if all_wrong && there.iter().any(|(view, _)| view.score == Some(1.0)) {
        add("right where all rollouts are wrong");
    }
    if majority.is_some_and(|(view, _)| view.score != Some(1.0)) && right > 0 {
        add("majority wrong, a rollout right");
    }
    if majority.is_some_and(|(view, _)| view.measures.get("tied") == Some(&1.0)) {
        add("majority tied");
    }
    if rollouts.iter().any(|rollout| rollout.answer.is_none()) {
        add("rollout without an answer");
    }
    for (_, facts) in there.iter().filter(|(view, _)| view.text.is_some()) {
        let both = majority.and_then(|(_, of)| Some((of.given.as_ref()?, facts.given.as_ref()?)));
        if both.is_some_and(|(majority, given)| !given.same_as(majority)) {
            add(&format!("{} differs from majority", facts.name));
        }
    }
    flags
}

/// Returns the flags of a group in which something failed.
pub(crate) fn failure_flags(group: &GroupView) -> Vec<String> {
    let mut flags = Vec::new();
    let rewards = || group.rewards.iter().flatten();
    let rewarded = || rewards().flat_map(|reward| &reward.rollouts);
    let judged = group.rollouts.iter().flat_map(|rollout| &rollout.judged);
    let judged = judged.chain(group.estimates.iter().flatten().flat_map(|view| &view.judged));
    let mut judged = judged.chain(rewarded().flat_map(|rollout| &rollout.judged));
    if judged.any(JudgedView::is_failed) {
        flags.push("judge failed".to_owned());
    }
    let is_missing = rewards().any(|reward| reward.failure.is_some());
    if is_missing || rewarded().any(|rollout| rollout.value.is_none()) {
        flags.push("rollout without a reward".to_owned());
    }
    let failed = group.estimates.iter().flatten().any(|view| view.is_failed());
    if failed || group.rollouts.iter().any(|rollout| rollout.finish == "failed") {
        flags.push("failed call".to_owned());
    }
    flags
}
