//! F03, F13 and D12: who the signer is, from a certificate that may be read in two ways. Whether that signer was wanted
//! is the policy's to say.

use bulla::sigstore::{Claims, Identity, San, Signer};

use crate::support::sigstore::Sigstore;
use crate::support::sigstore::cert::{self, Extension, GITHUB_ISSUER};
use crate::support::sigstore::defects::{self, Case, certificate};
use crate::{accepted, refused};

fn identity(case: &Case) -> Identity {
    match accepted(case).signer() {
        Signer::Certificate(identity) => (**identity).clone(),
        Signer::Key { .. } => panic!("signed with a key"),
    }
}

refused! {
    fn f13_issuers_that_disagree_are_refused, Identity: certificate::issuers_that_disagree();
    fn f13_deprecated_claims_that_disagree_are_refused, Identity: certificate::repositories_that_disagree();
    fn f13_certificate_without_an_issuer_is_refused, Identity: certificate::no_issuer();

    fn d12_two_names_are_refused, Trust: [certificate::two_names(), certificate::a_dns_name_first()];
    fn d12_no_name_is_refused, Trust: [certificate::no_name(), certificate::only_a_dns_name()];
    fn d12_control_characters_in_a_name_are_refused, Trust: [
        certificate::name_with_a_nul(), certificate::name_with_a_line_break(),
    ];
    fn d12_name_extension_twice_is_refused, Trust: certificate::name_extension_twice();
    fn d12_claim_twice_is_refused, Trust: [
        certificate::claim_twice(1), certificate::claim_twice(8), certificate::claim_twice(12),
        certificate::claim_twice(15),
    ];
    fn d12_issuer_that_is_no_der_string_is_refused, Trust: [
        certificate::issuer_not_in_der(), certificate::claim_in_another_string_type(8),
        certificate::claim_with_trailing_bytes(8),
    ];
    fn d12_claim_that_is_no_der_string_is_refused, Trust: [
        certificate::claim_in_another_string_type(12), certificate::claim_with_trailing_bytes(12),
    ];
}

#[test]
fn every_claim_is_read_from_the_certificate() {
    let mut signer = defects::signer();
    signer.claims.insert(23, "production".to_owned());
    signer.claims.insert(24, "repo:acme/templates:environment:production".to_owned());
    let world = Sigstore::new();
    let identity = identity(&Case::keyless(&world, world.attest(&defects::payload(), &signer)));
    let claim = |number| signer.claims.get(&number).cloned();
    assert_eq!(identity.issuer, GITHUB_ISSUER);
    assert_eq!(identity.san, San::Uri(signer.san.text().to_owned()));
    let expected = Claims {
        build_signer_uri: claim(9),
        build_signer_digest: claim(10),
        runner_environment: claim(11),
        source_repository_uri: claim(12),
        source_repository_digest: claim(13),
        source_repository_ref: claim(14),
        source_repository_identifier: claim(15),
        source_repository_owner_uri: claim(16),
        source_repository_owner_identifier: claim(17),
        build_config_uri: claim(18),
        build_config_digest: claim(19),
        build_trigger: claim(20),
        run_invocation_uri: claim(21),
        source_repository_visibility: claim(22),
        deployment_environment: claim(23),
        token_subject: claim(24),
        github_workflow_trigger: claim(2),
        github_workflow_sha: claim(3),
        github_workflow_name: claim(4),
        github_workflow_repository: claim(5),
        github_workflow_ref: claim(6),
    };
    assert_eq!(identity.claims, expected);
}

#[test]
fn f03_kind_of_a_name_is_part_of_it() {
    let text = "https://github.com/acme/templates/.github/workflows/release.yml@refs/tags/v1.0.0";
    let world = Sigstore::new();
    let san = |san| {
        let signer = cert::Signer { issuer: "https://idp.example.test".into(), san, claims: Default::default() };
        identity(&Case::keyless(&world, world.attest(&defects::payload(), &signer))).san
    };
    assert_eq!(san(cert::San::Uri(text.into())), San::Uri(text.into()));
    assert_eq!(san(cert::San::Email(text.into())), San::Email(text.into()));
    assert_eq!(san(cert::San::Username(text.into())), San::Other(text.into()));
}

#[test]
fn f06_signer_and_source_of_a_reusable_workflow_are_told_apart() {
    let signer = cert::Signer::github_reusable(
        "acme/templates",
        "trusted/builders",
        ".github/workflows/container.yml",
        "refs/tags/v2",
        "refs/heads/main",
    );
    let world = Sigstore::new();
    let identity = identity(&Case::keyless(&world, world.attest(&defects::payload(), &signer)));
    let builder = "https://github.com/trusted/builders/.github/workflows/container.yml@refs/tags/v2";
    assert_eq!(identity.san, San::Uri(builder.into()));
    assert_eq!(identity.claims.build_signer_uri.as_deref(), Some(builder));
    assert_eq!(identity.claims.source_repository_uri.as_deref(), Some("https://github.com/acme/templates"));
    assert_eq!(identity.claims.source_repository_ref.as_deref(), Some("refs/heads/main"));
}

#[test]
fn f09_names_are_kept_to_the_letter() {
    for git_ref in ["refs/heads/refs/tags/v1", "refs/tags/v1@refs/heads/main", "refs/heads/v1"] {
        let signer = cert::Signer::github("acme/templates", ".github/workflows/release.yml", git_ref);
        let world = Sigstore::new();
        let identity = identity(&Case::keyless(&world, world.attest(&defects::payload(), &signer)));
        assert_eq!(identity.san.as_str(), signer.san.text());
        assert_eq!(identity.claims.source_repository_ref.as_deref(), Some(git_ref));
    }
}

#[test]
fn f13_old_certificates_claim_nothing_new() {
    let identity = identity(&certificate::deprecated_claims_only());
    assert_eq!(identity.issuer, GITHUB_ISSUER);
    assert_eq!(identity.claims.github_workflow_repository.as_deref(), Some("acme/templates"));
    assert_eq!(identity.claims.source_repository_uri, None);
    assert_eq!(identity.claims.runner_environment, None);
}

/// Github's issuer always says the workflow twice; where it does not, something else wrote the certificate.
#[test]
fn f13_build_signer_other_than_the_name_is_refused() {
    let case = certificate::leaf(|leaf| {
        let oid = format!("{}.9", cert::FULCIO);
        leaf.extensions.retain(|extension| extension.oid != oid);
        leaf.extensions.push(Extension::claim(9, "https://github.com/mallory/x/.github/workflows/x.yml@refs/heads/x"));
    });
    crate::assert_refused(&[bulla::class::Class::Identity], case);
}
