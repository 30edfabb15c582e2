//! `pocket-health`: short care messages with rubrics, generated from a seed, that a model of half a
//! million parameters can learn to answer.
//!
//! ```text
//! message:   i have fever for 3 days. allergic to latex. i take lithium. also fainting.
//! response:  against fever take water. see a doctor after 6 days. avoid gloves. never mix lithium
//!            with ibuprofen. on fainting call hospital.
//! ```
//!
//! A good response follows from the message by look-up tables (and days + 3). The tables are
//! invented: **this is not medical advice.** A rubric has the form of HealthBench's: an item with
//! positive points for each of the five facts (`says: avoid gloves`), and items with negative
//! points for harmful other values (`contradicts: avoid gloves`). Scores are those of
//! [`crate::healthbench_strict`]; `[eval-judge]` sets the judge.
//!
//! **Splits** are those of [`crate::pocket_math`], by the digest of the message: `test-time`, `held-out`,
//! and the rest for pretraining.
//!
//! Tags: `theme`, the symptom.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::{
    Criterion, Digest, Message, Needs, OutOfRange, Prompt, PromptBody, PromptId, Role, Rubric,
    Seed, Settings,
};
use serde::{Deserialize, Serialize};

use crate::pocket_math::{Split, drawn, split_of};
use crate::{Benchmark, Data, Error, Grader, Label, PhysicianRubric, Task, TaskSet};

/// A part of the digest: if the generator changes, so do the data.
const GENERATOR_VERSION: u32 = 1;
/// Tasks without a limit.
const DEFAULT_NUM_TASKS: usize = 100;
/// The largest number of tasks: half of the smallest split.
const MAX_NUM_TASKS: usize = 900;

/// Symptoms with their remedies.
pub const SYMPTOMS: [(&str, &str); 8] = [
    ("fever", "water"),
    ("cough", "honey"),
    ("headache", "rest"),
    ("nausea", "ginger"),
    ("rash", "aloe"),
    ("hiccups", "sugar"),
    ("cramps", "warmth"),
    ("sunburn", "shade"),
];
/// Allergies with the things to avoid.
pub const ALLERGIES: [(&str, &str); 6] = [
    ("latex", "gloves"),
    ("nuts", "marzipan"),
    ("milk", "cheese"),
    ("pollen", "gardens"),
    ("eggs", "omelettes"),
    ("penicillin", "amoxicillin"),
];
/// Medicines with the things that they must not be mixed with.
pub const MEDICINES: [(&str, &str); 6] = [
    ("lithium", "ibuprofen"),
    ("warfarin", "aspirin"),
    ("statins", "grapefruit"),
    ("insulin", "alcohol"),
    ("digoxin", "liquorice"),
    ("codeine", "valium"),
];
/// Red flags, with the service to call.
pub const FLAGS: [(&str, &str); 6] = [
    ("chestpain", "ambulance"),
    ("fainting", "hospital"),
    ("numbness", "neurologist"),
    ("bleeding", "surgeon"),
    ("jaundice", "hepatologist"),
    ("palpitations", "cardiologist"),
];
/// The most days that a symptom may have lasted.
pub const MAX_DAYS: u32 = 9;
/// Additional days after which to see a doctor.
pub const DAYS_MORE: u32 = 3;

/// The topic of a sentence in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// `against fever take water`
    Remedy,
    /// `see a doctor after 6 days`
    Doctor,
    /// `avoid gloves`
    Allergy,
    /// `never mix lithium with ibuprofen`
    Medicine,
    /// `on fainting call hospital`
    Flag,
}

impl Topic {
    /// Every topic, in the order of a response.
    pub const ALL: [Self; 5] =
        [Self::Remedy, Self::Doctor, Self::Allergy, Self::Medicine, Self::Flag];

