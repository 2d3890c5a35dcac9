//! Where package archives are on this machine: mirrors from flags, environment or configuration, else what the host's
//! own apt is set up with. A lock names archives by a word; only this room turns words into addresses.

mod clients;
pub mod config;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::adapters::process::Invocation;
use crate::adapters::state;
use crate::class::{Class, Classified};
use crate::content::limits;
use crate::lockfile::is_word;

pub use clients::HostClients;

/// The variable that mirrors come from where no flag names one: `debian=URL`, several divided by spaces.
pub const VARIABLE: &str = "BULLA_MIRRORS";

/// The root of a package archive: the folder that has `dists` and `pool`. [`fmt::Display`] leaves out credentials.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mirror(String);

impl Mirror {
    /// An `http:`, `https:` or absolute `file:` address without query or fragment, or nothing.
    pub fn parse(address: &str) -> Option<Self> {
        let printable = address.bytes().all(|byte| byte.is_ascii_graphic() && !b"'\"\\<>`?#".contains(&byte));
        let (scheme, rest) = address.split_once(':')?;
        let rest = rest.trim_end_matches('/');
        let shaped = match scheme {
            "http" | "https" => rest.strip_prefix("//").is_some_and(|host| !host.is_empty() && !host.starts_with('/')),
            "file" => rest.starts_with('/'),
            _ => false,
        };
        if !printable || !shaped || address.len() > 2_000 {
            return None;
        }
        if scheme == "file" {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return path.starts_with('/').then(|| Self(format!("file:{path}")));
        }
        Some(Self(format!("{scheme}:{rest}")))
    }

    /// The address, credentials and all; without a slash at its end.
    pub fn address(&self) -> &str {
        &self.0
    }

    /// The folder on this machine that a `file:` address names.
    pub fn folder(&self) -> Option<&Path> {
        self.0.strip_prefix("file:").map(Path::new)
    }

    /// The address of a file in the archive. Bytes that servers read in two ways are escaped.
    pub fn file(&self, path: &str) -> String {
        let mut address = format!("{}/", self.0);
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || b"/._~@-".contains(&byte) {
                address.push(char::from(byte));
            } else {
                address.push_str(&format!("%{byte:02X}"));
            }
        }
        address
    }

    /// The text with every mention of this mirror's credentials taken out.
    pub fn redact(&self, text: &str) -> String {
        match self.credentials() {
            Some(credentials) => text.replace(&format!("{credentials}@"), ""),
            None => text.to_owned(),
        }
    }

    fn credentials(&self) -> Option<&str> {
        let host = self.0.split_once("//")?.1.split('/').next()?;
        host.rsplit_once('@').map(|(credentials, _)| credentials)
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redact(&self.0))
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a mirror was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mirror: write ARCHIVE=URL, as in debian=https://host/debian (http, https or file)")]
pub struct MalformedMirror(String);

impl Classified for MalformedMirror {
    fn class(&self) -> Class {
        Class::Usage
    }
    fn code(&self) -> &'static str {
        "malformed-mirror"
    }
}

/// Mirrors by archive, each list in the order in which they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors(BTreeMap<String, Vec<Mirror>>);

