//! `make bench`: what verifying costs, inside and as a whole process, and how that compares with the peers that are
//! installed. Figures are ratios within one run; docs/bench.md has the last ones.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot be set up is of no use")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    let public = folder.path().join("key.pub");
    std::fs::write(&public, key.public_pem()).unwrap();

    let mut criterion = Criterion::default().configure_from_args();
    inside(&mut criterion, &dir, &small, &key);
    criterion.final_summary();
    whole_process(&dir, &public);
    peers(folder.path(), &dir, &public);
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
            assert!(verify::verify(target, None, &policy, &[], now).unwrap().is_admitted());
        });
    });
}

const RUNS: usize = 40;

/// The median time of a command as a whole process; absent if it is not installed or does not succeed.
fn median(mut command: impl FnMut() -> Command) -> Option<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let status = command().stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        times.push(start.elapsed());
        if !status.success() {
            return None;
        }
    }
    times.sort();
    times.get(RUNS / 2).copied()
}

fn bulla(dir: &Path, public: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
    command.arg("verify").arg(format!("oci:{}", dir.display())).arg("--key").arg(public);
    command
}

fn whole_process(dir: &Path, public: &Path) {
    let Some(time) = median(|| bulla(dir, public)) else { panic!("bulla does not verify the benchmark's image") };
    println!("whole process, offline, three attestations: bulla verify {time:.1?}");
}

/// The peers, each verifying *one* of the three attestations offline.
fn peers(folder: &Path, dir: &Path, public: &Path) {
    let layout = Layout::open(dir).unwrap();
    let (image, _) = layout.find(&LayoutImage::Only).unwrap();
    let attached = layout.referrers(&image.digest).unwrap();
    let provenance = attached.manifests.iter().find(|manifest| {
        manifest.parsed.annotations.get(names::PREDICATE_TYPE).is_some_and(|uri| uri.contains("slsa.dev"))
    });
    let bundle = layout.blob(&provenance.unwrap().parsed.layers[0], u64::MAX).unwrap();
    let file: PathBuf = folder.join("bundle.json");
    std::fs::write(&file, bundle).unwrap();
    let own = median(|| bulla(dir, public)).unwrap();
    let cosign = median(|| {
        let mut command = Command::new("cosign");
        command.args(["verify-blob-attestation", "--insecure-ignore-tlog", "--type", "slsaprovenance1"]);
        command.args(["--digestAlg", "sha256", "--digest", &image.digest.hex()]).arg("--bundle").arg(&file);
        command.arg("--key").arg(public);
        command
    });
    match cosign {
        Some(time) => {
            let ratio = time.as_secs_f64() / own.as_secs_f64();
            println!(
                "whole process, offline, one attestation: cosign verify-blob-attestation {time:.1?}, {ratio:.1} times bulla's three"
            );
        }
        None => println!("skipped: cosign is not installed, or does not verify the bundle"),
    }
}
