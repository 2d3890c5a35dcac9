//! What a template wants beside Debian packages: npm packages, Python wheels, plain files.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::manifest::{bound, rule};
use crate::content::{Digest, limits};
use crate::lockfile::{
    Input, Kind, is_file_name, is_licence, is_npm_name, is_path, is_project_name, is_version, is_word,
};
use crate::oci::Platform;

/// Characters of a range of versions.
const MAX_RANGE: usize = 200;

/// An npm package. Its archive is unpacked by the Dockerfile; npm and install scripts are never run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NpmInput {
    /// What a Dockerfile calls it: `inputs/npm/<name>.tgz`.
    pub name: String,
    /// The package: `@scope/name`.
    pub package: String,
    /// A version or a range of them, as npm writes them.
    pub version: String,
    /// Which archive has it, as a word: `npm`.
    pub archive: String,
    /// Where a package has one package for each platform: which of its optional dependencies that is. Empty: the
    /// package itself is taken for every platform.
    pub platforms: BTreeMap<Platform, String>,
    /// Install scripts that the package has, and of which the template knows that nobody runs them.
    pub unrun_scripts: BTreeSet<String>,
}

/// A Python project, as a wheel: `inputs/wheels/<its file name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelInput {
    /// The project, its name normalised.
    pub package: String,
    /// A version, or specifiers divided by commas (PEP 440).
    pub version: String,
    /// The Python that it is for: `3.13`, as its two numbers.
    pub python: (u32, u32),
    /// Which archive has it, as a word: `pypi`.
    pub archive: String,
}

/// A file of no kind that bulla knows: `inputs/files/<name>`. The template itself says which bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInput {
    /// What a Dockerfile calls it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Which archive has it, as a word.
    pub archive: String,
    /// Its licence, as the template says.
    pub licence: Option<String>,
    /// The bytes for each platform.
    pub sources: BTreeMap<Platform, FileSource>,
}

/// Which bytes a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// Where in the archive they are.
    pub path: String,
    /// Their digest.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

