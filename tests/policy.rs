//! Policies against evidence: for every field a value that passes and one that does not, and for every check another
//! valid thing swapped in. The evidence is signed by an in-process Sigstore, truthfully.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a case that cannot be judged is a failed test")]

#[path = "policy/contents.rs"]
mod contents;
#[path = "policy/counting.rs"]
mod counting;
#[path = "support/spdx.rs"]
mod sbom;
#[path = "policy/signers.rs"]
mod signers;
#[path = "policy/statements.rs"]
mod statements;
#[path = "support/mod.rs"]
mod support;
#[path = "policy/told.rs"]
mod told;

use bulla::attestation::bundle::Bundle;
use bulla::class::Class;
use bulla::content::Digest;
use bulla::oci::Platform;
use bulla::policy::verdict::{Basis, Status, Subject, Verdict};
use bulla::policy::{Candidate, Evidence, Origin, Policy};
use jiff::Timestamp;
use sbom::spdx;
use serde_json::{Value, json};
use support::sigstore::cert::{COMMIT, GITHUB_ISSUER, San, Signer};
use support::sigstore::key::Key;
use support::sigstore::{Attest, Sigstore, statement};

const NAME: &str = "ghcr.io/acme/templates/claude";
const NOW: &str = "2025-07-01T00:00:00Z";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const SLSA: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

fn digest(word: &str) -> Digest {
    Digest::of(word.as_bytes())
}

fn subject() -> Subject {
    Subject {
        name: NAME.to_owned(),
        reference: Some(NAME.parse::<bulla::reference::Repository>().unwrap().pin(digest("index"))),
        digest: digest("index"),
        manifest: digest("manifest"),
        config: digest("config"),
        platform: "linux/amd64".parse::<Platform>().unwrap(),
    }
}

fn evidence(bundles: &[Vec<u8>]) -> Evidence {
    let candidate = |bytes: &Vec<u8>| {
        let bundle = Bundle::parse(bytes).unwrap();
        let predicate_type = bundle.unverified_statement().unwrap().predicate_type.clone();
        Candidate { bundle, predicate_type }
    };
    Evidence { candidates: bundles.iter().map(candidate).collect(), ..Evidence::of(subject(), Origin::Published) }
}

fn signer() -> Signer {
    Signer::github("acme/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0")
}

fn provenance() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {
                "ref": "refs/tags/v1.0.0",
                "repository": "https://github.com/acme/templates",
                "path": ".github/workflows/release.yml",
            }},
            "resolvedDependencies": [{
                "uri": "git+https://github.com/acme/templates@refs/tags/v1.0.0",
                "digest": {"gitCommit": COMMIT},
            }],
        },
        "runDetails": {
            "builder": {"id": "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0"},
            "metadata": {"invocationId": "https://github.com/acme/templates/actions/runs/15609877086/attempts/1"},
        },
    })
}

/// A statement about the image, of this type.
fn says(predicate_type: &str, predicate: &Value) -> Vec<u8> {
    statement(&digest("index").hex(), predicate_type, predicate)
}

/// The three statements that a well-kept image has.
fn well_kept() -> Vec<Vec<u8>> {
    let packages = ["pkg:deb/debian/git@2.47?arch=amd64", "pkg:npm/left-pad@1.3.0"];
    vec![says(SIGN, &json!({})), says(SLSA, &provenance()), says(SPDX, &spdx(&packages))]
}

fn signed(world: &Sigstore, statement: &[u8], signer: &Signer) -> Attest {
    world.attest(statement, signer)
}

const HEAD: &str = "version = 1\n[[rule]]\nimages = [\"ghcr.io/acme/templates/*\"]\n";
const ALL_THREE: &str = "require = [\"signature\", \"provenance\", \"sbom\"]\n";
const WORKFLOW: &str = "[[rule.signer]]\nroot = \"root.json\"\nissuer = \"https://token.actions.githubusercontent.com\"\n\
    repository = \"acme/templates\"\nworkflow = \".github/workflows/release.yml\"\n";

