//! Reading what npm registries say: package documents, ranges of versions, platforms.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use semver::{Version, VersionReq};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::{Named, PackageError};
use crate::json::{self, Shape};
use crate::lockfile::{is_integrity, is_npm_name};
use crate::oci::Platform;

/// No key is held against others that differ in case only: most of it is what packages say of themselves.
const SHAPE: Shape = Shape { name: "registry's document", known: &[], opaque: &[] };
/// Scripts that npm runs when it installs a package from a registry.
const INSTALL_SCRIPTS: [&str; 3] = ["preinstall", "install", "postinstall"];

/// What a registry says of a package.
#[derive(Debug)]
pub(super) struct Packument {
    latest: Option<String>,
    versions: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct WirePackument {
    name: String,
    #[serde(rename = "dist-tags", default)]
    tags: BTreeMap<String, String>,
    versions: BTreeMap<String, Box<RawValue>>,
}

/// What it says of one version, or what a package.json says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default)]
    dist: Dist,
    #[serde(default)]
    os: Words,
    #[serde(default)]
    cpu: Words,
    #[serde(default)]
    libc: Words,
    #[serde(default)]
    scripts: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    has_install_script: Option<bool>,
    #[serde(default)]
    gypfile: Option<bool>,
    #[serde(default)]
    dependencies: Option<BTreeMap<String, String>>,
    #[serde(default)]
    optional_dependencies: Option<BTreeMap<String, String>>,
    #[serde(default, alias = "bundledDependencies")]
    bundle_dependencies: Value,
    #[serde(default)]
    license: Value,
    #[serde(default)]
    deprecated: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Dist {
    #[serde(default)]
    tarball: String,
    #[serde(default)]
    integrity: String,
    #[serde(default)]
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, Deserialize)]
struct Signature {
    keyid: String,
}

/// npm takes one word for a list of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Words {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Packument {
    /// Reads a package document, which has to be of this package.
    pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Self, PackageError> {
        let failed = |reason: String| PackageError::Format { what: name.to_owned(), reason };
        json::scan(bytes, &SHAPE).map_err(|error| failed(error.to_string()))?;
        let wire: WirePackument = serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
        if wire.name != name {
            let said: String = wire.name.chars().take(100).collect();
            return Err(failed(format!("it is about {said:?}")));
        }
        Ok(Self { latest: wire.tags.get("latest").cloned(), versions: wire.versions })
    }

    /// The version that npm would take: an exact one, or of a range the one tagged `latest`, else the highest that is
    /// not deprecated.
    pub(super) fn choose(&self, name: &str, wanted: &str) -> Result<Manifest, PackageError> {
        let package = || Named { name: name.to_owned(), version: wanted.to_owned() };
        let failed = |reason: &str| PackageError::NoVersion { package: package(), reason: reason.to_owned() };
        let wanted = wanted.trim();
        let read = |version: &str| -> Result<Manifest, PackageError> {
            let raw = self.versions.get(version).ok_or_else(|| failed("the registry has no such version"))?;
            let format = |reason: String| PackageError::Format { what: package().to_string(), reason };
            let manifest: Manifest = serde_json::from_str(raw.get()).map_err(|error| format(error.to_string()))?;
            if manifest.name != name || manifest.version != version {
                return Err(format(format!("under this version it describes {}", manifest.named())));
            }
            Ok(manifest)
        };
        if Version::parse(wanted).is_ok() {
            return read(wanted);
        }
        let range = range(wanted).ok_or_else(|| failed("this is neither a version nor a range of versions"))?;
        let fits = |version: &Version| range.iter().any(|part| part.matches(version));
        if let Some(latest) = self.latest.as_ref().filter(|latest| Version::parse(latest).is_ok_and(|one| fits(&one))) {
            return read(latest);
        }
        let mut fitting: Vec<_> = self.versions.keys().filter_map(|version| Version::parse(version).ok()).collect();
        fitting.retain(fits);
        fitting.sort();
        let highest = fitting.last().map(ToString::to_string).ok_or_else(|| failed("no version is in this range"))?;
        for version in fitting.iter().rev() {
            let manifest = read(&version.to_string())?;
            if matches!(manifest.deprecated, Value::Null | Value::Bool(false)) {
                return Ok(manifest);
            }
        }
        read(&highest)
    }
}

