//! What is attached to an image, as a registry tells it: the referrers API with its pages, the fallback tag, and what
//! was found the last time.

use std::collections::HashSet;

use futures_util::StreamExt;
use reqwest::{Method, StatusCode, header};
use tokio::time::Instant;

use super::http::{Away, shown};
use super::remembered::Remembered;
use super::{ACCEPT, CALL, PARALLEL, RegistryStore};
use crate::adapters::attached::{self, Attached};
use crate::adapters::{Legacy, LegacyKind, Referrers, Served, StoreError};
use crate::content::{Digest, limits};
use crate::oci::{self, Descriptor, Manifest, names};

impl RegistryStore {
    pub(super) async fn fetch_referrers(&self, subject: &Digest) -> Result<Referrers, StoreError> {
        let until = Instant::now() + self.shared.options.deadline * CALL;
        let mut attached = Attached::to(*subject);
        let (listed, tagged) = tokio::join!(self.listing(subject, until), self.fallback(subject, until));
        let mut descriptors = listed?;
        descriptors.extend(tagged?);
        let candidates = attached.candidates(descriptors, &self.connection.registry)?;
        let fetched: Vec<_> = futures_util::stream::iter(&candidates)
            .map(|hint| async move { (hint, self.manifest_by_digest(&hint.digest, until).await) })
            .buffered(PARALLEL)
            .collect()
            .await;
        for (hint, served) in fetched {
            attached.take(hint, served)?;
        }
        Ok(attached.finish())
    }

    /// cosign's older tags: those that are there. Only 404 means that one is not.
    pub(super) async fn fetch_legacy(&self, subject: &Digest, kinds: &[LegacyKind]) -> Result<Legacy, StoreError> {
        let until = Instant::now() + self.shared.options.deadline * CALL;
        let tags: Vec<_> = kinds.iter().map(|kind| (*kind, kind.tag(subject))).collect();
        let fetched: Vec<_> = futures_util::stream::iter(&tags)
            .map(|(kind, tag)| async move { (*kind, self.fetch_manifest(tag, None, Away::Https, until).await) })
            .buffered(PARALLEL)
            .collect()
            .await;
        let mut legacy = Legacy::default();
        for (kind, served) in fetched {
            match served {
                Ok(served) => legacy.take(kind, served),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(legacy)
    }

    /// Whether there is such a tag; a registry that does not answer has none.
    pub(super) async fn has_tag(&self, tag: &str) -> bool {
        let Ok(url) = self.url(&format!("manifests/{tag}")) else { return false };
        let mut ask = self.ask(Method::HEAD, url, tag, Away::Never, self.until());
        ask.headers.push((header::ACCEPT, ACCEPT.to_owned()));
        self.connection.send(ask).await.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    /// The referrers API: all its pages, or nothing where the registry has none (404).
    async fn listing(&self, subject: &Digest, until: Instant) -> Result<Vec<Descriptor>, StoreError> {
        let what = format!("the referrers of {subject}");
        let place = || self.connection.registry.clone();
        let mut url = self.url(&format!("referrers/{subject}"))?;
        let mut seen = HashSet::new();
        let mut descriptors = Vec::new();
        for _ in 0..limits::REFERRER_PAGES {
            if !seen.insert(url.to_string()) {
                return Err(StoreError::Limit { what, place: place(), reason: "its pages go in a circle".to_owned() });
            }
            let first = seen.len() == 1;
            let headers = vec![(header::ACCEPT, names::INDEX.to_owned())];
            let answer = match self.get(url, &what, headers, Away::Never, until).await {
                Err(StoreError::NotFound { .. }) if first => return Ok(Vec::new()),
                answer => answer?,
            };
            let served_as = oci::essence(answer.text(header::CONTENT_TYPE).unwrap_or_default()).to_owned();
            if !matches!(served_as.as_str(), names::INDEX | "application/json") {
                let reason = format!("with {:?} where an index was expected", shown(&served_as));
                return Err(StoreError::Registry { what, place: place(), reason });
            }
            let links = answer.headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok());
            let next = next_page(links).map(|next| self.connection.judge(&answer.url, &next, Away::Never));
            let next = next.transpose().map_err(|reason| self.connection.net(&what, &reason))?;
            let raw = answer.read(limits::MANIFEST).await?;
            let malformed = |source| StoreError::Document { what: what.clone(), source };
            match Manifest::parse(&raw, Some(&served_as).filter(|kind| *kind == names::INDEX).map(String::as_str)) {
                Ok(Manifest::Index(index)) => descriptors.extend(index.manifests),
                Ok(Manifest::Image(_)) => {
                    let reason = "with an image where an index was expected".to_owned();
                    return Err(StoreError::Registry { what, place: place(), reason });
                }
                Err(source) => return Err(malformed(source)),
            }
            if descriptors.len() > limits::INDEX_ENTRIES {
                let reason = format!("more than {} entries", limits::INDEX_ENTRIES);
                return Err(StoreError::Limit { what, place: place(), reason });
            }
            match next {
                Some(next) => url = next,
                None => return Ok(descriptors),
            }
        }
        let reason = format!("more than {} pages", limits::REFERRER_PAGES);
        Err(StoreError::Limit { what, place: place(), reason })
    }

    /// The fallback tag: an index of what is attached, or nothing where there is no such tag (404).
    async fn fallback(&self, subject: &Digest, until: Instant) -> Result<Vec<Descriptor>, StoreError> {
        let tag = attached::fallback_tag(subject);
        let served = match self.fetch_manifest(&tag, None, Away::Https, until).await {
            Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            served => served?,
        };
        let index = Manifest::parse(&served.raw, served.media_type.as_deref()).and_then(Manifest::into_index);
        let index = index.map_err(|source| StoreError::Document { what: format!("the tag {tag}"), source })?;
        Ok(index.manifests)
    }

    /// The list of what was found the last time.
    pub(super) fn remembered(&self, subject: &Digest) -> Option<Remembered> {
        Some(Remembered::of(self.shared.options.cache.as_ref()?, &self.repository, subject))
    }

    /// What was found before, from the cache alone; nothing if any of it is gone.
    pub(super) fn recall(&self, subject: &Digest) -> Option<Referrers> {
        if self.fresh && !self.shared.options.offline {
            return None;
        }
        let youngest = (!self.shared.options.offline).then_some(self.shared.options.remember);
        let mut attached = Attached::to(*subject);
        for digest in self.remembered(subject)?.load(youngest)? {
            let raw = self.kept(&digest, limits::MANIFEST)?;
            let hint = Descriptor::of(names::MANIFEST, &raw);
            attached.take(&hint, Ok(Served { raw, digest, media_type: None })).ok()?;
        }
        let mut referrers = attached.finish();
        referrers.remembered = true;
        (!referrers.manifests.is_empty()).then_some(referrers)
    }
}

/// The next page of a listing, as the headers of an answer name it: `Link: <…>; rel="next"` (RFC 8288). Where it leads
/// is judged by whoever goes there.
pub fn next_page<'a>(mut headers: impl Iterator<Item = &'a str>) -> Option<String> {
    headers.find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|parameter| {
            let parameter: String = parameter.chars().filter(|c| !matches!(c, ' ' | '"')).collect();
            parameter.eq_ignore_ascii_case("rel=next")
        });
        next.then(|| target.to_owned())
    })
}
