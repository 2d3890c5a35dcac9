//! What an image is called: tags, digests, layouts, and text that is no name at all.

use bulla::oci::names;
use serde_json::json;

use crate::image::Image;
use crate::registry::Fault;
use crate::stage::{ALL, SIGN, Stage};

#[test]
fn an_attested_image_is_admitted_by_tag_by_digest_and_by_both() {
    let stage = Stage::attested();
    let digest = stage.image.digest();
    for name in [stage.tag(), stage.pinned(), stage.named(&format!(":1.0@{digest}"))] {
        let verdict = stage.admits(&[&name]);
        assert_eq!(verdict["image"], name);
        assert_eq!(verdict["reference"], stage.pinned());
        assert_eq!((&verdict["digest"], &verdict["manifest"]), (&json!(digest), &json!(digest)));
        assert_eq!(verdict["platform"], "linux/amd64");
        assert_eq!(verdict["policy"]["rule"], 0);
        assert_eq!(verdict["policy"]["source"], stage.desk.arg("config/policy.toml"));
        assert_eq!(verdict["attestations"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&verdict["unsafe"], &verdict["rejections"], &verdict["notes"]),
            (&json!([]), &json!([]), &json!([]))
        );
        assert_eq!(verdict["tool"], json!({ "name": "bulla", "version": env!("CARGO_PKG_VERSION") }));
    }
    let text = stage.verify(&[&stage.tag()]).ends(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("pass ")).count(), 3, "{text}");
    assert_eq!(*lines.last().unwrap(), format!("ADMITTED {} linux/amd64", stage.pinned()));
}

#[test]
fn a04_a_tag_that_disagrees_with_the_digest_is_noted_and_the_digest_wins() {
    let stage = Stage::attested();
    let other = Image::new("other");
    stage.push(&other, Some("1.0"));
    let verdict = stage.admits(&[&stage.named(&format!(":1.0@{}", stage.image.digest()))]);
    assert_eq!(verdict["digest"], json!(stage.image.digest()));
    assert!(verdict["notes"][0].as_str().unwrap().contains(&other.digest().to_string()), "{verdict:#}");
    // The other way round: the tag names the attested image, the digest one that nothing is attached to.
    stage.push(&stage.image, Some("1.0"));
    let verdict = stage.refuses(&[&stage.named(&format!(":1.0@{}", other.digest()))], 1, "NO_ATTESTATION");
    assert_eq!(verdict["digest"], json!(other.digest()));
}

#[test]
fn a02_a_header_that_disagrees_with_the_bytes_is_refused() {
    let stage = Stage::attested();
    let other = Image::new("other").digest().to_string();
    stage.server.fault("/manifests/1.0", Fault::header("Docker-Content-Digest", &other));
    stage.refuses(&[&stage.tag()], 1, "INTEGRITY");
}

#[test]
fn a03_other_bytes_under_a_digest_are_refused() {
    let stage = Stage::attested();
    let other = Image::new("other");
    let path = format!("/manifests/{}", stage.image.digest());
    let lie = Fault::body(other.manifest.clone()).and_header("Docker-Content-Digest", "");
    stage.server.fault(&path, lie);
    stage.refuses(&[&stage.pinned()], 1, "INTEGRITY");
}

