//! Claims between processes and hosts. Hosts without common locks are played by stores that use none.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use preceptor_store::{Error, LeaseSettings, Stage, StageSpec, Store};
use serde_json::json;

/// A short time, which tests can wait for.
const EXPIRY: Duration = Duration::from_millis(1200);

fn stage(folder: &tempfile::TempDir, uses_locks: bool) -> Stage {
    let leases = LeaseSettings { expires_after: EXPIRY, uses_locks };
    let store = Store::open(folder.path()).expect("a new store").with_leases(leases);
    store.stage(&StageSpec::new("values", &json!({"seed": 0})).expect("serializable"))
}

fn leases(folder: &tempfile::TempDir, stage: &Stage) -> Vec<PathBuf> {
    let folder = folder.path().join("leases").join(stage.digest().as_str());
    let entries = fs::read_dir(folder).expect("a claimed stage");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// Turns the lease of a stage into one that another process left behind: nobody writes it any more.
fn abandon(folder: &tempfile::TempDir, stage: &Stage, change: impl Fn(&mut serde_json::Value)) {
    drop(stage.claim(false).expect("nobody has it"));
    let path = leases(folder, stage).pop().expect("a lease");
    let mut lease: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("a lease")).expect("JSON");
    lease["is-released"] = json!(false);
    change(&mut lease);
    fs::write(&path, lease.to_string()).expect("writable");
}

#[expect(clippy::disallowed_methods, reason = "leases expire by the clock")]
fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

#[test]
fn a_lease_of_another_host_is_taken_over_once_its_heartbeat_stops() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, true);
    abandon(&folder, &stage, |lease| {
        lease["kernel"] = json!("another");
        lease["host"] = json!("node7");
        lease["pid"] = json!(4711);
    });
    let holder = stage.holder().unwrap().expect("node7 may live");
    assert_eq!((holder.host.as_str(), holder.pid), ("node7", 4711));
    assert!(holder.heartbeat_secs.is_some_and(|secs| secs < 60.0), "{holder:?}");
    assert!(stage.claim(false).is_none(), "nobody knows yet that node7 is dead");
    let waited = time(|| drop(stage.claim(true)));
    assert!(waited >= EXPIRY, "{waited:?}");
    assert_eq!(stage.holder().unwrap(), None);
}

#[test]
fn the_lease_of_a_dead_process_of_this_machine_is_free_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, true);
    abandon(&folder, &stage, |_| {});
    assert_eq!(stage.holder().unwrap(), None);
    assert!(stage.claim(false).is_some());
}

#[test]
fn a_heartbeat_keeps_a_claim_without_locks() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, false);
    let claim = stage.claim(false).expect("nobody has it");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(stage.claim(true)));
        thread::sleep(2 * EXPIRY);
        assert!(!waiting.is_finished(), "the owner lives");
        claim.confirm().unwrap();
        let holder = stage.holder().unwrap().expect("this process");
        assert_eq!(holder.pid, std::process::id());
        assert!(holder.heartbeat_secs.is_some_and(|secs| secs < EXPIRY.as_secs_f64()));
        drop(claim);
        waiting.join().unwrap();
    });
}

#[test]
fn an_owner_learns_that_it_has_lost_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, false);
    let claim = stage.claim(false).expect("nobody has it");
    claim.check().unwrap();
    // A takeover, as it happens while this process is suspended.
    let path = leases(&folder, &stage).pop().expect("a lease");
    let lease = fs::read_to_string(&path).unwrap();
    let theirs = lease.replace(&format!("\"pid\":{}", std::process::id()), "\"pid\":4711");
    fs::write(path.with_file_name("000002.json"), theirs).unwrap();
    let error = claim.confirm().unwrap_err();
    assert!(matches!(error, Error::ClaimLost { .. }), "{error}");
    assert!(claim.check().is_err());
    let error = error.to_string().replace(stage.digest().as_str(), "[digest]");
    let host = stage.holder().unwrap().expect("the other process").host;
    insta::assert_snapshot!(error.replace(&host, "[host]"), @r"
    keep the claim on stage `[digest]`: process 4711 on `[host]` has it
    hint: this process gave no sign of life for 1.2 seconds, because it was suspended or cut off from the store; run the same command again
    ");
    // What is left of the old claim does not disturb the new one.
    drop(claim);
    assert_eq!(stage.holder().unwrap().map(|holder| holder.pid), Some(4711));
}

#[test]
fn one_of_many_takes_an_expired_lease() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, false);
    abandon(&folder, &stage, |_| {});
    let num_owners = std::sync::atomic::AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let claim = stage.claim(true).expect("in turn");
                let before = num_owners.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                assert_eq!(before, 0, "two processes have the claim");
                thread::sleep(Duration::from_millis(20));
                claim.confirm().unwrap();
                num_owners.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    assert_eq!(leases(&folder, &stage).len(), 1, "old leases are removed");
}

#[test]
fn a_lease_that_was_never_written_expires_too() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, true);
    drop(stage.claim(false));
    fs::write(leases(&folder, &stage).pop().unwrap(), "").unwrap();
    assert!(stage.claim(false).is_none());
    assert!(stage.claim(true).is_some());
}

#[test]
fn a_compaction_leaves_recent_parts_of_other_machines_and_those_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, true);
    let mut writer = stage.writer();
    writer.append("a", &1).unwrap();
    drop(writer);
    let parts = || {
        let entries = fs::read_dir(stage.folder()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains("/part-")).collect::<Vec<_>>()
    };
    let own = parts().pop().unwrap();
    let foreign = own.with_file_name("part-0badcafe-0000.jsonl");
    fs::write(&foreign, fs::read(&own).unwrap()).unwrap();
    stage.compact().unwrap();
    assert_eq!(parts().len(), 2, "its writer may live");
    let yesterday = Duration::from_secs(25 * 60 * 60);
    let file = fs::OpenOptions::new().append(true).open(&foreign).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified - yesterday).unwrap();
    drop(file);
    stage.compact().unwrap();
    assert!(parts().is_empty());
    assert_eq!(stage.keys().unwrap().len(), 1);
}

#[test]
fn a_writer_whose_part_was_gathered_starts_another() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, true);
    let mut writer = stage.writer();
    writer.append("a", &1).unwrap();
    for entry in fs::read_dir(stage.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("/part-") {
            fs::remove_file(path).unwrap();
        }
    }
    writer.append("b", &2).unwrap();
    assert!(stage.keys().unwrap().contains("b"));
}

#[test]
fn a_write_after_the_last_look_adds_a_record_and_overwrites_none() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder, false);
    let claim = stage.claim(false).expect("nobody has it");
    let (mut suspended, mut heir) = (stage.writer(), stage.writer());
    suspended.append("a", &1).unwrap();
    claim.check().unwrap();
    // Here the process is suspended, and another one takes over and makes the same record.
    let path = leases(&folder, &stage).pop().expect("a lease");
    fs::copy(&path, path.with_file_name("000002.json")).unwrap();
    heir.append("b", &20).unwrap();
    suspended.append("b", &2).unwrap();
    assert!(claim.confirm().is_err(), "the next one is not written");
    for _ in 0..2 {
        let loaded = stage.load::<u32>().unwrap().records;
        let found = stage.find::<u32>(&["b".to_owned()].into()).unwrap().records;
        assert_eq!((loaded["a"], loaded["b"]), (1, found["b"]), "every reader finds the same one");
        (suspended, heir) = (stage.writer(), stage.writer());
        stage.compact().unwrap();
    }
    drop((suspended, heir));
    assert_eq!(stage.keys().unwrap().len(), 2);
}
