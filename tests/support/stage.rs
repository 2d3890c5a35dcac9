//! A lying registry with an image, signed attestations of it, a policy, and somebody who runs the binary on them. Needs
//! `cli`, `registry` and `image` beside it.

#![allow(dead_code, unreachable_pub, reason = "each test uses the part it needs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "spdx.rs"]
mod sbom;

use bulla::adapters::layout::{LayoutWriter, attestation_manifest};
use bulla::adapters::signer::PrivateKey;
use bulla::attestation::Statement;
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::{Value, json};

pub use sbom::spdx;

use crate::cli::{Desk, Run};
use crate::image::Image;
use crate::registry::TestRegistry;

pub const REPOSITORY: &str = "acme/base";
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
pub const SLSA: &str = "https://slsa.dev/provenance/v1";
pub const SPDX: &str = "https://spdx.dev/Document";
pub const ALL: [&str; 3] = [SIGN, SLSA, SPDX];

/// A predicate that is what its type says.
pub fn predicate(predicate_type: &str) -> Value {
    match predicate_type {
        SIGN => json!({}),
        SLSA => json!({
            "buildDefinition": {
                "buildType": "https://example.test/build", "externalParameters": {}, "resolvedDependencies": [],
            },
            "runDetails": { "builder": { "id": "https://example.test/builder" } },
        }),
        SPDX => spdx(&["pkg:deb/debian/git@2.47?arch=amd64"]),
        _ => json!({ "anything": true }),
    }
}

/// A bundle in which `key` says this about `subject`.
pub fn bundle_of(key: &PrivateKey, subject: &Digest, predicate_type: &str, predicate: &Value) -> Vec<u8> {
    let predicate = serde_json::to_vec(predicate).unwrap();
    key.sign_statement(&Statement::write("base", subject, predicate_type, &predicate).unwrap()).unwrap()
}

pub fn bundle(key: &PrivateKey, subject: &Digest, predicate_type: &str) -> Vec<u8> {
    bundle_of(key, subject, predicate_type, &predicate(predicate_type))
}

/// The manifest that attaches a bundle; `promised` is what its annotation says.
pub fn attachment(bundle: &[u8], subject: &Descriptor, promised: &str) -> Vec<u8> {
    attestation_manifest(bundle, subject, promised, "2026-11-21T08:00:00Z".parse().unwrap())
}

pub struct Stage {
    pub desk: Desk,
    pub server: TestRegistry,
    pub key: PrivateKey,
    pub image: Image,
}

impl Stage {
    /// An image under `1.0` to which nothing is attached, and a policy file that asks for all three by `key`.
    pub fn bare() -> Self {
        Self::on(TestRegistry::start())
    }

    /// The same on this registry.
    pub fn on(server: TestRegistry) -> Self {
        let (desk, key, image) = (Desk::new(), PrivateKey::generate().unwrap(), Image::new("base"));
        desk.write("config/cosign.pub", key.public_pem());
        let stage = Self { desk, server, key, image };
        stage.push(&stage.image, Some("1.0"));
        stage.policy(&stage.rule(""));
        stage
    }

    /// The same, with the three attestations that the policy asks for.
    pub fn attested() -> Self {
        let stage = Self::bare();
        stage.attest(&stage.key, &stage.image.descriptor(), &ALL);
        stage
    }

    /// A policy with one rule for the registry and for layouts, with more lines in the rule.
    pub fn rule(&self, lines: &str) -> String {
        let host = self.server.host();
        let require = match lines.contains("require =") {
            true => "",
            false => "require = [\"signature\", \"provenance\", \"sbom\"]\n",
        };
        format!(
            "version = 1\n[[rule]]\nimages = [\"{host}/acme/*\", \"oci/**\"]\n{require}{lines}\n\
             [[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n"
        )
    }

    /// Replaces the policy file.
    pub fn policy(&self, text: &str) {
        self.desk.write("config/policy.toml", text);
    }

    pub fn push(&self, image: &Image, tag: Option<&str>) {
        self.server.put_blob(REPOSITORY, &image.config);
        self.server.put_blob(REPOSITORY, &image.layer);
        self.server.put_manifest(REPOSITORY, tag, names::MANIFEST, &image.manifest);
    }

    /// `key` says these things about an image, truthfully attached to it.
    pub fn attest(&self, key: &PrivateKey, subject: &Descriptor, types: &[&str]) {
        for one in types {
            self.attach(&bundle(key, &subject.digest, one), subject, one);
        }
    }

    /// Attaches a bundle, whatever it says, to an image.
    pub fn attach(&self, bundle: &[u8], subject: &Descriptor, promised: &str) -> Digest {
        self.server.put_blob(REPOSITORY, b"{}");
        self.server.put_blob(REPOSITORY, bundle);
        self.server.put_manifest(REPOSITORY, None, names::MANIFEST, &attachment(bundle, subject, promised))
    }

