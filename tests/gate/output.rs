//! What is printed: nothing that a stranger could steer a terminal with, and never a success that nobody could read.

use std::fs::OpenOptions;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::image::Image;
use crate::registry::Fault;
use crate::stage::{ALL, REPOSITORY, SIGN, Stage, bundle, bundle_of};

/// Clears the screen, rings, turns text around, hides, forges lines and commands of a CI system.
const HOSTILE: &str =
    "a\u{1b}[2J\u{1b}]8;;http://x\u{7}\u{9b}31m\u{202e}b\u{200b}\r\n::error::c\n  ::set-output name=x::y\u{0}d";

#[test]
fn k07_hostile_text_in_a_config_is_never_printed() {
    for field in ["os", "architecture", "variant"] {
        let stage = Stage::bare();
        let mut config: Value = serde_json::from_slice(&stage.image.config).unwrap();
        config[field] = json!(HOSTILE);
        let config = config.to_string().into_bytes();
        let manifest = String::from_utf8(stage.image.manifest.clone()).unwrap();
        let (old, new) = (bulla::content::Digest::of(&stage.image.config), bulla::content::Digest::of(&config));
        let manifest = manifest
            .replace(&old.to_string(), &new.to_string())
            .replace(&format!("\"size\":{}", stage.image.config.len()), &format!("\"size\":{}", config.len()));
        let image = Image { config, layer: stage.image.layer.clone(), manifest: manifest.into_bytes() };
        stage.push(&image, Some("1.0"));
        stage.attest(&stage.key, &image.descriptor(), &ALL);
        // `finish` looks at every character of these.
        let json = stage.verify(&["--json", &stage.tag()]);
        stage.verify(&[&stage.tag()]).ends(json.code.unwrap());
        stage.verify(&["--platform", "linux/amd64", &stage.tag()]).ends(1);
        stage.launch(&[&stage.tag()]).ends(125);
        stage.desk.run(&["audit", "--key", &stage.desk.arg("config/cosign.pub"), &stage.tag()]);
        assert!(!stage.desk.touched_engine());
    }
}

#[test]
fn k07_hostile_text_in_attestations_is_never_printed() {
    let stage = Stage::bare();
    let image = stage.image.descriptor();
    let hostile_type = format!("https://example.test/{}", HOSTILE.replace('\0', ""));
    stage.attach(&bundle_of(&stage.key, &image.digest, &hostile_type, &json!({})), &image, &hostile_type);
    stage.attach(&bundle(&stage.key, &image.digest, "https://example.test/x"), &image, HOSTILE);
    stage.attach(&bundle_of(&stage.key, &image.digest, &hostile_type, &json!({})), &image, SIGN);
    let provenance = json!({
        "buildDefinition": { "buildType": HOSTILE, "externalParameters": {} },
        "runDetails": { "builder": { "id": HOSTILE } },
    });
    let slsa = crate::stage::SLSA;
    stage.attach(&bundle_of(&stage.key, &image.digest, slsa, &provenance), &image, slsa);
    stage.policy(&format!("{}[rule.provenance]\nbuilder-id = [\"https://x.test\"]\n", stage.rule("")));
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert!(verdict["checks"][1]["class"] == "PROVENANCE", "{verdict:#}");
}

#[test]
fn k07_hostile_answers_and_long_ones_are_never_printed_whole() {
    let long = "x".repeat(1 << 20);
    for said in [HOSTILE, &long] {
        let stage = Stage::attested();
        let body = json!({ "errors": [{ "code": said, "message": said }] }).to_string();
        let fault = Fault { body: Some(body.into_bytes()), ..Fault::status(403) };
        stage.server.fault("/manifests/1.0", fault);
        stage.refuses(&[&stage.tag()], 3, "AUTH");
        stage.server.clear_faults();
        stage.server.put_manifest(REPOSITORY, Some("1.0"), "application/x", said.as_bytes());
        stage.refuses(&[&stage.tag()], 1, "FORMAT");
    }
    // In what is attached: a type that is only listed, one that is read, and a builder.
    let stage = Stage::bare();
    let image = stage.image.descriptor();
    let endless = format!("https://example.test/{long}");
    stage.attach(b"{}", &image, &endless);
    stage.attach(&bundle(&stage.key, &image.digest, "https://example.test/x"), &image, SIGN);
    let mut provenance = crate::stage::predicate(crate::stage::SLSA);
    provenance["runDetails"]["builder"]["id"] = json!(endless);
    let slsa = crate::stage::SLSA;
    stage.attach(&bundle_of(&stage.key, &image.digest, slsa, &provenance), &image, slsa);
    stage.policy(&format!("{}[rule.provenance]\nbuilder-id = [\"https://x.test\"]\n", stage.rule("")));
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    let stage = Stage::attested();
    stage.server.fault("/manifests/1.0", Fault::status(302).and_header("Location", "http://\u{e9}\u{9b}31m.example/"));
    stage.verify(&[&stage.tag()]).ends(3);
}

