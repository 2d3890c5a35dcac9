//! Resolving, discovery and the cache, on a registry that lies: each test is an attack of its id, at the adapter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/scene.rs"]
mod scene;

use std::net::TcpListener;
use std::time::Duration;

use bulla::adapters::registry::{Registry, RegistryOptions};
use bulla::adapters::{LegacyKind, Store, StoreError};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::oci::{Descriptor, Manifest, names};
use bulla::reference::Reference;
use image::{Attachment, Image};
use registry::{Canary, Fault, TestRegistry};
use scene::{PROVENANCE, REPOSITORY, SPDX, Scene, class, client, options};
use serde_json::json;

#[test]
fn resolves_reads_and_finds_what_is_attached() {
    let scene = Scene::new();
    let registry = client();
    let (served, disagrees) = registry.resolve(&scene.tag()).unwrap();
    assert_eq!((served.digest, disagrees), (scene.image.digest(), None));
    assert!(Manifest::parse(&served.raw, served.media_type.as_deref()).is_ok());
    let store = registry.repository(&scene.tag().repository);
    let referrers = store.referrers(&served.digest).unwrap();
    assert_eq!(referrers.manifests[0].raw, scene.attachment.manifest);
    let bundle = &referrers.manifests[0].parsed.layers[0];
    assert_eq!(store.blobs(&[bundle.clone(), scene.layer()], 1 << 20)[0].as_ref().unwrap(), &scene.attachment.bundle);
    let mut layer = Vec::new();
    store.copy_blob(&scene.layer(), &mut layer).unwrap();
    assert_eq!(layer, scene.image.layer);
    assert_eq!(registry.requests(), scene.server.log().len(), "the probe for TLS is no request");
    let error = store.resolve_tag("2.0").unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

#[test]
fn a_registry_that_is_down_is_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reference: Reference = format!("{address}/a:1").parse().unwrap();
    assert_eq!(class(client().resolve(&reference)), Class::Net);
}

#[test]
fn a01_the_tag_is_asked_for_once_and_its_moving_changes_nothing() {
    let scene = Scene::new();
    let registry = client();
    let (served, _) = registry.resolve(&scene.tag()).unwrap();
    let other = Image::new("other");
    scene.server.put_manifest(REPOSITORY, Some("1.0"), names::MANIFEST, &other.manifest);
    let store = registry.repository(&scene.tag().repository);
    assert_eq!(store.manifest(&served.digest).unwrap().raw, scene.image.manifest);
    store.referrers(&served.digest).unwrap();
    assert_eq!(scene.server.count("/manifests/1.0"), 1);
}

#[test]
fn a02_a_header_that_disagrees_with_the_bytes_is_refused() {
    let scene = Scene::new();
    let other = Digest::of(b"other").to_string();
    scene.server.fault("/manifests/", Fault::header("Docker-Content-Digest", &other));
    assert_eq!(class(client().resolve(&scene.tag())), Class::Integrity);
    // A HEAD that says something else is never asked.
    assert!(scene.server.log().iter().all(|request| request.method == "GET"));
}

#[test]
fn a03_b03_other_bytes_under_a_digest_are_refused_every_time() {
    let scene = Scene::new();
    let other = Image::new("other");
    let store = scene.store();
    let digest = scene.image.digest();
    assert!(store.manifest(&digest).is_ok());
    let lie = Fault::body(other.manifest.clone()).and_header("Docker-Content-Digest", &digest.to_string());
    scene.server.fault(&digest.to_string(), lie);
    assert_eq!(class(store.manifest(&digest)), Class::Integrity);
    assert_eq!(class(store.manifest(&digest)), Class::Integrity);
}

#[test]
fn a04_the_digest_wins_and_a_tag_that_disagrees_is_reported() {
    let scene = Scene::new();
    let other = Image::new("other");
    scene.server.put_manifest(REPOSITORY, Some("2.0"), names::MANIFEST, &other.manifest);
    let both = |tag: &str| scene.server.reference(&format!("{REPOSITORY}:{tag}@{}", scene.image.digest()));
    let (served, disagrees) = client().resolve(&both("2.0")).unwrap();
    assert_eq!((served.digest, disagrees), (scene.image.digest(), Some(other.digest())));
    assert_eq!(client().resolve(&both("1.0")).unwrap().1, None);
    assert_eq!(client().resolve(&both("absent")).unwrap().0.digest, scene.image.digest());
}

