//! The four operations of EDA (Wei and Zou 2019, "EDA: Easy data augmentation techniques for boosting
//! performance on text classification tasks"): n = max(1, ⌊α·l⌋) words of l are replaced, inserted or swapped;
//! each word is deleted with probability p.
//!
//! Where Hone differs, on purpose: punctuation, spaces and case stay (EDA strips them); a replaced word changes
//! at one place, not at all its places; synonyms agree in sense and form and are single words; words under a
//! negation lend no synonyms and are swapped among themselves only; verdicts are not deleted; protected words
//! neither move nor go, and nothing is inserted next to a negation.

use super::draws::Draws;
use super::line::{Kind, Line, Part, Shape};
use super::outcome::{Outcome, Why};
use super::polarity::polarity;
use super::protect::is_stop;
use super::scan::CLOSING;
use super::substitutes::{Substitutes, agrees};

/// EDA's n.
fn number(line: &Line, alpha: f64) -> usize {
    let words = line
        .parts
        .iter()
        .filter(|p| !matches!(p.kind, Kind::Clitic | Kind::Special))
        .count();
    ((alpha * words as f64) as usize).max(1)
}

/// Whether a word may give way to another.
fn replaceable(line: &Line, i: usize, substitutes: &Substitutes) -> bool {
    let part = &line.parts[i];
    part.kind == Kind::Word
        // Shorter ones are symbols to WordNet: n is nitrogen.
        && part.word.len() > 2
        && !part.protected
        && !part.entity
        && !is_stop(&part.lower)
        && !line.name(i)
        && !substitutes.of(&part.lower).is_empty()
}

/// Replaces n words by substitutes, in the case they are written in.
pub(super) fn substitute(
    line: &mut Line,
    alpha: f64,
    substitutes: &Substitutes,
    draws: &mut Draws,
) -> Outcome {
    let mut places: Vec<usize> = (0..line.parts.len())
        .filter(|&i| replaceable(line, i, substitutes))
        .collect();
    draws.shuffle(&mut places);
    let wanted = number(line, alpha);
    let mut done = 0;
    for i in places {
        if done == wanted {
            break;
        }
        if let Some(word) = substitutes.choose(line, i, draws) {
            let part = &mut line.parts[i];
            part.word = Shape::of(&part.word).dress(word);
            part.lower = word.to_owned();
            done += 1;
        }
    }
    Outcome::of(done, Why::NoSubstitute)
}

/// Puts synonyms of n words in at other places.
pub(super) fn insert(
    line: &mut Line,
    alpha: f64,
    substitutes: &Substitutes,
    draws: &mut Draws,
) -> Outcome {
    let sources: Vec<String> = (0..line.parts.len())
        .filter(|&i| line.parts[i].scope == 0 && replaceable(line, i, substitutes))
        .map(|i| line.parts[i].lower.clone())
        .collect();
    let mut done = 0;
    for _ in 0..number(line, alpha) {
        let Some(word) = draws
            .pick(&sources)
            .and_then(|source| substitutes.any(source, draws))
        else {
            break;
        };
        let places: Vec<usize> = (0..=line.parts.len())
            .filter(|&i| has_room(line, i) && agrees(line, i, word))
            .collect();
        let Some(&at) = draws.pick(&places) else {
            break;
        };
        let shouted = line.shouts();
        let gap = match line.parts.get_mut(at) {
            Some(next) => std::mem::replace(&mut next.gap, " ".to_owned()),
            None => " ".to_owned(),
        };
        let word = if shouted {
            word.to_uppercase()
        } else {
            word.to_owned()
        };
        line.parts.insert(at, Part::inserted(gap, word));
        done += 1;
    }
    Outcome::of(done, Why::NoSubstitute)
}

/// Whether a word may be put in before word `i`: within a sentence, at a space, away from negations.
fn has_room(line: &Line, i: usize) -> bool {
    let before = i.checked_sub(1).map(|p| &line.parts[p]);
    let negates = |p: &Part| super::protect::is_negation(&p.lower);
    if before.is_some_and(|p| negates(p) || p.kind == Kind::Special) {
        return false;
    }
    match line.parts.get(i) {
        None => line.parts.last().is_some_and(|p| p.scope == 0),
        Some(part) => {
            let spaced = i == 0 || part.gap.ends_with(char::is_whitespace);
            let begins = part.start && Shape::of(&part.word) != Shape::Lower;
            spaced && !begins && part.scope == 0 && !negates(part) && part.kind != Kind::Clitic
        }
    }
}

