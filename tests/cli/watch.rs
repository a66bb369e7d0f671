//! Rows worth reading, abstention and the collapse guard, as a user meets them.

use crate::world::{World, fixture};
use serde_json::Value;
use std::collections::BTreeMap;

/// Rows of a CSV file by column name.
fn table(bytes: &[u8]) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(bytes)
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

fn number(row: &BTreeMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap()
}

fn lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The two largest probabilities of a line of predict.
fn two_best(line: &Value) -> (f64, f64) {
    let all = line["probabilities"].as_object().unwrap().values();
    let mut p: Vec<f64> = all.map(|p| p.as_f64().unwrap()).collect();
    p.sort_by(|a, b| b.total_cmp(a));
    (p[0], p[1])
}

/// The lists of train and of eval beside what predict says of the same texts.
#[test]
fn wrong_and_uncertain_rows_are_listed() {
    let world = World::new();
    let data = fixture().join("train.csv");
    let data = data.to_str().unwrap();
    let said = world
        .train(&[
            "--epochs", "4", "--lr", "1e-3", "--valid", "0.25", "--test", data, "--out", "run",
        ])
        .ok();
    let summary = world.json("run/summary.json");
    let told = world
        .hone(&["predict", "--model", "run", "--data", data])
        .ok();
    let told = lines(&told.out);
    let gold = table(&std::fs::read(data).unwrap());

    let errors = table(&world.read("run/errors.csv"));
    let wrong: Vec<usize> = (0..400)
        .filter(|&i| told[i]["label"] != gold[i]["label"][..])
        .collect();
    let accuracy = summary["test"]["accuracy"].as_f64().unwrap();
    assert_eq!(wrong.len(), (400.0 * (1.0 - accuracy)).round() as usize);
    assert!(!wrong.is_empty(), "nothing to list");
    assert_eq!(errors.len(), wrong.len());
    let mut before = 1.0;
    for row in &errors {
        let i = told
            .iter()
            .position(|l| l["row"].as_u64() == row["row"].parse().ok())
            .unwrap();
        assert!(wrong.contains(&i));
        assert_eq!(row["label"], gold[i]["label"]);
        assert_eq!(row["text"], gold[i]["text"]);
        assert_eq!(told[i]["label"], row["answer"][..]);
        let p = number(row, "probability");
        assert!((p - two_best(&told[i]).0).abs() < 1e-12 && p <= before);
        before = p;
    }

    let uncertain = table(&world.read("run/uncertain.csv"));
    assert_eq!(uncertain.len(), 100);
    let mut margins: Vec<f64> = told.iter().map(|l| two_best(l).0 - two_best(l).1).collect();
    margins.sort_by(f64::total_cmp);
    for (row, margin) in uncertain.iter().zip(margins) {
        assert!((number(row, "margin") - margin).abs() < 1e-12);
    }
    assert_eq!(summary["listed"]["part"], "test");
    assert_eq!(summary["listed"]["errors"], errors.len());
    for words in [
        "most confident errors",
        "least certain answers",
        "run/errors.csv",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }

    world
        .hone(&[
            "eval",
            "--model",
            "run",
            "--data",
            data,
            "--errors",
            "e.csv",
            "--uncertain",
            "u.csv",
        ])
        .ok();
    assert!(world.read("e.csv") == world.read("run/errors.csv"));
    assert!(world.read("u.csv") == world.read("run/uncertain.csv"));
}

#[test]
fn values_have_errors_and_no_uncertainty() {
    let world = World::new();
    let words = [
        "film", "actor", "plot", "music", "slow", "bright", "dull", "warm",
    ];
    let mut scores = String::from("text,score\n");
    for i in 0..60 {
        scores += &format!("{} {},{}\n", words[i % 8], words[i / 8], i as f64 / 7.0);
    }
    world.write("scores.csv", scores);
    let model = fixture();
    let model = model.to_str().unwrap();
    world
        .hone(&[
            "train",
            "--model",
            model,
            "--data",
            "scores.csv",
            "--epochs",
            "1",
            "--out",
            "run",
        ])
        .ok();
    let errors = table(&world.read("run/errors.csv"));
    let off = |row: &BTreeMap<String, String>| (number(row, "label") - number(row, "answer")).abs();
    assert_eq!(errors.len(), 6, "the validation rows");
    for pair in errors.windows(2) {
        assert!(off(&pair[0]) >= off(&pair[1]));
    }
    assert!(
        errors
            .iter()
            .all(|row| (off(row) - number(row, "error")).abs() < 1e-5)
    );
    assert!(!world.path("run/uncertain.csv").exists());
    world
        .hone(&[
            "eval",
            "--model",
            "run",
            "--data",
            "scores.csv",
            "--uncertain",
            "u.csv",
        ])
        .fails(&["--uncertain", "--errors"]);
    world
        .hone(&[
            "predict",
            "--model",
            "run",
            "--data",
            "scores.csv",
            "--abstain",
        ])
        .fails(&["--abstain", "one class each"]);
}

