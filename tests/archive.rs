//! Locking against a signed archive of our own: what is believed, what is chosen, what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/archive.rs"]
mod archive;
#[path = "support/mirror.rs"]
mod mirror;

use std::collections::BTreeMap;

use archive::{Key, Package, Suite};
use bulla::adapters::apt::Apt;
use bulla::adapters::inputs::Inputs;
use bulla::adapters::sources::{Access, Mirrors};
use bulla::adapters::unwatched;
use bulla::class::{Class, Classified};
use bulla::lock::{self, Drift, LockingError};
use bulla::lockfile::Lock;
use bulla::template::Template;
use mirror::{Answer, Mirror};

const TEMPLATE: &str = r#"version = 1
name = "tiny"
release = "1.0"
description = "A template for tests"
platforms = ["linux/amd64", "linux/arm64"]

[user]
name = "agent"
uid = 1000
gid = 1000
home = "/home/agent"

[deb]
distro = "test"
packages = ["tool"]

[[deb.archive]]
name = "debian"
suites = ["test"]
components = ["main"]

[[deb.archive]]
name = "debian-security"
suites = ["test-security"]
components = ["main"]

[launch]
memory = "512MiB"
pids = 64
network = "none"
"#;

const DATE: &str = "Thu, 01 Jan 2026 00:00:00 UTC";
const LATER: &str = "Fri, 02 Jan 2026 00:00:00 UTC";
const UNTIL: &str = "Thu, 08 Jan 2026 00:00:00 UTC";

const PACKAGES: &[Package] = &[
    Package("core", "1:1.0-1+b1", "amd64", "Essential: yes\nDepends: libcore (>= 1)\n"),
    Package("core", "1:1.0-1", "arm64", "Essential: yes\nDepends: libcore (>= 1)\n"),
    Package("libcore", "1.0", "amd64", ""),
    Package("libcore", "1.0", "arm64", ""),
    Package("tool", "2.0", "all", "Depends: data\nRecommends: bloat\n"),
    Package("data", "1.0", "all", ""),
    Package("bloat", "1.0", "all", ""),
];
const FIXES: &[Package] = &[Package("data", "1.0+fixed~1", "all", "")];

/// No inputs: Debian's packages are locked without reading any.
fn nowhere() -> Inputs {
    Inputs::new(std::path::Path::new("/nowhere"))
}

/// Both archives, as they should be, on a mirror each.
struct World {
    key: Key,
    plain: Mirror,
    security: Mirror,
}

impl World {
    fn start() -> Option<Self> {
        let world = Self { key: Key::generate()?, plain: Mirror::start(), security: Mirror::start() };
        Self::suite().publish(&world.plain, &world.key);
        Self::fixes().publish(&world.security, &world.key);
        Some(world)
    }

    fn suite() -> Suite<'static> {
        Suite { name: "test", date: DATE, until: None, packages: PACKAGES }
    }

    fn fixes() -> Suite<'static> {
        Suite { name: "test-security", date: LATER, until: Some(UNTIL), packages: FIXES }
    }

    fn apt(&self) -> Apt {
        let (plain, security) = (self.plain.url(), self.security.url());
        Apt {
            mirrors: Mirrors::parse([format!("debian={plain}"), format!("debian-security={security}")]).unwrap(),
            access: Access::default(),
            keyring: Some(self.key.keyring()),
            allow_expired: false,
            now: "2026-01-03T00:00:00Z".parse().unwrap(),
        }
    }

    /// The lock; where there is no apt, everything is skipped.
    fn lock(&self, template: &Template, apt: &Apt) -> Option<Result<Lock, LockingError>> {
        match lock::lock(template, &[], apt, &[], &nowhere(), &unwatched) {
            Err(error) if error.code() == "no-apt" => {
                println!("skipped: {error}");
                None
            }
            result => Some(result),
        }
    }

    fn refused(&self, apt: &Apt) -> Option<(Class, &'static str, String)> {
        let error = self.lock(&tiny(), apt)?.expect_err("a lock was made");
        Some((error.class(), error.code(), error.to_string()))
    }
}

fn tiny() -> Template {
    template(TEMPLATE)
}

