//! The model of all rows, and what is fitted for it to the folds' answers.

use super::*;

/// Label and probabilities of each row of `oof.csv` under a temperature: softmax(z / T) is p^(1/T), normed.
fn answers(oof: &Path, labels: &[String], temperature: f64) -> Vec<(usize, Vec<f64>)> {
    let mut reader = csv::Reader::from_path(oof).unwrap();
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.unwrap();
        let label = labels.iter().position(|l| *l == record[3]).unwrap();
        let power = |p: &str| p.parse::<f64>().unwrap().powf(1.0 / temperature);
        let powers: Vec<f64> = record.iter().skip(5).map(power).collect();
        let sum: f64 = powers.iter().sum();
        (label, powers.into_iter().map(|p| p / sum).collect())
    };
    reader.records().map(row).collect()
}

/// Temperature of the least loss of those, found by trying all, a hundredth apart.
fn temperature_of(oof: &Path, labels: &[String]) -> f64 {
    let loss = |t: f64| -> f64 {
        let rows = answers(oof, labels, t);
        rows.iter().map(|(label, p)| -p[*label].ln()).sum()
    };
    let tried = (-200..=200).map(|k| f64::from(k) * 1e-2).map(f64::exp);
    tried.min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap()
}

#[test]
fn the_model_of_all_rows_is_calibrated_by_rows_the_folds_did_not_see() {
    let source = tempfile::tempdir().unwrap();
    let data = learnable(source.path());
    let plain = Options {
        epochs: 10.0,
        ..options()
    };
    let asked = Options {
        calibrate: true,
        abstain_precision: Some(0.73),
        ..plain.clone()
    };
    let [before, after] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [_, report] = [(&plain, &before), (&asked, &after)].map(|(options, out)| {
        let case = Case {
            final_fit: true,
            ..usual(&data, options, out.path())
        };
        case.run(&mut Watch::new(None)).unwrap()
    });
    let bytes = |f: &tempfile::TempDir| std::fs::read(f.path().join("oof.csv")).unwrap();
    assert!(bytes(&before) == bytes(&after));
    let summary = &report.final_fit.as_ref().unwrap().summary;
    let found = summary.calibration.as_ref().unwrap();
    let (oof, labels) = (after.path().join("oof.csv"), data.labels.names());
    let want = temperature_of(&oof, labels);
    assert!((found.temperature / want - 1.0).abs() < 1e-2, "{found:?}");
    assert!((want - 1.0).abs() > 0.02, "{want}: nothing to see");
    assert_eq!((found.by, found.held_out.rows), ("out-of-fold rows", 400));
    // The same loss that the folds were scored with.
    let pooled = report.pooled[0].loss();
    assert!((found.held_out.before.negative_log_likelihood - pooled).abs() < 1e-6);
    // The model is the plain one with a divided classifier, and nothing else.
    let [a, b] = [&before, &after]
        .map(|f| SafetensorsFile::open(&f.path().join("model.safetensors")).unwrap());
    for tensor in a.tensors() {
        let [x, y] = [&a, &b].map(|f| f.read_f32(&tensor.name).unwrap());
        let divided = tensor.name.starts_with("classifier.");
        for (x, y) in x.into_iter().zip(y) {
            let x = f64::from(x) / if divided { found.temperature } else { 1.0 };
            assert!(
                (x - f64::from(y)).abs() <= 1e-6 * x.abs(),
                "{}",
                tensor.name
            );
        }
    }
    // Its threshold counts the same rows.
    let threshold = summary.abstention.as_ref().unwrap();
    assert_eq!(threshold.by, "out-of-fold rows");
    let (rule, answered) = (threshold.rule.unwrap(), threshold.held_out.unwrap());
    let all = answers(&oof, labels, found.temperature);
    let sure = |p: &[f64]| p.iter().copied().fold(0.0, f64::max);
    let given: Vec<_> = all.iter().filter(|(_, p)| sure(p) > rule.above).collect();
    let right = given
        .iter()
        .filter(|(label, p)| p[*label] == sure(p))
        .count();
    assert_eq!((rule.rows, answered.rows), (400, 400));
    assert_eq!((answered.answered, answered.right), (given.len(), right));
    assert!(answered.answered < 400, "{answered:?}");
    let config = std::fs::read_to_string(after.path().join("config.json")).unwrap();
    assert!(config.contains("hone_abstain") && !config.contains("certainty"));
    // Other models answered them: what they say of this one is an estimate.
    assert_eq!((threshold.certainty, rule.certainty), (None, None));
    assert_eq!(threshold.lower_bound, None);
}

#[test]
fn what_belongs_to_one_model_needs_one() {
    let (data, out) = (data(), tempfile::tempdir().unwrap());
    let asked = Options {
        calibrate: true,
        ..options()
    };
    let backend = Arc::new(CpuBackend::new(2));
    let stop = AtomicBool::new(false);
    let case = usual(&data, &asked, out.path());
    let said = case.with(|c| c.run(&backend, &mut (), &stop).map(|_| ()));
    assert!(said.unwrap_err().to_string().contains("--final-fit"));
}
