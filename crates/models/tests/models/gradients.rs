//! Compares gradients of the kernels with burn's own in double precision, on the small random checkpoint.

use burn::tensor::{DType, Tensor};
use preceptor_models::{Decoder, Linear, Segment, SegmentAttention, Targets, WeightMut, to_vec};

use crate::support::{llama_folder, load};

/// A prompt and three rollouts, with lengths around the kernels' blocks, and a second group of one rollout.
const SEGMENTS: [Segment; 6] = [
    Segment { len: 21, parent: None },
    Segment { len: 70, parent: Some(0) },
    Segment { len: 1, parent: Some(0) },
    Segment { len: 16, parent: Some(0) },
    Segment { len: 5, parent: None },
    Segment { len: 33, parent: Some(4) },
];

fn token(row: usize) -> u32 {
    u32::try_from(10 + (row * 7919) % 280).expect("small")
}

/// Computes the gradients, by weight, of a weighted sum of the log-probabilities of arbitrary targets,
/// under the distribution of `under`.
fn gradients(
    decoder: &dyn Decoder,
    dtype: DType,
    segments: &[Segment],
    under: impl Fn(Targets) -> Targets,
) -> Vec<(String, Vec<f32>)> {
    let mut decoder = decoder.clone_box();
    let mut leaves: Vec<(String, Leaf)> = Vec::new();
    for weight in decoder.weights_mut() {
        match weight {
            WeightMut::Matrix { parts, linear } => {
                let leaf = linear.to_tensor().cast(dtype).autodiff().require_grad();
                *linear = Linear::from_tensor(leaf.clone());
                leaves.push((parts[0].0.clone(), Leaf::Matrix(leaf)));
            }
            WeightMut::Vector { name, tensor } => {
                let leaf = tensor.clone().cast(dtype).autodiff().require_grad();
                *tensor = leaf.clone();
                leaves.push((name, Leaf::Vector(leaf)));
            }
        }
    }
    let mut attention = SegmentAttention::new(segments.to_vec());
    let positions = attention.positions();
    let ids: Vec<u32> = (0..positions.len()).map(token).collect();
    let hidden = decoder.forward(&ids, &positions, &mut attention);
    let targets = under(Targets::new((0..ids.len()).map(|row| token(row + 3)).collect()));
    let (logprobs, entropies) = decoder.token_logprobs(&hidden, &targets);
    assert!(entropies.iter().all(|h| *h > -1e-6 && *h <= 300.0_f32.ln() + 1e-3));
    let weights: Vec<f32> =
        (0..ids.len()).map(|row| ((row * 37) % 11) as f32 / 5.0 - 1.0).collect();
    let weights =
        Tensor::<1>::from_data(weights.as_slice(), &logprobs.device().inner()).cast(dtype);
    let grads = (logprobs * weights).sum().backward();
    let of = |leaf: &Leaf| match leaf {
        Leaf::Matrix(leaf) => to_vec(leaf.grad(&grads).expect("every weight takes part")),
        Leaf::Vector(leaf) => to_vec(leaf.grad(&grads).expect("every weight takes part")),
    };
    leaves.iter().map(|(name, leaf)| (name.clone(), of(leaf))).collect()
}

enum Leaf {
    Matrix(Tensor<2>),
    Vector(Tensor<1>),
}

/// Returns the largest difference as a share of the largest gradient of the weight.
fn check(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for ((name, a), (_, b)) in a.iter().zip(b) {
        let largest = b.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest > 0.0, "{name} has no gradient");
        assert!(difference < tolerance * largest, "{name}: {difference:e} of {largest:e}");
    }
}

#[test]
fn kernels_agree_with_plain_burn_in_double_precision() {
    let model = load(&llama_folder());
    let kernels = gradients(model.decoder(), DType::F32, &SEGMENTS, |targets| targets);
    let plain = gradients(model.decoder(), DType::F64, &SEGMENTS, |targets| targets);
    check(&kernels, &plain, 2e-5);
}

#[test]
fn kernels_agree_with_plain_burn_at_another_temperature_and_under_a_cut_distribution() {
    let model = load(&llama_folder());
    let warm = |targets: Targets| targets.with_distribution(0.7, Vec::new());
    let cut = |targets: Targets| {
        let kept = |(row, token): (usize, &u32)| -> Vec<u32> {
            (0..=row as u32 % 9).map(|i| (token + 31 * i) % 290).collect()
        };
        let kept = targets.tokens().iter().enumerate().map(kept).collect();
        targets.with_distribution(0.7, kept)
    };
    let plain = gradients(model.decoder(), DType::F32, &SEGMENTS, |targets| targets);
    for under in [&warm as &dyn Fn(Targets) -> Targets, &cut] {
        let kernels = gradients(model.decoder(), DType::F32, &SEGMENTS, under);
        let double = gradients(model.decoder(), DType::F64, &SEGMENTS, under);
        check(&kernels, &double, 2e-5);
        assert!(kernels != plain, "the distribution matters");
    }
}

#[test]
fn gradients_are_bit_identical_in_every_run() {
    let model = load(&llama_folder());
    let first = gradients(model.decoder(), DType::F32, &SEGMENTS, |targets| targets);
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let second =
        single.install(|| gradients(model.decoder(), DType::F32, &SEGMENTS, |targets| targets));
    assert!(first == second);
}
