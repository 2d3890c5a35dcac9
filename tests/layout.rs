//! OCI layouts: what is found in them, what is refused, how they are written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/image.rs"]
mod image;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bulla::adapters::layout::{Layout, LayoutWriter};
use bulla::adapters::{LegacyKind, Store, StoreError};
use bulla::class::{Class, Classified};
use bulla::content::Digest;
use bulla::oci::{Descriptor, names};
use bulla::reference::LayoutImage;
use image::{Attachment, Image};
use serde_json::{Value, json};

fn add(writer: &mut LayoutWriter, image: &Image, name: Option<&str>) -> Descriptor {
    writer.add_blob(names::CONFIG, &image.config[..]).unwrap();
    writer.add_blob(names::LAYER_TAR, &image.layer[..]).unwrap();
    writer.add_manifest(names::MANIFEST, &image.manifest, name).unwrap()
}

/// A layout with these images, under these names.
fn layout(dir: &Path, images: &[(&Image, Option<&str>)]) -> Layout {
    let mut writer = LayoutWriter::create(dir).unwrap();
    for (image, name) in images {
        add(&mut writer, image, *name);
    }
    writer.finish().unwrap()
}

fn blob(dir: &Path, digest: &Digest) -> std::path::PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

/// Rewrites `index.json` by hand, as another program would.
fn edit_index(dir: &Path, edit: impl FnOnce(&mut Vec<Value>)) {
    let path = dir.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(index["manifests"].as_array_mut().unwrap());
    fs::write(path, serde_json::to_vec(&index).unwrap()).unwrap();
}

fn put(dir: &Path, bytes: &[u8]) {
    fs::write(blob(dir, &Digest::of(bytes)), bytes).unwrap();
}

#[track_caller]
fn class<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Class {
    result.unwrap_err().class()
}

#[test]
fn an_empty_layout_has_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let layout = layout(&dir, &[]);
    assert_eq!(class(layout.find(&LayoutImage::Only)), Class::Registry);
    assert!(layout.referrers(&Digest::of(b"")).unwrap().manifests.is_empty());
    assert!(matches!(Layout::open(folder.path()), Err(StoreError::NotFound { .. })));
    assert!(matches!(Layout::open(&folder.path().join("absent")), Err(StoreError::NotFound { .. })));
}

#[test]
fn finds_the_image_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let (base, other) = (Image::new("base"), Image::new("other"));
    let one = layout(&dir, &[(&base, Some("base:1.0"))]);
    let found = (base.descriptor().digest, Some("base:1.0".to_owned()));
    for image in [
        LayoutImage::Only,
        LayoutImage::Named("base:1.0".into()),
        LayoutImage::Named("1.0".into()),
        LayoutImage::Digest(base.digest()),
    ] {
        let (descriptor, name) = one.find(&image).unwrap();
        assert_eq!((descriptor.digest, name), found, "{image:?}");
    }
    for image in [LayoutImage::Named("base".into()), LayoutImage::Digest(other.digest())] {
        assert!(matches!(one.find(&image), Err(StoreError::NotFound { .. })), "{image:?}");
    }
    let two = layout(&dir, &[(&base, Some("base:1.0")), (&other, Some("1.0"))]);
    let error = two.find(&LayoutImage::Only).unwrap_err();
    assert_eq!((error.class(), error.class().exit()), (Class::Usage, 2));
    assert!(error.to_string().contains("base:1.0 (sha256:"), "{error}");
    let (exact, _) = two.find(&LayoutImage::Named("1.0".into())).unwrap();
    assert_eq!(exact.digest, other.digest());
    let clash = layout(&dir, &[(&base, Some("a:1")), (&other, Some("b:1"))]);
    assert_eq!(class(clash.find(&LayoutImage::Named("1".into()))), Class::Usage);
}

