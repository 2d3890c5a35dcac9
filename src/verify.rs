//! `bulla verify`: from a resolved image to a verdict.
//!
//! The tag was resolved once, before this; from here on there are only digests. What is attached is read smallest
//! first: manifests, then only those bundles that the rule asks for.

use jiff::Timestamp;

use crate::adapters::{Referrers, Served, Store, StoreError};
use crate::attestation::bundle::Bundle;
use crate::class::{Class, Classified};
use crate::content::{Digest, Document, limits};
use crate::oci::{Descriptor, ImageConfig, ImageManifest, Manifest, OciError, Platform, names};
use crate::policy::verdict::{Reason, Rejected, Subject, Verdict};
use crate::policy::{Candidate, Evidence, Origin, Policy, PolicyError, Requirement};
use crate::reference::PinnedReference;

/// Why no verdict could be reached.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it answered is no image.
    #[error("{what}: {source}")]
    Image {
        /// Which document.
        what: String,
        /// What is wrong with it.
        source: OciError,
    },
    /// The digest names something that no container can be started from.
    #[error("{0} is not an image but an artifact")]
    Artifact(Digest),
    /// The policy cannot be applied to it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Classified for VerifyError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Image { source, .. } => source.class(),
            Self::Artifact(_) => Class::Format,
            Self::Policy(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Image { source, .. } => source.code(),
            Self::Artifact(_) => "not-an-image",
            Self::Policy(error) => error.code(),
        }
    }
}

/// An image that was resolved, and where to ask for the rest of it.
pub struct Target<'a> {
    /// Where it is.
    pub store: &'a dyn Store,
    /// The manifest or index that the name resolved to.
    pub root: Served,
    /// The canonical name that rules are matched with.
    pub name: String,
    /// Where it can be pulled from by digest.
    pub reference: Option<PinnedReference>,
}

/// Finds out what is said about the image and judges it. `platform` picks from an index (absent: this machine's);
/// `supplied` are bundles that came from elsewhere than the store.
pub fn verify(
    target: Target<'_>,
    platform: Option<&Platform>,
    policy: &Policy,
    supplied: &[Vec<u8>],
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let store = target.store;
    let subject = examine(target, platform)?;
    let require = policy.rule_for(&subject.name)?.map_or(&[][..], |(_, rule)| &rule.require);
    let referrers = match require {
        [] => Referrers::default(),
        _ => store.referrers(&subject.digest)?,
    };
    let is_remembered = referrers.remembered;
    let verdict = policy.evaluate(&gather(store, subject.clone(), require, referrers, supplied)?, now)?;
    if verdict.is_admitted() || !is_remembered {
        return Ok(verdict);
    }
    // What is missing may have been attached since.
    let referrers = store.referrers_now(&subject.digest)?;
    Ok(policy.evaluate(&gather(store, subject, require, referrers, supplied)?, now)?)
}

/// Walks from the resolved manifest to the platform's image, checking that every document is what it should be.
pub fn examine(target: Target<'_>, platform: Option<&Platform>) -> Result<Subject, VerifyError> {
    let Target { store, root, name, reference } = target;
    let (manifest_digest, image, selected) = match parse(&root)? {
        Manifest::Image(image) => (root.digest, image, platform.cloned()),
        Manifest::Index(index) => {
            let host = Platform::host();
            let platform = platform.unwrap_or(&host);
            let refuse = |what: Digest| move |source| VerifyError::Image { what: what.to_string(), source };
            let child = index.select(platform).map_err(refuse(root.digest))?;
            let served = store.manifest(&child.digest)?;
            let image = parse(&Served { media_type: Some(child.media_type.clone()), ..served })?;
            let image = image.into_image().map_err(refuse(child.digest))?;
            (child.digest, image, Some(platform.clone()))
        }
    };
    if !image.is_runnable() {
        return Err(VerifyError::Artifact(manifest_digest));
    }
    let config = store.blob(&image.config, limits::CONFIG)?;
    let refuse = |source| VerifyError::Image { what: image.config.digest.to_string(), source };
    let config = ImageConfig::parse(&config).map_err(refuse)?;
    let platform = selected.unwrap_or_else(|| config.platform());
    config.check_against(&image, &platform).map_err(refuse)?;
    Ok(Subject {
        name,
        reference,
        digest: root.digest,
        manifest: manifest_digest,
        config: image.config.digest,
        platform,
    })
}

