//! `hone study` from end to end.

use crate::world::{Said, World, fixture, timeless};
use serde_json::Value;

fn words<'a>(model: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["study", "--model", model, "--data", data];
    all.extend(more);
    all
}

fn study(world: &World, more: &[&str]) -> Said {
    let (model, data) = (fixture(), fixture().join("train.csv"));
    world.hone(&words(
        model.to_str().unwrap(),
        data.to_str().unwrap(),
        more,
    ))
}

/// One word decides, and 80 steps find it.
const USUAL: [&str; 10] = [
    "--max-steps",
    "80",
    "--lr",
    "2e-3",
    "--folds",
    "3",
    "--pairs",
    "6",
    "--valid",
    "none",
];

#[test]
fn arms_get_effects_verdicts_costs_a_table_and_a_picture() {
    let world = World::new();
    let more = [
        "--practices",
        "longer,head-start",
        "--arm",
        "crawl: --lr 1e-6 --head-lr 1e-6",
        "--arm",
        "swap: --augment swap:0.2",
    ];
    let model = fixture();
    let on = |more: &[&str]| world.hone(&words(model.to_str().unwrap(), world.reviews(), more));
    let said = on(&[&USUAL[..], &more].concat()).ok();
    let out = "runs/reviews-1";
    let found = world.json(&format!("{out}/study.json"));
    let arms = found["arms"].as_array().unwrap();
    let named = |name: &str| arms.iter().find(|a| a["name"] == name).unwrap();
    assert_eq!(arms.len(), 4);
    assert_eq!(named("longer")["flags"], "--max-steps 160");
    // A model that hardly moves gives every text the same label.
    assert_eq!(named("crawl")["verdict"], "hurts");
    assert!(named("crawl")["interval"][1].as_f64().unwrap() < -0.05);
    assert_eq!(found["baseline"]["mean"], 1.0);
    // Where no answer changed, so few texts do not show that none would.
    assert_eq!(named("longer")["effect"], 0.0);
    assert_eq!(named("longer")["verdict"], "undecided");
    for arm in arms {
        let number = |key: &str| arm[key].as_f64().unwrap();
        let ends = [0, 1].map(|i| arm["interval"][i].as_f64().unwrap());
        assert!(ends[0] <= number("effect") && number("effect") <= ends[1]);
        let mean = number("mean") - number("baseline_mean");
        assert!((mean - number("effect")).abs() < 1e-12);
        assert_eq!(
            arm["differences"].as_array().unwrap().len(),
            arm["pairs"].as_u64().unwrap() as usize
        );
        assert!(
            said.out.contains(arm["name"].as_str().unwrap()),
            "{}",
            said.out
        );
    }
    let ratio = named("longer")["cost"]["tokens_ratio"].as_f64().unwrap();
    assert!((1.8..2.2).contains(&ratio), "{ratio}");
    assert!(
        said.out.contains("hurts") && said.out.contains("study.svg"),
        "{}",
        said.out
    );
    for word in [
        "arm longer: --max-steps 160",
        "arm head-start: --init-head probe",
        "trial 2/",
        "left at most",
        "look after 3 of 6 pairs",
        "stands more than once",
    ] {
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
    let svg = String::from_utf8(world.read(&format!("{out}/study.svg"))).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("crawl") && svg.contains("accuracy, arm minus")
    );
    // Nothing but records is left of the trials, and no model.
    assert!(
        world
            .path(&format!("{out}/trials/1/crawl/trial.json"))
            .is_file()
    );
    assert!(!world.path(&format!("{out}/model.safetensors")).exists());
    // Done is done, a folder is not written to twice, and the recorded study can be run again.
    on(&["--practices", "longer", "--out", out, "--resume"]).fails(&["done"]);
    on(&["--practices", "longer", "--out", out]).fails(&["already holds a run"]);
    let toml = format!("{out}/run.toml");
    let again = world
        .hone(&[
            "study",
            "--config",
            &toml,
            "--out",
            "again",
            "--json",
            "--threads",
            "1",
        ])
        .ok();
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(timeless(again, &[]), timeless(found, &[]));
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_goes_on_bit_for_bit() {
    let world = World::new();
    let options = [
        "--arm",
        "slow: --lr 2e-4",
        "--max-steps",
        "300",
        "--folds",
        "2",
        "--pairs",
        "2",
    ];
    let with_out = |out: &'static str| [&options[..], &["--out", out]].concat();
    study(&world, &with_out("whole")).ok();
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let all = words(model, data, &with_out("broken"));
    let rest = world.interrupted(&all, "trial 2/4: pair 1, slow");
    assert!(rest.iter().any(|l| l.contains("--resume")), "{rest:?}");
    // As the last line says: what it was begun with is in the folder.
    world.hone(&["study", "--resume", "--out", "broken"]).ok();
    let read = |folder: &str| timeless(world.json(&format!("{folder}/study.json")), &[]);
    assert_eq!(read("whole"), read("broken"));
    // Two trials' records, to the last bit of what was measured.
    for trial in ["trials/1/slow/trial.json", "trials/2/baseline/trial.json"] {
        let read = |folder: &str| timeless(world.json(&format!("{folder}/{trial}")), &[]);
        assert_eq!(read("whole"), read("broken"), "{trial}");
    }
}

#[test]
fn test_texts_stay_unread_and_every_task_is_studied() {
    let world = World::new();
    world.every_task();
    // A test file that could not even be read.
    world.write("folder/test.csv", [0xff, 0xfe, 0x00]);
    world.write("folder/train.csv", world.read("groups.csv"));
    let model = fixture();
    for (data, metric, more) in [
        ("folder", "accuracy", &["--group-column", "author"][..]),
        ("scores.csv", "loss", &["--metric", "loss"]),
        ("sets.jsonl", "micro_f1", &[]),
        ("tags.conll", "entity_f1", &["--test", "nowhere.conll"]),
    ] {
        let out = data.split('.').next().unwrap().to_owned() + "-out";
        let usual = [
            "--folds",
            "3",
            "--pairs",
            "3",
            "--epochs",
            "1",
            "--json",
            "--out",
            &out,
            "--practices",
            "longer",
        ];
        let all = [&usual[..], more].concat();
        let said = world.hone(&words(model.to_str().unwrap(), data, &all)).ok();
        let found: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(found["metric"], metric);
        assert_eq!(found["higher_is_better"], metric != "loss");
        assert!(found["arms"][0]["effect"].is_number(), "{data}");
        // What is little of a loss nobody said.
        let margin = if metric == "loss" { 0.0 } else { 0.005 };
        assert_eq!(found["margin"], margin, "{data}");
        let none = said.err.contains("no difference of loss counts as none");
        assert_eq!(none, metric == "loss", "{}", said.err);
        if data == "folder" || data == "tags.conll" {
            assert!(said.err.contains("is not read"), "{}", said.err);
        }
    }
}

#[test]
fn an_arm_that_the_task_cannot_have_is_refused_before_anything_is_written() {
    let world = World::new();
    world.every_task();
    let model = fixture();
    for (data, arm, says) in [
        ("tags.conll", "m: --pool mean", "--pool mean"),
        (
            "scores.csv",
            "m: --label-smoothing 0.1",
            "--label-smoothing",
        ),
        ("sets.jsonl", "m: --r-drop 1", "--r-drop"),
    ] {
        let all = words(
            model.to_str().unwrap(),
            data,
            &["--arm", arm, "--out", "out"],
        );
        world.hone(&all).fails(&["arm m", says]);
        assert!(!world.path("out").exists(), "{data}");
    }
}

/// What a recipe chose, or somebody gave, is worth what the baseline loses without it.
#[test]
fn a_practice_that_the_baseline_has_is_measured_the_other_way_about() {
    let world = World::new();
    let more = [
        "--practices",
        "label-smoothing",
        "--label-smoothing",
        "0.1",
        "--json",
    ];
    let few = [
        "--max-steps",
        "2",
        "--folds",
        "2",
        "--pairs",
        "2",
        "--out",
        "s",
    ];
    let said = study(&world, &[&more[..], &few].concat()).ok();
    assert!(
        said.err.contains("the baseline has it already"),
        "{}",
        said.err
    );
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["arms"][0]["name"], "no label-smoothing");
    assert_eq!(found["arms"][0]["flags"], "--label-smoothing 0");
}

