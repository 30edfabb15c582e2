//! Policies trained on two rewards, three seeds each, on twelve prompts. `RIGHT` has how many prompts the
//! policy gets right, the first ones, by reward and seed after 0, 5 and 10 steps.

use std::collections::BTreeMap;

use preceptor_core::contrast::{ContrastMetric, ContrastRecord};
use preceptor_core::record::{
    AnswerClassRecord, CHOICE_KEY, CellRecord, CellStages, EvaluationRecord, Score,
    TrainChoiceRecord, TrainCostRecord, TrainGroupRecord, TrainStepRecord, TrainingRecord,
    rollout_key, step_group_key, step_key,
};
use preceptor_core::{
    AggregateOutcome, Digest, Origin, PseudoReference, RewardValue, Split, StepMeasure,
};
use serde_json::json;

use crate::bench::{
    Bench, aggregate, axes, cell, chosen, grade, id, key, prompt, reward, rewards, rollout,
};

const NUM_PROMPTS: usize = 12;
const STEPS: [u64; 3] = [0, 5, 10];
const RIGHT: [(&str, [[usize; 3]; 3]); 2] = [
    ("answer-match", [[6, 8, 9], [6, 11, 10], [6, 9, 5]]),
    ("ground-truth", [[6, 9, 11], [6, 10, 12], [6, 11, 12]]),
];
const SPLIT: Split = Split::HeldOut;

fn score(is_right: bool) -> Score {
    Score::Scored(f64::from(u8::from(is_right)))
}

/// Grades of one rollout a prompt, the first `num_right` of them right.
fn grades(num_right: usize) -> Vec<(String, preceptor_core::record::GradeRecord)> {
    let record = |p: usize| {
        let grade = grade(p, score(p < num_right), Some("7"));
        (rollout_key(&id(p), 0), grade)
    };
    (0..NUM_PROMPTS).map(record).collect()
}

fn stages(bench: &Bench, name: &str, num_right: usize) -> CellStages {
    let each = || 0..NUM_PROMPTS;
    let of_prompts: Vec<_> =
        each().map(|p| (key(p), grade(p, score(p < num_right), Some("7")))).collect();
    let classes: Vec<_> = each()
        .map(|p| (key(p), AnswerClassRecord { prompt: id(p), classes: vec![Some(0)] }))
        .collect();
    let rewarded: Vec<_> =
        each().map(|p| rewards(p, vec![reward(RewardValue::Rewarded(1.0))])).collect();
    let asked: Vec<_> = each().map(|p| prompt(p, "x?", ("level", "1"))).collect();
    let drawn: Vec<_> = each().map(|p| rollout(p, 0, "\\boxed{7}")).collect();
    let estimated: Vec<_> = each().map(|p| aggregate(p, chosen(0, "\\boxed{7}"))).collect();
    CellStages {
        prompts: bench.stage("prompts", "", &asked),
        rollouts: bench.stage("rollouts", name, &drawn),
        rollout_grades: bench.stage("rollout-grades", name, &grades(num_right)),
        answer_classes: bench.stage("answer-classes", name, &classes),
        aggregates: bench.stage("aggregates", name, &estimated),
        grades: bench.stage("grades", name, &of_prompts),
        rewards: Some(bench.stage("rewards", name, &rewarded)),
    }
}

/// The training run of one cell; `choice` is the step that early stopping chose.
fn training(bench: &Bench, name: &str, right: [usize; 3], choice: Option<u64>) -> TrainingRecord {
    let step = |&step: &u64| {
        let measures = BTreeMap::from([(StepMeasure::LearningRate, 2e-4)]);
        (step_key(step), TrainStepRecord { step, measures })
    };
    let steps: Vec<_> = STEPS[1..].iter().map(step).collect();
    let costs = [(step_key(1), TrainCostRecord { step: 1, ..TrainCostRecord::default() })];
    let evaluation = |(&step, num_right): (&u64, usize)| EvaluationRecord {
        step,
        split: SPLIT,
        num_rollouts: 1,
        prompts: (0..NUM_PROMPTS).map(id).collect(),
        rollouts: Digest::of(b"not read"),
        rollout_grades: bench.stage(
            "rollout-grades",
            &format!("{name} {step}"),
            &grades(num_right),
        ),
    };
    let chosen = choice.map(|step| {
        let metric = "score".to_owned();
        let record = TrainChoiceRecord { step, last_step: 10, metric, value: 0.5 };
        bench.stage("train-choice", name, &[(CHOICE_KEY.to_owned(), record)])
    });
    TrainingRecord {
        objective: "grpo".to_owned(),
        num_steps: 10,
        uses_references: true,
        steps: bench.stage("train-steps", name, &steps),
        groups: Digest::of(b"no groups"),
        costs: bench.stage("train-costs", name, &costs),
        evaluations: STEPS.iter().zip(right).map(evaluation).collect(),
        choice: chosen,
    }
}

