//! What mutation starts from: the files of `testdata`, the bundled template and policy, and small archives made here.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::oci::{Descriptor, names};
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::hostile::accepted;
use crate::hostile::documents::DATABASES;

/// The seeds of a property.
pub(crate) fn of(property: &str) -> Vec<Vec<u8>> {
    let bundles = || files("testdata/attestation", ".bundle.json");
    match property {
        "json" => [files("testdata/sbom", ".json"), files("testdata/provenance", ".json"), bundles()].concat(),
        "reference" => texts(&[
            "alpine",
            "ghcr.io/acme/base:1.4",
            "localhost:5000/a/b@sha256:",
            "[::1]:5000/a-b/c__d:v1",
            "oci:dir:name",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "linux/arm64/v8",
            "base",
            "127.0.0.1:1/acme/base:1.0@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ]),
        "oci" => oci(),
        "layer" => {
            let plain = tar();
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&plain).unwrap();
            let packed = [plain.clone(), gzip.finish().unwrap(), zstd::bulk::compress(&plain, 1).unwrap()];
            packed.into_iter().zip(0_u8..).map(|(bytes, which)| [&[which], bytes.as_slice()].concat()).collect()
        }
        "normalize" => vec![tar()],
        "deb" => vec![deb()],
        "statement" => accepted::cases().iter().filter_map(payload).collect(),
        "bundle" => bundles(),
        "legacy" => accepted::cases().iter().filter(|case| case.legacy).map(|case| layer(&case.value)).collect(),
        "mutated" => (0..10_u8).flat_map(|case| [vec![case], vec![case, 1, 7, 0, 3, 9], vec![case, 0, 4, 4]]).collect(),
        "provenance" => files("testdata/provenance", ".json"),
        "sbom" => files("testdata/sbom", ".json"),
        "packages" => databases(),
        "trust_root" => files("testdata/attestation", "trusted_root.json"),
        "key" => [files("testdata/attestation", ".pub"), files("testdata/policy", ".pub")].concat(),
        "registry" => texts(&[
            "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",scope=\"repository:a/b:pull\"",
            "Basic realm=\"x\"\nbearer realm=\"a\\\"b\"",
            "</v2/a/referrers/x?n=1>; rel=\"next\"\n<https://registry.example/y>; title=\"t\"; rel=next",
        ]),
        "dockerfile" => {
            let small =
                "# escape=`\nARG A=1\nFROM scratch AS one\nRUN --mount=type=bind,target=/x \\\n  # c\n  true <<E\nE\n";
            [files("images/base", "Dockerfile"), texts(&[small])].concat()
        }
        "lockfile" => files("testdata/lockfile", "two-platforms.lock"),
        "template" => files("images/base", "template.toml"),
        "policy" => {
            let small = "version = 1\n[[rule]]\nimages = [\"ghcr.io/acme/*\"]\nrequire = [\"signature\"]\n\
                         [[rule.signer]]\nkey = \"cosign.pub\"\nlog = \"none\"\n";
            [files("policies", ".toml"), texts(&[small, "a/**/c*\na/b/cd"])].concat()
        }
        other => panic!("{other} has no seeds"),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The files of a folder whose names end so, in order.
fn files(folder: &str, suffix: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    paths.sort();
    let found: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!found.is_empty(), "no seeds end in {suffix}");
    found
}

fn oci() -> Vec<Vec<u8>> {
    let layer = tar();
    let diff_id = bulla::content::Digest::of(&layer);
    let config = format!(
        r#"{{"os":"linux","architecture":"amd64","config":{{"User":"1000","Env":["A=b"],"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": names::MANIFEST, "config": Descriptor::of(names::CONFIG, config.as_bytes()),
        "layers": [Descriptor::of(names::LAYER_TAR, &layer)], "annotations": { "a": "b" },
    });
    let platform = "linux/amd64".parse().unwrap();
    let entry = Descriptor { platform: Some(platform), ..Descriptor::of(names::MANIFEST, b"x") };
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [entry] });
    let both = [config.as_bytes(), b"\0", manifest.to_string().as_bytes()].concat();
    let attached = files("testdata/layout", ".json");
    [vec![manifest.to_string().into_bytes(), index.to_string().into_bytes(), both], attached].concat()
}

/// A tar with one of everything.
fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        match link {
            "" => tar.append_data(&mut header, name, content).unwrap(),
            link => tar.append_link(&mut header, name, link).unwrap(),
        }
    };
    add("usr", tar::EntryType::Directory, "", b"");
    add("usr/tool", tar::EntryType::Regular, "", b"#!/bin/sh\n");
    add("usr/alias", tar::EntryType::Link, "usr/tool", b"");
    add("bin", tar::EntryType::Symlink, "usr/bin", b"");
    add("usr/.wh.gone", tar::EntryType::Regular, "", b"");
    add(&format!("opt/{}", "long".repeat(40)), tar::EntryType::Regular, "", b"x");
    tar.into_inner().unwrap()
}

/// A small Debian package.
fn deb() -> Vec<u8> {
    let packed = |name: &str, content: &[u8]| {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    };
    let control = packed("./control", b"Package: x\nVersion: 1\nEssential: yes\nDepends: a | b (>= 1), c\n");
    let data = packed("./usr/bin/x", b"x");
    let mut ar = b"!<arch>\n".to_vec();
    for (name, content) in
        [("debian-binary", b"2.0\n".as_slice()), ("control.tar.gz", &control), ("data.tar.gz", &data)]
    {
        ar.extend_from_slice(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, content.len()).as_bytes(),
        );
        ar.extend_from_slice(content);
        ar.resize(ar.len().next_multiple_of(2), b'\n');
    }
    ar
}

fn payload(case: &accepted::Case) -> Option<Vec<u8>> {
    STANDARD.decode(case.value.pointer("/dsseEnvelope/payload")?.as_str()?).ok()
}

/// A legacy layer as its property takes it.
fn layer(value: &Value) -> Vec<u8> {
    let annotations: BTreeMap<String, String> = serde_json::from_value(value["annotations"].clone()).unwrap();
    let layer = STANDARD.decode(value["layer"].as_str().unwrap()).unwrap();
    [serde_json::to_vec(&annotations).unwrap(), vec![0], layer].concat()
}

/// A file of each database, alone, and all of a system after each other.
fn databases() -> Vec<Vec<u8>> {
    let contents = [
        "Package: git\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.47.3-0+deb13u1\nSource: git (1)\n",
        "Package: base\nArchitecture: all\nVersion: 1\n",
        "P:musl\nV:1.2.5-r8\nA:x86_64\nL:MIT\no:musl\n\n",
        "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n",
        r#"{"name":"@acme/agent","version":"1.4.0","license":"Apache-2.0"}"#,
        "Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\nLicense: MIT\n\n",
        "Format: https://example.test/\n\nFiles: *\nLicense: GPL-2 or Expat\n",
    ];
    let with_place =
        |(which, content): (usize, &&str)| [&[which as u8 + DATABASES.len() as u8], content.as_bytes()].concat();
    let each: Vec<Vec<u8>> = contents.iter().enumerate().map(with_place).collect();
    let system = [&each[0], &each[3], &each[4], &each[6]].map(Vec::as_slice).join(&0);
    [each, vec![system]].concat()
}
