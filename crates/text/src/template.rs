//! A prompt file with named placeholders.
//!
//! A placeholder is written `{{name}}`. Filling is one pass over the template: what is filled in is never
//! read again, so that a question that contains `{{problem}}` can't rewrite the prompt around it.

use preceptor_core::Digest;

/// A template that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A placeholder that the template must have is not in it.
    #[error("use prompt file `{file}`: it has no placeholder `{{{{{placeholder}}}}}`")]
    MissingPlaceholder {
        /// Name of the prompt file.
        file: String,
        /// The placeholder.
        placeholder: &'static str,
    },
    /// A placeholder that nothing fills.
    #[error(
        "use prompt file `{file}`: nothing fills `{{{{{placeholder}}}}}`\nhint: known placeholders are {known}"
    )]
    UnknownPlaceholder {
        /// Name of the prompt file.
        file: String,
        /// The placeholder.
        placeholder: String,
        /// The placeholders there are.
        known: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(usize),
}

/// A prompt file that has been read and checked.
///
/// ```
/// use preceptor_text::Template;
/// let template = Template::new("add", "Add {{a}} and {{b}}.", &["a", "b"])?;
/// assert_eq!(template.fill(&["2", "{{a}}"]), "Add 2 and {{a}}.");
/// # Ok::<(), preceptor_text::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    num_placeholders: usize,
    digest: Digest,
}

impl Template {
    /// Reads `text`, the contents of prompt file `file`, which must have exactly `placeholders`. One line
    /// feed at the end of the file is not part of the prompt.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a placeholder is missing or unknown.
    pub fn new(
        file: &str,
        text: &str,
        placeholders: &'static [&'static str],
    ) -> Result<Self, TemplateError> {
        let digest = Digest::of(text.as_bytes());
        let mut rest = text.strip_suffix('\n').unwrap_or(text);
        let mut pieces = Vec::new();
        let mut seen = vec![false; placeholders.len()];
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else { break };
            let Some(placeholder) =
                placeholders.iter().position(|placeholder| *placeholder == name)
            else {
                let known =
                    placeholders.iter().map(|placeholder| format!("`{{{{{placeholder}}}}}`"));
                return Err(TemplateError::UnknownPlaceholder {
                    file: file.to_owned(),
                    placeholder: name.to_owned(),
                    known: known.collect::<Vec<_>>().join(", "),
                });
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Placeholder(placeholder));
            seen[placeholder] = true;
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        match seen.iter().position(|seen| !seen) {
            Some(placeholder) => Err(TemplateError::MissingPlaceholder {
                file: file.to_owned(),
                placeholder: placeholders[placeholder],
            }),
            None => Ok(Self { pieces, num_placeholders: placeholders.len(), digest }),
        }
    }

    /// Returns the prompt with `values` in its placeholders, in the order in which the placeholders
    /// were declared.
    ///
    /// # Panics
    ///
    /// If there are not as many values as placeholders.
    pub fn fill(&self, values: &[&str]) -> String {
        assert_eq!(values.len(), self.num_placeholders, "one value for each placeholder");
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Placeholder(placeholder) => values[*placeholder].to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// Digest of the whole file.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_places_are_named() {
        let error = Template::new("p.md", "{{x}}", &["problem"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "use prompt file `p.md`: nothing fills `{{x}}`\nhint: known placeholders are `{{problem}}`"
        );
        let error = Template::new("p.md", "no placeholder", &["problem"]).unwrap_err().to_string();
        assert_eq!(error, "use prompt file `p.md`: it has no placeholder `{{problem}}`");
    }
}
