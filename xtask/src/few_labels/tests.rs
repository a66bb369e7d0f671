//! What is interrupted and gone on with, with a program in `hone`'s place.

use super::*;
use clap::Parser;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Training that is interrupted unless it goes on from its checkpoint; the first question for answers is interrupted too.
const HONE: &str = r#"#!/bin/sh
echo "$@" >> "${0%/*}/calls"
verb=$1
while [ $# -gt 0 ]; do
    case $1 in
        --out|--model) folder=$2 ;;
        --data) data=$2 ;;
        --resume) resume=yes ;;
    esac
    shift
done
if [ $verb = train ]; then
    i=0; while [ $i -lt 40000 ]; do i=$((i + 1)); done
    if [ -z "$resume" ]; then mkdir -p "$folder/checkpoints"; exit 130; fi
    [ -d "$folder/checkpoints" ] && touch "$folder/summary.json"
elif [ ! -f "$folder/asked" ]; then
    touch "$folder/asked"
    exit 130
else
    sed 1d "$data" | while read -r row; do echo "{\"label\": \"b\"}"; done
fi
"#;

static GOING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(true);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(folder: &Path, system: &str) -> Args {
    let hone = folder.join("hone");
    fs::write(&hone, HONE).unwrap();
    fs::set_permissions(&hone, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(folder.join("set")).unwrap();
    let train: String = (0..20)
        .map(|i| format!("t{i},{}\n", ["a", "b"][i % 2]))
        .collect();
    fs::write(
        folder.join("set/train.csv"),
        "text,label\n".to_owned() + &train,
    )
    .unwrap();
    fs::write(folder.join("set/test.csv"), "text,label\nx,a\ny,b\nz,b\n").unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let words = [
        ["few-labels", "--data", &path("")]
            .map(str::to_owned)
            .to_vec(),
        ["--out", &path("out"), "--model", &path("set")]
            .map(str::to_owned)
            .to_vec(),
        ["--hone", &path("hone"), "--sets", "set", "--sizes", "10"]
            .map(str::to_owned)
            .to_vec(),
        ["--subsets", "1", "--systems", system]
            .map(str::to_owned)
            .to_vec(),
    ];
    fs::create_dir_all(folder.join("out")).unwrap();
    Line::parse_from(words.concat()).args
}

#[test]
fn an_interrupted_cell_goes_on_and_its_seconds_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let args = args(folder.path(), "trainer");
    let once = || {
        let mut journal = Journal::open(&args.out).unwrap();
        let whole = measure(&args, &mut journal, &GOING).unwrap();
        (whole, journal.runs.into_values().next())
    };
    let cell = args.out.join("work/set-10-1-trainer");
    let spent = || -> f64 {
        let text = fs::read_to_string(cell.join("spent.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["seconds"].as_f64().unwrap()
    };
    assert_eq!(once(), (false, None));
    let first = spent();
    assert!(first > 0.0);
    assert_eq!(once(), (false, None));
    let both = spent();
    assert!(both > first, "{both} after {first}");
    let (whole, run) = once();
    let run = run.unwrap();
    assert_eq!(
        (whole, run.seconds, &*run.said),
        (true, both, &[1, 1, 1][..])
    );
    assert!(!args.out.join("work").exists());
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    let calls: Vec<(&str, bool)> = calls
        .lines()
        .map(|l| (l.split(' ').next().unwrap(), l.ends_with(" --resume")))
        .collect();
    let expected = [
        ("train", false),
        ("train", true),
        ("predict", false),
        ("predict", false),
    ];
    assert_eq!(calls, expected);
}

#[test]
fn a_raised_flag_ends_it_between_cells_and_within_one() {
    let folder = tempfile::tempdir().unwrap();
    let args = args(folder.path(), "tf-idf-lr");
    let mut journal = Journal::open(&args.out).unwrap();
    assert!(!measure(&args, &mut journal, &STOPPED).unwrap());
    let set = Set::read(&folder.path().join("set")).unwrap();
    let train = set.draw(10, 1).unwrap();
    let within = |stop| {
        let model = args.model.clone();
        let hone = args.hone.clone();
        let mut bench = Bench::new(hone, model, "cpu".to_owned(), None, stop).unwrap();
        let work = folder.path().join("work");
        let answers = bench.run(System::Words, &set, &train, (1, None), &work);
        answers.unwrap().is_some()
    };
    assert!(within(&GOING));
    assert!(!within(&STOPPED));
}
