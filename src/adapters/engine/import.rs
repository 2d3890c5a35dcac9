//! Taking in what an engine built: from a docker archive, an OCI layout, or an OCI layout in a tar file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::EngineError;
use crate::adapters::state::{self, StateError};
use crate::content::{self, ContentError, Digest, Hashing, limits};
use crate::json::{self, Obj, Shape};
use crate::oci::{Descriptor, ImageConfig, ImageManifest, Manifest, Platform, names};

/// An image as an engine made it, on disk: not yet canonical.
#[derive(Debug, Clone)]
pub struct EngineImage {
    /// The config, as the engine wrote it.
    pub config: Vec<u8>,
    /// Its platform.
    pub platform: Platform,
    /// Layers, lowest first.
    pub layers: Vec<StoredLayer>,
    /// The engine's own name for it: its manifest's digest, or its config's where it gave no manifest.
    pub digest: Digest,
}

/// One layer on disk. The stored bytes were hashed; `diff_id` is what the config says, and is checked by whoever
/// decompresses it.
#[derive(Debug, Clone)]
pub struct StoredLayer {
    /// Media type, which says the compression.
    pub media_type: String,
    /// Where the bytes are.
    pub path: PathBuf,
    /// Digest of the stored bytes.
    pub digest: Digest,
    /// Size of the stored bytes.
    pub size: u64,
    /// Digest of the uncompressed archive, by the image's config.
    pub diff_id: Digest,
}

impl StoredLayer {
    /// The stored bytes, from their beginning.
    pub fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(&self.path)?))
    }

    /// What it is, as a manifest says it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.size)
    }
}

/// Files of one archive. Images have a few hundred at most.
const ARCHIVE_FILES: usize = 10_000;
/// What may follow the end of an archive: zeros, up to the size of a record or a pipe.
const PADDING: u64 = 1 << 20;

