//! Changes a text so that its label should still hold.
//!
//!     cargo run -p hone-data --example augment -- TEXT [PLAN] [WORDNET]
//!
//! `PLAN` says what is done, as `--augment` does, `swap:0.2,delete:0.1,typing` if none is given; `WORDNET` is the folder of
//! WordNet's files, which `synonym`, `insert` and `eda` need. For example:
//!
//!     cargo run -p hone-data --example augment -- "The plot is thin, but the actors are not bad at all."
//!     cargo run -p hone-data --example augment -- "A long and quiet film." eda /usr/share/wordnet

use hone_data::augment::{Augmenter, Key, Outcome, Plan, Protection, Sources, WordNet};
use hone_data::{Row, TaskKind};
use std::path::Path;
use std::sync::Arc;

type Failure = Box<dyn std::error::Error>;

/// Changed texts shown.
const COPIES: u32 = 5;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(text) = args.first() else {
        return Err("TEXT [PLAN] [WORDNET] was expected".into());
    };
    let plan: Plan = match args.get(1) {
        Some(plan) => plan.parse()?,
        None => "swap:0.2,delete:0.1,typing".parse()?,
    };
    let sources = Sources {
        wordnet: match args.get(2) {
            Some(folder) => Some(Arc::new(WordNet::open(Path::new(folder))?)),
            None => None,
        },
        ..Sources::default()
    };
    // Words of the labels stay as they are, and words that are listed; negations do in any case.
    let labels = ["good", "bad"].map(str::to_owned);
    let protection = Protection::new(&labels, &[]);
    let row = Row::text(1, text.as_str());
    let rows = std::slice::from_ref(&row);
    let augmenter = Augmenter::new(plan, protection, rows, TaskKind::Classify, &sources)?;

    println!("{text}");
    for copy in 0..COPIES {
        // The same key makes the same text, whatever else is done meanwhile.
        let key = Key {
            seed: 1,
            epoch: copy,
            example: 0,
        };
        let changed = augmenter.copy(&row, key);
        let steps = changed
            .steps
            .iter()
            .map(|(operator, outcome)| match outcome {
                Outcome::Changed(words) => format!("{}: {words}", operator.name()),
                Outcome::Same(why) => format!("{}: {}", operator.name(), why.says()),
            });
        let steps: Vec<String> = steps.collect();
        println!("{}  ({})", changed.row.text, steps.join(", "));
    }
    Ok(())
}
