//! `hone find-lr` from end to end: what it prints and leaves, and that it changes nothing else.

use crate::world::{Said, World, fixture, texts};
use serde_json::Value;
use std::path::Path;

/// The tiny model learns at rates that would ruin a real one.
const RATES: [&str; 4] = ["--from", "1e-4", "--to", "1"];

/// Writes `reviews.csv` and tests on it.
fn find_lr(world: &World, more: &[&str]) -> Said {
    find_lr_of(world, fixture().to_str().unwrap(), more)
}

fn find_lr_of(world: &World, model: &str, more: &[&str]) -> Said {
    let mut all = vec!["find-lr", "--model", model, "--data", world.reviews()];
    all.extend(more);
    world.hone(&all)
}

/// Every file under a folder with its bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn a_curve_a_picture_a_rate_and_the_command_to_go_on_with() {
    let world = World::new();
    let model = world.model("model");
    let before = files(&model);
    let more = [
        "--steps",
        "60",
        "--json",
        "--layer-decay",
        "0.9",
        "--epochs",
        "4",
    ];
    let said = find_lr_of(&world, "model", &[&RATES[..], &more].concat()).ok();
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found, world.json("runs/reviews-lr-1/lr.json"));
    assert!(files(&model) == before, "the model's folder changed");
    let mut left: Vec<String> = files(&world.path("runs"))
        .into_iter()
        .map(|f| f.0)
        .collect();
    for name in ["lr.csv", "lr.json", "lr.svg"] {
        let at = left.iter().position(|path| path.ends_with(name));
        left.remove(at.unwrap_or_else(|| panic!("{name} is missing")));
    }
    assert_eq!(left, [""; 0], "nothing else is written");
    assert!(!world.path("runs/latest").exists());

    // Rates grow by one factor a step, the head's ten times the body's; each second step is measured.
    let repeats = found["repeats"].as_array().unwrap();
    assert_eq!(repeats.len(), 2);
    assert_ne!(repeats[0]["points"], repeats[1]["points"]);
    for point in repeats.iter().flat_map(|r| r["points"].as_array().unwrap()) {
        let number = |key: &str| point[key].as_f64().unwrap();
        let want = 1e-4 * 1e4f64.powf((number("step") - 1.0) / 59.0);
        assert!((number("lr") / want - 1.0).abs() < 1e-9, "{point}");
        assert!((number("head_lr") / want - 10.0).abs() < 1e-7, "{point}");
        assert_eq!(number("step") % 2.0, 0.0);
    }
    let lr = found["lr"].as_f64().unwrap();
    assert!((1e-3..0.1).contains(&lr), "{lr}");
    let above = found["suggestion"]["above_lowest"].as_bool().unwrap();
    let said_so = found["cautions"].to_string().contains("lowest loss");
    assert_eq!(above, said_so, "{}", found["cautions"]);
    let lowest = found["suggestion"]["lowest_loss"].as_f64().unwrap();
    assert!(lowest < 0.95 * found["mean"]["start"].as_f64().unwrap());

    let csv = String::from_utf8(world.read("runs/reviews-lr-1/lr.csv")).unwrap();
    assert!(csv.starts_with("lr,head_lr,loss,smoothed,repeat_1,repeat_2\n"));
    let longest = repeats
        .iter()
        .map(|r| r["points"].as_array().unwrap().len());
    assert_eq!(csv.lines().count(), 1 + longest.max().unwrap());
    let svg = String::from_utf8(world.read("runs/reviews-lr-1/lr.svg")).unwrap();
    assert!(svg.contains(&format!("suggested: {lr:e}")) && svg.contains("repeat 2"));

    // The command is the whole recipe, and runs.
    let command = found["command"].as_str().unwrap();
    for part in [
        "--model model",
        "--layer-decay 0.9",
        "--epochs 4",
        &format!("--lr {lr:e}"),
    ] {
        assert!(command.contains(part), "{part} is not in {command}");
    }
    assert!(!command.contains("--head-lr") && !command.contains("--steps"));
    let mut words: Vec<&str> = command.split(' ').skip(1).collect();
    words.extend(["--out", "trained"]);
    world.hone(&words).ok();
    assert!(world.path("trained/model.safetensors").is_file());
}

