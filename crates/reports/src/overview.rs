//! The answer of a page in brief: one table of estimators, and the total cost.

use preceptor_core::record::CostRecord;
use preceptor_stats::detectable_difference;

use crate::number::{format_number, format_usd};
use crate::table::{Table, Values};

/// Below this adjusted p-value a difference is significant.
const LEVEL: f64 = 0.05;
/// Prompts below which a page warns.
const FEW_PROMPTS: u64 = 100;
/// Share of prompts on which two conditions are assumed to disagree, as in `plan`.
const ASSUMED_DISAGREEMENT: f64 = 0.2;
/// Columns of the comparison with a baseline, the better one first: the difference, its p-value, and the
/// baseline in words.
const BASELINES: [(&str, &str, &str); 2] = [
    ("vs_single", "vs_single_p_holm", "one sampled rollout"),
    ("vs_rollouts", "", "the mean of the group's rollouts"),
];

/// Returns the answer of an experiment, from its table `scores`: what tells conditions apart, their score,
/// the difference from a baseline, and whether it is significant.
pub(crate) fn answer(scores: &Table) -> Table {
    let columns = scores.columns();
    let number = |name: &str| match columns.iter().find(|(known, _)| known == name) {
        Some((_, Values::Number(values))) => Some(values.clone()),
        _ => None,
    };
    // A column without any value may have been left out.
    let or_none = |name: &str| number(name).unwrap_or_else(|| vec![None; scores.height()]);
    let baseline = BASELINES.into_iter().find(|(name, ..)| number(name).is_some());
    let caption = match baseline {
        Some((.., words)) => format!("Score of each condition and its difference from {words}"),
        None => "Score of each condition".to_owned(),
    };
    let mut table = Table::new("answer", caption);
    let has_axis = columns.iter().any(|(name, _)| name == "aggregator");
    for (name, values) in columns.iter().take_while(|(name, _)| name != "score") {
        let Values::Text(texts) = values else { continue };
        let is_same = texts.iter().all(|text| *text == texts[0]);
        let is_kind_again = name == "aggregator.kind" && has_axis;
        if (!is_same || name == "aggregator.kind") && !is_kind_again {
            table.text(name, texts.clone());
        }
    }
    for name in ["score", "low", "high"] {
        table.number(name, or_none(name));
    }
    if let Some((name, p_name, _)) = baseline {
        let [low, high] = ["low", "high"].map(|end| format!("{name}_{end}"));
        for name in [name, &low, &high] {
            table.number(name, or_none(name));
        }
        if let Some(values) = number(p_name) {
            table.number(p_name, values);
        }
        let ends = (or_none(&low), or_none(&high));
        let p_values = number(p_name);
        let of = |i: usize| match (&p_values, ends.0[i].zip(ends.1[i])) {
            (_, None) => "-",
            (Some(p_values), Some(interval)) => match p_values[i] {
                Some(p) => yes_or_no(p < LEVEL),
                None => yes_or_no(is_apart(interval)),
            },
            (None, Some(interval)) => yes_or_no(is_apart(interval)),
        };
        table.text("significant", (0..scores.height()).map(|i| of(i).to_owned()).collect());
    }
    let standing = columns.iter().find(|(name, _)| name == "standing");
    if let Some((name, Values::Text(values))) = standing {
        table.text(name, values.clone());
    }
    table
}

/// Warns of few prompts, from the table `scores`: names the difference that they can show.
pub(crate) fn few_prompts(scores: &Table) -> Option<String> {
    let prompts = scores.columns().iter().find(|(name, _)| name == "prompts");
    let Some((_, Values::Count(counts))) = prompts else { return None };
    let least = counts.iter().copied().flatten().min().filter(|least| *least < FEW_PROMPTS)?;
    let difference = detectable_difference(least as usize, ASSUMED_DISAGREEMENT);
    Some(format!(
        "Few prompts ({least}): a difference below {} is found with less than 80 % power, if two conditions \
         disagree on {:.0} % of them.",
        format_number(difference),
        100.0 * ASSUMED_DISAGREEMENT
    ))
}

