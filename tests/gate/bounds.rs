//! Work that a stranger chooses is bounded, and so is where it leads: every run has its share of processor and memory
//! (`cli::Desk`), so that what is not refused early ends a test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::adapters::layout::LayoutWriter;
use bulla::content::{Digest, limits};
use bulla::oci::names;
use serde_json::{Value, json};

use crate::cli::finish;
use crate::registry::Fault;
use crate::stage::{ALL, SIGN, SLSA, SPDX, Stage, attachment, bundle, bundle_of, spdx};

#[test]
fn d09_tens_of_thousands_of_anything_are_refused_within_bounds() {
    let stage = Stage::bare();
    let good: Value = serde_json::from_slice(&bundle(&stage.key, &stage.image.digest(), SIGN)).unwrap();
    let entry = json!({
        "logId": { "keyId": "AAAA" }, "kindVersion": { "kind": "dsse", "version": "0.0.1" }, "canonicalizedBody": "AAAA",
    });
    let many = |place: &str, item: &Value| {
        let mut bundle = good.clone();
        *bundle.pointer_mut(place).unwrap() = json!([]);
        bundle.to_string().replacen("[]", &format!("[{}]", vec![item.to_string(); 60_000].join(",")), 1)
    };
    let mut logged = good.clone();
    logged["verificationMaterial"]["tlogEntries"] = json!(["here"]);
    let entries = vec![entry.to_string(); 60_000].join(",");
    let entries = logged.to_string().replacen("\"here\"", &entries, 1);
    for (bundle, class) in [
        (entries, "LIMIT"),
        (many("/dsseEnvelope/signatures", &json!({ "sig": "AAAA" })), "LIMIT"),
        (format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)), "LIMIT"),
    ] {
        let stage = Stage::bare();
        stage.attach(bundle.as_bytes(), &stage.image.descriptor(), SIGN);
        rejects(&stage, class);
    }
}

/// A bundle that nobody signed with this payload, and with these words in the place of others.
fn unsigned(stage: &Stage, payload: &str, from: &str, to: &str) -> String {
    let mut bundle: Value = serde_json::from_slice(&bundle(&stage.key, &stage.image.digest(), SIGN)).unwrap();
    bundle["dsseEnvelope"]["payload"] = json!("here");
    let bundle = bundle.to_string().replacen(from, to, 1);
    bundle.replacen("\"here\"", &format!("{:?}", STANDARD.encode(payload)), 1)
}