fn policy(text: &str, world: &Sigstore) -> Policy {
    let load = |name: &str| match name {
        "root.json" => Ok(world.trusted_root_json().into_bytes()),
        _ => Err(format!("{name} is not there")),
    };
    Policy::parse(text, "test", &load).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn judge(text: &str, world: &Sigstore, bundles: &[Vec<u8>]) -> Verdict {
    policy(text, world).evaluate(&evidence(bundles), NOW.parse::<Timestamp>().unwrap()).unwrap()
}

/// The class and code of the first check that failed.
fn refusal(verdict: &Verdict) -> (Class, &'static str) {
    assert!(!verdict.is_admitted(), "admitted: {:?}", verdict.checks());
    assert!(verdict.launchable().is_none() || !verdict.is_enforced());
    let check = verdict.checks().iter().find(|check| check.status == Status::Fail).unwrap();
    assert_eq!(verdict.class(), check.class);
    (check.class.unwrap(), check.code)
}

fn assert_admitted(verdict: &Verdict) {
    assert!(verdict.is_admitted(), "denied: {:#?}", verdict.checks());
    assert_eq!(verdict.launchable().unwrap().basis(), Basis::Verified);
    assert_eq!((verdict.class(), verdict.project_rule()), (None, None));
    // K12: an admission rests on a verified attestation for each requirement.
    assert!(!verdict.attestations().is_empty());
    for check in verdict.checks() {
        let satisfied = verdict.attestations().iter().any(|attested| Some(attested.digest) == check.attestation);
        assert!(check.status == Status::Pass && satisfied, "{check:?}");
    }
}

#[test]
fn admits_what_is_signed_attested_and_listed_by_the_workflow() {
    let world = Sigstore::new();
    let bundles: Vec<_> = well_kept().iter().map(|statement| signed(&world, statement, &signer()).bundle()).collect();
    assert_admitted(&judge(&format!("{HEAD}{ALL_THREE}{WORKFLOW}"), &world, &bundles));
    let newer: Vec<_> =
        well_kept().iter().map(|statement| signed(&world, statement, &signer()).rekor_v2().bundle()).collect();
    assert_admitted(&judge(&format!("{HEAD}{ALL_THREE}{WORKFLOW}"), &world, &newer));
}

#[test]
fn c05_each_requirement_needs_a_statement_of_its_own_type() {
    let world = Sigstore::new();
    let all: Vec<_> = well_kept().iter().map(|statement| signed(&world, statement, &signer()).bundle()).collect();
    let text = format!("{HEAD}{ALL_THREE}{WORKFLOW}");
    assert_eq!(refusal(&judge(&text, &world, &[])), (Class::NoAttestation, "no-attestation"));
    for missing in 0..3 {
        let mut some = all.clone();
        some.remove(missing);
        let verdict = judge(&text, &world, &some);
        assert_eq!(refusal(&verdict), (Class::NoAttestation, "no-attestation"));
        let failed: Vec<_> = verdict.checks().iter().filter(|check| check.status == Status::Fail).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].requirement, ["signature", "provenance", "sbom"][missing]);
        assert!(failed[0].message.contains("only of type"), "{}", failed[0].message);
        // C09: the same attestation three times is one attestation still.
        let tripled = vec![all[missing].clone(), all[missing].clone(), all[missing].clone()];
        assert_eq!(refusal(&judge(&text, &world, &tripled)).0, Class::NoAttestation);
    }
}

#[test]
fn c01_refuses_a_valid_statement_about_another_image() {
    let world = Sigstore::new();
    let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}");
    let other = statement(&digest("another image").hex(), SIGN, &json!({}));
    let verdict = judge(&text, &world, &[signed(&world, &other, &signer()).bundle()]);
    assert_eq!(refusal(&verdict), (Class::Subject, "other-subject"));
    // B02: the platform's manifest is not the index that was asked for.
    let child = statement(&digest("manifest").hex(), SIGN, &json!({}));
    let verdict = judge(&text, &world, &[signed(&world, &child, &signer()).bundle()]);
    assert_eq!(refusal(&verdict).0, Class::Subject);
}

