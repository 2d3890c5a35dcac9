//! Certificates: chains, usages, SCTs, identities; and roots that do not belong.

use serde_json::json;

use super::{Case, Trust, attest, in_world, keyless, payload};
use crate::support::sigstore::cert::{
    Authority, CERT_SIGN, CODE_SIGNING, DIGITAL_SIGNATURE, Extension, FULCIO, Name, San, Sct, Signer, TIME_STAMPING,
    Template,
};
use crate::support::sigstore::key::{Algorithm, Key};
use crate::support::sigstore::{Attest, Sigstore, Version, Window, der, time};

/// An edit of the leaf before it is issued.
pub fn leaf(edit: impl FnOnce(&mut Template)) -> Case {
    keyless(|bundle| bundle.leaf(edit))
}

/// A world whose intermediate is made with an edit.
fn intermediate(edit: impl FnOnce(&mut Template)) -> Case {
    in_world(|world| world.fulcio = world.fulcio.with_intermediate(edit), |bundle| bundle)
}

/// The leaf had expired when it was used.
pub fn leaf_expired() -> Case {
    leaf(|leaf| leaf.not_after = time("2025-06-01T11:59:59Z"))
}

/// The leaf was not valid yet when it was used.
pub fn leaf_not_yet_valid() -> Case {
    leaf(|leaf| leaf.not_before = time("2025-06-01T12:00:01Z"))
}

/// The leaf is used in its last second: nothing wrong.
pub fn leaf_in_its_last_second() -> Case {
    leaf(|leaf| leaf.not_after = time("2025-06-01T12:00:00Z"))
}

/// The intermediate had expired when the leaf was used.
pub fn intermediate_expired() -> Case {
    intermediate(|template| template.not_after = time("2025-05-01T00:00:00Z"))
}

/// The intermediate was not valid yet.
pub fn intermediate_not_yet_valid() -> Case {
    intermediate(|template| template.not_before = time("2025-07-01T00:00:00Z"))
}

/// The intermediate is no authority.
pub fn intermediate_that_is_no_authority() -> Case {
    intermediate(|template| template.basic_constraints = None)
}

/// The intermediate says that it is none.
pub fn intermediate_that_says_it_is_no_authority() -> Case {
    intermediate(|template| template.basic_constraints = Some((false, None)))
}

/// The intermediate's key may sign, and no certificates.
pub fn intermediate_key_that_may_not_certify() -> Case {
    intermediate(|template| template.key_usage = Some(DIGITAL_SIGNATURE))
}

/// The intermediate may have no authority below it, and has none: nothing wrong.
pub fn intermediate_of_no_length() -> Case {
    intermediate(|template| template.basic_constraints = Some((true, Some(0))))
}

/// The root may have no authority below it, and has one.
pub fn root_of_no_length() -> Case {
    in_world(
        |world| {
            let root = &world.fulcio.root;
            world.fulcio.root = root.reissued(root, |root| root.basic_constraints = Some((true, Some(0))));
        },
        |bundle| bundle,
    )
}

/// The intermediate may issue for timestamping only.
pub fn intermediate_for_time_stamping() -> Case {
    intermediate(|template| template.usages = vec![TIME_STAMPING])
}

/// The root had expired when the leaf was used.
pub fn root_expired() -> Case {
    in_world(
        |world| {
            let root = &world.fulcio.root;
            world.fulcio.root = root.reissued(root, |root| root.not_after = time("2025-05-01T00:00:00Z"));
        },
        |bundle| bundle,
    )
}

/// The intermediate that the trusted root lists is not signed by the root beside it.
pub fn intermediate_of_another_root() -> Case {
    in_world(
        |world| {
            let other = Sigstore::new().fulcio.root;
            world.fulcio.intermediate = world.fulcio.intermediate.reissued(&other, |_| ());
        },
        |bundle| bundle,
    )
}

/// The authority counted until before the leaf was used, says the trusted root.
pub fn authority_retired_before() -> Case {
    in_world(
        |world| world.fulcio.window = Window::between("2024-01-01T00:00:00Z", "2025-05-01T00:00:00Z"),
        |bundle| bundle,
    )
}

