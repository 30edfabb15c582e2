//! Rank of a condition among those of its benchmark, or the reason why it is not ranked.
//!
//! | `standing` | means |
//! |---|---|
//! | `best` | the highest score, and different from every other that is ranked |
//! | `tied for best` | not different from the highest: the interval of their difference contains 0 |
//! | `upper bound` | labels reach its pseudo-reference, or its policy was trained on them; not a method |
//! | `too few prompts` | fewer prompts have a score than an interval needs |
//! | `one training run` | a single seed does not show how training varies |
//! | `fewer seeds` | another condition has more seeds, so the two are not equally certain |
//! | `partial coverage` | scores are missing, and another condition has all of its scores |
//!
//! The last five are never best. Differences are paired by prompt; of trained policies they are over training
//! runs and prompts. Where no condition has all scores, they are ranked over the prompts that all have a
//! score of, if these are enough.

use preceptor_core::PromptId;
use preceptor_stats::{Caution, MIN_PROMPTS};

use super::score_row::Row;
use crate::condition_scores::ConditionScores;

const UPPER_BOUND: &str = "upper bound";

/// Returns the prompts that all have a score of, for every seed.
pub(super) fn common_prompts<'s>(
    scored: impl Iterator<Item = &'s ConditionScores> + Clone,
) -> Vec<&'s PromptId> {
    let mut others = scored.clone();
    let Some(first) = others.next() else { return Vec::new() };
    let others: Vec<Vec<&PromptId>> = others.map(ConditionScores::whole_prompts).collect();
    let mut common = first.whole_prompts();
    common.retain(|prompt| others.iter().all(|known| known.contains(prompt)));
    common
}

/// Ranks the rows of a family.
pub(super) fn rank(rows: &mut [Row<'_>], family: &[usize]) {
    let mut ranked: Vec<usize> = Vec::new();
    let mut num_methods = 0;
    for &i in family {
        if rows[i].condition.is_upper_bound() {
            rows[i].standing = UPPER_BOUND;
            continue;
        }
        num_methods += 1;
        match rows[i].scored.caution() {
            Some(caution) => rows[i].standing = Caution::name(caution),
            None => ranked.push(i),
        }
    }
    let most = ranked.iter().map(|&i| rows[i].scored.seeds.len()).max().unwrap_or(0);
    leave_out(rows, &mut ranked, "fewer seeds", |scored| scored.seeds.len() < most);
    let is_whole = |scored: &ConditionScores| scored.coverage() >= Some(1.0);
    if ranked.iter().any(|&i| is_whole(&rows[i].scored)) {
        leave_out(rows, &mut ranked, "partial coverage", |scored| !is_whole(scored));
    }
    // A single ranked method among others that are not ranked is not best.
    if ranked.is_empty() || (ranked.len() == 1 && num_methods > 1) {
        return;
    }
    let compared: Vec<ConditionScores> = if ranked.iter().all(|&i| is_whole(&rows[i].scored)) {
        ranked.iter().map(|&i| rows[i].scored.clone()).collect()
    } else {
        let common = common_prompts(ranked.iter().map(|&i| &rows[i].scored));
        let common: Vec<PromptId> = common.into_iter().cloned().collect();
        if common.len() < MIN_PROMPTS {
            return leave_out(rows, &mut ranked, "partial coverage", |_| true);
        }
        let common: Vec<&PromptId> = common.iter().collect();
        ranked.iter().map(|&i| rows[i].scored.over(&common)).collect()
    };
    let means: Vec<f64> = compared.iter().filter_map(ConditionScores::mean).collect();
    let best = (0..means.len()).max_by(|&a, &b| means[a].total_cmp(&means[b]));
    let Some(best) = best else { return };
    let is_tied = |place: &usize| {
        compared[*place].prompts == compared[best].prompts
            && compared[*place].against(&compared[best]).is_some_and(|delta| !delta.is_told_apart())
    };
    let tied: Vec<usize> = (0..ranked.len()).filter(is_tied).collect();
    let standing = if tied.len() > 1 { "tied for best" } else { "best" };
    for place in tied {
        rows[ranked[place]].standing = standing;
    }
}

/// Takes rows out of the ranking and notes the reason.
fn leave_out(
    rows: &mut [Row<'_>],
    ranked: &mut Vec<usize>,
    words: &'static str,
    is_out: impl Fn(&ConditionScores) -> bool,
) {
    ranked.retain(|&i| {
        let is_out = is_out(&rows[i].scored);
        if is_out {
            rows[i].standing = words;
        }
        !is_out
    });
}