#[test]
fn attestations_and_cosigns_entries_are_not_images() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let (base, signature) = (Image::new("base"), Image::new("cosign sig"));
    let mut found = layout(&dir, &[(&base, None), (&signature, None)]);
    let attachment = Attachment::new(&base.descriptor(), "https://slsa.dev/provenance/v1");
    found.attach(&attachment.manifest, &attachment.bundle, &attachment.predicate_type).unwrap();
    edit_index(&dir, |entries| {
        entries[0]["annotations"] = json!({ "kind": "dev.cosignproject.cosign/image" });
        entries[1]["annotations"] = json!({ "kind": "dev.cosignproject.cosign/sigs" });
    });
    let found = Layout::open(&dir).unwrap();
    assert_eq!(found.find(&LayoutImage::Only).unwrap().0.digest, base.digest());
    let referrers = found.referrers(&base.digest()).unwrap();
    assert_eq!(referrers.manifests.len(), 1);
    assert_eq!(found.legacy_names(&base.digest()).len(), 1);
    let legacy = found.legacy(&base.digest(), &LegacyKind::ALL).unwrap();
    assert_eq!((legacy.manifests[0].0, legacy.manifests[0].1.digest), (LegacyKind::Signatures, signature.digest()));
    // What is no image of this layout has none, and another kind was not asked for.
    assert!(found.legacy(&Digest::of(b"child"), &LegacyKind::ALL).unwrap().manifests.is_empty());
    assert!(found.legacy(&base.digest(), &[LegacyKind::Attestations]).unwrap().manifests.is_empty());
    // A tag says which image it goes with.
    for (name, count) in [(base.digest(), 1), (signature.digest(), 0)] {
        let name = format!("sha256-{}.att", name.hex());
        edit_index(&dir, |entries| entries[1]["annotations"] = json!({ names::REF_NAME: name }));
        let found = Layout::open(&dir).unwrap();
        assert_eq!(found.legacy(&base.digest(), &LegacyKind::SIGNED).unwrap().manifests.len(), count, "{name}");
        assert_eq!(found.legacy_names(&base.digest()).len(), count);
    }
}

#[test]
fn h10_more_older_attestations_than_there_are_tags_are_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let images: Vec<Image> = (0..20).map(|number| Image::new(&number.to_string())).collect();
    let listed: Vec<(&Image, Option<&str>)> = images.iter().map(|image| (image, None)).collect();
    layout(&dir, &listed);
    edit_index(&dir, |entries| {
        for entry in entries.iter_mut().skip(1) {
            entry["annotations"] = json!({ "kind": "dev.cosignproject.cosign/atts" });
        }
    });
    let found = Layout::open(&dir).unwrap();
    assert_eq!(class(found.legacy(&images[0].digest(), &LegacyKind::SIGNED)), Class::Limit);
    assert!(found.legacy_names(&images[0].digest()).len() < 19);
}

#[test]
fn a_digest_may_name_an_image_inside_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let child = Image::new("child");
    let mut writer = LayoutWriter::create(&dir).unwrap();
    writer.add_blob(names::MANIFEST, &child.manifest[..]).unwrap();
    let index = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [child.descriptor()] });
    writer.add_manifest(names::INDEX, &serde_json::to_vec(&index).unwrap(), Some("x:1")).unwrap();
    let layout = writer.finish().unwrap();
    assert_eq!(layout.find(&LayoutImage::Digest(child.digest())).unwrap().0.size, child.manifest.len() as u64);
}

#[test]
fn e04_an_attestation_of_another_image_is_not_this_ones() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let (base, other) = (Image::new("base"), Image::new("other"));
    let mut found = layout(&dir, &[(&base, None), (&other, None)]);
    let attachment = Attachment::new(&other.descriptor(), "https://slsa.dev/provenance/v1");
    found.attach(&attachment.manifest, &attachment.bundle, &attachment.predicate_type).unwrap();
    assert!(found.referrers(&base.digest()).unwrap().manifests.is_empty());
    let referrers = found.referrers(&other.digest()).unwrap();
    assert_eq!(referrers.manifests[0].digest, attachment.digest());
    assert_eq!(referrers.manifests[0].raw, attachment.manifest);
}

