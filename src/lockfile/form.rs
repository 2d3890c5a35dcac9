//! The canonical form of `template.lock`: one spelling for one lock, in both directions.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Base, Input, Kind, Lock, LockError, Release, VERSION, bounded, cut};
use crate::content::{self, Digest, TomlError, limits};
use crate::oci::Platform;

const HEADER: &str = "# Written by `bulla lock`. Every byte that goes into the image, by hash.\n";

impl Lock {
    /// Reads a lock; anything but the bytes that [`Lock::write`] would write is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            LockError::Syntax { line, reason: "not UTF-8".to_owned() }
        })?;
        if let Some(line) = conflict_marker(text) {
            return Err(LockError::Conflict { line });
        }
        let syntax = |TomlError { line, reason }| LockError::Syntax { line, reason };
        // The version first: a later one may have fields that would read as unknown.
        let head: WireHead = content::parse_toml(text).map_err(syntax)?;
        if head.version != VERSION {
            return Err(LockError::Version(head.version));
        }
        let lock = content::parse_toml::<WireLock>(text).map_err(syntax)?.into_lock()?;
        lock.check()?;
        let written = lock.write();
        if written != text {
            let same = written.lines().zip(text.lines()).take_while(|(ours, theirs)| ours == theirs).count();
            return Err(LockError::NotCanonical { line: same + 1 });
        }
        Ok(lock)
    }

    /// The canonical bytes.
    pub fn write(&self) -> String {
        let mut text = String::from(HEADER);
        line(&mut text, "version", VERSION);
        quoted(&mut text, "template", self.template);
        line(&mut text, "source-date-epoch", self.source_date_epoch);
        quoted(&mut text, "distro", &self.distro);
        if let Some(base) = &self.base {
            text.push_str("\n[base]\n");
            quoted(&mut text, "name", &base.name);
            quoted(&mut text, "lock", base.lock);
            let platforms: Vec<_> = base.platforms.iter().map(|platform| format!("\"{platform}\"")).collect();
            line(&mut text, "platforms", format!("[{}]", platforms.join(", ")));
        }
        for release in &self.releases {
            text.push_str("\n[[release]]\n");
            quoted(&mut text, "archive", &release.archive);
            quoted(&mut text, "suite", &release.suite);
            quoted(&mut text, "date", release.date);
            quoted(&mut text, "sha256", release.digest.hex());
            if release.expired {
                line(&mut text, "expired", true);
            }
        }
        for input in &self.inputs {
            let _ = write!(text, "\n[[{}]]\n", input.kind.as_str());
            if let Some(platform) = &input.platform {
                quoted(&mut text, "platform", platform);
            }
            quoted(&mut text, "name", &input.name);
            quoted(&mut text, "version", &input.version);
            if let Some(architecture) = &input.architecture {
                quoted(&mut text, "architecture", architecture);
            }
            quoted(&mut text, "archive", &input.archive);
            quoted(&mut text, "path", &input.path);
            // A plain file is called by its name.
            if let Some(file) = input.file.as_ref().filter(|_| input.kind == Kind::Npm) {
                quoted(&mut text, "file", file);
            }
            line(&mut text, "size", input.size);
            quoted(&mut text, "sha256", input.digest.hex());
            if let Some(integrity) = &input.integrity {
                quoted(&mut text, "integrity", integrity);
            }
            if let Some(licence) = &input.licence {
                quoted(&mut text, "licence", licence);
            }
        }
        text
    }
}

/// The line of the first marker that a version control system leaves in a file it could not merge.
fn conflict_marker(text: &str) -> Option<usize> {
    let marker = |line: &str| {
        ["<<<<<<<", "=======", ">>>>>>>", "|||||||"]
            .iter()
            .any(|mark| line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r'])))
    };
    text.lines().position(marker).map(|index| index + 1)
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{key} = {value}");
}

/// A string value. Everything written passed a check that leaves nothing to escape.
fn quoted(text: &mut String, key: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{key} = \"{value}\"");
}

// The file as it stands, before anything is believed.