#[test]
fn d09_a_bundle_of_the_largest_size_is_refused_within_bounds_whatever_it_is_full_of() {
    let stage = Stage::bare();
    let digest = stage.image.digest().hex();
    let statement = |subjects: &str, predicate: &str| {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{subjects}{{"digest":{{"sha256":"{digest}"}}}}],"predicateType":"{SIGN}","predicate":{predicate}}}"#
        )
    };
    // As many as fit, with some room for what is around them.
    let full = |item: &str, share: usize| item.repeat((limits::BUNDLE as usize - (4 << 20)) / 4 * share / item.len());
    let (small, none) = (statement("", "{}"), "\"nothing\"");
    let keys: Vec<String> = (0..65_000).map(|key| format!("\"{key:x}\":\"\"")).collect();
    let many_keys = format!("{{\"digest\":{{{}}}}},", keys.join(","));
    let wide: Vec<String> = (0..65_000).map(|key| format!("\"\\u0061{key:x}\":0")).collect();
    let wide = format!("{}0{}", format!("{{{},\"\":", wide.join(",")).repeat(60), "}".repeat(60));
    let signatures = "\"signatures\":[";
    let material = "\"verificationMaterial\":{";
    let stamps =
        |what: &str| format!("{material}\"timestampVerificationData\":{{\"rfc3161Timestamps\":[{what}{{}}]}},");
    let hashes = |what: &str| {
        format!(
            "{material}\"tlogEntries\":[{{\"logId\":{{\"keyId\":\"AA==\"}},\"kindVersion\":{{\"kind\":\"dsse\",\"version\":\"0.0.1\"}},\"canonicalizedBody\":\"AA==\",\"inclusionProof\":{{\"rootHash\":\"AA==\",\"treeSize\":\"1\",\"hashes\":[{what}\"AA==\"]}}}}],"
        )
    };
    for (what, payload, from, to) in [
        ("subjects", statement(&full("{\"digest\":{\"\":\"\"}},", 3), "{}"), none, String::new()),
        ("digests of a subject", statement(&full(&many_keys, 3), "{}"), none, String::new()),
        ("numbers", statement("", &format!("{{\"a\":[{}0]}}", full("0,", 3))), none, String::new()),
        ("objects", statement("", &format!("{{\"a\":[{}0]}}", full("{\"\":0},", 3))), none, String::new()),
        ("members", statement("", &format!("{{\"a\":{wide}}}")), none, String::new()),
        ("signatures", small.clone(), signatures, signatures.to_owned() + &full("{\"sig\":\"AA==\"},", 4)),
        ("timestamps", small.clone(), material, stamps(&full("{\"signedTimestamp\":\"AA==\"},", 4))),
        ("hashes", small.clone(), material, hashes(&full("\"AA==\",", 4))),
    ] {
        let bundle = unsigned(&stage, &payload, from, &to);
        assert!(bundle.len() as u64 <= limits::BUNDLE, "{what}");
        let file = stage.desk.write("work/bundle.json", bundle);
        let verdict = stage.verify(&[&stage.tag(), "--bundle", &file, "--json"]).ends(1).json();
        let rejections = verdict["rejections"].as_array().unwrap();
        assert_eq!(rejections.iter().map(|one| &one["class"]).collect::<Vec<_>>(), ["LIMIT"], "{what}: {verdict:#}");
    }
}

#[test]
fn e03_as_much_garbage_as_is_read_hides_nothing_and_more_of_it_is_refused_within_bounds() {
    let stage = Stage::bare();
    let image = stage.image.descriptor();
    // A large SBOM among the three attestations, of many small things.
    let mut sbom = spdx(&["pkg:deb/debian/git@2.47?arch=amd64"]);
    let id = |word: &str| format!("SPDXRef-{word}-python3-distutils-0123456789abcdef");
    let relationship = json!({
        "spdxElementId": id("Package"), "relationshipType": "OTHER", "relatedSpdxElement": id("File"),
    });
    let size = relationship.to_string().len();
    sbom["relationships"].as_array_mut().unwrap().extend(vec![relationship; (30 << 20) / size]);
    let good = [
        (SIGN, bundle(&stage.key, &image.digest, SIGN)),
        (SLSA, bundle(&stage.key, &image.digest, SLSA)),
        (SPDX, bundle_of(&stage.key, &image.digest, SPDX, &sbom)),
    ];
    let used: usize = good.iter().map(|(_, bundle)| bundle.len()).sum();
    let left = limits::EVIDENCE as usize - used;
    let garbage = |size: usize| {
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"{SPDX}","predicate":{{"a":{:?}}}}}"#,
            image.digest.hex(),
            "x".repeat(size / 4 * 3 - 4_096)
        );
        unsigned(&stage, &statement, "\"nothing\"", "")
    };
    let layout = |name: &str, garbage: &[String]| {
        let dir = stage.desk.path(name);
        let mut writer = LayoutWriter::create(&dir).unwrap();
        writer.add_blob(names::CONFIG, &stage.image.config[..]).unwrap();
        writer.add_blob(names::LAYER_TAR, &stage.image.layer[..]).unwrap();
        writer.add_manifest(names::MANIFEST, &stage.image.manifest, Some("base:1")).unwrap();
        let garbage = garbage.iter().map(|bundle| (SPDX, bundle.as_bytes()));
        for (one, bundle) in garbage.chain(good.iter().map(|(one, bundle)| (*one, &bundle[..]))) {
            writer.attach(&attachment(bundle, &image, one), bundle, one).unwrap();
        }
        writer.finish().unwrap();
        format!("oci:{}", dir.display())
    };
    let most = [garbage(left - (8 << 20)), garbage(4 << 20)];
    let verdict = stage.verify(&[&layout("work/most", &most), "--json"]).ends(0).json();
    assert_eq!(verdict["admitted"], true, "{verdict:#}");
    assert_eq!(verdict["rejections"].as_array().unwrap().len(), 2, "{verdict:#}");
    // The same from a registry, and from what was kept of it.
    for bundle in &most {
        stage.attach(bundle.as_bytes(), &image, SPDX);
    }
    for (one, bundle) in &good {
        stage.attach(bundle, &image, one);
    }
    for _ in 0..2 {
        stage.verify(&[&stage.tag()]).ends(0);
    }
    let more = layout("work/more", &[&most[..], &[garbage(5 << 20)]].concat());
    stage.verify(&[&more]).ends(1);
    let refused = stage.verify(&[&more, "--json"]).ends(1).json();
    assert_eq!(refused["error"]["class"], "LIMIT", "{refused:#}");
    // What is handed over counts beside what is attached.
    let file = stage.desk.write("work/garbage.json", garbage(5 << 20));
    let refused = stage.verify(&[&layout("work/again", &most), "--bundle", &file, "--json"]).ends(1).json();
    assert_eq!(refused["error"]["class"], "LIMIT", "{refused:#}");
}