#[test]
fn every_field_of_a_workflow_signer_is_enforced() {
    let world = Sigstore::new();
    let claims = |number: u8, value: &str| {
        let mut signer = signer();
        signer.claims.insert(number, value.to_owned());
        // The older extension that says the same would contradict it, which is refused before any policy looks.
        let older = [(12, 5), (14, 6), (20, 2)].into_iter().find(|(newer, _)| *newer == number);
        older.map(|(_, older)| signer.claims.remove(&older));
        signer
    };
    let reusable = |signer_ref: &str| {
        let file = ".github/workflows/images.yml";
        Signer::github_reusable("acme/templates", "acme/ci", file, signer_ref, "refs/tags/v1.0.0")
    };
    let at = |git_ref: &str| Signer::github("acme/templates", ".github/workflows/release.yml", git_ref);
    let images = "signer-workflow = \"acme/ci/.github/workflows/images.yml\"\n";
    let pinned = "signer-workflow = \"acme/ci/.github/workflows/images.yml@refs/tags/v*\"\n";
    // What the policy says beyond repository and workflow, who passes, who does not and by which check.
    let cases: Vec<(&str, Signer, Signer, &str)> = vec![
        (
            "",
            signer(),
            Signer::github("acme/other", ".github/workflows/release.yml", "refs/tags/v1.0.0"),
            "signer-workflow",
        ),
        (
            "",
            Signer::github("ACME/Templates", ".github/workflows/release.yml", "refs/tags/v1.0.0"),
            Signer::github("acme/templates", ".github/workflows/other.yml", "refs/tags/v1.0.0"),
            "signer-workflow",
        ),
        ("", signer(), reusable("refs/tags/v2"), "signer-workflow"),
        ("", signer(), claims(12, "https://github.com/acme/other"), "repository"),
        ("", signer(), claims(12, "https://github.com.evil/acme/templates"), "repository"),
        (
            "",
            signer(),
            claims(18, "https://github.com/acme/templates/.github/workflows/x.yml@refs/tags/v1.0.0"),
            "workflow",
        ),
        ("", signer(), claims(14, "refs/tags/v0.9.0"), "ref"),
        ("", at("refs/heads/main"), at("refs/pull/7/merge"), "ref"),
        ("ref = \"refs/tags/v*\"\n", signer(), at("refs/heads/refs/tags/v1.0.0"), "ref"),
        ("ref = \"refs/tags/v1.*\"\n", signer(), at("refs/tags/v2.0.0"), "ref"),
        ("ref = \"refs/heads/main\"\n", at("refs/heads/main"), at("refs/heads/main2"), "ref"),
        (images, reusable("refs/heads/main"), signer(), "signer-workflow"),
        (pinned, reusable("refs/tags/v2"), reusable("refs/heads/main"), "signer-workflow"),
        ("repository-id = \"700100200\"\n", signer(), claims(15, "700100201"), "repository-id"),
        ("owner-id = \"9001002\"\n", signer(), claims(17, "9001003"), "owner-id"),
        ("", signer(), claims(11, "self-hosted"), "runner"),
        ("runner = \"self-hosted\"\n", claims(11, "self-hosted"), signer(), "runner"),
        ("runner = \"any\"\n", claims(11, "self-hosted"), at("refs/pull/7/head"), "ref"),
        ("", claims(20, "release"), claims(20, "pull_request_target"), "trigger"),
        ("triggers = [\"schedule\"]\n", claims(20, "schedule"), signer(), "trigger"),
    ];
    let statement = says(SIGN, &json!({}));
    for (more, good, bad, code) in cases {
        let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}{more}");
        let verdict = judge(&text, &world, &[signed(&world, &statement, &good).bundle()]);
        assert!(verdict.is_admitted(), "{more}{good:?}\n{:?}", verdict.checks());
        let verdict = judge(&text, &world, &[signed(&world, &statement, &bad).bundle()]);
        assert_eq!(refusal(&verdict), (Class::Identity, code), "{more}{bad:?}\n{:?}", verdict.checks());
    }
    // A certificate that does not state what is compared is refused, each claim in turn.
    let whole =
        format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}repository-id = \"700100200\"\nowner-id = \"9001002\"\n");
    for number in [9, 11, 12, 14, 15, 17, 18, 20] {
        let mut silent = signer();
        silent.claims.remove(&number);
        let verdict = judge(&whole, &world, &[signed(&world, &statement, &silent).bundle()]);
        assert_eq!(refusal(&verdict), (Class::Identity, "claim-missing"), "without .{number}");
    }
}

