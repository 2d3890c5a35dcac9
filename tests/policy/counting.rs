//! Whose word counts for what, how many there must be, about which digest and under which name, and how fresh.

use bulla::attestation::bundle::Bundle;
use bulla::class::Class;
use bulla::content::Digest;
use bulla::policy::Policy;
use bulla::policy::verdict::Verdict;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::sigstore::cert::Signer;
use crate::support::sigstore::key::Key;
use crate::support::sigstore::{Sigstore, statement};
use crate::{
    HEAD, NAME, NOW, SIGN, SLSA, SPDX, WORKFLOW, assert_admitted, digest, evidence, judge, provenance, refusal, says,
    signed, signer, spdx,
};

/// Two keys and a workflow that may sign.
struct Desk {
    world: Sigstore,
    keys: [Key; 2],
}

impl Desk {
    fn new() -> Self {
        Self { world: Sigstore::new(), keys: [Key::p256(), Key::p256()] }
    }

    fn judge(&self, text: &str, bundles: &[Vec<u8>]) -> Verdict {
        let load = |name: &str| match name {
            "a.pub" | "again.pub" => Ok(self.keys[0].public_pem().into_bytes()),
            "b.pub" => Ok(self.keys[1].public_pem().into_bytes()),
            _ => Ok(self.world.trusted_root_json().into_bytes()),
        };
        let policy = Policy::parse(text, "test", &load).unwrap_or_else(|error| panic!("{error}\n{text}"));
        policy.evaluate(&evidence(bundles), NOW.parse::<Timestamp>().unwrap()).unwrap()
    }

    fn by_key(&self, key: usize, statement: &[u8]) -> Vec<u8> {
        self.world.attest_with_key(statement, &self.keys[key]).bundle()
    }
}

fn key(name: &str) -> String {
    format!("[[rule.signer]]\nkey = \"{name}.pub\"\nlog = \"none\"\n")
}

#[test]
fn a_threshold_counts_different_signers() {
    let desk = Desk::new();
    let sign = says(SIGN, &json!({}));
    let (a, b) = (desk.by_key(0, &sign), desk.by_key(1, &sign));
    // The same key, over a statement that only looks different.
    let again = desk.by_key(0, &says(SIGN, &json!({"x": 1})));
    let workflow = signed(&desk.world, &sign, &signer()).bundle();
    let main = Signer::github("acme/templates", ".github/workflows/release.yml", "refs/heads/main");
    let main = signed(&desk.world, &sign, &main).bundle();
    let two = |signers: &str| format!("{HEAD}require = [\"signature\"]\n{signers}[rule.threshold]\nsignature = 2\n");
    let keys = two(&format!("{}{}", key("a"), key("b")));
    let mixed = two(&format!("{}{WORKFLOW}", key("a")));
    let overlapping = two(&format!("{WORKFLOW}{WORKFLOW}tag = \"v*\"\n"));
    let twice = two(&format!("{}{}", key("a"), key("again")));

    let verdict = desk.judge(&keys, &[a.clone(), b.clone()]);
    assert_admitted(&verdict);
    assert_eq!(verdict.attestations().len(), 2);
    assert!(verdict.attestations().iter().all(|one| one.satisfies == ["signature"]));
    assert_admitted(&desk.judge(&mixed, &[workflow.clone(), a.clone()]));
    for (text, bundles) in [
        (&keys, vec![a.clone()]),
        (&keys, vec![a.clone(), a.clone()]),
        (&keys, vec![a.clone(), again.clone()]),
        (&twice, vec![a.clone(), again.clone()]),
        (&mixed, vec![workflow.clone(), main.clone()]),
        // One workflow at two refs is one signer, whoever may start it there.
        (&overlapping, vec![workflow.clone(), main.clone()]),
        (&overlapping, vec![workflow.clone(), signed(&desk.world, &sign, &signer()).bundle()]),
        (&mixed, vec![a.clone(), b.clone()]),
    ] {
        let verdict = desk.judge(text, &bundles);
        assert_eq!(refusal(&verdict), (Class::Identity, "threshold"), "{text}");
        assert!(verdict.attestations().iter().all(|one| one.satisfies.is_empty()));
    }
    assert_eq!(refusal(&desk.judge(&keys, &[])), (Class::NoAttestation, "no-attestation"));
    // Without a threshold one of them is enough.
    let one = format!("{HEAD}require = [\"signature\"]\n{}{}", key("a"), key("b"));
    assert_admitted(&desk.judge(&one, std::slice::from_ref(&b)));
    // It holds for what it names alone.
    let text = keys.replace("[\"signature\"]", "[\"signature\", \"sbom\"]");
    let sbom = desk.by_key(0, &says(SPDX, &spdx(&["pkg:npm/x@1"])));
    assert_admitted(&desk.judge(&text, &[a, b, sbom]));
}