/// Reads what `docker image save` writes, as a stream. Files go to `blobs`, which is created.
pub fn docker_archive(from: impl Read, blobs: &Path) -> Result<EngineImage, EngineError> {
    let files = unpack(from, blobs)?;
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        config: String,
        layers: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Archive {
        images: Vec<Obj<Entry>>,
    }
    let shape =
        Shape { name: "manifest.json of the archive", known: &["images", "Config", "RepoTags", "Layers"], opaque: &[] };
    let file = |name: &str| files.get(name).ok_or_else(|| refused(format!("there is no {name:?} in the archive")));
    // The strict reader takes objects alone, and this document is an array.
    let list = file("manifest.json")?.read(limits::MANIFEST)?;
    let object = [&br#"{"images":"#[..], &list, b"}"].concat();
    let Archive { images } = json::parse(&object, &shape).map_err(crate::oci::OciError::from)?;
    let [Obj(entry)] = images.as_slice() else {
        return Err(refused(format!("the archive has {} images", images.len())));
    };
    let config = file(&entry.config)?;
    let (digest, config) = (config.digest, config.read(limits::CONFIG)?);
    let layers: Vec<_> = entry.layers.iter().map(|name| file(name)).collect::<Result<_, _>>()?;
    let stored = layers.into_iter().map(|file| Ok((file.media_type()?.to_owned(), file.clone())));
    assemble(config, digest, stored.collect::<Result<Vec<_>, EngineError>>()?)
}

/// Reads an image that buildah or podman wrote into a folder of this build's own: `manifest.json`, and beside it every
/// blob under the hex digits of its digest (containers-transports(5), `dir:`).
pub fn folder(dir: &Path) -> Result<EngineImage, EngineError> {
    let raw = state::read_file(&dir.join("manifest.json"), limits::MANIFEST)?;
    let Manifest::Image(manifest) = Manifest::parse(&raw, None)? else {
        return Err(refused("the folder has no image".to_owned()));
    };
    of_manifest(dir, &manifest, Digest::of(&raw))
}

/// Reads an OCI layout that an engine wrote into a folder of this build's own.
pub fn layout(dir: &Path) -> Result<EngineImage, EngineError> {
    let blobs = dir.join("blobs/sha256");
    let index = state::read_file(&dir.join("index.json"), limits::MANIFEST)?;
    let mut manifest = Manifest::parse(&index, Some(names::INDEX))?;
    let mut digest = Digest::of(&index);
    // BuildKit puts an index into the index where attestations were asked for; more depth than that has no meaning.
    for _ in 0..2 {
        let Manifest::Index(index) = &manifest else { break };
        let images: Vec<_> = index.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
        let [one] = images.as_slice() else {
            return Err(refused(format!("the layout has {} images", images.len())));
        };
        digest = one.digest;
        let raw = blob(&blobs, one)?.read(limits::MANIFEST)?;
        manifest = Manifest::parse(&raw, Some(&one.media_type.clone()))?;
    }
    of_manifest(&blobs, &manifest.into_image()?, digest)
}

/// Reads an OCI layout in a tar file. It is unpacked below `dir`, which is created, by digest alone.
pub(crate) fn layout_tar(path: &Path, dir: &Path) -> Result<EngineImage, EngineError> {
    let file = File::open(path).map_err(StateError::io("read", path))?;
    let files = unpack(file, &dir.join("blobs/sha256"))?;
    let index = files.get("index.json").ok_or_else(|| refused("there is no index.json in it".to_owned()))?;
    state::write_file(&dir.join("index.json"), &index.read(limits::MANIFEST)?)?;
    layout(dir)
}

fn of_manifest(blobs: &Path, manifest: &ImageManifest, digest: Digest) -> Result<EngineImage, EngineError> {
    let config = blob(blobs, &manifest.config)?.read(limits::CONFIG)?;
    let layer = |layer: &Descriptor| Ok((layer.media_type.clone(), blob(blobs, layer)?));
    let layers: Vec<_> = manifest.layers.iter().map(layer).collect::<Result<_, EngineError>>()?;
    assemble(config, digest, layers)
}

fn assemble(config: Vec<u8>, digest: Digest, layers: Vec<(String, Stored)>) -> Result<EngineImage, EngineError> {
    let parsed = ImageConfig::parse(&config)?;
    if parsed.diff_ids.len() != layers.len() {
        return Err(refused(format!(
            "its config names {} layers, and there are {}",
            parsed.diff_ids.len(),
            layers.len()
        )));
    }
    let platform = parsed.platform();
    let layer = |((media_type, stored), diff_id): ((String, Stored), Digest)| {
        if media_type == names::LAYER_TAR && stored.digest != diff_id {
            let what = "an uncompressed layer".to_owned();
            return Err(ContentError::Digest { what, expected: diff_id, actual: stored.digest });
        }
        let Stored { path, digest, size } = stored;
        Ok(StoredLayer { media_type, path, digest, size, diff_id })
    };
    let layers = layers.into_iter().zip(parsed.diff_ids).map(layer).collect::<Result<_, _>>()?;
    Ok(EngineImage { config, platform, layers, digest })
}

/// A file that was hashed.
#[derive(Debug, Clone)]
struct Stored {
    path: PathBuf,
    digest: Digest,
    size: u64,
}

impl Stored {
    fn read(&self, limit: u64) -> Result<Vec<u8>, EngineError> {
        let file = File::open(&self.path).map_err(StateError::io("read", &self.path))?;
        Ok(content::read_exact(file, &self.digest, self.size, limit, &self.path.display().to_string())?)
    }

    /// The compression, by its first bytes: docker archives do not say.
    fn media_type(&self) -> Result<&'static str, EngineError> {
        let mut magic = Vec::new();
        let file = File::open(&self.path).and_then(|file| file.take(4).read_to_end(&mut magic));
        file.map_err(StateError::io("read", &self.path))?;
        Ok(match magic.as_slice() {
            [0x1f, 0x8b, ..] => names::LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => names::LAYER_ZSTD,
            _ => names::LAYER_TAR,
        })
    }
}

/// Every regular file of a tar, by its name in it, stored by digest below `blobs`; links resolved to what they name.
fn unpack(from: impl Read, blobs: &Path) -> Result<BTreeMap<String, Stored>, EngineError> {
    state::create_dir(blobs)?;
    let malformed = |error: io::Error| refused(format!("the archive cannot be read: {error}"));
    let mut files = BTreeMap::new();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries().map_err(malformed)? {
        let mut entry = entry.map_err(malformed)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if files.len() + links.len() >= ARCHIVE_FILES {
            return Err(refused(format!("the archive has more than {ARCHIVE_FILES} files")));
        }
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                let aside = tempfile::NamedTempFile::new_in(blobs).map_err(StateError::io("write in", blobs))?;
                let mut hashing = Hashing::new(aside);
                io::copy(&mut (&mut entry).take(limits::LAYER_UNCOMPRESSED), &mut hashing).map_err(malformed)?;
                let (aside, digest, size) = hashing.finish();
                let path = blobs.join(digest.hex());
                aside.persist(&path).map_err(|error| StateError::io("write", &path)(error.error))?;
                files.insert(name, Stored { path, digest, size });
            }
            // docker writes a layer that occurs twice once, and a link to it.
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let to = entry.link_name_bytes().map(|to| String::from_utf8_lossy(&to).into_owned());
                links.push((name, to.unwrap_or_default()));
            }
            _ => {}
        }
    }
    // To its end, though nothing more counts: whoever writes it would else find nobody reading, and fail.
    io::copy(&mut archive.into_inner().take(PADDING), &mut io::sink()).map_err(malformed)?;
    for (name, to) in links {
        let target = to.trim_start_matches("../");
        if let Some(stored) = files.get(target).cloned() {
            files.insert(name, stored);
        }
    }
    Ok(files)
}

