//! Signing: keys, and statements turned into bundles. The counterpart of `sigstore`, which judges them.

mod keyfile;
pub mod keyless;
mod pair;

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

pub use pair::KeyKind;

use pair::Pair;

use super::state::{self, StateError};
use crate::attestation::bundle::Bundle;
use crate::attestation::{AttestationError, PAYLOAD_TYPE, Statement, StatementVersion};
use crate::class::{Class, Classified};
use crate::content::limits;
use crate::oci::names::BUNDLE_V03;
use crate::sigstore::{Formats, KeyError, KeyLog, PublicKey, Rejection, Trust, verify_bundle};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file that is no private key that can be used.
    #[error("this is not a private key that can be used: {0}")]
    KeyFile(String),
    /// The passphrase does not open the key, or the key was changed.
    #[error("the passphrase does not open this private key: it is the one in BULLA_KEY_PASSWORD, or was typed")]
    Passphrase,
    /// The key is not usable as a public one.
    #[error(transparent)]
    Public(#[from] KeyError),
    /// What should be signed is not a statement.
    #[error(transparent)]
    Statement(#[from] AttestationError),
    /// The cryptographic library failed.
    #[error("cannot {action}: {reason}")]
    Crypto {
        /// `sign`, `make a key` …
        action: &'static str,
        /// Its word.
        reason: String,
    },
    /// The identity token is not one, or there is none.
    #[error("this identity token cannot be used: {0}")]
    Token(String),
    /// Fulcio, Rekor or the timestamp authority.
    #[error("the signing services did not sign: {0}")]
    Services(String),
    /// What was just signed does not verify: a fault here, and nothing may be published.
    #[error("the new signature does not verify: {0}")]
    OwnJudge(Rejection),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for SignerError {
    fn class(&self) -> Class {
        match self {
            Self::KeyFile(_) | Self::Passphrase | Self::Token(_) => Class::Auth,
            Self::Services(_) => Class::Net,
            Self::Public(error) => error.class(),
            Self::Statement(error) => error.class(),
            Self::Crypto { .. } | Self::OwnJudge(_) => Class::Signature,
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::KeyFile(_) => "unusable-private-key",
            Self::Passphrase => "wrong-passphrase",
            Self::Public(error) => error.code(),
            Self::Statement(error) => error.code(),
            Self::Token(_) => "unusable-token",
            Self::Services(_) => "signing-services",
            Self::Crypto { .. } => "signing-failed",
            Self::OwnJudge(_) => "own-signature-invalid",
            Self::State(error) => error.code(),
        }
    }
}

/// Whoever signs.
#[derive(Debug, Clone, Copy)]
pub enum Author<'a> {
    /// The holder of a key.
    Key(&'a PrivateKey),
    /// Whom an identity token names.
    Keyless(&'a keyless::Keyless),
}

impl Author<'_> {
    /// Signs a Statement v1 and returns a bundle v0.3, which our own judge has accepted.
    pub fn sign_statement(self, statement: &[u8]) -> Result<Vec<u8>, SignerError> {
        match self {
            Self::Key(key) => key.sign_statement(statement),
            Self::Keyless(keyless) => keyless.sign_statement(statement),
        }
    }
}

impl<'a> From<&'a PrivateKey> for Author<'a> {
    fn from(key: &'a PrivateKey) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a keyless::Keyless> for Author<'a> {
    fn from(keyless: &'a keyless::Keyless) -> Self {
        Self::Keyless(keyless)
    }
}

/// A private key: ECDSA on P-256 or P-384, or Ed25519. It is shown to nobody and wiped when dropped.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Pair,
    public: PublicKey,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.fingerprint())
    }
}

impl PrivateKey {
    /// Makes a new key of the kind that every client takes.
    pub fn generate() -> Result<Self, SignerError> {
        Self::generate_kind(KeyKind::EcdsaP256)
    }

    /// Makes a new key of this kind.
    pub fn generate_kind(kind: KeyKind) -> Result<Self, SignerError> {
        Self::from_pkcs8(pair::generate(kind)?)
    }

    /// Reads a key as cosign writes it (`ENCRYPTED SIGSTORE PRIVATE KEY`, and the older `ENCRYPTED COSIGN PRIVATE KEY`)
    /// or as plain PKCS#8 (`PRIVATE KEY`), for which the passphrase is not looked at.
    pub fn from_pem(pem: &str, passphrase: &[u8]) -> Result<Self, SignerError> {
        Self::from_pkcs8(keyfile::open(pem, passphrase)?)
    }

