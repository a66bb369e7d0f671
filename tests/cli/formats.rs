//! `crates/driver/formats.md` names every key that programs read.

use crate::world::{World, fixture};
use serde_json::Value;
use std::collections::BTreeSet;

/// Objects whose keys are names: of labels, files, options, operators.
const NAMED: [&str; 10] = [
    "probabilities",
    "hashes",
    "unknown_labels",
    "truncated_by_label",
    "operators",
    "memory",
    "labels",
    "given",
    "options",
    "metadata",
];

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                let named = NAMED.contains(&key.as_str()) && value.is_object();
                if !named {
                    keys(value, found);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|v| keys(v, found)),
        _ => {}
    }
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../crates/driver/formats.md");
    let said: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let world = World::new();
    world.every_task();
    world.reviews();
    world.write(
        "pairs.csv",
        "text,text_b,score\n".to_owned() + &"film,plot,1.5\nslow,dull,3\nfilm,film,4\n".repeat(4),
    );
    let model = fixture();
    let model = model.to_str().unwrap();
    let mut found = BTreeSet::new();
    let mut run = |line: &str| {
        let line = line.replace("MODEL", model);
        let words: Vec<&str> = line.split_whitespace().collect();
        for line in world.hone(&words).ok().out.lines() {
            if let Ok(value) = serde_json::from_str::<Value>(line) {
                keys(&value, &mut found);
            }
        }
    };
    let short = "--max-steps 3 --batch-size 8 --json --threads 1";
    for (data, out) in [
        ("groups.csv", "classes"),
        ("scores.csv", "values"),
        ("sets.jsonl", "sets"),
        ("tags.conll", "tags"),
    ] {
        run(&format!(
            "train --model MODEL --data {data} --valid {data} --test {data} --out {out} {short}"
        ));
        run(&format!("eval --model {out} --data {data} --json"));
        run(&format!("predict --model {out} --data {data}"));
    }
    let task = "--model MODEL --data groups.csv";
    run(&format!(
        "train {task} --recipe auto --valid none --out other --resume {short}"
    ));
    run(&format!(
        "crossval {task} --folds 2 --final-fit --out cv {short}"
    ));
    run(&format!(
        "study {task} --folds 2 --pairs 2 --practices r-drop --out study {short}"
    ));
    run(&format!(
        "tune {task} --trials 2 --space lr --sensitivity lr --out tune {short}"
    ));
    run("find-lr --model MODEL --data reviews.csv --steps 40 --repeats 1 --out lr --json");
    run("compare classes other --data groups.csv --json");
    run(&format!("check {task} --json"));
    run("inspect classes --json");
    run("inspect groups.csv --json");
    run("inspect classes/model.safetensors --json");
    run("report classes --json --similarity pairs.csv --probe groups.csv --text scores.csv");
    run(
        "interpolate classes --data groups.csv --similarity pairs.csv --steps 2 --keep best --out kept --json",
    );
    run("augment --model MODEL --data groups.csv --augment typing:0.5 --out more.csv --json");
    run("bench --model MODEL --steps 1 --batch 2 --length 8 --json");
    for log in ["classes", "other", "cv", "study", "tune"] {
        let lines = String::from_utf8(world.read(&format!("{log}/metrics.jsonl"))).unwrap();
        for line in lines.lines() {
            keys(&serde_json::from_str(line).unwrap(), &mut found);
        }
    }
    assert!(found.len() > 200, "{}", found.len());
    let missing: Vec<&String> = found
        .iter()
        .filter(|k| !said.contains(k.as_str()))
        .collect();
    assert!(missing.is_empty(), "formats.md does not name {missing:?}");
    // The columns of its tables stand there as they are written.
    for file in [
        "classes/errors.csv",
        "values/errors.csv",
        "classes/uncertain.csv",
        "cv/suspects.csv",
        "cv/oof.csv",
        "lr/lr.csv",
    ] {
        let text = String::from_utf8(world.read(file)).unwrap();
        for column in text.lines().next().unwrap().split(',') {
            let column = column
                .strip_prefix("p_")
                .filter(|l| ["x", "y"].contains(l))
                .map_or(column, |_| "p_LABEL");
            assert!(said.contains(column), "{file}: {column}");
        }
    }
}
