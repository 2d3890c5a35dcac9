//! Publishing: to a registry in this process that can lie, and to Debian's docker-registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;

use std::path::Path;
use std::time::Duration;

use bulla::adapters::layout::{Layout, LayoutWriter};
use bulla::adapters::registry::{Credentials, Pushed, Registry, RegistryOptions};
use bulla::adapters::{Store, unwatched};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use bulla::publish::{PublishError, PublishOptions, Published, copy, copy_to_layout, publish};
use bulla::reference::{LayoutImage, Reference};
use docker_registry::DockerRegistry;
use image::{Attachment, Image};
use registry::{Canary, Fault, TestRegistry};
use serde_json::json;

const PREDICATE_TYPES: [&str; 3] =
    ["https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"];

/// A layout with one image, attested so many times.
fn layout(dir: &Path, image: &Image, attestations: usize) -> Layout {
    let mut writer = LayoutWriter::create(dir).unwrap();
    writer.add_blob(names::CONFIG, &image.config[..]).unwrap();
    writer.add_blob(names::LAYER_TAR, &image.layer[..]).unwrap();
    writer.add_manifest(names::MANIFEST, &image.manifest, Some("base:1.0")).unwrap();
    for predicate_type in &PREDICATE_TYPES[..attestations] {
        let attachment = Attachment::new(&image.descriptor(), predicate_type);
        writer.attach(&attachment.manifest, &attachment.bundle, predicate_type).unwrap();
    }
    writer.finish().unwrap()
}

fn client() -> Registry {
    Registry::new(RegistryOptions { deadline: Duration::from_secs(10), ..RegistryOptions::default() })
}

fn run(layout: &Layout, to: &Reference, options: PublishOptions) -> Result<Published, PublishError> {
    publish(layout, &LayoutImage::Only, to, options, &client(), &unwatched)
}

fn plainly(layout: &Layout, to: &Reference) -> Result<Published, PublishError> {
    run(layout, to, PublishOptions::default())
}

#[track_caller]
fn class(result: Result<Published, PublishError>) -> Class {
    result.unwrap_err().class()
}

/// Publishes, and reads everything back as another run would.
fn round_trip(to: &Reference, fallback: bool) {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("base");
    let from = layout(&folder.path().join("out"), &image, 3);
    let published = plainly(&from, to).unwrap();
    assert_eq!(published.reference.digest, image.digest());
    assert_eq!((published.changed, published.fallback, published.attestations), (true, fallback, 3));
    assert_eq!((published.blobs_sent, published.blobs_present), (6, 0), "config, layer, empty config, three bundles");

    let registry = client();
    let (served, _) = registry.resolve(to).unwrap();
    assert_eq!(served.raw, image.manifest);
    let store = registry.repository(&to.repository);
    let referrers = store.referrers(&served.digest).unwrap();
    assert_eq!((referrers.manifests.len(), referrers.ignored.len()), (3, 0), "{:?}", referrers.ignored);
    let bundles: Vec<_> = referrers.manifests.iter().map(|manifest| manifest.parsed.layers[0].clone()).collect();
    assert!(store.blobs(&bundles, 1 << 20).iter().all(Result::is_ok));
    let mut layer = Vec::new();
    store.copy_blob(&Descriptor::of(names::LAYER_TAR, &image.layer), &mut layer).unwrap();
    assert_eq!(layer, image.layer);
    assert!(registry.requests() <= 13, "{}", registry.requests());

    let again = plainly(&from, to).unwrap();
    assert_eq!((again.changed, again.blobs_sent), (false, 0));

    // Into a layout again, and to another name.
    let (served, _) = client().resolve(to).unwrap();
    let copied = copy_to_layout(
        &store,
        served.clone(),
        Some("base:1.0"),
        &folder.path().join("copy"),
        PublishOptions::default(),
        &unwatched,
    );
    let copied = copied.unwrap();
    let (found, name) = copied.find(&LayoutImage::Only).unwrap();
    assert_eq!((found.digest, name.as_deref()), (image.digest(), Some("base:1.0")));
    assert_eq!(copied.referrers(&image.digest()).unwrap().manifests.len(), 3);
    let other: Reference = format!("{}/mirror/base:1.0", to.repository.registry()).parse().unwrap();
    let moved = copy(&store, served, &other, PublishOptions::default(), &client(), &unwatched).unwrap();
    assert_eq!((moved.reference.digest, moved.attestations), (image.digest(), 3));
}

