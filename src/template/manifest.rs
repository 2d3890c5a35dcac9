//! `template.toml`: what a template wants, read strictly. What is not understood is refused, never passed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::kinds::{self, FileInput, NpmInput, WheelInput};
use crate::content::parse_toml;
use crate::lockfile::{debian_architecture, is_package_name, is_suite, is_word};
use crate::oci::Platform;

/// Entries of any list in the file: more than any template has, and few enough to read.
const MAX_LIST: usize = 1_000;
/// Characters of any text in the file.
const MAX_TEXT: usize = 1_000;

/// What `template.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateManifest {
    /// Name of the template; the same as its folder's.
    pub name: String,
    /// Version of the template, as in the name of its images: `0.1.0`.
    pub release: String,
    /// One line for a person.
    pub description: String,
    /// The template whose image is underneath; absent: the image starts from nothing.
    pub base: Option<String>,
    /// The platforms that it is locked and built for; at least one, sorted.
    pub platforms: Vec<Platform>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Whom containers run as.
    pub user: User,
    /// Debian packages.
    pub deb: DebInputs,
    /// npm packages, sorted by name.
    pub npm: Vec<NpmInput>,
    /// Python wheels, sorted by project.
    pub wheels: Vec<WheelInput>,
    /// Other files, sorted by name.
    pub files: Vec<FileInput>,
    /// How containers run, unless the person says otherwise.
    pub launch: LaunchProfile,
}

/// A user of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id; never 0.
    pub uid: u32,
    /// Group id; never 0.
    pub gid: u32,
    /// Home folder, absolute.
    pub home: String,
}

/// Debian packages: the essential ones, these, and what they depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebInputs {
    /// Code name of the release: `trixie`.
    pub distro: String,
    /// The archives that packages may come from; at least one.
    pub archives: Vec<DebArchive>,
    /// Packages asked for by name, sorted.
    pub packages: Vec<String>,
}

/// One archive of packages, by a word: where it is, is configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebArchive {
    /// `debian`, `debian-security`
    pub name: String,
    /// Suites, by code name: `trixie-updates`.
    pub suites: Vec<String>,
    /// Components: `main`.
    pub components: Vec<String>,
}

/// How containers of the template run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchProfile {
    /// Bound on memory, in bytes.
    pub memory: u64,
    /// Bound on processes.
    pub pids: u32,
    /// What they can reach.
    pub network: Network,
    /// Folders that can be written to, besides what the person mounts.
    pub tmpfs: Vec<Tmpfs>,
}

/// What containers can reach over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Nothing.
    None,
    /// What the runtime's default network reaches.
    Bridge,
}

/// A folder in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where, absolute.
    pub path: String,
    /// Bound, in bytes.
    pub size: u64,
}

impl TemplateManifest {
    /// Reads the file, or says which rule it breaks.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // The version first: a later one may have fields that would read as unknown.
        let head: WireHead = parse_toml(text).map_err(|error| error.to_string())?;
        if head.version != 1 {
            return Err(format!("version is {}, and this program knows version 1: use a newer bulla", head.version));
        }
        let wire: Wire = parse_toml(text).map_err(|error| error.to_string())?;
        wire.into_manifest()
    }
}

