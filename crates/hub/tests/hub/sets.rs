//! Data sets by name: which files come, from which revision, and what is kept of them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use hone_hub::{DataSet, HubError};

use crate::server::{Reply, Request, Server, nobody};
use crate::world::{COMMIT, CONVERTED, Repository, SET, World, content, parts, ranged, with_facts};

const IMDB: &[&str] = &[
    ".gitattributes",
    "README.md",
    "plain_text/test-00000-of-00001.parquet",
    "plain_text/train-00000-of-00001.parquet",
    "plain_text/unsupervised-00000-of-00001.parquet",
];
const GLUE: &[&str] = &[
    "README.md",
    "mrpc/train-00000-of-00001.parquet",
    "sst2/extra.csv",
    "sst2/train-00000-of-00001.parquet",
];
const SCRIPTED: &[&str] = &["README.md", "set.py", "texts.zip"];

fn serve(repository: Repository) -> Server {
    Server::start(move |request| repository.answer(request))
}

/// The files below the set's folder, each as it was served; nothing else lies there.
#[track_caller]
fn assert_whole(set: &DataSet, files: &[&str]) {
    let named: Vec<&str> = set.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(named, files);
    let root = set
        .folder
        .ancestors()
        .find(|f| f.ends_with("files"))
        .unwrap();
    for file in files {
        assert!(
            fs::read(root.join(file)).unwrap() == content(file),
            "{file}"
        );
    }
    assert_eq!(count(root), files.len());
}

/// Files in a folder and below it.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}

#[test]
fn the_files_of_one_configuration_come() {
    let converted: &[&str] = &[
        "a/test/0000.parquet",
        "a/train/0000.parquet",
        "b/train/0000.parquet",
    ];
    let check =
        |repository: Repository, name: &str, folder: &str, files: &[&str], left: &[&str]| {
            let server = serve(repository);
            let mut world = World::new();
            let set = world.set(&world.hub(&server.address), name).unwrap();
            assert_whole(&set, files);
            assert_eq!(set.left, left, "{name}");
            let version = match files[0].ends_with("0000.parquet") {
                true => CONVERTED,
                false => COMMIT,
            };
            let shelf = world
                .cache
                .path()
                .join("datasets")
                .join(name.replace('/', "--"));
            assert_eq!(set.folder, shelf.join(version).join("files").join(folder));
            assert_eq!(set.commit.as_deref(), Some(version));
            let source = format!("{}/datasets/{SET} @ {version}", server.address);
            assert!(set.source.starts_with(&source), "{}", set.source);
            assert_eq!(set.licence.as_deref(), Some("mit"));
            assert!(!set.from_cache);
            // No program is fetched, and every file is of the commit that the list named.
            let asked = server.requests();
            let of_files = asked
                .iter()
                .filter(|request| !request.path.starts_with("/api/"));
            for request in of_files {
                assert!(request.path.contains(version) && !request.path.ends_with(".py"));
            }
            (world.notes(), set.source)
        };
    let own = |main: &[&str]| Repository::new(main, None);
    let left = [IMDB[0], IMDB[1], IMDB[4]];
    check(own(IMDB), "owner/set", "plain_text", &IMDB[2..4], &left);
    check(
        own(IMDB),
        "owner/set/plain_text",
        "plain_text",
        &IMDB[2..4],
        &IMDB[4..],
    );
    check(own(GLUE), "owner/set/sst2", "sst2", &GLUE[3..], &GLUE[2..3]);
    let flat = ["a/train.csv", "labels.txt", "train.csv"];
    check(own(&flat), "owner/set", "", &flat[1..], &flat[..1]);
    // What the hub made of a set that has a script, or whose configurations are no folders.
    let scripted = Repository::new(SCRIPTED, Some(&converted[..2]));
    let (notes, source) = check(scripted, "owner/set", "a", &converted[..2], &[]);
    assert!(notes.contains("the hub's own conversion"), "{notes}");
    assert!(source.contains("refs/convert/parquet"), "{source}");
    let both = Repository::new(IMDB, Some(converted));
    check(both, "owner/set/b", "b", &converted[2..], &[]);
}

/// The one line that is said of a set, at a revision.
#[track_caller]
fn refused(server: &Server, name: &str, revision: &str, words: &[&str]) {
    let world = World::new();
    let hub = world.hub(&server.address);
    let error = hub.fetch_data_set(name, revision, &crate::world::role, &mut |_| {});
    let line = error.unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    let shelf = world.cache.path().join("datasets");
    let sealed = fs::read_dir(shelf).is_ok_and(|mut all| {
        all.any(|entry| {
            entry
                .unwrap()
                .path()
                .join(COMMIT)
                .join("hone-hub.json")
                .exists()
        })
    });
    assert!(!sealed);
}

