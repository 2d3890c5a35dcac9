//! Building for real: locked inputs from the host's archive, every engine that works here, no network.
//!
//! What is not there is named and passed over: `skipped: …`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/dockerd.rs"]
mod dockerd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use bulla::adapters::apt::Apt;
use bulla::adapters::engine::{Choice, EngineError, Host};
use bulla::adapters::inputs::{Inputs, InputsError};
use bulla::adapters::sources::{Access, Mirrors};
use bulla::adapters::unwatched;
use bulla::build::{self, BuildError, BuildRecord, BuildRequest, World};
use bulla::class::{Class, Classified};
use bulla::lock;
use bulla::oci::Platform;
use bulla::template::Template;
use dockerd::Dockerd;
use tempfile::TempDir;

/// Engines take every core they get: one build at a time is faster than several.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The base template with a lock whose inputs are in `cache`; nothing where the archive does not answer.
static BASE: LazyLock<Option<(Template, TempDir)>> = LazyLock::new(|| {
    let cache = tempfile::tempdir().unwrap();
    let mirrors = Mirrors::of_host(Path::new("/etc/apt"));
    let inputs = Inputs::new(cache.path()).with_mirrors(mirrors.clone(), Access::of_host());
    let template = Template::bundled("base").unwrap();
    let platform = Platform::host();
    let fetch = |template: &Template| -> Result<(), String> {
        let lock = lock::locked(template, &platform).map_err(|error| error.to_string())?;
        inputs.fetch(&lock.for_platform(&platform), false, &unwatched).map(|_| ()).map_err(|error| error.to_string())
    };
    let committed = match fetch(&template) {
        Ok(()) => return Some((template, cache)),
        Err(reason) => reason,
    };
    println!("the bundled lock cannot be built from, so base is locked anew: {committed}");
    let apt =
        Apt { mirrors, access: Access::of_host(), keyring: None, allow_expired: true, now: jiff::Timestamp::now() };
    let lock = match lock::lock(&template, std::slice::from_ref(&platform), &apt, &unwatched) {
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

fn host(more: &[(&str, &str)]) -> Host {
    let more: BTreeMap<&str, &str> = more.iter().copied().collect();
    Host::from_env(|name| more.get(name).map(OsString::from).or_else(|| std::env::var_os(name)))
}

struct Site {
    folder: TempDir,
    host: Host,
    engine: Choice,
}

impl Site {
    fn new(engine: Choice, host: Host) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), host, engine }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Builds offline: whatever a test needs is in `cache`.
    fn build(&self, template: &Template, cache: &Path, check: bool) -> Result<BuildRecord, BuildError> {
        let work = self.folder.path().join("work");
        let inputs = Inputs::new(cache);
        let world = World { inputs: &inputs, host: &self.host, work: &work, progress: &unwatched };
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
fn variant(template: &Template, dockerfile: &str) -> Template {
    let mut lock = template.lock().unwrap();
    let mut files: BTreeMap<_, _> =
        template.files.iter().map(|(path, file)| (path.clone(), file.bytes.clone())).collect();
    files.insert("Dockerfile".to_owned(), dockerfile.as_bytes().to_vec());
    let template = Template::from_files("base", files).unwrap();
    lock.template = template.digest();
    template.with_lock(&lock)
}

const START: &str = "FROM scratch\nENV PATH=/usr/sbin:/usr/bin:/sbin:/bin\nADD inputs/bootstrap.tar /\n";

/// The first engine that works here, among those that need no daemon.
fn any_engine() -> Option<Site> {
    let folder = tempfile::tempdir().unwrap();
    for choice in [Choice::Buildah, Choice::Podman] {
        match bulla::adapters::engine::find(&choice, &host(&[]), folder.path()) {
            Ok(_) => return Some(Site::new(choice, host(&[]))),
            Err(error) => println!("{error}"),
        }
    }
    println!("skipped: a build (neither buildah nor podman works here)");
    None
}

#[test]
fn every_engine_gives_base_the_same_digest() {
    let _one = ONE_AT_A_TIME.lock();
    let Some((template, cache)) = &*BASE else { return };
    let daemon = Dockerd::start();
    let mut sites = vec![("buildah", Site::new(Choice::Buildah, host(&[])))];
    if let Some(daemon) = &daemon {
        let address = daemon.host();
        sites.push(("docker", Site::new(Choice::Docker, host(&[("DOCKER_HOST", &address)]))));
    }
    let mut records = Vec::new();
    for (name, site) in &sites {
        match site.build(template, cache.path(), false) {
            Ok(record) => {
                println!("{name}: {} {} -> {}", record.engine.name, record.engine.version, record.image.digest);
                records.push((site.output(), record));
            }
            Err(BuildError::Engine(EngineError::None(reasons))) => println!("skipped: {name}: {reasons:?}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    if let Some(daemon) = &daemon {
        let images =
            daemon.docker(&["image", "ls", "--quiet", "--filter", "reference=*/bulla-build"]).output().unwrap();
        assert!(images.stdout.is_empty(), "a build left an image in the daemon");
    }
    let Some((output, first)) = records.first() else { return };
    for (_, record) in &records {
        assert_eq!(record.image.digest, first.image.digest, "{} and {}", record.engine.name, first.engine.name);
        assert_eq!(record.documents["sbom.spdx.json"], first.documents["sbom.spdx.json"]);
        assert_eq!(record.documents["sbom.cdx.json"], first.documents["sbom.cdx.json"]);
    }
    // The provenance names every byte that went in.
    let lock = template.lock().unwrap();
    let count = lock.for_platform(&Platform::host()).len();
    assert_eq!(first.inputs.count, count);
    assert!(first.image.packages >= count, "{} packages of {count} inputs", first.image.packages);
    let provenance: serde_json::Value = read_json(&output.join("bulla/provenance.json"));
    let dependencies = provenance["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert_eq!(dependencies.len(), count + build::OWN_DEPENDENCIES);
    for input in lock.for_platform(&Platform::host()) {
        let named = dependencies.iter().filter(|one| {
            one["uri"] == input.purl().as_str() && one["digest"]["sha256"] == input.digest.hex().as_str()
        });
        assert_eq!(named.count(), 1, "{}", input.display());
    }
    let record = read_json(&output.join("bulla/build.json"));
    assert_eq!(record["schema"], build::SCHEMA);
    assert_eq!(record["image"]["digest"], first.image.digest.to_string().as_str());
    let index = read_json(&output.join("index.json"));
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    assert_eq!(*name, format!("base:{}", template.manifest.release).as_str());
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_build_cannot_reach_the_network() {
    let _one = ONE_AT_A_TIME.lock();
    let (Some((template, cache)), Some(site)) = (&*BASE, any_engine()) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let reaching = format!("{START}RUN bash -c 'echo hello >/dev/tcp/127.0.0.1/{port}'\n");
    let error = site.build(&variant(template, &reaching), cache.path(), false).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Build, "engine-failed"));
    assert!(error.to_string().contains("/dev/tcp/127.0.0.1"), "{error}");
    assert!(listener.accept().is_err(), "the build reached this machine");
}

#[test]
fn an_input_that_is_not_locked_is_not_there() {
    let _one = ONE_AT_A_TIME.lock();
    let (Some((template, cache)), Some(site)) = (&*BASE, any_engine()) else { return };
    let unlocked = variant(template, &format!("{START}COPY inputs/deb/unlocked_1_all.deb /x\n"));
    let error = site.build(&unlocked, cache.path(), false).unwrap_err();
    assert_eq!(error.code(), "engine-failed");
    assert!(error.to_string().contains("unlocked_1_all.deb"), "{error}");
}

#[test]
fn a_second_build_that_differs_is_refused_with_the_paths() {
    let _one = ONE_AT_A_TIME.lock();
    let (Some((template, cache)), Some(site)) = (&*BASE, any_engine()) else { return };
    let random = variant(template, &format!("{START}RUN head -c 8 /dev/urandom >/etc/different\n"));
    match site.build(&random, cache.path(), true).unwrap_err() {
        BuildError::NotReproducible { first, second, paths } => {
            assert_ne!(first, second);
            assert_eq!(paths[0], "changed etc/different: other content of 8 bytes", "{paths:?}");
        }
        error => panic!("{error}"),
    }
    let steady = variant(template, &format!("{START}RUN date >/dev/null\n"));
    assert_eq!(site.build(&steady, cache.path(), true).unwrap().builds, 2);
}

#[test]
fn refuses_an_unpinned_base_before_anything_is_fetched() {
    let template = Template::bundled("base").unwrap();
    let site = Site::new(Choice::Auto, Host::default());
    let empty = tempfile::tempdir().unwrap();
    let error = site.build(&variant(&template, "FROM debian:trixie\n"), empty.path(), false).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Build, "unpinned-base"));
    assert!(error.to_string().starts_with("images/base/Dockerfile:1: "), "{error}");
}

#[test]
fn refuses_a_template_that_is_not_the_locked_one() {
    let template = Template::bundled("base").unwrap();
    let lock = template.lock().unwrap();
    let mut files: BTreeMap<_, _> =
        template.files.iter().map(|(path, file)| (path.clone(), file.bytes.clone())).collect();
    files.insert("rootfs/etc/motd".to_owned(), b"another".to_vec());
    let drifted = Template::from_files("base", files).unwrap().with_lock(&lock);
    let site = Site::new(Choice::Auto, Host::default());
    let error = site.build(&drifted, Path::new("/nonexistent"), false).unwrap_err();
    assert!(matches!(error, BuildError::Lock(_)), "{error}");
}

#[test]
fn an_input_that_cannot_be_had_is_named() {
    let template = Template::bundled("base").unwrap();
    let template = variant(&template, template.dockerfile());
    let site = Site::new(Choice::Auto, Host::default());
    let empty = tempfile::tempdir().unwrap();
    let error = site.build(&template, empty.path(), false).unwrap_err();
    assert!(matches!(error, BuildError::Inputs(InputsError::Unavailable(_))), "{error}");
    assert!(error.to_string().contains("git"), "{error}");
}
