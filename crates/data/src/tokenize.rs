//! Texts to token ids with the model's own tokenizer. Truncation and padding stored in its file are
//! ignored: how long a text may be is the user's business, and nothing is padded.

use crate::DataError;
use rayon::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{InputSequence, Tokenizer as Inner};

/// Which part of a longer text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncate {
    /// The beginning.
    Head,
    /// The end.
    Tail,
    /// The first quarter and the rest from the end (Sun et al. 2019 keep 128 and 382 of 510).
    HeadTail,
}

impl FromStr for Truncate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "head" => Ok(Truncate::Head),
            "tail" => Ok(Truncate::Tail),
            "head-tail" => Ok(Truncate::HeadTail),
            _ => Err(format!("{text:?} is none of head, tail, head-tail")),
        }
    }
}

impl Truncate {
    /// Its name in records of runs, which those that go on are held against; flags have `head-tail`.
    pub fn name(self) -> &'static str {
        match self {
            Truncate::Head => "head",
            Truncate::Tail => "tail",
            Truncate::HeadTail => "headtail",
        }
    }

    /// The positions kept of `len` when `room` fit.
    fn keep(self, len: usize, room: usize) -> impl Iterator<Item = usize> {
        let cut = len.saturating_sub(room);
        let head = match (self, cut) {
            (_, 0) | (Truncate::Head, _) => len - cut,
            (Truncate::Tail, _) => 0,
            (Truncate::HeadTail, _) => room / 4,
        };
        (0..head).chain(head + cut..len)
    }
}

/// One tokenised text or pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.
    pub ids: Vec<u32>,
    /// 0, and 1 for the second text and its separator.
    pub types: Vec<u8>,
    /// Word pieces that did not fit.
    pub truncated: usize,
    /// Unknown pieces before truncation.
    pub unknown: usize,
    /// Words before truncation, as the tokenizer splits them.
    pub words: usize,
    /// Token of each given word's first piece, `None` where it was cut off; only of tagged words.
    pub first_pieces: Vec<Option<u32>>,
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    cls: u32,
    sep: u32,
    unk: Option<u32>,
}

