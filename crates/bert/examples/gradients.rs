//! One step of a classifier by hand: forward, loss, backward, and the norm of the gradient by depth.
//!
//!     cargo run -p hone-bert --example gradients -- [FOLDER [ID...]]
//!
//! `FOLDER` is a Hugging Face model folder, whose encoder gets a new head for two classes; without one, a small model is
//! drawn. `ID`s are the word pieces of a text with its special tokens. For example:
//!
//!     cargo run -p hone-bert --example gradients -- crates/train/fixtures/trajectory 2 5 38 9 3

use hone_bert::{Config, Grads, HeadChoice, Limits, LossKind, Model, Pass, Task};
use hone_kernels::{Acc, Backend};
use hone_kernels_cpu::CpuBackend;
use hone_tensor::Ragged;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match step() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn step() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let backend = Arc::new(CpuBackend::new(1));
    let labels = ["bad", "good"].map(str::to_owned).to_vec();
    let (model, _) = match args.first() {
        Some(folder) => {
            let (folder, head) = (Path::new(folder), HeadChoice::New);
            let read = Model::load(backend.clone(), folder, Task::Classify, labels, &head, 1)?;
            println!("{}", read.1);
            read
        }
        None => {
            let config = Config::with_shape(64, 4, 4, 256, 100);
            Model::random(backend.clone(), config, Task::Classify, labels, 1)?
        }
    };
    let mut ids = Vec::new();
    for text in args.iter().skip(1) {
        let id = text.parse::<u32>();
        ids.push(id.map_err(|_| format!("{text:?}: the number of a word piece was expected"))?);
    }
    if ids.is_empty() {
        ids = vec![2, 17, 29, 11, 3];
    }

    // Two texts, one after another without padding: the one that was given, and its first half.
    let mut batch = Ragged::new();
    let shorter = &ids[..ids.len().div_ceil(2)];
    for (example, ids) in [&ids[..], shorter].into_iter().enumerate() {
        batch.push(example as u64, ids, &vec![0; ids.len()]);
    }
    // Every parameter is trained: there is room for all gradients.
    let layout = model.layout().table.grad_layout(|_| true);
    let mut grads = Grads::new(backend.as_ref(), model.layout(), layout.clone())?;
    let mut acts = model.plan_train(Limits::of(&batch), &layout)?;

    model.forward(&mut acts, &batch, &Pass::eval())?;
    println!("logits {:.3?}", model.logits(&acts)?);
    // The first is good, the second bad; each is half of the loss.
    let (targets, weights) = ([0.0, 1.0, 1.0, 0.0], [0.5, 0.5]);
    let kind = LossKind::of(model.task());
    let loss = model.loss(&mut acts, kind, &targets, &weights)?;
    model.backward(&mut acts, &mut grads, Acc::Set)?;

    let mut clip = backend.alloc(2)?;
    let norms = grads.norms(backend.as_ref(), model.layout(), |_| true, None, &mut clip)?;
    println!("loss {loss:.4}, norm of its gradient {:.4}", norms.total);
    let mut by_depth = BTreeMap::new();
    for (param, squared) in model.layout().table.params().iter().zip(&norms.squared) {
        *by_depth.entry(param.depth).or_insert(0.0) += squared;
    }
    for (depth, squared) in by_depth {
        println!("  {depth:?}: {:.4}", f64::sqrt(squared));
    }
    Ok(())
}
