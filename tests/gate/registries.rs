//! Registries that are down, refuse, stall or talk nonsense; and the cache, which helps and is never needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::finish;
use crate::registry::{Fault, TestRegistry};
use crate::stage::{ALL, Stage};

#[test]
fn a_registry_that_is_down_is_undecided() {
    let stage = Stage::attested();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let verdict = stage.refuses(&[&format!("{gone}/acme/base:1.0")], 3, "NET");
    assert_eq!(verdict["error"]["code"], "unreachable");
}

/// Answers that are none, with the class of each.
fn nonsense() -> Vec<(Fault, &'static str)> {
    vec![
        (Fault::status(401), "AUTH"),
        (Fault::status(403), "AUTH"),
        (Fault::status(429).and_header("Retry-After", "1000000000"), "REGISTRY"),
        (Fault::status(500), "REGISTRY"),
        (Fault::status(503), "REGISTRY"),
        (Fault::status(418), "REGISTRY"),
        (Fault::status(204), "REGISTRY"),
    ]
}

/// Cases in which the binary mostly waits before it asks again.
fn each_at_once<T: Send>(cases: Vec<T>, case: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for one in cases {
            scope.spawn(|| case(one));
        }
    });
}

#[test]
fn e01_a_registry_that_refuses_the_manifest_is_undecided() {
    each_at_once(nonsense(), |(fault, class)| {
        let stage = Stage::attested();
        stage.server.fault("/manifests/1.0", fault);
        stage.refuses(&[&stage.tag()], 3, class);
    });
    let stage = Stage::attested();
    let verdict = stage.refuses(&[&stage.named(":2.0")], 3, "REGISTRY");
    assert_eq!(verdict["error"]["code"], "not-found");
    for page in ["<html><body>log in</body></html>", "", "null", "[]", "{}"] {
        stage.server.clear_faults();
        stage.server.fault("/manifests/1.0", Fault::body(page).and_header("Docker-Content-Digest", ""));
        stage.refuses(&[&stage.tag()], 1, "FORMAT");
    }
    stage.server.clear_faults();
    stage.admits(&[&stage.tag()]);
}

#[test]
fn e01_a_registry_that_refuses_the_referrers_is_undecided_and_never_an_absence() {
    let paths = ["/referrers/", "/manifests/sha256-"];
    let cases = paths.iter().flat_map(|path| nonsense().into_iter().map(move |case| (path, case))).collect();
    each_at_once(cases, |(path, (fault, class))| {
        let stage = Stage::attested();
        stage.server.fault(path, fault);
        stage.refuses(&[&stage.tag()], 3, class);
    });
    for (page, kind) in [
        ("<html><body>log in</body></html>", "text/html"),
        ("<html><body>log in</body></html>", "application/vnd.oci.image.index.v1+json"),
        ("{}", "application/vnd.oci.image.index.v1+json"),
        ("{\"manifests\":null}", "application/json"),
    ] {
        let stage = Stage::attested();
        stage.server.fault("/referrers/", Fault::body(page).and_header("Content-Type", kind));
        let run = stage.verify(&["--json", &stage.tag()]);
        assert!(matches!(run.code, Some(1 | 3)), "{run:?}");
        assert_eq!(run.json()["admitted"], false);
    }
}

#[test]
fn e01_referrers_that_do_not_exist_or_are_none_are_no_attestations() {
    let empty = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] });
    for fault in [Fault::status(404), Fault::body(empty.to_string())] {
        let stage = Stage::attested();
        stage.server.fault("/referrers/", fault);
        stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    }
}