#[derive(Deserialize)]
struct WireHead {
    version: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "version")]
    _version: i64,
    name: String,
    release: String,
    description: String,
    base: Option<String>,
    platforms: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    user: WireUser,
    deb: WireDeb,
    #[serde(default)]
    npm: Vec<kinds::WireNpm>,
    #[serde(default)]
    wheel: Vec<kinds::WireWheel>,
    #[serde(default)]
    file: Vec<kinds::WireFile>,
    launch: WireLaunch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireUser {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDeb {
    distro: String,
    packages: Vec<String>,
    archive: Vec<WireArchive>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireArchive {
    name: String,
    suites: Vec<String>,
    components: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireLaunch {
    memory: String,
    pids: u32,
    network: Network,
    #[serde(default)]
    tmpfs: Vec<WireTmpfs>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTmpfs {
    path: String,
    size: String,
}

impl Wire {
    fn into_manifest(self) -> Result<TemplateManifest, String> {
        rule("name", is_word(&self.name), &self.name)?;
        rule("release", is_release(&self.release), &self.release)?;
        rule("description", is_line(&self.description) && !self.description.is_empty(), &self.description)?;
        if let Some(base) = &self.base {
            rule("base (another template's name)", is_word(base) && *base != self.name, base)?;
        }
        for (key, value) in &self.labels {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
            rule("labels: key", !key.is_empty() && key.len() <= 128 && key.bytes().all(allowed), key)?;
            rule("labels: value", is_line(value), value)?;
        }
        let parsed: Result<Vec<Platform>, _> = self.platforms.iter().map(|text| text.parse::<Platform>()).collect();
        let mut platforms = parsed.map_err(|error| format!("platforms: {error}"))?;
        platforms.sort();
        list("platforms", &platforms)?;
        if let Some(platform) = platforms.iter().find(|platform| debian_architecture(platform).is_none()) {
            return Err(format!("platforms: Debian has no packages for {platform}"));
        }
        if let Some(pair) = platforms.windows(2).find(|pair| pair[0].matches(&pair[1])) {
            return Err(format!("platforms: {} is there twice", pair[1]));
        }
        bound("labels", self.labels.len())?;
        Ok(TemplateManifest {
            npm: kinds::npm(self.npm, &platforms)?,
            wheels: kinds::wheels(self.wheel)?,
            files: kinds::files(self.file, &platforms)?,
            name: self.name,
            release: self.release,
            description: self.description,
            base: self.base,
            platforms,
            labels: self.labels,
            user: self.user.into_user()?,
            deb: self.deb.into_inputs()?,
            launch: self.launch.into_profile()?,
        })
    }
}

impl WireUser {
    fn into_user(self) -> Result<User, String> {
        let Self { name, uid, gid, home } = self;
        // useradd's own rule, without upper case.
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
        rule("user.name", starts && name.len() <= 32 && name.bytes().all(allowed), &name)?;
        rule("user.home", is_folder(&home), &home)?;
        // 65534 is nobody's, and higher ids need not exist in a rootless user namespace.
        if !(1..65534).contains(&uid) || !(1..65534).contains(&gid) {
            return Err("user: uid and gid are from 1 to 65533; containers do not run as root".to_owned());
        }
        Ok(User { name, uid, gid, home })
    }
}

impl WireDeb {
    fn into_inputs(self) -> Result<DebInputs, String> {
        rule("deb.distro", is_word(&self.distro), &self.distro)?;
        let mut packages = self.packages;
        packages.sort();
        if !packages.is_empty() {
            list("deb.packages", &packages)?;
        }
        for name in &packages {
            rule("deb.packages", is_package_name(name), name)?;
        }
        bound("deb.archive", self.archive.len())?;
        if self.archive.is_empty() {
            return Err("deb.archive: there is none, and packages come from somewhere".to_owned());
        }
        let (mut names, mut suites) = (BTreeSet::new(), BTreeSet::new());
        for archive in &self.archive {
            rule("deb.archive: name", is_word(&archive.name), &archive.name)?;
            rule("deb.archive: name is there twice", names.insert(&archive.name), &archive.name)?;
            bound("deb.archive: suites", archive.suites.len())?;
            bound("deb.archive: components", archive.components.len())?;
            if archive.suites.is_empty() || archive.components.is_empty() {
                return Err(format!("deb.archive {:?}: suites and components, at least one of each", archive.name));
            }
            for suite in &archive.suites {
                rule("deb.archive: suite", is_suite(suite), suite)?;
                rule("deb.archive: suite is there twice", suites.insert(suite), suite)?;
            }
            let mut components = BTreeSet::new();
            for component in &archive.components {
                rule("deb.archive: component", is_word(component), component)?;
                rule("deb.archive: component is there twice", components.insert(component), component)?;
            }
        }
        let archives = self.archive.into_iter().map(|WireArchive { name, suites, components }| DebArchive {
            name,
            suites,
            components,
        });
        Ok(DebInputs { distro: self.distro, archives: archives.collect(), packages })
    }
}

impl WireLaunch {
    fn into_profile(self) -> Result<LaunchProfile, String> {
        let size = |key: &str, text: &str| {
            let units = [("MiB", 1_u64 << 20), ("GiB", 1 << 30)];
            let split = units.iter().find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, *unit)));
            let (digits, unit) = split.unwrap_or_default();
            let plain = !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let bytes = digits.parse::<u64>().unwrap_or(0).saturating_mul(unit);
            rule(&format!("{key} (write 512MiB or 4GiB)"), plain && bytes > 0, text).map(|()| bytes)
        };
        let memory = size("launch.memory", &self.memory)?;
        if !(1..=1 << 22).contains(&self.pids) {
            return Err("launch.pids: from 1 to 4194304, Linux's own limit".to_owned());
        }
        bound("launch.tmpfs", self.tmpfs.len())?;
        let mut tmpfs: Vec<Tmpfs> = Vec::new();
        for WireTmpfs { path, size: text } in self.tmpfs {
            rule("launch.tmpfs: path", is_folder(&path), &path)?;
            rule("launch.tmpfs: path is there twice", tmpfs.iter().all(|other| other.path != path), &path)?;
            tmpfs.push(Tmpfs { size: size("launch.tmpfs: size", &text)?, path });
        }
        Ok(LaunchProfile { memory, pids: self.pids, network: self.network, tmpfs })
    }
}

pub(super) fn rule(key: &str, holds: bool, value: &str) -> Result<(), String> {
    if holds {
        return Ok(());
    }
    Err(format!("{key}: {:?} is not acceptable", value.chars().take(100).collect::<String>()))
}

pub(super) fn bound(key: &str, count: usize) -> Result<(), String> {
    if count > MAX_LIST {
        return Err(format!("{key}: {count} entries, more than the limit of {MAX_LIST}"));
    }
    Ok(())
}

/// Refuses a sorted list that is empty, too long, or has an entry twice.
fn list<T: PartialEq + std::fmt::Display>(key: &str, entries: &[T]) -> Result<(), String> {
    bound(key, entries.len())?;
    if entries.is_empty() {
        return Err(format!("{key}: there is none"));
    }
    match entries.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{key}: {} is there twice", pair[0])),
        None => Ok(()),
    }
}

