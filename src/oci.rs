//! OCI documents: descriptors, manifests, indexes, image configs (image-spec v1.1), read strictly.
//!
//! Reading never fetches and never guesses: a document that could be both an image and an index is refused
//! (CVE-2021-41190), and so is one whose own media type disagrees with what it was served as.

pub mod diff;
pub mod layer;
pub mod normalize;
pub mod tree;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::json::{self, JsonError, Obj, Shape};

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

    fn is_unknown(&self) -> bool {
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

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// The image config, or an artifact's.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// What kind of artifact this is; absent for images.
    pub artifact_type: Option<String>,
    /// What this is attached to.
    pub subject: Option<Descriptor>,
    /// Annotations: hints, never believed.
    pub annotations: BTreeMap<String, String>,
}

impl ImageManifest {
    /// Whether this is something a container can be started from, and not an artifact.
    pub fn is_runnable(&self) -> bool {
        self.artifact_type.is_none()
            && self.subject.is_none()
            && matches!(self.config.media_type.as_str(), names::CONFIG | names::DOCKER_CONFIG)
    }
}

/// An image index, or a manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIndex {
    /// What it points at, in its own order.
    pub manifests: Vec<Descriptor>,
    /// What kind of artifact this is; absent for multi-platform images.
    pub artifact_type: Option<String>,
    /// What this is attached to.
    pub subject: Option<Descriptor>,
    /// Annotations: hints, never believed.
    pub annotations: BTreeMap<String, String>,
}

impl ImageIndex {
    /// The one entry for `platform`. BuildKit's attestation entries (marked by platform *and* annotation) are passed
    /// over; two entries for one platform, or an entry without one, are ambiguous and refused.
    pub fn select(&self, platform: &Platform) -> Result<&Descriptor, OciError> {
        let mut offered = Vec::new();
        let mut found = Vec::new();
        for entry in &self.manifests {
            let attestation = entry.annotations.contains_key(names::BUILDKIT_REFERENCE_TYPE);
            match &entry.platform {
                Some(entry_platform) if entry_platform.is_unknown() && attestation => {}
                Some(entry_platform) if !entry_platform.is_unknown() && !attestation => {
                    offered.push(entry_platform.to_string());
                    if platform.matches(entry_platform) {
                        found.push(entry);
                    }
                }
                _ => {
                    return Err(malformed(
                        "image index",
                        format!(
                            "entry {} is neither an image of a platform nor marked as an attestation",
                            entry.digest
                        ),
                    ));
                }
            }
        }
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(OciError::Platform {
                reason: format!("there is no image for {platform}; the index offers {}", offered.join(", ")),
            }),
            _ => Err(malformed("image index", format!("{} entries claim to be {platform}", found.len()))),
        }
    }
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// One image, or an artifact.
    Image(ImageManifest),
    /// Several.
    Index(ImageIndex),
}

const MANIFEST_SHAPE: Shape = Shape {
    name: "manifest",
    known: &[
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "digest",
        "size",
        "urls",
        "data",
        "platform",
        "os",
        "architecture",
        "variant",
        "annotations",
        "fsLayers",
        "history",
        "signatures",
    ],
    opaque: &["annotations"],
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireManifest {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Obj<Descriptor>>,
    layers: Option<Vec<Obj<Descriptor>>>,
    manifests: Option<Vec<Obj<Descriptor>>>,
    subject: Option<Obj<Descriptor>>,
    #[serde(default, deserialize_with = "nullable_map")]
    annotations: BTreeMap<String, String>,
    // Docker's schema 1, which carries its own signatures and is refused.
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// A media type without its parameters.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

impl Manifest {
    /// Reads a manifest or an index. `served_as` is the media type it came under, where something said one.
    pub fn parse(bytes: &[u8], served_as: Option<&str>) -> Result<Self, OciError> {
        let wire: WireManifest = json::parse(bytes, &MANIFEST_SHAPE)?;
        let refuse = |reason: &str| Err(malformed("manifest", reason.to_owned()));
        if wire.schema_version != 2 || wire.fs_layers.is_some() {
            return refuse("only schemaVersion 2 is understood");
        }
        let served_as = served_as.map(essence);
        if let (Some(own), Some(served)) = (&wire.media_type, served_as)
            && own != served
        {
            return refuse(&format!("it calls itself {own:?} and was served as {served:?}"));
        }
        let annotations = wire.annotations;
        let artifact_type = wire.artifact_type;
        let subject = wire.subject.map(|Obj(descriptor)| descriptor);
        let manifest = match (wire.manifests, wire.config, wire.layers) {
            (Some(manifests), None, None) => {
                let manifests: Vec<_> = manifests.into_iter().map(|Obj(descriptor)| descriptor).collect();
                bounded("image index", "entries", manifests.len(), limits::INDEX_ENTRIES)?;
                Self::Index(ImageIndex { manifests, artifact_type, subject, annotations })
            }
            (None, Some(Obj(config)), Some(layers)) => {
                let layers: Vec<_> = layers.into_iter().map(|Obj(descriptor)| descriptor).collect();
                bounded("manifest", "layers", layers.len(), limits::LAYERS)?;
                Self::Image(ImageManifest { config, layers, artifact_type, subject, annotations })
            }
            (None, _, _) => return refuse("it has neither `manifests` nor `config` and `layers`"),
            (Some(_), _, _) => {
                return refuse("it has `manifests` beside `config` or `layers`, so it could be read as two things");
            }
        };
        let fits = |media_type: &str| match &manifest {
            Self::Image(_) => matches!(media_type, names::MANIFEST | names::DOCKER_MANIFEST),
            Self::Index(_) => matches!(media_type, names::INDEX | names::DOCKER_LIST),
        };
        match wire.media_type.as_deref().or(served_as) {
            Some(media_type) if fits(media_type) => Ok(manifest),
            Some(media_type) => refuse(&format!("the media type {media_type:?} does not fit what it holds")),
            None => Ok(manifest),
        }
    }

    /// What this is attached to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(image) => image.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// The media type to write for it, where it says none itself.
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Image(_) => names::MANIFEST,
            Self::Index(_) => names::INDEX,
        }
    }
}

