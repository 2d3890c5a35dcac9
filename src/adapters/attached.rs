//! What counts as attached to an image, the same for registries and layouts.
//!
//! A listing only says where to look. Whether something is attached is what its own manifest says in `subject`; the
//! descriptor in the listing is somebody's hint, and one that contradicts the manifest is passed over.

use std::collections::HashSet;

use super::{Legacy, LegacyKind, Referrers, Served, StoreError};

use crate::content::{Digest, Document, limits};
use crate::oci::{Descriptor, Manifest, OciError, names};

/// All manifests of attestations together, in bytes: a thousand real ones stay below 2 MiB. What they say in small
/// pieces needs more than ten times as much.
const ALL_MANIFESTS: u64 = 8 << 20;

/// The tag under which attestations are listed where a registry has no referrers API (distribution-spec).
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// Collects what is attached to one image from descriptors that may be lies.
pub(crate) struct Attached {
    subject: Digest,
    seen: HashSet<Digest>,
    found: Referrers,
}

impl Attached {
    /// Nothing yet.
    pub(crate) fn to(subject: Digest) -> Self {
        Self { subject, seen: HashSet::new(), found: Referrers::default() }
    }

    /// The descriptors that are worth reading, each once; an error when there are more than are read.
    pub(crate) fn candidates(&mut self, listed: Vec<Descriptor>, place: &str) -> Result<Vec<Descriptor>, StoreError> {
        let limit = |reason: String| {
            let what = format!("what is attached to {}", self.subject);
            Err(StoreError::Limit { what, place: place.to_owned(), reason })
        };
        let mut fresh = Vec::new();
        let mut bytes = 0;
        for descriptor in listed {
            if !self.seen.insert(descriptor.digest) {
                continue;
            }
            if self.seen.len() > limits::REFERRERS {
                return limit(format!("more than {} attestation manifests", limits::REFERRERS));
            }
            if descriptor.size > limits::MANIFEST {
                let reason = format!("its manifest is said to have {} bytes", descriptor.size);
                self.found.ignored.push((descriptor.digest, reason));
                continue;
            }
            bytes += descriptor.size;
            if bytes > ALL_MANIFESTS {
                return limit(format!("more than {ALL_MANIFESTS} bytes of attestation manifests"));
            }
            fresh.push(descriptor);
        }
        Ok(fresh)
    }

    /// Takes what came for a candidate. Garbage is noted and passed over, so that whoever may push cannot make a good
    /// attestation unreadable; what could not be *asked* for is an error, since it might have been the good one.
    pub(crate) fn take(&mut self, hint: &Descriptor, came: Result<Served, StoreError>) -> Result<(), StoreError> {
        let read = came.and_then(|served| {
            crate::content::check(&served.raw, &hint.digest, hint.size, &format!("manifest {}", hint.digest))?;
            let manifest = Manifest::parse(&served.raw, served.media_type.as_deref()).and_then(Manifest::into_image);
            let parsed = manifest.map_err(|source| document(&hint.digest, source))?;
            Ok(Document { raw: served.raw, digest: served.digest, parsed })
        });
        match read {
            Ok(document) => match self.objection(hint, &document.parsed) {
                Some(reason) => self.found.ignored.push((hint.digest, reason)),
                None => self.found.manifests.push(document),
            },
            Err(error) if error.is_about_content() => self.found.ignored.push((hint.digest, error.to_string())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// All that was found.
    pub(crate) fn finish(self) -> Referrers {
        self.found
    }

    fn objection(&self, hint: &Descriptor, manifest: &crate::oci::ImageManifest) -> Option<String> {
        match &manifest.subject {
            None => return Some("it names no subject".to_owned()),
            Some(subject) if subject.digest != self.subject => {
                return Some(format!("its subject is {}", subject.digest));
            }
            Some(_) => {}
        }
        // Some clients put the config's media type into the listing where the manifest has an artifact type of its
        // own; both are the manifest's words, anything else is not.
        if let Some(said) = &hint.artifact_type
            && manifest.artifact_type.as_ref() != Some(said)
            && manifest.config.media_type != *said
        {
            return Some(format!("it is listed as {said:?}, which its manifest does not say"));
        }
        let predicate =
            |annotations: &std::collections::BTreeMap<_, String>| annotations.get(names::PREDICATE_TYPE).cloned();
        if let (Some(said), Some(own)) = (predicate(&hint.annotations), predicate(&manifest.annotations))
            && said != own
        {
            return Some(format!("it is listed with the predicate type {said:?}, and its manifest says {own:?}"));
        }
        None
    }
}

impl Legacy {
    /// Takes what stands under one of cosign's tags. Whoever may push may put anything there.
    pub(crate) fn take(&mut self, kind: LegacyKind, served: Served) {
        match Manifest::parse(&served.raw, served.media_type.as_deref()).and_then(Manifest::into_image) {
            Ok(parsed) => self.manifests.push((kind, Document { raw: served.raw, digest: served.digest, parsed })),
            Err(error) => self.ignored.push((served.digest, error.to_string())),
        }
    }
}

/// A document error that names what it was found in.
pub(crate) fn document(digest: &Digest, source: OciError) -> StoreError {
    StoreError::Document { what: format!("manifest {digest}"), source }
}
