//! Texts within others against brute force.

use super::*;
use crate::Row;
use hone_tensor::Philox;
use std::collections::BTreeSet;

fn normal(text: &str) -> Normal {
    Normal::of(&Row::text(1, text))
}

/// Texts, parts of them, and parts with one word changed.
fn world() -> Vec<Normal> {
    let random = Philox::new(3);
    let draw = |i: u64, k: u64, n: usize| (random.u64_at(i, k) % n as u64) as usize;
    let mut texts = Vec::new();
    for i in 0..150u64 {
        let words: Vec<String> = (0..30 + draw(i, 0, 90) as u64)
            .map(|k| format!("w{}", draw(i, k + 10, 500)))
            .collect();
        let n = words.len();
        texts.push(words.join(" "));
        let cut = 4 + draw(i, 1, n - 10);
        let beginning = words[..cut].join(" ");
        texts.push(beginning[..beginning.len() - draw(i, 2, 2)].to_owned());
        let from = draw(i, 3, n / 2);
        let mut middle = words[from..(from + 6 + draw(i, 4, 60)).min(n)].to_vec();
        if i % 3 == 0 {
            let at = draw(i, 5, middle.len());
            middle[at] = "other".to_owned();
        }
        texts.push(middle.join(" "));
    }
    let mut all: Vec<Normal> = texts.iter().map(|t| normal(t)).collect();
    all.sort_by(|a, b| a.text.cmp(&b.text));
    all.dedup();
    all
}

fn brute(texts: &[&Normal]) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let (mut beginnings, mut within) = (BTreeSet::new(), BTreeSet::new());
    for (i, a) in texts.iter().enumerate() {
        let words = |t: &Normal| -> Vec<String> { t.text.split(' ').map(str::to_owned).collect() };
        let own = words(a);
        if own.len() < 8 {
            continue;
        }
        let runs: BTreeSet<&[String]> = own.windows(5).collect();
        for b in texts.iter() {
            if b.text.len() > a.text.len() && b.text.starts_with(&a.text) {
                beginnings.insert(i as u32);
                continue;
            }
            let others = words(b);
            let theirs: BTreeSet<&[String]> = others.windows(5).collect();
            let share = runs.intersection(&theirs).count() as f64 / runs.len() as f64;
            if others.len() > own.len() && share >= 0.9 {
                within.insert(i as u32);
            }
        }
    }
    (beginnings, within)
}

#[test]
fn all_beginnings_and_nearly_all_parts_are_found() {
    let all = world();
    let texts: Vec<&Normal> = all.iter().collect();
    let kinds = vec![1u8; texts.len()];
    let got = find(&texts, &kinds, |_, _| false, &|_| {});
    let of = |how: How| -> BTreeSet<u32> {
        got.found
            .iter()
            .filter(|i| i.how == how)
            .map(|i| i.part)
            .collect()
    };
    let (beginnings, within) = brute(&texts);
    assert!(beginnings.len() > 100 && within.len() > 80);
    assert_eq!(of(How::Beginning), beginnings);
    // A part that is also a beginning is told as one.
    let missed: Vec<&u32> = within
        .iter()
        .filter(|i| !of(How::Within).contains(i) && !beginnings.contains(i))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(of(How::Within).is_subset(&within));
    assert_eq!(got.stock_only, 0);
}

#[test]
fn each_kind_has_its_whole_and_stock_phrases_are_said() {
    let part = "one two three four five six seven eight";
    let texts = [
        normal(part),
        normal(&format!("x {part} y")),
        normal(&format!("z {part} q")),
    ];
    let texts: Vec<&Normal> = texts.iter().collect();
    let got = find(&texts, &[1, 1, 2], |_, _| false, &|_| {});
    let wholes: Vec<u32> = got.found.iter().map(|i| i.whole).collect();
    assert_eq!(wholes, [1, 2]);

    // A letter that thousands signed differs in the names alone.
    let letters: Vec<Normal> = (0..600)
        .map(|i| {
            normal(&format!(
                "n{i} we the undersigned ask you to keep the old bridge open for all of us n{i}"
            ))
        })
        .collect();
    let texts: Vec<&Normal> = letters.iter().collect();
    let got = find(&texts, &vec![1; 600], |_, _| false, &|_| {});
    assert!(got.found.is_empty());
    assert!(got.stock_only <= 600);
}
