//! Everything that can be wrong with what a user gives: one line that names it, exit code 1, nothing lost.

use crate::world::{World, fixture};
use std::fs;

/// Trains on this data, which is spoilt.
#[track_caller]
fn data_fails(name: &str, content: impl AsRef<[u8]>, words: &[&str]) {
    let world = World::new();
    let path = world.write(name, content);
    let model = fixture();
    let told = world
        .hone(&[
            "train",
            "--model",
            model.to_str().unwrap(),
            "--data",
            path.to_str().unwrap(),
            "--out",
            "out",
        ])
        .fails(words);
    assert!(told.err.contains(name), "{}", told.err);
    assert!(!world.path("out/model.safetensors").exists());
}

#[test]
fn data() {
    data_fails(
        "short.csv",
        "text,label\na film,good\nno label here\na plot,bad\n",
        &["line 3"],
    );
    data_fails(
        "columns.csv",
        "words,verdict\na film,good\n",
        &["words", "verdict", "--text-column"],
    );
    data_fails(
        "latin.csv",
        b"text,label\ncaf\xe9,good\n",
        &["line 2", "UTF-8"],
    );
    data_fails(
        "one.csv",
        "text,label\na film,good\na plot,good\n",
        &["good"],
    );
    data_fails(
        "blank.csv",
        "text,label\na film,good\n  ,bad\n",
        &["line 3", "empty"],
    );
    data_fails("empty.csv", "", &["empty"]);
    data_fails("header.csv", "text,label\n", &["no rows"]);
    data_fails(
        "broken.jsonl",
        "{\"text\": \"a\", \"label\": \"b\"}\n{\"text\": \n",
        &["line 2"],
    );
    data_fails("unknown.xyz", "text,label\n", &[".csv"]);
    data_fails("damaged.csv.gz", "this is no gzip", &["gz"]);
}

#[test]
fn a_missing_file_and_an_unknown_column_are_named() {
    let world = World::new();
    let model = fixture();
    let model = model.to_str().unwrap();
    world
        .hone(&["train", "--model", model, "--data", "no.csv"])
        .fails(&["no.csv"]);
    world
        .hone(&["train", "--model", "./nowhere", "--data", "no.csv"])
        .fails(&[]);
    world
        .train(&["--text-column", "review", "--out", "out"])
        .fails(&["review", "text"]);
    world
        .hone(&["eval", "--model", model, "--data", "no.csv"])
        .fails(&["no.csv"]);
    world.hone(&["predict", "a film"]).fails(&["runs/latest"]);
    world
        .hone(&["inspect", "nothing"])
        .fails(&["nothing: no such file or folder"]);
}

/// Trains a model, which is spoilt, on good data.
#[track_caller]
fn model_fails(spoil: impl FnOnce(&std::path::Path), words: &[&str]) {
    let world = World::new();
    let model = world.model("model");
    spoil(&model);
    let data = fixture().join("train.csv");
    world
        .hone(&[
            "train",
            "--model",
            "model",
            "--data",
            data.to_str().unwrap(),
            "--out",
            "out",
        ])
        .fails(words);
    assert!(!world.path("out/model.safetensors").exists());
}

/// Weights so large that sums of them overflow: what they answer is neither a class nor a figure.
#[test]
fn answers_that_are_no_numbers() {
    let world = World::new();
    world.train(&["--max-steps", "1", "--out", "out"]).ok();
    weights(&world.path("out"), |name, _, values| {
        if name == "classifier.weight" {
            values.fill(f32::MAX);
        }
    });
    let data = fixture().join("train.csv");
    let data = data.to_str().unwrap();
    let model = &["--model", "out"];
    let says = &["row ", "no number", "rate"];
    let with = |words: &[&str]| world.hone(&[words, model].concat()).fails(says);
    with(&["eval", "--data", data]);
    with(&["predict", "--data", data]);
    with(&["predict", "a film"]);
}

