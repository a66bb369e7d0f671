//! Which device computes: what is said where there is no GPU, or none that can be used.

use crate::world::{Said, World, fixture, said};
use std::path::Path;
use std::process::Command;

/// A line for every verb that computes, of the tiny model on its own texts.
fn verbs() -> Vec<Vec<String>> {
    let model = fixture().display().to_string();
    let data = fixture().join("train.csv").display().to_string();
    let trains = |verb: &str, more: &str| format!("{verb} --model {model} --data {data} {more}");
    [
        "train".to_owned(),
        trains("train", "--max-steps 1"),
        trains("crossval", "--max-steps 1 --folds 2"),
        trains("study", "--max-steps 1 --practices mean-pool"),
        trains("tune", "--trials 2"),
        trains("find-lr", ""),
        trains("check", ""),
        format!("compare {model} {model} --data {data}"),
        format!("interpolate {model} --base {model} --data {data}"),
        format!("report {model} --base {model} --text {data}"),
        format!("eval --model {model} --data {data}"),
        format!("predict --model {model} a film"),
        "bench --batch 1 --length 8 --steps 1".to_owned(),
    ]
    .map(|line| line.split_whitespace().map(str::to_owned).collect())
    .into()
}

const NO_BF16: &str = "--precision bf16: this processor does not multiply bf16";

/// Whether this machine's processor does.
fn multiplies_bf16() -> bool {
    hone_kernels_cpu::Path::rounded().is_some()
}

/// Products in bf16 on the processor: another path than f32, with results of its own that no number of threads changes,
/// and a run in it goes on in nothing else.
#[test]
fn the_processor_multiplies_bf16_where_it_can() {
    if !multiplies_bf16() {
        eprintln!("skipped: this processor does not multiply bf16");
        return;
    }
    let world = World::new();
    let train = |out: &str, more: &[&str]| {
        let words = [
            &["--max-steps", "30", "--save-every", "10", "--out", out],
            more,
        ]
        .concat();
        world.train(&words).ok()
    };
    train("f32", &[]);
    for threads in ["1", "2", "3"] {
        let told = train(threads, &["--precision", "bf16", "--threads", threads]).err;
        assert!(
            told.contains("computing on the CPU (cpu-avx512-bf16)"),
            "{told}"
        );
        let loss = |run: &str| world.json(&format!("{run}/summary.json"))["valid"]["loss"].as_f64();
        let (rounded, single) = (loss(threads).unwrap(), loss("f32").unwrap());
        assert!(
            rounded != single && (rounded - single).abs() < 0.01,
            "{rounded}, in f32 {single}"
        );
        assert!(
            world.read("1/model.safetensors")
                == world.read(&format!("{threads}/model.safetensors"))
        );
    }
    #[cfg(unix)]
    for (of, other) in [("bf16", "f32"), ("f32", "bf16")] {
        let (model, data) = (fixture(), fixture().join("train.csv"));
        let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
        let words = format!(
            "train --model {model} --data {data} --max-steps 20000 --precision {of} --out from-{of}"
        );
        let words: Vec<&str> = words.split_whitespace().collect();
        world.interrupted(&words, "step 1/");
        let out = format!("from-{of}");
        world
            .hone(&["train", "--resume", "--out", &out, "--precision", other])
            .fails(&["kernel path", "cpu-avx512-bf16"]);
    }
}

/// The world hides its cards, if there are any.
#[test]
fn every_verb_that_computes_knows_the_devices() {
    let world = World::new();
    for words in verbs() {
        let with = |more: &[&'static str]| {
            let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
            words.extend(more);
            world.hone(&words)
        };
        eprintln!("{}", words[0]);
        with(&["--device", "cuda"]).fails(&[
            "--device cuda does not work here; use --device cpu",
            "cuda:0",
        ]);
        with(&["--device", "cuda:1", "--precision", "bf16"]).fails(&[
            "--device cuda does not work here; use --device cpu",
            "cuda:1",
        ]);
        with(&["--device", "tpu"]).fails(&["--device tpu", "auto, cpu or cuda[:N]"]);
        if !multiplies_bf16() {
            with(&["--precision", "bf16"]).fails(&[NO_BF16]);
        }
        with(&["--device", "auto", "--tune-products"])
            .fails(&["--tune-products needs --device cuda"]);
        let help = world.hone(&[&words[0], "--help"]).ok().out;
        assert!(help.contains("auto: the first GPU"), "{}", words[0]);
    }
    assert!(!world.path("runs").exists());
}

