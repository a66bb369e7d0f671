//! `hone crossval` and `hone compare` from end to end.

use crate::world::{Said, World, fixture};
use serde_json::Value;

fn words<'a>(model: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["crossval", "--model", model, "--data", data];
    all.extend(more);
    all
}

fn crossval(world: &World, more: &[&str]) -> Said {
    let (model, data) = (fixture(), fixture().join("train.csv"));
    world.hone(&words(
        model.to_str().unwrap(),
        data.to_str().unwrap(),
        more,
    ))
}

/// A CSV file's lines as cells; no cell of these files is quoted.
fn cells(world: &World, name: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(world.read(name)).unwrap();
    let lines = text.lines();
    lines
        .map(|l| l.split(',').map(str::to_owned).collect())
        .collect()
}

#[test]
fn folds_leave_predictions_suspects_a_summary_and_a_model() {
    let world = World::new();
    let test = fixture().join("train.csv");
    let more = [
        "--folds",
        "4",
        "--repeats",
        "2",
        "--max-steps",
        "6",
        "--soup",
        "--final-fit",
        "--test",
        test.to_str().unwrap(),
        "--json",
    ];
    let said = crossval(&world, &more).ok();
    let printed: Value = serde_json::from_str(&said.out).unwrap();
    let out = "runs/trajectory-1";
    assert_eq!(printed, world.json(&format!("{out}/crossval.json")));
    assert_eq!(printed["per_fold"].as_array().unwrap().len(), 8);
    assert_eq!(printed["metrics"]["accuracy"]["folds"], 8);
    assert_eq!(printed["pooled"].as_array().unwrap().len(), 2);
    assert!(said.err.contains("fold 2/8"), "{}", said.err);
    assert!(said.err.contains("left for all folds"), "{}", said.err);
    assert!(said.err.contains("stands more than once"), "{}", said.err);

    let oof = cells(&world, &format!("{out}/oof.csv"));
    assert_eq!(
        oof[0],
        [
            "row",
            "fold",
            "repeat",
            "label",
            "predicted",
            "p_bad",
            "p_fair",
            "p_good"
        ]
    );
    assert_eq!(oof.len(), 1 + 2 * 400);
    for (i, line) in oof[1..].iter().enumerate() {
        assert_eq!(line[0], (i % 400 + 2).to_string());
        let p: Vec<f64> = line[5..].iter().map(|x| x.parse().unwrap()).collect();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let best = ["bad", "fair", "good"][(0..3).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap()];
        assert_eq!(line[4], best);
    }
    // Rows of one text are in one fold.
    let file = String::from_utf8(std::fs::read(&test).unwrap()).unwrap();
    let mut home = std::collections::HashMap::new();
    for (line, told) in file.lines().skip(1).zip(&oof[1..]) {
        let text = line.rsplit_once(',').unwrap().0;
        let fold = home.entry(text.to_owned()).or_insert(told[1].clone());
        assert_eq!(*fold, told[1], "{text}");
    }
    let suspects = cells(&world, &format!("{out}/suspects.csv"));
    assert_eq!(
        printed["suspects"]["suspects"].as_u64().unwrap() as usize,
        suspects.len() - 1
    );
    for line in &suspects[1..] {
        assert_ne!(line[2], line[3]);
    }

    // Both models answer; the folds' own are gone, their records stay.
    for model in [out.to_owned(), format!("{out}/soup")] {
        let told = world
            .hone(&["predict", "--model", &model, "a bright film"])
            .ok();
        assert_eq!(told.out.lines().count(), 1);
    }
    world.hone(&["predict", "a bright film"]).ok();
    assert!(world.path(&format!("{out}/folds/2-4/fold.json")).is_file());
    assert!(
        !world
            .path(&format!("{out}/folds/2-4/model.safetensors"))
            .exists()
    );
    assert_eq!(
        printed["final_fit"]["summary"]["test"]["rows"],
        printed["combined"]["test"]["rows"]
    );
    // Done is done, and a folder is not written to twice.
    crossval(&world, &["--out", out, "--resume"]).fails(&["done"]);
    crossval(&world, &["--out", out]).fails(&["already holds a run"]);
    // The recorded cross-validation can be run again.
    let toml = format!("{out}/run.toml");
    world
        .hone(&["crossval", "--config", &toml, "--out", "again"])
        .ok();
    assert!(world.read("again/oof.csv") == world.read(&format!("{out}/oof.csv")));
}

