//! Signing with a key, and what must not pass for it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::PathBuf;

use bulla::adapters::signer::{KeyKind, PrivateKey, SignerError, keyless};
use bulla::attestation::bundle::{Bundle, BundleVersion, Material};
use bulla::attestation::{Statement, predicate_types};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::sigstore::{
    Blob, Formats, KeyLog, PublicKey, Rejection, Signer, Trust, TrustRoot, VerifiedAttestation, verify_blob,
    verify_bundle,
};
use jiff::Timestamp;
use serde_json::Value;

const PASSPHRASE: &[u8] = b"a passphrase for tests";

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/attestation").join(name)
}

fn committed(name: &str) -> Vec<u8> {
    fs::read(testdata(name)).unwrap()
}

fn committed_key() -> PublicKey {
    PublicKey::from_pem(&fs::read_to_string(testdata("key.pub")).unwrap()).unwrap()
}

fn image() -> Digest {
    Digest::of(b"the manifest of an image")
}

fn judge(bundle: &[u8], subject: &Digest, key: &PublicKey) -> Result<VerifiedAttestation, Rejection> {
    let bundle = Bundle::parse(bundle)?;
    let trust = Trust::Key { key, log: KeyLog::None };
    verify_bundle(&bundle, subject, &trust, Formats::default(), Timestamp::UNIX_EPOCH)
}

/// Refused with this class.
#[track_caller]
fn refused(bundle: &[u8], class: Class) {
    match judge(bundle, &image(), &committed_key()) {
        Ok(_) => panic!("believed: {}", String::from_utf8_lossy(bundle)),
        Err(rejection) => assert_eq!(rejection.class(), class, "{rejection}"),
    }
}

/// The committed signature, changed as JSON.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(&committed("signature.bundle.json")).unwrap();
    change(&mut bundle);
    serde_json::to_vec(&bundle).unwrap()
}

#[test]
fn a_key_signs_and_its_public_half_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cosign.key");
    let made = PrivateKey::generate().unwrap();
    made.write(&path, PASSPHRASE).unwrap();
    assert!(made.write(&path, PASSPHRASE).is_err(), "a key was overwritten");
    let key = PrivateKey::read(&path, || Ok::<_, SignerError>(PASSPHRASE.to_vec())).unwrap();
    assert_eq!(key.public_key(), made.public_key());
    assert_eq!(PublicKey::from_pem(&made.public_pem()).unwrap(), *key.public_key());
    let statement = Statement::write("repo", &image(), predicate_types::SLSA_V1, b"{\"a\": 1}").unwrap();
    let bundle = key.sign_statement(&statement).unwrap();
    let verified = judge(&bundle, &image(), key.public_key()).unwrap();
    assert_eq!(verified.statement().predicate_type, predicate_types::SLSA_V1);
    assert_eq!(verified.statement().predicate_text(), "{\"a\": 1}");
    assert_eq!(*verified.subject(), image());
    assert_eq!(*verified.bundle_digest(), Digest::of(&bundle));
    assert_eq!(*verified.signer(), Signer::Key { fingerprint: made.public_key().fingerprint() });
    assert!(verified.times().is_empty() && verified.log_index().is_none() && !verified.is_logged());
    let read = Bundle::parse(&bundle).unwrap();
    assert_eq!(read.version(), BundleVersion::V03);
    assert_eq!(read.payload(), Some(statement.as_slice()));
    assert!(!read.has_inclusion_proof());
}

#[test]
fn a_committed_key_opens_with_its_passphrase_alone() {
    let pem = fs::read_to_string(testdata("cosign.key")).unwrap();
    assert!(PrivateKey::is_encrypted(&pem));
    let key = PrivateKey::from_pem(&pem, PASSPHRASE).unwrap();
    assert_eq!(*key.public_key(), committed_key());
    for wrong in [&b""[..], b"a passphrase for test", b"A passphrase for tests"] {
        assert!(matches!(PrivateKey::from_pem(&pem, wrong), Err(SignerError::Passphrase)));
    }
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("PrivateKey({})", committed_key().fingerprint()));
}

