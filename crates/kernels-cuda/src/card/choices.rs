//! Which algorithms were the fastest, kept from run to run: a line each in a text file named by card and library. What
//! the file says is preferred to a new measurement, so later runs make the bits of the first.
//!
//! Several processes may keep choices at once: each writes the whole file beside and renames it, with what is there by
//! then; for a shape that two have measured, what was written first stands.

use crate::images;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// `cublasLtMatmulAlgo_t`'s words. It "can be trivially serialized and later restored for use with the same version of
/// cuBLAS library" (cublasLt.h).
pub type Words = [u64; 8];

/// A later candidate has to be faster by more than this share: the heuristic's order decides among equals.
const TIE: f64 = 0.02;

/// The one to take of candidates that took so many seconds each, in the heuristic's order; those that failed took
/// infinitely many.
pub fn fastest(seconds: &[f64]) -> Option<usize> {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let good = |&s: &f64| s.is_finite() && s <= least * (1.0 + TIE);
    seconds.iter().position(good)
}

/// The file's name, for a card and the library's version.
pub fn file_name(card: &str, library: usize) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    let card: String = card.chars().map(plain).collect();
    format!("products-{card}-cublaslt{library}.txt")
}

/// The choices, and where they are kept.
#[derive(Debug)]
pub struct Choices {
    folder: PathBuf,
    file: String,
    kept: BTreeMap<String, Words>,
}

/// `SHAPE = WORD … WORD`; lines of another form say nothing.
fn read(text: &str) -> BTreeMap<String, Words> {
    let mut kept = BTreeMap::new();
    for line in text.lines() {
        let Some((shape, words)) = line.split_once(" = ") else {
            continue;
        };
        let words: Option<Vec<u64>> = words
            .split(' ')
            .map(|w| u64::from_str_radix(w, 16).ok().filter(|_| w.len() == 16))
            .collect();
        if let Some(words) = words.and_then(|w| Words::try_from(w).ok()) {
            kept.entry(shape.to_owned()).or_insert(words);
        }
    }
    kept
}

fn write(kept: &BTreeMap<String, Words>) -> String {
    let mut text = String::from(
        "# The fastest of cuBLASLt's algorithms by shape of product: rows x columns x depth, numbers, operands read\n\
         # transposed, set or add, alignments. Without a line a shape is measured anew, and bits may be others.\n",
    );
    for (shape, words) in kept {
        let words = words.map(|w| format!("{w:016x}")).join(" ");
        text += &format!("{shape} = {words}\n");
    }
    text
}

impl Choices {
    /// What `folder` keeps in `file`; nothing where that cannot be read.
    pub fn open(folder: &Path, file: String) -> Choices {
        let text = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        Choices {
            folder: folder.to_owned(),
            file,
            kept: read(&text),
        }
    }

    /// The file, as messages name it.
    pub fn path(&self) -> String {
        self.folder.join(&self.file).display().to_string()
    }

    /// What was chosen for a shape.
    pub fn get(&self, shape: &str) -> Option<Words> {
        self.kept.get(shape).copied()
    }

    /// Keeps a choice; what stands from now on: another process's, where that was written first. `instead` of one that
    /// the library refuses by now, it replaces that.
    pub fn keep(
        &mut self,
        shape: &str,
        words: Words,
        instead: Option<Words>,
    ) -> std::io::Result<Words> {
        std::fs::create_dir_all(&self.folder)?;
        // One process at a time reads and writes; where locks are unknown the rename alone keeps the file whole.
        let lock = File::create(self.folder.join(format!("{}.lock", self.file)))?;
        let _ = lock.lock();
        let text = std::fs::read_to_string(self.folder.join(&self.file)).unwrap_or_default();
        self.kept.extend(read(&text));
        let stands = match self.kept.get(shape) {
            Some(&there) if Some(there) != instead => there,
            _ => words,
        };
        self.kept.insert(shape.to_owned(), stands);
        images::keep(&self.folder, &self.file, write(&self.kept).as_bytes())?;
        Ok(stands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_taken_and_equals_in_the_heuristics_order() {
        assert_eq!(fastest(&[]), None);
        assert_eq!(fastest(&[f64::INFINITY, f64::NAN]), None);
        assert_eq!(fastest(&[3.0, 2.0, 1.0]), Some(2));
        assert_eq!(fastest(&[1.019, 1.0, 1.015]), Some(0), "within 2 %");
        assert_eq!(fastest(&[1.021, 1.015, 1.0]), Some(1));
        assert_eq!(fastest(&[f64::NAN, 5.0, 4.0, f64::INFINITY]), Some(2));
    }

    #[test]
    fn files_are_named_by_card_and_library() {
        assert_eq!(
            file_name("NVIDIA H200, 132sm", 130100),
            "products-nvidia-h200--132sm-cublaslt130100.txt"
        );
    }

    #[test]
    fn what_is_written_is_read_and_what_is_no_choice_is_passed_over() {
        let mut kept = BTreeMap::new();
        kept.insert(
            "416x768x768 bf16 f32 tn add 256/16/2".to_owned(),
            [0, 1, u64::MAX, 3, 4, 5, 6, 7],
        );
        kept.insert("a".to_owned(), [9; 8]);
        let text = write(&kept);
        assert_eq!(read(&text), kept);
        let cut = &text[..text.len() - 2];
        assert_eq!(read(cut).len(), 1, "a line that was cut says nothing");
        let more = format!("{text}b = 1 2\nc\nd = {}\n", ["zz"; 8].join(" "));
        assert_eq!(read(&more), kept);
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("hone-choices-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn what_was_kept_first_stands() {
        let folder = folder("first");
        let open = || Choices::open(&folder, "products.txt".to_owned());
        let (mut one, mut other) = (open(), open());
        let keep = |choices: &mut Choices, shape, word, instead: Option<u64>| {
            let stands = choices.keep(shape, [word; 8], instead.map(|w| [w; 8]));
            stands.expect("a folder that can be written")[0]
        };
        assert_eq!(keep(&mut one, "x", 1, None), 1);
        assert_eq!(
            keep(&mut other, "x", 2, None),
            1,
            "the file's, not one's own"
        );
        assert_eq!(keep(&mut other, "y", 3, None), 3);
        assert_eq!(keep(&mut one, "z", 4, None), 4);
        let all = open();
        assert_eq!(
            ["x", "y", "z", "w"].map(|s| all.get(s).map(|w| w[0])),
            [Some(1), Some(3), Some(4), None]
        );
        // Refused by the library: replaced, unless somebody has done so.
        assert_eq!(keep(&mut one, "x", 5, Some(1)), 5);
        assert_eq!(keep(&mut other, "x", 6, Some(1)), 5);
        assert_eq!(open().get("x"), Some([5; 8]));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let folder = folder("many");
        std::thread::scope(|scope| {
            for k in 0..8u64 {
                let folder = &folder;
                scope.spawn(move || {
                    let mut choices = Choices::open(folder, "products.txt".to_owned());
                    for shape in 0..4 {
                        let name = format!("{k} {shape}");
                        choices.keep(&name, [k; 8], None).expect("written");
                        choices.keep("one for all", [k; 8], None).expect("written");
                    }
                });
            }
        });
        let all = Choices::open(&folder, "products.txt".to_owned());
        assert_eq!(all.kept.len(), 33);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
