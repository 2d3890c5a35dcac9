//! Documents of others: what is taken is bounded and unambiguous, and is what the bytes say.

use bulla::adapters::registry::{Challenge, next_page};
use bulla::attestation::Statement;
use bulla::attestation::provenance::{Provenance, SLSA_V1, SLSA_V02};
use bulla::content::{Digest, limits};
use bulla::json::{self, Shape};
use bulla::oci::{ImageConfig, Manifest, Platform, names};
use bulla::reference::{ImageName, Reference};
use bulla::sbom::{self, Described, Scanner, Seen};
use bulla::sigstore::{Instance, PublicKey, TrustRoot};
use serde_json::Value;

const KNOWN: [&str; 4] = ["layers", "mediaType", "size", "kind"];
const SHAPE: Shape = Shape { name: "document", known: &KNOWN, opaque: &["annotations"] };

/// What the scan takes is one object, within bounds, without keys that differ in case from known ones; and nothing may
/// follow it.
pub fn json(data: &[u8]) {
    let parsed = json::parse::<Value>(data, &SHAPE);
    let Ok(value) = parsed else {
        assert!(json::scan(data, &SHAPE).is_err() || serde_json::from_slice::<Value>(data).is_err());
        return;
    };
    assert_eq!(serde_json::from_slice::<Value>(data).unwrap(), value);
    assert!(value.is_object());
    sound(&value, 0, false);
    json::scan(&serde_json::to_vec(&value).unwrap(), &SHAPE).unwrap();
    for more in [&b"{}"[..], b"1", b"\0", b","] {
        assert!(json::scan(&[data, more].concat(), &SHAPE).is_err());
    }
    assert!(json::scan(&[b"\xef\xbb\xbf", data].concat(), &SHAPE).is_err());
}

fn sound(value: &Value, depth: usize, opaque: bool) {
    assert!(depth <= limits::JSON_DEPTH);
    match value {
        Value::Array(items) => items.iter().for_each(|item| sound(item, depth + 1, opaque)),
        Value::Object(members) => {
            assert!(members.len() <= limits::JSON_MEMBERS);
            for (key, value) in members {
                let variant = |known: &&str| key.eq_ignore_ascii_case(known) && key != known;
                assert!(opaque || !KNOWN.iter().any(variant), "{key}");
                sound(value, depth + 1, opaque || key == "annotations");
            }
        }
        _ => {}
    }
}

/// A reference that is read is plain, and its canonical form is read as the very same.
pub fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(read) = text.parse::<Reference>() {
        let (registry, path) = (read.repository.registry(), read.repository.path());
        assert!(text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!registry.is_empty() && !registry.contains(['/', '@', '?', '#', '%', '\\']), "{registry}");
        assert!(!read.repository.host().is_empty());
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        for segment in path.split('/') {
            assert!(segment.bytes().all(word) && !segment.starts_with(['.', '-', '_']) && !segment.contains(".."));
        }
        assert!(read.tag.iter().all(|tag| tag.len() <= 128 && !tag.starts_with(['.', '-'])));
        let shown = read.to_string();
        assert_eq!(shown.parse::<Reference>().unwrap(), read, "{shown}");
        assert_eq!(shown.parse::<Reference>().unwrap().to_string(), shown);
    }
    if let Ok(read) = text.parse::<Digest>() {
        assert_eq!(read.to_string(), text);
    }
    if let Ok(read) = text.parse::<Platform>() {
        assert_eq!(read.to_string(), text);
        assert!(read.matches(&read));
    }
    if let Ok(ImageName::Template(name)) = ImageName::parse(&text, |word| word == "base") {
        assert_eq!(name, "base");
    }
}

