//! The in-process Sigstore against the library that other programs verify with, which is the oracle here: what is made
//! truthfully verifies, and what has one defect is refused by the step that the defect is about.
//!
//! What the library takes and our judge must not stands in `library_gaps_*`: should a new version close one, the test
//! says so.

#![expect(clippy::unwrap_used, reason = "a case that cannot be read is a failed test")]

mod support;

use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier};
use support::sigstore::cert::{GITHUB_ISSUER, San};
use support::sigstore::defects::{self, Case, SUBJECT, Trust, certificate, envelope, log, time};
use support::sigstore::key::Algorithm;
use support::sigstore::log::Kind;
use support::sigstore::{Sigstore, Version};

use log::Style::{self, Dsse, Intoto, Tiled};

/// The library's verdict; an error is its words.
fn judge(case: &Case) -> Result<VerificationResult, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let root = TrustedRoot::from_json(&case.root.to_string()).map_err(|error| words(&error))?;
    let text = std::str::from_utf8(&case.bundle).unwrap();
    let bundle = Bundle::from_json(text).map_err(|error| words(&error))?;
    let verifier = Verifier::new(&root).map_err(|error| words(&error))?;
    let subject = Sha256Hash::from_hex(SUBJECT).unwrap();
    let by_key = |pem: &str| PublicKeyVerificationPolicy::new(DerPublicKey::from_pem(pem).unwrap());
    let any = VerificationPolicy::any_identity();
    match &case.trust {
        Trust::Keyless => verifier.verify(subject, &bundle, &any),
        Trust::GitHub => verifier.verify(subject, &bundle, &any.skip_sct().skip_tlog_unsafe()),
        Trust::Key(pem) => verifier.verify(subject, &bundle, &by_key(pem).skip_tlog_unsafe()),
        Trust::LoggedKey(pem) => verifier.verify(subject, &bundle, &by_key(pem)),
    }
    .map_err(|error| words(&error))
}

/// Each case is refused in words that have these in them.
macro_rules! refused {
    ($($case:expr => $words:literal,)*) => { $(
        match judge(&$case) {
            Ok(_) => panic!("{} was accepted", stringify!($case)),
            Err(error) => assert!(error.contains($words), "{}: {error}", stringify!($case)),
        }
    )* };
}

/// Each case is accepted.
macro_rules! accepted {
    ($($case:expr,)*) => { $(
        if let Err(error) = judge(&$case) {
            panic!("{}: {error}", stringify!($case));
        }
    )* };
}

#[test]
fn truthful_bundles_verify() {
    accepted![
        defects::good_rekor_v1(),
        defects::good_rekor_v2(),
        defects::good_github(),
        defects::good_logged_key(),
        log::good(Intoto),
        log::checkpoint_with_cosignatures(Dsse),
        log::checkpoint_with_cosignatures(Tiled),
        log::log_trusted_in_that_second(Dsse)[0].clone(),
        log::log_trusted_in_that_second(Dsse)[1].clone(),
        envelope::signature_with_high_s(),
        envelope::signed_with(Algorithm::P384),
        envelope::signed_with(Algorithm::Ed25519),
        envelope::signed_with(Algorithm::Rsa2048),
        certificate::leaf_in_its_last_second(),
        certificate::leaf_with_a_second_usage(),
        certificate::leaf_that_is_no_authority(),
        certificate::chain_of_the_leaf(),
        time::timestamp_with_sha384_imprint(),
        defects::keyless(|bundle| bundle.stamped()),
        defects::keyless(|bundle| bundle.version(Version::V01)),
        defects::keyless(|bundle| bundle.entry(|entry| entry.proof().leaves = 1)),
        defects::keyless(|bundle| bundle.rekor_v2().entry(|entry| entry.proof().leaves = 1000)),
        defects::keyless(|bundle| bundle.at("2024-02-29T23:59:59Z")),
        defects::in_world(|world| world.rekor_v2.key = support::sigstore::key::Key::p256(), |bundle| bundle.rekor_v2(),),
    ];
}

