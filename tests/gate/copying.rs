//! `copy`: an image with everything attached to it, from anywhere to anywhere.

use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::{Value, json};

use crate::cli::finish;
use crate::image::Image;
use crate::registry::Fault;
use crate::stage::{ALL, REPOSITORY, Stage};

/// The parts of a verdict that a copy shares with its original.
fn judged(verdict: &Value) -> Value {
    json!([verdict["digest"], verdict["manifest"], verdict["checks"], verdict["attestations"], verdict["platform"]])
}

#[test]
fn a_copy_is_judged_as_its_original_wherever_it_goes() {
    let stage = Stage::attested();
    let (layout, again) =
        (format!("oci:{}", stage.desk.arg("work/one")), format!("oci:{}", stage.desk.arg("work/two")));
    let there = format!("{}/acme/there:2.0", stage.server.host());
    let original = judged(&stage.admits(&[&stage.tag()]));
    for (from, to) in
        [(stage.tag(), &layout), (layout.clone(), &there), (there.clone(), &again), (stage.pinned(), &there)]
    {
        let copied = stage.desk.run(&["copy", &from, to]).ends(0);
        assert!(copied.stdout.trim_end().ends_with(&format!("@{}", stage.image.digest())), "{copied:?}");
        assert_eq!(judged(&stage.admits(&[to])), original, "{from} {to}");
    }
    // It is found under the name that it had, or was given.
    stage.admits(&[&format!("{layout}:1.0")]);
    stage.admits(&[&format!("{again}:2.0")]);
    let named = format!("oci:{}", stage.desk.arg("work/named"));
    stage.desk.run(&["copy", &layout, &format!("{named}:mine")]).ends(0);
    stage.admits(&[&format!("{named}:mine")]);
    assert!(!stage.desk.touched_engine());
}

