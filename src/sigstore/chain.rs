//! The certificates that a trusted root lists for one authority, held against each other: the library takes each of
//! them as an anchor, whatever it says of itself.

use rustls_pki_types::CertificateDer;
use sigstore_crypto::WEBPKI_VERIFICATION_ALGS;
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Checks the chain of a certificate authority, the issuer of signers' certificates first.
pub(super) fn check_certificate_authority(chain: &[&[u8]]) -> Result<(), String> {
    let certificates = read(chain)?;
    check_issuers(&certificates, CODE_SIGNING)?;
    check_links(chain, &certificates)
}

/// Checks the chain of a timestamp authority, the certificate that signs timestamps first. Its usage must be critical,
/// and the only one (RFC 3161, section 2.3).
pub(super) fn check_timestamp_authority(chain: &[&[u8]]) -> Result<(), String> {
    let certificates = read(chain)?;
    let [leaf, issuers @ ..] = certificates.as_slice() else {
        return Err("it has no certificate".to_owned());
    };
    let usage = leaf.tbs_certificate.get::<ExtendedKeyUsage>().map_err(|error| error.to_string())?;
    match usage {
        Some((true, ExtendedKeyUsage(usages))) if usages == [TIME_STAMPING] => {}
        Some((false, _)) => return Err("the extended key usage of its certificate is not critical".to_owned()),
        _ => return Err("its certificate is not one for timestamps alone".to_owned()),
    }
    check_issuers(issuers, TIME_STAMPING)?;
    check_links(chain, &certificates)
}

fn read(chain: &[&[u8]]) -> Result<Vec<Certificate>, String> {
    if chain.is_empty() {
        return Err("it has no certificate".to_owned());
    }
    chain.iter().map(|der| Certificate::from_der(der).map_err(|error| error.to_string())).collect()
}

/// Each may issue certificates, over as many others as stand below it, for this purpose (RFC 5280, sections 4.2.1.3,
/// 4.2.1.9 and 4.2.1.12).
fn check_issuers(issuers: &[Certificate], purpose: ObjectIdentifier) -> Result<(), String> {
    let unreadable = |error: x509_cert::der::Error| error.to_string();
    for (below, issuer) in issuers.iter().enumerate() {
        let issuer = &issuer.tbs_certificate;
        let refused = |why: &str| Err(format!("its certificate {:?} {why}", issuer.subject.to_string()));
        match issuer.get::<BasicConstraints>().map_err(unreadable)? {
            Some((_, constraints)) if constraints.ca => {
                if constraints.path_len_constraint.is_some_and(|limit| usize::from(limit) < below) {
                    return refused("has more authorities below it than it allows");
                }
            }
            _ => return refused("is not that of an authority"),
        }
        if issuer.get::<KeyUsage>().map_err(unreadable)?.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
            return refused("may not issue certificates");
        }
        let usage = issuer.get::<ExtendedKeyUsage>().map_err(unreadable)?;
        if usage.is_some_and(|(_, usage)| !usage.0.iter().any(|usage| *usage == purpose || *usage == ANY_USAGE)) {
            return refused("is for another purpose");
        }
    }
    Ok(())
}

/// Each is signed by the next.
fn check_links(chain: &[&[u8]], certificates: &[Certificate]) -> Result<(), String> {
    for (certificates, chain) in certificates.windows(2).zip(chain.windows(2)) {
        let ([certificate, issuer], [signed, key]) = (certificates, chain) else { continue };
        let named = certificate.tbs_certificate.issuer == issuer.tbs_certificate.subject;
        if !named || !is_signed_by(certificate, signed, key).unwrap_or(false) {
            let subject = certificate.tbs_certificate.subject.to_string();
            return Err(format!("its certificate {subject:?} is not signed by the one listed after it"));
        }
    }
    Ok(())
}

/// Verifies the signature over the bytes as they came.
fn is_signed_by(certificate: &Certificate, der: &[u8], issuer: &[u8]) -> Result<bool, x509_cert::der::Error> {
    let signed = SliceReader::new(der)?.sequence(|reader| {
        let signed = reader.tlv_bytes()?;
        reader.tlv_bytes()?;
        reader.tlv_bytes()?;
        Ok(signed)
    })?;
    // What identifies an algorithm to the path library is the inside of the sequence.
    let algorithm = certificate.signature_algorithm.to_der()?;
    let algorithm = SliceReader::new(&algorithm)?.sequence(|reader| reader.read_slice(reader.remaining_len()))?;
    let issuer = CertificateDer::from(issuer);
    let Ok(issuer) = EndEntityCert::try_from(&issuer) else { return Ok(false) };
    let signature = certificate.signature.raw_bytes();
    let mut fitting = WEBPKI_VERIFICATION_ALGS.iter().filter(|known| known.signature_alg_id().as_ref() == algorithm);
    Ok(fitting.any(|known| issuer.verify_signature(*known, signed, signature).is_ok()))
}

#[cfg(test)]
mod tests {
    use sigstore_trust_root::{SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};

    use super::*;

    /// The chain of the newest authority, and of the timestamp authority, of an embedded root.
    fn chains(json: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let root: TrustedRoot = serde_json::from_str(json).unwrap();
        let issuers = &root.certificate_authorities.last().unwrap().cert_chain.certificates;
        let stampers = &root.timestamp_authorities.last().unwrap().cert_chain.certificates;
        (
            issuers.iter().map(|certificate| certificate.raw_bytes.as_bytes().to_vec()).collect(),
            stampers.iter().map(|certificate| certificate.raw_bytes.as_bytes().to_vec()).collect(),
        )
    }

    fn slices(chain: &[Vec<u8>]) -> Vec<&[u8]> {
        chain.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn real_authorities_are_what_they_say() {
        for json in [SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_GITHUB_TRUSTED_ROOT] {
            let (issuers, stampers) = chains(json);
            check_certificate_authority(&slices(&issuers)).unwrap();
            check_timestamp_authority(&slices(&stampers)).unwrap();
        }
    }

    #[test]
    fn g11_a_certificate_that_the_next_did_not_sign_is_refused() {
        let (mut issuers, mut stampers) = chains(SIGSTORE_GITHUB_TRUSTED_ROOT);
        let foreign = chains(SIGSTORE_PRODUCTION_TRUSTED_ROOT);
        issuers.swap(1, 2);
        assert!(check_certificate_authority(&slices(&issuers)).is_err());
        issuers.swap(1, 2);
        *issuers[0].last_mut().unwrap() ^= 1;
        assert!(check_certificate_authority(&slices(&issuers)).unwrap_err().contains("is not signed by"));
        stampers[1] = foreign.1[1].clone();
        stampers.truncate(2);
        assert!(check_timestamp_authority(&slices(&stampers)).unwrap_err().contains("is not signed by"));
    }

    #[test]
    fn g14_chains_of_another_purpose_are_refused() {
        for json in [SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_GITHUB_TRUSTED_ROOT] {
            let (issuers, stampers) = chains(json);
            assert!(check_certificate_authority(&slices(&stampers)).is_err());
            assert!(check_timestamp_authority(&slices(&issuers)).is_err());
        }
        let (_, stampers) = chains(SIGSTORE_GITHUB_TRUSTED_ROOT);
        let error = check_certificate_authority(&slices(&stampers[1..])).unwrap_err();
        assert!(error.contains("is for another purpose"), "{error}");
    }

    #[test]
    fn g16_empty_chains_are_refused() {
        assert!(check_certificate_authority(&[]).is_err());
        assert!(check_timestamp_authority(&[]).is_err());
    }
}