/// Sets of labels and tagged words: a row is wrong where any of its answers is.
#[test]
fn sets_and_tags_are_listed_too() {
    let world = World::new();
    let words = ["film", "actor", "plot", "music", "slow", "bright", "dull"];
    let (mut sets, mut tags) = (String::new(), String::new());
    for i in 0..49 {
        let labels = ["", "\"a\"", "\"a\", \"b\""][i % 3];
        let (one, two) = (words[i % 7], words[i / 7]);
        sets += &format!("{{\"text\": \"{one} {two}\", \"labels\": [{labels}]}}\n");
        tags += &format!("{one}\t{}\n{two}\tO\n\n", ["O", "B-x"][i % 2]);
    }
    world.write("sets.jsonl", sets);
    world.write("tags.conll", tags);
    let model = fixture();
    for (file, out, key, gap) in [
        ("sets.jsonl", "s", "labels", "|"),
        ("tags.conll", "t", "tags", " "),
    ] {
        let train = ["train", "--model", model.to_str().unwrap(), "--data", file];
        let recipe = [
            "--epochs", "2", "--valid", "0.2", "--lr", "1e-3", "--out", out,
        ];
        world.hone(&[&train[..], &recipe].concat()).ok();
        let lists = ["--errors", "e.csv", "--uncertain", "u.csv"];
        world
            .hone(&[&["eval", "--model", out, "--data", file], &lists[..]].concat())
            .ok();
        let told = world
            .hone(&["predict", "--model", out, "--data", file])
            .ok();
        let errors = table(&world.read("e.csv"));
        let mut wrong = errors.iter().map(|row| (row["row"].clone(), row));
        let mut found = 0;
        let by_row: BTreeMap<String, _> = wrong.by_ref().collect();
        for (i, line) in lines(&told.out).iter().enumerate() {
            let said = line[key].as_array().unwrap().iter();
            let said: Vec<&str> = said.map(|l| l.as_str().unwrap()).collect();
            let gold = match key {
                "labels" => ["", "a", "a|b"][i % 3].to_owned(),
                _ => format!("{} O", ["O", "B-x"][i % 2]),
            };
            match by_row.get(&line["row"].to_string()) {
                None => assert_eq!(said.join(gap), gold, "{file} {line}"),
                Some(row) => {
                    found += 1;
                    assert_ne!(said.join(gap), gold);
                    assert_eq!((&row["label"], &row["answer"]), (&gold, &said.join(gap)));
                    assert!(number(row, "probability") >= 0.5);
                }
            }
        }
        assert_eq!(found, errors.len(), "{file}");
        assert!(found > 0, "{file}");
        assert_eq!(table(&world.read("u.csv")).len(), 49);
    }
}

