//! Files of a model from a hub: `{endpoint}/{id}/resolve/{revision}/{file}`, as huggingface_hub asks for them.
//!
//! Redirects are followed here, so that the token goes to the hub's own host and to no other. A download that
//! breaks off is continued where it stopped, in this run or in a later one.

use crate::cache::{Manifest, Slot, sha256};
use crate::names::Id;
use crate::{Event, Hub, HubError, Listener};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

const REVISION: &str = "main";
const CONNECT: Duration = Duration::from_secs(4);
const ANSWER: Duration = Duration::from_secs(15);
const STALL: Duration = Duration::from_secs(30);
const ATTEMPTS: usize = 4;
const REDIRECTS: usize = 8;

const OPTIONAL: [&str; 4] = [
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// What the hub says of a file before it sends it.
#[derive(Debug, Clone, Default)]
struct Promise {
    bytes: Option<u64>,
    sha256: Option<String>,
    commit: Option<String>,
}

struct Remote<'a> {
    hub: &'a Hub,
    id: &'a Id,
    slot: &'a Slot,
    agent: Agent,
    revision: String,
}

pub(crate) fn fetch(
    hub: &Hub,
    id: &Id,
    slot: &Slot,
    licence: Option<String>,
    listener: Listener<'_>,
) -> Result<Manifest, HubError> {
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(CONNECT))
        .timeout_resolve(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(STALL))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("hone/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut remote = Remote {
        hub,
        id,
        slot,
        agent,
        revision: id.revision.clone().unwrap_or_else(|| REVISION.to_owned()),
    };
    // The first request says whether there is anything at all, and at which commit.
    let config = remote
        .promise("config.json")?
        .ok_or_else(|| HubError::Refused {
            id: id.to_string(),
            status: 404,
        })?;
    if let Some(commit) = &config.commit {
        remote.revision = commit.clone();
    }
    fs::create_dir_all(&slot.folder).map_err(HubError::io(&slot.folder))?;
    let mut names = vec!["config.json".to_owned()];
    remote.download("config.json", &config, listener)?;
    for file in OPTIONAL {
        if let Some(promise) = remote.promise(file)? {
            remote.download(file, &promise, listener)?;
            names.push(file.to_owned());
        }
    }
    if !names
        .iter()
        .any(|n| n == "tokenizer.json" || n == "vocab.txt")
    {
        return Err(HubError::Missing {
            id: id.to_string(),
            file: "tokenizer.json or vocab.txt".to_owned(),
            hint: "",
        });
    }
    names.extend(remote.weights(listener)?);
    let files = names.iter().map(|name| slot.entry(name));
    Ok(Manifest {
        source: format!("{}/{}", hub.endpoint, id),
        commit: config.commit,
        licence,
        files: files.collect::<Result<_, _>>()?,
    })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Remote<'_> {
    /// One file of weights, or an index and its shards.
    fn weights(&self, listener: Listener<'_>) -> Result<Vec<String>, HubError> {
        const ONE: &str = "model.safetensors";
        const INDEX: &str = "model.safetensors.index.json";
        if let Some(promise) = self.promise(ONE)? {
            self.download(ONE, &promise, listener)?;
            return Ok(vec![ONE.to_owned()]);
        }
        let Some(promise) = self.promise(INDEX)? else {
            let hint = match self.promise("pytorch_model.bin")? {
                Some(_) => {
                    ", only pytorch_model.bin, a pickle, which can run code and is not read; convert it once with \
                     transformers: AutoModel.from_pretrained(ID).save_pretrained(FOLDER, safe_serialization=True)"
                }
                None => "",
            };
            return Err(HubError::Missing {
                id: self.id.to_string(),
                file: ONE.to_owned(),
                hint,
            });
        };
        self.download(INDEX, &promise, listener)?;
        let path = self.slot.folder.join(INDEX);
        let text = fs::read_to_string(&path).map_err(HubError::io(&path))?;
        let index: Index = serde_json::from_str(&text).map_err(|e| HubError::Answer {
            url: self.url(INDEX),
            reason: format!("not an index of weights: {e}"),
        })?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        let mut names = vec![INDEX.to_owned()];
        for shard in shards {
            let plain = !shard.contains(['/', '\\']) && shard.ends_with(".safetensors");
            if !plain {
                return Err(HubError::Answer {
                    url: self.url(INDEX),
                    reason: format!("{shard:?} is no name of a safetensors file"),
                });
            }
            let promise = self.promise(&shard)?.ok_or_else(|| HubError::Missing {
                id: self.id.to_string(),
                file: shard.clone(),
                hint: ", which its index names",
            })?;
            self.download(&shard, &promise, listener)?;
            names.push(shard);
        }
        Ok(names)
    }

    fn url(&self, file: &str) -> String {
        let Remote {
            hub, id, revision, ..
        } = self;
        format!("{}/{id}/resolve/{revision}/{file}", hub.endpoint)
    }

    /// What the hub says of a file; none: it has no such file.
    fn promise(&self, file: &str) -> Result<Option<Promise>, HubError> {
        let mut url = self.url(file);
        let mut promise = Promise::default();
        for _ in 0..REDIRECTS {
            let answer = self.request(&url, Method::Head)?;
            let header = |name: &str| {
                let value = answer.headers().get(name)?.to_str().ok()?;
                Some(
                    value
                        .trim()
                        .trim_start_matches("W/")
                        .trim_matches('"')
                        .to_owned(),
                )
            };
            let hash = |tag: String| {
                (tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit()))
                    .then(|| tag.to_ascii_lowercase())
            };
            promise.commit = promise.commit.or_else(|| header("x-repo-commit"));
            promise.sha256 = promise
                .sha256
                .or_else(|| header("x-linked-etag").and_then(hash))
                .or_else(|| header("etag").and_then(hash));
            promise.bytes = promise
                .bytes
                .or_else(|| header("x-linked-size")?.parse().ok());
            match answer.status().as_u16() {
                // Whatever the redirect leads to, hub and size have been named here.
                300..=399 if promise.sha256.is_some() && promise.bytes.is_some() => {
                    return Ok(Some(promise));
                }
                300..=399 => url = self.location(&url, &answer)?,
                200..=299 => {
                    promise.bytes = promise
                        .bytes
                        .or_else(|| header("content-length")?.parse().ok());
                    return Ok(Some(promise));
                }
                404 => return Ok(None),
                status @ (401 | 403) => {
                    return Err(HubError::Refused {
                        id: self.id.to_string(),
                        status,
                    });
                }
                status => {
                    return Err(HubError::Answer {
                        url,
                        reason: format!("the server answers {status}"),
                    });
                }
            }
        }
        Err(HubError::Answer {
            url,
            reason: "redirected too often".to_owned(),
        })
    }

    fn location(&self, url: &str, answer: &Response<Body>) -> Result<String, HubError> {
        let wrong = |reason: &str| HubError::Answer {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let target = answer
            .headers()
            .get("location")
            .and_then(|v| v.to_str().ok())
            .ok_or_else(|| wrong("redirected to nowhere"))?;
        if target.starts_with("http://") || target.starts_with("https://") {
            return Ok(target.to_owned());
        }
        let uri: Uri = url.parse().map_err(|_| wrong("not an address"))?;
        match (uri.scheme_str(), uri.authority(), target.starts_with('/')) {
            (Some(scheme), Some(host), true) => Ok(format!("{scheme}://{host}{target}")),
            _ => Err(wrong("redirected to something that is no address")),
        }
    }

    fn request(&self, url: &str, method: Method) -> Result<Response<Body>, HubError> {
        let mut request = match method {
            Method::Head => self.agent.head(url),
            Method::From(_) => self.agent.get(url),
        };
        if let Method::From(from @ 1..) = method {
            request = request.header("Range", format!("bytes={from}-"));
        }
        // Stored sizes and hashes are of the file itself, not of a compressed stream.
        request = request.header("Accept-Encoding", "identity");
        if let Some(token) = &self.hub.token
            && host(url).is_some()
            && host(url) == host(&self.hub.endpoint)
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|e| HubError::Unreachable {
            endpoint: host(url).unwrap_or_else(|| url.to_owned()),
            reason: e.to_string(),
        })
    }

    /// A file into the slot, continued where an earlier attempt stopped.
    fn download(
        &self,
        file: &str,
        promise: &Promise,
        listener: Listener<'_>,
    ) -> Result<(), HubError> {
        let path = self.slot.folder.join(file);
        if path.is_file()
            && let Some(expected) = &promise.sha256
            && sha256(&path)? == *expected
        {
            return Ok(());
        }
        let part = self.slot.folder.join(format!("{file}.part"));
        let mut failures = 0;
        let mut reason = String::new();
        while failures < ATTEMPTS {
            let before = size(&part);
            match self.attempt(file, promise, &part, listener) {
                Ok(()) => return self.accept(file, promise, &part, &path),
                Err(HubError::Unreachable { reason: why, .. }) => reason = why,
                Err(error) => return Err(error),
            }
            // As long as something arrives, the server is worth asking again.
            match size(&part) > before {
                true => failures = 0,
                false => failures += 1,
            }
            if failures > 0 {
                std::thread::sleep(Duration::from_millis(200 << failures));
            }
        }
        Err(HubError::Broken {
            url: self.url(file),
            attempts: ATTEMPTS,
            reason,
        })
    }

    fn attempt(
        &self,
        file: &str,
        promise: &Promise,
        part: &Path,
        listener: Listener<'_>,
    ) -> Result<(), HubError> {
        let mut here = size(part);
        if promise.bytes.is_some_and(|all| here >= all) {
            if promise.bytes == Some(here) && here > 0 {
                return Ok(());
            }
            here = 0;
        }
        let mut url = self.url(file);
        let mut answer = self.request(&url, Method::From(here))?;
        for _ in 0..REDIRECTS {
            if !answer.status().is_redirection() {
                break;
            }
            url = self.location(&url, &answer)?;
            answer = self.request(&url, Method::From(here))?;
        }
        let status = answer.status().as_u16();
        let continued = status == 206
            && answer
                .headers()
                .get("content-range")
                .and_then(|v| v.to_str().ok())
                .is_some_and(|r| r.starts_with(&format!("bytes {here}-")));
        let mut out = match status {
            206 if continued => OpenOptions::new().append(true).open(part),
            // A server that does not continue sends the whole file; what is here is of no use.
            200 => {
                here = 0;
                File::create(part)
            }
            206 | 416 => {
                fs::remove_file(part).map_err(HubError::io(part))?;
                return Err(HubError::Unreachable {
                    endpoint: url,
                    reason: "the server continues at another place".to_owned(),
                });
            }
            401 | 403 => {
                return Err(HubError::Refused {
                    id: self.id.to_string(),
                    status,
                });
            }
            500..=599 => {
                return Err(HubError::Unreachable {
                    endpoint: url,
                    reason: format!("the server answers {status}"),
                });
            }
            _ => {
                return Err(HubError::Answer {
                    url,
                    reason: format!("the server answers {status}"),
                });
            }
        }
        .map_err(HubError::io(part))?;
        let mut body = answer.into_body().into_reader();
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            let n = body.read(&mut buffer).map_err(|e| HubError::Unreachable {
                endpoint: url.clone(),
                reason: e.to_string(),
            })?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n]).map_err(HubError::io(part))?;
            here += n as u64;
            listener(Event::Progress {
                file: file.to_owned(),
                done: here,
                total: promise.bytes,
            });
        }
        match promise.bytes {
            Some(all) if all != here => Err(HubError::Unreachable {
                endpoint: url,
                reason: format!("{here} of {all} bytes came"),
            }),
            _ => Ok(()),
        }
    }

    /// Checks a whole download and puts it into place.
    fn accept(
        &self,
        file: &str,
        promise: &Promise,
        part: &Path,
        path: &Path,
    ) -> Result<(), HubError> {
        if let Some(expected) = &promise.sha256 {
            let found = sha256(part)?;
            if found != *expected {
                fs::remove_file(part).map_err(HubError::io(part))?;
                return Err(HubError::Hash {
                    file: file.to_owned(),
                    found,
                    expected: expected.clone(),
                });
            }
        }
        fs::rename(part, path).map_err(HubError::io(path))
    }
}

#[derive(Clone, Copy)]
enum Method {
    Head,
    /// The body from a byte on.
    From(u64),
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Host and port of an address.
fn host(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    Some(
        uri.authority()?.host().to_owned() + &uri.port().map_or(String::new(), |p| format!(":{p}")),
    )
}