/// The authority counts from after the leaf was used on, says the trusted root.
pub fn authority_not_yet_trusted() -> Case {
    in_world(|world| world.fulcio.window = Window::from("2025-07-01T00:00:00Z"), |bundle| bundle)
}

/// An authority of the same name that nobody trusts.
pub fn issued_by_a_stranger() -> Case {
    let stranger = Sigstore::new();
    keyless(|bundle| bundle.with(|bundle| bundle.issuer = stranger.fulcio.intermediate))
}

/// The same, and the bundle brings the stranger's chain along.
pub fn issued_by_a_stranger_who_brings_a_chain() -> Case {
    let stranger = Sigstore::new();
    keyless(|bundle| {
        bundle.version(Version::V02).with(|bundle| {
            bundle.issuer = stranger.fulcio.intermediate.clone();
            bundle.chain = vec![stranger.fulcio.intermediate.certificate, stranger.fulcio.root.certificate];
        })
    })
    .legacy()
}

/// The leaf is itself an issuer of leaves: a signer who issued a certificate with his own.
pub fn issued_by_a_leaf() -> Case {
    let world = Sigstore::new();
    let mallory = Signer::email("mallory@example.test", "https://example.test");
    let donor = world.attest(&payload(), &mallory).version(Version::V02);
    let issuer = Authority {
        name: Name::default(),
        key: donor.key.clone(),
        template: Template::new(
            Name::default(),
            &donor.key,
            (time("2025-01-01T00:00:00Z"), time("2026-01-01T00:00:00Z")),
        ),
        certificate: donor.issue(),
    };
    let bundle = attest(&world).version(Version::V02).with(|bundle| {
        bundle.chain = vec![issuer.certificate.clone()];
        bundle.issuer = issuer;
    });
    Case::keyless(&world, bundle).legacy()
}

/// v0.2 whose chain goes up to the root, which the bundle must not bring.
pub fn chain_with_the_root() -> Case {
    let world = Sigstore::new();
    let bundle = attest(&world).version(Version::V02).with(|bundle| {
        bundle.chain = vec![world.fulcio.intermediate.certificate.clone(), world.fulcio.root.certificate.clone()];
    });
    Case::keyless(&world, bundle).legacy()
}

/// v0.2 with the leaf alone: nothing wrong.
pub fn chain_of_the_leaf() -> Case {
    keyless(|bundle| bundle.version(Version::V02)).legacy()
}

/// v0.2 without any certificate.
pub fn chain_empty() -> Case {
    keyless(|bundle| {
        bundle.version(Version::V02).tamper(|json| {
            json["verificationMaterial"]["x509CertificateChain"]["certificates"] = json!([]);
        })
    })
    .legacy()
}

/// v0.3 with a chain.
pub fn chain_in_v03() -> Case {
    keyless(|bundle| bundle.version(Version::V02).tamper(|json| json["mediaType"] = json!(Version::V03.media_type())))
}

/// The leaf says nothing of code signing.
pub fn leaf_without_usage() -> Case {
    leaf(|leaf| leaf.usages.clear())
}

/// The leaf is for something else.
pub fn leaf_for_time_stamping() -> Case {
    leaf(|leaf| leaf.usages = vec![TIME_STAMPING])
}

/// The leaf is for anything.
pub fn leaf_for_any_usage() -> Case {
    leaf(|leaf| leaf.usages = vec!["2.5.29.37.0"])
}

/// The leaf is for code signing and something else: nothing wrong.
pub fn leaf_with_a_second_usage() -> Case {
    leaf(|leaf| leaf.usages = vec![CODE_SIGNING, TIME_STAMPING])
}

/// The leaf's key may not sign.
pub fn leaf_key_that_may_not_sign() -> Case {
    leaf(|leaf| leaf.key_usage = Some(0x20))
}

/// The leaf's key may sign certificates, lists of withdrawn ones, or both.
pub fn leaf_key_that_may_certify() -> [Case; 3] {
    let (certificates, lists) = (0x04, 0x02);
    [CERT_SIGN, certificates, lists].map(|usage| leaf(|leaf| leaf.key_usage = Some(DIGITAL_SIGNATURE | usage)))
}

