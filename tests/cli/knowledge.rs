//! `hone report` and `hone interpolate` from end to end.

use crate::world::{Said, World, fixture};
use hone_tensor::SafetensorsFile;
use serde_json::Value;

/// The tiny model fine-tuned a little, and files to measure it with.
fn world() -> World {
    let world = World::new();
    let lines: Vec<String> = std::fs::read_to_string(fixture().join("train.csv"))
        .unwrap()
        .lines()
        .skip(1)
        .map(str::to_owned)
        .collect();
    let rows: Vec<(&str, &str)> = lines.iter().map(|l| l.rsplit_once(',').unwrap()).collect();
    let file = |name: &str, head: &str, each: &dyn Fn(usize) -> String, n: usize| {
        let all: String = (0..n).map(each).collect();
        world.write(name, format!("{head}{all}"));
    };
    let (train, rest) = rows.split_at(200);
    let row = |r: (&str, &str)| format!("{},{}\n", r.0, r.1);
    file("data/train.csv", "text,label\n", &|i| row(train[i]), 200);
    file("data/dev.csv", "text,label\n", &|i| row(rest[i]), 100);
    file(
        "data/test.csv",
        "text,label\n",
        &|i| row(rest[100 + i]),
        100,
    );
    let pair = |i: usize| format!("{},{},{}.5\n", rows[i].0, rows[i + 50].0, i * 7 % 11);
    file("pairs.csv", "text,text_b,score\n", &pair, 50);
    let other = |i: usize| format!("{},{}\n", rows[i].0, ["short", "long"][rows[i].0.len() % 2]);
    file("other.csv", "text,label\n", &other, 80);
    let text = |i: usize| format!("{}\n\n", rows[i].0);
    file("text.txt", "", &text, 60);
    let model = fixture();
    let words = [
        "train",
        "--data",
        "data",
        "--model",
        model.to_str().unwrap(),
    ];
    let more = [
        "--max-steps",
        "12",
        "--lr",
        "3e-3",
        "--eval-every",
        "4",
        "--out",
        "run",
    ];
    world.hone(&[&words[..], &more].concat()).ok();
    world
}

const MEASURES: [&str; 6] = [
    "--similarity",
    "pairs.csv",
    "--probe",
    "other.csv",
    "--text",
    "text.txt",
];

