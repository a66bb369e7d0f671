//! Base forms of inflected words, as morphy(7WN) finds them, and the way back: `films` comes from `film`, and
//! `movie` must become `movies` to stand in its place.

use super::{Pos, WordNet};

/// What an inflected form says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum Form {
    Base,
    Plural,
    /// Third person: `goes`.
    Third,
    /// Past, and participle.
    Past,
    Ing,
    Comparative,
    Superlative,
}

/// Detachment rules: ending, what stands there in the base form, and what the ending says.
fn rules(pos: Pos) -> &'static [(&'static str, &'static str, Form)] {
    match pos {
        Pos::Noun => &[
            ("s", "", Form::Plural),
            ("ses", "s", Form::Plural),
            ("xes", "x", Form::Plural),
            ("zes", "z", Form::Plural),
            ("ches", "ch", Form::Plural),
            ("shes", "sh", Form::Plural),
            ("men", "man", Form::Plural),
            ("ies", "y", Form::Plural),
        ],
        Pos::Verb => &[
            ("s", "", Form::Third),
            ("ies", "y", Form::Third),
            ("es", "e", Form::Third),
            ("es", "", Form::Third),
            ("ed", "e", Form::Past),
            ("ed", "", Form::Past),
            ("ing", "e", Form::Ing),
            ("ing", "", Form::Ing),
        ],
        Pos::Adj => &[
            ("er", "", Form::Comparative),
            ("est", "", Form::Superlative),
            ("er", "e", Form::Comparative),
            ("est", "e", Form::Superlative),
        ],
        Pos::Adv => &[],
    }
}

/// What an irregular form says, by its ending.
fn irregular(pos: Pos, form: &str) -> Form {
    match pos {
        Pos::Noun => Form::Plural,
        Pos::Verb if form.ends_with("ing") => Form::Ing,
        Pos::Verb if form.ends_with('s') => Form::Third,
        Pos::Verb => Form::Past,
        Pos::Adj | Pos::Adv if form.ends_with("st") => Form::Superlative,
        Pos::Adj | Pos::Adv => Form::Comparative,
    }
}

/// Verbs whose past is their base form: nobody knows which of the two stands in a text.
const UNCHANGED: &[&str] = &[
    "beat",
    "bet",
    "broadcast",
    "burst",
    "cast",
    "cost",
    "cut",
    "hit",
    "hurt",
    "let",
    "put",
    "quit",
    "read",
    "rid",
    "set",
    "shed",
    "shut",
    "split",
    "spread",
    "thrust",
    "upset",
];

fn vowel(c: u8) -> bool {
    b"aeiou".contains(&c)
}

/// Runs of vowels, a silent final e left out: as good as syllables.
fn syllables(word: &str) -> usize {
    let bytes = word.strip_suffix('e').unwrap_or(word).as_bytes();
    let sound = |i: usize| vowel(bytes[i]) || (bytes[i] == b'y' && i > 0);
    (0..bytes.len())
        .filter(|&i| sound(i) && (i == 0 || !sound(i - 1)))
        .count()
}

/// Whether the last consonant is doubled before an ending: `stop`, `big`. Longer words that double it are
/// in the exception lists.
fn doubles(word: &str) -> bool {
    let b = word.as_bytes();
    let n = b.len();
    n >= 3
        && syllables(word) == 1
        && !vowel(b[n - 1])
        && !b"wxy".contains(&b[n - 1])
        && vowel(b[n - 2])
        && (!vowel(b[n - 3]) || (b[n - 3] == b'u' && b[n.saturating_sub(4)] == b'q'))
}

/// Stem before an ending that begins with a vowel.
fn before_vowel(word: &str, ending: &str) -> String {
    let last = word.chars().next_back().unwrap_or(' ');
    match word.strip_suffix('e') {
        // seeing, dyeing, but making and used.
        Some(stem) if ending != "ing" || !stem.ends_with(['e', 'y', 'o']) => {
            format!("{stem}{ending}")
        }
        _ if doubles(word) => format!("{word}{last}{ending}"),
        _ => format!("{word}{ending}"),
    }
}

/// Whether y after a consonant ends the word.
fn ends_in_y(word: &str) -> bool {
    let b = word.as_bytes();
    b.len() > 1 && b[b.len() - 1] == b'y' && !vowel(b[b.len() - 2])
}

fn with_s(word: &str) -> String {
    if ends_in_y(word) {
        return format!("{}ies", &word[..word.len() - 1]);
    }
    let hisses = ["s", "x", "z", "ch", "sh"]
        .iter()
        .any(|e| word.ends_with(e));
    format!("{word}{}", if hisses { "es" } else { "s" })
}

