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
use bulla::template::Template;
use tempfile::TempDir;

/// Engines take every core they get: one build at a time is faster than several.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The base template with a lock, and a folder that is `XDG_CACHE_HOME` to whoever builds from its inputs; nothing where the archive does not answer.
pub(crate) static BASE: LazyLock<Option<(Template, TempDir)>> = LazyLock::new(|| {
    let cache = tempfile::tempdir().unwrap();
    let mirrors = Mirrors::of_host(Path::new("/etc/apt"));
    let inputs = Inputs::new(&cache.path().join("bulla")).with_mirrors(mirrors.clone(), Access::of_host());
    let template = Template::bundled("base").unwrap();
    let platform = Platform::host();
    let fetch = |template: &Template| -> Result<(), String> {
        let locks = lock::locked(template, &[], &platform).map_err(|error| error.to_string())?;
        inputs
            .fetch(&locks[0].for_platform(&platform), false, &unwatched)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let committed = match fetch(&template) {
        Ok(()) => return Some((template, cache)),
        Err(reason) => reason,
    };
    println!("the bundled lock cannot be built from, so base is locked anew: {committed}");
    let apt =
        Apt { mirrors, access: Access::of_host(), keyring: None, allow_expired: true, now: jiff::Timestamp::now() };
    let lock = match lock::lock(&template, std::slice::from_ref(&platform), &apt, &[], &inputs, &unwatched) {
        Ok(lock) => lock,
        Err(error) => {
            println!("skipped: building base: it cannot be locked here: {error}");
            return None;
        }
    };
    let template = template.with_lock(&lock);
    match fetch(&template) {
        Ok(()) => Some((template, cache)),
        Err(error) => {
            println!("skipped: building base: its inputs cannot be had: {error}");
            None
        }
    }
});

pub(crate) fn host(more: &[(&str, &str)]) -> Host {
    let more: BTreeMap<&str, &str> = more.iter().copied().collect();
    Host::from_env(|name| more.get(name).map(OsString::from).or_else(|| std::env::var_os(name)))
}

pub(crate) struct Site {
    pub(crate) folder: TempDir,
    host: Host,
    engine: Choice,
}

impl Site {
    pub(crate) fn new(engine: Choice, host: Host) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), host, engine }
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Builds offline: whatever a test needs is in `cache`.
    pub(crate) fn build(&self, template: &Template, cache: &Path, check: bool) -> Result<BuildRecord, BuildError> {
        let work = self.folder.path().join("work");
        let inputs = Inputs::new(&cache.join("bulla"));
        let world = World { inputs: &inputs, host: &self.host, work: &work, finished: None, progress: &unwatched };
        let request = BuildRequest {
            engine: self.engine.clone(),
            offline: true,
            check,
            ..BuildRequest::new(template, self.output())
        };
        let built = build::build(&request, &world);
        let left: Vec<_> = std::fs::read_dir(&work).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        if built.is_err() {
            let there: Vec<_> =
                std::fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(there.iter().all(|path| *path == work), "a failed build left {there:?}");
        }
        built
    }
}

/// The base template with another Dockerfile, and its lock made to fit.
pub(crate) fn variant(template: &Template, dockerfile: &str) -> Template {
    let mut lock = template.lock().unwrap();
    let mut files: BTreeMap<_, _> =
        template.files.iter().map(|(path, file)| (path.clone(), file.bytes.clone())).collect();
    files.insert("Dockerfile".to_owned(), dockerfile.as_bytes().to_vec());
    let template = Template::from_files("base", files).unwrap();
    lock.template = template.digest();
    template.with_lock(&lock)
}

pub(crate) const START: &str = "FROM scratch\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\nADD inputs/bootstrap.tar /\n";
