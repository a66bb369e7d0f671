//! What `hone` prints for somebody to go on with, and where it prints it.

use crate::world::{Said, World, fixture, said};
use std::fs::{self, File};

/// Runs a printed command as a shell takes it.
#[cfg(unix)]
fn in_a_shell(world: &World, command: &str) -> Said {
    let like = world.as_typed(&[]);
    let mut shell = std::process::Command::new("sh");
    let rest = command.strip_prefix("hone").unwrap();
    shell.args(["-c", &format!("\"$0\"{rest}")]);
    shell
        .arg(like.get_program())
        .current_dir(like.get_current_dir().unwrap());
    for (key, value) in like.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    said(shell.output().unwrap())
}

/// Names with spaces, and columns, are in a printed command as a shell takes them.
#[cfg(unix)]
#[test]
fn printed_commands_can_be_copied() {
    let world = World::new();
    let text = fs::read_to_string(fixture().join("train.csv")).unwrap();
    let (_, rows) = text.split_once('\n').unwrap();
    fs::create_dir(world.path("my texts")).unwrap();
    world.write("my texts/all.csv", format!("premise,verdict\n{rows}"));
    let flags = "--text-column premise --label-column verdict --valid none --max-steps 2 --recipe standard --threads 1";
    let train = format!(
        "hone train --model '{}' --data 'my texts/all.csv' --out 'my run' {flags}",
        fixture().display()
    );
    let told = in_a_shell(&world, &train).ok().err;
    let printed = |verb: &str| {
        let at = told.find(&format!("hone {verb} ")).unwrap();
        told[at..].lines().next().unwrap().to_owned()
    };
    let answer = in_a_shell(&world, &printed("predict")).ok().out;
    assert!(answer.contains("Not bad at all"), "{answer}");
    let found = in_a_shell(
        &world,
        &format!("{} --folds 2 --out cv", printed("crossval")),
    );
    found.ok();
    let steps = world.json("cv/crossval.json").to_string();
    assert!(steps.contains("\"steps\":2"), "{steps}");
}

/// Progress and tables that nobody can read are no reason to fail.
#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_is_no_failure() {
    let world = World::new();
    world.train(&["--max-steps", "2"]).ok();
    let data = fixture().join("train.csv");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut eval = world.command(&["eval", "--json", "--data", data.to_str().unwrap()]);
    let found = said(eval.stderr(full).output().unwrap()).ok();
    assert!(found.out.contains("accuracy"), "{}", found.out);
    // Results that are lost are a failure, which says where.
    let predict = world.command(&["predict", "a film"]);
    for mut command in [eval, predict] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        command.stdout(full).stderr(std::process::Stdio::piped());
        said(command.output().unwrap()).fails(&["standard output", "No space left"]);
    }
}
