//! Patterns of packages and of whatever else goes into a build: a purl with stars in it, or the glob of a URI.
//!
//! Purls are compared by their parts, never as text: writers differ in what they escape and in their qualifiers. What a
//! pattern leaves out (version, qualifiers) matches anything.

use std::fmt;
use std::str::FromStr;

use packageurl::PackageUrl;

use crate::policy::pattern::Pattern;

/// `pkg:type/namespace/name@version?qualifiers`, with `*` and `**` in everything but the type.
#[derive(Debug, Clone)]
pub(super) struct PurlPattern {
    text: String,
    kind: String,
    /// Namespace and name: `debian/git`, `@scope/name`.
    path: Pattern,
    version: Option<Pattern>,
    qualifiers: Vec<(String, Pattern)>,
    loose: Loose,
}

/// Namespace and name as registries compare them.
#[derive(Debug, Clone)]
struct Loose {
    path: Pattern,
    name: Pattern,
}

impl PurlPattern {
    /// Reads a pattern; the error says why it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let purl = PackageUrl::from_str(text).map_err(|error| error.to_string())?;
        if purl.subpath().is_some() {
            return Err("a subpath is not compared".to_owned());
        }
        let pattern = |part: &str| Pattern::parse(part).map_err(|error| error.to_string());
        let mut qualifiers = Vec::new();
        for (key, value) in purl.qualifiers() {
            qualifiers.push((key.to_string(), pattern(value)?));
        }
        Ok(Self {
            text: text.to_owned(),
            kind: purl.ty().to_owned(),
            path: pattern(&path(&purl))?,
            version: purl.version().map(pattern).transpose()?,
            qualifiers,
            loose: Loose {
                path: pattern(&loose(purl.ty(), &path(&purl)))?,
                name: pattern(&loose(purl.ty(), purl.name()))?,
            },
        })
    }

    /// Whether `purl` names a package that the pattern covers. What is no purl is covered by nothing.
    pub(super) fn covers(&self, purl: &str) -> bool {
        let Ok(purl) = PackageUrl::from_str(purl) else { return false };
        let qualified = |(key, value): &(String, Pattern)| {
            purl.qualifiers().get(key.as_str()).is_some_and(|own| value.matches(own))
        };
        self.kind == purl.ty()
            && self.path.matches(&path(&purl))
            && self.version.as_ref().is_none_or(|wanted| purl.version().is_some_and(|own| wanted.matches(own)))
            && self.qualifiers.iter().all(qualified)
    }

    /// Whether `purl` may name a package that is denied: whatever registries take for the same name, and a version that
    /// stands beside the purl, or nowhere.
    pub(super) fn may_cover(&self, purl: &str, version: Option<&str>) -> bool {
        let Ok(purl) = PackageUrl::from_str(purl) else { return false };
        let differs = |(key, value): &(String, Pattern)| {
            purl.qualifiers().get(key.as_str()).is_some_and(|own| !value.matches(own))
        };
        self.kind == purl.ty()
            && self.loose.path.matches(&loose(&self.kind, &path(&purl)))
            && self.may_have(purl.version().or(version))
            && !self.qualifiers.iter().any(differs)
    }

    /// Whether it may be a package of which only a name, and perhaps a version, is known.
    pub(super) fn may_be(&self, name: &str, version: Option<&str>) -> bool {
        let name = loose(&self.kind, name);
        (self.loose.path.matches(&name) || self.loose.name.matches(&name)) && self.may_have(version)
    }

    fn may_have(&self, version: Option<&str>) -> bool {
        let (Some(wanted), Some(own)) = (&self.version, version.map(str::trim)) else { return true };
        wanted.matches(own) || own.strip_prefix(['v', 'V']).is_some_and(|own| wanted.matches(own))
    }

    /// Whether it stands for more than one package.
    pub(super) fn has_stars(&self) -> bool {
        self.text.contains('*')
    }
}

impl fmt::Display for PurlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name in which nothing differs that registries hold to be the same: case, and for Python the runs of `-`, `_` and `.`
/// (PEP 503).
fn loose(kind: &str, name: &str) -> String {
    let name = name.trim().to_lowercase();
    if kind != "pypi" {
        return name;
    }
    let is_mark = |character: char| matches!(character, '-' | '_' | '.');
    name.split(is_mark).filter(|piece| !piece.is_empty()).collect::<Vec<_>>().join("-")
}

fn path(purl: &PackageUrl<'_>) -> String {
    match purl.namespace() {
        Some(namespace) => format!("{namespace}/{}", purl.name()),
        None => purl.name().to_owned(),
    }
}

/// Something that goes into a build, by its URI.
#[derive(Debug, Clone)]
pub(super) enum ResourcePattern {
    /// A package.
    Purl(Box<PurlPattern>),
    /// Anything else: `git+https://github.com/acme/templates@*`.
    Uri(Pattern),
}

