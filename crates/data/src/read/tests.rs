//! What readers make of files, and what they say of those they cannot read.

use super::*;
use std::path::PathBuf;

pub(super) fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

pub(super) fn check_error(name: &str, bytes: &[u8], says: &str) {
    let (_folder, path) = file(name, bytes);
    let error = read_labelled(&path, &Columns::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains(says), "{error:?} lacks {says:?}");
    assert!(error.contains(name) && !error.contains('\n'), "{error:?}");
}

#[test]
fn spreadsheets_of_other_countries() {
    for (separator, name) in [(";", "semicolons"), ("\t", "tabs")] {
        let text = "\u{feff}text|label\r\n\"one | two, \"\"three\"\"\"|pos\r\nx, y|neg\r\n";
        let text = text.replace('|', separator);
        let (_folder, path) = file("a.csv", text.as_bytes());
        let part = read_labelled(&path, &Columns::default()).unwrap();
        let texts: Vec<&str> = part.rows.iter().map(|r| &*r.text).collect();
        assert_eq!(texts, [&*format!("one {separator} two, \"three\""), "x, y"]);
        assert_eq!(part.rows[1].label, Cell::Text("neg".to_owned()));
        let note = format!("fields are separated by {name}");
        assert_eq!(part.notes.last(), Some(&note));
    }
}

#[test]
fn a_first_line_that_says_what_separates() {
    let text = "sep=;\r\ntext, or so;label\r\nx, y;pos\r\n\"a;\nb\";neg\r\nz;pos\r\n";
    let (_folder, path) = file("a.csv", text.as_bytes());
    let columns = Columns {
        text: Some("text, or so".to_owned()),
        ..Columns::default()
    };
    let part = read_labelled(&path, &columns).unwrap();
    let found: Vec<(usize, &str)> = part.rows.iter().map(|r| (r.line, &*r.text)).collect();
    assert_eq!(found, [(3, "x, y"), (4, "a;\nb"), (6, "z")]);
    check_error(
        "a.csv",
        b"sep=|\ntext|label\nx|y|1\n",
        "line 3: 3 fields, the header has 2; a text with a vertical bar",
    );
    check_error(
        "a.csv",
        b"sep=;\ntext;label\nx;1\n\"y;1\n",
        "line 4: a quotation mark opens here and never closes",
    );
}

/// A mark that opens where none was meant takes rows into its field until another closes it, in silence if it is let.
#[test]
fn quotation_marks_enclose_fields_or_are_refused() {
    check_error(
        "a.csv",
        b"text,label\n\"not closed,1\nfoo,0\nbar \"quoted\" baz,1\nlast,0\n",
        "line 2: a field begins with a quotation mark here and goes on behind",
    );
    check_error(
        "a.csv",
        b"text,label\nx,0\n\"Great\" film,1\n",
        "line 3: a field begins with a quotation mark here",
    );
    // The second field of a record of two lines; in a header.
    check_error(
        "a.csv",
        b"text,text_b,label\nx,y,0\n\"a\nb\",\"c\"d,1\n",
        "line 4: a field begins with a quotation mark",
    );
    check_error("a.csv", b"\"text\"s,label\nx,1\n", "line 1: a field begins");
    let text = b"text,label\nsay \"yes\" twice,1\n\"a \"\"b\"\", c\" ,0\n 5\" long,1\n\"\",0\n";
    let (_folder, path) = file("a.csv", text);
    let part = read_as_is(&path, &Columns::default()).unwrap();
    let texts: Vec<&str> = part.rows.iter().map(|r| &*r.text).collect();
    assert_eq!(texts, ["say \"yes\" twice", "a \"b\", c ", " 5\" long", ""]);
}

