//! Resolving Debian packages with apt, in a root of its own: nothing of the host's apt takes part but its programs.
//!
//! apt downloads the archives' signed indexes, checks them against the archive keyring and says which packages, by
//! path, size and hash, make up what was asked for. Nothing is installed and no package is downloaded.

mod said;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use jiff::Timestamp;

use crate::adapters::process::{Invocation, ProcessError, find_program};
use crate::adapters::sources::{Access, Mirror, Mirrors};
use crate::adapters::state::{self, StateError};
use crate::adapters::{Event, Progress};
use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::lockfile::{Input, Release, debian_architecture};
use crate::oci::Platform;
use crate::template::{DebArchive, DebInputs};

/// Where Debian's package debian-archive-keyring keeps the keys, by its versions.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/// A resolver: which mirrors and keys, and what the time is.
#[derive(Debug, Clone)]
pub struct Apt {
    /// Where archives are; the first mirror of each is asked.
    pub mirrors: Mirrors,
    /// How the network is reached.
    pub access: Access,
    /// The keys that may sign archives; absent: those of the package debian-archive-keyring.
    pub keyring: Option<PathBuf>,
    /// Take an index whose `Valid-Until` has passed. The lock says so.
    pub allow_expired: bool,
    /// The time, for `Valid-Until`.
    pub now: Timestamp,
}

/// For each platform, what is installed there, as dpkg lists it in `/var/lib/dpkg/status`.
pub type Installed = BTreeMap<Platform, String>;

/// What apt said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The Release files that vouch for it.
    pub releases: Vec<Release>,
    /// The packages of every platform.
    pub inputs: Vec<Input>,
}

