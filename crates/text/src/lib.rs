//! Prompt files, fences around untrusted text, and tolerant readers of what models reply.
//!
//! Readers are total: any text has a reading, found in a bounded number of steps, and a text that says
//! two things is read as neither. Nothing here does input or output.

mod fence;
mod index;
mod json;
mod question;
mod template;
mod thought;
mod xml;
mod yes_no;

pub use fence::{fence, neutralise};
pub use index::{IndexReading, read_index, read_number};
pub use json::{JsonObject, JsonReading, JsonScan, read_json, scan_json};
pub use question::question_block;
pub use template::{Template, TemplateError};
pub use thought::{Thoughts, thoughts, without_thoughts};
pub use xml::{Element, ElementEnd, Elements, tag_starts, xml_elements};
pub use yes_no::{YesNo, read_yes_no};

/// Returns the text of a file without the mark that some programs write at its start.
///
/// ```
/// assert_eq!(preceptor_text::without_byte_order_mark("\u{feff}{}"), "{}");
/// ```
pub fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
