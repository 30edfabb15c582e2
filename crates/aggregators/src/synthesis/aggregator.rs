//! The anchor writes a new answer from the rollouts.

use std::collections::BTreeMap;

use preceptor_answers::extract_boxed;
use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Generator, Origin,
    PortError, PromptId, PseudoReference, Reply, Rollout, Sampling, Usage,
};
use preceptor_text::{Template, TemplateError, question_block, without_thoughts};

use super::config::{Config, OnCutOff, Style, template};
use crate::asking::{Question, ask, kept, unusable, usage};
use crate::order::seeded_order;
use crate::outcome::{abstained, flag};
use crate::shown;

/// Synthesis by the anchor.
pub struct Synthesis<'a> {
    config: Config,
    template: Template,
    heading: String,
    anchor: &'a dyn Generator,
    sampling: Sampling,
}

/// Group on its way up the tree.
struct Climb {
    /// Texts that the next level reads.
    texts: Vec<String>,
    /// Reason that nothing is left, if so.
    failed: Option<AbstainReason>,
    replies: Vec<Reply>,
    usage: Usage,
    num_headings: usize,
    num_cut_off: usize,
    num_levels: usize,
    num_lost: usize,
}

impl<'a> Synthesis<'a> {
    /// Creates the aggregator of `config` that lets `anchor` write, sampling with `sampling`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a placeholder.
    pub fn new(
        config: &Config,
        anchor: &'a dyn Generator,
        sampling: &Sampling,
    ) -> Result<Self, TemplateError> {
        let heading = match &config.heading {
            Some(heading) => heading.clone(),
            None => config.style.unwrap_or(Style::Reasoning).heading().to_owned(),
        };
        Ok(Self {
            template: template(config)?,
            heading,
            config: config.clone(),
            anchor,
            sampling: Sampling {
                // Stop strings belong to the policy's own prompts.
                stop: Vec::new(),
                max_new_tokens: config.max_new_tokens.unwrap_or(sampling.max_new_tokens),
                ..sampling.clone()
            },
        })
    }

    fn start(&self, request: &AggregateRequest<'_>) -> Climb {
        let wanted = self.config.rollouts_in_context.map_or(usize::MAX, |n| n as usize);
        let rollouts = &request.group.rollouts[..request.group.rollouts.len().min(wanted)];
        let order = seeded_order(rollouts, request.seed.derive("order"));
        Climb {
            texts: order.into_iter().map(|index| rollouts[index].text.clone()).collect(),
            failed: None,
            replies: Vec::new(),
            usage: Usage::default(),
            num_headings: 0,
            num_cut_off: 0,
            num_levels: 0,
            num_lost: 0,
        }
    }

    /// Takes every group one level up, all chunks of all groups in one call.
    fn climb(
        &self,
        requests: &[AggregateRequest<'_>],
        climbs: &mut [Climb],
        climbing: &[usize],
    ) -> Result<(), PortError> {
        let mut questions = Vec::new();
        let mut asked: Vec<(usize, Option<String>)> = Vec::new();
        for &group in climbing {
            let texts = std::mem::take(&mut climbs[group].texts);
            let level = climbs[group].num_levels;
            let fan_in = self.config.fan_in.map_or(usize::MAX, |k| k as usize);
            let is_tree = texts.len() > fan_in;
            for (number, chunk) in texts.chunks(fan_in.min(texts.len().max(1))).enumerate() {
                // In a tree a rest of one goes up as it is.
                if is_tree && let [only] = chunk {
                    asked.push((group, Some(only.clone())));
                    continue;
                }
                let request = &requests[group];
                let prompt = &request.group.prompt;
                let question = if self.config.question {
                    question_block(&prompt.question_text())
                } else {
                    String::new()
                };
                let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
                let seed = request.seed.derive("reply").derive_index(level as u64);
                questions.push(Question {
                    id: PromptId::new(format!("{}/synthesis/{level}/{number}", prompt.id)),
                    text: self.template.fill(&[&question, &shown::numbered(&chunk)]),
                    seed: seed.derive_index(number as u64),
                });
                asked.push((group, None));
            }
            climbs[group].num_levels += 1;
        }
        let mut replies = ask(self.anchor, &self.sampling, questions)?.into_iter();
        for (group, passed_on) in asked {
            let climb = &mut climbs[group];
            match passed_on {
                Some(text) => climb.texts.push(text),
                None => self.take(climb, replies.next().flatten()),
            }
        }
        Ok(())
    }

    /// Reads one reply.
    fn take(&self, climb: &mut Climb, reply: Option<Rollout>) {
        if let Some(reply) = &reply {
            climb.usage += usage(reply);
            climb.replies.push(kept(reply));
        }
        let lost = |climb: &mut Climb, reason: AbstainReason| {
            climb.num_lost += 1;
            // A call that may succeed later counts more than one that won't.
            if climb.failed != Some(AbstainReason::CallFailed) {
                climb.failed = Some(reason);
            }
        };
        let is_cut_off = reply.as_ref().is_some_and(|reply| reply.finish.is_truncated());
        climb.num_cut_off += usize::from(is_cut_off);
        let keeps = is_cut_off && self.config.on_cut_off == Some(OnCutOff::Keep);
        if let Some(reason) = unusable(reply.as_ref()).filter(|_| !keeps) {
            return lost(climb, reason);
        }
        let text =
            reply.map(|reply| without_thoughts(&reply.text).into_owned()).unwrap_or_default();
        let under = under_heading(&text, &self.heading);
        climb.num_headings += usize::from(under.is_some());
        // Without the heading, a cut-off reply may not have come to the part that counts.
        let whole = if keeps { "" } else { text.as_str() };
        let part = under.unwrap_or(whole).trim();
        if part.is_empty() {
            let reason = if keeps { AbstainReason::CutOff } else { AbstainReason::Unreadable };
            return lost(climb, reason);
        }
        climb.texts.push(part.to_owned());
    }
}

/// Returns the text below the last line that is the heading and nothing else.
fn under_heading<'t>(text: &'t str, heading: &str) -> Option<&'t str> {
    let is_mark = |c: char| !c.is_alphanumeric();
    let mut found = None;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        let bare = line.trim_matches(is_mark);
        if bare.eq_ignore_ascii_case(heading) {
            found = Some(&text[end..]);
        } else if let Some(start) = bare.get(..heading.len())
            && start.eq_ignore_ascii_case(heading)
            && bare[heading.len()..].trim_start().starts_with(':')
        {
            // "Unified response: The answer is .." on one line.
            let colon = line.find(':').map_or(0, |at| at + 1);
            found = Some(&text[end - line.len() + colon..]);
        }
    }
    found
}