/// A range as npm writes it: alternatives, each of which is a list of bounds that all hold. Ranges with a hyphen are not
/// read.
fn range(text: &str) -> Option<Vec<VersionReq>> {
    let part = |part: &str| -> Option<VersionReq> {
        let mut bounds: Vec<String> = Vec::new();
        for word in part.split_whitespace() {
            let operator = |last: &String| last.ends_with(['<', '>', '=', '~', '^']);
            match bounds.last_mut().filter(|last| operator(last)) {
                Some(last) => last.push_str(word),
                None if word == "-" => return None,
                // Without an operator, a part of a version stands for all that begin with it.
                None if word.starts_with(|first: char| first.is_ascii_digit()) => bounds.push(format!("={word}")),
                None => bounds.push(word.to_owned()),
            }
        }
        let bounds = if bounds.is_empty() { "*".to_owned() } else { bounds.join(", ") };
        VersionReq::parse(&bounds.replace("~>", "~")).ok()
    };
    text.split("||").map(part).collect()
}

/// Whether a version is one that a dependency takes. What is no range of versions takes none.
pub(super) fn is_within(wanted: &str, version: &str) -> bool {
    let parsed = Version::parse(version).ok().zip(range(wanted));
    parsed.is_some_and(|(version, range)| range.iter().any(|part| part.matches(&version)))
}

