//! Updates in `f16` and `bf16` keep gradients of any size.

use std::path::Path;

use preceptor_models::{Device, GroupBatch, LayerStates, Model, TokenGroup, Trainable, to_vec};
use preceptor_trainer::objective::grpo::{self, Grpo};
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::objective::{SampledData, Sequence};
use preceptor_trainer::{
    AdamWConfig, Group, Learner, OptimizerConfig, Report, Schedule, ScheduleConfig,
};

fn model(devices: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/llama");
    let devices = Device::parse_all(devices).expect("on the CPU");
    Model::load_on(&folder, &devices).expect("a checkpoint")
}

/// Runs an update on a rollout whose advantage is `advantage`.
fn update(device: &str, advantage: f64) -> Report {
    let model = model(device);
    let schedule = Schedule::new(&ScheduleConfig::default(), 1);
    let trainable = Trainable::full(&model);
    let mut learner = Learner::new(
        trainable,
        &OptimizerConfig::AdamW(AdamWConfig::default()),
        schedule,
        usize::MAX,
    );
    let rollout: Vec<u32> = (40..56).collect();
    // The policy has not changed: every ratio is 1 and nothing is clipped.
    let sampled = SampledData::new(advantage, logprobs(&model, &rollout));
    let sequences = vec![Sequence { num_tokens: rollout.len(), sampled: Some(sampled) }];
    let group = Group { prompt: vec![1, 2, 3], rollouts: vec![rollout], sequences };
    let config = grpo::Config { reward_kl: 0.0, ..grpo::Config::default() };
    learner.update(&[group], &Grpo::new(&config, 16)).expect("a finite gradient")
}

fn logprobs(model: &Model, rollout: &[u32]) -> Vec<f32> {
    let rollouts = [rollout.to_vec()];
    let group = TokenGroup { prompt: &[1, 2, 3], rollouts: &rollouts };
    let batch = GroupBatch::new(&[group]);
    to_vec(batch.token_logprobs(model.decoder()).0)
}

#[test]
fn small_and_large_gradients_agree_with_single_precision() {
    let expected = update("cpu", 1.0).gradient_norm;
    for advantage in [1e-7, 1e-3, 1.0, 1e4] {
        for format in ["cpu:f16", "cpu:bf16"] {
            let found = update(format, advantage).gradient_norm / advantage;
            let far = (found / expected - 1.0).abs();
            assert!(far < 0.1, "{format}, {advantage:e}: {found} where {expected} is right");
        }
    }
}

/// Returns the losses before each of four updates on four texts.
fn losses(devices: &str, rows: usize, states: LayerStates) -> Vec<f64> {
    let config = ScheduleConfig { learning_rate: 1e-3, ..ScheduleConfig::default() };
    let trainable = Trainable::full(&model(devices));
    let schedule = Schedule::new(&config, 4);
    let learner =
        Learner::new(trainable, &OptimizerConfig::AdamW(AdamWConfig::default()), schedule, rows);
    let mut learner = learner.with_layer_states(states);
    let group = |first: u32| Group {
        prompt: vec![1, 2, 3],
        rollouts: vec![(first..first + 16).collect()],
        sequences: vec![Sequence { num_tokens: 16, sampled: None }],
    };
    let groups = [40, 50, 60, 70].map(group);
    let objective = Sft::new(&sft::Config::default());
    let mut loss = || learner.update(&groups, &objective).expect("a finite gradient").loss;
    (0..4).map(|_| loss()).collect()
}

#[test]
fn devices_with_their_own_memory_learn_like_the_host() {
    let expected = losses("cpu", usize::MAX, LayerStates::Kept);
    assert!(expected[3] < 0.9 * expected[0], "every update moves the weights: {expected:?}");
    for (devices, rows) in
        [("cpu:f16", usize::MAX), ("cpu:f16", 20), ("cpu:f16,cpu:f16,cpu:f16", 20)]
    {
        for states in [LayerStates::Kept, LayerStates::Recomputed] {
            let found = losses(devices, rows, states);
            for (found, expected) in found.iter().zip(&expected) {
                let far = (found / expected - 1.0).abs();
                assert!(far < 0.01, "{devices}, {rows} rows, {states:?}: {found:?} {expected:?}");
            }
        }
    }
}
