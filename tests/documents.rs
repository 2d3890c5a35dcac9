//! The documents that describe an image: golden bytes, the official schemas, and what hostile input does to them.
//!
//! `BULLA_BLESS=1` writes the golden files anew. The official schemas are data of others and not in this repository:
//! `BULLA_SCHEMAS` names a folder with `spdx-2.3.schema.json` (spdx-spec, branch support/2.3),
//! `bom-1.6.schema.json`, `spdx.schema.json` and `jsf-0.82.schema.json` (CycloneDX specification).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use bulla::attestation::provenance::{Provenance, ResourceDescriptor, SLSA_V1, SLSA_V02};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::oci::Platform;
use bulla::sbom::{self, Described, Format, Inventory, SbomError, Scanner, Seen};
use serde_json::{Map, Value, json};

const SPDX: &str = "https://spdx.dev/Document";
const CYCLONEDX: &str = "https://cyclonedx.org/bom";

const OS_RELEASE: &str = "\
PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"
ID=debian
VERSION_ID=\"13\"
VERSION_CODENAME=trixie
";

const STATUS: &str = "\
Package: git
Status: install ok installed
Maintainer: Somebody <somebody@example.org>
Architecture: amd64
Version: 1:2.47.3-0+deb13u1
Description: a field
 over two lines

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Source: gcc-14
Version: 14.2.0-19

Package: gcc-14-base
Status: install ok installed
Architecture: amd64
Source: gcc-14
Version: 14.2.0-19

Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.41-12)
Version: 2.41-12+b1

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 9
";

const GIT_COPYRIGHT: &str = "\
Format: https://example.test/copyright-format/1.0/

Files: *
Copyright: somebody
License: GPL-2

