//! Texts that are alike: equal, nearly equal, one within the other; within a split and across splits.

use super::contain::{self, How};
use super::corpus::{At, Corpus, Distinct};
use super::labels::label_of;
use super::near;
use super::report::{Collected, Example, Finding, Kind, Overlap, Severity, Split};
use super::text::{Normal, excerpt};
use crate::TaskKind;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Texts of another split that a text is compared with, beside those its cluster was made by.
const COMPARED: usize = 256;

/// Pairs of splits.
const PAIRS: [(Split, Split); 3] = [
    (Split::Train, Split::Valid),
    (Split::Train, Split::Test),
    (Split::Valid, Split::Test),
];

impl Corpus<'_> {
    fn mask(&self, text: &Distinct) -> u8 {
        text.rows.iter().fold(0, |m, at| m | at.split.bit())
    }

    fn has(&self, split: Split) -> bool {
        self.part(split).is_some()
    }

    fn example(&self, rows: Vec<At>, note: Option<String>) -> Example {
        Example {
            text: rows
                .first()
                .and_then(|at| self.row(*at))
                .map(excerpt)
                .unwrap_or_default(),
            rows: rows.into_iter().map(|at| self.place(at)).collect(),
            more_rows: 0,
            note,
        }
    }
}

/// Equal texts.
pub(crate) fn exact(corpus: &Corpus, most: usize) -> (Vec<Finding>, Vec<Overlap>) {
    let mut out = Vec::new();
    let mut overlaps = Vec::new();
    for (a, b) in PAIRS {
        if !corpus.has(a) || !corpus.has(b) {
            continue;
        }
        let mut found = Collected::new(most);
        let (mut rows_a, mut rows_b) = (0, 0);
        for text in &corpus.texts {
            let (in_a, in_b) = (text.rows_in(a).count(), text.rows_in(b).count());
            if in_a > 0 && in_b > 0 {
                rows_a += in_a;
                rows_b += in_b;
                found
                    .add(|| corpus.example(text.rows_in(a).chain(text.rows_in(b)).collect(), None));
            }
        }
        overlaps.push(Overlap {
            a,
            b,
            texts: found.count,
            rows_a,
            rows_b,
        });
        out.extend(found.finding(Kind::Leak, Severity::Warning, true, |n| {
            format!(
                "texts that stand in {} and in {}: {n} ({rows_a} and {rows_b} rows)",
                a.name(),
                b.name()
            )
        }));
    }
    for (split, _) in &corpus.parts {
        let mut found = Collected::new(most);
        let mut surplus = 0;
        for text in &corpus.texts {
            let rows: Vec<At> = text.rows_in(*split).collect();
            if rows.len() > 1 {
                surplus += rows.len() - 1;
                found.add(|| corpus.example(rows, None));
            }
        }
        let fixable = *split != Split::Test;
        let finding = found.finding(Kind::Duplicate, Severity::Warning, fixable, |texts| {
            format!(
                "rows of {} that repeat a text above: {surplus} ({texts} distinct)",
                split.name()
            )
        });
        out.extend(finding.map(|f| Finding {
            count: surplus,
            ..f
        }));
    }
    (out, overlaps)
}

