//! What others call an image: names of subjects, resource URIs, purls. A digest says which bytes; the name says as what
//! somebody vouched for them.

use std::str::FromStr;

use packageurl::PackageUrl;

use crate::attestation::Statement;
use crate::class::Class;
use crate::content::Digest;
use crate::policy::pattern::Pattern;
use crate::policy::verdict::{Reason, Subject};
use crate::reference::{Reference, Repository};

/// What statements must call the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectName {
    /// By the name under which it is judged.
    Image,
    /// By a name that matches.
    Pattern(Pattern),
}

impl SubjectName {
    /// Refuses a statement in which the subject with this digest has no such name. Other subjects' names count for
    /// nothing.
    pub(super) fn check(&self, statement: &Statement, digest: &Digest, image: &Subject) -> Result<(), Reason> {
        let ours = statement.subjects.iter().filter(|subject| subject.sha256 == Some(*digest));
        let names: Vec<&str> = ours.filter_map(|subject| subject.name.as_deref()).collect();
        let (fits, wanted) = match self {
            Self::Image => (names.iter().any(|name| is_image(name, image)), image.name.as_str()),
            Self::Pattern(pattern) => (names.iter().any(|name| pattern.matches(name)), pattern.as_str()),
        };
        if fits {
            return Ok(());
        }
        let said = if names.is_empty() { "without a name".to_owned() } else { format!("as {:?}", names.join(" and ")) };
        let message = format!("it is about {digest} {said}, and the rule asks for the name {wanted:?}");
        Err(Reason { class: Class::Subject, code: "subject-name", message })
    }
}

/// Whether a name, URI or purl is the image's: the name under which it is judged, with any tag, and with no digest or
/// its own.
pub(super) fn is_image(written: &str, image: &Subject) -> bool {
    let is_ours =
        |digest: &str| digest.parse::<Digest>().is_ok_and(|digest| [image.digest, image.manifest].contains(&digest));
    if let Ok(purl) = PackageUrl::from_str(written) {
        // `pkg:docker` has a tag or a digest as its version, and so has `pkg:oci` in the hands of some.
        let versioned = purl.version().is_none_or(|version| !version.contains(':') || is_ours(version));
        return versioned && repository_of(&purl).is_some_and(|name| name == image.name);
    }
    let bare = ["oci://", "docker://"].iter().find_map(|scheme| written.strip_prefix(scheme)).unwrap_or(written);
    let name = match bare.split_once('@') {
        Some((name, digest)) if is_ours(digest) => name,
        Some(_) => return false,
        None => bare,
    };
    name == image.name || name.parse::<Reference>().is_ok_and(|name| name.repository.to_string() == image.name)
}

/// The repository that a purl of type `oci` or `docker` names (purl-spec): `oci` has it whole as `repository_url`,
/// `docker` in its namespace and name, with the host as `repository_url`.
fn repository_of(purl: &PackageUrl<'_>) -> Option<String> {
    let url =
        purl.qualifiers().get("repository_url").map(|url| url.trim_start_matches("https://").trim_end_matches('/'));
    let written = match (purl.ty(), url) {
        ("oci", Some(url)) => url.to_owned(),
        ("docker", url) => {
            let parts = [url, purl.namespace(), Some(purl.name())];
            parts.into_iter().flatten().collect::<Vec<_>>().join("/")
        }
        _ => return None,
    };
    written.parse::<Repository>().ok().map(|repository| repository.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Platform;

    fn image(name: &str) -> Subject {
        Subject {
            name: name.to_owned(),
            reference: None,
            digest: Digest::of(b"index"),
            manifest: Digest::of(b"manifest"),
            config: Digest::of(b"config"),
            platform: "linux/amd64".parse::<Platform>().unwrap(),
        }
    }

    #[test]
    fn c02_a_name_is_the_images_or_it_is_not() {
        let (ours, other) = (Digest::of(b"index"), Digest::of(b"other"));
        for (name, written, is) in [
            ("ghcr.io/acme/x", "ghcr.io/acme/x".to_owned(), true),
            ("ghcr.io/acme/x", "ghcr.io/acme/x:1.0".to_owned(), true),
            ("ghcr.io/acme/x", format!("ghcr.io/acme/x@{ours}"), true),
            ("ghcr.io/acme/x", format!("ghcr.io/acme/x:1.0@{ours}"), true),
            ("ghcr.io/acme/x", format!("oci://ghcr.io/acme/x@{}", Digest::of(b"manifest")), true),
            ("ghcr.io/acme/x", format!("docker://ghcr.io/acme/x@{other}"), false),
            ("ghcr.io/acme/x", "ghcr.io/acme/x@sha256:00".to_owned(), false),
            ("ghcr.io/acme/x", "ghcr.io/acme/xy".to_owned(), false),
            ("ghcr.io/acme/x", "ghcr.io/acme/x/y".to_owned(), false),
            ("ghcr.io/acme/x", "ghcr.io.evil/acme/x".to_owned(), false),
            ("ghcr.io/acme/x", "https://ghcr.io/acme/x".to_owned(), false),
            ("ghcr.io/acme/x", "acme/x".to_owned(), false),
            ("ghcr.io/acme/x", String::new(), false),
            ("docker.io/library/alpine", "alpine".to_owned(), true),
            ("docker.io/library/alpine", "index.docker.io/library/alpine:3".to_owned(), true),
            ("oci/base", "oci/base".to_owned(), true),
            ("oci/base:0.1.0", "oci/base:0.1.0".to_owned(), true),
            ("oci/base", "oci/other".to_owned(), false),
            ("ghcr.io/acme/x", format!("pkg:oci/x@{ours}?repository_url=ghcr.io/acme/x"), true),
            ("ghcr.io/acme/x", format!("pkg:oci/x@{other}?repository_url=ghcr.io/acme/x"), false),
            ("ghcr.io/acme/x", format!("pkg:oci/x@{ours}?repository_url=ghcr.io/acme/y"), false),
            ("ghcr.io/acme/x", format!("pkg:oci/x@{ours}"), false),
            ("ghcr.io/acme/x", "pkg:docker/acme/x@1.0?repository_url=ghcr.io".to_owned(), true),
            ("docker.io/acme/x", "pkg:docker/acme/x@1.0".to_owned(), true),
            ("ghcr.io/acme/x", "pkg:docker/acme/x@1.0".to_owned(), false),
            ("ghcr.io/acme/x", "pkg:npm/x?repository_url=ghcr.io/acme/x".to_owned(), false),
        ] {
            assert_eq!(is_image(&written, &image(name)), is, "{written} {name}");
        }
    }
}
