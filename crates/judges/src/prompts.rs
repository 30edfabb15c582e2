//! The prompts of a judge, filled.
//!
//! Everything that others wrote is in fences: the conversation, the response, the reference, and
//! the criteria, which may be a model's too.

use preceptor_core::{Digest, Prompt};
use preceptor_text::{Template, TemplateError, fence, without_thoughts};

use crate::reply::Style;

/// The placeholders of the prompt for verdicts, a user's own included.
const VERDICT: &[&str] = &["conversation", "reference", "response", "criteria", "reply"];
const RATING: &[&str] =
    &["conversation", "reference", "response", "criterion", "low", "high", "reply"];
const CHOICE: &[&str] = &["conversation", "responses", "count", "reply"];

/// A built-in prompt file; tests fill every one.
macro_rules! built_in {
    ($file:literal, $placeholders:expr) => {
        Template::new($file, include_str!(concat!("../prompts/", $file)), $placeholders)
    };
}

/// Parts of other prompts.
pub(crate) struct Blocks {
    conversation: Template,
    reference: Template,
}

impl Blocks {
    pub(crate) fn new() -> Result<Self, TemplateError> {
        Ok(Self {
            conversation: built_in!("conversation-v1.md", &["conversation"])?,
            reference: built_in!("reference-v1.md", &["reference"])?,
        })
    }

    /// Returns the conversation under its line, or nothing.
    pub(crate) fn conversation(&self, prompt: Option<&Prompt>) -> String {
        let shown = |prompt: &Prompt| {
            self.conversation.fill(&[&fence("conversation", &prompt.question_text())])
        };
        prompt.map(shown).unwrap_or_default()
    }

    /// Returns the reference under its line, or nothing.
    pub(crate) fn reference(&self, reference: Option<&str>) -> String {
        let shown = |text| self.reference.fill(&[&fence("reference", &without_thoughts(text))]);
        reference.map(shown).unwrap_or_default()
    }

    pub(crate) fn digests(&self) -> [&Digest; 2] {
        [self.conversation.digest(), self.reference.digest()]
    }
}

/// The prompts of an [`LlmJudge`](crate::LlmJudge).
pub(crate) struct Prompts {
    style: Style,
    blocks: Blocks,
    verdict: Template,
    rating: Template,
    choice: Template,
    criterion: Template,
    criteria: Template,
    reply: Template,
    reply_numbered: Template,
}

impl Prompts {
    pub(crate) fn new(style: Style, own: Option<&str>) -> Result<Self, TemplateError> {
        let verdict = match own {
            None => built_in!("verdict-v1.md", VERDICT)?,
            Some(text) => Template::new("judge.prompt-text", text, VERDICT)?,
        };
        let answer: &[&str] = &["answer"];
        let (reply, reply_numbered) = match style {
            Style::Json => (
                built_in!("reply-json-v1.md", answer)?,
                built_in!("reply-json-numbered-v1.md", answer)?,
            ),
            Style::Xml => (
                built_in!("reply-xml-v1.md", answer)?,
                built_in!("reply-xml-numbered-v1.md", answer)?,
            ),
            Style::YesNo => (
                built_in!("reply-yes-no-v1.md", answer)?,
                built_in!("reply-yes-no-numbered-v1.md", answer)?,
            ),
        };
        Ok(Self {
            style,
            blocks: Blocks::new()?,
            verdict,
            rating: built_in!("rating-v1.md", RATING)?,
            choice: built_in!("choice-v1.md", CHOICE)?,
            criterion: built_in!("criterion-v1.md", &["criterion"])?,
            criteria: built_in!("criteria-v1.md", &["count", "criteria"])?,
            reply,
            reply_numbered,
        })
    }

    /// Returns the digest of every file that can be part of a question.
    pub(crate) fn digest(&self) -> Digest {
        let templates = [
            &self.verdict,
            &self.rating,
            &self.choice,
            &self.criterion,
            &self.criteria,
            &self.reply,
            &self.reply_numbered,
        ];
        let digests = templates.map(Template::digest).into_iter().chain(self.blocks.digests());
        Digest::of_parts(digests.map(|digest| digest.as_str().as_bytes()))
    }

    pub(crate) fn verdicts(
        &self,
        prompt: Option<&Prompt>,
        reference: Option<&str>,
        response: &str,
        criteria: &[&str],
    ) -> String {
        let answer = match self.style {
            Style::Json => "\"yes\" or \"no\"",
            Style::Xml | Style::YesNo => "yes or no",
        };
        let (criteria, reply) = match criteria {
            [only] => (self.criterion(only), self.reply.fill(&[answer])),
            _ => {
                let count = criteria.len().to_string();
                let criteria = numbered("criterion", criteria);
                let reply = self.reply_numbered.fill(&[answer]);
                (self.criteria.fill(&[&count, &criteria]), reply)
            }
        };
        self.verdict.fill(&[
            &self.blocks.conversation(prompt),
            &self.blocks.reference(reference),
            &fence("response", &without_thoughts(response)),
            &criteria,
            &reply,
        ])
    }

    pub(crate) fn rating(
        &self,
        prompt: Option<&Prompt>,
        reference: Option<&str>,
        response: &str,
        criterion: &str,
        (low, high): (u32, u32),
    ) -> String {
        let answer = format!("a whole number from {low} to {high}");
        self.rating.fill(&[
            &self.blocks.conversation(prompt),
            &self.blocks.reference(reference),
            &fence("response", &without_thoughts(response)),
            &self.criterion(criterion),
            &low.to_string(),
            &high.to_string(),
            &self.reply.fill(&[&answer]),
        ])
    }

    pub(crate) fn choice(&self, prompt: Option<&Prompt>, responses: &[&str]) -> String {
        let count = responses.len().to_string();
        let answer = format!("the number of the best response, from 1 to {count}");
        let said: Vec<_> = responses.iter().map(|response| without_thoughts(response)).collect();
        let said: Vec<&str> = said.iter().map(AsRef::as_ref).collect();
        self.choice.fill(&[
            &self.blocks.conversation(prompt),
            &numbered("response", &said),
            &count,
            &self.reply.fill(&[&answer]),
        ])
    }

    fn criterion(&self, text: &str) -> String {
        self.criterion.fill(&[&fence("criterion", text)])
    }
}

/// Returns `Response 1:` with its fence, and so on.
fn numbered(tag: &str, texts: &[&str]) -> String {
    let name = format!("{}{}", tag[..1].to_uppercase(), &tag[1..]);
    let one =
        |(index, text): (usize, &&str)| format!("{name} {}:\n{}", index + 1, fence(tag, text));
    texts.iter().enumerate().map(one).collect::<Vec<_>>().join("\n\n")
}