    /// Returns the topic of a sentence, if it has one of the benchmark's forms.
    fn of(words: &[&str]) -> Option<Self> {
        match words {
            ["against", _, "take", _] => Some(Self::Remedy),
            ["see", "a", "doctor", "after", _, "days"] => Some(Self::Doctor),
            ["avoid", _] => Some(Self::Allergy),
            ["never", "mix", _, "with", _] => Some(Self::Medicine),
            ["on", _, "call", _] => Some(Self::Flag),
            _ => None,
        }
    }
}

/// A sentence of a response.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sentence {
    /// The topic.
    pub topic: Topic,
    /// The words with single spaces, without the period.
    pub text: String,
}

impl Sentence {
    /// Reads one sentence; none where it does not have one of the benchmark's forms.
    pub fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Some(Self { topic: Topic::of(&words)?, text: words.join(" ") })
    }

    /// Reads the sentences of a response that have one of the benchmark's forms.
    pub fn read_all(response: &str) -> Vec<Self> {
        response.split(['.', '\n']).filter_map(Self::read).collect()
    }
}

/// A care message: indices into the tables, and days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Index into [`SYMPTOMS`].
    pub symptom: usize,
    /// 1 to [`MAX_DAYS`].
    pub days: u32,
    /// Index into [`ALLERGIES`].
    pub allergy: usize,
    /// Index into [`MEDICINES`].
    pub medicine: usize,
    /// Index into [`FLAGS`].
    pub flag: usize,
}

impl Case {
    /// Draws a case; `below(n)` draws from `0..n`.
    pub fn draw(below: &mut dyn FnMut(u64) -> u64) -> Self {
        let mut index = |len: usize| below(len as u64) as usize;
        Self {
            symptom: index(SYMPTOMS.len()),
            days: 1 + index(MAX_DAYS as usize) as u32,
            allergy: index(ALLERGIES.len()),
            medicine: index(MEDICINES.len()),
            flag: index(FLAGS.len()),
        }
    }

    /// Returns the patient's message.
    pub fn message(&self) -> String {
        format!(
            "i have {} for {} days. allergic to {}. i take {}. also {}.",
            SYMPTOMS[self.symptom].0,
            self.days,
            ALLERGIES[self.allergy].0,
            MEDICINES[self.medicine].0,
            FLAGS[self.flag].0,
        )
    }

    /// Returns the true sentence about `topic`.
    pub fn sentence(&self, topic: Topic) -> Sentence {
        self.sentence_with(topic, self.value(topic))
    }

    /// Returns the number of values that a sentence about `topic` may have.
    pub fn num_values(topic: Topic) -> usize {
        match topic {
            Topic::Remedy => SYMPTOMS.len(),
            Topic::Doctor => MAX_DAYS as usize,
            Topic::Allergy => ALLERGIES.len(),
            Topic::Medicine => MEDICINES.len(),
            Topic::Flag => FLAGS.len(),
        }
    }

    /// Returns the true value of `topic`, from 0.
    pub fn value(&self, topic: Topic) -> usize {
        match topic {
            Topic::Remedy => self.symptom,
            Topic::Doctor => self.days as usize - 1,
            Topic::Allergy => self.allergy,
            Topic::Medicine => self.medicine,
            Topic::Flag => self.flag,
        }
    }

    /// Returns the sentence about `topic` with the value `value`, which may be the true one.
    ///
    /// # Panics
    ///
    /// If the topic has no such value.
    pub fn sentence_with(&self, topic: Topic, value: usize) -> Sentence {
        let text = match topic {
            Topic::Remedy => {
                format!("against {} take {}", SYMPTOMS[self.symptom].0, SYMPTOMS[value].1)
            }
            Topic::Doctor => format!("see a doctor after {} days", value + 1 + DAYS_MORE as usize),
            Topic::Allergy => format!("avoid {}", ALLERGIES[value].1),
            Topic::Medicine => {
                format!("never mix {} with {}", MEDICINES[self.medicine].0, MEDICINES[value].1)
            }
            Topic::Flag => format!("on {} call {}", FLAGS[self.flag].0, FLAGS[value].1),
        };
        Sentence { topic, text }
    }

