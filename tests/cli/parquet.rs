//! A data set of the Hugging Face hub, as it comes, through every verb that reads texts.

use crate::world::{World, fixture};
use std::fs;

/// The fixtures of the reader: two shards of training texts and one of test texts in `set/plain_text`.
fn hub(world: &World) {
    let from = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/data/fixtures/parquet/imdb"
    );
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        world.write(
            &format!("set/plain_text/{name}"),
            fs::read(entry.path()).unwrap(),
        );
    }
    world.write("set/README.md", "# The card\n");
}

const TRAIN: &str = "set/plain_text/train-00000-of-00002.parquet";
const TEST: &str = "set/plain_text/test-00000-of-00001.parquet";

#[test]
fn a_data_set_of_the_hub_through_all_verbs() {
    let world = World::new();
    hub(&world);
    let model = fixture();
    let model = model.to_str().unwrap();
    let run = [
        "--model", model, "--epochs", "1", "--valid", "none", "--data", "set",
    ];
    let told = world
        .hone(&[&["train", "--out", "own"][..], &run].concat())
        .ok();
    for words in [
        "other files, not read: README.md, unsupervised-00000-of-00001.parquet",
        "labels that are numbers are named by the file (its ClassLabel label), 0 being \"neg\"",
        "counted through all 2 shards",
    ] {
        assert!(
            told.err.contains(words),
            "{words:?} is not in:\n{}",
            told.err
        );
    }
    assert_eq!(world.json("own/config.json")["id2label"]["0"], "neg");
    let summary = world.json("own/summary.json");
    assert_eq!(summary["test"]["rows"], 2);
    // The figure of the run is the figure of the file.
    let told = world
        .hone(&["eval", "--model", "own", "--data", TEST, "--json"])
        .ok();
    let eval: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(eval["loss"], summary["test"]["loss"]);
    let told = world
        .hone(&["predict", "--model", "own", "--data", TEST])
        .ok();
    assert_eq!(told.out.lines().count(), 2);
    assert!(
        told.out
            .contains("\"row\":2,\"text\":\"three film number 1, seen twice\""),
        "{}",
        told.out
    );
    let told = world.hone(&["inspect", TRAIN]).ok();
    assert!(
        told.out.starts_with("5 rows\n") && told.out.contains("pos"),
        "{}",
        told.out
    );

    // Validation texts are split off, and folds made.
    world
        .hone(&[
            "train",
            "--model",
            model,
            "--data",
            "set",
            "--valid",
            "0.4",
            "--max-steps",
            "1",
            "--out",
            "split",
        ])
        .ok();
    assert_eq!(world.json("split/summary.json")["valid"]["rows"], 2);
    world
        .hone(&[
            "crossval",
            "--folds",
            "2",
            "--model",
            model,
            "--data",
            "set",
            "--max-steps",
            "1",
            "--valid",
            "none",
        ])
        .ok();
}

#[test]
fn what_is_written_of_parquet_is_json_lines() {
    let world = World::new();
    hub(&world);
    let told = world
        .hone(&["check", "--data", "set", "--fix", "clean"])
        .ok();
    assert!(
        told.err
            .contains("what was Parquet is written as JSON lines (.jsonl)"),
        "{}",
        told.err
    );
    let train = String::from_utf8(world.read("clean/train.jsonl")).unwrap();
    assert_eq!(train.lines().count(), 5);
    assert!(
        train.starts_with("{\"text\":\"one film number 0, seen twice\",\"label\":\"neg\"}\n"),
        "{train}"
    );
    assert!(world.path("clean/test.jsonl").exists());

    let augment = [
        "augment",
        "--data",
        TRAIN,
        "--augment",
        "swap",
        "--copies",
        "1",
        "--out",
    ];
    world
        .hone(&[&augment[..], &["b.parquet"]].concat())
        .fails(&["b.parquet: copies of a Parquet file are written as JSON lines; give a name that ends in .jsonl"]);
    assert!(!world.path("b.parquet").exists());
    world.hone(&[&augment[..], &["b.jsonl"]].concat()).ok();
    let copies = String::from_utf8(world.read("b.jsonl")).unwrap();
    assert_eq!(
        copies
            .lines()
            .filter(|l| l.ends_with("\"label\":\"pos\"}"))
            .count(),
        6
    );
}

#[test]
fn what_cannot_be_is_one_line() {
    let world = World::new();
    hub(&world);
    let check = |data: &str, words: &[&str]| {
        let told = world.hone(&["check", "--data", data]).fails(words);
        assert_eq!(told.err.lines().count(), 1, "{}", told.err);
    };
    let cut = world.read(TRAIN)[..700].to_vec();
    world.write("cut.parquet", &cut);
    check(
        "cut.parquet",
        &["cut.parquet: the file is cut off: after 700 bytes"],
    );
    world.write("a.parquet", "text,label\na,1\n");
    check("a.parquet", &["a.parquet: not a Parquet file"]);
    // A page that the decoder stumbles over.
    let mut spoilt = world.read(TEST);
    for at in 0..600 {
        spoilt[at] ^= 0x55;
    }
    spoilt[..4].copy_from_slice(b"PAR1");
    world.write("spoilt.parquet", &spoilt);
    check("spoilt.parquet", &["spoilt.parquet: the file is damaged"]);
    world.write("set/plain_text/labels.txt", "bad\ngood\n");
    world
        .hone(&["check", "--data", "set"])
        .fails(&["names its classes neg, pos and labels.txt beside it names them bad, good"]);
    fs::remove_file(world.path("set/plain_text/train-00001-of-00002.parquet")).unwrap();
    check(
        "set",
        &["train-00001-of-00002.parquet is not here, and the 2 shards are one part"],
    );
    check(TRAIN, &["train-00001-of-00002.parquet is not here"]);
    world.write("set/data/train-00000-of-00001.parquet", "x");
    check(
        "set",
        &["in several folders: data, plain_text; name one of them"],
    );
}
