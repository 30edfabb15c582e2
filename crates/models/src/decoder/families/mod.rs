//! Families of decoder models, one file each.

mod config_checks;
mod family;
pub(crate) mod gemma3;
mod gguf_checks;
pub(crate) mod llama;
pub(crate) mod qwen2;
pub(crate) mod qwen3;

use std::path::Path;

use crate::Error;

pub use family::Family;

/// All families.
pub static FAMILIES: &[&dyn Family] =
    &[&llama::LlamaFamily, &qwen2::Qwen2Family, &qwen3::Qwen3Family, &gemma3::Gemma3Family];

/// Finds the family of that name.
pub(crate) fn find(path: &Path, name: &str) -> Result<&'static dyn Family, Error> {
    let is_meant =
        |family: &&dyn Family| family.name() == name || family.other_names().contains(&name);
    FAMILIES.iter().copied().find(is_meant).ok_or_else(|| {
        Error::Unsupported {
            path: path.to_owned(),
            what: "the architecture".to_owned(),
            found: name.to_owned(),
            allowed: FAMILIES.iter().map(|f| format!("`{}`", f.name())).collect::<Vec<_>>().join(", "),
            hint: "a family is one file in the models crate; other models can be asked through an endpoint",
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FAMILIES;

    #[test]
    fn names_are_unique_and_explained() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name()).collect();
        assert_eq!(names.len(), FAMILIES.len());
        let others = FAMILIES.iter().flat_map(|family| family.other_names());
        assert!(others.into_iter().all(|other| !names.contains(other)));
        assert!(FAMILIES.iter().all(|family| !family.summary().is_empty()));
    }
}
