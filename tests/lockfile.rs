//! `template.lock`: what is read is what would be written, and nothing else is read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

use std::fs;
use std::path::{Path, PathBuf};

use bulla::class::Classified;
use bulla::lockfile::{Kind, Lock, LockError};

const GOOD: &str = include_str!("../testdata/lockfile/two-platforms.lock");

const EVERY_KIND: &str = include_str!("../testdata/lockfile/every-kind.lock");

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/lockfile");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn reads_what_it_wrote_byte_for_byte() {
    for path in cases().iter().filter(|path| !path.to_string_lossy().ends_with("_fail.lock")) {
        let text = fs::read_to_string(path).unwrap();
        let lock = Lock::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(lock.write(), text, "{}", path.display());
        assert_eq!(Lock::parse(lock.write().as_bytes()).as_ref(), Ok(&lock));
    }
}

/// Each `_fail.lock` starts with `#! <code>: <part of the message>`; what follows that line is the case.
#[test]
fn refuses_every_case_that_must_fail_for_the_reason_it_names() {
    let mut count = 0;
    for path in cases().iter().filter(|path| path.to_string_lossy().ends_with("_fail.lock")) {
        let text = fs::read_to_string(path).unwrap();
        let (expected, case) = text.split_once('\n').unwrap();
        let (code, message) = expected.strip_prefix("#! ").and_then(|line| line.split_once(": ")).unwrap();
        let error = Lock::parse(case.as_bytes()).expect_err(&path.display().to_string());
        assert_eq!(error.code(), code, "{}: {error}", path.display());
        assert!(error.to_string().contains(message), "{}: {error}", path.display());
        count += 1;
    }
    assert!(count >= 10, "only {count} cases: where are the files?");
}

#[test]
fn refuses_an_empty_lock() {
    assert!(Lock::parse(b"").is_err());
    assert!(Lock::parse(b"version = 1\n").is_err());
}

/// Whatever is cut off or turned around in a lock: no panic, and what is still read is its own canonical form.
#[test]
fn no_two_spellings_read_as_one_lock() {
    for good in [GOOD, EVERY_KIND] {
        for end in 0..good.len() {
            // Cut before a table of inputs begins, a lock is a shorter lock: well-formed, and bound by its own digest.
            if let Ok(lock) = Lock::parse(&good.as_bytes()[..end]) {
                assert_eq!(lock.write().as_bytes(), &good.as_bytes()[..end]);
            }
        }
        for index in 0..good.len() {
            let mut bytes = good.as_bytes().to_vec();
            bytes[index] ^= 0x20;
            if let Ok(lock) = Lock::parse(&bytes) {
                assert_eq!(lock.write().as_bytes(), bytes, "two spellings of one lock, at byte {index}");
            }
        }
    }
}

#[test]
fn serves_each_platform_its_own() {
    let lock = Lock::parse(GOOD.as_bytes()).unwrap();
    let names = |platform: &str| -> Vec<String> {
        lock.for_platform(&platform.parse().unwrap()).iter().map(|input| input.name.clone()).collect()
    };
    assert_eq!(names("linux/amd64"), ["ca-certificates", "git"]);
    assert_eq!(names("linux/arm64"), ["ca-certificates"]);
    assert_eq!(names("linux/arm64/v8"), ["ca-certificates"]);
    assert!(names("linux/s390x").is_empty());
}

#[test]
fn names_packages_by_purl() {
    let lock = Lock::parse(GOOD.as_bytes()).unwrap();
    let purls: Vec<_> = lock.inputs.iter().map(|input| input.purl()).collect();
    assert_eq!(purls[0], "pkg:deb/debian/ca-certificates@20250419?arch=all&distro=trixie");
    assert_eq!(purls[1], "pkg:deb/debian/git@1:2.47.3-0%2Bdeb13u1?arch=amd64&distro=trixie");
}

#[test]
fn names_every_kind_by_purl_and_by_its_file() {
    let lock = Lock::parse(EVERY_KIND.as_bytes()).unwrap();
    let of = |platform: &str| -> Vec<String> {
        let inputs = lock.for_platform(&platform.parse().unwrap()).into_iter().skip_while(|one| one.kind == Kind::Deb);
        inputs.map(|one| format!("{}/{} {}", one.kind.folder(), one.file_name(), one.purl())).collect()
    };
    let wheel = "six-1.17.0-py2.py3-none-any.whl";
    let six = format!("wheels/{wheel} pkg:pypi/six@1.17.0?file_name={wheel}");
    assert_eq!(of("linux/arm64"), ["npm/agent.tgz pkg:npm/%40s/agent@1.0.0-linux-arm64", &six]);
    let tool = format!("files/tool.tar.gz pkg:generic/tool.tar.gz@2.0?checksum=sha256:{}", "a".repeat(64));
    assert_eq!(of("linux/amd64"), ["npm/agent.tgz pkg:npm/%40s/agent-x64@1.0.0", &six, &tool]);
}

#[test]
fn brings_its_inputs_into_order_and_refuses_doubles() {
    let lock = Lock::parse(GOOD.as_bytes()).unwrap();
    let mut reversed = lock.inputs.clone();
    reversed.reverse();
    let again = Lock::new(lock.template, &lock.distro, lock.releases.clone(), reversed.clone()).unwrap();
    assert_eq!(again, lock);
    reversed.push(lock.inputs[0].clone());
    let error = Lock::new(lock.template, &lock.distro, lock.releases.clone(), reversed).unwrap_err();
    assert!(matches!(error, LockError::Malformed { .. }), "{error}");
    assert!(Lock::new(lock.template, &lock.distro, lock.releases.clone(), Vec::new()).is_err());
    assert!(Lock::new(lock.template, &lock.distro, Vec::new(), lock.inputs.clone()).is_err());
}
