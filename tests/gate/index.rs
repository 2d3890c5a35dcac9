//! Indexes, platforms, and documents that are no image.

use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::{Value, json};

use crate::image::Image;
use crate::registry::Fault;
use crate::stage::{ALL, REPOSITORY, Stage};

/// An image of this platform.
fn image_of(architecture: &str) -> Image {
    changed(Image::new(architecture), |config| config["architecture"] = json!(architecture), |_| {})
}

/// An image with another config, and then another manifest.
fn changed(image: Image, config: impl FnOnce(&mut Value), manifest: impl FnOnce(&mut Value)) -> Image {
    let mut new_config: Value = serde_json::from_slice(&image.config).unwrap();
    config(&mut new_config);
    let config = new_config.to_string().into_bytes();
    let mut new_manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    new_manifest["config"] = json!(Descriptor::of(names::CONFIG, &config));
    manifest(&mut new_manifest);
    Image { config, manifest: new_manifest.to_string().into_bytes(), ..image }
}

fn entry(image: &Image, architecture: &str) -> Value {
    let mut entry = serde_json::to_value(image.descriptor()).unwrap();
    entry["platform"] = json!({ "os": "linux", "architecture": architecture });
    entry
}

/// An index of two platforms under `1.0`, nothing attached.
fn two() -> (Stage, Descriptor, [Image; 2]) {
    let stage = Stage::bare();
    let images = [image_of("amd64"), image_of("arm64")];
    images.iter().for_each(|image| stage.push(image, None));
    let index = stage.put_index("1.0", json!([entry(&images[0], "amd64"), entry(&images[1], "arm64")]));
    (stage, index, images)
}

#[test]
fn b01_attestations_of_an_index_cover_what_is_reached_through_it_and_nothing_else() {
    let (stage, index, images) = two();
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    stage.attest(&stage.key, &index, &ALL);
    for (platform, image) in ["linux/amd64", "linux/arm64"].iter().zip(&images) {
        let verdict = stage.admits(&[&stage.tag(), "--platform", platform]);
        assert_eq!(verdict["digest"], json!(index.digest));
        assert_eq!(verdict["manifest"], json!(image.digest()));
        assert_eq!(verdict["platform"], *platform);
        assert_eq!(verdict["reference"], stage.named(&format!("@{}", index.digest)));
    }
    // By the digest of the platform's own manifest nothing says a word about it.
    stage.refuses(&[&stage.named(&format!("@{}", images[0].digest()))], 1, "NO_ATTESTATION");
    stage.refuses(&[&stage.tag(), "--platform", "linux/s390x"], 1, "FORMAT");
    stage.refuses(&[&stage.tag(), "--platform", "linux/arm64/v7"], 1, "FORMAT");
}

#[test]
fn b02_attestations_of_one_child_do_not_cover_the_index() {
    let (stage, _, images) = two();
    stage.attest(&stage.key, &images[0].descriptor(), &ALL);
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    stage.admits(&[&stage.named(&format!("@{}", images[0].digest()))]);
}

#[test]
fn b02_a_policy_can_ask_for_the_manifest_of_the_platform_that_is_run() {
    let (stage, index, images) = two();
    let about = |subject: &str| stage.policy(&stage.rule(&format!("subject = \"{subject}\"")));
    let tag = stage.tag();
    let (amd64, arm64) = ([tag.as_str(), "--platform", "linux/amd64"], [tag.as_str(), "--platform", "linux/arm64"]);
    about("manifest");
    stage.refuses(&amd64, 1, "NO_ATTESTATION");
    stage.attest(&stage.key, &images[0].descriptor(), &ALL);
    let verdict = stage.admits(&amd64);
    assert_eq!((&verdict["digest"], &verdict["manifest"]), (&json!(index.digest), &json!(images[0].digest())));
    // The other platform is covered neither by that nor by what is said of the index.
    stage.refuses(&arm64, 1, "NO_ATTESTATION");
    stage.attest(&stage.key, &index, &ALL);
    stage.refuses(&arm64, 1, "NO_ATTESTATION");
    about("index-or-manifest");
    stage.admits(&amd64);
    stage.admits(&arm64);
}

