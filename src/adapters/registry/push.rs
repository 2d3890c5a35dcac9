//! Writing to a registry: blobs, manifests by digest, the fallback index of attestations, tags.
//!
//! Nothing a registry says about what it stored is believed: manifests and tags are read back and compared.

use std::collections::HashSet;
use std::io::{self, Read};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url, header};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::http::{Answer, Ask, Away, Body, shown};
use super::{CALL, RegistryStore, SLOWEST};
use crate::adapters::layout::{EMPTY_CONFIG, attestation_entry};
use crate::adapters::{Served, Store, StoreError, attached};
use crate::content::{Digest, Hashing, limits};
use crate::oci::{Descriptor, Manifest, OciError, names};

/// Attempts to upload a blob: an upload cannot be resumed, only begun again.
const UPLOADS: u32 = 3;
/// Rounds of merging into a fallback index that others write too.
const MERGES: u32 = 16;
/// How long a writer that has read the old index may take to write its own: after so long, what stands stays.
const SETTLE: Duration = Duration::from_millis(250);
/// Piece of a file sent at a time.
const PIECE: usize = 256 << 10;

type Headers = Vec<(header::HeaderName, String)>;

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there before.
    Present,
    /// It was sent.
    Sent,
}

/// Why one upload did not succeed.
enum Upload {
    Again(StoreError),
    Failed(StoreError),
}

impl From<StoreError> for Upload {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl RegistryStore {
    /// Brings a blob from another store here, unless it is here. What is sent is hashed on the way, and withheld at
    /// its end if it is not what the descriptor says.
    pub fn push_blob(&self, descriptor: &Descriptor, from: &dyn Store) -> Result<Pushed, StoreError> {
        self.push_from(descriptor, &|| Ok(Box::new(from.open_blob(descriptor)?)))
    }

    /// Attaches an attestation to an image that is here: its blobs, its manifest
    /// ([`crate::adapters::layout::attestation_manifest`]), and the fallback index where the registry needs it.
    pub fn attach(&self, manifest: &[u8], bundle: &[u8], predicate_type: &str) -> Result<Descriptor, StoreError> {
        let entry = attestation_entry(manifest, predicate_type);
        let parsed = Manifest::parse(manifest, Some(names::MANIFEST));
        let parsed = parsed.map_err(|source| attached::document(&entry.digest, source))?;
        for bytes in [EMPTY_CONFIG, bundle] {
            let descriptor = Descriptor::of(names::EMPTY, bytes);
            self.push_from(&descriptor, &|| Ok(Box::new(io::Cursor::new(bytes.to_vec()))))?;
        }
        let listed = self.push_manifest(names::MANIFEST, manifest)?;
        if let Some(subject) = parsed.subject().filter(|_| !listed) {
            self.list_in_fallback(&subject.digest, std::slice::from_ref(&entry))?;
        }
        Ok(entry)
    }

    /// The same for a blob that is in no store: `open` is called again for every try.
    pub(in crate::adapters) fn push_from(
        &self,
        descriptor: &Descriptor,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>, StoreError>,
    ) -> Result<Pushed, StoreError> {
        if self.run(self.has_blob(descriptor))? {
            return Ok(Pushed::Present);
        }
        let mut attempt = 1;
        loop {
            let source = open()?;
            let outcome = self.run(async { Ok(self.upload(descriptor, source).await) })?;
            match outcome {
                Ok(()) => break,
                Err(Upload::Failed(error)) => return Err(error),
                Err(Upload::Again(error)) if attempt >= UPLOADS => return Err(error),
                Err(Upload::Again(_)) => attempt += 1,
            }
        }
        if !self.run(self.has_blob(descriptor))? {
            return Err(self.broken(&descriptor.digest.to_string(), "that it took the blob, and does not have it"));
        }
        Ok(Pushed::Sent)
    }

