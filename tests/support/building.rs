//! What tests that build for real have in common: the base template with its inputs at hand, and places to build in.

#![allow(dead_code, reason = "each test file uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use bulla::adapters::apt::Apt;
use bulla::adapters::engine::{Choice, Host};
use bulla::adapters::inputs::Inputs;
use bulla::adapters::sources::{Access, Mirrors};
use bulla::adapters::unwatched;
use bulla::build::{self, BuildError, BuildRecord, BuildRequest, World};
use bulla::lock;
use bulla::oci::Platform;
use bulla::template::{Template, digests};
use tempfile::TempDir;

/// Engines take every core they get: one build at a time is faster than several.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The base template with a lock, and a folder that is `XDG_CACHE_HOME` to whoever builds from its inputs; nothing where the archive does not answer.
pub(crate) static BASE: LazyLock<Option<(Template, TempDir)>> = LazyLock::new(|| {
    let cache = tempfile::tempdir().unwrap();
    let template = Template::bundled("base").unwrap();
    Some((with_inputs(template, &fetched_into(&cache.path().join("bulla")))?, cache))
});

/// Inputs that are fetched from this machine's mirrors into this store.
pub(crate) fn fetched_into(cache: &Path) -> Inputs {
    Inputs::new(cache).with_mirrors(Mirrors::of_host(Path::new("/etc/apt")), Access::of_host())
}

/// This machine's archives.
pub(crate) fn apt() -> Apt {
    let mirrors = Mirrors::of_host(Path::new("/etc/apt"));
    Apt { mirrors, access: Access::of_host(), keyring: None, allow_expired: true, now: jiff::Timestamp::now() }
}

/// A template that stands on nothing, with a lock whose inputs were fetched: its own, else one that was made now.
/// Nothing where the archive does not answer.
pub(crate) fn with_inputs(template: Template, inputs: &Inputs) -> Option<Template> {
    let platform = Platform::host();
    let fetch = |template: &Template| -> Result<(), String> {
        let locks = lock::locked(template, &[], &platform).map_err(|error| error.to_string())?;
        inputs
            .fetch(&locks[0].for_platform(&platform), false, &unwatched)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let committed = match fetch(&template) {
        Ok(()) => return Some(template),
        Err(reason) => reason,
    };
    println!("the bundled lock cannot be built from, so base is locked anew: {committed}");
    let lock = match lock::lock(&template, std::slice::from_ref(&platform), &apt(), &[], inputs, &unwatched) {
        Ok(lock) => lock,
        Err(error) => {
            println!("skipped: building base: it cannot be locked here: {error}");
            return None;
        }
    };
    let template = template.with_lock(&lock);
    match fetch(&template) {
        Ok(()) => Some(template),
        Err(error) => {
            println!("skipped: building base: its inputs cannot be had: {error}");
            None
        }
    }
}

pub(crate) fn host(more: &[(&str, &str)]) -> Host {
    let more: BTreeMap<&str, &str> = more.iter().copied().collect();
    Host::from_env(|name| more.get(name).map(OsString::from).or_else(|| std::env::var_os(name)))
}

pub(crate) struct Site {
    pub(crate) folder: TempDir,
    finished: Option<PathBuf>,
    host: Host,
    engine: Choice,
}

impl Site {
    pub(crate) fn new(engine: Choice, host: Host) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), finished: None, host, engine }
    }

    /// The same, and finished builds are kept here.
    pub(crate) fn keeping(self, finished: PathBuf) -> Self {
        Self { finished: Some(finished), ..self }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.path("out")
    }

    /// Builds offline: whatever a test needs is in `cache`.
    pub(crate) fn build(&self, template: &Template, cache: &Path, check: bool) -> Result<BuildRecord, BuildError> {
        let request = BuildRequest { check, ..BuildRequest::new(template, self.output()) };
        let built = self.run(request, &Inputs::new(&cache.join("bulla")));
        if built.is_err() {
            let work = self.path("work");
            let there: Vec<_> =
                std::fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(there.iter().all(|path| *path == work), "a failed build left {there:?}");
        }
        built
    }

    /// The same of any request: offline, and with the engine of this place.
    pub(crate) fn run(&self, request: BuildRequest<'_>, inputs: &Inputs) -> Result<BuildRecord, BuildError> {
        let work = self.path("work");
        let finished = self.finished.as_deref();
        let world = World { inputs, host: &self.host, work: &work, finished, progress: &unwatched };
        let request = BuildRequest { engine: self.engine.clone(), offline: true, ..request };
        let built = build::build(&request, &world);
        let left: Vec<_> = std::fs::read_dir(&work).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        built
    }
}

/// A template with another Dockerfile; its lock made to fit.
pub(crate) fn with_dockerfile(template: &Template, dockerfile: &str) -> Template {
    let mut files = bytes(template);
    files.insert("Dockerfile".to_owned(), dockerfile.as_bytes().to_vec());
    files.remove(digests::FILE_NAME);
    let changed = Template::from_files(&template.name, files).unwrap();
    match template.lock() {
        Ok(mut lock) => {
            lock.template = changed.digest();
            changed.with_lock(&lock)
        }
        Err(_) => changed,
    }
}

/// A template's files.
pub(crate) fn bytes(template: &Template) -> BTreeMap<String, Vec<u8>> {
    template.files.iter().map(|(path, file)| (path.clone(), file.bytes.clone())).collect()
}

pub(crate) const START: &str = "FROM scratch\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\nADD inputs/bootstrap.tar /\n";
