//! Log entries of Rekor v2 over envelopes, verified here in the library's steps: `dsse 0.0.2`, which sigstore-js writes
//! and the library does not read, and `hashedrekord 0.0.2`, which it reads for P-256 alone. [`super::log`] has checked
//! the checkpoint's signature.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sigstore_types::bundle::TransparencyLogEntry;
use sigstore_types::{DigestBytes, DsseEnvelope, SignatureContent};

use super::key::PublicKey;
use super::log::reject;
use super::rejection::Rejection;
use crate::attestation::bundle::Bundle;
use crate::json::{self, Obj, Shape};

const SHAPE: Shape = Shape { name: "log entry", known: &[], opaque: &[] };

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body<S> {
    api_version: String,
    kind: String,
    spec: Obj<S>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DsseSpec {
    dsse_v002: Obj<Dsse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dsse {
    payload_hash: Obj<Hash>,
    signatures: Vec<Obj<Signature>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HashedRekordSpec {
    hashed_rekord_v002: Obj<HashedRekord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekord {
    data: Obj<Hash>,
    signature: Obj<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hash {
    algorithm: String,
    digest: DigestBytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    content: sigstore_types::SignatureBytes,
    verifier: Obj<Verifier>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Verifier {
    key_details: String,
    #[serde(default)]
    x509_certificate: Option<Obj<RawBytes>>,
    #[serde(default)]
    public_key: Option<Obj<RawBytes>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBytes {
    raw_bytes: sigstore_types::DerPublicKey,
}

/// Who must have made the signature that the entry records.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    /// The key of the policy, or that of the certificate.
    pub(super) key: &'a PublicKey,
    /// The certificate of the bundle, DER, where there is one.
    pub(super) certificate: Option<&'a [u8]>,
}

/// Verifies every such entry: that it is in the tree of its checkpoint, and about this envelope, signature and maker.
/// Says whether there are any.
pub(super) fn verify_all(bundle: &Bundle, maker: Maker<'_>) -> Result<bool, Rejection> {
    let (dsse, hashedrekord) = (bundle.dsse_entries(), bundle.hashedrekord_entries());
    if dsse.is_empty() && hashedrekord.is_empty() {
        return Ok(false);
    }
    let SignatureContent::DsseEnvelope(envelope) = &bundle.sigstore().content else {
        return Err(mismatch("kind of signature"));
    };
    for entry in dsse {
        check_inclusion(entry)?;
        check_dsse(entry, envelope, maker)?;
    }
    for entry in hashedrekord {
        check_inclusion(entry)?;
        check_hashedrekord(entry, envelope, maker)?;
    }
    Ok(true)
}

fn mismatch(what: &str) -> Rejection {
    reject("log-entry-mismatch", format!("the log entry is about another {what}"))
}

fn read<S: DeserializeOwned>(entry: &TransparencyLogEntry, kind: &str) -> Result<S, Rejection> {
    let body: Body<S> = json::parse(entry.canonicalized_body.as_bytes(), &SHAPE)
        .map_err(|error| reject("malformed-log-entry", error.to_string()))?;
    if (body.kind.as_str(), body.api_version.as_str()) != (kind, "0.0.2") {
        return Err(mismatch("kind of content than it says"));
    }
    Ok(body.spec.0)
}

/// The hash is of the payload, always SHA-256.
fn check_dsse(entry: &TransparencyLogEntry, envelope: &DsseEnvelope, maker: Maker<'_>) -> Result<(), Rejection> {
    let DsseSpec { dsse_v002: Obj(logged) } = read(entry, "dsse")?;
    let Obj(hash) = logged.payload_hash;
    let payload = sigstore_crypto::sha256(envelope.payload.as_bytes());
    if hash.algorithm != "SHA2_256" || hash.digest.as_bytes() != payload.as_bytes() {
        return Err(mismatch("payload"));
    }
    let [Obj(signature)] = logged.signatures.as_slice() else {
        return Err(mismatch("number of signatures"));
    };
    check_signature(signature, envelope, maker)
}

/// The hash is of what is signed, and the one that is signed: which one goes with the key.
fn check_hashedrekord(
    entry: &TransparencyLogEntry,
    envelope: &DsseEnvelope,
    maker: Maker<'_>,
) -> Result<(), Rejection> {
    let HashedRekordSpec { hashed_rekord_v002: Obj(logged) } = read(entry, "hashedrekord")?;
    let HashedRekord { data: Obj(hash), signature: Obj(signature) } = logged;
    check_signature(&signature, envelope, maker)?;
    let signed = envelope.pae();
    let digest = match hash.algorithm.as_str() {
        "SHA2_256" => DigestBytes::from(sigstore_crypto::sha256(&signed)),
        "SHA2_384" => DigestBytes::from(sigstore_crypto::sha384(&signed)),
        _ => return Err(mismatch("hash")),
    };
    if maker.key.hash_name() != Some(hash.algorithm.as_str()) || hash.digest != digest {
        return Err(mismatch("content"));
    }
    Ok(())
}

fn check_signature(logged: &Signature, envelope: &DsseEnvelope, maker: Maker<'_>) -> Result<(), Rejection> {
    if logged.content != envelope.signature.sig {
        return Err(mismatch("signature"));
    }
    let Obj(verifier) = &logged.verifier;
    let raw = |bytes: &Option<Obj<RawBytes>>| bytes.as_ref().map(|Obj(bytes)| bytes.raw_bytes.as_bytes().to_vec());
    let found = (raw(&verifier.x509_certificate), raw(&verifier.public_key));
    let expected = match maker.certificate {
        Some(der) => (Some(der.to_vec()), None),
        None => (None, Some(maker.key.der().as_bytes().to_vec())),
    };
    if found != expected {
        return Err(mismatch("certificate or key"));
    }
    if !maker.key.is_called(&verifier.key_details) {
        return Err(mismatch("kind of key"));
    }
    Ok(())
}

/// The Merkle inclusion proof (RFC 9162, section 2.1.3.2), to the root that the log signed.
fn check_inclusion(entry: &TransparencyLogEntry) -> Result<(), Rejection> {
    let proof = entry.inclusion_proof.as_ref();
    let checkpoint = proof.and_then(|proof| proof.checkpoint.checkpoint());
    let (Some(proof), Some(checkpoint)) = (proof, checkpoint) else {
        return Err(reject("no-inclusion-proof", "a log entry has no inclusion proof".to_owned()));
    };
    let leaf = sigstore_merkle::hash_leaf(entry.canonicalized_body.as_bytes());
    let (index, size) = (entry.log_index.get(), checkpoint.tree_size());
    sigstore_merkle::verify_inclusion_proof(&leaf, index, size, &proof.hashes, checkpoint.root_hash())
        .map_err(|error| reject("invalid-inclusion-proof", error.to_string()))
}
