//! What a run says of its texts before it begins.

use crate::common::{Record, folder, options};
use hone_data::Columns;
use hone_train::{DataSource, Event, Job, Strictness, TrainError, ValidSource};

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
