//! Log entries of kind `dsse 0.0.2` (Rekor v2), which sigstore-js writes and the library does not read: verified here,
//! in the same steps. [`super::log`] has checked the checkpoint's signature.

use serde::Deserialize;
use sigstore_types::SignatureContent;
use sigstore_types::bundle::TransparencyLogEntry;

use super::log::reject;
use super::rejection::Rejection;
use crate::attestation::bundle::Bundle;
use crate::content::Digest;
use crate::json::{self, Obj, Shape};

const SHAPE: Shape = Shape { name: "log entry", known: &[], opaque: &[] };

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
    dsse_v002: Obj<Dsse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dsse {
    payload_hash: Obj<Hash>,
    signatures: Vec<Obj<Signature>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hash {
    algorithm: String,
    digest: sigstore_types::DigestBytes,
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
    #[serde(rename = "keyDetails")]
    _key_details: String,
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
pub(super) enum Maker<'a> {
    /// The certificate of the bundle, DER.
    Certificate(&'a [u8]),
    /// The key of the policy, SubjectPublicKeyInfo DER.
    Key(&'a [u8]),
}

/// Verifies that the entry is in the tree of its checkpoint, and that it is about this envelope, signature and maker.
pub(super) fn verify(entry: &TransparencyLogEntry, bundle: &Bundle, maker: Maker<'_>) -> Result<(), Rejection> {
    check_inclusion(entry)?;
    let mismatch = |what: &str| reject("log-entry-mismatch", format!("the log entry is about another {what}"));
    let SignatureContent::DsseEnvelope(envelope) = &bundle.sigstore().content else {
        return Err(mismatch("kind of signature"));
    };
    let body: Body = json::parse(entry.canonicalized_body.as_bytes(), &SHAPE)
        .map_err(|error| reject("malformed-log-entry", error.to_string()))?;
    if (body.kind.as_str(), body.api_version.as_str()) != ("dsse", "0.0.2") {
        return Err(mismatch("kind of content than it says"));
    }
    let Obj(Spec { dsse_v002: Obj(logged) }) = body.spec;
    let Obj(hash) = logged.payload_hash;
    if hash.algorithm != "SHA2_256" || hash.digest.as_bytes() != Digest::of(envelope.payload.as_bytes()).raw() {
        return Err(mismatch("payload"));
    }
    let [Obj(signature)] = logged.signatures.as_slice() else {
        return Err(mismatch("number of signatures"));
    };
    if signature.content != envelope.signature.sig {
        return Err(mismatch("signature"));
    }
    let Obj(verifier) = &signature.verifier;
    let raw = |bytes: &Option<Obj<RawBytes>>| bytes.as_ref().map(|Obj(bytes)| bytes.raw_bytes.as_bytes().to_vec());
    let logged = (raw(&verifier.x509_certificate), raw(&verifier.public_key));
    let expected = match maker {
        Maker::Certificate(der) => (Some(der.to_vec()), None),
        Maker::Key(der) => (None, Some(der.to_vec())),
    };
    if logged == expected { Ok(()) } else { Err(mismatch("certificate or key")) }
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
