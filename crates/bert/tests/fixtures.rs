//! Against transformers: every named activation and every parameter's gradient of small models
//! (`fixtures/*`, made by `xtask/python/make_fixtures.py`), in f64 against PyTorch in double and in f32
//! within four times PyTorch's own f32 error.

use hone_bert::{Grads, HeadChoice, Limits, LossKind, Masked, Model, Pass, RowSet, Task};
use hone_kernels::{Acc, Backend, Reference};
use hone_kernels_cpu::CpuBackend;
use hone_tensor::{Ragged, SafetensorsFile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CASES: [(&str, Task); 10] = [
    ("single", Task::Classify),
    ("pairs", Task::Classify),
    ("multilabel", Task::MultiLabel),
    ("regression", Task::Regress),
    ("tagging", Task::Tag),
    ("masked", Task::Mask),
    ("mean", Task::Classify),
    ("gelu_new", Task::Classify),
    ("relu", Task::Classify),
    ("eps_types", Task::Classify),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

struct Case {
    file: SafetensorsFile,
    batch: Ragged,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl Case {
    /// The rows that have a label, as words to be said.
    fn masked(&self, vocabulary: usize) -> Masked {
        let mut masked = Masked::default();
        let rows = self.targets.chunks(vocabulary).zip(&self.weights).zip(0..);
        for ((target, &weight), row) in rows.filter(|((_, w), _)| **w > 0.0) {
            let word = target.iter().position(|&t| t == 1.0).unwrap();
            masked.at.push(row);
            masked.words.push(word as u32);
            masked.weights.push(weight);
        }
        masked
    }
}

/// Inputs of a fixture; weights are 1/count, as transformers' mean over rows.
fn read(name: &str, task: Task, classes: usize) -> Case {
    let file = SafetensorsFile::open(&folder(name).join("case.safetensors")).unwrap();
    let whole = |name: &str| -> Vec<u32> {
        let values = file.read_f64(name).unwrap();
        values.iter().map(|&x| x as u32).collect()
    };
    let (ids, types) = (whole("input_ids"), whole("token_type_ids"));
    let mut batch = Ragged::new();
    for (s, w) in whole("cu_seqlens").windows(2).enumerate() {
        let range = w[0] as usize..w[1] as usize;
        batch.push(s as u64, &ids[range.clone()], &types[range]);
    }
    let labels = file.read_f64("labels").unwrap();
    let (targets, weights): (Vec<f32>, Vec<f32>) = match task {
        Task::Classify | Task::Tag | Task::Mask => {
            let counted = labels.iter().filter(|&&l| l >= 0.0).count();
            let one_hot = |&l: &f64| (0..classes).map(move |c| f32::from(c as f64 == l));
            (
                labels.iter().flat_map(one_hot).collect(),
                labels
                    .iter()
                    .map(|&l| if l >= 0.0 { 1.0 / counted as f32 } else { 0.0 })
                    .collect(),
            )
        }
        Task::MultiLabel | Task::Regress => (
            labels.iter().map(|&l| l as f32).collect(),
            vec![1.0 / batch.sequences() as f32; batch.sequences()],
        ),
    };
    Case {
        file,
        batch,
        targets,
        weights,
    }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths");
    a.iter().zip(b).fold(0.0, |m, (a, b)| {
        let d = (a - b).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    })
}

/// Columns `from..to` of `[rows, width]`, of the listed rows.
fn cut(x: &[f64], width: usize, rows: &[usize], from: usize, to: usize) -> Vec<f64> {
    rows.iter()
        .flat_map(|&r| x[r * width + from..r * width + to].iter().copied())
        .collect()
}

/// Runs a fixture on a backend; `allowed(x64, x32)` is the largest error of a tensor.
fn check<B: Backend>(
    backend: Arc<B>,
    (name, task): (&str, Task),
    allowed: impl Fn(&[f64], Option<&[f64]>) -> f64,
) {
    let labels = match task {
        Task::Mask => Vec::new(),
        _ => {
            hone_bert::Config::read(&folder(name).join("config.json"))
                .unwrap()
                .labels
        }
    };
    let (model, receipt) = Model::load(
        backend.clone(),
        &folder(name),
        task,
        labels.clone(),
        &HeadChoice::Matching(labels),
        0,
    )
    .unwrap();
    assert!(receipt.initialised.is_empty(), "{name}: {receipt}");
    assert!(receipt.ignored.is_empty(), "{name}: {receipt}");
    let case = read(name, task, model.classes());
    let b = backend.as_ref();
    let layout = model.layout().grad_layout(|_| true);
    let mut acts = model.plan_train(Limits::of(&case.batch), &layout).unwrap();
    let mut grads = Grads::new(b, model.layout(), layout).unwrap();
    model
        .forward(&mut acts, &case.batch, &Pass::eval())
        .unwrap();
    let loss = match task {
        Task::Mask => {
            let losses = model.masked_losses(&mut acts, &case.masked(model.classes()));
            losses.unwrap().iter().sum()
        }
        _ => model
            .loss(&mut acts, LossKind::of(task), &case.targets, &case.weights)
            .unwrap(),
    };
    model.backward(&mut acts, &mut grads, Acc::Set).unwrap();

    let mut worst = Vec::new();
    let mut compare = |what: &str, got: &[f64], x64: &[f64], x32: Option<&[f64]>| {
        let (error, bound) = (distance(got, x64), allowed(x64, x32));
        // Softmax does not see a constant added to all keys: the true gradient is zero, and what is found
        // is what rounding leaves of sums as large as the matrix's gradient.
        let bound = match what.strip_suffix("key.bias") {
            Some(stem) => {
                let weight = case.file.read_f64(&format!("grad.{stem}key.weight"));
                bound.max(16.0 * allowed(&weight.unwrap(), None) / 64.0)
            }
            None => bound,
        };
        if error > bound {
            worst.push(format!("{what}: error {error:.3e}, allowed {bound:.3e}"));
        }
    };
    let f64s = |n: &str| case.file.read_f64(n).unwrap();
    compare("loss", &[loss], &f64s("loss"), Some(&f64s("loss32")));

    let every: Vec<usize> = (0..case.batch.tokens()).collect();
    let first: Vec<usize> = case.batch.cu_seqlens[..case.batch.sequences()]
        .iter()
        .map(|&s| s as usize)
        .collect();
    let h = model.config().hidden;
    let mut seen = 0;
    for got in model.activations(&mut acts).unwrap() {
        seen += 1;
        let rows = match got.rows {
            RowSet::All => &every,
            RowSet::First => &first,
        };
        let (stored, from) = match got.name.rsplit_once('.') {
            Some((layer, "q")) => (format!("act.{layer}.qkv"), 0),
            Some((layer, "kv")) => (format!("act.{layer}.qkv"), h),
            _ if got.name == "logits" => ("logits".to_owned(), 0),
            _ => (format!("act.{}", got.name), 0),
        };
        let x64 = f64s(&stored);
        let per_sequence = ["pooled", "logits"].contains(&got.name.as_str()) && task.pools();
        let (x64, x32) = if per_sequence || got.name == "logits" {
            let x32 = (got.name == "logits").then(|| f64s("logits32"));
            (x64, x32)
        } else {
            let (width, wanted) = (x64.len() / every.len(), got.values.len() / rows.len());
            (cut(&x64, width, rows, from, from + wanted), None)
        };
        compare(&got.name, &got.values, &x64, x32.as_deref());
    }
    // The embeddings' output, each layer's, and the logits; a vocabulary's are not kept.
    let of_head = usize::from(task != Task::Mask);
    let least = 5 * model.config().layers + 1 + of_head;
    assert!(seen >= least, "{seen} activations");
    for (index, param) in model.layout().table.params().iter().enumerate() {
        let view = grads.param(b, model.layout(), index).unwrap();
        let mut got = vec![B::Master::default(); param.len()];
        b.download(view, &mut got).unwrap();
        let got: Vec<f64> = got.into_iter().map(hone_tensor::Real::to_f64).collect();
        let x64 = f64s(&format!("grad.{}", param.name));
        let x32 = f64s(&format!("grad32.{}", param.name));
        compare(&param.name, &got, &x64, Some(&x32));
    }
    assert!(
        worst.is_empty(),
        "{name} on {}:\n{}",
        b.path(),
        worst.join("\n")
    );
}

/// Double against double: what differs is the order of sums, over a network some tens of operations deep.
fn double(x64: &[f64], _: Option<&[f64]>) -> f64 {
    1e-11 * largest(x64).max(1e-3)
}

/// Four times PyTorch's own single-precision error, and never less than eight roundings of the largest
/// value (in a vector of twenty, PyTorch's error is now and then luckily small). Activations inside the network have no single-precision record; they get what 64 roundings cost.
fn single(x64: &[f64], x32: Option<&[f64]>) -> f64 {
    let rounding = f32::EPSILON as f64 * largest(x64).max(1e-3);
    match x32 {
        Some(x32) => 4.0 * distance(x32, x64).max(2.0 * rounding),
        None => 64.0 * rounding,
    }
}

#[test]
fn f64_reference_equals_pytorch_in_double() {
    for case in CASES {
        check(Arc::new(Reference::<f64>::default()), case, double);
    }
}

#[test]
fn f32_reference_is_as_close_as_pytorch() {
    for case in CASES {
        check(Arc::new(Reference::<f32>::default()), case, single);
    }
}

#[test]
fn cpu_backend_is_as_close_as_pytorch() {
    for backend in CpuBackend::every_path(2) {
        let backend = Arc::new(backend);
        for case in CASES {
            check(backend.clone(), case, single);
        }
    }
}
