//! Signatures that stand in a log, by certificate and by key, in bundles and in cosign's legacy form: bundles that this
//! program and cosign 3.1.1 made on a Sigstore of their own (testdata/attestation), and one thing changed in each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bulla::attestation::bundle::Bundle;
use bulla::attestation::predicate_types;
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::sigstore::{
    Blob, Formats, Instance, KeyLog, PublicKey, Rejection, San, Signer, Trust, TrustRoot, VerifiedAttestation,
    verify_blob, verify_bundle,
};
use jiff::Timestamp;
use serde_json::Value;

const WORKFLOW: &str = "https://github.com/acme/agent-templates/.github/workflows/build.yml@refs/heads/main";
/// The image that cosign signed in the legacy form.
const LEGACY_IMAGE: &str = "sha256:87e38e1c1e1b1d4e2be9887087e7976f91c8043654f4d3abfc4644c6c978f30b";
const LEGACY: Formats = Formats { cosign_legacy: true, v01: false, v02: false, v03: false };

fn testdata(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/attestation").join(name)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&testdata(name)).unwrap()
}

fn image() -> Digest {
    Digest::of(b"the manifest of an image")
}

fn root() -> TrustRoot {
    TrustRoot::parse(&testdata("trusted_root.json"), "testdata").unwrap()
}

/// The root, changed as JSON.
fn changed_root(change: impl FnOnce(&mut Value)) -> TrustRoot {
    let mut root = json("trusted_root.json");
    change(&mut root);
    TrustRoot::parse(root.to_string().as_bytes(), "changed testdata").unwrap()
}

fn key() -> PublicKey {
    PublicKey::from_pem(std::str::from_utf8(&testdata("key.pub")).unwrap()).unwrap()
}

fn judge(bundle: &Value, trust: Trust<'_>, now: Timestamp) -> Result<VerifiedAttestation, Rejection> {
    let bundle = Bundle::parse(bundle.to_string().as_bytes())?;
    verify_bundle(&bundle, &image(), &trust, Formats::default(), now)
}

fn keyless(bundle: &Value, root: &TrustRoot) -> Result<VerifiedAttestation, Rejection> {
    judge(bundle, Trust::Keyless { root }, Timestamp::now())
}

fn in_log(bundle: &Value, root: &TrustRoot) -> Result<VerifiedAttestation, Rejection> {
    judge(bundle, Trust::Key { key: &key(), log: KeyLog::Required(root) }, Timestamp::now())
}

type Judge = fn(&Value, &TrustRoot) -> Result<VerifiedAttestation, Rejection>;
const CASES: [(&str, Judge); 4] = [
    ("keyless-rekor1.bundle.json", keyless),
    ("keyless-rekor2.bundle.json", keyless),
    ("key-rekor1.bundle.json", in_log),
    ("key-rekor2.bundle.json", in_log),
];