#[test]
fn e01_only_404_and_an_empty_list_mean_no_attestations() {
    let scene = Scene::new();
    let none = [
        Fault::body(format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, names::INDEX)),
        Fault::status(404),
    ];
    for fault in none {
        scene.server.fault("/referrers/", fault);
        assert!(scene.referrers().unwrap().manifests.is_empty());
        scene.server.clear_faults();
    }
    let answered = |body: &[u8], media_type: &str| Fault {
        status: Some(200),
        ..Fault::body(body).and_header("Content-Type", media_type)
    };
    let html = || answered(b"<html>sign in</html>", "text/html");
    for (fault, expected) in [
        (Fault::status(500), Class::Registry),
        (Fault::status(503), Class::Registry),
        (Fault::status(429), Class::Registry),
        (Fault::status(400), Class::Registry),
        (Fault::status(204), Class::Registry),
        (Fault::status(401), Class::Auth),
        (Fault::status(403), Class::Auth),
        (html(), Class::Registry),
        (Fault::redirect(302, "/login"), Class::Registry),
        (answered(b"", names::INDEX), Class::Format),
        (answered(&scene.image.manifest, names::INDEX), Class::Format),
        (answered(br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#, names::INDEX), Class::Format),
    ] {
        scene.server.fault("/login", html());
        for path in ["/referrers/", "/manifests/sha256-"] {
            scene.server.fault(path, fault.clone());
            let result = scene.referrers();
            let found = class(result);
            // What is no index under the fallback tag may also be called malformed.
            let also = path == "/manifests/sha256-" && found == Class::Format;
            assert!(found == expected || also, "{path} {fault:?}: {found}");
            scene.server.clear_faults();
            scene.server.fault("/login", html());
        }
        scene.server.clear_faults();
    }
}

#[test]
fn e01_a_429_under_the_fallback_tag_is_not_an_empty_list() {
    let scene = Scene::on(TestRegistry::start().without_referrers());
    assert!(scene.referrers().unwrap().manifests.is_empty());
    scene.server.fault("/manifests/sha256-", Fault::status(429));
    assert_eq!(class(scene.referrers()), Class::Registry);
}

#[test]
fn e03_garbage_before_the_good_one_changes_nothing() {
    let scene = Scene::new();
    let mut entries = vec![Descriptor::of(names::MANIFEST, b"absent")];
    for number in 0..100 {
        let garbage = format!("garbage {number}");
        scene.server.put_manifest(REPOSITORY, None, names::MANIFEST, garbage.as_bytes());
        entries.push(Descriptor::of(names::MANIFEST, garbage.as_bytes()));
    }
    let mut wrong_size = scene.attachment.descriptor();
    wrong_size.size = u64::MAX;
    wrong_size.digest = Digest::of(b"huge");
    entries.push(wrong_size);
    entries.push(scene.image.descriptor());
    entries.push(scene.attachment.descriptor());
    scene.put_index(&scene.fallback_tag(), &entries);
    let without_api = Fault::status(404);
    scene.server.fault("/referrers/", without_api);
    let referrers = scene.referrers().unwrap();
    assert_eq!(referrers.manifests.len(), 1);
    assert_eq!(referrers.ignored.len(), 103);
}

#[test]
fn e04_what_names_another_image_does_not_count() {
    let scene = Scene::new();
    let other = Image::new("other");
    let foreign = Attachment::new(&other.descriptor(), PROVENANCE);
    scene.attach(&foreign);
    let listing = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [foreign.descriptor()] });
    scene.server.fault("/referrers/", Fault::body(serde_json::to_vec(&listing).unwrap()));
    let referrers = scene.referrers().unwrap();
    assert!(referrers.manifests.is_empty());
    assert!(referrers.ignored[0].1.contains("its subject is"), "{:?}", referrers.ignored);
}

