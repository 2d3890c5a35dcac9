//! Bundles that are believed, and what is believed of them: whatever else is believed by the same trust is one of them.
//!
//! Nobody has the keys behind the files of `testdata/attestation` and the time to use them. So bytes that are believed,
//! however they came about, say what one of those files says: the same payload, signer and subject, and no other time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::attestation::bundle::Bundle;
use bulla::content::Digest;
use bulla::sigstore::{Formats, KeyLog, PublicKey, Signer, Trust, TrustRoot, VerifiedAttestation, verify_bundle};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::documents::halves;

/// The clock of every judgement.
const NOW: &str = "2030-01-01T00:00:00Z";
/// Every format that there is: a policy could name them all.
const EVERY: Formats = Formats { cosign_legacy: true, ..Formats::BUNDLES };
/// The image that cosign signed in the legacy form.
const LEGACY_IMAGE: &str = "sha256:87e38e1c1e1b1d4e2be9887087e7976f91c8043654f4d3abfc4644c6c978f30b";

macro_rules! testdata {
    ($($name:literal),* $(,)?) => { [$(include_bytes!(concat!("../../../testdata/attestation/", $name)).as_slice()),*] };
}

/// A bundle as JSON, or a legacy layer as JSON with its bytes in base64.
#[derive(Clone)]
pub struct Case {
    /// The document, as it is mutated.
    pub value: Value,
    /// Whether it is a layer of the legacy format.
    pub legacy: bool,
}

impl Case {
    /// What `value` is to the judge; nothing where it is not even a layer.
    pub fn read(&self, value: &Value) -> Option<Bundle> {
        if !self.legacy {
            return Bundle::parse(value.to_string().as_bytes()).ok();
        }
        let layer = STANDARD.decode(value.get("layer")?.as_str()?).ok()?;
        let annotations = serde_json::from_value(value.get("annotations")?.clone()).ok()?;
        Bundle::from_legacy(value.get("mediaType")?.as_str()?, &layer, &annotations).ok()
    }
}

/// Whom is believed, and what of the cases.
struct World {
    root: TrustRoot,
    key: PublicKey,
    known: [Vec<Record>; 3],
}

/// What is believed of a bundle.
#[derive(Debug, Clone)]
struct Record {
    said: Said,
    times: BTreeSet<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
struct Said {
    subject: Digest,
    payload: Option<Vec<u8>>,
    predicate_type: String,
    predicate: String,
    signer: Signer,
    logged: bool,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let [root, key] = testdata!["trusted_root.json", "key.pub"];
    let mut world = World {
        root: TrustRoot::parse(root, "testdata").unwrap(),
        key: PublicKey::from_pem(std::str::from_utf8(key).unwrap()).unwrap(),
        known: Default::default(),
    };
    let bundles: Vec<Bundle> = cases().iter().map(|case| case.read(&case.value).unwrap()).collect();
    let known = |trust: Trust<'_>| bundles.iter().filter_map(|bundle| believed(bundle, &trust)).collect();
    world.known = world.trusts().map(known);
    let every = world.known.iter().map(Vec::len).collect::<Vec<_>>();
    // Four with a certificate; four in the log with a key, and six whose key alone suffices.
    assert!(every.iter().all(|count| *count >= 4), "{every:?}");
    world
});

/// Every file that is believed.
pub fn cases() -> &'static [Case] {
    static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| bundles().chain(layers()).collect());
    &CASES
}

fn bundles() -> impl Iterator<Item = Case> {
    let bundles = testdata![
        "keyless-rekor1.bundle.json",
        "keyless-rekor2.bundle.json",
        "key-rekor1.bundle.json",
        "key-rekor2.bundle.json",
        "signature.bundle.json",
        "provenance.bundle.json",
    ];
    bundles.into_iter().map(|bytes| Case { value: serde_json::from_slice(bytes).unwrap(), legacy: false })
}

/// The layers of the legacy format.
fn layers() -> Vec<Case> {
    let blobs = testdata!["legacy/824c8e7fa883", "legacy/8dda8e79b90b", "legacy/bcd42147fd94"];
    let blobs: BTreeMap<Digest, &[u8]> = blobs.into_iter().map(|blob| (Digest::of(blob), blob)).collect();
    let mut cases = Vec::new();
    for manifest in testdata!["legacy/sig.manifest.json", "legacy/att.manifest.json"] {
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let blob = blobs[&layer["digest"].as_str().unwrap().parse().unwrap()];
            let value = json!({
                "mediaType": layer["mediaType"], "layer": STANDARD.encode(blob), "annotations": layer["annotations"],
            });
            cases.push(Case { value, legacy: true });
        }
    }
    cases
}

impl World {
    fn trusts(&self) -> [Trust<'_>; 3] {
        let Self { root, key, .. } = self;
        [
            Trust::Keyless { root },
            Trust::Key { key, log: KeyLog::Required(root) },
            Trust::Key { key, log: KeyLog::None },
        ]
    }
}

/// What is believed of a bundle, about one of the two images.
fn believed(bundle: &Bundle, trust: &Trust<'_>) -> Option<Record> {
    let subjects = [Digest::of(b"the manifest of an image"), LEGACY_IMAGE.parse().unwrap()];
    let now = NOW.parse().unwrap();
    let verified = subjects.iter().find_map(|subject| verify_bundle(bundle, subject, trust, EVERY, now).ok())?;
    Some(Record::of(bundle, &verified))
}

impl Record {
    fn of(bundle: &Bundle, verified: &VerifiedAttestation) -> Self {
        let said = Said {
            subject: *verified.subject(),
            payload: bundle.payload().map(<[u8]>::to_vec),
            predicate_type: verified.statement().predicate_type.clone(),
            predicate: verified.statement().predicate_text().to_owned(),
            signer: verified.signer().clone(),
            logged: verified.is_logged(),
        };
        Self { said, times: verified.times().iter().copied().collect() }
    }
}

/// Whoever is trusted, what is believed of these bytes is what is believed of one of the files. Says whether anything is.
pub fn check(bundle: &Bundle) -> bool {
    let mut any = false;
    for (trust, known) in WORLD.trusts().iter().zip(&WORLD.known) {
        if let Some(record) = believed(bundle, trust) {
            any = true;
            let same = |known: &Record| known.said == record.said && record.times.is_subset(&known.times);
            assert!(known.iter().any(same), "admitted with other content: {record:#?}");
        }
    }
    any
}

/// A bundle: what is read of it comes from its bytes, and what is believed of it is known.
pub fn bundle(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else { return };
    assert_eq!(*bundle.digest(), Digest::of(data));
    if let Some(payload) = bundle.payload() {
        let text = String::from_utf8_lossy(data).replace("\\/", "/");
        assert!(text.contains(&STANDARD.encode(payload)) || text.contains("\\u"));
    }
    let _ = bundle.unverified_statement();
    let _ = bundle.has_inclusion_proof();
    check(&bundle);
}

/// A layer of the legacy format: annotations as JSON, a zero byte, the layer.
pub fn legacy(data: &[u8]) {
    let (annotations, layer) = halves(data);
    let Ok(annotations) = serde_json::from_slice::<BTreeMap<String, String>>(annotations) else { return };
    for media_type in ["application/vnd.dsse.envelope.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json"] {
        if let Ok(bundle) = Bundle::from_legacy(media_type, layer, &annotations) {
            assert_eq!(*bundle.digest(), Digest::of(layer));
            check(&bundle);
        }
    }
}
