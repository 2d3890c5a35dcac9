//! cosign's formats before bundles: an envelope or a payload as a layer, and the evidence in its annotations (cosign,
//! specs/SIGNATURE_SPEC.md). Read only where a policy names `cosign-legacy`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{malformed, wire};
use crate::attestation::{AttestationError, Statement, StatementVersion, Subject, predicate_types};
use crate::content::Digest;
use crate::json::{self, Few, Obj, Shape};

/// The media type of an attestation's layer.
pub(super) const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The media type of a signature's layer.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

pub(super) const ENVELOPE_SHAPE: Shape = Shape { name: "envelope", known: &[], opaque: &[] };

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// What an attestation's layer promises to hold; since 2023.
pub(super) const PREDICATE_TYPE: &str = "predicateType";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// What the log answered to cosign: its promise, and what it promised to include.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct LogAnswer {
    signed_entry_timestamp: wire::Base64,
    payload: Obj<LogPayload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogPayload {
    body: wire::Base64,
    integrated_time: wire::Int64,
    log_index: wire::Int64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// The head of a log entry's body: which kind it is of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyHead {
    kind: String,
    api_version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: wire::Base64,
}

const ANNOTATION: Shape = Shape { name: "annotation", known: &[], opaque: &[] };

/// The evidence in a layer's annotations, as a bundle would have it.
pub(super) fn material(annotations: &BTreeMap<String, String>) -> Result<wire::Material, AttestationError> {
    let text = |key: &str| annotations.get(key).filter(|text| !text.is_empty());
    let mut material = wire::Material::default();
    match text(CERTIFICATE) {
        Some(pem) => material.certificate = Some(Obj(wire::RawBytes { raw_bytes: wire::Base64(certificate(pem)?) })),
        None => material.public_key = Some(Obj(wire::KeyHint { hint: String::new() })),
    }
    if let Some(answer) = text(BUNDLE) {
        let answer: LogAnswer = json::parse(answer.as_bytes(), &ANNOTATION)?;
        material.tlog_entries = Some(Few(vec![Obj(log_entry(answer)?)]));
    }
    if let Some(stamp) = text(TIMESTAMP) {
        let stamp: Stamp = json::parse(stamp.as_bytes(), &ANNOTATION)?;
        let stamps = Few(vec![Obj(wire::Timestamp { signed_timestamp: stamp.token })]);
        material.timestamp_verification_data = Some(Obj(wire::Timestamps { rfc3161_timestamps: stamps }));
    }
    Ok(material)
}

/// The signature over a layer's bytes.
pub(super) fn signature(annotations: &BTreeMap<String, String>) -> Result<wire::MessageSignature, AttestationError> {
    let text = annotations.get(SIGNATURE).ok_or_else(|| malformed("its layer carries no signature"))?;
    let bytes = STANDARD.decode(text).map_err(|_| malformed("its signature is not canonical base64"))?;
    Ok(wire::MessageSignature { message_digest: None, signature: wire::Base64(bytes) })
}

fn log_entry(answer: LogAnswer) -> Result<wire::LogEntry, AttestationError> {
    let Obj(payload) = answer.payload;
    // The body is the log's own word; this only sorts it, and reads it again when it is verified.
    let head: BodyHead = json::parse(&payload.body.0, &ANNOTATION)?;
    let log_id = Digest::from_hex(&payload.log_id).map_err(|error| malformed(error.to_string()))?;
    Ok(wire::LogEntry {
        log_index: payload.log_index,
        log_id: Obj(wire::LogId { key_id: wire::Base64(log_id.raw().to_vec()) }),
        kind_version: Obj(wire::KindVersion { kind: head.kind, version: head.api_version }),
        integrated_time: payload.integrated_time,
        inclusion_promise: Some(Obj(wire::Promise { signed_entry_timestamp: answer.signed_entry_timestamp })),
        inclusion_proof: None,
        canonicalized_body: payload.body,
    })
}