#[test]
fn a_signer_satisfies_what_it_is_for() {
    let desk = Desk::new();
    let (sign, sbom) = (says(SIGN, &json!({})), says(SPDX, &spdx(&["pkg:npm/x@1"])));
    let text = format!(
        "{HEAD}require = [\"signature\", \"sbom\"]\n{}for = [\"signature\"]\n{}for = [\"sbom\"]\n",
        key("a"),
        key("b")
    );
    assert_admitted(&desk.judge(&text, &[desk.by_key(0, &sign), desk.by_key(1, &sbom)]));
    let verdict = desk.judge(&text, &[desk.by_key(1, &sign), desk.by_key(0, &sbom)]);
    assert_eq!(refusal(&verdict).0, Class::Signature);
    assert!(verdict.attestations().is_empty());
    let verdict = desk.judge(&text, &[desk.by_key(0, &sign), desk.by_key(0, &sbom)]);
    assert_eq!(refusal(&verdict).0, Class::Signature);
    // C15: whoever may sign summaries alone does not sign images.
    let vsa = format!(
        "{HEAD}require = [\"signature\", \"vsa\"]\n{}for = [\"vsa\"]\n{}[rule.vsa]\nverifier-id = \"https://v\"\n",
        key("a"),
        key("b").replace("log", "for = [\"signature\"]\nlog")
    );
    let summary = json!({
        "verifier": {"id": "https://v"}, "resourceUri": NAME, "policy": {"uri": "https://p"},
        "verificationResult": "PASSED", "verifiedLevels": [],
    });
    let summary = says("https://slsa.dev/verification_summary/v1", &summary);
    assert_admitted(&desk.judge(&vsa, &[desk.by_key(0, &summary), desk.by_key(1, &sign)]));
    let verdict = desk.judge(&vsa, &[desk.by_key(1, &summary), desk.by_key(1, &sign)]);
    assert_eq!(refusal(&verdict).0, Class::Signature);
}

/// A statement whose subjects have these names and digests.
fn named(subjects: &[(Option<&str>, Digest)]) -> Vec<u8> {
    let subject = |(name, digest): &(Option<&str>, Digest)| match name {
        Some(name) => json!({"name": name, "digest": {"sha256": digest.hex()}}),
        None => json!({"digest": {"sha256": digest.hex()}}),
    };
    let subjects: Vec<Value> = subjects.iter().map(subject).collect();
    let statement = json!({"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": SIGN});
    statement.to_string().into_bytes()
}

#[test]
fn c02_a_rule_can_ask_for_the_name_too() {
    let world = Sigstore::new();
    let text = |name: &str| format!("{HEAD}subject-name = \"{name}\"\nrequire = [\"signature\"]\n{WORKFLOW}");
    let judged =
        |name: &str, statement: &[u8]| judge(&text(name), &world, &[signed(&world, statement, &signer()).bundle()]);
    let (ours, other) = (digest("index"), digest("other"));
    let own = named(&[(Some(NAME), ours)]);
    let tagged = named(&[(Some(&format!("{NAME}:1.0")), ours)]);
    for (name, statement) in
        [("image", &own), ("image", &tagged), (NAME, &own), ("ghcr.io/acme/**", &own), ("**:1.0", &tagged)]
    {
        assert_admitted(&judged(name, statement));
    }
    for (name, statement) in [
        ("image", named(&[(Some("ghcr.io/acme/templates/codex"), ours)])),
        ("image", named(&[(None, ours)])),
        ("image", named(&[(Some("image"), ours)])),
        // Only the name of the subject with our digest counts.
        ("image", named(&[(Some("ghcr.io/acme/other"), ours), (Some(NAME), other)])),
        ("ghcr.io/acme/*", own.clone()),
        (NAME, tagged),
    ] {
        assert_eq!(refusal(&judged(name, &statement)), (Class::Subject, "subject-name"), "{name}");
    }
    // Without the field the digest alone is compared.
    let plain = format!("{HEAD}require = [\"signature\"]\n{WORKFLOW}");
    let elsewhere = named(&[(Some("ghcr.io/acme/other"), ours)]);
    assert_admitted(&judge(&plain, &world, &[signed(&world, &elsewhere, &signer()).bundle()]));
}

