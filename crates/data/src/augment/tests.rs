//! Properties of whole rows: what is protected stays, draws depend on their key alone, shares are as stated.

mod files;

use super::line::{Kind, Line};
use super::protect::is_negation;
use super::wordnet::fixture::films;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Words with neighbours, so that every operator finds something to do.
fn words() -> (Vec<(String, u32)>, Vec<f32>) {
    let mut words = Vec::new();
    let mut matrix = Vec::new();
    for (k, pair) in [
        "film movie",
        "plot tale",
        "good great",
        "big large",
        "bad awful",
    ]
    .iter()
    .enumerate()
    {
        for (j, word) in pair.split(' ').enumerate() {
            words.push((word.to_owned(), words.len() as u32));
            let mut row = [0.0; 6];
            row[k] = 1.0;
            row[5] = 0.1 * j as f32;
            matrix.extend(row);
        }
    }
    (words, matrix)
}

fn augmenter(spec: &str, protection: Protection, rows: &[Row], task: TaskKind) -> Augmenter {
    let (words, matrix) = words();
    let sources = Sources {
        wordnet: None,
        words: Some(WordTable {
            words: &words,
            matrix: &matrix,
            width: 6,
        }),
    };
    Augmenter::new(spec.parse().unwrap(), protection, rows, task, &sources).unwrap()
}

fn key(epoch: u32, example: u64) -> Key {
    Key {
        seed: 7,
        epoch,
        example,
    }
}

const EVERYTHING: &str =
    "synonym:0.5+typing:0.3,neighbours:0.5,insert:0.3,swap:0.5,delete:0.4+case,punctuation";

/// Protected words of a text, in lower case, and exact ones as they are.
fn kept(text: &str, protection: &Protection) -> (Vec<String>, Vec<String>) {
    let line = Line::parse(text, protection);
    let mut all: Vec<String> = line
        .parts
        .iter()
        .filter(|p| p.protected && p.kind != Kind::Clitic)
        .map(|p| p.lower.clone())
        .collect();
    let mut exact: Vec<String> = line
        .parts
        .iter()
        .filter(|p| p.exact)
        .map(|p| p.word.clone())
        .collect();
    all.sort();
    exact.sort();
    (all, exact)
}

/// Texts of words that matter and of odd characters.
fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("film".to_owned()),
        Just("Film".to_owned()),
        Just("movie's".to_owned()),
        Just("plot".to_owned()),
        Just("good".to_owned()),
        Just("bad".to_owned()),
        Just("big".to_owned()),
        Just("not".to_owned()),
        Just("n't".to_owned()),
        Just("isn't".to_owned()),
        Just("Never".to_owned()),
        Just("negative".to_owned()),
        Just("Hone".to_owned()),
        Just("7.5".to_owned()),
        Just("@you".to_owned()),
        Just("#Fun".to_owned()),
        Just("http://a.b/Film".to_owned()),
        Just("<br />".to_owned()),
        Just("really".to_owned()),
        "[a-zA-Zéß]{1,9}",
        "[ -~]{1,3}",
    ];
    let gap = prop_oneof![
        Just(" "),
        Just(" "),
        Just(", "),
        Just(". "),
        Just("\n"),
        Just(" - ")
    ];
    proptest::collection::vec((word, gap), 1..14)
        .prop_map(|all| all.into_iter().map(|(w, g)| w + g).collect())
}

