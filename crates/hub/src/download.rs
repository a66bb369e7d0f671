//! One file: fetched into a part that survives a broken connection, verified, then renamed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::cache::{FileInfo, describe, put_in_place, remove_if_there};
use crate::client::{Answer, Client, Trouble};
use crate::error::HubError;
use crate::{Event, digest};

/// How often to try again, and how long to wait before the first time (then twice as long, …).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) retries: u32,
    pub(crate) pause: Duration,
}

/// Progress this large makes a broken connection count as the first one again.
const REAL_PROGRESS: u64 = 1 << 20;

/// Report progress about this often.
const STRIDE: u64 = 1 << 18;

/// A file to fetch, with what is known about it beforehand.
pub(crate) struct Wanted<'a> {
    pub(crate) url: String,
    pub(crate) name: &'a str,
    pub(crate) folder: &'a Path,
    pub(crate) bytes: Option<u64>,
    pub(crate) sha256: Option<String>,
    /// Whether a part left by an earlier run is of this very version.
    pub(crate) pinned: bool,
}

impl Wanted<'_> {
    fn part(&self) -> PathBuf {
        self.folder.join(format!("{}.part", self.name))
    }
}

/// Fetches one file into its folder. `None`: the endpoint does not have it.
/// `refusal` turns an answer that is neither content nor 404 into an error.
pub(crate) fn download(
    client: &Client,
    mut wanted: Wanted<'_>,
    patience: Patience,
    refusal: &dyn Fn(&Answer) -> Option<HubError>,
    on_event: &mut dyn FnMut(Event),
) -> Result<Option<FileInfo>, HubError> {
    let path = wanted.folder.join(wanted.name);
    if let Some(sha256) = &wanted.sha256
        && path.is_file()
    {
        let there = describe(wanted.folder, wanted.name)?;
        if there.sha256 == *sha256 {
            return Ok(Some(there));
        }
    }
    let part = wanted.part();
    if !wanted.pinned && wanted.sha256.is_none() {
        remove_if_there(&part)?;
    }
    let mut failures = 0;
    let mut tries = 0;
    let mut furthest = 0;
    loop {
        tries += 1;
        let reason = match attempt(client, &mut wanted, refusal, on_event) {
            Ok(true) => break,
            Ok(false) => {
                // One from an earlier state of this revision would mislead whoever reads the folder.
                remove_if_there(&path)?;
                return Ok(None);
            }
            Err(Trouble::Final(error)) => return Err(error),
            Err(Trouble::Net(reason)) => reason,
        };
        let done = length(&part);
        if done > furthest + REAL_PROGRESS {
            furthest = done;
            failures = 0;
        }
        failures += 1;
        if failures > patience.retries {
            return Err(HubError::Interrupted {
                url: wanted.url,
                done,
                tries,
                reason,
            });
        }
        let pause = patience.pause * 2_u32.saturating_pow(failures - 1);
        on_event(Event::Note(format!(
            "{}: {reason}; trying again in {:.1} s",
            wanted.name,
            pause.as_secs_f32()
        )));
        thread::sleep(pause);
    }
    let file = verified(&wanted)?;
    put_in_place(&part, &path)?;
    Ok(Some(file))
}

/// Checks the whole part; one that is not what was expected is deleted.
fn verified(wanted: &Wanted<'_>) -> Result<FileInfo, HubError> {
    let part = wanted.part();
    let (bytes, sha256) = digest::of_file(&part).map_err(HubError::io("read", &part))?;
    if let Some(expected) = wanted.bytes
        && bytes != expected
    {
        remove_if_there(&part)?;
        return Err(HubError::SizeMismatch {
            file: wanted.name.to_owned(),
            expected,
            actual: bytes,
        });
    }
    if let Some(expected) = &wanted.sha256
        && sha256 != *expected
    {
        remove_if_there(&part)?;
        return Err(HubError::HashMismatch {
            file: wanted.name.to_owned(),
            expected: expected.clone(),
            actual: sha256,
        });
    }
    Ok(FileInfo {
        name: wanted.name.to_owned(),
        bytes,
        sha256,
    })
}

/// One request, going on where the part ends. False: there is no such file.
fn attempt(
    client: &Client,
    wanted: &mut Wanted<'_>,
    refusal: &dyn Fn(&Answer) -> Option<HubError>,
    on_event: &mut dyn FnMut(Event),
) -> Result<bool, Trouble> {
    let part = wanted.part();
    let mut have = length(&part);
    if let Some(bytes) = wanted.bytes {
        if have == bytes && wanted.sha256.is_some() {
            return Ok(true);
        }
        if have >= bytes {
            remove_if_there(&part)?;
            have = 0;
        }
    }
    let mut answer = client.get(&wanted.url, have)?;
    let told = match answer.status {
        200 => {
            if have > 0 {
                on_event(Event::Note(format!(
                    "{}: the server cannot go on at byte {have}; starting over",
                    wanted.name
                )));
            }
            have = 0;
            header(&answer, "content-length").and_then(|text| text.parse().ok())
        }
        206 => {
            let range = header(&answer, "content-range").and_then(parse_range);
            match range {
                Some((start, total)) if start == have => total,
                _ => {
                    remove_if_there(&part)?;
                    return Err(Trouble::Net(format!(
                        "byte {have} was asked for, another part came"
                    )));
                }
            }
        }
        416 => {
            remove_if_there(&part)?;
            return Err(Trouble::Net(format!("there is no byte {have}")));
        }
        408 | 429 | 500.. => return Err(Trouble::Net(format!("status {}", answer.status))),
        status => {
            return match refusal(&answer) {
                Some(error) => Err(error.into()),
                None if status == 404 => Ok(false),
                None => Err(HubError::Status {
                    url: wanted.url.clone(),
                    status,
                }
                .into()),
            };
        }
    };
    if wanted.sha256.is_none() {
        wanted.sha256 = answer.facts.sha256.take();
    }
    wanted.bytes = wanted.bytes.or(answer.facts.bytes);
    on_event(Event::Started {
        file: wanted.name.to_owned(),
        bytes: wanted.bytes.or(told),
    });
    let file = File::options()
        .create(true)
        .write(true)
        .append(have > 0)
        .truncate(have == 0)
        .open(&part)
        .map_err(HubError::io("open", &part))?;
    let total = wanted.bytes.or(told);
    let done = copy(&mut answer, file, &part, have, &mut |done| {
        on_event(Event::Progress {
            file: wanted.name.to_owned(),
            done,
            total,
        });
    })?;
    match told {
        Some(told) if done < told => Err(Trouble::Net(format!(
            "the connection closed after {done} of {told} bytes"
        ))),
        _ => Ok(true),
    }
}

/// Appends the answer's body to the part; returns the part's length.
fn copy(
    answer: &mut Answer,
    mut file: File,
    part: &Path,
    mut done: u64,
    report: &mut dyn FnMut(u64),
) -> Result<u64, Trouble> {
    let mut body = answer.response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut reported = done;
    report(done);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::Net(error.to_string())),
        };
        file.write_all(&buffer[..count])
            .map_err(HubError::io("write", part))?;
        done += count as u64;
        if done - reported >= STRIDE {
            reported = done;
            report(done);
        }
    }
    if done != reported {
        report(done);
    }
    Ok(done)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.response.headers().get(name)?.to_str().ok()
}

/// `bytes 5-9/10` is `(5, Some(10))`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "items 5-9/10", "bytes x-9/10"] {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }
}
