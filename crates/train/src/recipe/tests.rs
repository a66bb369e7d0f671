//! The pure part: who wins, what is left alone, and when the recipe is the standard one.

use super::*;

fn facts(texts: usize) -> Facts {
    Facts {
        task: Task::Classify,
        texts,
        classes: vec![texts / 2, texts - texts / 2],
        parameters: 22_700_000,
        pool: Pool::Cls,
        head: false,
        scratch: false,
        reinit_top: 0,
        valid: false,
        needs_valid: None,
        own_loss: None,
        pools: None,
    }
}

fn scores(cls: f64, mean: f64) -> Option<Pools> {
    let score = |loss| PoolScore {
        agreement: 0.5,
        loss,
    };
    Some(Pools::Scores(PoolScores {
        texts: 100,
        cls: score(cls),
        mean: score(mean),
    }))
}

fn given(options: &[(&str, Setting)]) -> Given {
    let all = options.iter().cloned();
    all.map(|(o, v)| (o.to_owned(), v)).collect()
}

fn word(text: &str) -> Setting {
    Setting::Word(text.to_owned())
}

#[test]
fn few_texts_have_a_value_and_a_reason_for_every_option() {
    let mut facts = facts(100);
    facts.pools = scores(0.9, 0.6);
    let recipe = choose(&facts, &Given::new());
    let first = ANCHORS[0];
    let named: Vec<&str> = recipe.chosen.iter().map(|c| &*c.option).collect();
    assert_eq!(named, OPTIONS);
    assert!(
        recipe
            .chosen
            .iter()
            .all(|c| c.why.len() > 5 && !c.why.contains('\n'))
    );
    for (option, value) in [
        ("init_head", word("probe")),
        ("pool", word("mean")),
        ("contrast", Setting::Number(CONTRAST)),
        ("label_smoothing", Setting::Number(SMOOTHING)),
        ("lr", Setting::Number(first.lr)),
        (
            "head_lr",
            Setting::Number(rounded(first.head_ratio * first.lr)),
        ),
        ("batch_size", Setting::Count(first.batch_size)),
        ("epochs", Setting::Number(first.epochs)),
        ("schedule", word("linear")),
        ("warmup", word(&format!("{:.0}%", 100.0 * first.warmup))),
        ("valid", word("none")),
    ] {
        assert_eq!(recipe.value(option), Some(&value), "{option}");
    }
    let pool = &recipe.chosen[1].why;
    assert!(pool.contains("--pool cls") && pool.contains("0.600") && pool.contains("0.900"));
    facts.pools = scores(0.6, 0.6);
    assert_eq!(
        choose(&facts, &Given::new()).value("pool"),
        Some(&word("cls"))
    );
}

/// Whatever is given is not chosen, at any size; what follows from it follows from what was given.
#[test]
fn what_is_given_wins() {
    for texts in [3, 100, 700, 5_000, 50_000] {
        for option in OPTIONS {
            let given = given(&[(option, word("x"))]);
            let recipe = choose(&facts(texts), &given);
            assert_eq!(recipe.value(option), None, "{option} at {texts}");
            assert!(recipe.chosen.iter().all(|c| c.option != option));
            assert_eq!(recipe.given, given);
        }
    }
    let head = |lr| {
        let recipe = choose(&facts(100), &given(&[("lr", lr)]));
        recipe.value("head_lr").cloned()
    };
    let ratio = ANCHORS[0].head_ratio;
    assert_eq!(
        head(Setting::Number(3e-5)),
        Some(Setting::Number(rounded(ratio * 3e-5)))
    );
    // Steps stand for epochs, and a schedule that was given brings its own warm-up.
    let recipe = choose(
        &facts(100),
        &given(&[
            ("max_steps", Setting::Count(5)),
            ("schedule", word("slanted")),
        ]),
    );
    for option in ["epochs", "schedule", "warmup"] {
        assert_eq!(recipe.value(option), None, "{option}");
    }
}

/// A recorded run done again has everything but, perhaps, where texts are held out: that stays as it was.
#[test]
fn nothing_is_chosen_twice() {
    let mut all: Vec<(&str, Setting)> = OPTIONS.map(|o| (o, word("x"))).to_vec();
    all.retain(|(o, _)| *o != "valid");
    let recipe = choose(&facts(100), &given(&all));
    assert_eq!(recipe.chosen, Vec::new());
    assert!(!reads_pools(&facts(100), &given(&all)));
    all.retain(|(o, _)| *o != "epochs");
    let recipe = choose(&facts(100), &given(&all));
    assert_eq!(recipe.chosen.len(), 2, "epochs and valid");
}