/// Several publishers attest one image at the same time; nobody's attestation is lost.
fn concurrently(to: &Reference) {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("base");
    let count = 5;
    std::thread::scope(|scope| {
        for number in 0..count {
            let (folder, image) = (folder.path(), &image);
            scope.spawn(move || {
                let mut from = layout(&folder.join(number.to_string()), image, 0);
                let predicate_type = format!("https://example.com/{number}");
                let attachment = Attachment::new(&image.descriptor(), &predicate_type);
                from.attach(&attachment.manifest, &attachment.bundle, &predicate_type).unwrap();
                plainly(&from, to).unwrap();
            });
        }
    });
    let referrers = client().repository(&to.repository).referrers(&image.digest()).unwrap();
    assert_eq!(referrers.manifests.len(), count);
}

#[test]
fn publishes_where_there_is_a_referrers_api() {
    let server = TestRegistry::start();
    round_trip(&server.reference("acme/base:1.0"), false);
    assert!(server.log().iter().all(|request| request.method != "PUT" || !request.path.contains("/manifests/sha256-")));
}

#[test]
fn publishes_where_there_is_none() {
    let server = TestRegistry::start().without_referrers();
    round_trip(&server.reference("acme/base:1.0"), true);
}

#[test]
fn publishes_to_debians_registry() {
    let Some(server) = DockerRegistry::start() else { return };
    round_trip(&server.reference("acme/base:1.0"), true);
}

#[test]
fn h14_concurrent_publishers_lose_nothing_without_conditions() {
    concurrently(&TestRegistry::start().without_referrers().without_etags().reference("acme/base:1.0"));
}

#[test]
fn h14_concurrent_publishers_lose_nothing_with_conditions() {
    concurrently(&TestRegistry::start().without_referrers().reference("acme/base:1.0"));
}

#[test]
fn h14_concurrent_publishers_lose_nothing_on_debians_registry() {
    let Some(server) = DockerRegistry::start() else { return };
    concurrently(&server.reference("acme/base:1.0"));
}

#[test]
fn the_tag_comes_last() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestRegistry::start();
    let image = Image::new("base");
    let from = layout(folder.path(), &image, 2);
    plainly(&from, &server.reference("acme/base:1.0")).unwrap();
    let writes: Vec<_> = server.log().into_iter().filter(|request| request.method == "PUT").collect();
    assert!(writes.last().unwrap().path.ends_with("/manifests/1.0"));
    let blobs = writes.iter().rposition(|request| request.path.contains("/blobs/")).unwrap();
    let manifests = writes.iter().position(|request| request.path.contains("/manifests/")).unwrap();
    assert!(blobs < manifests);

    // Whatever fails on the way, the tag is not there.
    for path in ["/blobs/uploads/", "/manifests/sha256:", "/referrers/"] {
        let server = TestRegistry::start();
        server.fault(path, Fault::status(500));
        assert_eq!(class(plainly(&from, &server.reference("acme/base:1.0"))), Class::Registry, "{path}");
        assert_eq!(server.manifest("acme/base", "1.0"), None, "{path}");
    }
}

