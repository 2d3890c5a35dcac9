//! A whole Sigstore in the process: certificate authority, CT log, Rekor v1 and v2, timestamping authority.
//!
//! It signs at any time as anyone, truthfully unless told otherwise, and what it is told is one field:
//!
//! ```ignore
//! let world = Sigstore::new();
//! let signer = Signer::github("acme/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0");
//! let good = world.attest(&statement, &signer).bundle();
//! let expired = world.attest(&statement, &signer).leaf(|leaf| leaf.not_after = time("2025-06-01T11:00:00Z")).bundle();
//! ```
//!
//! Everything downstream of the changed field is made from it: a certificate without its key usage is logged as it is,
//! and its SCT is over it. What only a party on the way could do is done to the JSON, with [`Attest::tamper`].

pub mod cert;
pub mod defects;
pub mod der;
pub mod key;
pub mod layer;
pub mod log;
pub mod services;
pub mod tsa;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use cert::{Authority, CODE_SIGNING, DIGITAL_SIGNATURE, Name, Sct, Signer, Template};
use key::{Algorithm, Key};
use log::{Entry, Kind, Log, Logged};
use tsa::{Stamp, Tsa};

/// When things are signed unless something else is said: past, by every clock.
pub const SIGNED_AT: &str = "2025-06-01T12:00:00Z";
/// The payload type of every in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Reads RFC 3339.
pub fn time(text: &str) -> Timestamp {
    text.parse().expect("an RFC 3339 time")
}

/// `validFor` of a trusted root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First valid instant.
    pub start: Timestamp,
    /// Last valid instant, if it ends.
    pub end: Option<Timestamp>,
}

impl Window {
    /// A window between two times.
    pub fn between(start: &str, end: &str) -> Self {
        Self { start: time(start), end: Some(time(end)) }
    }

    /// A window without an end.
    pub fn from(start: &str) -> Self {
        Self { start: time(start), end: None }
    }

    fn json(&self) -> Value {
        let mut value = json!({ "start": self.start.to_string() });
        if let Some(end) = self.end {
            value["end"] = json!(end.to_string());
        }
        value
    }
}

/// Fulcio: root and intermediate, and when the trusted root says they count.
#[derive(Clone)]
pub struct Fulcio {
    /// Signs the intermediate.
    pub root: Authority,
    /// Signs the leaves.
    pub intermediate: Authority,
    /// As in the trusted root.
    pub window: Window,
}

impl Fulcio {
    /// An authority of these years.
    pub fn new(organization: &str, validity: (Timestamp, Timestamp), window: Window) -> Self {
        let root = Authority::root(Name::new(organization, "sigstore"), Key::generate(Algorithm::P384), validity);
        let name = Name::new(organization, "sigstore-intermediate");
        let intermediate = root.subordinate(name, Key::generate(Algorithm::P384), validity, |template| {
            template.usages = vec![CODE_SIGNING];
        });
        Self { root, intermediate, window }
    }

    /// The same authority with its intermediate made anew after an edit.
    pub fn with_intermediate(&self, edit: impl FnOnce(&mut Template)) -> Self {
        Self { intermediate: self.intermediate.reissued(&self.root, edit), ..self.clone() }
    }

    /// Its entry in a trusted root.
    pub fn trusted(&self) -> Value {
        json!({
            "subject": { "organization": self.root.name.organization, "commonName": self.root.name.common_name },
            "uri": "https://fulcio.sigstore.test",
            "certChain": certificates([&self.intermediate.certificate, &self.root.certificate]),
            "validFor": self.window.json(),
        })
    }
}

/// All authorities of one instance. Clones share keys; another [`Sigstore::new`] is another world with the same names.
#[derive(Clone)]
pub struct Sigstore {
    /// Issues the signers' certificates.
    pub fulcio: Fulcio,
    /// Signs the SCTs in them.
    pub ct: Log,
    /// P-256, promises and checkpoints.
    pub rekor_v1: Log,
    /// Ed25519, checkpoints only.
    pub rekor_v2: Log,
    /// P-384, as the public instance's.
    pub tsa: Tsa,
}

