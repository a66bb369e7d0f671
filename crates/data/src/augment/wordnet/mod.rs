//! Princeton WordNet (Fellbaum 1998) read from its own database files, as wndb(5WN) describes them:
//! `index.POS` says where a word's senses lie in `data.POS`, `POS.exc` lists irregular forms, `cntlist.rev`
//! how often each sense was tagged in text.
//!
//! The files are sorted for binary search, so nothing is parsed before it is asked for: opening reads 28 MB
//! and checks that they are what they should be.

#[cfg(test)]
pub(super) mod fixture;
mod morphology;
mod thesaurus;

use crate::DataError;
use crate::source::hex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A part of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Pos {
    Noun,
    Verb,
    Adj,
    Adv,
}

impl Pos {
    pub const ALL: [Pos; 4] = [Pos::Noun, Pos::Verb, Pos::Adj, Pos::Adv];

    fn file(self) -> &'static str {
        match self {
            Pos::Noun => "noun",
            Pos::Verb => "verb",
            Pos::Adj => "adj",
            Pos::Adv => "adv",
        }
    }

    /// By the letter of a pointer.
    fn of(letter: &str) -> Option<Pos> {
        Some(match letter {
            "n" => Pos::Noun,
            "v" => Pos::Verb,
            "a" | "s" => Pos::Adj,
            "r" => Pos::Adv,
            _ => return None,
        })
    }
}

/// A pointer of a synset to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    /// `!` antonym, `&` similar to, `+` derivationally related, `;u` usage, …
    pub symbol: String,
    pub pos: Pos,
    pub offset: u32,
    /// Word it comes from and word it leads to, from 1; 0: the whole synset.
    pub from: usize,
    pub to: usize,
}

/// A set of words with one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Synset {
    pub words: Vec<String>,
    /// Words that stand only before or only after a noun (`galore(ip)`).
    pub placed: Vec<bool>,
    pub pointers: Vec<Pointer>,
    /// Lexicographer's file and number of each word in it, and the number of the kind: what sense keys are made of.
    file: u32,
    numbers: Vec<u32>,
    kind: u8,
}

#[derive(Debug)]
struct Table {
    index: String,
    data: String,
    /// Base forms of irregular ones.
    bases: HashMap<String, Vec<String>>,
    /// Irregular forms of base forms.
    forms: HashMap<String, Vec<String>>,
}

/// The database.
pub struct WordNet {
    path: PathBuf,
    sha256: String,
    tables: [Table; 4],
    counts: String,
}

hone_tensor::brief_debug! { [] WordNet, |w| path: w.path, sha256: w.sha256 }

/// The first line of a sorted text whose beginning is not below `key`, by bytes; its start.
fn lower_bound(text: &str, key: &str) -> usize {
    let bytes = text.as_bytes();
    let line_start = |at: usize| {
        bytes[..at]
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |p| p + 1)
    };
    let (mut low, mut high) = (0, bytes.len());
    while low < high {
        let start = line_start(low + (high - low) / 2);
        let end = bytes[start..]
            .iter()
            .position(|&b| b == b'\n')
            .map_or(bytes.len(), |p| start + p + 1);
        let line = &bytes[start..end];
        if &line[..line.len().min(key.len())] < key.as_bytes() {
            low = end;
        } else {
            high = start;
        }
    }
    low
}

/// Lines of a sorted text that begin with `key`.
fn lines_with<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text[lower_bound(text, key)..]
        .lines()
        .take_while(move |l| l.starts_with(key))
}

impl WordNet {
    /// Opens the folder with `index.noun` and the other files.
    pub fn open(folder: &Path) -> Result<WordNet, DataError> {
        let mut hash = Sha256::new();
        let mut read = |name: String| -> Result<String, DataError> {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(|source| DataError::Io {
                path: path.clone(),
                source,
            })?;
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
            String::from_utf8(bytes).map_err(|_| DataError::WordNet {
                path,
                reason: "not a text file".to_owned(),
            })
        };
        let mut table = |pos: Pos| -> Result<Table, DataError> {
            let name = pos.file();
            let exceptions = read(format!("{name}.exc"))?;
            let mut bases: HashMap<String, Vec<String>> = HashMap::new();
            let mut forms: HashMap<String, Vec<String>> = HashMap::new();
            for line in exceptions.lines() {
                let mut words = line.split_whitespace();
                let Some(form) = words.next() else { continue };
                for base in words {
                    let known = bases.entry(form.to_owned()).or_default();
                    if !known.iter().any(|b| b == base) {
                        known.push(base.to_owned());
                        forms
                            .entry(base.to_owned())
                            .or_default()
                            .push(form.to_owned());
                    }
                }
            }
            Ok(Table {
                index: read(format!("index.{name}"))?,
                data: read(format!("data.{name}"))?,
                bases,
                forms,
            })
        };
        let tables = [
            table(Pos::Noun)?,
            table(Pos::Verb)?,
            table(Pos::Adj)?,
            table(Pos::Adv)?,
        ];
        let counts = match folder.join("cntlist.rev").is_file() {
            true => read("cntlist.rev".to_owned())?,
            // Senses then count by their order alone.
            false => String::new(),
        };
        let net = WordNet {
            path: folder.to_owned(),
            sha256: hex(&hash.finalize()),
            tables,
            counts,
        };
        net.check()?;
        Ok(net)
    }

