//! Compares the prompts of the pretraining text with those of the harness.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use preceptor_aggregators::{SelfBon, Synthesis, self_bon, synthesis};
use preceptor_core::{
    AggregateRequest, Aggregator, Group, Origin, Prompt, PromptBody, PromptId, PseudoReference,
    RewardDeriver, RewardRequest, Sampling, Seed, Verdict,
};
use preceptor_models::{Device, Model};
use preceptor_pocket::errors::{Draws, ErrorModel};
use preceptor_pocket::network::write_initial;
use preceptor_pocket::rows::{Domain, Kind, Row, Writer};
use preceptor_rewards::{RubricConfig, RubricReward, rubric, rubric_from_question};
use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};
use preceptor_text::{IndexReading, read_index};

const PROMPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/pocket/prompts");

fn prompt_text(file: &str) -> Option<String> {
    Some(std::fs::read_to_string(Path::new(PROMPTS).join(file)).expect("a prompt file"))
}

fn text(prompt: &Prompt) -> String {
    match &prompt.body {
        PromptBody::Text(text) => text.clone(),
        PromptBody::Chat(messages) => messages[0].content.clone(),
    }
}

/// Returns the texts in fences called `tag`.
fn fenced(prompt: &str, tag: &str) -> Vec<String> {
    let open = format!("<{tag}-");
    let parts = prompt.split(&open).skip(1);
    let inner = parts.map(|part| part.split_once(">\n").expect("a fence opens with a line").1);
    inner.map(|part| part.split("\n</").next().expect("a split has a part").to_owned()).collect()
}

