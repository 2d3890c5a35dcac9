//! What statements must say: parameters, dependencies, licences, scans, verification summaries.

use bulla::class::Class;
use bulla::content::Digest;
use serde_json::{Value, json};

use crate::support::sigstore::Sigstore;
use crate::{
    HEAD, NAME, SLSA, SPDX, WORKFLOW, assert_admitted, digest, judge, provenance, refusal, says, signed, signer, spdx,
};

const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const VSA: &str = "https://slsa.dev/verification_summary/v1";

#[test]
fn external_parameters_are_named_or_refused() {
    let world = Sigstore::new();
    let head = format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}[rule.provenance.external-parameters]\n");
    let workflow = "workflow = { repository = \"https://github.com/acme/templates\", \
        path = \".github/workflows/release.yml\", ref = \"refs/tags/v*\" }\n";
    let judged = |text: &str, parameters: &Value| {
        let mut predicate = provenance();
        for (key, value) in parameters.as_object().unwrap() {
            predicate["buildDefinition"]["externalParameters"][key] = value.clone();
        }
        judge(&format!("{head}{text}"), &world, &[signed(&world, &says(SLSA, &predicate), &signer()).bundle()])
    };
    assert_admitted(&judged(workflow, &json!({})));
    // A text without stars is compared to the letter, whatever its letters are.
    let note = format!("{workflow}note = [\"\", \"zwei Wörter\"]\n");
    assert_admitted(&judged(&note, &json!({"note": "zwei Wörter"})));
    assert_admitted(&judged(&note, &json!({"note": ""})));
    assert_eq!(refusal(&judged(&note, &json!({"note": "zwei wörter"}))), (Class::Provenance, "parameter"));
    let level = format!("{workflow}level = [1, 2]\n");
    assert_admitted(&judged(&level, &json!({"level": 2})));
    for (text, parameters, code) in [
        (level.as_str(), json!({"level": 3}), "parameter"),
        (&level, json!({}), "missing-parameter"),
        (workflow, json!({"level": 2}), "unknown-parameter"),
        ("", json!({}), "unknown-parameter"),
        (&workflow.replace("tags/v*", "tags/w*"), json!({}), "parameter"),
        (&workflow.replace(", ref = \"refs/tags/v*\"", ""), json!({}), "unknown-parameter"),
    ] {
        assert_eq!(refusal(&judged(text, &parameters)), (Class::Provenance, code), "{text}{parameters}");
    }
}

#[test]
fn dependencies_are_there_and_allowed() {
    let world = Sigstore::new();
    let head = format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}[rule.provenance.dependencies]\n");
    let judged = |text: &str, more: Value| {
        let mut predicate = provenance();
        let dependencies = predicate["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap();
        dependencies.extend(more.as_array().unwrap().iter().cloned());
        judge(&format!("{head}{text}\n"), &world, &[signed(&world, &says(SLSA, &predicate), &signer()).bundle()])
    };
    let git = json!([{"uri": "pkg:deb/debian/git@1%3A2.47?arch=amd64"}]);
    let allow = "allow = [\"git+https://github.com/acme/templates@**\", \"pkg:deb/debian/*\"]";
    assert_admitted(&judged("present = [\"pkg:deb/debian/git\"]", git.clone()));
    assert_admitted(&judged(allow, git.clone()));
    assert_admitted(&judged(allow, json!([])));
    for (text, more, code) in [
        ("present = [\"pkg:deb/debian/git\"]", json!([]), "missing-dependency"),
        ("present = [\"pkg:deb/debian/git@2.46\"]", git.clone(), "missing-dependency"),
        ("present = [\"pkg:deb/debian/git\", \"pkg:deb/debian/curl\"]", git.clone(), "missing-dependency"),
        ("allow = [\"pkg:deb/debian/*\"]", git.clone(), "denied-dependency"),
        (allow, json!([{"uri": "pkg:npm/left-pad@1"}]), "denied-dependency"),
        (allow, json!([{"uri": "pkg:deb/debian"}]), "denied-dependency"),
        (allow, json!([{"name": "git", "digest": {"sha256": digest("git").hex()}}]), "denied-dependency"),
        (allow, json!([{"uri": "https://example.test/x"}]), "denied-dependency"),
    ] {
        assert_eq!(refusal(&judged(text, more.clone())), (Class::Provenance, code), "{text} {more}");
    }
}