/// Nothing counts, and the one thing that is attached was rejected with this class.
#[track_caller]
fn rejects(stage: &Stage, class: &str) {
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    let rejections = verdict["rejections"].as_array().unwrap();
    assert_eq!(rejections.iter().map(|one| &one["class"]).collect::<Vec<_>>(), [class], "{verdict:#}");
}

#[test]
fn d09_subjects_without_end_are_refused_within_bounds() {
    let stage = Stage::bare();
    let digest = stage.image.digest();
    let subject = json!({ "name": "x", "digest": { "sha256": digest.hex() } }).to_string();
    let subjects = vec![subject; 50_000].join(",");
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{subjects}],"predicateType":"{SIGN}","predicate":{{}}}}"#
    );
    let mut bundle: Value = serde_json::from_slice(&bundle(&stage.key, &digest, SIGN)).unwrap();
    bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(statement));
    stage.attach(bundle.to_string().as_bytes(), &stage.image.descriptor(), SIGN);
    rejects(&stage, "LIMIT");
}

#[test]
fn m06_a_signed_sbom_of_too_many_components_or_depths_is_refused_within_bounds() {
    let stage = Stage::bare();
    let image = stage.image.descriptor();
    let type_ = "https://cyclonedx.org/bom";
    stage.policy(&stage.rule("require = [\"sbom\"]\n"));
    let component = json!({ "type": "library", "name": "a" });
    let many = json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": vec![component; bulla::sbom::limits::PACKAGES + 1] });
    stage.attach(&bundle_of(&stage.key, &image.digest, type_, &many), &image, type_);
    stage.refuses(&[&stage.tag()], 1, "LIMIT");

    let stage = Stage::bare();
    stage.policy(&stage.rule("require = [\"sbom\"]\n"));
    let deep = (0..12).fold(json!([]), |below, _| json!([{ "type": "library", "name": "a", "components": below }]));
    let deep = json!({ "bomFormat": "CycloneDX", "specVersion": "1.6", "components": deep });
    let image = stage.image.descriptor();
    stage.attach(&bundle_of(&stage.key, &image.digest, type_, &deep), &image, type_);
    stage.refuses(&[&stage.tag()], 1, "LIMIT");
}

/// A proxy that lets everything through to nowhere, and tells what it was sent before and after its answer.
fn proxy() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap_or(0);
            let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let length = stream.read(&mut buffer).unwrap_or(0);
            let _ = tell.send((asked, buffer[..length].to_vec()));
        }
    });
    (url, told)
}

