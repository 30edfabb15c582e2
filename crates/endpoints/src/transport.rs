//! HTTP exchanges with a server, bounded in time and size.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use preceptor_core::CallFailureKind;
use ureq::http::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body, Timeout};

use crate::retry::retry_after;
use crate::{Config, Error, Secret};

/// Largest reply that is read, after decompression.
const MAX_BODY_BYTES: u64 = 16 << 20;

/// Hosts that are never reached through a proxy.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A base URL.
#[derive(Debug)]
struct Target {
    base_url: String,
    agent: Agent,
}

/// The servers of an endpoint.
#[derive(Debug)]
pub(crate) struct Transport {
    targets: Vec<Target>,
    next: AtomicUsize,
    authorization: Option<HeaderValue>,
}

/// The server's response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub url: String,
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The body, or the reason why it could not be read.
    pub body: Result<String, Broken>,
}

/// An exchange that failed below HTTP.
#[derive(Debug)]
pub(crate) struct Broken {
    pub kind: CallFailureKind,
    pub detail: String,
    /// True if the server may have begun to answer.
    pub sent: bool,
}

impl Transport {
    pub(crate) fn new(config: &Config, key: Option<&Secret>) -> Result<Self, Error> {
        let authorization = key.map(|key| {
            let mut value = HeaderValue::from_str(&key.bearer()).map_err(|_| Error::BadKey)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let targets = config.base_urls.iter().map(|base_url| {
            let base_url = base_url.trim_end_matches('/').to_owned();
            let host = base_url.split("://").nth(1).unwrap_or_default();
            let loopback = LOOPBACK.iter().any(|name| {
                let rest = host.strip_prefix(name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
            });
            let mut builder = Agent::config_builder()
                .http_status_as_error(false)
                // A redirect would turn a call into something else; its status says enough.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_idle_connections(config.concurrency as usize)
                .max_idle_connections_per_host(config.concurrency as usize)
                .timeout_connect(Some(Duration::from_secs(config.connect_timeout_secs)))
                .timeout_global(Some(Duration::from_secs(config.timeout_secs)));
            if loopback {
                builder = builder.proxy(None);
            }
            Target { base_url, agent: builder.build().new_agent() }
        });
        Ok(Self {
            targets: targets.collect(),
            next: AtomicUsize::new(0),
            authorization: authorization.transpose()?,
        })
    }

    /// Sends `body` to the next server in turn.
    pub(crate) fn post(&self, path: &str, body: &str) -> Result<Exchange, Broken> {
        let (target, url) = self.next_target(path);
        let mut request = target.agent.post(&url).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        Self::exchange(url, request.send(body))
    }

    /// Fetches `path` of the next server in turn.
    pub(crate) fn get(&self, path: &str) -> Result<Exchange, Broken> {
        let (target, url) = self.next_target(path);
        let mut request = target.agent.get(&url);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        Self::exchange(url, request.call())
    }

    fn next_target(&self, path: &str) -> (&Target, String) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.targets.len();
        let target = &self.targets[turn];
        (target, format!("{}{path}", target.base_url))
    }

    fn exchange(
        url: String,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Exchange, Broken> {
        let (head, body) = response.map_err(|error| Broken::new(&error))?.into_parts();
        let retry_after = retry_after(text(&head.headers, RETRY_AFTER), text(&head.headers, DATE));
        let body = read(body.into_reader());
        Ok(Exchange { url, status: head.status.as_u16(), retry_after, body })
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn read(body: impl Read) -> Result<String, Broken> {
    let bad = |detail: String| Broken { kind: CallFailureKind::BadReply, detail, sent: true };
    let mut bytes = Vec::new();
    let mut body = body.take(MAX_BODY_BYTES + 1);
    body.read_to_end(&mut bytes)
        .map_err(|error| Broken { sent: true, ..Broken::new(&ureq::Error::from(error)) })?;
    if bytes.len() as u64 > MAX_BODY_BYTES {
        return Err(bad(format!("an answer of more than {MAX_BODY_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| bad("an answer that is not UTF-8".to_owned()))
}

impl Broken {
    /// Formats `error` without addresses and headers.
    fn new(error: &ureq::Error) -> Self {
        let (kind, sent) = match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                (CallFailureKind::Timeout, false)
            }
            ureq::Error::Timeout(_) => (CallFailureKind::Timeout, true),
            ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
                (CallFailureKind::Connection, false)
            }
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::ConnectProxyFailed(_) => (CallFailureKind::Connection, false),
            ureq::Error::Protocol(_)
            | ureq::Error::Http(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::Decompress(..) => (CallFailureKind::BadReply, true),
            _ => (CallFailureKind::Connection, true),
        };
        Self { kind, detail: error.to_string(), sent }
    }
}
