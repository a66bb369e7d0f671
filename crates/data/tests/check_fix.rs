//! Cleaned copies: the same format and columns, a line for each change, and none of what was mended when they are
//! checked again.

use hone_data::check::{Fixed, Input, Kind, Report, Source, Split, check, fix};
use hone_data::{Columns, DataError, Part, TaskKind, infer, read_as_is};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What `--fix` mends in train and valid.
const MENDED: [Kind; 9] = [
    Kind::Leak,
    Kind::Empty,
    Kind::NoLabel,
    Kind::LabelSpelling,
    Kind::Mojibake,
    Kind::ControlCharacter,
    Kind::HtmlEntity,
    Kind::Markup,
    Kind::OuterSpace,
];

fn read(files: &[(Split, PathBuf)]) -> Vec<(Split, Part)> {
    let read = |p: &Path| read_as_is(p, &Columns::default()).unwrap();
    files.iter().map(|(s, p)| (*s, read(p))).collect()
}

fn report(parts: &[(Split, Part)], task: TaskKind) -> Report {
    let parts: Vec<(Split, &Part)> = parts.iter().map(|(s, p)| (*s, p)).collect();
    let input = Input {
        parts: &parts,
        task,
        names: &[],
        examples: 100,
    };
    check(&input, &|_, _| {})
}

fn clean(parts: &[(Split, Part)], task: TaskKind, out: &Path) -> Result<Fixed, DataError> {
    let parts: Vec<(Split, &Part)> = parts.iter().map(|(s, p)| (*s, p)).collect();
    let source = Source {
        parts: &parts,
        columns: &Columns::default(),
        task,
        labels: None,
    };
    fix(&source, out)
}

struct World {
    folder: tempfile::TempDir,
    files: Vec<(Split, PathBuf)>,
}

impl World {
    fn new(files: &[(Split, &str, &[u8])]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let files = files
            .iter()
            .map(|(split, name, bytes)| {
                let path = folder.path().join(name);
                fs::write(&path, bytes).unwrap();
                (*split, path)
            })
            .collect();
        World { folder, files }
    }

    /// Cleans, checks the copy again, and returns the copy's files and the changes.
    #[track_caller]
    fn cleaned(&self) -> (Vec<String>, Vec<Value>, Fixed) {
        let before: Vec<Vec<u8>> = self.files.iter().map(|f| fs::read(&f.1).unwrap()).collect();
        let parts = read(&self.files);
        let task = infer(&parts[0].1).0;
        let out = self.folder.path().join("clean");
        let fixed = clean(&parts, task, &out).unwrap();
        let after: Vec<Vec<u8>> = self.files.iter().map(|f| fs::read(&f.1).unwrap()).collect();
        assert_eq!(before, after, "the input is never touched");

        let files: Vec<(Split, PathBuf)> = self
            .files
            .iter()
            .map(|(split, path)| {
                let name = path.file_name().unwrap().to_str().unwrap();
                let ending = name.split_once('.').unwrap().1;
                (*split, out.join(format!("{}.{ending}", split.name())))
            })
            .collect();
        let again = report(&read(&files), task);
        for finding in &again.findings {
            assert!(!MENDED.contains(&finding.kind), "{finding:?}");
        }
        for split in again.splits.iter().filter(|s| s.split != Split::Test) {
            assert_eq!((split.duplicate_rows, split.conflicting_texts), (0, 0));
        }
        let changes = fs::read_to_string(&fixed.changes).unwrap();
        let changes = changes.lines().map(|l| serde_json::from_str(l).unwrap());
        let texts = files
            .iter()
            .map(|(_, p)| match p.to_str().unwrap().ends_with(".gz") {
                false => fs::read_to_string(p).unwrap(),
                true => {
                    let mut text = String::new();
                    let file = fs::File::open(p).unwrap();
                    flate2::read::GzDecoder::new(file)
                        .read_to_string(&mut text)
                        .unwrap();
                    text
                }
            })
            .collect();
        (texts, changes.collect(), fixed)
    }
}

const CSV: &str = "id,text,label,source\r\n\
    1,\"Good, really\",pos,web\r\n\
    2,good  film,Pos ,web\r\n\
    3,GOOD  FILM,pos,shop\r\n\
    4,so so,neg,web\r\n\
    5,So so,pos,web\r\n\
    6,  ,neg,web\r\n\
    7,cafÃ© &amp; bar<br />open,neg,web\r\n\
    8,in test,neg,web\r\n\
    9,no label,,web\r\n\
    10,in valid,neg,web\r\n\
    11,café & bar open,neg,web\r\n\
    12, she said no,pos,web\r\n";