impl Default for Sigstore {
    fn default() -> Self {
        Self::new()
    }
}

impl Sigstore {
    /// A world in which everything is valid from 2024 to 2034, and which trusts its keys without an end.
    pub fn new() -> Self {
        let validity = (time("2023-01-01T00:00:00Z"), time("2034-01-01T00:00:00Z"));
        let window = Window::from("2024-01-01T00:00:00Z");
        Self {
            fulcio: Fulcio::new("sigstore.test", validity, window),
            ct: Log::ct(Key::p256(), window),
            rekor_v1: Log::rekor_v1(Key::p256(), window),
            rekor_v2: Log::rekor_v2(Key::generate(Algorithm::Ed25519), window),
            tsa: Tsa::new(Algorithm::P384, validity, window),
        }
    }

    /// What a verifier is told to trust.
    pub fn trusted_root(&self) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.rekor_v1.trusted(), self.rekor_v2.trusted()],
            "certificateAuthorities": [self.fulcio.trusted()],
            "ctlogs": [self.ct.trusted()],
            "timestampAuthorities": [self.tsa.trusted()],
        })
    }

    /// What a verifier trusts in an instance that has neither CT nor a log, as GitHub's own.
    pub fn github_root(&self) -> Value {
        let mut root = self.trusted_root();
        for logs in ["tlogs", "ctlogs"] {
            root.as_object_mut().unwrap().remove(logs);
        }
        root
    }

    /// The same as JSON text.
    pub fn trusted_root_json(&self) -> String {
        serde_json::to_string_pretty(&self.trusted_root()).unwrap()
    }

    /// A keyless signature over a statement: leaf with an SCT, Rekor v1 with promise and proof, bundle v0.3.
    pub fn attest(&self, statement: &[u8], signer: &Signer) -> Attest {
        let at = time(SIGNED_AT);
        let key = Key::p256();
        let leaf = leaf(&key, signer, at);
        Attest {
            world: self.clone(),
            payload: statement.to_vec(),
            payload_type: IN_TOTO.to_owned(),
            key,
            simple: false,
            material: Material::Certificate(Box::new(leaf)),
            issuer: self.fulcio.intermediate.clone(),
            issued: None,
            scts: vec![Sct::new(&self.ct, at)],
            chain: Vec::new(),
            signature: None,
            entries: vec![Entry::rekor_v1(&self.rekor_v1, at)],
            stamps: Vec::new(),
            version: Version::V03,
            at,
            tamper: Vec::new(),
        }
    }

    /// A signature with a key of the signer's own: no certificate, no log, no timestamp.
    pub fn attest_with_key(&self, statement: &[u8], key: &Key) -> Attest {
        let hint = STANDARD.encode(key.fingerprint());
        let base = self.attest(statement, &Signer::email("nobody@example.test", "https://example.test"));
        Attest { key: key.clone(), material: Material::Key { hint }, entries: Vec::new(), ..base }
    }
}

/// How the verifier is to know the key.
#[derive(Clone)]
pub enum Material {
    /// By a certificate, made from this.
    Certificate(Box<Template>),
    /// By having it: the bundle has only a hint.
    Key {
        /// Names the key, and proves nothing.
        hint: String,
    },
}

/// The bundle's media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// v0.1: a chain of certificates; the promise is what counts.
    V01,
    /// v0.2: a chain of certificates and an inclusion proof.
    V02,
    /// v0.3: one certificate and an inclusion proof.
    V03,
}

impl Version {
    /// As the bundle says it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::V01 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V02 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V03 => "application/vnd.dev.sigstore.bundle.v0.3+json",
        }
    }
}

type Tamper = Box<dyn Fn(&mut Value)>;