/// Words with tags are texts to a model of classes, which is told; a folder is no file of texts.
#[test]
fn data_of_another_kind_than_the_models() {
    let world = World::new();
    world.train(&["--max-steps", "1", "--out", "out"]).ok();
    world.write("a.conll", "the O\nfilm B-x\n\nthe O\nplot O\n");
    let predict = |data: &str| world.hone(&["predict", "--model", "out", "--data", data]);
    let told = predict("a.conll").ok();
    assert!(told.err.contains("this model tags none"), "{}", told.err);
    assert_eq!(told.out.lines().count(), 2);
    predict("out").fails(&["out: this is a folder; one file"]);
}

/// Replaces the weights by others: (name, shape, value of every number).
fn weights(folder: &std::path::Path, change: impl Fn(&str, &mut Vec<usize>, &mut Vec<f32>)) {
    let path = folder.join("model.safetensors");
    let file = hone_tensor::SafetensorsFile::open(&path).unwrap();
    let mut all: Vec<(String, Vec<usize>, Vec<f32>)> = file
        .tensors()
        .iter()
        .map(|t| {
            (
                t.name.clone(),
                t.shape.clone(),
                file.read_f32(&t.name).unwrap(),
            )
        })
        .collect();
    drop(file);
    for (name, shape, values) in &mut all {
        change(name, shape, values);
    }
    let tensors = all
        .iter()
        .map(|(n, s, v)| (n.as_str(), s.as_slice(), v.as_slice()));
    hone_tensor::write_safetensors(&path, tensors, &[]).unwrap();
}

#[test]
fn models() {
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &std::path::Path| {
            let path = folder.join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{from}");
            fs::write(path, text.replace(from, to)).unwrap();
        }
    };
    let remove = |file: &'static str| {
        move |folder: &std::path::Path| fs::remove_file(folder.join(file)).unwrap()
    };
    model_fails(remove("config.json"), &["config.json"]);
    model_fails(remove("model.safetensors"), &["model.safetensors"]);
    model_fails(
        edit("config.json", "\"gelu\"", "\"swish\""),
        &["swish", "config.json"],
    );
    model_fails(
        edit("config.json", "\"hidden_size\": 20", "\"hidden_size\": 24"),
        &["expects", "[24, 20]"],
    );
    model_fails(edit("config.json", "{", "["), &["config.json"]);
    // A vocabulary that the tokenizer does not fit.
    model_fails(
        edit("tokenizer.json", "\"film\": 5", "\"film\": 500"),
        &["tokenizer.json", "501", "43"],
    );
    model_fails(
        |folder| {
            let path = folder.join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        },
        &["model.safetensors"],
    );
    model_fails(
        |folder| {
            weights(folder, |name, _, values| {
                if name.ends_with("layer.1.output.dense.weight") {
                    values[3] = f32::NAN;
                }
            });
        },
        &["encoder.layer.1.output.dense.weight", "NaN"],
    );
    model_fails(
        |folder| {
            weights(folder, |name, shape, _| {
                if name.ends_with("layer.0.intermediate.dense.weight") {
                    shape.reverse();
                }
            });
        },
        &[
            "encoder.layer.0.intermediate.dense.weight",
            "[28, 20]",
            "[20, 28]",
        ],
    );
    model_fails(
        |folder| {
            fs::remove_file(folder.join("model.safetensors")).unwrap();
            fs::write(folder.join("pytorch_model.bin"), "pickle").unwrap();
        },
        &["pytorch_model.bin", "Convert it once"],
    );
}

/// Numbers that nobody means: an error in a line, at once.
#[test]
fn numbers_out_of_all_bounds() {
    for (flags, words) in [
        (&["--lr", "nan"][..], &["--lr", "number"][..]),
        (
            &["--batch-size", "4294967296", "--grad-accum", "4294967296"],
            &["--batch-size 4294967296: at most"],
        ),
        (&["--epochs", "1e18"], &["--epochs", "steps, at most"]),
        (&["--seed", "18446744073709551615"], &["--seed"]),
        (
            &["--split-seed", "18446744073709551615"],
            &["--split-seed 18446744073709551615: at most"],
        ),
        (&["--eps", "1e-40"], &["--eps", "f32"]),
        (
            &["--lr", "1e300", "--max-steps", "2", "--valid", "none"],
            &["after training", "no model was saved", "--lr"],
        ),
    ] {
        let world = World::new();
        world.train(flags).fails(words);
    }
}

