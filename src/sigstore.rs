//! Judgement of signatures: who said what about which image, beyond doubt, or why that cannot be said.
//!
//! [`verify_bundle`] follows the order of the Sigstore client specification aloud. It has no effects: the trust root,
//! the subject and the clock are given. [`VerifiedAttestation`] is born here and nowhere else.
//!
//! Rules that hold beyond what the library below checks: the bundle's version is unsigned, so an inclusion proof is
//! demanded on the content; every log entry present must verify, by the log that it names; a certificate must hold at
//! every verified time; the subject is bound here, to the very payload bytes whose signature was verified. One
//! verified time suffices, so one authority cannot fill a threshold twice: there is none.

mod identity;
mod key;
mod log;
mod rejection;
mod root;

use jiff::Timestamp;
use sigstore_types::bundle::TransparencyLogEntry;
use sigstore_types::{Artifact, KindVersion, Sha256Hash, SignatureContent};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

pub use identity::{Claims, Identity, San};
pub use key::{KeyError, PublicKey};
pub use rejection::Rejection;
pub use root::{Instance, TrustRoot, TrustRootError};

use crate::attestation::Statement;
use crate::attestation::bundle::{Bundle, BundleVersion, Material};
use crate::class::Class;
use crate::content::Digest;

/// How far a signed time may lie ahead of the local clock, in seconds. Two machines rarely agree to the second; a
/// log's own time is held to the clock exactly, by the library.
const CLOCK_SKEW: i64 = 300;

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
    /// v0.1, where the log's promise of inclusion suffices.
    pub v01: bool,
    /// v0.2
    pub v02: bool,
    /// v0.3
    pub v03: bool,
}

impl Default for Formats {
    fn default() -> Self {
        Self { v01: false, v02: false, v03: true }
    }
}

impl Formats {
    /// Every version, for clients that must read whatever there is.
    pub const ALL: Self = Self { v01: true, v02: true, v03: true };

