//! The `[endpoints.NAME]` tables: models behind an OpenAI-compatible interface.

use std::collections::BTreeMap;

use preceptor_endpoints::{Config as EndpointConfig, Error as EndpointError};
use preceptor_files::Files;
use toml::Value;

use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::read;

/// Returns the `[endpoints.NAME]` tables of a document: models behind an OpenAI-compatible interface. Their
/// names must not be those of models in the registry of `files`.
///
/// # Errors
///
/// [`ManifestError`] pointing at what can't be used.
pub fn endpoints(
    document: &Document,
    files: &Files,
) -> Result<BTreeMap<String, EndpointConfig>, ManifestError> {
    let no_table = |key: &str| {
        let detail = "`endpoints` holds a table for each: write `[endpoints.NAME]`";
        document.error_at(key, detail)
    };
    let tables = match document.table().get("endpoints") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Table(tables)) => tables.clone(),
        Some(_) => return Err(no_table("endpoints")),
    };
    let endpoint = |(name, table): (String, Value)| {
        let path = format!("endpoints.{name}");
        if !table.is_table() {
            return Err(no_table(&path));
        }
        if files.registry().models.contains_key(&name) {
            let detail = format!("`[{path}]`: `{name}` is the name of a model in the registry");
            let mut error = document.error_at(&path, detail);
            error.hint = Some("give the endpoint another name".to_owned());
            return Err(error);
        }
        let config: EndpointConfig = read(document, &path, table, &[])?;
        config.validate().map_err(|error| {
            let key = match &error {
                EndpointError::BadSetting { key, .. } => format!("{path}.{key}"),
                _ => path.clone(),
            };
            document.error_at(&key, error.to_string())
        })?;
        Ok((name, config))
    };
    tables.into_iter().map(endpoint).collect()
}
