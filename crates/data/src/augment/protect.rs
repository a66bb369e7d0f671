//! Words that must not change: negations, the names of the labels, numbers, and what the user lists.

use super::scan::word;
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
    /// Of those listed, what is no single word (`New York`, `c++`), the longest first.
    phrases: Vec<String>,
}

/// Bytes of `text`'s beginning that are `phrase` but for case and the width of spaces, no word being cut at the end.
fn begins(text: &str, phrase: &str) -> Option<usize> {
    let mut wanted = phrase.chars().peekable();
    let mut chars = text.char_indices().peekable();
    while wanted.peek().is_some() {
        let (_, c) = chars.next()?;
        if c.is_whitespace() {
            wanted.next_if(|w| w.is_whitespace())?;
            while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
            continue;
        }
        for lower in c.to_lowercase() {
            wanted.next_if_eq(&lower)?;
        }
    }
    let end = chars.peek().map_or(text.len(), |next| next.0);
    let cut = text[..end].ends_with(char::is_alphanumeric)
        && text[end..].starts_with(char::is_alphanumeric);
    (!cut).then_some(end)
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
        let listed: HashSet<String> = listed
            .iter()
            .map(|w| {
                w.to_lowercase()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .filter(|w| !w.is_empty())
            .collect();
        let mut phrases: Vec<String> = listed
            .iter()
            .filter(|w| word(w) != w.len())
            .cloned()
            .collect();
        phrases.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        Protection {
            // Shorter ones are codes ("pos", "B-per" keep three).
            labels: words(labels, 3),
            listed,
            phrases,
        }
    }

    /// SHA-256 of the words the user listed, where there are any.
    pub(super) fn listed_hash(&self) -> Option<String> {
        let mut words: Vec<&str> = self.listed.iter().map(String::as_str).collect();
        words.sort_unstable();
        let hash = || crate::source::hex(&Sha256::digest(words.join("\n")));
        (!words.is_empty()).then(hash)
    }

    /// Bytes of something the user listed that begins `text` and is no single word, where a word may begin.
    pub(super) fn phrase(&self, text: &str, before: Option<char>) -> Option<usize> {
        let inside = before.is_some_and(char::is_alphanumeric);
        let fits = |p: &&String| !(inside && p.starts_with(char::is_alphanumeric));
        let mut fitting = self.phrases.iter().filter(fits);
        fitting.find_map(|p| begins(text, p))
    }

    /// How many words from the first on are a phrase that the user listed.
    pub(super) fn run(&self, words: &[String]) -> usize {
        let is = |phrase: &String| {
            let mut count = 0;
            for part in phrase.split(' ') {
                if words.get(count)?.to_lowercase() != part {
                    return None;
                }
                count += 1;
            }
            Some(count)
        };
        self.phrases.iter().find_map(is).unwrap_or(0)
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
    use super::super::line::Line;
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

    /// Several words, and signs that no word has, stay one piece that nothing touches.
    #[test]
    fn what_is_no_single_word_is_kept_whole() {
        let list = ["C++", "AT&T", "node.js", "New  York", "cheap music", ".NET"];
        let p = Protection::new(&[], &list.map(str::to_owned));
        let exact = |text: &str| -> Vec<String> {
            let line = Line::parse(text, &p);
            assert_eq!(line.text(), text);
            let kept = line.parts.into_iter().filter(|p| p.exact && p.protected);
            kept.map(|p| p.word).collect()
        };
        let text = "Old c++ templates, AT&T's Node.js in new\u{a0}york (cheap music); .net!";
        let want = [
            "c++",
            "AT&T",
            "Node.js",
            "new\u{a0}york",
            "cheap music",
            ".net",
        ];
        assert_eq!(exact(text), want);
        assert!(exact("cheap musical nodes.js in knew york, at & t, a.network").is_empty());
        let words = ["in", "New", "York", "Cheap", "music", "new", "c++"].map(str::to_owned);
        let line = Line::of_words(&words, &[], &p);
        let kept: Vec<bool> = line.parts.iter().map(|p| p.exact && p.protected).collect();
        assert_eq!(kept, [false, true, true, true, true, false, true]);
    }
}