#[test]
fn licences_are_denied_wherever_they_are_named() {
    let world = Sigstore::new();
    let text = |field: &str| format!("{HEAD}require = [\"sbom\"]\n{WORKFLOW}[rule.sbom]\n{field}\n");
    let judged = |field: &str, licence: &str| {
        let mut document = spdx(&["pkg:npm/left-pad@1.3.0", "pkg:npm/right-pad@1.0.0"]);
        document["packages"][2]["licenseDeclared"] = json!(licence);
        document["packages"][1]["licenseConcluded"] = json!("MIT");
        judge(&text(field), &world, &[signed(&world, &says(SPDX, &document), &signer()).bundle()])
    };
    let deny = "deny-licences = [\"SSPL-1.0\", \"AGPL-3.0-only\"]";
    for fine in ["MIT", "NOASSERTION", "AGPL-3.0-or-later", "MIT OR Apache-2.0", "LicenseRef-own"] {
        assert_admitted(&judged(deny, fine));
    }
    for denied in ["AGPL-3.0-only", "AGPL-3.0", "MIT AND AGPL-3.0-only", "MIT OR (ISC AND SSPL-1.0)"] {
        let verdict = judged(deny, denied);
        assert_eq!(refusal(&verdict), (Class::Sbom, "denied-licence"), "{denied}");
        let wanted = if denied.contains("SSPL") { "SSPL-1.0" } else { "AGPL-3.0-only" };
        assert!(verdict.checks()[0].message.contains(wanted), "{:?}", verdict.checks()[0]);
        assert_admitted(&judged("deny-licences = [\"BUSL-1.1\"]", denied));
    }
    assert_eq!(refusal(&judged("deny-licences = [\"MIT\"]", "ISC")), (Class::Sbom, "denied-licence"));
    // Stars in `deny`: whole families of packages.
    assert_eq!(refusal(&judged("deny = [\"pkg:npm/*-pad\"]", "MIT")), (Class::Sbom, "denied-package"));
    assert_admitted(&judged("deny = [\"pkg:npm/*-pads\", \"pkg:pypi/**\"]", "MIT"));
}

#[test]
fn a_scan_is_required_and_not_too_old() {
    let world = Sigstore::new();
    let text = |section: &str| format!("{HEAD}require = [\"vuln\"]\n{WORKFLOW}{section}");
    let aged = text("[rule.vuln]\nmax-age = \"30d\"\n");
    let scan = |finished: &str| {
        json!({
            "scanner": {"uri": "pkg:github/aquasecurity/trivy@0.58", "result": {"Results": []}},
            "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
        })
    };
    let judged = |text: &str, predicate: &Value| {
        judge(text, &world, &[signed(&world, &says(VULN, predicate), &signer()).bundle()])
    };
    // Judged on 1 July.
    assert_admitted(&judged(&text(""), &scan("2020-01-01T00:00:00Z")));
    assert_admitted(&judged(&aged, &scan("2025-06-02T00:00:00Z")));
    // To the second: clocks differ by ten minutes.
    assert_admitted(&judged(&aged, &scan("2025-06-01T00:00:00Z")));
    assert_admitted(&judged(&aged, &scan("2025-07-01T00:10:00Z")));
    for late in ["2025-05-31T23:59:59Z", "2025-07-01T00:10:01Z", "2025-07-01T01:00:00Z", ""] {
        assert_eq!(refusal(&judged(&aged, &scan(late))), (Class::Time, "scan-too-old"), "{late}");
    }
    assert_eq!(refusal(&judged(&text(""), &json!({}))), (Class::Predicate, "malformed-scan"));
    // Another type's statement is no scan, and a scan is nothing else.
    let other = says("https://cosign.sigstore.dev/attestation/vuln/v2", &scan("2025-06-02T00:00:00Z"));
    let verdict = judge(&text(""), &world, &[signed(&world, &other, &signer()).bundle()]);
    assert_eq!(refusal(&verdict), (Class::NoAttestation, "no-attestation"));
}

