//! One registry over HTTP: where a request may go, how long it may take, how much is read.
//!
//! The registry is hostile until its bytes are hashed. Redirects are followed by hand, each judged; credentials go to
//! the registry's own origin alone and are dropped for good at the first step away from it; nothing is decompressed;
//! every request has a deadline for all of it, from the first connection to the last byte.

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use tokio::time::{Instant, sleep, timeout_at};

use super::auth::Credentials;
use super::guard::{self, Guard};
use super::token::Tokens;
use crate::adapters::StoreError;
use crate::adapters::http::plain_client;
use crate::content::{ContentError, limits};
use crate::reference::{self, DEFAULT_REGISTRY, Repository};

/// Steps of one redirect chain; CDNs need one or two.
const REDIRECTS: usize = 5;
/// Attempts after the first, for answers that say "later" and for connections that fail.
const RETRIES: u32 = 3;
/// The longest wait a registry may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Where redirects of a request may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    /// Nowhere but the registry's own origin.
    Never,
    /// To other hosts over https; some registries serve whole images that way.
    Https,
    /// The same, and within this machine where the registry is on it: content is checked by its digest.
    Content,
}

/// What is sent along.
pub(super) enum Body {
    /// Nothing.
    Empty,
    /// These bytes, again on every attempt.
    Bytes(Vec<u8>),
    /// A stream of so many bytes, which can be sent once.
    Stream(reqwest::Body, u64),
}

/// One request, retries and redirects included.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// What it is about, for errors.
    pub(super) what: &'a str,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Body,
    /// What has to be allowed: `repository:<path>:pull`.
    pub(super) scope: &'a str,
    pub(super) away: Away,
    /// When all of it has to be over.
    pub(super) until: Instant,
}

/// An answer whose body has not been read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Where it came from in the end.
    pub(super) url: Url,
    response: Response,
    what: String,
    place: String,
    until: Instant,
    /// Whether it came from the registry's own origin, without a step elsewhere.
    home: bool,
}

/// The connections to one registry.
pub(super) struct Connection {
    /// Host and port as in references: what credentials are kept under.
    pub(super) registry: String,
    pub(super) guard: Guard,
    pub(super) tokens: Tokens,
    may_be_plain: bool,
    base: OnceLock<Url>,
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
    ca_cert: Option<Vec<u8>>,
    requests: AtomicUsize,
}

impl Connection {
    pub(super) fn new(
        repository: &Repository,
        insecure: bool,
        ca_cert: Option<Vec<u8>>,
        credentials: Credentials,
    ) -> Self {
        let registry = repository.registry().to_owned();
        Self {
            guard: Guard::of(repository.host()),
            tokens: Tokens::new(credentials),
            may_be_plain: insecure || reference::is_loopback_host(repository.host()),
            base: OnceLock::new(),
            plain: OnceLock::new(),
            tls: OnceLock::new(),
            ca_cert,
            requests: AtomicUsize::new(0),
            registry,
        }
    }