/// Refused with this class, in every case.
#[track_caller]
fn refused(class: Class, change: impl Fn(&mut Value)) {
    for (name, judge) in CASES {
        let mut bundle = json(name);
        change(&mut bundle);
        match judge(&bundle, &root()) {
            Ok(_) => panic!("{name} is believed"),
            Err(rejection) => assert_eq!(rejection.class(), class, "{name}: {rejection}"),
        }
    }
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

#[test]
fn logged_signatures_are_believed() {
    for (name, judge) in CASES {
        let verified = judge(&json(name), &root()).unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
        assert!(verified.is_logged() && verified.log_index().is_some(), "{name}");
        assert!(verified.signed_at().is_some(), "{name}");
        assert_eq!(verified.signed_at(), verified.times().iter().min().copied(), "{name}");
        match verified.signer() {
            Signer::Key { fingerprint } => assert_eq!(*fingerprint, key().fingerprint()),
            Signer::Certificate(who) => {
                assert_eq!(who.san, San::Uri(WORKFLOW.to_owned()));
                assert_eq!(who.claims.source_repository_identifier.as_deref(), Some("123456"));
            }
        }
    }
}

#[test]
fn a_blob_is_dated_as_its_attestation_is() {
    let (root, key) = (root(), key());
    for (name, judge) in CASES {
        let keyless = name.starts_with("keyless");
        let trust = if keyless {
            Trust::Keyless { root: &root }
        } else {
            Trust::Key { key: &key, log: KeyLog::Required(&root) }
        };
        let bundle = Bundle::parse(&testdata(name)).unwrap();
        let (image, now) = (image(), Timestamp::now());
        let blob = verify_blob(&bundle, Blob::Digest(&image), &trust, Formats::default(), now).unwrap();
        let attested = judge(&json(name), &root).unwrap();
        assert_eq!((blob.times(), blob.signer()), (attested.times(), attested.signer()), "{name}");
        assert!(!blob.times().is_empty());
        assert!(!blob.times().contains(&Timestamp::UNIX_EPOCH));
    }
}

#[test]
fn g01_a_changed_payload_or_signature_is_refused() {
    for (name, judge) in CASES {
        for (other_name, _) in CASES.iter().filter(|(other, _)| *other != name) {
            for member in ["payload", "signatures"] {
                let mut bundle = json(name);
                let other = &json(other_name)["dsseEnvelope"][member];
                if bundle["dsseEnvelope"][member] == *other {
                    continue;
                }
                bundle["dsseEnvelope"][member] = other.clone();
                let class = judge(&bundle, &root()).unwrap_err().class();
                assert!(matches!(class, Class::Signature | Class::Time | Class::Tlog), "{name} {other_name} {class}");
            }
        }
    }
}

#[test]
fn g03_no_entry_and_no_proof_are_refused() {
    refused(Class::Tlog, |bundle| bundle["verificationMaterial"]["tlogEntries"] = serde_json::json!([]));
    refused(Class::Tlog, |bundle| drop(entry(bundle).as_object_mut().unwrap().remove("inclusionProof")));
    refused(Class::Tlog, |bundle| {
        drop(entry(bundle)["inclusionProof"].as_object_mut().unwrap().remove("checkpoint"));
    });
}

/// What is wrong with the evidence is said first, whatever image was asked about.
#[test]
fn g04_another_entry_is_refused_as_such_for_every_subject() {
    let (root, key) = (root(), key());
    for (name, judge) in CASES {
        let keyless = name.starts_with("keyless");
        let trust = if keyless {
            Trust::Keyless { root: &root }
        } else {
            Trust::Key { key: &key, log: KeyLog::Required(&root) }
        };
        for (other, _) in CASES.iter().filter(|(other, _)| *other != name) {
            let mut swapped = json(name);
            *entry(&mut swapped) = json(other)["verificationMaterial"]["tlogEntries"][0].clone();
            let expected = judge(&swapped, &root).unwrap_err();
            let bundle = Bundle::parse(swapped.to_string().as_bytes()).unwrap();
            let elsewhere = Digest::of(b"another image");
            let found = verify_bundle(&bundle, &elsewhere, &trust, Formats::default(), Timestamp::now()).unwrap_err();
            assert_eq!((found.class(), found.code()), (expected.class(), expected.code()), "{name} {other}");
        }
    }
}

#[test]
fn g04_g05_the_entry_of_another_signature_is_refused_even_beside_the_right_one() {
    for (name, judge) in CASES {
        for (other, _) in CASES.iter().filter(|(other, _)| *other != name) {
            let foreign = json(other)["verificationMaterial"]["tlogEntries"][0].clone();
            let mut swapped = json(name);
            *entry(&mut swapped) = foreign.clone();
            let class = judge(&swapped, &root()).unwrap_err().class();
            assert!(matches!(class, Class::Tlog | Class::Time | Class::Trust), "{name} {other} {class}");
            let mut beside = json(name);
            beside["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(foreign);
            let class = judge(&beside, &root()).unwrap_err().class();
            assert!(matches!(class, Class::Tlog | Class::Time | Class::Trust), "{name} {other} {class}");
        }
    }
}

#[test]
fn g06_checkpoints_are_of_the_log_that_the_entry_names() {
    let roots = json("trusted_root.json");
    let ids: Vec<&Value> = roots["tlogs"].as_array().unwrap().iter().map(|log| &log["logId"]["keyId"]).collect();
    // The other known log, and an unknown one.
    refused(Class::Tlog, |bundle| {
        let id = &mut entry(bundle)["logId"]["keyId"];
        *id = if id == ids[0] { ids[1].clone() } else { ids[0].clone() };
    });
    refused(Class::Tlog, |bundle| {
        entry(bundle)["logId"]["keyId"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    });
    for (from, to) in [("127.0.0.1", "127.0.0.2"), ("\n\n— 127", "\n\n— 128"), ("\n7\n", "\n8\n")] {
        refused(Class::Tlog, |bundle| {
            let note = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
            let text = note.as_str().unwrap();
            let changed = if text.contains(from) { text.replacen(from, to, 1) } else { text.replacen('=', "A=", 1) };
            assert_ne!(text, changed);
            *note = changed.into();
        });
    }
}

#[test]
fn g06_a_log_is_believed_under_its_own_address() {
    let moved = changed_root(|root| {
        for log in root["tlogs"].as_array_mut().unwrap() {
            log["baseUrl"] = "https://elsewhere.example".into();
        }
    });
    for (name, judge) in [CASES[1], CASES[3]] {
        assert_eq!(judge(&json(name), &moved).unwrap_err().code(), "invalid-checkpoint", "{name}");
    }
}

#[test]
fn g07_a_time_in_the_future_is_refused() {
    let early: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    for name in ["keyless-rekor1.bundle.json", "keyless-rekor2.bundle.json"] {
        let root = root();
        let rejection = judge(&json(name), Trust::Keyless { root: &root }, early).unwrap_err();
        assert_eq!((rejection.class(), rejection.code()), (Class::Time, "time-in-future"), "{name}");
    }
}

#[test]
fn g08_g14_timestamps_must_be_of_the_roots_authority_and_of_this_signature() {
    let stamps = |name: &str| json(name)["verificationMaterial"]["timestampVerificationData"].clone();
    for (name, judge) in CASES {
        let foreign =
            CASES.iter().map(|(other, _)| stamps(other)).find(|other| !other.is_null() && *other != stamps(name));
        let mut bundle = json(name);
        bundle["verificationMaterial"]["timestampVerificationData"] = foreign.unwrap();
        let rejection = judge(&bundle, &root()).unwrap_err();
        assert_eq!((rejection.class(), rejection.code()), (Class::Time, "invalid-timestamp"), "{name}");
    }
    let without = changed_root(|root| root["timestampAuthorities"] = serde_json::json!([]));
    for (name, judge) in [CASES[0], CASES[1]] {
        assert_eq!(judge(&json(name), &without).unwrap_err().class(), Class::Time, "{name}");
    }
    let mut undated = json("keyless-rekor2.bundle.json");
    undated["verificationMaterial"]["timestampVerificationData"] = Value::Null;
    assert_eq!(keyless(&undated, &root()).unwrap_err().code(), "no-verified-time");
}

/// Every part of a root, closed before the signature was made or opened after it.
#[test]
fn g11_g12_keys_and_authorities_are_believed_in_their_time_alone() {
    let closed = serde_json::json!({"start": "2020-01-01T00:00:00Z", "end": "2024-06-01T00:00:00Z"});
    for (part, place, code) in [
        ("certificateAuthorities", "/validFor", "no-valid-authority"),
        ("ctlogs", "/publicKey/validFor", "invalid-sct"),
        ("timestampAuthorities", "/validFor", "timestamp-outside-authority"),
    ] {
        let root = changed_root(|root| {
            for item in root[part].as_array_mut().unwrap() {
                *item.pointer_mut(place).unwrap() = closed.clone();
            }
        });
        let rejection = keyless(&json("keyless-rekor2.bundle.json"), &root).unwrap_err();
        // An authority that is closed before its certificates begin is none.
        let also = if part == "timestampAuthorities" { "invalid-timestamp" } else { code };
        assert!([code, also].contains(&rejection.code()), "{part}: {rejection}");
    }
    let retired = changed_root(|root| {
        for log in root["tlogs"].as_array_mut().unwrap() {
            log["publicKey"]["validFor"] = closed.clone();
        }
    });
    for (name, judge) in CASES {
        assert_eq!(judge(&json(name), &retired).unwrap_err().class(), Class::Tlog, "{name}");
    }
    assert_eq!(keyless(&json("keyless-rekor2.bundle.json"), &retired).unwrap_err().code(), "retired-log");
}

#[test]
fn g13_g19_other_roots_and_missing_parts_are_refused() {
    for (name, judge) in CASES {
        assert!(judge(&json(name), &TrustRoot::public_good().unwrap()).is_err(), "{name}");
        assert!(judge(&json(name), &TrustRoot::github().unwrap()).is_err(), "{name}");
        for part in ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"] {
            let without = changed_root(|root| root[part] = serde_json::json!([]));
            let verdict = judge(&json(name), &without);
            let needed = part == "tlogs" || part == "timestampAuthorities" || name.starts_with("keyless");
            let stamped = !json(name)["verificationMaterial"]["timestampVerificationData"].is_null();
            let needed = needed && (part != "timestampAuthorities" || stamped);
            assert_eq!(verdict.is_err(), needed, "{name} without {part}");
        }
    }
    // No root of somebody's own becomes GitHub's by leaving its logs out.
    let bare = changed_root(|root| {
        root["tlogs"] = serde_json::json!([]);
        root["ctlogs"] = serde_json::json!([]);
    });
    assert_eq!(bare.instance(), Instance::Custom);
    let mut bundle = json("keyless-rekor2.bundle.json");
    bundle["verificationMaterial"]["tlogEntries"] = serde_json::json!([]);
    assert_eq!(keyless(&bundle, &bare).unwrap_err().code(), "no-log-entry");
}

#[test]
fn g22_an_entry_is_of_the_kind_that_it_says() {
    for (kind, version) in [
        ("hashedrekord", "0.0.1"),
        ("hashedrekord", "0.0.2"),
        ("dsse", "0.0.1"),
        ("dsse", "0.0.2"),
        ("intoto", "0.0.2"),
    ] {
        for (name, judge) in CASES {
            let mut bundle = json(name);
            let other = serde_json::json!({"kind": kind, "version": version});
            if entry(&mut bundle)["kindVersion"] == other {
                continue;
            }
            entry(&mut bundle)["kindVersion"] = other;
            let class = judge(&bundle, &root()).unwrap_err().class();
            assert!(matches!(class, Class::Tlog | Class::Time), "{name} as {kind} {version}: {class}");
        }
    }
    refused(Class::Format, |bundle| {
        entry(bundle)["kindVersion"] = serde_json::json!({"kind": "intoto", "version": "0.0.1"});
    });
}

/// The layers of a legacy manifest: media type, bytes, annotations.
fn legacy(manifest: &str) -> Vec<(String, Vec<u8>, BTreeMap<String, String>)> {
    let manifest = json(manifest);
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| {
            let digest = layer["digest"].as_str().unwrap();
            let bytes = testdata(&format!("legacy/{}", &digest["sha256:".len()..][..12]));
            assert_eq!(Digest::of(&bytes).to_string(), digest);
            let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
            (layer["mediaType"].as_str().unwrap().to_owned(), bytes, annotations)
        })
        .collect()
}

#[test]
fn legacy_signatures_and_attestations_are_believed_where_named() {
    let (root, key) = (root(), key());
    let image: Digest = LEGACY_IMAGE.parse().unwrap();
    for (manifest, predicate_type) in [
        ("legacy/sig.manifest.json", predicate_types::SIGNATURE),
        ("legacy/att.manifest.json", predicate_types::SLSA_V1),
    ] {
        for (media_type, bytes, annotations) in legacy(manifest) {
            let certified = annotations.contains_key("dev.sigstore.cosign/certificate");
            let trust = if certified {
                Trust::Keyless { root: &root }
            } else {
                Trust::Key { key: &key, log: KeyLog::Required(&root) }
            };
            let judge = |bytes: &[u8], annotations: &BTreeMap<String, String>, subject: &Digest, formats: Formats| {
                let bundle = Bundle::from_legacy(&media_type, bytes, annotations)?;
                verify_bundle(&bundle, subject, &trust, formats, Timestamp::now())
            };
            let verified = judge(&bytes, &annotations, &image, LEGACY).unwrap();
            assert_eq!(verified.statement().predicate_type, predicate_type);
            assert!(verified.is_logged() && verified.signed_at().is_some());
            assert_eq!(matches!(verified.signer(), Signer::Certificate(_)), certified);
            // Another image; a format that nobody named; another form of layer.
            let other = judge(&bytes, &annotations, &self::image(), LEGACY).unwrap_err();
            assert_eq!(other.class(), Class::Subject, "{other}");
            let unnamed = judge(&bytes, &annotations, &image, Formats::BUNDLES).unwrap_err();
            assert_eq!(unnamed.code(), "format-not-allowed");
            assert!(Bundle::from_legacy("application/json", &bytes, &annotations).is_err());
            // Without the log's answer, or with that of another signature.
            let mut without = annotations.clone();
            without.remove("dev.sigstore.cosign/bundle");
            assert_eq!(judge(&bytes, &without, &image, LEGACY).unwrap_err().class(), Class::Tlog);
            for (_, _, others) in
                legacy("legacy/sig.manifest.json").into_iter().chain(legacy("legacy/att.manifest.json"))
            {
                let answer = &others["dev.sigstore.cosign/bundle"];
                if *answer == annotations["dev.sigstore.cosign/bundle"] {
                    continue;
                }
                let mut swapped = annotations.clone();
                swapped.insert("dev.sigstore.cosign/bundle".to_owned(), answer.clone());
                let class = judge(&bytes, &swapped, &image, LEGACY).unwrap_err().class();
                assert!(matches!(class, Class::Tlog | Class::Trust), "{class}");
            }
            for index in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1;
                assert!(judge(&flipped, &annotations, &image, LEGACY).is_err(), "byte {index}");
            }
        }
    }
}
