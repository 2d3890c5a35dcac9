//! dpkg's database: `var/lib/dpkg/status`, and one file per package in `status.d` (distroless images).

use super::{Kind, OsRelease, Package, SbomError, Source, cut, limits, purl, too_many};

/// One stanza of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deb {
    pub(super) name: String,
    version: String,
    architecture: Option<String>,
    source: Source,
    found_in: String,
}

impl Deb {
    pub(super) fn package(&self, os: Option<&OsRelease>, licence: Option<String>) -> Package {
        Package {
            kind: Kind::Deb,
            name: self.name.clone(),
            version: Some(self.version.clone()),
            architecture: self.architecture.clone(),
            purl: purl::distribution("deb", os, &self.name, &self.version, self.architecture.as_deref()),
            licence,
            source: Some(self.source.clone()),
            found_in: self.found_in.clone(),
        }
    }
}

/// Reads every package whose files are there: everything but `not-installed` and `config-files` (dpkg(1)).
pub(super) fn parse(path: &str, content: &[u8]) -> Result<Vec<Deb>, SbomError> {
    let mut debs = Vec::new();
    let mut stanza = Stanza::default();
    // Maintainers' names may be in any encoding; what is kept is checked to be ASCII below.
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let malformed = |reason: String| malformed(path, number, &reason);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            debs.extend(std::mem::take(&mut stanza).finish(path, number)?);
            if debs.len() > limits::PACKAGES {
                return Err(too_many(path, limits::PACKAGES, "packages"));
            }
            continue;
        }
        stanza.started = true;
        if matches!(line[0], b' ' | b'\t') {
            if stanza.last_kept {
                return Err(malformed("a field that has one line goes on over two".to_owned()));
            }
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(malformed("it is neither a field nor the continuation of one".to_owned()));
        };
        let key = String::from_utf8_lossy(&line[..colon]);
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed(format!("{:?} is not the name of a field", cut(&key))));
        }
        // Field names are case-insensitive (deb822(5)).
        let slot = match key.to_ascii_lowercase().as_str() {
            "package" => Some(&mut stanza.name),
            "version" => Some(&mut stanza.version),
            "architecture" => Some(&mut stanza.architecture),
            "source" => Some(&mut stanza.source),
            "status" => Some(&mut stanza.status),
            _ => None,
        };
        stanza.last_kept = slot.is_some();
        if let Some(slot) = slot {
            let value = String::from_utf8_lossy(&line[colon + 1..]).trim().to_owned();
            if value.len() > limits::FIELD {
                return Err(malformed(format!("{key} is longer than {} bytes", limits::FIELD)));
            }
            if slot.replace(value).is_some() {
                return Err(malformed(format!("{key} appears twice in one package")));
            }
        }
    }
    let lines = content.iter().filter(|byte| **byte == b'\n').count() + 1;
    debs.extend(stanza.finish(path, lines)?);
    Ok(debs)
}

#[derive(Default)]
struct Stanza {
    started: bool,
    last_kept: bool,
    name: Option<String>,
    version: Option<String>,
    architecture: Option<String>,
    source: Option<String>,
    status: Option<String>,
}

impl Stanza {
    fn finish(self, path: &str, number: usize) -> Result<Option<Deb>, SbomError> {
        if !self.started {
            return Ok(None);
        }
        let malformed = |reason: &str| malformed(path, number, reason);
        let name = self.name.filter(|name| is_name(name));
        let name = name.ok_or_else(|| malformed("the package before this line has no valid name"))?;
        // Files of status.d have no status: what is there is installed.
        match self.status.as_deref().map(|status| status.split_ascii_whitespace().collect::<Vec<_>>()) {
            None => {}
            Some(words) => match words.as_slice() {
                [_, _, "not-installed" | "config-files"] => return Ok(None),
                [
                    _,
                    _,
                    "installed" | "unpacked" | "half-installed" | "half-configured" | "triggers-awaited"
                    | "triggers-pending",
                ] => {}
                _ => return Err(malformed(&format!("the status of {name} is not one that dpkg knows"))),
            },
        }
        let version = self.version.filter(|version| is_version(version));
        let version = version.ok_or_else(|| malformed(&format!("{name} has no valid version")))?;
        let architecture = self.architecture.filter(|architecture| !architecture.is_empty());
        if architecture.as_deref().is_some_and(|architecture| !is_name(architecture)) {
            return Err(malformed(&format!("{name} has no valid architecture")));
        }
        let source = match self.source.as_deref() {
            None => Source { name: name.clone(), version: Some(version.clone()) },
            Some(text) => source(text, &version).ok_or_else(|| malformed(&format!("{name} has no valid source")))?,
        };
        Ok(Some(Deb { name, version, architecture, source, found_in: path.to_owned() }))
    }
}

