//! Private keys of everybody in the play.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use sha2::{Digest as _, Sha256};

use super::der;

/// What a key is and how it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// ECDSA on P-384 with SHA-384.
    P384,
    /// ECDSA on P-521 with SHA-512: no part of Sigstore's profile.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA, 2048 bits, PKCS #1 v1.5 with SHA-256.
    Rsa2048,
    /// RSA, 1024 bits. No library makes one: the modulus is arbitrary and so are its signatures.
    Rsa1024,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    None,
}

/// A key pair; clones share the private half.
#[derive(Clone)]
pub struct Key {
    /// What it is.
    pub algorithm: Algorithm,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    pair: Arc<Pair>,
}

impl Key {
    /// A fresh P-256 key, as nearly everybody in Sigstore has.
    pub fn p256() -> Self {
        Self::generate(Algorithm::P256)
    }

    /// A fresh key.
    pub fn generate(algorithm: Algorithm) -> Self {
        let ecdsa = |signing, curve| {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            let identifier = der::seq([der::oid("1.2.840.10045.2.1"), der::oid(curve)]);
            (spki(identifier, pair.public_key().as_ref()), Pair::Ecdsa(pair))
        };
        let (spki, pair) = match algorithm {
            Algorithm::P256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, "1.2.840.10045.3.1.7"),
            Algorithm::P384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, "1.3.132.0.34"),
            Algorithm::P521 => ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, "1.3.132.0.35"),
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate().unwrap();
                (spki(der::seq([der::oid("1.3.101.112")]), pair.public_key().as_ref()), Pair::Ed25519(pair))
            }
            Algorithm::Rsa2048 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let parts: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
                (rsa_spki(&parts.n, &parts.e), Pair::Rsa(pair))
            }
            Algorithm::Rsa1024 => {
                let mut modulus: Vec<u8> = (0..4_u8).flat_map(|index| Sha256::digest([index])).collect();
                modulus[0] |= 0x80;
                modulus[127] |= 1;
                (rsa_spki(&modulus, &[1, 0, 1]), Pair::None)
            }
        };
        Self { algorithm, spki, pair: Arc::new(pair) }
    }

    /// Signs a message with the algorithm's own hash; ECDSA in DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::None => vec![0x5a; 128],
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.spki).into()
    }

    /// The public half as PEM.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki)
    }

    /// AlgorithmIdentifier of the signatures this key makes.
    pub fn signature_algorithm(&self) -> Vec<u8> {
        match self.algorithm {
            Algorithm::P256 => der::seq([der::oid("1.2.840.10045.4.3.2")]),
            Algorithm::P384 => der::seq([der::oid("1.2.840.10045.4.3.3")]),
            Algorithm::P521 => der::seq([der::oid("1.2.840.10045.4.3.4")]),
            Algorithm::Ed25519 => der::seq([der::oid("1.3.101.112")]),
            Algorithm::Rsa2048 | Algorithm::Rsa1024 => der::seq([der::oid("1.2.840.113549.1.1.11"), der::null()]),
        }
    }

    /// The name of protobuf-specs' `PublicKeyDetails`.
    pub fn details(&self) -> &'static str {
        match self.algorithm {
            Algorithm::P256 => "PKIX_ECDSA_P256_SHA_256",
            Algorithm::P384 => "PKIX_ECDSA_P384_SHA_384",
            Algorithm::P521 => "PKIX_ECDSA_P521_SHA_512",
            Algorithm::Ed25519 => "PKIX_ED25519",
            Algorithm::Rsa2048 | Algorithm::Rsa1024 => "PKIX_RSA_PKCS1V15_2048_SHA256",
        }
    }
}

/// A P-256 signature as the bare pair of numbers (IEEE P1363), which is not what Sigstore carries.
pub fn fixed_width_signature(der_signature: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 2;
    for _ in 0..2 {
        let length = der_signature[at + 1] as usize;
        let number = &der_signature[at + 2..at + 2 + length];
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend(number);
        at += 2 + length;
    }
    out
}

/// PEM with 64 columns and a final newline.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn spki(identifier: Vec<u8>, public: &[u8]) -> Vec<u8> {
    der::seq([identifier, der::bits(public)])
}

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let identifier = der::seq([der::oid("1.2.840.113549.1.1.1"), der::null()]);
    spki(identifier, &der::seq([der::integer(modulus), der::integer(exponent)]))
}
