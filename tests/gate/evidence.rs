//! What is attached: whose, about what, of which type, and what else lies beside it.

use bulla::adapters::signer::PrivateKey;
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use serde_json::json;

use crate::image::Image;
use crate::stage::{ALL, SIGN, SLSA, SPDX, Stage, attachment, bundle, bundle_of, predicate, spdx};

#[test]
fn nothing_attached_is_denied() {
    let stage = Stage::bare();
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    let checks = verdict["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 3);
    assert!(checks.iter().all(|check| check["code"] == "no-attestation" && check["attestation"].is_null()));
    assert_eq!((&verdict["attestations"], &verdict["enforced"]), (&json!([]), &json!(true)));
}

#[test]
fn each_requirement_that_is_missing_denies() {
    for missing in 0..ALL.len() {
        let stage = Stage::bare();
        let types: Vec<&str> = ALL.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, one)| *one).collect();
        stage.attest(&stage.key, &stage.image.descriptor(), &types);
        let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
        let failed: Vec<_> =
            verdict["checks"].as_array().unwrap().iter().map(|check| check["status"] == "fail").collect();
        assert_eq!(failed, (0..3).map(|at| at == missing).collect::<Vec<_>>());
    }
}

#[test]
fn c01_attestations_of_another_image_count_for_nothing() {
    let stage = Stage::bare();
    let other = Image::new("other");
    stage.push(&other, Some("other"));
    stage.attest(&stage.key, &other.descriptor(), &ALL);
    stage.admits(&[&stage.named(":other")]);
    // They are attached to the other image only.
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    // The same bundles, attached to ours.
    for one in ALL {
        stage.attach(&bundle(&stage.key, &other.digest(), one), &stage.image.descriptor(), one);
    }
    let verdict = stage.refuses(&[&stage.tag()], 1, "SUBJECT");
    assert_eq!(verdict["rejections"].as_array().unwrap().len(), 3);
    // Brought along on the command line they are judged the same.
    let file = stage.desk.write("work/bundle.json", bundle(&stage.key, &other.digest(), SIGN));
    stage.refuses(&[&stage.tag(), "--bundle", &file], 1, "SUBJECT");
}

#[test]
fn f01_another_signer_is_denied() {
    let stage = Stage::bare();
    let stranger = PrivateKey::generate().unwrap();
    stage.attest(&stranger, &stage.image.descriptor(), &ALL);
    let verdict = stage.refuses(&[&stage.tag()], 1, "SIGNATURE");
    assert_eq!(verdict["attestations"], json!([]));
    // Two by the right key, one by the stranger.
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN, SPDX]);
    stage.attest(&stranger, &stage.image.descriptor(), &[SLSA]);
    let verdict = stage.refuses(&[&stage.tag()], 1, "SIGNATURE");
    assert_eq!(verdict["checks"][1]["status"], "fail");
}

#[test]
fn c05_the_right_signer_but_another_predicate_type_is_denied_naming_what_is_there() {
    let stage = Stage::bare();
    let vuln = "https://cosign.sigstore.dev/attestation/vuln/v1";
    stage.attest(&stage.key, &stage.image.descriptor(), &[vuln]);
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert!(verdict["checks"][0]["message"].as_str().unwrap().contains(vuln), "{verdict:#}");
}

#[test]
fn c09_one_attestation_serves_one_requirement() {
    for one in ALL {
        let stage = Stage::bare();
        let bundle = bundle(&stage.key, &stage.image.digest(), one);
        // Attached three times, under three promises, of which one is true.
        for promised in ALL {
            stage.attach(&bundle, &stage.image.descriptor(), promised);
        }
        let verdict = stage.verify(&["--json", &stage.tag()]).ends(1).json();
        assert_eq!(verdict["admitted"], false);
        assert_eq!(verdict["attestations"].as_array().unwrap().len(), 1, "{verdict:#}");
        let passed = verdict["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "pass").count();
        assert_eq!(passed, 1);
    }
}

#[test]
fn c06_an_annotation_that_lies_about_the_predicate_type_is_a_predicate_refusal() {
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN, SLSA]);
    // A vulnerability report that is announced as an SBOM.
    let report = bundle(&stage.key, &stage.image.digest(), "https://example.test/report");
    stage.attach(&report, &stage.image.descriptor(), SPDX);
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert_eq!(verdict["rejections"][0]["class"], "PREDICATE");
    assert_eq!(verdict["rejections"][0]["code"], "annotation-disagrees");
    assert_eq!(verdict["rejections"][0]["digest"], json!(Digest::of(&report)));
}

#[test]
fn c08_c10_a_predicate_type_is_compared_to_the_letter() {
    for near in ["https://slsa.dev/provenance/v1/", "http://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1.0"]
    {
        let stage = Stage::bare();
        stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN, SPDX]);
        let lookalike = bundle_of(&stage.key, &stage.image.digest(), near, &predicate(SLSA));
        stage.attach(&lookalike, &stage.image.descriptor(), near);
        stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
        // The same with an annotation that promises the real type.
        stage.attach(&lookalike, &stage.image.descriptor(), SLSA);
        stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    }
}

#[test]
fn m02_m04_an_sbom_that_is_empty_or_of_another_image_is_denied() {
    let elsewhere = Image::new("other").digest().hex();
    let mut other = spdx(&["pkg:deb/debian/git@2.47"]);
    other["packages"][0]["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": elsewhere }]);
    other["packages"][0]["primaryPackagePurpose"] = json!("CONTAINER");
    for document in [spdx(&[]), other] {
        let stage = Stage::bare();
        stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN, SLSA]);
        stage.attach(&bundle_of(&stage.key, &stage.image.digest(), SPDX, &document), &stage.image.descriptor(), SPDX);
        stage.refuses(&[&stage.tag()], 1, "SBOM");
    }
}

