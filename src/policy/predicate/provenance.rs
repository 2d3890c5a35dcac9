//! `[rule.provenance]`: expectations on SLSA provenance.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{Expected, certificate, differs, parameters, refused};
use crate::attestation::provenance::Provenance;
use crate::attestation::{Statement, predicate_types};
use crate::class::Class;
use crate::policy::pattern::Pattern;
use crate::policy::purl::ResourcePattern;
use crate::policy::verdict::Reason;
use crate::sigstore::Signer;

/// What provenance must say.
#[derive(Debug, Clone)]
pub(in crate::policy) struct ProvenanceRule {
    /// Whether SLSA v1 counts.
    pub(in crate::policy) slsa_v1: bool,
    /// Whether SLSA v0.2 counts.
    pub(in crate::policy) slsa_v02: bool,
    /// `runDetails.builder.id` matches one of them.
    pub(in crate::policy) builder_id: Vec<Pattern>,
    /// `buildDefinition.buildType` is one of them.
    pub(in crate::policy) build_type: Vec<String>,
    /// The source repository, as a URI without a ref.
    pub(in crate::policy) source: Option<String>,
    /// Every external parameter, by its key.
    pub(in crate::policy) external_parameters: Option<BTreeMap<String, Expected>>,
    /// For each of them a resolved dependency matches.
    pub(in crate::policy) present: Vec<ResourcePattern>,
    /// Every resolved dependency matches one of them.
    pub(in crate::policy) allow: Vec<ResourcePattern>,
    /// Longest time since it was signed.
    pub(in crate::policy) max_age: Option<SignedDuration>,
}

impl Default for ProvenanceRule {
    fn default() -> Self {
        Self {
            slsa_v1: true,
            slsa_v02: false,
            builder_id: Vec::new(),
            build_type: Vec::new(),
            source: None,
            external_parameters: None,
            present: Vec::new(),
            allow: Vec::new(),
            max_age: None,
        }
    }
}

impl ProvenanceRule {
    pub(in crate::policy) fn check(&self, statement: &Statement, signer: &Signer) -> Result<(), Reason> {
        let parsed = Provenance::parse(&statement.predicate_type, statement.predicate_text().as_bytes())
            .map_err(|error| Reason::of(&error))?;
        let (counts, form) = match statement.predicate_type.as_str() {
            predicate_types::SLSA_V1 => (self.slsa_v1, "slsa-v1"),
            _ => (self.slsa_v02, "slsa-v0.2"),
        };
        if !counts {
            let message = format!("it is of the form {form:?}, which the rule's formats do not name");
            return Err(Reason { class: Class::Predicate, code: "provenance-version", message });
        }
        if !self.builder_id.is_empty() && !self.builder_id.iter().any(|pattern| pattern.matches(&parsed.builder_id)) {
            return Err(differs("builder-id", &parsed.builder_id, &listed(&self.builder_id)));
        }
        if !self.build_type.is_empty() && !self.build_type.contains(&parsed.build_type) {
            return Err(differs("build-type", &parsed.build_type, &self.build_type.join(" or ")));
        }
        if let Some(expected) = &self.source {
            let sources = parsed.sources();
            if sources.is_empty() || !sources.iter().all(|uri| without_ref(uri) == without_ref(expected)) {
                return Err(differs("source", &sources.join(" and "), expected));
            }
        }
        if let Some(expected) = &self.external_parameters {
            parameters::check(expected, &parsed.external_parameters)?;
        }
        self.check_dependencies(&parsed)?;
        match signer {
            Signer::Certificate(certificate) => certificate::agrees(&parsed, certificate),
            Signer::Key { .. } => Ok(()),
        }
    }

    fn check_dependencies(&self, provenance: &Provenance) -> Result<(), Reason> {
        let uris = || provenance.resolved_dependencies.iter().map(|dependency| dependency.uri.as_deref());
        if let Some(absent) = self.present.iter().find(|wanted| !uris().flatten().any(|uri| wanted.matches(uri))) {
            let message = format!("none of its resolved dependencies is {absent}, and the rule asks for one");
            return Err(refused("missing-dependency", message));
        }
        if self.allow.is_empty() {
            return Ok(());
        }
        // What has no URI cannot be compared, and could be anything.
        match uris().find(|uri| !uri.is_some_and(|uri| self.allow.iter().any(|allowed| allowed.matches(uri)))) {
            Some(other) => {
                let other = other.unwrap_or("a dependency without a URI");
                let message = format!("{other} went into the build, and the rule's dependencies do not allow it");
                Err(refused("denied-dependency", message))
            }
            None => Ok(()),
        }
    }
}

/// `git+https://host/repo@ref` without the ref, and without `git+` or `.git`, which writers set as they like.
pub(super) fn without_ref(uri: &str) -> &str {
    split_ref(uri).0
}

/// The repository, and the ref where there is one.
pub(super) fn split_ref(uri: &str) -> (&str, Option<&str>) {
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    // Only a path can end in a ref: before it, `@` comes after a user, and what is not `scheme://host/path` has none.
    let authority = uri.find("://").map(|scheme| scheme + 3);
    let path = authority.and_then(|start| uri[start..].find('/').map(|slash| start + slash));
    let (uri, git_ref) = match path.and_then(|path| uri[path..].find('@').map(|at| path + at)) {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    };
    (uri.strip_suffix(".git").unwrap_or(uri), git_ref)
}

fn listed(patterns: &[Pattern]) -> String {
    patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_told_from_its_ref() {
        for (uri, repository, git_ref) in [
            ("git+https://github.com/acme/x.git@refs/tags/v1", "https://github.com/acme/x", Some("refs/tags/v1")),
            ("https://github.com/acme/x@main@1", "https://github.com/acme/x", Some("main@1")),
            ("https://github.com/acme/x", "https://github.com/acme/x", None),
            // What stands before the path is a user.
            ("https://x@v1", "https://x@v1", None),
            ("ssh://git@host/x@v1", "ssh://git@host/x", Some("v1")),
            // What stands before the address is no ref.
            ("a@b://x/y@v1", "a@b://x/y", Some("v1")),
            ("acme/x@v1", "acme/x@v1", None),
        ] {
            assert_eq!(split_ref(uri), (repository, git_ref), "{uri}");
        }
    }
}
