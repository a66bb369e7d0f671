//! `hone tune` from end to end.

use crate::world::{Said, World, fixture};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn words<'a>(model: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["tune", "--model", model, "--data", data];
    all.extend(more);
    all
}

fn tune(world: &World, data: &str, more: &[&str]) -> Said {
    let model = fixture();
    world.hone(&words(model.to_str().unwrap(), data, more))
}

/// A search without what clocks, the system and folders said.
fn timeless(mut value: Value) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| {
                    !key.contains("seconds") && !key.contains("memory") && key != "model"
                });
                map.values_mut().for_each(strip);
            }
            Value::Array(all) => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value.to_string()
}

/// One word decides; a rate of 1e-6 never finds it, so that a search has something to find.
const USUAL: [&str; 8] = [
    "--max-steps",
    "60",
    "--lr",
    "1e-6",
    "--trials",
    "4",
    "--seed",
    "2",
];

#[test]
fn a_search_finds_a_rate_says_what_it_is_worth_and_its_command_repeats_the_model() {
    let world = World::new();
    let data = world.reviews();
    let space = ["--space", "lr=1e-3..4e-3,dropout", "--sensitivity", "all"];
    let said = tune(&world, data, &[&USUAL[..], &space].concat()).ok();
    let out = "runs/reviews-1";
    let found = world.json(&format!("{out}/tune.json"));
    assert_ne!(found["best"]["trial"], 0);
    assert_eq!(found["refit"]["verdict"], "better", "{}", said.out);
    assert_eq!(found["refit"]["seeds"].as_array().unwrap().len(), 3);
    assert!(found["refit"]["interval"][0].as_f64().unwrap() > 0.0);
    // 240 texts: a fifth is for the last figure.
    let untouched = found["rows"]["untouched"].as_u64().unwrap();
    assert_eq!(found["rows"]["train"].as_u64().unwrap() + untouched, 240);
    let moves = &found["sensitivity"][0];
    assert_eq!(moves["setting"], "lr");
    assert_eq!(moves["moves"].as_array().unwrap().len(), 4);
    for m in moves["moves"].as_array().unwrap() {
        assert_eq!(m["differences"].as_array().unwrap().len(), 2);
    }
    for word in [
        "verdict: tuned is better",
        "no trial saw",
        "flatters",
        "×1/4",
        "the saved model again: hone train",
    ] {
        assert!(said.out.contains(word), "{word}: {}", said.out);
    }
    for word in [
        "search: 4 trials",
        "space: lr=0.001..0.004,dropout=0..0.2",
        "held out for the last figure",
        "plan: 4 trials once, 2 trials 2 times",
        "rung 1 done",
        "refit 3 of 3",
        " left",
    ] {
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
    let svg = String::from_utf8(world.read(&format!("{out}/sensitivity.svg"))).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("lr ×4") && !svg.contains("NaN"));
    let lines = String::from_utf8(world.read(&format!("{out}/trials.jsonl"))).unwrap();
    assert_eq!(
        lines
            .lines()
            .filter(|l| l.contains("\"line\":\"run\""))
            .count() as u64,
        found["runs"].as_u64().unwrap()
    );

    // The printed command trains the same model, bit for bit, and its validation figure is that of the untouched rows.
    let command = found["command"].as_str().unwrap();
    assert!(said.out.contains(command), "{}", said.out);
    let mut again: Vec<&str> = command.split(' ').skip(1).collect();
    again.extend(["--out", "again", "--threads", "1"]);
    world.hone(&again).ok();
    let best = format!("{out}/best");
    assert!(
        world.read("again/model.safetensors") == world.read(&format!("{best}/model.safetensors"))
    );
    assert_eq!(
        world.json("again/summary.json")["valid"]["accuracy"],
        found["refit"]["model_value"]
    );
    // So does the recorded configuration of the model.
    let toml = format!("{best}/run.toml");
    world
        .hone(&["train", "--config", &toml, "--out", "third"])
        .ok();
    assert!(world.read("third/model.safetensors") == world.read("again/model.safetensors"));
    // The model answers, by name and as the newest.
    for model in [&["--model", &best][..], &[]] {
        let all = [&["predict"][..], model, &["a bright film"]].concat();
        assert_eq!(world.hone(&all).ok().out.lines().count(), 1);
    }
    world.hone(&["report", &best]).ok();
    world.hone(&["report", out]).fails(&["tune.json"]);
    // Done is done, a folder is not written to twice, and the recorded search can be run again.
    let resumed = [&USUAL[..], &space, &["--out", out, "--resume"]].concat();
    tune(&world, data, &resumed).fails(&["done"]);
    tune(&world, data, &["--out", out]).fails(&["already holds a run"]);
    let toml = format!("{out}/run.toml");
    let again = world
        .hone(&[
            "tune",
            "--config",
            &toml,
            "--out",
            "more",
            "--json",
            "--threads",
            "1",
        ])
        .ok();
    let again: Value = serde_json::from_str(&again.out).unwrap();
    let (mut a, mut b) = (again, found);
    // The command may say otherwise what means the same.
    for value in [&mut a, &mut b] {
        value.as_object_mut().unwrap().remove("command");
    }
    assert_eq!(timeless(a), timeless(b));
}

