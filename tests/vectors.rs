//! Bundles that other programs made, judged here: none wrongly believed, none wrongly refused.
//!
//! They are found by the environment variable `BULLA_VECTORS`; without it these tests say that they are skipped.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bulla::attestation::bundle::Bundle;
use bulla::attestation::{AttestationError, predicate_types};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::sigstore::{
    Blob, Formats, KeyLog, PublicKey, Rejection, San, Signer, Trust, TrustRoot, VerifiedAttestation, verify_blob,
    verify_bundle,
};
use jiff::Timestamp;

const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
const BEACON: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ACME: &str = "https://github.com/acme/agent-templates/.github/workflows/build.yml@refs/heads/main";
/// The image of the peers, and the artifact of sigstore-python.
const PEER_IMAGE: &str = "sha256:37f59c67598cd22897782a18a53d22c1793983f416163d304f91eba65d7c2b6f";
const PEER_FILE: &str = "sha256:f09ddf57533aafe9bf80a2612251df98afb820df26f921d0df5aa46aaf867d81";

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("BULLA_VECTORS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: BULLA_VECTORS is not set");
    }
    folder
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn public_good() -> TrustRoot {
    TrustRoot::public_good().unwrap()
}

fn root_at(path: &Path) -> TrustRoot {
    TrustRoot::parse(&fs::read(path).unwrap(), &path.display().to_string()).unwrap()
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

fn expect_signer(signer: &Signer, issuer: &str, identity: &str) {
    let Signer::Certificate(who) = signer else { panic!("signed by a key") };
    assert_eq!((who.issuer.as_str(), who.san.as_str()), (issuer, identity));
}

/// One conformance case: nothing, or why it is refused.
fn conformance(folder: &Path, case: &Path) -> Result<(), String> {
    let bundle = fs::read(case.join("bundle.sigstore.json")).unwrap();
    let shown = |error: &dyn Classified| format!("{} {}: {error}", error.class(), error.code());
    let bundle = Bundle::parse(&bundle).map_err(|error: AttestationError| shown(&error))?;
    let own = case.join("artifact");
    let artifact = fs::read(if own.exists() { own } else { folder.join("conformance/a.txt") }).unwrap();
    let own_root = case.join("trusted_root.json");
    let root = if own_root.exists() { root_at(&own_root) } else { public_good() };
    let key = text(&case.join("key.pub")).map(|pem| PublicKey::from_pem(&pem).unwrap());
    let trust = match &key {
        Some(key) => Trust::Key { key, log: KeyLog::Required(&root) },
        None => Trust::Keyless { root: &root },
    };
    let blob = verify_blob(&bundle, Blob::Bytes(&artifact), &trust, Formats::BUNDLES, now())
        .map_err(|rejection| shown(&rejection))?;
    // Bytes or their digest: the same verdict.
    let by_digest = verify_blob(&bundle, Blob::Digest(&Digest::of(&artifact)), &trust, Formats::BUNDLES, now());
    by_digest.map_err(|rejection| format!("by digest alone: {}", shown(&rejection)))?;
    if let Signer::Certificate(who) = blob.signer() {
        let identity = text(&case.join("identity")).unwrap_or_else(|| BEACON.to_owned());
        let issuer = text(&case.join("issuer")).unwrap_or_else(|| GITHUB_ISSUER.to_owned());
        if who.san.as_str() != identity || who.issuer != issuer {
            return Err(format!("signed by {} {}", who.issuer, who.san.as_str()));
        }
    }
    Ok(())
}

#[test]
fn conformance_cases_are_judged_as_their_names_say() {
    let Some(folder) = vectors() else { return };
    let mut seen = 0;
    let mut wrong = Vec::new();
    let mut cases: Vec<PathBuf> =
        fs::read_dir(folder.join("conformance")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases.iter().filter(|path| path.is_dir()) {
        let name = case.file_name().unwrap().to_str().unwrap();
        let verdict = conformance(&folder, case);
        println!("{name}: {verdict:?}");
        if verdict.is_ok() == name.ends_with("_fail") {
            wrong.push(format!("{name}: {verdict:?}"));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen >= 36, "only {seen} cases");
}

fn keyless(bundle: &[u8], subject: &str, root: &TrustRoot) -> Result<VerifiedAttestation, Rejection> {
    let bundle = Bundle::parse(bundle)?;
    verify_bundle(&bundle, &digest(subject), &Trust::Keyless { root }, Formats::default(), now())
}

#[test]
fn what_peers_signed_keyless_is_believed() {
    let Some(folder) = vectors() else { return };
    let root = root_at(&folder.join("peers/trusted_root.json"));
    let mut seen = 0;
    for peer in ["keyless-rekor1", "keyless-rekor2", "keyless-js", "keyless-stmtv1"] {
        for path in bundles_in(&folder.join("peers").join(peer)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = fs::read(&path).unwrap();
            if name == "blob.bundle.json" {
                let bundle = Bundle::parse(&bytes).unwrap();
                let blob = fs::read(path.with_file_name("blob")).unwrap();
                let trust = Trust::Keyless { root: &root };
                let verified = verify_blob(&bundle, Blob::Bytes(&blob), &trust, Formats::default(), now()).unwrap();
                expect_signer(verified.signer(), GITHUB_ISSUER, ACME);
                // A signature over a blob is no attestation, whatever it is a signature over.
                let error = keyless(&bytes, &Digest::of(&blob).to_string(), &root).unwrap_err();
                assert_eq!(error.code(), "not-an-attestation");
                continue;
            }
            let subject = if name.starts_with("py-") { PEER_FILE } else { PEER_IMAGE };
            let verified = keyless(&bytes, subject, &root).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            expect_signer(verified.signer(), GITHUB_ISSUER, ACME);
            assert!(verified.is_logged() && verified.log_index().is_some() && verified.signed_at().is_some());
            let other = keyless(&bytes, &Digest::of(b"other").to_string(), &root).unwrap_err();
            assert_eq!(other.class(), Class::Subject, "{path:?}");
            let elsewhere = keyless(&bytes, subject, &public_good()).unwrap_err();
            assert!(matches!(elsewhere.class(), Class::Tlog | Class::Trust | Class::Time), "{path:?} {elsewhere}");
            seen += 1;
        }
    }
    assert!(seen >= 13, "only {seen} bundles");
}

fn bundles_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(".bundle.json")))
        .collect();
    paths.sort();
    paths
}