#[test]
fn a06_text_that_is_no_reference_is_refused_before_any_request() {
    let stage = Stage::attested();
    let host = stage.server.host();
    let (short, upper) = ("a".repeat(63), "A".repeat(64));
    let names = [
        "--privileged".to_owned(),
        "-v/:/h".to_owned(),
        String::new(),
        " ".to_owned(),
        format!("{host}/acme/b ase:1.0"),
        format!("{host}/Acme/base:1.0"),
        format!("{host}/acme/../base:1.0"),
        format!("{host}/acme/%2e%2e/base:1.0"),
        format!("{host}/acme//base:1.0"),
        format!("{host}/acme/base:"),
        format!("{host}/acme/base:-rf"),
        format!("{host}/acme/base:1.0\n"),
        format!("{host}/acme/base:\u{202e}0.1"),
        format!("{host}/acme/base@sha256:{short}"),
        format!("{host}/acme/base@sha256:{upper}"),
        format!("{host}/acme/base@sha256:{}", "g".repeat(64)),
        format!("{host}/acme/base@sha256:../../x"),
        format!("{host}/acme/base@sha512:{}", "a".repeat(128)),
        format!("{host}/acme/base@md5:{}", "a".repeat(32)),
        format!("{host}/acme/base@"),
        format!("user@{host}/acme/base:1.0"),
        format!("ghcr.io@{host}/acme/base:1.0"),
        format!("http://{host}/acme/base:1.0"),
        format!("{host}./acme/base:1.0"),
        "127.0.0.1:0/acme/base:1.0".to_owned(),
        "127.0.0.1:65536/acme/base:1.0".to_owned(),
        "127.0.0.1:+80/acme/base:1.0".to_owned(),
        "0x7f000001:5000/acme/base:1.0".to_owned(),
        "127.1/acme/base:1.0".to_owned(),
        "GHCR.IO/acme/base:1.0".to_owned(),
        "ghcr.io./acme/base:1.0".to_owned(),
        "ghсr.io/acme/base:1.0".to_owned(),
        "[::1/acme/base:1.0".to_owned(),
        "oci:".to_owned(),
        "oci:/tmp/x@sha256:short".to_owned(),
        "oci:/tmp/x:\u{1b}[2J".to_owned(),
        "x".repeat(100_000),
    ];
    for name in &names {
        let run = stage.verify(&["--json", "--", name]).ends(2);
        let verdict = run.json();
        assert_eq!((&verdict["error"]["class"], &verdict["exit"]), (&json!("REF"), &json!(2)), "{name}");
        assert_eq!(verdict["admitted"], false);
        stage.verify(&["--", name]).ends(2);
        stage.launch(&["--dry-run", name]).ends(125);
    }
    assert_eq!(stage.server.log().len(), 0);
    assert!(!stage.desk.touched_engine());
}

#[test]
fn a_bare_word_that_is_no_template_says_what_to_write() {
    let stage = Stage::bare();
    let run = stage.verify(&["alpine"]).ends(2);
    assert!(run.stderr.contains("docker.io/library/alpine:latest"), "{run:?}");
    assert!(stage.verify(&["--json", "alpine"]).ends(2).json()["error"]["code"] == "unknown-template");
    stage.launch(&["alpine"]).ends(125);
}

#[test]
fn a07_rules_see_the_canonical_name_alone() {
    let stage = Stage::attested();
    let key = "[[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n";
    let rule = |name: &str, rest: &str| format!("[[rule]]\nimages = [\"{name}\"]\nrequire = [{rest}]\n{key}");
    stage.policy(&format!(
        "version = 1\n{}{}",
        rule("docker.io/library/alpine", "\"signature\""),
        rule("localhost/alpine", "\"sbom\"")
    ));
    let explain = |image: &str| {
        let policy = stage.desk.arg("config/policy.toml");
        stage.desk.run(&["policy", "explain", image, "--policy", &policy])
    };
    for name in ["docker.io/alpine", "docker.io/library/alpine:3", "index.docker.io/library/alpine"] {
        assert!(explain(name).stdout.starts_with("docker.io/library/alpine: rule 0 "), "{name}");
    }
    assert!(explain("localhost/alpine").ends(0).stdout.contains("rule 1"));
    assert!(explain("ghcr.io/library/alpine").ends(1).stdout.contains("denied"));
}

#[test]
fn a_layout_is_judged_without_any_request_and_under_its_own_name() {
    let stage = Stage::bare();
    let layout = stage.layout("work/layout", "base:1.0", &ALL);
    for name in
        [layout.clone(), format!("{layout}:1.0"), format!("{layout}@{}", stage.image.digest()), "oci:layout".to_owned()]
    {
        let verdict = stage.admits(&[&name]);
        assert_eq!(verdict["reference"], serde_json::Value::Null);
        assert_eq!(verdict["digest"], json!(stage.image.digest()));
        assert_eq!(verdict["unsafe"], json!([]));
    }
    assert_eq!(stage.server.log().len(), 0);
    stage.refuses(&[&format!("{layout}:2.0")], 3, "REGISTRY");
    stage.refuses(&["oci:nowhere"], 3, "REGISTRY");
    let bare = stage.layout("work/bare", "base:1.0", &[]);
    stage.refuses(&[&bare], 1, "NO_ATTESTATION");
}