#[test]
fn the_certificate_says_who_the_signer_is() {
    let world = Sigstore::new();
    let signer = defects::signer();
    let case = Case::keyless(&world, world.attest(&defects::payload(), &signer));
    let verified = judge(&case).unwrap();
    let certificate = verified.certificate().unwrap();
    let San::Uri(uri) = &signer.san else { panic!("a workflow is a URI") };
    assert_eq!(verified.identity().unwrap().as_str(), uri);
    assert_eq!(verified.issuer(), Some(GITHUB_ISSUER));
    let claims = &certificate.ci_claims;
    let read = [
        (9, &claims.build_signer_uri),
        (10, &claims.build_signer_digest),
        (11, &claims.runner_environment),
        (12, &claims.source_repository_uri),
        (13, &claims.source_repository_digest),
        (14, &claims.source_repository_ref),
        (15, &claims.source_repository_identifier),
        (16, &claims.source_repository_owner_uri),
        (17, &claims.source_repository_owner_identifier),
        (18, &claims.build_config_uri),
        (19, &claims.build_config_digest),
        (20, &claims.build_trigger),
        (21, &claims.run_invocation_uri),
        (22, &claims.source_repository_visibility_at_signing),
    ];
    for (number, value) in read {
        assert_eq!(value.as_ref(), signer.claims.get(&number), ".{number}");
    }
}

#[test]
fn defects_of_the_signature_are_refused_as_such() {
    refused![
        envelope::signature_with_a_flipped_bit() => "invalid signature",
        envelope::signature_by_another_key() => "invalid signature",
        envelope::certificate_of_another_key() => "invalid signature",
        envelope::payload_exchanged() => "invalid signature",
        envelope::payload_with_other_whitespace() => "invalid signature",
        envelope::signature_empty() => "invalid signature",
        envelope::signature_with_zero_r() => "invalid signature",
        envelope::signature_with_zero_s() => "invalid signature",
        envelope::signature_not_in_der() => "invalid signature",
        envelope::signature_in_padded_der() => "invalid signature",
        envelope::signature_with_a_trailing_byte() => "invalid signature",
        envelope::signed_as_another_payload_type() => "invalid signature",
        envelope::payload_type("text/plain") => "unsupported DSSE payload type",
        envelope::statement_about_another_image() => "artifact mismatch",
        envelope::signatures(0) => "exactly one signature",
        envelope::signatures(2) => "exactly one signature",
        envelope::signed_with(Algorithm::P521) => "unsupported or invalid EC curve",
        envelope::signed_with(Algorithm::Rsa1024) => "invalid signature",
        envelope::key_for_a_keyless_policy() => "no signing certificate",
        envelope::certificate_for_a_key_policy() => "contains a certificate",
        envelope::key_without_a_log_entry() => "must have an inclusion proof",
        envelope::key_with_an_entry_of_another_key() => "does not match the bundle",
    ];
}

