//! Transparency logs: entries, proofs, promises, checkpoints. `Style` says of which log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Case, OTHER_SUBJECT, PREDICATE, attest, in_world, keyless, payload, signer};
use crate::support::sigstore::cert::Signer;
use crate::support::sigstore::key::{Algorithm, Key};
use crate::support::sigstore::log::{Entry, Kind, Log};
use crate::support::sigstore::{Attest, IN_TOTO, Sigstore, Version, Window, pae, statement, time};

/// Which log and entry type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Rekor v1, dsse 0.0.1.
    Dsse,
    /// Rekor v1, intoto 0.0.2.
    Intoto,
    /// Rekor v1, intoto 0.0.1: in cosign's legacy format only.
    OldIntoto,
    /// Rekor v2, hashedrekord 0.0.2, with a timestamp.
    Tiled,
    /// Rekor v2, dsse 0.0.2, with a timestamp. The library cannot read it.
    TiledDsse,
}

impl Style {
    /// All that the library can read.
    pub const READ: [Self; 3] = [Self::Dsse, Self::Intoto, Self::Tiled];
    /// All that bundles have.
    pub const ALL: [Self; 4] = [Self::Dsse, Self::Intoto, Self::Tiled, Self::TiledDsse];

    /// Logged in this way.
    pub fn log(self, bundle: Attest) -> Attest {
        match self {
            Self::Dsse => bundle.rekor_v1(),
            Self::Intoto => bundle.rekor_v1().kind(Kind::Intoto002),
            Self::OldIntoto => bundle.rekor_v1().kind(Kind::Intoto001),
            Self::Tiled => bundle.rekor_v2(),
            Self::TiledDsse => bundle.rekor_v2().kind(Kind::Dsse002),
        }
    }

    fn in_rekor_v2(self) -> bool {
        matches!(self, Self::Tiled | Self::TiledDsse)
    }
}

/// An edit of the entry before it is logged.
fn entry(style: Style, edit: impl FnOnce(&mut Entry)) -> Case {
    keyless(|bundle| style.log(bundle).entry(edit))
}

/// An edit of the entries of a finished bundle.
fn entries(style: Style, edit: impl Fn(&mut Value) + 'static) -> Case {
    keyless(|bundle| style.log(bundle).tamper(move |json| edit(&mut json["verificationMaterial"]["tlogEntries"])))
}

/// Nothing wrong.
pub fn good(style: Style) -> Case {
    keyless(|bundle| style.log(bundle))
}

/// No entry, in an instance that has logs; a timestamp gives the time.
pub fn no_entry() -> Case {
    keyless(|bundle| bundle.no_log().stamped())
}

/// A promise but no proof.
pub fn promise_without_proof() -> Case {
    entry(Style::Dsse, |entry| entry.proof = None)
}

/// Neither promise nor proof; a timestamp gives the time.
pub fn entry_without_evidence(style: Style) -> Case {
    keyless(|bundle| {
        style.log(bundle).stamped().entry(|entry| {
            entry.proof = None;
            entry.promise = None;
        })
    })
}

/// A promise but no proof, and the bundle says that it is v0.1, where this was the rule.
pub fn relabelled_as_v01() -> Case {
    keyless(|bundle| bundle.entry(|entry| entry.proof = None).version(Version::V01))
}

/// A promise but no proof, and the bundle says that it is v0.2.
pub fn relabelled_as_v02() -> Case {
    keyless(|bundle| bundle.entry(|entry| entry.proof = None).version(Version::V02))
}

/// The entry of a signature by the same certificate over something else.
pub fn entry_of_another_statement(style: Style) -> Case {
    transplanted(style, |world, good, leaf| {
        let other = statement(OTHER_SUBJECT, PREDICATE, &json!({}));
        let donor = world.attest(&other, &signer()).signed_by(good.key.clone());
        donor.with(|donor| donor.issued = Some(leaf))
    })
}

/// The entry of another signature by the same certificate over the same statement.
pub fn entry_of_another_signature(style: Style) -> Case {
    transplanted(style, |world, good, leaf| {
        attest(world).signed_by(good.key.clone()).with(|donor| donor.issued = Some(leaf))
    })
}

