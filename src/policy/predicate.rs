//! What a verified statement must say: provenance fields, SBOM contents. The signature is somebody's who is trusted;
//! this asks whether what they said is what the policy wants to hear.

use serde_json::Value;

use crate::attestation::Statement;
use crate::attestation::provenance::{self, Provenance};
use crate::class::{Class, Classified as _};
use crate::policy::pattern::Pattern;
use crate::policy::verdict::{Reason, Subject};
use crate::sbom;
use crate::sigstore::{Identity, Signer};

/// `[rule.provenance]`: expectations on SLSA provenance. What is absent is not asked for.
#[derive(Debug, Clone)]
pub(super) struct ProvenanceRule {
    /// Whether SLSA v1 counts.
    pub(super) slsa_v1: bool,
    /// Whether SLSA v0.2 counts.
    pub(super) slsa_v02: bool,
    /// `runDetails.builder.id` matches one of them.
    pub(super) builder_id: Vec<Pattern>,
    /// `buildDefinition.buildType` is one of them.
    pub(super) build_type: Vec<String>,
    /// The source repository, as a URI without a ref.
    pub(super) source: Option<String>,
}

impl Default for ProvenanceRule {
    fn default() -> Self {
        Self { slsa_v1: true, slsa_v02: false, builder_id: Vec::new(), build_type: Vec::new(), source: None }
    }
}

/// `[rule.sbom]`: expectations on an SBOM.
#[derive(Debug, Clone)]
pub(super) struct SbomRule {
    /// Forms that count.
    pub(super) formats: Vec<sbom::read::Format>,
    /// Packages that must not be in it, as purls without qualifiers.
    pub(super) deny: Vec<String>,
    /// Fewest packages, the root component not counted.
    pub(super) min_packages: usize,
}

impl Default for SbomRule {
    fn default() -> Self {
        Self { formats: vec![sbom::read::Format::Spdx, sbom::read::Format::CycloneDx], deny: Vec::new(), min_packages: 1 }
    }
}

impl ProvenanceRule {
    pub(super) fn check(&self, statement: &Statement, signer: &Signer) -> Result<(), Reason> {
        let parsed = Provenance::parse(&statement.predicate_type, statement.predicate_text().as_bytes())
            .map_err(|error| Reason { class: error.class(), code: error.code(), message: error.to_string() })?;
        let (counts, form) = match parsed.version {
            provenance::Version::V1 => (self.slsa_v1, "slsa-v1"),
            provenance::Version::V02 => (self.slsa_v02, "slsa-v0.2"),
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
            let sources = parsed.source_uris();
            let same = |uri: &String| without_ref(uri) == without_ref(expected);
            if sources.is_empty() || !sources.iter().all(same) {
                return Err(differs("source", &sources.join(" and "), expected));
            }
        }
        match signer {
            Signer::Certificate(certificate) => agrees_with_certificate(&parsed, certificate),
            Signer::Key { .. } => Ok(()),
        }
    }
}

/// The predicate is written by code in the job, the certificate by the authority: where both speak, they agree.
fn agrees_with_certificate(provenance: &Provenance, certificate: &Identity) -> Result<(), Reason> {
    let claims = &certificate.claims;
    let mut pairs: Vec<(&str, Option<String>, Option<&String>)> = Vec::new();
    let git_commit = provenance.source_commit();
    pairs.push(("source commit", git_commit, claims.source_repository_digest.as_ref()));
    pairs.push(("run", provenance.invocation_id.clone(), claims.run_invocation_uri.as_ref()));
    if let Some(Value::Object(workflow)) = provenance.external_parameters.get("workflow") {
        let text = |key: &str| workflow.get(key).and_then(Value::as_str).map(str::to_owned);
        pairs.push(("repository", text("repository"), claims.source_repository_uri.as_ref()));
        pairs.push(("ref", text("ref"), claims.source_repository_ref.as_ref()));
        let config = match (text("repository"), text("path"), text("ref")) {
            (Some(repository), Some(path), Some(git_ref)) => Some(format!("{repository}/{path}@{git_ref}")),
            _ => None,
        };
        pairs.push(("workflow", config, claims.build_config_uri.as_ref()));
    }
    if provenance.builder_id.contains("/.github/workflows/") {
        pairs.push(("builder", Some(provenance.builder_id.clone()), claims.build_signer_uri.as_ref()));
    }
    for (name, said, certified) in pairs {
        if let (Some(said), Some(certified)) = (said, certified)
            && said != *certified
        {
            let message = format!("it says that the {name} was {said:?}, and its certificate says {certified:?}");
            return Err(Reason { class: Class::Provenance, code: "certificate-disagrees", message });
        }
    }
    Ok(())
}

impl SbomRule {
    pub(super) fn check(&self, statement: &Statement, subject: &Subject) -> Result<(), Reason> {
        let refused = |code, message| Err(Reason { class: Class::Sbom, code, message });
        let summary = sbom::read::read(&statement.predicate_type, statement.predicate_text().as_bytes())
            .map_err(|error| Reason { class: error.class(), code: error.code(), message: error.to_string() })?;
        if !self.formats.contains(&summary.format) {
            let names: Vec<&str> = self.formats.iter().map(|format| format.as_str()).collect();
            let message = format!("it is {}, and the rule asks for {}", summary.format.as_str(), names.join(" or "));
            return refused("sbom-format", message);
        }
        if let Some(described) = summary.described.filter(|digest| ![subject.digest, subject.manifest].contains(digest)) {
            return refused("sbom-of-another-image", format!("the document itself describes {described}"));
        }
        if summary.packages.len() < self.min_packages {
            let (found, wanted) = (summary.packages.len(), self.min_packages);
            return refused("sbom-too-small", format!("it lists {found} packages, and the rule asks for {wanted} or more"));
        }
        for package in summary.packages.iter().filter_map(|package| package.purl.as_deref()) {
            if let Some(denied) = self.deny.iter().find(|denied| without_qualifiers(package) == denied.as_str()) {
                return refused("denied-package", format!("it lists {denied}, which the rule denies"));
            }
        }
        Ok(())
    }
}

/// `git+https://host/repo@ref` without the ref, and without `git+` or `.git`, which writers set as they like.
fn without_ref(uri: &str) -> &str {
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    let path = uri.find("://").map_or(0, |scheme| scheme + 3);
    let uri = uri[path..].find('@').map_or(uri, |at| &uri[..path + at]);
    uri.strip_suffix(".git").unwrap_or(uri)
}

fn without_qualifiers(purl: &str) -> &str {
    purl.split(['?', '#']).next().unwrap_or_default()
}

fn listed(patterns: &[Pattern]) -> String {
    patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(" or ")
}

fn differs(code: &'static str, said: &str, expected: &str) -> Reason {
    let message = format!("its {code} is {said:?}, and the rule asks for {expected:?}");
    Reason { class: Class::Provenance, code, message }
}