#[test]
fn wrong_input_is_one_clear_line() {
    let world = World::new();
    let one = ["--practices", "longer"];
    for (more, says) in [
        (&[][..], &["nothing to compare", "--practices", "--arm"][..]),
        (&["--practices", "magic"], &["magic", "head-start"]),
        (
            &["--arm", "a: --no-such 1"],
            &["a: --no-such 1", "--no-such"],
        ),
        (&["--arm", "a: --lr fast"], &["fast", "--lr"]),
        (&["--arm", "a: --lr -1"], &["arm a", "--lr -1"]),
        (&["--arm", "--lr 1e-3"], &["NAME: FLAGS"]),
        (
            &["--arm", "a: --lr 1e-3", "--arm", "A: --lr 1e-4"],
            &["two arms", "a"],
        ),
        (
            &["--arm", "a: --data other.csv"],
            &["--data", "same for all arms"],
        ),
        (
            &["--arm", "a: --model bert-base"],
            &["--model", "same for all arms"],
        ),
        (&["--arm", "a: --max-length 12"], &["--max-length"]),
        (&["--arm", "a: --lr 5e-5"], &["arm a", "changes nothing"]),
        (&["--arm", "baseline: --lr 1"], &["baseline"]),
        (&["--arm", "a: --calibrate"], &["--calibrate"]),
        (
            &["--arm", "a: --abstain-precision 0.9"],
            &["--abstain-precision"],
        ),
        (
            &["--arm", "a: --collapse-guard off"],
            &["arm a", "changes nothing"],
        ),
        (
            &["--arm", "a: --reinit-top 99"],
            &["arm a", "--reinit-top 99"],
        ),
        (&["--pairs", "0"], &["--pairs 0", "at least 2"]),
        (&["--pairs", "1"], &["--pairs 1"]),
        (&["--folds", "1"], &["--folds 1"]),
        (&["--folds", "900"], &["--folds 900", "only"]),
        (&["--margin", "-1"], &["--margin -1"]),
        (&["--alpha", "0"], &["--alpha 0"]),
        (&["--metric", "bleu"], &["--metric bleu"]),
        (&["--calibrate"], &["--calibrate"]),
        (&["--resume"], &["--out"]),
    ] {
        let all = match more.contains(&"--arm") || more.is_empty() || more[0] == "--practices" {
            true => more.to_vec(),
            false => [&one[..], more].concat(),
        };
        study(&world, &all).fails(says);
    }
    world
        .hone(&["study", "--practices", "longer"])
        .fails(&["--data"]);
    world.write("own.toml", "pairs = \"many\"\n");
    study(&world, &["--config", "own.toml"]).fails(&["own.toml", "pairs"]);
    world.write("own.toml", "arms = [1]\n");
    study(&world, &["--config", "own.toml"]).fails(&["own.toml", "arms"]);
    let help = world.hone(&["study", "--help"]).ok();
    for word in [
        "--arm",
        "--practices",
        "[default: 10]",
        "head-start",
        "--margin",
        "--epochs",
    ] {
        assert!(help.out.contains(word), "{word}");
    }
    assert_eq!(study(&world, &["--arms", "x"]).code, Some(2));
}
