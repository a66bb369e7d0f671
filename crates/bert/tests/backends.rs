//! A whole network on the CPU's kernels against the f64 reference: forward, backward, dropout, ragged and odd
//! sizes, every head, accumulation over micro-batches; and the same bits for any number of threads.

use hone_bert::{
    Acts, Config, Grads, Limits, LossKind, Mode, Model, Pass, Pool, Rates, Saved, Task,
};
use hone_kernels::{Acc, Backend, Reference};
use hone_kernels_cpu::{CpuBackend, Path, Split, Team};
use hone_tensor::{Depth, Filler, Philox, Ragged, Real};
use std::sync::Arc;

const LABELS: [&str; 3] = ["a", "b", "c"];

/// Weights large enough that every part matters; the same for every backend.
fn model<B: Backend>(
    backend: B,
    task: Task,
    hidden: usize,
    heads: usize,
    inner: usize,
) -> Model<B> {
    pooled(Pool::Cls, backend, task, hidden, heads, inner)
}

fn pooled<B: Backend>(
    pool: Pool,
    backend: B,
    task: Task,
    hidden: usize,
    heads: usize,
    inner: usize,
) -> Model<B> {
    let mut config = Config::with_shape(hidden, 3, heads, inner, 60);
    config.initializer_range = 0.25;
    config.pool = pool;
    let outputs = match task {
        Task::Regress => 1,
        _ => LABELS.len(),
    };
    let labels = LABELS[..outputs].iter().map(|l| l.to_string()).collect();
    Model::random(Arc::new(backend), config, task, labels, 5)
        .unwrap()
        .0
}

fn batch(lengths: &[usize], first_id: u64) -> Ragged {
    let random = Philox::new(11);
    let mut batch = Ragged::new();
    for (s, &n) in lengths.iter().enumerate() {
        let id = first_id + s as u64;
        let word = |t: usize| (random.u64_at(id, t as u64) % 60) as u32;
        let ids: Vec<u32> = (0..n).map(word).collect();
        let types: Vec<u32> = (0..n).map(|t| u32::from(t > n / 2)).collect();
        batch.push(id, &ids, &types);
    }
    batch
}

fn pass() -> Pass {
    Pass {
        mode: Mode::Train {
            seed: 3,
            step: 7,
            draw: 0,
        },
        rates: Rates {
            hidden: 0.2,
            attention: 0.15,
            head: 0.1,
        },
        embeddings: true,
        layers: vec![true; 3],
    }
}

/// Loss, and every gradient by row of the table, of a step made of micro-batches.
fn step<B: Backend>(
    model: &Model<B>,
    micro: &[Ragged],
    awake: &dyn Fn(&str) -> bool,
) -> (f64, Vec<Vec<f64>>) {
    let (loss, grads) = accumulate(model, micro, awake);
    (loss, by_row(model, &grads))
}

/// Loss and gradients of a step made of micro-batches.
fn accumulate<B: Backend>(
    model: &Model<B>,
    micro: &[Ragged],
    awake: &dyn Fn(&str) -> bool,
) -> (f64, Grads<B>) {
    let b = model.backend().as_ref();
    let limits = micro
        .iter()
        .map(Limits::of)
        .fold(Limits::default(), Limits::max);
    let layout = model.layout().grad_layout(|p| awake(&p.name));
    let mut acts = model.plan_train(limits, &layout).unwrap();
    let mut grads = Grads::new(b, model.layout(), layout).unwrap();
    let mut total = 0.0;
    let mut acc = Acc::Set;
    let mut before = 0;
    for batch in micro {
        let rows = match model.task() {
            Task::Tag => batch.tokens(),
            _ => batch.sequences(),
        };
        let outputs = model.classes();
        let targets: Vec<f32> = (0..rows * outputs)
            .map(|i| f32::from(i % outputs == (before + i / outputs) % 3))
            .collect();
        let weights: Vec<f32> = match model.task() {
            Task::Tag => batch.token_example_ids(),
            _ => batch.example_ids.clone(),
        }
        .into_iter()
        .map(|id| if id < 100 { 0.1 } else { 0.0 })
        .collect();
        before += rows;
        model.forward(&mut acts, batch, &pass()).unwrap();
        total += model
            .loss(&mut acts, LossKind::of(model.task()), &targets, &weights)
            .unwrap();
        model.backward(&mut acts, &mut grads, acc).unwrap();
        acc = Acc::Add;
    }
    (total, grads)
}

