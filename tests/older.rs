//! Forms and places that count only where a policy names them: cosign's older layers, bundles before v0.3, attestations
//! in another repository; and BuildKit's statements, which nobody signed and nothing makes count.

#![expect(clippy::unwrap_used, reason = "a case that cannot be set up is a failed test")]

#[path = "support/cli.rs"]
mod cli;
#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/stage.rs"]
mod stage;
#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use bulla::adapters::layout::{LayoutWriter, attestation_manifest};
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::{Value, json};

use image::Image;
use registry::{Fault, TestRegistry};
use stage::{ALL, REPOSITORY, SIGN, SLSA, SPDX, Stage, predicate};
use support::sigstore::cert::Signer;
use support::sigstore::layer::{Layer, simple_signing};
use support::sigstore::log::Kind;
use support::sigstore::{Attest, Sigstore, Version, statement};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const IDENTITY: &str = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";

fn signer() -> Signer {
    Signer::github("acme/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0")
}

/// A stage whose policy names a workflow of this world.
fn stage(world: &Sigstore, lines: &str, formats: &str) -> Stage {
    let stage = Stage::bare();
    stage.desk.write("config/trusted_root.json", world.trusted_root_json());
    policy(&stage, lines, formats);
    stage
}

fn policy(stage: &Stage, lines: &str, formats: &str) {
    let host = stage.server.host();
    let formats = if formats.is_empty() { String::new() } else { format!("[rule.formats]\nbundle = [{formats}]\n") };
    stage.policy(&format!(
        "version = 1\n[[rule]]\nimages = [\"{host}/acme/*\", \"oci/**\"]\n{lines}\n\
         [[rule.signer]]\nissuer = \"{ISSUER}\"\nidentity = \"{IDENTITY}\"\nroot = \"trusted_root.json\"\n{formats}"
    ));
}

const SIGNATURE: &str = "require = [\"signature\"]";
const BOTH: &str = "require = [\"signature\", \"provenance\"]";
const EVERYTHING: &str = "require = [\"signature\", \"provenance\", \"sbom\"]";
const LEGACY: &str = "\"v0.3\", \"cosign-legacy\"";

fn bundle_of(attest: Attest) -> Value {
    serde_json::from_slice(&attest.bundle()).unwrap()
}

/// cosign's signature of an image, by whom it likes.
fn signature(world: &Sigstore, digest: &Digest, signer: &Signer) -> Layer {
    let payload = simple_signing(&digest.to_string());
    let bundle = world.attest(&payload, signer).kind(Kind::HashedRekord001).with(|bundle| bundle.simple = true);
    Layer::signature(&bundle_of(bundle))
}

/// cosign's attestation; its annotation promises provenance unless it is something else.
fn attestation(world: &Sigstore, digest: &Digest, predicate_type: &str, signer: &Signer) -> Layer {
    let payload = statement(&digest.hex(), predicate_type, &predicate(predicate_type));
    let mut layer = Layer::attestation(&bundle_of(world.attest(&payload, signer)));
    layer.annotations.insert("predicateType".to_owned(), predicate_type.to_owned());
    layer
}

/// The manifest that holds these layers, with what it needs.
fn legacy(layers: &[&Layer]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let config = b"{\"architecture\":\"\",\"os\":\"\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}".to_vec();
    let described = layers.iter().map(|layer| {
        let mut descriptor = Descriptor::of(layer.media_type, &layer.bytes);
        descriptor.annotations = layer.annotations.clone();
        descriptor
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": names::MANIFEST, "config": Descriptor::of(names::CONFIG, &config),
        "layers": described.collect::<Vec<_>>(),
    });
    let blobs = layers.iter().map(|layer| layer.bytes.clone()).chain([config]).collect();
    (manifest.to_string().into_bytes(), blobs)
}

/// Puts layers under one of cosign's tags.
fn put(stage: &Stage, repository: &str, suffix: &str, digest: &Digest, layers: &[&Layer]) {
    let (manifest, blobs) = legacy(layers);
    blobs.iter().for_each(|blob| {
        stage.server.put_blob(repository, blob);
    });
    let tag = format!("sha256-{}.{suffix}", digest.hex());
    stage.server.put_manifest(repository, Some(&tag), names::MANIFEST, &manifest);
}

