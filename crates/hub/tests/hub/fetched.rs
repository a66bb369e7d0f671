//! Fetches that go well.

use hone_hub::Event;

use crate::server::{Reply, Server};
use crate::world::{COMMIT, ID, World, answer, assert_whole, file_of, ranged, tiny, with_facts};

#[test]
fn plain() {
    let server = Server::start(|request| answer(&tiny(), request));
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    assert!(!model.from_cache);
    assert_eq!(model.source, format!("{}/{ID} @ {COMMIT}", server.address));
    assert_eq!(model.licence.as_deref(), Some("mit"));
    assert_eq!(
        model.folder,
        world.cache.path().join("models/owner--tiny").join(COMMIT)
    );
    assert!(model.folder.join("hone-hub.json").is_file());

    // All files are of the commit that the first answer named.
    let (first, rest) = server
        .requests()
        .split_first()
        .map(|(a, b)| (a.clone(), b.to_vec()))
        .unwrap();
    assert_eq!(
        (first.method.as_str(), first.path.as_str()),
        ("HEAD", "/owner/tiny/resolve/main/config.json")
    );
    assert!(rest.iter().all(|request| request.path.contains(COMMIT)));
    assert!(
        rest.iter()
            .all(|request| request.header("authorization").is_none())
    );

    let weights: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Started { file, bytes } if file == "model.safetensors" => Some((0, *bytes)),
            Event::Progress { file, done, total } if file == "model.safetensors" => {
                Some((*done, *total))
            }
            _ => None,
        })
        .collect();
    assert_eq!(weights.first(), Some(&(0, Some(300_000))));
    assert_eq!(weights.last(), Some(&(300_000, Some(300_000))));
    assert!(weights.is_sorted());
}

#[test]
fn redirect_elsewhere_without_the_token() {
    let storage = Server::start(|request| {
        let files = tiny();
        let name = request
            .path
            .trim_start_matches("/signed/")
            .split('?')
            .next()
            .unwrap();
        // What a storage says of itself must not count.
        ranged(&files[name], request)
            .with("X-Linked-Etag", format!("\"{}\"", "0".repeat(64)))
            .with("X-Repo-Commit", "f".repeat(40))
    });
    let target = storage.address.clone();
    let hub = Server::start(move |request| {
        let files = tiny();
        let name = file_of(request).unwrap();
        let Some(content) = files.get(&name) else {
            return Reply::status(404);
        };
        // One file whose hash the hub tells, and one whose hash nobody may tell.
        if !["model.safetensors", "vocab.txt"].contains(&name.as_str()) {
            return with_facts(&name, content, ranged(content, request));
        }
        let reply =
            Reply::status(302).with("Location", format!("{target}/signed/{name}?signature=x"));
        with_facts(&name, content, reply)
    });
    let mut world = World::new();
    let with_token = world.hub(&hub.address).with_token("hf_secret");
    let model = world.fetch(&with_token, ID).unwrap();
    assert_whole(&model, &tiny());

    let home = hub.requests();
    assert!(
        home.iter()
            .all(|request| request.header("authorization") == Some("Bearer hf_secret"))
    );
    let away = storage.requests();
    assert_eq!(away.len(), 2);
    for request in away {
        assert_eq!(request.method, "GET");
        assert!(!request.path.contains("hf_secret"));
        assert!(
            !request
                .headers
                .values()
                .any(|value| value.contains("hf_secret"))
        );
    }
}

#[test]
fn redirect_within_the_endpoint_keeps_the_token() {
    let hub = Server::start(|request| match request.path.strip_prefix("/old/name/") {
        Some(rest) => Reply::status(307).with("Location", format!("/{ID}/{rest}")),
        None if request.header("authorization") == Some("Bearer hf_secret") => {
            answer(&tiny(), request)
        }
        None => Reply::status(401),
    });
    let mut world = World::new();
    let with_token = world.hub(&hub.address).with_token("hf_secret");
    let model = world.fetch(&with_token, "old/name").unwrap();
    assert_whole(&model, &tiny());
    assert!(model.folder.ends_with(COMMIT));
}

#[test]
fn sharded_weights() {
    let mut files = tiny();
    let weights = files.remove("model.safetensors").unwrap();
    let (first, second) = weights.split_at(100_000);
    files.insert("model-00001-of-00002.safetensors".into(), first.into());
    files.insert("model-00002-of-00002.safetensors".into(), second.into());
    let index = r#"{"metadata": {"total_size": 300000}, "weight_map": {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors",
        "c": "model-00001-of-00002.safetensors"}}"#;
    files.insert("model.safetensors.index.json".into(), index.into());
    let served = files.clone();
    let server = Server::start(move |request| answer(&served, request));
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &files);
}

#[test]
fn mirror_that_tells_neither_commit_nor_hash() {
    let server = Server::start(|request| {
        let files = tiny();
        match file_of(request).and_then(|name| files.get(&name).cloned()) {
            Some(content) => ranged(&content, request),
            None => Reply::status(404),
        }
    });
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    assert!(model.folder.ends_with("owner--tiny/main"));
    assert!(model.source.ends_with("@ main"));
}

#[test]
fn two_fetches_at_once_share_one_download() {
    let server = Server::start(|request| answer(&tiny(), request));
    let world = World::new();
    let hub = world.hub(&server.address);
    let fetch = || hub.fetch(ID, "main", &mut |_| {}).unwrap();
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(fetch);
        (fetch(), other.join().unwrap())
    });
    assert_whole(&one, &tiny());
    assert_eq!(one.files, two.files);
    let gets = server
        .requests()
        .iter()
        .filter(|request| request.method == "GET" && request.path.ends_with("model.safetensors"))
        .count();
    assert_eq!(gets, 1);
}