fn is_apart((low, high): (f64, f64)) -> bool {
    low > 0.0 || high < 0.0
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Returns the total of an experiment's table `spending`; none where no spending was recorded.
pub(crate) fn total_cost(spending: Option<&Table>) -> Option<CostRecord> {
    let spending = spending.filter(|table| table.height() > 0)?;
    let last = spending.height() - 1;
    let number = |name: &str| match spending.columns().iter().find(|(known, _)| known == name) {
        Some((_, Values::Number(values))) => values[last].unwrap_or(0.0),
        Some((_, Values::Count(values))) => values[last].unwrap_or(0) as f64,
        _ => 0.0,
    };
    Some(CostRecord {
        num_records: number("calls") as u64,
        num_prompt_tokens: number("prompt_tokens") as u64,
        num_generated_tokens: number("generated_tokens") as u64,
        wall_secs: number("seconds"),
        cost_usd: number("cost_usd"),
    })
}

/// Returns the sum of several costs; none of none.
pub(crate) fn sum(costs: impl IntoIterator<Item = CostRecord>) -> Option<CostRecord> {
    costs.into_iter().reduce(|a, b| CostRecord {
        num_records: a.num_records + b.num_records,
        num_prompt_tokens: a.num_prompt_tokens + b.num_prompt_tokens,
        num_generated_tokens: a.num_generated_tokens + b.num_generated_tokens,
        wall_secs: a.wall_secs + b.wall_secs,
        cost_usd: a.cost_usd + b.cost_usd,
    })
}

/// Describes a cost in a sentence.
pub(crate) fn cost_sentence(cost: &CostRecord) -> String {
    let usd = match cost.cost_usd {
        0.0 => "no paid endpoint".to_owned(),
        usd => format!("{} USD", format_usd(usd)),
    };
    format!(
        "Total cost: {} calls, {} tokens read, {} tokens generated, {} of model time, {usd}.",
        grouped(cost.num_records),
        grouped(cost.num_prompt_tokens),
        grouped(cost.num_generated_tokens),
        duration(cost.wall_secs),
    )
}

/// Returns an integer with commas between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let comma = |i: usize| i > 0 && (digits.len() - i).is_multiple_of(3);
    let parts =
        digits.char_indices().map(|(i, c)| if comma(i) { format!(",{c}") } else { c.to_string() });
    parts.collect()
}

fn duration(secs: f64) -> String {
    match secs {
        secs if secs >= 3600.0 => format!("{:.1} h", secs / 3600.0),
        secs if secs >= 60.0 => format!("{:.1} min", secs / 60.0),
        secs => format!("{} s", format_number(secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_what_tells_conditions_apart_and_what_is_significant() {
        let mut scores = Table::new("scores", "");
        let texts = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        scores.text("benchmark", texts(&["sums"; 3]));
        scores.text("aggregator.kind", texts(&["single", "majority", "synthesis"]));
        for (name, values) in [
            ("score", [Some(0.5), Some(0.6), Some(0.9)]),
            ("low", [Some(0.4), Some(0.5), Some(0.8)]),
            ("high", [Some(0.6), Some(0.7), Some(0.95)]),
            ("vs_single", [None, Some(0.1), Some(0.4)]),
            ("vs_single_low", [None, Some(0.01), Some(0.3)]),
            ("vs_single_high", [None, Some(0.2), Some(0.5)]),
            ("vs_single_p_holm", [None, Some(0.06), Some(1e-5)]),
        ] {
            scores.number(name, values.to_vec());
        }
        scores.text("standing", texts(&["", "", "best"]));
        let table = answer(&scores);
        let row = |row: usize| {
            table.shown().iter().map(|c| c.cells[row].clone()).collect::<Vec<_>>().join(" | ")
        };
        assert_eq!(row(0), "single | 0.500 [0.400, 0.600] | - | - | - | ");
        assert_eq!(
            row(1),
            "majority | 0.600 [0.500, 0.700] | +0.100 [+0.010, +0.200] | 0.060 | no | "
        );
        assert_eq!(
            row(2),
            "synthesis | 0.900 [0.800, 0.950] | +0.400 [+0.300, +0.500] | <0.001 | yes | best"
        );
        assert!(table.caption.ends_with("one sampled rollout"));
    }

    #[test]
    fn few_prompts_are_told_with_what_they_can_show() {
        let of = |prompts: u64| {
            let mut scores = Table::new("scores", "");
            scores.count("prompts", vec![500, prompts]);
            few_prompts(&scores)
        };
        let sentence = of(12).unwrap();
        assert!(
            sentence.starts_with("Few prompts (12): a difference below 0.362 is"),
            "{sentence}"
        );
        assert_eq!(of(100), None);
    }

    #[test]
    fn a_cost_is_a_sentence() {
        let cost = CostRecord {
            num_records: 1_234_567,
            num_prompt_tokens: 1000,
            num_generated_tokens: 999,
            wall_secs: 5400.0,
            cost_usd: 0.0486,
        };
        assert_eq!(
            cost_sentence(&cost),
            "Total cost: 1,234,567 calls, 1,000 tokens read, 999 tokens generated, 1.5 h of model time, 0.049 USD."
        );
        assert_eq!(sum([cost.clone(), cost]).unwrap().num_prompt_tokens, 2000);
        assert_eq!(total_cost(None), None);
    }
}
