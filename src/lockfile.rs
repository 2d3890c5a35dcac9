//! `template.lock`: every byte that goes into an image, by hash, per platform, and no host names.
//!
//! The file is TOML in one canonical form: what [`Lock::write`] writes is the only spelling that [`Lock::parse`]
//! takes, so that a lock is the same bytes whoever writes it, and a diff of two shows what changed and nothing else.

mod changes;
mod check;
mod form;

use std::collections::BTreeSet;

use jiff::Timestamp;
use packageurl::PackageUrl;

use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::oci::Platform;

pub use changes::{Changes, Locked, PackageChange};

/// The version of the format that this crate reads and writes.
pub(crate) const VERSION: i64 = 1;

/// The name of the file, beside `template.toml`.
pub const FILE_NAME: &str = "template.lock";

/// What a template was resolved to, well-formed and in canonical order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Digest of the template that was resolved: `Template::digest`.
    pub template: Digest,
    /// The date of the newest Release file, in seconds since 1970: no file in the image is newer. Over a base, that of
    /// the base if it is later.
    pub source_date_epoch: i64,
    /// The Debian release that packages come from, by its code name: `trixie`.
    pub distro: String,
    /// The template underneath, made exact; absent: the image starts from nothing.
    pub base: Option<Base>,
    /// The Release files that vouched for the packages, by archive and suite.
    pub releases: Vec<Release>,
    /// Everything that goes in, by platform, kind and name.
    pub inputs: Vec<Input>,
}

/// The template that another one starts from, as it was when that one was locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name.
    pub name: String,
    /// Digest of its lock, which names the template and every byte that goes in.
    pub lock: Digest,
    /// The platforms that both are locked for, sorted.
    pub platforms: Vec<Platform>,
}

/// One signed Release file of a package archive, as it was at lock time. A fact on record: nothing reads it to build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// Which archive, as a word: `debian`.
    pub archive: String,
    /// Which suite: `trixie-updates`.
    pub suite: String,
    /// Its `Date` field.
    pub date: Timestamp,
    /// SHA-256 of the whole InRelease file, signature included.
    pub digest: Digest,
    /// Whether its `Valid-Until` had passed and somebody took it all the same.
    pub expired: bool,
}

/// What sort of thing an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Debian binary package.
    Deb,
    /// An npm package, as the archive that a registry has of it.
    Npm,
    /// A Python wheel.
    Wheel,
    /// Any other file.
    File,
}

impl Kind {
    /// The name of its table in the lock.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Npm => "npm",
            Self::Wheel => "wheel",
            Self::File => "file",
        }
    }

    /// The folder below `inputs/` in which a Dockerfile finds it.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Npm => "npm",
            Self::Wheel => "wheels",
            Self::File => "files",
        }
    }
}

/// One file that goes into the image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// What sort of thing it is.
    pub kind: Kind,
    /// The platform whose image it goes into; absent: all of them.
    pub platform: Option<Platform>,
    /// Name of the package, in full: `git`, `@scope/name`.
    pub name: String,
    /// Version of the package; a Debian one with its epoch.
    pub version: String,
    /// Debian's word for the architecture: `amd64`, `all`. Other kinds have none.
    pub architecture: Option<String>,
    /// Which archive has it, as a word: `debian`, `debian-security`, `npm`, `pypi`.
    pub archive: String,
    /// Where in the archive it is: `pool/main/g/git/git_2.47.3-0+deb13u1_amd64.deb`. Safe to join to a folder.
    pub path: String,
    /// The name of the file in the build, where that is not the last part of the path: the template's word for an npm
    /// package or a file, so that a Dockerfile need not know version or platform.
    pub file: Option<String>,
    /// Size in bytes; never 0.
    pub size: u64,
    /// Digest of the file.
    pub digest: Digest,
    /// What npm registries call a package's integrity: `sha512-` and base64. Others have none.
    pub integrity: Option<String>,
    /// The licence, in the words of whoever published the package.
    pub licence: Option<String>,
    /// Code name of the distribution, where there is one.
    pub distro: Option<String>,
}