#[test]
fn what_spreadsheets_call_unicode() {
    let text = "text\tlabel\r\nGröße\tpos\r\n";
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    for name in ["a.tsv", "a.csv"] {
        let (_folder, path) = file(name, &bytes);
        let part = read_labelled(&path, &Columns::default()).unwrap();
        assert_eq!(part.rows[0].text, "Größe");
        assert!(part.notes.iter().any(|n| n.contains("UTF-16")), "{name}");
    }
    check_error(
        "a.tsv",
        &bytes[..bytes.len() - 1],
        "line 2: not valid UTF-16",
    );
}

#[test]
fn bad_files_name_the_place() {
    check_error(
        "a.csv",
        b"text,label\nx,1\ny\n",
        "line 3: 1 fields, the header has 2",
    );
    check_error(
        "a.csv",
        b"text,label\n\"x\ny\",1\nz,1,2\n",
        "line 4: 3 fields",
    );
    check_error(
        "a.csv",
        b"text,label\nx,1\n\xff,0\n",
        "line 3: not valid UTF-8",
    );
    check_error("a.csv", b"text,label\n  ,1\n", "line 2: the text is empty");
    check_error("a.csv", b"", "no rows");
    check_error("a.csv", b"text,label\n", "no rows");
    check_error("a.csv", b"words,label\nx,1\n", "no column text|sentence");
    check_error("a.csv", b"text,words\nx,1\n", "no column label|labels");
    check_error(
        "a.csv",
        b"text;label\nx;y;1\n",
        "line 2: 3 fields, the header has 2; a text with a semicolon, a quotation mark",
    );
    check_error(
        "a.csv",
        b"good,1\nbad,0\n",
        "good, 1 (the first line names the columns; this seems",
    );
    let review = "as long as a review is, ".repeat(20);
    check_error(
        "a.csv",
        format!("\"{review}\",good\nbad,0\n").as_bytes(),
        "columns are as long as a review is, as long as a rev…, good (the first line names",
    );
    check_error("a.csv", b"text,review,label\nx,y,1\n", "--text-column");
    check_error(
        "a.csv",
        b"text,label\n\"x,1\n",
        "line 2: a quotation mark opens here and never closes",
    );
    check_error(
        "a.csv",
        b"text,label\nz,0\nx,\"1\n",
        "line 3: a quotation mark opens here and never",
    );
    check_error(
        "a.jsonl",
        b"{\"text\": 1, \"label\": 2}\n",
        "line 1: text must be a string",
    );
    check_error(
        "a.jsonl",
        b"{\"text\": \"x\", \"label\": 2}\n{\n",
        "line 2: not a JSON object",
    );
    check_error("a.jsonl", b"{\"label\": 2}\n", "line 1: no key text");
    check_error(
        "a.json",
        b"[\n{\"text\": \"x\", \"label\": 2},\n{\"text\": \"y\", \"label\": {}}\n]\n",
        "line 3: item 2: a label must be a string or a number",
    );
    check_error("a.json", b"[]", "no rows");
    check_error(
        "a.json",
        b"{\n \"data\": []\n}\n",
        "line 1: one object a line, or one array of objects, was expected; this is a single object over many lines",
    );
    check_error("a.conll", b"word\n", "line 1: a word and its tag");
    let (_folder, path) = file("a.conll", b"word\tO\n");
    let named = Columns {
        label: Some("tag".to_owned()),
        ..Columns::default()
    };
    let error = read_labelled(&path, &named).unwrap_err().to_string();
    assert!(error.contains("no column tag"), "{error}");
    check_error("a.xls", b"x", "formats are");
    check_error(
        "a.md",
        b"x",
        "; .txt with a text a line is read by hone pretrain, hone predict and --text of hone report",
    );
    let missing = read_file(Path::new("/nowhere/x.csv"), &Columns::default()).unwrap_err();
    assert!(missing.to_string().starts_with("/nowhere/x.csv: "));
}