/// Every gradient by row of the table; nothing where it has no room.
fn by_row<B: Backend>(model: &Model<B>, grads: &Grads<B>) -> Vec<Vec<f64>> {
    let b = model.backend().as_ref();
    let params = model.layout().table.params();
    let rows = params.iter().enumerate().map(|(i, p)| {
        let Some(view) = grads.param(b, model.layout(), i) else {
            return Vec::new();
        };
        let mut host = vec![B::Master::default(); p.len()];
        b.download(view, &mut host).unwrap();
        host.into_iter().map(Real::to_f64).collect()
    });
    rows.collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| {
        let d = (a - b).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    })
}

fn check(task: Task, (hidden, heads, inner): (usize, usize, usize), micro: &[Ragged]) {
    let every = |_: &str| true;
    let (loss64, want) = step(
        &model(Reference::<f64>::default(), task, hidden, heads, inner),
        micro,
        &every,
    );
    let (loss32, plain) = step(
        &model(Reference::<f32>::default(), task, hidden, heads, inner),
        micro,
        &every,
    );
    for backend in CpuBackend::every_path(3) {
        let path = backend.path();
        let model = model(backend, task, hidden, heads, inner);
        let (loss, got) = step(&model, micro, &every);
        let bound = 4.0 * (loss32 - loss64).abs().max(f32::EPSILON as f64 * loss64);
        assert!(
            (loss - loss64).abs() <= bound,
            "{path}: loss {loss} for {loss64}"
        );
        for (i, param) in model.layout().table.params().iter().enumerate() {
            let largest = want[i].iter().fold(0.0f64, |m, x| m.max(x.abs()));
            // key.bias has a true gradient of zero: its size is that of its neighbours' rounding.
            let floor = if param.name.ends_with("key.bias") {
                1e-6
            } else {
                0.0
            };
            let bound =
                4.0 * distance(&plain[i], &want[i]).max(f32::EPSILON as f64 * largest) + floor;
            let error = distance(&got[i], &want[i]);
            assert!(
                error <= bound,
                "{path} {task:?} {}: {error:.3e} > {bound:.3e}",
                param.name
            );
        }
    }
}

#[test]
fn every_head_and_odd_sizes_match_the_reference() {
    let one = |lengths: &[usize]| vec![batch(lengths, 0)];
    check(Task::Classify, (24, 3, 52), &one(&[2, 7, 1, 33, 5]));
    check(Task::Tag, (20, 4, 36), &one(&[3, 18, 2]));
    check(Task::MultiLabel, (32, 1, 64), &one(&[9, 9, 40]));
    check(Task::Regress, (64, 2, 128), &one(&[70, 3, 130]));
}

#[test]
fn micro_batches_add_up() {
    let parts = [batch(&[2, 7], 0), batch(&[1, 33, 5], 2), batch(&[4], 5)];
    check(Task::Classify, (24, 3, 52), &parts);
    // Cutting a step changes no draw and no gradient beyond rounding.
    let whole = [batch(&[2, 7, 1, 33, 5, 4], 0)];
    let every = |_: &str| true;
    let model = model(Reference::<f64>::default(), Task::Classify, 24, 3, 52);
    let (a, b) = (step(&model, &parts, &every), step(&model, &whole, &every));
    assert!((a.0 - b.0).abs() < 1e-12);
    for (a, b) in a.1.iter().zip(&b.1) {
        assert!(distance(a, b) < 1e-12);
    }
}

