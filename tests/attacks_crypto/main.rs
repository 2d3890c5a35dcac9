//! Attacks on what is signed, by whom, when and where it is written down: each a bundle with one defect, made by an
//! in-process Sigstore that would sign anything, and the class of its refusal.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a case that cannot be judged is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod bundle;
mod identity;
mod legacy;
mod log;
mod metamorphic;
mod signature;
mod statement;
mod time;
mod trust;

use bulla::attestation::bundle::Bundle;
use bulla::class::{Class, Classified};
use bulla::sigstore::{Formats, Instance, KeyLog, PublicKey, Trust, TrustRoot, VerifiedAttestation, verify_bundle};
use support::sigstore::defects::{self, Case, SUBJECT};

/// Class, code and words of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    class: Class,
    code: String,
    words: String,
}

impl<E: Classified> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { class: error.class(), code: error.code().to_owned(), words: error.to_string() }
    }
}

/// The clock by which cases are judged: some time after they were signed.
const NOW: &str = "2025-07-01T00:00:00Z";

fn judge_at(case: &Case, now: &str) -> Result<VerifiedAttestation, Refusal> {
    let instance = match case.trust {
        defects::Trust::GitHub => Instance::GitHub,
        _ => Instance::Custom,
    };
    let root = TrustRoot::parse_as(instance, case.root.to_string().as_bytes(), "the test's")?;
    let bundle = match &case.layer {
        None => Bundle::parse(&case.bundle)?,
        Some(layer) => Bundle::from_legacy(layer.media_type, &layer.bytes, &layer.annotations)?,
    };
    let key = |pem: &str| PublicKey::from_pem(pem).unwrap();
    let held;
    let trust = match &case.trust {
        defects::Trust::Keyless | defects::Trust::GitHub => Trust::Keyless { root: &root },
        defects::Trust::Key(pem) => {
            held = key(pem);
            Trust::Key { key: &held, log: KeyLog::None }
        }
        defects::Trust::LoggedKey(pem) => {
            held = key(pem);
            Trust::Key { key: &held, log: KeyLog::Required(&root) }
        }
    };
    let formats = Formats { cosign_legacy: case.layer.is_some() && case.legacy, ..formats(case.legacy) };
    let subject = format!("sha256:{SUBJECT}").parse().unwrap();
    Ok(verify_bundle(&bundle, &subject, &trust, formats, now.parse().unwrap())?)
}

fn formats(legacy: bool) -> Formats {
    if legacy { Formats::BUNDLES } else { Formats::default() }
}

fn judge(case: &Case) -> Result<VerifiedAttestation, Refusal> {
    judge_at(case, NOW)
}

/// The verified attestation of a case with nothing wrong.
fn accepted(case: &Case) -> VerifiedAttestation {
    judge(case).unwrap_or_else(|refusal| panic!("refused: {refusal:?}"))
}

/// One case, or several variants of one attack.
trait Cases {
    fn cases(self) -> Vec<Case>;
}

impl Cases for Case {
    fn cases(self) -> Vec<Case> {
        vec![self]
    }
}

impl Cases for Vec<Case> {
    fn cases(self) -> Vec<Case> {
        self
    }
}

impl<const N: usize> Cases for [Case; N] {
    fn cases(self) -> Vec<Case> {
        self.into()
    }
}

/// Every case is refused with one of these classes, in words without control characters, and the second time as the
/// first.
fn assert_refused(classes: &[Class], cases: impl Cases) {
    let cases = cases.cases();
    assert!(!cases.is_empty());
    for (index, case) in cases.iter().enumerate() {
        let refusal = match judge(case) {
            Ok(_) => panic!("variant {index} was accepted"),
            Err(refusal) => refusal,
        };
        assert!(classes.contains(&refusal.class), "variant {index}: {refusal:?}");
        assert!(!refusal.words.chars().any(char::is_control), "variant {index}: {refusal:?}");
        let again = judge(case).unwrap_err();
        assert_eq!((again.class, again.code), (refusal.class, refusal.code), "variant {index}");
    }
}

/// Tests: `fn id_and_claim, Class: cases;`. Where two steps may be the first to see a defect, both classes stand.
macro_rules! refused {
    ($($(#[$attribute:meta])* fn $name:ident, $($class:ident)|+: $cases:expr;)*) => { $(
        #[test]
        $(#[$attribute])*
        fn $name() {
            $crate::assert_refused(&[$(bulla::class::Class::$class),+], $cases);
        }
    )* };
}

/// Tests of what looks like an attack and is none: `fn id_and_claim: cases;`
macro_rules! admitted {
    ($($(#[$attribute:meta])* fn $name:ident: $cases:expr;)*) => { $(
        #[test]
        $(#[$attribute])*
        fn $name() {
            for case in $crate::Cases::cases($cases) {
                $crate::accepted(&case);
            }
        }
    )* };
}

use {admitted, refused};

admitted! {
    fn good_bundles_of_every_kind_are_believed: [
        defects::good_rekor_v1(), defects::good_rekor_v2(), defects::good_github(), defects::good_key(),
        defects::good_logged_key(),
    ];
}