#[test]
fn f02_f03_an_exact_signer_is_exact() {
    let world = Sigstore::new();
    let identity = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
    let exact = |issuer: &str, identity: &str| {
        format!(
            "{HEAD}require = [\"signature\"]\n[[rule.signer]]\nroot = \"root.json\"\nissuer = \"{issuer}\"\n\
             identity = \"{identity}\"\n"
        )
    };
    let bundle = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    assert_admitted(&judge(&exact(GITHUB_ISSUER, identity), &world, std::slice::from_ref(&bundle)));
    for issuer in [
        "https://token.actions.githubusercontent.com/",
        "https://token.actions.githubusercontent.com/hammer-time",
        "https://token.actions.githubusercontent.com.evil",
        "http://token.actions.githubusercontent.com",
        "https://TOKEN.actions.githubusercontent.com",
    ] {
        let verdict = judge(&exact(issuer, identity), &world, std::slice::from_ref(&bundle));
        assert_eq!(refusal(&verdict), (Class::Identity, "issuer"), "{issuer}");
    }
    for other in [&identity[1..], &identity[..identity.len() - 1], &identity.to_uppercase(), "x"] {
        let verdict = judge(&exact(GITHUB_ISSUER, other), &world, std::slice::from_ref(&bundle));
        assert_eq!(refusal(&verdict), (Class::Identity, "identity"), "{other}");
    }
    // An e-mail address is no workflow, whatever it spells.
    let mut person = signer();
    person.san = San::Email("acme@example.test".to_owned());
    let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}");
    let verdict = judge(&text, &world, &[signed(&world, &says(SIGN, &json!({})), &person).bundle()]);
    assert_eq!(refusal(&verdict).0, Class::Identity);
}

#[test]
fn f07_g19_another_world_vouches_for_nobody() {
    let (world, other) = (Sigstore::new(), Sigstore::new());
    let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}");
    let foreign = signed(&other, &says(SIGN, &json!({})), &signer()).bundle();
    let (class, _) = refusal(&judge(&text, &world, &[foreign]));
    assert!(matches!(class, Class::Trust | Class::Tlog), "{class}");
}

#[test]
fn a_key_signer_takes_that_key_alone() {
    let world = Sigstore::new();
    let (key, other) = (Key::p256(), Key::p256());
    let text = format!("{HEAD}require = [\"signature\"]\n[[rule.signer]]\nkey = \"key.pub\"\nlog = \"none\"\n");
    let load = |name: &str| match name {
        "key.pub" => Ok(key.public_pem().into_bytes()),
        _ => Ok(world.trusted_root_json().into_bytes()),
    };
    let now: Timestamp = NOW.parse().unwrap();
    let judge = |text: &str, bundle: Vec<u8>| {
        Policy::parse(text, "test", &load).unwrap().evaluate(&evidence(&[bundle]), now).unwrap()
    };
    let statement = says(SIGN, &json!({}));
    assert_admitted(&judge(&text, world.attest_with_key(&statement, &key).bundle()));
    let verdict = judge(&text, world.attest_with_key(&statement, &other).bundle());
    assert_eq!(refusal(&verdict), (Class::Signature, "invalid-signature"));
    let keyless = world.attest(&statement, &signer()).bundle();
    assert_eq!(refusal(&judge(&text, keyless)).0, Class::Trust);
    // With a log: an entry is asked for, and found.
    let logged = text.replace("log = \"none\"", "root = \"root.json\"");
    assert_eq!(refusal(&judge(&logged, world.attest_with_key(&statement, &key).bundle())).0, Class::Tlog);
    assert_admitted(&judge(&logged, world.attest_with_key(&statement, &key).rekor_v1().bundle()));
    // A key alone says nothing about when.
    let aged = text.replace("require =", "max-age = \"9000d\"\nrequire =");
    let verdict = judge(&aged, world.attest_with_key(&statement, &key).bundle());
    assert_eq!(refusal(&verdict), (Class::Time, "no-trusted-time"));
    assert_admitted(&judge(
        &aged.replace("log = \"none\"", "root = \"root.json\""),
        world.attest_with_key(&statement, &key).rekor_v1().bundle(),
    ));
}