#[test]
fn what_cosign_generated_is_read() {
    let pem = fs::read_to_string(testdata("made-by-cosign.key")).unwrap();
    let public = fs::read_to_string(testdata("made-by-cosign.pub")).unwrap();
    let key = PrivateKey::from_pem(&pem, PASSPHRASE).unwrap();
    assert_eq!(*key.public_key(), PublicKey::from_pem(&public).unwrap());
    let older = pem.replace("SIGSTORE", "COSIGN");
    assert_eq!(PrivateKey::from_pem(&older, PASSPHRASE).unwrap().public_key(), key.public_key());
}

#[test]
fn committed_bundles_are_believed() {
    for (name, predicate_type) in
        [("signature.bundle.json", predicate_types::SIGNATURE), ("provenance.bundle.json", predicate_types::SLSA_V1)]
    {
        let verified = judge(&committed(name), &image(), &committed_key()).unwrap();
        assert_eq!(verified.statement().predicate_type, predicate_type);
    }
    let bundle = Bundle::parse(&committed("signature.bundle.json")).unwrap();
    assert!(matches!(bundle.material(), Material::PublicKey { hint } if !hint.is_empty()));
}

#[test]
fn c01_an_attestation_of_another_image_is_refused_as_such() {
    let other = Digest::of(b"the manifest of another image");
    let error = judge(&committed("signature.bundle.json"), &other, &committed_key()).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Subject, "other-subject"));
}

#[test]
fn c07_the_payload_type_is_signed_and_fixed() {
    for other in ["text/plain", "application/json", "application/vnd.in-toto+xml", "application/vnd.in-toto", ""] {
        refused(&changed(|bundle| bundle["dsseEnvelope"]["payloadType"] = other.into()), Class::Format);
    }
}

#[test]
fn c12_an_envelope_has_exactly_one_signature() {
    let signatures = |change: fn(&mut Vec<Value>)| {
        changed(|bundle| change(bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap()))
    };
    refused(&signatures(Vec::clear), Class::Format);
    refused(&signatures(|list| list.push(list[0].clone())), Class::Format);
    refused(&signatures(|list| list.insert(0, serde_json::json!({"sig": "AAAA"}))), Class::Format);
    refused(&signatures(|list| list[0]["sig"] = "".into()), Class::Format);
    refused(&changed(|bundle| bundle["dsseEnvelope"]["signatures"] = Value::Null), Class::Format);
}

#[test]
fn c13_a_signature_over_a_blob_is_no_attestation() {
    let blob = changed(|bundle| {
        let sig = bundle["dsseEnvelope"]["signatures"][0]["sig"].clone();
        bundle.as_object_mut().unwrap().remove("dsseEnvelope");
        bundle["messageSignature"] = serde_json::json!({"signature": sig});
    });
    refused(&blob, Class::Format);
    let both = changed(|bundle| bundle["messageSignature"] = serde_json::json!({"signature": "AAAA"}));
    refused(&both, Class::Format);
}

#[test]
fn c08_the_payload_cannot_be_swapped_for_another_signed_one() {
    let other: Value = serde_json::from_slice(&committed("provenance.bundle.json")).unwrap();
    for member in ["payload", "signatures"] {
        let swapped = changed(|bundle| bundle["dsseEnvelope"][member] = other["dsseEnvelope"][member].clone());
        refused(&swapped, Class::Signature);
    }
}

#[test]
fn d01_the_very_bytes_are_verified() {
    use base64::Engine;
    let spaced = changed(|bundle| {
        let engine = base64::engine::general_purpose::STANDARD;
        let mut payload = engine.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        payload.push(b' ');
        bundle["dsseEnvelope"]["payload"] = engine.encode(payload).into();
    });
    refused(&spaced, Class::Signature);
}

#[test]
fn d04_d11_other_shapes_and_versions_are_refused() {
    refused(&changed(|bundle| bundle["dsseEnvelope"] = serde_json::json!([1, 2])), Class::Format);
    refused(&changed(|bundle| bundle["verificationMaterial"] = serde_json::json!([])), Class::Format);
    refused(&changed(|bundle| bundle["dsseEnvelope"]["extra"] = 1.into()), Class::Format);
    refused(&changed(|bundle| bundle["dsse_envelope"] = Value::Null), Class::Format);
    for other in ["application/vnd.dev.sigstore.bundle.v0.4+json", "application/vnd.dev.sigstore.bundle+json", ""] {
        refused(&changed(|bundle| bundle["mediaType"] = other.into()), Class::Format);
    }
    refused(&changed(|bundle| drop(bundle.as_object_mut().unwrap().remove("mediaType"))), Class::Format);
    let spelled = "application/vnd.dev.sigstore.bundle+json;version=0.3";
    let other_spelling = changed(|bundle| bundle["mediaType"] = spelled.into());
    judge(&other_spelling, &image(), &committed_key()).unwrap();
    refused(b"[]", Class::Format);
    refused(b"{}", Class::Format);
    refused(b"", Class::Format);
}

