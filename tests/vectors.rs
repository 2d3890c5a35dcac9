//! Bundles that other programs made, judged here: none wrongly believed, none wrongly refused.
//!
//! They are found by the environment variable `BULLA_VECTORS`; without it these tests say that they are skipped.

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
    let blob = verify_blob(&bundle, Blob::Bytes(&artifact), &trust, Formats::ALL, now())
        .map_err(|rejection| shown(&rejection))?;
    // Bytes or their digest: the same verdict.
    let by_digest = verify_blob(&bundle, Blob::Digest(&Digest::of(&artifact)), &trust, Formats::ALL, now());
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
        .and_then(|bundle| verify_blob(&bundle, Blob::Bytes(b""), &trust, Formats::ALL, now()));
    println!("{}", refused.unwrap_err());
}
