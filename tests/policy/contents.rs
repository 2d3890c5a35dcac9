//! What is in an image, by its SBOM, and where it is from, by its provenance.

use bulla::class::Class;
use serde_json::{Value, json};

use crate::support::sigstore::Sigstore;
use crate::{
    HEAD, SLSA, SPDX, Signer, WORKFLOW, assert_admitted, digest, judge, policy, provenance, refusal, says, signed,
    signer, spdx,
};

const CYCLONEDX: &str = "https://cyclonedx.org/bom";

#[test]
fn every_field_about_sboms_is_enforced() {
    let world = Sigstore::new();
    let packages = ["pkg:deb/debian/git@2.47?arch=amd64", "pkg:npm/left-pad@1.3.0"];
    let bundle = |predicate: &Value| signed(&world, &says(SPDX, predicate), &signer()).bundle();
    let head = format!("{HEAD}require = [\"sbom\"]\n{WORKFLOW}");
    let rule = |field: &str| format!("{head}[rule.sbom]\n{field}\n");
    let whole = bundle(&spdx(&packages));
    for (good, bad, code) in [
        ("formats = [\"spdx\"]", "formats = [\"cyclonedx\"]", "sbom-format"),
        ("deny = [\"pkg:npm/left-pad@1.2.0\"]", "deny = [\"pkg:npm/left-pad@1.3.0\"]", "denied-package"),
        ("deny = [\"pkg:npm/left\"]", "deny = [\"pkg:npm/left-pad\"]", "denied-package"),
        ("deny = [\"pkg:deb/debian/git@2.46\"]", "deny = [\"pkg:deb/debian/git@2.47\"]", "denied-package"),
        ("min-packages = 2", "min-packages = 3", "sbom-too-small"),
    ] {
        assert_admitted(&judge(&rule(good), &world, std::slice::from_ref(&whole)));
        assert_eq!(refusal(&judge(&rule(bad), &world, std::slice::from_ref(&whole))), (Class::Sbom, code), "{bad}");
    }
    // A package without a purl is known by its name; one with a purl that is none could be anything.
    let mut hidden = spdx(&packages);
    hidden["packages"][2] =
        json!({"SPDXID": "SPDXRef-x", "name": "left-pad", "versionInfo": "1.3.0", "downloadLocation": "NOASSERTION"});
    let deny = rule("deny = [\"pkg:npm/left-pad@1.3.0\"]");
    assert_eq!(refusal(&judge(&deny, &world, &[bundle(&hidden)])), (Class::Sbom, "denied-package"));
    hidden["packages"][2]["externalRefs"] =
        json!([{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": "not a purl"}]);
    assert_eq!(refusal(&judge(&deny, &world, &[bundle(&hidden)])), (Class::Sbom, "unreadable-purl"));
    // M02: only the image itself is in it.
    assert_eq!(refusal(&judge(&head, &world, &[bundle(&spdx(&[]))])), (Class::Sbom, "sbom-too-small"));
    // M03: a document that is not what its predicate type says.
    let (class, _) =
        refusal(&judge(&head, &world, &[bundle(&json!({"bomFormat": "CycloneDX", "specVersion": "1.6"}))]));
    assert_eq!(class, Class::Sbom);
    // M04: the document describes another image than the statement is about.
    let mut other = spdx(&packages);
    other["packages"][0]["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": digest("another").hex()}]);
    assert_eq!(refusal(&judge(&head, &world, &[bundle(&other)])), (Class::Sbom, "sbom-of-another-image"));
    other["packages"][0]["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": digest("manifest").hex()}]);
    assert_admitted(&judge(&head, &world, &[bundle(&other)]));
}

/// Whether a rule that denies this lets a document of this kind pass.
fn denies(world: &Sigstore, denied: &str, kind: &str, document: &Value) -> bool {
    let text = format!("{HEAD}require = [\"sbom\"]\n{WORKFLOW}[rule.sbom]\ndeny = [\"{denied}\"]\n");
    let verdict = judge(&text, world, &[signed(world, &says(kind, document), &signer()).bundle()]);
    if verdict.is_admitted() {
        return false;
    }
    assert_eq!(refusal(&verdict), (Class::Sbom, "denied-package"));
    true
}

#[test]
fn a_denied_package_is_denied_however_it_is_spelled() {
    let world = Sigstore::new();
    for (denied, purl, other) in [
        ("pkg:pypi/evil-pkg", "pkg:pypi/Evil_Pkg@1", "pkg:pypi/evil-pkgs@1"),
        ("pkg:pypi/evil-pkg", "pkg:pypi/evil.pkg@1", "pkg:pypi/evilpkg@1"),
        ("pkg:golang/github.com/foo/bar", "pkg:golang/github.com/Foo/Bar@v1", "pkg:golang/github.com/foo/baz@v1"),
        ("pkg:npm/x@1.0.0", "pkg:npm/x@1.0.0%20", "pkg:npm/x@1.0.01"),
        ("pkg:npm/x@1.0.0", "pkg:npm/x@v1.0.0", "pkg:npm/x@1.0.1"),
        ("pkg:deb/debian/git?arch=arm64", "pkg:deb/debian/git@1", "pkg:deb/debian/git@1?arch=amd64"),
    ] {
        assert!(denies(&world, denied, SPDX, &spdx(&[purl])), "{denied} {purl}");
        assert!(!denies(&world, denied, SPDX, &spdx(&[other])), "{denied} {other}");
    }
    // A version that stands beside the purl, or nowhere, or with the `v` of its tag.
    let beside = |purl: &str, version: Value| {
        let mut document = spdx(&[purl, "pkg:npm/other@1"]);
        document["packages"][1]["versionInfo"] = version;
        document
    };
    let denied = "pkg:npm/event-stream@3.3.6";
    for (version, is_denied) in [(json!("3.3.6"), true), (json!("v3.3.6"), true), (json!("3.3.5"), false)] {
        assert_eq!(
            denies(&world, denied, SPDX, &beside("pkg:npm/event-stream", version.clone())),
            is_denied,
            "{version}"
        );
    }
    assert!(!denies(&world, denied, SPDX, &beside("pkg:npm/event-stream@3.3.5", json!("3.3.6"))));
    let mut nameless = beside("pkg:npm/event-stream", json!("1"));
    nameless["packages"][1].as_object_mut().unwrap().remove("versionInfo");
    assert!(denies(&world, denied, SPDX, &nameless));
}

