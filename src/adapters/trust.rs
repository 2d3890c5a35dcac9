//! Trust roots that change: those inside bulla, and what `bulla trust update` found since, verified by TUF.
//!
//! An update is asked for by a person and is never part of a verification. What it leaves on the disk is believed no more
//! than what came over the network: the chain of signatures is followed again whenever it is read. What cannot be
//! followed is an error, never a reason to take an older root without a word.

mod chain;
mod fetch;
mod record;

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::state::{self, Lock, StateError};
use crate::class::{Class, Classified};
use crate::content::{Digest, limits};
use crate::sigstore::{Instance, TrustRoot, TrustRootError};
use chain::{Chain, Signed};
use fetch::Mirror;
use record::Record;

/// Where the operators of the public-good instance publish it.
const PUBLIC_GOOD: &str = "https://tuf-repo-cdn.sigstore.dev";
const PUBLIC_GOOD_ROOT: &[u8] = include_bytes!("../../trust/public-good.root.json");
/// Where GitHub publishes its own.
const GITHUB: &str = "https://tuf-repo.github.com";
const GITHUB_ROOT: &[u8] = include_bytes!("../../trust/github.root.json");

// The bounds of python-tuf, which those of other clients follow.
const ROOT_SIZE: u64 = 512_000;
const TIMESTAMP_SIZE: u64 = 16_384;
const SNAPSHOT_SIZE: u64 = 2_000_000;
const TARGETS_SIZE: u64 = 5_000_000;
/// Roots followed in one update; the public one changes a few times a year.
const ROTATIONS: u64 = 32;

/// What is wrong with metadata, as far as anybody tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Older than what was believed before.
    Rollback,
    /// Its time is over.
    Expired,
    /// Not signed by those who may, or not by enough of them.
    Signature,
    /// Not what the file before it names.
    Mismatch,
    /// Not metadata of its kind.
    Malformed,
}

