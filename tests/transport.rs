//! Transport on a registry that lies: each test is an attack of its id, at the adapter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/docker_registry.rs"]
mod docker_registry;
#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/scene.rs"]
mod scene;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulla::adapters::Store;
use bulla::adapters::registry::{Registry, RegistryOptions};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::oci::{Descriptor, Manifest, names};
use bulla::reference::Reference;
use registry::{Canary, Fault, TestRegistry};
use scene::{REPOSITORY, Scene, class, client, hurried, options, with_credentials};
use serde_json::json;

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

/// Runs openssl in a folder; `false` if it is not on this machine.
fn openssl(folder: &Path, arguments: &str) -> bool {
    let run = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

/// A certificate for this name by the CA in the folder, and its key.
fn certificate(folder: &Path, name: &str, days: i32) -> Option<(PathBuf, PathBuf)> {
    std::fs::write(folder.join("extensions"), format!("subjectAltName={name}\n")).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout";
    let made = (folder.join("ca.pem").exists()
        || openssl(folder, &format!("req -x509 {key} ca.key -out ca.pem -subj /CN=ca -days 2")))
        && openssl(folder, &format!("req {key} leaf.key -out leaf.csr -subj /CN=registry"))
        && openssl(
            folder,
            &format!(
                "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile extensions -out leaf.pem"
            ),
        );
    made.then(|| (folder.join("leaf.pem"), folder.join("leaf.key")))
}

#[test]
fn h02_only_a_certificate_that_fits_and_is_vouched_for_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    for (name, days, fits) in
        [("IP:127.0.0.1", 2, true), ("DNS:registry.example", 2, false), ("IP:127.0.0.1", -1, false)]
    {
        let Some((certificate, key)) = certificate(folder.path(), name, days) else {
            println!("skipped: openssl");
            return;
        };
        let Some(server) = docker_registry::DockerRegistry::start_tls(&certificate, &key) else { return };
        let reference = server.reference("acme/base:1.0");
        assert_eq!(class(client().resolve(&reference)), Class::Net, "nobody vouches for this certificate");
        let ca_cert = Some(std::fs::read(folder.path().join("ca.pem")).unwrap());
        let trusting = Registry::new(RegistryOptions { ca_cert, ..options() });
        let error = trusting.resolve(&reference).unwrap_err();
        assert_eq!(matches!(error, bulla::adapters::StoreError::NotFound { .. }), fits, "{name} {days}: {error}");
        assert_eq!(trusting.weakened(|_| None).len(), 1);
    }
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
    let image = Manifest::parse(&served.raw, served.media_type.as_deref()).unwrap().into_image().unwrap();
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
        assert!(started.elapsed() < Duration::from_secs(15));
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
