//! The practices of fine-tuning, each by its flag: what it leaves, that it is recorded, and what it cannot be
//! combined with.

use crate::world::{World, fixture};
use hone_tensor::SafetensorsFile;

/// Every flag of its own: it runs, stands in run.toml, and the recorded run gives the same weights.
#[test]
fn every_practice_is_a_flag_that_is_recorded() {
    for (flags, recorded) in [
        (&["--focal-loss", "2"][..], "focal_loss = 2.0"),
        (&["--r-drop", "1"], "r_drop = 1.0"),
        (&["--contrast", "1"], "contrast = 1.0"),
        (
            &["--contrast", "1", "--contrast-temperature", "0.5"],
            "contrast_temperature = 0.5",
        ),
        (&["--l2-sp", "0.1"], "l2_sp = \"0.1\""),
        (&["--l2-sp", "50%"], "l2_sp = \"50%\""),
        (&["--mixout", "0.3"], "mixout = 0.3"),
        (&["--average", "ema:0.9"], "average = \"ema:0.9\""),
        (&["--average", "last:0.5"], "average = \"last:0.5\""),
        (&["--reinit-top", "1"], "reinit_top = 1"),
        (&["--init", "random"], "init = \"random\""),
        (&["--pool", "mean"], "pool = \"mean\""),
        (
            &["--init-head", "probe", "--new-head"],
            "init_head = \"probe\"",
        ),
        (&["--calibrate", "--valid", "0.6"], "calibrate = true"),
    ] {
        let world = World::new();
        let short = ["--max-steps", "3", "--batch-size", "8", "--out", "first"];
        world.train(&[&short[..], flags].concat()).ok();
        let toml = String::from_utf8(world.read("first/run.toml")).unwrap();
        assert!(toml.lines().any(|l| l == recorded), "{recorded}: {toml}");
        world
            .hone(&["train", "--config", "first/run.toml", "--out", "again"])
            .ok();
        let [first, again] =
            ["first", "again"].map(|f| world.read(&format!("{f}/model.safetensors")));
        assert!(first == again, "{recorded}: other weights");
        let plain = world.train(&["--max-steps", "3", "--batch-size", "8", "--out", "plain"]);
        plain.ok();
        let plain = world.read("plain/model.safetensors");
        assert!(first != plain, "{recorded} changes nothing");
    }
}

/// A model that reads the mean is used as it was trained, and transformers is told that it has no class for it.
#[test]
fn a_mean_pooled_model_is_used_as_it_was_trained() {
    let world = World::new();
    let data = fixture().join("train.csv");
    let data = data.to_str().unwrap();
    let trained = world
        .train(&[
            "--pool",
            "mean",
            "--max-steps",
            "20",
            "--test",
            data,
            "--out",
            "mean",
        ])
        .ok();
    assert!(
        trained.err.contains("transformers has no class"),
        "{}",
        trained.err
    );
    let config = world.json("mean/config.json");
    assert_eq!(config["hone_pool"], "mean");
    assert_eq!(
        config["architectures"][0],
        "BertForMeanPooledClassification"
    );
    let eval = world
        .hone(&["eval", "--model", "mean", "--data", data, "--json"])
        .ok();
    let eval: serde_json::Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!(
        eval["loss"],
        world.json("mean/summary.json")["test"]["loss"]
    );
    // Going on from it with [CLS] asks for a new head, and says so.
    let on = world
        .hone(&[
            "train",
            "--model",
            "mean",
            "--data",
            data,
            "--pool",
            "cls",
            "--max-steps",
            "1",
            "--out",
            "cls",
        ])
        .ok();
    assert!(
        on.err.contains("newly initialised classifier.weight"),
        "{}",
        on.err
    );
    assert!(world.json("cls/config.json").get("hone_pool").is_none());
}

/// The temperature is in the classifier: nothing else differs from the same run without it.
#[test]
fn a_temperature_is_divided_into_the_classifier() {
    let world = World::new();
    let run = |name: &str, more: &[&str]| {
        let words = [
            "--valid",
            "0.6",
            "--max-steps",
            "30",
            "--lr",
            "1e-3",
            "--out",
            name,
        ];
        world.train(&[&words[..], more].concat()).ok();
    };
    run("plain", &[]);
    run("calibrated", &["--calibrate"]);
    let summary = world.json("calibrated/summary.json");
    let calibration = &summary["calibration"];
    let temperature = calibration["temperature"].as_f64().unwrap();
    let file = |name: &str| {
        SafetensorsFile::open(&world.path(&format!("{name}/model.safetensors"))).unwrap()
    };
    let (plain, calibrated) = (file("plain"), file("calibrated"));
    for tensor in plain.tensors() {
        let name = &tensor.name;
        let by = if name.starts_with("classifier") {
            temperature
        } else {
            1.0
        };
        let [a, b] = [&plain, &calibrated].map(|f| f.read_f64(name).unwrap());
        for (a, b) in a.iter().zip(&b) {
            assert!((a / by - b).abs() <= 1e-6 * a.abs(), "{name}: {a} {b}");
        }
    }
    // What is reported of the saved model is the calibrated figure.
    let (valid, before) = (
        &calibration["held_out"]["after"],
        &calibration["held_out"]["before"],
    );
    let loss = |r: &serde_json::Value| r["negative_log_likelihood"].as_f64().unwrap();
    assert!(loss(valid) <= loss(before));
    let reported = summary["valid"]["loss"].as_f64().unwrap();
    assert!(
        (reported - loss(valid)).abs() < 1e-4,
        "{reported} {}",
        loss(valid)
    );
    world
        .train(&["--calibrate", "--valid", "0.1", "--out", "few"])
        .fails(&["--calibrate needs 200 validation rows at least, there are 40"]);
}

