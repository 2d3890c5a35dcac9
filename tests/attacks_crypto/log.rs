//! G03 to G06, the logs of G12, G21 and G22.

use crate::support::sigstore::defects::log::{self, Style};
use crate::support::sigstore::defects::{self, Case};
use crate::support::sigstore::log::Kind;
use crate::{accepted, admitted, refused};

use Style::{Dsse, Intoto, Tiled, TiledDsse};

fn all(case: fn(Style) -> Case) -> [Case; 4] {
    Style::ALL.map(case)
}

refused! {
    fn g03_bundle_without_a_log_entry_is_refused, Tlog: log::no_entry();
    fn g03_entry_without_an_inclusion_proof_is_refused, Tlog: log::promise_without_proof();
    fn g03_entry_without_any_evidence_is_refused, Tlog: all(log::entry_without_evidence);
    fn g03_relabelling_as_an_older_version_is_refused, Format: [log::relabelled_as_v01(), log::relabelled_as_v02()];
    fn g03_v02_without_a_proof_is_refused_where_v02_is_taken, Tlog: log::relabelled_as_v02().legacy();

    fn g04_log_entry_of_another_artifact_is_refused, Tlog: all(log::entry_of_another_statement);
    fn g04_log_entry_of_another_signature_is_refused, Tlog: all(log::entry_of_another_signature);
    fn g04_log_entry_of_another_certificate_is_refused, Tlog: [
        log::entry_of_another_certificate(Dsse), log::entry_of_another_certificate(Tiled),
        log::entry_of_another_certificate(TiledDsse),
    ];
    fn g04_intoto_entry_of_another_certificate_is_refused, Tlog: log::entry_of_another_certificate(Intoto);
    fn g04_log_entry_of_another_signer_is_refused, Tlog: all(log::entry_of_another_signer);
    fn g04_exchanged_body_is_refused, Tlog: all(log::body_exchanged);

    fn g05_garbage_entry_beside_a_good_one_is_refused, Tlog: all(log::garbage_entry_added);
    fn g05_bare_copy_beside_a_good_entry_is_refused, Tlog: all(log::bare_copy_of_the_entry_added);
    fn g05_entry_of_an_unknown_log_beside_a_good_one_is_refused, Tlog: all(log::entry_in_an_unknown_log_added);

    fn g06_unknown_log_is_refused, Tlog: all(log::unknown_log);
    fn g06_checkpoint_with_a_bad_signature_is_refused, Tlog: all(log::checkpoint_signed_by_another_key);
    fn g06_checkpoint_with_another_key_hint_is_refused, Tlog: all(log::checkpoint_with_another_hint);
    fn g06_checkpoint_of_another_origin_is_refused, Tlog: all(log::checkpoint_of_another_origin);
    fn g06_checkpoint_under_another_name_is_refused, Tlog: all(log::checkpoint_under_another_name);
    fn g06_rekor_v2_checkpoint_under_rekor_v1s_name_is_refused, Tlog: [
        log::checkpoint_under_rekors_default_name(Tiled), log::checkpoint_under_rekors_default_name(TiledDsse),
    ];
    fn g06_checkpoint_without_origin_is_refused, Tlog: all(log::checkpoint_without_origin);
    fn g06_checkpoint_without_size_is_refused, Tlog: all(log::checkpoint_without_size);
    fn g06_checkpoint_without_root_is_refused, Tlog: all(log::checkpoint_without_root);
    fn g06_checkpoint_of_another_root_is_refused, Tlog: all(log::checkpoint_of_another_root);
    fn g06_checkpoint_of_another_size_is_refused, Tlog: all(log::checkpoint_of_another_size);
    fn g06_checkpoint_of_another_trusted_log_is_refused, Tlog: log::checkpoint_of_another_trusted_log();
    fn g06_entry_that_claims_another_log_is_refused, Tlog: [
        log::entry_claims_another_log(Tiled), log::entry_claims_another_log(TiledDsse),
    ];
    fn g06_cosignatures_alone_are_refused, Tlog: all(log::checkpoint_with_cosignatures_only);
    fn g06_proof_without_a_checkpoint_is_refused, Tlog: all(log::proof_without_checkpoint);
    fn g06_proof_that_leads_elsewhere_is_refused, Tlog: all(log::proof_with_another_hash);
    fn g06_proof_that_is_too_long_is_refused, Tlog: all(log::proof_too_long);
    fn g06_proof_of_another_index_is_refused, Tlog: all(log::proof_of_another_index);
    fn g06_promise_of_another_key_is_refused, Tlog: log::promise_of_another_key(Dsse);
    fn d07_negative_index_is_refused, Format: all(log::negative_index);

    fn g12_retired_log_is_refused, Tlog: all(log::log_retired_before);
    fn g12_log_of_the_future_is_refused, Tlog: [
        log::log_not_yet_trusted(Dsse), log::log_not_yet_trusted(Intoto),
    ];
    fn g12_rekor_v2_log_of_the_future_is_refused, Tlog: [
        log::log_not_yet_trusted(Tiled), log::log_not_yet_trusted(TiledDsse),
    ];

    fn g22_entry_relabelled_as_another_kind_is_refused, Tlog: [
        log::kind_relabelled(Dsse, Kind::Intoto002), log::kind_relabelled(Dsse, Kind::HashedRekord001),
        log::kind_relabelled(Dsse, Kind::HashedRekord002), log::kind_relabelled(Dsse, Kind::Dsse002),
        log::kind_relabelled(Intoto, Kind::Dsse001), log::kind_relabelled(Intoto, Kind::HashedRekord001),
        log::kind_relabelled(Intoto, Kind::HashedRekord002), log::kind_relabelled(Intoto, Kind::Dsse002),
        log::kind_relabelled(Tiled, Kind::Dsse001), log::kind_relabelled(Tiled, Kind::Intoto002),
        log::kind_relabelled(Tiled, Kind::HashedRekord001), log::kind_relabelled(Tiled, Kind::Dsse002),
        log::kind_relabelled(TiledDsse, Kind::Dsse001), log::kind_relabelled(TiledDsse, Kind::Intoto002),
        log::kind_relabelled(TiledDsse, Kind::HashedRekord001), log::kind_relabelled(TiledDsse, Kind::HashedRekord002),
    ];
    fn g22_body_that_names_another_kind_is_refused, Tlog: all(log::body_names_another_kind);
    fn g22_body_that_names_another_version_is_refused, Tlog: all(log::body_names_another_version);
    fn g22_entry_that_names_another_algorithm_is_refused, Tlog: log::entry_names_another_algorithm(Tiled);
    fn g22_dsse_entry_of_another_payload_is_refused, Tlog: log::dsse_entry_of_another_payload();
    fn g22_dsse_entry_that_names_another_algorithm_is_refused, Tlog: log::entry_names_another_algorithm(TiledDsse);
    fn g22_hashedrekord_over_an_envelope_in_rekor_v1_is_refused, Tlog:
        log::hashedrekord_over_an_envelope_in_rekor_v1();

    fn d09_many_copies_of_an_entry_are_refused, Limit: [
        log::entries_repeated(Dsse, 1000), log::entries_repeated(Tiled, 1000),
        log::entries_repeated(TiledDsse, 1000),
    ];
}