#[test]
fn b03_another_child_under_the_childs_digest_is_refused() {
    let (stage, index, images) = two();
    stage.attest(&stage.key, &index, &ALL);
    let lie = Fault::body(images[1].manifest.clone()).and_header("Docker-Content-Digest", "");
    stage.server.fault(&format!("/manifests/{}", images[0].digest()), lie);
    stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "INTEGRITY");
}

#[test]
fn b04_a_document_that_can_be_read_in_two_ways_is_refused() {
    let image = Image::new("base");
    let both = |media_type: Value| {
        let mut both: Value = serde_json::from_slice(&image.manifest).unwrap();
        both["manifests"] = json!([entry(&image, "amd64")]);
        both["mediaType"] = media_type;
        if both["mediaType"].is_null() {
            both.as_object_mut().unwrap().remove("mediaType");
        }
        both.to_string().into_bytes()
    };
    for media_type in [json!(names::MANIFEST), json!(names::INDEX), Value::Null] {
        for served_as in [names::MANIFEST, names::INDEX] {
            let stage = Stage::bare();
            stage.server.put_manifest(REPOSITORY, Some("1.0"), served_as, &both(media_type.clone()));
            stage.refuses(&[&stage.tag()], 1, "FORMAT");
        }
    }
    // H09: one thing that is served as the other.
    let stage = Stage::attested();
    stage.server.put_manifest(REPOSITORY, Some("1.0"), names::INDEX, &image.manifest);
    stage.refuses(&[&stage.tag()], 1, "FORMAT");
    // D02, D03: keys twice, and keys that some readers fold.
    let text = String::from_utf8(image.manifest.clone()).unwrap();
    for hostile in [text.replacen('{', "{\"layers\":[],", 1), text.replacen('{', "{\"Layers\":[],", 1)] {
        stage.server.put_manifest(REPOSITORY, Some("1.0"), names::MANIFEST, hostile.as_bytes());
        stage.refuses(&[&stage.tag()], 1, "FORMAT");
    }
}

#[test]
fn b06_b07_an_index_in_which_the_choice_is_not_clear_is_refused() {
    let (amd64, other) = (image_of("amd64"), Image::new("other"));
    let mut nowhere = serde_json::to_value(other.descriptor()).unwrap();
    let unknown = entry(&other, "unknown");
    let mut half = unknown.clone();
    half["annotations"] = json!({ names::BUILDKIT_REFERENCE_TYPE: "attestation-manifest" });
    let mut runnable = entry(&amd64, "amd64");
    runnable["annotations"] = json!({ names::BUILDKIT_REFERENCE_TYPE: "attestation-manifest" });
    nowhere["platform"] = Value::Null;
    for entries in [
        json!([entry(&amd64, "amd64"), entry(&other, "amd64")]),
        json!([entry(&amd64, "amd64"), entry(&amd64, "amd64")]),
        json!([entry(&amd64, "amd64"), nowhere]),
        json!([entry(&amd64, "amd64"), serde_json::to_value(other.descriptor()).unwrap()]),
        json!([runnable]),
        json!([]),
    ] {
        let stage = Stage::bare();
        stage.push(&amd64, None);
        stage.push(&other, None);
        let index = stage.put_index("1.0", entries);
        stage.attest(&stage.key, &index, &ALL);
        stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "FORMAT");
    }
    // An index in an index.
    let stage = Stage::bare();
    let inner = stage.put_index("inner", json!([entry(&amd64, "amd64")]));
    let mut nested = serde_json::to_value(&inner).unwrap();
    nested["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = stage.put_index("1.0", json!([nested]));
    stage.attest(&stage.key, &index, &ALL);
    stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "FORMAT");
}

