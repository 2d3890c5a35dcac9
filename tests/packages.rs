//! Locking and fetching npm packages and wheels, from registries that lie and, where there is one, from a real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are the failure")]

#[path = "support/mirror.rs"]
mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use bulla::adapters::inputs::{Inputs, Pace};
use bulla::adapters::packages::{PackageError, npm, pypi};
use bulla::adapters::sources::{Access, HostClients, Mirrors};
use bulla::adapters::unwatched;
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::lockfile::{Input, Kind, Lock, Release};
use bulla::oci::Platform;
use bulla::template::{NpmInput, WheelInput};
use mirror::{Answer, Mirror};
use sha2::Digest as _;

fn platforms() -> [Platform; 2] {
    ["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()]
}

/// Inputs kept here, with these archives and nothing of the host.
fn inputs(cache: &Path, archives: &[(&str, &Mirror)]) -> Inputs {
    let mirrors = archives.iter().map(|(archive, mirror)| format!("{archive}={}", mirror.url()));
    let pace = Pace {
        connect: Duration::from_secs(2),
        stall: Duration::from_millis(400),
        tries: 2,
        back_off: Duration::from_millis(5),
        ..Pace::default()
    };
    Inputs::new(cache).with_mirrors(Mirrors::parse(mirrors).unwrap(), Access::default()).with_pace(pace)
}

/// An archive as npm makes it, with this package.json.
fn tgz(package_json: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in [("package.json", package_json)].iter().chain(more) {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, format!("package/{path}"), content.as_bytes()).unwrap();
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&builder.into_inner().unwrap()).unwrap();
    gz.finish().unwrap()
}

fn integrity(bytes: &[u8]) -> String {
    format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(sha2::Sha512::digest(bytes)))
}

/// What a registry has: packages by name, their versions with their archives and further fields.
#[derive(Default)]
struct Registry(BTreeMap<String, BTreeMap<String, (serde_json::Value, Vec<u8>)>>);