impl Aggregator for Synthesis<'_> {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        let mut climbs: Vec<Climb> = requests.iter().map(|request| self.start(request)).collect();
        loop {
            let climbing: Vec<usize> = (0..climbs.len())
                .filter(|&i| {
                    let climb = &climbs[i];
                    let is_first = climb.num_levels == 0 && !climb.texts.is_empty();
                    is_first || climb.texts.len() > 1
                })
                .filter(|&i| climbs[i].failed != Some(AbstainReason::CallFailed))
                .collect();
            if climbing.is_empty() {
                break;
            }
            self.climb(requests, &mut climbs, &climbing)?;
        }
        Ok(climbs.into_iter().map(finish).collect())
    }
}

fn finish(climb: Climb) -> Aggregate {
    let Climb { mut texts, failed, replies, usage, num_headings, .. } = climb;
    let Climb { num_cut_off, num_levels, num_lost, .. } = climb;
    // A tree that lacks a chunk because of a call is not the tree that was asked for.
    let is_transient = failed.is_some_and(AbstainReason::is_transient);
    let text = if is_transient { None } else { texts.pop() };
    let Some(text) = text else {
        let reason = failed.unwrap_or(AbstainReason::EmptyGroup);
        return Aggregate { replies, usage, ..abstained(reason) };
    };
    let num_replies = replies.len() as f64;
    let measures = BTreeMap::from([
        ("heading".to_owned(), num_headings as f64 / num_replies.max(1.0)),
        ("cut-off".to_owned(), num_cut_off as f64 / num_replies.max(1.0)),
        ("answered".to_owned(), flag(extract_boxed(&text).answer.is_some())),
        ("num-replies".to_owned(), num_replies),
        ("num-levels".to_owned(), num_levels as f64),
        ("lost-chunks".to_owned(), num_lost as f64),
    ]);
    let reference = PseudoReference { text, origin: Origin::Written };
    Aggregate { outcome: AggregateOutcome::Estimated(reference), measures, replies, usage }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{
        Digest, FinishReason, GenerationObserver, GenerationRequest, ModelIdentity,
    };
    use preceptor_core::{Prompt, PromptBody, RolloutSeed, Seed};
    use preceptor_testkit::{ScriptedGenerator, boxed_group, group};
    use proptest::prelude::*;

    use super::*;

    fn text_of(prompt: &Prompt) -> &str {
        match &prompt.body {
            PromptBody::Text(text) => text,
            PromptBody::Chat(messages) => &messages[0].content,
        }
    }

    fn synthesise(
        config: &Config,
        texts: &[&str],
        answer: impl Fn(&Prompt, RolloutSeed) -> String,
    ) -> Aggregate {
        let anchor = ScriptedGenerator::new("anchor", answer);
        let group = group(texts);
        let request = AggregateRequest { group: &group, seed: Seed::root(0) };
        let synthesis = Synthesis::new(config, &anchor, &Sampling::default()).unwrap();
        synthesis.aggregate(&[request]).unwrap().remove(0)
    }

    fn text(aggregate: &Aggregate) -> &str {
        match &aggregate.outcome {
            AggregateOutcome::Estimated(reference) => &reference.text,
            AggregateOutcome::Abstained(reason) => panic!("{reason:?}"),
        }
    }

    #[test]
    fn only_the_part_under_the_last_heading_counts() {
        let reply = "## Summary\nUnified response follows.\n**Unified Response:**\nNo.\n\
                     ## Unified response\n\nSo it is \\boxed{4}.\n";
        let aggregate = synthesise(&Config::default(), &["a", "b"], |_, _| reply.to_owned());
        assert_eq!(text(&aggregate), r"So it is \boxed{4}.");
        assert_eq!(aggregate.measures["heading"], 1.0);
        assert_eq!(aggregate.measures["answered"], 1.0);
        assert_eq!(aggregate.replies[0].text, reply);
        let one_line = "Unified response: it is \\boxed{5}";
        let aggregate = synthesise(&Config::default(), &["a"], |_, _| one_line.to_owned());
        assert_eq!(text(&aggregate), r"it is \boxed{5}");
    }

    #[test]
    fn a_reply_without_the_heading_counts_whole_and_is_counted() {
        let aggregate = synthesise(&Config::default(), &["a"], |_, _| "Just this.".to_owned());
        assert_eq!(text(&aggregate), "Just this.");
        assert_eq!(aggregate.measures["heading"], 0.0);
        assert_eq!(aggregate.measures["answered"], 0.0);
    }

    #[test]
    fn nothing_under_the_heading_is_no_pseudo_reference() {
        let aggregate =
            synthesise(&Config::default(), &["a"], |_, _| "## Unified response\n \n".to_owned());
        assert_eq!(aggregate.outcome, AggregateOutcome::Abstained(AbstainReason::Unreadable));
        assert_eq!(aggregate.replies.len(), 1);
    }

    #[test]
    fn the_question_is_left_out_unless_it_is_asked_for() {
        // The test group's question is the word `prompt`.
        let question = "This is what was asked";
        let sees = |prompt: &Prompt, _: RolloutSeed| text_of(prompt).contains(question).to_string();
        assert_eq!(text(&synthesise(&Config::default(), &["a"], sees)), "false");
        let config = Config { question: true, ..Config::default() };
        assert_eq!(text(&synthesise(&config, &["a"], sees)), "true");
    }

    #[test]
    fn fewer_rollouts_in_context_are_the_first_of_the_group() {
        let config = Config { rollouts_in_context: Some(2), ..Config::default() };
        let seen = |prompt: &Prompt, _: RolloutSeed| {
            let text = text_of(prompt);
            ["alpha", "beta", "gamma"]
                .map(|word| text.contains(word))
                .map(u8::from)
                .map(|b| b.to_string())
                .concat()
        };
        assert_eq!(text(&synthesise(&config, &["alpha", "beta", "gamma"], seen)), "110");
    }

    /// Joins the words `wN` of the rollouts it reads.
    fn joins(prompt: &Prompt, _: RolloutSeed) -> String {
        let mut words: Vec<_> = text_of(prompt)
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| word.strip_prefix('w').is_some_and(|n| n.parse::<u32>().is_ok()))
            .collect();
        words.sort_unstable();
        words.join(" ")
    }

    #[test]
    fn a_tree_reads_every_rollout_once_and_its_results_again() {
        let texts: Vec<String> = (10..17).map(|i| format!("w{i}")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let config = Config { fan_in: Some(3), ..Config::default() };
        let aggregate = synthesise(&config, &texts, joins);
        assert_eq!(text(&aggregate), "w10 w11 w12 w13 w14 w15 w16");
        // Seven make chunks of 3, 3 and 1; the rest of one goes up as it is; three make one.
        assert_eq!(aggregate.measures["num-replies"], 3.0);
        assert_eq!(aggregate.measures["num-levels"], 2.0);
    }

    #[test]
    fn a_lost_chunk_is_counted_and_the_others_go_on() {
        let texts = ["w10", "w11", "w12", "bad"];
        let config = Config { fan_in: Some(2), ..Config::default() };
        let fails = |prompt: &Prompt, seed: RolloutSeed| {
            if text_of(prompt).contains("bad") {
                "## Unified response".to_owned()
            } else {
                joins(prompt, seed)
            }
        };
        let aggregate = synthesise(&config, &texts, fails);
        assert_eq!(aggregate.measures["lost-chunks"], 1.0);
        assert_eq!(text(&aggregate).split(' ').count(), 2);
    }

    #[test]
    fn a_cut_off_synthesis_is_kept_from_its_heading_on_where_that_is_asked_for() {
        let identity = ScriptedGenerator::new("m", |_, _| String::new()).identity().clone();
        let outcome = |text: &'static str, on_cut_off: Option<OnCutOff>| {
            let anchor = Ends(Some(FinishReason::MaxNewTokens), identity.clone(), text);
            let config = Config { on_cut_off, ..Config::default() };
            let group = boxed_group(&["1", "2"]);
            let request = AggregateRequest { group: &group, seed: Seed::root(0) };
            let synthesis = Synthesis::new(&config, &anchor, &Sampling::default()).unwrap();
            synthesis.aggregate(&[request]).unwrap().remove(0)
        };
        let begun = "## Summary\n-\n## Unified response\nFirst, drink";
        let kept = outcome(begun, Some(OnCutOff::Keep));
        assert_eq!(text(&kept), "First, drink");
        assert_eq!(kept.measures["cut-off"], 1.0);
        let abstained = AggregateOutcome::Abstained(AbstainReason::CutOff);
        assert_eq!(outcome(begun, Some(OnCutOff::Abstain)).outcome, abstained);
        assert_eq!(outcome("## Summary\nFirst", Some(OnCutOff::Keep)).outcome, abstained);
        assert_eq!(outcome("## Unified response\n", Some(OnCutOff::Keep)).outcome, abstained);
    }

    #[test]
    fn a_synthesis_may_be_longer_than_other_texts_of_the_anchor() {
        let anchor = ScriptedGenerator::new("anchor", |_, _| String::new());
        let config = Config { max_new_tokens: Some(99), ..Config::default() };
        let sampling = Sampling { max_new_tokens: 7, ..Sampling::default() };
        assert_eq!(
            Synthesis::new(&config, &anchor, &sampling).unwrap().sampling.max_new_tokens,
            99
        );
        let config = Config::default();
        assert_eq!(Synthesis::new(&config, &anchor, &sampling).unwrap().sampling.max_new_tokens, 7);
    }

    /// Ends every reply for one reason and with one text, or fails every call.
    struct Ends(Option<FinishReason>, ModelIdentity, &'static str);

    impl Generator for Ends {
        fn identity(&self) -> &ModelIdentity {
            &self.1
        }

        fn generate(
            &self,
            requests: &[GenerationRequest],
            _: &Sampling,
            _: &mut dyn GenerationObserver,
        ) -> Result<Vec<Vec<Rollout>>, PortError> {
            let reply = |finish| {
                let mut rollout = preceptor_testkit::rollout(0, self.2);
                rollout.finish = finish;
                vec![rollout]
            };
            Ok(requests.iter().map(|_| self.0.map_or_else(Vec::new, reply)).collect())
        }
    }

    #[test]
    fn a_synthesis_that_ends_badly_is_a_recorded_outcome() {
        let identity = ScriptedGenerator::new("m", |_, _| String::new()).identity().clone();
        for (finish, reason) in [
            (Some(FinishReason::MaxNewTokens), AbstainReason::CutOff),
            (Some(FinishReason::PromptTooLong), AbstainReason::PromptTooLong),
            (Some(FinishReason::Refused), AbstainReason::Refused),
            (None, AbstainReason::CallFailed),
        ] {
            let anchor = Ends(finish, identity.clone(), "So it is");
            let group = boxed_group(&["1", "2"]);
            let request = AggregateRequest { group: &group, seed: Seed::root(0) };
            let synthesis =
                Synthesis::new(&Config::default(), &anchor, &Sampling::default()).unwrap();
            let aggregate = synthesis.aggregate(&[request]).unwrap().remove(0);
            assert_eq!(aggregate.outcome, AggregateOutcome::Abstained(reason));
        }
    }

    proptest! {
        #[test]
        fn permuting_the_rollouts_changes_nothing(
            numbers in prop::collection::btree_set(0_u32..100, 1..9),
            fan_in in prop::option::of(2_u32..4),
            shuffle in any::<u64>(),
        ) {
            let texts: Vec<String> = numbers.iter().map(|n| format!("w{n}")).collect();
            let mut permuted = texts.clone();
            permuted.sort_by_key(|text| Seed::root(shuffle).derive(text));
            let of = |texts: &[String]| {
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                // Says what it read, in order.
                synthesise(&Config { fan_in, ..Config::default() }, &texts, |prompt, _| {
                    Digest::of(text_of(prompt).as_bytes()).to_string()
                })
            };
            prop_assert_eq!(of(&texts), of(&permuted));
        }

        #[test]
        fn finding_the_heading_never_panics(text in "(?s).{0,200}") {
            let _ = under_heading(&text, "Unified response");
        }
    }
}
