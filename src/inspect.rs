//! `bulla inspect`: everything that is attached to an image, who signed it and what it says, to be looked at.
//!
//! Nothing is admitted here. What a signature is worth is said in words of its own ([`Standing`]), so that nobody takes
//! them for a verdict; every form is read, older ones and unsigned ones too.

mod document;

use jiff::Timestamp;
use serde::Serialize;

use crate::adapters::{LegacyKind, Served, Store, StoreError};
use crate::class::{Class, Classified};
use crate::content::{Digest, Document, limits};
use crate::oci::{Descriptor, ImageConfig, ImageManifest, Manifest, OciError, names};
use crate::policy::signer::RuleSigner;
use crate::policy::verdict::Reason;
use crate::sigstore::TrustRoot;
use crate::verify::{Layer, layers_of};

pub use document::{Attachment, Signature, Standing, Statement, Summary, Who};

/// Manifests below an index that are looked into: each costs some requests. Real indexes have fewer than 40.
const BELOW: usize = 64;
/// Labels that are shown of one config.
const LABELS: usize = 200;

/// Why an image cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The document is neither manifest nor index.
    #[error("{what}: {source}")]
    Document {
        /// Which document.
        what: Digest,
        /// What is wrong with it.
        source: OciError,
    },
}

impl Classified for InspectError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Document { source, .. } => source.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Document { source, .. } => source.code(),
        }
    }
}

/// On whose word signatures are verified.
pub struct Believed<'a> {
    /// The signers of the rule for the image, where there is a policy.
    pub signers: Option<&'a [RuleSigner]>,
    /// Roots that say who signed, each tried: nothing hinges on it here.
    pub roots: &'a [TrustRoot],
    /// Where attestations are kept, if not beside the image.
    pub elsewhere: Option<&'a dyn Store>,
    /// The clock.
    pub now: Timestamp,
}

/// A manifest or index, and what is attached to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its digest.
    pub digest: Digest,
    /// What it is: `image`, `index`, `artifact`, or `buildkit` for BuildKit's manifests of statements.
    pub kind: &'static str,
    /// Its media type, or its artifact type where it has one.
    pub media_type: String,
    /// `linux/amd64` …
    pub platform: Option<String>,
    /// How the image wants to be run.
    pub config: Option<Facts>,
    /// What is attached to it.
    pub attached: Vec<Attachment>,
    /// What was found and cannot be read, with the reason.
    pub unusable: Vec<Unusable>,
    /// The manifests of an index.
    pub below: Vec<Self>,
    /// Manifests of an index that were not looked into, there being too many.
    pub omitted: usize,
}

/// What an image config says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Its digest, which some engines call the image's id.
    pub digest: Digest,
    /// The user, as it stands.
    pub user: String,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments used when none are given.
    pub cmd: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// Labels: somebody's own words.
    pub labels: std::collections::BTreeMap<String, String>,
    /// How many layers there are.
    pub layers: usize,
    /// Their sizes together, in bytes, as stored.
    pub size: u64,
}

/// Something that could not be read.
#[derive(Debug, Serialize)]
pub struct Unusable {
    /// Of the manifest.
    pub digest: Digest,
    /// Why.
    pub reason: String,
}

/// Looks at everything that is attached to `root`, and to what is below it.
pub fn inspect(store: &dyn Store, root: Served, believed: &Believed<'_>) -> Result<Node, InspectError> {
    let mut look = Look { store, believed, budget: limits::EVIDENCE };
    let what = root.digest;
    let parsed = Manifest::parse(&root.raw, root.media_type.as_deref());
    look.node(root.digest, parsed.map_err(|source| InspectError::Document { what, source })?, None)
}

/// One inspection under way.
struct Look<'a> {
    store: &'a dyn Store,
    believed: &'a Believed<'a>,
    /// Bytes of documents that may still be read.
    budget: u64,
}