/// Marks alone may become more, never none.
#[test]
fn a_text_of_marks_stays_one() {
    for text in [": ", "...", " ?! ", "\n."] {
        let row = Row::text(1, text);
        let rows = std::slice::from_ref(&row);
        let work = augmenter(
            "punctuation",
            Protection::default(),
            rows,
            TaskKind::Classify,
        );
        let copies: Vec<String> = (0..50)
            .map(|e| work.copy(&row, key(e, 3)).row.text)
            .collect();
        assert!(copies.iter().all(|c| !c.trim().is_empty()), "{copies:?}");
        assert!(copies.iter().any(|c| c != text), "{copies:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Cutting and joining loses nothing, and what must not change does not, whatever is done.
    #[test]
    fn protected_words_never_change(text in texts(), epoch in 0u32..50) {
        let protection = Protection::new(&["negative".into()], &["Hone".into()]);
        prop_assert_eq!(Line::parse(&text, &protection).text(), text.clone());
        let row = Row::text(1, &text);
        let work = augmenter(EVERYTHING, protection.clone(), std::slice::from_ref(&row), TaskKind::Classify);
        let changed = work.copy(&row, key(epoch, 3));
        prop_assert_eq!(kept(&text, &protection), kept(&changed.row.text, &protection), "{:?} -> {:?}", text, changed.row.text);
        prop_assert!(!text.trim().is_empty() <= !changed.row.text.trim().is_empty());
        prop_assert_eq!(&changed.row.label, &row.label);
    }

    /// Tagged words keep their number and order, and entities their words.
    #[test]
    fn tagged_words_keep_their_places(text in texts(), epoch in 0u32..20) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        prop_assume!(!words.is_empty());
        let tags: Vec<String> = (0..words.len()).map(|i| if i % 2 == 0 { "O" } else { "B-x" }.into()).collect();
        let row = Row { words: words.clone(), label: Cell::Tags(tags), text: words.join(" "), ..Row::text(1, "") };
        let work = augmenter("synonym:1,neighbours:1", Protection::default(), std::slice::from_ref(&row), TaskKind::Tag);
        let changed = work.copy(&row, key(epoch, 0)).row;
        prop_assert_eq!(changed.words.len(), words.len());
        for i in (1..words.len()).step_by(2) {
            prop_assert_eq!(&changed.words[i], &words[i]);
        }
        prop_assert_eq!(changed.text, changed.words.join(" "));
    }
}

#[test]
fn a_draw_depends_on_its_key_alone() {
    let rows: Vec<Row> = (0..40)
        .map(|i| {
            Row::text(
                i + 1,
                format!("the film number {i} has a good plot and a big cast here"),
            )
        })
        .collect();
    let work = augmenter(EVERYTHING, Protection::default(), &rows, TaskKind::Classify);
    let draw = |i: usize, epoch: u32| work.draw(&rows[i], key(epoch, i as u64)).row.text;
    let forward: Vec<String> = (0..40).map(|i| draw(i, 3)).collect();
    let mut backward: Vec<String> = (0..40).rev().map(|i| draw(i, 3)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    let parallel: Vec<String> = (0..40usize).into_par_iter().map(|i| draw(i, 3)).collect();
    assert_eq!(forward, parallel);
    let other: Vec<String> = (0..40).map(|i| draw(i, 4)).collect();
    assert!(forward.iter().zip(&other).filter(|(a, b)| a != b).count() > 20);
    // An augmenter that was made for other rows besides draws the same texts: nothing crosses rows.
    let few = augmenter(
        EVERYTHING,
        Protection::default(),
        &rows[..5],
        TaskKind::Classify,
    );
    for i in 0..5 {
        assert_eq!(few.draw(&rows[i], key(3, i as u64)).row.text, forward[i]);
    }
}

/// Shares of words changed, beside what the operators state.
#[test]
fn shares_are_as_stated() {
    let text = "film plot film plot film plot film plot film plot film plot film plot film plot film plot film plot";
    let row = Row::text(1, text);
    let rounds = 3000;
    let share = |spec: &str| {
        let work = augmenter(
            spec,
            Protection::default(),
            std::slice::from_ref(&row),
            TaskKind::Classify,
        );
        let mut words = 0;
        for epoch in 0..rounds {
            for (_, outcome) in work.copy(&row, key(epoch, 0)).steps {
                if let Outcome::Changed(n) = outcome {
                    words += n;
                }
            }
        }
        f64::from(words as u32) / f64::from(rounds * 20)
    };
    // max(1, ⌊α·20⌋)/20 of the words, every time.
    for (alpha, want) in [
        (0.1, 0.1),
        (0.17, 0.15),
        (0.01, 0.05),
        (0.5, 0.5),
        (1.0, 1.0),
    ] {
        assert!(
            (share(&format!("synonym:{alpha}")) - want).abs() < 1e-9,
            "α {alpha}"
        );
        assert!(
            (share(&format!("neighbours:{alpha}")) - want).abs() < 1e-9,
            "α {alpha}"
        );
    }
    assert!((share("insert:0.2") - 0.2).abs() < 1e-9);
    // Each word with probability p: the standard error is 0.0017 at most.
    for p in [0.1, 0.4] {
        let got = share(&format!("delete:{p}"));
        assert!((got - p).abs() < 0.008, "{got}");
    }
    // A word of four letters is hit with 1 − (1 − p)³; few slips make a known word.
    for p in [0.02, 0.2] {
        let want = 1.0 - (1.0f64 - p).powi(3);
        let got = share(&format!("typing:{p}"));
        assert!((got - want).abs() < 0.01, "{got} {want}");
    }
    // keep:P of the draws are the text itself.
    let work = augmenter(
        "swap,keep:0.3",
        Protection::default(),
        std::slice::from_ref(&row),
        TaskKind::Classify,
    );
    let same = (0..rounds)
        .filter(|&e| work.draw(&row, key(e, 0)).steps.is_empty())
        .count();
    assert!(
        (same as f64 / f64::from(rounds) - 0.3).abs() < 0.03,
        "{same}"
    );
}

#[test]
fn words_keep_their_dress_and_their_surroundings() {
    let (words, matrix) = words();
    let table = WordTable {
        words: &words,
        matrix: &matrix,
        width: 6,
    };
    for (spec, text, want) in [
        (
            "neighbours:1",
            "The FILM's  plot, (really) GOOD!",
            "The MOVIE's  tale, (really) GREAT!",
        ),
        (
            "neighbours:1",
            "Film, the Plot thickens",
            "Movie, the Plot thickens",
        ),
        ("neighbours:1", "not a big film", "not a large movie"),
        ("neighbours:1", "a bad thing", "a bad thing"),
        ("delete:0.999", "Well , the film is here .", "Well ."),
        (
            "typing:0.9",
            "not seven isn't #fun http://film.org bad",
            "not seven isn't #fun http://film.org bad",
        ),
    ] {
        let row = Row::text(1, text);
        let sources = Sources {
            wordnet: None,
            words: Some(table),
        };
        let work = Augmenter::new(
            spec.parse().unwrap(),
            Protection::default(),
            std::slice::from_ref(&row),
            TaskKind::Classify,
            &sources,
        )
        .unwrap();
        assert_eq!(work.copy(&row, key(1, 1)).row.text, want, "{spec}");
    }
}

#[test]
fn synonyms_come_from_wordnet_where_it_is_given() {
    let folder = films();
    let rows = [Row::text(1, "We bought two films quickly. FILMS!")];
    let sources = Sources {
        wordnet: Some(Arc::new(WordNet::open(folder.path()).unwrap())),
        words: None,
    };
    let make = |spec: &str| {
        Augmenter::new(
            spec.parse().unwrap(),
            Protection::default(),
            &rows,
            TaskKind::Classify,
            &sources,
        )
    };
    let work = make("synonym:1").unwrap();
    assert_eq!(
        work.copy(&rows[0], key(0, 0)).row.text,
        "We purchased two movies rapidly. MOVIES!"
    );
    assert!(work.hashes()[0].0 == "WordNet");
    // Neighbours need a model, and synonyms one of the two.
    assert!(
        make("neighbours")
            .unwrap_err()
            .to_string()
            .contains("--model")
    );
    let nothing = Augmenter::new(
        "eda".parse().unwrap(),
        Protection::default(),
        &rows,
        TaskKind::Classify,
        &Sources::default(),
    );
    assert!(nothing.unwrap_err().to_string().contains("--wordnet"));
}

/// Opposite verdicts, against every operator that brings words in.
#[test]
fn verdicts_are_never_turned_round() {
    for (a, b) in [
        ("good", "bad"),
        ("good", "awful"),
        ("great", "terrible"),
        ("best", "worst"),
        ("better", "worse"),
        ("love", "hate"),
        ("loved", "hated"),
        ("like", "dislike"),
        ("happy", "sad"),
        ("happy", "unhappy"),
        ("funny", "unfunny"),
        ("funny", "boring"),
        ("interesting", "dull"),
        ("smart", "stupid"),
        ("beautiful", "ugly"),
        ("success", "failure"),
        ("succeeds", "fails"),
        ("perfect", "flawed"),
        ("watchable", "unwatchable"),
        ("original", "derivative"),
        ("strong", "weak"),
        ("fresh", "stale"),
        ("clever", "silly"),
        ("brilliant", "mediocre"),
        ("enjoyable", "tedious"),
        ("win", "lose"),
        ("always", "never"),
        ("more", "less"),
        ("comedy", "tragedy"),
        ("true", "false"),
    ] {
        assert!(
            polarity::opposed(a, b) && polarity::opposed(b, a),
            "{a} {b}"
        );
    }
}

/// WordNet as it is installed, beside what nltk's reader says of the same files
/// (`xtask/python/wordnet_words.py`).
#[test]
fn the_installed_wordnet_reads_as_nltk_reads_it() {
    let folder = std::path::Path::new("/usr/share/wordnet");
    if !folder.join("index.noun").is_file() {
        eprintln!(
            "skipped: no WordNet in {} (Debian: wordnet-base)",
            folder.display()
        );
        return;
    }
    let net = WordNet::open(folder).unwrap();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wordnet_words.json");
    let text = std::fs::read_to_string(path).unwrap();
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(all.len() >= 300);
    for (word, said) in all {
        for (letter, pos) in [
            ("n", wordnet::Pos::Noun),
            ("v", wordnet::Pos::Verb),
            ("a", wordnet::Pos::Adj),
            ("r", wordnet::Pos::Adv),
        ] {
            let mut bases: Vec<String> =
                net.bases(pos, &word).into_iter().map(|(b, _)| b).collect();
            bases.sort();
            let want: Vec<String> = serde_json::from_value(said[letter]["bases"].clone()).unwrap();
            assert_eq!(bases, want, "{word} {letter}");
            let senses = net.senses(pos, &word);
            let sets: Vec<Vec<String>> = senses
                .iter()
                .map(|&o| net.synset(pos, o).unwrap().words)
                .collect();
            let want: Vec<Vec<String>> =
                serde_json::from_value(said[letter]["synsets"].clone()).unwrap();
            assert_eq!(sets, want, "{word} {letter}");
            let counts = net.tagged(pos, &word, &senses);
            let want: Vec<u32> = serde_json::from_value(said[letter]["counts"].clone()).unwrap();
            assert_eq!(counts, want, "{word} {letter}");
        }
        let antonyms: Vec<String> = serde_json::from_value(said["antonyms"].clone()).unwrap();
        let opposites = net.opposites(&word);
        for antonym in antonyms {
            assert!(opposites.contains(&antonym), "{word} {antonym}");
            assert!(
                !net.synonyms(&word).iter().any(|s| s.word == antonym),
                "{word} {antonym}"
            );
        }
    }
}

#[test]
fn pairs_change_each_on_its_own_and_negations_lend_nothing() {
    let row = Row {
        text_b: Some("the film has a plot".into()),
        ..Row::text(1, "the film has a plot")
    };
    let work = augmenter(
        "swap:0.3",
        Protection::default(),
        std::slice::from_ref(&row),
        TaskKind::Classify,
    );
    let differ = (0..20)
        .filter(|&e| {
            let c = work.copy(&row, key(e, 0)).row;
            Some(&c.text) != c.text_b.as_ref()
        })
        .count();
    assert!(differ > 10, "{differ}");
    // Under the negation stand the only words with neighbours.
    let row = Row::text(1, "it is not a good film");
    let work = augmenter(
        "insert:0.5",
        Protection::default(),
        std::slice::from_ref(&row),
        TaskKind::Classify,
    );
    assert!((0..50).all(|e| work.copy(&row, key(e, 0)).row.text == row.text));
    assert!(is_negation("not"));
}