#[test]
fn what_cannot_be_had_is_one_line() {
    let none: Option<&[&str]> = None;
    let partial: Option<&[&str]> = Some(&["a/partial-train/0000.parquet", "a/test/0000.parquet"]);
    let several: Option<&[&str]> = Some(&["a/train/0000.parquet", "b/train/0000.parquet"]);
    for (main, conversion, name, revision, words) in [
        (
            GLUE,
            none,
            SET,
            "main",
            &["several configurations: mrpc, sst2; name one, as owner/set/mrpc"][..],
        ),
        (
            SCRIPTED,
            several,
            SET,
            "main",
            &["several configurations: a, b"],
        ),
        (
            GLUE,
            several,
            "owner/set/sst3",
            "main",
            &["'owner/set' has no configuration 'sst3'; it has a, b, mrpc, sst2"],
        ),
        (
            GLUE,
            several,
            "owner/set/a",
            COMMIT,
            &["no configuration 'a'; it has mrpc, sst2"],
        ),
        (
            SCRIPTED,
            none,
            SET,
            "main",
            &[
                "no train, valid or test file",
                "(README.md, set.py, texts.zip)",
                "no conversion",
            ],
        ),
        (
            SCRIPTED,
            several,
            SET,
            COMMIT,
            &["no train, valid or test file", COMMIT],
        ),
        (
            SCRIPTED,
            partial,
            SET,
            "main",
            &["only the beginning of train"],
        ),
        (GLUE, none, SET, "v2", &["'owner/set' has no revision 'v2'"]),
        (
            GLUE,
            none,
            "owner/other",
            "main",
            &["has no data set 'owner/other'", "misspelt"],
        ),
    ] {
        refused(
            &serve(Repository::new(main, conversion)),
            name,
            revision,
            words,
        );
    }
    let always = |reply: Reply| Server::start(move |_| reply.clone());
    let reply = Reply::status(401).with("X-Error-Code", "RepoNotFound");
    refused(
        &always(reply),
        SET,
        "main",
        &["without a token", "misspelt", "set HF_TOKEN"],
    );
    let reply = Reply {
        status: 200,
        body: b"<html>".to_vec(),
        ..Reply::default()
    };
    refused(&always(reply), SET, "main", &["is no list of files"]);
    // The list of a gated set is open, its files are not.
    let repository = Repository::new(IMDB, None);
    let gated = Server::start(move |request| match request.path.starts_with("/api/") {
        true => repository.answer(request),
        false => Reply::status(401).with("X-Error-Code", "GatedRepo"),
    });
    let page = format!(
        "accept its terms at {}/datasets/owner/set, then set HF_TOKEN",
        gated.address
    );
    refused(&gated, SET, "main", &["is gated without a token", &page]);
    let server = Server::start(|_| Reply::status(200));
    for name in ["set", "owner/../set", "a/b/c/d"] {
        refused(&server, name, "main", &["is not a data set id"]);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_cached_set_needs_no_network_and_is_mended() {
    let scripted = Repository::new(
        SCRIPTED,
        Some(&["a/train/0000.parquet", "a/test/0000.parquet"]),
    );
    for (repository, commit) in [(Repository::new(IMDB, None), COMMIT), (scripted, CONVERTED)] {
        let server = serve(repository);
        let mut world = World::new();
        let hub = world.hub(&server.address);
        let fresh = world.set(&hub, SET).unwrap();
        let asked = server.requests().len();
        let away = world.hub(&nobody());
        let again = world.set(&away, SET).unwrap();
        let same = DataSet {
            from_cache: true,
            ..fresh.clone()
        };
        assert_eq!(again, same);
        let by_commit = away.fetch_data_set(SET, commit, &crate::world::role, &mut |_| {});
        assert_eq!(by_commit.unwrap(), same);
        assert_eq!(server.requests().len(), asked);
        // Another configuration and another revision are other sets.
        for (name, revision) in [("owner/set/x", "main"), (SET, "v2")] {
            let other = away.fetch_data_set(name, revision, &crate::world::role, &mut |_| {});
            let error = other.unwrap_err();
            assert!(matches!(error, HubError::OfflineDataSet { .. }), "{error}");
            assert!(
                error
                    .to_string()
                    .contains("name a folder that holds its files")
            );
        }
        // One bit off: that file comes again, at the commit that it was of, and nothing else does.
        let root = fresh
            .folder
            .ancestors()
            .find(|f| f.ends_with("files"))
            .unwrap();
        let path = root.join(&fresh.files[0].name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[17] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(world.set(&away, SET).is_err());
        let before = server.requests().len();
        let mended = world.set(&hub, SET).unwrap();
        assert!(
            world.notes().contains("SHA-256 differs"),
            "{}",
            world.notes()
        );
        assert_eq!(
            DataSet {
                from_cache: false,
                ..mended
            },
            fresh
        );
        let later = server.requests().split_off(before);
        let gets: Vec<&Request> = later.iter().filter(|r| r.method == "GET").collect();
        assert_eq!(gets.len(), 2, "{gets:?}");
        assert!(gets[0].path.ends_with(&format!("/revision/{commit}")));
        assert!(
            gets[1]
                .path
                .ends_with(&format!("{commit}/{}", fresh.files[0].name))
        );
    }
}

#[test]
fn a_broken_download_goes_on_and_a_wrong_one_is_refused() {
    let path = IMDB[3];
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut reply = Repository::new(IMDB, None).answer(request);
        if request.method == "GET"
            && request.path.ends_with(path)
            && broken.fetch_add(1, Ordering::SeqCst) == 0
        {
            reply.cut = Some(1000);
        }
        reply
    });
    let mut world = World::new();
    let set = world.set(&world.hub(&server.address), SET).unwrap();
    assert_whole(&set, &IMDB[2..4]);
    let asked = server.requests();
    let ranges: Vec<_> = asked
        .iter()
        .filter(|request| request.method == "GET" && request.path.ends_with(path))
        .map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=1000-")]);

    let server = Server::start(move |request| match request.path.ends_with(path) {
        true => with_facts(path, &content(path), ranged(&[7; 4000], request)),
        false => Repository::new(IMDB, None).answer(request),
    });
    let mut world = World::new();
    let error = world.set(&world.hub(&server.address), SET).unwrap_err();
    assert!(
        matches!(&error, HubError::HashMismatch { file, .. } if file == path),
        "{error}"
    );
    let place = world.cache.path().join("datasets/owner--set").join(COMMIT);
    assert!(!place.join("hone-hub.json").exists());
    assert_eq!(parts(&place.join("files/plain_text")), 0);
}

#[test]
fn the_token_is_for_the_endpoint_alone() {
    let storage = Server::start(|request| ranged(&content(&request.path[1..]), request));
    let target = storage.address.clone();
    let hub = Server::start(move |request| {
        let reply = Repository::new(IMDB, None).answer(request);
        match request.path.rsplit_once(COMMIT) {
            Some((_, path)) if path.ends_with(".parquet") => Reply {
                status: 302,
                body: Vec::new(),
                ..reply
            }
            .with("Location", format!("{target}{path}")),
            _ => reply,
        }
    });
    let mut world = World::new();
    let with_token = world.hub(&hub.address).with_token("hf_secret");
    assert_whole(&world.set(&with_token, SET).unwrap(), &IMDB[2..4]);
    let token = |request: &Request| request.header("authorization").map(str::to_owned);
    assert!(
        hub.requests()
            .iter()
            .all(|r| token(r).as_deref() == Some("Bearer hf_secret"))
    );
    assert_eq!(storage.requests().len(), 2);
    assert!(storage.requests().iter().all(|r| token(r).is_none()));
}

#[test]
fn a_manifest_cannot_lead_elsewhere_and_old_files_go() {
    let server = serve(Repository::new(IMDB, None));
    let mut world = World::new();
    let hub = world.hub(&server.address);
    let set = world.set(&hub, SET).unwrap();
    let manifest = world
        .cache
        .path()
        .join("datasets/owner--set")
        .join(COMMIT)
        .join("hone-hub.json");
    let text = fs::read_to_string(&manifest).unwrap();
    for (from, to) in [
        ("\"base\": \"plain_text\"", "\"base\": \"../../../..\""),
        (IMDB[3], "../../../../victim"),
    ] {
        assert!(text.contains(from), "{text}");
        fs::write(&manifest, text.replace(from, to)).unwrap();
        fs::write(set.folder.join("train.csv"), "of an earlier state").unwrap();
        let again = world.set(&hub, SET).unwrap();
        assert_eq!(again.folder, set.folder);
        assert_whole(&again, &IMDB[2..4]);
    }
}
