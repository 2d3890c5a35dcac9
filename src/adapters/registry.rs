//! Registries (OCI distribution-spec v1.1): images and what is attached to them, read and written over HTTP.
//!
//! A tag is resolved once and never used again; everything else is asked for by digest and hashed here. What a
//! registry says about attestations is a hint: its referrers API and the fallback tag are both read, and each
//! manifest's own `subject` decides. "None" is believed only where the registry says 404 or lists nothing; whatever
//! else goes wrong is an error, because an attestation that could not be asked for might have been there.
//!
//! oci-client is not used here: it contacts whatever host an answer names, reads without bounds, and takes a busy
//! registry for an empty one. The tests use it as an independent client of what is published.

mod auth;
mod discovery;
mod guard;
mod http;
mod push;
mod remembered;
mod token;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, StatusCode, Url, header};
use tokio::runtime::Runtime;
use tokio::time::Instant;

pub use auth::{Challenge, Credentials};
pub use discovery::next_page;
pub use push::Pushed;

use super::state::ContentStore;
use super::{Legacy, LegacyKind, Referrers, Served, Store, StoreError};
use crate::content::{self, ContentError, Digest, Hashing, limits};
use crate::oci::{Descriptor, Manifest};
use crate::reference::{Reference, Repository};
use http::{Answer, Ask, Away, Body, Connection, shown};

/// Requests at a time: enough to hide latency, few enough for any registry.
const PARALLEL: usize = 6;
/// The slowest transfer that is waited for, in bytes per second; below it a body counts as stalled.
const SLOWEST: u64 = 256 << 10;
/// Deadlines' worth of time that one call of several requests may take.
const CALL: u32 = 4;
/// The manifests that are understood.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// How registries are talked to.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Registries, as host and port, that may be talked to over plain http. Loopback addresses always may.
    pub insecure: Vec<String>,
    /// Certificate authorities to trust beside the system's, PEM.
    pub ca_cert: Option<Vec<u8>>,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// How long one small request may take, retries included. Bodies of a known size get time for that size on top.
    pub deadline: Duration,
    /// Where manifests, small blobs and the lists of attestations found are kept; nowhere if absent.
    pub cache: Option<PathBuf>,
    /// How long a list of attestations that was found is used without asking again.
    pub remember: Duration,
    /// Whether to answer from the cache alone.
    pub offline: bool,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            ca_cert: None,
            credentials: Credentials::Anonymous,
            deadline: Duration::from_secs(30),
            cache: None,
            remember: Duration::from_secs(24 * 60 * 60),
            offline: false,
        }
    }
}

/// All registries of one run. Cheap until the first request; connections and tokens are shared.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    options: RegistryOptions,
    runtime: OnceLock<Runtime>,
    connections: Mutex<HashMap<String, Arc<Connection>>>,
}

impl Registry {
    /// Registries under these options. Nothing is contacted.
    pub fn new(options: RegistryOptions) -> Self {
        Self(Arc::new(Shared { options, runtime: OnceLock::new(), connections: Mutex::default() }))
    }

    /// One repository.
    pub fn repository(&self, repository: &Repository) -> RegistryStore {
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = repository.registry();
        let connection = connections.entry(registry.to_owned()).or_insert_with(|| {
            let options = &self.0.options;
            let insecure = options.insecure.iter().any(|host| host == registry);
            Arc::new(Connection::new(repository, insecure, options.ca_cert.clone(), options.credentials.clone()))
        });
        RegistryStore {
            shared: Arc::clone(&self.0),
            connection: Arc::clone(connection),
            repository: repository.clone(),
            scope: format!("repository:{}:pull", repository.path()),
            fresh: false,
        }
    }

    /// What a reference means now: the manifest or index, and, where tag and digest were both written and the tag
    /// means something else, that other digest. The digest wins.
    pub fn resolve(&self, reference: &Reference) -> Result<(Served, Option<Digest>), StoreError> {
        let store = self.repository(&reference.repository);
        match &reference.digest {
            None => Ok((store.resolve_tag(reference.tag_or_latest())?, None)),
            Some(digest) => {
                let served = store.manifest(digest)?;
                let tag = reference.tag.as_ref().filter(|_| !self.0.options.offline);
                let tagged = tag.and_then(|tag| store.resolve_tag(tag).ok());
                Ok((served, tagged.map(|tagged| tagged.digest).filter(|tagged| tagged != digest)))
            }
        }
    }

    /// Requests sent so far, to all registries.
    pub fn requests(&self) -> usize {
        let connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.values().map(|connection| connection.requests()).sum()
    }