fn is_line(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// A version that can stand in an image's tag.
fn is_release(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(allowed)
}

/// An absolute path of plain segments, not the root itself.
fn is_folder(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed);
    path.len() <= 200 && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const MINIMAL: &str = r#"version = 1
name = "tiny"
release = "1.0"
description = "A template for tests"
platforms = ["linux/amd64"]

[user]
name = "agent"
uid = 1000
gid = 1000
home = "/home/agent"

[deb]
distro = "trixie"
packages = ["jq", "git"]

[[deb.archive]]
name = "debian"
suites = ["trixie"]
components = ["main"]

[launch]
memory = "512MiB"
pids = 64
network = "none"
"#;

    #[test]
    fn reads_what_it_says() {
        let manifest = TemplateManifest::parse(MINIMAL).unwrap();
        assert_eq!(manifest.deb.packages, ["git", "jq"]);
        assert_eq!(manifest.launch.memory, 512 << 20);
        assert_eq!(manifest.platforms[0].to_string(), "linux/amd64");
        assert!(manifest.launch.tmpfs.is_empty());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (before, after) in [
            ("version = 1", "version = 2\nnew = true"),
            ("version = 1\n", ""),
            ("release", "colour = \"red\"\nrelease"),
            ("[launch]", "[npm]\nx = 1\n[launch]"),
            ("[launch]", "[[file]]\nx = 1\n[launch]"),
            ("network = \"none\"", "network = \"host\""),
            ("network = \"none\"", "network = \"none\"\ncapabilities = []"),
            ("uid = 1000", "uid = 1000\nshell = \"/bin/sh\""),
            ("components = [\"main\"]", "components = [\"main\"]\nuri = \"x\""),
            ("uid = 1000", "uid = 1000\nuid = 1001"),
        ] {
            let text = MINIMAL.replacen(before, after, 1);
            assert_ne!(text, MINIMAL);
            assert!(TemplateManifest::parse(&text).is_err(), "{after}");
        }
    }

    #[test]
    fn refuses_values_that_no_template_may_have() {
        for (before, after) in [
            ("\"tiny\"", "\"../tiny\""),
            ("\"tiny\"", "\"\""),
            ("\"1.0\"", "\"1.0/x\""),
            ("platforms =", "base = \"tiny\"\nplatforms ="),
            ("platforms =", "base = \"../base\"\nplatforms ="),
            ("[\"linux/amd64\"]", "[]"),
            ("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/amd64\"]"),
            ("[\"linux/amd64\"]", "[\"linux/arm64\", \"linux/arm64/v8\"]"),
            ("[\"linux/amd64\"]", "[\"windows/amd64\"]"),
            ("uid = 1000", "uid = 0"),
            ("gid = 1000", "gid = 0"),
            ("uid = 1000", "uid = -1"),
            ("\"agent\"\nuid", "\"-agent\"\nuid"),
            ("\"/home/agent\"", "\"/home/../etc\""),
            ("\"/home/agent\"", "\"/\""),
            ("\"git\"", "\"jq\""),
            ("\"git\"", "\"-oDebug=1\""),
            ("\"git\"", "\"?essential\""),
            ("\"git\"", "\"git/sid\""),
            ("\"git\"", "\"git=1\""),
            ("\"trixie\"]", "\"../trixie\"]"),
            ("\"trixie\"]", "\"trixie\", \"trixie\"]"),
            ("\"trixie\"]", "]"),
            ("\"main\"", "\"Main\""),
            ("\"512MiB\"", "\"512\""),
            ("\"512MiB\"", "\"0MiB\""),
            ("\"512MiB\"", "\"MiB\""),
            ("\"512MiB\"", "\"99999999999999999GiB\""),
            ("\"512MiB\"", "\"éaa\""),
            ("pids = 64", "pids = 0"),
            ("for tests", "for\\ntests"),
        ] {
            let text = MINIMAL.replacen(before, after, 1);
            assert_ne!(text, MINIMAL, "{before}");
            assert!(TemplateManifest::parse(&text).is_err(), "{after}");
        }
    }

    #[test]
    fn names_the_line() {
        let error = TemplateManifest::parse(&MINIMAL.replace("uid = 1000", "uid = \"x\"")).unwrap_err();
        assert!(error.starts_with("line 9:"), "{error}");
    }
}
