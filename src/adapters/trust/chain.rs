//! The chain of TUF metadata from a root that is in the binary to the bytes of a trusted root: pure, and in the order of
//! the specification (TUF 1.0.33, section 5).
//!
//! Signatures, thresholds, versions and expiry are the library's; bounds, strict JSON and that a threshold is met by
//! different keys, and not by one under several names, are ours.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sigstore_tuf::{Error as Tuf, Metadata, Root, TrustedMetadataSet};

use super::{Fault, TrustError};
use crate::content::{Digest, limits};
use crate::json::{self, Shape};

/// The only target that is ever asked for.
pub(super) const TARGET: &str = "trusted_root.json";

const SHAPE: Shape = Shape {
    name: "TUF metadata",
    known: &[
        "signed",
        "signatures",
        "keyid",
        "sig",
        "_type",
        "spec_version",
        "version",
        "expires",
        "consistent_snapshot",
        "keys",
        "roles",
        "keyids",
        "threshold",
        "keytype",
        "scheme",
        "keyval",
        "public",
        "meta",
        "length",
        "hashes",
        "targets",
    ],
    opaque: &["custom", "delegations"],
};

/// Signed metadata as it was served, and the target that it vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// Every root after the first, oldest first.
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) timestamp: Vec<u8>,
    pub(super) snapshot: Vec<u8>,
    pub(super) targets: Vec<u8>,
    pub(super) trusted_root: Vec<u8>,
}

/// Where a target lies, and what it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Below the repository.
    pub(super) path: String,
    pub(super) size: u64,
    digest: Digest,
}

/// What is believed so far.
pub(super) struct Chain(TrustedMetadataSet);

impl Chain {
    /// Begins with the root that everything is believed on the word of.
    pub(super) fn begin(initial: &[u8]) -> Result<Self, TrustError> {
        check_json("the first root.json", initial)?;
        check_keys("the first root.json", initial)?;
        TrustedMetadataSet::from_root(initial).map(Self).map_err(refused("the first root.json"))
    }

    /// The version of the root in force.
    pub(super) fn root_version(&self) -> u64 {
        self.0.root().version
    }

    /// The next root: signed by the one in force and by itself (5.3.4 to 5.3.6). What lower roles said is forgotten.
    pub(super) fn root(&mut self, bytes: &[u8]) -> Result<(), TrustError> {
        let name = format!("{}.root.json", self.root_version() + 1);
        check_json(&name, bytes)?;
        check_keys(&name, bytes)?;
        self.0.update_root(bytes).map_err(refused(&name))
    }

    /// The newest root has been reached, and must not have expired (5.3.10).
    pub(super) fn settle(&self, now: Timestamp) -> Result<(), TrustError> {
        self.0.check_root_expired(now).map_err(refused("root.json"))
    }

    /// The timestamp (5.4). One with the version that is believed already changes nothing: false.
    pub(super) fn timestamp(&mut self, bytes: &[u8], now: Timestamp) -> Result<bool, TrustError> {
        check_json("timestamp.json", bytes)?;
        let is_new = match self.0.update_timestamp(bytes, now) {
            Ok(()) => true,
            Err(Tuf::EqualVersion { .. }) => false,
            Err(error) => return Err(refused("timestamp.json")(error)),
        };
        self.0.check_timestamp_expired(now).map_err(refused("timestamp.json"))?;
        Ok(is_new)
    }

    /// Where the snapshot is that the timestamp names.
    pub(super) fn snapshot_name(&self) -> Result<String, TrustError> {
        let pin = self.0.timestamp().and_then(|timestamp| timestamp.snapshot_meta()).map(|pin| pin.version);
        self.versioned(pin, "snapshot.json", "timestamp.json")
    }