    /// What about these options and this environment weakens transport: one line each, for the record.
    pub fn weakened(&self, var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<String> {
        let options = &self.0.options;
        let mut lines: Vec<_> =
            options.insecure.iter().map(|host| format!("plain http is allowed to the registry {host}")).collect();
        if options.ca_cert.is_some() {
            lines.push("certificate authorities were added for registries".to_owned());
        }
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if var(name).is_some() {
                lines.push(format!("{name} replaces the system's certificate authorities"));
            }
        }
        lines
    }
}

/// One repository of a registry.
#[derive(Clone)]
pub struct RegistryStore {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    repository: Repository,
    scope: String,
    fresh: bool,
}

impl RegistryStore {
    /// The same repository, with nothing remembered about what is attached to its images.
    ///
    /// [`Store::referrers`] may answer from a list of what was found before, so that a second verification of a known
    /// digest asks nothing. The bytes are re-hashed and judged again, so such a list can only be *incomplete*: it
    /// cannot admit what would not have been admitted from the full one, unless something newer would have spoken
    /// against the image. A registry can withhold that at any time anyway; what guards against it is `max-age`, a
    /// `[[deny]]` entry, or a list that is younger than [`RegistryOptions::remember`]. Nothing found is never
    /// remembered, and whoever is about to deny on a remembered list has to ask again through this.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { fresh: true, ..self.clone() }
    }

    /// The repository's name.
    pub fn name(&self) -> &Repository {
        &self.repository
    }

    /// What a tag means now. The digest is computed from the bytes.
    pub fn resolve_tag(&self, tag: &str) -> Result<Served, StoreError> {
        self.run(async { self.fetch_manifest(tag, None, Away::Https, self.until()).await })
    }

    async fn fetch_manifest(
        &self,
        reference: &str,
        expected: Option<(&Digest, Option<u64>)>,
        away: Away,
        until: Instant,
    ) -> Result<Served, StoreError> {
        let what = format!("manifest {reference} of {}", self.repository.path());
        let url = self.url(&format!("manifests/{reference}"))?;
        let headers = vec![(header::ACCEPT, ACCEPT.to_owned())];
        let answer = self.get(url, &what, headers, away, until).await?;
        let media_type = answer.text(header::CONTENT_TYPE).map(str::to_owned);
        let claimed = answer.text("docker-content-digest").map(str::to_owned);
        let raw = answer.read(limits::MANIFEST).await?;
        let digest = Digest::of(&raw);
        match expected {
            Some((expected, Some(size))) => content::check(&raw, expected, size, &what)?,
            Some((expected, None)) => content::check_digest(&raw, expected, &what)?,
            None => {}
        }
        if let Some(claimed) = claimed.filter(|claimed| claimed.starts_with("sha256:"))
            && claimed != digest.to_string()
        {
            let reason = format!("it says the digest is {}, and the bytes have {digest}", shown(&claimed));
            return Err(StoreError::Altered { what, place: self.connection.registry.clone(), reason });
        }
        // Only what reads well under the type it was served as is kept: the next run must not be laxer than this one.
        if Manifest::parse(&raw, media_type.as_deref()).is_ok() {
            self.keep(&digest, &raw);
        }
        Ok(Served { raw, digest, media_type })
    }

    async fn manifest_by_digest(&self, digest: &Digest, until: Instant) -> Result<Served, StoreError> {
        if let Some(raw) = self.kept(digest, limits::MANIFEST) {
            return Ok(Served { raw, digest: *digest, media_type: None });
        }
        self.fetch_manifest(&digest.to_string(), Some((digest, None)), Away::Https, until).await
    }

    async fn fetch_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(ContentError::TooLarge { what: digest.to_string(), limit }.into());
        }
        if let Some(bytes) = self.kept(digest, *size) {
            content::check(&bytes, digest, *size, &digest.to_string())?;
            return Ok(bytes);
        }
        // At once, so that it does not grow to twice its size.
        let mut bytes = Vec::with_capacity(usize::try_from(*size).unwrap_or_default());
        self.stream_blob(descriptor, &mut bytes).await?;
        self.keep(digest, &bytes);
        Ok(bytes)
    }

    async fn stream_blob(&self, descriptor: &Descriptor, to: &mut dyn Write) -> Result<(), StoreError> {
        let Descriptor { digest, size: expected, .. } = descriptor;
        let what = format!("blob {digest}");
        let url = self.url(&format!("blobs/{digest}"))?;
        let until = self.until() + Duration::from_secs(expected / SLOWEST);
        let mut answer = self.get(url, &what, Vec::new(), Away::Content, until).await?;
        answer.start(u64::MAX)?;
        let mut hashing = Hashing::new(to);
        while let Some(piece) = answer.piece(hashing.size()).await? {
            let so_far = hashing.size() + piece.len() as u64;
            if so_far > *expected {
                return Err(ContentError::Size { what, expected: *expected, actual: so_far }.into());
            }
            hashing.write_all(&piece).map_err(|source| ContentError::Io { what: what.clone(), source })?;
        }
        let (_, actual, size) = hashing.finish();
        Ok(content::expect(&what, (digest, *expected), (actual, size))?)
    }

    /// A GET that has to be answered with 200.
    async fn get(
        &self,
        url: Url,
        what: &str,
        headers: Vec<(header::HeaderName, String)>,
        away: Away,
        until: Instant,
    ) -> Result<Answer, StoreError> {
        let mut ask = self.ask(Method::GET, url, what, away, until);
        ask.headers = headers;
        let answer = self.connection.send(ask).await?;
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer), // a part is refused where it is read
            _ => Err(answer.refusal().await),
        }
    }

    fn ask<'a>(&'a self, method: Method, url: Url, what: &'a str, away: Away, until: Instant) -> Ask<'a> {
        let (headers, body) = (Vec::new(), Body::Empty);
        Ask { method, url, what, headers, body, scope: &self.scope, away, until }
    }

    /// An address below this repository.
    fn url(&self, below: &str) -> Result<Url, StoreError> {
        if self.shared.options.offline {
            return Err(self.connection.net(below, "it is not in the cache, and nothing is asked for offline"));
        }
        let path = format!("/v2/{}/{below}", self.repository.path());
        self.connection.base()?.join(&path).map_err(|error| self.connection.net(below, &error.to_string()))
    }

    fn until(&self) -> Instant {
        Instant::now() + self.shared.options.deadline
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let runtime = match self.shared.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let built =
                    super::http::runtime().map_err(|error| self.connection.net("a request", &error.to_string()))?;
                self.shared.runtime.get_or_init(|| built)
            }
        };
        runtime.block_on(work)
    }

    fn kept(&self, digest: &Digest, limit: u64) -> Option<Vec<u8>> {
        self.content()?.get(digest, limit)
    }

    /// Keeps content for the next run; a cache that cannot be written changes nothing.
    fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if let Some(content) = self.content() {
            let _ = content.insert(bytes, digest, bytes.len() as u64, "cached content");
        }
    }

    fn content(&self) -> Option<ContentStore> {
        Some(ContentStore::at(self.shared.options.cache.as_ref()?.join("content")))
    }
}

