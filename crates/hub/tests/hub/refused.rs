//! Refusals, each with its own words.

use hone_hub::HubError;

use crate::server::{Reply, Server};
use crate::world::{COMMIT, ID, World, answer, file_of, tiny};

/// The error's one line, for an endpoint that always answers this.
fn line(reply: Reply, token: Option<&str>) -> String {
    let server = Server::start(move |_| reply.clone());
    let mut world = World::new();
    let mut hub = world.hub(&server.address);
    if let Some(token) = token {
        hub = hub.with_token(token);
    }
    let line = world.fetch(&hub, ID).unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    assert!(!line.contains("hf_secret"), "{line}");
    // A refusal is final.
    assert_eq!(server.requests().len(), 1);
    line
}

fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
}

#[test]
fn not_found() {
    assert_says(&line(Reply::status(404), None), &["owner/tiny", "misspelt"]);
    let reply = Reply::status(404).with("X-Error-Code", "RevisionNotFound");
    assert_says(&line(reply, None), &["owner/tiny", "no revision 'main'"]);
    let reply = Reply::status(404).with("X-Error-Code", "EntryNotFound");
    assert_says(&line(reply, None), &["no config.json"]);
}

#[test]
fn not_allowed() {
    let words = ["without a token", "misspelt", "set HF_TOKEN"];
    assert_says(&line(Reply::status(401), None), &words);
    let gated = Reply::status(401).with("X-Error-Code", "GatedRepo");
    assert_says(
        &line(gated, None),
        &["gated", "accept its terms", "set HF_TOKEN"],
    );
    let words = ["gated", "accept its terms", "check the rights of HF_TOKEN"];
    assert_says(&line(Reply::status(403), Some("hf_secret")), &words);
    assert_says(&line(Reply::status(418), None), &["status 418"]);
}

#[test]
fn bad_tokens_never_leave() {
    let server = Server::start(|request| answer(&tiny(), request));
    let mut world = World::new();
    let hub = world.hub(&server.address).with_token("hf_secret\r\nX: y");
    let error = world.fetch(&hub, ID).unwrap_err();
    assert!(matches!(error, HubError::BadToken), "{error}");
    assert!(server.requests().is_empty());
}

/// The error for the made-up model without some files, or with other ones.
fn error_with(remove: &[&str], add: &[(&str, &str)]) -> HubError {
    let mut files = tiny();
    for name in remove {
        files.remove(*name);
    }
    for (name, content) in add {
        files.insert((*name).to_owned(), (*content).into());
    }
    let server = Server::start(move |request| answer(&files, request));
    World::new().tiny(&server.address).unwrap_err()
}

#[test]
fn files_that_a_model_needs() {
    let error = error_with(&["config.json"], &[]);
    assert!(matches!(error, HubError::MissingFile { .. }), "{error}");
    let error = error_with(&["tokenizer.json", "vocab.txt"], &[]);
    assert_says(&error.to_string(), &["no tokenizer.json and no vocab.txt"]);
    let error = error_with(&["model.safetensors"], &[("pytorch_model.bin", "x")]);
    assert_says(
        &error.to_string(),
        &[
            "pytorch_model.bin",
            "convert",
            "torch.load",
            "save_file({k: v.clone",
        ],
    );
    let error = error_with(&["model.safetensors"], &[]);
    assert!(matches!(error, HubError::NoWeights { .. }), "{error}");
}

#[test]
fn lists_of_shards_that_lead_elsewhere() {
    for shard in [
        "../../evil.safetensors",
        "/evil.safetensors",
        "evil.bin",
        "",
    ] {
        let index = format!(r#"{{"weight_map": {{"a": {shard:?}}}}}"#);
        let error = error_with(
            &["model.safetensors"],
            &[("model.safetensors.index.json", &index)],
        );
        assert!(matches!(error, HubError::BadIndex { .. }), "{error}");
    }
    for index in ["", "[]", "{}", r#"{"weight_map": {}}"#] {
        let error = error_with(
            &["model.safetensors"],
            &[("model.safetensors.index.json", index)],
        );
        assert!(matches!(error, HubError::BadIndex { .. }), "{error}");
    }
    let index = r#"{"weight_map": {"a": "gone.safetensors"}}"#;
    let error = error_with(
        &["model.safetensors"],
        &[("model.safetensors.index.json", index)],
    );
    assert_says(&error.to_string(), &["no gone.safetensors"]);
}

#[test]
fn endless_redirects_end() {
    let server = Server::start(|request| Reply::status(302).with("Location", request.path.clone()));
    let mut world = World::new();
    let error = world.tiny(&server.address).unwrap_err();
    assert!(matches!(error, HubError::BadRedirect { .. }), "{error}");
    assert!(server.requests().len() <= 10);
}

#[test]
fn names_and_endpoints_are_checked_before_anything_is_sent() {
    let server = Server::start(|_| Reply::status(200));
    let world = World::new();
    let hub = world.hub(&server.address);
    let mut ignore = |_| {};
    for name in ["nonsense", "a/../b", "a/b?c", ""] {
        assert!(hub.fetch(name, "main", &mut ignore).is_err(), "{name}");
    }
    for revision in ["", "../x", "a b"] {
        assert!(hub.fetch(ID, revision, &mut ignore).is_err(), "{revision}");
    }
    let bad = world.hub("hub.example");
    assert!(matches!(
        bad.fetch(ID, "main", &mut ignore),
        Err(HubError::BadEndpoint { .. })
    ));
    assert!(server.requests().is_empty());
}

#[test]
fn refused_in_the_middle() {
    let server = Server::start(|request| {
        let name = file_of(request).unwrap();
        if name == "model.safetensors" && request.path.contains(COMMIT) {
            return Reply::status(403).with("X-Error-Code", "GatedRepo");
        }
        answer(&tiny(), request)
    });
    let mut world = World::new();
    let error = world.tiny(&server.address).unwrap_err();
    assert!(matches!(error, HubError::Gated { .. }), "{error}");
}
