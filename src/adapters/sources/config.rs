//! Where archives are, as files say: bulla's own configuration, and what debootstrap takes for Debian's mirror.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{MalformedMirror, Mirror, Mirrors};
use crate::adapters::state::{self, StateError};
use crate::class::{Class, Classified};
use crate::content::{limits, parse_toml};

/// The configuration file's name, in `state::config_dir`.
pub const FILE_NAME: &str = "config.toml";
/// debootstrap, where its package installs it.
pub const DEBOOTSTRAP: &str = "/usr/sbin/debootstrap";

/// Why the configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is not TOML, or says something that it may not say.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which rule.
        reason: String,
    },
    /// It is there and cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for ConfigurationError {
    fn class(&self) -> Class {
        Class::Usage
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed-configuration",
            Self::State(error) => error.code(),
        }
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
    #[serde(default)]
    mirrors: BTreeMap<String, Vec<String>>,
}

impl Mirrors {
    /// What the configuration file says; no file says nothing. One that is there and cannot be read is an error:
    /// passing over it would ask other places than the person wants.
    pub fn of_configuration(path: &Path) -> Result<Self, ConfigurationError> {
        let absent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        if path.symlink_metadata().is_err_and(|error| absent(&error)) {
            return Ok(Self::default());
        }
        let bytes = state::read_file(path, limits::OWN_FILE)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        parse(&text).map_err(|reason| ConfigurationError::Malformed { path: path.to_owned(), reason })
    }

    /// The mirror that debootstrap takes where nobody names one, if it is Debian's and no other mirror is known: apt on
    /// Ubuntu knows none of Debian's.
    #[must_use]
    pub fn or_debootstrap(mut self, program: &Path) -> Self {
        if !self.of("debian").is_empty() {
            return self;
        }
        let text = state::read_file(program, limits::OWN_FILE).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let said = text.lines().filter_map(|line| line.trim().strip_prefix("DEF_MIRROR=")).next().unwrap_or_default();
        let said = said.trim_matches(['"', '\'']).trim_end_matches('/');
        if let (Some(root), Some(mirror)) = (said.strip_suffix("/debian"), Mirror::parse(said)) {
            self.add("debian", mirror);
            let security = Mirror::parse(&format!("{root}/debian-security"));
            security.into_iter().for_each(|security| self.add("debian-security", security));
        }
        self
    }
}

fn parse(text: &str) -> Result<Mirrors, String> {
    // The version first: a later one may have fields that would read as unknown.
    let head: WireHead = parse_toml(text).map_err(|error| error.to_string())?;
    if head.version != 1 {
        return Err(format!("version is {}, and this program knows version 1: use a newer bulla", head.version));
    }
    let wire: Wire = parse_toml(text).map_err(|error| error.to_string())?;
    let all = wire.mirrors.iter().flat_map(|(archive, all)| all.iter().map(move |one| format!("{archive}={one}")));
    Mirrors::parse(all).map_err(|error: MalformedMirror| format!("[mirrors]: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(mirrors: &Mirrors, archive: &str) -> Vec<String> {
        mirrors.of(archive).iter().map(|mirror| mirror.address().to_owned()).collect()
    }

    #[test]
    fn reads_lists_of_mirrors_in_their_order() {
        let text = "version = 1\n[mirrors]\ndebian = [\"http://b.test/debian\", \"http://a.test/debian\"]\nnpm = [\"https://n.test\"]\n";
        let mirrors = parse(text).unwrap();
        assert_eq!(addresses(&mirrors, "debian"), ["http://b.test/debian", "http://a.test/debian"]);
        assert_eq!(addresses(&mirrors, "npm"), ["https://n.test"]);
        assert_eq!(parse("version = 1\n").unwrap(), Mirrors::default());
        assert_eq!(Mirrors::of_configuration(Path::new("/nowhere/config.toml")).unwrap(), Mirrors::default());
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for text in [
            "",
            "version = 2\n",
            "version = 1\ncolour = \"red\"\n",
            "version = 1\n[mirrors]\ndebian = \"http://a.test/debian\"\n",
            "version = 1\n[mirrors]\ndebian = [\"ftp://a.test/debian\"]\n",
            "version = 1\n[mirrors]\nDebian = [\"http://a.test/debian\"]\n",
            "version = 1\n[mirror]\ndebian = []\n",
            "version = 1\n[mirrors]\ndebian = []\ndebian = []\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let error = parse("version = 1\n[mirrors]\ndebian = [\"ftp://me:secret@a.test\"]\n").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = Mirrors::of_configuration(folder.path()).unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Usage, "disk"));
    }

    #[test]
    fn debootstrap_s_mirror_counts_only_where_none_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("debootstrap");
        let of = |text: &str, known: Mirrors| {
            std::fs::write(&program, text).unwrap();
            known.or_debootstrap(&program)
        };
        let found = of("#!/bin/sh\nDEF_MIRROR=\"http://d.test/debian\"\n", Mirrors::default());
        assert_eq!(addresses(&found, "debian"), ["http://d.test/debian"]);
        assert_eq!(addresses(&found, "debian-security"), ["http://d.test/debian-security"]);
        let known = Mirrors::parse(["debian=http://mine.test/debian"]).unwrap();
        assert_eq!(of("DEF_MIRROR=\"http://d.test/debian\"\n", known.clone()), known);
        assert_eq!(of("DEF_MIRROR=\"http://u.test/ubuntu\"\n", Mirrors::default()), Mirrors::default());
        assert_eq!(of("", Mirrors::default()), Mirrors::default());
        assert_eq!(Mirrors::default().or_debootstrap(Path::new("/nowhere")), Mirrors::default());
    }
}
