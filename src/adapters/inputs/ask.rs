//! Asking a registry something whose hash nobody knows yet: documents, and archives that are to be locked. Bounded,
//! retried at the same pace as downloads of locked files, and over the same kind of client.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest as _, Sha512};

use super::transfer::{Broken, client, refused, within};
use super::{Attempt, Failure, Inputs, InputsError};
use crate::adapters::sources::Mirror;
use crate::adapters::state::StateError;
use crate::adapters::{Event, Progress};
use crate::content::{Digest, Hashing};

/// A document of a registry.
pub(in crate::adapters) struct Document {
    /// The whole of it.
    pub(in crate::adapters) bytes: Vec<u8>,
    /// `Content-Type`, without parameters, in lower case.
    pub(in crate::adapters) media_type: String,
    /// Where it came from in the end, after redirects.
    pub(in crate::adapters) address: reqwest::Url,
}

/// A file that came, and its hashes.
pub(in crate::adapters) struct Downloaded {
    pub(in crate::adapters) size: u64,
    pub(in crate::adapters) digest: Digest,
    pub(in crate::adapters) sha512: Vec<u8>,
}

/// Whoever asks.
pub(in crate::adapters) struct Asker<'a> {
    client: Client,
    inputs: &'a Inputs,
    progress: Progress<'a>,
}

impl<'a> Asker<'a> {
    /// One client for everything that is asked. The proxies of the host's apt are for Debian's archives alone.
    pub(in crate::adapters) fn new(inputs: &'a Inputs, progress: Progress<'a>) -> Result<Self, InputsError> {
        Ok(Self { client: client(&inputs.access.without_proxies(), &inputs.pace)?, inputs, progress })
    }

    /// Tells whoever waits.
    pub(in crate::adapters) fn say(&self, line: &str) {
        (self.progress)(Event::Step(line));
    }

    /// A document of at most `limit` bytes.
    pub(in crate::adapters) async fn document(
        &self,
        mirror: &Mirror,
        address: &str,
        accept: &str,
        limit: u64,
    ) -> Result<Document, Attempt> {
        self.patiently(mirror, limit, || async {
            let request = self.client.get(address).header(ACCEPT_ENCODING, "identity").header(ACCEPT, accept);
            let mut response = self.begin(request, limit).await?;
            let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default();
            let media_type = media_type.trim().to_ascii_lowercase();
            let mut bytes = Vec::new();
            while let Some(chunk) = within(self.inputs.pace.stall, response.chunk()).await? {
                if (bytes.len() + chunk.len()) as u64 > limit {
                    return Err(large(limit));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(Document { bytes, media_type, address: response.url().clone() })
        })
        .await
    }

    /// A file of at most `limit` bytes, written to `path`.
    pub(in crate::adapters) async fn download(
        &self,
        mirror: &Mirror,
        address: &str,
        path: &Path,
        limit: u64,
    ) -> Result<Result<Downloaded, Attempt>, StateError> {
        let came = self
            .patiently(mirror, limit, || async {
                let disk = |source| Broken::Disk(StateError::io("write", path)(source));
                let request = self.client.get(address).header(ACCEPT_ENCODING, "identity");
                let mut response = self.begin(request, limit).await?;
                let total = response.content_length();
                let mut hashing = Hashing::new(File::create(path).map_err(disk)?);
                let mut sha512 = Sha512::new();
                while let Some(chunk) = within(self.inputs.pace.stall, response.chunk()).await? {
                    if hashing.size() + chunk.len() as u64 > limit {
                        return Err(large(limit));
                    }
                    hashing.write_all(&chunk).map_err(disk)?;
                    sha512.update(&chunk);
                    let done = hashing.size();
                    (self.progress)(Event::Bytes { done, total: total.unwrap_or(done) });
                }
                let (size, digest) = (hashing.size(), hashing.digest());
                if total.is_some_and(|total| total != size) {
                    return Err(Broken::Again(format!("broke off after {size} bytes"), None));
                }
                Ok(Downloaded { size, digest, sha512: sha512.finalize().to_vec() })
            })
            .await;
        match came {
            Err(attempt) if attempt.kind == Failure::Disk => {
                Err(StateError::io("write", path)(std::io::Error::other(attempt.reason)))
            }
            came => Ok(came),
        }
    }

    /// Sends a request and reads the head of its answer.
    async fn begin(&self, request: reqwest::RequestBuilder, limit: u64) -> Result<Response, Broken> {
        let response = within(self.inputs.pace.stall, request.send()).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&response));
        }
        if response.headers().get(reqwest::header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            let reason = "answers with an encoding that was not asked for".to_owned();
            return Err(Broken::Elsewhere(Failure::Net, reason));
        }
        if response.content_length().is_some_and(|announced| announced > limit) {
            return Err(large(limit));
        }
        Ok(response)
    }

    /// Tries as often as the pace says.
    async fn patiently<T, F: Future<Output = Result<T, Broken>>>(
        &self,
        mirror: &Mirror,
        limit: u64,
        once: impl Fn() -> F,
    ) -> Result<T, Attempt> {
        let pace = &self.inputs.pace;
        let deadline = pace.file.saturating_add(Duration::from_secs(limit / pace.bytes_per_second.max(1)));
        let (mut wait, mut tried) = (pace.back_off, 0);
        loop {
            tried += 1;
            let result = tokio::time::timeout(deadline, once()).await;
            let result = result.unwrap_or_else(|_| Err(Broken::Again(format!("not done in {deadline:?}"), None)));
            let (kind, reason) = match result {
                Ok(value) => return Ok(value),
                Err(Broken::Again(reason, after)) if tried < pace.tries => {
                    self.say(&format!("{mirror}: {}; trying again", mirror.redact(&reason)));
                    tokio::time::sleep(after.unwrap_or(wait).max(wait)).await;
                    wait = wait.saturating_mul(2);
                    continue;
                }
                Err(Broken::Again(reason, _)) => (Failure::Net, reason),
                Err(Broken::Elsewhere(kind, reason)) => (kind, reason),
                Err(Broken::Differs(reason)) => (Failure::Integrity, reason),
                Err(Broken::Disk(error)) => (Failure::Disk, error.to_string()),
            };
            return Err(Attempt { place: mirror.to_string(), reason: mirror.redact(&reason), kind });
        }
    }
}

fn large(limit: u64) -> Broken {
    Broken::Elsewhere(Failure::Large, format!("sends more than the {limit} bytes that are read"))
}
