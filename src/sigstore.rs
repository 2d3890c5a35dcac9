//! Judgement of signatures: who said what about which image, beyond doubt, or why that cannot be said.
//!
//! [`verify_bundle`] follows the order of the Sigstore client specification aloud. It has no effects: the trust root,
//! the subject and the clock are given. [`VerifiedAttestation`] is born here and nowhere else.
//!
//! Rules that hold beyond what the library below checks: the bundle's version is unsigned, so an inclusion proof is
//! demanded on the content; every log entry present must verify, by the log that it names; a certificate must hold at
//! every verified time; the subject is bound here, to the very payload bytes whose signature was verified. One
//! verified time suffices, so one authority cannot fill a threshold twice: there is none.

mod chain;
mod identity;
mod intoto_entry;
mod judge;
mod key;
mod log;
mod rejection;
mod root;
mod tiled_entry;
mod timestamp;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_types::{Artifact, Sha256Hash};

use judge::{Evidence, judge};

pub use identity::{Claims, Identity, San};
pub use key::{KeyError, PublicKey};
pub use rejection::Rejection;
pub use root::{Instance, Member, Role, TrustRoot, TrustRootError};

use crate::attestation::Statement;
use crate::attestation::bundle::{Bundle, BundleVersion, Material};
use crate::class::Class;
use crate::content::Digest;

/// What a signature is believed on the word of. A policy says so; a bundle never does.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// A key that the policy names.
    Key {
        /// The key.
        key: &'a PublicKey,
        /// Whether the signature must stand in a transparency log.
        log: KeyLog<'a>,
    },
    /// A short-lived certificate from an authority in a trust root.
    Keyless {
        /// The root, which also decides what evidence is needed.
        root: &'a TrustRoot,
    },
}

/// Whether a signature made with a key must stand in a transparency log.
#[derive(Debug, Clone, Copy)]
pub enum KeyLog<'a> {
    /// The key suffices. Log entries and timestamps that a bundle carries all the same are not looked at, and not
    /// reported: such a signature has no known time.
    None,
    /// An entry with an inclusion proof, in a log of this root.
    Required(&'a TrustRoot),
}

/// Which versions of the bundle format are taken. The default is v0.3 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// cosign's layers and annotations, where the log's promise is all there is.
    pub cosign_legacy: bool,
    /// v0.1, where the log's promise of inclusion suffices.
    pub v01: bool,
    /// v0.2
    pub v02: bool,
    /// v0.3
    pub v03: bool,
}

impl Default for Formats {
    fn default() -> Self {
        Self { cosign_legacy: false, v01: false, v02: false, v03: true }
    }
}

impl Formats {
    /// Every form there is, to show what is attached and not to admit by it.
    pub const ALL: Self = Self { cosign_legacy: true, v01: true, v02: true, v03: true };

    /// Every version of bundles, for tests against clients that must read whatever there is.
    pub const BUNDLES: Self = Self { cosign_legacy: false, v01: true, v02: true, v03: true };

    /// Whether this version is taken.
    pub const fn allows(self, version: BundleVersion) -> bool {
        match version {
            BundleVersion::CosignLegacy => self.cosign_legacy,
            BundleVersion::V01 => self.v01,
            BundleVersion::V02 => self.v02,
            BundleVersion::V03 => self.v03,
        }
    }
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Whoever has this key.
    Key {
        /// SHA-256 of the key as SubjectPublicKeyInfo DER.
        fingerprint: Digest,
    },
    /// Whom the certificate names.
    Certificate(Box<Identity>),
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key { fingerprint } => write!(f, "the key {fingerprint}"),
            Self::Certificate(identity) => write!(f, "{} (by {})", identity.san.as_str(), identity.issuer),
        }
    }
}

/// A statement about an image whose signature, signer, log and time were verified. There is no other way to have one.
#[derive(Debug, Clone)]
pub struct VerifiedAttestation {
    bundle_digest: Digest,
    subject: Digest,
    statement: Arc<Statement>,
    evidence: Evidence,
    log_id: Option<String>,
}

impl VerifiedAttestation {
    /// The digest of the bundle.
    pub fn bundle_digest(&self) -> &Digest {
        &self.bundle_digest
    }

    /// The digest that was asked for, which the statement names.
    pub fn subject(&self) -> &Digest {
        &self.subject
    }

    /// What was said.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Who said it.
    pub fn signer(&self) -> &Signer {
        &self.evidence.signer
    }

    /// Every verified time of the signature, oldest first. Empty where nobody vouches for a time.
    pub fn times(&self) -> &[Timestamp] {
        &self.evidence.times
    }

    /// The oldest verified time: the one that limits on age are held against.
    pub fn signed_at(&self) -> Option<Timestamp> {
        self.evidence.times.first().copied()
    }

    /// The index of its log entry, as the log signed it.
    pub fn log_index(&self) -> Option<u64> {
        self.evidence.log_index
    }

    /// The id of the log of that entry, in hexadecimal digits: the digest of the log's key, for most logs.
    pub fn log_id(&self) -> Option<&str> {
        self.log_id.as_deref()
    }

    /// Whether it stands in a transparency log; for tests.
    pub fn is_logged(&self) -> bool {
        self.evidence.logged
    }
}