impl WordNet {
    /// Base forms of a word in one part of speech, with what the word says of them: itself, then those of
    /// the exception list, or else those of the detachment rules; only what the database holds.
    pub(in super::super) fn bases(&self, pos: Pos, word: &str) -> Vec<(String, Form)> {
        let mut found: Vec<(String, Form)> = Vec::new();
        let mut add = |base: String, form: Form| {
            if !found.iter().any(|(b, _)| *b == base) && !self.senses(pos, &base).is_empty() {
                found.push((base, form));
            }
        };
        add(word.to_owned(), Form::Base);
        match self.table(pos).bases.get(word) {
            Some(bases) => {
                for base in bases {
                    add(base.clone(), irregular(pos, word));
                }
            }
            None => {
                for (ending, base, form) in rules(pos) {
                    if let Some(stem) = word.strip_suffix(ending) {
                        add(format!("{stem}{base}"), *form);
                    }
                }
            }
        }
        found
    }

    /// Whether nobody can tell a verb's base form from its past.
    pub(super) fn unchanged(&self, word: &str) -> bool {
        UNCHANGED.contains(&word)
    }

    /// The form of a base form, where it can be told: of a verb with two past forms (`went`, `gone`) it
    /// cannot. What comes out leads back to the base form.
    pub(in super::super) fn inflect(&self, pos: Pos, base: &str, form: Form) -> Option<String> {
        if form == Form::Base {
            return Some(base.to_owned());
        }
        if pos == Pos::Verb && self.unchanged(base) {
            return None;
        }
        let listed: Vec<&String> = self
            .table(pos)
            .forms
            .get(base)
            .into_iter()
            .flatten()
            .filter(|f| irregular(pos, f) == form)
            .collect();
        let made = match (listed.as_slice(), form) {
            ([one], _) => {
                // The participle of come and run is the base form again.
                if form == Form::Past && (base.ends_with("come") || base.ends_with("run")) {
                    return None;
                }
                (*one).clone()
            }
            ([_, _, ..], Form::Past) => return None,
            ([first, ..], _) => (*first).clone(),
            ([], Form::Plural) => {
                let b = base.as_bytes();
                let photo = b.len() > 1 && b[b.len() - 1] == b'o' && !vowel(b[b.len() - 2]);
                if base.ends_with("man") || photo {
                    return None;
                }
                with_s(base)
            }
            ([], Form::Third) if base.ends_with('o') => format!("{base}es"),
            ([], Form::Third) => with_s(base),
            ([], Form::Past) if ends_in_y(base) => format!("{}ied", &base[..base.len() - 1]),
            ([], Form::Past) => before_vowel(base, "ed"),
            ([], Form::Ing) => before_vowel(base, "ing"),
            ([], Form::Comparative | Form::Superlative) => {
                if syllables(base) != 1 || pos == Pos::Adv {
                    return None;
                }
                before_vowel(
                    base,
                    if form == Form::Comparative {
                        "er"
                    } else {
                        "est"
                    },
                )
            }
            ([], Form::Base) => base.to_owned(),
        };
        self.bases(pos, &made)
            .iter()
            .any(|(b, f)| b == base && *f == form)
            .then_some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::films;
    use super::*;

    #[test]
    fn forms_and_bases() {
        let folder = films();
        let net = WordNet::open(folder.path()).unwrap();
        for (pos, word, base, form) in [
            (Pos::Noun, "films", "film", Form::Plural),
            (Pos::Verb, "films", "film", Form::Third),
            (Pos::Noun, "babies", "baby", Form::Plural),
            (Pos::Verb, "bought", "buy", Form::Past),
            (Pos::Verb, "purchased", "purchase", Form::Past),
            (Pos::Verb, "purchasing", "purchase", Form::Ing),
            (Pos::Verb, "departing", "depart", Form::Ing),
            (Pos::Adj, "larger", "large", Form::Comparative),
            (Pos::Adv, "quickly", "quickly", Form::Base),
        ] {
            let bases = net.bases(pos, word);
            assert!(
                bases.contains(&(base.to_owned(), form)),
                "{word}: {bases:?}"
            );
            assert_eq!(
                net.inflect(pos, base, form).as_deref(),
                Some(word),
                "{word}"
            );
        }
        assert_eq!(
            net.inflect(Pos::Verb, "go", Form::Past),
            None,
            "went or gone"
        );
        assert!(net.bases(Pos::Noun, "zzz").is_empty());
    }

    #[test]
    fn spelling() {
        for (word, doubled) in [
            ("stop", true),
            ("big", true),
            ("quit", true),
            ("play", false),
            ("fix", false),
            ("look", false),
            ("open", false),
            ("show", false),
        ] {
            assert_eq!(doubles(word), doubled, "{word}");
        }
        assert_eq!(before_vowel("see", "ing"), "seeing");
        assert_eq!(before_vowel("make", "ing"), "making");
        assert_eq!(before_vowel("agree", "ed"), "agreed");
        assert_eq!(with_s("try"), "tries");
        assert_eq!(with_s("play"), "plays");
        assert_eq!(with_s("watch"), "watches");
    }
}
