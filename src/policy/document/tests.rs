//! Documents that mean something, and documents that do not.

use super::*;
use crate::class::{Class, Classified};

fn load(name: &str) -> Result<Vec<u8>, String> {
    match name {
        "cosign.pub" | "release.pub" | "security.pub" => {
            Ok(include_bytes!("../../../testdata/policy/cosign.pub").to_vec())
        }
        _ => Err(format!("{name} does not exist")),
    }
}

fn parse(text: &str) -> Result<Policy, PolicyError> {
    read(text, "test", &load)
}

const KEY: &str = "[[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n";
const HEAD: &str =
    "version = 1\n[[rule]]\nimages = [\"docker.io/a/b\"]\nrequire = [\"signature\", \"provenance\", \"sbom\"]\n";
const WORKFLOW: &str = "[[rule.signer]]\nissuer = \"https://token.actions.githubusercontent.com\"\n\
    repository = \"acme/templates\"\nworkflow = \".github/workflows/release.yml\"\n";

#[test]
fn k03_refuses_what_means_nothing_or_two_things() {
    for (bad, why) in [
        (String::new(), "version"),
        ("version = 1\n".into(), "no [[rule]]"),
        (HEAD.replace("version = 1", "version = 2") + KEY, "version 2"),
        (HEAD.into(), "signer"),
        (format!("{HEAD}signer = []\n"), "signer: the list is empty"),
        (HEAD.replace("\"docker.io/a/b\"", "") + KEY, "images: the list is empty"),
        (HEAD.replace("\"docker.io/a/b\"", "\"\"") + KEY, "it is empty"),
        (HEAD.replace("require =", "requires =") + KEY, "requires"),
        (HEAD.replace("require =", "Require =") + KEY, "Require"),
        (format!("{HEAD}mode = \"enforced\"\n{KEY}"), "mode"),
        (format!("{HEAD}rebuild = \"yes\"\n{KEY}"), "rebuild"),
        (format!("{HEAD}max-age = \"0d\"\n{KEY}"), "max-age"),
        (format!("{HEAD}max-age = \"\"\n{KEY}"), "max-age"),
        (format!("{HEAD}max-age = \"5y\"\n{KEY}"), "max-age"),
        (format!("{HEAD}max-age = \"-5d\"\n{KEY}"), "max-age"),
        (format!("{HEAD}max-age = \"+5d\"\n{KEY}"), "max-age"),
        (format!("{HEAD}max-age = \"5é\"\n{KEY}"), "max-age"),
        (HEAD.replace("\"signature\", \"provenance\", \"sbom\"", "") + KEY, "require: the list is empty"),
        (HEAD.replace("docker.io/a/b", "alpine") + KEY, "write docker.io/library/alpine"),
        (HEAD.replace("docker.io/a/b", "index.docker.io/a/b") + KEY, "write docker.io/a/b"),
        (HEAD.replace("docker.io/a/b", "ghcr.io/Acme/*") + KEY, "lower case"),
        (HEAD.replace("docker.io/a/b", "https://ghcr.io/acme/*") + KEY, "lower case"),
        (HEAD.replace("docker.io/a/b", "ghcr.io/acme/x:1") + KEY, "without a tag"),
        (HEAD.replace("docker.io/a/b", "oci:x") + KEY, "without a tag"),
        (HEAD.replace("\"signature\"", "\"sig\"") + KEY, "require"),
        (HEAD.replace("\"signature\"", "\"sbom\"") + KEY, "named twice"),
        (HEAD.replace("\"signature\"", "\"https://slsa.dev/provenance/v1\"") + KEY, "write \"provenance\""),
        (format!("{HEAD}{KEY}[[rule]]\nimages = [\"docker.io/a/b\"]\nrequire = [\"sbom\"]\n{KEY}"), "named before"),
        (format!("{HEAD}[[rule.signer]]\n"), "names nobody"),
        (format!("{HEAD}[[rule.signer]]\nkey = \"other.pub\"\n"), "does not exist"),
        (format!("{HEAD}[[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"maybe\"\n"), "log"),
        (format!("{HEAD}{KEY}root = \"github\"\n"), "root"),
        (format!("{HEAD}{KEY}issuer = \"x\"\n"), "a key has no issuer"),
        (format!("{HEAD}[[rule.signer]]\nidentity = \"x\"\n"), "names nobody"),
        (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\n"), "names nobody"),
        (format!("{HEAD}[[rule.signer]]\nissuer = \"https://*\"\nidentity = \"x\"\n"), "issuer"),
        (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\nidentity = \"https://github.com/*\"\n"), "identity"),
        (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\nidentity = \"y\"\nlog = \"none\"\n"), "log"),
        (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\nidentity = \"y\"\nref = \"refs/heads/main\"\n"), "identity"),
        (format!("{HEAD}{WORKFLOW}ref = \"v1\"\n"), "ref"),
        (format!("{HEAD}{WORKFLOW}runner = \"mine\"\n"), "runner"),
        (format!("{HEAD}{WORKFLOW}triggers = []\n"), "triggers"),
        (format!("{HEAD}{WORKFLOW}repository-id = \"12x\"\n"), "repository-id"),
        (format!("{HEAD}{WORKFLOW}owner-id = \"\"\n"), "owner-id"),
        (format!("{HEAD}{WORKFLOW}signer-workflow = \"x.yml\"\n"), "signer-workflow"),
        (format!("{HEAD}{WORKFLOW}signer-workflow = \"*/x/.github/workflows/x.yml\"\n"), "signer-workflow"),
        (format!("{HEAD}{WORKFLOW}signer-workflow = \"a/x/.github/workflows/*.yml\"\n"), "signer-workflow"),
        (format!("{HEAD}{WORKFLOW}signer-workflow = \"x/.github/workflows/x.yml\"\n"), "signer-workflow"),
        (format!("{HEAD}{WORKFLOW}signer-workflow = \"a/b/x/.github/workflows/x.yml\"\n"), "signer-workflow"),
        (format!("{HEAD}{}", WORKFLOW.replace("acme/templates", "acme/*")), "repository"),
        (format!("{HEAD}{}", WORKFLOW.replace("acme/templates", "acme")), "repository"),
        (format!("{HEAD}{}", WORKFLOW.replace(".github/workflows/", "")), "workflow"),
        (format!("{HEAD}{KEY}[rule.formats]\nbundle = [\"v0.4\"]\n"), "formats.bundle"),
        (format!("{HEAD}{KEY}[rule.formats]\nbundle = []\n"), "formats.bundle"),
        (format!("{HEAD}{KEY}[rule.formats]\nbundle = [\"legacy\"]\n"), "cosign-legacy"),
        (format!("{HEAD}attestations = \"\"\n{KEY}"), "attestations"),
        (format!("{HEAD}attestations = \"acme/signatures\"\n{KEY}"), "docker.io/acme/signatures"),
        (format!("{HEAD}attestations = \"ghcr.io/acme/*\"\n{KEY}"), "attestations"),
        (format!("{HEAD}attestations = \"ghcr.io/acme/signatures:1\"\n{KEY}"), "attestations"),
        (format!("{HEAD}{KEY}[rule.formats]\nprovenance = [\"slsa\"]\n"), "formats.provenance"),
        (format!("{HEAD}{KEY}[rule.formats]\nsbom = [\"spdx\"]\n"), "sbom"),
        (format!("{HEAD}{KEY}[rule.provenance]\nbuilder = \"x\"\n"), "builder"),
        (format!("{HEAD}{KEY}[rule.provenance]\nbuilder-id = []\n"), "builder-id"),
        (format!("{HEAD}{KEY}[rule.sbom]\nmin-packages = 0\n"), "min-packages"),
        (format!("{HEAD}{KEY}[rule.sbom]\ndeny = [\"left-pad\"]\n"), "sbom.deny"),
        (format!("{HEAD}{KEY}[rule.sbom]\nformats = [\"swid\"]\n"), "sbom.formats"),
        (HEAD.replace(", \"sbom\"", "") + KEY + "[rule.sbom]\nmin-packages = 3\n", "no effect"),
        (HEAD.replace(", \"provenance\"", "") + KEY + "[rule.provenance]\nsource = \"x\"\n", "no effect"),
        (format!("{HEAD}subject = \"both\"\n{KEY}"), "subject"),
        (format!("{HEAD}subject-name = \"\"\n{KEY}"), "subject-name"),
        (format!("{HEAD}subject-name = \"a b\"\n{KEY}"), "subject-name"),
        (format!("{HEAD}{KEY}[rule.threshold]\nsignature = 0\n"), "threshold.signature"),
        (format!("{HEAD}{KEY}[rule.threshold]\nsignature = 2\n"), "1 may satisfy it"),
        (format!("{HEAD}{KEY}{KEY}for = [\"sbom\"]\n[rule.threshold]\nsignature = 2\n"), "1 may satisfy it"),
        (format!("{HEAD}{KEY}[rule.threshold]\nsignature = -1\n"), "signature"),
        (format!("{HEAD}{KEY}[rule.threshold]\nvuln = 1\n"), "no effect"),
        (format!("{HEAD}{KEY}[rule.threshold]\nsig = 1\n"), "threshold"),
        (format!("{HEAD}{KEY}for = []\n"), "for: the list is empty"),
        (format!("{HEAD}{KEY}for = [\"vuln\"]\n"), "no effect"),
        (format!("{HEAD}{KEY}for = [\"sbom\", \"sbom\"]\n"), "named twice"),
        (format!("{HEAD}{KEY}for = [\"sbom\"]\n"), "nobody may satisfy \"signature\""),
        (HEAD.replace("\"sbom\"", "\"vsa\"") + KEY, "verifier-id"),
        (HEAD.replace("\"sbom\"", "\"vsa\"") + KEY + "[rule.vsa]\n", "verifier-id"),
        (HEAD.replace("\"sbom\"", "\"vsa\"") + KEY + "[rule.vsa]\nverifier-id = \"\"\n", "verifier-id"),
        (HEAD.replace("\"sbom\"", "\"vsa\"") + KEY + "[rule.vsa]\nverifier-id = \"https://*\"\n", "verifier-id"),
        (format!("{HEAD}{KEY}[rule.vsa]\nverifier-id = \"x\"\n"), "no effect"),
        (format!("{HEAD}{KEY}[rule.vuln]\nmax-age = \"7d\"\n"), "no effect"),
        (HEAD.replace("\"sbom\"", "\"vuln\"") + KEY + "[rule.vuln]\nmax-age = \"7 days\"\n", "vuln.max-age"),
        (HEAD.replace("\"sbom\"", "\"vuln\"") + KEY + "[rule.vuln]\nmax-severity = \"high\"\n", "max-severity"),
        (HEAD.replace("\"sbom\"", "\"https://slsa.dev/verification_summary/v1\"") + KEY, "write \"vsa\""),
        (format!("{HEAD}{WORKFLOW}branch = \"main\"\nref = \"refs/heads/main\"\n"), "ref and branch both"),
        (format!("{HEAD}{WORKFLOW}branch = \"main\"\ntag = \"v*\"\n"), "branch and tag both"),
        (format!("{HEAD}{WORKFLOW}tag = \"v*\"\nversion = \"1\"\n"), "tag and version both"),
        (format!("{HEAD}{WORKFLOW}branch = \"refs/heads/main\"\n"), "branch"),
        (format!("{HEAD}{WORKFLOW}tag = \"\"\n"), "tag"),
        (format!("{HEAD}{WORKFLOW}version = \"\"\n"), "version"),
        (format!("{HEAD}{WORKFLOW}version = \"v1\"\n"), "version"),
        (format!("{HEAD}{WORKFLOW}commit = \"c0ffee\"\n"), "commit"),
        (format!("{HEAD}{WORKFLOW}commit = \"{}\"\n", "A".repeat(40)), "commit"),
        (format!("{HEAD}{WORKFLOW}visibility = \"hidden\"\n"), "visibility"),
        (format!("{HEAD}{WORKFLOW}environment = \"\"\n"), "environment"),
        (format!("{HEAD}{WORKFLOW}environment = \"prod*\"\n"), "environment"),
        (format!("{HEAD}{WORKFLOW}token-subject = \"repo:*\"\n"), "token-subject"),
        (format!("{HEAD}{WORKFLOW}owner = \"acme\"\n"), "owner"),
        (format!("{HEAD}{}", WORKFLOW.replace("repository = \"acme/templates\"", "owner = \"ac*\"")), "owner"),
        (format!("{HEAD}{KEY}branch = \"main\"\n"), "a key has no"),
        (format!("{HEAD}{KEY}[rule.provenance]\nmax-age = \"x\"\n"), "provenance.max-age"),
        (format!("{HEAD}{KEY}[rule.provenance.dependencies]\nallow = []\n"), "dependencies.allow"),
        (format!("{HEAD}{KEY}[rule.provenance.dependencies]\nallow = [\"git\"]\n"), "dependencies.allow"),
        (format!("{HEAD}{KEY}[rule.provenance.dependencies]\npresent = [\"pkg:deb\"]\n"), "dependencies.present"),
        (format!("{HEAD}{KEY}[rule.provenance.dependencies]\ndeny = [\"pkg:deb/x\"]\n"), "deny"),
        (format!("{HEAD}{KEY}[rule.provenance.external-parameters]\nx = []\n"), "external-parameters.x"),
        (format!("{HEAD}{KEY}[rule.provenance.external-parameters]\nx = 1.5\n"), "external-parameters.x"),
        (
            format!("{HEAD}{KEY}[rule.provenance.external-parameters]\nx = {{y = \"a b*\"}}\n"),
            "external-parameters.x.y",
        ),
        (format!("{HEAD}{KEY}[rule.sbom]\ndeny-licences = []\n"), "deny-licences"),
        (format!("{HEAD}{KEY}[rule.sbom]\ndeny-licences = [\"AGPL\"]\n"), "deny-licences"),
        (format!("{HEAD}{KEY}[rule.sbom]\ndeny-licences = [\"MIT OR ISC\"]\n"), "deny-licences"),
        (format!("{HEAD}{KEY}[[deny]]\ndigest = \"sha256:00\"\nreason = \"x\"\n"), "deny 0"),
        (format!("{HEAD}{KEY}[[deny]]\nreason = \"x\"\n"), "digest"),
    ] {
        let error = parse(&bad).expect_err(&bad);
        assert!(error.to_string().contains(why), "{why}: {error}\n{bad}");
    }
}

