//! Files of copies: the format and the columns they had, and nothing half done.

use super::augmenter;
use crate::augment::{Copies, Protection, write_copies};
use crate::{Columns, TaskKind, read_file};

#[test]
fn a_file_keeps_its_columns_and_its_format() {
    for (name, content, says) in [
        (
            "a.csv",
            "id,text,label\n1,\"a good film, really\",x\n2,\"the big plot\",y\n",
            "1,\"a ",
        ),
        (
            "a.tsv",
            "text\tlabel\na \"good\" film\tx\nthe big plot\ty\n",
            "\" ",
        ),
        (
            "a.jsonl",
            "{\"k\": 1e99, \"text\": \"a good film\", \"label\": [\"p\"]}\n{\"text\": \"the big plot\", \"label\": []}\n",
            "1e99,",
        ),
        (
            "a.json",
            "[{\"text\": \"a good film\", \"label\": [\"p\"]},\n {\"text\": \"the big plot\",\n\"label\": []}]\n",
            "[\"p\"]",
        ),
        (
            "a.conll",
            "the\tDT\tO\ngood\tJJ\tO\nfilm\tNN\tB-x\n\nbig\tJJ\tO\nplot\tNN\tO\n",
            "\tJJ\tO",
        ),
        (
            "b.conll",
            "# id 1 x\nthe DT O\ngood JJ O\nfilm NN B-x\n\n# id 2 x\nbig JJ O\nplot NN O\n",
            " JJ O",
        ),
        (
            "a.ft",
            "__label__x __label__y  a good film\n\n__label__x the big plot\n",
            "__label__y  a ",
        ),
        (
            "a.txt",
            "__label__x a good film\n__label__y the big plot\n",
            "__label__x a ",
        ),
        ("a.csv.gz", "", ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        if content.is_empty() {
            use std::io::Write;
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(b"text,label\na good film,1\nthe big plot,2\n")
                .unwrap();
            std::fs::write(&path, gz.finish().unwrap()).unwrap();
        } else {
            std::fs::write(&path, content).unwrap();
        }
        let part = read_file(&path, &Columns::default()).unwrap();
        let task = crate::infer(&part).0;
        let work = augmenter("neighbours:1", Protection::default(), &part.rows, task);
        let copies = Copies {
            number: 2,
            originals: true,
            seed: 0,
            origin: None,
        };
        let out = folder.path().join(format!("out-{name}"));
        let receipt = write_copies(&part, &Columns::default(), &out, &work, &copies, |_| true)
            .unwrap()
            .unwrap();
        // The neighbours are the same each time, so the second copy would repeat the first.
        assert_eq!(
            (receipt.rows, receipt.asked, receipt.copies),
            (2, 4, 2),
            "{name}"
        );
        let again = read_file(&out, &Columns::default()).unwrap();
        assert_eq!(again.rows.len(), 4, "{name}");
        assert_eq!(again.rows[0].text, part.rows[0].text);
        assert_eq!(again.rows[0].label, again.rows[1].label);
        assert_eq!(again.rows[2].text, part.rows[1].text);
        assert!(
            again.rows[1].text.contains("great"),
            "{name}: {}",
            again.rows[1].text
        );
        if !says.is_empty() {
            let text = std::fs::read_to_string(&out).unwrap();
            assert!(text.matches(says).count() >= 2, "{name}: {text}");
        }
    }
}

#[test]
fn origins_formats_and_interruptions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "text,label\na good film,1\nthe big plot,2\n").unwrap();
    let part = read_file(&path, &Columns::default()).unwrap();
    let work = augmenter(
        "neighbours:1",
        Protection::default(),
        &part.rows,
        TaskKind::Classify,
    );
    let copies = Copies {
        number: 1,
        originals: false,
        seed: 0,
        origin: Some("from".into()),
    };
    let write = |out: &str, go_on: bool| {
        write_copies(
            &part,
            &Columns::default(),
            &folder.path().join(out),
            &work,
            &copies,
            |_| go_on,
        )
    };
    write("b.csv", true).unwrap().unwrap();
    let text = std::fs::read_to_string(folder.path().join("b.csv")).unwrap();
    assert_eq!(
        text,
        "text,label,from\na great movie,1,2\nthe large tale,2,3\n"
    );
    assert!(
        write("b.tsv", true)
            .unwrap_err()
            .to_string()
            .contains("same ending")
    );
    assert!(write("c.csv", false).unwrap().is_none());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A tagged file keeps what is no word of it, before the sentences that it stands before.
#[test]
fn tagged_files_keep_their_other_lines() {
    let content =
        "token ner\n-DOCSTART- O\n\n# id 1\ngood O\nfilm O\n\n# id 2\nthe B-x\nplot O\n\n# end\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conll");
    std::fs::write(&path, content).unwrap();
    let part = read_file(&path, &Columns::default()).unwrap();
    let work = augmenter(
        "neighbours:1",
        Protection::default(),
        &part.rows,
        TaskKind::Tag,
    );
    let write = |originals: bool| {
        let copies = Copies {
            number: 1,
            originals,
            seed: 0,
            origin: None,
        };
        let out = folder.path().join("out.conll");
        write_copies(&part, &Columns::default(), &out, &work, &copies, |_| true).unwrap();
        std::fs::read_to_string(out).unwrap()
    };
    let copies = ["great O\nmovie O\n\n", "the B-x\ntale O\n\n"];
    let whole = content
        .replace("# id 2\n", &format!("{}# id 2\n", copies[0]))
        .replace("# end\n", &format!("{}# end\n", copies[1]));
    assert_eq!(write(true), whole);
    assert_eq!(write(false), format!("token ner\n{}", copies.concat()));
}
