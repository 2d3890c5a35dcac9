//! `[rule.sbom]`: expectations on an SBOM.

use std::collections::BTreeSet;

use packageurl::PackageUrl;

use crate::attestation::Statement;
use crate::class::Class;
use crate::policy::licence::DeniedLicence;
use crate::policy::purl::PurlPattern;
use crate::policy::verdict::{Reason, Subject};
use crate::sbom::read::{self, Format, SbomPackage, Summary};

/// What an SBOM must say, and must not.
#[derive(Debug, Clone)]
pub(in crate::policy) struct SbomRule {
    /// Forms that count.
    pub(in crate::policy) formats: Vec<Format>,
    /// Packages that must not be in it.
    pub(in crate::policy) deny: Vec<PurlPattern>,
    /// Licences that nothing in it may be under.
    pub(in crate::policy) deny_licences: Vec<DeniedLicence>,
    /// Fewest packages, the root component not counted.
    pub(in crate::policy) min_packages: usize,
}

impl Default for SbomRule {
    fn default() -> Self {
        let formats = vec![Format::Spdx, Format::CycloneDx];
        Self { formats, deny: Vec::new(), deny_licences: Vec::new(), min_packages: 1 }
    }
}

impl SbomRule {
    pub(in crate::policy) fn check(&self, statement: &Statement, subject: &Subject) -> Result<(), Reason> {
        let refused = |code, message| Err(Reason { class: Class::Sbom, code, message });
        let summary = read::read(&statement.predicate_type, statement.predicate_text().as_bytes())
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
        if !self.deny.is_empty() {
            summary.packages.iter().try_for_each(|package| self.check_package(package))?;
        }
        self.check_licences(&summary)
    }

    fn check_package(&self, package: &SbomPackage) -> Result<(), Reason> {
        let refused = |code, message| Err(Reason { class: Class::Sbom, code, message });
        // What cannot be compared could be what is denied.
        if let Some(odd) = package.purls.iter().find(|purl| purl.parse::<PackageUrl<'_>>().is_err()) {
            return refused("unreadable-purl", format!("it lists {odd:?}, which is no purl, and the rule denies some"));
        }
        let version = package.version.as_deref();
        let is = |denied: &&PurlPattern| match package.purls.as_slice() {
            // An image has a name of its own, and is no package because stars would fit it.
            [] if package.is_root && denied.has_stars() => false,
            [] => denied.may_be(&package.name, version),
            purls => purls.iter().any(|purl| denied.may_cover(purl, version)),
        };
        match self.deny.iter().find(is) {
            Some(denied) => {
                let version = version.unwrap_or_default();
                let message = format!("it lists {} {version}, and the rule denies {denied}", package.name);
                refused("denied-package", message)
            }
            None => Ok(()),
        }
    }

    fn check_licences(&self, summary: &Summary) -> Result<(), Reason> {
        if self.deny_licences.is_empty() {
            return Ok(());
        }
        let mut allowed = BTreeSet::new();
        for package in &summary.packages {
            for said in &package.licences {
                if !allowed.insert(said) {
                    continue;
                }
                if let Some(denied) = self.deny_licences.iter().find(|denied| denied.is_in(said)) {
                    let (name, denied) = (&package.name, denied.as_str());
                    let message = format!("it lists {name} under {said:?}, and the rule denies {denied}");
                    return Err(Reason { class: Class::Sbom, code: "denied-licence", message });
                }
            }
        }
        Ok(())
    }
}
