//! What the library leaves to us of a timestamp: the signed attributes that say what was signed, and with which
//! certificate (RFC 5652, section 11; RFC 5816). It verifies signature, digest, imprint, signer and chain.

use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use x509_cert::attr::Attributes;
use x509_cert::der::asn1::{Any, OctetStringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::rejection::Rejection;
use super::root::TrustRoot;
use crate::attestation::bundle::Bundle;
use crate::class::Class;

const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// Checks every timestamp of a bundle, after the library has verified it: it is of a timestamp's content, and the
/// certificate that it names, where it names one with a hash that counts, is an authority's of the root.
pub(super) fn check_all(bundle: &Bundle, root: &TrustRoot) -> Result<(), Rejection> {
    let invalid = |reason: &str| Rejection::new(Class::Time, "invalid-timestamp", format!("the timestamp {reason}"));
    for stamp in &bundle.sigstore().verification_material.timestamp_verification_data.rfc3161_timestamps {
        let data = read(stamp.signed_timestamp.as_bytes()).map_err(|error| invalid(&error.to_string()))?;
        for attributes in data.signer_infos.0.iter().filter_map(|signer| signer.signed_attrs.as_ref()) {
            let content_type = only(attributes, CONTENT_TYPE).and_then(|value| value.decode_as().ok());
            if content_type != Some(TST_INFO) {
                return Err(invalid("is signed as something else"));
            }
            if !attributes.iter().any(|attribute| attribute.oid == SIGNING_CERTIFICATE_V2) {
                continue;
            }
            let named = only(attributes, SIGNING_CERTIFICATE_V2).and_then(|value| named_certificate(value).ok());
            let Some((algorithm, hash)) = named else {
                return Err(invalid("names its certificate in a way that cannot be read"));
            };
            if !root.time_stampers().any(|certificate| digest(algorithm, certificate).as_ref() == Some(&hash)) {
                return Err(invalid("names another certificate than its authority's"));
            }
        }
    }
    Ok(())
}

/// A token, bare or in the authority's answer (RFC 3161, section 2.4.2).
fn read(token: &[u8]) -> Result<SignedData, x509_cert::der::Error> {
    let content = match ContentInfo::from_der(token) {
        Ok(content) => content,
        Err(_) => SliceReader::new(token)?.sequence(|answer| {
            answer.tlv_bytes()?;
            ContentInfo::decode(answer)
        })?,
    };
    content.content.decode_as()
}

/// The one value of the one attribute of this kind.
fn only(attributes: &Attributes, kind: ObjectIdentifier) -> Option<&Any> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == kind);
    let (Some(attribute), None) = (found.next(), found.next()) else { return None };
    match attribute.values.len() {
        1 => attribute.values.get(0),
        _ => None,
    }
}

/// Hash algorithm and hash of the first certificate named, which is the signer's (RFC 5035, section 3).
fn named_certificate(value: &Any) -> Result<(ObjectIdentifier, Vec<u8>), x509_cert::der::Error> {
    let value = value.to_der()?;
    SliceReader::new(&value)?.sequence(|list| {
        let named = list.sequence(|certificates| {
            let first = certificates.sequence(|certificate| {
                let algorithm = match certificate.peek_tag()? {
                    Tag::Sequence => AlgorithmIdentifierRef::decode(certificate)?.oid,
                    _ => SHA256,
                };
                let hash = OctetStringRef::decode(certificate)?.as_bytes().to_vec();
                certificate.read_slice(certificate.remaining_len())?;
                Ok((algorithm, hash))
            })?;
            certificates.read_slice(certificates.remaining_len())?;
            Ok(first)
        })?;
        list.read_slice(list.remaining_len())?;
        Ok(named)
    })
}

fn digest(algorithm: ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        SHA256 => Some(sigstore_crypto::sha256(bytes).as_bytes().to_vec()),
        SHA384 => Some(sigstore_crypto::sha384(bytes).as_bytes().to_vec()),
        SHA512 => Some(sigstore_crypto::sha512(bytes).as_bytes().to_vec()),
        _ => None,
    }
}