#[test]
fn good_files() {
    let (_f, path) = file(
        "a.csv",
        "\u{feff}Sentence,Label,id\r\n\"a \"\"b\"\"\nc\",1,7\r\nd,0,8\r\n".as_bytes(),
    );
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[0].text, "a \"b\"\nc");
    assert_eq!((part.rows[0].line, part.rows[1].line), (2, 4));
    assert!(part.notes[0].contains("columns not used: id"));

    // A column of row numbers, as pandas writes it, has no name; of very many the first are shown.
    let more: String = (0..30).map(|i| format!(",c{i}")).collect();
    let (_f, path) = file(
        "a.csv",
        format!(",text,label{more}\n0,x,1{more}\n").as_bytes(),
    );
    let note = &read_labelled(&path, &Columns::default()).unwrap().notes[0];
    assert!(note.contains("columns not used: \"\", c0, c1,"), "{note}");
    assert!(note.ends_with("c17, c18 and 11 more"), "{note}");

    // One array, as pandas saves it.
    let (_f, path) = file(
        "a.json",
        b"[{\"text\": \"a, [b]\", \"label\": \"x\"}, {\"text\":\n\"c\", \"label\": 1}]",
    );
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[0].text, "a, [b]");
    assert_eq!((part.rows[0].line, part.rows[1].line), (1, 2));
    assert_eq!(part.rows[1].label, Cell::Text("1".to_owned()));
    assert!(part.notes[1].contains("one JSON array"));

    // Quotation marks are kept there, and told where they look like CSV's.
    let quoted = b"text\tlabel\n\"a \"\"fine\"\" film\"\t1\n\"so\"\t0\nplain\t0\n";
    for (name, said, text) in [
        ("a.tsv", true, "\"a \"\"fine\"\" film\""),
        ("a.csv", false, "a \"fine\" film"),
    ] {
        let (_f, path) = file(name, quoted);
        let part = read_labelled(&path, &Columns::default()).unwrap();
        assert_eq!(part.rows[0].text, text);
        let told = part
            .notes
            .iter()
            .any(|n| n.contains("enclose 2 of 3 texts"));
        assert_eq!(told, said, "{:?}", part.notes);
    }
    let (_f, path) = file("a.tsv", b"text\tlabel\n\"so\"\t1\nplain\t0\n");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.notes.len(), 1, "{:?}", part.notes);

    // A blank line does not make words of texts under a header.
    let (_f, path) = file(
        "a.tsv",
        b"sentence\tlabel\na good film\t1\n\na bad one\t0\n",
    );
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[1].text, "a bad one");
    assert_eq!(part.rows[1].line, 4);
    assert!(part.rows[1].words.is_empty());

    // Nor do unusual names and blank lines, at the end or between texts of several words.
    for end in ["\n", "\nplay some music\tplay\n"] {
        let text = format!("utterance\tintent\nbook a flight\tbook\n{end}\n");
        check_error("a.tsv", text.as_bytes(), "no column text|sentence");
    }
    // Names of a word's column and a tag's are no word.
    for (name, text) in [
        ("a.tsv", "token\ttag\nJohn\tB-x\nis\tO\n\nhe\tO\n"),
        ("a.tsv", "word\tpos\nJohn\tNAME\nis\tVERB\n\nhe\tPRON\n"),
        ("a.conll", "TOKEN POS NER\nJohn N B-x\nis V O\n\nhe P O\n"),
    ] {
        let (_f, path) = file(name, text.as_bytes());
        let part = read_labelled(&path, &Columns::default()).unwrap();
        let found: Vec<(usize, &str)> = part.rows.iter().map(|r| (r.line, &*r.text)).collect();
        assert_eq!(found, [(2, "John is"), (5, "he")], "{text}");
        assert_eq!(
            part.notes.last().unwrap(),
            "the first line names the columns"
        );
    }

    // Marks within a field that is not quoted are text, closed or not.
    let (_f, path) = file("a.csv", b"text,label\na 27\" screen,1\n\"b \"\"c\",0\n");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[0].text, "a 27\" screen");
    assert_eq!(part.rows[1].text, "b \"c");

    let (_f, path) = file("a.tsv", b"sentence1\tsentence2\tlabel\n\"a\tb\t1\n");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[0].text, "\"a");
    assert_eq!(part.rows[0].text_b.as_deref(), Some("b"));

    let (_f, path) = file(
        "a.jsonl",
        b"{\"text\": \"x\", \"label\": [\"p\", \"q\"]}\n\n",
    );
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[0].label, Cell::List(vec!["p".into(), "q".into()]));

    let (_f, path) = file("a.tsv", b"EU\tB-org\nrejects\tO\n\nPeter B\tB-per\n");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows.len(), 2);
    assert_eq!(part.rows[0].words, ["EU", "rejects"]);
    assert_eq!(part.rows[1].line, 4);
}

