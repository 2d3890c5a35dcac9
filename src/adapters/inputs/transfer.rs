//! Downloading: several files at a time over one pool of connections, each resumed, retried and bounded.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, Sink, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Proxy, Response, StatusCode};

use super::{Attempt, Failure, InputsError, Wanted, insert};
use crate::adapters::http::{self, chain};
use crate::adapters::packages::pypi;
use crate::adapters::sources::{Access, Mirror, Mirrors};
use crate::adapters::state::{self, ContentStore, StateError};
use crate::adapters::{Event, Progress};
use crate::content::{Digest, Hashing, limits};
use crate::lockfile::{Input, Kind};

/// Files under way at once. More saturates no mirror any better, and some mirrors answer with 429.
const PARALLEL: usize = 8;
/// Redirects followed: content delivery networks need one or two.
const REDIRECTS: usize = 5;
/// Failures in a row, over all files, after which a mirror counts as down and is not asked again.
const DOWN_AFTER: u32 = 12;

/// How long to wait for what. The defaults suit the internet; tests are less patient.
#[derive(Debug, Clone)]
pub struct Pace {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub stall: Duration,
    /// For a whole file, to which its size at [`Pace::bytes_per_second`] is added.
    pub file: Duration,
    /// The slowest transfer that is put up with.
    pub bytes_per_second: u64,
    /// Times that a file is asked of one mirror.
    pub tries: u32,
    /// Before the second try; doubled before each further one.
    pub back_off: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            file: Duration::from_secs(120),
            bytes_per_second: 16 << 10,
            tries: 4,
            back_off: Duration::from_millis(500),
        }
    }
}

/// One run of downloads.
pub(super) struct Transfer<'a> {
    pub(super) store: &'a ContentStore,
    pub(super) partial: &'a Path,
    pub(super) mirrors: &'a Mirrors,
    pub(super) access: &'a Access,
    pub(super) pace: &'a Pace,
    pub(super) progress: Progress<'a>,
}

/// What all files of a run share.
struct Shared<'a> {
    /// For Debian's archives, with the proxies of the host's apt.
    debian: Client,
    /// For everything else.
    client: Client,
    done: Cell<u64>,
    total: u64,
    /// Failures in a row, by mirror.
    failures: BTreeMap<&'a Mirror, Cell<u32>>,
}

/// Why one try failed.
pub(super) enum Broken {
    /// The mirror does not have it, or not for us: the next mirror.
    Elsewhere(Failure, String),
    /// It may go better in a while.
    Again(String, Option<Duration>),
    /// What came is not what was locked.
    Differs(String),
    /// This machine's disk: no use in going on.
    Disk(StateError),
}

impl From<StateError> for Broken {
    fn from(error: StateError) -> Self {
        Self::Disk(error)
    }
}

