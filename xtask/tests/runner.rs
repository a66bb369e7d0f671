//! The GPU bundle's runner (`xtask/python/gpu/run.py`) over stand-ins: what it keeps of a run that was killed, of
//! opponents that did not start, and of which card. Without a `python3` the test says that it skips.
#![cfg(target_os = "linux")]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Trains at 1000 tokens a second; waits amid its turns where it is told to.
const HONE: &str = r#"#!/bin/sh
case "$*" in *--back-to-back*) [ -n "$STUB_HANG" ] && touch "$STUB_HANG" && exec sleep 100;; esac
[ -n "$STUB_BEATS" ] && before=$(wc -c <"$STUB_BEATS") && sleep 0.3 && [ "$(wc -c <"$STUB_BEATS")" != "$before" ] && touch "$STUB_BEATS.timed"
echo '{"tokens_per_s": 1000, "peak_fraction": 0.6, "peak_gflop_per_s": 1}'
"#;
/// Waits for a beat of an opponent that began ahead, where it checks operations.
const HONE_CARD: &str = r#"#!/bin/sh
[ -n "$STUB_BEATS" ] && [ "$1" = conformance ] && until [ -s "$STUB_BEATS" ]; do sleep 0.02; done
echo '{"ok": true, "path": "cuda-stub"}'
"#;
const SMI: &str = "#!/bin/sh\nprintf 'name, driver_version\\n%s, 580.1\\n' \"$STUB_CARD\"\n";
const TORCH: &str = r#"__version__ = "2"
class version: cuda = "13"
class cuda:
    @staticmethod
    def is_available(): return True
    @staticmethod
    def get_device_name(k): return "by PyTorch"
"#;
/// PyTorch at 500; one of its modes does not start where it is told to, and one that compiles long shows that it does.
const TORCH_STEP: &str = r#"import json, os, sys, time
mode = sys.argv[sys.argv.index("--compile") + 1] if "--compile" in sys.argv else "eager"
if os.environ.get("STUB_NO_START") == mode: sys.exit("it does not start")
if "STUB_BEATS" in os.environ and mode == "max-autotune":
    with open(os.environ["STUB_BEATS"], "ab", buffering=0) as beats:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            beats.write(b".")
            time.sleep(0.02)
print(json.dumps(dict(started=mode)), flush=True)
for line in sys.stdin: print(json.dumps(dict(tokens_per_s=500, fill=1, peak_memory_bytes=1)), flush=True)
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
    let (last, out) = bundle.run(&[], &[]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(turns(&last), [2, 2, 2, 2]);
    assert_eq!(cell(&last)["before"], Value::Null);

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
    // Operations are checked once it has begun, and it goes on for seconds.
    let (document, out) = bundle.run(&args, &[("STUB_BEATS", beats.to_str().unwrap())]);
    assert!(out.status.success(), "{out:?}");
    assert!(!bundle.path("beats.timed").exists(), "{out:?}");
    assert_eq!(turns(&document), [2, 2, 0, 2]);
    assert_eq!(
        cell(&document)["rivals"]["max-autotune"]["started"]["ahead"],
        true
    );
    let other = &document["steps"]["large512"]["cells"]["base 64x512"];
    assert_eq!(other["rivals"].as_object().unwrap().len(), 1, "{other}");
    let said = String::from_utf8_lossy(&out.stdout);
    let at = |step: &str| said.find(&format!("\n{step}:\n")).expect(step);
    assert!(
        at("conformance") < at("large512") && at("large512") < at("large128"),
        "{said}"
    );
}