#[test]
fn b02_a_rule_says_which_digest_statements_are_about() {
    let world = Sigstore::new();
    let text =
        |subject: &str| format!("{HEAD}subject = \"{subject}\"\nrequire = [\"signature\", \"sbom\"]\n{WORKFLOW}");
    let about = |word: &str, kind: &str, predicate: &Value| {
        signed(&world, &statement(&digest(word).hex(), kind, predicate), &signer()).bundle()
    };
    let (none, sbom) = (json!({}), spdx(&["pkg:npm/x@1"]));
    let both = |signed: &str, listed: &str| [about(signed, SIGN, &none), about(listed, SPDX, &sbom)];
    for (subject, signed, listed, admitted) in [
        ("index", "index", "index", true),
        ("index", "index", "manifest", false),
        ("index", "manifest", "manifest", false),
        ("manifest", "manifest", "manifest", true),
        ("manifest", "index", "manifest", false),
        ("manifest", "index", "index", false),
        ("index-or-manifest", "index", "index", true),
        ("index-or-manifest", "index", "manifest", true),
        ("index-or-manifest", "manifest", "manifest", true),
        ("index-or-manifest", "manifest", "another platform", false),
        ("index-or-manifest", "another platform", "index", false),
        ("manifest", "config", "manifest", false),
    ] {
        let verdict = judge(&text(subject), &world, &both(signed, listed));
        assert_eq!(verdict.is_admitted(), admitted, "{subject}: {signed} {listed} {:?}", verdict.checks());
        if !admitted {
            assert_eq!(refusal(&verdict), (Class::Subject, "other-subject"), "{subject}: {signed} {listed}");
        }
    }
}

#[test]
fn the_newest_provenance_stands_for_the_image_and_its_age_is_bounded() {
    let world = Sigstore::new();
    let provenance = says(SLSA, &provenance());
    let signed_at = |time: &str| world.attest(&provenance, &signer()).at(time).bundle();
    let (old, new) = (signed_at("2025-05-01T12:00:00Z"), signed_at("2025-06-20T12:00:00Z"));
    let text = |field: &str| format!("{HEAD}require = [\"provenance\"]\n{WORKFLOW}[rule.provenance]\n{field}\n");
    let newest = *Bundle::parse(&new).unwrap().digest();
    for bundles in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
        for field in ["", "max-age = \"30d\""] {
            let verdict = judge(&text(field), &world, &bundles);
            assert_admitted(&verdict);
            assert_eq!(verdict.checks()[0].attestation, Some(newest));
        }
    }
    assert_eq!(refusal(&judge(&text("max-age = \"30d\""), &world, &[old])), (Class::Time, "too-old"));
    assert_eq!(
        refusal(&judge(&text("max-age = \"10d\""), &world, std::slice::from_ref(&new))),
        (Class::Time, "too-old")
    );
    // The age of provenance is provenance's alone: an older signature passes.
    let sign = world.attest(&says(SIGN, &json!({})), &signer()).at("2024-06-01T12:00:00Z").bundle();
    let both = text("max-age = \"30d\"").replace("[\"provenance\"]", "[\"signature\", \"provenance\"]");
    assert_admitted(&judge(&both, &world, &[sign.clone(), new.clone()]));
    // A rule's own limit holds for all of them.
    let all = both.replace("require =", "max-age = \"30d\"\nrequire =");
    assert_eq!(refusal(&judge(&all, &world, &[sign, new])), (Class::Time, "too-old"));
    // What is as old as the limit is not older, to the second.
    for (time, admitted) in [("2025-06-01T00:00:00Z", true), ("2025-05-31T23:59:59Z", false)] {
        assert_eq!(judge(&text("max-age = \"30d\""), &world, &[signed_at(time)]).is_admitted(), admitted, "{time}");
    }
    // A key alone says nothing about when.
    let desk = Desk::new();
    let aged = format!("{HEAD}require = [\"provenance\"]\n{}[rule.provenance]\nmax-age = \"9000d\"\n", key("a"));
    assert_eq!(refusal(&desk.judge(&aged, &[desk.by_key(0, &provenance)])), (Class::Time, "no-trusted-time"));
}
