//! C14, E08 and G03 to G13 in cosign's legacy format, where a promise is all there is: the layers are judged as bundles
//! are, and entries of kind intoto 0.0.1, which the library does not read, by the judge itself.

use serde_json::json;

use crate::support::sigstore::Sigstore;
use crate::support::sigstore::cert::Extension;
use crate::support::sigstore::defects::log::{self, Style};
use crate::support::sigstore::defects::{Case, OTHER_SUBJECT, SUBJECT, envelope, in_world, keyless, signer};
use crate::support::sigstore::key::{Algorithm, Key};
use crate::support::sigstore::layer::{BUNDLE, CERTIFICATE, Layer, SIGNATURE, simple_signing};
use crate::support::sigstore::log::{Kind, Log};
use crate::support::sigstore::{Attest, Window, time};
use crate::{accepted, admitted, refused};

use Style::{Dsse, Intoto, OldIntoto};

/// The three kinds of entries that attestations have in Rekor v1.
fn all(case: fn(Style) -> Case) -> [Case; 3] {
    [OldIntoto, Intoto, Dsse].map(|style| case(style).into_attestation())
}

/// An attestation with an intoto 0.0.1 entry, edited.
fn old(edit: impl FnOnce(Attest) -> Attest) -> Case {
    keyless(|bundle| edit(OldIntoto.log(bundle))).into_attestation()
}

/// The same in a world that was edited.
fn old_in(change: impl FnOnce(&mut Sigstore)) -> Case {
    in_world(change, |bundle| OldIntoto.log(bundle)).into_attestation()
}

/// A signature over a payload, as it is.
fn simple(payload: Vec<u8>, edit: impl FnOnce(Attest) -> Attest) -> Case {
    let world = Sigstore::new();
    let bundle = world.attest(&payload, &signer()).kind(Kind::HashedRekord001).with(|bundle| bundle.simple = true);
    Case::keyless(&world, edit(bundle)).into_signature()
}

fn image_signature() -> Case {
    simple(simple_signing(&format!("sha256:{SUBJECT}")), |bundle| bundle)
}

/// The layer edited, after everything was signed.
fn relayered(case: Case, edit: impl FnOnce(&mut Layer)) -> Case {
    let mut layer = case.layer.clone().unwrap();
    edit(&mut layer);
    Case { layer: Some(layer), ..case }
}

fn annotated(case: Case, name: &str, text: impl Into<String>) -> Case {
    relayered(case, |layer| drop(layer.annotations.insert(name.to_owned(), text.into())))
}

/// An annotation of one layer on another.
fn transplanted(case: Case, name: &str, donor: Case) -> Case {
    annotated(case, name, donor.layer.unwrap().annotations[name].clone())
}

fn other_attestation(style: Style) -> Case {
    keyless(|bundle| style.log(bundle)).into_attestation()
}

admitted! {
    fn e08_legacy_layers_are_believed_where_a_policy_names_them: [
        log::good(OldIntoto).into_attestation(), log::good(Intoto).into_attestation(), log::good(Dsse).into_attestation(),
        image_signature(),
    ];
    fn g12_keys_layers_are_believed_where_the_policy_names_the_key: [
        crate::defects::good_key().into_attestation(), crate::defects::good_logged_key().into_attestation(),
    ];
}

admitted! {
    fn g13_sct_of_a_ct_log_on_the_larger_curve_is_believed: old_in(|world| {
        world.ct = Log::ct(Key::generate(Algorithm::P384), world.ct.window);
    });
}

#[test]
fn e08_what_a_layer_promises_is_in_its_type_or_its_annotation() {
    use bulla::attestation::bundle::{is_legacy_layer, legacy_predicate_type};
    use bulla::oci::Descriptor;

    let layer = |media_type: &str, annotation: Option<&str>| {
        let mut layer = Descriptor::of(media_type, b"x");
        layer.annotations = annotation.map(|kind| ("predicateType".to_owned(), kind.to_owned())).into_iter().collect();
        layer
    };
    let (envelope, signature) =
        ("application/vnd.dsse.envelope.v1+json", crate::support::sigstore::layer::SIMPLE_SIGNING);
    let sign = "https://sigstore.dev/cosign/sign/v1";
    assert!(is_legacy_layer(envelope) && is_legacy_layer(signature) && !is_legacy_layer("application/json"));
    assert_eq!(legacy_predicate_type(&layer(signature, None)), Some(sign));
    assert_eq!(legacy_predicate_type(&layer(signature, Some("x"))), Some(sign));
    assert_eq!(legacy_predicate_type(&layer(envelope, Some("x"))), Some("x"));
    assert_eq!(legacy_predicate_type(&layer(envelope, None)), None);
}

