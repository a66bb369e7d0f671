//! The real MiniLM beside transformers: logits of a hundred texts, thirty of them longer than the 128 tokens at
//! which its tokenizer file would cut and pad. `xtask/python/make_fixtures.py minilm` made what is expected.

use hone_bert::{HeadChoice, Model, Task};
use hone_data::{Row, Tokenizer, Truncate};
use hone_hub::Hub;
use hone_kernels_cpu::CpuBackend;
use hone_tensor::SafetensorsFile;
use hone_train::{EvalBatches, Tokenising, predict, unlabelled};
use std::path::Path;
use std::sync::Arc;

#[test]
fn logits_are_those_of_transformers() {
    let found = Hub::from_env().and_then(|hub| hub.cached("minilm", "main"));
    let Ok(Some(minilm)) = found else {
        eprintln!(
            "skipped: MiniLM is not in the cache (`cargo run --release -- fetch minilm` puts it there)"
        );
        return;
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/minilm/expected.safetensors");
    let file = SafetensorsFile::open(&here).expect("the fixture");
    let expected = |name: &str| file.read_f64(name).expect("a tensor of the fixture");

    let backend = Arc::new(CpuBackend::new(2));
    let labels = ["0", "1", "2"].map(str::to_owned).to_vec();
    let head = HeadChoice::New;
    let (mut model, _) =
        Model::load(backend, &minilm.folder, Task::Classify, labels, &head, 0).expect("MiniLM");
    let table = model.layout().table.clone();
    for (name, values) in [("classifier.weight", "weight"), ("classifier.bias", "bias")] {
        let index = table.index(name).expect("a head");
        let values: Vec<f32> = expected(values).into_iter().map(|x| x as f32).collect();
        model.set(index, &values).expect("its shape");
    }

    let reviews = hone_experiment::reviews();
    let text = |range: std::ops::Range<usize>| {
        let texts: Vec<&str> = reviews[range].iter().map(|r| r.text.as_str()).collect();
        texts.join(" ")
    };
    let mut texts: Vec<String> = (0..70).map(|i| text(i..i + 1)).collect();
    texts.extend((0..29).map(|k| text(70 + 12 * k..82 + 12 * k)));
    texts.push(text(418..442));
    let rows: Vec<Row> = (1..)
        .zip(texts)
        .map(|(line, text)| Row::text(line, text))
        .collect();

    let tokenizer =
        Tokenizer::load(&minilm.folder, model.config().vocabulary).expect("a tokenizer");
    let how = Tokenising {
        tokenizer: &tokenizer,
        max_length: 512,
        truncate: Truncate::Head,
    };
    let (examples, _) = unlabelled(&rows, Task::Classify, how).expect("tokens");
    for (i, &length) in expected("lengths").iter().enumerate() {
        assert_eq!(examples.length(i), length as usize, "tokens of text {i}");
    }

    let batches = EvalBatches::USUAL;
    let mut acts = model.plan_eval(batches.limits(&examples)).expect("memory");
    let mut logits = Vec::new();
    let each = |p: hone_train::Prediction<'_>| logits.extend_from_slice(p.logits);
    predict(&model, &mut acts, &examples, batches, each, |_| true).expect("logits");
    let want = expected("logits");
    assert_eq!(logits.len(), want.len());
    let furthest = logits
        .iter()
        .zip(&want)
        .fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    println!("{} texts, logits at most {furthest:.1e} apart", rows.len());
    assert!(furthest < 1e-4, "logits differ by {furthest:e}");
}
