//! Two tiny encoders: what a planted change does to every measure, and the line between them.

use super::encoders::differences;
use super::*;
use hone_bert::{HeadChoice, Model, Pool, Task};
use hone_data::{Cell, Part, Row, Tokenizer, Truncate};
use hone_kernels::{Backend, Reference};
use hone_kernels_cpu::CpuBackend;
use hone_tensor::Depth;
use hone_train::{Abstain, Tokenising, unlabelled};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/fixtures/trajectory")
}

/// The tiny model; the same weights every time.
fn tiny<B: Backend>(backend: &Arc<B>) -> Model<B> {
    let labels = ["bad", "fair", "good"].map(str::to_owned).to_vec();
    let head = HeadChoice::New;
    let task = Task::Classify;
    Model::load(backend.clone(), &folder(), task, labels, &head, 7)
        .unwrap()
        .0
}

/// Adds a pattern of this size to every tensor that `which` names.
fn push<B: Backend>(model: &mut Model<B>, size: f64, which: impl Fn(&hone_tensor::Param) -> bool) {
    let table = model.layout().table.clone();
    let all = model.download().unwrap();
    for (index, param) in table.params().iter().enumerate() {
        if which(param) {
            let moved: Vec<f32> = all[index]
                .iter()
                .enumerate()
                .map(|(i, w)| (f64::from(*w) + size * ((i % 5) as f64 - 2.0)) as f32)
                .collect();
            model.set(index, &moved).unwrap();
        }
    }
}

fn texts() -> Vec<Row> {
    let file = std::fs::read_to_string(folder().join("train.csv")).unwrap();
    let lines = file.lines().skip(1).zip(2..);
    lines
        .map(|(line, number)| {
            let (text, label) = line.rsplit_once(',').unwrap();
            Row {
                label: Cell::Text(label.to_owned()),
                ..Row::text(number, text)
            }
        })
        .collect()
}

fn part(rows: Vec<Row>) -> Part {
    Part {
        path: PathBuf::from("a.csv"),
        sha256: String::new(),
        classes: Vec::new(),
        rows,
        notes: Vec::new(),
    }
}

fn pairs() -> Part {
    let rows = texts();
    part(
        (0..60)
            .map(|i| Row {
                text_b: Some(rows[i + 60].text.clone()),
                label: Cell::Text(format!("{}.5", i * 7 % 11)),
                ..rows[i].clone()
            })
            .collect(),
    )
}

fn measures(tokenizer: &Tokenizer, threads: usize) -> Measures {
    let how = Tokenising {
        tokenizer,
        max_length: 24,
        truncate: Truncate::Head,
    };
    let (pairs, _) = TextPairs::read("pairs".to_owned(), &pairs(), how).unwrap();
    let set = ProbeSet::read("labels".to_owned(), &part(texts()), &[], 100, 0, how);
    Measures {
        similarity: vec![pairs],
        probes: vec![set.unwrap().0],
        pools: vec![Pool::Mean, Pool::Cls],
        seed: 0,
        threads,
    }
}