#[test]
fn what_it_was_not_derived_for_is_standard_and_says_so() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = facts(100);
        change(&mut facts);
        facts
    };
    for (facts, says) in [
        (with(|f| f.scratch = true), "from scratch"),
        (with(|f| f.texts = STANDARD_FROM), "20 000"),
        (with(|f| f.texts = 67_349), "67 349"),
    ] {
        let recipe = choose(&facts, &Given::new());
        assert_eq!(recipe.chosen, Vec::new());
        assert!(
            recipe.facts.starts_with("standard") && recipe.facts.contains(says),
            "{}",
            recipe.facts
        );
        assert!(!reads_pools(&facts, &Given::new()));
    }
}

/// Folds fit a part of the texts; the classes are those of all.
#[test]
fn the_texts_of_a_fit_are_told_from_all_of_them() {
    for (texts, classes, says) in [
        (
            60,
            [30, 30],
            "60 training texts, 2 classes of 30 texts each;",
        ),
        (
            60,
            [20, 40],
            "60 training texts, 2 classes of 20 to 40 texts;",
        ),
        (
            48,
            [30, 30],
            "48 training texts of the 60, whose 2 classes have 30 texts each;",
        ),
        (
            1000,
            [250, 1000],
            "1 000 training texts of the 1 250, whose 2 classes have 250 to 1000 texts;",
        ),
    ] {
        let facts = Facts {
            classes: classes.to_vec(),
            ..facts(texts)
        };
        let recipe = choose(&facts, &Given::new());
        assert!(recipe.facts.starts_with(says), "{}", recipe.facts);
        // Whatever the classes, the choices are those of the fit's size.
        let even = choose(&self::facts(texts), &Given::new());
        let values = |recipe: &Recipe| -> Vec<(String, Option<Setting>)> {
            let chosen = recipe.chosen.iter();
            chosen
                .map(|c| (c.option.clone(), c.value.clone()))
                .collect()
        };
        assert_eq!(values(&recipe), values(&even));
    }
}

/// Other tasks have the same numbers, in words of their own; tags are read from each word, so no pool is chosen.
#[test]
fn every_task_has_its_recipe() {
    let classes = choose(&facts(300), &Given::new());
    for (task, says, head) in [
        (
            Task::MultiLabel,
            "300 training texts, any of 2 labels",
            "logistic",
        ),
        (
            Task::Regress,
            "300 training texts with a value each",
            "ridge",
        ),
        (Task::Tag, "300 training sentences, 2 tags", "logistic"),
    ] {
        let mut facts = facts(300);
        (facts.task, facts.classes) = (task, vec![0; 2]);
        assert_eq!(reads_pools(&facts, &Given::new()), task != Task::Tag);
        facts.pools = scores(0.9, 0.6);
        let recipe = choose(&facts, &Given::new());
        assert!(recipe.facts.starts_with(says), "{}", recipe.facts);
        assert_eq!(recipe.value("init_head"), Some(&word("probe")));
        assert!(
            recipe.chosen[0].why.contains(head),
            "{:?}",
            recipe.chosen[0]
        );
        let own = ["pool", "contrast", "label_smoothing"];
        assert_eq!(recipe.value("contrast"), None);
        for option in OPTIONS.into_iter().filter(|o| !own.contains(o)) {
            assert_eq!(recipe.value(option), classes.value(option), "{option}");
        }
        let pool = recipe.chosen.iter().find(|c| c.option == "pool");
        assert_eq!(pool.is_none(), task == Task::Tag);
        let measured = pool.is_none_or(|c| c.value == Some(word("mean")));
        assert!(measured, "{pool:?}");
    }
}

