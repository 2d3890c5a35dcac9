//! npm packages: every folder below a `node_modules` that has a `package.json`, and those that stand by themselves where
//! whole programs are unpacked.

use serde_json::Value;

use super::{Kind, Package, licence, limits, purl};

/// npm's own bound on names, in characters.
const NAME: usize = 214;

/// The package's folder (`name` or `@scope/name`), where `path` is one right below a `node_modules`.
pub(super) fn folder(path: &str) -> Option<&str> {
    let folder = match path.rsplit_once("/node_modules/") {
        Some((_, folder)) => folder,
        None => path.strip_prefix("node_modules/")?,
    };
    let name = match folder.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/')?.1,
        None => folder,
    };
    (!name.is_empty() && !name.contains('/') && !name.starts_with('.')).then_some(folder)
}

/// Whether a package may stand in this folder by itself: right below those for programs that no package manager brought.
pub(super) fn stands_alone(folder: &str) -> bool {
    let below = ["usr/lib/", "usr/local/lib/", "opt/"].iter().find_map(|above| folder.strip_prefix(above));
    below.is_some_and(|name| !name.is_empty() && !name.contains('/') && name != "node_modules")
}

/// A package that stands by itself. A file of that name without the name and version of a package is something else.
pub(super) fn alone(path: &str, content: &[u8]) -> Option<Package> {
    let found = package(path, "", content);
    (!found.name.is_empty() && found.version.is_some()).then_some(found)
}

/// The package. Its own word is taken for name and version; where it has none that could be true, or cannot be
/// read, the package is still listed, under its folder's name and without a version.
pub(super) fn package(path: &str, folder: &str, content: &[u8]) -> Package {
    // Duplicate keys are no matter: the last one counts for serde_json as it does for Node.
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let manifest: Value = serde_json::from_slice(content).unwrap_or_default();
    let text = |key: &str| manifest.get(key).and_then(Value::as_str);
    let name = text("name").filter(|name| is_name(name));
    let version = name.and_then(|_| text("version")).filter(|version| is_version(version)).map(str::to_owned);
    let name = name.unwrap_or(folder);
    let (scope, plain) = match name.split_once('/') {
        Some((scope, plain)) => (Some(scope), plain),
        None => (None, name),
    };
    Package {
        kind: Kind::Npm,
        name: name.to_owned(),
        architecture: None,
        purl: purl::language("npm", scope, plain, version.as_deref()),
        version,
        licence: licence_of(&manifest),
        source: None,
        found_in: path.to_owned(),
    }
}

/// `license`, or one of the two old forms where it names exactly one.
fn licence_of(manifest: &Value) -> Option<String> {
    let one = |value: &Value| match value {
        Value::String(text) => licence::declared(text),
        Value::Object(object) => object.get("type").and_then(Value::as_str).and_then(licence::declared),
        _ => None,
    };
    match (manifest.get("license"), manifest.get("licenses").and_then(Value::as_array).map(Vec::as_slice)) {
        (Some(licence), _) => one(licence),
        (None, Some([licence])) => one(licence),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let plain = match name.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, plain)) if !scope.is_empty() => plain,
            _ => return false,
        },
        None => name,
    };
    !plain.is_empty() && name.len() <= NAME && !plain.contains('/') && name.chars().all(|c| c.is_ascii_graphic())
}

fn is_version(version: &str) -> bool {
    !version.is_empty() && version.len() <= limits::FIELD && version.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_folders_of_packages() {
        assert_eq!(folder("usr/lib/node_modules/npm"), Some("npm"));
        assert_eq!(folder("node_modules/@a/b"), Some("@a/b"));
        assert_eq!(folder("app/node_modules/a/node_modules/b"), Some("b"));
        for other in [
            "node_modules",
            "app/src",
            "node_modules/a/lib",
            "node_modules/.bin",
            "node_modules/@a",
            "x_node_modules/a",
        ] {
            assert_eq!(folder(other), None, "{other}");
        }
    }

    #[test]
    fn a_program_s_own_folder_is_one_if_it_names_itself() {
        assert!(stands_alone("usr/lib/claude-code") && stands_alone("opt/agent"));
        for other in ["usr/lib", "usr/lib/a/b", "usr/lib/node_modules", "usr/share/a", "opt", "home/opt/a"] {
            assert!(!stands_alone(other), "{other}");
        }
        let found = alone("p", br#"{"name":"@a/b","version":"1.2.3"}"#).unwrap();
        assert_eq!(found.purl, "pkg:npm/%40a/b@1.2.3");
        for other in ["", "{}", r#"{"name":"a"}"#, r#"{"version":"1"}"#, r#"{"name":"../a b","version":"1"}"#] {
            assert_eq!(alone("p", other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn reads_name_version_and_licence() {
        let found = package("p", "b", br#"{"name":"@a/b","version":"1.2.3","license":"MIT"}"#);
        assert_eq!(found.purl, "pkg:npm/%40a/b@1.2.3");
        assert_eq!(found.licence.as_deref(), Some("MIT"));
        let old = package("p", "b", br#"{"name":"b","version":"1","licenses":[{"type":"ISC","url":"x"}]}"#);
        assert_eq!(old.licence.as_deref(), Some("ISC"));
    }

    #[test]
    fn lists_by_its_folder_what_cannot_be_read() {
        for bad in ["", "{", "[]", "{}", r#"{"name":5}"#, r#"{"name":"a\u0000b","version":"1"}"#, r#"{"name":"@/b"}"#] {
            let found = package("p", "folder", bad.as_bytes());
            assert_eq!((found.purl.as_str(), found.version), ("pkg:npm/folder", None), "{bad}");
        }
    }
}