/// The entry of the same signature under another certificate for the same key.
pub fn entry_of_another_certificate(style: Style) -> Case {
    transplanted(style, |world, good, _| {
        let other = Signer::github("mallory/templates", ".github/workflows/release.yml", "refs/tags/v1.0.0");
        let donor = world.attest(&payload(), &other).signed_by(good.key.clone());
        donor.with(|donor| donor.signature = good.signature.clone())
    })
}

/// The entry of somebody else's signature over the same statement.
pub fn entry_of_another_signer(style: Style) -> Case {
    transplanted(style, |world, _, _| {
        world.attest(&payload(), &Signer::email("mallory@example.test", "https://example.test"))
    })
}

fn transplanted(style: Style, donate: impl FnOnce(&Sigstore, &Attest, Vec<u8>) -> Attest) -> Case {
    let world = Sigstore::new();
    let good = attest(&world);
    let (leaf, signature) = (good.issue(), good.key.sign(&pae(IN_TOTO, &good.payload)));
    let good = style.log(good).with(|good| {
        good.issued = Some(leaf.clone());
        good.signature = Some(signature);
    });
    let donor = style.log(donate(&world, &good, leaf)).value();
    let entries = donor["verificationMaterial"]["tlogEntries"].clone();
    let bundle = good.tamper(move |json| json["verificationMaterial"]["tlogEntries"] = entries.clone());
    Case::keyless(&world, bundle)
}