/// Pieces of a text, with the word each belongs to.
struct Pieces {
    ids: Vec<u32>,
    words: Vec<Option<u32>>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder, or builds a BERT word-piece tokenizer from `vocab.txt`.
    /// `vocabulary` is the number of rows of the model's word embeddings.
    pub fn load(folder: &Path, vocabulary: usize) -> Result<Tokenizer, DataError> {
        let json = folder.join("tokenizer.json");
        let vocab = folder.join("vocab.txt");
        let (mut inner, path) = if json.is_file() {
            let wrong = |e: tokenizers::Error| DataError::Tokenizer {
                path: json.clone(),
                reason: format!("not a tokenizer file ({e})"),
            };
            let mut inner = Inner::from_file(&json).map_err(wrong)?;
            settle(&mut inner, &settings(folder)?).map_err(wrong)?;
            (inner, json)
        } else if vocab.is_file() {
            (word_piece(folder, &vocab)?, vocab)
        } else {
            return Err(DataError::Tokenizer {
                path: folder.to_owned(),
                reason: "no tokenizer.json and no vocab.txt here".to_owned(),
            });
        };
        let wrong = |reason: String| DataError::Tokenizer {
            path: path.clone(),
            reason,
        };
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| wrong(e.to_string()))?;
        let size = inner
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |m| m as usize + 1);
        if size > vocabulary {
            return Err(wrong(format!(
                "its vocabulary has {size} entries, the model's word embeddings {vocabulary}: tokenizer and model do not belong together"
            )));
        }
        let special = |name: &str| {
            inner
                .token_to_id(name)
                .ok_or_else(|| wrong(format!("its vocabulary has no {name}")))
        };
        Ok(Tokenizer {
            cls: special("[CLS]")?,
            sep: special("[SEP]")?,
            unk: inner.token_to_id("[UNK]"),
            inner,
        })
    }

    /// Pieces that are whole words, each with its id: no continuation, nothing special. In order of id.
    pub fn whole_words(&self) -> Vec<(String, u32)> {
        let mut words: Vec<(String, u32)> = self
            .inner
            .get_vocab(false)
            .into_iter()
            .filter(|(w, _)| !w.starts_with("##") && !w.starts_with('['))
            .collect();
        words.sort_unstable_by_key(|(_, id)| *id);
        words
    }

    /// Whether both give every piece the same id.
    pub fn same_vocabulary(&self, other: &Tokenizer) -> bool {
        self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// Whether capitals make no difference to it.
    pub fn uncased(&self) -> Result<bool, DataError> {
        Ok(self.pieces("A Film")?.ids == self.pieces("a film")?.ids)
    }

    fn pieces(&self, text: &str) -> Result<Pieces, DataError> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|e| DataError::Option(format!("a text could not be tokenised ({e})")))?;
        Ok(Pieces {
            ids: encoding.get_ids().to_vec(),
            words: encoding.get_word_ids().to_vec(),
        })
    }

    fn word_pieces(&self, words: &[String]) -> Result<Pieces, DataError> {
        let input: Vec<&str> = words.iter().map(String::as_str).collect();
        let encoding = self
            .inner
            .encode(InputSequence::from(input), false)
            .map_err(|e| DataError::Option(format!("words could not be tokenised ({e})")))?;
        Ok(Pieces {
            ids: encoding.get_ids().to_vec(),
            words: encoding.get_word_ids().to_vec(),
        })
    }

    fn note(&self, encoded: &mut Encoded, pieces: &Pieces) {
        encoded.unknown += pieces
            .ids
            .iter()
            .filter(|&&id| Some(id) == self.unk)
            .count();
        let distinct = pieces.words.windows(2).filter(|w| w[0] != w[1]).count();
        encoded.words += distinct + usize::from(!pieces.words.is_empty());
    }

    /// A text, or a pair of texts, in at most `max_length` tokens, special ones included. These always stand, so that a
    /// text has 2 tokens and a pair 3, however small `max_length` is.
    ///
    /// Of a pair the longer text loses the tokens, one at a time, as transformers' `longest_first`.
    pub fn encode(
        &self,
        text: &str,
        text_b: Option<&str>,
        max_length: usize,
        truncate: Truncate,
    ) -> Result<Encoded, DataError> {
        let a = self.pieces(text)?;
        let b = text_b.map(|t| self.pieces(t)).transpose()?;
        let mut out = Encoded::default();
        self.note(&mut out, &a);
        let special = if b.is_some() { 3 } else { 2 };
        let room = max_length.saturating_sub(special);
        let b_len = b.as_ref().map_or(0, |b| b.ids.len());
        let (room_a, room_b) = shares(a.ids.len(), b_len, room);
        out.ids.push(self.cls);
        out.ids
            .extend(truncate.keep(a.ids.len(), room_a).map(|i| a.ids[i]));
        out.ids.push(self.sep);
        out.types.resize(out.ids.len(), 0);
        if let Some(b) = &b {
            self.note(&mut out, b);
            out.ids
                .extend(truncate.keep(b.ids.len(), room_b).map(|i| b.ids[i]));
            out.ids.push(self.sep);
            out.types.resize(out.ids.len(), 1);
        }
        out.truncated = a.ids.len() - room_a + b_len - room_b;
        Ok(out)
    }

    /// Words with a tag each: also where each word's first piece is. In at most `max_length` tokens, of which 2 always stand.
    pub fn encode_words(
        &self,
        words: &[String],
        max_length: usize,
        truncate: Truncate,
    ) -> Result<Encoded, DataError> {
        let pieces = self.word_pieces(words)?;
        let mut out = Encoded {
            first_pieces: vec![None; words.len()],
            ..Encoded::default()
        };
        self.note(&mut out, &pieces);
        let room = pieces.ids.len().min(max_length.saturating_sub(2));
        out.ids.push(self.cls);
        for i in truncate.keep(pieces.ids.len(), room) {
            let first = i == 0 || pieces.words[i] != pieces.words[i - 1];
            if let (Some(word), true) = (pieces.words[i], first) {
                out.first_pieces[word as usize] = Some(out.ids.len() as u32);
            }
            out.ids.push(pieces.ids[i]);
        }
        out.ids.push(self.sep);
        out.types.resize(out.ids.len(), 0);
        out.truncated = pieces.ids.len() - room;
        Ok(out)
    }

    /// Many rows in parallel, in order.
    pub fn encode_rows(
        &self,
        rows: &[crate::Row],
        max_length: usize,
        truncate: Truncate,
    ) -> Result<Vec<Encoded>, DataError> {
        rows.par_iter()
            .map(|row| match row.words.is_empty() {
                true => self.encode(&row.text, row.text_b.as_deref(), max_length, truncate),
                false => self.encode_words(&row.words, max_length, truncate),
            })
            .collect()
    }
}

