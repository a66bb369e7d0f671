//! What folders say of their tokenizers: each case is a folder of a few small files.

use super::*;

#[test]
fn the_configuration_says_how_texts_are_normalised() {
    let folder = folder();
    let t = Tokenizer::load(folder.path(), 12).unwrap();
    t.inner
        .save(folder.path().join("tokenizer.json"), false)
        .unwrap();
    for (config, unknown) in [
        (r#"{"tokenizer_class": "BertTokenizer"}"#, 0),
        (r#"{"do_lower_case": false}"#, 1),
        (r#"{"do_lower_case": true, "strip_accents": false}"#, 1),
        (
            r#"{"do_lower_case": false, "tokenizer_class": "MPNetTokenizer"}"#,
            0,
        ),
    ] {
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        let t = Tokenizer::load(folder.path(), 12).unwrap();
        let found = t.encode("Gööd bad", None, 512, Truncate::Head).unwrap();
        assert_eq!(found.unknown, unknown, "{config}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused() {
    let (built, stored) = (folder(), folder());
    let t = Tokenizer::load(stored.path(), 12).unwrap();
    t.inner
        .save(stored.path().join("tokenizer.json"), false)
        .unwrap();
    for folder in [built, stored] {
        let config = folder.path().join("tokenizer_config.json");
        let refused = |what: &str| {
            let error = Tokenizer::load(folder.path(), 12)
                .expect_err(what)
                .to_string();
            assert!(error.contains("tokenizer_config.json"), "{error}");
        };
        // Latin-1, valid JSON but for its encoding.
        std::fs::write(&config, b"{\"do_lower_case\": false, \"x\": \"\xe9\"}").unwrap();
        refused("not UTF-8");
        std::fs::write(&config, r#"{"do_lower_case": "false"}"#).unwrap();
        refused("a word for a flag");
        std::fs::write(&config, "{").unwrap();
        refused("half a file");
        std::fs::write(&config, r#"{"strip_accents": null}"#).unwrap();
        assert!(
            Tokenizer::load(folder.path(), 12)
                .unwrap()
                .uncased()
                .unwrap()
        );
        std::fs::remove_file(&config).unwrap();
        std::fs::create_dir(&config).unwrap();
        refused("a folder");
    }
}

#[test]
fn a_stored_limit_is_ignored() {
    let folder = folder();
    let t = Tokenizer::load(folder.path(), 12).unwrap();
    let mut inner = t.inner.clone();
    inner
        .with_truncation(Some(tokenizers::TruncationParams {
            max_length: 8,
            ..Default::default()
        }))
        .unwrap();
    inner.with_padding(Some(tokenizers::PaddingParams {
        strategy: tokenizers::PaddingStrategy::Fixed(8),
        ..Default::default()
    }));
    inner
        .save(folder.path().join("tokenizer.json"), false)
        .unwrap();
    let t = Tokenizer::load(folder.path(), 12).unwrap();
    let long = vec!["good"; 300].join(" ");
    assert_eq!(
        t.encode(&long, None, 512, Truncate::Head)
            .unwrap()
            .ids
            .len(),
        302
    );
    assert_eq!(
        t.encode("bad", None, 512, Truncate::Head)
            .unwrap()
            .ids
            .len(),
        3
    );
}

#[test]
fn a_foreign_vocabulary_is_refused() {
    let error = Tokenizer::load(folder().path(), 5).unwrap_err().to_string();
    assert!(
        error.contains("12 entries") && error.contains('5'),
        "{error}"
    );
}

/// The folder's tokenizer with other files beside the vocabulary.
fn with(files: &[(&str, &str)]) -> Result<Tokenizer, String> {
    let folder = folder();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Tokenizer::load(folder.path(), 14).map_err(|e| e.to_string())
}

/// `tokenizer.json` of the folder, changed.
fn json(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let text = tokenizer().inner.to_string(false).unwrap();
    let mut json = serde_json::from_str(&text).unwrap();
    change(&mut json);
    json.to_string()
}

fn ids(t: &Tokenizer, text: &str) -> Vec<u32> {
    t.encode(text, None, 512, Truncate::Head).unwrap().ids
}

#[test]
fn tokens_beside_the_vocabulary() {
    const TEXT: &str = "a <user> good FILMs";
    let whole = json(|_| {});
    for (files, want) in [
        // ids of a text in pieces: a, <, user, > are unknown, FILMs are film and ##s.
        (vec![], vec![2, 1, 1, 1, 1, 5, 7, 8, 3]),
        (
            vec![("added_tokens.json", r#"{"<user>": 12}"#)],
            vec![2, 1, 12, 5, 7, 8, 3],
        ),
        (
            vec![(
                "tokenizer_config.json",
                r#"{"added_tokens_decoder": {"13": {"content": "film", "special": false, "normalized": false},
                    "12": {"content": "<USER>"}}}"#,
            )],
            vec![2, 1, 12, 5, 7, 8, 3],
        ),
        (
            // The token as it stands, and case tells.
            vec![(
                "special_tokens_map.json",
                r#"{"additional_special_tokens": ["FILM", "<user>"]}"#,
            )],
            vec![2, 1, 13, 5, 12, 1, 3],
        ),
        (
            vec![(
                "tokenizer_config.json",
                r#"{"additional_special_tokens": [{"content": "<user>"}]}"#,
            )],
            vec![2, 1, 12, 5, 7, 8, 3],
        ),
        (
            // The newer file says it: the older ones count for nothing.
            vec![
                ("tokenizer_config.json", r#"{"added_tokens_decoder": {}}"#),
                ("added_tokens.json", r#"{"<user>": 12}"#),
            ],
            vec![2, 1, 1, 1, 1, 5, 7, 8, 3],
        ),
    ] {
        // The vocabulary has "film", whose id an added token takes.
        let wrong = files.iter().any(|(_, text)| text.contains("\"13\""));
        for stored in [None, Some(("tokenizer.json", whole.as_str()))] {
            let files: Vec<_> = files.iter().copied().chain(stored).collect();
            let t = with(&files);
            match wrong {
                true => {
                    let error = t.unwrap_err();
                    let says = ["tokenizer_config.json", "\"film\"", "13", " 7"];
                    assert!(says.iter().all(|s| error.contains(s)), "{error}");
                }
                false => assert_eq!(ids(&t.unwrap(), TEXT), want, "{files:?}"),
            }
        }
    }
}

#[test]
fn a_token_beyond_the_model_is_named() {
    for (file, text) in [
        (
            "added_tokens.json",
            r#"{"<a>": 12, "<b>": 13, "<user>": 14}"#,
        ),
        (
            "tokenizer_config.json",
            r#"{"extra_special_tokens": ["<a>", "<b>", "<user>"]}"#,
        ),
    ] {
        let error = with(&[(file, text)]).unwrap_err();
        let says = [file, "\"<user>\"", "14"];
        assert!(says.iter().all(|s| error.contains(s)), "{error}");
    }
    for (file, text) in [
        ("added_tokens.json", r#"{"<user>": "x"}"#),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": [1]}"#),
        (
            "special_tokens_map.json",
            r#"{"additional_special_tokens": "x"}"#,
        ),
        ("special_tokens_map.json", r#"{"unk_token": 5}"#),
    ] {
        let error = with(&[(file, text)]).unwrap_err();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn special_tokens_by_other_names() {
    const VOCAB: &str = "<pad>\n<unk>\n<s>\n</s>\n<mask>\ngood";
    const NAMES: &str =
        r#"{"unk_token": "<unk>", "cls_token": {"content": "<s>"}, "sep_token": "</s>"}"#;
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        let t = with(&[("vocab.txt", VOCAB), (file, NAMES)]).unwrap();
        let e = t.encode("good zzz", None, 512, Truncate::Head).unwrap();
        assert_eq!((e.ids, e.unknown), (vec![2, 5, 1, 3], 1), "{file}");
        assert!(t.whole_words().iter().all(|(word, _)| word != "<s>"));
    }
    for (names, lacks) in [
        (r#"{}"#, "no [CLS]"),
        (r#"{"cls_token": "<s>", "sep_token": "</s>"}"#, "no [UNK]"),
    ] {
        let error = with(&[("vocab.txt", VOCAB), ("tokenizer_config.json", names)]).unwrap_err();
        assert!(
            error.contains("vocab.txt") && error.contains(lacks),
            "{error}"
        );
    }
}

#[test]
fn token_types_where_the_tokenizer_gives_them() {
    let generic = "PreTrainedTokenizerFast";
    let template = |sep: &str| {
        let token =
            |id: &str, kind: u8| serde_json::json!({"SpecialToken": {"id": id, "type_id": kind}});
        let text =
            |id: &str, kind: u8| serde_json::json!({"Sequence": {"id": id, "type_id": kind}});
        let special = |id: &str, n: u32| serde_json::json!({"id": id, "ids": [n], "tokens": [id]});
        json(|j| {
            j["post_processor"] = serde_json::json!({
                "type": "TemplateProcessing",
                "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
                "pair": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", 1), token(sep, 1)],
                "special_tokens": {"[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3)},
            });
        })
    };
    let none = json(|_| {});
    for (class, names, json, want) in [
        ("BertTokenizer", "null", None, Ok(1)),
        (
            "BertTokenizer",
            r#"["input_ids", "attention_mask"]"#,
            None,
            Ok(0),
        ),
        (
            "BertTokenizer",
            r#"["input_ids", "token_type_ids"]"#,
            Some(&none),
            Ok(1),
        ),
        ("DistilBertTokenizerFast", "null", None, Ok(0)),
        (generic, "null", Some(&template("[SEP]")), Ok(1)),
        (generic, r#"["input_ids"]"#, Some(&template("[SEP]")), Ok(0)),
        (
            generic,
            "null",
            Some(&template("[CLS]")),
            Err("writes a pair as [2, 3, 2]"),
        ),
        (
            generic,
            "null",
            Some(&none),
            Err("does not write a text as 2 … 3"),
        ),
    ] {
        let config = format!(r#"{{"tokenizer_class": "{class}", "model_input_names": {names}}}"#);
        let mut files = vec![("tokenizer_config.json", config.as_str())];
        files.extend(json.map(|json| ("tokenizer.json", json.as_str())));
        let pair = with(&files).and_then(|t| {
            let pair = t.encode("good", Some("bad"), 512, Truncate::Head);
            pair.map_err(|e| e.to_string())
        });
        match (pair, want) {
            (Ok(Encoded { types, .. }), Ok(second)) => {
                assert_eq!(types, [0, 0, 0, second, second], "{config}");
            }
            (Err(error), Err(says)) => assert!(error.contains(says), "{error}"),
            (got, want) => panic!("{config}: {got:?} for {want:?}"),
        }
    }
}

#[test]
fn transformers_defaults_are_told() {
    let cased = json(|j| j["normalizer"]["lowercase"] = false.into());
    let same = json(|_| {});
    for (stored, config, told) in [
        (&same, "{}", &[][..]),
        (&cased, "{}", &["do_lower_case", "strip_accents"][..]),
        (
            &cased,
            r#"{"tokenizer_class": "ElectraTokenizer", "do_lower_case": false}"#,
            &[],
        ),
        (&cased, r#"{"tokenizer_class": "MPNetTokenizer"}"#, &[]),
    ] {
        let files = [
            ("tokenizer.json", stored.as_str()),
            ("tokenizer_config.json", config),
        ];
        let t = with(&files).unwrap();
        assert_eq!(t.notes().len(), usize::from(!told.is_empty()), "{config}");
        for flag in told {
            assert!(t.notes()[0].contains(flag), "{:?}", t.notes());
        }
        // tokenizer.json stands.
        assert_eq!(
            t.uncased().unwrap(),
            std::ptr::eq(stored, &same),
            "{config}"
        );
    }
}

#[test]
fn texts_are_cut_only_where_no_token_spans_a_space() {
    for (token, cut) in [("<user>", true), ("good film", false), ("你", false)] {
        let added = format!(r#"{{"{token}": 12}}"#);
        let t = with(&[("added_tokens.json", &added)]).unwrap();
        assert_eq!(t.splits_at_space, cut, "{token}");
    }
}

/// A folder that Hone wrote says itself what transformers would guess, and reads as the one it came from.
#[test]
fn a_saved_tokenizer_says_how_it_reads() {
    let cased = json(|j| j["normalizer"]["lowercase"] = false.into());
    let from = folder();
    for (name, text) in [
        ("tokenizer.json", cased.as_str()),
        ("added_tokens.json", r#"{"<user>": 12}"#),
        (
            "tokenizer_config.json",
            r#"{"own": 1, "model_max_length": 8, "truncation_side": "left"}"#,
        ),
    ] {
        std::fs::write(from.path().join(name), text).unwrap();
    }
    let to = tempfile::tempdir().unwrap();
    for (truncate, side, kept) in [
        (Some(Truncate::Tail), "left", Some(Truncate::Tail)),
        (Some(Truncate::HeadTail), "right", None),
        (Some(Truncate::Head), "right", None),
        (None, "left", Some(Truncate::Tail)),
    ] {
        let cut = truncate.map(|truncate| Cut {
            max_length: 77,
            truncate,
        });
        save_tokenizer(from.path(), to.path(), cut).unwrap();
        let text = std::fs::read_to_string(to.path().join("tokenizer_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let length = if cut.is_some() { 77 } else { 8 };
        let want = serde_json::json!({
            "own": 1, "model_max_length": length, "truncation_side": side,
            "do_lower_case": false, "tokenize_chinese_chars": true, "strip_accents": null,
        });
        assert_eq!(config, want);
        let t = Tokenizer::load(to.path(), 13).unwrap();
        assert_eq!((t.truncate(), t.notes().len()), (kept, 0));
        assert_eq!(ids(&t, "good <user> Good"), [2, 5, 12, 1, 3]);
    }
}
