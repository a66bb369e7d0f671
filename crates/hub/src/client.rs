//! One HTTP request at a time: redirects by hand, and the token only for the endpoint itself.

use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use crate::address::{Endpoint, joined};
use crate::digest::is_sha256;
use crate::error::HubError;

const CONNECT: Duration = Duration::from_secs(5);
const MOST_REDIRECTS: usize = 10;

/// Why a request came to nothing.
pub(crate) enum Trouble {
    /// The network: trying again may help.
    Net(String),
    /// Anything else: trying again will not help.
    Final(HubError),
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// What the endpoint's headers tell about a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The commit that the revision means.
    pub(crate) commit: Option<String>,
    /// The content's SHA-256; small files have none.
    pub(crate) sha256: Option<String>,
    /// The content's length, told along with the hash.
    pub(crate) bytes: Option<u64>,
    /// The endpoint's own word for what went wrong.
    pub(crate) error_code: Option<String>,
}

impl Facts {
    /// Adds what these headers tell; what was told before stays.
    fn learn(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if self.commit.is_none() {
            self.commit = text("x-repo-commit")
                .filter(|commit| commit.len() == 40)
                .filter(|commit| commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .map(str::to_ascii_lowercase);
        }
        if self.sha256.is_none()
            && let Some(tag) = text("x-linked-etag")
        {
            let tag = tag.trim_start_matches("W/").trim_matches('"');
            if is_sha256(tag) {
                self.sha256 = Some(tag.to_ascii_lowercase());
                self.bytes = text("x-linked-size").and_then(|size| size.parse().ok());
            }
        }
        if let Some(code) = text("x-error-code") {
            self.error_code = Some(code.to_owned());
        }
    }
}

/// An answer that is no redirect (or, to HEAD, a redirect away from the endpoint).
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) facts: Facts,
    pub(crate) response: Response<Body>,
}

/// Asks the endpoint for the files of one revision of one repository.
pub(crate) struct Client {
    agent: Agent,
    endpoint: Endpoint,
    token: Option<String>,
}

impl Client {
    /// A client that gives up a connection when nothing comes for `quiet`.
    pub(crate) fn new(
        endpoint: Endpoint,
        token: Option<String>,
        quiet: Duration,
    ) -> Result<Self, HubError> {
        if let Some(token) = &token
            && !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(HubError::BadToken);
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("hone/", env!("CARGO_PKG_VERSION")))
            // A range counts bytes as they are sent, so they must be sent as they are.
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(quiet))
            .timeout_per_read(Some(quiet))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            endpoint,
            token,
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The headers of `url`. A redirect is followed only within the endpoint, and only while it
    /// has not told about the file yet (a renamed model is such a case).
    pub(crate) fn head(&self, url: &str, within: Duration) -> Result<Answer, Trouble> {
        self.walk(url, true, |url, token| {
            let mut request = self.agent.head(url);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            request
                .config()
                .timeout_global(Some(within))
                .build()
                .call()
                .map_err(|error| Trouble::Net(error.to_string()))
        })
    }

    /// The content of `url`, which must begin within this time.
    pub(crate) fn get_within(&self, url: &str, within: Duration) -> Result<Answer, Trouble> {
        self.walk(url, false, |url, token| {
            let mut request = self.agent.get(url);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            request
                .config()
                .timeout_recv_response(Some(within))
                .build()
                .call()
                .map_err(|error| Trouble::Net(error.to_string()))
        })
    }

    /// The content of `url`, from byte `from` on.
    pub(crate) fn get(&self, url: &str, from: u64) -> Result<Answer, Trouble> {
        self.walk(url, false, |url, token| {
            let mut request = self.agent.get(url);
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            request
                .call()
                .map_err(|error| Trouble::Net(error.to_string()))
        })
    }

    /// Sends a request along its redirects. `send` gets the token only at the endpoint itself.
    fn walk(
        &self,
        url: &str,
        only_headers: bool,
        send: impl Fn(&str, Option<&str>) -> Result<Response<Body>, Trouble>,
    ) -> Result<Answer, Trouble> {
        let start = url;
        let mut url = url.to_owned();
        let mut facts = Facts::default();
        for _ in 0..MOST_REDIRECTS {
            let at_home = self.endpoint.is_origin_of(&url);
            let token = self.token.as_deref().filter(|_| at_home);
            let response = send(&url, token)?;
            let status = response.status().as_u16();
            if at_home {
                facts.learn(response.headers());
            }
            let location = response
                .headers()
                .get("location")
                .filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))
                .and_then(|value| value.to_str().ok());
            let next = location
                .map(|location| joined(&url, location))
                .transpose()?;
            let told = facts.commit.is_some() || facts.sha256.is_some();
            match next {
                Some(next) if !only_headers || (!told && self.endpoint.is_origin_of(&next)) => {
                    url = next;
                }
                _ => {
                    return Ok(Answer {
                        status,
                        facts,
                        response,
                    });
                }
            }
        }
        Err(HubError::BadRedirect {
            url: start.to_owned(),
            location: "…".to_owned(),
            why: "it is one too many",
        }
        .into())
    }
}