/// A policy that has every field at least once.
fn rich() -> String {
    let require = "\"signature\", \"provenance\", \"sbom\", \"vuln\", \"vsa\", \"https://example.test/review\"";
    let exact = "[[rule.signer]]\nissuer = \"x\"\nidentity = \"y\"\nfor = [\"vsa\"]\n";
    let owner = WORKFLOW.replace("repository = \"acme/templates\"", "owner = \"acme\"");
    format!(
        "{}mode = \"warn\"\nrebuild = \"match\"\nmax-age = \"180d\"\nsubject = \"index-or-manifest\"\n\
         subject-name = \"image\"\n{KEY}for = [\"signature\", \"https://example.test/review\"]\n{exact}\
         {WORKFLOW}ref = \"refs/tags/v*\"\nrepository-id = \"1\"\nowner-id = \"2\"\nrunner = \"any\"\ntriggers = [\"push\"]\n\
         signer-workflow = \"acme/ci/.github/workflows/build.yml@refs/tags/v*\"\nroot = \"github\"\n\
         commit = \"{}\"\nvisibility = \"public\"\nenvironment = \"production\"\ntoken-subject = \"repo:acme\"\n\
         {WORKFLOW}branch = \"release/*\"\n{WORKFLOW}tag = \"v*\"\n{owner}version = \">=1.4, <2\"\n\
         [rule.threshold]\nsignature = 2\n\"https://example.test/review\" = 1\n\
         [rule.formats]\nbundle = [\"v0.3\", \"v0.1\"]\nprovenance = [\"slsa-v1\"]\n\
         [rule.provenance]\nbuilder-id = [\"https://x/*\"]\nbuild-type = [\"y\"]\nsource = \"git+https://z/y\"\nmax-age = \"30d\"\n\
         [rule.provenance.dependencies]\npresent = [\"pkg:deb/debian/git\"]\nallow = [\"pkg:deb/**\", \"git+https://z@**\"]\n\
         [rule.provenance.external-parameters]\na = \"x\"\nb = [1, true, \"v*\", [\"x\"]]\nc = {{d = \"e\"}}\n\
         [rule.sbom]\nformats = [\"spdx\"]\ndeny = [\"pkg:npm/x@1\", \"pkg:pypi/*\"]\ndeny-licences = [\"AGPL-3.0-only\"]\nmin-packages = 2\n\
         [rule.vuln]\nmax-age = \"7d\"\n\
         [rule.vsa]\nverifier-id = \"https://v\"\nresource-uri = [\"ghcr.io/acme/*\"]\nlevels = [\"SLSA_BUILD_LEVEL_2\"]\n\
         policy-uri = \"https://p\"\npolicy-digest = \"{}\"\nmax-age = \"1d\"\n\
         [[deny]]\ndigest = \"{}\"\nreason = \"x\"\n",
        HEAD.replace("\"signature\", \"provenance\", \"sbom\"", require),
        "c0ffee00".repeat(5),
        Digest::of(b"policy"),
        Digest::of(b"bad"),
    )
}