    /// Whether this version is taken.
    pub const fn allows(self, version: BundleVersion) -> bool {
        match version {
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
    statement: Statement,
    evidence: Evidence,
}

/// What was verified about a signature.
#[derive(Debug, Clone)]
struct Evidence {
    signer: Signer,
    times: Vec<Timestamp>,
    log_index: Option<u64>,
    logged: bool,
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

    /// Whether it stands in a transparency log.
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
    let Some(payload) = bundle.payload() else {
        return Err(Rejection::new(
            Class::Format,
            "not-an-attestation",
            "the bundle is a signature over a blob; an image needs an attestation",
        ));
    };
    // The statement is read from the bytes whose signature is verified below, and believed only after that.
    let statement = Statement::parse(payload)?;
    let named = statement.names(subject);
    // The library compares with the subject too. Where the statement is about something else it is given what the
    // statement names, so that a forged signature is reported as such before a wrong subject is.
    let own = statement.subjects.iter().find_map(|other| other.sha256);
    let compared = if named { *subject } else { own.unwrap_or(*subject) };
    let bound = named || own.is_some();
    let evidence = judge(bundle, Blob::Digest(&compared), bound, trust, now)?;
    if !named {
        return Err(Rejection::new(
            Class::Subject,
            "other-subject",
            format!("the statement is validly signed, and about something else than {subject}"),
        ));
    }
    Ok(VerifiedAttestation { bundle_digest: *bundle.digest(), subject: *subject, statement, evidence })
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
    if let Some(payload) = bundle.payload() {
        Statement::parse(payload)?;
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

/// The one judge of signatures. `bound` says that an artifact which does not match can only be the log's.
fn judge(
    bundle: &Bundle,
    blob: Blob<'_>,
    bound: bool,
    trust: &Trust<'_>,
    now: Timestamp,
) -> Result<Evidence, Rejection> {
    let evidence = match *trust {
        Trust::Key { key, log: KeyLog::None } => judge_key_alone(bundle, blob, key)?,
        Trust::Key { key, log: KeyLog::Required(root) } => judge_key_in_log(bundle, blob, bound, key, root)?,
        Trust::Keyless { root } => judge_certificate(bundle, blob, bound, root)?,
    };
    check_clock(&evidence.times, now)?;
    Ok(evidence)
}

/// A key and nothing else: the signature over the envelope's PAE (DSSE, protocol.md), or over the blob.
fn judge_key_alone(bundle: &Bundle, blob: Blob<'_>, key: &PublicKey) -> Result<Evidence, Rejection> {
    expect_key(bundle)?;
    match &bundle.sigstore().content {
        SignatureContent::DsseEnvelope(envelope) => {
            if !key.verifies(&envelope.pae(), &envelope.signature.sig) {
                return Err(invalid_signature());
            }
            check_blob_is_subject(bundle, blob)?;
        }
        SignatureContent::MessageSignature(signature) => {
            let Blob::Bytes(bytes) = blob else {
                return Err(Rejection::new(
                    Class::Format,
                    "unsupported-artifact",
                    "a signature over a blob, with a key and without a log, needs the blob itself",
                ));
            };
            if !key.verifies(bytes, &signature.signature) {
                return Err(invalid_signature());
            }
        }
        _ => return Err(Rejection::new(Class::Format, "unsupported-bundle", "the bundle's content is not known")),
    }
    Ok(Evidence { signer: key_signer(key), times: Vec::new(), log_index: None, logged: false })
}

fn check_blob_is_subject(bundle: &Bundle, blob: Blob<'_>) -> Result<(), Rejection> {
    let digest = match blob {
        Blob::Bytes(bytes) => Digest::of(bytes),
        Blob::Digest(digest) => *digest,
    };
    if bundle.unverified_statement()?.names(&digest) {
        return Ok(());
    }
    Err(Rejection::new(Class::Subject, "other-subject", format!("the statement is about something else than {digest}")))
}

fn invalid_signature() -> Rejection {
    Rejection::new(Class::Signature, "invalid-signature", "the signature was not made with this key over this content")
}

/// A key, and an entry in a log: proof that the signature was published.
fn judge_key_in_log(
    bundle: &Bundle,
    blob: Blob<'_>,
    bound: bool,
    key: &PublicKey,
    root: &TrustRoot,
) -> Result<Evidence, Rejection> {
    expect_key(bundle)?;
    log::check_entries(bundle.sigstore(), root, promise_suffices(bundle))?;
    let policy = PublicKeyVerificationPolicy::new(key.der().clone());
    let result =
        root.verifier().verify(blob, bundle.sigstore(), &policy).map_err(|error| reject_verification(error, bound))?;
    expect_evidence(result.tlog_verified(), "an entry in a log")?;
    let times = sorted_times(&result);
    log::check_retirement(bundle.sigstore(), root, &times)?;
    Ok(Evidence { signer: key_signer(key), times, log_index: log_index(bundle), logged: true })
}

/// A certificate (Sigstore client specification, "Verification"): the library establishes the times, then checks at
/// each of them the path to an authority, the SCT, the log, the signature, and the log entry's agreement with it.
fn judge_certificate(bundle: &Bundle, blob: Blob<'_>, bound: bool, root: &TrustRoot) -> Result<Evidence, Rejection> {
    if !matches!(bundle.material(), Material::Certificate) {
        return Err(Rejection::new(
            Class::Trust,
            "no-certificate",
            "the bundle is signed with a key, and the policy asks for a certificate",
        ));
    }
    let inner = bundle.sigstore();
    // Whoever is named by the certificate is named by the policy, after this: nothing here depends on it.
    let policy = VerificationPolicy::any_identity();
    let logged = root.instance() != Instance::GitHub;
    let policy = if logged {
        log::check_entries(inner, root, promise_suffices(bundle))?;
        policy
    } else {
        if !inner.verification_material.tlog_entries.is_empty() {
            let message = "the bundle has a log entry, and GitHub's instance has no log";
            return Err(Rejection::new(Class::Tlog, "unknown-log", message));
        }
        policy.skip_tlog_unsafe().skip_sct()
    };
    let result = root.verifier().verify(blob, inner, &policy).map_err(|error| reject_verification(error, bound))?;
    expect_evidence(result.certificate_verified(), "a certificate")?;
    expect_evidence(!logged || result.sct_verified(), "a certificate in a CT log")?;
    expect_evidence(!logged || result.tlog_verified(), "an entry in a log")?;
    expect_evidence(!result.verified_timestamps().is_empty(), "a time")?;
    let times = sorted_times(&result);
    log::check_retirement(inner, root, &times)?;
    let Some(certificate) = inner.signing_certificate() else {
        return Err(Rejection::new(Class::Trust, "no-certificate", "the bundle has no certificate"));
    };
    let identity = Identity::from_certificate(certificate.as_bytes())?;
    let log_index = if logged { log_index(bundle) } else { None };
    Ok(Evidence { signer: Signer::Certificate(Box::new(identity)), times, log_index, logged })
}

fn expect_key(bundle: &Bundle) -> Result<(), Rejection> {
    match bundle.material() {
        Material::PublicKey { .. } => Ok(()),
        Material::Certificate => Err(Rejection::new(
            Class::Trust,
            "not-signed-with-a-key",
            "the bundle is signed with a certificate, and the policy asks for a key",
        )),
    }
}

/// Closed by default: what the library says it did is asked for, not assumed.
fn expect_evidence(present: bool, what: &str) -> Result<(), Rejection> {
    if present {
        return Ok(());
    }
    Err(Rejection::new(Class::Trust, "evidence-missing", format!("the verification did not establish {what}")))
}

fn reject_verification(error: sigstore_verify::Error, bound: bool) -> Rejection {
    match error {
        // The blob was taken from the statement itself: what does not match it is the log entry.
        sigstore_verify::Error::ArtifactMismatch(message) if bound => {
            Rejection::new(Class::Tlog, "log-entry-mismatch", message)
        }
        error => error.into(),
    }
}

/// A bundle v0.1 is taken only where a policy names it, and then the log's promise is what it has.
fn promise_suffices(bundle: &Bundle) -> bool {
    bundle.version() == BundleVersion::V01
}

fn key_signer(key: &PublicKey) -> Signer {
    Signer::Key { fingerprint: key.fingerprint() }
}

fn sorted_times(result: &VerificationResult) -> Vec<Timestamp> {
    let mut times = result.verified_timestamps().to_vec();
    times.sort_unstable();
    times
}

/// The entry's index where something signed says it: the promise (Rekor v1) or the tree itself.
fn log_index(bundle: &Bundle) -> Option<u64> {
    let entry: &TransparencyLogEntry = bundle.sigstore().verification_material.tlog_entries.first()?;
    if entry.kind_version == KindVersion::HashedRekordV002 || entry.inclusion_promise.is_some() {
        return Some(entry.log_index.get());
    }
    entry.inclusion_proof.as_ref().map(|proof| proof.log_index.get())
}

fn check_clock(times: &[Timestamp], now: Timestamp) -> Result<(), Rejection> {
    let ahead = times.iter().find(|time| time.as_second().saturating_sub(now.as_second()) > CLOCK_SKEW);
    match ahead {
        None => Ok(()),
        Some(time) => Err(Rejection::new(
            Class::Time,
            "time-in-future",
            format!("the signature is dated {time}, after the local clock's {now}: check the clock"),
        )),
    }
}