#[test]
fn e05_a_listing_that_contradicts_the_manifest_is_passed_over() {
    let scene = Scene::new();
    for (artifact_type, predicate_type, counts) in [
        (names::BUNDLE_V03, PROVENANCE, 1),
        (names::EMPTY, PROVENANCE, 1), // the config's media type, as some clients write it
        ("application/vnd.in-toto+json", PROVENANCE, 0),
        (names::BUNDLE_V03, SPDX, 0),
    ] {
        let mut entry = scene.attachment.descriptor();
        entry.artifact_type = Some(artifact_type.to_owned());
        entry.annotations.insert("dev.sigstore.bundle.predicateType".into(), predicate_type.into());
        let listing = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [entry] });
        scene.server.fault("/referrers/", Fault::body(serde_json::to_vec(&listing).unwrap()));
        assert_eq!(scene.referrers().unwrap().manifests.len(), counts, "{artifact_type} {predicate_type}");
        scene.server.clear_faults();
    }
}

#[test]
fn e06_a_fallback_tag_that_is_no_list_of_this_image() {
    let scene = Scene::on(TestRegistry::start().without_referrers());
    let tag = scene.fallback_tag();
    scene.server.put_manifest(REPOSITORY, Some(&tag), names::MANIFEST, &scene.image.manifest);
    assert_eq!(class(scene.referrers()), Class::Format);

    let many: Vec<_> = (0..1_100).map(|number: u32| Descriptor::of(names::MANIFEST, &number.to_le_bytes())).collect();
    scene.put_index(&tag, &many);
    assert_eq!(class(scene.referrers()), Class::Limit);
    scene.server.put_manifest(REPOSITORY, Some(&tag), names::INDEX, &vec![b' '; 5 << 20]);
    assert_eq!(class(scene.referrers()), Class::Limit);

    // An index that lists indexes, and one that belongs to another image.
    scene.put_index("inner", &[scene.attachment.descriptor()]);
    let inner = scene.server.manifest(REPOSITORY, "inner").unwrap();
    let other = Attachment::new(&Image::new("other").descriptor(), PROVENANCE);
    scene.attach(&other);
    scene.put_index(&tag, &[Descriptor::of(names::INDEX, &inner), other.descriptor()]);
    let referrers = scene.referrers().unwrap();
    assert_eq!((referrers.manifests.len(), referrers.ignored.len()), (0, 2));
}

#[test]
fn e07_both_lists_are_merged() {
    let scene = Scene::new();
    let second = Attachment::new(&scene.image.descriptor(), SPDX);
    scene.attach(&second);
    let listing =
        json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [scene.attachment.descriptor()] });
    scene.server.fault("/referrers/", Fault::body(serde_json::to_vec(&listing).unwrap()));
    scene.put_index(&scene.fallback_tag(), &[second.descriptor(), scene.attachment.descriptor()]);
    let mut found: Vec<_> = scene.referrers().unwrap().manifests.iter().map(|manifest| manifest.digest).collect();
    let mut expected = vec![scene.attachment.digest(), second.digest()];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(scene.server.count(&second.digest().to_string()), 1, "each is read once");
}

#[test]
fn e08_older_formats_are_named_where_nothing_else_is_there() {
    let scene = Scene::new();
    scene.server.put_manifest(REPOSITORY, Some(&format!("{}.sig", scene.fallback_tag())), names::MANIFEST, b"{}");
    scene.referrers().unwrap();
    assert_eq!(scene.server.count(".sig"), 0, "nobody asked for them");
    assert_eq!(scene.store().legacy_names(&scene.image.digest()), [format!("{}.sig", scene.fallback_tag())]);
    // They are only named, so that a registry that does not answer has none.
    scene.server.fault(".sig", Fault::status(500));
    assert!(scene.store().legacy_names(&scene.image.digest()).is_empty());
}

#[test]
fn e01_only_404_means_that_there_are_no_older_forms() {
    let scene = Scene::new();
    let legacy = || scene.store().legacy(&scene.image.digest(), &LegacyKind::ALL);
    assert!(legacy().unwrap().manifests.is_empty());
    let signatures = Image::new("signatures");
    let tag = |suffix: &str| format!("{}.{suffix}", scene.fallback_tag());
    scene.server.put_manifest(REPOSITORY, Some(&tag("sig")), names::MANIFEST, &signatures.manifest);
    scene.server.put_manifest(REPOSITORY, Some(&tag("att")), names::MANIFEST, b"{}");
    scene.put_index(&tag("sbom"), &[]);
    let found = legacy().unwrap();
    assert_eq!(found.manifests.len(), 1);
    assert_eq!((found.manifests[0].0, found.manifests[0].1.digest), (LegacyKind::Signatures, signatures.digest()));
    assert_eq!(found.ignored.len(), 2, "{:?}", found.ignored);
    for (fault, expected) in [
        (Fault::status(500), Class::Registry),
        (Fault::status(429), Class::Registry),
        (Fault::status(403), Class::Auth),
        (Fault::header("Docker-Content-Digest", &Digest::of(b"x").to_string()), Class::Integrity),
        (Fault::body(vec![b' '; 5 << 20]), Class::Limit),
    ] {
        scene.server.fault(".sig", fault.clone());
        assert_eq!(class(legacy()), expected, "{fault:?}");
        scene.server.clear_faults();
    }
}

