//! One rule against what was found about an image: a check for each requirement, and what became of every bundle.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::attestation::Statement;
use crate::attestation::bundle::Bundle;
use crate::class::Class;
use crate::content::Digest;
use crate::policy::predicate;
use crate::policy::threshold::{self, Met};
use crate::policy::verdict::{Attested, Check, Reason, Rejected, Root, Status, Subject, Verdict};
use crate::policy::{Candidate, Evidence, Rebuild, Requirement, Rule};
use crate::sigstore::{self, Claimed, TrustRoot, VerifiedAttestation};

/// Why an attestation does not meet a requirement.
struct Refusal {
    reason: Reason,
    /// Present where a verifier's summary is all that the rule asks for, and says that the image failed: when it was made,
    /// by its own word.
    taken_back: Option<Option<Timestamp>>,
}

impl Rule {
    /// One check for each requirement; also records what was verified and what was not.
    pub(super) fn judge(&self, evidence: &Evidence, now: Timestamp, verdict: &mut Verdict) {
        for requirement in &self.require {
            let needed = self.threshold(requirement);
            let mut best: Option<(Reason, Digest)> = None;
            let mut met = Vec::new();
            let mut withdrawn: Vec<(Option<Timestamp>, Reason, Digest)> = Vec::new();
            let candidates = evidence.candidates.iter();
            for Candidate { bundle, .. } in candidates.filter(|one| requirement.asks_for(&one.predicate_type)) {
                match self.satisfy(requirement, bundle, &evidence.subject, now) {
                    Ok(one) => met.push(one),
                    Err(Refusal { reason, taken_back }) => {
                        if let Some(time) = taken_back {
                            withdrawn.push((time, reason.clone(), *bundle.digest()));
                        }
                        verdict.rejections.push(Rejected { digest: *bundle.digest(), reason: reason.clone() });
                        if best.as_ref().is_none_or(|(known, _)| progress(&reason) > progress(known)) {
                            best = Some((reason, *bundle.digest()));
                        }
                    }
                }
                if !is_dated(requirement) && threshold::distinct(&met).len() >= needed {
                    break;
                }
            }
            if is_dated(requirement) {
                // The newest stands for the image. What has no time goes last; what is equal stays in its order.
                met.sort_by_key(|one| Reverse(one.attestation.signed_at()));
            }
            // A verifier that said later that the image fails has taken back what it said before.
            let last = met.iter().filter_map(|one| predicate::stated_time(one.attestation.statement())).max();
            if let Some((_, reason, digest)) =
                withdrawn.into_iter().find(|(time, ..)| time.is_none() || last.is_none() || *time >= last)
            {
                met.clear();
                best = Some((reason, digest));
            }
            let chosen: Vec<&Met> = threshold::distinct(&met).into_iter().map(|place| &met[place]).collect();
            let counted = chosen.len() >= needed;
            verdict.checks.push(match best {
                _ if counted => passed(requirement, &chosen[..needed]),
                _ if !chosen.is_empty() => failed(requirement.as_str(), too_few(requirement, &chosen, needed)),
                Some((reason, digest)) => {
                    let (found, wanted) = self.found_and_wanted(requirement, evidence, &reason);
                    Check { attestation: Some(digest), found, wanted, ..failed(requirement.as_str(), reason) }
                }
                None => Check {
                    found: seen(evidence),
                    wanted: self.wanted(requirement),
                    ..failed(requirement.as_str(), self.nothing_attached(requirement, evidence))
                },
            });
            let satisfied = counted.then_some(requirement);
            let root = |one: &Met| one.entries.first().and_then(|entry| self.signers[*entry].who.root());
            verdict
                .attestations
                .extend(chosen.iter().take(needed).map(|one| attested(&one.attestation, root(one), satisfied)));
        }
    }