impl FileInput {
    /// What the lock says of it for a platform; nothing where there is none.
    pub fn locked(&self, platform: &Platform) -> Option<Input> {
        let source = self.sources.get(platform)?;
        Some(Input {
            kind: Kind::File,
            platform: Some(platform.clone()),
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: None,
            archive: self.archive.clone(),
            path: source.path.clone(),
            file: Some(self.name.clone()),
            size: source.size,
            digest: source.digest,
            integrity: None,
            licence: self.licence.clone(),
            distro: None,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WireNpm {
    name: Option<String>,
    package: String,
    version: String,
    archive: Option<String>,
    #[serde(default)]
    platforms: BTreeMap<String, String>,
    #[serde(default)]
    unrun_scripts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireWheel {
    package: String,
    version: String,
    python: String,
    archive: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireFile {
    name: String,
    version: String,
    archive: String,
    licence: Option<String>,
    source: Vec<WireSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSource {
    platform: Option<String>,
    path: String,
    sha256: String,
    size: u64,
}

/// npm packages, sorted by name.
pub(super) fn npm(wire: Vec<WireNpm>, declared: &[Platform]) -> Result<Vec<NpmInput>, String> {
    bound("npm", wire.len())?;
    let inputs = wire.into_iter().map(|wire| wire.into_input(declared));
    let mut inputs = inputs.collect::<Result<Vec<_>, String>>()?;
    inputs.sort_by(|one, other| one.name.cmp(&other.name));
    once("npm: name", inputs.iter().map(|input| &input.name))?;
    Ok(inputs)
}

/// Wheels, sorted by project.
pub(super) fn wheels(wire: Vec<WireWheel>) -> Result<Vec<WheelInput>, String> {
    bound("wheel", wire.len())?;
    let mut inputs = wire.into_iter().map(WireWheel::into_input).collect::<Result<Vec<_>, String>>()?;
    inputs.sort_by(|one, other| one.package.cmp(&other.package));
    once("wheel: package", inputs.iter().map(|input| &input.package))?;
    Ok(inputs)
}

/// Files, sorted by name.
pub(super) fn files(wire: Vec<WireFile>, declared: &[Platform]) -> Result<Vec<FileInput>, String> {
    bound("file", wire.len())?;
    let mut inputs = wire.into_iter().map(|wire| wire.into_input(declared)).collect::<Result<Vec<_>, String>>()?;
    inputs.sort_by(|one, other| one.name.cmp(&other.name));
    once("file: name", inputs.iter().map(|input| &input.name))?;
    Ok(inputs)
}

impl WireNpm {
    fn into_input(self, declared: &[Platform]) -> Result<NpmInput, String> {
        rule("npm: package", is_npm_name(&self.package), &self.package)?;
        let plain = self.package.rsplit('/').next().unwrap_or_default().to_owned();
        let name = self.name.unwrap_or(plain);
        // `.tgz` follows.
        rule("npm: name", is_file_name(&name) && name.len() <= 100, &name)?;
        rule("npm: version", is_range(&self.version), &self.version)?;
        let mut platforms = BTreeMap::new();
        for (platform, package) in self.platforms {
            rule("npm: platforms", is_npm_name(&package), &package)?;
            platforms.insert(one_of(declared, &platform, "npm: platforms")?, package);
        }
        if !platforms.is_empty() {
            let missing = declared.iter().find(|platform| !platforms.contains_key(platform));
            missing.map_or(Ok(()), |platform| Err(format!("npm: {name} names no package for {platform}")))?;
        }
        for script in &self.unrun_scripts {
            let known = ["preinstall", "install", "postinstall"].contains(&script.as_str());
            rule("npm: unrun-scripts (preinstall, install, postinstall)", known, script)?;
        }
        Ok(NpmInput {
            archive: archive(self.archive, "npm")?,
            name,
            package: self.package,
            version: self.version,
            platforms,
            unrun_scripts: self.unrun_scripts.into_iter().collect(),
        })
    }
}

impl WireWheel {
    fn into_input(self) -> Result<WheelInput, String> {
        rule("wheel: package (lower case, with - for _ and .)", is_project_name(&self.package), &self.package)?;
        rule("wheel: version", is_range(&self.version), &self.version)?;
        let number = |text: &str| text.parse().ok().filter(|number: &u32| number.to_string() == text);
        let python = self.python.split_once('.');
        let python = python.and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        let python = python.filter(|(major, _)| *major == 3);
        let python = python.ok_or_else(|| "wheel: python is written as in 3.13".to_owned())?;
        Ok(WheelInput { archive: archive(self.archive, "pypi")?, package: self.package, version: self.version, python })
    }
}

impl WireFile {
    fn into_input(self, declared: &[Platform]) -> Result<FileInput, String> {
        rule("file: name", is_file_name(&self.name), &self.name)?;
        rule("file: version", is_version(&self.version), &self.version)?;
        if let Some(licence) = &self.licence {
            rule("file: licence", is_licence(licence), licence)?;
        }
        bound("file: source", self.source.len())?;
        let mut sources = BTreeMap::new();
        for WireSource { platform, path, sha256, size } in self.source {
            rule("file: path", is_path(&path), &path)?;
            let digest = Digest::from_hex(&sha256)
                .map_err(|_| format!("file: {}: sha256 is not 64 lower-case hex digits", self.name))?;
            rule("file: size", (1..=limits::INPUT).contains(&size), &size.to_string())?;
            let platforms = match platform {
                Some(platform) => vec![one_of(declared, &platform, "file: platform")?],
                None => declared.to_vec(),
            };
            for platform in platforms {
                let source = FileSource { path: path.clone(), digest, size };
                if sources.insert(platform.clone(), source).is_some() {
                    return Err(format!("file: {} has two sources for {platform}", self.name));
                }
            }
        }
        let missing = declared.iter().find(|platform| !sources.contains_key(platform));
        missing.map_or(Ok(()), |platform| Err(format!("file: {} has no source for {platform}", self.name)))?;
        Ok(FileInput {
            archive: archive(Some(self.archive), "")?,
            name: self.name,
            version: self.version,
            licence: self.licence,
            sources,
        })
    }
}

fn archive(named: Option<String>, usual: &str) -> Result<String, String> {
    let archive = named.unwrap_or_else(|| usual.to_owned());
    rule("archive", is_word(&archive), &archive).map(|()| archive)
}

fn one_of(declared: &[Platform], text: &str, key: &str) -> Result<Platform, String> {
    let platform = text.parse::<Platform>().ok().filter(|platform| declared.contains(platform));
    platform.ok_or_else(|| format!("{key}: {:?} is none of the template's", text.chars().take(100).collect::<String>()))
}

fn once<'a>(key: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        rule(&format!("{key} is there twice"), seen.insert(name), name)?;
    }
    Ok(())
}

/// What versions and ranges are made of. Whether it is one is the registry reader's question.
fn is_range(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" .+-*^~<>=!|,_".contains(&byte);
    !text.trim().is_empty() && text.len() <= MAX_RANGE && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::TemplateManifest;
    use super::super::manifest::tests::MINIMAL;

    const MORE: &str = r#"
[[npm]]
package = "@scope/agent"
version = "^1.2.0"
platforms = { "linux/amd64" = "@scope/agent-linux-x64" }

[[npm]]
name = "tool"
package = "left-tool"
version = "1.0.0"
archive = "acme"
unrun-scripts = ["postinstall"]

[[wheel]]
package = "six"
version = ">=1.16,<2"
python = "3.13"

[[file]]
name = "tool.tar.gz"
version = "2.0"
archive = "acme"
licence = "MIT"

[[file.source]]
path = "v2/tool-amd64.tar.gz"
sha256 = "967aa62605721081c3eb2a17650611a792aa802d76a6511d1840242623d204c9"
size = 10
"#;

    fn parse(text: &str) -> Result<TemplateManifest, String> {
        TemplateManifest::parse(text)
    }

    #[test]
    fn reads_every_kind() {
        let manifest = parse(&format!("{MINIMAL}{MORE}")).unwrap();
        assert_eq!(manifest.npm[0].name, "agent");
        assert_eq!(manifest.npm[0].archive, "npm");
        assert_eq!(manifest.npm[1].archive, "acme");
        assert!(manifest.npm[1].unrun_scripts.contains("postinstall"));
        assert_eq!((manifest.wheels[0].python, manifest.wheels[0].archive.as_str()), ((3, 13), "pypi"));
        let locked = manifest.files[0].locked(&"linux/amd64".parse().unwrap()).unwrap();
        assert_eq!((locked.file_name(), locked.path.as_str()), ("tool.tar.gz", "v2/tool-amd64.tar.gz"));
    }

    #[test]
    fn refuses_values_that_no_template_may_have() {
        let good = format!("{MINIMAL}{MORE}");
        for (before, after) in [
            ("\"@scope/agent\"", "\"@scope/agent/x\""),
            ("\"@scope/agent\"", "\"../agent\""),
            ("\"@scope/agent\"", "\"@/agent\""),
            ("\"@scope/agent-linux-x64\"", "\"-x\""),
            ("\"linux/amd64\" =", "\"linux/s390x\" ="),
            ("\"linux/amd64\" =", "\"nonsense\" ="),
            ("\"^1.2.0\"", "\"\""),
            ("\"^1.2.0\"", "\"https://x/y.tgz\""),
            ("\"tool\"", "\"agent\""),
            ("\"tool\"", "\"a/b\""),
            ("\"acme\"\nunrun", "\"Acme\"\nunrun"),
            ("[\"postinstall\"]", "[\"prepare\"]"),
            ("\"six\"", "\"Six\""),
            ("\"six\"", "\"a_b\""),
            ("\"3.13\"", "\"3\""),
            ("\"3.13\"", "\"2.7\""),
            ("\"3.13\"", "\"3.013\""),
            ("\"tool.tar.gz\"", "\".hidden\""),
            ("\"tool.tar.gz\"", "\"a/b\""),
            ("\"v2/tool-amd64.tar.gz\"", "\"../x\""),
            ("\"v2/tool-amd64.tar.gz\"", "\"https://x\""),
            ("\"967a", "\"967A"),
            ("size = 10", "size = 0"),
            ("size = 10", "size = 10\nurl = \"x\""),
            ("\"MIT\"", "\"MIT\\nx\""),
            ("[[file.source]]", "[[file.other]]"),
        ] {
            let text = good.replacen(before, after, 1);
            assert_ne!(text, good, "{before}");
            assert!(parse(&text).is_err(), "{after}");
        }
    }

    #[test]
    fn a_platform_that_is_left_out_is_named() {
        let both = format!("{MINIMAL}{MORE}").replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
        let error = parse(&both).unwrap_err();
        assert!(error.contains("agent") && error.contains("linux/arm64"), "{error}");
        let files = both
            .replacen("platforms = {", "# {", 1)
            .replace("[[file.source]]", "[[file.source]]\nplatform = \"linux/amd64\"");
        let error = parse(&files).unwrap_err();
        assert!(error.contains("tool.tar.gz") && error.contains("linux/arm64"), "{error}");
    }
}