#[test]
fn d09_counts_are_bounded() {
    let entry = serde_json::json!({
        "logId": {"keyId": "AAAA"}, "kindVersion": {"kind": "dsse", "version": "0.0.1"}, "canonicalizedBody": "AAAA",
    });
    let entries = |count: usize| {
        changed(|bundle| bundle["verificationMaterial"]["tlogEntries"] = Value::Array(vec![entry.clone(); count]))
    };
    assert!(judge(&entries(32), &image(), &committed_key()).is_ok());
    refused(&entries(33), Class::Limit);
    refused(&entries(100_000), Class::Limit);
    let stamps = |count: usize| {
        let stamp = serde_json::json!({"signedTimestamp": "AAAA"});
        changed(|bundle| {
            bundle["verificationMaterial"]["timestampVerificationData"] =
                serde_json::json!({"rfc3161Timestamps": vec![stamp; count]});
        })
    };
    // Evidence that the policy did not ask for is not looked at, and gives no time.
    assert!(judge(&stamps(32), &image(), &committed_key()).unwrap().times().is_empty());
    refused(&stamps(33), Class::Limit);
}

#[test]
fn e08_older_versions_are_taken_only_where_named() {
    let bundle = |version: &str| {
        let media_type = format!("application/vnd.dev.sigstore.bundle+json;version={version}");
        Bundle::parse(&changed(|bundle| bundle["mediaType"] = media_type.into())).unwrap()
    };
    const NONE: Formats = Formats { cosign_legacy: true, v01: false, v02: false, v03: false };
    let key = committed_key();
    let trust = Trust::Key { key: &key, log: KeyLog::None };
    for (version, formats) in [
        ("0.1", Formats { v01: true, ..NONE }),
        ("0.2", Formats { v02: true, ..NONE }),
        ("0.3", Formats { v03: true, ..NONE }),
    ] {
        for other in ["0.1", "0.2", "0.3"] {
            let verdict = verify_bundle(&bundle(other), &image(), &trust, formats, Timestamp::UNIX_EPOCH);
            assert_eq!(verdict.is_ok(), version == other, "{version} {other}");
            if let Err(error) = verdict {
                assert_eq!((error.class(), error.code()), (Class::Format, "format-not-allowed"));
                assert!(error.to_string().contains(&format!(" v{other},")), "{error}");
            }
        }
    }
}

#[test]
fn g01_g02_other_signatures_are_refused() {
    let stranger = PrivateKey::generate().unwrap();
    let error = judge(&committed("signature.bundle.json"), &image(), stranger.public_key()).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Signature, "invalid-signature"));
    // r = 0 and s = 0; r = 1 and s = 1; no DER at all; trailing bytes; P1363's 64 plain bytes.
    for sig in ["MAYCAQACAQA=", "MAYCAQECAQE=", "AAAA", "MAYCAQECAQEA"] {
        refused(&changed(|bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = sig.into()), Class::Signature);
    }
    use base64::Engine;
    let plain = base64::engine::general_purpose::STANDARD.encode([1_u8; 64]);
    refused(&changed(|bundle| bundle["dsseEnvelope"]["signatures"][0]["sig"] = plain.into()), Class::Signature);
}

#[test]
fn g03_a_key_with_a_required_log_needs_the_log() {
    let root = TrustRoot::public_good().unwrap();
    let key = committed_key();
    let trust = Trust::Key { key: &key, log: KeyLog::Required(&root) };
    for version in ["0.1", "0.2", "0.3"] {
        let media_type = format!("application/vnd.dev.sigstore.bundle+json;version={version}");
        let bundle = Bundle::parse(&changed(|bundle| bundle["mediaType"] = media_type.into())).unwrap();
        let error = verify_bundle(&bundle, &image(), &trust, Formats::BUNDLES, Timestamp::now()).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Tlog, "no-log-entry"), "{version}");
    }
}