fn template(manifest: &str) -> Template {
    let files = [("template.toml", manifest), ("Dockerfile", "FROM scratch\n")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    Template::from_files("tiny", BTreeMap::from(files)).unwrap()
}

#[test]
fn locks_the_essential_the_named_and_what_they_need_and_no_more() {
    let Some(world) = World::start() else { return };
    let Some(lock) = world.lock(&tiny(), &world.apt()) else { return };
    let lock = lock.unwrap();
    let of = |platform: &str| -> Vec<String> {
        let inputs = lock.for_platform(&platform.parse().unwrap());
        inputs.iter().map(|input| format!("{} {}", input.archive, input.display())).collect()
    };
    assert_eq!(
        of("linux/amd64"),
        [
            "debian core 1:1.0-1+b1 (amd64)",
            "debian-security data 1.0+fixed~1 (all)",
            "debian libcore 1.0 (amd64)",
            "debian tool 2.0 (all)",
        ]
    );
    assert_eq!(of("linux/arm64")[0], "debian core 1:1.0-1 (arm64)");
    assert_eq!(of("linux/arm64").len(), 4);
    assert_eq!(lock.inputs[0].path, "pool/main/core/core_1.0-1+b1_amd64.deb");
    assert_eq!(lock.source_date_epoch, 1_767_312_000, "the newest Release, 2 January");
    assert_eq!(lock.releases.len(), 2);
    assert!(lock.releases.iter().all(|release| !release.expired));
    let again = world.lock(&tiny(), &world.apt()).unwrap().unwrap();
    assert_eq!(again.write(), lock.write());
    let cache = tempfile::tempdir().unwrap();
    let from = Inputs::new(cache.path()).with_mirrors(world.apt().mirrors, Access::default());
    let inputs: Vec<_> = lock.inputs.iter().collect();
    assert_eq!(from.fetch(&inputs, false, &unwatched).unwrap().len(), 8);
}

#[test]
fn takes_nothing_from_an_archive_that_another_key_signed() {
    let (Some(world), Some(other)) = (World::start(), Key::generate()) else { return };
    World::fixes().publish(&world.security, &other);
    let Some((class, code, message)) = world.refused(&world.apt()) else { return };
    assert_eq!((class, code), (Class::Trust, "archive-untrusted"), "{message}");
    assert!(message.contains("debian-archive-keyring") && message.contains("--keyring"), "{message}");
}

#[test]
fn takes_nothing_from_an_archive_that_nobody_signed() {
    let Some(world) = World::start() else { return };
    World::suite().publish_with(&world.plain, |release| release.as_bytes().to_vec(), |index| index);
    let Some((class, _, message)) = world.refused(&world.apt()) else { return };
    assert!(matches!(class, Class::Trust | Class::Net), "{class}: {message}");
    world.plain.put("dists/test/Release", [Answer::File(b"Date: Thu, 01 Jan 2026 00:00:00 UTC\n".to_vec())]);
    world.plain.put("dists/test/InRelease", [Answer::Status(404)]);
    let (class, _, message) = world.refused(&world.apt()).unwrap();
    assert_eq!(class, Class::Trust, "{message}");
}

#[test]
fn takes_no_index_that_is_not_the_signed_one() {
    let Some(world) = World::start() else { return };
    let swap = |index: String| index.replacen("SHA256: ", "SHA256: 0", 1).replacen("Size: 1", "Size: 2", 1);
    let shorten = |index: String| index[..index.len() - 1].to_owned();
    let sign = |release: &str| world.key.clearsign(release);
    for damage in [&swap as &dyn Fn(String) -> String, &shorten] {
        World::suite().publish_with(&world.plain, sign, damage);
        let Some((class, code, message)) = world.refused(&world.apt()) else { return };
        assert_eq!((class, code), (Class::Integrity, "archive-differs"), "{message}");
    }
}

#[test]
fn an_expired_index_needs_a_flag_and_is_on_record() {
    let Some(world) = World::start() else { return };
    let expired = Apt { now: "2026-01-09T00:00:00Z".parse().unwrap(), ..world.apt() };
    let Some((class, code, message)) = world.refused(&expired) else { return };
    assert_eq!((class, code), (Class::Time, "archive-expired"));
    assert!(message.contains("test-security") && message.contains("--allow-expired"), "{message}");
    let lock = world.lock(&tiny(), &Apt { allow_expired: true, ..expired }).unwrap().unwrap();
    let of = |suite: &str| lock.releases.iter().find(|release| release.suite == suite).unwrap().expired;
    assert!(of("test-security") && !of("test"), "{:?}", lock.releases);
    assert!(lock.write().contains("expired = true\n"));
}

#[test]
fn an_archive_that_does_not_answer_is_no_lock() {
    let Some(world) = World::start() else { return };
    for answer in [Answer::Status(404), Answer::Status(500)] {
        world.security.put("dists/test-security/InRelease", [answer.clone()]);
        let Some((class, _, message)) = world.refused(&world.apt()) else { return };
        assert!(matches!(class, Class::Net | Class::Trust), "{class}: {message}");
    }
}

#[test]
fn what_cannot_be_installed_is_no_lock() {
    let Some(world) = World::start() else { return };
    let broken = [Package("tool", "2.1", "all", "Depends: not-in-the-archive\n")];
    Suite { packages: &broken, ..World::fixes() }.publish(&world.security, &world.key);
    let Some((class, code, message)) = world.refused(&world.apt()) else { return };
    assert_eq!((class, code), (Class::Build, "no-such-packages"));
    assert!(message.contains("not-in-the-archive"), "{message}");
}

#[test]
fn a_package_that_one_platform_has_not_is_no_lock() {
    let Some(world) = World::start() else { return };
    let one = [Package("gadget", "1.0", "amd64", "")];
    Suite { packages: &one, ..World::fixes() }.publish(&world.security, &world.key);
    let wants = template(&TEMPLATE.replace("\"tool\"", "\"gadget\""));
    let Some(result) = world.lock(&wants, &world.apt()) else { return };
    let error = result.unwrap_err();
    assert_eq!(error.code(), "no-such-packages");
    assert!(error.to_string().contains("linux/arm64") && error.to_string().contains("gadget"), "{error}");
}

#[test]
fn without_a_keyring_nothing_is_asked() {
    let Some(world) = World::start() else { return };
    let apt = Apt { keyring: Some("/nowhere/keyring.gpg".into()), ..world.apt() };
    let Some((class, code, message)) = world.refused(&apt) else { return };
    assert_eq!((class, code), (Class::Usage, "no-keyring"));
    assert!(message.contains("/nowhere/keyring.gpg"), "{message}");
    assert!(world.plain.requests().is_empty());
}

#[test]
fn a_template_that_changed_since_is_drift() {
    let Some(world) = World::start() else { return };
    let Some(lock) = world.lock(&tiny(), &world.apt()) else { return };
    let locked = tiny().with_lock(&lock.unwrap());
    assert_eq!(lock::check(&locked, &[]).unwrap(), Drift::None);
    let platform = "linux/amd64".parse().unwrap();
    assert!(lock::locked(&locked, &[], &platform).is_ok());
    let mut changed = locked.clone();
    changed.files.get_mut("Dockerfile").unwrap().bytes.push(b'\n');
    assert!(matches!(lock::check(&changed, &[]).unwrap(), Drift::Template { .. }));
    let error = lock::locked(&changed, &[], &platform).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Build, "lock-drift"));
    let one = lock::lock(&tiny(), std::slice::from_ref(&platform), &world.apt(), &[], &nowhere(), &unwatched).unwrap();
    let one = tiny().with_lock(&one);
    assert!(matches!(lock::check(&one, &[]).unwrap(), Drift::Platforms { missing, .. } if missing.len() == 1));
    assert!(lock::locked(&one, &[], &platform).is_ok());
    assert!(lock::locked(&one, &[], &"linux/arm64".parse().unwrap()).is_err());
    assert!(matches!(lock::check(&tiny(), &[]), Err(LockingError::Template(_))), "no lock at all");
}

#[test]
fn a_lock_is_written_whole_and_only_when_it_changed() {
    let Some(world) = World::start() else { return };
    let Some(lock) = world.lock(&tiny(), &world.apt()) else { return };
    let (lock, folder) = (lock.unwrap(), tempfile::tempdir().unwrap());
    assert!(lock::write(folder.path(), &lock).unwrap().1);
    let (path, changed) = lock::write(folder.path(), &lock).unwrap();
    assert!(!changed);
    assert_eq!(std::fs::read_to_string(path).unwrap(), lock.write());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
