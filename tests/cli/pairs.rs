//! A model of pairs is given both texts, also by standard input.

use crate::world::{Said, World, fixture, said};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

/// `hone` with these words, fed these lines.
fn fed(world: &World, words: &[&str], lines: &str) -> Said {
    let mut command = world.command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    drop(input);
    said(child.wait_with_output().unwrap())
}

fn answers(told: &Said) -> Vec<Value> {
    let lines = told.out.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn pairs_come_by_lines_of_standard_input() {
    let world = World::new();
    let words = ["film", "actor", "plot", "music", "slow", "bright", "dull"];
    let pair = |i: usize| [words[i % 7], words[(i / 2 + 3) % 7]];
    let mut csv = String::from("sentence1,sentence2,label\n");
    let mut lines = String::new();
    for i in 0..40 {
        let [a, b] = pair(i);
        csv += &format!("a {a},the {b},{}\n", i % 2);
        let object =
            json!({"id": i, "sentence2": format!("the {b}"), "sentence1": format!("a {a}")});
        lines += &format!("{object}\n");
    }
    world.write("pairs.csv", csv);
    let model = fixture();
    let train = ["train", "--model", model.to_str().unwrap(), "--epochs", "1"];
    world
        .hone(&[&train[..], &["--data", "pairs.csv", "--out", "pairs"]].concat())
        .ok();
    let predict = ["predict", "--model", "pairs"];
    let mut filed = answers(
        &world
            .hone(&[&predict[..], &["--data", "pairs.csv"]].concat())
            .ok(),
    );
    for answer in &mut filed {
        // The file's first line is its header.
        answer["row"] = json!(answer["row"].as_u64().unwrap() - 1);
    }
    let read = |words: &[&str], lines: &str| fed(&world, &[&predict[..], words].concat(), lines);
    for words in [&["-"][..], &["--stream", "-"]] {
        let told = read(words, &lines).ok();
        assert_eq!(answers(&told), filed, "{words:?}");
        assert!(!told.err.contains("warning"), "{}", told.err);
    }
    // Other names of the two texts, the other way about.
    let told = read(
        &["-", "--text-column", "q", "--text-b-column", "sentence1"],
        r#"{"sentence1": "the film", "q": "a plot"}"#,
    );
    let answer = &answers(&told.ok())[0];
    assert_eq!(
        (&answer["text"], &answer["text_b"]),
        (&json!("a plot"), &json!("the film"))
    );
    // What is no pair is told in its place, or ends the reading.
    let bad = "{\"text\": \"a film\", \"text_b\": \"a plot\"}\n\na film\n{\"text\": \"a\"}\n{\"text\": \"\", \"text_b\": \"a\"}\n";
    let told = answers(&read(&["--stream", "-"], bad).ok());
    assert!(told[0]["label"].is_string() && told.len() == 5);
    for (row, says) in [
        (2, "an empty text"),
        (3, "not a JSON object ("),
        (
            4,
            "no key text_b|sentence2 (or --text-b-column); the keys are text; this model reads pairs",
        ),
        (5, "an empty text"),
    ] {
        let line = &told[row - 1];
        assert_eq!(line["row"], row);
        let error = line["error"].as_str().unwrap();
        assert!(error.starts_with(says), "{error}");
    }
    read(&["-"], bad).fails(&[
        "standard input: line 3: not a JSON object",
        "this model reads pairs",
    ]);
    // For any other model a line is a text.
    world.train(&["--max-steps", "2", "--out", "single"]).ok();
    let object = r#"{"text": "a film", "text_b": "a plot"}"#;
    let told = fed(&world, &["predict", "--model", "single", "-"], object).ok();
    assert_eq!(answers(&told)[0]["text"], object);
}