fn parse(served: &Served) -> Result<Manifest, VerifyError> {
    Manifest::parse(&served.raw, served.media_type.as_deref())
        .map_err(|source| VerifyError::Image { what: served.digest.to_string(), source })
}

/// Brings what of `referrers` bears on `require`. Garbage among it is recorded and counts for nothing; a store that
/// does not answer is an error, never an absence.
fn gather(
    store: &dyn Store,
    subject: Subject,
    require: &[Requirement],
    referrers: Referrers,
    supplied: &[Vec<u8>],
) -> Result<Evidence, VerifyError> {
    let mut evidence = Evidence {
        subject,
        origin: Origin::Published,
        candidates: Vec::new(),
        rejected: Vec::new(),
        passed_over: Vec::new(),
        legacy: Vec::new(),
    };
    for bytes in supplied {
        evidence.add(Digest::of(bytes), bytes, None);
    }
    for (digest, message) in referrers.ignored {
        evidence.reject(digest, Class::Format, "unusable-referrer", message);
    }
    evidence.legacy = referrers.legacy;
    let mut wanted: Vec<(Digest, Descriptor, Option<String>)> = Vec::new();
    for manifest in &referrers.manifests {
        match bundle_layer(manifest) {
            Ok((layer, hint)) => {
                if hint.as_deref().is_none_or(|hint| require.iter().any(|requirement| requirement.asks_for(hint))) {
                    wanted.push((manifest.digest, layer.clone(), hint));
                } else if let Some(hint) = hint {
                    evidence.passed_over.push(hint);
                }
            }
            Err(message) => evidence.reject(manifest.digest, Class::Format, "no-bundle", message),
        }
    }
    let layers: Vec<Descriptor> = wanted.iter().map(|(_, layer, _)| layer.clone()).collect();
    for ((manifest, layer, hint), blob) in wanted.into_iter().zip(store.blobs(&layers, limits::BUNDLE)) {
        match blob {
            Ok(bytes) => evidence.add(layer.digest, &bytes, hint.as_deref()),
            Err(error) if is_the_blobs_fault(&error) => {
                evidence.reject(manifest, error.class(), error.code(), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(evidence)
}

/// Whether an error says that this one blob is bad, and not that the store cannot be asked.
fn is_the_blobs_fault(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. } | StoreError::Content(_) | StoreError::Document { .. } | StoreError::Limit { .. }
    )
}

/// The bundle of an attestation manifest, and the predicate type that its annotation promises.
fn bundle_layer(manifest: &Document<ImageManifest>) -> Result<(&Descriptor, Option<String>), String> {
    let ImageManifest { layers, annotations, .. } = &manifest.parsed;
    match layers.as_slice() {
        [layer] if layer.media_type.starts_with(names::BUNDLE_PREFIX) => {
            Ok((layer, annotations.get(names::PREDICATE_TYPE).cloned()))
        }
        [layer] => Err(format!("it holds {}, not a Sigstore bundle", layer.media_type)),
        layers => Err(format!("it has {} layers, and a Sigstore bundle stands alone", layers.len())),
    }
}

impl Evidence {
    fn add(&mut self, digest: Digest, bytes: &[u8], hint: Option<&str>) {
        let read = Bundle::parse(bytes).and_then(|bundle| {
            let predicate_type = bundle.unverified_statement()?.predicate_type;
            Ok(Candidate { bundle, predicate_type })
        });
        match read {
            Ok(candidate) => match hint {
                Some(hint) if hint != candidate.predicate_type => {
                    let message =
                        format!("its annotation promises {hint}, and its statement is {}", candidate.predicate_type);
                    self.reject(digest, Class::Predicate, "annotation-disagrees", message);
                }
                _ => self.candidates.push(candidate),
            },
            Err(error) => self.reject(digest, error.class(), error.code(), error.to_string()),
        }
    }

    fn reject(&mut self, digest: Digest, class: Class, code: &'static str, message: String) {
        self.rejected.push(Rejected { digest, reason: Reason { class, code, message } });
    }
}
