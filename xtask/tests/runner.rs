//! The GPU bundle's runner (`xtask/python/gpu/run.py`) over stand-ins: what it keeps of a run that was killed, of
//! opponents that did not start, and of which card; which opponents begin ahead, and that they stand still while others
//! are timed; what it makes of pre-training. Without a `python3` the tests say that they skip.
#![cfg(target_os = "linux")]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Trains at 1000 tokens a second; waits amid its turns, or fails at texts of a length, where it is told to. It notes
/// where an opponent that should stand still goes on, and where one of texts of 512 lives beside those of 128. `pretrain`
/// leaves weights and losses of the kind that is asked for.
const HONE: &str = r#"#!/bin/sh
case "$*" in *--back-to-back*) [ -n "$STUB_HANG" ] && touch "$STUB_HANG" && exec sleep 100;; esac
case "$*" in *"--length $STUB_FAILS "*) echo 'it fails' >&2; exit 1;; esac
case "$*" in *"--length 128 "*)
    [ -e "$STUB_STARTS.pid512" ] && kill -0 "$(cat "$STUB_STARTS.pid512")" 2>/dev/null && touch "$STUB_STARTS.lives";;
esac
[ -n "$STUB_BEATS" ] && before=$(wc -c <"$STUB_BEATS") && sleep 0.3 && [ "$(wc -c <"$STUB_BEATS")" != "$before" ] && touch "$STUB_BEATS.timed"
case "$*" in *"--length 512 "*--back-to-back*) [ -n "$STUB_BEATS" ] && touch "$STUB_BEATS.turn";; esac
case "$*" in *--back-to-back*) [ -n "$STUB_ORDER" ] && echo hone >>"$STUB_ORDER";; esac
if [ "$1" = pretrain ]; then
    for word; do [ "$last" = --out ] && out=$word; last=$word; done
    mkdir -p "$out"
    if [ "$STUB_KIND" = differs ]; then echo $$; else echo same; fi >"$out/model.safetensors"
    step=0
    while [ $step -lt 60 ]; do
        loss=$((100 - step))
        [ "$STUB_KIND" = rises ] && loss=$((100 + step))
        [ "$STUB_KIND.$step" = null.30 ] && loss=null
        [ "$STUB_KIND.$step" = short.59 ] || echo '{"event":"step","loss":'$loss'}'
        step=$((step + 1))
    done >"$out/metrics.jsonl"
fi
echo '{"tokens_per_s": 1000, "peak_fraction": 0.6, "peak_gflop_per_s": 1}'
"#;
/// Waits for a beat of an opponent that began ahead and for the start of another, where it checks operations.
const HONE_CARD: &str = r#"#!/bin/sh
if [ -n "$STUB_BEATS" ] && [ "$1" = conformance ]; then
    tries=0
    until [ -s "$STUB_BEATS" ] && [ -e "$STUB_BEATS.eager128" ] || [ $tries = 500 ]; do sleep 0.02; tries=$((tries + 1)); done
fi
echo '{"ok": true, "path": "cuda-stub"}'
"#;
const SMI: &str = "#!/bin/sh\nprintf 'name, driver_version\\n%s, 580.1\\n' \"$STUB_CARD\"\n";
const TORCH: &str = r#"import os
if "STUB_NO_TORCH" in os.environ: raise ImportError("there is none")
__version__ = "2"
class version: cuda = "13"
class cuda:
    @staticmethod
    def is_available(): return True
    @staticmethod
    def get_device_name(k): return "by PyTorch"
"#;
/// PyTorch at 500; one of its modes does not start where it is told to, and one that compiles shows that it does, until
/// Hone has had a turn beside it. It notes which of them began.
const TORCH_STEP: &str = r#"import json, os, sys, time
mode = sys.argv[sys.argv.index("--compile") + 1] if "--compile" in sys.argv else "eager"
length = sys.argv[sys.argv.index("--length") + 1] if "--length" in sys.argv else "SST-2"
if "STUB_STARTS" in os.environ:
    with open(os.environ["STUB_STARTS"], "a") as starts: starts.write(f"{mode} {length}\n")
    with open(os.environ["STUB_STARTS"] + ".pid" + length, "w") as pid: pid.write(str(os.getpid()))