refused! {
    fn e08_legacy_layers_are_refused_by_default, Format: [
        Case { legacy: false, ..log::good(OldIntoto).into_attestation() },
        Case { legacy: false, ..log::good(Dsse).into_attestation() }, Case { legacy: false, ..image_signature() },
    ];

    fn c14_signature_of_another_image_is_refused, Subject:
        simple(simple_signing(&format!("sha256:{OTHER_SUBJECT}")), |bundle| bundle);
    fn c14_payload_exchanged_for_another_is_refused, Signature | Tlog: relayered(image_signature(), |layer| {
        layer.bytes = simple_signing(&format!("sha256:{SUBJECT}")).into_iter().chain(*b" ").collect();
    });
    fn c14_payload_of_another_type_is_refused, Format: [
        simple(json!({ "critical": { "identity": { "docker-reference": "x" }, "type": "atomic container signature",
            "image": { "docker-manifest-digest": format!("sha256:{SUBJECT}") } } }).to_string().into(), |bundle| bundle),
        simple(b"{}".to_vec(), |bundle| bundle), simple(b"".to_vec(), |bundle| bundle),
    ];
    fn c14_attestation_offered_as_a_signature_is_refused, Format | Signature | Tlog: relayered(
        log::good(Dsse).into_attestation(),
        |layer| layer.media_type = crate::support::sigstore::layer::SIMPLE_SIGNING,
    );
    fn c14_signature_by_another_key_is_refused, Signature | Tlog:
        transplanted(image_signature(), SIGNATURE, image_signature());
    fn c14_certificate_of_another_signature_is_refused, Signature | Trust | Tlog:
        transplanted(image_signature(), CERTIFICATE, image_signature());
    fn g04_promise_of_another_signature_is_refused, Tlog: transplanted(image_signature(), BUNDLE, image_signature());

    fn g03_attestation_without_a_promise_is_refused, Tlog: [OldIntoto, Intoto, Dsse].map(|style| {
        relayered(log::good(style).into_attestation(), |layer| drop(layer.annotations.remove(BUNDLE)))
    });
    fn g04_promise_of_another_attestation_is_refused, Tlog | Trust: [OldIntoto, Intoto, Dsse].map(|style| {
        transplanted(log::good(style).into_attestation(), BUNDLE, other_attestation(style))
    });
    fn g04_entry_of_another_statement_is_refused, Tlog: all(log::entry_of_another_statement);
    fn g04_entry_of_another_signature_is_refused, Tlog: all(log::entry_of_another_signature);
    fn g04_entry_of_another_certificate_is_refused, Tlog: all(log::entry_of_another_certificate);
    fn g22_body_that_names_another_kind_is_refused, Format: all(log::body_names_another_kind);
    fn g22_body_that_names_another_version_is_refused, Format: all(log::body_names_another_version);
    fn g04_entry_of_another_signer_is_refused, Tlog: all(log::entry_of_another_signer);
    fn g04_exchanged_body_is_refused, Tlog: all(log::body_exchanged);
    fn g06_promise_of_another_key_is_refused, Tlog: all(log::promise_of_another_key);
    fn g06_unknown_log_is_refused, Tlog: all(log::unknown_log);
    fn g12_retired_log_is_refused, Tlog: all(log::log_retired_before);
    fn g12_log_of_the_future_is_refused, Tlog: all(log::log_not_yet_trusted);

    fn g01_signature_by_another_key_is_refused, Signature: old(|bundle| {
        let foreign = crate::support::sigstore::key::Key::p256().sign(b"x");
        bundle.with(|bundle| bundle.signature = Some(foreign))
    });
    fn g01_envelope_with_other_whitespace_is_refused, Tlog: relayered(
        log::good(OldIntoto).into_attestation(), |layer| layer.bytes.push(b' '),
    );
    fn c01_attestation_of_another_image_is_refused, Subject: envelope::statement_about_another_image().into_attestation();
    fn c01_old_attestation_of_another_image_is_refused, Subject: {
        let world = Sigstore::new();
        let other = crate::support::sigstore::statement(OTHER_SUBJECT, "https://slsa.dev/provenance/v1", &json!({}));
        Case::keyless(&world, OldIntoto.log(world.attest(&other, &signer()))).into_attestation()
    };

    fn g07_altered_time_is_refused, Tlog: relayered(log::good(OldIntoto).into_attestation(), |layer| {
        let answer = layer.annotations.get_mut(BUNDLE).unwrap();
        assert!(answer.contains("1748779200"));
        *answer = answer.replace("1748779200", "1748779201");
    });
    fn g07_time_in_the_future_is_refused, Time: {
        let lasting = (time("2023-01-01T00:00:00Z"), time("2300-01-01T00:00:00Z"));
        let change = |world: &mut Sigstore| {
            let window = world.fulcio.window;
            world.fulcio = crate::support::sigstore::Fulcio::new("sigstore.test", lasting, window);
        };
        in_world(change, |bundle| OldIntoto.log(bundle).at("2199-01-01T00:00:00Z")).into_attestation()
    };

    fn g11_leaf_outside_its_minutes_is_refused, Trust: [
        old(|bundle| bundle.leaf(|leaf| leaf.not_after = time("2025-06-01T11:59:59Z"))),
        old(|bundle| bundle.leaf(|leaf| leaf.not_before = time("2025-06-01T12:00:01Z"))),
    ];
    fn g11_authority_outside_its_years_is_refused, Trust: [
        old_in(|world| world.fulcio.window = Window::between("2024-01-01T00:00:00Z", "2025-05-01T00:00:00Z")),
        old_in(|world| world.fulcio.window = Window::from("2025-07-01T00:00:00Z")),
        old_in(|world| world.fulcio = world.fulcio.with_intermediate(|ca| {
            ca.not_after = time("2025-05-01T00:00:00Z");
        })),
    ];
    fn g11_strangers_leaf_is_refused, Trust: old(|bundle| {
        bundle.with(|bundle| bundle.issuer = Sigstore::new().fulcio.intermediate)
    });
    fn g13_sct_defects_are_refused, Trust: [
        old(Attest::no_sct), old(|bundle| bundle.sct(|sct| sct.log = Sigstore::new().ct)),
        old(|bundle| bundle.sct(|sct| sct.precertificate = Some(vec![0x30, 0]))),
        old(|bundle| bundle.sct(|sct| sct.issuer_spki = Some(vec![0x30, 0]))),
        old(|bundle| bundle.with(|bundle| bundle.scts.push(bundle.scts[0].clone()))),
        old_in(|world| world.ct.window = Window::between("2024-01-01T00:00:00Z", "2025-05-01T00:00:00Z")),
    ];
    fn g15_leaf_of_another_kind_is_refused, Trust: [
        old(|bundle| bundle.leaf(|leaf| leaf.usages.clear())),
        old(|bundle| bundle.leaf(|leaf| leaf.key_usage = None)),
        old(|bundle| bundle.leaf(|leaf| leaf.basic_constraints = Some((true, None)))),
    ];
    fn d12_ambiguous_identities_are_refused, Trust | Identity: [
        old(|bundle| bundle.leaf(|leaf| leaf.san.push(leaf.san[0].clone()))),
        old(|bundle| bundle.leaf(|leaf| leaf.extensions.push(Extension::claim(1, "https://mallory.test")))),
    ];
    fn g12_another_key_than_the_policys_is_refused, Signature: [
        envelope::key_other_than_the_policys().into_attestation(),
        envelope::key_hint_of_the_policys_key().into_attestation(),
    ];
    fn g12_certificate_for_a_key_policy_is_refused, Trust: envelope::certificate_for_a_key_policy().into_attestation();
    fn g12_key_for_a_keyless_policy_is_refused, Trust: envelope::key_for_a_keyless_policy().into_attestation();
    fn g12_key_without_the_log_entry_asked_for_is_refused, Tlog:
        envelope::key_without_a_log_entry().into_attestation();
    fn g12_key_with_an_entry_of_another_key_is_refused, Tlog:
        envelope::key_with_an_entry_of_another_key().into_attestation();
    fn g19_bundle_of_another_instance_is_refused, Trust | Tlog:
        log::good(OldIntoto).rooted(Sigstore::new().trusted_root()).into_attestation();
    fn g22_old_intoto_in_a_bundle_is_refused, Format | Tlog: [log::good(OldIntoto), log::promise_of_another_key(OldIntoto)];
}

#[test]
fn times_and_index_are_the_promised_ones() {
    for case in [log::good(OldIntoto).into_attestation(), log::good(Dsse).into_attestation(), image_signature()] {
        let verified = accepted(&case);
        assert_eq!(verified.times(), [time(crate::support::sigstore::SIGNED_AT)]);
        assert_eq!(verified.log_index(), Some(25_579_005));
    }
}
