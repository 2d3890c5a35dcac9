//! Fields of a workflow signer beyond the ref: each with a certificate that passes and another, valid one that does
//! not.

use bulla::class::Class;
use serde_json::json;

use crate::support::sigstore::Sigstore;
use crate::support::sigstore::cert::{COMMIT, Signer};
use crate::{HEAD, SIGN, WORKFLOW, judge, refusal, says, signed, signer};

/// Built from this ref, all else equal.
fn at(git_ref: &str) -> Signer {
    Signer::github("acme/templates", ".github/workflows/release.yml", git_ref)
}

/// With another claim. The older one that says the same would contradict it before any policy looks.
fn claims(number: u8, value: &str) -> Signer {
    let mut signer = signer();
    signer.claims.insert(number, value.to_owned());
    if number == 13 {
        signer.claims.remove(&3);
    }
    signer
}

#[test]
fn f09_branches_tags_and_versions_are_what_they_say() {
    let world = Sigstore::new();
    let statement = says(SIGN, &json!({}));
    for (field, good, bad) in [
        ("branch = \"main\"", at("refs/heads/main"), at("refs/heads/main2")),
        ("branch = \"main\"", at("refs/heads/main"), at("refs/tags/main")),
        ("branch = \"release/*\"", at("refs/heads/release/1"), at("refs/heads/release/1/x")),
        ("branch = \"v1.0.0\"", at("refs/heads/v1.0.0"), signer()),
        ("tag = \"v1.*\"", signer(), at("refs/tags/v2.0.0")),
        ("tag = \"v1.*\"", signer(), at("refs/heads/v1.0.0")),
        ("tag = \"v1.*\"", signer(), at("refs/heads/refs/tags/v1.0.0")),
        ("tag = \"v1.*\"", signer(), at("refs/pull/1/merge")),
        ("version = \">=1.0, <2\"", signer(), at("refs/tags/v2.0.0")),
        ("version = \">=1.0, <2\"", at("refs/tags/1.9.9"), at("refs/tags/v0.9.9")),
        ("version = \">=1.0, <2\"", at("refs/tags/v1.10.0"), at("refs/heads/v1.10.0")),
        ("version = \">=1.0, <2\"", signer(), at("refs/tags/v1.5.0-rc.1")),
        ("version = \">=1.0, <2\"", signer(), at("refs/tags/v1.5")),
        ("version = \">=1.0, <2\"", signer(), at("refs/tags/vv1.5.0")),
        ("version = \">=1.0, <2\"", signer(), at("refs/tags/latest")),
        ("version = \"^1.5.0-rc.1\"", at("refs/tags/v1.5.0-rc.2"), at("refs/tags/v1.5.0-alpha")),
    ] {
        let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}{field}\n");
        let verdict = judge(&text, &world, &[signed(&world, &statement, &good).bundle()]);
        assert!(verdict.is_admitted(), "{field} {good:?}\n{:?}", verdict.checks());
        let verdict = judge(&text, &world, &[signed(&world, &statement, &bad).bundle()]);
        let code = field.split(' ').next().unwrap();
        assert_eq!(refusal(&verdict), (Class::Identity, code), "{field} {bad:?}");
    }
}

#[test]
fn f15_commit_visibility_environment_and_token_subject_are_enforced() {
    let world = Sigstore::new();
    let statement = says(SIGN, &json!({}));
    let other_commit = COMMIT.replace('6', "7");
    let subject = "repo:acme/templates:environment:production";
    for (number, field, value, other) in [
        (13, "commit", COMMIT, other_commit.as_str()),
        (22, "visibility", "public", "private"),
        (23, "environment", "production", "productions"),
        (24, "token-subject", subject, "repo:acme/templates:environment:staging"),
    ] {
        let text = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}{field} = \"{value}\"\n");
        let refused = |signer: &Signer| {
            let verdict = judge(&text, &world, &[signed(&world, &statement, signer).bundle()]);
            refusal(&verdict)
        };
        let good = signed(&world, &statement, &claims(number, value)).bundle();
        assert!(judge(&text, &world, &[good]).is_admitted(), "{field}");
        assert_eq!(refused(&claims(number, other)), (Class::Identity, field));
        assert_eq!(refused(&claims(number, "")).0, Class::Identity, "{field}");
        // What is not stated is not what is asked for, though an older claim says it.
        let mut silent = signer();
        silent.claims.remove(&number);
        assert_eq!(refused(&silent), (Class::Identity, "claim-missing"), "{field}");
    }
}

#[test]
fn an_owner_stands_for_all_of_its_repositories_and_no_others() {
    let world = Sigstore::new();
    let statement = says(SIGN, &json!({}));
    let owner = WORKFLOW.replace("repository = \"acme/templates\"", "owner = \"Acme\"");
    let text = format!("{HEAD}require = [\"signature\"]\n{owner}");
    let of = |repository: &str| Signer::github(repository, ".github/workflows/release.yml", "refs/tags/v1.0.0");
    for repository in ["acme/templates", "acme/other", "ACME/x"] {
        let verdict = judge(&text, &world, &[signed(&world, &statement, &of(repository)).bundle()]);
        assert!(verdict.is_admitted(), "{repository}: {:?}", verdict.checks());
    }
    for (other, code) in [
        (of("evil/templates"), "owner"),
        (of("acmes/templates"), "owner"),
        (of("evil/acme"), "owner"),
        (claims(16, "https://github.com/evil"), "owner"),
        (claims(16, "https://github.com.evil/acme"), "owner"),
        (Signer::github("acme/templates", ".github/workflows/other.yml", "refs/tags/v1.0.0"), "signer-workflow"),
        (
            Signer::github_reusable(
                "acme/x",
                "evil/x",
                ".github/workflows/release.yml",
                "refs/tags/v1",
                "refs/tags/v1",
            ),
            "signer-workflow",
        ),
        (claims(12, "https://example.test/acme/templates"), "signer-workflow"),
    ] {
        let mut other = other;
        if other.claims[&12].starts_with("https://example.test") {
            other.claims.remove(&5);
        }
        let verdict = judge(&text, &world, &[signed(&world, &statement, &other).bundle()]);
        assert_eq!(refusal(&verdict), (Class::Identity, code), "{other:?}");
    }
    let mut silent = signer();
    silent.claims.remove(&16);
    let verdict = judge(&text, &world, &[signed(&world, &statement, &silent).bundle()]);
    assert_eq!(refusal(&verdict), (Class::Identity, "claim-missing"));
}
