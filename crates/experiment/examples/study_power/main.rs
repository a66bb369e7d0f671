//! How often `hone study` claims what is not there, and how often it finds what is: studies drawn from worlds whose
//! truth is known (see `world.rs`).
//!
//!     cargo run --release -p hone-experiment --example study_power -- [STUDIES]

mod world;

use world::{World, upper_bound};

fn row([name, rest @ ..]: [String; 7]) {
    let rest: Vec<String> = rest.iter().map(|c| format!("{c:>10}")).collect();
    println!("{name:<54}{}", rest.concat());
}

fn main() {
    let studies = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(2000);
    let usual = World {
        rows: 2000,
        folds: 5,
        pairs: 10,
        arms: 1,
        accuracy: 0.85,
        effect: 0.0,
        seed_sd: 0.007,
        pool_sd: 0.0,
        row_sd: 0.0,
        noise_sd: 0.4,
    };
    row([
        format!("{studies} studies each"),
        "differ".into(),
        "claims".into(),
        "at most".into(),
        "helps".into(),
        "covered".into(),
        "pairs".into(),
    ]);
    for (name, world) in [
        ("A/A, 2000 texts", usual),
        (
            "A/A, 500 texts",
            World {
                rows: 500,
                seed_sd: 0.01,
                ..usual
            },
        ),
        (
            "A/A, 100 texts",
            World {
                rows: 100,
                seed_sd: 0.02,
                ..usual
            },
        ),
        (
            "A/A, 2000 texts, luck of the seed alone",
            World {
                noise_sd: 0.02,
                seed_sd: 0.01,
                ..usual
            },
        ),
        ("A/A, 2000 texts, 4 looks", World { pairs: 20, ..usual }),
        ("A/A, 2000 texts, 8 arms", World { arms: 8, ..usual }),
        (
            "other rows right, none gained, 2000 texts",
            World {
                row_sd: 0.5,
                ..usual
            },
        ),
        (
            "other rows right, none gained, 500 texts, 4 looks",
            World {
                row_sd: 0.5,
                rows: 500,
                pairs: 20,
                ..usual
            },
        ),
        (
            "as it falls for these training texts, 0.5 points",
            World {
                pool_sd: 0.005,
                ..usual
            },
        ),
        (
            "2 points, 2000 texts",
            World {
                effect: 0.02,
                row_sd: 0.2,
                ..usual
            },
        ),
        (
            "2 points, 2500 texts, steadier runs (0.5 points)",
            World {
                effect: 0.02,
                row_sd: 0.2,
                rows: 2500,
                seed_sd: 0.005,
                ..usual
            },
        ),
        (
            "2 points, 2000 texts, 8 arms",
            World {
                effect: 0.02,
                row_sd: 0.2,
                arms: 8,
                ..usual
            },
        ),
        (
            "2 points, 1000 texts, 20 pairs",
            World {
                effect: 0.02,
                row_sd: 0.2,
                rows: 1000,
                pairs: 20,
                ..usual
            },
        ),
        (
            "2 points, 500 texts",
            World {
                effect: 0.02,
                row_sd: 0.2,
                rows: 500,
                seed_sd: 0.01,
                ..usual
            },
        ),
        (
            "5 points, 500 texts",
            World {
                effect: 0.05,
                row_sd: 0.2,
                rows: 500,
                seed_sd: 0.01,
                ..usual
            },
        ),
    ] {
        let t = world.tally(studies, 1);
        let share = |n: usize, of: usize| format!("{:.1} %", 100.0 * n as f64 / of as f64);
        row([
            name.to_owned(),
            format!("{:.1} %", 100.0 * t.differ),
            share(t.claims, t.studies),
            format!("{:.1} %", 100.0 * upper_bound(t.claims, t.studies)),
            share(t.arms_help, t.arms),
            share(t.covered, t.arms),
            format!("{:.1}", t.pairs as f64 / t.arms as f64),
        ]);
    }
}