#[test]
fn l11_refuses_what_was_not_said_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestRegistry::start();
    let to = server.reference("acme/base:1.0");
    let (first, second) = (Image::new("first"), Image::new("second"));
    let bare = layout(&folder.path().join("bare"), &first, 0);
    let one = layout(&folder.path().join("one"), &first, 1);
    let two = layout(&folder.path().join("two"), &second, 1);

    assert_eq!(class(plainly(&one, &server.reference("acme/base"))), Class::Usage);
    let pinned = server.reference(&format!("acme/base:1.0@{}", first.digest()));
    assert_eq!(class(plainly(&one, &pinned)), Class::Usage);
    assert_eq!(class(plainly(&bare, &to)), Class::NoAttestation);
    assert!(server.log().iter().all(|request| request.method == "GET"), "a refusal changed something");
    let unattested = run(&bare, &to, PublishOptions { allow_unattested: true, ..PublishOptions::default() }).unwrap();
    assert_eq!(unattested.attestations, 0);

    // Attestations that came later are added under the same digest, without touching the tag.
    server.clear_log();
    assert!(plainly(&one, &to).unwrap().changed);
    assert!(server.log().iter().all(|request| request.method != "PUT" || !request.path.ends_with("/manifests/1.0")));
    assert!(!plainly(&one, &to).unwrap().changed);

    server.clear_log();
    let error = plainly(&two, &to).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Usage, "tag-taken"));
    assert!(server.log().iter().all(|request| request.method == "GET"));
    let moved = run(&two, &to, PublishOptions { move_tag: true, ..PublishOptions::default() }).unwrap();
    assert_eq!(moved.moved_from, Some(first.digest()));
    assert_eq!(server.manifest("acme/base", "1.0").unwrap(), second.manifest);
}

#[test]
fn publishes_every_platform_of_an_index_with_its_attestations() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestRegistry::start();
    let (amd64, arm64) = (Image::new("amd64"), Image::new("arm64"));
    let mut writer = LayoutWriter::create(folder.path()).unwrap();
    for image in [&amd64, &arm64] {
        for blob in [&image.config, &image.layer, &image.manifest] {
            writer.add_blob(names::LAYER_TAR, &blob[..]).unwrap();
        }
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [amd64.descriptor(), arm64.descriptor()],
    });
    let index = serde_json::to_vec(&index).unwrap();
    let root = writer.add_manifest(names::INDEX, &index, Some("base:1.0")).unwrap();
    for subject in [&root, &arm64.descriptor()] {
        let attachment = Attachment::new(subject, PREDICATE_TYPES[0]);
        writer.attach(&attachment.manifest, &attachment.bundle, PREDICATE_TYPES[0]).unwrap();
    }
    let from = writer.finish().unwrap();
    let published = plainly(&from, &server.reference("acme/base:1.0")).unwrap();
    assert_eq!((published.reference.digest, published.attestations), (Digest::of(&index), 2));
    let store = client().repository(&server.repository("acme/base"));
    assert!(store.manifest(&amd64.digest()).is_ok());
    assert_eq!(store.referrers(&arm64.digest()).unwrap().manifests.len(), 1);
    assert_eq!(store.referrers(&root.digest).unwrap().manifests.len(), 1);
}

#[test]
fn h06_an_upload_location_elsewhere_is_never_contacted() {
    let folder = tempfile::tempdir().unwrap();
    let canary = Canary::start();
    let from = layout(folder.path(), &Image::new("base"), 1);
    for location in [
        canary.url("/upload"),
        format!("//{}/upload", canary.host()),
        "https://uploads.example/x".to_owned(),
        "http://169.254.169.254/x".to_owned(),
        "file:///tmp/x".to_owned(),
    ] {
        let server = TestRegistry::start().with_basic("me", "planted-canary");
        server.fault("/blobs/uploads/", Fault::header("Location", &location).method("POST"));
        let credentials = Credentials::Fixed {
            registry: server.host(),
            user: "me".to_owned(),
            password: "planted-canary".to_owned(),
        };
        let registry = Registry::new(RegistryOptions { credentials, ..RegistryOptions::default() });
        let to = server.reference("acme/base:1.0");
        let result = publish(&from, &LayoutImage::Only, &to, PublishOptions::default(), &registry, &unwatched);
        assert_eq!(class(result), Class::Net, "{location}");
        assert_eq!(server.manifest("acme/base", "1.0"), None);
    }
    canary.assert_untouched();
}

#[test]
fn h05_a_redirect_of_what_is_pushed_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let canary = Canary::start();
    let from = layout(folder.path(), &Image::new("base"), 1);
    for (path, method) in [("/manifests/", "PUT"), ("/blobs/uploads/", "POST"), ("/blobs/uploads/", "PUT")] {
        let server = TestRegistry::start();
        server.fault(path, Fault::redirect(307, &canary.url("/x")).method(method));
        assert_eq!(class(plainly(&from, &server.reference("acme/base:1.0"))), Class::Registry, "{method} {path}");
    }
    canary.assert_untouched();
}

