//! Bundles with exactly one defect, each by a name: what the library and our judge are both held against.

pub mod certificate;
pub mod envelope;
pub mod log;
pub mod time;

use serde_json::{Value, json};

use super::cert::Signer;
use super::key::Key;
use super::layer::Layer;
use super::{Attest, Sigstore, statement};

/// The image in question, 64 hex digits.
pub const SUBJECT: &str = "c811d58de79c92f03214e63aa339484e488d694ae8a6283b5f3f17a9faf50172";
/// Another image.
pub const OTHER_SUBJECT: &str = "0000000000000000000000000000000000000000000000000000000000000007";
/// What is said about it.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// What the verifier relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Certificates, in an instance with CT and logs.
    Keyless,
    /// Certificates, in an instance with timestamps only.
    GitHub,
    /// This key (PEM).
    Key(String),
    /// This key, and a log.
    LoggedKey(String),
}

/// A bundle to be judged.
#[derive(Debug, Clone)]
pub struct Case {
    /// The trusted root.
    pub root: Value,
    /// The bundle, JSON.
    pub bundle: Vec<u8>,
    /// What the verifier relies on.
    pub trust: Trust,
    /// The same as cosign's layer, where it is to be judged as that.
    pub layer: Option<Layer>,
    /// Whether the verifier takes bundles before v0.3.
    pub legacy: bool,
}

impl Case {
    /// A keyless bundle against the root of the world that made it.
    pub fn keyless(world: &Sigstore, bundle: Attest) -> Self {
        Self { root: world.trusted_root(), bundle: bundle.bundle(), trust: Trust::Keyless, layer: None, legacy: false }
    }

    /// The same, relied on otherwise.
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The same, older formats allowed.
    pub fn legacy(self) -> Self {
        Self { legacy: true, ..self }
    }

    /// The same as an attestation of cosign's legacy format.
    pub fn into_attestation(self) -> Self {
        let value = serde_json::from_slice(&self.bundle).unwrap();
        Self { layer: Some(Layer::attestation(&value)), legacy: true, ..self }
    }

    /// The same as a signature of cosign's legacy format.
    pub fn into_signature(self) -> Self {
        let value = serde_json::from_slice(&self.bundle).unwrap();
        Self { layer: Some(Layer::signature(&value)), legacy: true, ..self }
    }

    /// The same against the root of another world.
    pub fn rooted(self, root: Value) -> Self {
        Self { root, ..self }
    }
}

/// Who signs here.
pub fn signer() -> Signer {
    Signer::github("acme/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0")
}

/// What is signed here.
pub fn payload() -> Vec<u8> {
    let predicate = json!({
        "buildDefinition": { "buildType": "https://example.test/build/v1", "externalParameters": {} },
        "runDetails": { "builder": { "id": "https://example.test/builder" } },
    });
    statement(SUBJECT, PREDICATE, &predicate)
}

/// A signature by the usual signer over the usual statement, in Rekor v1.
pub fn attest(world: &Sigstore) -> Attest {
    world.attest(&payload(), &signer())
}

/// A keyless case of a fresh world with an edit.
pub fn keyless(edit: impl FnOnce(Attest) -> Attest) -> Case {
    let world = Sigstore::new();
    let bundle = edit(attest(&world));
    Case::keyless(&world, bundle)
}

/// A case of a world that was edited before anything was signed in it.
pub fn in_world(change: impl FnOnce(&mut Sigstore), edit: impl FnOnce(Attest) -> Attest) -> Case {
    let mut world = Sigstore::new();
    change(&mut world);
    let bundle = edit(attest(&world));
    Case::keyless(&world, bundle)
}

/// Rekor v1, promise and proof, with or without a timestamp; nothing wrong.
pub fn good_rekor_v1() -> Case {
    keyless(|bundle| bundle)
}

/// Rekor v2 and a timestamp; nothing wrong.
pub fn good_rekor_v2() -> Case {
    keyless(Attest::rekor_v2)
}

/// GitHub's own instance; nothing wrong.
pub fn good_github() -> Case {
    let world = Sigstore::new();
    let case = Case::keyless(&world, attest(&world).github_instance());
    case.rooted(world.github_root()).trusting(Trust::GitHub)
}

/// A key, and nothing else; nothing wrong.
pub fn good_key() -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    Case::keyless(&world, world.attest_with_key(&payload(), &key)).trusting(Trust::Key(key.public_pem()))
}

/// A key, and an entry in Rekor v1; nothing wrong.
pub fn good_logged_key() -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let bundle = world.attest_with_key(&payload(), &key).rekor_v1();
    Case::keyless(&world, bundle).trusting(Trust::LoggedKey(key.public_pem()))
}
