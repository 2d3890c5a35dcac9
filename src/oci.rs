//! OCI documents: descriptors, manifests, indexes, image configs (image-spec v1.1), read strictly.
//!
//! Reading never fetches and never guesses: a document that could be both an image and an index is refused
//! (CVE-2021-41190), and so is one whose own media type disagrees with what it was served as.

mod config;
pub mod diff;
pub mod layer;
mod manifest;
pub mod normalize;
pub mod tree;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use config::CONFIG_SHAPE;
pub use config::ImageConfig;
pub(crate) use manifest::essence;
pub use manifest::{ImageIndex, ImageManifest, Manifest};

use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::json::{JsonError, Obj};

/// Media types, artifact types and annotation keys, by their names in the specs.
pub mod names {
    /// OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Docker's image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// The empty config of artifacts.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    /// Layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// Layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Layer, not compressed.
    pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Sigstore bundle v0.3, as artifact type and layer media type.
    pub const BUNDLE_V03: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    /// What the media types of Sigstore bundles of every version begin with.
    pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
    /// The annotation that promises the predicate type of a bundle: a hint, never believed.
    pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
    /// The annotation that names an image in a layout.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// What kind of document BuildKit attached.
    pub const BUILDKIT_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
    /// The annotation with which `cosign save` marks the entries of its layouts.
    pub const COSIGN_KIND: &str = "kind";
}

/// Why an OCI document was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OciError {
    /// It is not JSON, or not unambiguous JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is JSON and breaks a rule of the image-spec, or one of ours.
    #[error("the {name} is not acceptable: {reason}")]
    Malformed {
        /// Which kind of document.
        name: &'static str,
        /// Which rule.
        reason: String,
    },
    /// More entries than allowed.
    #[error("the {name} has {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// Which kind of document.
        name: &'static str,
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A config and a manifest that are not about the same layers.
    #[error("the image config lists {config} layers, and the manifest {manifest}")]
    LayerCount {
        /// `diff_ids` of the config.
        config: usize,
        /// Layers of the manifest.
        manifest: usize,
    },
    /// No image for this platform, or more than one.
    #[error("{reason}")]
    Platform {
        /// What was found.
        reason: String,
    },
}

impl Classified for OciError {
    fn class(&self) -> Class {
        match self {
            Self::Json(error) => error.class(),
            Self::Malformed { .. } | Self::Platform { .. } => Class::Format,
            Self::TooMany { .. } => Class::Limit,
            Self::LayerCount { .. } => Class::Integrity,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code(),
            Self::Malformed { .. } => "malformed-manifest",
            Self::Platform { .. } => "no-such-platform",
            Self::TooMany { .. } => "too-many-entries",
            Self::LayerCount { .. } => "layer-count",
        }
    }
}

/// A pointer to content: media type, digest, size (image-spec, descriptor.md). `urls` and `data` are never used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content, in bytes.
    pub size: u64,
    /// Artifact type of the manifest pointed at: a hint, never believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Platform of the image pointed at.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_object")]
    pub platform: Option<Platform>,
    /// Annotations: hints, never believed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable_map")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A descriptor without annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// Operating system, architecture and variant, in Go's words: `linux/amd64`, `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64` …
    pub architecture: String,
    /// `v8` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform whose containers this machine runs: always Linux, this machine's architecture.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image of platform `offered` serves where this one is asked for: arm64 and arm64/v8 are one.
    pub fn matches(&self, offered: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("arm64", Some("v8")) => None,
            (_, variant) => variant.map(str::to_owned),
        };
        self.os == offered.os && self.architecture == offered.architecture && variant(self) == variant(offered)
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() <= 1 && parts.iter().all(word) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: variant.first().map(|variant| (*variant).to_owned()),
            }),
            _ => Err(OciError::Platform {
                reason: format!("{:?} is not a platform: write linux/amd64", text.chars().take(40).collect::<String>()),
            }),
        }
    }
}

fn malformed(name: &'static str, reason: String) -> OciError {
    OciError::Malformed { name, reason }
}

fn bounded(name: &'static str, what: &'static str, count: usize, limit: usize) -> Result<(), OciError> {
    if count > limit { Err(OciError::TooMany { name, what, count, limit }) } else { Ok(()) }
}

fn optional_object<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Obj<T>>::deserialize(deserializer)?.map(|Obj(value)| value))
}

fn nullable_map<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