impl Transfer<'_> {
    /// Brings what can be had into the store, and gives back the rest.
    pub(super) fn run<'a>(&self, wanted: Vec<Wanted<'a>>) -> Result<Vec<Wanted<'a>>, InputsError> {
        let runtime = http::runtime().map_err(StateError::io("start the runtime for", self.partial))?;
        runtime.block_on(self.all(wanted))
    }

    async fn all<'a>(&self, wanted: Vec<Wanted<'a>>) -> Result<Vec<Wanted<'a>>, InputsError> {
        let mirrors = wanted.iter().flat_map(|(input, _)| self.mirrors.of(&input.archive));
        let shared = Shared {
            debian: client(self.access, self.pace)?,
            client: client(&self.access.without_proxies(), self.pace)?,
            done: Cell::new(0),
            total: wanted.iter().map(|(input, _)| input.size).sum(),
            failures: mirrors.map(|mirror| (mirror, Cell::new(0))).collect(),
        };
        let mut under_way = stream::iter(wanted)
            .map(|(input, attempts)| self.bring(input, attempts, &shared))
            .buffer_unordered(PARALLEL);
        let mut failed = Vec::new();
        while let Some(result) = under_way.next().await {
            failed.extend(result?);
        }
        failed.sort_by_key(|(input, _)| *input);
        Ok(failed)
    }

    /// One file, from the first mirror that gives it.
    async fn bring<'a>(
        &self,
        input: &'a Input,
        mut attempts: Vec<Attempt>,
        shared: &Shared<'_>,
    ) -> Result<Option<Wanted<'a>>, StateError> {
        for mirror in self.mirrors.of(&input.archive) {
            let broken = if let Some(folder) = mirror.folder() {
                match insert(self.store, &folder.join(&input.path), input)? {
                    Ok(()) => return Ok(None),
                    Err(attempt) => {
                        attempts.push(attempt);
                        continue;
                    }
                }
            } else {
                self.ask_mirror(input, mirror, shared).await
            };
            let (kind, reason) = match broken {
                Ok(()) => return Ok(None),
                Err(Broken::Disk(error)) => return Err(error),
                Err(Broken::Elsewhere(kind, reason)) => (kind, reason),
                Err(Broken::Again(reason, _)) => (Failure::Net, reason),
                Err(Broken::Differs(reason)) => (Failure::Integrity, reason),
            };
            attempts.push(Attempt { place: mirror.to_string(), reason: mirror.redact(&reason), kind });
        }
        Ok(Some((input, attempts)))
    }

    /// One file from one mirror, tried as often as the pace says.
    async fn ask_mirror(&self, input: &Input, mirror: &Mirror, shared: &Shared<'_>) -> Result<(), Broken> {
        let mut wait = self.pace.back_off;
        let mut tried = 0;
        loop {
            let failures = shared.failures.get(mirror);
            if failures.is_some_and(|failures| failures.get() >= DOWN_AFTER) {
                return Err(Broken::Again(format!("not asked: it failed {DOWN_AFTER} times in a row"), None));
            }
            tried += 1;
            let seconds = input.size / self.pace.bytes_per_second.max(1);
            let deadline = self.pace.file.saturating_add(Duration::from_secs(seconds));
            let result = tokio::time::timeout(deadline, self.once(input, mirror, shared)).await;
            let result = result.unwrap_or_else(|_| Err(Broken::Again(format!("not done in {deadline:?}"), None)));
            if let Some(failures) = failures {
                failures.set(if matches!(result, Err(Broken::Again(..))) { failures.get() + 1 } else { 0 });
            }
            match result {
                Err(Broken::Again(reason, after)) if tried < self.pace.tries => {
                    let reason = mirror.redact(&reason);
                    (self.progress)(Event::Step(&format!("{} {reason}; trying again: {}", mirror, input.display())));
                    tokio::time::sleep(after.unwrap_or(wait).max(wait)).await;
                    wait = wait.saturating_mul(2);
                }
                other => return other,
            }
        }
    }

    /// One try: what is here already is hashed, the rest is asked for, and all of it is checked.
    async fn once(&self, input: &Input, mirror: &Mirror, shared: &Shared<'_>) -> Result<(), Broken> {
        let path = self.partial.join(input.digest.hex());
        let mut partial = Partial::open(&path, input.size, shared, self.progress)?;
        let resumed = partial.size();
        if resumed < input.size {
            self.rest(input, mirror, &mut partial, shared).await?;
        }
        let digest = partial.digest();
        if digest != input.digest {
            let _ = fs::remove_file(&path);
            if resumed > 0 {
                // What lay here from another run, or the join, was wrong: the whole file may well be right.
                return Err(Broken::Again("what was resumed did not fit together".to_owned(), Some(Duration::ZERO)));
            }
            return Err(Broken::Differs(format!("has the digest {digest}, not {}", input.digest)));
        }
        let (store, locked, from) = (self.store.clone(), input.clone(), path.clone());
        // Copied and hashed once more by the store, flushed to disk: off the thread that receives.
        let inserted = tokio::task::spawn_blocking(move || insert(&store, &from, &locked)).await;
        match inserted {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(attempt))) => return Err(Broken::Again(attempt.reason, None)),
            Ok(Err(error)) => return Err(error.into()),
            Err(error) => return Err(Broken::Again(format!("interrupted: {error}"), None)),
        }
        partial.complete = true;
        let _ = fs::remove_file(&path);
        Ok(())
    }

    /// Asks for what is not here yet, and writes it behind what is.
    async fn rest(
        &self,
        input: &Input,
        mirror: &Mirror,
        partial: &mut Partial<'_>,
        shared: &Shared<'_>,
    ) -> Result<(), Broken> {
        let client = shared.client(input.kind);
        let address = self.address(input, mirror, client).await?;
        let mut request = client.get(address).header(ACCEPT_ENCODING, "identity");
        if partial.size() > 0 {
            request = request.header(RANGE, format!("bytes={}-", partial.size()));
        }
        let mut response = within(self.pace.stall, request.send()).await?;
        self.begin(&response, partial)?;
        let expected = input.size - partial.size();
        if let Some(announced) = response.content_length().filter(|announced| *announced != expected) {
            return Err(Broken::Differs(format!("announces {announced} bytes where {expected} are locked")));
        }
        while let Some(chunk) = within(self.pace.stall, response.chunk()).await? {
            if partial.size() + chunk.len() as u64 > input.size {
                partial.restart()?;
                return Err(Broken::Differs(format!("sends more than the {} bytes that are locked", input.size)));
            }
            partial.write(&chunk)?;
        }
        if partial.size() < input.size {
            return Err(Broken::Again(format!("broke off after {} of {} bytes", partial.size(), input.size), None));
        }
        Ok(())
    }

    /// Where a mirror has a file. A Python index keeps files wherever it likes, and says where on the project's page.
    async fn address(&self, input: &Input, mirror: &Mirror, client: &Client) -> Result<String, Broken> {
        if input.kind != Kind::Wheel {
            return Ok(mirror.file(&input.path));
        }
        let request = client.get(pypi::page(mirror, &input.name)).header(ACCEPT_ENCODING, "identity");
        let mut response = within(self.pace.stall, request.header(ACCEPT, pypi::ACCEPT).send()).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&response));
        }
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().to_ascii_lowercase();
        let mut bytes = Vec::new();
        while let Some(chunk) = within(self.pace.stall, response.chunk()).await? {
            if (bytes.len() + chunk.len()) as u64 > pypi::PAGE {
                return Err(Broken::Elsewhere(Failure::Large, "sends a page without end".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        let links = pypi::links(&bytes, media_type.trim(), response.url());
        let links = links.map_err(|reason| Broken::Elsewhere(Failure::Net, format!("its page: {reason}")))?;
        // Of two files of one name it is the one with the locked digest; whatever comes is hashed.
        let mut named: Vec<_> = links.into_iter().filter(|link| link.file == input.file_name()).collect();
        named.sort_by_key(|link| link.digest != Some(input.digest));
        let found = named.into_iter().next().map(|link| link.url.to_string());
        found.ok_or_else(|| Broken::Elsewhere(Failure::Absent, "its page does not list it".to_owned()))
    }

    /// Reads the head of an answer: where the body that follows belongs, or why none does.
    fn begin(&self, response: &Response, partial: &mut Partial<'_>) -> Result<(), Broken> {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Broken::Elsewhere(Failure::Net, "answers with an encoding that was not asked for".to_owned()));
        }
        match status {
            StatusCode::OK => partial.restart().map_err(Broken::from),
            StatusCode::PARTIAL_CONTENT => {
                let from = format!("bytes {}-", partial.size());
                if partial.size() > 0 && header(CONTENT_RANGE).is_some_and(|range| range.starts_with(&from)) {
                    return Ok(());
                }
                partial.restart()?;
                Err(Broken::Again("answered with another range than was asked for".to_owned(), None))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.restart()?;
                Err(Broken::Again("has fewer bytes than are here".to_owned(), None))
            }
            _ => Err(refused(response)),
        }
    }
}

/// Why an answer is none.
pub(super) fn refused(response: &Response) -> Broken {
    let status = response.status();
    let after = || retry_after(response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Broken::Elsewhere(Failure::Absent, format!("answers {status}")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Broken::Elsewhere(Failure::Denied, format!("answers {status}"))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Broken::Again(format!("answers {status}"), after())
        }
        status if status.is_server_error() => Broken::Again(format!("answers {status}"), after()),
        status => Broken::Elsewhere(Failure::Net, format!("answers {status}")),
    }
}

impl Shared<'_> {
    const fn client(&self, kind: Kind) -> &Client {
        match kind {
            Kind::Deb => &self.debian,
            _ => &self.client,
        }
    }

    fn add(&self, progress: Progress<'_>, bytes: u64) {
        self.done.set(self.done.get().saturating_add(bytes));
        progress(Event::Bytes { done: self.done.get().min(self.total), total: self.total });
    }

    fn take_back(&self, bytes: u64) {
        self.done.set(self.done.get().saturating_sub(bytes));
    }
}

