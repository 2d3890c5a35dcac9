//! Reading from a registry that lies: each test is an attack of its id, at the adapter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bulla::adapters::registry::{Credentials, Registry, RegistryOptions, RegistryStore};
use bulla::adapters::{Store, StoreError};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::oci::{Descriptor, Manifest, names};
use bulla::reference::Reference;
use image::{Attachment, Image};
use registry::{Canary, Fault, TestRegistry};
use serde_json::json;

const REPOSITORY: &str = "acme/base";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

/// A registry with one image under `1.0` and one attestation of it.
struct Scene {
    server: TestRegistry,
    image: Image,
    attachment: Attachment,
}

impl Scene {
    fn new() -> Self {
        Self::on(TestRegistry::start())
    }

    fn on(server: TestRegistry) -> Self {
        let image = Image::new("base");
        server.put_blob(REPOSITORY, &image.config);
        server.put_blob(REPOSITORY, &image.layer);
        server.put_manifest(REPOSITORY, Some("1.0"), names::MANIFEST, &image.manifest);
        let attachment = Attachment::new(&image.descriptor(), PROVENANCE);
        let scene = Self { server, image, attachment };
        scene.attach(&scene.attachment);
        scene
    }

    fn attach(&self, attachment: &Attachment) {
        self.server.put_blob(REPOSITORY, b"{}");
        self.server.put_blob(REPOSITORY, &attachment.bundle);
        self.server.put_manifest(REPOSITORY, None, names::MANIFEST, &attachment.manifest);
    }

    fn put_index(&self, tag: &str, entries: &[Descriptor]) {
        let index = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": entries });
        self.server.put_manifest(REPOSITORY, Some(tag), names::INDEX, &serde_json::to_vec(&index).unwrap());
    }

    fn tag(&self) -> Reference {
        self.server.reference("acme/base:1.0")
    }

    fn fallback_tag(&self) -> String {
        format!("sha256-{}", self.image.digest().hex())
    }

    fn store(&self) -> RegistryStore {
        client().repository(&self.server.repository(REPOSITORY))
    }

    fn referrers(&self) -> Result<bulla::adapters::Referrers, StoreError> {
        self.store().referrers(&self.image.digest())
    }

    fn layer(&self) -> Descriptor {
        Descriptor::of(names::LAYER_TAR, &self.image.layer)
    }
}

fn options() -> RegistryOptions {
    RegistryOptions { deadline: Duration::from_secs(5), ..RegistryOptions::default() }
}

fn client() -> Registry {
    Registry::new(options())
}

fn hurried() -> Registry {
    Registry::new(RegistryOptions { deadline: Duration::from_millis(400), ..options() })
}

fn with_credentials(registry: &str) -> Registry {
    let credentials =
        Credentials::Fixed { registry: registry.to_owned(), user: "me".into(), password: "planted-canary".into() };
    Registry::new(RegistryOptions { credentials, ..options() })
}

#[track_caller]
fn class<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Class {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(text.chars().all(|character| !character.is_control()), "{text:?}");
    assert!(!text.contains("planted-canary"), "{text}");
    error.class()
}

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
fn a03_other_bytes_under_a_digest_are_refused_every_time() {
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
    assert!(scene.referrers().unwrap().legacy.is_empty());
    scene.server.fault("/referrers/", Fault::status(404));
    let referrers = scene.referrers().unwrap();
    assert!(referrers.manifests.is_empty());
    assert_eq!(referrers.legacy, [format!("{}.sig", scene.fallback_tag())]);
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
fn h01_a_port_that_speaks_tls_is_never_spoken_to_in_the_clear() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
            heard.push(first[0]);
            stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).unwrap(); // fatal alert: handshake_failure
        }
        heard
    });
    let reference: Reference = format!("{address}/a:1").parse().unwrap();
    let hurried = hurried();
    assert_eq!(class(hurried.resolve(&reference)), Class::Net);
    assert_eq!(heard.join().unwrap(), [22, 22], "only TLS greetings");
}