fn trained_cell(bench: &Bench, reward: &str, seed: usize, choice: Option<u64>) -> CellRecord {
    let (_, right) = RIGHT.iter().find(|(name, _)| *name == reward).expect("a test's own data");
    let name = format!("{reward} {seed}");
    let mut cell = cell("sums", "majority", stages(bench, &name, right[seed][2]));
    cell.id = Digest::of(name.as_bytes());
    cell.axes = axes(&[("reward", reward)]);
    cell.seed = seed as u64;
    cell.reward = Some(reward.to_owned());
    cell.reward_sees_labels = reward == "ground-truth";
    cell.group_size = 1;
    cell.prompts = (0..NUM_PROMPTS).map(id).collect();
    cell.training = Some(training(bench, &name, right[seed], choice));
    cell
}

/// `num_seeds` of each reward, with the steps that were chosen if `choices` has any.
pub(crate) fn bench(num_seeds: [usize; 2], choices: Option<[u64; 3]>) -> Bench {
    let bench = Bench::new();
    for ((reward, _), num_seeds) in RIGHT.iter().zip(num_seeds) {
        for seed in 0..num_seeds {
            bench.add(trained_cell(&bench, reward, seed, choices.map(|steps| steps[seed])));
        }
    }
    bench
}

fn standing(bench: &Bench, reward: &str) -> String {
    bench.cell("scores", &[("reward", reward)], "standing")
}

#[test]
fn a_policy_that_was_trained_on_labels_is_never_best() {
    let bench = bench([3, 3], None);
    bench.report(&["reward"]).unwrap();
    assert_eq!(standing(&bench, "ground-truth"), "upper bound");
    assert_eq!(standing(&bench, "answer-match"), "best");
    let row = |reward| [("reward", reward), ("step", "10")];
    assert_eq!(bench.cell("training_scores", &row("ground-truth"), "sees_labels"), "reward");
    assert_eq!(bench.cell("training_scores", &row("answer-match"), "sees_labels"), "");
    // The bar is grey, and the page says so.
    let bars = bench.read("figures/score-by-aggregator-sums.svg");
    assert!(bars.contains("#8c8c8c"), "{bars}");

    // A mixed reward has one term that sees labels; imitation asks no reward.
    for (reward, objective, expected) in
        [("mixed", "grpo", "upper bound"), ("ground-truth", "sft", "")]
    {
        bench.change(|cell| {
            let training = cell.training.as_mut().expect("a test's own data");
            if cell.reward_sees_labels {
                training.objective = objective.to_owned();
                cell.reward = Some(reward.to_owned());
                cell.axes = axes(&[("reward", reward)]);
            }
        });
        bench.report(&["reward"]).unwrap();
        let found = standing(&bench, reward);
        assert_eq!(
            found == "upper bound",
            expected == "upper bound",
            "{reward} {objective}: {found}"
        );
    }
}

