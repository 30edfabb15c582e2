//! Resuming: bit-identical trajectories, and checkpoints that are damaged or belong to other models.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use preceptor_core::{Digest, Seed};
use preceptor_models::{Device, LoraConfig, Model, Trainable};
use preceptor_trainer::objective::grpo::{self, Grpo};
use preceptor_trainer::{
    AdamWConfig, CheckpointError, Checkpoints, Group, Learner, OptimizerConfig, SampledData,
    Schedule, ScheduleConfig, Sequence,
};
use serde_json::json;

fn model() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parity/llama");
    Model::load(&folder, &Device::cpu()).expect("a fixture")
}

/// Two groups of four rollouts; `step` changes their tokens and advantages.
fn groups(step: u64) -> Vec<Group> {
    let token = |i: u64| u32::try_from(10 + (i * 7919 + step * 131) % 280).expect("small");
    let rollouts = |group: u64| (0..4).map(move |r| group * 100 + r * 10);
    (0..2)
        .map(|group| Group {
            prompt: (0..6).map(|i| token(group * 50 + i)).collect(),
            rollouts: rollouts(group).map(|r| (r..r + 3 + r % 4).map(token).collect()).collect(),
            sequences: rollouts(group)
                .map(|r| Sequence {
                    num_tokens: usize::try_from(3 + r % 4).expect("small"),
                    sampled: Some(SampledData::new(
                        ((r + step) % 3) as f64 - 1.0,
                        vec![-5.5; usize::try_from(3 + r % 4).expect("small")],
                    )),
                })
                .collect(),
        })
        .collect()
}

fn schedule() -> Schedule {
    let config = ScheduleConfig { learning_rate: 1e-3, warm_up_updates: 2, ..Default::default() };
    Schedule::new(&config, 10)
}

fn objective() -> Grpo {
    Grpo::new(&grpo::Config { reward_kl: 0.0, ..grpo::Config::default() }, 8)
}

fn adamw() -> OptimizerConfig {
    OptimizerConfig::AdamW(AdamWConfig::default())
}

fn learner(trainable: Trainable, rows: usize) -> Learner {
    Learner::new(trainable, &adamw(), schedule(), rows)
}

fn train(learner: &mut Learner, steps: std::ops::Range<u64>) -> Vec<f64> {
    steps.map(|step| learner.update(&groups(step), &objective()).expect("numbers").loss).collect()
}

fn trainables() -> [Trainable; 2] {
    let model = model();
    let config = LoraConfig { rank: 4, alpha: None, targets: LoraConfig::all_projections() };
    [Trainable::full(&model), Trainable::lora(&model, &config, Seed::root(3)).expect("projections")]
}

fn base() -> Digest {
    Digest::of(b"the model")
}

#[test]
fn a_stopped_run_resumes_bit_for_bit() {
    for (kind, (trainable, mut fresh)) in trainables().into_iter().zip(trainables()).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), 2);
        let mut whole = learner(trainable, usize::MAX);
        let mut losses = train(&mut whole, 0..3);
        let (trainable, optimizer) = (whole.trainable(), whole.optimizer_state());
        checkpoints.write(3, &base(), trainable, optimizer, json!({"seen": 3})).unwrap();
        losses.extend(train(&mut whole, 3..6));

        let read = checkpoints.read(3, &base(), &mut fresh).unwrap();
        assert_eq!(read.description.state, json!({"seen": 3}));
        let optimizer = read.optimizer.unwrap();
        let mut again =
            Learner::restore(fresh, &adamw(), optimizer, schedule(), usize::MAX).unwrap();
        assert_eq!(train(&mut again, 3..6), losses[3..], "kind {kind}");
        assert!(again.trainable().parameters() == whole.trainable().parameters());
        assert!(again.optimizer_state() == whole.optimizer_state());
        assert!(losses[0] != losses[5], "something was learnt");
    }
}

#[test]
fn micro_batches_add_up_to_the_whole() {
    let [trainable, _] = trainables();
    let mut whole = learner(trainable, usize::MAX);
    let [trainable, _] = trainables();
    let mut parts = learner(trainable, 16);
    let (whole, parts) = (
        whole.update(&groups(1), &objective()).unwrap(),
        parts.update(&groups(1), &objective()).unwrap(),
    );
    assert_eq!(whole.num_micro_batches, 1);
    assert!(parts.num_micro_batches > 3, "{}", parts.num_micro_batches);
    assert!((whole.loss - parts.loss).abs() < 1e-6, "{} {}", whole.loss, parts.loss);
    for (whole, parts) in whole.gradient_norms.iter().zip(&parts.gradient_norms) {
        assert!((whole - parts).abs() <= 1e-5 * whole, "{whole} {parts}");
    }
}

#[test]
fn a_loss_that_is_not_finite_changes_no_weight() {
    let [trainable, _] = trainables();
    let mut learner = learner(trainable, usize::MAX);
    train(&mut learner, 0..3);
    let before = (learner.trainable().parameters().to_vec(), learner.optimizer_state().clone());
    let mut bad = groups(3);
    bad[1].sequences[2].sampled.as_mut().unwrap().old_logprobs[0] = -1e9;
    let error = learner.update(&bad, &objective()).unwrap_err().to_string();
    assert!(error.contains("the probability ratio is inf at token 0 of sequence 6"), "{error}");
    assert!(learner.trainable().parameters() == before.0);
    assert!(*learner.optimizer_state() == before.1);
}