/// A file on its way, and the hash of what of it is here.
struct Partial<'s> {
    path: PathBuf,
    file: File,
    hashing: Hashing<Sink>,
    shared: &'s Shared<'s>,
    progress: Progress<'s>,
    complete: bool,
}

impl<'s> Partial<'s> {
    /// Opens what is here and hashes it; more than `size` bytes cannot be a beginning, and are dropped.
    fn open(path: &Path, size: u64, shared: &'s Shared<'s>, progress: Progress<'s>) -> Result<Self, StateError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(StateError::io("write", path))?;
        let here = file.metadata().map_err(StateError::io("read", path))?.len();
        let hashing = Hashing::new(io::sink());
        let mut partial = Self { path: path.to_owned(), file, hashing, shared, progress, complete: false };
        if here > size {
            partial.restart()?;
        } else {
            let read = io::copy(&mut partial.file, &mut partial.hashing);
            read.map_err(StateError::io("read", path))?;
            shared.add(progress, partial.size());
        }
        Ok(partial)
    }

    const fn size(&self) -> u64 {
        self.hashing.size()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let written = self.file.write_all(bytes).and_then(|()| self.hashing.write_all(bytes));
        written.map_err(StateError::io("write", &self.path))?;
        self.shared.add(self.progress, bytes.len() as u64);
        Ok(())
    }