    /// The snapshot (5.5).
    pub(super) fn snapshot(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TrustError> {
        check_json("snapshot.json", bytes)?;
        self.0.update_snapshot(bytes, now).map_err(refused("snapshot.json"))
    }

    /// Where the list of targets is that the snapshot names.
    pub(super) fn targets_name(&self) -> Result<String, TrustError> {
        let pin = self.0.snapshot().and_then(|snapshot| snapshot.meta.get("targets.json")).map(|pin| pin.version);
        self.versioned(pin, "targets.json", "snapshot.json")
    }

    /// The list of targets (5.6), and where the trusted root is that it names. Delegations are not followed.
    pub(super) fn targets(&mut self, bytes: &[u8], now: Timestamp) -> Result<Target, TrustError> {
        check_json("targets.json", bytes)?;
        let is_consistent = self.0.root().consistent_snapshot;
        let targets = self.0.update_targets(bytes, now).map_err(refused("targets.json"))?;
        let fault = |reason: &str| TrustError::refused("targets.json", Fault::Malformed, reason);
        let target = targets.target(TARGET).ok_or_else(|| fault("it names no trusted_root.json"))?;
        if target.length > limits::TRUST_ROOT {
            return Err(TrustError::TooLarge { name: TARGET.to_owned(), limit: limits::TRUST_ROOT });
        }
        let digest = target.hashes.get("sha256").and_then(|hex| Digest::from_hex(hex).ok());
        let digest = digest.ok_or_else(|| fault("it has no SHA-256 of trusted_root.json"))?;
        // The name in the address is made of a constant and of hex digits; nothing that metadata says is a path.
        let path = match is_consistent {
            true => format!("targets/{}.{TARGET}", digest.hex()),
            false => format!("targets/{TARGET}"),
        };
        Ok(Target { path, size: target.length, digest })
    }

    /// Believes again what was believed at that time: every signature, and that nothing had expired by then.
    pub(super) fn replay(initial: &[u8], signed: &Signed, at: Timestamp) -> Result<Self, TrustError> {
        let mut chain = Self::begin(initial)?;
        for root in &signed.roots {
            // A newer version of bulla begins with a newer root.
            if version_of(root)? > chain.root_version() {
                chain.root(root)?;
            }
        }
        chain.settle(at)?;
        chain.timestamp(&signed.timestamp, at)?;
        chain.snapshot(&signed.snapshot, at)?;
        chain.targets(&signed.targets, at)?.check(&signed.trusted_root)?;
        Ok(chain)
    }

    /// Takes the versions that were believed once as the least that is taken now. What a new root no longer vouches for
    /// sets no bound: that is how a repository recovers from versions that somebody drove up (5.3.11).
    pub(super) fn floor(&mut self, signed: &Signed, at: Timestamp) {
        if self.timestamp(&signed.timestamp, at).is_ok() {
            let _ = self.snapshot(&signed.snapshot, at);
        }
    }

    fn versioned(&self, pin: Option<u64>, name: &str, by: &str) -> Result<String, TrustError> {
        let missing = || TrustError::refused(by, Fault::Malformed, &format!("it names no {name}"));
        let version = pin.ok_or_else(missing)?;
        Ok(if self.0.root().consistent_snapshot { format!("{version}.{name}") } else { name.to_owned() })
    }
}

impl Target {
    /// Refuses bytes that are not those that were signed for.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), TrustError> {
        if bytes.len() as u64 == self.size && Digest::of(bytes) == self.digest {
            return Ok(());
        }
        Err(TrustError::refused(TARGET, Fault::Mismatch, "it is not what targets.json has signed"))
    }
}

/// What a library error means to whoever asked for an update.
fn refused(name: &str) -> impl FnOnce(Tuf) -> TrustError {
    let name = name.to_owned();
    move |error| {
        let fault = match &error {
            Tuf::Rollback { .. } | Tuf::BadRootVersion { .. } => Fault::Rollback,
            Tuf::Expired { .. } => Fault::Expired,
            Tuf::IntegrityMismatch(_) => Fault::Mismatch,
            Tuf::ThresholdNotMet { .. }
            | Tuf::DuplicateSignature { .. }
            | Tuf::UnusableKey { .. }
            | Tuf::UnsupportedScheme { .. }
            | Tuf::UnknownRole(_)
            | Tuf::Crypto(_) => Fault::Signature,
            _ => Fault::Malformed,
        };
        TrustError::refused(&name, fault, &error.to_string())
    }
}

fn check_json(name: &str, bytes: &[u8]) -> Result<(), TrustError> {
    json::scan(bytes, &SHAPE).map_err(|error| TrustError::refused(name, Fault::Malformed, &error.to_string()))
}

fn version_of(root: &[u8]) -> Result<u64, TrustError> {
    Ok(Metadata::<Root>::from_slice(root).map_err(refused("root.json"))?.signed().version)
}

/// A threshold counts names of keys. One key under two names would count twice.
fn check_keys(name: &str, root: &[u8]) -> Result<(), TrustError> {
    let root = Metadata::<Root>::from_slice(root).map_err(refused(name))?;
    for (role, keys) in &root.signed().roles {
        let ids: BTreeSet<&String> = keys.keyids.iter().collect();
        let mut seen = BTreeSet::new();
        for key in ids.into_iter().filter_map(|id| root.signed().keys.get(id)) {
            let bytes: String = key.keyval.public.split_whitespace().collect();
            if !seen.insert(bytes.to_ascii_lowercase()) {
                let reason = format!("the role {role} has one key under two names");
                return Err(TrustError::refused(name, Fault::Signature, &reason));
            }
        }
    }
    Ok(())
}
