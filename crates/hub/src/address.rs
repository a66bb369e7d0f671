//! Web addresses: the endpoint, its files, and where a redirect leads.

use ureq::http::Uri;

use crate::error::HubError;

/// The place models and data sets are fetched from, such as `https://huggingface.co`.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    text: String,
    origin: Origin,
}

/// Scheme, host and port: what must be the same for a token to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let secure = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        Some(Self {
            secure,
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        })
    }
}

impl Endpoint {
    /// Reads an address; one with a password, a query or no host is refused.
    pub(crate) fn parse(text: &str) -> Result<Self, HubError> {
        let bad = |shown: &str, why| HubError::BadEndpoint {
            endpoint: shown.to_owned(),
            why,
        };
        let text = text.trim_end_matches('/');
        if text.contains('@') {
            return Err(bad("…", "it holds a user name"));
        }
        let uri: Uri = text.parse().map_err(|_| bad(text, "it cannot be read"))?;
        let origin = Origin::of(&uri).ok_or_else(|| bad(text, "it has no scheme and host"))?;
        if text.contains(['?', '#']) {
            return Err(bad(text, "it holds a query"));
        }
        Ok(Self {
            text: text.to_owned(),
            origin,
        })
    }

    /// The address as text, without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The address of one file of one revision of a repository.
    pub(crate) fn file(&self, repository: &str, revision: &str, file: &str) -> String {
        let revision = revision.replace('/', "%2F");
        format!("{}/{repository}/resolve/{revision}/{file}", self.text)
    }

    /// The address that tells which files one revision of a data set's repository has.
    pub(crate) fn listing(&self, repository: &str, revision: &str) -> String {
        let revision = revision.replace('/', "%2F");
        format!("{}/api/{repository}/revision/{revision}", self.text)
    }

    /// True if `url` has this endpoint's scheme, host and port.
    pub(crate) fn is_origin_of(&self, url: &str) -> bool {
        let uri: Option<Uri> = url.parse().ok();
        uri.as_ref().and_then(Origin::of).as_ref() == Some(&self.origin)
    }
}

/// Where `location`, sent as a redirect from `base`, leads.
pub(crate) fn joined(base: &str, location: &str) -> Result<String, HubError> {
    let bad = |why| HubError::BadRedirect {
        url: without_query(base).to_owned(),
        location: without_query(location).to_owned(),
        why,
    };
    let from: Uri = base.parse().map_err(|_| bad("its base cannot be read"))?;
    let (Some(scheme), Some(authority)) = (from.scheme_str(), from.authority()) else {
        return Err(bad("its base has no host"));
    };
    let target = if location.contains("://") && !location.starts_with(['/', '?']) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to: Uri = target.parse().map_err(|_| bad("it cannot be read"))?;
    let to = Origin::of(&to).ok_or_else(|| bad("it is no web address"))?;
    if scheme == "https" && !to.secure {
        return Err(bad("it leaves https"));
    }
    Ok(target)
}

/// Storage addresses carry a signature in their query, which no message should show.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let endpoint = Endpoint::parse("https://hub.example/base//").unwrap();
        assert_eq!(
            endpoint.file("a/b", "refs/pr/1", "config.json"),
            "https://hub.example/base/a/b/resolve/refs%2Fpr%2F1/config.json"
        );
        assert_eq!(
            endpoint.listing("datasets/a/b", "refs/convert/parquet"),
            "https://hub.example/base/api/datasets/a/b/revision/refs%2Fconvert%2Fparquet"
        );
        for bad in [
            "hub.example",
            "ftp://hub.example",
            "",
            "https://",
            "https://user:secret@hub.example",
            "https://hub.example?x",
        ] {
            let line = Endpoint::parse(bad).unwrap_err().to_string();
            assert!(!line.contains("secret"), "{line}");
        }
    }

    #[test]
    fn only_the_same_scheme_host_and_port_are_home() {
        let endpoint = Endpoint::parse("https://hub.example").unwrap();
        for home in ["https://hub.example/x", "https://HUB.example:443/x?y"] {
            assert!(endpoint.is_origin_of(home), "{home}");
        }
        for away in [
            "http://hub.example/x",
            "https://hub.example:8443/x",
            "https://cdn.hub.example/x",
            "https://hub.example.evil.example/x",
            "https://hub.example@evil.example/x",
        ] {
            assert!(!endpoint.is_origin_of(away), "{away}");
        }
    }

    #[test]
    fn redirects() {
        let base = "https://hub.example/a/b/resolve/main/x?y=z";
        let to = |location| joined(base, location).unwrap();
        assert_eq!(to("https://cdn.example/x?s"), "https://cdn.example/x?s");
        assert_eq!(to("//cdn.example/x"), "https://cdn.example/x");
        assert_eq!(
            to("/api/x?u=http://v"),
            "https://hub.example/api/x?u=http://v"
        );
        assert_eq!(to("y"), "https://hub.example/a/b/resolve/main/y");
        assert!(joined(base, "http://hub.example/x").is_err());
        assert!(joined(base, "file:///etc/passwd").is_err());
        let line = joined(base, "http://cdn.example/x?signature=1").unwrap_err();
        assert!(!line.to_string().contains("signature"), "{line}");
    }
}