#[test]
fn a_bundle_that_does_not_come_is_undecided_or_counts_for_nothing() {
    let stage = Stage::attested();
    let config = format!("/blobs/{}", bulla::content::Digest::of(&stage.image.config));
    let bundle = stage.server.log().len();
    assert_eq!(bundle, 0);
    // The config is let through, every other blob is refused.
    stage.admits(&[&stage.tag()]);
    fs::remove_dir_all(stage.desk.path("cache")).unwrap();
    stage.server.fault(&config, Fault::default());
    stage.server.fault("/blobs/", Fault::status(500));
    stage.refuses(&[&stage.tag()], 3, "REGISTRY");
    stage.server.clear_faults();
    stage.server.fault(&config, Fault::default());
    stage.server.fault("/blobs/", Fault::status(404));
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    stage.server.clear_faults();
    stage.admits(&[&stage.tag()]);
}

#[test]
fn h13_a_registry_that_recovers_is_asked_again_and_one_that_does_not_is_not_asked_for_ever() {
    let stage = Stage::attested();
    stage.server.fault("/manifests/1.0", Fault::status(503).times(2));
    stage.verify(&[&stage.tag()]).ends(0);
    let begun = Instant::now();
    stage.server.clear_log();
    stage.server.fault("/manifests/1.0", Fault::status(429).and_header("Retry-After", "1000000000"));
    stage.verify(&[&stage.tag()]).ends(3);
    stage.server.clear_faults();
    stage.server.fault("/manifests/1.0", Fault::status(401).and_header("WWW-Authenticate", "Basic realm=\"x\""));
    stage.verify(&[&stage.tag()]).ends(3);
    assert!(stage.server.count("/manifests/1.0") < 10);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn k08_credentials_are_used_and_never_printed() {
    let stage = Stage::on(TestRegistry::start().with_basic("me", "planted-canary"));
    stage.attest(&stage.key, &stage.image.descriptor(), &ALL);
    stage.refuses(&[&stage.tag()], 3, "AUTH");
    let auth = |password: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
        json!({ "auths": { stage.server.host(): { "auth": auth } } }).to_string()
    };
    stage.desk.write("home/.docker/config.json", auth("planted-canary-2"));
    let verdict = stage.refuses(&[&stage.tag()], 3, "AUTH");
    assert!(!verdict.to_string().contains("planted"), "{verdict:#}");
    stage.desk.write("home/.docker/config.json", auth("planted-canary"));
    let verdict = stage.admits(&[&stage.tag()]);
    assert!(!verdict.to_string().contains("planted"), "{verdict:#}");
    stage.desk.write("home/.docker/config.json", "{ not json");
    stage.refuses(&[&stage.tag()], 3, "AUTH");
}

#[test]
fn a_second_verification_of_a_digest_needs_no_registry() {
    let stage = Stage::attested();
    let layout = stage.pinned();
    stage.refuses(&["--offline", &layout], 3, "NET");
    stage.verify(&[&layout]).ends(0);
    stage.server.clear_log();
    stage.admits(&["--offline", &layout]);
    stage.admits(&[&layout]);
    assert_eq!(stage.server.log().len(), 0);
    // A tag means something only on the registry.
    stage.refuses(&["--offline", &stage.tag()], 3, "NET");
    // What was remembered is judged again: under a policy that asks for more it is not enough.
    stage.policy(&stage.rule("require = [\"signature\", \"https://example.test/more\"]"));
    stage.refuses(&["--offline", &layout], 1, "NO_ATTESTATION");
    assert_eq!(stage.server.log().len(), 0);
}

/// Every file in the cache.
fn cached(stage: &Stage) -> Vec<std::path::PathBuf> {
    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&stage.desk.path("cache"), &mut found);
    found
}

