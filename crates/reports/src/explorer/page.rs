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

/// Place of an explorer, with the links from its page.
pub(crate) struct Place {
    /// Folder of the scripts and styles.
    pub(crate) viewer_folder: PathBuf,
    /// Link to that folder from the page.
    viewer: String,
    /// Page of the report, or its section on the page of the suite.
    report: String,
}

impl Place {
    /// Returns the place of an explorer in `root` of the report in `folder`.
    pub(crate) fn of_report(folder: &Path, root: &str) -> Self {
        Self {
            viewer_folder: folder.join(root).join("viewer"),
            viewer: "../viewer".to_owned(),
            report: "../../page.html".to_owned(),
        }
    }

    /// Returns the place of an explorer in `root` of a part of the suite in `suite`. The parts share their
    /// scripts.
    pub(crate) fn of_part(suite: &Path, root: &str, experiment: &str) -> Self {
        let viewer = root.replace("explorer", "viewer");
        Self {
            viewer_folder: suite.join(&viewer),
            viewer: format!("../../../{viewer}"),
            report: format!("../../../page.html#{experiment}"),
        }
    }
}

/// Writes what the pages share.
pub(crate) fn write_viewer(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    VIEWER.iter().try_for_each(|(name, text)| write_file(&folder.join(name), text, files))
}

/// Returns the page of a benchmark.
pub(crate) fn page(benchmark: &str, title: &str, place: &Place) -> String {
    let scripts = VIEWER.iter().filter(|(name, _)| name.ends_with(".js"));
    let viewer = &place.viewer;
    let scripts = scripts.map(|(name, _)| format!("<script src=\"{viewer}/{name}\"></script>\n"));
    PAGE.replace("{viewer}", viewer)
        .replace("{report}", &escape(&place.report))
        .replace("{scripts}", scripts.collect::<String>().trim_end())
        .replace("{benchmark}", &escape(benchmark))
        .replace("{title}", &escape(title))
}
