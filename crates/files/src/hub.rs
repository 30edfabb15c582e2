//! Models from a hub that speaks the layout of huggingface.co: `<endpoint>/<repository>/resolve/<revision>/
//! <file>`, perhaps with redirects to where large files lie.
//!
//! A file is fetched beside its place, under its name with `.part` behind it, and moved there when it is
//! whole and right. A fetch that breaks off leaves the part, and the next one asks for the rest. What a
//! file's digest should be is what the hub says of it (`X-Linked-Etag`), or else what was seen first.
//! A token goes to the hub alone, never to where it redirects.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::fetch::{PUBLISHED, check};
use crate::places::{Hub, Places};
use crate::recorded::RecordedDigests;
use crate::{Error, sha256_of_file};

/// Files beside the weights, with whether a repository must have them.
const BESIDE: [(&str, bool); 6] = [
    ("config.json", true),
    ("tokenizer.json", true),
    ("tokenizer_config.json", false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
    ("chat_template.json", false),
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;
/// Bytes between two calls of a watcher.
const STRIDE: usize = 1 << 20;

/// Progress of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// Bytes that are here.
    pub num_bytes: u64,
    /// The size of the file in bytes, where the hub reports it.
    pub num_wanted: Option<u64>,
}

/// Hears how far a fetch is.
pub type OnFetch<'a> = &'a mut dyn FnMut(FetchProgress<'_>);

/// A repository that is fetched.
pub(crate) struct Fetch<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) places: &'a Places,
    pub(crate) name: &'a str,
    pub(crate) repository: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) folder: &'a Path,
}

/// Returns the key of a file's recorded digest.
pub(crate) fn digest_key(name: &str, file: &str) -> String {
    format!("models/{name}/{file}")
}

/// Returns the weight files on this machine, by the index if there is one; none where some are
/// missing.
pub(crate) fn weights_here(folder: &Path) -> Option<Vec<String>> {
    let files = match fs::read(folder.join(INDEX)) {
        Ok(index) => shards(&index)?,
        Err(_) => vec![WEIGHTS.to_owned()],
    };
    files.iter().all(|file| folder.join(file).is_file()).then_some(files)
}

/// Returns every file of a model that is complete on this machine.
pub(crate) fn files_here(folder: &Path) -> Option<Vec<String>> {
    let mut files = weights_here(folder)?;
    for (file, is_needed) in BESIDE.into_iter().chain([(INDEX, false)]) {
        if folder.join(file).is_file() {
            files.push(file.to_owned());
        } else if is_needed {
            return None;
        }
    }
    Some(files)
}

/// Returns the files that an index lists; none if it is no index, or leads out of its folder.
fn shards(index: &[u8]) -> Option<Vec<String>> {
    let index: serde_json::Value = serde_json::from_slice(index).ok()?;
    let mut files = Vec::new();
    for file in index.get("weight_map")?.as_object()?.values() {
        let file = file.as_str().filter(|file| !file.contains(['/', '\\']))?;
        if !files.iter().any(|known| known == file) {
            files.push(file.to_owned());
        }
    }
    files.sort();
    (!files.is_empty()).then_some(files)
}

