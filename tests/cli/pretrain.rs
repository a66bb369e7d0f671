//! `hone pretrain` as a user meets it: unlabelled texts, then labelled ones.

use crate::world::{World, fixture};
use serde_json::Value;

/// Texts without labels, a line each.
fn lines(world: &World) -> &'static str {
    // Half of the words are "the", "was" and "and": there is something to learn.
    let pick = |all: &'static str, i: usize| all.split(' ').nth(i % 6).unwrap();
    let (things, kinds) = (
        "film actor plot music honest fake",
        "slow bright dull warm cold sharp",
    );
    let texts = (0..300).map(|i| {
        let (one, other) = (pick(things, i), pick(things, i / 6));
        let (a, b) = (pick(kinds, i / 36), pick(kinds, 7 * i + 1));
        format!("the {one} was {a} and the {other} was {b} and the {one} was {b}")
    });
    let texts: Vec<String> = texts.collect();
    world.write("raw.txt", texts.join("\n") + "\n\n");
    "raw.txt"
}

#[test]
fn unlabelled_texts_then_labelled_ones() {
    let world = World::new();
    let (raw, model) = (lines(&world), fixture());
    let model = model.to_str().unwrap();
    let short = [
        "pretrain",
        "--model",
        model,
        "--data",
        raw,
        "--max-length",
        "10",
    ];
    let short = [&short[..], &["--lr", "1e-3", "--max-steps", "20", "--json"]].concat();
    let said = world.hone(&short).ok();
    assert!(said.err.contains("nothing is cut off"), "{}", said.err);
    assert!(
        said.err.contains("blank lines, which are no texts: 1"),
        "{}",
        said.err
    );
    assert!(
        said.err
            .contains("next:  hone train --model runs/raw-pretrained-1"),
        "{}",
        said.err
    );
    let summary: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(summary, world.json("runs/raw-pretrained-1/summary.json"));
    let loss = |part: &str| summary[part]["loss"].as_f64().unwrap();
    assert!(loss("valid") < loss("before"), "{summary}");
    let perplexity = summary["valid"]["perplexity"].as_f64().unwrap();
    assert!((perplexity.ln() - loss("valid")).abs() < 1e-9);
    // It answers nothing, and is no run's newest model.
    assert!(!world.path("runs/latest").exists());
    let config = world.json("runs/raw-pretrained-1/config.json");
    assert_eq!(config["architectures"][0], "BertForMaskedLM");
    assert!(config.get("id2label").is_none());
    world
        .hone(&["predict", "--model", "runs/raw-pretrained-1", "a film"])
        .fails(&["BertForMaskedLM", "hone train"]);

    // A head that was drawn learns faster than the encoder under it; one that has learned learns as the encoder does.
    let rates = |model: &str, out: &str, more: &[&str]| {
        let words = ["pretrain", "--model", model, "--data", raw, "--out", out];
        let words = [&words[..], &["--max-steps", "1"], more].concat();
        world.hone(&words).ok();
        let record: toml::Table =
            toml::from_str(&String::from_utf8(world.read(&format!("{out}/run.toml"))).unwrap())
                .unwrap();
        ["lr", "head_lr"].map(|key| record[key].as_float().unwrap())
    };
    let learned = "runs/raw-pretrained-1";
    assert_eq!(rates(model, "new", &[]), [1e-5, 1e-3]);
    assert_eq!(rates(learned, "learned", &[]), [5e-5, 5e-5]);
    assert_eq!(rates(learned, "drawn", &["--new-head"]), [1e-5, 1e-3]);
    let given = ["--lr", "2e-3"];
    assert_eq!(rates(model, "given", &given), [2e-3, 2e-3]);
    let scratch = ["--init", "random"];
    assert_eq!(rates(model, "scratch", &scratch), [5e-5, 5e-5]);

    // The record trains it again, and what is labelled is trained on it.
    let record = "runs/raw-pretrained-1/run.toml";
    world
        .hone(&["pretrain", "--config", record, "--out", "again"])
        .ok();
    let weights = |run: &str| world.read(&format!("{run}/model.safetensors"));
    assert!(weights("again") == weights("runs/raw-pretrained-1"));
    let data = world.reviews();
    let tuned = world
        .hone(&[
            "train",
            "--model",
            "again",
            "--data",
            data,
            "--max-steps",
            "3",
        ])
        .ok();
    assert!(tuned.err.contains("ignored 5 tensors"), "{}", tuned.err);
    world.hone(&["report", "again"]).ok();
    world.hone(&["inspect", "again"]).ok();
}

#[cfg(unix)]
#[test]
fn interrupted_it_goes_on_bit_for_bit() {
    let world = World::new();
    let (raw, model) = (lines(&world), fixture());
    let words = |out: &'static str| {
        let words = [
            "pretrain",
            "--model",
            model.to_str().unwrap(),
            "--data",
            raw,
        ];
        [
            &words[..],
            &["--epochs", "30", "--lr", "1e-3", "--out", out],
        ]
        .concat()
    };
    world.hone(&words("whole")).ok();
    let rest = world.interrupted(&words("cut"), "step 1/");
    let told = rest.last().unwrap();
    assert!(
        told.ends_with("go on with: hone pretrain --resume --out cut"),
        "{told}"
    );
    world.hone(&["pretrain", "--resume", "--out", "cut"]).ok();
    assert!(world.read("cut/model.safetensors") == world.read("whole/model.safetensors"));
}

#[test]
fn what_is_about_labels_is_refused() {
    let world = World::new();
    let (raw, model) = (lines(&world), fixture());
    let model = model.to_str().unwrap();
    let no_mask = world.model("no_mask");
    let tokenizer = no_mask.join("tokenizer.json");
    let text = std::fs::read_to_string(&tokenizer).unwrap();
    std::fs::write(&tokenizer, text.replace("[MASK]", "[HIDE]")).unwrap();
    let base = ["pretrain", "--data", raw, "--max-steps", "1"];
    for (more, says) in [
        (
            &["--model", model, "--test", raw][..],
            "--test is no option of pretrain",
        ),
        (
            &["--model", model, "--class-weights", "auto"],
            "--class-weights",
        ),
        (&["--model", model, "--augment", "eda"], "--augment"),
        (
            &["--model", model, "--mask-share", "1"],
            "--mask-share 1: a share between 0 and 1",
        ),
        (
            &["--model", model, "--mask-unit", "lines"],
            "none of pieces, words",
        ),
        (
            &["--model", model, "--metric", "accuracy"],
            "loss, perplexity",
        ),
        (&["--model", model, "--max-length", "2"], "--max-length 2"),
        (&["--model", "no_mask"], "no [MASK]"),
    ] {
        let words = [&base[..], more].concat();
        world.hone(&words).fails(&[says]);
    }
    let help = world.hone(&["pretrain", "--help"]).ok().out;
    for (said, there) in [
        ("--mask-share", true),
        ("--layer-decay", true),
        ("--class-weights", false),
        ("--recipe", false),
    ] {
        assert_eq!(help.contains(said), there, "{said} in {help}");
    }
    world
        .hone(&["pretrain", "--model", model])
        .fails(&["--data is missing"]);
    // What was refused left no folder behind.
    let runs = std::fs::read_dir(world.path("runs"));
    assert_eq!(runs.map_or(0, |runs| runs.count()), 0);
}