#[test]
fn what_cosign_signed_with_a_key_is_believed_with_that_key_alone() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("peers/key-newbundle");
    let key = PublicKey::from_pem(&text(&folder.join("cosign.pub")).unwrap()).unwrap();
    let other = text(&folder.join("../../conformance/managed-key-happy-path/key.pub")).unwrap();
    let other = PublicKey::from_pem(&other).unwrap();
    let root = public_good();
    let mut predicates = Vec::new();
    for path in bundles_in(&folder) {
        let bundle = Bundle::parse(&fs::read(&path).unwrap()).unwrap();
        let judge = |trust: Trust<'_>| verify_bundle(&bundle, &digest(PEER_IMAGE), &trust, Formats::default(), now());
        let verified = judge(Trust::Key { key: &key, log: KeyLog::None }).unwrap();
        assert_eq!(*verified.signer(), Signer::Key { fingerprint: key.fingerprint() });
        assert!(verified.times().is_empty() && !verified.is_logged());
        predicates.push(verified.statement().predicate_type.clone());
        let error = judge(Trust::Key { key: &other, log: KeyLog::None }).unwrap_err();
        assert_eq!(error.class(), Class::Signature);
        let error = judge(Trust::Key { key: &key, log: KeyLog::Required(&root) }).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Tlog, "no-log-entry"));
        let error = judge(Trust::Keyless { root: &root }).unwrap_err();
        assert_eq!(error.class(), Class::Trust);
    }
    assert!(predicates.iter().any(|found| found == predicate_types::SIGNATURE), "{predicates:?}");
    assert!(predicates.iter().any(|found| found == predicate_types::SLSA_V1), "{predicates:?}");
}

const KUBEWARDEN: &str = "sha256:c811d58de79c92f03214e63aa339484e488d694ae8a6283b5f3f17a9faf50172";

#[test]
fn a_real_image_signature_is_believed_by_the_public_good_root_alone() {
    let Some(folder) = vectors() else { return };
    let bytes = fs::read(folder.join("bundles/kubewarden-controller-v1.34.0.sigstore.json")).unwrap();
    let verified = keyless(&bytes, KUBEWARDEN, &public_good()).unwrap();
    assert_eq!(verified.statement().predicate_type, predicate_types::SIGNATURE);
    let Signer::Certificate(who) = verified.signer() else { panic!("signed by a key") };
    assert_eq!(who.issuer, GITHUB_ISSUER);
    assert!(matches!(&who.san, San::Uri(uri) if uri.starts_with("https://github.com/kubewarden/")));
    assert_eq!(who.claims.runner_environment.as_deref(), Some("github-hosted"));
    assert_eq!(keyless(&bytes, PEER_IMAGE, &public_good()).unwrap_err().class(), Class::Subject);
    // G19: one root is not another.
    let github = TrustRoot::github().unwrap();
    assert!(matches!(keyless(&bytes, KUBEWARDEN, &github).unwrap_err().class(), Class::Tlog | Class::Trust));
}