/// A signature about to be made. Every field may be changed before [`Attest::bundle`] makes it.
pub struct Attest {
    world: Sigstore,
    /// The statement.
    pub payload: Vec<u8>,
    /// Its type.
    pub payload_type: String,
    /// The signer's key.
    pub key: Key,
    /// Whether the payload is signed as it is, as cosign once did, and not in DSSE's encoding.
    pub simple: bool,
    /// How the verifier is to know the key.
    pub material: Material,
    /// Who issues the leaf.
    pub issuer: Authority,
    /// The leaf, where it was issued before and is used again.
    pub issued: Option<Vec<u8>>,
    /// What the CT log says of the leaf.
    pub scts: Vec<Sct>,
    /// Certificates after the leaf, in bundles that carry a chain.
    pub chain: Vec<Vec<u8>>,
    /// The signature, where it is not the key's over the payload.
    pub signature: Option<Vec<u8>>,
    /// Log entries.
    pub entries: Vec<Entry>,
    /// Timestamps.
    pub stamps: Vec<Stamp>,
    /// The bundle's version.
    pub version: Version,
    at: Timestamp,
    tamper: Vec<Tamper>,
}

impl Attest {
    /// Everything happens at another time: certificate, SCT, log entry, timestamp.
    pub fn at(mut self, text: &str) -> Self {
        let at = time(text);
        if let Material::Certificate(leaf) = &mut self.material {
            (leaf.not_before, leaf.not_after) = lifetime(at);
        }
        self.scts.iter_mut().for_each(|sct| sct.at = at);
        self.entries.iter_mut().filter(|entry| entry.integrated_time.is_some()).for_each(|entry| {
            entry.integrated_time = Some(at);
        });
        self.stamps.iter_mut().for_each(|stamp| stamp.at = at);
        self.at = at;
        self
    }

    /// Logged in Rekor v1, with promise and proof.
    pub fn rekor_v1(mut self) -> Self {
        self.entries = vec![Entry::rekor_v1(&self.world.rekor_v1, self.at)];
        self
    }

    /// Logged in Rekor v2 and stamped by the TSA.
    pub fn rekor_v2(mut self) -> Self {
        self.entries = vec![Entry::rekor_v2(&self.world.rekor_v2)];
        self.stamped()
    }

    /// Not logged.
    pub fn no_log(mut self) -> Self {
        self.entries.clear();
        self
    }

    /// Stamped by the TSA, once more.
    pub fn stamped(mut self) -> Self {
        self.stamps.push(Stamp::new(&self.world.tsa, self.at));
        self
    }

    /// The leaf carries no SCT.
    pub fn no_sct(mut self) -> Self {
        self.scts.clear();
        self
    }

    /// As GitHub's own instance signs: timestamp only, neither SCT nor log.
    pub fn github_instance(self) -> Self {
        self.no_sct().no_log().stamped()
    }

    /// The entry is of another type.
    pub fn kind(self, kind: Kind) -> Self {
        self.entry(|entry| entry.kind = kind)
    }

    /// The bundle is of another version.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The signer has a key of another kind.
    pub fn signed_by(mut self, key: Key) -> Self {
        if let Material::Certificate(leaf) = &mut self.material {
            leaf.spki = key.spki.clone();
        }
        self.key = key;
        self
    }

    /// Edits anything.
    pub fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// Edits the leaf before it is issued.
    pub fn leaf(mut self, edit: impl FnOnce(&mut Template)) -> Self {
        match &mut self.material {
            Material::Certificate(leaf) => edit(leaf),
            Material::Key { .. } => panic!("a key has no leaf"),
        }
        self
    }

    /// Edits the first SCT before it is made.
    pub fn sct(mut self, edit: impl FnOnce(&mut Sct)) -> Self {
        edit(&mut self.scts[0]);
        self
    }

    /// Edits the first log entry before it is logged.
    pub fn entry(mut self, edit: impl FnOnce(&mut Entry)) -> Self {
        edit(&mut self.entries[0]);
        self
    }

    /// Edits the first timestamp before it is made.
    pub fn stamp(mut self, edit: impl FnOnce(&mut Stamp)) -> Self {
        edit(&mut self.stamps[0]);
        self
    }

