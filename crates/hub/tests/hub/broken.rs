//! Connections that break, servers that lie.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hone_hub::HubError;

use crate::server::{Reply, Request, Server};
use crate::world::{
    COMMIT, Files, ID, World, answer, assert_whole, parts, ranged, tiny, with_facts,
};

fn asks_for_weights(request: &Request) -> bool {
    request.method == "GET" && request.path.ends_with("/model.safetensors")
}

/// A server that breaks the connection `times` times, each time after 100 kB of weights.
fn breaking(times: usize) -> Server {
    let broken = AtomicUsize::new(0);
    Server::start(move |request| {
        let mut reply = answer(&tiny(), request);
        if asks_for_weights(request) && broken.fetch_add(1, Ordering::SeqCst) < times {
            reply.cut = Some(100_000);
        }
        reply
    })
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    let requests = server.requests();
    let weights = requests.iter().filter(|request| asks_for_weights(request));
    weights
        .map(|request| request.header("range").map(str::to_owned))
        .collect()
}

#[test]
fn goes_on_where_it_broke() {
    let server = breaking(2);
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(
        ranges(&server),
        [
            None,
            Some("bytes=100000-".into()),
            Some("bytes=200000-".into())
        ]
    );
    assert!(world.notes().contains("trying again"), "{}", world.notes());
}

#[test]
fn goes_on_where_it_fell_silent() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = answer(&tiny(), request);
        if asks_for_weights(request) && asked.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.cut = Some(100_000);
            reply.stall = true;
        }
        reply
    });
    let mut world = World::new();
    let hub = world
        .hub(&server.address)
        .with_quiet_limit(Duration::from_millis(100));
    let model = world.fetch(&hub, ID).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(ranges(&server), [None, Some("bytes=100000-".into())]);
    assert!(world.notes().contains("timeout"), "{}", world.notes());
}

#[test]
fn gives_up_after_three_retries_and_the_next_run_goes_on() {
    let server = Server::start(|request| {
        let mut reply = answer(&tiny(), request);
        if asks_for_weights(request) {
            let have = request.header("range").is_some();
            reply.cut = Some(if have { 0 } else { 1000 });
        }
        reply
    });
    let mut world = World::new();
    let error = world.tiny(&server.address).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::Interrupted {
                done: 1000,
                tries: 4,
                ..
            }
        ),
        "{error}"
    );
    let folder = world.cache.path().join("models/owner--tiny").join(COMMIT);
    assert_eq!(parts(&folder), 1);
    assert!(!folder.join("hone-hub.json").exists());

    let sound = breaking(0);
    let model = world.tiny(&sound.address).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(ranges(&sound), [Some("bytes=1000-".into())]);
}

#[test]
fn server_that_ignores_ranges() {
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let mut reply = answer(&tiny(), &plain);
        if asks_for_weights(request) && broken.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.cut = Some(100_000);
        }
        reply
    });
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(ranges(&server), [None, Some("bytes=100000-".into())]);
    assert!(world.notes().contains("starting over"), "{}", world.notes());
}

#[test]
fn range_that_begins_elsewhere() {
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = answer(&tiny(), request);
        if asks_for_weights(request) {
            match broken.fetch_add(1, Ordering::SeqCst) {
                0 => reply.cut = Some(100_000),
                1 => {
                    let content = &tiny()["model.safetensors"];
                    reply = Reply {
                        status: 206,
                        body: content[5..].to_vec(),
                        ..Reply::default()
                    };
                    reply = with_facts("model.safetensors", content, reply)
                        .with("Content-Range", "bytes 5-299999/300000");
                }
                _ => {}
            }
        }
        reply
    });
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
    assert_eq!(ranges(&server), [None, Some("bytes=100000-".into()), None]);
}

/// Serves `wrong` as the weights under the headers of the right ones.
fn lying(wrong: Vec<u8>) -> Server {
    Server::start(move |request| {
        let files: Files = tiny();
        if asks_for_weights(request) {
            let reply = ranged(&wrong, request);
            return with_facts("model.safetensors", &files["model.safetensors"], reply);
        }
        answer(&files, request)
    })
}

#[test]
fn wrong_hash() {
    let mut wrong = tiny()["model.safetensors"].clone();
    wrong[150_000] ^= 1;
    let server = lying(wrong);
    let mut world = World::new();
    let error = world.tiny(&server.address).unwrap_err();
    assert!(
        matches!(&error, HubError::HashMismatch { file, .. } if file == "model.safetensors"),
        "{error}"
    );
    let folder = world.cache.path().join("models/owner--tiny").join(COMMIT);
    assert_eq!(parts(&folder), 0);
    assert!(!folder.join("model.safetensors").exists());
    assert!(!folder.join("hone-hub.json").exists());
    // One clear error, not four tries.
    assert_eq!(ranges(&server).len(), 1);
}

#[test]
fn wrong_size() {
    let server = lying(tiny()["model.safetensors"][..1000].to_vec());
    let mut world = World::new();
    let error = world.tiny(&server.address).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::SizeMismatch {
                expected: 300_000,
                actual: 1000,
                ..
            }
        ),
        "{error}"
    );
    let folder = world.cache.path().join("models/owner--tiny").join(COMMIT);
    assert_eq!(parts(&folder), 0);
}

#[test]
fn part_of_another_version_is_not_gone_on_with() {
    // No commit and no hash: nothing tells whether the part is of the same version.
    let server = Server::start(|request| {
        let files = tiny();
        let name = request.path.rsplit('/').next().unwrap();
        files
            .get(name)
            .map_or(Reply::status(404), |content| ranged(content, request))
    });
    let mut world = World::new();
    let folder = world.cache.path().join("models/owner--tiny/main");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.safetensors.part"), [7; 1000]).unwrap();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
}

#[test]
fn busy_for_a_moment() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            return Reply::status(503);
        }
        answer(&tiny(), request)
    });
    let mut world = World::new();
    let model = world.tiny(&server.address).unwrap();
    assert_whole(&model, &tiny());
}