#[test]
fn e03_garbage_beside_good_attestations_is_counted_and_changes_nothing() {
    let stage = Stage::bare();
    let image = stage.image.descriptor();
    let stranger = PrivateKey::generate().unwrap();
    for at in 0..20 {
        stage.attach(format!("garbage {at}").as_bytes(), &image, ALL[at % 3]);
        stage.attach(&bundle_of(&stranger, &image.digest, ALL[at % 3], &json!({ "n": at })), &image, ALL[at % 3]);
    }
    let mut torn = bundle(&stage.key, &image.digest, SIGN);
    torn.truncate(torn.len() / 2);
    stage.attach(&torn, &image, SIGN);
    let verdict = stage.refuses(&[&stage.tag()], 1, "SIGNATURE");
    assert!(verdict["rejections"].as_array().unwrap().len() >= 41, "{verdict:#}");
    stage.attest(&stage.key, &image, &ALL);
    let verdict = stage.admits(&[&stage.tag()]);
    assert!(verdict["rejections"].as_array().unwrap().len() >= 20);
    assert_eq!(verdict["attestations"].as_array().unwrap().len(), 3);
}

#[test]
fn e04_a_listing_that_names_attestations_of_another_image_is_not_believed() {
    let stage = Stage::bare();
    let other = Image::new("other");
    stage.push(&other, None);
    let mut listed = Vec::new();
    for one in ALL {
        let manifest = attachment(&bundle(&stage.key, &other.digest(), one), &other.descriptor(), one);
        stage.attach(&bundle(&stage.key, &other.digest(), one), &other.descriptor(), one);
        listed.push(Descriptor::of(names::MANIFEST, &manifest));
    }
    let tag = format!("sha256-{}", stage.image.digest().hex());
    stage.put_index(&tag, json!(listed));
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert!(verdict["rejections"].as_array().unwrap().iter().all(|rejected| rejected["code"] == "unusable-referrer"));
}

#[test]
fn e07_attestations_under_the_fallback_tag_count_the_same() {
    let stage = Stage::on(crate::registry::TestRegistry::start().without_referrers());
    let image = stage.image.descriptor();
    let mut listed = Vec::new();
    for one in ALL {
        let bundle = bundle(&stage.key, &image.digest, one);
        stage.attach(&bundle, &image, one);
        listed.push(Descriptor::of(names::MANIFEST, &attachment(&bundle, &image, one)));
    }
    stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    stage.put_index(&format!("sha256-{}", image.digest.hex()), json!(listed));
    stage.admits(&[&stage.tag()]);
}

#[test]
fn e08_older_formats_are_named_and_not_read() {
    let stage = Stage::bare();
    let tag = format!("sha256-{}.sig", stage.image.digest().hex());
    stage.push(&Image::new("signature"), Some(&tag));
    let verdict = stage.refuses(&[&stage.tag()], 1, "NO_ATTESTATION");
    assert!(verdict["checks"][0]["message"].as_str().unwrap().contains(&tag), "{verdict:#}");
}

#[test]
fn bundles_brought_along_are_judged_like_attached_ones() {
    let stage = Stage::bare();
    stage.attest(&stage.key, &stage.image.descriptor(), &[SIGN, SLSA]);
    let good = stage.desk.write("work/good.json", bundle(&stage.key, &stage.image.digest(), SPDX));
    stage.admits(&[&stage.tag(), "--bundle", &good]);
    // One a line: each counts for itself.
    let lines = |bundles: &[&[u8]]| stage.desk.write("work/bundles.jsonl", bundles.join(&b'\n'));
    let other = bundle(&stage.key, &Digest::of(b"another image"), SPDX);
    let this = std::fs::read(&good).unwrap();
    stage.admits(&[&stage.tag(), "--bundle", &lines(&[&other, this.trim_ascii(), b""])]);
    stage.refuses(&[&stage.tag(), "--bundle", &lines(&[&other, &other])], 1, "SUBJECT");
    stage.refuses(&[&stage.tag(), "--bundle", &lines(&[&b"{}"[..]; 1_001])], 2, "USAGE");
    let garbage = stage.desk.write("work/garbage.json", "{}");
    let verdict = stage.refuses(&[&stage.tag(), "--bundle", &garbage], 1, "NO_ATTESTATION");
    assert_eq!(verdict["rejections"][0]["class"], "FORMAT");
    stage.refuses(&[&stage.tag(), "--bundle", "nowhere.json"], 2, "USAGE");
}

#[test]
fn metamorphic_every_byte_of_a_bundle_matters_or_changes_nothing() {
    let stage = Stage::bare();
    let layout = stage.layout("work/layout", "base:1.0", &[]);
    let good = bundle(&stage.key, &stage.image.digest(), SIGN);
    stage.policy(&stage.rule("require = [\"signature\"]"));
    let accepted = |bytes: &[u8]| {
        let file = stage.desk.write("work/bundle.json", bytes);
        let run = stage.verify(&["--json", &layout, "--bundle", &file]);
        let mut verdict = run.json();
        assert_eq!(run.code == Some(0), verdict["admitted"] == true, "{verdict:#}");
        (run.code == Some(0)).then(|| verdict["attestations"][0]["satisfies"].take())
    };
    assert_eq!(accepted(&good), Some(json!(["signature"])));
    let step = good.len() / 60 + 1;
    for at in (0..good.len()).step_by(step) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        if let Some(satisfies) = accepted(&bytes) {
            assert_eq!(satisfies, json!(["signature"]), "byte {at}");
        }
    }
}
