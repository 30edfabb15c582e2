//! Graders by name: how texts are measured against labels.

use std::fmt;
use std::str::FromStr;

use preceptor_answers::GraderProfile;
use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A grader: for final answers a profile, for rubrics the way the benchmark's judge is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grader {
    /// Extraction and equality of final answers.
    Answer(GraderProfile),
    /// HealthBench's own rules; see [`crate::healthbench_strict`].
    HealthBenchStrict,
}

impl schemars::JsonSchema for Grader {
    fn schema_name() -> Cow<'static, str> {
        "Grader".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

/// A name that no grader has.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("find a grader named `{name}`\nhint: one of {}", allowed_names())]
pub struct UnknownGrader {
    name: String,
}

fn allowed_names() -> String {
    let names = Grader::all().map(|grader| format!("`{}`", grader.name()));
    names.collect::<Vec<_>>().join(", ")
}

impl Grader {
    /// Returns every grader.
    pub fn all() -> impl Iterator<Item = Self> {
        let profiles = GraderProfile::ALL.iter().map(|profile| Self::Answer(*profile));
        profiles.chain([Self::HealthBenchStrict])
    }

    /// Returns the name in manifests and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer(profile) => profile.name(),
            Self::HealthBenchStrict => "healthbench-strict",
        }
    }

    /// Returns the version of its rules; stored grades depend on it.
    pub fn version(self) -> u32 {
        match self {
            Self::Answer(profile) => profile.version(),
            Self::HealthBenchStrict => 1,
        }
    }

    /// Returns the profile, where final answers are compared.
    pub fn profile(self) -> Option<GraderProfile> {
        match self {
            Self::Answer(profile) => Some(profile),
            Self::HealthBenchStrict => None,
        }
    }
}

impl fmt::Display for Grader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Grader {
    type Err = UnknownGrader;

    fn from_str(name: &str) -> Result<Self, UnknownGrader> {
        let found = Self::all().find(|grader| grader.name() == name);
        found.ok_or_else(|| UnknownGrader { name: name.to_owned() })
    }
}

impl TryFrom<String> for Grader {
    type Error = UnknownGrader;

    fn try_from(name: String) -> Result<Self, UnknownGrader> {
        name.parse()
    }
}

impl From<Grader> for String {
    fn from(grader: Grader) -> Self {
        grader.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_agree_with_serde_and_parsing() {
        for grader in Grader::all() {
            let json = serde_json::to_string(&grader).unwrap();
            assert_eq!(json, format!("\"{}\"", grader.name()));
            assert_eq!(grader.name().parse(), Ok(grader));
        }
        let error = "healthbench".parse::<Grader>().unwrap_err().to_string();
        assert!(error.contains("`verify`, `healthbench-strict`"), "{error}");
    }
}
