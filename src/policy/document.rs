//! The policy file: TOML as documented in docs/policy.md, read strictly. A key that means nothing is an error, an
//! empty list is an error, and so is whatever could be read in two ways.

mod fields;
mod rule;
mod signers;
mod statements;
#[cfg(test)]
mod tests;

pub use rule::requirements;

use std::collections::HashSet;

use serde::Deserialize;

use crate::content::Digest;
use crate::policy::pattern::Pattern;
use crate::policy::predicate::{ProvenanceRule, SbomRule, ScanRule};
use crate::policy::signer::{RuleSigner, TrustedSigner};
use crate::policy::{
    About, COMMAND_LINE, Mode, Policy, PolicyError, Rebuild, Requirement, RootAge, Rule, Withdrawn, root_age,
};
use crate::sigstore::Formats;
use fields::duration;

/// Brings a file that a policy names, by the name it has there; the error says why it cannot be read.
pub type Load<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePolicy {
    version: u32,
    #[serde(default)]
    rule: Vec<rule::Wire>,
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
        let rule = rule::read(wire, load).map_err(|reason| malformed(format!("rule {index}: {reason}")))?;
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
    Ok(Policy { origin: origin.to_owned(), sha256: Digest::of(text.as_bytes()), rules, withdrawn, project: None })
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
    let origin = COMMAND_LINE.to_owned();
    let described = format!("{signer} {}", require.iter().map(Requirement::as_str).collect::<Vec<_>>().join(","));
    let everything = Pattern::parse("**").into_iter().collect();
    let rule = Rule {
        images: everything,
        mode: Mode::Enforce,
        require,
        rebuild: Rebuild::Forbid,
        max_age: None,
        signers: vec![RuleSigner { who: signer, only_for: None }],
        formats: Formats::default(),
        root_age: RootAge::default(),
        attestations: None,
        about: About::Index,
        subject_name: None,
        thresholds: Vec::new(),
        provenance: ProvenanceRule::default(),
        sbom: SbomRule::default(),
        scan: ScanRule::default(),
        summary: None,
    };
    Policy { origin, sha256: Digest::of(described.as_bytes()), rules: vec![rule], withdrawn: Vec::new(), project: None }
}
