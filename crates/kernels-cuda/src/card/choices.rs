//! Which algorithms were the fastest, kept from run to run: a line each in a text file named by card and library. What
//! the file says is preferred to a new measurement, so later runs make the bits of the first.
//!
//! Several processes may keep choices at once: each writes the whole file beside and renames it, with what is there by
//! then; for a shape that two have measured, what was written first stands. A file that says something else is never
//! written over.

use super::Tell;
use super::machine::plain;
use crate::images;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
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

/// The file's name, for a card (by its name and multiprocessors) and the library's version.
pub fn file_name(card: &str, library: usize) -> String {
    format!("products-{}-cublaslt{library}.txt", plain(card))
}

/// The choices, and where they are kept.
pub struct Choices {
    folder: PathBuf,
    file: String,
    kept: BTreeMap<String, Words>,
    tell: Tell,
    /// Whether it was told that they are no longer kept.
    told: bool,
}

/// `SHAPE = WORD … WORD`, and lines that begin with `#`; the number of the first line that is neither.
fn read(text: &str) -> Result<BTreeMap<String, Words>, usize> {
    let mut kept = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let choice = line.split_once(" = ").and_then(|(shape, words)| {
            let word = |w: &str| {
                let word = u64::from_str_radix(w, 16);
                word.ok().filter(|_| w.len() == 16)
            };
            let words: Option<Vec<u64>> = words.split(' ').map(word).collect();
            Some((shape, Words::try_from(words?).ok()?))
        });
        let (shape, words) = choice.ok_or(number + 1)?;
        kept.entry(shape.to_owned()).or_insert(words);
    }
    Ok(kept)
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
    /// What `folder` keeps in `file`, which is written once to know that choices can be kept: a run that finds out when
    /// it has measured has no way back. `tell` hears if they no longer can later on.
    pub fn open(folder: &Path, file: String, tell: Tell) -> Result<Choices, String> {
        let mut choices = Choices {
            folder: folder.to_owned(),
            file,
            kept: BTreeMap::new(),
            tell,
            told: false,
        };
        let opened = choices.renew(|_| ());
        opened.map_err(|e| format!("--tune-products keeps what it times: {e}"))?;
        Ok(choices)
    }

    /// What was chosen for a shape.
    pub fn get(&self, shape: &str) -> Option<Words> {
        self.kept.get(shape).copied()
    }

    /// Takes over what the file says by now, changes it, and writes it; as it was where the file says something else
    /// than choices, or cannot be read or written.
    fn renew<T>(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, Words>) -> T,
    ) -> Result<T, String> {
        let path = self.folder.join(&self.file);
        let at = |e: std::io::Error| format!("{}: {e}", path.display());
        std::fs::create_dir_all(&self.folder).map_err(at)?;
        // One process at a time reads and writes; where locks are unknown the rename alone keeps the file whole.
        let lock = File::create(self.folder.join(format!("{}.lock", self.file))).map_err(at)?;
        let _ = lock.lock();
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(at)?,
        };
        let there = read(&text).map_err(|line| {
            format!(
                "{}, line {line}: SHAPE = eight words of 16 hexadecimal digits was expected; take the line out, and its \
                 shape is timed again",
                path.display()
            )
        })?;
        let mut kept = self.kept.clone();
        kept.extend(there);
        let done = change(&mut kept);
        images::put(&self.folder, &self.file, write(&kept).as_bytes()).map_err(at)?;
        self.kept = kept;
        Ok(done)
    }

    /// Keeps a choice; what stands from now on: another process's, where that was written first. `instead` of one that
    /// the library refuses by now, it replaces that.
    pub fn keep(&mut self, shape: &str, words: Words, instead: Option<Words>) -> Words {
        let kept = self.renew(|kept| {
            let stands = match kept.get(shape) {
                Some(&there) if Some(there) != instead => there,
                _ => words,
            };
            kept.insert(shape.to_owned(), stands);
            stands
        });
        kept.unwrap_or_else(|error| {
            if !std::mem::replace(&mut self.told, true) {
                (self.tell)(&format!(
                    "timed products are no longer kept, and a later run's bits may be others: {error}"
                ));
            }
            self.kept.insert(shape.to_owned(), words);
            words
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

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
    fn what_is_written_is_read_and_what_is_no_choice_is_named_by_its_line() {
        let mut kept = BTreeMap::new();
        kept.insert(
            "416x768x768 bf16 f32 tn add 256/16/2".to_owned(),
            [0, 1, u64::MAX, 3, 4, 5, 6, 7],
        );
        kept.insert("a".to_owned(), [9; 8]);
        let text = write(&kept);
        assert_eq!(read(&text).as_ref(), Ok(&kept));
        assert_eq!(read(&text[..text.len() - 2]), Err(4), "a line that was cut");
        for bad in [
            "b = 1 2".to_owned(),
            "c".to_owned(),
            format!("d = {}", ["zz"; 8].join(" ")),
        ] {
            assert_eq!(read(&format!("{text}{bad}\n# more\n")), Err(5), "{bad}");
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("hone-choices-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn open(folder: &Path) -> Choices {
        let opened = Choices::open(folder, "products.txt".to_owned(), Arc::new(|_| ()));
        opened.expect("a folder that can be written")
    }

    #[test]
    fn a_file_that_is_damaged_is_named_and_left_as_it_is() {
        let folder = folder("damaged");
        let path = folder.join("products.txt");
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let opened = Choices::open(&folder, "products.txt".to_owned(), Arc::new(|_| ()));
            assert_eq!(std::fs::read(&path).unwrap(), content);
            opened.err().expect("a damaged file")
        };
        open(&folder).keep("x", [1; 8], None);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        // In the last word of the line.
        *changed.iter_mut().nth_back(3).unwrap() = b'g';
        let said = refused(&changed);
        assert!(said.contains("products.txt, line 3: SHAPE = "), "{said}");
        *changed.iter_mut().nth_back(3).unwrap() = 0xff;
        let said = refused(&changed);
        assert!(said.contains("products.txt: "), "{said}");
        std::fs::write(&path, whole).unwrap();
        assert_eq!(open(&folder).get("x"), Some([1; 8]));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn where_nothing_can_be_kept_it_is_said_at_once_and_later_only_told() {
        let folder = folder("kept");
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = heard.clone();
        let tell: Tell = Arc::new(move |note: &str| hears.lock().unwrap().push(note.to_owned()));
        let mut choices = Choices::open(&folder, "products.txt".to_owned(), tell).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
        let said = Choices::open(&folder, "products.txt".to_owned(), Arc::new(|_| ()));
        assert!(said.is_err_and(|said| said.contains("hone-choices-kept")));
        for word in [1, 2] {
            let shape = word.to_string();
            assert_eq!(choices.keep(&shape, [word; 8], None), [word; 8]);
            assert_eq!(choices.get(&shape), Some([word; 8]));
        }
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(heard[0].contains("no longer kept"), "{heard:?}");
        std::fs::remove_file(&folder).unwrap();
    }

    #[test]
    fn what_was_kept_first_stands() {
        let folder = folder("first");
        let open = || open(&folder);
        let (mut one, mut other) = (open(), open());
        let keep = |choices: &mut Choices, shape, word, instead: Option<u64>| {
            choices.keep(shape, [word; 8], instead.map(|w| [w; 8]))[0]
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
                    let mut choices = open(folder);
                    for shape in 0..4 {
                        let name = format!("{k} {shape}");
                        choices.keep(&name, [k; 8], None);
                        choices.keep("one for all", [k; 8], None);
                    }
                });
            }
        });
        let all = open(&folder);
        assert_eq!(all.kept.len(), 33);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