#[test]
fn defects_of_the_log_entry_are_refused_as_such() {
    refused![
        log::no_entry() => "must have an inclusion proof",
        log::promise_without_proof() => "must have an inclusion proof",
        log::relabelled_as_v02() => "must have an inclusion proof",
        log::promise_of_another_key(Dsse) => "SET verification failed",
        log::hashedrekord_over_an_envelope_in_rekor_v1() => "incompatible with a DSSE envelope",
        log::entry_names_another_algorithm(Tiled) => "malformed log entry",
        log::entry_of_another_statement(Dsse) => "payload hash mismatch",
        log::entry_of_another_statement(Intoto) => "payload hash does not match",
        log::entry_of_another_statement(Tiled) => "artifact hash mismatch for hashedrekord",
        log::entry_of_another_certificate(Dsse) => "does not match the bundle",
        log::entry_of_another_certificate(Tiled) => "does not match the bundle",
        log::kind_relabelled(Dsse, Kind::Intoto002) => "malformed log entry",
        log::kind_relabelled(Intoto, Kind::Dsse001) => "malformed log entry",
        log::kind_relabelled(Tiled, Kind::Dsse001) => "malformed log entry",
        log::kind_relabelled(Dsse, Kind::HashedRekord002) => "out of range",
        log::body_exchanged(Dsse) => "SET verification failed",
        log::body_exchanged(Tiled) => "inclusion proof",
        log::checkpoint_of_another_root(Dsse) => "does not match checkpoint root hash",
        log::checkpoint_of_another_root(Tiled) => "root hash mismatch",
        log::checkpoint_of_another_size(Tiled) => "proof hashes",
        log::log_retired_before(Dsse) => "No log key valid at integrated time",
        log::log_not_yet_trusted(Dsse) => "No log key valid at integrated time",
    ];
    for style in Style::READ {
        refused![
            log::entry_without_evidence(style) => "must have an inclusion proof",
            log::entry_of_another_signature(style) => "does not match the bundle",
            log::entry_of_another_signer(style) => "does not match the bundle",
            log::garbage_entry_added(style) => "inclusion",
            log::entry_in_an_unknown_log_added(style) => "key",
            log::unknown_log(style) => "key",
            log::checkpoint_signed_by_another_key(style) => "No valid Rekor signature",
            log::checkpoint_with_another_hint(style) => "No matching Rekor key",
            log::checkpoint_with_cosignatures_only(style) => "No matching Rekor key",
            log::checkpoint_without_origin(style) => "Invalid checkpoint format",
            log::checkpoint_without_size(style) => "Invalid checkpoint format",
            log::checkpoint_without_root(style) => "Invalid checkpoint format",
            log::proof_without_checkpoint(style) => "no checkpoint",
            log::proof_with_another_hash(style) => "root hash mismatch",
            log::proof_too_long(style) => "expected 3 proof hashes",
            log::proof_of_another_index(style) => "inclusion",
            log::negative_index(style) => "negative log index",
        ];
    }
}

#[test]
fn defects_of_the_time_are_refused_as_such() {
    refused![
        time::integrated_time_without_promise() => "no verified timestamp",
        time::rekor_v2_without_timestamp() => "no verified timestamp",
        time::integrated_time_altered() => "SET verification failed",
        time::integrated_time_in_the_future() => "is in the future",
        time::second_timestamp_backdated_by_a_trusted_authority() => "CertNotValidYet",
        time::second_timestamp_by_a_stranger() => "does not match any trusted TSA",
        time::timestamp_by_a_stranger() => "does not match any trusted TSA",
        time::timestamp_by_a_stranger_who_brings_certificates() => "does not match any trusted TSA",
        time::timestamp_by_another_leaf_of_the_authority() => "does not match any trusted TSA",
        time::timestamp_with_a_forged_first_certificate() => "verify timestamp signature",
        time::timestamp_signed_by_another_key() => "verify timestamp signature",
        time::authority_without_time_stamping() => "RequiredEku",
        time::authority_for_code_signing() => "RequiredEku",
        time::authority_leaf_expired() => "CertExpired",
        time::authority_retired_before() => "outside the validity period of the authority",
        time::timestamp_over_another_signature() => "message hash mismatch",
        time::timestamp_not_granted() => "not granted",
        time::timestamp_with_sha1_imprint() => "unsupported hash algorithm",
        time::timestamp_in_ber() => "indefinite length",
        time::timestamp_with_a_trailing_byte() => "failed to decode",
        time::timestamp_empty() => "failed to decode",
        time::github_without_timestamp() => "at least one tlog entry or timestamp",
        time::github_stamped_late() => "CertExpired",
    ];
}

