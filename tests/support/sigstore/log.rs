//! Logs: certificate transparency, Rekor v1 and Rekor v2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384};

use super::Window;
use super::key::{Algorithm, Key, pem};

/// A log: its key, its name, and when the trusted root says it counts.
#[derive(Clone)]
pub struct Log {
    /// Signs SCTs, SETs and checkpoints.
    pub key: Key,
    /// First line of its checkpoints, and the name under its signature.
    pub origin: String,
    /// As in the trusted root.
    pub base_url: String,
    /// As in the trusted root.
    pub window: Window,
    /// Rekor v2 identifies a log by name and key where the key is Ed25519 (C2SP signed-note).
    pub tiled: bool,
}

impl Log {
    /// A CT log.
    pub fn ct(key: Key, window: Window) -> Self {
        let base_url = "https://ctfe.sigstore.test/2025".to_owned();
        Self { key, origin: String::new(), base_url, window, tiled: false }
    }

    /// A Rekor v1 log.
    pub fn rekor_v1(key: Key, window: Window) -> Self {
        let origin = "rekor.sigstore.test - 2605736670972794746".to_owned();
        Self { key, origin, base_url: "https://rekor.sigstore.test".to_owned(), window, tiled: false }
    }

    /// A Rekor v2 log.
    pub fn rekor_v2(key: Key, window: Window) -> Self {
        let origin = "log2025-1.rekor.sigstore.test".to_owned();
        Self { key, base_url: format!("https://{origin}"), origin, window, tiled: true }
    }

    /// The log's identifier, as entries and the trusted root name it.
    pub fn id(&self) -> [u8; 32] {
        if self.tiled && self.key.algorithm == Algorithm::Ed25519 {
            let raw = &self.key.spki[self.key.spki.len() - 32..];
            return Sha256::digest([self.origin.as_bytes(), b"\n\x01", raw].concat()).into();
        }
        self.key.fingerprint()
    }

    /// Its entry in a trusted root.
    pub fn trusted(&self) -> Value {
        json!({
            "baseUrl": self.base_url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(&self.key.spki),
                "keyDetails": self.key.details(),
                "validFor": self.window.json(),
            },
            "logId": { "keyId": STANDARD.encode(self.id()) },
        })
    }

    fn signer_name(&self) -> &str {
        self.origin.split(" - ").next().unwrap_or(&self.origin)
    }
}

/// Which entry type, in which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// dsse 0.0.1 (Rekor v1).
    Dsse001,
    /// intoto 0.0.1 (Rekor v1): cosign before 2.2.
    Intoto001,
    /// intoto 0.0.2 (Rekor v1).
    Intoto002,
    /// hashedrekord 0.0.1 (Rekor v1).
    HashedRekord001,
    /// hashedrekord 0.0.2 (Rekor v2).
    HashedRekord002,
    /// dsse 0.0.2 (Rekor v2).
    Dsse002,
}

impl Kind {
    /// As the bundle's `kindVersion` says it.
    pub fn pair(self) -> (&'static str, &'static str) {
        match self {
            Self::Dsse001 => ("dsse", "0.0.1"),
            Self::Intoto001 => ("intoto", "0.0.1"),
            Self::Intoto002 => ("intoto", "0.0.2"),
            Self::HashedRekord001 => ("hashedrekord", "0.0.1"),
            Self::HashedRekord002 => ("hashedrekord", "0.0.2"),
            Self::Dsse002 => ("dsse", "0.0.2"),
        }
    }
}

/// What an entry is about.
pub struct Logged<'a> {
    /// DSSE payload.
    pub payload: &'a [u8],
    /// DSSE payload type.
    pub payload_type: &'a str,
    /// What is signed: the payload in DSSE's encoding, or as it is.
    pub signed: &'a [u8],
    /// The signature, raw.
    pub signature: &'a [u8],
    /// The certificate, DER; with a managed key there is none.
    pub certificate: Option<&'a [u8]>,
    /// The key that signed.
    pub key: &'a Key,
}