    /// That the last word of each index leads to a synset which holds it.
    fn check(&self) -> Result<(), DataError> {
        for pos in Pos::ALL {
            let index = &self.table(pos).index;
            let lemma = index
                .lines()
                .next_back()
                .and_then(|l| l.split(' ').next())
                .unwrap_or("");
            let senses = self.senses(pos, lemma);
            let held = |&offset: &u32| {
                self.synset(pos, offset)
                    .is_some_and(|s| s.words.iter().any(|w| w.to_lowercase() == lemma))
            };
            if senses.is_empty() || !senses.iter().all(held) {
                return Err(DataError::WordNet {
                    path: self.path.join(format!("index.{}", pos.file())),
                    reason: format!(
                        "the entry {lemma:?} does not lead to a synset of data.{} that holds it; the two do not \
                         belong together or are damaged",
                        pos.file()
                    ),
                });
            }
        }
        Ok(())
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 over its files.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    fn table(&self, pos: Pos) -> &Table {
        &self.tables[pos as usize]
    }

    /// Offsets of a base form's synsets, the commonest first; empty where the word is not held.
    pub(super) fn senses(&self, pos: Pos, lemma: &str) -> Vec<u32> {
        if lemma.is_empty() || lemma.contains([' ', '\n']) {
            return Vec::new();
        }
        let key = format!("{lemma} ");
        let Some(line) = lines_with(&self.table(pos).index, &key).next() else {
            return Vec::new();
        };
        // lemma pos synset_cnt p_cnt [ptr_symbol…] sense_cnt tagsense_cnt synset_offset…
        let mut fields = line.split_whitespace().skip(2);
        let number = |f: Option<&str>| f.and_then(|f| f.parse::<usize>().ok());
        let (Some(synsets), Some(pointers)) = (number(fields.next()), number(fields.next())) else {
            return Vec::new();
        };
        fields
            .skip(pointers + 2)
            .take(synsets)
            .filter_map(|f| f.parse().ok())
            .collect()
    }

    /// How often each of a base form's senses was tagged. By sense key, not by number: `cntlist.rev` is older than
    /// the synsets, and numbers have moved since.
    pub(super) fn tagged(&self, pos: Pos, lemma: &str, senses: &[u32]) -> Vec<u32> {
        let prefix = format!("{lemma}%");
        let lines: Vec<&str> = lines_with(&self.counts, &prefix).collect();
        let count = |&offset: &u32| {
            // What was never tagged needs no key.
            let key = (!lines.is_empty()).then(|| self.sense_key(pos, lemma, offset))??;
            let mut fields = lines
                .iter()
                .map(|l| l.split_whitespace())
                .find_map(|mut f| (f.next() == Some(&key)).then_some(f))?;
            fields.nth(1)?.parse().ok()
        };
        senses
            .iter()
            .map(|offset| count(offset).unwrap_or(0))
            .collect()
    }

    /// `lemma%kind:file:number:head:head number`, as senseidx(5WN) says.
    fn sense_key(&self, pos: Pos, lemma: &str, offset: u32) -> Option<String> {
        let set = self.synset(pos, offset)?;
        let at = set.words.iter().position(|w| w.to_lowercase() == lemma)?;
        let head = match set.kind {
            5 => {
                let head = set.pointers.iter().find(|p| p.symbol == "&")?;
                let head = self.synset(head.pos, head.offset)?;
                let word = head.words.first()?.to_lowercase();
                format!("{word}:{:02}", head.numbers.first()?)
            }
            _ => ":".to_owned(),
        };
        let (kind, file, number) = (set.kind, set.file, set.numbers[at]);
        Some(format!("{lemma}%{kind}:{file:02}:{number:02}:{head}"))
    }

    /// The synset at an offset.
    pub(super) fn synset(&self, pos: Pos, offset: u32) -> Option<Synset> {
        let line = self
            .table(pos)
            .data
            .get(offset as usize..)?
            .lines()
            .next()?;
        // offset lex_filenum ss_type w_cnt (hex) [word lex_id]… p_cnt [symbol offset pos source/target]… | gloss
        let mut fields = line.split(" | ").next()?.split_whitespace();
        if fields.next()?.parse::<u32>().ok()? != offset {
            return None;
        }
        let file = fields.next()?.parse().ok()?;
        let kind = match fields.next()? {
            "n" => 1,
            "v" => 2,
            "a" => 3,
            "r" => 4,
            _ => 5,
        };
        let count = usize::from_str_radix(fields.next()?, 16).ok()?;
        let mut set = Synset {
            words: Vec::with_capacity(count),
            placed: Vec::with_capacity(count),
            pointers: Vec::new(),
            file,
            numbers: Vec::with_capacity(count),
            kind,
        };
        for _ in 0..count {
            let word = fields.next()?;
            set.numbers
                .push(u32::from_str_radix(fields.next()?, 16).ok()?);
            let bare = word.split('(').next().unwrap_or(word);
            set.placed.push(bare.len() < word.len());
            set.words.push(bare.to_owned());
        }
        let pointers: usize = fields.next()?.parse().ok()?;
        for _ in 0..pointers {
            let symbol = fields.next()?.to_owned();
            let offset = fields.next()?.parse().ok()?;
            let pos = Pos::of(fields.next()?)?;
            let ends = fields.next()?;
            set.pointers.push(Pointer {
                symbol,
                pos,
                offset,
                from: usize::from_str_radix(ends.get(..2)?, 16).ok()?,
                to: usize::from_str_radix(ends.get(2..)?, 16).ok()?,
            });
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::films;
    use super::*;

    #[test]
    fn lines_are_found_at_both_ends() {
        let text = "  header\na 1\nab 2\nb 3\nzz 4";
        for (key, want) in [
            ("a ", &["a 1"][..]),
            ("ab ", &["ab 2"]),
            ("a", &["a 1", "ab 2"]),
            ("zz ", &["zz 4"]),
            ("zzz", &[]),
            ("aa", &[]),
            ("  ", &["  header"]),
        ] {
            assert_eq!(lines_with(text, key).collect::<Vec<_>>(), want, "{key:?}");
        }
    }

    #[test]
    fn senses_counts_and_synsets() {
        let folder = films();
        let net = WordNet::open(folder.path()).unwrap();
        let senses = net.senses(Pos::Noun, "film");
        assert_eq!(senses.len(), 2);
        assert_eq!(net.tagged(Pos::Noun, "film", &senses), [38, 2]);
        let verb = net.senses(Pos::Verb, "film");
        assert_eq!(net.tagged(Pos::Verb, "film", &verb), [2]);
        // A satellite's key names its head.
        let sound = net.senses(Pos::Adj, "sound");
        assert_eq!(net.tagged(Pos::Adj, "sound", &sound), [3, 0]);
        let set = net.synset(Pos::Noun, senses[0]).unwrap();
        assert_eq!(
            set.words,
            ["movie", "film", "picture", "motion_picture", "flick"]
        );
        assert_eq!(
            (set.pointers[0].symbol.as_str(), set.pointers[0].from),
            (";u", 5)
        );
        let fine = net
            .synset(Pos::Adj, net.senses(Pos::Adj, "okay")[0])
            .unwrap();
        assert_eq!(fine.placed, [false, false, true]);
        assert!(net.senses(Pos::Noun, "nowhere").is_empty());
        assert!(net.synset(Pos::Noun, 3).is_none());
    }

    #[test]
    fn a_damaged_or_absent_database_is_named() {
        let folder = films();
        let fails = |says: &str| {
            let error = WordNet::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        let adj = folder.path().join("data.adj");
        let whole = std::fs::read_to_string(&adj).unwrap();
        std::fs::write(&adj, format!("x{whole}")).unwrap();
        fails("index.adj");
        std::fs::write(&adj, b"\xff").unwrap();
        fails("data.adj: not a text file");
        std::fs::remove_file(&adj).unwrap();
        fails("data.adj");
    }
}