#[test]
fn max_age_counts_from_the_signing_time() {
    let world = Sigstore::new();
    // Signed on 1 June, judged on 1 July: 29 and a half days.
    let bundle = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    let text = |age: &str| format!("{HEAD}max-age = \"{age}\"\nrequire = [\"signature\"]\n{WORKFLOW}");
    for (age, admitted) in [("30d", true), ("29d", false), ("720h", true), ("1m", false)] {
        let verdict = judge(&text(age), &world, std::slice::from_ref(&bundle));
        assert_eq!(verdict.is_admitted(), admitted, "{age}");
        if !admitted {
            assert_eq!(refusal(&verdict), (Class::Time, "too-old"));
        }
    }
}

#[test]
fn every_field_about_provenance_is_enforced() {
    let world = Sigstore::new();
    let bundle = |predicate: &Value| signed(&world, &says(SLSA, predicate), &signer()).bundle();
    let head = format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}[rule.provenance]\n");
    let builder = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags";
    for (good, bad, code) in [
        (format!("builder-id = [\"{builder}/v*\"]"), format!("builder-id = [\"{builder}/w*\"]"), "builder-id"),
        (
            "build-type = [\"https://actions.github.io/buildtypes/workflow/v1\"]".to_owned(),
            "build-type = [\"https://actions.github.io/buildtypes/workflow/v\"]".to_owned(),
            "build-type",
        ),
        (
            "source = \"git+https://github.com/acme/templates\"".to_owned(),
            "source = \"git+https://github.com/acme/template\"".to_owned(),
            "source",
        ),
    ] {
        assert_admitted(&judge(&format!("{head}{good}\n"), &world, &[bundle(&provenance())]));
        let verdict = judge(&format!("{head}{bad}\n"), &world, &[bundle(&provenance())]);
        assert_eq!(refusal(&verdict), (Class::Provenance, code));
        let wanted = bad.split('"').nth(1).unwrap();
        assert!(verdict.checks()[0].message.contains(wanted), "{:?}", verdict.checks()[0]);
    }
    // Provenance that names no source meets no demand for one.
    let mut sourceless = provenance();
    sourceless["buildDefinition"]["externalParameters"] = json!({});
    let text = format!("{head}source = \"git+https://github.com/acme/templates\"\n");
    assert_eq!(refusal(&judge(&text, &world, &[bundle(&sourceless)])), (Class::Provenance, "source"));
}