/// All three statements in cosign's older form.
fn put_all(stage: &Stage, world: &Sigstore, repository: &str) {
    let digest = stage.image.digest();
    put(stage, repository, "sig", &digest, &[&signature(world, &digest, &signer())]);
    let attestations = [SLSA, SPDX].map(|one| attestation(world, &digest, one, &signer()));
    put(stage, repository, "att", &digest, &[&attestations[0], &attestations[1]]);
}

#[test]
fn e08_older_layers_admit_where_a_policy_names_them_and_nowhere_else() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    put_all(&stage, &world, REPOSITORY);
    let verdict = stage.admits(&[&stage.tag()]);
    assert_eq!(verdict["attestations"][0]["predicateType"], SIGN);
    assert_eq!(verdict["attestations"][0]["signer"]["identity"], IDENTITY);
    policy(&stage, EVERYTHING, "");
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    for suffix in ["sig", "att"] {
        let tag = format!("sha256-{}.{suffix}", stage.image.digest().hex());
        assert!(verdict["checks"][0]["message"].as_str().unwrap().contains(&tag), "{verdict:#}");
    }
    // The denial does not read them.
    assert_eq!(stage.server.log().iter().rfind(|request| request.path.contains(".att")).unwrap().method, "HEAD");
    // A policy that names the older form alone takes nothing newer.
    policy(&stage, EVERYTHING, "\"cosign-legacy\"");
    stage.admits(&[&stage.tag()]);
}

#[test]
fn nothing_more_is_asked_for_where_bundles_suffice() {
    let world = Sigstore::new();
    let stage = stage(&world, SIGNATURE, LEGACY);
    let digest = stage.image.digest();
    let bundle = world.attest(&statement(&digest.hex(), SIGN, &predicate(SIGN)), &signer()).bundle();
    stage.attach(&bundle, &stage.image.descriptor(), SIGN);
    put_all(&stage, &world, REPOSITORY);
    stage.verify(&[&stage.tag()]).ends(0);
    assert_eq!(stage.server.count(".sig") + stage.server.count(".att"), 0);
    // One of the two in each form.
    policy(&stage, BOTH, LEGACY);
    let verdict = stage.admits(&[&stage.tag()]);
    assert_eq!(verdict["attestations"][0]["digest"], json!(Digest::of(&bundle)));
}

#[test]
fn c14_a_signature_of_another_image_is_of_another_image() {
    let world = Sigstore::new();
    let stage = stage(&world, SIGNATURE, LEGACY);
    let (digest, other) = (stage.image.digest(), Image::new("other").digest());
    let foreign = signature(&world, &other, &signer());
    put(&stage, REPOSITORY, "sig", &digest, &[&foreign]);
    stage.refuses(&[&stage.tag()], 1, "SUBJECT");
    // Beside the right one it changes nothing, whichever comes first.
    let good = signature(&world, &digest, &signer());
    for layers in [[&foreign, &good], [&good, &foreign]] {
        put(&stage, REPOSITORY, "sig", &digest, &layers);
        stage.admits(&[&stage.tag()]);
    }
    // The good payload with the foreign evidence, and the reverse.
    let swapped = Layer { annotations: foreign.annotations.clone(), ..good.clone() };
    let reverse = Layer { annotations: good.annotations.clone(), ..foreign };
    for layer in [&swapped, &reverse] {
        put(&stage, REPOSITORY, "sig", &digest, &[layer]);
        let verdict = stage.verify(&["--json", &stage.tag()]).ends(1).json();
        assert_eq!(verdict["attestations"], json!([]));
        assert!(["SIGNATURE", "TLOG"].contains(&verdict["checks"][0]["class"].as_str().unwrap()), "{verdict:#}");
    }
}

#[test]
fn e09_an_attestation_by_another_builder_is_an_identity_refusal() {
    let world = Sigstore::new();
    let stage = stage(&world, "require = [\"provenance\"]", LEGACY);
    let digest = stage.image.digest();
    let weaker = Signer::github("acme/templates", ".github/workflows/old.yml", "refs/tags/v1.0.0");
    put(&stage, REPOSITORY, "att", &digest, &[&attestation(&world, &digest, SLSA, &weaker)]);
    stage.refuses(&[&stage.tag()], 1, "IDENTITY");
    // The same workflow in a world that the policy does not trust.
    let stranger = Sigstore::new();
    put(&stage, REPOSITORY, "att", &digest, &[&attestation(&stranger, &digest, SLSA, &signer())]);
    let verdict = stage.verify(&["--json", &stage.tag()]).ends(1).json();
    assert!(["TRUST", "TLOG"].contains(&verdict["checks"][0]["class"].as_str().unwrap()), "{verdict:#}");
}

