//! A prompt file with named places.
//!
//! A place is written `{{name}}`. Filling is one pass over the template: what is filled in is never
//! read again, so that a question that contains `{{problem}}` can't rewrite the prompt around it.

use preceptor_core::Digest;

/// A template that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A place that the template must have is not in it.
    #[error("use prompt file `{file}`: it has no place `{{{{{place}}}}}`")]
    MissingPlace {
        /// Name of the prompt file.
        file: String,
        /// The place.
        place: &'static str,
    },
    /// A place that nothing fills.
    #[error(
        "use prompt file `{file}`: nothing fills `{{{{{place}}}}}`\nhint: known places are {known}"
    )]
    UnknownPlace {
        /// Name of the prompt file.
        file: String,
        /// The place.
        place: String,
        /// The places there are.
        known: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(usize),
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
    num_places: usize,
    digest: Digest,
}

impl Template {
    /// Reads `text`, the contents of prompt file `file`, which must have exactly `places`. One line
    /// feed at the end of the file is not part of the prompt.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a place is missing or unknown.
    pub fn new(
        file: &str,
        text: &str,
        places: &'static [&'static str],
    ) -> Result<Self, TemplateError> {
        let digest = Digest::of(text.as_bytes());
        let mut rest = text.strip_suffix('\n').unwrap_or(text);
        let mut pieces = Vec::new();
        let mut seen = vec![false; places.len()];
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else { break };
            let Some(place) = places.iter().position(|place| *place == name) else {
                let known = places.iter().map(|place| format!("`{{{{{place}}}}}`"));
                return Err(TemplateError::UnknownPlace {
                    file: file.to_owned(),
                    place: name.to_owned(),
                    known: known.collect::<Vec<_>>().join(", "),
                });
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Place(place));
            seen[place] = true;
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        match seen.iter().position(|seen| !seen) {
            Some(place) => {
                Err(TemplateError::MissingPlace { file: file.to_owned(), place: places[place] })
            }
            None => Ok(Self { pieces, num_places: places.len(), digest }),
        }
    }

    /// Returns the prompt with `values` in its placeholders, in the order in which the placeholders
    /// were declared.
    ///
    /// # Panics
    ///
    /// If there are not as many values as places.
    pub fn fill(&self, values: &[&str]) -> String {
        assert_eq!(values.len(), self.num_places, "one value for each place");
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place(place) => values[*place].to_owned(),
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
            "use prompt file `p.md`: nothing fills `{{x}}`\nhint: known places are `{{problem}}`"
        );
        let error = Template::new("p.md", "no place", &["problem"]).unwrap_err().to_string();
        assert_eq!(error, "use prompt file `p.md`: it has no place `{{problem}}`");
    }
}
