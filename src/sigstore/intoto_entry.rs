//! Log entries of kind `intoto 0.0.1`: what cosign before 2.2 wrote for attestations, and the library does not read.
//!
//! Such an entry has a promise and no proof, so it comes only with cosign's legacy format, where a policy names that.
//! The steps are those of the library, in its order: time, certificate path at that time, SCT, signature, agreement.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Deserialize;
use sigstore_crypto::{KeyAlgorithm, SigningScheme, VerificationKey, WEBPKI_VERIFICATION_ALGS};
use sigstore_types::bundle::TransparencyLogEntry;
use sigstore_types::{DerPublicKey, SignatureBytes, SignatureContent};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SignedCertificateTimestampList;
use x509_cert::ext::pkix::sct::{HashAlgorithm, SignatureAlgorithm};

use super::Signer;
use super::identity::Identity;
use super::judge::Evidence;
use super::log::reject;
use super::rejection::Rejection;
use super::root::TrustRoot;
use crate::attestation::bundle::Bundle;
use crate::class::Class;
use crate::content::Digest;
use crate::json::{self, Obj, Shape};

/// Code signing, as the content of its object identifier (RFC 5280, section 4.2.1.12).
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// The extension that holds SCTs (RFC 6962, section 3.3).
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

/// Judges a bundle whose one log entry is of this kind, signed with this certificate.
pub(super) fn judge(bundle: &Bundle, certificate: &[u8], root: &TrustRoot) -> Result<Evidence, Rejection> {
    let entries: Vec<_> = bundle.log_entries().collect();
    let (&[entry], SignatureContent::DsseEnvelope(envelope)) = (entries.as_slice(), &bundle.sigstore().content) else {
        return Err(reject(
            "malformed-log-entry",
            "an intoto 0.0.1 entry must stand alone, with an envelope".to_owned(),
        ));
    };
    let time = verified_time(entry, root)?;
    let parsed = Certificate::from_der(certificate).map_err(|error| untrusted("malformed-certificate", &error))?;
    let issuer = verified_issuer(certificate, time, root)?;
    verify_sct(&parsed, &issuer, root)?;
    let spki = spki(&parsed)?;
    let key = VerificationKey::from_spki(&spki).map_err(|error| untrusted("malformed-certificate", &error))?;
    key.verify(envelope.pae(), &envelope.signature.sig).map_err(|_| {
        Rejection::new(Class::Signature, "invalid-signature", "the signature was not made with the certificate's key")
    })?;
    check_agreement(entry, bundle, certificate, envelope.payload.as_bytes())?;
    Ok(Evidence {
        signer: Signer::Certificate(Box::new(Identity::from_certificate(certificate)?)),
        times: vec![time],
        log_index: Some(entry.log_index.get()),
        logged: true,
    })
}

fn untrusted(code: &'static str, error: &dyn std::fmt::Display) -> Rejection {
    Rejection::new(Class::Trust, code, format!("the signer's certificate is not acceptable: {error}"))
}

/// The log's promise: its signature over body, time, index and log (Rekor v1, as canonical JSON, RFC 8785).
fn verified_time(entry: &TransparencyLogEntry, root: &TrustRoot) -> Result<Timestamp, Rejection> {
    let id = entry.log_id.key_id.as_bytes();
    let (Some(log), Some(promise), Some(time)) = (root.log(id), &entry.inclusion_promise, entry.integrated_time) else {
        return Err(reject("no-inclusion-promise", "a log entry has no promise of a known log".to_owned()));
    };
    if !log.valid_for.contains(time) {
        return Err(reject("invalid-inclusion-promise", format!("the log's key was not valid at {time}")));
    }
    let id = Digest::from_raw(
        <[u8; 32]>::try_from(id).map_err(|_| reject("unknown-log", "a log's id is a SHA-256".to_owned()))?,
    );
    let promised = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(entry.canonicalized_body.as_bytes()),
        time.as_second(),
        id.hex(),
        entry.log_index.get(),
    );
    let signature = SignatureBytes::from_bytes(promise.signed_entry_timestamp.as_bytes());
    log.key
        .verify(promised.as_bytes(), &signature)
        .map_err(|_| reject("invalid-inclusion-promise", "the log did not sign this promise".to_owned()))?;
    Ok(time)
}