    /// Edits the finished bundle, as somebody on the way could.
    pub fn tamper(mut self, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.tamper.push(Box::new(edit));
        self
    }

    /// The leaf as it is issued.
    pub fn issue(&self) -> Vec<u8> {
        match (&self.issued, &self.material) {
            (Some(issued), _) => issued.clone(),
            (None, Material::Certificate(leaf)) => leaf.sign_logged(&self.issuer, &self.scts),
            (None, Material::Key { .. }) => panic!("a key has no leaf"),
        }
    }

    /// The bundle.
    pub fn value(&self) -> Value {
        let signed = if self.simple { self.payload.clone() } else { pae(&self.payload_type, &self.payload) };
        let signature = self.signature.clone().unwrap_or_else(|| self.key.sign(&signed));
        let certificate = match &self.material {
            Material::Certificate(_) => Some(self.issue()),
            Material::Key { .. } => None,
        };
        let logged = Logged {
            payload: &self.payload,
            payload_type: &self.payload_type,
            signed: &signed,
            signature: &signature,
            certificate: certificate.as_deref(),
            key: &self.key,
        };
        let mut material = match (&self.material, &certificate) {
            (Material::Key { hint }, _) => json!({ "publicKey": { "hint": hint } }),
            (_, Some(leaf)) if self.version == Version::V03 => {
                json!({ "certificate": { "rawBytes": STANDARD.encode(leaf) } })
            }
            (_, leaf) => json!({ "x509CertificateChain": certificates(leaf.iter().chain(&self.chain)) }),
        };
        material["tlogEntries"] = self.entries.iter().map(|entry| entry.log(&logged)).collect();
        if !self.stamps.is_empty() {
            let stamps: Vec<_> = self
                .stamps
                .iter()
                .map(|stamp| json!({ "signedTimestamp": STANDARD.encode(stamp.stamp(&signature)) }))
                .collect();
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": stamps });
        }
        let mut bundle = json!({
            "mediaType": self.version.media_type(),
            "verificationMaterial": material,
            "dsseEnvelope": envelope(&self.payload, &self.payload_type, &signature),
        });
        self.tamper.iter().for_each(|tamper| tamper(&mut bundle));
        bundle
    }

    /// The bundle as JSON bytes.
    pub fn bundle(&self) -> Vec<u8> {
        self.value().to_string().into_bytes()
    }
}

/// A minimal in-toto statement v1 about an image: subject without a name, as cosign writes.
pub fn statement(subject: &str, predicate_type: &str, predicate: &Value) -> Vec<u8> {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "ghcr.io/acme/templates/claude", "digest": { "sha256": subject } }],
        "predicateType": predicate_type,
        "predicate": predicate,
    })
    .to_string()
    .into_bytes()
}

/// The DSSE envelope of one signature.
pub fn envelope(payload: &[u8], payload_type: &str, signature: &[u8]) -> Value {
    json!({
        "payload": STANDARD.encode(payload),
        "payloadType": payload_type,
        "signatures": [{ "sig": STANDARD.encode(signature) }],
    })
}

/// DSSE's pre-authentication encoding: what is signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// The leaf Fulcio would issue to this signer at this time: ten minutes.
pub fn leaf(key: &Key, signer: &Signer, at: Timestamp) -> Template {
    Template {
        key_usage: Some(DIGITAL_SIGNATURE),
        usages: vec![CODE_SIGNING],
        san: vec![signer.san.clone()],
        extensions: signer.extensions(),
        ..Template::new(Name::default(), key, lifetime(at))
    }
}

fn lifetime(at: Timestamp) -> (Timestamp, Timestamp) {
    (at - SignedDuration::from_secs(1), at + SignedDuration::from_secs(599))
}

fn certificates<'a>(chain: impl IntoIterator<Item = &'a Vec<u8>>) -> Value {
    let all: Vec<_> = chain.into_iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) })).collect();
    json!({ "certificates": all })
}