#[test]
fn c06_an_older_layer_whose_annotation_lies_is_a_predicate_refusal() {
    let world = Sigstore::new();
    let stage = stage(&world, "require = [\"provenance\"]", LEGACY);
    let digest = stage.image.digest();
    let mut lying = attestation(&world, &digest, "https://example.test/report", &signer());
    lying.annotations.insert("predicateType".to_owned(), SLSA.to_owned());
    put(&stage, REPOSITORY, "att", &digest, &[&lying]);
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert_eq!(verdict["rejections"][0]["code"], "annotation-disagrees", "{verdict:#}");
    // Without the annotation, as cosign wrote it before 2023, the statement alone counts.
    let mut silent = attestation(&world, &digest, SLSA, &signer());
    silent.annotations.remove("predicateType");
    put(&stage, REPOSITORY, "att", &digest, &[&silent]);
    stage.admits(&[&stage.tag()]);
}

#[test]
fn e01_older_tags_that_cannot_be_asked_for_are_undecided_and_garbage_under_them_is_nothing() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    put_all(&stage, &world, REPOSITORY);
    let tag = format!("sha256-{}", stage.image.digest().hex());
    stage.server.fault(&format!("{tag}.att"), Fault::status(403));
    stage.refuses(&[&stage.tag()], 3, "AUTH");
    stage.server.clear_faults();
    for (media_type, garbage) in [(names::MANIFEST, "{}"), (names::INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)] {
        stage.server.put_manifest(REPOSITORY, Some(&format!("{tag}.sig")), media_type, garbage.as_bytes());
        let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
        assert_eq!(verdict["rejections"][0]["code"], "unusable-referrer");
        assert_eq!(verdict["checks"][1]["status"], "pass");
    }
    // An image, an unsigned document and too much of everything are no signatures.
    let junk =
        Layer { media_type: "application/vnd.cyclonedx+json", ..signature(&world, &stage.image.digest(), &signer()) };
    put(&stage, REPOSITORY, "sig", &stage.image.digest(), &[&junk]);
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
}

/// A layout of the image with cosign's layers, as `annotate` marks them.
fn legacy_layout(stage: &Stage, world: &Sigstore, below: &str, annotate: impl Fn(&str) -> Value) -> String {
    let dir = stage.desk.path(below);
    let digest = stage.image.digest();
    let mut writer = LayoutWriter::create(&dir).unwrap();
    for blob in [&stage.image.config, &stage.image.layer] {
        writer.add_blob(names::CONFIG, &blob[..]).unwrap();
    }
    writer.add_manifest(names::MANIFEST, &stage.image.manifest, None).unwrap();
    let attestations = [SLSA, SPDX].map(|one| attestation(world, &digest, one, &signer()));
    let signed = signature(world, &digest, &signer());
    for (layers, _) in [(vec![&signed], "sigs"), (attestations.iter().collect(), "atts")] {
        let (manifest, blobs) = legacy(&layers);
        blobs.iter().for_each(|blob| drop(writer.add_blob(names::CONFIG, &blob[..]).unwrap()));
        writer.add_manifest(names::MANIFEST, &manifest, None).unwrap();
    }
    writer.finish().unwrap();
    let path = dir.join("index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (at, kind) in ["image", "sigs", "atts"].iter().enumerate() {
        index["manifests"][at]["annotations"] = annotate(kind);
    }
    std::fs::write(path, index.to_string()).unwrap();
    format!("oci:{}", dir.display())
}

