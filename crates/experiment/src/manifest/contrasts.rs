//! `[[contrast]]`: comparisons that a manifest declares.

use preceptor_core::contrast::{ContrastFault, ContrastRecord};
use toml::{Table, Value};

use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::read;
use crate::plan::resolved::Plan;

/// The key of the tables.
pub(crate) const CONTRAST: &str = "contrast";

/// Takes the contrasts out of a manifest's table.
pub(crate) fn take_contrasts(
    document: &Document,
    table: &mut Table,
) -> Result<Vec<ContrastRecord>, ManifestError> {
    let tables = match table.remove(CONTRAST) {
        None => return Ok(Vec::new()),
        Some(Value::Array(tables)) if tables.iter().all(Value::is_table) => tables,
        Some(_) => {
            let detail = "`contrast` is written `[[contrast]]`, once for each comparison";
            return Err(document.error_at(CONTRAST, detail));
        }
    };
    let tables = tables.into_iter().enumerate();
    tables.map(|(i, table)| read(document, &format!("{CONTRAST}.{i}"), table, &[])).collect()
}

/// Refuses contrasts of conditions that the plan does not have, at the line of the key.
pub(crate) fn check_contrasts(document: &Document, plan: &Plan) -> Result<(), ManifestError> {
    if plan.contrasts.is_empty() {
        return Ok(());
    }
    let record = plan.record();
    for (i, contrast) in plan.contrasts.iter().enumerate() {
        if plan.contrasts[..i].iter().any(|other| other.name == contrast.name) {
            let detail = format!("`name = \"{}\"`: two contrasts have this name", contrast.name);
            return Err(document.error_at(&format!("{CONTRAST}.{i}.name"), detail));
        }
        contrast.check(&record).map_err(|ContrastFault { key, detail, hint }| {
            let detail = format!("`{key}` of contrast `{}`: {detail}", contrast.name);
            let mut error = document.error_at(&format!("{CONTRAST}.{i}.{key}"), detail);
            error.hint = Some(hint);
            error
        })?;
    }
    Ok(())
}