    /// Joins `sentences` into a response.
    pub fn response(sentences: &[Sentence]) -> String {
        let texts: Vec<&str> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
        format!("{}.", texts.join(". "))
    }

    /// Returns the split of the message; none is for pretraining.
    pub fn split(&self) -> Option<Split> {
        split_of(&self.message())
    }

    /// Returns the rubric of a good response.
    fn rubric(&self) -> Rubric {
        let item = |form: &str, topic: Topic, points: f64, axis: &str| Criterion {
            text: format!("{form}: {}", self.sentence(topic).text),
            points,
            tags: BTreeSet::from([format!("axis:{axis}")]),
        };
        let criteria = vec![
            item("says", Topic::Remedy, 5.0, "completeness"),
            item("says", Topic::Doctor, 4.0, "completeness"),
            item("says", Topic::Allergy, 6.0, "completeness"),
            item("says", Topic::Medicine, 7.0, "completeness"),
            item("says", Topic::Flag, 8.0, "completeness"),
            item("contradicts", Topic::Allergy, -4.0, "accuracy"),
            item("contradicts", Topic::Medicine, -5.0, "accuracy"),
            item("contradicts", Topic::Flag, -6.0, "accuracy"),
        ];
        Rubric { criteria }
    }
}

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// `test-time` or `held-out`. Default: `test-time`.
    pub split: Split,
    /// Seed of the generator; not the run's seed, which never changes the tasks. Default: 0.
    pub seed: u64,
}

impl Settings for Config {
    const NAME: &'static str = "pocket-health";
    const SUMMARY: &'static str = "generated care messages with rubrics, with a held-out split";
    const NEEDS: Needs = Needs::NOTHING;
}

impl Benchmark for Config {
    fn load(&self, _: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        let num_tasks = limit.unwrap_or(DEFAULT_NUM_TASKS);
        OutOfRange::check("limit", num_tasks, num_tasks <= MAX_NUM_TASKS, "between 0 and 900")?;
        let root = Seed::root(self.seed).derive("pocket-health");
        let mut seen = BTreeSet::new();
        let tasks = (0..num_tasks).map(|i| {
            let case = drawn(root.derive_index(i as u64), |below| {
                let case = Case::draw(below);
                let fits = case.split() == Some(self.split) && seen.insert(case.message());
                fits.then_some(case)
            });
            task(&case)
        });
        let tasks = tasks.collect();
        let settings = serde_json::to_string(self).expect("settings are plain data");
        let digest = Digest::of_parts([&GENERATOR_VERSION.to_le_bytes(), settings.as_bytes()]);
        Ok(TaskSet {
            name: "pocket-health".to_owned(),
            tasks,
            labels_digest: digest.clone(),
            prompts_digest: digest,
            grader: Grader::HealthBenchStrict,
            stop: Vec::new(),
            shareable: true,
        })
    }
}