Files: contrib/*
Copyright: somebody else
License: Expat or public-domain

License: GPL-2
 words
";

const GCC_COPYRIGHT: &str = "\
Format: https://example.test/copyright-format/1.0/

Files: *
Copyright: somebody
License: GPL-3+ with GCC-Runtime exception
";

/// A small Debian system with an npm and a Python package, in the order of a walk.
fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        ("etc/os-release", OS_RELEASE),
        (
            "usr/lib/node_modules/@acme/agent/package.json",
            r#"{"name":"@acme/agent","version":"1.4.0","license":"Apache-2.0"}"#,
        ),
        (
            "usr/lib/python3/dist-packages/six-1.17.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\nLicense: MIT\n\n",
        ),
        ("usr/share/doc/gcc-14-base/copyright", GCC_COPYRIGHT),
        ("usr/share/doc/git/copyright", GIT_COPYRIGHT),
        ("usr/share/doc/libc6/copyright", "This is prose about glibc.\n"),
        ("var/lib/dpkg/status", STATUS),
    ]
}

fn scan(files: &[(&str, &str)]) -> Result<Inventory, SbomError> {
    let mut scanner = Scanner::new();
    for (path, content) in files {
        assert!(scanner.wants(path), "{path}");
        scanner.file(path, content.as_bytes());
    }
    scanner.seen("usr/share/doc/libstdc++6", Seen::Link("gcc-14-base"));
    scanner.seen("usr/bin/git", Seen::File);
    scanner.seen("lib", Seen::Link("usr/lib"));
    scanner.finish()
}

fn described<'a>(digest: &'a Digest, platform: &'a Platform) -> Described<'a> {
    Described { name: "base", digest, platform, created: 1_767_225_600, tool: "bulla", tool_version: "0.0.0-test" }
}

fn image() -> (Digest, Platform) {
    (Digest::of(b"image"), "linux/amd64".parse().unwrap())
}

fn documents_of(inventory: &Inventory) -> (Vec<u8>, Vec<u8>) {
    let (digest, platform) = image();
    let described = described(&digest, &platform);
    (sbom::spdx::write(inventory, &described), sbom::cyclonedx::write(inventory, &described))
}

fn documents() -> (Vec<u8>, Vec<u8>) {
    documents_of(&scan(&files()).unwrap())
}

fn provenance() -> Provenance {
    let digest = Digest::of(b"input");
    Provenance {
        build_type: "https://example.org/build-type/v1".to_owned(),
        external_parameters: Map::from_iter([
            ("template".to_owned(), json!("base")),
            ("platform".to_owned(), json!("linux/amd64")),
            ("network".to_owned(), json!("none")),
            ("arguments".to_owned(), json!({})),
        ]),
        internal_parameters: Map::from_iter([("engine".to_owned(), json!({"version": "1.28.2", "name": "buildah"}))]),
        resolved_dependencies: vec![
            ResourceDescriptor::commit("git+https://example.org/templates@refs/tags/v1", "00".repeat(20)),
            ResourceDescriptor::new("pkg:deb/debian/git@1:2.47.3-0%2Bdeb13u1?arch=amd64&distro=trixie", &digest)
                .named("git")
                .typed("application/vnd.debian.binary-package"),
        ],
        builder_id: "https://example.org/local-rebuild".to_owned(),
        builder_version: [("bulla".to_owned(), "0.0.0-test".to_owned())].into(),
        invocation_id: Some("00000000".to_owned()),
        started_on: Some("2026-01-01T00:00:00Z".to_owned()),
        finished_on: Some("2026-01-01T00:00:15Z".to_owned()),
        byproducts: vec![ResourceDescriptor::output("sbom.spdx.json", &digest).typed("application/spdx+json")],
        config_source: None,
    }
}

fn golden(name: &str, actual: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("BULLA_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read(&path).unwrap();
    let (actual, expected) = (String::from_utf8_lossy(actual), String::from_utf8_lossy(&expected));
    assert_eq!(actual, expected, "{name} (BULLA_BLESS=1 rewrites it)");
}

#[test]
fn writes_the_golden_documents() {
    let (spdx, cyclonedx) = documents();
    golden("sbom/base.spdx.json", &spdx);
    golden("sbom/base.cdx.json", &cyclonedx);
    golden("provenance/base.json", &provenance().write());
}

#[test]
fn the_order_of_the_walk_is_no_matter() {
    let mut backwards = files();
    backwards.reverse();
    assert_eq!(scan(&backwards).unwrap(), scan(&files()).unwrap());
}

#[test]
fn finds_packages_with_their_licences() {
    let inventory = scan(&files()).unwrap();
    let found: Vec<(&str, Option<&str>)> =
        inventory.packages.iter().map(|package| (package.purl.as_str(), package.licence.as_deref())).collect();
    let git = Some("GPL-2.0-only AND (MIT OR LicenseRef-public-domain)");
    let gcc = Some("LicenseRef-GPL-3-or-later-with-GCC-Runtime-exception");
    assert_eq!(
        found,
        [
            ("pkg:deb/debian/gcc-14-base@14.2.0-19?arch=amd64&distro=debian-13", gcc),
            ("pkg:deb/debian/git@1:2.47.3-0%2Bdeb13u1?arch=amd64&distro=debian-13", git),
            ("pkg:deb/debian/libc6@2.41-12%2Bb1?arch=amd64&distro=debian-13", None),
            // Its copyright is behind a link to another package's folder.
            ("pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13", gcc),
            ("pkg:npm/%40acme/agent@1.4.0", Some("Apache-2.0")),
            ("pkg:pypi/six@1.17.0", Some("MIT")),
        ]
    );
}

#[test]
fn an_image_without_a_database_is_empty_and_its_documents_too() {
    let inventory = Scanner::new().finish().unwrap();
    assert_eq!(inventory, Inventory::default());
    let (spdx, cyclonedx) = documents_of(&inventory);
    for (predicate_type, bytes) in [(SPDX, spdx), (CYCLONEDX, cyclonedx)] {
        let summary = sbom::read(predicate_type, &bytes).unwrap();
        assert_eq!((summary.count(), summary.packages.len()), (0, 1), "the image alone");
    }
}

#[test]
fn refuses_a_database_that_cannot_be_read() {
    let refuse = |act: &dyn Fn(&mut Scanner)| {
        let mut scanner = Scanner::new();
        act(&mut scanner);
        let error = scanner.finish().unwrap_err();
        assert_eq!(error.class(), Class::Sbom, "{error}");
        error.to_string()
    };
    let message = refuse(&|scanner| scanner.file("var/lib/dpkg/status", b"\x1f\x8b binary"));
    assert!(message.contains("var/lib/dpkg/status"), "{message}");
    refuse(&|scanner| scanner.file("lib/apk/db/installed", b"binary"));
    refuse(&|scanner| scanner.file("var/lib/dpkg/status.d/base", b"binary"));
    refuse(&|scanner| scanner.file("etc/os-release", b"ID=a/b"));
    // Behind a link, or of a kind that is not understood: never passed over.
    refuse(&|scanner| scanner.seen("var/lib/dpkg/status", Seen::Link("/etc/status")));
    refuse(&|scanner| scanner.seen("var/lib/dpkg", Seen::Link("../elsewhere")));
    refuse(&|scanner| scanner.seen("var/lib/dpkg/status.d", Seen::Link("../elsewhere")));
    refuse(&|scanner| scanner.seen("var/lib/dpkg/status.d/base", Seen::Link("../status")));
    refuse(&|scanner| scanner.seen("var", Seen::Link("srv")));
    refuse(&|scanner| scanner.seen("lib", Seen::Link("srv/lib")));
    refuse(&|scanner| scanner.seen("var/lib/dpkg/status", Seen::Other));
    refuse(&|scanner| scanner.seen("var/lib/dpkg/status", Seen::File));
    for rpm in ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/Packages"] {
        refuse(&|scanner| {
            assert!(!scanner.wants(rpm));
            scanner.seen(rpm, Seen::File);
        });
    }
    // A good file after it does not undo a bad one.
    refuse(&|scanner| {
        scanner.file("var/lib/dpkg/status", b"bad");
        scanner.file("var/lib/dpkg/status", STATUS.as_bytes());
    });
}

#[test]
fn wants_nothing_else() {
    let scanner = Scanner::new();
    for path in [
        "var/lib/dpkg/status-old",
        "VAR/lib/dpkg/status",
        "var/lib/dpkg/status.d/base.md5sums",
        "srv/var/lib/dpkg/status",
        "usr/share/doc/a/b/copyright",
        "package.json",
        "etc/passwd",
        "",
    ] {
        assert!(!scanner.wants(path), "{path}");
    }
    assert!(scanner.wants("./var/lib/dpkg/status") && scanner.wants("/var/lib/dpkg/status"));
}

#[test]
fn reads_what_it_writes() {
    let (spdx, cyclonedx) = documents();
    for (predicate_type, bytes, format, version) in
        [(SPDX, &spdx, Format::Spdx, "2.3"), (CYCLONEDX, &cyclonedx, Format::CycloneDx, "1.6")]
    {
        let summary = sbom::read(predicate_type, bytes).unwrap();
        assert_eq!((summary.format, summary.version.as_str()), (format, version));
        // The image and its operating system are listed and do not count.
        assert_eq!((summary.count(), summary.packages.len()), (6, 8));
        assert_eq!(summary.described, [image().0]);
        assert_eq!(summary.root().unwrap().name, "base");
    }
}

#[test]
fn l12_another_image_gives_another_document() {
    let (digest, platform) = (Digest::of(b"other"), image().1);
    let inventory = scan(&files()).unwrap();
    let other = described(&digest, &platform);
    let (spdx, cyclonedx) = documents();
    for (mine, others, key) in [
        (spdx, sbom::spdx::write(&inventory, &other), "documentNamespace"),
        (cyclonedx, sbom::cyclonedx::write(&inventory, &other), "serialNumber"),
    ] {
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()[key].clone();
        assert!(value(&mine).is_string());
        assert_ne!(value(&mine), value(&others));
    }
}

/// The folder that an environment variable names, or nothing, said aloud.
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {variable} is not set");
    }
    folder
}

#[test]
fn documents_are_valid_by_the_official_schemas() {
    let Some(folder) = folder("BULLA_SCHEMAS") else { return };
    let schema = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let registry = jsonschema::Registry::new()
        .add("http://cyclonedx.org/schema/spdx.schema.json", schema("spdx.schema.json"))
        .unwrap()
        .add("http://cyclonedx.org/schema/jsf-0.82.schema.json", schema("jsf-0.82.schema.json"))
        .unwrap()
        .prepare()
        .unwrap();
    for inventory in [scan(&files()).unwrap(), Inventory::default(), hostile()] {
        let (spdx, cyclonedx) = documents_of(&inventory);
        for (name, bytes) in [("spdx-2.3.schema.json", spdx), ("bom-1.6.schema.json", cyclonedx)] {
            let schema = schema(name);
            let validator =
                jsonschema::options().with_registry(&registry).should_validate_formats(true).build(&schema).unwrap();
            let document: Value = serde_json::from_slice(&bytes).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
            assert!(!validator.is_valid(&json!({"spdxVersion": 5, "bomFormat": 5})), "{name} takes anything");
        }
    }
}

/// What a hostile image can bring into an inventory.
fn hostile() -> Inventory {
    let mut scanner = Scanner::new();
    scanner.file("node_modules/a\"b\n/package.json", b"not JSON");
    scanner.file(
        "node_modules/c/package.json",
        r#"{"name":"</script>","version":"1\u001b[31m","license":"a\"b\\ (c"}"#.as_bytes(),
    );
    scanner.file("x-1.dist-info/METADATA", "Name: \u{202e}evil\nVersion: ${jndi}\nLicense: (((\n".as_bytes());
    scanner.finish().unwrap()
}

#[test]
fn hostile_names_stay_inside_their_strings() {
    let inventory = hostile();
    assert_eq!(inventory.packages.len(), 3);
    let (spdx, cyclonedx) = documents_of(&inventory);
    for bytes in [spdx, cyclonedx] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
        serde_json::from_str::<Value>(&text).unwrap();
    }
}

#[test]
fn reads_the_provenance_of_others() {
    let Some(vectors) = folder("BULLA_VECTORS") else { return };
    let mut seen = Vec::new();
    for statement in statements(&vectors) {
        let predicate_type = statement["predicateType"].as_str().unwrap_or_default().to_owned();
        if !predicate_type.starts_with("https://slsa.dev/provenance/") {
            continue;
        }
        let predicate = serde_json::to_vec(&statement["predicate"]).unwrap();
        let read = Provenance::parse(&predicate_type, &predicate).unwrap();
        assert!(read.builder_id.starts_with("https://"), "{}", read.builder_id);
        assert!(!read.resolved_dependencies[0].digest.is_empty());
        match predicate_type.as_str() {
            SLSA_V02 => {
                let source = read.config_source.unwrap();
                assert!(source.uri.unwrap().starts_with("git+https://github.com/slsa-framework/example-package@"));
                assert_eq!(source.digest["sha1"].len(), 40);
                assert!(source.entry_point.unwrap().starts_with(".github/workflows/"));
            }
            SLSA_V1 => {
                assert!(!read.external_parameters.is_empty());
                assert!(read.invocation_id.unwrap().contains("/actions/runs/"));
            }
            other => panic!("{other}"),
        }
        seen.push(predicate_type);
    }
    assert!(seen.iter().any(|kind| kind == SLSA_V1) && seen.iter().any(|kind| kind == SLSA_V02), "{seen:?}");
}

/// Every DSSE payload in the vectors: bundles, lines of bundles, bare envelopes.
fn statements(folder: &Path) -> Vec<Value> {
    use base64::Engine as _;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What others must refuse need not be provenance.
        if path.to_string_lossy().ends_with("_fail") {
            continue;
        }
        if path.is_dir() {
            found.extend(statements(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 4 << 20 || bytes.first() != Some(&b'{') {
            continue;
        }
        for document in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().map_while(Result::ok) {
            let envelope = if document["dsseEnvelope"].is_object() { &document["dsseEnvelope"] } else { &document };
            let Some(payload) = envelope["payload"].as_str() else { continue };
            let Ok(payload) = base64::engine::general_purpose::STANDARD.decode(payload) else { continue };
            found.extend(serde_json::from_slice::<Value>(&payload).ok());
        }
    }
    found
}

/// A fixed sequence that looks random (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    /// Changes, removes, repeats or adds in a few places.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let start = self.below(bytes.len() + 1);
            let end = (start + self.below(40)).min(bytes.len());
            match self.below(5) {
                0 if start < bytes.len() => bytes[start] = u8::try_from(self.below(256)).unwrap(),
                1 => drop(bytes.drain(start..end)),
                2 => {
                    let piece = bytes[start..end].to_vec();
                    drop(bytes.splice(start..start, piece));
                }
                3 => bytes.truncate(start),
                _ => bytes.insert(start, b"\n:\"{}[],\0\xff"[self.below(10)]),
            }
        }
        bytes
    }
}

#[test]
fn mutated_databases_never_panic_and_give_documents_that_are_read_back_whole() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let apk = b"P:a\nV:1\nA:x86_64\nL:MIT\no:b\n\nP:c\nV:2\n";
    let mut whole = 0;
    for _ in 0..2_000 {
        let mut scanner = Scanner::new();
        // One file at a time, so that the others still get as far as a document.
        let victim = dice.below(files().len() + 1);
        for (index, (path, content)) in files().into_iter().enumerate() {
            let content = content.as_bytes();
            scanner.file(path, &if index == victim { dice.mutate(content) } else { content.to_vec() });
        }
        scanner.file("lib/apk/db/installed", &if victim == files().len() { dice.mutate(apk) } else { apk.to_vec() });
        match scanner.finish() {
            Err(error) => assert!(matches!(error.class(), Class::Sbom | Class::Limit), "{error}"),
            Ok(inventory) => {
                whole += 1;
                for package in &inventory.packages {
                    assert!(!package.name.is_empty());
                    assert!(package.purl.parse::<packageurl::PackageUrl<'_>>().is_ok(), "{}", package.purl);
                }
                let (spdx, cyclonedx) = documents_of(&inventory);
                assert_eq!(sbom::read(SPDX, &spdx).unwrap().count(), inventory.packages.len());
                assert_eq!(sbom::read(CYCLONEDX, &cyclonedx).unwrap().count(), inventory.packages.len());
            }
        }
    }
    assert!(whole > 100, "only {whole} inventories survived");
}

#[test]
fn d08_mutated_documents_never_panic() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (spdx, cyclonedx) = documents();
    let provenance = provenance().write();
    for _ in 0..1_500 {
        for (predicate_type, bytes) in [(SPDX, &spdx), (CYCLONEDX, &cyclonedx)] {
            if let Err(error) = sbom::read(predicate_type, &dice.mutate(bytes)) {
                assert!(matches!(error.class(), Class::Sbom | Class::Format | Class::Limit), "{error}");
            }
        }
        if let Ok(read) = Provenance::parse(SLSA_V1, &dice.mutate(&provenance)) {
            assert!(!read.builder_id.is_empty() && !read.build_type.is_empty());
        }
    }
}