/// The DER of one PEM certificate.
fn certificate(pem: &str) -> Result<Vec<u8>, AttestationError> {
    let body = pem.trim_ascii().strip_prefix("-----BEGIN CERTIFICATE-----");
    let body = body.and_then(|body| body.strip_suffix("-----END CERTIFICATE-----"));
    let text: String =
        body.ok_or_else(|| malformed("its certificate is not one PEM block"))?.split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|_| malformed("its certificate is not one PEM block"))
}

/// What a simple signing payload says (containers, docs/containers-signature.5.md), with the digest as cosign spells it.
#[derive(Deserialize)]
struct SimpleSigning {
    critical: Obj<Critical>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Obj<SignedReference>,
    image: Obj<SignedImage>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SignedReference {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SignedImage {
    docker_manifest_digest: Digest,
}

const SIMPLE_SHAPE: Shape = Shape {
    name: "signature payload",
    known: &["critical", "identity", "image", "type", "docker-reference", "docker-manifest-digest", "optional"],
    opaque: &["optional"],
};

/// Reads a legacy signature as the statement that cosign 3 writes in its place. Its reference is a name for people.
pub(super) fn simple_signing(payload: &[u8]) -> Result<Statement, AttestationError> {
    let SimpleSigning { critical: Obj(critical) } = json::parse(payload, &SIMPLE_SHAPE)?;
    if critical.kind != "cosign container image signature" {
        return Err(AttestationError::StatementType(critical.kind));
    }
    let subject = Subject {
        name: Some(critical.identity.0.docker_reference),
        sha256: Some(critical.image.0.docker_manifest_digest),
    };
    Ok(Statement {
        version: StatementVersion::V1,
        subjects: vec![subject],
        predicate_type: predicate_types::SIGNATURE.to_owned(),
        predicate: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{Class, Classified};

    fn payload(digest: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r.example/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":{{"Critical":1}}}}"#
        )
    }

    #[test]
    fn c14_a_simple_signature_names_one_digest_exactly() {
        let digest = Digest::of(b"image");
        let good = payload(&digest.to_string());
        let statement = simple_signing(good.as_bytes()).unwrap();
        assert!(statement.names(&digest));
        assert_eq!(statement.predicate_type, predicate_types::SIGNATURE);
        for bad in [
            payload("sha256:short"),
            payload(&digest.to_string().to_uppercase()),
            good.replace("cosign container", "atomic container"),
            good.replace("docker-manifest-digest", "Docker-manifest-digest"),
            good.replace("\"critical\"", "\"Critical\""),
            good.replacen('{', "{\"critical\":{},", 1),
            good.replace("\"type\":", "\"extra\":1,\"type\":"),
            "{}".to_owned(),
            String::new(),
        ] {
            assert_eq!(simple_signing(bad.as_bytes()).unwrap_err().class(), Class::Format, "{bad}");
        }
    }

    #[test]
    fn evidence_in_annotations_is_read_strictly() {
        let one = |key: &str, text: &str| material(&BTreeMap::from([(key.to_owned(), text.to_owned())]));
        assert!(material(&BTreeMap::new()).unwrap().public_key.is_some());
        assert!(one(CERTIFICATE, "").unwrap().public_key.is_some());
        assert!(one(CERTIFICATE, "hello").is_err());
        let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(one(CERTIFICATE, block).unwrap().certificate.is_some());
        assert!(one(CERTIFICATE, &block.repeat(2)).is_err());
        assert!(one(BUNDLE, "{}").is_err());
        assert!(one(BUNDLE, r#"{"SignedEntryTimestamp":"AAAA","Payload":{}}"#).is_err());
        assert!(one(TIMESTAMP, r#"{"SignedRFC3161Timestamp":"AAAA"}"#).is_ok());
        assert!(one(TIMESTAMP, r#"{"SignedRFC3161Timestamp":"AAA"}"#).is_err());
        assert!(signature(&BTreeMap::new()).is_err());
    }
}