#[test]
fn f14_provenance_must_agree_with_its_certificate() {
    let world = Sigstore::new();
    let text = format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}");
    for (pointer, value) in [
        ("/buildDefinition/externalParameters/workflow/repository", "https://github.com/acme/other"),
        ("/buildDefinition/externalParameters/workflow/ref", "refs/tags/v2.0.0"),
        ("/buildDefinition/externalParameters/workflow/path", ".github/workflows/other.yml"),
        ("/buildDefinition/resolvedDependencies/0/digest/gitCommit", "0000000000000000000000000000000000000000"),
        ("/runDetails/builder/id", "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v2"),
        ("/runDetails/metadata/invocationId", "https://github.com/acme/templates/actions/runs/1/attempts/1"),
        ("/runDetails/metadata/invocationId", "1-1"),
        ("/buildDefinition/resolvedDependencies/0/uri", "git+https://github.com/acme/templates@refs/heads/main"),
        ("/buildDefinition/internalParameters/github/event_name", "pull_request"),
        ("/buildDefinition/internalParameters/github/repository_id", "1"),
        ("/buildDefinition/internalParameters/github/repository_owner_id", "1"),
        ("/buildDefinition/internalParameters/github/runner_environment", "self-hosted"),
        ("/buildDefinition/externalParameters/source/uri", "git+https://github.com/acme/templates@refs/heads/main"),
    ] {
        let mut lying = provenance();
        lying["buildDefinition"]["internalParameters"] = json!({"github": {
            "event_name": "push", "repository_id": "700100200", "repository_owner_id": "9001002",
            "runner_environment": "github-hosted",
        }});
        let source = "git+https://github.com/acme/templates@refs/tags/v1.0.0";
        lying["buildDefinition"]["externalParameters"]["source"] = json!({ "uri": source });
        assert_admitted(&judge(&text, &world, &[signed(&world, &says(SLSA, &lying), &signer()).bundle()]));
        *lying.pointer_mut(pointer).unwrap() = json!(value);
        let verdict = judge(&text, &world, &[signed(&world, &says(SLSA, &lying), &signer()).bundle()]);
        assert_eq!(refusal(&verdict), (Class::Provenance, "certificate-disagrees"), "{pointer}");
    }
    // The same run in another builder's words, and a name that only its builder understands.
    let url = provenance()["runDetails"]["metadata"]["invocationId"].as_str().unwrap().to_owned();
    let short = url.split("/runs/").nth(1).unwrap().replace("/attempts/", "-");
    for id in [short.as_str(), "build-of-a-tuesday", "release-7", "7-release", "-7", "7-"] {
        let mut other = provenance();
        other["runDetails"]["metadata"]["invocationId"] = json!(id);
        let verdict = judge(&text, &world, &[signed(&world, &says(SLSA, &other), &signer()).bundle()]);
        assert!(verdict.is_admitted(), "{id}: {:?}", verdict.checks());
    }
    // Older certificates say the same in older claims, and older provenance in other places.
    let identity = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
    let exact = format!(
        "{HEAD}require = [\"provenance\"]\n[[rule.signer]]\nroot = \"root.json\"\nissuer = \"{GITHUB_ISSUER}\"\n\
         identity = \"{identity}\"\n[rule.formats]\nprovenance = [\"slsa-v0.2\"]\n"
    );
    let mut older = signer();
    older.claims.retain(|number, _| *number < 7);
    let v02 = json!({
        "builder": {"id": identity}, "buildType": "https://example.test/build",
        "invocation": {"configSource": {
            "uri": "git+https://github.com/acme/templates@refs/tags/v1.0.0", "digest": {"sha1": COMMIT},
        }},
    });
    let judged = |predicate: &Value| {
        let statement = says("https://slsa.dev/provenance/v0.2", predicate);
        judge(&exact, &world, &[signed(&world, &statement, &older).bundle()])
    };
    assert_admitted(&judged(&v02));
    for (pointer, value) in [
        ("/invocation/configSource/uri", "git+https://github.com/acme/other@refs/tags/v1.0.0"),
        ("/invocation/configSource/uri", "git+https://github.com/acme/templates@refs/heads/main"),
        ("/invocation/configSource/digest/sha1", "0000000000000000000000000000000000000000"),
    ] {
        let mut lying = v02.clone();
        *lying.pointer_mut(pointer).unwrap() = json!(value);
        assert_eq!(refusal(&judged(&lying)), (Class::Provenance, "certificate-disagrees"), "{pointer}");
    }
}

#[test]
fn formats_that_are_not_named_do_not_count() {
    let world = Sigstore::new();
    let old = json!({
        "builder": {"id": "https://example.test/builder"}, "buildType": "https://example.test/build",
        "invocation": {"configSource": {"uri": "git+https://github.com/acme/templates@refs/tags/v1.0.0"}},
    });
    let v02 = signed(&world, &says("https://slsa.dev/provenance/v0.2", &old), &signer()).bundle();
    let v1 = signed(&world, &says(SLSA, &provenance()), &signer()).bundle();
    let text = |formats: &str| format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}[rule.formats]\n{formats}\n");
    for (formats, bundle, admitted) in [
        ("provenance = [\"slsa-v1\"]", &v1, true),
        ("provenance = [\"slsa-v1\"]", &v02, false),
        ("provenance = [\"slsa-v0.2\"]", &v1, false),
        ("provenance = [\"slsa-v0.2\"]", &v02, true),
        ("provenance = [\"slsa-v1\", \"slsa-v0.2\"]", &v02, true),
        ("bundle = [\"v0.1\"]", &v1, false),
        ("bundle = [\"v0.3\"]", &v1, true),
    ] {
        let verdict = judge(&text(formats), &world, std::slice::from_ref(bundle));
        assert_eq!(verdict.is_admitted(), admitted, "{formats}: {:?}", verdict.checks());
    }
    let default = format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}");
    assert_eq!(refusal(&judge(&default, &world, &[v02])), (Class::Predicate, "provenance-version"));
}

