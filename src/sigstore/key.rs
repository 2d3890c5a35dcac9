//! Public keys that a policy names: the whole of the trust in a signature made with a key.

use sigstore_crypto::{KeyAlgorithm, SigningScheme, VerificationKey, validate_raw_public_key};
use sigstore_types::{DerPublicKey, SignatureBytes};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::rejection::Rejection;
use crate::class::{Class, Classified};
use crate::content::{Digest, limits};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A key that verifies: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 bits and more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    der: DerPublicKey,
    algorithm: KeyAlgorithm,
}

/// A key file that is not a public key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a public key that can be used: {0}")]
pub struct KeyError(String);

impl Classified for KeyError {
    fn class(&self) -> Class {
        Class::Policy
    }
    fn code(&self) -> &'static str {
        "unusable-key"
    }
}

impl PublicKey {
    /// Reads one PEM block `PUBLIC KEY` (RFC 7468, section 13) with nothing around it but white space.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() as u64 > limits::KEY {
            return Err(KeyError("it is too large".to_owned()));
        }
        let text = pem.trim();
        if text.contains("PRIVATE KEY") {
            return Err(KeyError("it is a private key; give the public one".to_owned()));
        }
        if !text.starts_with(BEGIN) || !text.ends_with(END) || text.matches("-----BEGIN").count() != 1 {
            return Err(KeyError(format!("it must be exactly one PEM block that begins with {BEGIN}")));
        }
        let der = DerPublicKey::from_pem(text).map_err(|error| KeyError(error.to_string()))?;
        Self::from_spki(der)
    }

    fn from_spki(der: DerPublicKey) -> Result<Self, KeyError> {
        let reason = |error: sigstore_crypto::Error| KeyError(error.to_string());
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(reason)?;
        use KeyAlgorithm::{EcdsaP256, EcdsaP384, Ed25519, Rsa};
        if !matches!(algorithm, EcdsaP256 | EcdsaP384 | Ed25519 | Rsa) {
            return Err(KeyError(format!("{algorithm:?} keys are not supported: use ECDSA P-256")));
        }
        let key = VerificationKey::from_spki(&der).map_err(reason)?;
        validate_raw_public_key(algorithm.default_signing_scheme(), key.as_bytes()).map_err(reason)?;
        Ok(Self { der, algorithm })
    }

    /// The key of a certificate, where it is one that verifies.
    pub(super) fn of_certificate(der: &[u8]) -> Result<Self, Rejection> {
        let spki = Certificate::from_der(der)
            .and_then(|certificate| certificate.tbs_certificate.subject_public_key_info.to_der())
            .map_err(|error| refuse("malformed-certificate", &error))?;
        Self::from_spki(DerPublicKey::new(spki)).map_err(|KeyError(reason)| refuse("unusable-key", &reason))
    }

    /// SHA-256 of the key as SubjectPublicKeyInfo DER: how keys are named in reports.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.der.as_bytes())
    }

    /// The key as PEM, with plain line ends.
    pub fn to_pem(&self) -> String {
        self.der.to_pem().replace("\r\n", "\n")
    }

    pub(super) fn der(&self) -> &DerPublicKey {
        &self.der
    }

    /// Whether this is what Sigstore calls such a key, with the hash that goes with it (protobuf-specs,
    /// sigstore_common.proto, `PublicKeyDetails`).
    pub(super) fn is_called(&self, details: &str) -> bool {
        let names: &[&str] = match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &["PKIX_ECDSA_P256_SHA_256"],
            KeyAlgorithm::EcdsaP384 => &["PKIX_ECDSA_P384_SHA_384"],
            KeyAlgorithm::Ed25519 => &["PKIX_ED25519"],
            KeyAlgorithm::Rsa => {
                &["PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_3072_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256"]
            }
            _ => &[],
        };
        names.contains(&details)
    }

    /// Sigstore's name of the hash that is signed (`HashAlgorithm`). Ed25519 signs content, no hash of it.
    pub(super) fn hash_name(&self) -> Option<&'static str> {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::Rsa => Some("SHA2_256"),
            KeyAlgorithm::EcdsaP384 => Some("SHA2_384"),
            _ => None,
        }
    }

    /// Whether this key made this signature over these bytes. On P-384 both hashes in use are tried: SHA-384, and
    /// SHA-256 as older cosign has it.
    pub(super) fn verifies(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        let with = |scheme: SigningScheme| {
            VerificationKey::from_spki_with_scheme(&self.der, scheme)
                .is_ok_and(|key| key.verify(message, signature).is_ok())
        };
        with(self.algorithm.default_signing_scheme())
            || (self.algorithm == KeyAlgorithm::EcdsaP384 && with(SigningScheme::EcdsaP384Sha256))
    }
}