impl Mirrors {
    /// Reads `ARCHIVE=URL`, as flags, [`VARIABLE`] and the configuration file have them.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, MalformedMirror> {
        let mut mirrors = Self::default();
        for text in texts {
            let parsed = text.as_ref().split_once('=').filter(|(archive, _)| is_word(archive));
            let parsed = parsed.and_then(|(archive, address)| Some((archive, Mirror::parse(address)?)));
            // A mirror may hold a password: what could not be read is shown up to its first `=` only.
            let shown = || text.as_ref().split('=').next().unwrap_or_default().chars().take(40).collect();
            let (archive, mirror) = parsed.ok_or_else(|| MalformedMirror(shown()))?;
            mirrors.add(archive, mirror);
        }
        Ok(mirrors)
    }

    /// What the host's own apt is set up with, below this folder (`/etc/apt`). What cannot be read there is passed over:
    /// it is a convenience, and what is missing is said where it is needed.
    pub fn of_host(etc_apt: &Path) -> Self {
        let mut files = vec![etc_apt.join("sources.list")];
        let below = fs::read_dir(etc_apt.join("sources.list.d")).into_iter().flatten().flatten();
        let mut parts: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
        let mut mirrors = Self::default();
        for path in files {
            let Ok(bytes) = state::read_file(&path, limits::OWN_FILE) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            let entries = match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => one_line_entries(&text),
                Some("sources") => deb822_entries(&text),
                _ => continue,
            };
            for entry in entries {
                if let (Some(archive), Some(mirror)) = (entry.archive(), Mirror::parse(&entry.uri)) {
                    mirrors.add(archive, mirror);
                }
            }
        }
        mirrors
    }

    /// These first, then those.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        for (archive, mirrors) in later.0 {
            for mirror in mirrors {
                self.add(&archive, mirror);
            }
        }
        self
    }

    /// The mirrors of this archive, first choice first.
    pub fn of(&self, archive: &str) -> &[Mirror] {
        self.0.get(archive).map_or(&[], Vec::as_slice)
    }

    /// The text with the credentials of every mirror taken out.
    pub fn redact(&self, text: &str) -> String {
        self.0.values().flatten().fold(text.to_owned(), |text, mirror| mirror.redact(&text))
    }

    pub(super) fn add(&mut self, archive: &str, mirror: Mirror) {
        let mirrors = self.0.entry(archive.to_owned()).or_default();
        if !mirrors.contains(&mirror) {
            mirrors.push(mirror);
        }
    }
}

/// How the network is reached for fetching; nothing of it is used for registries or signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Proxy for `http:`; absent: what `http_proxy` says.
    pub http_proxy: Option<String>,
    /// Proxy for `https:`; absent: what `https_proxy` says.
    pub https_proxy: Option<String>,
    /// A PEM file with further certificate authorities.
    pub ca_cert: Option<PathBuf>,
}

impl Access {
    /// The same without the proxies of the host's apt, which may know Debian's archives and nothing else: what
    /// `http_proxy` and `https_proxy` say then counts.
    #[must_use]
    pub fn without_proxies(&self) -> Self {
        Self { http_proxy: None, https_proxy: None, ca_cert: self.ca_cert.clone() }
    }

    /// The proxies that the host's own apt is set up with. No apt: none.
    pub fn of_host() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let args = ["shell", "HTTP", "Acquire::http::Proxy", "HTTPS", "Acquire::https::Proxy"];
        let printed = Invocation::new("apt-config", args).env("PATH", path).output().unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
            let value = line.trim_matches('\'');
            // `DIRECT` is apt's word for none; other schemes than these are for apt alone.
            (value.starts_with("http://") || value.starts_with("https://")).then(|| value.to_owned())
        };
        Self { http_proxy: value("HTTP"), https_proxy: value("HTTPS"), ca_cert: None }
    }
}

/// One source of packages, as apt's configuration has it.
struct Entry {
    uri: String,
    suite: String,
    signed_by: String,
}

impl Entry {
    /// Which of Debian's archives this is a mirror of, by its address, else by the key that signs it.
    fn archive(&self) -> Option<&'static str> {
        let host = if self.uri.starts_with("file:") { 0 } else { 3 };
        let segments: Vec<_> = self.uri.split('/').skip(host).collect();
        if segments.contains(&"debian-security") {
            return Some("debian-security");
        }
        if !segments.contains(&"debian") && !self.signed_by.contains("debian-archive") {
            return None;
        }
        Some(if self.suite.contains("-security") { "debian-security" } else { "debian" })
    }
}

/// sources.list(5), one-line style: `deb [option=value …] uri suite component …`.
fn one_line_entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) else { continue };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            entries.push(Entry {
                uri: plain(uri),
                suite: suite.to_owned(),
                signed_by: signed_by.unwrap_or_default().to_owned(),
            });
        }
    }
    entries
}

/// sources.list(5), deb822 style: paragraphs of `Field: value`, with continuation lines.
fn deb822_entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for paragraph in lines.split(|line| line.trim().is_empty()) {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in paragraph {
            if line.starts_with([' ', '\t']) {
                fields.entry(last.clone()).or_default().push_str(&format!(" {}", line.trim()));
            } else if let Some((name, value)) = line.split_once(':') {
                last = name.trim().to_ascii_lowercase();
                fields.insert(last.clone(), value.trim().to_owned());
            }
        }
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let off = ["no", "false", "without", "off", "disable", "0"].contains(&field("enabled"));
        if off || !field("types").split_whitespace().any(|kind| kind == "deb") {
            continue;
        }
        for uri in field("uris").split_whitespace() {
            for suite in field("suites").split_whitespace() {
                let signed_by = field("signed-by").to_owned();
                entries.push(Entry { uri: plain(uri), suite: suite.to_owned(), signed_by });
            }
        }
    }
    entries
}