#[test]
fn another_predicate_type_is_required_by_its_uri() {
    let world = Sigstore::new();
    let uri = "https://example.test/review/v1";
    let text = format!("{HEAD}require = [\"{uri}\"]\n{WORKFLOW}");
    assert_admitted(&judge(&text, &world, &[signed(&world, &says(uri, &json!({})), &signer()).bundle()]));
    for near in ["https://example.test/review/v1/", "https://example.test/review/v", "http://example.test/review/v1"] {
        let bundle = signed(&world, &says(near, &json!({})), &signer()).bundle();
        assert_eq!(refusal(&judge(&text, &world, &[bundle])).0, Class::NoAttestation, "{near}");
    }
}

#[test]
fn withdrawn_digests_are_denied_in_every_mode() {
    let world = Sigstore::new();
    let bundle = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    for word in ["index", "manifest"] {
        for mode in ["enforce", "warn", "audit"] {
            let text = format!(
                "{HEAD}mode = \"{mode}\"\nrequire = [\"signature\"]\n{WORKFLOW}[[deny]]\ndigest = \"{}\"\nreason = \"CVE\"\n",
                digest(word)
            );
            let verdict = judge(&text, &world, std::slice::from_ref(&bundle));
            assert_eq!(refusal(&verdict), (Class::Rollback, "withdrawn"));
            assert!(verdict.launchable().is_none(), "{mode}");
        }
    }
    let other = format!(
        "{HEAD}require = [\"signature\"]\n{WORKFLOW}[[deny]]\ndigest = \"{}\"\nreason = \"CVE\"\n",
        digest("another")
    );
    assert_admitted(&judge(&other, &world, &[bundle]));
}

#[test]
fn what_no_rule_names_is_denied() {
    let world = Sigstore::new();
    let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}").replace("acme/templates/*", "acme/other/*");
    let bundle = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    assert_eq!(refusal(&judge(&text, &world, &[bundle])), (Class::Identity, "no-rule"));
}

#[test]
fn warn_and_audit_do_not_admit_and_do_not_enforce() {
    let world = Sigstore::new();
    for (mode, enforced) in [("enforce", true), ("warn", false), ("audit", false)] {
        let text = format!("{HEAD}mode = \"{mode}\"\nrequire = [\"signature\"]\n{WORKFLOW}");
        let verdict = judge(&text, &world, &[]);
        assert!(!verdict.is_admitted());
        assert_eq!(verdict.is_enforced(), enforced);
        let basis = verdict.launchable().map(|image| image.basis());
        assert_eq!(basis, (!enforced).then_some(Basis::NotEnforced), "{mode}");
    }
}

#[test]
fn rebuilds_are_judged_by_their_rule() {
    let world = Sigstore::new();
    let rebuilt = |published: Option<Digest>| Evidence { origin: Origin::Rebuilt { published }, ..evidence(&[]) };
    let now: Timestamp = NOW.parse().unwrap();
    let (same, other) = (Some(digest("index")), Some(digest("other")));
    for (rule, published, admitted) in [
        ("forbid", same, false),
        ("forbid", None, false),
        ("match", same, true),
        ("match", other, false),
        ("match", None, false),
        ("allow", same, true),
        ("allow", other, true),
        ("allow", None, true),
    ] {
        for mode in ["enforce", "warn"] {
            let text = format!("{HEAD}mode = \"{mode}\"\nrebuild = \"{rule}\"\n{ALL_THREE}{WORKFLOW}");
            let verdict = policy(&text, &world).evaluate(&rebuilt(published), now).unwrap();
            assert_eq!(verdict.is_admitted(), admitted, "{rule} {published:?}");
            let basis = verdict.launchable().map(|image| image.basis());
            assert_eq!(basis, admitted.then_some(Basis::Rebuilt), "{rule} {mode} {published:?}");
        }
    }
}

#[test]
fn e03_garbage_beside_the_good_one_changes_nothing() {
    let world = Sigstore::new();
    let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}");
    let good = signed(&world, &says(SIGN, &json!({})), &signer()).bundle();
    let stranger = Signer::github("evil/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0");
    let mut bundles: Vec<_> = (0..20).map(|_| signed(&world, &says(SIGN, &json!({})), &stranger).bundle()).collect();
    assert_eq!(refusal(&judge(&text, &world, &bundles)).0, Class::Identity);
    bundles.push(good);
    let verdict = judge(&text, &world, &bundles);
    assert_admitted(&verdict);
    assert_eq!(verdict.rejections().len(), 20);
}