#[test]
fn e11_a_filter_that_the_server_claims_is_not_relied_on() {
    let scene = Scene::new();
    let other = Attachment::new(&Image::new("other").descriptor(), PROVENANCE);
    scene.attach(&other);
    let listing = json!({ "schemaVersion": 2, "mediaType": names::INDEX,
        "manifests": [other.descriptor(), scene.image.descriptor(), scene.attachment.descriptor()] });
    let fault = Fault::body(serde_json::to_vec(&listing).unwrap()).and_header("OCI-Filters-Applied", "artifactType");
    scene.server.fault("/referrers/", fault);
    let referrers = scene.referrers().unwrap();
    assert_eq!(referrers.manifests.len(), 1);
    assert_eq!(referrers.manifests[0].digest, scene.attachment.digest());
    assert!(
        scene.server.log().iter().all(|request| !request.path.contains("artifactType")),
        "nothing is filtered away"
    );
}

#[test]
fn e12_h12_pages_are_followed_at_home_and_within_bounds() {
    let scene = Scene::on(TestRegistry::start().paged(2));
    for number in 0..6 {
        scene.attach(&Attachment::new(&scene.image.descriptor(), &format!("https://example.com/{number}")));
    }
    assert_eq!(scene.referrers().unwrap().manifests.len(), 7);
    assert_eq!(scene.server.count("/referrers/"), 4);
    let canary = Canary::start();
    let own = format!("/v2/{REPOSITORY}/referrers/{}", scene.image.digest());
    for (link, expected) in [
        (format!("<{own}>; rel=\"next\""), Class::Limit),
        (format!("<{}>; rel=\"next\"", canary.url(&own)), Class::Net),
        (format!("<//{}/x>; rel=next", canary.host()), Class::Net),
        ("<file:///etc/passwd>; rel=\"next\"".to_owned(), Class::Net),
        ("<https://registry.example/x>; rel=\"next\"".to_owned(), Class::Net),
        ("<../../../../../x>; rel=\"next\"".to_owned(), Class::Registry),
    ] {
        scene.server.fault("/referrers/", Fault::header("Link", &link));
        let found = scene.referrers().unwrap_err();
        let gone = matches!(found, StoreError::NotFound { .. });
        assert!(found.class() == expected || (gone && expected == Class::Registry), "{link}: {found}");
        scene.server.clear_faults();
    }
    // A new page each time, for ever.
    for page in 0..40 {
        let next = format!("<{own}?page={}>; rel=\"next\"", page + 1);
        let path = if page == 0 { "/referrers/".to_owned() } else { format!("page={page}") };
        scene.server.fault(&path, Fault::header("Link", &next).times(1));
    }
    scene.server.clear_log();
    assert_eq!(class(scene.referrers()), Class::Limit);
    assert!(scene.server.count("/referrers/") <= 32);
    canary.assert_untouched();
}