#[test]
fn the_explorer_shows_every_policy_and_every_step() {
    let bench = bench([1, 2], None);
    let group = |step: u64, p: usize| {
        let drawn = rollout(p, 0, "so \\boxed{7}").1.rollout;
        let text = "so \\boxed{7}".to_owned();
        let outcome =
            AggregateOutcome::Estimated(PseudoReference { text, origin: Origin::Rollout(0) });
        let record = TrainGroupRecord {
            step,
            prompt: id(p),
            rollouts: vec![drawn],
            aggregate: Some(aggregate(p, outcome).1.aggregate),
            reward: rewards(p, vec![reward(RewardValue::Rewarded(1.0))]).1.group,
            advantages: vec![Some(-0.75)],
            scores: vec![score(false)],
            reference_score: Some(score(false)),
            token_traces: Vec::new(),
        };
        (step_group_key(step, &id(p)), record)
    };
    let groups = bench.stage("train-groups", "all", &[group(1, 3), group(2, 3), group(10, 0)]);
    bench.change(|cell| {
        let training = cell.training.as_mut().expect("trained");
        if !cell.reward_sees_labels {
            training.groups = groups.clone();
        }
    });
    bench.report(&["reward"]).unwrap();
    let index = bench.script("explorer/sums/index.js");
    let sets = index["sets"].as_array().expect("a list");
    let heads = sets.iter().map(|set| {
        let part = |name: &str| set[name][0]["name"].as_str().unwrap_or_default().to_owned();
        let (kind, label) =
            (set["kind"].as_str().expect("text"), set["label"].as_str().expect("text"));
        format!("{kind}: {label}, seed {}: {}: {}", set["seed"], part("estimates"), part("rewards"))
    });
    insta::assert_snapshot!(heads.collect::<Vec<_>>().join("\n"), @r"
    evaluation: trained on answer-match reward, seed 0: majority: majority, answer-match reward
    evaluation: trained on ground-truth reward, seed 0: majority: majority, ground-truth reward
    evaluation: trained on ground-truth reward, seed 1: majority: majority, ground-truth reward
    training: trained on answer-match reward, seed 0: majority: majority, answer-match reward
    training: trained on ground-truth reward, seed 0: majority: majority, ground-truth reward
    ");
    let training = &sets[3];
    assert_eq!(training["steps"], json!([1, 2, 10]));
    assert_eq!(training["prompts"], json!([3, 3, 0]));
    assert_eq!(
        (&training["scores"], &training["lengths"]),
        (&json!([0.0, 0.0, 0.0]), &json!([2.0, 2.0, 2.0]))
    );
    assert_eq!(training["reward-means"], json!([[1.0, 1.0, 1.0]]));
    // Groups of an earlier set share the slice.
    let (first, slice) = (training["offset"].as_u64().expect("a place"), &training["slices"]);
    assert_eq!((first, slice), (36, &json!([[0, 0]])));
    let slice = bench.script("explorer/sums/0000.js");
    let group = &slice["groups"][37];
    assert_eq!(group["key"], "000002/p3");
    assert_eq!(group["rollouts"][0]["advantage"], -0.75);
    let text = group["rollouts"][0]["text"].as_u64().expect("a text") as usize;
    assert_eq!(slice["texts"][text], "so \\boxed{7}");
    assert_eq!(
        bench.script("explorer/sums/0000-tokens.js")[37][0]["logprobs"],
        json!([-0.5, -1.5])
    );
}

#[test]
fn lacking_control_arms_are_named() {
    let (two, one) = (bench([3, 3], None), bench([3, 0], None));
    two.report(&["reward"]).unwrap();
    let sentence = "No policy is trained on a constant reward (`constant`) or a random reward (`random`): \
                    without these arms it is open how much of a gain comes from the reward.";
    assert!(two.read("page.md").contains(sentence));
    assert!(two.read("page.html").contains("a constant reward (<code>constant</code>)"));
    // A single kind of training compares nothing.
    one.report(&["reward"]).unwrap();
    assert!(!one.read("page.md").contains("No policy is trained on"));
}

#[test]
fn relative_gains_are_beside_absolute_ones() {
    let bench = bench([3, 3], None);
    bench.report(&["reward"]).unwrap();
    let row = [("reward", "answer-match"), ("step", "10")];
    let number = |column| bench.number("training_scores", &row, column);
    let before = number("score") - number("gain");
    assert!((number("relative_gain") - number("gain") / before).abs() < 1e-9);
    assert!(bench.read("page.md").contains(" % |"));
}

#[test]
fn the_aggregator_that_a_policy_was_not_trained_on_makes_no_upper_bound_of_it() {
    let bench = bench([3, 0], None);
    bench.change(|cell| cell.sees_labels = true);
    bench.report(&["reward"]).unwrap();
    let row = [("reward", "answer-match"), ("step", "10")];
    assert_eq!(bench.cell("training_scores", &row, "sees_labels"), "aggregator");
    bench.change(|cell| cell.training.as_mut().expect("trained").uses_references = false);
    bench.report(&["reward"]).unwrap();
    assert_eq!(bench.cell("training_scores", &row, "sees_labels"), "");
    assert_eq!(standing(&bench, "answer-match"), "upper bound");
}

#[test]
fn every_set_of_rollouts_names_its_condition() {
    let bench = bench([3, 3], None);
    bench.report(&["reward"]).unwrap();
    let header = bench.header("rollouts");
    assert!(
        ["reward", "trained_on", "seed"].iter().all(|name| header.contains(&(*name).to_owned()))
    );
    for (reward, trained_on) in
        [("answer-match", "majority"), ("ground-truth", "majority, ground-truth reward")]
    {
        for seed in ["0", "1", "2"] {
            let row = [("reward", reward), ("seed", seed)];
            assert_eq!(bench.cell("rollouts", &row, "trained_on"), trained_on);
        }
    }
    bench.check(
        "rollouts",
        &[("reward", "answer-match"), ("seed", "2")],
        &[("pass_at_1", 5.0 / 12.0)],
    );
}

#[test]
fn intervals_of_trained_policies_are_over_training_runs_too() {
    let bench = bench([3, 3], None);
    bench.report(&["reward"]).unwrap();
    // 9, 10 and 5 of 12: between prompts there is little, between runs much.
    let row = [("reward", "answer-match")];
    bench.check("scores", &row, &[("score", 24.0 / 36.0), ("seeds", 3.0)]);
    let number = |column| bench.number("scores", &row, column);
    // Over prompts alone it would be 0.41 to 0.86; the seeds by themselves run from 0.42 to 0.83.
    assert!(number("low") < 0.33 && number("high") > 0.88, "{} {}", number("low"), number("high"));
    let spread =
        ([9.0_f64, 10.0, 5.0].map(|n| (n / 12.0 - 24.0 / 36.0).powi(2)).iter().sum::<f64>() / 6.0)
            .sqrt();
    let parts = number("training_se").hypot(number("evaluation_se"));
    assert!(number("training_se") < spread && parts > spread, "{spread} {parts}");
    let last = [("reward", "answer-match"), ("step", "10")];
    bench.check(
        "training_scores",
        &last,
        &[("score", 24.0 / 36.0), ("gain", 6.0 / 36.0), ("lowest", 5.0 / 12.0), ("seeds", 3.0)],
    );
    assert!(bench.number("training_scores", &last, "gain_low") < 0.0);
    assert!(bench.number("training_scores", &last, "p_holm") > 0.05);
}

#[test]
fn one_training_run_and_fewer_seeds_are_not_ranked() {
    let one = bench([1, 1], None);
    one.report(&["reward"]).unwrap();
    assert_eq!(standing(&one, "answer-match"), "one training run");
    let row = [("reward", "answer-match")];
    assert_eq!(
        (one.cell("scores", &row, "low"), one.cell("scores", &row, "seeds")),
        (String::new(), "1".to_owned())
    );
    let last = [("reward", "answer-match"), ("step", "10")];
    assert_eq!(one.cell("training_scores", &last, "note"), "one training run");
    assert_eq!(one.cell("training_scores", &last, "p_holm"), "");

    let unequal = bench([2, 3], None);
    unequal.change(|cell| cell.reward_sees_labels = false);
    unequal.report(&["reward"]).unwrap();
    assert_eq!(standing(&unequal, "answer-match"), "fewer seeds");
    assert_eq!(standing(&unequal, "ground-truth"), "", "it has nobody to be compared with");
}

#[test]
fn the_policy_of_the_chosen_step_is_reported() {
    let bench = bench([3, 3], Some([10, 5, 5]));
    bench.report(&["reward"]).unwrap();
    let chosen = [("reward", "answer-match"), ("step", "")];
    // 9 of the tenth step, 11 and 9 of the fifth.
    bench.check("training_scores", &chosen, &[("score", 29.0 / 36.0), ("gain", 11.0 / 36.0)]);
    assert_eq!(bench.cell("training_scores", &chosen, "chosen"), "10 5 5");
    assert!(bench.number("training_scores", &chosen, "p_holm") < 1.0);
    let last = [("reward", "answer-match"), ("step", "10")];
    assert_eq!(bench.cell("training_scores", &last, "p_holm"), "");
    bench.check("training_scores", &last, &[("score", 24.0 / 36.0)]);
    // Rings mark both steps on both lines.
    let curves = bench.read("figures/learning-curves.svg");
    assert_eq!(curves.matches("class=\"ring\"").count(), 4);
}

#[test]
fn an_evaluation_that_lacks_a_grade_is_shown_with_its_coverage() {
    let bench = bench([3, 0], None);
    let eleven: Vec<_> = grades(9).into_iter().skip(1).collect();
    let stage = bench.stage("rollout-grades", "one is missing", &eleven);
    bench.change(|cell| {
        let training = cell.training.as_mut().expect("trained");
        if cell.seed == 0 {
            training.evaluations[2].rollout_grades = stage.clone();
        }
    });
    bench.report(&["reward"]).unwrap();
    let last = [("reward", "answer-match"), ("step", "10")];
    bench.check("training_scores", &last, &[("coverage", 35.0 / 36.0), ("seeds", 3.0)]);
}

#[test]
fn a_choice_that_is_not_there_stops_the_report() {
    let bench = bench([1, 0], Some([5, 5, 5]));
    bench.change(|cell| {
        let training = cell.training.as_mut().expect("trained");
        training.evaluations.retain(|evaluation| evaluation.step != 5);
    });
    insta::assert_snapshot!(bench.report(&["reward"]).unwrap_err().to_string(), @r"
    report on cell `reward=answer-match seed=0`: the evaluation on `held-out` after the chosen step 5 is not in the store
    hint: run the experiment first
    ");
    bench.change(|cell| {
        let training = cell.training.as_mut().expect("trained");
        training.choice = Some(Digest::of(b"nothing was written"));
    });
    insta::assert_snapshot!(bench.report(&["reward"]).unwrap_err().to_string(), @r"
    report on cell `reward=answer-match seed=0`: the step that early stopping chose is not in the store
    hint: run the experiment first
    ");
}

#[test]
fn trained_policies_are_compared_over_runs_and_prompts() {
    let bench = bench([3, 3], Some([10, 5, 5]));
    let contrast = |name: &str, b: &str, step: Option<u64>| ContrastRecord {
        name: name.to_owned(),
        metric: ContrastMetric::Policy,
        a: "reward=ground-truth".to_owned(),
        b: b.to_owned(),
        split: Some(SPLIT),
        step,
    };
    bench
        .report_plan(&["reward"], 1, |plan| {
            plan.contrasts = vec![
                contrast("labels against votes", "reward=answer-match", None),
                contrast("labels against votes, last step", "reward=answer-match", Some(10)),
                contrast("labels against no training", "initial", None),
            ];
        })
        .unwrap();
    let row = |name| [("contrast", name)];
    // Chosen: 11, 10, 11 against 9, 11, 9.
    bench.check(
        "contrasts",
        &row("labels against votes"),
        &[
            ("a_score", 32.0 / 36.0),
            ("b_score", 29.0 / 36.0),
            ("difference", 3.0 / 36.0),
            ("seeds", 3.0),
            ("prompts", 12.0),
            // On prompts 9, 10 and 11 of twelve: 9 and 10 are gained, 10 is lost once.
            ("wins", 2.0),
            ("losses", 0.0),
        ],
    );
    bench.check(
        "contrasts",
        &row("labels against votes, last step"),
        &[("difference", 11.0 / 36.0), ("seeds", 3.0)],
    );
    assert_eq!(
        bench.cell("contrasts", &row("labels against no training"), "b"),
        "the initial policy"
    );
    let p = |name, column| bench.number("contrasts", &row(name), column);
    for name in
        ["labels against votes", "labels against votes, last step", "labels against no training"]
    {
        assert!(p(name, "p") <= p(name, "p_holm") && p(name, "p_holm") <= 1.0);
        assert!(p(name, "low") < p(name, "difference") && p(name, "difference") < p(name, "high"));
    }
}

#[test]
fn measures_of_steps_keep_their_panels_when_a_plan_has_several_benchmarks() {
    let bench = bench([1, 1], None);
    let measure = StepMeasure::RewardMean;
    let steps = |benchmark: &str| {
        let record = |step| TrainStepRecord { step, measures: BTreeMap::from([(measure, 0.5)]) };
        let records = [1, 2].map(|step| (step_key(step), record(step)));
        bench.stage("train-steps", benchmark, &records)
    };
    let [sums, words] = ["sums", "words"].map(steps);
    bench.change(|cell| {
        let training = cell.training.as_mut().expect("trained");
        training.steps = sums.clone();
        if cell.reward_sees_labels {
            training.steps = words.clone();
            cell.benchmark = "words".to_owned();
        }
    });
    bench.report(&["reward"]).unwrap();
    let figure = bench.read("figures/training-steps.svg");
    for benchmark in ["sums", "words"] {
        let title = format!("{benchmark}, {}", measure.label());
        assert!(figure.contains(&title), "`{title}` is not in {figure}");
    }
}

#[test]
fn small_rates_keep_their_digits() {
    let bench = bench([1, 0], None);
    bench.report(&["reward"]).unwrap();
    let page = bench.read("page.md");
    let rates: Vec<&str> = page.lines().filter(|line| line.contains("learning-rate")).collect();
    assert!(rates.iter().all(|line| line.contains("| 2e-4 |")), "{rates:?}");
    assert!(bench.read("tables/training_steps.tex").contains("2e-4"));
    assert!(bench.read("page.html").contains(">2e-4</td>"));
}