impl Registry {
    fn add(&mut self, name: &str, version: &str, more: &str) -> &mut Self {
        let json = format!(r#"{{"name":"{name}","version":"{version}"{more}}}"#);
        let archive = tgz(&json, &[("agent", "#!/bin/sh\n")]);
        self.with(name, version, more, archive)
    }

    fn with(&mut self, name: &str, version: &str, more: &str, archive: Vec<u8>) -> &mut Self {
        let json = format!(r#"{{"name":"{name}","version":"{version}"{more}}}"#);
        let mut manifest: serde_json::Value = serde_json::from_str(&json).unwrap();
        let plain = name.rsplit('/').next().unwrap();
        let tarball = format!("http://elsewhere.test/{name}/-/{plain}-{version}.tgz");
        manifest["dist"] = serde_json::json!({ "tarball": tarball, "integrity": integrity(&archive) });
        self.0.entry(name.to_owned()).or_default().insert(version.to_owned(), (manifest, archive));
        self
    }

    fn publish(&self, mirror: &Mirror) {
        for (name, versions) in &self.0 {
            let all: serde_json::Map<_, _> =
                versions.iter().map(|(version, (manifest, _))| (version.clone(), manifest.clone())).collect();
            let latest = versions.keys().next_back().unwrap();
            let document = serde_json::json!({ "name": name, "dist-tags": { "latest": latest }, "versions": all });
            let address = name.replace('/', "%2f");
            mirror.put(&address, [Answer::Typed("application/json", document.to_string().into_bytes())]);
            for (version, (_, archive)) in versions {
                mirror.put(&path(name, version), [Answer::File(archive.clone())]);
            }
        }
    }

    fn start(&self) -> Mirror {
        let mirror = Mirror::start();
        self.publish(&mirror);
        mirror
    }
}

fn path(name: &str, version: &str) -> String {
    format!("{name}/-/{}-{version}.tgz", name.rsplit('/').next().unwrap())
}

/// An agent with a package for each platform, one of them under an alias.
fn agent() -> Registry {
    let mut registry = Registry::default();
    let optional = r#","license":"MIT","scripts":{"postinstall":"node install.js"},"optionalDependencies":
        {"@s/agent-x64":"1.0.0","@s/agent-arm64":"npm:@s/agent@1.0.0-linux-arm64"}"#;
    registry.add("@s/agent", "1.0.0", optional);
    registry.add("@s/agent-x64", "1.0.0", r#","os":["linux"],"cpu":["x64"],"libc":["glibc"]"#);
    registry.add("@s/agent", "1.0.0-linux-arm64", r#","os":["linux"],"cpu":["arm64"],"license":"Apache-2.0""#);
    registry
}

fn wanted() -> NpmInput {
    let of = |platform: &str, package: &str| (platform.parse().unwrap(), package.to_owned());
    NpmInput {
        name: "agent".to_owned(),
        package: "@s/agent".to_owned(),
        version: "^1.0.0".to_owned(),
        archive: "npm".to_owned(),
        platforms: BTreeMap::from([of("linux/amd64", "@s/agent-x64"), of("linux/arm64", "@s/agent-arm64")]),
        unrun_scripts: BTreeSet::new(),
    }
}

/// A package that is the same for every platform.
fn plain(package: &str) -> NpmInput {
    let name = package.rsplit('/').next().unwrap().to_owned();
    NpmInput { name, package: package.to_owned(), platforms: BTreeMap::new(), ..wanted() }
}

fn lock(registry: &Registry, wanted: &[NpmInput]) -> Result<Vec<Input>, PackageError> {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), registry.start());
    npm::resolve(&inputs(cache.path(), &[("npm", &mirror)]), wanted, &platforms(), &unwatched)
}

fn refused(registry: &Registry, wanted: &NpmInput, code: &str, parts: &[&str]) {
    let error = lock(registry, std::slice::from_ref(wanted)).expect_err(code);
    assert_eq!(error.code(), code, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn the_package_of_each_platform_is_locked_and_fetched() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), agent().start());
    let online = inputs(cache.path(), &[("npm", &mirror)]);
    let locked = npm::resolve(&online, &[wanted()], &platforms(), &unwatched).unwrap();
    let told: Vec<_> = locked.iter().map(|input| (input.purl(), input.file_name(), input.licence.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("pkg:npm/%40s/agent-x64@1.0.0".to_owned(), "agent.tgz", Some("MIT")),
            ("pkg:npm/%40s/agent@1.0.0-linux-arm64".to_owned(), "agent.tgz", Some("Apache-2.0")),
        ]
    );
    // A lock of it is a lock, and names no host.
    let release = Release {
        archive: "debian".to_owned(),
        suite: "trixie".to_owned(),
        date: "2026-01-01T00:00:00Z".parse().unwrap(),
        digest: Digest::of(b"x"),
        expired: false,
    };
    let lock = Lock::new(Digest::of(b"t"), "trixie", vec![release], locked.clone()).unwrap();
    assert_eq!(Lock::parse(lock.write().as_bytes()).unwrap(), lock);
    assert!(!lock.write().contains("://"));
    // What was read to be locked is here; a second lock reads no archive again.
    let before = mirror.requests().len();
    assert_eq!(npm::resolve(&online, &[wanted()], &platforms(), &unwatched).unwrap(), locked);
    assert_eq!(mirror.requests().len(), before + 2, "{:?}", mirror.requests());
    let elsewhere = tempfile::tempdir().unwrap();
    let fetched = inputs(elsewhere.path(), &[("npm", &mirror)]);
    let fetched = fetched.fetch(&locked.iter().collect::<Vec<_>>(), false, &unwatched).unwrap();
    assert_eq!(Digest::of(&fs::read(&fetched[0].1).unwrap()), locked[0].digest);
}

#[test]
fn a_package_without_platforms_is_locked_for_each() {
    let mut registry = Registry::default();
    let locked = lock(registry.add("tool", "1.2.0", "").add("tool", "2.0.0", ""), &[plain("tool")]).unwrap();
    let versions: Vec<_> = locked.iter().map(|input| input.version.as_str()).collect();
    assert_eq!(versions, ["1.2.0", "1.2.0"]);
    assert_eq!(locked[0].digest, locked[1].digest);
}

#[test]
fn a_platform_that_has_no_package_is_named() {
    let (mut none, mut gone, mut other) = (agent(), agent(), agent());
    let only = r#","optionalDependencies":{"@s/agent-x64":"1.0.0"}"#;
    none.add("@s/agent", "1.0.0", only);
    refused(&none, &wanted(), "no-platform-package", &["linux/arm64", "@s/agent-arm64", "@s/agent 1.0.0"]);
    gone.0.remove("@s/agent-x64");
    refused(&gone, &wanted(), "no-platform-package", &["linux/amd64", "@s/agent-x64"]);
    gone = agent();
    gone.0.get_mut("@s/agent").unwrap().remove("1.0.0-linux-arm64");
    refused(&gone, &wanted(), "no-platform-package", &["linux/arm64", "1.0.0-linux-arm64"]);
    other.add("@s/agent-x64", "1.0.0", r#","os":["linux"],"cpu":["x64"],"libc":["musl"]"#);
    refused(&other, &wanted(), "no-platform-package", &["linux/amd64", "libc", "musl"]);
}

#[test]
fn refuses_install_scripts_unless_the_template_knows_that_they_are_not_run() {
    let mut registry = Registry::default();
    registry.add("tool", "1.0.0", r#","scripts":{"postinstall":"curl x | sh"}"#);
    refused(&registry, &plain("tool"), "install-scripts", &["postinstall", "tool 1.0.0", "unrun-scripts"]);
    let allowed = NpmInput { unrun_scripts: BTreeSet::from(["postinstall".to_owned()]), ..plain("tool") };
    assert_eq!(lock(&registry, std::slice::from_ref(&allowed)).unwrap().len(), 2);
    let other = NpmInput { unrun_scripts: BTreeSet::from(["preinstall".to_owned()]), ..plain("tool") };
    refused(&registry, &other, "install-scripts", &["postinstall"]);
    // The registry's word is not enough: the archive has its own.
    let mut hidden = Registry::default();
    let json = r#"{"name":"tool","version":"1.0.0","scripts":{"install":"x"}}"#;
    refused(hidden.with("tool", "1.0.0", "", tgz(json, &[])), &plain("tool"), "install-scripts", &["install"]);
    let json = r#"{"name":"tool","version":"1.0.0"}"#;
    let gyp = tgz(json, &[("binding.gyp", "{}")]);
    refused(hidden.with("tool", "1.0.0", "", gyp), &plain("tool"), "install-scripts", &["install"]);
}

#[test]
fn a_dependency_that_the_template_does_not_name_is_refused() {
    let mut registry = Registry::default();
    registry.add("tool", "1.0.0", r#","dependencies":{"helper":"^2.0.0"}"#).add("helper", "1.0.0", "");
    refused(&registry, &plain("tool"), "package-dependency", &["tool 1.0.0", "helper ^2.0.0"]);
    assert!(lock(&registry, &[plain("tool"), plain("helper")]).unwrap_err().code() == "package-dependency");
    registry.add("helper", "2.1.0", "");
    let helper = NpmInput { version: "2.1.0".to_owned(), ..plain("helper") };
    assert_eq!(lock(&registry, &[plain("tool"), helper]).unwrap().len(), 4);
}

#[test]
fn refuses_an_archive_that_is_not_what_the_registry_says() {
    let good = || {
        let mut registry = Registry::default();
        registry.add("tool", "1.0.0", "");
        registry
    };
    let other = |json: &str| tgz(json, &[]);
    // Another valid archive under the path.
    let mut swapped = good();
    swapped.0.get_mut("tool").unwrap().get_mut("1.0.0").unwrap().1 = other(r#"{"name":"tool","version":"1.0.0"}"#);
    refused(&swapped, &plain("tool"), "package-differs", &["tool 1.0.0", "integrity"]);
    // An archive of another version or package, with its own integrity.
    for json in [r#"{"name":"tool","version":"1.0.1"}"#, r#"{"name":"fool","version":"1.0.0"}"#, "{}", "no json"] {
        let mut registry = good();
        refused(registry.with("tool", "1.0.0", "", other(json)), &plain("tool"), "package-differs", &["tool 1.0.0"]);
    }
    let mut registry = good();
    refused(registry.with("tool", "1.0.0", "", b"no gzip".to_vec()), &plain("tool"), "package-differs", &[]);
    // Less than a SHA-512, and an archive at another place than registries have.
    for (key, value) in [("integrity", "sha1-AAAA"), ("tarball", "http://elsewhere.test/tool.tgz")] {
        let mut registry = good();
        registry.0.get_mut("tool").unwrap().get_mut("1.0.0").unwrap().0["dist"][key] = value.into();
        refused(&registry, &plain("tool"), "package-not-understood", &["tool 1.0.0"]);
    }
    // A document about another package or version.
    for key in ["name", "version"] {
        let mut registry = good();
        registry.0.get_mut("tool").unwrap().get_mut("1.0.0").unwrap().0[key] = "9.9.9".into();
        refused(&registry, &plain("tool"), "package-not-understood", &[]);
    }
}

#[test]
fn what_a_registry_answers_instead_is_an_error_of_its_class() {
    for (answer, class, code) in [
        (Answer::Status(404), Class::Build, "package-not-found"),
        (Answer::Status(401), Class::Auth, "package-denied"),
        (Answer::Status(500), Class::Net, "package-unreachable"),
        (Answer::Endless(vec![b' '; 1 << 20]), Class::Limit, "too-large"),
        (Answer::Typed("application/json", b"{".to_vec()), Class::Format, "package-not-understood"),
        (Answer::Nonsense, Class::Net, "package-unreachable"),
    ] {
        let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
        mirror.put("tool", [answer]);
        let from = inputs(cache.path(), &[("npm", &mirror)]);
        let error = npm::resolve(&from, &[plain("tool")], &platforms(), &unwatched).unwrap_err();
        assert_eq!((error.class(), error.code()), (class, code), "{error}");
    }
    let cache = tempfile::tempdir().unwrap();
    let error = npm::resolve(&inputs(cache.path(), &[]), &[plain("tool")], &platforms(), &unwatched).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Usage, "no-mirror"));
    assert!(error.to_string().contains("--mirror npm=URL"), "{error}");
}

#[test]
fn a_redirect_of_the_registry_is_followed_without_its_credentials() {
    let (cache, front) = (tempfile::tempdir().unwrap(), Mirror::start());
    let mut registry = Registry::default();
    let back = registry.add("tool", "1.0.0", "").start();
    for below in ["tool".to_owned(), path("tool", "1.0.0")] {
        front.put(&below, [Answer::With(302, format!("location: {}/{below}", back.url()))]);
    }
    let mirrors = Mirrors::parse([format!("npm=http://me:secret@{}/debian", front.host())]).unwrap();
    let from = Inputs::new(cache.path()).with_mirrors(mirrors, Access::default());
    assert_eq!(npm::resolve(&from, &[plain("tool")], &platforms(), &unwatched).unwrap().len(), 2);
    assert!(front.authorizations().iter().all(Option::is_some));
    assert!(back.authorizations().iter().all(Option::is_none), "credentials went along");
}

#[test]
fn an_input_must_have_both_hashes_of_its_lock() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), agent().start());
    let from = inputs(cache.path(), &[("npm", &mirror)]);
    let mut locked = npm::resolve(&from, &[wanted()], &platforms(), &unwatched).unwrap();
    let other = locked[1].integrity.clone();
    locked[0].integrity = other;
    let error = from.fetch(&locked.iter().collect::<Vec<_>>(), false, &unwatched).unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Integrity, "input-differs"));
    assert!(error.to_string().contains("@s/agent-x64"), "{error}");
}

