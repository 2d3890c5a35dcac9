//! docs/verdict.schema.json, against what the program prints.

use serde_json::Value;

use crate::place::Place;
use crate::read;

/// The schema as others use it, and a closed one: a field that it does not name is an error here.
fn schemas() -> (Value, Value) {
    let open: Value = serde_json::from_str(&read("docs/verdict.schema.json")).unwrap();
    let mut closed = open.clone();
    close(&mut closed);
    (open, closed)
}

fn close(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.get("type") == Some(&"object".into()) {
            object.insert("additionalProperties".to_owned(), false.into());
        }
        object.values_mut().for_each(close);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(close);
    }
}

#[track_caller]
fn document(text: &str, schemas: &(Value, Value)) -> Value {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for schema in [&schemas.0, &schemas.1] {
        let validator = jsonschema::validator_for(schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}\n{text}", errors.join("\n"));
    }
    document
}

/// A place with a signed image, two policies, and an image on the registry.
fn signed() -> Place {
    let place = Place::new();
    let require = |list: &str| {
        format!(
            "version = 1\n[[rule]]\nimages = [\"oci/**\", \"127.0.0.1:*/**\"]\nrequire = [{list}]\n\
             [[rule.signer]]\nkey = \"bulla.pub\"\nlog = \"none\"\n"
        )
    };
    std::fs::write(place.path("policy.toml"), require("\"signature\", \"sbom\"")).unwrap();
    std::fs::write(
        place.path("more.toml"),
        require("\"signature\", \"provenance\"").replace("\"oci/**\"", "\"oci/*\""),
    )
    .unwrap();
    std::fs::write(place.path("broken.toml"), "version = 2\n").unwrap();
    std::fs::create_dir(place.path(".bulla")).unwrap();
    std::fs::write(place.path(".bulla/policy.toml"), require("\"signature\"").replace("127.0.0.1:*", "10.0.0.1:*"))
        .unwrap();
    place.run("bulla key generate --output bulla && bulla key generate --output other");
    place.run("cp bulla.pub .bulla/");
    place.run("cp -R base.oci bare.oci && bulla sign oci:base.oci --key bulla.key");
    place.run("bulla sbom oci:base.oci -o sbom.json");
    place.run("bulla attest oci:base.oci --key bulla.key --type spdx --predicate sbom.json");
    place.run("bulla sign oci:base.oci --key other.key");
    place.run("bulla publish oci:base.oci --to $REGISTRY/acme/base:1.0");
    place
}

#[test]
fn k01_k09_every_verdict_is_as_the_schema_says() {
    let (place, schemas) = (signed(), schemas());
    for (line, exit, code) in [
        ("bulla verify oci:base.oci --policy policy.toml --json", 0, "verified"),
        ("bulla verify $REGISTRY/acme/base:1.0 --policy policy.toml --json", 0, "verified"),
        ("bulla verify oci:base.oci --policy more.toml --json", 1, "no-attestation"),
        ("bulla verify oci:bare.oci --policy policy.toml --json", 1, "no-attestation"),
        ("bulla verify oci:base.oci --key other.pub --json", 1, "invalid-signature"),
        ("bulla verify oci:base.oci --key bulla.pub --require signature --as ghcr.io/acme/base --json", 0, "verified"),
        ("bulla verify oci:base.oci --json", 1, "no-rule"),
        ("bulla verify oci:base.oci --policy policy.toml --project --json", 0, "verified"),
        ("bulla verify oci:base.oci --key bulla.pub --require signature --project --json", 0, "verified"),
        ("bulla verify oci:bare.oci --policy policy.toml --project --json", 1, "no-attestation"),
        ("bulla verify $REGISTRY/acme/base:1.0 --policy policy.toml --project --json", 1, "no-rule"),
    ] {
        let output = place.sh(line);
        let verdict = document(&String::from_utf8(output.stdout).unwrap(), &schemas);
        assert_eq!(output.status.code(), Some(exit), "{line}\n{verdict:#}");
        assert_eq!((&verdict["exit"], &verdict["admitted"]), (&exit.into(), &(exit == 0).into()), "{line}");
        let codes: Vec<&str> =
            verdict["checks"].as_array().unwrap().iter().filter_map(|check| check["code"].as_str()).collect();
        assert!(codes.contains(&code), "{line}: {codes:?}");
        // What weakens a judgement stands in it.
        assert_eq!(verdict["unsafe"].as_array().unwrap().is_empty(), !line.contains("--as"), "{line}");
        assert!(verdict["policy"]["sha256"].as_str().unwrap().starts_with("sha256:"), "{line}");
    }
}