impl Input {
    /// Its package URL (purl-spec): `pkg:deb/debian/jq@1.7.1-6?arch=amd64&distro=trixie`,
    /// `pkg:npm/%40scope/name@1.0.0`, `pkg:pypi/six@1.17.0?file_name=…`, `pkg:generic/tool@1.0?checksum=sha256:…`.
    pub fn purl(&self) -> String {
        let built = || -> Result<String, packageurl::Error> {
            let (scope, plain) = match (self.kind, self.name.split_once('/')) {
                (Kind::Npm, Some((scope, plain))) => (Some(scope), plain),
                _ => (None, self.name.as_str()),
            };
            let ty = match self.kind {
                Kind::Deb => "deb",
                Kind::Npm => "npm",
                Kind::Wheel => "pypi",
                Kind::File => "generic",
            };
            let mut purl = PackageUrl::new(ty, plain)?;
            purl.with_version(self.version.clone())?;
            match self.kind {
                Kind::Deb => {
                    purl.with_namespace("debian")?;
                    if let Some(architecture) = &self.architecture {
                        purl.add_qualifier("arch", architecture.clone())?;
                    }
                    if let Some(distro) = &self.distro {
                        purl.add_qualifier("distro", distro.clone())?;
                    }
                }
                Kind::Npm => {
                    if let Some(scope) = scope {
                        purl.with_namespace(scope)?;
                    }
                }
                Kind::Wheel => {
                    purl.add_qualifier("file_name", self.file_name().to_owned())?;
                }
                Kind::File => {
                    purl.add_qualifier("checksum", self.digest.to_string())?;
                }
            }
            Ok(purl.to_string())
        };
        // Names and versions were checked when the lock was read: they cannot be what a purl refuses.
        built().unwrap_or_else(|_| format!("pkg:generic/{}", self.name))
    }

    /// The name of the file in the build, below [`Kind::folder`]. Unique among the inputs of one platform.
    pub fn file_name(&self) -> &str {
        self.file.as_deref().unwrap_or_else(|| self.bare_name())
    }

    /// The last part of the path: what the file is called where it comes from.
    pub fn bare_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// For a person: `git 2.47.3-0+deb13u1 (amd64)`.
    pub fn display(&self) -> String {
        match &self.architecture {
            Some(architecture) => format!("{} {} ({architecture})", self.name, self.version),
            None => format!("{} {}", self.name, self.version),
        }
    }
}

/// Why a lock was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Somebody's merge is not finished.
    #[error("template.lock has a merge conflict in line {line}: take either side, then run `bulla lock`")]
    Conflict {
        /// Line of the first marker, from 1.
        line: usize,
    },
    /// It is not TOML, or has fields that are missing, unknown, doubled or of the wrong type.
    #[error("template.lock, line {line}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// It was written for another version of this program.
    #[error("template.lock has version {0}, and this program knows version 1: use a newer bulla, or run `bulla lock`")]
    Version(i64),
    /// A value that no lock may have.
    #[error("template.lock, {what}: {reason}")]
    Malformed {
        /// Which entry.
        what: String,
        /// Which rule.
        reason: String,
    },
    /// More entries than are read.
    #[error("template.lock has {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// Entries of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// It says something acceptable in another spelling or order than the canonical one.
    #[error("template.lock is not in its canonical form from line {line} on: it was edited by hand; run `bulla lock`")]
    NotCanonical {
        /// The first line that differs, from 1.
        line: usize,
    },
}

impl Classified for LockError {
    fn class(&self) -> Class {
        match self {
            Self::TooMany { .. } => Class::Limit,
            _ => Class::State,
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "lock-conflict",
            Self::Syntax { .. } => "lock-syntax",
            Self::Version(_) => "lock-version",
            Self::Malformed { .. } => "malformed-lock",
            Self::TooMany { .. } => "lock-too-long",
            Self::NotCanonical { .. } => "lock-not-canonical",
        }
    }
}

impl Lock {
    /// A lock of these facts, checked and brought into canonical order.
    pub fn new(template: Digest, distro: &str, releases: Vec<Release>, inputs: Vec<Input>) -> Result<Self, LockError> {
        Self::build(template, distro, releases, inputs, None)
    }

    /// The same over a base, whose `source-date-epoch` is given beside it. It may have no inputs of its own.
    pub fn over(
        base: (Base, i64),
        template: Digest,
        distro: &str,
        releases: Vec<Release>,
        inputs: Vec<Input>,
    ) -> Result<Self, LockError> {
        Self::build(template, distro, releases, inputs, Some(base))
    }

    fn build(
        template: Digest,
        distro: &str,
        releases: Vec<Release>,
        inputs: Vec<Input>,
        base: Option<(Base, i64)>,
    ) -> Result<Self, LockError> {
        let newest = releases.iter().map(|release| release.date.as_second()).max().unwrap_or(0);
        let (base, below) = base.map_or((None, 0), |(base, epoch)| (Some(base), epoch));
        let epoch = newest.max(below);
        let mut lock = Self { template, source_date_epoch: epoch, distro: distro.to_owned(), base, releases, inputs };
        lock.releases.sort();
        lock.inputs.sort();
        lock.check()?;
        Ok(lock)
    }