#[test]
fn drift_is_what_was_planted() {
    let backend = Arc::new(Reference::<f64>::default());
    let base = tiny(&backend);
    let mut tuned = tiny(&backend);
    push(&mut tuned, 0.125, |p| p.depth == Depth::Layer(1));
    push(&mut tuned, 1.0, |p| p.depth == Depth::Head);
    let moved = weights_moved(&base, &tuned, |_| true).unwrap();
    let parts: Vec<&str> = moved.iter().map(|m| m.part.as_str()).collect();
    assert_eq!(parts, ["embeddings", "layer 0", "layer 1", "pooler"]);
    let table = base.layout().table.clone();
    let (mut moved_by, mut size) = (0.0, 0.0);
    for (param, values) in table.params().iter().zip(base.download().unwrap()) {
        if param.depth == Depth::Layer(1) {
            let steps = (0..param.len()).map(|i| 0.125 * ((i % 5) as f64 - 2.0));
            moved_by += steps.map(|s| s * s).sum::<f64>();
            size += values.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
        }
    }
    let want: f64 = moved_by / size;
    for m in &moved {
        let want = match m.part.as_str() {
            "layer 1" => want.sqrt(),
            _ => 0.0,
        };
        assert!((m.relative - want).abs() < 1e-6, "{m:?} {want}");
    }
    // Below the change nothing differs, above it something does.
    let tokenizer = Tokenizer::load(&folder(), base.config().vocabulary).unwrap();
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length: 24,
        truncate: Truncate::Head,
    };
    let (examples, _) = unlabelled(&texts()[..80], Task::Classify, how).unwrap();
    let cka = |threads| {
        layer_cka(&base, &tuned, &examples, threads, |_| true)
            .unwrap()
            .unwrap()
    };
    let found = cka(1);
    let alike: Vec<bool> = found.iter().map(|l| l.cka > 1.0 - 1e-9).collect();
    assert_eq!(alike, [true, true, false], "{found:?}");
    for threads in 2..5 {
        assert_eq!(cka(threads), found);
    }
    let stopped = layer_cka(&base, &tuned, &examples, 1, |done| done < 5);
    assert_eq!(stopped.unwrap(), None);
    // Against the definition, from hidden states read in one batch.
    let all: Vec<u32> = (0..80).collect();
    let batch = examples.batch(&all);
    let read = |model: &Model<Reference<f64>>| {
        let limits = hone_bert::Limits::of(&batch);
        let mut acts = model.plan_hidden(limits, hone_bert::RowSet::All).unwrap();
        let mut states = Vec::new();
        model
            .hidden_by_layer(&mut acts, &batch, &mut states)
            .unwrap();
        states
    };
    let (x, y) = (read(&base), read(&tuned));
    for ((x, y), found) in x.iter().zip(&y).zip(&found) {
        assert!((linear_cka(x, y, 20, 20) - found.cka).abs() < 1e-10);
    }
}

/// The same bits for any number of threads, on the real backend; an encoder beside itself has lost nothing.
#[test]
fn measures_do_not_depend_on_threads_and_see_what_was_destroyed() {
    let tokenizer = Tokenizer::load(&folder(), 43).unwrap();
    let known = |threads: usize, broken: bool| {
        let backend = Arc::new(CpuBackend::new(threads));
        let mut model = tiny(&backend);
        if broken {
            push(&mut model, 2.0, |p| p.depth == Depth::Embeddings);
        }
        let measures = measures(&tokenizer, threads);
        let mut last = 0.0;
        let known = measures
            .of(&model, |share| {
                assert!(share >= last && share < 1.0 + 1e-9, "{last} {share}");
                last = share;
                true
            })
            .unwrap()
            .unwrap();
        assert!((last - 1.0).abs() < 1e-9);
        known
    };
    let (before, after) = (known(1, false), known(1, true));
    for threads in 2..4 {
        assert_eq!(known(threads, false), before);
    }
    let asked = measures(&tokenizer, 1);
    let found = asked.change(&before, &after);
    let names: Vec<(&str, &str)> = found.iter().map(|m| (m.measure, m.pool)).collect();
    assert_eq!(
        names,
        [
            ("similarity", "mean"),
            ("similarity", "cls"),
            ("probe", "mean")
        ]
    );
    // A broken vocabulary tells similar texts apart no better than another one.
    assert_ne!(before, after);
    for measure in &found[..2] {
        assert_ne!(measure.change.before, measure.change.after, "{measure:?}");
    }
    let probe = &found[2].change;
    assert_eq!(probe.rows, 100);
    assert!(probe.before_interval[0] < probe.before && probe.before < probe.before_interval[1]);
    for same in asked.change(&before, &before) {
        assert_eq!(same.change.change, 0.0, "{same:?}");
        let [low, high] = same.change.change_interval;
        assert!(low <= 0.0 && (0.0..0.05).contains(&high));
    }
    let backend = Arc::new(CpuBackend::new(1));
    let stopped = asked.of(&tiny(&backend), |share| share < 0.3);
    assert_eq!(stopped.unwrap(), None);
}