/// The body is that of another entry, everything around it is right.
pub fn body_exchanged(style: Style) -> Case {
    let world = Sigstore::new();
    let donor = style.log(world.attest(&statement(OTHER_SUBJECT, PREDICATE, &json!({})), &signer())).value();
    let body = donor["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"].clone();
    let bundle = style
        .log(attest(&world))
        .tamper(move |json| json["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] = body.clone());
    Case::keyless(&world, bundle)
}

/// The bundle names another kind than the entry is of.
pub fn kind_relabelled(style: Style, kind: Kind) -> Case {
    let (kind, version) = kind.pair();
    entries(style, move |entries| entries[0]["kindVersion"] = json!({ "kind": kind, "version": version }))
}

/// The log took an entry whose body names another kind than its content is of.
pub fn body_names_another_kind(style: Style) -> Case {
    entry(style, |entry| entry.edit_body = Some(|body| body["kind"] = json!("rekord")))
}

/// The log took an entry whose body names another version than its content is of.
pub fn body_names_another_version(style: Style) -> Case {
    entry(style, |entry| entry.edit_body = Some(|body| body["apiVersion"] = json!("0.0.9")))
}

/// A Rekor v1 log took a hashedrekord over the envelope.
pub fn hashedrekord_over_an_envelope_in_rekor_v1() -> Case {
    entry(Style::Dsse, |entry| entry.kind = Kind::HashedRekord001)
}

/// A Rekor v2 entry names another kind of key than the certificate has.
pub fn entry_names_another_algorithm(style: Style) -> Case {
    entry(style, |entry| {
        entry.edit_body = Some(|body| {
            let place = match body["kind"].as_str() {
                Some("dsse") => "/spec/dsseV002/signatures/0/verifier/keyDetails",
                _ => "/spec/hashedRekordV002/signature/verifier/keyDetails",
            };
            *body.pointer_mut(place).unwrap() = json!("PKIX_ED25519");
        });
    })
}

/// A Rekor v2 entry over this signature, and the hash of another payload, or of an algorithm that is not the one.
pub fn dsse_entry_of_another_payload() -> [Case; 2] {
    let edits: [fn(&mut Value); 2] = [
        |body| body["spec"]["dsseV002"]["payloadHash"]["digest"] = json!(STANDARD.encode([7; 32])),
        |body| body["spec"]["dsseV002"]["payloadHash"]["algorithm"] = json!("SHA2_512"),
    ];
    edits.map(|edit| entry(Style::TiledDsse, |entry| entry.edit_body = Some(edit)))
}

/// A second entry, of something else, which proves nothing.
pub fn garbage_entry_added(style: Style) -> Case {
    entries(style, |entries| {
        let mut garbage = entries[0].clone();
        garbage["canonicalizedBody"] = json!(STANDARD.encode(b"{}"));
        entries.as_array_mut().unwrap().push(garbage);
    })
}

/// A second entry, the same without proof and promise.
pub fn bare_copy_of_the_entry_added(style: Style) -> Case {
    entries(style, |entries| {
        let mut bare = entries[0].clone();
        bare.as_object_mut().unwrap().remove("inclusionProof");
        bare.as_object_mut().unwrap().remove("inclusionPromise");
        entries.as_array_mut().unwrap().push(bare);
    })
}

/// A second entry, in a log that nobody trusts.
pub fn entry_in_an_unknown_log_added(style: Style) -> Case {
    let rogue = Sigstore::new();
    keyless(|bundle| {
        style.log(bundle).with(|bundle| {
            let mut second = bundle.entries[0].clone();
            let log = if style.in_rekor_v2() { &rogue.rekor_v2 } else { &rogue.rekor_v1 };
            second.log = log.clone();
            second.promise = second.promise.map(|_| log.clone());
            second.checkpoint().log = log.clone();
            bundle.entries.push(second);
        })
    })
}

/// The same entry this many times.
pub fn entries_repeated(style: Style, count: usize) -> Case {
    entries(style, move |entries| {
        let one = entries[0].clone();
        *entries = vec![one; count].into();
    })
}

/// In a log that nobody trusts.
pub fn unknown_log(style: Style) -> Case {
    let rogue = Sigstore::new();
    entry(style, |entry| {
        let log = if style.in_rekor_v2() { &rogue.rekor_v2 } else { &rogue.rekor_v1 };
        entry.log = log.clone();
        entry.promise = entry.promise.take().map(|_| log.clone());
        entry.checkpoint().log = log.clone();
    })
}

/// The entry says another log than the one whose checkpoint it has; both are trusted.
pub fn entry_claims_another_log(style: Style) -> Case {
    let world = Sigstore::new();
    let id = STANDARD.encode(world.rekor_v1.id());
    let bundle = style
        .log(attest(&world))
        .tamper(move |json| json["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"] = json!(id));
    Case::keyless(&world, bundle)
}

/// The checkpoint is another trusted log's, over a tree that holds the entry.
pub fn checkpoint_of_another_trusted_log() -> Case {
    let world = Sigstore::new();
    let bundle = attest(&world).entry(|entry| entry.checkpoint().log = world.rekor_v2.clone());
    Case::keyless(&world, bundle)
}

/// The checkpoint is signed by a key that only pretends to be the log's.
pub fn checkpoint_signed_by_another_key(style: Style) -> Case {
    entry(style, |entry| {
        let log = &mut entry.checkpoint().log;
        let (id, key) = (log.id(), Key::generate(log.key.algorithm));
        log.key = key;
        entry.checkpoint().hint = Some([id[0], id[1], id[2], id[3]]);
    })
}

/// The key hint is nobody's.
pub fn checkpoint_with_another_hint(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().hint = Some([1, 2, 3, 4]))
}

/// The log signed a tree head of another origin.
pub fn checkpoint_of_another_origin(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().origin = Some("log.mallory.test".to_owned()))
}

/// The log signed a tree head of another origin, under that origin's name.
pub fn checkpoint_under_another_name(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().log.origin = "log.mallory.test".to_owned())
}

/// The log was not told its name, and signs under the one that Rekor v1 then has: nothing wrong.
pub fn checkpoint_under_rekors_default_name(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().log.origin = "rekor.sigstore.dev - 1".to_owned())
}

/// The tree head has no origin line.
pub fn checkpoint_without_origin(style: Style) -> Case {
    checkpoint_without_line(style, |body| body.lines().skip(1).map(|line| format!("{line}\n")).collect())
}

/// The tree head has no size line.
pub fn checkpoint_without_size(style: Style) -> Case {
    checkpoint_without_line(style, |body| {
        body.lines().enumerate().filter(|(index, _)| *index != 1).map(|(_, line)| format!("{line}\n")).collect()
    })
}