#[test]
fn h01_plain_http_is_for_literal_loopback_only() {
    let scene = Scene::new();
    let port = scene.server.host().rsplit_once(':').unwrap().1.to_owned();
    // Resolves to loopback where it resolves at all, and is not literally loopback.
    for host in ["0.0.0.0", "registry.localhost.example"] {
        let reference: Reference = format!("{host}:{port}/acme/base:1.0").parse().unwrap();
        assert_eq!(class(hurried().resolve(&reference)), Class::Net, "{host}");
    }
    assert!(scene.server.log().is_empty());
    let named: Reference = format!("localhost:{port}/acme/base:1.0").parse().unwrap();
    assert_eq!(client().resolve(&named).unwrap().0.digest, scene.image.digest());
    let host = format!("0.0.0.0:{port}");
    let insecure = Registry::new(RegistryOptions { insecure: vec![host.clone()], ..options() });
    let reference: Reference = format!("{host}/acme/base:1.0").parse().unwrap();
    assert!(insecure.resolve(&reference).is_ok());
    assert_eq!(insecure.weakened(|_| None).len(), 1);
}

#[test]
fn h03_redirects_are_few_and_lead_to_no_other_kind_of_place() {
    let scene = Scene::new();
    let canary = Canary::start();
    let own = format!("/v2/{REPOSITORY}/manifests/1.0");
    for target in [
        own.clone(),
        "file:///etc/passwd".to_owned(),
        "unix:///var/run/docker.sock".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        "javascript:alert(1)".to_owned(),
        String::new(),
        canary.url("/x"),
        format!("http://user:pass@{}/x", scene.server.host()),
        "https://registry.example/x".to_owned(), // this answer came over plain http
    ] {
        scene.server.fault("/manifests/1.0", Fault::redirect(307, &target));
        assert_eq!(class(client().resolve(&scene.tag())), Class::Net, "{target}");
        scene.server.clear_faults();
    }
    for (steps, fine) in [(5, true), (6, false)] {
        for step in 0..steps {
            let path = if step == 0 { "/manifests/1.0".to_owned() } else { format!("step={step}&") };
            let next = if step + 1 == steps { format!("{own}?last") } else { format!("{own}?step={}&", step + 1) };
            scene.server.fault(&path, Fault::redirect(302, &next).times(1));
        }
        assert_eq!(client().resolve(&scene.tag()).is_ok(), fine, "{steps}");
        scene.server.clear_faults();
    }
    canary.assert_untouched();
}

#[test]
fn h04_slow_answers_end_at_the_deadline() {
    let scene = Scene::new();
    let slow = [
        Fault { pace: Duration::from_millis(50), ..Fault::default() },
        Fault { delay: Duration::from_secs(20), ..Fault::default() },
        Fault { body: Some(vec![b' '; 4000]), pace: Duration::from_millis(30), ..Fault::default() },
    ];
    for fault in slow {
        for path in ["/manifests/1.0", "/blobs/"] {
            scene.server.fault(path, fault.clone());
            let started = Instant::now();
            let registry = hurried();
            let found = match path {
                "/blobs/" => {
                    let store = registry.repository(&scene.tag().repository);
                    class(store.blob(&scene.layer(), 1 << 20))
                }
                _ => class(registry.resolve(&scene.tag())),
            };
            // A stalled body of the wrong announced size is refused for that, earlier.
            assert!(matches!(found, Class::Net | Class::Integrity), "{found}");
            assert!(started.elapsed() < Duration::from_secs(3), "{path} took {:?}", started.elapsed());
            scene.server.clear_faults();
        }
    }
}

