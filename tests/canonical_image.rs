//! What other programs make of a canonical image is what was put in.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, in helpers too")]

use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bulla::content::Digest;
use bulla::oci::normalize::compress::Compression;
use bulla::oci::normalize::{Canonical, EngineImage, Options, Source, normalize};
use bulla::oci::{Descriptor, names};

/// A layer with one of everything that an ordinary user can unpack, and a file of several blocks.
fn engine_layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, mode: u32, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        match link {
            "" => tar.append_data(&mut header, name, content).unwrap(),
            link => tar.append_link(&mut header, name, link).unwrap(),
        }
    };
    let big: Vec<u8> = (0..5_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 26) as u8).collect();
    add("usr/bin", tar::EntryType::Directory, 0o755, "", b"");
    add("usr/bin/tool", tar::EntryType::Regular, 0o755, "", &big);
    add("usr/bin/alias", tar::EntryType::Link, 0o755, "usr/bin/tool", b"");
    add("bin", tar::EntryType::Symlink, 0o777, "usr/bin", b"");
    add(&format!("opt/{}/{}", "long".repeat(30), "name".repeat(30)), tar::EntryType::Regular, 0o600, "", b"x");
    tar.into_inner().unwrap()
}

fn write_layout(folder: &Path, compression: Compression) -> Canonical {
    let layer = engine_layer();
    let diff_id = Digest::of(&layer);
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["{diff_id}"]}}}}"#);
    let open = || Ok(Box::new(Cursor::new(layer.clone())) as Box<dyn Read>);
    let descriptor = Descriptor::of(names::LAYER_TAR, &layer);
    let image = EngineImage { config: config.as_bytes(), layers: vec![Source { descriptor, open: &open }] };
    let options = Options { epoch: 1_700_000_000, compression, ..Options::default() };
    let mut blob = Vec::new();
    let canonical = normalize(&image, &options, tempfile::tempfile().unwrap(), &mut blob, None).unwrap();
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for bytes in [&canonical.config, &canonical.manifest, &blob] {
        fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
    }
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut entry = Descriptor::of(names::MANIFEST, &canonical.manifest);
    entry.annotations.insert(names::REF_NAME.to_owned(), "test".to_owned());
    let entry = serde_json::to_string(&entry).unwrap();
    fs::write(folder.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#)).unwrap();
    canonical
}

/// Runs a program that may not be installed; `None` where it is not.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn umoci_unpacks_what_was_put_in() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    write_layout(&layout, Compression::Gzip);
    let image = format!("{}:test", layout.display());
    let bundle = folder.path().join("bundle");
    if run("umoci", &["unpack", "--rootless", "--image", &image, bundle.to_str().unwrap()]).is_none() {
        return;
    }
    let root = bundle.join("rootfs");
    let tool = fs::metadata(root.join("usr/bin/tool")).unwrap();
    assert_eq!((tool.len(), tool.permissions().mode() & 0o7777), (5_000_000, 0o755));
    assert_eq!(fs::read(root.join("usr/bin/tool")).unwrap(), fs::read(root.join("usr/bin/alias")).unwrap());
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&tool), 2);
    assert_eq!(fs::read_link(root.join("bin")).unwrap(), Path::new("usr/bin"));
    let long = root.join(format!("opt/{}/{}", "long".repeat(30), "name".repeat(30)));
    assert_eq!(fs::read(long).unwrap(), b"x");
}

#[test]
fn skopeo_agrees_about_the_digest_and_every_blob() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let folder = tempfile::tempdir().unwrap();
        let layout = folder.path().join("layout");
        let canonical = write_layout(&layout, compression);
        let image = format!("oci:{}:test", layout.display());
        let copy = format!("oci:{}:test", folder.path().join("copy").display());
        let copying = ["--insecure-policy", "copy", "--preserve-digests", &image, &copy];
        if run("skopeo", &copying).is_none() {
            return;
        }
        let inspected = run("skopeo", &["inspect", "--format", "{{.Digest}}", &copy]).unwrap();
        assert_eq!(inspected.trim(), canonical.digest().to_string());
    }
}