    /// One bundle against one requirement, under each signer in turn; the reason that came furthest is the one told.
    fn satisfy(
        &self,
        requirement: &Requirement,
        bundle: &Bundle,
        image: &Subject,
        now: Timestamp,
    ) -> Result<Met, Refusal> {
        let about = self.subject_of(bundle, image);
        let mut best: Option<Reason> = None;
        let mut met: Option<Met> = None;
        let mut taken_back = None;
        for (entry, signer) in self.signers.iter().enumerate().filter(|(_, one)| one.may_satisfy(requirement)) {
            let judged = sigstore::verify_bundle(bundle, &about, &signer.who.trust(), self.formats, now)
                .map_err(|rejection| Reason::of(&rejection))
                .and_then(|attestation| {
                    signer.who.check(attestation.signer())?;
                    self.root_age.check(&signer.who, now)?;
                    let checked = self.check(requirement, &attestation, image, now);
                    if checked.as_ref().is_err_and(predicate::takes_back) {
                        taken_back = Some(predicate::stated_time(attestation.statement()));
                    }
                    checked.map(|()| attestation)
                });
            match (judged, &mut met) {
                (Ok(_), Some(met)) => met.entries.push(entry),
                (Ok(attestation), None) => met = Some(Met { attestation, entries: vec![entry] }),
                (Err(reason), _) if best.as_ref().is_none_or(|known| progress(&reason) > progress(known)) => {
                    best = Some(reason);
                }
                (Err(_), _) => {}
            }
            // Which other entries name this signer matters only where signers are counted.
            if met.is_some() && self.threshold(requirement) == 1 {
                break;
            }
        }
        met.ok_or_else(|| {
            let reason = best.unwrap_or_else(|| Reason {
                class: Class::Identity,
                code: "no-signer",
                message: "the rule names no signer".to_owned(),
            });
            Refusal { reason, taken_back }
        })
    }

    /// Which of the digests that count the bundle is about, on its own word; verifying it finds out whether that is so.
    fn subject_of(&self, bundle: &Bundle, image: &Subject) -> Digest {
        let digests = self.subjects(image);
        let named = match digests.as_slice() {
            [_] => None,
            several => bundle
                .unverified_statement()
                .ok()
                .and_then(|statement| several.iter().find(|digest| statement.names(digest)).copied()),
        };
        named.or(digests.first().copied()).unwrap_or(image.digest)
    }

    /// What was verified, and is somebody's whom the rule names, against everything else that the rule says.
    fn check(
        &self,
        requirement: &Requirement,
        attestation: &VerifiedAttestation,
        image: &Subject,
        now: Timestamp,
    ) -> Result<(), Reason> {
        check_age(self.max_age, attestation, now)?;
        let statement: &Statement = attestation.statement();
        if !requirement.asks_for(&statement.predicate_type) {
            let message = format!("the statement is of type {:?}", statement.predicate_type);
            return Err(Reason { class: Class::Predicate, code: "predicate-type", message });
        }
        if let Some(name) = &self.subject_name {
            name.check(statement, attestation.subject(), image)?;
        }
        match requirement {
            Requirement::Provenance => {
                check_age(self.provenance.max_age, attestation, now)?;
                self.provenance.check(statement, attestation.signer())
            }
            Requirement::Sbom => self.sbom.check(statement, image),
            Requirement::Vuln => self.scan.check(statement, now),
            Requirement::Vsa => match &self.summary {
                Some(rule) => rule.check(statement, image, now),
                None => {
                    let message = "the rule names no verifier whose summaries count".to_owned();
                    Err(Reason { class: Class::Predicate, code: "verifier-id", message })
                }
            },
            Requirement::Signature | Requirement::Predicate(_) => Ok(()),
        }
    }