#[test]
fn h04_a_head_without_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut first = [0; 1];
                let _ = stream.read_exact(&mut first);
                if first[0] == 22 {
                    return;
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                while stream.write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
            });
        }
    });
    let reference: Reference = format!("{address}/a:1").parse().unwrap();
    let started = Instant::now();
    assert_eq!(class(hurried().resolve(&reference)), Class::Net);
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn h05_h06_no_answer_moves_credentials_or_requests_elsewhere() {
    let canary = Canary::start();
    for realm in [
        canary.url("/token"),
        format!("http://localhost:{}/token", canary.host().rsplit_once(':').unwrap().1),
        "http://169.254.169.254/token".to_owned(),
        "http://[::ffff:127.0.0.1]/token".to_owned(),
        "https://auth.example/token".to_owned(), // nobody vouches for an answer over plain http
        "file:///token".to_owned(),
    ] {
        let scene = Scene::new();
        let challenge = format!("Bearer realm=\"{realm}\",service=\"x\"");
        scene.server.fault("/v2/", Fault::status(401).and_header("WWW-Authenticate", &challenge));
        let registry = with_credentials(&scene.server.host());
        assert_eq!(class(registry.resolve(&scene.tag())), Class::Auth, "{realm}");
        assert!(scene.server.log().iter().all(|request| !request.headers.contains_key("authorization")));
    }
    let scene = Scene::on(TestRegistry::start().with_basic("me", "planted-canary"));
    let registry = with_credentials(&scene.server.host());
    for target in [canary.url("/x"), "http://169.254.169.254/latest".to_owned(), "http://10.0.0.1/".to_owned()] {
        scene.server.fault("/manifests/1.0", Fault::redirect(307, &target));
        assert_eq!(class(registry.resolve(&scene.tag())), Class::Net);
        scene.server.clear_faults();
    }
    canary.assert_untouched();
}

#[test]
fn h06_content_elsewhere_is_fetched_without_credentials() {
    let elsewhere = Scene::new();
    let scene = Scene::on(TestRegistry::start().with_basic("me", "planted-canary"));
    let path = format!("/v2/{REPOSITORY}/blobs/{}", scene.layer().digest);
    scene.server.fault("/blobs/", Fault::redirect(307, &elsewhere.server.url(&path)));
    let registry = with_credentials(&scene.server.host());
    let store = registry.repository(&scene.tag().repository);
    registry.resolve(&scene.tag()).unwrap();
    assert_eq!(store.blob(&scene.layer(), 1 << 20).unwrap(), scene.image.layer);
    assert!(scene.server.log().iter().any(|request| request.headers.contains_key("authorization")));
    let log = elsewhere.server.log();
    assert_eq!(log.len(), 1);
    assert!(log[0].headers.keys().all(|name| !matches!(name.as_str(), "authorization" | "cookie" | "referer")));
    for target in ["http://169.254.169.254/", "http://10.0.0.1/", "http://[fe80::1]/", "http://0x0a000001/"] {
        scene.server.clear_faults();
        scene.server.fault("/blobs/", Fault::redirect(307, target));
        assert_eq!(class(store.blob(&scene.layer(), 1 << 20)), Class::Net, "{target}");
    }
}

#[test]
fn h06_credentials_are_for_exactly_the_registry_they_were_kept_for() {
    let scene = Scene::on(TestRegistry::start().with_basic("me", "planted-canary"));
    let registry = with_credentials("127.0.0.1");
    assert_eq!(class(registry.resolve(&scene.tag())), Class::Auth);
    let right = with_credentials(&scene.server.host());
    assert!(right.resolve(&scene.tag()).is_ok());
    assert_eq!(class(client().resolve(&scene.tag())), Class::Auth);
}

