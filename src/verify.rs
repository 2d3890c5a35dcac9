//! `bulla verify`: from a resolved image to a verdict.
//!
//! The tag was resolved once, before this; from here on there are only digests. What is attached is read smallest
//! first: manifests, then only those bundles that the rule asks for.

use jiff::Timestamp;

use crate::adapters::{LegacyKind, Referrers, Served, Store, StoreError};
use crate::attestation::AttestationError;
use crate::attestation::bundle::{self, Bundle};
use crate::class::{Class, Classified};
use crate::content::{Digest, Document, limits};
use crate::oci::{Descriptor, ImageConfig, ImageManifest, Manifest, OciError, Platform, names};
use crate::policy::verdict::{Reason, Rejected, Subject, Verdict};
use crate::policy::{Candidate, Evidence, Origin, Policy, PolicyError, Rule};
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

/// A bundle that came from elsewhere than the store, read.
pub struct Supplied {
    digest: Digest,
    size: u64,
    read: Result<Bundle, AttestationError>,
}

impl Supplied {
    /// Reads one. What is no bundle counts for nothing, and is reported as that.
    pub fn read(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), size: bytes.len() as u64, read: Bundle::parse(bytes) }
    }
}

/// Finds out what is said about the image and judges it. `platform` picks from an index (absent: this machine's);
/// `supplied` counts beside what is attached, in its bounds too.
pub fn verify(
    target: Target<'_>,
    platform: Option<&Platform>,
    policy: &Policy,
    supplied: Vec<Supplied>,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let store = target.store;
    let subject = examine(target, platform)?;
    let rules = policy.rules_for(&subject.name)?;
    let Some(own) = rules.first() else {
        return Ok(policy.evaluate(&Evidence::of(subject, Origin::Published), now)?);
    };
    let digests = digests(&rules, &subject);
    // A layout has its attestations with it; an image on a registry may have them in the one repository that its rule
    // names, and then they are looked for there alone.
    let named = own.attestations.as_ref().and_then(|repository| store.elsewhere(repository));
    let store = named.as_deref().unwrap_or(store);
    let referrers = all_referrers(&digests, |digest| store.referrers(digest))?;
    let is_remembered = referrers.remembered;
    let mut gathering = Gathering::of(subject, supplied);
    let own = gathering.mark();
    gathering.take(store, &rules, referrers)?;
    let mut verdict = policy.evaluate(&gathering.evidence, now)?;
    if !verdict.is_admitted() && is_remembered {
        // What is missing may have been attached since.
        let referrers = all_referrers(&digests, |digest| store.referrers_now(digest))?;
        gathering.back_to(own);
        gathering.take(store, &rules, referrers)?;
        verdict = policy.evaluate(&gathering.evidence, now)?;
    }
    if verdict.is_admitted() || verdict.class() == Some(Class::Rollback) {
        return Ok(verdict);
    }
    // Older forms are read where a rule names them and nothing else sufficed, and named in the denial elsewhere.
    if reads_legacy(&rules) {
        for digest in &digests {
            let legacy = store.legacy(digest, &LegacyKind::SIGNED)?;
            let manifests = legacy.manifests.into_iter().map(|(_, manifest)| manifest).collect();
            gathering.take(store, &rules, Referrers { manifests, ignored: legacy.ignored, remembered: false })?;
        }
    } else if verdict.checks().iter().any(|check| check.class == Some(Class::NoAttestation)) {
        gathering.evidence.legacy = digests.iter().flat_map(|digest| store.legacy_names(digest)).collect();
    }
    Ok(policy.evaluate(&gathering.evidence, now)?)
}

