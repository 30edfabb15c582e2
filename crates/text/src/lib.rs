//! Prompt files: templates with named places, and the digest that goes into every record.

mod template;

pub use template::{Template, TemplateError};
