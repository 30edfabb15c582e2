//! Rollouts are bit-identical in any batch and after any interruption.

use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Folder, num_lines};

#[test]
fn batch_size_and_thread_count_change_no_record() {
    let folder = Folder::new();
    folder.write_manifest(6);
    folder.run(&["run", "tiny.toml", "--batch", "32", "--store", "wide"]).expect_done();
    let wide = folder.records("wide");
    assert!(wide.len() >= 12, "{} stages", wide.len());
    for (store, batch, threads) in [("single", "1", "1"), ("eight", "8", "2"), ("odd", "5", "1")] {
        let mut command = folder.command(&["run", "tiny.toml", "--batch", batch, "--store", store]);
        folder.finish(command.env("RAYON_NUM_THREADS", threads)).expect_done();
        assert_eq!(folder.records(store), wide, "batch {batch}, {threads} threads");
    }
}

#[test]
fn four_rollouts_are_the_first_four_of_sixteen() {
    let folder = Folder::new();
    folder.write_manifest(3);
    let sized = |size: &str, store: &str| {
        let size = format!("sampling.group-size={size}");
        folder.run(&["run", "tiny.toml", "--set", &size, "--store", store]).expect_done();
        let stages = folder.records(store).into_values().flatten();
        stages.filter(|line| line.contains("\"rollout\":{\"index\"")).collect::<Vec<_>>()
    };
    let (four, sixteen) = (sized("4", "four"), sized("16", "sixteen"));
    assert_eq!((four.len(), sixteen.len()), (3 * 4, 3 * 16));
    assert!(four.iter().all(|line| sixteen.contains(line)));
}

#[test]
fn killed_three_times_and_run_again_leaves_the_same_records() {
    let folder = Folder::new();
    folder.write_manifest(24);
    folder.run(&["run", "tiny.toml", "--store", "whole"]).expect_done();
    let store = folder.path("killed");
    for at_least in [3, 40, 90] {
        let mut child = folder.start(&["run", "tiny.toml", "--batch", "2", "--store", "killed"]);
        // Until enough is on the disk, or the run was too quick to be killed there.
        while num_lines(&store) < at_least && child.try_wait().expect("a child").is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
    }
    folder.run(&["run", "tiny.toml", "--store", "killed"]).expect_done();
    assert_eq!(folder.records("killed"), folder.records("whole"));
    folder.run(&["store", "verify", "--store", "whole"]).expect_done();
}

#[test]
fn two_processes_fill_one_store() {
    let folder = Folder::new();
    folder.write_manifest(12);
    let arguments =
        |store| ["run", "tiny.toml", "--json", "--set", "seeds=[0,1,2]", "--store", store];
    let num_drawn = |store| {
        let done = folder.run(&arguments(store)).expect_done();
        let summary: Value = serde_json::from_str(&done.stdout).expect("JSON");
        summary["rollouts-sampled"].as_u64().expect("a number")
    };
    assert_eq!(num_drawn("alone"), 3 * 12 * 8);
    let together = thread::scope(|scope| {
        let processes = [scope.spawn(|| num_drawn("shared")), scope.spawn(|| num_drawn("shared"))];
        processes.map(|process| process.join().expect("no panic"))
    });
    assert_eq!(together.iter().sum::<u64>(), 3 * 12 * 8, "none was sampled twice: {together:?}");
    assert_eq!(num_drawn("shared"), 0);
    assert_eq!(folder.records("shared"), folder.records("alone"));
}

#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let folder = Folder::new();
    folder.write_manifest(24);
    folder.run(&["run", "tiny.toml", "--store", "whole"]).expect_done();
    // Files may not grow past 8 blocks of 512 bytes; the signal is ignored, so that writes fail.
    let program = env!("CARGO_BIN_EXE_preceptor");
    let script = format!("ulimit -f 8; trap '' XFSZ; exec {program} run tiny.toml --store small");
    let mut limited = Command::new("sh");
    let prototype = folder.command(&[]);
    limited.args(["-c", &script]).current_dir(folder.path("."));
    for (key, value) in prototype.get_envs() {
        match value {
            Some(value) => limited.env(key, value),
            None => limited.env_remove(key),
        };
    }
    let stopped = folder.finish(&mut limited);
    assert_eq!(stopped.code, Some(3), "{}", stopped.said());
    assert!(stopped.stderr.contains("write `"), "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("hint: records written before stay valid"),
        "{}",
        stopped.stderr
    );
    let written = num_lines(&folder.path("small"));
    assert!(written > 0, "something was written before the limit");

    folder.run(&["run", "tiny.toml", "--store", "small"]).expect_done();
    assert_eq!(folder.records("small"), folder.records("whole"));
}
