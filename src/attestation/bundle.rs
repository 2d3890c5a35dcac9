//! Sigstore bundles: a signature with everything needed to verify it (protobuf-specs, sigstore_bundle.proto).
//!
//! A [`Bundle`] is well-formed and bounded, and not yet believed. Its media type is not signed by anybody: what a
//! version promises (an inclusion proof, a single certificate) is checked on the content, never inferred.

mod legacy;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use sigstore_types::bundle::{
    CertificateContent, CheckpointData, InclusionPromise, InclusionProof, LogId, MessageDigest, MessageSignature,
    PublicKeyIdentifier, Rfc3161Timestamp, TimestampVerificationData, TransparencyLogEntry, VerificationMaterial,
    VerificationMaterialContent, X509Certificate,
};
use sigstore_types::{
    CanonicalizedBody, DerCertificate, DigestBytes, DsseEnvelope, DsseSignature, HashAlgorithm, KeyId, KindVersion,
    LogIndex, LogKeyId, MediaType, PayloadBytes, Sha256Hash, SignatureBytes, SignatureContent, SignedTimestamp,
    TimestampToken,
};

use super::{AttestationError, PAYLOAD_TYPE, Statement, predicate_types};
use crate::content::{Digest, limits};
use crate::json::{self, Few, Obj, Shape};
use crate::oci::{Descriptor, names};

/// Signatures that are counted before there are too many to count. One is taken.
const SIGNATURES: usize = 1_000;
/// Log entries of one bundle. Real ones have one; other verifiers stop at 32 as well.
const LOG_ENTRIES: usize = 32;
/// Timestamps of one bundle, for the same reason.
const TIMESTAMPS: usize = 32;
/// Certificates of one chain: a leaf and the authorities above it, of which Sigstore has two.
const CERTIFICATES: usize = 10;
/// Hashes of one inclusion proof: the depth of a tree with 2^63 leaves.
const PROOF_HASHES: usize = 64;
/// One signature, certificate, timestamp, promise or checkpoint, in bytes. Real ones are below 8 KiB.
const MATERIAL: usize = 64 << 10;
/// The body of one log entry, in bytes. It holds hashes and certificates, no payload.
const LOG_BODY: usize = 1 << 20;

/// Which version of the format a bundle says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BundleVersion {
    /// No bundle at all: what cosign before 3 spread over a layer and its annotations.
    CosignLegacy,
    /// v0.1: the log's promise suffices.
    V01,
    /// v0.2: an inclusion proof.
    V02,
    /// v0.3: an inclusion proof, and the certificate alone.
    V03,
}

impl BundleVersion {
    /// The spelling that policies use: `v0.3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CosignLegacy => "cosign-legacy",
            Self::V01 => "v0.1",
            Self::V02 => "v0.2",
            Self::V03 => "v0.3",
        }
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => Some(Self::V01),
            "application/vnd.dev.sigstore.bundle+json;version=0.2" => Some(Self::V02),
            "application/vnd.dev.sigstore.bundle+json;version=0.3" | names::BUNDLE_V03 => Some(Self::V03),
            _ => None,
        }
    }
}

/// What a bundle offers to verify its signature with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Material<'a> {
    /// A certificate: somebody's identity.
    Certificate,
    /// No more than a hint at a key that the verifier must have.
    PublicKey {
        /// Unsigned, never used to choose a key.
        hint: &'a str,
    },
}

/// A well-formed bundle with exactly one signature.
#[derive(Debug, Clone)]
pub struct Bundle {
    digest: Digest,
    version: BundleVersion,
    inner: sigstore_types::Bundle,
    apart: Apart,
    simple_signing: Option<Vec<u8>>,
    /// What the payload says, without its predicate, read when it is first asked for and then asked for often.
    statement: OnceLock<Result<Arc<Statement>, AttestationError>>,
}

