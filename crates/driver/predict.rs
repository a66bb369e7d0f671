//! `hone predict`: answers, one JSON object a line.

use crate::args::PredictArgs;
use crate::device::{self, on_device};
use crate::infer::{Opened, abstain, folder, open, progress, tell_pairs, tell_words};
use crate::{Exit, dataset, settings};
use anyhow::{Context, Result, anyhow, bail};
use hone_bert::{Config, Task};
use hone_data::{Columns, Row, read_pair, read_texts};
use hone_kernels::Backend;
use hone_report::say;
use hone_train::{
    Abstain, EvalBatches, Prediction, Targets, metrics, predict as run_model, sigmoid, softmax,
    trained_on_pairs, unlabelled, word_classes,
};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

/// Runs `hone predict`.
pub fn predict(args: PredictArgs) -> Result<Exit> {
    let path = folder(args.model.clone())?;
    let lines = Lines {
        pairs: trained_on_pairs(&Config::read(&Config::path_in(&path))?.source) == Some(true),
        columns: settings::columns(&args.columns, None),
    };
    let rows = match args.stream {
        true if args.texts != ["-"] => {
            bail!("--stream answers lines of standard input: give - and no other text")
        }
        true => Vec::new(),
        false => texts(&args, &lines)?,
    };
    let (rows, empty): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|r| !r.lacks_text(false));
    if !empty.is_empty() {
        say!(
            "warning: empty texts, which have no answer: {}",
            empty.len()
        );
    }
    if rows.is_empty() && !empty.is_empty() {
        bail!("every text is empty");
    }
    let empty = empty.iter().map(|row| row.line).collect();
    let device = device::choose(&args.machine)?;
    device.tell_card();
    on_device!(device, backend => predict_on(backend, &path, &args, &lines, rows, empty))
}

/// The texts to answer: arguments, the lines of standard input that hold one, or a file. Rows are numbered as arguments
/// and lines are, so that an answer tells whose it is.
fn texts(args: &PredictArgs, lines: &Lines) -> Result<Vec<Row>> {
    if let Some(data) = &args.data {
        if data.is_dir() {
            bail!(
                "{}: this is a folder; one file of texts was expected",
                data.display()
            );
        }
        let data = dataset::file_behind(data, dataset::Part::Test)?;
        let part = read_texts(&data, &lines.columns)?;
        part.notes.iter().for_each(|note| say!("{note}"));
        return Ok(part.rows);
    }
    let (mut rows, mut number) = (Vec::new(), 0);
    for text in &args.texts {
        if text == "-" {
            let mut blank = 0;
            for line in std::io::stdin().lock().split(b'\n') {
                number += 1;
                let read = lines.row(line.context("standard input")?, number);
                match read.map_err(|why| anyhow!("standard input: line {number}: {why}"))? {
                    None => blank += 1,
                    Some(row) => rows.push(row),
                }
            }
            if blank > 0 {
                say!("blank lines, which have no answer: {blank}");
            }
        } else {
            number += 1;
            if text.trim().is_empty() {
                bail!("text {number} is empty");
            }
            if Path::new(text).is_file() {
                say!("warning: {text} is answered as a text; --data reads the file");
            }
            rows.push(Row::text(number, text));
        }
    }
    if rows.is_empty() {
        bail!("no texts: give some, or - for standard input, or --data FILE");
    }
    Ok(rows)
}

