//! Trained weights: compares adapters with peft, passes with sampling, and written with loaded files.

use std::fs;
use std::path::Path;

use burn::tensor::Tensor;
use preceptor_core::{Continuation, ScoreRequest, Scorer, Seed};
use preceptor_models::{
    Error, GenerationOptions, GroupBatch, LayerStates, LocalModel, LoraConfig, Model, Pass,
    SegmentAttention, Targets, TokenGroup, Trainable, sequence_logits, to_vec,
};

use crate::support::{FAMILIES, fixtures, floats, ids, json, llama_folder, load, text_prompt};

fn adapter_folder() -> std::path::PathBuf {
    llama_folder().join("lora")
}

fn tokens() -> Vec<u32> {
    ids(&json(&llama_folder().join("expected.json"))["input_ids"])
}

fn check_adapted(logits: &[Vec<f32>]) {
    let expected = json(&fixtures().join("llama/lora/expected.json"));
    for (position, row) in expected["logits"].as_object().expect("a table") {
        let got = &logits[position.parse::<usize>().expect("a position")];
        let differences = got.iter().zip(floats(row)).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, f32::max);
        assert!(largest < 1e-4, "logits at {position}: {largest}");
    }
}

#[test]
fn separate_and_merged_adapters_give_the_logits_of_peft() {
    let trainable =
        Trainable::load_adapter(&load(&llama_folder()), &adapter_folder()).expect("peft wrote it");
    check_adapted(&sequence_logits(trainable.graph(0).decoder(), &tokens()));
    check_adapted(&sequence_logits(trainable.merged()[0].decoder(), &tokens()));
}

#[test]
fn new_adapters_do_not_change_the_output_and_learn() {
    let model = load(&llama_folder());
    let config =
        LoraConfig { rank: 4, alpha: None, targets: ["q_proj".into(), "v_proj".into()].into() };
    let trainable = Trainable::lora(&model, &config, Seed::root(1)).expect("two projections");
    assert_eq!(trainable.parameters().len(), 2 * 2 * 4);
    let tokens = tokens();
    let graph = trainable.graph(0);
    let before = sequence_logits(model.decoder(), &tokens);
    assert!(sequence_logits(graph.decoder(), &tokens) == before, "bit-identical");
    let mut attention = SegmentAttention::sequences([tokens.len()]);
    let hidden = graph.decoder().forward(&tokens, &attention.positions(), &mut attention);
    let (logprobs, _) = graph.decoder().token_logprobs(&hidden, &Targets::new(tokens.clone()));
    let mut sums = trainable.gradient_sums(0);
    graph.add_gradients(&mut logprobs.sum().backward(), &mut sums);
    for (parameter, gradient) in trainable.parameters().iter().zip(&sums.into_values()) {
        let moves = gradient.iter().any(|g| *g != 0.0);
        // While `B` is zero, `A` gets no gradient.
        assert_eq!(moves, parameter.name.contains("lora_B"), "{}", parameter.name);
        assert_eq!(gradient.len(), parameter.values.len());
    }
}

#[test]
fn a_pass_over_groups_gives_the_log_probabilities_of_the_scorer() {
    let model = load(&llama_folder());
    let rollouts = [vec![21, 40, 7], vec![300], vec![], (30..90).collect::<Vec<u32>>()];
    let prompts = ["Two and two", "A longer prompt, of several words."];
    let tokenized = prompts.map(|p| model.prompt_tokens(&text_prompt(p)).expect("tokens"));
    let trainable = Trainable::full(&model);
    let groups = tokenized.each_ref().map(|prompt| TokenGroup { prompt, rollouts: &rollouts });
    let graph = trainable.graph(0);
    let batch = GroupBatch::new(&groups);
    let read: usize = tokenized.iter().map(Vec::len).sum::<usize>() + 2 * (2 + 59);
    assert_eq!(batch.num_rows(), read, "a prompt is read once");
    let (logprobs, entropies) = batch.token_logprobs(graph.decoder());
    let logprobs = to_vec(logprobs.without_autodiff());
    assert_eq!((logprobs.len(), entropies.len()), (2 * 64, 2 * 64));

    let requests: Vec<_> = prompts
        .iter()
        .flat_map(|prompt| rollouts.iter().map(move |rollout| (prompt, rollout)))
        .map(|(prompt, rollout)| ScoreRequest {
            prompt: text_prompt(prompt),
            continuation: Continuation::Tokens(rollout.clone()),
        })
        .collect();
    let local = LocalModel::new(model, GenerationOptions::default());
    let scores = local.score(&requests).expect("scores");
    let scored: Vec<f32> = scores.into_iter().flat_map(|score| score.logprobs).collect();
    assert!(logprobs == scored, "bit-identical: one forward implementation");
}

#[test]
fn saved_weights_are_loaded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut model = load(&llama_folder());
    let trainable = Trainable::load_adapter(&model, &adapter_folder()).expect("peft wrote it");

    let adapter = folder.path().join("adapter");
    trainable.save_adapter(&adapter, "llama").expect("writes");
    let again = Trainable::load_adapter(&model, &adapter).expect("we wrote it");
    assert!(again.parameters() == trainable.parameters());
    assert_eq!(again.lora_config(), trainable.lora_config());

    model.set_replicas(trainable.merged(), model.identity().weights.clone());
    let merged = folder.path().join("merged");
    model.save(&merged).expect("writes");
    let loaded = load(&merged);
    assert_eq!(loaded.canonical_config(), model.canonical_config());
    assert_eq!(loaded.end_tokens(), model.end_tokens());
    check_adapted(&sequence_logits(loaded.decoder(), &tokens()));
    let prompt = crate::support::chat_prompt("Hello, you 22!");
    assert_eq!(
        loaded.prompt_tokens(&prompt).expect("tokens"),
        model.prompt_tokens(&prompt).expect("tokens")
    );

    let refused = model.save(&merged).expect_err("it is there");
    assert!(matches!(&refused, Error::Write { .. }), "{refused}");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("reads").collect();
    assert_eq!(left.len(), 2, "nothing half-written stays");
}