/// Log entries that the library does not read, or not with every key, which `sigstore` verifies itself. They say of
/// themselves here that they are of a kind with the same rules; the library never sees them.
#[derive(Debug, Clone, Default)]
struct Apart {
    /// `hashedrekord 0.0.2` (Rekor v2) over an envelope.
    hashedrekord: Vec<TransparencyLogEntry>,
    /// `dsse 0.0.2` (Rekor v2), as if `hashedrekord 0.0.2`.
    dsse: Vec<TransparencyLogEntry>,
    /// `intoto 0.0.1` (Rekor v1, cosign's legacy format alone), as if `intoto 0.0.2`.
    intoto: Vec<TransparencyLogEntry>,
}

impl Apart {
    fn entries(&self) -> impl Iterator<Item = &TransparencyLogEntry> {
        self.hashedrekord.iter().chain(&self.dsse).chain(&self.intoto)
    }
}

/// Every member of every message is known to the reader behind the scan, which refuses all others, case variants too.
const SHAPE: Shape = Shape { name: "bundle", known: &[], opaque: &[] };

/// Whether a layer of this type is what cosign wrote before bundles.
pub fn is_legacy_layer(media_type: &str) -> bool {
    matches!(media_type, legacy::ENVELOPE | legacy::SIMPLE_SIGNING)
}

/// The predicate type that such a layer promises: a hint, never believed.
pub fn legacy_predicate_type(layer: &Descriptor) -> Option<&str> {
    match layer.media_type.as_str() {
        legacy::SIMPLE_SIGNING => Some(predicate_types::SIGNATURE),
        _ => layer.annotations.get(legacy::PREDICATE_TYPE).map(String::as_str),
    }
}

impl Bundle {
    /// Reads a bundle: bounded, one spelling of everything, a known version, exactly one signature, and a statement
    /// as payload where it is an envelope.
    pub fn parse(bytes: &[u8]) -> Result<Self, AttestationError> {
        bounded("bytes", bytes.len(), usize::try_from(limits::BUNDLE).unwrap_or(usize::MAX))?;
        let wire: wire::Bundle = json::parse_small(bytes, &SHAPE)?;
        let Some(version) = BundleVersion::of_media_type(&wire.media_type) else {
            return Err(AttestationError::BundleVersion(wire.media_type));
        };
        let content = match (wire.dsse_envelope, wire.message_signature) {
            (Some(Obj(envelope)), None) => SignatureContent::DsseEnvelope(read_envelope(envelope)?),
            (None, Some(Obj(signature))) => SignatureContent::MessageSignature(read_message_signature(signature)?),
            _ => return Err(malformed("it must have either an envelope or a message signature")),
        };
        Self::new(bytes, version, wire.verification_material.0, content)
    }

    /// Reads one layer of a cosign legacy attestation (`sha256-….att`) or signature (`.sig`): its bytes, and what its
    /// annotations say about them. The certificate chain in the annotations is not looked at: authorities come from
    /// the trust root.
    pub fn from_legacy(
        media_type: &str,
        layer: &[u8],
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, AttestationError> {
        bounded("bytes", layer.len(), usize::try_from(limits::BUNDLE).unwrap_or(usize::MAX))?;
        let material = legacy::material(annotations)?;
        if media_type == legacy::ENVELOPE {
            let envelope = json::parse_small(layer, &legacy::ENVELOPE_SHAPE)?;
            let content = SignatureContent::DsseEnvelope(read_envelope(envelope)?);
            return Self::new(layer, BundleVersion::CosignLegacy, material, content);
        }
        if media_type != legacy::SIMPLE_SIGNING {
            return Err(malformed(format!("layers of type {media_type:?} are not cosign's")));
        }
        let signature = read_message_signature(legacy::signature(annotations)?)?;
        let content = SignatureContent::MessageSignature(signature);
        let bundle = Self::new(layer, BundleVersion::CosignLegacy, material, content)?;
        Ok(Self { simple_signing: Some(layer.to_vec()), ..bundle })
    }

    fn new(
        bytes: &[u8],
        version: BundleVersion,
        material: wire::Material,
        content: SignatureContent,
    ) -> Result<Self, AttestationError> {
        let media_type = match version {
            BundleVersion::CosignLegacy | BundleVersion::V01 => MediaType::Bundle0_1,
            BundleVersion::V02 => MediaType::Bundle0_2,
            BundleVersion::V03 => MediaType::Bundle0_3,
        };
        let (material, apart) = read_material(material, version, matches!(content, SignatureContent::DsseEnvelope(_)))?;
        let inner = sigstore_types::Bundle::new(media_type, material, content);
        let statement = OnceLock::new();
        Ok(Self { digest: Digest::of(bytes), version, inner, apart, simple_signing: None, statement })
    }

    /// The digest of the bundle's bytes as they came.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The version it says it is. Nobody signed that.
    pub fn version(&self) -> BundleVersion {
        self.version
    }

    /// What it offers to verify its signature with.
    pub fn material(&self) -> Material<'_> {
        match &self.inner.verification_material.content {
            VerificationMaterialContent::PublicKey(key) => Material::PublicKey { hint: &key.hint },
            _ => Material::Certificate,
        }
    }

