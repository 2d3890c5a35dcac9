//! `[[rule]]`: which images, what there must be, how many must say so.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{duration, nonempty, one_pattern, patterns, unknown};
use super::{Load, signers, statements};
use crate::policy::pattern::Pattern;
use crate::policy::signer::RuleSigner;
use crate::policy::{About, Mode, Rebuild, Requirement, RootAge, Rule, SubjectName};
use crate::reference::Repository;
use crate::sigstore::Formats;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Wire {
    images: Vec<String>,
    mode: Option<String>,
    require: Vec<String>,
    rebuild: Option<String>,
    max_age: Option<String>,
    subject: Option<String>,
    subject_name: Option<String>,
    signer: Vec<signers::Wire>,
    attestations: Option<String>,
    threshold: Option<BTreeMap<String, usize>>,
    formats: Option<WireFormats>,
    provenance: Option<statements::WireProvenance>,
    sbom: Option<statements::WireSbom>,
    vuln: Option<statements::WireScan>,
    vsa: Option<statements::WireSummary>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFormats {
    bundle: Option<Vec<String>>,
    provenance: Option<Vec<String>>,
}

pub(super) fn read(wire: Wire, load: Load<'_>) -> Result<Rule, String> {
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
    let about = match wire.subject.as_deref() {
        None | Some("index") => About::Index,
        Some("manifest") => About::Manifest,
        Some("index-or-manifest") => About::Either,
        Some(other) => return Err(unknown("subject", other, "index, manifest, index-or-manifest")),
    };
    let subject_name = match wire.subject_name.as_deref() {
        None => None,
        Some("image") => Some(SubjectName::Image),
        Some(pattern) => Some(SubjectName::Pattern(one_pattern("subject-name", pattern)?)),
    };
    let require = named("require", &wire.require)?;
    let signers = read_signers(wire.signer, &require, load)?;
    let thresholds = read_thresholds(wire.threshold.unwrap_or_default(), &require, &signers)?;

    let mut formats = Formats::default();
    let mut provenance_formats = None;
    if let Some(wire) = wire.formats {
        formats = read_bundle_formats(wire.bundle)?;
        if let Some(names) = wire.provenance {
            asked_for(&require, &Requirement::Provenance, "formats.provenance")?;
            provenance_formats = Some(read_provenance_formats(names)?);
        }
    }
    for (there, requirement) in [
        (wire.provenance.is_some(), Requirement::Provenance),
        (wire.sbom.is_some(), Requirement::Sbom),
        (wire.vuln.is_some(), Requirement::Vuln),
        (wire.vsa.is_some(), Requirement::Vsa),
    ] {
        if there {
            asked_for(&require, &requirement, requirement.as_str())?;
        }
    }
    let mut provenance = wire.provenance.unwrap_or_default().read()?;
    if let Some((v1, v02)) = provenance_formats {
        (provenance.slsa_v1, provenance.slsa_v02) = (v1, v02);
    }
    let summary = wire.vsa.map(statements::WireSummary::read).transpose()?;
    if summary.is_none() && require.contains(&Requirement::Vsa) {
        return Err("vsa: a summary is believed of one verifier alone: write [rule.vsa] with verifier-id".to_owned());
    }
    Ok(Rule {
        images,
        mode,
        require,
        rebuild,
        max_age: wire.max_age.map(|age| duration("max-age", &age)).transpose()?,
        signers,
        formats,
        root_age: RootAge::default(),
        attestations: wire.attestations.as_deref().map(canonical_repository).transpose()?,
        about,
        subject_name,
        thresholds,
        provenance,
        sbom: wire.sbom.unwrap_or_default().read()?,
        scan: wire.vuln.unwrap_or_default().read()?,
        summary,
    })
}

/// Reads the names given to `--require`: those that mean something without a section of a policy.
pub fn requirements(names: &[String]) -> Result<Vec<Requirement>, String> {
    let require = named("require", names)?;
    if require.contains(&Requirement::Vsa) {
        return Err("require: a vsa needs a policy file, which says whose summaries count".to_owned());
    }
    Ok(require)
}

/// Requirements by their names, each once.
pub(super) fn named(field: &str, names: &[String]) -> Result<Vec<Requirement>, String> {
    let mut require = Vec::new();
    for name in names {
        let requirement = requirement(field, name)?;
        if require.contains(&requirement) {
            return Err(format!("{field}: {name:?} is named twice"));
        }
        require.push(requirement);
    }
    nonempty(field, require)
}

fn requirement(field: &str, name: &str) -> Result<Requirement, String> {
    if let Some(named) = Requirement::NAMED.into_iter().find(|requirement| requirement.as_str() == name) {
        return Ok(named);
    }
    if !name.contains(':') || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let names = Requirement::NAMED.map(|requirement| requirement.as_str().to_owned()).join(", ");
        return Err(unknown(field, name, &format!("{names} or a predicate type's URI")));
    }
    // One attestation satisfies one requirement, so a type has one name here.
    match Requirement::NAMED.iter().find(|requirement| requirement.asks_for(name)) {
        Some(requirement) => Err(format!("{field}: write {:?} in place of {name}", requirement.as_str())),
        None => Ok(Requirement::Predicate(name.to_owned())),
    }
}

