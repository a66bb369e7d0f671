//! Small databases in WordNet's own format, for tests that need no installed one.

use std::collections::HashMap;

/// A database of few words in WordNet's own format, for tests that need no installed one. Synsets are
/// `(pos, words, pointers as (symbol, synset, from, to))`; `counts` are lines of `cntlist.rev`.
pub fn tiny(
    synsets: &[(char, &[&str], &[(&str, usize, usize, usize)])],
    exceptions: &[(&str, &str)],
    counts: &str,
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let letter = |c: char| if c == 's' { 'a' } else { c };
    let mut data: HashMap<char, String> = HashMap::new();
    let mut places = Vec::new();
    // Two passes: offsets first, since pointers name them; a line is as long with any offset.
    for pass in 0..2 {
        data = "nvar"
            .chars()
            .map(|c| (c, "  1 licence\n".to_owned()))
            .collect();
        let mut now = Vec::new();
        for (pos, words, pointers) in synsets {
            let text = data.get_mut(&letter(*pos)).unwrap();
            let at = text.len();
            now.push(at);
            // The place of a synset is its words' number, so that sense keys differ.
            let number = now.len() - 1;
            let words: Vec<String> = words.iter().map(|w| format!("{w} {number:x}")).collect();
            let mut line = format!(
                "{at:08} 00 {pos} {:02x} {} {:03}",
                words.len(),
                words.join(" "),
                pointers.len()
            );
            for (symbol, to, from, word) in *pointers {
                let target = if pass == 0 { 0 } else { places[*to] };
                line += &format!(
                    " {symbol} {target:08} {} {from:02x}{word:02x}",
                    letter(synsets[*to].0)
                );
            }
            *text += &format!("{line} | gloss\n");
        }
        places = now;
    }
    for (c, name) in [('n', "noun"), ('v', "verb"), ('a', "adj"), ('r', "adv")] {
        let mut entries: std::collections::BTreeMap<String, Vec<usize>> = Default::default();
        for ((pos, words, _), at) in synsets.iter().zip(&places) {
            if letter(*pos) == c {
                for word in *words {
                    let bare = word.split('(').next().unwrap().to_lowercase();
                    entries.entry(bare).or_default().push(*at);
                }
            }
        }
        let mut index = "  1 licence\n".to_owned();
        for (word, at) in entries {
            let all: Vec<String> = at.iter().map(|a| format!("{a:08}")).collect();
            index += &format!(
                "{word} {c} {} 1 @ {} 0 {}  \n",
                at.len(),
                at.len(),
                all.join(" ")
            );
        }
        let irregular: String = exceptions
            .iter()
            .filter(|(n, _)| *n == name)
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        std::fs::write(folder.path().join(format!("index.{name}")), index).unwrap();
        std::fs::write(folder.path().join(format!("data.{name}")), &data[&c]).unwrap();
        std::fs::write(folder.path().join(format!("{name}.exc")), irregular).unwrap();
    }
    std::fs::write(folder.path().join("cntlist.rev"), counts).unwrap();
    folder
}

/// Films, verdicts and a few verbs.
pub fn films() -> tempfile::TempDir {
    tiny(
        &[
            (
                'n',
                &["movie", "film", "picture", "motion_picture", "flick"],
                &[(";u", 14, 5, 0)],
            ),
            ('n', &["film", "membrane"], &[]),
            ('n', &["picture", "image"], &[]),
            ('n', &["baby", "infant"], &[]),
            ('v', &["film", "shoot"], &[]),
            ('v', &["purchase", "buy"], &[("!", 6, 2, 1)]),
            ('v', &["sell"], &[("!", 5, 1, 2)]),
            ('v', &["depart", "leave", "go"], &[]),
            ('a', &["good"], &[("!", 9, 1, 1), ("&", 10, 0, 0)]),
            ('a', &["bad"], &[("!", 8, 1, 1), ("&", 11, 0, 0)]),
            ('s', &["fine", "sound", "okay(p)"], &[("&", 8, 0, 0)]),
            ('s', &["nasty", "sound"], &[("&", 9, 0, 0)]),
            ('r', &["rapidly", "quickly"], &[]),
            ('a', &["big", "large"], &[]),
            ('n', &["slang"], &[]),
        ],
        &[
            ("noun", "children child"),
            ("verb", "bought buy"),
            ("verb", "gone go"),
            ("verb", "left leave"),
            ("verb", "shot shoot"),
            ("verb", "went go"),
            ("adj", "bigger big"),
            ("adj", "larger large"),
        ],
        "buy%2:00:05:: 1 9\nfilm%1:00:00:: 1 38\nfilm%1:00:01:: 2 2\nfilm%2:00:04:: 1 2\n\
         infant%1:00:03:: 1 3\nmovie%1:00:00:: 1 20\npicture%1:00:00:: 1 5\npicture%1:00:02:: 2 40\n\
         purchase%2:00:05:: 1 5\nrapidly%4:00:12:: 1 3\nsound%5:00:10:good:08 1 3\n",
    )
}
