//! Policy: who must have said what about an image before it is admitted.
//!
//! Closed by default: no rule for a name, no attestation for a requirement, no trusted time where an age is limited —
//! each denies. Evaluation is pure: the same policy, evidence and time give the same verdict.

mod document;
pub mod pattern;
mod predicate;
mod root_age;
pub mod signer;
pub mod verdict;

pub use document::{Load, requirements};
pub use root_age::RootAge;

use jiff::{SignedDuration, Timestamp};

use crate::attestation::bundle::Bundle;
use crate::attestation::{Statement, predicate_types};
use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::home;
use crate::policy::pattern::Pattern;
use crate::policy::predicate::{ProvenanceRule, SbomRule};
use crate::policy::signer::TrustedSigner;
use crate::policy::verdict::{Attested, Basis, Check, Reason, Rejected, Status, Subject, Verdict};
use crate::sigstore::{self, Formats, VerifiedAttestation};

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

/// A policy, ready to judge.
#[derive(Debug)]
pub struct Policy {
    origin: String,
    sha256: Digest,
    rules: Vec<Rule>,
    withdrawn: Vec<Withdrawn>,
}

/// What holds for the images that one of the patterns names.
#[derive(Debug)]
pub struct Rule {
    /// Which images.
    pub images: Vec<Pattern>,
    /// Whether a launch goes by the verdict.
    pub mode: Mode,
    /// What there must be. Never empty.
    pub require: Vec<Requirement>,
    /// What `launch --rebuild` may do.
    pub rebuild: Rebuild,
    /// Longest time since an attestation was signed.
    pub max_age: Option<SignedDuration>,
    /// Any one of them must have signed. Never empty.
    pub signers: Vec<TrustedSigner>,
    /// Which forms of evidence count.
    pub formats: Formats,
    /// How old the trust roots of public instances may be.
    pub root_age: RootAge,
    provenance: ProvenanceRule,
    sbom: SbomRule,
}

/// Whether a launch goes by the verdict. `verify` returns the same in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A denied image does not start.
    Enforce,
    /// It starts, with a warning.
    Warn,
    /// It starts, and the record says so.
    Audit,
}

/// What `launch --rebuild` may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// Nothing.
    Forbid,
    /// Launch a local rebuild that has the published digest.
    Match,
    /// Launch a local rebuild, whatever its digest.
    Allow,
}

/// What there must be: a statement of this kind, verified, by one of the signers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// A cosign signature statement.
    Signature,
    /// SLSA provenance.
    Provenance,
    /// An SBOM, SPDX or CycloneDX.
    Sbom,
    /// A statement of exactly this predicate type.
    Predicate(String),
}