#[test]
fn defects_of_the_certificate_are_refused_as_such() {
    refused![
        certificate::leaf_expired() => "CertExpired",
        certificate::leaf_not_yet_valid() => "CertNotValidYet",
        certificate::authority_retired_before() => "no trusted certificate authority is valid",
        certificate::authority_not_yet_trusted() => "no trusted certificate authority is valid",
        certificate::issued_by_a_stranger() => "InvalidSignatureForPublicKey",
        certificate::issued_by_a_stranger_who_brings_a_chain() => "InvalidSignatureForPublicKey",
        certificate::issued_by_a_leaf() => "EndEntityUsedAsCa",
        certificate::chain_empty() => "no signing certificate",
        certificate::chain_in_v03() => "must use a single certificate",
        certificate::leaf_without_usage() => "RequiredEku",
        certificate::leaf_for_time_stamping() => "RequiredEku",
        certificate::leaf_for_any_usage() => "RequiredEku",
        certificate::leaf_that_is_an_authority() => "CaUsedAsEndEntity",
        certificate::leaf_signed_with_sha1() => "UnsupportedSignatureAlgorithm",
        certificate::no_sct() => "missing SCT",
        certificate::sct_of_an_unknown_log() => "key not found",
        certificate::sct_of_another_certificate() => "SCT signature verification failed",
        certificate::sct_with_another_issuer() => "SCT signature verification failed",
        certificate::sct_twice() => "multiple SCTs",
        certificate::sct_of_an_unknown_log_before_the_good_one() => "multiple SCTs",
        certificate::ct_log_retired_before() => "key not found or not valid",
        certificate::name_extension_twice() => "failed to get SAN extension",
        certificate::critical_unknown_extension() => "UnsupportedCriticalExtension",
        certificate::issuer_not_in_der() => "malformed Fulcio issuer",
        certificate::bundle_of_another_instance() => "No log key valid",
        certificate::timestamps_only_for_an_instance_with_logs() => "must have an inclusion proof",
        certificate::logged_for_an_instance_without_logs() => "No log key valid",
        certificate::root_without_a_start() => "missing field `start`",
        certificate::root_with_an_empty_chain() => "empty certificate chain",
        certificate::root_with_a_log_twice() => "duplicate trusted log ID",
        certificate::root_of_nothing() => "No log key valid",
    ];
}

#[test]
fn library_gaps_in_logs() {
    accepted![
        log::relabelled_as_v01(),
        log::entry_of_another_certificate(Intoto),
        log::entry_claims_another_log(Tiled),
        log::checkpoint_of_another_trusted_log(),
        log::checkpoint_of_another_size(Dsse),
        log::log_retired_before(Tiled),
        log::log_not_yet_trusted(Tiled),
    ];
    for style in Style::READ {
        accepted![
            log::bare_copy_of_the_entry_added(style),
            log::entries_repeated(style, 2),
            log::body_names_another_kind(style),
            log::body_names_another_version(style),
            log::checkpoint_of_another_origin(style),
        ];
    }
}

#[test]
fn library_gaps_in_times() {
    accepted![
        time::authority_usage_not_critical(),
        time::authority_with_a_second_usage(),
        time::authority_root_expired(),
        time::timestamp_that_names_no_certificate(),
        time::timestamp_that_names_another_certificate(),
        time::timestamp_of_another_content_type(),
        time::timestamps_repeated(2),
    ];
}

#[test]
fn library_gaps_in_certificates() {
    accepted![
        certificate::intermediate_expired(),
        certificate::intermediate_not_yet_valid(),
        certificate::intermediate_that_is_no_authority(),
        certificate::intermediate_for_time_stamping(),
        certificate::intermediate_of_another_root(),
        certificate::root_expired(),
        certificate::chain_with_the_root(),
        certificate::leaf_key_that_may_not_sign(),
        certificate::leaf_key_that_may_certify()[0].clone(),
        certificate::leaf_without_key_usage(),
        certificate::two_names(),
        certificate::a_dns_name_first(),
        certificate::no_name(),
        certificate::only_a_dns_name(),
        certificate::name_with_a_nul(),
        certificate::name_with_a_line_break(),
        certificate::issuers_that_disagree(),
        certificate::repositories_that_disagree(),
        certificate::claim_twice(8),
        certificate::claim_twice(12),
        certificate::claim_in_another_string_type(12),
        certificate::claim_with_trailing_bytes(12),
        certificate::no_issuer(),
    ];
}

/// Valid bundles that the library cannot read: other programs write them.
#[test]
fn library_gaps_that_refuse_the_valid() {
    refused![
        log::good(Style::TiledDsse) => "unsupported Rekor entry format",
        envelope::signed_with_in_rekor_v2(Algorithm::P384) => "malformed log entry",
        defects::good_key() => "at least one tlog entry or timestamp",
    ];
}
