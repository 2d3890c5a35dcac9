//! The three ways in which a signature is judged: a key alone, a key and a log, a certificate.
//!
//! The order is that of the Sigstore client specification. What the library below says it did is asked for afterwards,
//! never assumed.

use jiff::Timestamp;
use sigstore_types::bundle::VerificationMaterialContent;
use sigstore_types::{KindVersion, SignatureContent};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

use super::identity::{self, Identity};
use super::intoto_entry;
use super::key::PublicKey;
use super::log;
use super::rejection::Rejection;
use super::root::{Instance, TrustRoot};
use super::tiled_entry::{self, Maker};
use super::timestamp;
use super::{Blob, KeyLog, Signer, Trust};
use crate::attestation::bundle::{Bundle, BundleVersion, Material};
use crate::class::{Class, Classified};
use crate::content::Digest;

/// How far a signed time may lie ahead of the local clock, in seconds. Two machines rarely agree to the second; a
/// log's own time is held to the clock exactly, by the library.
const CLOCK_SKEW: i64 = 300;

/// What was verified about a signature.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) signer: Signer,
    pub(super) times: Vec<Timestamp>,
    pub(super) log_index: Option<u64>,
    pub(super) logged: bool,
}

/// The one judge of signatures. `bound` says that an artifact which does not match can only be the log's.
pub(super) fn judge(
    bundle: &Bundle,
    blob: Blob<'_>,
    bound: bool,
    trust: &Trust<'_>,
    now: Timestamp,
) -> Result<Evidence, Rejection> {
    let evidence = match *trust {
        Trust::Key { key, log: KeyLog::None } => judge_key_alone(bundle, blob, key),
        Trust::Key { key, log: KeyLog::Required(root) } => {
            judge_key_in_log(bundle, blob, bound, key, root).map_err(|rejection| explain(rejection, root))
        }
        Trust::Keyless { root } => {
            judge_certificate(bundle, blob, bound, root).map_err(|rejection| explain(rejection, root))
        }
    }?;
    check_clock(&evidence.times, now)?;
    Ok(evidence)
}