    /// Reads a key file, asking for its passphrase only if it has one. What was read is wiped.
    pub fn read<E: From<SignerError>>(path: &Path, passphrase: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Self, E> {
        let bytes = Zeroizing::new(state::read_file(path, limits::KEY).map_err(SignerError::from)?);
        let pem = std::str::from_utf8(&bytes).map_err(|_| SignerError::KeyFile("it is not text".to_owned()))?;
        let passphrase = Zeroizing::new(if Self::is_encrypted(pem) { passphrase()? } else { Vec::new() });
        Ok(Self::from_pem(pem, &passphrase)?)
    }

    /// Whether reading this key takes a passphrase.
    pub fn is_encrypted(pem: &str) -> bool {
        keyfile::is_encrypted(pem)
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, SignerError> {
        let pair = Pair::read(&pkcs8)?;
        let public = PublicKey::from_pem(&pair.public()?.to_pem())?;
        Ok(Self { pkcs8, pair, public })
    }

    /// The key as cosign writes it, locked with this passphrase (which may be empty, as cosign's may).
    pub fn to_pem(&self, passphrase: &[u8]) -> Result<String, SignerError> {
        keyfile::seal(&self.pkcs8, passphrase)
    }

    /// Writes the key to a file that only its owner may read; an existing file is never replaced.
    pub fn write(&self, path: &Path, passphrase: &[u8]) -> Result<(), SignerError> {
        Ok(state::create_secret_file(path, self.to_pem(passphrase)?.as_bytes())?)
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> String {
        self.public.to_pem()
    }

    /// Signs a Statement v1 and returns a bundle v0.3, which our own judge has accepted.
    pub fn sign_statement(&self, statement: &[u8]) -> Result<Vec<u8>, SignerError> {
        let parsed = signable(statement)?;
        let signature = self.pair.sign(&sigstore_types::pae(PAYLOAD_TYPE, statement))?;
        let bundle = self.bundle(statement, &signature)?;
        self.check(&bundle, &parsed)?;
        Ok(bundle)
    }

    /// The bundle as cosign 3 writes it: the hint is the base64 of the key's fingerprint.
    fn bundle(&self, payload: &[u8], signature: &[u8]) -> Result<Vec<u8>, SignerError> {
        let written = Written {
            media_type: BUNDLE_V03,
            verification_material: WrittenMaterial {
                public_key: WrittenHint { hint: STANDARD.encode(self.public.fingerprint().raw()) },
            },
            dsse_envelope: WrittenEnvelope {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE,
                signatures: [WrittenSignature { sig: STANDARD.encode(signature) }],
            },
        };
        serde_json::to_vec(&written)
            .map_err(|error| SignerError::Crypto { action: "write the bundle", reason: error.to_string() })
    }

    /// Verifies what was just signed, about each of its subjects, as any verifier would.
    fn check(&self, bundle: &[u8], statement: &Statement) -> Result<(), SignerError> {
        let bundle = Bundle::parse(bundle)?;
        let trust = Trust::Key { key: &self.public, log: KeyLog::None };
        for subject in statement.subjects.iter().filter_map(|subject| subject.sha256) {
            // A signature with a key and no log has no time, so no clock is needed.
            verify_bundle(&bundle, &subject, &trust, Formats::default(), jiff::Timestamp::UNIX_EPOCH)
                .map_err(SignerError::OwnJudge)?;
        }
        Ok(())
    }
}

/// A statement that is signed: v1, and about something that our judge can be asked about.
fn signable(statement: &[u8]) -> Result<Statement, AttestationError> {
    let parsed = Statement::parse(statement)?;
    if parsed.version != StatementVersion::V1 {
        return Err(AttestationError::StatementType(parsed.version.as_str().to_owned()));
    }
    if parsed.subjects.iter().any(|subject| subject.sha256.is_none()) {
        return Err(AttestationError::Statement("a subject has no sha256 digest".to_owned()));
    }
    Ok(parsed)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    media_type: &'a str,
    verification_material: WrittenMaterial,
    dsse_envelope: WrittenEnvelope<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMaterial {
    public_key: WrittenHint,
}

#[derive(Serialize)]
struct WrittenHint {
    hint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEnvelope<'a> {
    payload: String,
    payload_type: &'a str,
    signatures: [WrittenSignature; 1],
}

#[derive(Serialize)]
struct WrittenSignature {
    sig: String,
}