/// The leaf does not say what its key may do.
pub fn leaf_without_key_usage() -> Case {
    leaf(|leaf| leaf.key_usage = None)
}

/// The leaf is an authority.
pub fn leaf_that_is_an_authority() -> Case {
    leaf(|leaf| leaf.basic_constraints = Some((true, None)))
}

/// The leaf says that it is none: nothing wrong.
pub fn leaf_that_is_no_authority() -> Case {
    leaf(|leaf| leaf.basic_constraints = Some((false, None)))
}

/// The leaf names a signature algorithm with SHA-1.
pub fn leaf_signed_with_sha1() -> Case {
    leaf(|leaf| leaf.signature_algorithm = Some(der::seq([der::oid("1.2.840.10045.4.1")])))
}

/// No SCT.
pub fn no_sct() -> Case {
    keyless(Attest::no_sct)
}

/// The SCT of a log that nobody trusts.
pub fn sct_of_an_unknown_log() -> Case {
    keyless(|bundle| bundle.sct(|sct| sct.log = Sigstore::new().ct))
}

/// The SCT of another certificate.
pub fn sct_of_another_certificate() -> Case {
    keyless(|bundle| bundle.sct(|sct| sct.precertificate = Some(der::seq([der::int(1)]))))
}

/// The SCT names another issuer's key.
pub fn sct_with_another_issuer() -> Case {
    keyless(|bundle| bundle.sct(|sct| sct.issuer_spki = Some(Key::generate(Algorithm::P384).spki)))
}

/// Two SCTs of one log.
pub fn sct_twice() -> Case {
    keyless(|bundle| bundle.with(|bundle| bundle.scts.push(bundle.scts[0].clone())))
}

/// An SCT of an unknown log before the good one.
pub fn sct_of_an_unknown_log_before_the_good_one() -> Case {
    let stranger = Sigstore::new().ct;
    keyless(|bundle| {
        bundle.with(|bundle| {
            let at = bundle.scts[0].at;
            bundle.scts.insert(0, Sct::new(&stranger, at));
        })
    })
}

/// The CT log counted until before the SCT, says the trusted root.
pub fn ct_log_retired_before() -> Case {
    in_world(|world| world.ct.window = Window::between("2024-01-01T00:00:00Z", "2025-05-01T00:00:00Z"), |bundle| bundle)
}

/// Two subject alternative names.
pub fn two_names() -> Case {
    leaf(|leaf| leaf.san.push(San::Uri("https://github.com/mallory/x/.github/workflows/x.yml@refs/heads/x".into())))
}

/// A name of a kind that no signer has before the good one.
pub fn a_dns_name_first() -> Case {
    leaf(|leaf| leaf.san.insert(0, San::Dns("example.test".into())))
}

/// No subject alternative name.
pub fn no_name() -> Case {
    leaf(|leaf| leaf.san.clear())
}

/// Only a name of a kind that no signer has.
pub fn only_a_dns_name() -> Case {
    leaf(|leaf| leaf.san = vec![San::Dns("example.test".into())])
}

/// A NUL in the name.
pub fn name_with_a_nul() -> Case {
    leaf(|leaf| leaf.san = vec![San::Email("good@example.test\0.mallory.test".into())])
}

/// A line break in the name.
pub fn name_with_a_line_break() -> Case {
    leaf(|leaf| leaf.san = vec![San::Uri("https://github.com/acme/x\nhttps://github.com/mallory/x".into())])
}

/// Two subject-alternative-name extensions.
pub fn name_extension_twice() -> Case {
    let second = der::seq([der::tlv(0x86, b"https://github.com/mallory/x")]);
    leaf(|leaf| leaf.extensions.push(Extension::new("2.5.29.17", second)))
}

/// An extension that nobody knows and everybody must.
pub fn critical_unknown_extension() -> Case {
    leaf(|leaf| leaf.extensions.push(Extension { critical: true, ..Extension::new("1.2.3.4", der::null()) }))
}