/// The blob that a descriptor names, hashed now.
fn blob(dir: &Path, descriptor: &Descriptor) -> Result<Stored, EngineError> {
    let path = dir.join(descriptor.digest.hex());
    let file = fs::File::open(&path).map_err(StateError::io("read", &path))?;
    let mut hashing = Hashing::new(file.take(descriptor.size.saturating_add(1)));
    io::copy(&mut hashing, &mut io::sink()).map_err(StateError::io("read", &path))?;
    let (_, digest, size) = hashing.finish();
    content::expect(&path.display().to_string(), (&descriptor.digest, descriptor.size), (digest, size))?;
    Ok(Stored { path, digest, size })
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key(names::BUILDKIT_REFERENCE_TYPE)
}

fn refused(reason: String) -> EngineError {
    EngineError::Output { engine: "the engine".to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *bytes).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "b/layer.tar", "../a/layer.tar").unwrap();
        tar.into_inner().unwrap()
    }

    fn config(layers: &[&[u8]]) -> Vec<u8> {
        let diff_ids: Vec<_> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
        let rootfs = format!("{{\"type\":\"layers\",\"diff_ids\":[{}]}}", diff_ids.join(","));
        format!("{{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{rootfs}}}").into_bytes()
    }

    const MANIFEST: &[u8] = br#"[{"Config":"c.json","RepoTags":["x:y"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;

    fn read(files: &[(&str, &[u8])]) -> Result<EngineImage, EngineError> {
        let folder = tempfile::tempdir().unwrap();
        docker_archive(&*archive(files), folder.path())
    }

    #[test]
    fn takes_a_docker_archive_with_a_layer_that_occurs_twice() {
        let config = config(&[b"one", b"one"]);
        let image = read(&[("a/layer.tar", b"one"), ("c.json", &config), ("manifest.json", MANIFEST)]).unwrap();
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.digest, Digest::of(&config));
        assert_eq!(image.layers[1].descriptor(), Descriptor::of(names::LAYER_TAR, b"one"));
    }

    #[test]
    fn refuses_layers_that_the_config_does_not_name() {
        for other in [config(&[]), config(&[b"one"]), config(&[b"one", b"two"])] {
            assert!(read(&[("a/layer.tar", b"one"), ("c.json", &other), ("manifest.json", MANIFEST)]).is_err());
        }
    }

    #[test]
    fn refuses_archives_without_exactly_one_image() {
        let config = config(&[b"one", b"one"]);
        let two = [b"[", &MANIFEST[1..MANIFEST.len() - 1], b",", &MANIFEST[1..]].concat();
        for list in [&b"[]"[..], b"{}", b"", &two] {
            assert!(read(&[("a/layer.tar", b"one"), ("c.json", &config), ("manifest.json", list)]).is_err());
        }
        assert!(read(&[]).is_err());
        assert!(read(&[("manifest.json", MANIFEST)]).is_err());
    }

    #[test]
    fn refuses_a_layout_whose_blob_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (layer, config) = (&b"one"[..], config(&[b"one"]));
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            state::write_file(&folder.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
            digest
        };
        let descriptor = |media_type: &str, bytes: &[u8]| {
            let (digest, size) = (put(bytes), bytes.len());
            format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{size}}}")
        };
        let (config, layer_json) = (descriptor(names::CONFIG, &config), descriptor(names::LAYER_TAR, layer));
        let manifest = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer_json}]}}");
        let entry = descriptor(names::MANIFEST, manifest.as_bytes());
        let index = format!("{{\"schemaVersion\":2,\"manifests\":[{entry}]}}");
        state::write_file(&folder.path().join("index.json"), index.as_bytes()).unwrap();
        assert_eq!(layout(folder.path()).unwrap().layers.len(), 1);
        // The same as `dir:` has it: blobs beside the manifest, and every one of them hashed.
        let plain = tempfile::tempdir().unwrap();
        for blob in fs::read_dir(folder.path().join("blobs/sha256")).unwrap().flatten() {
            fs::copy(blob.path(), plain.path().join(blob.file_name())).unwrap();
        }
        state::write_file(&plain.path().join("manifest.json"), manifest.as_bytes()).unwrap();
        assert_eq!(super::folder(plain.path()).unwrap().layers.len(), 1);
        state::write_file(&plain.path().join(Digest::of(layer).hex()), b"two").unwrap();
        assert!(matches!(super::folder(plain.path()), Err(EngineError::Content(_))));
        let path = folder.path().join("blobs/sha256").join(Digest::of(layer).hex());
        for bytes in [&b"two"[..], b"one and more"] {
            state::write_file(&path, bytes).unwrap();
            assert!(matches!(layout(folder.path()), Err(EngineError::Content(_))));
        }
    }
}
