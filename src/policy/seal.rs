//! Which policy it is, and who stands behind it: a pin over all that was read, and a signature over the pin.
//!
//! A policy is its text and the files that it names: whoever can replace a key beside it has changed it. The pin is
//! over both, so that a policy which is expected, or signed, is that policy with those keys and roots.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::attestation::bundle::Bundle;
use crate::attestation::{AttestationError, Statement};
use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::home;
use crate::sigstore::{Formats, KeyLog, PublicKey, Rejection, Trust, verify_bundle};

/// A policy that is not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Its pin is another.
    #[error(
        "the policy {origin} has the pin {actual}, and {expected} was asked for: it, or a file that it names, is another"
    )]
    Pin {
        /// Where it was read from.
        origin: String,
        /// The pin that was asked for.
        expected: Digest,
        /// The pin that it has.
        actual: Digest,
    },
    /// The signature beside it is no bundle.
    #[error("the signature of the policy {origin} cannot be read: {source}")]
    Unreadable {
        /// Where the policy was read from.
        origin: String,
        /// What is wrong with it.
        source: AttestationError,
    },
    /// The signature beside it is not the signer's, or of something else.
    #[error("the policy {origin} is not signed as asked: {source}; sign what it says now with `bulla policy sign`")]
    Signature {
        /// Where the policy was read from.
        origin: String,
        /// What is wrong with it.
        source: Rejection,
    },
    /// The signature is the signer's and over this digest, but says something else.
    #[error("the policy {origin} is not signed as asked: the statement is of type {found:?}, not {}", predicate_type())]
    Type {
        /// Where the policy was read from.
        origin: String,
        /// What it is.
        found: String,
    },
}

impl Classified for SealError {
    fn class(&self) -> Class {
        Class::Policy
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Pin { .. } => "policy-pin",
            Self::Unreadable { .. } | Self::Signature { .. } | Self::Type { .. } => "policy-signature",
        }
    }
}

/// What the signature of a policy says it is.
pub fn predicate_type() -> String {
    format!("{}/policy/v1", home::REPOSITORY)
}

/// The digests of all that a policy was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    text: Digest,
    files: BTreeMap<String, Digest>,
}

impl Seal {
    /// Of a policy with this text, which names no files so far.
    pub fn of(text: Digest) -> Self {
        Self { text, files: BTreeMap::new() }
    }

    /// The same, naming this file too.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.files.insert(name.to_owned(), Digest::of(bytes));
    }

    /// What a policy is pinned by: the digest of its text where it names no files; else that of the JSON text
    /// `{"files":{NAME:HEX,…},"policy":HEX}`, in the order of the names, without blanks.
    pub fn pin(&self) -> Digest {
        if self.files.is_empty() { self.text } else { Digest::of(self.listing().as_bytes()) }
    }

    fn listing(&self) -> String {
        let files: BTreeMap<&str, String> = self.files.iter().map(|(name, digest)| (&**name, digest.hex())).collect();
        json!({"files": files, "policy": self.text.hex()}).to_string()
    }

    /// Refuses a policy that is not the one with this pin.
    pub fn expect(&self, expected: &Digest, origin: &str) -> Result<(), SealError> {
        let actual = self.pin();
        if actual == *expected {
            return Ok(());
        }
        Err(SealError::Pin { origin: origin.to_owned(), expected: *expected, actual })
    }

    /// What is signed: a statement about the pin, with what the pin is made of.
    pub fn statement(&self) -> Result<Vec<u8>, AttestationError> {
        Statement::write("policy", &self.pin(), &predicate_type(), self.listing().as_bytes())
    }

    /// Refuses a policy that the holder of this key did not sign as it is. `bundle` is what stands beside it.
    pub fn expect_signed(&self, bundle: &[u8], key: &PublicKey, origin: &str) -> Result<(), SealError> {
        let origin = || origin.to_owned();
        let bundle = Bundle::parse(bundle).map_err(|source| SealError::Unreadable { origin: origin(), source })?;
        let trust = Trust::Key { key, log: KeyLog::None };
        // A signature with a key and no log has no time, so no clock is needed.
        let signed = verify_bundle(&bundle, &self.pin(), &trust, Formats::default(), Timestamp::UNIX_EPOCH)
            .map_err(|source| SealError::Signature { origin: origin(), source })?;
        match &signed.statement().predicate_type {
            found if *found == predicate_type() => Ok(()),
            found => Err(SealError::Type { origin: origin(), found: found.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_over_the_text_and_every_file_under_its_name() {
        let text = Digest::of(b"version = 1");
        let seal = |files: &[(&str, &str)]| {
            let mut seal = Seal::of(text);
            files.iter().for_each(|(name, bytes)| seal.add(name, bytes.as_bytes()));
            seal.pin()
        };
        assert_eq!(seal(&[]), text, "sha256sum says the same");
        assert_eq!(predicate_type(), "https://github.com/bulla-dev/bulla/policy/v1");
        let pins = [
            seal(&[]),
            seal(&[("a", "1")]),
            seal(&[("a", "2")]),
            seal(&[("b", "1")]),
            seal(&[("a", "1"), ("b", "1")]),
            seal(&[("a\":\"1", "1")]),
        ];
        for (index, pin) in pins.iter().enumerate() {
            assert!(!pins[..index].contains(pin), "{index}");
        }
        assert_eq!(seal(&[("a", "1"), ("b", "2")]), seal(&[("b", "2"), ("a", "1")]));
        let mut listed = Seal::of(text);
        listed.add("cosign.pub", b"key");
        let expected =
            format!(r#"{{"files":{{"cosign.pub":"{}"}},"policy":"{}"}}"#, Digest::of(b"key").hex(), text.hex());
        assert_eq!(listed.pin(), Digest::of(expected.as_bytes()));
    }
}