#[test]
fn g12_a_key_is_no_certificate_and_a_certificate_no_key() {
    let root = TrustRoot::public_good().unwrap();
    let bundle = Bundle::parse(&committed("signature.bundle.json")).unwrap();
    let trust = Trust::Keyless { root: &root };
    let error = verify_bundle(&bundle, &image(), &trust, Formats::default(), Timestamp::now()).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Trust, "no-certificate"));
    let certificate = changed(|bundle| {
        bundle["verificationMaterial"] = serde_json::json!({"certificate": {"rawBytes": "AAAA"}});
    });
    refused(&certificate, Class::Trust);
    let bundle = Bundle::parse(&certificate).unwrap();
    let error = verify_bundle(&bundle, &image(), &trust, Formats::default(), Timestamp::now()).unwrap_err();
    assert_eq!(error.class(), Class::Tlog);
    let both = changed(|bundle| {
        bundle["verificationMaterial"]["certificate"] = serde_json::json!({"rawBytes": "AAAA"});
    });
    refused(&both, Class::Format);
    let neither = changed(|bundle| bundle["verificationMaterial"] = serde_json::json!({}));
    refused(&neither, Class::Format);
}

#[test]
fn a_blob_is_verified_by_the_same_judge() {
    let bundle = Bundle::parse(&committed("signature.bundle.json")).unwrap();
    let key = committed_key();
    let trust = Trust::Key { key: &key, log: KeyLog::None };
    let judge = |blob: Blob<'_>| verify_blob(&bundle, blob, &trust, Formats::default(), Timestamp::UNIX_EPOCH);
    judge(Blob::Bytes(b"the manifest of an image")).unwrap();
    judge(Blob::Digest(&image())).unwrap();
    assert_eq!(judge(Blob::Bytes(b"another")).unwrap_err().class(), Class::Subject);
    assert_eq!(judge(Blob::Digest(&Digest::of(b""))).unwrap_err().class(), Class::Subject);
}

#[test]
fn nothing_but_a_statement_v1_is_signed() {
    let key = PrivateKey::generate().unwrap();
    let statement = Statement::write("repo", &image(), predicate_types::SIGNATURE, b"{}").unwrap();
    let older = String::from_utf8(statement).unwrap().replace("Statement/v1", "Statement/v0.1");
    assert_eq!(key.sign_statement(older.as_bytes()).unwrap_err().class(), Class::Format);
    for other in ["", "{}", "hello", r#"{"_type":"https://in-toto.io/Statement/v1","subject":[]}"#] {
        assert_eq!(key.sign_statement(other.as_bytes()).unwrap_err().class(), Class::Format, "{other}");
    }
}

/// Whatever one bit is flipped, one member dropped or doubled: refused, or believed as the very same statement.
#[test]
fn d08_a_changed_bundle_is_refused_or_says_the_same() {
    let key = committed_key();
    let original = committed("signature.bundle.json");
    let said = judge(&original, &image(), &key).unwrap();
    let same = |bundle: &[u8]| match judge(bundle, &image(), &key) {
        Err(_) => false,
        Ok(verified) => {
            assert_eq!(verified.statement().predicate_type, said.statement().predicate_type);
            assert_eq!(verified.statement().predicate_text(), said.statement().predicate_text());
            assert_eq!(verified.statement().subjects, said.statement().subjects);
            assert_eq!(verified.signer(), said.signer());
            true
        }
    };
    let hint = String::from_utf8(original.clone()).unwrap().find("\"hint\"").unwrap();
    for index in 0..original.len() {
        for bit in 0..8 {
            let mut flipped = original.clone();
            flipped[index] ^= 1 << bit;
            // Only the hint at a key, which nothing depends on, may change and leave the bundle believed.
            assert!(!same(&flipped) || (hint..hint + 60).contains(&index), "byte {index}, bit {bit}");
        }
    }
    for index in 0..original.len() {
        assert!(!same(&original[..index]), "the first {index} bytes");
    }
    let mut twice = original.clone();
    twice.extend_from_slice(&original);
    assert!(!same(&twice));
}

