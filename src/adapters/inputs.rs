//! Bringing locked inputs into the content store: what a lock names by hash, from wherever it can be had.
//!
//! Nobody is trusted here: a byte from a mirror, a folder or the store counts when its hash is the lock's. What is on
//! its way lies in `cache/partial` and is never visible as content; a run that is cut off goes on from there.

pub mod artifact;
pub(in crate::adapters) mod ask;
mod transfer;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::adapters::sources::{Access, HostClients, Mirror, Mirrors};
use crate::adapters::state::{self, ContentStore, StateError};
use crate::adapters::{Event, Progress};
use crate::class::{Class, Classified};
use crate::content::Digest;
use crate::lockfile::Input;

pub use artifact::{Artifact, ArtifactSource};
pub use transfer::Pace;

/// An input and where it was looked for in vain so far.
type Wanted<'a> = (&'a Input, Vec<Attempt>);

/// Where inputs come from, in the order in which places are asked: the store, folders, artifacts, mirrors.
#[derive(Debug, Clone)]
pub struct Inputs {
    store: ContentStore,
    partial: PathBuf,
    folders: Vec<PathBuf>,
    artifacts: Vec<ArtifactSource>,
    mirrors: Mirrors,
    host: Option<HostClients>,
    access: Access,
    pace: Pace,
}

/// Why inputs are not there.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// Some are nowhere to be had.
    #[error("{}", list(.0))]
    Unavailable(Vec<Unavailable>),
    /// The certificate authorities or proxies that were configured cannot be used.
    #[error("the network cannot be used as configured: {0}")]
    Access(String),
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
}

/// An input that was looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// Name, version and architecture.
    pub input: String,
    /// Archive and path within it.
    pub path: String,
    /// Where it was looked for, and what was found there.
    pub attempts: Vec<Attempt>,
}

/// One place where an input was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The folder or mirror, without credentials.
    pub place: String,
    /// What happened.
    pub reason: String,
    /// What kind of failure it was.
    pub kind: Failure,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The place does not have it.
    Absent,
    /// The network was not to be asked.
    Offline,
    /// The place wants credentials, or others.
    Denied,
    /// The place could not be reached, or broke off.
    Net,
    /// The place sends more than is read.
    Large,
    /// This machine's disk.
    Disk,
    /// The place has other bytes under this name.
    Integrity,
}

impl Classified for InputsError {
    fn class(&self) -> Class {
        match self {
            Self::Unavailable(missing) => match worst(missing) {
                Failure::Integrity => Class::Integrity,
                Failure::Net => Class::Net,
                Failure::Large => Class::Limit,
                Failure::Disk => Class::State,
                Failure::Denied => Class::Auth,
                Failure::Absent | Failure::Offline => Class::Build,
            },
            Self::Access(_) => Class::Usage,
            Self::State(error) => error.class(),
        }
    }
    fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(missing) => match worst(missing) {
                Failure::Integrity => "input-differs",
                Failure::Net => "input-unreachable",
                Failure::Large => "too-large",
                Failure::Disk => "disk",
                Failure::Denied => "input-denied",
                Failure::Absent | Failure::Offline => "input-gone",
            },
            Self::Access(_) => "network-configuration",
            Self::State(error) => error.code(),
        }
    }
}

impl Inputs {
    /// Inputs kept below this cache folder, `state::cache_dir`, and from nowhere else yet.
    pub fn new(cache: &Path) -> Self {
        Self {
            store: ContentStore::at(cache.join("content")),
            partial: cache.join("partial"),
            folders: Vec::new(),
            artifacts: Vec::new(),
            mirrors: Mirrors::default(),
            host: None,
            access: Access::default(),
            pace: Pace::default(),
        }
    }

    /// Asks these folders before any mirror. A file is looked for as `<archive>/<path>`, `<path>`, its bare name, and by
    /// its hash as OCI layouts and the content store keep it.
    #[must_use]
    pub fn with_folders(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.folders.extend(folders);
        self
    }

