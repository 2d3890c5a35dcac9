//! What an evaluation says: every check, the verdict, and the proof value that a launch takes.

use jiff::Timestamp;
use serde::Serialize;

use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::oci::Platform;
use crate::policy::Mode;
use crate::reference::PinnedReference;
use crate::sigstore::Signer;

/// Why something did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of thing went wrong.
    pub class: Class,
    /// Which check, in kebab-case; stable.
    pub code: &'static str,
    /// What was found, and what would have passed, for a person.
    pub message: String,
}

impl Reason {
    /// What this error says.
    pub(crate) fn of(error: &(impl Classified + std::fmt::Display)) -> Self {
        Self { class: error.class(), code: error.code(), message: error.to_string() }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It held.
    Pass,
    /// It did not.
    Fail,
    /// It was not looked at, because something before it failed.
    Skipped,
}

impl Status {
    /// The stable spelling, as it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One requirement, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `rule`, `deny`, `rebuild`, a requirement's word or a predicate type.
    pub requirement: String,
    /// How it ended.
    pub status: Status,
    /// Which check decided, in kebab-case; stable. `verified` where it passed.
    pub code: &'static str,
    /// What kind of thing went wrong; absent where it passed.
    pub class: Option<Class>,
    /// For a person.
    pub message: String,
    /// Digest of the bundle that satisfied it, or that came closest.
    pub attestation: Option<Digest>,
    /// Where it failed: what is there in its place. Who signed, as the bundles themselves say and nobody verified; or,
    /// where nothing of the type is attached, which types are.
    pub found: Vec<String>,
    /// Where it failed for want of the right signer: who would have been.
    pub wanted: Vec<String>,
}

/// An attestation that was verified and whose signer the policy names, whatever else became of it.
#[derive(Debug, Clone)]
pub struct Attested {
    /// Digest of the bundle.
    pub digest: Digest,
    /// Type of the statement.
    pub predicate_type: String,
    /// Who signed it.
    pub signer: Signer,
    /// When, on trusted word; the latest, where there are several.
    pub time: Option<Timestamp>,
    /// Its place in the transparency log.
    pub log_index: Option<u64>,
    /// Which log that is: its key's id, in hexadecimal digits.
    pub log_id: Option<String>,
    /// The trust root under which it was verified; a key without a log has none.
    pub root: Option<Root>,
    /// The requirements that it satisfies.
    pub satisfies: Vec<String>,
}

/// Which trust root: where it was read, and the digest of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it was read from.
    pub source: String,
    /// Digest of its text.
    pub sha256: Digest,
}

/// Something attached to the image that counted for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Digest of the bundle, or of the manifest that should have held one.
    pub digest: Digest,
    /// Why.
    pub reason: Reason,
}

/// Which image is judged: everything that a launch will need and must not look up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The canonical name that rules are matched with: `registry/repository`, `oci/name`.
    pub name: String,
    /// Where it can be pulled from by digest; absent for layouts and local rebuilds.
    pub reference: Option<PinnedReference>,
    /// Digest of the manifest or index that was asked for: what attestations must be about.
    pub digest: Digest,
    /// Digest of the platform's manifest: the same, unless an index was asked for.
    pub manifest: Digest,
    /// Digest of the platform's image config, which some engines call the image's id.
    pub config: Digest,
    /// The platform.
    pub platform: Platform,
}

/// On what ground an image may be launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Every requirement of its rule was satisfied.
    Verified,
    /// It was rebuilt here from locked inputs, and its rule allows that.
    Rebuilt,
    /// It was *not* admitted; its rule only warns or records.
    NotEnforced,
}

/// An image that its policy lets be launched. Born only in [`crate::policy::Policy::evaluate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedImage {
    subject: Subject,
    basis: Basis,
}

impl AdmittedImage {
    pub(super) fn new(subject: Subject, basis: Basis) -> Self {
        Self { subject, basis }
    }

    /// Which image.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// On what ground.
    pub fn basis(&self) -> Basis {
        self.basis
    }
}