/// A manifest is of one kind, whatever it was served as; an index gives at most one image for a platform.
pub fn oci(data: &[u8]) {
    let bare = Manifest::parse(data, None);
    for served in [names::MANIFEST, names::INDEX, names::DOCKER_MANIFEST, names::DOCKER_LIST, "text/html"] {
        if let Ok(read) = Manifest::parse(data, Some(served)) {
            let index = matches!(served, names::INDEX | names::DOCKER_LIST);
            assert_eq!(matches!(read, Manifest::Index(_)), index);
            assert_eq!(bare.as_ref().unwrap(), &read);
        }
    }
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
    match bare {
        Ok(Manifest::Index(index)) => {
            assert!(index.manifests.len() <= limits::INDEX_ENTRIES);
            if let Ok(chosen) = index.select(&platform) {
                assert!(platform.matches(chosen.platform.as_ref().unwrap()));
                let fits = |other: &&_| *other == chosen;
                assert_eq!(index.manifests.iter().filter(fits).count(), 1);
            }
        }
        Ok(Manifest::Image(image)) => {
            assert!(image.layers.len() <= limits::LAYERS);
            assert!(!image.is_runnable() || (image.artifact_type.is_none() && image.subject.is_none()));
        }
        Err(_) => {}
    }
    // A config and a manifest may stand in one input, so that they can be compared.
    let (first, second) = halves(data);
    if let Ok(config) = ImageConfig::parse(first) {
        assert!(!config.platform().to_string().is_empty());
        if let Ok(Manifest::Image(image)) = Manifest::parse(second, None)
            && config.check_against(&image, &platform).is_ok()
        {
            assert_eq!(config.diff_ids.len(), image.layers.len());
            assert!(platform.matches(&config.platform()));
        }
    }
}

/// What stands before the first zero byte, and what stands after it.
pub fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

/// A statement is about something, and its predicate is shown verbatim.
pub fn statement(data: &[u8]) {
    let Ok(read) = Statement::parse(data) else { return };
    assert!((1..=limits::SUBJECTS).contains(&read.subjects.len()));
    assert!(!read.predicate_type.is_empty());
    assert!(read.predicate_text().starts_with('{'));
    let text = std::str::from_utf8(data).unwrap();
    assert!(text.contains(read.predicate_text()) || read.predicate_text() == "{}");
    for subject in &read.subjects {
        assert!(subject.sha256.is_none_or(|digest| read.names(&digest) && text.contains(&digest.hex())));
    }
    let written = Statement::write("image", &Digest::of(data), &read.predicate_type, read.predicate_text().as_bytes());
    if let Ok(written) = written {
        let again = Statement::parse(&written).unwrap();
        assert_eq!((again.predicate_text(), &again.predicate_type), (read.predicate_text(), &read.predicate_type));
        assert!(again.names(&Digest::of(data)));
    }
}

/// Provenance names a builder and a build type, and what is written of it reads as the same.
pub fn provenance(data: &[u8]) {
    for predicate_type in [SLSA_V1, SLSA_V02] {
        let Ok(read) = Provenance::parse(predicate_type, data) else { continue };
        assert!(!read.builder_id.is_empty() && !read.build_type.is_empty());
        let comparable = Provenance { config_source: None, ..read };
        let written = comparable.write();
        if let Ok(again) = Provenance::parse(SLSA_V1, &written) {
            // Numbers may be written in another way; the second writing is final.
            assert_eq!(again.write(), Provenance::parse(SLSA_V1, &again.write()).unwrap().write());
            assert_eq!(again.builder_id, comparable.builder_id);
            assert_eq!(again.resolved_dependencies.len(), comparable.resolved_dependencies.len());
        }
    }
}

const SBOMS: [&str; 4] = [
    "https://spdx.dev/Document",
    "https://spdx.dev/Document/v2.3",
    "https://cyclonedx.org/bom",
    "https://cyclonedx.org/bom/v1.6",
];