#[test]
fn full_training_starts_from_the_model() {
    let model = load(&llama_folder());
    let trainable = Trainable::full(&model);
    let names: Vec<&str> = trainable.parameters().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names.len(), 4 * 9 + 3);
    assert!(names.contains(&"model.layers.3.self_attn.k_proj.weight"));
    let tokens = tokens();
    let rows = sequence_logits(trainable.merged()[0].decoder(), &tokens);
    assert!(rows == sequence_logits(model.decoder(), &tokens), "bit-identical");
}

fn changed_adapter(file: &str, change: impl Fn(String) -> String) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter_folder().join(file), folder.path().join(file)).expect("copies");
    }
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).expect("a text");
    fs::write(&path, change(text)).expect("writes");
    refused(folder.path())
}

fn refused(folder: &Path) -> String {
    let model: Model = load(&llama_folder());
    let error = Trainable::load_adapter(&model, folder).expect_err("rejected");
    error.to_string().replace(&folder.display().to_string(), "[adapter]")
}

#[test]
fn messages_for_adapters() {
    let config = |from: &'static str, to: &'static str| {
        changed_adapter("adapter_config.json", move |text| {
            assert!(text.contains(from));
            text.replace(from, to)
        })
    };
    insta::assert_snapshot!(config("\"use_dora\": false", "\"use_dora\": true"), @r###"
use `[adapter]/adapter_config.json`: `use_dora` `true` is not supported, only false
hint: plain LoRA adapters can be read; merge others into their base with peft
"###);
    insta::assert_snapshot!(config("\"r\": 4", "\"r\": 0"), @r###"
read key `r` of `[adapter]/adapter_config.json`: found 0, expected a whole number above 0
hint: compare it with the file that the model's authors published
"###);
    insta::assert_snapshot!(config("\"r\": 4", "\"r\": 8"), @r###"
load the values of parameter `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`: found shape [4, 64], expected [8, 64]
hint: they may belong to another model or other adapter settings
"###);
    insta::assert_snapshot!(config("\"k_proj\"", "\"c_attn\""), @r###"
load the values of parameter `base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight`: the model has no parameter of that name
hint: they may belong to another model or other adapter settings
"###);
    insta::assert_snapshot!(config("\"k_proj\",", ""), @r###"
load the values of parameter `base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight`: the model has no parameter of that name
hint: they may belong to another model or other adapter settings
"###);
    let folder = tempfile::tempdir().expect("a folder");
    insta::assert_snapshot!(refused(folder.path()), @r###"
find `adapter_config.json` in `[adapter]`
hint: an adapter is a folder as peft writes it
"###);
    fs::copy(
        adapter_folder().join("adapter_config.json"),
        folder.path().join("adapter_config.json"),
    )
    .expect("copies");
    let whole = fs::read(adapter_folder().join("adapter_model.safetensors")).expect("reads");
    fs::write(folder.path().join("adapter_model.safetensors"), &whole[..whole.len() / 2])
        .expect("writes");
    insta::assert_snapshot!(refused(folder.path()), @r###"
parse `[adapter]/adapter_model.safetensors`: it is not a whole safetensors file of 39312 bytes: incomplete metadata, file not fully covered
hint: the file may be incomplete; fetch it again and compare its digest
"###);
}

#[test]
fn recomputed_layers_give_bit_identical_gradients() {
    let targets = ["q_proj", "o_proj", "up_proj", "down_proj"];
    let config = LoraConfig { rank: 4, alpha: None, targets: targets.map(str::to_owned).into() };
    let rollouts = [vec![21, 40, 7], vec![300], (30..60).collect::<Vec<u32>>()];
    let prompts = [vec![5, 6, 7], vec![9; 20]];
    let groups = prompts.each_ref().map(|prompt| TokenGroup { prompt, rollouts: &rollouts });
    for family in FAMILIES {
        let model = load(&fixtures().join(family));
        let adapters = Trainable::lora(&model, &config, Seed::root(1)).expect("they are there");
        for trainable in [Trainable::full(&model), adapters] {
            let [kept, recomputed] = [LayerStates::Kept, LayerStates::Recomputed].map(|states| {
                let mut sums = trainable.gradient_sums(0);
                // Two passes, so that the order of the sums matters.
                for group in &groups {
                    let batch = GroupBatch::new(&[*group]);
                    let pass = Pass::new(&trainable, 0, &batch, states);
                    let (logprobs, _) = pass.token_logprobs();
                    let weights = (0..logprobs.dims()[0]).map(|i| (i % 5) as f32 - 1.5);
                    let weights = Tensor::<1>::from_data(
                        &*weights.collect::<Vec<_>>(),
                        &logprobs.device().inner(),
                    );
                    let gradients = (logprobs * weights.autodiff()).sum().backward();
                    pass.add_gradients(gradients, &mut sums);
                }
                sums.into_values()
            });
            assert!(recomputed.iter().flatten().any(|g| *g != 0.0));
            for ((parameter, a), b) in trainable.parameters().iter().zip(&kept).zip(&recomputed) {
                assert!(a == b, "{family}: {}", parameter.name);
            }
        }
    }
}