/// The tree head has no root line.
pub fn checkpoint_without_root(style: Style) -> Case {
    checkpoint_without_line(style, |body| {
        body.lines().enumerate().filter(|(index, _)| *index != 2).map(|(_, line)| format!("{line}\n")).collect()
    })
}

fn checkpoint_without_line(style: Style, edit: fn(String) -> String) -> Case {
    entry(style, |entry| entry.checkpoint().edit_body = Some(edit))
}

/// The log signed a tree head of another tree.
pub fn checkpoint_of_another_root(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().root = Some([7; 32]))
}

/// The log signed a tree head of another size, with the same root.
pub fn checkpoint_of_another_size(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().size = Some(4_000_000))
}

/// Witnesses signed, the log did not.
pub fn checkpoint_with_cosignatures_only(style: Style) -> Case {
    entry(style, |entry| {
        entry.checkpoint().signed = false;
        entry.checkpoint().witnesses = vec![witness()];
    })
}

/// The log signed, and so did witnesses: nothing wrong.
pub fn checkpoint_with_cosignatures(style: Style) -> Case {
    entry(style, |entry| entry.checkpoint().witnesses = vec![witness(), witness()])
}

fn witness() -> Log {
    Log::rekor_v2(Key::generate(Algorithm::Ed25519), Window::from("2024-01-01T00:00:00Z"))
}

/// No checkpoint in the proof.
pub fn proof_without_checkpoint(style: Style) -> Case {
    entries(style, |entries| {
        entries[0]["inclusionProof"].as_object_mut().unwrap().remove("checkpoint");
    })
}

/// One hash of the audit path is another.
pub fn proof_with_another_hash(style: Style) -> Case {
    entries(style, |entries| entries[0]["inclusionProof"]["hashes"][0] = json!(STANDARD.encode([7; 32])))
}

/// The audit path is one hash too long.
pub fn proof_too_long(style: Style) -> Case {
    entries(style, |entries| {
        entries[0]["inclusionProof"]["hashes"].as_array_mut().unwrap().push(json!(STANDARD.encode([7; 32])));
    })
}

/// The entry's index in the proof is another.
pub fn proof_of_another_index(style: Style) -> Case {
    entries(style, |entries| {
        entries[0]["inclusionProof"]["logIndex"] = json!("4");
        entries[0]["logIndex"] = json!("4");
    })
}

/// A negative index.
pub fn negative_index(style: Style) -> Case {
    entries(style, |entries| entries[0]["inclusionProof"]["logIndex"] = json!("-1"))
}

/// The promise is somebody else's.
pub fn promise_of_another_key(style: Style) -> Case {
    let rogue = Sigstore::new();
    entry(style, |entry| entry.promise = Some(rogue.rekor_v1))
}

/// The log's key counted until before the entry, says the trusted root.
pub fn log_retired_before(style: Style) -> Case {
    in_world(
        |world| {
            let window = Window::between("2024-01-01T00:00:00Z", "2025-05-01T00:00:00Z");
            world.rekor_v1.window = window;
            world.rekor_v2.window = window;
        },
        |bundle| style.log(bundle),
    )
}

/// The log's key counts from after the entry on, says the trusted root.
pub fn log_not_yet_trusted(style: Style) -> Case {
    in_world(
        |world| {
            let window = Window::from("2025-07-01T00:00:00Z");
            world.rekor_v1.window = window;
            world.rekor_v2.window = window;
        },
        |bundle| style.log(bundle),
    )
}

/// The log's key counts until the very second of the signature, or from it on: nothing wrong.
pub fn log_trusted_in_that_second(style: Style) -> [Case; 2] {
    let signed = time(crate::support::sigstore::SIGNED_AT);
    let from = Window { start: signed, end: None };
    let until = Window { end: Some(signed), ..Window::from("2024-01-01T00:00:00Z") };
    [from, until].map(|window| {
        let change = |world: &mut Sigstore| {
            world.rekor_v1.window = window;
            world.rekor_v2.window = window;
        };
        in_world(change, |bundle| style.log(bundle))
    })
}
