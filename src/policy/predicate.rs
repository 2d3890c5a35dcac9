//! What a verified statement must say: provenance fields, SBOM contents. The signature is somebody's who is trusted;
//! this asks whether what they said is what the policy wants to hear.

use packageurl::PackageUrl;
use serde_json::Value;

use crate::attestation::provenance::{Provenance, ResourceDescriptor};
use crate::attestation::{Statement, predicate_types};
use crate::class::Class;
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
    /// Packages that must not be in it: type, namespace and name, and whatever else the purl says.
    pub(super) deny: Vec<PackageUrl<'static>>,
    /// Fewest packages, the root component not counted.
    pub(super) min_packages: usize,
}

impl Default for SbomRule {
    fn default() -> Self {
        Self {
            formats: vec![sbom::read::Format::Spdx, sbom::read::Format::CycloneDx],
            deny: Vec::new(),
            min_packages: 1,
        }
    }
}

impl ProvenanceRule {
    pub(super) fn check(&self, statement: &Statement, signer: &Signer) -> Result<(), Reason> {
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
        match signer {
            Signer::Certificate(certificate) => agrees_with_certificate(&parsed, certificate),
            Signer::Key { .. } => Ok(()),
        }
    }
}

/// The predicate is written by code in the job, the certificate by the authority: where both speak, they agree.
fn agrees_with_certificate(provenance: &Provenance, certificate: &Identity) -> Result<(), Reason> {
    let claims = &certificate.claims;
    let run = provenance.invocation_id.as_deref().zip(claims.run_invocation_uri.as_deref());
    let run = run.and_then(|(said, certified)| run_in_the_words_of(said, certified));
    let mut pairs = vec![("run", run, &claims.run_invocation_uri)];
    if let Some(repository) = &claims.source_repository_uri {
        for source in provenance.sources() {
            if without_ref(source) != without_ref(repository) {
                pairs.push(("source", Some(source.to_owned()), &claims.source_repository_uri));
            }
        }
        for dependency in &provenance.resolved_dependencies {
            if dependency.uri.as_deref().is_some_and(|uri| without_ref(uri) == without_ref(repository)) {
                pairs.push(("commit", commit_of(dependency), &claims.source_repository_digest));
            }
        }
    }
    if let Some(Value::Object(workflow)) = provenance.external_parameters.get("workflow") {
        let text = |key: &str| workflow.get(key).and_then(Value::as_str);
        pairs.push(("ref", text("ref").map(str::to_owned), &claims.source_repository_ref));
        if let (Some(repository), Some(path), Some(git_ref)) = (text("repository"), text("path"), text("ref")) {
            pairs.push(("workflow", Some(format!("{repository}/{path}@{git_ref}")), &claims.build_config_uri));
        }
    }
    if provenance.builder_id.contains("/.github/workflows/") {
        pairs.push(("builder", Some(provenance.builder_id.clone()), &claims.build_signer_uri));
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

/// The run that provenance names, as a certificate would name it. Builders that write SLSA v0.2 say `RUN-ATTEMPT`, of the
/// repository that the certificate speaks of; what is neither that nor an address is a name of the builder's own.
fn run_in_the_words_of(said: &str, certified: &str) -> Option<String> {
    if said.contains("://") {
        return Some(said.to_owned());
    }
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (run, attempt) = said.split_once('-').filter(|(run, attempt)| number(run) && number(attempt))?;
    let (repository, _) = certified.split_once("/actions/runs/")?;
    Some(format!("{repository}/actions/runs/{run}/attempts/{attempt}"))
}

fn commit_of(dependency: &ResourceDescriptor) -> Option<String> {
    ["gitCommit", "sha1"].into_iter().find_map(|key| dependency.digest.get(key).cloned())
}

impl SbomRule {
    pub(super) fn check(&self, statement: &Statement, subject: &Subject) -> Result<(), Reason> {
        let refused = |code, message| Err(Reason { class: Class::Sbom, code, message });
        let summary = sbom::read::read(&statement.predicate_type, statement.predicate_text().as_bytes())
            .map_err(|error| Reason::of(&error))?;
        if !self.formats.contains(&summary.format) {
            let names: Vec<&str> = self.formats.iter().map(|format| format.as_str()).collect();
            let message = format!("it is {}, and the rule asks for {}", summary.format.as_str(), names.join(" or "));
            return refused("sbom-format", message);
        }
        let ours = [subject.digest, subject.manifest, subject.config];
        if let Some(other) = summary.described.iter().find(|digest| !ours.contains(digest)) {
            return refused("sbom-of-another-image", format!("the document itself describes {other}"));
        }
        if summary.count() < self.min_packages {
            let (found, wanted) = (summary.count(), self.min_packages);
            return refused(
                "sbom-too-small",
                format!("it lists {found} packages, and the rule asks for {wanted} or more"),
            );
        }
        if self.deny.is_empty() {
            return Ok(());
        }
        for package in &summary.packages {
            // What cannot be compared could be what is denied.
            if let Some(odd) = package.purls.iter().find(|purl| purl.parse::<PackageUrl<'_>>().is_err()) {
                return refused(
                    "unreadable-purl",
                    format!("it lists {odd:?}, which is no purl, and the rule denies some"),
                );
            }
            if let Some(denied) = self.deny.iter().find(|denied| names(denied, package)) {
                let version = package.version.as_deref().unwrap_or_default();
                return refused(
                    "denied-package",
                    format!("it lists {} {version}, and the rule denies {denied}", package.name),
                );
            }
        }
        Ok(())
    }
}

/// Whether a package of an SBOM is what a purl denies: by its own purls, or by name and version where it has none.
fn names(denied: &PackageUrl<'_>, package: &sbom::read::SbomPackage) -> bool {
    if !package.purls.is_empty() {
        return package.purls.iter().any(|purl| sbom::purl::covers(denied, purl));
    }
    let qualified = denied.namespace().map(|namespace| format!("{namespace}/{}", denied.name()));
    let same_name = package.name == denied.name() || Some(&package.name) == qualified.as_ref();
    same_name && denied.version().is_none_or(|version| package.version.as_deref().is_none_or(|own| own == version))
}

/// `git+https://host/repo@ref` without the ref, and without `git+` or `.git`, which writers set as they like.
fn without_ref(uri: &str) -> &str {
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    let path = uri.find("://").map_or(0, |scheme| scheme + 3);
    let uri = uri[path..].find('@').map_or(uri, |at| &uri[..path + at]);
    uri.strip_suffix(".git").unwrap_or(uri)
}

fn listed(patterns: &[Pattern]) -> String {
    patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(" or ")
}

fn differs(code: &'static str, said: &str, expected: &str) -> Reason {
    let message = format!("its {code} is {said:?}, and the rule asks for {expected:?}");
    Reason { class: Class::Provenance, code, message }
}
