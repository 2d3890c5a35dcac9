//! Clients of others, in both directions: what bulla signs they verify, and what they sign bulla verifies. Keyless
//! signatures are made on the in-process Sigstore, over loopback.
//!
//! Clients are found in `PATH`, or in the folders of `BULLA_CLIENTS`; those that are not there are passed over by name.
//! `make interop` installs what can be installed, and prints what docs/interop.md keeps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Command;

use bulla::content::Digest;
use cli::{Desk, finish};
use docker_registry::DockerRegistry;
use serde_json::{Value, json};
use stage::Stage;
use support::sigstore::Sigstore;
use support::sigstore::services::{Services, token};

const PASSPHRASE: &str = "only in tests";
const WORKFLOW: &str = "acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
const IDENTITY: &str = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const SLSA: &str = "https://slsa.dev/provenance/v1";

/// A program of somebody else's, or nothing, said by name.
fn client(names: &[&str]) -> Option<PathBuf> {
    let more = std::env::var_os("BULLA_CLIENTS").unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&more).chain(std::env::split_paths(&path)).collect();
    let found =
        folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name))).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: {}", names[0]);
    }
    found
}

/// A row of docs/interop.md.
fn row(client: &str, what: &str) {
    println!("| {client} | {what} | passes |");
}

/// Where images are.
enum Place {
    /// The registry of these tests, which has the referrers API.
    Referrers(Box<Stage>),
    /// docker-registry, which has none: the fallback tag is used.
    Fallback(DockerRegistry),
}

/// An image in a registry, somebody with a key, a Sigstore.
struct Scene {
    desk: Desk,
    services: Services,
    place: Place,
    digest: Digest,
}

impl Scene {
    /// On a registry with the referrers API, or on one without, where there is one.
    fn on(referrers: bool) -> Option<Self> {
        let stage = Stage::bare();
        let place = match referrers {
            true => Place::Referrers(Box::new(Stage::bare())),
            false => Place::Fallback(DockerRegistry::start()?),
        };
        let layout = stage.layout("work/image.oci", "base:1", &[]);
        let digest = stage.image.digest();
        let scene = Self { desk: stage.desk, services: Services::start(Sigstore::new()), place, digest };
        let desk = &scene.desk;
        stage.key.write(&desk.path("work/bulla.key"), PASSPHRASE.as_bytes()).unwrap();
        desk.write("work/bulla.pub", stage.key.public_pem());
        desk.write("work/token", scene.token());
        desk.write("work/root.json", scene.services.world.trusted_root_json());
        for rekor in [1, 2] {
            desk.write(&format!("work/config{rekor}.json"), scene.services.signing_config(rekor));
            let config: Value = serde_json::from_str(&scene.services.signing_config(rekor)).unwrap();
            let trust = json!({
                "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                "trustedRoot": scene.services.world.trusted_root(), "signingConfig": config,
            });
            desk.write(&format!("work/trust{rekor}.json"), trust.to_string());
        }
        desk.write("work/provenance.json", stage::predicate(SLSA).to_string());
        let to = format!("{}/acme/base:1.0", scene.host());
        desk.run(&["publish", &layout, "--to", &to, "--allow-unattested"]).ends(0);
        Some(scene)
    }

    fn both() -> impl Iterator<Item = Self> {
        [true, false].into_iter().filter_map(Self::on)
    }

    fn host(&self) -> String {
        match &self.place {
            Place::Referrers(stage) => stage.server.host(),
            Place::Fallback(registry) => registry.host(),
        }
    }

