//! G10, G11, G13, G15, G16 and G19.

use crate::support::sigstore::defects::certificate;
use crate::{admitted, refused};

refused! {
    fn g10_chain_brought_by_the_bundle_is_refused, Trust: certificate::issued_by_a_stranger_who_brings_a_chain();
    fn g10_certificate_issued_with_a_signers_certificate_is_refused, Trust: certificate::issued_by_a_leaf();

    fn g11_leaf_that_had_expired_is_refused, Trust: certificate::leaf_expired();
    fn g11_leaf_that_was_not_valid_yet_is_refused, Trust: certificate::leaf_not_yet_valid();
    fn g11_intermediate_outside_its_years_is_refused, Trust: [
        certificate::intermediate_expired(), certificate::intermediate_not_yet_valid(),
    ];
    fn g11_root_that_had_expired_is_refused, Trust: certificate::root_expired();
    fn g11_authority_outside_its_window_is_refused, Trust: [
        certificate::authority_retired_before(), certificate::authority_not_yet_trusted(),
    ];
    fn g11_authority_of_the_same_name_is_refused, Trust: certificate::issued_by_a_stranger();
    fn g11_listed_intermediate_that_cannot_issue_is_refused, Trust: [
        certificate::intermediate_that_is_no_authority(), certificate::intermediate_that_says_it_is_no_authority(),
        certificate::intermediate_key_that_may_not_certify(), certificate::intermediate_for_time_stamping(),
        certificate::intermediate_of_another_root(), certificate::root_of_no_length(),
    ];

    fn g13_no_sct_is_refused, Trust: certificate::no_sct();
    fn g13_sct_of_an_unknown_log_is_refused, Trust: certificate::sct_of_an_unknown_log();
    fn g13_sct_of_another_certificate_is_refused, Trust: certificate::sct_of_another_certificate();
    fn g13_sct_for_another_issuer_is_refused, Trust: certificate::sct_with_another_issuer();
    fn g13_more_than_one_sct_is_refused, Trust: [
        certificate::sct_twice(), certificate::sct_of_an_unknown_log_before_the_good_one(),
    ];
    fn g13_sct_of_a_retired_log_is_refused, Trust: certificate::ct_log_retired_before();

    fn g15_leaf_without_code_signing_is_refused, Trust: [
        certificate::leaf_without_usage(), certificate::leaf_for_time_stamping(), certificate::leaf_for_any_usage(),
    ];
    fn g15_leaf_whose_key_may_not_sign_is_refused, Trust: [
        certificate::leaf_key_that_may_not_sign(), certificate::leaf_without_key_usage(),
    ];
    fn g15_leaf_whose_key_may_certify_is_refused, Trust: certificate::leaf_key_that_may_certify();
    fn g15_leaf_that_is_an_authority_is_refused, Trust: certificate::leaf_that_is_an_authority();
    fn g15_sha1_is_refused, Trust: certificate::leaf_signed_with_sha1();
    fn g15_root_in_the_bundles_chain_is_refused, Trust: certificate::chain_with_the_root();
    fn d11_chain_in_v03_is_refused, Format: certificate::chain_in_v03();
    fn d11_empty_chain_is_refused, Format: certificate::chain_empty();
    fn d12_unknown_critical_extension_is_refused, Trust: certificate::critical_unknown_extension();

    fn g16_root_without_a_start_is_refused, Trust: certificate::root_without_a_start();
    fn g16_root_with_an_empty_chain_is_refused, Trust: certificate::root_with_an_empty_chain();
    fn g16_root_with_a_log_twice_is_refused, Trust: certificate::root_with_a_log_twice();

    fn g19_bundle_without_a_log_is_refused_by_an_instance_that_has_one, Tlog:
        certificate::timestamps_only_for_an_instance_with_logs();
    fn g19_bundle_with_a_log_is_refused_by_an_instance_without, Tlog:
        certificate::logged_for_an_instance_without_logs();
}

admitted! {
    fn g11_intermediate_without_authorities_below_it_may_say_so: certificate::intermediate_of_no_length();
    fn g11_leaf_in_its_last_second_is_believed: certificate::leaf_in_its_last_second();
    fn g15_second_usage_is_no_defect: certificate::leaf_with_a_second_usage();
    fn g15_leaf_that_says_it_is_no_authority_is_no_defect: certificate::leaf_that_is_no_authority();
    fn g15_chain_of_the_leaf_alone_is_no_defect: certificate::chain_of_the_leaf();
}

/// Everything in it is another's: whichever part is looked at first refuses it.
#[test]
fn g19_bundle_of_another_instance_is_refused() {
    use bulla::class::Class;
    for case in [certificate::bundle_of_another_instance(), certificate::root_of_nothing()] {
        let refusal = crate::judge(&case).unwrap_err();
        assert!([Class::Trust, Class::Tlog, Class::Time].contains(&refusal.class), "{refusal:?}");
    }
}

/// The embedded roots are never tried where another was meant, and believe nothing that is not theirs.
#[test]
fn g19_embedded_roots_believe_no_private_instance() {
    use bulla::attestation::bundle::Bundle;
    use bulla::sigstore::{Formats, Trust, TrustRoot, verify_bundle};

    use crate::support::sigstore::defects::{SUBJECT, good_github, good_rekor_v1, good_rekor_v2};

    let subject = format!("sha256:{SUBJECT}").parse().unwrap();
    for root in [TrustRoot::public_good().unwrap(), TrustRoot::github().unwrap()] {
        for case in [good_rekor_v1(), good_rekor_v2(), good_github()] {
            let bundle = Bundle::parse(&case.bundle).unwrap();
            let now = crate::NOW.parse().unwrap();
            verify_bundle(&bundle, &subject, &Trust::Keyless { root: &root }, Formats::BUNDLES, now).unwrap_err();
        }
    }
}