/// An authority that was not found may be one that the trust root lists in vain.
fn explain(rejection: Rejection, root: &TrustRoot) -> Rejection {
    match (rejection.class(), root.left_out()) {
        (Class::Trust | Class::Time, [reason, ..]) => {
            let message = format!("{}; the trust root lists what vouches for nothing: {reason}", rejection.message());
            Rejection::new(rejection.class(), rejection.code(), message)
        }
        _ => rejection,
    }
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
    if !bundle.intoto_entries().is_empty() {
        let message = "a log entry of kind intoto 0.0.1 is read for certificates alone";
        return Err(Rejection::new(Class::Format, "unsupported-bundle", message));
    }
    log::check_entries(bundle, root, promise_suffices(bundle))?;
    let logged_here = tiled_entry::verify_all(bundle, Maker { key, certificate: None })?;
    if logged_here && !has_library_entries(bundle) && !has_timestamps(bundle) {
        // Everything was verified here but the signature, and the library takes no bundle that is empty besides.
        let evidence = judge_key_alone(bundle, blob, key)?;
        return Ok(Evidence { log_index: log_index(bundle), logged: true, ..evidence });
    }
    let in_library = has_library_entries(bundle);
    let policy = PublicKeyVerificationPolicy::new(key.der().clone());
    let policy = if in_library { policy } else { policy.skip_tlog_unsafe() };
    let result =
        root.verifier().verify(blob, bundle.sigstore(), &policy).map_err(|error| reject_verification(error, bound))?;
    expect_evidence(if in_library { result.tlog_verified() } else { logged_here }, "an entry in a log")?;
    log::check_bodies(bundle, None)?;
    timestamp::check_all(bundle, root)?;
    let times = sorted_times(&result);
    log::check_windows(bundle, root, &times)?;
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
    let Some(certificate) = inner.signing_certificate() else {
        return Err(Rejection::new(Class::Trust, "no-certificate", "the bundle has no certificate"));
    };
    if let VerificationMaterialContent::X509CertificateChain { certificates } = &inner.verification_material.content {
        identity::refuse_roots(certificates.iter().map(|certificate| certificate.raw_bytes.as_bytes()))?;
    }
    let logged = root.instance() != Instance::GitHub;
    if logged {
        log::check_entries(bundle, root, promise_suffices(bundle))?;
    } else if bundle.log_entries().next().is_some() {
        let message = "the bundle has a log entry, and GitHub's instance has no log";
        return Err(Rejection::new(Class::Tlog, "unknown-log", message));
    }
    let key = PublicKey::of_certificate(certificate.as_bytes())?;
    let maker = Maker { key: &key, certificate: Some(certificate.as_bytes()) };
    let logged_here = logged && tiled_entry::verify_all(bundle, maker)?;
    if logged && !bundle.intoto_entries().is_empty() {
        let evidence = intoto_entry::judge(bundle, certificate.as_bytes(), root)?;
        check_blob_is_subject(bundle, blob)?;
        return Ok(evidence);
    }
    if !has_library_entries(bundle) && !has_timestamps(bundle) {
        let message = "the bundle has no timestamp, and nothing else in it says when it was signed";
        return Err(Rejection::new(Class::Time, "no-verified-time", message));
    }
    // Whom the certificate names is judged by the policy, after this: nothing here depends on it.
    let policy = VerificationPolicy::any_identity();
    let in_library = logged && has_library_entries(bundle);
    let policy = if in_library { policy } else { policy.skip_tlog_unsafe() };
    let policy = if logged { policy } else { policy.skip_sct() };
    let result = root.verifier().verify(blob, inner, &policy).map_err(|error| reject_verification(error, bound))?;
    expect_evidence(result.certificate_verified(), "a certificate")?;
    expect_evidence(!logged || result.sct_verified(), "a certificate in a CT log")?;
    expect_evidence(!logged || if in_library { result.tlog_verified() } else { logged_here }, "an entry in a log")?;
    expect_evidence(!result.verified_timestamps().is_empty(), "a time")?;
    log::check_bodies(bundle, Some(certificate.as_bytes()))?;
    timestamp::check_all(bundle, root)?;
    let times = sorted_times(&result);
    log::check_windows(bundle, root, &times)?;
    let identity = Identity::from_certificate(certificate.as_bytes())?;
    let log_index = if logged { log_index(bundle) } else { None };
    Ok(Evidence { signer: Signer::Certificate(Box::new(identity)), times, log_index, logged })
}

fn has_library_entries(bundle: &Bundle) -> bool {
    !bundle.sigstore().verification_material.tlog_entries.is_empty()
}

fn has_timestamps(bundle: &Bundle) -> bool {
    !bundle.sigstore().verification_material.timestamp_verification_data.rfc3161_timestamps.is_empty()
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

/// Older formats are taken only where a policy names them, and then the log's promise is what they have.
fn promise_suffices(bundle: &Bundle) -> bool {
    matches!(bundle.version(), BundleVersion::V01 | BundleVersion::CosignLegacy)
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
    let entry = bundle.log_entries().next()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_did_not_establish_is_refused() {
        assert!(expect_evidence(true, "a time").is_ok());
        let refusal = expect_evidence(false, "a time").unwrap_err();
        assert_eq!((refusal.class(), refusal.code()), (Class::Trust, "evidence-missing"));
    }

    #[test]
    fn what_does_not_match_a_statements_own_subject_is_the_log_entry() {
        let code = |bound| {
            let refusal = reject_verification(sigstore_verify::Error::ArtifactMismatch("x".to_owned()), bound);
            (refusal.class(), refusal.code())
        };
        assert_eq!(code(true), (Class::Tlog, "log-entry-mismatch"));
        assert_eq!(code(false), (Class::Subject, "other-subject"));
    }
}