#[test]
fn e05_a_descriptor_that_contradicts_its_manifest_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let base = Image::new("base");
    let mut found = layout(&dir, &[(&base, None)]);
    let attachment = Attachment::new(&base.descriptor(), "https://slsa.dev/provenance/v1");
    found.attach(&attachment.manifest, &attachment.bundle, &attachment.predicate_type).unwrap();
    edit_index(&dir, |entries| {
        entries[1]["annotations"]["dev.sigstore.bundle.predicateType"] = json!("https://spdx.dev/Document");
    });
    let referrers = Layout::open(&dir).unwrap().referrers(&base.digest()).unwrap();
    assert_eq!((referrers.manifests.len(), referrers.ignored.len()), (0, 1));
    edit_index(&dir, |entries| entries[1]["annotations"] = json!({}));
    assert_eq!(Layout::open(&dir).unwrap().referrers(&base.digest()).unwrap().manifests.len(), 1);
}

#[test]
fn e06_e07_the_fallback_index_is_read_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let (base, other) = (Image::new("base"), Image::new("other"));
    let mut found = layout(&dir, &[(&base, None)]);
    let [listed, entry] = ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]
        .map(|predicate_type| Attachment::new(&base.descriptor(), predicate_type));
    found.attach(&entry.manifest, &entry.bundle, &entry.predicate_type).unwrap();
    let foreign = Attachment::new(&other.descriptor(), "https://spdx.dev/Document");
    put(&dir, &listed.manifest);
    put(&dir, &foreign.manifest);
    let index = json!({ "schemaVersion": 2, "mediaType": names::INDEX, "manifests": [
        listed.descriptor(), foreign.descriptor(), entry.descriptor(),
        Descriptor::of(names::MANIFEST, b"absent"),
    ] });
    let index = serde_json::to_vec(&index).unwrap();
    put(&dir, &index);
    let tag = format!("sha256-{}", base.digest().hex());
    let mut descriptor = Descriptor::of(names::INDEX, &index);
    descriptor.annotations.insert(names::REF_NAME.into(), tag.clone());
    edit_index(&dir, |entries| entries.push(serde_json::to_value(&descriptor).unwrap()));
    let found = Layout::open(&dir).unwrap();
    assert_eq!(found.find(&LayoutImage::Only).unwrap().0.digest, base.digest());
    let referrers = found.referrers(&base.digest()).unwrap();
    assert_eq!((referrers.manifests.len(), referrers.ignored.len()), (2, 2), "{:?}", referrers.ignored);
    // The same name on an image is no listing.
    edit_index(&dir, |entries| entries.retain(|entry| entry["digest"] != json!(descriptor.digest)));
    let mut image = base.descriptor();
    image.annotations.insert(names::REF_NAME.into(), tag);
    put(&dir, &other.manifest);
    image.digest = other.digest();
    image.size = other.manifest.len() as u64;
    edit_index(&dir, |entries| entries.push(serde_json::to_value(&image).unwrap()));
    assert_eq!(class(Layout::open(&dir).unwrap().referrers(&base.digest())), Class::Format);
}

#[test]
fn i11_blobs_that_are_not_what_their_name_says_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let (base, other) = (Image::new("base"), Image::new("othr"));
    let layout = layout(&dir, &[(&base, None)]);
    let config = Descriptor::of(names::CONFIG, &base.config);
    assert_eq!(layout.blob(&config, 1 << 20).unwrap(), base.config);
    fs::write(blob(&dir, &config.digest), &other.config).unwrap();
    assert_eq!(class(layout.blob(&config, 1 << 20)), Class::Integrity);
    assert_eq!(class(layout.copy_blob(&config, &mut Vec::new())), Class::Integrity);
    fs::write(blob(&dir, &base.digest()), &other.manifest).unwrap();
    assert_eq!(class(layout.manifest(&base.digest())), Class::Integrity);
    assert_eq!(class(layout.find(&LayoutImage::Only)), Class::Integrity);
    fs::write(blob(&dir, &base.digest()), &base.manifest).unwrap();
    edit_index(&dir, |entries| entries[0]["size"] = json!(7));
    assert_eq!(class(Layout::open(&dir).unwrap().manifest(&base.digest())), Class::Integrity);
    edit_index(&dir, |entries| entries[0]["size"] = json!(i64::MAX));
    assert_eq!(class(Layout::open(&dir).unwrap().find(&LayoutImage::Only)), Class::Limit);
    for digest in ["sha256:../../etc/passwd", "sha512:00", "SHA256:E3"] {
        edit_index(&dir, |entries| entries[0]["digest"] = json!(digest));
        assert_eq!(class(Layout::open(&dir)), Class::Format, "{digest}");
    }
}