impl Manifest {
    /// Reads a package.json.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        json::scan(bytes, &SHAPE).map_err(|error| format!("its package.json: {error}"))?;
        serde_json::from_slice(bytes).map_err(|error| format!("its package.json: {error}"))
    }

    /// Name and version, for a person.
    pub(super) fn named(&self) -> Named {
        let cut = |text: &str| text.chars().take(200).collect();
        Named { name: cut(&self.name), version: cut(&self.version) }
    }

    /// Name and range of an optional dependency. `npm:name@range` is another package under this name.
    pub(super) fn optional(&self, package: &str) -> Option<(String, String)> {
        let said = self.optional_dependencies.as_ref()?.get(package)?;
        let Some(alias) = said.strip_prefix("npm:") else { return Some((package.to_owned(), said.clone())) };
        let (name, range) = alias.rsplit_once('@').filter(|(name, _)| is_npm_name(name))?;
        Some((name.to_owned(), range.to_owned()))
    }

    /// What it needs at run time and does not bring along.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = (&String, &String)> {
        let bundled = |name: &String| match &self.bundle_dependencies {
            Value::Bool(all) => *all,
            Value::Array(names) => names.iter().any(|one| one.as_str() == Some(name)),
            _ => false,
        };
        // npm's registry lists optional dependencies among the others, too.
        let optional = |name: &String| self.optional_dependencies.as_ref().is_some_and(|all| all.contains_key(name));
        self.dependencies.iter().flatten().filter(move |(name, _)| !bundled(name) && !optional(name))
    }

    /// The scripts that npm would run to install it.
    pub(super) fn scripts(&self) -> Vec<String> {
        let said = self.scripts.iter().flatten().filter(|(_, value)| !value.is_null());
        let mut scripts: Vec<_> =
            said.map(|(name, _)| name.clone()).filter(|name| INSTALL_SCRIPTS.contains(&name.as_str())).collect();
        let unnamed = self.has_install_script == Some(true) || self.gypfile == Some(true);
        if scripts.is_empty() && unnamed {
            scripts.push("install".to_owned());
        }
        scripts
    }

    /// Whether it says that it runs on this platform; what it does not say is no reason against it.
    pub(super) fn fits(&self, platform: &Platform) -> Result<(), String> {
        let cpu = match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("amd64", _) => "x64",
            ("386", _) => "ia32",
            ("ppc64le", _) => "ppc64",
            (other, _) => other,
        };
        // Debian's C library is glibc.
        for (key, words, actual) in
            [("os", &self.os, platform.os.as_str()), ("cpu", &self.cpu, cpu), ("libc", &self.libc, "glibc")]
        {
            if !words.allow(actual) {
                return Err(format!("its {key} is {}", words.shown()));
            }
        }
        Ok(())
    }

    /// The one SHA-512 among its hashes.
    pub(super) fn integrity(&self) -> Result<String, PackageError> {
        let mut found = self.dist.integrity.split_ascii_whitespace().filter(|hash| hash.starts_with("sha512-"));
        match (found.next(), found.next()) {
            (Some(hash), None) if is_integrity(hash) => Ok(hash.to_owned()),
            _ => Err(PackageError::Format {
                what: self.named().to_string(),
                reason: "its integrity is not one SHA-512".to_owned(),
            }),
        }
    }

    /// Refuses an archive that does not lie where registries keep it: a lock has no other address for it.
    pub(super) fn expect_tarball(&self, path: &str) -> Result<(), PackageError> {
        let said = self.dist.tarball.split(['?', '#']).next().unwrap_or_default();
        let said = said.replace("%40", "@").replace("%2f", "/").replace("%2F", "/").replace("%2B", "+");
        if said.strip_suffix(path).is_some_and(|before| before.ends_with('/')) {
            return Ok(());
        }
        let reason = format!("its archive is not at {path}, where registries keep them");
        Err(PackageError::Format { what: self.named().to_string(), reason })
    }

    /// The keys that the registry says it signed with.
    pub(super) fn signature_keys(&self) -> Option<String> {
        let keys: Vec<_> =
            self.dist.signatures.iter().map(|one| one.keyid.chars().take(80).collect::<String>()).collect();
        (!keys.is_empty()).then(|| keys.join(", "))
    }

    /// Its licence, in its own words.
    pub(super) fn licence(&self) -> Option<String> {
        let text = match &self.license {
            Value::String(text) => Some(text.as_str()),
            Value::Object(object) => object.get("type").and_then(Value::as_str),
            _ => None,
        };
        text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

impl Words {
    fn list(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }

    /// npm's own rule: none of those with `!`, and one of the others if there are any.
    fn allow(&self, actual: &str) -> bool {
        let refused = self.list().iter().any(|word| word.strip_prefix('!') == Some(actual));
        let mut wanted = self.list().iter().filter(|word| !word.starts_with('!')).peekable();
        !refused && (wanted.peek().is_none() || wanted.any(|word| word == actual || word == "any"))
    }

    fn shown(&self) -> String {
        self.list().join(", ").chars().take(100).collect()
    }
}

/// A SHA-512 as registries write it.
pub(super) fn integrity_of(hash: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classified as _;

    fn packument(versions: &[(&str, &str)], latest: &str) -> Packument {
        let versions: Vec<_> = versions
            .iter()
            .map(|(version, more)| format!(r#""{version}":{{"name":"a","version":"{version}"{more}}}"#))
            .collect();
        let text =
            format!(r#"{{"name":"a","dist-tags":{{"latest":"{latest}"}},"versions":{{{}}}}}"#, versions.join(","));
        Packument::parse("a", text.as_bytes()).unwrap()
    }

    fn manifest(more: &str) -> Manifest {
        packument(&[("1.0.0", more)], "1.0.0").choose("a", "1.0.0").unwrap()
    }

    #[test]
    fn takes_the_version_that_npm_would_take() {
        let all =
            ["1.0.0", "1.2.0", "1.10.0", "2.0.0", "2.1.0-beta.1", "1.11.0-linux-x64"].map(|version| (version, ""));
        let all = packument(&all, "2.0.0");
        for (wanted, version) in [
            ("1.2.0", "1.2.0"),
            ("=1.2.0", "1.2.0"),
            ("^1.0.0", "1.10.0"),
            ("~1.2", "1.2.0"),
            ("1", "1.10.0"),
            ("1.x", "1.10.0"),
            ("*", "2.0.0"),
            (">=1.0.0 <1.10.0", "1.2.0"),
            (">= 1.0.0 < 2", "1.10.0"),
            ("<1.1 || >=3", "1.0.0"),
            ("2.1.0-beta.1", "2.1.0-beta.1"),
            ("1.11.0-linux-x64", "1.11.0-linux-x64"),
        ] {
            assert_eq!(all.choose("a", wanted).unwrap().version, version, "{wanted}");
        }
        for wanted in ["3.0.0", "^3", "latest", "1.0.0 - 2.0.0", "", "git+x", ">"] {
            let error = all.choose("a", wanted);
            assert!(wanted.is_empty() || error.is_err(), "{wanted}: {error:?}");
        }
    }

    #[test]
    fn prefers_the_version_tagged_latest_and_passes_over_deprecated_ones() {
        let all = packument(&[("1.0.0", ""), ("1.1.0", ""), ("1.2.0", r#","deprecated":"no""#)], "1.0.0");
        assert_eq!(all.choose("a", "^1").unwrap().version, "1.0.0");
        assert_eq!(all.choose("a", ">1.0.0").unwrap().version, "1.1.0");
        assert_eq!(all.choose("a", ">1.1.0").unwrap().version, "1.2.0");
    }

    #[test]
    fn refuses_documents_about_something_else() {
        for text in [
            "",
            "[]",
            r#"{"name":"b","versions":{}}"#,
            r#"{"versions":{}}"#,
            r#"{"name":"a","name":"a","versions":{}}"#,
            r#"{"name":"a","versions":{},"versions":{}}"#,
            r#"{"name":"a","versions":[]}"#,
        ] {
            assert_eq!(Packument::parse("a", text.as_bytes()).unwrap_err().code(), "package-not-understood", "{text}");
        }
        let swapped = br#"{"name":"a","versions":{"1.0.0":{"name":"a","version":"1.0.1"}}}"#;
        let error = Packument::parse("a", swapped).unwrap().choose("a", "1.0.0").unwrap_err();
        assert_eq!(error.code(), "package-not-understood");
    }

    #[test]
    fn follows_aliases_of_optional_dependencies() {
        let all =
            r#","optionalDependencies":{"p":"2.0.0","q":"npm:@s/a@1.0.0-linux-x64","r":"npm:../x@1","s":"npm:a"}"#;
        let all = manifest(all);
        assert_eq!(all.optional("p"), Some(("p".to_owned(), "2.0.0".to_owned())));
        assert_eq!(all.optional("q"), Some(("@s/a".to_owned(), "1.0.0-linux-x64".to_owned())));
        assert_eq!((all.optional("r"), all.optional("s"), all.optional("t")), (None, None, None));
    }

    #[test]
    fn sees_install_scripts_however_they_are_said() {
        for (more, scripts) in [
            ("", &[][..]),
            (r#","scripts":{"test":"x","prepare":"y"}"#, &[]),
            (r#","scripts":{"postinstall":"x","preinstall":"y"}"#, &["postinstall", "preinstall"]),
            (r#","hasInstallScript":true"#, &["install"]),
            (r#","gypfile":true"#, &["install"]),
        ] {
            assert_eq!(manifest(more).scripts(), scripts, "{more}");
        }
    }

    #[test]
    fn a_package_for_another_platform_does_not_fit() {
        let (amd64, arm64) = ("linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap());
        for (more, fits) in [
            ("", (true, true)),
            (r#","os":["linux"],"cpu":["x64"],"libc":["glibc"]"#, (true, false)),
            (r#","os":"linux","cpu":"arm64""#, (false, true)),
            (r#","os":["darwin"]"#, (false, false)),
            (r#","libc":["musl"]"#, (false, false)),
            (r#","os":["!win32"],"cpu":["!x64"]"#, (false, true)),
        ] {
            let manifest = manifest(more);
            assert_eq!((manifest.fits(&amd64).is_ok(), manifest.fits(&arm64).is_ok()), fits, "{more}");
        }
    }

    #[test]
    fn dependencies_count_unless_they_are_bundled_or_optional() {
        let names = |more: &str| manifest(more).dependencies().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let two = r#","dependencies":{"b":"1","c":"2"}"#;
        assert_eq!(names(two), ["b", "c"]);
        assert_eq!(names(&format!(r#"{two},"bundleDependencies":["b"]"#)), ["c"]);
        assert_eq!(names(&format!(r#"{two},"bundledDependencies":true"#)), [""; 0]);
        assert_eq!(names(&format!(r#"{two},"optionalDependencies":{{"c":"2"}}"#)), ["b"]);
    }

    #[test]
    fn takes_no_weaker_integrity_and_no_other_address() {
        let good = integrity_of(&[7; 64]);
        let with = |integrity: &str, tarball: &str| {
            manifest(&format!(r#","dist":{{"integrity":"{integrity}","tarball":"{tarball}"}}"#))
        };
        assert_eq!(with(&good, "").integrity().unwrap(), good);
        assert_eq!(with(&format!("sha1-x {good}"), "").integrity().unwrap(), good);
        for bad in
            ["", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "sha512-AAAA", &format!("{good} {}", integrity_of(&[8; 64]))]
        {
            assert!(with(bad, "").integrity().is_err(), "{bad}");
        }
        let path = "@s/a/-/a-1.0.0.tgz";
        for (tarball, fine) in [
            ("https://h.test/@s/a/-/a-1.0.0.tgz", true),
            ("https://h.test/repository/npm/%40s%2fa/-/a-1.0.0.tgz?x=1", true),
            ("https://h.test/download/@s/a/1.0.0/abc", false),
            ("https://h.test/x@s/a/-/a-1.0.0.tgz", false),
            ("", false),
        ] {
            assert_eq!(with(&good, tarball).expect_tarball(path).is_ok(), fine, "{tarball}");
        }
    }
}
