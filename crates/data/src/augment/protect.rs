//! Words that must not change: negations, the names of the labels, numbers, and what the user lists.

use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::OnceLock;

/// Words that turn a meaning round. Of contractions, any that end in `n't` count too.
const NEGATIONS: &str = "
 not no never none nobody nothing nowhere neither nor without hardly scarcely barely rarely seldom cannot cant
 wont dont doesnt didnt isnt arent wasnt werent havent hasnt hadnt wouldnt couldnt shouldnt mustnt aint nt non
 nope lack lacks lacked lacking devoid
";
/// Words on which a judgement turns, though they deny nothing.
const TURNS: &str = "
 but however although though yet despite except unless instead rather too only less least few little more most
 if almost nearly same different opposite
";
/// Numbers in words.
const NUMBERS: &str = "
 zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
 seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand
 thousands fourth fifth sixth seventh eighth ninth tenth million millions billion billions dozen dozens half
 third quarter once twice first second last
";
/// Function words, which have no synonyms worth the name (the stop words of EDA, and contractions'
/// remains).
const STOP: &str = "
 i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers
 herself it its itself they them their theirs themselves what which who whom whose this that these those am is
 are was were be been being have has had having do does did doing done a an the and but if or because as until
 while of at by for with about against between into through during before after above below to from up down in
 out on off over under again further then once here there when where why how all any both each few more most
 other some such only own same so than too very s t can will just don should now would could may might must
 shall ought let lets every another upon onto toward towards within across along around behind beyond among per
 via also even ever still yet though although since whether either much many like well d m ll re ve o y ma im
 ive thats theres whats etc els else get gets got getting go goes going gone went make makes made making take
 takes took taken taking put puts us anything something everything anyone someone everyone one's
";

/// Which of the lists above a word stands in.
struct Lists {
    negations: HashSet<&'static str>,
    kept: HashSet<&'static str>,
    stop: HashSet<&'static str>,
}

fn lists() -> &'static Lists {
    static LISTS: OnceLock<Lists> = OnceLock::new();
    let words = |text: &'static str| text.split_whitespace();
    LISTS.get_or_init(|| Lists {
        negations: words(NEGATIONS).collect(),
        kept: words(TURNS).chain(words(NUMBERS)).collect(),
        stop: words(STOP).collect(),
    })
}

/// Whether a lower-case word turns a meaning round.
pub(super) fn is_negation(word: &str) -> bool {
    word.ends_with("n't") || lists().negations.contains(word)
}

/// Whether a lower-case word is a function word.
pub(super) fn is_stop(word: &str) -> bool {
    lists().stop.contains(word)
}

/// Whether a negation's scope ends before a word: at punctuation, or where the speaker turns. The usual
/// rule (Das and Chen 2001; Pang et al. 2002), with commas too.
pub(super) fn ends_clause(gap: &str, word: &str) -> bool {
    gap.contains(['.', ',', ';', ':', '!', '?', '\n', '(', ')']) || word == "but"
}

/// What must not change, besides what is built in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Protection {
    labels: HashSet<String>,
    listed: HashSet<String>,
}

impl Protection {
    /// The words of the labels' names, and words that a user lists.
    pub fn new(labels: &[String], listed: &[String]) -> Protection {
        let words = |texts: &[String], shortest: usize| {
            texts
                .iter()
                .flat_map(|t| t.split(|c: char| !c.is_alphabetic() && c != '\''))
                .filter(|w| w.chars().count() >= shortest)
                .map(str::to_lowercase)
                .collect::<HashSet<String>>()
        };
        Protection {
            // Shorter ones are codes ("pos", "B-per" keep three).
            labels: words(labels, 3),
            listed: listed.iter().map(|w| w.trim().to_lowercase()).collect(),
        }
    }

    /// SHA-256 of the words the user listed, where there are any.
    pub(super) fn listed_hash(&self) -> Option<String> {
        let mut words: Vec<&str> = self.listed.iter().map(String::as_str).collect();
        words.sort_unstable();
        let hash = || crate::source::hex(&Sha256::digest(words.join("\n")));
        (!words.is_empty()).then(hash)
    }

    /// Whether the user listed this lower-case word.
    pub(super) fn listed(&self, word: &str) -> bool {
        self.listed.contains(word)
    }

    fn label(&self, word: &str) -> bool {
        let plain = word.strip_suffix('s').unwrap_or(word);
        self.labels.contains(word) || (plain.len() >= 3 && self.labels.contains(plain))
    }

    /// Whether this lower-case word stays as it is and where it is.
    pub(super) fn keeps(&self, word: &str) -> bool {
        is_negation(word) || lists().kept.contains(word) || self.label(word) || self.listed(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept() {
        let p = Protection::new(
            &["very_negative".into(), "B-loc".into(), "1".into()],
            &["Hone".into(), "c++".into()],
        );
        for (word, kept) in [
            ("not", true),
            ("isn't", true),
            ("won't", true),
            ("hardly", true),
            ("negative", true),
            ("negatives", true),
            ("loc", true),
            ("hone", true),
            ("c++", true),
            ("seven", true),
            ("but", true),
            ("film", false),
            ("knot", false),
            ("b", false),
        ] {
            assert_eq!(p.keeps(word), kept, "{word}");
        }
        assert!(p.listed("hone") && !p.listed("negative"));
    }
}
