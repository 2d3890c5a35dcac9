//! A TUF repository in the process: it signs whatever it is told, at any version, until any day, by any key.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its part; a test fails by panicking")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::mirror::{Answer, Mirror};
use super::sigstore::key::Key;
use super::sigstore::log::hex;

/// The only target.
pub(crate) const TARGET: &str = "trusted_root.json";

/// One role: who signs for it, which version it has, until when.
#[derive(Clone)]
pub(crate) struct Role {
    /// Those whom the root names.
    pub(crate) keys: Vec<Key>,
    /// How many of them have to sign.
    pub(crate) threshold: usize,
    /// Those who sign, where they are others.
    pub(crate) signers: Option<Vec<Key>>,
    pub(crate) version: u64,
    pub(crate) expires: String,
    /// Edits what is signed.
    pub(crate) edit: Option<fn(&mut Value)>,
}

impl Role {
    fn new(keys: usize, threshold: usize) -> Self {
        let expires = "2030-01-01T00:00:00Z".to_owned();
        let keys = (0..keys).map(|_| Key::p256()).collect();
        Self { keys, threshold, signers: None, version: 1, expires, edit: None }
    }

    /// The file: what is said, signed by those who sign.
    fn signed(&self, mut said: Value) -> Vec<u8> {
        if let Some(edit) = self.edit {
            edit(&mut said);
        }
        let signers: Vec<&Key> = self.signers.as_ref().unwrap_or(&self.keys).iter().collect();
        sign(&said, &signers)
    }
}

/// A file: what is said, with a signature by each of these keys.
pub(crate) fn sign(said: &Value, keys: &[&Key]) -> Vec<u8> {
    let bytes = canonical(said);
    let signatures: Vec<Value> =
        keys.iter().map(|key| json!({ "keyid": id(key), "sig": hex(&key.sign(&bytes)) })).collect();
    serde_json::to_vec_pretty(&json!({ "signed": said, "signatures": signatures })).unwrap()
}

/// A key's name.
pub(crate) fn id(key: &Key) -> String {
    hex(&key.fingerprint())
}

/// All roles of a repository, and what it publishes.
#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) root: Role,
    pub(crate) timestamp: Role,
    pub(crate) snapshot: Role,
    pub(crate) targets: Role,
    /// Every root so far, oldest first.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The target's bytes.
    pub(crate) content: Vec<u8>,
}

impl Repo {
    /// A repository with its first root: two of three keys for roots, one for everything else.
    pub(crate) fn new(content: &[u8]) -> Self {
        let mut repo = Self {
            root: Role::new(3, 2),
            timestamp: Role::new(1, 1),
            snapshot: Role::new(1, 1),
            targets: Role::new(1, 1),
            roots: Vec::new(),
            content: content.to_vec(),
        };
        repo.roots.push(repo.root.signed(repo.root_said()));
        repo
    }

    /// The first root, which a client begins with.
    pub(crate) fn initial(&self) -> Vec<u8> {
        self.roots[0].clone()
    }

    /// What a root says of everybody's keys.
    pub(crate) fn root_said(&self) -> Value {
        let roles = [
            ("root", &self.root),
            ("timestamp", &self.timestamp),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
        ];
        let mut keys = BTreeMap::new();
        let mut said = BTreeMap::new();
        for (name, role) in roles {
            for key in &role.keys {
                let public = json!({ "public": key.public_pem() });
                keys.insert(id(key), json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": public }));
            }
            let ids: Vec<String> = role.keys.iter().map(id).collect();
            said.insert(name, json!({ "keyids": ids, "threshold": role.threshold }));
        }
        json!({
            "_type": "root", "spec_version": "1.0.31", "version": self.root.version, "expires": self.root.expires,
            "consistent_snapshot": true, "keys": keys, "roles": said,
        })
    }

    /// The next root after some change, signed by the keys of the last one and by its own.
    pub(crate) fn rotate(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.root.keys.clone();
        change(self);
        self.root.version += 1;
        let mut signers: Vec<&Key> = before.iter().collect();
        signers.extend(self.root.keys.iter().filter(|key| before.iter().all(|old| id(old) != id(key))));
        let root = sign(&self.root_said(), &signers);
        self.roots.push(root);
    }

    /// A newer state of the same root.
    pub(crate) fn advance(&mut self, content: &[u8]) {
        self.content = content.to_vec();
        for role in [&mut self.timestamp, &mut self.snapshot, &mut self.targets] {
            role.version += 1;
        }
    }

    /// Every file by its name.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let hash = hex(&Sha256::digest(&self.content));
        let targets = self.targets.signed(json!({
            "_type": "targets", "spec_version": "1.0.31", "version": self.targets.version,
            "expires": self.targets.expires,
            "targets": { TARGET: { "length": self.content.len(), "hashes": { "sha256": hash } } },
        }));
        let snapshot = self.snapshot.signed(json!({
            "_type": "snapshot", "spec_version": "1.0.31", "version": self.snapshot.version,
            "expires": self.snapshot.expires,
            "meta": { "targets.json": { "version": self.targets.version } },
        }));
        let timestamp = self.timestamp.signed(json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": self.timestamp.version,
            "expires": self.timestamp.expires,
            "meta": { "snapshot.json": { "version": self.snapshot.version } },
        }));
        let mut files: BTreeMap<String, Vec<u8>> = self
            .roots
            .iter()
            .enumerate()
            .map(|(index, root)| (format!("{}.root.json", index + 1), root.clone()))
            .collect();
        files.insert("timestamp.json".to_owned(), timestamp);
        files.insert(format!("{}.snapshot.json", self.snapshot.version), snapshot);
        files.insert(format!("{}.targets.json", self.targets.version), targets);
        files.insert(format!("targets/{hash}.{TARGET}"), self.content.clone());
        files
    }

    /// A place that serves it.
    pub(crate) fn serve(&self) -> Mirror {
        serve(self.files())
    }
}

/// A place that serves these files.
pub(crate) fn serve(files: BTreeMap<String, Vec<u8>>) -> Mirror {
    let mirror = Mirror::start();
    for (name, bytes) in files {
        mirror.put(&name, [Answer::File(bytes)]);
    }
    mirror
}

/// Canonical JSON as TUF signs it: keys sorted, no space, nothing escaped but quotes and backslashes.
fn canonical(value: &Value) -> Vec<u8> {
    let text = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")).into_bytes();
    let join = |parts: Vec<Vec<u8>>| parts.join(&b","[..]);
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => [b"[", &join(items.iter().map(canonical).collect())[..], b"]"].concat(),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let parts = sorted.into_iter().map(|(key, value)| [&text(key)[..], b":", &canonical(value)].concat());
            [b"{", &join(parts.collect())[..], b"}"].concat()
        }
        other => other.to_string().into_bytes(),
    }
}