impl ResourcePattern {
    /// Reads a pattern; the error says why it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("pkg:") {
            return PurlPattern::parse(text).map(Box::new).map(Self::Purl);
        }
        // A bare name would match no URI, and stars alone would match every one.
        if text.split_once("://").is_none_or(|(scheme, rest)| scheme.contains('*') || rest.trim_matches('*').is_empty())
        {
            return Err("it is neither a purl nor a URI that says where".to_owned());
        }
        Pattern::parse(text).map(Self::Uri).map_err(|error| error.to_string())
    }

    /// Whether the URI of a dependency matches.
    pub(super) fn matches(&self, uri: &str) -> bool {
        match self {
            Self::Purl(pattern) => pattern.covers(uri),
            Self::Uri(pattern) => pattern.matches(uri),
        }
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Purl(pattern) => pattern.fmt(f),
            Self::Uri(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_the_same_package_however_it_is_spelled() {
        for (pattern, purl, covered) in [
            ("pkg:deb/debian/git@1%3A2.47.3-0%2Bdeb13u1", "pkg:deb/debian/git@1:2.47.3-0+deb13u1?arch=amd64", true),
            ("pkg:deb/debian/git@1%3A2.47.3-0%2Bdeb13u1", "pkg:deb/debian/git@1:2.47.3-0?arch=amd64", false),
            ("pkg:deb/debian/git", "pkg:deb/ubuntu/git@1", false),
            ("pkg:deb/debian/git", "pkg:deb/debian/git-man@1", false),
            ("pkg:deb/debian/git", "nonsense", false),
            ("pkg:npm/event-stream", "pkg:npm/Event-Stream@3.3.6", true),
            ("pkg:deb/debian/git?arch=arm64", "pkg:deb/debian/git@1?arch=amd64", false),
            ("pkg:deb/debian/git?arch=arm64", "pkg:deb/debian/git@1", false),
            ("pkg:deb/debian/*", "pkg:deb/debian/git@1", true),
            ("pkg:deb/debian/*", "pkg:deb/debianx/git@1", false),
            ("pkg:deb/debian/*", "pkg:rpm/debian/git@1", false),
            ("pkg:deb/debian/lib*", "pkg:deb/debian/git@1", false),
            ("pkg:npm/*", "pkg:npm/left-pad@1", true),
            ("pkg:npm/*", "pkg:npm/%40scope/left-pad@1", false),
            ("pkg:npm/**", "pkg:npm/%40scope/left-pad@1", true),
            ("pkg:npm/%40scope/*", "pkg:npm/@scope/left-pad@1", true),
            ("pkg:npm/left-pad@1.*", "pkg:npm/left-pad@1.3.0", true),
            ("pkg:npm/left-pad@1.*", "pkg:npm/left-pad@2.0.0", false),
            ("pkg:npm/left-pad@1.*", "pkg:npm/left-pad", false),
        ] {
            assert_eq!(PurlPattern::parse(pattern).unwrap().covers(purl), covered, "{pattern} {purl}");
        }
        for bad in ["", "pkg:", "pkg:npm", "npm/x", "pkg:*/x", "pkg:npm/x#sub", "pkg:npm/***"] {
            assert!(PurlPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_alone_may_be_any_package_of_that_name() {
        for (pattern, name, version, may_be) in [
            ("pkg:deb/debian/git", "git", None, true),
            ("pkg:deb/debian/git", "debian/git", None, true),
            ("pkg:deb/debian/git", "curl", None, false),
            ("pkg:deb/debian/git", "curl", Some("1"), false),
            ("pkg:deb/debian/git", "git", Some("1"), true),
            ("pkg:deb/debian/git@1.*", "git", None, true),
            ("pkg:deb/debian/git@1.*", "git", Some("1.2"), true),
            ("pkg:deb/debian/git@1.*", "git", Some("2.0"), false),
            ("pkg:deb/debian/git@1.*", "curl", Some("1.2"), false),
        ] {
            assert_eq!(
                PurlPattern::parse(pattern).unwrap().may_be(name, version),
                may_be,
                "{pattern} {name} {version:?}"
            );
        }
    }

    #[test]
    fn a_uri_is_matched_whole() {
        let git = ResourcePattern::parse("git+https://github.com/acme/templates@**").unwrap();
        assert!(git.matches("git+https://github.com/acme/templates@refs/tags/v1"));
        assert!(!git.matches("git+https://github.com/acme/templates"));
        assert!(!git.matches("xgit+https://github.com/acme/templates@refs/tags/v1"));
        for bad in ["", "templates", "**", "*://x", "https://**"] {
            assert!(ResourcePattern::parse(bad).is_err(), "{bad}");
        }
    }
}
