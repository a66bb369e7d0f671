//! Texts to token ids with the model's own tokenizer. Truncation and padding stored in its file are
//! ignored: how long a text may be is the user's business, and nothing is padded.

mod load;
mod save;
mod settings;
mod windows;

pub use save::{Cut, TOKENIZER_FILES, save_tokenizer};

use crate::DataError;
use rayon::prelude::*;
use std::path::PathBuf;
use std::str::FromStr;
use tokenizers::{Encoding, InputSequence, Tokenizer as Inner};

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
    /// 0, and 1 for the second text and its separator where the model's tokenizer gives types.
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
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
    cls: u32,
    sep: u32,
    unk: Option<u32>,
    /// The token type of a pair's second text, or why there can be no pairs.
    second_type: Result<u8, String>,
    /// Whether a text may be cut behind a space and its parts tokenised one by one.
    splits_at_space: bool,
    keeps_end: bool,
    notes: Vec<String>,
    /// The file that has the vocabulary.
    path: PathBuf,
}

hone_tensor::brief_debug! { [] Tokenizer, |t| cls: t.cls, sep: t.sep, unk: t.unk, notes: t.notes }

/// Pieces of a text.
#[derive(Default)]
struct Pieces {
    ids: Vec<u32>,
    /// How many words they are.
    words: usize,
}

/// Bytes of a text that are tokenised at once, where it may be cut: the library's record of a text takes some 150 times its
/// length.
const CHUNK: usize = 1 << 16;

/// A text cut behind white space into parts of at most [`CHUNK`] bytes, longer only where a word is. White space is what
/// BERT's normaliser keeps of it: it drops other control characters, and what stood around them becomes one word.
fn chunks(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let white = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        let bytes = text.as_bytes();
        let (near, far) = bytes.split_at(bytes.len().min(CHUNK));
        let end = match far.is_empty() {
            true => None,
            false => (near.iter().rposition(white))
                .or_else(|| far.iter().position(white).map(|i| near.len() + i)),
        };
        let (chunk, rest) = text.split_at(end.map_or(text.len(), |i| i + 1));
        text = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// How many words an encoding has.
fn words(encoding: &Encoding) -> usize {
    let of = encoding.get_word_ids();
    let distinct = of.windows(2).filter(|w| w[0] != w[1]).count();
    distinct + usize::from(!of.is_empty())
}

impl Tokenizer {
    /// Pieces that are whole words, each with its id: no continuation, nothing special. In order of id.
    pub fn whole_words(&self) -> Vec<(String, u32)> {
        let mut words: Vec<(String, u32)> = self
            .inner
            .get_vocab(false)
            .into_iter()
            .filter(|(w, _)| !w.starts_with("##") && !w.starts_with('['))
            .filter(|(w, _)| !self.inner.get_added_vocabulary().is_special_token(w))
            .collect();
        words.sort_unstable_by_key(|(_, id)| *id);
        words
    }

    /// Every piece with its id, and whether it is special.
    pub(crate) fn vocabulary(&self) -> Vec<(String, u32, bool)> {
        let added = self.inner.get_added_vocabulary();
        let special = |piece: &str| added.is_special_token(piece);
        let all = self.inner.get_vocab(true).into_iter();
        all.map(|(piece, id)| {
            // As vocab.txt alone has them, and BERT's `[unused7]`.
            let bracketed = piece.len() > 2 && piece.starts_with('[') && piece.ends_with(']');
            let special = bracketed || special(&piece);
            (piece, id, special)
        })
        .collect()
    }

    /// The piece that stands for a hidden one.
    pub(crate) fn mask(&self) -> Result<u32, DataError> {
        self.inner
            .token_to_id("[MASK]")
            .ok_or_else(|| DataError::Tokenizer {
                path: self.path.clone(),
                reason: "it has no [MASK], which stands for the words that a model is to say"
                    .to_owned(),
            })
    }

    /// Whether both give every piece the same id.
    pub fn same_vocabulary(&self, other: &Tokenizer) -> bool {
        self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// Whether capitals make no difference to it.
    pub fn uncased(&self) -> Result<bool, DataError> {
        Ok(self.pieces("A Film")?.ids == self.pieces("a film")?.ids)
    }

    /// What a user should hear of its folder, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What its folder keeps of a longer text, where that is not the beginning.
    pub fn truncate(&self) -> Option<Truncate> {
        self.keeps_end.then_some(Truncate::Tail)
    }

    fn pieces(&self, text: &str) -> Result<Pieces, DataError> {
        let mut pieces = Pieces::default();
        let mut add = |part: &str| -> Result<(), DataError> {
            let encoding = self
                .inner
                .encode(part, false)
                .map_err(|e| DataError::Option(format!("a text could not be tokenised ({e})")))?;
            pieces.ids.extend_from_slice(encoding.get_ids());
            pieces.words += words(&encoding);
            Ok(())
        };
        match self.splits_at_space {
            true => chunks(text).try_for_each(add)?,
            false => add(text)?,
        }
        Ok(pieces)
    }

    fn word_pieces(&self, words: &[String]) -> Result<Encoding, DataError> {
        let input: Vec<&str> = words.iter().map(String::as_str).collect();
        self.inner
            .encode(InputSequence::from(input), false)
            .map_err(|e| DataError::Option(format!("words could not be tokenised ({e})")))
    }

    fn note(&self, encoded: &mut Encoded, ids: &[u32], words: usize) {
        encoded.unknown += ids.iter().filter(|&&id| Some(id) == self.unk).count();
        encoded.words += words;
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
        self.note(&mut out, &a.ids, a.words);
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
            self.note(&mut out, &b.ids, b.words);
            out.ids
                .extend(truncate.keep(b.ids.len(), room_b).map(|i| b.ids[i]));
            out.ids.push(self.sep);
            let second = (self.second_type.as_ref()).map_err(|reason| DataError::Tokenizer {
                path: self.path.clone(),
                reason: reason.clone(),
            })?;
            out.types.resize(out.ids.len(), *second);
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
        let (ids, of) = (pieces.get_ids(), pieces.get_word_ids());
        let mut out = Encoded {
            first_pieces: vec![None; words.len()],
            ..Encoded::default()
        };
        self.note(&mut out, ids, self::words(&pieces));
        let room = ids.len().min(max_length.saturating_sub(2));
        out.ids.push(self.cls);
        for i in truncate.keep(ids.len(), room) {
            let first = i == 0 || of[i] != of[i - 1];
            if let (Some(word), true) = (of[i], first) {
                out.first_pieces[word as usize] = Some(out.ids.len() as u32);
            }
            out.ids.push(ids[i]);
        }
        out.ids.push(self.sep);
        out.types.resize(out.ids.len(), 0);
        out.truncated = ids.len() - room;
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

#[cfg(test)]
mod tests;
