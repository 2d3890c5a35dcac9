//! Private keys at rest, as cosign keeps them: PEM around JSON around a box that a passphrase opens (sigstore,
//! pkg/cryptoutils; go-securesystemslib, encrypted).
//!
//! Key derivation costs memory, and the file says how much: only the three costs that exist are taken.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::SignerError;
use crate::content::limits;
use crate::json::{self, Obj, Shape};

const SIGSTORE: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
const COSIGN: &str = "ENCRYPTED COSIGN PRIVATE KEY";
const PLAIN: &str = "PRIVATE KEY";

const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
const SALT: usize = 32;
const NONCE: usize = 24;
/// log2 of scrypt's cost, written: 64 MiB. It is what cosign writes since 2.
const LOG_COST: u8 = 16;
/// log2 of every cost that writers of this format use; the last one takes 128 MiB.
const LOG_COSTS: [u8; 3] = [15, LOG_COST, 17];
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;

#[derive(Deserialize)]
struct Sealed {
    kdf: Obj<Kdf>,
    cipher: Obj<Cipher>,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Obj<Params>,
    salt: String,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

const SHAPE: Shape = Shape {
    name: "encrypted private key",
    known: &["kdf", "cipher", "ciphertext", "name", "params", "salt", "nonce", "N", "r", "p"],
    opaque: &[],
};

/// The PKCS#8 DER in a key file.
pub(super) fn open(pem: &str, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    if pem.len() as u64 > limits::KEY {
        return Err(unusable("it is too large"));
    }
    let (label, body) = unwrap(pem)?;
    match label {
        PLAIN => Ok(body),
        SIGSTORE | COSIGN => unseal(&body, passphrase),
        "EC PRIVATE KEY" => Err(unusable("it is in SEC1 form; convert it with `openssl pkcs8 -topk8 -nocrypt`")),
        other => Err(unusable(&format!("PEM blocks of type {other:?} are not read"))),
    }
}

/// Whether the file's PEM label says that a passphrase is needed.
pub(super) fn is_encrypted(pem: &str) -> bool {
    matches!(unwrap(pem), Ok((SIGSTORE | COSIGN, _)))
}

/// The file for this PKCS#8 DER.
pub(super) fn seal(pkcs8: &[u8], passphrase: &[u8]) -> Result<String, SignerError> {
    let mut salt = [0_u8; SALT];
    let mut nonce = [0_u8; NONCE];
    for bytes in [&mut salt[..], &mut nonce[..]] {
        rand::fill(bytes).map_err(|_| crypto("the system gave no random bytes"))?;
    }
    let key = derive(passphrase, &salt, LOG_COST)?;
    let ciphertext = XSalsa20Poly1305::new(key.as_slice().into())
        .encrypt(Nonce::from_slice(&nonce), pkcs8)
        .map_err(|_| crypto("the box could not be closed"))?;
    let sealed = json!({
        "kdf": {
            "name": KDF,
            "params": {"N": 1_u64 << LOG_COST, "r": BLOCK_SIZE, "p": PARALLELISM},
            "salt": STANDARD.encode(salt),
        },
        "cipher": {"name": CIPHER, "nonce": STANDARD.encode(nonce)},
        "ciphertext": STANDARD.encode(ciphertext),
    });
    Ok(wrap(sealed.to_string().as_bytes()))
}

fn unseal(json: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let sealed: Sealed = json::parse(json, &SHAPE).map_err(|error| unusable(&error.to_string()))?;
    let Obj(kdf) = sealed.kdf;
    let Obj(cipher) = sealed.cipher;
    if kdf.name != KDF || cipher.name != CIPHER {
        return Err(unusable(&format!("it is locked with {:?} and {:?}, which are not known", kdf.name, cipher.name)));
    }
    let Obj(params) = kdf.params;
    let known = |log_cost: &u8| params == Params { n: 1 << *log_cost, r: BLOCK_SIZE, p: PARALLELISM };
    let Some(log_cost) = LOG_COSTS.into_iter().find(known) else {
        return Err(unusable("it asks for a key derivation that no known program uses"));
    };
    let salt = decode(&kdf.salt)?;
    let nonce = decode(&cipher.nonce)?;
    if salt.len() != SALT || nonce.len() != NONCE {
        return Err(unusable("its salt or nonce has another length than the format's"));
    }
    let key = derive(passphrase, &salt, log_cost)?;
    let opened = XSalsa20Poly1305::new(key.as_slice().into())
        .decrypt(Nonce::from_slice(&nonce), decode(&sealed.ciphertext)?.as_slice());
    opened.map(Zeroizing::new).map_err(|_| SignerError::Passphrase)
}

fn derive(passphrase: &[u8], salt: &[u8], log_cost: u8) -> Result<Zeroizing<[u8; 32]>, SignerError> {
    let params =
        scrypt::Params::new(log_cost, BLOCK_SIZE, PARALLELISM, 32).map_err(|error| crypto(&error.to_string()))?;
    let mut key = Zeroizing::new([0_u8; 32]);
    scrypt::scrypt(passphrase, salt, &params, key.as_mut_slice()).map_err(|error| crypto(&error.to_string()))?;
    Ok(key)
}

/// The one PEM block of a file (RFC 7468): its label and what it holds.
fn unwrap(pem: &str) -> Result<(&str, Zeroizing<Vec<u8>>), SignerError> {
    let broken = || unusable("it must be exactly one PEM block");
    let rest = pem.trim().strip_prefix("-----BEGIN ").ok_or_else(broken)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(broken)?;
    let body = rest.strip_suffix("-----").and_then(|rest| rest.strip_suffix(label)).ok_or_else(broken)?;
    let body = body.strip_suffix("-----END ").ok_or_else(broken)?;
    let text: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| broken())?;
    Ok((label, Zeroizing::new(bytes)))
}