#[derive(Deserialize)]
struct WireHead {
    version: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WireLock {
    #[serde(rename = "version")]
    _version: i64,
    template: Digest,
    source_date_epoch: i64,
    distro: String,
    base: Option<WireBase>,
    #[serde(default)]
    release: Vec<WireRelease>,
    #[serde(default)]
    deb: Vec<WireDeb>,
    #[serde(default)]
    npm: Vec<WireNpm>,
    #[serde(default)]
    wheel: Vec<WireFile>,
    #[serde(default)]
    file: Vec<WireFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBase {
    name: String,
    lock: Digest,
    platforms: Vec<String>,
}

impl WireBase {
    fn into_base(self) -> Result<Base, LockError> {
        let what = || format!("base {:?}", cut(&self.name));
        let parse = |text: &String| {
            text.parse().map_err(|error| LockError::Malformed { what: what(), reason: format!("{error}") })
        };
        let platforms = self.platforms.iter().map(parse).collect::<Result<Vec<Platform>, LockError>>()?;
        Ok(Base { platforms, name: self.name, lock: self.lock })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRelease {
    archive: String,
    suite: String,
    date: Timestamp,
    sha256: String,
    #[serde(default)]
    expired: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDeb {
    platform: String,
    name: String,
    version: String,
    architecture: String,
    archive: String,
    path: String,
    size: u64,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNpm {
    platform: String,
    name: String,
    version: String,
    archive: String,
    path: String,
    file: String,
    size: u64,
    sha256: String,
    integrity: String,
    licence: Option<String>,
}

/// A wheel, or any other file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFile {
    platform: String,
    name: String,
    version: String,
    archive: String,
    path: String,
    size: u64,
    sha256: String,
    licence: Option<String>,
}

impl WireLock {
    fn into_lock(self) -> Result<Lock, LockError> {
        let count = self.deb.len() + self.npm.len() + self.wheel.len() + self.file.len();
        bounded("inputs", count, limits::INPUTS)?;
        bounded("releases", self.release.len(), limits::LOCK_RELEASES)?;
        let releases = self.release.into_iter().map(|release| {
            let digest = digest(&release.sha256, || format!("release {:?}", cut(&release.suite)))?;
            let WireRelease { archive, suite, date, expired, .. } = release;
            Ok(Release { archive, suite, date, digest, expired })
        });
        let mut inputs = Vec::with_capacity(count);
        for deb in self.deb {
            inputs.push(deb.into_input(&self.distro)?);
        }
        for npm in self.npm {
            inputs.push(npm.into_input()?);
        }
        for wheel in self.wheel {
            inputs.push(wheel.into_input(Kind::Wheel)?);
        }
        for file in self.file {
            inputs.push(file.into_input(Kind::File)?);
        }
        Ok(Lock {
            template: self.template,
            source_date_epoch: self.source_date_epoch,
            releases: releases.collect::<Result<_, LockError>>()?,
            inputs,
            base: self.base.map(WireBase::into_base).transpose()?,
            distro: self.distro,
        })
    }
}

impl WireDeb {
    fn into_input(self, distro: &str) -> Result<Input, LockError> {
        let what = || format!("deb {:?}", cut(&self.name));
        Ok(Input {
            kind: Kind::Deb,
            platform: Some(platform(&self.platform, what)?),
            digest: digest(&self.sha256, what)?,
            name: self.name,
            version: self.version,
            architecture: Some(self.architecture),
            archive: self.archive,
            path: self.path,
            file: None,
            size: self.size,
            integrity: None,
            licence: None,
            distro: Some(distro.to_owned()),
        })
    }
}

impl WireNpm {
    fn into_input(self) -> Result<Input, LockError> {
        let Self { platform, name, version, archive, path, file, size, sha256, integrity, licence } = self;
        let plain = WireFile { platform, name, version, archive, path, size, sha256, licence };
        Ok(Input { file: Some(file), integrity: Some(integrity), ..plain.into_input(Kind::Npm)? })
    }
}

impl WireFile {
    fn into_input(self, kind: Kind) -> Result<Input, LockError> {
        let what = || format!("{} {:?}", kind.as_str(), cut(&self.name));
        Ok(Input {
            kind,
            platform: Some(platform(&self.platform, what)?),
            digest: digest(&self.sha256, what)?,
            file: (kind == Kind::File).then(|| self.name.clone()),
            name: self.name,
            version: self.version,
            architecture: None,
            archive: self.archive,
            path: self.path,
            size: self.size,
            integrity: None,
            licence: self.licence,
            distro: None,
        })
    }
}

fn platform(text: &str, what: impl Fn() -> String) -> Result<Platform, LockError> {
    text.parse().map_err(|error| LockError::Malformed { what: what(), reason: format!("{error}") })
}

fn digest(hex: &str, what: impl Fn() -> String) -> Result<Digest, LockError> {
    let reason = || "sha256 is not 64 lower-case hex digits".to_owned();
    Digest::from_hex(hex).map_err(|_| LockError::Malformed { what: what(), reason: reason() })
}
