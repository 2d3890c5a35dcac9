//! `[trust]`: how old the trust roots of public instances may be that a policy is judged under.
//!
//! An old root still believes a key that was withdrawn since. A root in a file of the policy's own is as old as whoever
//! wrote the policy lets it be: nobody else knows of what day it is, and it is not held to this.

use jiff::{SignedDuration, Timestamp};

use crate::class::Class;
use crate::policy::signer::TrustedSigner;
use crate::policy::verdict::{Reason, Verdict};
use crate::policy::{Policy, Rule};
use crate::sigstore::{Instance, TrustRoot};

/// How old a root may be. Nothing is limited unless a policy says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RootAge {
    /// Older ones are warned of.
    pub warn: Option<SignedDuration>,
    /// Older ones vouch for nobody.
    pub max: Option<SignedDuration>,
}

impl RootAge {
    /// Refuses a signer whose trust root is too old.
    pub(super) fn check(self, signer: &TrustedSigner, now: Timestamp) -> Result<(), Reason> {
        let (Some(max), Some(root)) = (self.max, signer.root()) else { return Ok(()) };
        match age(root, now) {
            Some(age) if age > max => {
                let message = format!("{}, and the policy allows {} days", describe(root, age), max.as_hours() / 24);
                Err(Reason { class: Class::Trust, code: "root-too-old", message })
            }
            _ => Ok(()),
        }
    }

    fn warning(self, root: &TrustRoot, now: Timestamp) -> Option<String> {
        let age = age(root, now)?;
        (age > self.warn?).then(|| format!("{}: run `bulla trust update`", describe(root, age)))
    }
}

/// How old a root is. One from the future is as far from today as one from the past: some clock was wrong.
fn age(root: &TrustRoot, now: Timestamp) -> Option<SignedDuration> {
    Some(now.duration_since(root.as_of()?).abs())
}

fn describe(root: &TrustRoot, age: SignedDuration) -> String {
    let day = root.as_of().map(|time| time.to_string()).unwrap_or_default();
    format!("the trust root {} was current at {day}, {} days from now", root.source(), age.as_hours() / 24)
}

impl Policy {
    /// The same policy under newer roots, and so the project's: `newer` is asked once for each instance whose root some
    /// signer is judged under. Roots in files of the policy's own stay.
    pub fn with_roots<E>(mut self, newer: impl Fn(Instance) -> Result<TrustRoot, E>) -> Result<Self, E> {
        let mut rules: Vec<&mut Rule> = self.rules.iter_mut().collect();
        rules.extend(self.project.iter_mut().flat_map(|project| &mut project.rules));
        for instance in [Instance::PublicGood, Instance::GitHub] {
            let signers = rules.iter_mut().flat_map(|rule| &mut rule.signers);
            let roots = signers.filter_map(|signer| signer.who.root_mut());
            let mut roots = roots.filter(|root| root.instance() == instance).peekable();
            if roots.peek().is_none() {
                continue;
            }
            let root = std::sync::Arc::new(newer(instance)?);
            roots.for_each(|old| *old = root.clone());
        }
        Ok(self)
    }

    /// What a person should know about the age of the roots that a verdict rests on, each once.
    pub fn root_warnings(&self, verdict: &Verdict, now: Timestamp) -> Vec<String> {
        let own = verdict.rule().and_then(|index| self.rules.get(index));
        let projects = self.project().zip(verdict.project_rule()).and_then(|(project, index)| project.rules.get(index));
        let signers = own.into_iter().chain(projects).flat_map(|rule| rule.signers.iter().map(move |one| (rule, one)));
        let mut warnings: Vec<String> =
            signers.filter_map(|(rule, signer)| rule.root_age.warning(signer.root()?, now)).collect();
        warnings.sort();
        warnings.dedup();
        warnings
    }
}

/// Gives every rule the policy's limits.
pub(super) fn apply(age: RootAge, rules: &mut [Rule]) -> Result<(), String> {
    let limited = |root: &TrustRoot| root.as_of().is_some();
    if !rules.iter().flat_map(|rule| &rule.signers).filter_map(|signer| signer.who.root()).any(limited) {
        return Err(
            "trust: no signer is judged under `public-good` or `github`, so this would have no effect".to_owned()
        );
    }
    if age.warn.zip(age.max).is_some_and(|(warn, max)| warn >= max) {
        return Err("trust: warn-age is not below max-age, so nobody would be warned".to_owned());
    }
    rules.iter_mut().for_each(|rule| rule.root_age = age);
    Ok(())
}