const SIX: &str = "six-1.17.0-py2.py3-none-any.whl";

fn six() -> WheelInput {
    WheelInput {
        package: "six".to_owned(),
        version: ">=1.16,<2".to_owned(),
        python: (3, 13),
        archive: "pypi".to_owned(),
    }
}

/// A page with these files, each with this digest and further attributes.
fn page(mirror: &Mirror, project: &str, files: &[(&str, &[u8], &str)]) {
    let links = files.iter().map(|(file, bytes, more)| {
        let hex = Digest::of(bytes).hex();
        format!("<a href=\"../../debian/kept/{file}#sha256={hex}\" {more}>{file}</a><br/>\n")
    });
    let page = format!("<!DOCTYPE html><html><body>{}</body></html>", links.collect::<String>());
    mirror.put(&format!("{project}/"), [Answer::Typed("text/html; charset=utf-8", page.into_bytes())]);
}

#[test]
fn a_wheel_is_locked_by_the_index_s_hash_and_fetched_from_where_it_says() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    let files: [(&str, &[u8], &str); 5] = [
        ("six-1.16.0-py2.py3-none-any.whl", b"old", ""),
        (SIX, b"six", "data-requires-python=\"&gt;=2.7\""),
        ("six-1.18.0-py3-none-any.whl", b"yanked", "data-yanked=\"\""),
        ("six-1.19.0-py3-none-any.whl", b"later", "data-requires-python=\"&gt;=3.14\""),
        ("six-2.0.0-py3-none-any.whl", b"two", ""),
    ];
    page(&mirror, "six", &files);
    mirror.put(&format!("kept/{SIX}"), [Answer::File(b"six".to_vec())]);
    let from = inputs(cache.path(), &[("pypi", &mirror)]);
    let locked = pypi::resolve(&from, &[six()], &platforms(), &unwatched).unwrap();
    assert_eq!((locked[0].kind, locked[0].version.as_str(), locked[0].size), (Kind::Wheel, "1.17.0", 3));
    assert_eq!(locked[0].purl(), format!("pkg:pypi/six@1.17.0?file_name={SIX}"));
    let elsewhere = tempfile::tempdir().unwrap();
    let fetch =
        |cache: &Path| inputs(cache, &[("pypi", &mirror)]).fetch(&locked.iter().collect::<Vec<_>>(), false, &unwatched);
    assert_eq!(fs::read(&fetch(elsewhere.path()).unwrap()[0].1).unwrap(), b"six");
    // Another file under the address, and a page that no longer lists it.
    mirror.put(&format!("kept/{SIX}"), [Answer::File(b"sex".to_vec())]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(fetch(empty.path()).unwrap_err().code(), "input-differs");
    let error = pypi::resolve(&inputs(empty.path(), &[("pypi", &mirror)]), &[six()], &platforms(), &unwatched);
    assert_eq!(error.unwrap_err().code(), "package-differs");
    page(&mirror, "six", &files[..1]);
    let error = fetch(empty.path()).unwrap_err();
    assert_eq!(error.code(), "input-gone");
    assert!(error.to_string().contains("its page does not list it"), "{error}");
}