#[test]
fn gzip_is_read_through() {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(b"text,label\nx,1\n").unwrap();
    let mut bytes = gz.finish().unwrap();
    let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    second.write_all(b"y,0\n").unwrap();
    bytes.extend(second.finish().unwrap());
    let (_f, path) = file("a.csv.gz", &bytes);
    assert_eq!(read_file(&path, &Columns::default()).unwrap().rows.len(), 2);
}

#[test]
fn fast_text_has_its_labels_first() {
    let text = "\u{feff}__label__neg  so so\r\n\n__label__pos\ta \"good\" film, really \n__label__neg __label__neg bad\n";
    for name in ["a.ft", "a.txt", "cooking.train"] {
        let (_folder, path) = file(name, text.as_bytes());
        let part = read_labelled(&path, &Columns::default()).unwrap();
        let found: Vec<(usize, &str)> = part.rows.iter().map(|r| (r.line, &*r.text)).collect();
        let want = [(1, "so so"), (3, "a \"good\" film, really"), (4, "bad")];
        assert_eq!(found, want, "{name}");
        let labels: Vec<&Cell> = part.rows.iter().map(|r| &r.label).collect();
        let text = |l: &str| Cell::Text(l.to_owned());
        assert_eq!(labels, [&text("neg"), &text("pos"), &text("neg")]);
        assert_eq!(crate::infer(&part).0, crate::TaskKind::Classify);
        assert!(part.notes[0].starts_with("fastText: "), "{:?}", part.notes);
        let plain = crate::read_texts(&path, &Columns::default()).unwrap();
        assert_eq!(plain.rows[0].text, "so so");
    }
    // One line of several labels makes all of them sets.
    let (_folder, path) = file("a.ft", b"__label__1 one\n__label__1 __label__2 both\n");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    let list = |all: &[&str]| Cell::List(all.iter().map(|l| l.to_string()).collect());
    assert_eq!(part.rows[0].label, list(&["1"]));
    assert_eq!(part.rows[1].label, list(&["1", "2"]));
    assert_eq!(crate::infer(&part).0, crate::TaskKind::MultiLabel);
}

#[test]
fn fast_text_says_the_line_of_what_is_wrong() {
    let whole = "__label__a one\n\n";
    for (rest, says) in [
        (
            "two\n",
            "line 3: no label; __label__NAME was expected before the text",
        ),
        ("__label__b \n", "line 3: the text is empty"),
        ("__label__ two\n", "line 3: a label without a name"),
        (
            "__label__b two __label__a\n",
            "line 3: __label__a stands behind the text",
        ),
    ] {
        check_error("a.ft", (whole.to_owned() + rest).as_bytes(), says);
        check_error("a.txt", (whole.to_owned() + rest).as_bytes(), says);
    }
    check_error("a.txt", b"two\n__label__a one\n", "formats are .csv");
    check_error("a.ft", b"\n", "no rows");
    let (_folder, path) = file("a.ft", whole.as_bytes());
    let columns = Columns {
        label: Some("y".to_owned()),
        ..Columns::default()
    };
    let error = read_labelled(&path, &columns).unwrap_err().to_string();
    assert!(
        error.contains("no column y") && error.contains("no names"),
        "{error}"
    );
    // Without labels it can still be asked about, and a check sees all faults.
    let (_folder, path) = file("a.ft", b"__label__a one\ntwo\n__label__ \n");
    let part = read_as_is(&path, &Columns::default()).unwrap();
    assert_eq!((part.rows.len(), &part.rows[1].label), (3, &Cell::None));
    let (_folder, path) = file("a.ft", b"one\ntwo\n");
    assert_eq!(read_file(&path, &Columns::default()).unwrap().rows.len(), 2);
}

