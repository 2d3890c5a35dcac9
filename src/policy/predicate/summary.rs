//! `[rule.vsa]`: expectations on a verification summary (SLSA, "Verification of VSAs").

use jiff::{SignedDuration, Timestamp};

use super::{Stale, check_stated_time, written};
use crate::attestation::Statement;
use crate::attestation::summary::Summary;
use crate::class::Class;
use crate::content::Digest;
use crate::policy::name;
use crate::policy::pattern::Pattern;
use crate::policy::verdict::{Reason, Subject};

/// What a summary must say.
#[derive(Debug, Clone)]
pub(in crate::policy) struct SummaryRule {
    /// `verifier.id`, exactly.
    pub(in crate::policy) verifier_id: String,
    /// `resourceUri` matches one of them; where there is none, it names the image that is judged.
    pub(in crate::policy) resource_uri: Vec<Pattern>,
    /// All of them were verified.
    pub(in crate::policy) levels: Vec<String>,
    /// `policy.uri`, exactly.
    pub(in crate::policy) policy_uri: Option<String>,
    /// `policy.digest.sha256`.
    pub(in crate::policy) policy_digest: Option<Digest>,
    /// Longest time since `timeVerified`.
    pub(in crate::policy) max_age: Option<SignedDuration>,
}

impl SummaryRule {
    pub(in crate::policy) fn check(
        &self,
        statement: &Statement,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let summary = Summary::parse(statement.predicate_text().as_bytes()).map_err(|error| Reason::of(&error))?;
        if summary.verifier_id != self.verifier_id {
            return Err(differs("verifier-id", &summary.verifier_id, &self.verifier_id));
        }
        let uri = &summary.resource_uri;
        if self.resource_uri.is_empty() && !name::is_image(uri, subject) {
            return Err(differs("resource-uri", uri, &subject.name));
        }
        if !self.resource_uri.is_empty() && !self.resource_uri.iter().any(|pattern| pattern.matches(uri)) {
            let patterns: Vec<&str> = self.resource_uri.iter().map(Pattern::as_str).collect();
            return Err(differs("resource-uri", uri, &patterns.join(" or ")));
        }
        if !summary.passed {
            return Err(refused("not-passed", format!("{} says that {uri} failed", summary.verifier_id)));
        }
        if let Some(missing) = self.levels.iter().find(|level| !summary.has_level(level)) {
            return Err(differs("verified-level", &summary.verified_levels.join(" and "), missing));
        }
        if let Some(expected) = &self.policy_uri
            && summary.policy_uri != *expected
        {
            return Err(differs("policy-uri", &summary.policy_uri, expected));
        }
        if let Some(expected) = &self.policy_digest
            && summary.policy_sha256 != Some(*expected)
        {
            let said = summary.policy_sha256.map(|digest| digest.to_string()).unwrap_or_default();
            return Err(differs("policy-digest", &said, &expected.to_string()));
        }
        self.check_age(&summary, now)
    }

    fn check_age(&self, summary: &Summary, now: Timestamp) -> Result<(), Reason> {
        let Some(max_age) = self.max_age else { return Ok(()) };
        let wanted = written(max_age);
        let message = match check_stated_time(summary.time_verified, max_age, now) {
            Ok(()) => return Ok(()),
            Err(Stale::Unknown) => {
                format!("it does not say when it was verified, and the rule asks for at most {wanted}")
            }
            Err(Stale::Future(time)) => format!("it was verified at {time}, which the local clock has not reached"),
            Err(Stale::Old(time)) => format!("it was verified at {time}, and the rule asks for at most {wanted}"),
        };
        Err(Reason { class: Class::Time, code: "summary-too-old", message })
    }
}

/// Whether a summary is what the rule asks for, but for its saying that the image failed.
pub(in crate::policy) fn takes_back(reason: &Reason) -> bool {
    reason.code == "not-passed"
}

/// When a summary says that it was made.
pub(in crate::policy) fn stated_time(statement: &Statement) -> Option<Timestamp> {
    Summary::parse(statement.predicate_text().as_bytes()).ok()?.time_verified
}

fn differs(code: &'static str, said: &str, expected: &str) -> Reason {
    refused(code, format!("its {code} is {said:?}, and the rule asks for {expected:?}"))
}

fn refused(code: &'static str, message: String) -> Reason {
    Reason { class: Class::Predicate, code, message }
}
