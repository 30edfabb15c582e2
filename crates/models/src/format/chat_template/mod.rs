//! Chat templates, and the differences between minijinja and Jinja as Python runs it.

mod python_strings;
mod source;
mod template;

pub use template::ChatTemplate;