/// The digests by which a statement may name the image, under any of the rules.
fn digests(rules: &[&Rule], subject: &Subject) -> Vec<Digest> {
    let mut digests: Vec<Digest> = rules.iter().flat_map(|rule| rule.subjects(subject)).collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

fn reads_legacy(rules: &[&Rule]) -> bool {
    rules.iter().any(|rule| rule.formats.cosign_legacy)
}

fn is_asked_for(rules: &[&Rule], predicate_type: &str) -> bool {
    rules.iter().flat_map(|rule| &rule.require).any(|requirement| requirement.asks_for(predicate_type))
}

/// What is attached to any of the digests.
fn all_referrers(
    digests: &[Digest],
    of: impl Fn(&Digest) -> Result<Referrers, StoreError>,
) -> Result<Referrers, VerifyError> {
    let mut all = Referrers::default();
    for digest in digests {
        let found = of(digest)?;
        all.manifests.extend(found.manifests);
        all.ignored.extend(found.ignored);
        all.remembered |= found.remembered;
    }
    Ok(all)
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

/// What bundles alone say about an image.
pub fn evidence_of(subject: Subject, bundles: &[Vec<u8>]) -> Evidence {
    Gathering::of(subject, bundles.iter().map(|bytes| Supplied::read(bytes)).collect()).evidence
}

/// Evidence as it comes together. All of it is in memory at once, so that it has one bound; and what came as bytes is
/// let go of as soon as it was read.
struct Gathering {
    evidence: Evidence,
    count: usize,
    bytes: u64,
}

/// How much there was.
#[derive(Clone, Copy)]
struct Mark {
    candidates: usize,
    rejected: usize,
    passed_over: usize,
    count: usize,
    bytes: u64,
}

impl Gathering {
    fn of(subject: Subject, supplied: Vec<Supplied>) -> Self {
        let mut gathering = Self { evidence: Evidence::of(subject, Origin::Published), count: 0, bytes: 0 };
        for Supplied { digest, size, read } in supplied {
            gathering.evidence.add(digest, read, None);
            gathering.count += 1;
            gathering.bytes = gathering.bytes.saturating_add(size);
        }
        gathering
    }

    fn mark(&self) -> Mark {
        let Self { evidence, count, bytes } = self;
        Mark {
            candidates: evidence.candidates.len(),
            rejected: evidence.rejected.len(),
            passed_over: evidence.passed_over.len(),
            count: *count,
            bytes: *bytes,
        }
    }

    fn back_to(&mut self, mark: Mark) {
        self.evidence.candidates.truncate(mark.candidates);
        self.evidence.rejected.truncate(mark.rejected);
        self.evidence.passed_over.truncate(mark.passed_over);
        (self.count, self.bytes) = (mark.count, mark.bytes);
    }

    /// Brings what of `referrers` bears on the rules: those layers that a rule asks for, each blob once. Garbage among
    /// it is recorded and counts for nothing; a store that does not answer is an error, never an absence.
    fn take(&mut self, store: &dyn Store, rules: &[&Rule], referrers: Referrers) -> Result<(), VerifyError> {
        for (digest, message) in referrers.ignored {
            self.evidence.reject(digest, Class::Format, "unusable-referrer", message);
        }
        let wanted = wanted(rules, &referrers.manifests, &mut self.evidence);
        self.check_amount(&wanted)?;
        let mut blobs: Vec<Descriptor> = Vec::new();
        for (_, layer) in &wanted {
            if !blobs.iter().any(|blob| blob.digest == layer.descriptor.digest) {
                blobs.push(layer.descriptor.clone());
            }
        }
        let fetched = store.blobs(&blobs, limits::BUNDLE);
        for (blob, bytes) in blobs.iter().zip(fetched) {
            let layers = wanted.iter().filter(|(_, layer)| layer.descriptor.digest == blob.digest);
            match bytes {
                Ok(bytes) => {
                    let read: Vec<_> = layers.map(|(_, layer)| (layer.hint, layer.read(&bytes))).collect();
                    drop(bytes);
                    for (hint, read) in read {
                        self.evidence.add(blob.digest, read, hint);
                    }
                }
                Err(error) if error.is_about_content() => {
                    for (manifest, _) in layers {
                        self.evidence.reject(*manifest, error.class(), error.code(), error.to_string());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Refuses more evidence than is judged for one image: whoever may push could attach any amount. What is attached
    /// twice is read twice, and counts twice.
    fn check_amount(&mut self, wanted: &[(Digest, Layer<'_>)]) -> Result<(), VerifyError> {
        self.count += wanted.len();
        self.bytes = wanted.iter().map(|(_, layer)| layer.descriptor.size).fold(self.bytes, u64::saturating_add);
        let reason = if self.count > limits::REFERRERS {
            format!("{} attestations, and at most {} are judged", self.count, limits::REFERRERS)
        } else if self.bytes > limits::EVIDENCE {
            format!("{} bytes of attestations, and at most {} are judged", self.bytes, limits::EVIDENCE)
        } else {
            return Ok(());
        };
        let subject = &self.evidence.subject;
        let what = format!("what is attached to {}", subject.digest);
        Err(StoreError::Limit { what, place: subject.name.clone(), reason }.into())
    }
}

/// The layers of attestation manifests that a rule asks for, each with the manifest's digest.
fn wanted<'a>(
    rules: &[&Rule],
    manifests: &'a [Document<ImageManifest>],
    evidence: &mut Evidence,
) -> Vec<(Digest, Layer<'a>)> {
    let mut wanted: Vec<(Digest, Layer<'_>)> = Vec::new();
    for manifest in manifests {
        let layers = match layers_of(&manifest.parsed) {
            Ok(layers) => layers,
            Err(message) => {
                evidence.reject(manifest.digest, Class::Format, "no-bundle", message);
                continue;
            }
        };
        for layer in layers {
            if layer.is_legacy && !reads_legacy(rules) {
                let message = "it is cosign's older form, which the rule does not name".to_owned();
                evidence.reject(manifest.digest, Class::Format, "format-not-allowed", message);
            } else if let Some(hint) = layer.hint.filter(|hint| !is_asked_for(rules, hint)) {
                evidence.passed_over.push(hint.to_owned());
            } else {
                wanted.push((manifest.digest, layer));
            }
        }
    }
    wanted
}

/// What is kept of the reason why something counts for nothing, in bytes.
const MESSAGE: usize = 8 << 10;

/// One signed document of an attestation manifest.
pub(crate) struct Layer<'a> {
    pub(crate) descriptor: &'a Descriptor,
    /// The predicate type that an annotation, or the media type, promises.
    hint: Option<&'a str>,
    is_legacy: bool,
}

impl Layer<'_> {
    /// The document that came for it.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Bundle, AttestationError> {
        if self.is_legacy {
            return Bundle::from_legacy(&self.descriptor.media_type, bytes, &self.descriptor.annotations);
        }
        Bundle::parse(bytes)
    }
}

/// The signed documents of an attestation manifest: one bundle, or any number of cosign's older layers.
pub(crate) fn layers_of(manifest: &ImageManifest) -> Result<Vec<Layer<'_>>, String> {
    let ImageManifest { layers, annotations, .. } = manifest;
    match layers.as_slice() {
        [descriptor] if descriptor.media_type.starts_with(names::BUNDLE_PREFIX) => {
            let hint = annotations.get(names::PREDICATE_TYPE).map(String::as_str);
            Ok(vec![Layer { descriptor, hint, is_legacy: false }])
        }
        layers if !layers.is_empty() && layers.iter().all(|layer| bundle::is_legacy_layer(&layer.media_type)) => {
            let of_layer =
                |descriptor| Layer { descriptor, hint: bundle::legacy_predicate_type(descriptor), is_legacy: true };
            Ok(layers.iter().map(of_layer).collect())
        }
        [layer] => Err(format!("it holds {}, not a Sigstore bundle", layer.media_type)),
        layers => Err(format!("it has {} layers, and a Sigstore bundle stands alone", layers.len())),
    }
}

impl Evidence {
    fn add(&mut self, digest: Digest, read: Result<Bundle, AttestationError>, hint: Option<&str>) {
        let read = read.and_then(|bundle| {
            let predicate_type = bundle.unverified_statement()?.predicate_type.clone();
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

    fn reject(&mut self, digest: Digest, class: Class, code: &'static str, mut message: String) {
        // It may quote all of a document; more than this is shown of none.
        let end = (0..=MESSAGE.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
        message.shrink_to_fit();
        self.rejected.push(Rejected { digest, reason: Reason { class, code, message } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        let digest = Digest::of(b"image");
        let platform = "linux/amd64".parse().unwrap();
        let name = "oci/base".to_owned();
        Subject { name, reference: None, digest, manifest: digest, config: digest, platform }
    }

    #[test]
    fn d09_so_many_attestations_are_judged_and_so_many_bytes_and_no_more() {
        let check = |count, bytes, size| {
            let descriptor = Descriptor::new(names::BUNDLE_V03, Digest::of(b"x"), size);
            let layer = Layer { descriptor: &descriptor, hint: None, is_legacy: false };
            let gathering = Gathering::of(subject(), Vec::new());
            Gathering { count, bytes, ..gathering }.check_amount(&[(Digest::of(b"y"), layer)])
        };
        check(limits::REFERRERS - 1, 0, limits::EVIDENCE).unwrap();
        check(1, limits::EVIDENCE - 1, 1).unwrap();
        for (count, bytes, size) in [
            (limits::REFERRERS, 0, 1),
            (limits::REFERRERS + 1, 0, 1),
            (0, 0, limits::EVIDENCE + 1),
            (1, limits::EVIDENCE, 1),
            (1, 1, u64::MAX),
        ] {
            assert_eq!(check(count, bytes, size).unwrap_err().class(), Class::Limit, "{count} {bytes} {size}");
        }
    }

    #[test]
    fn a_bad_blob_is_told_from_a_store_that_does_not_answer() {
        let place = || "somewhere".to_owned();
        let gone = StoreError::NotFound { what: "a blob".to_owned(), place: place() };
        let limit = StoreError::Limit { what: "a blob".to_owned(), place: place(), reason: "large".to_owned() };
        let altered = StoreError::Altered { what: "a blob".to_owned(), place: place(), reason: "cut".to_owned() };
        assert!([gone, limit, altered].iter().all(StoreError::is_about_content));
        let what = || "a blob".to_owned();
        for error in [
            StoreError::Net { what: what(), place: place(), reason: "down".to_owned() },
            StoreError::Auth { what: what(), place: place(), reason: "no".to_owned() },
            StoreError::Registry { what: what(), place: place(), reason: "odd".to_owned() },
        ] {
            assert!(!error.is_about_content(), "{error}");
        }
    }

    #[test]
    fn an_error_keeps_the_class_and_code_of_its_cause() {
        let limit = StoreError::Limit { what: "x".to_owned(), place: "y".to_owned(), reason: "z".to_owned() };
        let (class, code) = (limit.class(), limit.code());
        let error = VerifyError::from(limit);
        assert_eq!((error.class(), error.code()), (class, code));
        let artifact = VerifyError::Artifact(Digest::of(b"x"));
        assert_eq!((artifact.class(), artifact.code()), (Class::Format, "not-an-image"));
    }
}
