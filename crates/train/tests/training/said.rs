//! What a run says of its texts before it begins, and what its parts say of themselves.

use crate::common::{Record, Run, data, folder, options};
use hone_data::Columns;
use hone_kernels_cpu::CpuBackend;
use hone_optim::Warmup;
use hone_train::{
    DataSource, EvalBatches, Event, Job, Options, Strictness, TrainError, ValidSource,
};
use std::sync::Arc;

/// What is lost to `--max-length`, to the vocabulary and to labels that only validation texts have is told, part by part.
#[test]
fn what_texts_lose_is_told() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let long = "film ".repeat(9);
    let train = format!("text,label\n{long},good\nslow film,bad\nrich plot,good\ndull plot,bad\n");
    let valid = "text,label\nzzz qqq film,good\nwarm music,odd\n";
    let data = DataSource {
        data: file("train.csv", &train),
        valid: ValidSource::File(file("valid.csv", valid)),
        test: None,
        columns: Columns::default(),
        kind: None,
        split_seed: 0,
    }
    .read()
    .unwrap();
    let model = folder();
    let options = options();
    let tokenise = |strict| {
        let mut record = Record::default();
        let said = Job {
            max_length: Some(7),
            strict,
            ..Job::new(&model, &data, &options)
        }
        .tokenise(&mut record);
        let warnings = record.events.into_iter().filter_map(|event| match event {
            Event::Warning { text } => Some(text),
            _ => None,
        });
        let warnings: Vec<String> = warnings.collect();
        (said.err(), warnings)
    };
    let (error, warnings) = tokenise(Strictness::Warn);
    assert!(error.is_none());
    for says in [
        "training: 1 of 4 texts are longer than --max-length and lost 4 word pieces (good: 1 texts, 4 pieces)",
        "validation: 40.0 % of the words are unknown to the model's vocabulary",
        "validation: 1 rows have the label \"odd\", which the training texts lack; they count as wrong",
    ] {
        let told = warnings.iter().filter(|text| *text == says).count();
        assert_eq!(told, 1, "{says:?} in {warnings:?}");
    }
    let (error, _) = tokenise(Strictness::Fail);
    assert!(matches!(error, Some(TrainError::Option(_))), "{error:?}");
}

/// `{:?}` of what holds texts and weights says what it is and how much, whatever backend has the numbers.
#[test]
fn debug_says_what_and_how_much() {
    #[track_caller]
    fn check(of: &dyn std::fmt::Debug, begins: &str, counts: &str) {
        let said = format!("{of:?}");
        assert!(said.starts_with(begins), "{begins}: {}", &said[..40]);
        assert!(said.contains(counts), "{begins}: {counts} is not in {said}");
        assert!(said.len() < 3000, "{begins}: {} characters", said.len());
    }
    let data = data(ValidSource::Fraction(0.25));
    let options = Options {
        max_steps: Some(1),
        warmup: Warmup::Steps(0),
        ..options()
    };
    let backend = Arc::new(CpuBackend::new(1));
    let run = Run::new(&data, &options);
    let done = run.on(backend, &mut Record::default()).unwrap();
    let mut sink = Record::default();
    let texts = Job::new(&folder(), &data, &options).tokenise(&mut sink);
    let texts = texts.unwrap();
    let (train, model) = (&texts.train.examples, &done.model);
    let numbers = format!("numbers: {}", model.layout().table.len());
    check(model, "Model { backend: ", &numbers);
    check(model.params(), "CpuParams", &numbers);
    check(train, "Examples", &format!("tokens: {}", train.tokens()));
    check(
        &data.train,
        "Part",
        &format!("rows: {}", data.train.rows.len()),
    );
    check(&texts.tokenizer, "Tokenizer", "cls: 2");
    let limits = EvalBatches::USUAL.limits(train);
    check(&model.plan_eval(limits).unwrap(), "Acts", "layers: ");
}