    /// The payload of its envelope: the very bytes that are signed. None for a signature over a blob.
    pub fn payload(&self) -> Option<&[u8]> {
        match &self.inner.content {
            SignatureContent::DsseEnvelope(envelope) => Some(envelope.payload.as_bytes()),
            _ => None,
        }
    }

    /// The signed payload of a legacy signature.
    pub(crate) fn simple_signing(&self) -> Option<&[u8]> {
        self.simple_signing.as_deref()
    }

    /// What its payload says, whoever signed it: to show or to sort by, not to decide by. A legacy signature is read
    /// as the statement that cosign 3 would write. Names and predicate are left out: they are as large as the bundle,
    /// and this is kept for everything that is attached, whoever attached it.
    pub fn unverified_statement(&self) -> Result<Arc<Statement>, AttestationError> {
        let read = || self.read_statement(Statement::parse).map(|statement| Arc::new(statement.head()));
        self.statement.get_or_init(read).clone()
    }

    /// All that its payload says, and no more believed than [`Self::unverified_statement`].
    pub(crate) fn whole_statement(&self) -> Result<Statement, AttestationError> {
        // What breaks a rule has been refused here.
        self.unverified_statement()?;
        self.read_statement(Statement::parse_again)
    }

    fn read_statement(
        &self,
        parse: impl Fn(&[u8]) -> Result<Statement, AttestationError>,
    ) -> Result<Statement, AttestationError> {
        if let Some(payload) = &self.simple_signing {
            return legacy::simple_signing(payload);
        }
        parse(self.payload().ok_or_else(|| malformed("it is a signature over a blob, not an attestation"))?)
    }

    /// Whether it has log entries and each of them carries an inclusion proof with a checkpoint; for tests.
    pub fn has_inclusion_proof(&self) -> bool {
        let proven = |entry: &TransparencyLogEntry| {
            entry.inclusion_proof.as_ref().is_some_and(|proof| !proof.checkpoint.is_empty())
        };
        self.log_entries().next().is_some() && self.log_entries().all(proven)
    }

    /// Every log entry, of whatever kind.
    pub(crate) fn log_entries(&self) -> impl Iterator<Item = &TransparencyLogEntry> {
        self.inner.verification_material.tlog_entries.iter().chain(self.apart.entries())
    }

    /// Entries of kind `hashedrekord 0.0.2` over an envelope, which the library reads for P-256 alone.
    pub(crate) fn hashedrekord_entries(&self) -> &[TransparencyLogEntry] {
        &self.apart.hashedrekord
    }

    /// Entries of kind `dsse 0.0.2`, which the library does not read.
    pub(crate) fn dsse_entries(&self) -> &[TransparencyLogEntry] {
        &self.apart.dsse
    }

    /// Entries of kind `intoto 0.0.1`, which the library does not read. Only the legacy format has them.
    pub(crate) fn intoto_entries(&self) -> &[TransparencyLogEntry] {
        &self.apart.intoto
    }

    /// The bundle in the words of the library that verifies it, without the entries that it
    /// does not read.
    pub(crate) fn sigstore(&self) -> &sigstore_types::Bundle {
        &self.inner
    }
}

fn malformed(reason: impl Into<String>) -> AttestationError {
    AttestationError::Bundle(reason.into())
}

fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), AttestationError> {
    if count > limit {
        return Err(AttestationError::TooMany { what, count, limit });
    }
    Ok(())
}