    /// Asks these artifacts on registries after folders and before any mirror.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: impl IntoIterator<Item = ArtifactSource>) -> Self {
        self.artifacts.extend(artifacts);
        self
    }

    /// Asks these mirrors last.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: Mirrors, access: Access) -> Self {
        self.mirrors = mirrors;
        self.access = access;
        self
    }

    /// Asks, for archives of which no mirror was named, where the host's own clients go.
    #[must_use]
    pub fn with_host_clients(mut self, host: HostClients) -> Self {
        self.host = Some(host);
        self
    }

    /// Waits and tries again at this pace: for tests, which cannot wait as long.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Brings these inputs into the store and says where each is, in the order asked for. Every file was hashed in this
    /// call. `offline`: no socket is opened. All that can be had is kept, even if the call fails for the rest.
    pub fn fetch(
        &self,
        inputs: &[&Input],
        offline: bool,
        progress: Progress<'_>,
    ) -> Result<Vec<(Input, PathBuf)>, InputsError> {
        let missing = self.absent(inputs);
        if !missing.is_empty() {
            self.bring(&missing, offline, progress)?;
        }
        self.check_integrity(inputs)?;
        Ok(inputs.iter().map(|input| ((*input).clone(), self.store.path(&input.digest))).collect())
    }

    /// The lock says both hashes of an npm package, and one that does not have both is refused, whichever is wrong.
    fn check_integrity(&self, inputs: &[&Input]) -> Result<(), InputsError> {
        let mut wrong = Vec::new();
        for (input, integrity) in inputs.iter().filter_map(|input| Some((*input, input.integrity.as_ref()?))) {
            let path = self.store.path(&input.digest);
            let actual = sha512(&path).map_err(StateError::io("read", &path))?;
            if actual != *integrity {
                let reason = format!("has the integrity {actual}, not {integrity}, though it has the locked sha256");
                let attempt = Attempt { place: path.display().to_string(), reason, kind: Failure::Integrity };
                wrong.push(Unavailable {
                    input: input.display(),
                    path: format!("{}: {}", input.archive, input.path),
                    attempts: vec![attempt],
                });
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(InputsError::Unavailable(wrong)) }
    }

    /// The mirrors of an archive: those that were named, else what the host's own clients are set up with.
    pub(super) fn mirrors_of(&self, archive: &str) -> Vec<Mirror> {
        let named = self.mirrors.of(archive);
        if !named.is_empty() {
            return named.to_vec();
        }
        self.host.as_ref().and_then(|host| host.of(archive)).into_iter().collect()
    }

    /// A folder for what is on its way and has no known digest yet; it goes when it is dropped.
    pub(super) fn aside(&self) -> Result<tempfile::TempDir, StateError> {
        state::create_dir(&self.partial)?;
        let folder = tempfile::Builder::new().prefix("new-").tempdir_in(&self.partial);
        folder.map_err(StateError::io("create a folder in", &self.partial))
    }

    /// Where content with this digest is, or would be.
    pub(super) fn stored(&self, digest: &Digest) -> PathBuf {
        self.store.path(digest)
    }

    /// Whether this content is here, re-hashed now.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> bool {
        self.store.find(digest, size).is_some()
    }

    /// Takes a file into the store.
    pub(super) fn take(&self, file: &Path, digest: &Digest, size: u64) -> Result<(), StateError> {
        let open = File::open(file).map_err(StateError::io("read", file))?;
        self.store.insert(open, digest, size, &file.display().to_string()).map(drop)
    }

    /// The same, and remembers under which integrity it came.
    pub(super) fn keep(&self, file: &Path, digest: &Digest, size: u64, integrity: &str) -> Result<(), StateError> {
        self.take(file, digest, size)?;
        state::write_file(&self.remembered(integrity), format!("{} {size}\n", digest.hex()).as_bytes())
    }

    /// Digest and size of what came under this integrity before, if it is still here and still has it.
    pub(super) fn known(&self, integrity: &str) -> Option<(Digest, u64)> {
        let noted = state::read_file(&self.remembered(integrity), 200).ok()?;
        let (hex, size) = std::str::from_utf8(&noted).ok()?.trim_end().split_once(' ')?;
        let (digest, size) = (Digest::from_hex(hex).ok()?, size.parse().ok()?);
        self.store.find(&digest, size)?;
        (sha512(&self.store.path(&digest)).ok()? == integrity).then_some((digest, size))
    }

    fn remembered(&self, integrity: &str) -> PathBuf {
        self.partial.with_file_name("integrity").join(Digest::of(integrity.as_bytes()).hex())
    }

    /// The inputs that are not in the store, each content once.
    fn absent<'a>(&self, inputs: &[&'a Input]) -> Vec<&'a Input> {
        let mut seen = BTreeSet::new();
        let new = inputs.iter().filter(|input| seen.insert(input.digest));
        new.filter(|input| self.store.find(&input.digest, input.size).is_none()).copied().collect()
    }

    fn bring(&self, missing: &[&Input], offline: bool, progress: Progress<'_>) -> Result<(), InputsError> {
        if offline && self.folders.is_empty() {
            // Nothing to be had and nothing to write: the cache may well be read-only.
            return self.unavailable(missing.iter().map(|input| (*input, Vec::new())).collect(), offline);
        }
        // One run at a time: two would write the same partial files. The second finds what the first has brought.
        state::create_dir(&self.partial)?;
        let _lock = state::Lock::take(&self.partial.join("lock"))?;
        let mut wanted = Vec::new();
        for input in self.absent(missing) {
            let mut attempts = Vec::new();
            if !self.ask_folders(input, &mut attempts)? {
                wanted.push((input, attempts));
            }
        }
        if !offline && !wanted.is_empty() {
            wanted = self.ask_artifacts(wanted, progress)?;
        }
        if !offline && !wanted.is_empty() {
            let total: u64 = wanted.iter().map(|(input, _)| input.size).sum();
            progress(Event::Step(&format!("fetching {} inputs, {} MB", wanted.len(), total.div_ceil(1_000_000))));
            let archives: BTreeSet<_> = wanted.iter().map(|(input, _)| input.archive.as_str()).collect();
            let mut mirrors = Mirrors::default();
            for archive in archives {
                self.mirrors_of(archive).into_iter().for_each(|mirror| mirrors.add(archive, mirror));
            }
            let transfer = transfer::Transfer {
                store: &self.store,
                partial: &self.partial,
                mirrors: &mirrors,
                access: &self.access,
                pace: &self.pace,
                progress,
            };
            wanted = transfer.run(wanted)?;
        }
        self.unavailable(wanted, offline)
    }

    /// Takes from artifacts what they have, and gives back the rest.
    fn ask_artifacts<'a>(
        &self,
        mut wanted: Vec<Wanted<'a>>,
        progress: Progress<'_>,
    ) -> Result<Vec<Wanted<'a>>, StateError> {
        for artifact in &self.artifacts {
            progress(Event::Step(&format!("taking {} inputs from {artifact}", wanted.len())));
            let opened = artifact.open();
            let total = wanted.iter().map(|(input, _)| input.size).sum();
            let mut done = 0;
            let mut rest = Vec::new();
            for (input, mut attempts) in wanted {
                let taken = match &opened {
                    Ok(store) => artifact.take(store, input, &self.store)?,
                    Err(attempt) => Err(attempt.clone()),
                };
                done += input.size;
                progress(Event::Bytes { done, total });
                if let Err(attempt) = taken {
                    attempts.push(attempt);
                    rest.push((input, attempts));
                }
            }
            wanted = rest;
        }
        Ok(wanted)
    }

    /// The error about these inputs, if there are any.
    fn unavailable(&self, failed: Vec<(&Input, Vec<Attempt>)>, offline: bool) -> Result<(), InputsError> {
        if failed.is_empty() {
            return Ok(());
        }
        let unavailable = failed.into_iter().map(|(input, mut attempts)| {
            let absent = |place: String, reason: String| Attempt { place, reason, kind: Failure::Absent };
            if offline {
                let (place, reason) = ("the network".to_owned(), "not asked: offline".to_owned());
                attempts.push(Attempt { place, reason, kind: Failure::Offline });
            } else if self.mirrors_of(&input.archive).is_empty() {
                let reason = format!("no mirror is known: name one with --mirror {}=URL", input.archive);
                attempts.push(absent(format!("the archive {}", input.archive), reason));
            }
            Unavailable { input: input.display(), path: format!("{}: {}", input.archive, input.path), attempts }
        });
        Err(InputsError::Unavailable(unavailable.collect()))
    }

    /// Takes an input from the first folder that has it; notes those that have other bytes under its name.
    fn ask_folders(&self, input: &Input, attempts: &mut Vec<Attempt>) -> Result<bool, StateError> {
        let hex = input.digest.hex();
        for folder in &self.folders {
            let candidates = [
                folder.join(&input.archive).join(&input.path),
                folder.join(&input.path),
                folder.join(input.bare_name()),
                folder.join("blobs/sha256").join(&hex),
                folder.join("sha256").join(&hex),
            ];
            let mut note = None;
            for path in candidates.iter().filter(|path| path.is_file()) {
                match insert(&self.store, path, input)? {
                    Ok(()) => return Ok(true),
                    Err(attempt) => note = Some(attempt),
                }
            }
            attempts.push(note.unwrap_or_else(|| Attempt {
                place: folder.display().to_string(),
                reason: "not there".to_owned(),
                kind: Failure::Absent,
            }));
        }
        Ok(false)
    }
}