#[test]
fn a_layout_gets_the_rules_of_another_name_only_by_as_which_is_recorded() {
    let stage = Stage::bare();
    let layout = stage.layout("work/layout", "base:1.0", &ALL);
    let name = stage.named("");
    stage.policy(&stage.rule("").replace("\"oci/**\"", "\"ghcr.io/elsewhere/*\""));
    // What the layout calls itself never makes it anything but oci/….
    let named = stage.layout("work/named", &name, &ALL);
    for layout in [&layout, &named] {
        let verdict = stage.refuses(&[layout], 1, "IDENTITY");
        assert_eq!(verdict["checks"][0]["code"], "no-rule");
    }
    let verdict = stage.admits(&[&layout, "--as", &name]);
    assert_eq!(verdict["unsafe"], json!([format!("--as {name}")]));
    stage.refuses(&[&layout, "--as", "ghcr.io/other/name"], 1, "IDENTITY");
    stage.refuses(&[&layout, "--as", "Not A Name"], 2, "REF");
    stage.refuses(&[&stage.tag(), "--as", "ghcr.io/other/name"], 2, "USAGE");
}

#[test]
fn a_layout_with_two_images_asks_which_and_lists_them() {
    let stage = Stage::bare();
    let layout = stage.layout("work/layout", "base:1.0", &ALL);
    let other = Image::new("other");
    let index = stage.desk.path("work/layout/index.json");
    let mut entries: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    stage.desk.write(&format!("work/layout/blobs/sha256/{}", other.digest().hex()), &other.manifest);
    let mut entry = serde_json::to_value(other.descriptor()).unwrap();
    entry["annotations"] = json!({ names::REF_NAME: "other:2.0\u{1b}[2J" });
    entries["manifests"].as_array_mut().unwrap().push(entry);
    std::fs::write(index, entries.to_string()).unwrap();
    let verdict = stage.refuses(&[&layout], 2, "USAGE");
    let message = verdict["error"]["message"].as_str().unwrap();
    assert!(message.contains("base:1.0") && message.contains(&other.digest().to_string()), "{message}");
    stage.admits(&[&format!("{layout}:1.0")]);
}

#[test]
fn i11_a_layout_whose_blobs_are_changed_or_links_is_refused() {
    let stage = Stage::bare();
    let config = stage.image.digest().hex();
    let layout = stage.layout("work/layout", "base:1.0", &[SIGN]);
    let blob = stage.desk.path(&format!("work/layout/blobs/sha256/{config}"));
    let mut bytes = stage.image.manifest.clone();
    bytes.push(b' ');
    std::fs::write(&blob, &bytes).unwrap();
    stage.refuses(&[&layout], 1, "INTEGRITY");
    std::fs::remove_file(&blob).unwrap();
    let aside = stage.desk.write("home/manifest", &stage.image.manifest);
    std::os::unix::fs::symlink(aside, &blob).unwrap();
    stage.refuses(&[&layout], 1, "FORMAT");
}

#[test]
fn h01_plain_http_is_for_literal_loopback_unless_it_was_asked_for_aloud() {
    let stage = Stage::attested();
    let port = stage.server.host().rsplit_once(':').unwrap().1.to_owned();
    let host = format!("0.0.0.0:{port}");
    stage.policy(&stage.rule("").replace(&stage.server.host(), &host));
    let name = format!("{host}/acme/base:1.0");
    stage.refuses(&[&name], 3, "NET");
    assert_eq!(stage.server.log().len(), 0);
    // Another registry's permission is none.
    stage.verify(&[&name, "--insecure-registry", "0.0.0.0"]).ends(3);
    assert_eq!(stage.server.log().len(), 0);
    let verdict = stage.admits(&[&name, "--insecure-registry", &host]);
    assert!(verdict["unsafe"][0].as_str().unwrap().contains(&host), "{verdict:#}");
    let run = stage.verify(&[&name, "--insecure-registry", &host]).ends(0);
    assert!(run.stderr.contains("UNSAFE") && run.stderr.contains(&host), "{run:?}");
}