/// `Source: name`, or `Source: name (version)` where the versions differ (Debian policy 5.6.1).
fn source(text: &str, version: &str) -> Option<Source> {
    let (name, version) = match text.split_once(' ') {
        None => (text, version),
        Some((name, rest)) => (name, rest.trim().strip_prefix('(')?.strip_suffix(')')?.trim()),
    };
    let valid = is_name(name) && is_version(version);
    valid.then(|| Source { name: name.to_owned(), version: Some(version.to_owned()) })
}

/// Debian policy 5.6.7, wide enough for other archives' capitals.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

/// Debian policy 5.6.12.
fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-:~_".contains(&byte))
}

fn malformed(path: &str, number: usize, reason: &str) -> SbomError {
    SbomError::Malformed { path: cut(path), what: super::DPKG, reason: format!("line {number}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: git\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.47.3-0+deb13u1\n\
        Description: fast\n a long\n .\n text: with colon\n\nPackage: gone\nStatus: deinstall ok config-files\n\
        Version: 1\n\n\nPackage: libc6\nStatus: install ok installed\nSource: glibc (2.41-12)\nVersion: 2.41-12+b1\n\
        Architecture: amd64\n";

    #[test]
    fn reads_what_is_installed_with_its_source() {
        let debs = parse("var/lib/dpkg/status", STATUS.as_bytes()).unwrap();
        let names: Vec<&str> = debs.iter().map(|deb| deb.name.as_str()).collect();
        assert_eq!(names, ["git", "libc6"]);
        assert_eq!(debs[1].source, Source { name: "glibc".to_owned(), version: Some("2.41-12".to_owned()) });
        assert_eq!(debs[0].source, Source { name: "git".to_owned(), version: Some("1:2.47.3-0+deb13u1".to_owned()) });
    }

    #[test]
    fn an_empty_database_holds_nothing() {
        assert_eq!(parse("var/lib/dpkg/status", b"").unwrap(), []);
        assert_eq!(parse("var/lib/dpkg/status", b"\n\n").unwrap(), []);
    }

    #[test]
    fn reads_a_stanza_without_status() {
        let debs = parse("var/lib/dpkg/status.d/base", b"Package: base-files\nVersion: 12.4\n").unwrap();
        assert_eq!(debs.len(), 1);
    }

    #[test]
    fn refuses_what_it_would_otherwise_pass_over() {
        for bad in [
            "no field here\n",
            "Package: a\nVersion: 1\nVersion: 2\n",
            "Package: a\nversion: 1\nVersion: 2\n",
            "Package: a\n",
            "Version: 1\n",
            "Package: a b\nVersion: 1\n",
            "Package: a\nVersion: 1 2\n",
            "Package: a\n b\nVersion: 1\n",
            "Package: a\nVersion: 1\nStatus: install ok\n",
            "Package: a\nVersion: 1\nStatus: install ok hidden\n",
            "Package: a\nVersion: 1\nSource: b (\n",
            "Package: a\u{200b}\nVersion: 1\n",
            "Package: a\nVersion: 1\0\n",
            "\u{1f}\u{8b}\u{8}binary",
        ] {
            assert!(
                matches!(parse("var/lib/dpkg/status", bad.as_bytes()), Err(SbomError::Malformed { .. })),
                "{bad:?}"
            );
        }
        let long = format!("Package: a\nVersion: {}\n", "1".repeat(2_000));
        assert!(parse("var/lib/dpkg/status", long.as_bytes()).is_err());
    }
}