    fn kind(&self) -> &'static str {
        match &self.place {
            Place::Referrers(_) => "referrers API",
            Place::Fallback(_) => "docker-registry",
        }
    }

    fn image(&self) -> String {
        format!("{}/acme/base@{}", self.host(), self.digest)
    }

    fn token(&self) -> String {
        token(&json!({ "iss": ISSUER, "sub": "repo:acme/templates", "job_workflow_ref": WORKFLOW }))
    }

    #[track_caller]
    fn bulla(&self, args: &[&str]) {
        let mut command = self.desk.command(args);
        finish(command.env("BULLA_KEY_PASSWORD", PASSPHRASE), b"").ends(0);
    }

    /// A client that has to be content.
    #[track_caller]
    fn passes(&self, program: &std::path::Path, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).env_clear().current_dir(self.desk.path("work")).env("HOME", self.desk.path("home"));
        command.env("PATH", "/usr/bin:/bin").env("COSIGN_PASSWORD", PASSPHRASE).stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program:?} {args:?}: {told}\n{:#?}", self.services.requests());
        String::from_utf8_lossy(&output.stdout).into_owned() + &told
    }

    /// Signs and attests with bulla, with a key or without.
    fn sign(&self, how: &[&str]) {
        let image = self.image();
        self.bulla(&[&["sign", &image], how].concat());
        self.bulla(&[&["attest", &image, "--type", "slsa-v1", "--predicate", "provenance.json"], how].concat());
    }

    /// bulla admits what stands there for both.
    #[track_caller]
    fn admits(&self, how: &[&str]) {
        self.bulla(&[&["verify", &self.image(), "--require", "signature,provenance"], how].concat());
    }

    /// The bundle of this predicate type, as it lies in the registry, in a file.
    fn bundle(&self, predicate_type: &str) -> String {
        use bulla::adapters::Store as _;
        use bulla::adapters::registry::{Registry, RegistryOptions};
        let repository = format!("{}/acme/base", self.host()).parse().unwrap();
        let store = Registry::new(RegistryOptions::default()).repository(&repository);
        let manifests = store.referrers(&self.digest).unwrap().manifests;
        let bundles = manifests.iter().map(|manifest| store.blob(&manifest.parsed.layers[0], 1 << 20).unwrap());
        let wanted = bundles.into_iter().find(|bytes| {
            let bundle = bulla::attestation::bundle::Bundle::parse(bytes).unwrap();
            bundle.unverified_statement().unwrap().predicate_type == predicate_type
        });
        self.desk.write("work/bundle.json", wanted.unwrap())
    }
}

const BY_KEY: [&str; 2] = ["--key", "bulla.key"];

fn keyless(config: &str) -> [&str; 7] {
    ["--keyless", "--identity-token", "@token", "--signing-config", config, "--trusted-root", "root.json"]
}