    /// Digest of the canonical bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(self.write().as_bytes())
    }

    /// What goes into the image of this platform, in canonical order; empty if it was not locked.
    pub fn for_platform(&self, platform: &Platform) -> Vec<&Input> {
        let wanted = |input: &&Input| input.platform.as_ref().is_none_or(|offered| platform.matches(offered));
        self.inputs.iter().filter(wanted).collect()
    }

    /// The platforms that were locked.
    pub fn platforms(&self) -> BTreeSet<&Platform> {
        let base = self.base.iter().flat_map(|base| &base.platforms);
        self.inputs.iter().filter_map(|input| input.platform.as_ref()).chain(base).collect()
    }

    /// Whether an image of this platform can be built: it has inputs, or a base that was locked for it.
    pub fn covers(&self, platform: &Platform) -> bool {
        let base = self.base.iter().flat_map(|base| &base.platforms);
        !self.for_platform(platform).is_empty() || base.into_iter().any(|offered| platform.matches(offered))
    }
}

/// Debian's name for the architecture of a platform (the archive's `binary-…` folders); absent: Debian has none.
pub(crate) fn debian_architecture(platform: &Platform) -> Option<&'static str> {
    match (platform.os.as_str(), platform.architecture.as_str(), platform.variant.as_deref()) {
        ("linux", "amd64", None) => Some("amd64"),
        ("linux", "arm64", None | Some("v8")) => Some("arm64"),
        ("linux", "arm", Some("v7")) => Some("armhf"),
        ("linux", "386", None) => Some("i386"),
        ("linux", "ppc64le", None) => Some("ppc64el"),
        ("linux", "riscv64", None) => Some("riscv64"),
        ("linux", "s390x", None) => Some("s390x"),
        _ => None,
    }
}

/// Whether this is a Debian package name (Debian policy, 5.6.1).
pub(crate) fn is_package_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    (2..=128).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(allowed)
}

/// Whether this is the name of an npm package, with or without a scope. Capitals are those of packages older than the
/// rule against them.
pub(crate) fn is_npm_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let plain = |part: &str| {
        part.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && part.bytes().all(allowed)
    };
    let parts = name.strip_prefix('@').map_or_else(
        || (None, name),
        |scoped| match scoped.split_once('/') {
            Some((scope, part)) => (Some(scope), part),
            None => (Some(""), ""),
        },
    );
    name.len() <= 214 && parts.0.is_none_or(plain) && plain(parts.1)
}

/// Where registries keep the archive of a version: `@scope/name/-/name-1.0.0.tgz`.
pub(crate) fn npm_path(name: &str, version: &str) -> String {
    let plain = name.rsplit('/').next().unwrap_or(name);
    format!("{name}/-/{plain}-{version}.tgz")
}

/// Whether this is the name of a Python project, normalised (PEP 503).
pub(crate) fn is_project_name(name: &str) -> bool {
    is_word(name) && !name.contains("--") && !name.ends_with('-')
}

/// Whether this can be the name of a file in a build: one plain segment.
pub(crate) fn is_file_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    (1..=128).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(allowed)
}

/// Whether a path stays in the folder it is joined to, and is read alike by shells, URLs and disks.
pub(crate) fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~:-".contains(&byte);
    let segment = |segment: &str| {
        !segment.is_empty() && segment.len() <= 200 && !segment.starts_with(['.', '-']) && segment.bytes().all(allowed)
    };
    path.len() <= 512 && path.split('/').all(segment)
}

/// Whether this is `sha512-` and the base64 of 64 bytes.
pub(crate) fn is_integrity(text: &str) -> bool {
    use base64::Engine as _;
    let hash = text.strip_prefix("sha512-");
    let bytes = hash.and_then(|hash| base64::engine::general_purpose::STANDARD.decode(hash).ok());
    bytes.is_some_and(|bytes| bytes.len() == 64)
}

/// Whether a licence can stand in a lock as it is.
pub(crate) fn is_licence(text: &str) -> bool {
    let allowed = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !b"\"\\".contains(&byte);
    (1..=200).contains(&text.len()) && text.trim() == text && text.bytes().all(allowed)
}

/// Whether this is a version of a plain file or a Python project, as far as a lock cares.
pub(crate) fn is_version(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+~!_-".contains(&byte);
    (1..=128).contains(&text.len()) && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(allowed)
}

/// Whether this is a word as archives and code names are: `debian-security`.
pub(crate) fn is_word(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&word.len()) && word.as_bytes()[0].is_ascii_alphanumeric() && word.bytes().all(allowed)
}

/// Whether this is the name of a suite: `trixie-updates`. One path segment: archives that nest suites are not known.
pub(crate) fn is_suite(suite: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    (1..=64).contains(&suite.len()) && suite.as_bytes()[0].is_ascii_alphanumeric() && suite.bytes().all(allowed)
}

fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), LockError> {
    if count > limit {
        return Err(LockError::TooMany { what, count, limit });
    }
    Ok(())
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}
