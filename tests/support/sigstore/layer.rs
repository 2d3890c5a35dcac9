//! A bundle as cosign wrote it before there were bundles: a layer, and annotations about it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::key::pem;
use super::log::hex;

/// The media type of an attestation.
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The media type of a signature.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the certificate.
pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// The annotation with the log's promise.
pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// The annotation with the signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A layer with its annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The media type.
    pub media_type: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What its descriptor says about it.
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    /// The envelope of a bundle v0.3, its certificate, and the promise of its first log entry.
    pub fn attestation(bundle: &Value) -> Self {
        let mut annotations = evidence(bundle);
        annotations.insert(SIGNATURE.to_owned(), String::new());
        annotations.insert("predicateType".to_owned(), "https://slsa.dev/provenance/v1".to_owned());
        Self { media_type: ENVELOPE, bytes: bundle["dsseEnvelope"].to_string().into_bytes(), annotations }
    }

    /// The payload of a bundle v0.3 that was signed as it is.
    pub fn signature(bundle: &Value) -> Self {
        let mut annotations = evidence(bundle);
        let signature = bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap();
        annotations.insert(SIGNATURE.to_owned(), signature.to_owned());
        Self { media_type: SIMPLE_SIGNING, bytes: decode(&bundle["dsseEnvelope"]["payload"]), annotations }
    }
}

/// The payload of a cosign signature over an image.
pub fn simple_signing(digest: &str) -> Vec<u8> {
    json!({
        "critical": {
            "identity": { "docker-reference": "ghcr.io/acme/templates/claude" },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

fn evidence(bundle: &Value) -> BTreeMap<String, String> {
    let material = &bundle["verificationMaterial"];
    let mut annotations = BTreeMap::new();
    if let Some(leaf) = material.pointer("/certificate/rawBytes") {
        annotations.insert(CERTIFICATE.to_owned(), pem("CERTIFICATE", &decode(leaf)));
    }
    if let Some(entry) = material["tlogEntries"].get(0) {
        let number = |name: &str| entry[name].as_str().and_then(|text| text.parse::<i64>().ok());
        let answer = json!({
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {
                "body": entry["canonicalizedBody"],
                "integratedTime": number("integratedTime"),
                "logIndex": number("logIndex"),
                "logID": hex(&decode(&entry["logId"]["keyId"])),
            },
        });
        annotations.insert(BUNDLE.to_owned(), answer.to_string());
    }
    annotations
}

fn decode(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}
