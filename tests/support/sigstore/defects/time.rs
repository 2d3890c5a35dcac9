//! Times: integrated ones, and timestamps with everything that may be wrong with their authority.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Case, Trust, attest, in_world, keyless};
use crate::support::sigstore::cert::{CODE_SIGNING, TIME_STAMPING, Template};
use crate::support::sigstore::key::{Algorithm, Key};
use crate::support::sigstore::tsa::{CERTIFICATE_HASHES, CertificateHash, Imprint, Stamp, Tsa};
use crate::support::sigstore::{Attest, Fulcio, Sigstore, Window, time};

/// An edit of the timestamp of a Rekor v2 bundle.
fn stamp(edit: impl FnOnce(&mut Stamp)) -> Case {
    keyless(|bundle| bundle.rekor_v2().stamp(edit))
}

/// A world whose authority has a leaf made with an edit.
fn stamped_by(edit: impl FnOnce(&mut Template)) -> Case {
    in_world(|world| world.tsa = world.tsa.with_leaf(edit), Attest::rekor_v2)
}

/// Rekor v1 without a promise: nobody signed the time.
pub fn integrated_time_without_promise() -> Case {
    keyless(|bundle| bundle.entry(|entry| entry.promise = None))
}

/// The same with a timestamp, which is a time: nothing wrong, and the other is none.
pub fn integrated_time_without_promise_beside_a_timestamp() -> Case {
    keyless(|bundle| {
        bundle.stamped().entry(|entry| {
            entry.promise = None;
            entry.integrated_time = Some(time("2025-06-01T12:05:00Z"));
        })
    })
}

/// Rekor v2 with a time that nobody signed: nothing wrong, and it is none.
pub fn integrated_time_in_rekor_v2() -> Case {
    keyless(|bundle| bundle.rekor_v2().entry(|entry| entry.integrated_time = Some(time("2025-06-01T12:05:00Z"))))
}

/// Rekor v2 without a timestamp.
pub fn rekor_v2_without_timestamp() -> Case {
    keyless(|bundle| bundle.rekor_v2().with(|bundle| bundle.stamps.clear()))
}