/// Bytes of one piece of evidence: some, and not too many.
fn piece(what: &'static str, wire::Base64(bytes): wire::Base64, limit: usize) -> Result<Vec<u8>, AttestationError> {
    if bytes.is_empty() {
        return Err(malformed(format!("it has an empty {what}")));
    }
    bounded(what, bytes.len(), limit)?;
    Ok(bytes)
}

fn read_envelope(envelope: wire::Envelope) -> Result<DsseEnvelope, AttestationError> {
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(AttestationError::PayloadType(envelope.payload_type));
    }
    let Few(signatures) = envelope.signatures.unwrap_or_default();
    let count = signatures.len();
    let Ok([Obj(signature)]) = <[_; 1]>::try_from(signatures) else {
        return Err(AttestationError::Signatures(count));
    };
    let bytes = piece("signature", signature.sig, MATERIAL)?;
    let keyid = KeyId::new(signature.keyid.unwrap_or_default());
    let signature = DsseSignature::new(SignatureBytes::new(bytes), keyid);
    Ok(DsseEnvelope::new(PAYLOAD_TYPE, PayloadBytes::new(envelope.payload.0), signature))
}

fn read_message_signature(wire: wire::MessageSignature) -> Result<MessageSignature, AttestationError> {
    let signature = MessageSignature::new(SignatureBytes::new(piece("signature", wire.signature, MATERIAL)?));
    let Some(Obj(digest)) = wire.message_digest else {
        return Ok(signature);
    };
    let (algorithm, size) = match digest.algorithm.as_str() {
        "SHA2_256" => (HashAlgorithm::Sha2256, 32),
        "SHA2_384" => (HashAlgorithm::Sha2384, 48),
        "SHA2_512" => (HashAlgorithm::Sha2512, 64),
        other => return Err(malformed(format!("the digest algorithm {other:?} is not known"))),
    };
    if digest.digest.0.len() != size {
        return Err(malformed("its message digest has not the length of its algorithm"));
    }
    Ok(signature.with_message_digest(MessageDigest::new(algorithm, DigestBytes::new(digest.digest.0))))
}

/// The material, and apart from it the log entries that the library does not read.
fn read_material(
    wire: wire::Material,
    version: BundleVersion,
    is_envelope: bool,
) -> Result<(VerificationMaterial, Apart), AttestationError> {
    let content = match (wire.public_key, wire.x509_certificate_chain, wire.certificate) {
        (Some(Obj(key)), None, None) => {
            bounded("bytes in a key hint", key.hint.len(), MATERIAL)?;
            VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new(key.hint))
        }
        (None, Some(Obj(chain)), None) => read_chain(chain, version)?,
        (None, None, Some(Obj(certificate))) => {
            let der = piece("certificate", certificate.raw_bytes, MATERIAL)?;
            VerificationMaterialContent::Certificate(CertificateContent::new(DerCertificate::new(der)))
        }
        _ => return Err(malformed("it must have exactly one of a certificate, a chain and a key hint")),
    };
    let Few(entries) = wire.tlog_entries.unwrap_or_default();
    let Few(timestamps) = wire.timestamp_verification_data.map(|Obj(data)| data.rfc3161_timestamps).unwrap_or_default();
    let timestamps = timestamps
        .into_iter()
        .map(|Obj(timestamp)| piece("timestamp", timestamp.signed_timestamp, MATERIAL))
        .map(|token| token.map(|token| Rfc3161Timestamp::new(TimestampToken::new(token))))
        .collect::<Result<_, _>>()?;
    let mut read = Vec::new();
    let mut apart = Apart::default();
    for Obj(entry) in entries {
        let kind = &entry.kind_version.0;
        let list = if kind.is("dsse", "0.0.2") {
            &mut apart.dsse
        } else if kind.is("hashedrekord", "0.0.2") && is_envelope {
            &mut apart.hashedrekord
        } else if kind.is("intoto", "0.0.1") && version == BundleVersion::CosignLegacy {
            &mut apart.intoto
        } else {
            &mut read
        };
        list.push(read_log_entry(entry, version)?);
    }
    let material = VerificationMaterial::new(content)
        .with_tlog_entries(read)
        .with_timestamp_verification_data(TimestampVerificationData::new(timestamps));
    Ok((material, apart))
}