#[test]
fn h14_what_a_registry_says_it_stored_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("base");
    let from = layout(folder.path(), &image, 1);
    let other = Digest::of(b"other").to_string();
    let elsewhere = format!("/v2/acme/base/manifests/{other}");
    for (path, fault, expected) in [
        ("/manifests/", Fault::header("Docker-Content-Digest", &other).method("PUT"), Class::Integrity),
        ("/manifests/", Fault::header("Location", &elsewhere).method("PUT"), Class::Integrity),
        ("/blobs/uploads/", Fault::header("Docker-Content-Digest", &other).method("PUT"), Class::Integrity),
        // Says it took them, and did not.
        ("/blobs/uploads/", Fault { status: Some(201), ..Fault::status(201).method("PUT") }, Class::Registry),
        ("/manifests/", Fault::status(201).method("PUT"), Class::Registry),
        ("/manifests/1.0", Fault::status(201).method("PUT"), Class::Registry),
        // Says a blob is there, in another size.
        (
            "/blobs/sha256",
            Fault { status: Some(200), ..Fault::header("Content-Length", "7") }.method("HEAD"),
            Class::Registry,
        ),
        // Has a referrers API for whoever asks, and lists nothing.
        (
            "/referrers/",
            Fault::body(format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, names::INDEX)),
            Class::Registry,
        ),
    ] {
        let server = TestRegistry::start();
        server.fault(path, fault.clone());
        let result = plainly(&from, &server.reference("acme/base:1.0"));
        assert_eq!(class(result), expected, "{path} {fault:?}");
    }
}

#[test]
fn h14_an_index_that_others_wrote_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("base");
    let from = layout(folder.path(), &image, 1);
    let server = TestRegistry::start().without_referrers();
    let theirs = json!({ "mediaType": names::MANIFEST, "digest": Digest::of(b"x"), "size": 1, "data": "eA==", "artifactType": "a/b" });
    let index =
        json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [theirs], "annotations": { "k": "v" } });
    let tag = format!("sha256-{}", image.digest().hex());
    server.put_manifest("acme/base", Some(&tag), names::INDEX, &serde_json::to_vec(&index).unwrap());
    plainly(&from, &server.reference("acme/base:1.0")).unwrap();
    let merged: serde_json::Value = serde_json::from_slice(&server.manifest("acme/base", &tag).unwrap()).unwrap();
    assert_eq!(merged["manifests"][0], theirs);
    assert_eq!(merged["manifests"][1]["annotations"]["dev.sigstore.bundle.predicateType"], PREDICATE_TYPES[0]);
    assert_eq!(merged["annotations"]["k"], "v");

    // An image under that tag is not overwritten.
    let server = TestRegistry::start().without_referrers();
    server.put_manifest("acme/base", Some(&tag), names::MANIFEST, &image.manifest);
    assert_eq!(class(plainly(&from, &server.reference("acme/base:1.0"))), Class::Format);
    assert_eq!(server.manifest("acme/base", &tag).unwrap(), image.manifest);
}

#[test]
fn a_layout_that_is_damaged_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("base");
    let from = layout(folder.path(), &image, 1);
    let server = TestRegistry::start();
    let mut damaged = image.layer.clone();
    damaged[0] ^= 1;
    std::fs::write(folder.path().join("blobs/sha256").join(Digest::of(&image.layer).hex()), damaged).unwrap();
    assert!(plainly(&from, &server.reference("acme/base:1.0")).is_err());
    assert_eq!(server.manifest("acme/base", "1.0"), None);
}