#[test]
fn who_chooses_and_who_is_kept_follows_from_the_files() {
    let world = World::new();
    let data = std::fs::read_to_string(fixture().join("train.csv")).unwrap();
    let rows: Vec<&str> = data.lines().skip(1).collect();
    let part = |range: std::ops::Range<usize>| format!("text,label\n{}\n", rows[range].join("\n"));
    world.write("three/train.csv", part(0..240));
    world.write("three/valid.csv", part(240..320));
    world.write("three/test.csv", part(320..400));
    world.write("two/train.csv", part(0..240));
    world.write("two/valid.csv", part(240..320));
    world.write("one.csv", part(0..240));
    let usual = [
        "--trials",
        "2",
        "--max-steps",
        "6",
        "--space",
        "lr",
        "--sensitivity",
        "off",
        "--seeds",
        "1",
        "--json",
    ];
    for (data, more, chooser, kept, rows) in [
        (
            "three",
            &[][..],
            "the validation part",
            "test part",
            (240, 80),
        ),
        (
            "three",
            &["--valid", "none"],
            "one of 5 folds",
            "test part",
            (240, 80),
        ),
        (
            "two",
            &["--folds", "3"],
            "one of 3 folds",
            "validation part",
            (240, 80),
        ),
        (
            "one.csv",
            &["--test", "three/test.csv"],
            "one of 5 folds",
            "test part",
            (240, 80),
        ),
        (
            "one.csv",
            &["--holdout", "0.25"],
            "one of 5 folds",
            "validation part",
            (180, 60),
        ),
    ] {
        let said = tune(&world, data, &[&usual[..], more].concat()).ok();
        let found: Value = serde_json::from_str(&said.out).unwrap();
        let told = &found["rows"];
        assert!(
            told["chooser"].as_str().unwrap().starts_with(chooser),
            "{data}: {told}"
        );
        assert_eq!(told["untouched_part"], kept, "{data}");
        let near = |key: &str, want: u64| told[key].as_u64().unwrap().abs_diff(want) <= 4;
        assert!(near("train", rows.0) && near("untouched", rows.1), "{told}");
        // The command repeats the model in every case.
        let command = found["command"].as_str().unwrap();
        let mut again: Vec<&str> = command.split(' ').skip(1).collect();
        again.extend(["--out", "again"]);
        world.hone(&again).ok();
        let best = found["refit"]["model"].as_str().unwrap().to_owned() + "/model.safetensors";
        assert!(
            world.read("again/model.safetensors") == world.read(&best),
            "{data} {command}"
        );
        std::fs::remove_dir_all(world.path("again")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_search_goes_on_bit_for_bit() {
    let world = World::new();
    let options = [
        "--trials",
        "4",
        "--max-steps",
        "200",
        "--space",
        "lr,batch-size=8|16",
        "--seeds",
        "2",
    ];
    let with_out = |out: &'static str| [&options[..], &["--out", out]].concat();
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    world.hone(&words(model, data, &with_out("whole"))).ok();
    let mut all = words(model, data, &with_out("broken"));
    let mut resumed = all.clone();
    resumed.push("--resume");
    for (place, words) in [("rung 2, trial", &mut all), ("refit 2 of 2", &mut resumed)] {
        let mut child = world.command(words).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        lines
            .find(|l| l.as_ref().unwrap().starts_with(place))
            .unwrap()
            .unwrap();
        let pid = child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(kill.success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        assert!(rest.iter().any(|l| l.contains("--resume")), "{rest:?}");
    }
    world.hone(&resumed).ok();
    let read = |folder: &str| {
        let mut value = world.json(&format!("{folder}/tune.json"));
        value.as_object_mut().unwrap().remove("command");
        timeless(value)
    };
    assert_eq!(read("whole"), read("broken"));
    let model = |folder: &str| world.read(&format!("{folder}/best/model.safetensors"));
    assert!(model("whole") == model("broken"));
}

#[test]
fn a_budget_is_kept_by_the_whole_program() {
    let world = World::new();
    let data = world.reviews();
    let began = std::time::Instant::now();
    let more = [
        "--max-steps",
        "30",
        "--lr",
        "1e-3",
        "--budget",
        "0.1",
        "--json",
    ];
    let said = tune(&world, data, &more).ok();
    let took = began.elapsed().as_secs_f64();
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert!(took < 6.0 * 1.25 + 1.0, "{took}");
    assert!(found["trials"].as_u64().unwrap() > 2, "{}", said.out);
    assert_eq!(found["budget_minutes"], 0.1);
    assert!(
        said.err.contains("plan: ") && said.err.contains(" left"),
        "{}",
        said.err
    );
    tune(&world, data, &["--budget", "0.00001", "--out", "little"]).fails(&[
        "--budget",
        "too small",
        "minutes",
    ]);
    // The mended command can have the folder.
    assert!(!world.path("little").exists());
}

#[test]
fn wrong_input_is_one_clear_line() {
    let world = World::new();
    let data = world.reviews();
    for (more, says) in [
        (&["--budget", "0"][..], &["--budget 0", "positive"][..]),
        (&["--budget", "-3"], &["--budget -3"]),
        (&["--trials", "1"], &["--trials 1", "at least 2"]),
        (&["--seeds", "0"], &["--seeds 0"]),
        (&["--folds", "1"], &["--folds 1"]),
        (&["--folds", "900"], &["900"]),
        (&["--holdout", "1"], &["--holdout 1"]),
        (
            &["--holdout", "0.2", "--test", "reviews.csv"],
            &["--holdout", "test file"],
        ),
        (&["--valid", "0.1"], &["--valid 0.1", "--holdout"]),
        (&["--sensitivity", "some"], &["--sensitivity some"]),
        (&["--space", "speed"], &["--space", "speed", "there are lr"]),
        (&["--space", "lr=2..1"], &["--space", "not below"]),
        (&["--space", "lr=3e-5"], &["--space", "one value"]),
        (&["--space", "epochs", "--max-steps", "9"], &["--max-steps"]),
        (&["--space", ""], &["--space"]),
        (&["--space", "pool=cls|cls"], &["--space", "nothing but"]),
        (&["--select", "best"], &["--select best", "--test FILE"]),
        (&["--patience", "2"], &["--patience"]),
        (&["--calibrate"], &["--calibrate"]),
        (&["--abstain-precision", "0.9"], &["--abstain-precision"]),
        (&["--metric", "bleu"], &["--metric bleu"]),
        (&["--lr", "-1"], &["--lr -1"]),
        (&["--resume"], &["--out"]),
        (
            &[
                "--folds",
                "3",
                "--valid",
                "reviews.csv",
                "--test",
                "reviews.csv",
            ],
            &["--folds", "--valid none"],
        ),
    ] {
        let all = match more.contains(&"--budget") || more.contains(&"--trials") {
            true => more.to_vec(),
            false => [&["--trials", "2"][..], more].concat(),
        };
        tune(&world, data, &all).fails(says);
    }
    world.hone(&["tune", "--trials", "2"]).fails(&["--data"]);
    for (line, says) in [
        ("trials = \"many\"\n", "trials"),
        ("space = 3\n", "space"),
        ("budget = true\n", "budget"),
        ("speed = 3\n", "unknown key speed"),
    ] {
        world.write("own.toml", line);
        tune(&world, data, &["--config", "own.toml"]).fails(&["own.toml", says]);
    }
    let help = world.hone(&["tune", "--help"]).ok();
    for word in [
        "--budget",
        "[default: 30",
        "--space",
        "head-ratio",
        "--holdout",
        "[default: 0.2]",
        "--sensitivity",
        "--seeds",
        "[default: 3]",
        "--epochs",
    ] {
        assert!(help.out.contains(word), "{word}");
    }
    assert_eq!(tune(&world, data, &["--budgets", "x"]).code, Some(2));
}
