//! Files of a TUF repository over HTTP: bounded, with deadlines, and never from anywhere but where the person said.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

use super::TrustError;
use crate::adapters::http::{chain, is_safe, plain_client, runtime};

const CONNECT: Duration = Duration::from_secs(15);
/// For a whole file; the largest that is read takes seconds.
const FILE: Duration = Duration::from_secs(60);

/// A repository that is asked.
pub(super) struct Mirror {
    base: Url,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Mirror {
    /// The repository below this address: https, or plain http on this machine.
    pub(super) fn at(url: &str) -> Result<Self, TrustError> {
        let refuse = |reason: String| TrustError::Address { url: url.to_owned(), reason };
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/'))).map_err(|error| refuse(error.to_string()))?;
        if !is_safe(base.as_str()) || base.password().is_some() || base.query().is_some() {
            return Err(refuse("write https://… and nothing but a place; plain http is for this machine".to_owned()));
        }
        // Each file is one answer of one place; a redirect could lead to any.
        let mut builder = plain_client().connect_timeout(CONNECT).timeout(FILE).redirect(Policy::none());
        if base.scheme() == "http" {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| refuse(error.to_string()))?;
        Ok(Self { base, client, runtime: runtime().map_err(|error| refuse(error.to_string()))? })
    }

    /// A file that has to be there.
    pub(super) fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, TrustError> {
        self.find(name, limit)?.ok_or_else(|| self.failed(name, "it is not there".to_owned()))
    }

    /// A file, or none where there is none. Stores of objects answer 403 for what they do not have.
    pub(super) fn find(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
        self.runtime.block_on(self.ask(name, limit))
    }

    async fn ask(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
        let url = self.base.join(name).map_err(|error| self.failed(name, error.to_string()))?;
        let broken = |error: reqwest::Error| self.failed(name, chain(&error.without_url()));
        let mut response = self.client.get(url).header(ACCEPT_ENCODING, "identity").send().await.map_err(broken)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status => return Err(self.failed(name, format!("it answers {status}"))),
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(self.failed(name, "it answers with an encoding that was not asked for".to_owned()));
        }
        let too_large = || TrustError::TooLarge { name: name.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    fn failed(&self, name: &str, reason: String) -> TrustError {
        TrustError::Unreachable { place: self.base.to_string(), name: name.to_owned(), reason }
    }
}
