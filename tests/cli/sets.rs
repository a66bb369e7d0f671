//! Data sets by name, through every verb that reads texts: fetched once, then a folder like any other.

use crate::server::{Reply, Request, Server};
use crate::world::{Said, World, fixture, said};
use serde_json::Value;
use std::fs;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FIXTURES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/crates/data/fixtures/parquet/imdb"
);

/// The commit of what the hub made of `owner/scripted`.
const CONVERTED: &str = "cccccccccccccccccccccccccccccccccccccccc";
/// Its files, and the fixtures that they are.
const CONVERSION: [[&str; 2]; 4] = [
    ["default/train/0000.parquet", "train-00000-of-00002.parquet"],
    ["default/train/0001.parquet", "train-00001-of-00002.parquet"],
    [
        "default/validation/0000.parquet",
        "test-00000-of-00001.parquet",
    ],
    ["default/test/0000.parquet", "test-00000-of-00001.parquet"],
];

/// The fixtures of the reader as the set `owner/imdb` of a hub, with a script and a card; `owner/scripted` has a script alone,
/// and what the hub made of it; `owner/several` has two configurations.
fn hub() -> Server {
    Server::start(answer)
}

fn answer(request: &Request) -> Reply {
    let names = fs::read_dir(FIXTURES).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<String> = names.map(|name| format!("plain_text/{name}")).collect();
    paths.extend(["README.md", "imdb.py"].map(str::to_owned));
    let list = |paths: Vec<String>| {
        let files = paths.iter().map(|p| serde_json::json!({"rfilename": p}));
        let files: Vec<Value> = files.collect();
        let sha = match request.path.contains("convert") {
            true => CONVERTED,
            false => COMMIT,
        };
        let body = serde_json::json!({"sha": sha, "siblings": files});
        let body = body.to_string().into_bytes();
        Reply {
            body,
            ..Reply::status(200)
        }
    };
    let path = request.path.as_str();
    let file = path.strip_prefix(&format!(
        "/datasets/owner/imdb/resolve/{COMMIT}/plain_text/"
    ));
    let converted = path.strip_prefix(&format!("/datasets/owner/scripted/resolve/{CONVERTED}/"));
    let converted = CONVERSION.iter().find(|[name, _]| converted == Some(name));
    let file = file.or(converted.map(|[_, fixture]| *fixture));
    match (path.strip_prefix("/api/datasets/owner/"), file) {
        (Some("imdb/revision/main"), _) => list(paths),
        (Some(set), _) if set == format!("imdb/revision/{COMMIT}") => list(paths),
        (Some("scripted/revision/main"), _) => list(vec!["scripted.py".to_owned()]),
        (Some("scripted/revision/refs%2Fconvert%2Fparquet"), _) => {
            list(CONVERSION.map(|[name, _]| name.to_owned()).to_vec())
        }
        (Some("several/revision/main"), _) => {
            list(["cola", "sst2"].map(|c| format!("{c}/train.csv")).to_vec())
        }
        (None, Some(name)) => Reply {
            body: fs::read(format!("{FIXTURES}/{name}")).unwrap(),
            ..Reply::status(200)
        },
        _ => Reply::status(404).with("X-Error-Code", "RepoNotFound"),
    }
}

