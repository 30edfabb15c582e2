//! Values of a training step's measures, the [`StepMeasure`]s.

use std::collections::BTreeMap;

use preceptor_answers::{classify, extract_boxed};
use preceptor_core::StepMeasure;
use preceptor_core::record::{Score, TrainGroupRecord};
use preceptor_stats::{Confusion, mean};
use preceptor_trainer::objective::{SamplerCorrection, SamplerMismatch};
use preceptor_trainer::{GroupAdvantages, Report, Signal};

use crate::manifest::train_settings::OldLogprobs;
use crate::training::estimated::{EstimatedGroup, reference_of};

/// The values of a step. A measure without a finite value is absent.
#[derive(Debug, Default)]
pub(crate) struct StepMeasures(pub(crate) BTreeMap<StepMeasure, f64>);

impl StepMeasures {
    pub(super) fn put(&mut self, measure: StepMeasure, value: Option<f64>) {
        self.0.extend(value.filter(|value| value.is_finite()).map(|value| (measure, value)));
    }
}

/// Measures rewards, groups and advantages.
pub(super) fn measure_rewards(
    estimated: &[EstimatedGroup<'_>],
    with_kl: &[Vec<Option<f64>>],
    normalised: &[GroupAdvantages],
    measures: &mut StepMeasures,
) {
    let rewards: Vec<f64> = estimated
        .iter()
        .flat_map(|group| group.reward.rewards.iter().filter_map(|reward| reward.value.value()))
        .collect();
    measures.put(StepMeasure::RewardMean, mean(&rewards));
    measures.put(StepMeasure::RewardStd, standard_deviation(&rewards));
    let with_kl: Vec<f64> = with_kl.iter().flatten().copied().flatten().collect();
    measures.put(StepMeasure::RewardWithKlMean, mean(&with_kl));
    let num_groups = normalised.len();
    for (measure, signal) in [
        (StepMeasure::GroupsVaried, Signal::Varied),
        (StepMeasure::GroupsZeroVariance, Signal::ZeroVariance),
        (StepMeasure::GroupsTooFewRewards, Signal::TooFewRewards),
    ] {
        let count = normalised.iter().filter(|group| group.signal == signal).count();
        measures.put(measure, Some(share(count, num_groups)));
    }
    let advantages: Vec<_> = normalised.iter().flat_map(|group| &group.advantages).collect();
    let left_out = advantages.iter().filter(|advantage| advantage.is_none()).count();
    measures.put(StepMeasure::LeftOut, Some(share(left_out, advantages.len())));
}

/// Measures lengths and answers of the rollouts and pseudo-references; `compares_answers` where labels
/// are final answers.
pub(super) fn measure_groups(
    records: &[TrainGroupRecord],
    compares_answers: bool,
    measures: &mut StepMeasures,
) {
    let rollouts = || records.iter().flat_map(|record| &record.rollouts);
    let lengths: Vec<usize> = rollouts().map(|rollout| rollout.token_ids.len()).collect();
    measure_lengths(&lengths, measures);
    let truncated = rollouts().filter(|rollout| rollout.finish.is_truncated()).count();
    measures.put(StepMeasure::Truncated, Some(share(truncated, lengths.len())));
    let estimated: Vec<_> =
        records.iter().filter_map(|record| Some((record, record.aggregate.as_ref()?))).collect();
    let missing = estimated.iter().filter(|(_, aggregate)| reference_of(aggregate).is_none());
    let missing = missing.count();
    if !estimated.is_empty() {
        measures.put(StepMeasure::ReferenceMissing, Some(share(missing, estimated.len())));
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
    measures.put(StepMeasure::UniqueAnswers, mean(&unique));
    measures.put(StepMeasure::NoAnswer, Some(share(without, lengths.len())));
    measures.put(StepMeasure::ReferenceDiffers, mean(&differs));
    let scores = records.iter().flat_map(|record| &record.scores);
    measures
        .put(StepMeasure::ScoreMean, mean(&scores.filter_map(Score::value).collect::<Vec<_>>()));
    let judged = records.iter().flat_map(|record| record.reward.rewards.iter().zip(&record.scores));
    let judged = judged.filter_map(|(reward, score)| Some((reward.value.value()?, score.value()?)));
    let counts = Confusion::of(judged.map(|(reward, score)| (reward > 0.5, score == 1.0)));
    measures.put(StepMeasure::RewardAccuracy, counts.accuracy());
    measures.put(StepMeasure::RewardTruePositives, counts.true_positive_rate());
    measures.put(StepMeasure::RewardFalsePositives, counts.false_positive_rate());
    measures.put(StepMeasure::RewardYouden, counts.youden());
    let references = records.iter().filter_map(|record| record.reference_score.as_ref()?.value());
    measures.put(StepMeasure::ReferenceScore, mean(&references.collect::<Vec<_>>()));
}

/// Measures the KL divergence, the mass that sampling kept, and with recomputed log-probabilities their
/// distance from the sampler's.
pub(super) fn measure_logprobs(
    estimated: &[EstimatedGroup<'_>],
    old: &[Vec<Vec<f32>>],
    source: OldLogprobs,
    correction: &SamplerCorrection,
    measures: &mut StepMeasures,
) {
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
    measures.put(StepMeasure::Kl, mean(&log_ratios));
    let masses = estimated.iter().flat_map(|group| &group.traces);
    let masses = masses.flat_map(|trace| trace.kept_mass.iter().copied().map(f64::from));
    measures.put(StepMeasure::KeptMass, mean(&masses.collect::<Vec<_>>()));
    if source == OldLogprobs::Sampler {
        return;
    }
    measures.put(StepMeasure::SamplerGap, Some(gap));
    let rollouts = estimated.iter().zip(old).flat_map(|(group, old)| {
        let sampler = (0..old.len()).map(|index| group.sampler_logprobs(index));
        old.iter().map(Vec::as_slice).zip(sampler)
    });
    if let Some(found) = SamplerMismatch::measure(correction, rollouts) {
        measures.put(StepMeasure::SamplerLogRatioMean, Some(found.mean_abs_log_ratio));
        measures.put(StepMeasure::SamplerLogRatioP99, Some(found.p99_abs_log_ratio));
        measures.put(StepMeasure::SamplerEffectiveSize, Some(found.effective_sample_size));
        let outside = correction.is_active().then_some(found.share_outside);
        measures.put(StepMeasure::SamplerOutside, outside);
    }
}

/// Returns the measures of a step's updates.
pub(super) fn measures_of(reports: &[Report]) -> StepMeasures {
    let mut measures = StepMeasures::default();
    let (Some(first), Some(last)) = (reports.first(), reports.last()) else { return measures };
    let mean_of =
        |number: fn(&Report) -> f64| mean(&reports.iter().map(number).collect::<Vec<_>>());
    measures.put(StepMeasure::LearningRate, Some(last.learning_rate));
    measures.put(StepMeasure::Loss, mean_of(|report| report.loss));
    measures.put(StepMeasure::Entropy, mean_of(|report| report.entropy));
    measures.put(StepMeasure::GradientNorm, mean_of(|report| report.gradient_norm));
    let clipped: Vec<f64> = reports.iter().filter_map(|r| r.metrics.clip_fraction()).collect();
    measures.put(StepMeasure::ClipFraction, mean(&clipped));
    measures.put(StepMeasure::SamplerGap, first.metrics.from_sampling.max_abs_log_ratio());
    measures
}

pub(super) fn measure_lengths(lengths: &[usize], measures: &mut StepMeasures) {
    let numbers: Vec<f64> = lengths.iter().map(|length| *length as f64).collect();
    measures.put(StepMeasure::TokensMean, mean(&numbers));
    measures.put(StepMeasure::TokensMax, numbers.iter().copied().reduce(f64::max));
}

pub(super) fn share(count: usize, of: usize) -> f64 {
    count as f64 / of.max(1) as f64
}

/// Returns the sample standard deviation, with n - 1 in its denominator.
fn standard_deviation(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers)?;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (numbers.len() > 1).then(|| (squares / (numbers.len() - 1) as f64).sqrt())
}