#[test]
fn old_checkpoints_are_removed_and_existing_ones_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    assert!(checkpoints.steps().unwrap().is_empty());
    let [trainable, _] = trainables();
    let mut learner = learner(trainable, usize::MAX);
    for step in 1..=4 {
        train(&mut learner, step..step + 1);
        let (trainable, optimizer) = (learner.trainable(), learner.optimizer_state());
        checkpoints.write(step, &base(), trainable, optimizer, json!(null)).unwrap();
        checkpoints.prune(Some(1)).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [1, 3, 4], "the protected one stays");
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 3, "nothing half-written stays");
    checkpoints.prune(None).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [3, 4]);
}

fn written() -> (tempfile::TempDir, Checkpoints, PathBuf) {
    let folder = tempfile::tempdir().expect("fine");
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let [_, trainable] = trainables();
    let learner = learner(trainable, usize::MAX);
    let (trainable, optimizer) = (learner.trainable(), learner.optimizer_state());
    checkpoints.write(7, &base(), trainable, optimizer, json!(null)).expect("fine");
    let path = checkpoints.path(7);
    (folder, checkpoints, path)
}

#[test]
fn concurrent_writers_leave_a_complete_checkpoint() {
    let (folder, checkpoints, path) = written();
    let whole = fs::read(path.join("checkpoint.json")).unwrap();
    for _ in 0..5 {
        fs::remove_dir_all(&path).unwrap();
        thread::scope(|scope| {
            let writers = (0..3).map(|_| {
                scope.spawn(|| {
                    let [_, trainable] = trainables();
                    let learner = learner(trainable, usize::MAX);
                    let (trainable, optimizer) = (learner.trainable(), learner.optimizer_state());
                    checkpoints.write(7, &base(), trainable, optimizer, json!(null))
                })
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        assert_eq!(fs::read(path.join("checkpoint.json")).unwrap(), whole);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written stays");
    }
}

#[test]
fn the_optimiser_state_can_be_removed_without_the_weights() {
    let (_folder, checkpoints, path) = written();
    let [_, mut trainable] = trainables();
    let kept = checkpoints.read(7, &base(), &mut trainable).unwrap().optimizer;
    assert!(kept.is_some());
    assert_eq!(checkpoints.resumable_steps().unwrap(), [7]);
    let weights = trainable.parameters().to_vec();

    for _ in 0..2 {
        checkpoints.forget_optimizer(7).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["checkpoint.json", "weights.safetensors"]);
    }
    let [_, mut again] = trainables();
    assert!(checkpoints.read(7, &base(), &mut again).unwrap().optimizer.is_none());
    assert!(again.parameters() == weights);
    assert_eq!(checkpoints.steps().unwrap(), [7]);
    assert!(checkpoints.resumable_steps().unwrap().is_empty());
    let missing = checkpoints.forget_optimizer(8).unwrap_err();
    assert!(matches!(missing, CheckpointError::Read { .. }), "{missing}");
}

fn refused(checkpoints: &Checkpoints, base: &Digest, trainable: usize) -> CheckpointError {
    let mut trainable = trainables().into_iter().nth(trainable).expect("fine");
    let before = trainable.parameters().to_vec();
    let error = checkpoints.read(7, base, &mut trainable).expect_err("rejected");
    assert!(trainable.parameters() == before, "nothing was taken over");
    error
}

#[test]
fn damaged_and_foreign_checkpoints_are_rejected() {
    let (_folder, checkpoints, path) = written();
    let other = refused(&checkpoints, &Digest::of(b"another model"), 1);
    assert!(matches!(other, CheckpointError::OtherModel { .. }), "{other}");
    let full = refused(&checkpoints, &base(), 0);
    assert!(matches!(full, CheckpointError::Damaged { .. }), "{full}");

    let weights = path.join("weights.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let short = refused(&checkpoints, &base(), 1);
    assert!(matches!(&short, CheckpointError::Damaged { path, .. } if *path == weights), "{short}");
    fs::remove_file(&weights).unwrap();
    let missing = refused(&checkpoints, &base(), 1);
    assert!(matches!(missing, CheckpointError::Read { .. }), "{missing}");
    fs::write(path.join("checkpoint.json"), "{}").unwrap();
    let unreadable = refused(&checkpoints, &base(), 1);
    assert!(unreadable.to_string().contains("missing field"), "{unreadable}");
}

#[test]
fn a_path_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let [_, trainable] = trainables();
    let learner = learner(trainable, usize::MAX);
    let checkpoints = Checkpoints::new(&file, 2);
    let (trainable, optimizer) = (learner.trainable(), learner.optimizer_state());
    let error = checkpoints.write(1, &base(), trainable, optimizer, json!(null)).unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }), "{error}");
}
