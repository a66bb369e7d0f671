//! Nothing that `hone` did not write is overwritten or removed, and a run has a folder of its own.

use crate::world::{World, fixture, said};
use std::fs;
use std::process::Command;

fn names(world: &World, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(world.path(folder)).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let world = World::new();
    world.reviews();
    world.write("own/metrics.jsonl.bak", "mine");
    let model = fixture();
    let model = model.to_str().unwrap();
    for verb in ["train", "crossval", "study", "tune", "find-lr"] {
        let words = [
            verb,
            "--model",
            model,
            "--data",
            "reviews.csv",
            "--out",
            "own",
        ];
        let practices: &[&str] = match verb {
            "study" => &["--practices", "r-drop"],
            _ => &[],
        };
        world
            .hone(&[&words[..], practices].concat())
            .fails(&["own: this folder is not empty (metrics.jsonl.bak)"]);
    }
    let words = ["--max-steps", "2", "--out", "own", "--resume"];
    world
        .train(&words)
        .fails(&["own: no run is here to go on with, but metrics.jsonl.bak"]);
    assert_eq!(names(&world, "own"), ["metrics.jsonl.bak"]);
    // An empty folder is taken, and given back empty where nothing began in it.
    fs::create_dir(world.path("empty")).unwrap();
    for out in ["empty", "new"] {
        for length in ["2", "18446744073709551615"] {
            let words = ["--max-steps", "2", "--max-length", length, "--out", out];
            let told = format!("--max-length {length}: from 3 to");
            world.train(&words).fails(&[&told]);
        }
    }
    assert_eq!(names(&world, "empty"), [""; 0]);
    assert!(!world.path("new").exists());
    world.train(&["--max-steps", "2", "--out", "empty"]).ok();
}

#[test]
fn files_of_results_take_the_place_of_their_own_kind_only() {
    let world = World::new();
    let data = world.reviews();
    world.train(&["--max-steps", "2", "--out", "run"]).ok();
    let before = world.read(data);
    let eval = ["eval", "--model", "run", "--data", data];
    let eval = |more: &[&str]| world.hone(&[&eval[..], more].concat());
    eval(&["--errors", data]).fails(&["--errors reviews.csv: this command reads that file"]);
    eval(&["--errors", "a.csv", "--uncertain", "a.csv"]).fails(&["same file"]);
    let weights = "run/model.safetensors";
    for (words, why) in [
        (
            vec![
                "eval",
                "--model",
                "run",
                "--data",
                data,
                "--uncertain",
                weights,
            ],
            "--uncertain",
        ),
        (vec!["report", "run", "--svg", weights], "--svg"),
        (
            vec!["compare", "run", "run", "--data", data, "--out", weights],
            "--out",
        ),
    ] {
        world
            .hone(&words)
            .fails(&[why, "there is another file of this name"]);
    }
    assert_eq!(world.read(data), before);
    // Twice the same is no mistake.
    for _ in 0..2 {
        eval(&["--errors", "errors.csv", "--uncertain", "uncertain.csv"]).ok();
        world.hone(&["report", "run", "--svg", "run.svg"]).ok();
    }
    // A task is the model's, not the reader's.
    eval(&["--task", "regress"]).fails(&["--task regress", "run was trained to classify"]);
}

/// The record of a run trains another one like it, in another folder; what is typed beside it wins, and what of it stays is said.
#[test]
fn a_record_is_run_again() {
    let world = World::new();
    world
        .train(&["--max-steps", "3", "--lr", "1e-3", "--out", "run"])
        .ok();
    let again = |more: &[&str]| {
        let words = ["train", "--config", "run/run.toml"];
        world.hone(&[&words[..], more].concat()).ok()
    };
    let said = again(&[]).err;
    assert!(!said.contains("head-lr"), "{said}");
    let weights = world.read("run/model.safetensors");
    assert_eq!(weights, world.read("runs/trajectory-1/model.safetensors"));
    let said = again(&["--lr", "1e-4", "--max-steps", "2", "--out", "other"]).err;
    assert!(
        said.contains("note: --head-lr 0.01 is what run/run.toml says"),
        "{said}"
    );
    let both = ["--max-steps", "2", "--epochs", "1"];
    let done = world.train(&both);
    assert_eq!(done.code, Some(2), "{}", done.err);
}

