//! `hone augment` and `--augment`: what they write, that runs with it repeat bit for bit, and what they refuse.

use crate::world::{World, fixture};
use serde_json::Value;

const SPEC: &str = "swap:0.3,delete:0.3,typing:0.3";

const CSV: &str = "id,text,label\n1,\"A film, not bad at all\",good\n2,The plot is slow and the music dull,bad\n3,Bright actors in a warm story,good\n";

#[test]
fn a_file_of_copies_is_the_same_for_the_same_seed() {
    let world = World::new();
    world.write("a.csv", CSV);
    let run = |out: &str, seed: &str| {
        let words = [
            "augment",
            "--data",
            "a.csv",
            "--out",
            out,
            "--augment",
            SPEC,
            "--copies",
            "3",
            "--seed",
            seed,
            "--json",
            "--origin-column",
            "from",
        ];
        let said = world.hone(&words).ok();
        (serde_json::from_str::<Value>(&said.out).unwrap(), said.err)
    };
    let (json, err) = run("b.csv", "1");
    assert_eq!(
        (json["rows"].as_u64(), json["asked"].as_u64()),
        (Some(3), Some(9))
    );
    assert_eq!(json["augment"], "swap:0.3,delete:0.3,typing:0.3,keep:0.2");
    assert!(
        json["operators"]["swap"]["changed"].as_u64() > Some(0),
        "{json}"
    );
    assert!(err.contains("operator") && err.contains("swap"), "{err}");
    run("c.csv", "1");
    assert!(world.read("b.csv") == world.read("c.csv"));
    run("d.csv", "2");
    assert!(world.read("b.csv") != world.read("d.csv"));
    let text = String::from_utf8(world.read("b.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("id,text,label,from"));
    assert_eq!(lines.next(), Some("1,\"A film, not bad at all\",good,2"));
    assert_eq!(
        text.lines().count() as u64,
        1 + 3 + json["copies"].as_u64().unwrap()
    );
    assert!(
        text.lines()
            .filter(|l| l.starts_with("1,"))
            .all(|l| l.contains("not")),
        "{text}"
    );
    // Separated as the file was.
    world.write("s.csv", CSV.replace(',', ";"));
    let words = [
        "augment",
        "--data",
        "s.csv",
        "--out",
        "t.csv",
        "--augment",
        SPEC,
    ];
    world.hone(&words).ok();
    let text = String::from_utf8(world.read("t.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("id;text;label"));
    assert_eq!(lines.next(), Some("1;\"A film; not bad at all\";good"));

    // What was written can be trained on, copies beside their texts.
    let model = fixture();
    world
        .hone(&[
            "train",
            "--model",
            model.to_str().unwrap(),
            "--data",
            "b.csv",
            "--group-column",
            "from",
            "--valid",
            "0.4",
            "--epochs",
            "1",
            "--out",
            "run",
        ])
        .ok();
}

#[test]
fn what_cannot_be_augmented_is_said() {
    let world = World::new();
    world.write("a.csv", CSV);
    world.write("t.conll", "the O\nfilm B-x\n\nthe O\nplot O\n");
    world.write("there.csv", "x");
    let fails = |words: &[&str], says: &[&str]| {
        let all = [&["augment"], words].concat();
        world.hone(&all).fails(says);
    };
    fails(&["--data", "a.csv", "--out", "there.csv"], &["there.csv"]);
    fails(&["--data", "no.csv", "--out", "b.csv"], &["no.csv"]);
    fails(&["--data", ".", "--out", "b.csv"], &["one file"]);
    fails(
        &["--data", "a.csv", "--out", "b.tsv", "--augment", "swap"],
        &["b.tsv", "same ending"],
    );
    fails(
        &["--data", "a.csv", "--out", "b.csv", "--augment", "swp:0.1"],
        &["--augment", "\"swp:0.1\""],
    );
    fails(
        &["--data", "a.csv", "--out", "b.csv", "--augment", "swap:2"],
        &["\"swap:2\""],
    );
    fails(
        &["--data", "a.csv", "--out", "b.csv", "--augment", "none"],
        &["none"],
    );
    fails(
        &["--data", "a.csv", "--out", "b.csv", "--copies", "0"],
        &["--copies"],
    );
    fails(
        &["--data", "a.csv", "--out", "b.csv", "--wordnet", "nowhere"],
        &["nowhere", "index.noun"],
    );
    fails(
        &["--data", "a.csv", "--out", "b.csv", "--wordnet", "none"],
        &["--model"],
    );
    fails(
        &[
            "--data",
            "a.csv",
            "--out",
            "b.csv",
            "--augment",
            "neighbours",
        ],
        &["--model"],
    );
    fails(
        &[
            "--data",
            "a.csv",
            "--out",
            "b.csv",
            "--augment",
            "swap",
            "--protect",
            "no/words.txt",
        ],
        &["no/words.txt"],
    );
    let swaps = ["--data", "a.csv", "--out", "b.csv", "--augment", "swap"];
    fails(
        &[&swaps[..], &["--protect", "words.txt"]].concat(),
        &["words.txt: no such file"],
    );
    // What a column holds is not written over.
    fails(
        &[&swaps[..], &["--origin-column", "label"]].concat(),
        &["--origin-column label: a.csv has a column of that name"],
    );
    world.write(
        "a.jsonl",
        "{\"text\": \"one two three four\", \"label\": 1}\n",
    );
    let objects = ["--data", "a.jsonl", "--out", "b.jsonl", "--augment", "swap"];
    fails(
        &[&objects[..], &["--origin-column", "label"]].concat(),
        &["--origin-column label: a.jsonl has a column of that name"],
    );
    fails(
        &[
            "--data",
            "t.conll",
            "--out",
            "u.conll",
            "--augment",
            "swap,typing",
        ],
        &["swap", "tagged"],
    );
    for out in ["b.csv", "b.tsv", "b.jsonl", "u.conll", "b.csv.part"] {
        assert!(!world.path(out).exists(), "{out}");
    }
    let usage = world.hone(&["augment", "--data", "a.csv"]);
    assert_eq!(usage.code, Some(2));
    // Tagged texts take what keeps words in their places.
    world
        .hone(&[
            "augment",
            "--data",
            "t.conll",
            "--out",
            "u.conll",
            "--augment",
            "case",
            "--copies",
            "1",
        ])
        .ok();
    let text = String::from_utf8(world.read("u.conll")).unwrap();
    assert_eq!(
        text.lines().filter(|l| l.ends_with(" B-x")).count(),
        2,
        "{text}"
    );
}

#[test]
fn augmented_runs_repeat_bit_for_bit() {
    let world = World::new();
    let shared = [
        "--epochs",
        "2",
        "--lr",
        "1e-3",
        "--augment",
        SPEC,
        "--seed",
        "3",
    ];
    for (out, extra) in [("1", &["--threads", "1"][..]), ("2", &["--threads", "2"])] {
        let said = world
            .train(&[&shared[..], &["--out", out], extra].concat())
            .ok();
        assert!(
            said.err.contains("texts of 2 epochs are changed"),
            "{}",
            said.err
        );
    }
    assert!(world.read("1/model.safetensors") == world.read("2/model.safetensors"));
    let toml = String::from_utf8(world.read("1/run.toml")).unwrap();
    assert!(
        toml.contains("augment = \"swap:0.3,delete:0.3,typing:0.3,keep:0.2\""),
        "{toml}"
    );
    world
        .hone(&["train", "--config", "1/run.toml", "--out", "again"])
        .ok();
    assert!(world.read("1/model.safetensors") == world.read("again/model.safetensors"));
    // Neighbours in the model's own embeddings need nothing from outside.
    let near = [
        "--max-steps",
        "3",
        "--augment",
        "eda",
        "--wordnet",
        "none",
        "--out",
        "near",
    ];
    let said = world.train(&near).ok();
    assert!(
        said.err.contains("no WordNet: synonyms are neighbours"),
        "{}",
        said.err
    );
    let toml = String::from_utf8(world.read("near/run.toml")).unwrap();
    assert!(toml.contains("wordnet = \"none\""), "{toml}");
}

#[test]
fn training_refuses_what_would_be_wrong() {
    let world = World::new();
    world
        .train(&[
            "--augment",
            "swap",
            "--cache-frozen",
            "--freeze",
            "all",
            "--out",
            "a",
        ])
        .fails(&["--cache-frozen", "--augment"]);
    world
        .train(&["--augment", "swap:", "--out", "b"])
        .fails(&["--augment", "\"swap:\""]);
    world
        .train(&["--wordnet", "none", "--out", "c"])
        .fails(&["--wordnet", "--augment"]);
    let mut tags = String::new();
    for i in 0..40 {
        tags += &format!("film\tO\nactor\t{}\n\n", ["O", "B-x"][i % 2]);
    }
    world.write("tags.conll", tags);
    let model = fixture();
    let tagged = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        "tags.conll",
        "--epochs",
        "1",
    ];
    world
        .hone(&[&tagged[..], &["--augment", "eda", "--out", "d"]].concat())
        .fails(&["insert, swap, delete", "tagged"]);
    world
        .hone(&[&tagged[..], &["--augment", "typing:0.3,case", "--out", "e"]].concat())
        .ok();
    for out in ["a", "b", "c", "d"] {
        assert!(!world.path(out).join("run.toml").exists(), "{out}");
    }
}
