//! A run that was interrupted, or killed, goes on bit for bit.

use crate::world::{World, fixture, timeless};
use serde_json::Value;

#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let world = World::new();
    let options = [
        "--max-steps",
        "2500",
        "--valid",
        "0.2",
        "--eval-every",
        "200",
        "--select",
        "best",
        "--seed",
        "4",
    ];
    let with_out = |out: &'static str| [&options[..], &["--out", out]].concat();
    world.train(&with_out("whole")).ok();

    let (model, data) = (world.model("bert"), fixture().join("train.csv"));
    let mut words = vec![
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ];
    words.extend(with_out("broken"));
    let rest = world.interrupted(&words, "step 200 ");
    assert!(rest.iter().any(|l| l.contains("--resume")), "{rest:?}");
    assert!(world.path("broken/checkpoints").is_dir());
    assert!(
        !world.path("broken/model.safetensors").exists(),
        "it ended before it was interrupted"
    );

    // A flag that would change results is an error that names it.
    let mut changed = words.clone();
    changed.extend(["--resume", "--lr", "1e-3"]);
    world.hone(&changed).fails(&["lr"]);
    // So are other rows of the same file.
    let mut changed = words.clone();
    changed.extend(["--resume", "--split-seed", "9"]);
    world.hone(&changed).fails(&["rows", "--split-seed"]);
    words.push("--resume");
    // So is another arithmetic.
    let config = String::from_utf8(world.read("bert/config.json")).unwrap();
    let other = config.replace("\"gelu\"", "\"relu\"");
    assert_ne!(config, other);
    world.write("bert/config.json", other);
    world
        .hone(&words)
        .fails(&["contents of the model's config.json"]);
    world.write("bert/config.json", config);
    let resumed = world.hone(&words).ok();
    assert!(
        resumed.err.contains("resumed after step"),
        "{}",
        resumed.err
    );
    assert!(world.read("whole/model.safetensors") == world.read("broken/model.safetensors"));
    let (whole, broken) = (
        world.json("whole/summary.json"),
        world.json("broken/summary.json"),
    );
    for key in [
        "valid",
        "gap",
        "best_step",
        "steps",
        "train_tokens",
        "train_loss",
    ] {
        assert_eq!(whole[key], broken[key], "{key}");
    }
    // Once done, nothing is left to resume.
    world.hone(&words).fails(&["done"]);
}

/// A process that is ended without a word (or a machine without power) leaves what was saved before, and is gone on from.
#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let world = World::new();
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let words = |out: &'static str| {
        let mut words = vec!["train", "--model", model.to_str().unwrap()];
        words.extend(["--data", data.to_str().unwrap(), "--out", out]);
        words.extend("--epochs 36 --valid 0.2 --eval-every 60 --save-every 25".split(' '));
        words.extend("--select best --average ema:0.99 --mixout 0.3 --augment swap".split(' '));
        words
    };
    world.hone(&words("whole")).ok();
    let mut again = words("killed");
    again.push("--resume");
    for line in ["step 60 ", "step 120 ", "step 180 "] {
        world.killed(&again, line);
    }
    // A checkpoint that was being written is none.
    let torn = world.path("killed/checkpoints/step-999999.part");
    std::fs::create_dir_all(&torn).unwrap();
    std::fs::write(torn.join("state.json"), "{").unwrap();
    let resumed = world.hone(&again).ok();
    assert!(
        resumed.err.contains("resumed after step"),
        "{}",
        resumed.err
    );
    assert!(world.read("whole/model.safetensors") == world.read("killed/model.safetensors"));
    let ended = |out: &str| {
        let value = world.json(&format!("{out}/summary.json"));
        timeless(value, &["tokens_per_s", "overhead"])
    };
    assert_eq!(ended("whole"), ended("killed"));
    // Its log tells each step and each validation once.
    let log = |out: &str| -> Vec<String> {
        let text = String::from_utf8(world.read(&format!("{out}/metrics.jsonl"))).unwrap();
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_steps = events.filter(|e| e["event"] == "step" || e["event"] == "evaluated");
        of_steps.map(|event| timeless(event, &[])).collect()
    };
    assert!(log("whole").len() > 360);
    assert_eq!(log("whole"), log("killed"));
    assert!(!world.path("killed/checkpoints").exists());
}