    /// An index under a tag; returns its descriptor.
    pub fn put_index(&self, tag: &str, entries: Value) -> Descriptor {
        let index = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": entries });
        let index = serde_json::to_vec(&index).unwrap();
        self.server.put_manifest(REPOSITORY, Some(tag), names::INDEX, &index);
        Descriptor::of(names::INDEX, &index)
    }

    /// The image with its attestations as a layout below the desk, under `name`.
    pub fn layout(&self, below: &str, name: &str, types: &[&str]) -> String {
        let dir = self.desk.path(below);
        let mut writer = LayoutWriter::create(&dir).unwrap();
        writer.add_blob(names::CONFIG, &self.image.config[..]).unwrap();
        writer.add_blob(names::LAYER_TAR, &self.image.layer[..]).unwrap();
        writer.add_manifest(names::MANIFEST, &self.image.manifest, Some(name)).unwrap();
        for one in types {
            let bundle = bundle(&self.key, &self.image.digest(), one);
            writer.attach(&attachment(&bundle, &self.image.descriptor(), one), &bundle, one).unwrap();
        }
        writer.finish().unwrap();
        format!("oci:{}", dir.display())
    }

    /// `127.0.0.1:<port>/acme/base` and what is given behind it.
    pub fn named(&self, rest: &str) -> String {
        format!("{}/{REPOSITORY}{rest}", self.server.host())
    }

    pub fn tag(&self) -> String {
        self.named(":1.0")
    }

    pub fn pinned(&self) -> String {
        self.named(&format!("@{}", self.image.digest()))
    }

    /// `bulla verify --policy …` with more arguments.
    #[track_caller]
    pub fn verify(&self, args: &[&str]) -> Run {
        let policy = self.desk.arg("config/policy.toml");
        self.desk.run(&[&["verify", "--policy", &policy], args].concat())
    }

    #[track_caller]
    pub fn launch(&self, args: &[&str]) -> Run {
        let policy = self.desk.arg("config/policy.toml");
        self.desk.run(&[&["launch", "--runtime", "docker", "--policy", &policy], args].concat())
    }

    /// The image is admitted, as JSON and as text, twice the same. Returns the verdict.
    #[track_caller]
    pub fn admits(&self, args: &[&str]) -> Value {
        let verdict = self.verdict(args, 0);
        assert_eq!((&verdict["admitted"], &verdict["enforced"]), (&json!(true), &json!(true)), "{verdict:#}");
        assert_eq!(verdict["error"], Value::Null);
        // K12: admitted implies that there is a check, that each passed, and that each names what satisfied it.
        let checks = verdict["checks"].as_array().unwrap();
        assert!(!checks.is_empty());
        for check in checks {
            assert_eq!(check["status"], "pass", "{verdict:#}");
            let satisfied = verdict["attestations"].as_array().unwrap().iter().any(|attested| {
                attested["digest"] == check["attestation"] && attested["satisfies"] == json!([check["requirement"]])
            });
            assert!(satisfied, "{verdict:#}");
        }
        let text = self.verify(args).ends(0).stdout;
        assert!(text.contains("\nADMITTED "), "{text}");
        verdict
    }

    /// What holds for every refusal: the exit code and the class, twice the same; nothing is started or written.
    /// Returns the verdict.
    #[track_caller]
    pub fn refuses(&self, args: &[&str], exit: i32, class: &str) -> Value {
        let files = self.desk.files();
        let verdict = self.verdict(args, exit);
        assert_eq!(verdict["admitted"], false, "{verdict:#}");
        let failed = verdict["checks"].as_array().unwrap().iter().find(|check| check["status"] == "fail");
        let found = match verdict.get("error") {
            Some(error) => &error["class"],
            None => &failed.unwrap()["class"],
        };
        assert_eq!(found, class, "{verdict:#}");
        let text = self.verify(args).ends(exit);
        assert!(!text.stdout.contains("ADMITTED") && !text.stderr.contains("ADMITTED"), "{text:?}");
        assert!(text.stdout.contains(class) || text.stderr.contains(class), "{text:?}");
        if !args.contains(&"--bundle") {
            let launched = self.launch(args).ends(125);
            assert!(launched.stderr.contains(class), "{launched:?}");
            assert_eq!(launched.stdout, "");
        }
        assert!(!self.desk.touched_engine(), "{:?}", self.desk.calls());
        assert_eq!(self.desk.files(), files);
        verdict
    }

    /// The JSON verdict, which is the same twice but for the time.
    #[track_caller]
    fn verdict(&self, args: &[&str], exit: i32) -> Value {
        let ask = || {
            let run = self.verify(&[args, &["--json"]].concat()).ends(exit);
            let mut verdict = run.json();
            assert_eq!(verdict["exit"], exit, "{verdict:#}");
            assert_eq!(verdict["schema"], "bulla.verdict/v1");
            assert!(verdict.as_object_mut().unwrap().remove("time").is_some());
            verdict
        };
        let first = ask();
        assert_eq!(first, ask());
        first
    }
}