#[test]
fn i11_symbolic_links_are_refused_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let base = Image::new("base");
    let prepared = |name: &str| {
        let dir = folder.path().join(name);
        layout(&dir, &[(&base, None)]);
        dir
    };
    let relink = |path: &Path| {
        let moved = folder.path().join(format!("moved-{}", fs::read_dir(folder.path()).unwrap().count()));
        fs::rename(path, &moved).unwrap();
        symlink(&moved, path).unwrap();
    };
    for name in ["index.json", "oci-layout"] {
        let dir = prepared(&format!("top-{name}"));
        relink(&dir.join(name));
        assert_eq!(class(Layout::open(&dir)), Class::Format, "{name}");
    }
    for inside in ["blobs", "blobs/sha256"] {
        let dir = prepared(&inside.replace('/', "-"));
        relink(&dir.join(inside));
        assert_eq!(class(Layout::open(&dir).unwrap().find(&LayoutImage::Only)), Class::Format, "{inside}");
    }
    let dir = prepared("one-blob");
    relink(&blob(&dir, &base.digest()));
    assert_eq!(class(Layout::open(&dir).unwrap().manifest(&base.digest())), Class::Format);
    let dir = prepared("pipe");
    fs::remove_file(dir.join("index.json")).unwrap();
    fs::create_dir(dir.join("index.json")).unwrap();
    assert_eq!(class(Layout::open(&dir)), Class::Format);
}

#[test]
fn i10_i11_names_inside_never_become_paths() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let base = Image::new("base");
    layout(&dir, &[(&base, None)]);
    for name in ["a\u{1b}[2J", "x y", "\u{202e}"] {
        edit_index(&dir, |entries| entries[0]["annotations"] = json!({ names::REF_NAME: name }));
        let layout = Layout::open(&dir).unwrap();
        assert_eq!(layout.find(&LayoutImage::Only).unwrap().1, None);
        assert!(layout.find(&LayoutImage::Named(name.into())).is_err());
    }
}

#[test]
fn refuses_documents_that_could_be_two_things() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    layout(&dir, &[]);
    for (file, bytes) in [
        ("index.json", r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#),
        ("index.json", r#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#),
        ("index.json", "[]"),
        ("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#),
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"}"#),
    ] {
        let good = fs::read(dir.join(file)).unwrap();
        fs::write(dir.join(file), bytes).unwrap();
        assert_eq!(class(Layout::open(&dir)), Class::Format, "{bytes}");
        fs::write(dir.join(file), good).unwrap();
    }
    fs::write(dir.join("index.json"), vec![b' '; 5 << 20]).unwrap();
    assert_eq!(class(Layout::open(&dir)), Class::Limit);
}

#[test]
fn j07_attaches_once_and_from_many_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let base = Image::new("base");
    layout(&dir, &[(&base, Some("base:1"))]);
    edit_index(&dir, |entries| entries[0]["data"] = json!("kept"));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (base, dir) = (&base, &dir);
            scope.spawn(move || {
                let attachment = Attachment::new(&base.descriptor(), &format!("https://example.com/{}", number / 2));
                let mut layout = Layout::open(dir).unwrap();
                layout.attach(&attachment.manifest, &attachment.bundle, &attachment.predicate_type).unwrap();
            });
        }
    });
    let layout = Layout::open(&dir).unwrap();
    let referrers = layout.referrers(&base.digest()).unwrap();
    assert_eq!((referrers.manifests.len(), referrers.ignored.len()), (4, 0));
    for manifest in &referrers.manifests {
        layout.blob(&manifest.parsed.layers[0], 1 << 20).unwrap();
        assert_eq!(layout.blob(&manifest.parsed.config, 1 << 20).unwrap(), b"{}");
    }
    assert!(fs::read_to_string(dir.join("index.json")).unwrap().contains("kept"));
}

