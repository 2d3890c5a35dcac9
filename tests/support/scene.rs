//! A lying registry with one attested image, and clients to look at it with. Needs `registry` and `image` beside it.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use bulla::adapters::registry::{Credentials, Registry, RegistryOptions, RegistryStore};
use bulla::adapters::{Store, StoreError};
use bulla::class::{Class, Classified};
use bulla::oci::{Descriptor, names};
use bulla::reference::Reference;
use serde_json::json;

use crate::image::{Attachment, Image};
use crate::registry::TestRegistry;

pub const REPOSITORY: &str = "acme/base";
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
pub const SPDX: &str = "https://spdx.dev/Document";

/// A registry with one image under `1.0` and one attestation of it.
pub struct Scene {
    pub server: TestRegistry,
    pub image: Image,
    pub attachment: Attachment,
}

impl Scene {
    pub fn new() -> Self {
        Self::on(TestRegistry::start())
    }

    pub fn on(server: TestRegistry) -> Self {
        let image = Image::new("base");
        server.put_blob(REPOSITORY, &image.config);
        server.put_blob(REPOSITORY, &image.layer);
        server.put_manifest(REPOSITORY, Some("1.0"), names::MANIFEST, &image.manifest);
        let attachment = Attachment::new(&image.descriptor(), PROVENANCE);
        let scene = Self { server, image, attachment };
        scene.attach(&scene.attachment);
        scene
    }

    pub fn attach(&self, attachment: &Attachment) {
        self.server.put_blob(REPOSITORY, b"{}");
        self.server.put_blob(REPOSITORY, &attachment.bundle);
        self.server.put_manifest(REPOSITORY, None, names::MANIFEST, &attachment.manifest);
    }

    pub fn put_index(&self, tag: &str, entries: &[Descriptor]) {
        let index = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": entries });
        self.server.put_manifest(REPOSITORY, Some(tag), names::INDEX, &serde_json::to_vec(&index).unwrap());
    }

    pub fn tag(&self) -> Reference {
        self.server.reference("acme/base:1.0")
    }

    pub fn fallback_tag(&self) -> String {
        format!("sha256-{}", self.image.digest().hex())
    }

    pub fn store(&self) -> RegistryStore {
        client().repository(&self.server.repository(REPOSITORY))
    }

    pub fn referrers(&self) -> Result<bulla::adapters::Referrers, StoreError> {
        self.store().referrers(&self.image.digest())
    }

    pub fn layer(&self) -> Descriptor {
        Descriptor::of(names::LAYER_TAR, &self.image.layer)
    }
}

pub fn options() -> RegistryOptions {
    RegistryOptions { deadline: Duration::from_secs(5), ..RegistryOptions::default() }
}

pub fn client() -> Registry {
    Registry::new(options())
}

pub fn hurried() -> Registry {
    Registry::new(RegistryOptions { deadline: Duration::from_millis(400), ..options() })
}

pub fn with_credentials(registry: &str) -> Registry {
    let credentials =
        Credentials::Fixed { registry: registry.to_owned(), user: "me".into(), password: "planted-canary".into() };
    Registry::new(RegistryOptions { credentials, ..options() })
}

#[track_caller]
pub fn class<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Class {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(text.chars().all(|character| !character.is_control()), "{text:?}");
    assert!(!text.contains("planted-canary"), "{text}");
    error.class()
}
