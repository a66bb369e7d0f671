//! False wins and power of `hone study`, by studies whose truth is known. `examples/study_power` is the long version.

#[path = "../examples/study_power/world.rs"]
mod world;

use world::{Tally, World, upper_bound};

const USUAL: World = World {
    rows: 500,
    folds: 5,
    pairs: 10,
    arms: 1,
    accuracy: 0.85,
    effect: 0.0,
    seed_sd: 0.02,
    pool_sd: 0.0,
    row_sd: 0.0,
    noise_sd: 0.4,
};

fn tally(world: World, studies: usize) -> Tally {
    world.tally(studies, 1)
}

/// Claims of any kind, for the level that all looks and arms together have.
#[track_caller]
fn rare(t: &Tally) {
    let (rate, bound) = (
        t.claims as f64 / t.studies as f64,
        upper_bound(t.claims, t.studies),
    );
    assert!(rate <= 0.05, "{rate} of {}", t.studies);
    // A rate of 5 % exactly would often have a bound above 5 %; one of 6.5 % would hardly have this one.
    assert!(bound <= 0.06, "{bound}");
}

#[test]
fn the_same_recipe_with_another_seed_hardly_ever_wins() {
    let t = tally(USUAL, 2000);
    rare(&t);
    // A claim of help is half of them or so, so the bound holds with room.
    assert!(upper_bound(t.helps, t.studies) <= 0.05);
    // They do differ, as reruns do.
    assert!((0.08..0.13).contains(&t.differ), "{}", t.differ);
}

#[test]
fn peeking_and_many_arms_make_no_wins() {
    rare(&tally(
        World {
            pairs: 20,
            rows: 200,
            ..USUAL
        },
        1000,
    ));
    rare(&tally(
        World {
            arms: 6,
            rows: 200,
            ..USUAL
        },
        800,
    ));
}

#[test]
fn a_practice_that_trades_rows_for_rows_is_no_win() {
    let t = tally(
        World {
            row_sd: 0.8,
            seed_sd: 0.0,
            noise_sd: 0.1,
            pairs: 20,
            ..USUAL
        },
        800,
    );
    rare(&t);
    let covered = t.covered as f64 / t.arms as f64;
    assert!(covered >= 0.975, "{covered}");
}

#[test]
fn two_points_are_found_four_times_in_five() {
    let t = tally(
        World {
            rows: 2000,
            effect: 0.02,
            row_sd: 0.2,
            seed_sd: 0.006,
            ..USUAL
        },
        300,
    );
    let power = t.arms_help as f64 / t.arms as f64;
    assert!(power >= 0.8, "{power}");
    let covered = t.covered as f64 / t.arms as f64;
    assert!(covered >= 0.96, "{covered}");
}

#[test]
fn the_bound_is_clopper_and_pearsons() {
    // scipy.stats.beta.ppf(0.95, seen + 1, of − seen)
    for (seen, of, want) in [
        (0, 200, 0.014_867_039),
        (4, 200, 0.045_180_415),
        (38, 1000, 0.049_512_870),
    ] {
        let got = upper_bound(seen, of);
        assert!((got - want).abs() < 1e-6 * want, "{seen}: {got}");
    }
}