/// Options that can do nothing here are told of.
#[test]
fn what_has_no_effect_is_said() {
    let world = World::new();
    let short = ["--max-steps", "2", "--valid", "none"];
    let told = |words: &[&str]| world.train(&[&short[..], words].concat()).ok().err;
    let err = told(&["--eval-every", "1", "--out", "first"]);
    assert!(
        err.contains("warning: --eval-every is about validation texts"),
        "{err}"
    );
    assert!(!err.contains("--metric"), "{err}");
    // The record of a run is no wish: what stands in it beside `valid = \"none\"` is not told of.
    let err = told(&["--config", "first/run.toml", "--out", "second"]);
    assert!(!err.contains("is about validation texts"), "{err}");
    let data = fixture().join("train.csv");
    let again = |more: &[&str]| {
        let words = [
            "train",
            "--model",
            "first",
            "--data",
            data.to_str().unwrap(),
        ];
        let words = [&words[..], &short, &["--init-head", "probe"], more].concat();
        world.hone(&words).ok().err
    };
    let kept = "own head is kept";
    assert!(again(&["--out", "third"]).contains(kept));
    assert!(!again(&["--new-head", "--out", "fourth"]).contains(kept));
}

#[test]
fn what_does_not_fit_is_one_line() {
    let world = World::new();
    world.write(
        "numbers.csv",
        "text,label\na film,1.5\na plot,2.5\nmusic,0.5\nslow,1.0\n",
    );
    let model = fixture();
    let model = model.to_str().unwrap();
    for (flags, says) in [
        (
            &["--focal-loss", "2"][..],
            "--focal-loss is for texts or words of one class",
        ),
        (&["--r-drop", "1"], "--r-drop is for texts or words"),
        (&["--contrast", "1"], "--contrast is for texts of one class"),
        (&["--label-smoothing", "0.1"], "--label-smoothing is for"),
        (&["--class-weights", "auto"], "--class-weights is for"),
        (&["--calibrate"], "--calibrate is for texts of one class"),
    ] {
        let words = [
            "train",
            "--model",
            model,
            "--data",
            "numbers.csv",
            "--valid",
            "none",
            "--out",
            "out",
        ];
        world.hone(&[&words[..], flags].concat()).fails(&[says]);
    }
    for (flags, says) in [
        (
            &["--r-drop", "1", "--freeze", "1", "--cache-frozen"][..],
            "--cache-frozen",
        ),
        (&["--l2-sp", "0.1", "--init", "random"], "--l2-sp"),
        (&["--reinit-top", "9"], "the model has 2 layers"),
        (&["--average", "swa"], "--average swa"),
        (&["--mixout", "1"], "--mixout 1"),
        (&["--contrast", "-1"], "--contrast -1"),
        (
            &["--contrast", "1", "--contrast-temperature", "0"],
            "--contrast-temperature 0",
        ),
        (&["--pool", "max"], "--pool max"),
        (&["--init", "zeros"], "--init zeros"),
    ] {
        world
            .train(&[flags, &["--out", "out"]].concat())
            .fails(&[says]);
        // The mended command can have the folder.
        assert!(!world.path("out").exists());
    }
}

#[test]
fn a_head_begins_fitted_whatever_the_task() {
    let world = World::new();
    world.every_task();
    let model = fixture();
    for (file, says) in [
        ("scores.csv", "a ridge regression on 60 texts"),
        ("sets.jsonl", "a logistic regression on 60 texts"),
        ("tags.conll", "a logistic regression on 180 words"),
    ] {
        let loss = |head: &str| {
            let out = format!("{head}-{file}");
            let words = [
                ["train", "--model", model.to_str().unwrap()],
                ["--data", file, "--new-head"],
                ["--valid", "none", "--select"],
                ["last", "--epochs", "1"],
                ["--lr", "1e-9", "--head-lr"],
                ["1e-9", "--init-head", head],
            ];
            let said = world
                .hone(&[&words.concat()[..], &["--out", &out]].concat())
                .ok();
            assert_eq!(said.err.contains(says), head == "probe", "{}", said.err);
            world.json(&format!("{out}/summary.json"))["train_loss"]
                .as_f64()
                .unwrap()
        };
        let (drawn, fitted) = (loss("random"), loss("probe"));
        assert!(fitted < 0.9 * drawn, "{file}: {fitted} beside {drawn}");
    }
}