/// apt's `copy:` is `file:` for whoever only reads.
fn plain(uri: &str) -> String {
    uri.strip_prefix("copy:").map_or_else(|| uri.to_owned(), |path| format!("file:{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> Mirrors {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Mirrors::of_host(folder.path())
    }

    fn of(mirrors: &Mirrors, archive: &str) -> Vec<String> {
        mirrors.of(archive).iter().map(|mirror| mirror.address().to_owned()).collect()
    }

    #[test]
    fn a_host_without_apt_has_no_mirrors() {
        assert_eq!(Mirrors::of_host(Path::new("/nowhere")), Mirrors::default());
        assert_eq!(host(&[("sources.list", "")]), Mirrors::default());
    }

    #[test]
    fn reads_both_styles_of_the_host_s_sources() {
        let mirrors = host(&[
            (
                "sources.list",
                "# deb http://old.test/debian x main\n\
                 deb [arch=amd64 signed-by=/k.gpg] http://one.test/debian/ trixie main # note\n\
                 deb-src http://src.test/debian trixie main\n\
                 deb http://one.test/ubuntu jammy-security main\n\
                 deb cdrom:[disc]/debian trixie main\n",
            ),
            (
                "sources.list.d/a.sources",
                "Types: deb deb-src\nURIs: https://two.test/debian\n  http://three.test/debian\nSuites: trixie\n\n\
                 # note\nTypes: deb\nURIs: http://off.test/debian\nSuites: trixie\nEnabled: no\n\n\
                 types: deb\nuris: http://sec.test/debian-security\nsuites: trixie-security\n\n\
                 Types: deb\nURIs: http://corp.test/remote\nSuites: trixie-security\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            ),
            ("sources.list.d/b.list", "deb file:/srv/debian trixie main\n"),
            ("sources.list.d/c.bak", "deb http://bak.test/debian trixie main\n"),
        ]);
        assert_eq!(
            of(&mirrors, "debian"),
            ["http://one.test/debian", "https://two.test/debian", "http://three.test/debian", "file:/srv/debian"]
        );
        assert_eq!(of(&mirrors, "debian-security"), ["http://sec.test/debian-security", "http://corp.test/remote"]);
    }

    #[test]
    fn what_the_person_says_comes_first() {
        let said = Mirrors::parse(["debian=http://mine.test/d/"]).unwrap();
        let all = said.then(host(&[("sources.list", "deb http://one.test/debian trixie main\n")]));
        assert_eq!(of(&all, "debian"), ["http://mine.test/d", "http://one.test/debian"]);
        assert!(all.of("debian-security").is_empty());
    }

    #[test]
    fn refuses_what_is_no_mirror() {
        for text in [
            "",
            "debian",
            "debian=",
            "=http://x/",
            "Debian=http://x/",
            "debian=ftp://x/d",
            "debian=http://",
            "debian=http:///d",
            "debian=file:relative",
            "debian=file://host/d",
            "debian=http://x/d?q=1",
            "debian=http://x/d d",
            "debian=http://x/\nd",
            "debian=mirror+http://x/d",
        ] {
            assert!(Mirrors::parse([text]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn credentials_are_used_and_never_shown() {
        let mirrors = Mirrors::parse(["debian=https://me:secret@one.test/debian"]).unwrap();
        let mirror = &mirrors.of("debian")[0];
        assert!(mirror.file("pool/a").starts_with("https://me:secret@one.test/"));
        let shown = format!("{mirror} {mirror:?} {mirrors:?} {}", mirrors.redact(&mirror.file("x")));
        assert!(!shown.contains("secret"), "{shown}");
        let error = Mirrors::parse(["debian=ftp://me:secret@one.test"]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn escapes_what_servers_read_in_two_ways() {
        let mirror = Mirror::parse("http://one.test/debian").unwrap();
        assert_eq!(mirror.file("pool/g/g++_1+b~1_all.deb"), "http://one.test/debian/pool/g/g%2B%2B_1%2Bb~1_all.deb");
    }
}