#[test]
fn a_second_look_asks_for_the_tag_alone_and_for_nothing_when_pinned() {
    let scene = Scene::new();
    let cache = tempfile::tempdir().unwrap();
    let cached = || Registry::new(RegistryOptions { cache: Some(cache.path().to_owned()), ..options() });
    let look = |registry: &Registry, reference: &Reference| {
        let (served, _) = registry.resolve(reference).unwrap();
        let store = registry.repository(&reference.repository);
        let referrers = store.referrers(&served.digest).unwrap();
        let bundle = store.blob(&referrers.manifests[0].parsed.layers[0], 1 << 20).unwrap();
        assert_eq!(bundle, scene.attachment.bundle);
        (registry.requests(), referrers.remembered)
    };
    assert_eq!(look(&cached(), &scene.tag()), (5, false)); // tag, two lists, manifest, bundle
    assert_eq!(look(&cached(), &scene.tag()), (1, true));
    let pinned = scene.server.reference(&format!("{REPOSITORY}@{}", scene.image.digest()));
    assert_eq!(look(&cached(), &pinned), (0, true));
    let offline = Registry::new(RegistryOptions { offline: true, remember: Duration::ZERO, ..options() });
    assert_eq!(class(offline.resolve(&pinned)), Class::Net);
    let offline = RegistryOptions { offline: true, remember: Duration::ZERO, ..options() };
    let offline = Registry::new(RegistryOptions { cache: Some(cache.path().to_owned()), ..offline });
    assert_eq!(look(&offline, &pinned), (0, true));
    assert_eq!(class(offline.resolve(&scene.tag())), Class::Net);

    // Whoever is about to deny asks again, and a list that is too old is asked for again by itself.
    let second = Attachment::new(&scene.image.descriptor(), SPDX);
    scene.attach(&second);
    let registry = cached();
    let store = registry.repository(&pinned.repository);
    assert_eq!(store.referrers(&pinned.digest.unwrap()).unwrap().manifests.len(), 1);
    let fresh = store.fresh().referrers(&pinned.digest.unwrap()).unwrap();
    assert_eq!((fresh.manifests.len(), fresh.remembered), (2, false));
    let strict = RegistryOptions { remember: Duration::ZERO, cache: Some(cache.path().to_owned()), ..options() };
    let strict = Registry::new(strict).repository(&pinned.repository);
    assert!(!strict.referrers(&pinned.digest.unwrap()).unwrap().remembered);
}

#[test]
fn j01_j09_a_damaged_cache_changes_nothing() {
    let scene = Scene::new();
    let cache = tempfile::tempdir().unwrap();
    let cached = || Registry::new(RegistryOptions { cache: Some(cache.path().to_owned()), ..options() });
    let read = |registry: &Registry| {
        let (served, _) = registry.resolve(&scene.tag()).unwrap();
        let store = registry.repository(&scene.tag().repository);
        let referrers = store.referrers(&served.digest).unwrap();
        store.blob(&referrers.manifests[0].parsed.layers[0], 1 << 20).unwrap()
    };
    let files = |folder: &str| -> Vec<_> {
        std::fs::read_dir(cache.path().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let expected = read(&cached());
    for damage in [&b""[..], b"{}", b"\xff\xff", br#"{"version":1,"repository":"x","subject":"y","manifests":[]}"#] {
        for file in files("content/sha256").into_iter().chain(files("referrers")) {
            std::fs::write(file, damage).unwrap();
        }
        assert_eq!(read(&cached()), expected);
    }
    // Another image's list under this one's name.
    let other = Digest::of(b"other");
    for file in files("referrers") {
        let list = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, list.replace(&scene.image.digest().to_string(), &other.to_string())).unwrap();
    }
    assert_eq!(read(&cached()), expected);
    // Nothing found is not remembered.
    let bare = Image::new("bare");
    scene.server.put_manifest(REPOSITORY, Some("bare"), names::MANIFEST, &bare.manifest);
    let store = cached().repository(&scene.tag().repository);
    assert!(store.referrers(&bare.digest()).unwrap().manifests.is_empty());
    scene.attach(&Attachment::new(&bare.descriptor(), PROVENANCE));
    assert_eq!(store.referrers(&bare.digest()).unwrap().manifests.len(), 1);
    // A cache that is no folder.
    let file = cache.path().join("file");
    std::fs::write(&file, "").unwrap();
    let nowhere = Registry::new(RegistryOptions { cache: Some(file), ..options() });
    assert_eq!(read(&nowhere), expected);
}

#[test]
fn j01_what_was_refused_once_is_refused_again() {
    let scene = Scene::new();
    let cache = tempfile::tempdir().unwrap();
    let cached = || Registry::new(RegistryOptions { cache: Some(cache.path().to_owned()), ..options() });
    let pinned = scene.server.reference(&format!("{REPOSITORY}@{}", scene.image.digest()));
    scene.server.fault("/manifests/", Fault::header("Content-Type", names::INDEX));
    for _ in 0..2 {
        let (served, _) = cached().resolve(&pinned).unwrap();
        assert!(Manifest::parse(&served.raw, served.media_type.as_deref()).is_err());
    }
}
