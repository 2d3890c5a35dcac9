//! `template.lock`: every byte that goes into an image, by hash, per platform, and no host names.
//!
//! The file is TOML in one canonical form: what [`Lock::write`] writes is the only spelling that [`Lock::parse`]
//! takes, so that a lock is the same bytes whoever writes it, and a diff of two shows what changed and nothing else.

mod form;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use packageurl::PackageUrl;

use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::oci::Platform;

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
}

impl Kind {
    /// The name of its table in the lock.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
        }
    }
}

/// One file that goes into the image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// The platform whose image it goes into; absent: all of them.
    pub platform: Option<Platform>,
    /// What sort of thing it is.
    pub kind: Kind,
    /// Name of the package.
    pub name: String,
    /// Version of the package, with its epoch.
    pub version: String,
    /// Debian's word for the architecture: `amd64`, `all`.
    pub architecture: Option<String>,
    /// Which archive has it, as a word: `debian`, `debian-security`.
    pub archive: String,
    /// Where in the archive it is: `pool/main/g/git/git_2.47.3-0+deb13u1_amd64.deb`. Safe to join to a folder.
    pub path: String,
    /// Size in bytes; never 0.
    pub size: u64,
    /// Digest of the file.
    pub digest: Digest,
    /// Code name of the distribution, where there is one.
    pub distro: Option<String>,
}

impl Input {
    /// Its package URL (purl-spec, type `deb`): `pkg:deb/debian/jq@1.7.1-6?arch=amd64&distro=trixie`.
    pub fn purl(&self) -> String {
        let Self { kind: Kind::Deb, name, version, architecture, distro, .. } = self;
        let built = PackageUrl::new("deb", name.clone()).and_then(|mut purl| {
            purl.with_namespace("debian")?.with_version(version.clone())?;
            if let Some(architecture) = architecture {
                purl.add_qualifier("arch", architecture.clone())?;
            }
            if let Some(distro) = distro {
                purl.add_qualifier("distro", distro.clone())?;
            }
            Ok(purl.to_string())
        });
        // Names and versions were checked when the lock was read: they cannot be what a purl refuses.
        built.unwrap_or_else(|_| format!("pkg:deb/debian/{name}"))
    }

