//! What may stand in a word's place, and the choice among it.

use super::draws::Draws;
use super::line::Line;
use super::protect::Protection;
use std::collections::HashMap;

/// A word that may replace another.
#[derive(Debug, Clone, PartialEq)]
pub struct Substitute {
    /// In lower case.
    pub word: String,
    /// How often it is drawn, beside the others.
    pub weight: f32,
}

/// Substitutes of the words of a data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Substitutes {
    by_word: HashMap<String, Vec<Substitute>>,
}

/// Whether a word begins with the sound of a vowel, so that `an` stands before it.
fn sounds_open(word: &str) -> bool {
    let closed = ["uni", "use", "usa", "usu", "uti", "eu", "one", "once"];
    let open = ["hour", "honest", "honor", "honour", "heir"];
    if open.iter().any(|p| word.starts_with(p)) {
        return true;
    }
    word.starts_with(['a', 'e', 'i', 'o', 'u'])
        && (word.starts_with("unin")
            || word.starts_with("unim")
            || !closed.iter().any(|p| word.starts_with(p)))
}

/// Whether a word can follow the one before it: `a` and `an` ask for one sound.
pub(super) fn agrees(line: &Line, i: usize, word: &str) -> bool {
    match i.checked_sub(1).map(|p| line.parts[p].lower.as_str()) {
        Some("a") => !sounds_open(word),
        Some("an") => sounds_open(word),
        _ => true,
    }
}

impl Substitutes {
    /// Without those that are protected: a label word must not come in through the back door. Words left with
    /// none are left out.
    pub fn new(
        all: impl IntoIterator<Item = (String, Vec<Substitute>)>,
        protection: &Protection,
    ) -> Substitutes {
        let by_word = all
            .into_iter()
            .map(|(word, mut list)| {
                list.retain(|s| s.weight > 0.0 && !protection.keeps(&s.word));
                (word, list)
            })
            .filter(|(_, list)| !list.is_empty())
            .collect();
        Substitutes { by_word }
    }

    /// Words that have some.
    pub fn len(&self) -> usize {
        self.by_word.len()
    }

    /// Those of a lower-case word.
    pub fn of(&self, word: &str) -> &[Substitute] {
        self.by_word.get(word).map_or(&[], Vec::as_slice)
    }

    /// One for word `i` of a line, by weight, among those that fit its place.
    pub fn choose<'a>(&'a self, line: &Line, i: usize, draws: &mut Draws) -> Option<&'a str> {
        let list = self.of(&line.parts[i].lower);
        let weights: Vec<f32> = list
            .iter()
            .map(|s| match agrees(line, i, &s.word) {
                true => s.weight,
                false => 0.0,
            })
            .collect();
        let at = draws.weighted(&weights)?;
        Some(&list[at].word)
    }

    /// One for a word, wherever it will stand.
    pub fn any<'a>(&'a self, word: &str, draws: &mut Draws) -> Option<&'a str> {
        let list = self.of(word);
        let weights: Vec<f32> = list.iter().map(|s| s.weight).collect();
        let at = draws.weighted(&weights)?;
        Some(&list[at].word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds() {
        for (word, open) in [
            ("apple", true),
            ("film", false),
            ("hour", true),
            ("house", false),
            ("unique", false),
            ("unimaginative", true),
            ("unkind", true),
            ("european", false),
            ("one", false),
            ("opera", true),
        ] {
            assert_eq!(sounds_open(word), open, "{word}");
        }
    }
}