if os.environ.get("STUB_NO_START") == mode: sys.exit("it does not start")
told = os.environ.get("STUB_BEATS")
if told and mode == "max-autotune":
    with open(told, "ab", buffering=0) as beats:
        until = time.monotonic() + 60
        while time.monotonic() < until and not os.path.exists(told + ".turn"):
            beats.write(b".")
            time.sleep(0.02)
print(json.dumps(dict(started=mode)), flush=True)
if told: open(told + "." + mode + length, "w").close()
for line in sys.stdin:
    if "STUB_ORDER" in os.environ:
        with open(os.environ["STUB_ORDER"], "a") as order: order.write(mode + "\n")
    print(json.dumps(dict(tokens_per_s=500, fill=1, peak_memory_bytes=1)), flush=True)
"#;

struct Bundle(tempfile::TempDir);

impl Bundle {
    /// None where nothing can run it, which is said.
    fn new() -> Option<Bundle> {
        if Command::new("python3").arg("--version").output().is_err() {
            eprintln!("skipped: no python3");
            return None;
        }
        let bundle = Bundle(tempfile::tempdir().unwrap());
        let put = |name: &str, text: &str| {
            let path = bundle.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/gpu");
        for entry in fs::read_dir(scripts).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "py") {
                let name = path.file_name().unwrap().to_str().unwrap();
                put(name, &fs::read_to_string(&path).unwrap());
            }
        }
        put("bin/hone", HONE);
        put("bin/hone-card", HONE_CARD);
        put("model/config.json", "{}");
        put("bundle.json", r#"{"revision": "one"}"#);
        put("torch_step.py", TORCH_STEP);
        put("beside/nvidia-smi", SMI);
        put("beside/torch/__init__.py", TORCH);
        put("beside/transformers/__init__.py", "__version__ = '5'\n");
        Some(bundle)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let beside = self.path("beside");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("python3");
        command.arg(self.path("run.py")).args(["--out"]);
        command.arg(self.path("out.json")).args(["--repeats", "2"]);
        command.args(["--only", "large128"]).args(args);
        command.env("PATH", format!("{}:{path}", beside.display()));
        command.env("PYTHONPATH", beside).env("STUB_CARD", "one");
        command.envs(env.iter().copied());
        command
    }

    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> (Value, Output) {
        let out = self.command(args, env).output().unwrap();
        (self.document(), out)
    }

    fn document(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("out.json")).unwrap()).unwrap()
    }
}

fn step(document: &Value) -> &Value {
    &document["steps"]["large128"]
}

fn cell(document: &Value) -> &Value {
    &step(document)["cells"]["base 256x128"]
}

/// Turns of Hone and of its opponents.
fn turns(document: &Value) -> [usize; 4] {
    let of = |value: &Value| value.as_array().map_or(0, Vec::len);
    let rival = |mode: &str| of(&cell(document)["rivals"][mode]["tokens_per_s"]);
    [
        of(&cell(document)["hone"]),
        rival("eager"),
        rival("default"),
        rival("max-autotune"),
    ]
}

fn bars(document: &Value) -> Vec<&str> {
    let bars = document["bars"].as_object().unwrap();
    bars.keys().map(String::as_str).collect()
}

