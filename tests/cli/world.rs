//! A folder to work in, the tiny model, and the binary.

use serde_json::Value;
use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Stdio;
use std::process::{Command, Output};

/// The tiny BERT with its tokenizer, and 400 labelled texts in its words.
pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/train/fixtures/trajectory")
}

/// Texts for every task, in the tiny model's words, where one word decides: text, the deciding word, another one.
pub fn texts() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let words = ["film", "actor", "plot", "music", "slow", "bright", "dull"];
    (0..240).map(move |i| (words[i % 4], words[4 + i % 3], words[i / 7 % 4]))
}

/// A report without what clocks and the system said, and without these keys.
pub fn timeless(mut value: Value, but: &[&str]) -> String {
    fn strip(value: &mut Value, but: &[&str]) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| {
                    !key.contains("seconds") && !key.contains("memory") && !but.contains(&&**key)
                });
                map.values_mut().for_each(|v| strip(v, but));
            }
            Value::Array(all) => all.iter_mut().for_each(|v| strip(v, but)),
            _ => {}
        }
    }
    strip(&mut value, but);
    value.to_string()
}

pub struct World {
    folder: tempfile::TempDir,
}

/// What a command left.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    pub fn new() -> World {
        World {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes `reviews.csv`: [`texts`], whose label one word decides.
    pub fn reviews(&self) -> &'static str {
        let mut all = "text,label\n".to_owned();
        for (a, b, c) in texts() {
            let label = ["bad", "good"][usize::from(b == "bright")];
            all += &format!("{a} {b} {c},{label}\n");
        }
        self.write("reviews.csv", all);
        "reviews.csv"
    }

    /// Sixty texts of each kind: groups.csv (classes, with authors), scores.csv, sets.jsonl, tags.conll.
    pub fn every_task(&self) {
        let text = |i: usize| {
            let words = ["film", "actor", "plot", "music", "slow", "bright", "dull"];
            format!(
                "{} {} {}",
                words[i % 7],
                words[i / 7 % 7],
                words[i / 49 % 7]
            )
        };
        let mut groups = String::from("text,label,author\n");
        let mut scores = String::from("text,score\n");
        let mut sets = String::new();
        let mut tags = String::new();
        for i in 0..60 {
            groups += &format!("{},{},a{}\n", text(i), ["x", "y"][i % 2], i / 4);
            scores += &format!("{},{}\n", text(i), i as f64 / 7.0);
            let labels = ["", "\"a\"", "\"a\", \"b\""][i % 3];
            sets += &format!("{{\"text\": \"{}\", \"labels\": [{labels}]}}\n", text(i));
            tags += &text(i).replace(' ', "\tO\n");
            tags += "\tB-x\n\n";
        }
        self.write("groups.csv", groups);
        self.write("scores.csv", scores);
        self.write("sets.jsonl", sets);
        self.write("tags.conll", tags);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The tiny model in a folder of its own, to be spoilt.
    pub fn model(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        for file in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "vocab.txt",
        ] {
            fs::copy(fixture().join(file), folder.join(file)).unwrap();
        }
        folder
    }

    /// [`World::as_typed`], by the standard recipe where these words ask for training and name none: a test that is not
    /// about recipes knows its numbers.
    pub fn command(&self, words: &[&str]) -> Command {
        let trains = ["train", "crossval", "study", "tune", "find-lr"];
        let named = |word: &str| words.contains(&word);
        let mut command = self.as_typed(words);
        if trains.contains(&words[0]) && named("--data") && !named("--recipe") && !named("--config")
        {
            command.args(["--recipe", "standard"]);
        }
        command
    }

    /// `hone` with these words, in this folder, with nothing of the environment that could lead it elsewhere.
    pub fn as_typed(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone"));
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("HONE_CACHE", self.path("cache"))
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            // `auto` is the CPU here: numbers are the same on every machine.
            .env("CUDA_VISIBLE_DEVICES", "-1")
            .env_remove("HF_TOKEN")
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs `hone`, interrupts it once a line of standard error begins like this, and gives the lines behind that one.
    #[cfg(unix)]
    #[track_caller]
    pub fn interrupted(&self, words: &[&str], start: &str) -> Vec<String> {
        let (code, rest) = self.signalled(words, start, "-INT");
        assert_eq!(code, Some(130), "{rest:?}");
        rest
    }

    /// Runs `hone` and ends it, without a word to it, once a line of standard error begins like this.
    #[cfg(unix)]
    #[track_caller]
    pub fn killed(&self, words: &[&str], start: &str) {
        let (code, rest) = self.signalled(words, start, "-KILL");
        assert_eq!(code, None, "it was done before: {rest:?}");
    }

    /// The exit code, where there is one, and the lines behind the one at which the signal was sent.
    #[cfg(unix)]
    #[track_caller]
    fn signalled(&self, words: &[&str], start: &str, signal: &str) -> (Option<i32>, Vec<String>) {
        let mut child = self.command(words).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        lines
            .find(|l| l.as_ref().unwrap().starts_with(start))
            .unwrap()
            .unwrap();
        let pid = child.id().to_string();
        let kill = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(kill.success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        (child.wait().unwrap().code(), rest)
    }

    pub fn hone(&self, words: &[&str]) -> Said {
        said(self.command(words).output().unwrap())
    }

    /// `hone train` of the tiny model on its texts, with more words.
    pub fn train(&self, words: &[&str]) -> Said {
        let (model, data) = (fixture(), fixture().join("train.csv"));
        let mut all = vec!["train", "--model", model.to_str().unwrap()];
        all.extend(["--data", data.to_str().unwrap()]);
        all.extend(words);
        self.hone(&all)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Said {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// Exit code 1 and one line that says all of this.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> Said {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        let lines: Vec<&str> = self
            .err
            .lines()
            .filter(|l| l.starts_with("error:"))
            .collect();
        assert_eq!(lines.len(), 1, "{}", self.err);
        assert_eq!(
            self.err.lines().last(),
            lines.first().copied(),
            "{}",
            self.err
        );
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is not in: {}", lines[0]);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}