#[test]
fn what_a_person_reads() {
    let world = World::new();
    let flags = [
        "--steps",
        "40",
        "--layer-decay",
        "0.5",
        "--lr",
        "1e-3",
        "--head-lr",
        "4e-3",
    ];
    let said = find_lr(&world, &[&RATES[..], &flags, &["--out", "here"]].concat()).ok();
    for part in [
        "held-out training texts, mean of 2 repeats",
        "suggested: body",
        "head to body 4",
        "each repeat alone:",
        "per layer: head",
        "layer 0",
        "embeddings",
        "go on with: hone train --model",
        "--head-lr",
        "here/lr.svg",
        "← suggested",
    ] {
        assert!(said.out.contains(part), "{part:?} is not in {}", said.out);
    }
    // Body and head of the suggestion, and of the command.
    let line = |start: &str| said.out.lines().find(|l| l.starts_with(start)).unwrap();
    let number = |text: &str, before: &str| -> f64 {
        let rest = text.split(before).nth(1).unwrap();
        let word = rest.split([',', ' ']).next().unwrap();
        word.parse().unwrap()
    };
    let (suggested, command) = (line("suggested"), line("go on with"));
    let (body, head) = (number(suggested, "body "), number(suggested, "head "));
    assert!((head / body - 4.0).abs() < 0.3, "{suggested}");
    assert_eq!(number(command, "--lr "), body);
    assert_eq!(number(command, "--head-lr "), head);
}

#[test]
fn threads_do_not_change_a_bit_and_the_seed_does() {
    let world = World::new();
    let run = |out: &str, more: &[&str]| {
        let usual = [&RATES[..], &["--steps", "40", "--out", out]].concat();
        find_lr(&world, &[&usual[..], more].concat()).ok();
        world.read(&format!("{out}/lr.csv"))
    };
    let one = run("one", &["--threads", "1"]);
    assert!(one == run("three", &["--threads", "3"]));
    assert!(one != run("other", &["--threads", "1", "--seed", "5"]));
}

#[test]
fn every_task_and_practice_runs() {
    let world = World::new();
    let (mut pairs, mut scores) = ("text,text_b,label\n".to_owned(), "text,score\n".to_owned());
    let (mut sets, mut tags) = (String::new(), String::new());
    for (a, b, c) in texts() {
        let good = b == "bright";
        pairs += &format!("{a} {c},{b},{}\n", ["no", "yes"][usize::from(good)]);
        scores += &format!("{a} {b} {c},{}\n", if good { 1.5 } else { -0.5 });
        let set = if good { "\"a\", \"b\"" } else { "\"a\"" };
        sets += &format!("{{\"text\": \"{a} {b} {c}\", \"labels\": [{set}]}}\n");
        tags += &format!("{a}\tO\n{b}\tB-x\n{c}\tO\n\n");
    }
    world.write("pairs.csv", pairs);
    world.write("scores.csv", scores);
    world.write("sets.jsonl", sets);
    world.write("tags.conll", tags);
    let model = fixture();
    for (file, more) in [
        ("pairs.csv", &["--freeze", "0", "--cache-frozen"][..]),
        (
            "scores.csv",
            &["--unfreeze", "epoch", "--average", "ema:0.9"],
        ),
        ("sets.jsonl", &["--valid", "none", "--schedule", "slanted"]),
        ("tags.conll", &["--grad-accum", "2", "--batch-size", "8"]),
        ("pairs.csv", &["--augment", "swap:0.2", "--repeats", "1"]),
    ] {
        let usual = ["find-lr", "--data", file, "--steps", "60", "--json"];
        let all = [
            &usual[..],
            &RATES,
            &["--model", model.to_str().unwrap()],
            more,
        ]
        .concat();
        let said = world.hone(&all).ok();
        let found: Value = serde_json::from_str(&said.out).unwrap();
        let lr = found["lr"].as_f64().unwrap();
        assert!((3e-4..0.2).contains(&lr), "{file} {more:?}: {lr}");
        if more.contains(&"--unfreeze") {
            assert!(
                said.err.contains("--unfreeze") && said.err.contains("--average"),
                "{}",
                said.err
            );
            assert!(
                found["command"]
                    .as_str()
                    .unwrap()
                    .contains("--average ema:0.9")
            );
        }
    }
}

