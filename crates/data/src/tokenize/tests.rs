//! Texts and folders with a vocabulary of a dozen words.

use super::*;

mod folders;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfilm\n##s\nthe\n,\nnot";
    std::fs::write(folder.path().join("vocab.txt"), words).unwrap();
    folder
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(folder().path(), 12).unwrap()
}

#[test]
fn texts_and_pairs() {
    let t = tokenizer();
    let one = t
        .encode("Good films, zzz", None, 512, Truncate::Head)
        .unwrap();
    assert_eq!(one.ids, [2, 5, 7, 8, 10, 1, 3]);
    assert_eq!((one.unknown, one.words, one.truncated), (1, 4, 0));
    let two = t
        .encode("good", Some("not bad"), 512, Truncate::Head)
        .unwrap();
    assert_eq!(two.ids, [2, 5, 3, 11, 6, 3]);
    assert_eq!(two.types, [0, 0, 0, 1, 1, 1]);
}

#[test]
fn truncation_keeps_the_part_asked_for() {
    let t = tokenizer();
    let text = "good bad film the not good bad film";
    for (how, want) in [
        (Truncate::Head, vec![2, 5, 6, 7, 9, 3]),
        (Truncate::Tail, vec![2, 11, 5, 6, 7, 3]),
        (Truncate::HeadTail, vec![2, 5, 5, 6, 7, 3]),
    ] {
        let got = t.encode(text, None, 6, how).unwrap();
        assert_eq!((got.ids, got.truncated), (want, 4), "{how:?}");
    }
}

/// Runs that went before are gone on with by these words.
#[test]
fn records_have_the_names_they_ever_had() {
    let all = [Truncate::Head, Truncate::Tail, Truncate::HeadTail];
    assert_eq!(all.map(Truncate::name), ["head", "tail", "headtail"]);
}

#[test]
fn pairs_lose_from_the_longer() {
    for ((a, b, room), want) in [
        ((10, 2, 8), (6, 2)),
        ((10, 10, 9), (4, 5)),
        ((12, 10, 9), (5, 4)),
        ((3, 9, 6), (3, 3)),
        ((2, 2, 10), (2, 2)),
        ((5, 5, 0), (0, 0)),
    ] {
        assert_eq!(shares(a, b, room), want, "{a} {b} {room}");
    }
}

#[test]
fn pairs_are_cut_as_the_tokenizers_library_cuts_them() {
    use tokenizers::Encoding;
    use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
    let of =
        |n: usize| Encoding::from_tokens(vec![tokenizers::Token::new(5, "x".into(), (0, 1)); n], 0);
    for a in 0..12 {
        for b in 0..12 {
            for max_length in 1..24 {
                let cut = TruncationParams {
                    max_length,
                    ..Default::default()
                };
                let (one, two) = truncate_encodings(of(a), Some(of(b)), &cut).unwrap();
                assert_eq!(
                    shares(a, b, max_length),
                    (one.len(), two.unwrap().len()),
                    "{a} {b} {max_length}"
                );
            }
        }
    }
}

#[test]
fn a_cut_pair_counts_what_both_texts_lost() {
    let t = tokenizer();
    let (a, b) = ("good bad film", "the not good bad film the");
    // Room for 5 of 3 and 6 pieces: 2 and 3 stay.
    for (how, want) in [
        (Truncate::Head, [2, 5, 6, 3, 9, 11, 5, 3]),
        (Truncate::Tail, [2, 6, 7, 3, 6, 7, 9, 3]),
    ] {
        let got = t.encode(a, Some(b), 8, how).unwrap();
        assert_eq!((&got.ids[..], got.truncated), (&want[..], 1 + 3), "{how:?}");
        assert_eq!(got.types, [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!((got.unknown, got.words), (0, 9));
    }
    // The first alone is cut.
    let got = t.encode(b, Some("not"), 8, Truncate::Head).unwrap();
    assert_eq!((got.ids.len(), got.truncated), (8, 2));
}

#[test]
fn special_tokens_stand_however_little_fits() {
    let t = tokenizer();
    let one = t.encode("good bad", None, 1, Truncate::Head).unwrap();
    assert_eq!((one.ids, one.truncated), (vec![2, 3], 2));
    let two = t.encode("good", Some("bad"), 0, Truncate::Head).unwrap();
    assert_eq!((two.ids, two.truncated), (vec![2, 3, 3], 2));
}

#[test]
fn first_pieces_of_words_and_cut_words() {
    let t = tokenizer();
    let words: Vec<String> = ["good", "films", "not"].map(String::from).to_vec();
    let e = t.encode_words(&words, 512, Truncate::Head).unwrap();
    assert_eq!(e.ids, [2, 5, 7, 8, 11, 3]);
    assert_eq!(e.first_pieces, [Some(1), Some(2), Some(4)]);
    let e = t.encode_words(&words, 5, Truncate::Head).unwrap();
    assert_eq!(
        (e.first_pieces, e.truncated),
        (vec![Some(1), Some(2), None], 1)
    );
}

/// Text of which every kind of character is somewhere beside a cut.
fn long() -> String {
    let words = [
        "good",
        "films,",
        "bad\u{85}film",
        "GÖÖD",
        "go\u{301}od",
        "\u{301}",
        "你好",
        "the\tfilm\r\nnot",
        "[SEP]",
        "\u{a0}",
        "[MASK]x[CLS]",
        "\u{200b}",
        "zzz",
        "😀",
        "\0",
        "",
    ];
    let mut state = 1u32;
    let mut text = String::new();
    while text.len() < 4 * CHUNK {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += words[(state >> 16) as usize % words.len()];
        text += if state >> 30 == 0 { "" } else { " " };
    }
    text + &"x".repeat(2 * CHUNK) + " good"
}

#[test]
fn a_long_text_is_tokenised_in_parts_that_make_the_whole() {
    let text = long();
    assert!(chunks(&text).count() > 4);
    assert_eq!(chunks(&text).collect::<String>(), text);
    let mut t = tokenizer();
    assert!(t.splits_at_space);
    let parts = t.pieces(&text).unwrap();
    t.splits_at_space = false;
    let whole = t.pieces(&text).unwrap();
    assert!(whole.ids.len() > CHUNK / 8);
    assert!(parts.ids == whole.ids && parts.words == whole.words);
}