/// An SBOM is of the format its type announces, bounded, and counts no more than it lists.
pub fn sbom(data: &[u8]) {
    for predicate_type in SBOMS {
        let Ok(read) = sbom::read(predicate_type, data) else { continue };
        assert_eq!(predicate_type.contains("spdx"), read.format == sbom::Format::Spdx);
        assert!(read.packages.len() <= sbom::limits::PACKAGES && read.count() <= read.packages.len());
        assert!(!read.version.is_empty());
        assert!(read.described.is_sorted());
        let text = String::from_utf8_lossy(data);
        let unescaped = !text.contains('\\');
        assert!(read.described.iter().all(|digest| text.to_lowercase().contains(&digest.hex()) || !unescaped));
    }
}

/// Where the scanner looks.
pub const DATABASES: [&str; 7] = [
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/base",
    "lib/apk/db/installed",
    "etc/os-release",
    "usr/lib/node_modules/x/package.json",
    "usr/lib/python3/dist-packages/x-1.dist-info/METADATA",
    "usr/share/doc/git/copyright",
];

/// Whatever a package database says, the documents made of it are read again with as many packages. The first byte says
/// which database it is; after a zero byte stands another one.
pub fn packages(data: &[u8]) {
    let mut scanner = Scanner::new();
    let mut rest = data;
    for _ in 0..4 {
        let (part, more) = halves(rest);
        let Some((which, content)) = part.split_first() else { break };
        let path = DATABASES[usize::from(*which) % DATABASES.len()];
        assert!(scanner.wants(path));
        scanner.file(path, content);
        let target = String::from_utf8_lossy(content);
        scanner.seen("usr/share/doc/other", Seen::Link(target.get(..60).unwrap_or("git")));
        rest = more;
    }
    let Ok(inventory) = scanner.finish() else { return };
    assert!(inventory.packages.len() <= sbom::limits::PACKAGES);
    for package in &inventory.packages {
        assert!(package.purl.starts_with("pkg:"), "{}", package.purl);
        assert!(!package.purl.contains(|c: char| c.is_control() || c == ' '), "{:?}", package.purl);
    }
    let digest = Digest::of(data);
    let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
    let described = Described::new("base", &digest, &platform, 1_767_225_600);
    let documents = [sbom::spdx::write(&inventory, &described), sbom::cyclonedx::write(&inventory, &described)];
    for (predicate_type, document) in [SBOMS[0], SBOMS[2]].into_iter().zip(documents) {
        let read = sbom::read(predicate_type, &document).unwrap();
        assert_eq!(read.described, [digest]);
        assert!(read.packages.len() >= inventory.packages.len());
        assert!(read.count() <= inventory.packages.len());
    }
}

/// A root that is taken has a digest; GitHub's has no logs.
pub fn trust_root(data: &[u8]) {
    for instance in [Instance::Custom, Instance::GitHub] {
        if let Ok(root) = TrustRoot::parse_as(instance, data, "fuzzed") {
            assert_eq!(*root.sha256(), Digest::of(data));
            assert_eq!(root.instance(), instance);
        }
    }
}

/// A key that is read is written as PEM, and that is read as the same key.
pub fn key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = PublicKey::from_pem(&text) {
        let again = PublicKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!((again.fingerprint(), again.to_pem()), (key.fingerprint(), key.to_pem()));
    }
}

/// What a registry's headers say is taken from the headers: nothing longer, and nothing that is not in them.
pub fn registry(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let headers: Vec<&str> = text.split('\n').collect();
    if let Some(Challenge::Bearer { realm, service }) = Challenge::read(headers.iter().copied()) {
        let plain = |value: &str| {
            let bare = |header: &&str| -> String { header.replace('\\', "") };
            headers.iter().any(|header| bare(header).contains(&value.replace('\\', "")))
        };
        assert!(realm.len() <= 4_096 && plain(&realm), "{realm:?}");
        assert!(service.is_none_or(|service| plain(&service)));
    }
    if let Some(next) = next_page(headers.iter().copied()) {
        assert!(headers.iter().any(|header| header.contains(&format!("<{next}>"))), "{next:?}");
        assert!(!next.contains('>'));
    }
}