/// Why a trust root could not be updated, or an update not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No address that is asked.
    #[error("{url:?} is no place to update trust from: {reason}")]
    Address {
        /// What was typed.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The repository did not answer with it.
    #[error("{place} did not give {name}: {reason}; nothing was changed")]
    Unreachable {
        /// The repository.
        place: String,
        /// The file.
        name: String,
        /// What happened.
        reason: String,
    },
    /// More than is read.
    #[error("{name} is larger than {limit} bytes; nothing was changed")]
    TooLarge {
        /// The file.
        name: String,
        /// The bound.
        limit: u64,
    },
    /// Metadata that may not be believed.
    #[error("{name} is refused: {reason}; nothing was changed")]
    Refused {
        /// The file.
        name: String,
        /// What is wrong with it.
        fault: Fault,
        /// For a person.
        reason: String,
    },
    /// An update that was kept and is not one any more.
    #[error("the updated trust root {} cannot be used: {reason}; delete it and run `bulla trust update`", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Signed, and no trust root all the same.
    #[error(transparent)]
    Root(#[from] TrustRootError),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

impl TrustError {
    fn refused(name: &str, fault: Fault, reason: &str) -> Self {
        Self::Refused { name: name.to_owned(), fault, reason: reason.to_owned() }
    }
}

impl Classified for TrustError {
    fn class(&self) -> Class {
        match self {
            Self::Address { .. } => Class::Usage,
            Self::Unreachable { .. } => Class::Net,
            Self::TooLarge { .. } => Class::Limit,
            Self::Refused { fault: Fault::Rollback, .. } => Class::Rollback,
            Self::Refused { .. } => Class::Trust,
            Self::Kept { .. } => Class::State,
            Self::Root(error) => error.class(),
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "unusable-mirror",
            Self::Unreachable { .. } => "tuf-unreachable",
            Self::TooLarge { .. } => "tuf-too-large",
            Self::Refused { fault: Fault::Rollback, .. } => "tuf-rollback",
            Self::Refused { fault: Fault::Expired, .. } => "tuf-expired",
            Self::Refused { fault: Fault::Signature, .. } => "tuf-signature",
            Self::Refused { fault: Fault::Mismatch, .. } => "tuf-mismatch",
            Self::Refused { fault: Fault::Malformed, .. } => "tuf-malformed",
            Self::Kept { .. } => "unusable-update",
            Self::Root(error) => error.code(),
            Self::State(error) => error.code(),
        }
    }
}

/// A TUF repository that publishes a trust root, and the root that everything in it is believed on the word of.
#[derive(Clone)]
pub struct Repository {
    name: String,
    instance: Instance,
    initial: Vec<u8>,
    url: String,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({} at {})", self.name, self.url)
    }
}

impl Repository {
    /// The public-good instance's.
    pub fn public_good() -> Self {
        Self::new("public-good", Instance::PublicGood, PUBLIC_GOOD_ROOT.to_vec(), PUBLIC_GOOD)
    }

    /// GitHub's.
    pub fn github() -> Self {
        Self::new("github", Instance::GitHub, GITHUB_ROOT.to_vec(), GITHUB)
    }

    /// Somebody's own, which begins with this `root.json`. Updates are kept by its digest.
    pub fn private(initial: Vec<u8>, url: &str) -> Self {
        Self::new(&format!("sha256-{}", Digest::of(&initial).hex()), Instance::Custom, initial, url)
    }

    /// The same repository at another place: what it serves is held to the same root.
    #[must_use]
    pub fn mirrored_at(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    /// What it is called, in commands and on the disk.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn new(name: &str, instance: Instance, initial: Vec<u8>, url: &str) -> Self {
        Self { name: name.to_owned(), instance, initial, url: url.to_owned() }
    }

    /// The trust root inside bulla, where there is one.
    fn embedded(&self) -> Result<Option<TrustRoot>, TrustRootError> {
        match self.instance {
            Instance::PublicGood => TrustRoot::public_good().map(Some),
            Instance::GitHub => TrustRoot::github().map(Some),
            Instance::Custom => Ok(None),
        }
    }

    /// The trust root of an update.
    fn updated(&self, record: &Record) -> Result<TrustRoot, TrustRootError> {
        let source = format!("{} (updated)", self.name);
        let root = TrustRoot::parse_as(self.instance, &record.signed.trusted_root, &source)?;
        Ok(root.known_at(record.checked))
    }
}

/// What an update did.
#[derive(Debug)]
pub struct Update {
    /// The root, as it is now.
    pub root: TrustRoot,
    /// Its bytes.
    pub json: Vec<u8>,
    /// Version of the TUF root that vouches for it.
    pub version: u64,
    /// Whether it differs from what was in use before.
    pub changed: bool,
}

/// The trust roots of this machine.
#[derive(Debug, Clone)]
pub struct Roots {
    folder: Option<PathBuf>,
}

impl Roots {
    /// Those inside bulla, and the updates kept in this folder.
    pub fn kept_in(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The newer of the root inside bulla and the one that was fetched since.
    ///
    /// # Errors
    /// When an update is there and cannot be read or believed; [`TrustError::Kept`] names the file.
    pub fn current(&self, repository: &Repository) -> Result<Option<TrustRoot>, TrustError> {
        let embedded = repository.embedded()?;
        let Some((path, record)) = self.record(repository)? else { return Ok(embedded) };
        if is_outdated(&record, embedded.as_ref()) {
            return Ok(embedded);
        }
        let kept = |error: &dyn fmt::Display| TrustError::Kept { path: path.clone(), reason: error.to_string() };
        Chain::replay(&repository.initial, &record.signed, record.checked).map_err(|error| kept(&error))?;
        Ok(Some(repository.updated(&record).map_err(|error| kept(&error))?))
    }

    /// Asks the repository for the trust root of today, and keeps it.
    pub fn update(&self, repository: &Repository, now: Timestamp) -> Result<Update, TrustError> {
        let folder = self.folder.as_deref().ok_or(StateError::NoHome("updates of trust roots", "XDG_STATE_HOME"))?;
        let _lock = Lock::take(&folder.join("lock"))?;
        let before = self.current(repository)?;
        let embedded = repository.embedded()?;
        let known = self.record(repository)?.map(|(_, record)| record);
        let known = known.filter(|record| !is_outdated(record, embedded.as_ref()));
        let (record, chain) = fetch(repository, known.as_ref(), now)?;
        let root = repository.updated(&record)?;
        let path = record_path(folder, repository);
        let unwritable = |reason| TrustError::Kept { path: path.clone(), reason };
        state::write_file(&path, &record.write().map_err(unwritable)?)?;
        Ok(Update {
            changed: before.is_none_or(|before| before.sha256() != root.sha256()),
            version: chain.root_version(),
            json: record.signed.trusted_root,
            root,
        })
    }

    fn record(&self, repository: &Repository) -> Result<Option<(PathBuf, Record)>, TrustError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = record_path(folder, repository);
        // Only what is certainly not there is passed over.
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let bytes = state::read_file(&path, limits::OWN_FILE)
            .map_err(|error| TrustError::Kept { path: path.clone(), reason: error.to_string() })?;
        let record = Record::parse(&bytes).map_err(|reason| TrustError::Kept { path: path.clone(), reason })?;
        Ok(Some((path, record)))
    }
}

/// The file in which an update is kept. Names are ours: `public-good`, `github`, or a digest.
fn record_path(folder: &Path, repository: &Repository) -> PathBuf {
    folder.join(format!("{}.json", repository.name))
}

/// Whether the root inside bulla is newer than an update.
fn is_outdated(record: &Record, embedded: Option<&TrustRoot>) -> bool {
    embedded.and_then(TrustRoot::as_of).is_some_and(|embedded| record.checked < embedded)
}

/// Follows the chain from the first root to the trust root, in the order of the specification.
fn fetch(repository: &Repository, known: Option<&Record>, now: Timestamp) -> Result<(Record, Chain), TrustError> {
    let mirror = Mirror::at(&repository.url)?;
    let mut roots = known.map(|record| record.signed.roots.clone()).unwrap_or_default();
    let mut chain = match known {
        Some(record) => Chain::replay(&repository.initial, &record.signed, record.checked)?,
        None => Chain::begin(&repository.initial)?,
    };
    let first = chain.root_version();
    while let Some(root) = mirror.find(&format!("{}.root.json", chain.root_version() + 1), ROOT_SIZE)? {
        chain.root(&root)?;
        roots.push(root);
        if chain.root_version() - first > ROTATIONS {
            let reason = format!("more than {ROTATIONS} roots came one after the other");
            return Err(TrustError::refused("root.json", Fault::Malformed, &reason));
        }
    }
    chain.settle(now)?;
    if let Some(record) = known.filter(|_| chain.root_version() > first) {
        chain.floor(&record.signed, record.checked);
    }
    let mut timestamp = mirror.get("timestamp.json", TIMESTAMP_SIZE)?;
    if !chain.timestamp(&timestamp, now)? {
        // The one that is believed already stays.
        timestamp = known.map_or(timestamp, |record| record.signed.timestamp.clone());
    }
    let snapshot = mirror.get(&chain.snapshot_name()?, SNAPSHOT_SIZE)?;
    chain.snapshot(&snapshot, now)?;
    let targets = mirror.get(&chain.targets_name()?, TARGETS_SIZE)?;
    let target = chain.targets(&targets, now)?;
    let trusted_root = mirror.get(&target.path, target.size)?;
    target.check(&trusted_root)?;
    let signed = Signed { roots, timestamp, snapshot, targets, trusted_root };
    Ok((Record { checked: now, signed }, chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_roots_are_signed_by_themselves_and_the_target_is_one_name() {
        for (repository, version) in [(Repository::public_good(), 16), (Repository::github(), 9)] {
            let chain = Chain::begin(&repository.initial).unwrap();
            assert_eq!(chain.root_version(), version, "{}", repository.name());
            assert!(repository.embedded().unwrap().is_some());
        }
        assert_eq!(chain::TARGET, "trusted_root.json");
    }

    #[test]
    fn an_update_from_before_the_embedded_root_is_not_used() {
        let embedded = TrustRoot::public_good().unwrap();
        let day = embedded.as_of().unwrap();
        let signed = Signed {
            roots: Vec::new(),
            timestamp: Vec::new(),
            snapshot: Vec::new(),
            targets: Vec::new(),
            trusted_root: Vec::new(),
        };
        let made = |checked| Record { checked, signed: signed.clone() };
        assert!(is_outdated(&made(day - jiff::SignedDuration::from_secs(1)), Some(&embedded)));
        assert!(!is_outdated(&made(day), Some(&embedded)));
        assert!(!is_outdated(&made(Timestamp::UNIX_EPOCH), None));
    }

    #[test]
    fn an_update_is_asked_of_safe_places_alone() {
        for url in ["http://tuf.example.org", "https://a:b@tuf.example.org", "https://x/?y", "file:///x", "x", ""] {
            let error = Mirror::at(url).map(|_| ()).unwrap_err();
            assert_eq!(error.code(), "unusable-mirror", "{url}");
        }
        assert!(Mirror::at("https://tuf.example.org/a").is_ok());
    }
}