impl Store for RegistryStore {
    fn manifest(&self, digest: &Digest) -> Result<Served, StoreError> {
        if let Some(raw) = self.kept(digest, limits::MANIFEST) {
            return Ok(Served { raw, digest: *digest, media_type: None });
        }
        self.run(async { self.manifest_by_digest(digest, self.until()).await })
    }

    fn referrers(&self, subject: &Digest) -> Result<Referrers, StoreError> {
        if let Some(referrers) = self.recall(subject) {
            return Ok(referrers);
        }
        let referrers = self.run(self.fetch_referrers(subject))?;
        if let Some(remembered) = self.remembered(subject) {
            remembered.save(&referrers);
        }
        Ok(referrers)
    }

    fn referrers_now(&self, subject: &Digest) -> Result<Referrers, StoreError> {
        self.fresh().referrers(subject)
    }

    fn legacy(&self, subject: &Digest, kinds: &[LegacyKind]) -> Result<Legacy, StoreError> {
        self.run(self.fetch_legacy(subject, kinds))
    }

    fn legacy_names(&self, subject: &Digest) -> Vec<String> {
        let tags = LegacyKind::SIGNED.map(|kind| kind.tag(subject));
        tags.into_iter().filter(|tag| self.run(async { Ok(self.has_tag(tag).await) }).unwrap_or(false)).collect()
    }

    fn elsewhere(&self, repository: &Repository) -> Option<Box<dyn Store>> {
        Some(Box::new(Registry(Arc::clone(&self.shared)).repository(repository)))
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.run(self.fetch_blob(descriptor, limit))
    }

    fn blobs(&self, descriptors: &[Descriptor], limit: u64) -> Vec<Result<Vec<u8>, StoreError>> {
        let all = futures_util::stream::iter(descriptors)
            .map(|descriptor| self.fetch_blob(descriptor, limit))
            .buffered(PARALLEL)
            .collect::<Vec<_>>();
        match self.run(async { Ok(all.await) }) {
            Ok(blobs) => blobs,
            Err(error) => {
                let reason = error.to_string();
                descriptors.iter().map(|_| Err(self.connection.net("blobs", &reason))).collect()
            }
        }
    }

    fn copy_blob(&self, descriptor: &Descriptor, to: &mut dyn Write) -> Result<(), StoreError> {
        if descriptor.size > limits::LAYER {
            let what = descriptor.digest.to_string();
            return Err(ContentError::TooLarge { what, limit: limits::LAYER }.into());
        }
        self.run(self.stream_blob(descriptor, to))
    }

    fn open_blob(&self, descriptor: &Descriptor) -> Result<File, StoreError> {
        super::staged(self, descriptor)
    }
}