/// The authority that issued the certificate: believed at that time, the certificate valid at that time and meant for
/// signing code.
fn verified_issuer(certificate: &[u8], time: Timestamp, root: &TrustRoot) -> Result<Certificate, Rejection> {
    let der = CertificateDer::from(certificate);
    let leaf = EndEntityCert::try_from(&der).map_err(|error| untrusted("malformed-certificate", &error))?;
    let seconds = u64::try_from(time.as_second()).map_err(|error| untrusted("no-valid-authority", &error))?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let mut reason = "no authority in the trust root was valid then".to_owned();
    for authority in root.authorities_at(time) {
        let der = CertificateDer::from(authority);
        let anchor = match webpki::anchor_from_trusted_cert(&der) {
            Ok(anchor) => [anchor],
            Err(error) => return Err(untrusted("unusable-trust-root", &error)),
        };
        let usage = KeyUsage::required(CODE_SIGNING);
        match leaf.verify_for_usage(WEBPKI_VERIFICATION_ALGS, &anchor, &[], at, usage, None, None) {
            Ok(_) => {
                return Certificate::from_der(authority).map_err(|error| untrusted("unusable-trust-root", &error));
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(untrusted("untrusted-certificate", &reason))
}

/// The certificate's SCT (RFC 6962, section 3.2): the CT log's signature over the certificate without it.
fn verify_sct(certificate: &Certificate, issuer: &Certificate, root: &TrustRoot) -> Result<(), Rejection> {
    let invalid = |reason: &str| untrusted("invalid-sct", &format!("its SCT {reason}"));
    let list = certificate.tbs_certificate.get::<SignedCertificateTimestampList>();
    let Ok(Some((_, list))) = list else { return Err(invalid("is missing")) };
    let list = list.parse_timestamps().map_err(|_| invalid("cannot be read"))?;
    let [one] = list.as_slice() else { return Err(invalid("must be one")) };
    let sct = one.parse_timestamp().map_err(|_| invalid("cannot be read"))?;
    let scheme = match (&sct.signature.algorithm.hash, &sct.signature.algorithm.signature) {
        (HashAlgorithm::Sha256, SignatureAlgorithm::Ecdsa) => SigningScheme::EcdsaP256Sha256,
        (HashAlgorithm::Sha384, SignatureAlgorithm::Ecdsa) => SigningScheme::EcdsaP384Sha384,
        _ => return Err(invalid("is signed with an algorithm that is not used for it")),
    };
    let issued = i64::try_from(sct.timestamp).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
    let issued = issued.ok_or_else(|| invalid("has no time"))?;
    let key = root.ct_log_at(&sct.log_id.key_id, issued).ok_or_else(|| invalid("is of an unknown CT log"))?;
    let key = VerificationKey::from_der(key, scheme).map_err(|_| invalid("is of a CT log with another key"))?;

    let mut precertificate = certificate.tbs_certificate.clone();
    if let Some(extensions) = &mut precertificate.extensions {
        extensions.retain(|extension| extension.extn_id.to_string() != SCT_LIST);
    }
    let precertificate = precertificate.to_der().map_err(|_| invalid("is in a certificate that cannot be written"))?;
    let sized = |length: usize| u32::try_from(length).map_err(|_| invalid("is too large"));
    let length = sized(precertificate.len())?.to_be_bytes();
    let extensions = sct.extensions.as_slice();
    let extensions_length = sized(extensions.len())?.to_be_bytes();
    // version 1, a certificate timestamp; its time; a precertificate entry: issuer, certificate; extensions.
    let mut signed = vec![0, 0];
    signed.extend(sct.timestamp.to_be_bytes());
    signed.extend([0, 1]);
    signed.extend(Digest::of(spki(issuer)?.as_bytes()).raw());
    signed.extend(&length[1..]);
    signed.extend(&precertificate);
    signed.extend(&extensions_length[2..]);
    signed.extend(extensions);
    let signature = SignatureBytes::from_bytes(sct.signature.signature.as_slice());
    key.verify(&signed, &signature).map_err(|_| invalid("is not signed by its CT log"))
}

fn spki(certificate: &Certificate) -> Result<DerPublicKey, Rejection> {
    let der = certificate.tbs_certificate.subject_public_key_info.to_der();
    let key = DerPublicKey::new(der.map_err(|error| untrusted("malformed-certificate", &error))?);
    KeyAlgorithm::from_spki(&key).map_err(|error| untrusted("malformed-certificate", &error))?;
    Ok(key)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    api_version: String,
    kind: String,
    spec: Obj<Spec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    content: Obj<Content>,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    hash: Obj<Hash>,
    payload_hash: Obj<Hash>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hash {
    algorithm: String,
    value: String,
}

const SHAPE: Shape = Shape { name: "log entry", known: &[], opaque: &[] };

/// The entry is about this envelope as it is stored, signature included, this payload and this certificate.
fn check_agreement(
    entry: &TransparencyLogEntry,
    bundle: &Bundle,
    certificate: &[u8],
    payload: &[u8],
) -> Result<(), Rejection> {
    let mismatch = |what: &str| reject("log-entry-mismatch", format!("the log entry is about another {what}"));
    let body: Body = json::parse(entry.canonicalized_body.as_bytes(), &SHAPE)
        .map_err(|error| reject("malformed-log-entry", error.to_string()))?;
    if (body.kind.as_str(), body.api_version.as_str()) != ("intoto", "0.0.1") {
        return Err(mismatch("kind of content than it says"));
    }
    let Obj(Spec { content: Obj(content), public_key }) = body.spec;
    let is = |hash: &Hash, digest: &Digest| hash.algorithm == "sha256" && hash.value == digest.hex();
    if !is(&content.hash.0, bundle.digest()) {
        return Err(mismatch("envelope"));
    }
    if !is(&content.payload_hash.0, &Digest::of(payload)) {
        return Err(mismatch("payload"));
    }
    let pem = STANDARD.decode(public_key).ok().and_then(|pem| String::from_utf8(pem).ok());
    let logged = pem.and_then(|pem| sigstore_types::DerCertificate::from_pem(pem.trim()).ok());
    if logged.is_none_or(|logged| logged.as_bytes() != certificate) {
        return Err(mismatch("certificate"));
    }
    Ok(())
}