#[test]
fn layouts_hold_older_layers_by_tag_or_as_cosign_saves_them() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    let hex = stage.image.digest().hex();
    let saved = legacy_layout(
        &stage,
        &world,
        "work/saved",
        |kind| json!({ "kind": format!("dev.cosignproject.cosign/{kind}") }),
    );
    let tagged = legacy_layout(&stage, &world, "work/tagged", |kind| match kind {
        "image" => json!({}),
        "sigs" => json!({ names::REF_NAME: format!("sha256-{hex}.sig") }),
        _ => json!({ names::REF_NAME: format!("sha256-{hex}.att") }),
    });
    let other = Image::new("other").digest().hex();
    let elsewhere = legacy_layout(&stage, &world, "work/elsewhere", |kind| match kind {
        "image" => json!({}),
        kind => json!({ names::REF_NAME: format!("sha256-{other}.{}", &kind[..3]) }),
    });
    stage.admits(&[&saved]);
    stage.admits(&[&tagged]);
    stage.refuses(&[&elsewhere], 1, "NO_ATTESTATION");
    policy(&stage, EVERYTHING, "");
    for layout in [&saved, &tagged] {
        let verdict = stage.refuses(&[layout], 1, "NO_ATTESTATION");
        assert!(verdict["checks"][0]["message"].as_str().unwrap().contains("older formats were seen"), "{verdict:#}");
    }
}

#[test]
fn bundles_before_v03_count_where_their_version_is_named() {
    let world = Sigstore::new();
    let stage = stage(&world, SIGNATURE, "\"v0.3\"");
    let image = stage.image.descriptor();
    let payload = statement(&image.digest.hex(), SIGN, &predicate(SIGN));
    for (version, name, others) in [
        (Version::V01, "\"v0.1\"", "\"v0.2\", \"v0.3\", \"cosign-legacy\""),
        (Version::V02, "\"v0.2\"", "\"v0.1\", \"v0.3\", \"cosign-legacy\""),
        (Version::V03, "\"v0.3\"", "\"v0.1\", \"v0.2\", \"cosign-legacy\""),
    ] {
        let bundle = world.attest(&payload, &signer()).version(version).bundle();
        let mut manifest: Value =
            serde_json::from_slice(&attestation_manifest(&bundle, &image, SIGN, jiff::Timestamp::UNIX_EPOCH)).unwrap();
        manifest["artifactType"] = json!(version.media_type());
        manifest["layers"][0]["mediaType"] = json!(version.media_type());
        let server = &stage.server;
        server.put_blob(REPOSITORY, &bundle);
        server.put_blob(REPOSITORY, b"{}");
        server.put_manifest(REPOSITORY, None, names::MANIFEST, manifest.to_string().as_bytes());
        policy(&stage, SIGNATURE, name);
        let verdict = stage.admits(&[&stage.tag()]);
        assert_eq!(verdict["attestations"][0]["digest"], json!(Digest::of(&bundle)), "{version:?}");
        // The same bundle alone under a policy that names the others.
        let alone = Stage::bare();
        alone.desk.write("config/trusted_root.json", world.trusted_root_json());
        policy(&alone, SIGNATURE, others);
        alone.server.put_blob(REPOSITORY, &bundle);
        alone.server.put_manifest(REPOSITORY, None, names::MANIFEST, manifest.to_string().as_bytes());
        let verdict = alone.refuses(&[&alone.tag()], 1, "FORMAT");
        assert_eq!(verdict["checks"][0]["code"], "format-not-allowed", "{version:?}");
    }
}

#[test]
fn e10_attestations_in_another_repository_count_where_the_rule_names_it_and_there_alone() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    let signatures = format!("{}/acme/signatures", stage.server.host());
    put_all(&stage, &world, "acme/signatures");
    // Nobody said so.
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert_eq!(stage.server.count("acme/signatures"), 0);
    kept_in(&stage, &signatures);
    stage.admits(&[&stage.tag()]);
    // Bundles are found there too.
    let image = stage.image.descriptor();
    let bundle = world.attest(&statement(&image.digest.hex(), SIGN, &predicate(SIGN)), &signer()).bundle();
    let manifest = attestation_manifest(&bundle, &image, SIGN, jiff::Timestamp::UNIX_EPOCH);
    stage.server.put_blob("acme/signatures", &bundle);
    stage.server.put_manifest("acme/signatures", None, names::MANIFEST, &manifest);
    policy(&stage, &format!("{SIGNATURE}\nattestations = \"{signatures}\""), "");
    stage.admits(&[&stage.tag()]);
    // What lies beside the image does not count then, and is not asked for.
    policy(&stage, &format!("{SIGNATURE}\nattestations = \"{}/acme/empty\"", stage.server.host()), "");
    stage.attach(&bundle, &image, SIGN);
    stage.server.clear_log();
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert!(verdict["checks"][0]["message"].as_str().unwrap().contains("/acme/empty"), "{verdict:#}");
    assert_eq!(stage.server.count(&format!("{REPOSITORY}/referrers")), 0);
    // A place that does not answer is no empty one.
    stage.server.fault("acme/empty/", Fault::status(403));
    stage.refuses(&[&stage.tag()], 3, "AUTH");
    // A layout has its attestations with it, and nothing else is contacted.
    let layout = legacy_layout(
        &stage,
        &world,
        "work/saved",
        |kind| json!({ "kind": format!("dev.cosignproject.cosign/{kind}") }),
    );
    kept_in(&stage, &signatures);
    stage.server.clear_log();
    stage.admits(&[&layout]);
    assert_eq!(stage.server.log().len(), 0);
}

