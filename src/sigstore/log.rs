//! What the library leaves to us of a log entry: that the log which the entry names is the one that signed the
//! checkpoint, and that every entry is of a kind that can describe this bundle.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sigstore_types::bundle::{InclusionProof, TransparencyLogEntry};
use sigstore_types::{DerCertificate, KindVersion, SignatureContent};

use super::rejection::Rejection;
use super::root::{Log, TrustRoot};
use crate::attestation::bundle::Bundle;
use crate::class::Class;
use crate::json::{self, Shape};

/// Bodies are the log's own canonical JSON, or none of ours.
const BODY: Shape = Shape { name: "log entry", known: &["apiVersion", "kind", "spec"], opaque: &[] };
/// What a Rekor v1 calls itself that was not told its name (rekor, `rekor_server.hostname`). Private ones do; the key is
/// what tells logs apart.
const REKOR_V1: &str = "rekor.sigstore.dev";

/// Checks every entry before any cryptography of the library. There must be one; each must carry an inclusion proof,
/// unless `promise_suffices` (bundle v0.1, by an explicit policy).
pub(super) fn check_entries(bundle: &Bundle, root: &TrustRoot, promise_suffices: bool) -> Result<(), Rejection> {
    if bundle.log_entries().next().is_none() {
        return Err(reject("no-log-entry", "the bundle has no transparency-log entry".to_owned()));
    }
    for entry in bundle.log_entries() {
        if !describes(entry.kind_version, &bundle.sigstore().content) {
            let kind = entry.kind_version;
            let message = format!("a log entry of kind {} {} cannot be about this", kind.kind(), kind.version());
            return Err(reject("log-entry-mismatch", message));
        }
        let log = root.log(entry.log_id.key_id.as_bytes()).ok_or_else(|| {
            reject("unknown-log", format!("the trust root does not know the log {}", entry.log_id.key_id))
        })?;
        match &entry.inclusion_proof {
            Some(proof) => check_checkpoint(entry, proof, log)?,
            None if promise_suffices && entry.inclusion_promise.is_some() => {}
            None => {
                let message = "a log entry has no inclusion proof".to_owned();
                return Err(reject("no-inclusion-proof", message));
            }
        }
    }
    Ok(())
}

/// What the library does not compare in the bodies that it reads: the kind that a body says it is of, and the
/// certificate in an entry of kind intoto 0.0.2, of which it compares the key alone.
pub(super) fn check_bodies(bundle: &Bundle, certificate: Option<&[u8]>) -> Result<(), Rejection> {
    let mismatch = |what: &str| reject("log-entry-mismatch", format!("the log entry is about another {what}"));
    for entry in &bundle.sigstore().verification_material.tlog_entries {
        let kind = entry.kind_version;
        let body: Value = json::parse(entry.canonicalized_body.as_bytes(), &BODY)
            .map_err(|error| reject("malformed-log-entry", error.to_string()))?;
        if body["kind"] != kind.kind() || body["apiVersion"] != kind.version() {
            return Err(mismatch("kind of content than it says"));
        }
        if let (KindVersion::IntotoV002, Some(certificate)) = (kind, certificate)
            && intoto_certificate(&body).is_none_or(|logged| logged.as_bytes() != certificate)
        {
            return Err(mismatch("certificate"));
        }
    }
    Ok(())
}

/// The certificate of the one signature, as base64 of PEM (rekor, pkg/types/intoto/v0.0.2).
fn intoto_certificate(body: &Value) -> Option<DerCertificate> {
    let key = body.pointer("/spec/content/envelope/signatures/0/publicKey")?.as_str()?;
    let pem = String::from_utf8(STANDARD.decode(key).ok()?).ok()?;
    DerCertificate::from_pem(pem.trim()).ok()
}

/// A log key that was retired before the signature was made, or not in use yet, vouches for nothing. Times that the
/// log itself signed are held to its window by the library; this is for entries dated by a timestamp authority.
pub(super) fn check_windows(bundle: &Bundle, root: &TrustRoot, times: &[jiff::Timestamp]) -> Result<(), Rejection> {
    let windows = bundle.log_entries().filter_map(|entry| root.log(entry.log_id.key_id.as_bytes()));
    for window in windows.map(|log| log.valid_for) {
        if times.iter().any(|time| *time < window.start) {
            let message = format!("the log's key was used from {} on, after the signature was made", window.start);
            return Err(reject("log-not-yet-valid", message));
        }
        if let Some(end) = window.end
            && times.iter().any(|time| *time > end)
        {
            let message = format!("the log's key was retired at {end}, before the signature was made");
            return Err(reject("retired-log", message));
        }
    }
    Ok(())
}

