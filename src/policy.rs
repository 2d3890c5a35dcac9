//! Policy: who must have said what about an image before it is admitted.
//!
//! Closed by default: no rule for a name, no attestation for a requirement, no trusted time where an age is limited —
//! each denies. Evaluation is pure: the same policy, evidence and time give the same verdict.

mod document;
mod judge;
mod licence;
mod name;
pub mod pattern;
mod predicate;
mod project;
mod purl;
mod root_age;
mod rule;
pub mod seal;
pub mod signer;
mod summary;
mod threshold;
pub mod verdict;

pub use document::{Load, requirements};
pub use name::SubjectName;
pub use root_age::RootAge;
pub use rule::{About, Mode, Rebuild, Requirement, Rule};

use jiff::Timestamp;

use crate::attestation::bundle::Bundle;
use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::home;
use crate::policy::judge::failed;
use crate::policy::pattern::Pattern;
use crate::policy::signer::TrustedSigner;
use crate::policy::verdict::{Basis, Reason, Rejected, Status, Subject, Verdict};

/// A policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not TOML of the documented form, or contradicts itself.
    #[error("the policy {origin} cannot be used: {reason}")]
    Malformed {
        /// Where it was read from.
        origin: String,
        /// What is wrong, with the field.
        reason: String,
    },
    /// Two rules fit an image equally well.
    #[error("the policy {origin} has two rules for {name} and none is more specific: {first} and {second}")]
    Ambiguous {
        /// Where it was read from.
        origin: String,
        /// The image's name.
        name: String,
        /// One pattern.
        first: String,
        /// The other.
        second: String,
    },
}

impl Classified for PolicyError {
    fn class(&self) -> Class {
        Class::Policy
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed-policy",
            Self::Ambiguous { .. } => "ambiguous-policy",
        }
    }
}

/// Where a policy is from that is no file: the one inside bulla, and what `--key` and `--identity` say.
const BUNDLED: &str = "the policy inside bulla";
const COMMAND_LINE: &str = "the command line";

/// A policy, ready to judge.
#[derive(Debug)]
pub struct Policy {
    origin: String,
    sha256: Digest,
    rules: Vec<Rule>,
    withdrawn: Vec<Withdrawn>,
    project: Option<Box<Policy>>,
}

#[derive(Debug)]
struct Withdrawn {
    digest: Digest,
    reason: String,
}

/// Where the image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A registry or a layout: attestations speak for it.
    Published,
    /// Built here from locked inputs, beside a published image with this digest, if there is one.
    Rebuilt {
        /// The published digest.
        published: Option<Digest>,
    },
}

/// A bundle and the predicate type that it claims to hold. The claim only sorts; what counts is read again from the
/// bytes that were verified.
#[derive(Debug)]
pub struct Candidate {
    /// The bundle.
    pub bundle: Bundle,
    /// What its statement says it is.
    pub predicate_type: String,
}

/// What was found about an image: all that a verdict rests on.
#[derive(Debug)]
pub struct Evidence {
    /// Which image.
    pub subject: Subject,
    /// Where it came from.
    pub origin: Origin,
    /// Well-formed attestations that are attached to it, not yet believed.
    pub candidates: Vec<Candidate>,
    /// What is attached and is no well-formed bundle.
    pub rejected: Vec<Rejected>,
    /// Predicate types that are attached and that no requirement asks for; not read, not believed.
    pub passed_over: Vec<String>,
    /// Evidence in older forms, which was seen and not read.
    pub legacy: Vec<String>,
}

impl Evidence {
    /// Nothing yet about this image.
    pub fn of(subject: Subject, origin: Origin) -> Self {
        Self {
            subject,
            origin,
            candidates: Vec::new(),
            rejected: Vec::new(),
            passed_over: Vec::new(),
            legacy: Vec::new(),
        }
    }
}

impl Policy {
    /// Reads a policy. `origin` names it in messages; `load` brings the files that it names (keys, trust roots).
    pub fn parse(text: &str, origin: &str, load: Load<'_>) -> Result<Self, PolicyError> {
        document::read(text, origin, load)
    }

    /// The policy inside bulla: the project's own templates, and nothing else.
    pub fn default_policy() -> Result<Self, PolicyError> {
        let text = include_str!("../policies/default.toml")
            .replace("@images@", home::IMAGES)
            .replace("@repository@", home::slug())
            .replace("@workflow@", home::RELEASE_WORKFLOW);
        Self::parse(&text, BUNDLED, &|name| Err(format!("{name} is not inside bulla")))
    }

