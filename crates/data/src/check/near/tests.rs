//! Recall against brute force, by length of text and kind of edit; sets in which thousands of texts are alike.

use super::*;
use crate::Row;
use hone_tensor::Philox;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Words of a text, from and below.
const BANDS_OF_WORDS: [(usize, usize); 5] = [(5, 10), (10, 20), (20, 50), (50, 150), (150, 400)];
const EDITS: [&str; 4] = [
    "word replaced",
    "word inserted",
    "word deleted",
    "letter changed",
];

/// Numbers in a row from one stream.
struct Draws {
    random: Philox,
    at: u64,
}

impl Draws {
    fn new(seed: u64) -> Draws {
        Draws {
            random: Philox::new(seed),
            at: 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.at += 1;
        (self.random.u64_at(0, self.at) % n as u64) as usize
    }

    /// Few words are frequent, many are rare.
    fn word(&mut self) -> String {
        const SYLLABLES: [&str; 16] = [
            "ka", "lo", "mi", "ter", "sun", "ba", "re", "ving", "o", "an", "du", "fel", "si",
            "qua", "ner", "th",
        ];
        let most = [20, 300, 4000][self.below(3)];
        let mut number = self.below(most) * 7 + 3;
        let mut word = String::new();
        while number > 0 {
            word += SYLLABLES[number % 16];
            number /= 16;
        }
        word
    }

    fn text(&mut self, words: usize) -> Vec<String> {
        (0..words).map(|_| self.word()).collect()
    }

    /// The text with so many edits of one kind.
    fn edited(&mut self, text: &[String], kind: usize, edits: usize) -> Vec<String> {
        let mut out = text.to_vec();
        for _ in 0..edits {
            let at = self.below(out.len());
            match kind {
                0 => out[at] = self.word(),
                1 => {
                    let word = self.word();
                    out.insert(at, word);
                }
                2 if out.len() > 1 => {
                    out.remove(at);
                }
                2 => {}
                _ => {
                    let mut chars: Vec<char> = out[at].chars().collect();
                    let c = self.below(chars.len());
                    chars[c] = (b'a' + self.below(26) as u8) as char;
                    out[at] = chars.into_iter().collect();
                }
            }
        }
        out
    }
}

fn normal(text: &str) -> Normal {
    Normal::of(&Row::text(1, text))
}

/// All near pairs by the definition, from sets of strings, every pair compared.
struct Brute {
    ids: HashMap<String, u32>,
}

impl Brute {
    fn set(&mut self, text: &str, k: usize) -> Vec<u32> {
        let chars: Vec<char> = format!(" {text} ").chars().collect();
        let runs: Vec<String> = match chars.len() < k {
            true => vec![chars.iter().collect()],
            false => chars.windows(k).map(|w| w.iter().collect()).collect(),
        };
        let mut set: Vec<u32> = runs
            .into_iter()
            .map(|run| {
                let next = self.ids.len() as u32;
                *self.ids.entry(run).or_insert(next)
            })
            .collect();
        set.sort_unstable();
        set.dedup();
        set
    }

    fn pairs(texts: &[&Normal]) -> Vec<(u32, u32, f64)> {
        let mut brute = Brute {
            ids: HashMap::new(),
        };
        let sets: Vec<[Vec<u32>; 2]> = texts
            .iter()
            .map(|t| [brute.set(&t.text, 3), brute.set(&t.text, 5)])
            .collect();
        let chars: Vec<usize> = texts.iter().map(|t| t.text.chars().count()).collect();
        (0..texts.len())
            .into_par_iter()
            .flat_map_iter(|i| {
                let (sets, chars) = (&sets, &chars);
                (i + 1..texts.len()).filter_map(move |j| {
                    let (least, most) = (chars[i].min(chars[j]), chars[i].max(chars[j]));
                    let which = usize::from(least >= 80);
                    let (a, b) = (&sets[i][which], &sets[j][which]);
                    let far = a.len().min(b.len()) * 5 < a.len().max(b.len()) * 4;
                    if most > 2 * least || least == 0 || far {
                        return None;
                    }
                    let both = a.iter().filter(|x| b.binary_search(x).is_ok()).count();
                    let likeness = both as f64 / (a.len() + b.len() - both) as f64;
                    (likeness >= 0.8).then_some((i as u32, j as u32, likeness))
                })
            })
            .collect()
    }
}

/// Near pairs there are, those found, and those of them below 0.85 likewise.
#[derive(Default, Clone, Copy)]
struct Count {
    pairs: usize,
    found: usize,
    hard: usize,
    hard_found: usize,
}

impl Count {
    fn add(&mut self, likeness: f64, found: bool) {
        self.pairs += 1;
        self.found += usize::from(found);
        if likeness < 0.85 {
            self.hard += 1;
            self.hard_found += usize::from(found);
        }
    }

