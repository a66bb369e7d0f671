//! What is written is found again, whatever a crash or a bad disk left.

use super::*;

fn state() -> State {
    State {
        version: VERSION,
        step: 7,
        taken: Vec::new(),
        best: None,
        without_improvement: 0,
        train_tokens: 100,
        train_seconds: 1.5,
        seconds: 2.0,
        losses: vec![0.5],
        points: Vec::new(),
        guard: None,
        restart: None,
        identity: Identity::of_tests(),
        files: BTreeMap::new(),
    }
}

/// What a folder called `step-7` holds is read back, or said to be wrong.
#[track_caller]
fn check(change: impl FnOnce(&mut State), says: Option<&str>) {
    let out = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(out.path());
    let path = checkpoints.write(&state(), |_| Ok(())).unwrap();
    let mut changed = state();
    change(&mut changed);
    let text = serde_json::to_string(&changed).unwrap();
    fs::write(path.join("state.json"), text).unwrap();
    match (checkpoints.newest(), says) {
        (Ok(found), None) => assert_eq!(
            found,
            Some(Checkpoint {
                path,
                state: changed
            })
        ),
        (Err(error), Some(says)) => {
            let line = error.to_string();
            assert!(line.contains(says) && line.contains("state.json"), "{line}");
        }
        (found, _) => panic!("{found:?}"),
    }
}

/// Folders of a run's checkpoints.
fn names(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out.join("checkpoints")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn the_newest_alone_stays() {
    let out = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(out.path());
    for step in [5, 9, 10] {
        let state = State { step, ..state() };
        checkpoints.write(&state, |_| Ok(())).unwrap();
        assert_eq!(names(out.path()), [format!("step-{step}")]);
    }
    // One that could not be filled leaves what was there.
    let state = State {
        step: 11,
        ..state()
    };
    let full = |_: &Path| Err(TrainError::Interrupted);
    assert!(checkpoints.write(&state, full).is_err());
    assert_eq!(names(out.path()), ["step-10"]);
}

/// Wherever a crash comes while a checkpoint takes the place of another of its step, one of them is found.
#[test]
fn one_of_the_same_step_steps_aside() {
    let out = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(out.path());
    let write = |seconds: f64| {
        let state = State { seconds, ..state() };
        checkpoints.write(&state, |_| Ok(())).unwrap()
    };
    let found = || checkpoints.newest().unwrap().unwrap().state.seconds;
    let whole = write(1.0);
    let aside = whole.with_file_name("step-7.old");
    let beside = whole.with_file_name("step-7.part");
    // Between the two renames: the new one is not in its place yet.
    fs::rename(&whole, &aside).unwrap();
    fs::create_dir(&beside).unwrap();
    assert_eq!(found(), 1.0);
    // The run that goes on from it writes that step again.
    write(2.0);
    assert_eq!(
        (found(), names(out.path())),
        (2.0, vec!["step-7".to_owned()])
    );
    // Before the old one is gone, or half-way through that.
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("state.json"), "{}").unwrap();
    assert_eq!(found(), 2.0);
    fs::rename(aside.join("state.json"), aside.join("weights.safetensors")).unwrap();
    write(3.0);
    assert_eq!(
        (found(), names(out.path())),
        (3.0, vec!["step-7".to_owned()])
    );
}

/// A checkpoint that lost a file, or whose file holds something else, is not gone on with.
#[test]
fn damage_is_said() {
    let says = |damage: &dyn Fn(&Path), words: &str| {
        let out = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(out.path());
        let fill = |folder: &Path| {
            fs::write(folder.join("best.safetensors"), "12").unwrap();
            Ok(())
        };
        let path = checkpoints.write(&state(), fill).unwrap();
        damage(&path);
        match checkpoints.newest_whole() {
            Ok(_) => assert_eq!(words, ""),
            Err(error) => assert!(
                !words.is_empty() && error.to_string().contains(words),
                "{error}"
            ),
        }
    };
    says(&|_| {}, "");
    let best = |path: &Path| path.join("best.safetensors");
    says(
        &|path| fs::remove_file(best(path)).unwrap(),
        "best.safetensors: it is missing",
    );
    says(
        &|path| fs::write(best(path), "13").unwrap(),
        "best.safetensors: it is damaged",
    );
    says(
        &|path| fs::remove_file(path.join("state.json")).unwrap(),
        "state.json: it is missing",
    );
}

/// A damaged checkpoint is passed over where an older one is whole, and goes with the next that is written.
#[test]
fn an_older_one_that_is_whole_is_found() {
    let out = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(out.path());
    let fill = |folder: &Path| {
        fs::write(folder.join("weights.safetensors"), "12").unwrap();
        Ok(())
    };
    let write = |step| {
        let state = State { step, ..state() };
        checkpoints.write(&state, fill).unwrap()
    };
    let beside = |step: usize| {
        // Writing one removes those before it.
        let [old, kept] = ["step-7", "kept"].map(|name| out.path().join("checkpoints").join(name));
        write(7);
        fs::rename(&old, &kept).unwrap();
        let newer = write(step);
        fs::rename(&kept, &old).unwrap();
        newer
    };
    let damages: [(&dyn Fn(&Path), &str); 4] = [
        (
            &|path| fs::write(path.join("weights.safetensors"), "1").unwrap(),
            "step-9/weights.safetensors: it is damaged",
        ),
        (
            &|path| fs::remove_file(path.join("weights.safetensors")).unwrap(),
            "step-9/weights.safetensors: it is missing",
        ),
        (
            &|path| fs::write(path.join("state.json"), "{").unwrap(),
            "step-9/state.json: not a state",
        ),
        (
            &|path| fs::remove_file(path.join("state.json")).unwrap(),
            "step-9/state.json: it is missing",
        ),
    ];
    for (damage, says) in damages {
        let newer = beside(9);
        damage(&newer);
        let (found, damaged) = checkpoints.newest_whole().unwrap();
        assert_eq!(found.unwrap().state.step, 7);
        let told: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
        // The run that goes on writes that step anew.
        assert_eq!(write(9), newer);
        let (found, damaged) = checkpoints.newest_whole().unwrap();
        assert!(found.unwrap().path == newer && damaged.is_empty());
        assert_eq!(names(out.path()), ["step-9"]);
    }
    // Where none is whole it is the newest one's error, never a beginning.
    let newer = beside(9);
    for path in [&newer, &newer.with_file_name("step-7")] {
        fs::write(path.join("state.json"), "{").unwrap();
    }
    let error = checkpoints.newest_whole().unwrap_err().to_string();
    assert!(error.contains("step-9/state.json: not a state"), "{error}");
}

/// What a crash left of a removal is no checkpoint, and goes with the next removal.
#[test]
fn what_is_being_removed_is_not_found() {
    let out = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::of(out.path());
    let path = checkpoints.write(&state(), |_| Ok(())).unwrap();
    fs::rename(&path, gone(&path)).unwrap();
    assert!(checkpoints.newest().unwrap().is_none());
    checkpoints.write(&state(), |_| Ok(())).unwrap();
    checkpoints.clear().unwrap();
    checkpoints.clear().unwrap();
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn a_state_is_of_this_format_and_of_its_folder() {
    check(|_| {}, None);
    check(|s| s.version = 99, Some("format 99"));
    check(|s| s.step = 1_000_000, Some("of step 1000000"));
    check(|s| s.train_seconds = 1e300, Some("seconds of training"));
    check(|s| s.seconds = -1.0, Some("-1 seconds"));
}
