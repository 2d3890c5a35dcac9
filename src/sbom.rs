//! Software bills of materials: what is in an image, read from its package databases; written as SPDX and CycloneDX;
//! and the same documents read back from strangers.
//!
//! [`Scanner`] does no reading of its own: whoever walks the final file system asks it what it wants and hands that
//! over. A package database that is there and cannot be understood is an error, because a list that looks complete
//! and is not would be worse than none. An image without any database has an empty inventory; whether that is
//! acceptable is for the caller and the policy.

mod apk;
pub mod cyclonedx;
mod dpkg;
mod licence;
mod npm;
mod os_release;
pub mod purl;
mod python;
pub mod read;
pub mod spdx;

use std::collections::{BTreeMap, BTreeSet};

pub use os_release::OsRelease;
pub use read::{Format, SbomPackage, Summary, read};

use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::json::{JsonError, is_invisible, push_escaped};
use crate::oci::Platform;

/// Bounds of this room, in bytes unless the name says otherwise.
pub mod limits {
    /// One file handed to the scanner. The dpkg status of a full desktop is 6 MiB, an apk database less.
    pub const FILE: u64 = 64 << 20;
    /// Packages of one image, or of one document. The largest images have some ten thousand.
    pub const PACKAGES: usize = 200_000;
    /// One field of a package database that is kept: name, version, source. Real ones stay below 200.
    pub const FIELD: usize = 1_024;
    /// A licence expression: browsers come close to 2 KiB.
    pub const LICENCE: usize = 4_096;
    /// Symbolic links remembered, to find copyright files behind them.
    pub const LINKS: usize = 100_000;
    /// A document of others.
    pub const DOCUMENT: u64 = 64 << 20;
}

/// Why there is no inventory, or why a document was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SbomError {
    /// A package database, or a file beside it, that cannot be understood.
    #[error("{path:?} in the image cannot be read as {what}: {reason}")]
    Malformed {
        /// Where in the image.
        path: String,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it, with the line where there is one.
        reason: String,
    },
    /// A package database that this version does not know how to read.
    #[error("the image has {what} at {path:?}, which cannot be read: {reason}; an SBOM without it would be incomplete")]
    Unreadable {
        /// Where in the image.
        path: String,
        /// What it is.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// More, or larger, than this room takes.
    #[error("{what} has more than the limit of {limit} {unit}")]
    Limit {
        /// What is too large.
        what: String,
        /// The bound.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// Not JSON, or not unambiguous JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Another format or version than its predicate type says, or one that is not understood.
    #[error("the SBOM is not what it is attested as: {0}")]
    Format(String),
    /// The right format, breaking its own rules.
    #[error("the {format} document is not acceptable: {reason}")]
    Document {
        /// Its format.
        format: Format,
        /// Which rule.
        reason: String,
    },
}

impl Classified for SbomError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } | Self::Unreadable { .. } | Self::Format(_) | Self::Document { .. } => Class::Sbom,
            Self::Limit { .. } => Class::Limit,
            Self::Json(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed-package-database",
            Self::Unreadable { .. } => "unreadable-package-database",
            Self::Limit { .. } => "sbom-too-large",
            Self::Json(error) => error.code(),
            Self::Format(_) => "sbom-format",
            Self::Document { .. } => "malformed-sbom",
        }
    }
}

/// Which ecosystem a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Debian and its descendants.
    Deb,
    /// Alpine and its relatives.
    Apk,
    /// npm, below a `node_modules`.
    Npm,
    /// Python, by its installed metadata.
    Python,
}

impl Kind {
    /// The purl type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Npm => "npm",
            Self::Python => "pypi",
        }
    }
}

/// The source package that a binary package was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version, where the database says one.
    pub version: Option<String>,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its ecosystem.
    pub kind: Kind,
    /// Its name; npm's with the scope.
    pub name: String,
    /// Its version; absent only where an npm or Python package states none.
    pub version: Option<String>,
    /// Its architecture, in the ecosystem's word.
    pub architecture: Option<String>,
    /// Its package URL, unique within an inventory.
    pub purl: String,
    /// The licence it declares, as a valid SPDX expression; what SPDX has no name for is a `LicenseRef-`.
    pub licence: Option<String>,
    /// The source package, for deb and apk.
    pub source: Option<Source>,
    /// The file in the image that says so.
    pub found_in: String,
}

