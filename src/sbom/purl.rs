//! Package URLs (purl-spec), built with the escaping of the `packageurl` crate. Comparing them is the policy's.

use packageurl::PackageUrl;

use super::OsRelease;

/// `pkg:deb/debian/git@1:2.47.3-0%2Bdeb13u1?arch=amd64&distro=debian-13`.
pub(super) fn distribution(
    kind: &'static str,
    os: Option<&OsRelease>,
    name: &str,
    version: &str,
    architecture: Option<&str>,
) -> String {
    let distro = os.map(OsRelease::distro);
    let qualifiers = [("arch", architecture), ("distro", distro.as_deref())];
    write(kind, os.map(|os| os.id.as_str()), name, Some(version), &qualifiers)
}

/// `pkg:npm/%40scope/name@1.0.0`, `pkg:pypi/name@1.0.0`.
pub(super) fn language(kind: &'static str, namespace: Option<&str>, name: &str, version: Option<&str>) -> String {
    write(kind, namespace, name, version, &[])
}

/// The purl of an image by its digest; `name` may be a whole repository.
pub(super) fn image(name: &str, digest: &str, architecture: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let repository = name.contains('/').then_some(name);
    write("oci", None, &last, Some(digest), &[("arch", Some(architecture)), ("repository_url", repository)])
}

fn write(
    kind: &'static str,
    namespace: Option<&str>,
    name: &str,
    version: Option<&str>,
    qualifiers: &[(&'static str, Option<&str>)],
) -> String {
    let build = || -> Result<String, packageurl::Error> {
        let mut purl = PackageUrl::new(kind, name)?;
        if let Some(namespace) = namespace {
            purl.with_namespace(namespace)?;
        }
        if let Some(version) = version {
            purl.with_version(version)?;
        }
        for (key, value) in qualifiers {
            if let Some(value) = value {
                purl.add_qualifier(*key, *value)?;
            }
        }
        Ok(purl.to_string())
    };
    // Only an empty name or a prohibited namespace could fail, and callers have neither.
    build().unwrap_or_else(|_| format!("pkg:{kind}/unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> OsRelease {
        OsRelease::parse("etc/os-release", b"ID=debian\nVERSION_ID=13\n").unwrap()
    }

    #[test]
    fn escapes_as_the_specification_does() {
        assert_eq!(
            distribution("deb", Some(&debian()), "git", "1:2.47.3-0+deb13u1", Some("amd64")),
            "pkg:deb/debian/git@1:2.47.3-0%2Bdeb13u1?arch=amd64&distro=debian-13"
        );
        assert_eq!(distribution("deb", None, "libstdc++6", "14.2.0-19", None), "pkg:deb/libstdc%2B%2B6@14.2.0-19");
        assert_eq!(language("npm", Some("@scope"), "name", Some("1.0.0")), "pkg:npm/%40scope/name@1.0.0");
        assert_eq!(
            image("ghcr.io/Acme/claude", "sha256:00", "amd64"),
            "pkg:oci/claude@sha256:00?arch=amd64&repository_url=ghcr.io%2FAcme%2Fclaude"
        );
    }
}
