//! Writing to a registry: blobs, manifests by digest, the fallback index of attestations, tags.
//!
//! Nothing a registry says about what it stored is believed: manifests and tags are read back and compared.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url, header};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::http::{Answer, Ask, Away, Body, shown};
use super::{CALL, RegistryStore, SLOWEST};
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
        if self.run(self.has_blob(descriptor))? {
            return Ok(Pushed::Present);
        }
        let mut attempt = 1;
        loop {
            let source = from.open_blob(descriptor)?;
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
        self.run(async {
            let mut written = false;
            for round in 0..MERGES {
                let (mut index, etag) = self.fallback_index(&tag).await?;
                if !merge(&mut index, entries, &tag)? {
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
                let condition = etag.map(|etag| (header::IF_MATCH, etag)).into_iter().collect();
                let answer = self.put_manifest(&tag, names::INDEX, &bytes, condition).await?;
                if answer.status != StatusCode::PRECONDITION_FAILED {
                    self.created(answer, &Digest::of(&bytes)).await?;
                    written = true;
                }
                sleep(SETTLE + jitter(round)).await;
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
    async fn upload(&self, descriptor: &Descriptor, source: File) -> Result<(), Upload> {
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
        headers: Vec<(header::HeaderName, String)>,
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

    /// The fallback index as it stands, with what the registry calls this version of it; a new one if there is none.
    async fn fallback_index(&self, tag: &str) -> Result<(Value, Option<String>), StoreError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let headers = vec![(header::ACCEPT, names::INDEX.to_owned())];
        let until = Instant::now() + self.shared.options.deadline * CALL;
        let answer = match self.get(url, tag, headers, Away::Https, until).await {
            Err(StoreError::NotFound { .. }) => {
                return Ok((json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [] }), None));
            }
            answer => answer?,
        };
        let etag = answer.text(header::ETAG).map(str::to_owned);
        let raw = answer.read(limits::MANIFEST).await?;
        match Manifest::parse(&raw, None) {
            Ok(Manifest::Index(_)) => Ok((serde_json::from_slice(&raw).unwrap_or_default(), etag)),
            Ok(Manifest::Image(_)) => Err(not_an_index(tag)),
            Err(source) => Err(StoreError::Document { what: format!("the tag {tag}"), source }),
        }
    }

    fn push_scope(&self) -> String {
        format!("{},push", self.scope)
    }

    fn broken(&self, what: &str, reason: &str) -> StoreError {
        let place = self.connection.registry.clone();
        StoreError::Registry { what: what.to_owned(), place, reason: reason.to_owned() }
    }
}

/// The error for a fallback tag that somebody put on an image.
pub(super) fn not_an_index(tag: &str) -> StoreError {
    let reason = "it is an image where an index of attestations was expected".to_owned();
    StoreError::Document { what: format!("the tag {tag}"), source: OciError::Malformed { name: "image index", reason } }
}

/// Adds the entries that are not listed yet; says whether there were any.
fn merge(index: &mut Value, entries: &[Descriptor], tag: &str) -> Result<bool, StoreError> {
    let listed = index.get_mut("manifests").and_then(Value::as_array_mut).ok_or_else(|| not_an_index(tag))?;
    let before = listed.len();
    for entry in entries {
        let digest = entry.digest.to_string();
        if !listed.iter().any(|listed| listed["digest"] == digest.as_str()) {
            listed.push(serde_json::to_value(entry).unwrap_or_default());
        }
    }
    Ok(listed.len() != before)
}

/// Something between nothing and [`SETTLE`], so that writers that collided once do not do so for ever.
fn jitter(round: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(round);
    SETTLE * u32::try_from(random % 100).unwrap_or_default() / 100
}

/// A file as a stream of pieces. The last one is only given out when all of them are what the descriptor says.
fn pieces(file: File, descriptor: Descriptor) -> impl futures_util::Stream<Item = io::Result<Vec<u8>>> + Send {
    let source = Some(Hashing::new(file.take(descriptor.size.saturating_add(1))));
    futures_util::stream::unfold(source, move |source| {
        let piece = source.and_then(|source| next_piece(source, &descriptor));
        std::future::ready(piece)
    })
}

type Source = Hashing<io::Take<File>>;

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
