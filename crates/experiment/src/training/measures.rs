//! Measures of a step: those named in [`STEP_MEASURES`].
//!
//! [`STEP_MEASURES`]: preceptor_core::record::STEP_MEASURES

use std::collections::BTreeMap;

use preceptor_answers::{classify, extract_boxed};
use preceptor_core::record::{Score, TrainGroupRecord};
use preceptor_trainer::{GroupAdvantages, Report, Signal};

use crate::manifest::train_settings::OldLogprobs;
use crate::training::estimated::{EstimatedGroup, reference_of};

/// Measures rewards, groups and advantages.
pub(super) fn measure_rewards(
    estimated: &[EstimatedGroup<'_>],
    with_kl: &[Vec<Option<f64>>],
    normalised: &[GroupAdvantages],
    measures: &mut BTreeMap<String, f64>,
) {
    let mut put = |name: &str, value: Option<f64>| {
        measures.extend(value.map(|value| (name.to_owned(), value)));
    };
    let rewards: Vec<f64> = estimated
        .iter()
        .flat_map(|group| group.reward.rewards.iter().filter_map(|reward| reward.value.value()))
        .collect();
    put("reward-mean", mean(&rewards));
    put("reward-std", standard_deviation(&rewards));
    let with_kl: Vec<f64> = with_kl.iter().flatten().copied().flatten().collect();
    put("reward-with-kl-mean", mean(&with_kl));
    let num_groups = normalised.len();
    for (name, signal) in [
        ("groups-varied", Signal::Varied),
        ("groups-zero-variance", Signal::ZeroVariance),
        ("groups-too-few-rewards", Signal::TooFewRewards),
    ] {
        let count = normalised.iter().filter(|group| group.signal == signal).count();
        put(name, Some(share(count, num_groups)));
    }
    let advantages: Vec<_> = normalised.iter().flat_map(|group| &group.advantages).collect();
    let left_out = advantages.iter().filter(|advantage| advantage.is_none()).count();
    put("left-out", Some(share(left_out, advantages.len())));
}

/// Measures lengths and answers of the rollouts and pseudo-references; `compares_answers` where labels
/// are final answers.
pub(super) fn measure_groups(
    records: &[TrainGroupRecord],
    compares_answers: bool,
    measures: &mut BTreeMap<String, f64>,
) {
    let rollouts = || records.iter().flat_map(|record| &record.rollouts);
    let lengths: Vec<usize> = rollouts().map(|rollout| rollout.token_ids.len()).collect();
    measure_lengths(&lengths, measures);
    let truncated = rollouts().filter(|rollout| rollout.finish.is_truncated()).count();
    let mut put = |name: &str, value: Option<f64>| {
        measures.extend(value.map(|value| (name.to_owned(), value)));
    };
    put("truncated", Some(share(truncated, lengths.len())));
    let estimated: Vec<_> =
        records.iter().filter_map(|record| Some((record, record.aggregate.as_ref()?))).collect();
    let missing = estimated.iter().filter(|(_, aggregate)| reference_of(aggregate).is_none());
    let missing = missing.count();
    if !estimated.is_empty() {
        put("reference-missing", Some(share(missing, estimated.len())));
    }
    if !compares_answers {
        return;
    }
    let (mut unique, mut without, mut differs) = (Vec::new(), 0, Vec::new());
    for record in records {
        let texts = record.rollouts.iter().map(|rollout| rollout.text.as_str());
        let reference = record.aggregate.as_ref().and_then(reference_of);
        let found = texts.chain(reference.map(|reference| reference.text.as_str()));
        let answers: Vec<_> = found.map(|text| extract_boxed(text).answer).collect();
        let answers: Vec<_> = answers.iter().map(Option::as_deref).collect();
        let own = classify(&answers[..record.rollouts.len()]);
        unique.push(own.classes.iter().filter(|class| !class.is_abstention()).count() as f64);
        without += own.num_abstentions();
        if let (Some(_), false) = (reference, own.largest().is_empty()) {
            // Classes come in the order of their first answers, so those of the group keep theirs.
            let class = classify(&answers).class_of[record.rollouts.len()];
            differs.push(f64::from(u8::from(!own.largest().contains(&class))));
        }
    }
    put("unique-answers", mean(&unique));
    put("no-answer", Some(share(without, lengths.len())));
    put("reference-differs", mean(&differs));
    let scores = records.iter().flat_map(|record| &record.scores);
    put("score-mean", mean(&scores.filter_map(Score::value).collect::<Vec<_>>()));
    let references = records.iter().filter_map(|record| record.reference_score.as_ref()?.value());
    put("reference-score", mean(&references.collect::<Vec<_>>()));
}

/// Measures the KL divergence, the mass that sampling kept, and with recomputed log-probabilities their
/// distance from the sampler's.
pub(super) fn measure_logprobs(
    estimated: &[EstimatedGroup<'_>],
    old: &[Vec<Vec<f32>>],
    source: OldLogprobs,
    measures: &mut BTreeMap<String, f64>,
) {
    let mut put = |name: &str, value: Option<f64>| {
        measures.extend(value.map(|value| (name.to_owned(), value)));
    };
    let (mut log_ratios, mut gap) = (Vec::new(), 0.0_f64);
    for (group, old) in estimated.iter().zip(old) {
        for (index, old) in old.iter().enumerate() {
            if let Some(reference) = &group.reference_logprobs {
                let pairs = old.iter().zip(&reference[index]);
                log_ratios.extend(pairs.map(|(&old, &new)| f64::from(old) - f64::from(new)));
            }
            for (&old, &sampled) in old.iter().zip(group.sampler_logprobs(index)) {
                gap = gap.max((f64::from(old) - f64::from(sampled)).abs());
            }
        }
    }
    put("kl", mean(&log_ratios));
    let masses = estimated.iter().flat_map(|group| &group.traces);
    let masses = masses.flat_map(|trace| trace.kept_mass.iter().copied().map(f64::from));
    put("kept-mass", mean(&masses.collect::<Vec<_>>()));
    if source == OldLogprobs::Recompute {
        put("sampler-gap", Some(gap));
    }
}

/// Returns the measures of a step's updates.
pub(super) fn measures_of(reports: &[Report]) -> BTreeMap<String, f64> {
    let mut measures = BTreeMap::new();
    let (Some(first), Some(last)) = (reports.first(), reports.last()) else { return measures };
    let mut put = |name: &str, value: Option<f64>| {
        measures.extend(value.map(|value| (name.to_owned(), value)));
    };
    let mean_of =
        |number: fn(&Report) -> f64| mean(&reports.iter().map(number).collect::<Vec<_>>());
    put("learning-rate", Some(last.learning_rate));
    put("loss", mean_of(|report| report.loss));
    put("entropy", mean_of(|report| report.entropy));
    put("gradient-norm", mean_of(|report| report.gradient_norm));
    let clipped: Vec<f64> = reports.iter().filter_map(|r| r.metrics.clip_fraction()).collect();
    put("clip-fraction", mean(&clipped));
    put("sampler-gap", first.metrics.from_sampling.max_abs_log_ratio());
    measures
}

pub(super) fn measure_lengths(lengths: &[usize], measures: &mut BTreeMap<String, f64>) {
    let numbers: Vec<f64> = lengths.iter().map(|length| *length as f64).collect();
    measures.extend(mean(&numbers).map(|mean| ("tokens-mean".to_owned(), mean)));
    let most = lengths.iter().max().map(|most| ("tokens-max".to_owned(), *most as f64));
    measures.extend(most);
}

pub(super) fn share(count: usize, of: usize) -> f64 {
    count as f64 / of.max(1) as f64
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Sample standard deviation, with n - 1 in its denominator.
fn standard_deviation(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (numbers.len() > 1).then(|| (squares / (numbers.len() - 1) as f64).sqrt())
}
