//! `hone check` from end to end: a table, JSON, a cleaned copy that trains, `--strict`, and a model that fits.

use crate::world::{World, fixture};
use serde_json::{Value, json};
use std::fs;

fn spoilt(world: &World) {
    world.write(
        "set/train.csv",
        "text,label\nA fine film,pos\na fine film,pos\nThe plot is dull,neg\nthe plot is dull,pos\n\
         cafÃ© scenes<br />are long,Neg\nin the test part,neg\n",
    );
    world.write(
        "set/test.csv",
        "text,label\nIn the test part,neg\nsome other words,new\n",
    );
}

#[test]
fn a_table_json_a_copy_and_strict() {
    let world = World::new();
    spoilt(&world);
    let told = world.hone(&["check", "--data", "set"]).ok();
    for words in [
        "texts that stand in train and in test: 1",
        "texts with more than one label: 1 (1 within train)",
        "labels with spellings that differ only in case, space, composed accents or leading zeros: 1",
        "labels of test that train lacks (their rows count as wrong): 1",
        "cafÃ© → café",
        "texts with HTML tags: 1",
        "train:2, train:3  A fine film",
        "they need a model (--model)",
    ] {
        assert!(
            told.out.contains(words),
            "{words:?} is not in:\n{}",
            told.out
        );
    }
    world
        .hone(&["check", "--data", "set", "--strict"])
        .fails(&["stand in train and in test", "--strict"]);

    let told = world
        .hone(&["check", "--data", "set", "--json", "--fix", "clean"])
        .ok();
    let report: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(report["task"], "classify");
    assert_eq!(report["splits"][0]["duplicate_rows"], 2);
    assert_eq!(report["findings"][0]["kind"], "leak");
    assert_eq!(
        report["fixed"]["rows"][0],
        serde_json::json!(["train", 6, 2])
    );
    let train = fs::read_to_string(world.path("clean/train.csv")).unwrap();
    assert_eq!(
        train,
        "text,label\nA fine film,pos\ncafé scenes are long,neg\n"
    );
    let again = world.hone(&["check", "--data", "clean", "--json"]).ok();
    let report: Value = serde_json::from_str(&again.out).unwrap();
    let kinds: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["label_missing", "label_missing", "lone_label"],
        "only what no copy can mend"
    );
    world
        .hone(&["check", "--data", "set", "--fix", "clean"])
        .fails(&["clean", "not empty"]);
    world
        .hone(&["check", "--data", "set", "--fix", "set"])
        .fails(&["set", "not empty"]);
}

#[test]
fn a_model_beside_words() {
    let world = World::new();
    let model = fixture();
    let data = fixture().join("train.csv");
    let words = [
        "check",
        "--model",
        model.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ];
    let told = world
        .hone(
            &[
                &words[..],
                &[
                    "--json",
                    "--probe-rows",
                    "200",
                    "--max-length",
                    "8",
                    "--threads",
                    "2",
                ],
            ]
            .concat(),
        )
        .ok();
    let report: Value = serde_json::from_str(&told.out).unwrap();
    let probe = &report["model"]["probe"];
    assert!(
        (190..=210).contains(&probe["rows"].as_u64().unwrap()),
        "{probe}"
    );
    assert_eq!(probe["lines"].as_array().unwrap().len(), 4);
    let tokens = &report["model"]["tokens"][0];
    assert_eq!(tokens["split"], "train");
    assert!(tokens["lost_pieces"].as_u64().unwrap() > 0);
    let told = world
        .hone(&[&words[..], &["--probe-rows", "0"]].concat())
        .ok();
    assert!(
        told.out.contains("left out (--probe-rows 0)"),
        "{}",
        told.out
    );
    world
        .hone(&[&words[..], &["--max-length", "2"]].concat())
        .fails(&["--max-length 2"]);
}

