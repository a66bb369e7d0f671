//! What the cache can do alone, and how it mends itself.

use std::fs;
use std::time::{Duration, Instant};

use hone_hub::HubError;

use crate::server::{Reply, Server, nobody};
use crate::world::{COMMIT, ID, World, answer, assert_whole, tiny};

fn server() -> Server {
    Server::start(|request| answer(&tiny(), request))
}

#[test]
fn a_cached_model_asks_no_network() {
    let server = server();
    let mut world = World::new();
    let fresh = world.tiny(&server.address).unwrap();
    let before = server.requests().len();
    let again = world.tiny(&server.address).unwrap();
    assert_eq!(server.requests().len(), before);
    assert!(again.from_cache);
    assert_whole(&again, &tiny());
    assert_eq!(again.source, fresh.source);
    assert_eq!(again.licence, fresh.licence);

    // Nor does it need one, or even a sensible endpoint.
    assert!(world.tiny(&nobody()).unwrap().from_cache);
    assert!(world.tiny("nonsense").unwrap().from_cache);
    assert!(world.events.is_empty());
    // The commit is a name for it too; another revision is another model.
    let hub = world.hub(&nobody());
    assert!(hub.cached(ID, COMMIT).unwrap().is_some());
    assert!(hub.cached(ID, "v2").unwrap().is_none());
    assert!(hub.cached("owner/other", "main").unwrap().is_none());
}

#[test]
fn offline_without_cache_says_what_to_place_where() {
    let mut world = World::new();
    let error = world.tiny(&nobody()).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    let line = error.to_string();
    let folder = world.cache.path().join("models/owner--tiny/placed@main");
    for word in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        folder.to_str().unwrap(),
    ] {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert!(!line.contains('\n'));

    // Placing them there helps.
    fs::create_dir_all(&folder).unwrap();
    for (name, content) in tiny() {
        if name == "model.safetensors" {
            assert!(world.tiny(&nobody()).is_err());
        }
        if name != "README.md" {
            fs::write(folder.join(name), content).unwrap();
        }
    }
    let model = world.tiny(&nobody()).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(model.source, "files placed by hand");
    assert!(world.notes().contains("placed"), "{}", world.notes());
    world.tiny(&nobody()).unwrap();
    assert!(world.events.is_empty());

    // Replacing one is somebody's wish, not damage: it is said, and nothing is deleted.
    fs::write(folder.join("vocab.txt"), "[PAD]\n").unwrap();
    let model = world.tiny(&nobody()).unwrap();
    assert!(world.notes().contains("vocab.txt"), "{}", world.notes());
    assert_eq!(
        fs::read(model.folder.join("vocab.txt")).unwrap(),
        b"[PAD]\n"
    );
}

#[test]
fn an_endpoint_that_is_silent_counts_as_offline() {
    let server = Server::start(|_| Reply {
        silent: true,
        ..Reply::default()
    });
    let mut world = World::new();
    let hub = world
        .hub(&server.address)
        .with_answer_within(Duration::from_millis(100));
    let start = Instant::now();
    let error = world.fetch(&hub, ID).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_millis(1500));
}

#[test]
fn damaged_files_are_fetched_again() {
    let server = server();
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    let path = model.folder.join("model.safetensors");

    // Same length, one bit off.
    let mut content = fs::read(&path).unwrap();
    content[1234] ^= 4;
    fs::write(&path, &content).unwrap();
    let before = server.requests().len();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    assert!(!model.from_cache);
    let notes = world.notes();
    assert!(
        notes.contains("model.safetensors") && notes.contains("SHA-256 differs"),
        "{notes}"
    );
    // Only the damaged file, and at the commit it was of.
    let requests = server.requests().split_off(before);
    let fetched = |end: &str| {
        requests
            .iter()
            .any(|r| r.method == "GET" && r.path.ends_with(end))
    };
    assert!(fetched("/model.safetensors") && !fetched("/config.json"));
    assert!(requests.iter().all(|request| request.path.contains(COMMIT)));

    // Cut short, and gone.
    fs::write(&path, &content[..1000]).unwrap();
    fs::remove_file(model.folder.join("vocab.txt")).unwrap();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    let notes = world.notes();
    assert!(notes.contains("1000 bytes instead of 300000"), "{notes}");
    assert!(
        notes.contains("vocab.txt") && notes.contains("missing"),
        "{notes}"
    );
    assert!(world.tiny(&nobody()).unwrap().from_cache);
}

#[test]
fn damaged_and_offline_is_an_error_until_there_is_a_network() {
    let server = server();
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    fs::write(model.folder.join("model.safetensors"), "x").unwrap();
    for _ in 0..2 {
        assert!(matches!(
            world.tiny(&nobody()),
            Err(HubError::Offline { .. })
        ));
        assert!(
            world.notes().contains("model.safetensors"),
            "{}",
            world.notes()
        );
        // Nothing better came, so what there is stays.
        let left = fs::read_to_string(model.folder.join("model.safetensors"));
        assert_eq!(left.unwrap(), "x");
    }
    assert_whole(&world.tiny(&server.address).unwrap(), &tiny());
}

#[test]
fn a_folder_without_manifest_is_incomplete() {
    let server = server();
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    for text in [None, Some(""), Some("{}"), Some("{\"format\": 1")] {
        let manifest = model.folder.join("hone-hub.json");
        match text {
            Some(text) => fs::write(&manifest, text).unwrap(),
            None => fs::remove_file(&manifest).unwrap(),
        }
        assert!(matches!(
            world.tiny(&nobody()),
            Err(HubError::Offline { .. })
        ));
        let before = server.requests().len();
        assert_whole(&world.tiny(&server.address).unwrap(), &tiny());
        // The weights were there and had the right hash, so they were not fetched again.
        let requests = server.requests().split_off(before);
        assert!(
            !requests
                .iter()
                .any(|r| r.method == "GET" && r.path.ends_with("/model.safetensors"))
        );
    }
}

#[test]
fn a_manifest_cannot_name_files_elsewhere() {
    let server = server();
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    let victim = world.cache.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let manifest = model.folder.join("hone-hub.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("\"vocab.txt\"", "\"../../../victim\""),
    )
    .unwrap();
    assert_whole(&world.tiny(&server.address).unwrap(), &tiny());
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
}