fn refuse(code: &'static str, reason: &dyn std::fmt::Display) -> Rejection {
    Rejection::new(Class::Trust, code, format!("the signer's certificate is not acceptable: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = include_str!("../../testdata/attestation/key.pub");
    const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEGNsYUgedfr767A++P3zyOr/oMeVW9Lto
hzBRHSBmtzVDUpXdGC7BFF92dkszK9F3cRz463vKPYofEnyTmU+EOWoQxUglccR1
x8cmNsW+2H2hn3SqS4x1vgZzMMr3g7+j
-----END PUBLIC KEY-----
";
    const SIGNER: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEruSBCJRnnNkzu17jdcAfAlV9SqcD+dxA
OcthUUnW8isOY+gtmXR3u34cpQnfk9ej1gQdhBjif7Bh/q5WObzlDrLiPDdsSvMd
vJZx1YkP3p5/P7xC5WRMSGn+9sNDBkeH
-----END PUBLIC KEY-----
";
    const BY_SHA256: &str = "MGYCMQDFBi6z+4KpMr3T1mXa6NjuMbs6bi9LEDGndQgpZXK+gZsy9K3cpIsD542s0whgzAUCMQDwwsczzm6DgQC7YvwbHsdxNSfpONPesZe4M8lMq1dm5tnGFjpffxrStD8TrBBsg+Q=";
    const BY_SHA384: &str = "MGUCMQCaAKRn5Mj4mL8AgRwFLE4xF5179kb3vDUsQ7Jy9rluFMPHtIV7hboBohdkFiL4/fECMDpbZoSTSoGBPY0qFdL7szzFUu58LD+DOzBVrkmRBOsG1rzm2nuty4F3S+6teLgY5Q==";
    const BY_SHA512: &str = "MGUCMQDjbgJdmuyjVMa0QfrZkn2vYvc69s1V2OxX8+aJt0OReyQ3eGmZFmIqHNPjdRyomqwCMCqewEYIVDD9znlOVIjloaC++uxG1QNs5h6YA8Cp/rX0XywnDxMvQhDtuW5Q7XbUdA==";
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEASb6OUIM68+fgBBWPnJe37E9lOiRa0O11BKSTgt12FUU=
-----END PUBLIC KEY-----
";
    const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDmoAaXMqflSJJWSkWHhzy+h+Kj
sUUCAw/zKFMaHukvUXxjiPiNMLR6RGmTPDAYScA6/1Zj8VEuDYwHt7of66QPBxJj
OnB41sH+92EWQCt4cEZPegV3xlHSpFhpMIFJ3Yz8ExL5jBUxM2TztirUucPmMJ8s
LrgUaonkTxafnEgJ3QIDAQAB
-----END PUBLIC KEY-----
";
    const P521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBFaw/bl7gl0XlnnEO9Y6OvlR+CD2Q
DI+9kOgwHneNeq7TBb7+w2eBB1GheC+PZAMvGuoBjs36mi2AbiqIHfbL6OIA4Bbz
sLWly8kgajxqXvxnfDSOrpbLLsx5QUiehu3kOiogOgDpUvV5ig1sxEsL5ZIDYGeM
w0M7oOt4efiegXZsx0g=
-----END PUBLIC KEY-----
";

    fn refused(pem: &str) {
        assert!(PublicKey::from_pem(pem).is_err(), "{pem}");
    }

    #[test]
    fn reads_the_keys_that_are_in_use() {
        for pem in [P256, P384, ED25519] {
            let key = PublicKey::from_pem(pem).unwrap();
            assert_eq!(key.to_pem(), pem);
            assert_eq!(PublicKey::from_pem(&pem.replace('\n', "\r\n")).unwrap(), key);
            assert_eq!(key.fingerprint(), Digest::of(key.der().as_bytes()));
        }
    }

    /// Over `hello`, made with openssl and a key that is gone.
    #[test]
    fn g15_a_p384_key_signs_sha384_or_sha256_and_nothing_else() {
        let key = PublicKey::from_pem(SIGNER).unwrap();
        let verifies = |key: &PublicKey, signature: &str, text: &str| {
            key.verifies(text.as_bytes(), &SignatureBytes::from_base64(signature).unwrap())
        };
        for signature in [BY_SHA256, BY_SHA384] {
            assert!(verifies(&key, signature, "hello"));
            assert!(!verifies(&key, signature, "hello "));
            assert!(!verifies(&PublicKey::from_pem(P384).unwrap(), signature, "hello"));
            assert!(!verifies(&PublicKey::from_pem(P256).unwrap(), signature, "hello"));
        }
        assert!(!verifies(&key, BY_SHA512, "hello"));
    }

    #[test]
    fn g15_refuses_weak_and_odd_keys() {
        refused(RSA_1024);
        refused(P521);
    }

    #[test]
    fn refuses_what_is_not_one_public_key() {
        refused("");
        refused("hello");
        refused(&format!("{P256}{P384}"));
        refused(&format!("{P256}x"));
        refused(&format!("x{P256}"));
        refused(&P256.replace("PUBLIC KEY", "PRIVATE KEY"));
        refused(&P256.replace("PUBLIC KEY", "CERTIFICATE"));
        refused(&P256.replacen("MFkw", "MFkx", 1));
        refused(include_str!("../../testdata/attestation/cosign.key"));
        let room = usize::try_from(limits::KEY).unwrap() - P256.len();
        assert!(PublicKey::from_pem(&format!("{P256}{}", " ".repeat(room))).is_ok());
        let error = PublicKey::from_pem(&format!("{P256}{}", " ".repeat(room + 1))).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Policy, "unusable-key"));
    }
}