/// Values and several labels a text are probed as classes are; labels of words are not, and that is told.
#[test]
fn a_model_beside_words_for_other_tasks() {
    let world = World::new();
    let model = fixture();
    let (mut values, mut sets) = ("text,label\n".to_owned(), "text,label\n".to_owned());
    for i in 0..80 {
        let word = ["awful", "dull", "good"][i % 3];
        let second = ["film", "plot"][i / 3 % 2];
        values += &format!("row {i} a {word} {second},{}.25\n", i % 3);
        sets += &format!("row {i} a {word} {second},{word}|{second}\n");
    }
    // Rows without a value are told, and the probe goes on without them.
    values += "nothing is known of this film,\nnor of this plot,n/a\n";
    world.write("values.csv", &values);
    world.write("sets.csv", &sets);
    world.write("words.conll", "the O\nfilm B-x\n\nthe O\nplot O\n");
    let check = |more: &[&str]| {
        let words = ["check", "--model", model.to_str().unwrap(), "--data"];
        world.hone(&[&words[..], more].concat()).ok().out
    };
    for (words, measure, usual, regression) in [
        (
            &["values.csv"][..],
            "r_squared",
            "mean value",
            "ridge regression",
        ),
        (
            &["sets.csv", "--task", "multilabel"],
            "explained_log_loss",
            "labels' shares",
            "logistic regressions",
        ),
    ] {
        let report = check(&[words, &["--json"]].concat());
        let report: Value = serde_json::from_str(&report).unwrap();
        let probe = &report["model"]["probe"];
        assert_eq!(
            (&probe["measure"], &probe["rows"]),
            (&json!(measure), &json!(80))
        );
        let lines = probe["lines"].as_array().unwrap();
        assert_eq!((lines.len(), &lines[0]["name"]), (4, &json!(usual)));
        // Words say it all; who does not read them knows nothing.
        let score = |k: usize| lines[k]["score"].as_f64().unwrap();
        assert_eq!(lines[1]["name"], format!("TF-IDF, {regression}"));
        assert!(score(0) < 0.5 && score(1) > 0.7, "{probe}");
        assert!(lines[1].get("macro_f1").is_none(), "{probe}");
        let told = check(words);
        assert!(told.contains(usual) && !told.contains("macro-F1"), "{told}");
    }
    let told = check(&["words.conll"]);
    let why = "the linear probe: it answers texts, and these labels are of words";
    assert!(told.contains(why), "{told}");
}

/// `hone inspect` counts labels as training takes them: a number is one label however it is written.
#[test]
fn inspect_counts_what_training_learns() {
    let world = World::new();
    world.write("a.csv", "text,label\na,1.0\nb,0.0\nc,1\nd,0\ne,1.0\n");
    let told = world.hone(&["inspect", "a.csv", "--json"]).ok();
    let found: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(found["labels"], json!({"0": 2, "1": 3}));
    world.write("b.csv", "words,label\na,1\n");
    let says = ["b.csv", "no column text", "hone check takes that option"];
    world.hone(&["inspect", "b.csv"]).fails(&says);
}

#[test]
fn what_cannot_be_checked_is_one_line() {
    let world = World::new();
    for (name, content, words) in [
        ("a.csv", "words,label\nx,1\n", "--text-column"),
        ("a.csv", "text,label\nx\n", "line 2"),
        ("a.csv", "", "no rows"),
        ("a.jsonl", "{\"text\": 1}\n", "must be a string"),
        ("a.xls", "x", "formats are"),
    ] {
        world.write(name, content);
        world.hone(&["check", "--data", name]).fails(&[name, words]);
    }
    world
        .hone(&["check", "--data", "nothing"])
        .fails(&["nothing"]);
    world.write("b.csv", "text,label\nx,1\ny,0\n");
    for flags in [
        &["--task", "guess"][..],
        &["--truncate", "middle"],
        &["--threads", "0"],
        &["--model", "./nowhere"],
    ] {
        let said = flags[1].trim_start_matches("./");
        world
            .hone(&[&["check", "--data", "b.csv"], flags].concat())
            .fails(&[said]);
    }
    assert_eq!(world.hone(&["check"]).code, Some(2));
}

/// The quick part of the check: a training run names the rows, and refuses them under `--strict`.
#[test]
fn training_names_leaks_and_conflicts() {
    let world = World::new();
    let text = fs::read_to_string(fixture().join("train.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let flipped = |line: &str| -> String {
        let (text, label) = line.rsplit_once(',').unwrap();
        format!("{text},{}", if label == "good" { "bad" } else { "good" })
    };
    let train = [&lines[..60], &[flipped(lines[3]).as_str()]]
        .concat()
        .join("\n");
    let test = [lines[0], lines[5], lines[100]].join("\n");
    world.write("a/train.csv", train + "\n");
    world.write("a/test.csv", test + "\n");
    let model = fixture();
    let words = [
        "train",
        "--model",
        model.to_str().unwrap(),
        "--data",
        "a",
        "--valid",
        "none",
        "--max-steps",
        "1",
    ];
    let told = world.hone(&[&words[..], &["--out", "out"]].concat()).ok();
    let leak = "texts that stand in the training part and in the test part: 1, 1 row (line 6 of a/train.csv) and 1 row \
                (line 2 of a/test.csv)";
    assert!(told.err.contains(leak), "{}", told.err);
    let conflict = "texts with more than one label: 1, 2 rows (lines 4, 61 of a/train.csv)";
    assert!(told.err.contains(conflict), "{}", told.err);
    world
        .hone(&[&words[..], &["--out", "no", "--strict"]].concat())
        .fails(&["line 6 of a/train.csv", "--strict"]);
}
