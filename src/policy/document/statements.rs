//! `[rule.provenance]`, `[rule.sbom]`, `[rule.vuln]`, `[rule.vsa]`: what statements must say.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fields::{duration, exact, nonempty, one_pattern, patterns, text, texts, unknown};
use crate::policy::licence::DeniedLicence;
use crate::policy::predicate::{Expected, ProvenanceRule, SbomRule, ScanRule, SummaryRule};
use crate::policy::purl::{PurlPattern, ResourcePattern};
use crate::sbom::read::Format;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WireProvenance {
    builder_id: Option<Vec<String>>,
    build_type: Option<Vec<String>>,
    source: Option<String>,
    external_parameters: Option<toml::Table>,
    dependencies: Option<WireDependencies>,
    max_age: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WireDependencies {
    present: Option<Vec<String>>,
    allow: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WireSbom {
    formats: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    deny_licences: Option<Vec<String>>,
    min_packages: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WireScan {
    max_age: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WireSummary {
    verifier_id: String,
    resource_uri: Option<Vec<String>>,
    levels: Option<Vec<String>>,
    policy_uri: Option<String>,
    policy_digest: Option<String>,
    max_age: Option<String>,
}

impl WireProvenance {
    pub(super) fn read(self) -> Result<ProvenanceRule, String> {
        let dependencies = self.dependencies.unwrap_or_default();
        let resources = |field: &str, list: Option<Vec<String>>| -> Result<Vec<ResourcePattern>, String> {
            let Some(list) = list else { return Ok(Vec::new()) };
            let one = |uri: &String| ResourcePattern::parse(uri).map_err(|error| format!("{field}: {uri:?}: {error}"));
            nonempty(field, list)?.iter().map(one).collect()
        };
        Ok(ProvenanceRule {
            builder_id: self.builder_id.map_or(Ok(Vec::new()), |list| patterns("provenance.builder-id", &list))?,
            build_type: self.build_type.map_or(Ok(Vec::new()), |list| texts("provenance.build-type", list))?,
            source: self.source.map(source).transpose()?,
            external_parameters: self.external_parameters.map(|table| members(table, PARAMETERS)).transpose()?,
            present: resources("provenance.dependencies.present", dependencies.present)?,
            allow: resources("provenance.dependencies.allow", dependencies.allow)?,
            max_age: self.max_age.map(|age| duration("provenance.max-age", &age)).transpose()?,
            ..ProvenanceRule::default()
        })
    }
}

/// The address of a repository: what a user, or a ref, would add is nothing that provenance can be held to.
fn source(written: String) -> Result<String, String> {
    let written = text("provenance.source", written)?;
    match written.split_once("://") {
        Some((_, rest)) if rest.contains('/') && !rest.contains('@') => Ok(written),
        _ => Err(format!(
            "provenance.source: {written:?} is not the address of a repository, without user and ref, such as \
             git+https://github.com/acme/templates"
        )),
    }
}

const PARAMETERS: &str = "provenance.external-parameters";

fn members(table: toml::Table, path: &str) -> Result<BTreeMap<String, Expected>, String> {
    let member = |(key, value): (String, toml::Value)| {
        let path = format!("{path}.{key}");
        expected(value, &path).map(|value| (key, value))
    };
    table.into_iter().map(member).collect()
}

/// What a parameter must be. A list says what is allowed; a list within it is one that is allowed.
fn expected(value: toml::Value, path: &str) -> Result<Expected, String> {
    match value {
        toml::Value::Array(list) => {
            let one = |value| match value {
                toml::Value::Array(list) => {
                    list.into_iter().map(|value| expected(value, path)).collect::<Result<_, _>>().map(Expected::List)
                }
                value => expected(value, path),
            };
            nonempty(path, list)?.into_iter().map(one).collect::<Result<_, _>>().map(Expected::AnyOf)
        }
        toml::Value::String(pattern) if pattern.contains('*') => one_pattern(path, &pattern).map(Expected::Like),
        toml::Value::String(text) => Ok(Expected::Text(text)),
        toml::Value::Boolean(value) => Ok(Expected::Bool(value)),
        toml::Value::Integer(value) => Ok(Expected::Integer(value)),
        toml::Value::Table(table) => members(table, path).map(Expected::Table),
        toml::Value::Float(_) | toml::Value::Datetime(_) => {
            Err(format!("{path}: fractions and times are not compared; write a text, a whole number or a truth value"))
        }
    }
}

impl WireSbom {
    pub(super) fn read(self) -> Result<SbomRule, String> {
        let mut rule = SbomRule::default();
        if let Some(names) = self.formats {
            let names = nonempty("sbom.formats", names)?;
            rule.formats = names.iter().map(|name| sbom_format(name)).collect::<Result<_, _>>()?;
        }
        if let Some(list) = self.deny {
            rule.deny = texts("sbom.deny", list)?.iter().map(|purl| denied(purl)).collect::<Result<_, _>>()?;
        }
        if let Some(list) = self.deny_licences {
            let licence = |id: &String| {
                let hint = "is not on the SPDX licence list, and is no LicenseRef-";
                DeniedLicence::parse(id).ok_or_else(|| format!("sbom.deny-licences: {id:?} {hint}"))
            };
            rule.deny_licences = nonempty("sbom.deny-licences", list)?.iter().map(licence).collect::<Result<_, _>>()?;
        }
        if let Some(least) = self.min_packages {
            if least == 0 {
                return Err("sbom.min-packages: an SBOM of nothing says nothing; the least is 1".to_owned());
            }
            rule.min_packages = least;
        }
        Ok(rule)
    }
}

fn sbom_format(name: &str) -> Result<Format, String> {
    match name {
        "spdx" => Ok(Format::Spdx),
        "cyclonedx" => Ok(Format::CycloneDx),
        other => Err(unknown("sbom.formats", other, "spdx, cyclonedx")),
    }
}

fn denied(purl: &str) -> Result<PurlPattern, String> {
    PurlPattern::parse(purl)
        .map_err(|error| format!("sbom.deny: {purl:?} is not a purl such as pkg:npm/name@1.2.3: {error}"))
}

impl WireScan {
    pub(super) fn read(self) -> Result<ScanRule, String> {
        Ok(ScanRule { max_age: self.max_age.map(|age| duration("vuln.max-age", &age)).transpose()? })
    }
}

impl WireSummary {
    pub(super) fn read(self) -> Result<SummaryRule, String> {
        let digest = |written: String| written.parse().map_err(|error| format!("vsa.policy-digest: {error}"));
        let levels = self.levels.map_or(Ok(Vec::new()), |list| nonempty("vsa.levels", list))?;
        Ok(SummaryRule {
            verifier_id: exact("vsa.verifier-id", self.verifier_id)?,
            resource_uri: self.resource_uri.map_or(Ok(Vec::new()), |list| patterns("vsa.resource-uri", &list))?,
            levels: levels.into_iter().map(|level| exact("vsa.levels", level)).collect::<Result<_, _>>()?,
            policy_uri: self.policy_uri.map(|uri| exact("vsa.policy-uri", uri)).transpose()?,
            policy_digest: self.policy_digest.map(digest).transpose()?,
            max_age: self.max_age.map(|age| duration("vsa.max-age", &age)).transpose()?,
        })
    }
}