impl Requirement {
    /// As it stands in a policy and in a verdict.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Signature => "signature",
            Self::Provenance => "provenance",
            Self::Sbom => "sbom",
            Self::Predicate(uri) => uri,
        }
    }

    /// Whether a statement of this predicate type is what is asked for.
    pub fn asks_for(&self, predicate_type: &str) -> bool {
        match self {
            Self::Signature => predicate_type == predicate_types::SIGNATURE,
            Self::Provenance => predicate_types::is_provenance(predicate_type),
            Self::Sbom => predicate_types::is_sbom(predicate_type),
            Self::Predicate(uri) => uri == predicate_type,
        }
    }
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
        Self::parse(&text, "the policy inside bulla", &|name| Err(format!("{name} is not inside bulla")))
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

    /// Judges an image. `now` is used for freshness alone.
    ///
    /// # Errors
    /// When two rules fit the image equally well.
    pub fn evaluate(&self, evidence: &Evidence, now: Timestamp) -> Result<Verdict, PolicyError> {
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

impl Rule {
    /// One check for each requirement; also records what was verified and what was not.
    fn judge(&self, evidence: &Evidence, now: Timestamp, verdict: &mut Verdict) {
        for requirement in &self.require {
            let mut best: Option<(Reason, Digest)> = None;
            let mut passed = None;
            let candidates = evidence.candidates.iter();
            for Candidate { bundle, .. } in candidates.filter(|one| requirement.asks_for(&one.predicate_type)) {
                match self.satisfy(requirement, bundle, &evidence.subject, now) {
                    Ok(attestation) => {
                        passed = Some(attested(&attestation, requirement));
                        break;
                    }
                    Err(reason) => {
                        verdict.rejections.push(Rejected { digest: *bundle.digest(), reason: reason.clone() });
                        if best.as_ref().is_none_or(|(known, _)| progress(&reason) > progress(known)) {
                            best = Some((reason, *bundle.digest()));
                        }
                    }
                }
            }
            verdict.checks.push(match (&passed, best) {
                (Some(attested), _) => Check {
                    requirement: requirement.as_str().to_owned(),
                    status: Status::Pass,
                    code: "verified",
                    class: None,
                    message: format!("{} by {}", attested.predicate_type, attested.signer),
                    attestation: Some(attested.digest),
                },
                (None, Some((reason, digest))) => {
                    Check { attestation: Some(digest), ..failed(requirement.as_str(), reason) }
                }
                (None, None) => failed(requirement.as_str(), self.nothing_attached(requirement, evidence)),
            });
            verdict.attestations.extend(passed);
        }
    }

    /// One bundle against one requirement, under each signer in turn; the reason that came furthest is the one told.
    fn satisfy(
        &self,
        requirement: &Requirement,
        bundle: &Bundle,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<VerifiedAttestation, Reason> {
        let mut best: Option<Reason> = None;
        for signer in &self.signers {
            let judged = sigstore::verify_bundle(bundle, &subject.digest, &signer.trust(), self.formats, now)
                .map_err(|rejection| Reason::of(&rejection))
                .and_then(|attestation| {
                    signer.check(attestation.signer())?;
                    self.root_age.check(signer, now)?;
                    self.check_age(&attestation, now)?;
                    self.check_predicate(requirement, &attestation, subject)?;
                    Ok(attestation)
                });
            match judged {
                Ok(attestation) => return Ok(attestation),
                Err(reason) if best.as_ref().is_none_or(|known| progress(&reason) > progress(known)) => {
                    best = Some(reason);
                }
                Err(_) => {}
            }
        }
        Err(best.unwrap_or_else(|| Reason {
            class: Class::Identity,
            code: "no-signer",
            message: "the rule names no signer".to_owned(),
        }))
    }

    /// Freshness: at every trusted time, since a rogue authority may have put one of them forward.
    fn check_age(&self, attestation: &VerifiedAttestation, now: Timestamp) -> Result<(), Reason> {
        let Some(max_age) = self.max_age else { return Ok(()) };
        let Some(oldest) = attestation.times().iter().min() else {
            let message = "the rule limits the age, and nothing trusted says when this was signed".to_owned();
            return Err(Reason { class: Class::Time, code: "no-trusted-time", message });
        };
        if now.duration_since(*oldest) > max_age {
            let days = max_age.as_hours() / 24;
            let message = format!("it was signed at {oldest}, and the rule asks for at most {days} days");
            return Err(Reason { class: Class::Time, code: "too-old", message });
        }
        Ok(())
    }

    fn check_predicate(
        &self,
        requirement: &Requirement,
        attestation: &VerifiedAttestation,
        subject: &Subject,
    ) -> Result<(), Reason> {
        let statement: &Statement = attestation.statement();
        if !requirement.asks_for(&statement.predicate_type) {
            let message = format!("the statement is of type {:?}", statement.predicate_type);
            return Err(Reason { class: Class::Predicate, code: "predicate-type", message });
        }
        match requirement {
            Requirement::Provenance => self.provenance.check(statement, attestation.signer()),
            Requirement::Sbom => self.sbom.check(statement, subject),
            Requirement::Signature | Requirement::Predicate(_) => Ok(()),
        }
    }

    fn judge_rebuild(&self, rebuilt: &Digest, published: Option<Digest>) -> Check {
        let refused = |code, message| failed("rebuild", Reason { class: Class::Build, code, message });
        let passed = |message| Check {
            requirement: "rebuild".to_owned(),
            status: Status::Pass,
            code: "verified",
            class: None,
            message,
            attestation: None,
        };
        match (self.rebuild, published) {
            (Rebuild::Forbid, _) => refused("rebuild-forbidden", "the rule forbids local rebuilds".to_owned()),
            (_, Some(published)) if published == *rebuilt => {
                passed(format!("the local rebuild has the published digest {rebuilt}"))
            }
            (Rebuild::Match, Some(published)) => refused(
                "rebuild-differs",
                format!(
                    "the local rebuild is {rebuilt}, what is published is {published}, and the rule asks for a match"
                ),
            ),
            (Rebuild::Match, None) => refused(
                "rebuild-unmatched",
                format!("the local rebuild is {rebuilt}, and there is no published digest that it could match"),
            ),
            (Rebuild::Allow, Some(published)) => {
                passed(format!("a local rebuild, {rebuilt}, which differs from the published {published}"))
            }
            (Rebuild::Allow, None) => passed(format!("a local rebuild, {rebuilt}, with nothing published to compare")),
        }
    }

    fn nothing_attached(&self, requirement: &Requirement, evidence: &Evidence) -> Reason {
        let mut seen: Vec<&str> = evidence.candidates.iter().map(|one| one.predicate_type.as_str()).collect();
        seen.extend(evidence.passed_over.iter().map(String::as_str));
        seen.sort_unstable();
        seen.dedup();
        let mut message = match seen.as_slice() {
            [] => "nothing is attached to the image".to_owned(),
            types => format!("the image has attestations only of type {}", types.join(", ")),
        };
        message.push_str(&format!(", and the rule asks for a {} by ", requirement.as_str()));
        let signers: Vec<String> = self.signers.iter().map(ToString::to_string).collect();
        message.push_str(&signers.join(" or "));
        if !evidence.legacy.is_empty() {
            message.push_str(&format!("; older formats were seen and are not read: {}", evidence.legacy.join(", ")));
        }
        Reason { class: Class::NoAttestation, code: "no-attestation", message }
    }
}

fn attested(attestation: &VerifiedAttestation, requirement: &Requirement) -> Attested {
    Attested {
        digest: *attestation.bundle_digest(),
        predicate_type: attestation.statement().predicate_type.clone(),
        signer: attestation.signer().clone(),
        time: attestation.times().iter().max().copied(),
        log_index: attestation.log_index(),
        satisfies: vec![requirement.as_str().to_owned()],
    }
}

fn failed(requirement: &str, reason: Reason) -> Check {
    Check {
        requirement: requirement.to_owned(),
        status: Status::Fail,
        code: reason.code,
        class: Some(reason.class),
        message: reason.message,
        attestation: None,
    }
}

/// How far an attestation came before it failed: of several failures the one that came furthest explains most.
fn progress(reason: &Reason) -> u8 {
    match reason.class {
        Class::Format | Class::Limit => 0,
        Class::Signature => 1,
        Class::Trust => 2,
        Class::Tlog => 3,
        Class::Subject => 4,
        Class::Identity => 5,
        Class::Time => 6,
        _ => 7,
    }
}