const WHEEL: &str = "sha256:ae57936def59bc4c75edd3a837d89bcefc6d3a5e31d55a6fa7a71624f92c3c3b";

#[test]
fn githubs_own_instance_needs_its_own_root() {
    let Some(folder) = vectors() else { return };
    let read = |suffix: &str| {
        let name = format!("bundles/github_provenance_demo-0.0.12-py3-none-any-bundle{suffix}.jsonl");
        fs::read(folder.join(name)).unwrap()
    };
    let root = TrustRoot::github().unwrap();
    let verified = keyless(&read(""), WHEEL, &root).unwrap();
    assert!(!verified.is_logged() && verified.log_index().is_none());
    assert_eq!(verified.times().len(), 1);
    assert_eq!(verified.statement().predicate_type, predicate_types::SLSA_V1);
    for foreign in [public_good(), root_at(&folder.join("trusted_root.github.json"))] {
        // Its trusted root under another name does not lift the need for a log either.
        let error = keyless(&read(""), WHEEL, &foreign).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Tlog, "no-log-entry"));
    }
    assert!(keyless(&read("-missing-cert"), WHEEL, &root).is_err());
    assert!(keyless(&read("-missing-verification-material"), WHEEL, &root).is_err());
}

#[test]
fn other_digests_and_broken_signatures_are_refused() {
    let Some(folder) = vectors() else { return };
    let npm = fs::read(folder.join("bundles/sigstore-js-2.1.0-bundle.json")).unwrap();
    let package = fs::read(folder.join("bundles/sigstore-js-2.1.0.tgz")).unwrap();
    let root = public_good();
    let trust = Trust::Keyless { root: &root };
    let bundle = Bundle::parse(&npm).unwrap();
    // Its only digest is SHA-512: a package by its bytes, and never an image.
    verify_blob(&bundle, Blob::Bytes(&package), &trust, Formats::default(), now()).unwrap();
    let error = keyless(&npm, &Digest::of(&package).to_string(), &root).unwrap_err();
    assert_eq!(error.class(), Class::Subject, "{error}");
    let broken = fs::read(folder.join("bundles/sigstoreBundle-invalid-signature.json")).unwrap();
    let refused = Bundle::parse(&broken)
        .map_err(Rejection::from)
        .and_then(|bundle| verify_blob(&bundle, Blob::Bytes(b""), &trust, Formats::BUNDLES, now()));
    println!("{}", refused.unwrap_err());
}

/// What is left of a bundle's log evidence when its unsigned version is rewritten to the oldest one.
#[test]
fn g03_a_bundle_stripped_to_v01_is_refused_unless_v01_is_named() {
    let Some(folder) = vectors() else { return };
    let root = public_good();
    let trust = Trust::Keyless { root: &root };
    let bytes = fs::read(folder.join("bundles/kubewarden-controller-v1.34.0.sigstore.json")).unwrap();
    let mut bundle: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let entry = bundle["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap();
    entry.remove("inclusionProof").unwrap();
    let judge = |bundle: &serde_json::Value, formats: Formats| {
        let bundle = Bundle::parse(bundle.to_string().as_bytes())?;
        verify_bundle(&bundle, &digest(KUBEWARDEN), &trust, formats, now())
    };
    let error = judge(&bundle, Formats::BUNDLES).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Tlog, "no-inclusion-proof"));
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    let error = judge(&bundle, Formats::BUNDLES).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Tlog, "no-inclusion-proof"));
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    let error = judge(&bundle, Formats::default()).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Format, "format-not-allowed"));
    judge(&bundle, Formats::BUNDLES).unwrap();
    // Not even the promise: nothing is left to believe.
    let entry = bundle["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap();
    entry.remove("inclusionPromise").unwrap();
    assert_eq!(judge(&bundle, Formats::BUNDLES).unwrap_err().class(), Class::Tlog);
    bundle["verificationMaterial"]["tlogEntries"] = serde_json::json!([]);
    assert_eq!(judge(&bundle, Formats::BUNDLES).unwrap_err().code(), "no-log-entry");
}