#[test]
fn every_platform_of_an_index_goes_along_with_what_is_attached_to_each() {
    let stage = Stage::bare();
    let other = Image::new("attestations");
    stage.push(&other, None);
    let mut amd64 = serde_json::to_value(stage.image.descriptor()).unwrap();
    amd64["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let mut buildkit = serde_json::to_value(other.descriptor()).unwrap();
    buildkit["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    buildkit["annotations"] = json!({ names::BUILDKIT_REFERENCE_TYPE: "attestation-manifest" });
    let index = stage.put_index("multi", json!([amd64, buildkit]));
    stage.attest(&stage.key, &index, &ALL);
    stage.attest(&stage.key, &stage.image.descriptor(), &ALL);
    let layout = format!("oci:{}", stage.desk.arg("work/multi"));
    let there = format!("{}/acme/there:multi", stage.server.host());
    stage.desk.run(&["copy", &stage.named(":multi"), &layout]).ends(0);
    stage.desk.run(&["copy", &layout, &there]).ends(0);
    for copy in [&layout, &there] {
        let verdict = stage.admits(&[copy, "--platform", "linux/amd64"]);
        assert_eq!(verdict["digest"], json!(index.digest));
    }
    let child = format!("@{}", stage.image.digest());
    stage.admits(&[&format!("{layout}{child}")]);
    stage.admits(&[&format!("{}/acme/there{child}", stage.server.host())]);
    assert!(stage.server.manifest("acme/there", &other.digest().to_string()).is_some());
}

#[test]
fn nothing_is_replaced_that_was_not_named_aloud() {
    let stage = Stage::attested();
    let other = Image::new("other");
    stage.push(&other, Some("other"));
    stage.attest(&stage.key, &other.descriptor(), &ALL);
    let layout = format!("oci:{}", stage.desk.arg("work/copy"));
    let there = format!("{}/acme/there:1.0", stage.server.host());
    for to in [&layout, &there] {
        stage.desk.run(&["copy", &stage.tag(), to]).ends(0);
        stage.desk.run(&["copy", &stage.tag(), to]).ends(0);
        let refused = stage.desk.run(&["copy", &stage.named(":other"), to]).ends(2);
        assert!(refused.stderr.contains("tag-taken") && refused.stderr.contains("--move-tag"), "{refused:?}");
        assert_eq!(stage.admits(&[to])["digest"], json!(stage.image.digest()));
        stage.desk.run(&["copy", "--move-tag", &stage.named(":other"), to]).ends(0);
        assert_eq!(stage.admits(&[to])["digest"], json!(other.digest()));
    }
    // A folder that is somebody else's is left alone.
    stage.desk.write("work/mine/notes.txt", "mine");
    stage.desk.run(&["copy", "--move-tag", &stage.tag(), &format!("oci:{}", stage.desk.arg("work/mine"))]).ends(3);
    let bare = Stage::bare();
    let refused = bare.desk.run(&["copy", &bare.tag(), &format!("{}/acme/there:1.0", bare.server.host())]).ends(1);
    assert!(refused.stderr.contains("unattested"), "{refused:?}");
    for (from, to) in [(bare.tag(), "base"), (bare.tag(), "oci:x@sha256:00"), (bare.tag(), "NOT/a reference")] {
        bare.desk.run(&["copy", &from, to]).ends(2);
    }
    bare.desk.run(&["copy", &bare.tag(), &bare.named("")]).ends(2);
    bare.desk.run(&["copy", &bare.named(":gone"), &bare.named(":x")]).ends(3);
}

#[test]
fn what_was_attached_to_a_copy_is_not_dropped_by_copying_again() {
    let stage = Stage::bare();
    let layout = format!("oci:{}", stage.desk.arg("work/copy"));
    let copy = |more: &[&str]| stage.desk.run(&[&["copy", "--allow-unattested", &stage.tag(), &layout], more].concat());
    copy(&[]).ends(0);
    copy(&[]).ends(0);
    let key = stage.desk.write("work/key.pem", stage.key.to_pem(b"").unwrap());
    let mut sign = stage.desk.command(&["sign", "--key", &key, &layout]);
    finish(sign.env("BULLA_KEY_PASSWORD", ""), b"").ends(0);
    stage.policy(&stage.rule("require = [\"signature\"]"));
    stage.admits(&[&layout]);
    let refused = copy(&[]).ends(2);
    assert!(refused.stderr.contains("tag-taken") && refused.stderr.contains("--move-tag"), "{refused:?}");
    stage.admits(&[&layout]);
    // What is in the source as well is not lost.
    let there = format!("{}/acme/there:1.0", stage.server.host());
    stage.desk.run(&["copy", &layout, &there]).ends(0);
    stage.desk.run(&["copy", &there, &layout]).ends(0);
    stage.admits(&[&layout]);
    copy(&["--move-tag"]).ends(0);
    stage.refuses(&[&layout], 1, "NO_ATTESTATION");
}

#[test]
fn d09_more_manifests_than_are_held_at_once_are_not_copied() {
    let stage = Stage::bare();
    let pad = "x".repeat(3_900 << 10);
    let entries: Vec<Value> = (0..10)
        .map(|number| {
            let mut manifest: Value = serde_json::from_slice(&stage.image.manifest).unwrap();
            manifest["annotations"] = json!({ "number": number.to_string(), "pad": pad });
            let manifest = manifest.to_string().into_bytes();
            stage.server.put_manifest(REPOSITORY, None, names::MANIFEST, &manifest);
            let mut entry = serde_json::to_value(Descriptor::of(names::MANIFEST, &manifest)).unwrap();
            entry["platform"] = json!({ "os": "linux", "architecture": format!("a{number}") });
            entry
        })
        .collect();
    let last = entries[8]["digest"].as_str().unwrap().to_owned();
    stage.put_index("few", json!(entries[..8]));
    stage.put_index("many", json!(entries));
    let copy = |tag: &str, to: &str| stage.desk.run(&["copy", "--allow-unattested", &stage.named(tag), to]);
    copy(":few", &format!("oci:{}", stage.desk.arg("work/few"))).ends(0);
    for to in [format!("oci:{}", stage.desk.arg("work/many")), format!("{}/acme/there:1.0", stage.server.host())] {
        let refused = copy(":many", &to).ends(1);
        assert!(refused.stderr.contains("LIMIT too-much") && refused.stderr.contains(&last), "{refused:?}");
    }
    assert!(!stage.desk.path("work/many").exists());
}

#[test]
fn h08_a_blob_that_is_not_what_its_digest_says_is_not_copied() {
    for blob in [Digest::of(&Image::new("base").layer), Digest::of(&Image::new("base").config)] {
        let stage = Stage::attested();
        stage.server.fault(&format!("{REPOSITORY}/blobs/{blob}"), Fault::body("something else").method("GET"));
        let layout = format!("oci:{}", stage.desk.arg("work/copy"));
        let there = format!("{}/acme/there:1.0", stage.server.host());
        for to in [&layout, &there] {
            let run = stage.desk.run(&["copy", &stage.tag(), to]);
            assert!(matches!(run.code, Some(1 | 3)), "{run:?}");
        }
        assert!(!stage.desk.path("work/copy").exists());
        assert!(stage.server.manifest("acme/there", "1.0").is_none());
    }
}

#[test]
fn what_was_attached_a_moment_ago_is_copied_too() {
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &ALL[..1]);
    stage.policy(&stage.rule("require = [\"signature\"]"));
    stage.verify(&[&stage.tag()]).ends(0);
    let image: Descriptor = stage.image.descriptor();
    stage.attest(&stage.key, &image, &ALL[1..]);
    stage.policy(&stage.rule(""));
    let layout = format!("oci:{}", stage.desk.arg("work/copy"));
    stage.desk.run(&["copy", &stage.tag(), &layout]).ends(0);
    stage.admits(&[&layout]);
}