/// A file's SHA-512, as npm writes it.
fn sha512(path: &Path) -> std::io::Result<String> {
    use base64::Engine as _;
    use sha2::Digest as _;
    let mut hasher = sha2::Sha512::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(hasher.finalize())))
}

/// Takes a file into the store. The outer error is the store's disk, the inner one is about the file.
fn insert(store: &ContentStore, path: &Path, input: &Input) -> Result<Result<(), Attempt>, StateError> {
    let attempt = |reason: String, kind| Attempt { place: path.display().to_string(), reason, kind };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(attempt(error.to_string(), Failure::Absent))),
    };
    match store.insert(file, &input.digest, input.size, &input.display()) {
        Ok(_) => Ok(Ok(())),
        Err(StateError::Content(error)) => Ok(Err(attempt(error.to_string(), Failure::Integrity))),
        Err(error) => Err(error),
    }
}

fn worst(missing: &[Unavailable]) -> Failure {
    missing.iter().flat_map(|missing| &missing.attempts).map(|attempt| attempt.kind).max().unwrap_or(Failure::Absent)
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.input, self.path)?;
        for Attempt { place, reason, .. } in &self.attempts {
            write!(f, "\n    {place}: {reason}")?;
        }
        Ok(())
    }
}

/// All of them, as far as anybody reads, and what to do.
fn list(missing: &[Unavailable]) -> String {
    const SHOWN: usize = 20;
    let mut text = match missing.len() {
        1 => "1 locked input is not to be had:".to_owned(),
        count => format!("{count} locked inputs are not to be had:"),
    };
    for unavailable in missing.iter().take(SHOWN) {
        text.push_str(&format!("\n  {unavailable}"));
    }
    if missing.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", missing.len() - SHOWN));
    }
    text.push_str(match worst(missing) {
        Failure::Integrity => {
            "\nA place has other bytes than were locked: use another mirror, or look into who changed them."
        }
        Failure::Net => "\nWhat came so far is kept: run it again to go on from there.",
        Failure::Large | Failure::Disk => "",
        Failure::Denied => "\nGive the mirror's address with credentials, or use another mirror.",
        Failure::Offline => {
            "\nRun `bulla fetch TEMPLATE` while there is a network, or name a folder that has them with --inputs."
        }
        Failure::Absent => {
            "\nArchives drop what was superseded: lock anew with `bulla lock`, or name a snapshot archive with --mirror \
             or a folder with --inputs."
        }
    });
    text
}