#[test]
fn a_run_says_where_it_computes() {
    let world = World::new();
    for device in [
        &[][..],
        &["--device", "auto", "--no-graphs"],
        &["--device", "cpu"],
    ] {
        let all = [&["--max-steps", "1"], device].concat();
        let told = world.train(&all).ok().err;
        assert!(told.contains("computing on the CPU ("), "{told}");
    }
    // An answer's lines are what they were.
    let model = fixture();
    let words = ["predict", "--model", model.to_str().unwrap(), "a film"];
    let told = world.hone(&words).ok().err;
    assert!(!told.contains("computing on"), "{told}");
}

/// NVIDIA's libraries, but no card behind them.
#[cfg(target_os = "linux")]
fn empty_driver(folder: &Path) {
    let source = folder.join("driver.c");
    let text = "int cuInit(unsigned flags) { return 100; }\n\
                int cuGetErrorString(int e, const char **s) { *s = \"no card is plugged in\"; return 0; }\n";
    std::fs::write(&source, text).unwrap();
    for name in [
        "libcuda.so",
        "libcuda.so.1",
        "libcublasLt.so",
        "libcublasLt.so.13",
    ] {
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(folder.join(name));
        assert!(cc.arg(&source).status().unwrap().success());
    }
}

/// Where a driver is but no card can be opened, `auto` says why and computes on the processor; what began there goes on
/// there and asks no driver; what began on a card goes on nowhere else.
#[cfg(target_os = "linux")]
#[test]
fn a_card_that_cannot_be_opened_is_told_of_and_not_used() {
    let world = World::new();
    let libraries = world.path("nvidia");
    std::fs::create_dir(&libraries).unwrap();
    empty_driver(&libraries);
    let hone = |words: &[&str]| -> Said {
        let mut command = world.command(words);
        said(command.env("LD_LIBRARY_PATH", &libraries).output().unwrap())
    };
    let (model, data) = (fixture(), fixture().join("train.csv"));
    let words = |more: &[&'static str]| -> Vec<&str> {
        let both = [
            "--model",
            model.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ];
        [&more[..1], &both, &more[1..]].concat()
    };
    const WHY: &str =
        "no GPU is used: cuda:0 failed: the driver does not start: no card is plugged in";
    let crossval = [
        "crossval",
        "--folds",
        "2",
        "--max-steps",
        "2",
        "--out",
        "cv",
    ];
    let told = hone(&words(&crossval)).ok().err;
    assert_eq!(told.lines().filter(|l| *l == WHY).count(), 1, "{told}");
    assert!(told.contains("computing on the CPU ("), "{told}");
    let cpu = hone(&words(
        &[&crossval[..6], &["cpu", "--device", "cpu"]].concat(),
    ))
    .ok()
    .err;
    assert!(!cpu.contains("no GPU"), "{cpu}");
    hone(&words(&["train", "--device", "cuda", "--out", "none"])).fails(&["does not start"]);
    let bf16 = hone(&words(&["eval", "--precision", "bf16"]));
    assert!(bf16.err.starts_with(WHY), "{}", bf16.err);
    match multiplies_bf16() {
        true => drop(bf16.ok()),
        false => drop(bf16.fails(&[NO_BF16])),
    }

    std::fs::remove_file(world.path("cv/crossval.json")).unwrap();
    let resumed = [&crossval[..], &["--resume"]].concat();
    let told = hone(&words(&resumed)).ok().err;
    assert!(!told.contains("no GPU"), "{told}");
    assert!(told.contains("computing on the CPU ("), "{told}");
    std::fs::remove_file(world.path("cv/crossval.json")).unwrap();
    let mut plan = world.json("cv/plan.json");
    plan["identity"]["kernel_path"] = "cuda-nvidia-h200-sm_90a-132sm-cublaslt130100-f32".into();
    world.write("cv/plan.json", plan.to_string());
    let told = hone(&words(&resumed));
    assert!(told.err.starts_with(WHY), "{}", told.err);
    told.fails(&[
        "kernel path",
        "cuda-nvidia-h200-sm_90a-132sm-cublaslt130100-f32",
    ]);
}