/// Every JSON member and array element of real bundles: without it, or with it from another bundle, the bundle is
/// refused or says the very same thing.
#[test]
fn mutated_real_bundles_are_refused_or_say_the_same() {
    let Some(folder) = vectors() else { return };
    let peers = root_at(&folder.join("peers/trusted_root.json"));
    let (public_good, github) = (public_good(), TrustRoot::github().unwrap());
    let cases = [
        ("bundles/kubewarden-controller-v1.34.0.sigstore.json", KUBEWARDEN, &public_good),
        ("bundles/github_provenance_demo-0.0.12-py3-none-any-bundle.jsonl", WHEEL, &github),
        ("peers/keyless-rekor1/sigstore.dev_cosign_sign_v1-511141ab.bundle.json", PEER_IMAGE, &peers),
        ("peers/keyless-rekor2/sigstore.dev_cosign_sign_v1-f2561fb0.bundle.json", PEER_IMAGE, &peers),
        ("peers/keyless-js/slsa-v2.bundle.json", PEER_IMAGE, &peers),
        ("peers/keyless-js/slsa-v1-intoto.bundle.json", PEER_IMAGE, &peers),
    ];
    let documents: Vec<serde_json::Value> =
        cases.iter().map(|(path, ..)| serde_json::from_slice(&fs::read(folder.join(path)).unwrap()).unwrap()).collect();
    let mut believed = Vec::new();
    for (index, (path, subject, root)) in cases.iter().enumerate() {
        let said = keyless(documents[index].to_string().as_bytes(), subject, root).unwrap();
        let mut pointers = Vec::new();
        collect_pointers(&documents[index], String::new(), &mut pointers);
        for pointer in pointers {
            let mut mutants = vec![without(&documents[index], &pointer)];
            for donor in documents.iter().filter_map(|other| other.pointer(&pointer)) {
                let mut mutant = documents[index].clone();
                let place = mutant.pointer_mut(&pointer).unwrap();
                if place != donor {
                    *place = donor.clone();
                    mutants.push(mutant);
                }
            }
            if let Some(text) = documents[index].pointer(&pointer).and_then(serde_json::Value::as_str) {
                let mut mutant = documents[index].clone();
                *mutant.pointer_mut(&pointer).unwrap() = text.chars().rev().collect::<String>().into();
                if mutant != documents[index] {
                    mutants.push(mutant);
                }
            }
            for mutant in mutants {
                let Ok(verified) = keyless(mutant.to_string().as_bytes(), subject, root) else { continue };
                assert_eq!(verified.statement().predicate_text(), said.statement().predicate_text(), "{pointer}");
                assert_eq!(verified.signer(), said.signer(), "{pointer}");
                assert!(verified.is_logged() == said.is_logged(), "{pointer}");
                believed.push(format!("{path} {pointer}"));
            }
        }
    }
    believed.sort();
    believed.dedup();
    println!("{believed:#?}");
    // Where there are two sources of time, one may be missing; Rekor v2 repeats in the proof what the checkpoint signs.
    let redundant = [
        "/timestampVerificationData",
        "/rfc3161Timestamps",
        "/rfc3161Timestamps/0",
        "/inclusionPromise",
        "/inclusionProof/logIndex",
        "/inclusionProof/rootHash",
        "/inclusionProof/treeSize",
    ];
    for case in &believed {
        assert!(redundant.iter().any(|part| case.ends_with(part)), "{case}");
    }
}

fn collect_pointers(value: &serde_json::Value, at: String, pointers: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                collect_pointers(member, format!("{at}/{key}"), pointers);
            }
        }
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_pointers(item, format!("{at}/{index}"), pointers);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        pointers.push(at);
    }
}

fn without(document: &serde_json::Value, pointer: &str) -> serde_json::Value {
    let mut mutant = document.clone();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match mutant.pointer_mut(parent).unwrap() {
        serde_json::Value::Object(members) => drop(members.remove(last)),
        serde_json::Value::Array(items) => drop(items.remove(last.parse().unwrap())),
        _ => unreachable!(),
    }
    mutant
}

/// The layers of a legacy attestation or signature in a layout: media type, bytes, annotations.
fn legacy_layers(manifest: &Path, blob: impl Fn(&str) -> Vec<u8>) -> Vec<(String, Vec<u8>, BTreeMap<String, String>)> {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| {
            let bytes = blob(layer["digest"].as_str().unwrap());
            let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
            (layer["mediaType"].as_str().unwrap().to_owned(), bytes, annotations)
        })
        .collect()
}

const LEGACY: Formats = Formats { cosign_legacy: true, v01: false, v02: false, v03: false };