#[cfg(unix)]
#[test]
fn an_interrupted_cross_validation_goes_on_bit_for_bit() {
    let world = World::new();
    let options = ["--folds", "3", "--max-steps", "900", "--final-fit"];
    let with_out = |out: &'static str| [&options[..], &["--out", out]].concat();
    let said = crossval(&world, &with_out("whole")).ok();
    let steps = &world.json("whole/crossval.json")["final_fit"]["steps"];
    for part in [
        " of 400 rows in whole/suspects.csv",
        "of all labels are estimated to be wrong",
        &format!("model of all rows ({steps} steps ("),
        "its steps are the median",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let all = words(model, data, &with_out("broken"));
    let rest = world.interrupted(&all, "fold 2/3");
    assert!(rest.iter().any(|l| l.contains("--resume")), "{rest:?}");
    // As the last line says: what it was begun with is in the folder.
    world
        .hone(&["crossval", "--resume", "--out", "broken"])
        .ok();
    for name in ["oof.csv", "suspects.csv", "model.safetensors"] {
        let read = |folder: &str| world.read(&format!("{folder}/{name}"));
        assert!(read("whole") == read("broken"), "{name}");
    }
}

#[test]
fn groups_stay_together_and_every_task_runs() {
    let world = World::new();
    world.every_task();
    let model = fixture();
    for (file, metric, more) in [
        (
            "groups.csv",
            "accuracy",
            &["--group-column", "author", "--test", "groups.csv"][..],
        ),
        ("scores.csv", "pearson", &["--soup", "--valid", "none"]),
        ("sets.jsonl", "micro_f1", &[]),
        (
            "tags.conll",
            "entity_f1",
            &["--vote", "--test", "tags.conll"],
        ),
    ] {
        let out = file.split('.').next().unwrap();
        let usual = ["--folds", "3", "--epochs", "1", "--json", "--out", out];
        let all = [&usual[..], more].concat();
        let said = world.hone(&words(model.to_str().unwrap(), file, &all)).ok();
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert!(report["metrics"][metric]["mean"].is_number(), "{file}");
        let oof = cells(&world, &format!("{out}/oof.csv"));
        assert_eq!(oof.len(), 61, "{file}");
        let classes = file == "groups.csv";
        // Test texts that nothing is scored on.
        let unread = said.err.contains("test texts are scored by no model");
        assert_eq!(unread, classes, "{}", said.err);
        assert_eq!(report["suspects"].is_object(), classes, "{file}");
        if classes {
            let fold = |i: usize| &oof[1 + i][1];
            assert!((0..60).all(|i| fold(i) == fold(i / 4 * 4)));
        }
        if more.contains(&"--vote") {
            assert_eq!(report["combined"]["test"]["rows"], 60);
            assert!(world.path("tags/folds/1-3/model.safetensors").is_file());
        }
    }
}

#[test]
fn wrong_input_is_one_clear_line() {
    let world = World::new();
    for (more, says) in [
        (&["--folds", "1"][..], &["--folds 1", "at least 2"][..]),
        (&["--repeats", "0"], &["--repeats 0"]),
        (&["--folds", "500"], &["--folds 500", "only"]),
        (&["--vote"], &["--vote", "--test"]),
        (&["--calibrate"], &["--calibrate", "--final-fit"]),
        (
            &["--abstain-precision", "0.999", "--final-fit"],
            &["0.999 needs 2995 out-of-fold rows", "400"],
        ),
        (&["--group-column", "author"], &["author"]),
        (&["--resume"], &["--out"]),
        (&["--valid", "1.5"], &["--valid"]),
        (&["--lr", "-1"], &["--lr"]),
    ] {
        crossval(&world, more).fails(says);
    }
    assert_eq!(crossval(&world, &["--soup", "--vote"]).code, Some(2));
    world.hone(&["crossval", "--folds", "3"]).fails(&["--data"]);
    world.write("own.toml", "folds = \"many\"\n");
    crossval(&world, &["--config", "own.toml"]).fails(&["own.toml", "folds"]);
}

#[test]
fn two_models_are_compared_row_by_row() {
    let world = World::new();
    let data = fixture().join("train.csv");
    let data = data.to_str().unwrap();
    world.train(&["--max-steps", "1", "--out", "a"]).ok();
    world
        .train(&["--epochs", "20", "--lr", "2e-3", "--out", "b"])
        .ok();
    let flags = ["--data", data, "--json", "--out", "rows.csv"];
    let all = [&["compare", "a", "b"][..], &flags].concat();
    let found: Value = serde_json::from_str(&world.hone(&all).ok().out).unwrap();
    let count = |name: &str| found["shares"][name].as_u64().unwrap() as usize;
    assert_eq!(
        count("both") + count("only_a") + count("only_b") + count("neither"),
        400
    );
    let right = |side: &str| found[side]["accuracy"].as_f64().unwrap();
    let difference = found["shares"]["difference"].as_f64().unwrap();
    assert!((difference - (right("b") - right("a"))).abs() < 1e-12);
    let rows = cells(&world, "rows.csv");
    let of = |change: &str| rows.iter().filter(|r| r[1] == change).count();
    assert_eq!(
        (of("better"), of("worse")),
        (count("only_b"), count("only_a"))
    );
    assert!(of("better") > 0);
    for row in &rows[1..] {
        assert_ne!(row[3], row[4]);
        assert_eq!(row[1] == "better", row[2] == row[4]);
    }
    // A model beside itself differs nowhere.
    let same = ["compare", "a", "a", "--data", data];
    let told = world.hone(&same).ok();
    assert!(told.out.contains("exact p = 1.000"), "{}", told.out);
    world
        .hone(&["compare", "a", "nowhere", "--data", data])
        .fails(&["nowhere"]);
    world.write(
        "scores.csv",
        "text,score\nfilm,0.5\nactor,1.5\nplot,2.5\nmusic,3.5\n",
    );
    let model = fixture();
    world
        .hone(&[
            "train",
            "--model",
            model.to_str().unwrap(),
            "--data",
            "scores.csv",
            "--valid",
            "none",
            "--max-steps",
            "2",
            "--out",
            "c",
        ])
        .ok();
    world
        .hone(&["compare", "a", "c", "--data", data])
        .fails(&["another task"]);
    let told = world
        .hone(&["compare", "c", "c", "--data", "scores.csv"])
        .ok();
    assert!(
        told.out.contains("pearson, B minus A: +0.0000"),
        "{}",
        told.out
    );
}

/// What becomes of a folder's own validation file is said once, with the reason.
#[test]
fn a_validation_file_that_no_fold_reads_is_told() {
    let world = World::new();
    world.reviews();
    for name in ["set/train.csv", "set/valid.csv"] {
        world.write(name, world.read("reviews.csv"));
    }
    let folds = "each fold selects by a part of its own training texts";
    for (out, valid, why) in [
        ("usual", None, folds),
        ("part", Some("0.2"), folds),
        ("none", Some("none"), "--valid was given"),
    ] {
        let mut more = vec!["--folds", "2", "--max-steps", "2", "--out", out];
        more.extend(valid.iter().flat_map(|valid| ["--valid", valid]));
        let model = fixture();
        let said = world
            .hone(&words(model.to_str().unwrap(), "set", &more))
            .ok();
        let told: Vec<&str> = said
            .err
            .lines()
            .filter(|l| l.contains("is not read"))
            .collect();
        assert_eq!(told.len(), 1, "{out}: {told:?}");
        assert!(
            told[0].contains("valid.csv is not read: ") && told[0].contains(why),
            "{told:?}"
        );
    }
}
