//! Small real images and attestations to put into layouts and registries.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use bulla::adapters::layout::attestation_manifest;
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::json;

/// A one-layer image whose bytes depend on `word`.
pub struct Image {
    /// The image config.
    pub config: Vec<u8>,
    /// The layer, an empty tar with `word` behind it.
    pub layer: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
}

impl Image {
    pub fn new(word: &str) -> Self {
        let mut layer = vec![0; 1024];
        layer.extend_from_slice(word.as_bytes());
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer)] },
        });
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": names::MANIFEST,
            "config": Descriptor::of(names::CONFIG, &config),
            "layers": [Descriptor::of(names::LAYER_TAR, &layer)],
        });
        Self { manifest: serde_json::to_vec(&manifest).unwrap(), config, layer }
    }

    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(names::MANIFEST, &self.manifest)
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// Something attached to an image, in the shape of a Sigstore bundle: no signature, these tests look at places only.
pub struct Attachment {
    pub bundle: Vec<u8>,
    pub manifest: Vec<u8>,
    pub predicate_type: String,
}

impl Attachment {
    pub fn new(subject: &Descriptor, predicate_type: &str) -> Self {
        let bundle = json!({ "mediaType": names::BUNDLE_V03, "about": subject.digest, "says": predicate_type });
        let bundle = serde_json::to_vec(&bundle).unwrap();
        let created = "2026-11-21T08:00:00Z".parse().unwrap();
        let manifest = attestation_manifest(&bundle, subject, predicate_type, created);
        Self { bundle, manifest, predicate_type: predicate_type.to_owned() }
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(names::MANIFEST, &self.manifest)
    }
}