/// A signature over a blob that was verified: what the Sigstore client protocol asks about. It says nothing about
/// images, and no policy takes it.
#[derive(Debug, Clone)]
pub struct VerifiedBlob(Evidence);

impl VerifiedBlob {
    /// Who signed.
    pub fn signer(&self) -> &Signer {
        &self.0.signer
    }

    /// Every verified time of the signature, oldest first.
    pub fn times(&self) -> &[Timestamp] {
        &self.0.times
    }
}

/// A blob under judgement: its bytes, or no more than their digest.
#[derive(Debug, Clone, Copy)]
pub enum Blob<'a> {
    /// The bytes.
    Bytes(&'a [u8]),
    /// Their SHA-256.
    Digest(&'a Digest),
}

impl<'a> From<Blob<'a>> for Artifact<'a> {
    fn from(blob: Blob<'a>) -> Self {
        match blob {
            Blob::Bytes(bytes) => Artifact::from(bytes),
            Blob::Digest(digest) => Artifact::from(Sha256Hash::new(*digest.raw())),
        }
    }
}

/// Who a bundle says signed it, for a person to read. Nobody verified that, and nothing may be decided by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Whom its certificate names.
    Certificate(Box<Identity>),
    /// The key with this fingerprint.
    Key(Digest),
    /// A key, by another word for it; an empty one does not say which.
    Hint(String),
    /// A certificate that names nobody.
    Nobody,
}

impl Claimed {
    /// What this bundle says.
    pub fn by(bundle: &Bundle) -> Self {
        match bundle.material() {
            Material::Certificate => {
                let certificate = bundle.sigstore().signing_certificate();
                let identity = certificate.and_then(|der| Identity::from_certificate(der.as_bytes()).ok());
                identity.map_or(Self::Nobody, |identity| Self::Certificate(Box::new(identity)))
            }
            // cosign's hint is the base64 of the fingerprint by which keys are named here.
            Material::PublicKey { hint } => match STANDARD.decode(hint).map(<[u8; 32]>::try_from) {
                Ok(Ok(raw)) => Self::Key(Digest::from_raw(raw)),
                _ => Self::Hint(hint.to_owned()),
            },
        }
    }
}

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(identity) => Signer::Certificate(identity.clone()).fmt(f),
            Self::Key(fingerprint) => write!(f, "the key {fingerprint}"),
            Self::Hint(hint) if hint.is_empty() => f.write_str("a key, without saying which"),
            Self::Hint(hint) => write!(f, "the key {hint:?}"),
            Self::Nobody => f.write_str("a certificate that names nobody"),
        }
    }
}

/// Verifies that a bundle is an attestation about `subject`, signed by whom `trust` allows. `now` is the local clock.
///
/// Whether *this* signer was wanted, and *this* predicate, is the policy's to say.
pub fn verify_bundle(
    bundle: &Bundle,
    subject: &Digest,
    trust: &Trust<'_>,
    formats: Formats,
    now: Timestamp,
) -> Result<VerifiedAttestation, Rejection> {
    check_format(bundle, formats)?;
    if bundle.payload().is_none() && bundle.simple_signing().is_none() {
        return Err(Rejection::new(
            Class::Format,
            "not-an-attestation",
            "the bundle is a signature over a blob; an image needs an attestation",
        ));
    }
    // The statement is read from the bytes whose signature is verified below, and believed only after that.
    let statement = bundle.unverified_statement()?;
    let named = statement.names(subject);
    // The library compares with the subject too. Where the statement is about something else it is given what the
    // statement names, so that a forged signature is reported as such before a wrong subject is.
    let own = statement.subjects.iter().find_map(|other| other.sha256);
    let compared = if named { *subject } else { own.unwrap_or(*subject) };
    let evidence = match bundle.simple_signing() {
        Some(payload) => judge(bundle, Blob::Bytes(payload), true, trust, now)?,
        None => judge(bundle, Blob::Digest(&compared), own.is_some(), trust, now)?,
    };
    if !named {
        return Err(Rejection::new(
            Class::Subject,
            "other-subject",
            format!("the statement is validly signed, and about something else than {subject}"),
        ));
    }
    // Every entry was verified under the log that it names; the index is of the first.
    let entry = bundle.log_entries().next().filter(|_| evidence.logged);
    let log_id = entry.map(|entry| hex(entry.log_id.key_id.as_bytes()));
    let statement = Arc::new(bundle.whole_statement()?);
    Ok(VerifiedAttestation { bundle_digest: *bundle.digest(), subject: *subject, statement, evidence, log_id })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Verifies that a bundle is a signature over, or an attestation about, a blob: for clients of the Sigstore protocol.
pub fn verify_blob(
    bundle: &Bundle,
    blob: Blob<'_>,
    trust: &Trust<'_>,
    formats: Formats,
    now: Timestamp,
) -> Result<VerifiedBlob, Rejection> {
    check_format(bundle, formats)?;
    if bundle.payload().is_some() {
        bundle.unverified_statement()?;
    }
    judge(bundle, blob, false, trust, now).map(VerifiedBlob)
}

fn check_format(bundle: &Bundle, formats: Formats) -> Result<(), Rejection> {
    let version = bundle.version();
    if formats.allows(version) {
        return Ok(());
    }
    let message = format!("the bundle is {}, which the policy does not take", version.as_str());
    Err(Rejection::new(Class::Format, "format-not-allowed", message))
}
