//! Entities: a predicted one is right when its words and its type are exactly the gold ones
//! (as the CoNLL-2003 evaluation and seqeval's default mode).
//!
//! Tags are BIO (`B-x`, `I-x`, `O`, or `B`, `I`, `E`, `S` alone where there is one type; an `I-` that continues nothing begins an
//! entity), the same with ends and single words told (`E-x`, `S-x`; `L-x`, `U-x`; `M-x` for `I-x`), or plain names, of
//! which every run of equal ones but `O` is an entity. Words that truncation cut off are predicted `O`.

use super::{f1, ratio};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An entity: its first word, the word after its last, its type.
pub type Span<'a> = (usize, usize, &'a str);

/// Counts over sentences.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entities {
    by_type: BTreeMap<String, Counts>,
    words: usize,
    words_right: usize,
    cut_words: usize,
    rows: usize,
    loss: f64,
    loss_words: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    right: usize,
    predicted: usize,
    gold: usize,
}

/// What the counts say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tagging {
    /// Sentences read.
    pub rows: usize,
    /// Words read.
    pub words: usize,
    /// Words that truncation cut off; their entities count as missed.
    pub cut_words: usize,
    /// Mean cross-entropy over words the model saw.
    pub loss: f64,
    /// Share of words with the right tag.
    pub accuracy: f64,
    /// F1 over all entities.
    pub entity_f1: f64,
    /// Right among predicted entities.
    pub entity_precision: f64,
    /// Right among gold entities.
    pub entity_recall: f64,
    /// One entry an entity type.
    pub per_type: Vec<EntityScore>,
}

/// One entity type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityScore {
    /// Its name.
    pub entity: String,
    /// Right among predicted.
    pub precision: f64,
    /// Right among gold.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Gold entities.
    pub support: usize,
}

/// What a word's tag says: whether an entity begins there, whether one ends there, and its type.
fn read(tag: &str) -> (bool, bool, Option<&str>) {
    match (tag, tag.split_once('-')) {
        ("O", _) => (false, false, None),
        ("B", _) => (true, false, Some("_")),
        ("I", _) => (false, false, Some("_")),
        ("E", _) => (false, true, Some("_")),
        ("S", _) => (true, true, Some("_")),
        (_, Some(("B", kind))) => (true, false, Some(kind)),
        (_, Some(("I" | "M", kind))) => (false, false, Some(kind)),
        (_, Some(("E" | "L", kind))) => (false, true, Some(kind)),
        (_, Some(("S" | "U", kind))) => (true, true, Some(kind)),
        _ => (false, false, Some(tag)),
    }
}

/// Entities of a sequence of tags.
pub fn entities<'a>(tags: &[&'a str]) -> Vec<Span<'a>> {
    let mut found: Vec<Span<'a>> = Vec::new();
    let mut open: Option<(usize, &'a str)> = None;
    for (i, &tag) in tags.iter().enumerate() {
        let (begins, ends, kind) = read(tag);
        let continues = !begins && kind.is_some() && open.map(|(_, k)| k) == kind;
        if !continues {
            if let Some((start, kind)) = open.take() {
                found.push((start, i, kind));
            }
            open = kind.map(|k| (i, k));
        }
        if ends && let Some((start, kind)) = open.take() {
            found.push((start, i + 1, kind));
        }
    }
    if let Some((start, kind)) = open {
        found.push((start, tags.len(), kind));
    }
    found
}

impl Entities {
    /// Takes a sentence: gold tags, and predicted ones, `None` for words that were cut off.
    pub fn add(&mut self, gold: &[&str], predicted: &[Option<&str>]) {
        let said: Vec<&str> = predicted.iter().map(|p| p.unwrap_or("O")).collect();
        let (gold_spans, said_spans) = (entities(gold), entities(&said));
        for span in &gold_spans {
            self.by_type.entry(span.2.to_owned()).or_default().gold += 1;
        }
        for span in &said_spans {
            let counts = self.by_type.entry(span.2.to_owned()).or_default();
            counts.predicted += 1;
            counts.right += usize::from(gold_spans.contains(span));
        }
        self.rows += 1;
        self.words += gold.len();
        self.cut_words += predicted.iter().filter(|p| p.is_none()).count();
        self.words_right += gold.iter().zip(&said).filter(|(g, s)| g == s).count();
    }

    /// Takes a word's cross-entropy.
    pub fn add_loss(&mut self, loss: f64) {
        self.loss += loss;
        self.loss_words += 1;
    }