/// What an image holds, sorted by purl.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The operating system, where the image names one.
    pub os: Option<OsRelease>,
    /// The packages, each purl once.
    pub packages: Vec<Package>,
}

/// What a document is about, and who says it when: everything in it that is not the inventory.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The image's name: a template's, or a repository without tag.
    pub name: &'a str,
    /// The digest of the image's manifest.
    pub digest: &'a Digest,
    /// Its platform.
    pub platform: Option<&'a Platform>,
    /// Creation time in seconds since 1970; the build's source-date-epoch.
    pub created: i64,
    /// The writing program's name.
    pub tool: &'a str,
    /// Its version.
    pub tool_version: &'a str,
}

impl<'a> Described<'a> {
    /// An image, described by this version of bulla.
    pub fn new(name: &'a str, digest: &'a Digest, platform: &'a Platform, created: i64) -> Self {
        let (tool, tool_version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        Self { name, digest, platform: Some(platform), created, tool, tool_version }
    }
}

/// An entry of the file system whose content is not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A regular file that the scanner did not want.
    File,
    /// A symbolic link, and where it points.
    Link(&'a str),
    /// A device, a socket, a named pipe.
    Other,
}

/// Collects the inventory of one file system.
///
/// For every entry but directories, in any order, once per final path: `if wants(path) && it is a regular file
/// { file(path, content) } else { seen(path, …) }`. Paths are relative to the root, without `./`.
#[derive(Debug, Default)]
pub struct Scanner {
    os: BTreeMap<String, OsRelease>,
    debs: Vec<dpkg::Deb>,
    apks: Vec<apk::Apk>,
    packages: Vec<Package>,
    /// Licence by the folder below usr/share/doc.
    copyrights: BTreeMap<String, String>,
    /// Links below usr/share/doc: folder or copyright file, and the target.
    links: BTreeMap<String, String>,
    failed: Option<SbomError>,
}

/// What a path is to the scanner.
enum Place<'a> {
    OsRelease,
    DpkgStatus,
    Copyright { folder: &'a str },
    Apk,
    Npm { folder: &'a str },
    NpmAlone,
    Python { folder: &'a str },
}

const DPKG: &str = "a dpkg status file";
const APK: &str = "an apk database";
const RPM: &str = "an rpm database";

/// Databases by their paths: what must never be passed over.
const DATABASES: [(&str, &str); 9] = [
    ("var/lib/dpkg/status", DPKG),
    ("var/lib/dpkg/status.d", DPKG),
    ("lib/apk/db/installed", APK),
    ("usr/lib/apk/db/installed", APK),
    ("var/lib/rpm/Packages", RPM),
    ("var/lib/rpm/Packages.db", RPM),
    ("var/lib/rpm/rpmdb.sqlite", RPM),
    ("usr/lib/sysimage/rpm/Packages.db", RPM),
    ("usr/lib/sysimage/rpm/rpmdb.sqlite", RPM),
];

impl Scanner {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the content of this path is needed, up to [`limits::FILE`].
    pub fn wants(&self, path: &str) -> bool {
        place(path).is_some()
    }

    /// Takes the content of a wanted path. What is wrong with it is kept until [`Scanner::finish`].
    pub fn file(&mut self, path: &str, content: &[u8]) {
        let path = relative(path);
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.take(path, content) {
            self.failed = Some(error);
        }
    }

    /// Takes note of an entry whose content is not handed over: a database that is a link, or of a kind that is not
    /// understood, must not be missed.
    pub fn seen(&mut self, path: &str, seen: Seen<'_>) {
        let path = relative(path);
        if self.failed.is_some() {
            return;
        }
        let status = matches!(place(path), Some(Place::DpkgStatus)).then_some(DPKG);
        let stands_for =
            |(database, what): &(&str, &'static str)| is_at_or_above(path, database, what, seen).then_some(*what);
        if let Some(what) = status.or_else(|| DATABASES.iter().find_map(stands_for)) {
            let reason = match seen {
                Seen::File if what == RPM => "rpm databases are not understood".to_owned(),
                Seen::File => "its content was not read".to_owned(),
                Seen::Link(target) => format!("it is behind a symbolic link to {:?}", cut(target)),
                Seen::Other => "it is not a regular file".to_owned(),
            };
            self.failed = Some(SbomError::Unreadable { path: cut(path), what, reason });
            return;
        }
        if let (Seen::Link(target), Some(below)) = (seen, path.strip_prefix("usr/share/doc/")) {
            if self.links.len() >= limits::LINKS {
                self.failed = Some(too_many("usr/share/doc", limits::LINKS, "links"));
                return;
            }
            self.links.insert(below.to_owned(), target.to_owned());
        }
    }

    /// The inventory; or the first thing that could not be understood.
    pub fn finish(self) -> Result<Inventory, SbomError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        // os-release(5): /etc takes precedence.
        let os = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| self.os.get(*path)).cloned();
        let mut packages = BTreeMap::new();
        let mut add = |package: Package| {
            packages.entry(package.purl.clone()).or_insert(package);
        };
        for deb in &self.debs {
            add(deb.package(os.as_ref(), self.copyright(&deb.name)));
        }
        for apk in &self.apks {
            add(apk.package(os.as_ref()));
        }
        // The same package in two folders is one entry: the first path names it, so the order of the walk is no matter.
        let mut others = self.packages;
        others.sort_by(|a, b| a.found_in.cmp(&b.found_in));
        others.into_iter().for_each(add);
        Ok(Inventory { os, packages: packages.into_values().collect() })
    }

    fn take(&mut self, path: &str, content: &[u8]) -> Result<(), SbomError> {
        let Some(place) = place(path) else { return Ok(()) };
        if content.len() as u64 > limits::FILE {
            return Err(SbomError::Limit { what: cut(path), limit: limits::FILE, unit: "bytes" });
        }
        match place {
            Place::OsRelease => {
                self.os.insert(path.to_owned(), OsRelease::parse(path, content)?);
            }
            Place::DpkgStatus => self.debs.extend(dpkg::parse(path, content)?),
            Place::Copyright { folder } => {
                if let Some(licence) = licence::of_copyright(content) {
                    self.copyrights.insert(folder.to_owned(), licence);
                }
            }
            Place::Apk => self.apks.extend(apk::parse(path, content)?),
            Place::Npm { folder } => self.packages.push(npm::package(path, folder, content)),
            Place::NpmAlone => self.packages.extend(npm::alone(path, content)),
            Place::Python { folder } => self.packages.push(python::package(path, folder, content)),
        }
        let count = self.debs.len() + self.apks.len() + self.packages.len();
        if count.max(self.copyrights.len()) > limits::PACKAGES {
            return Err(too_many("the image", limits::PACKAGES, "packages"));
        }
        Ok(())
    }

    /// The licence of a Debian package: its copyright file, which may be in another package's folder (Debian policy
    /// 12.5 allows the folder to be a link to one of the same source).
    fn copyright(&self, package: &str) -> Option<String> {
        let file = format!("{package}/copyright");
        let folder = match (self.links.get(package), self.links.get(&file)) {
            (Some(target), _) => target.trim_end_matches('/').trim_start_matches("/usr/share/doc/"),
            (None, Some(target)) => {
                target.strip_suffix("/copyright")?.trim_start_matches("/usr/share/doc/").trim_start_matches("../")
            }
            (None, None) => package,
        };
        self.copyrights.get(folder).cloned()
    }
}

/// Whether an entry stands in the way of a database: is it, or is a link in place of a folder above it. Alpine's and
/// everybody's merged `/lib` is known and scanned under `usr/lib`.
fn is_at_or_above(path: &str, database: &str, what: &str, seen: Seen<'_>) -> bool {
    let above = || database.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    match seen {
        // A status.d holds md5sums beside the status files, and a folder of that name is not told about.
        Seen::File => path == database,
        Seen::Link(target) if path == "lib" => target.trim_matches('/') != "usr/lib" && above(),
        Seen::Link(_) if what == RPM && path != database => false,
        Seen::Link(_) | Seen::Other => path == database || above(),
    }
}

fn place(path: &str) -> Option<Place<'_>> {
    let path = relative(path);
    match path {
        "etc/os-release" | "usr/lib/os-release" => return Some(Place::OsRelease),
        "var/lib/dpkg/status" => return Some(Place::DpkgStatus),
        "lib/apk/db/installed" | "usr/lib/apk/db/installed" => return Some(Place::Apk),
        _ => {}
    }
    if let Some(name) = path.strip_prefix("var/lib/dpkg/status.d/") {
        let status = !name.is_empty() && !name.contains('/') && !name.ends_with(".md5sums");
        return status.then_some(Place::DpkgStatus);
    }
    let (folder, file) = path.rsplit_once('/')?;
    match file {
        "copyright" => {
            let folder = folder.strip_prefix("usr/share/doc/")?;
            (!folder.contains('/')).then_some(Place::Copyright { folder })
        }
        "package.json" if npm::stands_alone(folder) => Some(Place::NpmAlone),
        "package.json" => npm::folder(folder).map(|folder| Place::Npm { folder }),
        "METADATA" => python::folder(folder, ".dist-info").map(|folder| Place::Python { folder }),
        "PKG-INFO" => python::folder(folder, ".egg-info").map(|folder| Place::Python { folder }),
        _ => None,
    }
}

/// Walkers differ in whether they write `./` or `/` first.
fn relative(path: &str) -> &str {
    path.trim_start_matches("./").trim_start_matches('/')
}

/// Untrusted text for a message.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

fn too_many(what: &str, limit: usize, unit: &'static str) -> SbomError {
    SbomError::Limit { what: what.to_owned(), limit: limit as u64, unit }
}

/// RFC 3339 in UTC without a fraction, as both formats ask for; years before 1970 and after 9999 are pulled in.
fn timestamp(epoch: i64) -> String {
    let epoch = epoch.clamp(0, 253_402_207_200);
    jiff::Timestamp::from_second(epoch).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// A UUID in the custom form (RFC 9562, version 8) from a digest: as stable and as unique as what was hashed.
fn uuid(digest: &Digest) -> String {
    let mut raw = *digest.raw();
    raw[6] = raw[6] & 0x0f | 0x80;
    raw[8] = raw[8] & 0x3f | 0x80;
    let hex = Digest::from_raw(raw).hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

/// JSON as people can read it, with a newline at its end. Our own documents always serialise. Invisible characters of
/// strangers' names are escaped here, so that the same bytes are fit for a terminal, a file and a signature.
fn json(document: &impl serde::Serialize) -> Vec<u8> {
    let plain = serde_json::to_string_pretty(document).unwrap_or_default();
    let mut safe = String::with_capacity(plain.len() + 1);
    for character in plain.chars() {
        if character != '\n' && is_invisible(character) {
            push_escaped(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    safe.push('\n');
    safe.into_bytes()
}

/// Every `LicenseRef-` in the inventory, sorted.
fn licence_refs(inventory: &Inventory) -> BTreeSet<String> {
    inventory.packages.iter().filter_map(|package| package.licence.as_deref()).flat_map(licence::refs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k07_invisible_characters_are_escaped_and_nothing_else_is_changed() {
        let hostile = "a\u{9b}31m\u{202e}b\u{200b}\u{7f}\u{e0041}\u{feff}";
        let written = String::from_utf8(json(&[hostile])).unwrap();
        assert_eq!(written, "[\n  \"a\\u009b31m\\u202eb\\u200b\\u007f\\udb40\\udc41\\ufeff\"\n]\n");
        assert_eq!(serde_json::from_str::<[String; 1]>(&written).unwrap(), [hostile]);
        let plain = ["Grüße \\ \"x\" \t 語", "~!@#"];
        assert_eq!(json(&plain), (serde_json::to_string_pretty(&plain).unwrap() + "\n").into_bytes());
    }
}