#[test]
fn real_legacy_attestations_are_believed_where_the_policy_names_them() {
    let Some(folder) = vectors() else { return };
    let root = public_good();
    let trust = Trust::Keyless { root: &root };
    for version in ["v1.4.0", "v1.8.0", "v1.10.0", "v2.0.0"] {
        let image = folder.join(format!("images/slsa-{version}/container_workflow_dispatch"));
        let subject = text(&image.with_extension("digest")).unwrap();
        let subject = digest(&if subject.contains(':') { subject } else { format!("sha256:{subject}") });
        let index: serde_json::Value = serde_json::from_slice(&fs::read(image.join("index.json")).unwrap()).unwrap();
        let blob_path = |digest: &str| image.join("blobs").join(digest.replace(':', "/"));
        let kind = |entry: &&serde_json::Value| entry["annotations"]["kind"] == "dev.cosignproject.cosign/atts";
        let attestations = index["manifests"].as_array().unwrap().iter().find(kind).unwrap();
        let layers = legacy_layers(&blob_path(attestations["digest"].as_str().unwrap()), |digest| {
            fs::read(blob_path(digest)).unwrap()
        });
        let [(media_type, layer, annotations)] = layers.as_slice() else { panic!("{version}") };
        let judge = |layer: &[u8], annotations: &BTreeMap<String, String>, subject: &Digest, formats: Formats| {
            let bundle = Bundle::from_legacy(media_type, layer, annotations)?;
            verify_bundle(&bundle, subject, &trust, formats, now())
        };
        let verified = judge(layer, annotations, &subject, LEGACY).unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(verified.statement().predicate_type, predicate_types::SLSA_V02);
        assert!(verified.is_logged() && verified.times().len() == 1);
        let builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/";
        expect_signer(verified.signer(), GITHUB_ISSUER, &format!("{builder}{version}"));

        let error = judge(layer, annotations, &subject, Formats::default()).unwrap_err();
        assert_eq!(error.code(), "format-not-allowed");
        let error = judge(layer, annotations, &Digest::of(b"other"), LEGACY).unwrap_err();
        assert_eq!(error.class(), Class::Subject, "{version}: {error}");
        let mut without = annotations.clone();
        without.remove("dev.sigstore.cosign/bundle").unwrap();
        assert_eq!(judge(layer, &without, &subject, LEGACY).unwrap_err().class(), Class::Tlog);
        let mut without = annotations.clone();
        without.remove("dev.sigstore.cosign/certificate").unwrap();
        assert_eq!(judge(layer, &without, &subject, LEGACY).unwrap_err().class(), Class::Trust);
        // Every digit of the log's answer and of the certificate counts.
        for key in ["dev.sigstore.cosign/bundle", "dev.sigstore.cosign/certificate"] {
            for index in (0..annotations[key].len()).step_by(7) {
                let mut bytes = annotations[key].clone().into_bytes();
                bytes[index] ^= 1;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let mut mutant = annotations.clone();
                mutant.insert(key.to_owned(), changed);
                assert!(judge(layer, &mutant, &subject, LEGACY).is_err(), "{version} {key} {index}");
            }
        }
        for index in (0..layer.len()).step_by(97) {
            let mut bytes = layer.clone();
            bytes[index] ^= 1;
            assert!(judge(&bytes, annotations, &subject, LEGACY).is_err(), "{version} layer {index}");
        }
    }
}

#[test]
fn what_cosign_signed_with_a_key_in_the_legacy_form_is_believed() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("peers/key-legacy");
    let key = PublicKey::from_pem(&text(&folder.join("../key-newbundle/cosign.pub")).unwrap()).unwrap();
    let trust = Trust::Key { key: &key, log: KeyLog::None };
    let mut seen = Vec::new();
    for (manifest, files) in [
        ("sig.manifest.json", &["sig.layer0.json"][..]),
        ("att.manifest.json", &["att.layer0.dsse.json", "att.layer1.dsse.json"]),
    ] {
        let blobs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(folder.join(file)).unwrap()).collect();
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(manifest)).unwrap()).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let wanted = digest(layer["digest"].as_str().unwrap());
            let Some(bytes) = blobs.iter().find(|bytes| Digest::of(bytes) == wanted) else { continue };
            let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
            let bundle = Bundle::from_legacy(layer["mediaType"].as_str().unwrap(), bytes, &annotations).unwrap();
            let verified = verify_bundle(&bundle, &digest(PEER_IMAGE), &trust, LEGACY, now()).unwrap();
            seen.push(verified.statement().predicate_type.clone());
            let other = verify_bundle(&bundle, &Digest::of(b"other"), &trust, LEGACY, now()).unwrap_err();
            assert_eq!(other.class(), Class::Subject);
        }
    }
    seen.sort();
    assert!(seen.contains(&predicate_types::SIGNATURE.to_owned()), "{seen:?}");
    assert!(seen.contains(&predicate_types::SLSA_V1.to_owned()), "{seen:?}");
}