#[test]
fn i11_a_layout_whose_lock_is_a_link_is_not_written_to_nor_is_anything_outside() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, outside) = (folder.path().join("out"), folder.path().join("outside"));
    let base = Image::new("base");
    let mut layout = layout(&dir, &[(&base, None)]);
    symlink(&outside, dir.join(".bulla.lock")).unwrap();
    let before = fs::read(dir.join("index.json")).unwrap();
    let attachment = Attachment::new(&base.descriptor(), "https://example.com/x");
    let attached = layout.attach(&attachment.manifest, &attachment.bundle, &attachment.predicate_type);
    assert_eq!(class(attached), Class::State);
    assert!(!outside.exists());
    assert_eq!(fs::read(dir.join("index.json")).unwrap(), before);
}

#[test]
fn replaces_its_own_layouts_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let (first, second) = (Image::new("first"), Image::new("second"));
    layout(&dir, &[(&first, None)]);
    let replaced = layout(&dir, &[(&second, None)]);
    assert_eq!(replaced.find(&LayoutImage::Only).unwrap().0.digest, second.digest());
    assert!(!blob(&dir, &first.digest()).exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside it");

    fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert_eq!(class(LayoutWriter::create(&dir)), Class::State);
    fs::remove_file(dir.join("notes.txt")).unwrap();
    fs::remove_dir(dir.join("bulla")).unwrap();
    assert_eq!(class(LayoutWriter::create(&dir)), Class::State);
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_eq!(class(LayoutWriter::create(&file)), Class::State);

    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    layout(&empty, &[(&first, None)]);
}

#[test]
fn skopeo_reads_what_is_written_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let base = Image::new("base");
    let dir = folder.path().join("out");
    let mut written = layout(&dir, &[(&base, Some("base:1.0"))]);
    let attachment = Attachment::new(&base.descriptor(), "https://slsa.dev/provenance/v1");
    written.attach(&attachment.manifest, &attachment.bundle, &attachment.predicate_type).unwrap();
    let copy = folder.path().join("copy");
    let skopeo = std::process::Command::new("skopeo")
        .args(["copy", "--insecure-policy", "-q", "--preserve-digests"])
        .arg(format!("oci:{}:base:1.0", dir.display()))
        .arg(format!("oci:{}:base:1.0", copy.display()))
        .output();
    let Ok(skopeo) = skopeo else {
        println!("skipped: skopeo");
        return;
    };
    assert!(skopeo.status.success(), "{}", String::from_utf8_lossy(&skopeo.stderr));
    let (found, name) = Layout::open(&copy).unwrap().find(&LayoutImage::Named("1.0".into())).unwrap();
    assert_eq!((found.digest, name.as_deref()), (base.digest(), Some("base:1.0")));
}

#[test]
fn an_abandoned_layout_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("out");
    let mut writer = LayoutWriter::create(&dir).unwrap();
    add(&mut writer, &Image::new("base"), None);
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn writes_the_attestation_manifest_that_others_read() {
    let base = Image::new("base");
    let attachment = Attachment::new(&base.descriptor(), "https://slsa.dev/provenance/v1");
    if std::env::var_os("BULLA_BLESS").is_some() {
        fs::write("testdata/layout/attestation-manifest.json", &attachment.manifest).unwrap();
    }
    let expected = fs::read_to_string("testdata/layout/attestation-manifest.json").unwrap();
    assert_eq!(String::from_utf8(attachment.manifest).unwrap(), expected.trim_end());
}