#[test]
fn b07_buildkits_attestation_entries_are_passed_over() {
    let stage = Stage::bare();
    let (amd64, other) = (image_of("amd64"), Image::new("attestation"));
    stage.push(&amd64, None);
    let mut buildkit = serde_json::to_value(other.descriptor()).unwrap();
    buildkit["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    buildkit["annotations"] = json!({ names::BUILDKIT_REFERENCE_TYPE: "attestation-manifest" });
    let index = stage.put_index("1.0", json!([buildkit, entry(&amd64, "amd64")]));
    stage.attest(&stage.key, &index, &ALL);
    let verdict = stage.admits(&[&stage.tag(), "--platform", "linux/amd64"]);
    assert_eq!(verdict["manifest"], json!(amd64.digest()));
}

#[test]
fn b08_an_artifact_is_no_image() {
    let nothing = |_: &mut Value| {};
    for image in [
        changed(Image::new("base"), nothing, |manifest| manifest["artifactType"] = json!("application/x")),
        changed(Image::new("base"), nothing, |manifest| {
            manifest["subject"] = json!(Image::new("other").descriptor());
        }),
        changed(Image::new("base"), nothing, |manifest| manifest["config"]["mediaType"] = json!(names::EMPTY)),
    ] {
        let stage = Stage::bare();
        stage.push(&image, Some("1.0"));
        stage.attest(&stage.key, &image.descriptor(), &ALL);
        let verdict = stage.refuses(&[&stage.tag()], 1, "FORMAT");
        assert_eq!(verdict["error"]["code"], "not-an-image");
        // What was known by then is in the record.
        assert_eq!(verdict["digest"], json!(image.digest()));
        assert_eq!(verdict["reference"], stage.named(&format!("@{}", image.digest())));
    }
}

#[test]
fn b09_schema_1_is_refused_and_dockers_schema_2_is_an_image() {
    let stage = Stage::bare();
    let old = json!({ "schemaVersion": 1, "name": "acme/base", "tag": "1.0", "fsLayers": [], "history": [] });
    let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    stage.server.put_manifest(REPOSITORY, Some("1.0"), media_type, old.to_string().as_bytes());
    stage.refuses(&[&stage.tag()], 1, "FORMAT");
    let docker = changed(
        Image::new("docker"),
        |_| {},
        |manifest| {
            manifest["mediaType"] = json!(names::DOCKER_MANIFEST);
            manifest["config"]["mediaType"] = json!(names::DOCKER_CONFIG);
        },
    );
    stage.push(&docker, None);
    stage.server.put_manifest(REPOSITORY, Some("1.0"), names::DOCKER_MANIFEST, &docker.manifest);
    stage.attest(&stage.key, &Descriptor::of(names::DOCKER_MANIFEST, &docker.manifest), &ALL);
    stage.admits(&[&stage.tag()]);
}

#[test]
fn b10_a_config_of_another_platform_than_was_asked_for_is_refused() {
    // An index that calls an arm64 image amd64.
    let stage = Stage::bare();
    let arm64 = image_of("arm64");
    stage.push(&arm64, None);
    let index = stage.put_index("1.0", json!([entry(&arm64, "amd64")]));
    stage.attest(&stage.key, &index, &ALL);
    stage.refuses(&[&stage.tag(), "--platform", "linux/amd64"], 1, "FORMAT");
    // An image that is not for the platform that was typed.
    let stage = Stage::attested();
    stage.refuses(&[&stage.tag(), "--platform", "linux/arm64"], 1, "FORMAT");
}

#[test]
fn b11_a_config_that_lists_another_number_of_layers_is_refused() {
    for diff_ids in [json!([]), json!([Digest::of(b"a"), Digest::of(b"b")])] {
        let stage = Stage::bare();
        let image = changed(Image::new("base"), |config| config["rootfs"]["diff_ids"] = diff_ids, |_| {});
        stage.push(&image, Some("1.0"));
        stage.attest(&stage.key, &image.descriptor(), &ALL);
        stage.refuses(&[&stage.tag()], 1, "INTEGRITY");
    }
}

#[test]
fn h08_a_config_that_is_not_what_its_digest_says_is_refused() {
    let stage = Stage::attested();
    let path = format!("/blobs/{}", Digest::of(&stage.image.config));
    for lie in [
        Fault::body(Image::new("other").config),
        Fault { truncate: Some(10), ..Fault::default() },
        Fault::body([&stage.image.config[..], b" "].concat()),
        Fault::header("Content-Encoding", "gzip"),
    ] {
        stage.server.clear_faults();
        let cut = lie.truncate.is_some();
        stage.server.fault(&path, lie);
        if cut {
            // A connection that ends early is asked again, and may be nothing worse.
            let run = stage.verify(&["--json", &stage.tag()]);
            assert!(matches!(run.code, Some(1 | 3)), "{run:?}");
            assert_eq!(run.json()["admitted"], false);
        } else {
            stage.refuses(&[&stage.tag()], 1, "INTEGRITY");
        }
    }
}