    /// Requests sent so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// The registry's own origin. Plain http only where it may be, and only if the port does not speak TLS: a
    /// certificate that does not fit never leads to plain http.
    pub(super) fn base(&self) -> Result<&Url, StoreError> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let host = if self.registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { &self.registry };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/")).map_err(|error| self.net("a request", &error.to_string()))
        };
        let mut base = url("https")?;
        if self.may_be_plain {
            let plain = url("http")?;
            let (host, port) = (plain.host_str().unwrap_or_default(), plain.port_or_known_default().unwrap_or(80));
            if !guard::speaks_tls(host, port).map_err(|error| self.net("a request", &error.to_string()))? {
                base = plain;
            }
        }
        Ok(self.base.get_or_init(|| base))
    }

    /// Sends a request and waits for the head of its answer; any status is an answer.
    pub(super) async fn send(&self, mut ask: Ask<'_>) -> Result<Answer, StoreError> {
        let mut retries = 0;
        let mut authenticated = false;
        loop {
            let body = match &mut ask.body {
                Body::Empty => None,
                Body::Bytes(bytes) => Some((reqwest::Body::from(bytes.clone()), bytes.len() as u64)),
                Body::Stream(stream, size) => Some((std::mem::take(stream), *size)),
            };
            let once = matches!(ask.body, Body::Stream(..));
            let outcome = timeout_at(ask.until, self.follow(&ask, body)).await;
            let wait = match outcome {
                Err(_) => return Err(self.net(ask.what, "it did not answer in time")),
                Ok(Err(Failure::Final(error))) => return Err(error),
                Ok(Err(Failure::Passing(error))) if once || retries >= RETRIES => return Err(error),
                Ok(Err(Failure::Passing(_))) => None,
                Ok(Ok(answer)) if answer.status == StatusCode::UNAUTHORIZED && answer.home && !authenticated => {
                    if once {
                        return Ok(answer);
                    }
                    authenticated = true;
                    self.authenticate(&answer, ask.scope, ask.until).await?;
                    continue;
                }
                Ok(Ok(answer)) if !asks_for_patience(answer.status) || once || retries >= RETRIES => return Ok(answer),
                Ok(Ok(answer)) => match answer.wait() {
                    Some(wait) if wait > LONGEST_WAIT => return Ok(answer),
                    wait => wait,
                },
            };
            let wait = wait.unwrap_or(Duration::from_millis(100 << retries));
            retries += 1;
            if Instant::now() + wait >= ask.until {
                return Err(self.net(ask.what, "it did not answer in time"));
            }
            sleep(wait).await;
        }
    }

    /// One attempt: redirects, judged one by one.
    async fn follow(&self, ask: &Ask<'_>, body: Option<(reqwest::Body, u64)>) -> Result<Answer, Failure> {
        let base = self.base().map_err(Failure::Final)?;
        let refuse = |reason: &str| Failure::Final(self.net(ask.what, reason));
        let mut url = ask.url.clone();
        let mut body = body;
        let mut home = true;
        for _ in 0..=REDIRECTS {
            home &= url.origin() == base.origin();
            if !self.guard.admits_literal(url.host_str().unwrap_or_default()) {
                return Err(refuse(&format!("it sends us to {}, where no answer may send us", shown(url.as_str()))));
            }
            let mut request = self.client(&url).map_err(Failure::Final)?.request(ask.method.clone(), url.clone());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some((body, size)) = body.take() {
                request = request.header(header::CONTENT_LENGTH, size).body(body);
            }
            if home && let Some(authorization) = self.tokens.authorization(ask.scope) {
                let mut value = HeaderValue::from_str(&authorization)
                    .map_err(|_| refuse("the credentials for it cannot stand in a header"))?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            let response = request.send().await.map_err(|error| self.failure(ask.what, &error))?;
            let follows = matches!(ask.method, Method::GET | Method::HEAD) && response.status().is_redirection();
            if !follows {
                return Ok(Answer {
                    status: response.status(),
                    headers: response.headers().clone(),
                    url,
                    response,
                    what: ask.what.to_owned(),
                    place: self.registry.clone(),
                    until: ask.until,
                    home,
                });
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location else { return Err(refuse("it redirects to nowhere")) };
            url = self.judge(&url, location, ask.away).map_err(|reason| refuse(&reason))?;
        }
        Err(refuse(&format!("it redirects more than {REDIRECTS} times")))
    }

    /// The address that an answer from `from` names, if it may be gone to.
    pub(super) fn judge(&self, from: &Url, location: &str, away: Away) -> Result<Url, String> {
        let no = |why: &str| Err(format!("it sends us to {}: {why}", shown(location)));
        let Ok(url) = from.join(location) else { return no("that is no address") };
        let Some(base) = self.base.get() else { return no("nothing was asked yet") };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return no("only http and https are followed");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return no("an address with a user name is not followed");
        }
        if url.origin() == base.origin() && (from.scheme() != "https" || url.scheme() == "https") {
            return Ok(url);
        }
        if !self.guard.admits_literal(url.host_str().unwrap_or_default()) {
            return no("no answer may send us there");
        }
        let host = url.host_str().unwrap_or_default();
        let here = |url: &Url| reference::is_loopback_host(url.host_str().unwrap_or_default());
        match (away, url.scheme()) {
            (Away::Never, _) => no("this is not followed to another place"),
            (Away::Https, "https") if base.scheme() == "https" => Ok(url),
            (Away::Https, _) => no("this is followed only from https to https"),
            (Away::Content, "https") => Ok(url),
            (Away::Content, _) if from.scheme() == "http" && here(base) && reference::is_loopback_host(host) => Ok(url),
            (Away::Content, _) => no("content elsewhere is followed only over https"),
        }
    }

    /// The client for an address: one without certificate authorities, which costs nothing to make, for plain http.
    pub(super) fn client(&self, url: &Url) -> Result<&Client, StoreError> {
        let tls = url.scheme() == "https";
        let slot = if tls { &self.tls } else { &self.plain };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let mut builder = plain_client()
            .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .http1_only() // a hostile HTTP/2 server has more ways to be expensive
            .dns_resolver(std::sync::Arc::new(self.guard.clone()))
            .connect_timeout(Duration::from_secs(10))
            .retry(reqwest::retry::never());
        if !tls {
            // A proxy would see what goes over plain http, credentials among it.
            builder = builder.no_proxy().tls_certs_only([]);
        } else if let Some(pem) = &self.ca_cert {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            let certificates = certificates.map_err(|error| self.net("the CA certificates", &error.to_string()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| self.net("a request", &reason(&error)))?;
        Ok(slot.get_or_init(|| client))
    }

    pub(super) fn net(&self, what: &str, reason: &str) -> StoreError {
        StoreError::Net { what: what.to_owned(), place: self.registry.clone(), reason: reason.to_owned() }
    }

    fn failure(&self, what: &str, error: &reqwest::Error) -> Failure {
        let reason = reason(error);
        let hopeless = error.is_builder() || reason.contains("certificate") || reason.contains("no answer may send us");
        let error = self.net(what, &reason);
        if hopeless { Failure::Final(error) } else { Failure::Passing(error) }
    }
}

/// Why there is no answer.
enum Failure {
    /// Asking again would not help, or must not happen.
    Final(StoreError),
    /// It may pass.
    Passing(StoreError),
}

impl Answer {
    /// The body, whole, refusing more than `limit` bytes before they are read.
    pub(super) async fn read(mut self, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.start(limit)?;
        while let Some(piece) = self.piece(bytes.len() as u64).await? {
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(ContentError::TooLarge { what: self.what, limit }.into());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Refuses, before the body, one that was changed on the way or announces too much.
    pub(super) fn start(&self, limit: u64) -> Result<(), StoreError> {
        let altered =
            |reason: String| Err(StoreError::Altered { what: self.what.clone(), place: self.place.clone(), reason });
        let encoding = self.headers.get(header::CONTENT_ENCODING);
        if let Some(encoding) = encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return altered(format!("it is encoded as {}, which was not asked for", shown_header(encoding)));
        }
        if self.status == StatusCode::PARTIAL_CONTENT || self.headers.contains_key(header::CONTENT_RANGE) {
            return altered("it is a part, where all was asked for".to_owned());
        }
        match self.response.content_length() {
            Some(length) if length > limit => Err(ContentError::TooLarge { what: self.what.clone(), limit }.into()),
            _ => Ok(()),
        }
    }

    /// The next bytes; `done` is how many came before.
    pub(super) async fn piece(&mut self, done: u64) -> Result<Option<impl Deref<Target = [u8]> + use<>>, StoreError> {
        let announced = self.response.content_length();
        match timeout_at(self.until, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(_)) if announced.is_some() => {
                let expected = announced.unwrap_or_default();
                Err(ContentError::Size { what: self.what.clone(), expected, actual: done }.into())
            }
            Ok(Err(error)) => Err(StoreError::Altered {
                what: self.what.clone(),
                place: self.place.clone(),
                reason: format!("it breaks off after {done} bytes: {}", reason(&error)),
            }),
            Err(_) => Err(StoreError::Net {
                what: self.what.clone(),
                place: self.place.clone(),
                reason: format!("only {done} bytes came in time"),
            }),
        }
    }

    /// The error that a status other than the expected one is, with what the registry says about it.
    pub(super) async fn refusal(self) -> StoreError {
        let (status, what, place) = (self.status, self.what.clone(), self.place.clone());
        let wait = self.wait();
        let said = said(&self.read(limits::ERROR_BODY).await.unwrap_or_default());
        let reason = format!("{status}{said}");
        match status {
            StatusCode::NOT_FOUND => StoreError::NotFound { what, place },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = format!("{reason}; check `docker login {place}`");
                StoreError::Auth { what, place, reason }
            }
            _ => {
                let later =
                    wait.map(|wait| format!("; it asks to wait {} seconds", wait.as_secs())).unwrap_or_default();
                StoreError::Registry { what, place, reason: format!("{reason}{later}") }
            }
        }
    }

    /// A header as text.
    pub(super) fn text(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the registry asks to wait (RFC 9110, section 10.2.3), where it says so in seconds.
    fn wait(&self) -> Option<Duration> {
        let seconds: u64 = self.text(header::RETRY_AFTER)?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

fn asks_for_patience(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502..=504)
}

/// An error and its causes, without the address (which may hold signed parameters).
fn reason(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() { "the request failed".to_owned() } else { shown(&causes.join(": ")) }
}

/// Somebody's text, escaped and cut: it goes into errors, and from there to terminals.
pub(super) fn shown(text: &str) -> String {
    let plain = |character: char| character == ' ' || character.is_ascii_graphic();
    let escaped = text.chars().take(300).flat_map(|character| {
        let (same, escaped) =
            if plain(character) { (Some(character), None) } else { (None, Some(character.escape_unicode())) };
        same.into_iter().chain(escaped.into_iter().flatten())
    });
    escaped.collect()
}

fn shown_header(value: &HeaderValue) -> String {
    shown(&String::from_utf8_lossy(value.as_bytes()))
}

/// The first error of an error body (distribution-spec, "Error Codes").
fn said(body: &[u8]) -> String {
    let first = serde_json::from_slice::<serde_json::Value>(body).ok();
    let first = first.as_ref().and_then(|body| body.get("errors")?.get(0));
    let word = |key: &str| first.and_then(|error| error.get(key)?.as_str()).map(shown).unwrap_or_default();
    match (word("code"), word("message")) {
        (code, message) if code.is_empty() && message.is_empty() => String::new(),
        (code, message) => format!(" ({code}: {message})"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Connections to a registry whose origin is known already.
    pub(in crate::adapters::registry) fn connection(base: &str) -> Connection {
        let base = Url::parse(base).unwrap();
        let host = base.host_str().unwrap();
        let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let repository: Repository = format!("{host}/a/b").parse().unwrap();
        let connection = Connection::new(&repository, false, None, Credentials::Anonymous);
        connection.base.set(base).unwrap();
        connection
    }

    #[test]
    fn h03_h05_what_an_answer_may_name_depends_on_where_it_came_from() {
        use Away::{Content, Https, Never};
        let all = [Never, Https, Content];
        for (base, target, allowed) in [
            ("https://registry.example", "/x", &all[..]),
            ("https://registry.example", "https://registry.example/x", &all),
            ("https://registry.example", "https://registry.example:443/x", &all),
            ("https://registry.example", "https://cdn.example/x", &[Https, Content]),
            ("https://registry.example", "https://registry.example:444/x", &[Https, Content]),
            ("https://registry.example", "https://registry.example.evil/x", &[Https, Content]),
            ("https://registry.example", "http://registry.example/x", &[]),
            ("https://registry.example", "http://cdn.example/x", &[]),
            ("https://registry.example", "https://user@cdn.example/x", &[]),
            ("https://registry.example", "https://127.0.0.1/x", &[]),
            ("https://registry.example", "https://[::1]/x", &[]),
            ("https://registry.example", "https://0x7f000001/x", &[]),
            ("https://registry.example", "https://2130706433/x", &[]),
            ("https://registry.example", "https://127.1/x", &[]),
            ("https://registry.example", "https://[::ffff:a00:1]/x", &[]),
            ("https://registry.example", "https://169.254.169.254/x", &[]),
            ("https://registry.example", "file:///x", &[]),
            ("https://registry.example", "https:///", &[]),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/x", &all),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/x", &[Content]),
            ("http://127.0.0.1:5000", "http://[::1]:5001/x", &[Content]),
            ("http://127.0.0.1:5000", "https://cdn.example/x", &[Content]),
            ("http://127.0.0.1:5000", "http://cdn.example/x", &[]),
            ("http://127.0.0.1:5000", "http://10.0.0.1/x", &[]),
            ("http://registry.example", "http://127.0.0.1/x", &[]),
            ("http://registry.example", "http://other.example/x", &[]),
        ] {
            let connection = connection(base);
            let from = Url::parse(base).unwrap().join("/v2/").unwrap();
            for away in all {
                let judged = connection.judge(&from, target, away);
                assert_eq!(judged.is_ok(), allowed.contains(&away), "{base} {target} {away:?}: {judged:?}");
            }
        }
    }

    #[test]
    fn k07_foreign_text_is_escaped_and_cut() {
        assert_eq!(shown("a b\u{1b}[2J\u{202e}\u{9b}\r"), "a b\\u{1b}[2J\\u{202e}\\u{9b}\\u{d}");
        assert_eq!(shown(&"x".repeat(1 << 20)).len(), 300);
    }
}