    /// The name of the file: the last part of the path. Unique among the inputs of one platform.
    pub fn file_name(&self) -> &str {
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

    fn check(&self) -> Result<(), LockError> {
        bounded("inputs", self.inputs.len(), limits::INPUTS)?;
        bounded("releases", self.releases.len(), limits::LOCK_RELEASES)?;
        let malformed =
            |what: &str, reason: &str| Err(LockError::Malformed { what: what.to_owned(), reason: reason.to_owned() });
        if !is_word(&self.distro) {
            return malformed("distro", "not a code name");
        }
        let newest = self.releases.iter().map(|release| release.date.as_second()).max();
        let epoch = self.source_date_epoch;
        match (newest, &self.base) {
            (None, None) => return malformed("release", "there is none, and an image needs the date of one"),
            (Some(date), None) if date != epoch || date <= 0 => {
                return malformed("source-date-epoch", "it is not the date of the newest release");
            }
            (newest, Some(_)) if epoch <= 0 || newest.is_some_and(|date| date <= 0 || date > epoch) => {
                return malformed("source-date-epoch", "it is before the date of the newest release");
            }
            _ => {}
        }
        if let Some(base) = &self.base {
            self.check_base(base)?;
        } else if self.inputs.is_empty() {
            return malformed("inputs", "there are none, and an image of nothing is not an image");
        }
        for pair in self.releases.windows(2) {
            if (&pair[0].archive, &pair[0].suite) >= (&pair[1].archive, &pair[1].suite) {
                return malformed(&format!("release {:?}", cut(&pair[1].suite)), "out of order, or there twice");
            }
        }
        for release in &self.releases {
            if !is_word(&release.archive) || !is_suite(&release.suite) || release.date.subsec_nanosecond() != 0 {
                return malformed(&format!("release {:?}", cut(&release.suite)), "archive, suite or date is not one");
            }
        }
        let archives: BTreeSet<_> = self.releases.iter().map(|release| release.archive.as_str()).collect();
        for input in &self.inputs {
            let failed = |reason: String| {
                Err(LockError::Malformed { what: format!("{} {:?}", input.kind.as_str(), cut(&input.name)), reason })
            };
            if let Err(reason) = check_input(input) {
                return failed(reason);
            }
            if !archives.contains(input.archive.as_str()) {
                return failed(format!("no release of archive {:?} is in the lock", cut(&input.archive)));
            }
        }
        self.check_together()
    }

    fn check_base(&self, base: &Base) -> Result<(), LockError> {
        let malformed = |reason: &str| {
            Err(LockError::Malformed { what: format!("base {:?}", cut(&base.name)), reason: reason.to_owned() })
        };
        if !is_word(&base.name) {
            return malformed("not the name of a template");
        }
        if base.platforms.is_empty() || base.platforms.windows(2).any(|pair| pair[0] >= pair[1]) {
            return malformed("its platforms are none, out of order, or there twice");
        }
        let elsewhere = |input: &&Input| input.platform.as_ref().is_some_and(|own| !base.platforms.contains(own));
        match self.inputs.iter().find(elsewhere) {
            Some(input) => malformed(&format!("it is not locked for the platform of {}", input.display())),
            None => Ok(()),
        }
    }

    /// What no single entry shows: order, doubles, one path with two contents.
    fn check_together(&self) -> Result<(), LockError> {
        let malformed = |input: &Input, reason: &str| {
            let what = format!("{} {:?}", input.kind.as_str(), cut(&input.name));
            Err(LockError::Malformed { what, reason: reason.to_owned() })
        };
        for pair in self.inputs.windows(2) {
            if pair[0] > pair[1] {
                return malformed(&pair[1], "out of order: run `bulla lock`");
            }
        }
        let mut names = BTreeSet::new();
        let mut files = BTreeSet::new();
        let mut contents = BTreeMap::new();
        for input in &self.inputs {
            if !names.insert((&input.platform, input.kind, &input.name)) {
                return malformed(input, "there twice for one platform");
            }
            if !files.insert((&input.platform, input.file_name())) {
                return malformed(input, "another input of the platform has the same file name");
            }
            let content = (input.size, input.digest);
            if *contents.entry((&input.archive, &input.path)).or_insert(content) != content {
                return malformed(input, "another platform has other bytes under the same path");
            }
        }
        Ok(())
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

fn check_input(input: &Input) -> Result<(), String> {
    let Kind::Deb = input.kind;
    if !is_package_name(&input.name) {
        return Err("not a package name".to_owned());
    }
    // Debian policy, 5.6.12: a version starts with a digit.
    let version = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte);
    if !input.version.starts_with(|first: char| first.is_ascii_digit())
        || input.version.len() > 128
        || !input.version.bytes().all(version)
    {
        return Err(format!("{:?} is not a version", cut(&input.version)));
    }
    let Some(platform) = &input.platform else {
        return Err("no platform".to_owned());
    };
    let Some(expected) = debian_architecture(platform) else {
        return Err(format!("Debian has no packages for {platform}"));
    };
    match input.architecture.as_deref() {
        Some("all") => {}
        Some(architecture) if architecture == expected => {}
        _ => return Err(format!("its architecture is not one that {platform} runs")),
    }
    if !is_word(&input.archive) {
        return Err(format!("{:?} is not the word for an archive", cut(&input.archive)));
    }
    check_path(&input.path)?;
    if !input.path.ends_with(".deb") {
        return Err("its path does not end in .deb".to_owned());
    }
    if input.size == 0 || input.size > limits::INPUT {
        return Err(format!("a size of {} bytes is none that an input may have", input.size));
    }
    Ok(())
}

/// Refuses a path that would leave the folder it is joined to, or that a shell, a URL or a disk could read otherwise.
fn check_path(path: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~:-".contains(&byte);
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment.len() <= 200
            && !segment.starts_with('.')
            && !segment.starts_with('-')
            && segment.bytes().all(allowed)
    };
    if path.len() > 512 || !path.split('/').all(segment) {
        return Err(format!("{:?} is not a path within an archive", cut(path)));
    }
    Ok(())
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
