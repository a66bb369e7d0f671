//! Noise as people make it: slips of the keyboard, case, punctuation.

use super::draws::Draws;
use super::line::{Kind, Line, Shape};
use super::outcome::{Outcome, Why};

/// Keys round each key of a QWERTY keyboard.
const KEYS: [&str; 26] = [
    "qwsz", "vghn", "xdfv", "serfcx", "wsdr", "drtgvc", "ftyhbv", "gyujnb", "ujko", "huikmn",
    "jiolm", "kop", "njk", "bhjm", "iklp", "ol", "wa", "edft", "awedxz", "rfgy", "yhji", "cfgb",
    "qase", "zsdc", "tghu", "asx",
];

/// Words shorter than this are left alone: their slips are other words.
const SHORTEST: usize = 4;

/// One slip at letter `at` of a word: a key beside it, two letters exchanged, one left out, one twice; the
/// four single errors of Damerau 1964, alike often.
fn slip(letters: &[char], at: usize, draws: &mut Draws) -> Vec<char> {
    let mut out = letters.to_vec();
    match draws.below(4) {
        0 => {
            let c = letters[at];
            let key = (c.to_ascii_lowercase() as usize).wrapping_sub('a' as usize);
            let keys: Vec<char> = KEYS.get(key).unwrap_or(&"").chars().collect();
            if let Some(&key) = draws.pick(&keys) {
                out[at] = if c.is_uppercase() {
                    key.to_ascii_uppercase()
                } else {
                    key
                };
            }
        }
        1 if at + 1 < out.len() => out.swap(at, at + 1),
        1 => out.swap(at - 1, at),
        2 => {
            out.remove(at);
        }
        _ => out.insert(at, letters[at]),
    }
    out
}

/// Mistypes each letter but a word's first with probability `p`, at most one a word (Damerau: four of five
/// misspelled words hold one error). A slip that makes another word is drawn again.
pub(super) fn typing(
    line: &mut Line,
    p: f64,
    known: impl Fn(&str) -> bool,
    draws: &mut Draws,
) -> Outcome {
    let mut done = 0;
    let mut able = 0;
    for part in &mut line.parts {
        let letters: Vec<char> = part.word.chars().collect();
        let plain = letters.iter().all(|c| c.is_ascii_alphabetic());
        if part.kind != Kind::Word || part.protected || !plain || letters.len() < SHORTEST {
            continue;
        }
        able += 1;
        let Some(at) = (1..letters.len()).find(|_| draws.happens(p)) else {
            continue;
        };
        for _ in 0..8 {
            let made = slip(&letters, at, draws);
            let word: String = made.iter().collect();
            let lower = word.to_lowercase();
            if made != letters && !known(&lower) {
                (part.word, part.lower) = (word, lower);
                done += 1;
                break;
            }
        }
    }
    let why = if able == 0 {
        Why::Nothing
    } else {
        Why::NotDrawn
    };
    Outcome::of(done, why)
}

/// With probability `p`, writes the text in lower case, in capitals, or every word with a capital: one of
/// those that make a difference.
pub(super) fn case(line: &mut Line, p: f64, draws: &mut Draws) -> Outcome {
    if !draws.happens(p) {
        return Outcome::Same(Why::NotDrawn);
    }
    let dress = |shape: Shape| -> Vec<(String, String)> {
        line.parts
            .iter()
            .map(|part| {
                if part.exact {
                    return (part.word.clone(), part.suffix.clone());
                }
                let suffix = match shape {
                    Shape::Upper => part.suffix.to_uppercase(),
                    _ => part.suffix.to_lowercase(),
                };
                let lower = part.word.to_lowercase();
                let made = shape.dress(&lower);
                // ß has no capital that leads back to it.
                match made.to_lowercase() == lower {
                    true => (made, suffix),
                    false => (part.word.clone(), part.suffix.clone()),
                }
            })
            .collect()
    };
    let now: Vec<(String, String)> = line
        .parts
        .iter()
        .map(|p| (p.word.clone(), p.suffix.clone()))
        .collect();
    let ways: Vec<Vec<(String, String)>> = [Shape::Lower, Shape::Upper, Shape::Capital]
        .into_iter()
        .map(dress)
        .filter(|way| *way != now)
        .collect();
    let Some(way) = draws.pick(&ways) else {
        return Outcome::Same(Why::Nothing);
    };
    let changed = way.iter().zip(&now).filter(|(a, b)| a != b).count();
    for (part, (word, suffix)) in line.parts.iter_mut().zip(way) {
        (part.word, part.suffix) = (word.clone(), suffix.clone());
    }
    Outcome::Changed(changed)
}

const MARKS: [char; 6] = ['.', ',', ';', ':', '!', '?'];

/// With probability `p`, drops the marks at the end, or repeats one mark somewhere (`!!`, `...`).
pub(super) fn punctuation(line: &mut Line, p: f64, draws: &mut Draws) -> Outcome {
    if !draws.happens(p) {
        return Outcome::Same(Why::NotDrawn);
    }
    let tail = line.tail.trim_end();
    let kept = tail.trim_end_matches(MARKS).trim_end().len();
    // A text that is nothing but marks would be none without them.
    let ends = tail.ends_with(MARKS) && (kept > 0 || !line.parts.is_empty());
    let mut places: Vec<(usize, usize)> = Vec::new();
    let gaps = line.parts.iter().map(|p| &p.gap).chain([&line.tail]);
    for (i, gap) in gaps.enumerate() {
        places.extend(gap.match_indices(MARKS).map(|(at, _)| (i, at)));
    }
    if places.is_empty() {
        return Outcome::Same(Why::Nothing);
    }
    if ends && draws.happens(0.5) {
        line.tail.truncate(kept);
        return Outcome::Changed(1);
    }
    let Some(&(i, at)) = draws.pick(&places) else {
        return Outcome::Same(Why::Nothing);
    };
    let gap = match line.parts.get_mut(i) {
        Some(part) => &mut part.gap,
        None => &mut line.tail,
    };
    let more = match &gap[at..at + 1] {
        "." => "..",
        mark => mark,
    };
    let more = more.to_owned();
    gap.insert_str(at, &more);
    Outcome::Changed(1)
}