impl Logged<'_> {
    /// The canonical body Rekor keeps for it.
    pub fn body(&self, kind: Kind) -> Value {
        let b64 = |bytes: &[u8]| STANDARD.encode(bytes);
        let hex = |bytes: &[u8]| hex(&Sha256::digest(bytes));
        let verifier_pem = match self.certificate {
            Some(certificate) => pem("CERTIFICATE", certificate),
            None => self.key.public_pem(),
        };
        let verifier_pem = b64(verifier_pem.as_bytes());
        let verifier = match self.certificate {
            Some(certificate) => {
                json!({ "keyDetails": self.key.details(), "x509Certificate": { "rawBytes": b64(certificate) } })
            }
            None => json!({ "keyDetails": self.key.details(), "publicKey": { "rawBytes": b64(&self.key.spki) } }),
        };
        let envelope = super::envelope(self.payload, self.payload_type, self.signature).to_string();
        let spec = match kind {
            Kind::Dsse001 => json!({
                "envelopeHash": { "algorithm": "sha256", "value": hex(envelope.as_bytes()) },
                "payloadHash": { "algorithm": "sha256", "value": hex(self.payload) },
                "signatures": [{ "signature": b64(self.signature), "verifier": verifier_pem }],
            }),
            Kind::Intoto001 => json!({
                "content": {
                    "hash": { "algorithm": "sha256", "value": hex(envelope.as_bytes()) },
                    "payloadHash": { "algorithm": "sha256", "value": hex(self.payload) },
                },
                "publicKey": verifier_pem,
            }),
            Kind::Intoto002 => json!({ "content": {
                "envelope": {
                    "payloadType": self.payload_type,
                    "signatures": [{ "publicKey": verifier_pem, "sig": b64(b64(self.signature).as_bytes()) }],
                },
                "hash": { "algorithm": "sha256", "value": hex(envelope.as_bytes()) },
                "payloadHash": { "algorithm": "sha256", "value": hex(self.payload) },
            } }),
            Kind::HashedRekord001 => json!({
                "data": { "hash": { "algorithm": "sha256", "value": hex(self.signed) } },
                "signature": { "content": b64(self.signature), "publicKey": { "content": verifier_pem } },
            }),
            Kind::HashedRekord002 => json!({ "hashedRekordV002": {
                "data": match self.key.algorithm {
                    Algorithm::P384 => json!({ "algorithm": "SHA2_384", "digest": b64(&Sha384::digest(self.signed)) }),
                    _ => json!({ "algorithm": "SHA2_256", "digest": b64(&Sha256::digest(self.signed)) }),
                },
                "signature": { "content": b64(self.signature), "verifier": verifier },
            } }),
            Kind::Dsse002 => json!({ "dsseV002": {
                "payloadHash": { "algorithm": "SHA2_256", "digest": b64(&Sha256::digest(self.payload)) },
                "signatures": [{ "content": b64(self.signature), "verifier": verifier }],
            } }),
        };
        let (kind, version) = kind.pair();
        json!({ "apiVersion": version, "kind": kind, "spec": spec })
    }
}

/// A signed tree head, and what may be wrong with it.
#[derive(Clone)]
pub struct Checkpoint {
    /// Who signs.
    pub log: Log,
    /// First line, where it is not the log's.
    pub origin: Option<String>,
    /// Root stated, where it is not the tree's.
    pub root: Option<[u8; 32]>,
    /// Size stated, where it is not the tree's.
    pub size: Option<u64>,
    /// Key hint, where it is not the log's.
    pub hint: Option<[u8; 4]>,
    /// Whether the log itself signs.
    pub signed: bool,
    /// Others that sign too: witnesses.
    pub witnesses: Vec<Log>,
    /// Edits the text before it is signed.
    pub edit_body: Option<fn(String) -> String>,
}

/// The inclusion proof that an entry gets.
#[derive(Clone)]
pub struct Proof {
    /// Leaves of the tree; the entry is the last but one.
    pub leaves: usize,
    /// The tree head that goes with it.
    pub checkpoint: Checkpoint,
}

/// An entry to be logged.
#[derive(Clone)]
pub struct Entry {
    /// Whose log it is in.
    pub log: Log,
    /// Its type.
    pub kind: Kind,
    /// Seconds; a Rekor v2 entry has none.
    pub integrated_time: Option<Timestamp>,
    /// Who signs the promise (SET), if anybody.
    pub promise: Option<Log>,
    /// The inclusion proof, if any.
    pub proof: Option<Proof>,
    /// Edits the body before it is logged: the log itself takes in what is wrong.
    pub edit_body: Option<fn(&mut Value)>,
    /// The body logged, where it is one of something else.
    pub body: Option<Vec<u8>>,
}

impl Entry {
    /// What Rekor v1 returns for a DSSE envelope.
    pub fn rekor_v1(log: &Log, at: Timestamp) -> Self {
        Self { kind: Kind::Dsse001, integrated_time: Some(at), promise: Some(log.clone()), ..Self::rekor_v2(log) }
    }

    /// What Rekor v2 returns for a DSSE envelope.
    pub fn rekor_v2(log: &Log) -> Self {
        let checkpoint = Checkpoint {
            log: log.clone(),
            origin: None,
            root: None,
            size: None,
            hint: None,
            signed: true,
            witnesses: Vec::new(),
            edit_body: None,
        };
        Self {
            log: log.clone(),
            kind: Kind::HashedRekord002,
            integrated_time: None,
            promise: None,
            proof: Some(Proof { leaves: 7, checkpoint }),
            edit_body: None,
            body: None,
        }
    }