#[test]
fn j01_a_corrupted_cache_is_fetched_again_or_refused() {
    type Harm = fn(&std::path::Path);
    let harms: [Harm; 4] = [
        |path| fs::write(path, b"").unwrap(),
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    let stage = Stage::attested();
    let image = stage.pinned();
    stage.verify(&[&image]).ends(0);
    let files = cached(&stage);
    assert!(files.len() >= 8, "{files:?}");
    for harm in harms {
        for file in &files {
            harm(file);
            let run = stage.verify(&["--offline", "--json", &image]);
            assert!(matches!(run.code, Some(1 | 3)), "{file:?}: {run:?}");
            assert_eq!(run.json()["admitted"], false);
            let verdict = stage.verify(&["--json", &image]).ends(0).json();
            assert_eq!(verdict["attestations"].as_array().unwrap().len(), 3);
        }
    }
    stage.admits(&["--offline", &image]);
}

#[test]
fn j01_a_cached_manifest_of_another_image_is_not_taken_for_this_one() {
    let stage = Stage::bare();
    let other = crate::image::Image::new("other");
    stage.push(&other, Some("other"));
    stage.attest(&stage.key, &other.descriptor(), &ALL);
    stage.verify(&[&stage.named(":other")]).ends(0);
    stage.verify(&[&stage.tag()]).ends(1);
    // The file with the other image's manifest in the place of ours, and its list of attestations likewise.
    let files = cached(&stage);
    let place = |digest: &bulla::content::Digest| {
        files.iter().find(|path| path.ends_with(digest.hex())).cloned().unwrap_or_else(|| panic!("{files:?}"))
    };
    fs::copy(place(&other.digest()), place(&stage.image.digest())).unwrap();
    let verdict = stage.refuses(&[&stage.pinned()], 1, "NO_ATTESTATION");
    assert_eq!(verdict["digest"], json!(stage.image.digest()));
}

#[test]
fn j09_a_cache_that_cannot_be_written_changes_no_verdict() {
    let stage = Stage::attested();
    let other = crate::image::Image::new("other");
    stage.push(&other, Some("other"));
    let both = |value: &std::path::Path| {
        for (name, code) in [(stage.tag(), 0), (stage.named(":other"), 1)] {
            let policy = stage.desk.arg("config/policy.toml");
            let mut command = stage.desk.command(&["verify", "--policy", &policy, &name]);
            finish(command.env("XDG_CACHE_HOME", value), b"").ends(code);
        }
    };
    let file = stage.desk.path("home/file");
    fs::write(&file, b"").unwrap();
    both(&file); // a file where a folder should be
    both(std::path::Path::new("/dev/full"));
    both(std::path::Path::new("/proc/nowhere"));
    let folder = stage.desk.path("home/read-only");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    both(&folder);
    let policy = stage.desk.arg("config/policy.toml");
    let mut homeless = stage.desk.command(&["verify", "--policy", &policy, &stage.tag()]);
    finish(homeless.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME"), b"").ends(0);
}

#[test]
fn j07_runs_at_the_same_time_give_the_same_verdict() {
    let stage = Stage::attested();
    let other = crate::image::Image::new("other");
    stage.push(&other, Some("other"));
    let (good, bad) = (stage.tag(), stage.named(":other"));
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (name, code) = if at % 2 == 0 { (&good, 0) } else { (&bad, 1) };
            let stage = &stage;
            scope.spawn(move || stage.verify(&["--json", name]).ends(code));
        }
    });
    stage.admits(&["--offline", &stage.pinned()]);
}

#[test]
fn k11_language_time_zone_and_proxies_of_the_environment_change_nothing() {
    let stage = Stage::attested();
    let policy = stage.desk.arg("config/policy.toml");
    let mut command = stage.desk.command(&["verify", "--json", "--policy", &policy, &stage.tag()]);
    command.env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8").env("TZ", "Pacific/Kiritimati");
    let verdict = finish(&mut command, b"").ends(0).json();
    assert!(verdict["time"].as_str().unwrap().ends_with('Z'));
    // K09: what weakens transport is recorded, even where it is not used.
    let verdict = finish(command.env("SSL_CERT_FILE", "/dev/null"), b"").ends(0).json();
    assert!(verdict["unsafe"][0].as_str().unwrap().contains("SSL_CERT_FILE"), "{verdict:#}");
}
