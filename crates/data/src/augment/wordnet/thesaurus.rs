//! Synonyms and antonyms of a word as it stands in a text, its part of speech and its sense unknown.
//!
//! A word's senses are weighted by how often they were tagged in SemCor. A candidate must be a synonym in
//! senses that make up a good part of the word's own use, and those senses a fair part of the candidate's:
//! of all synonyms of `film` that leaves `movie`, but not `cinema` or `celluloid`; `plot` never becomes `game`.

use super::morphology::Form;
use super::{Pos, WordNet};
use crate::augment::polarity;
use crate::augment::protect::is_stop;
use crate::augment::substitutes::Substitute;
use std::collections::{BTreeMap, BTreeSet};

/// Senses in which a candidate is a synonym must make up this share of the word's use.
const OWN: f64 = 0.45;
/// And this share of the candidate's.
const THEIRS: f64 = 0.3;
/// What an untagged sense counts, divided by its number: the order of senses says what is left to say.
const UNTAGGED: f64 = 0.5;

/// A sense a word may have.
struct Sense {
    pos: Pos,
    base: String,
    form: Form,
    offset: u32,
    share: f64,
    tagged: bool,
}

/// The share of a base form's uses that stand in this form, roughly: counts are of base forms, texts hold
/// forms. It weighs `moving`, the adjective, against a form of `move`.
fn usual(form: Form) -> f64 {
    match form {
        Form::Base => 1.0,
        Form::Past => 0.4,
        Form::Plural => 0.3,
        Form::Ing => 0.2,
        Form::Third | Form::Comparative | Form::Superlative => 0.1,
    }
}

/// Whether a word of the database is one plain lower-case word.
fn plain(word: &str) -> bool {
    word.len() > 2
        && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        && word.starts_with(|c: char| c.is_ascii_lowercase())
}

impl WordNet {
    /// Whether the database holds a word or a base form of it.
    pub fn knows(&self, word: &str) -> bool {
        Pos::ALL
            .iter()
            .any(|&pos| !self.bases(pos, word).is_empty())
    }

    /// The senses of a word in any part of speech; shares sum to 1.
    fn shares(&self, word: &str) -> Vec<Sense> {
        let mut all = Vec::new();
        for pos in Pos::ALL {
            for (base, form) in self.bases(pos, word) {
                let senses = self.senses(pos, &base);
                let tagged = self.tagged(pos, &base, &senses);
                for (k, (offset, count)) in senses.into_iter().zip(tagged).enumerate() {
                    all.push(Sense {
                        pos,
                        base: base.clone(),
                        form,
                        offset,
                        share: (f64::from(count) + UNTAGGED / (k + 1) as f64) * usual(form),
                        tagged: count > 0,
                    });
                }
            }
        }
        let total: f64 = all.iter().map(|s| s.share).sum();
        for sense in &mut all {
            sense.share /= total;
        }
        all
    }

    /// Synonyms of a lower-case word in the form it stands in, each with its weight: how much of both words'
    /// use the shared senses make up. Never an antonym, a phrase, a name, slang or an insult.
    pub fn synonyms(&self, word: &str) -> Vec<Substitute> {
        let own = self.shares(word);
        // `engaging` may be an adjective or a form of a verb: as a verb's form it would take words that no
        // adjective's place bears.
        let adjective = own
            .iter()
            .any(|s| s.pos == Pos::Adj && s.form == Form::Base);
        let mut found: BTreeMap<String, (f64, Vec<(Pos, u32)>)> = BTreeMap::new();
        for sense in &own {
            let unclear = match sense.form {
                Form::Base => self.unchanged(word),
                _ => adjective,
            };
            if sense.share < 0.02 || (sense.pos == Pos::Verb && unclear) {
                continue;
            }
            let Some(set) = self.synset(sense.pos, sense.offset) else {
                continue;
            };
            for (i, other) in set.words.iter().enumerate() {
                // ;u points to a usage: slang, insult, archaism, trademark.
                let usage = set
                    .pointers
                    .iter()
                    .any(|p| p.symbol == ";u" && (p.from == i + 1 || p.from == 0));
                if *other == sense.base || !plain(other) || set.placed[i] || usage {
                    continue;
                }
                if let Some(form) = self.inflect(sense.pos, other, sense.form)
                    && form != word
                {
                    let entry = found.entry(form).or_default();
                    entry.0 += sense.share;
                    entry.1.push((sense.pos, sense.offset));
                }
            }
        }
        found.retain(|other, (share, _)| *share >= OWN && !is_stop(other));
        if found.is_empty() {
            return Vec::new();
        }
        let opposites = self.opposites(word);
        let same_base = |other: &str| {
            let bases: Vec<&String> = own.iter().map(|s| &s.base).collect();
            Pos::ALL
                .iter()
                .flat_map(|&pos| self.bases(pos, other))
                .any(|(b, _)| bases.contains(&&b))
        };
        found
            .into_iter()
            .filter_map(|(other, (own, senses))| {
                let (mut theirs, mut tagged) = (0.0, self.counts.is_empty());
                for sense in self.shares(&other) {
                    if senses.contains(&(sense.pos, sense.offset)) {
                        theirs += sense.share;
                        tagged |= sense.tagged;
                    }
                }
                // A word that was never met in a tagged text is a rare one: cognise, twelvemonth.
                let fits = theirs >= THEIRS
                    && tagged
                    && !same_base(&other)
                    && !polarity::opposed(word, &other)
                    && !self.meets(&opposites, &other)
                    && !self.meets(&self.opposites(&other), word);
                fits.then_some(Substitute {
                    word: other,
                    weight: (own * theirs) as f32,
                })
            })
            .collect()
    }