/// Products leave norms behind; whoever asks gets those of the gradients as they then are.
#[test]
fn norms_are_those_of_the_gradients_as_they_now_are() {
    let micro = [batch(&[2, 7, 30], 0), batch(&[12, 5], 3)];
    // Matrices of 24 rows are whole tiles of every path's products, those of 20 are not.
    for (hidden, heads, inner) in [(24, 3, 52), (20, 4, 36)] {
        for backend in CpuBackend::every_path(2) {
            let path = backend.path();
            let model = model(backend, Task::Classify, hidden, heads, inner);
            let b = model.backend().as_ref();
            let (_, mut grads) = accumulate(&model, &micro, &|_| true);
            let mut coefficient = b.alloc(2).unwrap();
            let asleep = 7;
            for turn in 0..3 {
                if turn == 1 {
                    // Somebody changes two gradients after the backward pass.
                    for name in ["key.weight", "output.dense.bias"] {
                        let params = model.layout().table.params();
                        let row = params.iter().position(|p| p.name.ends_with(name)).unwrap();
                        let grad = grads.param_mut(b, model.layout(), row).unwrap();
                        b.fill(0.25, grad);
                    }
                }
                let counted = |row: usize| turn < 2 || row != asleep;
                let norms = grads
                    .norms(b, model.layout(), counted, None, &mut coefficient)
                    .unwrap();
                let all = by_row(&model, &grads);
                for (row, grad) in all.iter().enumerate() {
                    let want: f64 = grad.iter().map(|x| x * x).sum();
                    let want = if counted(row) { want } else { 0.0 };
                    assert!(
                        (norms.squared[row] - want).abs() <= 1e-12 * want,
                        "{path} turn {turn} row {row}: {} for {want}",
                        norms.squared[row]
                    );
                }
            }
        }
    }
}

#[test]
fn a_frozen_prefix_changes_no_gradient_above_it() {
    let micro = [batch(&[2, 7, 12], 0)];
    let model = model(Reference::<f64>::default(), Task::Classify, 24, 3, 52);
    let (_, all) = step(&model, &micro, &|_| true);
    let (_, top) = step(&model, &micro, &|name| {
        name.contains("layer.2") || !name.contains("layer")
    });
    let (_, head) = step(&model, &micro, &|name| {
        !name.contains("encoder") && !name.contains("embeddings")
    });
    for (i, param) in model.layout().table.params().iter().enumerate() {
        if !top[i].is_empty() {
            assert_eq!(all[i], top[i], "{}", param.name);
        }
        if !head[i].is_empty() {
            assert_eq!(all[i], head[i], "{}", param.name);
        }
    }
    assert!(head.iter().filter(|g| !g.is_empty()).count() == 4);
}

/// Frozen layers share one slot and a prefix that was read was never made: gradients below either would be wrong in silence.
#[test]
fn gradients_lower_than_planned_are_an_error() {
    let model = model(Reference::<f64>::default(), Task::Classify, 24, 3, 52);
    let b = model.backend().as_ref();
    let texts = batch(&[2, 7, 12], 0);
    let limits = Limits::of(&texts);
    let of = |lowest: usize| {
        model.layout().grad_layout(|p| match p.depth {
            Depth::Embeddings => lowest == 0,
            Depth::Layer(l) => l + 1 >= lowest,
            Depth::Pooler | Depth::Head => true,
        })
    };
    let mut targets = vec![0.0; 9];
    (0..3).for_each(|row| targets[4 * row] = 1.0);
    let kind = LossKind::of(Task::Classify);
    let back = |acts: &mut Acts<Reference<f64>>, wanted: usize| {
        let mut grads = Grads::new(b, model.layout(), of(wanted)).unwrap();
        model.loss(acts, kind, &targets, &[0.1; 3]).unwrap();
        let went = model.backward(acts, &mut grads, Acc::Set);
        went.map(|()| by_row(&model, &grads))
            .map_err(|e| e.to_string())
    };
    let mut acts = model.plan_train(limits, &of(0)).unwrap();
    model.forward(&mut acts, &texts, &pass()).unwrap();
    let all = back(&mut acts, 0).unwrap();
    // Parts from the embeddings (0) over the layers (1 to 3) to the head (4).
    for planned in 0..=4 {
        for wanted in 0..=4 {
            let mut acts = model.plan_train(limits, &of(planned)).unwrap();
            model.forward(&mut acts, &texts, &pass()).unwrap();
            // Embeddings and lowest layer need the same of every layer.
            let fits = wanted.max(1) >= planned.max(1);
            match back(&mut acts, wanted) {
                Ok(rows) => {
                    assert!(fits, "planned {planned}, wanted {wanted}");
                    for (got, want) in rows.iter().zip(&all) {
                        assert!(got.is_empty() || got == want);
                    }
                }
                Err(said) => {
                    assert!(!fits, "planned {planned}, wanted {wanted}: {said}");
                    assert!(said.contains("were kept for the backward pass"), "{said}");
                }
            }
        }
    }
    // Every layer keeps what it needs, but a pass that reads the lowest layer's output never ran what is below.
    let mut kept = vec![0.0; limits.tokens * 24];
    model.keep_prefix(&mut acts, limits).unwrap();
    for wanted in 0..=4 {
        let saved = Saved::Write(&mut kept);
        model
            .forward_saved(&mut acts, &texts, &pass(), 1, saved)
            .unwrap();
        assert!(back(&mut acts, wanted).is_ok(), "wrote, wanted {wanted}");
    }
    for wanted in 0..=4 {
        let saved = Saved::Read(&kept);
        model
            .forward_saved(&mut acts, &texts, &pass(), 1, saved)
            .unwrap();
        let went = back(&mut acts, wanted);
        assert_eq!(went.is_ok(), wanted >= 2, "read, wanted {wanted}");
    }
}