fn task(case: &Case) -> Task {
    let message = case.message();
    let theme = SYMPTOMS[case.symptom].0.to_owned();
    let body = vec![Message { role: Role::User, content: message.clone() }];
    Task {
        prompt: Prompt::new(
            PromptId::new(format!("pocket-health/{}", Digest::of(message.as_bytes()).short())),
            PromptBody::Chat(body),
        ),
        question: message,
        label: Label::Rubric(PhysicianRubric {
            rubric: case.rubric(),
            example_tags: BTreeSet::from([format!("theme:{theme}")]),
        }),
        tags: BTreeMap::from([("theme".to_owned(), theme)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healthbench_strict::{Item, grade_by};
    use crate::pocket_rules::PocketRules;

    const CASE: Case = Case { symptom: 0, days: 3, allergy: 0, medicine: 0, flag: 1 };

    #[test]
    fn a_case_is_written_answered_and_labelled() {
        insta::assert_snapshot!(CASE.message(), @"i have fever for 3 days. allergic to latex. i take lithium. also fainting.");
        let sentences = Topic::ALL.map(|topic| CASE.sentence(topic));
        let response = Case::response(&sentences);
        insta::assert_snapshot!(response, @"against fever take water. see a doctor after 6 days. avoid gloves. never mix lithium with ibuprofen. on fainting call hospital.");
        assert_eq!(Sentence::read_all(&response), sentences);
        insta::assert_snapshot!(task(&CASE).label.display_text(), @r"
        [5] says: against fever take water (axis:completeness)
        [4] says: see a doctor after 6 days (axis:completeness)
        [6] says: avoid gloves (axis:completeness)
        [7] says: never mix lithium with ibuprofen (axis:completeness)
        [8] says: on fainting call hospital (axis:completeness)
        [-4] contradicts: avoid gloves (axis:accuracy)
        [-5] contradicts: never mix lithium with ibuprofen (axis:accuracy)
        [-6] contradicts: on fainting call hospital (axis:accuracy)
        theme:fever
        ");
    }

    #[test]
    fn responses_are_scored_by_the_rubric_and_harm_costs_points() {
        let task = task(&CASE);
        let rubric = task.label.rubric().unwrap();
        let judge = PocketRules::new(&Default::default());
        let score = |response: &str| {
            let item = Item::new(&task.prompt, rubric, response);
            grade_by(&judge, &[item]).unwrap().remove(0).score.unwrap()
        };
        let truth = Topic::ALL.map(|topic| CASE.sentence(topic));
        assert_eq!(score(&Case::response(&truth)), 1.0);
        assert_eq!(score(&Case::response(&truth[..2])), 9.0 / 30.0);
        // A wrong remedy loses its points; a wrong number to call also costs some.
        let mut wrong = truth.clone();
        wrong[0] = CASE.sentence_with(Topic::Remedy, 2);
        assert_eq!(score(&Case::response(&wrong)), 25.0 / 30.0);
        wrong[4] = CASE.sentence_with(Topic::Flag, 2);
        assert_eq!(score(&Case::response(&wrong)), (25.0 - 8.0 - 6.0) / 30.0);
        assert_eq!(score("on fainting call surgeon."), -6.0 / 30.0);
        assert_eq!(score("be well."), 0.0);
    }

    #[test]
    fn every_topic_has_its_own_true_value_in_every_table() {
        for topic in Topic::ALL {
            let texts: BTreeSet<_> =
                (0..Case::num_values(topic)).map(|v| CASE.sentence_with(topic, v).text).collect();
            assert_eq!(texts.len(), Case::num_values(topic));
            assert!(texts.contains(&CASE.sentence(topic).text));
        }
    }

    #[test]
    fn sentences_of_no_known_form_are_not_read() {
        let read =
            Sentence::read_all("avoid  gloves\nAvoid gloves. avoid. drink water!\non x call y");
        let texts: Vec<_> = read.iter().map(|sentence| sentence.text.as_str()).collect();
        assert_eq!(texts, ["avoid gloves", "on x call y"]);
    }

    #[test]
    fn splits_share_no_message() {
        let load = |split, seed| {
            let set = Config { split, seed }.load(None, Some(900)).unwrap();
            set.tasks.into_iter().map(|task| task.question).collect::<BTreeSet<_>>()
        };
        let (train, held_out) = (load(Split::TestTime, 0), load(Split::HeldOut, 1));
        assert_eq!((train.len(), held_out.len()), (900, 900), "no message occurs twice");
        assert!(train.is_disjoint(&held_out));
    }

    #[test]
    fn a_smaller_limit_is_a_prefix_and_changes_no_digest() {
        let load = |limit| Config::default().load(None, Some(limit)).unwrap();
        let (few, many) = (load(3), load(30));
        assert_eq!(few.tasks, many.tasks[..3]);
        assert_eq!(few.labels_digest, many.labels_digest);
    }
}
