//! Two policies as one, as values: whatever the one and the other say of rebuilds, modes and withdrawals, the image
//! starts only where both let it.

#![expect(clippy::unwrap_used, reason = "a case that cannot be judged is a failed test")]

use bulla::adapters::signer::PrivateKey;
use bulla::attestation::{Statement, predicate_types};
use bulla::content::Digest;
use bulla::policy::verdict::{Basis, Subject, Verdict};
use bulla::policy::{Evidence, Origin, Policy};
use bulla::verify::evidence_of;
use jiff::Timestamp;

fn digest() -> Digest {
    Digest::of(b"image")
}

fn policy(key: &PrivateKey, lines: &str) -> Policy {
    let text = format!(
        "version = 1\n[[rule]]\nimages = [\"oci/*\"]\nrequire = [\"signature\"]\n{lines}\n\
         [[rule.signer]]\nkey = \"k\"\nlog = \"none\"\n"
    );
    Policy::parse(&text, "test", &|_| Ok(key.public_pem().into_bytes())).unwrap()
}

fn evidence(origin: Origin, signed_by: &[&PrivateKey]) -> Evidence {
    let subject = Subject {
        name: "oci/base".to_owned(),
        reference: None,
        digest: digest(),
        manifest: digest(),
        config: digest(),
        platform: "linux/amd64".parse().unwrap(),
    };
    let statement = Statement::write("x", &digest(), predicate_types::SIGNATURE, b"{}").unwrap();
    let bundles: Vec<Vec<u8>> = signed_by.iter().map(|key| key.sign_statement(&statement).unwrap()).collect();
    Evidence { origin, ..evidence_of(subject, &bundles) }
}

fn basis(verdict: &Verdict) -> Option<Basis> {
    verdict.launchable().map(|image| image.basis())
}

#[test]
fn a_rebuild_starts_only_where_both_allow_it() {
    let key = PrivateKey::generate().unwrap();
    let same = Origin::Rebuilt { published: Some(digest()) };
    let other = Origin::Rebuilt { published: Some(Digest::of(b"other")) };
    let none = Origin::Rebuilt { published: None };
    let levels = ["forbid", "match", "allow"];
    for (own_level, own) in levels.iter().enumerate() {
        for (project_level, project) in levels.iter().enumerate() {
            let rule = |level: &str| policy(&key, &format!("rebuild = \"{level}\""));
            let both = rule(own).tightened_by(rule(project)).unwrap();
            let strictest = own_level.min(project_level);
            for (origin, needed) in [(same, 1), (other, 2), (none, 2)] {
                let verdict = both.evaluate(&evidence(origin, &[]), Timestamp::UNIX_EPOCH).unwrap();
                let starts = strictest >= needed;
                assert_eq!(verdict.is_admitted(), starts, "{own} and {project}, {origin:?}");
                assert_eq!(basis(&verdict), starts.then_some(Basis::Rebuilt), "{own} and {project}, {origin:?}");
            }
        }
    }
    // Without a word about it a project's policy forbids it, as every policy does.
    let both = policy(&key, "rebuild = \"allow\"").tightened_by(policy(&key, "")).unwrap();
    assert!(!both.evaluate(&evidence(same, &[]), Timestamp::UNIX_EPOCH).unwrap().is_admitted());
}

#[test]
fn what_one_of_them_denies_starts_on_no_ground() {
    let (mine, theirs) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    for (mode, signed_by, admitted, expected) in [
        ("enforce", &[&mine, &theirs][..], true, Some(Basis::Verified)),
        ("enforce", &[&mine], false, None),
        ("enforce", &[&theirs], false, None),
        ("enforce", &[], false, None),
        ("warn", &[&mine, &theirs], true, Some(Basis::Verified)),
        ("warn", &[&theirs], false, Some(Basis::NotEnforced)),
        ("warn", &[&mine], false, None),
        ("warn", &[], false, None),
        ("audit", &[&mine], false, None),
    ] {
        let both = policy(&mine, &format!("mode = \"{mode}\"")).tightened_by(policy(&theirs, "")).unwrap();
        let verdict = both.evaluate(&evidence(Origin::Published, signed_by), Timestamp::UNIX_EPOCH).unwrap();
        let said = (verdict.is_admitted(), basis(&verdict), verdict.checks().len(), verdict.project_checks().len());
        assert_eq!(said, (admitted, expected, 2, 1), "{mode}, {} signatures", signed_by.len());
        assert_eq!((verdict.rule(), verdict.project_rule()), (Some(0), Some(0)));
        let refused_by_project = !signed_by.iter().any(|key| std::ptr::eq(*key, &theirs));
        assert_eq!(verdict.is_enforced(), mode == "enforce" || refused_by_project, "{mode}");
    }
}

#[test]
fn what_both_found_is_told_once() {
    let (mine, theirs, stranger) =
        (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let found = |project: &PrivateKey, signed_by: &[&PrivateKey]| {
        let both = policy(&mine, "").tightened_by(policy(project, "")).unwrap();
        let verdict = both.evaluate(&evidence(Origin::Published, signed_by), Timestamp::UNIX_EPOCH).unwrap();
        let mut told: Vec<Digest> = verdict.attestations().iter().map(|one| one.digest).collect();
        told.dedup();
        assert_eq!(told.len(), verdict.attestations().len());
        (told.len(), verdict.rejections().len())
    };
    // One signature is what both rest on; what both refuse is refused once.
    assert_eq!(found(&mine, &[&mine]), (1, 0));
    assert_eq!(found(&mine, &[&stranger, &mine]), (1, 1));
    assert_eq!(found(&mine, &[&stranger]), (0, 1));
    // Each rests on its own: the other's signature is refused by the project's policy alone, which sees it first.
    assert_eq!(found(&theirs, &[&mine, &theirs]), (2, 1));
    assert_eq!(found(&theirs, &[&stranger, &mine, &theirs]), (2, 2));
}

#[test]
fn the_rules_for_an_image_are_those_of_both() {
    let key = PrivateKey::generate().unwrap();
    let both = policy(&key, "").tightened_by(policy(&key, "mode = \"enforce\"")).unwrap();
    assert!(both.project().is_some() && policy(&key, "").project().is_none());
    assert_eq!(both.rules_for("oci/base").unwrap().len(), 2);
    assert!(both.rules_for("ghcr.io/acme/base").unwrap().is_empty());
    let mut other = evidence(Origin::Published, &[&key]);
    other.subject.name = "ghcr.io/acme/base".to_owned();
    let verdict = both.evaluate(&other, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!((verdict.rule(), verdict.project_rule(), verdict.is_admitted()), (None, None, false));
}

#[test]
fn a_policy_is_tightened_once() {
    let key = PrivateKey::generate().unwrap();
    let both = || policy(&key, "").tightened_by(policy(&key, "")).unwrap();
    assert!(both().tightened_by(policy(&key, "")).is_err());
    assert!(policy(&key, "").tightened_by(both()).is_err());
    for mode in ["warn", "audit"] {
        assert!(policy(&key, "").tightened_by(policy(&key, &format!("mode = \"{mode}\""))).is_err());
    }
}
