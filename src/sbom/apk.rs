//! apk's database: `lib/apk/db/installed`, stanzas of one-letter fields (apk-package(5) and the installed format).

use super::{Kind, OsRelease, Package, SbomError, Source, cut, licence, limits, purl, too_many};

/// One stanza of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Apk {
    name: String,
    version: String,
    architecture: Option<String>,
    licence: Option<String>,
    origin: Option<String>,
    found_in: String,
}

impl Apk {
    pub(super) fn package(&self, os: Option<&OsRelease>) -> Package {
        let origin = self.origin.as_ref().unwrap_or(&self.name);
        Package {
            kind: Kind::Apk,
            name: self.name.clone(),
            version: Some(self.version.clone()),
            architecture: self.architecture.clone(),
            purl: purl::distribution("apk", os, &self.name, &self.version, self.architecture.as_deref()),
            licence: self.licence.clone(),
            // All packages of one origin have its version.
            source: Some(Source { name: origin.clone(), version: Some(self.version.clone()) }),
            found_in: self.found_in.clone(),
        }
    }
}

/// Reads every package.
pub(super) fn parse(path: &str, content: &[u8]) -> Result<Vec<Apk>, SbomError> {
    let mut apks = Vec::new();
    let mut stanza = Stanza::default();
    let mut number = 0;
    for line in content.split(|byte| *byte == b'\n') {
        number += 1;
        if line.is_empty() {
            apks.extend(std::mem::take(&mut stanza).finish(path, number)?);
            if apks.len() > limits::PACKAGES {
                return Err(too_many(path, limits::PACKAGES, "packages"));
            }
            continue;
        }
        stanza.started = true;
        let [key, b':', value @ ..] = line else {
            return Err(malformed(path, number, "it is not a letter, a colon and a value"));
        };
        let slot = match key {
            b'P' => &mut stanza.name,
            b'V' => &mut stanza.version,
            b'A' => &mut stanza.architecture,
            b'L' => &mut stanza.licence,
            b'o' => &mut stanza.origin,
            key if key.is_ascii_alphabetic() => continue,
            _ => return Err(malformed(path, number, "it is not a letter, a colon and a value")),
        };
        if value.len() > limits::FIELD {
            return Err(malformed(path, number, &format!("the value is longer than {} bytes", limits::FIELD)));
        }
        if slot.replace(String::from_utf8_lossy(value).into_owned()).is_some() {
            return Err(malformed(path, number, "a field appears twice in one package"));
        }
    }
    apks.extend(stanza.finish(path, number)?);
    Ok(apks)
}

#[derive(Default)]
struct Stanza {
    started: bool,
    name: Option<String>,
    version: Option<String>,
    architecture: Option<String>,
    licence: Option<String>,
    origin: Option<String>,
}

impl Stanza {
    fn finish(self, path: &str, number: usize) -> Result<Option<Apk>, SbomError> {
        if !self.started {
            return Ok(None);
        }
        let word = |text: &String| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-~:/<>=".contains(&byte))
        };
        let named = |text: Option<String>, what: &str| {
            text.filter(word).ok_or_else(|| malformed(path, number, &format!("the package before has no valid {what}")))
        };
        let optional = |text: Option<String>, what: &str| {
            text.filter(|text| !text.is_empty()).map(|text| named(Some(text), what)).transpose()
        };
        Ok(Some(Apk {
            name: named(self.name, "name")?,
            version: named(self.version, "version")?,
            architecture: optional(self.architecture, "architecture")?,
            origin: optional(self.origin, "origin")?,
            licence: self.licence.as_deref().and_then(licence::declared),
            found_in: path.to_owned(),
        }))
    }
}

fn malformed(path: &str, number: usize, reason: &str) -> SbomError {
    SbomError::Malformed { path: cut(path), what: super::APK, reason: format!("line {number}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_packages_with_origin_and_licence() {
        let text = b"C:Q1x\nP:libcrypto3\nV:3.3.2-r1\nA:x86_64\nT:Crypto: library\nL:Apache-2.0\no:openssl\nF:lib\nR:libcrypto.so.3\n\nP:busybox\nV:1.36.1-r29\n\n";
        let apks = parse("lib/apk/db/installed", text).unwrap();
        assert_eq!(apks.len(), 2);
        let os = OsRelease::parse("etc/os-release", b"ID=alpine\nVERSION_ID=3.20.3\n").unwrap();
        let package = apks[0].package(Some(&os));
        assert_eq!(package.purl, "pkg:apk/alpine/libcrypto3@3.3.2-r1?arch=x86_64&distro=alpine-3.20.3");
        assert_eq!(package.licence.as_deref(), Some("Apache-2.0"));
        assert_eq!(package.source.map(|source| source.name).as_deref(), Some("openssl"));
    }

    #[test]
    fn an_empty_database_holds_nothing() {
        assert_eq!(parse("lib/apk/db/installed", b"").unwrap(), []);
    }

    #[test]
    fn refuses_what_it_would_otherwise_pass_over() {
        for bad in
            ["P:a\n", "V:1\n", "P:a\nP:b\nV:1\n", "P:a b\nV:1\n", "hello\n", "P:a\nV:1\n::x\n", "P:\nV:1\n", "\0"]
        {
            assert!(
                matches!(parse("lib/apk/db/installed", bad.as_bytes()), Err(SbomError::Malformed { .. })),
                "{bad:?}"
            );
        }
    }
}