#[test]
fn a_blend_is_either_end_and_the_line_between_them() {
    let backend = Arc::new(CpuBackend::new(2));
    let base = tiny(&backend);
    let mut tuned = tiny(&backend);
    push(&mut tuned, 0.1, |_| true);
    // A zero's sign is a bit, too.
    let table = base.layout().table.clone();
    let mut base = base;
    let row = table
        .index("bert.encoder.layer.0.output.dense.bias")
        .unwrap();
    let zeros = vec![-0.0f32; table.params()[row].len()];
    base.set(row, &zeros).unwrap();
    let bits = |model: &Model<CpuBackend>| -> Vec<Vec<u32>> {
        let all = model.download().unwrap();
        let each = all.iter();
        each.map(|v| v.iter().map(|x| x.to_bits()).collect())
            .collect()
    };
    let (start, end) = (base.download().unwrap(), tuned.download().unwrap());
    let (start_bits, end_bits) = (bits(&base), bits(&tuned));
    let promise = Abstain {
        above: 0.9,
        precision: 0.95,
        certainty: Some(0.95),
        coverage: 0.5,
        rows: 300,
    };
    Abstain::write(Some(&promise), tuned.fields_mut()).unwrap();
    let mut blend = Blend::new(base, tuned).unwrap();
    for alpha in [0.25, 1.0, 0.0, 0.5, 0.0, 1.0, 0.75] {
        blend.set(alpha).unwrap();
        // What was promised of the tuned model's answers holds for them alone.
        let promised = Abstain::read(&blend.model().config().source).unwrap();
        assert_eq!(promised.is_some(), alpha == 1.0);
        let (found, found_bits) = (blend.model().download().unwrap(), bits(blend.model()));
        for (i, param) in table.params().iter().enumerate() {
            let head = matches!(param.depth, Depth::Pooler | Depth::Head);
            if head || alpha == 1.0 {
                assert_eq!(found_bits[i], end_bits[i], "{} at {alpha}", param.name);
            } else if alpha == 0.0 {
                assert_eq!(found_bits[i], start_bits[i], "{} at {alpha}", param.name);
            } else {
                for (k, x) in found[i].iter().enumerate() {
                    let want = (1.0 - alpha as f32) * start[i][k] + alpha as f32 * end[i][k];
                    assert!((x - want).abs() <= 1e-6, "{} at {alpha}", param.name);
                }
            }
        }
        assert_eq!(bits(blend.base()), start_bits, "the base stays");
    }
    // The model computes with the weights it shows: no packed copy of others is left.
    blend.set(0.5).unwrap();
    let mut fresh = tiny(&backend);
    for (i, values) in blend.model().download().unwrap().iter().enumerate() {
        fresh.set(i, values).unwrap();
    }
    let tokenizer = Tokenizer::load(&folder(), 43).unwrap();
    let asked = measures(&tokenizer, 1);
    let read = |m: &Model<CpuBackend>| asked.of(m, |_| true).unwrap();
    assert_eq!(read(blend.model()), read(&fresh));
    for wrong in [-0.1, 1.5, f64::NAN] {
        assert!(blend.set(wrong).is_err());
    }
}

#[test]
fn what_cannot_be_measured_is_one_line() {
    let tokenizer = Tokenizer::load(&folder(), 43).unwrap();
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length: 24,
        truncate: Truncate::Head,
    };
    let say = |part: Part| {
        TextPairs::read("pairs".to_owned(), &part, how)
            .unwrap_err()
            .to_string()
    };
    let mut single = pairs();
    single.rows[3].text_b = None;
    assert!(say(single).contains("line 5: no second text"));
    let mut word = pairs();
    word.rows[4].label = Cell::Text("near".to_owned());
    assert!(say(word).contains("line 6"));
    let mut few = pairs();
    few.rows.truncate(9);
    assert!(say(few).contains("9 pairs"));
    let mut same = pairs();
    for row in &mut same.rows {
        row.label = Cell::Text("2".to_owned());
    }
    assert!(say(same).contains("nothing to rank"));
    let say = |part: Part| {
        ProbeSet::read("labels".to_owned(), &part, &[], 100, 0, how)
            .unwrap_err()
            .to_string()
    };
    let mut values = part(texts());
    values.rows.iter_mut().enumerate().for_each(|(i, r)| {
        r.label = Cell::Text(format!("{i}.5"));
    });
    assert!(say(values).contains("another task"));
    let mut few = part(texts());
    few.rows.truncate(7);
    assert!(say(few).contains("10 rows"));

    let config = tiny(&Arc::new(Reference::<f32>::default()))
        .config()
        .clone();
    let mut other = config.clone();
    assert!(differences(&config, &other).is_empty());
    other.vocabulary = 50;
    other.layers = 3;
    let found = differences(&config, &other).join("; ");
    assert_eq!(found, "num_hidden_layers 2 and 3; vocab_size 43 and 50");
}
