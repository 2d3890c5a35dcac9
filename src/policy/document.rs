//! The policy file: TOML as documented in docs/policy.md, read strictly. A key that means nothing is an error, an
//! empty list is an error, and so is whatever could be read in two ways.

mod signers;

use std::collections::HashSet;

use jiff::SignedDuration;
use packageurl::PackageUrl;
use serde::Deserialize;

use crate::content::Digest;
use crate::policy::pattern::Pattern;
use crate::policy::predicate::{ProvenanceRule, SbomRule};
use crate::policy::signer::TrustedSigner;
use crate::policy::{Mode, Policy, PolicyError, Rebuild, Requirement, RootAge, Rule, Withdrawn, root_age};
use crate::reference::Repository;
use crate::sbom;
use crate::sigstore::Formats;

/// Brings a file that a policy names, by the name it has there; the error says why it cannot be read.
pub type Load<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePolicy {
    version: u32,
    #[serde(default)]
    rule: Vec<WireRule>,
    #[serde(default)]
    deny: Vec<WireDeny>,
    trust: Option<WireTrust>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireTrust {
    warn_age: Option<String>,
    max_age: Option<String>,
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
    signer: Vec<signers::Wire>,
    formats: Option<WireFormats>,
    provenance: Option<WireProvenance>,
    sbom: Option<WireSbom>,
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
    if let Some(trust) = wire.trust {
        read_trust(trust).and_then(|age| root_age::apply(age, &mut rules)).map_err(malformed)?;
    }
    let mut withdrawn = Vec::new();
    for (index, entry) in wire.deny.into_iter().enumerate() {
        let digest = entry.digest.parse().map_err(|error| malformed(format!("deny {index}: {error}")))?;
        withdrawn.push(Withdrawn { digest, reason: entry.reason });
    }
    Ok(Policy { origin: origin.to_owned(), sha256: Digest::of(text.as_bytes()), rules, withdrawn })
}

fn read_trust(wire: WireTrust) -> Result<RootAge, String> {
    let read = |field: &str, written: Option<String>| written.map(|written| duration(field, &written)).transpose();
    let age = RootAge { warn: read("trust.warn-age", wire.warn_age)?, max: read("trust.max-age", wire.max_age)? };
    if age == RootAge::default() {
        return Err("trust: it says nothing; write warn-age or max-age".to_owned());
    }
    Ok(age)
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
        root_age: RootAge::default(),
        provenance: ProvenanceRule::default(),
        sbom: SbomRule::default(),
    };
    Policy { origin, sha256: Digest::of(described.as_bytes()), rules: vec![rule], withdrawn: Vec::new() }
}

fn read_rule(wire: WireRule, load: Load<'_>) -> Result<Rule, String> {
    let images = patterns("images", &wire.images)?;
    images.iter().try_for_each(can_name_an_image)?;
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
        signers.push(signers::read(signer, load).map_err(|reason| format!("signer {index}: {reason}"))?);
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
    let max_age = wire.max_age.map(|age| duration("max-age", &age)).transpose()?;
    let root_age = RootAge::default();
    Ok(Rule { images, mode, require, rebuild, max_age, signers, formats, root_age, provenance, sbom })
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

/// A pattern that no canonical name can match would be a rule that never applies.
fn can_name_an_image(pattern: &Pattern) -> Result<(), String> {
    let text = pattern.as_str();
    let refuse = |hint: &str| Err(format!("images: {text:?} matches no image's name: {hint}"));
    if text.starts_with("oci/") || text.starts_with('*') {
        return Ok(());
    }
    if text.contains("://") || text.contains('@') || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return refuse("write registry/repository in lower case, without scheme, tag or digest");
    }
    if text.split('/').skip(1).any(|segment| segment.contains(':')) || (text.contains(':') && !text.contains('/')) {
        return refuse("write it without a tag; a rule is about every image of a repository");
    }
    if !text.contains('*') {
        match text.parse::<Repository>() {
            Ok(repository) if repository.to_string() == text => {}
            Ok(repository) => return refuse(&format!("write {repository}")),
            Err(error) => return refuse(&error.to_string()),
        }
    }
    Ok(())
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
fn duration(field: &str, written: &str) -> Result<SignedDuration, String> {
    let malformed = || format!("{field}: {written:?} is not a time such as 180d, 12h or 30m");
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
        "version = 1\n[[rule]]\nimages = [\"docker.io/a/b\"]\nrequire = [\"signature\", \"provenance\", \"sbom\"]\n";
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
            (HEAD.replace("\"docker.io/a/b\"", "") + KEY, "images: the list is empty"),
            (HEAD.replace("\"docker.io/a/b\"", "\"\"") + KEY, "it is empty"),
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
            (HEAD.replace("docker.io/a/b", "alpine") + KEY, "write docker.io/library/alpine"),
            (HEAD.replace("docker.io/a/b", "index.docker.io/a/b") + KEY, "write docker.io/a/b"),
            (HEAD.replace("docker.io/a/b", "ghcr.io/Acme/*") + KEY, "lower case"),
            (HEAD.replace("docker.io/a/b", "https://ghcr.io/acme/*") + KEY, "lower case"),
            (HEAD.replace("docker.io/a/b", "ghcr.io/acme/x:1") + KEY, "without a tag"),
            (HEAD.replace("docker.io/a/b", "oci:x") + KEY, "without a tag"),
            (HEAD.replace("\"signature\"", "\"sig\"") + KEY, "require"),
            (HEAD.replace("\"signature\"", "\"sbom\"") + KEY, "named twice"),
            (HEAD.replace("\"signature\"", "\"https://slsa.dev/provenance/v1\"") + KEY, "write \"provenance\""),
            (format!("{HEAD}{KEY}[[rule]]\nimages = [\"docker.io/a/b\"]\nrequire = [\"sbom\"]\n{KEY}"), "named before"),
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
        let text = format!("version = 1\n{}{}{}", rule("\"**\""), rule("\"oci/a/*\""), rule("\"oci/a/b\""));
        let policy = parse(&text).unwrap();
        for (name, index) in [("oci/a/b", 2), ("oci/a/c", 1), ("oci/a/c/d", 0), ("x", 0)] {
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