#[test]
fn csv_keeps_its_columns() {
    let world = World::new(&[
        (Split::Train, "reviews.csv", CSV.as_bytes()),
        (
            Split::Valid,
            "v.csv",
            b"text,label\nIn valid,neg\nIn test,pos\nvalid,pos\n",
        ),
        (
            Split::Test,
            "t.csv",
            b"text,label\nin test,neg\ntwice,pos\ntwice,pos\n,pos\n",
        ),
    ]);
    let (files, changes, fixed) = world.cleaned();
    assert_eq!(
        files[0],
        "id,text,label,source\r\n1,\"Good, really\",pos,web\r\n2,good  film,pos,web\r\n\
         7,café & bar open,neg,web\r\n12,she said no,pos,web\r\n"
    );
    assert_eq!(files[1], "text,label\nIn valid,neg\nvalid,pos\n");
    assert_eq!(files[2], "text,label\nin test,neg\ntwice,pos\ntwice,pos\n");
    let lines = |what: &str, why: &str| -> Vec<u64> {
        changes
            .iter()
            .filter(|c| c["what"] == what && c["file"].as_str().unwrap().ends_with("reviews.csv"))
            .filter(|c| why.is_empty() || c["why"] == why)
            .map(|c| c["line"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(lines("relabelled", ""), [3]);
    assert_eq!(lines("dropped", "duplicate"), [4, 12]);
    assert_eq!(lines("dropped", "more than one label"), [5, 6]);
    assert_eq!(lines("dropped", "no text"), [7]);
    assert_eq!(lines("dropped", "no label"), [10]);
    assert_eq!(lines("dropped", "stands in a later split"), [9, 11]);
    assert_eq!(lines("repaired", ""), [8, 13]);
    let repaired = changes.iter().find(|c| c["what"] == "repaired").unwrap();
    assert_eq!(repaired["before"], "cafÃ© &amp; bar<br />open");
    assert_eq!(repaired["after"], "café & bar open");
    assert_eq!(fixed.rows[0], (Split::Train, 12, 4));
    assert_eq!(fixed.dropped.values().sum::<usize>(), 8 + 1 + 1);
}

#[test]
fn tsv_json_lines_and_gzip() {
    let (files, _, _) = World::new(&[(
        Split::Train,
        "a.tsv",
        b"sentence\tlabel\tn\n\"a\"  film \t1\t7\nbad &lt;3\t0\t8\nbad <3\t0\t9\n",
    )])
    .cleaned();
    assert_eq!(
        files[0],
        "sentence\tlabel\tn\n\"a\"  film\t1\t7\nbad <3\t0\t8\n"
    );

    let (files, _, _) = World::new(&[(
        Split::Train,
        "a.csv",
        b"text;label;n\r\n\"a; \"\"b\"\", c\";1;7\r\n\"bad &lt;3\";0;8\r\n",
    )])
    .cleaned();
    assert_eq!(
        files[0],
        "text;label;n\r\n\"a; \"\"b\"\", c\";1;7\r\nbad <3;0;8\r\n"
    );

    // What a first line says of separators is said again: the header alone would not tell.
    let told = b"sep=;\r\ntext;label;a, b\r\n\"a; b\";1;7\r\n\"bad &lt;3\";0;8\r\n";
    let (files, _, _) = World::new(&[(Split::Train, "a.csv", told)]).cleaned();
    assert_eq!(
        files[0],
        "sep=;\r\ntext;label;a, b\r\n\"a; b\";1;7\r\nbad <3;0;8\r\n"
    );

    let json = "{\"n\": 100000000000000000001, \"text\": \"a <b>film</b>\", \"labels\": [\"Drama\", \"new\"]}\n\n\
                {\"text\":\"untouched\",  \"labels\": []}\n\
                {\"text\": \"x\", \"labels\": [\"drama\"]}\n{\"text\": \"y\", \"labels\": [\"drama\", \"new\"]}\n";
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(json.as_bytes()).unwrap();
    let packed = gz.finish().unwrap();
    let (files, _, fixed) = World::new(&[(Split::Train, "a.jsonl.gz", &packed)]).cleaned();
    assert_eq!(
        files[0],
        "{\"n\":100000000000000000001,\"text\":\"a film\",\"labels\":[\"drama\",\"new\"]}\n\
         {\"text\":\"untouched\",  \"labels\": []}\n\
         {\"text\": \"x\", \"labels\": [\"drama\"]}\n{\"text\": \"y\", \"labels\": [\"drama\", \"new\"]}\n"
    );
    assert_eq!(fixed.relabelled, 1);

    // An array stays one, whichever of its items go.
    let json = "[{\"text\": \"same\", \"label\": \"a\"}, {\"text\": \"x &lt;3\",\n \"label\": \"b\"},\n\
                {\"text\": \"Same\", \"label\": \"a\"}]";
    let (files, changes, _) = World::new(&[(Split::Train, "a.json", json.as_bytes())]).cleaned();
    assert_eq!(
        files[0],
        "[\n{\"text\": \"same\", \"label\": \"a\"},\n{\"text\":\"x <3\",\"label\":\"b\"}\n]\n"
    );
    assert_eq!(changes[1]["line"], 3);
}

#[test]
fn tagged_sentences_go_whole_and_their_words_stay() {
    let conll = "-DOCSTART- O\n\nEU B-org\nrejects O\n\nPeter B-per\n\neu B-org\nrejects O\n\nR&amp;D O\nhere O\n\n\
                 here O\nhere B-loc\n\nHere O\nhere O\n";
    let (files, changes, _) =
        World::new(&[(Split::Train, "a.conll", conll.as_bytes())]).cleaned_tagged();
    assert_eq!(
        files[0],
        "-DOCSTART- O\n\nEU B-org\nrejects O\n\nPeter B-per\n\nR&amp;D O\nhere O\n\n"
    );
    let why: Vec<&str> = changes.iter().map(|c| c["why"].as_str().unwrap()).collect();
    assert_eq!(
        why,
        ["duplicate", "more than one label", "more than one label"]
    );
    // A comment goes with its sentence.
    let conll =
        "# id 1\ta\nEU\tS-org\n\n# id 2\ta\neu\tS-org\n\n# id 3\ta\n#\tO\nR&amp;D\tO\n\n# end\tx\n";
    let (files, changes, _) =
        World::new(&[(Split::Train, "a.conll", conll.as_bytes())]).cleaned_tagged();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        files[0],
        "# id 1\ta\nEU\tS-org\n\n# id 3\ta\n#\tO\nR&amp;D\tO\n\n# end\tx\n"
    );
    // Names of columns stay, whatever becomes of the first sentence.
    let conll = "token\ttag\nhere\tO\n\nhere\tB-loc\n\nR&amp;D\tB-org\n";
    let (files, _, _) = World::new(&[(Split::Train, "a.conll", conll.as_bytes())]).cleaned_tagged();
    assert_eq!(files[0], "token\ttag\nR&amp;D\tB-org\n");
}

impl World {
    /// Tagged words are not repaired, so damage is found again.
    fn cleaned_tagged(&self) -> (Vec<String>, Vec<Value>, Fixed) {
        let parts = read(&self.files);
        let out = self.folder.path().join("clean");
        let before = report(&parts, TaskKind::Tag);
        assert!(
            before
                .findings
                .iter()
                .any(|f| f.kind == Kind::HtmlEntity && !f.fixable)
        );
        let fixed = clean(&parts, TaskKind::Tag, &out).unwrap();
        let changes = fs::read_to_string(&fixed.changes).unwrap();
        let changes = changes.lines().map(|l| serde_json::from_str(l).unwrap());
        let text = fs::read_to_string(out.join("train.conll")).unwrap();
        (vec![text], changes.collect(), fixed)
    }
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_half_done() {
    let world = World::new(&[(Split::Train, "a.csv", b"text,label\nsame,0\nSame,1\n")]);
    let parts = read(&world.files);
    let out = world.folder.path().join("out");
    let error = clean(&parts, TaskKind::Classify, &out).unwrap_err();
    assert!(
        error.to_string().contains("nothing would be left"),
        "{error}"
    );
    assert!(!out.exists());
    let error = clean(&parts, TaskKind::Classify, world.folder.path()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

/// What is copied are the lines that were checked.
#[test]
fn a_file_that_changed_since_it_was_read_is_not_cleaned() {
    let world = World::new(&[(
        Split::Train,
        "a.csv",
        b"text,label\nsame,0\nsame,0\nother,1\n",
    )]);
    let parts = read(&world.files);
    let out = world.folder.path().join("out");
    fs::write(&world.files[0].1, "text,label\nnobody checked this,0\n").unwrap();
    let error = clean(&parts, TaskKind::Classify, &out).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
    assert!(!out.exists());
}

#[test]
fn fast_text_keeps_its_lines() {
    let text = "__label__pos \"Good\",  really\r\n\r\n__label__Pos good &lt;3&#10;film\r\n__label__neg so so\r\n\
                __label__pos So so\r\n__label__pos GOOD <3 film\r\n__label__neg\r\n__label__neg   bad\r\n";
    let (files, changes, _) = World::new(&[(Split::Train, "a.txt", text.as_bytes())]).cleaned();
    assert_eq!(
        files[0],
        "__label__pos \"Good\",  really\r\n\r\n__label__pos good <3 film\r\n__label__neg   bad\r\n"
    );
    assert!(
        changes
            .iter()
            .any(|c| c["what"] == "relabelled" && c["line"] == 3)
    );
    // Lists of labels stay lists.
    let text = "__label__a __label__B x\n__label__a __label__b y\n__label__b z\n";
    let (files, _, _) = World::new(&[(Split::Train, "a.ft", text.as_bytes())]).cleaned();
    let again = files[0].replace("__label__B", "__label__b");
    assert_eq!(again, text.replace("__label__B", "__label__b"));
    assert!(!(files[0].contains("__label__B ") && files[0].contains("__label__b ")));
}

#[test]
fn a_number_and_what_labels_txt_calls_it_are_no_conflict() {
    let world = World::new(&[
        (Split::Train, "a.csv", b"text,label\nold,0\nother,1\n"),
        (
            Split::Valid,
            "v.csv",
            b"text,label\nsame,0\nSame,bad\nmore,good\n",
        ),
    ]);
    let parts = read(&world.files);
    let parts: Vec<(Split, &Part)> = parts.iter().map(|(s, p)| (*s, p)).collect();
    let labels = world.folder.path().join("labels.txt");
    fs::write(&labels, "bad\ngood\n").unwrap();
    let source = Source {
        parts: &parts,
        columns: &Columns::default(),
        task: TaskKind::Classify,
        labels: Some(&labels),
    };
    let out = world.folder.path().join("clean");
    let fixed = fix(&source, &out).unwrap();
    let why: Vec<&str> = fixed.dropped.keys().copied().collect();
    assert_eq!(why, ["duplicate"]);
    let text = fs::read_to_string(out.join("valid.csv")).unwrap();
    assert_eq!(text, "text,label\nsame,0\nmore,good\n");
}

#[test]
fn pairs_with_one_text_and_null_texts_go() {
    let pairs = "sentence1,sentence2,label\na dog runs,a dog is running,1\na cat sits,,0\n,a bird flies,1\nso,no,0\n";
    let (files, changes, fixed) =
        World::new(&[(Split::Train, "a.csv", pairs.as_bytes())]).cleaned();
    assert_eq!(
        files[0],
        "sentence1,sentence2,label\na dog runs,a dog is running,1\nso,no,0\n"
    );
    assert_eq!((fixed.dropped["no text"], changes.len()), (2, 2));
    let lines = "{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":null,\"label\":\"y\"}\n{\"text\":\"b\",\"label\":\"y\"}\n";
    let (files, _, fixed) = World::new(&[(Split::Train, "a.jsonl", lines.as_bytes())]).cleaned();
    assert_eq!(files[0].lines().count(), 2);
    assert_eq!(fixed.dropped["no text"], 1);
}

/// Thousands of equal rows: one group, a bounded report.
#[test]
fn a_text_that_stands_fifty_thousand_times() {
    let mut csv = "text,label\n".to_owned();
    for i in 0..50_000 {
        csv += if i % 1000 == 7 {
            "other,1\n"
        } else {
            "the same text,0\n"
        };
    }
    let world = World::new(&[(Split::Train, "a.csv", csv.as_bytes())]);
    let parts = read(&world.files);
    let report = report(&parts, TaskKind::Classify);
    assert_eq!(report.splits[0].distinct_texts, 2);
    assert_eq!(report.splits[0].duplicate_rows, 49_998);
    let found = report.findings.iter().find(|f| f.kind == Kind::Duplicate);
    let found = found.unwrap();
    assert_eq!((found.count, found.examples.len()), (49_998, 2));
    assert_eq!(
        found.examples[0].rows.len() + found.examples[0].more_rows,
        49_950
    );
    let size = serde_json::to_string(&report).unwrap().len();
    assert!(size < 10_000, "{size}");
}