    /// Back to nothing.
    fn restart(&mut self) -> Result<(), StateError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(StateError::io("write", &self.path))?;
        self.shared.take_back(self.size());
        self.hashing = Hashing::new(io::sink());
        Ok(())
    }

    /// The digest of all that is here.
    fn digest(&self) -> Digest {
        self.hashing.digest()
    }
}

impl Drop for Partial<'_> {
    /// What is here was counted as done; the next try counts it again.
    fn drop(&mut self) {
        if !self.complete {
            self.shared.take_back(self.size());
        }
    }
}

/// A client that builds its TLS once, follows few redirects and never from https to http.
pub(super) fn client(access: &Access, pace: &Pace) -> Result<Client, InputsError> {
    let failed = |error: reqwest::Error| InputsError::Access(chain(&error.without_url()));
    let redirects = Policy::custom(|attempt| {
        let downgraded = attempt.previous().last().is_some_and(|from| from.scheme() == "https");
        if downgraded && attempt.url().scheme() != "https" {
            attempt.error("it redirects from https to http")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("it redirects too often")
        } else {
            attempt.follow()
        }
    });
    let mut builder = http::plain_client()
        .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        .connect_timeout(pace.connect)
        .pool_max_idle_per_host(PARALLEL);
    if let Some(proxy) = &access.http_proxy {
        builder = builder.proxy(Proxy::http(proxy).map_err(failed)?);
    }
    if let Some(proxy) = &access.https_proxy {
        builder = builder.proxy(Proxy::https(proxy).map_err(failed)?);
    }
    if let Some(path) = &access.ca_cert {
        let pem = state::read_file(path, limits::OWN_FILE)?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(failed)?;
        if certificates.is_empty() {
            return Err(InputsError::Access(format!("{} has no certificate in it", path.display())));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(failed)
}

/// Waits for the network, but not forever.
pub(super) async fn within<T>(stall: Duration, step: impl Future<Output = reqwest::Result<T>>) -> Result<T, Broken> {
    match tokio::time::timeout(stall, step).await {
        Err(_) => Err(Broken::Again(format!("nothing came for {stall:?}"), None)),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let error = error.without_url();
            let reason = chain(&error);
            Err(match error.is_redirect() || error.is_builder() {
                true => Broken::Elsewhere(Failure::Net, reason),
                false => Broken::Again(reason, None),
            })
        }
    }
}

/// `Retry-After` in seconds, as far as anybody waits; a date counts as not said.
fn retry_after(value: Option<&str>) -> Option<Duration> {
    value?.trim().parse().ok().map(|seconds: u64| Duration::from_secs(seconds.min(30)))
}