fn read_chain(chain: wire::Chain, version: BundleVersion) -> Result<VerificationMaterialContent, AttestationError> {
    if version == BundleVersion::V03 {
        return Err(malformed("a bundle v0.3 carries one certificate, not a chain"));
    }
    let Few(certificates) = chain.certificates;
    if certificates.is_empty() {
        return Err(malformed("its certificate chain is empty"));
    }
    let certificates = certificates
        .into_iter()
        .map(|Obj(certificate)| piece("certificate", certificate.raw_bytes, MATERIAL))
        .map(|der| der.map(|der| X509Certificate::new(DerCertificate::new(der))))
        .collect::<Result<_, _>>()?;
    Ok(VerificationMaterialContent::X509CertificateChain { certificates })
}

fn read_log_entry(wire: wire::LogEntry, format: BundleVersion) -> Result<TransparencyLogEntry, AttestationError> {
    let Obj(wire::KindVersion { kind, version }) = wire.kind_version;
    let kind = match (kind.as_str(), version.as_str()) {
        ("hashedrekord", "0.0.1") => KindVersion::HashedRekordV001,
        ("hashedrekord" | "dsse", "0.0.2") => KindVersion::HashedRekordV002,
        ("dsse", "0.0.1") => KindVersion::DsseV001,
        ("intoto", "0.0.2") => KindVersion::IntotoV002,
        ("intoto", "0.0.1") if format == BundleVersion::CosignLegacy => KindVersion::IntotoV002,
        _ => return Err(malformed(format!("log entries of kind {kind:?} {version:?} are not understood"))),
    };
    let key_id = piece("log id", wire.log_id.0.key_id, MATERIAL)?;
    let mut entry = TransparencyLogEntry::new(
        index(wire.log_index)?,
        LogId::new(LogKeyId::new(key_id)),
        kind,
        CanonicalizedBody::new(piece("log entry body", wire.canonicalized_body, LOG_BODY)?),
    );
    if wire.integrated_time.0 != 0 {
        entry = entry.with_integrated_time(seconds(wire.integrated_time)?);
    }
    if let Some(Obj(promise)) = wire.inclusion_promise {
        let promise = piece("inclusion promise", promise.signed_entry_timestamp, MATERIAL)?;
        entry = entry.with_inclusion_promise(InclusionPromise::new(SignedTimestamp::new(promise)));
    }
    if let Some(Obj(proof)) = wire.inclusion_proof {
        entry = entry.with_inclusion_proof(read_proof(proof)?);
    }
    Ok(entry)
}

fn read_proof(wire: wire::Proof) -> Result<InclusionProof, AttestationError> {
    let hash = |wire::Base64(bytes): wire::Base64| {
        Sha256Hash::try_from(bytes.as_slice()).map_err(|_| malformed("a hash of its inclusion proof is not SHA-256"))
    };
    let checkpoint = wire.checkpoint.map(|Obj(checkpoint)| checkpoint.envelope).unwrap_or_default();
    bounded("bytes in a checkpoint", checkpoint.len(), MATERIAL)?;
    let checkpoint =
        CheckpointData::new(checkpoint).map_err(|error| AttestationError::Checkpoint(error.to_string()))?;
    Ok(InclusionProof::new(
        index(wire.log_index)?,
        hash(wire.root_hash)?,
        wire.tree_size.0,
        wire.hashes.0.into_iter().map(hash).collect::<Result<_, _>>()?,
        checkpoint,
    ))
}

fn index(wire::Int64(value): wire::Int64) -> Result<LogIndex, AttestationError> {
    LogIndex::new(value).map_err(|error| malformed(error.to_string()))
}

fn seconds(wire::Int64(value): wire::Int64) -> Result<jiff::Timestamp, AttestationError> {
    let time = i64::try_from(value).ok().and_then(|value| jiff::Timestamp::from_second(value).ok());
    time.ok_or_else(|| malformed(format!("{value} is not a time")))
}
