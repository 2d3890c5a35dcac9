//! Manifests and indexes (image-spec, manifest.md and image-index.md): one document, one reading.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Descriptor, OciError, Platform, bounded, malformed, names, nullable_map};
use crate::content::limits;
use crate::json::{self, Obj, Shape};

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

    /// The image, where nothing else will do.
    pub fn into_image(self) -> Result<ImageManifest, OciError> {
        match self {
            Self::Image(image) => Ok(image),
            Self::Index(_) => Err(malformed("manifest", "it is an index where one image was expected".to_owned())),
        }
    }

    /// The index, where nothing else will do.
    pub fn into_index(self) -> Result<ImageIndex, OciError> {
        match self {
            Self::Index(index) => Ok(index),
            Self::Image(_) => Err(malformed("image index", "it is an image where an index was expected".to_owned())),
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
