//! Prompt files, fences around untrusted text, and tolerant readers of what models reply.
//!
//! Readers are total: any text has a reading, found in a bounded number of steps, and a text that says
//! two things is read as neither. Nothing here does input or output.

mod fence;
mod index;
mod json;
mod template;
mod xml;
mod yes_no;

pub use fence::{fence, neutralise};
pub use index::{IndexReading, read_index, read_number};
pub use json::{JsonObjects, JsonReading, json_objects, read_json};
pub use template::{Template, TemplateError};
pub use xml::{Element, ElementEnd, Elements, xml_elements};
pub use yes_no::{YesNo, read_yes_no};