const WHO: [&str; 6] = ["--identity", IDENTITY, "--issuer", ISSUER, "--trusted-root", "root.json"];
const WHO_COSIGN: [&str; 6] =
    ["--trusted-root", "root.json", "--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER];

#[test]
fn cosign_verifies_what_bulla_signs_with_a_key() {
    let Some(cosign) = client(&["cosign"]) else { return };
    for scene in Scene::both() {
        scene.sign(&BY_KEY);
        let image = scene.image();
        let by = ["--key", "bulla.pub", "--insecure-ignore-tlog=true", "--trusted-root", "root.json"];
        scene.passes(&cosign, &[&["verify"], &by[..], &[&image]].concat());
        scene.passes(&cosign, &[&["verify-attestation", "--type", "slsaprovenance1"], &by[..], &[&image]].concat());
        row("cosign", &format!("bulla signs and attests with a key; `verify`, `verify-attestation`; {}", scene.kind()));
    }
}

#[test]
fn cosign_verifies_signatures_by_ed25519_keys() {
    let Some(cosign) = client(&["cosign"]) else { return };
    let kind = "ed25519";
    if let Some(scene) = Scene::on(true) {
        scene.bulla(&["key", "generate", "--type", kind, "--output", "other"]);
        let image = scene.image();
        scene.bulla(&["sign", &image, "--key", "other.key"]);
        let by = ["--key", "other.pub", "--insecure-ignore-tlog=true", "--trusted-root", "root.json"];
        scene.passes(&cosign, &[&["verify"], &by[..], &[&image]].concat());
        row("cosign", &format!("bulla signs with a key of type {kind}; `verify`; referrers API"));
    }
}

#[test]
fn cosign_verifies_what_bulla_signs_without_a_key() {
    let Some(cosign) = client(&["cosign"]) else { return };
    for (rekor, config) in [(1, "config1.json"), (2, "config2.json")] {
        for scene in Scene::both() {
            scene.sign(&keyless(config));
            let image = scene.image();
            scene.passes(&cosign, &[&["verify"], &WHO_COSIGN[..], &[&image]].concat());
            let by = [&["verify-attestation", "--type", "slsaprovenance1"], &WHO_COSIGN[..], &[&image]].concat();
            scene.passes(&cosign, &by);
            let bundle = scene.bundle(SLSA);
            let hex = scene.digest.hex();
            let blob = ["verify-blob-attestation", "--bundle", &bundle, "--type", "slsaprovenance1", "--digest", &hex];
            scene.passes(&cosign, &[&blob[..], &["--digestAlg", "sha256"], &WHO_COSIGN[..]].concat());
            let kind = scene.kind();
            row(
                "cosign",
                &format!(
                    "bulla signs and attests keyless, Rekor v{rekor}; `verify`, `verify-attestation`, `verify-blob-attestation`; {kind}"
                ),
            );
        }
    }
}

#[test]
fn bulla_verifies_what_cosign_signs_with_a_key() {
    let Some(cosign) = client(&["cosign"]) else { return };
    // The registry of these tests takes blobs whole, and cosign sends them in pieces.
    if let Some(scene) = Scene::on(false) {
        let image = scene.image();
        let none = ["--no-default-fulcio", "--no-default-rekor", "--no-default-oidc", "--no-default-tsa"];
        scene.passes(&cosign, &[&["signing-config", "create", "--out", "none.json"], &none[..]].concat());
        // The key is one of bulla's: the files are the same.
        let by = ["--key", "bulla.key", "--signing-config", "none.json", "--trusted-root", "root.json", "-y"];
        scene.passes(&cosign, &[&["sign"], &by[..], &[&image]].concat());
        let what = ["attest", "--type", "slsaprovenance1", "--predicate", "provenance.json"];
        scene.passes(&cosign, &[&what[..], &by, &[&image]].concat());
        scene.admits(&["--key", "bulla.pub"]);
        row("cosign", &format!("`sign`, `attest` with a key of bulla's; bulla verifies; {}", scene.kind()));
    }
}

#[test]
fn bulla_verifies_what_cosign_signs_without_a_key() {
    let Some(cosign) = client(&["cosign"]) else { return };
    for (rekor, config) in [(1, "config1.json"), (2, "config2.json")] {
        if let Some(scene) = Scene::on(false) {
            let (image, token) = (scene.image(), scene.token());
            let by =
                ["--identity-token", &token, "--signing-config", config, "--trusted-root", "root.json", "-y", &image];
            scene.passes(&cosign, &[&["sign"], &by[..]].concat());
            let what = ["attest", "--type", "slsaprovenance1", "--predicate", "provenance.json"];
            scene.passes(&cosign, &[&what[..], &by].concat());
            scene.admits(&WHO);
            row("cosign", &format!("`sign`, `attest` keyless, Rekor v{rekor}; bulla verifies; {}", scene.kind()));
        }
    }
}

#[test]
fn sigstore_go_verifies_what_bulla_signs() {
    let Some(program) = client(&["sigstore-go-verification"]) else { return };
    for (rekor, config) in [(1, "config1.json"), (2, "config2.json")] {
        let Some(scene) = Scene::on(true) else { return };
        scene.sign(&keyless(config));
        let (bundle, hex) = (scene.bundle(SLSA), scene.digest.hex());
        let who = ["-expectedIssuer", ISSUER, "-expectedSAN", IDENTITY, "-trustedrootJSONpath", "root.json"];
        scene.passes(&program, &[&["-artifact-digest", &hex], &who[..], &[&bundle]].concat());
        row("sigstore-go", &format!("bulla attests keyless, Rekor v{rekor}"));
    }
}

#[test]
fn python_sigstore_verifies_what_bulla_signs() {
    let Some(program) = client(&["sigstore"]) else { return };
    for (rekor, config) in [(1, "config1.json"), (2, "config2.json")] {
        let Some(scene) = Scene::on(true) else { return };
        scene.sign(&keyless(config));
        let (bundle, subject) = (scene.bundle(SLSA), scene.digest.to_string());
        let trust = format!("trust{rekor}.json");
        let who = ["--cert-identity", IDENTITY, "--cert-oidc-issuer", ISSUER, "--bundle", &bundle, &subject];
        scene.passes(&program, &[&["--trust-config", &trust, "verify", "identity"], &who[..]].concat());
        row("python sigstore", &format!("bulla attests keyless, Rekor v{rekor}"));
    }
}
