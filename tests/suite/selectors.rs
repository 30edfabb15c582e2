//! The selectors that read log-probabilities, on a real checkpoint, against transformers.

use std::path::{Path, PathBuf};

use preceptor_aggregators::{MinPpl, MutualPredictability, min_ppl, mutual_predictability};
use preceptor_core::{
    Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Continuation, FinishReason,
    Generator, Group, Message, Origin, Prompt, PromptBody, PromptId, Role, Rollout, ScoreRequest,
    Scorer, Seed,
};
use preceptor_models::{Device, GenerationOptions, LocalModel, Model};
use serde_json::Value;

/// Relative, of perplexities: log-probabilities agree within 1e-4.
const TOLERANCE: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity/llama")
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|number| number.as_f64().expect("a number"))
        .collect()
}

/// The fixture's group as the checkpoint itself scores it.
fn group(expected: &Value, model: &LocalModel) -> Group {
    let message = Message {
        role: Role::User,
        content: expected["question"].as_str().expect("a text").to_owned(),
    };
    let body = PromptBody::Chat(vec![message]);
    let prompt = Prompt::new(PromptId::new("selectors"), body);
    let texts = expected["texts"].as_array().expect("a list");
    let tokens = expected["token_ids"].as_array().expect("a list");
    let rollouts = texts.iter().zip(tokens).enumerate().map(|(index, (text, tokens))| {
        let token_ids: Vec<u32> = numbers(tokens).into_iter().map(|id| id as u32).collect();
        let continuation = Continuation::Tokens(token_ids.clone());
        let request = ScoreRequest { prompt: prompt.clone(), continuation };
        let logprobs = model.score(&[request]).expect("it fits").remove(0).logprobs;
        Rollout {
            index: index as u32,
            text: text.as_str().expect("a text").to_owned(),
            token_ids,
            logprobs,
            finish: FinishReason::EndToken,
            num_prompt_tokens: 0,
            reported_tokens: None,
        }
    });
    Group { rollouts: rollouts.collect(), prompt: prompt.clone() }
}

fn check(expected: &Value, aggregate: &Aggregate) {
    let perplexities = numbers(&expected["perplexities"]);
    let chosen = expected["chosen"].as_u64().expect("a count") as u32;
    let AggregateOutcome::Estimated(reference) = &aggregate.outcome else {
        panic!("{aggregate:?}")
    };
    assert_eq!(reference.origin, Origin::Rollout(chosen));
    let close = |measure: &str, wanted: f64| {
        let found = aggregate.measures[measure];
        assert!((found / wanted - 1.0).abs() < TOLERANCE, "{measure}: {found}, wanted {wanted}");
    };
    close("perplexity", perplexities[chosen as usize]);
    close("mean-perplexity", perplexities.iter().sum::<f64>() / perplexities.len() as f64);
}

#[test]
fn min_ppl_and_mutual_predictability_agree_with_transformers() {
    let text = std::fs::read_to_string(folder().join("selectors_expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let model = Model::load(&folder(), &Device::cpu()).unwrap();
    let model = LocalModel::new(model, GenerationOptions::default());
    let group = group(&expected, &model);
    for (rollout, wanted) in
        group.rollouts.iter().zip(expected["rollout_logprobs"].as_array().unwrap())
    {
        for (found, wanted) in rollout.logprobs.iter().zip(numbers(wanted)) {
            assert!((f64::from(*found) - wanted).abs() < TOLERANCE, "{found} {wanted}");
        }
    }
    let seed = Seed::root(expected["run_seed"].as_u64().unwrap());
    let request = AggregateRequest { group: &group, seed };
    let min_ppl = MinPpl::new(&min_ppl::Config::default());
    check(&expected["min_ppl"], &min_ppl.aggregate(&[request]).unwrap()[0]);
    let config = mutual_predictability::Config::default();
    let mutual = MutualPredictability::new(&config, &model, model.identity()).unwrap();
    check(&expected["mutual_predictability"], &mutual.aggregate(&[request]).unwrap()[0]);
}