/// `hone` with these words and this hub.
fn online(world: &World, hub: &Server, words: &[&str]) -> Said {
    let mut command = world.command(words);
    said(command.env("HF_ENDPOINT", &hub.address).output().unwrap())
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn a_name_is_trained_on_and_recorded_and_then_needs_no_network() {
    let world = World::new();
    let hub = hub();
    let model = fixture();
    let model = model.to_str().unwrap();
    let source = format!("{}/datasets/owner/imdb @ {COMMIT}", hub.address);
    let train = [
        "train", "--model", model, "--epochs", "1", "--valid", "none", "--data",
    ];
    let by_name = [&train[..], &["owner/imdb"]].concat();
    let told = online(&world, &hub, &by_name).ok().err;
    assert_says(
        &told,
        &[
            "data set owner/imdb: ",
            &format!(" from {source}, licence not stated, in "),
            "not fetched: README.md, imdb.py, plain_text/unsupervised-00000-of-00001.parquet\n",
            "counted through all 2 shards",
        ],
    );
    assert!(!told.contains("other files, not read"), "{told}");
    assert!(!hub.requests().iter().any(|r| r.path.ends_with(".py")));
    // The record has the name as it was typed, and where it led; the figures are those of the folder, which needs no name.
    let record = String::from_utf8(world.read("runs/imdb-1/run.toml")).unwrap();
    let record: toml::Table = record.parse().unwrap();
    assert_eq!(record["data"].as_str(), Some("owner/imdb"));
    assert_eq!(record["fetched"]["data"].as_str(), Some(source.as_str()));
    let folder = world.path(&format!(
        "cache/datasets/owner--imdb/{COMMIT}/files/plain_text"
    ));
    let folder = folder.to_str().unwrap();
    world
        .hone(&[&train[..], &[folder, "--out", "same"]].concat())
        .ok();
    let of = |run: &str| world.json(&format!("{run}/summary.json"))["hashes"].clone();
    assert_eq!(of("runs/imdb-1"), of("same"));
    assert!(of("same")["training file"].is_string());

    // From here on nobody answers.
    let asked = hub.requests().len();
    world
        .hone(&["train", "--config", "runs/imdb-1/run.toml"])
        .ok();
    let weights = |run: &str| world.read(&format!("{run}/model.safetensors"));
    assert_eq!(weights("runs/imdb-2"), weights("runs/imdb-1"));
    let at_commit = format!("owner/imdb@{COMMIT}");
    let practices = ["--practices", "r-drop", "--max-steps", "1", "--folds", "2"];
    let run = ["--model", model, "--max-steps", "1", "--data", &at_commit];
    let steps = ["--steps", "10", "--repeats", "1", "--held-out", "2"];
    let tune = [
        "tune",
        "--trials",
        "2",
        "--folds",
        "2",
        "--seeds",
        "1",
        "--space",
        "lr=1e-4..2e-4",
    ];
    let check = ["check", "--data"];
    // Of so few texts not every rate finds something; what it read it says before.
    for (words, code, says) in [
        ([&check[..], &["owner/imdb"]].concat(), Some(0), ""),
        (
            [&check[..], &[folder, "--valid", "owner/imdb"]].concat(),
            Some(1),
            "owner/imdb: this data set has no validation texts",
        ),
        (
            vec!["eval", "--model", "same", "--data", "owner/imdb"],
            Some(0),
            "the folder's test texts",
        ),
        (
            vec!["predict", "--model", "same", "--data", "owner/imdb"],
            Some(0),
            "owner/imdb: its test texts, ",
        ),
        (
            vec!["compare", "same", "runs/imdb-1", "--data", "owner/imdb"],
            Some(0),
            "",
        ),
        (
            vec![
                "interpolate",
                "same",
                "--base",
                model,
                "--data",
                "owner/imdb",
            ],
            Some(1),
            "no validation file here",
        ),
        (
            vec![
                "augment",
                "--data",
                "owner/imdb",
                "--augment",
                "swap",
                "--out",
                "more.jsonl",
            ],
            Some(0),
            "owner/imdb: its training texts, ",
        ),
        (vec!["fetch", "--data", "owner/imdb"], Some(0), ""),
        (
            [&["crossval", "--folds", "2", "--valid", "none"][..], &run].concat(),
            Some(0),
            "",
        ),
        (
            [&["find-lr"][..], &run[..2], &run[4..], &steps].concat(),
            None,
            "",
        ),
        (
            [&["study"][..], &practices, &run[..2], &run[4..]].concat(),
            Some(0),
            "",
        ),
        ([&tune[..], &run[..2], &run[4..]].concat(), Some(0), ""),
        (
            [&["train"][..], &run, &["--test", "owner/imdb"]].concat(),
            Some(0),
            "owner/imdb: its test texts, ",
        ),
    ] {
        let told = world.hone(&words);
        if code.is_some() {
            assert_eq!(told.code, code, "{words:?}: {}", told.err);
        }
        assert_says(&told.err, &["data set owner/imdb: ", says]);
    }
    assert_eq!(hub.requests().len(), asked);
    assert!(world.path("runs/imdb-3/crossval.json").exists());
    // A name that stands twice is looked up once.
    let twice = ["check", "--data", "owner/imdb", "--test", "owner/imdb"];
    let told = world.hone(&twice).ok().err;
    assert_eq!(told.matches("data set owner/imdb: ").count(), 1, "{told}");
    // A path always wins.
    world.write("owner/imdb/train.csv", "text,label\na,x\nb,y\nc,x\nd,y\n");
    let told = world.hone(&["check", "--data", "owner/imdb"]).ok();
    assert!(!told.err.contains("data set owner/imdb"), "{}", told.err);
}

#[test]
fn what_the_hub_made_of_a_set_is_read_as_the_same_texts() {
    let (world, hub) = (World::new(), hub());
    let model = fixture();
    let run = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--max-steps",
        "1",
        "--data",
    ];
    for (name, out) in [("owner/imdb", "own"), ("owner/scripted", "made")] {
        let words = ["--valid", "owner/scripted", "--out", out];
        let told = online(&world, &hub, &[&run[..], &[name], &words].concat())
            .ok()
            .err;
        let both = [
            "owner/scripted: its validation texts, ",
            "(refs/convert/parquet, the hub's own conversion), licence",
        ];
        for said in both {
            assert_eq!(told.matches(said).count(), 1, "{said}: {told}");
        }
    }
    let of = |run: &str| world.json(&format!("{run}/summary.json"));
    assert_eq!(of("made")["hashes"], of("own")["hashes"]);
    assert_eq!(of("made")["valid"]["rows"], 2);
    let record = String::from_utf8(world.read("made/run.toml")).unwrap();
    let record: toml::Table = record.parse().unwrap();
    for key in ["data", "valid"] {
        assert_says(
            record["fetched"][key].as_str().unwrap(),
            &[CONVERTED, "refs/convert/parquet"],
        );
    }
    assert!(!hub.requests().iter().any(|r| r.path.ends_with(".py")));
}

