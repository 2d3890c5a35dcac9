//! A project's policy on top of the person's own: it can take away and never give.
//!
//! An image is admitted only where both admit it, each by its own rules, signers and roots. There is nothing to merge,
//! so that no field of a project's policy can loosen anything, those that are not invented yet included. What no rule
//! of the project's names is denied, as everywhere: its list of images is the list of those that the project uses.

use crate::policy::verdict::{Attested, Basis, Tightened, Verdict};
use crate::policy::{Mode, Policy, PolicyError, Rule};

impl Policy {
    /// This policy, and a project's on top of it.
    ///
    /// # Errors
    /// When the project's does not enforce in every rule (`warn` and `audit` let start what is not admitted), or looks
    /// for attestations in a repository of its own choice.
    pub fn tightened_by(mut self, project: Self) -> Result<Self, PolicyError> {
        let origin = project.origin.clone();
        let malformed = |reason| Err(PolicyError::Malformed { origin, reason });
        if let Some(index) = project.rules.iter().position(|rule| rule.mode != Mode::Enforce) {
            return malformed(format!("rule {index}: mode: a project's policy enforces; leave `mode` out"));
        }
        if let Some(index) = project.rules.iter().position(|rule| rule.attestations.is_some()) {
            return malformed(format!(
                "rule {index}: attestations: where they are kept is for the person's own policy to say"
            ));
        }
        if self.project.is_some() || project.project.is_some() {
            return malformed("one project's policy is applied, not several".to_owned());
        }
        self.project = Some(Box::new(project));
        Ok(self)
    }

    /// The project's policy on top of this one.
    pub fn project(&self) -> Option<&Self> {
        self.project.as_deref()
    }

    /// The rules that an image of this name has to keep: this policy's, and the project's. None where this policy has
    /// none, which denies.
    ///
    /// # Errors
    /// When two rules of one policy fit the image equally well.
    pub fn rules_for(&self, name: &str) -> Result<Vec<&Rule>, PolicyError> {
        let Some((_, own)) = self.rule_for(name)? else { return Ok(Vec::new()) };
        let projects = self.project().map(|project| project.rule_for(name)).transpose()?.flatten();
        Ok([own].into_iter().chain(projects.map(|(_, rule)| rule)).collect())
    }
}

impl Verdict {
    /// Both verdicts about one image as one: admitted where both admit.
    pub(super) fn and(mut self, project: Self) -> Self {
        let admitted = self.subject == project.subject && project.is_admitted();
        self.basis = match self.basis {
            // What its own rule only warns about starts only if the project admits it.
            Some(basis) if admitted && (basis == Basis::NotEnforced || project.basis == Some(basis)) => Some(basis),
            _ => None,
        };
        if !admitted {
            self.mode = Mode::Enforce;
        }
        self.project = Some(Tightened { rule: project.rule, checks_from: self.checks.len() });
        self.checks.extend(project.checks);
        for attested in project.attestations {
            let known = |one: &Attested| (one.digest, &one.satisfies) == (attested.digest, &attested.satisfies);
            if !self.attestations.iter().any(known) {
                self.attestations.push(attested);
            }
        }
        for rejected in project.rejections {
            if !self.rejections.contains(&rejected) {
                self.rejections.push(rejected);
            }
        }
        self
    }
}
