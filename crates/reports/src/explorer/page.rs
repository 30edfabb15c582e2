//! The explorer's page, its scripts and its styles.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::file::write_file;
use crate::html::escape;

/// Files that the pages of all explorers share. Scripts are loaded in this order.
const VIEWER: [(&str, &str); 11] = [
    ("style.css", include_str!("../../assets/explorer/style.css")),
    ("markdown-it.js", include_str!("../../assets/explorer/vendor/markdown-it.umd.min.js")),
    ("temml.js", include_str!("../../assets/explorer/vendor/temml.min.js")),
    ("diff.js", include_str!("../../assets/explorer/vendor/diff.min.js")),
    ("LICENSES.txt", include_str!("../../assets/explorer/vendor/LICENSES.txt")),
    ("text.js", include_str!("../../assets/explorer/text.js")),
    ("filter.js", include_str!("../../assets/explorer/filter.js")),
    ("labels.js", include_str!("../../assets/explorer/labels.js")),
    ("data.js", include_str!("../../assets/explorer/data.js")),
    ("group.js", include_str!("../../assets/explorer/group.js")),
    ("view.js", include_str!("../../assets/explorer/view.js")),
];

const PAGE: &str = include_str!("../../assets/explorer/index.html");

/// Writes what the pages share.
pub(crate) fn write_viewer(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    VIEWER.iter().try_for_each(|(name, text)| write_file(&folder.join(name), text, files))
}

/// Returns the page of a benchmark.
pub(crate) fn page(benchmark: &str, title: &str) -> String {
    let scripts = VIEWER.iter().filter(|(name, _)| name.ends_with(".js"));
    let scripts = scripts.map(|(name, _)| format!("<script src=\"../viewer/{name}\"></script>\n"));
    PAGE.replace("{scripts}", scripts.collect::<String>().trim_end())
        .replace("{benchmark}", &escape(benchmark))
        .replace("{title}", &escape(title))
}