admitted! {
    fn g06_private_rekor_v1_without_a_name_is_believed: [
        log::checkpoint_under_rekors_default_name(Dsse), log::checkpoint_under_rekors_default_name(Intoto),
    ];
    fn g03_v01_with_a_promise_is_believed_where_v01_is_taken: log::relabelled_as_v01().legacy();
    fn g12_log_in_its_first_and_last_second_is_believed:
        [Dsse, Tiled].map(log::log_trusted_in_that_second).into_iter().flatten().collect::<Vec<_>>();
    fn g21_cosignatures_beside_the_logs_are_no_defect: all(log::checkpoint_with_cosignatures);
    fn g22_every_kind_of_entry_is_believed: all(log::good);
}

#[test]
fn g09_one_log_twice_is_one_log() {
    for style in Style::ALL {
        // Refused, or believed without being counted twice: there is nothing that counts entries.
        if let Ok(verified) = crate::judge(&log::entries_repeated(style, 2)) {
            let once = accepted(&log::good(style));
            assert_eq!(verified.times().iter().max(), once.times().iter().max());
            assert_eq!(verified.log_index(), once.log_index());
        }
    }
}

#[test]
fn log_index_is_the_one_that_the_log_signed() {
    assert_eq!(accepted(&defects::good_rekor_v1()).log_index(), Some(25_579_005));
    assert_eq!(accepted(&defects::good_rekor_v2()).log_index(), Some(5));
    assert_eq!(accepted(&defects::good_github()).log_index(), None);
    assert_eq!(accepted(&defects::good_key()).log_index(), None);
}