fn schema() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../policies/policy.schema.json")).unwrap()
}

fn is_valid(text: &str) -> bool {
    let document: serde_json::Value = toml::from_str(text).unwrap();
    jsonschema::is_valid(&schema(), &document)
}

#[test]
fn reads_every_documented_field() {
    parse(&format!("{HEAD}{KEY}")).unwrap();
    parse(&rich()).unwrap();
    assert!(is_valid(&rich()));
}

/// The schema and the reader know the same fields, at every place: the reader is asked by a field that it does not
/// know, and lists those that it does.
#[test]
fn the_schema_has_every_field_that_is_read_and_no_other() {
    let schema = schema();
    let rule = &schema["$defs"]["rule"]["properties"];
    let known = |text: String| {
        let error = parse(&text).expect_err(&text).to_string();
        let listed = error.split("expected").nth(1).unwrap_or_else(|| panic!("{error}\n{text}"));
        let mut fields: Vec<String> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        fields.sort();
        fields
    };
    let described = |shapes: &[&serde_json::Value]| {
        let properties = shapes.iter().flat_map(|shape| shape["properties"].as_object().unwrap().keys().cloned());
        let mut fields: Vec<String> = properties.collect();
        fields.sort();
        fields.dedup();
        fields
    };
    let whole = format!("{HEAD}{KEY}");
    let signers: Vec<&serde_json::Value> = schema["$defs"]["signer"]["oneOf"].as_array().unwrap().iter().collect();
    for (text, shapes) in [
        (format!("zzz = 1\n{whole}"), vec![&schema]),
        (format!("{HEAD}zzz = 1\n{KEY}"), vec![&schema["$defs"]["rule"]]),
        (format!("{whole}zzz = 1\n"), signers),
        (format!("{whole}[[deny]]\nzzz = 1\n"), vec![&schema["properties"]["deny"]["items"]]),
        (format!("{whole}[rule.formats]\nzzz = 1\n"), vec![&rule["formats"]]),
        (format!("{whole}[rule.provenance]\nzzz = 1\n"), vec![&rule["provenance"]]),
        (
            format!("{whole}[rule.provenance.dependencies]\nzzz = 1\n"),
            vec![&rule["provenance"]["properties"]["dependencies"]],
        ),
        (format!("{whole}[rule.sbom]\nzzz = 1\n"), vec![&rule["sbom"]]),
        (format!("{whole}[rule.vuln]\nzzz = 1\n"), vec![&rule["vuln"]]),
        (format!("{whole}[rule.vsa]\nzzz = 1\n"), vec![&rule["vsa"]]),
    ] {
        assert!(!is_valid(&text), "{text}");
        assert_eq!(known(text.clone()), described(&shapes), "{text}");
    }
}