#[test]
fn large_blobs_are_sent_as_a_stream_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LayoutWriter::create(folder.path()).unwrap();
    let large = vec![7; 9 << 20];
    let blob = writer.add_blob(names::LAYER_TAR, &large[..]).unwrap();
    let from = writer.finish().unwrap();
    let server = TestRegistry::start();
    server.fault("/blobs/uploads/", Fault::status(503).method("PUT").times(1));
    let store = client().repository(&server.repository("acme/base"));
    assert_eq!(store.push_blob(&blob, &from).unwrap(), Pushed::Sent);
    assert_eq!(store.push_blob(&blob, &from).unwrap(), Pushed::Present);
    assert_eq!(store.blob(&blob, 10 << 20).unwrap(), large);
}

#[test]
fn pushes_with_a_token_for_pushing() {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), &Image::new("base"), 1);
    let server = TestRegistry::start().with_token("me", "secret");
    let credentials =
        Credentials::Fixed { registry: server.host(), user: "me".to_owned(), password: "secret".to_owned() };
    let registry = Registry::new(RegistryOptions { credentials, ..RegistryOptions::default() });
    let to = server.reference("acme/base:1.0");
    publish(&from, &LayoutImage::Only, &to, PublishOptions::default(), &registry, &unwatched).unwrap();
    assert!(server.log().iter().any(|request| request.path.contains("%3Apull%2Cpush")));
    assert_eq!(class(plainly(&from, &to)), Class::Auth);
}

#[test]
fn attaches_to_an_image_that_is_there() {
    for server in [TestRegistry::start(), TestRegistry::start().without_referrers()] {
        let image = Image::new("base");
        let store = client().repository(&server.repository("acme/base"));
        server.put_manifest("acme/base", Some("1.0"), names::MANIFEST, &image.manifest);
        for predicate_type in PREDICATE_TYPES {
            let attachment = Attachment::new(&image.descriptor(), predicate_type);
            for _ in 0..2 {
                store.attach(&attachment.manifest, &attachment.bundle, predicate_type).unwrap();
            }
        }
        let referrers = store.referrers(&image.digest()).unwrap();
        assert_eq!((referrers.manifests.len(), referrers.ignored.len()), (3, 0));
    }
}

/// What bulla publishes, another client reads; what another client publishes, bulla reads.
fn exchange_with_oci_client(host: &str) {
    use oci_client::client::{ClientConfig, ClientProtocol};
    use oci_client::secrets::RegistryAuth;

    let folder = tempfile::tempdir().unwrap();
    let image = Image::new("base");
    let from = layout(folder.path(), &image, 3);
    plainly(&from, &format!("{host}/acme/base:1.0").parse().unwrap()).unwrap();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let peer = oci_client::Client::try_from(config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let theirs: oci_client::Reference = format!("{host}/peer/base:1.0").parse().unwrap();
    runtime.block_on(async {
        let name: oci_client::Reference = format!("{host}/acme/base:1.0").parse().unwrap();
        let accepted = [names::MANIFEST, names::INDEX];
        let (raw, digest) = peer.pull_manifest_raw(&name, &RegistryAuth::Anonymous, &accepted).await.unwrap();
        assert_eq!((&raw[..], digest), (&image.manifest[..], image.digest().to_string()));
        let pinned = name.clone_with_digest(image.digest().to_string());
        let referrers = peer.pull_referrers(&pinned, Some(names::BUNDLE_V03)).await.unwrap();
        assert_eq!(referrers.manifests.len(), 3);

        for blob in [&image.config, &image.layer] {
            peer.push_blob(&theirs, blob.clone(), &Digest::of(blob).to_string()).await.unwrap();
        }
        let media_type = names::MANIFEST.parse().unwrap();
        peer.push_manifest_raw(&theirs, image.manifest.clone(), media_type).await.unwrap();
    });
    let registry = client();
    let reference: Reference = theirs.to_string().parse().unwrap();
    let (served, _) = registry.resolve(&reference).unwrap();
    assert_eq!(served.digest, image.digest());
    let store = registry.repository(&reference.repository);
    assert!(store.blob(&Descriptor::of(names::CONFIG, &image.config), 1 << 20).is_ok());
    assert!(store.referrers(&image.digest()).unwrap().manifests.is_empty());
}

#[test]
fn another_client_reads_what_is_published_and_the_other_way_round() {
    if let Some(server) = DockerRegistry::start() {
        exchange_with_oci_client(&server.host());
    }
}