#[test]
fn m08_statements_that_nobody_signed_do_not_count_wherever_they_are() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    let child = stage.image.descriptor();
    let unsigned = |predicate_type: &str, subject: &Digest| {
        let mut predicate = predicate(predicate_type);
        if predicate_type == SLSA {
            predicate["runDetails"]["builder"]["id"] = json!("");
        }
        statement(&subject.hex(), predicate_type, &predicate)
    };
    let manifest_of = |subject: &Digest, about: Option<&Descriptor>| {
        let layers = ALL.map(|one| {
            let bytes = unsigned(one, subject);
            stage.server.put_blob(REPOSITORY, &bytes);
            let mut layer = Descriptor::of("application/vnd.in-toto+json", &bytes);
            layer.annotations.insert("in-toto.io/predicate-type".to_owned(), one.to_owned());
            layer
        });
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": names::MANIFEST,
            "config": Descriptor::of(names::EMPTY, b"{}"), "layers": layers,
        });
        if let Some(about) = about {
            manifest["artifactType"] = json!("application/vnd.docker.attestation.manifest.v1+json");
            manifest["subject"] = json!(about);
        }
        manifest.to_string().into_bytes()
    };
    let entry = |bytes: &[u8]| {
        let mut entry = serde_json::to_value(Descriptor::of(names::MANIFEST, bytes)).unwrap();
        entry["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        entry["annotations"] =
            json!({ "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": child.digest });
        entry
    };
    let mut image = serde_json::to_value(&child).unwrap();
    image["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    for about in [None, Some(&child)] {
        let buildkit = manifest_of(&child.digest, about);
        stage.server.put_manifest(REPOSITORY, None, names::MANIFEST, &buildkit);
        let index = stage.put_index("1.0", json!([image, entry(&buildkit)]));
        stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "NO_ATTESTATION");
        // The same attached to the index itself, as a referrer and under cosign's tag.
        let attached = manifest_of(&index.digest, Some(&index));
        stage.server.put_manifest(REPOSITORY, None, names::MANIFEST, &attached);
        let tag = format!("sha256-{}.att", index.digest.hex());
        stage.server.put_manifest(REPOSITORY, Some(&tag), names::MANIFEST, &manifest_of(&index.digest, None));
        let verdict = stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "NO_ATTESTATION");
        assert!(verdict["rejections"].as_array().unwrap().iter().all(|rejected| rejected["code"] == "no-bundle"));
        // C16: what is signed is BuildKit's manifest, and not the image.
        for one in ALL {
            let payload = statement(&Digest::of(&buildkit).hex(), one, &predicate(one));
            let bundle = world.attest(&payload, &signer()).bundle();
            stage.attach(&bundle, &Descriptor::of(names::MANIFEST, &buildkit), one);
        }
        stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "NO_ATTESTATION");
    }
}

#[test]
fn h11_more_evidence_than_is_judged_is_a_limit_before_any_of_it_is_fetched() {
    let world = Sigstore::new();
    let stage = stage(&world, SIGNATURE, "");
    let image = stage.image.descriptor();
    let bundle = world.attest(&statement(&image.digest.hex(), SIGN, &predicate(SIGN)), &signer()).bundle();
    stage.attach(&bundle, &image, SIGN);
    stage.admits(&[&stage.tag()]);
    for number in 0..5_u8 {
        let mut manifest: Value =
            serde_json::from_slice(&attestation_manifest(&[number], &image, SIGN, jiff::Timestamp::UNIX_EPOCH))
                .unwrap();
        manifest["layers"][0]["size"] = json!(90 << 20);
        stage.server.put_manifest(REPOSITORY, None, names::MANIFEST, manifest.to_string().as_bytes());
    }
    std::fs::remove_dir_all(stage.desk.path("cache")).unwrap();
    stage.server.clear_log();
    stage.refuses(&[&stage.tag()], 1, "LIMIT");
    assert_eq!(stage.server.count(&format!("/blobs/{}", Digest::of(&[0_u8]))), 0);
    // What the rule does not ask for is not counted.
    policy(&stage, "require = [\"https://example.test/other\"]", "");
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
}