    /// Sums up.
    pub fn finish(&self) -> Tagging {
        let mut all = Counts::default();
        for c in self.by_type.values() {
            all.right += c.right;
            all.predicted += c.predicted;
            all.gold += c.gold;
        }
        Tagging {
            rows: self.rows,
            words: self.words,
            cut_words: self.cut_words,
            loss: self.loss / self.loss_words.max(1) as f64,
            accuracy: ratio(self.words_right, self.words),
            entity_f1: f1(all.right, all.predicted, all.gold),
            entity_precision: ratio(all.right, all.predicted),
            entity_recall: ratio(all.right, all.gold),
            per_type: self
                .by_type
                .iter()
                .map(|(name, c)| EntityScore {
                    entity: name.clone(),
                    precision: ratio(c.right, c.predicted),
                    recall: ratio(c.right, c.gold),
                    f1: f1(c.right, c.predicted, c.gold),
                    support: c.gold,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_conlleval_reads_them() {
        for (tags, want) in [
            ("O B-a I-a O", vec![(1, 3, "a")]),
            ("B-a B-a I-b", vec![(0, 1, "a"), (1, 2, "a"), (2, 3, "b")]),
            ("I-a I-a B-a", vec![(0, 2, "a"), (2, 3, "a")]),
            ("X X O Y", vec![(0, 2, "X"), (3, 4, "Y")]),
            ("O O", vec![]),
            // Of one type.
            ("B I B O I", vec![(0, 2, "_"), (2, 3, "_"), (4, 5, "_")]),
            // With ends: as seqeval and conlleval read them, also where they contradict one another.
            (
                "B-a I-a E-a S-a B-b E-b O",
                vec![(0, 3, "a"), (3, 4, "a"), (4, 6, "b")],
            ),
            (
                "B-a L-a U-a B-a M-a",
                vec![(0, 2, "a"), (2, 3, "a"), (3, 5, "a")],
            ),
            (
                "E-a E-a I-a S-b",
                vec![(0, 1, "a"), (1, 2, "a"), (2, 3, "a"), (3, 4, "b")],
            ),
            (
                "B-a E-b O S-a I-a",
                vec![(0, 1, "a"), (1, 2, "b"), (3, 4, "a"), (4, 5, "a")],
            ),
        ] {
            let tags: Vec<&str> = tags.split(' ').collect();
            assert_eq!(entities(&tags), want);
        }
    }

    /// Every sequence of up to four tags: what seqeval 1.2.2 finds, as one number (`xtask/python/seqeval_spans.py`).
    #[test]
    fn spans_are_seqevals() {
        let kinds = ["-a", "-b"];
        let mut names = vec!["O".to_owned()];
        names.extend(
            ["B", "I", "E", "S"]
                .iter()
                .flat_map(|p| kinds.map(|k| format!("{p}{k}"))),
        );
        names.extend(["B", "I", "E", "S"].map(str::to_owned));
        let (mut number, mut count) = (0xcbf2_9ce4_8422_2325_u64, 0);
        for length in 1..=4 {
            for code in 0..names.len().pow(length) {
                // The first tag moves slowest.
                let place = |i: u32| code / names.len().pow(length - 1 - i) % names.len();
                let tags: Vec<&str> = (0..length).map(|i| names[place(i)].as_str()).collect();
                let spans = entities(&tags).into_iter();
                let line: String = spans
                    .map(|(a, b, kind)| format!("{a},{b},{kind};"))
                    .collect();
                for byte in (line + "\n").bytes() {
                    number = (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
                count += 1;
            }
        }
        assert_eq!((count, number), (30_940, 0xfa80_d63b_985f_23e5));
    }

    #[test]
    fn entities_cut_off_count_as_missed() {
        let mut e = Entities::default();
        // Of the two words that were cut off the last is outside, which is what it is predicted to be.
        e.add(
            &["B-a", "I-a", "O", "B-b", "O"],
            &[Some("B-a"), Some("I-a"), Some("B-b"), None, None],
        );
        e.add_loss(0.5);
        e.add_loss(0.25);
        let m = e.finish();
        assert_eq!((m.rows, m.cut_words, m.words, m.loss), (1, 2, 5, 0.375));
        assert!((m.entity_recall - 0.5).abs() < 1e-12);
        assert!((m.entity_precision - 0.5).abs() < 1e-12);
        assert!((m.accuracy - 3.0 / 5.0).abs() < 1e-12);
    }
}