/// What of an image config is used: platform, layers' diff_ids, and how it wants to be run (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `linux`
    pub os: String,
    /// `amd64` …
    pub architecture: String,
    /// `v8` …
    pub variant: Option<String>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// `user` or `uid:gid`, as it stands.
    pub user: String,
    /// `NAME=value`
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments used when none are given.
    pub cmd: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// Paths that an engine would give a writable volume of its own.
    pub volumes: Vec<String>,
    /// Labels: somebody's own words.
    pub labels: BTreeMap<String, String>,
}

const CONFIG_SHAPE: Shape = Shape {
    name: "image config",
    // Engines written in Go obey a `user` or an `ENV` as well: what is judged must be all that they see.
    known: &[
        "os",
        "architecture",
        "variant",
        "rootfs",
        "diff_ids",
        "type",
        "config",
        "history",
        "User",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "Volumes",
        "Labels",
        "ExposedPorts",
        "Healthcheck",
        "OnBuild",
        "Shell",
        "StopSignal",
        "ArgsEscaped",
    ],
    opaque: &["Labels", "Volumes", "ExposedPorts", "history"],
};

#[derive(Deserialize)]
struct WireConfig {
    os: String,
    architecture: String,
    variant: Option<String>,
    rootfs: Obj<WireRootfs>,
    config: Option<Obj<WireRun>>,
}

#[derive(Deserialize)]
struct WireRootfs {
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireRun {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Reads an image config.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let wire: WireConfig = json::parse(bytes, &CONFIG_SHAPE)?;
        let Obj(rootfs) = wire.rootfs;
        let run = wire.config.unwrap_or_default().0;
        Ok(Self {
            os: wire.os,
            architecture: wire.architecture,
            variant: wire.variant.filter(|variant| !variant.is_empty()),
            diff_ids: rootfs.diff_ids,
            user: run.user.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            volumes: run.volumes.unwrap_or_default().into_keys().collect(),
            labels: run.labels.unwrap_or_default(),
        })
    }

    /// The platform it was built for.
    pub fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
    }

    /// Refuses a config that is not this manifest's: another platform, another number of layers.
    pub fn check_against(&self, manifest: &ImageManifest, platform: &Platform) -> Result<(), OciError> {
        if self.diff_ids.len() != manifest.layers.len() {
            return Err(OciError::LayerCount { config: self.diff_ids.len(), manifest: manifest.layers.len() });
        }
        if !platform.matches(&self.platform()) {
            return Err(OciError::Malformed {
                name: "image config",
                reason: format!("it is for {} where {platform} was asked for", self.platform()),
            });
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i13_a_config_says_the_same_to_every_reader() {
        let config = |run: &str| {
            let text = format!(
                r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[]}},"config":{run}}}"#
            );
            ImageConfig::parse(text.as_bytes())
        };
        let read = config(r#"{"Cmd":["/x"],"Labels":{"a":"1","A":"2"},"Env":["USER=x"]}"#).unwrap();
        assert_eq!((read.cmd.len(), read.labels.len()), (1, 2));
        for hidden in ["env", "ENV", "user", "workingdir", "volumes", "entrypoint", "healthcheck", "onbuild"] {
            assert!(config(&format!(r#"{{"Cmd":["/x"],"{hidden}":null}}"#)).is_err(), "{hidden}");
        }
    }
}
