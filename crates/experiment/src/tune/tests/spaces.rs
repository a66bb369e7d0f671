//! What is searched: how spaces are read, what is drawn from them, and that each setting is set.

use crate::tune::setting::{ALL, Setting, Value};
use crate::tune::{Configuration, Range, Space};
use hone_optim::Warmup;
use hone_train::Options;

fn usual() -> Options {
    Options {
        head_lr: 5e-4,
        ..Options::default()
    }
}

#[test]
fn draws_are_uniform_over_the_logarithm_stay_within_and_depend_on_nothing_else() {
    let base = usual();
    let space = Space::usual(&base);
    assert_eq!(
        space.to_string(),
        "lr=1.25e-5..2e-4,epochs=1.5..6,batch-size=16|32|64,head-ratio=2.5..40,layer-decay=0.75..1,warmup=0..0.2,\
         dropout=0..0.2,weight-decay=0.001..0.1"
    );
    let n = 960;
    let value = |space: &Space, trial: usize, setting: Setting| {
        let Configuration(all) = space.configuration(&base, 5, trial);
        all.into_iter()
            .find(|(k, _)| k == setting.name())
            .unwrap()
            .1
    };
    let numbers = |setting: Setting| -> Vec<f64> {
        (1..=n)
            .map(|t| match value(&space, t, setting) {
                Value::Number(x) => x,
                Value::Word(w) => panic!("{w}"),
            })
            .collect()
    };
    // A quarter of the draws lies in each quarter of the logarithm, or of the range; two digits move few of them.
    for (setting, low, high, log) in [
        (Setting::Lr, 1.25e-5f64, 2e-4f64, true),
        (Setting::Epochs, 1.5, 6.0, true),
        (Setting::WeightDecay, 0.001, 0.1, true),
        (Setting::Dropout, 0.0, 0.2, false),
        (Setting::LayerDecay, 0.75, 1.0, false),
    ] {
        let mut seen = [0; 4];
        for x in numbers(setting) {
            assert!((low..=high).contains(&x), "{setting:?} {x}");
            let place = match log {
                true => (x / low).ln() / (high / low).ln(),
                false => (x - low) / (high - low),
            };
            seen[((4.0 * place) as usize).min(3)] += 1;
        }
        assert!(
            seen.iter().all(|s| (200..=280).contains(s)),
            "{setting:?} {seen:?}"
        );
    }
    let batches = numbers(Setting::BatchSize);
    for size in [16.0, 32.0, 64.0] {
        let count = batches.iter().filter(|b| **b == size).count();
        assert!((310..=330).contains(&count), "{size}: {count}");
    }
    // Leaving settings out moves no draw of the others.
    let few = Space::parse("dropout,lr", &base).unwrap();
    for trial in 0..20 {
        for setting in [Setting::Lr, Setting::Dropout] {
            assert_eq!(value(&few, trial, setting), value(&space, trial, setting));
        }
    }
    assert_ne!(
        space.configuration(&base, 5, 1),
        space.configuration(&base, 6, 1)
    );
    // Trial 0 is the options as they are, to the last bit.
    assert_eq!(
        space.options(&base, &space.configuration(&base, 5, 0)),
        base
    );
}

#[test]
fn every_setting_is_set_and_read_again_and_the_head_keeps_its_ratio() {
    let base = usual();
    for (place, (setting, _)) in ALL.into_iter().enumerate() {
        assert_eq!(setting.dimension(), place);
        let value = match setting {
            Setting::InitHead => Value::Word("probe".into()),
            Setting::Pool => Value::Word("mean".into()),
            Setting::Schedule => Value::Word("cosine".into()),
            Setting::BatchSize => Value::Number(8.0),
            _ => Value::Number(0.25),
        };
        assert_eq!(setting.fits(&value), Ok(()));
        let mut options = base.clone();
        setting.set(&mut options, &value);
        assert_eq!(setting.of(&options), value, "{setting:?}");
        assert_ne!(options, base, "{setting:?}");
        assert_eq!(Setting::named(setting.name()), Some(setting));
        let flags = setting.flags(&options);
        assert!(!flags.is_empty() && flags.iter().all(|(_, v)| !v.is_empty()));
    }
    let mut options = base.clone();
    Setting::Lr.set(&mut options, &Value::Number(2e-5));
    assert_eq!((options.lr, options.head_lr), (2e-5, 2e-4));
    Setting::Dropout.set(&mut options, &Value::Number(0.3));
    assert_eq!((options.dropout, options.head_dropout), (0.3, 0.3));
    assert_eq!(options.attention_dropout, 0.1);
}

#[test]
fn spaces_are_read_and_wrong_ones_say_what_is_wrong() {
    let base = usual();
    let space = Space::parse("lr=1e-5..2e-4, epochs=2..6, batch_size=16|32|64", &base).unwrap();
    let all: Vec<(Setting, Range)> = space.settings().map(|(s, r)| (s, r.clone())).collect();
    assert_eq!(all[0], (Setting::Lr, Range::Between(1e-5, 2e-4)));
    assert_eq!(all.len(), 3);
    // What it prints it reads again.
    assert_eq!(Space::parse(&space.to_string(), &base).unwrap(), space);
    let whole = Space::usual(&base);
    assert_eq!(Space::parse(&whole.to_string(), &base).unwrap(), whole);
    let steps = Options {
        max_steps: Some(9),
        warmup: Warmup::Steps(3),
        ..usual()
    };
    let left = Space::left_out(&steps);
    assert_eq!(left.len(), 2, "{left:?}");
    for (text, base, says) in [
        ("", &base, "no such setting"),
        ("learning-rate=1..2", &base, "no such setting; there are lr"),
        ("lr=1e-5..2e-4,lr", &base, "twice"),
        ("lr=2e-4..1e-5", &base, "not below"),
        ("lr=0..1", &base, "positive"),
        ("lr=fast..2", &base, "\"fast\" is no number"),
        ("lr=1e-5", &base, "one value is no range"),
        ("batch-size=16|2.5", &base, "whole number"),
        ("dropout=0..1", &base, "below 1"),
        ("layer-decay=0.5..1.5", &base, "at most 1"),
        ("pool=cls|max", &base, "cls or mean"),
        ("pool=cls..mean", &base, "words have no range"),
        ("schedule=linear|step", &base, "schedule"),
        ("epochs=1..2", &steps, "--max-steps"),
        ("warmup", &steps, "in steps"),
    ] {
        let error = Space::parse(text, base).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}