/// A model of two layers of which the configuration knows one answers as one of one, and that is said.
#[test]
fn a_model_in_use_tells_what_of_its_files_it_ignores() {
    let world = World::new();
    world.train(&["--max-steps", "2", "--out", "out"]).ok();
    let config = world.path("out/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let layers = "\"num_hidden_layers\": ";
    let (before, after) = text.split_once(layers).unwrap();
    assert!(after.starts_with('2'));
    fs::write(&config, format!("{before}{layers}1{}", &after[1..])).unwrap();
    let said = world.hone(&["predict", "--model", "out", "a film"]).ok();
    assert!(
        said.err.contains("ignored 16 tensors") && said.err.contains("encoder.layer.1."),
        "{}",
        said.err
    );
}

#[test]
fn a_folder_that_holds_a_run_is_left_alone() {
    let world = World::new();
    world
        .hone(&["train", "--resume", "--out", "nothing"])
        .fails(&["nothing: no run is here to go on with"]);
    world.train(&["--max-steps", "2", "--out", "out"]).ok();
    let before = world.read("out/model.safetensors");
    world
        .train(&["--max-steps", "3", "--out", "out"])
        .fails(&["already holds a run", "--out"]);
    assert!(world.read("out/model.safetensors") == before);
    // What never began leaves nothing: the mended command can have the folder.
    world.write("others.csv", "text,label\na film,violet\na plot,mauve\n");
    let start = ["--max-steps", "2", "--out", "new"];
    for (wrong, why) in [
        (["--test", "others.csv"], "violet"),
        (["--freeze", "9"], "freeze"),
    ] {
        world.train(&[&start[..], &wrong].concat()).fails(&[why]);
        assert!(!world.path("new").exists(), "{why}");
    }
    for verb in [
        "crossval --folds 2",
        "study --practices longer",
        "tune --trials 2",
    ] {
        let verb: Vec<&str> = verb.split(' ').collect();
        let (model, data) = (fixture(), fixture().join("train.csv"));
        let files = [
            "--model",
            model.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ];
        let all = [&verb[..], &files, &start, &["--freeze", "9"]].concat();
        world.hone(&all).fails(&["freeze"]);
        assert!(!world.path("new").exists(), "{verb:?}");
    }
    // A file where a folder should be is named before any work.
    world.write("taken", "");
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    for verb in ["train", "crossval", "find-lr"] {
        let words = [verb, "--model", model, "--data", data, "--out", "taken"];
        world
            .hone(&words)
            .fails(&["--out taken: this is a file; a folder was expected"]);
    }
}

#[cfg(unix)]
#[test]
fn no_space_left_is_one_line() {
    let world = World::new();
    let (model, data) = (fixture(), fixture().join("train.csv"));
    // No file may grow beyond 8 blocks of 512 bytes; the weights need more.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let told = std::process::Command::new("sh")
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_hone"),
            "train",
            "--max-steps",
            "2",
            "--out",
            "out",
        ])
        .args([
            "--model",
            model.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    crate::world::said(told).fails(&["out/model.safetensors"]);
    assert!(!world.path("out/model.safetensors").exists());
}

#[test]
fn wrong_values_and_wrong_usage() {
    let world = World::new();
    for (words, says) in [
        (&["--lr", "-1"][..], "--lr"),
        (&["--batch-size", "0"], "--batch-size"),
        (&["--max-length", "9999"], "--max-length"),
        (&["--freeze", "nothing-like-it"], "freeze"),
        (&["--device", "tpu"], "--device"),
        (&["--device", "cuda:99"], "use --device cpu"),
        (&["--device", "cuda:one"], "cuda[:N]"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "100000"], "--threads 100000: from 1 to 1024"),
        (&["--resume"], "--out"),
        (&["--valid", "1.5"], "--valid"),
        (&["--task", "poetry"], "--task"),
    ] {
        world.train(words).fails(&[says]);
    }
    for words in [&["train", "--no-such-flag"][..], &["fly"], &["eval"]] {
        assert_eq!(world.hone(words).code, Some(2), "{words:?}");
    }
}
