//! What is searched: how spaces are read, what is drawn from them, and that each setting is set.

use crate::tune::setting::{ALL, Setting, Value};
use crate::tune::{Configuration, Range, Space};
use hone_bert::Task;
use hone_optim::{Schedule, Warmup};
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
        assert_eq!(count, n / 3, "{size}");
    }
    // Between two sizes of a batch all are whole.
    let sizes = Space::parse("batch-size=8..64", &base).unwrap();
    for trial in 1..=200 {
        let Value::Number(size) = value(&sizes, trial, Setting::BatchSize) else {
            panic!("a size is a number");
        };
        assert!(
            size.fract() == 0.0 && (8.0..=64.0).contains(&size),
            "{size}"
        );
    }
    // Words too are even after any few trials, however late their dimension is.
    let words = Space::parse("pool,init-head,schedule", &base).unwrap();
    for (setting, of) in [
        (Setting::Pool, 2),
        (Setting::InitHead, 2),
        (Setting::Schedule, 3),
    ] {
        for block in 0..4 {
            let own = (1..=of).map(|t| value(&words, block * of + t, setting).to_string());
            let seen: std::collections::HashSet<String> = own.collect();
            assert_eq!(seen.len(), of, "{setting:?} {block}: {seen:?}");
        }
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

/// The warm-up of a schedule is another thing than that of another: the usual one comes with it, unless one was asked for.
#[test]
fn a_schedule_brings_its_own_warm_up_and_its_command_says_which() {
    let given = |schedule: &str, warmup: &str| Options {
        schedule: schedule.parse().unwrap(),
        warmup: warmup.parse().unwrap(),
        ..usual()
    };
    let schedule = |word: &str| ("schedule".to_owned(), Value::Word(word.to_owned()));
    let warmup = ("warmup".to_owned(), Value::Number(0.2));
    let alone = |word: &str| vec![schedule(word)];
    for (base, keeps, configuration, want) in [
        (given("linear", "0.06"), false, alone("one-cycle"), "0"),
        (given("linear", "0.06"), false, alone("slanted"), "0"),
        (given("linear", "0.1"), false, alone("linear"), "0.1"),
        (given("slanted", "0"), false, alone("cosine"), "0.06"),
        (given("slanted:8", "5"), false, alone("slanted:8"), "5"),
        (given("linear", "0.1"), true, alone("one-cycle"), "0.1"),
        (given("linear", "9"), true, alone("cosine"), "9"),
        (given("linear", "0.1"), true, alone("exponential:0.1"), "0"),
        (
            given("linear", "0.06"),
            false,
            vec![schedule("one-cycle"), warmup.clone()],
            "0.2",
        ),
        (
            given("linear", "0.06"),
            false,
            vec![warmup, schedule("one-cycle")],
            "0.2",
        ),
    ] {
        let space = Space::parse("schedule", &base).unwrap();
        let space = space.keeping_warmup(keeps);
        let told = format!("{:?} {configuration:?}", base.schedule);
        let options = space.options(&base, &Configuration(configuration));
        assert_eq!(options.warmup, want.parse::<Warmup>().unwrap(), "{told}");
        // As the command line reads it, whatever else was given there.
        let flags = space.flags(&options);
        let flag = |key: &str| flags.iter().find(|(k, _)| *k == key).unwrap().1.clone();
        assert_eq!(flag("warmup").parse(), Ok(options.warmup), "{told}");
        assert_eq!(flag("schedule").parse(), Ok(options.schedule), "{told}");
    }
    let mut options = usual();
    Setting::Schedule.set(&mut options, &Value::Word("one-cycle".into()));
    assert_eq!(
        (options.schedule, options.warmup),
        (Schedule::OneCycle, Warmup::Steps(0))
    );
}

#[test]
fn what_a_space_prints_it_reads_again() {
    let base = usual();
    for (_, name) in ALL {
        let space = Space::parse(name, &base).unwrap();
        let text = space.to_string();
        assert_eq!(Space::parse(&text, &base), Ok(space), "{text}");
    }
    for text in ["l2-sp=20%|50%", "l2-sp=0|0.5|50%", "l2-sp=0.1..5"] {
        assert_eq!(Space::parse(text, &base).unwrap().to_string(), text);
    }
    // A part of the way that is given is tuned by parts.
    let part = Options {
        l2_sp: "50%".parse().unwrap(),
        ..usual()
    };
    let space = Space::parse("l2-sp", &part).unwrap();
    assert_eq!(space.to_string(), "l2-sp=20%|50%|80%");
}

#[test]
fn what_a_task_cannot_have_is_known_before_the_first_trial() {
    let base = usual();
    for (text, task, flag) in [
        ("pool", Task::Tag, Some("--pool mean")),
        ("pool=cls|mean", Task::Classify, None),
        (
            "lr,label-smoothing=0..0.2",
            Task::Regress,
            Some("--label-smoothing"),
        ),
        ("label-smoothing", Task::Tag, None),
        ("r-drop", Task::MultiLabel, Some("--r-drop")),
        ("r-drop=0|1", Task::Regress, Some("--r-drop")),
        ("lr,dropout,l2-sp,mixout", Task::Regress, None),
    ] {
        let found = Space::parse(text, &base).unwrap().fits_task(&base, task);
        match flag {
            None => assert_eq!(found, Ok(()), "{text}"),
            Some(flag) => assert!(found.unwrap_err().contains(flag), "{text}"),
        }
    }
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
        ("lr=fast..2", &base, "fast: a positive number"),
        ("l2-sp=20%|half", &base, "half: a number from 0, or a part"),
        ("l2-sp=20%..80%", &base, "only numbers have a range"),
        ("lr=1e-5", &base, "one value is no range"),
        ("batch-size=16|2.5", &base, "whole number"),
        ("dropout=0..1", &base, "below 1"),
        ("layer-decay=0.5..1.5", &base, "at most 1"),
        ("pool=cls|max", &base, "cls or mean"),
        ("pool=cls..mean", &base, "only numbers have a range"),
        ("schedule=linear|step", &base, "schedule"),
        ("epochs=1..2", &steps, "--max-steps"),
        ("warmup", &steps, "in steps"),
    ] {
        let error = Space::parse(text, base).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}