fn json(said: Said) -> Value {
    serde_json::from_str(&said.ok().out).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_run_is_told_with_its_curves_and_what_it_forgot() {
    let world = world();
    let told = world.hone(&["report", "run", "--svg", "curves.svg"]).ok();
    for word in [
        "200 texts",
        "12 steps",
        "rate 0.003",
        "train loss",
        "valid loss",
        "kept",
        "test: ",
    ] {
        assert!(told.out.contains(word), "{word}: {}", told.out);
    }
    let svg = String::from_utf8(world.read("curves.svg")).unwrap();
    assert!(svg.contains("valid accuracy") && svg.contains("train loss"));
    let object = json(world.hone(&["report", "run", "--json"]));
    assert_eq!(object["summary"], world.json("run/summary.json"));
    let steps: Vec<u64> = object["curve"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [4, 8, 12]);

    let words = [&["report", "run", "--json"][..], &MEASURES].concat();
    let object = json(world.hone(&[&words[..], &["--threads", "1"]].concat()));
    let again = json(world.hone(&[&words[..], &["--threads", "2"]].concat()));
    assert_eq!(object, again, "threads change nothing");
    let kept = &object["knowledge"];
    let names: Vec<String> = kept["measures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| format!("{} {}", m["measure"], m["pool"]))
        .collect();
    let want = [
        r#""similarity" "mean""#,
        r#""similarity" "cls""#,
        r#""probe" "mean""#,
    ];
    assert_eq!(names, want);
    for m in kept["measures"].as_array().unwrap() {
        let found = number(&m["after"]) - number(&m["before"]);
        assert!((found - number(&m["change"])).abs() < 1e-12, "{m}");
        let [low, high] = [0, 1].map(|i| number(&m["change_interval"][i]));
        assert!(low <= found && found <= high, "{m}");
    }
    let parts = |key: &str| -> Vec<String> {
        let all = kept[key].as_array().unwrap().iter();
        all.map(|p| p["part"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        parts("weights"),
        ["embeddings", "layer 0", "layer 1", "pooler"]
    );
    assert_eq!(parts("cka"), ["embeddings", "layer 0", "layer 1"]);
    let few = ["report", "run", "--text-tokens", "150"];
    let told = world.hone(&[&few[..], &MEASURES].concat()).ok();
    assert!(
        told.out.contains("change [95 % interval, paired]"),
        "{}",
        told.out
    );
    assert!(
        told.err
            .contains("so few make representations look more alike"),
        "{}",
        told.err
    );

    // Beside itself nothing is forgotten, and it is said that this is not what the run began with.
    let itself = world.hone(&[&words[..], &["--base", "run"]].concat()).ok();
    assert!(
        itself.err.contains("not those the run began with"),
        "{}",
        itself.err
    );
    let itself: Value = serde_json::from_str(&itself.out).unwrap();
    for m in itself["knowledge"]["measures"].as_array().unwrap() {
        assert_eq!(number(&m["change"]), 0.0, "{m}");
    }
    for part in itself["knowledge"]["cka"].as_array().unwrap() {
        assert!((number(&part["cka"]) - 1.0).abs() < 1e-9, "{part}");
    }
    for part in itself["knowledge"]["weights"].as_array().unwrap() {
        assert_eq!(number(&part["relative"]), 0.0, "{part}");
    }
}

#[test]
fn between_both_models_every_place_is_measured_and_one_is_kept() {
    let world = world();
    let words = [
        &["interpolate", "run", "--data", "data", "--json"][..],
        &MEASURES,
    ]
    .concat();
    let grid = [
        "--steps",
        "5",
        "--keep",
        "within:0.05",
        "--out",
        "kept",
        "--svg",
        "frontier.svg",
    ];
    let said = world.hone(&[&words[..], &grid].concat()).ok();
    let object: Value = serde_json::from_str(&said.out).unwrap();
    let points = object["points"].as_array().unwrap();
    let alphas: Vec<f64> = points.iter().map(|p| number(&p["alpha"])).collect();
    assert_eq!(alphas, [0.0, 0.25, 0.5, 0.75, 1.0]);
    let figures: Vec<f64> = points.iter().map(|p| number(&p["task"]["value"])).collect();
    assert!(points.iter().any(|p| p["frontier"] == true));
    assert!((number(&points[0]["cka"]) - 1.0).abs() < 1e-9);
    assert_eq!(number(&points[4]["task"]["against_tuned"]), 0.0);
    assert_eq!(number(&points[0]["against_base"][0]["change"]), 0.0);
    // The validation part of the folder was read, and what that means is recorded.
    assert_eq!(object["data"]["rows"], 100);
    assert!(
        object["data"]["file"]
            .as_str()
            .unwrap()
            .ends_with("dev.csv")
    );
    assert_eq!(object["data"]["used_for_selection"], true);
    // The ends are the two models: the tuned one as eval knows it, the base as report does.
    let eval = |model: &str| {
        let words = ["eval", "--model", model, "--data", "data/dev.csv", "--json"];
        json(world.hone(&words))
    };
    assert_eq!(eval("run")["loss"], points[4]["task"]["metrics"]["loss"]);
    let report = json(world.hone(&[&["report", "run", "--json"][..], &MEASURES].concat()));
    let measures = &report["knowledge"]["measures"];
    assert_eq!(measures[0]["before"], points[0]["against_base"][0]["after"]);
    assert_eq!(measures[2]["after"], points[4]["against_base"][1]["after"]);

    // The rule, and the model that was written.
    let best = figures.iter().copied().fold(f64::MIN, f64::max);
    let want = (0..5).find(|&i| figures[i] >= best - 0.05 - 1e-9).unwrap();
    assert_eq!(number(&object["alpha"]), alphas[want]);
    assert_eq!(
        eval("kept")["loss"],
        points[want]["task"]["metrics"]["loss"]
    );
    let receipt = world.json("kept/interpolation.json");
    assert_eq!(receipt["at_alpha"], points[want]);
    assert_eq!(receipt["rule"], "--keep within:0.05");
    world
        .hone(&["predict", "--model", "kept", "a bright film"])
        .ok();
    let toml = String::from_utf8(world.read("kept/run.toml")).unwrap();
    assert!(toml.starts_with("# Options of the run in run,"), "{toml}");
    let told = world.hone(&["report", "kept"]).ok();
    assert!(told.out.contains("interpolated: alpha"), "{}", told.out);
    let svg = String::from_utf8(world.read("frontier.svg")).unwrap();
    assert!(
        svg.contains("similarity pairs.csv") || svg.contains("/pairs.csv"),
        "{svg}"
    );

    // For people.
    let words = [
        &["interpolate", "run", "--data", "data", "--alpha", "0.5"][..],
        &MEASURES,
    ];
    let told = world.hone(&words.concat()).ok();
    for word in [
        "frontier",
        "alpha 0.5 (--alpha) against the fine-tuned model",
        "100 rows of",
    ] {
        assert!(told.out.contains(word), "{word}: {}", told.out);
    }
}

#[test]
fn a_model_of_one_alpha_is_the_weighted_mean_of_both() {
    let world = world();
    let file = |path: std::path::PathBuf| SafetensorsFile::open(&path).unwrap();
    let (base, tuned) = (
        file(fixture().join("model.safetensors")),
        file(world.path("run/model.safetensors")),
    );
    for alpha in ["0", "0.25", "1"] {
        let out = format!("at-{alpha}");
        // No rows are needed to write a model.
        world
            .hone(&["interpolate", "run", "--alpha", alpha, "--out", &out])
            .ok();
        let found = file(world.path(&format!("{out}/model.safetensors")));
        let a: f32 = alpha.parse().unwrap();
        for tensor in tuned.tensors() {
            let name = &tensor.name;
            let head = name.starts_with("classifier") || name.starts_with("bert.pooler");
            let [b, t] = [&base, &tuned].map(|f| f.read_f32(name).unwrap_or_default());
            for (i, x) in found.read_f32(name).unwrap().iter().enumerate() {
                match (head, alpha) {
                    (true, _) | (_, "1") => assert_eq!(x.to_bits(), t[i].to_bits(), "{name}"),
                    (_, "0") => assert_eq!(x.to_bits(), b[i].to_bits(), "{name}"),
                    _ => assert!((x - ((1.0 - a) * b[i] + a * t[i])).abs() < 1e-6, "{name}"),
                }
            }
        }
        assert_eq!(
            world.read(&format!("{out}/config.json")),
            world.read("run/config.json")
        );
        assert_eq!(
            world.read(&format!("{out}/vocab.txt")),
            world.read("run/vocab.txt")
        );
        world
            .hone(&["predict", "--model", &out, "a bright film"])
            .ok();
    }
}

#[test]
fn rows_that_must_not_choose_are_named() {
    let world = world();
    let says = |data: &str, more: &[&str], words: &[&str]| {
        let all = ["interpolate", "run", "--steps", "2", "--data", data];
        let told = world.hone(&[&all[..], more].concat()).ok();
        for word in words {
            assert!(told.err.contains(word), "{word}: {}", told.err);
        }
    };
    let keep = ["--keep", "best"];
    says("data/train.csv", &[], &["is the run's training file"]);
    says(
        "data/test.csv",
        &keep,
        &["is the run's test file", "chosen by test rows"],
    );
    world.write("else/test.csv", world.read("data/dev.csv"));
    says("else/test.csv", &[], &["is called test"]);
    let words = ["interpolate", "run", "--data", "data/test.csv", "--strict"];
    world.hone(&words).fails(&["test file", "--strict"]);
    let told = world.hone(&[
        "interpolate",
        "run",
        "--steps",
        "2",
        "--data",
        "data",
        "--keep",
        "best",
    ]);
    assert!(told.ok().out.contains("judge the result on other rows"));
}

#[test]
fn what_cannot_be_compared_is_one_line() {
    let world = world();
    let model = world.model("other");
    let config = String::from_utf8(world.read("other/config.json")).unwrap();
    let spoilt = config.replace("\"vocab_size\": 43", "\"vocab_size\": 50");
    world.write("other/config.json", spoilt);
    let vocab = String::from_utf8(world.read("other/vocab.txt")).unwrap();
    let names = world.model("words");
    std::fs::remove_file(names.join("tokenizer.json")).unwrap();
    world.write("words/vocab.txt", vocab.replace("film", "movie"));
    world.write("plain/config.json", config);
    world.write("train-only/train.csv", world.read("data/train.csv"));
    world.write("empty.txt", "\n\n");
    let other = model.to_str().unwrap();
    let names = names.to_str().unwrap();
    for (words, says) in [
        (&["report", "nowhere"][..], "nowhere: no such folder"),
        (&["report", "plain"], "no summary.json here"),
        (&["report", "data"], "no summary.json here"),
        (&["report", "run", "--base", other], "vocab_size 50 and 43"),
        (&["report", "run", "--base", names], "its vocabulary is not"),
        (
            &["report", "run", "--similarity", "other.csv"],
            "no second text",
        ),
        (&["report", "run", "--similarity", "no.csv"], "no.csv"),
        (&["report", "run", "--probe", "pairs.csv"], "another task"),
        (&["report", "run", "--text", "empty.txt"], "no rows"),
        (
            &["report", "run", "--text", "text.txt", "--max-length", "99"],
            "--max-length 99",
        ),
        (
            &["interpolate", "nowhere", "--data", "data"],
            "nowhere: no such folder",
        ),
        (&["interpolate", "run"], "nothing to do"),
        (
            &["interpolate", "run", "--base", other, "--data", "data"],
            "vocab_size 50 and 43",
        ),
        (
            &["interpolate", "run", "--data", "train-only"],
            "no validation file",
        ),
        (
            &["interpolate", "run", "--data", "data", "--out", "x"],
            "--alpha A, or --keep",
        ),
        (
            &[
                "interpolate",
                "run",
                "--data",
                "data",
                "--out",
                "run",
                "--alpha",
                "1",
            ],
            "not empty",
        ),
        (
            &["interpolate", "run", "--data", "data", "--alpha", "1.5"],
            "--alpha 1.5",
        ),
        (
            &["interpolate", "run", "--data", "data", "--alpha", "-1"],
            "--alpha -1",
        ),
        (
            &["interpolate", "run", "--data", "data", "--steps", "1"],
            "--steps 1",
        ),
        (
            &["interpolate", "run", "--data", "data", "--keep", "worst"],
            "--keep worst",
        ),
        (
            &["interpolate", "run", "--text", "text.txt", "--keep", "best"],
            "name the rows",
        ),
    ] {
        world.hone(words).fails(&[says]);
    }
    let usage = world.hone(&["interpolate", "run", "--alpha", "0.5", "--steps", "3"]);
    assert_eq!(usage.code, Some(2), "{}", usage.err);
    // A model of elsewhere says nothing of its base.
    let bare = world.model("bare");
    let bare = bare.to_str().unwrap();
    world
        .hone(&["report", bare, "--text", "text.txt"])
        .fails(&["no run.toml here", "--base"]);
    let told = world
        .hone(&["report", bare, "--base", "run", "--text", "text.txt"])
        .ok();
    assert!(told.out.contains("mean CKA"), "{}", told.out);
    // What the recorded base was may lie elsewhere now.
    let toml = String::from_utf8(world.read("run/run.toml")).unwrap();
    let moved = fixture().display().to_string();
    world.write("run/run.toml", toml.replace(&moved, "./gone"));
    world
        .hone(&["report", "run", "--text", "text.txt"])
        .fails(&["began with ./gone", "name it with --base"]);
    for verb in ["report", "interpolate"] {
        let help = world.hone(&[verb, "--help"]).ok();
        for word in [
            "--base",
            "--similarity",
            "--probe-rows",
            "[default: 1000]",
            "DIR",
        ] {
            assert!(help.out.contains(word), "{verb} {word}: {}", help.out);
        }
    }
}