/// Why packages were not resolved.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// A program is not installed.
    #[error(
        "{0} is not on this machine, and `bulla lock` resolves with it: install the package apt, or lock elsewhere"
    )]
    NoApt(&'static str),
    /// No keyring to believe the archive by.
    #[error("there is no {}: install the package debian-archive-keyring, or name a keyring with --keyring", path.display())]
    NoKeyring {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// Nobody said where an archive is.
    #[error("no mirror of the archive {0:?} is known here: name one with --mirror {0}=URL, or in config.toml")]
    NoMirror(String),
    /// An index is not signed by a key of the keyring.
    #[error(
        "an archive's index is not signed by a key in {}:\n{reason}\n\
         install a newer debian-archive-keyring (trixie's keys are in 2025.1, and in bookworm's 2023.3+deb12u2), \
         or name a keyring with --keyring", keyring.display()
    )]
    Untrusted {
        /// The keyring.
        keyring: PathBuf,
        /// What apt said.
        reason: String,
    },
    /// An index has expired: the mirror is stale, or holds updates back.
    #[error(
        "the index of {suite} at {mirror} was valid until {until}, which has passed: use a mirror that is up to date, \
         or take it as it is with --allow-expired"
    )]
    Expired {
        /// Which suite.
        suite: String,
        /// Which mirror.
        mirror: Mirror,
        /// Its `Valid-Until`.
        until: Timestamp,
    },
    /// An index is not what the signed Release file says.
    #[error("an archive's index is not what its signed Release file says:\n{0}\nTry again later, or another mirror.")]
    Differs(String),
    /// An archive could not be read.
    #[error("the archives could not be read:\n{0}")]
    Update(String),
    /// There is no solution.
    #[error("apt finds no such set of packages for {platform}:\n{reason}")]
    Unsolvable {
        /// For which platform.
        platform: Platform,
        /// What apt said.
        reason: String,
    },
    /// apt or the archive said something that is not understood.
    #[error("{what} is not understood: {reason}")]
    Format {
        /// Which file or line.
        what: String,
        /// Why not.
        reason: String,
    },
    /// apt could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Classified for AptError {
    fn class(&self) -> Class {
        match self {
            Self::NoApt(_) | Self::NoKeyring { .. } | Self::NoMirror(_) => Class::Usage,
            Self::Untrusted { .. } => Class::Trust,
            Self::Expired { .. } => Class::Time,
            Self::Differs(_) => Class::Integrity,
            Self::Update(_) => Class::Net,
            Self::Unsolvable { .. } => Class::Build,
            Self::Format { .. } => Class::Format,
            Self::Process(error) => error.class(),
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::NoApt(_) => "no-apt",
            Self::NoKeyring { .. } => "no-keyring",
            Self::NoMirror(_) => "no-mirror",
            Self::Untrusted { .. } => "archive-untrusted",
            Self::Expired { .. } => "archive-expired",
            Self::Differs(_) => "archive-differs",
            Self::Update(_) => "archive-unreadable",
            Self::Unsolvable { .. } => "no-such-packages",
            Self::Format { .. } => "archive-not-understood",
            Self::Process(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}

impl Apt {
    /// Resolves what a template wants for these platforms, all against one download of the indexes.
    pub fn resolve(
        &self,
        wanted: &DebInputs,
        platforms: &[Platform],
        progress: Progress<'_>,
    ) -> Result<Resolved, AptError> {
        self.resolve_over(wanted, platforms, &Installed::new(), progress)
    }

    /// The same where packages are installed already: only what they lack is named. None of them is removed, and
    /// none is replaced by a newer one unless something that is wanted cannot do without.
    pub fn resolve_over(
        &self,
        wanted: &DebInputs,
        platforms: &[Platform],
        installed: &Installed,
        progress: Progress<'_>,
    ) -> Result<Resolved, AptError> {
        let root = Root::create(self, wanted, platforms)?;
        progress(Event::Step("reading the archives' indexes"));
        root.update()?;
        let releases = root.releases()?;
        let mut inputs = Vec::new();
        for platform in platforms {
            progress(Event::Step(&format!("resolving for {platform}")));
            inputs.extend(root.packages(platform, installed.get(platform).map(String::as_str))?);
        }
        Ok(Resolved { releases, inputs })
    }

    fn keyring(&self) -> Result<PathBuf, AptError> {
        let candidates: Vec<_> = match &self.keyring {
            Some(path) => vec![std::path::absolute(path).map_err(StateError::io("read", path))?],
            None => KEYRINGS.map(PathBuf::from).to_vec(),
        };
        let found = candidates.iter().find(|path| path.is_file());
        found.cloned().ok_or_else(|| AptError::NoKeyring { path: candidates[candidates.len() - 1].clone() })
    }
}

/// A temporary folder in which apt knows nothing but what stands in it.
struct Root<'a> {
    apt: &'a Apt,
    wanted: &'a DebInputs,
    folder: tempfile::TempDir,
    keyring: PathBuf,
    program: PathBuf,
    path: OsString,
    architectures: Vec<&'static str>,
}

impl<'a> Root<'a> {
    fn create(apt: &'a Apt, wanted: &'a DebInputs, platforms: &[Platform]) -> Result<Self, AptError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = find_program("apt-get", &path).ok_or(AptError::NoApt("apt-get"))?;
        let keyring = apt.keyring()?;
        if let Some(archive) = wanted.archives.iter().find(|archive| apt.mirrors.of(&archive.name).is_empty()) {
            return Err(AptError::NoMirror(archive.name.clone()));
        }
        let temporary = std::env::temp_dir();
        let folder = tempfile::Builder::new().prefix("bulla-apt-").tempdir_in(&temporary);
        let folder = folder.map_err(StateError::io("create a folder in", &temporary))?;
        for below in ["state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d", "log"] {
            state::create_dir(&folder.path().join(below))?;
        }
        fs::write(folder.path().join("state/status"), "").map_err(StateError::io("write in", folder.path()))?;
        let architectures = platforms.iter().filter_map(debian_architecture).collect();
        let root = Self { apt, wanted, folder, keyring, program, path, architectures };
        root.open_to_sandbox()?;
        Ok(root)
    }

    /// apt as root downloads as the user `_apt`, who must be able to walk into the folder; nothing in it is secret but
    /// the list of sources, which may hold a password and stays closed.
    fn open_to_sandbox(&self) -> Result<(), AptError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = self.folder.path();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(StateError::io("open", path))?;
        }
        Ok(())
    }

    /// Whether everybody can walk into the folder. Where not (a private TMPDIR), apt must not change its user.
    fn is_reachable(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = |path: &Path| path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
            self.folder.path().ancestors().all(open)
        }
        #[cfg(not(unix))]
        false
    }

    fn update(&self) -> Result<(), AptError> {
        let result = self.run(&self.apt_get(&self.architectures, &["update"])?)?;
        result.map(drop).map_err(|reason| {
            let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
            let unsigned = ["NO_PUBKEY", "Missing key", "is not signed", "no longer signed", "BADSIG", "EXPKEYSIG"];
            if says(&unsigned) {
                return AptError::Untrusted { keyring: self.keyring.clone(), reason };
            }
            if says(&["Hash Sum mismatch", "unexpected size"]) {
                return AptError::Differs(reason);
            }
            AptError::Update(reason)
        })
    }

    /// One Release per suite, as apt has just verified it.
    fn releases(&self) -> Result<Vec<Release>, AptError> {
        let mut releases = Vec::new();
        for archive in &self.wanted.archives {
            for suite in &archive.suites {
                let mirror = self.mirror(archive)?;
                let path = self.release_file(suite)?;
                let bytes = state::read_file(&path, limits::OWN_FILE)?;
                let format = |reason: &str| AptError::Format {
                    what: format!("the Release file of {suite} at {mirror}"),
                    reason: reason.to_owned(),
                };
                let text = std::str::from_utf8(&bytes).map_err(|_| format("it is not UTF-8"))?;
                let date = said::date(text, "Date").ok_or_else(|| format("it has no Date, or one that is none"))?;
                let has_until = said::signed_part(text).lines().any(|line| line.starts_with("Valid-Until:"));
                let until = said::date(text, "Valid-Until");
                if has_until && until.is_none() {
                    return Err(format("its Valid-Until is no date"));
                }
                let expired = until.filter(|until| *until < self.apt.now);
                if let Some(until) = expired.filter(|_| !self.apt.allow_expired) {
                    return Err(AptError::Expired { suite: suite.clone(), mirror: mirror.clone(), until });
                }
                releases.push(Release {
                    archive: archive.name.clone(),
                    suite: suite.clone(),
                    date,
                    digest: Digest::of(&bytes),
                    expired: expired.is_some(),
                });
            }
        }
        Ok(releases)
    }

    /// The file in which apt keeps what it verified for a suite: its address with underscores for slashes. Suites are
    /// different in every archive of a template, so that the end of the name says which one it is.
    fn release_file(&self, suite: &str) -> Result<PathBuf, AptError> {
        let lists = self.folder.path().join("state/lists");
        let ends = [format!("_dists_{suite}_InRelease"), format!("_dists_{suite}_Release")];
        let below = fs::read_dir(&lists).map_err(StateError::io("read", &lists))?.flatten();
        let mut found: Vec<PathBuf> = below
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                ends.iter().any(|end| name.ends_with(end))
            })
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(path), true) => Ok(path),
            _ => Err(AptError::Format {
                what: format!("what apt keeps of {suite}"),
                reason: "there is not one Release file".to_owned(),
            }),
        }
    }

    fn packages(&self, platform: &Platform, installed: Option<&str>) -> Result<Vec<Input>, AptError> {
        let unsolvable = |reason: String| AptError::Unsolvable { platform: platform.clone(), reason };
        let architecture =
            debian_architecture(platform).ok_or_else(|| unsolvable("Debian has no such architecture".to_owned()))?;
        let mut args = vec!["--print-uris"];
        if let Some(installed) = installed {
            let status = self.folder.path().join(format!("state/status-{architecture}"));
            fs::write(&status, installed).map_err(StateError::io("write", &status))?;
            args.extend(["--no-remove", "--no-upgrade", "install", "--"]);
        } else {
            args.extend(["install", "--", "?essential"]);
        }
        args.extend(self.wanted.packages.iter().map(String::as_str));
        let output = self.run(&self.apt_get(&[architecture], &args)?)?.map_err(unsolvable)?;
        let printed = String::from_utf8(output)
            .map_err(|_| AptError::Format { what: "what apt printed".to_owned(), reason: "not UTF-8".to_owned() })?;
        let mirrors = self.wanted.archives.iter().map(|archive| Ok((archive.name.as_str(), self.mirror(archive)?)));
        let mirrors: Vec<_> = mirrors.collect::<Result<_, AptError>>()?;
        let inputs = printed.lines().filter(|line| line.starts_with('\'')).map(|line| {
            said::package(line, &mirrors, platform, &self.wanted.distro).ok_or_else(|| AptError::Format {
                what: format!("apt's line {:?}", self.apt.mirrors.redact(line).chars().take(300).collect::<String>()),
                reason: "not an address within an archive, a file name, a size and a SHA-256".to_owned(),
            })
        });
        let inputs: Vec<_> = inputs.collect::<Result<_, _>>()?;
        if inputs.is_empty() && installed.is_none() {
            return Err(unsolvable("it names no package at all".to_owned()));
        }
        Ok(inputs)
    }

    /// What it printed; the inner error is why it failed, most of which apt prints on standard output.
    fn run(&self, invocation: &Invocation) -> Result<Result<Vec<u8>, String>, ProcessError> {
        let output = invocation.command().stdin(Stdio::null()).output();
        let output = output.map_err(|source| invocation.not_started(source))?;
        if output.status.success() {
            return Ok(Ok(output.stdout));
        }
        let printed = [output.stdout, output.stderr].concat();
        let text = self.apt.mirrors.redact(&String::from_utf8_lossy(&printed));
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        Ok(Err(lines[lines.len().saturating_sub(20)..].join("\n")))
    }

    fn mirror(&self, archive: &DebArchive) -> Result<&'a Mirror, AptError> {
        self.apt.mirrors.of(&archive.name).first().ok_or_else(|| AptError::NoMirror(archive.name.clone()))
    }

    /// An argument vector for apt-get that knows these architectures, the first one as its own.
    fn apt_get(&self, architectures: &[&str], args: &[&str]) -> Result<Invocation, AptError> {
        let name = architectures.join("-");
        let folder = self.folder.path();
        let sources = folder.join(format!("etc/{name}.sources"));
        private(&sources, &self.sources(architectures)?)?;
        let config = folder.join(format!("etc/{name}.conf"));
        private(&config, &self.config(architectures, &sources))?;
        let mut words: Vec<OsString> = ["-q", "-y", "--no-install-recommends"].map(OsString::from).to_vec();
        words.extend(args.iter().map(OsString::from));
        let mut invocation = Invocation::new(self.program.clone(), words)
            .env("APT_CONFIG", config)
            .env("PATH", self.path.clone())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("TMPDIR", folder)
            .dir(folder);
        for name in ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            if let Some(value) = std::env::var_os(name) {
                invocation = invocation.env(name, value);
            }
        }
        Ok(invocation)
    }

    /// sources.list(5), deb822 style.
    fn sources(&self, architectures: &[&str]) -> Result<String, AptError> {
        let mut text = String::new();
        for archive in &self.wanted.archives {
            let (address, keyring) = (self.mirror(archive)?.address(), self.keyring.display());
            let (suites, components) = (archive.suites.join(" "), archive.components.join(" "));
            let _ = write!(
                text,
                "Types: deb\nURIs: {address}\nSuites: {suites}\nComponents: {components}\nArchitectures: {}\n\
                 Signed-By: {keyring}\n\n",
                architectures.join(" ")
            );
        }
        Ok(text)
    }

    /// apt.conf(5). `APT_CONFIG` is read before the host's own files, and here says that there are none.
    fn config(&self, architectures: &[&str], sources: &Path) -> String {
        let root = self.folder.path().display();
        let mut text = String::new();
        let mut set = |key: &str, value: &str| {
            let _ = writeln!(text, "{key} \"{value}\";");
        };
        set("Dir", &root.to_string());
        set("Dir::Etc", &format!("{root}/etc"));
        set("Dir::Etc::main", "/dev/null");
        set("Dir::Etc::parts", "/dev/null");
        set("Dir::Etc::sourcelist", &sources.display().to_string());
        set("Dir::Etc::sourceparts", "/dev/null");
        set("Dir::Etc::trusted", "/dev/null");
        set("Dir::Etc::trustedparts", "/dev/null");
        set("Dir::Etc::netrc", "/dev/null");
        set("Dir::Etc::netrcparts", "/dev/null");
        set("Dir::State", &format!("{root}/state"));
        let status = format!("{root}/state/status-{}", architectures.join("-"));
        let status = if Path::new(&status).is_file() { status } else { format!("{root}/state/status") };
        set("Dir::State::status", &status);
        set("Dir::Cache", &format!("{root}/cache"));
        set("Dir::Log", &format!("{root}/log"));
        set("APT::Architecture", architectures.first().copied().unwrap_or_default());
        for architecture in architectures {
            set("APT::Architectures::", architecture);
        }
        set("APT::Install-Recommends", "false");
        set("APT::Install-Suggests", "false");
        // One solver everywhere: newer versions of apt bring another one, which may choose otherwise.
        set("APT::Solver", "internal");
        set("APT::Get::AllowUnauthenticated", "false");
        set("APT::Update::Error-Mode", "any");
        set("Acquire::AllowInsecureRepositories", "false");
        set("Acquire::AllowWeakRepositories", "false");
        set("Acquire::AllowDowngradeToInsecureRepositories", "false");
        // Read by `releases`, against the time that this program was given, and for the record.
        set("Acquire::Check-Valid-Until", "false");
        set("Acquire::ForceHash", "SHA256");
        set("Acquire::Languages", "none");
        set("Acquire::Retries", "3");
        set("Acquire::http::Timeout", "30");
        set("Acquire::https::Timeout", "30");
        for (key, value) in [("http", &self.apt.access.http_proxy), ("https", &self.apt.access.https_proxy)] {
            if let Some(proxy) = value.as_ref().filter(|proxy| !proxy.contains(['"', ';', '\n'])) {
                set(&format!("Acquire::{key}::Proxy"), proxy);
            }
        }
        if let Some(file) = &self.apt.access.ca_cert {
            set("Acquire::https::CAInfo", &file.display().to_string());
        }
        if !self.is_reachable() {
            set("APT::Sandbox::User", "root");
        }
        text
    }
}

/// Writes a file that only this user can read.
fn private(path: &Path, text: &str) -> Result<(), StateError> {
    let _ = fs::remove_file(path);
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = options.open(path).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(StateError::io("write", path))
}