#[test]
fn a_platform_without_a_wheel_is_named() {
    let (cache, mirror) = (tempfile::tempdir().unwrap(), Mirror::start());
    page(&mirror, "six", &[("six-1.17.0-cp313-cp313-manylinux_2_17_x86_64.whl", b"x", "")]);
    mirror.put("kept/six-1.17.0-cp313-cp313-manylinux_2_17_x86_64.whl", [Answer::File(b"x".to_vec())]);
    let from = inputs(cache.path(), &[("pypi", &mirror)]);
    let error = pypi::resolve(&from, &[six()], &platforms(), &unwatched).unwrap_err();
    assert_eq!(error.code(), "no-platform-package");
    assert!(error.to_string().contains("linux/arm64") && error.to_string().contains("3.13"), "{error}");
    let exact = WheelInput { version: "1.18.0".to_owned(), ..six() };
    assert_eq!(pypi::resolve(&from, &[exact], &platforms(), &unwatched).unwrap_err().code(), "no-such-version");
    let nonsense = WheelInput { version: "^1".to_owned(), ..six() };
    assert_eq!(pypi::resolve(&from, &[nonsense], &platforms(), &unwatched).unwrap_err().code(), "no-such-version");
}

#[test]
fn a_real_package_of_each_registry_is_locked_and_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let host = HostClients::from_env(|name| std::env::var_os(name));
    let from = Inputs::new(cache.path()).with_host_clients(host);
    let tool = NpmInput { version: "~2.1.0".to_owned(), ..plain("ms") };
    let npm = npm::resolve(&from, &[tool], &platforms(), &unwatched);
    let pypi = pypi::resolve(&from, &[six()], &platforms(), &unwatched);
    for (what, locked) in [("npm", npm), ("PyPI", pypi)] {
        let locked = match locked {
            Err(error) if matches!(error.class(), Class::Net | Class::Usage | Class::Auth) => {
                println!("skipped: a real package of {what}: {error}");
                continue;
            }
            locked => locked.unwrap(),
        };
        let wanted: Vec<_> = locked.iter().collect();
        let empty = tempfile::tempdir().unwrap();
        let host = HostClients::from_env(|name| std::env::var_os(name));
        let again = Inputs::new(empty.path()).with_host_clients(host).fetch(&wanted, false, &unwatched).unwrap();
        assert_eq!(again.len(), 2);
        println!("{}: {} bytes, {:?}", locked[0].purl(), locked[0].size, locked[0].licence);
    }
}