#[test]
fn two_columns_are_tags_only_where_the_first_holds_words() {
    let read = |text: &str| {
        let (_folder, path) = file("a.tsv", text.as_bytes());
        read_file(&path, &Columns::default()).map(|part| part.rows)
    };
    for (text, texts) in [
        (
            "id\ttext\n1\tgood film\n\n2\tbad film\n",
            &["good film", "bad film"][..],
        ),
        (
            "text\tgrade\ngreat product works well\tB\nbad\tA\nvery good thing\tB\n",
            &["great product works well", "bad", "very good thing"],
        ),
        ("text\tgrade\ngreat\tB\n\nbad\tO\n", &["great", "bad"]),
    ] {
        let rows = read(text).unwrap();
        let found: Vec<&str> = rows.iter().map(|r| &*r.text).collect();
        assert_eq!(found, texts, "{text:?}");
        assert!(rows.iter().all(|r| r.words.is_empty()), "{text:?}");
    }
    // Letters that are places are no tags of whole texts, whatever the columns are called.
    let error = read("it goes up\tB\nit falls\tS\n").unwrap_err();
    assert!(error.to_string().contains("no column text"), "{error}");
    for text in [
        "Text\tO\nhere\tO\n\ngood\tB-x\n",
        "Peter\tPER\nsleeps\tO\n",
        "text\ttag\nPeter B\tB-per\nsleeps\tO\n",
    ] {
        assert!(!read(text).unwrap()[0].words.is_empty(), "{text:?}");
    }
}

#[test]
fn half_of_a_pair_is_no_pair() {
    let says = "the second text is empty; remove the row";
    for (name, text, place) in [
        (
            "a.csv",
            "sentence1,sentence2,label\na,b,1\nc, ,0\n",
            "line 3",
        ),
        (
            "a.jsonl",
            "{\"text\": \"a\", \"text_b\": \"b\", \"label\": 1}\n\n{\"text\": \"c\", \"label\": 0}\n",
            "line 3",
        ),
        (
            "a.json",
            "[{\"text\": \"a\", \"text_b\": \"b\", \"label\": 1},\n{\"text\": \"c\", \"text_b\": null, \"label\": 0}]",
            "line 2: item 2",
        ),
    ] {
        check_error(name, text.as_bytes(), &format!("{place}: {says}"));
        // Questions may still be asked, and a check sees all.
        let (_folder, path) = file(name, text.as_bytes());
        for read in [read_file, read_as_is] {
            assert_eq!(read(&path, &Columns::default()).unwrap().rows.len(), 2);
        }
    }
    // Where no row has one, none is missing.
    let (_folder, path) = file("a.csv", b"text,text_b,label\na,,1\nc,,0\n");
    assert!(read_labelled(&path, &Columns::default()).is_ok());
}

#[test]
fn null_is_an_empty_text() {
    let text = b"{\"text\": \"a\", \"label\": 1}\n{\"text\": null, \"label\": 0}\n";
    check_error("a.jsonl", text, "line 2: the text is empty; remove the row");
    let (_folder, path) = file("a.jsonl", text);
    let part = read_as_is(&path, &Columns::default()).unwrap();
    assert_eq!(part.rows[1].text, "");
}