/// Near duplicates and texts within others; also what could not be checked.
pub(crate) fn near(
    corpus: &Corpus,
    task: TaskKind,
    most: usize,
    progress: &(dyn Fn(&'static str, f64) + Sync),
) -> (Vec<Finding>, Vec<String>) {
    let texts: Vec<&Normal> = corpus.texts.iter().map(|t| &t.normal).collect();
    let masks: Vec<u8> = corpus.texts.iter().map(|t| corpus.mask(t)).collect();
    let found = near::find(&texts, &|p| progress("near duplicates", p));
    let mut cluster_of: Vec<u32> = vec![u32::MAX; texts.len()];
    for (c, cluster) in (0..).zip(&found.clusters) {
        cluster.iter().for_each(|&t| cluster_of[t as usize] = c);
    }
    let mut likeness: HashMap<(u32, u32), f64> = HashMap::new();
    let mut neighbours: HashMap<u32, Vec<u32>> = HashMap::new();
    for e in &found.edges {
        likeness.insert((e.a, e.b), e.jaccard);
        neighbours.entry(e.a).or_default().push(e.b);
        neighbours.entry(e.b).or_default().push(e.a);
    }
    let view = View {
        corpus,
        task,
        masks: &masks,
        texts: &texts,
        most,
    };
    let mut out = view.near_leaks(&found.clusters, &likeness, &neighbours);
    out.extend(view.near_duplicates(&found, &cluster_of));

    let same = |a: u32, b: u32| {
        let cluster = cluster_of[a as usize];
        cluster != u32::MAX && cluster == cluster_of[b as usize]
    };
    let inside = contain::find(&texts, &masks, same, &|p| {
        progress("texts within others", p)
    });
    out.extend(view.contained(&inside.found));
    let mut said = Vec::new();
    if found.cut {
        said.push(
            "near duplicates: so many texts are alike without being near that the budget of comparisons ended; \
             more near duplicates may stand in the data than were found"
                .to_owned(),
        );
    }
    if inside.stock_only > 0 {
        said.push(format!(
            "containment: texts made of phrases that more than {} texts share were looked for as beginnings of others \
             only: {}",
            contain::STOCK,
            inside.stock_only
        ));
    }
    (out, said)
}

struct View<'a> {
    corpus: &'a Corpus<'a>,
    task: TaskKind,
    masks: &'a [u8],
    texts: &'a [&'a Normal],
    most: usize,
}