/// That plain http goes past every proxy is asserted in each run of each test here.
#[test]
fn h15_a_proxy_carries_https_alone_and_sees_neither_content_nor_credentials() {
    let stage = Stage::attested();
    let (url, told) = proxy();
    let auth = STANDARD.encode("me:planted-canary");
    let config = json!({ "auths": { "registry.example": { "auth": auth } } }).to_string();
    stage.desk.write("home/.docker/config.json", config);
    stage.policy(&stage.rule("").replace("\"oci/**\"", "\"oci/**\", \"registry.example/**\""));
    let policy = stage.desk.arg("config/policy.toml");
    for name in [stage.tag(), "registry.example/acme/base:1.0".to_owned()] {
        let mut command = stage.desk.command(&["verify", "--policy", &policy, &name]);
        for variable in ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env(variable, &url);
        }
        let local = name.starts_with("127.0.0.1");
        let run = finish(&mut command, b"").ends(if local { 0 } else { 3 });
        assert!(local || run.stderr.contains("NET"), "{run:?}");
        let said: Vec<_> = told.try_iter().collect();
        assert_eq!(said.is_empty(), local, "{said:?}");
        for (asked, sent) in said {
            assert!(asked.starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{asked}");
            assert!(!asked.to_ascii_lowercase().contains("authorization") && !asked.contains("planted"), "{asked}");
            // A TLS record with a handshake, and nothing in the clear.
            assert!(sent.starts_with(&[22, 3]), "{sent:?}");
            assert!(!String::from_utf8_lossy(&sent).contains(&auth));
        }
    }
}

#[test]
fn l10_what_is_signed_is_the_digest_of_bytes_that_were_just_read() {
    let stage = Stage::bare();
    let key = stage.desk.write("work/key.pem", stage.key.to_pem(b"a passphrase").unwrap());
    let sign = |name: &str| {
        let mut command = stage.desk.command(&["sign", "--key", &key, name]);
        finish(command.env("BULLA_KEY_PASSWORD", "a passphrase"), b"")
    };
    let written =
        || stage.server.log().iter().filter(|request| request.method != "GET" && request.method != "HEAD").count();
    // A tag may name another image by the time it is signed: nothing is even asked for.
    stage.server.clear_log();
    let refused = sign(&stage.tag()).ends(2);
    assert!(refused.stderr.contains("is a tag") && stage.server.log().is_empty(), "{refused:?}");
    // Other bytes under the digest, always or when they are read for signing.
    let other = crate::image::Image::new("other");
    stage.push(&other, Some("1.0"));
    stage.server.clear_log();
    stage.server.fault(&format!("/manifests/{}", stage.image.digest()), Fault::body(other.manifest.clone()));
    let refused = sign(&stage.pinned()).ends(1);
    assert!(refused.stderr.contains("INTEGRITY"), "{refused:?}");
    assert_eq!(written(), 0);
    stage.server.clear_faults();
    // With a tag and a digest the digest is what is signed, wherever the tag went.
    sign(&stage.named(&format!(":1.0@{}", stage.image.digest()))).ends(0);
    assert!(written() > 0);
    stage.policy(&stage.rule("require = [\"signature\"]\n"));
    let verdict = stage.admits(&[&stage.pinned()]);
    assert!(verdict.to_string().contains(&stage.image.digest().to_string()), "{verdict:#}");
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    // The same in a layout, whose blobs are read again.
    let layout = stage.layout("work/image", "base:1", &ALL);
    let blob = stage.desk.path("work/image/blobs/sha256").join(stage.image.digest().hex());
    std::fs::write(&blob, &other.manifest).unwrap();
    let refused = sign(&layout).ends(1);
    assert!(refused.stderr.contains("INTEGRITY"), "{refused:?}");
    assert_ne!(Digest::of(&other.manifest), stage.image.digest());
}