#[test]
fn older_layers_are_copied_with_their_image() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    put_all(&stage, &world, REPOSITORY);
    let (layout, there) =
        (format!("oci:{}", stage.desk.arg("work/copy")), format!("{}/acme/there:1.0", stage.server.host()));
    stage.desk.run(&["copy", &stage.tag(), &layout]).ends(0);
    stage.admits(&[&layout]);
    stage.desk.run(&["copy", &layout, &there]).ends(0);
    stage.admits(&[&there]);
    // Again is nothing new; other signatures under the tag are not overwritten unawares.
    stage.server.clear_log();
    stage.desk.run(&["copy", &layout, &there]).ends(0);
    assert!(stage.server.log().iter().all(|request| request.method == "GET"));
    let digest = stage.image.digest();
    put(
        &stage,
        "acme/there",
        "sig",
        &digest,
        &[&signature(&world, &digest, &Signer::github("acme/x", ".github/workflows/x.yml", "refs/heads/x"))],
    );
    let refused = stage.desk.run(&["copy", &layout, &there]).ends(2);
    assert!(refused.stderr.contains(".sig") && refused.stderr.contains("tag-taken"), "{refused:?}");
    stage.desk.run(&["copy", "--move-tag", &layout, &there]).ends(0);
    stage.admits(&[&there]);
}

#[test]
fn inspect_says_who_signed_what_in_every_form_and_whether_the_policy_names_them() {
    let world = Sigstore::new();
    let stage = stage(&world, EVERYTHING, LEGACY);
    put_all(&stage, &world, REPOSITORY);
    let image = stage.image.descriptor();
    let other = Signer::github("acme/other", ".github/workflows/x.yml", "refs/heads/main");
    let bundle = world.attest(&statement(&image.digest.hex(), SIGN, &predicate(SIGN)), &other).bundle();
    stage.attach(&bundle, &image, SIGN);
    let inspect = |args: &[&str]| -> Vec<Value> {
        let document = stage.desk.run(&[&["inspect", "--json", &stage.tag()], args].concat()).ends(0).json();
        document["found"]["attached"].as_array().unwrap().clone()
    };
    // Nobody vouches for this world: what certificates claim is shown as a claim.
    for one in inspect(&[]) {
        assert_eq!(one["signature"]["standing"], "not-verified", "{one:#}");
        assert!(one["signature"]["signer"]["identity"].is_string() && one["signature"]["reason"].is_object());
    }
    let policy = stage.desk.arg("config/policy.toml");
    let shown = inspect(&["--policy", &policy]);
    let named: Vec<&Value> = shown.iter().map(|one| &one["signature"]["signerOfPolicy"]).collect();
    assert_eq!(named, [false, true, true, true].map(Value::Bool).iter().collect::<Vec<_>>(), "{shown:#?}");
    let forms: Vec<&Value> = shown.iter().map(|one| &one["form"]).collect();
    assert_eq!(forms, ["v0.3", "cosign-legacy", "cosign-legacy", "cosign-legacy"]);
    assert_eq!(shown[1]["statement"]["subjectName"], "ghcr.io/acme/templates/claude");
    // Where the rule says that attestations are kept elsewhere, they are shown from there.
    let signatures = format!("{}/acme/signatures", stage.server.host());
    kept_in(&stage, &signatures);
    assert!(inspect(&["--policy", &policy]).is_empty());
    put_all(&stage, &world, "acme/signatures");
    assert_eq!(inspect(&["--policy", &policy]).len(), 3);
}

/// A policy whose attestations are kept in this repository.
fn kept_in(stage: &Stage, repository: &str) {
    policy(stage, &format!("{EVERYTHING}\nattestations = \"{repository}\""), LEGACY);
}

fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("BULLA_VECTORS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: BULLA_VECTORS is not set");
    }
    folder
}

