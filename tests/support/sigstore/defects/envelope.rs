//! Signatures, payloads and keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::log::Style;
use super::{Case, OTHER_SUBJECT, PREDICATE, Trust, attest, keyless, payload, signer};
use crate::support::sigstore::key::{Algorithm, Key, fixed_width_signature};
use crate::support::sigstore::{Attest, IN_TOTO, Sigstore, pae, statement};

/// The order of P-256's group.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The signature is replaced before everything else is made from it.
fn resigned(edit: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Case {
    keyless(|bundle| {
        bundle.with(|bundle| {
            let signature = bundle.key.sign(&pae(IN_TOTO, &bundle.payload));
            bundle.signature = Some(edit(signature));
        })
    })
}

/// DER of two numbers, as they come.
fn der_pair(r: &[u8], s: &[u8]) -> Vec<u8> {
    use crate::support::sigstore::der;
    der::seq([der::tlv(2, r), der::tlv(2, s)])
}

/// One bit of the signature is another.
pub fn signature_with_a_flipped_bit() -> Case {
    resigned(|mut signature| {
        *signature.last_mut().unwrap() ^= 1;
        signature
    })
}

/// Somebody else's key signed.
pub fn signature_by_another_key() -> Case {
    resigned(|_| Key::p256().sign(&pae(IN_TOTO, &payload())))
}

/// The certificate is for another key.
pub fn certificate_of_another_key() -> Case {
    keyless(|bundle| bundle.leaf(|leaf| leaf.spki = Key::p256().spki))
}

/// The payload was exchanged after signing.
pub fn payload_exchanged() -> Case {
    use base64::Engine as _;
    let other = base64::engine::general_purpose::STANDARD.encode(statement(OTHER_SUBJECT, PREDICATE, &json!({})));
    keyless(|bundle| bundle.tamper(move |json| json["dsseEnvelope"]["payload"] = json!(other)))
}

/// The payload differs by one space from what was signed.
pub fn payload_with_other_whitespace() -> Case {
    use base64::Engine as _;
    let spaced = [payload(), b" ".to_vec()].concat();
    let spaced = base64::engine::general_purpose::STANDARD.encode(spaced);
    keyless(|bundle| bundle.tamper(move |json| json["dsseEnvelope"]["payload"] = json!(spaced)))
}

/// No signature bytes at all.
pub fn signature_empty() -> Case {
    resigned(|_| Vec::new())
}

/// r is zero.
pub fn signature_with_zero_r() -> Case {
    resigned(|signature| {
        let fixed = fixed_width_signature(&signature);
        der_pair(&[0], &[&[0], &fixed[32..]].concat())
    })
}

/// s is zero.
pub fn signature_with_zero_s() -> Case {
    resigned(|signature| {
        let fixed = fixed_width_signature(&signature);
        der_pair(&[&[0], &fixed[..32]].concat(), &[0])
    })
}

/// The bare pair of numbers.
pub fn signature_not_in_der() -> Case {
    resigned(|signature| fixed_width_signature(&signature))
}

/// A number with superfluous zeros in front.
pub fn signature_in_padded_der() -> Case {
    resigned(|signature| {
        let fixed = fixed_width_signature(&signature);
        der_pair(&[&[0, 0, 0], &fixed[..32]].concat(), &[&[0], &fixed[32..]].concat())
    })
}

/// A byte after the signature.
pub fn signature_with_a_trailing_byte() -> Case {
    resigned(|signature| [signature, vec![0]].concat())
}

/// The other of the two signatures that ECDSA has for every one: nothing wrong.
pub fn signature_with_high_s() -> Case {
    resigned(|signature| {
        let fixed = fixed_width_signature(&signature);
        let low = fixed[32..] < [&[0x7f_u8][..], &[0xff; 31]].concat()[..];
        if !low {
            return signature;
        }
        let mut high = [0_u8; 32];
        let mut borrow = 0_i16;
        for index in (0..32).rev() {
            let difference = i16::from(ORDER[index]) - i16::from(fixed[32 + index]) - borrow;
            borrow = i16::from(difference < 0);
            high[index] = difference.rem_euclid(256) as u8;
        }
        use crate::support::sigstore::der;
        der::seq([der::integer(&fixed[..32]), der::integer(&high)])
    })
}

/// Signed as another payload type, labelled in-toto.
pub fn signed_as_another_payload_type() -> Case {
    keyless(|bundle| {
        bundle.with(|bundle| bundle.signature = Some(bundle.key.sign(&pae("application/json", &bundle.payload))))
    })
}

/// Another payload type, honestly.
pub fn payload_type(name: &'static str) -> Case {
    keyless(|bundle| bundle.with(|bundle| bundle.payload_type = name.to_owned()))
}

/// A valid statement about another image.
pub fn statement_about_another_image() -> Case {
    statement_of(statement(OTHER_SUBJECT, PREDICATE, &json!({})))
}

/// Any payload, validly signed and logged.
pub fn statement_of(payload: Vec<u8>) -> Case {
    let world = Sigstore::new();
    let bundle = world.attest(&payload, &signer());
    Case::keyless(&world, bundle)
}

/// The number of signatures in the envelope is this one: the good one, and copies of it.
pub fn signatures(count: usize) -> Case {
    keyless(move |bundle| {
        bundle.tamper(move |json| {
            let one = json["dsseEnvelope"]["signatures"][0].clone();
            json["dsseEnvelope"]["signatures"] = vec![one; count].into();
        })
    })
}

/// The signer's key is of another kind.
pub fn signed_with(algorithm: Algorithm) -> Case {
    keyless(|bundle| bundle.signed_by(Key::generate(algorithm)))
}

/// The same in Rekor v2.
pub fn signed_with_in_rekor_v2(algorithm: Algorithm) -> Case {
    signed_with_and_logged(algorithm, Style::Tiled)
}

/// The same in any log.
pub fn signed_with_and_logged(algorithm: Algorithm, style: Style) -> Case {
    keyless(|bundle| style.log(bundle.signed_by(Key::generate(algorithm))))
}

/// A P-384 signature in Rekor v2, whose entry was edited.
fn logged_p384(edit: fn(&mut Value)) -> Case {
    keyless(|bundle| {
        bundle.signed_by(Key::generate(Algorithm::P384)).rekor_v2().entry(|entry| entry.edit_body = Some(edit))
    })
}

/// The entry is about other content, under the hash that goes with the key.
pub fn p384_entry_of_other_content() -> Case {
    logged_p384(|body| body["spec"]["hashedRekordV002"]["data"]["digest"] = json!(STANDARD.encode([7; 48])))
}

/// The entry names another hash than the key signs.
pub fn p384_entry_of_another_hash() -> Case {
    logged_p384(|body| {
        let data = &mut body["spec"]["hashedRekordV002"]["data"];
        *data = json!({ "algorithm": "SHA2_256", "digest": STANDARD.encode([7; 32]) });
    })
}

/// The entry says that the key is on another curve.
pub fn p384_entry_of_another_curve() -> Case {
    logged_p384(|body| {
        let verifier = &mut body["spec"]["hashedRekordV002"]["signature"]["verifier"];
        verifier["keyDetails"] = json!("PKIX_ECDSA_P256_SHA_256");
    })
}

/// Signed with a key, and the policy names another.
pub fn key_other_than_the_policys() -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let bundle = world.attest_with_key(&payload(), &key);
    Case::keyless(&world, bundle).trusting(Trust::Key(Key::p256().public_pem()))
}