#[test]
fn k12_an_admitted_verdict_names_what_satisfied_each_requirement() {
    let place = signed();
    let text = place.run("bulla verify oci:base.oci --policy policy.toml --json");
    let verdict = document(&text, &schemas());
    let checks = verdict["checks"].as_array().unwrap();
    let requirements: Vec<&str> = checks.iter().filter_map(|check| check["requirement"].as_str()).collect();
    assert_eq!(requirements, ["signature", "sbom"]);
    for check in checks {
        let satisfied = verdict["attestations"].as_array().unwrap().iter().any(|attestation| {
            attestation["digest"] == check["attestation"]
                && attestation["satisfies"].as_array().unwrap().contains(&check["requirement"])
        });
        assert!(satisfied && check["status"] == "pass", "{check:#}");
    }
    // The schema itself refuses an admitted verdict that rests on nothing.
    for list in ["checks", "attestations"] {
        let mut hollow = verdict.clone();
        hollow[list] = Value::Array(Vec::new());
        assert!(!jsonschema::is_valid(&schemas().0, &hollow), "{list}");
    }
    let mut failed = verdict.clone();
    failed["checks"][0]["status"] = "fail".into();
    assert!(!jsonschema::is_valid(&schemas().0, &failed));
}

#[test]
fn errors_are_verdicts_too() {
    let (place, schemas) = (signed(), schemas());
    let pinned = format!("bulla verify oci:base.oci --policy policy.toml --policy-sha256 {} --json", "0".repeat(64));
    for (line, exit, class, code) in [
        ("bulla verify alpine --json", 2, "REF", "unknown-template"),
        ("bulla verify oci:base.oci --policy broken.toml --json", 2, "POLICY", "malformed-policy"),
        ("bulla verify oci:base.oci --policy policy.toml --project=.. --json", 2, "POLICY", "malformed-policy"),
        (&pinned, 2, "POLICY", "policy-pin"),
        (
            "bulla verify oci:base.oci --policy policy.toml --policy-signer bulla.pub --json",
            2,
            "POLICY",
            "policy-signature",
        ),
        ("bulla verify oci:absent --policy policy.toml --json", 3, "REGISTRY", "not-found"),
        ("bulla verify $REGISTRY/acme/absent:1.0 --policy policy.toml --json", 3, "REGISTRY", "not-found"),
    ] {
        let output = place.sh(line);
        let verdict = document(&String::from_utf8(output.stdout).unwrap(), &schemas);
        let error = &verdict["error"];
        assert_eq!(output.status.code(), Some(exit), "{line}\n{verdict:#}");
        assert_eq!((error["class"].as_str(), error["code"].as_str()), (Some(class), Some(code)), "{line}");
        assert_eq!((&verdict["exit"], &verdict["admitted"]), (&exit.into(), &false.into()), "{line}");
    }
}

#[test]
fn an_audit_is_a_list_of_verdicts_and_ends_in_the_worst() {
    let (place, schemas) = (signed(), schemas());
    for (images, exit) in [
        ("oci:base.oci $REGISTRY/acme/base:1.0", 0),
        ("oci:base.oci oci:bare.oci", 1),
        ("oci:bare.oci oci:absent oci:base.oci", 3),
    ] {
        let output = place.sh(&format!("bulla audit {images} --policy policy.toml --json"));
        let audit = document(&String::from_utf8(output.stdout).unwrap(), &schemas);
        assert_eq!((output.status.code(), &audit["exit"]), (Some(exit), &exit.into()), "{images}\n{audit:#}");
        assert_eq!(audit["verdicts"].as_array().unwrap().len(), images.split(' ').count());
    }
}

#[test]
fn a_launch_that_starts_nothing_says_why_in_the_same_form() {
    let (place, schemas) = (signed(), schemas());
    let output = place.sh("bulla launch oci:bare.oci --policy policy.toml --json");
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8(output.stderr).unwrap();
    // The document stands first, on standard error: standard output is the container's.
    let end = said.find("\n}\n").unwrap() + 3;
    let verdict = document(&said[..end], &schemas);
    assert_eq!((&verdict["launch"], &verdict["exit"]), (&Value::Null, &1.into()));
}