    fn line(&self) -> String {
        let share = |n: usize, of: usize| match of {
            0 => "-".to_owned(),
            _ => format!("{:.4}", n as f64 / of as f64),
        };
        format!(
            "{} | {} | {} | {}",
            self.pairs,
            share(self.found, self.pairs),
            self.hard,
            share(self.hard_found, self.hard)
        )
    }
}

fn together(near: &Near, texts: usize) -> impl Fn(u32, u32) -> bool + use<> {
    let mut of = vec![u32::MAX; texts];
    for (c, cluster) in (0..).zip(&near.clusters) {
        cluster.iter().for_each(|&t| of[t as usize] = c);
    }
    move |a, b| of[a as usize] != u32::MAX && of[a as usize] == of[b as usize]
}

/// A text and a version of it with few to many edits, so many pairs, against brute force over all texts.
fn edits(band: (usize, usize), kind: usize, pairs: usize) -> Count {
    let mut draws = Draws::new((band.0 * 10 + kind) as u64);
    let mut texts = Vec::new();
    for _ in 0..pairs {
        let words = band.0 + draws.below(band.1 - band.0);
        let text = draws.text(words);
        // A word replaced takes most of a text away; the likeness of the pairs is spread around 0.8.
        let most = if kind == 0 { words / 8 } else { words / 5 };
        let number = 1 + draws.below(most.max(1));
        let other = draws.edited(&text, kind, number);
        texts.push(normal(&text.join(" ")));
        texts.push(normal(&other.join(" ")));
    }
    let texts: Vec<&Normal> = texts.iter().collect();
    let near = find(&texts, &|_| {});
    for e in &near.edges {
        assert!(e.jaccard >= 0.8, "{e:?} was not verified");
    }
    let found = together(&near, texts.len());
    let mut count = Count::default();
    for (a, b, likeness) in Brute::pairs(&texts) {
        count.add(likeness, found(a, b));
    }
    count
}

#[test]
fn recall_by_length_and_kind_of_edit() {
    let mut whole = Count::default();
    for band in BANDS_OF_WORDS {
        for kind in 0..EDITS.len() {
            let pairs = if band.0 < 100 { 150 } else { 60 };
            let count = edits(band, kind, pairs);
            let missed = count.pairs - count.found;
            // One in a thousand may be missed at the threshold itself; of 150 that is none or one.
            assert!(missed <= 1, "{band:?} {}: {}", EDITS[kind], count.line());
            whole.pairs += count.pairs;
            whole.found += count.found;
        }
    }
    assert!(whole.pairs > 1000, "{}", whole.pairs);
    let recall = whole.found as f64 / whole.pairs as f64;
    assert!(recall >= 0.995, "{recall}");
}

/// The table in the crate's README: `cargo test --release -p hone-data recall_table -- --ignored --nocapture`
#[test]
#[ignore = "minutes of brute force"]
fn recall_table() {
    println!("words | edit | near pairs | recall | of them below 0.85 | recall");
    for band in BANDS_OF_WORDS {
        for (kind, name) in EDITS.iter().enumerate() {
            let pairs = if band.0 < 100 { 1500 } else { 500 };
            let count = edits(band, kind, pairs);
            println!("{} to {} | {name} | {}", band.0, band.1 - 1, count.line());
            assert!(count.found as f64 >= 0.99 * count.pairs as f64);
        }
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for (name, most) in [
        ("trec/train.csv", usize::MAX),
        ("banking77/train.csv", usize::MAX),
        ("cola/train.csv", usize::MAX),
        ("mrpc/train.csv", usize::MAX),
        ("sst2/train.csv", 20_000),
        ("imdb/train.csv", 5_000),
    ] {
        let path = data.join(name);
        if !path.is_file() {
            println!("skipped: {name} is not there");
            continue;
        }
        let part = crate::read_as_is(&path, &crate::Columns::default()).unwrap();
        let mut texts: Vec<Normal> = part.rows.iter().take(most).map(Normal::of).collect();
        texts.sort_by(|a, b| a.text.cmp(&b.text));
        texts.dedup();
        let texts: Vec<&Normal> = texts.iter().collect();
        let near = find(&texts, &|_| {});
        let found = together(&near, texts.len());
        let mut bands: BTreeMap<usize, Count> = BTreeMap::new();
        let mut whole = Count::default();
        for (a, b, likeness) in Brute::pairs(&texts) {
            let words = texts[a as usize].words.min(texts[b as usize].words);
            let band = BANDS_OF_WORDS.iter().rposition(|b| words >= b.0);
            let count = bands.entry(band.map_or(0, |b| b + 1)).or_default();
            count.add(likeness, found(a, b));
            whole.add(likeness, found(a, b));
        }
        println!(
            "{name}, {} distinct texts | all | {}",
            texts.len(),
            whole.line()
        );
        for (band, count) in bands {
            let from = band.checked_sub(1).map_or(1, |b| BANDS_OF_WORDS[b].0);
            println!("  from {from} words | {}", count.line());
        }
        assert!(whole.found as f64 >= 0.99 * whole.pairs as f64);
    }
}

/// What a person would call nearly the same, and what not.
#[test]
fn what_counts() {
    let long =
        "the plot is thin but the actors are so good that nobody minds the holes in it at all";
    for (a, b, want) in [
        // A changed letter in six words; case, punctuation and space anywhere.
        (
            "where is my yellow plastic card",
            "where is my yellow plostic card",
            true,
        ),
        ("Where is my card?!", "where is  my card", true),
        ("ok", "OK.", true),
        // A changed word in six words.
        (
            "where is my yellow plastic card",
            "where is my purple plastic card",
            false,
        ),
        // Runs of three characters hardly see the order of words.
        ("the dog bit the man", "the man bit the dog", true),
        ("ok", "no", false),
        // A changed word, a word more, a word less in eighteen.
        (long, &long.replace("thin", "weak"), true),
        (long, &long.replace("so good", "so very good"), true),
        (
            long,
            &long.replace("the holes in it ", "holes in it "),
            true,
        ),
        (long, &long[..50], false),
    ] {
        let (a, b) = (normal(a), normal(b));
        assert_eq!(near(&a, &b).is_some(), want, "{} / {}", a.text, b.text);
        let pair = find(&[&a, &b], &|_| {});
        assert_eq!(pair.clusters.len(), usize::from(want), "{}", a.text);
    }
}

/// Thousands of texts that are one form filled in: one comparison a text, one cluster.
#[test]
fn a_form_filled_in_thousands_of_times_is_one_cluster() {
    let texts: Vec<Normal> = (0..6000)
        .map(|i| {
            normal(&format!(
                "your order number {} has left our house in the north and will be with you on the day we said",
                i * 7919 % 100_003
            ))
        })
        .collect();
    let texts: Vec<&Normal> = texts.iter().collect();
    let near = find(&texts, &|_| {});
    assert_eq!(near.clusters.len(), 1);
    assert_eq!(near.clusters[0].len(), 6000);
    assert!(!near.cut);
    assert!(near.edges.len() < 20_000, "{}", near.edges.len());
}

/// Threads change nothing.
#[test]
fn the_same_for_any_number_of_threads() {
    let mut draws = Draws::new(5);
    let texts: Vec<Normal> = (0..300)
        .map(|i| {
            let text = draws.text(6 + i % 30);
            normal(&draws.edited(&text, i % 4, 1).join(" "))
        })
        .collect();
    let texts: Vec<&Normal> = texts.iter().chain(texts.iter().take(40)).collect();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| find(&texts, &|_| {}))
    };
    let (one, four) = (on(1), on(4));
    assert_eq!(one.edges, four.edges);
    assert_eq!(one.clusters, four.clusters);
}

/// As the module says: runs of 3 characters below 80, of 5 from there on; none where one text is more than twice as long;
/// near from 0.8 on, that included.
#[test]
fn what_is_near_by_hand() {
    for (a, b, run) in [
        (10, 20, Some(3)),
        (20, 10, Some(3)),
        (10, 21, None),
        (79, 80, Some(3)),
        (80, 80, Some(5)),
    ] {
        assert_eq!(shingle_of(a, b), run, "{a} {b}");
    }
    // Thirteen letters have as many runs with the spaces around them; one letter more leaves twelve of fifteen.
    let of = |a: &str, b: &str| near(&normal(a), &normal(b));
    assert_eq!(of("abcdefghijklm", "abcdefghijklmn"), Some(0.8));
    assert_eq!(of("abcdefghijkl", "abcdefghijklm"), None);
}