/// A claim twice, with different values; the good one first.
pub fn claim_twice(number: u8) -> Case {
    leaf(|leaf| leaf.extensions.push(Extension::claim(number, "https://mallory.test")))
}

/// The old issuer extension disagrees with the new one.
pub fn issuers_that_disagree() -> Case {
    leaf(|leaf| set_claim(leaf, Extension::claim(1, "https://issuer.mallory.test")))
}

/// An old GitHub claim disagrees with the new one.
pub fn repositories_that_disagree() -> Case {
    leaf(|leaf| set_claim(leaf, Extension::claim(5, "mallory/templates")))
}

/// Only the extensions that every certificate had once: nothing wrong, and nothing is claimed.
pub fn deprecated_claims_only() -> Case {
    leaf(|leaf| leaf.extensions.retain(|extension| deprecated(&extension.oid)))
}

/// The issuer as bare bytes where a DER string belongs.
pub fn issuer_not_in_der() -> Case {
    leaf(|leaf| set_claim(leaf, Extension::new(format!("{FULCIO}.8"), b"https://token.example.test".to_vec())))
}

/// A claim in a kind of string that no rule names (BMPString).
pub fn claim_in_another_string_type(number: u8) -> Case {
    let value = der::tlv(0x1e, &[0, b'x']);
    leaf(|leaf| set_claim(leaf, Extension::new(format!("{FULCIO}.{number}"), value)))
}

/// A claim with bytes after its string.
pub fn claim_with_trailing_bytes(number: u8) -> Case {
    let value = [der::utf8("https://github.com/acme/templates"), b"x".to_vec()].concat();
    leaf(|leaf| set_claim(leaf, Extension::new(format!("{FULCIO}.{number}"), value)))
}

/// No issuer at all.
pub fn no_issuer() -> Case {
    leaf(|leaf| {
        let gone = [format!("{FULCIO}.1"), format!("{FULCIO}.8")];
        leaf.extensions.retain(|extension| !gone.contains(&extension.oid));
    })
}

fn set_claim(leaf: &mut Template, claim: Extension) {
    leaf.extensions.retain(|extension| extension.oid != claim.oid);
    leaf.extensions.push(claim);
}

fn deprecated(oid: &str) -> bool {
    (1..=6).any(|number| *oid == format!("{FULCIO}.{number}"))
}

/// Another world made the bundle, under the same names.
pub fn bundle_of_another_instance() -> Case {
    let other = Sigstore::new();
    let case = Case::keyless(&other, attest(&other));
    case.rooted(Sigstore::new().trusted_root())
}

/// An instance without logs made the bundle; the root is of one that has them.
pub fn timestamps_only_for_an_instance_with_logs() -> Case {
    keyless(Attest::github_instance)
}

/// An instance with logs made the bundle; the root is of one that has timestamps only.
pub fn logged_for_an_instance_without_logs() -> Case {
    let world = Sigstore::new();
    let case = Case::keyless(&world, attest(&world));
    case.rooted(world.github_root()).trusting(Trust::GitHub)
}

/// The trusted root does not say since when an authority counts.
pub fn root_without_a_start() -> Case {
    let mut case = keyless(|bundle| bundle);
    case.root["certificateAuthorities"][0]["validFor"] = json!({ "end": "2030-01-01T00:00:00Z" });
    case
}

/// The trusted root has an authority without certificates.
pub fn root_with_an_empty_chain() -> Case {
    let mut case = keyless(|bundle| bundle);
    case.root["certificateAuthorities"][0]["certChain"]["certificates"] = json!([]);
    case
}

/// The trusted root lists one log twice.
pub fn root_with_a_log_twice() -> Case {
    let mut case = keyless(|bundle| bundle);
    let log = case.root["tlogs"][0].clone();
    case.root["tlogs"].as_array_mut().unwrap().push(log);
    case
}

/// The trusted root is empty.
pub fn root_of_nothing() -> Case {
    let mut case = keyless(|bundle| bundle);
    case.root = json!({ "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1" });
    case
}