#[test]
fn tokens_are_asked_for_once_with_no_more_than_reading() {
    let scene = Scene::on(TestRegistry::start().with_token("me", "planted-canary"));
    let registry = with_credentials(&scene.server.host());
    let (served, _) = registry.resolve(&scene.tag()).unwrap();
    let store = registry.repository(&scene.tag().repository);
    assert_eq!(store.referrers(&served.digest).unwrap().manifests.len(), 1);
    let asked: Vec<_> = scene.server.log().into_iter().filter(|request| request.path.starts_with("/token")).collect();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].path.contains("scope=repository%3Aacme%2Fbase%3Apull"), "{}", asked[0].path);
    assert!(!asked[0].path.contains("push"));
    assert_eq!(class(client().resolve(&scene.tag())), Class::Auth);
    scene.server.fault("/token", Fault::body(r#"{"token":"a\r\nX-Evil: 1"}"#));
    assert_eq!(class(with_credentials(&scene.server.host()).resolve(&scene.tag())), Class::Auth);
}

#[test]
fn h07_addresses_in_descriptors_are_never_fetched() {
    let scene = Scene::new();
    let canary = Canary::start();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": names::MANIFEST,
        "config": Descriptor::of(names::CONFIG, &scene.image.config),
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "digest": Digest::of(b"elsewhere"), "size": 9, "urls": [canary.url("/layer")],
        }],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    scene.server.put_manifest(REPOSITORY, Some("foreign"), names::MANIFEST, &manifest);
    let store = scene.store();
    let served = store.resolve_tag("foreign").unwrap();
    let Ok(Manifest::Image(image)) = Manifest::parse(&served.raw, served.media_type.as_deref()) else { panic!() };
    assert!(store.copy_blob(&image.layers[0], &mut Vec::new()).is_err());
    canary.assert_untouched();
}

#[test]
fn h08_bytes_that_are_not_as_stored_are_refused() {
    let scene = Scene::new();
    let layer = &scene.image.layer;
    let longer = [layer.as_slice(), b"more"].concat();
    let mut other = layer.clone();
    other[3] ^= 1;
    let faults = [
        Fault::body(other),
        Fault::body(longer),
        Fault::body(&layer[..100]),
        Fault { truncate: Some(100), ..Fault::default() },
        Fault::header("Content-Length", "5000"),
        Fault::header("Content-Length", "10"),
        Fault::header("Content-Encoding", "gzip"),
        Fault::header("Content-Range", "bytes 0-1027/1028"),
        Fault::body(&layer[..500]).and_header("Content-Range", "bytes 0-499/1028"),
        Fault { status: Some(206), ..Fault::default() },
    ];
    let store = scene.store();
    for fault in faults {
        scene.server.fault("/blobs/", fault.clone());
        assert_eq!(class(store.blob(&scene.layer(), 1 << 20)), Class::Integrity, "{fault:?}");
        assert_eq!(class(store.copy_blob(&scene.layer(), &mut Vec::new())), Class::Integrity, "{fault:?}");
        scene.server.clear_faults();
    }
    let mut wrong = scene.layer();
    wrong.size += 1;
    assert_eq!(class(store.blob(&wrong, 1 << 20)), Class::Integrity);
    for fault in [
        Fault::header("Content-Encoding", "gzip"),
        Fault { truncate: Some(20), ..Fault::default() },
        Fault { status: Some(206), ..Fault::default() },
    ] {
        scene.server.fault("/manifests/", fault.clone());
        assert_eq!(class(store.manifest(&scene.image.digest())), Class::Integrity, "{fault:?}");
        assert_eq!(class(store.resolve_tag("1.0")), Class::Integrity, "{fault:?}");
        scene.server.clear_faults();
    }
    scene.server.fault("/blobs/", Fault::header("Content-Encoding", "identity"));
    assert!(store.blob(&scene.layer(), 1 << 20).is_ok());
}

#[test]
fn h09_the_media_type_it_was_served_as_goes_along() {
    let scene = Scene::new();
    for media_type in [names::INDEX, names::DOCKER_MANIFEST, "text/html"] {
        scene.server.fault("/manifests/", Fault::header("Content-Type", media_type));
        let (served, _) = client().resolve(&scene.tag()).unwrap();
        let error = Manifest::parse(&served.raw, served.media_type.as_deref()).unwrap_err();
        assert_eq!(error.class(), Class::Format, "{media_type}");
        scene.server.clear_faults();
    }
}

#[test]
fn h10_too_many_attestations_are_a_limit() {
    let scene = Scene::new();
    for count in [1_001_u32, 20_000] {
        let entries: Vec<_> = (0..count).map(|number| Descriptor::of(names::MANIFEST, &number.to_le_bytes())).collect();
        let listing = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": entries });
        scene.server.fault("/referrers/", Fault::body(serde_json::to_vec(&listing).unwrap()));
        let started = Instant::now();
        let error = scene.referrers().unwrap_err();
        assert_eq!(error.class(), Class::Limit);
        assert!(error.to_string().contains("1000") || error.to_string().contains("limit"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2));
        scene.server.clear_faults();
    }
}