/// Lets two words change places, n times. A sentence's first word keeps its capital letter in its place.
pub(super) fn swap(line: &mut Line, alpha: f64, draws: &mut Draws) -> Outcome {
    let movable: Vec<usize> = (0..line.parts.len())
        .filter(|&i| {
            let part = &line.parts[i];
            part.kind == Kind::Word && !part.protected && part.suffix.is_empty() && !line.bound(i)
        })
        .collect();
    let before = line.text();
    let mut done = 0;
    for _ in 0..number(line, alpha) {
        let Some(&i) = draws.pick(&movable) else {
            break;
        };
        let others: Vec<usize> = movable
            .iter()
            .copied()
            .filter(|&j| j != i && line.parts[j].scope == line.parts[i].scope)
            .filter(|&j| line.parts[j].lower != line.parts[i].lower)
            .collect();
        if let Some(&j) = draws.pick(&others) {
            exchange(line, i, j);
            done += 1;
        }
    }
    // Two swaps may undo one another.
    if line.text() == before {
        done = 0;
    }
    Outcome::of(done, Why::TooFewWords)
}

fn exchange(line: &mut Line, i: usize, j: usize) {
    let opens = |p: &Part| p.start && Shape::of(&p.word) == Shape::Capital && p.word != "I";
    let lower = |p: &Part| Shape::of(&p.word) == Shape::Lower;
    let (a, b) = (&line.parts[i], &line.parts[j]);
    let (mut to_i, mut to_j) = (b.word.clone(), a.word.clone());
    if opens(a) && lower(b) {
        (to_i, to_j) = (Shape::Capital.dress(&b.word), a.lower.clone());
    } else if opens(b) && lower(a) {
        (to_i, to_j) = (b.lower.clone(), Shape::Capital.dress(&a.word));
    }
    let (low_i, low_j) = (b.lower.clone(), a.lower.clone());
    (line.parts[i].word, line.parts[i].lower) = (to_i, low_i);
    (line.parts[j].word, line.parts[j].lower) = (to_j, low_j);
}

/// Leaves words out, each with probability `p`; at least one word stays.
pub(super) fn delete(line: &mut Line, p: f64, draws: &mut Draws) -> Outcome {
    let loose: Vec<usize> = (0..line.parts.len())
        .filter(|&i| {
            let part = &line.parts[i];
            part.kind == Kind::Word
                && !part.protected
                && !line.bound(i)
                && polarity(&part.lower) == 0
        })
        .collect();
    let mut gone: Vec<usize> = loose.iter().copied().filter(|_| draws.happens(p)).collect();
    let words = line
        .parts
        .iter()
        .filter(|p| !matches!(p.kind, Kind::Clitic | Kind::Special))
        .count();
    if gone.len() == words && !gone.is_empty() {
        let stays = draws.below(gone.len());
        gone.remove(stays);
    }
    for &i in gone.iter().rev() {
        remove(line, i);
    }
    let why = match words {
        0 | 1 => Why::TooFewWords,
        _ if loose.is_empty() => Why::AllProtected,
        _ => Why::NotDrawn,
    };
    Outcome::of(gone.len(), why)
}

/// Takes word `i` out, and one of the two spaces round it.
fn remove(line: &mut Line, i: usize) {
    let gone = line.parts.remove(i);
    let capital = gone.start && Shape::of(&gone.word) == Shape::Capital;
    let next = match line.parts.get_mut(i) {
        Some(part) => {
            if capital && Shape::of(&part.word) == Shape::Lower && part.kind != Kind::Special {
                part.word = Shape::Capital.dress(&part.word);
            }
            part.start |= gone.start;
            &mut part.gap
        }
        None => &mut line.tail,
    };
    // Marks that close, up to the next space: others (`:{`) would become part of an address or a mention before them.
    let closes = |text: &str| {
        let marks = text.split(char::is_whitespace).next().unwrap_or("");
        text.starts_with(['.', ',', ';', ':', '!', '?'])
            && marks.chars().all(|c| CLOSING.contains(c))
    };
    const PAUSES: [char; 3] = [',', ';', ':'];
    *next = if gone.gap.is_empty() {
        // Nothing stands before the first word, so neither does what followed it.
        next.trim_start()
            .trim_start_matches(PAUSES)
            .trim_start()
            .to_owned()
    } else if closes(next.trim_start()) {
        // A mark stands where it stood, and no pause is left before it.
        let before = gone.gap.trim_end().trim_end_matches(PAUSES).trim_end();
        format!("{before}{next}")
    } else if gone.gap.ends_with(char::is_whitespace) {
        format!("{}{}", gone.gap, next.trim_start())
    } else {
        // The only space was behind it (`wow!A @you`), and what follows must not stick to what stands before.
        format!("{}{next}", gone.gap)
    };
    if line.parts.get(i).is_none() && gone.gap.trim().is_empty() && line.tail.trim().is_empty() {
        line.tail.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::protect::Protection;

    #[test]
    fn one_space_of_two_goes_with_a_word_and_an_only_one_stays() {
        for (text, i, left) in [
            ("a very good film", 1, "a good film"),
            ("wow!A @you", 1, "wow! @you"),
            ("good, really good", 1, "good, good"),
            ("film (bad) plot", 1, "film () plot"),
            ("good film.", 1, "good."),
            ("@you a:{ film", 1, "@you :{ film"),
            ("@you a?! film", 1, "@you?! film"),
        ] {
            let mut line = Line::parse(text, &Protection::default());
            remove(&mut line, i);
            assert_eq!(line.text(), left, "{text}");
        }
    }
}
