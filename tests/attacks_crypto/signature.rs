//! G01, G02, the keys of G12 and G15, and the envelopes of C07 and C12.

use crate::support::sigstore::defects::log::Style::{Dsse, Tiled, TiledDsse};
use crate::support::sigstore::defects::{self, envelope};
use crate::support::sigstore::key::{Algorithm, Key};
use crate::{accepted, admitted, refused};

refused! {
    fn g01_signature_with_a_flipped_bit_is_refused, Signature: envelope::signature_with_a_flipped_bit();
    fn g01_signature_by_another_key_is_refused, Signature: envelope::signature_by_another_key();
    fn g01_certificate_of_another_key_is_refused, Signature: envelope::certificate_of_another_key();
    fn g01_exchanged_payload_is_refused, Signature: envelope::payload_exchanged();
    fn d01_payload_with_other_whitespace_is_refused, Signature: envelope::payload_with_other_whitespace();

    fn g02_signature_with_a_zero_is_refused, Signature: [
        envelope::signature_with_zero_r(), envelope::signature_with_zero_s(),
    ];
    fn g02_signature_not_in_der_is_refused, Signature: envelope::signature_not_in_der();
    fn g02_signature_in_another_der_is_refused, Signature: [
        envelope::signature_in_padded_der(), envelope::signature_with_a_trailing_byte(),
    ];

    fn g12_another_key_than_the_policys_is_refused, Signature: [
        envelope::key_other_than_the_policys(), envelope::key_hint_of_the_policys_key(),
    ];
    fn g12_key_for_a_keyless_policy_is_refused, Trust: envelope::key_for_a_keyless_policy();
    fn g12_certificate_for_a_key_policy_is_refused, Trust: envelope::certificate_for_a_key_policy();
    fn g12_key_without_the_log_entry_asked_for_is_refused, Tlog: envelope::key_without_a_log_entry();
    fn g12_key_with_an_entry_of_another_key_is_refused, Tlog: envelope::key_with_an_entry_of_another_key();

    fn g12_undated_key_in_rekor_v2_of_another_signature_is_refused, Signature: [Tiled, TiledDsse].map(|style| {
        envelope::undated_key(style, |bundle| bundle.signature = Some(Key::p256().sign(b"something else")))
    });
    fn g12_undated_key_in_rekor_v2_that_is_not_the_policys_is_refused, Tlog: [Tiled, TiledDsse].map(|style| {
        envelope::undated_key(style, |bundle| bundle.key = Key::p256())
    });

    fn g15_leaf_key_on_another_curve_is_refused, Trust: [
        envelope::signed_with(Algorithm::P521), envelope::signed_with_in_rekor_v2(Algorithm::P521),
    ];
    fn g15_short_rsa_leaf_key_is_refused, Trust: [
        envelope::signed_with(Algorithm::Rsa1024), envelope::signed_with_in_rekor_v2(Algorithm::Rsa1024),
    ];

    fn g22_p384_entry_of_something_else_in_rekor_v2_is_refused, Tlog: [
        envelope::p384_entry_of_other_content(), envelope::p384_entry_of_another_hash(),
        envelope::p384_entry_of_another_curve(),
    ];
    // Rekor v2 takes no plain Ed25519 there: what it calls so signs a hash.
    fn g22_ed25519_in_a_hashedrekord_is_refused, Tlog: envelope::signed_with_in_rekor_v2(Algorithm::Ed25519);

    fn c07_signature_over_another_payload_type_is_refused, Signature: envelope::signed_as_another_payload_type();
    fn c07_other_payload_types_are_refused, Format: [
        envelope::payload_type("text/plain"), envelope::payload_type("application/json"),
        envelope::payload_type("application/vnd.in-toto+xml"), envelope::payload_type(""),
        envelope::payload_type("application/vnd.in-toto+json; charset=utf-8"),
    ];
    fn c12_any_other_number_of_signatures_is_refused, Format: [
        envelope::signatures(0), envelope::signatures(2), envelope::signatures(1000),
    ];
    fn c12_empty_signature_is_refused, Format: envelope::signature_empty();
}

