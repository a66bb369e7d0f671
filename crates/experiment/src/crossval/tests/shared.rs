//! What folds read of a frozen encoder, each text once for all of them.

use super::*;

#[test]
fn frozen_outputs_are_shared_by_the_folds_and_change_no_bit() {
    let data = data();
    let options = Options {
        freeze: "0".to_owned(),
        ..options()
    };
    let [plain, cached] = [FrozenPrefix::Recompute, FrozenPrefix::Cache].map(|frozen| {
        let folder = tempfile::tempdir().unwrap();
        let case = Case {
            frozen,
            ..usual(&data, &options, folder.path())
        };
        let report = case.run(&mut Watch::new(None)).unwrap();
        let oof = std::fs::read(folder.path().join("oof.csv")).unwrap();
        (oof, report.shared_frozen_examples)
    });
    assert!(plain.0 == cached.0);
    // Those that some fold fits; validation does not use the cache.
    let folder = tempfile::tempdir().unwrap();
    let fitted = usual(&data, &options, folder.path()).with(|c| {
        let texts = c.job.tokenise(&mut ()).unwrap();
        let keys = together(&data.train);
        let plan = FoldPlan::new(&texts.train.examples, &keys, 3, 1, c.inner, 1, 3).unwrap();
        let rows = plan.folds.iter().flat_map(|f| f.train.clone());
        rows.collect::<std::collections::HashSet<u32>>().len()
    });
    assert_eq!((plain.1, cached.1), (0, fitted));
    assert!(fitted > 350);
}

/// Heads of folds are fitted to what is read once, and nothing else changes.
#[test]
fn texts_of_several_folds_are_read_once_for_their_heads() {
    let data = data();
    let options = Options {
        init_head: InitHead::Probe,
        new_head: true,
        ..options()
    };
    let known = KnownFeatures::default();
    let [alone, shared] = [None, Some(&known)].map(|known| {
        let folder = tempfile::tempdir().unwrap();
        let case = Case {
            known,
            ..usual(&data, &options, folder.path())
        };
        let mut watch = Watch::new(None);
        case.run(&mut watch).unwrap();
        // Of each fold the batches that were read before its first step.
        let mut read: Vec<usize> = Vec::new();
        let mut begins = false;
        for event in &watch.events {
            match event {
                Event::Fold { .. } => {
                    begins = true;
                    read.push(0);
                }
                Event::Step(_) => begins = false,
                Event::Evaluating { .. } if begins => {
                    read.iter_mut().last().into_iter().for_each(|n| *n += 1);
                }
                _ => {}
            }
        }
        (std::fs::read(folder.path().join("oof.csv")).unwrap(), read)
    });
    assert!(alone.0 == shared.0, "other answers");
    let [first, second, third] = shared.1[..] else {
        panic!("{:?}", shared.1)
    };
    assert!(alone.1.iter().all(|&n| n == first), "{:?}", alone.1);
    assert!(second < first && third <= second, "{:?}", shared.1);
}