/// Values that a new head can hardly reach are learned in their own units, or told before the first step.
#[test]
fn far_values_are_standardised_or_told() {
    let world = World::new();
    let rows: String = (0..40)
        .map(|i| format!("film {},{}.5\n", ["good", "bad"][i % 2], 300_000 + 7 * i))
        .collect();
    world.write("prices.csv", format!("text,score\n{rows}"));
    let model = fixture();
    let words = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        "prices.csv",
        "--max-steps",
        "2",
        "--valid",
        "none",
    ];
    let said = |more: &[&str]| world.hone(&[&words[..], more].concat()).ok().err;
    let standardised = said(&[]);
    assert!(
        standardised.contains("their mean, 300137, and deviation, 80.80;"),
        "{standardised}"
    );
    assert!(
        !standardised.contains("warning: the values go"),
        "{standardised}"
    );
    let plain = said(&["--standardize", "never"]);
    assert!(
        plain.contains("warning: the values go from 300000.5 to 300273.5"),
        "{plain}"
    );
    let fitted = said(&["--standardize", "never", "--init-head", "probe"]);
    assert!(!fitted.contains("the values go"), "{fitted}");
}

/// Whenever a run is interrupted, its folder is gone, or there is a checkpoint in it to go on from.
#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_a_checkpoint_or_nothing() {
    let world = World::new();
    let (model, data) = (fixture(), fixture().join("train.csv"));
    for (line, out) in [
        ("computing on", "a"),
        ("loaded", "b"),
        ("forecast", "c"),
        ("step 1/", "d"),
    ] {
        let mut words = vec!["train", "--model", model.to_str().unwrap()];
        words.extend(["--data", data.to_str().unwrap(), "--out", out]);
        words.extend(["--max-steps", "100000"]);
        world.interrupted(&words, line);
        let kept = world.path(out).join("checkpoints").is_dir();
        assert!(kept || !world.path(out).exists(), "{line}");
    }
}

/// A disk that the model would not go onto is told before the first step, not after the last; one without room for a
/// checkpoint is a warning. The disks are made in a user namespace of their own, where the system lets everybody have one.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_too_small_is_said_at_the_start() {
    let world = World::new();
    world.reviews();
    fs::create_dir(world.path("disk")).unwrap();
    let train = |kilobytes: usize| {
        let hone = world.command(&[
            "train",
            "--model",
            fixture().to_str().unwrap(),
            "--data",
            "reviews.csv",
            "--max-steps",
            "2",
            "--out",
            "disk",
        ]);
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size={kilobytes}k none disk && exec \"$0\" \"$@\"");
        command.args(["-rm", "sh", "-c", &script]);
        command.arg(hone.get_program()).args(hone.get_args());
        let set = hone
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        command.envs(set).current_dir(world.path(""));
        said(command.output().unwrap())
    };
    let usable = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs none disk"])
        .current_dir(world.path(""))
        .status();
    if !usable.is_ok_and(|s| s.success()) {
        eprintln!("skipped: this system lets nobody mount a small disk");
        return;
    }
    let said = train(24);
    said.fails(&["disk: the model will need 0.0 MB, the disk has 0.0 MB left; make room"]);
    let warned = |kilobytes| {
        train(kilobytes)
            .ok()
            .err
            .contains("may not be able to leave one")
    };
    assert!(warned(96) && !warned(4096));
}

/// Two processes never work in one folder; the second says so.
#[cfg(unix)]
#[test]
fn a_folder_is_for_one_at_a_time() {
    let world = World::new();
    world.train(&["--max-steps", "2", "--out", "run"]).ok();
    fs::create_dir(world.path("new")).unwrap();
    for (out, resume) in [("run", true), ("new", false), ("new", true)] {
        let held = fs::File::open(world.path(out)).unwrap();
        held.lock().unwrap();
        let mut words = vec!["--max-steps", "2", "--out", out];
        words.extend(resume.then_some("--resume"));
        let words = &words;
        world
            .train(words)
            .fails(&["another hone is at work in this folder"]);
    }
    world.train(&["--max-steps", "2", "--out", "new"]).ok();
}

/// An end that was cut off is tidied by whoever comes back to it.
#[test]
fn a_run_that_is_done_is_tidied() {
    let world = World::new();
    world.train(&["--max-steps", "2", "--out", "run"]).ok();
    world.write("run/checkpoints/step-2.gone/weights.safetensors", "half");
    world
        .train(&["--max-steps", "2", "--out", "run", "--resume"])
        .fails(&["this run is done"]);
    assert!(!world.path("run/checkpoints").exists());
}