impl Fetch<'_> {
    /// Gets every file that is missing.
    pub(crate) fn all(&self, on_fetch: OnFetch<'_>) -> Result<(), Error> {
        fs::create_dir_all(self.folder).map_err(Error::write(self.folder))?;
        for (file, is_needed) in BESIDE {
            self.file(file, is_needed, on_fetch)?;
        }
        if !self.file(INDEX, false, on_fetch)? {
            self.file(WEIGHTS, true, on_fetch)?;
            return Ok(());
        }
        let path = self.folder.join(INDEX);
        let index = fs::read(&path).map_err(Error::read(&path))?;
        let files = shards(&index).ok_or_else(|| {
            self.refused(INDEX, "it lists no files".to_owned(), "the repository is damaged")
        })?;
        for file in files {
            self.file(&file, true, on_fetch)?;
        }
        Ok(())
    }

    /// Gets one file and puts it at `target` if it has that digest.
    pub(crate) fn one_as(
        &self,
        file: &str,
        target: &Path,
        sha256: &str,
        on_fetch: OnFetch<'_>,
    ) -> Result<(), Error> {
        self.file(file, true, on_fetch)?;
        let path = self.folder.join(file);
        if let Err(error) = check(&path, sha256, PUBLISHED) {
            // A wrong file must not be taken for the model, nor kept from being fetched again.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        fs::rename(&path, target).map_err(Error::write(target))
    }

    fn url(&self, file: &str) -> String {
        let Self { hub, repository, revision, .. } = self;
        format!("{}/{repository}/resolve/{revision}/{file}", hub.endpoint.trim_end_matches('/'))
    }

    fn refused(&self, file: &str, detail: String, hint: &'static str) -> Error {
        Error::Hub { url: self.url(file), detail, hint }
    }

    /// Gets a file unless it is here; whether there is one.
    fn file(&self, file: &str, is_needed: bool, on_fetch: OnFetch<'_>) -> Result<bool, Error> {
        let target = self.folder.join(file);
        if target.is_file() {
            return Ok(true);
        }
        let part = self.folder.join(format!(".{file}.part"));
        let held = fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let (mut response, published) = self.ask(file, held)?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && !is_needed {
            return Ok(false);
        }
        let is_continued = held > 0 && status == StatusCode::PARTIAL_CONTENT;
        // The part may be whole already: there is no rest to send.
        let is_whole = held > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE;
        if !is_whole {
            self.check_status(file, status)?;
            let start = if is_continued { held } else { 0 };
            let wanted = length(&response).map(|rest| start + rest);
            let mut out = OpenOptions::new()
                .create(true)
                .write(true)
                .append(is_continued)
                .truncate(!is_continued)
                .open(&part)
                .map_err(Error::write(&part))?;
            let at = FetchProgress { file, num_bytes: start, num_wanted: wanted };
            let num_bytes = copy(&mut response, &mut out, &part, &self.url(file), at, on_fetch)?;
            out.sync_all().map_err(Error::write(&part))?;
            if wanted.is_some_and(|wanted| wanted != num_bytes) {
                let detail = format!("the download broke off after {num_bytes} bytes");
                return Err(self.refused(file, detail, "fetch again to resume from there"));
            }
        }
        let found = sha256_of_file(&part)?;
        let mut recorded = RecordedDigests::load(&self.places.cache)?;
        let key = digest_key(self.name, file);
        let expected = match (recorded.get(&key), published) {
            (Some(known), _) => Some((known.to_owned(), "recorded when it was first fetched")),
            (None, Some(published)) => Some((published, "published for it")),
            (None, None) => None,
        };
        if let Some((expected, why)) = expected.filter(|(expected, _)| *expected != found) {
            // Never gone on from.
            let _ = fs::remove_file(&part);
            return Err(Error::WrongDigest { path: target, expected, why, found });
        }
        recorded.record(&key, &found)?;
        fs::rename(&part, &target).map_err(Error::write(&target))?;
        Ok(true)
    }

    fn check_status(&self, file: &str, status: StatusCode) -> Result<(), Error> {
        let (detail, hint) = match status {
            status if status.is_success() => return Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
                "the repository is gated".to_owned(),
                "accept its terms on the hub's page, and set HF_TOKEN to a token of that account",
            ),
            StatusCode::NOT_FOUND => (
                "there is no such file".to_owned(),
                "check the names of the repository and its revision",
            ),
            other => (format!("the hub says {other}"), "try again later"),
        };
        Err(self.refused(file, detail, hint))
    }

    /// Returns the response for a file from byte `held` on, and the digest that the hub reports.
    fn ask(&self, file: &str, held: u64) -> Result<(Response<Body>, Option<String>), Error> {
        let agent: Agent =
            Agent::config_builder().max_redirects(0).http_status_as_error(false).build().into();
        let mut url = self.url(file);
        let mut published = None;
        for redirects in 0..=MOST_REDIRECTS {
            let mut request = agent.get(&url);
            // What a file is compressed to has another length.
            request = request.header("Accept-Encoding", "identity");
            if held > 0 {
                request = request.header("Range", format!("bytes={held}-"));
            }
            if let (Some(token), 0) = (&self.hub.token, redirects) {
                request = request.header("Authorization", token.bearer());
            }
            let failed = |source| Error::Download { url: url.clone(), source: Box::new(source) };
            let response = request.call().map_err(failed)?;
            published = published.or_else(|| header(&response, "x-linked-etag").and_then(sha256));
            if !response.status().is_redirection() {
                return Ok((response, published));
            }
            let Some(location) = header(&response, "location") else {
                let detail = "it redirects without an address".to_owned();
                return Err(self.refused(file, detail, "try again later"));
            };
            url = match location.strip_prefix('/') {
                Some(path) => format!("{}/{path}", self.hub.endpoint.trim_end_matches('/')),
                None => location.to_owned(),
            };
        }
        Err(self.refused(file, "it redirects in circles".to_owned(), "try again later"))
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn length(response: &Response<Body>) -> Option<u64> {
    header(response, "content-length")?.parse().ok()
}

/// Returns a tag that is a SHA-256.
fn sha256(tag: &str) -> Option<String> {
    let tag = tag.trim_matches('"');
    let is_digest = tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| tag.to_ascii_lowercase())
}

/// Appends a response's body to a file; the bytes that the file has then.
fn copy(
    response: &mut Response<Body>,
    out: &mut File,
    part: &Path,
    url: &str,
    mut at: FetchProgress<'_>,
    on_fetch: OnFetch<'_>,
) -> Result<u64, Error> {
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; STRIDE];
    on_fetch(at);
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                // What has come stays for the next fetch.
                out.sync_all().map_err(Error::write(part))?;
                let source = Box::new(ureq::Error::from(error));
                return Err(Error::Download { url: url.to_owned(), source });
            }
        };
        out.write_all(&buffer[..read]).map_err(Error::write(part))?;
        at.num_bytes += read as u64;
        on_fetch(at);
    }
    Ok(at.num_bytes)
}