fn wrap(json: &[u8]) -> String {
    let text = STANDARD.encode(json);
    let mut pem = format!("-----BEGIN {SIGSTORE}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {SIGSTORE}-----\n"));
    pem
}

fn decode(text: &str) -> Result<Vec<u8>, SignerError> {
    STANDARD.decode(text).map_err(|_| unusable("a part of it is not base64"))
}

fn unusable(reason: &str) -> SignerError {
    SignerError::KeyFile(reason.to_owned())
}

fn crypto(reason: &str) -> SignerError {
    SignerError::Crypto { action: "lock or unlock the key", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSIGNS: &str = include_str!("../../../testdata/attestation/made-by-cosign.key");
    const PASSPHRASE: &[u8] = b"a passphrase for tests";

    fn refused(pem: &str) -> String {
        match open(pem, PASSPHRASE) {
            Ok(_) => panic!("opened {pem}"),
            Err(error) => error.to_string(),
        }
    }

    /// cosign's file with its JSON changed.
    fn changed(from: &str, to: &str) -> String {
        let (_, json) = unwrap(COSIGNS).unwrap();
        let json = String::from_utf8(json.to_vec()).unwrap();
        assert!(json.contains(from), "{json}");
        wrap(json.replacen(from, to, 1).as_bytes())
    }

    #[test]
    fn a_box_opens_with_its_passphrase_alone() {
        let pem = seal(b"secret", b"").unwrap();
        assert!(is_encrypted(&pem) && !pem.contains("secret"));
        assert_eq!(open(&pem, b"").unwrap().as_slice(), b"secret");
        assert!(matches!(open(&pem, b"x"), Err(SignerError::Passphrase)));
        assert_ne!(seal(b"secret", b"").unwrap(), pem, "salt and nonce must be fresh");
    }

    #[test]
    fn costs_that_no_program_writes_are_refused_before_they_are_paid() {
        for (from, to) in [
            ("\"N\":65536", "\"N\":1073741824"),
            ("\"N\":65536", "\"N\":2"),
            ("\"N\":65536", "\"N\":65537"),
            ("\"N\":65536", "\"N\":-1"),
            ("\"r\":8", "\"r\":4294967295"),
            ("\"p\":1", "\"p\":1000000"),
            ("\"scrypt\"", "\"argon2\""),
            ("nacl/secretbox", "none"),
            ("\"N\":65536", "\"N\":65536,\"N\":32768"),
            ("\"salt\":\"", "\"salt\":\"AAAA"),
            ("\"nonce\":\"", "\"nonce\":\"AAAA"),
        ] {
            refused(&changed(from, to));
        }
        // Another cost that exists is another key, and therefore the wrong one.
        let other = changed("\"N\":65536", "\"N\":32768");
        assert!(matches!(open(&other, PASSPHRASE), Err(SignerError::Passphrase)));
    }

    #[test]
    fn plain_pkcs8_is_read_and_other_blocks_are_named() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        assert_eq!(open(&block("PRIVATE KEY"), b"").unwrap().as_slice(), [0, 0, 0]);
        assert!(!is_encrypted(&block("PRIVATE KEY")));
        assert!(refused(&block("EC PRIVATE KEY")).contains("SEC1"));
        assert!(refused(&block("PUBLIC KEY")).contains("PUBLIC KEY"));
        let two = block("PRIVATE KEY").repeat(2);
        for bad in ["", "hello", "-----BEGIN ", "-----BEGIN x-----", "-----BEGIN x-----\n-----END y-----", &two] {
            refused(bad);
        }
    }
}