/// A managed key in a log of this style, without a timestamp, and edited: it has no time that anybody vouches for.
pub fn undated_key(style: Style, edit: impl FnOnce(&mut Attest)) -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let bundle = style.log(world.attest_with_key(&payload(), &key)).with(|bundle| bundle.stamps.clear());
    Case::keyless(&world, bundle.with(edit)).trusting(Trust::LoggedKey(key.public_pem()))
}

/// The same with a timestamp: nothing wrong.
pub fn dated_key(style: Style) -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let bundle = style.log(world.attest_with_key(&payload(), &key));
    Case::keyless(&world, bundle).trusting(Trust::LoggedKey(key.public_pem()))
}

/// Signed with a key whose hint is that of the policy's key.
pub fn key_hint_of_the_policys_key() -> Case {
    let (world, key, wanted) = (Sigstore::new(), Key::p256(), Key::p256());
    let hint = world.attest_with_key(&payload(), &wanted).material;
    let bundle = world.attest_with_key(&payload(), &key).with(|bundle| bundle.material = hint);
    Case::keyless(&world, bundle).trusting(Trust::Key(wanted.public_pem()))
}

/// A key where the policy asks for a certificate.
pub fn key_for_a_keyless_policy() -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let bundle = world.attest_with_key(&payload(), &key).rekor_v1();
    Case::keyless(&world, bundle)
}

/// A certificate where the policy asks for a key: even for that very key.
pub fn certificate_for_a_key_policy() -> Case {
    let world = Sigstore::new();
    let bundle = attest(&world);
    let pem = bundle.key.public_pem();
    Case::keyless(&world, bundle).trusting(Trust::Key(pem))
}

/// A key's signature without an entry, where the policy asks for one.
pub fn key_without_a_log_entry() -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let bundle = world.attest_with_key(&payload(), &key).stamped();
    Case::keyless(&world, bundle).trusting(Trust::LoggedKey(key.public_pem()))
}

/// A key's signature with an entry of another key's signature over the same.
pub fn key_with_an_entry_of_another_key() -> Case {
    let (world, key) = (Sigstore::new(), Key::p256());
    let donor = world.attest_with_key(&payload(), &Key::p256()).rekor_v1().value();
    let entries = donor["verificationMaterial"]["tlogEntries"].clone();
    let bundle = world
        .attest_with_key(&payload(), &key)
        .tamper(move |json| json["verificationMaterial"]["tlogEntries"] = entries.clone());
    Case::keyless(&world, bundle).trusting(Trust::LoggedKey(key.public_pem()))
}