#[test]
fn abstention_is_found_kept_and_used() {
    let world = World::new();
    // The first word tells the label, but for one row in eight.
    let words = [
        "film", "actor", "plot", "music", "cold", "plain", "rare", "short",
    ];
    let mut texts = String::from("text,label\n");
    for i in 0..512 {
        let bright = (i + usize::from(i % 8 == 3)) % 2 == 0;
        texts += &format!(
            "{} {} {} {},{}\n",
            ["bright", "dull"][i % 2],
            words[i / 2 % 8],
            words[i / 16 % 8],
            words[i / 128 + i % 2],
            if bright { "good" } else { "bad" }
        );
    }
    world.write("texts.csv", texts);
    let (model, data) = (fixture(), "texts.csv");
    let recipe = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        data,
        "--epochs",
        "6",
        "--batch-size",
        "8",
        "--lr",
        "3e-3",
        "--head-lr",
        "3e-3",
        "--valid",
        "0.5",
        "--test",
        data,
    ];
    let with = |more: &[&'static str]| world.hone(&[&recipe[..], more].concat());
    let said = with(&["--out", "run", "--abstain-precision", "0.6"]).ok();
    assert!(
        said.err.contains("0.6 of the answers are right"),
        "{}",
        said.err
    );
    let rule = world.json("run/config.json")["hone_abstain"].clone();
    let above = rule["above"].as_f64().unwrap();
    let found = world.json("run/summary.json")["abstention"].clone();
    assert_eq!(found["rule"], rule);
    assert_eq!(rule["rows"], found["held_out"]["rows"]);
    assert!(found["lower_bound"].as_f64().unwrap() >= 0.6, "{found}");

    let told = world
        .hone(&["predict", "--model", "run", "--data", data, "--abstain"])
        .ok();
    let told = lines(&told.out);
    let mut given = 0;
    for line in &told {
        let sure = two_best(line).0 > above;
        assert_eq!(line["abstained"], !sure);
        assert_eq!(line["label"].is_null(), !sure);
        given += usize::from(sure);
    }
    assert_eq!(found["test"]["answered"], given);
    let eval = world
        .hone(&[
            "eval",
            "--model",
            "run",
            "--data",
            data,
            "--abstain",
            "--json",
        ])
        .ok();
    let eval: Value = serde_json::from_str(&eval.out).unwrap();
    for key in ["answered", "right", "coverage", "precision"] {
        assert_eq!(eval["abstention"][key], found["test"][key], "{key}");
    }

    // Nobody asked for it: nothing is recorded, not even from the model this one began with, and the weights are the same.
    let next = [
        "--model",
        "run",
        "--data",
        data,
        "--max-steps",
        "1",
        "--out",
        "next",
    ];
    world.hone(&[&["train"], &next[..]].concat()).ok();
    assert!(world.json("next/config.json").get("hone_abstain").is_none());
    with(&["--out", "plain"]).ok();
    assert!(world.read("plain/model.safetensors") == world.read("run/model.safetensors"));
    world
        .hone(&["predict", "--model", "plain", "--abstain", "a film"])
        .fails(&["--abstain-precision"]);
    with(&["--out", "a", "--abstain-precision", "0.999"]).fails(&["validation rows", "0.999"]);
    with(&["--out", "b", "--abstain-precision", "1.2"]).fails(&["--abstain-precision"]);
    let (model, words) = (
        fixture(),
        ["--data", data, "--folds", "2", "--abstain-precision", "0.9"],
    );
    world
        .hone(
            &[
                &["crossval", "--model", model.to_str().unwrap()],
                &words[..],
            ]
            .concat(),
        )
        .fails(&["--abstain-precision", "--final-fit"]);
}

#[test]
fn a_collapse_is_told_and_mended() {
    let world = World::new();
    let hopeless = ["--max-steps", "50", "--lr", "1e-9", "--head-lr", "1e-9"];
    let with = |more: &[&'static str]| world.train(&[&hopeless[..], more].concat()).ok();
    let said = with(&["--out", "warn"]).err;
    assert!(
        said.contains("warning: collapsed: the training loss of steps 13 to 25"),
        "{said}"
    );
    let said = with(&["--out", "again", "--collapse-guard", "restart"]).err;
    assert!(
        said.contains("the run begins anew with rate 2.50e-10"),
        "{said}"
    );
    let restart = world.json("again/summary.json")["restart"].clone();
    assert_eq!(restart["warmup"], 10);
    assert!(world.json("warn/summary.json").get("restart").is_none());
    // The log has both tries; the recorded run collapses and begins anew as this one did.
    let log = String::from_utf8(world.read("again/metrics.jsonl")).unwrap();
    assert_eq!(log.matches("\"event\":\"step\"").count(), 25 + 50);
    assert_eq!(log.matches("\"event\":\"collapsed\"").count(), 2);
    world
        .hone(&["train", "--config", "again/run.toml", "--out", "twice"])
        .ok();
    assert!(world.read("again/model.safetensors") == world.read("twice/model.safetensors"));
    // Of a cross-validation each fold decides for itself.
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let folds = [
        "crossval",
        "--folds",
        "2",
        "--out",
        "folds",
        "--collapse-guard",
        "restart",
    ];
    let files = [
        "--model",
        model.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ];
    world.hone(&[&folds[..], &hopeless, &files].concat()).ok();
    let folds = world.json("folds/crossval.json")["per_fold"].clone();
    for fold in folds.as_array().unwrap() {
        assert_eq!(fold["restart"]["warmup"], 10, "{fold}");
    }
    let said = with(&["--out", "off", "--collapse-guard", "off"]).err;
    assert!(!said.contains("collapsed"), "{said}");
    assert!(world.read("off/model.safetensors") == world.read("warn/model.safetensors"));
}