admitted! {
    fn g02_high_s_is_no_defect: envelope::signature_with_high_s();
    fn g12_key_that_the_policy_names_is_believed: [defects::good_key(), defects::good_logged_key()];
    fn g12_logged_keys_are_believed_with_a_timestamp_and_without: [
        envelope::dated_key(Tiled), envelope::dated_key(TiledDsse), envelope::dated_key(Dsse),
        envelope::undated_key(Tiled, |_| ()), envelope::undated_key(TiledDsse, |_| ()),
        envelope::undated_key(Dsse, |_| ()),
    ];
    fn g15_keys_of_the_profile_are_believed: [
        envelope::signed_with(Algorithm::P384), envelope::signed_with(Algorithm::Ed25519),
        envelope::signed_with(Algorithm::Rsa2048),
    ];
    fn g15_keys_of_the_profile_are_believed_in_rekor_v2: [
        envelope::signed_with_in_rekor_v2(Algorithm::P384), envelope::signed_with_in_rekor_v2(Algorithm::Rsa2048),
        envelope::signed_with_and_logged(Algorithm::P384, TiledDsse),
        envelope::signed_with_and_logged(Algorithm::Ed25519, TiledDsse),
        envelope::signed_with_and_logged(Algorithm::Rsa2048, TiledDsse),
    ];
}

#[test]
fn g12_a_logged_key_says_where_it_stands() {
    for style in [Tiled, TiledDsse, Dsse] {
        let verified = accepted(&envelope::undated_key(style, |_| ()));
        let entry = |case: &defects::Case| {
            let bundle: serde_json::Value = serde_json::from_slice(&case.bundle).unwrap();
            bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"].as_str().unwrap().parse::<u64>().unwrap()
        };
        assert!(verified.is_logged());
        let id = verified.log_id().unwrap();
        assert!(id.len() == 64 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)), "{id}");
        assert_eq!(verified.log_index(), Some(entry(&envelope::undated_key(style, |_| ()))));
        assert_eq!(verified.times().is_empty(), style != Dsse);
    }
    let alone = accepted(&defects::good_key());
    assert_eq!((alone.is_logged(), alone.log_index(), alone.log_id()), (false, None, None));
}

/// A signature over a blob, by a key that the policy names: what clients of the Sigstore protocol ask about.
#[test]
fn g01_a_keys_signature_over_a_blob_is_over_that_blob() {
    use base64::Engine as _;
    use bulla::attestation::bundle::Bundle;
    use bulla::class::{Class, Classified};
    use bulla::content::Digest;
    use bulla::sigstore::{Blob, Formats, KeyLog, PublicKey, Trust, verify_blob};

    let (own, other) = (Key::p256(), Key::p256());
    let signed = base64::engine::general_purpose::STANDARD.encode(own.sign(b"blob"));
    let bundle = serde_json::json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "a" } },
        "messageSignature": { "signature": signed },
    });
    let bundle = Bundle::parse(bundle.to_string().as_bytes()).unwrap();
    let judge = |key: &Key, blob: Blob<'_>| {
        let key = PublicKey::from_pem(&key.public_pem()).unwrap();
        let trust = Trust::Key { key: &key, log: KeyLog::None };
        verify_blob(&bundle, blob, &trust, Formats::default(), crate::NOW.parse().unwrap())
    };
    judge(&own, Blob::Bytes(b"blob")).unwrap();
    assert_eq!(judge(&own, Blob::Bytes(b"other")).unwrap_err().class(), Class::Signature);
    assert_eq!(judge(&other, Blob::Bytes(b"blob")).unwrap_err().class(), Class::Signature);
    // Without a log nothing but the blob itself says what was signed.
    let digest = Digest::of(b"blob");
    assert_eq!(judge(&own, Blob::Digest(&digest)).unwrap_err().code(), "unsupported-artifact");
}