    /// Stores a manifest or index under its digest and reads it back. Says whether the registry lists it as a
    /// referrer of its subject by itself (`OCI-Subject`).
    pub fn push_manifest(&self, media_type: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let digest = Digest::of(bytes);
        self.run(async {
            let answer = self.put_manifest(&digest.to_string(), media_type, bytes, Vec::new()).await?;
            let answer = self.created(answer, &digest).await?;
            let listed = answer.text("oci-subject").is_some_and(|subject| {
                let own = Manifest::parse(bytes, Some(media_type)).ok();
                own.and_then(|own| own.subject().map(|own| own.digest.to_string())).as_deref() == Some(subject)
            });
            let stored = self.fetch_manifest(&digest.to_string(), None, Away::Https, self.until()).await?;
            self.compare(&stored, &digest)?;
            Ok(listed)
        })
    }

    /// What stands under a tag, if anything does.
    pub fn tagged(&self, tag: &str) -> Result<Option<Served>, StoreError> {
        match self.resolve_tag(tag) {
            Ok(served) => Ok(Some(served)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a tag on a manifest that is here, and reads it back.
    pub fn push_tag(&self, tag: &str, media_type: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let digest = Digest::of(bytes);
        self.run(async {
            let answer = self.put_manifest(tag, media_type, bytes, Vec::new()).await?;
            self.created(answer, &digest).await?;
            let stored = self.fetch_manifest(tag, None, Away::Https, self.until()).await?;
            self.compare(&stored, &digest)
        })
    }

    /// Lists attestations of an image in its fallback index (distribution-spec, "Referrers Tag Schema"), keeping
    /// everything that is listed there. Several writers at the same time lose nothing: what was written is read again
    /// after the time in which another writer could have overwritten it, and merged again if it is gone.
    pub fn list_in_fallback(&self, subject: &Digest, entries: &[Descriptor]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let tag = attached::fallback_tag(subject);
        // Also what was listed when we looked before: whoever overwrote us may have overwritten others.
        let mut entries: Vec<Value> =
            entries.iter().map(|entry| serde_json::to_value(entry).unwrap_or_default()).collect();
        self.run(async {
            let mut written = false;
            for round in 0..MERGES {
                let started = Instant::now();
                let (mut index, condition) = self.fallback_index(&tag).await?;
                if !merge(&mut index, &mut entries, &tag)? {
                    if written {
                        return Ok(());
                    }
                    // Somebody listed them before us; the others' writing may still be under way.
                    written = true;
                    sleep(SETTLE).await;
                    continue;
                }
                let bytes = serde_json::to_vec(&index).unwrap_or_default();
                if bytes.len() as u64 > limits::MANIFEST {
                    let reason = format!("its index would be larger than {} bytes", limits::MANIFEST);
                    return Err(StoreError::Limit { what: tag, place: self.connection.registry.clone(), reason });
                }
                let answer = self.put_manifest(&tag, names::INDEX, &bytes, condition).await?;
                if answer.status != StatusCode::PRECONDITION_FAILED {
                    self.created(answer, &Digest::of(&bytes)).await?;
                    written = true;
                }
                // Others are about as fast as we are.
                sleep(SETTLE.max(started.elapsed() * 3).min(SETTLE * 12) + jitter(round)).await;
            }
            Err(self.broken(&tag, "for others who write it all the time; try again"))
        })
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let what = format!("blob {}", descriptor.digest);
        let url = self.url(&format!("blobs/{}", descriptor.digest))?;
        let scope = self.push_scope();
        let mut ask = self.ask(Method::HEAD, url, &what, Away::Content, self.until());
        ask.scope = &scope;
        let answer = self.connection.send(ask).await?;
        match answer.status {
            StatusCode::OK => {
                let size = answer.text(header::CONTENT_LENGTH).and_then(|size| size.parse::<u64>().ok());
                match size {
                    Some(size) if size != descriptor.size => {
                        Err(self.broken(&what, &format!("that it has {size} bytes, not {}", descriptor.size)))
                    }
                    _ => Ok(true),
                }
            }
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.refusal().await),
        }
    }

    /// One monolithic upload (distribution-spec, "POST then PUT").
    async fn upload(&self, descriptor: &Descriptor, source: Box<dyn Read + Send>) -> Result<(), Upload> {
        let what = format!("blob {}", descriptor.digest);
        let scope = self.push_scope();
        let mut ask = self.ask(Method::POST, self.url("blobs/uploads/")?, &what, Away::Never, self.until());
        ask.scope = &scope;
        ask.body = Body::Bytes(Vec::new());
        let answer = self.connection.send(ask).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.refusal().await.into());
        }
        let location = answer.text(header::LOCATION).unwrap_or_default();
        let url = self.connection.judge(&answer.url, location, Away::Https);
        let mut url: Url = url.map_err(|reason| self.connection.net(&what, &reason))?;
        url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());