#[test]
fn a_space_before_quotation_marks_is_told() {
    let told = |text: &[u8]| {
        let (_folder, path) = file("a.csv", text);
        let part = read_labelled(&path, &Columns::default()).unwrap();
        part.notes
            .into_iter()
            .find(|n| n.contains("quotation mark"))
    };
    let says = "rows with a space before a quotation mark: 2 of 2; the marks are read as part of the field, since those that \
                enclose one stand right behind the separator";
    assert_eq!(
        told(b"label,text\na, \"b c\"\nd, \"e\"\n").as_deref(),
        Some(says)
    );
    assert_eq!(
        told(b"text,label\nb c, \"a\"\ne, \"d\"\n").as_deref(),
        Some(says)
    );
    assert_eq!(told(b"text,label\n\"b c\",a\ne,\"d\"\n \"f\" g,d\n"), None);
}

/// However a group is written, its rows stay together.
#[test]
fn a_group_has_one_spelling() {
    let columns = Columns {
        group: Some("user".to_owned()),
        ..Columns::default()
    };
    let json = |groups: &[&str]| -> String {
        let row = |g: &&str| format!("{{\"text\": \"a\", \"label\": 1, \"user\": {g}}}\n");
        groups.iter().map(row).collect()
    };
    let csv = "text,label,user\na,1,g1\nb,0,g1 \nc,1,\" g1\"\nd,1,2.0\ne,1,2\nf,1,02\n";
    let lines = json(&["\"g1\"", "\"g1 \"", "\" g1\"", "2.0", "\"2\"", "\"02\""]);
    for (name, text) in [("a.csv", csv), ("a.jsonl", &lines)] {
        let (_folder, path) = file(name, text.as_bytes());
        let part = read_labelled(&path, &columns).unwrap();
        let groups: Vec<&str> = part.rows.iter().flat_map(|r| r.group.as_deref()).collect();
        assert_eq!(groups, ["g1", "g1", "g1", "2", "2", "02"], "{name}");
    }
    let long = json(&["100000000000000000001", "100000000000000000002"]);
    let (_folder, path) = file("a.jsonl", long.as_bytes());
    let part = read_labelled(&path, &columns).unwrap();
    assert_ne!(part.rows[0].group, part.rows[1].group);
}

#[test]
fn rows_without_a_group_stand_alone() {
    let columns = Columns {
        group: Some("user".to_owned()),
        ..Columns::default()
    };
    for (name, text) in [
        ("a.csv", "text,label,user\na,1,u\nb,0,\nc,1, \n"),
        (
            "a.jsonl",
            "{\"text\": \"a\", \"label\": 1, \"user\": \"u\"}\n{\"text\": \"b\", \"label\": 0, \"user\": null}\n\
             {\"text\": \"c\", \"label\": 0, \"user\": \"\"}\n",
        ),
    ] {
        let (_folder, path) = file(name, text.as_bytes());
        let part = read_labelled(&path, &columns).unwrap();
        let grouped: Vec<bool> = part.rows.iter().map(|r| r.group.is_some()).collect();
        assert_eq!(grouped, [true, false, false], "{name}");
        let note = "rows without a group (user), each a group of its own: 2";
        assert!(part.notes.iter().any(|n| n == note), "{:?}", part.notes);
        let part = read_labelled(&path, &Columns::default()).unwrap();
        assert!(part.notes.iter().all(|n| !n.contains("group of its own")));
    }
}

#[test]
fn a_carriage_return_alone_ends_a_line() {
    let (_folder, path) = file("a.csv", b"text,label\ra,1\r\"b\rc\",0\rd,1\r");
    let part = read_labelled(&path, &Columns::default()).unwrap();
    let lines: Vec<usize> = part.rows.iter().map(|r| r.line).collect();
    assert_eq!(lines, [2, 3, 5]);
    check_error(
        "a.csv",
        b"text,label\ra,1\r ,0\r",
        "line 3: the text is empty",
    );
}