#[test]
fn h11_announced_sizes_are_judged_before_anything_is_read() {
    let scene = Scene::new();
    let store = scene.store();
    for size in [i64::MAX as u64, u64::MAX, 1 << 40] {
        let mut huge = scene.layer();
        huge.size = size;
        assert_eq!(class(store.blob(&huge, 96 << 20)), Class::Limit);
        assert_eq!(class(store.copy_blob(&huge, &mut Vec::new())), Class::Limit);
    }
    assert!(scene.server.log().is_empty());
    scene.server.put_manifest(REPOSITORY, Some("large"), names::MANIFEST, &vec![b' '; (4 << 20) + 1]);
    assert_eq!(class(store.resolve_tag("large")), Class::Limit);
    scene.server.fault("/manifests/1.0", Fault { endless: true, ..Fault::default() });
    assert_eq!(class(store.resolve_tag("1.0")), Class::Limit);
    scene.server.fault("/blobs/", Fault { endless: true, ..Fault::default() });
    assert_eq!(class(store.blob(&scene.layer(), 1 << 20)), Class::Integrity);
}

#[test]
fn h13_retries_are_bounded_and_patience_too() {
    let scene = Scene::new();
    for status in [429, 502, 503, 504] {
        scene.server.fault("/manifests/1.0", Fault::status(status).times(2));
        assert!(client().resolve(&scene.tag()).is_ok(), "{status}");
        scene.server.clear_faults();
        scene.server.clear_log();
        scene.server.fault("/manifests/1.0", Fault::status(status));
        assert_eq!(class(client().resolve(&scene.tag())), Class::Registry, "{status}");
        assert_eq!(scene.server.count("/manifests/1.0"), 4);
        scene.server.clear_faults();
    }
    for wait in ["1000000000", "99999999999999999999", "-1", "soon"] {
        scene.server.clear_log();
        scene.server.fault("/manifests/1.0", Fault::status(429).and_header("Retry-After", wait));
        let started = Instant::now();
        assert_eq!(class(client().resolve(&scene.tag())), Class::Registry, "{wait}");
        assert!(started.elapsed() < Duration::from_secs(3), "{wait}");
        scene.server.clear_faults();
    }
    // 401 for ever, with a token server that gives tokens.
    let scene = Scene::on(TestRegistry::start().with_token("me", "planted-canary"));
    let challenge = format!("Bearer realm=\"{}\"", scene.server.url("/token"));
    scene.server.fault("/manifests/", Fault::status(401).and_header("WWW-Authenticate", &challenge));
    assert_eq!(class(with_credentials(&scene.server.host()).resolve(&scene.tag())), Class::Auth);
    assert!(scene.server.log().len() <= 4, "{}", scene.server.log().len());
}

#[test]
fn h16_nothing_that_ends_a_line_gets_into_a_request() {
    for text in ["127.0.0.1:5000/a:1\r\nX: y", "127.0.0.1:5000/a%0d%0a:1", "127.0.0.1:5000/a@sha256:00\r\n"] {
        let error = text.parse::<Reference>().unwrap_err();
        assert_eq!(error.class(), Class::Ref, "{text:?}");
    }
}

#[test]
fn k07_what_a_registry_says_is_shown_escaped() {
    let scene = Scene::new();
    let nasty = json!({ "errors": [{ "code": "\u{1b}[2J", "message": "a\rb\u{202e}c\u{9b}d" }] });
    scene
        .server
        .fault("/manifests/1.0", Fault { status: Some(418), ..Fault::body(serde_json::to_vec(&nasty).unwrap()) });
    let error = client().resolve(&scene.tag()).unwrap_err().to_string();
    assert!(error.is_ascii() && error.contains("\\u{1b}"), "{error:?}");
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
fn j01_a_damaged_cache_changes_nothing() {
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
