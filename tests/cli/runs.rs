//! Whole runs: what they leave, and that threads do not matter.

use crate::world::{World, fixture, said};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

#[test]
fn train_leaves_a_model_folder_that_eval_and_predict_use() {
    let world = World::new();
    let test = fixture().join("train.csv");
    let test = test.to_str().unwrap();
    let json = world
        .train(&["--epochs", "2", "--test", test, "--json", "--valid", "0.25"])
        .ok();
    let printed: Value = serde_json::from_str(&json.out).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "run.toml",
        "metrics.jsonl",
        "summary.json",
    ] {
        assert!(world.path("runs/latest").join(name).is_file(), "{name}");
    }
    assert!(!world.path("runs/latest/checkpoints").exists());
    let summary = world.json("runs/latest/summary.json");
    assert_eq!(summary, printed);
    assert_eq!(summary["steps"], 20);
    assert_eq!(summary["valid"]["rows"], 100);
    assert_eq!(summary["valid"]["used_for_selection"], false);
    assert_eq!(summary["test"]["rows"], 400);
    // A leak between train and test is a warning that names rows.
    assert!(
        json.err.contains("warning:") && json.err.contains("lines"),
        "{}",
        json.err
    );
    // The same texts, read again by eval.
    let eval = world.hone(&["eval", "--data", test, "--json"]).ok();
    let eval: Value = serde_json::from_str(&eval.out).unwrap();
    for key in ["accuracy", "macro_f1", "loss", "rows"] {
        assert_eq!(eval[key], summary["test"][key], "{key}");
    }
    // Of a folder its test part, else its validation part, and it says which.
    for (file, says) in [
        ("set/dev.csv", "dev.csv: the folder's validation texts"),
        ("set/test.csv", "test.csv: the folder's test texts"),
    ] {
        world.write(file, std::fs::read(test).unwrap());
        let read = world.hone(&["eval", "--data", "set", "--json"]).ok();
        assert!(read.err.contains(says), "{}", read.err);
        let read: Value = serde_json::from_str(&read.out).unwrap();
        assert_eq!(read["loss"], eval["loss"]);
    }
    let told = world
        .hone(&["predict", "a bright film", "the dull and weak plot"])
        .ok();
    let lines: Vec<Value> = told
        .out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let probabilities = line["probabilities"].as_object().unwrap();
        let names: Vec<&str> = probabilities.keys().map(String::as_str).collect();
        assert_eq!(names, ["bad", "fair", "good"]);
        let total: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert!(names.contains(&line["label"].as_str().unwrap()));
        assert_eq!(line["truncated_tokens"], 0);
    }
    // Standard input, a text a line: rows are its lines.
    let mut child = world
        .command(&["predict", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"a bright film\r\n\nthe dull and weak plot")
        .unwrap();
    drop(input);
    let piped = said(child.wait_with_output().unwrap()).ok().out;
    let answers = piped
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    for ((answer, line), row) in answers.zip(&lines).zip([1, 3]) {
        assert_eq!(answer["row"], row);
        for key in ["text", "label", "probabilities"] {
            assert_eq!(answer[key], line[key], "{key}");
        }
    }
    // Line by line: an answer comes before the next text is there.
    let mut child = world
        .command(&["predict", "--stream", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in piped.lines() {
        let text = serde_json::from_str::<Value>(line).unwrap()["text"].clone();
        writeln!(input, "{}", text.as_str().unwrap()).unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), line);
        if text == "a bright film" {
            // What cannot be answered is told in its place: who wrote a line waits for one.
            input.write_all(b"\n").unwrap();
            let answer = answers.next().unwrap().unwrap();
            assert_eq!(answer, r#"{"row":2,"error":"an empty text"}"#);
        }
    }
    input.write_all(b"a \xff film\n").unwrap();
    let answer = answers.next().unwrap().unwrap();
    assert_eq!(answer, r#"{"row":4,"error":"not valid UTF-8"}"#);
    drop(input);
    assert!(answers.next().is_none() && child.wait().unwrap().success());
    world
        .hone(&["predict", "--stream", "a film"])
        .fails(&["--stream", "give -"]);
    world.write("texts.txt", "a bright film\r\n\nthe dull and weak plot\n");
    let told = world.hone(&["predict", "--data", "texts.txt"]).ok().out;
    assert_eq!(told, piped);
    // Every line of the log is one event.
    let log = String::from_utf8(world.read("runs/latest/metrics.jsonl")).unwrap();
    let steps = log
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    assert_eq!(steps.filter(|e| e["event"] == "step").count(), 20);
}

/// Figures of the very rows that were learnt are told apart from a measurement, and a run without any says what to do.
#[test]
fn figures_of_the_training_rows_are_no_measure() {
    let world = World::new();
    let said = world
        .train(&["--max-steps", "2", "--valid", "none"])
        .ok()
        .err;
    for words in [
        "not measured",
        "hone crossval --model",
        "hone eval --data FILE",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let data = fixture().join("train.csv");
    let eval = |data: &str, more: &[&str]| {
        let all = [&["eval", "--data", data], more].concat();
        world.hone(&all)
    };
    let said = eval(data.to_str().unwrap(), &[]).ok();
    assert!(said.err.contains("was trained on"), "{}", said.err);
    assert!(said.err.contains("precision"), "{}", said.err);
    eval(data.to_str().unwrap(), &["--strict"]).fails(&["was trained on", "--strict"]);
    let others = String::from_utf8(std::fs::read(&data).unwrap()).unwrap();
    let others: Vec<&str> = others.lines().take(9).collect();
    world.write("others.csv", others.join("\n") + "\n");
    let said = eval("others.csv", &[]).ok().err;
    assert!(!said.contains("was trained on"), "{said}");
}

#[test]
fn eval_cuts_texts_as_training_did() {
    let world = World::new();
    let test = fixture().join("train.csv");
    let test = test.to_str().unwrap();
    let cut = ["--max-length", "5", "--truncate", "tail"];
    let train = ["--max-steps", "40", "--lr", "1e-3", "--test", test];
    world.train(&[&train[..], &cut].concat()).ok();
    let trained = world.json("runs/latest/summary.json")["test"]["loss"].clone();
    let loss = |words: &[&str]| {
        let all = [&["eval", "--data", test, "--json"], words].concat();
        let said = world.hone(&all).ok();
        let object: Value = serde_json::from_str(&said.out).unwrap();
        (object["loss"].clone(), said.err)
    };
    let (same, said) = loss(&[]);
    assert_eq!(same, trained);
    assert!(said.contains("at most 5 word pieces"), "{said}");
    assert_ne!(loss(&["--truncate", "head"]).0, trained);
    assert_ne!(loss(&["--max-length", "7"]).0, trained);
    // transformers is told, and so is Hone where the run's record is gone.
    let config = world.json("runs/latest/tokenizer_config.json");
    assert_eq!(config["model_max_length"], 5);
    assert_eq!(config["truncation_side"], "left");
    assert_eq!(config["do_lower_case"], true);
    std::fs::remove_file(world.path("runs/latest/run.toml")).unwrap();
    let (same, said) = loss(&["--max-length", "5"]);
    assert_eq!(same, trained);
    assert!(said.contains("tokenizer_config.json"), "{said}");
}

#[test]
fn the_recorded_run_can_be_run_again() {
    let world = World::new();
    world
        .train(&[
            "--max-steps",
            "7",
            "--lr",
            "3e-4",
            "--out",
            "one",
            "--clip",
            "0",
            "--layer-decay",
            "0.9",
        ])
        .ok();
    let toml = String::from_utf8(world.read("one/run.toml")).unwrap();
    assert!(toml.contains("lr = 0.0003"), "{toml}");
    world
        .hone(&["train", "--config", "one/run.toml", "--out", "two"])
        .ok();
    assert!(world.read("one/model.safetensors") == world.read("two/model.safetensors"));
}

#[test]
fn threads_do_not_change_a_bit() {
    let world = World::new();
    for threads in ["1", "2", "3"] {
        world
            .train(&["--max-steps", "30", "--threads", threads, "--out", threads])
            .ok();
    }
    for threads in ["2", "3"] {
        let file = format!("{threads}/model.safetensors");
        assert!(
            world.read("1/model.safetensors") == world.read(&file),
            "{threads} threads"
        );
    }
}

/// What the head dropped in training is what the saved model says, whatever the model it came from said.
#[test]
fn the_heads_dropout_is_saved_where_it_is_another() {
    let world = World::new();
    let data = world.reviews();
    let model = world.model("source");
    let config = String::from_utf8(world.read("source/config.json")).unwrap();
    let with = config.replace(
        "\"classifier_dropout\": null",
        "\"classifier_dropout\": 0.3",
    );
    world.write("source/config.json", with);
    let model = model.to_str().unwrap();
    for (out, flags, saved) in [
        ("kept", &[][..], Some(0.3)),
        ("given", &["--head-dropout", "0.2"], Some(0.2)),
        ("same", &["--dropout", "0.1"], None),
    ] {
        let all = [
            "train",
            "--model",
            model,
            "--data",
            data,
            "--max-steps",
            "1",
            "--out",
            out,
        ];
        let words = [&all[..], flags].concat();
        said(world.command(&words).output().unwrap()).ok();
        let config = world.json(&format!("{out}/config.json"));
        let found = config.get("classifier_dropout").and_then(|p| p.as_f64());
        assert_eq!(found, saved, "{out}");
        assert!(
            saved.is_some() || config.get("classifier_dropout").is_none(),
            "{out}"
        );
    }
}

#[test]
fn cached_outputs_of_frozen_layers_change_no_bit() {
    let world = World::new();
    // Embeddings and the first layer are frozen; then everything below the head.
    for (freeze, extra) in [("0", "0.2"), ("all", "0")] {
        let run = |out: &str, cache: &[&str]| {
            let shared = [
                "--epochs",
                "3",
                "--freeze",
                freeze,
                "--attention-dropout",
                extra,
                "--max-tokens",
                "100",
                "--valid",
                "0.2",
                "--out",
                out,
            ];
            world.train(&[&shared[..], cache].concat()).ok()
        };
        let (plain, cached) = (format!("{freeze}-plain"), format!("{freeze}-cached"));
        run(&plain, &[]);
        let said = run(&cached, &["--cache-frozen"]).err;
        assert!(said.contains("outputs of frozen layers"), "{said}");
        let file = |out: &str| world.read(&format!("{out}/model.safetensors"));
        assert!(file(&plain) == file(&cached), "--freeze {freeze}");
        let valid = |out: &str| world.json(&format!("{out}/summary.json"))["valid"].clone();
        assert!(valid(&plain).is_object() && valid(&plain) == valid(&cached));
    }
    let nothing = world.train(&["--cache-frozen", "--out", "none"]);
    nothing.fails(&["--cache-frozen", "the embeddings are trained"]);
}

/// `runs/latest` is a run that has a model, whatever else was begun since.
#[cfg(unix)]
#[test]
fn the_latest_run_is_one_that_has_a_model() {
    let world = World::new();
    let latest = || std::fs::read_link(world.path("runs/latest")).unwrap();
    world.train(&["--max-steps", "2"]).ok();
    let first = latest();
    world
        .train(&["--freeze", "0", "--cache-frozen", "--r-drop", "1"])
        .fails(&["--r-drop"]);
    assert_eq!(latest(), first);
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let words = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--max-steps",
        "1500",
    ];
    let said = world.interrupted(&words, "step 1/");
    assert_eq!(latest(), first);
    let predict = || world.hone(&["predict", "a bright film"]).ok().err;
    let named = format!("model: runs/{} (runs/latest)", first.display());
    assert!(predict().contains(&named));
    // The command that is printed goes on as it stands, and what it leaves is the newest model.
    let hint = said.last().unwrap();
    let (_, command) = hint.split_once("go on with: hone ").expect(hint);
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[..3], ["train", "--resume", "--out"], "{hint}");
    let resumed = world.hone(&words).ok().err;
    assert!(resumed.contains("step 1500/1500"), "{resumed}");
    assert_eq!(Path::new("runs").join(latest()), Path::new(words[3]));
    world.hone(&words).fails(&["done"]);
    let first = latest();
    world.train(&["--max-steps", "2"]).ok();
    assert_ne!(latest(), first);
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = World::new();
    let mut child = world
        .command(&["bench", "--batch", "1", "--length", "4", "--steps", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = said(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(!done.err.contains("panicked"), "{}", done.err);
}

#[test]
fn a_measurement_takes_lengths_from_a_file_and_stretches_of_steps() {
    let world = World::new();
    let words = "bench --batch 2 --steps 1 --lengths lengths.txt --back-to-back 2 --json";
    let words: Vec<&str> = words.split(' ').collect();
    world.write("lengths.txt", "3\n9\n\n");
    world.hone(&words).fails(&["line 3", "word pieces"]);
    // Two steps of two texts of 3 and 9 word pieces: 12 a step.
    world.write("lengths.txt", "3\n9\n");
    let found: Value = serde_json::from_str(&world.hone(&words).ok().out).unwrap();
    let (rate, ms) = (&found["tokens_per_s"], &found["ms"]["total"]);
    let tokens = rate.as_f64().unwrap() * ms.as_f64().unwrap() / 1e3;
    assert!((tokens - 12.0).abs() < 1e-6, "{found}");
    assert!(found["ms"]["forward"].is_null() && found["length"].is_null());
}

#[test]
fn pairs_tags_numbers_and_sets_of_labels_all_run() {
    let world = World::new();
    let words = [
        "film", "actor", "plot", "music", "slow", "bright", "dull", "warm",
    ];
    let text = |i: usize| {
        format!(
            "{} {} {}",
            words[i % 8],
            words[(i / 2) % 8],
            words[(i / 3) % 8]
        )
    };
    let mut pairs = String::from("sentence1,sentence2,label\n");
    let mut scores = String::from("text,score\n");
    let mut sets = String::new();
    let mut tags = String::new();
    for i in 0..40 {
        pairs += &format!("{},{},{}\n", text(i), text(i + 1), i % 2);
        scores += &format!("{},{}\n", text(i), i as f64 / 7.0);
        sets += &format!(
            "{{\"text\": \"{}\", \"labels\": [{}]}}\n",
            text(i),
            ["", "\"a\"", "\"a\", \"b\""][i % 3]
        );
        tags += &format!(
            "{}\tO\n{}\tB-x\n{}\tI-x\n\n",
            words[i % 8],
            words[(i + 1) % 8],
            words[(i + 2) % 8]
        );
    }
    world.write("pairs.csv", pairs);
    world.write("scores.csv", scores);
    world.write("sets.jsonl", sets);
    world.write("tags.conll", tags);
    let model = fixture();
    for (file, says) in [
        ("pairs.csv", "accuracy"),
        ("scores.csv", "pearson"),
        ("sets.jsonl", "micro_f1"),
        ("tags.conll", "entity_f1"),
    ] {
        let out = file.split('.').next().unwrap();
        let trained = world
            .hone(&[
                "train",
                "--model",
                model.to_str().unwrap(),
                "--data",
                file,
                "--epochs",
                "1",
                "--out",
                out,
                "--json",
            ])
            .ok();
        let summary: Value = serde_json::from_str(&trained.out).unwrap();
        assert!(
            summary["valid"][says].is_number(),
            "{file}: {}",
            summary["valid"]
        );
        let told = world
            .hone(&["predict", "--model", out, "--data", file])
            .ok();
        assert_eq!(told.out.lines().count(), 40, "{file}");
        world.hone(&["eval", "--model", out, "--data", file]).ok();
    }
    // A model knows whether it was trained on pairs.
    let warned = |model: &str, texts: &[&str]| {
        let words = [&["predict", "--model", model], texts].concat();
        let told = world.hone(&words).ok().err;
        told.contains("warning: this model was trained on")
    };
    assert!(warned("pairs", &["a film"]) && !warned("pairs", &["--data", "pairs.csv"]));
    assert!(warned("sets", &["--data", "pairs.csv"]) && !warned("sets", &["a film"]));
    let mixed = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        "scores.csv",
        "--task",
        "classify",
        "--test",
        "pairs.csv",
    ];
    let said = "the training part holds single texts, but the test part pairs";
    assert!(world.hone(&mixed).ok().err.contains(said));
}

/// One empty text costs the others nothing, and has a line in its place.
#[test]
fn empty_texts_of_a_file_are_told_in_their_place() {
    let world = World::new();
    world.train(&["--max-steps", "2", "--out", "run"]).ok();
    let rows = |texts: &[&str]| "text\n".to_owned() + &texts.join("\n") + "\n";
    world.write("some.csv", rows(&["a film", "\" \"", "a plot", "\"\""]));
    world.write("none.csv", rows(&["\" \"", "\"\""]));
    let predict = |file: &str| world.hone(&["predict", "--model", "run", "--data", file]);
    let said = predict("some.csv").ok();
    let answers: Vec<Value> = said
        .out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let rows: Vec<u64> = answers.iter().map(|a| a["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 3, 4, 5]);
    let told: Vec<bool> = answers
        .iter()
        .map(|a| a["error"] == "an empty text")
        .collect();
    assert_eq!(told, [false, true, false, true]);
    assert!(
        said.err
            .contains("warning: empty texts, which have no answer: 2"),
        "{}",
        said.err
    );
    predict("none.csv").fails(&["every text is empty"]);
}