    /// The inclusion proof, which must be there.
    pub fn proof(&mut self) -> &mut Proof {
        self.proof.as_mut().expect("the entry has a proof")
    }

    /// The checkpoint, which must be there.
    pub fn checkpoint(&mut self) -> &mut Checkpoint {
        &mut self.proof().checkpoint
    }

    /// The log's answer, as it stands in a bundle.
    pub fn log(&self, logged: &Logged<'_>) -> Value {
        let body = self.body.clone().unwrap_or_else(|| {
            let mut body = logged.body(self.kind);
            if let Some(edit) = self.edit_body {
                edit(&mut body);
            }
            // serde_json keeps keys sorted and writes no space: RFC 8785 for what stands in these bodies.
            body.to_string().into_bytes()
        });
        let (kind, version) = self.kind.pair();
        let index = self.proof.as_ref().map_or(5, |proof| proof.leaves.saturating_sub(2));
        // Rekor v1 numbers entries across its shards, proofs within one.
        let global = if self.log.tiled { index } else { index + 25_579_000 };
        let mut entry = json!({
            "logIndex": global.to_string(),
            "logId": { "keyId": STANDARD.encode(self.log.id()) },
            "kindVersion": { "kind": kind, "version": version },
            "canonicalizedBody": STANDARD.encode(&body),
        });
        if let Some(time) = self.integrated_time {
            entry["integratedTime"] = json!(time.as_second().to_string());
        }
        if let Some(signer) = &self.promise {
            let payload = json!({
                "body": STANDARD.encode(&body),
                "integratedTime": self.integrated_time.map_or(0, Timestamp::as_second),
                "logID": hex(&self.log.id()),
                "logIndex": global,
            });
            let signature = signer.key.sign(payload.to_string().as_bytes());
            entry["inclusionPromise"] = json!({ "signedEntryTimestamp": STANDARD.encode(signature) });
        }
        if let Some(proof) = &self.proof {
            entry["inclusionProof"] = proof.json(&body, index);
        }
        entry
    }
}

impl Proof {
    fn json(&self, body: &[u8], index: usize) -> Value {
        let leaves: Vec<[u8; 32]> = (0..self.leaves)
            .map(|leaf| match leaf == index {
                true => leaf_hash(body),
                false => leaf_hash(format!("leaf {leaf} of somebody else").as_bytes()),
            })
            .collect();
        let root = tree_hash(&leaves);
        let hashes: Vec<_> = audit_path(index, &leaves).iter().map(|hash| STANDARD.encode(hash)).collect();
        json!({
            "logIndex": index.to_string(),
            "rootHash": STANDARD.encode(root),
            "treeSize": self.leaves.to_string(),
            "hashes": hashes,
            "checkpoint": { "envelope": self.checkpoint.note(root, self.leaves as u64) },
        })
    }
}

impl Checkpoint {
    /// The signed note (C2SP tlog-checkpoint).
    pub fn note(&self, root: [u8; 32], size: u64) -> String {
        let origin = self.origin.as_deref().unwrap_or(&self.log.origin);
        let size = self.size.unwrap_or(size);
        let mut body = format!("{origin}\n{size}\n{}\n", STANDARD.encode(self.root.unwrap_or(root)));
        if !self.log.tiled {
            body.push_str("Timestamp: 1748779201000000000\n");
        }
        if let Some(edit) = self.edit_body {
            body = edit(body);
        }
        let mut note = format!("{body}\n");
        let signers = self.signed.then_some(&self.log).into_iter().chain(&self.witnesses);
        for (index, log) in signers.enumerate() {
            let hint = match (index, self.hint) {
                (0, Some(hint)) => hint.to_vec(),
                _ => log.id()[..4].to_vec(),
            };
            let signature = STANDARD.encode([hint, log.key.sign(body.as_bytes())].concat());
            note.push_str(&format!("\u{2014} {} {signature}\n", log.signer_name()));
        }
        note
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// RFC 6962, 2.1.

fn leaf_hash(data: &[u8]) -> [u8; 32] {
    Sha256::digest([&[0], data].concat()).into()
}

fn node_hash(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    Sha256::digest([&[1][..], &left, &right].concat()).into()
}

fn split(leaves: &[[u8; 32]]) -> usize {
    leaves.len().next_power_of_two() / 2
}

fn tree_hash(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves));
            node_hash(tree_hash(left), tree_hash(right))
        }
    }
}

fn audit_path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let at = split(leaves);
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) = match index < at {
        true => (audit_path(index, left), tree_hash(right)),
        false => (audit_path(index - at, right), tree_hash(left)),
    };
    path.push(sibling);
    path
}
