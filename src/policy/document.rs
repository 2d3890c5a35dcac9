//! The policy file: TOML as documented in docs/policy.md, read strictly. A key that means nothing is an error, an
//! empty list is an error, and so is whatever could be read in two ways.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::SignedDuration;
use packageurl::PackageUrl;
use serde::Deserialize;

use crate::content::Digest;
use crate::policy::pattern::Pattern;
use crate::policy::predicate::{ProvenanceRule, SbomRule};
use crate::policy::signer::{TrustedSigner, Workflow};
use crate::policy::{Mode, Policy, PolicyError, Rebuild, Requirement, Rule, Withdrawn};
use crate::sbom;
use crate::sigstore::{Formats, PublicKey, TrustRoot};

/// Brings a file that a policy names, by the name it has there; the error says why it cannot be read.
pub type Load<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// What GitHub Actions workflows are started by, where a policy does not say.
const DEFAULT_TRIGGERS: [&str; 3] = ["push", "release", "workflow_dispatch"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePolicy {
    version: u32,
    #[serde(default)]
    rule: Vec<WireRule>,
    #[serde(default)]
    deny: Vec<WireDeny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDeny {
    digest: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireRule {
    images: Vec<String>,
    mode: Option<String>,
    require: Vec<String>,
    rebuild: Option<String>,
    max_age: Option<String>,
    signer: Vec<WireSigner>,
    formats: Option<WireFormats>,
    provenance: Option<WireProvenance>,
    sbom: Option<WireSbom>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WireSigner {
    key: Option<String>,
    log: Option<String>,
    issuer: Option<String>,
    identity: Option<String>,
    root: Option<String>,
    repository: Option<String>,
    workflow: Option<String>,
    signer_workflow: Option<String>,
    r#ref: Option<String>,
    repository_id: Option<String>,
    owner_id: Option<String>,
    runner: Option<String>,
    triggers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFormats {
    bundle: Option<Vec<String>>,
    provenance: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireProvenance {
    builder_id: Option<Vec<String>>,
    build_type: Option<Vec<String>>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireSbom {
    formats: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    min_packages: Option<usize>,
}

pub(super) fn read(text: &str, origin: &str, load: Load<'_>) -> Result<Policy, PolicyError> {
    let malformed = |reason: String| PolicyError::Malformed { origin: origin.to_owned(), reason };
    let wire: WirePolicy = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if wire.version != 1 {
        return Err(malformed(format!("version {} is not understood; this bulla reads version 1", wire.version)));
    }
    if wire.rule.is_empty() {
        return Err(malformed("there is no [[rule]], so it could admit nothing".to_owned()));
    }
    let mut rules = Vec::new();
    let mut patterns = HashSet::new();
    for (index, wire) in wire.rule.into_iter().enumerate() {
        let rule = read_rule(wire, load).map_err(|reason| malformed(format!("rule {index}: {reason}")))?;
        for pattern in &rule.images {
            if !patterns.insert(pattern.to_string()) {
                return Err(malformed(format!("rule {index}: images: {pattern} has been named before")));
            }
        }
        rules.push(rule);
    }
    let mut withdrawn = Vec::new();
    for (index, entry) in wire.deny.into_iter().enumerate() {
        let digest = entry.digest.parse().map_err(|error| malformed(format!("deny {index}: {error}")))?;
        withdrawn.push(Withdrawn { digest, reason: entry.reason });
    }
    Ok(Policy { origin: origin.to_owned(), sha256: Digest::of(text.as_bytes()), rules, withdrawn })
}

pub(super) fn of_signer(signer: TrustedSigner, require: Vec<Requirement>) -> Policy {
    let origin = "the command line".to_owned();
    let described = format!("{signer} {}", require.iter().map(Requirement::as_str).collect::<Vec<_>>().join(","));
    let everything = Pattern::parse("**").into_iter().collect();
    let rule = Rule {
        images: everything,
        mode: Mode::Enforce,
        require,
        rebuild: Rebuild::Forbid,
        max_age: None,
        signers: vec![signer],
        formats: Formats::default(),
        provenance: ProvenanceRule::default(),
        sbom: SbomRule::default(),
    };
    Policy { origin, sha256: Digest::of(described.as_bytes()), rules: vec![rule], withdrawn: Vec::new() }
}

fn read_rule(wire: WireRule, load: Load<'_>) -> Result<Rule, String> {
    let images = patterns("images", &wire.images)?;
    let mode = match wire.mode.as_deref() {
        None | Some("enforce") => Mode::Enforce,
        Some("warn") => Mode::Warn,
        Some("audit") => Mode::Audit,
        Some(other) => return Err(unknown("mode", other, "enforce, warn, audit")),
    };
    let rebuild = match wire.rebuild.as_deref() {
        None | Some("forbid") => Rebuild::Forbid,
        Some("match") => Rebuild::Match,
        Some("allow") => Rebuild::Allow,
        Some(other) => return Err(unknown("rebuild", other, "forbid, match, allow")),
    };
    let require = requirements(&wire.require)?;
    let mut signers = Vec::new();
    for (index, signer) in nonempty("signer", wire.signer)?.into_iter().enumerate() {
        signers.push(read_signer(signer, load).map_err(|reason| format!("signer {index}: {reason}"))?);
    }
    let mut provenance = ProvenanceRule::default();
    let mut formats = Formats::default();
    if let Some(wire) = wire.formats {
        formats = read_bundle_formats(wire.bundle)?;
        if let Some(names) = wire.provenance {
            asked_for(&require, &Requirement::Provenance, "formats.provenance")?;
            (provenance.slsa_v1, provenance.slsa_v02) = read_provenance_formats(names)?;
        }
    }
    if let Some(wire) = wire.provenance {
        asked_for(&require, &Requirement::Provenance, "provenance")?;
        provenance.builder_id =
            wire.builder_id.map_or(Ok(Vec::new()), |list| patterns("provenance.builder-id", &list))?;
        provenance.build_type = wire.build_type.map_or(Ok(Vec::new()), |list| texts("provenance.build-type", list))?;
        provenance.source = wire.source.map(|source| text("provenance.source", source)).transpose()?;
    }
    let mut sbom = SbomRule::default();
    if let Some(wire) = wire.sbom {
        asked_for(&require, &Requirement::Sbom, "sbom")?;
        if let Some(names) = wire.formats {
            sbom.formats =
                nonempty("sbom.formats", names)?.iter().map(|name| sbom_format(name)).collect::<Result<_, _>>()?;
        }
        if let Some(list) = wire.deny {
            sbom.deny = texts("sbom.deny", list)?.iter().map(|purl| denied(purl)).collect::<Result<_, _>>()?;
        }
        if let Some(least) = wire.min_packages {
            if least == 0 {
                return Err("sbom.min-packages: an SBOM of nothing says nothing; the least is 1".to_owned());
            }
            sbom.min_packages = least;
        }
    }
    let max_age = wire.max_age.map(|age| duration(&age)).transpose()?;
    Ok(Rule { images, mode, require, rebuild, max_age, signers, formats, provenance, sbom })
}

fn requirement(name: &str) -> Result<Requirement, String> {
    match name {
        "signature" => Ok(Requirement::Signature),
        "provenance" => Ok(Requirement::Provenance),
        "sbom" => Ok(Requirement::Sbom),
        uri if uri.contains(':') && uri.bytes().all(|byte| byte.is_ascii_graphic()) => {
            // One attestation satisfies one requirement, so a type has one name here.
            let named = [Requirement::Signature, Requirement::Provenance, Requirement::Sbom];
            match named.iter().find(|requirement| requirement.asks_for(uri)) {
                Some(requirement) => Err(format!("require: write {:?} in place of {uri}", requirement.as_str())),
                None => Ok(Requirement::Predicate(uri.to_owned())),
            }
        }
        other => Err(unknown("require", other, "signature, provenance, sbom or a predicate type's URI")),
    }
}

/// Reads the names of a rule, or those given to `--require`.
pub fn requirements(names: &[String]) -> Result<Vec<Requirement>, String> {
    let mut require = Vec::new();
    for name in names {
        let requirement = requirement(name)?;
        if require.contains(&requirement) {
            return Err(format!("require: {name:?} is named twice"));
        }
        require.push(requirement);
    }
    nonempty("require", require)
}

fn read_signer(wire: WireSigner, load: Load<'_>) -> Result<TrustedSigner, String> {
    let structured = wire.repository.is_some()
        || wire.workflow.is_some()
        || wire.signer_workflow.is_some()
        || wire.r#ref.is_some()
        || wire.repository_id.is_some()
        || wire.owner_id.is_some()
        || wire.runner.is_some()
        || wire.triggers.is_some();
    if let Some(name) = wire.key {
        if structured || wire.issuer.is_some() || wire.identity.is_some() {
            return Err("a key has no issuer, identity or workflow; write another [[rule.signer]] for those".to_owned());
        }
        let name = text("key", name)?;
        let pem = load(&name).map_err(|reason| format!("key: {reason}"))?;
        let pem = std::str::from_utf8(&pem).map_err(|_| format!("key: {name} is not PEM"))?;
        let key = PublicKey::from_pem(pem).map_err(|error| format!("key: {name}: {error}"))?;
        let log = match (wire.log.as_deref(), wire.root) {
            (None | Some("required"), root) => Some(read_root(root, load)?),
            (Some("none"), None) => None,
            (Some("none"), Some(_)) => return Err("root: it vouches for a log, and the log is \"none\"".to_owned()),
            (Some(other), _) => return Err(unknown("log", other, "required, none")),
        };
        return Ok(TrustedSigner::Key { key, name, log });
    }
    let Some(issuer) = wire.issuer else {
        return Err(
            "it names nobody: write `key`, or `issuer` with `identity` or `repository` and `workflow`".to_owned()
        );
    };
    if wire.log.is_some() {
        return Err("log: it belongs to a key; a certificate's log is decided by its root".to_owned());
    }
    let issuer = text("issuer", issuer)?;
    if issuer.contains('*') {
        return Err("issuer: it is compared exactly, and cannot hold a *".to_owned());
    }
    let root = read_root(wire.root, load)?;
    if let Some(identity) = wire.identity {
        if structured {
            return Err("identity: it is exact, and cannot stand beside repository, workflow and the like".to_owned());
        }
        let identity = text("identity", identity)?;
        if identity.contains('*') {
            return Err("identity: it is compared exactly; for patterns write repository, workflow and ref".to_owned());
        }
        return Ok(TrustedSigner::Exact { root, issuer, identity });
    }
    let (Some(repository), Some(workflow)) = (wire.repository, wire.workflow) else {
        return Err("it names nobody: beside `issuer` write `identity`, or `repository` and `workflow`".to_owned());
    };
    let repository = text("repository", repository)?;
    if repository.split('/').filter(|part| !part.is_empty()).count() != 2 || repository.contains(['*', '@', ':']) {
        return Err(format!("repository: {repository:?} is not owner/name"));
    }
    let workflow = text("workflow", workflow)?;
    if !workflow.starts_with(".github/workflows/") || workflow.contains('*') {
        return Err(format!("workflow: {workflow:?} is not a path such as .github/workflows/release.yml"));
    }
    let signer_workflow = wire.signer_workflow.map(read_signer_workflow).transpose()?;
    let git_ref = wire.r#ref.map(|pattern| one_pattern("ref", &pattern)).transpose()?;
    if git_ref.as_ref().is_some_and(|pattern| !pattern.as_str().starts_with("refs/")) {
        return Err("ref: write it whole, such as refs/tags/v* or refs/heads/main".to_owned());
    }
    let number = |name: &str, value: Option<String>| match value {
        Some(value) if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("{name}: {value:?} is not a number"))
        }
        value => Ok(value),
    };
    let runner = match wire.runner.as_deref() {
        None | Some("github-hosted") => Some("github-hosted".to_owned()),
        Some("self-hosted") => Some("self-hosted".to_owned()),
        Some("any") => None,
        Some(other) => return Err(unknown("runner", other, "github-hosted, self-hosted, any")),
    };
    let triggers = match wire.triggers {
        Some(list) => texts("triggers", list)?,
        None => DEFAULT_TRIGGERS.map(str::to_owned).to_vec(),
    };
    let repository_id = number("repository-id", wire.repository_id)?;
    let owner_id = number("owner-id", wire.owner_id)?;
    let workflow =
        Workflow { issuer, repository, workflow, signer_workflow, git_ref, repository_id, owner_id, runner, triggers };
    Ok(TrustedSigner::Workflow { root, workflow: Box::new(workflow) })
}

fn read_signer_workflow(written: String) -> Result<(String, Option<Pattern>), String> {
    let written = text("signer-workflow", written)?;
    let folder = written.find("/.github/workflows/");
    let Some(folder) = folder.filter(|at| written[..*at].split('/').count() == 2 && !written[..*at].contains('*'))
    else {
        return Err(format!("signer-workflow: {written:?} is not owner/name/.github/workflows/file"));
    };
    let (path, pattern) = match written[folder..].find('@') {
        Some(at) => (&written[..folder + at], Some(one_pattern("signer-workflow", &written[folder + at + 1..])?)),
        None => (written.as_str(), None),
    };
    if path.contains('*') {
        return Err("signer-workflow: the path is compared exactly, and cannot hold a *".to_owned());
    }
    Ok((path.to_owned(), pattern))
}

fn read_root(name: Option<String>, load: Load<'_>) -> Result<Arc<TrustRoot>, String> {
    let root = match name.as_deref() {
        None | Some("public-good") => TrustRoot::public_good().map_err(|error| format!("root: {error}")),
        Some("github") => TrustRoot::github().map_err(|error| format!("root: {error}")),
        Some("") => Err("root: it is empty".to_owned()),
        Some(file) => {
            let json = load(file).map_err(|reason| format!("root: {reason}"))?;
            TrustRoot::parse(&json, file).map_err(|error| format!("root: {error}"))
        }
    };
    root.map(Arc::new)
}

fn read_bundle_formats(names: Option<Vec<String>>) -> Result<Formats, String> {
    let Some(names) = names else { return Ok(Formats::default()) };
    let mut formats = Formats { cosign_legacy: false, v01: false, v02: false, v03: false };
    for name in nonempty("formats.bundle", names)? {
        match name.as_str() {
            "v0.1" => formats.v01 = true,
            "v0.2" => formats.v02 = true,
            "v0.3" => formats.v03 = true,
            other => return Err(unknown("formats.bundle", other, "v0.1, v0.2, v0.3")),
        }
    }
    Ok(formats)
}

/// Whether SLSA v1 and v0.2 count.
fn read_provenance_formats(names: Vec<String>) -> Result<(bool, bool), String> {
    let (mut v1, mut v02) = (false, false);
    for name in nonempty("formats.provenance", names)? {
        match name.as_str() {
            "slsa-v1" => v1 = true,
            "slsa-v0.2" => v02 = true,
            other => return Err(unknown("formats.provenance", other, "slsa-v1, slsa-v0.2")),
        }
    }
    Ok((v1, v02))
}

fn sbom_format(name: &str) -> Result<sbom::read::Format, String> {
    match name {
        "spdx" => Ok(sbom::read::Format::Spdx),
        "cyclonedx" => Ok(sbom::read::Format::CycloneDx),
        other => Err(unknown("sbom.formats", other, "spdx, cyclonedx")),
    }
}

fn denied(purl: &str) -> Result<PackageUrl<'static>, String> {
    purl.parse().map_err(|error| format!("sbom.deny: {purl:?} is not a purl such as pkg:npm/name@1.2.3: {error}"))
}

/// A section about something that the rule does not require would be read and have no effect.
fn asked_for(require: &[Requirement], requirement: &Requirement, section: &str) -> Result<(), String> {
    if require.contains(requirement) {
        return Ok(());
    }
    Err(format!("{section}: `require` does not name {:?}, so this would have no effect", requirement.as_str()))
}

/// `180d`, `12h`, `30m`: a whole number and one unit.
fn duration(written: &str) -> Result<SignedDuration, String> {
    let malformed = || format!("max-age: {written:?} is not a time such as 180d, 12h or 30m");
    let unit = written.chars().last().ok_or_else(malformed)?;
    let number = &written[..written.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: i64 = number.parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or_else(malformed)?;
    match unit {
        'd' => Ok(SignedDuration::from_hours(count * 24)),
        'h' => Ok(SignedDuration::from_hours(count)),
        'm' => Ok(SignedDuration::from_mins(count)),
        _ => Err(malformed()),
    }
}

fn patterns(field: &str, written: &[String]) -> Result<Vec<Pattern>, String> {
    if written.is_empty() {
        return Err(format!("{field}: the list is empty"));
    }
    written.iter().map(|pattern| one_pattern(field, pattern)).collect()
}

fn one_pattern(field: &str, written: &str) -> Result<Pattern, String> {
    Pattern::parse(written).map_err(|error| format!("{field}: {error}"))
}

fn texts(field: &str, list: Vec<String>) -> Result<Vec<String>, String> {
    nonempty(field, list)?.into_iter().map(|value| text(field, value)).collect()
}

fn text(field: &str, value: String) -> Result<String, String> {
    if value.trim() != value || value.is_empty() || value.chars().any(char::is_control) {
        return Err(format!("{field}: {value:?} is empty, or has spaces around it or control characters in it"));
    }
    Ok(value)
}

fn nonempty<T>(field: &str, list: Vec<T>) -> Result<Vec<T>, String> {
    if list.is_empty() { Err(format!("{field}: the list is empty")) } else { Ok(list) }
}

fn unknown(field: &str, value: &str, known: &str) -> String {
    format!("{field}: {value:?} is not known; write one of {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str) -> Result<Vec<u8>, String> {
        match name {
            "cosign.pub" => Ok(include_bytes!("../../testdata/policy/cosign.pub").to_vec()),
            _ => Err(format!("{name} does not exist")),
        }
    }

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        read(text, "test", &load)
    }

    const KEY: &str = "[[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n";
    const HEAD: &str =
        "version = 1\n[[rule]]\nimages = [\"a/b\"]\nrequire = [\"signature\", \"provenance\", \"sbom\"]\n";
    const WORKFLOW: &str = "[[rule.signer]]\nissuer = \"https://token.actions.githubusercontent.com\"\n\
        repository = \"acme/templates\"\nworkflow = \".github/workflows/release.yml\"\n";

    #[test]
    fn k03_refuses_what_means_nothing_or_two_things() {
        for (bad, why) in [
            (String::new(), "version"),
            ("version = 1\n".into(), "no [[rule]]"),
            (HEAD.replace("version = 1", "version = 2") + KEY, "version 2"),
            (HEAD.into(), "signer"),
            (format!("{HEAD}signer = []\n"), "signer: the list is empty"),
            (HEAD.replace("\"a/b\"", "") + KEY, "images: the list is empty"),
            (HEAD.replace("\"a/b\"", "\"\"") + KEY, "it is empty"),
            (HEAD.replace("require =", "requires =") + KEY, "requires"),
            (HEAD.replace("require =", "Require =") + KEY, "Require"),
            (format!("{HEAD}mode = \"enforced\"\n{KEY}"), "mode"),
            (format!("{HEAD}rebuild = \"yes\"\n{KEY}"), "rebuild"),
            (format!("{HEAD}max-age = \"0d\"\n{KEY}"), "max-age"),
            (format!("{HEAD}max-age = \"\"\n{KEY}"), "max-age"),
            (format!("{HEAD}max-age = \"5y\"\n{KEY}"), "max-age"),
            (format!("{HEAD}max-age = \"-5d\"\n{KEY}"), "max-age"),
            (format!("{HEAD}max-age = \"5é\"\n{KEY}"), "max-age"),
            (HEAD.replace("\"signature\", \"provenance\", \"sbom\"", "") + KEY, "require: the list is empty"),
            (HEAD.replace("\"signature\"", "\"sig\"") + KEY, "require"),
            (HEAD.replace("\"signature\"", "\"sbom\"") + KEY, "named twice"),
            (HEAD.replace("\"signature\"", "\"https://slsa.dev/provenance/v1\"") + KEY, "write \"provenance\""),
            (format!("{HEAD}{KEY}[[rule]]\nimages = [\"a/b\"]\nrequire = [\"sbom\"]\n{KEY}"), "named before"),
            (format!("{HEAD}[[rule.signer]]\n"), "names nobody"),
            (format!("{HEAD}[[rule.signer]]\nkey = \"other.pub\"\n"), "does not exist"),
            (format!("{HEAD}[[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"maybe\"\n"), "log"),
            (format!("{HEAD}{KEY}root = \"github\"\n"), "root"),
            (format!("{HEAD}{KEY}issuer = \"x\"\n"), "a key has no issuer"),
            (format!("{HEAD}[[rule.signer]]\nidentity = \"x\"\n"), "names nobody"),
            (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\n"), "names nobody"),
            (format!("{HEAD}[[rule.signer]]\nissuer = \"https://*\"\nidentity = \"x\"\n"), "issuer"),
            (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\nidentity = \"https://github.com/*\"\n"), "identity"),
            (format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\nidentity = \"y\"\nlog = \"none\"\n"), "log"),
            (
                format!("{HEAD}[[rule.signer]]\nissuer = \"x\"\nidentity = \"y\"\nref = \"refs/heads/main\"\n"),
                "identity",
            ),
            (format!("{HEAD}{WORKFLOW}ref = \"v1\"\n"), "ref"),
            (format!("{HEAD}{WORKFLOW}runner = \"mine\"\n"), "runner"),
            (format!("{HEAD}{WORKFLOW}triggers = []\n"), "triggers"),
            (format!("{HEAD}{WORKFLOW}repository-id = \"12x\"\n"), "repository-id"),
            (format!("{HEAD}{WORKFLOW}owner-id = \"\"\n"), "owner-id"),
            (format!("{HEAD}{WORKFLOW}signer-workflow = \"x.yml\"\n"), "signer-workflow"),
            (format!("{HEAD}{WORKFLOW}signer-workflow = \"*/x/.github/workflows/x.yml\"\n"), "signer-workflow"),
            (format!("{HEAD}{}", WORKFLOW.replace("acme/templates", "acme/*")), "repository"),
            (format!("{HEAD}{}", WORKFLOW.replace("acme/templates", "acme")), "repository"),
            (format!("{HEAD}{}", WORKFLOW.replace(".github/workflows/", "")), "workflow"),
            (format!("{HEAD}{KEY}[rule.formats]\nbundle = [\"v0.4\"]\n"), "formats.bundle"),
            (format!("{HEAD}{KEY}[rule.formats]\nbundle = []\n"), "formats.bundle"),
            (format!("{HEAD}{KEY}[rule.formats]\nprovenance = [\"slsa\"]\n"), "formats.provenance"),
            (format!("{HEAD}{KEY}[rule.formats]\nsbom = [\"spdx\"]\n"), "sbom"),
            (format!("{HEAD}{KEY}[rule.provenance]\nbuilder = \"x\"\n"), "builder"),
            (format!("{HEAD}{KEY}[rule.provenance]\nbuilder-id = []\n"), "builder-id"),
            (format!("{HEAD}{KEY}[rule.sbom]\nmin-packages = 0\n"), "min-packages"),
            (format!("{HEAD}{KEY}[rule.sbom]\ndeny = [\"left-pad\"]\n"), "sbom.deny"),
            (format!("{HEAD}{KEY}[rule.sbom]\nformats = [\"swid\"]\n"), "sbom.formats"),
            (HEAD.replace(", \"sbom\"", "") + KEY + "[rule.sbom]\nmin-packages = 3\n", "no effect"),
            (HEAD.replace(", \"provenance\"", "") + KEY + "[rule.provenance]\nsource = \"x\"\n", "no effect"),
            (format!("{HEAD}{KEY}[[deny]]\ndigest = \"sha256:00\"\nreason = \"x\"\n"), "deny 0"),
            (format!("{HEAD}{KEY}[[deny]]\nreason = \"x\"\n"), "digest"),
        ] {
            let error = parse(&bad).expect_err(&bad);
            assert!(error.to_string().contains(why), "{why}: {error}\n{bad}");
        }
    }

    #[test]
    fn reads_every_documented_field() {
        parse(&format!("{HEAD}{KEY}")).unwrap();
        let rich = format!(
            "{HEAD}mode = \"warn\"\nrebuild = \"match\"\nmax-age = \"180d\"\n{KEY}{WORKFLOW}ref = \"refs/tags/v*\"\n\
             repository-id = \"1\"\nowner-id = \"2\"\nrunner = \"any\"\ntriggers = [\"push\"]\n\
             signer-workflow = \"acme/ci/.github/workflows/build.yml@refs/tags/v*\"\nroot = \"github\"\n\
             [rule.formats]\nbundle = [\"v0.3\", \"v0.1\"]\nprovenance = [\"slsa-v1\"]\n\
             [rule.provenance]\nbuilder-id = [\"https://x/*\"]\nbuild-type = [\"y\"]\nsource = \"git+https://z\"\n\
             [rule.sbom]\nformats = [\"spdx\"]\ndeny = [\"pkg:npm/x@1\"]\nmin-packages = 2\n"
        );
        parse(&rich).unwrap();
    }

    #[test]
    fn the_most_specific_rule_applies_and_a_tie_is_an_error() {
        let rule = |images: &str| format!("[[rule]]\nimages = [{images}]\nrequire = [\"sbom\"]\n{KEY}");
        let text = format!("version = 1\n{}{}{}", rule("\"**\""), rule("\"a/*\""), rule("\"a/b\""));
        let policy = parse(&text).unwrap();
        for (name, index) in [("a/b", 2), ("a/c", 1), ("a/c/d", 0), ("x", 0)] {
            assert_eq!(policy.rule_for(name).unwrap().unwrap().0, index, "{name}");
        }
        let text = format!("version = 1\n{}{}", rule("\"a/*/c\""), rule("\"a/b/*\""));
        let tie = parse(&text).unwrap();
        assert!(tie.rule_for("a/b/c").is_err());
        assert!(tie.rule_for("a/x/c").unwrap().is_some());
        assert!(tie.rule_for("b").unwrap().is_none());
    }

    #[test]
    fn every_policy_in_the_documents_can_be_used() {
        let page = include_str!("../../docs/policy.md");
        let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 3);
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../policies/policy.schema.json")).unwrap();
        for block in blocks {
            // The page's trust root is a file of its reader's.
            let block = block.replace("\"trusted_root.json\"", "\"public-good\"");
            parse(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
            let document: serde_json::Value = toml::from_str(&block).unwrap();
            assert!(jsonschema::is_valid(&schema, &document), "the schema refuses:\n{block}");
        }
    }
}