/// What a project's policy has to do with a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tightened {
    /// Index of its rule that applied.
    pub(super) rule: Option<usize>,
    /// Where its checks begin, among all.
    pub(super) checks_from: usize,
}

/// What an evaluation says.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub(super) subject: Subject,
    pub(super) rule: Option<usize>,
    pub(super) mode: Mode,
    pub(super) checks: Vec<Check>,
    pub(super) attestations: Vec<Attested>,
    pub(super) rejections: Vec<Rejected>,
    pub(super) basis: Option<Basis>,
    pub(super) project: Option<Tightened>,
}

impl Verdict {
    /// Whether the image is admitted: there is at least one requirement and every check passed.
    pub fn is_admitted(&self) -> bool {
        let passed = self.checks.iter().all(|check| check.status == Status::Pass);
        matches!(self.basis, Some(Basis::Verified | Basis::Rebuilt)) && passed && !self.checks.is_empty()
    }

    /// Whether a launch goes by this verdict: false only where the rule says `warn` or `audit`.
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// The image, if it may be launched: admitted, or its rule does not enforce.
    pub fn launchable(&self) -> Option<AdmittedImage> {
        match self.basis {
            Some(basis) if self.is_admitted() || basis == Basis::NotEnforced => {
                Some(AdmittedImage::new(self.subject.clone(), basis))
            }
            _ => None,
        }
    }

    /// Which image was judged.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Index of the rule that applied, from 0.
    pub fn rule(&self) -> Option<usize> {
        self.rule
    }

    /// Every check, in the order of the rule's requirements; those of the project's policy after them.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The checks of the project's policy, which stand last among all; none where there is no such policy.
    pub fn project_checks(&self) -> &[Check] {
        let from = self.project.map_or(self.checks.len(), |project| project.checks_from);
        self.checks.get(from..).unwrap_or_default()
    }

    /// Index of the rule of the project's policy that applied, from 0.
    pub fn project_rule(&self) -> Option<usize> {
        self.project.and_then(|project| project.rule)
    }

    /// What was verified.
    pub fn attestations(&self) -> &[Attested] {
        &self.attestations
    }

    /// What was attached and counted for nothing.
    pub fn rejections(&self) -> &[Rejected] {
        &self.rejections
    }

    /// The class of the first check that failed.
    pub fn class(&self) -> Option<Class> {
        self.checks.iter().find(|check| check.status == Status::Fail).and_then(|check| check.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::judge::failed;

    #[test]
    fn what_a_check_refuses_starts_on_no_ground_but_that_nobody_enforces() {
        let digest = Digest::of(b"image");
        let (platform, name) = ("linux/amd64".parse().unwrap(), "oci/base".to_owned());
        let subject = Subject { name, reference: None, digest, manifest: digest, config: digest, platform };
        let reason = Reason { class: Class::Identity, code: "test", message: String::new() };
        let refused = failed("signature", reason);
        let passed = Check { status: Status::Pass, class: None, ..refused.clone() };
        let verdict = |basis, checks: &[&Check]| Verdict {
            subject: subject.clone(),
            rule: Some(0),
            mode: Mode::Enforce,
            checks: checks.iter().map(|check| (*check).clone()).collect(),
            attestations: Vec::new(),
            rejections: Vec::new(),
            basis,
            project: None,
        };
        let starts = |basis, checks: &[&Check]| verdict(basis, checks).launchable().is_some();
        for basis in [Basis::Verified, Basis::Rebuilt] {
            assert!(starts(Some(basis), &[&passed]));
            assert!(!starts(Some(basis), &[&passed, &refused]) && !starts(Some(basis), &[]));
        }
        assert!(starts(Some(Basis::NotEnforced), &[&refused]));
        assert!(!starts(None, &[&passed]));
        assert_eq!(verdict(None, &[&passed, &refused]).class(), Some(Class::Identity));
        assert_eq!(verdict(None, &[&passed]).class(), None);
    }
}