/// Against a Sigstore of one's own, whose folder `BULLA_SIGSTORE` names: `trusted_root.json`, `signing_config*.json`
/// and an identity token in `token`.
#[test]
fn a_keyless_signature_is_believed_by_the_root_of_its_services() {
    let Some(folder) = std::env::var_os("BULLA_SIGSTORE").map(PathBuf::from) else {
        println!("skipped: BULLA_SIGSTORE is not set");
        return;
    };
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let root = TrustRoot::parse(read("trusted_root.json").as_bytes(), "test").unwrap();
    let statement = Statement::write("repo", &image(), predicate_types::SIGNATURE, b"{}").unwrap();
    for config in ["signing_config_v1.json", "signing_config_v2.json"] {
        let services = keyless::Services::parse(&read(config)).unwrap();
        let token = keyless::Token::parse(&read("token")).unwrap();
        let believed = TrustRoot::parse(read("trusted_root.json").as_bytes(), "test").unwrap();
        let signer = keyless::Keyless::new(services, token, believed);
        let bundle = signer.sign_statement(&statement).unwrap();
        if std::env::var_os("BULLA_BLESS").is_some() {
            fs::write(
                testdata(&config.replace("signing_config_v", "keyless-rekor").replace(".json", ".bundle.json")),
                &bundle,
            )
            .unwrap();
        }
        let bundle = Bundle::parse(&bundle).unwrap();
        assert!(bundle.has_inclusion_proof());
        let judge = |root: &TrustRoot| {
            verify_bundle(&bundle, &image(), &Trust::Keyless { root }, Formats::default(), Timestamp::now())
        };
        let verified = judge(&root).unwrap();
        assert!(matches!(verified.signer(), Signer::Certificate(who) if who.claims.build_trigger.is_some()));
        assert!(verified.is_logged() && verified.signed_at().is_some());
        assert!(judge(&TrustRoot::public_good().unwrap()).is_err());
        // Nothing is handed out that the named root does not believe.
        let token = keyless::Token::parse(&read("token")).unwrap();
        let services = keyless::Services::parse(&read(config)).unwrap();
        let signer = keyless::Keyless::new(services, token, TrustRoot::public_good().unwrap());
        let error = signer.sign_statement(&statement).unwrap_err();
        assert_eq!(error.code(), "own-signature-invalid");
    }
}

#[test]
fn keys_of_every_kind_sign_and_are_read_again() {
    let statement = Statement::write("repo", &image(), predicate_types::SIGNATURE, b"{}").unwrap();
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let made = PrivateKey::generate_kind(kind).unwrap();
        let key = PrivateKey::from_pem(&made.to_pem(PASSPHRASE).unwrap(), PASSPHRASE).unwrap();
        assert_eq!(key.public_pem(), made.public_pem(), "{kind:?}");
        let bundle = key.sign_statement(&statement).unwrap();
        let public = PublicKey::from_pem(&made.public_pem()).unwrap();
        judge(&bundle, &image(), &public).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        // Another key of the same kind is somebody else's.
        let other = PrivateKey::generate_kind(kind).unwrap();
        let error = judge(&bundle, &image(), other.public_key()).unwrap_err();
        assert_eq!(error.class(), Class::Signature, "{kind:?}");
    }
}

/// Makes the committed files anew: `BULLA_BLESS=1 cargo test --test signing`.
#[test]
fn bless() {
    if std::env::var_os("BULLA_BLESS").is_none() {
        return;
    }
    let key = PrivateKey::generate().unwrap();
    fs::write(testdata("cosign.key"), key.to_pem(PASSPHRASE).unwrap()).unwrap();
    fs::write(testdata("key.pub"), key.public_pem()).unwrap();
    for (name, predicate_type, predicate) in [
        ("signature.bundle.json", predicate_types::SIGNATURE, "{}"),
        ("provenance.bundle.json", predicate_types::SLSA_V1, r#"{"buildDefinition":{},"runDetails":{}}"#),
    ] {
        let statement =
            Statement::write("registry.example/repo", &image(), predicate_type, predicate.as_bytes()).unwrap();
        fs::write(testdata(name), key.sign_statement(&statement).unwrap()).unwrap();
    }
}