impl<'a> Look<'a> {
    fn node(&mut self, digest: Digest, parsed: Manifest, listed: Option<&Descriptor>) -> Result<Node, InspectError> {
        let platform = listed.and_then(|entry| entry.platform.as_ref());
        let mut node = Node {
            digest,
            kind: "index",
            media_type: parsed.media_type().to_owned(),
            platform: platform.map(ToString::to_string),
            config: None,
            attached: Vec::new(),
            unusable: Vec::new(),
            below: Vec::new(),
            omitted: 0,
        };
        match &parsed {
            Manifest::Image(image) if listed.is_some_and(is_buildkit) => {
                (node.kind, node.platform) = ("buildkit", None);
                let about = listed.and_then(|entry| entry.annotations.get(names::BUILDKIT_REFERENCE_DIGEST));
                let about = about.and_then(|about| about.parse().ok());
                self.unsigned(&mut node, "index", digest, image, about)?;
            }
            Manifest::Image(image) if image.is_runnable() => {
                node.kind = "image";
                self.config(&mut node, image)?;
            }
            Manifest::Image(image) => {
                node.kind = "artifact";
                node.media_type = image.artifact_type.clone().unwrap_or_else(|| image.config.media_type.clone());
            }
            Manifest::Index(_) => {}
        }
        self.attached(&mut node)?;
        if let (Manifest::Index(index), None) = (&parsed, listed) {
            node.omitted = index.manifests.len().saturating_sub(BELOW);
            for entry in index.manifests.iter().take(BELOW) {
                match self.child(entry) {
                    Ok(child) => {
                        let child = self.node(entry.digest, child, Some(entry))?;
                        node.below.push(child);
                    }
                    Err(error) if error.is_about_content() => {
                        node.unusable.push(Unusable { digest: entry.digest, reason: error.to_string() });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(node)
    }

    fn attestations(&self) -> &'a dyn Store {
        self.believed.elsewhere.unwrap_or(self.store)
    }

    fn child(&self, entry: &Descriptor) -> Result<Manifest, StoreError> {
        let served = self.store.manifest(&entry.digest)?;
        Manifest::parse(&served.raw, Some(&entry.media_type))
            .map_err(|source| StoreError::Document { what: format!("manifest {}", entry.digest), source })
    }

    fn config(&self, node: &mut Node, image: &ImageManifest) -> Result<(), StoreError> {
        let read = self.store.blob(&image.config, limits::CONFIG).and_then(|bytes| {
            let what = image.config.digest.to_string();
            ImageConfig::parse(&bytes).map_err(|source| StoreError::Document { what, source })
        });
        match read {
            Ok(config) => {
                node.platform = Some(config.platform().to_string());
                node.config = Some(Facts {
                    digest: image.config.digest,
                    user: config.user,
                    entrypoint: config.entrypoint,
                    cmd: config.cmd,
                    working_dir: config.working_dir,
                    labels: config.labels.into_iter().take(LABELS).collect(),
                    layers: image.layers.len(),
                    size: image.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add),
                });
            }
            Err(error) if error.is_about_content() => {
                node.unusable.push(Unusable { digest: image.config.digest, reason: error.to_string() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Referrers, and what stands under cosign's older tags.
    fn attached(&mut self, node: &mut Node) -> Result<(), InspectError> {
        let referrers = self.attestations().referrers_now(&node.digest)?;
        let legacy = self.attestations().legacy(&node.digest, &LegacyKind::ALL)?;
        let ignored = referrers.ignored.into_iter().chain(legacy.ignored);
        node.unusable.extend(ignored.map(|(digest, reason)| Unusable { digest, reason }));
        for manifest in &referrers.manifests {
            self.one(node, "referrer", manifest)?;
        }
        for (kind, manifest) in &legacy.manifests {
            self.one(node, &kind.tag(&node.digest), manifest)?;
        }
        Ok(())
    }

    /// One manifest that attaches something: signed documents, statements that nobody signed, or anything else.
    fn one(&mut self, node: &mut Node, place: &str, of: &Document<ImageManifest>) -> Result<(), InspectError> {
        let manifest = &of.parsed;
        let is_statement = |layer: &Descriptor| layer.media_type == names::STATEMENT;
        match layers_of(manifest) {
            Ok(layers) => self.signed(node, place, of.digest, layers),
            Err(_) if manifest.layers.iter().any(is_statement) => {
                let about = Some(node.digest);
                self.unsigned(node, place, of.digest, manifest, about)
            }
            Err(_) => {
                let media_type = manifest.artifact_type.as_ref().unwrap_or(&manifest.config.media_type);
                let descriptor = match manifest.layers.as_slice() {
                    [one] => one.clone(),
                    _ => Descriptor::new(media_type, of.digest, of.raw.len() as u64),
                };
                let standing = if place.ends_with(".sbom") { Standing::Unsigned } else { Standing::Unknown };
                let shown = Attachment::unread(place, of.digest, &descriptor, media_type, standing);
                node.attached.push(shown);
                Ok(())
            }
        }
    }

    fn signed(
        &mut self,
        node: &mut Node,
        place: &str,
        manifest: Digest,
        layers: Vec<Layer<'_>>,
    ) -> Result<(), InspectError> {
        for layer in layers {
            let shown = match self.fetch(self.attestations(), layer.descriptor)? {
                Ok(bytes) => {
                    let read = layer.read(&bytes);
                    drop(bytes);
                    Attachment::signed(place, manifest, layer.descriptor, read, &node.digest, self.believed)
                }
                Err(reason) => {
                    Attachment::unread(place, manifest, layer.descriptor, "", Standing::Unread).because(reason)
                }
            };
            node.attached.push(shown);
        }
        Ok(())
    }

    /// Statements that nobody signed: shown, and worth nothing.
    fn unsigned(
        &mut self,
        node: &mut Node,
        place: &str,
        digest: Digest,
        manifest: &ImageManifest,
        about: Option<Digest>,
    ) -> Result<(), InspectError> {
        for layer in manifest.layers.iter().filter(|layer| layer.media_type == names::STATEMENT) {
            let store = if place == "index" { self.store } else { self.attestations() };
            let shown = match self.fetch(store, layer)? {
                Ok(bytes) => Attachment::unsigned(place, digest, layer, &bytes, about.as_ref()),
                Err(reason) => Attachment::unread(place, digest, layer, "", Standing::Unread).because(reason),
            };
            node.attached.push(shown);
        }
        Ok(())
    }

    /// A document, or why it was not read.
    fn fetch(&mut self, store: &dyn Store, layer: &Descriptor) -> Result<Result<Vec<u8>, Reason>, StoreError> {
        if layer.size > self.budget {
            let message = format!("more than {} bytes are attached", limits::EVIDENCE);
            return Ok(Err(Reason { class: Class::Limit, code: "not-read", message }));
        }
        self.budget -= layer.size;
        match store.blob(layer, limits::BUNDLE) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) if error.is_about_content() => Ok(Err(Reason::of(&error))),
            Err(error) => Err(error),
        }
    }
}

fn is_buildkit(entry: &Descriptor) -> bool {
    entry.annotations.contains_key(names::BUILDKIT_REFERENCE_TYPE)
}