/// Another integrated time than the one promised.
pub fn integrated_time_altered() -> Case {
    keyless(|bundle| {
        bundle.tamper(|json| json["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = json!("1748779260"))
    })
}

/// The log promised a time to come, within the years of every authority.
pub fn integrated_time_in_the_future() -> Case {
    let lasting = (time("2023-01-01T00:00:00Z"), time("2300-01-01T00:00:00Z"));
    in_world(
        |world| world.fulcio = Fulcio::new("sigstore.test", lasting, world.fulcio.window),
        |bundle| bundle.at("2199-01-01T00:00:00Z"),
    )
}

/// The timestamp is of a second authority that is trusted, and says a time long before the certificate.
pub fn second_timestamp_backdated_by_a_trusted_authority() -> Case {
    let (world, second) = (Sigstore::new(), Sigstore::new().tsa);
    let backdated = Stamp::new(&second, time("2024-06-01T00:00:00Z"));
    let case = Case::keyless(&world, attest(&world).rekor_v2().with(|bundle| bundle.stamps.push(backdated)));
    let mut root = world.trusted_root();
    root["timestampAuthorities"].as_array_mut().unwrap().push(second.trusted());
    case.rooted(root)
}

/// A second timestamp, by an authority that nobody trusts.
pub fn second_timestamp_by_a_stranger() -> Case {
    let stranger = Sigstore::new().tsa;
    keyless(|bundle| {
        bundle.rekor_v2().with(|bundle| {
            let at = bundle.stamps[0].at;
            bundle.stamps.push(Stamp::new(&stranger, at));
        })
    })
}

/// The only timestamp is by an authority that nobody trusts.
pub fn timestamp_by_a_stranger() -> Case {
    stamp(|stamp| stamp.authority = Sigstore::new().tsa)
}

/// The same, with its certificates inside.
pub fn timestamp_by_a_stranger_who_brings_certificates() -> Case {
    stamp(|stamp| {
        stamp.authority = Sigstore::new().tsa;
        stamp.bag = vec![stamp.authority.leaf.certificate.clone(), stamp.authority.root.certificate.clone()];
    })
}

/// Another key of the authority's root signs, its certificate inside: the trusted root names another leaf.
pub fn timestamp_by_another_leaf_of_the_authority() -> Case {
    let world = Sigstore::new();
    let other = Key::generate(Algorithm::P384);
    let leaf = world.tsa.root.subordinate(world.tsa.leaf.name.clone(), other, years(), |template| {
        let wanted = world.tsa.leaf.template.clone();
        *template = Template { spki: template.spki.clone(), serial: template.serial.clone(), ..wanted };
    });
    let authority = Tsa { leaf, ..world.tsa.clone() };
    let bundle = attest(&world).rekor_v2().stamp(|stamp| {
        stamp.bag = vec![authority.leaf.certificate.clone()];
        stamp.authority = authority;
    });
    Case::keyless(&world, bundle)
}

/// The authority's own certificate first in the token, with another key: the token is signed with that key.
pub fn timestamp_with_a_forged_first_certificate() -> Case {
    let world = Sigstore::new();
    let forger = Key::generate(Algorithm::P384);
    let mut template = world.tsa.leaf.template.clone();
    template.spki = forger.spki.clone();
    let forged = template.sign(&world.tsa.root.name, &forger);
    let bundle = attest(&world).rekor_v2().stamp(|stamp| {
        stamp.bag = vec![forged, world.tsa.leaf.certificate.clone()];
        stamp.signer = Some(forger);
    });
    Case::keyless(&world, bundle)
}

/// The authority's leaf may not stamp.
pub fn authority_without_time_stamping() -> Case {
    stamped_by(|leaf| leaf.usages.clear())
}

/// The authority's leaf may do something else.
pub fn authority_for_code_signing() -> Case {
    stamped_by(|leaf| leaf.usages = vec![CODE_SIGNING])
}

/// The authority's leaf may stamp, and its usage is not critical (RFC 3161, 2.3).
pub fn authority_usage_not_critical() -> Case {
    stamped_by(|leaf| leaf.usages_critical = false)
}

/// The authority's leaf may stamp and do something else (RFC 3161, 2.3).
pub fn authority_with_a_second_usage() -> Case {
    stamped_by(|leaf| leaf.usages = vec![TIME_STAMPING, CODE_SIGNING])
}

/// The authority's leaf had expired.
pub fn authority_leaf_expired() -> Case {
    stamped_by(|leaf| leaf.not_after = time("2025-05-01T00:00:00Z"))
}

/// The authority's root had expired.
pub fn authority_root_expired() -> Case {
    in_world(
        |world| {
            let root = world.tsa.root.reissued(&world.tsa.root, |root| root.not_after = time("2025-05-01T00:00:00Z"));
            world.tsa.root = root;
        },
        Attest::rekor_v2,
    )
}

/// The authority counted until before the timestamp, says the trusted root.
pub fn authority_retired_before() -> Case {
    in_world(
        |world| world.tsa.window = Window::between("2024-01-01T00:00:00Z", "2025-05-01T00:00:00Z"),
        Attest::rekor_v2,
    )
}

/// The timestamp is over another signature.
pub fn timestamp_over_another_signature() -> Case {
    stamp(|stamp| stamp.over = Some(b"another signature".to_vec()))
}

/// The authority did not grant it.
pub fn timestamp_not_granted() -> Case {
    stamp(|stamp| stamp.status = 2)
}

/// The imprint is SHA-1.
pub fn timestamp_with_sha1_imprint() -> Case {
    stamp(|stamp| stamp.imprint = Imprint::Sha1)
}

/// The imprint is SHA-384: nothing wrong.
pub fn timestamp_with_sha384_imprint() -> Case {
    stamp(|stamp| stamp.imprint = Imprint::Sha384)
}

/// The token is signed by another key.
pub fn timestamp_signed_by_another_key() -> Case {
    stamp(|stamp| stamp.signer = Some(Key::generate(Algorithm::P384)))
}

/// The signed attributes do not name the certificate (RFC 5816).
pub fn timestamp_that_names_no_certificate() -> Case {
    stamp(|stamp| stamp.names_certificate = false)
}

/// The signed attributes name another certificate.
pub fn timestamp_that_names_another_certificate() -> Case {
    stamp(|stamp| stamp.named_certificate = Some(b"another certificate".to_vec()))
}

/// The signed attributes name the certificate by a hash that they say: nothing wrong.
pub fn timestamp_that_names_its_certificate_by_any_hash() -> [Case; 3] {
    CERTIFICATE_HASHES.map(|hash| stamp(|stamp| stamp.named_by = Some(hash)))
}

/// The same, and it is another certificate, or the hash is none that counts.
pub fn timestamp_that_names_another_certificate_by_any_hash() -> Vec<Case> {
    let other = |hash| {
        move |stamp: &mut Stamp| {
            stamp.named_by = Some(hash);
            stamp.named_certificate = Some(b"another certificate".to_vec());
        }
    };
    let weak: CertificateHash = ("1.3.14.3.2.26", CERTIFICATE_HASHES[0].1);
    let mut cases: Vec<Case> = CERTIFICATE_HASHES.into_iter().map(|hash| stamp(other(hash))).collect();
    cases.push(stamp(|stamp| stamp.named_by = Some(weak)));
    cases
}

/// The signed attributes say that something else was signed (RFC 5652, 11.1).
pub fn timestamp_of_another_content_type() -> Case {
    stamp(|stamp| stamp.content_type = "1.2.840.113549.1.7.1")
}

/// The token is in BER with an indefinite length.
pub fn timestamp_in_ber() -> Case {
    timestamp_bytes(|bytes| {
        let head = 2 + usize::from(bytes[1] & 0x7f);
        [&[0x30, 0x80], &bytes[head..], &[0, 0]].concat()
    })
}

/// A byte after the token.
pub fn timestamp_with_a_trailing_byte() -> Case {
    timestamp_bytes(|bytes| [bytes, &[0]].concat())
}

/// No bytes at all.
pub fn timestamp_empty() -> Case {
    timestamp_bytes(|_| Vec::new())
}

fn timestamp_bytes(edit: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Case {
    timestamps(move |stamps| {
        let bytes = STANDARD.decode(stamps[0]["signedTimestamp"].as_str().unwrap()).unwrap();
        stamps[0]["signedTimestamp"] = json!(STANDARD.encode(edit(&bytes)));
    })
}

/// The same timestamp this many times.
pub fn timestamps_repeated(count: usize) -> Case {
    timestamps(move |stamps| {
        let one = stamps[0].clone();
        *stamps = vec![one; count].into();
    })
}

fn timestamps(edit: impl Fn(&mut Value) + 'static) -> Case {
    keyless(|bundle| {
        bundle.rekor_v2().tamper(move |json| {
            edit(&mut json["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]);
        })
    })
}

/// GitHub's instance without a timestamp.
pub fn github_without_timestamp() -> Case {
    let world = Sigstore::new();
    let case = Case::keyless(&world, attest(&world).no_sct().no_log());
    case.rooted(world.github_root()).trusting(Trust::GitHub)
}

/// GitHub's instance, stamped after the certificate had expired.
pub fn github_stamped_late() -> Case {
    let world = Sigstore::new();
    let bundle = attest(&world).github_instance().stamp(|stamp| stamp.at = time("2025-06-01T13:00:00Z"));
    Case::keyless(&world, bundle).rooted(world.github_root()).trusting(Trust::GitHub)
}

fn years() -> (jiff::Timestamp, jiff::Timestamp) {
    (time("2023-01-01T00:00:00Z"), time("2034-01-01T00:00:00Z"))
}