        let until = self.until() + Duration::from_secs(descriptor.size / SLOWEST);
        let mut ask = self.ask(Method::PUT, url, &what, Away::Never, until);
        ask.scope = &scope;
        ask.headers.push((header::CONTENT_TYPE, "application/octet-stream".to_owned()));
        ask.body = Body::Stream(reqwest::Body::wrap_stream(pieces(source, descriptor.clone())), descriptor.size);
        let answer = self.connection.send(ask).await.map_err(|error| match error {
            StoreError::Net { .. } => Upload::Again(error),
            error => Upload::Failed(error),
        })?;
        match answer.status.as_u16() {
            201 => self.claims(&answer, &descriptor.digest).map_err(Upload::Failed),
            401 | 429 | 500..=599 => Err(Upload::Again(answer.refusal().await)),
            _ => Err(Upload::Failed(answer.refusal().await)),
        }
    }

    async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
        headers: Headers,
    ) -> Result<Answer, StoreError> {
        let what = format!("manifest {reference}");
        let scope = self.push_scope();
        let url = self.url(&format!("manifests/{reference}"))?;
        let mut ask: Ask<'_> = self.ask(Method::PUT, url, &what, Away::Never, self.until());
        ask.scope = &scope;
        ask.headers = headers;
        ask.headers.push((header::CONTENT_TYPE, media_type.to_owned()));
        ask.body = Body::Bytes(bytes.to_vec());
        self.connection.send(ask).await
    }

    /// Accepts 201, and only if what the answer claims to have stored is what was sent.
    async fn created(&self, answer: Answer, digest: &Digest) -> Result<Answer, StoreError> {
        if answer.status != StatusCode::CREATED {
            return Err(answer.refusal().await);
        }
        self.claims(&answer, digest)?;
        Ok(answer)
    }

    fn claims(&self, answer: &Answer, digest: &Digest) -> Result<(), StoreError> {
        let header = answer.text("docker-content-digest").map(str::to_owned);
        let location = answer.text(header::LOCATION).and_then(|location| location.rsplit('/').next());
        let location = location.filter(|last| last.starts_with("sha256:")).map(str::to_owned);
        match [header, location].into_iter().flatten().find(|claimed| *claimed != digest.to_string()) {
            Some(other) => Err(StoreError::Altered {
                what: digest.to_string(),
                place: self.connection.registry.clone(),
                reason: format!("it says it stored {}", shown(&other)),
            }),
            None => Ok(()),
        }
    }

    fn compare(&self, stored: &Served, digest: &Digest) -> Result<(), StoreError> {
        if stored.digest == *digest {
            return Ok(());
        }
        Err(StoreError::Altered {
            what: digest.to_string(),
            place: self.connection.registry.clone(),
            reason: format!("reading it back gives {}", stored.digest),
        })
    }

    /// The fallback index as it stands, or a new one, and the condition under which it may be replaced: registries
    /// that know conditions refuse one of two writers; the others are why writers look again.
    async fn fallback_index(&self, tag: &str) -> Result<(Value, Headers), StoreError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let headers = vec![(header::ACCEPT, names::INDEX.to_owned())];
        let until = Instant::now() + self.shared.options.deadline * CALL;
        let mut answer = self.get(url.clone(), tag, headers.clone(), Away::Https, until).await;
        if matches!(answer, Err(StoreError::NotFound { .. })) {
            // Some registries have no such tag for the moment in which another writer moves it.
            sleep(SETTLE / 2).await;
            answer = self.get(url, tag, headers, Away::Https, until).await;
        }
        let answer = match answer {
            Err(StoreError::NotFound { .. }) => {
                let absent = vec![(header::IF_NONE_MATCH, "*".to_owned())];
                return Ok((json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [] }), absent));
            }
            answer => answer?,
        };
        let unchanged = answer.text(header::ETAG).map(|etag| (header::IF_MATCH, etag.to_owned())).into_iter().collect();
        let raw = answer.read(limits::MANIFEST).await?;
        Manifest::parse(&raw, None)
            .and_then(Manifest::into_index)
            .map_err(|source| StoreError::Document { what: format!("the tag {tag}"), source })?;
        Ok((serde_json::from_slice(&raw).unwrap_or_default(), unchanged))
    }

    fn push_scope(&self) -> String {
        format!("{},push", self.scope)
    }

    fn broken(&self, what: &str, reason: &str) -> StoreError {
        let place = self.connection.registry.clone();
        StoreError::Registry { what: what.to_owned(), place, reason: reason.to_owned() }
    }
}

