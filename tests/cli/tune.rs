//! `hone tune` from end to end.

use crate::world::{Said, World, fixture, timeless};
use serde_json::Value;

fn words<'a>(model: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["tune", "--model", model, "--data", data];
    all.extend(more);
    all
}

fn tune(world: &World, data: &str, more: &[&str]) -> Said {
    let model = fixture();
    world.hone(&words(model.to_str().unwrap(), data, more))
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

    // Each trial's memory is returned: the process does not hold more after the last runs than after the first.
    let held: Vec<u64> = lines
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).unwrap()["memory_bytes"].as_u64())
        .collect();
    if !held.is_empty() {
        let highest = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
        let (early, late) = (highest(&held[..5]), highest(&held[held.len() - 5..]));
        // Thirty models that stayed, with gradients and moments, would be five million bytes.
        assert!(held.len() > 20 && late < early + 2_000_000, "{held:?}");
    }

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
    // The command may say otherwise what means the same.
    let but = ["model", "command"];
    assert_eq!(timeless(again, &but), timeless(found, &but));
}

/// A warm-up of 6 % is another thing to a schedule that rises by itself.
#[test]
fn the_command_of_a_schedule_trains_the_same_model() {
    let world = World::new();
    let data = world.reviews();
    let more = [
        "--recipe",
        "standard",
        "--max-steps",
        "60",
        "--lr",
        "2e-3",
        "--schedule",
        "polynomial:300",
        "--space",
        "schedule=slanted|one-cycle",
        "--trials",
        "3",
        "--seeds",
        "1",
        "--out",
        "out",
    ];
    let said = tune(&world, data, &more).ok();
    assert!(said.err.contains("lr is not tuned"), "{}", said.err);
    let found = world.json("out/tune.json");
    assert_ne!(found["best"]["trial"], 0);
    assert_eq!(found["best"]["options"]["warmup"], "0");
    let command = found["command"].as_str().unwrap();
    let mut again: Vec<&str> = command.split(' ').skip(1).collect();
    again.extend(["--out", "again"]);
    world.hone(&again).ok();
    assert!(world.read("again/model.safetensors") == world.read("out/best/model.safetensors"));
    // The record is a configuration, and knows that no warm-up was typed.
    let again = ["tune", "--config", "out/run.toml", "--out", "more"];
    world.hone(&again).ok();
    let best = |folder: &str| world.json(&format!("{folder}/tune.json"))["best"].clone();
    assert_eq!(best("more"), best("out"));
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
        "--eval-every",
        "3",
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
        let folds = chooser.starts_with("one of");
        assert_eq!(said.err.contains("--eval-every changes nothing"), folds);
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

/// The journal of a search as it would be had the loss of the first refit become no number.
#[test]
fn a_failed_refit_is_said_and_claims_nothing() {
    let world = World::new();
    let data = world.reviews();
    let more = ["--seeds", "2", "--space", "lr=1e-3..4e-3", "--out", "out"];
    let all = [&USUAL[..], &more, &["--sensitivity", "off"]].concat();
    tune(&world, data, &all).ok();
    let journal = String::from_utf8(world.read("out/trials.jsonl")).unwrap();
    let mut lines = String::new();
    for line in journal.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["run"] == "refit-tuned-1" {
            line["value"] = Value::Null;
            line["failed"] = "the loss is not a number".into();
        } else if line["purpose"] == "refit" {
            continue;
        }
        lines += &format!("{line}\n");
    }
    world.write("out/trials.jsonl", lines);
    for part in ["tune.json", "best", "refits"] {
        let path = world.path(&format!("out/{part}"));
        let gone = match path.is_dir() {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
        gone.unwrap();
    }
    let said = tune(&world, data, &[&all[..], &["--resume"]].concat()).ok();
    for part in [
        "tuned  failed, ",
        "(mean of 1: ",
        "refit-tuned-1 failed (seed ",
        "], 1 of 2 seeds: neither failed",
        "verdict: no difference shown (failed refits: 1)",
        "the first fresh seed with which it did not fail",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let found = world.json("out/tune.json");
    assert_eq!(found["refit"]["tuned"][0], Value::Null);
    assert_eq!(found["refit"]["model_seed"], found["refit"]["seeds"][1]);
    // The command trains the model that is there.
    let command = found["command"].as_str().unwrap();
    let mut again: Vec<&str> = command.split(' ').skip(1).collect();
    again.extend(["--out", "again"]);
    world.hone(&again).ok();
    assert!(world.read("again/model.safetensors") == world.read("out/best/model.safetensors"));
}

/// No factor moves a 0: that is said, and the winner is not run for it.
#[test]
fn settings_that_cannot_be_moved_cost_nothing() {
    let world = World::new();
    let data = world.reviews();
    let more = [
        "--trials",
        "2",
        "--seeds",
        "1",
        "--max-steps",
        "60",
        "--lr",
        "2e-3",
        "--dropout",
        "0",
        "--space",
        "dropout=0|0.999",
        "--sensitivity",
        "all",
    ];
    let said = tune(&world, data, &more).ok();
    let found = world.json("runs/reviews-1/tune.json");
    assert_eq!(found["best"]["trial"], 0);
    // Two trials and a refit.
    assert_eq!(found["runs"], 3, "{}", said.out);
    let line = "  dropout: not measured: ×1/4, ×1/2, ×2, ×4: it is 0, and no factor changes that";
    assert!(said.out.contains(line), "{}", said.out);
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
        let rest = world.interrupted(words, place);
        assert!(rest.iter().any(|l| l.contains("--resume")), "{rest:?}");
    }
    world.hone(&["tune", "--resume", "--out", "broken"]).ok();
    let read = |folder: &str| {
        let found = world.json(&format!("{folder}/tune.json"));
        timeless(found, &["model", "command"])
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
    // A busy machine has time for the first two only.
    assert!(found["trials"].as_u64().unwrap() >= 2, "{}", said.out);
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
        (&["--trials", "4097"], &["--trials 4097", "at most 4096"]),
        (
            &["--valid", "none"],
            &["--valid none", "--holdout", "--test FILE"],
        ),
        (&["--seeds", "0"], &["--seeds 0", "from 1 to 1000"]),
        (&["--seeds", "1001"], &["--seeds 1001", "from 1 to 1000"]),
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
        (
            &["--space", "dropout", "--sensitivity", "lr"],
            &["--sensitivity lr", "not tuned"],
        ),
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

#[test]
fn every_task_is_searched() {
    let world = World::new();
    world.every_task();
    for (file, metric) in [
        ("scores.csv", "pearson"),
        ("sets.jsonl", "micro_f1"),
        ("tags.conll", "entity_f1"),
    ] {
        let out = format!("tuned-{file}");
        let cannot = match metric {
            "entity_f1" => "pool",
            _ => "label-smoothing",
        };
        let more = ["--trials", "3", "--space", cannot, "--out", &out];
        tune(&world, file, &more).fails(&["--space", cannot]);
        assert!(!world.path(&out).exists(), "{file}");
        let more = [
            "--trials",
            "3",
            "--space",
            "lr=1e-3..1e-2,l2-sp",
            "--out",
            &out,
        ];
        tune(&world, file, &more).ok();
        let found = world.json(&format!("{out}/tune.json"));
        assert_eq!(
            (&found["metric"], &found["trials"]),
            (&metric.into(), &3.into())
        );
        assert!(
            found["space"]
                .as_str()
                .unwrap()
                .contains("l2-sp=20%|50%|80%")
        );
        assert!(
            world
                .path(&format!("{out}/best/model.safetensors"))
                .is_file()
        );
    }
}