pub(super) fn reject(code: &'static str, message: String) -> Rejection {
    Rejection::new(Class::Tlog, code, message)
}

/// Which kinds of entry describe which kinds of signature.
fn describes(kind: KindVersion, content: &SignatureContent) -> bool {
    use KindVersion::{DsseV001, HashedRekordV001, HashedRekordV002, IntotoV002};
    match content {
        SignatureContent::DsseEnvelope(_) => matches!(kind, DsseV001 | IntotoV002 | HashedRekordV002),
        SignatureContent::MessageSignature(_) => matches!(kind, HashedRekordV001 | HashedRekordV002),
        _ => false,
    }
}

/// The checkpoint is of this entry's log: its key signed it, under its name (C2SP, tlog-checkpoint and signed-note).
/// The library takes the signature of any log in the root.
fn check_checkpoint(entry: &TransparencyLogEntry, proof: &InclusionProof, log: &Log) -> Result<(), Rejection> {
    let invalid = |reason: &str| reject("invalid-checkpoint", format!("the log's checkpoint {reason}"));
    let Some(checkpoint) = proof.checkpoint.checkpoint() else {
        return Err(invalid("is missing"));
    };
    let origin = checkpoint.origin();
    // What a proof of Rekor v2 says of the tree besides is not looked at by anybody.
    if entry.kind_version == KindVersion::HashedRekordV002 {
        if !names_origin(&log.base_url, origin) {
            return Err(invalid("is of another log"));
        }
    } else {
        let host = origin.split_once(" - ").map_or(origin, |(host, _)| host);
        if host != REKOR_V1 && !names_origin(&log.base_url, host) {
            return Err(invalid("is of another log"));
        }
        if checkpoint.tree_size() != proof.tree_size {
            return Err(invalid("is of another tree size than the inclusion proof"));
        }
        if *checkpoint.root_hash() != proof.root_hash {
            return Err(invalid("is of another tree than the inclusion proof"));
        }
    }
    let id = entry.log_id.key_id.as_bytes();
    let by_this_log = checkpoint.signatures().iter().any(|signature| {
        id.starts_with(signature.key_id.as_bytes())
            && is_signer(&signature.name, origin)
            && log.key.verify(checkpoint.signed_data(), &signature.signature).is_ok()
    });
    if by_this_log { Ok(()) } else { Err(invalid("is not signed by the log that the entry names")) }
}

/// Rekor v1 signs as `host` a checkpoint of `host - tree id`; Rekor v2 signs as its origin.
fn is_signer(name: &str, origin: &str) -> bool {
    origin.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "))
}

/// A log's origin is its host name (in Rekor v1 with the tree after it); with port and path where several logs share a host.
fn names_origin(base_url: &str, origin: &str) -> bool {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest).trim_end_matches('/');
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    [rest, authority, host].contains(&origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g06_a_checkpoint_is_signed_under_its_logs_name() {
        assert!(is_signer("rekor.sigstore.dev", "rekor.sigstore.dev - 2605736670972794746"));
        assert!(is_signer("log2025-1.rekor.sigstore.dev", "log2025-1.rekor.sigstore.dev"));
        for (name, origin) in [("rekor", "rekor.sigstore.dev - 1"), ("a", "b"), ("log", "log2"), ("log2", "log")] {
            assert!(!is_signer(name, origin), "{name} {origin}");
        }
    }

    #[test]
    fn g06_an_origin_is_the_host_of_its_log() {
        for (url, origin) in [
            ("https://log2025-1.rekor.sigstore.dev", "log2025-1.rekor.sigstore.dev"),
            ("http://127.0.0.1:15022", "127.0.0.1"),
            ("http://127.0.0.1:15022/", "127.0.0.1:15022"),
            ("https://logs.example/a", "logs.example/a"),
        ] {
            assert!(names_origin(url, origin), "{url} {origin}");
        }
        for (url, origin) in [
            ("https://log2025-1.rekor.sigstore.dev", "log2025-2.rekor.sigstore.dev"),
            ("https://log2025-1.rekor.sigstore.dev", "rekor.sigstore.dev"),
            ("https://logs.example/a", "logs.example/b"),
            ("https://logs.example", ""),
            ("https://logs.example:port", "logs.example"),
        ] {
            assert!(!names_origin(url, origin), "{url} {origin}");
        }
    }
}