#[test]
fn fetch_tells_programs_what_came() {
    let (world, hub) = (World::new(), hub());
    let told = online(&world, &hub, &["fetch", "--data", "owner/imdb", "--json"]).ok();
    let object: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(object["commit"], COMMIT);
    assert_eq!(object["cached"], false);
    assert_eq!(object["files"].as_array().unwrap().len(), 3);
    assert_eq!(object["not_fetched"].as_array().unwrap().len(), 3);
    assert!(object["folder"].as_str().unwrap().ends_with("plain_text"));
    for words in [&["fetch"][..], &["fetch", "minilm", "--data", "owner/imdb"]] {
        assert_eq!(online(&world, &hub, words).code, Some(2));
    }
}

#[test]
fn what_is_neither_a_path_nor_a_set_is_one_line() {
    let (world, hub) = (World::new(), hub());
    let none = "no such file or folder";
    let os = "No such file";
    // Words, what is said of them, and how many questions that takes.
    for (data, says, asked) in [
        ("data/reviews.csv", &["data/reviews.csv", os][..], 0),
        ("data/reviews.jsonl.gz", &["data/reviews.jsonl.gz", os], 0),
        ("./owner/imdb", &["./owner/imdb", os], 0),
        (
            "owner/imdb/plain_text/x",
            &["owner/imdb/plain_text/x", os],
            0,
        ),
        (
            "imdb",
            &[
                "imdb: no such file or folder; a data set of the Hugging Face hub is named owner/name",
            ],
            0,
        ),
        (
            "data/reviews.cvs",
            &[
                "data/reviews.cvs: no such file or folder; as the name of a data set: ",
                "has no data set 'data/reviews.cvs'",
            ],
            1,
        ),
        (
            "owner/several",
            &[
                none,
                "several configurations: cola, sst2; name one, as owner/several/cola",
            ],
            1,
        ),
        (
            "owner/imdb/other",
            &[
                "owner/imdb/other: no such file or folder",
                "no configuration 'other'; it has plain_text",
            ],
            2,
        ),
        (
            "owner/imdb@v2",
            &["owner/imdb@v2: no such file or folder", "'v2'"],
            1,
        ),
    ] {
        let before = hub.requests().len();
        let told = online(&world, &hub, &["check", "--data", data]).fails(says);
        assert_eq!(told.err.lines().count(), 1, "{}", told.err);
        assert_eq!(hub.requests().len() - before, asked, "{data}");
    }
    world
        .hone(&["check", "--data", "data/reviews"])
        .fails(&["data/reviews: no such file or folder; as the name of a data set: http://127.0.0.1:9 does not answer"]);
}