#[test]
fn a_denied_package_cannot_hide_in_what_the_document_is_about() {
    let world = Sigstore::new();
    let denied = "pkg:npm/event-stream@3.3.6";
    let package = |reference: &str, kind: &str| json!({"type": kind, "bom-ref": reference, "name": "event-stream", "version": "3.3.6", "purl": denied});
    let other = json!({"type": "library", "bom-ref": "o", "name": "o", "purl": "pkg:npm/o@1"});
    let image = json!({"type": "container", "bom-ref": "r", "name": "x"});
    let document = |root: &Value, more: &Value| json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": root}, "components": [other, more]});
    let mut nested = image.clone();
    nested["components"] = json!([package("b", "library")]);
    let nameless = json!({"type": "library", "name": "Event-Stream", "version": "v3.3.6"});
    let application = package("r", "application");
    for (root, more) in [
        (&image, &package("b", "library")),
        (&image, &package("r", "library")),
        (&nested, &other),
        (&application, &other),
        (&image, &nameless),
    ] {
        assert!(denies(&world, denied, CYCLONEDX, &document(root, more)), "{root} {more}");
    }
    assert!(!denies(&world, denied, CYCLONEDX, &document(&image, &other)));
    // The image has a name, and is no npm package.
    assert!(!denies(&world, "pkg:deb/**", CYCLONEDX, &document(&image, &other)));
    // SPDX, where the document says that it is about the package.
    let mut about = spdx(&[denied, "pkg:npm/o@1"]);
    about["relationships"][0]["relatedSpdxElement"] = about["packages"][1]["SPDXID"].clone();
    assert!(denies(&world, denied, SPDX, &about));
}

#[test]
fn m04_a_document_about_two_things_is_about_neither_of_another_image() {
    let world = Sigstore::new();
    let text = format!("{HEAD}require = [\"sbom\"]\n{WORKFLOW}");
    let about_both = |word: &str| {
        let mut document = spdx(&["pkg:npm/o@1"]);
        document["packages"][0]["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": digest(word).hex()}]);
        // A package's checksum is its archive's, and no image's.
        document["packages"][1]["checksums"] =
            json!([{"algorithm": "SHA256", "checksumValue": digest("archive").hex()}]);
        let mut second = document["relationships"][0].clone();
        second["relatedSpdxElement"] = document["packages"][1]["SPDXID"].clone();
        document["relationships"].as_array_mut().unwrap().push(second);
        signed(&world, &says(SPDX, &document), &signer()).bundle()
    };
    assert_admitted(&judge(&text, &world, &[about_both("index")]));
    assert_eq!(refusal(&judge(&text, &world, &[about_both("another")])), (Class::Sbom, "sbom-of-another-image"));
}

#[test]
fn another_repository_is_another_source_whoever_its_user_is() {
    let world = Sigstore::new();
    let who = Signer::email("ci@acme.example", "https://accounts.example");
    let rule = |source: &str| {
        format!(
            "{HEAD}require = [\"provenance\"]\n[[rule.signer]]\nissuer = \"https://accounts.example\"\n\
             identity = \"ci@acme.example\"\nroot = \"root.json\"\n[rule.provenance]\nsource = \"{source}\"\n"
        )
    };
    let from = |said: &str| {
        let mut predicate = provenance();
        predicate["buildDefinition"]["externalParameters"] = json!({"source": {"uri": said}});
        signed(&world, &says(SLSA, &predicate), &who).bundle()
    };
    let wanted = "git+ssh://git.acme.example/acme/templates";
    let judged = |said: &str| judge(&rule(wanted), &world, &[from(said)]);
    for same in ["", "@refs/tags/v1", ".git", ".git@refs/tags/v1"] {
        assert_admitted(&judged(&format!("{wanted}{same}")));
    }
    for other in [
        "git+ssh://git@evil.example/evil/evil@refs/heads/main",
        "git+ssh://git.acme.example@evil.example/acme/templates",
        "git+ssh://git@git.acme.example/acme/templates",
        "git+ssh://git.acme.example/acme/templates2",
        "git@git.acme.example:acme/templates.git",
        "git.acme.example/acme/templates",
    ] {
        assert_eq!(refusal(&judged(other)), (Class::Provenance, "source"), "{other}");
    }
    // What could be read in two ways is no policy.
    for vague in [
        "git+ssh://git@git.acme.example/acme/templates",
        "https://bot@git.acme.example/acme/templates",
        "git@git.acme.example:acme/templates.git",
        "https://git.acme.example/acme/templates@refs/heads/main",
        "https://git.acme.example",
    ] {
        let read = std::panic::catch_unwind(|| policy(&rule(vague), &Sigstore::new()));
        assert!(read.is_err(), "{vague}");
    }
}
