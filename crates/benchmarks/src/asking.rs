//! Prompts for problems with a final answer: a chat, or plain text after worked examples.
//!
//! Base models, which have no chat template, need the second. The examples are our own.

use preceptor_core::{Message, OutOfRange, PromptBody, Role};
use preceptor_text::Template;

/// The chat's one turn. Paper: not stated; the wording is ours.
const BOXED: &str = include_str!("../prompts/boxed.md");
/// The most worked examples.
const MOST_SHOTS: u32 = 4;

/// Checks the number of worked examples.
///
/// # Errors
///
/// [`OutOfRange`] for more than there are.
pub(crate) fn check_shots(shots: u32) -> Result<(), OutOfRange> {
    OutOfRange::check("shots", shots, shots <= MOST_SHOTS, "between 0 and 4")
}

/// The worked examples of a benchmark. Each file has [`MOST_SHOTS`], then the problem's
/// placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Examples {
    /// Grade-school word problems.
    Words,
    /// Competition problems, in LaTeX.
    Competition,
}

impl Examples {
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Words => ("worked-words-v1.md", include_str!("../prompts/worked-words-v1.md")),
            Self::Competition => {
                ("worked-competition-v1.md", include_str!("../prompts/worked-competition-v1.md"))
            }
        }
    }
}

/// Writes the prompt of a problem.
pub(crate) enum Asking {
    /// A chat of one turn.
    Chat(Template),
    /// Plain text after worked examples.
    Worked {
        /// The examples, each with a blank line after it.
        examples: String,
        problem: Template,
    },
}

impl Asking {
    /// Creates a chat for no `shots`, otherwise plain text after that many of `examples`, at most
    /// [`MOST_SHOTS`].
    pub(crate) fn new(shots: u32, examples: Examples) -> Self {
        let template = |file: &str, text: &str| {
            Template::new(file, text, &["problem"]).expect("the built-in prompts are tested")
        };
        if shots == 0 {
            return Self::Chat(template("boxed.md", BOXED));
        }
        let (file, text) = examples.file();
        let blocks: Vec<_> = text.trim_end().split("\n\n").collect();
        let (problem, worked) = blocks.split_last().expect("text splits into one block or more");
        let examples = worked[..shots as usize].iter().map(|block| format!("{block}\n\n"));
        Self::Worked { examples: examples.collect(), problem: template(file, problem) }
    }

    pub(crate) fn body(&self, problem: &str) -> PromptBody {
        let content = self.question(problem);
        match self {
            Self::Chat(_) => PromptBody::Chat(vec![Message { role: Role::User, content }]),
            Self::Worked { examples, .. } => PromptBody::Text(format!("{examples}{content}")),
        }
    }

    /// Returns the request to solve `problem`, without what comes before it.
    pub(crate) fn question(&self, problem: &str) -> String {
        match self {
            Self::Chat(template) | Self::Worked { problem: template, .. } => {
                template.fill(&[problem])
            }
        }
    }

    /// Returns the strings that end a reply that continues with a problem of its own.
    pub(crate) fn stop(&self) -> Vec<String> {
        match self {
            Self::Chat(_) => Vec::new(),
            Self::Worked { .. } => vec!["\nProblem:".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use preceptor_answers::GraderProfile;

    use super::*;
    use crate::{Label, grade};

    fn text(shots: u32, examples: Examples) -> String {
        match Asking::new(shots, examples).body("What is {{x}}?") {
            PromptBody::Text(text) => text,
            PromptBody::Chat(_) => panic!("plain text"),
        }
    }

    #[test]
    fn worked_examples_come_before_the_problem() {
        insta::assert_snapshot!(text(1, Examples::Words), @r"
        Problem: A bakery fills bags with 6 rolls each. On Monday it filled 14 bags and had 5 rolls left over. How many rolls had it baked?
        Solution: The bags hold 14 * 6 = 84 rolls. With the rolls left over it had baked 84 + 5 = 89 rolls. The answer is \boxed{89}.

        Problem: What is {{x}}?
        Solution:
        ");
        for examples in [Examples::Words, Examples::Competition] {
            let most = text(MOST_SHOTS, examples);
            assert_eq!(most.matches("Problem: ").count(), MOST_SHOTS as usize + 1);
            assert!(
                most.ends_with("Solution:"),
                "no space, which tokenizers join to the next word"
            );
        }
    }

    #[test]
    fn worked_answers_are_read_by_the_grader() {
        let answers = [
            (Examples::Words, ["89", "19", "288", "19"]),
            (Examples::Competition, ["4", "3", r"\frac{3}{28}", r"18\pi"]),
        ];
        for (examples, answers) in answers {
            let most = text(MOST_SHOTS, examples);
            for (solution, answer) in most.split("Solution:").skip(1).zip(answers) {
                let graded = grade(GraderProfile::Verify, &Label::new(answer.to_owned()), solution);
                assert_eq!(graded.score.value(), Some(1.0), "{solution}");
            }
        }
    }

    #[test]
    fn more_examples_than_there_are_are_refused() {
        assert_eq!(check_shots(5).unwrap_err().key, "shots");
        assert_eq!(check_shots(4), Ok(()));
    }
}
