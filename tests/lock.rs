//! Locking and fetching against the archives that this machine's own apt is set up with, and against one made here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

use std::collections::BTreeMap;
use std::path::Path;

use bulla::adapters::apt::{Apt, AptError};
use bulla::adapters::inputs::Inputs;
use bulla::adapters::sources::{Access, Mirrors};
use bulla::adapters::unwatched;
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::lock::{self, Drift, LockingError};
use bulla::lockfile::Lock;
use bulla::template::Template;

/// The bundled base template's wishes, without its lock.
fn base() -> Template {
    let manifest = include_str!("../images/base/template.toml").to_owned();
    let files = [("template.toml", manifest), ("Dockerfile", "FROM scratch\n".to_owned())];
    let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes()));
    Template::from_files("base", BTreeMap::from(files)).unwrap()
}

fn host() -> Apt {
    Apt {
        mirrors: Mirrors::of_host(Path::new("/etc/apt")),
        access: Access::of_host(),
        keyring: None,
        allow_expired: true,
        now: jiff::Timestamp::now(),
    }
}

/// No inputs: Debian's packages are locked without reading any.
fn inputs() -> Inputs {
    Inputs::new(Path::new("/nowhere"))
}

/// The lock, or nothing where this machine has no apt, no keyring or no archive.
fn lock_or_skip(template: &Template) -> Option<Lock> {
    match lock::lock(template, &[], &host(), &[], &inputs(), &unwatched) {
        Ok(lock) => Some(lock),
        Err(LockingError::Apt(
            error @ (AptError::NoApt(_)
            | AptError::NoKeyring { .. }
            | AptError::NoMirror(_)
            | AptError::Update(_)
            | AptError::Untrusted { .. }),
        )) => {
            println!("skipped: locking against the host's archives: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn locking_twice_gives_the_same_bytes_and_they_can_be_fetched() {
    let template = base();
    let (Some(first), Some(second)) = (lock_or_skip(&template), lock_or_skip(&template)) else { return };
    if first.releases != second.releases {
        println!("skipped: the archive published between the two runs");
        return;
    }
    assert_eq!(first.write(), second.write());
    assert_eq!(Lock::parse(first.write().as_bytes()).unwrap(), first);
    for platform in &template.manifest.platforms {
        let names: Vec<_> = first.for_platform(platform).iter().map(|input| input.name.as_str()).collect();
        for wanted in template.manifest.deb.packages.iter().map(String::as_str).chain(["base-files", "dpkg", "libc6"]) {
            assert!(names.contains(&wanted), "{wanted} for {platform}");
        }
    }
    let text = first.write();
    assert!(!text.contains("://") && !text.contains(".org"), "the lock names a host");
    let locked = template.clone().with_lock(&first);
    assert_eq!(lock::check(&locked, &[]).unwrap(), Drift::None);
    fetches(&first);
}

/// What was locked can be fetched, and then needs no network.
fn fetches(lock: &Lock) {
    let cache = tempfile::tempdir().unwrap();
    // The small ones of both platforms: a few megabytes in all.
    let small: Vec<_> = lock.inputs.iter().filter(|input| input.size < 100_000).collect();
    assert!(small.len() > 20);
    let online = Inputs::new(cache.path()).with_mirrors(host().mirrors, host().access);
    match online.fetch(&small, false, &unwatched) {
        Ok(fetched) => assert_eq!(fetched.len(), small.len()),
        Err(error) if error.class() == Class::Net => return println!("skipped: fetching: {error}"),
        Err(error) => panic!("{error}"),
    }
    for (input, path) in Inputs::new(cache.path()).fetch(&small, true, &unwatched).unwrap() {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (input.size, input.digest), "{}", input.name);
    }
}

#[test]
fn an_archive_without_a_mirror_is_an_error_that_says_what_to_write() {
    let apt = Apt { mirrors: Mirrors::default(), ..host() };
    let error = lock::lock(&base(), &[], &apt, &[], &inputs(), &unwatched).unwrap_err();
    if matches!(error, LockingError::Apt(AptError::NoApt(_) | AptError::NoKeyring { .. })) {
        println!("skipped: {error}");
        return;
    }
    assert_eq!((error.class(), error.code()), (Class::Usage, "no-mirror"));
    assert!(error.to_string().contains("--mirror debian="), "{error}");
}

#[test]
fn refuses_a_platform_that_the_template_does_not_declare() {
    let error =
        lock::lock(&base(), &["linux/s390x".parse().unwrap()], &host(), &[], &inputs(), &unwatched).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Usage, "platform-not-declared"));
}