#[test]
fn a_run_loses_nothing_and_goes_on_with_what_is_not_measured() {
    let Some(bundle) = Bundle::new() else {
        return;
    };

    // An opponent that does not start: the step is not done, what the others say stays.
    let (first, out) = bundle.run(&[], &[("STUB_NO_START", "max-autotune")]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert_eq!(turns(&first), [2, 2, 2, 0], "{out:?}");
    assert_eq!(bars(&first), ["G1", "G3"]);
    assert_eq!(cell(&first)["cut"], "without all turns of max-autotune");
    let run = &first["runs"][0];
    assert_eq!(
        [
            &run["card"],
            &run["driver"],
            &run["torch"],
            &run["revision"]
        ],
        ["one", "580.1", "2", "one"]
    );

    // Only that one is started again, and Hone beside it.
    let (second, out) = bundle.run(&[], &[("STUB_NO_START", "eager")]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(turns(&second), [4, 2, 2, 2]);
    assert_eq!(bars(&second), ["G1", "G3", "G4"]);
    assert_eq!(step(&second)["state"], "done");
    assert_eq!(cell(&second)["cut"], Value::Null);

    // Another card's figures do not come into it.
    let (same, out) = bundle.run(&[], &[("STUB_CARD", "two")]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let want = "out.json: measured on one, and this is two; give another --out\n";
    assert!(said.ends_with(want), "{said}");
    assert_eq!(same, second);

    // Measured again and killed: bars and cell are still there, and what was begun is gone on with.
    let hangs = bundle.path("hangs");
    let mut child = bundle
        .command(&["--again"], &[("STUB_HANG", hangs.to_str().unwrap())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while !hangs.exists() && since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = bundle.document();
    assert_eq!(bars(&killed), ["G1", "G3", "G4"]);
    assert_eq!(cell(&killed)["ok"], false);
    assert_eq!(&cell(&killed)["before"], cell(&second));
    let order = bundle.path("order");
    let (last, out) = bundle.run(&[], &[("STUB_ORDER", order.to_str().unwrap())]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(turns(&last), [2, 2, 2, 2]);
    assert_eq!(cell(&last)["before"], Value::Null);
    // Turns go to and fro, each opponent's warm-up behind them.
    let order = fs::read_to_string(order).unwrap();
    let order: Vec<&str> = order.lines().collect();
    let once = ["hone", "eager", "default", "max-autotune"];
    let back = once.iter().rev();
    assert_eq!(
        order[6..],
        once.iter().chain(back).copied().collect::<Vec<_>>()
    );

    // A step that was not done for another reason does not measure its whole cells again.
    let mut document = last.clone();
    document["steps"]["large128"]["state"] = "running".into();
    fs::write(bundle.path("out.json"), document.to_string()).unwrap();
    let (again, out) = bundle.run(&[], &[("STUB_NO_START", "eager")]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(cell(&again), cell(&last));
    assert_eq!(again["runs"].as_array().map(Vec::len), Some(5));
}

#[test]
fn opponents_compile_ahead_and_stand_still_while_others_are_timed() {
    let Some(bundle) = Bundle::new() else {
        return;
    };
    let beats = bundle.path("beats");
    fs::write(&beats, "").unwrap();
    let only = "large128,large512,conformance";
    let args = [
        "--only",
        only,
        "--ahead",
        "--modes",
        "large128=max-autotune",
    ];
    // Operations are checked once it has begun, and it goes on until Hone has had a turn on texts of 512.
    let (document, out) = bundle.run(&args, &[("STUB_BEATS", beats.to_str().unwrap())]);
    assert!(out.status.success(), "{out:?}");
    assert!(!bundle.path("beats.timed").exists(), "{out:?}");
    assert_eq!(turns(&document), [2, 2, 0, 2]);
    let rivals = &cell(&document)["rivals"];
    let [eager, compiled] = ["eager", "max-autotune"].map(|mode| &rivals[mode]["started"]);
    assert_eq!([&eager["ahead"], &compiled["ahead"]], [true, true]);
    // One that compiles lost time while others were timed; one that waits for its turns lost none.
    assert_eq!(eager["halted_seconds"], 0.0, "{rivals}");
    let halted = compiled["halted_seconds"].as_f64().expect("a number");
    let after = compiled["ready_after_seconds"].as_f64().expect("a number");
    assert!((1.0..30.0).contains(&halted) && after > halted, "{rivals}");
    // Turns that do not count are had before and after the others stand still.
    let warm = [
        &rivals["eager"]["warm_up_beside"],
        &rivals["eager"]["warm_up"],
    ];
    assert_eq!(
        warm.map(|turns| turns.as_array().map(Vec::len)),
        [Some(2); 2]
    );
    let other = &document["steps"]["large512"]["cells"]["base 64x512"];
    assert_eq!(other["rivals"].as_object().unwrap().len(), 1, "{other}");
    assert_eq!(other["rivals"]["eager"]["started"]["ahead"], true);
    let said = String::from_utf8_lossy(&out.stdout);
    let at = |step: &str| said.find(&format!("\n{step}:\n")).expect(step);
    assert!(
        at("conformance") < at("large512") && at("large512") < at("large128"),
        "{said}"
    );
}

/// Which opponents begin: those of steps and parts that are asked for which have not had all their turns.
#[test]
fn those_begin_ahead_that_are_needed() {
    let Some(bundle) = Bundle::new() else {
        return;
    };
    let starts = bundle.path("starts");
    let check = |case: &str, only: &str, more: &[(&str, &str)], want: &[&str]| {
        fs::write(&starts, "").unwrap();
        let mut env = vec![("STUB_STARTS", starts.to_str().unwrap())];
        env.extend(more);
        let modes = ["--modes", "large128=max-autotune"];
        let args = [&["--ahead", "--only", only][..], &modes].concat();
        let (document, out) = bundle.run(&args, &env);
        let said = fs::read_to_string(&starts).unwrap();
        let mut began: Vec<&str> = said.lines().collect();
        // They note it by themselves, in no order.
        began.sort_unstable();
        assert_eq!(began, want, "{case}: {out:?}");
        document
    };
    check("a part", "lengths/32", &[], &["eager SST-2"]);
    let fails = [("STUB_FAILS", "512")];
    let failed = check(
        "Hone fails",
        "large512,large128",
        &fails,
        &["eager 128", "eager 512", "max-autotune 128"],
    );
    assert_eq!(failed["steps"]["large512"]["state"], "failed");
    assert!(bundle.path("starts.pid512").exists());
    let lives = bundle.path("starts.lives").exists();
    assert!(!lives, "an opponent outlived its step");
    let document = check("done", "large512,large128", &[], &["eager 512"]);
    assert_eq!(turns(&document), [2, 2, 0, 2]);

    // A cell that is whole, in a step that was cut off; and one in which an opponent lacks a turn.
    let mut cut = document;
    cut["steps"]["large128"]["state"] = "running".into();
    fs::write(bundle.path("out.json"), cut.to_string()).unwrap();
    check("measured", "large128", &[], &[]);
    let mut older = cut.clone();
    older["steps"]["large128"]["cells"]["base 256x128"]["revision"] = "another".into();
    fs::write(bundle.path("out.json"), older.to_string()).unwrap();
    check("measured of another build", "large128", &[], &[]);
    let compiled = &mut cut["steps"]["large128"]["cells"]["base 256x128"]["rivals"]["max-autotune"];
    compiled["tokens_per_s"] = serde_json::json!([500]);
    fs::write(bundle.path("out.json"), cut.to_string()).unwrap();
    let document = check("one lacks a turn", "large128", &[], &["max-autotune 128"]);
    assert_eq!(turns(&document)[1], 2);

    // Another build's figures are not gone on with.
    cut["steps"]["large128"]["cells"]["base 256x128"]["revision"] = "another".into();
    fs::write(bundle.path("out.json"), cut.to_string()).unwrap();
    let all = ["eager 128", "max-autotune 128"];
    check("another build", "large128", &[], &all);

    // What PyTorch is here is found out beside them; without it none has a turn.
    fs::remove_file(bundle.path("out.json")).unwrap();
    let (document, out) = bundle.run(&["--ahead"], &[("STUB_NO_TORCH", "1")]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(turns(&document), [2, 0, 0, 0]);
    let started = &cell(&document)["rivals"]["eager"]["started"];
    let error = started["error"].as_str().unwrap_or_default();
    assert!(error.contains("there is none"), "{started}");
}

/// Pre-training: the same bits twice, as many steps as were asked for, and losses that are numbers and fall.
#[test]
fn pretraining_is_checked_from_end_to_end() {
    let Some(bundle) = Bundle::new() else {
        return;
    };
    for (kind, right) in [
        ("falls", true),
        ("differs", false),
        ("rises", false),
        ("null", false),
        ("short", false),
    ] {
        let args = ["--only", "verbs/pretrain"];
        let (document, out) = bundle.run(&args, &[("STUB_KIND", kind)]);
        assert_eq!(out.status.success(), right, "{kind}: {out:?}");
        let verbs = &document["steps"]["verbs"];
        assert_eq!(
            verbs["state"],
            if right { "part" } else { "failed" },
            "{kind}"
        );
        for precision in ["f32", "bf16"] {
            let found = &verbs["cells"][format!("pretrain {precision}")];
            assert_eq!(found["ok"], right, "{kind}: {found}");
            assert_eq!(found["first_loss"], 100, "{kind}: {found}");
            let bits = found["sha256"].as_array().unwrap();
            assert_eq!(bits[0] == bits[1], kind != "differs", "{kind}: {found}");
        }
        // No other part of the step is run.
        assert_eq!(verbs["cells"].as_object().unwrap().len(), 6, "{verbs}");
    }
}