#[test]
fn wrong_input_is_one_clear_line_and_leaves_nothing() {
    let world = World::new();
    world.write("few.csv", "text,label\na film,x\na plot,y\nan actor,x\n");
    world.write("taken/run.toml", "");
    world.write("file", "");
    world.write("own.toml", "steps = \"many\"\n");
    for (more, says) in [
        (
            &["--from", "1e-2", "--to", "1e-4"][..],
            &["--from 1e-2", "--to 1e-4"][..],
        ),
        (&["--from", "1e-2", "--to", "1e-2"], &["--from", "--to"]),
        (&["--from", "0"], &["--from 0"]),
        (&["--to", "-1"], &["--to -1"]),
        (&["--to", "inf"], &["--to inf"]),
        (&["--steps", "0"], &["--steps 0", "at least 10"]),
        (
            &["--steps", "5000000000"],
            &["--steps 5000000000", "at most"],
        ),
        (&["--repeats", "0"], &["--repeats 0"]),
        (&["--held-out", "0"], &["--held-out 0"]),
        (
            &["--data", "few.csv", "--valid", "none"],
            &["3 training texts"],
        ),
        (&["--data", "none.csv"], &["none.csv"]),
        (&["--out", "taken"], &["taken", "run.toml", "--out"]),
        (&["--out", "file"], &["--out file", "folder"]),
        (&["--resume"], &["--resume"]),
        (&["--lr", "-1"], &["--lr"]),
        (&["--config", "own.toml"], &["own.toml", "steps"]),
        (&["--device", "cuda"], &["--device cuda does not work here"]),
    ] {
        let (model, data) = (fixture(), fixture().join("train.csv"));
        let mut all = vec!["find-lr", "--model", model.to_str().unwrap()];
        if !more.contains(&"--data") {
            all.extend(["--data", data.to_str().unwrap()]);
        }
        all.extend(more);
        world.hone(&all).fails(says);
    }
    world.hone(&["find-lr"]).fails(&["--data is missing"]);
    assert_eq!(find_lr(&world, &["--no-such-flag"]).code, Some(2));
    assert!(!world.path("runs").exists());
    // Rates that teach nothing: the curve is kept, the answer is an error that names it.
    find_lr(
        &world,
        &[
            "--from", "1e-12", "--to", "1e-11", "--steps", "10", "--out", "flat",
        ],
    )
    .fails(&["no rate lowered the loss", "flat/lr.svg"]);
    let help = world.hone(&["find-lr", "--help"]).ok();
    for part in [
        "--from",
        "1e-7",
        "--held-out",
        "lr.svg",
        "--layer-decay",
        "slanted[:RATIO]",
    ] {
        assert!(help.out.contains(part), "{part}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_test_leaves_nothing() {
    let world = World::new();
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let words = [
        "find-lr",
        "--steps",
        "100000",
        "--model",
        model.to_str().unwrap(),
    ];
    let all = [&words[..], &["--data", data.to_str().unwrap()]].concat();
    let rest = world.interrupted(&all, "step ");
    assert!(
        rest.iter().any(|l| l.contains("nothing was written")),
        "{rest:?}"
    );
    assert!(files(&world.path("")).is_empty());
}