fn predict_on<B: Backend>(
    backend: Arc<B>,
    path: &Path,
    args: &PredictArgs,
    lines: &Lines,
    rows: Vec<Row>,
    empty: Vec<usize>,
) -> Result<Exit> {
    let opened = open(backend, path, &args.columns)?;
    let abstain = abstain(args.abstain, path, &opened.model)?;
    let answers = Answers { opened, abstain };
    let mut to = crate::out::Blocks::new();
    if !args.stream {
        tell_pairs(&answers.opened.model, &rows);
        tell_words(&answers.opened.model, &rows);
        // On a terminal the answers themselves say how far it is.
        let silent = std::io::stdout().is_terminal();
        let mut progress = progress(rows.len());
        answers.write(rows, &empty, &mut to, |rows| silent || progress(rows))?;
        return Ok(Exit::Done);
    }
    for (line, number) in std::io::stdin().lock().split(b'\n').zip(1..) {
        // Who writes a line waits for one: what cannot be answered is told in its place.
        let read = lines.row(line.context("standard input")?, number);
        let row = read.and_then(|row| {
            let row = row.filter(|row| !row.lacks_text(false));
            row.ok_or_else(|| EMPTY.to_owned())
        });
        match row {
            Ok(row) => answers.write(vec![row], &[], &mut to, |_| true)?,
            Err(why) => {
                writeln!(to, "{}", unanswered(number, &why))?;
                to.flush()?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Why an empty text has no answer.
const EMPTY: &str = "an empty text";

/// What stands in the place of an answer.
fn unanswered(row: usize, why: &str) -> Value {
    json!({"row": row, "error": why})
}

/// How lines of standard input are read.
struct Lines {
    /// Whether each is a JSON object with both texts of a pair, as the model was trained on them; else it is a text.
    pairs: bool,
    /// What the object's keys are called.
    columns: Columns,
}

impl Lines {
    /// What a line holds; nothing where it is blank. An error says what is wrong with it.
    fn row(&self, bytes: Vec<u8>, number: usize) -> Result<Option<Row>, String> {
        let line = read_line(bytes, number)?;
        match (line.trim().is_empty(), self.pairs) {
            (true, _) => Ok(None),
            (false, false) => Ok(Some(Row::text(number, line))),
            (false, true) => read_pair(number, &line, &self.columns)
                .map(Some)
                .map_err(|why| {
                    format!(
                        "{why}; this model reads pairs: a JSON object with both texts was expected"
                    )
                }),
        }
    }
}

/// A line of standard input without its end, and without the byte-order mark that may stand before the first.
fn read_line(bytes: Vec<u8>, number: usize) -> Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "not valid UTF-8")?;
    let text = match number {
        1 => text.trim_start_matches('\u{feff}'),
        _ => &text,
    };
    Ok(text.trim_end_matches('\r').to_owned())
}

/// What answers texts.
struct Answers<B: Backend> {
    opened: Opened<B>,
    abstain: Option<Abstain>,
}

impl<B: Backend> Answers<B> {
    /// A line for each of these rows, which are read together, and for each of the rows that are empty. `progress` hears how
    /// many are done and says whether to go on.
    fn write(
        &self,
        rows: Vec<Row>,
        empty: &[usize],
        to: &mut impl Write,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        let model = &self.opened.model;
        let rows = match model.task() {
            // A tagger reads words: a plain text is split at white space.
            Task::Tag => rows.into_iter().map(split_words).collect(),
            _ => rows,
        };
        let (examples, _) = unlabelled(&rows, model.task(), self.opened.tokenising())?;
        let batches = EvalBatches::USUAL;
        let mut acts = model.plan_eval(batches.limits(&examples))?;
        // Answers that nobody can read are not computed.
        let failed = RefCell::new(None);
        let mut empty = empty.iter().copied().peekable();
        run_model(
            model,
            &mut acts,
            &examples,
            batches,
            |p| {
                let pieces = match &examples.targets {
                    Targets::Tags { first_pieces, .. } => &first_pieces[p.index][..],
                    _ => &[],
                };
                let object = answer(
                    model.task(),
                    model.labels(),
                    &rows[p.index],
                    p,
                    pieces,
                    examples.truncated()[p.index],
                    self.abstain.as_ref(),
                );
                let mut failed = failed.borrow_mut();
                let before = std::iter::from_fn(|| empty.next_if(|&at| at < rows[p.index].line));
                let lines = before.map(|at| unanswered(at, EMPTY)).chain([object]);
                for line in lines {
                    if failed.is_none() {
                        *failed = writeln!(to, "{line}").err();
                    }
                }
            },
            |rows| failed.borrow().is_none() && progress(rows),
        )?;
        match failed.into_inner() {
            Some(error) => Err(error.into()),
            None => {
                for at in empty {
                    writeln!(to, "{}", unanswered(at, EMPTY))?;
                }
                Ok(to.flush()?)
            }
        }
    }
}

fn split_words(row: Row) -> Row {
    match row.words.is_empty() {
        false => row,
        true => Row {
            words: row.text.split_whitespace().map(str::to_owned).collect(),
            ..row
        },
    }
}

/// One line of `hone predict`.
fn answer(
    task: Task,
    labels: &[String],
    row: &Row,
    p: Prediction<'_>,
    first_pieces: &[Option<u32>],
    truncated: u32,
    abstain: Option<&Abstain>,
) -> Value {
    let mut object = Map::new();
    object.insert("row".into(), json!(row.line));
    object.insert("text".into(), json!(row.text));
    if let Some(b) = &row.text_b {
        object.insert("text_b".into(), json!(b));
    }
    let by_label = |probabilities: &[f64]| -> Value {
        let pairs = labels.iter().zip(probabilities);
        Value::Object(pairs.map(|(l, p)| (l.clone(), json!(p))).collect())
    };
    match task {
        Task::Classify => {
            let probabilities = softmax(p.logits);
            let best = hone_train::argmax(p.logits);
            let given = abstain.is_none_or(|rule| rule.answers(probabilities[best]));
            object.insert("label".into(), json!(given.then(|| &labels[best])));
            if abstain.is_some() {
                object.insert("abstained".into(), json!(!given));
            }
            object.insert("probabilities".into(), by_label(&probabilities));
        }
        Task::MultiLabel => {
            let probabilities: Vec<f64> = p.logits.iter().map(|&z| sigmoid(z)).collect();
            let given: Vec<&String> = labels
                .iter()
                .zip(p.logits)
                .filter(|(_, z)| metrics::given(**z))
                .map(|(l, _)| l)
                .collect();
            object.insert("labels".into(), json!(given));
            object.insert("probabilities".into(), by_label(&probabilities));
        }
        Task::Regress => {
            object.insert("value".into(), json!(p.logits[0]));
        }
        Task::Tag => {
            let classes = word_classes(first_pieces, p, labels.len());
            let tags: Vec<&str> = classes
                .iter()
                .map(|c| c.map_or("O", |c| labels[c as usize].as_str()))
                .collect();
            let entities: Vec<Value> = hone_train::metrics::entities(&tags)
                .into_iter()
                .map(|(start, end, kind)| {
                    json!({"type": kind, "first_word": start, "words": row.words[start..end]})
                })
                .collect();
            object.insert("tags".into(), json!(tags));
            object.insert("entities".into(), json!(entities));
        }
        // Such a folder is refused when it is opened.
        Task::Mask => {}
    }
    object.insert("truncated_tokens".into(), json!(truncated));
    Value::Object(object)
}