#[test]
fn what_the_schema_can_say_it_says_as_the_reader_does() {
    let (key, workflow) = (format!("{HEAD}{KEY}"), format!("{HEAD}{WORKFLOW}"));
    for bad in [
        format!("{workflow}ref = \"refs/heads/main\"\nbranch = \"main\"\n"),
        format!("{workflow}tag = \"v*\"\nversion = \"1\"\n"),
        format!("{workflow}branch = \"refs/heads/main\"\n"),
        format!("{workflow}owner = \"acme\"\n"),
        format!("{workflow}commit = \"c0ffee\"\n"),
        format!("{workflow}visibility = \"hidden\"\n"),
        format!("{key}branch = \"main\"\n"),
        format!("{key}for = []\n"),
        format!("{key}[rule.threshold]\nsignature = 0\n"),
        format!("{key}[rule.threshold]\nsig = 1\n"),
        format!("{key}[rule.sbom]\ndeny = [\"left-pad\"]\n"),
        format!("{key}[rule.provenance.dependencies]\nallow = [\"git\"]\n"),
        format!("{key}[rule.provenance.external-parameters]\nx = 1.5\n"),
        format!("{key}[rule.provenance.external-parameters]\nx = []\n"),
        key.replace("\"sbom\"", "\"vsa\""),
        key.replace("\"sbom\"", "\"sbon\""),
        key.replace("\"sbom\"", "\"signature\""),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
        assert!(!is_valid(&bad), "the schema takes:\n{bad}");
    }
}