/// The contrast and the smoothing were derived together, up to a number of texts, beside the usual loss.
#[test]
fn a_contrast_stands_beside_the_usual_loss_alone() {
    let both = ["contrast", "label_smoothing"];
    let values = |facts: &Facts, given: &Given| {
        let recipe = choose(facts, given);
        both.map(|o| recipe.value(o).is_some())
    };
    for (texts, own_loss, options, chosen) in [
        (3, None, &[][..], true),
        (CONTRAST_TO, None, &[], true),
        (CONTRAST_TO + 1, None, &[], false),
        (100, Some("r-drop"), &[], false),
        (100, None, &["lr"], true),
        (100, None, &["contrast"], false),
        (100, None, &["label_smoothing"], false),
    ] {
        let mut facts = facts(texts);
        facts.own_loss = own_loss.map(str::to_owned);
        let options: Vec<_> = options.iter().map(|o| (*o, word("x"))).collect();
        let found = values(&facts, &given(&options));
        assert_eq!(found, [chosen; 2], "{texts} {own_loss:?} {options:?}");
    }
    // Of so many classes a batch holds one text each.
    let mut many = facts(100);
    many.classes = vec![2; 50];
    assert_eq!(values(&many, &Given::new()), [false; 2]);
    assert_eq!(
        values(&many, &given(&[("batch_size", Setting::Count(64))])),
        [true; 2]
    );
    let mut facts = facts(100);
    facts.own_loss = Some("r-drop".to_owned());
    let recipe = choose(&facts, &Given::new());
    let why = recipe.chosen.iter().filter(|c| both.contains(&&*c.option));
    assert!(why.clone().count() == 2 && why.into_iter().all(|c| c.why.contains("--r-drop")));
}

#[test]
fn the_head_start_ends_where_its_measure_does() {
    let given = Given::new();
    assert!(reads_pools(&facts(HEAD_START_TO), &given));
    let more = facts(HEAD_START_TO + 1);
    assert!(!reads_pools(&more, &given));
    let recipe = choose(&more, &given);
    assert_eq!(
        (recipe.value("init_head"), recipe.value("pool")),
        (None, None)
    );
    assert_eq!(recipe.value("valid"), None);
    assert!(recipe.value("lr").is_some());
    let mut kept = facts(100);
    kept.head = true;
    assert!(!reads_pools(&kept, &given));
    let recipe = choose(&kept, &given);
    assert_eq!(
        (recipe.value("init_head"), recipe.value("pool")),
        (None, None)
    );
    assert!(recipe.chosen[0].why.contains("trained head"));
    let mut drawn = facts(100);
    drawn.reinit_top = 1;
    assert!(!reads_pools(&drawn, &given));
    assert_eq!(
        choose(&drawn, &given).value("init_head"),
        Some(&word("probe"))
    );
}

#[test]
fn texts_are_held_out_where_something_needs_them() {
    let mut facts = facts(100);
    facts.needs_valid = Some("patience".to_owned());
    let recipe = choose(&facts, &Given::new());
    let choice = recipe.chosen.iter().find(|c| c.option == "valid").unwrap();
    assert!(choice.value.is_none() && choice.why.contains("--patience"));
    facts.needs_valid = None;
    facts.valid = true;
    assert!(
        choose(&facts, &Given::new())
            .chosen
            .iter()
            .all(|c| c.option != "valid")
    );
}

#[test]
fn a_recipe_survives_being_written() {
    let mut facts = facts(777);
    facts.pools = scores(0.4, 0.3);
    let recipe = choose(&facts, &given(&[("batch_size", Setting::Count(8))]));
    let text = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
}

#[test]
fn numbers_read_as_they_are_typed() {
    for (setting, text) in [
        (Setting::Number(1e-4), "1e-4"),
        (Setting::Number(7.1), "7.1"),
        (Setting::Number(20.0), "20"),
        (Setting::Count(16), "16"),
        (word("probe"), "probe"),
    ] {
        assert_eq!(setting.to_string(), text);
    }
    assert_eq!(
        (grouped(67_349), grouped(999)),
        ("67 349".to_owned(), "999".to_owned())
    );
}

#[test]
fn sizes_lie_at_or_between_what_was_derived() {
    for (texts, says) in [
        (60, "derived at 100 texts"),
        (100, "derived at 100 texts"),
        (101, "between what was derived at 100 and 500 texts"),
        (2_000, "derived at 2 000 texts"),
        (19_999, "between what was derived at 2 000 and 20 000 texts"),
        (20_000, "derived at 20 000 texts"),
        (20_001, "standard"),
    ] {
        assert_eq!(place(texts), says);
    }
    assert_eq!((rounded(0.1 + 0.2), rounded(3.0 * 1.1e-5)), (0.3, 3.3e-5));
}
