//! Models whose files are part of this program.

use std::fs;
use std::path::Path;

use crate::Error;

/// The file with the weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";

macro_rules! folder {
    ($name:literal) => {
        [
            (
                "config.json",
                include_bytes!(concat!("../registry/", $name, "/config.json")) as &[u8],
            ),
            (
                "chat_template.jinja",
                include_bytes!(concat!("../registry/", $name, "/chat_template.jinja")),
            ),
            (WEIGHTS, include_bytes!(concat!("../registry/", $name, "/model.safetensors"))),
            ("tokenizer.json", include_bytes!(concat!("../registry/", $name, "/tokenizer.json"))),
            (
                "tokenizer_config.json",
                include_bytes!(concat!("../registry/", $name, "/tokenizer_config.json")),
            ),
        ]
    };
}

/// A file's name and its bytes.
type File = (&'static str, &'static [u8]);

/// Every bundled model with its files.
static MODELS: [(&str, [File; 5]); 1] = [("pocket", folder!("pocket"))];

/// Writes the folder of the model `name`, whole or not at all, unless it is there.
pub(crate) fn write(name: &str, folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        return Ok(());
    }
    let model = MODELS.iter().find(|(known, _)| *known == name);
    let (_, files) = model.expect("the built-in registry is tested");
    let temporary = folder.with_extension(format!("{}.part", std::process::id()));
    fs::create_dir_all(&temporary).map_err(Error::write(&temporary))?;
    for (file, bytes) in files {
        let path = temporary.join(file);
        fs::write(&path, bytes).map_err(Error::write(&path))?;
    }
    let renamed = fs::rename(&temporary, folder);
    if renamed.is_err() {
        // Left-overs are harmless; another process may have been quicker.
        let _ = fs::remove_dir_all(&temporary);
        if folder.exists() {
            return Ok(());
        }
    }
    renamed.map_err(Error::write(folder))
}
