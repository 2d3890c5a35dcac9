//! G07 to G09, G14, G20 and D13.

use bulla::class::Class;

use crate::support::sigstore::SIGNED_AT;
use crate::support::sigstore::defects::{self, Case, time};
use crate::{accepted, admitted, judge_at, refused};

refused! {
    fn g07_integrated_time_without_a_promise_is_refused, Time: time::integrated_time_without_promise();
    fn g07_integrated_time_in_the_future_is_refused, Time: time::integrated_time_in_the_future();
    fn g07_altered_integrated_time_is_refused, Tlog: time::integrated_time_altered();
    fn g07_rekor_v2_without_a_timestamp_is_refused, Time: time::rekor_v2_without_timestamp();

    fn g08_certificate_must_hold_at_every_verified_time, Trust:
        time::second_timestamp_backdated_by_a_trusted_authority();
    fn g08_second_timestamp_by_a_stranger_is_refused, Time: time::second_timestamp_by_a_stranger();

    fn g14_timestamp_of_an_untrusted_chain_is_refused, Time: [
        time::timestamp_by_a_stranger(), time::timestamp_by_a_stranger_who_brings_certificates(),
    ];
    fn g14_embedded_leaf_that_the_root_does_not_name_is_refused, Time:
        time::timestamp_by_another_leaf_of_the_authority();
    fn g14_forged_first_certificate_in_the_bag_is_refused, Time: time::timestamp_with_a_forged_first_certificate();
    fn g14_token_signed_by_another_key_is_refused, Time: time::timestamp_signed_by_another_key();
    fn g14_authority_without_the_usage_is_refused, Time: [
        time::authority_without_time_stamping(), time::authority_for_code_signing(),
    ];
    fn g14_authority_whose_usage_is_not_critical_is_refused, Time: time::authority_usage_not_critical();
    fn g14_authority_with_a_second_usage_is_refused, Time: time::authority_with_a_second_usage();
    fn g14_imprint_of_another_signature_is_refused, Time: time::timestamp_over_another_signature();
    fn g14_sha1_imprint_is_refused, Time: time::timestamp_with_sha1_imprint();
    fn g14_timestamp_that_was_not_granted_is_refused, Time: time::timestamp_not_granted();
    fn g14_expired_authority_is_refused, Time: [time::authority_leaf_expired(), time::authority_root_expired()];
    fn g14_retired_authority_is_refused, Time: time::authority_retired_before();
    fn g14_token_that_names_another_certificate_is_refused, Time: time::timestamp_that_names_another_certificate();
    fn g14_token_that_names_another_certificate_by_another_hash_is_refused, Time:
        time::timestamp_that_names_another_certificate_by_any_hash();
    fn g14_token_of_another_content_type_is_refused, Time: time::timestamp_of_another_content_type();
    fn d13_timestamp_that_is_not_der_is_refused, Time | Format: [
        time::timestamp_in_ber(), time::timestamp_with_a_trailing_byte(), time::timestamp_empty(),
    ];
    fn d09_many_timestamps_are_refused, Limit: time::timestamps_repeated(1000);

    fn g14_github_bundle_without_a_timestamp_is_refused, Time: time::github_without_timestamp();
    fn g11_github_bundle_stamped_after_its_certificate_is_refused, Trust: time::github_stamped_late();
}

admitted! {
    fn g14_token_may_say_by_which_hash_it_names_its_certificate:
        time::timestamp_that_names_its_certificate_by_any_hash();
    fn g14_stronger_imprint_is_no_defect: time::timestamp_with_sha384_imprint();
    // RFC 3161 asks for the name; the signer is pinned by the root all the same, and other clients do not ask.
    fn g14_token_that_names_no_certificate_is_believed: time::timestamp_that_names_no_certificate();
}

#[test]
fn g14_refusal_says_which_authority_vouches_for_nothing_and_why() {
    for (case, why) in [
        (time::authority_usage_not_critical(), "is not critical"),
        (time::authority_with_a_second_usage(), "is not one for timestamps alone"),
        (defects::certificate::intermediate_that_is_no_authority(), "is not that of an authority"),
    ] {
        let words = crate::judge(&case).unwrap_err().words;
        assert!(words.contains("the trust root lists what vouches for nothing") && words.contains(why), "{words}");
    }
    // What a bundle itself lacks is not the root's fault.
    let case = Case { bundle: defects::log::no_entry().bundle, ..time::authority_usage_not_critical() };
    assert!(!crate::judge(&case).unwrap_err().words.contains("trust root lists"));
}

#[test]
fn g07_time_that_nobody_signed_is_no_time() {
    for case in [time::integrated_time_without_promise_beside_a_timestamp(), time::integrated_time_in_rekor_v2()] {
        assert_eq!(accepted(&case).times(), [SIGNED_AT.parse().unwrap()]);
    }
}

#[test]
fn g09_one_authority_twice_is_one_authority() {
    // Refused, or believed without being counted twice: there is nothing that counts timestamps.
    if let Ok(verified) = crate::judge(&time::timestamps_repeated(2)) {
        assert!(verified.times().iter().all(|time| time.to_string() == SIGNED_AT));
    }
}

#[test]
fn g20_signed_time_counts_and_the_clock_only_limits_it() {
    for case in [defects::good_rekor_v1(), defects::good_rekor_v2(), defects::good_github()] {
        for now in ["2025-06-01T12:00:00Z", "2025-06-01T11:55:00Z", "2100-01-01T00:00:00Z"] {
            judge_at(&case, now).unwrap();
        }
        for now in ["1970-01-01T00:00:00Z", "2025-06-01T11:54:59Z"] {
            assert_eq!(judge_at(&case, now).unwrap_err().class, Class::Time);
        }
    }
}
