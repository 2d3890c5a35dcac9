//! Licences that an image must not have anything under.
//!
//! A licence counts wherever an expression names it, on either side of `OR` too: which side somebody chose an SBOM
//! does not say. Each id stands for itself; `GPL-3.0-only` and `GPL-3.0-or-later` are two. Older spellings are what SPDX
//! says they are: `GPL-3.0` is `GPL-3.0-only`, `GPL-3.0+` is `GPL-3.0-or-later`.

use spdx::identifiers::LICENSES;

/// A licence of the SPDX list, or one with a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeniedLicence(String);

impl DeniedLicence {
    /// Reads an id; nothing where the SPDX list has none such and it is no `LicenseRef-`.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let own = id.strip_prefix("LicenseRef-").filter(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        });
        match own {
            Some(_) => Some(Self(id.to_owned())),
            None => listed(id).map(Self),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what an SBOM says of a package names this licence: in an expression, or as the licence's full name or
    /// what is commonly written for it.
    pub(super) fn is_in(&self, said: &str) -> bool {
        let words = said.split(|c: char| c.is_whitespace() || "()/,;:".contains(c)).filter(|word| !word.is_empty());
        words.into_iter().any(|word| self.is(word)) || common(said).is_some_and(|id| id == self.0)
    }

    fn is(&self, word: &str) -> bool {
        // `GPL-2.0-with-classpath-exception` is an id of its own on the list.
        let bare = word.split_once("-with-").map_or(word, |(licence, _)| licence);
        word.eq_ignore_ascii_case(&self.0) || [word, bare].iter().any(|word| listed(word).as_ref() == Some(&self.0))
    }
}

/// The id on the SPDX list, in its present spelling; ids are compared without regard to case (SPDX, annex D).
fn listed(word: &str) -> Option<String> {
    let (stem, later) = match word.strip_suffix('+') {
        Some(stem) => (stem, true),
        None => (word, false),
    };
    let found = LICENSES.iter().find(|licence| licence.name.eq_ignore_ascii_case(stem))?;
    let id = spdx::license_id(found.name)?;
    let gnu = if later || id.is_deprecated() { spdx::gnu_license_id(found.name, later) } else { None };
    Some(match gnu {
        Some(gnu) => gnu.name.to_owned(),
        None if later => format!("{}+", found.name),
        None => found.name.to_owned(),
    })
}

/// What a name that is no expression stands for.
fn common(said: &str) -> Option<String> {
    let said = said.trim();
    if let Some(licence) = LICENSES.iter().find(|licence| licence.full_name.eq_ignore_ascii_case(said)) {
        return listed(licence.name);
    }
    match spdx::imprecise_license_id(said) {
        Some((id, length)) if length == said.len() => listed(id.name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_counts_wherever_an_expression_names_it() {
        for (denied, said, found) in [
            ("AGPL-3.0-only", "AGPL-3.0-only", true),
            ("AGPL-3.0-only", "MIT AND AGPL-3.0-only", true),
            ("AGPL-3.0-only", "MIT OR (ISC AND AGPL-3.0-only)", true),
            ("AGPL-3.0-only", "agpl-3.0-ONLY", true),
            ("AGPL-3.0-only", "AGPL-3.0", true),
            ("AGPL-3.0", "AGPL-3.0-only", true),
            ("AGPL-3.0-only", "AGPL-3.0-or-later", false),
            ("AGPL-3.0-only", "AGPL-3.0+", false),
            ("AGPL-3.0-or-later", "AGPL-3.0+", true),
            ("AGPL-3.0-only", "GNU Affero General Public License v3.0 only", true),
            ("AGPL-3.0-only", "GPL-3.0-only", false),
            ("AGPL-3.0-only", "MIT", false),
            ("AGPL-3.0-only", "", false),
            ("AGPL-3.0-only", "LicenseRef-AGPL-3.0-only-ish", false),
            ("GPL-2.0-only", "GPL-2.0-only WITH Classpath-exception-2.0", true),
            ("GPL-2.0-only", "GPL-2.0-with-classpath-exception", true),
            ("Apache-2.0", "Apache-2.0/MIT", true),
            ("Apache-2.0", "Apache License 2.0", true),
            ("Apache-2.0", "Apache2", true),
            ("Apache-2.0", "Apache2 or so", false),
            ("Apache-2.0", "Apache-2.0+", false),
            ("Apache-2.0+", "apache-2.0+", true),
            ("Apache-2.0+", "Apache-2.0", false),
            ("LicenseRef-acme", "MIT AND LicenseRef-acme", true),
            ("LicenseRef-acme", "DocumentRef-x:LicenseRef-acme", true),
            ("LicenseRef-acme", "LicenseRef-acme-2", false),
        ] {
            assert_eq!(DeniedLicence::parse(denied).unwrap().is_in(said), found, "{denied} in {said:?}");
        }
        for bad in ["", "AGPL", "AGPL-3.0-onl", "LicenseRef-", "LicenseRef-a b", "MIT OR ISC"] {
            assert_eq!(DeniedLicence::parse(bad), None, "{bad}");
        }
    }
}