#[test]
fn k07_hostile_arguments_are_not_printed_back_raw() {
    let stage = Stage::bare();
    let hostile = HOSTILE.replace('\0', "");
    stage.verify(&[&hostile]).ends(2);
    stage.verify(&[&stage.tag(), "--platform", &hostile]).ends(2);
    stage.verify(&[&stage.tag(), &format!("--{hostile}")]).ends(2);
    stage.verify(&[&stage.tag(), "--bundle", &hostile]).ends(2);
    stage.verify(&["--json", &format!("oci:{hostile}")]).ends(2);
    stage.desk.run(&[&hostile]).ends(2);
    stage.desk.run(&["verify", &stage.tag(), "--key", &hostile]).ends(2);
    let policy = stage.rule("").replace("cosign.pub", "\\u001b[2J\\n::error::x");
    stage.policy(&policy);
    stage.refuses(&[&stage.tag()], 2, "POLICY");
    stage.policy("version = 1\n::error::x = 1\n\u{1b}[2J");
    stage.refuses(&[&stage.tag()], 2, "POLICY");
}

#[test]
fn k10_an_answer_that_cannot_be_written_is_no_success() {
    let stage = Stage::attested();
    let policy = stage.desk.arg("config/policy.toml");
    let image = stage.tag();
    stage.admits(&[&image]);
    for more in [&[][..], &["--json"]] {
        let args = [&["verify", "--policy", &policy, &image], more].concat();
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = stage.desk.command(&args).stdout(full()).stderr(Stdio::null()).status().unwrap();
        assert!(matches!(status.code(), Some(1..)), "{status}");
        // Nor if standard error is full too.
        let status = stage.desk.command(&args).stdout(full()).stderr(full()).status().unwrap();
        assert!(matches!(status.code(), Some(1..)), "{status}");
        let status = stage.desk.command(&args).stdout(closed()).stderr(Stdio::null()).status().unwrap();
        assert!(matches!(status.code(), Some(1..)), "{status}");
        // Standard error is not what carries the answer.
        let status = stage.desk.command(&args).stdout(Stdio::null()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(0));
    }
    for args in [&["--help"][..], &["--version"], &["completions", "bash"], &["audit", "--policy", &policy, &image]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = stage.desk.command(args).stdout(full).stderr(Stdio::null()).status().unwrap();
        assert!(matches!(status.code(), Some(1..)), "{args:?}: {status}");
    }
}

#[test]
fn a_file_that_is_asked_for_replaces_no_device_and_no_link() {
    let stage = Stage::attested();
    let policy = stage.desk.arg("config/policy.toml");
    let real = stage.desk.write("work/real", "old");
    let (link, null) = (stage.desk.path("work/link"), stage.desk.path("work/null"));
    std::os::unix::fs::symlink(&real, &link).unwrap();
    std::os::unix::fs::symlink("/dev/null", &null).unwrap();
    for place in [&link, &null, &stage.desk.path("work")] {
        let name = place.display().to_string();
        let before = place.symlink_metadata().unwrap().file_type();
        for args in [
            vec!["verify", "--policy", &policy, "--vsa", &name, &stage.tag()],
            vec!["verify", "--policy", &policy, "--vsa", &name, &stage.named(":gone")],
            vec!["sbom", &stage.tag(), "-o", &name],
        ] {
            let run = stage.desk.run(&args);
            // An SBOM of this image may fail for a reason of its own; what stands there stays in any case.
            assert!(args[0] == "sbom" || run.stderr.contains("not-a-plain-file") && run.code == Some(2), "{run:?}");
            assert_eq!(place.symlink_metadata().unwrap().file_type(), before);
        }
    }
    assert_eq!(std::fs::read(&real).unwrap(), b"old");
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn the_json_verdict_has_its_fields_whatever_the_exit_code() {
    let stage = Stage::attested();
    let bare = Image::new("bare");
    stage.push(&bare, Some("bare"));
    let cases = [(stage.tag(), 0), (stage.named(":bare"), 1), ("Wrong".to_owned(), 2), (stage.named(":gone"), 3)];
    for (image, exit) in cases {
        let verdict = stage.verify(&["--json", &image]).ends(exit).json();
        assert_eq!(verdict["image"], image);
        for field in [
            "schema",
            "tool",
            "admitted",
            "enforced",
            "exit",
            "time",
            "policy",
            "checks",
            "attestations",
            "rejections",
            "unsafe",
        ] {
            assert!(!verdict[field].is_null(), "{field} in {verdict:#}");
        }
        assert_eq!(verdict["exit"], exit);
        assert_eq!(verdict["admitted"], exit == 0);
        assert_eq!(verdict["error"].is_null(), exit < 2);
        assert!(verdict["policy"]["sha256"].as_str().unwrap().starts_with("sha256:"));
        for check in verdict["checks"].as_array().unwrap() {
            let known: Vec<&str> = check.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(known.len(), 9, "{known:?}");
            assert_eq!(check["class"].is_null(), check["status"] == "pass");
        }
        for attested in verdict["attestations"].as_array().unwrap() {
            assert_eq!(attested["signer"]["key"], json!(stage.key.public_key().fingerprint()));
        }
        if exit < 2 {
            assert!(verdict["reference"].as_str().unwrap().contains("@sha256:"));
        }
    }
}
