//! Updates in `f16` and `bf16`: gradients of any size come through.

use std::path::Path;

use preceptor_models::{Device, GroupBatch, Model, TokenGroup, Trainable, ops};
use preceptor_trainer::objective::grpo::{self, Grpo};
use preceptor_trainer::objective::{Sampled, Sequence};
use preceptor_trainer::{AdamWConfig, Group, Learner, Report, Schedule, ScheduleConfig};

/// An update on a rollout whose advantage is `advantage`.
fn update(device: &str, advantage: f64) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/llama");
    let device = Device::parse(device).expect("on the CPU");
    let model = Model::load(&folder, &device).expect("a checkpoint");
    let schedule = Schedule::new(&ScheduleConfig::default(), 1);
    let trainable = Trainable::full(&model);
    let mut learner = Learner::new(trainable, &AdamWConfig::default(), schedule, usize::MAX);
    let rollout: Vec<u32> = (40..56).collect();
    let sampled = Sampled {
        advantage,
        // The policy has not moved: every ratio is 1 and nothing is clipped.
        old_logprobs: logprobs(&model, &rollout),
        reference_logprobs: None,
    };
    let sequences = vec![Sequence { num_tokens: rollout.len(), sampled: Some(sampled) }];
    let group = Group { prompt: vec![1, 2, 3], rollouts: vec![rollout], sequences };
    let config = grpo::Config { reward_kl: 0.0, ..grpo::Config::default() };
    learner.update(&[group], &Grpo::new(&config, 16)).expect("a finite gradient")
}

fn logprobs(model: &Model, rollout: &[u32]) -> Vec<f32> {
    let rollouts = [rollout.to_vec()];
    let group = TokenGroup { prompt: &[1, 2, 3], rollouts: &rollouts };
    let batch = GroupBatch::new(&[group]);
    ops::to_vec(batch.token_logprobs(model.decoder()).0)
}

#[test]
fn small_and_large_gradients_are_those_of_single_precision() {
    let expected = update("cpu", 1.0).gradient_norm;
    for advantage in [1e-7, 1e-3, 1.0, 1e4] {
        for format in ["cpu:f16", "cpu:bf16"] {
            let found = update(format, advantage).gradient_norm / advantage;
            let far = (found / expected - 1.0).abs();
            assert!(far < 0.1, "{format}, {advantage:e}: {found} where {expected} is right");
        }
    }
}
