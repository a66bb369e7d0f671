//! Which words are forms of one word, or derived from it, by spelling alone: what needs no dictionary, and
//! errs on the side of yes.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Irregular forms, a word a line; the commonest ones, which are those that texts hold.
const IRREGULAR: &str = "
be am is are was were been being
begin began begun
bring brought
break broke broken
build built
buy bought
catch caught
choose chose chosen choice
come came
do did done
draw drew drawn
drink drank drunk drunken
drive drove driven
eat ate eaten
fall fell fallen
feel felt
fight fought
find found
fly flew flown flight
forget forgot forgotten
get got gotten
give gave given
go went gone
grow grew grown growth
have had has
hear heard
hide hid hidden
hold held
keep kept
know knew known knowledge
lead led
leave left
lend lent
lie lay lain
lose lost loss
make made
mean meant
meet met
pay paid payment
ride rode ridden
rise rose risen
run ran
say said
see saw seen sight
seek sought
sell sold sale
send sent
shake shook shaken
shine shone
shoot shot
show shown
sing sang sung song
sit sat
sleep slept
speak spoke spoken speech
spend spent
stand stood
steal stole stolen
stick stuck
strike struck
sweep swept
swim swam swum
take took taken
teach taught
tear tore torn
tell told
think thought
throw threw thrown
understand understood
wear wore worn
win won
write wrote written
man men
woman women
child children
foot feet
tooth teeth
mouse mice
person people
life lives
wife wives
good better best
bad worse worst
far farther farthest further
little less least
much more most many
true truth
die death dead
live life alive
hot heat
long length
high height
strong strength
wide width
deep depth
";

fn groups() -> &'static HashMap<&'static str, Vec<usize>> {
    static GROUPS: OnceLock<HashMap<&'static str, Vec<usize>>> = OnceLock::new();
    GROUPS.get_or_init(|| {
        let mut map: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, line) in IRREGULAR.lines().enumerate() {
            for word in line.split_whitespace() {
                map.entry(word).or_default().push(i);
            }
        }
        map
    })
}

/// A word and what it may be an inflected or derived form of, by endings alone.
pub(super) fn stems(word: &str) -> Vec<String> {
    let mut all = vec![word.to_owned()];
    for (ending, others) in [
        ("ies", &["y"][..]),
        ("ied", &["y"]),
        ("ier", &["y"]),
        ("iest", &["y"]),
        ("ily", &["y"]),
        ("iness", &["y"]),
        ("ness", &[""]),
        ("ly", &["", "le"]),
        ("ing", &["", "e"]),
        ("ed", &["", "e"]),
        ("er", &["", "e"]),
        ("est", &["", "e"]),
        ("es", &["", "e"]),
        ("s", &[""]),
    ] {
        let Some(stem) = word.strip_suffix(ending).filter(|s| s.len() >= 3) else {
            continue;
        };
        all.extend(others.iter().map(|o| format!("{stem}{o}")));
        // "stopped" comes from "stop".
        let bytes = stem.as_bytes();
        if bytes.len() > 3 && bytes[bytes.len() - 1] == bytes[bytes.len() - 2] {
            all.extend(stem.get(..stem.len() - 1).map(str::to_owned));
        }
    }
    all
}

/// Whether two lower-case words look like forms of one word or derived from one: a stem in common, an
/// irregular form, or a long common beginning (`create`, `creation`).
pub(super) fn related(a: &str, b: &str) -> bool {
    let shared = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let shorter = a.chars().count().min(b.chars().count());
    if shared >= 3 && shared * 5 >= shorter * 3 {
        return true;
    }
    let (sa, sb) = (stems(a), stems(b));
    let groups = groups();
    let of = |stems: &[String]| -> Vec<usize> {
        stems
            .iter()
            .filter_map(|s| groups.get(s.as_str()))
            .flatten()
            .copied()
            .collect()
    };
    let (ga, gb) = (of(&sa), of(&sb));
    sa.iter().any(|s| sb.contains(s)) || ga.iter().any(|g| gb.contains(g))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations() {
        for (a, b, yes) in [
            ("film", "films", true),
            ("stopped", "stop", true),
            ("create", "creation", true),
            ("truth", "true", true),
            ("saw", "see", true),
            ("keeps", "kept", true),
            ("men", "man", true),
            ("energy", "energetic", true),
            ("worst", "bad", true),
            ("film", "movie", false),
            ("good", "great", false),
            ("actor", "performer", false),
            ("tale", "story", false),
        ] {
            assert_eq!(related(a, b), yes, "{a} {b}");
            assert_eq!(related(b, a), yes, "{b} {a}");
        }
    }
}