    pub(super) fn judge_rebuild(&self, rebuilt: &Digest, published: Option<Digest>) -> Check {
        let refused = |code, message| failed("rebuild", Reason { class: Class::Build, code, message });
        let passed = |message| Check {
            requirement: "rebuild".to_owned(),
            status: Status::Pass,
            code: "verified",
            class: None,
            message,
            attestation: None,
            found: Vec::new(),
            wanted: Vec::new(),
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

    /// Who says to have signed what is attached, and who would have been believed: where it is the signer that nobody
    /// trusts. Where the signer was right, the reason has both.
    fn found_and_wanted(
        &self,
        requirement: &Requirement,
        evidence: &Evidence,
        reason: &Reason,
    ) -> (Vec<String>, Vec<String>) {
        if !matches!(reason.class, Class::Identity | Class::Signature | Class::Trust) {
            return (Vec::new(), Vec::new());
        }
        let candidates = evidence.candidates.iter().filter(|one| requirement.asks_for(&one.predicate_type));
        let found = sorted(candidates.map(|one| Claimed::by(&one.bundle).to_string()));
        (found, self.wanted(requirement))
    }

    /// The signers whose word would do.
    fn wanted(&self, requirement: &Requirement) -> Vec<String> {
        let signers = self.signers.iter().filter(|signer| signer.may_satisfy(requirement));
        signers.map(|signer| signer.who.to_string()).collect()
    }

    fn nothing_attached(&self, requirement: &Requirement, evidence: &Evidence) -> Reason {
        let seen = seen(evidence);
        let mut message = match seen.as_slice() {
            [] => "nothing is attached to the image".to_owned(),
            types => format!("the image has attestations only of type {}", types.join(", ")),
        };
        if let Some(repository) = self.attestations.as_ref().filter(|_| evidence.subject.reference.is_some()) {
            message.push_str(&format!(" in {repository}, where the rule looks for them"));
        }
        message.push_str(&format!(", and the rule asks for a {} by ", requirement.as_str()));
        message.push_str(&self.wanted(requirement).join(" or "));
        if !evidence.legacy.is_empty() {
            message.push_str(&format!("; older formats were seen and are not read: {}", evidence.legacy.join(", ")));
        }
        Reason { class: Class::NoAttestation, code: "no-attestation", message }
    }
}

/// Whether a newer statement of the kind replaces an older one.
fn is_dated(requirement: &Requirement) -> bool {
    matches!(requirement, Requirement::Provenance | Requirement::Vuln | Requirement::Vsa)
}

/// Freshness: at every trusted time, since a rogue authority may have put one of them forward.
fn check_age(max_age: Option<SignedDuration>, attestation: &VerifiedAttestation, now: Timestamp) -> Result<(), Reason> {
    let Some(max_age) = max_age else { return Ok(()) };
    let Some(oldest) = attestation.signed_at() else {
        let message = "the rule limits the age, and nothing trusted says when this was signed".to_owned();
        return Err(Reason { class: Class::Time, code: "no-trusted-time", message });
    };
    if now.duration_since(oldest) > max_age {
        let wanted = predicate::written(max_age);
        let message = format!("it was signed at {oldest}, and the rule asks for at most {wanted}");
        return Err(Reason { class: Class::Time, code: "too-old", message });
    }
    Ok(())
}

fn passed(requirement: &Requirement, chosen: &[&Met]) -> Check {
    let first = chosen.first().map(|one| &one.attestation);
    let kind = first.map_or(requirement.as_str(), |one| one.statement().predicate_type.as_str());
    Check {
        requirement: requirement.as_str().to_owned(),
        status: Status::Pass,
        code: "verified",
        class: None,
        message: format!("{kind} by {}", signers(chosen)),
        attestation: first.map(|one| *one.bundle_digest()),
        found: Vec::new(),
        wanted: Vec::new(),
    }
}

fn too_few(requirement: &Requirement, chosen: &[&Met], needed: usize) -> Reason {
    let (kind, found, by) = (requirement.as_str(), chosen.len(), signers(chosen));
    let message = format!("the rule asks for a {kind} by {needed} different signers, and there are {found}: {by}");
    Reason { class: Class::Identity, code: "threshold", message }
}

fn signers(chosen: &[&Met]) -> String {
    chosen.iter().map(|one| one.attestation.signer().to_string()).collect::<Vec<_>>().join(" and ")
}

fn attested(attestation: &VerifiedAttestation, root: Option<&TrustRoot>, satisfied: Option<&Requirement>) -> Attested {
    Attested {
        digest: *attestation.bundle_digest(),
        predicate_type: attestation.statement().predicate_type.clone(),
        signer: attestation.signer().clone(),
        time: attestation.times().iter().max().copied(),
        log_index: attestation.log_index(),
        log_id: attestation.log_id().map(str::to_owned),
        root: root.map(|root| Root { source: root.source().to_owned(), sha256: *root.sha256() }),
        satisfies: satisfied.iter().map(|requirement| requirement.as_str().to_owned()).collect(),
    }
}

pub(super) fn failed(requirement: &str, reason: Reason) -> Check {
    Check {
        requirement: requirement.to_owned(),
        status: Status::Fail,
        code: reason.code,
        class: Some(reason.class),
        message: reason.message,
        attestation: None,
        found: Vec::new(),
        wanted: Vec::new(),
    }
}

/// Most signers or types that a check lists: of more nobody reads the rest.
const LISTED: usize = 16;

/// The predicate types of what is attached, believed or not.
fn seen(evidence: &Evidence) -> Vec<String> {
    let types = evidence.candidates.iter().map(|one| one.predicate_type.clone());
    sorted(types.chain(evidence.passed_over.iter().cloned()))
}

/// Each once, in order, and not more than somebody reads.
fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let texts: BTreeSet<String> = texts.collect();
    texts.into_iter().take(LISTED).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_failures_the_one_at_a_later_step_came_further() {
        let at = |class| progress(&Reason { class, code: "test", message: String::new() });
        use Class::{Format, Identity, Predicate, Signature, Subject, Time, Tlog, Trust};
        let steps = [Format, Signature, Trust, Tlog, Subject, Identity, Time, Predicate].map(at);
        assert!(steps.is_sorted_by(|earlier, later| earlier < later), "{steps:?}");
        assert_eq!(at(Class::Limit), at(Format));
    }
}