/// Makes both lists the union of both, by digest; says whether anything was missing in the index.
fn merge(index: &mut Value, entries: &mut Vec<Value>, tag: &str) -> Result<bool, StoreError> {
    let listed = index.get_mut("manifests").and_then(Value::as_array_mut).ok_or_else(|| {
        let source = OciError::Malformed { name: "image index", reason: "it has no `manifests`".to_owned() };
        StoreError::Document { what: format!("the tag {tag}"), source }
    })?;
    let missing_in = |list: &[Value], from: &[Value]| -> Vec<Value> {
        let there: HashSet<_> = list.iter().filter_map(|entry| entry["digest"].as_str()).collect();
        let missing = |entry: &&Value| entry["digest"].as_str().is_none_or(|digest| !there.contains(digest));
        from.iter().filter(missing).cloned().collect()
    };
    let (new, others) = (missing_in(listed, entries), missing_in(entries, listed));
    let changed = !new.is_empty();
    listed.extend(new);
    entries.extend(others);
    Ok(changed)
}

/// Something between nothing and [`SETTLE`], so that writers that collided once do not do so for ever.
fn jitter(round: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(round);
    SETTLE * u32::try_from(random % 100).unwrap_or_default() / 100
}

/// Content as a stream of pieces. The last one is only given out when all of them are what the descriptor says.
fn pieces(
    source: Box<dyn Read + Send>,
    descriptor: Descriptor,
) -> impl futures_util::Stream<Item = io::Result<Vec<u8>>> + Send {
    let source = Some(Hashing::new(source.take(descriptor.size.saturating_add(1))));
    futures_util::stream::unfold(source, move |source| {
        let piece = source.and_then(|source| next_piece(source, &descriptor));
        std::future::ready(piece)
    })
}

type Source = Hashing<io::Take<Box<dyn Read + Send>>>;

fn next_piece(mut source: Source, descriptor: &Descriptor) -> Option<(io::Result<Vec<u8>>, Option<Source>)> {
    let mut piece = vec![0; PIECE];
    let mut filled = 0;
    while filled < PIECE {
        match source.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some((Err(error), None)),
        }
    }
    piece.truncate(filled);
    if source.size() < descriptor.size && filled > 0 {
        return Some((Ok(piece), Some(source)));
    }
    let (_, digest, size) = source.finish();
    match (size == descriptor.size && digest == descriptor.digest, filled) {
        (true, 0) => None,
        (true, _) => Some((Ok(piece), None)),
        (false, _) => Some((Err(io::Error::other("the file is not what its digest says")), None)),
    }
}