#[test]
fn real_images_with_older_attestations_are_judged_as_they_should() {
    let Some(folder) = vectors() else { return };
    let stage = Stage::bare();
    let generator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/";
    for version in ["v1.4.0", "v1.8.0", "v1.10.0", "v2.0.0"] {
        let image =
            format!("oci:{}", folder.join(format!("images/slsa-{version}/container_workflow_dispatch")).display());
        let args = [image.as_str(), "--platform", "linux/amd64"];
        let rule = |require: &str, version: &str, formats: &str| {
            stage.policy(&format!(
                "version = 1\n[[rule]]\nimages = [\"oci/*\"]\nrequire = [{require}]\n[[rule.signer]]\n\
                 issuer = \"{ISSUER}\"\nidentity = \"{generator}{version}\"\n{formats}"
            ));
        };
        let older =
            "[rule.formats]\nbundle = [\"v0.3\", \"cosign-legacy\"]\nprovenance = [\"slsa-v1\", \"slsa-v0.2\"]\n";
        rule("\"provenance\"", version, older);
        let verdict = stage.admits(&args);
        assert_eq!(verdict["attestations"][0]["predicateType"], "https://slsa.dev/provenance/v0.2");
        rule("\"provenance\"", version, "");
        let verdict = stage.refuses(&args, 1, "NO_ATTESTATION");
        assert!(verdict["checks"][0]["message"].as_str().unwrap().contains("older formats were seen"), "{verdict:#}");
        rule("\"provenance\"", "v9.9.9", older);
        stage.refuses(&args, 1, "IDENTITY");
        rule("\"provenance\", \"signature\"", version, older);
        stage.refuses(&args, 1, "NO_ATTESTATION");
        rule("\"provenance\", \"sbom\"", version, older);
        stage.refuses(&args, 1, "NO_ATTESTATION");
        // What is there is shown, without a policy: signed by whom it says, beside what BuildKit says unsigned.
        let shown = stage.desk.run(&["inspect", "--json", &image]).ends(0).json();
        let attached = &shown["found"]["attached"][0];
        assert_eq!(
            (&attached["form"], &attached["signature"]["standing"]),
            (&json!("cosign-legacy"), &json!("verified"))
        );
        assert_eq!(attached["signature"]["signer"]["identity"], format!("{generator}{version}"));
        assert!(
            attached["statement"]["summary"]["sources"][0].as_str().unwrap().contains("slsa-framework"),
            "{shown:#}"
        );
        if version != "v1.4.0" {
            let statement = &shown["found"]["below"][1]["attached"][0];
            assert_eq!(statement["signature"]["standing"], "unsigned", "{shown:#}");
            assert_eq!(statement["statement"]["summary"]["kind"], "provenance");
        }
        // The form of the provenance is named for itself.
        rule("\"provenance\"", version, "[rule.formats]\nbundle = [\"cosign-legacy\"]\n");
        stage.refuses(&args, 1, "PREDICATE");
    }
}

#[test]
fn what_cosign_stored_with_a_key_is_found_under_its_tags() {
    let Some(folder) = vectors() else { return };
    let folder = folder.join("peers");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let stage = Stage::on(TestRegistry::start());
    let (manifest, config) = (read("image-debian.manifest.json"), read("image-debian.config.json"));
    let digest = stage.server.put_manifest(REPOSITORY, Some("peer"), names::MANIFEST, &manifest);
    stage.server.put_blob(REPOSITORY, &config);
    let blobs = |suffix: &str| {
        let folder: &Path = &folder.join("key-legacy");
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{suffix}.layer")))
            .map(|path| std::fs::read(path).unwrap())
            .collect::<Vec<_>>()
    };
    for suffix in ["sig", "att"] {
        for blob in blobs(suffix) {
            stage.server.put_blob(REPOSITORY, &blob);
        }
        let tag = format!("sha256-{}.{suffix}", digest.hex());
        let stored = read(&format!("key-legacy/{suffix}.manifest.json"));
        stage.server.put_manifest(REPOSITORY, Some(&tag), names::MANIFEST, &stored);
    }
    stage.desk.write("config/cosign.pub", read("key-newbundle/cosign.pub"));
    stage.policy(&stage.rule("require = [\"signature\", \"provenance\"]"));
    stage.refuses(&[&stage.named(":peer")], 1, "NO_ATTESTATION");
    stage.policy(&format!(
        "{}[rule.formats]\nbundle = [\"cosign-legacy\"]\n",
        stage.rule("require = [\"signature\", \"provenance\"]")
    ));
    stage.admits(&[&stage.named(":peer")]);
}