/// Texts that fill a batch up to a shape and weigh nothing leave the loss and every gradient as they were, bit for bit.
#[test]
fn fillers_add_nothing() {
    let texts = batch(&[2, 7, 12, 40, 3, 9, 5, 31, 4], 0);
    let shape: fn(usize) -> usize = |n| n.next_multiple_of(16);
    let size = Limits::of(&texts);
    let filler = Filler::of(size.tokens, size.sequences, size.longest, shape);
    assert_eq!((filler.sequences, filler.tokens), (2, 15));
    let filled = texts.clone().filled(filler);
    let every = |_: &str| true;
    for (task, pool) in [
        (Task::Classify, Pool::Cls),
        (Task::Classify, Pool::Mean),
        (Task::MultiLabel, Pool::Cls),
        (Task::Regress, Pool::Cls),
        (Task::Tag, Pool::Cls),
    ] {
        let exact = pooled(pool, Reference::<f64>::default(), task, 24, 3, 52);
        let steps = [&texts, &filled].map(|b| step(&exact, std::slice::from_ref(b), &every));
        assert!(steps[0] == steps[1], "{task:?} {pool:?}");
        for backend in CpuBackend::every_path(2) {
            let path = backend.path();
            let model = pooled(pool, backend, task, 24, 3, 52);
            let steps = [&texts, &filled].map(|b| step(&model, std::slice::from_ref(b), &every));
            assert!(steps[0] == steps[1], "{path} {task:?} {pool:?}");
        }
    }
}

/// Freezing any one tensor, or all but it, leaves every gradient that is still wanted as it was.
#[test]
fn no_frozen_tensor_changes_another_gradient() {
    let micro = [batch(&[2, 7, 12], 0), batch(&[5], 3)];
    for (task, pool) in [
        (Task::Classify, Pool::Cls),
        (Task::Classify, Pool::Mean),
        (Task::Tag, Pool::Cls),
    ] {
        let model = pooled(pool, Reference::<f64>::default(), task, 12, 3, 20);
        let (_, all) = step(&model, &micro, &|_| true);
        let params = model.layout().table.params();
        for one in params {
            let (_, without) = step(&model, &micro, &|name| name != one.name);
            let (_, alone) = step(&model, &micro, &|name| name == one.name);
            for (i, param) in params.iter().enumerate() {
                let wanted = match param.name == one.name {
                    true => &alone[i],
                    false => &without[i],
                };
                assert_eq!(&all[i], wanted, "{} beside {}", param.name, one.name);
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for path in Path::all() {
        let run = |threads: usize, split: Split| {
            let backend = CpuBackend::with(path, Team::with_split(threads, split));
            let model = model(backend, Task::Classify, 48, 3, 100);
            let out = step(&model, &[batch(&[2, 70, 1, 33, 130, 64], 0)], &|_| true);
            (out, model.backend().team().take_most_workers())
        };
        let (one, workers) = run(1, Split::Sized);
        assert_eq!(workers, 1);
        for threads in [2, 3, 4] {
            let (many, workers) = run(threads, Split::Forced);
            assert!(workers > 1, "{threads} threads, {workers} worked");
            assert_eq!(one.0.to_bits(), many.0.to_bits());
            assert_eq!(one.1, many.1, "{threads} threads on {path:?}");
        }
    }
}
