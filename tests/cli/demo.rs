//! `hone train` without data is a demonstration; asked for anything in particular it says what is missing.

use crate::world::World;

#[test]
fn a_wish_without_data_is_an_error_not_a_demonstration() {
    let world = World::new();
    world
        .hone(&["train", "--model", "minilm"])
        .fails(&["--data is missing", "--model"]);
    world
        .hone(&["train", "--epochs", "3"])
        .fails(&["--data is missing", "--epochs"]);
    assert!(!world.path("runs").exists());
}

#[test]
fn offline_it_says_what_to_place_where() {
    let world = World::new();
    // A hub that does not answer and no pip: nothing can be fetched.
    let told = world.command(&["train"]).env("PATH", "").output().unwrap();
    let told = crate::world::said(told).fails(&["model.safetensors", "tokenizer.json"]);
    assert!(told.out.is_empty());
}