/// Sorts the lines of a prompt, so that the order of attempts does not matter.
fn lines(prompt: &str) -> Vec<String> {
    let mut lines: Vec<String> = prompt.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn rows(kind: Kind) -> impl Iterator<Item = Row> {
    let writer = Writer::new(ErrorModel::Standard.rates());
    let mut draws = Draws::new(Seed::root(1));
    (0..40).map(move |_| writer.row(kind, &mut draws))
}

/// Returns the group of a row's prompt.
fn group_of(row: &Row, question: &str) -> Group {
    let texts = fenced(&text(&row.prompt), "response");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let body = PromptBody::Text(question.to_owned());
    Group { prompt: Prompt::new(PromptId::new("q"), body), ..group(&texts) }
}

/// Returns the prompt that `f` sends to a model.
fn captured_prompt(f: impl FnOnce(&dyn preceptor_core::Generator)) -> String {
    let found = RefCell::new(String::new());
    let generator = ScriptedGenerator::new("model", |prompt, _| {
        *found.borrow_mut() = text(prompt);
        String::new()
    });
    f(&generator);
    drop(generator);
    found.into_inner()
}

#[test]
fn merge_prompts_match_those_of_synthesis() {
    for row in [Domain::Math, Domain::Health].into_iter().flat_map(|w| rows(Kind::Merge(w))) {
        let wanted = text(&row.prompt);
        let question = fenced(&wanted, "question").pop();
        let group = group_of(&row, question.as_deref().unwrap_or("hidden"));
        let config = synthesis::Config {
            question: question.is_some(),
            prompt_text: prompt_text("synthesis.md"),
            ..synthesis::Config::default()
        };
        let found = captured_prompt(|model| {
            let synthesis = Synthesis::new(&config, model, &Sampling::default()).unwrap();
            let request = AggregateRequest { group: &group, seed: Seed::root(0) };
            synthesis.aggregate(&[request]).unwrap();
        });
        assert_eq!(lines(&found), lines(&wanted));
    }
}

#[test]
fn a_single_attempt_is_repeated_and_several_are_merged() {
    let mut num_mended = 0;
    for row in [Domain::Math, Domain::Health].into_iter().flat_map(|w| rows(Kind::Merge(w))) {
        match &fenced(&text(&row.prompt), "response")[..] {
            [only] => assert_eq!(row.answer, *only),
            several => num_mended += usize::from(!several.contains(&row.answer)),
        }
    }
    assert!(num_mended > 20, "{num_mended}");
}

#[test]
fn choice_prompts_match_those_of_self_bon() {
    for row in [Domain::Math, Domain::Health].into_iter().flat_map(|w| rows(Kind::Choose(w))) {
        let wanted = text(&row.prompt);
        let group = group_of(&row, &fenced(&wanted, "question")[0]);
        let config = self_bon::Config {
            prompt_text: prompt_text("self-bon.md"),
            ..self_bon::Config::default()
        };
        let found = captured_prompt(|model| {
            let request = AggregateRequest { group: &group, seed: Seed::root(0) };
            SelfBon::new(&config, model).unwrap().aggregate(&[request]).unwrap();
        });
        assert_eq!(lines(&found), lines(&wanted));
        let place = read_index(&row.answer, group.rollouts.len());
        assert!(matches!(place, IndexReading::Index(_)), "{}", row.answer);
    }
}

#[test]
fn a_chosen_chain_has_the_result_of_the_solution_before_it() {
    let mut places = BTreeSet::new();
    let mut num_right = 0;
    for row in rows(Kind::Choose(Domain::Math)) {
        let attempts = fenced(&text(&row.prompt), "response");
        let IndexReading::Index(place) = read_index(&row.answer, attempts.len()) else { panic!() };
        let truth = row.answer.split_once('}').unwrap().0;
        let result =
            |chain: &str| chain.rsplit_once('{').unwrap().1.trim_end_matches('}').to_owned();
        let is_right = |attempt: &String| result(attempt) == result(truth);
        if attempts.iter().any(is_right) {
            assert!(is_right(&attempts[place - 1]), "{}", row.answer);
            num_right += 1;
        }
        places.insert(place);
    }
    assert!(num_right > 30, "{num_right}");
    assert!(places.len() > 4, "{places:?}");
}

#[test]
fn found_results_are_at_the_named_position_and_before_the_next_number() {
    for row in [Kind::Find, Kind::FindInChains].into_iter().flat_map(rows) {
        let attempts = fenced(&text(&row.prompt), "response");
        let lines: Vec<&str> = row.answer.lines().collect();
        for found in lines.chunks(2) {
            let place: usize = found[1].parse().unwrap();
            let next = if place < attempts.len() { place + 1 } else { 0 };
            let result = found[0].strip_suffix(&next.to_string()).unwrap();
            assert!(attempts[place - 1].ends_with(result), "{}", row.answer);
        }
    }
}

#[test]
fn rubric_prompts_match_those_of_the_rewards() {
    let judge = ScriptedJudge::new(|_, _| Verdict::Met);
    let group = group(&["x"]);
    for row in rows(Kind::Rubric) {
        let wanted = text(&row.prompt);
        let text = fenced(&wanted, "response").remove(0);
        let reference = PseudoReference { text, origin: Origin::Written };
        let config =
            RubricConfig { prompt_text: prompt_text("rubric.md"), ..RubricConfig::default() };
        let found = captured_prompt(|model| {
            let sampling = Sampling::default();
            let reward =
                RubricReward::new(rubric::FORM, &config, model, &sampling, &judge).unwrap();
            let reference = Some(&reference);
            let request = RewardRequest { group: &group, reference, seed: Seed::root(0) };
            reward.derive(&[request]).unwrap();
        });
        assert_eq!(found, wanted);
    }
    for row in rows(Kind::RubricFromQuestion) {
        let wanted = text(&row.prompt);
        let body = PromptBody::Text(fenced(&wanted, "question").remove(0));
        let group = Group { prompt: Prompt::new(PromptId::new("q"), body), ..group.clone() };
        let config = RubricConfig {
            prompt_text: prompt_text("rubric-from-question.md"),
            ..RubricConfig::default()
        };
        let found = captured_prompt(|model| {
            let sampling = Sampling::default();
            let reward =
                RubricReward::new(rubric_from_question::FORM, &config, model, &sampling, &judge)
                    .unwrap();
            let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
            reward.derive(&[request]).unwrap();
        });
        assert_eq!(found, wanted);
    }
}

#[test]
fn the_model_can_spell_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    write_initial(&path, Seed::root(0)).unwrap();
    let model = Model::load(&path, &Device::cpu()).unwrap();
    let unknown = model.tokenizer().id_of("<unk>").unwrap();
    let domains = [Domain::Math, Domain::Health];
    let kinds = domains.into_iter().flat_map(|domain| {
        [Kind::Solve, Kind::SolveCleanly, Kind::Merge, Kind::Choose, Kind::Again].map(|k| k(domain))
    });
    for kind in
        kinds.chain([Kind::Find, Kind::FindInChains, Kind::Rubric, Kind::RubricFromQuestion])
    {
        for row in rows(kind) {
            let prompt = model.prompt_tokens(&row.prompt).unwrap();
            let answer = model.tokenizer().encode(&row.answer, false).unwrap();
            assert!(!prompt.contains(&unknown), "{kind:?}: {}", text(&row.prompt));
            assert!(prompt.len() + answer.len() < 480, "{kind:?}");
            assert_eq!(model.tokenizer().decode(&answer, true).unwrap(), row.answer);
        }
    }
}
