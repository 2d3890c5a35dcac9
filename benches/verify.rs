//! `make bench`: what verifying costs, inside. `peers` has whole processes; docs/bench.md has the last figures.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up is of no use")]

use std::path::Path;

use bulla::adapters::Store as _;
use bulla::adapters::layout::{Layout, LayoutWriter};
use bulla::adapters::signer::PrivateKey;
use bulla::attestation::bundle::Bundle;
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use bulla::policy::signer::TrustedSigner;
use bulla::policy::{Policy, Requirement};
use bulla::reference::LayoutImage;
use bulla::sign::{Place, Signing};
use bulla::sigstore::{self, Formats, KeyLog, Trust};
use bulla::verify::{self, Target};
use criterion::Criterion;
use jiff::Timestamp;
use serde_json::json;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate().unwrap();
    let dir = folder.path().join("image");
    let small = attested(&dir, &key, 100);
    let mut criterion = Criterion::default().configure_from_args();
    inside(&mut criterion, &dir, &small, &key);
    criterion.final_summary();
}

/// A layout with one image, signed and attested: provenance of some size and an SBOM of so many packages.
fn attested(dir: &Path, key: &PrivateKey, packages: usize) -> Digest {
    let layer = vec![0_u8; 1024];
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": names::MANIFEST,
        "config": Descriptor::of(names::CONFIG, &config),
        "layers": [Descriptor::of(names::LAYER_TAR, &layer)],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut writer = LayoutWriter::create(dir).unwrap();
    writer.add_blob(names::CONFIG, &config[..]).unwrap();
    writer.add_blob(names::LAYER_TAR, &layer[..]).unwrap();
    writer.add_manifest(names::MANIFEST, &manifest, Some("bench:1")).unwrap();
    let mut layout = writer.finish().unwrap();
    let digest = Digest::of(&manifest);
    let mut served = layout.manifest(&digest).unwrap();
    served.media_type = Some(names::MANIFEST.to_owned());
    let mut signing =
        Signing::of(Place::Layout(&mut layout), &served, "bench", key, "2026-01-01T00:00:00Z".parse().unwrap())
            .unwrap();
    signing.sign().unwrap();
    let dependency = |index: usize| json!({"uri": format!("pkg:deb/debian/p{index}@1"), "digest": {"sha256": "00"}});
    let provenance = json!({
        "buildDefinition": {
            "buildType": "https://example.test/build", "externalParameters": {},
            "resolvedDependencies": (0..packages).map(dependency).collect::<Vec<_>>(),
        },
        "runDetails": {"builder": {"id": "https://example.test/builder"}},
    });
    signing.attest("https://slsa.dev/provenance/v1", &serde_json::to_vec(&provenance).unwrap()).unwrap();
    let component = |index: usize| json!({"type": "library", "name": format!("p{index}"), "version": "1", "purl": format!("pkg:deb/debian/p{index}@1")});
    let sbom = json!({
        "bomFormat": "CycloneDX", "specVersion": "1.6",
        "components": (0..packages).map(component).collect::<Vec<_>>(),
    });
    signing.attest("https://cyclonedx.org/bom", &serde_json::to_vec(&sbom).unwrap()).unwrap();
    digest
}

fn inside(criterion: &mut Criterion, dir: &Path, digest: &Digest, key: &PrivateKey) {
    let now = Timestamp::now();
    let layout = Layout::open(dir).unwrap();
    let attached = layout.referrers(digest).unwrap();
    let bytes = layout.blob(&attached.manifests[0].parsed.layers[0], u64::MAX).unwrap();
    criterion.bench_function("read one bundle", |bencher| bencher.iter(|| Bundle::parse(&bytes).unwrap()));
    let bundle = Bundle::parse(&bytes).unwrap();
    let public = key.public_key();
    let trust = Trust::Key { key: public, log: KeyLog::None };
    criterion.bench_function("judge one bundle", |bencher| {
        bencher.iter(|| sigstore::verify_bundle(&bundle, digest, &trust, Formats::default(), now).unwrap());
    });
    let signer = || TrustedSigner::Key {
        key: bulla::sigstore::PublicKey::from_pem(&public.to_pem()).unwrap(),
        name: "bench".to_owned(),
        log: None,
    };
    let require = vec![Requirement::Signature, Requirement::Provenance, Requirement::Sbom];
    let policy = Policy::of_signer(signer(), require);
    criterion.bench_function("verify a layout with three attestations", |bencher| {
        bencher.iter(|| {
            let layout = Layout::open(dir).unwrap();
            let (descriptor, _) = layout.find(&LayoutImage::Only).unwrap();
            let root = layout.manifest(&descriptor.digest).unwrap();
            let target = Target { store: &layout, root, name: "oci/bench".to_owned(), reference: None };
            assert!(verify::verify(target, None, &policy, Vec::new(), now).unwrap().is_admitted());
        });
    });
}