/// A summary that passes, with one member changed.
fn summary(pointer: &str, value: Value) -> Value {
    let mut summary = json!({
        "verifier": {"id": "https://verifier.example"},
        "timeVerified": "2025-06-30T00:00:00Z",
        "resourceUri": NAME,
        "policy": {"uri": "https://verifier.example/policy", "digest": {"sha256": digest("policy").hex()}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_2"],
    });
    if let Some(member) = summary.pointer_mut(pointer) {
        *member = value;
    }
    summary
}

#[test]
fn c15_a_verification_summary_says_what_is_asked_of_it() {
    let world = Sigstore::new();
    let vsa = "[rule.vsa]\nverifier-id = \"https://verifier.example\"\n";
    let judged = |more: &str, predicate: &Value| {
        let text = format!("{HEAD}require = [\"vsa\"]\n{WORKFLOW}{vsa}{more}");
        judge(&text, &world, &[signed(&world, &says(VSA, predicate), &signer()).bundle()])
    };
    let good = summary("/none", json!(null));
    assert_admitted(&judged("", &good));
    for (field, other, code) in [
        (
            "levels = [\"SLSA_BUILD_LEVEL_2\", \"SLSA_SOURCE_LEVEL_2\"]",
            "levels = [\"SLSA_SOURCE_LEVEL_3\"]",
            "verified-level",
        ),
        ("levels = [\"SLSA_BUILD_LEVEL_3\"]", "levels = [\"SLSA_BUILD_LEVEL_3\", \"OTHER\"]", "verified-level"),
        ("resource-uri = [\"x\", \"ghcr.io/acme/**\"]", "resource-uri = [\"ghcr.io/acme/*\"]", "resource-uri"),
        (
            "policy-uri = \"https://verifier.example/policy\"",
            "policy-uri = \"https://verifier.example/\"",
            "policy-uri",
        ),
    ] {
        assert_admitted(&judged(&format!("{field}\n"), &good));
        assert_eq!(refusal(&judged(&format!("{other}\n"), &good)), (Class::Predicate, code), "{other}");
    }
    assert_admitted(&judged("max-age = \"1d\"\n", &good));
    assert_eq!(refusal(&judged("max-age = \"23h\"\n", &good)), (Class::Time, "summary-too-old"));
    for time in [json!(null), json!("2025-07-02T00:00:00Z")] {
        let odd = summary("/timeVerified", time);
        assert_eq!(refusal(&judged("max-age = \"1d\"\n", &odd)), (Class::Time, "summary-too-old"));
    }
    let pinned = |word: &str| format!("policy-digest = \"{}\"\n", digest(word));
    assert_admitted(&judged(&pinned("policy"), &good));
    assert_eq!(refusal(&judged(&pinned("other"), &good)), (Class::Predicate, "policy-digest"));
    for (more, pointer, value, code) in [
        ("", "/verifier/id", json!("https://verifier.example/"), "verifier-id"),
        ("", "/verifier/id", json!("https://other.example"), "verifier-id"),
        ("", "/verificationResult", json!("FAILED"), "not-passed"),
        ("", "/verificationResult", json!("passed"), "malformed-summary"),
        ("", "/resourceUri", json!("ghcr.io/acme/other"), "resource-uri"),
        ("", "/resourceUri", json!(format!("{NAME}@{}", Digest::of(b"other"))), "resource-uri"),
        ("", "/verifiedLevels", json!(["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_3"]), "malformed-summary"),
        ("levels = [\"SLSA_BUILD_LEVEL_3\"]\n", "/verifiedLevels", json!(["SLSA_BUILD_LEVEL_30"]), "verified-level"),
        ("levels = [\"SLSA_BUILD_LEVEL_3\"]\n", "/verifiedLevels", json!([]), "verified-level"),
    ] {
        let predicate = summary(pointer, value.clone());
        assert_eq!(refusal(&judged(more, &predicate)), (Class::Predicate, code), "{pointer} {value}");
    }
    // The image under its digest, or with a tag, is the image still.
    for uri in
        [format!("{NAME}:1.0"), format!("oci://{NAME}@{}", digest("index")), format!("{NAME}@{}", digest("manifest"))]
    {
        assert_admitted(&judged("", &summary("/resourceUri", json!(uri))));
    }
}

#[test]
fn a_verifier_takes_back_what_it_said_before() {
    let world = Sigstore::new();
    let text = format!("{HEAD}require = [\"vsa\"]\n{WORKFLOW}[rule.vsa]\nverifier-id = \"https://verifier.example\"\n");
    let says = |result: &str, time: Value, verifier: &str| {
        let mut predicate = summary("/timeVerified", time);
        predicate["verificationResult"] = json!(result);
        predicate["verifier"]["id"] = json!(verifier);
        signed(&world, &says(VSA, &predicate), &signer()).bundle()
    };
    let verifier = "https://verifier.example";
    let passed = says("PASSED", json!("2025-06-20T00:00:00Z"), verifier);
    for (time, admitted) in [
        (json!("2025-06-19T00:00:00Z"), true),
        (json!("2025-06-20T00:00:00Z"), false),
        (json!("2025-06-30T00:00:00Z"), false),
        (json!(null), false),
    ] {
        let failed = says("FAILED", time.clone(), verifier);
        for both in [[passed.clone(), failed.clone()], [failed, passed.clone()]] {
            let verdict = judge(&text, &world, &both);
            assert_eq!(verdict.is_admitted(), admitted, "{time}");
            assert!(admitted || refusal(&verdict) == (Class::Predicate, "not-passed"));
        }
    }
    // Another verifier's word is neither here nor there.
    let other = says("FAILED", json!("2025-06-30T00:00:00Z"), "https://other.example");
    assert_admitted(&judge(&text, &world, &[passed, other]));
}
