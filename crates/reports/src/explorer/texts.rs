//! Texts of a slice, each held once.

use std::collections::BTreeMap;

use serde::Serialize;

/// Texts above this number of bytes have a file of their own.
const LONG: usize = 32 << 10;
/// Characters of a long text that its slice shows.
const HEAD: usize = 2000;

/// Position of a text among the texts of its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct TextId(u32);

/// A text as a slice holds it.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all = "kebab-case")]
pub(crate) enum Text {
    Whole(String),
    Long {
        /// The number of its file.
        long: u32,
        /// Number of characters.
        length: usize,
        head: String,
    },
}

/// The texts of a slice.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    ids: BTreeMap<String, TextId>,
    /// The texts in the order of their ids.
    pub(crate) texts: Vec<Text>,
    /// Long texts that were added, in order, with the number of their file.
    pub(crate) long: Vec<(u32, String)>,
    /// Bytes of the texts that the slice holds.
    pub(crate) num_bytes: usize,
    num_long: u32,
}

impl Texts {
    /// Returns the id of a text, which is added if it is new.
    pub(crate) fn add(&mut self, text: &str) -> TextId {
        if let Some(known) = self.ids.get(text) {
            return *known;
        }
        let id = TextId(u32::try_from(self.texts.len()).expect("a slice has fewer texts"));
        self.ids.insert(text.to_owned(), id);
        let held = if text.len() > LONG {
            let long = self.num_long;
            self.num_long += 1;
            self.long.push((long, text.to_owned()));
            let head: String = text.chars().take(HEAD).collect();
            Text::Long { long, length: text.chars().count(), head }
        } else {
            Text::Whole(text.to_owned())
        };
        self.num_bytes += match &held {
            Text::Whole(text) | Text::Long { head: text, .. } => text.len(),
        };
        self.texts.push(held);
        id
    }

    /// Returns the whole text.
    pub(crate) fn get(&self, id: TextId) -> &str {
        match &self.texts[id.0 as usize] {
            Text::Whole(text) => text,
            Text::Long { long, .. } => {
                let found = self.long.iter().find(|(file, _)| file == long);
                found.map_or("", |(_, text)| text)
            }
        }
    }

    /// Starts the texts of the next slice. Files of long texts are numbered on.
    pub(crate) fn clear(&mut self) {
        *self = Self { num_long: self.num_long, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_held_once_and_a_long_one_in_its_own_file() {
        let mut texts = Texts::default();
        let long = "é".repeat(LONG);
        let ids = ["a", &long, "b", "a", &long].map(|text| texts.add(text).0);
        assert_eq!(ids, [0, 1, 2, 0, 1]);
        assert_eq!(
            texts.long.iter().map(|(file, text)| (*file, text.len())).collect::<Vec<_>>(),
            [(0, 2 * LONG)]
        );
        assert!(
            matches!(&texts.texts[1], Text::Long { length: LONG, head, .. } if head.chars().count() == HEAD)
        );
        assert_eq!(texts.num_bytes, 2 + 2 * HEAD);
        texts.clear();
        assert_eq!(texts.add(&long).0, 0);
        assert_eq!(texts.long[0].0, 1);
    }
}
