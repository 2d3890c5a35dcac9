//! The canonical form of `template.lock`: one spelling for one lock, in both directions.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Base, Input, Kind, Lock, LockError, Release, VERSION, bounded, cut};
use crate::content::{Digest, limits};
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
        let syntax = |error: toml::de::Error| LockError::Syntax {
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            reason: error.message().chars().take(200).collect(),
        };
        // The version first: a later one may have fields that would read as unknown.
        let head: WireHead = toml::from_str(text).map_err(syntax)?;
        if head.version != VERSION {
            return Err(LockError::Version(head.version));
        }
        let lock = toml::from_str::<WireLock>(text).map_err(syntax)?.into_lock()?;
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
            line(&mut text, "size", input.size);
            quoted(&mut text, "sha256", input.digest.hex());
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

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
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

impl WireLock {
    fn into_lock(self) -> Result<Lock, LockError> {
        bounded("inputs", self.deb.len(), limits::INPUTS)?;
        bounded("releases", self.release.len(), limits::LOCK_RELEASES)?;
        let digest = |hex: &str, what: String| {
            Digest::from_hex(hex)
                .map_err(|_| LockError::Malformed { what, reason: "sha256 is not 64 lower-case hex digits".into() })
        };
        let releases = self.release.into_iter().map(|release| {
            let digest = digest(&release.sha256, format!("release {:?}", cut(&release.suite)))?;
            let WireRelease { archive, suite, date, expired, .. } = release;
            Ok(Release { archive, suite, date, digest, expired })
        });
        let inputs = self.deb.into_iter().map(|deb| {
            let what = || format!("deb {:?}", cut(&deb.name));
            let platform: Platform = deb
                .platform
                .parse()
                .map_err(|error| LockError::Malformed { what: what(), reason: format!("{error}") })?;
            let digest = digest(&deb.sha256, what())?;
            Ok(Input {
                platform: Some(platform),
                kind: Kind::Deb,
                name: deb.name,
                version: deb.version,
                architecture: Some(deb.architecture),
                archive: deb.archive,
                path: deb.path,
                size: deb.size,
                digest,
                distro: Some(self.distro.clone()),
            })
        });
        Ok(Lock {
            template: self.template,
            source_date_epoch: self.source_date_epoch,
            releases: releases.collect::<Result<_, LockError>>()?,
            inputs: inputs.collect::<Result<_, LockError>>()?,
            base: self.base.map(WireBase::into_base).transpose()?,
            distro: self.distro,
        })
    }
}
