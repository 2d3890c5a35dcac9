//! Key pairs: the kinds that sign here. The library beside it makes P-256 signatures alone.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use sigstore_types::DerPublicKey;
use zeroize::Zeroizing;

use super::SignerError;

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

/// A key pair, ready to sign.
pub(super) enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A new key, as PKCS#8.
pub(super) fn generate(kind: KeyKind) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let random = SystemRandom::new();
    let made = match kind {
        KeyKind::EcdsaP256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random),
        KeyKind::EcdsaP384 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random),
        KeyKind::Ed25519 => {
            // Version 1, without the public key: what other programs read.
            let key = Ed25519KeyPair::generate().map_err(|error| failed("make a key", &error))?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|error| failed("make a key", &error))?;
            return Ok(Zeroizing::new(der.as_ref().to_vec()));
        }
    };
    made.map(|pkcs8| Zeroizing::new(pkcs8.as_ref().to_vec())).map_err(|error| failed("make a key", &error))
}

impl Pair {
    /// Reads PKCS#8.
    pub(super) fn read(pkcs8: &[u8]) -> Result<Self, SignerError> {
        for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8) {
                return Ok(Self::Ecdsa(pair));
            }
        }
        Ed25519KeyPair::from_pkcs8(pkcs8).map(Self::Ed25519).map_err(|error| {
            SignerError::KeyFile(format!("only ECDSA P-256, P-384 and Ed25519 keys in PKCS#8 can sign ({error})"))
        })
    }

    /// The public key.
    pub(super) fn public(&self) -> Result<DerPublicKey, SignerError> {
        let der = match self {
            Self::Ecdsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
            Self::Ed25519(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()),
        };
        der.map(|der| DerPublicKey::new(der.as_ref().to_vec())).map_err(|error| failed("derive the public key", &error))
    }

    /// Signs a message, with the hash that goes with the key.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        match self {
            Self::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|error| failed("sign", &error))?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

fn failed(action: &'static str, error: &dyn std::fmt::Display) -> SignerError {
    SignerError::Crypto { action, reason: error.to_string() }
}