#[test]
fn the_most_specific_rule_applies_and_a_tie_is_an_error() {
    let rule = |images: &str| format!("[[rule]]\nimages = [{images}]\nrequire = [\"sbom\"]\n{KEY}");
    let text = format!("version = 1\n{}{}{}", rule("\"**\""), rule("\"oci/a/*\""), rule("\"oci/a/b\""));
    let policy = parse(&text).unwrap();
    for (name, index) in [("oci/a/b", 2), ("oci/a/c", 1), ("oci/a/c/d", 0), ("x", 0)] {
        assert_eq!(policy.rule_for(name).unwrap().unwrap().0, index, "{name}");
    }
    let text = format!("version = 1\n{}{}", rule("\"a/*/c\""), rule("\"a/b/*\""));
    let tie = parse(&text).unwrap();
    assert!(tie.rule_for("a/b/c").is_err());
    assert!(tie.rule_for("a/x/c").unwrap().is_some());
    assert!(tie.rule_for("b").unwrap().is_none());
    let said = |error: PolicyError| (error.class(), error.code());
    assert_eq!(said(tie.rule_for("a/b/c").map(|_| ()).unwrap_err()), (Class::Policy, "ambiguous-policy"));
    let empty = Policy::parse("", "test", &|_| Err(String::new())).map(|_| ()).unwrap_err();
    assert_eq!(said(empty), (Class::Policy, "malformed-policy"));
    assert_eq!((policy.rules().len(), policy.origin()), (3, "test"));
    // Two patterns of one rule are no tie: it is the same rule.
    let one = parse(&format!("version = 1\n{}", rule("\"oci/*/c\", \"oci/b/*\""))).unwrap();
    assert_eq!(one.rule_for("oci/b/c").unwrap().unwrap().0, 0);
    // Two rules that tie are none where a third fits better, wherever it stands.
    let [first, second, better] = ["\"oci/*/c\"", "\"oci/b/*\"", "\"oci/b/c\""].map(rule);
    for (rules, index) in
        [([&first, &second, &better], 2), ([&first, &better, &second], 1), ([&better, &first, &second], 0)]
    {
        let policy = parse(&format!("version = 1\n{}{}{}", rules[0], rules[1], rules[2])).unwrap();
        assert_eq!(policy.rule_for("oci/b/c").unwrap().unwrap().0, index);
        assert!(policy.rule_for("oci/x/c").unwrap().is_some());
    }
}

#[test]
fn every_policy_in_the_documents_can_be_used() {
    let page = include_str!("../../../docs/policy.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        // The page's trust root is a file of its reader's.
        let block = block.replace("\"trusted_root.json\"", "\"public-good\"");
        parse(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert!(is_valid(&block), "the schema refuses:\n{block}");
    }
}
