//! Differences between minijinja and Jinja as Python runs it, which chat templates rely on.

mod python_strings;
mod source;

pub(crate) use python_strings::{call_method, percent};
pub(crate) use source::{PERCENT, translate};