impl View<'_> {
    fn text(&self, t: u32) -> &Distinct {
        &self.corpus.texts[t as usize]
    }

    fn stands_in(&self, t: u32, split: Split) -> bool {
        self.masks[t as usize] & split.bit() != 0
    }

    fn labels(&self, t: u32) -> BTreeSet<String> {
        let rows = self.text(t).rows.iter();
        rows.filter_map(|at| label_of(self.corpus.row(*at)?, self.task))
            .collect()
    }

    /// Pairs of near duplicates across splits: for each text of the later split one of the earlier, the
    /// likest of those compared. Texts that stand in both are counted as exact ones.
    fn near_leaks(
        &self,
        clusters: &[Vec<u32>],
        likeness: &HashMap<(u32, u32), f64>,
        neighbours: &HashMap<u32, Vec<u32>>,
    ) -> Vec<Finding> {
        let mut out = Vec::new();
        for (a, b) in PAIRS {
            if !self.corpus.has(a) || !self.corpus.has(b) {
                continue;
            }
            let mut found = Collected::new(self.most);
            for cluster in clusters {
                let first: Vec<u32> = cluster
                    .iter()
                    .copied()
                    .filter(|&t| self.stands_in(t, a))
                    .collect();
                if first.is_empty() {
                    continue;
                }
                let later = cluster.iter().copied();
                for t in later.filter(|&t| self.stands_in(t, b) && !self.stands_in(t, a)) {
                    let known = neighbours.get(&t).map(Vec::as_slice).unwrap_or_default();
                    let known = known.iter().copied().filter(|&n| self.stands_in(n, a));
                    let others = first.iter().copied().take(COMPARED);
                    let mut best: Option<(f64, u32)> = None;
                    for o in known.chain(others) {
                        let pair = (t.min(o), t.max(o));
                        let jaccard = likeness
                            .get(&pair)
                            .copied()
                            .or_else(|| near::near(self.texts[t as usize], self.texts[o as usize]));
                        if let Some(j) = jaccard
                            && best.is_none_or(|(old, at)| (j, at) > (old, o))
                        {
                            best = Some((j, o));
                        }
                        // In a large cluster the first near one will do.
                        if best.is_some() && cluster.len() > COMPARED {
                            break;
                        }
                    }
                    if let Some((j, o)) = best {
                        found.add(|| {
                            let rows = [self.text(o).first_in(a), self.text(t).first_in(b)];
                            let rows = rows.into_iter().flatten().collect();
                            let note = format!("Jaccard {j:.2}{}", self.differ(&[o, t]));
                            self.corpus.example(rows, Some(note))
                        });
                    }
                }
            }
            out.extend(
                found.finding(Kind::NearLeak, Severity::Warning, false, |n| {
                    format!(
                        "texts of {} with a near duplicate in {}: {n}",
                        b.name(),
                        a.name()
                    )
                }),
            );
        }
        out
    }

    /// `, labels differ`, where they do.
    fn differ(&self, texts: &[u32]) -> &'static str {
        let differ = self.task != TaskKind::Tag && {
            let mut all = texts.iter().map(|&t| self.labels(t));
            let first = all.next();
            all.any(|l| Some(l) != first)
        };
        if differ { ", labels differ" } else { "" }
    }

    fn near_duplicates(&self, near: &near::Near, cluster_of: &[u32]) -> Vec<Finding> {
        let mut least: BTreeMap<u32, f64> = BTreeMap::new();
        for e in &near.edges {
            let entry = least.entry(cluster_of[e.a as usize]).or_insert(1.0);
            *entry = entry.min(e.jaccard);
        }
        let mut out = Vec::new();
        for (split, _) in &self.corpus.parts {
            let mut found = Collected::new(self.most);
            let (mut texts, mut differing) = (0, 0);
            for (c, cluster) in (0..).zip(&near.clusters) {
                let own: Vec<u32> = cluster
                    .iter()
                    .copied()
                    .filter(|&t| self.stands_in(t, *split))
                    .collect();
                if own.len() < 2 {
                    continue;
                }
                texts += own.len();
                let differ = self.differ(&own);
                differing += usize::from(!differ.is_empty());
                found.add(|| {
                    let rows = own.iter().filter_map(|&t| self.text(t).first_in(*split));
                    let least = least.get(&c).copied().unwrap_or(1.0);
                    let note = match own.len() {
                        2 => format!("Jaccard {least:.2}{differ}"),
                        n => format!("{n} texts, Jaccard from {least:.2}{differ}"),
                    };
                    self.corpus.example(rows.collect(), Some(note))
                });
            }
            let finding = found.finding(Kind::NearDuplicate, Severity::Note, false, |groups| {
                format!(
                    "near duplicates within {}: {texts} distinct texts in {groups} groups{}",
                    split.name(),
                    match differing {
                        0 => String::new(),
                        n => format!(", {n} of them with labels that differ"),
                    }
                )
            });
            out.extend(finding.map(|f| Finding { count: texts, ..f }));
        }
        out
    }

    fn contained(&self, all: &[contain::Inside]) -> Vec<Finding> {
        let mut out = Vec::new();
        let show = |i: &contain::Inside, p: Split, w: Split| {
            let rows = [
                self.text(i.part).first_in(p),
                self.text(i.whole).first_in(w),
            ];
            let rows: Vec<At> = rows.into_iter().flatten().collect();
            let how = match i.how {
                How::Beginning => "the beginning of the second".to_owned(),
                How::Within => format!("{:.0} % of its word runs in the second", 100.0 * i.share),
            };
            let differ = self.differ(&[i.part, i.whole]);
            self.corpus.example(rows, Some(how + differ))
        };
        for (a, b) in PAIRS {
            let mut found = Collected::new(self.most);
            let mut seen = BTreeSet::new();
            for i in all {
                for (p, w) in [(a, b), (b, a)] {
                    // A text that stands in both splits is an exact leak already.
                    let apart = self.stands_in(i.part, p)
                        && self.stands_in(i.whole, w)
                        && !self.stands_in(i.part, w);
                    if apart && seen.insert((i.part, p)) {
                        found.add(|| show(i, p, w));
                    }
                }
            }
            out.extend(
                found.finding(Kind::ContainedLeak, Severity::Warning, false, |n| {
                    format!(
                        "texts of {} or {} within a longer one of the other: {n}",
                        a.name(),
                        b.name()
                    )
                }),
            );
        }
        for (split, _) in &self.corpus.parts {
            for (how, kind, what) in [
                (
                    How::Beginning,
                    Kind::TruncatedCopy,
                    "that are the beginning of",
                ),
                (How::Within, Kind::Contained, "that stand within"),
            ] {
                let mut found = Collected::new(self.most);
                let mut seen = BTreeSet::new();
                for i in all.iter().filter(|i| i.how == how) {
                    let both = self.stands_in(i.part, *split) && self.stands_in(i.whole, *split);
                    if both && seen.insert(i.part) {
                        found.add(|| show(i, *split, *split));
                    }
                }
                out.extend(found.finding(kind, Severity::Note, false, |n| {
                    format!("texts of {} {what} a longer one: {n}", split.name())
                }));
            }
        }
        out
    }
}
