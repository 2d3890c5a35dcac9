//! A small Debian archive of our own: signed with a key made for the occasion, served by a mirror on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulla::content::Digest;

use crate::mirror::{Answer, Mirror};

/// A signing key, with its keyring as apt reads it.
pub(crate) struct Key {
    home: tempfile::TempDir,
}

impl Key {
    /// Makes one; nothing where there is no gpg.
    pub(crate) fn generate() -> Option<Self> {
        let key = Self { home: tempfile::tempdir().unwrap() };
        let args =
            ["--passphrase", "", "--quick-generate-key", "Archive <archive@example.test>", "ed25519", "sign", "1y"];
        let Some(_) = key.gpg(&args, b"") else {
            println!("skipped: an archive of our own: gpg does not make keys here");
            return None;
        };
        let public = key.gpg(&["--export"], b"").unwrap();
        std::fs::write(key.keyring(), public).unwrap();
        open(key.home.path());
        Some(key)
    }

    /// The keyring with its public half.
    pub(crate) fn keyring(&self) -> PathBuf {
        self.home.path().join("keyring.gpg")
    }

    /// A text with its signature around it.
    pub(crate) fn clearsign(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--digest-algo", "SHA512", "--clearsign"], text.as_bytes()).unwrap()
    }

    fn gpg(&self, args: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let mut child = Command::new("gpg")
            .args(["--homedir".as_ref(), self.home.path().as_os_str(), "--batch".as_ref(), "--quiet".as_ref()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input).ok()?;
        let output = child.wait_with_output().ok()?;
        output.status.success().then_some(output.stdout)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let home = self.home.path().as_os_str();
        let _ = Command::new("gpgconf")
            .args(["--homedir".as_ref(), home, "--kill".as_ref(), "gpg-agent".as_ref()])
            .status();
    }
}

/// apt's downloading user reads keyrings too.
fn open(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(path.join("keyring.gpg"), std::fs::Permissions::from_mode(0o644)).unwrap();
}

/// A package to be: name, version, architecture and further fields.
pub(crate) struct Package(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

impl Package {
    /// Its path in the archive.
    pub(crate) fn path(&self) -> String {
        let version = self.1.rsplit(':').next().unwrap();
        format!("pool/main/{0}/{0}_{version}_{1}.deb", self.0, self.2)
    }

    /// Its bytes: no .deb, but apt does not look.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        format!("{} {} {}", self.0, self.1, self.2).into_bytes()
    }

    fn stanza(&self) -> String {
        let Self(name, version, architecture, fields) = self;
        let (bytes, path) = (self.bytes(), self.path());
        let (size, hash) = (bytes.len(), Digest::of(&bytes).hex());
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: x\nDescription: x\n{fields}\
             Filename: {path}\nSize: {size}\nSHA256: {hash}\n\n"
        )
    }
}

/// One suite of an archive.
pub(crate) struct Suite<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its `Date`.
    pub(crate) date: &'a str,
    /// Its `Valid-Until`.
    pub(crate) until: Option<&'a str>,
    /// What is in it.
    pub(crate) packages: &'a [Package],
}

impl Suite<'_> {
    /// Puts indexes, Release file and packages on the mirror.
    pub(crate) fn publish(&self, mirror: &Mirror, key: &Key) {
        self.publish_with(mirror, |release| key.clearsign(release), |index| index);
    }

    /// The same, with a signature and indexes of one's own.
    pub(crate) fn publish_with(
        &self,
        mirror: &Mirror,
        sign: impl Fn(&str) -> Vec<u8>,
        damage: impl Fn(String) -> String,
    ) {
        let mut sums = String::new();
        let mut files = BTreeMap::new();
        for architecture in ["amd64", "arm64"] {
            let serves = |package: &&Package| package.2 == architecture || package.2 == "all";
            let index: String = self.packages.iter().filter(serves).map(Package::stanza).collect();
            let path = format!("main/binary-{architecture}/Packages");
            sums.push_str(&format!(" {} {} {path}\n", Digest::of(index.as_bytes()).hex(), index.len()));
            files.insert(path, damage(index).into_bytes());
        }
        let until = self.until.map(|until| format!("Valid-Until: {until}\n")).unwrap_or_default();
        let release = format!(
            "Origin: Test\nSuite: {0}\nCodename: {0}\nDate: {1}\n{until}Architectures: amd64 arm64\nComponents: main\n\
             SHA256:\n{sums}",
            self.name, self.date
        );
        files.insert("InRelease".to_owned(), sign(&release));
        for (path, bytes) in files {
            mirror.put(&format!("dists/{}/{path}", self.name), [Answer::File(bytes)]);
        }
        for package in self.packages {
            mirror.put(&package.path(), [Answer::File(package.bytes())]);
        }
    }
}