    /// Base forms of a word in all parts of speech, and what is derived from them (`fail`, `failure`).
    fn family(&self, word: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for sense in self.shares(word) {
            if let Some(set) = self.synset(sense.pos, sense.offset) {
                for p in set.pointers.iter().filter(|p| p.symbol == "+") {
                    let from_it = set.words.get(p.from.wrapping_sub(1)) == Some(&sense.base);
                    if let (true, Some(to)) = (from_it, self.synset(p.pos, p.offset)) {
                        all.extend(to.words.get(p.to.wrapping_sub(1)).cloned());
                    }
                }
            }
            all.insert(sense.base);
        }
        all
    }

    /// Words that mean the opposite of a sense of the word: direct antonyms; those of its synonyms; and of
    /// adjectives, which cluster round heads, all words similar to the antonym of a head (`superb` is similar to
    /// `good`, whose antonym is `bad`, to which `terrible` is similar).
    pub(in super::super) fn opposites(&self, word: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for sense in self.shares(word) {
            let Some(own) = self.synset(sense.pos, sense.offset) else {
                continue;
            };
            let mut near = vec![(sense.pos, sense.offset)];
            near.extend(
                own.pointers
                    .iter()
                    .filter(|p| p.symbol == "&")
                    .map(|p| (p.pos, p.offset)),
            );
            for (pos, offset) in near {
                if !seen.insert((pos, offset)) {
                    continue;
                }
                let Some(set) = self.synset(pos, offset) else {
                    continue;
                };
                for p in set.pointers.iter().filter(|p| p.symbol == "!") {
                    let Some(other) = self.synset(p.pos, p.offset) else {
                        continue;
                    };
                    for q in other.pointers.iter().filter(|q| q.symbol == "&") {
                        all.extend(
                            self.synset(q.pos, q.offset)
                                .into_iter()
                                .flat_map(|s| s.words),
                        );
                    }
                    all.extend(other.words);
                }
            }
        }
        all
    }

    /// Whether two words mostly stand as the same part of speech in the same form, and are no forms of one word.
    /// Words that the database does not hold, names among them, are like none.
    pub(in super::super) fn alike(&self, a: &str, b: &str) -> bool {
        let (a, b) = (self.shares(a), self.shares(b));
        let mostly = |senses: &[Sense]| {
            let mut by: BTreeMap<(Pos, Form), f64> = BTreeMap::new();
            for s in senses {
                *by.entry((s.pos, s.form)).or_default() += s.share;
            }
            by.into_iter()
                .max_by(|x, y| x.1.total_cmp(&y.1))
                .map(|(reading, _)| reading)
        };
        let one = a.iter().any(|x| b.iter().any(|y| x.base == y.base));
        mostly(&a).is_some() && mostly(&a) == mostly(&b) && !one
    }

    /// Whether a word, or one derived from it, is among these.
    pub(in super::super) fn meets(&self, words: &BTreeSet<String>, word: &str) -> bool {
        !words.is_empty() && self.family(word).iter().any(|w| words.contains(w))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::films;
    use super::*;

    fn words(net: &WordNet, word: &str) -> Vec<String> {
        net.synonyms(word).into_iter().map(|s| s.word).collect()
    }

    #[test]
    fn synonyms_agree_in_sense_and_form() {
        let folder = films();
        let net = WordNet::open(folder.path()).unwrap();
        // picture is an image most of the time; motion_picture is a phrase; flick is slang.
        assert_eq!(words(&net, "film"), ["movie"]);
        assert_eq!(words(&net, "films"), ["movies"]);
        assert_eq!(words(&net, "babies"), ["infants"]);
        assert_eq!(words(&net, "bought"), ["purchased"]);
        assert_eq!(words(&net, "quickly"), ["rapidly"]);
        // went and gone cannot be told apart.
        assert!(
            !words(&net, "departed")
                .iter()
                .any(|w| w == "went" || w == "gone")
        );
        assert!(words(&net, "zzz").is_empty());
    }

    #[test]
    fn opposites_are_direct_indirect_and_derived() {
        let folder = films();
        let net = WordNet::open(folder.path()).unwrap();
        let opposed = |a: &str, b: &str| net.meets(&net.opposites(a), b);
        for (a, b, yes) in [
            ("good", "bad", true),
            ("fine", "bad", true),
            ("fine", "nasty", true),
            ("bought", "selling", true),
            ("purchase", "sell", true),
            ("good", "fine", false),
            ("film", "movie", false),
        ] {
            assert_eq!(opposed(a, b) || opposed(b, a), yes, "{a} {b}");
        }
        // A satellite of both heads is no synonym of either side.
        assert!(words(&net, "fine").is_empty(), "{:?}", words(&net, "fine"));
    }
}
