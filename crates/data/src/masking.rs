//! Word pieces hidden from a model, which it is to say: masked language modelling (Devlin et al. 2019).
//!
//! What is hidden is a pure function of (seed, epoch, example): order, batches, threads and resuming change nothing, and each
//! epoch hides other pieces.

use crate::augment::Key;
use crate::{DataError, Tokenizer};
use std::str::FromStr;

/// What is hidden together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Each piece by itself, as BERT was trained at first.
    Pieces,
    /// All pieces of a word (whole-word masking): the rest of a word then gives nothing away.
    Words,
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pieces" => Ok(Unit::Pieces),
            "words" => Ok(Unit::Words),
            _ => Err(format!("{text:?} is none of pieces, words")),
        }
    }
}

/// Hides pieces of texts. Of those it hides 80 in a hundred become `[MASK]`, 10 another piece, and 10 stay as they are: a model
/// that is trained on has no `[MASK]` to go by.
#[derive(Clone)]
pub struct Masker {
    share: f64,
    unit: Unit,
    mask: u32,
    /// Of each id what it is.
    kinds: Vec<Kind>,
    /// The ordinary ones.
    pieces: Vec<u32>,
}

hone_tensor::brief_debug! { [] Masker, |m| share: m.share, unit: m.unit, mask: m.mask, pieces: m.pieces.len() }

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `[CLS]` and the like, which are never hidden.
    Special,
    /// A word, or its first piece.
    First,
    /// A later piece of a word.
    Later,
}

/// Of what is hidden so much becomes `[MASK]`, and up to here another piece.
const MASKED: f64 = 0.8;
const REPLACED: f64 = 0.9;
/// The stream of a key's draws that is this file's; changes of texts have the others.
const STREAM: u32 = u32::MAX;

impl Masker {
    /// Hides this share of each text's pieces; a tokenizer without `[MASK]` is an error.
    pub fn new(tokenizer: &Tokenizer, share: f64, unit: Unit) -> Result<Masker, DataError> {
        if !(share > 0.0 && share < 1.0) {
            return Err(DataError::Option(format!(
                "{share} of the word pieces masked: a share between 0 and 1 was expected"
            )));
        }
        let mask = tokenizer.mask()?;
        let mut kinds = Vec::new();
        for (piece, id, special) in tokenizer.vocabulary() {
            let id = id as usize;
            kinds.resize(kinds.len().max(id + 1), Kind::Special);
            kinds[id] = match (special, piece.starts_with("##")) {
                (true, _) => Kind::Special,
                (false, true) => Kind::Later,
                (false, false) => Kind::First,
            };
        }
        let ordinary = |id: &u32| kinds[*id as usize] != Kind::Special;
        let pieces: Vec<u32> = (0..kinds.len() as u32).filter(ordinary).collect();
        Ok(Masker {
            share,
            unit,
            mask,
            kinds,
            pieces,
        })
    }

    fn kind(&self, id: u32) -> Kind {
        let kind = self.kinds.get(id as usize);
        kind.copied().unwrap_or(Kind::Special)
    }

