//! The named graders. A grader is part of an experiment's identity, so each has a version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::extract::{Extraction, extract_boxed};
use crate::grade::Grade;
use crate::{dapo, hendrycks, minerva, prm800k, string, verify};

/// A grader by name.
#[derive(
    Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum GraderProfile {
    /// Equality of the trimmed strings.
    String,
    /// The MATH release's normalisation (verl `math_reward.py`).
    Hendrycks,
    /// PRM800K's grader (TTRL, OpenRLHF).
    Prm800k,
    /// The Minerva normalisation with algebra (lm-evaluation-harness).
    Minerva,
    /// The Minerva normalisation without algebra (verl `math_dapo.py`).
    Dapo,
    /// Ours: equality of parsed values.
    Verify,
}

/// A name that no grader has.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("find a grader named `{name}`\nhint: one of {}", allowed_names())]
pub struct UnknownProfile {
    name: String,
}

fn allowed_names() -> String {
    let names = GraderProfile::ALL.iter().map(|profile| format!("`{}`", profile.name()));
    names.collect::<Vec<_>>().join(", ")
}

impl GraderProfile {
    /// Every profile.
    pub const ALL: &[Self] =
        &[Self::String, Self::Hendrycks, Self::Prm800k, Self::Minerva, Self::Dapo, Self::Verify];

    /// Returns the name in configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hendrycks => "hendrycks",
            Self::Prm800k => "prm800k",
            Self::Minerva => "minerva",
            Self::Dapo => "dapo",
            Self::Verify => "verify",
        }
    }

    /// Returns a summary in one line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::String => "equality of the trimmed strings",
            Self::Hendrycks => "string normalisation of the MATH release, as in verl",
            Self::Prm800k => "string normalisation, then algebra element by element, as in PRM800K",
            Self::Minerva => "Minerva normalisation, then algebra, as in lm-evaluation-harness",
            Self::Dapo => "Minerva normalisation and string equality, as in verl for DAPO",
            Self::Verify => "equality of parsed values: ours, total and bounded",
        }
    }

    /// Returns the version of its rules. It changes whenever a verdict can; stored grades depend on
    /// it.
    ///
    /// `string` and `verify` are at 2: both find answers with [`extract_boxed`], which skips empty
    /// boxes and thoughts since then, and `verify` reads more notations.
    pub fn version(self) -> u32 {
        match self {
            Self::String | Self::Verify => 2,
            Self::Hendrycks | Self::Prm800k | Self::Minerva | Self::Dapo => 1,
        }
    }

    /// Finds the answer in a rollout's text as the original does.
    ///
    /// ```
    /// use preceptor_answers::GraderProfile;
    /// let text = r"Thus \boxed{4}.";
    /// assert_eq!(GraderProfile::Verify.extract(text).answer.as_deref(), Some("4"));
    /// assert_eq!(GraderProfile::Minerva.extract(text).answer, None);
    /// ```
    pub fn extract(self, text: &str) -> Extraction {
        match self {
            Self::String | Self::Verify => extract_boxed(text),
            Self::Hendrycks => hendrycks::extract(text),
            Self::Prm800k => prm800k::extract(text),
            Self::Minerva => minerva::extract(text),
            Self::Dapo => dapo::extract(text),
        }
    }

    /// Grades an answer against a label; no answer is never equal.
    ///
    /// ```
    /// use preceptor_answers::GraderProfile;
    /// let grade = GraderProfile::Verify.grade(r"\frac{1}{2}", Some("0.5"));
    /// assert!(grade.equal);
    /// assert_eq!(grade.reason, "both are the rational 1/2");
    /// assert!(!GraderProfile::Hendrycks.grade(r"\frac{3}{4}", Some("0.75")).equal);
    /// ```
    pub fn grade(self, label: &str, answer: Option<&str>) -> Grade {
        let Some(answer) = answer else { return Grade::abstention() };
        match self {
            Self::String => string::grade(label, answer),
            Self::Hendrycks => hendrycks::grade(label, answer),
            Self::Prm800k => prm800k::grade(label, answer),
            Self::Minerva => minerva::grade(label, answer),
            Self::Dapo => dapo::grade(label, answer),
            Self::Verify => verify::verify(label, answer),
        }
    }
}

impl fmt::Display for GraderProfile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for GraderProfile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        let found = Self::ALL.iter().find(|profile| profile.name() == name);
        found.copied().ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_agree_with_serde_and_parsing() {
        for profile in GraderProfile::ALL {
            let json = serde_json::to_string(profile).unwrap();
            assert_eq!(json, format!("\"{}\"", profile.name()));
            assert_eq!(profile.name().parse(), Ok(*profile));
            assert!(!profile.summary().is_empty());
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "math".parse::<GraderProfile>().unwrap_err().to_string();
        assert_eq!(
            error,
            "find a grader named `math`\nhint: one of `string`, `hendrycks`, `prm800k`, \
             `minerva`, `dapo`, `verify`"
        );
    }

    #[test]
    fn no_answer_is_never_equal() {
        for profile in GraderProfile::ALL {
            assert!(!profile.grade("", None).equal);
            assert!(!profile.grade("5", None).equal);
        }
    }
}
