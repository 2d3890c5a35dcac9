//! C13, D02 to D07, D09 to D11: bundles whose JSON may be read in two ways, or not at all.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::attestation::AttestationError;
use bulla::attestation::bundle::Bundle;
use bulla::class::{Class, Classified};
use bulla::content::limits;
use serde_json::{Value, json};

use crate::support::sigstore::defects::{
    Case, certificate, good_github, good_key, good_rekor_v1, good_rekor_v2, keyless,
};
use crate::{accepted, refused};

/// The text of a good bundle, edited.
fn text(edit: impl FnOnce(String) -> String) -> Case {
    let good = good_rekor_v1();
    let bundle = edit(String::from_utf8(good.bundle).unwrap()).into_bytes();
    Case { bundle, ..good }
}

/// One replacement in the text of a good bundle.
fn replaced(from: &'static str, to: &'static str) -> Case {
    text(|text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// A good bundle with one value exchanged.
fn set(place: &'static str, value: Value) -> Case {
    keyless(|bundle| bundle.tamper(move |json| *json.pointer_mut(place).unwrap() = value.clone()))
}

/// A good bundle with the text of one value edited.
fn edited(place: &'static str, edit: fn(&str) -> String) -> Case {
    keyless(|bundle| {
        bundle.tamper(move |json| {
            let value = json.pointer_mut(place).unwrap();
            *value = json!(edit(value.as_str().unwrap()));
        })
    })
}

/// A good bundle with a member that nobody knows.
fn with_member(name: &'static str, value: Value) -> Case {
    keyless(|bundle| bundle.tamper(move |json| json[name] = value.clone()))
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

const SIG: &str = "/dsseEnvelope/signatures/0/sig";
const LEAF: &str = "/verificationMaterial/certificate/rawBytes";
const BODY: &str = "/verificationMaterial/tlogEntries/0/canonicalizedBody";
const LOG: &str = "/verificationMaterial/tlogEntries/0/logId/keyId";
const INDEX: &str = "/verificationMaterial/tlogEntries/0/logIndex";
const TIME: &str = "/verificationMaterial/tlogEntries/0/integratedTime";

/// The last letter of 32 bytes stands for four bits and two that must be zero.
fn other_trailing_bits(text: &str) -> String {
    let last = char::from(text.as_bytes()[text.len() - 2] + 1);
    format!("{}{last}=", &text[..text.len() - 2])
}

refused! {
    fn c13_signature_over_a_blob_is_refused, Format: keyless(|bundle| bundle.tamper(|json| {
        let signature = json["dsseEnvelope"]["signatures"][0]["sig"].clone();
        json.as_object_mut().unwrap().remove("dsseEnvelope");
        json["messageSignature"] = json!({
            "messageDigest": { "algorithm": "SHA2_256", "digest": "yBHVjeec+A8hTGOqM5SEiOSI1pSui3qFsvPxf5qvUBcg".split_at(43).0.to_owned() + "=" }, "signature": signature,
        });
    }));
    fn c13_both_kinds_of_content_are_refused, Format: keyless(|bundle| bundle.tamper(|json| {
        let signature = json["dsseEnvelope"]["signatures"][0]["sig"].clone();
        json["messageSignature"] = json!({ "signature": signature });
    }));
    fn d02_doubled_keys_are_refused, Format: [
        replaced(r#""dsseEnvelope":{"#, r#""dsseEnvelope":null,"dsseEnvelope":{"#),
        replaced(r#""payload":"#, r#""payload":"","payload":"#),
        replaced(r#""tlogEntries":"#, r#""tlogEntries":[],"tlogEntries":"#),
        replaced(r#""mediaType":"#, r#""unknown":1,"unknown":2,"mediaType":"#),
    ];
    fn d03_keys_in_another_case_are_refused, Format: [
        replaced(r#""dsseEnvelope":{"#, r#""DsseEnvelope":null,"dsseEnvelope":{"#),
        replaced(r#""payload":"#, r#""Payload":"","payload":"#),
        replaced(r#""mediaType":"#, r#""MediaType":"","mediaType":"#),
    ];
    fn d04_array_in_place_of_an_object_is_refused, Format: [
        text(|text| format!("[{text}]")),
        set("/verificationMaterial/certificate", json!(["x"])),
        set("/dsseEnvelope/signatures/0", json!(["x"])),
        set("/verificationMaterial/tlogEntries/0/kindVersion", json!(["dsse", "0.0.1"])),
    ];
    fn d05_depth_is_bounded, Limit: [
        with_member("unknown", nested(100)), with_member("unknown", nested(127)), text(|_| "[".repeat(100_000)),
    ];
    fn d06_anything_around_the_bundle_is_refused, Format: [
        text(|text| format!("\u{feff}{text}")), text(|text| format!("{text}{text}")),
        text(|text| format!("{text}\n{text}")), text(|text| format!("{text}\0")), text(|_| String::new()),
        text(|_| "null".to_owned()), text(|_| "{}".to_owned()), text(|text| text[..text.len() - 1].to_owned()),
        replaced(r#""payloadType":"#, r#""x":"\ud800","payloadType":"#),
    ];
    fn d07_numbers_in_other_forms_are_refused, Format: [
        set(INDEX, json!("-1")), set(INDEX, json!("1e3")), set(INDEX, json!("18446744073709551616")),
        set(INDEX, json!("0x10")), set(INDEX, json!(" 5")), set(INDEX, json!(1.5)), set(INDEX, json!("")),
        set(TIME, json!("1e9")), set(TIME, json!("9223372036854775808")), set(TIME, json!(1.5)),
    ];
    fn d10_base64_in_other_forms_is_refused, Format: [
        edited(SIG, |text| text.trim_end_matches('=').to_owned() + "\n"), edited(SIG, |text| format!(" {text}")),
        edited(SIG, |text| format!("{text}=")), edited(LEAF, |text| format!("{text}\n")),
        edited(BODY, |text| format!("{text}%")), edited(BODY, |text| text[..text.len() - 1].to_owned() + "*"),
        edited("/dsseEnvelope/payload", |text| format!("{}\n{}", &text[..64], &text[64..])),
        edited(LOG, |text| text.trim_end_matches('=').to_owned()), edited(LOG, other_trailing_bits),
        edited(LEAF, |text| text.replace('+', "-").replace('/', "_")),
    ];
    fn d11_unknown_versions_are_refused, Format: [
        set("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.4+json")),
        set("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.4")),
        set("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.3+JSON")),
        set("/mediaType", json!("application/json")), set("/mediaType", json!("")), set("/mediaType", Value::Null),
    ];
    fn d11_older_versions_are_refused_by_default, Format: [
        set("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.1")),
        set("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.2")),
    ];
}

#[test]
fn d11_a_message_digest_is_of_a_known_algorithm_and_of_its_length() {
    let read = |algorithm: &str, length: usize| {
        let digest = STANDARD.encode(vec![7; length]);
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": { "publicKey": { "hint": "a" } },
            "messageSignature": {
                "messageDigest": { "algorithm": algorithm, "digest": digest }, "signature": STANDARD.encode(b"x"),
            },
        });
        Bundle::parse(bundle.to_string().as_bytes()).is_ok()
    };
    for (algorithm, length) in [("SHA2_256", 32), ("SHA2_384", 48), ("SHA2_512", 64)] {
        for other in [0, 31, 32, 48, 64] {
            assert_eq!(read(algorithm, other), length == other, "{algorithm} {other}");
        }
    }
    assert!(!read("SHA1", 20) && !read("", 32));
}

#[test]
fn g03_every_entry_has_its_proof_or_there_is_none() {
    let proven = |case: &Case| Bundle::parse(&case.bundle).unwrap().has_inclusion_proof();
    let proof = "/verificationMaterial/tlogEntries/0/inclusionProof";
    let without_checkpoint = keyless(|bundle| {
        bundle.tamper(move |json| drop(json.pointer_mut(proof).unwrap().as_object_mut().unwrap().remove("checkpoint")))
    });
    assert!(proven(&good_rekor_v1()));
    for case in [without_checkpoint, set(proof, Value::Null), good_key(), good_github()] {
        assert!(!proven(&case));
    }
}

#[test]
fn d09_a_bundle_of_too_many_bytes_is_not_read() {
    let blank = vec![0; usize::try_from(limits::BUNDLE).unwrap() + 1];
    let class = |read: Result<Bundle, AttestationError>| read.map(|_| ()).unwrap_err().class();
    for (bytes, expected) in [(&blank[..], Class::Limit), (b" ", Class::Format)] {
        assert_eq!(class(Bundle::parse(bytes)), expected);
        let legacy = "application/vnd.dsse.envelope.v1+json";
        assert_eq!(class(Bundle::from_legacy(legacy, bytes, &BTreeMap::new())), expected);
    }
}

/// A good case, a place in it, as many of something as are put there, and how many may be.
type Part<'a> = (&'a Case, String, &'a dyn Fn(usize) -> Value, usize);

#[test]
fn d09_every_part_of_a_bundle_is_bounded() {
    let chained = certificate::chain_of_the_leaf();
    let (keyed, logged, stamped) = (good_key(), good_rekor_v1(), good_rekor_v2());
    let entry = "/verificationMaterial/tlogEntries/0";
    let bytes = |count: usize| json!(STANDARD.encode(vec![7; count]));
    let text = |count: usize| json!("a".repeat(count));
    let hashes = |count: usize| vec![json!(STANDARD.encode([7; 32])); count].into();
    let (material, body) = (64 << 10, 1 << 20);
    let repeated = |case: &Case, place: &str| {
        let bundle: Value = serde_json::from_slice(&case.bundle).unwrap();
        let one = bundle.pointer(&format!("{place}/0")).unwrap().clone();
        move |count: usize| -> Value { vec![one.clone(); count].into() }
    };
    let certificates = "/verificationMaterial/x509CertificateChain/certificates";
    let stamps = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
    let entries = "/verificationMaterial/tlogEntries";
    let parts: [Part<'_>; 10] = [
        (&logged, SIG.to_owned(), &bytes, material),
        (&logged, LEAF.to_owned(), &bytes, material),
        (&logged, BODY.to_owned(), &bytes, body),
        (&logged, format!("{entry}/inclusionPromise/signedEntryTimestamp"), &bytes, material),
        (&logged, format!("{entry}/inclusionProof/hashes"), &hashes, 64),
        (&logged, format!("{entry}/inclusionProof/checkpoint/envelope"), &text, material),
        (&keyed, "/verificationMaterial/publicKey/hint".to_owned(), &text, material),
        (&chained, certificates.to_owned(), &repeated(&chained, certificates), 10),
        (&stamped, stamps.to_owned(), &repeated(&stamped, stamps), 32),
        (&logged, entries.to_owned(), &repeated(&logged, entries), 32),
    ];
    for (case, place, of, limit) in parts {
        let class = |count: usize| {
            let mut bundle: Value = serde_json::from_slice(&case.bundle).unwrap();
            *bundle.pointer_mut(&place).unwrap_or_else(|| panic!("{place}")) = of(count);
            Bundle::parse(bundle.to_string().as_bytes()).err().map(|error| error.class())
        };
        assert_ne!(class(limit), Some(Class::Limit), "{place}");
        for more in [1, 2] {
            assert_eq!(class(limit + more), Some(Class::Limit), "{place}");
        }
    }
}

/// The library refuses it too, whatever our reader says.
#[test]
fn d11_chain_in_v03_is_not_even_read() {
    Bundle::parse(&certificate::chain_in_v03().bundle).unwrap_err();
    Bundle::parse(&certificate::chain_of_the_leaf().bundle).unwrap();
}

#[test]
fn d11_both_spellings_of_v03_are_read() {
    accepted(&set("/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.3")));
}

/// That this takes neither long nor much memory is asserted of the binary (`tests/gate/bounds.rs`).
#[test]
fn d09_a_million_of_anything_is_refused() {
    let good = good_rekor_v1();
    let many = ["/verificationMaterial/tlogEntries", "/dsseEnvelope/signatures"].map(|place| {
        let mut json: Value = serde_json::from_slice(&good.bundle).unwrap();
        *json.pointer_mut(place).unwrap() = vec![json!({}); 1_000_000].into();
        Case { bundle: json.to_string().into_bytes(), ..good.clone() }
    });
    for case in many {
        let refusal = crate::judge(&case).unwrap_err();
        assert!(matches!(refusal.class, Class::Format | Class::Limit), "{refusal:?}");
    }
}