    /// A policy of one rule that applies to every image: what `--key` or `--identity` on the command line mean.
    pub fn of_signer(signer: TrustedSigner, require: Vec<Requirement>) -> Self {
        document::of_signer(signer, require)
    }

    /// Where it was read from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Digest of its text.
    pub fn sha256(&self) -> &Digest {
        &self.sha256
    }

    /// Its rules, in the order of the text.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule for an image: the one with the most specific pattern that names it.
    pub fn rule_for(&self, name: &str) -> Result<Option<(usize, &Rule)>, PolicyError> {
        let fitting = self.rules.iter().enumerate().flat_map(|(index, rule)| {
            rule.images.iter().filter(|pattern| pattern.matches(name)).map(move |pattern| (pattern, index, rule))
        });
        let mut best: Option<(&Pattern, usize, &Rule)> = None;
        let mut rival = None;
        for candidate in fitting {
            match best.map(|best| candidate.0.specificity().cmp(&best.0.specificity())) {
                None | Some(std::cmp::Ordering::Greater) => (best, rival) = (Some(candidate), None),
                Some(std::cmp::Ordering::Equal) if best.is_some_and(|best| best.1 != candidate.1) => {
                    rival = Some(candidate.0);
                }
                Some(_) => {}
            }
        }
        match (best, rival) {
            (Some((first, ..)), Some(second)) => Err(PolicyError::Ambiguous {
                origin: self.origin.clone(),
                name: name.to_owned(),
                first: first.to_string(),
                second: second.to_string(),
            }),
            (best, _) => Ok(best.map(|(_, index, rule)| (index, rule))),
        }
    }

    /// Judges an image, by the project's policy too where there is one. `now` is used for freshness alone.
    ///
    /// # Errors
    /// When two rules fit the image equally well.
    pub fn evaluate(&self, evidence: &Evidence, now: Timestamp) -> Result<Verdict, PolicyError> {
        let own = self.evaluate_alone(evidence, now)?;
        match &self.project {
            Some(project) => Ok(own.and(project.evaluate_alone(evidence, now)?)),
            None => Ok(own),
        }
    }

    fn evaluate_alone(&self, evidence: &Evidence, now: Timestamp) -> Result<Verdict, PolicyError> {
        let subject = &evidence.subject;
        let found = self.rule_for(&subject.name)?;
        let mut verdict = Verdict {
            subject: subject.clone(),
            rule: found.map(|(index, _)| index),
            mode: found.map_or(Mode::Enforce, |(_, rule)| rule.mode),
            checks: Vec::new(),
            attestations: Vec::new(),
            rejections: evidence.rejected.clone(),
            basis: None,
            project: None,
        };
        let withdrawn = self.withdrawn.iter().find(|entry| [subject.digest, subject.manifest].contains(&entry.digest));
        if let Some(entry) = withdrawn {
            // A withdrawal holds in every mode: somebody said no to this very image.
            verdict.mode = Mode::Enforce;
            let message = format!("{} was withdrawn: {}", entry.digest, entry.reason);
            verdict.checks.push(failed("deny", Reason { class: Class::Rollback, code: "withdrawn", message }));
            return Ok(verdict);
        }
        let Some((_, rule)) = found else {
            let message =
                format!("no rule of {} names {}, and what no rule names is denied", self.origin, subject.name);
            verdict.checks.push(failed("rule", Reason { class: Class::Identity, code: "no-rule", message }));
            return Ok(verdict);
        };
        let basis = match evidence.origin {
            Origin::Published => {
                rule.judge(evidence, now, &mut verdict);
                Basis::Verified
            }
            Origin::Rebuilt { published } => {
                verdict.checks.push(rule.judge_rebuild(&subject.digest, published));
                Basis::Rebuilt
            }
        };
        let passed = !verdict.checks.is_empty() && verdict.checks.iter().all(|check| check.status == Status::Pass);
        verdict.basis = match rule.mode {
            _ if passed => Some(basis),
            // A rebuild is the person's own request; a rule that forbids it does so in every mode.
            Mode::Warn | Mode::Audit if basis == Basis::Verified => Some(Basis::NotEnforced),
            _ => None,
        };
        Ok(verdict)
    }
}