/// Every signer may satisfy something, and everything can be satisfied by somebody.
fn read_signers(wires: Vec<signers::Wire>, require: &[Requirement], load: Load<'_>) -> Result<Vec<RuleSigner>, String> {
    let mut signers = Vec::new();
    for (index, wire) in nonempty("signer", wires)?.into_iter().enumerate() {
        let signer = signers::read(wire, load).map_err(|reason| format!("signer {index}: {reason}"))?;
        for named in signer.only_for.iter().flatten() {
            asked_for(require, named, &format!("signer {index}: for"))?;
        }
        signers.push(signer);
    }
    match require.iter().find(|requirement| !signers.iter().any(|signer| signer.may_satisfy(requirement))) {
        Some(orphan) => Err(format!("signer: nobody may satisfy {:?}, so nothing would be admitted", orphan.as_str())),
        None => Ok(signers),
    }
}

fn read_thresholds(
    written: BTreeMap<String, usize>,
    require: &[Requirement],
    signers: &[RuleSigner],
) -> Result<Vec<(Requirement, usize)>, String> {
    let mut thresholds = Vec::new();
    for (name, count) in written {
        let requirement = requirement("threshold", &name)?;
        asked_for(require, &requirement, &format!("threshold.{name}"))?;
        let signers = signers.iter().filter(|signer| signer.may_satisfy(&requirement)).count();
        if count == 0 {
            return Err(format!("threshold.{name}: nobody has to say anything then; the least is 1"));
        }
        if count > signers {
            return Err(format!("threshold.{name}: it asks for {count} signers, and {signers} may satisfy it"));
        }
        thresholds.push((requirement, count));
    }
    Ok(thresholds)
}

fn read_bundle_formats(names: Option<Vec<String>>) -> Result<Formats, String> {
    let Some(names) = names else { return Ok(Formats::default()) };
    let mut formats = Formats { cosign_legacy: false, v01: false, v02: false, v03: false };
    for name in nonempty("formats.bundle", names)? {
        match name.as_str() {
            "v0.1" => formats.v01 = true,
            "v0.2" => formats.v02 = true,
            "v0.3" => formats.v03 = true,
            "cosign-legacy" => formats.cosign_legacy = true,
            other => return Err(unknown("formats.bundle", other, "v0.1, v0.2, v0.3, cosign-legacy")),
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

/// The repository in which attestations are kept, by its whole name: `acme/signatures` would mean one place to a
/// person and another one to Docker's rules.
fn canonical_repository(name: &str) -> Result<Repository, String> {
    match name.parse::<Repository>() {
        Ok(repository) if repository.to_string() == name => Ok(repository),
        Ok(repository) => Err(format!("attestations: write {repository} in place of {name:?}")),
        Err(error) => Err(format!("attestations: {error}")),
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

/// A section about something that the rule does not require would be read and have no effect.
fn asked_for(require: &[Requirement], requirement: &Requirement, section: &str) -> Result<(), String> {
    if require.contains(requirement) {
        return Ok(());
    }
    Err(format!("{section}: `require` does not name {:?}, so this would have no effect", requirement.as_str()))
}