    /// Hides pieces of `ids` and says what stood there, `[ids]`; one at least, where there is any that is not special.
    pub fn hide(&self, ids: &mut [u32], key: Key) -> Vec<Option<u32>> {
        let mut draws = key.draws(STREAM);
        let mut said = vec![None; ids.len()];
        // Where each unit begins; it ends where no further piece of it follows.
        let begins = |at: &usize| match (self.kind(ids[*at]), self.unit) {
            (Kind::Special, _) => false,
            (Kind::First, _) | (Kind::Later, Unit::Pieces) => true,
            // The first piece of a word that was cut off before it.
            (Kind::Later, Unit::Words) => *at == 0 || self.kind(ids[at - 1]) == Kind::Special,
        };
        let mut units: Vec<usize> = (0..ids.len()).filter(begins).collect();
        let all = ids.iter().filter(|&&id| self.kind(id) != Kind::Special);
        let wanted = (self.share * all.count() as f64).round().max(1.0) as usize;
        draws.shuffle(&mut units);
        let mut hidden = 0;
        for at in units {
            let later = |i: &usize| self.unit == Unit::Words && self.kind(ids[*i]) == Kind::Later;
            let end = (at + 1..ids.len()).take_while(later).last();
            let unit = at..end.map_or(at, |end| end) + 1;
            // A word that would make too many is passed over for a shorter one, unless it is the first.
            if hidden > 0 && hidden + unit.len() > wanted {
                continue;
            }
            hidden += unit.len();
            for i in unit {
                said[i] = Some(ids[i]);
            }
            if hidden >= wanted {
                break;
            }
        }
        for (id, said) in ids.iter_mut().zip(&said) {
            if said.is_none() {
                continue;
            }
            let (what, other) = (draws.unit(), draws.below(self.pieces.len()));
            if what < MASKED {
                *id = self.mask;
            } else if what < REPLACED {
                *id = self.pieces[other];
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tokenizer() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory");
        Tokenizer::load(&folder, 43).unwrap()
    }

    fn key(example: u64, epoch: u32) -> Key {
        Key {
            seed: 5,
            epoch,
            example,
        }
    }

    /// [CLS] film ##s was slow ##ly bright [SEP], some times over.
    fn text(times: usize) -> Vec<u32> {
        let words = [5, 41, 38, 9, 42, 10].repeat(times);
        [&[2], &words[..], &[3]].concat()
    }

    #[test]
    fn the_share_is_met_and_special_pieces_stay() {
        for (unit, share, times) in [
            (Unit::Pieces, 0.15, 1),
            (Unit::Pieces, 0.15, 30),
            (Unit::Words, 0.15, 30),
            (Unit::Words, 0.5, 30),
        ] {
            let masker = Masker::new(&tokenizer(), share, unit).unwrap();
            let whole = text(times);
            for example in 0..20 {
                let mut ids = whole.clone();
                let said = masker.hide(&mut ids, key(example, 0));
                let wanted = (share * 6.0 * times as f64).round() as usize;
                assert_eq!(said.iter().flatten().count(), wanted, "{unit:?} {share}");
                assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3));
                for ((&id, &was), said) in ids.iter().zip(&whole).zip(&said) {
                    match said {
                        Some(said) => assert_eq!(*said, was),
                        None => assert_eq!(id, was),
                    }
                }
            }
        }
    }

    #[test]
    fn words_are_hidden_whole() {
        let whole = text(40);
        let masker = Masker::new(&tokenizer(), 0.3, Unit::Words).unwrap();
        let later = |id: u32| [41, 42].contains(&id);
        for epoch in 0..10 {
            let said = masker.hide(&mut whole.clone(), key(1, epoch));
            for i in 1..whole.len() {
                if later(whole[i]) {
                    assert_eq!(said[i].is_some(), said[i - 1].is_some(), "{epoch} {i}");
                }
            }
        }
    }

    /// What becomes of the hidden: four in five `[MASK]`, one in ten another piece (which one in 38 times is the same).
    #[test]
    fn what_becomes_of_the_hidden() {
        let masker = Masker::new(&tokenizer(), 0.15, Unit::Pieces).unwrap();
        let whole = text(100);
        let (mut masked, mut same, mut all) = (0, 0, 0);
        for example in 0..300 {
            let mut ids = whole.clone();
            let said = masker.hide(&mut ids, key(example, 0));
            for (id, said) in ids.iter().zip(said) {
                masked += usize::from(said.is_some() && *id == 4);
                same += usize::from(said == Some(*id));
                all += usize::from(said.is_some());
                assert!(*id != 4 || said.is_some());
            }
        }
        let near = |n: usize, share: f64| (n as f64 / all as f64 - share).abs() < 0.01;
        assert!(near(masked, 0.8), "{masked} of {all}");
        assert!(near(same, 0.1 + 0.1 / 38.0), "{same} of {all}");
    }

    #[test]
    fn epochs_and_examples_hide_other_pieces_and_the_same_ones_again() {
        let masker = Masker::new(&tokenizer(), 0.15, Unit::Pieces).unwrap();
        let hide = |key| {
            let mut ids = text(10);
            (masker.hide(&mut ids, key), ids)
        };
        assert_eq!(hide(key(3, 1)), hide(key(3, 1)));
        assert_ne!(hide(key(3, 1)).0, hide(key(3, 2)).0);
        assert_ne!(hide(key(3, 1)).0, hide(key(4, 1)).0);
    }

    #[test]
    fn nothing_to_hide_and_shares_that_are_none() {
        let masker = Masker::new(&tokenizer(), 0.15, Unit::Words).unwrap();
        assert_eq!(masker.hide(&mut [2, 3], key(0, 0)), [None, None]);
        // One piece is hidden, however short the text.
        let said = masker.hide(&mut [2, 5, 3], key(0, 0));
        assert_eq!(said, [None, Some(5), None]);
        for share in [0.0, 1.0, -0.1, f64::NAN] {
            let said = Masker::new(&tokenizer(), share, Unit::Words).unwrap_err();
            assert!(said.to_string().contains("between 0 and 1"), "{said}");
        }
    }
}