/// How many tokens of two texts stay when `room` fit: the longer is cut to the other's length, then both to a half, of
/// which the longer has the odd token, the second of two that are equal (transformers' `longest_first`).
fn shares(a: usize, b: usize, room: usize) -> (usize, usize) {
    let (short, long) = (a.min(b), a.max(b));
    let (short, long) = match a + b <= room {
        true => (short, long),
        false if 2 * short <= room => (short, room - short),
        false => (room / 2, room - room / 2),
    };
    if a > b { (long, short) } else { (short, long) }
}

/// The folder's `tokenizer_config.json`, null where there is none. One that cannot be read, or a flag in it that is neither
/// true, false nor null, is an error: a cased model would be lower-cased without a word.
fn settings(folder: &Path) -> Result<Value, DataError> {
    let config: PathBuf = folder.join("tokenizer_config.json");
    let text = match std::fs::read_to_string(&config) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => {
            return Err(DataError::Io {
                path: config,
                source,
            });
        }
    };
    let wrong = |reason: String| DataError::Tokenizer {
        path: config.clone(),
        reason,
    };
    let found: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON ({e})")))?;
    for flag in ["do_lower_case", "strip_accents", "tokenize_chinese_chars"] {
        match found.get(flag) {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(other) => {
                return Err(wrong(format!("{flag} is {other}, not true or false")));
            }
        }
    }
    Ok(found)
}

/// Normalises as `tokenizer_config.json` has it where that is not what `tokenizer.json` says, as transformers does for
/// BERT's tokenizers (and for no other class).
fn settle(inner: &mut Inner, settings: &Value) -> tokenizers::Result<()> {
    let class = settings.get("tokenizer_class").and_then(Value::as_str);
    let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
    if let Some(NormalizerWrapper::BertNormalizer(stored)) = inner.get_normalizer()
        && class.is_none_or(|c| c.starts_with("BertTokenizer"))
    {
        let settled = BertNormalizer::new(
            stored.clean_text,
            flag("tokenize_chinese_chars").unwrap_or(stored.handle_chinese_chars),
            flag("strip_accents").or(stored.strip_accents),
            flag("do_lower_case").unwrap_or(stored.lowercase),
        );
        inner.with_normalizer(Some(settled))?;
    }
    Ok(())
}

/// BERT's word-piece tokenizer from a vocabulary file, as transformers' `BertTokenizerFast` sets it up.
fn word_piece(folder: &Path, vocab: &Path) -> Result<Inner, DataError> {
    let wrong = |reason: String| DataError::Tokenizer {
        path: vocab.to_owned(),
        reason,
    };
    let settings = settings(folder)?;
    let flag = |name: &str, default: bool| {
        settings
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or(default)
    };
    let lowercase = flag("do_lower_case", true);
    let name = vocab
        .to_str()
        .ok_or_else(|| wrong("the path is not valid UTF-8".to_owned()))?;
    let model = WordPiece::from_file(name)
        .unk_token("[UNK]".into())
        .build()
        .map_err(|e| wrong(e.to_string()))?;
    let mut inner = Inner::new(model);
    inner
        .with_normalizer(Some(BertNormalizer::new(
            true,
            flag("tokenize_chinese_chars", true),
            settings.get("strip_accents").and_then(Value::as_bool),
            lowercase,
        )))
        .map_err(|e| wrong(e.to_string()))?;
    inner.with_pre_tokenizer(Some(BertPreTokenizer));
    let specials: Vec<tokenizers::AddedToken> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .filter(|t| inner.token_to_id(t).is_some())
        .map(|t| tokenizers::AddedToken::from(t, true))
        .collect();
    inner
        .add_special_tokens(specials)
        .map_err(|e| wrong(e.to_string()))?;
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let of = |n: usize| {
            Encoding::from_tokens(vec![tokenizers::Token::new(5, "x".into(), (0, 1)); n], 0)
        };
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
                r#"{"do_lower_case": false, "tokenizer_class": "PreTrainedTokenizerFast"}"#,
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

    #[test]
    fn a_foreign_vocabulary_is_refused() {
        let error = Tokenizer::load(folder().path(), 5).unwrap_err().to_string();
        assert!(
            error.contains("12 entries") && error.contains('5'),
            "{error}"
        );
    }
}
